//! The audit bites: whatever is changed in the file behind the store's back, it says so.

use super::super::{Finding, Role, Store};
use super::*;
use rusqlite::Connection;
use std::fs;

/// A closed database with a settled call of two holds, of which some went back, a free one, an open one, a policy and a reply.
fn shop() -> Shop {
    let shop = Shop::new();
    let idempotency = Idempotency { vendor: shop.vendor, key: "k".to_owned(), request_hash: [1; 32], status: 201, body: "{}".to_owned() };
    shop.commit(Transaction { idempotency: Some(idempotency), writes: vec![shop.credit("c", 10_000), shop.credit("d", 10_000)] });
    let mut settled = shop.start_now("c", 2000);
    let (hold, write) = shop.hold(settled.call, "c", 1000);
    let extended = Fact::Extended { by: crate::call::Asker::Client, hold, order_ref: None, amount: None };
    shop.commit(of(vec![write, Write::Facts { call: settled.call, entries: vec![settled.entry(1, extended)] }]));
    settled.seq += 1;
    settled.holds.push((hold, 1000));
    shop.commit(shop.settle(&settled, &[2000, 10]));
    shop.commit(of(vec![shop.give_back(settled.call, 101, Returned::default(), Bearer::Shares, ReturnKind::Refund)]));
    let adjustment = ReturnKind::Adjustment { direction: Direction::ToClient, reason: "quality".to_owned() };
    let before = Returned { by_shares: 101, by_vendor: 0 };
    shop.commit(of(vec![shop.give_back(settled.call, 7, before, Bearer::Vendor, adjustment), shop.wallet_refund("d", 50)]));
    let policy = Policy::default().with(crate::call::Ending::ClientLeft, crate::call::Sold::Block, crate::call::Rule::ExactDelivered);
    shop.commit(of(vec![Write::SetPolicy { vendor: shop.vendor, policy: policy.unwrap(), at: at(5) }]));
    let free = shop.start_now("c", 500);
    shop.commit(shop.settle(&free, &[0]));
    shop.start_now("d", 700);
    shop.store.close();
    shop
}

/// What the audit finds after `sql` was run on a copy whose guards are gone.
fn findings(shop: &Shop, sql: &str) -> Vec<Finding> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lull.db");
    let source = Connection::open(shop.path()).unwrap();
    source.execute("VACUUM INTO ?", [path.to_str().unwrap()]).unwrap();
    let connection = Connection::open(&path).unwrap();
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(())).unwrap();
    connection.pragma_update(None, "ignore_check_constraints", true).unwrap();
    connection.pragma_update(None, "foreign_keys", false).unwrap();
    let triggers = connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'trigger'").unwrap();
    let triggers = { triggers }.query_map([], |row| row.get(0)).unwrap().collect::<rusqlite::Result<Vec<String>>>().unwrap();
    for trigger in triggers {
        connection.execute_batch(&format!("DROP TRIGGER {trigger}")).unwrap();
    }
    let before = connection.total_changes();
    connection.execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    assert!(sql.is_empty() || connection.total_changes() > before, "{sql} changes nothing");
    drop(connection);
    Store::open(&path, Role::Auditor).unwrap().audit(&record).unwrap()
}

#[test]
fn an_untouched_database_adds_up() {
    assert_eq!(findings(&shop(), ""), []);
}

