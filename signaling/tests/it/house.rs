//! A house that says yes, and remembers what it was asked; and short ways to ask it through the router.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};
use signaling::code::Code;
use signaling::inbound::{Claims, Idempotency, Inbound, Joined, Refused, Role, ToSocket};
use signaling::message::{Amount, CallView, PartyView, ServerBody, ToPage};
use signaling::rest::{self, Answered, Session};
use signaling::{Door, Ready, Settings, TokenKey, router};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tower::ServiceExt;

pub(crate) const NOW: i64 = 1_800_000_000;
pub(crate) const ORIGIN: &str = "https://calls.example";
pub(crate) const KEY: &str = "lull_key_of_the_vendor";

/// A door, and the queue behind it that nobody serves yet.
pub(crate) struct Shut {
    pub(crate) app: Router,
    pub(crate) inbound: mpsc::Receiver<Inbound>,
    pub(crate) ready: watch::Sender<Ready>,
}

pub(crate) fn door(settings: Settings) -> Shut {
    door_with(settings, 64, true)
}

pub(crate) fn door_with(settings: Settings, queue: usize, secure_cookie: bool) -> Shut {
    let (sender, inbound) = mpsc::channel(queue);
    let (ready, readiness) = watch::channel(Ready::Yes);
    let app = router(Door {
        inbound: sender,
        tokens: token_key(),
        clock: Arc::new(|| NOW),
        origins: vec![ORIGIN.to_owned()],
        settings,
        ready: readiness,
        metrics: Arc::new(|| "lull_calls_active 0\n".to_owned()),
        secure_cookie,
    });
    Shut { app, inbound, ready }
}

/// A door with a house that answers.
pub(crate) struct Open {
    pub(crate) app: Router,
    /// All that the house was asked, without the places for answers.
    pub(crate) asked: mpsc::UnboundedReceiver<Inbound>,
}

pub(crate) fn open() -> Open {
    open_with(door(Settings::default()))
}

pub(crate) fn open_with(shut: Shut) -> Open {
    let (seen, asked) = mpsc::unbounded_channel();
    tokio::spawn(serve(shut.inbound, seen));
    Open { app: shut.app, asked }
}

async fn serve(mut inbound: mpsc::Receiver<Inbound>, seen: mpsc::UnboundedSender<Inbound>) {
    let mut outs = Vec::new();
    while let Some(question) = inbound.recv().await {
        let copy = match question {
            Inbound::Rest { caller, idempotency, request, reply } => {
                let replayed = idempotency.as_ref().is_some_and(|i| i.key == "again");
                let status = if idempotency.is_some() { 201 } else { 200 };
                // A month's file has two parts; that of 1999 breaks off after the first.
                let part = match &request {
                    rest::Request::ExportRecords(export) => Some(match (&export.after, export.month.as_str()) {
                        (None, _) => Ok(json!({"text": "one\r\n", "next_cursor": "place"})),
                        (Some(_), "1999-01") => Err(refused(Code::Storage)),
                        (Some(_), _) => Ok(json!({"text": "two\r\n", "next_cursor": null})),
                    }),
                    _ => None,
                };
                let answer = match part {
                    Some(part) => part.map(|body| Answered { status, body, replayed: false }),
                    None => answer_to(&idempotency, status, replayed),
                };
                let _ = reply.send(answer);
                Inbound::Rest { caller, idempotency, request, reply: dead() }
            }
            Inbound::LogIn { code, session, reply } => {
                let good = code == signaling::hash_secret("once");
                let session_answer = Session { vendor_id: "vnd_1".into(), vendor_name: "<b>Moon</b>".into(), expires_in_s: 3600 };
                let _ = reply.send(if good { Ok(session_answer) } else { Err(refused(Code::LoginInvalid)) });
                Inbound::LogIn { code, session, reply: dead() }
            }
            Inbound::LogOut { session, reply } => {
                let _ = reply.send(Ok(()));
                Inbound::LogOut { session, reply: dead() }
            }
            Inbound::Join { claims, offer, reply } => {
                let answer = "v=0\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789abcdefghijkl\r\n".to_owned();
                let _ = reply.send(Ok(Joined { leg: "leg_1".into(), answer }));
                Inbound::Join { claims, offer, reply: dead() }
            }
            Inbound::Patch { claims, leg, fragment, reply } => {
                let answer = if fragment.contains("ice-pwd") { "a=ice-ufrag:efgh\r\na=ice-pwd:x\r\n".to_owned() } else { String::new() };
                let _ = reply.send(Ok(answer));
                Inbound::Patch { claims, leg, fragment, reply: dead() }
            }
            Inbound::HangUp { claims, leg, reply } => {
                let _ = reply.send(if leg == "leg_1" { Ok(()) } else { Err(refused(Code::NotFound)) });
                Inbound::HangUp { claims, leg, reply: dead() }
            }
            Inbound::Keys { reply } => {
                let _ = reply.send(Ok(json!({"keys": []})));
                Inbound::Keys { reply: dead() }
            }
            Inbound::Receipt { claims, reply } => {
                let _ = reply.send(Ok(json!({"call_id": claims.call.clone()})));
                Inbound::Receipt { claims, reply: dead() }
            }
            Inbound::SocketOpened { socket, claims, page, out, reply } => {
                let revoked = claims.jti == "revoked";
                let _ = reply.send(if revoked { Err(refused(Code::TokenRevoked)) } else { Ok(()) });
                let _ = out.send(ToSocket::Message(Box::new(state(1, "welcome")))).await;
                outs.push(out.clone());
                Inbound::SocketOpened { socket, claims, page, out, reply: dead() }
            }
            other => other,
        };
        let _ = seen.send(copy);
    }
}

