//! The numbers of what one leg is sent: which index, timestamp and transport-wide number a source's packet gets, and
//! back from those to the source's own.
//!
//! Owned by the receiving leg, so its streams go on without a break when the source changes (a reloaded page of the other
//! side), and begin afresh with its own keys when it is reloaded itself. Invariant: two packets of one source, or of two
//! sources, never get the same index; that a packet does not come twice is for others to see to ([`super::window`],
//! [`super::seal`]).

use super::Dropped;
use super::streams::Lane;
use super::window::Window;
use crate::clock::Moment;
use crate::ids::LegId;

/// A source that went on unheard by the receiver for longer than this is numbered like a new one: half a round of sequence
/// numbers later the receiver would guess the roll-over counter wrong and never open a packet again. Half of that, since
/// packets are lost on the way too.
const FURTHEST_STEP: u64 = 1 << 14;

/// All numbers of one receiving leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Outgoing {
    /// By [`Lane`].
    pub(super) numbering: [Numbering; 3],
    audio: Timeline,
    video: Timeline,
    pub(super) wide: WideNumbering,
}

/// After a restore the next source begins this many indexes later, for what was sent after the snapshot: 80 s of video at
/// 200 packets a second, and less than half a round of sequence numbers, so that the receiver follows.
pub(super) const RESTORE_GAP: u64 = 1 << 14;

impl Outgoing {
    /// The timeline of a lane; retransmissions run on that of their camera.
    pub(super) fn timeline(&self, lane: Lane) -> &Timeline {
        match lane {
            Lane::Audio => &self.audio,
            Lane::Video | Lane::VideoRtx => &self.video,
        }
    }

    pub(super) fn timeline_mut(&mut self, lane: Lane) -> &mut Timeline {
        match lane {
            Lane::Audio => &mut self.audio,
            Lane::Video | Lane::VideoRtx => &mut self.video,
        }
    }

    /// Skips what may have been used since these numbers were saved.
    pub(super) fn skip_ahead(&mut self) {
        for numbering in &mut self.numbering {
            numbering.gap = RESTORE_GAP;
        }
    }
}

/// Sequence numbers of one lane: a constant offset for each source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Numbering {
    source: Option<LegId>,
    /// What is added to the source's index.
    shift: i64,
    /// The first index this source may use; those below may have been used by an earlier one.
    floor: u64,
    /// Indexes to leave out before the next source.
    gap: u64,
    /// The greatest index given out.
    newest: Option<u64>,
}

impl Numbering {
    /// Gives out the index of `source`'s packet `index`; true if it is the newest so far. The first packet of a first
    /// source goes out below 2^15, so that a receiver who misses the start still guesses the roll-over counter right.
    pub(super) fn assign(&mut self, source: LegId, index: u64) -> Result<(u64, bool), Dropped> {
        let newest = self.newest;
        let mut next = Self { source: Some(source), ..*self };
        let follows = index.checked_add_signed(self.shift).is_none_or(|out| newest.is_none_or(|newest| out <= newest + FURTHEST_STEP));
        if self.source != Some(source) || !follows {
            let (first, floor) = match newest {
                None => (index & 0x7FFF, 0),
                Some(newest) => (newest + 1 + self.gap, newest + 1 + self.gap),
            };
            // Both are below 2^48.
            (next.shift, next.floor, next.gap) = (first as i64 - index as i64, floor, 0);
        }
        let out = index.checked_add_signed(next.shift).filter(|&out| out >= next.floor).ok_or(Dropped::BeforeStart)?;
        if out >= 1 << 48 {
            return Err(Dropped::Exhausted);
        }
        let is_newest = newest.is_none_or(|newest| out > newest);
        if is_newest {
            next.newest = Some(out);
        }
        *self = next;
        Ok((out, is_newest))
    }

    /// Whether the lane carries this source.
    pub(super) fn carries(&self, source: LegId) -> bool {
        self.source == Some(source)
    }

    /// What the original number `sequence` of `source`, told in a retransmission, was sent as; none if it was not sent.
    pub(super) fn forth(&self, source: LegId, sequence: u16) -> Option<u16> {
        let newest = self.newest.filter(|_| self.carries(source))?;
        let out = sequence.wrapping_add(self.shift as u16);
        let mut near = Window::default();
        near.note(newest);
        (near.estimate(out) >= self.floor).then_some(out)
    }

    /// The source's own number of the packet sent as `sequence`.
    pub(super) fn back(&self, source: LegId, sequence: u16) -> Option<u16> {
        self.carries(source).then(|| sequence.wrapping_sub(self.shift as u16))
    }

    /// The same for an extended highest sequence number (RFC 3550 section 6.4.1); none for one of an earlier source.
    pub(super) fn back_extended(&self, source: LegId, extended: u32) -> Option<u32> {
        let since_floor = extended.wrapping_sub(self.floor as u32) as i32;
        (self.carries(source) && since_floor >= 0).then(|| extended.wrapping_sub(self.shift as u32))
    }
}

