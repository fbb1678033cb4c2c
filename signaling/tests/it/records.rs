//! The month's file, the keys, and receipts that outlive their links.

use crate::house::*;
use signaling::auth::RECEIPT_LIFE_S;
use signaling::code::Code;
use signaling::inbound::Inbound;
use signaling::rest::{Export, ExportFormat, Request};
use tower::ServiceExt;

#[tokio::test]
async fn the_keys_are_for_everybody() {
    let house = open();
    let answer = send(&house.app, request("GET", "/.well-known/lull-keys.json", &[], "")).await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, r#"{"keys":[]}"#));
    assert_eq!((answer.header("content-type"), answer.header("cache-control")), ("application/json", "public, max-age=300"));
}

#[tokio::test]
async fn a_months_file_comes_part_by_part() {
    let mut house = open();
    let answer = get(&house.app, "/v1/records?month=2026-11&format=csv&tz=Asia/Shanghai").await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, "one\r\ntwo\r\n"), "{answer:?}");
    assert_eq!(answer.header("content-type"), "text/csv; charset=utf-8; header=present");
    assert_eq!(answer.header("content-disposition"), "attachment; filename=\"lull-2026-11.csv\"");
    for after in [None, Some("place".to_owned())] {
        let asked = Export { month: "2026-11".into(), zone: "Asia/Shanghai".into(), format: ExportFormat::Csv, after };
        match house.asked.recv().await {
            Some(Inbound::Rest { request, .. }) => assert_eq!(request, Request::ExportRecords(asked)),
            other => panic!("{other:?}"),
        }
    }
    let answer = get(&house.app, "/v1/records?month=2026-12").await;
    assert_eq!(answer.header("content-type"), "application/jsonl");
}

#[tokio::test]
async fn a_file_that_breaks_off_is_not_taken_for_a_whole_one() {
    let house = open();
    let bearer = format!("Bearer {KEY}");
    let asked = request("GET", "/v1/records?month=1999-01", &[("authorization", &bearer)], "");
    let answer = house.app.clone().oneshot(asked).await.unwrap();
    assert_eq!(answer.status(), 200);
    let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await;
    assert!(body.is_err(), "{body:?}");
}

#[tokio::test]
async fn a_month_that_is_none_is_refused_by_its_field() {
    let house = open();
    for (query, field) in [
        ("", "month"),
        ("month=", "month"),
        ("month=2026-111", "month"),
        ("month=%E4%BA%8C%E9%9B%B6x", "month"),
        ("month=2026-11&format=xml", "format"),
        ("month=2026-11&tz=a%0Ab", "tz"),
        ("month=2026-11&zone=UTC", "zone"),
        ("month=2026-11&month=2026-12", "month"),
    ] {
        let answer = get(&house.app, &format!("/v1/records?{query}")).await;
        assert_eq!((answer.status.as_u16(), answer.json()["field"].as_str()), (400, Some(field)), "{query}");
    }
    let stranger = send(&house.app, request("GET", "/v1/records?month=2026-11", &[], "")).await;
    assert_eq!(stranger.code(), "unauthorized");
}

#[test]
fn a_link_shows_its_receipt_longer_than_it_lets_in() {
    let key = token_key();
    let token = key.mint(&claims("j"));
    let exp = claims("j").exp;
    for (now, joins, shows) in [
        (exp + 59, true, true),
        (exp + 60, false, true),
        (exp + RECEIPT_LIFE_S + 59, false, true),
        (exp + RECEIPT_LIFE_S + 60, false, false),
        (i64::MAX, false, false),
    ] {
        assert_eq!(key.verify(&token, now).is_ok(), joins, "at {now}");
        let shown = key.verify_for_receipt(&token, now);
        assert_eq!(shown.is_ok(), shows, "at {now}");
        if !shows {
            assert_eq!(shown, Err(Code::TokenExpired));
        }
    }
    assert_eq!(key.verify_for_receipt(&token, claims("j").nbf - 61), Err(Code::TokenEarly));
    assert_eq!(signaling::TokenKey::new([8; 32]).verify_for_receipt(&token, NOW), Err(Code::TokenInvalid));
}
