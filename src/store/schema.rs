//! The versions of the database's layout, and the way from each to the next.
//!
//! A published version is never edited; a change is a further file. The version is SQLite's `user_version`.

use super::open::OpenError;
use super::row_hash::{self, Table};
use rusqlite::{Connection, TransactionBehavior};

/// `schema_N.sql` leads from version N-1 to N.
const MIGRATIONS: [&str; 13] = [
    include_str!("schema_1.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
    include_str!("schema_4.sql"),
    include_str!("schema_5.sql"),
    include_str!("schema_6.sql"),
    include_str!("schema_7.sql"),
    include_str!("schema_8.sql"),
    include_str!("schema_9.sql"),
    include_str!("schema_10.sql"),
    include_str!("schema_11.sql"),
    include_str!("schema_12.sql"),
    include_str!("schema_13.sql"),
];

/// The version this program reads and writes.
pub(super) const LATEST: u32 = MIGRATIONS.len() as u32;

/// "lull" in ASCII: tells our files from other SQLite databases (sqlite.org/pragma.html, application_id).
const APPLICATION: u32 = 0x6c75_6c6c;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing in it yet.
    Empty,
    /// Ours, of this version.
    Ours(u32),
    /// Another program's.
    Foreign,
}

/// Looks at a file's marks.
pub(super) fn kind(connection: &Connection) -> rusqlite::Result<Kind> {
    let application: u32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let tables: u32 = connection.query_one("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(match (application, version, tables) {
        (APPLICATION, version, _) => Kind::Ours(version),
        (0, 0, 0) => Kind::Empty,
        _ => Kind::Foreign,
    })
}

/// Brings the layout up to [`LATEST`] in one transaction; whoever else tries at the same time finds it done.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), OpenError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version = match kind(&transaction)? {
        Kind::Empty => 0,
        Kind::Ours(version) => version,
        Kind::Foreign => return Err(OpenError::Foreign),
    };
    for sql in MIGRATIONS.iter().skip(version as usize) {
        transaction.execute_batch(sql)?;
    }
    if version < LATEST {
        // These had none for a long time; other tables got theirs with the first key.
        use Table::{Boot, Companion, Endpoint, Heartbeat, Key, Policy, Secret, Vendor};
        for table in [Policy, Boot, Heartbeat, Vendor, Companion, Key, Secret, Endpoint] {
            row_hash::keep_rest(&transaction, table)?;
        }
    }
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", LATEST.max(version))?;
    transaction.commit()?;
    Ok(())
}
