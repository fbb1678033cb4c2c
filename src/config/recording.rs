//! `[recording]`: where the sound of calls is kept that both parties let be recorded, and what seals it.

use super::reader::Reader;
use crate::recording::parse_key;
use std::fmt;
use std::path::PathBuf;

/// Recordings. Without a key there are none: plans that allow them are refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// `recording.folder`: where the files lie. Default `recordings`, in the working directory; made with mode 0700 when it is needed. Files
    /// are of use only with the database beside which they were made.
    pub folder: PathBuf,
    /// `recording.key` (32 octets in 64 hex digits or base64) or `recording.key_file` (a file of mode 0600 with the same). Default none.
    /// With another key than before, what is kept can be opened only if the old one is named beside it; lost, nothing of it ever can.
    pub key: Option<KeySource>,
    /// `recording.old_key_files`: files (mode 0600, as `key_file`) with keys of before. They open what they sealed and seal nothing any more.
    /// Default none. A key can go once nothing is kept that it sealed: the log says at the start which keys are missing.
    pub old_key_files: Vec<PathBuf>,
    /// `recording.keep_free_mb`: with less room on the folder's disk recordings end (the calls go on) and none begins. Default 1024. The
    /// database may lie on the same disk: too small, and recordings fill what money needs.
    pub keep_free_mb: u64,
}

/// Where the key is.
#[derive(Clone, PartialEq, Eq)]
pub enum KeySource {
    /// In the settings themselves.
    Given([u8; 32]),
    /// In this file.
    File(PathBuf),
}

/// Shows no key.
impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(_) => f.write_str("Given(..)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

impl Recording {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let path = |text: &str| (!text.is_empty()).then(|| PathBuf::from(text));
        let shown = |path: &PathBuf| path.display().to_string();
        let folder = reader.text("recording.folder", PathBuf::from("recordings"), "the name of a folder", path, shown);
        let given = reader.secret("recording.key", "32 octets in 64 hex digits or base64", parse_key);
        let file = reader.optional("recording.key_file", "the name of a file that holds the key", path, shown);
        if given.is_some() && file.is_some() {
            reader.conflict("recording.key and recording.key_file are both set; one key seals recordings".to_owned());
        }
        let old_key_files = reader.texts("recording.old_key_files", "names of files that hold keys", path, shown);
        let keep_free_mb = reader.whole("recording.keep_free_mb", 1024, 0..=1_000_000_000).unsigned_abs();
        Self { folder, key: given.map(KeySource::Given).or(file.map(KeySource::File)), old_key_files, keep_free_mb }
    }
}
