//! A live call under hostile traffic: it goes on, nothing of it is lost, memory stays flat, and each datagram is counted by what
//! was wrong with it.
//!
//! The attack comes from strangers, from the pages' own addresses (whoever writes on the path can do that), and from a page that
//! has its keys and no manners. It is paced by the queue of the server's socket, so that the kernel drops nothing and every count
//! must fit; at the end comes an unpaced one, of which only the outcome is shown. `HOSTILE_DATAGRAMS=1000000 cargo test --release
//! --test hostile -- --nocapture` sends so many of each kind (5,000 otherwise) and prints what each costs the shard's thread beside a
//! packet that is forwarded; its figures mean something on a quiet machine only.
//!
//! Everywhere a datagram must cost less than a good packet does in the same moment: rounds of both take turns, CPU time of the
//! thread is compared, and the best round counts. [`is_judged`] says of which kinds.
#![allow(clippy::disallowed_methods, reason = "it lives beside a server that runs by the clock")]

mod association;
mod page;

use association::{Association, BEGINS, ENDS, UNORDERED, chunk};
use lull::call::{Medium, Side};
use lull::clock::{Clock, Span};
use lull::ids::{CallId, LegId};
use lull::media::{JoinGuard, Media, OpenLeg, Report, Settings, start};
use page::{Offer, Page, request};
use rtc_dtls::config::ConfigBuilder;
use rtc_dtls::endpoint::Endpoint;
use rtc_shared::TransportProtocol;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use uuid::Uuid;

/// Everything a test waits for is there within this time, or the test fails.
const PATIENCE: Duration = Duration::from_secs(30);
/// Octets that may wait in the server's socket while the attack goes on: an eighth of what it holds.
const QUEUE: u64 = 128 * 1024;
/// Datagrams between two looks at the queue.
const BURST: usize = 16;
/// Of each kind so many rounds, with a round of good packets before each.
const ROUNDS: usize = 5;
/// Good packets in a round at the most.
const MOST_GOOD: usize = 2_000;
/// Good packets on their way at a time. The shard takes many at once when it is late, which then are in no queue; a page's holds more than these.
const UNDER_WAY: u64 = 64;
/// After the queue is empty the thread may have the last datagrams in hand.
const A_MOMENT: Duration = Duration::from_millis(2);
/// Kinds whose cost is in code that a test build does not optimise (signatures of requests, records, RTCP of pages that have their keys),
/// or whose datagrams it makes so slowly that what is allowed in a second is a good part of them: only `--release` says what they cost.
const OPTIMISED_ONLY: [&str; 16] = [
    "requests with a wrong signature, stranger",
    "requests with a wrong signature, live address",
    "the longest requests, wrong signature",
    "a STUN flood from 100,000 addresses",
    "copies of its nominations, stranger",
    "copies of its nominations from 100,000 addresses",
    "signed requests from 100,000 addresses",
    "signed requests with the role flipped",
    "signed requests, live address",
    "forged records",
    "authentic records of nonsense",
    "authentic stream resets",
    "authentic heartbeats by the hundred",
    "authentic streams by the thousand",
    "authentic messages that never end",
    "absurd RTCP, authentic",
];

/// Whether a kind must cost less than a good packet.
fn is_judged(kind: &str) -> bool {
    !kind.starts_with("good packets") && (!cfg!(debug_assertions) || !OPTIMISED_ONLY.contains(&kind))
}

/// Memory that may come and go with buffers; 5,000 datagrams kept would be more.
const SLACK_KB: u64 = 6 * 1024;

