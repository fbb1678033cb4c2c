//! Events of money that goes back: one each, in the lane of its call, made again by the audit.

use super::*;
use crate::ids::EndpointId;
use rusqlite::Connection;
use serde_json::Value;

/// A settled call of 1676, of which the companion got 1169, with an endpoint that wants everything.
fn settled(shop: &Shop) -> (Started, EndpointId) {
    let endpoint = Endpoint {
        id: EndpointId::new(shop.uuid()),
        vendor: shop.vendor,
        url: "https://shop.example/lull".to_owned(),
        description: None,
        words: None,
        secret: Secret([7; 32]),
        old_secrets: Vec::new(),
        created_at: at(0),
        disabled: None,
        last_success_at: None,
        failing_since: None,
        last_error: None,
        pending: 0,
    };
    let id = endpoint.id;
    shop.commit(of(vec![Write::Webhook(WebhookWrite::Add { endpoint: Box::new(endpoint), most: 16 })]));
    shop.commit(of(vec![shop.credit("c", 5000)]));
    let started = shop.start_now("c", 2000);
    shop.commit(shop.settle(&started, &[1676]));
    (started, id)
}

/// Everything that can go back goes back.
fn all_go_back(shop: &Shop) -> (Started, EndpointId) {
    let (started, endpoint) = settled(shop);
    let by = |by_shares, by_vendor| Returned { by_shares, by_vendor };
    let decided = |direction| ReturnKind::Adjustment { direction, reason: "quality".to_owned() };
    let steps = [
        (100, by(0, 0), Bearer::Shares, ReturnKind::Refund),
        (200, by(100, 0), Bearer::Vendor, decided(Direction::ToClient)),
        (50, by(100, 200), Bearer::Vendor, decided(Direction::FromClient)),
    ];
    for (amount, before, bearer, kind) in steps {
        shop.commit(of(vec![shop.give_back(started.call, amount, before, bearer, kind)]));
    }
    shop.commit(of(vec![shop.wallet_refund("c", 300)]));
    (started, endpoint)
}

fn told(shop: &Shop) -> Vec<Value> {
    let events = shop.store.events(shop.vendor, Page { after: None, limit: 200 }).unwrap().unwrap();
    events.into_iter().map(|event| serde_json::from_str(&event.body).unwrap()).collect()
}

#[test]
fn what_goes_back_is_told_once_and_behind_the_facts_of_its_call() {
    let shop = Shop::new();
    let (started, endpoint) = all_go_back(&shop);
    let events = told(&shop);
    let words: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    let of_money = ["call.refunded", "call.adjusted", "call.adjusted", "client.refunded"];
    assert_eq!(words, [&["call.created", "call.ended", "call.settled"][..], &of_money].concat());
    let seqs: Vec<&Value> = events.iter().map(|event| &event["data"]["seq"]).collect();
    assert_eq!(seqs, [&json!(1), &json!(2), &json!(3), &json!(4), &json!(5), &json!(6), &Value::Null]);
    let yuan = |amount: i64| json!({"amount": amount, "currency": "CNY"});
    let [refund, up, down, wallet] = &events[3..] else { panic!("{events:?}") };
    assert_eq!((&refund["data"]["amount"], &refund["data"]["from"]), (&yuan(100), &json!("shares")));
    assert_eq!((&refund["data"]["companion"], &refund["data"]["vendor"]), (&yuan(70), &yuan(30)));
    assert_eq!((&refund["data"]["returned"], &refund["data"]["left"]), (&yuan(100), &yuan(1576)));
    assert_eq!((&up["data"]["direction"], &up["data"]["reason"]), (&json!("to_client"), &json!("quality")));
    assert_eq!((&down["data"]["direction"], &down["data"]["returned"]), (&json!("from_client"), &yuan(250)));
    assert_eq!((&wallet["data"]["client_ref"], &wallet["data"]["amount"]), (&json!("c"), &yuan(300)));
    assert!(events.iter().all(|event| !event.to_string().contains("the line was bad")), "words of people stay here");
    // The call's are one lane; a wallet's refund waits for nobody.
    let due = shop.store.due(at(9000), 100).unwrap().into_iter().find(|target| target.endpoint == endpoint).unwrap().due;
    let lanes: Vec<&str> = due.iter().map(|due| due.lane.as_str()).collect();
    assert_eq!((lanes.len(), lanes[0]), (2, &*started.call.to_string()));
    // Made of the rows alone.
    let again = Shop::new();
    all_go_back(&again);
    assert_eq!(events, told(&again));
    shop.assert_adds_up();
}

