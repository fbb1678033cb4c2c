//! Each fault that is put in on purpose is found, by the rule that should find it, within a few hundred nights.

use super::short_night;
use crate::billing::{self, Conditions, Increments, Kind, Plan, Rates, Segment, SegmentKind, Settlement, WindowTerms};
use crate::clock::Moment;
use crate::seeded::{self, Bug};
use crate::simulate::{Failed, Settings, oracle, run};
use std::panic;

/// Nights in which a fault must be found.
const NIGHTS: u64 = 500;

/// Where a fault bites, and which rules may find it.
fn hunt(bug: Bug) -> (Settings, &'static [&'static str]) {
    // What is in the store needs the real one; what is in the rules is found as well, and sooner, without it.
    let (on_disk, rules): (bool, &[&str]) = match bug {
        Bug::FsyncSkipped => (true, &["committed", "acknowledged", "opens", "readable", "unfinished", "last_alive", "proofs", "audit"]),
        Bug::CommitSkipped => (true, &["model", "committed", "said_too_early", "facts", "reply", "heartbeat"]),
        Bug::KeyPruned => (true, &["model", "reply", "committed"]),
        Bug::ReplyBeforeEffect => (true, &["model", "reply", "one_effect", "committed"]),
        Bug::OrderTwice | Bug::HeartbeatOfEarlierBoot => (true, &["model"]),
        Bug::SharesSwapped => (true, &["accounts", "audit", "returned"]),
        Bug::ResolvedTwice => (true, &["model", "facts", "accounts", "audit"]),
        Bug::OutboxApart => (true, &["audit", "committed", "outbox", "delivery", "delivered", "delivery_order", "said_too_early"]),
        Bug::RefundRepeated => (true, &["reply", "model", "committed", "acknowledged", "one_effect"]),
        Bug::RefundUntold => (true, &["committed", "audit", "outbox", "delivered", "delivery"]),
        Bug::DeliveryOvertakes => (true, &["delivery_order"]),
        Bug::RefundAboveCaptured => (false, &["returned"]),
        Bug::PolicyAgainstClient => (false, &["policy"]),
        Bug::TopUpAsHold => (false, &["held"]),
        Bug::ReleasedBeforeCapture => (true, &["audit", "accounts", "model"]),
        Bug::SaidTooEarly => (false, &["said_too_early"]),
        Bug::SplitFloored => (false, &["shares"]),
        Bug::SpanTruncated
        | Bug::GraceTwice
        | Bug::IncrementAtItsEnd
        | Bug::RepeatedHourOnce
        | Bug::RoundedEachStretch
        | Bug::FaultIgnored
        | Bug::PolicyForgotten => (false, &["rating"]),
        Bug::PauseFromReport | Bug::ProvedUntilRestart => (false, &["undelivered"]),
        Bug::ExtendedAfterEnd => (false, &["extended_after_end", "assertion"]),
        Bug::ChargedAboveHolds => (false, &["assertion", "charge_above_holds"]),
        Bug::LandingBilled => (false, &["assertion", "rating"]),
        Bug::LingerKept => (false, &["landing"]),
        Bug::QualityLeftOut => (false, &["journal_gap", "facts"]),
    };
    (short_night(on_disk), rules)
}

/// The first night in which the fault is found, and what found it.
fn find(bug: Bug, settings: &Settings) -> Option<(u64, Box<Failed>)> {
    seeded::with(Some(bug), || (1..=NIGHTS).find_map(|seed| run(settings, seed).err().map(|failed| (seed, failed))))
}

