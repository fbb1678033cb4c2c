//! Nights in the house: what is heard reaches the core, what the core wants heard goes out at once, and pages see what is theirs to see.

use super::*;
use crate::billing::{Increments, Rates};
use crate::call::{Audio, Cue, Night, RecordingTerms, Waker};
use crate::recording::Writer;
use crate::service::{Heard, Hearing, Hint};
use crate::sleep::{self, Grounds, Verdict, Why};
use signaling::inbound::{Joined, Refused};
use signaling::message::{CallView, NightView};
use std::sync::{Arc, Mutex};

/// What an ear was told.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Told {
    Audio(Audio),
    Hint(Hint),
    Over,
}

/// An ear that only writes down what it is told.
#[derive(Clone, Default)]
struct Notebook(Arc<Mutex<Vec<Told>>>);

impl Notebook {
    fn note(&self, told: Told) {
        self.0.lock().unwrap().push(told);
    }

    /// What was told since the last look.
    fn read(&self) -> Vec<Told> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Hearing for Notebook {
    fn audio(&mut self, _: CallId, audio: Audio) {
        self.note(Told::Audio(audio));
    }

    fn over(&mut self, _: CallId, _: Moment) {
        self.note(Told::Over);
    }

    fn hint(&mut self, _: CallId, hint: Hint, _: Moment) {
        self.note(Told::Hint(hint));
    }

    fn record(&mut self, _: CallId, _: Side, _: Writer) {}

    fn stop_recording(&mut self, _: CallId, _: Moment) {}
}

impl Bench {
    fn night(&self, linger: Span) -> CallId {
        let increments = Increments { first_s: 1, later_s: 1, rates: Rates::one(60).unwrap() };
        let kind = Kind::UntilAsleep { increments, cap_s: Some(1000), cap: None };
        let mut terms = self.terms(Span::from_s(60));
        terms.sold = Plan::new(cny(0).currency, kind, Conditions::default()).unwrap();
        terms.night = Some(Night { linger, fade: Span::from_s(3600), probe: None });
        terms.sounds = Sounds { chime: None, waiting: true };
        self.book(terms)
    }
}

impl Turned {
    fn notebook(&mut self) -> Notebook {
        let notebook = Notebook::default();
        self.house.ear = Box::new(notebook.clone());
        notebook
    }

    fn hears(&mut self, call: CallId, state: sleep::State, why: Why) {
        let since = self.house.clock.now();
        let (period_ms, constancy_bp) = (Some(4200), 9400);
        let grounds =
            Grounds { why, evidence_milli: 1100, period_ms, constancy_bp, quiet_s: 900, movements: 1, missing_bp: 0, unanswered: 2 };
        self.house.take_heard(Heard::Verdict { call, verdict: Verdict { state, since, grounds } });
    }

    fn joins_by_program(&mut self, call: CallId, side: Side) -> tokio::sync::oneshot::Receiver<Result<Joined, Refused>> {
        let (reply, answers) = tokio::sync::oneshot::channel();
        self.house.joins_by_program(call, side, LegId::new(fresh()), reply);
        answers
    }

