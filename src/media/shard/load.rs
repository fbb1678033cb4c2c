//! What a shard's turns took: time at work, lateness, CPU and what the kernel dropped, summed up ten times a second.
//!
//! Plain arithmetic on its thread: no clock (times are arguments), nothing for each packet, nothing allocated. The figures are those
//! of the last second.

use std::time::Duration;

/// Ticks that the figures look back on.
const TICKS: usize = 10;

/// A packet is counted under the first of these bounds (µs) that its turn's lateness does not pass; the last count has none.
pub(crate) const LATE_BOUNDS_US: [u64; 10] = [100, 250, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000];
/// Counts of lateness: one a bound, and what is beyond.
pub(crate) const LATE_COUNTS: usize = LATE_BOUNDS_US.len() + 1;

/// Datagrams by how late the turn that took them began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lateness {
    counts: [u64; LATE_COUNTS],
    worst: Duration,
}

impl Lateness {
    fn note(&mut self, late: Duration, datagrams: u64) {
        let us = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
        self.counts[LATE_BOUNDS_US.partition_point(|bound| *bound < us)] += datagrams;
        self.worst = self.worst.max(late);
    }

    fn add(&mut self, other: &Self) {
        for (sum, count) in self.counts.iter_mut().zip(other.counts) {
            *sum += count;
        }
        self.worst = self.worst.max(other.worst);
    }

    /// Counts by bound, not cumulated.
    pub(crate) fn counts(&self) -> &[u64; LATE_COUNTS] {
        &self.counts
    }

    /// Not exceeded by 99 of 100 datagrams: a bound, or the worst if that is less or there is none.
    fn p99(&self) -> Duration {
        let total: u64 = self.counts.iter().sum();
        let allowed = total / 100;
        let mut beyond = total;
        for (count, bound) in self.counts.iter().zip(LATE_BOUNDS_US) {
            beyond -= count;
            if beyond <= allowed {
                return Duration::from_micros(bound).min(self.worst);
            }
        }
        self.worst
    }
}

/// What one turn of the loop took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Turn {
    /// How much later than planned it began.
    pub(crate) late: Duration,
    /// Datagrams it took.
    pub(crate) datagrams: u64,
    /// Its length without the sleep.
    pub(crate) work: Duration,
    /// Of that, joins and handshakes.
    pub(crate) setup: Duration,
}

/// What is read once a tick: the tick's length, and totals since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    /// Since the last tick.
    pub(crate) wall: Duration,
    /// CPU time of the thread.
    pub(crate) cpu: Duration,
    /// Media packets sent on.
    pub(crate) forwarded: u64,
    /// Datagrams for which the socket had no room.
    pub(crate) kernel_drops: u64,
}

/// A shard's last second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Figures {
    /// Time at work, without joins and handshakes, over all time.
    pub(crate) busy: f64,
    /// Time spent on joins and handshakes over all time. It is bounded in each turn, so it can wait.
    pub(crate) setup: f64,
    /// CPU time over media packets sent on; zero without packets.
    pub(crate) packet_cost: Duration,
    /// How late packets were taken, but for one in a hundred.
    pub(crate) late_p99: Duration,
    /// How late the latest were.
    pub(crate) late_worst: Duration,
    /// Datagrams the kernel dropped.
    pub(crate) kernel_drops: u64,
}

#[derive(Clone, Copy, Default)]
struct Slice {
    wall: Duration,
    work: Duration,
    setup: Duration,
    cpu: Duration,
    forwarded: u64,
    kernel_drops: u64,
    late: Lateness,
}

/// Sums turns up.
#[derive(Default)]
pub(crate) struct Meter {
    now: Slice,
    ring: [Slice; TICKS],
    next: usize,
    last: Sample,
    /// Since the start.
    lateness: Lateness,
}

