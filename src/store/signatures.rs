//! Keys that sign records, and records with their signatures.
//!
//! The secrets lie in the database and not in a file beside it: whoever saves or restores the records has the key that goes with
//! them, a record and its signature are one transaction, and a rotation is seen by a running server with its next record.
//! The file is its owner's alone (0600). Invariants: each record has one signature, by a key that is kept; one key has no end and
//! signs; a key that ended has no secret any more.

use super::apply::Halt;
use super::row_hash::{self, Table};
use super::rows::{moment, text};
use super::{Store, StoreError};
use crate::clock::Moment;
use crate::ids::{CallId, VendorId};
use crate::signing::{PublicKey, Published, Signature, SigningKey};
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

/// A record as it is given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedRecord {
    /// Whose record.
    pub call: CallId,
    /// When the call was settled: the day on which its money moved.
    pub settled_at: Moment,
    /// Canonical JSON.
    pub record: String,
    /// What checks the signature.
    pub key: PublicKey,
    /// Over `record`.
    pub signature: Signature,
}

/// Signs a record that was just written.
pub(super) fn sign(connection: &Connection, call: &str, record: &str) -> Result<(), Halt> {
    let mut select = connection.prepare_cached("SELECT id, secret FROM signing_key WHERE until_at IS NULL")?;
    let key = select.query_one([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, [u8; 32]>(1)?))).optional()?;
    let Some((id, secret)) = key else { return Err(Halt::broken("there is no key to sign records with")) };
    let signature = SigningKey::new(&secret).sign(record);
    connection.prepare_cached("INSERT INTO signature VALUES (?, ?, ?)")?.execute(params![call, id, signature.bytes()])?;
    Ok(())
}

/// Ends the key in use, if there is one, and begins with the key of `secret`.
pub(super) fn rotate(connection: &Connection, secret: &[u8; 32], at: Moment) -> rusqlite::Result<()> {
    let end = "UPDATE signing_key SET secret = NULL, until_at = max(from_at, ?), row_hash = NULL WHERE until_at IS NULL";
    connection.execute(end, [at.unix_ms()])?;
    let public = SigningKey::new(secret).public();
    let insert = "INSERT INTO signing_key (id, public, secret, from_at) VALUES (?, ?, ?, ?)";
    connection.execute(insert, params![public.id(), public.bytes(), secret, at.unix_ms()])?;
    row_hash::keep_rest(connection, Table::Key)
}

/// Makes the first key, if there is none, and signs and hashes what an earlier version left without.
pub(super) fn begin(connection: &mut Connection, secret: &[u8; 32], at: Moment) -> Result<(), StoreError> {
    const ANY: &str = "SELECT 1 FROM signing_key";
    if connection.prepare(ANY)?.exists([])? {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have been first.
    if !transaction.prepare(ANY)?.exists([])? {
        rotate(&transaction, secret, at)?;
        row_hash::keep_all(&transaction)?;
        let mut records = transaction.prepare("SELECT call, body FROM record WHERE call NOT IN (SELECT call FROM signature)")?;
        let records = records.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
        for (call, body) in records.collect::<rusqlite::Result<Vec<_>>>()? {
            match sign(&transaction, &call, &body) {
                Ok(()) => (),
                Err(Halt::Failed(error)) => return Err(error),
                Err(Halt::Refused(refusal)) => return Err(StoreError::Broken(format!("a signature was refused: {refusal:?}"))),
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

impl Store {
    /// The key that signs now.
    pub fn signing_key(&self) -> Result<SigningKey, StoreError> {
        let secret = self.one("SELECT secret FROM signing_key WHERE until_at IS NULL", [], |row| row.get::<_, [u8; 32]>(0))?;
        secret.map(|secret| SigningKey::new(&secret)).ok_or_else(|| StoreError::Broken("there is no key to sign with".to_owned()))
    }

    /// The keys that sign or signed records, oldest first.
    pub fn signing_keys(&self) -> Result<Vec<Published>, StoreError> {
        let sql = "SELECT public, from_at, until_at FROM signing_key ORDER BY from_at, until_at IS NULL, until_at, id";
        let key = |row: &Row<'_>| {
            let until_at = row.get::<_, Option<i64>>(2)?.map(Moment::from_unix_ms);
            Ok(Published { key: PublicKey::new(row.get(0)?), from_at: Some(moment(row, 1)?), until_at })
        };
        self.all(sql, [], key)
    }

    /// The record of a settled call of this vendor, with its signature.
    pub fn signed_record(&self, vendor: VendorId, id: CallId) -> Result<Option<SignedRecord>, StoreError> {
        let sql = "SELECT call.id, settled_at, body, public, value FROM call JOIN record ON record.call = call.id
                   JOIN signature ON signature.call = call.id JOIN signing_key ON signing_key.id = key WHERE call.id = ? AND vendor = ?";
        self.one(sql, [id.to_string(), vendor.to_string()], signed_record)
    }

    /// A vendor's records of calls settled from `from` on and before `to`, in the order of settling; those behind `after`, which
    /// is the last of the part before, and `limit` at most.
    pub fn signed_records(
        &self,
        vendor: VendorId,
        (from, to): (Moment, Moment),
        after: Option<(Moment, CallId)>,
        limit: u32,
    ) -> Result<Vec<SignedRecord>, StoreError> {
        let sql = "SELECT call.id, settled_at, body, public, value FROM call JOIN record ON record.call = call.id
                   JOIN signature ON signature.call = call.id JOIN signing_key ON signing_key.id = key
                   WHERE vendor = ?1 AND settled_at >= ?2 AND settled_at < ?3 AND (settled_at, call.id) > (?4, ?5)
                   ORDER BY settled_at, call.id LIMIT ?6";
        let (settled_at, call) = after.map_or((i64::MIN, String::new()), |(at, call)| (at.unix_ms(), call.to_string()));
        // The cursor narrows the range of the index too.
        let from = from.unix_ms().max(settled_at);
        self.all(sql, params![vendor.to_string(), from, to.unix_ms(), settled_at, call, limit], signed_record)
    }
}

fn signed_record(row: &Row<'_>) -> rusqlite::Result<SignedRecord> {
    Ok(SignedRecord {
        call: text(row, 0)?,
        settled_at: moment(row, 1)?,
        record: row.get(2)?,
        key: PublicKey::new(row.get(3)?),
        signature: Signature::new(row.get(4)?),
    })
}
