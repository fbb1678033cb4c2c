//! Money that goes back: bounds, parts, references, and what an earlier layout becomes.

use super::super::{Role, Store};
use super::*;
use crate::billing::{Parts, RefundError};
use rusqlite::Connection;

/// A settled call of 1676, of which the companion got 1169.
fn settled(shop: &Shop) -> Started {
    shop.commit(of(vec![shop.credit("c", 5000)]));
    let started = shop.start_now("c", 2000);
    shop.commit(shop.settle(&started, &[1676]));
    started
}

fn by(by_shares: i64, by_vendor: i64) -> Returned {
    Returned { by_shares, by_vendor }
}

fn adjustment(direction: Direction) -> ReturnKind {
    ReturnKind::Adjustment { direction, reason: "quality".to_owned() }
}

#[test]
fn a_wallet_gives_back_what_is_free_in_it_and_each_reference_once() {
    let shop = Shop::new();
    shop.commit(of(vec![shop.credit("c", 5000)]));
    shop.start_now("c", 2000);
    let outcome = |write: Write| shop.store.commit(of(vec![write])).unwrap();
    assert_eq!(outcome(shop.wallet_refund("c", 3001)), Outcome::Refused(Refusal::Funds { available: cny(3000) }));
    assert_eq!(outcome(shop.wallet_refund("d", 1)), Outcome::Refused(Refusal::Funds { available: cny(0) }));
    let first = shop.wallet_refund("c", 1000);
    assert_eq!(outcome(first.clone()), Outcome::Committed);
    assert_eq!(outcome(first.clone()), Outcome::Refused(Refusal::OrderRefunded));
    assert_eq!(shop.wallet("c"), (4000, 2000));
    for amount in [0, -1, i64::MIN] {
        shop.assert_broken(of(vec![shop.wallet_refund("c", amount)]), "is not an amount to move");
    }
    assert_eq!(outcome(shop.wallet_refund("c", i64::MAX)), Outcome::Refused(Refusal::TooLarge));

    // A reference of a credit may be a refund's too: then the order shows both.
    let Write::Credit { order_ref, transfer, .. } = shop.credit("c", 500) else { panic!("it is a credit") };
    let credit =
        Write::Credit { transfer, vendor: shop.vendor, client: client("c"), amount: cny(500), order_ref: order_ref.clone(), at: at(0) };
    let Write::RefundWallet(mut refund) = shop.wallet_refund("c", 200) else { panic!("it is a refund") };
    (refund.order_ref, refund.note) = (order_ref.clone(), Some("not used".to_owned()));
    shop.commit(of(vec![credit, Write::RefundWallet(refund)]));
    let order = shop.store.order(shop.vendor, &order_ref).unwrap().unwrap();
    let (credit, refund) = (order.credit.unwrap(), order.refund.unwrap());
    assert_eq!((credit.amount, refund.amount, refund.note.as_deref()), (cny(500), cny(200), Some("not used")));
    assert_eq!(credit.transfer, transfer);
    assert_eq!(shop.store.order(shop.vendor, "unknown"), Ok(None));
    assert_eq!(shop.store.order(VendorId::new(shop.uuid()), &order_ref), Ok(None), "another vendor's");
    shop.assert_adds_up();
}

#[test]
fn partial_refunds_take_from_both_what_one_would() {
    let shop = Shop::new();
    let started = settled(&shop);
    let (companion, vendor) = shares(1676);
    let mut before = Returned::default();
    let mut borne = (0, 0);
    for amount in [1, 1, 1, 500, 3, 1170] {
        shop.commit(of(vec![shop.give_back(started.call, amount, before, Bearer::Shares, ReturnKind::Refund)]));
        before.by_shares += amount;
        let last = shop.store.adjustments(shop.vendor, started.call).unwrap().pop().unwrap();
        assert_eq!((last.amount, last.direction, last.parts.sum()), (cny(amount), Direction::ToClient, amount));
        borne = (borne.0 + last.parts.companion, borne.1 + last.parts.vendor);
    }
    assert_eq!((before.sum(), borne), (1676, (companion, vendor)), "a full refund returns exactly both shares");
    assert_eq!(shop.wallet("c"), (5000, 0));
    let charged = shop.store.charged(shop.vendor, started.call).unwrap().unwrap();
    assert_eq!((charged.settled, charged.parts, charged.returned), (true, Parts { companion, vendor }, by(1676, 0)));
    assert_eq!(
        charged.parts.give_back(charged.returned, 1, Bearer::Vendor),
        Err(RefundError::TooMuch { captured: 1676, returned: 1676, left: 0 })
    );
    shop.assert_adds_up();
}

