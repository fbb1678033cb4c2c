//! What holds for every call, whatever happens to it in whatever order.

use super::{BOOKED, Books, call_id, cny, hold_id, terms};
use crate::billing::{self, Conditions, Increments, Kind, Plan, Rates, Rounding, WindowTerms};
use crate::call::{
    Asker, Call, EndReason, Event, Fact, Fault, Journal, Night, Quality, RecordingEnd, RecordingTerms, Refused, RequestId, Side, Sounds,
    State, Terms,
};
use crate::clock::{Moment, Span};
use crate::exchange::{Effect, Exchange, book};
use crate::ids::{BootId, LegId, TokenId};
use crate::money::Money;
use crate::sleep::{self, Grounds, Verdict, Why};
use proptest::prelude::*;
use std::collections::BTreeMap;
use uuid::Uuid;

/// One thing that happens, some time after the one before.
#[derive(Clone, Debug)]
struct Step {
    after_ms: i64,
    /// Nobody woke the exchange in between.
    late: bool,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Nothing,
    Arrive,
    Joined(Side, u8),
    Connected(Side, u8, i64),
    Heard(Side, i64),
    Lost(Side, u8, i64),
    Hushed(Side, u8, i64),
    Faltered(Side, u8, i64),
    Steadied(Side, u8),
    Back(Side, u8, i64),
    Failed(Side, u8),
    Measured(Side, u64),
    Extend(Asker, u8),
    Reserved(u8),
    NotReserved(u8),
    Gift(Asker, i64),
    HangUp(Side),
    VendorEnds,
    Withdraws(Side),
    Abuse,
    ServerStops,
    /// The last proof was so long before; below zero, so long after what happened last, with nobody woken in between.
    Crash(i64),
    /// It fell asleep so long after what happened last, with nobody woken in between.
    Slept(i64),
    LeaseLapsed(i64),
    Consents(Side, bool),
    RecordingFails(u32),
    /// So long before.
    Ear(sleep::State, Why, i64),
    Spoke(i64),
    ImHere,
    SaysAsleep,
    SaysAwake,
}