fn check(bugs: &[Bug]) {
    // Assertions that fail here are what is looked for.
    panic::set_hook(Box::new(|_| ()));
    let mut report = Vec::new();
    let mut missed = Vec::new();
    for bug in bugs {
        let (settings, rules) = hunt(*bug);
        match find(*bug, &settings) {
            Some((nights, failed)) => {
                println!("{bug:?}: night {nights}, by {}: {:.300}", failed.breach.rule, failed.breach.fault);
                report.push(format!("{bug:?}: night {nights}, by {}", failed.breach.rule));
                if !rules.contains(&failed.breach.rule) {
                    missed.push(format!("{bug:?} was found by {}: {}", failed.breach.rule, failed.breach.fault));
                }
            }
            None => missed.push(format!("{bug:?} was not found in {NIGHTS} nights")),
        }
    }
    let _ = panic::take_hook();
    assert!(missed.is_empty(), "{}\nfound:\n{}", missed.join("\n"), report.join("\n"));
}

#[test]
fn faults_of_the_rules_are_found() {
    check(&[
        Bug::SaidTooEarly,
        Bug::SplitFloored,
        Bug::SpanTruncated,
        Bug::GraceTwice,
        Bug::IncrementAtItsEnd,
        Bug::RoundedEachStretch,
        Bug::FaultIgnored,
        Bug::PauseFromReport,
        Bug::ProvedUntilRestart,
        Bug::ExtendedAfterEnd,
        Bug::ChargedAboveHolds,
        Bug::QualityLeftOut,
        Bug::LandingBilled,
        Bug::LingerKept,
        Bug::RefundAboveCaptured,
        Bug::PolicyAgainstClient,
        Bug::PolicyForgotten,
        Bug::TopUpAsHold,
    ]);
}

/// It takes a call on such a plan that is on when the clocks go back: too rare in short nights, so the reckoning is asked at once.
#[test]
fn an_hour_billed_once_is_found() {
    let day = WindowTerms { label: "day", start: "08:00", end: "02:30", rate: 300 };
    let night = WindowTerms { label: "night", start: "02:30", end: "08:00", rate: 180 };
    let rates = Rates::by_window("Europe/Berlin", &[day, night]).unwrap();
    let kind = Kind::PerMinute(Increments { first_s: 60, later_s: 6, rates });
    let plan = Plan::new("CNY".parse().unwrap(), kind, Conditions::default()).unwrap();
    // 2026-10-25, 00:30 to 02:30 UTC: 02:30 to 03:00, 02:00 to 03:00 and 03:00 to 03:30 in Berlin.
    let (from, to) = (1_792_888_200_000, 1_792_895_400_000);
    let segment = Segment { kind: SegmentKind::Delivered, from: Moment::from_unix_ms(from), to: Moment::from_unix_ms(to) };
    let charge = || billing::rate(&plan, Settlement::AsRated, &[1_000_000], &[segment]).charge.amount;
    let (_, due) = oracle::rate(&plan, Settlement::AsRated, &[1_000_000], &[(from, to)]);
    assert_eq!(charge(), due);
    assert_ne!(seeded::with(Some(Bug::RepeatedHourOnce), charge), due);
}

#[test]
fn faults_of_the_store_are_found() {
    check(&[
        Bug::FsyncSkipped,
        Bug::CommitSkipped,
        Bug::KeyPruned,
        Bug::ReplyBeforeEffect,
        Bug::OrderTwice,
        Bug::HeartbeatOfEarlierBoot,
        Bug::SharesSwapped,
        Bug::ResolvedTwice,
        Bug::ReleasedBeforeCapture,
        Bug::OutboxApart,
        Bug::RefundRepeated,
        Bug::RefundUntold,
        Bug::DeliveryOvertakes,
    ]);
}

#[test]
fn every_fault_is_hunted() {
    let source = include_str!("bugs.rs");
    let tests = &source[source.find("fn faults_of_the_rules").unwrap()..];
    for bug in Bug::ALL {
        assert!(tests.contains(&format!("Bug::{bug:?}")), "{bug:?}");
    }
}

#[test]
fn without_a_fault_there_is_nothing_to_find() {
    for bug in [Bug::SpanTruncated, Bug::FsyncSkipped] {
        let (settings, _) = hunt(bug);
        for seed in 1..=3 {
            assert!(run(&settings, seed).is_ok());
        }
    }
}
