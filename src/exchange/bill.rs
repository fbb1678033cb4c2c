//! The end of a call's money: which settlement its end calls for, what it costs, and who gets what.
//!
//! This is where a call's words are put into billing's, which knows none of them.

use super::effect::SettleOrder;
use super::record;
use crate::billing::{self, Cause, Conditions, Kind, Mark, Plan, Rating, Segment, Settlement};
use crate::call::{Call, EndReason, Fact, Fault, State, Terms};
use crate::clock::{Moment, Span};
use crate::ids::HoldId;
use crate::money::Money;

/// What the facts of an ended call come to.
pub(super) struct Bill {
    pub(super) reason: EndReason,
    pub(super) at_fault: Fault,
    pub(super) segments: Vec<Segment>,
    pub(super) delivered: Span,
    pub(super) settlement: Settlement,
    pub(super) rating: Rating,
    pub(super) companion_share: i64,
    pub(super) vendor_share: i64,
}

/// Settles a call that has just ended; none while it is open, and none a second time.
pub(super) fn settle(call: &mut Call) -> Option<SettleOrder> {
    if !matches!(call.state(), State::Ended { .. }) {
        return None;
    }
    let bill = bill(call)?;
    let price = call.terms().price.amount;
    let holds: Vec<(HoldId, i64)> = call.holds().iter().map(|hold| (*hold, price)).collect();
    let order = SettleOrder {
        captures: billing::capture(bill.rating.charge.amount, &holds),
        companion_share: bill.companion_share,
        vendor_share: bill.vendor_share,
        charge: bill.rating.charge,
        refund: bill.rating.refund,
        record: record::record_of(call, &bill),
    };
    call.settle(bill.rating.charge, bill.rating.refund);
    Some(order)
}

/// The bill of a call; none while it is open.
pub(super) fn bill(call: &Call) -> Option<Bill> {
    let (reason, at_fault, at) = match call.state() {
        State::Ended { reason, at_fault, at } | State::Settled { reason, at_fault, at, .. } => (reason, at_fault, at),
        State::Connecting | State::Live { .. } | State::Paused { .. } => return None,
    };
    let segments = billing::segments(marks(call));
    let delivered = billing::delivered(&segments);
    // The machine and the meter count by themselves; a difference would be money.
    assert_eq!(delivered, call.delivered(at), "the meter and the machine disagree about {}", call.id());
    let settlement = settlement(reason, at_fault, call.started_at().is_some());
    let terms = call.terms();
    let rating = billing::rate(&plan(terms), settlement, &holds(call), &segments);
    let shares = split(terms, rating.charge.amount);
    Some(Bill { reason, at_fault, segments, delivered, settlement, rating, companion_share: shares[0], vendor_share: shares[1] })
}

/// The companion's part of one block.
pub(super) fn pay(terms: &Terms) -> Money {
    Money::new(split(terms, terms.price.amount)[0], terms.price.currency)
}

/// The companion's part if the call ended at `now` and were charged as rated; once it ended, her part.
pub(super) fn earned(call: &Call, now: Moment) -> Money {
    let terms = call.terms();
    let share = match bill(call) {
        Some(bill) => bill.companion_share,
        None => {
            let segments = billing::segments(marks(call).chain([Mark::Ended { at: now }]));
            let rating = billing::rate(&plan(terms), Settlement::AsRated, &holds(call), &segments);
            split(terms, rating.charge.amount)[0]
        }
    };
    Money::new(share, terms.price.currency)
}

/// What the facts of a call say about its meter.
fn marks(call: &Call) -> impl Iterator<Item = Mark> {
    call.entries().iter().filter_map(|entry| match &entry.fact {
        Fact::Started | Fact::Resumed => Some(Mark::Ran { at: entry.at }),
        Fact::Paused { cause, since } => Some(Mark::Stood { since: *since, cause: cause_of(*cause) }),
        Fact::Ended { .. } => Some(Mark::Ended { at: entry.at }),
        Fact::Created { .. }
        | Fact::Joined { .. }
        | Fact::Connected { .. }
        | Fact::Heard { .. }
        | Fact::Lost { .. }
        | Fact::Back { .. }
        | Fact::Warned { .. }
        | Fact::Extended { .. }
        | Fact::Gifted { .. }
        | Fact::LinkRenewed { .. }
        | Fact::Recovered { .. }
        | Fact::Suspended { .. }
        | Fact::Quality { .. }
        | Fact::Settled { .. } => None,
    })
}

/// What was set aside for a call: the price of each block bought.
fn holds(call: &Call) -> Vec<i64> {
    vec![call.terms().price.amount; call.holds().len()]
}

/// Which settlement an end calls for (design.md section 4, the column for blocks).
pub(super) fn settlement(reason: EndReason, at_fault: Fault, was_live: bool) -> Settlement {
    if !was_live {
        return Settlement::Free;
    }
    match (reason, at_fault) {
        (EndReason::TimeExpired | EndReason::MaxDuration | EndReason::ClientLeft | EndReason::AbuseReported, _) => Settlement::AsRated,
        (EndReason::MediaTimeout, Fault::Client) => Settlement::AsRated,
        (EndReason::MediaTimeout, Fault::Companion | Fault::Platform | Fault::None) => Settlement::ExactDelivered,
        (EndReason::CompanionLeft | EndReason::VendorEnded | EndReason::ServerFault, _) => Settlement::ExactDelivered,
        // These end only what was never live.
        (EndReason::NoAnswer | EndReason::ClientNoShow | EndReason::CompanionNoShow | EndReason::ConnectFailed, _) => Settlement::Free,
    }
}

/// The companion's and the vendor's part.
fn split(terms: &Terms, charge: i64) -> Vec<i64> {
    billing::split(charge, &[terms.shares.companion_bps, terms.shares.vendor_bps])
}

fn plan(terms: &Terms) -> Plan {
    let kind = Kind::Block { block_s: terms.block.whole_s(), price: terms.price.amount };
    Plan::new(terms.price.currency, kind, Conditions::default()).expect("a call is made only on terms that were checked: Terms::check")
}

fn cause_of(fault: Fault) -> Cause {
    match fault {
        Fault::Client => Cause::Client,
        Fault::Companion => Cause::Companion,
        Fault::Platform | Fault::None => Cause::Platform,
    }
}
