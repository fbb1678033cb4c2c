//! The ledger: accounts, transfers whose postings sum to zero, and holds, which resolve once.
//!
//! Accounts belong to a vendor: `cash_in` (what she took in for her clients, so negative), her clients' wallets, what she
//! owes her companions, and her own revenue. Invariants, kept here and again by the tables' own checks: a wallet is
//! never short of what its holds set aside; no sum leaves [`Money::MAX_AMOUNT`]; captured and released make the hold.

use super::apply::Halt;
use super::row_hash::{self, Table};
use super::{Refusal, Settlement, Write, rows};
use crate::clock::Moment;
use crate::ids::{CallId, ClientRef, HoldId, TransferId, VendorId};
use crate::money::{Currency, Money};
use crate::seeded::{self, Bug};
use rusqlite::{Connection, OptionalExtension, Row, params};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Whose account.
#[derive(Clone, Copy)]
pub(super) enum Owner<'a> {
    CashIn,
    Client(&'a str),
    Companion(&'a str),
    Vendor,
}

impl Owner<'_> {
    fn columns(&self) -> (&'static str, &str) {
        match self {
            Self::CashIn => ("cash_in", ""),
            Self::Client(client) => ("client", client),
            Self::Companion(companion) => ("companion", companion),
            Self::Vendor => ("vendor", ""),
        }
    }
}

/// An account's row, as far as writing needs it.
pub(super) struct Account {
    pub(super) id: i64,
    pub(super) posted: i64,
    pub(super) held: i64,
}

/// What a transfer that goes back says of itself: all absent for other kinds.
#[derive(Default)]
pub(super) struct Details {
    pub(super) bearer: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) note: Option<String>,
    pub(super) actor: Option<String>,
}

/// A transfer as it lies in the table, with its postings by account.
pub(super) struct Transfer {
    pub(super) id: String,
    pub(super) kind: String,
    pub(super) vendor: String,
    pub(super) call: Option<String>,
    pub(super) order_ref: Option<String>,
    pub(super) at: Moment,
    pub(super) postings: BTreeMap<i64, i64>,
    /// None for the kinds of the first layout, `credit` and `capture`.
    pub(super) details: Option<Details>,
}

impl Transfer {
    /// SHA-256 over the texts, each behind its length and an absent one like an empty one, then `at`, then account and amount of each
    /// posting by account; all numbers big-endian in 8 bytes. Then, for kinds that have them, the texts of the
    /// details, where an absent one has the length 2^64 - 1.
    pub(super) fn expected_hash(&self) -> [u8; 32] {
        let mut sha = Sha256::new();
        let optional = |text: &Option<String>| text.clone().unwrap_or_default();
        let add = |sha: &mut Sha256, text: &str| {
            sha.update((text.len() as u64).to_be_bytes());
            sha.update(text);
        };
        for text in [&self.id, &self.kind, &self.vendor, &optional(&self.call), &optional(&self.order_ref)] {
            add(&mut sha, text);
        }
        sha.update(self.at.unix_ms().to_be_bytes());
        for (account, amount) in &self.postings {
            sha.update(account.to_be_bytes());
            sha.update(amount.to_be_bytes());
        }
        if let Some(Details { bearer, reason, note, actor }) = &self.details {
            for text in [bearer, reason, note, actor] {
                match text {
                    Some(text) => add(&mut sha, text),
                    None => sha.update(u64::MAX.to_be_bytes()),
                }
            }
        }
        sha.finalize().into()
    }

