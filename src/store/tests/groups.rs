//! Groups: order, what a member's failure does to the others, a full disk, a sudden end.

use super::super::{Role, Store, open};
use super::*;
use std::fs;
use std::sync::mpsc::{Receiver, Sender, channel};

/// Submits, and sends the outcome under a number.
fn submit(store: &Store, number: usize, transaction: Transaction, told: &Sender<(usize, Result<Outcome, StoreError>)>) {
    let told = told.clone();
    store.submit(transaction, move |outcome| told.send((number, outcome)).unwrap());
}

/// Keeps the writer busy until the returned sender is dropped, so that what is submitted meanwhile makes one group.
fn occupy(shop: &Shop) -> Sender<()> {
    let (release, released) = channel::<()>();
    let (begun, beginning) = channel();
    shop.store.submit(of(vec![]), move |_| {
        begun.send(()).unwrap();
        let _ = released.recv();
    });
    beginning.recv().unwrap();
    release
}

fn outcomes(told: Receiver<(usize, Result<Outcome, StoreError>)>) -> Vec<(usize, Result<Outcome, StoreError>)> {
    told.iter().collect()
}

#[test]
fn outcomes_come_in_the_order_of_submitting() {
    let shop = Shop::new();
    let (tell, told) = channel();
    for number in 0..2500 {
        submit(&shop.store, number, of(vec![shop.credit("c", 1)]), &tell);
    }
    drop(tell);
    assert_eq!(outcomes(told), (0..2500).map(|number| (number, Ok(Outcome::Committed))).collect::<Vec<_>>());
    assert_eq!(shop.wallet("c"), (2500, 0));
    shop.assert_adds_up();
}

#[test]
fn an_outcome_is_told_when_its_whole_group_is_on_disk() {
    let shop = Shop::new();
    let release = occupy(&shop);
    let (tell, told) = channel();
    for _ in 0..3 {
        let (store, vendor, tell) = (shop.store.clone(), shop.vendor, tell.clone());
        shop.store.submit(of(vec![shop.credit("c", 1)]), move |_| {
            tell.send(store.balances(vendor, &client("c")).unwrap()[0].posted).unwrap();
        });
    }
    assert_eq!(shop.store.backlog(), 3);
    drop((release, tell));
    assert_eq!(told.iter().collect::<Vec<_>>(), [cny(3), cny(3), cny(3)]);
    assert_eq!(shop.store.commit(of(vec![])), Ok(Outcome::Committed));
}

#[test]
fn a_broken_or_refused_member_leaves_the_others_alone() {
    let shop = Shop::new();
    let release = occupy(&shop);
    let (tell, told) = channel();
    submit(&shop.store, 0, of(vec![shop.credit("c", 10)]), &tell);
    // The first write of each of these would be fine alone.
    submit(&shop.store, 1, of(vec![shop.credit("c", 100), shop.credit("c", 0)]), &tell);
    let (_, too_dear) = shop.start("c", 11);
    let mut refused = of(vec![shop.credit("d", 100)]);
    refused.writes.extend(too_dear.writes);
    submit(&shop.store, 2, refused, &tell);
    submit(&shop.store, 3, of(vec![shop.credit("c", 1000)]), &tell);
    drop((release, tell));
    let told = outcomes(told);
    assert_eq!(told[0].1, Ok(Outcome::Committed));
    assert!(matches!(&told[1].1, Err(StoreError::Broken(_))), "{:?}", told[1]);
    assert_eq!(told[2].1, Ok(Outcome::Refused(Refusal::Funds { available: cny(10) })));
    assert_eq!(told[3].1, Ok(Outcome::Committed));
    assert_eq!((shop.wallet("c"), shop.wallet("d")), ((1010, 0), (0, 0)));
    shop.assert_adds_up();
}

#[test]
fn closing_works_off_the_queue_first() {
    let shop = Shop::new();
    let release = occupy(&shop);
    let (tell, told) = channel();
    submit(&shop.store, 0, of(vec![shop.credit("c", 1)]), &tell);
    drop(release);
    shop.store.close();
    submit(&shop.store, 1, of(vec![shop.credit("c", 1)]), &tell);
    drop(tell);
    assert_eq!(outcomes(told), [(0, Ok(Outcome::Committed)), (1, Err(StoreError::Closed))]);
    assert_eq!(shop.wallet("c"), (1, 0), "reads go on");
    shop.store.close();
}

#[test]
fn the_last_handle_may_be_dropped_on_the_writers_own_thread() {
    let shop = Shop::new();
    let path = shop.path();
    let (tell, told) = channel();
    let store = shop.store;
    let last = store.clone();
    let (go, gone) = channel::<()>();
    store.submit(of(vec![]), move |_| {
        let _ = gone.recv();
        drop(last);
        tell.send(()).unwrap();
    });
    drop(store);
    drop(go);
    told.recv().unwrap();
    assert!(Store::open(&path, Role::Tool).is_ok());
}