#[test]
fn every_tampering_is_found() {
    let shop = shop();
    const SETTLED: &str = "(SELECT min(id) FROM call)";
    const OPEN: &str = "(SELECT id FROM call WHERE settled_at IS NULL)";
    for (sql, rule) in [
        ("UPDATE posting SET amount = amount + 1 WHERE transfer = (SELECT min(id) FROM transfer) AND amount > 0", "transfer_sum"),
        ("UPDATE posting SET amount = amount * 2 WHERE transfer = (SELECT min(id) FROM transfer)", "transfer_hash"),
        ("UPDATE posting SET amount = 9223372036854775807 WHERE amount > 0", "transfer_sum"),
        ("DELETE FROM posting WHERE transfer = (SELECT min(id) FROM transfer)", "balance"),
        ("DELETE FROM transfer WHERE kind = 'credit'", "reference"),
        (
            "DELETE FROM posting WHERE transfer IN (SELECT id FROM transfer WHERE call NOT NULL); DELETE FROM transfer WHERE call NOT NULL",
            "charge_posted",
        ),
        ("UPDATE transfer SET order_ref = 'x' || order_ref WHERE kind = 'credit'", "transfer_hash"),
        ("UPDATE transfer SET at = at + 1", "transfer_hash"),
        ("UPDATE transfer SET note = note || '!' WHERE note NOT NULL", "transfer_hash"),
        ("UPDATE transfer SET actor = 'api_key' WHERE actor = 'page'", "transfer_hash"),
        ("UPDATE transfer SET reason = 'other' WHERE reason NOT NULL", "transfer_hash"),
        ("UPDATE transfer SET bearer = 'vendor' WHERE bearer = 'shares'", "return_parts"),
        ("UPDATE transfer SET note = '' WHERE kind = 'credit'", "transfer_hash"),
        ("UPDATE transfer SET reason = '' WHERE kind = 'call_refund'", "transfer_hash"),
        ("UPDATE posting SET number = 99 WHERE number = 1 AND account = 1", "posting_number"),
        ("UPDATE posting SET balance = balance + 1 WHERE number = 2 AND account = 1", "posting_balance"),
        ("UPDATE returned SET by_shares = by_shares + 1", "returned"),
        ("UPDATE returned SET by_shares = by_shares - 1, by_vendor = by_vendor + 1", "returned"),
        ("UPDATE returned SET captured = captured + 1", "returned"),
        ("DELETE FROM returned", "returned"),
        ("UPDATE returned SET call = (SELECT max(id) FROM call)", "returned"),
        (
            "DELETE FROM posting WHERE transfer IN (SELECT id FROM transfer WHERE bearer NOT NULL); DELETE FROM transfer WHERE bearer NOT NULL",
            "returned",
        ),
        ("UPDATE posting SET amount = amount * 30 WHERE transfer IN (SELECT id FROM transfer WHERE bearer NOT NULL)", "returned"),
        ("UPDATE account SET posted = posted + 1 WHERE kind = 'client' AND owner = 'c'", "balance"),
        ("UPDATE account SET posted = posted + 1 WHERE kind = 'vendor'", "account_sum"),
        ("UPDATE account SET held = held + 1 WHERE owner = 'd'", "held"),
        ("UPDATE account SET held = 20000 WHERE owner = 'd'; UPDATE hold SET amount = 20000 WHERE resolved_at IS NULL", "available"),
        ("UPDATE account SET currency = 'USD' WHERE kind = 'cash_in'", "transfer_sum"),
        ("UPDATE account SET currency = 'USD'", "currency"),
        ("UPDATE hold SET amount = amount + 1 WHERE resolved_at IS NULL", "held"),
        ("UPDATE hold SET captured = captured + 1, released = released - 1 WHERE captured > 100", "charge"),
        ("UPDATE hold SET account = (SELECT id FROM account WHERE owner = 'd') WHERE captured > 0", "charge_posted"),
        ("UPDATE hold SET resolved_at = 1, released = amount WHERE resolved_at IS NULL", "hold_final"),
        ("UPDATE hold SET resolved_at = NULL, captured = 0, released = 0 WHERE captured > 0", "hold_final"),
        ("UPDATE hold SET captured = 1 WHERE released > 0", "hold_sum"),
        ("UPDATE hold SET id = 'hold_x' WHERE captured > 100", "readable"),
        ("DELETE FROM hold WHERE resolved_at IS NULL", "held"),
        ("DELETE FROM hold WHERE captured > 100", "hold_missing"),
        ("UPDATE journal SET at = at + 1 WHERE seq = 2", "journal_hash"),
        ("UPDATE journal SET fact = replace(fact, 'client_left', 'vendor_ended') WHERE fact LIKE '%client_left%'", "journal_hash"),
        ("UPDATE journal SET hash = zeroblob(32) WHERE seq = 1", "journal_hash"),
        ("UPDATE journal SET version = 2 WHERE seq = 1", "readable"),
        ("UPDATE journal SET fact = '{}' WHERE seq = 1", "readable"),
        ("DELETE FROM journal WHERE seq = 2", "journal_gap"),
        ("DELETE FROM journal WHERE seq = 1", "journal_start"),
        ("DELETE FROM journal WHERE fact LIKE '%\"settled\"%'", "journal_end"),
        ("DELETE FROM journal WHERE fact LIKE '%\"settled\"%'", "final"),
        (
            &format!("DELETE FROM journal WHERE call = {OPEN}; DELETE FROM hold WHERE call = {OPEN}; DELETE FROM call WHERE id = {OPEN}"),
            "held",
        ),
        (&format!("UPDATE call SET client = 'd' WHERE id = {SETTLED}"), "call_row"),
        (&format!("UPDATE call SET medium = 'video' WHERE id = {SETTLED}"), "call_row"),
        (&format!("UPDATE call SET settled_at = NULL WHERE id = {SETTLED}"), "final"),
        (&format!("UPDATE call SET settled_at = 5 WHERE id = {OPEN}"), "final"),
        (&format!("UPDATE call SET seq = 9 WHERE id = {OPEN}"), "journal_end"),
        (&format!("UPDATE call SET id = 'call_x' WHERE id = {OPEN}"), "reference"),
        (&format!("INSERT INTO record VALUES ({OPEN}, '{{}}')"), "record"),
        (&format!("DELETE FROM record WHERE call = {SETTLED}"), "record"),
        ("UPDATE record SET body = body || ' '", "record_rebuilt"),
        ("UPDATE record SET body = 'gone'", "record_json"),
        ("UPDATE record SET body = json_set(body, '$.charge.amount', 7)", "record_sum"),
        ("UPDATE record SET body = json_set(body, '$.refund.amount', 7)", "record_sum"),
        ("UPDATE record SET body = json_set(body, '$.lines[0].amount.amount', 7)", "record_sum"),
        ("UPDATE record SET body = json_remove(body, '$.shares')", "record_sum"),
        ("UPDATE record SET body = json_set(body, '$.shares[0].amount.amount', 2010, '$.shares[1].amount.amount', 0)", "shares_posted"),
        (&format!("UPDATE call SET settled_at = settled_at + 1 WHERE id = {SETTLED}"), "settled_at"),
        ("UPDATE record SET body = json_set(body, '$.charge.amount', 7)", "books"),
        ("UPDATE record SET body = json_set(body, '$.charge.amount', 7)", "signature"),
        ("UPDATE signature SET value = zeroblob(64)", "signature"),
        ("DELETE FROM signature", "signature"),
        ("UPDATE signature SET key = 'x'", "signature"),
        ("UPDATE signing_key SET public = zeroblob(32)", "key"),
        ("UPDATE signing_key SET secret = zeroblob(32)", "key"),
        ("UPDATE signing_key SET secret = NULL, until_at = 1", "key"),
        ("UPDATE idempotency SET body = '[]'", "row_hash"),
        ("UPDATE idempotency SET status = 200", "row_hash"),
        ("UPDATE idempotency SET request_hash = zeroblob(32)", "row_hash"),
        ("UPDATE idempotency SET row_hash = NULL", "row_hash"),
        ("UPDATE hold SET placed_at = placed_at + 1 WHERE resolved_at IS NULL", "row_hash"),
        ("UPDATE hold SET resolved_at = resolved_at + 1", "row_hash"),
        ("UPDATE account SET owner = 'e' WHERE owner = 'd'", "row_hash"),
        ("UPDATE settlement_policy SET policy = '{}'", "row_hash"),
        ("UPDATE settlement_policy SET updated_at = updated_at + 1", "row_hash"),
        ("UPDATE settlement_policy SET row_hash = NULL", "row_hash"),
        ("UPDATE settlement_policy SET policy = replace(policy, 'exact_delivered', 'as_rated')", "row_hash"),
        ("UPDATE settlement_policy SET policy = '{\"rules\":{\"server_fault\":{\"block\":\"as_rated\"}}}'", "policy"),
        (
            "ALTER TABLE idempotency RENAME TO old; CREATE TABLE idempotency (vendor, key, request_hash, status, body, row_hash);
             INSERT INTO idempotency SELECT * FROM old UNION ALL SELECT * FROM old",
            "reply",
        ),
    ] {
        let findings = findings(&shop, sql);
        let rules: Vec<&str> = findings.iter().map(|finding| finding.rule).collect();
        assert!(rules.contains(&rule), "{sql}\nwas to break {rule} and the audit found {findings:#?}");
    }
}

