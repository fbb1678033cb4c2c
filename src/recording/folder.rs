//! The folder of the files: `rec_….lull`, each readable by its owner alone.

use crate::ids::RecordingId;
use nix::sys::statvfs::statvfs;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What the name of a file ends with.
const ENDING: &str = ".lull";

/// Where recordings lie.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    keep_free: u64,
}

impl Folder {
    /// Makes it (mode 0700) if it is missing, and tries that files can be made in it. `keep_free`: octets of its disk that are not ours.
    pub fn open(path: PathBuf, keep_free: u64) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        let folder = Self { path, keep_free };
        let trial = folder.path.join(".trial");
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&trial)?;
        fs::remove_file(&trial)?;
        Ok(folder)
    }

    fn file(&self, id: RecordingId) -> PathBuf {
        self.path.join(format!("{id}{ENDING}"))
    }

    /// A new file.
    pub(super) fn create(&self, id: RecordingId) -> io::Result<File> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.file(id))?;
        // Its name is on disk before anybody relies on it.
        self.sync()?;
        Ok(file)
    }

    /// A file to read from.
    pub(super) fn read(&self, id: RecordingId) -> io::Result<File> {
        File::open(self.file(id))
    }

    /// Whether the file is there.
    pub(super) fn has(&self, id: RecordingId) -> io::Result<bool> {
        fs::exists(self.file(id))
    }

    /// Removes a file, which may be gone already, for certain: its name is gone on disk, and somebody looked.
    pub(super) fn remove(&self, id: RecordingId) -> io::Result<()> {
        let path = self.file(id);
        match fs::remove_file(&path) {
            Ok(()) => self.sync()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Err(io::Error::other("it was removed and is still there")),
        }
    }

    /// Whether there is less room on the disk than shall be left.
    pub(super) fn is_short(&self) -> bool {
        // A disk that does not say is found full when it is.
        statvfs(&self.path).is_ok_and(|disk| disk.blocks_available().saturating_mul(disk.fragment_size()) < self.keep_free)
    }

    /// The recordings whose files are here.
    pub(super) fn list(&self) -> io::Result<Vec<RecordingId>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            let id: Option<RecordingId> = name.to_str().and_then(|name| name.strip_suffix(ENDING)).and_then(|id| id.parse().ok());
            found.extend(id);
        }
        found.sort_unstable();
        Ok(found)
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