fn answer_to(idempotency: &Option<Idempotency>, status: u16, replayed: bool) -> Result<Answered, Refused> {
    match idempotency.as_ref().map(|used| used.key.as_str()) {
        Some("poor") => Err(refused(Code::InsufficientFunds)),
        _ => Ok(Answered { status, body: json!({"id": "thing_1"}), replayed }),
    }
}

fn dead<T>() -> tokio::sync::oneshot::Sender<T> {
    tokio::sync::oneshot::channel().0
}

pub(crate) fn refused(code: Code) -> Refused {
    Refused { code, detail: "the house says no".into(), field: None, figures: None }
}

/// A `state` message, as long as its plan's name.
pub(crate) fn state(seq: u64, plan_name: &str) -> ToPage {
    let party = PartyView { name: "A".into(), present: true, audio: true, video: false, audio_only: false };
    let call = CallView {
        id: "call_1".into(),
        state: "live".into(),
        media: "audio".into(),
        plan_name: plan_name.into(),
        grade_paid: None,
        grade_delivered: None,
        plan_kind: "block".into(),
        block_s: 900,
        rate: None,
        held: None,
        spent: None,
        limited: true,
        price: Amount { amount: 2000, currency: "CNY".into() },
        blocks: 1,
        paid_s: 900,
        gift_s: 0,
        delivered_ms: 0,
        remaining_ms: 900_000,
        running: true,
        paused_by: None,
        pause_left_ms: None,
        client: party.clone(),
        companion: party,
        night: None,
        recording: None,
        available: None,
        can_extend: true,
        pay: None,
        earned: None,
        gift_left_s: None,
        end_reason: None,
        at_fault: None,
        receipt: None,
    };
    ToPage { v: 1, seq, body: ServerBody::State { call: Box::new(call) } }
}

pub(crate) fn token_key() -> TokenKey {
    TokenKey::new([7; 32])
}

pub(crate) fn claims(jti: &str) -> Claims {
    Claims { iss: "lull".into(), role: Role::Client, call: "call_1".into(), jti: jti.into(), nbf: NOW - 100, exp: NOW + 3600 }
}

pub(crate) fn token(jti: &str) -> String {
    token_key().mint(&claims(jti))
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }

    /// The problem's code, after a look at its shape.
    pub(crate) fn code(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status.as_u16(), "{problem}");
        assert_eq!(problem["type"], "about:blank");
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{problem}");
        problem["code"].as_str().unwrap_or_default().to_owned()
    }
}

pub(crate) async fn send(app: &Router, request: Request<Body>) -> Answer {
    let response = app.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    Answer { status: parts.status, headers: parts.headers, text: String::from_utf8_lossy(&bytes).into_owned() }
}

/// A request with headers.
pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body.into()).unwrap()
}

/// A GET with the vendor's key.
pub(crate) async fn get(app: &Router, path: &str) -> Answer {
    send(app, request("GET", path, &[("authorization", &format!("Bearer {KEY}"))], Body::empty())).await
}

/// A command with the vendor's key.
pub(crate) async fn post(app: &Router, path: &str, body: &str) -> Answer {
    post_keyed(app, path, body, "k-1").await
}

pub(crate) async fn post_keyed(app: &Router, path: &str, body: &str, key: &str) -> Answer {
    let authorization = format!("Bearer {KEY}");
    let headers = [("authorization", authorization.as_str()), ("content-type", "application/json"), ("idempotency-key", key)];
    send(app, request("POST", path, &headers, body.to_owned())).await
}

/// Serves the door on a port of the loopback until the test's runtime ends.
pub(crate) async fn listen(app: Router) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await });
    address
}
