//! A disk that is not there: files in memory under SQLite's own code, with power that can go at any operation.
//!
//! It knows what a real disk hides: what was written and what was synced. When the power goes, only what was synced stays for sure;
//! of the rest any 512-octet sectors may have arrived, in any order. When only the process dies, all that was written stays (the
//! kernel has it). It is no cache and no file system, and has no shared memory: its databases are opened with
//! `locking_mode=EXCLUSIVE`. Invariant: the same calls after the same seed give the same octets.
//!
//! The unsafe code is SQLite's interface to a file system (sqlite.org/vfs.html): tables of functions that SQLite calls with
//! pointers it got from here. Each function says what it relies on.

use rusqlite::ffi;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::mem;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a disk writes whole or not at all: older and smaller than its blocks, and the least SQLite relies on.
const SECTOR: usize = 512;

/// The name of the database among a disk's files.
pub(super) const DATABASE: &str = "lull.db";

/// A disk. Clones are the same disk; it is there as long as one of them or a connection is.
#[derive(Clone)]
pub struct Disk(pub(super) Arc<Drive>);

/// What SQLite was told of the disk, and what is on it.
pub(super) struct Drive {
    name: CString,
    vfs: Mutex<Registered>,
    state: Mutex<State>,
}

/// The table of functions that SQLite has the address of; it lies still until it is unregistered.
struct Registered(*mut ffi::sqlite3_vfs);

// SAFETY: the pointer is made in `Disk::new`, handed to SQLite (which locks its own list) and freed in `Drop`, nothing else.
unsafe impl Send for Registered {}

#[derive(Default)]
struct State {
    files: BTreeMap<String, File>,
    /// Writes, cuts and syncs so far.
    operations: u64,
    /// At this operation something happens.
    fuse: Option<(u64, Failure)>,
    is_dead: bool,
    /// No file may grow.
    is_full: bool,
    random: u64,
}

/// What a fuse does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nothing more is written or read until [`Disk::power_returns`] or [`Disk::restart`].
    PowerGoes,
    /// This operation fails, the next ones work again.
    Once,
}

#[derive(Default, Clone)]
struct File {
    /// As the process sees it.
    now: Vec<u8>,
    /// As it is after a loss of power at the worst moment.
    safe: Vec<u8>,
    /// It was synced at least once: its name is on the disk.
    is_named: bool,
    /// What came after the last sync.
    loose: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write { at: usize, data: Vec<u8> },
    Cut { to: usize },
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Change::Write { at, data } => put(to, *at, data),
            Change::Cut { to: length } => to.truncate(*length),
        }
    }
}

fn put(to: &mut Vec<u8>, at: usize, data: &[u8]) {
    if to.len() < at + data.len() {
        to.resize(at + data.len(), 0);
    }
    to[at..at + data.len()].copy_from_slice(data);
}

impl State {
    /// Counts an operation that changes the disk; false if it fails.
    fn works(&mut self) -> bool {
        self.operations += 1;
        if let Some((at, failure)) = self.fuse
            && self.operations >= at
        {
            self.fuse = None;
            self.is_dead |= failure == Failure::PowerGoes;
            return false;
        }
        !self.is_dead
    }

    /// xorshift64* (Vigna 2016): good enough to choose sectors, and the same everywhere.
    fn draw(&mut self) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn lose_power(&mut self) {
        let mut files = mem::take(&mut self.files);
        files.retain(|_, file| {
            // How much of it got through differs from nothing to all.
            let share = self.draw() % 130;
            let mut sectors = Vec::new();
            for change in file.loose.drain(..) {
                match change {
                    Change::Write { at, data } => {
                        let mut from = 0;
                        while from < data.len() {
                            let to = (from + SECTOR - (at + from) % SECTOR).min(data.len());
                            sectors.push(Change::Write { at: at + from, data: data[from..to].to_vec() });
                            from = to;
                        }
                    }
                    cut @ Change::Cut { .. } => sectors.push(cut),
                }
            }
            sectors.retain(|_| self.draw() % 100 < share);
            if self.draw().is_multiple_of(2) {
                for place in (1..sectors.len()).rev() {
                    let other = usize::try_from(self.draw() % (place as u64 + 1)).unwrap_or(0);
                    sectors.swap(place, other);
                }
            }
            if !file.is_named && self.draw().is_multiple_of(2) {
                return false;
            }
            for sector in sectors {
                sector.apply(&mut file.safe);
            }
            file.now.clone_from(&file.safe);
            file.is_named = true;
            true
        });
        self.files = files;
    }
}

