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
/// A page of which nothing comes for so long is not there: it sends each 20 ms, in silence (DTX) each 400 ms.
const GONE: Span = Span::from_s(1);

/// See above.
pub(super) struct Ear {
    listener: Listener,
    detector: Detector,
    gate: Gate,
    talk: Talk,
    is_muted: bool,
    presence: Presence,
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
            presence: Presence::default(),
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
        self.presence.look(tapped.at, tapped.hears_sounds);
        if is_renewed {
            self.renew();
        }
        // Who is thought to sleep is heard whatever it costs: she may wake.
        let is_awake = self.detector.verdict().state == State::Awake;
        if is_short && is_awake && self.gate.may_be_skipped(tapped.at) {
            if self.gate.is_loud(tapped.at) {
                // The ear is not asked, and there may be a linger that it knows nothing of.
                self.note(Found { spoke: Some(tapped.at), ..Found::default() });
            }
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
            && self.may_answer(at, now)
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

    /// A tone was played to her page. It is a question only if she could hear it.
    pub(super) fn tone_played(&mut self, at: Moment) {
        if self.presence.hears_sounds && self.may_answer(at, at) {
            self.detector.tone_played(at);
        }
    }

    /// Whether she heard, as far as is known, what was said from `since` on, and an answer would be heard.
    fn may_answer(&self, since: Moment, now: Moment) -> bool {
        !self.is_muted && self.presence.is_there(since, now)
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

/// Whether her page is there.
#[derive(Clone, Copy, Default)]
struct Presence {
    /// Its first and last packet without a gap between.
    seen: Option<(Moment, Moment)>,
    /// It has a track for what the server plays.
    hears_sounds: bool,
}

impl Presence {
    fn look(&mut self, at: Moment, hears_sounds: bool) {
        let since = self.seen.filter(|(_, last)| at.since(*last) < GONE).map_or(at, |(since, _)| since);
        (self.seen, self.hears_sounds) = (Some((since, at)), hears_sounds);
    }

    fn is_there(&self, since: Moment, now: Moment) -> bool {
        self.seen.is_some_and(|(first, last)| first <= since && now.since(last) < GONE)
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
