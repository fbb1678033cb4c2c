//! Plans: what is sold, at which price.

use super::command::{Asked, Command, Id, ask, page};
use super::fields::{Fields, Text};
use super::{CreatePlan, PlanKind, Request};
use crate::endpoint::Front;
use crate::problem::Problem;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::Value;
use std::sync::Arc;

/// The longest block: half a day.
const BLOCK_MAX_S: i64 = 43_200;

pub(super) fn routes() -> Router<Arc<Front>> {
    Router::new().route("/v1/plans", post(create).get(list)).route("/v1/plans/{id}", get(one))
}

async fn create(State(front): State<Arc<Front>>, command: Command) -> Result<Response, Problem> {
    let request = Request::CreatePlan(read(command.body)?);
    ask(&front, command.caller, Some(command.idempotency), request).await
}

pub(super) fn read(body: Value) -> Result<CreatePlan, Problem> {
    let mut fields = Fields::of(body, &["name", "kind", "block_s", "price", "grade"])?;
    Ok(CreatePlan {
        name: fields.text("name", Text::Free { max: 100 })?,
        kind: fields.choice("kind", &[("block", PlanKind::Block)])?,
        block_s: fields.whole("block_s", 1..=BLOCK_MAX_S)?,
        price: fields.amount("price", "price.")?,
        grade: fields.optional_text("grade", Text::Free { max: 40 })?,
    })
}

async fn list(State(front): State<Arc<Front>>, asked: Asked) -> Result<Response, Problem> {
    let caller = asked.caller;
    let [limit, after] = asked.query(["limit", "after"])?;
    ask(&front, caller, None, Request::ListPlans(page(limit, after)?)).await
}

async fn one(State(front): State<Arc<Front>>, Id(id): Id, asked: Asked) -> Result<Response, Problem> {
    ask(&front, asked.caller, None, Request::GetPlan { id }).await
}
