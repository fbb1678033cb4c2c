//! The detector itself: frames in, a verdict out.
//!
//! Evidence of sleep is gathered over minutes of quiet in which breathing keeps its pace, and lost by speech, movement and taps. It
//! looks every five seconds; speech, movement and taps count at once. Invariant: a party of whom nothing is heard is never asleep.

use super::activity::{Act, Activity};
use super::baseline::Baseline;
use super::history::{self, History};
use super::rhythm::{Beat, Echo, LONG_STRETCH, Rhythm, STRETCH};
use super::{Grounds, State, Verdict, Why};
use crate::audio::features::{BANDS, Features, LOWEST_DB, Measure, Sound};
use crate::audio::{FRAME_MS, Heard, Missing};
use crate::clock::{Moment, Span};
use std::collections::VecDeque;

/// Evidence that makes her asleep, in thousandths.
pub const ENOUGH_MILLI: i32 = 1000;
/// Evidence from which she is drowsy, and below which she is not asleep any more.
const DROWSY: f32 = 0.4;
/// Evidence below which she is not drowsy any more: less than it takes, so that what hovers does not flap.
const NOT_DROWSY: f32 = 0.25;
/// Missing parts of the last minute, in basis points, above which she is unknown, and below which she is heard again.
const UNKNOWN_BP: u32 = 5_000;
const HEARD_BP: u32 = 4_000;
/// Most evidence that is kept: what it takes to be asleep, and a little for a turn in bed.
const MOST: f32 = 1.25;
/// How long she has been quiet before she can be asleep.
const QUIET: Span = Span::from_s(240);
/// Tenths from look to look.
const LOOK: u64 = 50;
/// The same in seconds.
const LOOK_S: f32 = 5.0;
/// A frame is voice from this on.
const VOICE: f32 = 0.5;
/// How long the client may take to answer before silence counts.
const ANSWER: Span = Span::from_s(8);
/// Pace at which evidence neither grows nor shrinks, and at which it grows fastest.
const PACE_NONE: f32 = 0.18;
const PACE_FULL: f32 = 0.38;
/// Seconds of best pace that make her asleep, and of no pace that take that away.
const GAIN_S: f32 = 270.0;
const LOSE_S: f32 = 240.0;
/// Pace while awake that is chance, and how much more of it counts against the pace now.
const BASELINE_FREE: f32 = 0.15;
const BASELINE_WEIGHT: f32 = 1.5;
/// Looks that a baseline rests on; before it is known evidence grows by half.
const BASELINE_LOOKS: u32 = 8;
/// Steadiness of a machine.
const MACHINE: f32 = 0.90;
/// Part of its way to the newest that steadiness goes with each look: ten breaths may well be even by chance, thirty are not.
const STEADIER: f32 = 0.12;
/// Looks from one search for an echo to the next.
const ECHO_EACH: u64 = 6;
/// Evidence that there can be of somebody who never spoke: whether it is she who breathes is not known.
const UNKNOWN_VOICE: f32 = 0.9;
/// After this long she need not have spoken.
const UNKNOWN_VOICE_FOR: Span = Span::from_s(1500);
/// What a movement takes away.
const MOVEMENT_COSTS: f32 = 0.08;
/// Movements closer together are one.
const ONE_MOVEMENT: Span = Span::from_s(4);
/// Movements within [`MOVEMENTS_IN`] with which nobody falls asleep.
const MOST_MOVEMENTS: usize = 8;
const MOVEMENTS_IN: Span = Span::from_s(300);
/// How long talk around her keeps evidence from growing.
const TALK: Span = Span::from_s(15);
/// Frames that may be left out between two without being an absence: a second.
const UNTOLD: i64 = 50;
/// What an unanswered question adds: the strongest published evidence (Scott, Lack, Lovato 2018: 3.2 min after onset on average).
const UNANSWERED: f32 = 0.15;
/// Questions that count have at least this much between them: somebody who listens does not answer each sentence.
const UNANSWERED_EACH: Span = Span::from_s(60);
/// Questions that count between two signs of life.
const UNANSWERED_MOST: u8 = 2;

