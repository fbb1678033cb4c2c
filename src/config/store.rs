//! `[store]`: where lull keeps what must not be lost.

use super::reader::Reader;
use crate::clock::Span;
use std::path::PathBuf;

/// The database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// `store.db`: `sqlite:` and a file. Default `sqlite:lull.db`, in the working directory. The file and those beside it (`-wal`,
    /// `-shm`) belong on a local disk that keeps what it acknowledged; on a network file system SQLite's locks do not hold. Another file is
    /// another world: its vendors, keys and calls are its own.
    pub db: PathBuf,
    /// `store.lease_s`: a call of which nothing could be written for so long (a full or failing disk) ends as of what is on disk. Default 60;
    /// heartbeats come every 5 s. Too small, and a slow minute of the disk ends calls; too large, and time is given that is never charged.
    pub lease: Span,
}

impl Store {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let db = reader.text(
            "store.db",
            PathBuf::from("lull.db"),
            "sqlite:PATH, such as sqlite:/var/lib/lull/lull.db",
            |text| text.strip_prefix("sqlite:").filter(|path| !path.is_empty() && !path.starts_with(':')).map(PathBuf::from),
            |path| format!("sqlite:{}", path.display()),
        );
        let lease = Span::from_s(reader.whole("store.lease_s", 60, 15..=3600));
        Self { db, lease }
    }
}
