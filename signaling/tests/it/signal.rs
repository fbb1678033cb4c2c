//! The page's WebSocket, over the loopback.

use crate::house::*;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use signaling::Settings;
use signaling::inbound::{Claims, Inbound, ToSocket};
use signaling::limits::Rate;
use signaling::message::{FromPage, PageBody, ServerBody, ToPage};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

type Page = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn connect(address: SocketAddr, origin: Option<&str>) -> Result<Page, Error> {
    let mut request = format!("ws://{address}/v1/signal").into_client_request()?;
    if let Some(origin) = origin {
        request.headers_mut().insert("origin", origin.parse().unwrap());
    }
    connect_async(request).await.map(|(page, _)| page)
}

async fn page_of(settings: Settings) -> (Page, Open) {
    let house = open_with(door(settings));
    let address = listen(house.app.clone()).await;
    (connect(address, Some(ORIGIN)).await.unwrap(), house)
}

async fn say(page: &mut Page, message: Value) {
    page.send(Message::text(message.to_string())).await.unwrap();
}

fn hello(token: &str) -> Value {
    json!({"v": 1, "type": "hello", "token": token, "page": "k3j9x0a1"})
}

/// The next message; None once the socket is closed.
async fn next(page: &mut Page) -> Option<Value> {
    loop {
        match page.next().await {
            Some(Ok(Message::Text(text))) => return Some(serde_json::from_str(&text).unwrap()),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => (),
            Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
            other => panic!("{other:?}"),
        }
    }
}

/// The next message must be an error of this code; its `re`.
async fn next_error(page: &mut Page, code: &str) -> Value {
    let message = next(page).await.unwrap_or_else(|| panic!("closed without {code}"));
    assert_eq!((&message["type"], &message["code"]), (&json!("error"), &json!(code)), "{message}");
    assert_eq!((&message["v"], &message["seq"]), (&json!(1), &json!(0)));
    assert!(message["detail"].as_str().is_some_and(|detail| detail.len() > 10));
    message["re"].clone()
}

async fn greeted(settings: Settings) -> (Page, Open) {
    let (mut page, mut house) = page_of(settings).await;
    say(&mut page, hello(&token("j"))).await;
    assert_eq!(next(&mut page).await.unwrap()["type"], "state");
    assert!(matches!(house.asked.recv().await, Some(Inbound::SocketOpened { .. })));
    (page, house)
}

#[tokio::test]
async fn what_a_page_says_after_hello_passes_and_its_going_is_told() {
    let (mut page, mut house) = greeted(Settings::default()).await;
    say(&mut page, json!({"v": 1, "type": "ping", "at": 12.5})).await;
    assert_eq!(next(&mut page).await.unwrap(), json!({"v": 1, "seq": 0, "type": "pong", "at": 12.5}));
    say(&mut page, json!({"v": 1, "type": "gift", "seq": 3, "key": "12345678", "minutes": 5})).await;
    match house.asked.recv().await {
        Some(Inbound::SocketMessage { socket: 1, message }) => {
            assert_eq!(message, FromPage { v: 1, seq: 3, body: PageBody::Gift { key: "12345678".into(), minutes: 5 } });
        }
        other => panic!("{other:?}"),
    }
    page.close(None).await.unwrap();
    assert!(matches!(house.asked.recv().await, Some(Inbound::SocketClosed { socket: 1 })));
}

#[tokio::test]
async fn a_foreign_page_gets_no_socket_and_a_program_does() {
    let house = open();
    let address = listen(house.app.clone()).await;
    for origin in ["https://evil.example", "null", "http://calls.example"] {
        match connect(address, Some(origin)).await {
            Err(Error::Http(response)) => assert_eq!(response.status(), 403, "{origin}"),
            other => panic!("{origin}: {other:?}"),
        }
    }
    assert!(connect(address, None).await.is_ok());
    assert!(connect(address, Some(ORIGIN)).await.is_ok());
    let plain = send(&house.app, request("GET", "/v1/signal", &[], "")).await;
    assert_eq!(plain.code(), "invalid_request", "without an upgrade");
}

