//! The journal of a call: facts in order, chained by hash.
//!
//! Invariants: numbers run from 1 without a gap, the first fact is `Created` and the last of a final call `Settled`; each
//! row's hash covers the one before it, and the call's row keeps where the journal ends, so that no row can be changed,
//! taken out or cut off at the end unseen.

use super::apply::Halt;
use super::{StoreError, fact_row, rows};
use crate::call::{Entry, Fact, Journal, Terms};
use crate::clock::Moment;
use crate::ids::CallId;
use rusqlite::{Connection, OptionalExtension, params};
use sha2::{Digest, Sha256};

/// A hash of the chain.
pub(super) type Hash = [u8; 32];

/// What the first row's hash covers in place of the one before it.
pub(super) const START: Hash = [0; 32];

/// A row as it lies in the table.
pub(super) struct Row {
    pub(super) seq: u64,
    pub(super) at: Moment,
    pub(super) version: u32,
    pub(super) fact: String,
    pub(super) hash: Hash,
}

impl Row {
    /// SHA-256 over the hash before, the call's id (37 bytes), seq, at and version (big-endian, 8, 8 and 4 bytes) and the fact's text.
    pub(super) fn expected_hash(&self, call: CallId, before: &Hash) -> Hash {
        let mut sha = Sha256::new();
        sha.update(before);
        sha.update(call.to_string());
        sha.update(self.seq.to_be_bytes());
        sha.update(self.at.unix_ms().to_be_bytes());
        sha.update(self.version.to_be_bytes());
        sha.update(&self.fact);
        sha.finalize().into()
    }

    pub(super) fn entry(&self) -> Result<Entry, StoreError> {
        let fact = fact_row::decode(self.version, &self.fact).map_err(|error| StoreError::Broken(error.to_string()))?;
        Ok(Entry { seq: self.seq, at: self.at, fact })
    }
}

/// Continues a call's journal. `Created`, which comes first and only then, makes the call's row.
pub(super) fn append(connection: &Connection, call: CallId, entries: &[Entry]) -> Result<(), Halt> {
    let end = end(connection, call)?;
    let mut settled = end.as_ref().is_some_and(|end| end.settled);
    let (mut seq, mut head) = end.map_or((0, START), |end| (end.seq, end.hash));
    // The call's row comes before the journal's, which refer to it.
    if let (0, Some(Entry { at, fact: Fact::Created { terms, .. }, .. })) = (seq, entries.first()) {
        make_call(connection, call, terms, *at)?;
    }
    let mut insert = connection.prepare_cached("INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?)")?;
    for entry in entries {
        if settled {
            return Err(Halt::broken(format!("fact {} of {call}, which is settled", entry.seq)));
        }
        if entry.seq != seq + 1 {
            return Err(Halt::broken(format!("fact {} of {call} follows fact {seq}", entry.seq)));
        }
        if matches!(entry.fact, Fact::Created { .. }) != (entry.seq == 1) {
            return Err(Halt::broken(format!("fact {} of {call}: the first fact, and no other, is that the call exists", entry.seq)));
        }
        let fact = fact_row::encode(&entry.fact).map_err(|error| Halt::broken(error.to_string()))?;
        let mut row = Row { seq: entry.seq, at: entry.at, version: fact_row::VERSION, fact, hash: head };
        row.hash = row.expected_hash(call, &head);
        insert.execute(params![call.to_string(), row.seq.cast_signed(), row.at.unix_ms(), row.version, row.fact, row.hash])?;
        (seq, head) = (row.seq, row.hash);
        settled = matches!(entry.fact, Fact::Settled { .. });
    }
    let mut advance = connection.prepare_cached("UPDATE call SET seq = ?, head = ? WHERE id = ?")?;
    advance.execute(params![seq.cast_signed(), head, call.to_string()])?;
    Ok(())
}

/// Where a call's journal ends.
struct End {
    seq: u64,
    hash: Hash,
    settled: bool,
}

fn end(connection: &Connection, call: CallId) -> rusqlite::Result<Option<End>> {
    let mut select = connection.prepare_cached("SELECT seq, head, settled_at IS NOT NULL FROM call WHERE id = ?")?;
    let end = |row: &rusqlite::Row<'_>| Ok(End { seq: row.get::<_, i64>(0)?.cast_unsigned(), hash: row.get(1)?, settled: row.get(2)? });
    select.query_one([call.to_string()], end).optional()
}

fn make_call(connection: &Connection, call: CallId, terms: &Terms, at: Moment) -> Result<(), Halt> {
    let (vendor, companion) = (terms.vendor.to_string(), terms.companion.to_string());
    let mut theirs = connection.prepare_cached("SELECT 1 FROM companion WHERE id = ? AND vendor = ?")?;
    if !theirs.exists([&companion, &vendor])? {
        return Err(Halt::broken(format!("{call} asks for {companion}, who does not work for {vendor}")));
    }
    let mut insert = connection.prepare_cached("INSERT INTO call VALUES (?, ?, ?, ?, ?, ?, NULL, 0, ?)")?;
    let medium = rows::medium_word(terms.medium);
    insert.execute(params![call.to_string(), vendor, terms.client.as_str(), companion, medium, at.unix_ms(), START])?;
    Ok(())
}

/// The rows of a call's journal in order; none for an unknown call.
pub(super) fn rows_of(connection: &Connection, call: CallId) -> rusqlite::Result<Vec<Row>> {
    let mut select = connection.prepare_cached("SELECT seq, at, version, fact, hash FROM journal WHERE call = ? ORDER BY seq")?;
    select.query_map([call.to_string()], row_of)?.collect()
}

fn row_of(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    let seq = row.get::<_, i64>(0)?.cast_unsigned();
    Ok(Row { seq, at: rows::moment(row, 1)?, version: row.get(2)?, fact: row.get(3)?, hash: row.get(4)? })
}

/// The journal of a call, or that it is broken: a chain that does not hold together is nobody's to work with. None for an unknown call.
pub(super) fn read(connection: &Connection, call: CallId) -> Result<Option<Journal>, StoreError> {
    // In one statement, so that it is of one moment.
    let mut select = connection.prepare_cached(
        "SELECT journal.seq, journal.at, version, fact, hash, call.seq, head FROM call LEFT JOIN journal ON journal.call = call.id
         WHERE call.id = ? ORDER BY journal.seq",
    )?;
    let mut rows = select.query([call.to_string()])?;
    let broken = |why: String| StoreError::Broken(format!("the journal of {call}: {why}"));
    let (mut entries, mut head, mut end) = (Vec::new(), START, None);
    while let Some(row) = rows.next()? {
        end = Some((row.get::<_, i64>(5)?.cast_unsigned(), row.get::<_, Hash>(6)?));
        if row.get::<_, Option<i64>>(0)?.is_none() {
            break;
        }
        let row = row_of(row)?;
        let seq = entries.len() as u64 + 1;
        if row.seq != seq || row.hash != row.expected_hash(call, &head) {
            return Err(broken(format!("fact {seq} is missing or was changed")));
        }
        head = row.hash;
        entries.push(row.entry().map_err(|error| broken(error.to_string()))?);
    }
    match end {
        None => Ok(None),
        Some(end) if entries.is_empty() || end != (entries.len() as u64, head) => {
            Err(broken(format!("it should end with fact {} and ends with fact {}", end.0, entries.len())))
        }
        Some(_) => Ok(Some(Journal { call, entries })),
    }
}
