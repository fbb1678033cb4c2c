//! Which shard a call is on: the handle's memory, and the choice for a call that is new.
//!
//! All legs of a call are on one shard. No media thread waits for this: shards say what they forgot through [`Forgotten`] notes, and the
//! handle reads those when it next places a call. An entry counts its opens that are on their way or alive; a note gives some back, and
//! with the last the entry goes, so an open that crosses a note keeps its shard.
//! Invariant: there are never more notes unread than opens were sent since the last reading.

use crate::ids::CallId;
use std::collections::BTreeMap;

/// A shard forgot a call that had so many opens (one, if none of them came to anything).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Forgotten {
    pub(super) call: CallId,
    pub(super) opens: u32,
}

/// What a shard last showed of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Room {
    /// Its load, a share of a core.
    pub(super) load: f64,
    /// What a call adds.
    pub(super) call_cost: f64,
    /// New calls it takes.
    pub(super) calls: usize,
    /// Calls it had when it said so.
    pub(super) seen: usize,
}

impl Room {
    /// The same after `placed` calls, of which some it has not seen yet.
    fn after(self, placed: usize) -> Self {
        let unseen = placed.saturating_sub(self.seen);
        Self { load: self.load + unseen as f64 * self.call_cost, calls: self.calls.saturating_sub(unseen), ..self }
    }
}

#[derive(Clone, Copy)]
struct Placed {
    shard: usize,
    opens: u32,
}

/// Calls and their shards.
#[derive(Default)]
pub(super) struct Placement {
    calls: BTreeMap<CallId, Placed>,
    /// Calls by shard.
    counts: Vec<usize>,
}

impl Placement {
    pub(super) fn new(shards: usize) -> Self {
        Self { calls: BTreeMap::new(), counts: vec![0; shards] }
    }

    /// Where a call is.
    pub(super) fn of(&self, call: CallId) -> Option<usize> {
        self.calls.get(&call).map(|placed| placed.shard)
    }

    /// Calls there are.
    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    /// The shard for an open of this call: its own, or for a new call the one with the least load that has room. None if all are full.
    pub(super) fn open(&mut self, call: CallId, rooms: &[Room]) -> Option<usize> {
        if let Some(placed) = self.calls.get_mut(&call) {
            placed.opens += 1;
            return Some(placed.shard);
        }
        let now = rooms.iter().zip(&self.counts).map(|(room, placed)| room.after(*placed)).enumerate();
        // Whole percents: what is less is noise, and then the number of calls decides.
        let order = |shard: usize, room: &Room| ((room.load * 100.0) as u32, self.counts[shard]);
        let (shard, _) = now.filter(|(_, room)| room.calls > 0).min_by_key(|(shard, room)| order(*shard, room))?;
        self.counts[shard] += 1;
        self.calls.insert(call, Placed { shard, opens: 1 });
        Some(shard)
    }

    /// Takes a note.
    pub(super) fn forget(&mut self, note: Forgotten) {
        let Some(placed) = self.calls.get_mut(&note.call) else { return };
        placed.opens = placed.opens.saturating_sub(note.opens);
        if placed.opens == 0 {
            self.counts[placed.shard] -= 1;
            self.calls.remove(&note.call);
        }
    }

    /// New calls that fit on all shards together.
    pub(super) fn room(&self, rooms: &[Room]) -> usize {
        rooms.iter().zip(&self.counts).map(|(room, placed)| room.after(*placed).calls).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn call(number: u128) -> CallId {
        CallId::new(Uuid::from_u128(number))
    }

    fn room(load: f64, calls: usize, seen: usize) -> Room {
        Room { load, call_cost: 0.001, calls, seen }
    }

    #[test]
    fn a_new_call_goes_where_the_load_is_least() {
        for (rooms, expected) in [
            (&[room(0.0, 9, 0), room(0.0, 9, 0)][..], Some(0)),
            (&[room(0.5, 9, 0), room(0.2, 9, 0), room(0.3, 9, 0)], Some(1)),
            // Full ones are passed over.
            (&[room(0.5, 9, 0), room(0.2, 0, 0)], Some(0)),
            (&[room(0.5, 0, 0), room(0.2, 0, 0)], None),
            // Differences below a percent do not count.
            (&[room(0.204, 9, 0), room(0.201, 9, 0)], Some(0)),
        ] {
            assert_eq!(Placement::new(rooms.len()).open(call(1), rooms), expected, "{rooms:?}");
        }
    }

    #[test]
    fn calls_that_come_at_once_are_spread_before_any_shard_has_seen_them() {
        let rooms = [room(0.0, 10, 0), room(0.1, 10, 0), room(0.0, 3, 0)];
        let mut placement = Placement::new(3);
        let mut taken = [0; 3];
        for number in 0..23 {
            taken[placement.open(call(number), &rooms).unwrap()] += 1;
        }
        assert_eq!((taken, placement.open(call(99), &rooms), placement.room(&rooms)), ([10, 10, 3], None, 0));
    }

    #[test]
    fn all_opens_of_a_call_go_to_one_shard_even_if_it_is_full() {
        let mut placement = Placement::new(2);
        assert_eq!(placement.open(call(1), &[room(0.2, 1, 0), room(0.1, 1, 0)]), Some(1));
        for _ in 0..3 {
            assert_eq!(placement.open(call(1), &[room(0.0, 9, 0), room(0.9, 0, 1)]), Some(1));
        }
        assert_eq!(placement.open(call(2), &[room(0.0, 0, 0), room(0.9, 0, 1)]), None);
    }

    #[test]
    fn an_open_that_crosses_a_note_keeps_its_shard() {
        let rooms = [room(0.0, 9, 0), room(0.0, 9, 0)];
        let mut placement = Placement::new(2);
        placement.open(call(1), &rooms);
        placement.open(call(1), &rooms);
        // The shard forgot it after the first open; the second is on its way there.
        placement.forget(Forgotten { call: call(1), opens: 1 });
        assert_eq!(placement.of(call(1)), Some(0));
        placement.forget(Forgotten { call: call(1), opens: 1 });
        assert_eq!((placement.of(call(1)), placement.len()), (None, 0));
        placement.forget(Forgotten { call: call(1), opens: 1 });
    }

    #[test]
    fn thousands_of_calls_leave_nothing_behind() {
        let rooms = [room(0.0, usize::MAX, 0); 3];
        let mut placement = Placement::new(3);
        for number in 0..9_000 {
            placement.open(call(number), &rooms);
            if let Some(over) = number.checked_sub(30) {
                placement.forget(Forgotten { call: call(over), opens: 1 });
            }
            assert!(placement.len() <= 31);
        }
        assert!(placement.len() == 30 && placement.counts.iter().all(|calls| (8..=12).contains(calls)), "{:?}", placement.counts);
    }
}
