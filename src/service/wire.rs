//! The one place where wire types meet those of the core.

use super::parties::{Parties, Party};
use super::recordings;
use crate::billing::Kind;
use crate::call::{self, Asker, Call, Journal, Medium, Side, State};
use crate::clock::{Moment, Span};
use crate::exchange::{self, View};
use crate::media::OfferError;
use crate::money::{Currency, Money};
use crate::sleep;
use crate::store::{Balance, Companion, OLD_SECRETS, Refusal, StoreError};
use serde_json::{Value, json};
use signaling::code::Code;
use signaling::inbound::{Refused, Role};
use signaling::message::{self, Amount, CallView, GroundsView, NightView, PartyView, Rate, ToPage};

pub(super) fn side(role: Role) -> Side {
    match role {
        Role::Client => Side::Client,
        Role::Companion => Side::Companion,
    }
}

pub(super) fn role(side: Side) -> Role {
    match side {
        Side::Client => Role::Client,
        Side::Companion => Role::Companion,
    }
}

/// A message as text for the data channel.
pub(super) fn text(message: &ToPage) -> String {
    serde_json::to_string(message).expect("messages hold only what JSON can say")
}

pub(super) fn asker(by: Asker) -> message::Asker {
    match by {
        Asker::Client => message::Asker::Client,
        Asker::Companion => message::Asker::Companion,
        Asker::Vendor => message::Asker::Vendor,
    }
}

pub(super) fn amount(money: Money) -> Amount {
    Amount { amount: money.amount, currency: money.currency.code().to_owned() }
}

/// Money from the wire; `field` is what a refusal names.
pub(super) fn money(amount: &Amount, field: &'static str) -> Result<Money, Refused> {
    let currency =
        Currency::of_payment(&amount.currency).map_err(|error| refused(Code::InvalidRequest, format!("{error}"), Some(field)))?;
    Ok(Money::new(amount.amount, currency))
}

pub(super) fn refused(code: Code, detail: impl Into<String>, field: Option<&'static str>) -> Refused {
    Refused { code, detail: detail.into(), field, figures: None }
}

pub(super) fn not_found(what: &str) -> Refused {
    refused(Code::NotFound, format!("there is no such {what}"), None)
}

pub(super) fn call_ended() -> Refused {
    refused(Code::CallEnded, "the call has ended", None)
}

pub(super) fn of_call(why: &call::Refused) -> Refused {
    let (code, detail) = match why {
        call::Refused::CallEnded => (Code::CallEnded, why.to_string()),
        call::Refused::UnknownCall => (Code::NotFound, why.to_string()),
        call::Refused::NotLive | call::Refused::NotAllowed | call::Refused::NothingToBuy => (Code::CallState, why.to_string()),
        call::Refused::Amount { .. } | call::Refused::Currency { .. } | call::Refused::BuysNothing => {
            return refused(Code::InvalidRequest, why.to_string(), Some("amount"));
        }
        call::Refused::TooLong | call::Refused::TooLarge | call::Refused::GiftLimit { .. } => (Code::LimitReached, why.to_string()),
        call::Refused::GiftLength => (Code::InvalidRequest, why.to_string()),
        call::Refused::Busy => (Code::RateLimited, format!("{why}; try again in a moment")),
        call::Refused::Funds { available } => return funds(*available),
        call::Refused::OrderCredited => return of_store(&Refusal::OrderCredited),
        call::Refused::Storage => (Code::Storage, CANNOT_WRITE.to_owned()),
    };
    refused(code, detail, None)
}

/// An extension was refused when its order had already been credited: the money is the client's, the vendor must know.
pub(super) fn with_order_kept(refused: Refused) -> Refused {
    Refused { detail: format!("{}; the order was credited and stays in the client's wallet", refused.detail), ..refused }
}

/// A disk that may do better in a moment.
const CANNOT_WRITE: &str = "the server cannot write at present; nothing was changed, try again with the same key";

/// What is to be set aside for a call is not there.
pub(super) fn funds(available: Money) -> Refused {
    refused(Code::InsufficientFunds, format!("the wallet has {available} to spend; credit it first"), None)
}

