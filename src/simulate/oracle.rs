//! What a call costs, once more and slowly: from its facts, second by second, with nothing of the engine but the words for plans.
//!
//! Rates are looked up once for each minute of UTC: windows and offsets from UTC change only at whole minutes (since 1972).

use super::vendors::Change;
use crate::billing::{Conditions, Increments, Kind, LONGEST_S, Plan, Rounding, Settlement};
use crate::call::{EndReason, Ending, Entry, Fact, Fault, Policy, Rule, Sold, Terms};
use crate::clock::{Moment, Span};
use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};

/// A landing lasts longer by what the server stood still in it: at most so much in a night.
const STOOD: Span = Span::from_s(3 * 3600);

/// A flat call that was delivered for less is free when its end was not the client's doing; a vendor may make this longer.
const FLAT_LEAST_MS: i64 = 600_000;

/// Delivered time as the facts say it: from and to, in milliseconds.
pub(super) fn delivered(entries: &[Entry]) -> Vec<(i64, i64)> {
    let mut spans: Vec<(i64, i64)> = Vec::new();
    let mut running: Option<i64> = None;
    let mut is_landing = false;
    for Entry { at, fact, .. } in entries {
        match fact {
            Fact::Started | Fact::Resumed => running = Some(at.unix_ms()),
            Fact::Lands { .. } => {
                is_landing = true;
                if let Some(from) = running.take() {
                    spans.push((from, at.unix_ms()));
                }
            }
            Fact::Woken { .. } if std::mem::take(&mut is_landing) => running = Some(at.unix_ms()),
            Fact::Paused { since, .. } => {
                spans.extend(running.take().map(|from| (from, at.unix_ms())));
                // It may have begun earlier than was known, and be known only after others.
                for (from, to) in &mut spans {
                    *to = (*to).min(since.unix_ms()).max(*from);
                }
            }
            Fact::Ended { .. } => {
                if let Some(from) = running.take() {
                    spans.push((from, at.unix_ms()));
                }
            }
            _ => {}
        }
    }
    spans.retain(|(from, to)| from < to);
    spans
}

/// What is wrong with a call's landings: each needs a linger of this server, which lasts as long as it says unless the companion
/// confirms, and a call that ended asleep has landed for as long as its terms say, unless the companion hung up.
pub(super) fn landings(terms: &Terms, entries: &[Entry]) -> Option<String> {
    let mut linger: Option<Moment> = None;
    let mut landing: Option<Moment> = None;
    for Entry { seq, at, fact } in entries {
        match fact {
            Fact::Lingers { length, .. } => linger = Some(*at + *length),
            // Whoever takes it up has heard nothing of her, unless it was landing.
            Fact::Recovered { .. } if landing.is_none() => linger = None,
            Fact::Lands { confirmed } => match linger {
                Some(until) if *confirmed || *at >= until => landing = Some(*at),
                _ => return Some(format!("fact {seq} lands, and the linger is {linger:?}")),
            },
            Fact::Woken { .. } => (linger, landing) = (None, None),
            Fact::Ended { reason, .. } => {
                let fade = terms.night.map_or(Span::ZERO, |night| night.fade);
                match (reason == &EndReason::Asleep, landing) {
                    (true, None) => return Some("it ended asleep and did not land".to_owned()),
                    (true, Some(since)) if at.since(since) > fade + STOOD => return Some(format!("it landed for {:?}", at.since(since))),
                    _ => {}
                }
            }
            _ => {}
        }
    }
    None
}

/// The sum of spans, in milliseconds.
pub(super) fn sum(spans: &[(i64, i64)]) -> i64 {
    spans.iter().map(|(from, to)| to - from).sum()
}

/// What each purchase of a call set aside, in minor units.
pub(super) fn bought(entries: &[Entry]) -> Vec<i64> {
    let mut first = 0;
    let mut bought = Vec::new();
    for entry in entries {
        match &entry.fact {
            Fact::Created { terms, .. } => {
                first = terms.hold.amount;
                bought.push(first);
            }
            Fact::Extended { amount, .. } => bought.push(amount.map_or(first, |amount| amount.amount)),
            _ => {}
        }
    }
    bought
}

/// What a vendor may have in a cell of her policy (the table of design.md section 4): first the default, then what is better for clients.
pub(super) fn may(ending: Ending, sold: Sold) -> &'static [Rule] {
    use Ending as E;
    let by_vendors_side = matches!(ending, E::CompanionLeft | E::CompanionTimeout | E::VendorEnded | E::PlatformTimeout | E::ServerFault);
    match (sold, by_vendors_side) {
        (Sold::Flat, true) => &[Rule::FreeBelowMin, Rule::Free],
        (Sold::Flat, false) => &[Rule::AsRated, Rule::FreeBelowMin, Rule::Free],
        (_, true) => &[Rule::ExactDelivered, Rule::Free],
        (_, false) => &[Rule::AsRated, Rule::ExactDelivered, Rule::Free],
    }
}

