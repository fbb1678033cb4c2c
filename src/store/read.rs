//! What others may look up, on a few connections that can only read.
//!
//! Plain functions that may wait for the disk: async callers wrap them in `spawn_blocking`. Invariant: what belongs to
//! another vendor reads as not there. Reads see what is committed, never what is queued.

use super::rows::{medium, moment, money, night, policy, sold, text};
use super::{Balance, CallRow, Companion, Plan, Store, StoreError, journal, open};
use crate::call::{Journal, Policy, RecordingTerms};
use crate::clock::{Moment, Span};
use crate::ids::{CallId, ClientRef, CompanionId, PlanId, VendorId};
use rusqlite::{Connection, OptionalExtension, Params, Row, params};
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, PoisonError};

/// Connections open at once; more readers than that wait for each other.
const READERS: usize = 4;

/// Who sells calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vendor {
    pub id: VendorId,
    pub name: String,
    pub created_at: Moment,
}

/// What a command was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// SHA-256 of the request it was for.
    pub request_hash: [u8; 32],
    /// The HTTP status.
    pub status: u16,
    /// JSON without tokens.
    pub body: String,
}

/// A page of a list: what comes after `after` (from the start if none), `limit` items at most.
///
/// The cursor of the next page is the id of this one's last item.
#[derive(Clone, Copy, Debug)]
pub struct Page<Id> {
    /// The last id of the page before.
    pub after: Option<Id>,
    /// Items at most.
    pub limit: u32,
}

/// Idle connections, and how many there are in all.
pub(super) struct Readers {
    path: PathBuf,
    pool: Mutex<Pool>,
    returned: Condvar,
}

#[derive(Default)]
struct Pool {
    idle: Vec<Connection>,
    open: usize,
}

/// A connection on loan; it goes back when dropped.
pub(super) struct Reader<'a> {
    readers: &'a Readers,
    /// None only while it is dropped.
    connection: Option<Connection>,
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, pool: Mutex::default(), returned: Condvar::new() }
    }

    /// Closes what nobody uses at present.
    pub(super) fn close_idle(&self) {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        pool.open -= pool.idle.len();
        pool.idle.clear();
    }

    /// Waits for a free connection. A thread that has one must not ask for another.
    pub(super) fn take(&self) -> Result<Reader<'_>, StoreError> {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        while pool.idle.is_empty() && pool.open >= READERS {
            pool = self.returned.wait(pool).unwrap_or_else(PoisonError::into_inner);
        }
        let connection = match pool.idle.pop() {
            Some(connection) => connection,
            None => {
                let connection = open::reader(&self.path)?;
                pool.open += 1;
                connection
            }
        };
        Ok(Reader { readers: self, connection: Some(connection) })
    }
}

impl Deref for Reader<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("taken only by drop")
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.readers.pool.lock().unwrap_or_else(PoisonError::into_inner).idle.push(connection);
            self.readers.returned.notify_one();
        }
    }
}

impl Store {
    /// The vendor whose API key has this SHA-256.
    pub fn vendor_by_key(&self, key_hash: &[u8; 32]) -> Result<Option<Vendor>, StoreError> {
        self.one("SELECT id, name, created_at FROM vendor WHERE key_hash = ?", [key_hash], vendor)
    }

    /// The vendor of a session of the vendor's page that has not expired.
    pub fn vendor_by_session(&self, session_hash: &[u8; 32], now: Moment) -> Result<Option<Vendor>, StoreError> {
        let sql = "SELECT id, name, created_at FROM session JOIN vendor ON id = vendor WHERE session_hash = ? AND expires_at > ?";
        self.one(sql, params![session_hash, now.unix_ms()], vendor)
    }

    /// The vendor of a name.
    pub fn vendor_by_name(&self, name: &str) -> Result<Option<Vendor>, StoreError> {
        self.one("SELECT id, name, created_at FROM vendor WHERE name = ?", [name], vendor)
    }

