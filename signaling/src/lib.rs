//! The front door of lull: wire messages, the WebSocket, the HTTP join, REST, tokens, sessions and pages.
//!
//! It knows nothing of calls or money: it checks form, size, rate, origin and identity, turns what is well-formed into an
//! [`inbound::Inbound`] for the house behind it, and says the answer on the wire. One bounded queue leads into the house;
//! when it is full, requests are refused with `overloaded` instead of waiting.

pub mod code;
pub mod inbound;
pub mod message;
pub mod rest;
