//! Joining over HTTP in the shape of WHIP (RFC 9725): for programs, gateways and load tests.
//!
//! The token is looked for in the `Authorization` header only. SDP passes through unread and is never logged.
//! `If-Match` is not asked for on `PATCH`: candidates of a fragment are not used (the server learns addresses from
//! authenticated checks), so a fragment of an older ICE session does no harm; the `ETag` still names the ICE session.

use crate::auth::{hash_secret, join_claims, receipt_claims};
use crate::code::Code;
use crate::endpoint::Front;
use crate::inbound::{Claims, Inbound};
use crate::problem::Problem;
use crate::rest::Id;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch, post};
use axum::{Json, Router};
use std::fmt::Write;
use std::sync::Arc;

/// An offer or answer (RFC 8866).
const SDP: &str = "application/sdp";

/// Part of one (RFC 8840).
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

pub(crate) fn routes() -> Router<Arc<Front>> {
    Router::new()
        .route("/v1/join", post(join))
        .route("/v1/join/receipt", get(receipt))
        .route("/v1/join/{leg}", patch(restart).delete(hang_up))
}

fn claims(front: &Front, headers: &HeaderMap) -> Result<Claims, Problem> {
    join_claims(headers, &front.door.tokens, front.now())
}

/// An offer comes, an answer goes.
async fn join(State(front): State<Arc<Front>>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let claims = claims(&front, &parts.headers)?;
    front.count_join(&claims.jti)?;
    let offer = sdp_body(&parts.headers, body, SDP, front.door.settings.sdp_max).await?;
    let joined = front.ask(|reply| Inbound::Join { claims, offer, reply }).await?;
    let location = HeaderValue::try_from(format!("/v1/join/{}", joined.leg)).map_err(|_| Problem::new(Code::Internal, "no such leg"))?;
    let mut response = (StatusCode::CREATED, [(header::LOCATION, location)], joined.answer.clone()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(SDP));
    headers.insert("accept-patch", HeaderValue::from_static(FRAGMENT));
    headers.extend(ice_etag(&joined.answer).map(|etag| (header::ETAG, etag)));
    Ok(response)
}

/// New ICE credentials of the same leg.
async fn restart(State(front): State<Arc<Front>>, Id(leg): Id, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let claims = claims(&front, &parts.headers)?;
    let fragment = sdp_body(&parts.headers, body, FRAGMENT, front.door.settings.sdp_max).await?;
    let answer = front.ask(|reply| Inbound::Patch { claims, leg, fragment, reply }).await?;
    if answer.is_empty() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let etag = ice_etag(&answer);
    let mut response = answer.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(FRAGMENT));
    response.headers_mut().extend(etag.map(|etag| (header::ETAG, etag)));
    Ok(response)
}

/// This party leaves the call for good.
async fn hang_up(State(front): State<Arc<Front>>, Id(leg): Id, headers: HeaderMap) -> Result<StatusCode, Problem> {
    let claims = claims(&front, &headers)?;
    front.ask(|reply| Inbound::HangUp { claims, leg, reply }).await?;
    Ok(StatusCode::OK)
}

/// What the call came to, for the party the token names.
async fn receipt(State(front): State<Arc<Front>>, headers: HeaderMap) -> Result<Json<serde_json::Value>, Problem> {
    let claims = receipt_claims(&headers, &front.door.tokens, front.now())?;
    front.ask(|reply| Inbound::Receipt { claims, reply }).await.map(Json)
}

/// The text of a body of the right type and a bounded length.
async fn sdp_body(headers: &HeaderMap, body: Body, media_type: &'static str, limit: usize) -> Result<String, Problem> {
    if !has_media_type(headers, media_type) {
        return Err(Problem::new(Code::UnsupportedMediaType, format!("send `Content-Type: {media_type}`")));
    }
    let bytes = axum::body::to_bytes(body, limit).await.map_err(|_| Problem::too_large(limit))?;
    match String::from_utf8(bytes.into()) {
        Ok(text) if !text.trim().is_empty() => Ok(text),
        _ => Err(Problem::new(Code::OfferInvalid, "the body is not an SDP text")),
    }
}

/// Whether the body is said to be of this type; parameters (`charset`) are not looked at.
pub(crate) fn has_media_type(headers: &HeaderMap, media_type: &str) -> bool {
    let shown = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    shown.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(media_type)
}

/// The ICE session's name (RFC 9725 section 4.3.1): made of its user name and password, and says nothing of either.
fn ice_etag(sdp: &str) -> Option<HeaderValue> {
    let credentials: Vec<&str> = sdp.lines().filter(|line| line.starts_with("a=ice-ufrag:") || line.starts_with("a=ice-pwd:")).collect();
    if credentials.is_empty() {
        return None;
    }
    let mut etag = String::from("\"");
    for byte in &hash_secret(&credentials.join("\n"))[..12] {
        let _ = write!(etag, "{byte:02x}"); // Writing to a String cannot fail.
    }
    etag.push('"');
    HeaderValue::try_from(etag).ok()
}
