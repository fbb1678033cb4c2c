//! Every field and every bad kind of it, the headers of commands, and what answers carry.

use crate::house::*;
use serde_json::{Value, json};
use signaling::inbound::{Caller, Inbound};
use signaling::message::Amount;
use signaling::rest::{
    AdjustCall, CallFilter, ChimeLevel, CreateCall, CreateCompanion, CreatePlan, Credit, Direction, Extend, Media, Page, PlanKind,
    PlanRounding, RateWindow, RefundBearer, RefundCall, RefundClient, Request, SetSettlement,
};

fn plan() -> Value {
    json!({"name": "十五分钟", "kind": "block", "block_s": 900, "price": {"amount": 2000, "currency": "CNY"}, "grade": "gold"})
}

fn talk() -> Value {
    json!({"name": "按分钟", "kind": "per_minute", "first_increment_s": 60, "increment_s": 60, "rate_minor_per_min": 300,
        "hold": {"amount": 3000, "currency": "CNY"}})
}

fn night() -> Value {
    json!({"name": "整夜", "kind": "until_asleep", "first_increment_s": 60, "increment_s": 6, "tz": "Asia/Shanghai",
        "windows": [{"label": "any", "start": "00:00", "end": "24:00", "rate_minor_per_min": 0}],
        "cap_s": 32400, "cap_minor": 60000, "currency": "CNY", "rounding": "half_even"})
}

fn call() -> Value {
    json!({"plan_id": "plan_1", "client_ref": "tb-1@a.b:c_d", "client_name": "小明", "companion_id": "cmp_1", "media": "video"})
}

/// Sets `path` (`a.b` goes into objects) to `value`; `None` takes it away.
fn with(base: &Value, path: &str, value: Option<Value>) -> Value {
    let mut changed = base.clone();
    let (within, name) = path.rsplit_once('.').unwrap_or(("", path));
    let object = if within.is_empty() { &mut changed } else { &mut changed[within] };
    match value {
        Some(value) => object[name] = value,
        None => drop(object.as_object_mut().unwrap().remove(name)),
    }
    changed
}

