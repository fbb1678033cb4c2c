//! What a crash leaves proved, and a disk that refuses for a while.

use super::super::{Beat, Role, Store, faults};
use super::*;
use crate::clock::{Clock, Reading};
use crate::ids::BootId;
use crate::signing::SigningKey;
use rusqlite::Connection;
use std::sync::mpsc::channel;

impl Shop {
    pub(super) fn boot(&self) -> BootId {
        let boot = BootId::new(self.uuid());
        self.commit(of(vec![Write::Boot { boot, at: at(0), wall: at(0) }]));
        boot
    }

    pub(super) fn beat(&self, boot: BootId, call: CallId, until: i64) -> Transaction {
        let beats = vec![Beat { call, until: at(until), delivered: Span::from_ms(until) }];
        of(vec![Write::Heartbeats { boot, at: at(until), clocks: Clock::read(), beats }])
    }
}

#[test]
fn a_heartbeat_overwrites_one_row_and_moves_no_money() {
    let shop = Shop::new();
    shop.commit(of(vec![shop.credit("c", 100)]));
    let started = shop.start_now("c", 60);
    let boot = shop.boot();
    for until in [1000, 6000, 4000] {
        shop.commit(shop.beat(boot, started.call, until));
    }
    let proofs = shop.store.proofs().unwrap();
    assert_eq!(proofs.into_iter().collect::<Vec<_>>(), [(started.call, at(6000))], "a proof is never taken back");
    assert_eq!(shop.store.last_alive(), Ok(Some(at(6000))));
    assert_eq!(shop.wallet("c"), (100, 60));
    assert_eq!(shop.store.journal(started.call).unwrap().unwrap().entries.len(), 1);
    shop.commit(shop.settle(&started, &[20]));
    assert!(shop.store.proofs().unwrap().is_empty(), "a final call has nothing left to prove");
    shop.assert_broken(shop.beat(boot, started.call, 9000), "final call");
    shop.assert_adds_up();
}

/// A changed proof would bill an outage, and date the whole server to come.
#[test]
fn a_proof_is_never_later_than_its_server_lived_and_the_audit_says_so() {
    let shop = Shop::new();
    shop.commit(of(vec![shop.credit("c", 100)]));
    let started = shop.start_now("c", 60);
    let boot = shop.boot();
    shop.commit(shop.beat(boot, started.call, 1000));
    shop.commit(shop.beat(boot, started.call, 6000));
    let early = || shop.store.audit_unfinished(&record).unwrap().iter().map(|finding| finding.rule).collect::<Vec<_>>();
    assert_eq!(early(), [""; 0]);
    let file = Connection::open(shop.path()).unwrap();
    for (sql, back, rules) in [
        ("UPDATE heartbeat SET proved_until = proved_until | (1 << 41)", "proved_until & ~(1 << 41)", &["row_hash", "proof"][..]),
        ("UPDATE heartbeat SET proved_until = proved_until - 4096", "proved_until + 4096", &["row_hash"]),
        ("UPDATE heartbeat SET billable_ms = billable_ms + 1", "billable_ms - 1", &["row_hash"]),
        ("UPDATE boot SET alive_at = alive_at + 4096", "alive_at - 4096", &["row_hash"]),
        ("UPDATE boot SET wall_at = wall_at + 1", "wall_at - 1", &["row_hash"]),
    ] {
        file.execute_batch("DROP TRIGGER IF EXISTS boot_keeps").unwrap();
        file.execute_batch(sql).unwrap();
        assert_eq!(early(), rules, "{sql}");
        assert!(shop.store.proofs().unwrap()[&started.call] <= shop.store.last_alive().unwrap().unwrap());
        assert!(shop.store.last_open_moment().unwrap() <= shop.store.last_alive().unwrap());
        let all: Vec<&str> = shop.store.audit(&record).unwrap().iter().map(|finding| finding.rule).collect();
        assert!(rules.iter().all(|rule| all.contains(rule)), "{sql}: {all:?}");
        let [_, table, _, column, ..] = sql.split(' ').collect::<Vec<_>>()[..] else { panic!("{sql}") };
        file.execute_batch(&format!("UPDATE {table} SET {column} = {back}")).unwrap();
        assert_eq!(early(), [""; 0], "{sql} and back");
    }
}

