//! What it costs to prove ten thousand live calls on disk every five seconds, and what money commands feel of it.
//!
//! `cargo bench --bench heartbeat` (`CALLS=10000 COMMANDS=100 SECONDS=20` are the defaults). Calls live in the real core, heartbeats go as the
//! service sends them (a tenth of the calls each half second), credits come at an even pace. Shows their latency from the hand-over to
//! the answer, and the CPU of the whole process; the disk is that of `TMPDIR`. Run it on a machine that does nothing else.
#![allow(clippy::disallowed_methods, reason = "a load has a pace, and costs are taken from the clock")]

use lull::billing::{Conditions, Kind, Plan};
use lull::call::{Event, Limits, Medium, Policy, Shares, Side, Sounds, Terms};
use lull::clock::{Clock, Moment};
use lull::exchange::{self, Exchange};
use lull::ids::{BootId, CallId, CompanionId, HoldId, LegId, PlanId, TokenId, TransferId, VendorId};
use lull::money::Money;
use lull::store::{Beat, Companion, Outcome, Role, Store, Transaction, Write};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// As the service has it: a look each half second, ten looks a heartbeat.
const LOOK: Duration = Duration::from_millis(500);
const SLOTS: usize = 10;

fn cny(amount: i64) -> Money {
    Money::new(amount, "CNY".parse().expect("a currency"))
}

fn of(writes: Vec<Write>) -> Transaction {
    Transaction { idempotency: None, writes }
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

struct Shop {
    store: Store,
    vendor: VendorId,
    companion: CompanionId,
}

impl Shop {
    fn credit(&self, client: &str, amount: i64, at: Moment) -> Write {
        let transfer = TransferId::new(Uuid::now_v7());
        let client = client.parse().expect("a reference");
        Write::Credit { transfer, vendor: self.vendor, client, amount: cny(amount), order_ref: transfer.to_string(), at }
    }

    fn call(&self, exchange: &mut Exchange, at: Moment) {
        let (id, hold) = (CallId::new(Uuid::now_v7()), HoldId::new(Uuid::now_v7()));
        let terms = Terms {
            vendor: self.vendor,
            plan: PlanId::new(Uuid::now_v7()),
            plan_name: "the night".to_owned(),
            sold: Plan::new(cny(1).currency, Kind::Block { block_s: 36_000, price: 1 }, Conditions::default()).expect("a plan"),
            hold: cny(1),
            grade_paid: None,
            grade_delivered: None,
            client: "wei".parse().expect("a reference"),
            client_name: None,
            companion: self.companion,
            companion_name: "Lin".to_owned(),
            medium: Medium::Audio,
            policy: Policy::default(),
            shares: Shares { companion_bps: 7000, vendor_bps: 3000 },
            client_token: TokenId::new(Uuid::now_v7()),
            companion_token: TokenId::new(Uuid::now_v7()),
            limits: Limits::default(),
            zones: None,
            night: None,
            sounds: Sounds::default(),
            recording: None,
        };
        let (call, created) = exchange::book(id, terms, hold, at).expect("terms");
        let (vendor, client) = (self.vendor, "wei".parse().expect("a reference"));
        let writes =
            vec![Write::Facts { call: id, entries: vec![created] }, Write::Hold { hold, call: id, vendor, client, amount: cny(1), at }];
        self.store.submit(of(writes), |outcome| assert_eq!(outcome, Ok(Outcome::Committed)));
        exchange.insert(call);
        for side in [Side::Client, Side::Companion] {
            let leg = LegId::new(Uuid::now_v7());
            exchange.handle(id, Event::Connected { side, leg, at }, at, &mut Vec::new());
        }
        for from in [Side::Client, Side::Companion] {
            exchange.handle(id, Event::AudioReached { from, at }, at, &mut Vec::new());
        }
    }
}

fn cpu() -> Duration {
    let used = getrusage(UsageWho::RUSAGE_SELF).expect("asked rightly");
    let us = (used.user_time() + used.system_time()).num_microseconds();
    Duration::from_micros(us.unsigned_abs())
}

fn main() {
    let (calls, commands, seconds) = (setting("CALLS", 10_000), setting("COMMANDS", 100), setting("SECONDS", 20));
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Clock::start();
    let store = Store::open(&folder.path().join("lull.db"), Role::Server).expect("a database");
    let shop = Shop { store, vendor: VendorId::new(Uuid::now_v7()), companion: CompanionId::new(Uuid::now_v7()) };
    let (at, boot) = (clock.now(), BootId::new(Uuid::now_v7()));
    let companion = Companion { id: shop.companion, vendor: shop.vendor, name: "Lin".to_owned(), grade: None, created_at: at };
    let vendor = Write::AddVendor { id: shop.vendor, name: "House".to_owned(), key_hash: [1; 32], at };
    let begin = vec![vendor, Write::AddCompanion(companion), shop.credit("wei", 1_000_000_000, at), Write::Boot { boot, at, wall: at }];
    shop.store.commit(of(begin)).expect("a beginning");
    let mut exchange = Exchange::new();
    for _ in 0..calls {
        shop.call(&mut exchange, at);
    }
    shop.store.commit(of(vec![])).expect("all calls");

    let (tell, told) = channel();
    let (began, cpu_before) = (Instant::now(), cpu());
    let pace = Duration::from_secs(1) / u32::try_from(commands.max(1)).expect("a pace");
    let (mut next_look, mut next_command, mut slot, mut sent) = (began, began, 0, 0);
    while began.elapsed() < Duration::from_secs(seconds as u64) {
        let now = Instant::now();
        if now >= next_look {
            next_look += LOOK;
            let at = clock.now();
            let turn = exchange.calls().enumerate().filter(|(place, _)| place % SLOTS == slot);
            let beats: Vec<Beat> = turn
                .filter_map(|(_, call)| {
                    let proof = call.proof(|_, _| Some(at), at)?;
                    Some(Beat { call: call.id(), until: proof.until, delivered: proof.delivered })
                })
                .collect();
            assert!(beats.len() >= calls / SLOTS, "calls are not live");
            slot = (slot + 1) % SLOTS;
            let write = Write::Heartbeats { boot, at, clocks: Clock::read(), beats };
            shop.store.submit(of(vec![write]), |outcome| assert_eq!(outcome, Ok(Outcome::Committed)));
        }
        if now >= next_command {
            next_command += pace;
            sent += 1;
            let tell = tell.clone();
            let credit = shop.credit("many", 1, clock.now());
            shop.store.submit(of(vec![credit]), move |outcome| {
                assert_eq!(outcome, Ok(Outcome::Committed));
                tell.send(now.elapsed()).expect("somebody listens");
            });
        }
        std::thread::sleep(next_look.min(next_command).saturating_duration_since(Instant::now()));
    }
    shop.store.commit(of(vec![])).expect("the end");
    let used = cpu() - cpu_before;
    let mut latencies: Vec<Duration> = told.try_iter().collect();
    assert_eq!(latencies.len(), sent);
    latencies.sort_unstable();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
    println!(
        "{calls} calls, {sent} commands in {seconds} s: p50 {:.1} ms, p99 {:.1} ms, worst {:.1} ms; CPU {:.1} % of a core",
        at(0.5).as_secs_f64() * 1e3,
        at(0.99).as_secs_f64() * 1e3,
        at(1.0).as_secs_f64() * 1e3,
        used.as_secs_f64() / began.elapsed().as_secs_f64() * 100.0,
    );
}
