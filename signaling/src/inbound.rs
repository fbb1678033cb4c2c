//! What passes from the front door into the house: one enum, each request with the place its answer goes to.

use crate::code::Code;
use crate::message::{FromPage, ToPage};
use crate::rest;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

/// Where an answer goes. A dropped sender reads as [`Code::Internal`].
pub type Reply<T> = oneshot::Sender<Result<T, Refused>>;

/// Why something was not done: an RFC 9457 problem on HTTP, an `error` message on the socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The stable code.
    pub code: Code,
    /// A sentence that says what to do, in English.
    pub detail: String,
    /// The field at fault, where there is one.
    pub field: Option<&'static str>,
    /// Further members of the problem: an object with the figures a refusal goes by.
    pub figures: Option<serde_json::Value>,
}

/// SHA-256 of a secret that a caller showed; the secret itself stays at the door.
pub type SecretHash = [u8; 32];

/// Who calls the REST interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A program with the vendor's API key.
    ApiKey(SecretHash),
    /// A person with the session cookie of the vendor's page.
    Session(SecretHash),
}

/// A command's idempotency key, and what it was used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// The caller's key, 1 to 255 characters.
    pub key: String,
    /// SHA-256 of method, path and body.
    pub request_hash: [u8; 32],
}

/// A party of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The client.
    Client,
    /// The companion.
    Companion,
}

/// What a join token says (JWT, RFC 7519; HS256). Expiry governs joining; the call's end governs staying.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Always `lull`.
    pub iss: String,
    /// The party.
    pub role: Role,
    /// The call's id.
    pub call: String,
    /// The token's own id.
    pub jti: String,
    /// Not before, seconds since the epoch.
    pub nbf: i64,
    /// Expires, seconds since the epoch.
    pub exp: i64,
}

/// One connection of a page; numbered by the door, never reused within a process.
pub type SocketId = u64;

/// An answered offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The new leg's id; the `Location` is `/v1/join/{leg}`.
    pub leg: String,
    /// The SDP answer.
    pub answer: String,
}

/// A file to be sent as it is read.
pub struct Download {
    /// Octets in all; where it has fewer, the sending breaks off.
    pub length: u64,
    /// What it is to be called.
    pub name: String,
    /// Read on a thread that may wait.
    pub sound: Box<dyn std::io::Read + Send>,
}

impl std::fmt::Debug for Download {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Download").field("length", &self.length).field("name", &self.name).finish_non_exhaustive()
    }
}

/// What came in, checked for form. Everything that needs an answer carries the place for it.
#[allow(clippy::large_enum_variant, reason = "a new plan is the largest and rare; requests are moved a few times each")]
#[derive(Debug)]
pub enum Inbound {
    /// A REST command or query. The `u16` of the answer is the HTTP status; `replayed` sets `Idempotent-Replayed: true`.
    Rest { caller: Caller, idempotency: Option<Idempotency>, request: rest::Request, reply: Reply<rest::Answered> },
    /// A one-time login code for the vendor's page; the answer is the hash-keyed session (the door makes the cookie's secret).
    LogIn { code: SecretHash, session: SecretHash, reply: Reply<rest::Session> },
    /// The session's cookie is to be forgotten.
    LogOut { session: SecretHash, reply: Reply<()> },
    /// `GET /v1/recordings/{id}`
    Download { caller: Caller, id: String, reply: Reply<Download> },
    /// `POST /v1/join`.
    Join { claims: Claims, offer: String, reply: Reply<Joined> },
    /// `PATCH /v1/join/{leg}` with an SDP fragment; the answer is a fragment, empty where nothing is to be said (204).
    Patch { claims: Claims, leg: String, fragment: String, reply: Reply<String> },
    /// `DELETE /v1/join/{leg}`: this party hangs up.
    HangUp { claims: Claims, leg: String, reply: Reply<()> },
    /// `GET /v1/join/receipt`: the client's receipt, or for a companion what she earned.
    Receipt { claims: Claims, reply: Reply<serde_json::Value> },
    /// `GET /.well-known/lull-keys.json`: the keys that check records, a JWK set.
    Keys { reply: Reply<serde_json::Value> },
    /// A page's socket said a valid `hello`; `page` is the load of the page it named. Until this is answered the door passes nothing on.
    SocketOpened { socket: SocketId, claims: Claims, page: String, out: mpsc::Sender<ToSocket>, reply: Reply<()> },
    /// A message of an opened socket.
    SocketMessage { socket: SocketId, message: FromPage },
    /// The socket is gone; also said after a `SocketOpened` that was refused or took too long. That says nothing of the call.
    SocketClosed { socket: SocketId },
}

impl Inbound {
    /// Answers everything in the same way: nothing was done.
    pub fn refuse(self, refused: &Refused) {
        let refused = refused.clone();
        // Who went away needs no answer.
        match self {
            Self::Rest { reply, .. } => drop(reply.send(Err(refused))),
            Self::LogIn { reply, .. } => drop(reply.send(Err(refused))),
            Self::LogOut { reply, .. } | Self::HangUp { reply, .. } | Self::SocketOpened { reply, .. } => drop(reply.send(Err(refused))),
            Self::Join { reply, .. } => drop(reply.send(Err(refused))),
            Self::Download { reply, .. } => drop(reply.send(Err(refused))),
            Self::Patch { reply, .. } => drop(reply.send(Err(refused))),
            Self::Receipt { reply, .. } | Self::Keys { reply } => drop(reply.send(Err(refused))),
            Self::SocketMessage { .. } | Self::SocketClosed { .. } => {}
        }
    }
}

/// What the house tells a socket. The queue is bounded: a full one means a slow reader, who is dropped.
#[derive(Clone, Debug, PartialEq)]
pub enum ToSocket {
    /// Send this message.
    Message(Box<ToPage>),
    /// Send this message and close.
    Close(Box<ToPage>),
}
