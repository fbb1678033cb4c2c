//! Several shards, and shards that are full: where calls go, who is refused and how, and that nothing is left of calls that ended.
#![allow(clippy::disallowed_methods, reason = "a flood comes from a thread of its own")]

use crate::calls::{HIGH, LOW, join, peer};
use crate::media::{fixture, value};
use crate::page::Page;
use crate::server::{Answer, Booked, Server, booked, wait_for};
use lull::bench::{Crowd, Pace, Tally};
use lull::call::{Medium, Side};
use lull::clock::{Clock, Span};
use lull::ids::{CallId, LegId};
use lull::media::client::{Client, Identity};
use lull::media::{JoinGuard, Media, OfferError, OpenLeg, Report, Settings, start};
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

const OFFER: &str = "chromium-156.0.8078.79_audio-opus_offer.sdp";

struct Plane {
    media: Media,
    _guard: JoinGuard,
    _reports: mpsc::Receiver<Report>,
    offer: String,
}

impl Plane {
    fn new(shards: usize, max_legs: usize) -> Self {
        let (sender, reports) = mpsc::channel(16);
        let settings = Settings { udp: "127.0.0.1:0".parse().unwrap(), shards, max_legs, ..Settings::default() };
        let (media, guard) = start(settings, Clock::start(), sender).unwrap();
        Self { media, _guard: guard, _reports: reports, offer: fixture(OFFER) }
    }

    async fn offer(&self, call: CallId, side: Side, offer: String) -> Result<String, OfferError> {
        let (media_timeout, quiet_timeout) = (Span::from_s(5), Span::from_s(15));
        let leg = LegId::new(Uuid::now_v7());
        let open = OpenLeg { call, side, leg, offer, medium: Medium::Audio, media_timeout, quiet_timeout, audio_required: false };
        self.media.open(open).await.unwrap()
    }

    async fn open(&self, call: CallId, side: Side) -> Result<String, OfferError> {
        self.offer(call, side, self.offer.clone()).await
    }

    fn until_empty(&self) {
        wait_for("a plane without calls", || (self.media.calls() == 0).then_some(()));
        wait_for("shards without legs", || self.media.stats().iter().all(|stats| (stats.legs, stats.calls) == (0, 0)).then_some(()));
    }
}

fn call() -> CallId {
    CallId::new(Uuid::now_v7())
}

