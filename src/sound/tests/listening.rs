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
    scene.pass(3_000);
    for _ in 0..10 {
        send(&mut scene, 5);
    }
    assert_eq!(scene.worker.heard(call(1)), Some(110), "there is time again");
}
