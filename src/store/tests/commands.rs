//! Each write, its conditions, and what reads see of it.

use super::*;
use crate::call::{Asker, Ending, Rule, Sold};

fn keyed(shop: &Shop, key: &str, request: u8, writes: Vec<Write>) -> Transaction {
    let idempotency = Idempotency {
        vendor: shop.vendor,
        key: key.to_owned(),
        request_hash: [request; 32],
        status: 201,
        body: format!("{{\"n\":{request}}}"),
    };
    Transaction { idempotency: Some(idempotency), writes }
}

/// A second vendor, whom nothing of the first concerns.
fn stranger(shop: &Shop) -> VendorId {
    let id = VendorId::new(shop.uuid());
    shop.commit(of(vec![Write::AddVendor { id, name: format!("Stranger {id}"), key_hash: [77; 32], at: at(0) }]));
    id
}

#[test]
fn a_vendor_is_found_by_key_and_name_and_no_name_is_given_twice() {
    let shop = Shop::new();
    let vendor = Vendor { id: shop.vendor, name: "Shop".to_owned(), created_at: at(0) };
    assert_eq!(shop.store.vendor_by_key(&[1; 32]), Ok(Some(vendor.clone())));
    assert_eq!(shop.store.vendor_by_name("Shop"), Ok(Some(vendor)));
    assert_eq!(shop.store.vendor_by_key(&[9; 32]), Ok(None));
    let again = Write::AddVendor { id: VendorId::new(shop.uuid()), name: "Shop".to_owned(), key_hash: [9; 32], at: at(0) };
    assert_eq!(shop.store.commit(of(vec![again])), Ok(Outcome::Refused(Refusal::NameTaken)));
}

#[test]
fn a_login_code_opens_one_session_in_time() {
    let shop = Shop::new();
    let code = |n: u8| Write::AddLoginCode { vendor: shop.vendor, code_hash: [n; 32], expires_at: at(100) };
    shop.commit(of(vec![code(1), code(2)]));
    let open = |code: u8, now: i64| {
        let session =
            Write::OpenSession { code_hash: [code; 32], session_hash: [code + 100; 32], now: at(now), expires_at: at(now + 1000) };
        shop.store.commit(of(vec![session])).unwrap()
    };
    assert_eq!(open(1, 99), Outcome::Committed);
    assert_eq!(open(1, 99), Outcome::Refused(Refusal::LoginCode), "used");
    assert_eq!(open(2, 100), Outcome::Refused(Refusal::LoginCode), "expired");
    assert_eq!(open(3, 1), Outcome::Refused(Refusal::LoginCode), "unknown");
    let by_session = |now: i64| shop.store.vendor_by_session(&[101; 32], at(now)).unwrap().map(|vendor| vendor.id);
    assert_eq!((by_session(1098), by_session(1099)), (Some(shop.vendor), None));
    shop.commit(of(vec![Write::CloseSession { session_hash: [101; 32] }]));
    assert_eq!(by_session(99), None);
}

#[test]
fn plans_and_companions_are_listed_in_pages_and_seen_by_their_vendor_alone() {
    let shop = Shop::new();
    let other = stranger(&shop);
    let plans: Vec<Plan> = (0..5)
        .map(|n| Plan {
            id: PlanId::new(shop.uuid()),
            vendor: shop.vendor,
            name: format!("plan {n}"),
            sold: quarter(2000 + n),
            hold: cny(2000 + n),
            grade: (n == 0).then(|| "gold".to_owned()),
            night: None,
            sounds: Sounds::default(),
            recording: None,
            created_at: at(n),
        })
        .collect();
    shop.commit(of(plans.iter().cloned().map(Write::AddPlan).collect()));
    let page = |after, limit| shop.store.plans(shop.vendor, Page { after, limit }).unwrap();
    assert_eq!(page(None, 2), plans[..2]);
    assert_eq!(page(Some(plans[1].id), 2), plans[2..4]);
    assert_eq!(page(Some(plans[3].id), 2), plans[4..]);
    assert_eq!(shop.store.plan(shop.vendor, plans[0].id), Ok(Some(plans[0].clone())));
    assert_eq!(shop.store.plan(other, plans[0].id), Ok(None));
    assert_eq!(shop.store.plans(other, Page { after: None, limit: 9 }), Ok(vec![]));
    let companions = shop.store.companions(shop.vendor, Page { after: None, limit: 9 }).unwrap();
    assert_eq!(shop.store.companion(shop.vendor, shop.companion).unwrap().as_ref(), companions.first());
    assert_eq!(shop.store.companion(other, shop.companion), Ok(None));
    assert_eq!(shop.store.companions(shop.vendor, Page { after: Some(shop.companion), limit: 9 }), Ok(vec![]));
}

