//! Where a packet lies in time, and what is between it and the one before: DTX, loss, or nothing at all.
//!
//! Positions are RTP ticks since the beginning. A source's timestamps rule while they agree with the arrivals within some seconds; where
//! they do not, and where a source begins, the arrival does. So a page can claim no hours: what is accounted for never runs more than
//! [`EARLIEST`] and a packet ahead of the clock. Invariant: positions handed out never overlap and never go back.

use super::packet::{Packet, RTP_RATE};
use crate::clock::{Moment, Span};

const TICKS_PER_MS: i64 = RTP_RATE as i64 / 1000;
/// A source that is so far ahead of its arrivals is not believed.
pub(super) const EARLIEST: i64 = 2_000 * TICKS_PER_MS;
/// A source that stays so far behind its arrivals is not believed either: its clock stood still.
const LATEST: i64 = 2_000 * TICKS_PER_MS;
/// For so long packets may be behind: a network that stalled delivers them in a burst.
const BURST: Span = Span::from_ms(500);
/// DTX lets something be heard every 400 ms (RFC 6716 section 2.1.9); nothing for longer than this is not DTX.
const LONGEST_DTX: u64 = 1_000 * TICKS_PER_MS as u64;
/// Without a packet for so long it is accounted as absent, up to [`RESERVE`] ago.
const ABSENT_AFTER: Span = Span::from_ms(1_000);
/// What may still come.
const RESERVE: i64 = 500 * TICKS_PER_MS;
/// What is accounted for without packets comes in pieces of 20 ms.
const PIECE: i64 = 20 * TICKS_PER_MS;
/// Packets after which the drift of the source's clock is looked at: 10 s of frames of 20 ms.
const DRIFT_AFTER: u32 = 500;
/// And by how many ms it is adapted then, at most: 1 in 1,000.
const DRIFT_STEP: i64 = 10;

/// What lies between a packet and what was accounted for before it, in ticks, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Gap {
    /// Packets that never came, or could not be read.
    pub(super) lost: u64,
    /// Time that passed without packets (DTX).
    pub(super) withheld: u64,
    /// Too much time for that.
    pub(super) absent: u64,
    /// The packet is not the continuation of what was decoded before.
    pub(super) is_fresh: bool,
}

/// The last packet of the present source.
struct Last {
    index: u64,
    timestamp: u32,
    position: i64,
    ticks: u32,
    /// Ticks of packets after it that could not be read.
    unread: u64,
}

/// The time of one side, over all its sources.
pub(super) struct Timeline {
    /// When position 0 is. Here every source is placed by its first arrival, so that errors do not add up.
    origin: Moment,
    /// By how many ms the present source has fallen behind that since, or run ahead.
    drift: i64,
    /// Up to here everything is accounted for.
    next: i64,
    last: Option<Last>,
    /// When something that could be placed came last.
    heard: Moment,
    /// Since when packets are behind.
    behind: Option<Moment>,
    /// The most punctual packet since the drift was last looked at, in ms.
    lateness: i64,
    counted: u32,
}

impl Timeline {
    /// Position 0 is at `origin`.
    pub(super) fn new(origin: Moment) -> Self {
        Self { origin, drift: 0, next: 0, last: None, heard: origin, behind: None, lateness: i64::MAX, counted: 0 }
    }

    /// When position 0 was by the clock of the present source: it moves with the drift of that, slowly.
    pub(super) fn origin(&self) -> Moment {
        self.origin + Span::from_ms(self.drift)
    }

