//! A client falls asleep, from her microphone to her bill, in virtual time: pages that speak DTLS, SRTP and Opus, the shard's code, the queue
//! of taps, the turn of a sound worker with the detector, the house with the core, and the database. Only sockets, threads and the wait
//! for time are missing. Nothing of what listens, decides or fades is set otherwise than in a server.

use super::*;
use crate::billing::{Increments, Rates};
use crate::call::{Audio, Entry, Night};
use crate::media::OpenLeg;
use crate::media::client::{Client, Event as Seen, Identity, Track};
use crate::media::stages::{BUFFER, Plane};
use crate::service::Hearing;
use crate::service::ear::{Told, Workplace, heard_of};
use crate::sleep;
use crate::sound::stages::{ByHand, Wish};
use crate::sound::tests::Page as Voice;
use crate::sound::tests::sleeping::{Bed, SLEEPS};
use crate::sound::{Order, Report as Said};
use crate::store::Page as Rows;
use opus::{Channels, Decoder};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

/// What the client has set aside, in minor units.
const HELD: i64 = 6000;
/// Increments, and what a minute costs: three minor units a second.
const FIRST_S: i64 = 60;
const LATER_S: i64 = 6;
const PER_MINUTE: i64 = 180;
/// The companion stays so long, and fades so long.
const LINGER: Span = Span::from_s(30);
const FADE: Span = Span::from_s(20);
/// Where in the night the call begins, in seconds: she talks for a minute, and lies awake for three.
const BEGINS_S: f32 = 90.0;
/// She is found asleep before this second of the night, or the test fails.
const LATEST_S: f32 = 1_100.0;
/// A page's packet, and how much of the worker's time is between two.
const PACE_MS: i64 = 20;

fn server() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 7700))
}

/// What the house told its ear, until the worker looks.
enum Letter {
    Order(Order),
    Release(CallId, Side, Span),
}

#[derive(Clone, Default)]
struct Post(Arc<Mutex<Vec<Letter>>>);

impl Workplace for Post {
    fn order(&mut self, order: Order) {
        self.0.lock().unwrap().push(Letter::Order(order));
    }

    fn release(&mut self, call: CallId, side: Side, within: Span) {
        self.0.lock().unwrap().push(Letter::Release(call, side, within));
    }
}

/// The house's ear, and all that was wanted of it.
struct Overheard(Told<Post>, Arc<Mutex<Vec<Audio>>>);

impl Hearing for Overheard {
    fn audio(&mut self, call: CallId, audio: Audio) {
        self.1.lock().unwrap().push(audio);
        self.0.audio(call, audio);
    }

    fn over(&mut self, call: CallId, at: Moment) {
        self.0.over(call, at);
    }

    fn hint(&mut self, call: CallId, hint: crate::service::Hint, at: Moment) {
        self.0.hint(call, hint, at);
    }

    fn record(&mut self, call: CallId, side: Side, writer: crate::recording::Writer) {
        self.0.record(call, side, writer);
    }

    fn stop_recording(&mut self, call: CallId, at: Moment) {
        self.0.stop_recording(call, at);
    }
}

/// A packet of voice that a page got.
struct Got {
    at: Moment,
    index: u64,
    timestamp: u32,
    payload: Vec<u8>,
}

struct Page {
    client: Client,
    address: SocketAddr,
    got: Vec<Got>,
}

/// How she breathes, and what her line does to it.
#[derive(Clone, Copy)]
struct Uplink {
    /// How much louder than usual.
    breath: f32,
    /// Of so many packets one is lost; none at 0.
    lost: u64,
    dtx: bool,
}

/// One call in a house of its own, and a clock that is moved by hand.
struct Scene {
    bench: Bench,
    turned: Turned,
    call: CallId,
    hand: &'static AtomicI64,
    begun: Moment,
    plane: Plane,
    worker: ByHand,
    post: Post,
    wanted: Arc<Mutex<Vec<Audio>>>,
    pages: Vec<Page>,
    bed: Bed,
    client: Voice,
    companion: Voice,
    uplink: Uplink,
    sent: u64,
    /// She talks without a pause; otherwise her page says now and then that it is there.
    talks: bool,
    /// What the worker reported, and when.
    said: Vec<(Moment, Said)>,
}

