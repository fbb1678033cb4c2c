//! One client's ear: her packets to the detector, and what is to be said of it.

use super::talk::Talk;
use crate::audio::{AudioError, FRAME_SAMPLES, Gate, Heard, Listener, Packet};
use crate::clock::{Moment, Span};
use crate::media::Tapped;
use crate::sleep::{Detector, State, Verdict};

/// A verdict whose state stays is told again with other grounds after so long.
const RETOLD: Span = Span::from_s(10);
/// Between two words of her speech or movement.
const SPOKE: Span = Span::from_s(1);

/// See above.
pub(super) struct Ear {
    listener: Listener,
    detector: Detector,
    gate: Gate,
    talk: Talk,
    is_muted: bool,
    told: Verdict,
    told_at: Moment,
    spoke_at: Option<Moment>,
    /// To be said: a verdict, and that she spoke.
    verdict: Option<Verdict>,
    spoke: Option<Moment>,
}

impl Ear {
    pub(super) fn new(at: Moment, is_muted: bool) -> Result<Self, AudioError> {
        let detector = Detector::new(at);
        let told = detector.verdict();
        Ok(Self {
            listener: Listener::new(at)?,
            detector,
            gate: Gate::default(),
            talk: Talk::default(),
            is_muted,
            told,
            told_at: at,
            spoke_at: None,
            verdict: None,
            spoke: None,
        })
    }

    /// Her packet. `is_short`: there is more to do than time.
    pub(super) fn hear(&mut self, tapped: &Tapped, packet: &Packet<'_>, is_renewed: bool, is_short: bool) -> bool {
        self.gate.look(tapped.at, tapped.level, tapped.payload.len());
        if is_renewed {
            self.renew();
        }
        // Who is thought to sleep is heard whatever it costs: she may wake.
        let is_awake = self.detector.verdict().state == State::Awake;
        if is_short && is_awake && self.gate.may_be_skipped(tapped.at) {
            return false;
        }
        let mut frames = Frames::of(&mut self.detector, self.is_muted);
        self.listener.hear(packet, &mut |at, heard| frames.take(at, heard));
        let frames = frames.found;
        self.note(frames);
        true
    }

    /// Her page was loaded again: its packets are counted anew.
    pub(super) fn renew(&mut self) {
        let mut frames = Frames::of(&mut self.detector, self.is_muted);
        self.listener.renew(&mut |at, heard| frames.take(at, heard));
        let found = frames.found;
        self.note(found);
    }

    /// The companion's packet.
    pub(super) fn hear_companion(&mut self, tapped: &Tapped) {
        self.talk.hear(tapped.at, tapped.level, tapped.payload.len());
    }

    /// What time made due. `is_companion_heard`: her voice reaches the client.
    pub(super) fn tick(&mut self, now: Moment, is_companion_heard: bool) {
        let mut frames = Frames::of(&mut self.detector, self.is_muted);
        self.listener.tick(now, &mut |at, heard| frames.take(at, heard));
        let found = frames.found;
        self.note(found);
        if let Some((at, length)) = self.talk.said(now)
            && is_companion_heard
        {
            self.detector.companion_spoke(at, length);
        }
        let verdict = self.detector.verdict();
        if now.since(self.told_at) >= RETOLD && verdict != self.told {
            self.tell(verdict, now);
        }
    }

    pub(super) fn tapped(&mut self, at: Moment) {
        let verdict = self.detector.tapped(at);
        self.found(verdict, at);
    }

    pub(super) fn said_awake(&mut self, at: Moment) {
        let verdict = self.detector.said_awake(at);
        self.found(verdict, at);
    }

    pub(super) fn said_asleep(&mut self, at: Moment) {
        let verdict = self.detector.said_asleep(at);
        self.found(verdict, at);
    }

    pub(super) fn tone_played(&mut self, at: Moment) {
        self.detector.tone_played(at);
    }

    pub(super) fn mute(&mut self, is_muted: bool) {
        self.is_muted = is_muted;
    }

    /// What became of her packets.
    #[cfg(test)]
    pub(super) fn counts(&self) -> crate::audio::Counts {
        self.listener.counts()
    }

    /// What she is taken for.
    pub(super) fn verdict(&self) -> Verdict {
        self.detector.verdict()
    }

    /// Whether something is to be said.
    pub(super) fn has_news(&self) -> bool {
        self.verdict.is_some() || self.spoke.is_some()
    }

    /// The verdict that is to be said.
    pub(super) fn take_verdict(&mut self) -> Option<Verdict> {
        self.verdict.take()
    }

    /// When she spoke, if that is to be said.
    pub(super) fn take_spoke(&mut self) -> Option<Moment> {
        self.spoke.take()
    }

    /// There was no room to say it: again later.
    pub(super) fn keep(&mut self, verdict: Option<Verdict>, spoke: Option<Moment>) {
        self.verdict = self.verdict.or(verdict);
        self.spoke = self.spoke.or(spoke);
    }

    fn note(&mut self, found: Found) {
        if let Some(at) = found.spoke
            && self.spoke_at.is_none_or(|spoke| at.since(spoke) >= SPOKE)
        {
            self.spoke_at = Some(at);
            self.spoke = Some(at);
        }
        if let Some((verdict, at)) = found.verdict {
            self.tell(verdict, at);
        }
    }

    fn found(&mut self, verdict: Option<Verdict>, at: Moment) {
        if let Some(verdict) = verdict {
            self.tell(verdict, at);
        }
    }

    fn tell(&mut self, verdict: Verdict, at: Moment) {
        (self.told, self.told_at, self.verdict) = (verdict, at, Some(verdict));
    }
}

/// What frames showed.
#[derive(Clone, Copy, Default)]
struct Found {
    verdict: Option<(Verdict, Moment)>,
    spoke: Option<Moment>,
}

/// Frames on their way to the detector.
struct Frames<'a> {
    detector: &'a mut Detector,
    is_muted: bool,
    found: Found,
}

impl<'a> Frames<'a> {
    fn of(detector: &'a mut Detector, is_muted: bool) -> Self {
        Self { detector, is_muted, found: Found::default() }
    }

    fn take(&mut self, at: Moment, heard: Heard<'_>) {
        // What a muted microphone sends, also where a page sends nothing.
        let heard = if self.is_muted { Heard::Sound(&[0; FRAME_SAMPLES]) } else { heard };
        if let Some(verdict) = self.detector.hear(at, heard) {
            self.found.verdict = Some((verdict, at));
        }
        // Also while the ear itself takes her for awake: a landing may go on though its own verdict fell back, or began anew.
        if self.detector.speaks() || self.detector.stirs() {
            self.found.spoke = Some(at);
        }
    }
}
