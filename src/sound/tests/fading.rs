//! The whole of a landing, as the client's page hears it.

use super::*;
use opus::Decoder;

/// The companion's page sends for so long; gives what the client's page gets, packet by packet, and whether each came as it was.
pub(super) struct Line {
    page: Page,
    leg: LegId,
    held_from: Option<u64>,
    pub(super) got: Vec<(bool, Vec<u8>)>,
    /// So many packets may come to nothing.
    pub(super) may_lose: usize,
}

impl Line {
    pub(super) fn new() -> Self {
        Self { page: Page::new(5_000, -20.0), leg: leg(1), held_from: None, got: Vec::new(), may_lose: 0 }
    }

    pub(super) fn talk(&mut self, scene: &mut Scene, ms: i64) {
        for _ in 0..ms / 20 {
            self.send(scene);
            scene.pass(20);
        }
    }

    /// Her next packet.
    pub(super) fn send(&mut self, scene: &mut Scene) {
        {
            let raw = scene.send(Side::Companion, self.leg, &mut self.page, &mut self.held_from);
            let replaced = std::mem::take(&mut scene.plane.told().replaced);
            // Never both, never neither.
            match (raw, &replaced[..]) {
                (Some(raw), []) => self.got.push((true, raw)),
                (None, [(leg, index, payload)]) => {
                    assert_eq!((*leg, *index), (self.leg, self.page.begin + self.page.sent));
                    self.got.push((false, payload.clone()));
                }
                (None, []) if self.may_lose > 0 => self.may_lose -= 1,
                (raw, replaced) => panic!("{} raw, {} replaced", u8::from(raw.is_some()), replaced.len()),
            }
        }
    }

    /// Level of each packet in dBFS, as the page plays it.
    pub(super) fn levels(&self) -> Vec<f64> {
        let mut decoder = Decoder::new(48_000, Channels::Mono).expect("a decoder");
        let mut room = [0.0_f32; 960];
        self.got
            .iter()
            .map(|(_, payload)| {
                decoder.decode_float(payload, &mut room, false).expect("a good packet");
                let square: f64 = room.iter().map(|sample| f64::from(*sample).powi(2)).sum();
                10.0 * (2.0 * square / 960.0).max(1e-12).log10()
            })
            .collect()
    }
}

#[test]
fn her_voice_falls_to_nothing_and_nothing_is_left_out() {
    let mut scene = Scene::new(100);
    let mut line = Line::new();
    scene.order(Order::Listen { call: call(1), at: at(0) });
    line.talk(&mut scene, 1_000);
    scene.order(Order::Fade { call: call(1), length: Span::from_s(10) });
    line.talk(&mut scene, 9_900);
    assert!(!scene.reports().contains(&Report::Faded { call: call(1) }), "not before its time");
    line.talk(&mut scene, 2_100);
    let faded = scene.reports().into_iter().filter(|report| *report == Report::Faded { call: call(1) }).count();
    assert_eq!(faded, 1);
    let first = line.got.iter().position(|(raw, _)| !raw).expect("a switch");
    assert_eq!(first, 60, "ten packets to warm up");
    assert!(line.got[first..].iter().all(|(raw, _)| !raw));
    let levels = line.levels();
    for (number, level) in levels.iter().enumerate().skip(5) {
        let expected = -20.0 - (6.0 * (number as f64 + 0.5 - first as f64) / 50.0).max(0.0);
        if expected > -75.0 {
            assert!((level - expected).abs() < 3.0, "{level:.1} instead of {expected:.1} at {number}");
        }
    }
    assert!(levels[570..].iter().all(|level| *level < -90.0));
    assert!(levels[540..550].iter().all(|level| *level > -90.0), "and not sooner");
    scene.order(Order::Deaf { call: call(1) });
    assert_eq!(scene.plane.told().taps.get(&(call(1), Side::Companion)), Some(&Purpose::Replace), "silent to the end");
    scene.order(Order::Forget { call: call(1), at: at(scene.now) });
}

#[test]
fn a_cancelled_landing_is_over_within_two_seconds_at_any_time() {
    for after in [40, 180, 240, 700, 3_000, 5_500] {
        let mut scene = Scene::new(100);
        let mut line = Line::new();
        scene.order(Order::Listen { call: call(1), at: at(0) });
        line.talk(&mut scene, 1_000);
        scene.order(Order::Fade { call: call(1), length: Span::from_s(5) });
        line.talk(&mut scene, after);
        scene.order(Order::Unfade { call: call(1) });
        let cancelled = line.got.len();
        line.talk(&mut scene, 3_000);
        let back = line.got.iter().rposition(|(raw, _)| !raw).map_or(0, |last| last + 1);
        assert!(back <= cancelled + 100, "{after}: {} packets after the cancel", back - cancelled);
        let levels = line.levels();
        assert!(levels[cancelled + 90..].iter().all(|level| (level + 20.0).abs() < 1.5), "{after}: full again");
        assert!(levels[cancelled..cancelled + 90].windows(2).all(|two| two[0] < -60.0 || two[1] > two[0] - 4.0), "{after}: it rises");
        assert_eq!(scene.plane.told().taps.get(&(call(1), Side::Companion)), Some(&Purpose::Analyse), "{after}");
        // And it can begin again.
        scene.order(Order::Fade { call: call(1), length: Span::from_s(2) });
        line.talk(&mut scene, 3_000);
        assert!(line.levels().last().is_some_and(|level| *level < -90.0), "{after}");
    }
}