    /// Places a packet of so many ticks; nothing if its time is over, or far from coming.
    pub(super) fn place(&mut self, packet: &Packet<'_>, ticks: u32) -> Option<Gap> {
        let arrival = self.ticks_at(packet.at);
        let undrifted = arrival + self.drift * TICKS_PER_MS;
        let anew = self.next.max(undrifted);
        let (mut position, mut missed) = (anew, 0);
        let mut is_fresh = true;
        if let Some(last) = &self.last {
            // The nearer way round: a timestamp wraps every 24 hours.
            position = last.position + i64::from(packet.timestamp.wrapping_sub(last.timestamp).cast_signed());
            missed = packet.index.saturating_sub(last.index + 1).min(1 << 20) * u64::from(last.ticks) + last.unread;
            is_fresh = false;
        }
        let is_behind = !is_fresh && (position < self.next || arrival - position > LATEST);
        let stays_behind = is_behind && packet.at.since(*self.behind.get_or_insert(packet.at)) >= BURST;
        if stays_behind || (!is_fresh && position - arrival > EARLIEST) {
            (position, missed, is_fresh) = (anew, 0, true);
        }
        if !is_behind || stays_behind {
            self.behind = None;
        }
        let gap = position - self.next;
        let is_placed = gap >= 0 && (!is_fresh || position - undrifted <= EARLIEST);
        self.last = Some(Last { index: packet.index, timestamp: packet.timestamp, position, ticks, unread: 0 });
        self.heard = self.heard.max(packet.at);
        if !is_placed {
            return None;
        }
        self.next = position + i64::from(ticks);
        let gap = gap.unsigned_abs();
        if is_fresh {
            self.drift = (undrifted - position) / TICKS_PER_MS;
            return Some(Gap { absent: gap, is_fresh, ..Gap::default() });
        }
        self.follow_drift((arrival - position) / TICKS_PER_MS);
        let lost = gap.min(missed);
        let rest = gap - lost;
        if rest > LONGEST_DTX {
            return Some(Gap { lost, absent: rest, is_fresh: true, ..Gap::default() });
        }
        Some(Gap { lost, withheld: rest, ..Gap::default() })
    }

    /// A packet could not be read: what it held is lost.
    pub(super) fn unread(&mut self, packet: &Packet<'_>) {
        if let Some(last) = &mut self.last {
            let missed = packet.index.saturating_sub(last.index).min(1 << 20);
            last.unread = (last.unread + missed * u64::from(last.ticks)).min(1 << 32);
            last.index = packet.index;
        }
    }

    /// Ticks that are absent by now because nothing came; they are accounted for.
    pub(super) fn absent(&mut self, now: Moment) -> u64 {
        if now.since(self.heard) < ABSENT_AFTER {
            return 0;
        }
        self.account(self.ticks_at(now) - RESERVE)
    }

    /// Ticks that are missing until `now`, where this ends.
    pub(super) fn end(&mut self, now: Moment) -> u64 {
        let until = self.ticks_at(now);
        self.account(until + PIECE / 2)
    }

    /// Another source: its timestamps have nothing to do with the earlier one's.
    pub(super) fn restart(&mut self) {
        self.last = None;
        self.behind = None;
        (self.lateness, self.counted) = (i64::MAX, 0);
    }

    fn account(&mut self, until: i64) -> u64 {
        let pieces = ((until - self.next) / PIECE).max(0);
        self.next += pieces * PIECE;
        (pieces * PIECE).unsigned_abs()
    }

    fn ticks_at(&self, at: Moment) -> i64 {
        // Moments are milliseconds of this age: the product is far from the edge.
        at.unix_ms().saturating_sub(self.origin().unix_ms()).saturating_mul(TICKS_PER_MS)
    }

