//! Whether the client sleeps.
//!
//! A pure detector: frames and the companion's talk in, a verdict with its grounds out, time an argument. It ends no call and
//! moves no money; a false *asleep* is worse than a late one. Muted, absent or mostly missing sound is *unknown*, never asleep.

mod activity;
mod baseline;
mod detector;
mod history;
mod rhythm;

pub use detector::{Detector, ENOUGH_MILLI, Seen};

use crate::clock::Moment;

/// What the detector takes the client for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// She speaks, moves, or nothing says that she sleeps.
    Awake,
    /// She has grown quiet and breathes evenly: not yet certain.
    Drowsy,
    /// Minutes of evidence that she sleeps.
    Asleep,
    /// Too little sound to tell: muted, absent, mostly lost.
    Unknown,
}

/// A state, since when, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What she is taken for.
    pub state: State,
    /// Since when; for [`State::Asleep`] the moment it became certain.
    pub since: Moment,
    /// Why.
    pub grounds: Grounds,
}

/// What a verdict rests on. Whole numbers, because records keep them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grounds {
    /// What decided.
    pub why: Why,
    /// Accumulated evidence of sleep in thousandths; asleep needs a fixed amount of it.
    pub evidence_milli: i32,
    /// Period of her breathing, if one was found.
    pub period_ms: Option<u32>,
    /// How constant that period stayed over the last minutes, in basis points.
    pub constancy_bp: u16,
    /// Seconds since she last spoke, or since listening began.
    pub quiet_s: u32,
    /// Movements heard in the last five minutes.
    pub movements: u16,
    /// Of the last minute, what is missing, in basis points.
    pub missing_bp: u16,
    /// How often the companion spoke, or a tone was played, without any response since the client grew quiet.
    pub unanswered: u16,
}

/// What decided a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// Listening began a short while ago.
    Starting,
    /// She spoke.
    Speech,
    /// She moved.
    Movement,
    /// She said so with a tap.
    Tap,
    /// It is quiet, but no breathing is found that says more.
    Quiet,
    /// Breathing is heard, but its period varies as it does awake.
    Irregular,
    /// Breathing is heard and its period stays.
    Breathing,
    /// Something repeats too evenly to be breathing, or was there while she spoke: a clock, a fan, the sea from a loudspeaker.
    Machine,
    /// Talk or music goes on that is not hers.
    Background,
    /// Her microphone is muted, or sends digital silence.
    Muted,
    /// Nothing comes from her.
    Absent,
    /// Too much was lost to tell.
    Lost,
    /// The companion says so.
    Companion,
}

#[cfg(test)]
mod tests;
