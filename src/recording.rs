//! The sound of one party, encrypted, on disk: written as it comes, given back as WAV, deleted for certain.
//!
//! A recording is one side of one part of a call: 16,000 samples a second of 16 bits, one channel. Samples come from the workers
//! that decode them, who never wait for the disk: a thread of this room seals and writes. It decides nothing of consent, it writes
//! what it is told to. Invariants: nothing lies on disk in clear; what opens a file is its data key, which lies in the database alone
//! and there wrapped by a key of the configuration; a recording that is deleted has neither key nor file, and somebody looked.
//!
//! | file | |
//! |---|---|
//! | `key` | the keys of the configuration and what they wrap |
//! | `file` | the form of a file: a head and sealed seconds |
//! | `writer` | the thread that writes, and what the workers hold |
//! | `wav` | a file read back as WAV |
//! | `folder` | files by their names |
//! | `keeper` | retention, deletion, what a crash left, what is missing |

mod file;
mod folder;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod keeper;
mod key;
#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a clock to count from")]
mod tests;
mod wav;
mod writer;

pub use folder::Folder;
pub use keeper::{Compared, Keeper, Swept};
pub use key::{KeyError, Keys, MasterKey, parse_key};
pub use wav::Wav;
pub use writer::{Ended, Writer};

use crate::call::{RecordingEnd, Side};
use crate::clock::{Clock, Moment};
use crate::ids::{CallId, RecordingId};
use crate::store::{Recording, Store, StoreError, WrappedKey};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::thread::JoinHandle;
use writer::{Desk, Job, Scribe};

/// Samples a second.
pub const RATE: u32 = 16_000;

/// Where recordings lie and what seals them.
#[derive(Debug)]
pub struct Settings {
    /// Their folder; made (mode 0700) if it is missing.
    pub folder: PathBuf,
    /// What wraps the data keys. Without them nothing is recorded or read; what is kept is still deleted on its date.
    pub keys: Keys,
    /// With fewer octets free on the folder's disk no recording goes on: the database may lie on the same one.
    pub keep_free: u64,
}

/// Why recordings cannot be kept here.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The folder cannot be made or written to.
    #[error("cannot use recording.folder {}: {why}", .folder.display())]
    Folder {
        /// Which.
        folder: PathBuf,
        /// What the system said.
        why: io::Error,
    },
    /// The machine has no more threads.
    #[error("cannot start the threads of recordings: {0}")]
    Thread(io::Error),
}

/// Why a recording cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is deleted, or is being deleted.
    #[error("it is deleted")]
    Deleted,
    /// It is still being made.
    #[error("it is still being made")]
    Open,
    /// A key sealed it that the configuration does not have.
    #[error(
        "it was sealed with the key {sealed}, and the configuration has: {configured}; name the file of that key in recording.old_key_files"
    )]
    OtherKey {
        /// The key that is needed.
        sealed: String,
        /// The names of those that are there.
        configured: String,
    },
    /// The key does not open it: the row or the file was changed.
    #[error("its key or its file was changed")]
    Changed,
    /// The file is gone or cannot be read.
    #[error("its file cannot be read: {0}")]
    File(#[from] io::Error),
}

/// What becomes of recordings by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// One side of a part cannot go on; what was written before is kept.
    Failed {
        /// Whose call.
        call: CallId,
        /// Of which part.
        part: u32,
        /// Which side's file.
        side: Side,
        /// Why.
        why: RecordingEnd,
    },
}

/// What a recording is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Track {
    /// The call.
    pub call: CallId,
    /// Its part.
    pub part: u32,
    /// The party.
    pub side: Side,
}

/// The handle to all of it. Clones speak to the same threads; nothing here but [`Recorder::read`] and [`Recorder::stop`] waits for the disk.
#[derive(Clone)]
pub struct Recorder(Arc<Inner>);

