//! Money that goes back, for REST: refunds of wallets and settled calls, adjustments, and what shows them.
//!
//! A refund of a call is made for the figures that its answer shows: the store refuses it when another came first, and it is then
//! looked up again. Records stay as they are; what went back is shown beside them.

use super::desk::Waiting;
use super::house::fresh;
use super::look_up::{Found, Search, client_of};
use super::wire;
use crate::billing::{Bearer, RefundError, Returned};
use crate::call::Side;
use crate::exchange::proof;
use crate::ids::{CallId, TransferId};
use crate::money::{Currency, Money};
use crate::signing::SigningKey;
use crate::store::{self, Actor, Adjustment, Charged, Direction, Order, Paid, Refusal, Return, ReturnKind, Store, WalletRefund, Write};
use serde_json::{Value, json};
use signaling::code::Code;
use signaling::inbound::{Caller, Refused, Reply};
use signaling::rest::{self, RefundBearer};

/// Times a command is looked up again because another one came first; each time one of them got through.
pub(super) const TRIES: u8 = 64;

/// Lines of a statement when no limit is given.
const PAGE: u32 = 50;

/// By which way a caller came in.
pub(super) fn actor(caller: Caller) -> Actor {
    match caller {
        Caller::ApiKey(_) => Actor::ApiKey,
        Caller::Session(_) => Actor::Page,
    }
}

/// What is asked of a settled call.
struct Asked {
    kind: ReturnKind,
    /// All that is left when absent.
    amount: Option<Money>,
    bearer: Bearer,
    note: String,
}

impl Search<'_> {
    pub(super) fn refund_client(&self, client_ref: &str, refund: rest::RefundClient) -> Result<Found, Refused> {
        let client = client_of(client_ref)?;
        let amount = wire::money(&refund.amount, "amount.currency")?;
        let transfer = TransferId::new(fresh());
        let body = json!({
            "id": transfer.to_string(), "client_ref": client.as_str(), "order_ref": refund.order_ref, "amount": wire::amount(amount),
            "reason": refund.reason, "by": self.actor.name(), "at": self.now.to_string(),
        });
        let (order_ref, note) = (refund.order_ref, refund.reason);
        let vendor = self.vendor.id;
        let refund = WalletRefund { transfer, vendor, client, amount, order_ref, note, actor: self.actor, at: self.now };
        Ok(Found::Write(vec![Write::RefundWallet(Box::new(refund))], body))
    }

    pub(super) fn refund_call(&self, id: &str, refund: rest::RefundCall) -> Result<Found, Refused> {
        let amount = refund.amount.map(|amount| wire::money(&amount, "amount.currency")).transpose()?;
        self.give(id, Asked { kind: ReturnKind::Refund, amount, bearer: bearer(refund.from), note: refund.reason })
    }

    pub(super) fn adjust_call(&self, id: &str, adjust: rest::AdjustCall) -> Result<Found, Refused> {
        let amount = Some(wire::money(&adjust.amount, "amount.currency")?);
        let direction = match adjust.direction {
            rest::Direction::ToClient => Direction::ToClient,
            rest::Direction::FromClient => Direction::FromClient,
        };
        let kind = ReturnKind::Adjustment { direction, reason: adjust.reason };
        self.give(id, Asked { kind, amount, bearer: bearer(adjust.from), note: adjust.text })
    }

    /// The command for the figures of now, and the answer that shows them.
    fn give(&self, id: &str, asked: Asked) -> Result<Found, Refused> {
        let call: CallId = id.parse().map_err(|_| wire::not_found("call"))?;
        let charged = self.store.charged(self.vendor.id, call).map_err(|error| wire::of_store_error(&error))?;
        let charged = charged.ok_or_else(|| wire::not_found("call"))?;
        if !charged.settled {
            let detail = "only what was charged can go back: the call is not settled yet";
            return Err(wire::refused(Code::CallState, detail, None));
        }
        let Some(currency) = charged.currency else {
            return Err(wire::refused(Code::RefundExceeds, "this call was free: there is nothing to return", None));
        };
        let amount = asked.amount.unwrap_or(Money::new(charged.parts.left(charged.returned), currency));
        if amount.currency != currency {
            let detail = format!("this call was charged in {currency}, and goes back in it");
            return Err(wire::refused(Code::InvalidRequest, detail, Some("amount.currency")));
        }
        let transfer = TransferId::new(fresh());
        let wanted = Return {
            transfer,
            vendor: self.vendor.id,
            call,
            kind: asked.kind,
            amount,
            before: charged.returned,
            bearer: asked.bearer,
            note: asked.note,
            actor: self.actor,
            at: self.now,
        };
        let moved = match wanted.direction() {
            Direction::ToClient => charged.parts.give_back(charged.returned, amount.amount, wanted.bearer),
            Direction::FromClient => charged.parts.take_back(charged.returned, amount.amount, wanted.bearer),
        };
        let (after, parts) = moved.map_err(|why| exceeds(&charged, currency, &why))?;
        let (kind, reason, text) = match &wanted.kind {
            ReturnKind::Refund => ("call_refund", None, wanted.note.clone()),
            ReturnKind::Adjustment { reason, .. } => ("adjustment", Some(reason.clone()), wanted.note.clone()),
        };
        let shown = Adjustment {
            transfer,
            kind: kind.to_owned(),
            direction: wanted.direction(),
            amount,
            parts,
            bearer: wanted.bearer,
            reason,
            note: text,
            actor: self.actor.name().to_owned(),
            at: self.now,
        };
        let mut body = adjustment(&shown);
        body["call_id"] = json!(call.to_string());
        body["client_ref"] = json!(charged.client.as_str());
        merge(&mut body, figures(&charged, after, currency));
        Ok(Found::Return(Box::new(wanted), charged.client, body))
    }

    pub(super) fn transfers(&self, client_ref: &str, currency: Option<String>, page: &rest::Page) -> Result<Found, Refused> {
        let client = client_of(client_ref)?;
        let wallets = self.store.balances(self.vendor.id, &client).map_err(|error| wire::of_store_error(&error))?;
        let currency: Option<Currency> = match currency.map(|code| code.parse()).transpose() {
            Ok(currency) => currency,
            Err(why) => return Err(wire::refused(Code::InvalidRequest, format!("{why}"), Some("currency"))),
        };
        let wallet = match (currency, &wallets[..]) {
            (_, []) => None,
            (Some(currency), all) => all.iter().find(|wallet| wallet.posted.currency == currency),
            (None, [only]) => Some(only),
            (None, _) => {
                let detail = "this client has wallets in several currencies, say which: `?currency=CNY`";
                return Err(wire::refused(Code::InvalidRequest, detail, Some("currency")));
            }
        };
        let wallet = *wallet.ok_or_else(|| wire::not_found("wallet; a first credit makes one"))?;
        let bad = || {
            wire::refused(Code::InvalidRequest, "this is not a cursor of this list; take `next_cursor` of the page before", Some("after"))
        };
        let after = page.after.as_deref().map(str::parse::<i64>).transpose().map_err(|_| bad())?;
        let limit = page.limit.unwrap_or(PAGE);
        let currency = wallet.posted.currency;
        let lines = self.store.statement(self.vendor.id, &client, currency, store::Page { after, limit });
        let lines = lines.map_err(|error| wire::of_store_error(&error))?;
        let next = lines.last().filter(|last| last.number > 1 && lines.len() >= limit as usize).map(|last| last.number.to_string());
        let items: Vec<Value> = lines.into_iter().map(line).collect();
        let mut body = wire::wallet(wallet);
        merge(&mut body, json!({ "client_ref": client.as_str(), "items": items, "next_cursor": next }));
        Ok(Found::Answer(body))
    }

    pub(super) fn order(&self, order_ref: &str) -> Result<Found, Refused> {
        let order = self.store.order(self.vendor.id, order_ref).map_err(|error| wire::of_store_error(&error))?;
        order.map(|order| Found::Answer(of_order(order_ref, &order))).ok_or_else(|| wire::not_found("order"))
    }

    /// What went back of a call; nothing of a call that is not there.
    pub(super) fn adjustments(&self, id: &str) -> Result<Vec<Adjustment>, Refused> {
        let Ok(call) = id.parse() else { return Ok(Vec::new()) };
        self.store.adjustments(self.vendor.id, call).map_err(|error| wire::of_store_error(&error))
    }
}