impl Disk {
    /// An empty disk. The seed decides what survives a loss of power.
    pub fn new(seed: u64) -> Self {
        static DISKS: AtomicU64 = AtomicU64::new(0);
        let number = DISKS.fetch_add(1, Ordering::Relaxed);
        let name = CString::new(format!("lull-disk-{number}")).unwrap_or_default();
        let state = State { random: seed | 1, ..State::default() };
        let drive = Arc::new(Drive { name, vfs: Mutex::new(Registered(ptr::null_mut())), state: Mutex::new(state) });
        let vfs = Box::into_raw(Box::new(functions(&drive)));
        // SAFETY: the table and the name in it live until `Drop` unregisters them; `drive` stays where it is, in its `Arc`.
        unsafe { ffi::sqlite3_vfs_register(vfs, 0) };
        lock(&drive.vfs).0 = vfs;
        Self(drive)
    }

    /// Lets something happen at the `ahead`-th operation (write, cut or sync) from now; 1 is the next.
    pub fn fuse(&self, ahead: u64, failure: Failure) {
        let mut state = lock(&self.0.state);
        state.fuse = Some((state.operations + ahead.max(1), failure));
    }

    /// Takes an unused fuse out.
    pub fn unfuse(&self) {
        lock(&self.0.state).fuse = None;
    }

    /// Operations so far.
    pub fn operations(&self) -> u64 {
        lock(&self.0.state).operations
    }

    /// Whether files may grow.
    pub fn set_full(&self, is_full: bool) {
        lock(&self.0.state).is_full = is_full;
    }

    /// From now on nothing works: what a connection does when it is dropped changes nothing either.
    pub fn die(&self) {
        lock(&self.0.state).is_dead = true;
    }

    /// The process is gone and the machine runs on: all that was written is there.
    pub fn restart(&self) {
        let mut state = lock(&self.0.state);
        (state.is_dead, state.fuse) = (false, None);
    }

    /// The machine comes up again after a loss of power: what was synced is there, and some of the rest.
    pub fn power_returns(&self) {
        let mut state = lock(&self.0.state);
        state.lose_power();
        (state.is_dead, state.fuse) = (false, None);
    }

    pub(super) fn vfs_name(&self) -> &CStr {
        &self.0.name
    }
}