    /// A plan of this vendor.
    pub fn plan(&self, vendor: VendorId, id: PlanId) -> Result<Option<Plan>, StoreError> {
        let sql = "SELECT id, vendor, name, sold, hold, currency, grade, created_at, night, sounds, recording_days FROM plan WHERE id = ? AND vendor = ?";
        self.one(sql, [id.to_string(), vendor.to_string()], plan)
    }

    /// A vendor's plans, oldest first.
    pub fn plans(&self, vendor: VendorId, page: Page<PlanId>) -> Result<Vec<Plan>, StoreError> {
        let sql = "SELECT id, vendor, name, sold, hold, currency, grade, created_at, night, sounds, recording_days FROM plan
                   WHERE vendor = ? AND id > ? ORDER BY id LIMIT ?";
        let after = page.after.map_or_else(String::new, |id| id.to_string());
        self.all(sql, params![vendor.to_string(), after, page.limit], plan)
    }

    /// How this vendor's calls are settled, and since when; none if that was never changed.
    pub fn policy(&self, vendor: VendorId) -> Result<Option<(Policy, Moment)>, StoreError> {
        let reader = self.0.readers.take()?;
        Ok(policy_of(&reader, vendor)?)
    }

    /// A companion of this vendor.
    pub fn companion(&self, vendor: VendorId, id: CompanionId) -> Result<Option<Companion>, StoreError> {
        let sql = "SELECT id, vendor, name, grade, created_at FROM companion WHERE id = ? AND vendor = ?";
        self.one(sql, [id.to_string(), vendor.to_string()], companion)
    }

    /// A vendor's companions, oldest first.
    pub fn companions(&self, vendor: VendorId, page: Page<CompanionId>) -> Result<Vec<Companion>, StoreError> {
        let sql = "SELECT id, vendor, name, grade, created_at FROM companion WHERE vendor = ? AND id > ? ORDER BY id LIMIT ?";
        let after = page.after.map_or_else(String::new, |id| id.to_string());
        self.all(sql, params![vendor.to_string(), after, page.limit], companion)
    }

    /// What a client of this vendor has, a balance for each currency she ever had money in.
    pub fn balances(&self, vendor: VendorId, client: &ClientRef) -> Result<Vec<Balance>, StoreError> {
        let sql = "SELECT posted, currency, held FROM account WHERE vendor = ? AND kind = 'client' AND owner = ? ORDER BY currency";
        let balance = |row: &Row<'_>| Ok(Balance { posted: money(row, 0)?, held: row.get(2)? });
        self.all(sql, params![vendor.to_string(), client.as_str()], balance)
    }

    /// A call of this vendor.
    pub fn call(&self, vendor: VendorId, id: CallId) -> Result<Option<CallRow>, StoreError> {
        let sql = "SELECT id, vendor, client, companion, medium, created_at, body FROM call LEFT JOIN record ON call = id
                   WHERE id = ? AND vendor = ?";
        self.one(sql, [id.to_string(), vendor.to_string()], call)
    }

    /// A vendor's calls, newest first (`after` is the oldest of the page before): settled ones, those that are not, or all.
    pub fn calls(&self, vendor: VendorId, page: Page<CallId>, settled: Option<bool>) -> Result<Vec<CallRow>, StoreError> {
        let sql = "SELECT id, vendor, client, companion, medium, created_at, body FROM call LEFT JOIN record ON call = id
                   WHERE vendor = ? AND id < ? AND coalesce((settled_at IS NOT NULL) = ?, TRUE) ORDER BY id DESC LIMIT ?";
        // '~' comes after every character of an id.
        let before = page.after.map_or_else(|| "~".to_owned(), |id| id.to_string());
        self.all(sql, params![vendor.to_string(), before, settled, page.limit], call)
    }

    /// The record of a settled call of this vendor: canonical JSON.
    pub fn record(&self, vendor: VendorId, id: CallId) -> Result<Option<String>, StoreError> {
        let sql = "SELECT body FROM record JOIN call ON id = call WHERE call = ? AND vendor = ?";
        self.one(sql, [id.to_string(), vendor.to_string()], |row| row.get(0))
    }

    /// The journal of a call, whoever sold it (its first fact tells). [`StoreError::Broken`] names a call whose chain of hashes is broken.
    pub fn journal(&self, id: CallId) -> Result<Option<Journal>, StoreError> {
        let reader = self.0.readers.take()?;
        journal::read(&reader, id)
    }