#[test]
fn what_is_out_of_bounds_or_stale_is_refused_as_a_whole() {
    let shop = Shop::new();
    let started = settled(&shop);
    let give = |amount, before, bearer, kind| of(vec![shop.give_back(started.call, amount, before, bearer, kind)]);
    let none = Returned::default();
    shop.assert_broken(give(1677, none, Bearer::Shares, ReturnKind::Refund), "1676 of 1676 are left");
    shop.assert_broken(give(1, none, Bearer::Vendor, adjustment(Direction::FromClient)), "0 were returned");
    shop.assert_broken(give(0, none, Bearer::Shares, ReturnKind::Refund), "not an amount to move");
    shop.commit(give(1000, none, Bearer::Shares, ReturnKind::Refund));
    assert_eq!(shop.store.commit(give(1, none, Bearer::Shares, ReturnKind::Refund)), Ok(Outcome::Refused(Refusal::Stale)));
    shop.assert_broken(give(677, by(1000, 0), Bearer::Vendor, adjustment(Direction::ToClient)), "676 of 1676 are left");
    shop.assert_broken(give(1001, by(1000, 0), Bearer::Shares, adjustment(Direction::FromClient)), "1000 were returned");

    // What went back is only taken again from what she has free.
    shop.commit(of(vec![shop.wallet_refund("c", 4000)]));
    let taken = give(1000, by(1000, 0), Bearer::Shares, adjustment(Direction::FromClient));
    assert_eq!(shop.store.commit(taken.clone()), Ok(Outcome::Refused(Refusal::Funds { available: cny(324) })));
    shop.commit(of(vec![shop.credit("c", 676)]));
    shop.commit(taken);
    assert_eq!(shop.wallet("c"), (0, 0));
    assert_eq!(shop.store.charged(shop.vendor, started.call).unwrap().unwrap().returned, none);

    let yen = match shop.give_back(started.call, 1, none, Bearer::Shares, ReturnKind::Refund) {
        Write::Return(wanted) => Write::Return(Box::new(Return { amount: Money::new(1, "JPY".parse().unwrap()), ..*wanted })),
        other => other,
    };
    shop.assert_broken(of(vec![yen]), "which captured");
    let stranger = VendorId::new(shop.uuid());
    let theirs = match shop.give_back(started.call, 1, none, Bearer::Shares, ReturnKind::Refund) {
        Write::Return(wanted) => Write::Return(Box::new(Return { vendor: stranger, ..*wanted })),
        other => other,
    };
    shop.assert_broken(of(vec![theirs]), "unknown to");
    assert_eq!(shop.store.adjustments(stranger, started.call), Ok(vec![]));
    assert_eq!(shop.store.charged(stranger, started.call), Ok(None));
    shop.assert_adds_up();
}

#[test]
fn an_open_or_free_call_has_nothing_to_return() {
    let shop = Shop::new();
    shop.commit(of(vec![shop.credit("c", 5000)]));
    let open = shop.start_now("c", 100);
    let free = shop.start_now("c", 100);
    shop.commit(shop.settle(&free, &[0]));
    for call in [open.call, free.call] {
        shop.assert_broken(of(vec![shop.give_back(call, 1, Returned::default(), Bearer::Vendor, ReturnKind::Refund)]), "which captured");
    }
    let charged = |call| shop.store.charged(shop.vendor, call).unwrap().unwrap();
    assert_eq!((charged(open.call).settled, charged(free.call).settled), (false, true));
    assert_eq!((charged(open.call).currency, charged(free.call).currency), (None, None));
    shop.assert_adds_up();
}

#[test]
fn the_vendor_may_bear_more_than_she_got() {
    let shop = Shop::new();
    let started = settled(&shop);
    shop.commit(of(vec![shop.give_back(started.call, 1676, Returned::default(), Bearer::Vendor, adjustment(Direction::ToClient))]));
    let file = Connection::open(shop.path()).unwrap();
    let posted: i64 = file.query_one("SELECT posted FROM account WHERE kind = 'vendor'", [], |row| row.get(0)).unwrap();
    assert_eq!(posted, -shares(1676).0, "the companion keeps what she earned");
    let adjustment = shop.store.adjustments(shop.vendor, started.call).unwrap().remove(0);
    assert_eq!(
        (adjustment.kind.as_str(), adjustment.reason.as_deref(), adjustment.actor.as_str()),
        ("adjustment", Some("quality"), "page")
    );
    assert_eq!((adjustment.bearer, adjustment.note.as_str()), (Bearer::Vendor, "the line was bad"));
    shop.assert_adds_up();
}