/// Whether a vendor may want this: nothing in it is worse for her clients than the default.
pub(super) fn is_fair(change: &Change) -> bool {
    let is_long = change.flat_min_s.is_none_or(|seconds| (FLAT_LEAST_MS / 1000..=LONGEST_S).contains(&seconds));
    is_long && change.cells.iter().all(|(ending, sold, rule)| may(*ending, *sold).contains(rule))
}

/// Which settlement an end calls for (the table of design.md section 4), by what was agreed when the call was made.
pub(super) fn settlement(plan: &Plan, agreed: &Policy, ended: (EndReason, Fault), was_live: bool, delivered_ms: i64) -> Settlement {
    use EndReason as E;
    let (reason, at_fault) = ended;
    let ending = match reason {
        E::TimeExpired => Ending::TimeExpired,
        E::FundsExhausted => Ending::FundsExhausted,
        E::CapReached => Ending::CapReached,
        E::Asleep => Ending::Asleep,
        E::MaxDuration => Ending::MaxDuration,
        E::ClientLeft => Ending::ClientLeft,
        E::AbuseReported => Ending::AbuseReported,
        E::CompanionLeft => Ending::CompanionLeft,
        E::VendorEnded => Ending::VendorEnded,
        E::ServerFault => Ending::ServerFault,
        E::MediaTimeout => match at_fault {
            Fault::Client => Ending::ClientTimeout,
            Fault::Companion => Ending::CompanionTimeout,
            Fault::Platform | Fault::None => Ending::PlatformTimeout,
        },
        E::NoAnswer | E::ClientNoShow | E::CompanionNoShow | E::ConnectFailed => return Settlement::Free,
    };
    if !was_live {
        return Settlement::Free;
    }
    let sold = match plan.kind() {
        Kind::Block { .. } => Sold::Block,
        Kind::Flat { .. } => Sold::Flat,
        Kind::PerMinute(_) | Kind::UntilAsleep { .. } => Sold::Metered,
    };
    match agreed.rule(ending, sold) {
        Rule::AsRated => Settlement::AsRated,
        Rule::FreeBelowMin if delivered_ms < agreed.flat_min().ms() => Settlement::Free,
        Rule::FreeBelowMin => Settlement::AsRated,
        Rule::ExactDelivered => Settlement::ExactDelivered,
        Rule::Free => Settlement::Free,
    }
}

/// Delivered time without what was a gift: that comes after all that whole increments paid for.
pub(super) fn without_gifts(plan: &Plan, held: &[i64], spans: &[(i64, i64)]) -> Vec<(i64, i64)> {
    if matches!(plan.kind(), Kind::Flat { .. }) {
        return spans.to_vec();
    }
    let bought_s = match plan.kind() {
        Kind::Block { block_s, .. } => block_s * i64::try_from(held.len()).unwrap_or(i64::MAX),
        _ => rate(plan, Settlement::AsRated, held, spans).0,
    };
    let mut left = (plan.conditions().grace_s + bought_s) * 1000;
    let mut paid = Vec::new();
    for (from, to) in spans {
        let length = left.min(to - from);
        left -= length;
        paid.push((*from, from + length));
    }
    paid
}

/// Billed seconds and the charge. `held`: what each purchase set aside.
pub(super) fn rate(plan: &Plan, settlement: Settlement, held: &[i64], spans: &[(i64, i64)]) -> (i64, i64) {
    let Conditions { grace_s, minimum, rounding } = plan.conditions();
    let billable_s = (sum(spans) / 1000 - grace_s).max(0);
    if settlement == Settlement::Free || billable_s == 0 {
        return (0, 0);
    }
    let exactly = settlement == Settlement::ExactDelivered;
    let (all, bought): (i64, i64) = (held.iter().sum(), i64::try_from(held.len()).unwrap_or(i64::MAX));
    let mut limit = all;
    let (billed_s, mut charge) = match plan.kind() {
        Kind::Block { block_s, price } if exactly => {
            let seconds = billable_s.min(block_s * bought);
            (seconds, i64::try_from(i128::from(*price) * i128::from(seconds) / i128::from(*block_s)).unwrap_or(i64::MAX))
        }
        Kind::Block { block_s, price } => {
            let started = ((billable_s + block_s - 1) / block_s).min(bought);
            (started * block_s, started * price)
        }
        Kind::Flat { .. } if exactly => (0, 0),
        Kind::Flat { price } => (billable_s, (*price).min(all)),
        Kind::PerMinute(increments) => metered(increments, spans, grace_s, limit, None, exactly, rounding),
        Kind::UntilAsleep { increments, cap_s, cap } => {
            limit = limit.min(cap.unwrap_or(i64::MAX));
            metered(increments, spans, grace_s, limit, *cap_s, exactly, rounding)
        }
    };
    if !exactly {
        charge = charge.max(minimum.min(limit));
    }
    (billed_s, charge)
}

