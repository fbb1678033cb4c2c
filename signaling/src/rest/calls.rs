//! Calls: made, looked at, lengthened, ended; their record and receipt.

use super::command::{Asked, Command, Id, ask, page};
use super::fields::{Fields, Text};
use super::{CallFilter, CreateCall, Extend, Media, Request};
use crate::endpoint::Front;
use crate::inbound::Role;
use crate::problem::Problem;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::Value;
use std::sync::Arc;

pub(super) fn routes() -> Router<Arc<Front>> {
    Router::new()
        .route("/v1/calls", post(create).get(list))
        .route("/v1/calls/{id}", get(one))
        .route("/v1/calls/{id}/links", get(links).post(renew_link))
        .route("/v1/calls/{id}/extend", post(extend))
        .route("/v1/calls/{id}/end", post(end))
        .route("/v1/calls/{id}/record", get(record))
        .route("/v1/calls/{id}/receipt", get(receipt))
}

async fn create(State(front): State<Arc<Front>>, command: Command) -> Result<Response, Problem> {
    let request = Request::CreateCall(read(command.body)?);
    ask(&front, command.caller, Some(command.idempotency), request).await
}

pub(super) fn read(body: Value) -> Result<CreateCall, Problem> {
    let mut fields = Fields::of(body, &["plan_id", "client_ref", "client_name", "companion_id", "media"])?;
    Ok(CreateCall {
        plan_id: fields.text("plan_id", Text::Id)?,
        client_ref: fields.text("client_ref", Text::ClientRef)?,
        client_name: fields.optional_text("client_name", Text::Free { max: 100 })?,
        companion_id: fields.text("companion_id", Text::Id)?,
        media: fields.optional_choice("media", &[("audio", Media::Audio), ("video", Media::Video)])?,
    })
}

async fn list(State(front): State<Arc<Front>>, asked: Asked) -> Result<Response, Problem> {
    let caller = asked.caller;
    let [state, limit, after] = asked.query(["state", "limit", "after"])?;
    let state = match state.as_deref() {
        None => None,
        Some("open") => Some(CallFilter::Open),
        Some("settled") => Some(CallFilter::Settled),
        Some(_) => return Err(Problem::field("state", "`state` must be \"open\" or \"settled\"")),
    };
    ask(&front, caller, None, Request::ListCalls { page: page(limit, after)?, state }).await
}

async fn one(State(front): State<Arc<Front>>, Id(id): Id, asked: Asked) -> Result<Response, Problem> {
    ask(&front, asked.caller, None, Request::GetCall { id }).await
}

async fn links(State(front): State<Arc<Front>>, Id(id): Id, asked: Asked) -> Result<Response, Problem> {
    ask(&front, asked.caller, None, Request::GetLinks { id }).await
}

async fn renew_link(State(front): State<Arc<Front>>, Id(id): Id, command: Command) -> Result<Response, Problem> {
    let mut fields = Fields::of(command.body, &["party"])?;
    let party = fields.choice("party", &[("client", Role::Client), ("companion", Role::Companion)])?;
    ask(&front, command.caller, Some(command.idempotency), Request::RenewLink { id, party }).await
}

async fn extend(State(front): State<Arc<Front>>, Id(id): Id, command: Command) -> Result<Response, Problem> {
    let request = Request::Extend { id, extend: read_extend(command.body)? };
    ask(&front, command.caller, Some(command.idempotency), request).await
}

pub(super) fn read_extend(body: Value) -> Result<Extend, Problem> {
    let mut fields = Fields::of(body, &["order_ref", "amount", "gift_s"])?;
    let extend = Extend {
        order_ref: fields.optional_text("order_ref", Text::Order)?,
        amount: fields.optional_amount("amount", "amount.")?,
        gift_s: fields.optional_whole("gift_s", 60..=3600)?,
    };
    if extend.gift_s.is_some() && (extend.order_ref.is_some() || extend.amount.is_some()) {
        return Err(Problem::field("gift_s", "send `gift_s` or what is paid, not both: time is either paid or given"));
    }
    Ok(extend)
}

async fn end(State(front): State<Arc<Front>>, Id(id): Id, command: Command) -> Result<Response, Problem> {
    Fields::of(command.body, &[])?;
    ask(&front, command.caller, Some(command.idempotency), Request::End { id }).await
}

async fn record(State(front): State<Arc<Front>>, Id(id): Id, asked: Asked) -> Result<Response, Problem> {
    ask(&front, asked.caller, None, Request::GetRecord { id }).await
}

async fn receipt(State(front): State<Arc<Front>>, Id(id): Id, asked: Asked) -> Result<Response, Problem> {
    ask(&front, asked.caller, None, Request::GetReceipt { id }).await
}
