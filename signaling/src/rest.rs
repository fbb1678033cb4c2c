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
mod recordings;
mod records;
mod refunds;
mod session;
mod settlement;
mod webhooks;

pub(crate) use command::Id;
pub use json::parse as parse_json;
pub use webhooks::{ChangeEndpoint, CreateEndpoint, EVENTS, Webhooks};

use crate::endpoint::Front;
use crate::inbound::Role;
use crate::message::Amount;
use axum::Router;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// All REST routes.
pub(crate) fn routes() -> Router<Arc<Front>> {
    plans::routes()
        .merge(companions::routes())
        .merge(clients::routes())
        .merge(calls::routes())
        .merge(records::routes())
        .merge(recordings::routes())
        .merge(session::routes())
        .merge(webhooks::routes())
        .merge(refunds::routes())
        .merge(settlement::routes())
}

/// A well-formed REST request. Ids are still texts: whether they name anything is the house's business.
#[allow(clippy::large_enum_variant, reason = "a new plan is the largest and rare; requests are moved a few times each")]
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// `POST /v1/plans`
    CreatePlan(Box<CreatePlan>),
    /// `GET /v1/plans`
    ListPlans(Page),
    /// `GET /v1/plans/{id}`
    GetPlan { id: String },
    /// `GET /v1/settlement`
    GetSettlement,
    /// `PUT /v1/settlement`
    SetSettlement(SetSettlement),
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
    /// `GET /v1/calls/{id}/recordings`
    ListRecordings { id: String },
    /// `DELETE /v1/recordings/{id}`
    DeleteRecording { id: String },
    /// `GET /v1/session`: whose key or cookie this is.
    WhoAmI,
    /// Endpoints of webhooks and events.
    Webhooks(Webhooks),
    /// `POST /v1/clients/{ref}/refunds`
    RefundClient { client_ref: String, refund: RefundClient },
    /// `GET /v1/clients/{ref}/transfers`
    ListTransfers { client_ref: String, currency: Option<String>, page: Page },
    /// `GET /v1/orders/{order_ref}`
    GetOrder { order_ref: String },
    /// `POST /v1/calls/{id}/refunds`
    RefundCall { id: String, refund: RefundCall },
    /// `POST /v1/calls/{id}/adjustments`
    AdjustCall { id: String, adjust: AdjustCall },
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanKind {
    /// Blocks of a length at a price.
    #[default]
    Block,
    /// By increments of time, as long as the money set aside lasts.
    PerMinute,
    /// One price for a call of any length.
    Flat,
    /// By increments of time until the client sleeps, up to a cap.
    UntilAsleep,
}

/// How a charge becomes whole minor units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanRounding {
    /// Towards zero.
    Down,
    /// To the nearest, halves up.
    HalfUp,
    /// To the nearest, halves to the even neighbour.
    HalfEven,
}

/// A part of the day with its rate.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateWindow {
    /// Shown on bills, 1 to 40 characters.
    pub label: String,
    /// `HH:MM`, local, included.
    pub start: String,
    /// `HH:MM`, local, excluded; may lie before the start, across midnight.
    pub end: String,
    /// Minor units a minute.
    pub rate_minor_per_min: i64,
}