#[tokio::test]
async fn every_field_of_every_body_is_checked_and_named() {
    let house = open();
    let texts = |max: usize| {
        vec![
            json!(1),
            json!(true),
            json!([]),
            json!({}),
            json!(""),
            json!("   "),
            json!("a\u{0}b"),
            json!("a\nb"),
            json!("\u{85}"),
            json!("a\u{2028}b"),
            json!("x".repeat(max + 1)),
            json!("名".repeat(max + 1)),
        ]
    };
    let ids = || vec![json!(1), json!(null), json!(""), json!("a b"), json!("名"), json!("a\u{7f}"), json!("x".repeat(65))];
    let whole = |extra: Vec<Value>| {
        let mut bad = vec![
            json!("1"),
            json!(0),
            json!(-1),
            json!(1.5),
            json!(2.0),
            json!(true),
            json!([1]),
            json!(9_007_199_254_740_992_i64),
            json!(u64::MAX),
            json!(1e300),
        ];
        bad.extend(extra);
        bad
    };
    let currencies =
        || vec![json!(""), json!("cny"), json!("CN"), json!("CNYY"), json!("C Y"), json!("元元元"), json!("¥"), json!(156), json!(null)];
    let none = |mut bad: Vec<Value>| {
        bad.push(Value::Null);
        bad
    };
    let credit = json!({"amount": {"amount": 2000, "currency": "CNY"}, "order_ref": "tb-1"});
    let extend_gift = json!({"gift_s": 60});
    let extend_order = json!({"order_ref": "o-1"});
    let companion = json!({"name": "晚风", "grade": "gold"});
    let refund_client = json!({"amount": {"amount": 2000, "currency": "CNY"}, "order_ref": "tb-1", "reason": "not used"});
    let refund_call = json!({"amount": {"amount": 2000, "currency": "CNY"}, "reason": "the line was bad", "from": "vendor"});
    let adjust = json!({"amount": {"amount": 2000, "currency": "CNY"}, "direction": "to_client", "reason": "quality", "text": "bad", "from": "shares"});
    type Row<'a> = (&'a str, &'a Value, &'a str, Vec<Value>, bool);
    let (plan, talk, night, call) = (plan(), talk(), night(), call());
    let table: Vec<Row> = vec![
        ("/v1/plans", &plan, "name", none(texts(100)), true),
        ("/v1/plans", &plan, "kind", vec![json!("barter"), json!(1), json!(null), json!("")], true),
        ("/v1/plans", &plan, "block_s", whole(vec![json!(43_201), json!(null)]), true),
        ("/v1/plans", &plan, "price", vec![json!(2000), json!("20"), json!(null), json!([])], true),
        ("/v1/plans", &plan, "price.amount", whole(vec![json!(null)]), true),
        ("/v1/plans", &plan, "price.currency", currencies(), true),
        ("/v1/plans", &plan, "price.cents", vec![json!(1)], false),
        ("/v1/plans", &plan, "grade", texts(40), false),
        ("/v1/plans", &plan, "block", vec![json!(1), json!(null)], false),
        ("/v1/plans", &plan, "first_increment_s", vec![json!(60)], false),
        ("/v1/plans", &plan, "grace_s", vec![json!(-1), json!(86_401), json!("1"), json!(1.5)], false),
        ("/v1/plans", &plan, "min_charge_minor", vec![json!(-1), json!("1"), json!(1.5)], false),
        ("/v1/plans", &plan, "rounding", vec![json!("up"), json!(1), json!("")], false),
        ("/v1/plans", &talk, "price", vec![json!({"amount": 1, "currency": "CNY"})], false),
        ("/v1/plans", &talk, "cap_s", vec![json!(60)], false),
        ("/v1/plans", &talk, "first_increment_s", whole(vec![json!(86_401), json!(null)]), true),
        ("/v1/plans", &talk, "increment_s", whole(vec![json!(86_401), json!(null)]), true),
        ("/v1/plans", &talk, "rate_minor_per_min", vec![json!(-1), json!("1"), json!(1.5), json!(null)], true),
        ("/v1/plans", &talk, "tz", vec![json!("Asia/Shanghai"), json!(8)], false),
        ("/v1/plans", &talk, "hold", vec![json!(3000), json!(null)], true),
        ("/v1/plans", &talk, "hold.amount", whole(vec![json!(null)]), true),
        ("/v1/plans", &talk, "currency", vec![json!("USD"), json!("cny"), json!(1)], false),
        ("/v1/plans", &night, "windows", vec![json!([]), json!({}), json!([1]), json!(vec![night["windows"][0].clone(); 25])], false),
        ("/v1/plans", &night, "tz", vec![json!(null), json!(8)], true),
        ("/v1/plans", &night, "cap_s", whole(vec![json!(86_401)]), false),
        ("/v1/plans", &night, "currency", vec![json!(null), json!("cny")], true),
        ("/v1/plans", &night, "linger_s", vec![json!(-1), json!(3601), json!("1"), json!(1.5)], false),
        ("/v1/plans", &night, "fade_s", vec![json!(9), json!(301), json!(60.0)], false),
        ("/v1/plans", &night, "probe", vec![json!(1), json!("true"), json!([])], false),
        ("/v1/plans", &night, "chime_dbfs", vec![json!(-61), json!(-9), json!(0), json!("off"), json!(false)], false),
        ("/v1/plans", &plan, "waiting_sound", vec![json!(1), json!("yes")], false),
        ("/v1/plans", &plan, "linger_s", vec![json!(60)], false),
        ("/v1/companions", &companion, "name", none(texts(100)), true),
        ("/v1/companions", &companion, "grade", texts(40), false),
        ("/v1/companions", &companion, "garde", vec![json!("x")], false),
        ("/v1/clients/c-1/credits", &credit, "amount", vec![json!(2000), json!(null)], true),
        ("/v1/clients/c-1/credits", &credit, "amount.amount", whole(vec![json!(null)]), true),
        ("/v1/clients/c-1/credits", &credit, "amount.currency", currencies(), true),
        ("/v1/clients/c-1/credits", &credit, "order_ref", none(texts(100)), true),
        ("/v1/clients/c-1/credits", &credit, "order", vec![json!("x")], false),
        ("/v1/calls", &call, "plan_id", ids(), true),
        ("/v1/calls", &call, "client_ref", [ids(), vec![json!("a/b"), json!("<b>")]].concat(), true),
        ("/v1/calls", &call, "client_name", texts(100), false),
        ("/v1/calls", &call, "companion_id", ids(), true),
        ("/v1/calls", &call, "media", vec![json!("smell"), json!(1), json!(""), json!([])], false),
        ("/v1/calls", &call, "max_s", vec![json!(1)], false),
        ("/v1/calls/call_1/extend", &extend_gift, "gift_s", whole(vec![json!(59), json!(3601)]), false),
        ("/v1/calls/call_1/extend", &extend_gift, "order_ref", texts(100), false),
        ("/v1/calls/call_1/extend", &extend_gift, "minutes", vec![json!(5)], false),
        ("/v1/calls/call_1/extend", &extend_order, "gift_s", vec![json!(60)], false),
        ("/v1/calls/call_1/extend", &extend_order, "amount", vec![json!(3000), json!([])], false),
        ("/v1/calls/call_1/extend", &extend_order, "amount.amount", whole(vec![]), false),
        ("/v1/calls/call_1/end", &Value::Null, "reason", vec![json!("x")], false),
        ("/v1/clients/c-1/refunds", &refund_client, "amount", vec![json!(2000), json!(null)], true),
        ("/v1/clients/c-1/refunds", &refund_client, "amount.amount", whole(vec![json!(null)]), true),
        ("/v1/clients/c-1/refunds", &refund_client, "amount.currency", currencies(), true),
        ("/v1/clients/c-1/refunds", &refund_client, "order_ref", none(texts(100)), true),
        ("/v1/clients/c-1/refunds", &refund_client, "reason", texts(500), false),
        ("/v1/clients/c-1/refunds", &refund_client, "to", vec![json!("x")], false),
        ("/v1/calls/call_1/refunds", &refund_call, "amount", vec![json!(2000), json!("all")], false),
        ("/v1/calls/call_1/refunds", &refund_call, "amount.amount", whole(vec![json!(null)]), true),
        ("/v1/calls/call_1/refunds", &refund_call, "amount.currency", currencies(), true),
        ("/v1/calls/call_1/refunds", &refund_call, "reason", none(texts(500)), true),
        ("/v1/calls/call_1/refunds", &refund_call, "from", vec![json!("companion"), json!(1), json!("")], false),
        ("/v1/calls/call_1/refunds", &refund_call, "text", vec![json!("x")], false),
        ("/v1/calls/call_1/adjustments", &adjust, "amount", vec![json!(2000), json!(null)], true),
        ("/v1/calls/call_1/adjustments", &adjust, "amount.amount", whole(vec![json!(null)]), true),
        ("/v1/calls/call_1/adjustments", &adjust, "amount.currency", currencies(), true),
        ("/v1/calls/call_1/adjustments", &adjust, "direction", vec![json!("up"), json!(1), json!(null)], true),
        ("/v1/calls/call_1/adjustments", &adjust, "reason", vec![json!("mood"), json!(1), json!(null), json!("")], true),
        ("/v1/calls/call_1/adjustments", &adjust, "text", none(texts(500)), true),
        ("/v1/calls/call_1/adjustments", &adjust, "from", vec![json!("companion")], false),
        ("/v1/calls/call_1/adjustments", &adjust, "note", vec![json!("x")], false),
    ];
    for (path, base, field, bad, required) in table {
        let base = if base.is_null() { &json!({}) } else { base };
        let good = post(&house.app, path, &base.to_string()).await;
        assert_eq!(good.status, 201, "{path} {base}: {}", good.text);
        let missing = required.then(|| with(base, field, None));
        let bad = bad.into_iter().map(|value| with(base, field, Some(value)));
        for body in bad.chain(missing) {
            let answer = post(&house.app, path, &body.to_string()).await;
            assert_eq!(answer.status, 400, "{path} {body}: {}", answer.text);
            assert_eq!(answer.code(), "invalid_request");
            assert_eq!(answer.json()["field"], field, "{path} {body}");
            assert!(answer.json()["detail"].as_str().unwrap().len() > 20, "says what is accepted: {}", answer.text);
        }
    }
}

