//! The outbox, in the reference: which events there must be, made from facts and movements alone.
//!
//! Each fact that is told has one event, each refund and adjustment of a call one behind them, numbered from 1 in its call without a
//! gap; each refund of a wallet has one without a number. What went out of it is the courier's business.

use super::Memory;
use super::returns::Step;
use crate::call::{Fact, Terms};
use crate::exchange::{Announcement, Returned, announcement, return_announcement, wallet_announcement, word};
use crate::ids::{CallId, EventId, VendorId};

/// An event as it must lie in the outbox: what must come one after the other, its number there, id, word, body.
pub(in crate::simulate) type Told = (String, Option<u64>, String, String, String);

impl Memory {
    /// The words of a call's events: the first is number 1.
    pub(in crate::simulate) fn words(&self, call: CallId) -> impl Iterator<Item = &'static str> {
        let facts = self.calls.get(&call).into_iter().flat_map(|row| &row.entries).filter_map(|entry| word(&entry.fact));
        facts.chain(self.steps(call).iter().map(word_of))
    }

    /// A call's event of this number.
    pub(in crate::simulate) fn event(&self, call: CallId, number: u64) -> Option<Announcement> {
        let row = self.calls.get(&call)?;
        let Some(Fact::Created { terms, .. }) = row.entries.first().map(|entry| &entry.fact) else { return None };
        let mut left = usize::try_from(number.checked_sub(1)?).ok()?;
        for entry in row.entries.iter().filter(|entry| word(&entry.fact).is_some()) {
            if left == 0 {
                return announcement(call, terms, number, entry, row.record.as_deref());
            }
            left -= 1;
        }
        let charged = row.paid.map_or(0, |(_, parts)| parts.sum());
        self.steps(call).get(left).map(|step| of_step(call, terms, number, step, charged))
    }

    /// The event of a refund of a wallet.
    pub(in crate::simulate) fn wallet_event(&self, id: EventId) -> Option<Announcement> {
        self.wallet_events().map(|(_, event)| event).find(|event| event.id == id)
    }

    fn wallet_events(&self) -> impl Iterator<Item = (VendorId, Announcement)> {
        self.paid_out.iter().map(|((vendor, order_ref), paid)| {
            (*vendor, wallet_announcement(paid.transfer, *vendor, &paid.client, paid.amount, order_ref, paid.at))
        })
    }

    /// The calls of a vendor.
    pub(in crate::simulate) fn calls_of(&self, vendor: VendorId) -> impl Iterator<Item = CallId> {
        self.calls.iter().filter(move |(_, row)| row.vendor == vendor).map(|(call, _)| *call)
    }

    /// The events of a vendor's refunds of wallets.
    pub(in crate::simulate) fn wallet_events_of(&self, vendor: VendorId) -> impl Iterator<Item = EventId> {
        self.wallet_events().filter(move |(of, _)| *of == vendor).map(|(_, event)| event.id)
    }

    /// How many events there must be.
    pub(in crate::simulate) fn count_events(&self) -> u64 {
        let facts = self.calls.values().flat_map(|row| &row.entries).filter(|entry| word(&entry.fact).is_some()).count();
        facts as u64 + self.count_returns().iter().sum::<u64>()
    }

    /// Every event there must be, in the order of what it is about.
    pub(in crate::simulate) fn events(&self) -> Vec<Told> {
        let told = |lane: String, number, event: Announcement| (lane, number, event.id.to_string(), event.word.to_owned(), event.body);
        let mut all: Vec<Told> = self.wallet_events().map(|(_, event)| told(event.id.to_string(), None, event)).collect();
        for call in self.calls.keys() {
            let numbers = 1..=self.words(*call).count() as u64;
            all.extend(numbers.filter_map(|number| Some(told(call.to_string(), Some(number), self.event(*call, number)?))));
        }
        all.sort();
        all
    }
}

fn word_of(step: &Step) -> &'static str {
    if step.reason.is_some() { "call.adjusted" } else { "call.refunded" }
}

fn of_step(call: CallId, terms: &Terms, number: u64, step: &Step, charged: i64) -> Announcement {
    let of = Returned {
        transfer: step.transfer,
        at: step.at,
        to_client: step.to_client,
        amount: step.amount,
        companion: step.parts.companion,
        vendor: step.parts.vendor,
        bearer: step.bearer.name(),
        reason: step.reason.clone(),
        returned: step.after.sum(),
        left: charged - step.after.sum(),
    };
    return_announcement(call, terms, number, &of)
}
