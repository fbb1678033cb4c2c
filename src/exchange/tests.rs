//! Calls as text (`fixtures/calls`), and properties of random ones.

mod booking;
mod long_night;
mod properties;
mod script;

use super::*;
use crate::billing::{Conditions, HoldError, Kind, Plan};
use crate::call::{EndReason, Entry, Fact, Fault, Journal, Limits, Medium, Policy, Shares, Sounds};
use crate::clock::Span;
use crate::ids::{CompanionId, PlanId, TokenId, VendorId};
use crate::money::{Currency, Money};
use std::path::Path;
use uuid::Uuid;

/// When every test call is booked.
const BOOKED: Moment = Moment::from_unix_ms(1_773_144_000_000); // 2026-03-10T12:00:00.000Z

fn call_id() -> CallId {
    CallId::new(Uuid::from_u128(0xca11))
}

fn hold_id(n: u128) -> HoldId {
    HoldId::new(Uuid::from_u128(0x401d_0000 + n))
}

fn cny() -> Currency {
    "CNY".parse().unwrap()
}

fn block_plan(block: Span, price: i64) -> Plan {
    Plan::new(cny(), Kind::Block { block_s: block.whole_s(), price }, Conditions::default()).unwrap()
}

fn terms(block: Span, price: i64) -> Terms {
    Terms {
        vendor: VendorId::new(Uuid::from_u128(1)),
        plan: PlanId::new(Uuid::from_u128(2)),
        plan_name: "A quarter of an hour".into(),
        sold: block_plan(block, price),
        hold: Money::new(price, cny()),
        grade_paid: Some("gold".into()),
        grade_delivered: Some("gold".into()),
        client: "tb-1".parse().unwrap(),
        client_name: None,
        companion: CompanionId::new(Uuid::from_u128(3)),
        companion_name: "小鹿".into(),
        medium: Medium::Audio,
        policy: Policy::default(),
        shares: Shares { companion_bps: 7000, vendor_bps: 3000 },
        client_token: TokenId::new(Uuid::from_u128(4)),
        companion_token: TokenId::new(Uuid::from_u128(5)),
        limits: Limits::default(),
        zones: Some("2026a".into()),
        night: None,
        sounds: Sounds::default(),
        recording: None,
    }
}

/// What was written down of one call, as a store would have it, and what must hold after every step.
struct Books {
    entries: Vec<Entry>,
    settle: Option<SettleOrder>,
}

impl Books {
    fn new(created: Entry) -> Self {
        Self { entries: vec![created], settle: None }
    }

    /// Takes the records of one step and checks them against the call.
    fn check(&mut self, exchange: &Exchange, effects: &[Effect]) {
        let mut told = false;
        for effect in effects {
            match effect {
                Effect::Record { entries, settle, .. } => {
                    assert!(!told, "told before it was written: {effects:?}");
                    assert!(self.settle.is_none(), "written after the settlement: {entries:?}");
                    self.entries.extend(entries.iter().cloned());
                    self.settle.clone_from(settle);
                }
                Effect::Tell { .. } | Effect::Answer { .. } | Effect::Reserve { .. } => told = true,
                Effect::StopMedia { .. } | Effect::Audio { .. } => assert!(!told),
            }
        }
        let journal = Journal { call: call_id(), entries: self.entries.clone() };
        let replayed = Call::replay(&journal).expect("what a call wrote can be replayed");
        if let Some(call) = exchange.call(call_id()) {
            assert_eq!(&replayed, call, "the facts give another call");
        }
        let ended = self.entries.iter().filter(|entry| matches!(entry.fact, crate::call::Fact::Ended { .. })).count();
        assert_eq!(ended, usize::from(self.settle.is_some()), "an end and its settlement are one");
        if let Some(order) = &self.settle {
            self.check_money(&replayed, order, &journal);
        }
    }

