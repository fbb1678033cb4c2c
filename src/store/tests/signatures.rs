//! Records are signed where they are written, and keys change without losing what they signed.

use super::super::signatures;
use super::*;
use crate::signing::{PublicKey, SigningKey};
use rusqlite::Connection;

/// A settled call of this charge, of 2,000 held.
fn settled(shop: &Shop, charge: i64) -> CallId {
    shop.commit(of(vec![shop.credit("c", 2000)]));
    let started = shop.start_now("c", 2000);
    shop.commit(shop.settle(&started, &[charge]));
    started.call
}

fn rotate(shop: &Shop, secret: u8, ms: i64) -> PublicKey {
    shop.commit(of(vec![Write::RotateKey { secret: [secret; 32], at: at(ms) }]));
    SigningKey::new(&[secret; 32]).public()
}

#[test]
fn a_record_is_signed_with_the_key_of_its_time_and_old_keys_stay() {
    let mut shop = Shop::new();
    let first = settled(&shop, 100);
    let [made] = shop.store.signing_keys().unwrap()[..] else { panic!("one key is made with the database") };
    assert_eq!(made.until_at, None);
    let from = made.from_at.unwrap().unix_ms() - at(0).unix_ms();
    let second_key = rotate(&shop, 7, from + 1000);
    let second = settled(&shop, 200);
    rotate(&shop, 8, from + 2000);
    let keys = shop.store.signing_keys().unwrap();
    assert_eq!(keys.iter().map(|key| key.until_at).collect::<Vec<_>>(), [Some(at(from + 1000)), Some(at(from + 2000)), None]);
    assert_eq!((keys[0].key, keys[1].key), (made.key, second_key));
    shop.reopen();
    for (call, key) in [(first, made.key), (second, second_key)] {
        let signed = shop.store.signed_record(shop.vendor, call).unwrap().unwrap();
        assert_eq!((signed.call, signed.key), (call, key));
        assert!(key.checks(&signed.record, &signed.signature));
        assert_eq!(shop.store.record(shop.vendor, call).unwrap(), Some(signed.record));
    }
    assert_eq!(shop.store.signing_keys().unwrap(), keys, "opening again makes no key");
    assert_eq!(shop.store.signed_record(VendorId::new(shop.uuid()), first), Ok(None), "another vendor's is not there");
    shop.assert_adds_up();
    // Only the key in use has a secret.
    shop.store.close();
    let connection = Connection::open(shop.path()).unwrap();
    let secrets: i64 = connection.query_one("SELECT count(secret) FROM signing_key", [], |row| row.get(0)).unwrap();
    assert_eq!(secrets, 1);
    assert!(connection.execute_batch("UPDATE signing_key SET until_at = 1 WHERE secret IS NULL").is_err());
    assert!(connection.execute_batch("DELETE FROM signing_key").is_err());
    assert!(connection.execute_batch("UPDATE signature SET key = key").is_err());
    assert!(connection.execute_batch("DELETE FROM signature").is_err());
}

#[test]
fn a_forgotten_secret_is_not_in_the_file() {
    let shop = Shop::new();
    rotate(&shop, 0xa7, 1);
    rotate(&shop, 0xa8, 2);
    shop.store.close();
    let connection = Connection::open(shop.path()).unwrap();
    connection.pragma_update_and_check(None, "wal_checkpoint", "truncate", |_| Ok(())).unwrap();
    drop(connection);
    let file = std::fs::read(shop.path()).unwrap();
    let has = |byte: u8| file.windows(32).any(|window| window == [byte; 32]);
    assert!(!has(0xa7) && has(0xa8));
}

