//! `lull simulate`: nights of calls in virtual time, and what came of them.
//!
//! Exit status 1 if anything was so that must never be; what is printed then shows it again.

use super::say;
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use lull::clock::{Clock, Span};
use lull::simulate::{self, Count, Failed, Faults, Settings};
use serde_json::{Value, json};

/// Flags of `lull simulate`.
#[derive(Args, Clone, Debug)]
pub(crate) struct SimulateFlags {
    /// Calls at once, all night
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    calls: u32,
    /// Hours of a night
    #[arg(long, value_name = "H", default_value_t = 8.0)]
    hours: f64,
    /// The night; the same seed is the same night
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// So many nights, with this seed and those after it
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    nights: u64,
    /// `sqlite`: the real store on a simulated disk, and the reference beside it; `memory`: the reference alone, faster
    #[arg(long, value_enum, default_value_t = StoreKind::Memory)]
    store: StoreKind,
    /// What goes wrong: `all`, `none`, or some of drops,commands,crash,power,slow,full,io,clock,suspend
    #[arg(long, value_name = "LIST", default_value = "all")]
    faults: String,
    /// Minutes between two faults of a kind, about
    #[arg(long, value_name = "MIN", default_value_t = 30.0)]
    fault_every: f64,
    /// Check everything after so many steps, not only at the end
    #[arg(long, value_name = "STEPS", default_value_t = 0)]
    check_every: u64,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// A second.
const SHORTEST_HOURS: f64 = 1.0 / 3600.0;

/// A second.
const SHORTEST_MINUTES: f64 = 1.0 / 60.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum StoreKind {
    Memory,
    Sqlite,
}

pub(crate) fn run(flags: &SimulateFlags) -> Result<()> {
    let settings = settings(flags)?;
    let last = flags.seed.checked_add(flags.nights - 1);
    let last =
        last.with_context(|| format!("there are no {} nights from seed {} on: the last is {}", flags.nights, flags.seed, u64::MAX))?;
    // An assertion that fails is told below, with the seed.
    std::panic::set_hook(Box::new(|_| ()));
    let clock = Clock::start();
    let began = clock.now();
    let mut count = Count::default();
    for seed in flags.seed..=last {
        match simulate::run(&settings, seed) {
            Ok(night) => count.add(&night),
            Err(failed) => {
                show_failure(flags, &failed)?;
                bail!("seed {seed}: {}: {}", failed.breach.rule, failed.breach.fault);
            }
        }
    }
    let took = clock.now().since(began);
    if flags.json { say(json_of(flags, &count, took)) } else { show(flags, &count, took) }
}

fn settings(flags: &SimulateFlags) -> Result<Settings> {
    // In whole milliseconds: less than one of them between two faults would be a night that never ends.
    ensure!((SHORTEST_HOURS..=10_000.0).contains(&flags.hours), "a night has between a second and 10000 hours");
    ensure!((SHORTEST_MINUTES..=1e6).contains(&flags.fault_every), "--fault-every is between a second (0.0167) and 1000000 minutes");
    let mut settings = Settings::new(flags.calls as usize, Span::from_ms((flags.hours * 3_600_000.0) as i64));
    settings.on_disk = flags.store == StoreKind::Sqlite;
    settings.checkpoint_every = flags.check_every;
    settings.fault_every = Span::from_ms((flags.fault_every * 60_000.0) as i64);
    settings.faults = match flags.faults.as_str() {
        "all" => Faults::ALL,
        "none" => Faults::default(),
        list => {
            let mut faults = Faults::default();
            if let Some(unknown) = list.split(',').find(|name| !faults.add(name)) {
                bail!("there is no fault {unknown:?}: expected all, none, or some of {}", Faults::NAMES.join(","));
            }
            faults
        }
    };
    Ok(settings)
}

/// What runs this night again.
fn command(flags: &SimulateFlags, seed: u64) -> String {
    let store = if flags.store == StoreKind::Sqlite { "sqlite" } else { "memory" };
    format!(
        "lull simulate --calls {} --hours {} --seed {seed} --store {store} --faults {} --fault-every {} --check-every {}",
        flags.calls, flags.hours, flags.faults, flags.fault_every, flags.check_every
    )
}

fn show_failure(flags: &SimulateFlags, failed: &Failed) -> Result<()> {
    let again = command(flags, failed.seed);
    if flags.json {
        let breach = json!({
            "seed": failed.seed, "step": failed.step, "rule": failed.breach.rule, "fault": failed.breach.fault,
            "trace": failed.trace, "again": again,
        });
        return say(json!({ "breach": breach }));
    }
    say(format_args!("breach of {}: {}", failed.breach.rule, failed.breach.fault))?;
    say(format_args!("seed {}, step {}; before it:", failed.seed, failed.step))?;
    failed.trace.iter().try_for_each(|line| say(format_args!("  {line}")))?;
    say(format_args!("again: {again}"))
}

fn speed(count: &Count, took: Span) -> f64 {
    count.virtual_ms as f64 / took.ms().max(1) as f64
}

fn show(flags: &SimulateFlags, count: &Count, took: Span) -> Result<()> {
    let list = |names: &std::collections::BTreeMap<&'static str, u64>| {
        let items: Vec<String> = names.iter().map(|(name, count)| format!("{name} {count}")).collect();
        if items.is_empty() { "none".to_owned() } else { items.join(", ") }
    };
    say(format_args!("{}", command(flags, flags.seed)))?;
    say(format_args!("nights             {} of {} h with {} calls at once", flags.nights, flags.hours, flags.calls))?;
    say(format_args!("call-hours         {:.0} ({:.0} delivered)", count.call_hours(), count.delivered_ms as f64 / 3_600_000.0))?;
    say(format_args!("calls              {} made, {} settled, {} minor units charged", count.calls, count.settled, count.charged))?;
    say(format_args!("ends               {}", list(&count.ends)))?;
    say(format_args!(
        "faults             {}; legs dropped {}, deaths of the server {}, starts {}",
        list(&count.faults),
        count.drops,
        count.crashes,
        count.boots
    ))?;
    say(format_args!("commands           {}; heartbeats {}", count.asks, count.beats))?;
    say(format_args!(
        "money back         {} refunds, {} adjustments, {} out of wallets; policies changed {}, top-ups {}",
        count.refunds, count.adjustments, count.wallet_refunds, count.policies, count.top_ups
    ))?;
    let delivered =
        if flags.store == StoreKind::Sqlite { format!("; {} deliveries in {} tries", count.delivered, count.tries) } else { String::new() };
    say(format_args!("events             {}{delivered}", count.events))?;
    say(format_args!("commits            {} with {} transactions", count.groups, count.transactions))?;
    say(format_args!("steps              {}", count.steps))?;
    say(format_args!(
        "speed              {:.0} x real time ({:.1} h in {:.1} s)",
        speed(count, took),
        count.virtual_ms as f64 / 3_600_000.0,
        took.ms() as f64 / 1000.0
    ))?;
    say("breaches           0")
}

fn json_of(flags: &SimulateFlags, count: &Count, took: Span) -> Value {
    let store = if flags.store == StoreKind::Sqlite { "sqlite" } else { "memory" };
    json!({
            "calls_at_once": flags.calls, "hours": flags.hours, "seed": flags.seed, "nights": flags.nights, "store": store,
            "faults_on": flags.faults, "call_hours": count.call_hours(), "delivered_ms": count.delivered_ms, "calls": count.calls,
            "settled": count.settled, "charged_minor": count.charged.to_string(), "ends": count.ends, "faults": count.faults,
            "legs_dropped": count.drops, "crashes": count.crashes, "boots": count.boots, "commands": count.asks, "beats": count.beats,
            "refunds": count.refunds, "adjustments": count.adjustments, "wallet_refunds": count.wallet_refunds,
            "policy_changes": count.policies, "top_ups": count.top_ups, "events": count.events, "delivery_tries": count.tries,
            "deliveries": count.delivered, "commits": count.groups, "transactions": count.transactions, "steps": count.steps, "virtual_ms": count.virtual_ms,
            "took_ms": took.ms(), "speed": speed(count, took), "breaches": 0,
    })
}
