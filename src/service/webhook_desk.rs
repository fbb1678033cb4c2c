//! REST requests about webhooks: what is looked up, what the store is to change, and what the answer shows.
//!
//! It sends nothing. A secret is in the first answer alone: what is kept for repetitions holds none.

use super::house::fresh;
use super::look_up::{Found, Search, page_of};
use super::wire;
use crate::clock::{Moment, Span};
use crate::ids::{EndpointId, EventId};
use crate::store::{Change, Delivery, Endpoint, Event, Secret, StoreError, WebhookWrite, Write};
use serde_json::{Value, json};
use signaling::code::Code;
use signaling::inbound::Refused;
use signaling::rest::Webhooks;
use signaling::webhook;

/// How long a replaced secret signs too, if the request does not say.
const OVERLAP: Span = Span::from_s(24 * 3600);

/// What new endpoints may be.
#[derive(Clone, Copy, Debug)]
pub struct WebhookRules {
    /// `http:` is good too: for one machine and for tests.
    pub allow_http: bool,
    /// Endpoints that a vendor may have.
    pub most_endpoints: u32,
}

/// A command of the store's whose answer is more than what is kept of it.
pub(super) struct Edit {
    pub(super) status: u16,
    pub(super) writes: Vec<Write>,
    /// The reply to repetitions.
    pub(super) kept: Value,
    /// The reply to the first.
    pub(super) shown: Value,
}

impl Edit {
    fn plain(status: u16, write: WebhookWrite, body: Value) -> Found {
        Found::Edit(Self { status, writes: vec![Write::Webhook(write)], kept: body.clone(), shown: body })
    }

    /// The same with the secret in the first reply.
    fn with_secret(status: u16, write: WebhookWrite, body: Value, secret: Secret) -> Found {
        let mut shown = body.clone();
        shown["secret"] = webhook::secret_text(&secret.0).into();
        Found::Edit(Self { status, writes: vec![Write::Webhook(write)], kept: body, shown })
    }
}

impl Search<'_> {
    pub(super) fn find_webhooks(&self, request: Webhooks) -> Result<Found, Refused> {
        let (store, vendor, at) = (self.store, self.vendor.id, self.now);
        let failed = |error: StoreError| wire::of_store_error(&error);
        Ok(match request {
            Webhooks::Create(create) => {
                self.check_scheme(&create.url)?;
                let secret = Secret(rand::random());
                let endpoint = Endpoint {
                    id: EndpointId::new(fresh()),
                    vendor,
                    url: create.url,
                    description: create.description,
                    words: create.events,
                    secret,
                    old_secrets: Vec::new(),
                    created_at: at,
                    disabled: None,
                    last_success_at: None,
                    failing_since: None,
                    last_error: None,
                    pending: 0,
                };
                let body = shown(&endpoint, at);
                let write = WebhookWrite::Add { endpoint: Box::new(endpoint), most: self.webhooks.most_endpoints };
                Edit::with_secret(201, write, body, secret)
            }
            Webhooks::List => {
                let endpoints = store.endpoints(vendor).map_err(failed)?;
                Found::Answer(
                    json!({ "items": endpoints.iter().map(|endpoint| shown(endpoint, at)).collect::<Vec<_>>(), "next_cursor": null }),
                )
            }
            Webhooks::Get { id } => Found::Answer(shown(&self.endpoint(&id)?, at)),
            Webhooks::Change { id, change } => {
                if let Some(url) = &change.url {
                    self.check_scheme(url)?;
                }
                let mut endpoint = self.endpoint(&id)?;
                let change = Change { url: change.url, description: change.description, words: change.events };
                endpoint.url = change.url.clone().unwrap_or(endpoint.url);
                endpoint.description = change.description.clone().unwrap_or(endpoint.description);
                endpoint.words = change.words.clone().unwrap_or(endpoint.words);
                let body = shown(&endpoint, at);
                Edit::plain(200, WebhookWrite::Change { vendor, endpoint: endpoint.id, change }, body)
            }
            Webhooks::Delete { id } => {
                let endpoint = self.endpoint(&id)?.id;
                Edit::plain(200, WebhookWrite::Remove { vendor, endpoint, at }, json!({ "id": id, "deleted": true }))
            }
            Webhooks::Rotate { id, overlap_s } => {
                let mut endpoint = self.endpoint(&id)?;
                let (secret, old_until) = (Secret(rand::random()), at + overlap_s.map_or(OVERLAP, Span::from_s));
                // What is over is forgotten, and an end at once ends all of them.
                endpoint.old_secrets.retain(|(_, until)| *until > at && old_until > at);
                endpoint.old_secrets.insert(0, (endpoint.secret, old_until));
                let write = WebhookWrite::Rotate { vendor, endpoint: endpoint.id, secret, at, old_until };
                Edit::with_secret(200, write, shown(&endpoint, at), secret)
            }
            Webhooks::Enable { id } => {
                let mut endpoint = self.endpoint(&id)?;
                (endpoint.disabled, endpoint.failing_since) = (None, None);
                Edit::plain(200, WebhookWrite::Enable { vendor, endpoint: endpoint.id }, shown(&endpoint, at))
            }
            Webhooks::Test { id } => {
                let (endpoint, event) = (self.endpoint(&id)?.id, EventId::new(fresh()));
                let body = json!({ "endpoint_id": id, "event_id": event.to_string() });
                Edit::plain(202, WebhookWrite::Test { vendor, endpoint, event, at }, body)
            }
            Webhooks::Replay { id, after } => {
                let endpoint = self.endpoint(&id)?.id;
                let from = after.as_deref().map(event_of).transpose()?;
                let missed = store.missed(vendor, endpoint, from, at).map_err(failed)?;
                let (events, more) = missed.ok_or_else(|| wire::not_found("event"))?;
                let body = json!({ "endpoint_id": id, "after": after, "queued": events.len(), "more": more });
                Edit::plain(202, WebhookWrite::ReplayMissed { vendor, endpoint, events, at }, body)
            }
            Webhooks::Deliveries { id, page } => {
                let endpoint = self.endpoint(&id)?.id;
                let (page, limit) = page_of::<EventId>(&page)?;
                let deliveries = store.deliveries(vendor, endpoint, page).map_err(failed)?.ok_or_else(bad_cursor)?;
                let next = (deliveries.len() >= limit).then(|| deliveries.last().map(|delivery| delivery.event.to_string())).flatten();
                Found::Answer(json!({ "items": deliveries.iter().map(sent).collect::<Vec<_>>(), "next_cursor": next }))
            }
            Webhooks::Events(page) => {
                let (page, limit) = page_of::<EventId>(&page)?;
                let events = store.events(vendor, page).map_err(failed)?.ok_or_else(bad_cursor)?;
                let next = (events.len() >= limit).then(|| events.last().map(|event| event.id.to_string())).flatten();
                Found::Answer(json!({ "items": events.iter().map(told).collect::<Vec<_>>(), "next_cursor": next }))
            }
            Webhooks::ReplayEvent { id, endpoint_id } => {
                let endpoint = endpoint_id.as_deref().map(|id| self.endpoint(id)).transpose()?.map(|endpoint| endpoint.id);
                let event = event_of(&id)?;
                let body = json!({ "event_id": id, "endpoint_id": endpoint_id });
                Edit::plain(202, WebhookWrite::Replay { vendor, event, endpoint, at }, body)
            }
        })
    }

    fn check_scheme(&self, url: &str) -> Result<(), Refused> {
        let https = webhook::Address::parse(url).is_ok_and(|address| address.https);
        if https || self.webhooks.allow_http {
            return Ok(());
        }
        Err(wire::refused(Code::InvalidRequest, "`url` must begin with https: this server sends nothing in the clear", Some("url")))
    }

    fn endpoint(&self, id: &str) -> Result<Endpoint, Refused> {
        let none = || wire::not_found("webhook endpoint");
        let id = id.parse().map_err(|_| none())?;
        self.store.endpoint(self.vendor.id, id).map_err(|error| wire::of_store_error(&error))?.ok_or_else(none)
    }
}

