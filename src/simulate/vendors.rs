//! Vendors' programs: what they sell, the commands they send over a network that loses, repeats and reorders, and what they make of the
//! answers. A command keeps its key until it is answered for good.

use super::dice::Dice;
use crate::billing::{Bearer, Conditions, Increments, Kind, Plan, Rates, Rounding, WindowTerms};
use crate::call::{Ending, Night, Policy, PolicyError, Rule, Sold, Terms};
use crate::clock::{Moment, Span};
use crate::ids::{CallId, ClientRef, CompanionId, PlanId, VendorId};
use crate::money::{Currency, Money};
use crate::store::Direction;

/// A vendor's command.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) vendor: usize,
    pub(super) vendor_id: VendorId,
    pub(super) key: String,
    pub(super) hash: [u8; 32],
    pub(super) want: Want,
    pub(super) line: usize,
    /// Which call of the line it is for, counted.
    pub(super) turn: u32,
    pub(super) tries: u32,
    /// The first success: every other one must be the same.
    pub(super) success: Option<(u16, String)>,
    /// Nothing more is sent.
    pub(super) is_done: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Want {
    Credit {
        client: ClientRef,
        amount: Money,
        order_ref: String,
    },
    Create {
        terms: Box<Terms>,
    },
    /// `amount`: none is what the plan asks for.
    Extend {
        call: CallId,
        order_ref: Option<String>,
        amount: Option<Money>,
        gift: Option<Span>,
    },
    End {
        call: CallId,
    },
    /// Money of a settled call back to its client; all that is left without an amount.
    RefundCall {
        call: CallId,
        amount: Option<Money>,
        bearer: Bearer,
    },
    /// A dispute was decided.
    AdjustCall {
        call: CallId,
        amount: Money,
        direction: Direction,
        reason: &'static str,
        bearer: Bearer,
    },
    /// Money out of a wallet.
    RefundClient {
        client: ClientRef,
        amount: Money,
        order_ref: String,
    },
    SetPolicy {
        change: Change,
    },
}

/// How a vendor wants her calls to be settled: what differs from the defaults.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) cells: Vec<(Ending, Sold, Rule)>,
    pub(super) flat_min_s: Option<i64>,
}

impl Change {
    /// As the service reads it: all of it from the defaults on, or nothing.
    pub(super) fn policy(&self) -> Result<Policy, PolicyError> {
        let mut policy = Policy::default();
        if let Some(seconds) = self.flat_min_s {
            policy = policy.with_flat_min(Span::from_s(seconds))?;
        }
        self.cells.iter().try_fold(policy, |policy, (ending, sold, rule)| policy.with(*ending, *sold, *rule))
    }
}

/// What a call is made of.
pub(super) struct Sale {
    pub(super) vendor: VendorId,
    pub(super) plan: PlanId,
    pub(super) sold: Plan,
    pub(super) hold: Money,
    pub(super) night: Option<Night>,
    pub(super) client: ClientRef,
    pub(super) companion: CompanionId,
    pub(super) companion_bps: u16,
    pub(super) longest: Span,
    pub(super) key: String,
}

/// A plan that a vendor sells.
#[derive(Clone, Debug)]
pub(super) struct Offered {
    pub(super) id: PlanId,
    pub(super) sold: Plan,
    pub(super) hold: Money,
    pub(super) night: Option<Night>,
}

/// A vendor with what she sells and who works for her.
#[derive(Clone, Debug)]
pub(super) struct Vendor {
    pub(super) id: VendorId,
    pub(super) companions: Vec<CompanionId>,
    pub(super) plans: Vec<Offered>,
    pub(super) companion_bps: u16,
}

/// Whether an answer leaves the question open: the same key is sent again.
pub(super) fn is_open(status: u16, body: &str) -> bool {
    matches!(status, 429 | 503 | 507) || (status == 409 && body == "idempotency_key_in_use")
}

/// Zones whose clocks change at different dates, by half an hour, or not at all.
const ZONES: [&str; 8] = [
    "Asia/Shanghai",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Sydney",
    "Australia/Lord_Howe",
    "America/St_Johns",
    "Asia/Kolkata",
    "Africa/Casablanca",
];

