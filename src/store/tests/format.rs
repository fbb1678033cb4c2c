//! The journal's form on disk, which later versions must read.

use super::super::{fact_row, journal};
use super::*;
use crate::billing::{Increments, Rates, Rounding, WindowTerms};
use crate::call::{Asker, Ending, Quality, RecordingEnd, RecordingTerms, Rule, Side, Sold, Waker, Witness};
use crate::ids::{BootId, GiftId, LegId};
use crate::sleep::{self, Grounds, Verdict, Why};

/// Every fact, with every word and both an absent and a present value of every optional field.
fn every_fact() -> Vec<Fact> {
    let uuid = |n: u128| Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0000 + n);
    let (leg, hold) = (LegId::new(uuid(1)), HoldId::new(uuid(2)));
    let audio = Terms {
        vendor: VendorId::new(uuid(3)),
        plan: PlanId::new(uuid(4)),
        plan_name: "陪聊 15 分钟 \"<b>\"".to_owned(),
        sold: quarter(2000),
        hold: cny(2000),
        grade_paid: Some("gold".to_owned()),
        grade_delivered: None,
        client: client("tb-2026:0001"),
        client_name: Some("月亮".to_owned()),
        companion: CompanionId::new(uuid(5)),
        companion_name: "Lin".to_owned(),
        medium: Medium::Audio,
        policy: Policy::default(),
        shares: Shares { companion_bps: 7000, vendor_bps: 3000 },
        client_token: TokenId::new(uuid(6)),
        companion_token: TokenId::new(uuid(7)),
        limits: limits(),
        zones: None,
        night: None,
        sounds: Sounds::default(),
        recording: None,
    };
    let jpy = "JPY".parse().unwrap();
    let video = Terms {
        medium: Medium::Video,
        sold: billing::Plan::new(jpy, Kind::Block { block_s: 900, price: 500 }, Conditions::default()).unwrap(),
        hold: Money::new(500, jpy),
        grade_paid: None,
        grade_delivered: Some("silver".to_owned()),
        client_name: None,
        limits: Limits { warnings: vec![], ..limits() },
        ..audio.clone()
    };
    let mut facts = vec![
        Fact::Created { terms: Box::new(audio), hold },
        Fact::Created { terms: Box::new(video), hold },
        Fact::Joined { side: Side::Client, leg },
        Fact::Joined { side: Side::Companion, leg },
        Fact::Connected { side: Side::Client, leg },
        Fact::Started,
        Fact::Resumed,
        Fact::Warned { left: Span::from_s(60) },
        Fact::Extended { by: Asker::Client, hold, order_ref: None, amount: None },
        Fact::Extended { by: Asker::Vendor, hold, order_ref: Some("tb-2".to_owned()), amount: None },
        Fact::Gifted { by: Asker::Companion, length: Span::from_s(300), gift: None },
        Fact::Quality { side: Side::Client, quality: Quality { packets: u64::from(u32::MAX) + 1, lost_bp: 10_000, rtt_ms: None } },
        Fact::Quality { side: Side::Companion, quality: Quality { packets: 0, lost_bp: 0, rtt_ms: Some(80) } },
        Fact::Settled { charge: cny(1676), refund: cny(324) },
    ];
    let faults = [Fault::Client, Fault::Companion, Fault::Platform, Fault::None];
    facts.extend(faults.map(|cause| Fact::Paused { cause, since: at(431_000) }));
    let reasons = [
        EndReason::TimeExpired,
        EndReason::ClientLeft,
        EndReason::CompanionLeft,
        EndReason::VendorEnded,
        EndReason::AbuseReported,
        EndReason::NoAnswer,
        EndReason::ClientNoShow,
        EndReason::CompanionNoShow,
        EndReason::MediaTimeout,
        EndReason::ConnectFailed,
        EndReason::MaxDuration,
        EndReason::ServerFault,
    ];
    facts.extend(reasons.map(|reason| Fact::Ended { reason, at_fault: Fault::None }));
    facts.extend([
        Fact::Heard { from: Side::Companion },
        Fact::Lost { side: Side::Client, leg, since: at(431_000) },
        Fact::Back { side: Side::Client, leg },
        Fact::LinkRenewed { side: Side::Companion, token: TokenId::new(uuid(8)) },
    ]);
    facts
}

