//! What a call does about a client who falls asleep: it lingers, it lands, and it goes on if she wakes.
//!
//! A false *asleep* is worse than a late one, so whatever speaks against it wins: her voice, a tap, the companion, a verdict that is
//! not certain any more. Invariants: time in a landing is never delivered time; a verdict, late, stale or repeated, never does more than
//! begin a linger, and a linger takes its time, which stands while nobody could be heard or tap; changes of what she is taken for are
//! facts at most once in [`STEADY`], unless one ends a linger.

use super::machine::Due;
use super::{Audio, Call, Cue, Effect, Entry, Fact, Fault, Night, Notice, Side, State, Waker, Witness};
use crate::clock::{Moment, Span};
use crate::seeded::{self, Bug};
use crate::sleep::{self, Grounds, Verdict, Why};

/// The linger that the companion's word alone begins: long enough for a tap, also if her page was in the way.
const BY_HER_WORD: Span = Span::from_s(30);

/// Between two facts about what the client is taken for.
const STEADY: Span = Span::from_s(10);

/// For so long after she woke, a verdict that she had before is taken for a late one. If the ear still says the same then, it means it.
const STALE: Span = Span::from_s(120);

/// What is heard is known a little later: speech so long before a linger still speaks against it.
const LATE: Span = Span::from_s(2);

/// A linger lasts so long after a pause at least, unless it was the companion's alone: whoever woke to bring her line back needs a moment to
/// say so.
const AFTER_PAUSE: Span = Span::from_s(30);

/// So often the companion's word begins a linger, and a party says yes to a recording, before some time must pass in between.
const AT_ONCE: usize = 8;

/// Between two such words then.
const BETWEEN_WORDS: Span = Span::from_s(5);

/// Such words of one call, or one party, at most: a page cannot fill the journal.
const MOST_WORDS: usize = 64;

/// A client has so much of a landing to say that she is awake, before the companion may go.
const TIME_TO_WAKE: Span = Span::from_s(30);

/// The fade is over by so much before the landing is, so that the end finds silence.
const SILENCE: Span = Span::from_s(1);

/// The chime is for the warning of the last minute, not for the one of the last seconds.
const CHIME: std::ops::RangeInclusive<Span> = Span::from_s(11)..=Span::from_s(60);

/// Where an until-asleep call is on its way to sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The ear listens.
    Listening,
    /// She sleeps, and the companion stays a while.
    Lingering,
    /// The companion's voice fades.
    Landing,
}

/// A linger, with the landing behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linger {
    /// Who says that she sleeps.
    pub by: Witness,
    /// Since when it lasts.
    pub since: Moment,
    /// When it is over and the landing begins.
    pub until: Moment,
}

impl Call {
    /// Where the call is on its way to sleep; none if it takes no notice of that.
    pub fn phase(&self) -> Option<Phase> {
        self.terms.night?;
        Some(match (self.state, self.lingering) {
            (State::Landing { .. }, _) => Phase::Landing,
            (State::Ended { .. } | State::Settled { .. }, _) if self.has_landed() => Phase::Landing,
            (_, Some(_)) => Phase::Lingering,
            (_, None) => Phase::Listening,
        })
    }

    /// When the linger or the landing is over, unless she wakes; none in a pause, in which a linger's time stands.
    pub fn phase_ends_at(&self) -> Option<Moment> {
        match (self.state, self.lingering) {
            (State::Landing { .. }, _) => self.due_landed().map(|(at, _)| at),
            (State::Live { .. }, Some(linger)) => Some(linger.until),
            _ => None,
        }
    }

    /// The linger that is on, or that the landing follows.
    pub fn lingering(&self) -> Option<Linger> {
        self.lingering
    }

    /// What the client is taken for now.
    pub fn verdict(&self) -> Option<Verdict> {
        self.heard.or(self.verdict).map(|(_, verdict)| verdict)
    }

    /// The companion should say something softly: no answer is a sign of sleep.
    pub fn wants_a_word(&self) -> bool {
        let is_drowsy = self.verdict().is_some_and(|verdict| verdict.state == sleep::State::Drowsy);
        let asks_her = self.terms.night.is_some_and(|night| night.probe.is_none());
        asks_her && is_drowsy && self.lingering.is_none() && matches!(self.state, State::Live { .. })
    }