    /// The journals of all calls that are not settled, oldest first: what a server takes up again when it starts.
    pub fn unfinished_calls(&self) -> Result<Vec<Journal>, StoreError> {
        let reader = self.0.readers.take()?;
        let mut unfinished = reader.prepare_cached("SELECT id FROM call WHERE settled_at IS NULL ORDER BY id")?;
        let calls = unfinished.query_map([], |row| text::<CallId>(row, 0))?.collect::<rusqlite::Result<Vec<_>>>()?;
        let journals =
            calls.into_iter().map(|call| journal::read(&reader, call)?.ok_or_else(|| StoreError::Broken(format!("{call} has no journal"))));
        journals.collect()
    }

    /// What this key of this vendor was answered, if it was used.
    pub fn reply(&self, vendor: VendorId, key: &str) -> Result<Option<Reply>, StoreError> {
        reply(&*self.0.readers.take()?, vendor, key)
    }

    pub(super) fn kept_secret(&self, name: &str) -> Result<Option<[u8; 32]>, StoreError> {
        self.one("SELECT value FROM meta WHERE name = ?", [name], |row| row.get(0))
    }

    pub(super) fn one<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        let reader = self.0.readers.take()?;
        Ok(reader.prepare_cached(sql)?.query_one(params, read).optional()?)
    }

    pub(super) fn all<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let reader = self.0.readers.take()?;
        let items = reader.prepare_cached(sql)?.query_map(params, read)?.collect::<rusqlite::Result<_>>()?;
        Ok(items)
    }
}

/// See [`Store::reply`].
pub(super) fn reply(connection: &Connection, vendor: VendorId, key: &str) -> Result<Option<Reply>, StoreError> {
    let mut select = connection.prepare_cached("SELECT request_hash, status, body FROM idempotency WHERE vendor = ? AND key = ?")?;
    let reply = |row: &Row<'_>| Ok(Reply { request_hash: row.get(0)?, status: row.get(1)?, body: row.get(2)? });
    Ok(select.query_one(params![vendor.to_string(), key], reply).optional()?)
}

/// See [`Store::policy`].
pub(super) fn policy_of(connection: &Connection, vendor: VendorId) -> rusqlite::Result<Option<(Policy, Moment)>> {
    let mut select = connection.prepare_cached("SELECT policy, updated_at FROM settlement_policy WHERE vendor = ?")?;
    select.query_one([vendor.to_string()], |row| Ok((policy(row, 0)?, moment(row, 1)?))).optional()
}

fn vendor(row: &Row<'_>) -> rusqlite::Result<Vendor> {
    Ok(Vendor { id: text(row, 0)?, name: row.get(1)?, created_at: moment(row, 2)? })
}

fn plan(row: &Row<'_>) -> rusqlite::Result<Plan> {
    let hold = money(row, 4)?;
    let sold = sold(row, 3, hold.currency)?;
    let (night, sounds) = night(row, 8, sold.kind())?;
    Ok(Plan {
        id: text(row, 0)?,
        vendor: text(row, 1)?,
        name: row.get(2)?,
        sold,
        hold,
        grade: row.get(6)?,
        night,
        sounds,
        recording: row.get::<_, Option<i64>>(10)?.map(|days| RecordingTerms { keep: Span::from_s(days * 86_400) }),
        created_at: moment(row, 7)?,
    })
}

fn companion(row: &Row<'_>) -> rusqlite::Result<Companion> {
    Ok(Companion { id: text(row, 0)?, vendor: text(row, 1)?, name: row.get(2)?, grade: row.get(3)?, created_at: moment(row, 4)? })
}

fn call(row: &Row<'_>) -> rusqlite::Result<CallRow> {
    Ok(CallRow {
        id: text(row, 0)?,
        vendor: text(row, 1)?,
        client: text(row, 2)?,
        companion: text(row, 3)?,
        medium: medium(row, 4)?,
        created_at: moment(row, 5)?,
        record: row.get(6)?,
    })
}