    fn check_money(&self, call: &Call, order: &SettleOrder, journal: &Journal) {
        let held: i64 = call.amounts().iter().sum();
        assert_eq!(call.amounts().len(), call.holds().len());
        assert!(order.charge.amount >= 0 && order.charge.amount <= held);
        assert_eq!(order.charge.amount + order.refund.amount, held);
        assert_eq!(order.captures.iter().map(|(_, amount)| amount).sum::<i64>(), order.charge.amount);
        assert_eq!(order.companion_share + order.vendor_share, order.charge.amount);
        assert_eq!(record(journal).as_ref(), Ok(&order.record), "the record is a function of the facts");
        assert!(matches!(call.state(), State::Settled { charge, refund, .. } if charge == order.charge && refund == order.refund));
        assert!(call.delivered(BOOKED) <= call.paid() + call.gifted());
        let record: serde_json::Value = serde_json::from_str(&order.record).unwrap();
        let lines = record["lines"].as_array().unwrap().iter().map(|line| line["amount"]["amount"].as_i64().unwrap());
        assert_eq!(lines.sum::<i64>(), order.charge.amount);
        if let Some(quota) = call.quota() {
            assert!(record["billed_s"].as_i64().unwrap() <= quota.whole_s(), "time that was not bought is billed");
        }
    }
}

#[test]
fn calls_go_as_their_scripts_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/calls");
    let mut scripts: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    scripts.retain(|path| path.extension().is_some_and(|extension| extension == "call"));
    scripts.sort();
    assert!(scripts.len() >= 16, "the scripts are gone");
    for path in scripts {
        let text = std::fs::read_to_string(&path).unwrap();
        let ran = script::run(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        expect_test::expect_file![path].assert_eq(&ran);
    }
}

#[test]
fn a_request_for_an_unknown_call_is_answered() {
    let mut exchange = Exchange::new();
    let mut out = Vec::new();
    let request = call::RequestId(7);
    exchange.handle(call_id(), Event::VendorEnds { request }, BOOKED, &mut out);
    exchange.handle(call_id(), Event::AbuseReported, BOOKED, &mut out);
    assert_eq!(out, [Effect::Answer { request, result: Err(Refused::UnknownCall) }]);
    assert_eq!(exchange.view(call_id(), BOOKED), None);
}

#[test]
fn a_call_is_forgotten_only_once_it_is_settled() {
    let mut exchange = Exchange::new();
    let (call, _) = book(call_id(), terms(Span::from_s(900), 2000), hold_id(1), BOOKED).unwrap();
    exchange.insert(call);
    assert!(!exchange.forget(call_id()));
    assert_eq!(exchange.poll_timeout(), Some(BOOKED + Span::from_s(600)));
    exchange.handle(call_id(), Event::ServerStops, BOOKED, &mut Vec::new());
    assert_eq!(exchange.poll_timeout(), None);
    assert!(exchange.forget(call_id()));
    assert_eq!(exchange.calls().count(), 0);
}

#[test]
fn each_call_wakes_at_its_own_moment() {
    let mut exchange = Exchange::new();
    for n in 0..1000u32 {
        let id = CallId::new(Uuid::from_u128(u128::from(n)));
        let booked = BOOKED + Span::from_s(i64::from(n * 7 % 1000));
        let (call, _) = book(id, terms(Span::from_s(900), 2000), hold_id(u128::from(n)), booked).unwrap();
        exchange.insert(call);
    }
    let (mut ended, mut last) = (0, BOOKED);
    while let Some(due) = exchange.poll_timeout() {
        let mut out = Vec::new();
        exchange.handle_timeout(due - Span::from_ms(1), &mut out);
        assert_eq!(out, [], "too early");
        exchange.handle_timeout(due, &mut out);
        ended += out.iter().filter(|effect| matches!(effect, Effect::Record { settle: Some(_), .. })).count();
        assert!(due >= last);
        last = due;
    }
    assert_eq!((ended, last), (1000, BOOKED + Span::from_s(999 + 600)));
}