pub(super) fn of_store(refusal: &Refusal) -> Refused {
    match refusal {
        Refusal::KeyReused => refused(Code::IdempotencyKeyReused, "this key was used with another request; take a new one", None),
        Refusal::Funds { available } => {
            refused(Code::InsufficientFunds, format!("the wallet has {available} to spend: no more than that can be taken out of it"), None)
        }
        Refusal::NameTaken => refused(Code::InvalidRequest, "this name is taken", Some("name")),
        Refusal::OrderCredited => refused(Code::OrderCredited, "this order was credited before; each order counts once", Some("order_ref")),
        Refusal::OrderRefunded => refused(Code::OrderRefunded, "this order was refunded before; each order counts once", Some("order_ref")),
        Refusal::Stale => refused(Code::Overloaded, "others refund the same call at the same moment; nothing was done, try again", None),
        Refusal::LoginCode => refused(Code::LoginInvalid, "this login link was used before or is too old; make a new one", None),
        Refusal::TooLarge => {
            refused(Code::InvalidRequest, "the amount is larger than the ledger keeps exact (2^53 - 1 minor units)", Some("amount"))
        }
        Refusal::CreditsFull { currency } => {
            let why = format!(
                "all credits to this vendor's clients in {currency} together would pass 2^53 - 1 minor units; if one of them was a mistake, take it out of \
                 its wallet again (a refund of the wallet)"
            );
            refused(Code::LimitReached, why, None)
        }
        Refusal::NoEndpoint => not_found("webhook endpoint"),
        Refusal::NoEvent => not_found("event"),
        Refusal::TooManyEndpoints { most } => {
            refused(Code::LimitReached, format!("a vendor may have {most} webhook endpoints; delete one first"), None)
        }
        Refusal::TooManySecrets { until } => {
            let most = OLD_SECRETS;
            let why = format!(
                "{most} replaced secrets of this endpoint still sign, the first of them until {until}: rotate after that, or with `overlap_s` 0, which ends \
                 all of them at once"
            );
            refused(Code::LimitReached, why, None)
        }
        Refusal::RecordingOpen => refused(Code::CallState, "this recording is still being made; it can be deleted once it has ended", None),
        Refusal::EndpointDisabled => refused(Code::EndpointDisabled, "this webhook endpoint is disabled; enable it first", None),
    }
}

pub(super) fn of_store_error(error: &StoreError) -> Refused {
    tracing::error!(%error, "the store failed");
    match error {
        StoreError::Full | StoreError::Busy | StoreError::Closed | StoreError::Database(_) => refused(Code::Storage, CANNOT_WRITE, None),
        // What is damaged does not mend itself: to try again is of no use.
        StoreError::Broken(_) => {
            let detail = "what is on the server's disk is not what it should be; nothing was changed, why is in the server's log";
            refused(Code::Internal, detail, None)
        }
    }
}

pub(super) fn of_offer(error: &OfferError) -> Refused {
    let code = match error {
        OfferError::Syntax(_) | OfferError::Unacceptable(_) => Code::OfferInvalid,
        OfferError::Gone => Code::NotFound,
        OfferError::Overloaded => Code::Overloaded,
    };
    refused(code, error.to_string(), None)
}

pub(super) fn companion(companion: &Companion) -> Value {
    json!({
        "id": companion.id.to_string(), "name": companion.name, "grade": companion.grade, "created_at": companion.created_at.to_string(),
    })
}

pub(super) fn wallet(balance: Balance) -> Value {
    let of = |minor| amount(Money::new(minor, balance.posted.currency));
    json!({ "posted": amount(balance.posted), "held": of(balance.held), "available": of(balance.available()) })
}

pub(super) fn medium(medium: Medium) -> &'static str {
    match medium {
        Medium::Audio => "audio",
        Medium::Video => "video",
    }
}

/// Of until-asleep calls: how it stands with sleep, for the vendor.
fn nightly(view: &View<'_>) -> Value {
    let Some(night) = view.night else { return Value::Null };
    let (sleep, since) = night.verdict.map_or((sleep::State::Unknown, view.started_at), |verdict| (verdict.state, Some(verdict.since)));
    json!({ "phase": night.phase.name(), "sleep": call::sleep_word(sleep), "since_at": moment(since) })
}

