//! One direction of a line: when, and whether, a packet comes out at the other end.
//!
//! Time and seed are arguments. Its invariant: packets keep their order unless [`Terms::reorder`] says otherwise.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// How bad a line is. The default is a perfect one.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub(crate) struct Terms {
    /// The share of packets lost, each for itself: 0 to 1.
    loss: f64,
    /// How likely a burst begins with a packet: 0 to 1 (with [`Self::mend`], a Gilbert-Elliott model).
    burst: f64,
    /// How likely a burst ends with a packet: 0 to 1.
    mend: f64,
    /// The share lost in a burst: 0 to 1.
    burst_loss: f64,
    /// Milliseconds each packet takes.
    delay: f64,
    /// Up to so many milliseconds more, drawn anew every [`JITTER_STEP`]: air that others use, too, comes and goes.
    jitter: f64,
    /// The share that is overtaken by those behind it: 0 to 1.
    reorder: f64,
    /// By how many milliseconds an overtaken packet is late.
    late: f64,
    /// Kilobits a second; 0 for no limit.
    rate: f64,
    /// Milliseconds of packets that wait for the rate; more are lost.
    queue: f64,
}

/// How long a draw of jitter holds.
const JITTER_STEP: Duration = Duration::from_millis(60);

impl Terms {
    /// Sets one by its name as the command has it.
    pub(crate) fn set(&mut self, key: &str, value: f64) -> Result<(), String> {
        let place = match key {
            "loss" => &mut self.loss,
            "burst" => &mut self.burst,
            "mend" => &mut self.mend,
            "burst_loss" => &mut self.burst_loss,
            "delay" => &mut self.delay,
            "jitter" => &mut self.jitter,
            "reorder" => &mut self.reorder,
            "late" => &mut self.late,
            "rate" => &mut self.rate,
            "queue" => &mut self.queue,
            _ => return Err(format!("a line has no {key:?}")),
        };
        *place = value;
        Ok(())
    }
}

/// A packet on the line: when it comes out, its place among those that were put in, its octets.
type UnderWay = (Duration, u64, Box<[u8]>);

/// One direction of a line and what is on it.
pub(crate) struct Line {
    pub(crate) terms: Terms,
    /// Packets put in.
    pub(crate) taken: u64,
    /// Packets lost by chance.
    pub(crate) lost: u64,
    /// Packets lost because the queue was full.
    pub(crate) full: u64,
    under_way: BinaryHeap<Reverse<UnderWay>>,
    luck: Luck,
    in_burst: bool,
    jitter: (Duration, f64),
    /// When the last packet has passed the narrow place.
    free: Duration,
    /// When the last packet in order comes out.
    last: Duration,
}

impl Line {
    /// A perfect line. Lines of one seed have the same luck.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            terms: Terms::default(),
            taken: 0,
            lost: 0,
            full: 0,
            under_way: BinaryHeap::new(),
            luck: Luck(seed),
            in_burst: false,
            jitter: (Duration::ZERO, 0.0),
            free: Duration::ZERO,
            last: Duration::ZERO,
        }
    }

    /// Puts a packet in at `now`.
    pub(crate) fn take(&mut self, packet: Box<[u8]>, now: Duration) {
        self.taken += 1;
        let terms = self.terms;
        self.in_burst = if self.in_burst { !self.luck.strikes(terms.mend) } else { self.luck.strikes(terms.burst) };
        if self.luck.strikes(terms.loss) || (self.in_burst && self.luck.strikes(terms.burst_loss)) {
            self.lost += 1;
            return;
        }
        let mut at = now;
        if terms.rate > 0.0 {
            let start = self.free.max(now);
            if start - now > millis(terms.queue) {
                self.full += 1;
                return;
            }
            // Bits by kilobits a second are milliseconds.
            self.free = start + millis(packet.len() as f64 * 8.0 / terms.rate);
            at = self.free;
        }
        if now >= self.jitter.0 {
            self.jitter = (now + JITTER_STEP, self.luck.draw());
        }
        at += millis(terms.delay + terms.jitter * self.jitter.1);
        if self.luck.strikes(terms.reorder) {
            at += millis(terms.late);
        } else {
            at = at.max(self.last);
            self.last = at;
        }
        self.under_way.push(Reverse((at, self.taken, packet)));
    }

    /// When the next packet comes out.
    pub(crate) fn due(&self) -> Option<Duration> {
        self.under_way.peek().map(|Reverse((at, ..))| *at)
    }

    /// The next packet that is out by `now`, and since when.
    pub(crate) fn next(&mut self, now: Duration) -> Option<(Box<[u8]>, Duration)> {
        self.due().filter(|&due| due <= now)?;
        self.under_way.pop().map(|Reverse((at, _, packet))| (packet, at))
    }
}

