//! When to try again, and how many tries may be under way at once: pure, with jitter as an argument.

use crate::clock::Span;

/// Jitter is drawn from 0 up to this.
pub(super) const JITTER: u32 = 1000;

/// The wait after the `tries`-th try (from 1) failed: the schedule's own, made shorter or longer by up to a quarter; none after the last.
pub(super) fn wait(retries: &[Span], tries: u32, jitter: u32) -> Option<Span> {
    let index = usize::try_from(tries.checked_sub(1)?).ok()?;
    let base = retries.get(index)?.ms();
    Some(Span::from_ms(base * 3 / 4 + base / 2 * i64::from(jitter.min(JITTER)) / i64::from(JITTER)))
}

/// How many tries one endpoint may have under way: one at first and after trouble, one more for each quick success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Allowance(u32);

/// How a try went, for the allowance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// Delivered, and soon.
    Quick,
    /// Delivered, but others should not wait behind many of these.
    Slow,
    /// Not delivered.
    Failed,
}

impl Allowance {
    /// Tries under way at one endpoint at most.
    pub(super) const MOST: u32 = 8;

    /// An answer within this is quick.
    pub(super) const QUICK: Span = Span::from_s(1);

    pub(super) const fn new() -> Self {
        Self(1)
    }

    pub(super) const fn places(self) -> usize {
        self.0 as usize
    }

    pub(super) fn after(&mut self, pace: Pace) {
        self.0 = match pace {
            Pace::Quick => (self.0 + 1).min(Self::MOST),
            Pace::Slow => (self.0 / 2).max(1),
            Pace::Failed => 1,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_wait_is_within_a_quarter_of_the_schedule_and_ends_with_it(
            waits in prop::collection::vec(0..=604_800i64, 0..50), tries in 0..60u32, jitter in 0..=2 * JITTER
        ) {
            let retries: Vec<Span> = waits.iter().map(|s| Span::from_s(*s)).collect();
            let wait = wait(&retries, tries, jitter);
            prop_assert_eq!(wait.is_some(), tries >= 1 && tries as usize <= waits.len());
            if let Some(wait) = wait {
                let base = retries[tries as usize - 1].ms();
                prop_assert!((base * 3 / 4..=base * 5 / 4).contains(&wait.ms()));
            }
        }

        #[test]
        fn more_jitter_is_never_a_shorter_wait(base in 0..=604_800i64, one in 0..=JITTER, other in 0..=JITTER) {
            let wait = |jitter| wait(&[Span::from_s(base)], 1, jitter);
            prop_assert_eq!(one.cmp(&other).then(wait(one).cmp(&wait(other))), one.cmp(&other));
            prop_assert!(one > other || wait(one) <= wait(other));
        }
    }

    #[test]
    fn trouble_leaves_one_place_and_quick_answers_make_more() {
        let mut allowance = Allowance::new();
        assert_eq!(allowance.places(), 1);
        for _ in 0..20 {
            allowance.after(Pace::Quick);
        }
        assert_eq!(allowance.places(), 8);
        allowance.after(Pace::Slow);
        assert_eq!(allowance.places(), 4);
        for _ in 0..5 {
            allowance.after(Pace::Slow);
        }
        assert_eq!(allowance.places(), 1);
        allowance.after(Pace::Quick);
        allowance.after(Pace::Failed);
        assert_eq!(allowance.places(), 1);
    }
}
