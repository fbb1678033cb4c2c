//! The REST interface's requests and answers as values. Routes and checks stand in `rest/`.
//!
//! Unknown fields are refused by name: a misspelt limit must not be silently absent.

mod calls;
mod clients;
mod command;
mod companions;
mod fields;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod json;
mod plans;
mod records;
mod session;

pub(crate) use command::Id;
pub use json::parse as parse_json;

use crate::endpoint::Front;
use crate::inbound::Role;
use crate::message::Amount;
use axum::Router;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// All REST routes.
pub(crate) fn routes() -> Router<Arc<Front>> {
    plans::routes()
        .merge(companions::routes())
        .merge(clients::routes())
        .merge(calls::routes())
        .merge(records::routes())
        .merge(session::routes())
}

/// A well-formed REST request. Ids are still texts: whether they name anything is the house's business.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// `POST /v1/plans`
    CreatePlan(CreatePlan),
    /// `GET /v1/plans`
    ListPlans(Page),
    /// `GET /v1/plans/{id}`
    GetPlan { id: String },
    /// `POST /v1/companions`
    CreateCompanion(CreateCompanion),
    /// `GET /v1/companions`
    ListCompanions(Page),
    /// `GET /v1/companions/{id}`
    GetCompanion { id: String },
    /// `POST /v1/clients/{ref}/credits`
    Credit { client_ref: String, credit: Credit },
    /// `GET /v1/clients/{ref}`
    GetClient { client_ref: String },
    /// `POST /v1/calls`
    CreateCall(CreateCall),
    /// `GET /v1/calls`
    ListCalls { page: Page, state: Option<CallFilter> },
    /// `GET /v1/calls/{id}`
    GetCall { id: String },
    /// `GET /v1/calls/{id}/links`: both links and tokens again.
    GetLinks { id: String },
    /// `POST /v1/calls/{id}/links`: withdraws a party's link and makes a new one.
    RenewLink { id: String, party: Role },
    /// `POST /v1/calls/{id}/extend`
    Extend { id: String, extend: Extend },
    /// `POST /v1/calls/{id}/end`
    End { id: String },
    /// `GET /v1/calls/{id}/record`
    GetRecord { id: String },
    /// `GET /v1/calls/{id}/receipt`
    GetReceipt { id: String },
    /// `GET /v1/records`: a part of the file; the answer is `{text, next_cursor}`.
    ExportRecords(Export),
    /// `GET /v1/session`: whose key or cookie this is.
    WhoAmI,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: serde_json::Value,
    /// This reply was given before, to the same key.
    pub replayed: bool,
}

/// A stretch of a list.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Page {
    /// 1 to 200, default 50.
    pub limit: Option<u32>,
    /// The `next_cursor` of the page before.
    pub after: Option<String>,
}

/// The records of a month as a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// Like `2026-11`.
    pub month: String,
    /// The time zone of the month: an IANA name.
    pub zone: String,
    /// How they are written.
    pub format: ExportFormat,
    /// Behind this place; from the start if none.
    pub after: Option<String>,
}

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// A row each below a row of headings (RFC 4180).
    Csv,
    /// A line of canonical JSON each, as `GET /v1/calls/{id}/record` gives it.
    Jsonl,
}

/// Which calls to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallFilter {
    /// Not yet settled.
    Open,
    /// Settled.
    Settled,
}

/// The kind of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanKind {
    /// Blocks of a length at a price.
    Block,
}

/// A new plan.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreatePlan {
    /// 1 to 100 characters.
    pub name: String,
    /// Always `block` for now.
    pub kind: PlanKind,
    /// 1 to 43,200 seconds.
    pub block_s: i64,
    /// Above zero.
    pub price: Amount,
    /// The grade it sells, 1 to 40 characters.
    #[serde(default)]
    pub grade: Option<String>,
}

/// A new companion.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateCompanion {
    /// 1 to 100 characters.
    pub name: String,
    /// Her grade for this vendor, 1 to 40 characters.
    #[serde(default)]
    pub grade: Option<String>,
}

/// Money that a client paid in the vendor's shop.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credit {
    /// Above zero.
    pub amount: Amount,
    /// The shop's order, 1 to 100 characters; each counts once.
    pub order_ref: String,
}

/// What a call may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Media {
    /// Sound.
    Audio,
    /// Sound and picture.
    Video,
}

/// A new call.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateCall {
    /// The plan.
    pub plan_id: String,
    /// The client who pays.
    pub client_ref: String,
    /// What the companion's page calls the client, 1 to 100 characters.
    #[serde(default)]
    pub client_name: Option<String>,
    /// The companion asked for.
    pub companion_id: String,
    /// Default audio.
    #[serde(default)]
    pub media: Option<Media>,
}

/// More time for a running call: by the wallet (neither field), by an order paid in the shop, or as a gift.
#[derive(Clone, Debug, PartialEq, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Extend {
    /// An order of the block's price, credited and held in one step.
    #[serde(default)]
    pub order_ref: Option<String>,
    /// Free time instead: 60 to 3,600 seconds.
    #[serde(default)]
    pub gift_s: Option<i64>,
}

/// Who is signed in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Session {
    /// The vendor's id.
    pub vendor_id: String,
    /// The vendor's name.
    pub vendor_name: String,
    /// Seconds until the session ends.
    pub expires_in_s: i64,
}