/// What an earlier layout left without a hash has one, also of starts that are long over.
#[test]
fn rows_of_version_10_get_their_hashes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lull.db");
    let file = Connection::open(&path).unwrap();
    for layout in [
        include_str!("../schema_1.sql"),
        include_str!("../schema_2.sql"),
        include_str!("../schema_3.sql"),
        include_str!("../schema_4.sql"),
        include_str!("../schema_5.sql"),
        include_str!("../schema_6.sql"),
        include_str!("../schema_7.sql"),
        include_str!("../schema_8.sql"),
        include_str!("../schema_9.sql"),
        include_str!("../schema_10.sql"),
    ] {
        file.execute_batch(layout).unwrap();
    }
    file.pragma_update(None, "application_id", 0x6c75_6c6c).unwrap();
    file.pragma_update(None, "user_version", 10).unwrap();
    file.pragma_update(None, "foreign_keys", false).unwrap();
    let (vendor, call) = (VendorId::new(Uuid::from_u128(1)).to_string(), CallId::new(Uuid::from_u128(2)));
    let companion = CompanionId::new(Uuid::from_u128(3)).to_string();
    file.execute("INSERT INTO vendor VALUES (?, 'Shop', zeroblob(32), 0)", [&vendor]).unwrap();
    file.execute("INSERT INTO companion VALUES (?, ?, 'Lin', NULL, 0)", [&companion, &vendor]).unwrap();
    file.execute("INSERT INTO meta VALUES ('join_token', zeroblob(32))", []).unwrap();
    let key = SigningKey::new(&[9; 32]).public();
    let add_key = "INSERT INTO signing_key VALUES (?, ?, ?, 0, NULL)";
    file.execute(add_key, rusqlite::params![key.id(), key.bytes(), [9_u8; 32]]).unwrap();
    file.execute("INSERT INTO boot VALUES (1, 'boot_1', 0, 1000, 1000)", []).unwrap();
    file.execute("INSERT INTO heartbeat VALUES (?, 1, 1000, 1000, 1000, 1000)", [call.to_string()]).unwrap();
    file.execute("INSERT INTO boot VALUES (2, 'boot_2', 2000, 2000, 2000)", []).unwrap();
    drop(file);
    let store = Store::open(&path, Role::Server).unwrap();
    let changed: Vec<String> = store.audit(&record).unwrap().iter().filter(|f| f.rule == "row_hash").map(ToString::to_string).collect();
    assert_eq!(changed, [""; 0]);
    assert_eq!(store.proofs().unwrap()[&call], Moment::from_unix_ms(1000));
}

#[test]
fn a_heartbeat_of_an_earlier_start_is_refused() {
    let shop = Shop::new();
    shop.commit(of(vec![shop.credit("c", 100)]));
    let started = shop.start_now("c", 60);
    let earlier = shop.boot();
    shop.commit(shop.beat(earlier, started.call, 1000));
    let boot = shop.boot();
    shop.assert_broken(shop.beat(earlier, started.call, 90_000), "not the last start");
    shop.assert_broken(shop.beat(BootId::new(Uuid::from_u128(99)), started.call, 90_000), "not the last start");
    assert_eq!(shop.store.proofs().unwrap()[&started.call], at(1000));
    // A proof of this start counts, also one that is earlier.
    shop.commit(shop.beat(boot, started.call, 500));
    assert_eq!(shop.store.proofs().unwrap()[&started.call], at(500));
}

#[test]
fn what_is_on_hold_and_in_no_fact_is_released_once() {
    let shop = Shop::new();
    shop.commit(of(vec![shop.credit("c", 100)]));
    let mut started = shop.start_now("c", 30);
    let (named, named_write) = shop.hold(started.call, "c", 20);
    let extended = started.entry(1, Fact::Extended { by: crate::call::Asker::Client, hold: named, order_ref: None, amount: None });
    shop.commit(of(vec![named_write, Write::Facts { call: started.call, entries: vec![extended] }]));
    let (stray, stray_write) = shop.hold(started.call, "c", 50);
    shop.commit(of(vec![stray_write]));
    assert_eq!(shop.wallet("c"), (100, 100));
    let known = vec![started.holds[0].0, named];
    assert_eq!(shop.store.pending_holds().unwrap()[&started.call].len(), 3);
    for _ in 0..2 {
        shop.commit(of(vec![Write::ReleaseStray { call: started.call, known: known.clone(), at: at(5) }]));
        assert_eq!(shop.wallet("c"), (100, 50));
        shop.assert_adds_up();
    }
    assert!(!shop.store.pending_holds().unwrap()[&started.call].contains(&stray));
    started.holds.push((named, 20));
    started.seq += 1;
    shop.commit(shop.settle(&started, &[30, 20]));
    assert_eq!(shop.wallet("c"), (50, 0));
    shop.assert_adds_up();
}

