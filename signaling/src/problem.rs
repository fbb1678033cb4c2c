//! What a request is answered with when it is not done: RFC 9457 problem details, with the stable `code`.
//!
//! The one place where a code becomes an HTTP status. A problem never repeats a secret, nor what the house would not say.

use crate::code::Code;
use crate::inbound::Refused;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::borrow::Cow;

/// A refusal on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The stable code.
    pub(crate) code: Code,
    /// A sentence that says what is wrong and, where something can be done about it, what.
    pub(crate) detail: Cow<'static, str>,
    /// The field at fault.
    pub(crate) field: Option<Cow<'static, str>>,
    /// When to come back, in seconds.
    pub(crate) retry_after_s: Option<u64>,
    /// Members beside those of RFC 9457 (its section 3.2), an object.
    pub(crate) figures: Option<Value>,
}

impl Problem {
    /// A problem without a field.
    pub(crate) fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        let retry_after_s = matches!(code, Code::Overloaded | Code::RateLimited | Code::Storage).then_some(1);
        Self { code, detail: detail.into(), field: None, retry_after_s, figures: None }
    }

    /// `invalid_request` at a field.
    pub(crate) fn field(field: impl Into<Cow<'static, str>>, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { field: Some(field.into()), ..Self::new(Code::InvalidRequest, detail) }
    }

    /// Too many requests; come back in so many seconds.
    pub(crate) fn rate_limited(retry_after_s: u64) -> Self {
        Self {
            retry_after_s: Some(retry_after_s),
            ..Self::new(Code::RateLimited, "too many requests; come back after `Retry-After` seconds")
        }
    }

    /// There is no such thing, or it is somebody else's.
    pub(crate) fn not_found() -> Self {
        Self::new(Code::NotFound, "there is no such thing here")
    }

    /// Longer than accepted.
    pub(crate) fn too_large(limit: usize) -> Self {
        Self::new(Code::TooLarge, format!("the body may have at most {limit} bytes"))
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        Self { field: refused.field.map(Cow::Borrowed), figures: refused.figures, ..Self::new(refused.code, refused.detail) }
    }
}

/// The HTTP status of a code.
pub(crate) fn status_of(code: Code) -> StatusCode {
    match code {
        Code::InvalidRequest | Code::InvalidMessage | Code::UnknownType | Code::IdempotencyKeyMissing => StatusCode::BAD_REQUEST,
        Code::Unauthorized | Code::TokenInvalid | Code::TokenExpired | Code::TokenEarly | Code::TokenRevoked | Code::LoginInvalid => {
            StatusCode::UNAUTHORIZED
        }
        Code::InsufficientFunds => StatusCode::PAYMENT_REQUIRED,
        Code::OriginForbidden => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Code::CallState | Code::Replaced | Code::OrderCredited | Code::LimitReached => StatusCode::CONFLICT,
        Code::OrderRefunded | Code::RefundExceeds | Code::EndpointDisabled => StatusCode::CONFLICT,
        Code::CallEnded | Code::RecordingDeleted => StatusCode::GONE,
        Code::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Code::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        // The Idempotency-Key draft (draft-ietf-httpapi-idempotency-key-header, section 2.7); RFC 9110 section 15.5.21: read, but cannot be done.
        Code::IdempotencyKeyReused | Code::OfferInvalid => StatusCode::UNPROCESSABLE_ENTITY,
        Code::IdempotencyKeyInUse => StatusCode::CONFLICT,
        Code::RateLimited | Code::SlowReader => StatusCode::TOO_MANY_REQUESTS,
        Code::Internal | Code::RecordingKey | Code::RecordingDamaged => StatusCode::INTERNAL_SERVER_ERROR,
        Code::Overloaded | Code::AuditFailed | Code::ClockBehind => StatusCode::SERVICE_UNAVAILABLE,
        Code::Storage => StatusCode::INSUFFICIENT_STORAGE,
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = status_of(self.code);
        let mut body = json!({
            "type": "about:blank",
            "title": status.canonical_reason().unwrap_or("Error"),
            "status": status.as_u16(),
            "detail": self.detail,
            "code": self.code,
        });
        if let Some(field) = self.field {
            body["field"] = json!(field);
        }
        if let (Some(Value::Object(figures)), Value::Object(members)) = (self.figures, &mut body) {
            members.extend(figures);
        }
        let content_type: (HeaderName, HeaderValue) = (header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        let mut response = (status, [content_type], body.to_string()).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
