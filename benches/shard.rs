//! What a datagram costs a shard, all but the kernel: whose it is, what it is, what becomes of it, with one call and with
//! 200 and 800 in turn, where tables and keys no longer stay in the nearest cache: `cargo bench --bench shard`. What a tap costs is the
//! difference between `audio` and `audio, copied`.
#![allow(clippy::disallowed_methods, reason = "a stopwatch")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use lull::call::{Medium, Side};
use lull::clock::{Clock, Span};
use lull::ids::{CallId, LegId};
use lull::media::client::{Client, Identity, Track};
use lull::media::stages::{Addresses, BUFFER, Plane};
use lull::media::{OpenLeg, Purpose, Taps};
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Datagrams the shard takes at once.
const BATCH: u64 = 64;

/// A datagram in a buffer of the shard, and whence it came.
struct Datagram {
    buffer: Box<[u8; BUFFER]>,
    len: usize,
    from: SocketAddr,
}

impl Datagram {
    fn new(bytes: &[u8], from: SocketAddr) -> Self {
        let mut buffer = Box::new([0; BUFFER]);
        buffer[..bytes.len()].copy_from_slice(bytes);
        Self { buffer, len: bytes.len(), from }
    }
}

/// Calls with both pages on a shard.
struct House {
    plane: Plane,
    taps: Vec<Taps>,
    pages: Vec<(SocketAddr, Client)>,
    now: Instant,
    turn: usize,
    stamp: u32,
}

impl House {
    fn new(calls: usize, video: bool) -> Self {
        let now = Instant::now();
        let identity = Identity::generate().expect("ring");
        let mut plane = Plane::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 7700)), Clock::start()).expect("a shard");
        let taps = plane.taps(1).expect("a worker");
        let mut house = Self { plane, taps, pages: Vec::new(), now, turn: 0, stamp: 0 };
        for number in 0..calls {
            let call = CallId::new(Uuid::from_u128(number as u128 + 1));
            for side in [Side::Client, Side::Companion] {
                house.join(call, side, identity.clone(), video);
            }
        }
        house
    }

    fn join(&mut self, call: CallId, side: Side, identity: Arc<Identity>, video: bool) {
        let number = self.pages.len() as u16;
        let from = SocketAddr::from(([127, 0, 1, (number >> 12) as u8], 20_000 + (number & 0xFFF)));
        let mut client = Client::new(identity, video);
        let open = OpenLeg {
            call,
            side,
            leg: LegId::new(Uuid::from_u128(u128::from(number) + 1)),
            offer: client.offer().to_owned(),
            medium: if video { Medium::Video } else { Medium::Audio },
            media_timeout: Span::from_s(5),
            quiet_timeout: Span::from_s(15),
            audio_required: false,
        };
        let answer = self.plane.open(&open, self.now).expect("room");
        client.accept(&answer, self.now).expect("a good answer");
        self.pages.push((from, client));
        self.settle();
    }

    /// Carries what is not media until nothing moves.
    fn settle(&mut self) {
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, 7700));
        let Some((from, client)) = self.pages.last_mut() else { return };
        while let Some(transmit) = client.poll_transmit() {
            let mut datagram = Datagram::new(&transmit.payload, *from);
            self.plane.datagram(&mut datagram.buffer, datagram.len, *from, self.now);
            for (page, mut reply) in self.plane.replies() {
                assert_eq!(page, *from);
                client.handle_datagram(&mut reply, to, self.now);
            }
            while client.poll_event().is_some() {}
        }
    }

    /// The next page's next packet.
    fn media(&mut self, track: Track) -> Datagram {
        self.turn = (self.turn + 1) % self.pages.len();
        self.stamp = self.stamp.wrapping_add(960);
        let (from, client) = &mut self.pages[self.turn];
        let payload: &[u8] = if track == Track::Voice { &[0x55; 100] } else { &[0x55; 1100] };
        client.send(track, self.stamp, true, payload, self.now);
        let transmit = client.poll_transmit().expect("connected");
        Datagram::new(&transmit.payload, *from)
    }

    /// What the next page sends by itself, of the wanted kind; its requests for consent are answered on the way.
    fn later(&mut self, wanted: impl Fn(&[u8]) -> bool) -> Datagram {
        loop {
            self.turn += 1;
            if self.turn >= self.pages.len() {
                self.turn = 0;
                self.now += Duration::from_millis(500);
            }
            let (from, client) = &mut self.pages[self.turn];
            client.handle_timeout(self.now);
            let mut found = None;
            while let Some(transmit) = client.poll_transmit() {
                if is_stun(&transmit.payload) {
                    let mut request = Datagram::new(&transmit.payload, *from);
                    self.plane.datagram(&mut request.buffer, request.len, *from, self.now);
                    for (_, mut reply) in self.plane.replies() {
                        client.handle_datagram(&mut reply, transmit.to, self.now);
                    }
                }
                if wanted(&transmit.payload) {
                    found = Some(transmit.payload);
                }
            }
            if let Some(found) = found {
                return Datagram::new(&found, *from);
            }
        }
    }

    /// A request for consent of each page. They may be repeated, as on a line that doubles packets.
    fn requests(&mut self) -> Vec<(Vec<u8>, SocketAddr)> {
        let pages = self.pages.len();
        let all = (0..pages).map(|_| self.later(is_stun));
        all.map(|datagram| (datagram.buffer[..datagram.len].to_vec(), datagram.from)).collect()
    }

    /// The next page's next packet, after the worker has taken all before it.
    fn heard(&mut self) -> Datagram {
        while self.taps[0].take().is_some() {}
        self.media(Track::Voice)
    }

    /// Taps both sides of all calls.
    fn tap(&mut self, purpose: Option<Purpose>) {
        for number in 0..self.pages.len() / 2 {
            for side in [Side::Client, Side::Companion] {
                self.plane.tap(CallId::new(Uuid::from_u128(number as u128 + 1)), side, purpose);
            }
        }
    }

    fn take(&mut self, datagram: &mut Datagram) -> Option<usize> {
        self.plane.datagram(&mut datagram.buffer, datagram.len, datagram.from, self.now)
    }
}