fn metered(
    increments: &Increments,
    spans: &[(i64, i64)],
    grace_s: i64,
    limit: i64,
    cap_s: Option<i64>,
    exactly: bool,
    rounding: Rounding,
) -> (i64, i64) {
    let mut clock = Tariff::new(increments);
    let (mut second, mut billed_s, mut sixtieths) = (0, 0, 0i128);
    // Of the second at hand, what an earlier span had already; where an increment reaches to.
    let (mut had_ms, mut until_s) = (0, grace_s);
    let whole_s = sum(spans) / 1000;
    'spans: for (from, to) in spans {
        let mut at = from - had_ms;
        // A second belongs to the instant at which it begins; one that began in an earlier span is behind us.
        if had_ms > 0 {
            at += 1000;
        }
        while at < *to {
            if second >= whole_s {
                break 'spans;
            }
            if second >= until_s {
                let length = if exactly {
                    1
                } else if second == grace_s {
                    increments.first_s
                } else {
                    increments.later_s
                };
                let cost = i128::from(clock.rate_at(at)) * i128::from(length);
                if sixtieths + cost > i128::from(limit) * 60 || cap_s.is_some_and(|cap| billed_s + length > cap) {
                    break 'spans;
                }
                sixtieths += cost;
                billed_s += length;
                until_s = second + length;
            }
            second += 1;
            at += 1000;
        }
        had_ms = (1000 - (at - to)) % 1000;
    }
    let (floor, rest) = (sixtieths / 60, sixtieths % 60);
    let up = match rounding {
        _ if exactly => false,
        Rounding::Down => false,
        Rounding::HalfUp => rest >= 30,
        Rounding::HalfEven => rest > 30 || (rest == 30 && floor % 2 == 1),
    };
    (billed_s, i64::try_from(floor).unwrap_or(i64::MAX) + i64::from(up))
}

/// What a minute costs at an instant.
struct Tariff {
    zone: Option<TimeZone>,
    /// First minute of the day, minute after the last, rate.
    windows: Vec<(i64, i64, i64)>,
    minute: i64,
    rate: i64,
}

impl Tariff {
    fn new(increments: &Increments) -> Self {
        let zone = increments.rates.zone().and_then(|name| TimeZoneDatabase::bundled().get(name).ok());
        let minutes = |text: &str| {
            let (hours, minutes) = text.split_once(':').unwrap_or(("0", "0"));
            hours.parse::<i64>().unwrap_or(0) * 60 + minutes.parse::<i64>().unwrap_or(0)
        };
        let windows = increments.rates.windows().map(|(_, start, end, rate)| (minutes(&start), minutes(&end), rate)).collect();
        Self { zone, windows, minute: i64::MIN, rate: 0 }
    }

    fn rate_at(&mut self, at_ms: i64) -> i64 {
        let minute = at_ms.div_euclid(60_000);
        if minute != self.minute {
            self.minute = minute;
            self.rate = self.look_up(at_ms);
        }
        self.rate
    }

    fn look_up(&self, at_ms: i64) -> i64 {
        let (Some(zone), true) = (&self.zone, self.windows.len() > 1) else { return self.windows.first().map_or(0, |window| window.2) };
        let Ok(at) = Timestamp::from_millisecond(at_ms) else { return 0 };
        let time = at.to_zoned(zone.clone()).time();
        let minute = i64::from(time.hour()) * 60 + i64::from(time.minute());
        let holds = |(start, end, _): &&(i64, i64, i64)| {
            if start < end { (*start..*end).contains(&minute) } else { minute >= *start || minute < *end }
        };
        self.windows.iter().find(holds).map_or(0, |window| window.2)
    }
}

/// How a charge divides: whole parts, the spare unit to the larger remainder, a tie to the companion.
pub(super) fn shares(charge: i64, companion_bps: u16) -> (i64, i64) {
    let exact = i128::from(charge) * i128::from(companion_bps);
    let (whole, rest) = (exact / 10_000, exact % 10_000);
    let companion = whole + i128::from(rest >= 5000);
    let companion = i64::try_from(companion).unwrap_or(i64::MAX);
    (companion, charge - companion)
}