/// The same for a party: why is the companion's business.
fn night_view(view: &View<'_>, to: Side) -> Option<NightView> {
    let night = view.night?;
    let is_open = !view.is_over();
    let why = night.verdict.map(|verdict| verdict.grounds).filter(|_| to == Side::Companion);
    Some(NightView {
        phase: night.phase.name().to_owned(),
        sleep: call::sleep_word(night.verdict.map_or(sleep::State::Unknown, |verdict| verdict.state)).to_owned(),
        sleep_for_ms: night.verdict.map_or(0, |verdict| ms(view.at.since(verdict.since))),
        phase_left_ms: night.ends_at.map(|at| ms(at.since(view.at))),
        why: why.map(|grounds| call::why_word(grounds.why).to_owned()),
        grounds: why.map(|grounds| GroundsView {
            evidence_milli: grounds.evidence_milli,
            period_ms: grounds.period_ms,
            constancy_bp: grounds.constancy_bp,
            quiet_s: grounds.quiet_s,
            movements: grounds.movements,
            missing_bp: grounds.missing_bp,
            unanswered: grounds.unanswered,
        }),
        suggest: to == Side::Companion && is_open && night.wants_a_word,
    })
}

fn moment(at: Option<Moment>) -> Option<String> {
    at.map(|at| at.to_string())
}

fn whole_s(span: Span) -> u64 {
    span.whole_s().unsigned_abs()
}

fn ms(span: Span) -> u64 {
    span.ms().max(0).unsigned_abs()
}

/// `connecting`, `live`, `paused`, `landing`, `ended` or `settled`.
fn state(state: State) -> &'static str {
    match state {
        State::Connecting => "connecting",
        State::Live { .. } => "live",
        State::Paused { .. } => "paused",
        State::Landing { .. } => "landing",
        State::Ended { .. } => "ended",
        State::Settled { .. } => "settled",
    }
}

/// The call for the vendor, without tokens.
pub(super) fn call(view: &View<'_>) -> Value {
    let terms = view.terms;
    let (end_reason, at_fault, ended_at) = match view.state {
        State::Ended { reason, at_fault, at } | State::Settled { reason, at_fault, at, .. } => {
            (Some(reason.name()), Some(at_fault.name()), Some(at))
        }
        State::Connecting | State::Live { .. } | State::Paused { .. } | State::Landing { .. } => (None, None, None),
    };
    let (charge, refund) = match view.state {
        State::Settled { charge, refund, .. } => (Some(amount(charge)), Some(amount(refund))),
        State::Connecting | State::Live { .. } | State::Paused { .. } | State::Landing { .. } | State::Ended { .. } => (None, None),
    };
    json!({
        "id": view.call.to_string(),
        "state": state(view.state),
        "media": medium(terms.medium),
        "plan_id": terms.plan.to_string(),
        "plan_name": terms.plan_name,
        "client_ref": terms.client.as_str(),
        "client_name": terms.client_name,
        "companion_id": terms.companion.to_string(),
        "companion_name": terms.companion_name,
        "grade_paid": terms.grade_paid,
        "grade_delivered": terms.grade_delivered,
        "plan_kind": kind(terms),
        "price": amount(terms.hold),
        "block_s": terms.block().map(Span::whole_s),
        "blocks": view.blocks,
        "held": amount(view.held),
        "spent": amount(view.spent),
        "rate": rate(view),
        "paid_s": view.is_limited.then(|| whole_s(view.paid)),
        "gift_s": whole_s(view.gifted),
        "delivered_ms": ms(view.delivered),
        "remaining_ms": ms(view.remaining),
        "running": view.is_running(),
        "paused_by": paused_by(view),
        "night": nightly(view),
        "client": { "present": view.client.connected },
        "companion": { "present": view.companion.connected },
        "created_at": view.created_at.to_string(),
        "client_joined_at": moment(view.client.joined_at),
        "companion_joined_at": moment(view.companion.joined_at),
        "started_at": moment(view.started_at),
        "ends_at": moment(view.ends_at),
        "ended_at": moment(ended_at),
        "end_reason": end_reason,
        "at_fault": at_fault,
        "charge": charge,
        "refund": refund,
    })
}

/// The plan's kind, in the words of `POST /v1/plans`.
fn kind(terms: &call::Terms) -> &'static str {
    match terms.sold.kind() {
        Kind::Block { .. } => "block",
        Kind::PerMinute(_) => "per_minute",
        Kind::Flat { .. } => "flat",
        Kind::UntilAsleep { .. } => "until_asleep",
    }
}