fn what() -> impl Strategy<Value = What> {
    let side = || prop_oneof![Just(Side::Client), Just(Side::Companion)];
    let asker = || prop_oneof![Just(Asker::Client), Just(Asker::Companion), Just(Asker::Vendor)];
    use sleep::State;
    let state = || prop_oneof![1 => Just(State::Awake), 1 => Just(State::Drowsy), 4 => Just(State::Asleep), 1 => Just(State::Unknown)];
    let why =
        || prop_oneof![Just(Why::Starting), Just(Why::Speech), Just(Why::Movement), Just(Why::Tap), Just(Why::Breathing), Just(Why::Muted)];
    let (leg, ago, hold) = (|| 0u8..3, || -500i64..20_000, || 2u8..6);
    prop_oneof![
        6 => Just(What::Nothing),
        4 => Just(What::Arrive),
        3 => (side(), leg()).prop_map(|(side, leg)| What::Joined(side, leg)),
        5 => (side(), leg(), ago()).prop_map(|(side, leg, ago)| What::Connected(side, leg, ago)),
        4 => (side(), ago()).prop_map(|(side, ago)| What::Heard(side, ago)),
        8 => (side(), leg(), ago()).prop_map(|(side, leg, ago)| What::Lost(side, leg, ago)),
        2 => (side(), leg(), ago()).prop_map(|(side, leg, ago)| What::Hushed(side, leg, ago)),
        2 => (side(), leg(), ago()).prop_map(|(side, leg, ago)| What::Faltered(side, leg, ago)),
        1 => (side(), leg()).prop_map(|(side, leg)| What::Steadied(side, leg)),
        8 => (side(), leg(), ago()).prop_map(|(side, leg, ago)| What::Back(side, leg, ago)),
        1 => (side(), leg()).prop_map(|(side, leg)| What::Failed(side, leg)),
        1 => (side(), 0u64..9).prop_map(|(side, packets)| What::Measured(side, packets)),
        4 => (asker(), hold()).prop_map(|(by, hold)| What::Extend(by, hold)),
        4 => hold().prop_map(What::Reserved),
        1 => hold().prop_map(What::NotReserved),
        2 => (asker(), 0i64..40_000).prop_map(|(by, ms)| What::Gift(by, ms / 500 * 500)),
        2 => prop_oneof![4 => (-20_000i64..9000).prop_map(What::Crash), 2 => (0i64..20_000).prop_map(What::Slept), 1 => (0i64..9000).prop_map(What::LeaseLapsed)],
        5 => (state(), why(), ago()).prop_map(|(state, why, ago)| What::Ear(state, why, ago)),
        2 => prop_oneof![ago().prop_map(What::Spoke), Just(What::ImHere), Just(What::SaysAsleep), Just(What::SaysAwake)],
        3 => (side(), prop::bool::weighted(0.8)).prop_map(|(side, yes)| What::Consents(side, yes)),
        1 => (1u32..4).prop_map(What::RecordingFails),
        1 => prop_oneof![side().prop_map(What::HangUp), side().prop_map(What::Withdraws), Just(What::VendorEnds), Just(What::Abuse), Just(What::ServerStops)],
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (prop_oneof![3 => 0i64..3000, 1 => 0i64..40_000], any::<bool>(), what());
    prop::collection::vec(step.prop_map(|(after_ms, late, what)| Step { after_ms, late, what }), 1..60)
}

struct Run {
    exchange: Exchange,
    books: Books,
    now: Moment,
    /// How often each request was answered.
    answers: BTreeMap<RequestId, u32>,
    /// Delivered in spans that are closed.
    settled_delivery: Span,
    /// When the companion did last.
    hung_up: Option<Moment>,
}

/// Plans of every kind, small enough that a random call reaches their ends. The night begins five minutes after the booking.
fn plans() -> impl Strategy<Value = (Plan, i64)> {
    let window = |label, start, end, rate| WindowTerms { label, start, end, rate };
    let rates = prop_oneof![
        (0i64..900).prop_map(|rate| Rates::one(rate).unwrap()),
        (0i64..900, 0i64..900).prop_map(move |(day, night)| {
            let windows = [window("day", "08:00", "20:05", day), window("night", "20:05", "08:00", night)];
            Rates::by_window("Asia/Shanghai", &windows).unwrap()
        }),
    ];
    let lengths = prop_oneof![Just((60, 60)), Just((6, 6)), Just((1, 1)), Just((10, 3))];
    let increments = (lengths, rates).prop_map(|((first_s, later_s), rates)| Increments { first_s, later_s, rates });
    let caps = (prop::option::of(60i64..200), prop::option::of(900i64..2000));
    let kind = prop_oneof![
        3 => Just(Kind::Block { block_s: 30, price: 1999 }),
        1 => Just(Kind::Flat { price: 500 }),
        3 => increments.clone().prop_map(Kind::PerMinute),
        3 => (increments, caps).prop_map(|(increments, (cap_s, cap))| Kind::UntilAsleep { increments, cap_s, cap }),
    ];
    let conditions = (prop_oneof![Just(0i64), 0i64..40], prop_oneof![Just(0i64), 0i64..900], 0usize..3);
    (kind, conditions, 900i64..1500).prop_map(|(kind, (grace_s, minimum, rounding), hold)| {
        let hold = match kind {
            Kind::Block { price, .. } | Kind::Flat { price } => price,
            Kind::PerMinute(_) | Kind::UntilAsleep { .. } => hold,
        };
        (Plan::new(cny(), kind, Conditions { grace_s, minimum, rounding: Rounding::ALL[rounding] }).unwrap(), hold)
    })
}

/// Nights short enough that a random call sees their landings.
fn nights() -> impl Strategy<Value = Night> {
    let probe = prop::option::of((1i64..9).prop_map(Span::from_s));
    (0i64..12, 0i64..12, probe).prop_map(|(linger, fade, probe)| Night { linger: Span::from_s(linger), fade: Span::from_s(fade), probe })
}

impl Run {
    fn start((sold, hold): (Plan, i64), night: Night) -> Run {
        let mut terms = Terms { sold, hold: Money::new(hold, cny()), ..terms(Span::from_s(30), 1999) };
        terms.night = matches!(terms.sold.kind(), Kind::UntilAsleep { .. }).then_some(night);
        terms.sounds = Sounds { chime: Some(-30), waiting: true };
        terms.recording = Some(RecordingTerms { keep: Span::from_s(86_400) });
        terms.limits.max_duration = Span::from_s(130);
        terms.limits.gift_limit = Span::from_s(45);
        terms.limits.pause_limit = Span::from_s(20);
        let (call, created) = book(call_id(), terms, hold_id(1), BOOKED).unwrap();
        let mut exchange = Exchange::new();
        exchange.insert(call);
        Run { exchange, books: Books::new(created), now: BOOKED, answers: BTreeMap::new(), settled_delivery: Span::ZERO, hung_up: None }
    }

    fn call(&self) -> &Call {
        self.exchange.call(call_id()).unwrap()
    }

    fn step(&mut self, step: &Step) {
        let at = self.now + Span::from_ms(step.after_ms);
        let is_away = matches!(step.what, What::Crash(_) | What::Slept(_));
        while let Some(due) = self.exchange.poll_timeout().filter(|due| *due <= at && !step.late && !is_away) {
            self.wake(due);
        }
        let before = std::mem::replace(&mut self.now, at);
        match step.what {
            What::Crash(ms) => return self.crash(before, Span::from_ms(ms)),
            What::Slept(late_ms) => {
                let since = (before + Span::from_ms(late_ms)).min(at);
                let mut out = Vec::new();
                self.exchange.suspend(since, at, &mut out);
                self.check(&out);
                assert!(self.exchange.poll_timeout().is_none_or(|due| due > since), "what was due before the sleep is done");
                return;
            }
            _ => {}
        }
        for event in self.events(&step.what) {
            self.give(event);
        }
        if matches!(step.what, What::Nothing) {
            self.wake(at);
        }
    }

    fn wake(&mut self, at: Moment) {
        self.now = at;
        let mut out = Vec::new();
        self.exchange.handle_timeout(at, &mut out);
        self.check(&out);
        assert!(self.exchange.poll_timeout().is_none_or(|due| due > at), "a timer that does not move on");
    }

    /// The process ends at `at` and another takes over now; whoever waited for an answer has none.
    fn crash(&mut self, at: Moment, ago: Span) {
        let journal = Journal { call: call_id(), entries: self.books.entries.clone() };
        let known = self.call().delivered((at - ago).clamp(at, self.now));
        let was_over = self.call().is_over();
        self.answers.values_mut().for_each(|count| *count = 1);
        self.exchange = Exchange::new();
        let mut out = Vec::new();
        let boot = BootId::new(Uuid::from_u128(0xb007));
        self.exchange.recover(&journal, Some(at - ago), boot, self.now, &mut out).unwrap();
        self.check(&out);
        assert!(self.call().delivered(self.now) <= known, "time without a proof counts as delivered");
        assert!(was_over || !self.call().is_over(), "a crash ended the call");
        assert!(!matches!(self.call().state(), State::Live { .. }));
    }

    fn give(&mut self, event: Event) {
        let mut out = Vec::new();
        if let Event::ExtendAsked { request, .. }
        | Event::GiftAsked { request, .. }
        | Event::LinkAsked { request, .. }
        | Event::VendorEnds { request } = event
        {
            self.answers.insert(request, 0);
        }
        if event == (Event::HangUp { side: Side::Companion }) {
            self.hung_up = Some(self.now);
        }
        self.exchange.handle(call_id(), event.clone(), self.now, &mut out);
        self.check(&out);
        // A gift is a new gift each time; whatever else comes twice counts once.
        if !matches!(event, Event::GiftAsked { .. }) {
            let mut out = Vec::new();
            let mut again = self.exchange.clone();
            again.handle(call_id(), event, self.now, &mut out);
            assert!(
                !out.iter().any(|effect| matches!(effect, Effect::Record { .. } | Effect::Reserve { .. } | Effect::StopMedia { .. })),
                "{out:?}"
            );
        }
    }

    fn check(&mut self, out: &[Effect]) {
        self.books.check(&self.exchange, out);
        for effect in out {
            if let Effect::Answer { request, .. } = effect {
                *self.answers.get_mut(request).expect("an answer to a request") += 1;
            }
        }
        let call = self.call();
        assert!(call.delivered(self.now) <= call.paid() + call.gifted());
        assert!(call.delivered(self.now) <= call.terms().limits.max_duration);
        // What is kept beside the call follows from it.
        assert_eq!(self.exchange.poll_timeout(), call.poll_timeout());
        assert_eq!(self.exchange.running().map(|(_, basis)| *basis).next(), call.basis());
        self.check_landings();
        // What is shown is what would be settled, and never more than is set aside.
        let view = self.exchange.view(call_id(), self.now).unwrap();
        assert!((0..=view.held.amount).contains(&view.spent.amount));
        if let State::Ended { reason: EndReason::FundsExhausted | EndReason::CapReached, at, .. }
        | State::Settled { reason: EndReason::FundsExhausted | EndReason::CapReached, at, .. } = call.state()
        {
            assert_eq!(Some(call.delivered(self.now)), call.quota().map(|quota| quota + call.gifted()), "at the quota, never later");
            // And that quota is what the meter says of the call as it went.
            let segments = billing::segments(call.marks(None));
            let most = billing::max_usage(&call.terms().sold, call.amounts(), &segments, at, call.terms().limits.max_duration);
            assert_eq!(most.map(Span::from_s), call.quota());
        }
        let closed = match call.state() {
            State::Live { since } => call.delivered(since),
            State::Paused { ran_from, stopped, .. } | State::Landing { ran_from, stopped, .. } => {
                call.delivered(self.now) - stopped.since(ran_from)
            }
            State::Connecting | State::Ended { .. } | State::Settled { .. } => call.delivered(self.now),
        };
        assert!(closed >= self.settled_delivery || self.somebody_was_gone_before(), "what was delivered was taken back");
        self.settled_delivery = closed;
    }

    /// No landing is delivered time, whatever came in it, and none ends a call sooner than its terms say.
    fn check_landings(&self) {
        let call = self.call();
        let segments = billing::segments(call.marks(Some(self.now)));
        let mut landing = None;
        for entry in call.entries() {
            match entry.fact {
                Fact::Lands { .. } => landing = Some(entry.at),
                Fact::Woken { .. } | Fact::Ended { .. } => {
                    let Some(since) = landing.take() else { continue };
                    let is_in_it = |segment: &&billing::Segment| segment.from < entry.at && segment.to > since;
                    let kinds: Vec<_> = segments.iter().filter(is_in_it).map(|segment| segment.kind).collect();
                    assert!(kinds.iter().all(|kind| *kind != billing::SegmentKind::Delivered), "{kinds:?}");
                    if entry.fact == (Fact::Ended { reason: EndReason::Asleep, at_fault: Fault::None }) {
                        let fade = call.terms().night.map(|night| night.fade);
                        let by_companion = self.hung_up == Some(entry.at);
                        assert!(by_companion || Some(entry.at.since(since)) >= fade, "it landed too soon");
                    }
                }
                _ => {}
            }
        }
    }

    /// Of the pauses of the last step one reaches back behind the span in which it was noticed.
    fn somebody_was_gone_before(&self) -> bool {
        let entries = self.call().entries();
        let now = entries.last().map(|entry| entry.at);
        let mut ran_from = None;
        entries.iter().any(|entry| match entry.fact {
            Fact::Started | Fact::Resumed | Fact::Woken { .. } => {
                ran_from = Some(entry.at);
                false
            }
            Fact::Paused { since, .. } => Some(entry.at) == now && Some(since) < ran_from,
            _ => false,
        })
    }

    fn events(&self, what: &What) -> Vec<Event> {
        let ago = |ms: i64| self.now - Span::from_ms(ms);
        let leg = |side: Side, n: u8| LegId::new(Uuid::from_u128(0x1e6_0000 + 10 * side as u128 + u128::from(n)));
        let hold = |n: u8| hold_id(u128::from(n));
        let request = RequestId(self.answers.len() as u64 + 1);
        let event = match what.clone() {
            What::Nothing => return Vec::new(),
            What::Arrive => {
                let both = [Side::Client, Side::Companion];
                let joins = both.map(|side| Event::Joined { side, leg: leg(side, 0) });
                let connects = both.map(|side| Event::Connected { side, leg: leg(side, 0), at: self.now });
                let heard = both.map(|from| Event::AudioReached { from, at: self.now });
                return [joins, connects, heard].concat();
            }
            What::Joined(side, n) => Event::Joined { side, leg: leg(side, n) },
            What::Connected(side, n, ms) => Event::Connected { side, leg: leg(side, n), at: ago(ms) },
            What::Heard(from, ms) => Event::AudioReached { from, at: ago(ms) },
            What::Lost(side, n, ms) => Event::Lost { side, leg: leg(side, n), since: ago(ms) },
            What::Faltered(side, n, ms) => Event::Faltered { side, leg: leg(side, n), since: ago(ms) },
            What::Steadied(side, n) => Event::Steadied { side, leg: leg(side, n), at: self.now },
            What::Hushed(side, n, ms) => Event::Hushed { side, leg: leg(side, n), since: ago(ms) },
            What::Back(side, n, ms) => Event::Back { side, leg: leg(side, n), at: ago(ms) },
            What::Failed(side, n) => Event::Failed { side, leg: leg(side, n) },
            What::Measured(side, packets) => Event::Measured { side, quality: Quality { packets, ..Quality::default() } },
            What::Extend(by, n) => Event::ExtendAsked { by, hold: hold(n), amount: None, order_ref: None, request },
            What::Reserved(n) => Event::Reserved { hold: hold(n) },
            What::NotReserved(n) => Event::NotReserved { hold: hold(n), why: Refused::Storage },
            What::Gift(by, ms) => Event::GiftAsked { by, length: Span::from_ms(ms), gift: None, request },
            What::HangUp(side) => Event::HangUp { side },
            What::Withdraws(side) => Event::LinkAsked { side, token: TokenId::new(Uuid::from_u128(0xf00d)), request },
            What::VendorEnds => Event::VendorEnds { request },
            What::Consents(side, yes) => Event::Consents { side, yes },
            What::RecordingFails(part) => Event::RecordingFailed { part, why: RecordingEnd::DiskFull },
            What::Abuse => Event::AbuseReported,
            What::ServerStops => Event::ServerStops,
            What::Ear(state, why, ms) => {
                let grounds = Grounds {
                    why,
                    evidence_milli: 1000,
                    period_ms: None,
                    constancy_bp: 0,
                    quiet_s: 60,
                    movements: 0,
                    missing_bp: 0,
                    unanswered: 0,
                };
                Event::Ear { verdict: Verdict { state, since: ago(ms), grounds } }
            }
            What::Spoke(ms) => Event::Spoke { at: ago(ms) },
            What::ImHere => Event::ImHere,
            What::SaysAsleep => Event::SaysAsleep,
            What::SaysAwake => Event::SaysAwake,
            What::LeaseLapsed(ms) => Event::LeaseLapsed { proved: ago(ms) },
            What::Crash(_) | What::Slept(_) => return Vec::new(),
        };
        vec![event]
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Facts replay to the call, delivered time and money keep their bounds, there is one end and nothing after it, reports count once
    /// (all in `check` and `give`); left alone every call ends, and every request is answered once.
    #[test]
    fn a_call_keeps_its_promises(plan in plans(), night in nights(), steps in steps()) {
        let mut run = Run::start(plan, night);
        for step in &steps {
            run.step(step);
        }
        // A purchase that waits for the store holds up nothing.
        while let Some(due) = run.exchange.poll_timeout() {
            run.wake(due);
        }
        let settled = matches!(run.call().state(), State::Settled { .. });
        prop_assert!(settled, "{:?}", run.call().state());
        prop_assert!(run.answers.values().all(|count| *count == 1), "{:?}", run.answers);
    }
}

/// Found by the property: she calls the landing off the moment it begins, and was gone a millisecond before.
#[test]
fn who_was_gone_before_a_landing_is_not_billed_up_to_it() {
    let rates = Rates::one(600).unwrap();
    let kind = Kind::UntilAsleep { increments: Increments { first_s: 60, later_s: 60, rates }, cap_s: None, cap: None };
    let plan = Plan::new(cny(), kind, Conditions { grace_s: 0, minimum: 0, rounding: Rounding::Down }).unwrap();
    let mut run = Run::start((plan, 900), Night { linger: Span::from_s(5), fade: Span::from_s(4), probe: None });
    let steps = [
        (0, What::Arrive),
        (0, What::Ear(sleep::State::Asleep, Why::Starting, 0)),
        (1_365, What::Connected(Side::Client, 2, 0)),
        (955, What::Heard(Side::Client, 0)),
        (2_680, What::ImHere),
        (0, What::Lost(Side::Client, 2, 1)),
    ];
    for (after_ms, what) in steps {
        run.step(&Step { after_ms, late: false, what });
    }
    assert_eq!(run.call().delivered(run.now), Span::from_ms(4_999));
}
