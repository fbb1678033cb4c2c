//! A disk that fails at the n-th write, for every n: a life of forty commands goes on as if nothing had been, and at no instant is
//! anything lost that was acknowledged, or half there that was not.
//!
//! `TORTURE_WRITES=20000 cargo test --release --lib failing -- --nocapture` goes beyond the 500 of the test command, as far as a life has
//! writes, takes every fault at each, and lets several fail in a row.
#![allow(clippy::disallowed_methods, reason = "a disk that is full is tried again after a while")]

use super::super::{Beat, Role, Store};
use super::trap::{self, Trap};
use super::*;
use crate::call::Asker;
use crate::clock::Clock;
use crate::ids::BootId;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The first n operations fail, one in each life.
const WRITES: u64 = 500;

/// Rounds of the script, of which each has about ten commands.
const ROUNDS: i64 = 5;

/// Lives at once. While the disk is full money commands are refused for a second, so most of them wait.
const LIVES: usize = 16;

/// Longer than a disk ever fails here.
const PATIENCE: Duration = Duration::from_secs(60);

const CLIENTS: [&str; 3] = ["a", "b", "c"];

/// What is on disk, as far as anybody can ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    /// Posted and held.
    wallets: [(i64, i64); 3],
    /// Facts of each call that is not settled.
    open: BTreeMap<CallId, usize>,
    settled: usize,
    /// Keys that have a reply.
    replies: Vec<usize>,
    proofs: BTreeMap<CallId, Moment>,
}

/// What happens next, and what must come of it.
struct Step {
    /// Without one the server ends and starts again.
    transaction: Option<Transaction>,
    outcome: Outcome,
    after: Seen,
}

/// A vendor's life.
struct Script {
    vendor: VendorId,
    steps: Vec<Step>,
    /// Writes, cuts and syncs of it, and the syncs among them.
    operations: u64,
    syncs: u64,
}

/// The commands of a life, without what comes of them; none is a restart.
fn commands(shop: &Shop) -> Vec<Option<Transaction>> {
    let vendor = Write::AddVendor { id: shop.vendor, name: "Shop".to_owned(), key_hash: [1; 32], at: at(0) };
    let companion = Companion { id: shop.companion, vendor: shop.vendor, name: "Lin".to_owned(), grade: None, created_at: at(0) };
    let boot = BootId::new(shop.uuid());
    let mut commands =
        vec![Some(of(vec![vendor, Write::AddCompanion(companion)])), Some(of(vec![Write::Boot { boot, at: at(0), wall: at(0) }]))];
    let mut open: Vec<Started> = Vec::new();
    for (round, client) in (0..ROUNDS).zip(CLIENTS.into_iter().cycle()) {
        commands.extend(CLIENTS.map(|client| Some(of(vec![shop.credit(client, 5000)]))));
        let (mut started, transaction) = shop.start(client, 1000 + round);
        commands.push(Some(transaction));
        // More than she has.
        commands.push(Some(shop.start(client, 1_000_000).1));
        let (hold, write) = shop.hold(started.call, client, 70);
        let extended = started.entry(1, Fact::Extended { by: Asker::Client, hold, amount: Some(cny(70)), order_ref: None });
        commands.push(Some(of(vec![write, Write::Facts { call: started.call, entries: vec![extended] }])));
        (started.seq, started.holds) = (started.seq + 1, [started.holds, vec![(hold, 70)]].concat());
        let facts = vec![started.entry(1, Fact::Resumed), started.entry(2, Fact::Warned { left: Span::from_s(60) })];
        commands.push(Some(of(vec![Write::Facts { call: started.call, entries: facts }])));
        started.seq += 2;
        open.push(started);
        let beat = |started: &Started| Beat { call: started.call, until: at(round + 1), delivered: Span::from_ms(9) };
        let beats = open.iter().map(beat).collect();
        commands.push(Some(of(vec![Write::Heartbeats { boot, at: at(10 + round), clocks: Clock::read(), beats }])));
        if round > 0 {
            let over = open.remove(0);
            let captures: Vec<i64> = over.holds.iter().map(|(_, amount)| amount / 3).collect();
            commands.push(Some(shop.settle(&over, &captures)));
        }
        if round % 2 == 1 {
            commands.push(None);
        }
    }
    commands
}

impl Script {
    /// Writes it down by playing it once on a disk that works.
    fn new() -> Self {
        let shop = Shop::new();
        let mut script = Self { vendor: shop.vendor, steps: Vec::new(), operations: 0, syncs: 0 };
        for (number, command) in commands(&shop).into_iter().enumerate() {
            let (vendor, key) = (shop.vendor, number.to_string());
            let idempotency = Some(Idempotency { vendor, key, request_hash: [7; 32], status: 201, body: "{}".to_owned() });
            let transaction = command.map(|command| Transaction { idempotency, ..command });
            script.steps.push(Step { transaction, outcome: Outcome::Committed, after: Seen::default() });
        }
        let dir = tempfile::tempdir().unwrap();
        let set = trap::Set::new(dir.path(), trap::Fault::Full, 0, 0);
        let mut store = open(dir.path()).unwrap();
        for place in 0..script.steps.len() {
            match script.steps[place].transaction.clone() {
                Some(transaction) => script.steps[place].outcome = store.commit(transaction).unwrap(),
                None => {
                    drop(store);
                    store = open(dir.path()).unwrap();
                }
            }
            script.steps[place].after = script.see(&store);
        }
        drop(store);
        script.operations = set.trap().operations;
        drop(set);
        script.syncs = life(&script, tempfile::tempdir().unwrap(), trap::Fault::Sync, 0, 0).operations;
        script
    }

