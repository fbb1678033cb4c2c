//! Opening a database file: who may, which SQLite, which settings.
//!
//! Invariants: at most one server has a file open, and nobody writes without WAL, `synchronous=FULL` and foreign keys.

use super::ballast::Ballast;
use super::schema::{self, Kind, LATEST};
use super::{StoreError, log, rows, signatures};
use crate::clock::Clock;
use rusqlite::{Connection, OpenFlags};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a process wants of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Runs calls: alone in this role.
    Server,
    /// A command like `vendor add`: writes, also beside a running server.
    Tool,
    /// Only reads, and never makes the file: a wrong path is an error and not an empty database without faults.
    Auditor,
}

/// Why a database cannot be opened: one clear line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// A second server on one database.
    #[error("another lull server is using this database (it holds the lock on {})", .lock.display())]
    Locked { lock: PathBuf },
    /// No such file.
    #[error("no database at {}", .0.display())]
    Missing(PathBuf),
    /// Something else than a database of lull's.
    #[error("this file is not a lull database")]
    Foreign,
    /// Written by a later lull.
    #[error("this database has version {found}, written by a newer lull; this one reads up to version {LATEST}")]
    Newer { found: u32 },
    /// Written by an earlier lull, and not ours to change now.
    #[error("this database has version {found}; start the server of this lull once to bring it to version {LATEST}")]
    Older { found: u32 },
    /// Linked with a SQLite that can corrupt a WAL (before 3.51.3, sqlite.org/wal.html#walresetbug).
    #[error("SQLite 3.51.3 or later is needed, this is {found}")]
    Sqlite { found: &'static str },
    /// The write-ahead log is damaged before its end, and SQLite would leave out what follows.
    #[error(
        "the database's write-ahead log {} is damaged: {commits} commits behind the damage would be lost; nothing was changed. \
         Restore the database with its log from a copy, or take the log away to do without all that is only there",
        .log.display()
    )]
    Log { log: PathBuf, commits: u64 },
    /// The operating system refused.
    #[error("cannot open {}: {error}", .path.display())]
    Io { path: PathBuf, error: String },
    /// SQLite refused.
    #[error("cannot open the database: {0}")]
    Database(StoreError),
}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> Self {
        let foreign = error.sqlite_error_code() == Some(rusqlite::ErrorCode::NotADatabase);
        if foreign { Self::Foreign } else { Self::Database(error.into()) }
    }
}

/// An opened file, before its threads start.
pub(super) struct Opened {
    pub(super) path: PathBuf,
    pub(super) writer: Option<Connection>,
    pub(super) lock: Option<ServerLock>,
    /// A server's.
    pub(super) ballast: Option<Ballast>,
}

/// Proof that no other server uses the database; the system lets go of it when the process ends, however it ends.
pub(super) struct ServerLock {
    _file: File,
}

/// The oldest SQLite without the WAL-reset fault.
const OLDEST_SQLITE: i32 = 3_051_003;

/// Size to which the write-ahead log is cut when it starts anew.
const LOG_BYTES: u32 = 64 << 20;

/// How long to wait for another process's transaction.
const BUSY: Duration = Duration::from_secs(5);

