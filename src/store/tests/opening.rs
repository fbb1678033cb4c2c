//! Who may open which file.

use super::super::{Role, Store, open};
use super::*;
use rusqlite::Connection;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::thread;

#[test]
fn a_second_server_is_refused_with_the_name_of_the_lock() {
    let mut shop = Shop::new();
    let link = shop.dir.path().join("link.db");
    symlink(shop.path(), &link).unwrap();
    for path in [shop.path(), link] {
        let error = Store::open(&path, Role::Server).err().unwrap().to_string();
        assert!(error.contains("another lull server") && error.contains("lull.db.lock") && !error.contains('\n'), "{error}");
    }
    shop.reopen();
    shop.assert_adds_up();
}

#[test]
fn tools_and_auditors_work_beside_a_server() {
    let shop = Shop::new();
    let tool = Store::open(&shop.path(), Role::Tool).unwrap();
    let id = VendorId::new(shop.uuid());
    let add = Write::AddVendor { id, name: "Second".to_owned(), key_hash: [2; 32], at: at(0) };
    assert_eq!(tool.commit(of(vec![add])), Ok(Outcome::Committed));
    assert_eq!(shop.store.vendor_by_key(&[2; 32]).unwrap().map(|vendor| vendor.id), Some(id));
    shop.commit(of(vec![shop.credit("c", 5)]));
    let auditor = Store::open(&shop.path(), Role::Auditor).unwrap();
    assert_eq!(auditor.audit(&record), Ok(vec![]));
    assert_eq!(auditor.commit(of(vec![shop.credit("c", 5)])), Err(StoreError::Closed));
}

#[test]
fn an_auditor_never_makes_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mistyped.db");
    assert_eq!(Store::open(&path, Role::Auditor).err(), Some(OpenError::Missing(path.clone())));
    assert!(!path.exists());
}

#[test]
fn only_the_owner_may_read_the_file_and_those_beside_it() {
    let shop = Shop::new();
    let files: Vec<_> = fs::read_dir(shop.dir.path()).unwrap().map(|file| file.unwrap()).collect();
    assert_eq!(files.len(), 5, "database, write-ahead log, its index, lock, ballast");
    for file in files {
        assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600, "{:?}", file.path());
    }
}

#[test]
fn other_files_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("text");
    fs::write(&text, "a diary, nothing for a database. ".repeat(100)).unwrap();
    let other = dir.path().join("other.db");
    Connection::open(&other).unwrap().execute_batch("CREATE TABLE diary (day)").unwrap();
    for path in [text, other] {
        let before = fs::read(&path).unwrap();
        for role in [Role::Server, Role::Tool, Role::Auditor] {
            assert_eq!(Store::open(&path, role).err(), Some(OpenError::Foreign), "{role:?} {}", path.display());
        }
        assert_eq!(fs::read(&path).unwrap(), before);
    }
}

#[test]
fn a_database_of_a_newer_lull_is_refused() {
    let shop = Shop::new();
    let (path, dir) = (shop.path(), shop.dir);
    drop(shop.store);
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    for role in [Role::Server, Role::Tool, Role::Auditor] {
        assert_eq!(Store::open(&path, role).err(), Some(OpenError::Newer { found: 99 }));
    }
    drop(dir);
}

/// What version 1 kept of a plan is a plan of blocks now.
#[test]
fn plans_of_version_1_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lull.db");
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch(include_str!("../schema_1.sql")).unwrap();
    connection.pragma_update(None, "application_id", 0x6c75_6c6c).unwrap();
    connection.pragma_update(None, "user_version", 1).unwrap();
    let (vendor, plan) = (VendorId::new(Uuid::from_u128(1)), PlanId::new(Uuid::from_u128(2)));
    connection.execute("INSERT INTO vendor VALUES (?, 'Shop', zeroblob(32), 0)", [vendor.to_string()]).unwrap();
    let ids = [plan.to_string(), vendor.to_string()];
    connection.execute("INSERT INTO plan VALUES (?, ?, 'a quarter', 900000, 2000, 'CNY', 'gold', 5)", ids).unwrap();
    drop(connection);
    let store = Store::open(&path, Role::Server).unwrap();
    let expected = Plan {
        id: plan,
        vendor,
        name: "a quarter".to_owned(),
        sold: quarter(2000),
        hold: cny(2000),
        grade: Some("gold".to_owned()),
        night: None,
        sounds: Sounds { chime: Some(-30), waiting: true },
        recording: None,
        created_at: Moment::from_unix_ms(5),
    };
    assert_eq!(store.plan(vendor, plan), Ok(Some(expected)));
}

#[test]
fn a_directory_that_is_not_there_is_said() {
    let error = Store::open(Path::new("/nowhere/lull.db"), Role::Server).err().unwrap().to_string();
    assert!(error.contains("/nowhere/lull.db"), "{error}");
}

#[test]
fn writing_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open::open(&dir.path().join("lull.db"), Role::Server).unwrap();
    let connection = opened.writer.unwrap();
    let pragma = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0)).unwrap();
    assert_eq!(pragma("journal_mode"), "wal".to_owned().into());
    assert_eq!(pragma("synchronous"), 2.into(), "FULL");
    assert_eq!(pragma("foreign_keys"), 1.into());
}

#[test]
fn a_server_and_tools_may_start_on_a_new_file_at_once() {
    for _ in 0..10 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lull.db");
        thread::scope(|scope| {
            let roles = [Role::Tool, Role::Server, Role::Tool, Role::Tool];
            let openings = roles.map(|role| {
                scope.spawn({
                    let path = &path;
                    move || Store::open(path, role).map(|_| ())
                })
            });
            for opening in openings {
                assert_eq!(opening.join().unwrap(), Ok(()));
            }
        });
    }
}
