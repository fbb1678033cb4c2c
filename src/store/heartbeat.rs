//! Starts of the server and heartbeats: what a crash leaves proved.
//!
//! Invariants: only the last start writes, whatever an earlier one still had in flight is refused; a heartbeat touches no
//! account, hold or journal; a proof of one start never goes back; no proof counts beyond its server's last sign of life.

use super::apply::Halt;
use super::row_hash::{self, Table};
use super::{Store, StoreError, rows};
use crate::clock::{Moment, Reading, Span};
use crate::ids::{BootId, CallId, HoldId};
use crate::seeded::{self, Bug};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::BTreeMap;

/// What is proved of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    /// The call.
    pub call: CallId,
    /// Every side that was not away was seen until here.
    pub until: Moment,
    /// Time delivered until then.
    pub delivered: Span,
}

/// A server begins; the heartbeats of earlier ones are refused from now on.
pub(super) fn begin(connection: &Connection, boot: BootId, at: Moment, wall: Moment) -> Result<(), Halt> {
    let mut insert = connection.prepare_cached("INSERT INTO boot (id, started_at, alive_at, wall_at) VALUES (?1, ?2, ?2, ?3)")?;
    insert.execute(params![boot.to_string(), at.unix_ms(), wall.unix_ms()])?;
    row_hash::keep(connection, Table::Boot, &[&connection.last_insert_rowid()])?;
    Ok(())
}

/// Overwrites the proofs of these calls, and shows that the server lives.
pub(super) fn write(connection: &Connection, boot: BootId, at: Moment, clocks: &Reading, beats: &[Beat]) -> Result<(), Halt> {
    let mut find = connection.prepare_cached("SELECT seq, seq = (SELECT max(seq) FROM boot) FROM boot WHERE id = ?")?;
    let found = find.query_one([boot.to_string()], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, bool>(1)?))).optional()?;
    let found = found.map(|(seq, is_last)| (seq, is_last || seeded::has(Bug::HeartbeatOfEarlierBoot)));
    let Some((seq, true)) = found else { return Err(Halt::broken(format!("a heartbeat of {boot}, which is not the last start"))) };
    let mut alive = connection
        .prepare_cached("UPDATE boot SET alive_at = max(alive_at, ?2), wall_at = max(coalesce(wall_at, ?3), ?3) WHERE seq = ?1")?;
    alive.execute(params![seq, at.unix_ms(), clocks.wall.unix_ms()])?;
    row_hash::keep(connection, Table::Boot, &[&seq])?;
    let mut put = connection.prepare_cached(
        "INSERT INTO heartbeat VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (call) DO UPDATE SET boot = excluded.boot,
         wall_at = excluded.wall_at, mono_ms = excluded.mono_ms, proved_until = excluded.proved_until,
         billable_ms = excluded.billable_ms, row_hash = excluded.row_hash
         WHERE excluded.boot <> boot OR excluded.proved_until >= proved_until",
    )?;
    let (wall, awake) = (clocks.wall.unix_ms(), clocks.awake.ms());
    for beat in beats {
        let (call, until, delivered) = (beat.call.to_string(), beat.until.unix_ms(), beat.delivered.ms());
        // There are many of these: hashed here, not read again for it.
        let hash = row_hash::of([
            ("billable_ms", ValueRef::Integer(delivered)),
            ("boot", ValueRef::Integer(seq)),
            ("call", ValueRef::Text(call.as_bytes())),
            ("mono_ms", ValueRef::Integer(awake)),
            ("proved_until", ValueRef::Integer(until)),
            ("wall_at", ValueRef::Integer(wall)),
        ]);
        put.execute(params![call, seq, wall, awake, until, delivered, hash])?;
    }
    Ok(())
}

/// A final call has nothing left to prove.
pub(super) fn forget(connection: &Connection, call: CallId) -> Result<(), Halt> {
    connection.prepare_cached("DELETE FROM heartbeat WHERE call = ?")?.execute([call.to_string()])?;
    Ok(())
}

/// Releases what is on hold for an open call and named by none of its facts: who asked for it has no answer and asks again.
pub(super) fn release_stray(connection: &Connection, call: CallId, known: &[HoldId], at: Moment) -> Result<(), Halt> {
    let mut pending = connection.prepare_cached("SELECT id, account, amount FROM hold WHERE call = ? AND resolved_at IS NULL")?;
    let pending = pending.query_map([call.to_string()], |row| Ok((rows::text::<HoldId>(row, 0)?, row.get(1)?, row.get(2)?)))?;
    let pending = pending.collect::<rusqlite::Result<Vec<(HoldId, i64, i64)>>>()?;
    let mut release = connection.prepare_cached("UPDATE hold SET released = amount, resolved_at = ?, row_hash = NULL WHERE id = ?")?;
    let mut free = connection.prepare_cached("UPDATE account SET held = held - ? WHERE id = ?")?;
    for (hold, account, amount) in pending.into_iter().filter(|(hold, ..)| !known.contains(hold)) {
        release.execute(params![at.unix_ms(), hold.to_string()])?;
        row_hash::keep(connection, Table::Hold, &[&hold.to_string()])?;
        free.execute([amount, account])?;
    }
    Ok(())
}