fn event_of(id: &str) -> Result<EventId, Refused> {
    id.parse().map_err(|_| wire::not_found("event"))
}

fn bad_cursor() -> Refused {
    wire::refused(Code::InvalidRequest, "this is not a cursor of this list; take `next_cursor` of the page before", Some("after"))
}

/// An endpoint for its vendor, without its secret.
fn shown(endpoint: &Endpoint, now: Moment) -> Value {
    json!({
        "id": endpoint.id.to_string(),
        "url": endpoint.url,
        "description": endpoint.description,
        "events": endpoint.words,
        "state": if endpoint.disabled.is_some() { "disabled" } else { "enabled" },
        "disabled_at": endpoint.disabled.map(|(at, _)| at.to_string()),
        "disabled_why": endpoint.disabled.map(|(_, why)| why.name()),
        "created_at": endpoint.created_at.to_string(),
        "pending": endpoint.pending,
        "last_success_at": endpoint.last_success_at.map(|at| at.to_string()),
        "failing_since": endpoint.failing_since.map(|at| at.to_string()),
        "last_error": endpoint.last_error.as_ref().map(|(_, error)| error),
        "last_error_at": endpoint.last_error.as_ref().map(|(at, _)| at.to_string()),
        "old_secret_until": endpoint.old_secrets.first().map(|(_, until)| until.to_string()),
        "old_secrets_until": endpoint.old_secrets.iter().map(|(_, until)| until).filter(|until| **until > now).map(Moment::to_string).collect::<Vec<_>>(),
    })
}

fn sent(delivery: &Delivery) -> Value {
    json!({
        "event_id": delivery.event.to_string(),
        "type": delivery.word,
        "timestamp": delivery.at.to_string(),
        "state": delivery.state,
        "attempts": delivery.attempts,
        "next_at": delivery.next_at.map(|at| at.to_string()),
        "last_at": delivery.last_at.map(|at| at.to_string()),
        "status": delivery.status,
        "error": delivery.error,
    })
}

/// An event as it was sent, with its id.
fn told(event: &Event) -> Value {
    let mut told: Value = serde_json::from_str(&event.body).unwrap_or_default();
    told["id"] = event.id.to_string().into();
    told
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_endpoint_may_choose_from_what_there_is() {
        assert_eq!(signaling::rest::EVENTS, crate::exchange::WORDS);
    }
}