impl Scene {
    async fn live(uplink: Uplink) -> Self {
        let (clock, hand) = Clock::by_hand();
        let bench = Bench::at(clock);
        let increments = Increments { first_s: FIRST_S, later_s: LATER_S, rates: Rates::one(PER_MINUTE).unwrap() };
        let kind = Kind::UntilAsleep { increments, cap_s: Some(36_000), cap: None };
        let mut terms = bench.terms(Span::from_s(60));
        terms.sold = Plan::new(cny(0).currency, kind, Conditions::default()).unwrap();
        (terms.hold, terms.zones) = (cny(HELD), Some("2026a".into()));
        terms.night = Some(Night { linger: LINGER, fade: FADE, probe: None });
        let call = bench.book(terms);
        let mut turned = bench.open(None).await;
        let (post, wanted) = (Post::default(), Arc::default());
        turned.house.ear = Box::new(Overheard(Told { place: post.clone(), clock }, Arc::clone(&wanted)));
        let mut plane = Plane::new(server(), clock).unwrap();
        let worker = ByHand::new(plane.taps(1).unwrap().remove(0), clock);
        let mut client = Voice::new(100, -20.0);
        client.encoder.set_dtx(uplink.dtx).unwrap();
        let mut scene = Self {
            bench,
            turned,
            call,
            hand,
            begun: clock.now(),
            plane,
            worker,
            post,
            wanted,
            pages: Vec::new(),
            bed: Bed::at(BEGINS_S, uplink.breath),
            client,
            companion: Voice::new(5_000, -20.0),
            uplink,
            sent: 0,
            talks: true,
            said: Vec::new(),
        };
        scene.bed.wakes = f32::INFINITY;
        for side in [Side::Client, Side::Companion] {
            scene.join(side);
        }
        while !matches!(scene.turned.state(call), State::Live { .. }) {
            assert!(scene.now().since(scene.begun) < Span::from_s(10), "{:?}", scene.turned.state(call));
            scene.step().await;
        }
        scene
    }

    fn now(&self) -> Moment {
        self.bench.clock.now()
    }

    /// Seconds of the night at a moment.
    fn seconds(&self, at: Moment) -> f32 {
        BEGINS_S + at.since(self.begun).ms() as f32 / 1000.0
    }

