//! The store without its threads: groups are applied and committed where the caller stands. For simulated time, where a thread would
//! make the order of things random.
//!
//! The same layout, settings and [`apply`](super::apply) as a [`Store`](super::Store), on a simulated [`Disk`]. It decides nothing of
//! groups: the caller does. Invariant: an outcome is [`Outcome::Committed`] only if COMMIT came back, as with the writer's thread.

use super::apply::apply;
use super::disk::{DATABASE, Disk};
use super::{Charged, Finding, OpenError, Outcome, Reply, StoreError, Target, Transaction};
use super::{audit, heartbeat, journal, open, read, rows, signatures, statement, webhooks};
use crate::call::{Journal, Policy};
use crate::clock::Moment;
use crate::ids::{CallId, HoldId, VendorId};
use crate::seeded::{self, Bug};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row};
use std::collections::BTreeMap;

/// What would stop a planted fault before it does harm.
const GUARDS: [(Bug, &str); 4] = [
    (
        Bug::HeartbeatOfEarlierBoot,
        "DROP TRIGGER IF EXISTS heartbeat_of_this_boot; DROP TRIGGER IF EXISTS heartbeat_of_that_boot; DROP TRIGGER IF EXISTS boot_is_last",
    ),
    (Bug::ResolvedTwice, "DROP TRIGGER IF EXISTS hold_resolves_once"),
    (Bug::KeyPruned, "DROP TRIGGER IF EXISTS idempotency_delete"),
    (Bug::OrderTwice, "DROP INDEX IF EXISTS transfer_by_order"),
];

/// An account as it is kept: vendor, kind, owner, currency, posted, held.
type AccountRow = (String, String, String, String, i64, i64);

/// An event as it is kept: what must come one after the other, its number there, id, word, body.
type EventRow = (String, Option<u64>, String, String, String);

/// A database on a simulated disk, open.
pub struct InLine {
    connection: Connection,
    /// After the connection: it must outlive it.
    disk: Disk,
    /// Set by a failing disk, as in the writer: nobody knows what is on it.
    failed: Option<StoreError>,
    groups: u64,
}

