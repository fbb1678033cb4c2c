//! What the store carries: live calls that prove life every few seconds, and money commands beside them, on the real disk.
//!
//! It measures the store alone, from handing a transaction over until it is known to be on disk; HTTP and the loop come on top. Its
//! database is a throw-away one. Invariant: what could not be sent in time is said (`kept_up`), so a slow disk never looks fast.

use super::Histogram;
use crate::billing::{Conditions, Kind, Plan};
use crate::call::{Entry, Fact, Limits, Medium, Policy, Shares, Sounds, Terms};
use crate::clock::{Clock, Moment, Span};
use crate::ids::{BootId, CallId, CompanionId, HoldId, PlanId, TokenId, TransferId, VendorId};
use crate::money::{Currency, Money};
use crate::store::{Actor, Beat, Companion, Idempotency, OpenError, Outcome, Role, Store, StoreError, Transaction, WalletRefund, Write};
use nix::time::{ClockId, clock_gettime};
use serde::Serialize;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::sleep;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// How often work is handed over: short beside what a commit takes.
const TICK: Duration = Duration::from_millis(20);
/// Credits that make the clients solvent, in minor units.
const WEALTH: i64 = 1_000_000_000;
/// Clients that share the commands.
const CLIENTS: usize = 100;
/// Sizes of the disk's own test.
const PROBES: usize = 200;
const PAGE: usize = 4096;

/// What to measure.
#[derive(Clone, Debug)]
pub struct MoneySettings {
    /// Live calls.
    pub calls: usize,
    /// How often each proves life.
    pub beat: Duration,
    /// Money commands a second.
    pub commands_per_second: u32,
    /// How long.
    pub length: Duration,
    /// Where the throw-away database lies: on the disk in question.
    pub folder: PathBuf,
}

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
pub enum MoneyError {
    /// The throw-away database.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It failed under the load.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The folder.
    #[error("cannot write in {}: {error}", .folder.display())]
    Folder { folder: PathBuf, error: io::Error },
    /// A command was refused: the bench itself is wrong.
    #[error("a command was answered with {0:?}")]
    Refused(Outcome),
}

/// The figures.
#[derive(Clone, Debug, Serialize)]
pub struct MoneyReport {
    /// Live calls.
    pub calls: usize,
    /// Seconds measured.
    pub seconds: f64,
    /// Money commands that were answered.
    pub commands: u64,
    /// From handing over to on disk, in milliseconds.
    pub command_p50_ms: f64,
    /// 99 of 100 commands.
    pub command_p99_ms: f64,
    /// The slowest.
    pub command_max_ms: f64,
    /// Proofs of life that are on disk.
    pub beats: u64,
    /// Of those that were due.
    pub kept_up: f64,
    /// CPU of the whole process, in cores.
    pub cores: f64,
    /// What the disk itself takes to keep 4 KiB, just before, in milliseconds.
    pub disk_p50_ms: f64,
    /// 99 of 100 times.
    pub disk_p99_ms: f64,
}

/// Measures the store under a steady load. Takes as long as asked for, and a few seconds more.
pub fn run_money(settings: &MoneySettings) -> Result<MoneyReport, MoneyError> {
    let folder = settings.folder.join(format!("lull-bench-{}", Uuid::now_v7().simple()));
    let failed = |error| MoneyError::Folder { folder: folder.clone(), error };
    fs::create_dir_all(&folder).map_err(failed)?;
    let measured = probe_disk(&folder).map_err(failed).and_then(|disk| measure(settings, &folder, &disk));
    // Only what this run made lies in it; what cannot be removed is said by the system's own cleaning.
    let _ = fs::remove_dir_all(&folder);
    measured
}

/// How long the disk itself takes.
fn probe_disk(folder: &Path) -> io::Result<Histogram> {
    let mut file = File::create(folder.join("probe"))?;
    let mut took = Histogram::default();
    for _ in 0..PROBES {
        let began = Instant::now();
        file.write_all(&[7; PAGE])?;
        file.sync_data()?;
        took.note(began.elapsed());
    }
    Ok(took)
}

/// A vendor whose calls are all live.
struct House {
    store: Store,
    vendor: VendorId,
    companion: CompanionId,
    boot: BootId,
    calls: Vec<CallId>,
    commands: u64,
}

/// What was handed over: commands tell how long they took, beats how many they were.
enum Done {
    Command(Duration, Result<Outcome, StoreError>),
    Beats(u64, Result<Outcome, StoreError>),
}