/// Timestamps of one kind of media: a constant offset for each source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Timeline {
    source: Option<LegId>,
    shift: u32,
    /// Timestamp and moment of the newest packet.
    newest: Option<(u32, Moment)>,
    /// The middle of the NTP time of the last sender reports passed on, and when; the round trip is measured by them.
    reports: [Option<(u32, Moment)>; 4],
    next_report: u8,
}

impl Timeline {
    /// The timestamp of `source`'s packet on the receiver's timeline. A new source goes on where the earlier one stopped, later by the
    /// time that passed since, so that the receiver sees a pause and no jump.
    pub(super) fn assign(&mut self, source: LegId, lane: Lane, timestamp: u32, at: Moment) -> u32 {
        if self.source != Some(source) {
            self.shift = match self.newest {
                None => 0,
                Some((newest, then)) => newest.wrapping_add(lane.ticks_since(then, at)).wrapping_sub(timestamp),
            };
            self.source = Some(source);
        }
        timestamp.wrapping_add(self.shift)
    }

    /// Notes the newest packet's timestamp, as sent.
    pub(super) fn note(&mut self, timestamp: u32, at: Moment) {
        self.newest = Some((timestamp, at));
    }

    /// The timestamp of a sender report on the receiver's timeline; none before the source's first packet.
    pub(super) fn forth(&self, source: LegId, timestamp: u32) -> Option<u32> {
        (self.source == Some(source)).then(|| timestamp.wrapping_add(self.shift))
    }

    /// Notes that a sender report with these middle 32 bits of NTP time went out.
    pub(super) fn note_report(&mut self, ntp_middle: u32, at: Moment) {
        let place = usize::from(self.next_report) % self.reports.len();
        self.reports[place] = Some((ntp_middle, at));
        self.next_report = self.next_report.wrapping_add(1);
    }

    /// When the sender report with these middle bits went out.
    pub(super) fn report_sent(&self, ntp_middle: u32) -> Option<Moment> {
        self.reports.iter().flatten().find(|(middle, _)| *middle == ntp_middle).map(|&(_, at)| at)
    }
}

/// Transport-wide numbers: one row for all lanes, a constant offset for each source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct WideNumbering {
    source: Option<LegId>,
    shift: u16,
    newest: Option<u16>,
}

impl WideNumbering {
    /// The number of `source`'s packet on the receiver's transport.
    pub(super) fn assign(&mut self, source: LegId, number: u16) -> u16 {
        if self.source != Some(source) {
            self.shift = self.newest.map_or(0, |newest| newest.wrapping_add(1).wrapping_sub(number));
            self.source = Some(source);
        }
        let out = number.wrapping_add(self.shift);
        if self.newest.is_none_or(|newest| (out.wrapping_sub(newest) as i16) > 0) {
            self.newest = Some(out);
        }
        out
    }

    /// The source's own number of the packet sent as `number`.
    pub(super) fn back(&self, source: LegId, number: u16) -> Option<u16> {
        (self.source == Some(source)).then(|| number.wrapping_sub(self.shift))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn source(number: u8) -> LegId {
        LegId::new(uuid::Uuid::from_u128(u128::from(number)))
    }

    #[test]
    fn a_source_unheard_for_long_goes_on_where_it_was_last_heard() {
        let mut numbering = Numbering::default();
        assert_eq!(numbering.assign(source(1), 0x1_8005), Ok((5, true)));
        assert_eq!(numbering.assign(source(1), 0x1_8005 + FURTHEST_STEP), Ok((5 + FURTHEST_STEP, true)));
        assert_eq!(numbering.assign(source(1), 0x1_8006 + 2 * FURTHEST_STEP), Ok((6 + FURTHEST_STEP, true)));
        assert_eq!(numbering.assign(source(1), 0x1_8007 + 2 * FURTHEST_STEP), Ok((7 + FURTHEST_STEP, true)));
        assert_eq!(numbering.assign(source(1), 0x1_8005 + 2 * FURTHEST_STEP), Err(Dropped::BeforeStart));
        assert_eq!(numbering.back(source(1), 7 + FURTHEST_STEP as u16), Some(7));
    }

    proptest! {
        /// Sources without any replay protection of their own.
        #[test]
        fn no_index_is_given_to_two_packets(
            steps in prop::collection::vec((0u8..3, 0u64..4, prop_oneof![9 => 0u64..300, 1 => 0u64..100_000], any::<bool>()), 1..300),
        ) {
            let mut outgoing = Outgoing::default();
            let mut given = BTreeMap::new();
            for (n, (from, repeat, index, restored)) in (0u64..).zip(steps) {
                if restored && n % 50 == 0 {
                    outgoing.skip_ahead();
                }
                for index in [index + n, index + n + repeat] {
                    if let Ok((out, is_newest)) = outgoing.numbering[0].assign(source(from), index) {
                        prop_assert_eq!(is_newest, given.last_key_value().is_none_or(|(last, _)| out > *last));
                        prop_assert!(given.last_key_value().is_none_or(|(last, _)| out <= last + (1 << 15)), "the receiver can follow");
                        let holder = *given.entry(out).or_insert((from, index));
                        prop_assert_eq!(holder, (from, index), "{} was given out before", out);
                    }
                }
            }
        }
    }
}
