//! What a shard counts, and how others read it without disturbing it.

use super::placement::Room;
use super::shard::gate::Outlook;
use super::shard::load::{Figures, LATE_BOUNDS_US, LATE_COUNTS, Lateness};
use crate::relay::Dropped;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Why a datagram went no further, before it was media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// From an address, or for a name, that no leg has.
    Stranger,
    /// STUN that is no binding request signed with our password.
    BadStun,
    /// Neither STUN, DTLS nor SRTP.
    Unknown,
    /// Media of a leg that has nobody to send it to.
    Alone,
    /// The kernel did not take it.
    Refused,
    /// Longer than any page sends.
    TooLong,
    /// The socket's buffer was full: the shard came too late.
    Kernel,
    /// More handshakes than the shard keeps waiting; pages repeat theirs.
    Crowded,
    /// DTLS that is damaged, forged, repeated or out of place.
    BadDtls,
    /// Authentic, but more than any page has reason to send.
    TooMany,
    /// Not sent: the page reads its TCP connection too slowly.
    SlowReader,
    /// The copy of a tapped packet: its worker's queue was full. The packet itself was forwarded, unless it was held.
    TapFull,
    /// What a worker sent in place of a packet that was not held, was replaced before or came too long ago.
    Unasked,
}

const LOSSES: [&str; 13] = [
    "stranger",
    "bad_stun",
    "unknown",
    "alone",
    "refused",
    "too_long",
    "kernel",
    "crowded",
    "bad_dtls",
    "too_many",
    "slow_reader",
    "tap_full",
    "unasked",
];
const RELAY: usize = Dropped::ALL.len();
const CAUSES: usize = RELAY + LOSSES.len();

/// The labels of all causes, in their order.
fn causes() -> impl Iterator<Item = &'static str> {
    Dropped::ALL.iter().map(|cause| cause.label()).chain(LOSSES)
}

/// A shard's own counters: plain numbers on its thread.
#[derive(Clone, Default)]
pub(crate) struct Counts {
    pub(crate) received: u64,
    pub(crate) forwarded: u64,
    /// Calls that found the shard full.
    pub(crate) refused_calls: u64,
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

    /// How many so far, by the cause's label.
    pub(crate) fn of(&self, cause: &str) -> u64 {
        causes().zip(self.causes).filter(|(label, _)| *label == cause).map(|(_, count)| count).sum()
    }

    /// For a cause that somebody else counts.
    pub(crate) fn lost_in_all(&mut self, loss: Loss, total: u64) {
        self.causes[RELAY + loss as usize] = total;
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
    cpu_us: AtomicU64,
    busy_ppm: AtomicU64,
    setup_ppm: AtomicU64,
    load_ppm: AtomicU64,
    call_cost_ppm: AtomicU64,
    room: AtomicU64,
    packet_cost_ns: AtomicU64,
    late_p99_us: AtomicU64,
    late_worst_us: AtomicU64,
    late: [AtomicU64; LATE_COUNTS],
    refused_calls: AtomicU64,
    /// Commands on their way: counted up by the handle and down by the shard.
    pub(crate) queued: AtomicU64,
}

/// A copy of everything, made once a tick.
pub(crate) struct Snapshot<'a> {
    pub(crate) counts: &'a Counts,
    /// Legs and calls.
    pub(crate) sizes: (usize, usize),
    pub(crate) cpu: Duration,
    pub(crate) figures: Figures,
    pub(crate) outlook: Outlook,
    pub(crate) lateness: &'a Lateness,
}

fn set(to: &AtomicU64, value: u64) {
    to.store(value, Ordering::Relaxed);
}

fn get(from: &AtomicU64) -> u64 {
    from.load(Ordering::Relaxed)
}

