//! Recordings: what others may write and look up of them. Their sound lies in files, which this room never touches.
//!
//! Invariants: a row is written with the fact that both agreed, before the first sample; its key is gone from the moment it is being
//! deleted; it says deleted only when whoever looked found no file any more.

use super::apply::Halt;
use super::row_hash::{self, Table};
use super::rows::{moment, text};
use super::{Actor, Page, Refusal, Store, StoreError};
use crate::call::Side;
use crate::clock::Moment;
use crate::ids::{CallId, RecordingId, VendorId};
use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A data key, sealed by the key of the configuration: 12 bytes of nonce, 32 of key, 16 of tag. Shows nothing of itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct WrappedKey(pub [u8; 60]);

impl fmt::Debug for WrappedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WrappedKey(..)")
    }
}

/// The sound of one side in one part of a call, as it begins.
#[derive(Clone, Debug)]
pub struct NewRecording {
    pub id: RecordingId,
    pub call: CallId,
    /// From 1; each time that both agree anew.
    pub part: u32,
    pub side: Side,
    pub started_at: Moment,
    /// The retention date.
    pub delete_at: Moment,
    /// Names the key of the configuration.
    pub key_id: String,
    pub wrapped_key: WrappedKey,
}

/// A recording as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    pub id: RecordingId,
    pub call: CallId,
    pub part: u32,
    pub side: Side,
    pub started_at: Moment,
    pub delete_at: Moment,
    pub key_id: String,
    /// None from the moment it is being deleted.
    pub wrapped_key: Option<WrappedKey>,
    /// When it was stopped, and the word for why.
    pub ended: Option<(Moment, String)>,
    /// 16,000 a second; known once the file is whole.
    pub samples: Option<u64>,
    pub deleting_at: Option<Moment>,
    /// `retention`, or by which way the vendor came in.
    pub deleted_by: Option<String>,
    /// What keeps its file from being found or removed.
    pub fault: Option<String>,
    pub deleted_at: Option<Moment>,
}

/// Who has a recording deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleter {
    /// Its retention date has passed.
    Retention,
    /// Its vendor. Condition: it is hers and stopped, and whole or left open.
    Vendor(VendorId, Actor),
}

/// One change of a recording. Those without a condition do nothing where they come too late.
#[derive(Clone, Debug)]
pub enum RecordingWrite {
    /// It begins. Belongs into the transaction of the fact that says so.
    Begin(Box<NewRecording>),
    /// All sides of a part were stopped, by this word. Belongs into the transaction of the fact that says so.
    Stop { call: CallId, part: u32, at: Moment, why: &'static str },
    /// Its file is whole.
    Close { id: RecordingId, samples: u64 },
    /// Its key is destroyed, its file shall go. `is_left`: nobody writes it, so it goes even if it was left open and its length is not known.
    Delete { id: RecordingId, by: Deleter, at: Moment, is_left: bool },
    /// Its file is gone: somebody looked.
    Gone { id: RecordingId, at: Moment },
    /// Its file cannot be found or removed, or (none) can again.
    Fault { id: RecordingId, fault: Option<String> },
}

/// Recordings that somebody has to see to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Care {
    /// Stopped, and their files not known to be whole.
    Open,
    /// Past their retention date.
    Due,
    /// Being deleted.
    Deleting,
    /// All whose file should be there.
    Kept,
}