#[tokio::test]
async fn good_requests_arrive_as_values() {
    let mut house = open();
    let app = house.app.clone();
    let money = || Amount { amount: 9_007_199_254_740_991, currency: "CNY".into() };
    let largest = json!({"amount": 9_007_199_254_740_991_i64, "currency": "CNY"});
    let page = Page { limit: Some(200), after: Some("abc".into()) };
    let posts: Vec<(&str, Value, Request)> = vec![
        (
            "/v1/plans",
            json!({"name": "n", "kind": "block", "block_s": 43_200, "price": largest, "grade": null}),
            Request::CreatePlan(Box::new(CreatePlan {
                name: "n".into(),
                block_s: Some(43_200),
                price: Some(money()),
                ..CreatePlan::default()
            })),
        ),
        (
            "/v1/plans",
            json!({"name": "n", "kind": "flat", "price": largest, "grace_s": 30}),
            Request::CreatePlan(Box::new(CreatePlan {
                name: "n".into(),
                kind: PlanKind::Flat,
                price: Some(money()),
                grace_s: Some(30),
                ..CreatePlan::default()
            })),
        ),
        (
            "/v1/plans",
            json!({"name": "n", "kind": "flat", "price": largest, "chime_dbfs": null, "waiting_sound": false}),
            Request::CreatePlan(Box::new(CreatePlan {
                name: "n".into(),
                kind: PlanKind::Flat,
                price: Some(money()),
                chime_dbfs: ChimeLevel::Off,
                waiting_sound: Some(false),
                ..CreatePlan::default()
            })),
        ),
        (
            "/v1/plans",
            json!({"name": "n", "kind": "until_asleep", "first_increment_s": 60, "increment_s": 6, "rate_minor_per_min": 5, "cap_s": 60, "hold": largest,
                "linger_s": 0, "fade_s": 300, "probe": true, "chime_dbfs": -60, "waiting_sound": true}),
            Request::CreatePlan(Box::new(CreatePlan {
                name: "n".into(),
                kind: PlanKind::UntilAsleep,
                first_increment_s: Some(60),
                increment_s: Some(6),
                rate_minor_per_min: Some(5),
                cap_s: Some(60),
                hold: Some(money()),
                linger_s: Some(0),
                fade_s: Some(300),
                probe: Some(true),
                chime_dbfs: ChimeLevel::At(-60),
                waiting_sound: Some(true),
                ..CreatePlan::default()
            })),
        ),
        (
            "/v1/plans",
            night(),
            Request::CreatePlan(Box::new(CreatePlan {
                name: "整夜".into(),
                kind: PlanKind::UntilAsleep,
                first_increment_s: Some(60),
                increment_s: Some(6),
                windows: Some(vec![RateWindow { label: "any".into(), start: "00:00".into(), end: "24:00".into(), rate_minor_per_min: 0 }]),
                tz: Some("Asia/Shanghai".into()),
                cap_s: Some(32_400),
                cap_minor: Some(60_000),
                currency: Some("CNY".into()),
                rounding: Some(PlanRounding::HalfEven),
                ..CreatePlan::default()
            })),
        ),
        (
            "/v1/companions",
            json!({"name": "<script>alert(1)</script>"}),
            Request::CreateCompanion(CreateCompanion { name: "<script>alert(1)</script>".into(), grade: None }),
        ),
        (
            "/v1/clients/a@b/credits",
            json!({"amount": largest, "order_ref": "订单 1"}),
            Request::Credit { client_ref: "a@b".into(), credit: Credit { amount: money(), order_ref: "订单 1".into() } },
        ),
        (
            "/v1/calls",
            call(),
            Request::CreateCall(CreateCall {
                plan_id: "plan_1".into(),
                client_ref: "tb-1@a.b:c_d".into(),
                client_name: Some("小明".into()),
                companion_id: "cmp_1".into(),
                media: Some(Media::Video),
            }),
        ),
        ("/v1/calls/call_1/extend", json!({}), Request::Extend { id: "call_1".into(), extend: Extend::default() }),
        (
            "/v1/calls/call_1/extend",
            json!({"gift_s": 3600}),
            Request::Extend { id: "call_1".into(), extend: Extend { gift_s: Some(3600), ..Extend::default() } },
        ),
        (
            "/v1/calls/call_1/extend",
            json!({"amount": largest, "order_ref": "o-1"}),
            Request::Extend { id: "call_1".into(), extend: Extend { amount: Some(money()), order_ref: Some("o-1".into()), gift_s: None } },
        ),
        ("/v1/calls/call_1/end", json!({}), Request::End { id: "call_1".into() }),
        (
            "/v1/clients/a@b/refunds",
            json!({"amount": largest, "order_ref": "订单 1", "reason": null}),
            Request::RefundClient {
                client_ref: "a@b".into(),
                refund: RefundClient { amount: money(), order_ref: "订单 1".into(), reason: None },
            },
        ),
        (
            "/v1/calls/call_1/refunds",
            json!({"reason": "线路不好", "amount": null}),
            Request::RefundCall { id: "call_1".into(), refund: RefundCall { amount: None, reason: "线路不好".into(), from: None } },
        ),
        (
            "/v1/calls/call_1/adjustments",
            json!({"amount": largest, "direction": "from_client", "reason": "correction", "text": "t", "from": "vendor"}),
            Request::AdjustCall {
                id: "call_1".into(),
                adjust: AdjustCall {
                    amount: money(),
                    direction: Direction::FromClient,
                    reason: "correction".into(),
                    text: "t".into(),
                    from: Some(RefundBearer::Vendor),
                },
            },
        ),
    ];
    for (path, body, expected) in posts {
        assert_eq!(post(&app, path, &body.to_string()).await.status, 201, "{path}");
        assert_asked(&mut house, &expected);
    }
    let id = || "thing_1".to_owned();
    let gets = [
        ("/v1/plans", Request::ListPlans(Page::default())),
        ("/v1/plans?limit=200&after=abc", Request::ListPlans(page.clone())),
        ("/v1/plans/thing_1", Request::GetPlan { id: id() }),
        ("/v1/companions?after=abc&limit=200", Request::ListCompanions(page.clone())),
        ("/v1/companions/thing_1", Request::GetCompanion { id: id() }),
        ("/v1/clients/a%40b", Request::GetClient { client_ref: "a@b".into() }),
        (
            "/v1/clients/a%40b/transfers?currency=CNY&limit=200&after=abc",
            Request::ListTransfers { client_ref: "a@b".into(), currency: Some("CNY".into()), page: page.clone() },
        ),
        ("/v1/orders/%E8%AE%A2%E5%8D%95%2F1%20a", Request::GetOrder { order_ref: "订单/1 a".into() }),
        ("/v1/calls?state=open", Request::ListCalls { page: Page::default(), state: Some(CallFilter::Open) }),
        ("/v1/calls?state=settled&limit=200&after=abc", Request::ListCalls { page, state: Some(CallFilter::Settled) }),
        ("/v1/calls/thing_1", Request::GetCall { id: id() }),
        ("/v1/calls/thing_1/links", Request::GetLinks { id: id() }),
        ("/v1/calls/thing_1/record", Request::GetRecord { id: id() }),
        ("/v1/calls/thing_1/receipt", Request::GetReceipt { id: id() }),
        ("/v1/session", Request::WhoAmI),
    ];
    for (path, expected) in gets {
        assert_eq!(get(&app, path).await.status, 200, "{path}");
        assert_asked(&mut house, &expected);
    }
}

