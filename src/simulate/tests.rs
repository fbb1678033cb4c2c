//! Nights in the test command, and that the faults put in on purpose are found.
//!
//! Longer runs: `LULL_NIGHTS` multiplies the nights (`LULL_NIGHTS=40 cargo test --release --lib simulate::`), and `lull simulate` takes
//! any number of calls, hours and seeds.

mod bugs;
mod points;
mod power;

use super::*;

/// How many times as many nights.
fn factor() -> u64 {
    std::env::var("LULL_NIGHTS").ok().and_then(|nights| nights.parse().ok()).unwrap_or(1)
}

/// A short night with a fault every few minutes.
pub(super) fn short_night(on_disk: bool) -> Settings {
    Settings {
        on_disk,
        fault_every: Span::from_s(420),
        trouble_every: Span::from_s(600),
        talk: Span::from_s(900),
        // An audit of SQLite's rows takes longer than the night.
        checkpoint_every: if on_disk { 0 } else { 2000 },
        ..Settings::new(5, Span::from_s(2700))
    }
}

#[track_caller]
fn check(settings: &Settings, seeds: std::ops::Range<u64>) -> Count {
    let mut count = Count::default();
    for seed in seeds {
        match run(settings, seed) {
            Ok(night) => count.add(&night),
            Err(failed) => panic!(
                "seed {} of {settings:?}, step {}\n{}: {}\n{}",
                failed.seed,
                failed.step,
                failed.breach.rule,
                failed.breach.fault,
                failed.trace.join("\n")
            ),
        }
    }
    count
}

/// Twenty-five thousand hours, so that four of these are a hundred thousand and a machine's cores share them.
fn a_quarter(seed: u64) {
    // Few things happen in most of these hours, and hearts beat slowly, for the sake of a build without optimisation; the short nights
    // below are for the rest, and `lull simulate` for all at once.
    // A fault an hour of each kind: eight are due in a night, so that none of a kind is a mistake and not chance (0.03 %).
    let long = Settings {
        fault_every: Span::from_s(3600),
        trouble_every: Span::from_s(12 * 3600),
        talk: Span::from_s(10 * 3600),
        beat: Span::from_s(30),
        ..Settings::new(3_400, Span::from_s(8 * 3600))
    };
    let count = check(&long, seed * factor()..(seed + 1) * factor());
    assert!(count.call_hours() >= 25_000.0, "{count:?}");
    assert!(count.crashes > 0 && count.drops > 0 && count.beats > 1_250_000, "{count:?}");
}

#[test]
fn a_hundred_thousand_call_hours_add_up_first_quarter() {
    a_quarter(1);
}

#[test]
fn a_hundred_thousand_call_hours_add_up_second_quarter() {
    a_quarter(2);
}

#[test]
fn a_hundred_thousand_call_hours_add_up_third_quarter() {
    a_quarter(3);
}

#[test]
fn a_hundred_thousand_call_hours_add_up_last_quarter() {
    a_quarter(4);
}

#[test]
fn four_hundred_and_fifty_short_nights_of_the_reference_add_up() {
    let count = check(&short_night(false), 1..1 + 450 * factor());
    for reason in
        ["time_expired", "funds_exhausted", "cap_reached", "asleep", "client_left", "media_timeout", "server_fault", "companion_no_show"]
    {
        assert!(count.ends.contains_key(reason), "no call ended as {reason}: {:?}", count.ends);
    }
    let played = [count.refunds, count.adjustments, count.wallet_refunds, count.policies, count.top_ups];
    assert!(played.iter().all(|count| *count > 20), "{count:?}");
}

#[test]
fn fifty_short_nights_of_the_real_store_add_up() {
    let count = check(&short_night(true), 1001..1001 + 50 * factor());
    assert_eq!(count.faults.len(), 6, "{:?}", count.faults);
    let played = [count.refunds, count.adjustments, count.wallet_refunds, count.policies, count.top_ups];
    assert!(played.iter().all(|count| *count > 2), "{count:?}");
    // One endpoint hears everything, the other some of it; and many a letter goes out more than once.
    assert!(count.delivered > count.events && count.tries > count.delivered, "{count:?}");
}

#[test]
fn the_same_seed_is_the_same_night() {
    for on_disk in [false, true] {
        let nights = [(); 2].map(|()| format!("{:?}", run(&short_night(on_disk), 7)));
        assert_eq!(nights[0], nights[1]);
    }
}
