//! The record of a call (its CDR) and the client's receipt: functions of the call's facts and nothing else, byte for byte.
//!
//! Both are canonical JSON. The receipt is what the client may see: no shares, no pay, no vendor's references.

use super::bill::{Bill, bill};
use super::canonical;
use super::json::{Json, Object, object};
use super::night;
use crate::billing::{self, Cause, Conditions, Increments, Kind, Plan, SegmentKind};
use crate::call::{Call, Ending, Fact, Journal, Policy, Quality, RecordingTerms, ReplayError, Side, Sold, Terms};
use crate::clock::{Moment, Span};
use crate::ids::HoldId;
use crate::money::Money;
use serde_json::Value;

/// The version of the record's shape; it grows when a field changes its meaning or goes.
const RECORD_VERSION: u32 = 2;

/// That of calls whose first fact names no time zone database: their records are made again as they were.
const FIRST_VERSION: u32 = 1;

/// Why there is no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The call has not ended.
    #[error("the call has not ended")]
    Open,
    /// The facts give no call.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The facts contradict each other: its meter and its states give another time delivered.
    #[error("its meter gives {} ms delivered and its states {} ms", meter.ms(), machine.ms())]
    Meter {
        /// By its marks.
        meter: Span,
        /// By its states.
        machine: Span,
    },
}

/// The record of an ended call: canonical JSON, closed by the SHA-256 of itself without the field `hash`.
pub fn record(journal: &Journal) -> Result<String, RecordError> {
    let call = Call::replay(journal)?;
    Ok(record_of(&call, &bill(&call)?))
}

/// The client's receipt of an ended call: canonical JSON that names its record by `record_hash`.
pub fn receipt(journal: &Journal) -> Result<String, RecordError> {
    let call = Call::replay(journal)?;
    let bill = bill(&call)?;
    let (_, hash) = canonical::closed_json(&open_record(&call, &bill));
    let mut shown = common(&call, &bill);
    shown.insert("receipt_version", version(&call));
    shown.insert("extensions", extensions(&call, Viewer::Client));
    shown.insert("record_hash", hash);
    Ok(canonical::json_text(&shown.into()))
}

pub(super) fn record_of(call: &Call, bill: &Bill) -> String {
    canonical::closed_json(&open_record(call, bill)).0
}

/// The record without its hash.
fn open_record<'a>(call: &'a Call, bill: &'a Bill) -> Object<'a> {
    let terms = call.terms();
    let mut record = common(call, bill);
    let mut add = |name: &'static str, value: Json<'a>| record.insert(name, value);
    add("record_version", version(call).into());
    add("vendor_id", terms.vendor.to_string().into());
    add("client_ref", terms.client.as_str().into());
    add("companion_id", terms.companion.to_string().into());
    add("extensions", extensions(call, Viewer::Vendor));
    let shares = [("companion", terms.shares.companion_bps, bill.companion_share), ("vendor", terms.shares.vendor_bps, bill.vendor_share)];
    let currency = terms.hold.currency;
    let share = |(party, bps, amount): (&'static str, u16, i64)| object!({"party": party, "bps": bps, "amount": money(Money::new(amount, currency))});
    add("shares", shares.into_iter().map(share).collect());
    add("quality", object!({"client": quality(call, Side::Client), "companion": quality(call, Side::Companion)}));
    if version(call) > FIRST_VERSION {
        // Joining is accepting, as long as calls are made for a companion and not offered.
        add("offered_at", Json::Null);
        add("accepted_at", Json::Null);
        add("tzdb_version", terms.zones.as_deref().into());
        add("holds", holds(call, bill));
        if let Some(slept) = night::slept(call, &bill.segments) {
            add("sleep", slept);
        }
    }
    if let Some(terms) = terms.recording {
        add("recording", recording(call, terms));
    }
    record
}

/// What record and receipt share.
fn common<'a>(call: &'a Call, bill: &'a Bill) -> Object<'a> {
    let terms = call.terms();
    let ended_at = call.entries().iter().rev().find(|entry| matches!(entry.fact, Fact::Ended { .. })).map(|entry| entry.at);
    let held = Money::new(bill.rating.charge.amount + bill.rating.refund.amount, terms.hold.currency);
    let value = object!({
        "call_id": call.id().to_string(),
        "plan_id": terms.plan.to_string(),
        "plan_name": terms.plan_name.as_str(),
        "companion_name": terms.companion_name.as_str(),
        "media": terms.medium.name(),
        "grade_paid": terms.grade_paid.as_deref(),
        "grade_delivered": terms.grade_delivered.as_deref(),
        "created_at": time(Some(call.created_at())),
        "client_joined_at": time(call.party(Side::Client).joined_at),
        "companion_joined_at": time(call.party(Side::Companion).joined_at),
        "started_at": time(call.started_at()),
        "ended_at": time(ended_at),
        "end_reason": bill.reason.name(),
        "at_fault": bill.at_fault.name(),
        "delivered_ms": bill.delivered.ms(),
        "billed_s": bill.rating.billed_s,
        "paid_s": call.quota().map(Span::whole_s),
        "gift_s": call.gifted().whole_s(),
        "plan": plan_rules(&terms.sold),
        "segments": bill.segments.iter().map(|segment| object!({
            "kind": segment_kind(segment.kind),
            "from_at": time(Some(segment.from)),
            "to_at": time(Some(segment.to)),
        })).collect::<Vec<_>>(),
        "settlement": bill.settlement.name(),
        "settlement_rule": rule(terms, bill),
        "lines": bill.rating.lines.iter().map(|line| object!({
            "label": line.label.as_str(),
            "quantity": line.quantity,
            "unit": line.unit.name(),
            "amount": money(line.amount),
        })).collect::<Vec<_>>(),
        "held": money(held),
        "charge": money(bill.rating.charge),
        "refund": money(bill.rating.refund),
    });
    let Json::Object(mut shown) = value else { return Object::default() };
    if version(call) > FIRST_VERSION {
        shown.insert("paused_ms", paused(bill));
    } else {
        shown.remove("plan");
        shown.remove("settlement_rule");
    }
    if let Some(block) = terms.block() {
        blocks(call, bill, block).into_iter().for_each(|(name, value)| shown.insert(name, value));
    }
    shown
}

fn version(call: &Call) -> u32 {
    if call.terms().zones.is_some() { RECORD_VERSION } else { FIRST_VERSION }
}

/// What was set aside for each purchase, and what of it was taken.
fn holds(call: &Call, bill: &Bill) -> Json<'static> {
    let currency = call.terms().hold.currency;
    let amounts: Vec<_> = call.holds().iter().copied().zip(call.amounts().iter().copied()).collect();
    let taken = billing::capture(bill.rating.charge.amount, &amounts);
    let of = |amount| money(Money::new(amount, currency));
    let hold = |((hold, amount), (_, captured)): (&(HoldId, i64), (HoldId, i64))| object!({"hold_id": hold.to_string(), "amount": of(*amount), "captured": of(captured)});
    amounts.iter().zip(taken).map(hold).collect()
}

