//! What money did, to be shown: orders of the shop, a client's statement, what went back of a call.
//!
//! It only reads. A statement adds up line by line: each line has the balance after it, and the newest one's is the wallet's.

use super::read::Page;
use super::refund::Direction;
use super::rows::{moment, money, text};
use super::{Store, StoreError};
use crate::billing::{Bearer, Parts, Returned};
use crate::clock::Moment;
use crate::ids::{CallId, ClientRef, TransferId, VendorId};
use crate::money::{Currency, Money};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};

/// A payment under an order reference: a credit, or a refund out of a wallet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paid {
    pub transfer: TransferId,
    pub client: ClientRef,
    pub amount: Money,
    /// Why, in the words of a refund.
    pub note: Option<String>,
    pub at: Moment,
}

/// What is known of an order reference: what was credited by it, and what was refunded by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub credit: Option<Paid>,
    pub refund: Option<Paid>,
}

/// A line of a client's statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub transfer: TransferId,
    /// Counts the wallet's lines from 1; the cursor of a page.
    pub number: i64,
    /// `credit`, `capture`, `wallet_refund`, `call_refund` or `adjustment`.
    pub kind: String,
    /// Into the wallet, or out of it when negative.
    pub amount: Money,
    /// What the wallet had after it.
    pub balance: i64,
    pub order_ref: Option<String>,
    pub call: Option<CallId>,
    pub reason: Option<String>,
    pub note: Option<String>,
    pub at: Moment,
}

/// Something that went back of a settled call, or was taken again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adjustment {
    pub transfer: TransferId,
    /// `call_refund` or `adjustment`.
    pub kind: String,
    pub direction: Direction,
    /// Above zero, whichever way it goes.
    pub amount: Money,
    /// What of it companion and vendor bear, or get back.
    pub parts: Parts,
    pub bearer: Bearer,
    pub reason: Option<String>,
    pub note: String,
    /// By which way its maker came in, see [`super::Actor`].
    pub actor: String,
    pub at: Moment,
}

/// What a call of a vendor's captured, and what of it is back with the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charged {
    /// The call is final.
    pub settled: bool,
    pub client: ClientRef,
    pub companion: String,
    /// Both zero if nothing was captured.
    pub parts: Parts,
    pub returned: Returned,
    /// None if nothing was captured.
    pub currency: Option<Currency>,
    /// The account it was captured from.
    pub(super) wallet: Option<i64>,
}

impl Store {
    /// What was credited and refunded by this order reference of this vendor; none if neither.
    pub fn order(&self, vendor: VendorId, order_ref: &str) -> Result<Option<Order>, StoreError> {
        let sql = "SELECT transfer.id, owner, amount, currency, note, at FROM transfer
                   JOIN posting ON posting.transfer = transfer.id JOIN account ON account.id = posting.account
                   WHERE transfer.vendor = ? AND transfer.kind = ? AND order_ref = ? AND account.kind = 'client'";
        let paid = |row: &Row<'_>| {
            let Money { amount, currency } = money(row, 2)?;
            let amount = Money::new(amount.saturating_abs(), currency);
            Ok(Paid { transfer: text(row, 0)?, client: text(row, 1)?, amount, note: row.get(4)?, at: moment(row, 5)? })
        };
        let of_kind = |kind: &str| self.one(sql, params![vendor.to_string(), kind, order_ref], paid);
        let order = Order { credit: of_kind("credit")?, refund: of_kind("wallet_refund")? };
        Ok((order.credit.is_some() || order.refund.is_some()).then_some(order))
    }

    /// A client's statement in a currency, newest line first (`after` is the oldest of the page before).
    pub fn statement(&self, vendor: VendorId, client: &ClientRef, currency: Currency, page: Page<i64>) -> Result<Vec<Line>, StoreError> {
        let sql = "SELECT transfer.id, number, transfer.kind, amount, currency, balance, order_ref, call, reason, note, at
                   FROM account JOIN posting ON posting.account = account.id JOIN transfer ON transfer.id = posting.transfer
                   WHERE account.vendor = ? AND account.kind = 'client' AND owner = ? AND currency = ? AND number < ?
                   ORDER BY number DESC LIMIT ?";
        let line = |row: &Row<'_>| {
            Ok(Line {
                transfer: text(row, 0)?,
                number: row.get(1)?,
                kind: row.get(2)?,
                amount: money(row, 3)?,
                balance: row.get(5)?,
                order_ref: row.get(6)?,
                call: if row.get_ref(7)? == rusqlite::types::ValueRef::Null { None } else { Some(text(row, 7)?) },
                reason: row.get(8)?,
                note: row.get(9)?,
                at: moment(row, 10)?,
            })
        };
        let before = page.after.unwrap_or(i64::MAX);
        self.all(sql, params![vendor.to_string(), client.as_str(), currency.code(), before, page.limit], line)
    }

    /// What a call of this vendor captured and returned; none if there is no such call.
    pub fn charged(&self, vendor: VendorId, call: CallId) -> Result<Option<Charged>, StoreError> {
        let reader = self.0.readers.take()?;
        // One snapshot, or a refund between two reads would show half of itself.
        let snapshot = reader.unchecked_transaction()?;
        Ok(charged(&snapshot, vendor, call)?)
    }

    /// What went back of a call of this vendor, oldest first.
    pub fn adjustments(&self, vendor: VendorId, call: CallId) -> Result<Vec<Adjustment>, StoreError> {
        let theirs = self.one("SELECT 1 FROM call WHERE id = ? AND vendor = ?", [call.to_string(), vendor.to_string()], |_| Ok(()))?;
        if theirs.is_none() {
            return Ok(Vec::new());
        }
        self.adjustments_of(call)
    }

    /// The same whoever sold the call: for those who hold a token of it.
    pub fn adjustments_of(&self, call: CallId) -> Result<Vec<Adjustment>, StoreError> {
        let reader = self.0.readers.take()?;
        Ok(of_call(&reader, call)?)
    }
}