fn assert_asked(house: &mut Open, expected: &Request) {
    match house.asked.try_recv() {
        Ok(Inbound::Rest { caller, request, .. }) => {
            assert_eq!(&request, expected);
            assert_eq!(caller, Caller::ApiKey(signaling::hash_secret(KEY)));
        }
        other => panic!("expected {expected:?}, the house was asked {other:?}"),
    }
}

#[tokio::test]
async fn queries_are_checked_like_bodies() {
    let house = open();
    for (path, field) in [
        ("/v1/plans?limit=0", "limit"),
        ("/v1/plans?limit=201", "limit"),
        ("/v1/plans?limit=-1", "limit"),
        ("/v1/plans?limit=%2B5", "limit"),
        ("/v1/plans?limit=1.5", "limit"),
        ("/v1/plans?limit=", "limit"),
        ("/v1/plans?limit=5&limit=6", "limit"),
        ("/v1/companions?limt=5", "limt"),
        ("/v1/companions?after=", "after"),
        ("/v1/companions?after=a%20b", "after"),
        ("/v1/clients/c/transfers?currency=cny", "currency"),
        ("/v1/clients/c/transfers?currency=", "currency"),
        ("/v1/clients/c/transfers?kind=credit", "kind"),
        ("/v1/orders/x?limit=1", "limit"),
        ("/v1/calls?state=live", "state"),
        ("/v1/calls?state=", "state"),
    ] {
        let answer = get(&house.app, path).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "invalid_request"), "{path}");
        assert_eq!(answer.json()["field"], field, "{path}");
    }
}

