//! What the server itself plays to a page: which frame is due when.
//!
//! Frames are encoded once, elsewhere; what they mean is not known here. Sends nothing: [`super::calls`] takes what is due. Invariant: never
//! more than one frame of a player at a time, and after a delay no burst of those that were missed.

use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A sound: Opus packets of 20 ms each, encoded once for all who hear it; none of them empty.
pub type Frames = Arc<[Bytes]>;

/// What to play to a side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Play {
    /// Once, after what plays already; with four sounds in line it is left out. What repeats pauses meanwhile.
    Once(Frames),
    /// Over and over, in place of what repeated before, until [`Play::Stop`] or the call's end.
    Repeat(Frames),
    /// What repeats ends. What plays once is heard to its end.
    Stop,
}

/// Between two frames.
pub(crate) const PACE: Duration = Duration::from_millis(20);
/// Sounds in line.
const MOST_IN_LINE: usize = 4;
/// A frame that is later than this begins anew: what was missed is not made up for.
const LATE: Duration = Duration::from_millis(100);

/// What plays to a side.
#[derive(Debug)]
pub(crate) struct Player {
    line: VecDeque<Frames>,
    repeated: Option<Frames>,
    /// The next frame of the first in line, and of what repeats.
    once_at: usize,
    repeat_at: usize,
    due: Instant,
    /// The next frame follows the one before without a pause.
    follows: bool,
}

/// A frame that is due.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) payload: Bytes,
    /// It comes 20 ms after the one before.
    pub(crate) follows: bool,
}

impl Player {
    /// A player that has nothing to play.
    pub(crate) fn new(now: Instant) -> Self {
        Self { line: VecDeque::new(), repeated: None, once_at: 0, repeat_at: 0, due: now, follows: false }
    }

    /// Takes an order.
    pub(crate) fn take(&mut self, play: Play, now: Instant) {
        if self.is_idle() {
            // What follows at once after the last frame keeps its pace.
            self.follows &= now < self.due;
            self.due = self.due.max(now);
        }
        match play {
            Play::Once(frames) => {
                if !frames.is_empty() && self.line.len() < MOST_IN_LINE {
                    self.line.push_back(frames);
                }
            }
            Play::Repeat(frames) => {
                self.repeated = Some(frames).filter(|frames| !frames.is_empty());
                self.repeat_at = 0;
            }
            Play::Stop => self.repeated = None,
        }
    }

    /// Nothing plays or waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.line.is_empty() && self.repeated.is_none()
    }

    /// When the next frame is due; none while there is none.
    pub(crate) fn due(&self) -> Option<Instant> {
        (!self.is_idle()).then_some(self.due)
    }

    /// The frame that is due.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Frame> {
        if self.due()? > now {
            return None;
        }
        let payload = match self.line.front() {
            Some(frames) => {
                let payload = frames.get(self.once_at).cloned();
                self.once_at += 1;
                if self.once_at >= frames.len() {
                    self.line.pop_front();
                    self.once_at = 0;
                }
                payload
            }
            None => {
                let frames = self.repeated.as_ref()?;
                let payload = frames.get(self.repeat_at).cloned();
                self.repeat_at = (self.repeat_at + 1) % frames.len();
                payload
            }
        }?;
        if now.saturating_duration_since(self.due) > LATE {
            (self.due, self.follows) = (now, false);
        }
        self.due += PACE;
        Some(Frame { payload, follows: std::mem::replace(&mut self.follows, true) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound(name: u8, len: u8) -> Frames {
        (0..len).map(|n| Bytes::from(vec![name, n])).collect()
    }

    struct Scene {
        player: Player,
        begin: Instant,
    }

    impl Scene {
        fn new() -> Self {
            #[expect(clippy::disallowed_methods, reason = "an instant to count from")]
            let begin = Instant::now();
            Self { player: Player::new(begin), begin }
        }

        fn at(&self, ms: u64) -> Instant {
            self.begin + Duration::from_millis(ms)
        }

        fn take(&mut self, play: Play, ms: u64) {
            self.player.take(play, self.at(ms));
        }

        /// What is due then: names, and whether each follows the one before.
        fn due(&mut self, ms: u64) -> Vec<(u8, u8, bool)> {
            let now = self.at(ms);
            std::iter::from_fn(|| self.player.next(now)).map(|frame| (frame.payload[0], frame.payload[1], frame.follows)).collect()
        }
    }

    #[test]
    fn frames_come_each_20_ms_and_catch_up_over_a_short_delay_only() {
        let mut scene = Scene::new();
        scene.take(Play::Once(sound(1, 30)), 5);
        assert_eq!(scene.due(4), []);
        assert_eq!(scene.due(5), [(1, 0, false)]);
        assert_eq!(scene.due(24), []);
        assert_eq!(scene.due(26), [(1, 1, true)]);
        assert_eq!(scene.due(84), [(1, 2, true), (1, 3, true)]);
        assert_eq!(scene.due(185), [(1, 4, true), (1, 5, true), (1, 6, true), (1, 7, true), (1, 8, true), (1, 9, true)]);
        assert_eq!(scene.due(1000), [(1, 10, false)], "what was missed is not made up for");
        assert_eq!(scene.due(1020), [(1, 11, true)]);
    }

    #[test]
    fn what_repeats_pauses_for_what_plays_once() {
        let mut scene = Scene::new();
        scene.take(Play::Repeat(sound(1, 2)), 0);
        assert_eq!([scene.due(0), scene.due(20), scene.due(40)], [[(1, 0, false)], [(1, 1, true)], [(1, 0, true)]]);
        scene.take(Play::Once(sound(2, 2)), 45);
        scene.take(Play::Once(sound(3, 1)), 46);
        assert_eq!([scene.due(60), scene.due(80), scene.due(100)], [[(2, 0, true)], [(2, 1, true)], [(3, 0, true)]]);
        assert_eq!(scene.due(120), [(1, 1, true)]);
        scene.take(Play::Once(sound(5, 1)), 125);
        scene.take(Play::Stop, 130);
        assert_eq!(scene.due(140), [(5, 0, true)]);
        assert!(scene.player.is_idle() && scene.due(500).is_empty());
        scene.take(Play::Once(sound(4, 1)), 600);
        assert_eq!(scene.due(600), [(4, 0, false)]);
        assert!(scene.player.is_idle());
    }

    #[test]
    fn a_line_is_short_and_an_empty_sound_is_none() {
        let mut scene = Scene::new();
        scene.take(Play::Once(sound(9, 0)), 0);
        scene.take(Play::Repeat(sound(9, 0)), 0);
        assert!(scene.player.is_idle());
        for name in 0..9 {
            scene.take(Play::Once(sound(name, 1)), 0);
        }
        assert_eq!(scene.due(80).len(), MOST_IN_LINE);
        // The next one, without a pause, is not early either.
        scene.take(Play::Once(sound(1, 1)), 70);
        assert_eq!((scene.due(79), scene.due(80)), (vec![], vec![(1, 0, true)]));
    }
}
