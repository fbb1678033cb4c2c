//! A disk that fails when a test says so: by the path of the database, so that tests beside each other do not meet.

use super::StoreError;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The fault of each database, and how many COMMITs it refused.
static FAULTS: Mutex<BTreeMap<PathBuf, (StoreError, u32)>> = Mutex::new(BTreeMap::new());

/// From now on every COMMIT of this database fails so; none heals it.
pub(crate) fn set(database: &Path, fault: Option<StoreError>) {
    let path = database.canonicalize().unwrap();
    let mut faults = FAULTS.lock().unwrap_or_else(PoisonError::into_inner);
    match fault {
        Some(fault) => faults.insert(path, (fault, 0)),
        None => faults.remove(&path),
    };
}

pub(super) fn of_commit(database: Option<&str>) -> Option<StoreError> {
    let mut faults = FAULTS.lock().unwrap_or_else(PoisonError::into_inner);
    let (fault, refused) = faults.get_mut(Path::new(database?))?;
    *refused += 1;
    Some(fault.clone())
}

/// How many COMMITs of this database were refused since the fault was set.
pub(crate) fn refused(database: &Path) -> u32 {
    FAULTS.lock().unwrap_or_else(PoisonError::into_inner).get(database).map_or(0, |(_, refused)| *refused)
}
