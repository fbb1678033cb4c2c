//! The outbox: no fact without its event, one lane in order, what becomes of tries, and who may have which endpoint.

use super::*;
use crate::ids::{EndpointId, EventId};
use rusqlite::Connection;
use serde_json::Value;

const EVERY: [&str; 9] = [
    "call.created",
    "call.started",
    "call.warning",
    "call.extended",
    "call.paused",
    "call.paused",
    "call.resumed",
    "call.ended",
    "call.settled",
];

fn webhook(write: WebhookWrite) -> Transaction {
    of(vec![Write::Webhook(write)])
}

impl Shop {
    fn new_endpoint(&self, words: Option<&[&str]>) -> Endpoint {
        Endpoint {
            id: EndpointId::new(self.uuid()),
            vendor: self.vendor,
            url: "https://shop.example/lull".to_owned(),
            description: None,
            words: words.map(|words| words.iter().map(|word| (*word).to_owned()).collect()),
            secret: Secret([7; 32]),
            old_secrets: Vec::new(),
            created_at: at(0),
            disabled: None,
            last_success_at: None,
            failing_since: None,
            last_error: None,
            pending: 0,
        }
    }

    fn endpoint(&self, words: Option<&[&str]>) -> EndpointId {
        let endpoint = self.new_endpoint(words);
        let id = endpoint.id;
        self.commit(webhook(WebhookWrite::Add { endpoint: Box::new(endpoint), most: 16 }));
        id
    }

    /// Everything that can be told of a call happens to one.
    fn whole_call(&self) -> CallId {
        self.commit(of(vec![self.credit("c", 2000)]));
        let mut started = self.start_now("c", 2000);
        let facts = [
            Fact::Joined { side: crate::call::Side::Client, leg: crate::ids::LegId::new(self.uuid()) },
            Fact::Started,
            Fact::Warned { left: Span::from_s(60) },
            Fact::Gifted { by: crate::call::Asker::Vendor, length: Span::from_s(60), gift: None },
            Fact::Paused { cause: Fault::Client, since: at(1) },
            Fact::Paused { cause: Fault::Companion, since: at(2) },
            Fact::Resumed,
        ];
        let entries: Vec<Entry> = facts.into_iter().zip(1..).map(|(fact, offset)| started.entry(offset, fact)).collect();
        started.seq += 7;
        self.commit(of(vec![Write::Facts { call: started.call, entries }]));
        self.commit(self.settle(&started, &[1500]));
        started.call
    }

    fn all_events(&self) -> Vec<(EventId, Value)> {
        let events = self.store.events(self.vendor, Page { after: None, limit: 200 }).unwrap().unwrap();
        events.into_iter().map(|event| (event.id, serde_json::from_str(&event.body).unwrap())).collect()
    }

    /// What is due at an endpoint long after all that happened.
    fn due(&self, endpoint: EndpointId, now: Moment) -> Vec<Due> {
        let targets = self.store.due(now, 100).unwrap();
        targets.into_iter().find(|target| target.endpoint == endpoint).map_or(Vec::new(), |target| target.due)
    }

    fn attempt(&self, endpoint: EndpointId, event: EventId, when: Moment, outcome: Tried) {
        let status = if outcome == Tried::Delivered { Some(200) } else { Some(500) };
        self.commit(webhook(WebhookWrite::Attempted(Attempt { endpoint, event, at: when, status, outcome })));
    }

    /// How many events an endpoint missed, and whether there are more.
    fn missed(&self, endpoint: EndpointId, now: Moment) -> (usize, bool) {
        let (events, more) = self.store.missed(self.vendor, endpoint, None, now).unwrap().unwrap();
        (events.len(), more)
    }

    /// Looks for what an endpoint missed and lets it be sent again, as a request does.
    fn replay_missed(&self, endpoint: EndpointId, at: Moment) {
        let (events, _) = self.store.missed(self.vendor, endpoint, None, at).unwrap().unwrap();
        self.commit(webhook(WebhookWrite::ReplayMissed { vendor: self.vendor, endpoint, events, at }));
    }

    fn shown(&self, endpoint: EndpointId) -> Endpoint {
        self.store.endpoint(self.vendor, endpoint).unwrap().unwrap()
    }
}

fn failed(retry_at: Option<Moment>) -> Tried {
    Tried::Failed { why: "answered with status 500".to_owned(), retry_at }
}

