//! The audit of what stands alone: rows with a hash of their own, keys, and the signatures of records.

use super::Findings;
use crate::signing::{PublicKey, Signature, SigningKey};
use crate::store::row_hash::{self, Table};
use crate::store::{StoreError, policy_row};
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use std::collections::BTreeMap;

pub(super) fn check(connection: &Connection, findings: &mut Findings) -> Result<(), StoreError> {
    for table in Table::ALL {
        check_rows(connection, table, "", findings)?;
    }
    check_proofs(connection, findings)?;
    check_policies(connection, findings)?;
    let keys = check_keys(connection, findings)?;
    check_signatures(connection, &keys, findings)
}

/// What a server takes up after a crash: proofs of life, and the starts they are of. A changed one would bill time that was not delivered.
pub(super) fn check_pulse(connection: &Connection, findings: &mut Findings) -> Result<(), StoreError> {
    check_rows(connection, Table::Heartbeat, "", findings)?;
    check_rows(connection, Table::Boot, "WHERE seq = (SELECT max(seq) FROM boot) OR seq IN (SELECT boot FROM heartbeat)", findings)?;
    check_proofs(connection, findings)
}

/// A server never proves more than it lived.
fn check_proofs(connection: &Connection, findings: &mut Findings) -> Result<(), StoreError> {
    let mut select =
        connection.prepare("SELECT call, proved_until, alive_at FROM heartbeat JOIN boot ON seq = boot WHERE proved_until > alive_at")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let (call, until, alive): (String, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        findings.add("proof", call, format!("it is proved until {until}, and its server lived until {alive}"));
    }
    Ok(())
}

fn check_rows(connection: &Connection, table: Table, which: &str, findings: &mut Findings) -> Result<(), StoreError> {
    let mut select = connection.prepare(&format!("SELECT * FROM {} {which}", table.name()))?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let fits = matches!(row.get_ref("row_hash")?, ValueRef::Blob(hash) if *hash == row_hash::expected(table, row)?);
        if !fits {
            // The first columns are the key; text that is none any more is shown as far as it goes.
            let shown = |index| match row.get_ref(index) {
                Ok(ValueRef::Text(text)) => String::from_utf8_lossy(text).into_owned(),
                Ok(ValueRef::Integer(number)) => number.to_string(),
                _ => "?".to_owned(),
            };
            let place = match table {
                Table::Reply => format!("key {:?} of {}", shown(1), shown(0)),
                _ => format!("{} {}", table.name(), shown(0)),
            };
            findings.add("row_hash", place, "it was changed");
        }
    }
    Ok(())
}

/// Each says what a vendor may have: in her clients' favour.
fn check_policies(connection: &Connection, findings: &mut Findings) -> Result<(), StoreError> {
    let mut select = connection.prepare("SELECT vendor, policy FROM settlement_policy")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let (vendor, text): (String, String) = (row.get(0)?, row.get(1)?);
        if let Err(why) = policy_row::decode(&text) {
            findings.add("policy", format!("settlement_policy {vendor}"), why.to_string());
        }
    }
    Ok(())
}

fn check_keys(connection: &Connection, findings: &mut Findings) -> Result<BTreeMap<String, PublicKey>, StoreError> {
    let mut keys = BTreeMap::new();
    let mut in_use = 0;
    let mut select = connection.prepare("SELECT id, public, secret, until_at IS NULL FROM signing_key")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let (id, key): (String, _) = (row.get(0)?, PublicKey::new(row.get(1)?));
        findings.expect(key.id() == id, "key", &id, || "its public half is another key's".to_owned());
        if let Some(secret) = row.get::<_, Option<[u8; 32]>>(2)? {
            findings.expect(SigningKey::new(&secret).public() == key, "key", &id, || "its secret is another key's".to_owned());
        }
        in_use += u32::from(row.get::<_, bool>(3)?);
        keys.insert(id, key);
    }
    findings.expect(in_use == 1, "key", "database", || format!("{in_use} keys sign"));
    Ok(keys)
}

fn check_signatures(connection: &Connection, keys: &BTreeMap<String, PublicKey>, findings: &mut Findings) -> Result<(), StoreError> {
    let mut select =
        connection.prepare("SELECT record.call, body, key, value FROM record LEFT JOIN signature ON signature.call = record.call")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let (call, record): (String, String) = (row.get(0)?, row.get(1)?);
        let (Some(key), Some(value)) = (row.get::<_, Option<String>>(2)?, row.get::<_, Option<[u8; 64]>>(3)?) else {
            findings.add("signature", call, "its record is not signed");
            continue;
        };
        match keys.get(&key) {
            None => findings.add("signature", call, format!("its record is signed with {key}, which is not there")),
            Some(public) => findings.expect(public.checks(&record, &Signature::new(value)), "signature", &call, || {
                format!("its record is not what {key} signed")
            }),
        }
    }
    Ok(())
}