    fn has_landed(&self) -> bool {
        self.entries.iter().rev().find_map(|entry| match entry.fact {
            Fact::Lands { .. } => Some(true),
            Fact::Woken { .. } => Some(false),
            _ => None,
        }) == Some(true)
    }

    /// What falls due next because of sleep.
    pub(super) fn due_at_night(&self) -> Option<(Moment, Due)> {
        let night = self.terms.night?;
        let dues = match self.state {
            State::Live { since } => [self.due_fact(), self.due_linger(since), self.due_landing(since), self.due_probe(since, night)],
            State::Paused { .. } => [self.due_fact(), None, None, None],
            State::Landing { .. } => [self.due_fact(), self.due_landed(), None, None],
            State::Connecting | State::Ended { .. } | State::Settled { .. } => return None,
        };
        dues.into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    fn due_fact(&self) -> Option<(Moment, Due)> {
        let (heard_at, heard) = self.heard?;
        match self.verdict {
            Some((_, known)) if known.state == heard.state => None,
            Some((at, _)) => Some((heard_at.max(at + STEADY), Due::Sleep(heard))),
            None => Some((heard_at, Due::Sleep(heard))),
        }
    }

    fn due_linger(&self, live_since: Moment) -> Option<(Moment, Due)> {
        let (at, known) = self.verdict?;
        let (heard_at, heard) = self.heard.unwrap_or((at, known));
        // The companion's word counts when she says it, and not once more by the ear that was told of it, whatever it names later.
        let is_told =
            |verdict: &Verdict| verdict.grounds.why == Why::Companion || self.told_asleep.is_some_and(|told| near(told, verdict.since));
        let says = |verdict: &Verdict| verdict.state == sleep::State::Asleep && !is_told(verdict);
        let begins = self.lingering.is_none() && known.state == sleep::State::Asleep && says(&heard);
        begins.then_some((at.max(heard_at).max(live_since), Due::Linger))
    }

    fn due_landing(&self, live_since: Moment) -> Option<(Moment, Due)> {
        self.lingering.map(|linger| (linger.until.max(live_since), Due::Landing))
    }

    fn due_probe(&self, live_since: Moment, night: Night) -> Option<(Moment, Due)> {
        let (at, verdict) = self.verdict.filter(|_| self.lingering.is_none())?;
        let again = self.probed_at.zip(night.probe).map(|(probed, every)| probed + every);
        let at = Some(at.max(live_since)).max(again)?;
        (night.probe.is_some() && verdict.state == sleep::State::Drowsy).then_some((at, Due::Probe))
    }

    /// Nobody could wake her, or say that she is awake, while the server was away.
    fn due_landed(&self) -> Option<(Moment, Due)> {
        let State::Landing { since, .. } = self.state else { return None };
        let fade = self.terms.night?.fade;
        Some((Some(since).max(self.stood_until).unwrap_or(since) + fade, Due::Landed))
    }

    /// Whether a companion who hangs up now leaves somebody asleep: so the ear found, and the client had time to say otherwise. Her own
    /// word is not enough, or it would be a cheaper way to leave.
    pub(super) fn may_be_left(&self, now: Moment) -> bool {
        let State::Landing { since, .. } = self.state else { return false };
        let since = Some(since).max(self.stood_until).unwrap_or(since);
        self.lingering.is_some_and(|linger| linger.by == Witness::Ear) && now.since(since) >= TIME_TO_WAKE
    }

    /// The ear has a verdict. One that tells of the time before she woke says nothing any more.
    pub(super) fn heed(&mut self, verdict: Verdict, now: Moment, out: &mut Vec<Effect>) {
        let is_on = matches!(self.state, State::Live { .. } | State::Paused { .. } | State::Landing { .. });
        if verdict.state == sleep::State::Asleep && verdict.grounds.why == Why::Companion {
            self.told_asleep = Some(verdict.since);
        }
        let is_stale = says_sleep(&verdict) && self.woken_at.is_some_and(|woken| verdict.since <= woken && now.since(woken) < STALE);
        if self.terms.night.is_none() || !is_on || is_stale {
            return;
        }
        let verdict = Verdict { since: verdict.since.min(now), ..verdict };
        let is_news = self.verdict().is_none_or(|known| known.state != verdict.state);
        self.heard = Some((now, verdict));
        let waker = match (self.state, self.lingering) {
            (_, None) => None,
            // What she said with a tap counts by the tap; a detector that only begins says nothing yet.
            _ if verdict.state == sleep::State::Awake && matches!(verdict.grounds.why, Why::Speech | Why::Movement) => Some(Waker::Speech),
            (State::Live { .. } | State::Paused { .. }, Some(Linger { by: Witness::Ear, .. })) if verdict.state != sleep::State::Asleep => {
                Some(Waker::Ear)
            }
            (_, Some(_)) => None,
        };
        if let Some(waker) = waker {
            if is_news {
                self.record(now, Fact::Sleep { verdict });
            }
            self.wake(waker, now, out);
        } else if is_news {
            out.push(Effect::Tell { to: None, notice: Notice::Changed });
        }
    }

    /// She was heard at this moment.
    pub(super) fn spoke(&mut self, at: Moment, now: Moment, out: &mut Vec<Effect>) {
        if self.lingering.is_some_and(|linger| at + LATE >= linger.since) {
            self.wake(Waker::Speech, now, out);
        }
    }

    /// A linger or a landing is off, if there is one.
    pub(super) fn wake(&mut self, by: Waker, now: Moment, out: &mut Vec<Effect>) {
        if self.lingering.is_none() {
            return;
        }
        let was_landing = matches!(self.state, State::Landing { .. });
        if let State::Landing { ran_from, stopped, .. } = self.state
            && let Some((cause, silent)) = self.silent().filter(|(_, silent)| *silent < stopped)
        {
            // Who falters may have been gone since before the landing.
            self.record(now, Fact::Paused { cause, since: self.pause_from(silent, ran_from, now) });
        }
        if by != Waker::Ear && self.heard.is_some_and(|(_, heard)| says_sleep(&heard)) {
            self.heard = None;
        }
        self.record(now, Fact::Woken { by });
        if was_landing {
            if std::mem::take(&mut self.faded) {
                out.push(Effect::Audio(Audio::Unfade));
            }
            self.follow(now, out);
        } else {
            out.push(Effect::Tell { to: None, notice: Notice::Changed });
        }
    }

    /// Whether a word of this kind counts, after those that the facts have.
    pub(super) fn has_a_word_left(&self, now: Moment, is_one: impl Fn(&Fact) -> bool) -> bool {
        let mut words = self.entries.iter().rev().filter(|entry| is_one(&entry.fact));
        let Some(last) = words.next() else { return true };
        let said = 1 + words.take(MOST_WORDS).count();
        said < AT_ONCE || (said < MOST_WORDS && now.since(last.at) >= BETWEEN_WORDS)
    }

    /// Whether the companion's word that the client sleeps counts now, and was not said too often.
    pub fn hears_asleep(&self, now: Moment) -> bool {
        self.lingering.is_some() || self.has_a_word_left(now, |fact| matches!(fact, Fact::Lingers { by: Witness::Companion, .. }))
    }

    /// What the ear heard before the machine slept says nothing after it: a linger that it began is off, none begins by it, and it
    /// listens anew. True if that changes anything.
    pub(super) fn doze(&mut self, at: Moment) -> bool {
        if !matches!(self.state, State::Live { .. } | State::Paused { .. }) {
            return false;
        }
        self.heard = None;
        let is_off = self.lingering.is_some_and(|linger| linger.by == Witness::Ear);
        let is_stale = self.lingering.is_none() && self.verdict.is_some_and(|(_, known)| says_sleep(&known));
        if is_off || is_stale {
            self.record(at, Fact::Sleep { verdict: unmeasured(sleep::State::Unknown, at, Why::Lost) });
        }
        if is_off {
            self.record(at, Fact::Woken { by: Waker::Ear });
        }
        is_off || is_stale
    }

    /// When the last landing was called off: in a landing nobody who is away is told to hurry.
    pub(super) fn landed_until(&self) -> Option<Moment> {
        let woken = self.woken_at?;
        let mut naps = self.entries.iter().rev().skip_while(|entry| !matches!(entry.fact, Fact::Woken { .. })).skip(1);
        let before = naps.find_map(|entry| match entry.fact {
            Fact::Lands { .. } => Some(true),
            Fact::Lingers { .. } => Some(false),
            _ => None,
        });
        (before == Some(true)).then_some(woken)
    }

    /// The companion says that she sleeps: that cuts a linger short, or begins a short one.
    pub(super) fn says_asleep(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let Some(night) = self.terms.night.filter(|_| matches!(self.state, State::Live { .. })) else { return };
        match self.lingering {
            None if !self.hears_asleep(now) => {}
            None => {
                self.told_asleep = Some(now);
                self.record(now, Fact::Lingers { by: Witness::Companion, length: BY_HER_WORD.min(night.linger), verdict: self.verdict() });
                out.push(Effect::Tell { to: None, notice: Notice::Changed });
            }
            Some(Linger { by: Witness::Ear, .. }) => self.land(true, now, out),
            // She said so before.
            Some(Linger { by: Witness::Companion, .. }) => {}
        }
    }

    /// The client is taken to be asleep.
    pub(super) fn begin_linger(&mut self, at: Moment, out: &mut Vec<Effect>) {
        if let Some(Night { linger, .. }) = self.terms.night {
            self.record(at, Fact::Lingers { by: Witness::Ear, length: linger, verdict: self.verdict() });
            out.push(Effect::Tell { to: None, notice: Notice::Changed });
        }
    }

    /// The companion's voice fades, unless one side is silent: then it is a pause first, as it would be at the end of paid time.
    pub(super) fn land(&mut self, confirmed: bool, at: Moment, out: &mut Vec<Effect>) {
        if self.falters() {
            return self.own_up(at, out);
        }
        let Some(Night { fade, .. }) = self.terms.night else { return };
        self.record(at, Fact::Lands { confirmed });
        self.faded = true;
        out.push(Effect::Audio(Audio::Fade { length: fade.saturating_sub(SILENCE) }));
        out.push(Effect::Tell { to: None, notice: Notice::Changed });
    }

    /// A very quiet tone for her who is drowsy.
    pub(super) fn probe(&mut self, at: Moment, out: &mut Vec<Effect>) {
        self.probed_at = Some(at);
        out.push(Effect::Audio(Audio::Play { to: Side::Client, cue: Cue::Probe }));
    }

    /// So much is left: a soft chime at the last minute.
    pub(super) fn chime(&self, left: Span, out: &mut Vec<Effect>) {
        if CHIME.contains(&left) {
            self.play(|dbfs| Cue::Chime { dbfs }, out);
        }
    }

    /// Lets both sides hear something, if the plan has it.
    pub(super) fn play(&self, cue: impl Fn(i8) -> Cue, out: &mut Vec<Effect>) {
        if let Some(dbfs) = self.terms.sounds.chime {
            out.extend(Side::ALL.iter().map(|side| Effect::Audio(Audio::Play { to: *side, cue: cue(dbfs) })));
        }
    }

    /// Lets ear and voice of the server follow what the call is now.
    pub(super) fn follow_audio(&mut self, out: &mut Vec<Effect>) {
        self.follow_waiting(out);
        let is_landing = matches!(self.state, State::Landing { .. });
        let is_heard = matches!(self.state, State::Live { .. }) || (is_landing && self.client.is_connected());
        if is_heard && self.terms.night.is_some() && !self.listens {
            self.listens = true;
            out.push(Effect::Audio(Audio::Listen));
        }
        // A server that took up a landing: who comes back into it is not heard any more.
        if is_landing && !self.faded && self.companion.leg.is_some() {
            self.faded = true;
            out.push(Effect::Audio(Audio::Fade { length: Span::ZERO }));
        }
        if self.is_over() && std::mem::take(&mut self.listens) {
            out.push(Effect::Audio(Audio::Deaf));
        }
    }

    /// Lets the client hear something while she waits for the companion; on her new leg too.
    fn follow_waiting(&mut self, out: &mut Vec<Effect>) {
        let waits = match self.state {
            State::Connecting => true,
            State::Paused { .. } => self.companion.down.is_some(),
            State::Live { .. } | State::Landing { .. } | State::Ended { .. } | State::Settled { .. } => false,
        };
        let leg = self.client.leg.filter(|_| self.terms.sounds.waiting && waits && self.client.is_connected());
        let before = std::mem::replace(&mut self.waiting, leg);
        // What ended or is away hears nothing anyhow.
        if leg != before && (leg.is_some() || (self.client.is_connected() && !self.is_over())) {
            let cue = Cue::Waiting { on: leg.is_some() };
            out.push(Effect::Audio(Audio::Play { to: Side::Client, cue }));
        }
    }

    // How facts add up ----------------------------------------------------------------------------------------------------

    /// Whether a fact about sleep can follow those before it.
    pub(super) fn fits_the_night(&self, fact: &Fact) -> bool {
        let is_on = matches!(self.state, State::Live { .. } | State::Paused { .. } | State::Landing { .. });
        self.terms.night.is_some()
            && match fact {
                Fact::Sleep { .. } => is_on,
                Fact::Lingers { .. } => self.lingering.is_none() && matches!(self.state, State::Live { .. }),
                Fact::Lands { .. } => self.lingering.is_some() && matches!(self.state, State::Live { .. }),
                Fact::Woken { .. } => self.lingering.is_some() && is_on,
                _ => false,
            }
    }

    /// Takes in a fact about sleep that fits; the state is changed beside it.
    pub(super) fn take_of_the_night(&mut self, at: Moment, fact: &Fact) {
        match fact {
            Fact::Sleep { verdict } => self.verdict = Some((at, *verdict)),
            Fact::Lingers { by, length, .. } => self.lingering = Some(Linger { by: *by, since: at, until: at + *length }),
            Fact::Woken { by } => {
                self.lingering = None;
                self.woken_at = Some(at);
                let why = match by {
                    Waker::Speech => Some(Why::Speech),
                    Waker::Tap => Some(Why::Tap),
                    Waker::Companion => Some(Why::Companion),
                    Waker::Ear => None,
                };
                let known = self.verdict.map(|(_, verdict)| verdict);
                let awake = why
                    .filter(|_| known.is_none_or(|known| known.state != sleep::State::Awake))
                    .map(|why| unmeasured(sleep::State::Awake, at, why));
                self.verdict = awake.or(known).map(|verdict| (at, verdict));
            }
            // What was heard before is nothing to a server that heard nothing itself; a landing goes on.
            Fact::Recovered { .. } if seeded::has(Bug::LingerKept) => {}
            Fact::Recovered { .. } => {
                self.verdict = None;
                self.heard = None;
                self.lingering = self.lingering.filter(|_| matches!(self.state, State::Landing { .. }));
            }
            _ => {}
        }
    }

    /// The meter runs again after a pause: so does the time of a linger. A companion whose line drops now and then cannot hold it up.
    pub(super) fn linger_on(&mut self, at: Moment) {
        let State::Paused { cause, stopped, .. } = self.state else { return };
        let client_came_back = self.client.up_at.is_some_and(|up| up >= stopped);
        let least = if cause == Fault::Companion && !client_came_back { Span::ZERO } else { AFTER_PAUSE };
        if let Some(linger) = &mut self.lingering {
            let left = linger.until.since(stopped.max(linger.since));
            linger.until = at + left.max(least);
        }
    }

    /// The lingers of the call, each with what became of it, as the facts have them.
    pub fn naps(&self) -> impl Iterator<Item = &Entry> {
        let is_of_it = |entry: &&Entry| matches!(entry.fact, Fact::Lingers { .. } | Fact::Lands { .. } | Fact::Woken { .. });
        self.entries.iter().filter(is_of_it)
    }
}

fn says_sleep(verdict: &Verdict) -> bool {
    matches!(verdict.state, sleep::State::Asleep | sleep::State::Drowsy)
}

/// Whether what the ear decided then follows from what it was told.
fn near(told: Moment, decided: Moment) -> bool {
    told.max(decided).since(told.min(decided)) <= LATE
}

/// What she is taken for by a word or an event, not by what was measured.
fn unmeasured(state: sleep::State, since: Moment, why: Why) -> Verdict {
    let grounds =
        Grounds { why, evidence_milli: 0, period_ms: None, constancy_bp: 0, quiet_s: 0, movements: 0, missing_bp: 0, unanswered: 0 };
    Verdict { state, since, grounds }
}
