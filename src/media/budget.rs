//! How often something may be done for a leg that authenticates itself: what a page with keys may cost the others.
//!
//! Nothing forged may take from a budget, or strangers could spend what a page needs: check first, then take. Once it is used up nothing more
//! of that kind need be checked.

use std::time::{Duration, Instant};

/// A rate: one each `pause` in the long run, `burst` at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    pub(crate) pause: Duration,
    pub(crate) burst: u32,
}

/// What is left of a rate: when the next one would be due if they came evenly (the generic cell rate algorithm of ITU-T I.371).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget(Instant);

impl Budget {
    /// A full one.
    pub(crate) fn new(now: Instant) -> Self {
        Self(now)
    }

    /// Whether one more is allowed now.
    pub(crate) fn has(&self, rate: Rate, now: Instant) -> bool {
        self.0.saturating_duration_since(now) <= rate.pause * (rate.burst - 1)
    }

    /// Whether one more is allowed now; then it is taken.
    pub(crate) fn take(&mut self, rate: Rate, now: Instant) -> bool {
        let has = self.has(rate, now);
        if has {
            self.0 = self.0.max(now) + rate.pause;
        }
        has
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_at_once_and_then_the_rate() {
        #[expect(clippy::disallowed_methods, reason = "an instant to count from")]
        let begin = Instant::now();
        let rate = Rate { pause: Duration::from_millis(20), burst: 10 };
        let mut budget = Budget::new(begin);
        let mut taken = |now| {
            let count = (0..1000).filter(|_| budget.take(rate, now)).count();
            assert!(!budget.has(rate, now));
            count
        };
        assert_eq!(taken(begin), 10);
        assert_eq!(taken(begin + Duration::from_millis(19)), 0);
        assert_eq!(taken(begin + Duration::from_millis(20)), 1);
        assert_eq!(taken(begin + Duration::from_millis(120)), 5);
        assert_eq!(taken(begin + Duration::from_secs(3600)), 10, "what was not used is not saved up");
    }
}