#[test]
fn a_voice_that_must_be_silent_at_once_is() {
    let mut scene = Scene::new(100);
    let mut line = Line::new();
    scene.order(Order::Listen { call: call(1), at: at(0) });
    line.talk(&mut scene, 1_000);
    scene.order(Order::Fade { call: call(1), length: Span::ZERO });
    line.talk(&mut scene, 500);
    assert!(!line.got[50].0, "the very next packet");
    assert!(line.levels()[53..].iter().all(|level| *level < -80.0), "{:?}", &line.levels()[50..56]);
    assert!(scene.reports().contains(&Report::Faded { call: call(1) }));
}

#[test]
fn a_page_that_is_loaded_again_in_the_midst_goes_on_falling() {
    let mut scene = Scene::new(100);
    let mut line = Line::new();
    scene.order(Order::Listen { call: call(1), at: at(0) });
    line.talk(&mut scene, 1_000);
    scene.order(Order::Fade { call: call(1), length: Span::from_s(10) });
    line.talk(&mut scene, 5_000);
    (line.page, line.leg) = (Page::new(9, -20.0), leg(2));
    line.talk(&mut scene, 2_000);
    let levels = line.levels();
    assert!(levels[290..].iter().all(|level| *level < -20.0 - 27.0), "never loud again: {:?}", &levels[290..]);
    assert!(line.got[61..].iter().all(|(raw, _)| !raw));
}

#[test]
fn who_comes_back_in_the_midst_is_as_quiet_as_it_is_by_then() {
    for is_reload in [true, false] {
        let mut scene = Scene::new(100);
        let mut line = Line::new();
        scene.order(Order::Listen { call: call(1), at: at(0) });
        line.talk(&mut scene, 1_000);
        scene.order(Order::Fade { call: call(1), length: Span::from_s(60) });
        line.talk(&mut scene, 10_000);
        // Her line drops for 30 s.
        scene.pass(30_000);
        if is_reload {
            (line.page, line.leg) = (Page::new(9, -20.0), leg(2));
        } else {
            line.page.sent += 1_500;
        }
        line.talk(&mut scene, 25_000);
        let levels = line.levels();
        for (number, level) in levels.iter().enumerate().skip(551) {
            let seconds = 40.0 + (number as f64 - 550.0) / 50.0;
            let expected = -20.0 - seconds;
            // The first packet has an echo of what the page heard before. A decoder that just began is quieter for a moment.
            let is_right = (level - expected).abs() < 3.0 || (number < 560 && *level < expected) || (expected < -75.0 && *level < -72.0);
            assert!(is_right, "reload {is_reload}: {level:.1} instead of {expected:.1} at {number}");
        }
        assert!(levels.last().is_some_and(|level| *level < -90.0), "reload {is_reload}: silent when the landing ends");
    }
}

#[test]
fn a_companion_who_comes_late_to_her_landing_is_as_quiet_as_it_is_by_then() {
    let mut scene = Scene::new(100);
    let mut line = Line::new();
    scene.order(Order::Fade { call: call(1), length: Span::from_s(10) });
    scene.pass(7_000);
    line.talk(&mut scene, 1_000);
    let levels = line.levels();
    assert!(levels.iter().all(|level| *level < -20.0 - 40.0), "{levels:?}");
}

#[test]
fn a_landing_that_begins_again_at_once_stays_one() {
    for after in [20, 200, 600, 1_000, 1_200] {
        let mut scene = Scene::new(100);
        let mut line = Line::new();
        scene.order(Order::Listen { call: call(1), at: at(0) });
        line.talk(&mut scene, 1_000);
        scene.order(Order::Fade { call: call(1), length: Span::from_s(3) });
        line.talk(&mut scene, 2_000);
        scene.order(Order::Unfade { call: call(1) });
        line.talk(&mut scene, after);
        scene.order(Order::Fade { call: call(1), length: Span::from_s(2) });
        let again = line.got.len();
        line.talk(&mut scene, 5_000);
        let silent = line.levels()[again..].iter().position(|level| *level < -90.0).expect("silence");
        assert!(silent <= 115, "{after}: after {silent} packets");
        assert!(line.levels()[again + silent..].iter().all(|level| *level < -90.0), "{after}: and it is not given back");
    }
}

#[test]
fn a_companion_who_sends_nothing_is_faded_all_the_same() {
    let mut scene = Scene::new(100);
    scene.order(Order::Fade { call: call(1), length: Span::from_s(10) });
    scene.pass(12_900);
    assert!(scene.reports().is_empty());
    scene.pass(200);
    assert_eq!(scene.reports(), [Report::Faded { call: call(1) }]);
    scene.order(Order::Unfade { call: call(1) });
    scene.pass(3_000);
    assert!(scene.plane.told().taps.is_empty(), "and nothing is left of it");
}