impl InLine {
    /// Opens the disk's database, and makes it if it is missing.
    pub fn open(disk: &Disk) -> Result<Self, OpenError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags_and_vfs(DATABASE, flags, disk.vfs_name())?;
        connection.set_prepared_statement_cache_capacity(rows::STATEMENTS);
        // The disk has no shared memory: SQLite then keeps the index of its log to itself.
        connection.pragma_update_and_check(None, "locking_mode", "exclusive", |_| Ok(()))?;
        open::prepare(&mut connection)?;
        signatures::begin(&mut connection, &[7; 32], Moment::from_unix_ms(0)).map_err(OpenError::Database)?;
        if seeded::has(Bug::FsyncSkipped) {
            connection.pragma_update(None, "synchronous", "OFF")?;
        }
        for (bug, guard) in GUARDS {
            if seeded::has(bug) {
                connection.execute_batch(guard)?;
            }
        }
        Ok(Self { connection, disk: disk.clone(), failed: None, groups: 0 })
    }

    /// Applies transactions in order and commits them as one group; an outcome for each.
    ///
    /// On an error of the group nothing of it is on disk (or, if the disk fails, known to be), and each is told so.
    pub fn commit(&mut self, group: &[Transaction]) -> Vec<Result<Outcome, StoreError>> {
        self.try_commit(group).unwrap_or_else(|error| {
            if !self.connection.is_autocommit() {
                // SQLite may have rolled back by itself; if this fails too the file's own recovery does it.
                let _ = self.connection.execute_batch("ROLLBACK");
            }
            if matches!(error, StoreError::Database(_)) {
                self.failed = Some(error.clone());
            }
            vec![Err(error); group.len()]
        })
    }

    fn try_commit(&mut self, group: &[Transaction]) -> Result<Vec<Result<Outcome, StoreError>>, StoreError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.groups += 1;
        if seeded::has(Bug::ReleasedBeforeCapture) {
            self.release_before(group)?;
        }
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let mut outcomes = Vec::with_capacity(group.len());
        for transaction in group {
            let outcome = match apply(&self.connection, transaction) {
                Err(error @ (StoreError::Full | StoreError::Busy | StoreError::Closed | StoreError::Database(_))) => return Err(error),
                outcome => outcome,
            };
            if self.connection.is_autocommit() {
                return Err(StoreError::Database("the transaction of the group is gone".to_owned()));
            }
            outcomes.push(outcome);
        }
        let skipped = seeded::has(Bug::CommitSkipped) && self.groups.is_multiple_of(17);
        self.connection.execute_batch(if skipped { "ROLLBACK" } else { "COMMIT" })?;
        if seeded::has(Bug::OutboxApart) {
            self.append_after(group, &outcomes);
        }
        Ok(outcomes)
    }

    /// The planted fault: what is held for a call that settles is free before its capture.
    fn release_before(&self, group: &[Transaction]) -> Result<(), StoreError> {
        for write in group.iter().flat_map(|transaction| &transaction.writes) {
            if let super::Write::Settle(settlement) = write {
                let sql = "UPDATE account SET held = held - (SELECT coalesce(sum(amount), 0) FROM hold
                           WHERE call = ?1 AND account = account.id AND resolved_at IS NULL)
                           WHERE id IN (SELECT account FROM hold WHERE call = ?1)";
                self.connection.prepare_cached(sql)?.execute([settlement.call.to_string()])?;
            }
        }
        Ok(())
    }

    /// The planted fault: the events of facts that are on disk already. Whoever is cut off here has told nobody of them.
    fn append_after(&self, group: &[Transaction], outcomes: &[Result<Outcome, StoreError>]) {
        for (transaction, outcome) in group.iter().zip(outcomes) {
            if *outcome == Ok(Outcome::Committed) && self.connection.execute_batch("BEGIN IMMEDIATE").is_ok() {
                let appended = super::outbox::append(&self.connection, &transaction.writes).is_ok();
                let _ = self.connection.execute_batch(if appended { "COMMIT" } else { "ROLLBACK" });
            }
        }
    }

    /// Ends without closing anything, as a process does that is killed. What is on the disk is there, and the disk says what that is.
    pub fn kill(self) {
        self.disk.die();
        drop(self.connection);
    }

    /// As [`Store::unfinished_calls`](super::Store::unfinished_calls).
    pub fn unfinished_calls(&self) -> Result<Vec<Journal>, StoreError> {
        let mut unfinished = self.connection.prepare_cached("SELECT id FROM call WHERE settled_at IS NULL ORDER BY id")?;
        let calls = unfinished.query_map([], |row| rows::text::<CallId>(row, 0))?.collect::<rusqlite::Result<Vec<_>>>()?;
        let read = |call| journal::read(&self.connection, call)?.ok_or_else(|| StoreError::Broken(format!("{call} has no journal")));
        calls.into_iter().map(read).collect()
    }

    /// As [`Store::journal`](super::Store::journal).
    pub fn journal(&self, call: CallId) -> Result<Option<Journal>, StoreError> {
        journal::read(&self.connection, call)
    }

    /// The number of the last fact of a call; none for an unknown call.
    pub fn last_fact(&self, call: CallId) -> Result<Option<u64>, StoreError> {
        let mut select = self.connection.prepare_cached("SELECT seq FROM call WHERE id = ?")?;
        Ok(select.query_one([call.to_string()], |row| row.get::<_, i64>(0)).optional()?.map(i64::cast_unsigned))
    }

    /// As [`Store::reply`](super::Store::reply).
    pub fn reply(&self, vendor: VendorId, key: &str) -> Result<Option<Reply>, StoreError> {
        read::reply(&self.connection, vendor, key)
    }

    /// As [`Store::proofs`](super::Store::proofs).
    pub fn proofs(&self) -> Result<BTreeMap<CallId, Moment>, StoreError> {
        heartbeat::proofs(&self.connection)
    }

    /// As [`Store::last_alive`](super::Store::last_alive).
    pub fn last_alive(&self) -> Result<Option<Moment>, StoreError> {
        heartbeat::last_alive(&self.connection)
    }

    /// As [`Store::last_open_moment`](super::Store::last_open_moment).
    pub fn last_open_moment(&self) -> Result<Option<Moment>, StoreError> {
        heartbeat::last_open_moment(&self.connection)
    }

    /// As [`Store::last_wall`](super::Store::last_wall).
    pub fn last_wall(&self) -> Result<Option<Moment>, StoreError> {
        heartbeat::last_wall(&self.connection)
    }

    /// As [`Store::pending_holds`](super::Store::pending_holds).
    pub fn pending_holds(&self) -> Result<BTreeMap<CallId, Vec<HoldId>>, StoreError> {
        heartbeat::pending_holds(&self.connection)
    }

    /// As [`Store::policy`](super::Store::policy).
    pub fn policy(&self, vendor: VendorId) -> Result<Option<Policy>, StoreError> {
        Ok(read::policy_of(&self.connection, vendor)?.map(|(policy, _)| policy))
    }

    /// As [`Store::charged`](super::Store::charged).
    pub fn charged(&self, vendor: VendorId, call: CallId) -> Result<Option<Charged>, StoreError> {
        Ok(statement::charged(&self.connection, vendor, call)?)
    }

    /// As [`Store::due`](super::Store::due).
    pub fn due(&self, now: Moment, limit: u32) -> Result<Vec<Target>, StoreError> {
        Ok(webhooks::due(&self.connection, now, limit)?)
    }

    /// As [`Store::next_due`](super::Store::next_due).
    pub fn next_due(&self, now: Moment) -> Result<Option<Moment>, StoreError> {
        Ok(webhooks::next_due(&self.connection, now)?)
    }

    /// Every event: what must come one after the other, its number there, id, word, body.
    pub fn events(&self) -> Result<Vec<EventRow>, StoreError> {
        let mut select = self.connection.prepare_cached("SELECT coalesce(call, id), seq, id, word, body FROM event ORDER BY 1, 2, 3")?;
        let row = |row: &Row<'_>| {
            let seq = row.get::<_, Option<i64>>(1)?.map(i64::cast_unsigned);
            Ok((row.get(0)?, seq, row.get(2)?, row.get(3)?, row.get(4)?))
        };
        Ok(select.query_map([], row)?.collect::<rusqlite::Result<_>>()?)
    }

    /// Rows of what only ever comes: calls, facts, holds, transfers, replies, events.
    pub fn size(&self) -> Result<[u64; 6], StoreError> {
        let count = |table: &str| -> Result<u64, StoreError> {
            let count: i64 = self.connection.prepare_cached(&format!("SELECT count(*) FROM {table}"))?.query_one([], |row| row.get(0))?;
            Ok(count.unsigned_abs())
        };
        let [calls, facts, holds, transfers] = [count("call")?, count("journal")?, count("hold")?, count("transfer")?];
        Ok([calls, facts, holds, transfers, count("idempotency")?, count("event")?])
    }

    /// Every account that has a row: vendor, kind, owner, currency, posted, held.
    pub fn accounts(&self) -> Result<Vec<AccountRow>, StoreError> {
        let mut select =
            self.connection.prepare_cached("SELECT vendor, kind, owner, currency, posted, held FROM account ORDER BY 1, 2, 3, 4")?;
        let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?));
        Ok(select.query_map([], row)?.collect::<rusqlite::Result<_>>()?)
    }

    /// As [`Store::audit`](super::Store::audit).
    pub fn audit(&self, rebuild: &dyn Fn(&Journal) -> Option<String>) -> Result<Vec<Finding>, StoreError> {
        audit::check_all(&self.connection, rebuild).map(|audited| audited.findings)
    }
}
