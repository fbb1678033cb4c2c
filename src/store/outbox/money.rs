//! The events of money that goes back: of a settled call, and out of a wallet. Each is written in its transfer's own transaction.
//!
//! Invariant: of the transfers of these kinds each has one event, except those from before there were such events. The audit makes them
//! again from the rows.

use super::super::statement;
use super::{Halt, Of, insert, last_seq, offer, terms_of};
use crate::call::Terms;
use crate::exchange::{Announcement, Returned, return_announcement, wallet_announcement};
use crate::ids::CallId;
use crate::seeded::{self, Bug};
use crate::store::{Adjustment, Charged, Direction, Write};
use rusqlite::Connection;

/// Writes the event of a write, if it is money that goes back; the transfer is there already.
pub(super) fn append(connection: &Connection, write: &Write) -> Result<(), Halt> {
    match write {
        Write::Return(_) if seeded::has(Bug::RefundUntold) => Ok(()),
        Write::Return(wanted) => {
            let place = wanted.call.to_string();
            let terms = terms_of(connection, wanted.call)?;
            let found = || Halt::broken(format!("what went back of {place} is not there"));
            let charged = statement::charged(connection, wanted.vendor, wanted.call)?.ok_or_else(found)?;
            let all = statement::of_call(connection, wanted.call)?;
            let step = all.iter().find(|step| step.transfer == wanted.transfer).ok_or_else(found)?;
            let seq = last_seq(connection, &place)? + 1;
            let event = of_step(wanted.call, &terms, seq, step, &charged, charged.returned.sum());
            let of = Of::Return { call: &place, transfer: &wanted.transfer.to_string(), seq };
            let number = insert(connection, wanted.vendor, of, &event)?;
            offer(connection, wanted.vendor, number, &place, event.word, event.at)
        }
        Write::RefundWallet(wanted) => {
            let (transfer, client, amount) = (wanted.transfer, &wanted.client, wanted.amount);
            let event = wallet_announcement(transfer, wanted.vendor, client, amount, &wanted.order_ref, wanted.at);
            let number = insert(connection, wanted.vendor, Of::Wallet { transfer: &transfer.to_string() }, &event)?;
            // Each by itself: of two refunds neither waits for the other.
            offer(connection, wanted.vendor, number, &event.id.to_string(), event.word, event.at)
        }
        _ => Ok(()),
    }
}

/// The event of something that went back of a call; `returned` is what of the charge was with the client after it.
pub(in crate::store) fn of_step(
    call: CallId,
    terms: &Terms,
    seq: u64,
    step: &Adjustment,
    charged: &Charged,
    returned: i64,
) -> Announcement {
    let of = Returned {
        transfer: step.transfer,
        at: step.at,
        to_client: step.direction == Direction::ToClient,
        amount: step.amount,
        companion: step.parts.companion,
        vendor: step.parts.vendor,
        bearer: step.bearer.name(),
        reason: step.reason.clone(),
        returned,
        left: charged.parts.sum() - returned,
    };
    return_announcement(call, terms, seq, &of)
}