#[test]
fn each_fact_that_is_told_has_its_event_and_no_name_leaves_by_it() {
    let shop = Shop::new();
    let call = shop.whole_call();
    let events = shop.all_events();
    let words: Vec<&str> = events.iter().map(|(_, body)| body["type"].as_str().unwrap()).collect();
    assert_eq!(words, EVERY);
    for (seq, (id, body)) in events.iter().enumerate() {
        assert_eq!(body["data"]["seq"], json!(seq + 1));
        assert_eq!(body["data"]["call_id"], json!(call.to_string()));
        assert_eq!(body["data"]["client_ref"], "c");
        let text = body.to_string();
        assert!(!text.contains("Lin") && !text.contains("jti_") && text.len() < 2000, "{id}: {text}");
    }
    let settled = &events[8].1["data"];
    assert_eq!((&settled["charge"]["amount"], &settled["refund"]["amount"]), (&json!(1500), &json!(500)));
    assert_eq!(settled["shares"][0]["amount"]["amount"], json!(1050));
    let again = Shop::new();
    again.whole_call();
    assert_eq!(shop.all_events(), again.all_events(), "made of the facts alone, names and all");
    shop.assert_adds_up();
}

#[test]
fn a_refused_transaction_leaves_no_event() {
    let shop = Shop::new();
    let (_, transaction) = shop.start("c", 2000);
    let poor = Terms { client: client("poor"), ..shop.terms("poor", 2000) };
    let call = CallId::new(shop.uuid());
    let (hold, hold_write) = shop.hold(call, "poor", 2000);
    let entries = vec![Entry { seq: 1, at: at(0), fact: Fact::Created { terms: Box::new(poor), hold } }];
    let refused = shop.store.commit(of(vec![Write::Facts { call, entries }, hold_write]));
    assert!(matches!(refused, Ok(Outcome::Refused(Refusal::Funds { .. }))), "{refused:?}");
    assert!(matches!(shop.store.commit(transaction), Ok(Outcome::Refused(Refusal::Funds { .. }))));
    assert_eq!(shop.all_events(), []);
}

