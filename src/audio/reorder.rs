//! Packets in the order of their numbers. A gap in the numbers is waited for, so long and no longer.
//!
//! A packet that comes in order is not kept at all. Invariant: nothing is handed out twice, and each number handed out is above the one
//! before; at most [`SLOTS`] packets are kept.

use super::packet::Packet;
use crate::clock::{Moment, Span};

/// How long a missing packet is waited for. What is analysed is not played to anybody, so it may take its time.
pub(super) const PATIENCE: Span = Span::from_ms(300);
/// Numbers from the first that is missed: 300 ms of packets of 5 ms, 1.2 s of those of 20 ms.
const SLOTS: u64 = 64;

/// A packet that waits.
pub(super) struct Kept {
    pub(super) index: u64,
    pub(super) timestamp: u32,
    pub(super) at: Moment,
    pub(super) payload: Vec<u8>,
}

impl Kept {
    pub(super) fn packet(&self) -> Packet<'_> {
        Packet { index: self.index, timestamp: self.timestamp, at: self.at, payload: &self.payload }
    }
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offered {
    /// It is the next: to be taken at once; afterwards others may be due ([`Reorder::due`]).
    Next,
    /// It waits for those before it.
    Waits,
    /// It came before.
    Twice,
    /// It was given up.
    Late,
    /// It is so far ahead that those that wait must go first: take what is [`Reorder::hurried`], then offer it again.
    Ahead,
}

/// The order of one source.
#[derive(Default)]
pub(super) struct Reorder {
    /// The next number; none before the first packet.
    next: Option<u64>,
    /// By number, modulo [`SLOTS`]. Made when the first packet has to wait: most never have to.
    slots: Vec<Option<Kept>>,
    waiting: usize,
    /// When the first of those that wait came.
    since: Option<Moment>,
    /// Room of packets that went, for those that come.
    spare: Vec<Vec<u8>>,
}

impl Reorder {
    /// Takes note of a packet.
    pub(super) fn offer(&mut self, packet: &Packet<'_>) -> Offered {
        let next = self.next.unwrap_or(packet.index);
        if packet.index < next || packet.index == u64::MAX {
            return Offered::Late;
        }
        let ahead = packet.index - next;
        if ahead == 0 {
            self.next = Some(next.saturating_add(1));
            return Offered::Next;
        }
        if ahead >= SLOTS {
            if self.waiting > 0 {
                return Offered::Ahead;
            }
            // Nobody will fill such a gap.
            self.next = Some(packet.index.saturating_add(1));
            return Offered::Next;
        }
        if self.slots.is_empty() {
            self.slots.resize_with(SLOTS as usize, || None);
        }
        let slot = &mut self.slots[(packet.index % SLOTS) as usize];
        if slot.is_some() {
            return Offered::Twice;
        }
        let mut payload = self.spare.pop().unwrap_or_default();
        payload.clear();
        payload.extend_from_slice(packet.payload);
        *slot = Some(Kept { index: packet.index, timestamp: packet.timestamp, at: packet.at, payload });
        self.waiting += 1;
        self.since.get_or_insert(packet.at);
        Offered::Waits
    }

    /// The next packet, if it is there or the patience for those before it has ended by `now`.
    pub(super) fn due(&mut self, now: Moment) -> Option<Kept> {
        let is_over = self.since.is_some_and(|since| now.since(since) >= PATIENCE);
        self.take(is_over)
    }

    /// The first of those that wait, whatever is missing before it.
    pub(super) fn hurried(&mut self) -> Option<Kept> {
        self.take(true)
    }

    fn take(&mut self, whatever_is_missing: bool) -> Option<Kept> {
        if self.waiting == 0 {
            return None;
        }
        let next = self.next?;
        let reach = if whatever_is_missing { SLOTS } else { 1 };
        let kept = (next..next.saturating_add(reach)).find_map(|index| self.slots[(index % SLOTS) as usize].take())?;
        self.waiting -= 1;
        self.next = Some(kept.index.saturating_add(1));
        // What still waits has waited since it came, not longer.
        self.since = self.slots.iter().flatten().map(|kept| kept.at).min();
        Some(kept)
    }

    /// Gives the room of a packet back.
    pub(super) fn done(&mut self, kept: Kept) {
        if self.spare.len() < 8 {
            self.spare.push(kept.payload);
        }
    }

    /// Another source: its numbers have nothing to do with the earlier one's. What waits is to be taken before.
    pub(super) fn restart(&mut self) {
        self.next = None;
        self.since = None;
        self.waiting = 0;
        self.slots.fill_with(|| None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Moment {
        Moment::from_unix_ms(ms)
    }

    fn offer(reorder: &mut Reorder, index: u64, ms: i64) -> Offered {
        reorder.offer(&Packet { index, timestamp: 0, at: at(ms), payload: &[index as u8] })
    }

    fn due(reorder: &mut Reorder, ms: i64) -> Vec<u64> {
        let mut taken = Vec::new();
        while let Some(kept) = reorder.due(at(ms)) {
            assert_eq!(kept.payload, [kept.index as u8]);
            taken.push(kept.index);
            reorder.done(kept);
        }
        taken
    }

    #[test]
    fn a_gap_is_waited_for_and_then_given_up() {
        let mut reorder = Reorder::default();
        assert_eq!(offer(&mut reorder, 100, 0), Offered::Next);
        assert_eq!(offer(&mut reorder, 102, 20), Offered::Waits);
        assert_eq!(offer(&mut reorder, 102, 25), Offered::Twice);
        assert_eq!(offer(&mut reorder, 104, 60), Offered::Waits);
        assert!(due(&mut reorder, 300).is_empty());
        assert_eq!(offer(&mut reorder, 101, 310), Offered::Next);
        assert_eq!(due(&mut reorder, 310), [102]);
        assert!(due(&mut reorder, 359).is_empty(), "104 came at 60");
        assert_eq!(due(&mut reorder, 360), [104]);
        assert_eq!(offer(&mut reorder, 103, 361), Offered::Late);
        assert_eq!(offer(&mut reorder, 104, 361), Offered::Late);
        assert_eq!(offer(&mut reorder, 105, 361), Offered::Next);
    }

    #[test]
    fn what_is_far_ahead_hurries_those_that_wait() {
        let mut reorder = Reorder::default();
        offer(&mut reorder, 1, 0);
        offer(&mut reorder, 3, 0);
        offer(&mut reorder, 9, 0);
        assert_eq!(offer(&mut reorder, 2 + SLOTS, 1), Offered::Ahead);
        assert_eq!(reorder.hurried().map(|kept| kept.index), Some(3));
        assert_eq!(offer(&mut reorder, 2 + SLOTS, 1), Offered::Waits, "it fits now");
        assert_eq!(due(&mut reorder, 400), [9, 2 + SLOTS]);
    }
}