struct Inner {
    keys: Arc<Keys>,
    folder: Folder,
    desk: Arc<Desk>,
    keeper: Arc<Keeper>,
    reports: Arc<OnceLock<Reporter>>,
    knocks: mpsc::SyncSender<keeper::Knock>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// Who hears the reports.
type Reporter = Box<dyn Fn(Report) + Send + Sync>;

impl Recorder {
    /// Makes the folder and starts the threads.
    pub fn start(settings: Settings, store: Store, clock: Clock) -> Result<Self, StartError> {
        let Settings { folder, keys, keep_free } = settings;
        let folder = Folder::open(folder.clone(), keep_free).map_err(|why| StartError::Folder { folder, why })?;
        match store.recording_keys() {
            Ok(needed) => {
                for other in needed.iter().filter(|id| keys.named(id).is_none()) {
                    tracing::error!("recordings are kept that only the key {other} opens; the configuration has: {}", keys.names());
                }
            }
            Err(error) => tracing::error!(%error, "it cannot be seen which keys recordings need: {error}"),
        }
        let keys = Arc::new(keys);
        let reports: Arc<OnceLock<Reporter>> = Arc::default();
        let (desk, jobs) = Desk::new();
        let desk = Arc::new(desk);
        let scribe = Scribe::new(Arc::clone(&desk), jobs, folder.clone(), store.clone(), clock, Arc::clone(&reports));
        let writing = std::thread::Builder::new().name("recording".to_owned()).spawn(move || scribe.run()).map_err(StartError::Thread)?;
        // One that waits is enough: the look it asks for begins after all that was asked by then.
        let (knocks, door) = mpsc::sync_channel(1);
        let keeper = Arc::new(Keeper::new(store, folder.clone(), Arc::clone(&keys), Some(Arc::clone(&desk))));
        let looking = Arc::clone(&keeper);
        let body = move || keeper::run(&looking, &door, clock);
        let keeping = match std::thread::Builder::new().name("retention".to_owned()).spawn(body) {
            Ok(keeping) => keeping,
            Err(error) => {
                desk.send(Job::Leave);
                drop(writing.join());
                return Err(StartError::Thread(error));
            }
        };
        Ok(Self(Arc::new(Inner { keys, folder, desk, keeper, reports, knocks, threads: Mutex::new(vec![writing, keeping]) })))
    }

    /// Lets `hear` be called with what becomes of recordings by itself, on the writing thread: it must not wait. The first to ask is heard.
    pub fn on_report(&self, hear: impl Fn(Report) + Send + Sync + 'static) {
        // A second listener would be a mistake of the one who starts the service twice.
        let _ = self.0.reports.set(Box::new(hear));
    }

    /// Whether there is a key to record with.
    pub fn can_record(&self) -> bool {
        self.0.keys.current.is_some()
    }

    /// A fresh data key for a recording, as its row keeps it, and the name of the key that wraps it; none without a key to record with.
    pub fn new_key(&self, id: RecordingId) -> Option<(String, WrappedKey)> {
        let key = self.0.keys.current.as_ref()?;
        Some((key.id().to_owned(), key.wrap(id, &key::DataKey::fresh())))
    }

    /// Begins a file, whose row must be on disk, and gives what its samples are written to. `started` is where its first sample belongs.
    ///
    /// # Errors
    /// The key was not wrapped by the one in use.
    pub fn begin(&self, id: RecordingId, track: Track, wrapped: &WrappedKey, started: Moment) -> Result<Writer, ReadError> {
        let key = self.0.keys.current.as_ref().and_then(|key| key.unwrap(id, wrapped)).ok_or(ReadError::Changed)?;
        Ok(self.0.desk.begin(id, track, key, started))
    }

    /// The sound of a recording, from its row. Waits for the disk.
    pub fn read(&self, row: &Recording) -> Result<Wav, ReadError> {
        wav::open(row, &self.0.folder, &self.0.keys)
    }

    /// Deletes a recording whose row says that it shall be: removes its file, looks, and says so in the row. Waits for the disk.
    ///
    /// # Errors
    /// The store fails or is full. A file that cannot be removed is no error: it stands in the row and is tried again.
    pub fn delete(&self, row: &Recording, now: Moment) -> Result<(), StoreError> {
        self.0.keeper.remove(row, now).map(|_| ())
    }

    /// Whether samples of this recording may still come, or its end is not noted yet.
    pub fn is_writing(&self, id: RecordingId) -> bool {
        self.0.desk.is_live(id)
    }

    /// Something shall be deleted, or was left open: the keeper looks now instead of within a minute.
    pub fn look(&self) {
        // Full, it will look; gone, it was stopped.
        let _ = self.0.knocks.try_send(keeper::Knock::Look);
    }

    /// Closes all files that are open and ends the threads. To be called before the store is closed.
    pub fn stop(&self) {
        self.0.desk.send(Job::Leave);
        // Waits for a look under way; gone, it was stopped before.
        let _ = self.0.knocks.send(keeper::Knock::Leave);
        let threads = std::mem::take(&mut *self.0.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of recordings panicked");
            }
        }
    }
}
