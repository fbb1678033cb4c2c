//! A night in small, through the real path: Opus packets of speech, of breathing awake and of breathing asleep, some of them lost.

use super::*;
use crate::sleep::State;
use std::ops::Range;

/// When she speaks, lies awake and sleeps, in seconds.
const SPEAKS: Range<f32> = 0.0..150.0;
pub(crate) const SLEEPS: f32 = 330.0;
/// When she wakes and says something.
pub(super) const WAKES: f32 = 1_140.0;
const ENDS: f32 = 1_150.0;

/// What her microphone hears. No person's recording.
pub(crate) struct Bed {
    seed: u32,
    place: u64,
    phase: f32,
    /// Where this breath began, how long it is, how loud.
    breath: (f32, f32, f32),
    /// Filters of breath and room.
    low: [f32; 3],
    /// How much louder she breathes than usual.
    force: f32,
    /// When she wakes and speaks.
    pub(crate) wakes: f32,
}

impl Bed {
    /// At so many seconds of the night.
    pub(crate) fn at(seconds: f32, force: f32) -> Self {
        Self { seed: 5, place: (seconds * 48_000.0) as u64, phase: 0.0, breath: (0.0, 1.0, 1.0), low: [0.0; 3], force, wakes: WAKES }
    }

    fn random(&mut self) -> f32 {
        self.seed = self.seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.seed >> 8) as f32 / (1 << 23) as f32 - 1.0
    }

    pub(crate) fn sample(&mut self) -> f32 {
        let seconds = self.place as f32 / 48_000.0;
        self.place += 1;
        let (white, room) = (self.random(), self.random());
        self.low[0] += 0.15 * (white - self.low[0]);
        self.low[1] += 0.03 * (self.low[0] - self.low[1]);
        self.low[2] += 0.05 * (room - self.low[2]);
        let hush = 0.001 * self.low[2];
        if SPEAKS.contains(&seconds) || seconds >= self.wakes {
            // Words of some syllables, a pause after each sentence.
            self.phase = (self.phase + (150.0 + 30.0 * (0.9 * seconds).sin() + 12.0 * (4.1 * seconds).sin()) / 48_000.0).fract();
            if seconds % 5.0 >= 3.6 {
                return hush;
            }
            let vowel = 500.0 + 350.0 * (7.0 * seconds).sin();
            let tone: f32 = (1..=22)
                .map(|times| {
                    let hz = 150.0 * times as f32;
                    let square = |off: f32| off * off;
                    let near = |formant: f32, width: f32| 1.0 / (1.0 + square((hz - formant) / width));
                    (near(vowel, 120.0) + 0.5 * near(vowel + 1_100.0, 200.0)) * (std::f32::consts::TAU * self.phase * times as f32).sin()
                })
                .sum();
            let syllable = (0.5 - 0.5 * (std::f32::consts::TAU * 4.3 * seconds).cos()).powf(0.7);
            return hush + 0.06 * syllable * tone;
        }
        let (began, length, loud) = self.breath;
        let since = (seconds - began) / length;
        if since >= 1.0 {
            let (wobble, force) = (self.random(), self.random());
            let is_asleep = seconds >= SLEEPS;
            let (period, cv, change) = if is_asleep { (4.3, 0.045, 0.12) } else { (4.0, 0.45, 0.5) };
            self.breath = (seconds, period * (1.0 + cv * wobble), 1.0 + change * force);
        }
        let swell = |range: Range<f32>| {
            if range.contains(&since) { (std::f32::consts::PI * (since - range.start) / (range.end - range.start)).sin() } else { 0.0 }
        };
        let air = 0.6 * swell(0.0..0.35) + swell(0.42..0.8);
        hush + 0.05 * self.force * loud * air * (self.low[0] - self.low[1])
    }
}

#[test]
fn who_falls_asleep_is_found_asleep_and_heard_when_she_wakes() {
    let mut scene = Scene::new(1_000);
    scene.order(Order::Listen { call: call(1), at: at(0) });
    let mut bed = Bed::at(0.0, 1.0);
    let mut page = Page::new(100, -20.0);
    let (mut verdicts, mut spoke) = (Vec::new(), None);
    for number in 0..(ENDS * 50.0) as u64 {
        let frame: Vec<f32> = (0..960).map(|_| bed.sample()).collect();
        page.says(&frame);
        let is_lost = number % 61 == 0;
        if is_lost {
            page.next_packet();
        } else {
            scene.send(Side::Client, leg(1), &mut page, &mut None);
        }
        scene.pass(20);
        for report in scene.reports() {
            let now = number as f32 / 50.0;
            match report {
                Report::Verdict { verdict, .. } if verdicts.last().is_none_or(|(_, last)| *last != verdict.state) => {
                    verdicts.push((now, verdict.state));
                }
                Report::Spoke { .. } if now > WAKES => drop(spoke.get_or_insert(now)),
                _ => (),
            }
        }
    }
    let asleep = verdicts.iter().find(|(_, state)| *state == State::Asleep).map(|(at, _)| *at).expect("she is found asleep");
    assert!((SLEEPS + 60.0..WAKES - 60.0).contains(&asleep), "{verdicts:?}");
    assert!(verdicts.iter().all(|(at, state)| *at > SLEEPS || *state == State::Awake), "{verdicts:?}");
    assert!(spoke.is_some_and(|spoke| spoke < WAKES + 2.0), "{spoke:?}: a landing would be cancelled");
    assert_eq!(verdicts.last().map(|(_, state)| *state), Some(State::Awake));
}

/// As after a crash in a landing: the new ear knows nothing of it.
#[test]
fn who_speaks_is_reported_whatever_the_ear_takes_her_for() {
    let mut scene = Scene::new(1_000);
    scene.order(Order::Listen { call: call(1), at: at(0) });
    let mut bed = Bed::at(0.0, 1.0);
    let mut page = Page::new(100, -20.0);
    let mut spoke = Vec::new();
    for _ in 0..10 * 50 {
        let frame: Vec<f32> = (0..960).map(|_| bed.sample()).collect();
        page.says(&frame);
        scene.send(Side::Client, leg(1), &mut page, &mut None);
        scene.pass(20);
        for report in scene.reports() {
            match report {
                Report::Verdict { verdict, .. } => assert_eq!(verdict.state, State::Awake),
                Report::Spoke { at, .. } => spoke.push(at),
                _ => (),
            }
        }
    }
    assert!(spoke.first().is_some_and(|first| *first < at(2_000)), "{spoke:?}");
    assert!(spoke.windows(2).all(|two| two[1].since(two[0]) >= Span::from_s(1)), "at most one a second: {spoke:?}");
}