/// What came with plans of every kind.
fn facts_of_plans() -> Vec<Fact> {
    let uuid = |n: u128| Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0000 + n);
    let hold = HoldId::new(uuid(2));
    let created = |kind, conditions, amount, policy| {
        let Fact::Created { mut terms, hold } = every_fact().remove(0) else { panic!("the first fact is that the call exists") };
        terms.sold = billing::Plan::new(terms.hold.currency, kind, conditions).unwrap();
        terms.hold.amount = amount;
        terms.policy = policy;
        Fact::Created { terms, hold }
    };
    let plain = Conditions::default();
    let full = Conditions { grace_s: 20, minimum: 100, rounding: Rounding::HalfEven };
    let one = Increments { first_s: 60, later_s: 6, rates: Rates::one(300).unwrap() };
    let window = |label, start, end, rate| WindowTerms { label, start, end, rate };
    let windows = [window("day", "08:00", "23:00", 300), window("night", "23:00", "08:00", 180)];
    let by_window = Increments { first_s: 1, later_s: 1, rates: Rates::by_window("Asia/Shanghai", &windows).unwrap() };
    let kinder = Policy::default().with_flat_min(Span::from_s(1200)).unwrap();
    let kinder = kinder.with(Ending::ClientLeft, Sold::Block, Rule::ExactDelivered).unwrap();
    let kinder = kinder.with(Ending::ServerFault, Sold::Flat, Rule::Free).unwrap();
    vec![
        created(Kind::Block { block_s: 900, price: 2000 }, plain, 2000, Policy::default()),
        created(Kind::Flat { price: 500 }, Conditions { rounding: Rounding::HalfUp, ..plain }, 500, kinder),
        created(Kind::PerMinute(one.clone()), full, 3000, Policy::default()),
        created(Kind::UntilAsleep { increments: by_window, cap_s: Some(32_400), cap: Some(60_000) }, plain, 60_000, kinder),
        created(Kind::UntilAsleep { increments: one, cap_s: None, cap: None }, plain, 60_000, Policy::default()),
        Fact::Extended { by: Asker::Client, hold, order_ref: None, amount: Some(cny(1500)) },
        Fact::Ended { reason: EndReason::FundsExhausted, at_fault: Fault::None },
        Fact::Ended { reason: EndReason::CapReached, at_fault: Fault::None },
    ]
}

/// Kinds of facts that came later, in the same version.
fn facts_of_recovery() -> Vec<Fact> {
    let boot = BootId::new(Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0009));
    vec![Fact::Recovered { boot, proved_until: at(431_000) }, Fact::Suspended { since: at(431_000) }]
}

/// What came with gifts that have a name, in the same version.
fn facts_of_gifts() -> Vec<Fact> {
    let gift = GiftId::new(Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_000a));
    vec![Fact::Gifted { by: Asker::Companion, length: Span::from_s(300), gift: Some(gift) }]
}

/// What came with nights, in the same version.
fn facts_of_nights() -> Vec<Fact> {
    let Fact::Created { mut terms, hold } = facts_of_plans().remove(3) else { panic!("the fourth fact is that a call exists") };
    (terms.night, terms.sounds) = (Some(Night::default()), Sounds { chime: Some(-42), waiting: false });
    let mut probed = terms.clone();
    probed.night = Some(Night { linger: Span::ZERO, fade: Span::from_s(300), probe: Some(Span::from_s(180)) });
    probed.sounds = Sounds { chime: None, waiting: true };
    let verdict = |state, why, period_ms| {
        let grounds =
            Grounds { why, evidence_milli: -7, period_ms, constancy_bp: 9400, quiet_s: 1800, movements: 2, missing_bp: 30, unanswered: 3 };
        Fact::Sleep { verdict: Verdict { state, since: at(431_000), grounds } }
    };
    let mut facts = vec![Fact::Created { terms, hold }, Fact::Created { terms: probed, hold }];
    facts.extend([sleep::State::Awake, sleep::State::Drowsy, sleep::State::Unknown].map(|state| verdict(state, Why::Starting, None)));
    let whys = [
        Why::Speech,
        Why::Movement,
        Why::Tap,
        Why::Quiet,
        Why::Irregular,
        Why::Breathing,
        Why::Machine,
        Why::Background,
        Why::Muted,
        Why::Absent,
        Why::Lost,
        Why::Companion,
    ];
    facts.extend(whys.map(|why| verdict(sleep::State::Asleep, why, Some(4200))));
    let Some(Fact::Sleep { verdict }) = facts.last().cloned() else { panic!("the last fact is a verdict") };
    facts.push(Fact::Lingers { by: Witness::Ear, length: Span::from_s(300), verdict: Some(verdict) });
    facts.push(Fact::Lingers { by: Witness::Companion, length: Span::from_s(30), verdict: None });
    facts.extend([false, true].map(|confirmed| Fact::Lands { confirmed }));
    facts.extend([Waker::Speech, Waker::Tap, Waker::Companion, Waker::Ear].map(|by| Fact::Woken { by }));
    facts.push(Fact::Ended { reason: EndReason::Asleep, at_fault: Fault::None });
    facts
}