#[tokio::test]
async fn the_first_message_must_be_a_hello_with_a_token_that_counts() {
    let minted = |change: fn(&mut Claims)| {
        let mut claims = claims("j");
        change(&mut claims);
        token_key().mint(&claims)
    };
    for (first, code, re) in [
        (json!({"v": 1, "type": "hang_up", "seq": 4}), "invalid_message", json!(4)),
        (json!({"v": 1, "type": "ping", "at": 1}), "invalid_message", json!(null)),
        (json!({"v": 1, "type": "dance", "seq": 2}), "unknown_type", json!(2)),
        (json!({"v": 2, "type": "hello", "token": "t", "page": "12345678"}), "invalid_message", json!(null)),
        (json!("hello"), "invalid_message", json!(null)),
        (hello("nonsense"), "token_invalid", json!(null)),
        (hello(&minted(|claims| claims.exp = NOW - 61)), "token_expired", json!(null)),
        (hello(&minted(|claims| claims.nbf = NOW + 61)), "token_early", json!(null)),
        (hello(&minted(|claims| claims.iss = "other".into())), "token_invalid", json!(null)),
        (hello(&token("revoked")), "token_revoked", json!(null)),
    ] {
        let (mut page, _house) = page_of(Settings::default()).await;
        say(&mut page, first).await;
        assert_eq!(next_error(&mut page, code).await, re);
        assert_eq!(next(&mut page).await, None, "closed after {code}");
    }
    let (mut page, _house) = page_of(Settings { hello_timeout: Duration::from_millis(20), ..Settings::default() }).await;
    next_error(&mut page, "invalid_message").await;
    assert_eq!(next(&mut page).await, None, "closed after saying nothing");
}

#[tokio::test]
async fn nonsense_is_answered_and_the_connection_goes_on_until_it_is_too_much() {
    let settings = Settings { faults_per_socket: Rate::new(6, Duration::from_secs(86_400)), ..Settings::default() };
    let (mut page, _house) = greeted(settings).await;
    say(&mut page, json!({"v": 1, "type": "dance", "seq": 5})).await;
    assert_eq!(next_error(&mut page, "unknown_type").await, 5);
    page.send(Message::text("{")).await.unwrap();
    assert_eq!(next_error(&mut page, "invalid_message").await, Value::Null);
    page.send(Message::binary(vec![1, 2, 3])).await.unwrap();
    next_error(&mut page, "invalid_message").await;
    say(&mut page, json!({"v": 2, "type": "hang_up", "seq": 6})).await;
    assert_eq!(next_error(&mut page, "invalid_message").await, 6);
    say(&mut page, hello(&token("j"))).await;
    next_error(&mut page, "invalid_message").await;
    say(&mut page, json!({"v": 1, "type": "ping", "at": 1})).await;
    assert_eq!(next(&mut page).await.unwrap()["type"], "pong", "still there");
    for _ in 0..2 {
        say(&mut page, json!({"v": 1, "type": "dance", "seq": 7})).await;
        assert_eq!(next_error(&mut page, "unknown_type").await, 7);
    }
    assert_eq!(next(&mut page).await, None, "closed after the seventh");
}