#[test]
fn the_tables_themselves_keep_the_bounds() {
    let shop = Shop::new();
    let started = settled(&shop);
    let open = shop.start_now("c", 100);
    shop.commit(of(vec![shop.give_back(started.call, 1, Returned::default(), Bearer::Shares, ReturnKind::Refund)]));
    let file = Connection::open(shop.path()).unwrap();
    file.pragma_update(None, "foreign_keys", true).unwrap();
    let refused = |sql: &str| file.execute_batch(sql).unwrap_err().to_string();
    assert!(refused("UPDATE returned SET by_shares = 1677").contains("CHECK"));
    assert!(refused("UPDATE returned SET by_vendor = -1").contains("CHECK"));
    assert!(refused("UPDATE returned SET captured = 9999").contains("never changes"));
    assert!(refused("DELETE FROM returned").contains("stays"));
    assert!(refused(&format!("INSERT INTO returned VALUES ('{}', 100, 1, 0)", open.call)).contains("was captured"));
    let columns = "INSERT INTO transfer (id, kind, vendor, call, at, hash, bearer, reason, note, actor) VALUES";
    let row = |call: CallId, bearer: &str, reason: &str| {
        format!("{columns} ('x', 'adjustment', '{}', '{call}', 1, zeroblob(32), '{bearer}', '{reason}', 'n', 'page')", shop.vendor)
    };
    assert!(refused(&row(open.call, "shares", "quality")).contains("settled call"));
    assert!(refused(&row(started.call, "nobody", "quality")).contains("CHECK"));
    assert!(refused(&row(started.call, "shares", "mood")).contains("CHECK"));
    shop.assert_adds_up();
}

/// A database of the first layout is brought up with its money as it was, numbered and summed.
#[test]
fn an_earlier_layout_keeps_its_money() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lull.db");
    let file = Connection::open(&path).unwrap();
    file.execute_batch(include_str!("../schema_1.sql")).unwrap();
    file.pragma_update(None, "application_id", 0x6c75_6c6c).unwrap();
    file.pragma_update(None, "user_version", 1).unwrap();
    let mut vendor = String::new();
    for (n, amount) in [(1_u128, 700_i64), (2, 50), (3, 250)] {
        let id = TransferId::new(Uuid::from_u128(n)).to_string();
        if n == 1 {
            vendor = VendorId::new(Uuid::from_u128(9)).to_string();
            file.execute("INSERT INTO vendor VALUES (?, 'Shop', zeroblob(32), 1)", [&vendor]).unwrap();
            for (account, kind, owner, posted) in [(1, "cash_in", "", -1000), (2, "client", "c", 1000)] {
                let sql = "INSERT INTO account VALUES (?, ?, ?, ?, 'CNY', ?, 0)";
                file.execute(sql, rusqlite::params![account, vendor, kind, owner, posted]).unwrap();
            }
        }
        let transfer = crate::store::ledger::Transfer {
            id: id.clone(),
            kind: "credit".to_owned(),
            vendor: vendor.clone(),
            call: None,
            order_ref: Some(format!("order {n}")),
            at: at(0),
            postings: std::collections::BTreeMap::from([(1, -amount), (2, amount)]),
            details: None,
        };
        let sql = "INSERT INTO transfer VALUES (?, 'credit', ?, NULL, ?, ?, ?)";
        let order_ref = format!("order {n}");
        file.execute(sql, rusqlite::params![id, vendor, order_ref, at(0).unix_ms(), transfer.expected_hash()]).unwrap();
        for (account, amount) in [(1, -amount), (2, amount)] {
            file.execute("INSERT INTO posting VALUES (?, ?, ?)", rusqlite::params![id, account, amount]).unwrap();
        }
    }
    drop(file);
    let store = Store::open(&path, Role::Server).unwrap();
    assert_eq!(store.audit(&record), Ok(vec![]));
    let vendor: VendorId = vendor.parse().unwrap();
    let lines = store.statement(vendor, &client("c"), cny(0).currency, Page { after: None, limit: 9 }).unwrap();
    let shown: Vec<_> = lines.iter().map(|line| (line.number, line.amount.amount, line.balance)).collect();
    assert_eq!(shown, [(3, 250, 1000), (2, 50, 750), (1, 700, 700)]);
}