/// What came with recordings, in the same version.
fn facts_of_recordings() -> Vec<Fact> {
    let Fact::Created { mut terms, hold } = facts_of_plans().remove(0) else { panic!("the first fact is that a call exists") };
    terms.recording = Some(RecordingTerms { keep: Span::from_s(30 * 86_400) });
    let mut facts = vec![Fact::Created { terms, hold }];
    facts.extend([(Side::Client, true), (Side::Companion, false)].map(|(side, yes)| Fact::Consented { side, yes }));
    facts.push(Fact::RecordingStarted { part: 1 });
    facts.extend(RecordingEnd::ALL.iter().map(|why| Fact::RecordingStopped { part: 1, why: *why }));
    facts
}

/// Does not compile until a new fact is thought of here; then add it above and to a new fixture.
fn number(fact: &Fact) -> usize {
    match fact {
        Fact::Created { .. } => 0,
        Fact::Joined { .. } => 1,
        Fact::Connected { .. } => 2,
        Fact::Started => 3,
        Fact::Paused { .. } => 4,
        Fact::Resumed => 5,
        Fact::Warned { .. } => 6,
        Fact::Extended { .. } => 7,
        Fact::Gifted { .. } => 8,
        Fact::Quality { .. } => 9,
        Fact::Ended { .. } => 10,
        Fact::Settled { .. } => 11,
        Fact::Heard { .. } => 12,
        Fact::Lost { .. } => 13,
        Fact::Back { .. } => 14,
        Fact::LinkRenewed { .. } => 15,
        Fact::Recovered { .. } => 16,
        Fact::Suspended { .. } => 17,
        Fact::Sleep { .. } => 18,
        Fact::Lingers { .. } => 19,
        Fact::Lands { .. } => 20,
        Fact::Woken { .. } => 21,
        Fact::Consented { .. } => 22,
        Fact::RecordingStarted { .. } => 23,
        Fact::RecordingStopped { .. } => 24,
    }
}