/// A new plan. Which fields there are depends on the kind (`docs/interface.md`); the names are those of the rating examples.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreatePlan {
    /// 1 to 100 characters.
    pub name: String,
    /// What is sold.
    pub kind: PlanKind,
    /// The grade it sells, 1 to 40 characters.
    #[serde(default)]
    pub grade: Option<String>,
    /// `block`: 1 to 43,200 seconds.
    #[serde(default)]
    pub block_s: Option<i64>,
    /// `block` and `flat`: above zero.
    #[serde(default)]
    pub price: Option<Amount>,
    /// Metered kinds: 1 to 86,400 seconds.
    #[serde(default)]
    pub first_increment_s: Option<i64>,
    /// The same for each later one.
    #[serde(default)]
    pub increment_s: Option<i64>,
    /// One rate at all times, or else `windows`.
    #[serde(default)]
    pub rate_minor_per_min: Option<i64>,
    /// 1 to 24, covering the day.
    #[serde(default)]
    pub windows: Option<Vec<RateWindow>>,
    /// The zone of the windows.
    #[serde(default)]
    pub tz: Option<String>,
    /// `until_asleep`: most seconds that are billed.
    #[serde(default)]
    pub cap_s: Option<i64>,
    /// `until_asleep`: most that is charged.
    #[serde(default)]
    pub cap_minor: Option<i64>,
    /// What a booking or a top-up sets aside; of `until_asleep` by default the cap.
    #[serde(default)]
    pub hold: Option<Amount>,
    /// Where there is no `hold`.
    #[serde(default)]
    pub currency: Option<String>,
    /// Free seconds at the beginning.
    #[serde(default)]
    pub grace_s: Option<i64>,
    /// What a call costs at least.
    #[serde(default)]
    pub min_charge_minor: Option<i64>,
    /// Default `down`.
    #[serde(default)]
    pub rounding: Option<PlanRounding>,
    /// `until_asleep`: for how long the companion stays once the client sleeps, 0 to 3,600 seconds; default 300.
    #[serde(default)]
    pub linger_s: Option<i64>,
    /// `until_asleep`: how long her voice takes to fade, 10 to 300 seconds; default 60.
    #[serde(default)]
    pub fade_s: Option<i64>,
    /// `until_asleep`: the server plays a very quiet tone to a drowsy client, instead of asking the companion to speak; default false.
    #[serde(default)]
    pub probe: Option<bool>,
    /// Level of the chime at one minute left and at an extension.
    #[serde(default)]
    pub chime_dbfs: ChimeLevel,
    /// A soft sound while the client waits for the companion; default true, of `until_asleep` false.
    #[serde(default)]
    pub waiting_sound: Option<bool>,
    /// Calls may be recorded once both parties agree, and recordings are kept so long, 1 to 3,650 days; by default they may not.
    #[serde(default)]
    pub recording_days: Option<i64>,
}

/// How loud a plan's chime is. On the wire a whole number from -60 to -10 (dBFS), or `null` for no chime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Option<i8>")]
pub enum ChimeLevel {
    /// What the kind of plan has: -30, of `until_asleep` no chime.
    #[default]
    OfItsKind,
    /// No chime.
    Off,
    /// At this level.
    At(i8),
}

impl From<Option<i8>> for ChimeLevel {
    fn from(level: Option<i8>) -> Self {
        level.map_or(Self::Off, Self::At)
    }
}

/// What a vendor gives beyond the defaults; what is not named has its default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetSettlement {
    /// A flat call that delivered less is free where the rule is `free_below_min`.
    #[serde(default)]
    pub flat_min_s: Option<i64>,
    /// By end reason, then by what was sold, the rule.
    #[serde(default)]
    pub rules: BTreeMap<String, BTreeMap<String, String>>,
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

/// Money out of a client's wallet, which the vendor pays back outside.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefundClient {
    /// Above zero, and at most what the wallet has available.
    pub amount: Amount,
    /// The refund's own reference in the shop, 1 to 100 characters; each counts once. It may be that of the order paid back.
    pub order_ref: String,
    /// Why, 1 to 500 characters.
    #[serde(default)]
    pub reason: Option<String>,
}

/// Who bears what goes back of a settled call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundBearer {
    /// Companion and vendor, as they shared the charge.
    Shares,
    /// The vendor alone.
    Vendor,
}

/// Money of a settled call back into its client's wallet.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefundCall {
    /// Above zero; by default all that is left of the charge.
    #[serde(default)]
    pub amount: Option<Amount>,
    /// Why, 1 to 500 characters.
    pub reason: String,
    /// Default: the shares.
    #[serde(default)]
    pub from: Option<RefundBearer>,
}

/// Which way an adjustment goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Into the client's wallet.
    ToClient,
    /// What was returned before is taken from her again.
    FromClient,
}

/// What came of a dispute about a settled call.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdjustCall {
    /// Above zero.
    pub amount: Amount,
    /// Which way.
    pub direction: Direction,
    /// A code of the list in `rest/refunds.rs`.
    pub reason: String,
    /// Why, 1 to 500 characters.
    pub text: String,
    /// Default: the shares.
    #[serde(default)]
    pub from: Option<RefundBearer>,
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

/// More time for a running call: by the wallet (no field, or an amount), by an order paid in the shop, or as a gift.
#[derive(Clone, Debug, PartialEq, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Extend {
    /// An order over what is set aside, credited and held in one step.
    #[serde(default)]
    pub order_ref: Option<String>,
    /// Metered calls: what is set aside; by default as much as at the booking.
    #[serde(default)]
    pub amount: Option<Amount>,
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
