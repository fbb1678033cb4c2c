//! The event of a recording that is deleted: a function of its row and its call's terms, so that it can be made again. It belongs to no
//! moment of the call's life (a part may go while the call goes on), so it has no number in it.

use super::{Announcement, body, id_of, whose};
use crate::call::{Side, Terms};
use crate::clock::Moment;
use crate::ids::{CallId, RecordingId};
use serde_json::Map;

/// A recording whose key is destroyed and whose file is gone: somebody looked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// Which.
    pub recording: RecordingId,
    /// Of which call.
    pub call: CallId,
    /// Of which of its parts, from 1.
    pub part: u32,
    /// Whose sound it was.
    pub side: Side,
    /// When that began.
    pub started_at: Moment,
    /// `retention`, or by which way the vendor came in.
    pub by: String,
    /// When it was found to be gone.
    pub at: Moment,
}

/// The event of a deleted recording.
pub fn deletion_announcement(terms: &Terms, of: &Deletion) -> Announcement {
    let word = "recording.deleted";
    let mut data = Map::new();
    whose(&mut data, of.call, terms);
    data.insert("recording_id".to_owned(), of.recording.to_string().into());
    data.insert("part".to_owned(), of.part.into());
    data.insert("party".to_owned(), of.side.name().into());
    data.insert("started_at".to_owned(), of.started_at.to_string().into());
    data.insert("deleted_by".to_owned(), of.by.as_str().into());
    Announcement { id: id_of(&of.recording.to_string(), 0, of.at), word, at: of.at, body: body(word, of.at, data) }
}
