//! Every kind of night, a few of each; one of eight hours; and what the companion and taps do.
//!
//! `LULL_NIGHTS=20` makes so many of each kind. Recorded or generated nights are heard with `LULL_SESSIONS=FOLDER cargo test --release --lib sleep::tests::sessions -- --nocapture`: the
//! folder holds WAV files and beside each `NAME.wav.json` with `onset` in seconds or null, `kind`, and `hard` if it is.

mod bedroom;
mod sessions;
mod sound;
mod words;

use super::*;
use crate::audio::features::{BANDS, Measure, Sound};
use crate::audio::{Heard, Missing};
use crate::clock::Span;
use bedroom::{Breathing, FRAMES, Machine, Scene};

const BEGIN: Moment = Moment::from_unix_ms(1_773_144_000_000);

fn at(frame: usize) -> Moment {
    BEGIN + Span::from_ms(frame as i64 * 1000 / i64::from(FRAMES))
}

/// States in the order in which they came, with the minute in which they did.
fn heard(scene: &Scene) -> Vec<(f32, State)> {
    let mut detector = Detector::new(BEGIN);
    let mut states = Vec::new();
    for (frame, measure) in scene.measures().iter().enumerate() {
        if let Some(verdict) = detector.measured(at(frame), measure) {
            states.push((frame as f32 / 60.0 / FRAMES as f32, verdict.state));
        }
    }
    states
}

/// Nights of each kind: one, or as many as `LULL_NIGHTS` says.
fn seeds() -> u64 {
    std::env::var("LULL_NIGHTS").ok().and_then(|count| count.parse().ok()).unwrap_or(1)
}

fn asleep_at(states: &[(f32, State)]) -> Option<f32> {
    states.iter().find(|(_, state)| *state == State::Asleep).map(|(minute, _)| *minute)
}

/// Sleeps from the eighth minute on: found after it, within ten.
fn sleeps(name: &str, change: impl Fn(&mut Scene)) {
    for seed in 1..=seeds() {
        let mut scene = Scene { onset: Some(8.0), minutes: 20.0, ..Scene::new(seed) };
        change(&mut scene);
        let states = heard(&scene);
        let minute = asleep_at(&states).unwrap_or_else(|| panic!("{name} {seed}: not found: {states:?}"));
        assert!((8.0..18.0).contains(&minute), "{name} {seed}: found in minute {minute}");
    }
}

/// Stays awake, or is not heard: never asleep.
fn never_sleeps(name: &str, change: impl Fn(&mut Scene)) {
    for seed in 1..=seeds() {
        let mut scene = Scene::new(seed);
        change(&mut scene);
        let states = heard(&scene);
        assert_eq!(asleep_at(&states), None, "{name} {seed}: {states:?}");
    }
}

#[test]
fn sleepers_are_found_in_each_kind_of_room() {
    sleeps("quiet", |_| ());
    sleeps("fan", |scene| scene.machine = Some(Machine::Rain(-56.0)));
    sleeps("rain", |scene| (scene.machine, scene.breath) = (Some(Machine::Rain(-54.0)), Some(-47.0)));
    sleeps("snores", |scene| scene.breath = Some(-42.0));
    sleeps("snores over a fan", |scene| (scene.machine, scene.breath) = (Some(Machine::Rain(-50.0)), Some(-40.0)));
    sleeps("restless", |scene| scene.moves.1 = 150.0);
    sleeps("clock", |scene| scene.machine = Some(Machine::Clock(-50.0)));
    sleeps("faint", |scene| (scene.room, scene.breath) = (-62.0, Some(-59.0)));
    sleeps("companion from a loudspeaker", |scene| scene.others = vec![(5.0, 660.0, 4.0, -44.0)]);
}

#[test]
fn a_sleeper_who_is_hardly_heard_is_found_late_or_not_and_never_early() {
    for seed in 1..=seeds() {
        let scene = Scene {
            room: -66.0,
            breath: Some(-66.0),
            machine: Some(Machine::Rain(-50.0)),
            ..Scene { onset: Some(8.7), minutes: 20.0, ..Scene::new(seed) }
        };
        let states = heard(&scene);
        assert!(asleep_at(&states).is_none_or(|minute| minute >= 8.7), "inaudible {seed}: {states:?}");
    }
}

#[test]
fn who_is_awake_is_not_taken_for_asleep() {
    let murmurs = |gap| vec![(10.0, 180.0, 20.0, -27.0), (180.0, 1080.0, gap, -33.0)];
    never_sleeps("reading", |scene| (scene.talk, scene.moves.0) = (murmurs(240.0), 25.0));
    never_sleeps("television", |scene| scene.others = vec![(3.0, 1080.0, 1.5, -40.0)]);
    never_sleeps("clock", |scene| (scene.talk, scene.machine) = (murmurs(300.0), Some(Machine::Clock(-46.0))));
    never_sleeps("rain and still", |scene| (scene.moves.0, scene.machine) = (110.0, Some(Machine::Rain(-50.0))));
    never_sleeps("keyboard", |scene| (scene.breath, scene.machine) = (Some(-56.0), Some(Machine::Keys(-40.0))));
    never_sleeps("still and silent", |scene| scene.moves.0 = 130.0);
    never_sleeps("calm", |scene| {
        (scene.awake, scene.moves.0) = (Breathing(5.6, 0.13, 0.3, 6.0), 100.0);
        scene.talk = vec![(10.0, 360.0, 30.0, -27.0), (360.0, 1080.0, 210.0, -27.0)];
    });
    never_sleeps("partner snores", |scene| {
        (scene.breath, scene.partner, scene.moves.0) = (Some(-58.0), Some(-43.0), 80.0);
        scene.talk = vec![(10.0, 1080.0, 120.0, -27.0)];
    });
}