fn measure(settings: &MoneySettings, folder: &Path, disk: &Histogram) -> Result<MoneyReport, MoneyError> {
    let mut house = House::open(folder, settings.calls)?;
    let (tell, told) = channel();
    let beats_due = settings.calls as f64 / settings.beat.as_secs_f64();
    let (began, cpu) = (Instant::now(), cpu_time());
    let (mut beats, mut commands, mut next) = (0_u64, 0_u64, 0);
    let mut sums = Sums::default();
    while began.elapsed() < settings.length {
        let passed = began.elapsed().as_secs_f64();
        let due = (passed * beats_due) as u64 - beats;
        if due > 0 && !house.calls.is_empty() {
            house.beat(&mut next, due, &tell);
            beats += due;
        }
        while commands < (passed * f64::from(settings.commands_per_second)) as u64 {
            house.command(&tell);
            commands += 1;
        }
        sums.take(&told)?;
        sleep(TICK);
    }
    let seconds = began.elapsed().as_secs_f64();
    let in_time = sums.beats;
    drop(tell);
    house.store.close();
    sums.take_rest(&told)?;
    let cores = (cpu_time() - cpu).as_secs_f64() / seconds;
    Ok(MoneyReport {
        calls: settings.calls,
        seconds,
        commands: sums.took.count(),
        command_p50_ms: sums.took.quantile_ms(0.5),
        command_p99_ms: sums.took.quantile_ms(0.99),
        command_max_ms: sums.took.longest_ms(),
        beats: sums.beats,
        kept_up: if beats == 0 { 1.0 } else { in_time as f64 / beats as f64 },
        cores,
        disk_p50_ms: disk.quantile_ms(0.5),
        disk_p99_ms: disk.quantile_ms(0.99),
    })
}

#[derive(Default)]
struct Sums {
    took: Histogram,
    beats: u64,
}

impl Sums {
    fn take(&mut self, told: &Receiver<Done>) -> Result<(), MoneyError> {
        told.try_iter().try_for_each(|done| self.note(done))
    }

    fn take_rest(&mut self, told: &Receiver<Done>) -> Result<(), MoneyError> {
        told.iter().try_for_each(|done| self.note(done))
    }

    fn note(&mut self, done: Done) -> Result<(), MoneyError> {
        let outcome = match done {
            Done::Command(took, outcome) => {
                self.took.note(took);
                outcome?
            }
            Done::Beats(beats, outcome) => {
                self.beats += beats;
                outcome?
            }
        };
        if outcome == Outcome::Committed { Ok(()) } else { Err(MoneyError::Refused(outcome)) }
    }
}

impl House {
    fn open(folder: &Path, calls: usize) -> Result<Self, MoneyError> {
        let store = Store::open(&folder.join("lull.db"), Role::Server)?;
        let (vendor, companion) = (VendorId::new(Uuid::now_v7()), CompanionId::new(Uuid::now_v7()));
        let boot = BootId::new(Uuid::now_v7());
        let mut writes = vec![
            Write::Boot { boot, at: now(), wall: now() },
            Write::AddVendor { id: vendor, name: "Bench".to_owned(), key_hash: [1; 32], at: now() },
            Write::AddCompanion(Companion { id: companion, vendor, name: "Lin".to_owned(), grade: None, created_at: now() }),
        ];
        writes.extend((0..CLIENTS).map(|client| credit(vendor, client, WEALTH)));
        store.commit(Transaction { idempotency: None, writes })?;
        let mut house = Self { store, vendor, companion, boot, calls: Vec::new(), commands: 0 };
        let (tell, told) = channel();
        for number in 0..calls {
            let (id, writes) = house.start(number % CLIENTS);
            house.calls.push(id);
            let tell = tell.clone();
            // The receiver waits below.
            house.store.submit(Transaction { idempotency: None, writes }, move |outcome| drop(tell.send(Done::Beats(0, outcome))));
        }
        drop(tell);
        Sums::default().take_rest(&told)?;
        Ok(house)
    }

    /// A new call: its hold and its first fact.
    fn start(&self, client: usize) -> (CallId, Vec<Write>) {
        let (id, hold) = (CallId::new(Uuid::now_v7()), HoldId::new(Uuid::now_v7()));
        let terms = Box::new(terms(self.vendor, self.companion, client));
        let (amount, client) = (terms.hold, terms.client.clone());
        let entry = Entry { seq: 1, at: now(), fact: Fact::Created { terms, hold } };
        let writes = vec![
            Write::Facts { call: id, entries: vec![entry] },
            Write::Hold { hold, call: id, vendor: self.vendor, client, amount, at: now() },
        ];
        (id, writes)
    }

