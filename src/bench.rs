//! What this machine carries: a media plane of our own and a crowd of pages on loopback, step by step until it is full.
//!
//! With [`run_money`] it measures the store instead, on a throw-away database.
//!
//! It measures the media plane alone, which is nearly all of a call's cost; what HTTP and database take at a join comes on
//! top. It opens no way in from outside and keeps nothing. Invariant: a step that the crowd itself could not keep up with is
//! never shown as a limit of the server.
#![allow(clippy::disallowed_methods, reason = "a stopwatch")]

pub mod crowd;
mod histogram;
mod money;

use crate::clock::Clock;
use crate::media::{self, JoinGuard, Media, StartError};
pub use crowd::{Crowd, CrowdError, Pace, Tally};
pub use histogram::Histogram;
pub use money::{MoneyError, MoneyReport, MoneySettings, run_money};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::time::{ClockId, clock_gettime};
use serde::Serialize;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Between two voice packets of a page.
const FRAME: Duration = Duration::from_millis(20);
/// Joins a second: a busy evening many times over, and little beside the media.
const JOINS_A_SECOND: u32 = 100;
/// Pages talk so long before they are measured.
const WARM_UP: Duration = Duration::from_secs(1);
/// Pages that are not connected so long after the last join never will be.
const JOIN_LIMIT: Duration = Duration::from_secs(20);
/// Added latency (99 of 100 packets) above which a conversation suffers, in milliseconds.
const LATENCY_LIMIT_MS: f64 = 20.0;
/// Sent later than this (99 of 100 packets), the crowd is what is full, in milliseconds.
const LATENESS_LIMIT_MS: f64 = 5.0;
/// Packets in 10,000 that may be missing.
const LOSS_LIMIT_BP: u64 = 10;
/// The share of a core up to which calls are counted on it; the rest is for joins and bursts.
const USABLE: f64 = 0.7;
/// Descriptors besides one for each page.
const SPARE_DESCRIPTORS: u64 = 256;

/// What to measure.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Calls at each step, ascending; the calls of a step stay in the next.
    pub steps: Vec<usize>,
    /// How long each step is measured.
    pub length: Duration,
    /// The cameras' rate in kbit/s, each way; 0 for voice alone.
    pub video_kbps: u32,
    /// Threads that carry media; as many drive the pages.
    pub shards: usize,
}

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The media plane.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The pages.
    #[error(transparent)]
    Crowd(#[from] CrowdError),
    /// A thread could not start or ended too soon.
    #[error("cannot start the crowd: {0}")]
    Thread(String),
    /// Too few descriptors for so many pages.
    #[error("{wanted} sockets are needed and {allowed} allowed; raise `ulimit -n` or measure fewer calls")]
    Descriptors {
        /// For the largest step.
        wanted: u64,
        /// By the hard limit.
        allowed: u64,
    },
}

/// How a step went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// At most one packet in a thousand was lost, and one in a hundred late.
    Held,
    /// More than one packet in a thousand was lost.
    Lost,
    /// More than one packet in a hundred took longer than 20 ms.
    Late,
    /// Pages were refused or never connected.
    Refused,
    /// The crowd could not send in time; the server's limit is not known.
    CrowdFull,
}

/// The figures of one step.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// Calls, of two pages each.
    pub calls: usize,
    /// Seconds measured.
    pub seconds: f64,
    /// Media packets sent by the pages.
    pub sent: u64,
    /// Of those, the ones that did not arrive.
    pub lost: u64,
    /// CPU of the media threads for each packet that arrived, everything included, in microseconds.
    pub cpu_us_per_packet: f64,
    /// Cores the media threads used.
    pub cores: f64,
    /// From page to page, in milliseconds.
    pub latency_p50_ms: f64,
    /// 99 of 100 packets.
    pub latency_p99_ms: f64,
    /// The slowest.
    pub latency_max_ms: f64,
    /// From offer to connected, of the pages that joined in this step, in milliseconds.
    pub set_up_p50_ms: f64,
    /// 99 of 100 joins.
    pub set_up_p99_ms: f64,
    /// How late the crowd sent, 99 of 100 packets, in milliseconds.
    pub crowd_late_p99_ms: f64,
    /// Memory of this process for each call, its two pages included, in bytes.
    pub memory_per_call_with_pages_bytes: u64,
    /// How it went.
    pub verdict: Verdict,
}

/// What came out.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Media threads.
    pub shards: usize,
    /// The cameras' rate.
    pub video_kbps: u32,
    /// By number of calls.
    pub steps: Vec<Step>,
    /// Calls a core carries at 70 % of its time, by the last step that held; none if none did.
    pub calls_per_core: Option<u64>,
}