    fn join(&mut self, side: Side) {
        let mut client = Client::new(Identity::generate().unwrap(), false);
        let leg = LegId::new(fresh());
        self.turned.house.tell_core(self.call, Event::Joined { side, leg });
        let open = OpenLeg {
            call: self.call,
            side,
            leg,
            offer: client.offer().to_owned(),
            medium: Medium::Audio,
            media_timeout: Span::from_s(5),
            quiet_timeout: Span::from_s(15),
            audio_required: side == Side::Companion,
        };
        let now = self.bench.clock.instant(self.now());
        let answer = self.plane.open(&open, now).unwrap();
        client.accept(&answer, now).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 20_000 + side as u16));
        self.pages.push(Page { client, address, got: Vec::new() });
    }

    /// 20 ms pass, for pages, shard, worker and house in turn.
    async fn step(&mut self) {
        self.hand.fetch_add(PACE_MS, Ordering::Relaxed);
        self.speak();
        self.carry();
        for report in self.plane.reports() {
            self.turned.house.take_report(report);
        }
        self.work();
        for said in self.worker.reports() {
            self.said.push((self.now(), said));
            if let Some(heard) = heard_of(said) {
                self.turned.house.take_heard(heard);
            }
        }
        self.turned.house.do_due();
        let is_over = self.turned.house.exchange.call(self.call).is_none_or(Call::is_over);
        if self.now().since(self.begun).ms() % 500 < PACE_MS && !is_over {
            self.turned.house.beat();
        }
        self.turned.settle().await;
    }

    /// Both pages send their next packet.
    fn speak(&mut self) {
        let now = self.bench.clock.instant(self.now());
        self.sent += 1;
        let frame: Vec<f32> = (0..960).map(|_| self.bed.sample()).collect();
        self.client.says(&frame);
        let (_, timestamp, payload) = self.client.next_packet();
        // Pages send nothing where the encoder has nothing to say.
        if payload.len() > 2 {
            let client = &mut self.pages[0].client;
            client.send(Track::Voice, timestamp, false, &payload, now);
            if self.uplink.lost > 0 && self.sent.is_multiple_of(self.uplink.lost) {
                while client.poll_transmit().is_some() {}
            }
        }
        if self.talks {
            let (_, timestamp, payload) = self.companion.next_packet();
            self.pages[1].client.send(Track::Voice, timestamp, false, &payload, now);
        } else {
            self.companion.rest();
            if self.sent.is_multiple_of(20) {
                let (_, timestamp, payload) = self.companion.next_packet();
                self.pages[1].client.send(Track::Voice, timestamp, true, &payload, now);
            }
        }
    }

    /// What pages and shard have for each other.
    fn carry(&mut self) {
        let now = self.bench.clock.instant(self.now());
        let mut buffer = [0; BUFFER];
        if self.sent.is_multiple_of(5) {
            self.plane.tick(now);
        }
        loop {
            let mut moved = false;
            for number in 0..self.pages.len() {
                self.pages[number].client.handle_timeout(now);
                let from = self.pages[number].address;
                while let Some(transmit) = self.pages[number].client.poll_transmit() {
                    moved = true;
                    let length = transmit.payload.len();
                    buffer[..length].copy_from_slice(&transmit.payload);
                    if let Some((length, to)) = self.plane.forward(&mut buffer, length, from, now) {
                        self.deliver(to, &mut buffer[..length]);
                    }
                }
            }
            let replies: Vec<_> = self.plane.replies().collect();
            for (to, mut datagram) in replies {
                moved = true;
                self.deliver(to, &mut datagram);
            }
            if !moved {
                return;
            }
        }
    }

    fn deliver(&mut self, to: SocketAddr, datagram: &mut [u8]) {
        let (at, now) = (self.now(), self.bench.clock.instant(self.now()));
        let Some(page) = self.pages.iter_mut().find(|page| page.address == to) else { return };
        page.client.handle_datagram(datagram, server(), now);
        while let Some(event) = page.client.poll_event() {
            match event {
                Seen::Media { index, timestamp, payload, .. } => page.got.push(Got { at, index, timestamp, payload: payload.to_vec() }),
                Seen::Failed(error) => panic!("{error}"),
                _ => (),
            }
        }
    }

    /// Orders go to the worker, and what it makes goes to the shard.
    fn work(&mut self) {
        let now = self.bench.clock.instant(self.now());
        for letter in std::mem::take(&mut *self.post.0.lock().unwrap()) {
            match letter {
                Letter::Order(order) => {
                    if let Order::Forget { call, .. } = order {
                        // The house stops its own media plane, which has no part in this.
                        self.plane.stop(call, now);
                    }
                    self.worker.order(order);
                }
                Letter::Release(call, side, within) => self.plane.release(call, side, within, now),
            }
        }
        self.worker.work();
        let mut buffer = [0; BUFFER];
        for wish in self.worker.wishes() {
            match wish {
                Wish::Tap(call, side, purpose) => self.plane.tap(call, side, purpose),
                Wish::Release(call, side, within) => self.plane.release(call, side, within, now),
                Wish::Play(call, side, play) => self.plane.play(call, side, play, now),
                Wish::Replace(call, leg, index, payload) => {
                    let sent = self.plane.replace((call, leg, index), &payload, &mut buffer, now);
                    let (length, to) = sent.expect("it was held, and is in time");
                    self.deliver(to, &mut buffer[..length]);
                }
            }
        }
    }

    /// She talks a little, lies awake, and falls asleep; the companion talks at first, and again from the linger on.
    async fn until_landing(&mut self) {
        while !matches!(self.turned.state(self.call), State::Landing { .. }) {
            let is_lingering = self.turned.house.exchange.call(self.call).unwrap().lingering().is_some();
            self.talks = is_lingering || self.now().since(self.begun) < Span::from_s(20);
            assert!(self.seconds(self.now()) < LATEST_S, "{:?}", self.said.last());
            self.step().await;
        }
    }

    fn entries(&self) -> Vec<Entry> {
        self.bench.journal(self.call).entries
    }

    fn time_of(&self, is_it: impl Fn(&Fact) -> bool) -> Moment {
        self.entries().iter().rev().find(|entry| is_it(&entry.fact)).map(|entry| entry.at).expect("it is a fact")
    }

    fn times(&self, is_it: impl Fn(&Fact) -> bool) -> usize {
        self.entries().iter().filter(|entry| is_it(&entry.fact)).count()
    }

    /// What the client's page plays from a moment on, packet by packet: when it came, and its level in dBFS. No packet may be missing.
    fn levels(&self, from: Moment) -> Vec<(Moment, f64)> {
        let got: Vec<&Got> = self.pages[0].got.iter().filter(|got| got.at >= from).collect();
        for two in got.windows(2) {
            assert_eq!((two[1].index - two[0].index, two[1].timestamp.wrapping_sub(two[0].timestamp)), (1, 960), "a gap at {}", two[1].at);
        }
        let mut decoder = Decoder::new(48_000, Channels::Mono).unwrap();
        let mut room = [0.0_f32; 960];
        let mut level = |payload: &[u8]| {
            decoder.decode_float(payload, &mut room, false).unwrap();
            let square: f64 = room.iter().map(|sample| f64::from(*sample).powi(2)).sum();
            10.0 * (2.0 * square / 960.0).max(1e-12).log10()
        };
        got.into_iter().map(|got| (got.at, level(&got.payload))).collect()
    }

    fn wanted(&self) -> Vec<Audio> {
        self.wanted.lock().unwrap().clone()
    }

    fn record(&self) -> serde_json::Value {
        serde_json::from_str(&self.bench.store.record(self.bench.vendor, self.call).unwrap().unwrap()).unwrap()
    }

    /// The events for the vendor's program, in order.
    fn told(&self) -> Vec<serde_json::Value> {
        let events = self.bench.store.events(self.bench.vendor, Rows { after: None, limit: 20 }).unwrap().unwrap();
        events.iter().map(|event| serde_json::from_str(&event.body).unwrap()).collect()
    }

    /// The worker found her asleep once, and not before she slept.
    fn was_found_once(&self) {
        let asleep = |(_, said): &&(Moment, Said)| matches!(said, Said::Verdict { verdict, .. } if verdict.state == sleep::State::Asleep);
        let (found, _) = self.said.iter().find(asleep).expect("she is found");
        assert!(self.seconds(*found) > SLEEPS + 60.0, "{} s into the night", self.seconds(*found));
        assert_eq!(self.times(|fact| matches!(fact, Fact::Lingers { .. })), 1);
        assert_eq!(self.times(|fact| matches!(fact, Fact::Lands { .. })), 1);
    }
}