/// How long the meter stood, by who caused it.
fn paused(bill: &Bill) -> Json<'static> {
    let by = |cause: Cause| -> i64 {
        let of_cause = bill.segments.iter().filter(|segment| segment.kind == SegmentKind::Paused(cause));
        of_cause.map(|segment| segment.to.since(segment.from).ms()).sum()
    };
    object!({"client": by(Cause::Client), "companion": by(Cause::Companion), "platform": by(Cause::Platform)})
}

/// Which cell of the vendor's policy the settlement comes from, with what everybody gets; none for an end
/// that only a call which was never live can have.
fn rule(terms: &Terms, bill: &Bill) -> Json<'static> {
    let sold = Sold::of(terms.sold.kind());
    Ending::of(bill.reason, bill.at_fault).map_or(Json::Null, |ending| {
        let (rule, default) = (terms.policy.rule(ending, sold), Policy::default().rule(ending, sold));
        let mut value = object!({"ending": ending.name(), "sold": sold.name(), "rule": rule.name(), "default": default.name()});
        if sold == Sold::Flat {
            value.put("flat_min_s", terms.policy.flat_min().whole_s());
        }
        value
    })
}

/// What only a call in blocks has.
fn blocks(call: &Call, bill: &Bill, block: Span) -> [(&'static str, Json<'static>); 4] {
    let block_s = block.whole_s();
    let bought = i64::try_from(call.holds().len()).unwrap_or(i64::MAX);
    let delivered_s = bill.delivered.whole_s();
    let started = (delivered_s / block_s + i64::from(delivered_s % block_s > 0)).min(bought);
    [("block_s", block_s.into()), ("blocks_bought", bought.into()), ("blocks_started", started.into()), ("price", money(call.terms().hold))]
}

/// The rules by which a plan rates, in the words of the worked examples (`fixtures/rating`).
pub fn plan_terms(plan: &Plan) -> Value {
    plan_rules(plan).into()
}

fn plan_rules(plan: &Plan) -> Json<'_> {
    let Conditions { grace_s, minimum, rounding } = plan.conditions();
    let mut value = match plan.kind() {
        Kind::Block { block_s, price } => object!({"kind": "block", "block_s": *block_s, "price_minor": *price}),
        Kind::Flat { price } => object!({"kind": "flat", "price_minor": *price}),
        Kind::PerMinute(increments) => metered("per_minute", increments),
        Kind::UntilAsleep { increments, cap_s, cap } => {
            let mut value = metered("until_asleep", increments);
            value.put("cap_s", *cap_s);
            value.put("cap_minor", *cap);
            value
        }
    };
    value.put("grace_s", grace_s);
    value.put("min_charge_minor", minimum);
    value.put("rounding", rounding.name());
    value
}