#[test]
fn an_order_counts_again_only_for_the_purchase_it_paid_and_that_was_released() {
    use crate::call::Asker;
    let shop = Shop::new();
    shop.commit(of(vec![shop.credit("c", 200)]));
    let (started, other) = (shop.start_now("c", 30), shop.start_now("c", 30));
    let by_order = |call: CallId, name: &str, amount: i64, order_ref: &str| {
        let Write::Credit { transfer, vendor, client, .. } = shop.credit(name, amount) else { panic!("it is a credit") };
        let (hold, hold_write) = shop.hold(call, "c", amount);
        let order_ref = order_ref.to_owned();
        let credit = Write::Credit { transfer, vendor, client, amount: cny(amount), order_ref, at: at(0) };
        (hold, of(vec![credit, hold_write]))
    };
    let refused = |transaction| assert_eq!(shop.store.commit(transaction), Ok(Outcome::Refused(Refusal::OrderCredited)));
    let release = |holds: &[HoldId]| shop.commit(of(vec![Write::ReleaseStray { call: started.call, known: holds.to_vec(), at: at(5) }]));
    let (_, first) = by_order(started.call, "c", 20, "paid");
    shop.commit(first);
    assert_eq!(shop.wallet("c"), (220, 80));
    refused(by_order(started.call, "c", 20, "paid").1);
    release(&[started.holds[0].0]);
    // Not another call's, nor by another amount, nor what was credited alone.
    refused(by_order(other.call, "c", 20, "paid").1);
    refused(by_order(started.call, "c", 21, "paid").1);
    let Write::Credit { order_ref: alone, .. } = shop.credit("c", 20) else { panic!("it is a credit") };
    let (_, mut plain) = by_order(started.call, "c", 25, &alone);
    plain.writes.truncate(1);
    shop.commit(plain.clone());
    refused(plain);
    refused(by_order(started.call, "c", 25, &alone).1);
    assert_eq!(shop.wallet("c"), (245, 60));

    let (hold, again) = by_order(started.call, "c", 20, "paid");
    shop.commit(again);
    assert_eq!(shop.wallet("c"), (245, 80), "on hold, and credited no second time");
    let order_ref = Some("paid".to_owned());
    let extended = started.entry(1, Fact::Extended { by: Asker::Vendor, hold, order_ref, amount: Some(cny(20)) });
    shop.commit(of(vec![Write::Facts { call: started.call, entries: vec![extended] }]));
    refused(by_order(started.call, "c", 20, "paid").1);
    assert_eq!(shop.wallet("c"), (245, 80));
    assert_eq!(shop.store.released_strays().unwrap()[&started.call].len(), 1);
    shop.assert_adds_up();
}

#[test]
fn a_fact_that_the_disk_refuses_waits_and_a_command_does_not() {
    for fault in [StoreError::Full, StoreError::Busy] {
        let shop = Shop::new();
        shop.commit(of(vec![shop.credit("c", 100)]));
        let started = shop.start_now("c", 60);
        assert_eq!(shop.store.trouble(), None);
        faults::set(&shop.path(), Some(fault.clone()));
        let (tell, told) = channel();
        let facts = |offset: u64| {
            of(vec![Write::Facts { call: started.call, entries: vec![started.entry(offset, Fact::Warned { left: Span::from_s(60) })] }])
        };
        for number in 1..=3 {
            let tell = tell.clone();
            shop.store.submit(facts(number), move |outcome| tell.send((number, outcome)).unwrap());
        }
        // Told at once, before the facts in front of it.
        assert_eq!(shop.store.commit(of(vec![shop.credit("c", 1)])), Err(fault.clone()));
        assert_eq!(shop.store.trouble(), Some(fault.clone()));
        assert_eq!(shop.store.commit(shop.start("c", 1).1), Err(fault.clone()));
        assert!(told.try_recv().is_err(), "a fact is said to be on disk, or lost");
        assert_eq!(shop.store.backlog(), 3);
        assert_eq!(shop.path().with_extension("db.ballast").exists(), fault != StoreError::Full);

        faults::set(&shop.path(), None);
        let outcomes: Vec<_> = told.iter().take(3).collect();
        assert_eq!(outcomes, [1, 2, 3].map(|number| (number, Ok(Outcome::Committed))));
        while shop.store.commit(of(vec![shop.credit("c", 1)])) != Ok(Outcome::Committed) {
            std::thread::yield_now();
        }
        assert_eq!(shop.store.trouble(), None);
        assert!(shop.path().with_extension("db.ballast").exists());
        assert_eq!(shop.wallet("c"), (101, 60));
        shop.assert_adds_up();
    }
}

