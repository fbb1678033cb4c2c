//! A disk of which the n-th operation fails: SQLite's own files with a trap in front of writing, cutting and syncing.
//!
//! It is put in the place of the default way to files, and touches nothing but databases for which a trap is set, so tests beside each
//! other do not meet. What such a database has to sync is not synced: that a machine loses power is no part of this test. The unsafe
//! code is SQLite's interface to a file system (sqlite.org/c3ref/io_methods.html); each function is called by SQLite alone.

use rusqlite::ffi;
use std::collections::BTreeMap;
use std::ffi::{CStr, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::{Arc, Mutex, Once, PoisonError};

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// There is no room: of a write, its first half arrives.
    Full,
    /// The disk fails: of a write, its first half arrives.
    Broken,
    /// A sync fails. Only syncs are counted.
    Sync,
}

/// Which operations of a database fail, and how many there were.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trap {
    pub(super) fault: Fault,
    /// The first that fails, from 1 on; 0 for none.
    pub(super) at: u64,
    /// So many fail one after the other.
    pub(super) length: u64,
    /// Operations so far.
    pub(super) operations: u64,
    /// Of them, those that failed.
    pub(super) failed: u64,
}

type Traps = BTreeMap<PathBuf, Arc<Mutex<Trap>>>;

static TRAPS: Mutex<Traps> = Mutex::new(BTreeMap::new());

/// A trap on all that lies in a folder; lifted when dropped.
pub(super) struct Set {
    folder: PathBuf,
    trap: Arc<Mutex<Trap>>,
}

impl Set {
    pub(super) fn new(folder: &Path, fault: Fault, at: u64, length: u64) -> Self {
        static ONCE: Once = Once::new();
        ONCE.call_once(stand_in_front);
        let folder = folder.canonicalize().unwrap();
        let trap = Arc::new(Mutex::new(Trap { fault, at, length, operations: 0, failed: 0 }));
        TRAPS.lock().unwrap_or_else(PoisonError::into_inner).insert(folder.clone(), trap.clone());
        Self { folder, trap }
    }

    /// How it stands.
    pub(super) fn trap(&self) -> Trap {
        *self.trap.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Set {
    fn drop(&mut self) {
        TRAPS.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.folder);
    }
}

/// The way to files that was the default before.
struct Before(*const ffi::sqlite3_vfs);
// It is SQLite's own, a constant.
unsafe impl Send for Before {}

static BEFORE: Mutex<Before> = Mutex::new(Before(ptr::null()));

/// Makes a copy of the default way to files the default, with an opening of ours. It stays for the life of the process.
fn stand_in_front() {
    unsafe {
        let before = ffi::sqlite3_vfs_find(ptr::null());
        BEFORE.lock().unwrap_or_else(PoisonError::into_inner).0 = before;
        let mut ours = ptr::read(before);
        ours.zName = c"trapped".as_ptr();
        ours.pNext = ptr::null_mut();
        ours.xOpen = Some(open);
        assert_eq!(ffi::sqlite3_vfs_register(Box::into_raw(Box::new(ours)), 1), ffi::SQLITE_OK);
    }
}

/// What an open file of a trapped database has in the place of SQLite's functions; they are behind it.
#[repr(C)]
struct Table {
    ours: ffi::sqlite3_io_methods,
    theirs: *const ffi::sqlite3_io_methods,
    trap: Arc<Mutex<Trap>>,
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    unsafe {
        let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).0;
        let opened = (*before).xOpen.expect("SQLite's own has one")(vfs, name, file, flags, out_flags);
        if opened != ffi::SQLITE_OK || name.is_null() || (*file).pMethods.is_null() {
            return opened;
        }
        let path = PathBuf::from(CStr::from_ptr(name).to_string_lossy().into_owned());
        let traps = TRAPS.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(trap) = path.parent().and_then(|folder| traps.get(folder)).cloned() else { return opened };
        let theirs = (*file).pMethods;
        let mut ours = ptr::read(theirs);
        ours.xClose = Some(close);
        ours.xWrite = Some(write);
        ours.xTruncate = Some(truncate);
        ours.xSync = Some(sync);
        (*file).pMethods = Box::into_raw(Box::new(Table { ours, theirs, trap })).cast();
        opened
    }
}

/// The table of an open file, and SQLite's functions behind it.
unsafe fn table<'a>(file: *mut ffi::sqlite3_file) -> (&'a Table, &'a ffi::sqlite3_io_methods) {
    unsafe {
        let table = &*(*file).pMethods.cast::<Table>();
        (table, &*table.theirs)
    }
}

/// Counts an operation; gives the way it fails, if it does.
fn operation(trap: &Mutex<Trap>, is_sync: bool) -> Option<Fault> {
    let mut trap = trap.lock().unwrap_or_else(PoisonError::into_inner);
    if trap.fault == Fault::Sync && !is_sync {
        return None;
    }
    trap.operations += 1;
    let fails = trap.at > 0 && trap.operations >= trap.at && trap.operations < trap.at + trap.length;
    trap.failed += u64::from(fails);
    fails.then_some(trap.fault)
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    unsafe {
        let table = Box::from_raw((*file).pMethods.cast_mut().cast::<Table>());
        (*file).pMethods = table.theirs;
        (*table.theirs).xClose.expect("SQLite's own has one")(file)
    }
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, data: *const c_void, amount: c_int, offset: ffi::sqlite3_int64) -> c_int {
    unsafe {
        let (table, theirs) = table(file);
        let write = theirs.xWrite.expect("SQLite's own has one");
        match operation(&table.trap, false) {
            None => write(file, data, amount, offset),
            Some(fault) => {
                write(file, data, amount / 2, offset);
                if fault == Fault::Full { ffi::SQLITE_FULL } else { ffi::SQLITE_IOERR_WRITE }
            }
        }
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: ffi::sqlite3_int64) -> c_int {
    unsafe {
        let (table, theirs) = table(file);
        match operation(&table.trap, false) {
            None => theirs.xTruncate.expect("SQLite's own has one")(file, size),
            Some(_) => ffi::SQLITE_IOERR_TRUNCATE,
        }
    }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    let (table, _) = unsafe { table(file) };
    match operation(&table.trap, true) {
        None => ffi::SQLITE_OK,
        Some(Fault::Full) => ffi::SQLITE_FULL,
        Some(Fault::Broken | Fault::Sync) => ffi::SQLITE_IOERR_FSYNC,
    }
}
