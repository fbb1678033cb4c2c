//! What a vendor's program is told of a call: the events of the webhooks, each made of one fact. What is told of other money is in
//! `money`, of recordings that are gone in `recording`.
//!
//! A function of the call's terms, the fact and, for the last one, the record: whoever has the journal can make it again, byte for
//! byte, id included. It names things by ids and references only: no person's name and no token leaves by this way.

mod money;
mod recording;

pub use money::{Returned, return_announcement, wallet_announcement};
pub use recording::{Deletion, deletion_announcement};

use super::{canonical, night};
use crate::call::{Entry, Fact, Terms};
use crate::clock::{Moment, Span};
use crate::ids::{CallId, EndpointId, EventId, VendorId};
use crate::money::Money;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// The event that only tries an endpoint out.
pub const TEST: &str = "webhook.test";

/// All events but the test: those of calls in the order of a call's life, then those of wallets.
pub const WORDS: [&str; 15] = [
    "call.created",
    "call.started",
    "call.warning",
    "call.extended",
    "call.paused",
    "call.resumed",
    "call.asleep",
    "call.ended",
    "call.settled",
    "recording.started",
    "recording.ended",
    "recording.deleted",
    "call.refunded",
    "call.adjusted",
    "client.refunded",
];

/// An event as it is kept and sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Its name: the same however often it is sent.
    pub id: EventId,
    /// What it is, such as `call.ended`.
    pub word: &'static str,
    /// When it became true.
    pub at: Moment,
    /// Canonical JSON of `type`, `timestamp` and `data`.
    pub body: String,
}

/// The event that a fact is told by; none if it is nobody's business outside.
pub fn word(fact: &Fact) -> Option<&'static str> {
    match fact {
        Fact::Created { .. } => Some("call.created"),
        Fact::Started => Some("call.started"),
        Fact::Warned { .. } => Some("call.warning"),
        Fact::Extended { .. } | Fact::Gifted { .. } => Some("call.extended"),
        Fact::Paused { .. } => Some("call.paused"),
        Fact::Resumed => Some("call.resumed"),
        Fact::Lingers { .. } => Some("call.asleep"),
        Fact::Ended { .. } => Some("call.ended"),
        Fact::Settled { .. } => Some("call.settled"),
        Fact::RecordingStarted { .. } => Some("recording.started"),
        Fact::RecordingStopped { .. } => Some("recording.ended"),
        Fact::Joined { .. }
        | Fact::Connected { .. }
        | Fact::Heard { .. }
        | Fact::Lost { .. }
        | Fact::Back { .. }
        | Fact::LinkRenewed { .. }
        | Fact::Recovered { .. }
        | Fact::Suspended { .. }
        | Fact::Sleep { .. }
        | Fact::Lands { .. }
        | Fact::Woken { .. }
        | Fact::Consented { .. }
        | Fact::Quality { .. } => None,
    }
}

