//! Retention and deletion, what a crash left open, and files and rows that have lost each other.
//!
//! Deleting is three steps, each of which may be the last before a crash: the row's key is destroyed, the file is removed, and when
//! somebody has looked that it is gone the row says so. What fails is tried again at every look and stands in the row until then.
//! It never removes a file that has no row: it cannot know whose it is, and nothing opens it.

use super::folder::Folder;
use super::key::Keys;
use super::writer::Desk;
use super::{ReadError, file, wav};
use crate::clock::{Clock, Moment, Span};
use crate::ids::RecordingId;
use crate::store::{Care, Deleter, Page, Recording, RecordingWrite, Store, StoreError, Transaction, Write};
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};

/// Between two looks.
const LOOK_EVERY: Span = Span::from_s(60);

/// Between two comparisons of all files with all rows.
const COMPARE_EVERY: Span = Span::from_s(3600);

/// Rows read at once.
const PAGE: u32 = 200;

/// What the thread is told.
pub(super) enum Knock {
    Look,
    Leave,
}

/// What a look came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Recordings whose end is now known.
    pub closed: u32,
    /// Recordings that are gone, file and key.
    pub deleted: u32,
    /// Recordings whose file could not be removed.
    pub failed: u32,
}

/// What a comparison came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Rows whose file is missing.
    pub missing: Vec<RecordingId>,
    /// Files that no row has, or whose row says that they are gone.
    pub strays: Vec<RecordingId>,
}

/// Sees to recordings that are made.
pub struct Keeper {
    store: Store,
    folder: Folder,
    keys: Arc<Keys>,
    /// Who writes at present.
    desk: Option<Arc<Desk>>,
}