#[test]
fn what_an_earlier_version_left_is_signed_and_hashed_when_the_first_key_is_made() {
    let mut shop = Shop::new();
    let idempotency = Idempotency { vendor: shop.vendor, key: "k".to_owned(), request_hash: [1; 32], status: 201, body: "{}".to_owned() };
    shop.commit(Transaction { idempotency: Some(idempotency), writes: vec![shop.credit("d", 10)] });
    let call = settled(&shop, 100);
    shop.start_now("c", 1900);
    shop.store.close();
    let mut connection = Connection::open(shop.path()).unwrap();
    let mut select = connection.prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").unwrap();
    let triggers = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let triggers = triggers.collect::<rusqlite::Result<Vec<(String, String)>>>().unwrap();
    drop(select);
    for (name, _) in &triggers {
        connection.execute_batch(&format!("DROP TRIGGER {name}")).unwrap();
    }
    connection.execute_batch("DELETE FROM signature; DELETE FROM signing_key").unwrap();
    for table in ["plan", "hold", "account", "idempotency"] {
        connection.execute_batch(&format!("UPDATE {table} SET row_hash = NULL")).unwrap();
    }
    for (_, sql) in &triggers {
        connection.execute_batch(sql).unwrap();
    }
    signatures::begin(&mut connection, &[9; 32], at(5)).unwrap();
    signatures::begin(&mut connection, &[10; 32], at(6)).unwrap();
    drop(connection);
    shop.reopen();
    let signed = shop.store.signed_record(shop.vendor, call).unwrap().unwrap();
    assert_eq!(signed.key, SigningKey::new(&[9; 32]).public());
    shop.assert_adds_up();
}

#[test]
fn records_of_a_stretch_of_time_come_in_the_order_of_settling() {
    let shop = Shop::new();
    // All are settled at 1,000 ms: then the id decides.
    let calls: Vec<CallId> = (0..5).map(|charge| settled(&shop, charge)).collect();
    let of = |from: i64, to: i64, after: Option<(Moment, CallId)>, limit: u32| -> Vec<CallId> {
        let records = shop.store.signed_records(shop.vendor, (at(from), at(to)), after, limit).unwrap();
        records.iter().map(|record| record.call).collect()
    };
    assert_eq!(of(0, 2000, None, 10), calls);
    assert_eq!(of(1000, 1001, None, 10), calls);
    assert_eq!(of(0, 1000, None, 10), []);
    assert_eq!(of(1001, 2000, None, 10), []);
    assert_eq!(of(0, 2000, None, 2), calls[..2]);
    assert_eq!(of(0, 2000, Some((at(1000), calls[1])), 2), calls[2..4]);
    assert_eq!(of(0, 2000, Some((at(1000), calls[4])), 2), []);
    assert_eq!(of(0, 2000, Some((at(999), calls[4])), 10), calls);
    assert_eq!(shop.store.signed_records(VendorId::new(shop.uuid()), (at(0), at(2000)), None, 10), Ok(vec![]));
}

#[test]
fn the_books_of_a_vendor_are_summed_up() {
    let shop = Shop::new();
    settled(&shop, 100);
    settled(&shop, 1000);
    settled(&shop, 0);
    shop.start_now("c", 1900);
    let audited = shop.store.audit_books(&record).unwrap();
    let [book] = &audited.books[..] else { panic!("{audited:?}") };
    assert_eq!((book.records, book.charged, book.captured), (3, 1100, 1100));
    assert_eq!((book.to_companions, book.to_vendor), ((770, 770), (330, 330)));
    assert_eq!(book.to_string(), "Shop, CNY: 3 records charge 11.00; captured 11.00; posted 7.70 to companions and 3.30 to the vendor");
    assert_eq!((audited.findings, audited.not_rebuilt), (vec![], 0));
}

#[test]
fn a_record_of_other_zones_is_not_made_again_but_still_signed() {
    let shop = Shop::new();
    shop.commit(of(vec![shop.credit("c", 2000)]));
    let started = shop.start_now("c", 2000);
    let mut settle = shop.settle(&started, &[100]);
    for write in &mut settle.writes {
        if let Write::Settle(settlement) = write {
            settlement.record = settlement.record.replacen('{', r#"{"tzdb_version":"2026a","#, 1);
        }
    }
    shop.commit(settle);
    // What this program makes of the journal differs.
    let audited = shop.store.audit_books(&record).unwrap();
    assert_eq!((audited.findings, audited.not_rebuilt), (vec![], 1));
    shop.store.close();
    let connection = Connection::open(shop.path()).unwrap();
    connection.execute_batch("DROP TRIGGER record_update; UPDATE record SET body = body || ' '").unwrap();
    let audited = shop.store.audit_books(&record).unwrap();
    assert_eq!(audited.findings.iter().map(|finding| finding.rule).collect::<Vec<_>>(), ["signature"]);
}
