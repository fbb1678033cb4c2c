//! How regular the sound is while the client is known to be awake.
//!
//! A partner's snoring, a fan, the sea from a loudspeaker are as regular while she speaks as afterwards; her own breathing is not. So
//! what repeats around her speech is not her sleep, however well it keeps its pace. Invariant: nothing heard more than a minute from a
//! sign of life counts.

use crate::clock::{Moment, Span};
use std::collections::VecDeque;

/// How long before a sign of life she was awake.
const BEFORE: Span = Span::from_s(60);
/// How long after it she is awake.
const AFTER: Span = Span::from_s(45);
/// Looks over which the mean goes.
const MEMORY: f32 = 40.0;
/// What chance finds, and for how many looks that stands before anything is known.
const CHANCE: f32 = 0.12;
const STANDS: f32 = 6.0;

/// The pace of what repeats while she is awake.
pub(super) struct Baseline {
    waiting: VecDeque<(Moment, f32)>,
    pace: f32,
    looks: u32,
}

impl Default for Baseline {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), pace: CHANCE, looks: 0 }
    }
}

impl Baseline {
    /// Takes what a look found; `alive` is the last sign of life.
    pub(super) fn take(&mut self, now: Moment, pace: Option<f32>, alive: Option<Moment>) {
        if let Some(pace) = pace {
            self.waiting.push_back((now, pace));
        }
        while let Some((at, pace)) = self.waiting.front().copied() {
            if now.since(at) < BEFORE {
                break;
            }
            self.waiting.pop_front();
            // No earlier than a little before the look; and it is no later than now.
            if alive.is_some_and(|alive| alive + AFTER >= at) {
                self.looks += 1;
                let part = f32::max(1.0 / (self.looks as f32 + STANDS), 1.0 / MEMORY);
                self.pace += (pace - self.pace) * part;
            }
        }
    }

    /// Mean pace while she was awake.
    pub(super) fn pace(&self) -> f32 {
        self.pace
    }

    /// Looks that it rests on.
    pub(super) fn looks(&self) -> u32 {
        self.looks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The baseline after five minutes of this pace, with a sign of life each `every` seconds, or none.
    fn after(pace: f32, every: Option<i64>) -> Baseline {
        let begin = Moment::from_unix_ms(0);
        let mut baseline = Baseline::default();
        for second in (0..300).step_by(5) {
            let alive = every.map(|every| begin + Span::from_s(second - second % every));
            baseline.take(begin + Span::from_s(second), Some(pace), alive);
        }
        baseline
    }

    #[test]
    fn what_repeats_around_her_words_is_known_and_what_repeats_without_them_is_not() {
        assert!(after(0.7, Some(40)).pace() > 0.6);
        assert_eq!((after(0.7, None).pace(), after(0.7, None).looks()), (CHANCE, 0));
        // Alive in the first seconds only: what came more than 45 s later may be sleep.
        assert!(after(0.7, Some(1000)).looks() <= 10);
    }
}