#[tokio::test]
async fn what_cannot_be_an_id_is_not_found_and_a_bad_client_is_named() {
    let house = open();
    let long = "x".repeat(65);
    for path in ["/v1/plans/a%20b".to_owned(), format!("/v1/calls/{long}"), "/v1/calls/%ff/record".to_owned(), "/v1/calls/%00".to_owned()] {
        let answer = get(&house.app, &path).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (404, "not_found"), "{path}");
    }
    for path in ["/v1/clients/a%2Fb", "/v1/clients/%E5%90%8D", "/v1/clients/%ff"] {
        let answer = get(&house.app, path).await;
        assert_eq!((answer.status.as_u16(), answer.json()["field"].as_str()), (400, Some("client_ref")), "{path}");
    }
}

#[tokio::test]
async fn bodies_of_the_wrong_kind_are_refused() {
    let house = open();
    let authorization = format!("Bearer {KEY}");
    let ask = async |content_type: Option<&str>, body: &str| {
        let mut headers = vec![("authorization", authorization.as_str()), ("idempotency-key", "k")];
        headers.extend(content_type.map(|value| ("content-type", value)));
        let answer = send(&house.app, request("POST", "/v1/plans", &headers, body.to_owned())).await;
        (answer.status.as_u16(), answer.code())
    };
    let invalid = || (400, "invalid_request".to_owned());
    let unsupported = || (415, "unsupported_media_type".to_owned());
    let good = plan().to_string();
    assert_eq!(ask(None, &good).await, unsupported());
    assert_eq!(ask(Some("text/plain"), &good).await, unsupported());
    assert_eq!(ask(Some("application/x-www-form-urlencoded"), "name=x").await, unsupported());
    assert_eq!(ask(Some("multipart/form-data"), "").await, unsupported());
    for body in ["{", "nope", "[]", "1", "null", "\"{}\"", "{\"name\":1,\"name\":2}", "{} {}", "\u{feff}{}", &"[".repeat(10_000)] {
        assert_eq!(ask(Some("application/json"), body).await, invalid(), "{body}");
    }
    assert_eq!(ask(None, "").await, invalid(), "an empty body is an object without fields");
    let long = format!("{{\"name\":\"{}\"}}", "x".repeat(16_384));
    assert_eq!(ask(Some("application/json"), &long).await, (413, "too_large".to_owned()));
    let padded = format!("{}{}", plan(), " ".repeat(16_384 - plan().to_string().len()));
    let headers =
        [("authorization", authorization.as_str()), ("idempotency-key", "k"), ("content-type", "Application/JSON; charset=utf-8")];
    assert_eq!(send(&house.app, request("POST", "/v1/plans", &headers, padded)).await.status, 201, "16,384 bytes are accepted");
}

