//! Hashes of rows that stand alone: a plan, a reply, a hold, whose an account is, what a heartbeat proves, a vendor and her policy…
//! A changed row no longer fits its hash.
//!
//! Journal, transfers and records have hashes of their own. Columns that follow from other rows (an account's sums) are left out;
//! a column without a value counts as none, so that a later version may add one.

use rusqlite::types::{Value as Sql, ValueRef};
use rusqlite::{Connection, Row, Statement, ToSql};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// A table whose rows are hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    Plan,
    Hold,
    Account,
    Reply,
    Policy,
    Recording,
    Boot,
    Heartbeat,
    Vendor,
    Companion,
    Key,
    Secret,
    Endpoint,
    OlderSecret,
}

impl Table {
    pub(super) const ALL: [Self; 14] = [
        Self::Plan,
        Self::Hold,
        Self::Account,
        Self::Reply,
        Self::Policy,
        Self::Recording,
        Self::Boot,
        Self::Heartbeat,
        Self::Vendor,
        Self::Companion,
        Self::Key,
        Self::Secret,
        Self::Endpoint,
        Self::OlderSecret,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Hold => "hold",
            Self::Account => "account",
            Self::Reply => "idempotency",
            Self::Policy => "settlement_policy",
            Self::Recording => "recording",
            Self::Boot => "boot",
            Self::Heartbeat => "heartbeat",
            Self::Vendor => "vendor",
            Self::Companion => "companion",
            Self::Key => "signing_key",
            Self::Secret => "meta",
            Self::Endpoint => "webhook_endpoint",
            Self::OlderSecret => "webhook_older_secret",
        }
    }

    /// The columns of its primary key.
    const fn key(self) -> &'static [&'static str] {
        match self {
            Self::Plan | Self::Hold | Self::Account | Self::Recording | Self::Vendor | Self::Companion | Self::Key | Self::Endpoint => {
                &["id"]
            }
            Self::Reply => &["vendor", "key"],
            Self::Policy => &["vendor"],
            Self::Boot => &["seq"],
            Self::Heartbeat => &["call"],
            Self::Secret => &["name"],
            Self::OlderSecret => &["endpoint", "number"],
        }
    }

    /// The condition that finds a row by its key.
    fn by_key(self) -> String {
        let parts: Vec<String> = self.key().iter().map(|column| format!("{column} = ?")).collect();
        parts.join(" AND ")
    }

    /// Columns that change with other rows, or with each try to deliver an event.
    const fn derived(self) -> &'static [&'static str] {
        match self {
            Self::Account => &["posted", "held"],
            Self::Endpoint => &["last_success_at", "failing_since", "last_error", "last_error_at"],
            Self::Plan | Self::Hold | Self::Reply | Self::Policy | Self::Recording => &[],
            Self::Boot | Self::Heartbeat | Self::Vendor | Self::Companion | Self::Key | Self::Secret | Self::OlderSecret => &[],
        }
    }
}

/// Hashes a row that was just written; `key` as the table's primary key has it.
pub(super) fn keep(connection: &Connection, table: Table, key: &[&dyn ToSql]) -> rusqlite::Result<()> {
    let (name, by) = (table.name(), table.by_key());
    let mut select = connection.prepare_cached(&format!("SELECT * FROM {name} WHERE {by}"))?;
    let hash = select.query_one(key, |row| expected(table, row))?;
    let mut values: Vec<&dyn ToSql> = vec![&hash];
    values.extend(key);
    connection.prepare_cached(&format!("UPDATE {name} SET row_hash = ? WHERE {by}"))?.execute(&*values)?;
    Ok(())
}

/// Hashes all rows that have no hash: those of an earlier version.
pub(super) fn keep_all(connection: &Connection) -> rusqlite::Result<()> {
    Table::ALL.into_iter().try_for_each(|table| keep_rest(connection, table))
}

/// Hashes the rows of a table that have no hash.
pub(super) fn keep_rest(connection: &Connection, table: Table) -> rusqlite::Result<()> {
    let (name, columns) = (table.name(), table.key());
    let mut select = connection.prepare(&format!("SELECT {} FROM {name} WHERE row_hash IS NULL", columns.join(", ")))?;
    let keys = select.query_map([], |row| (0..columns.len()).map(|index| row.get(index)).collect::<rusqlite::Result<Vec<Sql>>>())?;
    for key in keys.collect::<rusqlite::Result<Vec<_>>>()? {
        let key: Vec<&dyn ToSql> = key.iter().map(|value| value as &dyn ToSql).collect();
        keep(connection, table, &key)?;
    }
    Ok(())
}

/// What the hash of a row read whole should be.
pub(super) fn expected(table: Table, row: &Row<'_>) -> rusqlite::Result<[u8; 32]> {
    let statement: &Statement<'_> = row.as_ref();
    let mut columns = BTreeMap::new();
    for (index, name) in statement.column_names().enumerate() {
        if name != "row_hash" && !table.derived().contains(&name) {
            columns.insert(name, row.get_ref(index)?);
        }
    }
    Ok(of(columns))
}

/// SHA-256 over each column that has a value, by name: its name, a letter for its type, its value, each behind its length. Lengths and
/// whole numbers are big-endian in 8 bytes. The columns come in the order of their names.
pub(super) fn of<'a>(columns: impl IntoIterator<Item = (&'a str, ValueRef<'a>)>) -> [u8; 32] {
    let mut sha = Sha256::new();
    for (name, value) in columns {
        let number;
        let (letter, bytes): (&[u8], &[u8]) = match value {
            ValueRef::Null => continue,
            ValueRef::Integer(value) => {
                number = value.to_be_bytes();
                (b"i", &number)
            }
            ValueRef::Real(value) => {
                number = value.to_be_bytes();
                (b"r", &number)
            }
            ValueRef::Text(text) => (b"t", text),
            ValueRef::Blob(bytes) => (b"b", bytes),
        };
        for part in [name.as_bytes(), letter, bytes] {
            sha.update((part.len() as u64).to_be_bytes());
            sha.update(part);
        }
    }
    sha.finalize().into()
}