/// What so much time costs: the first increment is due at once, and each further one that was begun.
fn price(delivered: Span) -> i64 {
    let later = (delivered.ms() - FIRST_S * 1000).max(0).div_euclid(LATER_S * 1000);
    let begun = later + i64::from((delivered.ms() - FIRST_S * 1000).max(0) % (LATER_S * 1000) > 0);
    (FIRST_S + begun * LATER_S) * PER_MINUTE / 60
}

#[tokio::test(flavor = "multi_thread")]
async fn who_falls_asleep_is_let_go_softly_and_billed_to_the_landing() {
    let mut scene = Scene::live(Uplink { breath: 1.0, lost: 0, dtx: false }).await;
    let call = scene.call;
    scene.until_landing().await;
    let began = scene.now();
    let delivered = scene.turned.house.exchange.call(call).unwrap().delivered(began);
    while !matches!(scene.turned.state(call), State::Settled { .. }) {
        assert!(scene.now().since(began) < FADE + Span::from_s(2), "the landing ends");
        scene.step().await;
    }
    let State::Settled { reason, charge, refund, .. } = scene.turned.state(call) else { unreachable!("it is settled") };
    assert_eq!(reason, crate::call::EndReason::Asleep);
    scene.was_found_once();
    assert_eq!(scene.wanted(), [Audio::Listen, Audio::Fade { length: FADE - Span::from_s(1) }, Audio::Deaf]);

    // What her page plays: it grows softer from the landing's begin, and is silent before the end.
    let (live, lands) = (scene.time_of(|fact| *fact == Fact::Started), scene.time_of(|fact| matches!(fact, Fact::Lands { .. })));
    let ended = scene.time_of(|fact| matches!(fact, Fact::Ended { .. }));
    assert_eq!(ended, lands + FADE);
    // A cold decoder takes some packets to find in.
    let levels = &scene.levels(lands - Span::from_s(10))[10..];
    let before: Vec<f64> = levels.iter().filter(|(at, _)| *at < lands).map(|(_, level)| *level).collect();
    let full = before.iter().sum::<f64>() / before.len() as f64;
    assert!((full + 20.0).abs() < 1.0, "{full:.1}");
    let tenths: Vec<f64> = levels.chunks(10).map(|ten| ten.iter().map(|(_, level)| level).sum::<f64>() / ten.len() as f64).collect();
    assert!(tenths.windows(2).all(|two| two[1] < two[0] + 0.5), "{tenths:.1?}");
    assert!(levels.iter().all(|(at, level)| *at > lands + Span::from_ms(500) || (level - full).abs() < 1.5), "not before its time");
    let silent = levels.iter().find(|(_, level)| *level < -80.0).expect("it falls to silence").0;
    assert!(silent > lands + FADE - Span::from_s(4) && silent < ended - Span::from_ms(500), "{silent}");
    assert!(levels.iter().all(|(at, level)| *at < silent || *level < -80.0), "and stays silent");
    let faded: Vec<Moment> = scene.said.iter().filter(|(_, said)| *said == Said::Faded { call }).map(|(at, _)| *at).collect();
    assert!(faded.len() == 1 && faded[0] > lands && faded[0] < ended, "{faded:?}");

    // The meter stood from the landing's begin on.
    assert_eq!(delivered, lands.since(live));
    assert_eq!(scene.turned.house.exchange.call(call).unwrap().delivered(ended), delivered);
    assert_eq!((charge, refund), (cny(price(delivered)), cny(HELD - price(delivered))));
    assert_eq!(scene.bench.wallet(), (10_000 - charge.amount, 0), "the rest is free again");
    let record = scene.record();
    assert_eq!((&record["end_reason"], &record["at_fault"]), (&"asleep".into(), &"none".into()));
    assert_eq!(record["delivered_ms"], delivered.ms());
    assert_eq!(record["billed_s"].as_i64(), Some(charge.amount * 60 / PER_MINUTE));
    let kinds: Vec<_> = record["segments"].as_array().unwrap().iter().map(|segment| (&segment["kind"], &segment["to_at"])).collect();
    assert_eq!(
        kinds[kinds.len() - 2..],
        [(&"delivered".into(), &lands.to_string().into()), (&"landing".into(), &ended.to_string().into())]
    );
    let slept = &record["sleep"];
    assert_eq!(slept["landing_ms"], FADE.ms());
    let linger = &slept["lingers"][0];
    assert_eq!((&linger["by"], &linger["landed_at"], &linger["woken_at"]), (&"ear".into(), &lands.to_string().into(), &().into()));
    let grounds = &linger["verdict"];
    assert_eq!((&grounds["state"], &grounds["why"]), (&"asleep".into(), &"breathing".into()));
    // She breathes every 4.3 s.
    assert!((3_800..4_800).contains(&grounds["period_ms"].as_i64().unwrap()), "{grounds}");
    assert!(grounds["quiet_s"].as_i64().unwrap() >= 60 && grounds["evidence_milli"].as_i64().unwrap() >= 1000, "{grounds}");

    let told = scene.told();
    let words: Vec<&str> = told.iter().filter_map(|event| event["type"].as_str()).collect();
    assert_eq!(words, ["call.created", "call.started", "call.asleep", "call.ended", "call.settled"]);
    assert_eq!((&told[2]["data"]["by"], &told[2]["data"]["sleep"]["why"]), (&"ear".into(), &"breathing".into()));
    assert_eq!((&told[3]["data"]["end_reason"], &told[4]["data"]["end_reason"]), (&"asleep".into(), &"asleep".into()));
    scene.bench.adds_up();
}