/// Decides whether one client sleeps.
pub struct Detector {
    features: Features,
    history: History,
    activity: Activity,
    rhythm: Rhythm,
    baseline: Baseline,
    /// What comes again exactly, at the last search.
    echo: Option<Echo>,
    began: Moment,
    heard_to: Moment,
    /// Since when she has not spoken, tapped or been said to be awake.
    quiet_since: Moment,
    /// The last sign that she is awake.
    alive_at: Option<Moment>,
    spoke_at: Option<Moment>,
    stirred_at: Option<Moment>,
    talked_at: Option<Moment>,
    movements: VecDeque<Moment>,
    evidence: f32,
    /// She is drowsy by the evidence, asleep by the evidence, asleep by the companion's word. The word is no evidence: it holds until
    /// there is a sign of her, and then nothing is left of it.
    is_drowsy: bool,
    is_found: bool,
    is_told: bool,
    is_unheard: bool,
    unanswered: u16,
    /// Of those, how many added to the evidence, and the last that did.
    unanswered_counted: u8,
    unanswered_at: Option<Moment>,
    /// When an answer to the companion, or to a tone, would have been heard at the latest.
    answer_due: Option<Moment>,
    seen: Seen,
    verdict: Verdict,
}

/// What the last look saw, for `lull sleep --explain`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Seen {
    /// How well what repeats keeps its pace, 0 to 1.
    pub pace: f32,
    /// The same while she was known to be awake.
    pub baseline: f32,
    /// How much it is like a machine: 1 is exact.
    pub steadiness: f32,
    /// How much of the last five minutes is an echo of what was before.
    pub echo: f32,
    /// Level of the last tenth of a second in dB of full scale.
    pub level: f32,
}

impl Detector {
    /// Begins to listen.
    pub fn new(now: Moment) -> Self {
        let grounds = Grounds {
            why: Why::Starting,
            evidence_milli: 0,
            period_ms: None,
            constancy_bp: 0,
            quiet_s: 0,
            movements: 0,
            missing_bp: 0,
            unanswered: 0,
        };
        Self {
            features: Features::new(),
            history: History::default(),
            activity: Activity::new(),
            rhythm: Rhythm::new(),
            baseline: Baseline::default(),
            echo: None,
            began: now,
            heard_to: now,
            quiet_since: now,
            alive_at: None,
            spoke_at: None,
            stirred_at: None,
            talked_at: None,
            movements: VecDeque::new(),
            evidence: 0.0,
            is_drowsy: false,
            is_found: false,
            is_told: false,
            is_unheard: false,
            unanswered: 0,
            unanswered_counted: 0,
            unanswered_at: None,
            answer_due: None,
            seen: Seen { level: LOWEST_DB, ..Seen::default() },
            verdict: Verdict { state: State::Awake, since: now, grounds },
        }
    }

    /// Takes the frame that began at `at`; gives the verdict when its state changes.
    pub fn hear(&mut self, at: Moment, heard: Heard<'_>) -> Option<Verdict> {
        let measure = self.features.measure(heard);
        self.measured(at, &measure)
    }

    /// The same with a frame that was measured elsewhere.
    pub fn measured(&mut self, at: Moment, measure: &Measure) -> Option<Verdict> {
        self.pass_over(at);
        self.heard_to = at;
        let tenth = self.history.push(measure, |frame| frame.voice >= VOICE)?;
        self.seen.level = tenth.level;
        match self.activity.take(&tenth, &mut self.history) {
            Some(Act::Speech) => {
                self.spoke_at = Some(at);
                self.responded(at);
                return self.decide(at, State::Awake, Why::Speech);
            }
            Some(Act::Talk) => self.talked_at = Some(at),
            Some(Act::Movement) => {
                self.moved(at);
                if std::mem::take(&mut self.is_told) {
                    return self.settle(at, Why::Movement);
                }
            }
            None => {}
        }
        if self.history.count().is_multiple_of(LOOK) { self.look(at) } else { None }
    }

    /// Nothing is told of long absences: what was kept is then of long ago.
    fn pass_over(&mut self, at: Moment) {
        let frames = at.since(self.heard_to).ms() / i64::from(FRAME_MS);
        if frames > UNTOLD {
            let absent = Measure { sound: Sound::None(Missing::Absent), bands: [LOWEST_DB; BANDS], level: LOWEST_DB, voice: 0.0 };
            for _ in 0..frames.min(history::KEPT_FRAMES) {
                self.history.push(&absent, |_| false);
            }
        }
    }

    fn moved(&mut self, at: Moment) {
        let is_new = self.stirred_at.is_none_or(|last| at.since(last) > ONE_MOVEMENT);
        self.stirred_at = Some(at);
        if is_new {
            self.movements.push_back(at);
            self.evidence = (self.evidence - MOVEMENT_COSTS).max(0.0);
            self.answer_due = None;
        }
    }

