//! What rating a call costs: `cargo bench --bench rating`. Targets: a block 5 µs, a night of 8 hours by the second with windows
//! 50 µs.

use criterion::{Criterion, criterion_group, criterion_main};
use lull::billing::{self, Cause, Conditions, Increments, Kind, Plan, Rates, Segment, SegmentKind, Settlement, WindowTerms};
use lull::clock::{Moment, Span};
use lull::money::Currency;
use std::hint::black_box;

/// 2026-03-10T12:00:00Z, 20:00 in Shanghai.
const START: Moment = Moment::from_unix_ms(1_773_144_000_000);

fn cny() -> Currency {
    "CNY".parse().expect("a currency")
}

/// Delivered time of so many seconds, with a pause of a minute after each stretch but the last.
fn segments(total_s: i64, stretches: i64) -> Vec<Segment> {
    let (mut at, mut segments) = (START, Vec::new());
    for n in 0..stretches {
        let to = at + Span::from_s(total_s / stretches);
        segments.push(Segment { kind: SegmentKind::Delivered, from: at, to });
        at = to + Span::from_s(60);
        if n + 1 < stretches {
            segments.push(Segment { kind: SegmentKind::Paused(Cause::Client), from: to, to: at });
        }
    }
    segments
}

fn block() -> Plan {
    Plan::new(cny(), Kind::Block { block_s: 900, price: 2000 }, Conditions::default()).expect("a plan")
}

/// By the second, with three windows.
fn night() -> Plan {
    let window = |label, start, end, rate| WindowTerms { label, start, end, rate };
    let windows = [window("day", "08:00", "19:00", 300), window("evening", "19:00", "23:00", 400), window("night", "23:00", "08:00", 180)];
    let rates = Rates::by_window("Asia/Shanghai", &windows).expect("windows that cover the day");
    let increments = Increments { first_s: 1, later_s: 1, rates };
    Plan::new(cny(), Kind::UntilAsleep { increments, cap_s: Some(32_400), cap: None }, Conditions::default()).expect("a plan")
}

fn rating(c: &mut Criterion) {
    let mut group = c.benchmark_group("rate");
    for (name, plan, hold, total_s, stretches) in [
        ("block", block(), 2000, 900, 1),
        ("block_paused_10_times", block(), 2000, 900, 10),
        ("night_of_8_hours", night(), 200_000, 8 * 3600, 1),
        ("night_of_8_hours_paused_100_times", night(), 200_000, 8 * 3600, 100),
    ] {
        let (holds, segments) = ([hold], segments(total_s, stretches));
        group.bench_function(name, |b| {
            b.iter(|| billing::rate(black_box(&plan), Settlement::AsRated, black_box(&holds), black_box(&segments)));
        });
    }
    group.finish();
    let mut group = c.benchmark_group("max_usage");
    for (name, plan, hold) in [("block", block(), 2000), ("night_of_8_hours", night(), 200_000)] {
        let holds = [hold];
        group.bench_function(name, |b| {
            b.iter(|| billing::max_usage(black_box(&plan), black_box(&holds), &[], START, Span::from_s(12 * 3600)));
        });
    }
    group.finish();
}

criterion_group!(benches, rating);
criterion_main!(benches);
