//! Webhooks: endpoints of a vendor's program, what was sent to them, and the events themselves.
//!
//! Creating, rotating, trying, enabling and sending again need an idempotency key; changing and deleting say what is to be, so that
//! a repetition does nothing.

use super::command::{Asked, Command, Id, ask, json_body, page};
use super::fields::{Fields, Text};
use super::{Page, Request};
use crate::auth;
use crate::endpoint::Front;
use crate::inbound::Caller;
use crate::problem::Problem;
use crate::webhook::Address;
use axum::Router;
use axum::extract::{FromRequest, State};
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::Value;
use std::sync::Arc;

/// The events that an endpoint may choose from.
pub const EVENTS: [&str; 15] = [
    "call.created",
    "call.started",
    "call.warning",
    "call.extended",
    "call.paused",
    "call.resumed",
    "call.asleep",
    "call.ended",
    "call.settled",
    "recording.started",
    "recording.ended",
    "recording.deleted",
    "call.refunded",
    "call.adjusted",
    "client.refunded",
];

/// The longest time for which a replaced secret signs too: a week.
const OVERLAP_MAX_S: i64 = 604_800;

/// A request about webhooks.
#[derive(Clone, Debug, PartialEq)]
pub enum Webhooks {
    /// `POST /v1/webhook-endpoints`
    Create(CreateEndpoint),
    /// `GET /v1/webhook-endpoints`
    List,
    /// `GET /v1/webhook-endpoints/{id}`
    Get { id: String },
    /// `PATCH /v1/webhook-endpoints/{id}`
    Change { id: String, change: ChangeEndpoint },
    /// `DELETE /v1/webhook-endpoints/{id}`
    Delete { id: String },
    /// `POST /v1/webhook-endpoints/{id}/rotate-secret`: for how long the old one signs too, default a day.
    Rotate { id: String, overlap_s: Option<i64> },
    /// `POST /v1/webhook-endpoints/{id}/enable`
    Enable { id: String },
    /// `POST /v1/webhook-endpoints/{id}/test`
    Test { id: String },
    /// `POST /v1/webhook-endpoints/{id}/replay`: what it never got, behind the event `after`.
    Replay { id: String, after: Option<String> },
    /// `GET /v1/webhook-endpoints/{id}/deliveries`
    Deliveries { id: String, page: Page },
    /// `GET /v1/events`
    Events(Page),
    /// `POST /v1/events/{id}/replay`: to one endpoint or to all that want it.
    ReplayEvent { id: String, endpoint_id: Option<String> },
}

/// A new endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateEndpoint {
    /// Where it is.
    pub url: String,
    /// The events wanted; none is all.
    pub events: Option<Vec<String>>,
    /// For people, 1 to 200 characters.
    pub description: Option<String>,
}

/// What changes of an endpoint; the outer none leaves it.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangeEndpoint {
    /// Where it is.
    pub url: Option<String>,
    /// The events wanted; an inner none is all.
    pub events: Option<Option<Vec<String>>>,
    /// For people.
    pub description: Option<Option<String>>,
}

pub(super) fn routes() -> Router<Arc<Front>> {
    Router::new()
        .route("/v1/webhook-endpoints", post(create).get(list))
        .route("/v1/webhook-endpoints/{id}", get(one).patch(change).delete(delete))
        .route("/v1/webhook-endpoints/{id}/rotate-secret", post(rotate))
        .route("/v1/webhook-endpoints/{id}/enable", post(enable))
        .route("/v1/webhook-endpoints/{id}/test", post(test))
        .route("/v1/webhook-endpoints/{id}/replay", post(replay))
        .route("/v1/webhook-endpoints/{id}/deliveries", get(deliveries))
        .route("/v1/events", get(events))
        .route("/v1/events/{id}/replay", post(replay_event))
}

/// A PATCH or DELETE: it needs no key, since doing it twice is doing it once.
#[derive(Debug)]
pub(super) struct Edit {
    pub(super) caller: Caller,
    pub(super) body: Value,
}

impl FromRequest<Arc<Front>> for Edit {
    type Rejection = Problem;

    async fn from_request(request: axum::extract::Request, front: &Arc<Front>) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let caller = auth::caller(&parts.method, &parts.headers, &front.door.origins)?;
        front.count_caller(caller)?;
        let body = json_body(&parts.headers, body, front.door.settings.body_max).await?;
        Ok(Self { caller, body })
    }
}

async fn create(State(front): State<Arc<Front>>, command: Command) -> Result<Response, Problem> {
    let request = Webhooks::Create(read(command.body)?);
    ask(&front, command.caller, Some(command.idempotency), Request::Webhooks(request)).await
}

