//! The house without a door and without packets: reports are made by hand, the disk is real and fails when told to.

mod asleep;
mod nights;

use super::*;
use crate::billing::{Conditions, Plan};
use crate::call::{Fact, Journal, Limits, Medium, Policy, Shares, Sounds, State, Terms};
use crate::exchange;
use crate::ids::{CompanionId, HoldId, LegId, PlanId, TokenId, TransferId, VendorId};
use crate::media::{JoinGuard, Settings};
use crate::store::{Companion, Role, Transaction, Write, faults};
use signaling::inbound::{Caller, Idempotency, ToSocket};
use signaling::rest::{Answered, Extend, Request};
use std::path::PathBuf;
use tempfile::TempDir;

struct Bench {
    dir: TempDir,
    clock: Clock,
    store: Store,
    vendor: VendorId,
    companion: CompanionId,
    lease: Span,
    /// It keeps recordings.
    records: bool,
}

/// A house whose loop is turned by hand.
struct Turned {
    house: House,
    inbox: Inbox,
    _media: JoinGuard,
    _ready: watch::Receiver<Ready>,
    /// The audit in the background is done.
    audited: bool,
}

fn cny(amount: i64) -> Money {
    Money::new(amount, "CNY".parse().unwrap())
}

fn of(writes: Vec<Write>) -> Transaction {
    Transaction { idempotency: None, writes }
}

impl Bench {
    fn new() -> Self {
        Self::at(Clock::start())
    }

    fn at(clock: Clock) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("lull.db"), Role::Server).unwrap();
        let (vendor, companion) = (VendorId::new(fresh()), CompanionId::new(fresh()));
        let at = clock.now();
        store
            .commit(of(vec![
                Write::AddVendor { id: vendor, name: "House".into(), key_hash: [1; 32], at },
                Write::AddCompanion(Companion { id: companion, vendor, name: "Lin".into(), grade: None, created_at: at }),
                Write::Credit {
                    transfer: TransferId::new(fresh()),
                    vendor,
                    client: "wei".parse().unwrap(),
                    amount: cny(10_000),
                    order_ref: "o".into(),
                    at,
                },
            ]))
            .unwrap();
        Self { dir, clock, store, vendor, companion, lease: Span::from_s(60), records: false }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("lull.db")
    }

    /// A call on disk, of one block of this length.
    fn call(&self, block: Span) -> CallId {
        self.book(self.terms(block))
    }

    fn terms(&self, block: Span) -> Terms {
        Terms {
            vendor: self.vendor,
            plan: PlanId::new(fresh()),
            plan_name: "a while".into(),
            sold: Plan::new(cny(2000).currency, Kind::Block { block_s: block.whole_s(), price: 2000 }, Conditions::default()).unwrap(),
            hold: cny(2000),
            grade_paid: None,
            grade_delivered: None,
            client: "wei".parse().unwrap(),
            client_name: None,
            companion: self.companion,
            companion_name: "Lin".into(),
            medium: Medium::Audio,
            policy: Policy::default(),
            shares: Shares { companion_bps: 7000, vendor_bps: 3000 },
            client_token: TokenId::new(fresh()),
            companion_token: TokenId::new(fresh()),
            limits: Limits::default(),
            zones: None,
            night: None,
            sounds: Sounds::default(),
            recording: None,
        }
    }

    fn book(&self, terms: Terms) -> CallId {
        let (id, hold, at) = (CallId::new(fresh()), HoldId::new(fresh()), self.clock.now());
        let amount = terms.hold;
        let (_, entry) = exchange::book(id, terms, hold, at).unwrap();
        let facts = Write::Facts { call: id, entries: vec![entry] };
        let (vendor, client) = (self.vendor, "wei".parse().unwrap());
        self.store.commit(of(vec![facts, Write::Hold { hold, call: id, vendor, client, amount, at }])).unwrap();
        id
    }

    /// A server on what is on disk.
    async fn open(&self, wall_must_pass: Option<Moment>) -> Turned {
        let settings = Settings { udp: "127.0.0.1:0".parse().unwrap(), tcp: false, shards: 1, ..Settings::default() };
        let (reports_in, reports) = mpsc::channel(64);
        let (media, guard) = crate::media::start(settings, self.clock, reports_in).unwrap();
        let (_, inbound) = mpsc::channel(1);
        let (ready, ready_out) = watch::channel(Ready::No("starting".into()));
        let rules = Rules {
            limits: Limits::default(),
            shares: Shares { companion_bps: 7000, vendor_bps: 3000 },
            public_url: "http://127.0.0.1".into(),
            max_calls: 10,
            messages_per_second: 20,
            webhooks: crate::service::WebhookRules { allow_http: false, most_endpoints: 16 },
        };
        let tokens = TokenKey::new([7; 32]);
        let (clock, store) = (self.clock, self.store.clone());
        let parts = Parts {
            clock,
            store,
            media,
            reports,
            ear: crate::service::Ear::none(),
            inbound,
            tokens,
            rules,
            ready,
            recorder: self.records.then(|| self.recorder()),
            lease: self.lease,
            wall_must_pass,
        };
        let mut house = House::open(parts).await.unwrap();
        let inbox = house.inbox.take().unwrap();
        let mut turned = Turned { house, inbox, _media: guard, _ready: ready_out, audited: false };
        // The audit in the background ends when it likes: no test below has to expect its note between others.
        while !turned.audited {
            turned.note().await;
        }
        turned.settle().await;
        turned
    }

    fn recorder(&self) -> Recorder {
        let keys = recording::Keys { current: Some(recording::MasterKey::new(&[3; 32])), old: Vec::new() };
        let settings = recording::Settings { folder: self.dir.path().join("recordings"), keys, keep_free: 0 };
        Recorder::start(settings, self.store.clone(), self.clock).unwrap()
    }

    fn journal(&self, call: CallId) -> Journal {
        self.store.journal(call).unwrap().unwrap()
    }

    fn facts(&self, call: CallId) -> Vec<Fact> {
        self.journal(call).entries.into_iter().map(|entry| entry.fact).collect()
    }

    fn adds_up(&self) {
        assert_eq!(self.store.audit(&|journal| exchange::record(journal).ok()), Ok(vec![]));
    }
}

