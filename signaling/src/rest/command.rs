//! What every REST request is before it is a request: a caller, a key, a body, a query; and how its answer leaves.
//!
//! The order of refusals is fixed: who (401), whence (403), how often (429), then type, size and form of the body, then
//! the key, then the fields. So a stranger learns nothing about bodies, and nothing is read for who asks too often.

use super::{Answered, Page, Request, Webhooks, json};
use crate::auth;
use crate::code::Code;
use crate::endpoint::Front;
use crate::inbound::{Caller, Idempotency, Inbound};
use crate::join::has_media_type;
use crate::problem::Problem;
use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Query};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::sync::Arc;

const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The longest key, in characters.
const KEY_MAX: usize = 255;

/// A POST that changes something.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) caller: Caller,
    pub(super) idempotency: Idempotency,
    pub(super) body: Value,
}

impl FromRequest<Arc<Front>> for Command {
    type Rejection = Problem;

    async fn from_request(request: axum::extract::Request, front: &Arc<Front>) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let caller = auth::caller(&parts.method, &parts.headers, &front.door.origins)?;
        front.count_caller(caller)?;
        let body = json_body(&parts.headers, body, front.door.settings.body_max).await?;
        let key = idempotency_key(&parts.headers)?;
        let mut hash = Sha256::new();
        hash.update(parts.method.as_str());
        hash.update(b"\n");
        hash.update(parts.uri.path());
        hash.update(b"\n");
        hash.update(body.to_string());
        Ok(Self { caller, idempotency: Idempotency { key, request_hash: hash.finalize().into() }, body })
    }
}

/// A PUT: it says how something shall be, so doing it twice is doing it once, and it needs no key.
#[derive(Debug)]
pub(super) struct Replacement {
    pub(super) caller: Caller,
    pub(super) body: Value,
}

impl FromRequest<Arc<Front>> for Replacement {
    type Rejection = Problem;

    async fn from_request(request: axum::extract::Request, front: &Arc<Front>) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let caller = auth::caller(&parts.method, &parts.headers, &front.door.origins)?;
        front.count_caller(caller)?;
        let body = json_body(&parts.headers, body, front.door.settings.body_max).await?;
        Ok(Self { caller, body })
    }
}

/// A GET.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) caller: Caller,
    pub(super) query: Vec<(String, String)>,
}

impl FromRequestParts<Arc<Front>> for Asked {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, front: &Arc<Front>) -> Result<Self, Problem> {
        let caller = auth::caller(&parts.method, &parts.headers, &front.door.origins)?;
        front.count_caller(caller)?;
        let Query(query) = Query::try_from_uri(&parts.uri)
            .map_err(|_| Problem::new(Code::InvalidRequest, "the query is not a list of name=value in percent-encoded UTF-8"))?;
        Ok(Self { caller, query })
    }
}

impl Asked {
    /// The values of the query's parameters, in the order of `known`; others, and repeated ones, are refused.
    pub(super) fn query<const N: usize>(self, known: [&'static str; N]) -> Result<[Option<String>; N], Problem> {
        let mut values = [const { None }; N];
        for (name, value) in self.query {
            let Some(at) = known.iter().position(|k| *k == name) else {
                let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
                let accepted = if N == 0 { "none".to_owned() } else { known.join(", ") };
                return Err(Problem::field(shown, format!("there is no such parameter; accepted are: {accepted}")));
            };
            if values[at].replace(value).is_some() {
                return Err(Problem::field(known[at], format!("`{}` stands there twice", known[at])));
            }
        }
        Ok(values)
    }
}

/// The stretch of a list that a query asks for.
pub(super) fn page(limit: Option<String>, after: Option<String>) -> Result<Page, Problem> {
    let limit = match limit {
        None => None,
        Some(text) => {
            let number = text.parse().ok().filter(|n| (1..=200).contains(n) && text.bytes().all(|b| b.is_ascii_digit()));
            Some(number.ok_or_else(|| Problem::field("limit", "`limit` must be a whole number from 1 to 200"))?)
        }
    };
    if after.as_ref().is_some_and(|text| !(1..=200).contains(&text.len()) || !text.bytes().all(|b| b.is_ascii_graphic())) {
        return Err(Problem::field("after", "`after` must be the `next_cursor` of the page before"));
    }
    Ok(Page { limit, after })
}

/// An id in a path: a text that no id of ours can be names nothing.
#[derive(Debug)]
pub(crate) struct Id(pub(crate) String);

impl FromRequestParts<Arc<Front>> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, front: &Arc<Front>) -> Result<Self, Problem> {
        match Path::<String>::from_request_parts(parts, front).await {
            Ok(Path(id)) if super::fields::Text::Id.fits(&id) => Ok(Self(id)),
            _ => Err(Problem::not_found()),
        }
    }
}