pub(super) fn read(body: Value) -> Result<CreateEndpoint, Problem> {
    let mut fields = Fields::of(body, &["url", "events", "description"])?;
    let url = fields.text("url", Text::Free { max: 2000 })?;
    check_url(&url)?;
    let events = read_events(&mut fields)?;
    Ok(CreateEndpoint { url, events, description: fields.optional_text("description", Text::Free { max: 200 })? })
}

pub(super) fn read_change(body: Value) -> Result<ChangeEndpoint, Problem> {
    let mut fields = Fields::of(body, &["url", "events", "description"])?;
    let url = fields.optional_text("url", Text::Free { max: 2000 })?;
    url.as_deref().map(check_url).transpose()?;
    let events = fields.is_given("events").then(|| read_events(&mut fields)).transpose()?;
    let description = fields.is_given("description").then(|| fields.optional_text("description", Text::Free { max: 200 })).transpose()?;
    Ok(ChangeEndpoint { url, events, description })
}

fn check_url(url: &str) -> Result<(), Problem> {
    Address::parse(url).map(|_| ()).map_err(|error| Problem::field("url", format!("`url` {error}")))
}

/// An empty list is all of them, as `null` is.
fn read_events(fields: &mut Fields) -> Result<Option<Vec<String>>, Problem> {
    Ok(fields.optional_words("events", &EVENTS)?.filter(|events| !events.is_empty()))
}

async fn list(State(front): State<Arc<Front>>, asked: Asked) -> Result<Response, Problem> {
    let caller = asked.caller;
    let [] = asked.query([])?;
    ask(&front, caller, None, Request::Webhooks(Webhooks::List)).await
}

async fn one(State(front): State<Arc<Front>>, Id(id): Id, asked: Asked) -> Result<Response, Problem> {
    ask(&front, asked.caller, None, Request::Webhooks(Webhooks::Get { id })).await
}

async fn change(State(front): State<Arc<Front>>, Id(id): Id, edit: Edit) -> Result<Response, Problem> {
    let change = read_change(edit.body)?;
    ask(&front, edit.caller, None, Request::Webhooks(Webhooks::Change { id, change })).await
}

async fn delete(State(front): State<Arc<Front>>, Id(id): Id, edit: Edit) -> Result<Response, Problem> {
    Fields::of(edit.body, &[])?;
    ask(&front, edit.caller, None, Request::Webhooks(Webhooks::Delete { id })).await
}

async fn rotate(State(front): State<Arc<Front>>, Id(id): Id, command: Command) -> Result<Response, Problem> {
    let mut fields = Fields::of(command.body, &["overlap_s"])?;
    let overlap_s = fields.optional_whole("overlap_s", 0..=OVERLAP_MAX_S)?;
    let request = Webhooks::Rotate { id, overlap_s };
    ask(&front, command.caller, Some(command.idempotency), Request::Webhooks(request)).await
}

async fn enable(State(front): State<Arc<Front>>, Id(id): Id, command: Command) -> Result<Response, Problem> {
    Fields::of(command.body, &[])?;
    ask(&front, command.caller, Some(command.idempotency), Request::Webhooks(Webhooks::Enable { id })).await
}

async fn test(State(front): State<Arc<Front>>, Id(id): Id, command: Command) -> Result<Response, Problem> {
    Fields::of(command.body, &[])?;
    ask(&front, command.caller, Some(command.idempotency), Request::Webhooks(Webhooks::Test { id })).await
}

async fn replay(State(front): State<Arc<Front>>, Id(id): Id, command: Command) -> Result<Response, Problem> {
    let after = Fields::of(command.body, &["after"])?.optional_text("after", Text::Id)?;
    ask(&front, command.caller, Some(command.idempotency), Request::Webhooks(Webhooks::Replay { id, after })).await
}

async fn deliveries(State(front): State<Arc<Front>>, Id(id): Id, asked: Asked) -> Result<Response, Problem> {
    let caller = asked.caller;
    let [limit, after] = asked.query(["limit", "after"])?;
    let page = page(limit, after)?;
    ask(&front, caller, None, Request::Webhooks(Webhooks::Deliveries { id, page })).await
}

async fn events(State(front): State<Arc<Front>>, asked: Asked) -> Result<Response, Problem> {
    let caller = asked.caller;
    let [limit, after] = asked.query(["limit", "after"])?;
    ask(&front, caller, None, Request::Webhooks(Webhooks::Events(page(limit, after)?))).await
}

async fn replay_event(State(front): State<Arc<Front>>, Id(id): Id, command: Command) -> Result<Response, Problem> {
    let endpoint_id = Fields::of(command.body, &["endpoint_id"])?.optional_text("endpoint_id", Text::Id)?;
    ask(&front, command.caller, Some(command.idempotency), Request::Webhooks(Webhooks::ReplayEvent { id, endpoint_id })).await
}
