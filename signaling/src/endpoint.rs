//! The door itself: all routes, the queue into the house, and what every answer carries.
//!
//! It owns no task but the connections' own, and keeps no state but counters: who asks, how often, how many sockets.
//! A request that finds the house's queue full is refused at once instead of waiting.

use crate::auth::TokenKey;
use crate::code::Code;
use crate::inbound::{Caller, Inbound, Reply, SocketId};
use crate::limits::{Limiter, Settings, Sockets, ip_key};
use crate::problem::Problem;
use crate::{health, join, pages, rest, socket};
use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tower_http::catch_panic::CatchPanicLayer;

/// Seconds since the Unix epoch: the only clock of the door's rules.
pub type UnixClock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Makes the text of `/metrics`.
pub type Metrics = Arc<dyn Fn() -> String + Send + Sync>;

/// Whether the house takes new work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ready {
    /// It does.
    Yes,
    /// It does not, and why: a short text for the operator.
    No(String),
}

/// What the door is made of.
#[derive(Clone)]
pub struct Door {
    /// The queue into the house; its bound decides how much may wait there.
    pub inbound: mpsc::Sender<Inbound>,
    /// Signs and checks join tokens.
    pub tokens: TokenKey,
    /// Seconds since the Unix epoch.
    pub clock: UnixClock,
    /// The origins of our own pages, as [`crate::auth::origin_of`] makes them from the public address.
    pub origins: Vec<String>,
    /// Rates, sizes and times.
    pub settings: Settings,
    /// Whether the house takes new work: `/readyz`.
    pub ready: watch::Receiver<Ready>,
    /// The text of `/metrics`.
    pub metrics: Metrics,
    /// The pages are served over HTTPS: the cookie gets `Secure` and answers say so (HSTS).
    pub secure_cookie: bool,
}

/// The door at work: shared by all requests.
pub(crate) struct Front {
    pub(crate) door: Door,
    pub(crate) sockets: Arc<Sockets>,
    pub(crate) joins: Limiter<String>,
    ips: Limiter<IpAddr>,
    callers: Limiter<[u8; 32]>,
    last_socket: AtomicU64,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Front {
    fn new(door: Door) -> Self {
        let settings = &door.settings;
        Self {
            sockets: Sockets::new(settings),
            joins: Limiter::new(settings.joins_per_token, settings.keys_max),
            ips: Limiter::new(settings.per_ip, settings.keys_max),
            callers: Limiter::new(settings.per_caller, settings.keys_max),
            last_socket: AtomicU64::new(0),
            headers: pages::security_headers(&door.origins, door.secure_cookie),
            door,
        }
    }

    /// Seconds since the Unix epoch.
    pub(crate) fn now(&self) -> i64 {
        (self.door.clock)()
    }

    /// The next socket's number.
    pub(crate) fn next_socket(&self) -> SocketId {
        self.last_socket.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Counts a request of this caller.
    pub(crate) fn count_caller(&self, caller: Caller) -> Result<(), Problem> {
        let (Caller::ApiKey(hash) | Caller::Session(hash)) = caller;
        self.callers.check(&hash).map_err(Problem::rate_limited)
    }

    /// Counts a join with the token of this `jti`.
    pub(crate) fn count_join(&self, jti: &str) -> Result<(), Problem> {
        self.joins.check(&jti.to_owned()).map_err(Problem::rate_limited)
    }

    /// Asks the house and waits for its answer, for as long as a request may take.
    pub(crate) async fn ask<T>(&self, question: impl FnOnce(Reply<T>) -> Inbound) -> Result<T, Problem> {
        let (reply, answer) = oneshot::channel();
        self.door.inbound.try_send(question(reply)).map_err(|error| match error {
            TrySendError::Full(_) => Problem::new(Code::Overloaded, "the server is busy; nothing was done, try again"),
            TrySendError::Closed(_) => Problem::new(Code::Overloaded, "the server is stopping; nothing was done, try again"),
        })?;
        match tokio::time::timeout(self.door.settings.request_timeout, answer).await {
            Ok(Ok(Ok(answer))) => Ok(answer),
            Ok(Ok(Err(refused))) => Err(refused.into()),
            Ok(Err(_)) => Err(Problem::new(Code::Internal, "the server failed to answer; ask again with the same key")),
            Err(_) => Err(Problem::new(Code::Overloaded, "the answer takes too long; ask again with the same key")),
        }
    }
}

/// The door's routes. Serve it with `into_make_service_with_connect_info::<SocketAddr>()`: without the peer's address
/// all requests count as one address's.
pub fn router(door: Door) -> Router {
    let front = Arc::new(Front::new(door));
    Router::new()
        .route("/v1/signal", get(socket::signal))
        .merge(rest::routes())
        .merge(join::routes())
        .merge(health::routes())
        .merge(pages::routes())
        .fallback(pages::fallback)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(Arc::clone(&front), admit))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn_with_state(Arc::clone(&front), dress))
        .with_state(front)
}

/// The peer's address.
pub(crate) fn peer_ip(request_extensions: &axum::http::Extensions) -> IpAddr {
    request_extensions.get::<ConnectInfo<SocketAddr>>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip())
}

async fn wrong_method() -> Problem {
    Problem::new(Code::MethodNotAllowed, "this address answers to another method; see `Allow`")
}

/// The text of a panic may hold anything, so it is not repeated here; the panic hook has said where it was.
fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    tracing::error!("a request panicked");
    Problem::new(Code::Internal, "the server failed; it is in its log").into_response()
}

/// Counts the address and bounds the time of a request.
async fn admit(State(front): State<Arc<Front>>, request: Request, next: Next) -> Response {
    if let Err(wait_s) = front.ips.check(&ip_key(peer_ip(request.extensions()))) {
        return Problem::rate_limited(wait_s).into_response();
    }
    // Reading the body, and then the house's answer: `ask` has a limit of its own.
    match tokio::time::timeout(front.door.settings.request_timeout * 2, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(Code::Overloaded, "the request takes too long; ask again with the same key").into_response(),
    }
}

/// Puts the security headers on every answer, and `no-store` on all that is not a page.
async fn dress(State(front): State<Arc<Front>>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in &front.headers {
        headers.insert(name.clone(), value.clone());
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