#[tokio::test]
async fn commands_need_one_idempotency_key_in_either_spelling() {
    let mut house = open();
    let app = house.app.clone();
    let authorization = format!("Bearer {KEY}");
    let longest = "k".repeat(255);
    let too_long = "k".repeat(256);
    let quoted_longest = format!("\"{longest}\"");
    let quoted_too_long = format!("\"{too_long}\"");
    let table: [(&[&str], Option<&str>); 18] = [
        (&["abc"], Some("abc")),
        (&["\"abc\""], Some("abc")),
        (&["  abc "], Some("abc")),
        (&["\"a\\\"b\\\\c\""], Some("a\"b\\c")),
        (&["a\"b"], Some("a\"b")),
        (&[&longest], Some(&longest)),
        (&[&quoted_longest], Some(&longest)),
        (&[""], None),
        (&["\"\""], None),
        (&["\""], None),
        (&["\"abc"], None),
        (&["\"a\"b\""], None),
        (&["\"a\\b\""], None),
        (&["a b"], None),
        (&["\"a b\""], None),
        (&[&too_long], None),
        (&[&quoted_too_long], None),
        (&["abc", "abc"], None),
    ];
    for (keys, expected) in table {
        let mut headers = vec![("authorization", authorization.as_str()), ("content-type", "application/json")];
        headers.extend(keys.iter().map(|key| ("idempotency-key", *key)));
        let answer = send(&app, request("POST", "/v1/calls/call_1/end", &headers, "{}")).await;
        match (expected, house.asked.try_recv()) {
            (Some(expected), Ok(Inbound::Rest { idempotency: Some(idempotency), .. })) => assert_eq!(idempotency.key, expected),
            (None, Err(_)) => {
                assert_eq!(
                    (answer.code().as_str(), answer.json()["field"].as_str()),
                    ("invalid_request", Some("Idempotency-Key")),
                    "{keys:?}"
                );
            }
            (expected, asked) => panic!("{keys:?}: expected {expected:?}, the house was asked {asked:?}"),
        }
    }
    for path in [
        "/v1/plans",
        "/v1/companions",
        "/v1/clients/c/credits",
        "/v1/clients/c/refunds",
        "/v1/calls",
        "/v1/calls/c/extend",
        "/v1/calls/c/end",
        "/v1/calls/c/refunds",
        "/v1/calls/c/adjustments",
    ] {
        let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
        let answer = send(&app, request("POST", path, &headers, "{}")).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "idempotency_key_missing"), "{path}");
    }
}

