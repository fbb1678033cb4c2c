//! What the service is told, and when.

use super::*;
use crate::sleep::{State, Why};

fn states(reports: &[Report]) -> Vec<(State, Why)> {
    reports
        .iter()
        .filter_map(|report| match report {
            Report::Verdict { verdict, .. } => Some((verdict.state, verdict.grounds.why)),
            _ => None,
        })
        .collect()
}

#[test]
fn words_and_taps_become_verdicts() {
    let mut scene = Scene::new(100);
    scene.order(Order::Tapped { call: call(1), at: at(0) });
    scene.order(Order::Listen { call: call(1), at: at(0) });
    let taps = scene.plane.told().taps.clone();
    assert_eq!(
        taps.into_iter().collect::<Vec<_>>(),
        [((call(1), Side::Client), Purpose::Analyse), ((call(1), Side::Companion), Purpose::Analyse)]
    );
    scene.order(Order::SaidAsleep { call: call(1), at: at(0) });
    assert_eq!(states(&scene.reports()), [(State::Asleep, Why::Companion)]);
    scene.order(Order::Tapped { call: call(1), at: at(10) });
    assert_eq!(states(&scene.reports()), [(State::Awake, Why::Tap)]);
    scene.order(Order::Deaf { call: call(1) });
    assert!(scene.plane.told().taps.is_empty());
}

#[test]
fn a_verdict_that_finds_no_room_is_said_later() {
    let mut scene = Scene::new(1);
    for number in 1..=2 {
        scene.order(Order::Listen { call: call(number), at: at(0) });
        scene.order(Order::SaidAsleep { call: call(number), at: at(0) });
    }
    assert_eq!(states(&scene.reports()).len(), 1);
    scene.pass(100);
    assert_eq!(states(&scene.reports()).len(), 1);
    scene.pass(100);
    assert_eq!(states(&scene.reports()).len(), 0);
}

#[test]
fn who_sends_nothing_or_is_muted_is_unknown() {
    let mut scene = Scene::new(100);
    scene.order(Order::Listen { call: call(1), at: at(0) });
    scene.pass(180_000);
    assert_eq!(states(&scene.reports()).last(), Some(&(State::Unknown, Why::Absent)));
    let mut scene = Scene::new(100);
    scene.order(Order::Muted { call: call(1), muted: true });
    scene.pass(1_000);
    scene.order(Order::Listen { call: call(1), at: at(scene.now) });
    let mut page = Page::new(1, -40.0);
    for _ in 0..150 * 50 {
        scene.send(Side::Client, leg(1), &mut page, &mut None);
        scene.pass(20);
    }
    assert_eq!(states(&scene.reports()).last(), Some(&(State::Unknown, Why::Muted)));
}

#[test]
fn a_side_of_which_nothing_comes_is_tapped_again() {
    let mut scene = Scene::new(100);
    scene.order(Order::Listen { call: call(1), at: at(0) });
    scene.pass(16_000);
    assert_eq!(scene.plane.told().tapped, 2 + 2 * 3);
}

#[test]
fn cues_are_played_and_end() {
    let mut scene = Scene::new(100);
    let play = |to, cue| Order::Play { call: call(1), to, cue };
    scene.order(play(Side::Client, Cue::Waiting { on: true }));
    scene.order(play(Side::Client, Cue::Waiting { on: false }));
    scene.order(play(Side::Companion, Cue::Chime { dbfs: -30 }));
    scene.order(play(Side::Companion, Cue::Chime { dbfs: -30 }));
    let told = scene.plane.told();
    let [(Side::Client, Play::Repeat(_)), (Side::Client, Play::Stop), (Side::Companion, Play::Once(one)), (_, Play::Once(two))] =
        &told.played[..]
    else {
        panic!("{:?}", told.played.len())
    };
    assert!(Arc::ptr_eq(one, two), "made once");
}

#[test]
fn late_packets_of_the_loud_are_left_out_first() {
    let mut scene = Scene::new(100);
    scene.order(Order::Listen { call: call(1), at: at(0) });
    let mut page = Page::new(1, -20.0);
    let mut send = |scene: &mut Scene, waited: i64| {
        let (index, timestamp, payload) = page.next_packet();
        let tapped = Tapped {
            call: call(1),
            side: Side::Client,
            leg: leg(1),
            index,
            timestamp,
            marker: false,
            at: at(scene.now),
            level: Some(0x80 | 20),
            hears_sounds: true,
            held: false,
            payload: payload[..].into(),
        };
        scene.worker.hear(&tapped, at(scene.now + waited));
        scene.pass(20);
    };
    for _ in 0..100 {
        send(&mut scene, 0);
    }
    assert_eq!(scene.worker.heard(call(1)), Some(100));
    for _ in 0..100 {
        send(&mut scene, 400);
    }
    assert_eq!(scene.worker.heard(call(1)), Some(100), "she was loud a moment ago");
    assert!(scene.reports().iter().any(|report| matches!(report, Report::Spoke { .. })), "and says so, whoever lingers");
    scene.pass(3_000);
    for _ in 0..10 {
        send(&mut scene, 5);
    }
    assert_eq!(scene.worker.heard(call(1)), Some(110), "there is time again");
}