fn look_until(what: &str, mut look: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !look() {
        assert!(Instant::now() < until, "never came: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

struct Xorshift(u64);

impl Xorshift {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn octets(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}

/// The media plane, and what the kernel tells of it.
struct Plane {
    media: Media,
    _guard: JoinGuard,
    _reports: mpsc::Receiver<Report>,
    call: CallId,
    port: u16,
    thread: String,
}

impl Plane {
    fn new() -> Self {
        let (sender, reports) = mpsc::channel(1024);
        let settings = Settings { udp: SocketAddr::from(([127, 0, 0, 1], 0)), ..Settings::default() };
        let (media, guard) = start(settings, Clock::start(), sender).unwrap();
        let port = media.addresses()[0].port();
        let threads = std::fs::read_dir("/proc/self/task").unwrap().map(|entry| entry.unwrap().path());
        let is_shard = |path: &std::path::PathBuf| std::fs::read_to_string(path.join("comm")).unwrap_or_default().trim() == "media-0";
        let mut thread = None;
        let threads: Vec<_> = threads.collect();
        look_until("the shard's thread", || {
            thread = threads.iter().find(|path| is_shard(path)).map(|path| path.join("schedstat").display().to_string());
            thread.is_some()
        });
        Self { media, _guard: guard, _reports: reports, call: CallId::new(Uuid::now_v7()), port, thread: thread.unwrap() }
    }

    fn join(&self, side: Side) -> (std::sync::Arc<Page>, page::Talk) {
        let offer = Offer::new();
        let open = OpenLeg {
            call: self.call,
            side,
            leg: LegId::new(Uuid::now_v7()),
            offer: offer.text.clone(),
            medium: Medium::Audio,
            media_timeout: Span::from_s(5),
            quiet_timeout: Span::from_s(15),
            audio_required: false,
        };
        let answer = self.media.open(open).blocking_recv().unwrap().unwrap();
        Page::join(offer, &answer)
    }

    /// CPU time of the shard's thread so far.
    fn cpu(&self) -> Duration {
        let text = std::fs::read_to_string(&self.thread).unwrap();
        Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
    }

    fn drops(&self) -> BTreeMap<&'static str, u64> {
        self.media.stats()[0].dropped.iter().copied().collect()
    }

    fn total(&self) -> u64 {
        self.drops().values().sum()
    }
}

/// Octets that wait in the sockets of these ports, and datagrams their queues had no room for.
fn queue(ports: &[u16]) -> (u64, u64) {
    let table = std::fs::read_to_string("/proc/net/udp").unwrap();
    let (mut waiting, mut dropped) = (0, 0);
    for line in table.lines().skip(1) {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let of_port = |port: &u16| fields[1].ends_with(&format!(":{port:04X}"));
        if ports.iter().any(of_port) {
            waiting += u64::from_str_radix(fields[4].split(':').nth(1).unwrap(), 16).unwrap();
            dropped += fields[12].parse::<u64>().unwrap();
        }
    }
    (waiting, dropped)
}

fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}

/// What a good packet says.
const VOICE: [u8; 73] = [9; 73];

/// What must become of a kind's datagrams.
enum Fate {
    /// Each is dropped for one of these causes.
    Dropped(&'static [&'static str]),
    /// So many at once and so many a second may be taken; the others are dropped for this cause.
    Limited(&'static [&'static str], f64, f64),
    /// Each is dropped for one of these causes or comes out at the other page.
    Forwarded(&'static [&'static str]),
}

/// Datagrams to be sent, in a burst: what it takes to make them must not thin out what comes.
type Outbox<'a> = RefCell<Vec<(Source<'a>, Vec<u8>)>>;

/// Where a datagram comes from.
enum Source<'a> {
    Known(&'a UdpSocket),
    Own(UdpSocket),
}

struct Scene<'a> {
    plane: Plane,
    pages: [std::sync::Arc<Page>; 2],
    outbox: &'a Outbox<'a>,
    /// The other page's.
    speaker: &'a UdpSocket,
    to: SocketAddr,
    ports: Vec<u16>,
    count: usize,
    /// CPU of an idle call in a second.
    idle: f64,
    /// Judged kinds that cost more than a good packet.
    costly: Vec<String>,
}