#[test]
fn a_finding_says_where() {
    let shop = shop();
    let text: Vec<String> = findings(&shop, "DELETE FROM journal WHERE seq = 2").iter().map(ToString::to_string).collect();
    assert!(text.iter().any(|line| line.starts_with("call_") && line.contains("journal_gap: fact 3 follows fact 1")), "{text:#?}");
}

/// A flipped bit in a table's conditions refuses good rows for ever, and no row of now is against it.
#[test]
fn a_changed_layout_is_found() {
    let shop = shop();
    let layout = || Store::open(&shop.path(), Role::Auditor).unwrap().audit_layout().unwrap();
    let rows = || Store::open(&shop.path(), Role::Auditor).unwrap().audit(&record).unwrap();
    assert_eq!((layout(), rows()), (vec![], vec![]));
    let file = Connection::open(shop.path()).unwrap();
    file.execute_batch("ANALYZE; PRAGMA writable_schema = on").unwrap();
    assert_eq!(layout(), [], "figures of SQLite's own");
    for (change, back, place) in [
        (
            "UPDATE sqlite_schema SET sql = replace(sql, 'exhausted', 'exhaustet') WHERE name = 'webhook_endpoint'",
            "UPDATE sqlite_schema SET sql = replace(sql, 'exhaustet', 'exhausted') WHERE name = 'webhook_endpoint'",
            "table webhook_endpoint",
        ),
        ("DROP INDEX event_by_time", "CREATE INDEX event_by_time ON event (vendor, at)", "index event_by_time"),
        ("CREATE TRIGGER t BEFORE INSERT ON vendor BEGIN SELECT RAISE(IGNORE); END", "DROP TRIGGER t", "trigger t"),
    ] {
        file.execute_batch(change).unwrap();
        assert_eq!(rows(), [], "{change}: no row is against it");
        let found = layout();
        assert_eq!(found.iter().map(|finding| (finding.rule, finding.place.as_str())).collect::<Vec<_>>(), [("layout", place)], "{change}");
        file.execute_batch(back).unwrap();
    }
    assert_eq!(layout(), []);
}