#[test]
fn of_one_call_one_event_is_due_at_a_time_and_calls_do_not_wait_for_each_other() {
    let shop = Shop::new();
    let endpoint = shop.endpoint(None);
    let (one, other) = (shop.whole_call(), shop.whole_call());
    let later = at(100_000);
    let mut told = Vec::new();
    for round in 0..9 {
        let due = shop.due(endpoint, later);
        let lanes: Vec<String> = due.iter().map(|due| due.lane.clone()).collect();
        assert_eq!(lanes.len(), 2, "round {round}");
        assert!(lanes.contains(&one.to_string()) && lanes.contains(&other.to_string()));
        for due in due {
            shop.attempt(endpoint, due.event, later, Tried::Delivered);
            told.push(due.event);
        }
    }
    assert_eq!(shop.due(endpoint, later), []);
    assert_eq!(shop.store.next_due(at(0)).unwrap(), None);
    let events: Vec<EventId> = shop.all_events().into_iter().map(|(id, _)| id).collect();
    for call in 0..2 {
        let order: Vec<usize> = told.iter().filter_map(|id| events[call * 9..][..9].iter().position(|event| event == id)).collect();
        assert_eq!(order, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
    }
    assert_eq!(shop.shown(endpoint).pending, 0);
    shop.assert_adds_up();
}

#[test]
fn what_failed_waits_and_holds_up_only_its_own_call() {
    let shop = Shop::new();
    let endpoint = shop.endpoint(None);
    shop.whole_call();
    shop.whole_call();
    let later = at(100_000);
    let first = shop.due(endpoint, later)[0].clone();
    shop.attempt(endpoint, first.event, later, failed(Some(later + Span::from_s(5))));
    assert_eq!(shop.due(endpoint, later).len(), 1, "the other call");
    assert_eq!(shop.store.next_due(later).unwrap(), Some(later + Span::from_s(5)));
    let due = shop.due(endpoint, later + Span::from_s(5));
    let again = due.iter().find(|due| due.event == first.event).unwrap();
    assert_eq!((again.attempts, &again.body), (1, &first.body));
    let shown = shop.shown(endpoint);
    assert_eq!(shown.failing_since, Some(later));
    assert_eq!(shown.last_error, Some((later, "answered with status 500".to_owned())));
    shop.attempt(endpoint, first.event, later + Span::from_s(5), Tried::Delivered);
    assert_eq!(shop.shown(endpoint).failing_since, None);
    // A late word about what is through already changes nothing.
    shop.attempt(endpoint, first.event, later + Span::from_s(6), failed(None));
    let page = Page { after: None, limit: 200 };
    let deliveries = shop.store.deliveries(shop.vendor, endpoint, page).unwrap().unwrap();
    let delivery = deliveries.iter().find(|delivery| delivery.event == first.event).unwrap();
    assert_eq!((delivery.state.as_str(), delivery.attempts, delivery.error.as_deref()), ("delivered", 2, None));
    assert_eq!(deliveries.len(), 18);
}

#[test]
fn an_endpoint_is_disabled_when_an_event_is_given_up_and_nothing_came_through_meanwhile() {
    let shop = Shop::new();
    let (dead, choosy) = (shop.endpoint(None), shop.endpoint(None));
    shop.whole_call();
    shop.whole_call();
    let later = at(100_000);
    for endpoint in [dead, choosy] {
        let due = shop.due(endpoint, later);
        shop.attempt(endpoint, due[0].event, later, failed(Some(later)));
        if endpoint == choosy {
            shop.attempt(endpoint, due[1].event, later + Span::from_ms(1), Tried::Delivered);
        }
        shop.attempt(endpoint, due[0].event, later + Span::from_ms(2), failed(None));
    }
    let shown = shop.shown(dead);
    assert_eq!(shown.disabled, Some((later + Span::from_ms(2), Disabled::Exhausted)));
    assert_eq!((shown.pending, shop.due(dead, later + Span::from_s(1))), (18, vec![]));
    assert_eq!((shop.store.disabled(dead), shop.store.disabled(choosy)), (Ok(Some(Disabled::Exhausted)), Ok(None)));
    assert_eq!(shop.shown(choosy).disabled, None, "only that event is not to its taste");
    assert_eq!(shop.due(choosy, later + Span::from_s(1)).len(), 2, "the next of both calls");
    assert_eq!(shop.store.traffic().unwrap().disabled, 1);

    // Nothing is queued for it, and nothing is lost: enabled again it gets all of it, in order.
    shop.whole_call();
    assert_eq!(shop.due(dead, at(200_000)), []);
    let refused = [
        WebhookWrite::Test { vendor: shop.vendor, endpoint: dead, event: EventId::new(shop.uuid()), at: later },
        WebhookWrite::ReplayMissed { vendor: shop.vendor, endpoint: dead, events: vec![1], at: later },
    ];
    for write in refused {
        assert_eq!(shop.store.commit(webhook(write)), Ok(Outcome::Refused(Refusal::EndpointDisabled)));
    }
    shop.commit(webhook(WebhookWrite::Enable { vendor: shop.vendor, endpoint: dead }));
    assert_eq!(shop.shown(dead).pending, 18, "what was on its way is again");
    assert_eq!(shop.missed(dead, later), (9, false));
    shop.replay_missed(dead, later);
    assert_eq!(shop.shown(dead).pending, 27);
    for left in [3; 9] {
        let due = shop.due(dead, at(200_000));
        assert_eq!(due.len(), left);
        for due in due {
            shop.attempt(dead, due.event, at(200_000), Tried::Delivered);
        }
    }
    assert_eq!(shop.shown(dead).pending, 0);
    shop.assert_adds_up();
}

#[test]
fn an_endpoint_that_says_gone_is_disabled_at_once() {
    let shop = Shop::new();
    let endpoint = shop.endpoint(None);
    shop.whole_call();
    let due = shop.due(endpoint, at(100_000));
    shop.attempt(endpoint, due[0].event, at(100_000), Tried::Gone { why: "answered with status 410".to_owned() });
    assert_eq!(shop.shown(endpoint).disabled, Some((at(100_000), Disabled::Gone)));
    assert_eq!(shop.due(endpoint, at(200_000)), []);
    shop.commit(webhook(WebhookWrite::Enable { vendor: shop.vendor, endpoint }));
    let again = shop.due(endpoint, at(200_000));
    assert_eq!(again.iter().map(|due| (due.event, due.attempts)).collect::<Vec<_>>(), [(due[0].event, 0)], "the order holds");
}

#[test]
fn an_endpoint_gets_what_it_chose_and_a_replay_whatever_it_names() {
    let shop = Shop::new();
    let endpoint = shop.endpoint(Some(&["call.ended", "call.settled"]));
    shop.whole_call();
    assert_eq!(shop.shown(endpoint).pending, 2);
    let (created, ended) = (shop.all_events()[0].0, shop.all_events()[7].0);
    let vendor = shop.vendor;
    shop.commit(webhook(WebhookWrite::Replay { vendor, event: created, endpoint: None, at: at(1) }));
    assert_eq!(shop.shown(endpoint).pending, 2, "it does not want that");
    shop.commit(webhook(WebhookWrite::Replay { vendor, event: created, endpoint: Some(endpoint), at: at(1) }));
    let due = shop.due(endpoint, at(100_000));
    assert_eq!(due.iter().map(|due| due.event).collect::<Vec<_>>(), [created], "first, since it is the older one of its call");
    for event in [created, ended, shop.all_events()[8].0] {
        shop.attempt(endpoint, event, at(100_000), Tried::Delivered);
    }
    shop.commit(webhook(WebhookWrite::Replay { vendor, event: ended, endpoint: None, at: at(100_000) }));
    let due = shop.due(endpoint, at(100_000));
    assert_eq!(due.iter().map(|due| (due.event, due.attempts)).collect::<Vec<_>>(), [(ended, 0)]);
    shop.replay_missed(endpoint, at(100_000));
    assert_eq!(shop.shown(endpoint).pending, 1, "nothing else was missed");
}

#[test]
fn a_test_is_tried_once_and_disables_nothing() {
    let shop = Shop::new();
    let endpoint = shop.endpoint(Some(&["call.ended"]));
    let event = EventId::new(shop.uuid());
    shop.commit(webhook(WebhookWrite::Test { vendor: shop.vendor, endpoint, event, at: at(5) }));
    let due = shop.due(endpoint, at(5));
    assert_eq!(due.len(), 1);
    assert!(due[0].body.contains("webhook.test"));
    shop.attempt(endpoint, event, at(6), failed(Some(at(7))));
    assert_eq!((shop.due(endpoint, at(100)), shop.shown(endpoint).disabled), (vec![], None));
    shop.assert_adds_up();
}

#[test]
fn endpoints_are_their_vendors_own_and_not_too_many() {
    let shop = Shop::new();
    let endpoint = shop.endpoint(None);
    let more = WebhookWrite::Add { endpoint: Box::new(shop.new_endpoint(None)), most: 1 };
    assert_eq!(shop.store.commit(webhook(more)), Ok(Outcome::Refused(Refusal::TooManyEndpoints { most: 1 })));
    let stranger = VendorId::new(shop.uuid());
    shop.commit(of(vec![Write::AddVendor { id: stranger, name: "Stranger".to_owned(), key_hash: [2; 32], at: at(0) }]));
    shop.whole_call();
    let event = shop.all_events()[0].0;
    let change = Change { url: Some("https://evil.example".to_owned()), ..Change::default() };
    for write in [
        WebhookWrite::Change { vendor: stranger, endpoint, change },
        WebhookWrite::Remove { vendor: stranger, endpoint, at: at(0) },
        WebhookWrite::Rotate { vendor: stranger, endpoint, secret: Secret([1; 32]), at: at(0), old_until: at(9) },
        WebhookWrite::Enable { vendor: stranger, endpoint },
        WebhookWrite::Test { vendor: stranger, endpoint, event: EventId::new(shop.uuid()), at: at(0) },
        WebhookWrite::ReplayMissed { vendor: stranger, endpoint, events: vec![1], at: at(0) },
    ] {
        assert_eq!(shop.store.commit(webhook(write.clone())), Ok(Outcome::Refused(Refusal::NoEndpoint)), "{write:?}");
    }
    let theirs = WebhookWrite::Replay { vendor: stranger, event, endpoint: None, at: at(0) };
    assert_eq!(shop.store.commit(webhook(theirs)), Ok(Outcome::Refused(Refusal::NoEvent)));
    assert_eq!(shop.store.endpoints(stranger), Ok(vec![]));
    assert_eq!(shop.store.endpoint(stranger, endpoint), Ok(None));
    let page = Page { after: Some(event), limit: 10 };
    assert_eq!(shop.store.events(stranger, page), Ok(None));
    assert_eq!(shop.store.deliveries(stranger, endpoint, Page { after: None, limit: 10 }), Ok(Some(vec![])));
    assert_eq!(shop.shown(endpoint).url, "https://shop.example/lull");
}

#[test]
fn both_secrets_sign_until_the_old_ones_time_is_over() {
    let shop = Shop::new();
    let endpoint = shop.endpoint(None);
    shop.whole_call();
    let rotate = WebhookWrite::Rotate { vendor: shop.vendor, endpoint, secret: Secret([8; 32]), at: at(0), old_until: at(100_000) };
    shop.commit(webhook(rotate));
    let secrets = |now| shop.store.due(now, 1).unwrap()[0].secrets.clone();
    assert_eq!(secrets(at(99_999)), [Secret([8; 32]), Secret([7; 32])]);
    assert_eq!(secrets(at(100_000)), [Secret([8; 32])]);
    let change = Change { url: None, description: Some(Some("the shop".to_owned())), words: Some(Some(vec!["call.ended".to_owned()])) };
    shop.commit(webhook(WebhookWrite::Change { vendor: shop.vendor, endpoint, change }));
    let shown = shop.shown(endpoint);
    assert_eq!((shown.description.as_deref(), shown.words.as_deref()), (Some("the shop"), Some(&["call.ended".to_owned()][..])));
    assert!(!format!("{shown:?}").contains("8, 8"), "a secret is never shown");
    let change = Change { url: None, description: Some(None), words: Some(None) };
    shop.commit(webhook(WebhookWrite::Change { vendor: shop.vendor, endpoint, change }));
    assert_eq!((shop.shown(endpoint).description, shop.shown(endpoint).words), (None, None));
    shop.commit(webhook(WebhookWrite::Remove { vendor: shop.vendor, endpoint, at: at(200_000) }));
    assert_eq!(shop.store.due(at(200_000), 1), Ok(vec![]));
    assert_eq!((shop.store.endpoint(shop.vendor, endpoint), shop.store.endpoints(shop.vendor)), (Ok(None), Ok(vec![])));
    assert_eq!(shop.all_events().len(), 9, "events stay");
}

/// A rotation whose answer was lost must not take the secret out of service that the receiver has.
#[test]
fn each_replaced_secret_signs_until_its_own_time_is_over() {
    let shop = Shop::new();
    let endpoint = shop.endpoint(None);
    shop.whole_call();
    let vendor = shop.vendor;
    let rotate = |secret, now, until| {
        let write = WebhookWrite::Rotate { vendor, endpoint, secret: Secret([secret; 32]), at: at(now), old_until: at(until) };
        shop.store.commit(webhook(write)).unwrap()
    };
    let signing = |now| shop.store.due(at(now), 1).unwrap()[0].secrets.iter().map(|Secret(bytes)| bytes[0]).collect::<Vec<_>>();
    assert_eq!(rotate(8, 100_000, 200_000), Outcome::Committed);
    assert_eq!(rotate(9, 100_001, 300_000), Outcome::Committed);
    assert_eq!((signing(199_999), signing(200_000), signing(300_000)), (vec![9, 8, 7], vec![9, 8], vec![9]));
    // Whoever comes later may have less time than whoever came before.
    assert_eq!(rotate(10, 100_002, 150_000), Outcome::Committed);
    assert_eq!((signing(149_999), signing(150_000), signing(200_000)), (vec![10, 9, 8, 7], vec![10, 8, 7], vec![10, 8]));
    let shown: Vec<_> = shop.shown(endpoint).old_secrets.iter().map(|(Secret(bytes), until)| (bytes[0], *until)).collect();
    assert_eq!(shown, [(9, at(150_000)), (8, at(300_000)), (7, at(200_000))]);
    assert_eq!(rotate(11, 100_003, 400_000), Outcome::Committed);
    // One more would be too many until the first of them is over.
    let full = Outcome::Refused(Refusal::TooManySecrets { until: at(150_000) });
    assert_eq!((rotate(12, 149_999, 400_000), signing(100_004)), (full, vec![11, 10, 9, 8, 7]));
    assert_eq!(rotate(12, 150_000, 400_000), Outcome::Committed);
    assert_eq!(signing(150_000), [12, 11, 10, 8, 7]);
    shop.assert_adds_up();
    // Whoever wants to be rid of all of them at once says so.
    assert_eq!(rotate(13, 150_001, 150_001), Outcome::Committed);
    assert_eq!(signing(150_001), [13]);
    let other = shop.endpoint(None);
    assert_eq!((rotate(14, 150_002, 400_000), rotate(15, 150_003, 400_000)), (Outcome::Committed, Outcome::Committed));
    assert_eq!(shop.shown(other).old_secrets, []);
    shop.commit(webhook(WebhookWrite::Remove { vendor, endpoint, at: at(200_000) }));
    let rows = |table: &str| {
        let sql = format!("SELECT count(*) FROM {table}");
        Connection::open(shop.path()).unwrap().query_one(&sql, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    assert_eq!((rows("webhook_older_secret"), rows("webhook_endpoint")), (0, 2));
    shop.assert_adds_up();
}

/// Where events go and what signs them is under the audit's eye; what tries to deliver leave behind is not.
#[test]
fn a_changed_endpoint_is_found() {
    let shop = Shop::new();
    let endpoint = shop.endpoint(Some(&["call.ended"]));
    shop.whole_call();
    let rotate = |secret| {
        let write = WebhookWrite::Rotate { vendor: shop.vendor, endpoint, secret: Secret([secret; 32]), at: at(1), old_until: at(9000) };
        shop.commit(webhook(write));
    };
    rotate(8);
    rotate(9);
    let event = shop.due(endpoint, at(100_000))[0].event;
    shop.attempt(endpoint, event, at(100_000), failed(None));
    assert!(shop.shown(endpoint).disabled.is_some() && shop.shown(endpoint).last_error.is_some());
    shop.assert_adds_up();
    shop.commit(webhook(WebhookWrite::Enable { vendor: shop.vendor, endpoint }));
    let change = Change { url: Some("https://shop.example/other".to_owned()), ..Change::default() };
    shop.commit(webhook(WebhookWrite::Change { vendor: shop.vendor, endpoint, change }));
    shop.assert_adds_up();
    let file = Connection::open(shop.path()).unwrap();
    for (table, set, back) in [
        ("webhook_endpoint", "url = 'https://evil.example/'", "url = 'https://shop.example/other'"),
        ("webhook_endpoint", "secret = zeroblob(32)", "secret = x'0909090909090909090909090909090909090909090909090909090909090909'"),
        ("webhook_endpoint", "words = NULL", "words = 'call.ended'"),
        ("webhook_endpoint", "disabled_at = 1, disabled_why = 'gone'", "disabled_at = NULL, disabled_why = NULL"),
        ("webhook_older_secret", "until_at = until_at + 1", "until_at = until_at - 1"),
    ] {
        assert_eq!(file.execute(&format!("UPDATE {table} SET {set}"), []), Ok(1));
        let rules: Vec<&str> = shop.store.audit(&record).unwrap().iter().map(|finding| finding.rule).collect();
        assert_eq!(rules, ["row_hash"], "{set}");
        assert_eq!(file.execute(&format!("UPDATE {table} SET {back}"), []), Ok(1));
    }
    shop.assert_adds_up();
}

/// As the version before left it: without hashes, with one replaced secret at most.
#[test]
fn an_endpoint_of_version_12_keeps_both_its_secrets() {
    let mut shop = Shop::new();
    let endpoint = shop.endpoint(None);
    shop.whole_call();
    let rotate = WebhookWrite::Rotate { vendor: shop.vendor, endpoint, secret: Secret([8; 32]), at: at(0), old_until: at(100_000) };
    shop.commit(webhook(rotate));
    shop.store.close();
    let file = Connection::open(shop.path()).unwrap();
    file.execute_batch("DROP TABLE webhook_older_secret; ALTER TABLE webhook_endpoint DROP COLUMN row_hash; PRAGMA user_version = 12")
        .unwrap();
    drop(file);
    shop.reopen();
    shop.assert_adds_up();
    assert_eq!(shop.store.audit_layout(), Ok(vec![]));
    assert_eq!(shop.store.due(at(99_999), 1).unwrap()[0].secrets, [Secret([8; 32]), Secret([7; 32])]);
}

#[test]
fn what_is_long_over_is_forgotten_bit_by_bit_and_what_is_pending_is_not() {
    let shop = Shop::new();
    let (kept, deleted) = (shop.endpoint(None), shop.endpoint(None));
    shop.whole_call();
    let (first, month) = (shop.due(kept, at(100_000))[0].event, at(100_000) + Span::from_s(30 * 24 * 3600));
    shop.attempt(kept, first, at(100_000), Tried::Delivered);
    assert_eq!(shop.store.stale_deliveries(at(200_000), 100), Ok(vec![]));
    shop.commit(webhook(WebhookWrite::Remove { vendor: shop.vendor, endpoint: deleted, at: at(200_000) }));
    let rows = |sql: &str| Connection::open(shop.path()).unwrap().query_one(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    let mut rounds = 0;
    loop {
        let stale = shop.store.stale_deliveries(month, 4).unwrap();
        let is_last = stale.len() < 4;
        shop.commit(webhook(WebhookWrite::Prune(stale)));
        rounds += 1;
        if is_last {
            break;
        }
    }
    assert_eq!((rounds, rows("SELECT count(*) FROM delivery"), rows("SELECT count(*) FROM webhook_endpoint")), (3, 8, 1));
    // Asked for in error, what is pending stays.
    shop.commit(webhook(WebhookWrite::Prune((1..=9).map(|event| (kept, event)).collect())));
    assert_eq!(shop.shown(kept).pending, 8);
    // What was forgotten is not missed.
    assert_eq!(shop.missed(kept, month), (0, false));
    shop.assert_adds_up();
}

#[test]
fn a_replay_queues_so_many_at_once_and_the_next_one_goes_on_there() {
    let shop = Shop::new();
    let endpoint = shop.endpoint(Some(&["call.ended"]));
    for _ in 0..112 {
        shop.whole_call();
    }
    shop.commit(webhook(WebhookWrite::Change { vendor: shop.vendor, endpoint, change: Change { words: Some(None), ..Change::default() } }));
    let replay = || {
        let missed = shop.missed(endpoint, at(1));
        shop.replay_missed(endpoint, at(1));
        (missed, shop.shown(endpoint).pending)
    };
    assert_eq!(shop.shown(endpoint).pending, 112);
    assert_eq!(replay(), ((896, false), 1008));
    let other = shop.endpoint(None);
    assert_eq!(shop.missed(other, at(1)), (1000, true));
    for left in [1000, 1008, 1008] {
        shop.replay_missed(other, at(1));
        assert_eq!(shop.shown(other).pending, left);
    }
    assert_eq!(shop.due(other, at(100_000)).len(), 100, "a call each, as far as asked for");
    // However many are handed over, the writer is busy with so many at most.
    let third = shop.endpoint(None);
    shop.commit(webhook(WebhookWrite::ReplayMissed { vendor: shop.vendor, endpoint: third, events: (1..=1008).collect(), at: at(1) }));
    assert_eq!(shop.shown(third).pending, 1000);
}

#[test]
fn what_came_through_between_the_look_and_the_writing_is_not_sent_again() {
    let shop = Shop::new();
    shop.whole_call();
    let endpoint = shop.endpoint(None);
    let later = at(100_000);
    let (events, _) = shop.store.missed(shop.vendor, endpoint, None, later).unwrap().unwrap();
    assert_eq!(events, (1..=9).collect::<Vec<_>>());
    let replay = |endpoint, vendor| WebhookWrite::ReplayMissed { vendor, endpoint, events: events.clone(), at: later };
    shop.commit(webhook(replay(endpoint, shop.vendor)));
    let first = shop.due(endpoint, later)[0].event;
    shop.attempt(endpoint, first, later, Tried::Delivered);
    shop.commit(webhook(replay(endpoint, shop.vendor)));
    assert_eq!((shop.shown(endpoint).pending, shop.due(endpoint, later)[0].event == first), (8, false));
    // Nor is what is another vendor's, or not wanted any more.
    let stranger = VendorId::new(shop.uuid());
    shop.commit(of(vec![Write::AddVendor { id: stranger, name: "Stranger".to_owned(), key_hash: [2; 32], at: at(0) }]));
    let theirs = Endpoint { vendor: stranger, ..shop.new_endpoint(None) };
    let choosy = shop.endpoint(Some(&["call.ended"]));
    let id = theirs.id;
    shop.commit(webhook(WebhookWrite::Add { endpoint: Box::new(theirs), most: 1 }));
    shop.commit(webhook(replay(id, stranger)));
    shop.commit(webhook(replay(choosy, shop.vendor)));
    assert_eq!(shop.store.endpoint(stranger, id).unwrap().unwrap().pending, 0);
    assert_eq!(shop.shown(choosy).pending, 1);
}

#[test]
fn how_long_a_vendor_has_been_there_costs_a_replay_nothing() {
    let shop = Shop::new();
    let old = shop.endpoint(Some(&["call.nothing"]));
    let month = at(100_000) + Span::from_s(31 * 24 * 3600);
    let young = Endpoint { created_at: month, ..shop.new_endpoint(None) };
    let (young, of_young) = (young.id, young);
    shop.commit(webhook(WebhookWrite::Add { endpoint: Box::new(of_young), most: 16 }));
    let steps = || {
        let file = Connection::open(shop.path()).unwrap();
        [(old, month), (young, at(100_000))].map(|(endpoint, now)| {
            let mut select = file.prepare(super::super::outbox::MISSED).unwrap();
            let oldest = (now - super::super::outbox::KEPT).unix_ms();
            let given = rusqlite::params![endpoint.to_string(), shop.vendor.to_string(), 0, oldest, 1001];
            assert!(!select.exists(given).unwrap());
            select.get_status(rusqlite::StatementStatus::VmStep)
        })
    };
    shop.whole_call();
    let few = steps();
    for _ in 0..9 {
        shop.whole_call();
    }
    assert_eq!(steps(), few);
}

#[test]
fn the_bell_rings_when_there_may_be_something_to_send() {
    let shop = Shop::new();
    let (ring, rung) = mpsc::channel();
    shop.store.on_outbox(move || ring.send(()).unwrap());
    shop.commit(of(vec![shop.credit("c", 1)]));
    shop.whole_call();
    shop.store.close();
    // Made, the rest of its life, settled; the credit tells nobody.
    assert_eq!(rung.try_iter().count(), 3);
}

#[test]
fn a_missing_changed_or_invented_event_is_found() {
    for sql in [
        "DELETE FROM event WHERE word = 'call.ended'",
        "DELETE FROM event WHERE word = 'call.settled'",
        "UPDATE event SET body = replace(body, '1500', '1501') WHERE word = 'call.settled'",
        "UPDATE event SET word = 'call.paused' WHERE word = 'call.resumed'",
        "UPDATE event SET id = replace(id, 'evt_', 'evt_0') WHERE word = 'call.created'",
        "UPDATE event SET seq = 70 WHERE seq = 7",
        "UPDATE event SET fact = 2 WHERE fact = 3",
        "DELETE FROM event WHERE seq = 1; UPDATE event SET seq = seq - 1",
    ] {
        let shop = Shop::new();
        shop.whole_call();
        shop.store.close();
        let connection = Connection::open(shop.path()).unwrap();
        connection.execute_batch("DROP TRIGGER event_update; DROP TRIGGER event_delete").unwrap();
        connection.execute_batch(sql).unwrap();
        let findings = Store::open(&shop.path(), Role::Auditor).unwrap().audit(&record).unwrap();
        assert!(findings.iter().any(|finding| finding.rule == "outbox"), "{sql}: {findings:?}");
    }
}

#[test]
fn calls_from_before_the_outbox_are_told_from_where_it_began() {
    let shop = Shop::new();
    shop.commit(of(vec![shop.credit("c", 2000)]));
    let mut open = shop.start_now("c", 2000);
    shop.whole_call();
    shop.store.close();
    let connection = Connection::open(shop.path()).unwrap();
    connection
        .execute_batch(
            "DROP TABLE delivery; DROP TABLE event; DROP TABLE before_outbox; DROP TABLE webhook_older_secret; DROP TABLE webhook_endpoint",
        )
        .unwrap();
    connection
        .execute_batch(
            "DROP TABLE before_money_events; DROP TABLE before_recording_events; ALTER TABLE settlement_policy DROP COLUMN row_hash; ALTER TABLE boot DROP COLUMN wall_at",
        )
        .unwrap();
    connection.execute_batch(include_str!("../schema_3.sql")).unwrap();
    connection.execute_batch(include_str!("../schema_10.sql")).unwrap();
    connection.execute_batch(include_str!("../schema_12.sql")).unwrap();
    connection.execute_batch(include_str!("../schema_13.sql")).unwrap();
    drop(connection);
    let mut shop = shop;
    shop.reopen();
    assert_eq!(shop.all_events(), []);
    shop.assert_adds_up();
    let entries = vec![open.entry(1, Fact::Started)];
    open.seq += 1;
    shop.commit(of(vec![Write::Facts { call: open.call, entries }]));
    shop.commit(shop.settle(&open, &[0]));
    let words: Vec<Value> = shop.all_events().into_iter().map(|(_, body)| body["type"].clone()).collect();
    assert_eq!(words, ["call.started", "call.ended", "call.settled"]);
    assert_eq!(shop.all_events()[0].1["data"]["seq"], 1);
    shop.assert_adds_up();
}
