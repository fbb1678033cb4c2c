//! What is recorded, and what breaks.

use super::*;
use crate::sleep::{State, Why};

/// A tape that remembers, takes so much, or breaks.
struct FakeTape {
    kept: Arc<Mutex<Kept>>,
    room: usize,
    breaks: bool,
}

#[derive(Default)]
struct Kept {
    samples: Vec<i16>,
    finished: Option<Moment>,
    dropped: bool,
}

impl Tape for FakeTape {
    fn started(&self) -> Moment {
        at(500)
    }

    fn write(&mut self, samples: &[i16]) -> bool {
        assert!(!self.breaks, "on purpose");
        let mut kept = self.kept.lock().expect("whole");
        kept.samples.extend_from_slice(samples);
        kept.samples.len() < self.room
    }

    fn finish(self: Box<Self>, at: Moment) {
        self.kept.lock().expect("whole").finished = Some(at);
    }
}

impl Drop for FakeTape {
    fn drop(&mut self) {
        self.kept.lock().expect("whole").dropped = true;
    }
}

fn record(scene: &mut Scene, side: Side, room: usize, breaks: bool) -> Arc<Mutex<Kept>> {
    let kept = Arc::new(Mutex::new(Kept::default()));
    scene.order(Order::Record { call: call(1), side, tape: Box::new(FakeTape { kept: kept.clone(), room, breaks }) });
    kept
}

fn talk(scene: &mut Scene, side: Side, from: LegId, page: &mut Page, ms: i64) {
    for _ in 0..ms / 20 {
        scene.send(side, from, page, &mut None);
        scene.pass(20);
    }
}

#[test]
fn both_sides_are_recorded_from_beginning_to_end() {
    let mut scene = Scene::new(100);
    scene.now = 500;
    let client = record(&mut scene, Side::Client, usize::MAX, false);
    let companion = record(&mut scene, Side::Companion, usize::MAX, false);
    let mut page = Page::new(7, -12.0);
    talk(&mut scene, Side::Client, leg(1), &mut page, 2_000);
    scene.pass(3_000);
    // She loads her page again.
    talk(&mut scene, Side::Client, leg(2), &mut Page::new(90_000, -12.0), 2_000);
    scene.order(Order::StopRecording { call: call(1), side: Side::Client, at: at(scene.now) });
    let kept = client.lock().expect("whole");
    assert_eq!(kept.finished, Some(at(7_500)));
    assert!((kept.samples.len() as i64 - 7 * 16_000).abs() <= 1_600, "{}", kept.samples.len());
    let is_loud = |second: usize| kept.samples[second * 16_000 + 2_000..second * 16_000 + 14_000].iter().any(|sample| sample.abs() > 4_000);
    assert_eq!((0..7).map(is_loud).collect::<Vec<_>>(), [true, true, false, false, false, true, true]);
    assert_eq!(scene.plane.told().taps.len(), 1, "the other side goes on");
    scene.order(Order::Forget { call: call(1), at: at(scene.now) });
    let kept = companion.lock().expect("whole");
    assert_eq!((kept.finished, kept.samples.len()), (Some(at(7_500)), 7 * 16_000), "silence, as nothing came");
}

#[test]
fn what_waits_for_a_late_worker_is_not_taken_for_silence() {
    let mut scene = Scene::new(100);
    scene.now = 500;
    let kept = record(&mut scene, Side::Client, usize::MAX, false);
    scene.late = 1_500;
    scene.pass(1_500);
    talk(&mut scene, Side::Client, leg(1), &mut Page::new(7, -12.0), 5_000);
    scene.order(Order::StopRecording { call: call(1), side: Side::Client, at: at(scene.now - scene.late) });
    let kept = kept.lock().expect("whole");
    assert!((kept.samples.len() as i64 - 5 * 16_000).abs() <= 1_600, "{}", kept.samples.len());
    let quiet = kept.samples[3_200..76_800].chunks(1_600).filter(|tenth| tenth.iter().all(|sample| sample.abs() < 4_000)).count();
    assert_eq!(quiet, 0, "nothing of hers is missing");
}

#[test]
fn a_tape_that_takes_no_more_ends_alone() {
    let mut scene = Scene::new(100);
    scene.now = 500;
    scene.order(Order::Listen { call: call(1), at: at(500) });
    let kept = record(&mut scene, Side::Client, 16_000, false);
    talk(&mut scene, Side::Client, leg(1), &mut Page::new(7, -12.0), 2_000);
    assert!(kept.lock().expect("whole").dropped);
    scene.order(Order::SaidAsleep { call: call(1), at: at(scene.now) });
    assert!(scene.reports().iter().any(|report| matches!(report, Report::Verdict { verdict, .. } if verdict.state == State::Asleep)));
}