/// Measures step by step, tells each as it is done, and ends with the first that does not hold.
pub fn run(settings: &Settings, mut tell: impl FnMut(&Step)) -> Result<Report, BenchError> {
    let most = settings.steps.iter().copied().max().unwrap_or(0);
    allow_descriptors(2 * most as u64 + SPARE_DESCRIPTORS)?;
    let (_media, guard, drivers) = begin(settings)?;
    let (mut calls, mut set_up) = (0, Histogram::default());
    let begun = resident();
    let mut steps: Vec<Step> = Vec::new();
    for &wanted in &settings.steps {
        let joined = each(&drivers, |number| Order::Join(share(wanted, number, drivers.len()) - share(calls, number, drivers.len())))?;
        calls = wanted;
        std::mem::take(&mut set_up);
        let mut missing = 0;
        for done in joined {
            if let Done::Joined { set_up: some, missing: not } = done {
                set_up.merge(&some);
                missing += not;
            }
        }
        let (before, started) = (media_cpu(), Instant::now());
        for driver in &drivers {
            driver.order(Order::Measure(settings.length))?;
        }
        for driver in &drivers {
            driver.done()?;
        }
        let (cpu, seconds) = (media_cpu().saturating_sub(before), started.elapsed().as_secs_f64());
        let mut tally = Tally::default();
        for driver in &drivers {
            if let Done::Measured(part) = driver.done()? {
                tally.merge(&part);
            }
        }
        let memory = resident().saturating_sub(begun) / (calls as u64).max(1);
        let step = summarize(calls, seconds, cpu, memory, &tally, &set_up, missing);
        tell(&step);
        let holds = step.verdict == Verdict::Held;
        steps.push(step);
        if !holds {
            break;
        }
    }
    each(&drivers, |_| Order::Leave)?;
    drop(drivers);
    drop(guard);
    let last = steps.iter().rev().find(|step| step.verdict == Verdict::Held);
    let calls_per_core = last.filter(|step| step.cores > 0.0).map(|step| (step.calls as f64 / step.cores * USABLE) as u64);
    Ok(Report { shards: settings.shards, video_kbps: settings.video_kbps, steps, calls_per_core })
}

fn summarize(calls: usize, seconds: f64, cpu: Duration, memory: u64, tally: &Tally, set_up: &Histogram, missing: usize) -> Step {
    let lost = tally.sent.saturating_sub(tally.received);
    let late_ms = tally.lateness.quantile_ms(0.99);
    let latency_ms = tally.latency.quantile_ms(0.99);
    let verdict = if late_ms > LATENESS_LIMIT_MS || tally.refused > 0 {
        Verdict::CrowdFull
    } else if missing > 0 {
        Verdict::Refused
    } else if lost * 10_000 > tally.sent * LOSS_LIMIT_BP {
        Verdict::Lost
    } else if latency_ms > LATENCY_LIMIT_MS {
        Verdict::Late
    } else {
        Verdict::Held
    };
    Step {
        calls,
        seconds,
        sent: tally.sent,
        lost,
        cpu_us_per_packet: cpu.as_secs_f64() * 1e6 / (tally.received as f64).max(1.0),
        cores: cpu.as_secs_f64() / seconds,
        latency_p50_ms: tally.latency.quantile_ms(0.5),
        latency_p99_ms: latency_ms,
        latency_max_ms: tally.latency.longest_ms(),
        set_up_p50_ms: set_up.quantile_ms(0.5),
        set_up_p99_ms: set_up.quantile_ms(0.99),
        crowd_late_p99_ms: late_ms,
        memory_per_call_with_pages_bytes: memory,
        verdict,
    }
}

/// The part of so many calls that falls to one thread.
fn share(calls: usize, number: usize, threads: usize) -> usize {
    calls / threads + usize::from(number < calls % threads)
}

// Threads

enum Order {
    Join(usize),
    Measure(Duration),
    Leave,
}

enum Done {
    Joined {
        set_up: Histogram,
        missing: usize,
    },
    /// The last packet is out; the tally follows.
    Sent,
    Measured(Tally),
    Left,
}

/// A thread with a part of the crowd.
struct Driver {
    orders: SyncSender<Order>,
    done: Receiver<Result<Done, CrowdError>>,
    _thread: Joined,
}

/// Waits for the thread to end, which it does when its orders end.
struct Joined(Option<JoinHandle<()>>);

impl Drop for Joined {
    fn drop(&mut self) {
        // A crowd that panicked has said so on standard error.
        self.0.take().map(JoinHandle::join);
    }
}

impl Driver {
    fn order(&self, order: Order) -> Result<(), BenchError> {
        self.orders.send(order).map_err(|_| BenchError::Thread("it ended too soon".to_owned()))
    }