    fn look(&mut self, at: Moment) -> Option<Verdict> {
        while self.movements.front().is_some_and(|first| at.since(*first) > MOVEMENTS_IN) {
            self.movements.pop_front();
        }
        let unheard = self.unheard();
        self.is_unheard = unheard.is_some();
        if let Some(why) = unheard {
            // What was known is of before: a minute is time enough to get up. It is lost once for each time that she is not heard, as
            // there are two thresholds for that.
            self.forget();
            self.seen = Seen { level: self.seen.level, ..Seen::default() };
            return self.decide(at, State::Unknown, why);
        }
        if (self.history.count() / LOOK).is_multiple_of(ECHO_EACH) {
            self.echo = self.rhythm.echo(self.history.last(LONG_STRETCH));
            self.seen.echo = self.echo.map_or(0.0, |echo| echo.strength);
        }
        let mut beat = self.rhythm.look(self.history.last(STRETCH), None);
        // As it sounds, with a loop in it: what is left when that is taken off is never steady.
        let steadiness = beat.map_or(0.0, |beat| beat.steadiness.min(1.0));
        self.seen.steadiness += STEADIER * (steadiness - self.seen.steadiness);
        if let Some(echo) = self.echo.filter(|echo| beat.is_some_and(|beat| echo.strength > beat.first)) {
            beat = self.rhythm.look(self.history.last(STRETCH + echo.lag), Some(echo));
        }
        self.baseline.take(at, beat.map(|beat| beat.pace), self.alive_at);
        let why = self.weigh(at, beat);
        if self.answer_due.is_some_and(|due| at >= due) {
            self.answer_due = None;
            self.unanswered = self.unanswered.saturating_add(1);
            let is_new = self.unanswered_at.is_none_or(|last| at.since(last) >= UNANSWERED_EACH);
            if self.evidence > 0.0 && is_new && self.unanswered_counted < UNANSWERED_MOST {
                self.unanswered_at = Some(at);
                self.unanswered_counted += 1;
                self.evidence = (self.evidence + UNANSWERED).min(self.most(at));
            }
        }
        let stays = self.is_found && self.evidence >= DROWSY;
        let is_quiet = at.since(self.quiet_since) >= QUIET && self.movements.len() <= MOST_MOVEMENTS;
        self.is_found = stays || (self.evidence >= 1.0 && is_quiet);
        self.is_drowsy = self.evidence >= if self.is_drowsy { NOT_DROWSY } else { DROWSY };
        self.settle(at, why)
    }

    /// Decides by what is known.
    fn settle(&mut self, at: Moment, why: Why) -> Option<Verdict> {
        let (state, why) = match (self.is_found, self.is_told, self.is_drowsy) {
            (true, _, _) => (State::Asleep, why),
            (false, true, _) => (State::Asleep, Why::Companion),
            (false, false, true) => (State::Drowsy, why),
            (false, false, false) => (State::Awake, why),
        };
        self.decide(at, state, why)
    }

    /// Nothing of what was known holds.
    fn forget(&mut self) {
        self.evidence = 0.0;
        (self.is_drowsy, self.is_found, self.is_told) = (false, false, false);
    }

    /// Why she is not heard, if she is not.
    fn unheard(&mut self) -> Option<Why> {
        let minute = self.history.last(600);
        let frames = 5 * u32::try_from(minute.len()).unwrap_or(u32::MAX);
        let (mut gone, mut silent, mut lost) = (0u32, 0u32, 0u32);
        for tenth in minute {
            gone += u32::from(tenth.absent) + u32::from(tenth.lost) + u32::from(tenth.silent);
            silent += u32::from(tenth.silent);
            lost += u32::from(tenth.lost);
        }
        let missing_bp = 10_000 * gone / frames.max(1);
        self.verdict.grounds.missing_bp = u16::try_from(missing_bp).unwrap_or(10_000);
        let is_heard = if self.is_unheard { missing_bp < HEARD_BP } else { missing_bp <= UNKNOWN_BP };
        if is_heard {
            None
        } else if 2 * silent > gone {
            Some(Why::Muted)
        } else if 2 * lost > gone {
            Some(Why::Lost)
        } else {
            Some(Why::Absent)
        }
    }