#[test]
fn a_store_that_is_closed_on_a_full_disk_says_what_is_lost() {
    let shop = Shop::new();
    shop.commit(of(vec![shop.credit("c", 100)]));
    let started = shop.start_now("c", 60);
    faults::set(&shop.path(), Some(StoreError::Full));
    let (tell, told) = channel();
    let entries = vec![started.entry(1, Fact::Started)];
    shop.store.submit(of(vec![Write::Facts { call: started.call, entries }]), move |outcome| tell.send(outcome).unwrap());
    shop.store.close();
    assert_eq!(told.recv(), Ok(Err(StoreError::Full)));
    faults::set(&shop.path(), None);
    assert_eq!(shop.store.journal(started.call).unwrap().unwrap().entries.len(), 1);
}

#[test]
fn nothing_is_tried_again_when_nobody_knows_what_became_of_it() {
    let shop = Shop::new();
    shop.commit(of(vec![shop.credit("c", 100)]));
    let started = shop.start_now("c", 60);
    let fault = StoreError::Database("fsync".to_owned());
    faults::set(&shop.path(), Some(fault.clone()));
    let entries = vec![started.entry(1, Fact::Started)];
    let facts = of(vec![Write::Facts { call: started.call, entries }]);
    assert_eq!(shop.store.commit(facts.clone()), Err(fault.clone()));
    faults::set(&shop.path(), None);
    assert_eq!(shop.store.commit(facts), Err(fault.clone()));
    assert_eq!(shop.store.commit(of(vec![])), Err(fault));
}

#[test]
fn facts_go_on_from_the_last_one_of_the_open_calls() {
    let shop = Shop::new();
    assert_eq!(shop.store.last_open_moment(), Ok(None));
    shop.commit(of(vec![shop.credit("c", 100)]));
    let started = shop.start_now("c", 60);
    assert_eq!(shop.store.last_open_moment(), Ok(Some(at(0))));
    let boot = shop.boot();
    shop.commit(shop.beat(boot, started.call, 7000));
    assert_eq!(shop.store.last_open_moment(), Ok(Some(at(7000))));
    shop.commit(shop.settle(&started, &[60]));
    assert_eq!(shop.store.last_open_moment(), Ok(None), "a call that is over holds up no clock");
}

#[test]
fn what_the_wall_clock_said_is_the_last_servers_business() {
    let shop = Shop::new();
    assert_eq!(shop.store.last_wall(), Ok(None));
    let beat = |boot, wall| {
        let clocks = Reading { wall, ..Clock::read() };
        shop.commit(of(vec![Write::Heartbeats { boot, at: at(0), clocks, beats: vec![] }]));
    };
    let boot = shop.boot();
    for (wall, last) in [(5000, 5000), (9000, 9000), (1000, 9000)] {
        beat(boot, at(wall));
        assert_eq!(shop.store.last_wall(), Ok(Some(at(last))), "set back under way it is what it was");
    }
    // The next one was told to take it as it is.
    shop.boot();
    assert_eq!(shop.store.last_wall(), Ok(Some(at(0))));
}

#[test]
fn the_audit_of_calls_that_are_not_over_looks_at_no_other() {
    let shop = Shop::new();
    shop.commit(of(vec![shop.credit("c", 1000)]));
    let (over, open) = (shop.start_now("c", 60), shop.start_now("c", 60));
    shop.commit(shop.settle(&over, &[20]));
    assert_eq!(shop.store.audit_unfinished(&record), Ok(vec![]));
    let spoil = |call: CallId| {
        let connection = rusqlite::Connection::open(shop.path()).unwrap();
        connection.execute_batch("DROP TRIGGER journal_update").unwrap();
        connection.execute("UPDATE journal SET at = at + 1 WHERE call = ? AND seq = 1", [call.to_string()]).unwrap();
        let trigger = "CREATE TRIGGER journal_update BEFORE UPDATE ON journal BEGIN SELECT RAISE(ABORT, 'the journal never changes'); END";
        connection.execute_batch(trigger).unwrap();
    };
    spoil(over.call);
    assert_eq!(shop.store.audit_unfinished(&record), Ok(vec![]));
    let (tell, told) = channel();
    let background = shop.store.audit_in_background(record, move |findings| tell.send(findings).unwrap()).unwrap();
    let findings = told.recv().unwrap().unwrap();
    assert!(findings.iter().any(|finding| finding.rule == "journal_hash" && finding.place == over.call.to_string()), "{findings:?}");
    drop(background);
    spoil(open.call);
    let findings = shop.store.audit_unfinished(&record).unwrap();
    assert!(!findings.is_empty() && findings.iter().all(|finding| finding.place == open.call.to_string()), "{findings:?}");
}

