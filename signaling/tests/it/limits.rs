//! Too many, too busy, too late.

use crate::house::*;
use axum::extract::ConnectInfo;
use signaling::limits::Rate;
use signaling::{Ready, Settings};
use std::net::SocketAddr;
use std::time::Duration;

fn few(burst: u32) -> Rate {
    Rate::new(burst, Duration::from_secs(86_400))
}

#[tokio::test]
async fn an_address_that_asks_too_often_waits_and_others_do_not() {
    let house = open_with(door(Settings { per_ip: few(3), ..Settings::default() }));
    let ask = async |ip: [u8; 4], path: &str| {
        let mut request = request("GET", path, &[], "");
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from((ip, 1234))));
        send(&house.app, request).await
    };
    for path in ["/livez", "/nothing", "/v1/plans"] {
        assert_ne!(ask([10, 0, 0, 1], path).await.status, 429);
    }
    let answer = ask([10, 0, 0, 1], "/livez").await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (429, "rate_limited"));
    assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
    assert!(answer.headers.contains_key("content-security-policy"));
    assert_eq!(ask([10, 0, 0, 2], "/livez").await.status, 200);
}

#[tokio::test]
async fn a_key_that_asks_too_often_waits_and_others_do_not() {
    let house = open_with(door(Settings { per_caller: few(2), ..Settings::default() }));
    assert_eq!(get(&house.app, "/v1/plans").await.status, 200);
    assert_eq!(post(&house.app, "/v1/calls/c/end", "{}").await.status, 201);
    let answer = get(&house.app, "/v1/plans").await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (429, "rate_limited"));
    assert!(!answer.header("retry-after").is_empty());
    assert_eq!(send(&house.app, request("GET", "/v1/plans", &[("authorization", "Bearer other")], "")).await.status, 200);
}

#[tokio::test]
async fn a_full_queue_refuses_at_once() {
    let shut = door_with(Settings::default(), 1, true);
    // Nobody serves the queue: the first request waits there, the second finds it full.
    let app = shut.app.clone();
    let first = tokio::spawn(async move { get(&app, "/v1/plans").await });
    while shut.inbound.is_empty() {
        tokio::task::yield_now().await;
    }
    let answer = get(&shut.app, "/v1/plans").await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "overloaded"));
    assert_eq!(answer.header("retry-after"), "1");
    drop(shut.inbound);
    let first = first.await.unwrap();
    assert_eq!((first.status.as_u16(), first.code().as_str()), (500, "internal"), "a dropped reply");
    let answer = get(&shut.app, "/v1/plans").await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "overloaded"), "no house any more");
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_given_up() {
    let shut = door(Settings { request_timeout: Duration::from_millis(20), ..Settings::default() });
    let answer = get(&shut.app, "/v1/plans").await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "overloaded"));
    // A body that never ends.
    let body = axum::body::Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let headers = [("authorization", "Bearer k"), ("content-type", "application/json"), ("idempotency-key", "k")];
    let answer = send(&shut.app, request("POST", "/v1/plans", &headers, body)).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "overloaded"));
}

#[tokio::test]
async fn the_supervisor_of_the_process_learns_how_it_is() {
    let shut = door(Settings::default());
    let ask = async |path| send(&shut.app, request("GET", path, &[], "")).await;
    assert_eq!(ask("/livez").await.status, 200);
    assert_eq!(ask("/readyz").await.status, 200);
    shut.ready.send(Ready::No("auditing 12 calls".into())).unwrap();
    let answer = ask("/readyz").await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (503, "auditing 12 calls\n"));
    let metrics = ask("/metrics").await;
    assert_eq!(
        (metrics.text.as_str(), metrics.header("content-type")),
        ("lull_calls_active 0\n", "text/plain; version=0.0.4; charset=utf-8")
    );
}

#[tokio::test]
async fn a_request_that_fails_in_us_is_a_problem_like_others() {
    let shut = door(Settings::default());
    let (inbound, _house) = tokio::sync::mpsc::channel(1);
    let app = signaling::router(signaling::Door {
        inbound,
        tokens: token_key(),
        clock: std::sync::Arc::new(|| NOW),
        origins: Vec::new(),
        settings: Settings::default(),
        ready: shut.ready.subscribe(),
        metrics: std::sync::Arc::new(|| panic!("for the test")),
        secure_cookie: false,
    });
    let answer = send(&app, request("GET", "/metrics", &[], "")).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (500, "internal"));
    assert!(!answer.text.contains("for the test") && answer.headers.contains_key("content-security-policy"));
}