#[test]
fn a_damaged_file_is_found() {
    let shop = shop();
    let connection = Connection::open(shop.path()).unwrap();
    connection.pragma_update_and_check(None, "wal_checkpoint", "truncate", |_| Ok(())).unwrap();
    let posting = "SELECT rootpage FROM sqlite_schema WHERE name = 'posting'";
    let page: u32 = connection.query_one(posting, [], |row| row.get(0)).unwrap();
    let mut bytes = fs::read(shop.path()).unwrap();
    bytes[(page as usize - 1) * 4096..][..8].fill(0xa5);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lull.db");
    fs::write(&path, bytes).unwrap();
    let findings = Store::open(&path, Role::Auditor).unwrap().audit(&record).unwrap();
    assert!(findings.iter().any(|finding| finding.rule == "file"), "{findings:?}");
}

#[test]
fn what_happened_cannot_be_changed_by_accident() {
    let shop = shop();
    let connection = Connection::open(shop.path()).unwrap();
    for table in ["journal", "record", "transfer", "posting", "idempotency"] {
        let column = match table {
            "journal" => "at",
            "record" => "body",
            "transfer" => "at",
            "posting" => "amount",
            _ => "status",
        };
        assert!(connection.execute_batch(&format!("UPDATE {table} SET {column} = {column}")).is_err(), "{table}");
        assert!(connection.execute_batch(&format!("DELETE FROM {table}")).is_err(), "{table}");
    }
    assert!(connection.execute_batch("UPDATE hold SET captured = 0, released = amount WHERE resolved_at NOT NULL").is_err());
    assert!(connection.execute_batch("UPDATE call SET settled_at = NULL").is_err());
    for table in ["hold", "call"] {
        assert!(connection.execute_batch(&format!("DELETE FROM {table}")).is_err(), "{table}");
    }
}