    fn see(&self, store: &Store) -> Seen {
        let wallet = |name: &str| match store.balances(self.vendor, &client(name)).unwrap()[..] {
            [] => (0, 0),
            [balance] => (balance.posted.amount, balance.held),
            ref more => panic!("{} wallets", more.len()),
        };
        Seen {
            wallets: CLIENTS.map(wallet),
            open: store.unfinished_calls().unwrap().into_iter().map(|journal| (journal.call, journal.entries.len())).collect(),
            settled: store.calls(self.vendor, Page { after: None, limit: 1000 }, Some(true)).unwrap().len(),
            replies: (0..self.steps.len()).filter(|key| store.reply(self.vendor, &key.to_string()).unwrap().is_some()).collect(),
            proofs: store.proofs().unwrap(),
        }
    }

    /// What is there after so many steps.
    fn after(&self, steps: usize) -> Seen {
        steps.checked_sub(1).map_or_else(Seen::default, |last| self.steps[last].after.clone())
    }
}

fn open(folder: &Path) -> Result<Store, OpenError> {
    Store::open(&folder.join("lull.db"), Role::Server)
}

/// Opens it as often as it takes.
fn open_again(folder: &Path) -> Store {
    let until = Instant::now() + PATIENCE;
    loop {
        match open(folder) {
            Ok(store) => return store,
            Err(error) => {
                let text = error.to_string();
                assert!(matches!(error, OpenError::Database(_)) && !text.contains('\n'), "{text}");
                assert!(Instant::now() < until, "it never opens again: {text}");
            }
        }
    }
}

/// Lives through the script on a disk that fails. At each instant there is what was acknowledged, and of the rest all or nothing.
fn life(script: &Script, dir: TempDir, fault: trap::Fault, at: u64, length: u64) -> Trap {
    let set = trap::Set::new(dir.path(), fault, at, length);
    let mut store = open_again(dir.path());
    let place = |step: usize| format!("{fault:?} at operation {at} ({length} of them), step {step}");
    let check = |store: &Store, steps: usize, unsure: bool| {
        let seen = script.see(store);
        let whole = unsure && seen == script.after(steps + 1);
        assert!(whole || seen == script.after(steps), "{}: {seen:?} is neither what was before nor what comes after", place(steps));
        let findings = store.audit(&record).unwrap();
        assert!(findings.is_empty(), "{}: {findings:?}", place(steps));
        whole
    };
    for (number, step) in script.steps.iter().enumerate() {
        let Some(transaction) = &step.transaction else {
            drop(store);
            store = open_again(dir.path());
            check(&store, number + 1, false);
            continue;
        };
        let until = Instant::now() + PATIENCE;
        // The outcome is unknown, and what the disk says about it.
        let mut is_there = false;
        loop {
            assert!(Instant::now() < until, "{}: never done", place(number));
            match store.commit(transaction.clone()) {
                Ok(Outcome::Replayed { status: 201, .. }) if is_there => break,
                Ok(outcome) => {
                    assert!(outcome == step.outcome && !is_there, "{}: {outcome:?}", place(number));
                    break;
                }
                Err(StoreError::Full | StoreError::Busy) => {
                    check(&store, number, false);
                    thread::sleep(Duration::from_millis(100));
                }
                Err(StoreError::Database(_)) => {
                    drop(store);
                    store = open_again(dir.path());
                    is_there = check(&store, number, true);
                }
                Err(error @ (StoreError::Broken(_) | StoreError::Closed)) => panic!("{}: {error}", place(number)),
            }
        }
    }
    check(&store, script.steps.len(), false);
    drop(store);
    let trap = set.trap();
    // Whatever comes later finds all of it.
    drop(set);
    check(&open(dir.path()).unwrap(), script.steps.len(), false);
    trap
}

#[test]
fn a_disk_that_fails_at_any_write_loses_nothing() {
    let (writes, began) = (std::env::var("TORTURE_WRITES").map_or(WRITES, |text| text.parse().unwrap()), Instant::now());
    let script = Script::new();
    assert!(script.steps.len() > 40 && script.operations > WRITES, "{} steps, {} operations", script.steps.len(), script.operations);
    let lengths: &[u64] = if writes > WRITES { &[1, 2, 5, 20] } else { &[1] };
    let mut lives = Vec::new();
    for length in lengths {
        for at in 1..=writes {
            // A handful in a row now and then: trying again fails as well.
            let length = if at % 10 == 0 { length + 4 } else { *length };
            // The test command takes them in turn.
            let is_turn = |turn: u64| writes > WRITES || at % 2 == turn;
            let full = is_turn(0).then_some((trap::Fault::Full, script.operations));
            let broken = is_turn(1).then_some((trap::Fault::Broken, script.operations));
            let faults = [full, broken, Some((trap::Fault::Sync, script.syncs))];
            lives.extend(faults.into_iter().flatten().filter(|(_, most)| at <= *most).map(|(fault, _)| (fault, at, length)));
        }
    }
    let (next, failed) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        let work = || {
            while let Some((fault, at, length)) = lives.get(usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap()) {
                let trap = life(&script, tempfile::tempdir().unwrap(), *fault, *at, *length);
                assert!(trap.failed > 0, "{fault:?} at operation {at}: nothing failed in {} operations", trap.operations);
                failed.fetch_add(trap.failed, Ordering::Relaxed);
            }
        };
        for _ in 0..LIVES {
            scope.spawn(work);
        }
    });
    println!(
        "{} lives of {} steps, {} operations and {} syncs each; {} operations failed, in {:.0} s",
        lives.len(),
        script.steps.len(),
        script.operations,
        script.syncs,
        failed.into_inner(),
        began.elapsed().as_secs_f64()
    );
}
