//! How long things took, in buckets that are at most a 32nd wide: as many samples as there are, in a few kilobytes.

use std::time::Duration;

/// Buckets for each doubling.
const FINE: u64 = 32;
/// Doublings above the first [`FINE`] microseconds: the last bucket holds all from 36 minutes up.
const DOUBLINGS: u64 = 26;

/// Durations, to the microsecond below 64 µs and to 3 % above.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    longest_us: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; (FINE * (DOUBLINGS + 1)) as usize], total: 0, longest_us: 0 }
    }
}

impl Histogram {
    /// Adds one.
    pub fn note(&mut self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.counts[bucket(us)] += 1;
        self.total += 1;
        self.longest_us = self.longest_us.max(us);
    }

    /// Adds all of another.
    pub fn merge(&mut self, other: &Histogram) {
        for (to, from) in self.counts.iter_mut().zip(&other.counts) {
            *to += from;
        }
        self.total += other.total;
        self.longest_us = self.longest_us.max(other.longest_us);
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.total
    }

    /// So many milliseconds or less it took in this share (0 to 1) of all cases; 0 if there are none.
    pub fn quantile_ms(&self, share: f64) -> f64 {
        let wanted = (self.total as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (place, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return upper(place as u64).min(self.longest_us) as f64 / 1000.0;
            }
        }
        0.0
    }

    /// The longest, in milliseconds.
    pub fn longest_ms(&self) -> f64 {
        self.longest_us as f64 / 1000.0
    }
}

fn bucket(us: u64) -> usize {
    if us < FINE {
        return us as usize;
    }
    let doubling = u64::from(us.ilog2() - FINE.ilog2());
    // Between FINE and twice as much.
    let fine = us >> doubling;
    ((doubling + 1).min(DOUBLINGS) * FINE + (fine - FINE)) as usize
}

/// The longest that falls into a bucket.
fn upper(place: u64) -> u64 {
    match (place / FINE).checked_sub(1) {
        None => place,
        Some(doubling) => ((place % FINE + FINE + 1) << doubling) - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_to_three_percent() {
        let mut histogram = Histogram::default();
        for us in 1..=100_000 {
            histogram.note(Duration::from_micros(us));
        }
        for (share, exact) in [(0.5, 50.0), (0.99, 99.0), (0.0001, 0.01), (1.0, 100.0)] {
            let found = histogram.quantile_ms(share);
            assert!(found >= exact && found <= exact * 1.032, "{share}: {found} for {exact}");
        }
        assert_eq!((histogram.count(), histogram.longest_ms()), (100_000, 100.0));
    }

    #[test]
    fn a_bucket_ends_where_the_next_begins() {
        for us in (0..5_000).chain([1 << 20, (1 << 31) - 1, 1 << 40, u64::MAX]) {
            let place = bucket(us);
            assert!(place < Histogram::default().counts.len(), "{us}");
            if us < 1 << 31 {
                assert!(upper(place as u64) >= us && (place == 0 || upper(place as u64 - 1) < us), "{us}");
            }
        }
        assert_eq!(Histogram::default().quantile_ms(0.5), 0.0);
    }
}
