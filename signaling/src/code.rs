//! Stable error codes: what programs act on and pages translate.
//!
//! A code never changes its meaning; the text beside it on the wire is for people and may.

use serde::{Deserialize, Serialize};

/// What went wrong, as one word on the wire (snake_case).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// No API key, session or token, or one that is not known.
    Unauthorized,
    /// The page that asks is not ours.
    OriginForbidden,
    /// The join token is not one of ours or was altered.
    TokenInvalid,
    /// The join token's time is over.
    TokenExpired,
    /// The join token is not valid yet.
    TokenEarly,
    /// The join token was withdrawn.
    TokenRevoked,
    /// The call is over.
    CallEnded,
    /// The call has not begun yet, or is past what was asked of it.
    CallState,
    /// Somebody joined as the same person from elsewhere; that one counts now.
    Replaced,
    /// There is no such thing (or it is another vendor's).
    NotFound,
    /// This address answers to another method.
    MethodNotAllowed,
    /// A field is missing, of a wrong type or out of range; `field` names it.
    InvalidRequest,
    /// A message on the socket is not JSON of version 1 or lacks a field.
    InvalidMessage,
    /// A message kind this server does not know; the connection goes on.
    UnknownType,
    /// Body or message is too long.
    TooLarge,
    /// The body is of another type than asked for.
    UnsupportedMediaType,
    /// `Idempotency-Key` is required here.
    IdempotencyKeyMissing,
    /// This key was used with another request.
    IdempotencyKeyReused,
    /// The first request with this key is not answered yet.
    IdempotencyKeyInUse,
    /// The wallet has less than the price.
    InsufficientFunds,
    /// This order reference was credited before.
    OrderCredited,
    /// This order reference was refunded before.
    OrderRefunded,
    /// More would go back than was charged, or come again than went back; the figures stand beside.
    RefundExceeds,
    /// The login link was used before, is too old or is not ours.
    LoginInvalid,
    /// The SDP offer cannot be answered.
    OfferInvalid,
    /// The webhook endpoint is disabled; it must be enabled first.
    EndpointDisabled,
    /// The recording is deleted.
    RecordingDeleted,
    /// The server's settings do not have the key that opens the recording.
    RecordingKey,
    /// The recording's file is missing or was changed.
    RecordingDamaged,
    /// More would pass a limit of the call (longest call, gifts).
    LimitReached,
    /// Too many requests; see `Retry-After`.
    RateLimited,
    /// The page does not read what it is sent.
    SlowReader,
    /// The server is stopping or full; see `Retry-After`.
    Overloaded,
    /// What is on the server's disk does not add up: no new calls, those that are on go on.
    AuditFailed,
    /// The server's wall clock is behind what it wrote before: no new calls until it has caught up.
    ClockBehind,
    /// The server's disk is full or failing; nothing was changed.
    Storage,
    /// Our mistake; it is in our log.
    Internal,
}
