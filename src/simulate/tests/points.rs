//! Every place at which a server can die in a short call, one after the other, with and without the group that was under way, and once
//! more while it recovers: what must hold holds at each step behind it.
//!
//! More scripts by `LULL_NIGHTS` (see `tests.rs`).

use super::*;

/// A few minutes of two lines: calls are made, lengthened and ended, and nothing goes wrong but the deaths.
fn script(on_disk: bool) -> Settings {
    Settings {
        on_disk,
        faults: Faults::default(),
        talk: Span::from_s(60),
        rest: Span::from_s(20),
        beat: Span::from_s(20),
        longest: Span::from_s(900),
        ..Settings::new(2, Span::from_s(180))
    }
}

#[track_caller]
fn survives(settings: &Settings, seed: u64, deaths: Vec<(u64, bool)>) -> Count {
    let settings = Settings { deaths, ..settings.clone() };
    run(&settings, seed).unwrap_or_else(|failed| {
        let (rule, fault) = (failed.breach.rule, failed.breach.fault);
        panic!("seed {seed}, deaths at {:?}\n{rule}: {fault}\n{}", settings.deaths, failed.trace.join("\n"))
    })
}

/// Dies at each of the points of these nights; `twice` gives the points behind each at which it dies again.
fn die_everywhere(on_disk: bool, seeds: std::ops::Range<u64>, stride: usize, twice: &[u64]) -> u64 {
    let settings = script(on_disk);
    let mut nights = 0;
    for seed in seeds {
        let whole = survives(&settings, seed, Vec::new());
        assert!(whole.settled > 1 && whole.points > 100, "{whole:?}");
        for point in (seed % stride as u64..whole.points).step_by(stride) {
            for has_group in [false, true] {
                let once = survives(&settings, seed, vec![(point, has_group)]);
                assert!(once.crashes <= 1);
                nights += 1;
            }
            for behind in twice {
                survives(&settings, seed, vec![(point, false), (point + behind, true)]);
                nights += 1;
            }
        }
    }
    nights
}

#[test]
fn a_server_may_die_at_any_point_and_again_while_it_recovers() {
    // Behind a death the next thing that is done is the start: its first commit, its first words, what it takes up.
    let nights = die_everywhere(false, 1..1 + factor(), 1, &[1, 2, 4]);
    assert!(nights > 500, "{nights}");
}

#[test]
fn a_server_on_the_real_store_may_die_at_any_point() {
    let nights = die_everywhere(true, 1..1 + factor(), 6, &[3]);
    assert!(nights > 50, "{nights}");
}
