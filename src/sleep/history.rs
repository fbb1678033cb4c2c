//! The last minutes, ten measures a second: what was heard in each band, and whether that was breathing at most.
//!
//! Bounded: the oldest measure makes room for the newest. Invariant: times are counted in tenths since listening began, and a tenth
//! that is gone is never handed out.

use crate::audio::features::{BANDS, Measure, Sound};
use crate::audio::{FRAME_MS, Missing};
use std::collections::VecDeque;

/// Tenths of a second that are kept: six minutes.
pub(super) const KEPT: usize = 3600;

/// Frames of a tenth.
const FRAMES: usize = 100 / FRAME_MS as usize;

/// The same in frames.
pub(super) const KEPT_FRAMES: i64 = (KEPT * FRAMES) as i64;

/// What a tenth is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// Breathing, a room, a machine: nothing speaks against listening for breath.
    Clear,
    /// Somebody spoke.
    Speech,
    /// Something moved.
    Movement,
    /// There was no sound, or only digital silence: levels are held.
    Missing,
}

/// A tenth of a second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tenth {
    /// Level of each band in dB: the median of its frames, so that a click of less than two frames leaves no trace.
    pub(super) bands: [f32; BANDS],
    /// Loudest frame, all bands together, in dB.
    pub(super) loud: f32,
    /// Median frame, all bands together, in dB.
    pub(super) level: f32,
    /// Frames that sound like a voice.
    pub(super) voiced: u8,
    /// Level of the loudest of them in dB.
    pub(super) voice_level: f32,
    /// Frames without sound, by what is missing.
    pub(super) lost: u8,
    pub(super) absent: u8,
    /// Frames of digital silence; a frame that was withheld after one counts too.
    pub(super) silent: u8,
    pub(super) mark: Mark,
}

/// The last minutes.
#[derive(Default)]
pub(super) struct History {
    frames: Vec<Measure>,
    was_silent: bool,
    tenths: VecDeque<Tenth>,
    /// Tenths since the beginning.
    count: u64,
}

impl History {
    /// Takes the next frame; gives the tenth that it completes.
    pub(super) fn push(&mut self, measure: &Measure, is_voice: impl Fn(&Measure) -> bool) -> Option<Tenth> {
        self.frames.push(*measure);
        if self.frames.len() < FRAMES {
            return None;
        }
        let mut tenth = Tenth {
            bands: [0.0; BANDS],
            loud: f32::MIN,
            level: 0.0,
            voiced: 0,
            voice_level: f32::MIN,
            lost: 0,
            absent: 0,
            silent: 0,
            mark: Mark::Clear,
        };
        for band in 0..BANDS {
            tenth.bands[band] = median(self.frames.iter().map(|frame| frame.bands[band]));
        }
        tenth.level = median(self.frames.iter().map(|frame| frame.level));
        for frame in &self.frames {
            match frame.sound {
                Sound::Live => self.was_silent = false,
                Sound::Silent => self.was_silent = true,
                Sound::None(Missing::Lost) => tenth.lost += 1,
                Sound::None(Missing::Absent) => tenth.absent += 1,
                Sound::None(Missing::Withheld) => {}
            }
            let is_gone = matches!(frame.sound, Sound::None(Missing::Lost | Missing::Absent));
            tenth.silent += u8::from(self.was_silent && !is_gone);
            tenth.loud = tenth.loud.max(frame.level);
            if is_voice(frame) {
                tenth.voiced += 1;
                tenth.voice_level = tenth.voice_level.max(frame.level);
            }
        }
        if tenth.lost + tenth.absent + tenth.silent > FRAMES as u8 / 2 {
            tenth.mark = Mark::Missing;
        }
        self.frames.clear();
        if self.tenths.len() == KEPT {
            self.tenths.pop_front();
        }
        self.tenths.push_back(tenth);
        self.count += 1;
        Some(tenth)
    }

    /// Marks the newest tenths that have sound.
    pub(super) fn mark(&mut self, newest: usize, mark: Mark) {
        for tenth in self.tenths.iter_mut().rev().take(newest) {
            if tenth.mark != Mark::Missing {
                tenth.mark = mark;
            }
        }
    }

    /// The newest tenths, oldest first; fewer if there are fewer.
    pub(super) fn last(&self, newest: usize) -> impl DoubleEndedIterator<Item = &Tenth> + ExactSizeIterator + Clone {
        self.tenths.range(self.tenths.len().saturating_sub(newest)..)
    }

    /// Tenths since the beginning.
    pub(super) fn count(&self) -> u64 {
        self.count
    }
}

/// The middle of a few numbers, the lower one of two.
fn median(values: impl Iterator<Item = f32>) -> f32 {
    let mut sorted = [f32::MAX; FRAMES];
    let mut count = 0;
    for (into, value) in sorted.iter_mut().zip(values) {
        *into = value;
        count += 1;
    }
    sorted[..count].sort_by(f32::total_cmp);
    sorted.get(count.saturating_sub(1) / 2).copied().unwrap_or(0.0)
}