    /// Proofs of life of the next calls, in one transaction.
    fn beat(&self, next: &mut usize, due: u64, tell: &Sender<Done>) {
        let (clocks, until) = (Clock::read(), now());
        // After a hold-up one proof of each call is enough.
        let many = due.min(self.calls.len() as u64);
        let calls = (0..many).map(|_| {
            *next += 1;
            self.calls[*next % self.calls.len()]
        });
        let beats = calls.map(|call| Beat { call, until, delivered: Span::ZERO }).collect();
        let writes = vec![Write::Heartbeats { boot: self.boot, at: until, clocks, beats }];
        let tell = tell.clone();
        // Whoever measured may have given up after a failure.
        self.store.submit(Transaction { idempotency: None, writes }, move |outcome| drop(tell.send(Done::Beats(due, outcome))));
    }

    /// Half credits, a quarter new calls, a quarter refunds, each with its key and its reply.
    fn command(&mut self, tell: &Sender<Done>) {
        self.commands += 1;
        let client = self.commands as usize % CLIENTS;
        let writes = match self.commands % 4 {
            0 | 1 => vec![credit(self.vendor, client, 2000)],
            2 => self.start(client).1,
            _ => vec![refund(self.vendor, client)],
        };
        let key = format!("key-{}", self.commands);
        let idempotency =
            Idempotency { vendor: self.vendor, key, request_hash: [2; 32], status: 201, body: "{\"state\":\"done\"}".repeat(20) };
        let (tell, began) = (tell.clone(), Instant::now());
        self.store.submit(Transaction { idempotency: Some(idempotency), writes }, move |outcome| {
            drop(tell.send(Done::Command(began.elapsed(), outcome)));
        });
    }
}

fn now() -> Moment {
    Clock::read().wall
}

fn yuan(fen: i64) -> Money {
    let currency: Currency = "CNY".parse().expect("yuan are a currency of ISO 4217");
    Money::new(fen, currency)
}

fn client(number: usize) -> crate::ids::ClientRef {
    format!("client-{number}").parse().expect("letters, a dash and digits")
}

fn credit(vendor: VendorId, number: usize, fen: i64) -> Write {
    let transfer = TransferId::new(Uuid::now_v7());
    Write::Credit { transfer, vendor, client: client(number), amount: yuan(fen), order_ref: format!("order-{transfer}"), at: now() }
}

fn refund(vendor: VendorId, number: usize) -> Write {
    let transfer = TransferId::new(Uuid::now_v7());
    let order_ref = format!("refund-{transfer}");
    Write::RefundWallet(Box::new(WalletRefund {
        transfer,
        vendor,
        client: client(number),
        amount: yuan(1),
        order_ref,
        note: None,
        actor: Actor::ApiKey,
        at: now(),
    }))
}

fn terms(vendor: VendorId, companion: CompanionId, number: usize) -> Terms {
    let kind = Kind::Block { block_s: 900, price: 2000 };
    let plan = Plan::new(yuan(0).currency, kind, Conditions::default()).expect("a block of a quarter of an hour at a price");
    Terms {
        vendor,
        plan: PlanId::new(Uuid::from_u128(1)),
        plan_name: "a quarter of an hour".to_owned(),
        sold: plan,
        hold: yuan(2000),
        grade_paid: None,
        grade_delivered: None,
        client: client(number),
        client_name: None,
        companion,
        companion_name: "Lin".to_owned(),
        medium: Medium::Audio,
        policy: Policy::default(),
        shares: Shares { companion_bps: 7000, vendor_bps: 3000 },
        client_token: TokenId::new(Uuid::now_v7()),
        companion_token: TokenId::new(Uuid::now_v7()),
        zones: None,
        night: None,
        sounds: Sounds::default(),
        recording: None,
        limits: Limits {
            media_timeout: Span::from_s(5),
            quiet_timeout: Span::from_s(15),
            pause_limit: Span::from_s(60),
            connect_limit: Span::from_s(60),
            no_show_limit: Span::from_s(600),
            listen_only_after: Span::from_s(5),
            max_duration: Span::from_s(43_200),
            gift_limit: Span::from_s(3600),
            warnings: vec![Span::from_s(300), Span::from_s(60), Span::from_s(10)],
        },
    }
}

/// CPU time of this process so far.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_load_is_carried_and_nothing_stays_behind() {
        let folder = tempfile::tempdir().unwrap();
        let settings = MoneySettings {
            calls: 20,
            beat: Duration::from_millis(200),
            commands_per_second: 40,
            length: Duration::from_millis(400),
            folder: folder.path().to_owned(),
        };
        let report = run_money(&settings).unwrap();
        assert!(report.commands > 0 && report.beats > 0 && report.cores > 0.0, "{report:?}");
        assert!(report.command_p50_ms <= report.command_p99_ms && report.command_p99_ms <= report.command_max_ms, "{report:?}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
