//! Room set aside on the disk: when the disk is full it is given up, so that what must still be written fits.
//!
//! Invariant: while it is spent no new money command is taken, so the room serves running calls alone.

use nix::fcntl::posix_fallocate;
use nix::libc::off_t;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Enough to end and settle a thousand calls: some kilobytes each, twice, since a log comes before the database.
const BYTES: u64 = 8 << 20;

/// A file beside the database.
pub(super) struct Ballast {
    path: PathBuf,
    is_there: bool,
}

impl Ballast {
    /// `PATH.ballast`, made if it is missing and there is room.
    pub(super) fn beside(database: &Path) -> Self {
        let mut name = database.as_os_str().to_owned();
        name.push(".ballast");
        let path = PathBuf::from(name);
        let is_there = fs::metadata(&path).is_ok_and(|file| file.len() == BYTES);
        let mut ballast = Self { path, is_there };
        ballast.restore();
        ballast
    }

    /// It was given up, or could not be made.
    pub(super) fn is_spent(&self) -> bool {
        !self.is_there
    }

    /// Gives it up; says whether that made room.
    pub(super) fn spend(&mut self) -> bool {
        std::mem::take(&mut self.is_there) && fs::remove_file(&self.path).is_ok()
    }

    /// Makes it again if there is room for it and as much beside it; says whether it is there.
    pub(super) fn restore(&mut self) -> bool {
        if !self.is_there {
            self.is_there = self.make().is_ok();
            if !self.is_there {
                // Half of it would only be in the way; that it does not go away is no worse than before.
                let _ = fs::remove_file(&self.path);
            }
        }
        self.is_there
    }

    fn make(&self) -> std::io::Result<()> {
        let file: File = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&self.path)?;
        posix_fallocate(&file, 0, (BYTES * 2).cast_signed() as off_t)?;
        file.set_len(BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_given_up_once_and_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("lull.db");
        let file = folder.path().join("lull.db.ballast");
        let mut ballast = Ballast::beside(&database);
        assert!(!ballast.is_spent());
        assert_eq!(fs::metadata(&file).unwrap().len(), BYTES);
        assert!(ballast.spend());
        assert!(!ballast.spend() && ballast.is_spent() && !file.exists());
        assert!(ballast.restore() && !ballast.is_spent() && file.exists());
        assert!(!Ballast::beside(&database).is_spent(), "one that was left is used");
        let nowhere = Ballast::beside(&folder.path().join("nowhere/lull.db"));
        assert!(nowhere.is_spent());
    }
}
