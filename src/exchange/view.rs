//! What pages and lists show of a call: a snapshot at one moment, by the server's meter.

use super::bill;
use super::night::Nightly;
use crate::billing::Kind;
use crate::call::{Call, Party, Recording, Side, State, Terms};
use crate::clock::{Moment, Span};
use crate::ids::CallId;
use crate::money::Money;

/// Whether a party is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presence {
    /// An offer of hers was accepted, at this moment for the first time.
    pub joined_at: Option<Moment>,
    /// A leg of hers is connected and not lost.
    pub connected: bool,
    /// Her audio reaches the other side, or did when the meter last ran.
    pub heard: bool,
}

/// A call at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View<'a> {
    /// Which call.
    pub call: CallId,
    /// What was agreed.
    pub terms: &'a Terms,
    /// The moment this is true of.
    pub at: Moment,
    /// Where the call is in its life; holds cause and start of a pause, reason and fault of an end, charge and refund.
    pub state: State,
    /// When it was made.
    pub created_at: Moment,
    /// When the meter ran for the first time.
    pub started_at: Option<Moment>,
    /// Purchases: the booking and each extension; of a call in blocks, one a block.
    pub blocks: usize,
    /// What all of them set aside.
    pub held: Money,
    /// What may be delivered for it, as far as is known; no more than a metered call may last.
    pub paid: Span,
    /// Whether the call ends when it is used up: not so with one price for the whole call.
    pub is_limited: bool,
    /// Whether more time can be bought now.
    pub can_extend: bool,
    /// Time given away, after the paid time.
    pub gifted: Span,
    /// What of the gift limit is left.
    pub gift_left: Span,
    /// Time delivered.
    pub delivered: Span,
    /// Time left, paid and given.
    pub remaining: Span,
    /// While the meter runs: when the call ends by time.
    pub ends_at: Option<Moment>,
    /// While connecting or paused: when the call ends unless somebody comes.
    pub gives_up_at: Option<Moment>,
    /// What a minute costs now and by which window; of metered calls while they are open.
    pub rate: Option<(&'a str, Money)>,
    /// The charge if the call ended now and were settled as rated; once ended, the charge.
    pub spent: Money,
    /// The companion's part of what the booking set aside.
    pub pay: Money,
    /// The companion's part of `spent`.
    pub earned: Money,
    /// Of until-asleep calls: how it stands with sleep.
    pub night: Option<Nightly>,
    /// How its recording stands.
    pub recording: Recording,
    /// The client.
    pub client: Presence,
    /// The companion.
    pub companion: Presence,
}

impl<'a> View<'a> {
    /// A call as it stands at `now`.
    pub fn of(call: &'a Call, now: Moment) -> View<'a> {
        let (state, terms) = (call.state(), call.terms());
        let (spent, earned) = bill::so_far(call, now);
        let increments = match terms.sold.kind() {
            Kind::PerMinute(increments) | Kind::UntilAsleep { increments, .. } if !call.is_over() => Some(increments),
            Kind::Block { .. } | Kind::Flat { .. } | Kind::PerMinute(_) | Kind::UntilAsleep { .. } => None,
        };
        let money = |amount| Money::new(amount, terms.hold.currency);
        let rate = increments.map(|increments| increments.rates.at(now));
        View {
            call: call.id(),
            terms,
            at: now,
            state,
            created_at: call.created_at(),
            started_at: call.started_at(),
            blocks: call.holds().len(),
            held: money(call.amounts().iter().sum()),
            paid: call.paid(),
            is_limited: call.quota().is_some(),
            can_extend: call.can_extend(),
            gifted: call.gifted(),
            gift_left: terms.limits.gift_limit.saturating_sub(call.gifted()),
            delivered: call.delivered(now),
            remaining: call.remaining(now),
            ends_at: call.ends_at(),
            gives_up_at: call.gives_up_at(),
            rate: rate.map(|(label, rate)| (label, money(rate))),
            spent,
            pay: bill::pay(terms),
            earned,
            night: Nightly::of(call),
            recording: *call.recording(),
            client: Presence::of(call.party(Side::Client)),
            companion: Presence::of(call.party(Side::Companion)),
        }
    }

    /// One party.
    pub fn presence(&self, side: Side) -> Presence {
        match side {
            Side::Client => self.client,
            Side::Companion => self.companion,
        }
    }

    /// Whether it has ended: nobody joins any more.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Ended { .. } | State::Settled { .. })
    }

    /// Whether the meter runs.
    pub fn is_running(&self) -> bool {
        matches!(self.state, State::Live { .. })
    }
}

impl Presence {
    fn of(party: &Party) -> Presence {
        Presence { joined_at: party.joined_at, connected: party.is_connected(), heard: party.heard_at.is_some() }
    }
}
