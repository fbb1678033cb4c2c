//! When to try again, what may be under way at once, and what an answer means: pure, with jitter as an argument.

use crate::clock::{Moment, Span};
use crate::store::Tried;
use std::collections::BTreeSet;

/// Jitter is drawn from 0 up to this.
pub(crate) const JITTER: u32 = 1000;

/// The wait after the `tries`-th try (from 1) failed: the schedule's own, made shorter or longer by up to a quarter; none after the last.
pub(crate) fn wait(retries: &[Span], tries: u32, jitter: u32) -> Option<Span> {
    let index = usize::try_from(tries.checked_sub(1)?).ok()?;
    let base = retries.get(index)?.ms();
    Some(Span::from_ms(base * 3 / 4 + base / 2 * i64::from(jitter.min(JITTER)) / i64::from(JITTER)))
}

/// What a try came to that was answered with a status, or with the words for why it was not.
pub(crate) fn outcome(answer: Result<u16, String>, retry_at: impl FnOnce() -> Option<Moment>) -> Tried {
    let why = match answer {
        Ok(200..=299) => return Tried::Delivered,
        Ok(status @ 410) => return Tried::Gone { why: status_shown(status) },
        Ok(status) => status_shown(status),
        Err(why) => why,
    };
    Tried::Failed { why, retry_at: retry_at() }
}

fn status_shown(status: u16) -> String {
    format!("answered with status {status}")
}

/// What is on its way to one endpoint: of each lane one event, and as many as the endpoint is allowed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Flow {
    lanes: BTreeSet<String>,
    allowance: Allowance,
}

impl Flow {
    pub(crate) const fn new() -> Self {
        Self { lanes: BTreeSet::new(), allowance: Allowance::new() }
    }

    /// One more may be sent.
    pub(crate) fn has_place(&self) -> bool {
        self.lanes.len() < self.allowance.places()
    }

    /// Whether an event of this lane may be sent now; then it is under way.
    pub(crate) fn take(&mut self, lane: &str) -> bool {
        self.lanes.insert(lane.to_owned())
    }

    /// The try of this lane is over and noted.
    pub(crate) fn done(&mut self, lane: &str, pace: Pace) {
        self.lanes.remove(lane);
        self.allowance.after(pace);
    }

    /// Nothing is under way, and a new one is no different.
    pub(crate) fn is_new(&self) -> bool {
        *self == Self::new()
    }
}

/// How many tries one endpoint may have under way: one at first and after trouble, one more for each quick success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowance(u32);

/// How a try went, for the allowance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Delivered, and soon.
    Quick,
    /// Delivered, but others should not wait behind many of these.
    Slow,
    /// Not delivered.
    Failed,
}

impl Pace {
    /// Of a try that took so long.
    pub(crate) fn of(outcome: &Tried, took: Span) -> Self {
        match outcome {
            Tried::Delivered if took <= Allowance::QUICK => Self::Quick,
            Tried::Delivered => Self::Slow,
            Tried::Failed { .. } | Tried::Gone { .. } => Self::Failed,
        }
    }
}

impl Allowance {
    /// Tries under way at one endpoint at most.
    pub(crate) const MOST: u32 = 8;

    /// An answer within this is quick.
    const QUICK: Span = Span::from_s(1);

    const fn new() -> Self {
        Self(1)
    }

    const fn places(self) -> usize {
        self.0 as usize
    }

    fn after(&mut self, pace: Pace) {
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
    fn an_answer_means_what_its_status_says() {
        let retry_at = || Some(Moment::from_unix_ms(7));
        for status in [200, 204, 299] {
            assert_eq!(outcome(Ok(status), retry_at), Tried::Delivered);
        }
        assert_eq!(outcome(Ok(410), retry_at), Tried::Gone { why: "answered with status 410".to_owned() });
        for status in [199, 300, 404, 500] {
            let why = format!("answered with status {status}");
            assert_eq!(outcome(Ok(status), retry_at), Tried::Failed { why, retry_at: retry_at() });
        }
        assert_eq!(outcome(Err("no answer".to_owned()), || None), Tried::Failed { why: "no answer".to_owned(), retry_at: None });
    }

    #[test]
    fn of_a_lane_one_event_is_under_way_and_of_an_endpoint_as_many_as_allowed() {
        let mut flow = Flow::new();
        assert!(flow.has_place() && flow.take("one"));
        assert!(!flow.has_place(), "a new endpoint gets one at a time");
        flow.done("one", Pace::Quick);
        assert!(flow.take("one") && !flow.take("one"), "of a call one goes after the other");
        assert!(flow.has_place() && flow.take("two") && !flow.has_place());
        flow.done("one", Pace::Failed);
        flow.done("two", Pace::Failed);
        assert!(flow.is_new());
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