    fn page(&self, call: CallId, side: Side) -> (CallView, NightView) {
        let view = self.house.view_for(call, side).unwrap();
        let night = view.night.clone().unwrap();
        (view, night)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_night_goes_its_way_through_the_house() {
    let bench = Bench::new();
    let call = bench.night(Span::from_s(600));
    let mut turned = bench.open(None).await;
    let ear = turned.notebook();
    // The client's page knows what it is for before the call is live.
    let (_, night) = turned.page(call, Side::Client);
    assert_eq!((night.phase.as_str(), night.sleep.as_str(), night.why), ("listening", "unknown", None));
    turned.arrive(call).await;
    assert_eq!(
        ear.read(),
        [
            Told::Audio(Audio::Play { to: Side::Client, cue: Cue::Waiting { on: true } }),
            Told::Audio(Audio::Play { to: Side::Client, cue: Cue::Waiting { on: false } }),
            Told::Audio(Audio::Listen)
        ]
    );

    turned.hears(call, sleep::State::Drowsy, Why::Breathing);
    let (_, hers) = turned.page(call, Side::Companion);
    assert_eq!((hers.sleep.as_str(), hers.why.as_deref(), hers.suggest), ("drowsy", Some("breathing"), true));
    assert_eq!(hers.grounds.map(|grounds| (grounds.period_ms, grounds.unanswered)), Some((Some(4200), 2)));
    let (_, night) = turned.page(call, Side::Client);
    assert_eq!((night.sleep.as_str(), night.why, night.grounds, night.suggest), ("drowsy", None, None, false), "why is not her business");

    // Only she who may say it says it.
    let says = |kind: &str| format!(r#""type":"{kind}""#);
    turned.page_says(call, Side::Client, &says("says_asleep"));
    turned.page_says(call, Side::Client, &says("says_awake"));
    turned.page_says(call, Side::Companion, &says("im_here"));
    assert_eq!(ear.read(), []);
    turned.page_says(call, Side::Companion, &says("says_asleep"));
    assert_eq!(ear.read(), [Told::Hint(Hint::SaidAsleep)]);
    assert_eq!(turned.page(call, Side::Client).1.phase, "lingering");
    turned.page_says(call, Side::Client, &says("im_here"));
    assert_eq!(ear.read(), [Told::Hint(Hint::Tapped)]);
    assert_eq!(turned.page(call, Side::Client).1.phase, "listening");

    // A muted microphone is said once each way, and is no tap.
    let muted = r#""type":"devices","audio":false,"video":false"#;
    turned.page_says(call, Side::Client, muted);
    turned.page_says(call, Side::Client, muted);
    turned.page_says(call, Side::Companion, muted);
    turned.page_says(call, Side::Client, r#""type":"devices","audio":true,"video":false"#);
    assert_eq!(ear.read(), [Told::Hint(Hint::Muted(true)), Told::Hint(Hint::Muted(false))]);
    // Whoever extends, or answers what she is asked, is awake.
    turned.page_says(call, Side::Client, r#""type":"extend","key":"a-tap-of-hers""#);
    turned.page_says(call, Side::Client, r#""type":"record","consent":false"#);
    turned.page_says(call, Side::Companion, r#""type":"record","consent":false"#);
    assert_eq!(ear.read(), [Told::Hint(Hint::Tapped); 2]);
    turned.settle().await;
    turned.house.tell_core(call, Event::HangUp { side: Side::Client });
    turned.settle().await;
    assert_eq!(ear.read(), [Told::Over, Told::Audio(Audio::Deaf)]);
    bench.adds_up();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_in_place_of_a_muted_page_is_heard() {
    let bench = Bench::new();
    let call = bench.night(Span::from_s(600));
    let mut turned = bench.open(None).await;
    let ear = turned.notebook();
    turned.arrive(call).await;
    turned.page_says(call, Side::Client, r#""type":"devices","audio":false,"video":false"#);
    ear.read();
    let mut answers = turned.joins_by_program(call, Side::Companion);
    assert_eq!(ear.read(), [], "it is the client who is listened to");
    turned.settle().await;
    answers.try_recv().unwrap().unwrap();
    let mut answers = turned.joins_by_program(call, Side::Client);
    assert_eq!(ear.read(), [Told::Hint(Hint::Muted(false))]);
    turned.settle().await;
    answers.try_recv().unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wakes_in_a_landing_does_not_wait_for_the_disk() {
    let bench = Bench::new();
    let call = bench.night(Span::ZERO);
    let mut turned = bench.open(None).await;
    let ear = turned.notebook();
    turned.arrive(call).await;
    ear.read();
    turned.hears(call, sleep::State::Asleep, Why::Breathing);
    turned.settle().await;
    assert!(matches!(turned.state(call), State::Landing { .. }), "{:?}", turned.state(call));
    assert_eq!(ear.read(), [Told::Audio(Audio::Fade { length: Span::from_s(3599) })]);
    let (view, night) = turned.page(call, Side::Companion);
    assert_eq!((view.state.as_str(), view.running, night.phase.as_str(), night.sleep.as_str()), ("live", false, "landing", "asleep"));
    assert!(night.phase_left_ms.is_some_and(|left| left > 3_500_000), "{night:?}");
    let shown = wire::call(&turned.house.exchange.view(call, turned.house.clock.now()).unwrap());
    assert_eq!(
        (&shown["state"], &shown["night"]["phase"], &shown["night"]["sleep"]),
        (&"landing".into(), &"landing".into(), &"asleep".into())
    );

    faults::set(&bench.path(), Some(StoreError::Full));
    let at = turned.house.clock.now();
    turned.house.take_heard(Heard::Spoke { call, at });
    assert_eq!(ear.read(), [Told::Audio(Audio::Unfade)], "her voice is back, whatever the disk does");
    assert!(!turned.house.pending.is_empty());
    faults::set(&bench.path(), None);
    turned.settle().await;
    assert!(matches!(turned.state(call), State::Live { .. }));
    let facts = bench.facts(call);
    assert!(matches!(facts.last(), Some(Fact::Woken { by: Waker::Speech })), "{facts:?}");
    turned.house.tell_core(call, Event::HangUp { side: Side::Companion });
    turned.settle().await;
    bench.adds_up();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_landing_goes_on_after_a_crash_and_is_never_billed() {
    let bench = Bench::new();
    let call = bench.night(Span::ZERO);
    let mut turned = bench.open(None).await;
    let legs = turned.arrive(call).await;
    let live = bench.clock.now();
    turned.hears(call, sleep::State::Asleep, Why::Breathing);
    turned.prove(call, legs, [live + Span::from_ms(1); 2]).await;
    let State::Landing { since, .. } = turned.state(call) else { panic!("{:?}", turned.state(call)) };
    drop(turned);
    let mut turned = bench.open(None).await;
    let ear = turned.notebook();
    assert!(matches!(turned.state(call), State::Landing { .. }), "{:?}", turned.state(call));
    let at = bench.clock.now();
    for side in [Side::Client, Side::Companion] {
        let leg = LegId::new(fresh());
        turned.house.tell_core(call, Event::Joined { side, leg });
        turned.house.take_report(Report::Connected { call, side, leg, at });
    }
    let silent = Told::Audio(Audio::Fade { length: Span::ZERO });
    assert_eq!(ear.read().into_iter().filter(|told| *told != Told::Audio(Audio::Listen)).collect::<Vec<_>>(), [silent]);
    // The client had no time to come back and say that she is awake.
    turned.house.tell_core(call, Event::HangUp { side: Side::Companion });
    turned.settle().await;
    let State::Settled { reason, .. } = turned.state(call) else { panic!("{:?}", turned.state(call)) };
    assert_eq!(reason, crate::call::EndReason::CompanionLeft);
    assert!(
        turned.house.exchange.call(call).unwrap().delivered(at) <= since.since(live) + Span::from_ms(50),
        "up to the landing and no further"
    );
    bench.adds_up();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_another_kind_says_that_it_does_not_listen() {
    let bench = Bench::new();
    let call = bench.call(Span::from_s(600));
    let mut turned = bench.open(None).await;
    let ear = turned.notebook();
    turned.arrive(call).await;
    turned.page_says(call, Side::Client, r#""type":"im_here""#);
    turned.settle().await;
    assert_eq!(turned.house.view_for(call, Side::Client).unwrap().night, None);
    assert_eq!(ear.read(), []);
    turned.house.tell_core(call, Event::HangUp { side: Side::Client });
    turned.settle().await;
    assert_eq!(ear.read(), [Told::Over]);
}

/// A page, or a program with her token, has no more of the loop by its data channel than by its socket.
#[tokio::test(flavor = "multi_thread")]
async fn too_many_messages_over_a_data_channel_are_not_looked_at() {
    let bench = Bench::new();
    let call = bench.night(Span::from_s(300));
    let mut turned = bench.open(None).await;
    turned.house.rules.messages_per_second = 1;
    let notebook = turned.notebook();
    turned.arrive(call).await;
    let leg = LegId::new(fresh());
    turned.house.parties_of(call).unwrap().of_mut(Side::Client).add_leg(leg, "load".into());
    notebook.read();
    let mut say = |seq| {
        let text = format!(r#"{{"v":1,"seq":{seq},"type":"im_here"}}"#);
        turned.house.take_report(Report::Control { call, side: Side::Client, leg, text });
    };
    (1..=500).for_each(&mut say);
    let taps = notebook.read().iter().filter(|told| **told == Told::Hint(Hint::Tapped)).count();
    // One more would be looked at for each second that this took.
    assert!((3..250).contains(&taps), "{taps} of 500");
}

/// The record says that it ended, and why, and both pages see it.
#[tokio::test(flavor = "multi_thread")]
async fn a_recording_that_broke_ends_as_failed() {
    let mut bench = Bench::new();
    bench.records = true;
    let mut terms = bench.terms(Span::from_s(600));
    terms.recording = Some(RecordingTerms { keep: Span::from_s(86_400) });
    let call = bench.book(terms);
    let mut turned = bench.open(None).await;
    turned.arrive(call).await;
    for side in [Side::Client, Side::Companion] {
        turned.page_says(call, side, r#""type":"record","consent":true"#);
    }
    turned.settle().await;
    let running = |turned: &Turned| turned.house.exchange.call(call).unwrap().recording().running;
    let (part, since) = running(&turned).expect("both agreed");
    // What broke before it began was not in it.
    turned.house.take_heard(Heard::Broke { call, at: since - Span::from_ms(1) });
    assert_eq!(running(&turned), Some((part, since)));
    turned.house.take_heard(Heard::Broke { call, at: since });
    assert_eq!(running(&turned), None);
    // Said twice, it is over once.
    turned.house.take_heard(Heard::Broke { call, at: since });
    turned.settle().await;
    let view = turned.house.view_for(call, Side::Companion).unwrap().recording.unwrap();
    assert_eq!((view.running, view.stopped.as_deref(), view.client, view.companion), (false, Some("failed"), false, false));
    let rows = bench.store.recordings(bench.vendor, call).unwrap().unwrap();
    let ends: Vec<_> = rows.iter().map(|row| row.ended.as_ref().map(|(_, why)| why.as_str())).collect();
    assert_eq!(ends, [Some("failed"); 2]);
    turned.house.tell_core(call, Event::HangUp { side: Side::Client });
    turned.settle().await;
    let record: serde_json::Value = serde_json::from_str(&bench.store.record(bench.vendor, call).unwrap().unwrap()).unwrap();
    let parts = record["recording"]["parts"].as_array().unwrap();
    assert_eq!((parts.len(), &parts[0]["end_reason"]), (1, &"failed".into()));
    bench.adds_up();
}
