//! The real program under torture: killed, starved of disk, doubled, given a damaged file. Nothing acknowledged may be lost, nothing may
//! happen twice, and nobody pays for what was not delivered.
//!
//! | file | |
//! |---|---|
//! | `kill` | `kill -9` at random instants, under load, with calls that are live |
//! | `full` | a disk without room, a file that must not grow |
//! | `two` | several servers started on one database at once |
//! | `damage` | pages, logs and lengths of the file that are not as they were |
//! | `program`, `teller`, `wallets`, `couple` | the program; who commands it by key and notes each answer; what such a one does; two who talk |
//!
//! How much of it is set by the environment; what is printed (`-- --nocapture`) says how much it was:
//!
//! | variable | without it | |
//! |---|---|---|
//! | `TORTURE_KILLS` | 200 | ends of the server, over all houses |
//! | `TORTURE_STARTS` | 20 | times several servers start at once |
//! | `TORTURE_DAMAGES` | 300 | damaged databases |
//! | `TORTURE_SEED` | drawn, printed | what is done when; how the machine takes it differs each time |
//!
//! The other half, failing writes one by one, is `TORTURE_WRITES` in `src/store/tests/failing.rs`.
#![allow(clippy::disallowed_methods, reason = "it lives beside a program that runs by the clock, and waits for it by looking again")]

mod couple;
mod damage;
mod full;
mod kill;
mod program;
mod teller;
mod two;
mod wallets;

use std::str::FromStr;
use std::time::{Duration, Instant};

/// Everything a test waits for is there within this time, or the test fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// Looks again after this.
const A_MOMENT: Duration = Duration::from_millis(5);

/// Looks until something is there, for at most [`PATIENCE`].
fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "never came: {what}");
        std::thread::sleep(A_MOMENT);
    }
}

/// A number of the environment.
fn setting<T: FromStr>(name: &str, default: T) -> T {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")),
        Err(_) => default,
    }
}

/// What decides a run; printed, so that a failed one can be tried again.
fn seed() -> u64 {
    setting("TORTURE_SEED", rand::random::<u32>().into())
}

/// A stream of numbers (splitmix64, Steele and others 2014).
#[derive(Clone)]
struct Dice(u64);

impl Dice {
    /// Another stream of the same seed.
    fn fork(&mut self) -> Self {
        Self(self.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0, below `limit`.
    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    /// From `low` to `high`, both included.
    fn within(&mut self, low: i64, high: i64) -> i64 {
        low + i64::try_from(self.next() % (high - low + 1).unsigned_abs()).unwrap()
    }

    /// So many times in a hundred.
    fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    /// A key nobody used before.
    fn key(&mut self, what: &str) -> String {
        format!("{what}-{:016x}{:08x}", self.next(), self.next() >> 32)
    }
}