/// What takes the place of held packets.
fn replaced(criterion: &mut Criterion, house: &mut House) {
    let mut group = criterion.benchmark_group("shard");
    group.throughput(Throughput::Elements(1));
    group.bench_function(BenchmarkId::new("audio, replaced", house.pages.len() / 2), |bencher| {
        bencher.iter_custom(|iterations| {
            let (mut spent, mut buffer) = (Duration::ZERO, [0; BUFFER]);
            for _ in 0..iterations {
                let mut packet = house.heard();
                assert!(house.take(&mut packet).is_none());
                let tapped = house.taps[0].take().expect("it was copied");
                let started = Instant::now();
                let sent = house.plane.replace((tapped.call, tapped.leg, tapped.index), &tapped.payload, &mut buffer, house.now);
                spent += started.elapsed();
                assert!(black_box(sent).is_some());
            }
            spent
        });
    });
    group.finish();
}

/// Measures a shard on datagrams that are made outside of the measured time, a batch at a time.
fn measure(
    criterion: &mut Criterion,
    name: &str,
    house: &mut House,
    mut make: impl FnMut(&mut House) -> Datagram,
    check: impl Fn(Option<usize>, usize),
) {
    let calls = house.pages.len() / 2;
    let mut group = criterion.benchmark_group("shard");
    group.throughput(Throughput::Elements(1));
    group.bench_function(BenchmarkId::new(name, calls), |bencher| {
        bencher.iter_custom(|iterations| {
            let mut spent = Duration::ZERO;
            let mut left = iterations;
            while left > 0 {
                let count = left.min(BATCH);
                let mut batch: Vec<Datagram> = (0..count).map(|_| make(house)).collect();
                let started = Instant::now();
                let sent = batch.iter_mut().map(|datagram| black_box(house.take(datagram))).filter(Option::is_some).count();
                spent += started.elapsed();
                let replies = house.plane.replies().count();
                check(Some(sent).filter(|sent| *sent as u64 == count), replies);
                left -= count;
            }
            spent
        });
    });
    group.finish();
}

