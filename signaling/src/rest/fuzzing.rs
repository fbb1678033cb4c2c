//! Fuzz targets of REST: bodies, queries, keys.

use super::command::{Asked, idempotency_key, page};
use super::fields::Text;
use super::{AdjustCall, CreateCall, CreateCompanion, CreatePlan, Credit, Extend, PlanKind, RefundCall, RefundClient};
use super::{calls, clients, companions, json, plans, refunds, settlement, webhooks};
use crate::fuzzing::{Input, piece};
use crate::inbound::Caller;
use crate::message::Amount;
use crate::problem::Problem;
use crate::webhook::Address;
use axum::extract::Query;
use axum::http::{HeaderMap, HeaderValue, Uri};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt::Debug;

crate::fuzzing::targets! {
    body: 10_000, bodies, [];
    webhook_body: 10_000, endpoints, [];
    query: 10_000, queries, [];
    idempotency: 10_000, keys, [];
}

/// A body has one meaning: its text read again is the same value, and a value that a reader takes is what its type says, within bounds.
fn body(data: &[u8]) {
    let Ok(value) = json::parse(data) else { return };
    let text = value.to_string();
    let again = json::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error} in {text}")).to_string();
    // Fractions are read to the nearest but one, and no field takes them.
    assert!(again == text || text.contains(['.', 'e']));
    let money = |amount: &Amount| assert!(amount.amount > 0 && amount.amount < 1 << 53 && amount.currency.len() == 3);
    let free = |text: &str, max: usize| assert!(Text::Free { max }.fits(text));
    if let Some(plan) = same(&value, plans::read(value.clone())) {
        let CreatePlan { name, kind, block_s, price, increment_s, hold, .. } = plan;
        assert!(block_s.is_none_or(|block_s| (1..=43_200).contains(&block_s)));
        assert_eq!(block_s.is_some(), kind == PlanKind::Block);
        assert_eq!(price.is_some(), increment_s.is_none());
        price.iter().chain(&hold).for_each(money);
        free(&name, 100);
    }
    same(&value, settlement::read(value.clone()));
    if let Some(CreateCompanion { name, .. }) = same(&value, companions::read(value.clone())) {
        free(&name, 100);
    }
    if let Some(Credit { amount, order_ref }) = same(&value, clients::read(value.clone())) {
        money(&amount);
        free(&order_ref, 100);
    }
    if let Some(CreateCall { client_ref, .. }) = same(&value, calls::read(value.clone())) {
        assert!(Text::ClientRef.fits(&client_ref));
    }
    refund(&value);
    if let Some(Extend { order_ref, amount, gift_s }) = same(&value, calls::read_extend(value.clone())) {
        amount.iter().for_each(money);
        assert!(
            (order_ref.is_none() && amount.is_none() || gift_s.is_none()) && gift_s.is_none_or(|gift_s| (60..=3_600).contains(&gift_s))
        );
    }
}

/// The same of what goes back.
fn refund(value: &Value) {
    let money = |amount: &Amount| assert!(amount.amount > 0 && amount.amount < 1 << 53 && amount.currency.len() == 3);
    if let Some(RefundClient { amount, order_ref, .. }) = same(value, refunds::read_client(value.clone())) {
        money(&amount);
        assert!(Text::Order.fits(&order_ref));
    }
    if let Some(RefundCall { amount, reason, .. }) = same(value, refunds::read_call(value.clone())) {
        amount.iter().for_each(money);
        assert!(Text::Free { max: 500 }.fits(&reason));
    }
    if let Some(AdjustCall { amount, reason, .. }) = same(value, refunds::read_adjust(value.clone())) {
        money(&amount);
        assert!(refunds::REASONS.iter().any(|(word, _)| *word == reason));
    }
}

/// An endpoint that is taken, or a change of one, has an address that may be sent to, and names events that there are, each once.
fn webhook_body(data: &[u8]) {
    let Ok(value) = json::parse(data) else { return };
    let is_sound = |url: Option<&str>, events: Option<&[String]>, description: Option<&str>| {
        assert!(url.is_none_or(|url| Address::parse(url).is_ok()));
        assert!(description.is_none_or(|description| Text::Free { max: 200 }.fits(description)));
        let events = events.unwrap_or(&["call.created".to_owned()]).to_vec();
        assert!(!events.is_empty() && events.iter().all(|event| webhooks::EVENTS.contains(&event.as_str())), "{events:?}");
        assert!(events.iter().enumerate().all(|(place, event)| !events[..place].contains(event)), "{events:?}");
    };
    let endpoint = webhooks::read(value.clone()).inspect_err(is_short);
    if let Ok(new) = &endpoint {
        is_sound(Some(&new.url), new.events.as_deref(), new.description.as_deref());
    }
    match webhooks::read_change(value).inspect_err(is_short) {
        Ok(change) => {
            is_sound(change.url.as_deref(), change.events.flatten().as_deref(), change.description.flatten().as_deref());
        }
        Err(problem) => assert!(endpoint.is_err(), "a change of all fields is refused: {}", problem.detail),
    }
}

fn is_short(problem: &Problem) {
    assert!(problem.detail.len() <= 400, "{}", problem.detail);
}