impl Turned {
    /// Until nothing waits for the disk.
    async fn settle(&mut self) {
        while !self.house.pending.is_empty() {
            self.note().await;
        }
    }

    async fn note(&mut self) {
        let note = self.inbox.notes.recv().await.unwrap();
        self.audited |= matches!(note, Note::Audited(_));
        self.house.take_note(note);
    }

    /// Both parties come, as the media plane would tell it.
    async fn arrive(&mut self, call: CallId) -> [LegId; 2] {
        let at = self.house.clock.now();
        let sides = [Side::Client, Side::Companion];
        let legs = sides.map(|_| LegId::new(fresh()));
        for (side, leg) in sides.into_iter().zip(legs) {
            self.house.tell_core(call, Event::Joined { side, leg });
            self.house.take_report(Report::Connected { call, side, leg, at });
        }
        for from in sides {
            self.house.take_report(Report::AudioReached { call, from, at });
        }
        self.settle().await;
        assert!(matches!(self.state(call), State::Live { .. }), "{:?}", self.state(call));
        legs
    }

    fn state(&self, call: CallId) -> State {
        self.house.exchange.call(call).unwrap().state()
    }

    /// Both were seen then, and it is on disk.
    async fn prove(&mut self, call: CallId, legs: [LegId; 2], seen: [Moment; 2]) {
        for ((side, leg), at) in [Side::Client, Side::Companion].into_iter().zip(legs).zip(seen) {
            self.house.take_report(Report::Alive { call, side, leg, at });
        }
        self.house.pulse_now();
        self.settle().await;
    }
}