#[test]
fn machines_do_not_breathe() {
    for period in [3.1, 4.0, 5.7] {
        never_sleeps("fan that swings", |scene| (scene.breath, scene.machine) = (Some(-58.0), Some(Machine::Fan(period, -52.0))));
        never_sleeps("the same, nobody there", |scene| {
            (scene.breath, scene.moves.0, scene.machine) = (None, 3000.0, Some(Machine::Fan(period, -52.0)));
        });
    }
    for length in [21.0, 40.0, 71.5] {
        never_sleeps("the sea from a machine", |scene| (scene.breath, scene.machine) = (Some(-58.0), Some(Machine::Loop(length, -46.0))));
    }
}

#[test]
fn who_left_the_room_is_not_asleep() {
    never_sleeps("left", |scene| (scene.breath, scene.moves.0) = (None, 3000.0));
    never_sleeps("left, rain", |scene| (scene.breath, scene.moves.0, scene.machine) = (None, 3000.0, Some(Machine::Rain(-50.0))));
}

#[test]
fn a_sleeper_may_breathe_beside_a_machine() {
    sleeps("the sea from a machine, softly", |scene| {
        (scene.breath, scene.machine) = (Some(-44.0), Some(Machine::Loop(33.0, -52.0)));
    });
}

#[test]
fn muted_absent_and_lost_are_unknown() {
    let muted = heard(&Scene { mute: Some((6.0, 17.0)), onset: Some(5.0), ..Scene::new(4) });
    assert!(muted.iter().any(|(minute, state)| *state == State::Unknown && (6.0..7.0).contains(minute)), "{muted:?}");
    assert!(!muted.iter().any(|(minute, state)| *state == State::Asleep && (7.0..17.0).contains(minute)), "{muted:?}");
    let sleeper = Scene { onset: Some(6.0), minutes: 30.0, ..Scene::new(5) }.measures();
    for (missing, why) in [(Missing::Absent, Why::Absent), (Missing::Lost, Why::Lost)] {
        let mut detector = Detector::new(BEGIN);
        for (frame, measure) in sleeper.iter().enumerate() {
            let is_gone = frame >= 20 * 60 * FRAMES as usize;
            let measure = if is_gone { Measure { sound: Sound::None(missing), ..*measure } } else { *measure };
            detector.measured(at(frame), &measure);
            if frame == 20 * 60 * FRAMES as usize - 1 {
                assert_eq!(detector.verdict().state, State::Asleep);
            }
        }
        let verdict = detector.verdict();
        assert_eq!((verdict.state, verdict.grounds.why, verdict.grounds.missing_bp), (State::Unknown, why, 10_000));
    }
}

#[test]
fn an_absence_of_which_nothing_is_told_is_an_absence() {
    let sleeper = Scene { onset: Some(6.0), minutes: 20.0, ..Scene::new(6) }.measures();
    let mut detector = Detector::new(BEGIN);
    for (frame, measure) in sleeper.iter().enumerate() {
        detector.measured(at(frame), measure);
    }
    assert_eq!(detector.verdict().state, State::Asleep);
    let later = at(sleeper.len()) + Span::from_s(3600);
    for (frame, measure) in sleeper.iter().enumerate().take(6 * FRAMES as usize) {
        detector.measured(later + Span::from_ms(20 * frame as i64), measure);
    }
    assert_eq!(detector.verdict().state, State::Unknown, "{:?}", detector.verdict());
}

#[test]
fn withheld_frames_and_some_loss_do_not_hide_a_sleeper() {
    let sleeper = Scene { onset: Some(6.0), minutes: 20.0, ..Scene::new(7) }.measures();
    let mut detector = Detector::new(BEGIN);
    let mut asleep = false;
    for (frame, measure) in sleeper.iter().enumerate() {
        // What DTX leaves out is about as loud as what was sent last; one frame in 33 is lost.
        let sound = match (frame / 20 % 3, frame % 33) {
            (_, 0) => Sound::None(Missing::Lost),
            (0, _) if measure.level < -60.0 => Sound::None(Missing::Withheld),
            _ => Sound::Live,
        };
        detector.measured(at(frame), &Measure { sound, ..*measure });
        asleep |= detector.verdict().state == State::Asleep;
    }
    assert!(asleep);
}