impl Scene<'_> {
    /// Waits until both pages heard ten packets more, none of them missed.
    fn goes_on(&self, kind: &str) {
        let heard = |page: &Page| page.heard.load(Ordering::Relaxed);
        let before = self.pages.each_ref().map(|page| heard(page));
        look_until(&format!("the talk after {kind}"), || self.pages.iter().zip(before).all(|(page, before)| heard(page) >= before + 10));
        let missed = self.pages.each_ref().map(|page| page.missed.load(Ordering::Relaxed));
        assert_eq!(missed, [0, 0], "packets of the talk were lost during {kind}");
        let stats = &self.plane.media.stats()[0];
        assert_eq!((stats.legs, stats.calls), (2, 1), "{kind}");
    }

    /// What each of so many datagrams, which this puts into the outbox, costs the shard's thread, in µs, the talk apart. They are paced by
    /// the server's queue, and by what else must be so once so many are sent.
    fn cost(&self, count: usize, mut put: impl FnMut(usize), may_go_on: impl Fn(u64) -> bool) -> f64 {
        let (cpu, began) = (self.plane.cpu(), Instant::now());
        let mut sent = 0;
        while sent < count {
            let burst = BURST.min(count - sent);
            (sent..sent + burst).for_each(&mut put);
            for (source, datagram) in self.outbox.take() {
                let socket = match &source {
                    Source::Known(socket) => socket,
                    Source::Own(socket) => socket,
                };
                assert_eq!(socket.send_to(&datagram, self.to).unwrap(), datagram.len());
            }
            sent += burst;
            look_until("room in the server's queue", || queue(&self.ports).0 < QUEUE && may_go_on(sent as u64));
        }
        look_until("an empty queue", || queue(&self.ports).0 == 0);
        let empty = Instant::now();
        look_until("a moment", || empty.elapsed() >= A_MOMENT);
        let spent = (self.plane.cpu() - cpu).as_secs_f64() - self.idle * began.elapsed().as_secs_f64();
        spent.max(0.0) * 1e6 / count as f64
    }

    /// What a good packet costs now: of the other page, so that nothing of the attack's counts is touched.
    fn good(&self, count: usize) -> f64 {
        let page = &self.pages[1];
        let came_out = || self.pages[0].strange.load(Ordering::Relaxed);
        let before = came_out();
        let put = |_| self.outbox.borrow_mut().push((Source::Known(self.speaker), page.rtp(page.ssrc, &VOICE)));
        self.cost(count.min(MOST_GOOD), put, |sent| came_out() - before + UNDER_WAY >= sent)
    }

    /// Sends the datagrams and looks at what became of them.
    fn flood(&mut self, kind: &str, fate: Fate, mut send: impl FnMut(usize, &mut Xorshift)) {
        let mut random = Xorshift(0x9e37_79b9_7f4a_7c15);
        let (dropped_before, strange_before) = (self.plane.drops(), self.pages[1].strange.load(Ordering::Relaxed));
        let total_before = self.plane.total();
        let (resident, lost) = (resident_kb(), queue(&self.ports).1);
        let began = Instant::now();
        let (mut each, mut least) = (0.0, f64::INFINITY);
        for round in 0..ROUNDS {
            let (first, end) = (self.count * round / ROUNDS, self.count * (round + 1) / ROUNDS);
            let good = self.good(end - first);
            let cost = self.cost(end - first, |number| send(first + number, &mut random), |_| true);
            each += cost / ROUNDS as f64;
            least = f64::min(least, cost / good);
        }
        let elapsed = began.elapsed().as_secs_f64();
        assert_eq!(queue(&self.ports).1, lost, "the kernel had room for everything: {kind}");
        let count = self.count as u64;
        let came_out = || self.pages[1].strange.load(Ordering::Relaxed) - strange_before;
        let (causes, dropped_at_least): (&[&str], u64) = match &fate {
            Fate::Dropped(causes) => (causes, count),
            Fate::Limited(causes, burst, rate) => (causes, count.saturating_sub((burst + rate * (elapsed + 1.0)) as u64)),
            Fate::Forwarded(causes) => (causes, 0),
        };
        look_until(&format!("the counts of {kind}, so far {:?}", self.plane.drops()), || {
            let dropped = self.plane.total() - total_before;
            if matches!(fate, Fate::Forwarded(_)) { dropped + came_out() >= count } else { dropped >= dropped_at_least }
        });
        // The counts are shown ten times a second; by now they are there, and what comes later is too much.
        self.goes_on(kind);
        let after = self.plane.drops();
        let grown: BTreeMap<&str, u64> =
            after.iter().map(|(cause, now)| (*cause, now - dropped_before[cause])).filter(|(_, grown)| *grown > 0).collect();
        let dropped: u64 = grown.values().sum();
        assert!(grown.keys().all(|cause| causes.contains(cause)), "{kind}: {grown:?}");
        match fate {
            Fate::Dropped(_) => assert_eq!(dropped, count, "{kind}: {grown:?}"),
            Fate::Limited(..) => assert!(dropped >= dropped_at_least && dropped <= count, "{kind}: {grown:?}"),
            Fate::Forwarded(_) => assert_eq!(dropped + came_out(), count, "{kind}: {grown:?}"),
        }
        let memory = resident_kb().saturating_sub(resident);
        assert!(memory < SLACK_KB, "{memory} kB stayed after {kind}");
        println!("| {kind} | {each:.2} | {least:.2} | {memory} | {grown:?} |");
        if least >= 1.0 && is_judged(kind) {
            self.costly.push(format!("{kind}: {least:.2}"));
        }
    }
}