#[test]
fn a_second_server_is_refused_and_tools_and_auditors_are_not() {
    let shop = Shop::new();
    assert!(matches!(Store::open(&shop.path(), Role::Server), Err(super::super::OpenError::Locked { .. })));
    let tool = Store::open(&shop.path(), Role::Tool).unwrap();
    tool.commit(of(vec![shop.credit("c", 5)])).unwrap();
    assert_eq!(Store::open(&shop.path(), Role::Auditor).unwrap().audit(&record), Ok(vec![]));
    assert_eq!(shop.wallet("c"), (5, 0));
}

/// Lets `sql` change what no server would; the guards stay away.
fn behind_the_back(shop: &Shop, sql: &str, call: CallId) {
    let connection = rusqlite::Connection::open(shop.path()).unwrap();
    connection.pragma_update(None, "foreign_keys", false).unwrap();
    for guard in ["journal_update", "journal_delete", "call_settles_once"] {
        connection.execute_batch(&format!("DROP TRIGGER IF EXISTS {guard}")).unwrap();
    }
    assert_eq!(connection.execute(sql, [call.to_string()]), Ok(1), "{sql}");
}

#[test]
fn a_journal_that_was_changed_is_not_read_back() {
    let shop = Shop::new();
    shop.commit(of(vec![shop.credit("c", 1000)]));
    let settled = |shop: &Shop| {
        let over = shop.start_now("c", 60);
        shop.commit(shop.settle(&over, &[20]));
        over.call
    };
    let whole = settled(&shop);
    for sql in [
        "UPDATE journal SET fact = replace(fact, 'client_left', 'client_lest') WHERE call = ? AND seq = 2",
        "UPDATE journal SET at = at + 1 WHERE call = ? AND seq = 3",
        "UPDATE journal SET seq = 4 WHERE call = ? AND seq = 3",
        "UPDATE journal SET hash = zeroblob(32) WHERE call = ? AND seq = 3",
        "UPDATE call SET seq = 4 WHERE id = ?",
        "DELETE FROM journal WHERE call = ? AND seq = 3",
    ] {
        let call = settled(&shop);
        behind_the_back(&shop, sql, call);
        match shop.store.journal(call) {
            Err(StoreError::Broken(why)) => assert!(why.contains(&call.to_string()), "{why}"),
            other => panic!("{sql}: {other:?}"),
        }
    }
    assert!(shop.store.journal(whole).unwrap().is_some());
    assert_eq!(shop.store.journal(CallId::new(shop.uuid())), Ok(None));
}

#[test]
fn a_check_that_panics_is_a_finding_and_hides_no_other() {
    let shop = Shop::new();
    shop.commit(of(vec![shop.credit("c", 1000)]));
    let [changed, strange, last] = std::array::from_fn(|_| {
        let over = shop.start_now("c", 60);
        shop.commit(shop.settle(&over, &[20]));
        over.call
    });
    for call in [changed, last] {
        behind_the_back(&shop, "UPDATE journal SET at = at + 1 WHERE call = ? AND seq = 2", call);
    }
    // A journal whose chain is broken is not asked for its record at all.
    let rebuild = move |journal: &Journal| {
        assert!(journal.call != changed && journal.call != last, "{} is broken", journal.call);
        assert!(journal.call != strange, "this is never there");
        record(journal)
    };
    let check = |findings: Vec<super::super::Finding>| {
        let of = |call: CallId| -> Vec<&str> {
            findings.iter().filter(|finding| finding.place == call.to_string()).map(|finding| finding.rule).collect()
        };
        assert!(of(changed).contains(&"journal_hash") && of(last).contains(&"journal_hash"), "{findings:?}");
        assert!(!of(changed).contains(&"panicked") && !of(last).contains(&"panicked"), "{findings:?}");
        assert_eq!(of(strange), ["panicked"], "{findings:?}");
    };
    check(shop.store.audit(&rebuild).unwrap());
    let (tell, told) = channel();
    let _background = shop.store.audit_in_background(rebuild, move |findings| tell.send(findings).unwrap()).unwrap();
    check(told.recv().unwrap().unwrap());
}