#[test]
fn a_full_disk_is_said_and_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lull.db");
    let opened = open::open(&path, Role::Server).unwrap();
    let connection = opened.writer.as_ref().unwrap();
    let pages: u32 = connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    connection.pragma_update_and_check(None, "max_page_count", pages + 20, |_| Ok(())).unwrap();
    let mut shop = Shop::with(dir, Store::start(opened).unwrap());
    let mut acknowledged = 0;
    loop {
        let release = occupy(&shop);
        let (tell, told) = channel();
        for number in 0..7 {
            submit(&shop.store, number, of(vec![shop.credit("c", 1)]), &tell);
        }
        drop((release, tell));
        let outcomes: Vec<_> = outcomes(told).into_iter().map(|(_, outcome)| outcome).collect();
        if outcomes[0] != Ok(Outcome::Committed) {
            // None of the group, whichever of its members it was that found no room.
            let expected: Vec<Result<Outcome, _>> = outcomes.iter().map(|_| Err(StoreError::Full)).collect();
            assert_eq!(outcomes[..expected.len()], expected[..]);
            break;
        }
        acknowledged += 7;
    }
    assert!(acknowledged > 100);
    assert_eq!(shop.wallet("c"), (acknowledged, 0));
    shop.assert_adds_up();
    // What needs no room still works, and so does everything once there is room again.
    assert_eq!(shop.store.commit(of(vec![Write::CloseSession { session_hash: [0; 32] }])), Ok(Outcome::Committed));
    shop.reopen();
    shop.commit(of(vec![shop.credit("c", 1)]));
    assert_eq!(shop.wallet("c"), (acknowledged + 1, 0));
    shop.assert_adds_up();
}

#[test]
fn a_group_whose_commit_fails_is_undone_whole() {
    let dir = tempfile::tempdir().unwrap();
    let opened = open::open(&dir.path().join("lull.db"), Role::Server).unwrap();
    // A reference that is missed only at COMMIT, made by every posting.
    let trap = "CREATE TABLE trap (vendor TEXT REFERENCES vendor DEFERRABLE INITIALLY DEFERRED);
                CREATE TRIGGER spring AFTER INSERT ON posting BEGIN INSERT INTO trap VALUES ('nobody'); END";
    opened.writer.as_ref().unwrap().execute_batch(trap).unwrap();
    let shop = Shop::with(dir, Store::start(opened).unwrap());
    let release = occupy(&shop);
    let (tell, told) = channel();
    let plain = || of(vec![Write::AddLoginCode { vendor: shop.vendor, code_hash: [4; 32], expires_at: at(9) }]);
    submit(&shop.store, 0, plain(), &tell);
    submit(&shop.store, 1, of(vec![shop.credit("c", 1)]), &tell);
    drop((release, tell));
    for (number, outcome) in outcomes(told) {
        assert!(outcome.is_err(), "{number} was told {outcome:?}");
    }
    assert_eq!(shop.wallet("c"), (0, 0));
    assert_eq!(shop.store.commit(plain()), Ok(Outcome::Committed), "the code is not there yet");
}

#[test]
fn a_failing_disk_stops_the_writer() {
    let shop = Shop::new();
    shop.commit(of(vec![shop.credit("c", 1)]));
    let (path, vendor) = (shop.path(), shop.vendor);
    let (credit, session) = (shop.credit("c", 1), Write::CloseSession { session_hash: [0; 32] });
    let Shop { dir, store, .. } = shop;
    drop(store);
    let connection = rusqlite::Connection::open(&path).unwrap();
    let root = "SELECT rootpage FROM sqlite_schema WHERE name = 'posting'";
    let page: u32 = connection.query_one(root, [], |row| row.get(0)).unwrap();
    drop(connection);
    let mut bytes = fs::read(&path).unwrap();
    bytes[(page as usize - 1) * 4096..][..8].fill(0xa5);
    fs::write(&path, bytes).unwrap();
    let store = Store::open(&path, Role::Server).unwrap();
    assert_eq!(store.commit(of(vec![session.clone()])), Ok(Outcome::Committed));
    let failed = store.commit(of(vec![credit]));
    assert!(matches!(failed, Err(StoreError::Database(_))), "{failed:?}");
    assert_eq!(store.commit(of(vec![session])), failed, "nothing more is written");
    assert_eq!(store.balances(vendor, &client("c")).unwrap()[0].posted, cny(1));
    drop(dir);
}

#[test]
fn what_was_acknowledged_survives_a_sudden_end() {
    let shop = Shop::new();
    shop.commit(of(vec![shop.credit("c", 100)]));
    let started = shop.start_now("c", 60);
    // What a killed process leaves behind: the files as they are, with nothing closed.
    let left = tempfile::tempdir().unwrap();
    for name in ["lull.db", "lull.db-wal"] {
        fs::copy(shop.dir.path().join(name), left.path().join(name)).unwrap();
    }
    let store = Store::open(&left.path().join("lull.db"), Role::Server).unwrap();
    assert_eq!(store.unfinished_calls().unwrap().iter().map(|journal| journal.call).collect::<Vec<_>>(), [started.call]);
    assert_eq!(store.balances(shop.vendor, &client("c")).unwrap(), [Balance { posted: cny(100), held: 60 }]);
    assert_eq!(store.audit(&record), Ok(vec![]));
}
