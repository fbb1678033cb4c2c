//! Clients: their wallets, filled by what they paid in the vendor's shop.

use super::command::{Asked, Command, ask};
use super::fields::{Fields, Text};
use super::{Credit, Request};
use crate::endpoint::Front;
use crate::problem::Problem;
use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::Value;
use std::sync::Arc;

pub(super) fn routes() -> Router<Arc<Front>> {
    Router::new().route("/v1/clients/{ref}/credits", post(credit)).route("/v1/clients/{ref}", get(one))
}

async fn credit(
    State(front): State<Arc<Front>>,
    client: Result<Path<String>, PathRejection>,
    command: Command,
) -> Result<Response, Problem> {
    let request = Request::Credit { client_ref: client_ref(client)?, credit: read(command.body)? };
    ask(&front, command.caller, Some(command.idempotency), request).await
}

pub(super) fn read(body: Value) -> Result<Credit, Problem> {
    let mut fields = Fields::of(body, &["amount", "order_ref"])?;
    Ok(Credit { amount: fields.amount("amount", "amount.")?, order_ref: fields.text("order_ref", Text::Order)? })
}

async fn one(State(front): State<Arc<Front>>, client: Result<Path<String>, PathRejection>, asked: Asked) -> Result<Response, Problem> {
    ask(&front, asked.caller, None, Request::GetClient { client_ref: client_ref(client)? }).await
}

/// A credit makes its client, so a reference that cannot be one is the caller's mistake and not merely unknown.
pub(super) fn client_ref(path: Result<Path<String>, PathRejection>) -> Result<String, Problem> {
    match path {
        Ok(Path(text)) if Text::ClientRef.fits(&text) => Ok(text),
        _ => Err(Problem::field("client_ref", "the client in the path must be 1 to 64 characters of A-Z a-z 0-9 . _ : @ -")),
    }
}
