//! Nights in the store: a plan says how its calls end when the client sleeps, and vendors are told when she does.

use super::*;
use crate::billing::{Increments, Rates};
use crate::call::{Night, Witness};
use crate::sleep::{Grounds, State, Verdict, Why};
use rusqlite::Connection;

fn until_asleep() -> billing::Plan {
    let increments = Increments { first_s: 60, later_s: 60, rates: Rates::one(100).unwrap() };
    let kind = Kind::UntilAsleep { increments, cap_s: Some(28_800), cap: None };
    billing::Plan::new(cny(0).currency, kind, Conditions::default()).unwrap()
}

impl Shop {
    fn plan(&self, sold: billing::Plan, night: Option<Night>, sounds: Sounds) -> Plan {
        let hold = match sold.kind() {
            Kind::Block { price, .. } => cny(*price),
            _ => cny(48_000),
        };
        let id = PlanId::new(self.uuid());
        Plan {
            id,
            vendor: self.vendor,
            name: "night".to_owned(),
            sold,
            hold,
            grade: None,
            night,
            sounds,
            recording: None,
            created_at: at(0),
        }
    }
}

#[test]
fn a_plan_keeps_its_night_and_its_sounds() {
    let shop = Shop::new();
    let probed = Night { linger: Span::ZERO, fade: Span::from_s(10), probe: Some(Span::from_s(180)) };
    let plans = [
        shop.plan(until_asleep(), Some(Night::default()), Sounds::default()),
        shop.plan(until_asleep(), Some(probed), Sounds { chime: Some(-60), waiting: true }),
        shop.plan(quarter(2000), None, Sounds { chime: Some(-10), waiting: false }),
    ];
    for plan in &plans {
        shop.commit(of(vec![Write::AddPlan(plan.clone())]));
        assert_eq!(shop.store.plan(shop.vendor, plan.id).as_ref(), Ok(&Some(plan.clone())));
    }
    assert_eq!(shop.store.plans(shop.vendor, Page { after: None, limit: 9 }).unwrap(), plans);
    shop.assert_adds_up();
}

#[test]
fn a_night_that_no_plan_may_have_is_not_kept() {
    let shop = Shop::new();
    let refused = |sold, night, sounds| {
        let plan = shop.plan(sold, night, sounds);
        match shop.store.commit(of(vec![Write::AddPlan(plan)])) {
            Err(StoreError::Broken(_)) => {}
            other => panic!("{other:?}"),
        }
    };
    let of_linger = |linger| Some(Night { linger: Span::from_s(linger), ..Night::default() });
    let of_fade = |fade| Some(Night { fade: Span::from_s(fade), ..Night::default() });
    for night in [None, of_linger(-1), of_linger(3601), of_fade(9), of_fade(301)] {
        refused(until_asleep(), night, Sounds::default());
    }
    refused(quarter(2000), Some(Night::default()), Sounds::default());
    for dbfs in [-61, -9] {
        refused(quarter(2000), None, Sounds { chime: Some(dbfs), waiting: false });
    }
}

/// A plan until asleep that an earlier lull kept promised just that.
#[test]
fn plans_from_before_nights_have_what_is_customary() {
    let mut shop = Shop::new();
    let (night, block) =
        (shop.plan(until_asleep(), Some(Night::default()), Sounds::default()), shop.plan(quarter(9), None, Sounds::default()));
    shop.commit(of(vec![Write::AddPlan(night.clone()), Write::AddPlan(block.clone())]));
    shop.store.close();
    let file = Connection::open(shop.path()).unwrap();
    file.execute("UPDATE plan SET night = NULL, sounds = NULL", []).unwrap();
    drop(file);
    shop.reopen();
    let read = |id| shop.store.plan(shop.vendor, id).unwrap().unwrap();
    assert_eq!((read(night.id).night, read(night.id).sounds), (Some(Night::default()), Sounds::default()));
    assert_eq!((read(block.id).night, read(block.id).sounds), (None, Sounds { chime: Some(-30), waiting: true }));
}

#[test]
fn a_vendor_is_told_when_a_client_sleeps_and_why() {
    let shop = Shop::new();
    shop.commit(of(vec![shop.credit("c", 2000)]));
    let mut started = shop.start_now("c", 2000);
    let grounds = Grounds {
        why: Why::Breathing,
        evidence_milli: 1200,
        period_ms: Some(4200),
        constancy_bp: 9400,
        quiet_s: 900,
        movements: 1,
        missing_bp: 20,
        unanswered: 2,
    };
    let verdict = Verdict { state: State::Asleep, since: at(7), grounds };
    let facts = [
        Fact::Started,
        Fact::Sleep { verdict },
        Fact::Lingers { by: Witness::Ear, length: Span::from_s(300), verdict: Some(verdict) },
        Fact::Lands { confirmed: false },
    ];
    let entries: Vec<Entry> = facts.into_iter().zip(1..).map(|(fact, offset)| started.entry(offset, fact)).collect();
    started.seq += 4;
    shop.commit(of(vec![Write::Facts { call: started.call, entries }]));
    shop.commit(shop.settle(&started, &[1500]));
    let events = shop.store.events(shop.vendor, Page { after: None, limit: 9 }).unwrap().unwrap();
    let events: Vec<serde_json::Value> = events.iter().map(|event| serde_json::from_str(&event.body).unwrap()).collect();
    let words: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(words, ["call.created", "call.started", "call.asleep", "call.ended", "call.settled"]);
    let told = &events[2];
    assert_eq!((&told["data"]["by"], &told["data"]["linger_s"]), (&json!("ear"), &json!(300)));
    assert_eq!((&told["data"]["sleep"]["why"], &told["data"]["sleep"]["period_ms"]), (&json!("breathing"), &json!(4200)));
    shop.assert_adds_up();
}
