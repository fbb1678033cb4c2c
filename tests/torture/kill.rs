//! `kill -9` at random instants: in the middle of commands, of calls, of starting up and taking calls up again.

use crate::couple::Couple;
use crate::program::{Home, Running};
use crate::teller::{Gate, Teller};
use crate::wallets::{Offers, Wallets};
use crate::{Dice, seed, setting};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Servers that are tortured beside each other: while one starts, another works.
const HOUSES: usize = 2;

/// Who moves money in each, one command after the other.
const WALLETS: usize = 5;

/// Calls that are on in each.
const COUPLES: usize = 2;

/// Kills between two audits.
const AUDIT_EVERY: usize = 20;

/// What became of one house.
#[derive(Default)]
struct Report {
    kills: usize,
    /// Kills while commands waited for their answers.
    in_flight: usize,
    /// Kills before the server served.
    starting: usize,
    commands: usize,
    lost: usize,
    repeated: usize,
    joins: usize,
    settled: usize,
    charged: usize,
    charge: usize,
    together_ms: usize,
    delivered_ms: usize,
    lives: u32,
    looked: u32,
}

#[test]
fn nothing_is_lost_or_doubled_however_often_the_server_is_killed() {
    let (kills, seed, began) = (setting("TORTURE_KILLS", 200_usize), seed(), Instant::now());
    println!("seed {seed}: {kills} kills in {HOUSES} houses");
    let mut dice = Dice(seed);
    let houses: Vec<(usize, Dice)> =
        (0..HOUSES).map(|number| (kills / HOUSES + usize::from(number < kills % HOUSES), dice.fork())).collect();
    let reports: Vec<Report> = std::thread::scope(|scope| {
        let houses: Vec<_> = houses.into_iter().map(|(kills, dice)| scope.spawn(move || house(kills, dice))).collect();
        houses.into_iter().map(|house| house.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    let sum = |of: fn(&Report) -> usize| reports.iter().map(of).sum::<usize>();
    let (done, in_flight, starting) = (sum(|r| r.kills), sum(|r| r.in_flight), sum(|r| r.starting));
    let (commands, lost, repeated) = (sum(|r| r.commands), sum(|r| r.lost), sum(|r| r.repeated));
    let (joins, settled, charged) = (sum(|r| r.joins), sum(|r| r.settled), sum(|r| r.charged));
    println!(
        "seed {seed}: {done} kills in {:.0} s, {in_flight} of them with commands in flight, {starting} while it started; {commands} commands, \
         {lost} answers lost and asked for again, {repeated} answers repeated; {joins} joins, {settled} live calls settled, {charged} of them \
         charged {} fen; together {} ms, delivered {} ms",
        began.elapsed().as_secs_f64(),
        sum(|r| r.charge),
        sum(|r| r.together_ms),
        sum(|r| r.delivered_ms),
    );
    // It was no walk in the park.
    assert_eq!(done, kills);
    assert!(in_flight * 4 >= kills, "{in_flight} kills with commands in flight");
    assert!(starting * 20 >= kills, "{starting} kills of a server that started");
    assert!(
        lost * 4 >= kills && commands >= kills * 5 && repeated >= commands / 20,
        "{lost} lost, {commands} commands, {repeated} repeated"
    );
    assert!(joins >= kills && settled * 20 >= kills && charged > 0, "{joins} joins, {settled} calls settled, {charged} of them charged");
    for report in &reports {
        assert!(report.looked == report.lives, "wallets were looked at up to life {} of {}", report.looked, report.lives);
    }
}

/// One server, its people, and so many kills.
fn house(kills: usize, mut dice: Dice) -> Report {
    let folder = TempDir::new().unwrap();
    let home = Home::new(folder.path());
    let key = home.vendor("House");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let gate = Arc::new(Gate::new(runtime.handle().clone()));
    let mut report = Report::default();
    let teller = |dice: &mut Dice| Teller::new(gate.clone(), &key, dice.fork());
    let mut first = home.start("log-first");
    gate.open(first.serves());
    let offers = Offers::make(&mut teller(&mut dice));
    let wallets: Vec<Wallets> =
        (0..WALLETS).map(|number| Wallets::new(teller(&mut dice), offers.clone(), &format!("wallet-{number}"))).collect();
    let couples: Vec<Couple> =
        (0..COUPLES).map(|number| Couple::new(teller(&mut dice), offers.clone(), &format!("couple-{number}"))).collect();
    let left = std::thread::scope(|scope| {
        let mut people = Vec::new();
        people.extend(wallets.into_iter().map(|wallets| scope.spawn(move || wallets.run())));
        people.extend(couples.into_iter().map(|couple| scope.spawn(move || couple.run())));
        let is_somebody_gone = || people.iter().any(|person| person.is_finished());
        let running = torture(&home, &gate, first, kills, &mut dice, &mut report, &is_somebody_gone);
        gate.closing.store(true, Ordering::Relaxed);
        // All of them, before the server goes.
        let ends: Vec<_> = people.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        for end in ends {
            end.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        running
    });
    left.terminate();
    home.adds_up();
    let count = |counter: &std::sync::atomic::AtomicUsize| counter.load(Ordering::Relaxed);
    (report.commands, report.lost, report.repeated) = (count(&gate.commands), count(&gate.lost), count(&gate.repeated));
    (report.joins, report.settled, report.charged) = (count(&gate.joins), count(&gate.settled), count(&gate.charged));
    (report.charge, report.together_ms, report.delivered_ms) = (count(&gate.charge), count(&gate.together_ms), count(&gate.delivered_ms));
    (report.lives, report.looked) = (gate.life(), gate.looked.load(Ordering::Relaxed));
    report
}

/// Kills a server again and again; the last one serves.
fn torture(
    home: &Home,
    gate: &Gate,
    mut running: Running,
    kills: usize,
    dice: &mut Dice,
    report: &mut Report,
    is_somebody_gone: &dyn Fn() -> bool,
) -> Running {
    let mut start_ms = 200;
    // Who gives up says why; the others must not wait for the rest of the kills.
    while report.kills < kills && !is_somebody_gone() {
        std::thread::sleep(life(dice));
        report.in_flight += usize::from(gate.in_flight.load(Ordering::Relaxed) > 0);
        running.kill();
        gate.died();
        killed(home, report);
        running = loop {
            let began = Instant::now();
            let mut starting = home.start("log");
            let limit =
                (report.kills < kills && dice.percent(40)).then(|| Duration::from_millis(dice.within(0, start_ms * 5 / 4).unsigned_abs()));
            match limit {
                Some(limit) if starting.serves_within(limit).is_none() => {
                    starting.kill();
                    report.starting += 1;
                    killed(home, report);
                }
                _ => {
                    gate.open(starting.serves());
                    start_ms = i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX).clamp(20, 2000);
                    break starting;
                }
            }
        };
    }
    running
}

/// How long a server lives: now and then long enough for heartbeats and for a whole short call, mostly not.
fn life(dice: &mut Dice) -> Duration {
    let ms = match dice.below(100) {
        0..4 => dice.within(5000, 7000),
        4..14 => dice.within(900, 2000),
        _ => dice.within(5, 800),
    };
    Duration::from_millis(ms.unsigned_abs())
}

fn killed(home: &Home, report: &mut Report) {
    report.kills += 1;
    if report.kills.is_multiple_of(AUDIT_EVERY) {
        home.adds_up();
    }
}
