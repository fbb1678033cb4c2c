//! When the companion spoke, and for how long: from her packets' levels and sizes, never from their sound.

use crate::audio::Activity;
use crate::clock::{Moment, Span};

/// Silence that ends what she says.
const PAUSE: Span = Span::from_ms(600);
/// What she says is told at the latest after so long.
const LONGEST: Span = Span::from_s(5);
/// Shorter is no word.
const SHORTEST: Span = Span::from_ms(200);
/// Length of a packet.
const PACKET: Span = Span::from_ms(20);

/// Her talk.
#[derive(Default)]
pub(super) struct Talk {
    activity: Activity,
    /// Her first and last word.
    word: Option<(Moment, Moment)>,
}

impl Talk {
    /// Takes a packet.
    pub(super) fn hear(&mut self, at: Moment, level: Option<u8>, octets: usize) {
        if self.activity.is_talk(level, octets) {
            let first = self.word.map_or(at, |(first, _)| first);
            self.word = Some((first, at));
        }
    }

    /// What she has said by now, if it is over or has become long.
    pub(super) fn said(&mut self, now: Moment) -> Option<(Moment, Span)> {
        let (first, last) = self.word?;
        if now.since(last) < PAUSE && now.since(first) < LONGEST {
            return None;
        }
        self.word = None;
        let length = last.since(first) + PACKET;
        (length >= SHORTEST).then_some((first, length))
    }
}
