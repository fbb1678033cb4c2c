//! The end of a call's money: which settlement its end calls for, what it costs, and who gets what.
//!
//! This is where a call's words are put into billing's, which knows none of them.

use super::effect::SettleOrder;
use super::record::{self, RecordError};
use crate::billing::{self, Rating, Segment, Settlement};
use crate::call::{Call, EndReason, Fault, State, Terms};
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
    let State::Ended { reason, at_fault, at } = call.state() else { return None };
    let bill = metered(call, reason, at_fault);
    // A call that has ended must be settled: a difference would stop no server that carries others. No record is made again of it,
    // so the audit finds it.
    debug_assert_eq!(bill.delivered, call.delivered(at), "the meter and the machine disagree about {}", call.id());
    let holds: Vec<(HoldId, i64)> = call.holds().iter().copied().zip(call.amounts().iter().copied()).collect();
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

/// The bill of a call that has ended. Its facts may come from a disk, so nothing is taken for granted about them.
pub(super) fn bill(call: &Call) -> Result<Bill, RecordError> {
    let (reason, at_fault, at) = match call.state() {
        State::Ended { reason, at_fault, at } | State::Settled { reason, at_fault, at, .. } => (reason, at_fault, at),
        State::Connecting | State::Live { .. } | State::Paused { .. } | State::Landing { .. } => return Err(RecordError::Open),
    };
    let bill = metered(call, reason, at_fault);
    // The machine and the meter count by themselves; a difference would be money.
    let machine = call.delivered(at);
    if bill.delivered == machine { Ok(bill) } else { Err(RecordError::Meter { meter: bill.delivered, machine }) }
}

/// What the meter says an end comes to.
fn metered(call: &Call, reason: EndReason, at_fault: Fault) -> Bill {
    let segments = billing::segments(call.marks(None));
    let delivered = billing::delivered(&segments);
    let terms = call.terms();
    let was_live = call.started_at().is_some().then_some(delivered);
    let settlement = terms.policy.settlement(terms.sold.kind(), reason, at_fault, was_live, terms.sold.conditions().grace_s);
    let rating = billing::rate_paid(&terms.sold, settlement, call.amounts(), &segments);
    let shares = split(terms, rating.charge.amount);
    Bill { reason, at_fault, segments, delivered, settlement, rating, companion_share: shares[0], vendor_share: shares[1] }
}

/// The companion's part of what the booking sets aside: of a block, of the flat price, of a metered call's first hold.
pub(super) fn pay(terms: &Terms) -> Money {
    Money::new(split(terms, terms.hold.amount)[0], terms.hold.currency)
}

/// What the call would be charged if it ended at `now` and were settled as rated, and the companion's part of it; once it
/// is settled, what it was.
pub(super) fn so_far(call: &Call, now: Moment) -> (Money, Money) {
    let terms = call.terms();
    let charge = match call.state() {
        State::Settled { charge, .. } => charge,
        State::Ended { reason, at_fault, .. } => metered(call, reason, at_fault).rating.charge,
        State::Connecting | State::Live { .. } | State::Paused { .. } | State::Landing { .. } => {
            let segments = billing::segments(call.marks(Some(now)));
            billing::rate(&terms.sold, Settlement::AsRated, call.amounts(), &segments).charge
        }
    };
    (charge, Money::new(split(terms, charge.amount)[0], terms.hold.currency))
}

/// The companion's and the vendor's part.
fn split(terms: &Terms, charge: i64) -> Vec<i64> {
    billing::split(charge, &[terms.shares.companion_bps, terms.shares.vendor_bps])
}