    /// Adapts the drift so that the most punctual packets arrive on time, slowly.
    fn follow_drift(&mut self, lateness: i64) {
        self.lateness = self.lateness.min(lateness);
        self.counted += 1;
        if self.counted >= DRIFT_AFTER {
            self.drift += self.lateness.clamp(-DRIFT_STEP, DRIFT_STEP);
            (self.lateness, self.counted) = (i64::MAX, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = TICKS_PER_MS as u64;

    fn at(ms: i64) -> Moment {
        Moment::from_unix_ms(1_000_000 + ms)
    }

    fn place(timeline: &mut Timeline, index: u64, timestamp: u32, ms: i64) -> Option<Gap> {
        timeline.place(&Packet { index, timestamp, at: at(ms), payload: &[] }, 960)
    }

    fn next(timeline: &Timeline) -> u64 {
        timeline.next.unsigned_abs()
    }

    fn begun() -> Timeline {
        let mut timeline = Timeline::new(at(0));
        assert_eq!(place(&mut timeline, 7, 5_000, 0), Some(Gap { is_fresh: true, ..Gap::default() }));
        timeline
    }

    #[test]
    fn numbers_tell_dtx_from_loss() {
        let mut timeline = begun();
        assert_eq!(place(&mut timeline, 8, 5_960, 20), Some(Gap::default()));
        assert_eq!(place(&mut timeline, 9, 5_960 + 20 * 960, 400), Some(Gap { withheld: 19 * 960, ..Gap::default() }));
        let now = 5_960 + 20 * 960;
        assert_eq!(place(&mut timeline, 12, now + 3 * 960, 460), Some(Gap { lost: 2 * 960, ..Gap::default() }));
        let both = Gap { lost: 960, withheld: 4 * 960, ..Gap::default() };
        assert_eq!(place(&mut timeline, 14, now + 9 * 960, 560), Some(both));
        let gone = Gap { absent: 1_480 * MS, is_fresh: true, ..Gap::default() };
        assert_eq!(place(&mut timeline, 15, now + 9 * 960 + 1_500 * 48, 2_080), Some(gone));
    }

    #[test]
    fn a_packet_that_cannot_be_read_is_lost_and_not_withheld() {
        let mut timeline = begun();
        timeline.unread(&Packet { index: 8, timestamp: 5_960, at: at(20), payload: &[] });
        assert_eq!(place(&mut timeline, 9, 5_000 + 2 * 960, 40), Some(Gap { lost: 960, ..Gap::default() }));
    }

    #[test]
    fn no_timestamp_runs_ahead_of_the_clock() {
        let mut timeline = begun();
        let mut timestamp = 5_000_u32;
        for step in 1..2_000_u32 {
            timestamp = timestamp.wrapping_add(step.wrapping_mul(77_777_777));
            let ms = i64::from(step) * 20;
            place(&mut timeline, 7 + u64::from(step), timestamp, ms);
            assert!(next(&timeline) <= (ms as u64 + 2_021) * MS, "{step}: {}", next(&timeline) / MS);
        }
        assert!(next(&timeline) > 30_000 * MS, "and it goes on: {}", next(&timeline) / MS);
    }

    #[test]
    fn a_clock_that_stood_still_is_caught_up_with() {
        let mut timeline = begun();
        assert_eq!(timeline.absent(at(900)), 0);
        assert_eq!(timeline.absent(at(5_000)), 4_480 * MS);
        // Its microphone stopped for five seconds, and its timestamps with it.
        let mut placed = Vec::new();
        for step in 0..40_u32 {
            if let Some(gap) = place(&mut timeline, 8 + u64::from(step), 5_960 + 960 * step, 5_000 + 20 * i64::from(step)) {
                placed.push((step, gap.absent / MS));
            }
        }
        assert_eq!(placed[0], (25, 1_000), "500 ms may be a burst");
        assert_eq!(placed.len(), 15);
        assert_eq!(next(&timeline), 5_800 * MS);
    }

    #[test]
    fn a_burst_after_a_stall_is_left_out_until_it_has_caught_up() {
        let mut timeline = begun();
        assert_eq!(timeline.absent(at(2_000)), 1_480 * MS);
        let mut placed = 0;
        for step in 0..100_u32 {
            placed += usize::from(place(&mut timeline, 8 + u64::from(step), 5_960 + 960 * step, 2_020 + i64::from(step)).is_some());
        }
        assert_eq!(placed, 26, "those of the last half second and what follows");
        assert_eq!(next(&timeline), 101 * 20 * MS);
    }

    #[test]
    fn another_source_goes_on_where_the_clock_is() {
        let mut timeline = begun();
        timeline.restart();
        assert_eq!(place(&mut timeline, 3, 4_000_000_000, 700), Some(Gap { absent: 680 * MS, is_fresh: true, ..Gap::default() }));
        assert_eq!(place(&mut timeline, 4, 4_000_000_960, 720), Some(Gap::default()));
        assert_eq!(timeline.end(at(1_000)), 260 * MS);
        assert_eq!(timeline.end(at(1_000)), 0);
    }

    #[test]
    fn time_follows_the_drift_of_the_sources_clock() {
        let mut timeline = begun();
        // 100 in a million slow, eight hours, and at most 30 ms of jitter.
        let packets = 8 * 3600 * 50_u32;
        for step in 1..packets {
            let ms = f64::from(step) * 20.0 * 1.0001 + f64::from(step % 7) * 5.0;
            assert_eq!(place(&mut timeline, 7 + u64::from(step), 5_000_u32.wrapping_add(960 * step), ms as i64), Some(Gap::default()));
        }
        assert_eq!(next(&timeline), u64::from(packets) * 960, "the source's clock rules");
        let drift = timeline.origin().since(at(0)).ms();
        assert!((2_850..=2_890).contains(&drift), "{drift}");
        // A new page is placed by the clock again.
        timeline.restart();
        let now = 8 * 3_600_000 + 4_000;
        assert_eq!(place(&mut timeline, 1, 1, now).map(|gap| gap.absent), Some(4_000 * MS));
    }
}
