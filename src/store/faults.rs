//! A disk that fails when a test says so: by the path of the database, so that tests beside each other do not meet.

use super::StoreError;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

static FAULTS: Mutex<BTreeMap<PathBuf, StoreError>> = Mutex::new(BTreeMap::new());

/// From now on every COMMIT of this database fails so; none heals it.
pub(crate) fn set(database: &Path, fault: Option<StoreError>) {
    let path = database.canonicalize().unwrap();
    let mut faults = FAULTS.lock().unwrap_or_else(PoisonError::into_inner);
    match fault {
        Some(fault) => faults.insert(path, fault),
        None => faults.remove(&path),
    };
}

pub(super) fn of_commit(database: Option<&str>) -> Option<StoreError> {
    FAULTS.lock().unwrap_or_else(PoisonError::into_inner).get(Path::new(database?)).cloned()
}
