//! One transaction, under a savepoint: its key, its writes in order, and what must hold when all are done.
//!
//! Invariant: an outcome other than [`Outcome::Committed`] leaves the database as it was.

use super::row_hash::{self, Table};
use super::{Idempotency, Outcome, Refusal, Settlement, StoreError, Transaction, Write};
use super::{heartbeat, journal, ledger, night_row, outbox, policy_row, recordings, refund, signatures, sold_row};
use crate::call::Fact;
use crate::ids::CallId;
use crate::money::Money;
use crate::seeded::{self, Bug};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::{BTreeMap, BTreeSet};

/// Why a transaction stops half-way.
pub(super) enum Halt {
    /// A condition of the trade does not hold.
    Refused(Refusal),
    /// Something is wrong with us or the disk.
    Failed(StoreError),
}

impl From<rusqlite::Error> for Halt {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error.into())
    }
}

impl From<Refusal> for Halt {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Halt {
    /// A broken invariant.
    pub(super) fn broken(text: impl Into<String>) -> Self {
        Self::Failed(StoreError::Broken(text.into()))
    }
}

/// What a transaction did to calls, to be checked as a whole at its end.
#[derive(Default)]
struct Touched {
    /// Calls for which money was set aside.
    held: BTreeSet<CallId>,
    /// What was captured of each call settled here.
    settled: BTreeMap<CallId, Money>,
    /// The charge that the last fact of each call names.
    charged: BTreeMap<CallId, Money>,
}

/// Applies a transaction inside the open group, whole or not at all.
///
/// After an error other than [`StoreError::Broken`] the group cannot go on.
pub(super) fn apply(connection: &Connection, transaction: &Transaction) -> Result<Outcome, StoreError> {
    if seeded::has(Bug::KeyPruned) {
        let prune = "DELETE FROM idempotency WHERE (SELECT count(*) FROM idempotency) > 12
                     AND key = (SELECT key FROM idempotency ORDER BY key LIMIT 1)";
        run(connection, prune)?;
    }
    if let Some(idempotency) = &transaction.idempotency
        && let Some(outcome) = earlier(connection, idempotency)?
    {
        return Ok(outcome);
    }
    if seeded::has(Bug::ReplyBeforeEffect) {
        keep_reply(connection, transaction)?;
    }
    run(connection, "SAVEPOINT one")?;
    let outcome = match write_all(connection, transaction) {
        Ok(()) => {
            run(connection, "RELEASE one")?;
            return Ok(Outcome::Committed);
        }
        Err(Halt::Refused(refusal)) => Ok(Outcome::Refused(refusal)),
        Err(Halt::Failed(error @ StoreError::Broken(_))) => Err(error),
        Err(Halt::Failed(error)) => return Err(error),
    };
    run(connection, "ROLLBACK TO one")?;
    run(connection, "RELEASE one")?;
    outcome
}

fn run(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(|_| ())
}

/// What this key was answered before.
fn earlier(connection: &Connection, idempotency: &Idempotency) -> rusqlite::Result<Option<Outcome>> {
    let Idempotency { vendor, key, request_hash, .. } = idempotency;
    let mut select = connection.prepare_cached("SELECT request_hash, status, body FROM idempotency WHERE vendor = ? AND key = ?")?;
    select
        .query_one(params![vendor.to_string(), key], |row| {
            let same = row.get::<_, [u8; 32]>(0)? == *request_hash;
            let reply = Outcome::Replayed { status: row.get(1)?, body: row.get(2)? };
            Ok(if same { reply } else { Outcome::Refused(Refusal::KeyReused) })
        })
        .optional()
}

fn write_all(connection: &Connection, transaction: &Transaction) -> Result<(), Halt> {
    let mut touched = Touched::default();
    for (index, write) in transaction.writes.iter().enumerate() {
        match write_one(connection, write, &mut touched) {
            // A crash came between the purchase and its fact: the order's money is in the wallet, and what follows sets it aside.
            Err(Halt::Refused(Refusal::OrderCredited)) if ledger::is_left(connection, write, transaction.writes.get(index + 1))? => {}
            written => written?,
        }
    }
    if !seeded::has(Bug::OutboxApart) {
        outbox::append(connection, &transaction.writes)?;
    }
    check(connection, &touched)?;
    if !seeded::has(Bug::ReplyBeforeEffect) {
        keep_reply(connection, transaction)?;
    }
    Ok(())
}

/// Keeps the reply to a command, for ever.
fn keep_reply(connection: &Connection, transaction: &Transaction) -> rusqlite::Result<()> {
    if seeded::has(Bug::RefundRepeated) && transaction.writes.iter().any(|write| matches!(write, Write::Return(_))) {
        return Ok(());
    }
    if let Some(Idempotency { vendor, key, request_hash, status, body }) = &transaction.idempotency {
        let mut insert =
            connection.prepare_cached("INSERT INTO idempotency (vendor, key, request_hash, status, body) VALUES (?, ?, ?, ?, ?)")?;
        insert.execute(params![vendor.to_string(), key, request_hash, status, body])?;
        row_hash::keep(connection, Table::Reply, &[&vendor.to_string(), key])?;
    }
    Ok(())
}

fn write_one(connection: &Connection, write: &Write, touched: &mut Touched) -> Result<(), Halt> {
    match write {
        Write::AddVendor { id, name, key_hash, at } => {
            let mut taken = connection.prepare_cached("SELECT 1 FROM vendor WHERE name = ?")?;
            if taken.exists([name])? {
                return Err(Refusal::NameTaken.into());
            }
            let mut insert = connection.prepare_cached("INSERT INTO vendor (id, name, key_hash, created_at) VALUES (?, ?, ?, ?)")?;
            insert.execute(params![id.to_string(), name, key_hash, at.unix_ms()])?;
            row_hash::keep(connection, Table::Vendor, &[&id.to_string()])?;
        }
        Write::AddLoginCode { vendor, code_hash, expires_at } => {
            let mut insert = connection.prepare_cached("INSERT INTO login_code VALUES (?, ?, ?)")?;
            insert.execute(params![code_hash, vendor.to_string(), expires_at.unix_ms()])?;
        }
        Write::OpenSession { code_hash, session_hash, now, expires_at } => {
            for expired in ["DELETE FROM login_code WHERE expires_at <= ?", "DELETE FROM session WHERE expires_at <= ?"] {
                connection.prepare_cached(expired)?.execute([now.unix_ms()])?;
            }
            let mut take = connection.prepare_cached("DELETE FROM login_code WHERE code_hash = ? RETURNING vendor")?;
            // Read to its end, or the row would stay.
            let vendors = take.query_map([code_hash], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
            let vendor = vendors.first().ok_or(Refusal::LoginCode)?;
            let mut insert = connection.prepare_cached("INSERT INTO session VALUES (?, ?, ?)")?;
            insert.execute(params![session_hash, vendor, expires_at.unix_ms()])?;
        }
        Write::CloseSession { session_hash } => {
            connection.prepare_cached("DELETE FROM session WHERE session_hash = ?")?.execute([session_hash])?;
        }
        Write::AddPlan(plan) => {
            let mut insert = connection.prepare_cached(
                "INSERT INTO plan (id, vendor, name, sold, hold, currency, grade, created_at, night, sounds, recording_days)
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )?;
            insert.execute(params![
                plan.id.to_string(),
                plan.vendor.to_string(),
                plan.name,
                sold_row::encode(&plan.sold),
                plan.hold.amount,
                plan.hold.currency.code(),
                plan.grade,
                plan.created_at.unix_ms(),
                plan.night.as_ref().map(night_row::night_text),
                night_row::sounds_text(&plan.sounds),
                plan.recording.map(|terms| terms.keep.whole_s() / 86_400),
            ])?;
            row_hash::keep(connection, Table::Plan, &[&plan.id.to_string()])?;
        }
        Write::SetPolicy { vendor, policy, at } => {
            let mut set = connection.prepare_cached(
                "INSERT INTO settlement_policy (vendor, policy, updated_at) VALUES (?, ?, ?)
                 ON CONFLICT DO UPDATE SET policy = excluded.policy, updated_at = excluded.updated_at",
            )?;
            set.execute(params![vendor.to_string(), policy_row::encode(policy), at.unix_ms()])?;
            row_hash::keep(connection, Table::Policy, &[&vendor.to_string()])?;
        }
        Write::AddCompanion(companion) => {
            let mut insert =
                connection.prepare_cached("INSERT INTO companion (id, vendor, name, grade, created_at) VALUES (?, ?, ?, ?, ?)")?;
            let (id, vendor) = (companion.id.to_string(), companion.vendor.to_string());
            insert.execute(params![id, vendor, companion.name, companion.grade, companion.created_at.unix_ms()])?;
            row_hash::keep(connection, Table::Companion, &[&id])?;
        }
        Write::Credit { transfer, vendor, client, amount, order_ref, at } => {
            ledger::credit(connection, *transfer, *vendor, client, *amount, order_ref, *at)?;
        }
        Write::Hold { hold, call, vendor, client, amount, at } => {
            ledger::hold(connection, *hold, *call, *vendor, client, *amount, *at)?;
            touched.held.insert(*call);
        }
        Write::Facts { call, entries } => {
            if touched.settled.contains_key(call) {
                return Err(Halt::broken(format!("facts of {call} after its settlement")));
            }
            journal::append(connection, *call, entries)?;
            if let Some(Fact::Settled { charge, .. }) = entries.last().map(|entry| &entry.fact) {
                touched.charged.insert(*call, *charge);
            }
        }
        Write::KeepSecret { name, secret } => {
            let mut insert = connection.prepare_cached("INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING")?;
            // One that was there keeps its hash, which may say that it was changed.
            if insert.execute(params![name, secret])? == 1 {
                row_hash::keep(connection, Table::Secret, &[name])?;
            }
        }
        Write::Boot { boot, at, wall } => heartbeat::begin(connection, *boot, *at, *wall)?,
        Write::Heartbeats { boot, at, clocks, beats } => heartbeat::write(connection, *boot, *at, clocks, beats)?,
        Write::ReleaseStray { call, known, at } => heartbeat::release_stray(connection, *call, known, *at)?,
        Write::RotateKey { secret, at } => signatures::rotate(connection, secret, *at)?,
        Write::Settle(settlement) => {
            let captured = ledger::settle(connection, settlement)?;
            finish(connection, settlement)?;
            touched.settled.insert(settlement.call, captured);
        }
        Write::Webhook(write) => outbox::apply(connection, write)?,
        Write::RefundWallet(wanted) => refund::wallet(connection, wanted)?,
        Write::Recording(write) => recordings::apply(connection, write)?,
        Write::Return(wanted) => refund::of_call(connection, wanted)?,
    }
    Ok(())
}

/// Makes the call final and keeps its record.
fn finish(connection: &Connection, settlement: &Settlement) -> Result<(), Halt> {
    let call = settlement.call.to_string();
    let mut settle = connection.prepare_cached("UPDATE call SET settled_at = ? WHERE id = ? AND settled_at IS NULL")?;
    if settle.execute(params![settlement.at.unix_ms(), call])? != 1 {
        return Err(Halt::broken(format!("{call} is unknown or settled before")));
    }
    heartbeat::forget(connection, settlement.call)?;
    connection.prepare_cached("INSERT INTO record VALUES (?, ?)")?.execute(params![call, settlement.record])?;
    signatures::sign(connection, &call, &settlement.record)
}

/// What can only be judged when all writes are done.
fn check(connection: &Connection, touched: &Touched) -> Result<(), Halt> {
    for call in &touched.held {
        // All holds of a call are on one account (see ledger.rs), so one row shows for all.
        let mut open = connection.prepare_cached(
            "SELECT 1 FROM call JOIN hold ON hold.call = call.id JOIN account ON account.id = hold.account
             WHERE call.id = ? AND settled_at IS NULL AND account.vendor = call.vendor AND account.owner = call.client",
        )?;
        if !open.exists([call.to_string()])? {
            return Err(Halt::broken(format!("money held for {call}, which is unknown, settled or another client's")));
        }
    }
    for (call, captured) in &touched.settled {
        match touched.charged.get(call) {
            Some(charge) if charge == captured => (),
            Some(charge) => return Err(Halt::broken(format!("{call} captures {captured} and is charged {charge}"))),
            None => return Err(Halt::broken(format!("{call} settles without the fact of it"))),
        }
    }
    match touched.charged.keys().find(|call| !touched.settled.contains_key(call)) {
        Some(call) => Err(Halt::broken(format!("the fact that {call} settled, without its settlement"))),
        None => Ok(()),
    }
}