/// Looks every minute, and when somebody knocks.
pub(super) fn run(keeper: &Keeper, door: &Receiver<Knock>, clock: Clock) {
    let mut compare_at = clock.now();
    loop {
        let now = clock.now();
        if let Err(error) = keeper.sweep(now) {
            tracing::warn!(%error, "recordings could not be seen to: {error}");
        }
        if now >= compare_at {
            compare_at = now + COMPARE_EVERY;
            if let Err(why) = keeper.compare(now) {
                tracing::warn!("recordings could not be compared with their files: {why}");
            }
        }
        match door.recv_timeout(LOOK_EVERY.into()) {
            Ok(Knock::Look) | Err(RecvTimeoutError::Timeout) => {}
            Ok(Knock::Leave) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

impl Keeper {
    /// One for these files; `desk` is who writes at present.
    pub(super) fn new(store: Store, folder: Folder, keys: Arc<Keys>, desk: Option<Arc<Desk>>) -> Self {
        Self { store, folder, keys, desk }
    }

    /// One look: closes what was left open, deletes what is due at `now` and what shall be deleted.
    ///
    /// # Errors
    /// The store fails or is full; what was not done is done at the next look.
    pub fn sweep(&self, now: Moment) -> Result<Swept, StoreError> {
        let mut swept = Swept::default();
        self.each(Care::Open, now, |row| {
            let is_left = self.desk.as_ref().is_none_or(|desk| !desk.is_live(row.id));
            swept.closed += u32::from(is_left && self.close(row, now)?);
            Ok(())
        })?;
        self.each(Care::Due, now, |row| {
            self.note([RecordingWrite::Delete { id: row.id, by: Deleter::Retention, at: now, is_left: false }])
        })?;
        self.each(Care::Deleting, now, |row| {
            let is_gone = self.remove(row, now)?;
            swept.deleted += u32::from(is_gone);
            swept.failed += u32::from(!is_gone);
            Ok(())
        })?;
        metrics::gauge!("lull_recording_deletions_failing").set(f64::from(swept.failed));
        Ok(swept)
    }

    /// Removes the file of a recording whose key is destroyed, looks, and says so in its row; whether it is gone.
    pub(super) fn remove(&self, row: &Recording, now: Moment) -> Result<bool, StoreError> {
        match self.folder.remove(row.id) {
            Ok(()) => {
                self.note([RecordingWrite::Gone { id: row.id, at: now }])?;
                metrics::counter!("lull_recordings_deleted_total").increment(1);
                tracing::info!(call.id = %row.call, "the recording {} is deleted, its file and its key", row.id);
                Ok(true)
            }
            Err(error) => {
                tracing::error!(call.id = %row.call, "the recording {} cannot be deleted, its key is gone: {error}", row.id);
                self.fault(row, Some(format!("the file cannot be removed: {error}")))?;
                Ok(false)
            }
        }
    }

    /// Compares all rows with all files. What is missing stands in its row afterwards; what is there again does not any more.
    ///
    /// # Errors
    /// The store fails, or the folder cannot be read.
    pub fn compare(&self, now: Moment) -> Result<Compared, String> {
        let mut compared = Compared::default();
        // Files first: one that is made meanwhile has its row already.
        let files = self.folder.list().map_err(|error| error.to_string())?;
        self.each(Care::Kept, now, |row| {
            let is_missing = self.folder.has(row.id).is_ok_and(|has| !has);
            if is_missing {
                compared.missing.push(row.id);
                tracing::error!(call.id = %row.call, "the file of the recording {} is missing", row.id);
            }
            self.fault(row, is_missing.then(|| "the file is missing".to_owned()))
        })
        .map_err(|error| error.to_string())?;
        for id in files {
            let known = self.store.has_recording(id).map_err(|error| error.to_string())?;
            if !known {
                tracing::error!("the file of {id} in {} belongs to no recording known here", self.folder.path().display());
                compared.strays.push(id);
            }
        }
        metrics::gauge!("lull_recording_files_missing").set(compared.missing.len() as f64);
        metrics::gauge!("lull_recording_files_stray").set(compared.strays.len() as f64);
        Ok(compared)
    }

    /// Finds out what can be read of a recording that nobody closed; whether that is now known.
    fn close(&self, row: &Recording, now: Moment) -> Result<bool, StoreError> {
        let samples = match self.readable(row) {
            Ok(samples) => samples,
            // It was stopped before it had a file.
            Err(ReadError::File(error)) if error.kind() == ErrorKind::NotFound => 0,
            Err(why) => {
                tracing::error!(call.id = %row.call, "the recording {} was left open and cannot be read: {why}", row.id);
                self.fault(row, Some(why.to_string()))?;
                if row.delete_at > now {
                    return Ok(false);
                }
                // It goes all the same.
                0
            }
        };
        self.note([RecordingWrite::Close { id: row.id, samples }])?;
        tracing::info!(call.id = %row.call, "the recording {} was left open; {} s of it can be read", row.id, samples / u64::from(super::RATE));
        Ok(true)
    }

    fn readable(&self, row: &Recording) -> Result<u64, ReadError> {
        let wrapped = row.wrapped_key.ok_or(ReadError::Deleted)?;
        let key = wav::data_key(row, &wrapped, &self.keys)?;
        Ok(file::Opener::open(self.folder.read(row.id)?, row.id, &key)?.readable()?)
    }

    /// Each of them, a page at a time. One of a call whose journal is damaged holds up none of the others.
    fn each(&self, care: Care, now: Moment, mut see_to: impl FnMut(&Recording) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let rows = self.store.recordings_to_see_to(care, now, Page { after, limit: PAGE })?;
            for row in &rows {
                match see_to(row) {
                    Err(StoreError::Broken(why)) => {
                        tracing::error!(call.id = %row.call, "the recording {} cannot be seen to: {why}", row.id)
                    }
                    done => done?,
                }
            }
            match rows.last() {
                Some(last) if rows.len() == PAGE as usize => after = Some(last.id),
                Some(_) | None => return Ok(()),
            }
        }
    }

    fn fault(&self, row: &Recording, fault: Option<String>) -> Result<(), StoreError> {
        if row.fault == fault { Ok(()) } else { self.note([RecordingWrite::Fault { id: row.id, fault }]) }
    }

    fn note(&self, writes: impl IntoIterator<Item = RecordingWrite>) -> Result<(), StoreError> {
        let writes = writes.into_iter().map(Write::Recording).collect();
        self.store.commit(Transaction { idempotency: None, writes }).map(|_| ())
    }
}
