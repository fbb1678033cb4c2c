//! How often something may happen: so many at once, regained evenly over a time. Time is an argument.

use crate::clock::{Moment, Span};

/// What is used up of a rate (the generic cell rate algorithm, ITU-T I.371).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Allowance {
    /// When all of it is there again; none while nothing was ever taken.
    whole_at: Option<Moment>,
}

impl Allowance {
    /// Takes one of `burst` (0 counts as 1) that are whole again after `per`; false, and nothing taken, if none is left.
    pub(super) fn take(&mut self, burst: u32, per: Span, now: Moment) -> bool {
        let one = Span::from_ms((per.ms() / i64::from(burst.max(1))).max(1));
        let next = self.whole_at.map_or(now, |at| at.max(now)) + one;
        let is_left = next <= now + per;
        if is_left {
            self.whole_at = Some(next);
        }
        is_left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_taken_at_once_and_regained_one_by_one() {
        let at = Moment::from_unix_ms;
        let mut allowance = Allowance::default();
        let mut take = |now| allowance.take(60, Span::from_s(3), at(now));
        assert_eq!((0..100).filter(|_| take(1000)).count(), 60);
        assert!(!take(1049) && take(1050) && !take(1050));
        assert_eq!((0..100).filter(|_| take(1500)).count(), 9);
        assert_eq!((0..100).filter(|_| take(60_000)).count(), 60, "no more than a burst is kept");
    }
}