fn millis(count: f64) -> Duration {
    Duration::from_secs_f64(count / 1000.0)
}

/// Repeatable chance (SplitMix64).
struct Luck(u64);

impl Luck {
    /// From 0 to below 1.
    fn draw(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        // The upper 53 bits: as many as a float holds.
        (z >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn strikes(&mut self, share: f64) -> bool {
        self.draw() < share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(terms: &[(&str, f64)]) -> Line {
        let mut line = Line::new(7);
        for (key, value) in terms {
            line.terms.set(key, *value).unwrap();
        }
        line
    }

    /// Sends `count` packets of `len` octets, one every `every` milliseconds; which came out, and how long each took.
    fn send(line: &mut Line, count: u32, len: usize, every: f64) -> Vec<(u32, f64)> {
        let mut came = Vec::new();
        for number in 0..count {
            let mut packet = vec![0; len].into_boxed_slice();
            packet[..4].copy_from_slice(&number.to_be_bytes());
            line.take(packet, millis(f64::from(number) * every));
        }
        while let Some((packet, at)) = line.next(Duration::MAX) {
            let number = u32::from_be_bytes(*packet.first_chunk().unwrap());
            came.push((number, at.as_secs_f64() * 1000.0 - f64::from(number) * every));
        }
        came
    }

    #[test]
    fn nothing_comes_out_early_and_a_perfect_line_takes_no_time() {
        let mut line = line(&[("delay", 5.0)]);
        line.take([1].into(), millis(10.0));
        assert_eq!((line.next(millis(14.9)), line.due()), (None, Some(millis(15.0))));
        assert_eq!(line.next(millis(16.0)), Some(([1].into(), millis(15.0))));
        assert_eq!(send(&mut Line::new(1), 3, 4, 1.0), [(0, 0.0), (1, 0.0), (2, 0.0)]);
        assert!(line.terms.set("colour", 1.0).is_err());
    }

    #[test]
    fn losses_are_as_many_and_as_clustered_as_told() {
        let lost = 10_000 - send(&mut line(&[("loss", 0.1)]), 10_000, 4, 1.0).len();
        assert!((900..1_100).contains(&lost), "{lost} lost");
        let came = send(&mut line(&[("burst", 0.01), ("mend", 0.2), ("burst_loss", 1.0)]), 10_000, 4, 1.0);
        let gaps: Vec<u32> = came.windows(2).map(|pair| pair[1].0 - pair[0].0 - 1).filter(|&gap| gap > 0).collect();
        let lost: u32 = gaps.iter().sum();
        // A burst is five packets long on average, and one of 21 packets is in one.
        assert!((400..600).contains(&lost), "{lost} lost");
        assert!((4.0..6.0).contains(&(f64::from(lost) / gaps.len() as f64)), "{lost} lost in {} bursts", gaps.len());
    }

    #[test]
    fn jitter_keeps_the_order_and_only_what_is_overtaken_does_not() {
        let came = send(&mut line(&[("delay", 10.0), ("jitter", 100.0)]), 1_000, 4, 20.0);
        assert!(came.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(came.iter().all(|&(_, took)| (9.99..=110.01).contains(&took)));
        let mean = came.iter().map(|(_, took)| took).sum::<f64>() / 1_000.0;
        assert!((50.0..85.0).contains(&mean), "{mean} ms");

        let came = send(&mut line(&[("delay", 10.0), ("reorder", 0.1), ("late", 50.0)]), 1_000, 4, 20.0);
        let late = came.iter().filter(|&&(_, took)| took > 59.0).count();
        assert!((70..130).contains(&late), "{late} late");
        assert!(came.windows(2).filter(|pair| pair[0].0 > pair[1].0).count() >= late / 2);
    }

    #[test]
    fn a_narrow_line_passes_its_rate_and_its_queue_is_bounded() {
        // 1000 octets a 10 ms are 800 kbit/s into 400.
        let mut line = line(&[("rate", 400.0), ("queue", 100.0)]);
        let came = send(&mut line, 1_000, 1_000, 10.0);
        assert!((500..510).contains(&came.len()), "{} came", came.len());
        assert_eq!(line.full, 1_000 - came.len() as u64);
        assert!(came.iter().all(|&(_, took)| took <= 120.01));
    }
}
