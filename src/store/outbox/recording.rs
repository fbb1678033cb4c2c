//! The events of recordings that are deleted, each written in the transaction in which its row says that the file is gone.
//!
//! Invariant: each deleted recording has one, except those from before there were such events. The audit makes them again from the rows.

use super::{Halt, Of, insert, offer, terms_of};
use crate::exchange::{Announcement, Deletion, deletion_announcement};
use crate::store::Write;
use crate::store::recordings::{self, Recording, RecordingWrite};
use rusqlite::Connection;

/// Writes the event of a write, if a recording is gone by it; the row says so already.
pub(super) fn append(connection: &Connection, write: &Write) -> Result<(), Halt> {
    let Write::Recording(RecordingWrite::Gone { id, .. }) = write else { return Ok(()) };
    let Some(row) = recordings::untold(connection, &id.to_string())? else { return Ok(()) };
    let terms = terms_of(connection, row.call)?;
    let Some(event) = of_row(&row, |row| deletion_announcement(&terms, row)) else { return Ok(()) };
    let number = insert(connection, terms.vendor, Of::Recording { recording: &id.to_string() }, &event)?;
    // Each by itself: no other waits for it.
    offer(connection, terms.vendor, number, &event.id.to_string(), event.word, event.at)
}

/// The event of a row, made by `announce`; none if it is not deleted.
pub(in crate::store) fn of_row(row: &Recording, announce: impl Fn(&Deletion) -> Announcement) -> Option<Announcement> {
    let (at, by) = row.deleted_at.zip(row.deleted_by.clone())?;
    let deletion = Deletion { recording: row.id, call: row.call, part: row.part, side: row.side, started_at: row.started_at, by, at };
    Some(announce(&deletion))
}