    /// Adds what five seconds of this beat say, or takes it away; says what decided.
    fn weigh(&mut self, at: Moment, beat: Option<Beat>) -> Why {
        let grounds = &mut self.verdict.grounds;
        grounds.period_ms = beat.map(|beat| (beat.period_s * 1000.0) as u32);
        let Some(beat) = beat else {
            grounds.constancy_bp = 0;
            self.seen.pace = 0.0;
            return if at.since(self.began) < Span::from_s(90) { Why::Starting } else { Why::Quiet };
        };
        grounds.constancy_bp = (beat.pace.clamp(0.0, 1.0) * 10_000.0) as u16;
        let familiar = self.baseline.pace();
        self.seen = Seen { pace: beat.pace, baseline: familiar, ..self.seen };
        let new = beat.pace - BASELINE_WEIGHT * (familiar - BASELINE_FREE).max(0.0);
        let is_machine = self.seen.steadiness >= MACHINE && beat.pace > PACE_NONE;
        let mut gain = if is_machine {
            -LOOK_S / LOSE_S
        } else if new >= PACE_NONE {
            LOOK_S / GAIN_S * ((new - PACE_NONE) / (PACE_FULL - PACE_NONE)).min(1.0)
        } else {
            LOOK_S / LOSE_S * ((new - PACE_NONE) / PACE_NONE).max(-1.0)
        };
        if gain > 0.0 && self.baseline.looks() < BASELINE_LOOKS {
            gain /= 2.0;
        }
        let is_talk = self.talked_at.is_some_and(|talked| at.since(talked) < TALK);
        if is_talk {
            gain = gain.min(gain / 2.0);
        }
        self.evidence = (self.evidence + gain).clamp(0.0, self.most(at));
        if is_machine || (beat.pace > PACE_NONE && new <= PACE_NONE) {
            Why::Machine
        } else if is_talk {
            Why::Background
        } else if new > PACE_NONE {
            Why::Breathing
        } else if self.stirred_at.is_some_and(|stirred| at.since(stirred) < Span::from_s(20)) {
            Why::Movement
        } else if beat.pace > PACE_NONE / 2.0 {
            Why::Irregular
        } else {
            Why::Quiet
        }
    }

    /// The most evidence there can be: without a word of hers nobody knows whose breath it is.
    fn most(&self, at: Moment) -> f32 {
        let is_unknown = self.alive_at.is_none() && at.since(self.began) < UNKNOWN_VOICE_FOR;
        if is_unknown { UNKNOWN_VOICE } else { MOST }
    }

    /// What the last look saw.
    pub fn seen(&self) -> Seen {
        self.seen
    }

    fn decide(&mut self, at: Moment, state: State, why: Why) -> Option<Verdict> {
        // The ear that finds what the companion said says so anew.
        let is_found_too = state == State::Asleep && self.verdict.grounds.why == Why::Companion && why != Why::Companion;
        let changed = state != self.verdict.state || is_found_too;
        if changed {
            self.verdict.state = state;
            self.verdict.since = at;
        }
        let grounds = &mut self.verdict.grounds;
        grounds.why = why;
        grounds.evidence_milli = (self.evidence * 1000.0) as i32;
        grounds.quiet_s = u32::try_from(at.since(self.quiet_since).whole_s()).unwrap_or(u32::MAX);
        grounds.movements = u16::try_from(self.movements.len()).unwrap_or(u16::MAX);
        grounds.unanswered = self.unanswered;
        changed.then_some(self.verdict)
    }

    /// She answered, or spoke on her own account.
    fn responded(&mut self, at: Moment) {
        self.forget();
        self.alive_at = Some(at);
        self.quiet_since = at;
        self.unanswered = 0;
        self.unanswered_counted = 0;
        self.unanswered_at = None;
        self.answer_due = None;
    }

    /// What she is taken for, and why.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// The companion spoke from `at` for `length`. No response to it is evidence of sleep.
    pub fn companion_spoke(&mut self, at: Moment, length: Span) {
        // It is told when she has ended: the answer may have come before.
        let answered = self.alive_at.max(self.stirred_at).is_some_and(|sign| sign >= at);
        self.answer_due = (!answered).then_some(at + length + ANSWER);
    }

    /// A quiet tone was played to the client.
    pub fn tone_played(&mut self, at: Moment) {
        self.answer_due = Some(at + ANSWER);
    }

    /// The client tapped "I'm here".
    pub fn tapped(&mut self, at: Moment) -> Option<Verdict> {
        self.responded(at);
        self.decide(at, State::Awake, Why::Tap)
    }

    /// The companion says that the client is awake.
    pub fn said_awake(&mut self, at: Moment) -> Option<Verdict> {
        self.responded(at);
        self.decide(at, State::Awake, Why::Companion)
    }

    /// The companion says that the client sleeps. It is her word, and no evidence.
    pub fn said_asleep(&mut self, at: Moment) -> Option<Verdict> {
        self.is_told = true;
        if self.is_found { None } else { self.decide(at, State::Asleep, Why::Companion) }
    }

    /// Whether she spoke within the last second.
    pub fn speaks(&self) -> bool {
        self.spoke_at.is_some_and(|spoke| self.heard_to.since(spoke) < Span::from_s(1))
    }

    /// Whether she moved within the last second.
    pub fn stirs(&self) -> bool {
        self.stirred_at.is_some_and(|stirred| self.heard_to.since(stirred) < Span::from_s(1))
    }
}