/// A page's datagrams, damaged: cut, or with a bit flipped where it matters.
fn damaged(samples: &[Vec<u8>], random: &mut Xorshift) -> Vec<u8> {
    let mut datagram = samples[random.below(samples.len())].clone();
    if random.below(2) == 0 {
        datagram.truncate(random.below(datagram.len()));
    } else {
        // The fingerprint at the end of a request is not signed.
        let end = if datagram[0] < 4 { datagram.len() - 8 } else { datagram.len() };
        datagram[random.below(end)] ^= 1 << random.below(8);
    }
    datagram
}

/// A ClientHello that begins a handshake.
fn client_hello() -> Vec<u8> {
    let provider = rtc_crypto::default_provider().unwrap();
    let config = ConfigBuilder::default().with_crypto_provider(provider).with_insecure_skip_verify(true).build(true, None).unwrap();
    let there = SocketAddr::from(([127, 0, 0, 1], 2));
    let mut endpoint = Endpoint::new(there, TransportProtocol::UDP, None);
    endpoint.connect(Instant::now(), there, std::sync::Arc::new(config), None).unwrap();
    endpoint.poll_transmit().unwrap().message.to_vec()
}

/// One of 100,000 addresses, as a socket: 127.0.0.0/8 is all ours.
fn somebody(number: usize) -> UdpSocket {
    let [_, a, b, c] = (0x7F01_0000_u32 + (number % 100_000) as u32).to_be_bytes();
    UdpSocket::bind((Ipv4Addr::new(127, a, b, c), 0)).unwrap()
}

/// RTCP that lies about what it holds.
fn absurd_compound(random: &mut Xorshift, ssrc: u32) -> Vec<u8> {
    let mut compound = Vec::new();
    for _ in 0..=random.below(4) {
        let length = 4 * random.below(100);
        let claimed = match random.below(3) {
            0 => random.next() as u16,
            1 => u16::MAX,
            _ => (length / 4) as u16 + 1,
        };
        compound.extend([0x80 | random.next() as u8 & 0x3F, 198 + random.below(12) as u8]);
        compound.extend(claimed.to_be_bytes());
        compound.extend(ssrc.to_be_bytes());
        compound.extend(random.octets(length));
    }
    compound
}

/// An encrypted record as far as its header goes.
fn record(kind: u8, epoch: u8, body: &[u8]) -> Vec<u8> {
    let mut record = vec![kind, 0xFE, 0xFD, 0, epoch, 0, 0, 0, 0, 0, 99];
    record.extend((body.len() as u16).to_be_bytes());
    record.extend(body);
    record
}