pub(super) fn apply(connection: &Connection, write: &RecordingWrite) -> Result<(), Halt> {
    match write {
        RecordingWrite::Begin(new) => {
            let mut insert = connection.prepare_cached(
                "INSERT INTO recording (id, call, part, side, started_at, delete_at, key_id, wrapped_key) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            )?;
            let WrappedKey(wrapped) = new.wrapped_key;
            let (id, call, side) = (new.id.to_string(), new.call.to_string(), new.side.name());
            insert.execute(params![id, call, new.part, side, new.started_at.unix_ms(), new.delete_at.unix_ms(), new.key_id, wrapped])?;
            row_hash::keep(connection, Table::Recording, &[&id])?;
        }
        RecordingWrite::Stop { call, part, at, why } => {
            let set = "ended_at = ?, why = ? WHERE call = ? AND part = ? AND ended_at IS NULL";
            change(connection, set, params![at.unix_ms(), why, call.to_string(), part])?;
        }
        RecordingWrite::Close { id, samples } => {
            change(connection, "samples = ? WHERE id = ? AND samples IS NULL", params![samples.cast_signed(), id.to_string()])?;
        }
        RecordingWrite::Delete { id, by, at, is_left } => {
            let (vendor, word) = match by {
                Deleter::Retention => (None, "retention"),
                Deleter::Vendor(vendor, actor) => (Some(vendor.to_string()), actor.name()),
            };
            let set = "deleting_at = max(?1, started_at), deleted_by = ?2, wrapped_key = NULL, samples = coalesce(samples, 0)
                 WHERE id = ?3 AND deleting_at IS NULL AND ended_at IS NOT NULL AND (samples IS NOT NULL OR ?5)
                 AND (?4 IS NULL OR (SELECT vendor FROM call WHERE call.id = recording.call) = ?4)";
            if change(connection, set, params![at.unix_ms(), word, id.to_string(), vendor, is_left])? == 0
                && let Some(vendor) = vendor
            {
                // Deleting it twice is deleting it once.
                let mut before = connection.prepare_cached(
                    "SELECT 1 FROM recording JOIN call ON call.id = call WHERE recording.id = ? AND vendor = ? AND deleting_at IS NOT NULL",
                )?;
                if !before.exists([id.to_string(), vendor])? {
                    return Err(Refusal::RecordingOpen.into());
                }
            }
        }
        RecordingWrite::Gone { id, at } => {
            let set = "deleted_at = max(?, deleting_at), fault = NULL WHERE id = ? AND deleting_at IS NOT NULL AND deleted_at IS NULL";
            change(connection, set, params![at.unix_ms(), id.to_string()])?;
        }
        RecordingWrite::Fault { id, fault } => {
            change(connection, "fault = ? WHERE id = ? AND deleted_at IS NULL", params![fault, id.to_string()])?;
        }
    }
    Ok(())
}

/// Changes rows, and hashes them anew. How many there were.
fn change(connection: &Connection, set: &str, values: &[&dyn ToSql]) -> rusqlite::Result<usize> {
    let mut update = connection.prepare_cached(&format!("UPDATE recording SET row_hash = NULL, {set} RETURNING id"))?;
    // Read to its end, or the rows would stay.
    let changed = update.query_map(values, |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
    changed.iter().try_for_each(|id| row_hash::keep(connection, Table::Recording, &[id]))?;
    Ok(changed.len())
}

const COLUMNS: &str = "recording.id, call, part, side, started_at, delete_at, key_id, wrapped_key, ended_at, why, samples, deleting_at,
    deleted_by, fault, deleted_at";

fn recording(row: &Row<'_>) -> rusqlite::Result<Recording> {
    let ended_at: Option<i64> = row.get(8)?;
    let why: Option<String> = row.get(9)?;
    let at = |index| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(index)?.map(Moment::from_unix_ms));
    Ok(Recording {
        id: text(row, 0)?,
        call: text(row, 1)?,
        part: row.get(2)?,
        side: text(row, 3)?,
        started_at: moment(row, 4)?,
        delete_at: moment(row, 5)?,
        key_id: row.get(6)?,
        wrapped_key: row.get::<_, Option<[u8; 60]>>(7)?.map(WrappedKey),
        ended: ended_at.map(Moment::from_unix_ms).zip(why),
        samples: row.get::<_, Option<i64>>(10)?.map(i64::cast_unsigned),
        deleting_at: at(11)?,
        deleted_by: row.get(12)?,
        fault: row.get(13)?,
        deleted_at: at(14)?,
    })
}

/// The rows of a call, in order of part and side.
pub(super) fn of_call(connection: &Connection, call: &str) -> rusqlite::Result<Vec<Recording>> {
    let mut select = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM recording WHERE call = ? ORDER BY part, side"))?;
    select.query_map([call], recording)?.collect()
}

/// A recording that is deleted without an event of it, though it was deleted since there are such events.
pub(super) fn untold(connection: &Connection, id: &str) -> rusqlite::Result<Option<Recording>> {
    let mut select = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM recording WHERE id = ?1 AND deleted_at IS NOT NULL
         AND NOT EXISTS (SELECT 1 FROM event WHERE event.recording = ?1)
         AND NOT EXISTS (SELECT 1 FROM before_recording_events AS before WHERE before.recording = ?1)"
    ))?;
    select.query_one([id], recording).optional()
}

