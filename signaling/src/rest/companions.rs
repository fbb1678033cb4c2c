//! Companions: who listens.

use super::command::{Asked, Command, Id, ask, page};
use super::fields::{Fields, Text};
use super::{CreateCompanion, Request};
use crate::endpoint::Front;
use crate::problem::Problem;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::Value;
use std::sync::Arc;

pub(super) fn routes() -> Router<Arc<Front>> {
    Router::new().route("/v1/companions", post(create).get(list)).route("/v1/companions/{id}", get(one))
}

async fn create(State(front): State<Arc<Front>>, command: Command) -> Result<Response, Problem> {
    let request = Request::CreateCompanion(read(command.body)?);
    ask(&front, command.caller, Some(command.idempotency), request).await
}

pub(super) fn read(body: Value) -> Result<CreateCompanion, Problem> {
    let mut fields = Fields::of(body, &["name", "grade"])?;
    Ok(CreateCompanion {
        name: fields.text("name", Text::Free { max: 100 })?,
        grade: fields.optional_text("grade", Text::Free { max: 40 })?,
    })
}

async fn list(State(front): State<Arc<Front>>, asked: Asked) -> Result<Response, Problem> {
    let caller = asked.caller;
    let [limit, after] = asked.query(["limit", "after"])?;
    ask(&front, caller, None, Request::ListCompanions(page(limit, after)?)).await
}

async fn one(State(front): State<Arc<Front>>, Id(id): Id, asked: Asked) -> Result<Response, Problem> {
    ask(&front, asked.caller, None, Request::GetCompanion { id }).await
}
