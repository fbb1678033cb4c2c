//! The interface's description for programs: OpenAPI 3.1 at `/openapi.json`, kept by hand beside the code.
//!
//! A test holds it to the routes and to the fields that bodies may have.

use crate::endpoint::Front;
use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::sync::Arc;

const DOCUMENT: &str = include_str!("openapi.json");

pub(crate) fn routes() -> Router<Arc<Front>> {
    Router::new().route("/openapi.json", get(document))
}

async fn document() -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], DOCUMENT).into_response()
}