#[test]
fn a_settlement_policy_is_its_vendors_and_can_be_changed_again() {
    let shop = Shop::new();
    let other = stranger(&shop);
    assert_eq!(shop.store.policy(shop.vendor), Ok(None));
    let kinder = Policy::default().with(Ending::ClientLeft, Sold::Block, Rule::ExactDelivered).unwrap();
    for (policy, ms) in [(kinder, 5), (Policy::default(), 6)] {
        shop.commit(of(vec![Write::SetPolicy { vendor: shop.vendor, policy, at: at(ms) }]));
        assert_eq!(shop.store.policy(shop.vendor), Ok(Some((policy, at(ms)))));
        assert_eq!(shop.store.policy(other), Ok(None));
    }
}

#[test]
fn an_order_is_credited_once_for_each_vendor() {
    let shop = Shop::new();
    let other = stranger(&shop);
    let credit = |vendor, amount| {
        let (transfer, order_ref) = (TransferId::new(shop.uuid()), "tb-1".to_owned());
        shop.store.commit(of(vec![Write::Credit { transfer, vendor, client: client("c"), amount, order_ref, at: at(0) }])).unwrap()
    };
    assert_eq!(credit(shop.vendor, cny(10)), Outcome::Committed);
    assert_eq!(credit(shop.vendor, cny(10)), Outcome::Refused(Refusal::OrderCredited));
    assert_eq!(credit(other, cny(7)), Outcome::Committed);
    assert_eq!(shop.wallet("c"), (10, 0));
    assert_eq!(shop.store.balances(other, &client("c")), Ok(vec![Balance { posted: cny(7), held: 0 }]));
    shop.assert_adds_up();
}

#[test]
fn the_ledger_stays_in_the_range_it_keeps_exact() {
    let shop = Shop::new();
    let outcome = |amount| shop.store.commit(of(vec![shop.credit("c", amount)]));
    assert_eq!(outcome(Money::MAX_AMOUNT), Ok(Outcome::Committed));
    // The amount is not to blame, whoever it is for.
    let full = Ok(Outcome::Refused(Refusal::CreditsFull { currency: cny(1).currency }));
    assert_eq!((outcome(1), shop.store.commit(of(vec![shop.credit("d", 1)]))), (full.clone(), full));
    assert_eq!(outcome(Money::MAX_AMOUNT + 1), Ok(Outcome::Refused(Refusal::TooLarge)));
    assert_eq!(outcome(i64::MAX), Ok(Outcome::Refused(Refusal::TooLarge)));
    for amount in [0, -1, i64::MIN] {
        shop.assert_broken(of(vec![shop.credit("c", amount)]), "is not an amount to move");
    }
    let started = shop.start_now("c", Money::MAX_AMOUNT);
    shop.commit(shop.settle(&started, &[Money::MAX_AMOUNT]));
    assert_eq!(shop.wallet("c"), (0, 0));
    shop.assert_adds_up();
}

