//! The companion's word and her questions, and that what hovers does not flap.

use super::*;

/// Frames of a second.
const SECOND: usize = FRAMES as usize;

/// A strong movement instead of what this frame held, if she turns in bed.
fn turn(measure: &Measure, turns: bool) -> Measure {
    if turns { Measure { level: -30.0, bands: [-38.0; BANDS], ..*measure } } else { *measure }
}

fn word(measure: &Measure) -> Measure {
    Measure { level: -20.0, bands: [-27.0; BANDS], voice: 0.9, ..*measure }
}

/// A detector that heard an awake client lie still for so many seconds, and what follows.
fn still(seconds: usize) -> (Detector, usize, Vec<Measure>) {
    let scene = Scene { moves: (1e6, 1e6), talk: vec![(10.0, 60.0, 20.0, -27.0)], minutes: 20.0, ..Scene::new(31) };
    let measures = scene.measures();
    let mut detector = Detector::new(BEGIN);
    let frames = seconds * SECOND;
    for (frame, measure) in measures.iter().enumerate().take(frames) {
        detector.measured(at(frame), measure);
    }
    (detector, frames, measures)
}

#[test]
fn evidence_that_hovers_changes_the_state_once() {
    let sleeper = Scene { onset: Some(6.0), minutes: 35.0, moves: (60.0, 1e6), ..Scene::new(21) }.measures();
    let mut detector = Detector::new(BEGIN);
    let (mut changes, mut turns, mut turning, mut most) = (Vec::new(), 0, 0usize, 0);
    for (frame, measure) in sleeper.iter().enumerate() {
        // She turns in bed whenever she has just become drowsy, and falls back below what it takes.
        if turning == 0 && detector.verdict().grounds.evidence_milli >= 420 {
            (turns, turning) = (turns + 1, 6 * SECOND);
        }
        let is_turn = turning > 5 * SECOND;
        turning = turning.saturating_sub(1);
        if let Some(verdict) = detector.measured(at(frame), &turn(measure, is_turn)) {
            changes.push((frame / SECOND, verdict.state));
        }
        most = most.max(detector.verdict().grounds.evidence_milli);
    }
    assert!(turns > 15 && most < 500, "it hovers: {turns} {most}");
    assert_eq!(changes.iter().map(|(_, state)| *state).collect::<Vec<_>>(), [State::Drowsy], "{changes:?}");
}

#[test]
fn loss_that_hovers_about_a_half_changes_the_state_once() {
    let sleeper = Scene { onset: Some(6.0), minutes: 40.0, ..Scene::new(22) }.measures();
    let mut detector = Detector::new(BEGIN);
    let mut states = Vec::new();
    for (frame, measure) in sleeper.iter().enumerate().skip(8 * 60 * SECOND) {
        // Of each second 46 or 54 in a hundred are lost, minute by minute; after half an hour nothing is.
        let lost = match frame / 60 / SECOND {
            35.. => 0,
            minute if minute.is_multiple_of(2) => 23,
            _ => 27,
        };
        let sound = if frame % SECOND < lost { Sound::None(Missing::Lost) } else { measure.sound };
        if let Some(verdict) = detector.measured(at(frame), &Measure { sound, ..*measure }) {
            states.push(verdict.state);
        }
    }
    assert_eq!(states.iter().take(2).copied().collect::<Vec<_>>(), [State::Unknown, State::Awake], "{states:?}");
    assert!(states.len() <= 4, "and then she is found as anybody: {states:?}");
}