/// The events of a call's deleted recordings, for the audit.
pub(super) struct Told {
    /// By recording: id, word and body.
    pub(super) events: BTreeMap<String, [String; 3]>,
    /// Recordings that were deleted before there were such events.
    pub(super) before: BTreeSet<String>,
}

/// See [`Told`].
pub(super) fn told(connection: &Connection, call: &str) -> rusqlite::Result<Told> {
    let mut events = connection.prepare_cached(
        "SELECT event.recording, event.id, word, body FROM event JOIN recording ON recording.id = event.recording WHERE recording.call = ?",
    )?;
    let row = |row: &Row<'_>| Ok((row.get(0)?, [row.get(1)?, row.get(2)?, row.get(3)?]));
    let events = events.query_map([call], row)?.collect::<rusqlite::Result<_>>()?;
    let mut before = connection.prepare_cached(
        "SELECT recording FROM before_recording_events AS before JOIN recording ON recording.id = before.recording WHERE call = ?",
    )?;
    let before = before.query_map([call], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    Ok(Told { events, before })
}

impl Store {
    /// The recordings of a call of this vendor, in order of part and side; none if she has no such call.
    pub fn recordings(&self, vendor: VendorId, call: CallId) -> Result<Option<Vec<Recording>>, StoreError> {
        let reader = self.0.readers.take()?;
        let mut theirs = reader.prepare_cached("SELECT 1 FROM call WHERE id = ? AND vendor = ?")?;
        if !theirs.exists([call.to_string(), vendor.to_string()])? {
            return Ok(None);
        }
        Ok(Some(of_call(&reader, &call.to_string())?))
    }

    /// A recording of this vendor.
    pub fn recording(&self, vendor: VendorId, id: RecordingId) -> Result<Option<Recording>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM recording JOIN call ON call.id = call WHERE recording.id = ? AND vendor = ?");
        self.one(&sql, [id.to_string(), vendor.to_string()], recording)
    }

    /// Recordings of any vendor that somebody has to see to at `now`, in order of their ids.
    pub fn recordings_to_see_to(&self, care: Care, now: Moment, page: Page<RecordingId>) -> Result<Vec<Recording>, StoreError> {
        let which = match care {
            Care::Open => "samples IS NULL AND ended_at IS NOT NULL",
            Care::Due => "delete_at <= ?1 AND deleting_at IS NULL AND ended_at IS NOT NULL AND samples IS NOT NULL",
            Care::Deleting => "deleting_at IS NOT NULL AND deleted_at IS NULL",
            Care::Kept => "samples > 0 AND deleting_at IS NULL",
        };
        let after = page.after.map_or_else(String::new, |id| id.to_string());
        let sql = format!("SELECT {COLUMNS} FROM recording WHERE {which} AND id > ?2 AND ?1 IS NOT NULL ORDER BY id LIMIT ?3");
        self.all(&sql, params![now.unix_ms(), after, page.limit], recording)
    }

    /// Whether there is a recording of this name that is not deleted.
    pub fn has_recording(&self, id: RecordingId) -> Result<bool, StoreError> {
        Ok(self.one("SELECT 1 FROM recording WHERE id = ? AND deleted_at IS NULL", [id.to_string()], |_| Ok(()))?.is_some())
    }

    /// Whether anything is recorded here that is not deleted.
    pub fn has_recordings(&self) -> Result<bool, StoreError> {
        Ok(self.one("SELECT 1 FROM recording WHERE deleted_at IS NULL LIMIT 1", [], |_| Ok(()))?.is_some())
    }

    /// Keys of the configuration that are needed to open what is kept.
    pub fn recording_keys(&self) -> Result<Vec<String>, StoreError> {
        self.all("SELECT DISTINCT key_id FROM recording WHERE wrapped_key IS NOT NULL ORDER BY key_id", [], |row| row.get(0))
    }
}