/// What our reader takes, the type's own reader takes as the same.
fn same<T: DeserializeOwned + PartialEq + Debug>(value: &Value, read: Result<T, Problem>) -> Option<T> {
    match read {
        Ok(read) => {
            assert_eq!(serde_json::from_value::<T>(value.clone()).expect("as its type has it"), read);
            Some(read)
        }
        Err(problem) => {
            assert!(problem.detail.len() <= 400, "{}", problem.detail);
            None
        }
    }
}

/// A stretch of a list is between 1 and 200 long; nothing stands there twice.
fn query(data: &[u8]) {
    let Ok(uri) = Uri::try_from([b"/v1/calls?", data].concat()) else { return };
    let Ok(Query(pairs)) = Query::<Vec<(String, String)>>::try_from_uri(&uri) else { return };
    let names = pairs.clone();
    let asked = Asked { caller: Caller::ApiKey([0; 32]), query: pairs };
    let Ok([state, limit, after]) = asked.query(["state", "limit", "after"]) else { return };
    assert_eq!(names.len(), [&state, &limit, &after].into_iter().flatten().count());
    if let Ok(page) = page(limit, after) {
        assert!(page.limit.is_none_or(|limit| (1..=200).contains(&limit)));
        assert!(page.after.is_none_or(|after| (1..=200).contains(&after.len()) && after.is_ascii()));
    }
}

/// A key, bare or quoted, is the same key.
fn idempotency(data: &[u8]) {
    let mut input = Input::new(data);
    let mut headers = HeaderMap::new();
    for _ in 0..3 {
        if let Ok(value) = HeaderValue::from_bytes(input.piece()) {
            headers.append("idempotency-key", value);
        }
        if input.is_empty() {
            break;
        }
    }
    let Ok(key) = idempotency_key(&headers) else { return };
    assert_eq!(headers.len(), 1);
    assert!((1..=255).contains(&key.len()) && key.bytes().all(|octet| octet.is_ascii_graphic()));
    let quoted = format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\""));
    headers.insert("idempotency-key", HeaderValue::try_from(quoted).expect("visible"));
    assert_eq!(idempotency_key(&headers).ok(), Some(key));
}

fn bodies() -> Vec<Vec<u8>> {
    [
        r#"{"name":"15 minutes","kind":"block","block_s":900,"price":{"amount":2000,"currency":"CNY"},"grade":"gold"}"#,
        r#"{"name":"Night","kind":"until_asleep","first_increment_s":60,"increment_s":6,"tz":"Asia/Shanghai","windows":[{"label":"all","start":"00:00","end":"24:00","rate_minor_per_min":300}],"cap_s":32400,"cap_minor":60000,"currency":"CNY","grace_s":20,"min_charge_minor":100,"rounding":"half_up"}"#,
        r#"{"name":"Talk","kind":"per_minute","first_increment_s":1,"increment_s":1,"rate_minor_per_min":300,"hold":{"amount":3000,"currency":"CNY"}}"#,
        r#"{"name":"Flat","kind":"flat","price":{"amount":500,"currency":"CNY"}}"#,
        r#"{"flat_min_s":900,"rules":{"client_left":{"block":"exact_delivered"}}}"#,
        r#"{"name":"Lin","grade":null}"#,
        r#"{"amount":{"amount":2000,"currency":"CNY"},"order_ref":"tb-1"}"#,
        r#"{"plan_id":"plan_1","client_ref":"tb-1","client_name":"月亮","companion_id":"cmp_1","media":"video"}"#,
        r#"{"order_ref":"tb-2"}"#,
        r#"{"gift_s":60}"#,
        r#"{"amount":{"amount":500,"currency":"CNY"},"order_ref":"tb-1","reason":"not used"}"#,
        r#"{"amount":null,"reason":"the line was bad","from":"vendor"}"#,
        r#"{"amount":{"amount":1,"currency":"CNY"},"direction":"to_client","reason":"quality","text":"it was","from":"shares"}"#,
        r#"{"amount":{"amount":3000,"currency":"CNY"}}"#,
        r#"{"b":[1,{"y":null,"x":true}],"a":-2.5e3,"c":18446744073709551615}"#,
        r#"{"amount":1,"amount":2}"#,
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

fn endpoints() -> Vec<Vec<u8>> {
    [
        r#"{"url":"https://shop.example/hooks","events":["call.settled","call.ended"],"description":"the shop"}"#,
        r#"{"url":"https://user@shop.example:8443/?a=1","events":[],"description":null}"#,
        r#"{"events":null}"#,
        r#"{"url":"https://192.0.2.1/","events":["call.settled","call.settled"]}"#,
        r#"{"url":"http://shop.example"}"#,
        r#"{"overlap_s":60}"#,
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

fn queries() -> Vec<Vec<u8>> {
    ["state=open&limit=20&after=call_1", "limit=0200", "limit=201", "after=%20", "limit=1&limit=2", "x=%E6%9C%88", ""]
        .map(|text| text.as_bytes().to_vec())
        .to_vec()
}

fn keys() -> Vec<Vec<u8>> {
    let single = [&b"8e03978e-40d5-43dd-bc93-6894a57f9324"[..], b"\"a\\\"b\\\\c\"", b"\"\"", b" x ", b"\"open"];
    single.into_iter().map(piece).chain([[piece(b"a"), piece(b"b")].concat()]).collect()
}