/// The event of a fact, as the `seq`-th (from 1) of its call. `record` is the call's record, where the fact is that it is settled.
pub fn announcement(call: CallId, terms: &Terms, seq: u64, entry: &Entry, record: Option<&str>) -> Option<Announcement> {
    let word = word(&entry.fact)?;
    let mut data = Map::new();
    identify(&mut data, call, terms, seq);
    let mut add = |key: &str, value: Value| data.insert(key.to_owned(), value);
    match &entry.fact {
        Fact::Created { .. } => {
            add("media", terms.medium.name().into());
            add("held", money(terms.hold));
            add("grade_paid", json!(terms.grade_paid));
            add("grade_delivered", json!(terms.grade_delivered));
        }
        Fact::Warned { left } => {
            add("remaining_s", left.whole_s().into());
        }
        Fact::Extended { by, order_ref, hold, amount } => {
            let block = terms.block();
            add("kind", if block.is_some() { "block" } else { "top_up" }.into());
            add("by", by.name().into());
            add("added_s", json!(block.map(Span::whole_s)));
            add("amount", money(amount.unwrap_or(terms.hold)));
            add("hold_id", hold.to_string().into());
            add("order_ref", json!(order_ref));
        }
        Fact::Gifted { by, length, .. } => {
            add("kind", "gift".into());
            add("by", by.name().into());
            add("added_s", length.whole_s().into());
        }
        Fact::Paused { cause, since } => {
            add("cause", cause.name().into());
            add("since_at", since.to_string().into());
        }
        Fact::Lingers { by, length, verdict } => {
            add("by", by.name().into());
            add("linger_s", length.whole_s().into());
            add("sleep", verdict.as_ref().map(night::shown).map_or(Value::Null, Value::from));
        }
        Fact::Ended { reason, at_fault } => {
            add("end_reason", reason.name().into());
            add("at_fault", at_fault.name().into());
        }
        Fact::Settled { charge, refund } => {
            add("charge", money(*charge));
            add("refund", money(*refund));
            let record: Value = record.and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null);
            for field in ["shares", "delivered_ms", "billed_s", "started_at", "ended_at", "end_reason", "at_fault"] {
                add(field, record[field].clone());
            }
            add("record_hash", record["hash"].clone());
        }
        Fact::RecordingStarted { part } => {
            add("part", (*part).into());
        }
        Fact::RecordingStopped { part, why } => {
            add("part", (*part).into());
            add("reason", why.name().into());
        }
        Fact::Started
        | Fact::Resumed
        | Fact::Joined { .. }
        | Fact::Connected { .. }
        | Fact::Heard { .. }
        | Fact::Lost { .. }
        | Fact::Back { .. }
        | Fact::LinkRenewed { .. }
        | Fact::Recovered { .. }
        | Fact::Suspended { .. }
        | Fact::Sleep { .. }
        | Fact::Lands { .. }
        | Fact::Woken { .. }
        | Fact::Consented { .. }
        | Fact::Quality { .. } => {}
    }
    Some(Announcement { id: id_of(&call.to_string(), seq, entry.at), word, at: entry.at, body: body(word, entry.at, data) })
}

/// The event that tries an endpoint out; its id is the caller's, for there is no fact behind it.
pub fn test_announcement(id: EventId, vendor: VendorId, endpoint: EndpointId, at: Moment) -> Announcement {
    let mut data = Map::new();
    data.insert("vendor_id".to_owned(), vendor.to_string().into());
    data.insert("endpoint_id".to_owned(), endpoint.to_string().into());
    Announcement { id, word: TEST, at, body: body(TEST, at, data) }
}

/// What every event of a call says of it.
fn identify(data: &mut Map<String, Value>, call: CallId, terms: &Terms, seq: u64) {
    whose(data, call, terms);
    data.insert("seq".to_owned(), seq.into());
}

/// Which call something is of, and whose.
fn whose(data: &mut Map<String, Value>, call: CallId, terms: &Terms) {
    let mut add = |key: &str, value: Value| data.insert(key.to_owned(), value);
    add("call_id", call.to_string().into());
    add("vendor_id", terms.vendor.to_string().into());
    add("client_ref", terms.client.as_str().into());
    add("companion_id", terms.companion.to_string().into());
    add("plan_id", terms.plan.to_string().into());
}

fn body(word: &str, at: Moment, data: Map<String, Value>) -> String {
    canonical::text(&json!({ "type": word, "timestamp": at.to_string(), "data": data }))
}

/// A UUID version 7 (RFC 9562 section 5.7) of the event's moment, whose random part is taken from SHA-256 over what it is.
fn id_of(whose: &str, seq: u64, at: Moment) -> EventId {
    let mut sha = Sha256::new();
    sha.update(b"lull event\n");
    sha.update(whose);
    sha.update(seq.to_be_bytes());
    let hash: [u8; 32] = sha.finalize().into();
    let mut random = [0; 10];
    random.copy_from_slice(&hash[..10]);
    EventId::new(uuid::Builder::from_unix_timestamp_millis(at.unix_ms().max(0).unsigned_abs(), &random).into_uuid())
}

fn money(money: Money) -> Value {
    json!({"amount": money.amount, "currency": money.currency.code()})
}