impl Store {
    /// The last proof of each call that is not settled and has one.
    pub fn proofs(&self) -> Result<BTreeMap<CallId, Moment>, StoreError> {
        proofs(&*self.0.readers.take()?)
    }

    /// When the last server on this database showed that it lived.
    pub fn last_alive(&self) -> Result<Option<Moment>, StoreError> {
        last_alive(&*self.0.readers.take()?)
    }

    /// What is on hold at present, by call.
    pub fn pending_holds(&self) -> Result<BTreeMap<CallId, Vec<HoldId>>, StoreError> {
        pending_holds(&*self.0.readers.take()?)
    }

    /// Holds of open calls that were released because no fact names them.
    pub fn released_strays(&self) -> Result<BTreeMap<CallId, Vec<HoldId>>, StoreError> {
        // Holds that a fact names resolve with their call.
        holds_where(&*self.0.readers.take()?, "resolved_at IS NOT NULL AND call IN (SELECT id FROM call WHERE settled_at IS NULL)")
    }

    /// The last fact or proof of any call that is open: facts go on from there. None without such a call.
    pub fn last_open_moment(&self) -> Result<Option<Moment>, StoreError> {
        last_open_moment(&*self.0.readers.take()?)
    }

    /// What the wall clock of the last server said last, or what it had still to pass; a clock that says less was put back. None for a
    /// new database.
    pub fn last_wall(&self) -> Result<Option<Moment>, StoreError> {
        last_wall(&*self.0.readers.take()?)
    }
}

/// See [`Store::proofs`].
pub(super) fn proofs(connection: &Connection) -> Result<BTreeMap<CallId, Moment>, StoreError> {
    let mut select = connection.prepare_cached("SELECT call, min(proved_until, alive_at) FROM heartbeat JOIN boot ON seq = boot")?;
    let proof = |row: &Row<'_>| Ok((rows::text(row, 0)?, rows::moment(row, 1)?));
    Ok(select.query_map([], proof)?.collect::<rusqlite::Result<_>>()?)
}

/// See [`Store::last_alive`].
pub(super) fn last_alive(connection: &Connection) -> Result<Option<Moment>, StoreError> {
    let mut select = connection.prepare_cached("SELECT alive_at FROM boot ORDER BY seq DESC LIMIT 1")?;
    Ok(select.query_one([], |row| rows::moment(row, 0)).optional()?)
}

/// See [`Store::pending_holds`].
pub(super) fn pending_holds(connection: &Connection) -> Result<BTreeMap<CallId, Vec<HoldId>>, StoreError> {
    holds_where(connection, "resolved_at IS NULL")
}

fn holds_where(connection: &Connection, condition: &str) -> Result<BTreeMap<CallId, Vec<HoldId>>, StoreError> {
    let mut select = connection.prepare_cached(&format!("SELECT call, id FROM hold WHERE {condition}"))?;
    let mut holds = BTreeMap::<CallId, Vec<HoldId>>::new();
    for hold in select.query_map([], |row| Ok((rows::text(row, 0)?, rows::text(row, 1)?)))? {
        let (call, hold) = hold?;
        holds.entry(call).or_default().push(hold);
    }
    Ok(holds)
}

/// See [`Store::last_open_moment`].
pub(super) fn last_open_moment(connection: &Connection) -> Result<Option<Moment>, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT max(at) FROM (
            SELECT max(at) AS at FROM journal WHERE call IN (SELECT id FROM call WHERE settled_at IS NULL)
            UNION ALL SELECT max(min(proved_until, alive_at)) FROM heartbeat JOIN boot ON seq = boot)",
    )?;
    Ok(select.query_one([], |row| row.get::<_, Option<i64>>(0))?.map(Moment::from_unix_ms))
}

/// See [`Store::last_wall`]. A server of an earlier version kept no wall clock, and its moments were one when it started.
pub(super) fn last_wall(connection: &Connection) -> Result<Option<Moment>, StoreError> {
    let mut select = connection.prepare_cached("SELECT coalesce(wall_at, alive_at) FROM boot ORDER BY seq DESC LIMIT 1")?;
    Ok(select.query_one([], |row| rows::moment(row, 0)).optional()?)
}