impl Drop for Drive {
    fn drop(&mut self) {
        let vfs = lock(&self.vfs).0;
        if !vfs.is_null() {
            // SAFETY: registered by `Disk::new` and by nobody else; connections hold the drive, so none is open any more.
            unsafe {
                ffi::sqlite3_vfs_unregister(vfs);
                drop(Box::from_raw(vfs));
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// SQLite's side ---------------------------------------------------------------------------------------------------------

/// An open file, as SQLite keeps it: it gives the room, `open` fills it.
#[repr(C)]
struct Handle {
    base: ffi::sqlite3_file,
    drive: *const Drive,
    /// From `Box::into_raw`; freed by `close`.
    name: *mut String,
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 1,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(no_lock),
    xUnlock: Some(no_lock),
    xCheckReservedLock: Some(check_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

fn functions(drive: &Arc<Drive>) -> ffi::sqlite3_vfs {
    ffi::sqlite3_vfs {
        iVersion: 1,
        szOsFile: size_of::<Handle>() as c_int,
        mxPathname: 256,
        pNext: ptr::null_mut(),
        zName: drive.name.as_ptr(),
        pAppData: Arc::as_ptr(drive).cast_mut().cast(),
        xOpen: Some(open),
        xDelete: Some(delete),
        xAccess: Some(access),
        xFullPathname: Some(full_path),
        xDlOpen: None,
        xDlError: None,
        xDlSym: None,
        xDlClose: None,
        xRandomness: Some(randomness),
        xSleep: Some(sleep),
        xCurrentTime: Some(current_time),
        xGetLastError: None,
        xCurrentTimeInt64: None,
        xSetSystemCall: None,
        xGetSystemCall: None,
        xNextSystemCall: None,
    }
}

/// The drive behind a table of functions.
///
/// # Safety
/// `vfs` is a table made by [`functions`] whose drive is still there, which is so for every call SQLite makes.
unsafe fn drive_of<'a>(vfs: *mut ffi::sqlite3_vfs) -> &'a Drive {
    unsafe { &*(*vfs).pAppData.cast::<Drive>() }
}

/// Runs `work` on an open file; SQLite sees an error if it was deleted under it.
///
/// # Safety
/// `file` was filled by [`open`] and not closed since, which is so for every call SQLite makes.
unsafe fn with_file(file: *mut ffi::sqlite3_file, work: impl FnOnce(&mut State, &str) -> c_int) -> c_int {
    let (drive, name) = unsafe {
        let handle = &*file.cast::<Handle>();
        (&*handle.drive, &*handle.name)
    };
    let mut state = lock(&drive.state);
    work(&mut state, name)
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: `file` has room for a `Handle` (`szOsFile`), `name` is null or a text, `out_flags` null or a place for a number.
    unsafe {
        let handle = file.cast::<Handle>();
        (*handle).base.pMethods = ptr::null();
        let drive = drive_of(vfs);
        let mut state = lock(&drive.state);
        let name = if name.is_null() { format!("temporary-{}", state.draw()) } else { text(name) };
        if state.is_dead || (!state.files.contains_key(&name) && flags & ffi::SQLITE_OPEN_CREATE == 0) {
            return ffi::SQLITE_CANTOPEN;
        }
        state.files.entry(name.clone()).or_default();
        (*handle).drive = drive;
        (*handle).name = Box::into_raw(Box::new(name));
        (*handle).base.pMethods = &raw const METHODS;
        if !out_flags.is_null() {
            *out_flags = flags;
        }
    }
    ffi::SQLITE_OK
}

/// # Safety
/// `name` is a text that ends with a zero.
unsafe fn text(name: *const c_char) -> String {
    unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: filled by `open`, and closed once.
    unsafe { drop(Box::from_raw((*file.cast::<Handle>()).name)) };
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(file: *mut ffi::sqlite3_file, buffer: *mut c_void, amount: c_int, offset: ffi::sqlite3_int64) -> c_int {
    // SAFETY: SQLite gives a buffer of `amount` octets.
    let buffer = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), usize::try_from(amount).unwrap_or(0)) };
    let read = |state: &mut State, name: &str| {
        let (Some(file), false) = (state.files.get(name), state.is_dead) else { return ffi::SQLITE_IOERR_READ };
        let from = usize::try_from(offset).unwrap_or(0).min(file.now.len());
        let there = buffer.len().min(file.now.len() - from);
        buffer[..there].copy_from_slice(&file.now[from..from + there]);
        buffer[there..].fill(0);
        if there == buffer.len() { ffi::SQLITE_OK } else { ffi::SQLITE_IOERR_SHORT_READ }
    };
    // SAFETY: called by SQLite.
    unsafe { with_file(file, read) }
}

unsafe extern "C" fn write(file: *mut ffi::sqlite3_file, data: *const c_void, amount: c_int, offset: ffi::sqlite3_int64) -> c_int {
    // SAFETY: SQLite gives `amount` octets.
    let data = unsafe { std::slice::from_raw_parts(data.cast::<u8>(), usize::try_from(amount).unwrap_or(0)) };
    let write = |state: &mut State, name: &str| {
        if !state.works() {
            return ffi::SQLITE_IOERR_WRITE;
        }
        let is_full = state.is_full;
        let Some(file) = state.files.get_mut(name) else { return ffi::SQLITE_IOERR_WRITE };
        let at = usize::try_from(offset).unwrap_or(0);
        if is_full && at + data.len() > file.now.len() {
            return ffi::SQLITE_FULL;
        }
        put(&mut file.now, at, data);
        file.loose.push(Change::Write { at, data: data.to_vec() });
        ffi::SQLITE_OK
    };
    // SAFETY: called by SQLite.
    unsafe { with_file(file, write) }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: ffi::sqlite3_int64) -> c_int {
    let truncate = |state: &mut State, name: &str| {
        if !state.works() {
            return ffi::SQLITE_IOERR_TRUNCATE;
        }
        let Some(file) = state.files.get_mut(name) else { return ffi::SQLITE_IOERR_TRUNCATE };
        let to = usize::try_from(size).unwrap_or(0);
        file.now.truncate(to);
        file.loose.push(Change::Cut { to });
        ffi::SQLITE_OK
    };
    // SAFETY: called by SQLite.
    unsafe { with_file(file, truncate) }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    let sync = |state: &mut State, name: &str| {
        if !state.works() {
            return ffi::SQLITE_IOERR_FSYNC;
        }
        let Some(file) = state.files.get_mut(name) else { return ffi::SQLITE_IOERR_FSYNC };
        for change in mem::take(&mut file.loose) {
            change.apply(&mut file.safe);
        }
        // SQLite syncs the directory with the first sync of a new file.
        file.is_named = true;
        ffi::SQLITE_OK
    };
    // SAFETY: called by SQLite.
    unsafe { with_file(file, sync) }
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, size: *mut ffi::sqlite3_int64) -> c_int {
    let measure = |state: &mut State, name: &str| {
        let length = state.files.get(name).map_or(0, |file| file.now.len());
        // SAFETY: SQLite gives a place for a number.
        unsafe { *size = length as ffi::sqlite3_int64 };
        ffi::SQLITE_OK
    };
    // SAFETY: called by SQLite.
    unsafe { with_file(file, measure) }
}

/// One connection at a time: there is nobody to lock out.
unsafe extern "C" fn no_lock(_file: *mut ffi::sqlite3_file, _level: c_int) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn check_lock(_file: *mut ffi::sqlite3_file, held: *mut c_int) -> c_int {
    // SAFETY: SQLite gives a place for a number.
    unsafe { *held = 0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_control(_file: *mut ffi::sqlite3_file, _operation: c_int, _argument: *mut c_void) -> c_int {
    ffi::SQLITE_NOTFOUND
}

/// As SQLite's own code for Unix says.
unsafe extern "C" fn sector_size(_file: *mut ffi::sqlite3_file) -> c_int {
    4096
}

/// As SQLite's own code for Unix says: a write changes nothing beside it.
unsafe extern "C" fn characteristics(_file: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

unsafe extern "C" fn delete(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, _sync_directory: c_int) -> c_int {
    // SAFETY: SQLite gives its table and a text.
    let (drive, name) = unsafe { (drive_of(vfs), text(name)) };
    let mut state = lock(&drive.state);
    if !state.works() {
        return ffi::SQLITE_IOERR_DELETE;
    }
    if state.files.remove(&name).is_some() { ffi::SQLITE_OK } else { ffi::SQLITE_IOERR_DELETE_NOENT }
}

unsafe extern "C" fn access(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, _what: c_int, answer: *mut c_int) -> c_int {
    // SAFETY: SQLite gives its table, a text and a place for a number.
    unsafe {
        let there = lock(&drive_of(vfs).state).files.contains_key(&text(name));
        *answer = c_int::from(there);
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn full_path(_vfs: *mut ffi::sqlite3_vfs, name: *const c_char, room: c_int, out: *mut c_char) -> c_int {
    // SAFETY: SQLite gives a text and room for `room` octets.
    unsafe {
        let bytes = CStr::from_ptr(name).to_bytes_with_nul();
        if bytes.len() > usize::try_from(room).unwrap_or(0) {
            return ffi::SQLITE_CANTOPEN;
        }
        ptr::copy_nonoverlapping(bytes.as_ptr().cast(), out, bytes.len());
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn randomness(vfs: *mut ffi::sqlite3_vfs, amount: c_int, out: *mut c_char) -> c_int {
    // SAFETY: SQLite gives its table and room for `amount` octets.
    let (drive, out) = unsafe { (drive_of(vfs), std::slice::from_raw_parts_mut(out.cast::<u8>(), usize::try_from(amount).unwrap_or(0))) };
    let mut state = lock(&drive.state);
    out.fill_with(|| state.draw().to_le_bytes()[7]);
    amount
}

unsafe extern "C" fn sleep(_vfs: *mut ffi::sqlite3_vfs, microseconds: c_int) -> c_int {
    microseconds
}

/// The Unix epoch as a Julian day: nothing of ours asks SQLite for the time.
unsafe extern "C" fn current_time(_vfs: *mut ffi::sqlite3_vfs, out: *mut f64) -> c_int {
    // SAFETY: SQLite gives a place for a number.
    unsafe { *out = 2_440_587.5 };
    ffi::SQLITE_OK
}
