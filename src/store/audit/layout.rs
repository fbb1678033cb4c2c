//! The audit of the database's layout: its tables, indexes and guards are those that this program makes, word for word.
//!
//! SQLite's own check takes the layout as it is read; a flipped bit in a table's condition would refuse good rows for ever, or let bad
//! ones in. What SQLite keeps for itself (figures of `ANALYZE`) is passed over.

use super::{Finding, Findings, guarded};
use crate::store::{Store, StoreError, schema};
use rusqlite::Connection;
use std::collections::BTreeMap;

/// What there is by kind and name: the table it belongs to, and its SQL, which what SQLite makes by itself does not have.
type Layout = BTreeMap<(String, String), (String, Option<String>)>;

impl Store {
    /// Compares the layout with that of a new database. Not part of [`Store::audit`]: it says nothing of rows.
    pub fn audit_layout(&self) -> Result<Vec<Finding>, StoreError> {
        let reader = self.0.readers.take()?;
        let mut findings = Findings::default();
        guarded("layout", &mut findings, |findings| check(&reader, findings))?;
        Ok(findings.list)
    }
}

fn check(connection: &Connection, findings: &mut Findings) -> Result<(), StoreError> {
    let mut fresh = Connection::open_in_memory()?;
    schema::migrate(&mut fresh).map_err(|error| StoreError::Broken(error.to_string()))?;
    let (expected, mut found) = (layout(&fresh)?, layout(connection)?);
    for ((kind, name), expected) in expected {
        let place = format!("{kind} {name}");
        match found.remove(&(kind, name)) {
            Some(found) => findings.expect(found == expected, "layout", &place, || "it is not as this program makes it".to_owned()),
            None => findings.add("layout", place, "it is not there"),
        }
    }
    for (kind, name) in found.into_keys() {
        findings.add("layout", format!("{kind} {name}"), "this program makes no such one");
    }
    Ok(())
}

fn layout(connection: &Connection) -> Result<Layout, StoreError> {
    let mut select =
        connection.prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite\\_stat%' ESCAPE '\\'")?;
    let rows = select.query_map([], |row| Ok(((row.get(0)?, row.get(1)?), (row.get(2)?, row.get(3)?))))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