/// See [`Store::charged`].
pub(super) fn charged(connection: &Connection, vendor: VendorId, call: CallId) -> rusqlite::Result<Option<Charged>> {
    let (vendor, call) = (vendor.to_string(), call.to_string());
    let mut select = connection.prepare_cached("SELECT settled_at IS NOT NULL, client, companion FROM call WHERE id = ? AND vendor = ?")?;
    let found = select.query_one([&call, &vendor], |row| Ok((row.get(0)?, text(row, 1)?, row.get(2)?))).optional()?;
    let Some((settled, client, companion)) = found else { return Ok(None) };
    let mut select = connection.prepare_cached("SELECT by_shares, by_vendor FROM returned WHERE call = ?")?;
    let returned = select.query_one([&call], |row| Ok(Returned { by_shares: row.get(0)?, by_vendor: row.get(1)? })).optional()?;
    let returned = returned.unwrap_or_default();
    let mut charged = Charged { settled, client, companion, parts: Parts::default(), returned, currency: None, wallet: None };
    let mut select = connection.prepare_cached(
        "SELECT account.kind, account.id, amount, currency FROM transfer JOIN posting ON posting.transfer = transfer.id
         JOIN account ON account.id = posting.account WHERE transfer.call = ? AND transfer.kind = 'capture'",
    )?;
    let mut postings = select.query([&call])?;
    while let Some(row) = postings.next()? {
        let Money { amount, currency } = money(row, 2)?;
        match row.get_ref(0)?.as_str()? {
            "client" => (charged.wallet, charged.currency) = (Some(row.get(1)?), Some(currency)),
            "companion" => charged.parts.companion = amount,
            _ => charged.parts.vendor = amount,
        }
    }
    Ok(Some(charged))
}

/// What went back of a call, oldest first.
pub(super) fn of_call(connection: &Connection, call: CallId) -> rusqlite::Result<Vec<Adjustment>> {
    // The wallet's own numbers tell the order of the commits.
    let mut select = connection.prepare_cached(
        "SELECT transfer.id, transfer.kind, wallet.amount, currency, bearer, reason, note, actor, at,
                coalesce((SELECT -amount FROM posting JOIN account AS hers ON hers.id = posting.account
                          WHERE posting.transfer = transfer.id AND hers.kind = 'companion'), 0)
         FROM transfer JOIN posting AS wallet ON wallet.transfer = transfer.id
         JOIN account ON account.id = wallet.account AND account.kind = 'client'
         WHERE transfer.call = ? AND bearer IS NOT NULL ORDER BY wallet.number",
    )?;
    let adjustment = |row: &Row<'_>| {
        let Money { amount, currency } = money(row, 2)?;
        let (direction, sign) = if amount > 0 { (Direction::ToClient, 1) } else { (Direction::FromClient, -1) };
        // Saturating, since the audit reads what a damaged file says.
        let amount = amount.saturating_abs();
        let companion = row.get::<_, i64>(9)?.saturating_mul(sign);
        Ok(Adjustment {
            transfer: text(row, 0)?,
            kind: row.get(1)?,
            direction,
            amount: Money::new(amount, currency),
            parts: Parts { companion, vendor: amount.saturating_sub(companion) },
            bearer: bearer(row, 4)?,
            reason: row.get(5)?,
            note: row.get(6)?,
            actor: row.get(7)?,
            at: moment(row, 8)?,
        })
    };
    select.query_map([call.to_string()], adjustment)?.collect()
}

/// A column that holds the word for a bearer.
pub(super) fn bearer(row: &Row<'_>, index: usize) -> rusqlite::Result<Bearer> {
    let word = row.get_ref(index)?.as_str()?;
    let found = Bearer::ALL.into_iter().find(|bearer| bearer.name() == word);
    found.ok_or_else(|| rusqlite::Error::FromSqlConversionFailure(index, Type::Text, format!("no bearer is called {word}").into()))
}