    /// Keeps it and posts it. Accounts keep their own checks; what is set aside must be freed before.
    pub(super) fn write(&self, connection: &Connection) -> Result<(), Halt> {
        let sum: i128 = self.postings.values().map(|amount| i128::from(*amount)).sum();
        if sum != 0 {
            return Err(Halt::broken(format!("the postings of {} sum to {sum}", self.id)));
        }
        let mut insert = connection.prepare_cached(
            "INSERT INTO transfer (id, kind, vendor, call, order_ref, at, hash, bearer, reason, note, actor)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?;
        let none = Details::default();
        let Details { bearer, reason, note, actor } = self.details.as_ref().unwrap_or(&none);
        let (at, hash) = (self.at.unix_ms(), self.expected_hash());
        insert.execute(params![self.id, self.kind, self.vendor, self.call, self.order_ref, at, hash, bearer, reason, note, actor])?;
        let mut post = connection.prepare_cached("UPDATE account SET posted = posted + ? WHERE id = ? RETURNING posted")?;
        let mut insert = connection.prepare_cached(
            "INSERT INTO posting (transfer, account, amount, number, balance)
             SELECT ?1, ?2, ?3, coalesce(max(number), 0) + 1, ?4 FROM posting WHERE account = ?2",
        )?;
        for (account, amount) in &self.postings {
            // Read to its end, or the row would stay.
            let balances = post.query_map([amount, account], |row| row.get(0))?.collect::<rusqlite::Result<Vec<i64>>>()?;
            let balance =
                balances.first().ok_or_else(|| Halt::broken(format!("{} posts to account {account}, which is not there", self.id)))?;
            insert.execute(params![self.id, account, amount, balance])?;
        }
        Ok(())
    }
}

/// Finds an account, or makes an empty one.
pub(super) fn account(connection: &Connection, vendor: &str, owner: Owner<'_>, currency: Currency) -> Result<Account, Halt> {
    let (kind, name) = owner.columns();
    let find = "SELECT id, posted, held FROM account WHERE vendor = ? AND kind = ? AND owner = ? AND currency = ?";
    let read = |row: &Row<'_>| Ok(Account { id: row.get(0)?, posted: row.get(1)?, held: row.get(2)? });
    let found = connection.prepare_cached(find)?.query_one(params![vendor, kind, name, currency.code()], read).optional()?;
    if let Some(found) = found {
        return Ok(found);
    }
    let mut insert = connection.prepare_cached("INSERT INTO account (vendor, kind, owner, currency) VALUES (?, ?, ?, ?)")?;
    insert.execute(params![vendor, kind, name, currency.code()])?;
    let id = connection.last_insert_rowid();
    row_hash::keep(connection, Table::Account, &[&id])?;
    Ok(Account { id, posted: 0, held: 0 })
}

/// An account that is there.
pub(super) fn account_of(connection: &Connection, id: i64) -> Result<Account, Halt> {
    let mut find = connection.prepare_cached("SELECT id, posted, held FROM account WHERE id = ?")?;
    Ok(find.query_one([id], |row| Ok(Account { id: row.get(0)?, posted: row.get(1)?, held: row.get(2)? }))?)
}

/// Refuses what the ledger could not keep exact.
pub(super) fn check_amount(amount: Money) -> Result<(), Halt> {
    match amount.amount {
        1..=Money::MAX_AMOUNT => Ok(()),
        ..=0 => Err(Halt::broken(format!("{amount} is not an amount to move"))),
        _ => Err(Refusal::TooLarge.into()),
    }
}

/// Money into a wallet.
pub(super) fn credit(
    connection: &Connection,
    transfer: TransferId,
    vendor: VendorId,
    client: &ClientRef,
    amount: Money,
    order_ref: &str,
    at: Moment,
) -> Result<(), Halt> {
    check_amount(amount)?;
    let vendor = vendor.to_string();
    let mut earlier = connection.prepare_cached("SELECT 1 FROM transfer WHERE vendor = ? AND kind = 'credit' AND order_ref = ?")?;
    if !seeded::has(Bug::OrderTwice) && earlier.exists([vendor.as_str(), order_ref])? {
        return Err(Refusal::OrderCredited.into());
    }
    let cash_in = account(connection, &vendor, Owner::CashIn, amount.currency)?;
    let wallet = account(connection, &vendor, Owner::Client(client.as_str()), amount.currency)?;
    // All other accounts of this vendor and currency together are worth -cash_in, so this bounds the vendor's own too, unless she
    // bore refunds with more than she has: then it is the wallet that must stay in range.
    if cash_in.posted < amount.amount - Money::MAX_AMOUNT {
        return Err(Refusal::CreditsFull { currency: amount.currency }.into());
    }
    if wallet.posted > Money::MAX_AMOUNT - amount.amount {
        return Err(Refusal::TooLarge.into());
    }
    let postings = BTreeMap::from([(cash_in.id, -amount.amount), (wallet.id, amount.amount)]);
    let (id, order_ref) = (transfer.to_string(), Some(order_ref.to_owned()));
    Transfer { id, kind: "credit".to_owned(), vendor, call: None, order_ref, at, postings, details: None }.write(connection)
}

/// Whether an order that was credited before may be set aside for this call now: it was credited together with a hold of the same call,
/// by the same amount, which a restart released because no fact names it. An order that a fact names, or that was credited in any
/// other way, counts no second time.
pub(super) fn is_left(connection: &Connection, credit: &Write, hold: Option<&Write>) -> Result<bool, Halt> {
    let (Write::Credit { vendor, client, amount, order_ref, .. }, Some(Write::Hold { call, .. })) = (credit, hold) else {
        return Ok(false);
    };
    let wallet = account(connection, &vendor.to_string(), Owner::Client(client.as_str()), amount.currency)?;
    let mut left = connection.prepare_cached(
        "SELECT 1 FROM transfer JOIN posting ON posting.transfer = transfer.id
         JOIN hold ON hold.account = posting.account AND hold.amount = posting.amount AND hold.placed_at = transfer.at
         WHERE transfer.vendor = ?1 AND transfer.kind = 'credit' AND transfer.order_ref = ?2 AND posting.account = ?3
         AND posting.amount = ?4 AND hold.call = ?5 AND hold.resolved_at IS NOT NULL AND hold.captured = 0
         AND NOT EXISTS (SELECT 1 FROM journal WHERE call = ?5 AND fact ->> '$.fact' = 'extended' AND fact ->> '$.order_ref' = ?2)",
    )?;
    Ok(left.exists(params![vendor.to_string(), order_ref, wallet.id, amount.amount, call.to_string()])?)
}

/// Money set aside.
pub(super) fn hold(
    connection: &Connection,
    hold: HoldId,
    call: CallId,
    vendor: VendorId,
    client: &ClientRef,
    amount: Money,
    at: Moment,
) -> Result<(), Halt> {
    check_amount(amount)?;
    let wallet = account(connection, &vendor.to_string(), Owner::Client(client.as_str()), amount.currency)?;
    let available = wallet.posted - wallet.held;
    if available < amount.amount {
        return Err(Refusal::Funds { available: Money::new(available, amount.currency) }.into());
    }
    let mut other = connection.prepare_cached("SELECT 1 FROM hold WHERE call = ? AND account <> ?")?;
    if other.exists(params![call.to_string(), wallet.id])? {
        return Err(Halt::broken(format!("{hold} for {call} is on another wallet or currency than the one before")));
    }
    let mut insert = connection.prepare_cached("INSERT INTO hold (id, call, account, amount, placed_at) VALUES (?, ?, ?, ?, ?)")?;
    insert.execute(params![hold.to_string(), call.to_string(), wallet.id, amount.amount, at.unix_ms()])?;
    row_hash::keep(connection, Table::Hold, &[&hold.to_string()])?;
    connection.prepare_cached("UPDATE account SET held = held + ? WHERE id = ?")?.execute([amount.amount, wallet.id])?;
    Ok(())
}

/// Resolves a call's holds and moves what is captured; returns the charge.
pub(super) fn settle(connection: &Connection, settlement: &Settlement) -> Result<Money, Halt> {
    let Settlement { call, companion_share, vendor_share, .. } = settlement;
    let (wallet, charge) = resolve(connection, settlement)?;
    if seeded::has(Bug::ResolvedTwice) {
        resolve(connection, settlement)?;
    }
    let shares = companion_share.checked_add(*vendor_share);
    if *companion_share < 0 || *vendor_share < 0 || shares != Some(charge.amount) {
        return Err(Halt::broken(format!("{call}: shares {companion_share} and {vendor_share} of a charge of {charge}")));
    }
    if charge.amount == 0 {
        return Ok(charge);
    }
    let parties = connection
        .prepare_cached("SELECT vendor, companion FROM call WHERE id = ?")?
        .query_one([call.to_string()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (vendor, companion): (String, String) = parties.ok_or_else(|| Halt::broken(format!("{call} is unknown")))?;
    let mut postings = BTreeMap::from([(wallet, -charge.amount)]);
    let (of_companion, of_vendor) =
        if seeded::has(Bug::SharesSwapped) { (vendor_share, companion_share) } else { (companion_share, vendor_share) };
    for (owner, share) in [(Owner::Companion(&companion), *of_companion), (Owner::Vendor, *of_vendor)] {
        if share > 0 {
            postings.insert(account(connection, &vendor, owner, charge.currency)?.id, share);
        }
    }
    let (id, call) = (settlement.transfer.to_string(), Some(call.to_string()));
    Transfer { id, kind: "capture".to_owned(), vendor, call, order_ref: None, at: settlement.at, postings, details: None }
        .write(connection)?;
    Ok(charge)
}

/// Captures and releases the call's pending holds: the wallet they are on, and the sum captured.
fn resolve(connection: &Connection, settlement: &Settlement) -> Result<(i64, Money), Halt> {
    let call = settlement.call;
    let mut captures = BTreeMap::new();
    for (hold, amount) in &settlement.captures {
        if captures.insert(hold.to_string(), *amount).is_some() {
            return Err(Halt::broken(format!("{call} captures {hold} twice")));
        }
    }
    let mut pending = connection.prepare_cached(if seeded::has(Bug::ResolvedTwice) {
        "SELECT hold.id, account, amount, currency FROM hold JOIN account ON account.id = account WHERE call = ?"
    } else {
        "SELECT hold.id, account, amount, currency FROM hold JOIN account ON account.id = account WHERE call = ? AND resolved_at IS NULL"
    })?;
    let pending = pending.query_map([call.to_string()], |row| Ok((row.get(0)?, row.get(1)?, rows::money(row, 2)?)))?;
    let pending = pending.collect::<rusqlite::Result<Vec<(String, i64, Money)>>>()?;
    let mut charged: Option<(i64, Money)> = None;
    let mut resolve =
        connection.prepare_cached("UPDATE hold SET captured = ?, released = ?, resolved_at = ?, row_hash = NULL WHERE id = ?")?;
    // First the hold and then the posting: a wallet may be short only of what it still has on hold.
    let mut free = connection.prepare_cached("UPDATE account SET held = held - ? WHERE id = ?")?;
    for (hold, wallet, Money { amount, currency }) in pending {
        let captured = captures.remove(&hold).unwrap_or(0);
        if !(0..=amount).contains(&captured) {
            return Err(Halt::broken(format!("{call} captures {captured} of {hold}, which holds {amount}")));
        }
        resolve.execute(params![captured, amount - captured, settlement.at.unix_ms(), hold])?;
        row_hash::keep(connection, Table::Hold, &[&hold])?;
        if !seeded::has(Bug::ReleasedBeforeCapture) {
            free.execute([amount, wallet])?;
        }
        let before = charged.map_or(0, |(_, charge)| charge.amount);
        let charge = before.checked_add(captured).ok_or_else(|| Halt::broken(format!("{call} captures more than can be")))?;
        charged = Some((wallet, Money::new(charge, currency)));
    }
    if let Some((hold, _)) = captures.first_key_value() {
        return Err(Halt::broken(format!("{call} captures {hold}, which is not pending for it")));
    }
    charged.ok_or_else(|| Halt::broken(format!("{call} has nothing on hold")))
}
