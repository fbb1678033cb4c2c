//! What the media plane takes of memory, counted octet by octet: a binary of its own, because it replaces the allocator.
//!
//! Real planes on loopback with pages of our own client. 1,500 joins and leaves, or as many as `LULL_TEST_JOINS` says:
//! `LULL_TEST_JOINS=10000 cargo test --release --test alloc`.
#![allow(clippy::disallowed_methods, reason = "tests read the clock")]

mod counting;

use counting::{Counting, allocations_by_shards, heap_bytes, heap_bytes_of_shards, watch};
use lull::bench::{Crowd, Pace};
use lull::call::Side;
use lull::clock::Clock;
use lull::media::{Frames, JoinGuard, Media, Play, Purpose, Report, Settings, Taps, start};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The counters belong to the process, so one test counts at a time.
static TURN: Mutex<()> = Mutex::new(());

/// A machine that cannot do what is asked in this time is broken.
const PATIENCE: Duration = Duration::from_secs(120);

fn my_turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

struct Plane {
    media: Media,
    reports: mpsc::Receiver<Report>,
    _guard: JoinGuard,
}

impl Plane {
    fn new() -> Self {
        let (sender, reports) = mpsc::channel(4096);
        let settings = Settings { udp: "127.0.0.1:0".parse().unwrap(), socket_buffer: 4 << 20, ..Settings::default() };
        let (media, guard) = start(settings, Clock::start(), sender).unwrap();
        Self { media, reports, _guard: guard }
    }

    /// A crowd in so many calls, all connected and heard.
    fn crowd(&mut self, calls: usize, pace: Pace) -> Crowd {
        let mut crowd = Crowd::new(self.media.clone(), pace).unwrap();
        for _ in 0..calls {
            crowd.join(Instant::now()).unwrap();
        }
        self.settle(&mut crowd);
        crowd
    }

    fn settle(&mut self, crowd: &mut Crowd) {
        assert!(crowd.settle(PATIENCE).unwrap(), "{} pages did not connect", crowd.missing());
        self.reports_so_far();
    }

    fn reports_so_far(&mut self) -> u64 {
        std::iter::from_fn(|| self.reports.try_recv().ok()).count() as u64
    }

    /// Datagrams that came to the one shard so far, in their order, those included that its socket had no room for.
    fn received(&self) -> u64 {
        let stats = self.media.stats();
        let lost = stats.iter().flat_map(|shard| &shard.dropped).filter(|(cause, _)| *cause == "kernel").map(|(_, count)| count);
        stats.iter().map(|shard| shard.received).sum::<u64>() + lost.sum::<u64>()
    }

    /// Waits until all legs and calls are forgotten.
    fn empty(&mut self) {
        let until = Instant::now() + PATIENCE;
        let mut told = true;
        while told {
            assert!(Instant::now() < until, "{:?}", self.media.stats());
            let stats = self.media.stats();
            told = stats.iter().any(|shard| shard.legs + shard.calls > 0);
            self.reports_so_far();
            std::thread::yield_now();
        }
    }
}

/// Talks until so many packets came through, and none for the handshake's sake: returns packets and allocations of shards. The plane has seen
/// no other crowd.
fn steady(plane: &mut Plane, crowd: &mut Crowd, wanted: u64) -> (u64, u64) {
    // Windows, tables and queues find their size.
    crowd.run_for(Duration::from_millis(1500)).unwrap();
    plane.reports_so_far();
    let (mut packets, mut allocations) = (0, 0);
    let until = Instant::now() + PATIENCE;
    while packets < wanted {
        assert!(Instant::now() < until, "{packets} of {wanted} packets");
        // Answering a request for consent allocates; it is one in 2.5 s for a leg, and none while we measure.
        crowd.be_silent_on_stun(true);
        // All that was sent arrives, however busy the machine is; nobody sends meanwhile.
        while plane.received() < crowd.datagrams() {
            assert!(Instant::now() < until, "{} of {} datagrams", plane.received(), crowd.datagrams());
            std::thread::yield_now();
        }
        plane.reports_so_far();
        let before = allocations_by_shards();
        let tally = watch(|| crowd.measure(Duration::from_secs(2), || ()).unwrap());
        // Reports (quality, every 10 s for a leg) take a block of the queue to the service now and then, which is one of 32.
        let reports = plane.reports_so_far();
        let blocks = if reports == 0 { 0 } else { reports / 32 + 1 };
        allocations += (allocations_by_shards() - before).saturating_sub(blocks);
        packets += tally.received;
        crowd.be_silent_on_stun(false);
        if packets < wanted {
            // Each page asks once, or a slow machine's would give up after some rounds.
            crowd.run_for(Duration::from_secs(3)).unwrap();
        }
    }
    (packets, allocations)
}

