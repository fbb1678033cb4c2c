//! Whole nights of calls in virtual time: the real core and the real store, people and vendors of chance, and everything that can go
//! wrong, on one thread and from one seed.
//!
//! It opens no socket, no file and reads no clock. What it is for: to find what no written test thought of. What happened is checked
//! at every step against what must hold (`watch`), against a reference store (`memory`), and against what the legs truly
//! had (`truth`). Invariant: the same settings and seed give the same night, so a breach is found again by its seed.
//!
//! | file | |
//! |---|---|
//! | `night` | the agenda, the faults, the server's life and death |
//! | `house` | the service's rules around the core, without sockets |
//! | `people`, `vendors` | who calls, and the programs that sell |
//! | `books`, `memory` | what is committed: the reference, and the real store beside it |
//! | `watch`, `oracle`, `truth`, `effects` | what must hold |
//! | `post` | vendors' endpoints, and what is told there |
//! | `dice`, `trace` | chance, and the last things that happened |

mod books;
mod dice;
mod effects;
mod house;
mod memory;
mod night;
mod oracle;
mod people;
mod post;
mod trace;
mod truth;
mod vendors;
mod watch;

#[cfg(test)]
mod tests;

pub use watch::Breach;

use crate::clock::Span;
use night::Night;
use std::collections::BTreeMap;
use std::panic::{self, AssertUnwindSafe};
use trace::Trace;

/// What goes wrong in a night.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Faults {
    /// Legs drop, on one side or both, and pages are loaded again.
    pub drops: bool,
    /// Commands and answers are lost, repeated and overtaken.
    pub commands: bool,
    /// The process dies at any instant, also within a commit and while it recovers.
    pub crash: bool,
    /// With it the machine: what was not synced may be gone. Only on a disk.
    pub power: bool,
    /// A commit takes seconds.
    pub slow: bool,
    /// No room on the disk.
    pub full: bool,
    /// A write or sync fails once. Only on a disk.
    pub io: bool,
    /// The wall clock steps.
    pub clock: bool,
    /// The machine sleeps.
    pub suspend: bool,
}

impl Faults {
    /// Their names, as the command line has them.
    pub const NAMES: [&str; 9] = ["drops", "commands", "crash", "power", "slow", "full", "io", "clock", "suspend"];

    /// All of them.
    pub const ALL: Faults =
        Faults { drops: true, commands: true, crash: true, power: true, slow: true, full: true, io: true, clock: true, suspend: true };

    /// Switches a fault on by its name; false if there is none of that name.
    pub fn add(&mut self, name: &str) -> bool {
        let fault = match name {
            "drops" => &mut self.drops,
            "commands" => &mut self.commands,
            "crash" => &mut self.crash,
            "power" => &mut self.power,
            "slow" => &mut self.slow,
            "full" => &mut self.full,
            "io" => &mut self.io,
            "clock" => &mut self.clock,
            "suspend" => &mut self.suspend,
            _ => return false,
        };
        *fault = true;
        true
    }
}

/// What a night is like.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Calls at once: as many lines, on which one call follows another.
    pub calls: usize,
    /// How long calls are made; afterwards everybody comes to an end.
    pub length: Span,
    /// The real store on a simulated disk with the reference beside it; or the reference alone, which is faster.
    pub on_disk: bool,
    /// What goes wrong.
    pub faults: Faults,
    /// Each kind of fault of the server comes about so often.
    pub fault_every: Span,
    /// Each leg drops about so often.
    pub trouble_every: Span,
    /// Between two heartbeats; at most half of a lease.
    pub beat: Span,
    /// People who hang up do so after about so long.
    pub talk: Span,
    /// Between two calls of a line, about.
    pub rest: Span,
    /// No call is longer.
    pub longest: Span,
    /// Everything is checked once more after so many steps; 0: only at the end.
    pub checkpoint_every: u64,
    /// The process dies at these points, counted from 0: there are three in each step, behind what happens in it, behind what is said of
    /// that, and behind what the disk takes of it. With each: whether the disk has the group that was under way.
    pub deaths: Vec<(u64, bool)>,
}

impl Settings {
    /// A night of so many calls and so much time.
    pub fn new(calls: usize, length: Span) -> Self {
        Self {
            calls,
            length,
            on_disk: false,
            faults: Faults::ALL,
            fault_every: Span::from_s(1800),
            trouble_every: Span::from_s(2400),
            beat: Span::from_s(5),
            talk: Span::from_s(3600),
            rest: Span::from_s(45),
            longest: Span::from_s(12 * 3600),
            checkpoint_every: 0,
            deaths: Vec::new(),
        }
    }
}