/// The JSON object of a body; no body at all is an empty one.
pub(super) async fn json_body(headers: &HeaderMap, body: Body, limit: usize) -> Result<Value, Problem> {
    let typed = has_media_type(headers, "application/json");
    if !typed && headers.contains_key(header::CONTENT_TYPE) {
        return Err(Problem::new(Code::UnsupportedMediaType, "send `Content-Type: application/json`"));
    }
    let bytes = axum::body::to_bytes(body, limit).await.map_err(|_| Problem::too_large(limit))?;
    if bytes.is_empty() {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    if !typed {
        return Err(Problem::new(Code::UnsupportedMediaType, "send `Content-Type: application/json`"));
    }
    match json::parse(&bytes) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err(Problem::new(Code::InvalidRequest, "the body must be a JSON object")),
        // The reader's own words may repeat the body; the place is enough.
        Err(error) => Err(Problem::new(
            Code::InvalidRequest,
            format!("the body is not JSON without repeated fields: line {}, column {}", error.line(), error.column()),
        )),
    }
}

/// The caller's key, bare or as the quoted string of the draft (RFC 9651 section 3.3.3); both spell the same key.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<String, Problem> {
    let broken = || Problem::field("Idempotency-Key", "`Idempotency-Key` must be one key of 1 to 255 visible ASCII characters");
    let mut shown = headers.get_all(IDEMPOTENCY_KEY).iter();
    let value = match (shown.next(), shown.next()) {
        (Some(value), None) => value.to_str().map_err(|_| broken())?.trim(),
        (Some(_), Some(_)) => return Err(broken()),
        (None, _) => {
            return Err(Problem::new(
                Code::IdempotencyKeyMissing,
                "send `Idempotency-Key` with a new random key for each command, and the same one when you repeat it",
            ));
        }
    };
    let key = match value.strip_prefix('"') {
        None => value.to_owned(),
        Some(quoted) => {
            let mut key = String::new();
            let mut rest = quoted.strip_suffix('"').ok_or_else(broken)?.chars();
            while let Some(c) = rest.next() {
                match c {
                    '"' => return Err(broken()),
                    '\\' => key.push(rest.next().filter(|c| matches!(c, '"' | '\\')).ok_or_else(broken)?),
                    _ => key.push(c),
                }
            }
            key
        }
    };
    let fits = (1..=KEY_MAX).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic());
    if fits { Ok(key) } else { Err(broken()) }
}

/// Asks the house and makes the HTTP answer.
pub(super) async fn ask(front: &Front, caller: Caller, idempotency: Option<Idempotency>, request: Request) -> Result<Response, Problem> {
    let place = Place::of(&request);
    let answered = front.ask(|reply| Inbound::Rest { caller, idempotency, request, reply }).await?;
    Ok(place.answer(answered))
}

/// Where a created thing is found.
enum Place {
    Under(&'static str),
    At(String),
    Nowhere,
}

impl Place {
    fn of(request: &Request) -> Self {
        match request {
            Request::CreatePlan(_) => Self::Under("/v1/plans/"),
            Request::CreateCompanion(_) => Self::Under("/v1/companions/"),
            Request::CreateCall(_) => Self::Under("/v1/calls/"),
            Request::Webhooks(Webhooks::Create(_)) => Self::Under("/v1/webhook-endpoints/"),
            Request::Credit { client_ref, .. } => Self::At(format!("/v1/clients/{client_ref}")),
            Request::RefundClient { client_ref, .. } => Self::At(format!("/v1/clients/{client_ref}/transfers")),
            Request::RefundCall { id, .. } | Request::AdjustCall { id, .. } => Self::At(format!("/v1/calls/{id}")),
            _ => Self::Nowhere,
        }
    }

    fn answer(self, answered: Answered) -> Response {
        let status = StatusCode::from_u16(answered.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let location = match (self, status) {
            (Self::Under(path), StatusCode::CREATED) => answered.body.get("id").and_then(Value::as_str).map(|id| format!("{path}{id}")),
            (Self::At(path), StatusCode::CREATED) => Some(path),
            _ => None,
        };
        let mut response = (status, Json(answered.body)).into_response();
        let headers = response.headers_mut();
        if let Some(location) = location.and_then(|path| HeaderValue::try_from(path).ok()) {
            headers.insert(header::LOCATION, location);
        }
        if answered.replayed {
            headers.insert(HeaderName::from_static("idempotent-replayed"), HeaderValue::from_static("true"));
        }
        response
    }
}