#[test]
fn terms_that_cannot_be_rated_make_no_call() {
    let refuse = |change: fn(&mut Terms)| {
        let mut terms = terms(Span::from_s(900), 2000);
        change(&mut terms);
        book(call_id(), terms, hold_id(1), BOOKED).unwrap_err()
    };
    assert_eq!(refuse(|terms| terms.hold.amount = -1), TermsError::Hold(HoldError::Range));
    assert_eq!(refuse(|terms| terms.hold.amount = i64::MAX), TermsError::Hold(HoldError::Range));
    assert_eq!(refuse(|terms| terms.hold.amount = 1999), TermsError::Hold(HoldError::NotThePrice(Money::new(2000, cny()))));
    assert_eq!(refuse(|terms| terms.shares.vendor_bps = 3001), TermsError::Shares);
    assert_eq!(refuse(|terms| terms.limits.pause_limit = Span::from_ms(-1)), TermsError::Limits);
    assert_eq!(refuse(|terms| terms.limits.warnings.push(Span::from_ms(i64::MAX))), TermsError::Limits);
}

#[test]
fn a_journal_that_no_call_wrote_is_refused() {
    use crate::call::{EndReason, Fact, Fault, ReplayError};
    let (_, created) = book(call_id(), terms(Span::from_s(900), 2000), hold_id(1), BOOKED).unwrap();
    let entry = |seq, fact| Entry { seq, at: BOOKED, fact };
    let replay = |entries: &[Entry]| Call::replay(&Journal { call: call_id(), entries: entries.to_vec() }).map(|_| ());
    assert_eq!(replay(&[]), Err(ReplayError::NotCreated));
    assert_eq!(replay(&[entry(1, Fact::Started)]), Err(ReplayError::NotCreated));
    assert_eq!(replay(&[created.clone(), entry(3, Fact::Started)]), Err(ReplayError::Gap { last: 1, found: 3 }));
    assert_eq!(replay(&[created.clone(), entry(2, Fact::Resumed)]), Err(ReplayError::OutOfPlace { seq: 2 }));
    let ended = entry(2, Fact::Ended { reason: EndReason::VendorEnded, at_fault: Fault::None });
    assert_eq!(replay(&[created.clone(), ended.clone()]), Ok(()));
    assert_eq!(replay(&[created.clone(), ended, entry(3, Fact::Started)]), Err(ReplayError::OutOfPlace { seq: 3 }));
    let before = Entry { seq: 2, at: BOOKED - Span::from_ms(1), fact: Fact::Started };
    assert_eq!(replay(&[created, before]), Err(ReplayError::OutOfPlace { seq: 2 }));
}

#[test]
fn facts_that_contradict_each_other_give_no_record_and_stop_nobody() {
    let (call, created) = book(call_id(), terms(Span::from_s(900), 2000), hold_id(1), BOOKED).unwrap();
    let at = |s| BOOKED + Span::from_s(s);
    let (charge, refund) = (Money::new(2000, cny()), Money::new(0, cny()));
    let journal = |since| {
        let facts = [
            (10, Fact::Started),
            (30, Fact::Paused { cause: Fault::Client, since }),
            (40, Fact::Resumed),
            (60, Fact::Ended { reason: EndReason::ClientLeft, at_fault: Fault::Client }),
            (60, Fact::Settled { charge, refund }),
        ];
        let rest = (2..).zip(facts).map(|(seq, (s, fact))| Entry { seq, at: at(s), fact });
        Journal { call: call.id(), entries: std::iter::once(created.clone()).chain(rest).collect() }
    };
    assert!(record(&journal(at(30))).is_ok());
    // A pause that begins after it is over.
    let damaged = journal(at(50));
    let error = RecordError::Meter { meter: Span::from_s(50), machine: Span::from_s(60) };
    assert_eq!((record(&damaged), receipt(&damaged)), (Err(error), Err(error)));
    let call = Call::replay(&damaged).unwrap();
    assert_eq!(View::of(&call, at(100)).spent, charge);
    // Nor does one that is not settled.
    let open = Journal { entries: damaged.entries[..5].to_vec(), ..damaged };
    View::of(&Call::replay(&open).unwrap(), at(100));
}
