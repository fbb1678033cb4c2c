//! What a connection has to send and the kernel has not taken yet: bounded in octets and in time.
//!
//! A stream delivers all it was given, however late; a voice that is late is worse than one that is missing. So datagrams that
//! waited too long are left out, but never the rest of one that was begun: the reader would lose its place.

use super::frame;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Older datagrams are not sent. Browsers' jitter buffers stretch about so far.
const LIFE: Duration = Duration::from_millis(100);
/// Octets that may wait: a key frame, or [`LIFE`] of 5 Mbit/s.
const ROOM: usize = 64 * 1024;

/// Framed datagrams in the order they go out.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    octets: Vec<u8>,
    /// Of the first one so many are gone; they are still in `octets`.
    begun: usize,
    /// When each came, and its octets with its length before it.
    frames: VecDeque<(Instant, usize)>,
}

impl Outgoing {
    /// Appends a datagram. Where there is no room the oldest are left out; says how many.
    pub(super) fn push(&mut self, datagram: &[u8], now: Instant) -> u64 {
        let Some(head) = frame::head(datagram) else { return 1 };
        let size = head.len() + datagram.len();
        let mut excess = (self.octets.len() + size).saturating_sub(ROOM);
        let mut left_out = 0;
        if excess > 0 {
            left_out = self.leave_out(|(_, size)| {
                let is_needed = excess > 0;
                excess = excess.saturating_sub(*size);
                is_needed
            });
        }
        if excess > 0 {
            return left_out + 1;
        }
        self.octets.extend_from_slice(&head);
        self.octets.extend_from_slice(datagram);
        self.frames.push_back((now, size));
        left_out
    }

    /// Leaves out what waited too long; says how many datagrams.
    pub(super) fn expire(&mut self, now: Instant) -> u64 {
        self.leave_out(|(came, _)| now.saturating_duration_since(*came) >= LIFE)
    }

    /// Leaves out the oldest that are not begun, as long as each is one of these.
    fn leave_out(&mut self, mut is_one: impl FnMut(&(Instant, usize)) -> bool) -> u64 {
        let (first, start) = match self.frames.front() {
            Some((_, size)) if self.begun > 0 => (1, *size),
            _ => (0, 0),
        };
        let count = self.frames.iter().skip(first).take_while(|frame| is_one(frame)).count();
        if count > 0 {
            let octets: usize = self.frames.drain(first..first + count).map(|(_, size)| size).sum();
            self.octets.drain(start..start + octets);
        }
        count as u64
    }

    /// What is to be sent.
    pub(super) fn waiting(&self) -> &[u8] {
        &self.octets[self.begun..]
    }

    /// So many octets of [`waiting`](Self::waiting) are sent.
    pub(super) fn sent(&mut self, octets: usize) {
        self.begun += octets;
        let mut gone = 0;
        while let Some((_, size)) = self.frames.front()
            && gone + size <= self.begun
        {
            gone += size;
            self.frames.pop_front();
        }
        self.begun -= gone;
        self.octets.drain(..gone);
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "an instant to count from")]
mod tests {
    use super::*;

    #[test]
    fn datagrams_go_out_whole_and_in_order_however_little_is_taken_at_once() {
        let now = Instant::now();
        let mut outgoing = Outgoing::default();
        let mut wanted = Vec::new();
        let mut sent = Vec::new();
        for round in 0..50_u8 {
            let datagram = vec![round; usize::from(round) % 7 + 1];
            assert_eq!(outgoing.push(&datagram, now), 0);
            wanted.extend([0, datagram.len() as u8]);
            wanted.extend(&datagram);
            let taken = outgoing.waiting().len().min(3);
            sent.extend_from_slice(&outgoing.waiting()[..taken]);
            outgoing.sent(taken);
        }
        sent.extend_from_slice(outgoing.waiting());
        outgoing.sent(outgoing.waiting().len());
        assert_eq!(sent, wanted);
        assert!(outgoing.waiting().is_empty() && outgoing.frames.is_empty() && outgoing.octets.is_empty());
    }

    #[test]
    fn what_waited_too_long_is_left_out_but_not_the_rest_of_what_was_begun() {
        let start = Instant::now();
        let mut outgoing = Outgoing::default();
        for octet in 1..=3 {
            assert_eq!(outgoing.push(&[octet; 4], start), 0);
        }
        assert_eq!(outgoing.push(&[9; 4], start + LIFE), 0);
        outgoing.sent(1);
        assert_eq!(outgoing.expire(start + LIFE / 2), 0);
        assert_eq!(outgoing.expire(start + LIFE), 2);
        assert_eq!(outgoing.waiting(), [4, 1, 1, 1, 1, 0, 4, 9, 9, 9, 9]);
        outgoing.sent(5);
        assert_eq!(outgoing.expire(start + LIFE * 2), 1);
        assert!(outgoing.waiting().is_empty());
    }

    #[test]
    fn where_there_is_no_room_the_newest_stay() {
        let now = Instant::now();
        let mut outgoing = Outgoing::default();
        assert_eq!(outgoing.push(&[255; 998], now), 0);
        outgoing.sent(1);
        let left_out: u64 = (0..200_u8).map(|number| outgoing.push(&[number; 998], now)).sum();
        let room = ROOM / 1000;
        assert_eq!(left_out, 201 - room as u64);
        assert_eq!(outgoing.octets.len(), room * 1000);
        outgoing.sent(999);
        assert_eq!(outgoing.waiting()[..3], [3, 230, (201 - room) as u8], "after what was begun");
        assert_eq!(outgoing.push(&[0; 70_000], now), 1);
        assert_eq!(outgoing.waiting().last(), Some(&199));
    }
}
