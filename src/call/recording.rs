//! Recording a call: who said yes, which part runs, why it ended.
//!
//! Nothing is recorded unless the terms allow it, both parties have said yes and the call has been live. A no by either, also one that
//! follows a yes, ends it at once and takes both consents back: a further part begins only when both say yes anew. So it is after
//! a failure of ours, for then nobody can be sure what was kept. A renewed link ends it too: whoever comes by it is asked.

use super::{Call, Effect, Fact, Notice, Side, State};
use crate::clock::{Moment, Span};
use crate::ids::TokenId;

/// What a vendor allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordingTerms {
    /// A recording is deleted so long after it began.
    pub keep: Span,
}

/// Why a part of a recording ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordingEnd {
    /// The client said no.
    ClientStopped,
    /// The companion said no.
    CompanionStopped,
    /// The call is over.
    CallEnded,
    /// There was no room for it.
    DiskFull,
    /// It could not be written, or the sound not be had.
    Failed,
    /// The server was away.
    ServerStopped,
    /// A party's link was renewed: somebody else may come by it, who was not asked.
    LinkRenewed,
}

/// How a call's recording stands, as the facts have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    /// Who says yes at present: the client, the companion.
    pub consents: [bool; 2],
    /// Parts begun so far.
    pub parts: u32,
    /// The part that runs, and since when.
    pub running: Option<(u32, Moment)>,
    /// Why the last part ended; none while one runs.
    pub stopped: Option<RecordingEnd>,
}

/// Parts of one call at most: a page cannot fill a folder with files.
const MOST_PARTS: u32 = 64;

impl Recording {
    /// Whether this fact can follow.
    pub(super) fn fits(&self, fact: &Fact, state: &State, is_allowed: bool) -> bool {
        let was_live = matches!(state, State::Live { .. } | State::Paused { .. } | State::Landing { .. });
        match fact {
            Fact::Consented { .. } => is_allowed && (was_live || matches!(state, State::Connecting)),
            Fact::RecordingStarted { part } => was_live && self.running.is_none() && self.consents == [true; 2] && *part == self.parts + 1,
            Fact::RecordingStopped { part, .. } => was_live && self.running.is_some_and(|(running, _)| running == *part),
            _ => false,
        }
    }

    /// Takes in a fact that fits; others change nothing.
    pub(super) fn take(&mut self, at: Moment, fact: &Fact) {
        match fact {
            Fact::Consented { side, yes } => {
                if *yes {
                    self.consents[*side as usize] = true;
                } else {
                    self.consents = [false; 2];
                }
            }
            Fact::RecordingStarted { part } => {
                (self.parts, self.running, self.stopped) = (*part, Some((*part, at)), None);
            }
            Fact::RecordingStopped { why, .. } => {
                (self.consents, self.running, self.stopped) = ([false; 2], None, Some(*why));
            }
            // Whoever comes back is asked again.
            Fact::Recovered { .. } => self.consents = [false; 2],
            // Who comes by the new link may be somebody else.
            Fact::LinkRenewed { side, .. } => self.consents[*side as usize] = false,
            _ => {}
        }
    }
}

impl Call {
    /// How its recording stands.
    pub fn recording(&self) -> &Recording {
        &self.recording
    }

    /// Whether this party's yes counts now, and was not said too often. A no always does.
    pub fn hears_yes(&self, from: Side, now: Moment) -> bool {
        self.recording.consents[from as usize]
            || self.has_a_word_left(now, |fact| matches!(fact, Fact::Consented { side, yes: true } if *side == from))
    }

    /// A party says yes or no. Said twice it counts once; where the terms allow no recording it is nothing.
    pub(super) fn consent(&mut self, side: Side, yes: bool, now: Moment, out: &mut Vec<Effect>) {
        let Recording { consents, .. } = self.recording;
        let is_news = if yes { !consents[side as usize] } else { consents != [false; 2] };
        if self.terms.recording.is_none() || !is_news || (yes && !self.hears_yes(side, now)) {
            return;
        }
        self.record(now, Fact::Consented { side, yes });
        if yes {
            self.record_if_agreed(now);
        } else {
            let why = match side {
                Side::Client => RecordingEnd::ClientStopped,
                Side::Companion => RecordingEnd::CompanionStopped,
            };
            self.stop_recording(why, now);
        }
        out.push(Effect::Tell { to: None, notice: Notice::Changed });
    }

    /// Begins a part if both agree and the call has been live.
    pub(super) fn record_if_agreed(&mut self, now: Moment) {
        let Recording { consents, running, parts, .. } = self.recording;
        let was_live = matches!(self.state, State::Live { .. } | State::Paused { .. } | State::Landing { .. });
        if was_live && consents == [true; 2] && running.is_none() && parts < MOST_PARTS {
            self.record(now, Fact::RecordingStarted { part: parts + 1 });
        }
    }

    /// Ends the part that runs, if one does.
    pub(super) fn stop_recording(&mut self, why: RecordingEnd, at: Moment) {
        if let Some((part, _)) = self.recording.running {
            self.record(at, Fact::RecordingStopped { part, why });
        }
    }

    /// This party's link is renewed: her yes goes with the old one.
    pub(super) fn renew_link(&mut self, side: Side, token: TokenId, now: Moment, out: &mut Vec<Effect>) {
        let had_agreed = self.recording.consents[side as usize];
        self.stop_recording(RecordingEnd::LinkRenewed, now);
        self.record(now, Fact::LinkRenewed { side, token });
        if had_agreed {
            out.push(Effect::Tell { to: None, notice: Notice::Changed });
        }
    }

    /// The shell could not go on with a part.
    pub(super) fn recording_failed(&mut self, part: u32, why: RecordingEnd, now: Moment, out: &mut Vec<Effect>) {
        if self.recording.running.is_some_and(|(running, _)| running == part) {
            self.stop_recording(why, now);
            out.push(Effect::Tell { to: None, notice: Notice::Changed });
        }
    }
}
