//! Signing in by a one-time code, and the pages that a cookie may be used from.

use crate::house::*;
use signaling::Settings;
use signaling::hash_secret;
use signaling::inbound::{Caller, Inbound};

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn a_code_becomes_a_cookie_that_scripts_cannot_read() {
    for (secure, end) in [(true, "; Secure"), (false, "")] {
        let mut house = open_with(door_with(Settings::default(), 64, secure));
        let answer = send(&house.app, request("POST", "/v1/session", &[JSON, ("origin", ORIGIN)], r#"{"code":"once"}"#)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.json()["vendor_id"], "vnd_1");
        let cookie = answer.header("set-cookie").to_owned();
        let secret = cookie.strip_prefix("lull_session=").and_then(|rest| rest.split(';').next()).unwrap().to_owned();
        assert_eq!(cookie, format!("lull_session={secret}; HttpOnly; SameSite=Strict; Path=/; Max-Age=3600{end}"));
        assert_eq!(secret.len(), 43, "256 bits in base64url");
        assert!(!answer.text.contains(&secret));
        match house.asked.try_recv() {
            Ok(Inbound::LogIn { code, session, .. }) => assert_eq!((code, session), (hash_secret("once"), hash_secret(&secret))),
            other => panic!("{other:?}"),
        }
        let cookies = format!("theme=dark; lull_session={secret}");
        assert_eq!(send(&house.app, request("GET", "/v1/session", &[("cookie", &cookies)], "")).await.status, 200);
        match house.asked.try_recv() {
            Ok(Inbound::Rest { caller, .. }) => assert_eq!(caller, Caller::Session(hash_secret(&secret))),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_wrong_code_or_a_foreign_page_gets_no_cookie() {
    let house = open();
    let table = [
        (r#"{"code":"other"}"#, ORIGIN, 401, "login_invalid"),
        (r#"{"code":"once"}"#, "https://evil.example", 403, "origin_forbidden"),
        (r#"{"code":""}"#, ORIGIN, 400, "invalid_request"),
        (r#"{"code":5}"#, ORIGIN, 400, "invalid_request"),
        ("{}", ORIGIN, 400, "invalid_request"),
        (r#"{"code":"once","x":1}"#, ORIGIN, 400, "invalid_request"),
    ];
    for (body, origin, status, code) in table {
        let answer = send(&house.app, request("POST", "/v1/session", &[JSON, ("origin", origin)], body)).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{body}");
        assert!(!answer.headers.contains_key("set-cookie"));
    }
}

#[tokio::test]
async fn a_cookie_writes_from_our_own_page_only() {
    let mut house = open();
    let cookie = ("cookie", "lull_session=s3cret");
    let write = [JSON, cookie, ("idempotency-key", "k")];
    let forbidden: [&[(&str, &str)]; 6] = [
        &[],
        &[("origin", "null")],
        &[("origin", "https://evil.example")],
        &[("origin", "http://calls.example")],
        &[("origin", "https://calls.example:8443")],
        &[("origin", ORIGIN), ("origin", "https://evil.example")],
    ];
    for origin in forbidden {
        let answer = send(&house.app, request("POST", "/v1/calls/c/end", &[&write[..], origin].concat(), "{}")).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (403, "origin_forbidden"), "{origin:?}");
        let answer = send(&house.app, request("DELETE", "/v1/session", &[&[cookie], origin].concat(), "")).await;
        assert_eq!(answer.code(), "origin_forbidden", "{origin:?}");
        assert!(house.asked.try_recv().is_err());
    }
    let answer = send(&house.app, request("POST", "/v1/calls/c/end", &[&write[..], &[("origin", ORIGIN)]].concat(), "{}")).await;
    assert_eq!(answer.status, 201);
}

#[tokio::test]
async fn signing_out_takes_the_cookie_away() {
    let mut house = open();
    let answer = send(&house.app, request("DELETE", "/v1/session", &[("cookie", "lull_session=s3cret"), ("origin", ORIGIN)], "")).await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("set-cookie"), "lull_session=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0; Secure");
    match house.asked.try_recv() {
        Ok(Inbound::LogOut { session, .. }) => assert_eq!(session, hash_secret("s3cret")),
        other => panic!("{other:?}"),
    }
    let answer = send(&house.app, request("DELETE", "/v1/session", &[("origin", ORIGIN)], "")).await;
    assert_eq!(answer.code(), "unauthorized");
}

#[test]
fn an_origin_is_made_of_an_address_as_browsers_make_it() {
    use signaling::auth::origin_of;
    for (url, origin) in [
        ("https://calls.example", Some("https://calls.example")),
        ("https://Calls.Example:443/path", Some("https://calls.example")),
        ("http://127.0.0.1:8080/", Some("http://127.0.0.1:8080")),
        ("http://[::1]:80", Some("http://[::1]")),
        ("ftp://calls.example", None),
        ("calls.example", None),
        ("", None),
    ] {
        assert_eq!(origin_of(url).as_deref(), origin, "{url}");
    }
}