fn us(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn ppm(share: f64) -> u64 {
    (share * 1e6).round() as u64
}

fn share(ppm: u64) -> f64 {
    ppm as f64 / 1e6
}

impl Shown {
    pub(crate) fn show(&self, shot: &Snapshot<'_>) {
        let Snapshot { counts, sizes: (legs, calls), cpu, figures, outlook, lateness } = shot;
        set(&self.received, counts.received);
        set(&self.forwarded, counts.forwarded);
        set(&self.legs, *legs as u64);
        set(&self.calls, *calls as u64);
        for (to, value) in self.causes.iter().zip(counts.causes) {
            set(to, value);
        }
        set(&self.cpu_us, us(*cpu));
        set(&self.busy_ppm, ppm(figures.busy));
        set(&self.setup_ppm, ppm(figures.setup));
        set(&self.packet_cost_ns, u64::try_from(figures.packet_cost.as_nanos()).unwrap_or(u64::MAX));
        set(&self.late_p99_us, us(figures.late_p99));
        set(&self.late_worst_us, us(figures.late_worst));
        for (to, value) in self.late.iter().zip(lateness.counts()) {
            set(to, *value);
        }
        set(&self.refused_calls, counts.refused_calls);
        self.show_outlook(outlook);
    }

    pub(crate) fn show_outlook(&self, outlook: &Outlook) {
        set(&self.load_ppm, ppm(outlook.load));
        set(&self.call_cost_ppm, ppm(outlook.call_cost));
        set(&self.room, outlook.room as u64);
    }

    /// What placement looks at.
    pub(crate) fn room(&self) -> Room {
        let whole = |from| usize::try_from(get(from)).unwrap_or(usize::MAX);
        Room {
            load: share(get(&self.load_ppm)),
            call_cost: share(get(&self.call_cost_ppm)),
            calls: whole(&self.room),
            seen: whole(&self.calls),
        }
    }

    pub(crate) fn read(&self) -> ShardStats {
        ShardStats {
            received: get(&self.received),
            forwarded: get(&self.forwarded),
            legs: get(&self.legs),
            calls: get(&self.calls),
            dropped: causes().zip(self.causes.iter().map(get)).collect(),
            cpu_us: get(&self.cpu_us),
            packet_cost_ns: get(&self.packet_cost_ns),
            busy_ppm: get(&self.busy_ppm),
            setup_ppm: get(&self.setup_ppm),
            load_ppm: get(&self.load_ppm),
            room: get(&self.room),
            late_p99_us: get(&self.late_p99_us),
            late_worst_us: get(&self.late_worst_us),
            late: LATE_BOUNDS_US.into_iter().map(Some).chain([None]).zip(self.late.iter().map(get)).collect(),
            queued_commands: get(&self.queued),
            refused_calls: get(&self.refused_calls),
        }
    }
}

/// Figures of one shard, for `/metrics`. Up to 100 ms old; "lately" is the last second.
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
    /// CPU time of the shard's thread since the start, in µs.
    pub cpu_us: u64,
    /// Lately: CPU time over media packets sent on, in ns, everything else the thread does included; 0 without packets.
    pub packet_cost_ns: u64,
    /// Lately: time at work without joins and handshakes, in millionths.
    pub busy_ppm: u64,
    /// Lately: time at work on joins and handshakes, in millionths.
    pub setup_ppm: u64,
    /// The load when all calls that were let in are sending, in millionths of a core.
    pub load_ppm: u64,
    /// New calls the shard would take now; 0 when it is full.
    pub room: u64,
    /// Lately: how late (µs) packets were taken from the socket, but for one in a hundred. Up to a millisecond is planned and not counted.
    pub late_p99_us: u64,
    /// Lately: how late (µs) the latest were.
    pub late_worst_us: u64,
    /// Datagrams since the start by how late they were taken: up to so many µs and more than the bound before; none is beyond all.
    pub late: Vec<(Option<u64>, u64)>,
    /// Commands that wait for the shard's next turns.
    pub queued_commands: u64,
    /// Joins refused since the start because the shard was full.
    pub refused_calls: u64,
}