#[tokio::test]
async fn what_is_put_needs_no_key_and_has_words_only() {
    let mut house = open();
    let authorization = format!("Bearer {KEY}");
    let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
    let put = |body: Value| send(&house.app, request("PUT", "/v1/settlement", &headers, body.to_string()));
    for body in [
        json!({"rules": {"Client": {"block": "free"}}}),
        json!({"rules": {"client_left": {"block": "<b>"}}}),
        json!({"rules": {"client_left": {"": "free"}}}),
        json!({"rules": {"client_left": "free"}}),
        json!({"rules": []}),
        json!({"rules": 1}),
        json!({"flat_min_s": 1.5}),
        json!({"flat_min_s": 86_401}),
        json!({"rule": {}}),
    ] {
        let answer = put(body.clone()).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "invalid_request"), "{body}");
    }
    assert_eq!(put(json!({"flat_min_s": 900, "rules": {"client_left": {"block": "free"}}})).await.status, 200);
    let cells = [("block".to_owned(), "free".to_owned())].into();
    let expected = SetSettlement { flat_min_s: Some(900), rules: [("client_left".to_owned(), cells)].into() };
    match house.asked.try_recv() {
        Ok(Inbound::Rest { idempotency: None, request: Request::SetSettlement(set), .. }) => assert_eq!(set, expected),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_request_hash_is_of_what_is_asked_and_not_of_its_spelling() {
    let mut house = open();
    let mut hashes = Vec::new();
    for (path, body) in [
        ("/v1/calls/call_1/extend", r#"{"gift_s":60}"#),
        ("/v1/calls/call_1/extend", " {\n \"gift_s\" : 60 }"),
        ("/v1/calls/call_1/extend", r#"{"gift_s":61}"#),
        ("/v1/calls/call_2/extend", r#"{"gift_s":60}"#),
    ] {
        assert_eq!(post(&house.app, path, body).await.status, 201);
        match house.asked.try_recv() {
            Ok(Inbound::Rest { idempotency: Some(idempotency), .. }) => hashes.push(idempotency.request_hash),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(hashes[0], hashes[1]);
    assert_ne!(hashes[0], hashes[2]);
    assert_ne!(hashes[0], hashes[3]);
}

#[tokio::test]
async fn answers_say_where_the_new_thing_is_and_whether_they_were_given_before() {
    let house = open();
    for (path, body, location) in [
        ("/v1/plans", plan(), "/v1/plans/thing_1"),
        ("/v1/companions", json!({"name": "n"}), "/v1/companions/thing_1"),
        ("/v1/calls", call(), "/v1/calls/thing_1"),
        ("/v1/clients/c-1/credits", json!({"amount": {"amount": 1, "currency": "CNY"}, "order_ref": "o"}), "/v1/clients/c-1"),
        ("/v1/calls/call_1/end", json!({}), ""),
        ("/v1/calls/call_1/refunds", json!({"reason": "r"}), "/v1/calls/call_1"),
        ("/v1/clients/c-1/refunds", json!({"amount": {"amount": 1, "currency": "CNY"}, "order_ref": "o"}), "/v1/clients/c-1/transfers"),
    ] {
        let answer = post(&house.app, path, &body.to_string()).await;
        assert_eq!((answer.status.as_u16(), answer.header("location")), (201, location));
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert!(!answer.headers.contains_key("idempotent-replayed"));
    }
    let again = post_keyed(&house.app, "/v1/companions", r#"{"name":"n"}"#, "again").await;
    assert_eq!(again.header("idempotent-replayed"), "true");
}

#[tokio::test]
async fn a_refusal_of_the_house_becomes_a_problem() {
    let house = open();
    let answer = post_keyed(&house.app, "/v1/calls", &call().to_string(), "poor").await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (402, "insufficient_funds"));
    assert_eq!(answer.json()["detail"], "the house says no");
}

#[tokio::test]
async fn unknown_places_and_wrong_methods_are_problems() {
    let house = open();
    for path in ["/v1", "/v1/", "/v1/nothing", "/v1/plans/a/b", "/v2/plans", "/nothing", "/..%2f..%2fetc/passwd", "/%ff"] {
        let answer = get(&house.app, path).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (404, "not_found"), "{path}");
    }
    for (method, path, allow) in [
        ("PUT", "/v1/plans", "POST,GET,HEAD"),
        ("DELETE", "/v1/calls/c", "GET,HEAD"),
        ("GET", "/v1/join", "POST"),
        ("POST", "/livez", "GET,HEAD"),
    ] {
        let answer = send(&house.app, request(method, path, &[], "")).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (405, "method_not_allowed"), "{method} {path}");
        assert_eq!(answer.header("allow"), allow, "{method} {path}");
    }
}

#[tokio::test]
async fn without_a_key_there_is_nothing() {
    let house = open();
    for authorization in [
        None,
        Some(""),
        Some("Bearer"),
        Some("Bearer "),
        Some("Basic dTpw"),
        Some("Bearer a b"),
        Some(&*format!("Bearer {}", "k".repeat(3000))),
    ] {
        let headers: Vec<(&str, &str)> = authorization.map(|value| ("authorization", value)).into_iter().collect();
        for (method, path) in [("GET", "/v1/plans"), ("POST", "/v1/plans"), ("GET", "/v1/session"), ("GET", "/v1/calls/c/record")] {
            let answer = send(&house.app, request(method, path, &headers, "nonsense")).await;
            assert_eq!((answer.status.as_u16(), answer.code().as_str()), (401, "unauthorized"), "{method} {path} {authorization:?}");
            assert_eq!(answer.header("www-authenticate"), "Bearer");
        }
    }
}