fn bearer(from: Option<RefundBearer>) -> Bearer {
    match from {
        Some(RefundBearer::Vendor) => Bearer::Vendor,
        Some(RefundBearer::Shares) | None => Bearer::Shares,
    }
}

/// Out of bounds, with the figures.
fn exceeds(charged: &Charged, currency: Currency, why: &RefundError) -> Refused {
    let money = |amount| Money::new(amount, currency);
    let detail = match why {
        RefundError::TooMuch { captured, returned, left } => {
            format!("{} of {} are left to return, {} went back before", money(*left), money(*captured), money(*returned))
        }
        RefundError::NotReturned { returned } => {
            format!("{} went back at this side's cost, and no more than that can be taken again", money(*returned))
        }
        RefundError::Nothing => "all that was charged went back before".to_owned(),
    };
    let figures = Some(figures(charged, charged.returned, currency));
    Refused { figures, ..wire::refused(Code::RefundExceeds, detail, Some("amount")) }
}

/// What a call was charged, and what of it is back and left.
fn figures(charged: &Charged, returned: Returned, currency: Currency) -> Value {
    let of = |amount| wire::amount(Money::new(amount, currency));
    json!({ "charge": of(charged.parts.sum()), "returned": of(returned.sum()), "left": of(charged.parts.left(returned)) })
}