impl Meter {
    /// Counts a turn.
    pub(crate) fn turn(&mut self, turn: Turn) {
        self.now.work += turn.work;
        self.now.setup += turn.setup;
        if turn.datagrams > 0 {
            self.now.late.note(turn.late, turn.datagrams);
        }
    }

    /// Ends a tick; the figures of the last ten.
    pub(crate) fn tick(&mut self, sample: Sample) -> Figures {
        let mut slice = std::mem::take(&mut self.now);
        slice.wall = sample.wall;
        slice.cpu = sample.cpu.saturating_sub(self.last.cpu);
        slice.forwarded = sample.forwarded.saturating_sub(self.last.forwarded);
        slice.kernel_drops = sample.kernel_drops.saturating_sub(self.last.kernel_drops);
        self.last = sample;
        self.lateness.add(&slice.late);
        self.ring[self.next] = slice;
        self.next = (self.next + 1) % TICKS;
        self.figures()
    }

    /// Datagrams by lateness since the start.
    pub(crate) fn lateness(&self) -> &Lateness {
        &self.lateness
    }

    fn figures(&self) -> Figures {
        let mut sum = Slice::default();
        for slice in &self.ring {
            sum.wall += slice.wall;
            sum.work += slice.work;
            sum.setup += slice.setup;
            sum.cpu += slice.cpu;
            sum.forwarded += slice.forwarded;
            sum.kernel_drops += slice.kernel_drops;
            sum.late.add(&slice.late);
        }
        // At least a tick, so that the first figures of a thread do not leap.
        let wall = sum.wall.as_secs_f64().max(0.1);
        Figures {
            busy: (sum.work.saturating_sub(sum.setup).as_secs_f64() / wall).min(1.0),
            setup: (sum.setup.as_secs_f64() / wall).min(1.0),
            packet_cost: u32::try_from(sum.forwarded).ok().and_then(|packets| sum.cpu.checked_div(packets)).unwrap_or_default(),
            late_p99: sum.late.p99(),
            late_worst: sum.late.worst,
            kernel_drops: sum.kernel_drops,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn us(us: u64) -> Duration {
        Duration::from_micros(us)
    }

    #[test]
    fn figures_are_those_of_the_last_second() {
        let mut meter = Meter::default();
        let tick = |meter: &mut Meter, number: u32, work: u64, packets: u64| {
            meter.turn(Turn { work: us(work), setup: us(10_000), datagrams: packets, late: us(300) });
            meter.tick(Sample {
                wall: us(100_000),
                cpu: us(25_000) * number,
                forwarded: packets * u64::from(number),
                kernel_drops: u64::from(number),
            })
        };
        let first = tick(&mut meter, 1, 60_000, 2_500);
        assert!((first.setup - 0.1).abs() < 1e-9, "{first:?}");
        assert_eq!(
            Figures { setup: 0.0, ..first },
            Figures { busy: 0.5, setup: 0.0, packet_cost: us(10), late_p99: us(300), late_worst: us(300), kernel_drops: 1 }
        );
        let mut last = first;
        for number in 2..=11 {
            last = tick(&mut meter, number, 35_000, 2_500);
        }
        assert!((last.busy - 0.25).abs() < 1e-9 && last.kernel_drops == 10, "{last:?}");
        assert_eq!(meter.lateness().counts()[2], 11 * 2_500, "the histogram goes back to the start");
    }

    #[test]
    fn a_packet_in_a_hundred_may_be_later_than_p99() {
        for (late, expected) in [
            (&[(100, 99), (40_000, 1)][..], 100),
            (&[(100, 98), (40_000, 2)], 40_000),
            (&[(100, 197), (40_000, 2), (60_000, 1)], 50_000),
            (&[(1_500, 1)], 1_500),
            (&[(300_000, 10)], 300_000),
            (&[], 0),
        ] {
            let mut lateness = Lateness::default();
            for (us_late, datagrams) in late {
                lateness.note(us(*us_late), *datagrams);
            }
            assert_eq!(lateness.p99(), us(expected), "{late:?}");
        }
    }
}
