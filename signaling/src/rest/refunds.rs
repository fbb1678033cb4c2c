//! Money that goes back, and what shows it: refunds of wallets and of settled calls, adjustments, statements, orders.
//!
//! What may go back is the house's business; here only form is checked.

use super::clients::client_ref;
use super::command::{Asked, Command, Id, ask, page};
use super::fields::{Fields, ORDER_MAX, Text};
use super::{AdjustCall, Direction, RefundBearer, RefundCall, RefundClient, Request};
use crate::endpoint::Front;
use crate::problem::Problem;
use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::Value;
use std::sync::Arc;

/// Why an adjustment was made: the codes that reports are counted by.
pub(super) const REASONS: [(&str, &str); 9] = [
    ("quality", "quality"),
    ("not_delivered", "not_delivered"),
    ("wrong_grade", "wrong_grade"),
    ("conduct", "conduct"),
    ("billing_error", "billing_error"),
    ("goodwill", "goodwill"),
    ("chargeback", "chargeback"),
    ("correction", "correction"),
    ("other", "other"),
];

const BEARERS: [(&str, RefundBearer); 2] = [("shares", RefundBearer::Shares), ("vendor", RefundBearer::Vendor)];

/// The longest explanation, in characters.
const WORDS: Text = Text::Free { max: 500 };

pub(super) fn routes() -> Router<Arc<Front>> {
    Router::new()
        .route("/v1/clients/{ref}/refunds", post(refund_client))
        .route("/v1/clients/{ref}/transfers", get(transfers))
        .route("/v1/orders/{order_ref}", get(order))
        .route("/v1/calls/{id}/refunds", post(refund_call))
        .route("/v1/calls/{id}/adjustments", post(adjust_call))
}

async fn refund_client(
    State(front): State<Arc<Front>>,
    client: Result<Path<String>, PathRejection>,
    command: Command,
) -> Result<Response, Problem> {
    let request = Request::RefundClient { client_ref: client_ref(client)?, refund: read_client(command.body)? };
    ask(&front, command.caller, Some(command.idempotency), request).await
}

pub(super) fn read_client(body: Value) -> Result<RefundClient, Problem> {
    let mut fields = Fields::of(body, &["amount", "order_ref", "reason"])?;
    Ok(RefundClient {
        amount: fields.amount("amount", "amount.")?,
        order_ref: fields.text("order_ref", Text::Order)?,
        reason: fields.optional_text("reason", WORDS)?,
    })
}

async fn refund_call(State(front): State<Arc<Front>>, Id(id): Id, command: Command) -> Result<Response, Problem> {
    let request = Request::RefundCall { id, refund: read_call(command.body)? };
    ask(&front, command.caller, Some(command.idempotency), request).await
}

pub(super) fn read_call(body: Value) -> Result<RefundCall, Problem> {
    let mut fields = Fields::of(body, &["amount", "reason", "from"])?;
    Ok(RefundCall {
        amount: fields.optional_amount("amount", "amount.")?,
        reason: fields.text("reason", WORDS)?,
        from: fields.optional_choice("from", &BEARERS)?,
    })
}

async fn adjust_call(State(front): State<Arc<Front>>, Id(id): Id, command: Command) -> Result<Response, Problem> {
    let request = Request::AdjustCall { id, adjust: read_adjust(command.body)? };
    ask(&front, command.caller, Some(command.idempotency), request).await
}

pub(super) fn read_adjust(body: Value) -> Result<AdjustCall, Problem> {
    let mut fields = Fields::of(body, &["amount", "direction", "reason", "text", "from"])?;
    Ok(AdjustCall {
        amount: fields.amount("amount", "amount.")?,
        direction: fields.choice("direction", &[("to_client", Direction::ToClient), ("from_client", Direction::FromClient)])?,
        reason: fields.choice("reason", &REASONS)?.to_owned(),
        text: fields.text("text", WORDS)?,
        from: fields.optional_choice("from", &BEARERS)?,
    })
}

async fn transfers(
    State(front): State<Arc<Front>>,
    client: Result<Path<String>, PathRejection>,
    asked: Asked,
) -> Result<Response, Problem> {
    let caller = asked.caller;
    let [currency, limit, after] = asked.query(["currency", "limit", "after"])?;
    let well_formed = |code: &String| code.len() == 3 && code.bytes().all(|b| b.is_ascii_uppercase());
    if !currency.as_ref().is_none_or(well_formed) {
        return Err(Problem::field("currency", "`currency` must be three upper-case letters of ISO 4217, like CNY"));
    }
    let request = Request::ListTransfers { client_ref: client_ref(client)?, currency, page: page(limit, after)? };
    ask(&front, caller, None, request).await
}

async fn order(State(front): State<Arc<Front>>, order_ref: Result<Path<String>, PathRejection>, asked: Asked) -> Result<Response, Problem> {
    let caller = asked.caller;
    asked.query([])?;
    match order_ref {
        // Orders from before may have spaces at their ends.
        Ok(Path(order_ref)) if Text::Free { max: ORDER_MAX }.fits(&order_ref) => {
            ask(&front, caller, None, Request::GetOrder { order_ref }).await
        }
        _ => Err(Problem::not_found()),
    }
}