/// The port of the only candidate.
fn port(answer: &str) -> u16 {
    value(answer, "a=candidate:").split(' ').nth(5).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_spread_and_all_legs_of_a_call_are_on_one_shard() {
    let plane = Plane::new(3, 2000);
    let ports: Vec<u16> = plane.media.addresses().iter().map(|address| address.port()).collect();
    let mut by_port = BTreeMap::<u16, usize>::new();
    let calls: Vec<CallId> = (0..30).map(|_| call()).collect();
    for id in &calls {
        let first = port(&plane.open(*id, Side::Client).await.unwrap());
        assert_eq!(plane.media.shard_of(*id), ports.iter().position(|port| *port == first));
        *by_port.entry(first).or_default() += 1;
    }
    for id in &calls {
        let shard = plane.media.shard_of(*id).unwrap();
        for side in [Side::Companion, Side::Client] {
            assert_eq!(port(&plane.open(*id, side).await.unwrap()), ports[shard], "a second leg, and a page that is loaded again");
        }
    }
    assert!(by_port.len() == 3 && by_port.values().all(|calls| (5..=15).contains(calls)), "{by_port:?}");
    calls.iter().for_each(|id| plane.media.stop(*id));
    plane.until_empty();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_thousands_of_calls() {
    let plane = Plane::new(2, 100_000);
    for number in 0..3000 {
        let id = call();
        match number % 3 {
            // It ends; or its only offer is no good; or the end overtakes the offer.
            0 => assert!(plane.open(id, Side::Client).await.is_ok()),
            1 => assert!(plane.offer(id, Side::Client, "v=0\r\n".to_owned()).await.is_err()),
            _ => {
                let opening = plane.open(id, Side::Companion);
                plane.media.stop(id);
                let _ = opening.await;
            }
        }
        plane.media.stop(id);
    }
    plane.until_empty();
    assert_eq!(plane.media.refused_calls(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_plane_refuses_new_calls_but_no_leg_of_its_own() {
    let plane = Plane::new(2, 2);
    let (one, two, three) = (call(), call(), call());
    assert!(plane.open(one, Side::Client).await.is_ok() && plane.open(two, Side::Client).await.is_ok());
    assert_ne!(plane.media.shard_of(one), plane.media.shard_of(two));
    assert_eq!(plane.open(three, Side::Client).await, Err(OfferError::Overloaded));
    for side in [Side::Companion, Side::Client, Side::Companion] {
        assert!(plane.open(one, side).await.is_ok(), "{side:?} of a call that was let in");
    }
    assert_eq!((plane.media.room(), plane.media.refused_calls(), plane.media.shard_of(three)), (0, 1, None));
    plane.media.stop(two);
    wait_for("room", || (plane.media.room() == 1).then_some(()));
    assert!(plane.open(three, Side::Client).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plane_ends_while_calls_are_saying_goodbye() {
    let plane = Plane::new(1, 2000);
    let id = call();
    assert!(plane.open(id, Side::Client).await.is_ok());
    plane.media.stop(id);
    let _ = plane.open(id, Side::Client).await; // It found the call stopped, so the order was carried out.
    // A shard that fails here takes the process with it.
    drop(plane);
}

/// Datagrams of a stranger, as fast as one thread sends them, until dropped.
struct Flood {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    fn new(ports: Vec<u16>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let body = move || {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            while !stopped.load(Ordering::Relaxed) {
                for port in &ports {
                    // A binding request in form, which costs the most; a refusal means that the buffer is full, which is what we want.
                    let mut datagram = [0; 120];
                    datagram[..8].copy_from_slice(&[0, 1, 0, 100, 0x21, 0x12, 0xa4, 0x42]);
                    let _ = socket.send_to(&datagram, ("127.0.0.1", *port));
                }
            }
        };
        Self { stop, thread: Some(std::thread::spawn(body)) }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // It can only have failed if the test has.
        }
    }
}

#[test]
fn those_who_talk_lose_nothing_while_twice_as_many_ask_to_join() {
    const CALLS: usize = 10;
    let plane = Plane::new(1, 2 * CALLS);
    let mut crowd = Crowd::new(plane.media.clone(), Pace { frame: Duration::from_millis(20), video_kbps: 0 }).unwrap();
    for _ in 0..CALLS {
        crowd.join(Instant::now()).unwrap();
    }
    until_on(&mut crowd);
    let before = drops(&plane.media);
    let (media, offer, is_over) = (plane.media.clone(), plane.offer.clone(), Arc::new(AtomicBool::new(false)));
    let is_measured = is_over.clone();
    // All of them at once, and again as soon as they have their answers.
    let rush = std::thread::spawn(move || {
        let mut refused = 0;
        while !is_measured.load(Ordering::Relaxed) {
            let ask = |_| {
                let (media_timeout, quiet_timeout) = (Span::from_s(5), Span::from_s(15));
                let (call, leg, offer) = (call(), LegId::new(Uuid::now_v7()), offer.clone());
                let (side, medium) = (Side::Client, Medium::Audio);
                media.open(OpenLeg { call, side, leg, offer, medium, media_timeout, quiet_timeout, audio_required: false })
            };
            let answers: Vec<_> = (0..2 * CALLS).map(ask).collect();
            for answer in answers {
                assert_eq!(answer.blocking_recv().unwrap(), Err(OfferError::Overloaded));
                refused += 1;
            }
        }
        refused
    });
    let tally = crowd.measure(Duration::from_secs(3), || is_over.store(true, Ordering::Relaxed)).unwrap();
    is_over.store(true, Ordering::Relaxed);
    let refused = rush.join().unwrap();
    assert!(refused >= 2 * CALLS, "{refused} refused");
    is_undisturbed(&tally, &changed(&before, &drops(&plane.media)));
}

/// Lets a crowd talk until all that one says is heard by the other.
fn until_on(crowd: &mut Crowd) {
    assert!(crowd.settle(Duration::from_secs(30)).unwrap() && crowd.missing() == 0);
    // A page is connected with the last packet it sends for it; the call is on when the shard has read that of both.
    let is_on = |_| crowd.measure(Duration::from_millis(100), || ()).unwrap();
    assert!((0..50).map(is_on).any(|tally| tally.sent > 0 && tally.sent == tally.received), "the calls are on");
}

/// Nothing of what was said is lost, and little of it late.
fn is_undisturbed(tally: &Tally, dropped: &dyn Debug) {
    println!("of {} packets {} came, p99 {:.2} ms", tally.sent, tally.received, tally.latency.quantile_ms(0.99));
    assert!(tally.sent > 1_000, "{} sent", tally.sent);
    assert_eq!((tally.sent - tally.received, tally.refused), (0, 0), "lost, and not taken by the kernel; dropped: {dropped:?}");
    // The bound is forty times what is measured; a machine that holds this test itself up is no fault of the shard.
    let (late, held_up) = (tally.latency.quantile_ms(0.99), tally.lateness.quantile_ms(0.99));
    assert!(late <= 20.0 + held_up, "{late} ms late, of which {held_up} ms is the machine's");
}

#[test]
fn a_shard_whose_calls_reach_its_limit_refuses_others_by_load_and_loses_nothing() {
    const CALLS: usize = 20;
    const LIMIT: f64 = 0.05;
    let rates = "[signaling]\njoins_per_minute = 1000\nip_requests_per_second = 10000\ncaller_requests_per_second = 10000";
    let server = Server::with_media(&format!("shards = 1\nmax_load_percent = {}", LIMIT * 100.0), rates);
    let vendor = server.vendor("House");
    vendor.credit("wei", 10_000_000);
    let order = json!({ "plan_id": vendor.plan(600), "client_ref": "wei", "companion_id": vendor.companion(), "client_name": "Wei" });
    let calls: Vec<Booked> = (0..2 * CALLS).map(|_| booked(&vendor.post("/v1/calls", order.clone()).with(201))).collect();
    let (on, waiting) = calls.split_at(CALLS);

    // All who are let in have joined before the first of them talks: then they are more than the shard may carry.
    let mut crowd = Crowd::of_guests(Pace { frame: Duration::from_millis(20), video_kbps: 0 }).unwrap();
    let identity = Identity::generate().unwrap();
    for token in on.iter().flat_map(|call| [&call.client, &call.companion]) {
        let client = Client::new(identity.clone(), false);
        let answer = server.as_party("POST", "/v1/join", token, client.offer());
        assert_eq!(answer.status, 201, "{answer:?}");
        let (sender, answered) = oneshot::channel();
        sender.send(Ok(answer.text)).unwrap();
        crowd.seat(client, answered, Instant::now()).unwrap();
    }
    until_on(&mut crowd);
    // As much as this machine needs of it.
    let is_full = [20, 10, 5, 3, 2].into_iter().any(|frame_ms| {
        crowd.set_frame(Duration::from_millis(frame_ms));
        (0..15).any(|_| {
            crowd.run_for(Duration::from_millis(200)).unwrap();
            metric(&server, "lull_media_busy_ratio{shard=\"0\"}") > LIMIT * 1.1
        })
    });
    assert!(is_full, "what they say is more than the limit");

    // As many again ask to join, and others book, again and again.
    let is_over = AtomicBool::new(false);
    let refused_so_far = || {
        ["lull_media_refused_calls_total{shard=\"all\"}", "lull_calls_refused_total{reason=\"media\"}"].map(|name| metric(&server, name))
    };
    let (before, offer) = (refused_so_far(), fixture(OFFER));
    let (tally, refused) = std::thread::scope(|scope| {
        let rush = scope.spawn(|| {
            let mut refused = [0.0; 2];
            while !is_over.load(Ordering::Relaxed) {
                for call in waiting {
                    let asked = [server.as_party("POST", "/v1/join", &call.client, &offer), vendor.post("/v1/calls", order.clone())];
                    for (count, answer) in refused.iter_mut().zip(asked) {
                        if answer.status != 201 {
                            is_refused(answer);
                            *count += 1.0;
                        }
                    }
                }
            }
            refused
        });
        let tally = crowd.measure(Duration::from_secs(3), || is_over.store(true, Ordering::Relaxed));
        is_over.store(true, Ordering::Relaxed);
        (tally.unwrap(), rush.join().unwrap())
    });
    println!("{refused:?} joins and bookings refused, {} busy", metric(&server, "lull_media_busy_ratio{shard=\"0\"}"));
    let after = refused_so_far();
    assert!(refused[0] >= 1.0 && refused[1] >= 1.0, "{refused:?} joins and bookings refused");
    assert_eq!([after[0] - before[0], after[1] - before[1]], refused, "for want of room on the shards");
    assert!(metric(&server, "lull_media_legs{shard=\"0\"}") < 2000.0, "legs are left, so it was the load");
    let page = server.send("GET", "/metrics", &[], "").text;
    let dropped: Vec<&str> =
        page.lines().filter(|line| line.starts_with("lull_media_dropped_datagrams_total") && !line.ends_with(" 0")).collect();
    is_undisturbed(&tally, &dropped);
}

/// What a plane's shards dropped so far, by cause.
fn drops(media: &Media) -> BTreeMap<&'static str, u64> {
    let mut sum = BTreeMap::new();
    for (cause, count) in media.stats().into_iter().flat_map(|shard| shard.dropped) {
        *sum.entry(cause).or_default() += count;
    }
    sum
}

fn changed(before: &BTreeMap<&'static str, u64>, after: &BTreeMap<&'static str, u64>) -> Vec<(&'static str, u64)> {
    after.iter().map(|(cause, count)| (*cause, count - before[cause])).filter(|(_, more)| *more > 0).collect()
}

#[test]
fn calls_that_were_promised_leave_no_room_for_more() {
    for (media, settings, reason) in [("shards = 1\nmax_legs = 2", "", "media"), ("", "[call]\nmax_open = 1", "max_open")] {
        let server = Server::with_media(media, settings);
        let refused = || metric(&server, &format!("lull_calls_refused_total{{reason=\"{reason}\"}}"));
        let vendor = server.vendor("House");
        vendor.credit("wei", 100_000);
        let order = json!({ "plan_id": vendor.plan(600), "client_ref": "wei", "companion_id": vendor.companion(), "client_name": "Wei" });
        assert_eq!((server.send("GET", "/readyz", &[], "").status, refused()), (200, 0.0));
        assert_eq!(metric(&server, "lull_webhook_deliveries_total{result=\"gave_up\"}"), 0.0, "an alarm sees the first one too");
        // Nobody joins it.
        let call = booked(&vendor.post("/v1/calls", order.clone()).with(201));
        is_refused(vendor.post("/v1/calls", order));
        assert_eq!(refused(), 1.0);
        wait_for("that it is full", || (server.send("GET", "/readyz", &[], "").status == 503).then_some(()));
        vendor.post(&format!("/v1/calls/{}/end", call.id), json!({})).with(200);
        wait_for("that it has room", || (server.send("GET", "/readyz", &[], "").status == 200).then_some(()));
    }
}

fn is_refused(answer: Answer) {
    assert!(!answer.header("retry-after").is_empty(), "{answer:?}");
    answer.problem(503, "overloaded");
}

fn metric(server: &Server, name: &str) -> f64 {
    let page = server.send("GET", "/metrics", &[], "").text;
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {page}")).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overloaded_server_refuses_new_calls_keeps_the_old_and_takes_new_ones_when_it_can() {
    let server = Server::with_media("shards = 2\nmax_load_percent = 5", "");
    let vendor = server.vendor("House");
    vendor.credit("wei", 100_000);
    let order = json!({ "plan_id": vendor.plan(600), "client_ref": "wei", "companion_id": vendor.companion(), "client_name": "Wei" });
    let book = || -> Booked { booked(&vendor.post("/v1/calls", order.clone()).with(201)) };
    let (on, other, waiting, on_page) = (book(), book(), book(), book());

    // Two calls, one on each shard; in one of them people talk.
    let (mut client, mut companion) = (peer().await, peer().await);
    join(&server, &on.client, &client).await;
    join(&server, &on.companion, &companion).await;
    let offer = fixture(OFFER);
    let port_of = |call: &Booked| {
        let answer = server.as_party("POST", "/v1/join", &call.client, &offer);
        assert_eq!(answer.status, 201, "{answer:?}");
        port(&answer.text)
    };
    let ports = vec![port_of(&other), port_of(&on)];
    assert_ne!(ports[0], ports[1]);
    let mut page = Page::welcome(&server.base, &on_page.client).await;

    let flood = Flood::new(ports);
    wait_for("that it is full", || (server.send("GET", "/readyz", &[], "").status == 503).then_some(()));
    is_refused(server.as_party("POST", "/v1/join", &waiting.client, &offer));
    page.say(json!({ "type": "offer", "sdp": offer })).await;
    let refused = page.until("error").await;
    assert_eq!((&refused["code"], &refused["re"]), (&json!("overloaded"), &json!(1)), "{refused}");
    let refused = vendor.post("/v1/calls", order.clone());
    is_refused(refused);
    assert!(metric(&server, "lull_media_refused_calls_total{shard=\"all\"}") >= 2.0);

    // Those who are on may load their page again; a handshake that outlives such a flood is more than these peers can.
    assert_eq!(server.as_party("POST", "/v1/join", &on.client, &offer).status, 201);
    drop(flood);
    client = peer().await;
    join(&server, &on.client, &client).await;

    client.hum(HIGH);
    companion.hum(LOW);
    client.hears_tone(LOW).await;
    companion.hears_tone(HIGH).await;
    wait_for("readiness", || (server.send("GET", "/readyz", &[], "").status == 200).then_some(()));
    wait_for("a join", || (server.as_party("POST", "/v1/join", &waiting.client, &offer).status == 201).then_some(()));
}
