//! Whether packets gather before they are taken: which costs each a moment, and saves a shard with many of them most of its wakings.
//!
//! A rule without state: what it was and what came are arguments. Invariant: a shard that has little to do takes each packet at once.

use std::time::Duration;

/// Between two looks at all legs.
pub(super) const TICK: Duration = Duration::from_millis(100);
/// How long packets gather while busy.
pub(super) const GATHER: Duration = Duration::from_millis(1);
/// Packets in a tick from which gathering pays (4,000 a second, four a turn), and below which it stops (2,500). At half of that
/// a packet waits for half a millisecond and costs as much as one that is taken at once.
const BUSY_FROM: u64 = 400;
const BUSY_UNTIL: u64 = 250;

/// Whether packets gather in the next tick, after one in which they did (`gathered`) or did not and so many came.
pub(super) fn gathers(gathered: bool, received: u64) -> bool {
    received >= if gathered { BUSY_UNTIL } else { BUSY_FROM }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the two pages of so many calls send in a tick: a packet of voice each 20 ms.
    fn talk(calls: u64) -> u64 {
        calls * 2 * (TICK.as_millis() as u64 / 20)
    }

    #[test]
    fn a_shard_with_little_to_do_takes_each_packet_at_once() {
        for received in [0, 1, talk(1), talk(2), talk(10), talk(24)] {
            assert!(!gathers(false, received), "{received} begin to gather");
            assert!(!gathers(true, received), "{received} gather on when a rush is over");
        }
    }

    #[test]
    fn packets_gather_when_several_would_share_a_turn_and_do_not_flutter() {
        let turns = (TICK.as_micros() / GATHER.as_micros()) as u64;
        assert!(!gathers(false, 4 * turns - 1) && gathers(false, 4 * turns));
        assert!(gathers(true, 4 * turns - 1), "in between it stays as it was");
        // One packet a turn is alone there: it would wait for nobody.
        assert!(!gathers(true, turns));
    }
}
