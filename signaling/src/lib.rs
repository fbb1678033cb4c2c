//! The front door of lull: wire messages, the WebSocket, the HTTP join, REST, tokens, sessions and pages.
//!
//! It knows nothing of calls or money: it checks form, size, rate, origin and identity, turns what is well-formed into an
//! [`inbound::Inbound`] for the house behind it, and says the answer on the wire. One bounded queue leads into the house;
//! when it is full, requests are refused with `overloaded` instead of waiting.
//!
//! | file | |
//! |---|---|
//! | [`message`] [`rest`] [`code`] | what is said on the wire, as types |
//! | [`inbound`] | what passes into the house |
//! | [`endpoint`] | the routes; [`Door`] is what they need |
//! | `socket` `join` `rest/` `pages` `openapi` `health` | the ways in |
//! | [`webhook`] | how what is sent to vendors' programs is addressed and signed |
//! | [`auth`] [`limits`] `problem` | who may, how often, and what a refusal says |

pub mod auth;
pub mod code;
pub mod endpoint;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod health;
pub mod inbound;
mod join;
pub mod limits;
pub mod message;
mod openapi;
mod pages;
mod problem;
pub mod rest;
mod socket;
pub mod webhook;

pub use auth::{TokenKey, hash_secret};
pub use endpoint::{Door, Ready, router};
pub use limits::Settings;
pub use message::{MessageError, parse_message};