/// A detector that takes its client for asleep, and the frame at which it came to that.
fn asleep() -> (Detector, usize, Vec<Measure>) {
    let sleeper = Scene { onset: Some(6.0), minutes: 20.0, moves: (60.0, 1e6), ..Scene::new(8) }.measures();
    let mut detector = Detector::new(BEGIN);
    for (frame, measure) in sleeper.iter().enumerate() {
        if detector.measured(at(frame), measure).is_some_and(|verdict| verdict.state == State::Asleep) {
            return (detector, frame + 1, sleeper);
        }
    }
    panic!("not found");
}

#[test]
fn speech_wakes_at_once_and_a_tap_and_the_companion_too() {
    let (mut detector, frame, sleeper) = asleep();
    assert!(!detector.speaks());
    let spoken = (0..FRAMES as usize).position(|step| {
        let word = Measure { level: -20.0, bands: [-27.0; BANDS], voice: 0.9, ..sleeper[frame + step] };
        detector.measured(at(frame + step), &word);
        detector.speaks()
    });
    assert!(spoken.is_some_and(|step| step < FRAMES as usize), "within a second: {spoken:?}");
    assert_eq!((detector.verdict().state, detector.verdict().grounds.why), (State::Awake, Why::Speech));

    let (mut detector, frame, _) = asleep();
    let verdict = detector.tapped(at(frame)).expect("a change");
    assert_eq!((verdict.state, verdict.grounds.why, verdict.grounds.evidence_milli), (State::Awake, Why::Tap, 0));
    let (mut detector, frame, _) = asleep();
    let verdict = detector.said_awake(at(frame)).expect("a change");
    assert_eq!((verdict.state, verdict.grounds.why), (State::Awake, Why::Companion));
    let mut detector = Detector::new(BEGIN);
    let verdict = detector.said_asleep(BEGIN).expect("a change");
    assert_eq!((verdict.state, verdict.grounds.why), (State::Asleep, Why::Companion));
}

#[test]
fn a_strong_movement_stirs_and_one_turn_in_bed_does_not_wake() {
    let (mut detector, frame, sleeper) = asleep();
    let mut stirs = false;
    for step in 0..10 * FRAMES as usize {
        let measure = sleeper[(frame + step) % sleeper.len()];
        let is_turn = step < FRAMES as usize;
        let turn = Measure { level: -30.0, bands: [-38.0; BANDS], ..measure };
        detector.measured(at(frame + step), if is_turn { &turn } else { &measure });
        stirs |= is_turn && detector.stirs();
    }
    assert!(stirs, "within a second");
    assert!(!detector.stirs());
    assert_eq!(detector.verdict().state, State::Asleep);
    assert!(detector.verdict().grounds.movements >= 1);
}

#[test]
fn unanswered_words_of_the_companion_hasten_and_alone_prove_nothing() {
    let minute = |asks: bool| {
        let scene = Scene { onset: Some(6.0), minutes: 20.0, ..Scene::new(9) };
        let mut detector = Detector::new(BEGIN);
        for (frame, measure) in scene.measures().iter().enumerate() {
            if asks && frame > 0 && frame.is_multiple_of(60 * FRAMES as usize) {
                detector.companion_spoke(at(frame), Span::from_s(2));
            }
            if detector.measured(at(frame), measure).is_some_and(|verdict| verdict.state == State::Asleep) {
                assert_eq!(detector.verdict().grounds.unanswered > 0, asks);
                return frame as f32 / 60.0 / FRAMES as f32;
            }
        }
        panic!("not found");
    };
    assert!(minute(true) < minute(false), "{} {}", minute(true), minute(false));

    let empty = Scene { breath: None, moves: (3000.0, 3000.0), ..Scene::new(9) };
    let mut detector = Detector::new(BEGIN);
    for (frame, measure) in empty.measures().iter().enumerate() {
        if frame.is_multiple_of(30 * FRAMES as usize) {
            detector.tone_played(at(frame));
        }
        detector.measured(at(frame), measure);
        assert_ne!(detector.verdict().state, State::Asleep);
    }
}

#[test]
fn a_night_of_eight_hours_is_one_sleep() {
    let scene = Scene { onset: Some(20.0), minutes: 480.0, talk: vec![(10.0, 1000.0, 40.0, -27.0)], ..Scene::new(10) };
    let states = heard(&scene);
    let minute = asleep_at(&states).expect("found");
    assert!((20.0..30.0).contains(&minute), "{states:?}");
    assert!(states.len() < 12, "she turns in bed, and the state stays: {states:?}");
}

#[test]
fn sound_is_heard_as_its_measures_are() {
    let mut by_sound = Detector::new(BEGIN);
    let mut by_measure = Detector::new(BEGIN);
    let mut features = crate::audio::features::Features::new();
    let mut seed = 1u32;
    for frame in 0..500 {
        let samples = std::array::from_fn(|_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 24) as i16 - 128
        });
        by_sound.hear(at(frame), Heard::Sound(&samples));
        by_measure.measured(at(frame), &features.measure(Heard::Sound(&samples)));
    }
    assert_eq!((by_sound.verdict(), by_sound.seen()), (by_measure.verdict(), by_measure.seen()));
}