/// As the vendor sees it.
fn adjustment(of: &Adjustment) -> Value {
    let part = |amount| wire::amount(Money::new(amount, of.amount.currency));
    let (reason, text) = match &of.reason {
        Some(code) => (code.as_str(), Some(of.note.as_str())),
        None => (of.note.as_str(), None),
    };
    json!({
        "id": of.transfer.to_string(), "kind": kind(&of.kind), "direction": of.direction.name(), "amount": wire::amount(of.amount),
        "companion": part(of.parts.companion), "vendor": part(of.parts.vendor), "from": of.bearer.name(),
        "reason": reason, "text": text, "by": of.actor, "at": of.at.to_string(),
    })
}

/// `refund` or `adjustment`.
fn kind(transfer: &str) -> &str {
    if transfer == "call_refund" { "refund" } else { transfer }
}

pub(super) fn adjustments(all: &[Adjustment]) -> Value {
    all.iter().map(adjustment).collect()
}

/// As a party sees it: the client all that came to her or went, the companion what it cost her. The vendor's words stay hers.
fn adjustments_of_party(all: &[Adjustment], side: Side) -> Value {
    let seen = |of: &Adjustment, amount: i64| {
        let amount = wire::amount(Money::new(amount, of.amount.currency));
        json!({ "kind": kind(&of.kind), "direction": of.direction.name(), "amount": amount, "at": of.at.to_string() })
    };
    match side {
        Side::Client => all.iter().map(|of| seen(of, of.amount.amount)).collect(),
        Side::Companion => all.iter().filter(|of| of.parts.companion > 0).map(|of| seen(of, of.parts.companion)).collect(),
    }
}

/// The client's receipt with what went back, signed as a whole: what it says is what was so when it was asked for.
pub(super) fn whole_receipt(mut receipt: Value, all: &[Adjustment], key: &SigningKey) -> Value {
    receipt["adjustments"] = adjustments_of_party(all, Side::Client);
    proof::sealed(receipt, key)
}

/// Sends a party her receipt or statement, with what went back since. Waits for the disk elsewhere.
pub(super) fn send_receipt(store: Store, reply: Reply<Value>, receipt: Result<Value, Refused>) {
    tokio::task::spawn_blocking(move || {
        let whole = receipt.and_then(|mut receipt| {
            let Some(call) = receipt["call_id"].as_str().and_then(|id| id.parse::<CallId>().ok()) else { return Ok(receipt) };
            let side = if receipt.get("earned").is_some() { Side::Companion } else { Side::Client };
            let all = store.adjustments_of(call).map_err(|error| wire::of_store_error(&error))?;
            if side == Side::Client {
                let key = store.signing_key().map_err(|error| wire::of_store_error(&error))?;
                return Ok(whole_receipt(receipt, &all, &key));
            }
            receipt["adjustments"] = adjustments_of_party(&all, side);
            Ok(receipt)
        });
        // Who went away asks again.
        let _ = reply.send(whole);
    });
}

fn line(line: store::Line) -> Value {
    let balance = wire::amount(Money::new(line.balance, line.amount.currency));
    json!({
        "id": line.transfer.to_string(), "kind": line.kind, "amount": wire::amount(line.amount), "balance": balance,
        "order_ref": line.order_ref, "call_id": line.call.map(|call| call.to_string()), "reason": line.reason, "text": line.note,
        "at": line.at.to_string(),
    })
}

/// An order and how it stands: what was credited by it, and what was refunded under the same reference.
fn of_order(order_ref: &str, order: &Order) -> Value {
    let state = match (&order.credit, &order.refund) {
        (Some(credit), Some(refund)) if same_wallet(credit, refund) && refund.amount.amount < credit.amount.amount => "partly_refunded",
        (Some(credit), Some(refund)) if !same_wallet(credit, refund) => "credited",
        (Some(_), None) => "credited",
        (_, _) => "refunded",
    };
    json!({
        "order_ref": order_ref, "state": state,
        "credit": order.credit.as_ref().map(paid), "refund": order.refund.as_ref().map(paid),
    })
}

fn same_wallet(one: &Paid, other: &Paid) -> bool {
    one.client == other.client && one.amount.currency == other.amount.currency
}

fn paid(paid: &Paid) -> Value {
    json!({
        "id": paid.transfer.to_string(), "client_ref": paid.client.as_str(), "amount": wire::amount(paid.amount), "reason": paid.note,
        "at": paid.at.to_string(),
    })
}

/// Answers a command whose order reference was used before, with what it was used for.
pub(super) fn refuse_with_first(store: Store, waiting: Waiting, refusal: Refusal, order_ref: String) {
    tokio::task::spawn_blocking(move || {
        let refused = wire::of_store(&refusal);
        let answer = match store.order(waiting.vendor(), &order_ref) {
            Ok(order) => {
                let first = order.and_then(|order| if refusal == Refusal::OrderRefunded { order.refund } else { order.credit });
                let figures = first.map(|first| json!({ "first": paid(&first) }));
                Err(Refused { figures, ..refused })
            }
            Err(error) => Err(wire::of_store_error(&error)),
        };
        waiting.answer(answer);
    });
}

fn merge(into: &mut Value, more: Value) {
    if let (Some(into), Value::Object(more)) = (into.as_object_mut(), more) {
        into.extend(more);
    }
}