pub(super) fn open(path: &Path, role: Role) -> Result<Opened, OpenError> {
    if rusqlite::version_number() < OLDEST_SQLITE {
        return Err(OpenError::Sqlite { found: rusqlite::version() });
    }
    if role == Role::Auditor {
        if !path.exists() {
            return Err(OpenError::Missing(path.to_owned()));
        }
        let path = real_path(path)?;
        let _turn = take_turn(&path)?;
        check_log(&path)?;
        return match schema::kind(&reader(&path)?)? {
            Kind::Ours(LATEST) => Ok(Opened { path, writer: None, lock: None, ballast: None }),
            Kind::Ours(found) if found > LATEST => Err(OpenError::Newer { found }),
            Kind::Ours(found) => Err(OpenError::Older { found }),
            Kind::Empty | Kind::Foreign => Err(OpenError::Foreign),
        };
    }
    make(path)?;
    let path = real_path(path)?;
    let _turn = take_turn(&path)?;
    let mut lock = if role == Role::Server { Some(ServerLock::take(&path)?) } else { None };
    check_log(&path)?;
    let mut connection = connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    match schema::kind(&connection)? {
        Kind::Ours(found) if found > LATEST => return Err(OpenError::Newer { found }),
        Kind::Foreign => return Err(OpenError::Foreign),
        // An old layout is changed only while no server works with it.
        Kind::Ours(found) if found < LATEST && lock.is_none() => {
            lock = Some(ServerLock::take(&path).map_err(|_| OpenError::Older { found })?);
        }
        Kind::Ours(_) | Kind::Empty => (),
    }
    prepare(&mut connection)?;
    signatures::begin(&mut connection, &rand::random(), Clock::start().now()).map_err(OpenError::Database)?;
    if role == Role::Tool {
        lock = None;
    }
    let ballast = (role == Role::Server).then(|| Ballast::beside(&path));
    Ok(Opened { path, writer: Some(connection), lock, ballast })
}

/// Settings and layout of a connection that writes.
pub(super) fn prepare(connection: &mut Connection) -> Result<(), OpenError> {
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    if mode != "wal" {
        return Err(OpenError::Database(StoreError::Database(format!("no write-ahead log here, only journal mode {mode}"))));
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // A long audit lets the write-ahead log grow; it shrinks to this afterwards.
    connection.pragma_update_and_check(None, "journal_size_limit", LOG_BYTES, |_| Ok(()))?;
    // The secret of a signing key that ended does not stay in the file.
    connection.pragma_update_and_check(None, "secure_delete", true, |_| Ok(()))?;
    schema::migrate(connection)
}

/// Before SQLite looks at the log and cuts it off where it is damaged.
fn check_log(database: &Path) -> Result<(), OpenError> {
    let log = log::beside(database);
    match log::lost_commits(&log) {
        Ok(0) => Ok(()),
        Ok(commits) => Err(OpenError::Log { log, commits }),
        Err(error) => Err(io_error(&log, &error)),
    }
}

/// A connection that can only read.
pub(super) fn reader(path: &Path) -> rusqlite::Result<Connection> {
    connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

fn connect(path: &Path, access: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(rows::STATEMENTS);
    Ok(connection)
}

/// Makes the file, readable by its owner alone; SQLite gives the same mode to the files beside it.
///
/// A file that exists is not touched, not even opened: closing it would drop SQLite's own locks in this process
/// (sqlite.org/howtocorrupt.html, section 2.2).
fn make(path: &Path) -> Result<(), OpenError> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(io_error(path, &error)),
    }
}

/// Two names of one file must meet at one lock.
fn real_path(path: &Path) -> Result<PathBuf, OpenError> {
    fs::canonicalize(path).map_err(|error| io_error(path, &error))
}

/// One process opens at a time: two that make a file at once, or change its journal mode, would refuse each other.
///
/// The lock is on the directory, so that it leaves nothing behind, and lasts as long as the returned handle.
fn take_turn(database: &Path) -> Result<File, OpenError> {
    let directory = database.parent().unwrap_or(database);
    let turn = File::open(directory).and_then(|directory| directory.lock().map(|()| directory));
    turn.map_err(|error| io_error(directory, &error))
}

fn io_error(path: &Path, error: &io::Error) -> OpenError {
    OpenError::Io { path: path.to_owned(), error: error.to_string() }
}

impl ServerLock {
    /// Locks `PATH.lock`; the file stays behind, only the lock counts.
    fn take(database: &Path) -> Result<Self, OpenError> {
        let mut name = database.as_os_str().to_owned();
        name.push(".lock");
        let lock = PathBuf::from(name);
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&lock);
        let file = file.map_err(|error| io_error(&lock, &error))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(OpenError::Locked { lock }),
            Err(TryLockError::Error(error)) => Err(io_error(&lock, &error)),
        }
    }
}