/// A client who talks without a pause, handed over late.
fn talks(scene: &mut Scene, page: &mut Page, from: LegId, waited: i64, packets: usize) {
    (scene.level, scene.late) = (Some(0x80 | 20), waited);
    for _ in 0..packets {
        scene.send(Side::Client, from, page, &mut None);
        scene.pass(20);
    }
}

#[test]
fn a_client_in_a_landing_is_never_left_out() {
    for waited in [400, 2_500] {
        let mut scene = Scene::new(100);
        let mut page = Page::new(1, -20.0);
        scene.order(Order::Listen { call: call(1), at: at(0) });
        scene.order(Order::Fade { call: call(1), length: Span::from_s(60) });
        talks(&mut scene, &mut page, leg(1), 0, 100);
        talks(&mut scene, &mut page, leg(1), waited, 100);
        assert_eq!(scene.worker.heard(call(1)), Some(200), "{waited}");
    }
}

#[test]
fn a_page_that_is_loaded_again_while_workers_are_late_is_heard_afterwards() {
    for waited in [400, 2_500] {
        let mut scene = Scene::new(1_000);
        // An hour of packets lies behind the old page.
        let mut page = Page::new(180_000, -20.0);
        scene.order(Order::Listen { call: call(1), at: at(0) });
        talks(&mut scene, &mut page, leg(1), 0, 100);
        let mut page = Page::new(1, -20.0);
        talks(&mut scene, &mut page, leg(2), waited, 50);
        scene.late = 0;
        scene.pass(3_000);
        let before = scene.worker.counts(call(1)).expect("an ear");
        talks(&mut scene, &mut page, leg(2), 0, 100);
        let after = scene.worker.counts(call(1)).expect("an ear");
        // Half a second of packets may be a burst that came too late.
        assert_eq!(after.packets - before.packets, 100, "{waited}");
        assert!(after.late - before.late <= 26, "{waited}: {before:?} {after:?}");
    }
}

/// How many questions of the companion, or tones, the detector takes for unanswered.
fn unanswered(scene: &mut Scene) -> Option<u16> {
    scene.reports().iter().rev().find_map(|report| match report {
        Report::Verdict { verdict, .. } => Some(verdict.grounds.unanswered),
        _ => None,
    })
}

#[test]
fn nobody_answers_a_question_that_she_could_not_hear() {
    // Whether there is a track for sounds, whether she is there, whether she is muted; and what counts of a tone and a sentence.
    for (hears_sounds, is_there, is_muted, counts) in
        [(true, true, false, (1, 1)), (false, true, false, (0, 1)), (true, false, false, (0, 0)), (true, true, true, (0, 0))]
    {
        for (is_tone, expected) in [(true, counts.0), (false, counts.1)] {
            let mut scene = Scene::new(100);
            scene.order(Order::Listen { call: call(1), at: at(0) });
            scene.order(Order::Muted { call: call(1), muted: is_muted });
            scene.hears_sounds = hears_sounds;
            let (mut page, mut companion) = (Page::new(1, -70.0), Page::new(1, -20.0));
            let mut lie = |scene: &mut Scene, ms: i64, speaks: bool| {
                for _ in 0..ms / 20 {
                    scene.level = None;
                    if is_there || scene.now < 5_000 {
                        scene.send(Side::Client, leg(1), &mut page, &mut None);
                    }
                    scene.level = speaks.then_some(0x80 | 30);
                    scene.send(Side::Companion, leg(2), &mut companion, &mut None);
                    scene.pass(20);
                }
            };
            lie(&mut scene, 7_000, false);
            if is_tone {
                scene.order(Order::Play { call: call(1), to: Side::Client, cue: Cue::Probe });
            }
            lie(&mut scene, 1_000, !is_tone);
            lie(&mut scene, 27_000, false);
            let said = unanswered(&mut scene);
            assert_eq!(said, Some(expected), "track {hears_sounds}, there {is_there}, muted {is_muted}, tone {is_tone}");
        }
    }
}
