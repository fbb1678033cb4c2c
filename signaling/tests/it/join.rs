//! Joining over HTTP.

use crate::house::*;
use signaling::inbound::Inbound;
use signaling::{Settings, TokenKey};

const SDP: (&str, &str) = ("content-type", "application/sdp");
const FRAGMENT: (&str, &str) = ("content-type", "application/trickle-ice-sdpfrag");

fn bearer(jti: &str) -> String {
    format!("Bearer {}", token(jti))
}

#[tokio::test]
async fn an_offer_is_answered_in_the_shape_of_whip() {
    let mut house = open();
    let bearer = bearer("j");
    let authorization = ("authorization", bearer.as_str());
    let joined = send(&house.app, request("POST", "/v1/join", &[authorization, SDP], "v=0\r\n")).await;
    assert_eq!(joined.status, 201);
    assert_eq!((joined.header("location"), joined.header("content-type")), ("/v1/join/leg_1", "application/sdp"));
    assert!(joined.text.contains("a=ice-ufrag:abcd"));
    let etag = joined.header("etag");
    assert!(etag.len() > 10 && etag.starts_with('"') && etag.ends_with('"') && !etag.contains("abcd"), "{etag}");
    match house.asked.try_recv() {
        Ok(Inbound::Join { claims: seen, offer, .. }) => assert_eq!((seen, offer.as_str()), (claims("j"), "v=0\r\n")),
        other => panic!("{other:?}"),
    }
    let restarted =
        send(&house.app, request("PATCH", "/v1/join/leg_1", &[authorization, FRAGMENT, ("if-match", "*")], "a=ice-pwd:new\r\n")).await;
    assert_eq!((restarted.status.as_u16(), restarted.header("content-type")), (200, "application/trickle-ice-sdpfrag"));
    assert!(!restarted.header("etag").is_empty() && restarted.header("etag") != etag, "a new ICE session has a new name");
    let trickled = send(&house.app, request("PATCH", "/v1/join/leg_1", &[authorization, FRAGMENT], "a=candidate:1\r\n")).await;
    assert_eq!((trickled.status.as_u16(), trickled.text.as_str()), (204, ""));
    assert_eq!(send(&house.app, request("DELETE", "/v1/join/leg_1", &[authorization], "")).await.status, 200);
    assert_eq!(send(&house.app, request("DELETE", "/v1/join/leg_2", &[authorization], "")).await.code(), "not_found");
    assert_eq!(send(&house.app, request("DELETE", "/v1/join/%ff", &[authorization], "")).await.code(), "not_found");
    let receipt = send(&house.app, request("GET", "/v1/join/receipt", &[authorization], "")).await;
    assert_eq!(receipt.json()["call_id"], "call_1");
}

#[tokio::test]
async fn a_token_counts_in_the_authorization_header_only() {
    let mut house = open();
    // So old that not even the receipt is shown any more; see `records` for the time between.
    let exp = NOW - signaling::auth::RECEIPT_LIFE_S - 60;
    let expired = format!("Bearer {}", token_key().mint(&signaling::inbound::Claims { nbf: exp - 1, exp, ..claims("j") }));
    let early = format!("Bearer {}", token_key().mint(&signaling::inbound::Claims { nbf: NOW + 61, ..claims("j") }));
    let forged = format!("Bearer {}", TokenKey::new([9; 32]).mint(&claims("j")));
    for (authorization, code) in [
        (None, "unauthorized"),
        (Some("Bearer "), "unauthorized"),
        (Some("Bearer nonsense"), "token_invalid"),
        (Some(expired.as_str()), "token_expired"),
        (Some(early.as_str()), "token_early"),
        (Some(forged.as_str()), "token_invalid"),
    ] {
        for (method, path, kind) in [
            ("POST", "/v1/join", SDP),
            ("PATCH", "/v1/join/leg_1", FRAGMENT),
            ("DELETE", "/v1/join/leg_1", SDP),
            ("GET", "/v1/join/receipt", SDP),
        ] {
            let path = format!("{path}?token={}&access_token={}", token("j"), token("j"));
            let mut headers = vec![kind, ("cookie", "token=x")];
            headers.extend(authorization.map(|value| ("authorization", value)));
            let answer = send(&house.app, request(method, &path, &headers, "v=0\r\n")).await;
            assert_eq!((answer.status.as_u16(), answer.code().as_str()), (401, code), "{method} {path:.20}");
        }
    }
    assert!(house.asked.try_recv().is_err(), "the house hears nothing of it");
}

#[tokio::test]
async fn sdp_of_the_wrong_kind_or_length_is_refused() {
    let house = open();
    let table = [
        ("POST", "/v1/join", "application/json", b"{}".to_vec(), 415, "unsupported_media_type"),
        ("POST", "/v1/join", "application/trickle-ice-sdpfrag", b"v=0".to_vec(), 415, "unsupported_media_type"),
        ("PATCH", "/v1/join/leg_1", "application/sdp", b"v=0".to_vec(), 415, "unsupported_media_type"),
        ("POST", "/v1/join", "application/sdp", vec![b'a'; 65_537], 413, "too_large"),
        ("POST", "/v1/join", "application/sdp", Vec::new(), 422, "offer_invalid"),
        ("POST", "/v1/join", "application/sdp", vec![0xff; 10], 422, "offer_invalid"),
    ];
    for (at, (method, path, kind, body, status, code)) in table.into_iter().enumerate() {
        let bearer = bearer(&format!("j{at}"));
        let answer = send(&house.app, request(method, path, &[("authorization", &bearer), ("content-type", kind)], body)).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{method} {kind}");
    }
    let bearer = bearer("last");
    let longest = send(&house.app, request("POST", "/v1/join", &[("authorization", &bearer), SDP], vec![b'a'; 65_536])).await;
    assert_eq!(longest.status, 201);
}

#[tokio::test]
async fn a_token_joins_ten_times_a_minute() {
    let house = open_with(door(Settings::default()));
    let bearer = bearer("often");
    for _ in 0..10 {
        assert_eq!(send(&house.app, request("POST", "/v1/join", &[("authorization", &bearer), SDP], "v=0\r\n")).await.status, 201);
    }
    let answer = send(&house.app, request("POST", "/v1/join", &[("authorization", &bearer), SDP], "v=0\r\n")).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (429, "rate_limited"));
    let wait_s: u64 = answer.header("retry-after").parse().unwrap();
    assert!((1..=7).contains(&wait_s), "{wait_s}");
    let other = format!("Bearer {}", token("seldom"));
    assert_eq!(send(&house.app, request("POST", "/v1/join", &[("authorization", &other), SDP], "v=0\r\n")).await.status, 201);
}
