//! What time does to the legs of a shard: handshakes repeated, silence noticed, quality summed up, stopped calls closed.

use super::{BACKLOG_LIMIT, Calls};
use crate::call::Quality;
use crate::media::Report;
use crate::media::demux::Place;
use crate::media::leg::{CONNECT_LIMIT, Turn};
use crate::relay;
use std::cmp::Reverse;
use std::time::{Duration, Instant};

/// Between two quality reports of a leg.
pub(super) const MEASURE_EVERY: Duration = Duration::from_secs(10);
/// Between two reports that a leg lives: what a crash leaves unproved is this and the time between two heartbeats.
const ALIVE_EVERY: Duration = Duration::from_secs(2);
/// A leg that has sent for so long is in the shard's figures, which are those of the last second.
const MEASURED_IN_FULL: Duration = Duration::from_secs(1);

impl Calls {
    // Time

    /// The earliest timer, farewell or frame to play; waking earlier or later than it harms nothing.
    pub(crate) fn due(&self) -> Option<Instant> {
        let timer = self.timers.peek().map(|Reverse((due, _))| *due);
        let farewell = self.leaving.front().map(|(leaves, _)| *leaves);
        let frame = self.playing.peek().map(|Reverse((due, ..))| *due);
        timer.into_iter().chain(farewell).chain(frame).min()
    }

    /// What is looked at ten times a second: who is silent, what is late, what is to be measured.
    pub(crate) fn tick(&mut self, now: Instant) {
        self.release_due(now);
        self.sending = 0;
        for place in 0..self.legs.len() {
            self.tick_leg(place, now);
        }
    }

    fn tick_leg(&mut self, place: Place, now: Instant) {
        let Some(leg) = self.legs.get_mut(place).and_then(Option::as_mut) else { return };
        let (call, side, id) = (leg.cold.call, leg.cold.side, leg.cold.id);
        if !leg.is_connected() {
            if now.saturating_duration_since(leg.cold.opened) >= CONNECT_LIMIT {
                self.fail(place, "it did not connect within 30 s", now);
            }
            return;
        }
        if self.calls.get(&call).is_none_or(|call| call.is_stopped) {
            return;
        }
        leg.look_for_consent(now);
        match leg.turn(now) {
            Some(Turn::Lost(since)) => self.reports.push_back(Report::Lost { call, side, leg: id, since: self.clock.at(since) }),
            Some(Turn::Faltered(since)) => {
                self.reports.push_back(Report::Faltered { call, side, leg: id, since: self.clock.at(since) });
            }
            Some(Turn::Steadied(at)) => self.reports.push_back(Report::Steadied { call, side, leg: id, at: self.clock.at(at) }),
            Some(Turn::Back(at)) => {
                self.reports.push_back(Report::Back { call, side, leg: id, at: self.clock.at(at) });
                leg.want_key_frame(now);
                if let Some(other) = leg.other
                    && let Some(other) = self.legs.get_mut(other).and_then(Option::as_mut)
                {
                    other.want_key_frame(now);
                }
            }
            None => (),
        }
        let Some(leg) = self.legs.get_mut(place).and_then(Option::as_mut) else { return };
        if leg.hold.as_ref().is_some_and(|hold| hold.is_over(self.clock.at(now))) {
            leg.hold = None;
        }
        self.sending += usize::from(leg.sending_for(now) >= MEASURED_IN_FULL);
        if leg.other.is_some() && leg.key_frame_is_due(now) {
            let mut packet = vec![0; relay::SPARE + 12];
            if let (Ok(length), Some(path)) = (leg.media.request_key_frame(&mut packet), leg.way()) {
                packet.truncate(length);
                self.datagrams.push((path, packet));
            }
        }
        if now.saturating_duration_since(leg.cold.told) >= ALIVE_EVERY
            && let Some(proof) = leg.alive()
            && self.reports.len() < BACKLOG_LIMIT / 4 * 3
        {
            leg.cold.told = now;
            self.reports.push_back(Report::Alive { call, side, leg: id, at: self.clock.at(proof) });
        }
        if now.saturating_duration_since(leg.cold.measured) >= MEASURE_EVERY {
            leg.cold.measured = now;
            let earlier = self.calls.get(&call).map(|call| call.seats[side as usize].earlier).unwrap_or_default();
            let quality = quality(sum(earlier, leg.media.quality()));
            if self.reports.len() < BACKLOG_LIMIT {
                self.reports.push_back(Report::Measured { call, side, quality });
            }
        }
    }
}

pub(super) fn sum(earlier: relay::Quality, now: relay::Quality) -> relay::Quality {
    relay::Quality {
        packets: earlier.packets + now.packets,
        expected: earlier.expected + now.expected,
        lost: earlier.lost + now.lost,
        rtt_ms: now.rtt_ms.or(earlier.rtt_ms),
    }
}

pub(super) fn quality(total: relay::Quality) -> Quality {
    let lost_bp = (total.lost * 10_000).checked_div(total.expected).unwrap_or(0);
    Quality { packets: total.packets, lost_bp: u32::try_from(lost_bp).unwrap_or(u32::MAX), rtt_ms: total.rtt_ms }
}