/// What came of one night or more.
#[derive(Clone, Debug, Default)]
pub struct Count {
    /// Calls that were ordered and made.
    pub calls: u64,
    /// Of these and those nobody heard of, the ones that are settled.
    pub settled: u64,
    /// Time from a call's making to its settlement, in milliseconds.
    pub open_ms: i64,
    /// Time delivered, in milliseconds.
    pub delivered_ms: i64,
    /// All charges, in minor units.
    pub charged: i128,
    /// Calls by the reason of their end.
    pub ends: BTreeMap<&'static str, u64>,
    /// Faults of the server by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Legs that dropped.
    pub drops: u64,
    /// Deaths of the server: crashes, and those that followed from a failing disk.
    pub crashes: u64,
    /// Starts of the server.
    pub boots: u64,
    /// Commands of vendors.
    pub asks: u64,
    /// Refunds of settled calls.
    pub refunds: u64,
    /// Adjustments of settled calls, either way.
    pub adjustments: u64,
    /// Refunds out of wallets.
    pub wallet_refunds: u64,
    /// Times a vendor changed how her calls are settled.
    pub policies: u64,
    /// Purchases within a call by another amount than the plan's.
    pub top_ups: u64,
    /// Events of calls and wallets that programs are to be told of.
    pub events: u64,
    /// Tries to deliver one, and those that an endpoint took for the first time; on a disk only, where there is an outbox.
    pub tries: u64,
    /// See `tries`.
    pub delivered: u64,
    /// Heartbeats of calls.
    pub beats: u64,
    /// Commits.
    pub groups: u64,
    /// Transactions in them.
    pub transactions: u64,
    /// Steps of the agenda.
    pub steps: u64,
    /// Points at which the process may die, see [`Settings::deaths`].
    pub points: u64,
    /// Virtual time, in milliseconds.
    pub virtual_ms: i64,
}

impl Count {
    /// Adds another night.
    pub fn add(&mut self, other: &Count) {
        self.calls += other.calls;
        self.settled += other.settled;
        self.open_ms += other.open_ms;
        self.delivered_ms += other.delivered_ms;
        self.charged += other.charged;
        other.ends.iter().for_each(|(name, count)| *self.ends.entry(name).or_default() += count);
        other.faults.iter().for_each(|(name, count)| *self.faults.entry(name).or_default() += count);
        self.drops += other.drops;
        self.crashes += other.crashes;
        self.boots += other.boots;
        self.asks += other.asks;
        self.refunds += other.refunds;
        self.adjustments += other.adjustments;
        self.wallet_refunds += other.wallet_refunds;
        self.policies += other.policies;
        self.top_ups += other.top_ups;
        self.events += other.events;
        self.tries += other.tries;
        self.delivered += other.delivered;
        self.beats += other.beats;
        self.groups += other.groups;
        self.transactions += other.transactions;
        self.steps += other.steps;
        self.points += other.points;
        self.virtual_ms += other.virtual_ms;
    }

    /// Hours of calls: from each call's making to its settlement.
    pub fn call_hours(&self) -> f64 {
        self.open_ms as f64 / 3_600_000.0
    }
}

/// A night in which something was so that must never be.
#[derive(Clone, Debug)]
pub struct Failed {
    /// What.
    pub breach: Breach,
    /// The seed of the night.
    pub seed: u64,
    /// In which step.
    pub step: u64,
    /// What happened before it.
    pub trace: Vec<String>,
}

/// Runs the night of a seed. A night that fails is run again to tell what happened before.
pub fn run(settings: &Settings, seed: u64) -> Result<Count, Box<Failed>> {
    once(settings, seed, Trace::default()).map_err(|(breach, trace)| {
        let step = trace.steps;
        let traced = once(settings, seed, Trace::kept()).map_or_else(|(_, trace)| trace.into_lines(), |_| Vec::new());
        Box::new(Failed { breach, seed, step, trace: traced })
    })
}

fn once(settings: &Settings, seed: u64, trace: Trace) -> Result<Count, (Breach, Trace)> {
    let mut night = match Night::new(settings, seed, trace) {
        Ok(night) => night,
        Err(breach) => return Err((breach, Trace::default())),
    };
    // An assertion of the core is a breach like any other; the night is not used afterwards.
    let ended = panic::catch_unwind(AssertUnwindSafe(|| night.run())).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(Breach::new("assertion", text.unwrap_or_default()))
    });
    match ended {
        Ok(()) => Ok(night.into_count()),
        Err(breach) => Err((breach, std::mem::take(&mut night.trace))),
    }
}