#[tokio::test]
async fn a_message_that_is_too_long_ends_the_socket_with_its_reason() {
    let (mut page, mut house) = greeted(Settings::default()).await;
    let longest = json!({"v": 1, "type": "offer", "seq": 1, "sdp": ""}).to_string().len();
    say(&mut page, json!({"v": 1, "type": "offer", "seq": 1, "sdp": "x".repeat(65_536 - longest)})).await;
    assert!(matches!(house.asked.recv().await, Some(Inbound::SocketMessage { .. })), "65,536 bytes pass");
    say(&mut page, json!({"v": 1, "type": "offer", "seq": 1, "sdp": "x".repeat(65_537 - longest)})).await;
    next_error(&mut page, "too_large").await;
    assert_eq!(next(&mut page).await, None);
    assert!(matches!(house.asked.recv().await, Some(Inbound::SocketClosed { .. })));

    let (mut page, _house) = greeted(Settings::default()).await;
    // The connection may break while this is still being sent.
    let _ = page.send(Message::text("x".repeat(5_000_000))).await;
    assert_eq!(next(&mut page).await, None);
}

#[tokio::test]
async fn a_page_that_talks_too_much_is_told_and_then_closed() {
    let settings = Settings {
        per_socket: Rate::new(5, Duration::from_secs(86_400)),
        faults_per_socket: Rate::new(2, Duration::from_secs(86_400)),
        ..Settings::default()
    };
    let (mut page, _house) = greeted(settings).await;
    for at in 0..5 {
        say(&mut page, json!({"v": 1, "type": "ping", "at": at})).await;
        assert_eq!(next(&mut page).await.unwrap()["type"], "pong");
    }
    for _ in 0..3 {
        say(&mut page, json!({"v": 1, "type": "ping", "at": 9})).await;
        next_error(&mut page, "rate_limited").await;
    }
    assert_eq!(next(&mut page).await, None);
}

