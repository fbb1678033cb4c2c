//! What a shard counts, and how others read it without disturbing it.

use crate::relay::Dropped;
use std::sync::atomic::{AtomicU64, Ordering};

/// Why a datagram went no further, before it was media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// From an address, or for a name, that no leg has.
    Stranger,
    /// A binding request that is not signed with our password.
    BadStun,
    /// Neither STUN, DTLS nor SRTP.
    Unknown,
    /// Media of a leg that has nobody to send it to.
    Alone,
    /// The kernel did not take it.
    Refused,
    /// Longer than any page sends.
    TooLong,
    /// Not sent: the page reads its TCP connection too slowly.
    SlowReader,
}

const LOSSES: [&str; 7] = ["stranger", "bad_stun", "unknown", "alone", "refused", "too_long", "slow_reader"];
const RELAY: usize = Dropped::ALL.len();
const CAUSES: usize = RELAY + LOSSES.len();

/// A shard's own counters: plain numbers on its thread.
#[derive(Clone, Default)]
pub(crate) struct Counts {
    pub(crate) received: u64,
    pub(crate) forwarded: u64,
    causes: [u64; CAUSES],
}

impl Counts {
    pub(crate) fn drop(&mut self, cause: Dropped) {
        self.causes[cause as usize] += 1;
    }

    pub(crate) fn lose(&mut self, loss: Loss) {
        self.lose_many(loss, 1);
    }

    pub(crate) fn lose_many(&mut self, loss: Loss, count: u64) {
        self.causes[RELAY + loss as usize] += count;
    }
}

/// What a shard shows of itself; a copy ten times a second.
#[derive(Default)]
pub(crate) struct Shown {
    received: AtomicU64,
    forwarded: AtomicU64,
    legs: AtomicU64,
    calls: AtomicU64,
    causes: [AtomicU64; CAUSES],
}

impl Shown {
    pub(crate) fn show(&self, counts: &Counts, (legs, calls): (usize, usize)) {
        let set = |to: &AtomicU64, value: u64| to.store(value, Ordering::Relaxed);
        set(&self.received, counts.received);
        set(&self.forwarded, counts.forwarded);
        set(&self.legs, legs as u64);
        set(&self.calls, calls as u64);
        for (to, value) in self.causes.iter().zip(counts.causes) {
            set(to, value);
        }
    }

    pub(crate) fn read(&self) -> ShardStats {
        let get = |from: &AtomicU64| from.load(Ordering::Relaxed);
        let labels = Dropped::ALL.iter().map(|cause| cause.label()).chain(LOSSES);
        ShardStats {
            received: get(&self.received),
            forwarded: get(&self.forwarded),
            legs: get(&self.legs),
            calls: get(&self.calls),
            dropped: labels.zip(self.causes.iter().map(get)).collect(),
        }
    }
}

/// Figures of one shard, for `/metrics`. Up to 100 ms old.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardStats {
    /// Datagrams received since the start.
    pub received: u64,
    /// Media packets sent on since the start.
    pub forwarded: u64,
    /// Legs there are now.
    pub legs: u64,
    /// Calls there are now.
    pub calls: u64,
    /// Datagrams that went no further since the start, by cause (a metrics label).
    pub dropped: Vec<(&'static str, u64)>,
}