impl House {
    /// The look at which every call beats.
    fn pulse_now(&mut self) {
        self.pulse.rewind();
        self.beat();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_keeps_what_media_saw_and_not_what_the_clock_says() {
    let bench = Bench::new();
    let call = bench.call(Span::from_s(600));
    let mut turned = bench.open(None).await;
    turned.house.pulse_now();
    turned.settle().await;
    assert!(bench.store.proofs().unwrap().is_empty(), "a call that is not live has nothing to prove");
    let legs = turned.arrive(call).await;
    let live = bench.clock.now();
    let seen = [live + Span::from_ms(1), live + Span::from_ms(2)];
    while bench.clock.now() < seen[1] {}
    turned.prove(call, legs, seen).await;
    assert_eq!(bench.store.proofs().unwrap()[&call], seen[0], "the side that was seen first");
    // A leg that was replaced proves nothing of the new one.
    turned.prove(call, [legs[0], LegId::new(fresh())], [seen[1]; 2]).await;
    assert!(bench.store.proofs().unwrap()[&call] <= seen[0]);
    let facts = bench.facts(call);
    assert!(matches!(facts.last(), Some(Fact::Started)), "{facts:?}");
    bench.adds_up();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_goes_on_after_a_crash_and_the_gap_is_ours() {
    let bench = Bench::new();
    let (call, waiting) = (bench.call(Span::from_s(600)), bench.call(Span::from_s(600)));
    let mut turned = bench.open(None).await;
    let legs = turned.arrive(call).await;
    let proved = bench.clock.now();
    turned.prove(call, legs, [proved; 2]).await;
    // An extension is held, and the process dies before it is a fact.
    let (hold, at) = (HoldId::new(fresh()), bench.clock.now());
    let (vendor, client, amount) = (bench.vendor, "wei".parse().unwrap(), cny(2000));
    bench.store.commit(of(vec![Write::Hold { hold, call, vendor, client, amount, at }])).unwrap();
    drop(turned);

    let mut turned = bench.open(None).await;
    let State::Paused { cause, stopped, .. } = turned.state(call) else { panic!("{:?}", turned.state(call)) };
    assert_eq!((cause, stopped), (crate::call::Fault::Platform, proved));
    assert!(matches!(turned.state(waiting), State::Connecting));
    let wallet = bench.store.balances(bench.vendor, &"wei".parse().unwrap()).unwrap()[0];
    assert_eq!((wallet.posted, wallet.held), (cny(10_000), 4000), "what no fact names is released");
    turned.arrive(call).await;
    let facts = bench.facts(call);
    assert!(matches!(facts.last(), Some(Fact::Resumed)), "{facts:?}");
    turned.house.tell_core(call, Event::HangUp { side: Side::Client });
    turned.house.tell_core(waiting, Event::HangUp { side: Side::Client });
    turned.settle().await;
    assert!(matches!(turned.state(call), State::Settled { .. }));
    assert!(bench.store.proofs().unwrap().is_empty());
    bench.adds_up();
    drop(turned);
    let turned = bench.open(None).await;
    assert!(turned.house.exchange.call(call).is_none(), "what is settled stays settled");
    bench.adds_up();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_waits_for_its_legs_however_long_the_server_was_away() {
    let mut bench = Bench::new();
    let call = bench.call(Span::from_s(600));
    let mut turned = bench.open(None).await;
    let legs = turned.arrive(call).await;
    let proved = bench.clock.now();
    turned.prove(call, legs, [proved; 2]).await;
    drop(turned);

    bench.clock = Clock::start_after(Some(bench.clock.now() + bench.lease + Span::from_s(3600)));
    let mut turned = bench.open(None).await;
    turned.house.pulse_now();
    turned.settle().await;
    assert!(matches!(turned.state(call), State::Paused { .. }), "{:?}", turned.state(call));
    turned.arrive(call).await;
    assert!(matches!(turned.state(call), State::Live { .. }), "{:?}", turned.state(call));
    bench.adds_up();
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_wait_for_a_full_disk_and_are_said_when_they_are_on_it() {
    let bench = Bench::new();
    let call = bench.call(Span::from_s(600));
    let mut turned = bench.open(None).await;
    let legs = turned.arrive(call).await;
    let before = bench.facts(call).len();
    faults::set(&bench.path(), Some(StoreError::Full));
    let since = bench.clock.now();
    turned.house.take_report(Report::Lost { call, side: Side::Client, leg: legs[0], since });
    turned.house.tell_state(call, Side::Companion);
    turned.house.take_report(Report::Back { call, side: Side::Client, leg: legs[0], at: bench.clock.now() });
    let waiting = turned.house.pending.len();
    // A heartbeat is refused at once, and passes what waits.
    turned.house.pulse_now();
    turned.note().await;
    assert_eq!(turned.house.pending.len(), waiting);
    assert_eq!(bench.facts(call).len(), before, "nothing is on disk");
    assert_eq!(turned.house.not_ready().as_deref(), Some("the disk is full"));
    assert!(turned.house.failure.is_none(), "a full disk is no reason to stop");

    faults::set(&bench.path(), None);
    turned.settle().await;
    let facts = bench.facts(call);
    assert!(matches!(&facts[before..], [Fact::Lost { .. }, Fact::Paused { .. }, Fact::Back { .. }, Fact::Resumed]), "{facts:?}");
    turned.house.tell_core(call, Event::HangUp { side: Side::Client });
    turned.settle().await;
    bench.adds_up();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_the_disk_does_not_prove_ends_as_of_its_last_proof() {
    let mut bench = Bench::new();
    // Long enough for a busy machine to bring both in before it is over.
    bench.lease = Span::from_s(2);
    let call = bench.call(Span::from_s(600));
    let mut turned = bench.open(None).await;
    let legs = turned.arrive(call).await;
    faults::set(&bench.path(), Some(StoreError::Full));
    let mut seen = bench.clock.now();
    let proved = seen;
    while !turned.house.exchange.call(call).unwrap().is_over() {
        seen = bench.clock.now();
        for ((side, leg), at) in [Side::Client, Side::Companion].into_iter().zip(legs).zip([seen; 2]) {
            turned.house.take_report(Report::Alive { call, side, leg, at });
        }
        turned.house.pulse_now();
        turned.note().await;
    }
    assert!(seen.since(proved) >= Span::from_s(1), "it ran on for its lease");
    faults::set(&bench.path(), None);
    turned.settle().await;
    let journal = bench.journal(call);
    let State::Settled { reason, at_fault, at, .. } = Call::replay(&journal).unwrap().state() else { panic!("{journal:?}") };
    assert_eq!((reason, at_fault), (crate::call::EndReason::ServerFault, crate::call::Fault::Platform));
    assert!(at <= proved, "charged until {at}, proved until {proved}");
    bench.adds_up();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_ends_at_its_instant_however_long_the_disk_takes() {
    let bench = Bench::new();
    let call = bench.call(Span::from_s(1));
    let mut turned = bench.open(None).await;
    turned.arrive(call).await;
    let State::Live { since } = turned.state(call) else { panic!() };
    faults::set(&bench.path(), Some(StoreError::Busy));
    while bench.clock.now() < since + Span::from_ms(1500) {
        turned.house.do_due();
    }
    // In the core, and so on the line, it is over; on disk it is not.
    assert!(turned.house.exchange.call(call).unwrap().is_over());
    assert!(!turned.house.pending.is_empty());
    assert!(!bench.facts(call).iter().any(|fact| matches!(fact, Fact::Ended { .. })));
    faults::set(&bench.path(), None);
    turned.settle().await;
    let ended = bench.journal(call).entries.into_iter().find(|entry| matches!(entry.fact, Fact::Ended { .. })).unwrap();
    assert_eq!(ended.at, since + Span::from_s(1));
    bench.adds_up();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breach_or_a_clock_that_was_put_back_keeps_new_calls_out() {
    let bench = Bench::new();
    let call = bench.call(Span::from_s(600));
    let mut turned = bench.open(None).await;
    assert_eq!(turned.house.takes_no_calls(), None);
    // The audit of a sound database finds nothing.
    while !turned.audited {
        turned.note().await;
    }
    assert_eq!(turned.house.takes_no_calls(), None);
    let finding = Finding { rule: "hash", place: "call_1".into(), fault: "a fact was changed".into() };
    turned.house.take_note(Note::Audited(Ok(vec![finding])));
    assert_eq!(turned.house.takes_no_calls().unwrap().code, Code::AuditFailed);
    assert!(turned.house.not_ready().is_some());
    turned.arrive(call).await; // Those that are on go on.
    drop(turned);

    let turned = bench.open(Some(Clock::read().wall + Span::from_s(3600))).await;
    assert_eq!(turned.house.takes_no_calls().unwrap().code, Code::ClockBehind);
    drop(turned);
    let mut turned = bench.open(Some(Clock::read().wall - Span::from_s(1))).await;
    assert_eq!(turned.house.not_ready(), None, "it has passed");
    assert_eq!(turned.house.takes_no_calls(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sleep_of_the_machine_is_a_pause_of_ours() {
    let bench = Bench::new();
    let call = bench.call(Span::from_s(600));
    let mut turned = bench.open(None).await;
    turned.arrive(call).await;
    let (before, slept) = (bench.clock.now(), Span::from_ms(3)); // Short: all clocks of the process jump.
    turned.house.slept(slept);
    turned.settle().await;
    let journal = bench.journal(call);
    let [.., paused, resumed] = journal.entries.as_slice() else { panic!("{journal:?}") };
    let Fact::Paused { cause: crate::call::Fault::Platform, since } = paused.fact else { panic!("{journal:?}") };
    assert!(since >= before && resumed.at.since(since) >= slept && resumed.fact == Fact::Resumed, "{journal:?}");
    assert!(matches!(turned.state(call), State::Live { .. }), "legs that are there need not come again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_stops_the_house() {
    let bench = Bench::new();
    let call = bench.call(Span::from_s(600));
    let mut turned = bench.open(None).await;
    faults::set(&bench.path(), Some(StoreError::Database("fsync".into())));
    turned.house.tell_core(call, Event::HangUp { side: Side::Client });
    while turned.house.failure.is_none() {
        turned.note().await; // The audit's may come first.
    }
    assert!(matches!(turned.house.failure, Some(ServiceError::Store(StoreError::Database(_)))));
    faults::set(&bench.path(), None);
}

impl Bench {
    /// What was handed to the store is on disk.
    fn written(&self) {
        self.store.commit(of(vec![])).unwrap();
    }

    fn wallet(&self) -> (i64, i64) {
        let wallet = self.store.balances(self.vendor, &"wei".parse().unwrap()).unwrap()[0];
        (wallet.posted.amount, wallet.held)
    }

    fn count(&self, call: CallId, wanted: impl Fn(&Fact) -> bool) -> usize {
        self.facts(call).iter().filter(|fact| wanted(fact)).count()
    }
}

impl Turned {
    /// The vendor's program extends a call by an order that was paid outside.
    fn extend_by_order(&mut self, call: CallId, key: &str) -> oneshot::Receiver<Result<Answered, WireRefused>> {
        let (reply, answer) = oneshot::channel();
        let extend = Extend { order_ref: Some("paid-2".into()), amount: None, gift_s: None };
        let idempotency = Some(Idempotency { key: key.into(), request_hash: [9; 32] });
        self.house.take_rest(Caller::ApiKey([1; 32]), idempotency, Request::Extend { id: call.to_string(), extend }, reply);
        answer
    }

    async fn answered(&mut self, mut answer: oneshot::Receiver<Result<Answered, WireRefused>>) -> Result<Answered, WireRefused> {
        // A repetition is answered where it was looked up, not by the loop.
        loop {
            tokio::select! {
                answer = &mut answer => return answer.unwrap(),
                note = self.inbox.notes.recv() => self.house.take_note(note.unwrap()),
            }
        }
    }

    /// A page of this side says something; what its sockets hear is returned.
    fn page_says(&mut self, call: CallId, side: Side, body: &str) -> mpsc::Receiver<ToSocket> {
        let (out, heard) = mpsc::channel(64);
        let (leg, party) = (LegId::new(fresh()), self.house.parties_of(call).unwrap().of_mut(side));
        party.add_leg(leg, leg.to_string());
        party.add_socket(1, leg.to_string(), out);
        self.house.take_report(Report::Control { call, side, leg, text: format!(r#"{{"v":1,"seq":1,{body}}}"#) });
        heard
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_whose_purchase_a_crash_undid_buys_when_it_is_asked_for_again() {
    let bench = Bench::new();
    let call = bench.call(Span::from_s(600));
    let mut turned = bench.open(None).await;
    turned.arrive(call).await;
    // Twice the money is on disk and the process dies before the fact is.
    for _ in 0..2 {
        drop(turned.extend_by_order(call, "k1"));
        while turned.house.pending.is_empty() {
            turned.note().await;
        }
        bench.written();
        assert_eq!(bench.wallet(), (12_000, 4000), "credited once, and on hold");
        drop(turned);
        turned = bench.open(None).await;
        assert_eq!(bench.wallet(), (12_000, 2000), "released");
        turned.arrive(call).await;
    }

    let answer = turned.extend_by_order(call, "k1");
    let first = turned.answered(answer).await.unwrap();
    assert_eq!((first.status, first.replayed), (200, false));
    let by_order = |fact: &Fact| matches!(fact, Fact::Extended { order_ref: Some(order), .. } if order == "paid-2");
    assert_eq!((bench.wallet(), bench.count(call, by_order)), ((12_000, 4000), 1));
    // From now on it counts as any order does.
    let answer = turned.extend_by_order(call, "k1");
    let again = turned.answered(answer).await.unwrap();
    assert_eq!((again.status, again.replayed, &again.body), (200, true, &first.body));
    for _ in 0..2 {
        let answer = turned.extend_by_order(call, "k2");
        assert_eq!(turned.answered(answer).await.unwrap_err().code, Code::OrderCredited);
        drop(turned);
        turned = bench.open(None).await;
        turned.arrive(call).await;
    }
    assert_eq!((bench.wallet(), bench.count(call, by_order)), ((12_000, 4000), 1));
    turned.house.tell_core(call, Event::HangUp { side: Side::Client });
    turned.settle().await;
    bench.adds_up();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_whose_hold_was_released_may_be_tried_again() {
    let bench = Bench::new();
    let call = bench.call(Span::from_s(600));
    let mut turned = bench.open(None).await;
    turned.arrive(call).await;
    let tap = r#""type":"extend","key":"a-tap-of-hers""#;
    for _ in 0..2 {
        turned.page_says(call, Side::Client, tap);
        bench.written();
        assert_eq!(bench.wallet(), (10_000, 4000));
        drop(turned);
        turned = bench.open(None).await;
        assert_eq!(bench.wallet(), (10_000, 2000));
        turned.arrive(call).await;
    }
    let bought = |fact: &Fact| matches!(fact, Fact::Extended { .. });
    for _ in 0..2 {
        turned.page_says(call, Side::Client, tap);
        turned.settle().await;
        assert_eq!((bench.wallet(), bench.count(call, bought)), ((10_000, 4000), 1), "it counts once");
        drop(turned);
        turned = bench.open(None).await;
        turned.arrive(call).await;
    }
    turned.house.tell_core(call, Event::HangUp { side: Side::Client });
    turned.settle().await;
    bench.adds_up();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_is_told_again_to_a_page_that_did_not_hear_of_it() {
    let bench = Bench::new();
    let call = bench.call(Span::from_s(600));
    let mut turned = bench.open(None).await;
    turned.arrive(call).await;
    let tap = r#""type":"extend","key":"a-tap-of-hers""#;
    let bought = |fact: &Fact| matches!(fact, Fact::Extended { .. });
    turned.page_says(call, Side::Client, tap);
    turned.settle().await;
    let is_told = |message: ToSocket| {
        let ToSocket::Message(message) = message else { return false };
        message.body == ServerBody::Extended { by: signaling::message::Asker::Client, added_s: 600, free: false }
    };
    // It is on disk: her page asks again in the same server, and then in the next.
    for _ in 0..2 {
        let mut heard = turned.page_says(call, Side::Client, tap);
        turned.settle().await;
        assert_eq!((bench.wallet(), bench.count(call, bought)), ((10_000, 4000), 1), "it counts once");
        let told = std::iter::from_fn(|| heard.try_recv().ok()).filter_map(|message| is_told(message).then_some(())).count();
        assert_eq!(told, 1, "she need not buy again");
        drop(turned);
        turned = bench.open(None).await;
    }
    turned.house.tell_core(call, Event::HangUp { side: Side::Client });
    turned.settle().await;
    bench.adds_up();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gift_counts_once_also_across_a_restart() {
    let bench = Bench::new();
    let call = bench.call(Span::from_s(600));
    let mut turned = bench.open(None).await;
    turned.arrive(call).await;
    let gift = |key: &str| format!(r#""type":"gift","minutes":5,"key":"{key}""#);
    let given = |fact: &Fact| matches!(fact, Fact::Gifted { .. });
    turned.page_says(call, Side::Companion, &gift("a-gift-of-hers"));
    turned.settle().await;
    assert_eq!(bench.count(call, given), 1);
    drop(turned);

    let mut turned = bench.open(None).await;
    let mut heard = turned.page_says(call, Side::Companion, &gift("a-gift-of-hers"));
    turned.settle().await;
    assert_eq!(bench.count(call, given), 1);
    let is_told = |message: &ToSocket| {
        let ToSocket::Message(message) = message else { return false };
        message.body == ServerBody::Extended { by: signaling::message::Asker::Companion, added_s: 300, free: true }
    };
    assert!(std::iter::from_fn(|| heard.try_recv().ok()).any(|message| is_told(&message)), "she need not ask again");
    turned.page_says(call, Side::Companion, &gift("another-of-hers"));
    turned.settle().await;
    assert_eq!(bench.count(call, given), 2);
    turned.house.tell_core(call, Event::HangUp { side: Side::Client });
    turned.settle().await;
    bench.adds_up();
}