#[test]
fn a_refund_that_is_refused_is_not_told() {
    let shop = Shop::new();
    let (started, _) = settled(&shop);
    let stale = shop.give_back(started.call, 10, Returned { by_shares: 5, by_vendor: 0 }, Bearer::Shares, ReturnKind::Refund);
    assert_eq!(shop.store.commit(of(vec![stale])), Ok(Outcome::Refused(Refusal::Stale)));
    let poor = shop.wallet_refund("c", 50_000);
    assert!(matches!(shop.store.commit(of(vec![poor])), Ok(Outcome::Refused(Refusal::Funds { .. }))));
    assert_eq!(told(&shop).len(), 3);
    shop.assert_adds_up();
}

#[test]
fn what_an_endpoint_missed_of_money_is_found() {
    let shop = Shop::new();
    let (_, endpoint) = all_go_back(&shop);
    let all: Vec<_> = shop.store.due(at(9000), 100).unwrap().remove(0).due;
    assert_eq!(all.len(), 2);
    // Nothing is missed of what is on its way.
    let (missed, more) = shop.store.missed(shop.vendor, endpoint, None, at(9000)).unwrap().unwrap();
    assert_eq!((missed, more), (vec![], false));
    let connection = Connection::open(shop.path()).unwrap();
    connection.execute_batch("DELETE FROM delivery").unwrap();
    let (missed, _) = shop.store.missed(shop.vendor, endpoint, None, at(9000)).unwrap().unwrap();
    assert_eq!(missed.len(), 7);
    let again = WebhookWrite::ReplayMissed { vendor: shop.vendor, endpoint, events: missed, at: at(9000) };
    shop.commit(of(vec![Write::Webhook(again)]));
    let due = shop.store.due(at(9000), 100).unwrap().remove(0).due;
    assert_eq!(due.iter().map(|due| &due.lane).collect::<Vec<_>>(), all.iter().map(|due| &due.lane).collect::<Vec<_>>());
}

#[test]
fn every_change_of_such_an_event_is_found() {
    for sql in [
        "DELETE FROM event WHERE word = 'call.refunded'",
        "DELETE FROM event WHERE word = 'client.refunded'",
        "DELETE FROM event WHERE word = 'call.adjusted' AND seq = 6",
        "UPDATE event SET body = replace(body, '1576', '1577') WHERE word = 'call.refunded'",
        "UPDATE event SET body = replace(body, '300', '301') WHERE word = 'client.refunded'",
        "UPDATE event SET seq = 70 WHERE seq = 6",
        "UPDATE event SET id = replace(id, 'evt_', 'evt_0') WHERE word = 'call.adjusted'",
    ] {
        let shop = Shop::new();
        all_go_back(&shop);
        shop.store.close();
        let connection = Connection::open(shop.path()).unwrap();
        connection.execute_batch("DROP TRIGGER event_update; DROP TRIGGER event_delete").unwrap();
        connection.execute_batch(&format!("PRAGMA foreign_keys = OFF; {sql}")).unwrap();
        drop(connection);
        let findings = Store::open(&shop.path(), Role::Auditor).unwrap().audit(&record).unwrap();
        assert!(findings.iter().any(|finding| finding.rule == "outbox"), "{sql}: {findings:?}");
    }
}

/// What went back before there were such events is not told, and missed by nobody; what comes later is.
#[test]
fn refunds_of_before_have_no_event() {
    let mut shop = Shop::new();
    let (started, _) = all_go_back(&shop);
    shop.store.close();
    let connection = Connection::open(shop.path()).unwrap();
    connection
        .execute_batch(
            "DROP TRIGGER event_delete; DROP TRIGGER before_money_events_insert; PRAGMA foreign_keys = OFF;
             DELETE FROM delivery WHERE event IN (SELECT number FROM event WHERE transfer NOT NULL);
             DELETE FROM event WHERE transfer NOT NULL;
             INSERT INTO before_money_events SELECT id FROM transfer WHERE kind IN ('wallet_refund', 'call_refund', 'adjustment')",
        )
        .unwrap();
    drop(connection);
    shop.reopen();
    shop.assert_adds_up();
    let before = Returned { by_shares: 100, by_vendor: 150 };
    shop.commit(of(vec![shop.give_back(started.call, 1, before, Bearer::Shares, ReturnKind::Refund)]));
    let events = told(&shop);
    assert_eq!((events.len(), &events[3]["data"]["seq"], &events[3]["data"]["left"]["amount"]), (4, &json!(4), &json!(1425)));
    shop.assert_adds_up();
}
