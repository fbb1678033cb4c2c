//! What a supervisor of the process asks: alive, ready, and the numbers.

use crate::endpoint::{Front, Ready};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::sync::Arc;

pub(crate) fn routes() -> Router<Arc<Front>> {
    Router::new().route("/livez", get(livez)).route("/readyz", get(readyz)).route("/metrics", get(metrics))
}

/// The process answers.
async fn livez() -> &'static str {
    "alive\n"
}

/// The house takes new work; 503 and the reason otherwise.
async fn readyz(State(front): State<Arc<Front>>) -> Response {
    match &*front.door.ready.borrow() {
        Ready::Yes => "ready\n".into_response(),
        Ready::No(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

/// Prometheus text format 0.0.4.
async fn metrics(State(front): State<Arc<Front>>) -> Response {
    let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, content_type)], (front.door.metrics)()).into_response()
}