#[tokio::test]
async fn offers_over_the_socket_count_as_joins() {
    let settings = Settings { joins_per_token: Rate::new(2, Duration::from_secs(86_400)), ..Settings::default() };
    let (mut page, mut house) = greeted(settings).await;
    for seq in 1..=3 {
        say(&mut page, json!({"v": 1, "type": "offer", "seq": seq, "sdp": "v=0"})).await;
    }
    assert_eq!(next_error(&mut page, "rate_limited").await, 3);
    say(&mut page, json!({"v": 1, "type": "ice_restart", "seq": 4, "sdp": "v=0"})).await;
    for seq in [1, 2, 4] {
        match house.asked.recv().await {
            Some(Inbound::SocketMessage { message, .. }) => assert_eq!(message.seq, seq),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn sockets_are_bounded_by_address_and_in_all() {
    for settings in [Settings { sockets_per_ip: 2, ..Settings::default() }, Settings { sockets_max: 2, ..Settings::default() }] {
        let expected = if settings.sockets_max == 2 { 503 } else { 429 };
        let house = open_with(door(settings));
        let address = listen(house.app).await;
        let first = connect(address, None).await.unwrap();
        let _second = connect(address, None).await.unwrap();
        match connect(address, None).await {
            Err(Error::Http(response)) => assert_eq!(response.status(), expected),
            other => panic!("{other:?}"),
        }
        drop(first);
        // The place is free once the server has seen the first one go.
        while connect(address, None).await.is_err() {
            tokio::task::yield_now().await;
        }
    }
}

/// A door whose house is this test: the page, the house's end of its socket, and the queue.
async fn by_hand(settings: Settings) -> (Page, tokio::sync::mpsc::Sender<ToSocket>, Shut) {
    let mut shut = door(settings);
    let address = listen(shut.app.clone()).await;
    let mut page = connect(address, Some(ORIGIN)).await.unwrap();
    say(&mut page, hello(&token("j"))).await;
    let Some(Inbound::SocketOpened { out, reply, .. }) = shut.inbound.recv().await else { panic!("no socket opened") };
    reply.send(Ok(())).unwrap();
    (page, out, shut)
}

#[tokio::test]
async fn the_house_can_say_a_last_word_and_close() {
    let (mut page, out, mut shut) = by_hand(Settings::default()).await;
    out.send(ToSocket::Message(Box::new(state(1, "first")))).await.unwrap();
    out.send(ToSocket::Close(Box::new(ToPage::once(ServerBody::Replaced {})))).await.unwrap();
    drop(out);
    assert_eq!(next(&mut page).await.unwrap()["seq"], 1);
    assert_eq!(next(&mut page).await.unwrap(), json!({"v": 1, "seq": 0, "type": "replaced"}));
    assert_eq!(next(&mut page).await, None);
    assert!(matches!(shut.inbound.recv().await, Some(Inbound::SocketClosed { .. })));
}

#[tokio::test]
async fn a_page_that_does_not_read_is_dropped_and_told_why_if_it_reads_again() {
    let (mut page, out, mut shut) = by_hand(Settings { socket_queue: 4, ..Settings::default() }).await;
    let long = "x".repeat(60_000);
    // The page reads nothing: the loopback's buffers fill, then the queue. It is full for good when the door's task,
    // which runs whenever this one yields, finds no room for long.
    let (mut sent, mut in_vain) = (0u64, 0);
    while in_vain < 20_000 {
        match out.try_send(ToSocket::Message(Box::new(state(sent + 1, &long)))) {
            Ok(()) => (sent, in_vain) = (sent + 1, 0),
            Err(_) => {
                in_vain += 1;
                tokio::task::yield_now().await;
            }
        }
    }
    drop(out);
    let mut heard = 0;
    let last = loop {
        let message = next(&mut page).await.expect("a reason");
        if message["type"] == "error" {
            break message;
        }
        heard += 1;
        assert_eq!(message["seq"], heard, "nothing is lost or twice before the end");
    };
    assert_eq!((last["code"].as_str(), heard), (Some("slow_reader"), sent));
    assert_eq!(next(&mut page).await, None);
    assert!(matches!(shut.inbound.recv().await, Some(Inbound::SocketClosed { .. })));
}

#[tokio::test]
async fn a_page_that_never_reads_holds_its_place_for_one_write_only() {
    let patient = Settings { idle_timeout: Duration::from_secs(86_400), ..Settings::default() };
    let (_page, out, mut shut) = by_hand(Settings { write_timeout: Duration::from_millis(50), ..patient }).await;
    let long = "x".repeat(60_000);
    while out.send(ToSocket::Message(Box::new(state(1, &long)))).await.is_ok() {}
    assert!(matches!(shut.inbound.recv().await, Some(Inbound::SocketClosed { .. })));
}

#[tokio::test]
async fn a_stopping_house_says_so() {
    let (mut page, out, shut) = by_hand(Settings::default()).await;
    drop(shut.inbound);
    drop(out);
    next_error(&mut page, "overloaded").await;
    assert_eq!(next(&mut page).await, None);
}

#[tokio::test]
async fn a_busy_house_is_answered_for() {
    let shut = door_with(Settings::default(), 1, true);
    let address = listen(shut.app.clone()).await;
    let mut inbound = shut.inbound;
    let mut page = connect(address, None).await.unwrap();
    say(&mut page, hello(&token("j"))).await;
    let Some(Inbound::SocketOpened { out: _out, reply, .. }) = inbound.recv().await else { panic!("no socket opened") };
    reply.send(Ok(())).unwrap();
    for seq in 1..=2 {
        say(&mut page, json!({"v": 1, "type": "hang_up", "seq": seq})).await;
    }
    assert_eq!(next_error(&mut page, "overloaded").await, 2);
}

#[tokio::test]
async fn silence_is_asked_after_and_then_ended() {
    let settings = Settings { ping_every: Duration::from_millis(5), idle_timeout: Duration::from_secs(1), ..Settings::default() };
    let (mut page, mut house) = greeted(settings).await;
    for _ in 0..3 {
        assert!(matches!(page.next().await, Some(Ok(Message::Ping(_)))));
    }
    // A page that is not read from does not answer the pings either.
    assert!(matches!(house.asked.recv().await, Some(Inbound::SocketClosed { .. })));
    while let Some(Ok(_)) = page.next().await {}
}