/// Every word that a fact can hold, whether or not a fixture has it: the lists are those that the words are spelled by.
fn every_word() -> Vec<Fact> {
    let uuid = |n: u128| Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0000 + n);
    let (leg, hold, token) = (LegId::new(uuid(1)), HoldId::new(uuid(2)), TokenId::new(uuid(8)));
    let Fact::Created { terms, .. } = every_fact().remove(0) else { panic!("the first fact is that the call exists") };
    let mut facts: Vec<Fact> =
        Medium::ALL.iter().map(|medium| Fact::Created { terms: Box::new(Terms { medium: *medium, ..*terms.clone() }), hold }).collect();
    for side in Side::ALL.iter().copied() {
        facts.extend([
            Fact::Joined { side, leg },
            Fact::Connected { side, leg },
            Fact::Heard { from: side },
            Fact::Lost { side, leg, since: at(431_000) },
            Fact::Back { side, leg },
            Fact::LinkRenewed { side, token },
            Fact::Quality { side, quality: Quality { packets: 1, lost_bp: 1, rtt_ms: None } },
        ]);
        facts.extend([true, false].map(|yes| Fact::Consented { side, yes }));
    }
    for by in Asker::ALL.iter().copied() {
        facts.push(Fact::Extended { by, hold, order_ref: None, amount: None });
        facts.push(Fact::Gifted { by, length: Span::from_s(300), gift: None });
    }
    for fault in Fault::ALL.iter().copied() {
        facts.push(Fact::Paused { cause: fault, since: at(431_000) });
        facts.extend(EndReason::ALL.iter().map(|reason| Fact::Ended { reason: *reason, at_fault: fault }));
    }
    facts.extend(RecordingEnd::ALL.iter().map(|why| Fact::RecordingStopped { part: 1, why: *why }));
    facts.extend(Waker::ALL.iter().map(|by| Fact::Woken { by: *by }));
    let states = std::iter::successors(Some(sleep::State::Awake), |state| state_after(*state));
    for state in states {
        for why in std::iter::successors(Some(Why::Starting), |why| why_after(*why)) {
            let grounds = Grounds {
                why,
                evidence_milli: 0,
                period_ms: None,
                constancy_bp: 0,
                quiet_s: 0,
                movements: 0,
                missing_bp: 0,
                unanswered: 0,
            };
            let verdict = Verdict { state, since: at(431_000), grounds };
            facts.push(Fact::Sleep { verdict });
            facts.extend(Witness::ALL.iter().map(|by| Fact::Lingers { by: *by, length: Span::from_s(30), verdict: Some(verdict) }));
        }
    }
    facts
}

/// Does not compile until a new state is thought of here.
fn state_after(state: sleep::State) -> Option<sleep::State> {
    match state {
        sleep::State::Awake => Some(sleep::State::Drowsy),
        sleep::State::Drowsy => Some(sleep::State::Asleep),
        sleep::State::Asleep => Some(sleep::State::Unknown),
        sleep::State::Unknown => None,
    }
}

/// As above.
fn why_after(why: Why) -> Option<Why> {
    match why {
        Why::Starting => Some(Why::Speech),
        Why::Speech => Some(Why::Movement),
        Why::Movement => Some(Why::Tap),
        Why::Tap => Some(Why::Quiet),
        Why::Quiet => Some(Why::Irregular),
        Why::Irregular => Some(Why::Breathing),
        Why::Breathing => Some(Why::Machine),
        Why::Machine => Some(Why::Background),
        Why::Background => Some(Why::Muted),
        Why::Muted => Some(Why::Absent),
        Why::Absent => Some(Why::Lost),
        Why::Lost => Some(Why::Companion),
        Why::Companion => None,
    }
}

#[test]
fn every_fact_reads_back_as_it_was() {
    let facts = [every_fact(), facts_of_recovery(), facts_of_nights(), facts_of_recordings()].concat();
    let mut seen: Vec<usize> = facts.iter().map(number).collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, (0..25).collect::<Vec<_>>(), "every kind of fact is here");
    for fact in facts.into_iter().chain(facts_of_plans()).chain(facts_of_gifts()).chain(every_word()) {
        let text = fact_row::encode(&fact).unwrap();
        assert_eq!(fact_row::decode(fact_row::VERSION, &text).unwrap(), fact, "{text}");
    }
}

