//! The detector itself: frames in, a verdict out.
//!
//! Evidence of sleep is gathered over minutes of quiet in which breathing keeps its pace, and lost by speech, movement and taps. It
//! looks every five seconds; speech, movement and taps count at once. Invariant: a party of whom nothing is heard is never asleep.

use super::history::{History, Mark};
use super::rhythm::{Beat, Rhythm, STRETCH};
use super::{Grounds, State, Verdict, Why};
use crate::audio::Heard;
use crate::audio::features::{Features, Measure};
use crate::clock::{Moment, Span};
use std::collections::VecDeque;

/// Evidence that makes her asleep, in thousandths.
pub const ENOUGH_MILLI: i32 = 1000;
/// Evidence from which she is drowsy, in thousandths.
const DROWSY_MILLI: i32 = 400;
/// How long quiet lasts before she can be asleep.
const QUIET: Span = Span::from_s(300);
/// Tenths from look to look.
const LOOK: u64 = 50;
/// Looks over which constancy is taken.
const LOOKS: usize = 18;
/// A frame is voice from this on.
const VOICE: f32 = 0.5;
/// Frames of voice within a second that are speech.
const SPEECH_FRAMES: u32 = 15;
/// How long the client may take to answer before silence counts.
const ANSWER: Span = Span::from_s(8);

/// Decides whether one client sleeps.
pub struct Detector {
    features: Features,
    history: History,
    rhythm: Rhythm,
    beats: VecDeque<Option<Beat>>,
    began: Moment,
    heard_to: Moment,
    quiet_since: Moment,
    movements: VecDeque<Moment>,
    evidence: f32,
    unanswered: u16,
    /// When an answer to the companion, or to a tone, would have been heard at the latest.
    answer_due: Option<Moment>,
    spoke_at: Option<Moment>,
    stirred_at: Option<Moment>,
    verdict: Verdict,
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
            rhythm: Rhythm::new(),
            beats: VecDeque::new(),
            began: now,
            heard_to: now,
            quiet_since: now,
            movements: VecDeque::new(),
            evidence: 0.0,
            unanswered: 0,
            answer_due: None,
            spoke_at: None,
            stirred_at: None,
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
        self.heard_to = at;
        let tenth = self.history.push(measure, |frame| frame.voice >= VOICE)?;
        let voiced: u32 = self.history.last(10).map(|tenth| u32::from(tenth.voiced)).sum();
        if voiced >= SPEECH_FRAMES {
            self.history.mark(10, Mark::Speech);
            self.spoke_at = Some(at);
            self.responded(at);
            return self.decide(at, State::Awake, Why::Speech);
        }
        let ceiling = self.ceiling();
        if tenth.mark == Mark::Clear && tenth.level > ceiling + 8.0 && self.history.count() > 300 {
            self.history.mark(2, Mark::Movement);
            if self.movements.back().is_none_or(|last| at.since(*last) > Span::from_s(4)) {
                self.movements.push_back(at);
                self.evidence = (self.evidence - 0.06).max(0.0);
            }
            self.stirred_at = Some(at);
        }
        if self.history.count().is_multiple_of(LOOK) { self.look(at) } else { None }
    }

    /// The loudest that breathing has been of late, in dB.
    fn ceiling(&self) -> f32 {
        let mut levels: Vec<f32> = self.history.last(900).filter(|tenth| tenth.mark == Mark::Clear).map(|tenth| tenth.level).collect();
        if levels.is_empty() {
            return 0.0;
        }
        let place = levels.len() * 9 / 10;
        *levels.select_nth_unstable_by(place, f32::total_cmp).1
    }

    fn look(&mut self, at: Moment) -> Option<Verdict> {
        while self.movements.front().is_some_and(|first| at.since(*first) > Span::from_s(300)) {
            self.movements.pop_front();
        }
        let minute = self.history.last(600);
        let (mut gone, mut silent, mut lost) = (0u32, 0u32, 0u32);
        let frames = 5 * minute.len() as u32;
        for tenth in minute {
            gone += u32::from(tenth.absent + tenth.lost + tenth.silent);
            silent += u32::from(tenth.silent);
            lost += u32::from(tenth.lost);
        }
        self.verdict.grounds.missing_bp = u16::try_from(10_000 * gone / frames.max(1)).unwrap_or(10_000);
        if 2 * gone > frames {
            self.evidence = 0.0;
            let why = if 2 * silent > gone {
                Why::Muted
            } else if 2 * lost > gone {
                Why::Lost
            } else {
                Why::Absent
            };
            return self.decide(at, State::Unknown, why);
        }
        let beat = self.rhythm.look(self.history.last(STRETCH));
        if self.beats.len() == LOOKS {
            self.beats.pop_front();
        }
        self.beats.push_back(beat);
        let mut periods: Vec<f32> = self.beats.iter().flatten().map(|beat| beat.period_s).collect();
        periods.sort_by(f32::total_cmp);
        let middle = periods.get(periods.len() / 2).copied();
        let near = middle.map_or(0, |middle| periods.iter().filter(|period| (*period - middle).abs() < 0.15 * middle).count());
        let constancy = near as f32 / LOOKS as f32;
        self.verdict.grounds.period_ms = middle.map(|period| (period * 1000.0) as u32);
        self.verdict.grounds.constancy_bp = (constancy * 10_000.0) as u16;
        let strength = beat.map_or(0.0, |beat| beat.strength);
        let rises = constancy >= 0.7 && strength > 0.2;
        self.evidence = (self.evidence + if rises { 5.0 / 240.0 } else { -2.5 / 240.0 }).clamp(0.0, 1.2);
        if self.answer_due.is_some_and(|due| at >= due) {
            self.answer_due = None;
            self.unanswered = self.unanswered.saturating_add(1);
            self.evidence = (self.evidence + 0.1).min(1.2);
        }
        let evidence = (self.evidence * 1000.0) as i32;
        let quiet = at.since(self.quiet_since);
        let why = if rises {
            Why::Breathing
        } else if beat.is_some() {
            Why::Irregular
        } else {
            Why::Quiet
        };
        let was_asleep = self.verdict.state == State::Asleep;
        if evidence >= ENOUGH_MILLI && quiet >= QUIET && self.movements.len() <= 3 || was_asleep && evidence > ENOUGH_MILLI / 2 {
            self.decide(at, State::Asleep, why)
        } else if evidence >= DROWSY_MILLI {
            self.decide(at, State::Drowsy, why)
        } else {
            let why = if at.since(self.began) < Span::from_s(90) { Why::Starting } else { why };
            self.decide(at, State::Awake, why)
        }
    }

    fn decide(&mut self, at: Moment, state: State, why: Why) -> Option<Verdict> {
        let changed = state != self.verdict.state;
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
        self.evidence = 0.0;
        self.quiet_since = at;
        self.unanswered = 0;
        self.answer_due = None;
    }

    /// What she is taken for, and why.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// The companion spoke from `at` for `length`. No response to it is evidence of sleep.
    pub fn companion_spoke(&mut self, at: Moment, length: Span) {
        self.answer_due = Some(at + length + ANSWER);
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

    /// The companion says that the client sleeps.
    pub fn said_asleep(&mut self, at: Moment) -> Option<Verdict> {
        self.evidence = self.evidence.max(1.0);
        self.decide(at, State::Asleep, Why::Companion)
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