#[test]
fn a_call_is_held_extended_and_settled() {
    let shop = Shop::new();
    shop.commit(of(vec![shop.credit("c", 5000)]));
    let mut started = shop.start_now("c", 2000);
    assert_eq!(shop.wallet("c"), (5000, 2000));
    let (hold, write) = shop.hold(started.call, "c", 2000);
    let extended = Fact::Extended { by: Asker::Client, hold, order_ref: None, amount: None };
    shop.commit(of(vec![write, Write::Facts { call: started.call, entries: vec![started.entry(1, extended)] }]));
    started.seq += 1;
    started.holds.push((hold, 2000));
    assert_eq!(shop.wallet("c"), (5000, 4000));
    let (_, third) = shop.start("c", 1001);
    assert_eq!(shop.store.commit(third), Ok(Outcome::Refused(Refusal::Funds { available: cny(1000) })));

    let row = shop.store.call(shop.vendor, started.call).unwrap().unwrap();
    assert_eq!((row.client, row.medium, row.record), (client("c"), Medium::Audio, None));
    assert_eq!(shop.store.unfinished_calls().unwrap().len(), 1);
    shop.commit(shop.settle(&started, &[2000, 50]));
    assert_eq!(shop.wallet("c"), (2950, 0));
    let journal = shop.store.journal(started.call).unwrap().unwrap();
    assert_eq!(journal.entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(shop.store.record(shop.vendor, started.call).unwrap(), record(&journal));
    assert_eq!(shop.store.call(shop.vendor, started.call).unwrap().unwrap().record, record(&journal));
    assert_eq!(shop.store.unfinished_calls(), Ok(vec![]));
    shop.assert_adds_up();
}

#[test]
fn a_call_that_costs_nothing_moves_nothing() {
    let shop = Shop::new();
    shop.commit(of(vec![shop.credit("c", 10)]));
    let started = shop.start_now("c", 10);
    shop.commit(shop.settle(&started, &[0]));
    assert_eq!(shop.wallet("c"), (10, 0));
    shop.assert_adds_up();
}

#[test]
fn a_hold_the_call_never_knew_of_is_released_when_it_settles() {
    let shop = Shop::new();
    shop.commit(of(vec![shop.credit("c", 50)]));
    let started = shop.start_now("c", 10);
    let (_, late) = shop.hold(started.call, "c", 20);
    shop.commit(of(vec![late]));
    assert_eq!(shop.wallet("c"), (50, 30));
    shop.commit(shop.settle(&started, &[10]));
    assert_eq!(shop.wallet("c"), (40, 0));
    shop.assert_adds_up();
}

#[test]
fn calls_are_listed_newest_first_and_seen_by_their_vendor_alone() {
    let shop = Shop::new();
    let other = stranger(&shop);
    shop.commit(of(vec![shop.credit("c", 50)]));
    let mut calls: Vec<CallId> = (0..5).map(|_| shop.start_now("c", 1).call).collect();
    calls.reverse();
    let page = |vendor, after| -> Vec<CallId> {
        shop.store.calls(vendor, Page { after, limit: 2 }, None).unwrap().iter().map(|row| row.id).collect()
    };
    assert_eq!(page(shop.vendor, None), calls[..2]);
    assert_eq!(page(shop.vendor, Some(calls[1])), calls[2..4]);
    assert_eq!(page(shop.vendor, Some(calls[3])), calls[4..]);
    assert_eq!(page(other, None), []);
    assert_eq!(shop.store.call(other, calls[0]), Ok(None));
    let started = shop.start_now("c", 1);
    shop.commit(shop.settle(&started, &[1]));
    assert_eq!(shop.store.record(other, started.call), Ok(None));
    let listed = |settled| -> Vec<CallId> {
        let all = Page { after: None, limit: 100 };
        shop.store.calls(shop.vendor, all, Some(settled)).unwrap().iter().map(|row| row.id).collect()
    };
    assert_eq!(listed(true), [started.call]);
    assert_eq!(listed(false), calls);
}

#[test]
fn a_key_has_one_effect_and_one_reply() {
    let shop = Shop::new();
    let credit = shop.credit("c", 10);
    let first = keyed(&shop, "k", 1, vec![credit.clone()]);
    shop.commit(first.clone());
    assert_eq!(shop.store.commit(first), Ok(Outcome::Replayed { status: 201, body: "{\"n\":1}".to_owned() }));
    assert_eq!(shop.store.commit(keyed(&shop, "k", 2, vec![credit])), Ok(Outcome::Refused(Refusal::KeyReused)));
    assert_eq!(shop.wallet("c"), (10, 0));
    let reply = Reply { request_hash: [1; 32], status: 201, body: "{\"n\":1}".to_owned() };
    assert_eq!(shop.store.reply(shop.vendor, "k"), Ok(Some(reply)));
    let other = stranger(&shop);
    assert_eq!(shop.store.reply(other, "k"), Ok(None));
    let mut theirs = keyed(&shop, "k", 3, vec![]);
    theirs.idempotency.as_mut().unwrap().vendor = other;
    shop.commit(theirs);
}

#[test]
fn a_refused_command_may_be_tried_again_with_its_key() {
    let shop = Shop::new();
    let (_, start) = shop.start("c", 10);
    let start = keyed(&shop, "k", 1, start.writes);
    assert!(matches!(shop.store.commit(start.clone()), Ok(Outcome::Refused(Refusal::Funds { .. }))));
    assert_eq!(shop.store.reply(shop.vendor, "k"), Ok(None));
    shop.commit(of(vec![shop.credit("c", 10)]));
    shop.commit(start);
}

#[test]
fn a_secret_is_made_once() {
    let shop = Shop::new();
    assert_eq!(shop.store.secret("join_token", [1; 32]), Ok([1; 32]));
    assert_eq!(shop.store.secret("join_token", [2; 32]), Ok([1; 32]));
    assert_eq!(shop.store.secret("other", [3; 32]), Ok([3; 32]));
}

#[test]
fn facts_continue_their_journal_or_are_refused_as_a_whole() {
    let shop = Shop::new();
    shop.commit(of(vec![shop.credit("c", 100)]));
    let started = shop.start_now("c", 10);
    let facts = |entries: Vec<Entry>| of(vec![Write::Facts { call: started.call, entries }]);
    let before = shop.store.journal(started.call).unwrap();
    shop.assert_broken(facts(vec![started.entry(2, Fact::Started)]), "follows fact 1");
    shop.assert_broken(facts(vec![started.entry(0, Fact::Started)]), "follows fact 1");
    shop.assert_broken(facts(vec![started.entry(1, Fact::Started), started.entry(1, Fact::Resumed)]), "follows fact 2");
    let created = before.as_ref().unwrap().entries[0].fact.clone();
    shop.assert_broken(facts(vec![started.entry(1, created)]), "the first fact");
    let unknown = Write::Facts { call: CallId::new(shop.uuid()), entries: vec![Entry { seq: 1, at: at(0), fact: Fact::Started }] };
    shop.assert_broken(of(vec![unknown]), "the first fact");
    assert_eq!(shop.store.journal(started.call).unwrap(), before);
    shop.assert_adds_up();
}

#[test]
fn what_contradicts_the_ledger_is_refused_as_a_whole() {
    let shop = Shop::new();
    shop.commit(of(vec![shop.credit("c", 100), shop.credit("d", 100)]));
    let started = shop.start_now("c", 10);
    let other = shop.start_now("c", 10);
    let (_, stray) = shop.hold(CallId::new(shop.uuid()), "c", 5);
    shop.assert_broken(of(vec![stray]), "unknown");
    let (_, foreign) = shop.hold(started.call, "d", 5);
    shop.assert_broken(of(vec![foreign]), "another wallet");
    let (_, mut wrong) = shop.start("c", 10);
    wrong.writes[0] = match wrong.writes[0].clone() {
        Write::Hold { hold, call, vendor, amount, at, .. } => Write::Hold { hold, call, vendor, client: client("d"), amount, at },
        other => other,
    };
    shop.assert_broken(wrong, "another client's");

    let settle = |change: &dyn Fn(&mut Settlement)| {
        let mut transaction = shop.settle(&started, &[10]);
        if let Some(Write::Settle(settlement)) = transaction.writes.last_mut() {
            change(settlement);
        }
        transaction
    };
    shop.assert_broken(settle(&|s| s.captures[0].1 = 11), "which holds 10");
    shop.assert_broken(settle(&|s| s.captures[0].1 = -1), "which holds 10");
    shop.assert_broken(settle(&|s| s.captures.push((other.holds[0].0, 1))), "not pending for it");
    shop.assert_broken(settle(&|s| s.captures.push(s.captures[0])), "twice");
    shop.assert_broken(settle(&|s| s.vendor_share += 1), "shares");
    shop.assert_broken(settle(&|s| (s.vendor_share, s.companion_share) = (11, -1)), "shares");
    shop.assert_broken(settle(&|s| (s.vendor_share, s.companion_share) = (i64::MAX, i64::MAX)), "shares");
    shop.assert_broken(settle(&|s| (s.captures[0].1, s.vendor_share, s.companion_share) = (9, 9, 0)), "is charged 0.10 CNY");
    let mut yen = shop.settle(&started, &[10]);
    if let Write::Facts { entries, .. } = &mut yen.writes[0] {
        let (charge, refund) = (Money::new(10, "JPY".parse().unwrap()), cny(0));
        entries[1].fact = Fact::Settled { charge, refund };
    }
    shop.assert_broken(yen, "captures 0.10 CNY and is charged 10 JPY");
    let mut halves = shop.settle(&started, &[10]);
    let settlement = halves.writes.pop().unwrap();
    shop.assert_broken(halves.clone(), "without its settlement");
    shop.assert_broken(of(vec![settlement.clone()]), "without the fact");
    halves.writes.insert(0, settlement);
    shop.assert_broken(halves, "after its settlement");
    assert_eq!(shop.wallet("c"), (100, 20));
    shop.assert_adds_up();
}

#[test]
fn a_settled_call_takes_nothing_more() {
    let shop = Shop::new();
    shop.commit(of(vec![shop.credit("c", 100)]));
    let mut started = shop.start_now("c", 10);
    shop.commit(shop.settle(&started, &[4]));
    started.seq += 2;
    shop.assert_broken(of(vec![Write::Facts { call: started.call, entries: vec![started.entry(1, Fact::Resumed)] }]), "is settled");
    let (_, hold) = shop.hold(started.call, "c", 5);
    shop.assert_broken(of(vec![hold]), "settled");
    let mut again = shop.settle(&started, &[4]);
    again.writes.remove(0);
    shop.assert_broken(again.clone(), "not pending for it");
    if let Some(Write::Settle(settlement)) = again.writes.first_mut() {
        settlement.captures.clear();
    }
    shop.assert_broken(again, "nothing on hold");
    assert_eq!(shop.wallet("c"), (96, 0));
    shop.assert_adds_up();
}

#[test]
fn a_call_is_for_a_companion_of_its_own_vendor() {
    let shop = Shop::new();
    let other = stranger(&shop);
    shop.commit(of(vec![shop.credit("c", 100)]));
    let (started, mut start) = shop.start("c", 10);
    let terms = Terms { vendor: other, ..started.terms };
    let created = Fact::Created { terms: Box::new(terms), hold: started.holds[0].0 };
    start.writes[1] = Write::Facts { call: started.call, entries: vec![Entry { seq: 1, at: at(0), fact: created }] };
    shop.assert_broken(start, "who does not work for");
}