/// On a line that loses three of a hundred packets, from a page that is silent in pauses.
#[tokio::test(flavor = "multi_thread")]
async fn who_speaks_in_a_landing_has_her_companion_back_and_the_call_goes_on() {
    let mut scene = Scene::live(Uplink { breath: 2.0, lost: 33, dtx: true }).await;
    let call = scene.call;
    scene.until_landing().await;
    while scene.now().since(scene.time_of(|fact| matches!(fact, Fact::Lands { .. }))) < Span::from_s(12) {
        scene.step().await;
    }
    let speaks = scene.now();
    scene.bed.wakes = 0.0;
    while scene.now().since(speaks) < Span::from_s(30) {
        scene.step().await;
    }
    assert!(matches!(scene.turned.state(call), State::Live { .. }), "{:?}", scene.turned.state(call));
    let levels = scene.levels(speaks - Span::from_s(1));
    assert!(levels.iter().all(|(at, level)| *at >= speaks || *level < -40.0), "she was nearly gone: {:.1?}", levels[0]);
    let back = levels.iter().rev().find(|(_, level)| (level + 20.0).abs() > 1.5).expect("it was soft").0;
    assert!(back.since(speaks) < Span::from_s(2), "{} ms", back.since(speaks).ms());

    scene.turned.house.tell_core(call, Event::HangUp { side: Side::Client });
    scene.turned.settle().await;
    scene.was_found_once();
    let fades = [Audio::Listen, Audio::Fade { length: FADE - Span::from_s(1) }, Audio::Unfade, Audio::Deaf];
    assert_eq!(scene.wanted(), fades);
    let time = |is_it: fn(&Fact) -> bool| scene.time_of(is_it);
    let (live, lands) = (time(|fact| *fact == Fact::Started), time(|fact| matches!(fact, Fact::Lands { .. })));
    let (woken, ended) = (time(|fact| matches!(fact, Fact::Woken { .. })), time(|fact| matches!(fact, Fact::Ended { .. })));
    assert!(woken >= speaks && woken.since(speaks) < Span::from_s(1), "{} ms", woken.since(speaks).ms());
    let State::Settled { reason, charge, refund, .. } = scene.turned.state(call) else { panic!("{:?}", scene.turned.state(call)) };
    let delivered = Span::from_ms(lands.since(live).ms() + ended.since(woken).ms());
    assert_eq!(reason, crate::call::EndReason::ClientLeft);
    assert_eq!((charge, refund), (cny(price(delivered)), cny(HELD - price(delivered))));
    let record = scene.record();
    assert_eq!(record["delivered_ms"], delivered.ms());
    let linger = &record["sleep"]["lingers"][0];
    assert_eq!((&linger["woken_by"], &linger["woken_at"]), (&"speech".into(), &woken.to_string().into()));
    scene.bench.adds_up();
}
