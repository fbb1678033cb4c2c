//! How a vendor's calls are settled, by why they ended.

use super::command::{Asked, Replacement, ask};
use super::fields::Fields;
use super::{Request, SetSettlement};
use crate::endpoint::Front;
use crate::problem::Problem;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use serde_json::Value;
use std::sync::Arc;

pub(super) fn routes() -> Router<Arc<Front>> {
    Router::new().route("/v1/settlement", get(show).put(set))
}

async fn show(State(front): State<Arc<Front>>, asked: Asked) -> Result<Response, Problem> {
    ask(&front, asked.caller, None, Request::GetSettlement).await
}

async fn set(State(front): State<Arc<Front>>, replacement: Replacement) -> Result<Response, Problem> {
    let request = Request::SetSettlement(read(replacement.body)?);
    ask(&front, replacement.caller, None, request).await
}

pub(super) fn read(body: Value) -> Result<SetSettlement, Problem> {
    let mut fields = Fields::of(body, &["flat_min_s", "rules"])?;
    Ok(SetSettlement { flat_min_s: fields.optional_whole("flat_min_s", 0..=86_400)?, rules: fields.words("rules")? })
}
