//! The pulse: every five seconds the last proof of every live or paused call goes to disk, and what happens when it does not get there.
//!
//! A heartbeat moves no money and is a fact of nothing: it overwrites one row a call. The proof is the media plane's, never this
//! loop's clock. Invariant: a call runs on without a proof on disk for no longer than its lease.

use super::carry::Then;
use super::house::House;
use crate::call::{Call, Event, State};
use crate::clock::{Clock, Moment, Span};
use crate::ids::{BootId, CallId};
use crate::store::{Beat, Outcome, StoreError, Transaction, Write};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// Between two looks. Every tenth is a heartbeat for all; with many calls each look is one for a tenth of them, so that no
/// money command waits behind ten thousand rows.
pub(super) const TICK: Duration = Duration::from_millis(500);

/// Looks in a heartbeat: five seconds (design.md section 5).
const SLOTS: u64 = 10;

/// Up to so many calls beat together: a group of the store's writer.
const TOGETHER: usize = 1000;

/// Heartbeats on their way to disk at most: a slow disk is not helped by more.
const MOST_UNDER_WAY: u64 = SLOTS;

/// A server that is to stop and cannot write gives up after this; the next start finishes what is on disk.
const STOP_PATIENCE: Span = Span::from_s(10);

/// What is known of proofs on disk.
pub(super) struct Pulse {
    /// This start of the server.
    pub(super) boot: BootId,
    lease: Span,
    /// Calls are proved on disk until here.
    proved: BTreeMap<CallId, Moment>,
    slot: u64,
    under_way: u64,
    /// Since when a stop waits for a disk that refuses.
    stuck_since: Option<Moment>,
}

impl Pulse {
    pub(super) fn new(boot: BootId, lease: Span) -> Self {
        Self { boot, lease, proved: BTreeMap::new(), slot: 0, under_way: 0, stuck_since: None }
    }

    /// The next look is a heartbeat for all.
    #[cfg(test)]
    pub(super) fn rewind(&mut self) {
        self.slot = 0;
    }

    /// A call was taken up: its lease begins now, however long the server was away.
    pub(super) fn begin(&mut self, call: CallId, now: Moment) {
        self.proved.insert(call, now);
    }

    pub(super) fn forget(&mut self, call: CallId) {
        self.proved.remove(&call);
    }

    /// The machine slept: no lease ran meanwhile.
    pub(super) fn excuse(&mut self, slept: Span) {
        for proved in self.proved.values_mut() {
            *proved = *proved + slept;
        }
    }

    /// Until when the disk proves this call, if it is long enough ago that its lease is over.
    fn lapsed(&self, call: &Call, now: Moment) -> Option<Moment> {
        let (State::Live { since } | State::Paused { since, .. } | State::Landing { since, .. }) = call.state() else { return None };
        let proved = self.proved.get(&call.id()).map_or(since, |proved| since.max(*proved));
        (now.since(proved) > self.lease).then_some(proved)
    }
}

/// In which look a call's turn is, when not all beat together.
fn slot_of(call: CallId) -> u64 {
    let mut hasher = DefaultHasher::new();
    call.hash(&mut hasher);
    hasher.finish() % SLOTS
}

impl House {
    /// One look: a heartbeat for those whose turn it is, and an end for those whose lease is over.
    pub(super) fn beat(&mut self) {
        let trouble = self.store.trouble();
        let now = self.clock.now();
        self.give_up_stopping(trouble.as_ref(), now);
        let slot = self.pulse.slot;
        self.pulse.slot = (slot + 1) % SLOTS;
        if slot == 0 || trouble.is_some() {
            self.end_lapsed(now);
            self.follow_wall_clock();
        }
        let all_together = self.exchange.len() <= TOGETHER;
        if (all_together && slot != 0) || self.pulse.under_way >= MOST_UNDER_WAY {
            return;
        }
        let turn = self.exchange.running().filter(|(call, _)| all_together || slot_of(*call) == slot);
        let beats: Vec<Beat> = turn
            .map(|(call, basis)| {
                let parties = self.parties.get(&call);
                let proof = basis.proof(|side, leg| parties.and_then(|parties| parties.of(side).alive_at(leg)), now);
                Beat { call, until: proof.until, delivered: proof.delivered }
            })
            .collect();
        let proved = beats.iter().map(|beat| (beat.call, beat.until)).collect();
        let write = Write::Heartbeats { boot: self.pulse.boot, at: now, clocks: Clock::read(), beats };
        self.pulse.under_way += 1;
        self.commit(Transaction { idempotency: None, writes: vec![write] }, Then::Beaten(proved));
    }

    /// A heartbeat is on disk, or is not.
    pub(super) fn beaten(&mut self, proved: Vec<(CallId, Moment)>, outcome: Result<Outcome, StoreError>) {
        self.pulse.under_way -= 1;
        match outcome {
            Ok(_) => {
                metrics::counter!("lull_heartbeats_total").increment(proved.len() as u64);
                let open = proved.into_iter().filter(|(call, _)| self.exchange.call(*call).is_some_and(|call| !call.is_over()));
                self.pulse.proved.extend(open);
            }
            // The next one says the same and more; leases run meanwhile.
            Err(error @ (StoreError::Full | StoreError::Busy)) => {
                metrics::counter!("lull_heartbeats_refused_total").increment(1);
                tracing::warn!(%error, "a heartbeat could not be written: {error}");
            }
            Err(error @ (StoreError::Closed | StoreError::Broken(_) | StoreError::Database(_))) => self.fail(error),
        }
    }

    /// Ends calls that the disk has not proved for too long, as of their last proof.
    fn end_lapsed(&mut self, now: Moment) {
        let lapsed = self.exchange.calls().filter_map(|call| Some((call.id(), self.pulse.lapsed(call, now)?)));
        let lapsed: Vec<(CallId, Moment)> = lapsed.collect();
        for (call, proved) in lapsed {
            tracing::error!(call.id = %call, "call {call} ends: nothing of it is proved on disk since {proved}");
            self.tell_core(call, Event::LeaseLapsed { proved });
        }
    }

    fn give_up_stopping(&mut self, trouble: Option<&StoreError>, now: Moment) {
        match trouble {
            Some(error) if self.stopping => {
                let since = *self.pulse.stuck_since.get_or_insert(now);
                if now.since(since) > STOP_PATIENCE && self.failure.is_none() {
                    self.fail(error.clone());
                }
            }
            Some(_) | None => self.pulse.stuck_since = None,
        }
    }
}