/// This file is never written anew: it is what version 1 wrote.
#[test]
fn the_journal_of_version_1_is_read() {
    let lines = include_str!("../../../fixtures/journal/v1.jsonl").lines();
    let facts: Vec<Fact> = lines.map(|line| fact_row::decode(1, line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect();
    assert_eq!(facts, every_fact());
}

/// As above, once plans of every kind were there.
#[test]
fn the_journal_since_plans_is_read() {
    let lines = include_str!("../../../fixtures/journal/v1_plans.jsonl").lines();
    let facts: Vec<Fact> = lines.map(|line| fact_row::decode(1, line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect();
    assert_eq!(facts, facts_of_plans());
}

#[test]
fn the_text_written_is_the_one_on_show() {
    let text = |facts: Vec<Fact>| -> String { facts.iter().map(|fact| fact_row::encode(fact).unwrap() + "\n").collect() };
    // Terms are written otherwise since there are plans of every kind.
    let (terms, others): (Vec<Fact>, Vec<Fact>) = every_fact().into_iter().partition(|fact| matches!(fact, Fact::Created { .. }));
    let v1 = include_str!("../../../fixtures/journal/v1.jsonl");
    assert_eq!(text(others), v1.split_inclusive('\n').skip(terms.len()).collect::<String>());
    expect_test::expect_file!["../../../fixtures/journal/v1_plans.jsonl"].assert_eq(&text(facts_of_plans()));
}

#[test]
fn the_facts_of_recovery_are_written_and_read_as_on_show() {
    let show = include_str!("../../../fixtures/journal/v1_recovery.jsonl");
    let text: String = facts_of_recovery().iter().map(|fact| fact_row::encode(fact).unwrap() + "\n").collect();
    assert_eq!(text, show);
    let facts: Vec<Fact> = show.lines().map(|line| fact_row::decode(1, line).unwrap()).collect();
    assert_eq!(facts, facts_of_recovery());
}

#[test]
fn the_facts_of_recordings_are_written_and_read_as_on_show() {
    let show = include_str!("../../../fixtures/journal/v1_recordings.jsonl");
    let text: String = facts_of_recordings().iter().map(|fact| fact_row::encode(fact).unwrap() + "\n").collect();
    assert_eq!(text, show);
    let facts: Vec<Fact> = show.lines().map(|line| fact_row::decode(1, line).unwrap()).collect();
    assert_eq!(facts, facts_of_recordings());
}

#[test]
fn a_gift_with_a_name_is_written_and_read_as_on_show() {
    let show = include_str!("../../../fixtures/journal/v1_gifts.jsonl");
    let text: String = facts_of_gifts().iter().map(|fact| fact_row::encode(fact).unwrap() + "\n").collect();
    assert_eq!(text, show);
    let facts: Vec<Fact> = show.lines().map(|line| fact_row::decode(1, line).unwrap()).collect();
    assert_eq!(facts, facts_of_gifts());
}

#[test]
fn nights_are_written_and_read_as_on_show() {
    let show = include_str!("../../../fixtures/journal/v1_nights.jsonl");
    let text: String = facts_of_nights().iter().map(|fact| fact_row::encode(fact).unwrap() + "\n").collect();
    expect_test::expect_file!["../../../fixtures/journal/v1_nights.jsonl"].assert_eq(&text);
    let facts: Vec<Fact> = show.lines().map(|line| fact_row::decode(1, line).unwrap()).collect();
    assert_eq!(facts, facts_of_nights());
}

#[test]
fn what_is_no_fact_is_refused() {
    for (version, text) in [
        (0, r#"{"fact":"started"}"#),
        (2, r#"{"fact":"started"}"#),
        (1, r#"{"fact":"danced"}"#),
        (1, r#"{"fact":"started","and":"more"}"#),
        (1, r#"{"fact":"warned"}"#),
        (1, r#"{"fact":"extended","by":"client","hold":"hold_01920000000070008000000000000002","order_ref":null,"amount":3}"#),
        (1, r#"{"fact":"joined","side":"client","leg":"call_01920000000070008000000000000001"}"#),
        (1, r#"{"fact":"settled","charge":{"amount":1.5,"currency":"CNY"},"refund":{"amount":0,"currency":"CNY"}}"#),
        (1, r#"{"fact":"settled","charge":{"amount":1,"currency":"cny"},"refund":{"amount":0,"currency":"CNY"}}"#),
        (1, ""),
    ] {
        assert!(fact_row::decode(version, text).is_err(), "{version} {text}");
    }
}

/// Hashes on disk must mean the same for ever.
#[test]
fn the_chain_is_as_documented() {
    use sha2::{Digest, Sha256};
    let call: CallId = "call_01920000000070008000000000000001".parse().unwrap();
    let fact = r#"{"fact":"started"}"#;
    let row = journal::Row { seq: 2, at: Moment::from_unix_ms(3), version: 1, fact: fact.to_owned(), hash: [0; 32] };
    let mut bytes = vec![7; 32];
    bytes.extend_from_slice(b"call_01920000000070008000000000000001\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\x01");
    bytes.extend_from_slice(fact.as_bytes());
    assert_eq!(row.expected_hash(call, &[7; 32]), <[u8; 32]>::from(Sha256::digest(&bytes)));
}