#[test]
fn what_breaks_costs_its_call_the_ear_and_no_other() {
    let mut scene = Scene::new(100);
    scene.now = 500;
    for number in 1..=2 {
        scene.order(Order::Listen { call: call(number), at: at(500) });
    }
    let kept = record(&mut scene, Side::Client, usize::MAX, true);
    talk(&mut scene, Side::Client, leg(1), &mut Page::new(7, -12.0), 400);
    let reports = scene.reports();
    let [Report::Broke { call: broke, at: broke_at }, Report::Verdict { call: whose, verdict }] = reports[..] else {
        panic!("{reports:?}")
    };
    assert_eq!((broke, whose, verdict.state, verdict.grounds.why), (call(1), call(1), State::Unknown, Why::Lost));
    assert!((at(500)..at(800)).contains(&broke_at), "{broke_at}");
    assert!(kept.lock().expect("whole").dropped);
    scene.order(Order::SaidAsleep { call: call(2), at: at(scene.now) });
    assert_eq!(scene.reports().len(), 1);
    scene.order(Order::SaidAsleep { call: call(1), at: at(scene.now) });
    assert_eq!(scene.reports().len(), 0, "it has no ear");
    // A second later it has a new one.
    scene.pass(1_000);
    scene.order(Order::SaidAsleep { call: call(1), at: at(scene.now) });
    assert_eq!(scene.reports().len(), 1);
    assert_eq!(scene.plane.told().taps.len(), 4);
    // What breaks in it again is said again; what is deaf by then stays so.
    scene.worker.broke(at(scene.now));
    scene.order(Order::Deaf { call: call(1) });
    scene.pass(1_500);
    let broke = scene.reports().iter().filter(|report| matches!(report, Report::Broke { .. })).count();
    assert_eq!((broke, scene.plane.told().taps.len()), (2, 2));
}

/// Whoever sleeps is not woken by it, and whoever wakes is heard.
#[test]
fn what_breaks_in_a_landing_does_not_end_it() {
    let mut scene = Scene::new(100);
    let mut line = fading::Line::new();
    scene.order(Order::Listen { call: call(1), at: at(0) });
    line.talk(&mut scene, 1_000);
    scene.order(Order::Fade { call: call(1), length: Span::from_s(10) });
    line.talk(&mut scene, 5_000);
    line.may_lose = 1;
    record(&mut scene, Side::Companion, usize::MAX, true);
    line.talk(&mut scene, 7_000);
    assert_eq!((line.may_lose, scene.reports().iter().filter(|report| matches!(report, Report::Broke { .. })).count()), (0, 1));
    let levels = line.levels();
    let first = line.got.iter().position(|(raw, _)| !raw).expect("a switch");
    assert!(line.got[first..].iter().all(|(raw, _)| !raw));
    // Cold codecs take three packets to find in.
    assert!(levels[300..].iter().all(|level| *level < -20.0 - 25.0), "{:?}", &levels[295..310]);
    assert!(levels[580..].iter().all(|level| *level < -90.0));
    scene.order(Order::Unfade { call: call(1) });
    line.talk(&mut scene, 2_000);
    assert!(line.got.last().is_some_and(|(raw, _)| *raw));
}

/// A tape whose beginning takes 5 ms of a clock, and may break then.
struct Slow {
    hand: &'static AtomicI64,
    breaks: bool,
}

impl Tape for Slow {
    fn started(&self) -> Moment {
        self.hand.fetch_add(5, Ordering::Relaxed);
        assert!(!self.breaks, "on purpose");
        at(0)
    }

    fn write(&mut self, _: &[i16]) -> bool {
        true
    }

    fn finish(self: Box<Self>, _: Moment) {}
}

/// Also where the worker was at its orders when it was given: the core takes what broke before a recording began for none of it.
#[test]
fn what_breaks_in_an_order_is_dated_after_it_was_given() {
    let (clock, hand) = Clock::by_hand();
    let mut plane = crate::media::stages::Plane::new(([127, 0, 0, 1], 7700).into(), clock).expect("a shard");
    let mut worker = stages::ByHand::new(plane.taps(1).expect("a queue").remove(0), clock);
    let begun = clock.now();
    for (side, breaks) in [(Side::Client, false), (Side::Companion, true)] {
        worker.order(Order::Record { call: call(1), side, tape: Box::new(Slow { hand, breaks }) });
    }
    worker.work();
    assert_eq!(worker.reports(), [Report::Broke { call: call(1), at: begun + Span::from_ms(5) }]);
}