#[test]
fn the_companions_word_is_no_evidence_and_nothing_is_left_of_it() {
    // It holds while there is no sign of her.
    let (mut detector, from, measures) = still(120);
    let evidence = detector.verdict().grounds.evidence_milli;
    let verdict = detector.said_asleep(at(from)).expect("a change");
    assert_eq!((verdict.state, verdict.grounds.why, verdict.grounds.evidence_milli), (State::Asleep, Why::Companion, evidence));
    let minute = from..from + 60 * SECOND;
    for (frame, measure) in measures.iter().enumerate().take(minute.end).skip(minute.start) {
        detector.measured(at(frame), measure);
        let verdict = detector.verdict();
        assert_eq!((verdict.state, verdict.grounds.why, verdict.since), (State::Asleep, Why::Companion, at(from)));
    }
    // A movement ends it at once, and the ear does not go on with it.
    let (mut left, mut woke) = (0, None);
    for (frame, measure) in measures.iter().enumerate().skip(minute.end) {
        let is_turn = frame < minute.end + SECOND / 2;
        let verdict = detector.measured(at(frame), &turn(measure, is_turn));
        woke = woke.or(verdict.map(|verdict| (frame - minute.end, verdict.state, verdict.grounds.why)));
        left += usize::from(woke.is_some() && detector.verdict().state == State::Asleep);
    }
    let (after, state, why) = woke.expect("a change");
    assert!(after <= SECOND && state == State::Awake && why == Why::Movement, "{woke:?}");
    assert_eq!(left, 0, "asleep for {left} frames afterwards");

    // So do speech, a tap, her own word to the contrary, and silence of which nothing is known.
    let (mut detector, from, measures) = still(120);
    detector.said_asleep(at(from));
    for (step, measure) in measures[from..from + SECOND].iter().enumerate() {
        detector.measured(at(from + step), &word(measure));
    }
    assert_eq!((detector.verdict().state, detector.verdict().grounds.why), (State::Awake, Why::Speech));
    let (mut detector, from, _) = still(120);
    detector.said_asleep(at(from));
    assert_eq!(detector.tapped(at(from)).map(|verdict| verdict.state), Some(State::Awake));
    detector.said_asleep(at(from));
    assert_eq!(detector.said_awake(at(from)).map(|verdict| verdict.state), Some(State::Awake));
    let (mut detector, from, measures) = still(120);
    detector.said_asleep(at(from));
    let mut states = Vec::new();
    for (frame, measure) in measures.iter().enumerate().skip(from) {
        let sound = if frame < from + 120 * SECOND { Sound::None(Missing::Absent) } else { measure.sound };
        states.extend(detector.measured(at(frame), &Measure { sound, ..*measure }).map(|verdict| verdict.state));
    }
    assert_eq!(states, [State::Unknown, State::Awake]);
}

#[test]
fn the_ear_that_finds_what_the_companion_said_says_so_itself() {
    let sleeper = Scene { onset: Some(6.0), minutes: 20.0, moves: (60.0, 1e6), ..Scene::new(8) }.measures();
    let (mut detector, mut told) = (Detector::new(BEGIN), None);
    for (frame, measure) in sleeper.iter().enumerate() {
        let found = detector.measured(at(frame), measure);
        if told.is_none() && detector.verdict().state == State::Drowsy {
            told = Some(at(frame));
            detector.said_asleep(at(frame));
        } else if let (Some(told), Some(verdict)) = (told, found) {
            assert_eq!((verdict.state, verdict.grounds.why, verdict.since), (State::Asleep, Why::Breathing, at(frame)));
            assert!(verdict.since > told && verdict.grounds.evidence_milli >= ENOUGH_MILLI);
            assert_eq!(detector.said_asleep(at(frame + 1)), None, "that is known");
            return;
        }
    }
    panic!("not found");
}

#[test]
fn a_tap_later_than_the_frames_makes_no_quiet_of_centuries() {
    let mut detector = Detector::new(BEGIN);
    let absent = Measure { sound: Sound::None(Missing::Absent), bands: [-90.0; BANDS], level: -90.0, voice: 0.0 };
    for frame in 0..64 * SECOND {
        detector.measured(at(frame), &absent);
    }
    // Frames of what is absent come half a second late, a tap does not.
    detector.tapped(at(66 * SECOND));
    for frame in 64 * SECOND..66 * SECOND {
        detector.measured(at(frame), &absent);
    }
    assert_eq!((detector.verdict().state, detector.verdict().grounds.quiet_s), (State::Unknown, 0));
}

#[test]
fn an_answer_that_came_before_the_question_was_told_is_an_answer() {
    let (mut detector, from, measures) = still(400);
    detector.tapped(at(from));
    // Her question began before the tap and has ended by now.
    detector.companion_spoke(at(from - 2 * SECOND), Span::from_s(3));
    for (step, measure) in measures[from..from + 30 * SECOND].iter().enumerate() {
        detector.measured(at(from + step), measure);
    }
    assert_eq!(detector.verdict().grounds.unanswered, 0);
    detector.companion_spoke(at(from + 28 * SECOND), Span::from_s(2));
    for (step, measure) in measures[from..from + 60 * SECOND].iter().enumerate().skip(30 * SECOND) {
        detector.measured(at(from + step), measure);
    }
    assert_eq!(detector.verdict().grounds.unanswered, 1);
}