#[test]
fn a_forwarded_packet_allocates_nothing() {
    let _turn = my_turn();
    let mut plane = Plane::new();
    // 40 voices at five times the pace of life, and 6 voices and cameras with their feedback and reports.
    let mut voices = plane.crowd(20, Pace { frame: Duration::from_millis(4), video_kbps: 0 });
    let (packets, allocations) = steady(&mut plane, &mut voices, 30_000);
    assert_eq!(allocations, 0, "over {packets} packets of voice and their reports");
    drop((voices, plane));
    let mut plane = Plane::new();
    let mut cameras = plane.crowd(3, Pace { frame: Duration::from_millis(20), video_kbps: 2000 });
    let (packets, allocations) = steady(&mut plane, &mut cameras, 10_000);
    assert_eq!(allocations, 0, "over {packets} packets of voice and camera, their reports and feedback");
}

/// Sends what is held back as it was, until it is told to stop.
fn worker(media: Media, mut taps: Taps, over: Arc<AtomicBool>) -> JoinHandle<u64> {
    let body = move || {
        let mut replaced = 0;
        while !over.load(Ordering::Relaxed) {
            taps.wait(Duration::from_millis(50));
            while let Some(tapped) = taps.take() {
                if tapped.held {
                    replaced += u64::from(media.replace(tapped.call, tapped.leg, tapped.index, &tapped.payload));
                }
            }
        }
        replaced
    };
    Builder::new().name("sound".to_owned()).spawn(body).unwrap()
}

#[test]
fn a_tapped_or_replaced_packet_and_a_sound_allocate_nothing() {
    let _turn = my_turn();
    let mut plane = Plane::new();
    let over = Arc::new(AtomicBool::new(false));
    let taps = plane.media.taps(2).unwrap();
    let workers: Vec<_> = taps.into_iter().map(|taps| worker(plane.media.clone(), taps, over.clone())).collect();
    let mut voices = plane.crowd(10, Pace { frame: Duration::from_millis(10), video_kbps: 0 });
    let sound: Frames = [bytes::Bytes::from_static(&[0x78; 80])].into_iter().collect();
    for call in voices.calls() {
        plane.media.tap(*call, Side::Client, Purpose::Analyse);
        plane.media.tap(*call, Side::Companion, Purpose::Replace);
        plane.media.play(*call, Side::Client, Play::Repeat(sound.clone()));
    }
    let (packets, allocations) = steady(&mut plane, &mut voices, 8_000);
    assert_eq!(allocations, 0, "over {packets} packets of tapped voices");
    over.store(true, Ordering::Relaxed);
    let replaced: u64 = workers.into_iter().map(|worker| worker.join().unwrap()).sum();
    assert!(replaced > 3_000, "{replaced}");
}

#[test]
fn the_counter_sees_what_a_shard_allocates() {
    let _turn = my_turn();
    let mut plane = Plane::new();
    let before = allocations_by_shards();
    let crowd = watch(|| plane.crowd(1, Pace { frame: Duration::from_millis(20), video_kbps: 0 }));
    assert!(allocations_by_shards() - before > 100, "a join allocates");
    drop(crowd);
}

#[test]
fn a_call_takes_little_memory() {
    let _turn = my_turn();
    for (video_kbps, most_kb) in [(0, 100), (500, 130)] {
        let mut plane = Plane::new();
        let pace = Pace { frame: Duration::from_millis(20), video_kbps };
        let (before, calls) = (heap_bytes_of_shards(), 20);
        let mut crowd = watch(|| {
            let mut crowd = plane.crowd(calls, pace);
            crowd.run_for(Duration::from_secs(2)).unwrap();
            crowd
        });
        plane.reports_so_far();
        let each = (heap_bytes_of_shards() - before) / calls as i64;
        println!("a call with data channels and {video_kbps} kbit/s of video: {each} bytes");
        assert!(each > 1_000 && each < most_kb * 1024, "{each} bytes a call with {video_kbps} kbit/s of video");
        crowd.leave();
        plane.empty();
    }
}

#[test]
fn joins_and_leaves_leave_nothing_behind() {
    let _turn = my_turn();
    let joins: usize = std::env::var("LULL_TEST_JOINS").ok().map_or(1500, |text| text.parse().expect("a number"));
    /// Calls at a time, each joined by both pages twice.
    const CALLS: usize = 25;
    let mut plane = Plane::new();
    let pace = Pace { frame: Duration::from_millis(20), video_kbps: 0 };
    let round = |plane: &mut Plane| {
        let mut crowd = plane.crowd(CALLS, pace);
        crowd.run_for(Duration::from_millis(40)).unwrap();
        crowd.reload(Instant::now()).unwrap();
        plane.settle(&mut crowd);
        crowd.leave();
    };
    let half = joins.div_ceil(2 * 4 * CALLS);
    // The first fills what stays: tables and queues of the size they need, and what libraries make once.
    round(&mut plane);
    let mut heap = Vec::new();
    for _ in 0..2 {
        for _ in 0..half {
            round(&mut plane);
        }
        plane.empty();
        heap.push(heap_bytes());
    }
    let growth = heap[1] - heap[0];
    println!("{} joins and leaves: {} bytes, twice as many: {} bytes", half * 4 * CALLS, heap[0], heap[1]);
    assert!(growth.abs() < 64 * 1024, "{growth} bytes more after {} more joins and leaves", half * 4 * CALLS);
}