/// What a minute costs now, of open metered calls.
fn rate(view: &View<'_>) -> Option<Rate> {
    view.rate.map(|(label, per_minute)| Rate { label: label.to_owned(), per_minute: amount(per_minute) })
}

/// What a party gets of a settled call: the client her receipt, the companion her statement; none before.
pub(super) fn receipt(call: &Call, to: Side) -> Option<Value> {
    let State::Settled { reason, at_fault, at, .. } = call.state() else { return None };
    match to {
        Side::Client => {
            let journal = Journal { call: call.id(), entries: call.entries().to_vec() };
            let text = exchange::receipt(&journal).ok()?;
            serde_json::from_str(&text).ok()
        }
        Side::Companion => Some(json!({
            "call_id": call.id().to_string(),
            "started_at": moment(call.started_at()),
            "ended_at": at.to_string(),
            "delivered_ms": ms(call.delivered(at)),
            "end_reason": reason.name(),
            "at_fault": at_fault.name(),
            "earned": amount(exchange::View::of(call, at).earned),
        })),
    }
}

fn paused_by(view: &View<'_>) -> Option<&'static str> {
    match view.state {
        State::Paused { cause, .. } => Some(cause.name()),
        State::Connecting | State::Live { .. } | State::Landing { .. } | State::Ended { .. } | State::Settled { .. } => None,
    }
}

/// The call as one party may see it. `receipt` is what she gets of the settlement, once there is one.
pub(super) fn call_view(view: &View<'_>, parties: &Parties, to: Side, receipt: Option<Value>) -> CallView {
    let terms = view.terms;
    let end = match view.state {
        State::Ended { reason, at_fault, .. } | State::Settled { reason, at_fault, .. } => Some((reason, at_fault)),
        State::Connecting | State::Live { .. } | State::Paused { .. } | State::Landing { .. } => None,
    };
    let party = |side: Side, name: &str| {
        let of: &Party = parties.of(side);
        PartyView {
            name: name.to_owned(),
            present: view.presence(side).connected,
            audio: of.devices.audio,
            video: of.devices.video,
            audio_only: of.is_audio_only(),
        }
    };
    let word = match state(view.state) {
        "settled" => "ended",
        // Pages see it by their `night`.
        "landing" => "live",
        word => word,
    };
    let is_open = end.is_none();
    CallView {
        id: view.call.to_string(),
        state: word.to_owned(),
        media: medium(terms.medium).to_owned(),
        plan_name: terms.plan_name.clone(),
        grade_paid: terms.grade_paid.clone(),
        grade_delivered: terms.grade_delivered.clone(),
        plan_kind: kind(terms).to_owned(),
        block_s: terms.block().map_or(0, whole_s),
        price: amount(terms.hold),
        rate: rate(view),
        held: (to == Side::Client).then(|| amount(view.held)),
        spent: (to == Side::Client).then(|| amount(view.spent)),
        limited: view.is_limited,
        blocks: u32::try_from(view.blocks).unwrap_or(u32::MAX),
        paid_s: whole_s(view.paid),
        gift_s: whole_s(view.gifted),
        delivered_ms: ms(view.delivered),
        remaining_ms: ms(view.remaining),
        running: view.is_running(),
        paused_by: paused_by(view).map(str::to_owned),
        pause_left_ms: match view.state {
            State::Paused { .. } => view.gives_up_at.map(|at| ms(at.since(view.at))),
            State::Connecting | State::Live { .. } | State::Landing { .. } | State::Ended { .. } | State::Settled { .. } => None,
        },
        client: party(Side::Client, terms.client_name.as_deref().unwrap_or_default()),
        companion: party(Side::Companion, &terms.companion_name),
        night: night_view(view, to),
        recording: recordings::view(view),
        available: (to == Side::Client).then(|| parties.available.map(amount)).flatten(),
        can_extend: to == Side::Client && view.can_extend,
        pay: (to == Side::Companion && view.rate.is_none()).then(|| amount(view.pay)),
        earned: (to == Side::Companion).then(|| amount(view.earned)),
        gift_left_s: (to == Side::Companion && is_open).then(|| whole_s(view.gift_left)),
        end_reason: end.map(|(reason, _)| reason.name().to_owned()),
        at_fault: end.map(|(_, fault)| fault.name().to_owned()),
        receipt,
    }
}