fn metered<'a>(kind: &'static str, increments: &'a Increments) -> Json<'a> {
    let rates = &increments.rates;
    let mut value = object!({"kind": kind, "first_increment_s": increments.first_s, "increment_s": increments.later_s});
    let windows = rates.windows();
    match rates.zone() {
        None => value.put("rate_minor_per_min", windows.map(|(_, _, _, rate)| rate).next()),
        Some(zone) => {
            value.put("tz", zone);
            let window = |(label, start, end, rate)| object!({"label": label, "start": start, "end": end, "rate_minor_per_min": rate});
            value.put("windows", windows.map(window).collect::<Json<'_>>());
        }
    }
    value
}

/// For whom the extensions are listed.
#[derive(Clone, Copy, PartialEq)]
enum Viewer {
    Client,
    Vendor,
}

fn extensions(call: &Call, viewer: Viewer) -> Json<'_> {
    let extension = |kind: &'static str, by: &'static str, at: Moment, added: Option<Span>| object!({"kind": kind, "by": by, "at": time(Some(at)), "added_s": added.map(Span::whole_s)});
    let mut list = Vec::new();
    for entry in call.entries() {
        match &entry.fact {
            Fact::Extended { by, hold, order_ref, amount } => {
                let mut value = match call.terms().block() {
                    Some(block) => extension("block", by.name(), entry.at, Some(block)),
                    None => extension("top_up", by.name(), entry.at, None),
                };
                if version(call) > FIRST_VERSION {
                    value.put("amount", money(amount.unwrap_or(call.terms().hold)));
                }
                if viewer == Viewer::Vendor {
                    value.put("hold_id", hold.to_string());
                    if let Some(order_ref) = order_ref {
                        value.put("order_ref", order_ref.as_str());
                    }
                }
                list.push(value);
            }
            Fact::Gifted { by, length, .. } => list.push(extension("gift", by.name(), entry.at, Some(*length))),
            Fact::Created { .. }
            | Fact::Joined { .. }
            | Fact::Connected { .. }
            | Fact::Heard { .. }
            | Fact::Lost { .. }
            | Fact::Back { .. }
            | Fact::Started
            | Fact::Paused { .. }
            | Fact::Resumed
            | Fact::Warned { .. }
            | Fact::LinkRenewed { .. }
            | Fact::Recovered { .. }
            | Fact::Suspended { .. }
            | Fact::Sleep { .. }
            | Fact::Lingers { .. }
            | Fact::Lands { .. }
            | Fact::Woken { .. }
            | Fact::Consented { .. }
            | Fact::RecordingStarted { .. }
            | Fact::RecordingStopped { .. }
            | Fact::Quality { .. }
            | Fact::Ended { .. }
            | Fact::Settled { .. } => {}
        }
    }
    list.into()
}

fn quality(call: &Call, of: Side) -> Json<'static> {
    let last = call.entries().iter().rev().find_map(|entry| match entry.fact {
        Fact::Quality { side, quality } if side == of => Some(quality),
        _ => None,
    });
    last.map_or(Json::Null, |Quality { packets, lost_bp, rtt_ms }| object!({"packets": packets, "lost_bp": lost_bp, "rtt_ms": rtt_ms}))
}

/// Who agreed to be recorded and when, and which parts there are; nothing of what was said.
fn recording(call: &Call, terms: RecordingTerms) -> Json<'static> {
    let (mut consents, mut parts) = (Vec::new(), Vec::<Json<'static>>::new());
    for entry in call.entries() {
        match &entry.fact {
            Fact::Consented { side, yes } => consents.push(object!({"party": side.name(), "yes": *yes, "at": time(Some(entry.at))})),
            Fact::RecordingStarted { part } => {
                parts.push(object!({"part": *part, "started_at": time(Some(entry.at)), "ended_at": Json::Null, "end_reason": Json::Null}));
            }
            Fact::RecordingStopped { why, .. } => {
                if let Some(part) = parts.last_mut() {
                    part.put("ended_at", time(Some(entry.at)));
                    part.put("end_reason", why.name());
                }
            }
            _ => {}
        }
    }
    object!({"keep_days": terms.keep.whole_s() / 86_400, "consents": consents, "parts": parts})
}

fn segment_kind(kind: SegmentKind) -> &'static str {
    match kind {
        SegmentKind::Delivered => "delivered",
        SegmentKind::Landing => "landing",
        SegmentKind::Paused(Cause::Client) => "paused_client",
        SegmentKind::Paused(Cause::Companion) => "paused_companion",
        SegmentKind::Paused(Cause::Platform) => "paused_platform",
    }
}

fn time(at: Option<Moment>) -> Json<'static> {
    at.map(|at| at.to_string()).into()
}

fn money(money: Money) -> Json<'static> {
    object!({"amount": money.amount, "currency": money.currency.code()})
}