fn is_stun(datagram: &[u8]) -> bool {
    datagram[0] < 4
}

fn passed(all: Option<usize>, _: usize) {
    assert!(all.is_some(), "all are sent on");
}

fn answered(_: Option<usize>, replies: usize) {
    assert!(replies > 0, "each is answered");
}

fn silent(all: Option<usize>, replies: usize) {
    assert!(all.is_none() && replies == 0, "nobody is answered");
}

fn good(criterion: &mut Criterion) {
    for calls in [1, 200, 800] {
        let mut house = House::new(calls, false);
        measure(criterion, "audio", &mut house, |house| house.media(Track::Voice), passed);
        house.tap(Some(Purpose::Analyse));
        measure(criterion, "audio, copied", &mut house, House::heard, passed);
        house.tap(Some(Purpose::Replace));
        // Only its first half: what a worker sends in its place comes back as another packet.
        measure(criterion, "audio, held", &mut house, House::heard, |all, _| assert!(all.is_none()));
        replaced(criterion, &mut house);
        house.tap(None);
        let requests = house.requests();
        let mut all = requests.iter().cycle();
        let mut next = || all.next().map(|(bytes, from)| Datagram::new(bytes, *from)).expect("a page");
        measure(criterion, "stun", &mut house, |_| next(), answered);
        measure(criterion, "rtcp", &mut house, |house| house.later(|datagram| datagram[0] >= 128), passed);
    }
    let mut house = House::new(20, true);
    measure(criterion, "video", &mut house, |house| house.media(Track::Camera), passed);
}

fn hostile(criterion: &mut Criterion) {
    let mut house = House::new(200, false);
    let stranger = SocketAddr::from(([127, 9, 9, 9], 9));
    let at = |datagram: Datagram, from| Datagram { from, ..datagram };
    measure(criterion, "media of a stranger", &mut house, |house| at(house.media(Track::Voice), stranger), silent);
    let spoilt = |mut datagram: Datagram, place: usize| {
        let place = if place == 0 { datagram.len - 1 } else { place };
        datagram.buffer[place] ^= 0x55;
        datagram
    };
    measure(criterion, "wrong tag", &mut house, |house| spoilt(house.media(Track::Voice), 0), silent);
    measure(criterion, "unknown ssrc", &mut house, |house| spoilt(house.media(Track::Voice), 8), silent);
    measure(criterion, "no protocol", &mut house, |house| spoilt(house.media(Track::Voice), 0).of_kind(100), silent);
    measure(criterion, "dtls of a stranger", &mut house, |house| at(house.media(Track::Voice), stranger).of_kind(22), silent);
    let stun = house.later(is_stun);
    let bytes = stun.buffer[..stun.len].to_vec();
    // USERNAME comes first: 20 octets of header, 4 of its own.
    for (name, place) in [("stun, unknown name", 25), ("stun, wrong integrity", stun.len - 20)] {
        measure(criterion, name, &mut house, |_| spoilt(Datagram::new(&bytes, stranger), place), silent);
    }
}

impl Datagram {
    /// The same with another first octet (RFC 7983).
    fn of_kind(mut self, first: u8) -> Self {
        self.buffer[0] = first;
        self
    }
}

fn lookup(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("step");
    for count in [2_u16, 400, 1600] {
        let mut table = Addresses::default();
        let address = |number: u16| SocketAddr::from(([127, 0, 0, 1], 20_000 + number));
        for number in 0..count {
            table.note(address(number), usize::from(number));
        }
        let mut number = 0;
        group.bench_function(BenchmarkId::new("find address", count), |bencher| {
            bencher.iter(|| {
                number = (number + 7) % count;
                black_box(table.knows(black_box(address(number))))
            });
        });
    }
    group.finish();
}

fn brief() -> Criterion {
    Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2)).sample_size(50)
}

criterion_group! { name = benches; config = brief(); targets = lookup, good, hostile }
criterion_main!(benches);