/// Begins of nights, most of them nights in which some clock of [`ZONES`] changes, in Unix seconds.
const NIGHTS: [i64; 8] = [
    1_793_484_000, // 2026-10-31 22:00 UTC: New York and St. John's go back within the night
    1_792_876_800, // 2026-10-24 20:00 UTC: Berlin goes back
    1_774_728_000, // 2026-03-28 20:00 UTC: Berlin goes forward
    1_775_311_200, // 2026-04-04 14:00 UTC: Sydney and Lord Howe go back
    1_791_036_000, // 2026-10-03 14:00 UTC: Sydney and Lord Howe go forward
    1_772_928_000, // 2026-03-08 00:00 UTC: New York goes forward
    1_773_144_000, // 2026-03-10 12:00 UTC: nothing happens; midnight in Shanghai
    1_798_725_600, // 2026-12-31 14:00 UTC: the year ends
];

/// When a night begins.
pub(super) fn evening(dice: &mut Dice) -> Moment {
    let start = *dice.pick(&NIGHTS);
    Moment::from_unix_ms(start * 1000) + dice.ms(0, 3_600_000)
}

/// Draws a plan of any kind, with what a call on it sets aside.
pub(super) fn plan(dice: &mut Dice, id: PlanId, currency: Currency) -> Option<Offered> {
    let money = |amount| Money::new(amount, currency);
    let grace_s = if dice.in_1000(400) { dice.between(1, 90) } else { 0 };
    let minimum = if dice.in_1000(300) { dice.between(1, 900) } else { 0 };
    let conditions = Conditions { grace_s, minimum, rounding: *dice.pick(&Rounding::ALL) };
    let (kind, hold) = match dice.below(10) {
        0..4 => {
            let (block_s, price) = (*dice.pick(&[300, 600, 900, 1800]), dice.between(1, 9000));
            (Kind::Block { block_s, price }, price)
        }
        4 => {
            let price = dice.between(1, 20_000);
            (Kind::Flat { price }, price)
        }
        kind => {
            let increments = increments(dice)?;
            let dearest = increments.rates.highest();
            // What the dearest first increment and the minimum need, and some minutes of it.
            let least = ((dearest * increments.first_s + 59) / 60).max(minimum).max(1);
            let hold = least + dearest * dice.between(0, 60) + dice.between(0, 100);
            if kind < 8 {
                (Kind::PerMinute(increments), hold)
            } else {
                let cap_s = if dice.in_1000(500) { Some(dice.between(60, 4 * 3600)) } else { None };
                let cap = if dice.in_1000(500) { Some(dice.between(1, hold * 2)) } else { None };
                (Kind::UntilAsleep { increments, cap_s, cap }, hold)
            }
        }
    };
    let sold = Plan::new(currency, kind, conditions).ok()?;
    let night = Night::customary(sold.kind()).map(|_| Night {
        linger: Span::from_s(*dice.pick(&[0, 10, 60, 300])),
        fade: Span::from_s(*dice.pick(&[10, 60])),
        probe: dice.in_1000(300).then_some(Span::from_s(180)),
    });
    Some(Offered { id, sold, hold: money(hold), night })
}

fn increments(dice: &mut Dice) -> Option<Increments> {
    let (first_s, later_s) = *dice.pick(&[(60, 60), (60, 6), (6, 6), (1, 1), (30, 6), (17, 23), (60, 1)]);
    let rates = if dice.in_1000(250) {
        Rates::one(dice.between(1, 999)).ok()?
    } else {
        let mut edges = vec![dice.between(0, 1439)];
        for _ in 0..dice.below(4) {
            let edge = dice.between(0, 1439);
            if edges.iter().all(|other| *other != edge) {
                edges.push(edge);
            }
        }
        edges.sort_unstable();
        let text = |minute: i64| format!("{:02}:{:02}", minute / 60, minute % 60);
        let windows: Vec<(String, String, String, i64)> = (0..edges.len())
            .map(|place| {
                let (start, end) = (edges[place], edges[(place + 1) % edges.len()]);
                (format!("w{}", place % 3), text(start), text(end), dice.between(0, 999))
            })
            .collect();
        let terms: Vec<WindowTerms<'_>> =
            windows.iter().map(|(label, start, end, rate)| WindowTerms { label, start, end, rate: *rate }).collect();
        Rates::by_window(dice.pick::<&str>(&ZONES), &terms).ok()?
    };
    Some(Increments { first_s, later_s, rates })
}