#[test]
fn a_call_goes_on_under_hostile_traffic_of_every_kind() {
    let plane = Plane::new();
    let (live, _live_talk) = plane.join(Side::Client);
    let (other, _other_talk) = plane.join(Side::Companion);
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = live.server;
    let ports = vec![plane.port, other.socket.local_addr().unwrap().port(), live.socket.local_addr().unwrap().port()];
    let count = std::env::var("HOSTILE_DATAGRAMS").ok().and_then(|count| count.parse().ok()).unwrap_or(5_000);
    let outbox = Outbox::default();
    let mut scene = Scene {
        plane,
        pages: [live.clone(), other.clone()],
        outbox: &outbox,
        speaker: &other.socket,
        to,
        ports,
        count,
        idle: 0.0,
        costly: Vec::new(),
    };
    look_until("talk", || scene.pages.iter().all(|page| page.heard.load(Ordering::Relaxed) > 20));
    // Each page may have talked before the other could hear it.
    for page in &scene.pages {
        page.missed.store(0, Ordering::Relaxed);
    }
    let (cpu, began) = (scene.plane.cpu(), Instant::now());
    look_until("an idle second", || began.elapsed() > Duration::from_secs(1));
    scene.idle = (scene.plane.cpu() - cpu).as_secs_f64() / began.elapsed().as_secs_f64();
    println!("| kind | µs each | of a good packet, at best | kB more | dropped |\n|---|---|---|---|---|");

    let from_stranger = |datagram: &[u8]| outbox.borrow_mut().push((Source::Known(&stranger), datagram.to_vec()));
    let from_live = |datagram: &[u8]| outbox.borrow_mut().push((Source::Known(&live.socket), datagram.to_vec()));
    let from_somebody = |number: usize, datagram: &[u8]| outbox.borrow_mut().push((Source::Own(somebody(number)), datagram.to_vec()));
    let ssrc = live.ssrc;
    let voice = VOICE;
    scene.flood("good packets, forwarded", Fate::Forwarded(&[]), |_, _| from_live(&live.rtp(ssrc, &voice)));

    let anything = &["unknown", "stranger", "bad_stun", "bad_dtls", "malformed", "unknown_ssrc", "forged", "replayed", "crowded"];
    scene.flood("random octets, stranger", Fate::Dropped(&["unknown", "stranger", "bad_stun"]), |_, random| {
        let length = random.below(2001);
        from_stranger(&random.octets(length));
    });
    scene.flood("random octets, live address", Fate::Dropped(anything), |_, random| {
        let length = random.below(2001);
        from_live(&random.octets(length));
    });
    let real: Vec<Vec<u8>> = [0, 22, 128].into_iter().flat_map(|first| live.recorded(first)).collect();
    scene.flood("damaged copies, stranger", Fate::Dropped(&["unknown", "stranger", "bad_stun"]), |_, random| {
        from_stranger(&damaged(&real, random));
    });
    scene.flood("damaged copies, live address", Fate::Dropped(anything), |_, random| from_live(&damaged(&real, random)));

    let forged = live.request("another password of 24 ch", &[0x0025]);
    scene.flood("requests with a wrong signature, stranger", Fate::Dropped(&["bad_stun"]), |_, _| from_stranger(&forged));
    scene.flood("requests with a wrong signature, live address", Fate::Dropped(&["bad_stun"]), |_, _| from_live(&forged));
    let nobody = request("AAAABBBB", "another password of 24 ch", &[0x0025]);
    scene.flood("requests for unknown names", Fate::Dropped(&["stranger"]), |_, _| from_stranger(&nobody));
    let mut large = live.request(&live.password, &[]);
    large[22..24].copy_from_slice(&[0xFF, 0xFF]);
    scene.flood("requests with attributes of 64 KB", Fate::Dropped(&["bad_stun", "too_long"]), |number, random| {
        let length = if number % 16 == 0 { random.below(60_000) } else { random.below(1500) };
        large.resize(44 + length, 0);
        if number % 2 == 0 {
            let claimed = (large.len() as u16 - 20) & !3;
            large[2..4].copy_from_slice(&claimed.to_be_bytes());
        }
        from_stranger(&large);
    });
    let longest = {
        // The longest request whose signature is checked at all.
        let mut request = live.request("another password of 24 ch", &[]);
        let more = 400 - request.len();
        let mut value = vec![0x80, 0x22];
        value.extend((more as u16 - 4).to_be_bytes());
        value.resize(more, b'x');
        request.splice(20..20, value);
        request[2..4].copy_from_slice(&380_u16.to_be_bytes());
        request
    };
    scene.flood("the longest requests, wrong signature", Fate::Dropped(&["bad_stun"]), |_, _| from_stranger(&longest));
    scene.flood("a STUN flood from 100,000 addresses", Fate::Dropped(&["bad_stun"]), |number, _| {
        from_somebody(number, &forged);
    });
    // What src/media/calls/transport.rs allows: by a budget for new ones, and another for those that were asked before.
    let answers = |budgets: f64| Fate::Limited(&["too_many"], budgets * 100.0, budgets * 50.0);
    // Records wait in line, a leg's own in a short one.
    let texts = || Fate::Limited(&["too_many", "crowded"], 400.0, 200.0);
    // Its nominations as somebody recorded them, before other requests of its own push them out of mind.
    let mut nominations = live.recorded(0);
    nominations.drain(..nominations.len().saturating_sub(16));
    scene.flood("copies of its nominations, stranger", answers(1.0), |number, _| from_stranger(&nominations[number % nominations.len()]));
    scene.flood("copies of its nominations from 100,000 addresses", answers(1.0), |number, _| {
        from_somebody(number, &nominations[number % nominations.len()]);
    });
    let signed: Vec<Vec<u8>> = (0..100).map(|_| live.request(&live.password, &[])).collect();
    scene.flood("signed requests from 100,000 addresses", answers(2.0), |number, _| {
        from_somebody(number, &signed[number % 100]);
    });
    let flipped = live.request(&live.password, &[0x8029]);
    scene.flood("signed requests with the role flipped", answers(1.0), |_, _| from_stranger(&flipped));
    scene.flood("signed requests, live address", answers(2.0), |number, _| from_live(&signed[number % 100]));

    let hello = client_hello();
    scene.flood("ClientHellos, stranger", Fate::Dropped(&["stranger"]), |_, _| from_stranger(&hello));
    scene.flood("ClientHellos, live address", Fate::Dropped(&["bad_dtls"]), |_, _| from_live(&hello));
    let plain = [record(21, 0, &[2, 40]), record(21, 0, &[1, 0]), record(20, 0, &[1]), record(23, 2, &[7; 60]), record(22, 1, &[7; 40])];
    scene
        .flood("plain alerts and records out of place", Fate::Dropped(&["bad_dtls", "crowded"]), |number, _| from_live(&plain[number % 5]));
    scene.flood("forged records", Fate::Dropped(&["bad_dtls", "crowded"]), |number, random| {
        let body = random.octets(60 + number % 1000);
        from_live(&record(if number % 2 == 0 { 23 } else { 21 }, 1, &body));
    });
    let flight: Vec<Vec<u8>> = live.recorded(22);
    scene.flood("its own flights again", Fate::Dropped(&["bad_dtls"]), |number, _| from_live(&flight[number % flight.len()]));
    scene.flood("authentic records of nonsense", texts(), |number, random| {
        from_live(&live.record(&random.octets(1 + number % 1000)));
    });
    let association = Association::open(&live);
    let in_association = |chunks: Vec<Vec<u8>>| from_live(&live.record(&association.packet(&chunks.concat())));
    scene.flood("authentic stream resets", texts(), |number, _| match number % 100 {
        // Each number that arrives has the library look at all of them again.
        99 => in_association((0..60).map(|ahead| association.data(ahead, BEGINS | ENDS, 1, ahead as u16)).collect()),
        // At a moment that never comes, many at once; or as they are granted.
        odd if odd % 2 == 1 => in_association(vec![association.reset(number as u32, 0)]),
        _ => in_association((0..40).map(|place| association.reset((number * 40 + place) as u32, 1 << 30)).collect()),
    });
    let beat = chunk(4, 0, &[0, 1, 0, 8, 1, 2, 3, 4]);
    scene.flood("authentic heartbeats by the hundred", texts(), |_, _| in_association(vec![beat.clone(); 100]));
    scene.flood("authentic streams by the thousand", texts(), |number, _| {
        let chunks = (0..60).map(|place| number * 60 + place);
        in_association(chunks.map(|place| association.data(100 + place as u32 % 4000, BEGINS, place as u16, 0)).collect());
    });
    // The last in the association: the server gives it up.
    scene.flood("authentic messages that never end", texts(), |number, _| {
        let chunks = (0..60).map(|place| (number * 60 + place) as u32);
        in_association(chunks.map(|ahead| association.data(ahead, UNORDERED, 2, 0)).collect());
    });

    let sealed = live.recorded(128);
    scene.flood("SRTP, stranger", Fate::Dropped(&["stranger"]), |number, _| from_stranger(&sealed[number % sealed.len()]));
    // After 32,768 packets more an old number looks like one to come.
    scene.flood("SRTP replayed", Fate::Dropped(&["replayed", "forged"]), |number, _| from_live(&sealed[number % sealed.len()]));
    scene.flood("SRTP of undeclared streams", Fate::Dropped(&["unknown_ssrc"]), |number, _| {
        from_live(&live.rtp(ssrc.wrapping_add(1 + number as u32 % 1000), &voice));
    });
    let mut ahead = live.rtp(ssrc, &voice);
    // Not even under its own number is it good.
    *ahead.last_mut().unwrap() ^= 1;
    scene.flood("SRTP forged", Fate::Dropped(&["forged", "replayed"]), |number, _| {
        ahead[2..4].copy_from_slice(&(number as u16).to_be_bytes());
        from_live(&ahead);
    });
    let mut held = Vec::new();
    scene.flood("SRTP reordered by 1,000", Fate::Forwarded(&["replayed"]), |number, _| {
        // The later half of a block goes first.
        match number % 1000 {
            place @ 0..500 => {
                if place == 0 {
                    held = (0..1000.min(count - number)).map(|_| live.rtp(ssrc, &voice)).collect();
                    let half = held.len() / 2;
                    held.rotate_left(half);
                }
                from_live(&held[place]);
            }
            place => from_live(&held[place]),
        }
    });

    let control = &["malformed", "unknown_ssrc", "forged", "replayed", "nothing_left"];
    scene.flood("absurd RTCP, forged", Fate::Dropped(control), |_, random| {
        let mut compound = absurd_compound(random, ssrc);
        compound.extend([0x80, 0, 0, 1]);
        let tag = random.octets(16);
        compound.extend(tag);
        from_live(&compound);
    });
    scene.flood("absurd RTCP, authentic", Fate::Forwarded(control), |_, random| {
        from_live(&live.rtcp(&absurd_compound(random, ssrc)));
    });
    let mut goodbye = vec![0x81, 203, 0, 1];
    goodbye.extend(ssrc.to_be_bytes());
    scene.flood("BYE, forged", Fate::Dropped(&["forged", "malformed", "replayed"]), |number, random| {
        let index = (0x8000_0000 | (1_000_000 + number as u32)).to_be_bytes();
        let tag = random.octets(16);
        from_live(&[&goodbye[..], &tag, &index].concat());
    });
    scene.flood("BYE, authentic", Fate::Dropped(&["nothing_left"]), |_, _| from_live(&live.rtcp(&goodbye)));
    scene.flood("good packets again", Fate::Forwarded(&[]), |_, _| from_live(&live.rtp(ssrc, &voice)));

    unpaced(&scene, &stranger, to);
    assert!(scene.costly.is_empty(), "more than a good packet: {:?}", scene.costly);
}

/// A flood as fast as one thread can: what it costs the call is the kernel's choice of whom to drop, so it is only shown. The
/// call must go on after it.
fn unpaced(scene: &Scene<'_>, stranger: &UdpSocket, to: SocketAddr) {
    let heard = || scene.pages.iter().map(|page| page.heard.load(Ordering::Relaxed)).sum::<u64>();
    let missed = || scene.pages.iter().map(|page| page.missed.load(Ordering::Relaxed)).sum::<u64>();
    let (lost, began, heard_before) = (queue(&scene.ports).1, Instant::now(), heard());
    for _ in 0..scene.count * 4 {
        stranger.send_to(&[128; 100], to).unwrap();
    }
    let elapsed = began.elapsed();
    look_until("talk after the unpaced flood", || heard() >= heard_before + 40);
    println!(
        "unpaced: {:.0} datagrams a second for {} ms, the kernel dropped {} of {}, the call missed {} packets of {}",
        scene.count as f64 * 4.0 / elapsed.as_secs_f64(),
        elapsed.as_millis(),
        queue(&scene.ports).1 - lost,
        scene.count * 4,
        missed(),
        heard() - heard_before + missed(),
    );
}