#[test]
fn questions_count_once_a_minute_and_twice_between_two_signs_of_life() {
    let sleeper = Scene { onset: Some(6.0), minutes: 30.0, moves: (60.0, 1e6), ..Scene::new(23) }.measures();
    let (mut asked, mut left) = (Detector::new(BEGIN), Detector::new(BEGIN));
    let (mut more, mut taps) = (Vec::new(), 0);
    for (frame, measure) in sleeper.iter().enumerate() {
        // Both wake by a tap in minute 15, and what was asked before counts no more.
        if frame == 15 * 60 * SECOND {
            asked.tapped(at(frame));
            left.tapped(at(frame));
            taps += 1;
        }
        if frame.is_multiple_of(15 * SECOND) {
            asked.companion_spoke(at(frame), Span::from_s(2));
        }
        asked.measured(at(frame), measure);
        left.measured(at(frame), measure);
        if frame.is_multiple_of(SECOND) {
            let (asked, left) = (asked.verdict().grounds.evidence_milli, left.verdict().grounds.evidence_milli);
            // Beyond the most there can be both are alike.
            if asked < 1_240 {
                more.push((frame / SECOND, taps, asked - left));
            }
        }
    }
    for (begin, until) in [(0, 1), (1, 2)] {
        let part: Vec<_> = more.iter().filter(|(_, taps, _)| (begin..until).contains(taps)).collect();
        let most = part.iter().map(|(_, _, more)| *more).max().unwrap_or(0);
        assert!((200..=302).contains(&most), "two count: {most}");
        let first = part.iter().find(|(_, _, more)| *more > 0).expect("one counts").0;
        let second = part.iter().find(|(_, _, more)| *more > 160).expect("another does").0;
        assert!(second - first >= 60, "a minute apart: {first} {second}");
    }
}

/// States while the companion says something every 15 seconds and nobody answers, and the most evidence there was.
fn spoken_to(scene: &Scene) -> (Vec<(f32, State)>, i32) {
    let mut detector = Detector::new(BEGIN);
    let (mut states, mut most) = (Vec::new(), 0);
    for (frame, measure) in scene.measures().iter().enumerate() {
        if frame > 0 && frame.is_multiple_of(15 * SECOND) {
            detector.companion_spoke(at(frame - 3 * SECOND), Span::from_s(3));
        }
        if let Some(verdict) = detector.measured(at(frame), measure) {
            states.push((frame as f32 / 60.0 / FRAMES as f32, verdict.state));
        }
        most = most.max(detector.verdict().grounds.evidence_milli);
    }
    (states, most)
}

#[test]
fn who_listens_in_silence_to_a_companion_is_not_asleep() {
    let awake = |name: &str, change: &dyn Fn(&mut Scene)| {
        for seed in 40..40 + seeds() {
            let mut scene = Scene { minutes: 16.0, talk: vec![(10.0, 90.0, 20.0, -27.0)], ..Scene::new(seed) };
            change(&mut scene);
            let (states, most) = spoken_to(&scene);
            assert_eq!(asleep_at(&states), None, "{name} {seed}: {most} {states:?}");
        }
    };
    awake("listens", &|scene| scene.moves.0 = 130.0);
    awake("listens and hardly moves", &|scene| scene.moves.0 = 400.0);
    awake("in the rain", &|scene| (scene.moves.0, scene.machine) = (200.0, Some(Machine::Rain(-50.0))));
    awake("beside a fan that swings", &|scene| (scene.moves.0, scene.machine) = (200.0, Some(Machine::Fan(4.0, -52.0))));
    awake("beside somebody who snores", &|scene| (scene.breath, scene.partner, scene.moves.0) = (Some(-58.0), Some(-43.0), 150.0));
}

#[test]
fn a_question_does_not_pass_the_guard_for_an_unknown_voice() {
    // She never said a word: it may be anybody's breath.
    for seed in 50..50 + seeds() {
        let scene = Scene { talk: Vec::new(), onset: Some(3.5), minutes: 24.5, moves: (60.0, 1e6), ..Scene::new(seed) };
        let (states, most) = spoken_to(&scene);
        assert_eq!((asleep_at(&states), most), (None, 900), "{states:?}");
        let (states, _) = spoken_to(&Scene { minutes: 27.0, ..scene });
        assert!(asleep_at(&states).is_some_and(|minute| minute >= 25.0), "{states:?}");
    }
}
