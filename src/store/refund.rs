//! Money that goes back: out of a wallet to wherever the vendor pays it, and of a settled call into its client's wallet.
//!
//! It never touches a call's journal or record: these say what was charged, and what came later stands beside them. Invariants: a
//! wallet is never short of what its holds set aside; of a call no more goes back than was captured, and the parts that companion and
//! vendor bear are those of [`crate::billing::Parts`].

use super::apply::Halt;
use super::ledger::{self, Details, Owner, Transfer, check_amount};
use super::{Refusal, statement};
use crate::billing::{Bearer, Returned};
use crate::clock::Moment;
use crate::ids::{CallId, ClientRef, TransferId, VendorId};
use crate::money::Money;
use rusqlite::{Connection, params};
use std::collections::BTreeMap;

/// By which way somebody of the vendor's came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A program with the vendor's API key.
    ApiKey,
    /// A person at the vendor's page.
    Page,
}

impl Actor {
    /// The word for it on the wire and on disk.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ApiKey => "api_key",
            Self::Page => "page",
        }
    }
}

/// Money out of a client's wallet, which the vendor pays back outside.
#[derive(Clone, Debug)]
pub struct WalletRefund {
    pub transfer: TransferId,
    pub vendor: VendorId,
    pub client: ClientRef,
    pub amount: Money,
    /// The refund's own reference in the shop; it may be that of the order that is paid back.
    pub order_ref: String,
    /// Why, in words.
    pub note: Option<String>,
    pub actor: Actor,
    pub at: Moment,
}

/// Which way money goes between a settled call and its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Into her wallet.
    ToClient,
    /// Out of it: at most what was returned before. Condition: the wallet's available amount covers it.
    FromClient,
}

impl Direction {
    /// The word for it on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ToClient => "to_client",
            Self::FromClient => "from_client",
        }
    }
}

/// On whose ground money goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReturnKind {
    /// The vendor gives back.
    Refund,
    /// A dispute was decided: the code of the reason, one of those of `schema_6.sql`.
    Adjustment { direction: Direction, reason: String },
}

/// Money of a settled call, back to its client or from her again.
///
/// Conditions: `before` is what was returned until now (or it is [`Refusal::Stale`]: its maker showed figures that no longer hold).
/// That the amount is within the bounds of [`crate::billing::Parts`] is the maker's business: what is not is a fault of lull's own.
#[derive(Clone, Debug)]
pub struct Return {
    pub transfer: TransferId,
    pub vendor: VendorId,
    pub call: CallId,
    pub kind: ReturnKind,
    pub amount: Money,
    pub before: Returned,
    pub bearer: Bearer,
    /// Why, in words.
    pub note: String,
    pub actor: Actor,
    pub at: Moment,
}

impl Return {
    /// Which way the money goes.
    pub fn direction(&self) -> Direction {
        match self.kind {
            ReturnKind::Refund => Direction::ToClient,
            ReturnKind::Adjustment { direction, .. } => direction,
        }
    }
}

/// Money out of a wallet.
pub(super) fn wallet(connection: &Connection, wanted: &WalletRefund) -> Result<(), Halt> {
    let WalletRefund { amount, order_ref, .. } = wanted;
    check_amount(*amount)?;
    let vendor = wanted.vendor.to_string();
    let mut seen = connection.prepare_cached("SELECT 1 FROM transfer WHERE vendor = ? AND kind = 'wallet_refund' AND order_ref = ?")?;
    if seen.exists([vendor.as_str(), order_ref])? {
        return Err(Refusal::OrderRefunded.into());
    }
    let cash_in = ledger::account(connection, &vendor, Owner::CashIn, amount.currency)?;
    let wallet = ledger::account(connection, &vendor, Owner::Client(wanted.client.as_str()), amount.currency)?;
    must_have(&wallet, *amount)?;
    let postings = BTreeMap::from([(wallet.id, -amount.amount), (cash_in.id, amount.amount)]);
    let details = Details { note: wanted.note.clone(), actor: Some(wanted.actor.name().to_owned()), ..Details::default() };
    Transfer {
        id: wanted.transfer.to_string(),
        kind: "wallet_refund".to_owned(),
        vendor,
        call: None,
        order_ref: Some(order_ref.clone()),
        at: wanted.at,
        postings,
        details: Some(details),
    }
    .write(connection)
}

fn must_have(wallet: &ledger::Account, amount: Money) -> Result<(), Halt> {
    let available = wallet.posted - wallet.held;
    if available < amount.amount {
        return Err(Refusal::Funds { available: Money::new(available, amount.currency) }.into());
    }
    Ok(())
}

/// Money of a settled call.
pub(super) fn of_call(connection: &Connection, wanted: &Return) -> Result<(), Halt> {
    let Return { call, vendor, amount, bearer, .. } = wanted;
    check_amount(*amount)?;
    let charged = statement::charged(connection, *vendor, *call)?.ok_or_else(|| Halt::broken(format!("{call} is unknown to {vendor}")))?;
    let Some(wallet) = charged.wallet.filter(|_| charged.currency == Some(amount.currency)) else {
        return Err(Halt::broken(format!("{amount} of {call}, which captured {:?} {:?}", charged.parts.sum(), charged.currency)));
    };
    if charged.returned != wanted.before {
        return Err(Refusal::Stale.into());
    }
    let to_client = wanted.direction() == Direction::ToClient;
    let moved = match wanted.direction() {
        Direction::ToClient => charged.parts.give_back(charged.returned, amount.amount, *bearer),
        Direction::FromClient => charged.parts.take_back(charged.returned, amount.amount, *bearer),
    };
    let (after, parts) = moved.map_err(|why| Halt::broken(format!("{amount} of {call}: {why}")))?;
    let vendor = vendor.to_string();
    let client = ledger::account_of(connection, wallet)?;
    if to_client && client.posted > Money::MAX_AMOUNT - amount.amount {
        return Err(Refusal::TooLarge.into());
    }
    if !to_client {
        must_have(&client, *amount)?;
    }
    let sign = if to_client { 1 } else { -1 };
    let mut postings = BTreeMap::from([(wallet, sign * amount.amount)]);
    for (owner, part) in [(Owner::Companion(&charged.companion), parts.companion), (Owner::Vendor, parts.vendor)] {
        if part > 0 {
            postings.insert(ledger::account(connection, &vendor, owner, amount.currency)?.id, -sign * part);
        }
    }
    let (kind, reason) = match &wanted.kind {
        ReturnKind::Refund => ("call_refund", None),
        ReturnKind::Adjustment { reason, .. } => ("adjustment", Some(reason.clone())),
    };
    let details = Details {
        bearer: Some(bearer.name().to_owned()),
        reason,
        note: Some(wanted.note.clone()),
        actor: Some(wanted.actor.name().to_owned()),
    };
    let (id, call) = (wanted.transfer.to_string(), call.to_string());
    let (kind, at) = (kind.to_owned(), wanted.at);
    Transfer { id, kind, vendor, call: Some(call.clone()), order_ref: None, at, postings, details: Some(details) }.write(connection)?;
    let mut keep = connection
        .prepare_cached("INSERT INTO returned VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET by_shares = ?3, by_vendor = ?4")?;
    keep.execute(params![call, charged.parts.sum(), after.by_shares, after.by_vendor])?;
    Ok(())
}