    fn done(&self) -> Result<Done, BenchError> {
        Ok(self.done.recv().map_err(|_| BenchError::Thread("it ended too soon".to_owned()))??)
    }
}

fn each(drivers: &[Driver], order: impl Fn(usize) -> Order) -> Result<Vec<Done>, BenchError> {
    for (number, driver) in drivers.iter().enumerate() {
        driver.order(order(number))?;
    }
    drivers.iter().map(Driver::done).collect()
}

fn begin(settings: &Settings) -> Result<(Media, JoinGuard, Vec<Driver>), BenchError> {
    let (reports, mut told) = mpsc::channel(4096);
    let plane = media::Settings {
        udp: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        shards: settings.shards,
        // All calls are wanted, also those that overload it.
        max_legs: usize::MAX,
        max_load_percent: u8::MAX,
        ..media::Settings::default()
    };
    let (media, guard) = media::start(plane, Clock::start(), reports)?;
    let failed = |error: std::io::Error| BenchError::Thread(error.to_string());
    // Nobody asks what the plane has to say, but somebody must listen. It ends with the plane.
    let listen = move || while told.blocking_recv().is_some() {};
    std::thread::Builder::new().name("bench-reports".to_owned()).spawn(listen).map_err(failed)?;
    let pace = Pace { frame: FRAME, video_kbps: settings.video_kbps };
    let mut drivers = Vec::new();
    for number in 0..settings.shards.max(1) {
        let (orders, taken) = sync_channel(1);
        let (tell, done) = sync_channel(2);
        let media = media.clone();
        let body = move || drive(media, pace, &taken, &tell);
        let thread = std::thread::Builder::new().name(format!("bench-{number}")).spawn(body).map_err(failed)?;
        drivers.push(Driver { orders, done, _thread: Joined(Some(thread)) });
    }
    Ok((media, guard, drivers))
}

fn drive(media: Media, pace: Pace, orders: &Receiver<Order>, tell: &SyncSender<Result<Done, CrowdError>>) {
    let mut crowd = match Crowd::new(media, pace) {
        Ok(crowd) => crowd,
        Err(error) => return drop(tell.send(Err(error))),
    };
    loop {
        // Between orders the calls go on.
        let order = match orders.try_recv() {
            Ok(order) => order,
            Err(std::sync::mpsc::TryRecvError::Empty) => match crowd.turn() {
                Ok(()) => continue,
                Err(error) => return drop(tell.send(Err(error))),
            },
            Err(std::sync::mpsc::TryRecvError::Disconnected) => return,
        };
        let done = match order {
            Order::Join(calls) => join(&mut crowd, calls),
            Order::Measure(length) => crowd.measure(length, || drop(tell.send(Ok(Done::Sent)))).map(Done::Measured),
            Order::Leave => {
                crowd.leave();
                Ok(Done::Left)
            }
        };
        // Nobody waits for an answer any more: then nobody gives orders either.
        if tell.send(done).is_err() {
            return;
        }
    }
}

/// Joins at an even pace, while those that are there talk.
fn join(crowd: &mut Crowd, calls: usize) -> Result<Done, CrowdError> {
    crowd.forget_set_up();
    for _ in 0..calls {
        crowd.join(Instant::now())?;
        crowd.run_for(Duration::from_secs(2) / JOINS_A_SECOND)?;
    }
    crowd.settle(JOIN_LIMIT)?;
    crowd.run_for(WARM_UP)?;
    Ok(Done::Joined { set_up: crowd.set_up().clone(), missing: crowd.missing() })
}

// The machine

/// CPU time of the threads that carry media, so far.
fn media_cpu() -> Duration {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else { return Duration::ZERO };
    let threads =
        threads.flatten().filter(|thread| std::fs::read_to_string(thread.path().join("comm")).is_ok_and(|name| name.starts_with("media-")));
    let ids = threads.filter_map(|thread| thread.file_name().to_str()?.parse::<i32>().ok());
    // The clock of a thread by its number, as pthread_getcpuclockid(3) builds it: CPUCLOCK_SCHED and CPUCLOCK_PERTHREAD_MASK.
    ids.filter_map(|id| clock_gettime(ClockId::from_raw((!id << 3) | 6)).ok()).map(Duration::from).sum()
}

/// Bytes of this process in memory.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

fn allow_descriptors(wanted: u64) -> Result<(), BenchError> {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return Ok(()) };
    if soft >= wanted {
        return Ok(());
    }
    setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard)
        .ok()
        .filter(|()| hard >= wanted)
        .ok_or(BenchError::Descriptors { wanted, allowed: hard })
}
