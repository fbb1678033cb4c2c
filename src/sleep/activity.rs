//! What a person does besides breathing: she speaks, or she moves.
//!
//! Speech of the client is told from talk around her by its level: whoever holds the telephone is the loudest voice of the call. A
//! movement is what is louder than her breathing has been of late. Invariant: what it reports it also marks in the history, so that
//! nobody takes it for breath.

use super::history::{History, Mark, Tenth};

/// Frames of voice within a second that are speech: 0.3 s.
const SPEECH_FRAMES: u32 = 15;
/// Speech is this far above the room, in dB.
const ABOVE_ROOM_DB: f32 = 8.0;
/// Talk whose loudest frame is this far below the client's own level is somebody else's, in dB: a television, or the companion from a
/// loudspeaker. A murmur is 8 below her usual voice.
const OTHERS_DB: f32 = 10.0;
/// Part of the way to louder and to quieter speech that her level goes in a tenth: a shout or a laugh is not taken for how she speaks.
const RISE: f32 = 0.05;
const FALL: f32 = 0.01;
/// By how much her level is forgotten in a tenth of others' talk, in dB.
const FORGET_DB: f32 = 0.002;
/// A movement is this far above the loudest breathing, in dB.
const MOVEMENT_DB: f32 = 7.0;
/// Tenths over which the loudest breathing is taken.
const BREATHING: usize = 900;
/// Tenths from one look at the breathing's levels to the next.
const LEVELS_EACH: u64 = 10;
/// Tenths that are heard before movements are told.
const FIRST_MOVEMENT: u64 = 300;

/// What was heard besides breathing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// The client speaks.
    Speech,
    /// Somebody else does, or something.
    Talk,
    /// She moves.
    Movement,
}

/// Tells acts.
pub(super) struct Activity {
    /// Level of the client's own speech in dB; none before she spoke.
    own: Option<f32>,
    /// Level of the room and of the loudest breathing in dB.
    room: f32,
    breathing: f32,
    /// Loud tenths in a row.
    loud: u32,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self { own: None, room: f32::MIN, breathing: f32::MAX, loud: 0 }
    }

    /// Takes the newest tenth, which is in the history already.
    pub(super) fn take(&mut self, tenth: &Tenth, history: &mut History) -> Option<Act> {
        if history.count() % LEVELS_EACH == 1 {
            self.measure(history);
        }
        let second = history.last(10).filter(|tenth| tenth.voiced > 0);
        let (frames, level) =
            second.fold((0u32, f32::MIN), |(frames, level), tenth| (frames + u32::from(tenth.voiced), level.max(tenth.voice_level)));
        if frames >= SPEECH_FRAMES && level > self.room + ABOVE_ROOM_DB {
            history.mark(12, Mark::Speech);
            self.loud = 0;
            let own = *self.own.get_or_insert(level);
            if level < own - OTHERS_DB {
                self.own = Some(own - FORGET_DB);
                return Some(Act::Talk);
            }
            self.own = Some(own + (level - own) * if level > own { RISE } else { FALL });
            return Some(Act::Speech);
        }
        if tenth.mark != Mark::Clear || tenth.level < self.breathing + MOVEMENT_DB || history.count() < FIRST_MOVEMENT {
            self.loud = 0;
            return None;
        }
        self.loud += 1;
        if self.loud < 2 {
            return None;
        }
        history.mark(4, Mark::Movement);
        Some(Act::Movement)
    }

    fn measure(&mut self, history: &History) {
        // Movements are among them, so that a new loud sound that goes on, as snoring does, is soon what is usual.
        let heard = history.last(BREATHING).filter(|tenth| matches!(tenth.mark, Mark::Clear | Mark::Movement));
        let mut levels: Vec<f32> = heard.map(|tenth| tenth.level).collect();
        if levels.len() < BREATHING / 30 {
            return;
        }
        let place = levels.len() / 10;
        self.room = *levels.select_nth_unstable_by(place, f32::total_cmp).1;
        let place = levels.len() * 95 / 100;
        self.breathing = *levels.select_nth_unstable_by(place, f32::total_cmp).1;
    }
}
