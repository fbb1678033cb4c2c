//! Two thousand cuts of the power, at every place of a commit: what was acknowledged is there, of the rest all or nothing.
//!
//! More by `LULL_NIGHTS` (see `tests.rs`).

use super::factor;
use crate::clock::Moment;
use crate::ids::{TransferId, VendorId};
use crate::money::Money;
use crate::store::{Disk, Failure, InLine, Outcome, Transaction, Write};
use uuid::Uuid;

const VENDOR: VendorId = VendorId::new(Uuid::from_u128(1));
const AT: Moment = Moment::from_unix_ms(1_773_144_000_000);

fn credit(number: u64) -> Transaction {
    let write = Write::Credit {
        transfer: TransferId::new(Uuid::from_u128(1000 + u128::from(number))),
        vendor: VENDOR,
        client: format!("client-{}", number % 7).parse().unwrap(),
        amount: Money::new(100, "CNY".parse().unwrap()),
        order_ref: format!("order-{number}"),
        at: AT,
    };
    Transaction { idempotency: None, writes: vec![write] }
}

/// Credits on the disk.
fn credits(store: &InLine) -> u64 {
    store.size().unwrap()[3]
}

fn open(disk: &Disk) -> InLine {
    InLine::open(disk).unwrap()
}

/// Commits groups of a few credits until the fuse blows; acknowledged, and then what may also be there.
fn work(store: &mut InLine, next: &mut u64, groups: u64) -> Option<u64> {
    for group in 0..groups {
        let length = 1 + (group * 7 + *next) % 5;
        let credits: Vec<Transaction> = (*next..*next + length).map(credit).collect();
        let answers = store.commit(&credits);
        if answers.iter().any(Result::is_err) {
            return Some(length);
        }
        *next += length;
    }
    None
}

#[test]
fn two_thousand_cuts_of_the_power_lose_nothing_acknowledged() {
    let cuts = 2000 * factor();
    let mut disk = Disk::new(1);
    let mut store = open(&disk);
    let (mut next, mut in_doubt) = (0, 0);
    let vendor = Write::AddVendor { id: VENDOR, name: "Shop".to_owned(), key_hash: [1; 32], at: AT };
    assert_eq!(store.commit(&[Transaction { idempotency: None, writes: vec![vendor.clone()] }]), [Ok(Outcome::Committed)]);
    for cut in 0..cuts {
        if cut % 100 == 99 {
            // A new disk, so that none grows for ever.
            disk = Disk::new(cut);
            store = open(&disk);
            next = 0;
            assert_eq!(store.commit(&[Transaction { idempotency: None, writes: vec![vendor.clone()] }]), [Ok(Outcome::Committed)]);
        }
        disk.fuse(1 + cut * 31 % 67, Failure::PowerGoes);
        let pending = work(&mut store, &mut next, 20).unwrap_or(0);
        store.kill();
        disk.power_returns();
        store = open(&disk);
        let found = credits(&store);
        assert!(found == next || (pending > 0 && found == next + pending), "cut {cut}: {found} credits of {next} and {pending}");
        in_doubt += u64::from(found != next);
        next = found;
        if cut % 10 == 0 {
            assert_eq!(store.audit(&|_| None).unwrap(), [], "cut {cut}");
        }
    }
    // Committed and not told: that happens too, which is what keys are for.
    assert!(in_doubt > 0);
}

#[test]
fn a_write_or_sync_that_fails_at_any_place_loses_nothing_acknowledged() {
    for at in 1..=400 {
        let disk = Disk::new(at);
        let mut store = open(&disk);
        let vendor = Write::AddVendor { id: VENDOR, name: "Shop".to_owned(), key_hash: [1; 32], at: AT };
        assert_eq!(store.commit(&[Transaction { idempotency: None, writes: vec![vendor] }]), [Ok(Outcome::Committed)]);
        let mut next = 0;
        disk.fuse(at, Failure::Once);
        let pending = work(&mut store, &mut next, 40).unwrap_or(0);
        // After a failed commit the process ends and looks at what the disk has.
        store.kill();
        disk.restart();
        let store = open(&disk);
        let found = credits(&store);
        assert!(found == next || (pending > 0 && found == next + pending), "at {at}: {found} credits of {next} and {pending}");
        assert_eq!(store.audit(&|_| None).unwrap(), [], "at {at}");
    }
}

#[test]
fn a_full_disk_is_said_and_works_again_when_there_is_room() {
    let disk = Disk::new(3);
    let mut store = open(&disk);
    let vendor = Write::AddVendor { id: VENDOR, name: "Shop".to_owned(), key_hash: [1; 32], at: AT };
    assert_eq!(store.commit(&[Transaction { idempotency: None, writes: vec![vendor] }]), [Ok(Outcome::Committed)]);
    let mut next = 0;
    disk.set_full(true);
    assert!(work(&mut store, &mut next, 1000).is_some(), "it never became full");
    disk.set_full(false);
    assert_eq!(work(&mut store, &mut next, 10), None);
    assert_eq!(credits(&store), next);
}
