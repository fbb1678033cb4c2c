//! The store as its users see it, on a real file in a directory of its own.

mod audit;
mod commands;
mod failing;
mod flips;
mod format;
mod groups;
mod log;
mod model;
mod money_events;
mod nights;
mod opening;
mod outbox;
mod recordings;
mod recovery;
mod refunds;
mod signatures;
mod trap;

use super::*;
use crate::billing::{Bearer, Conditions, Kind, Returned};
use crate::call::{EndReason, Fact, Fault, Journal, Limits, Policy, RecordingTerms, Shares, Sounds, Terms};
use crate::clock::Span;
use crate::ids::TokenId;
use serde_json::json;
use std::cell::Cell;
use tempfile::TempDir;
use uuid::Uuid;

/// A vendor with a companion, her store, and ids that count up.
struct Shop {
    dir: TempDir,
    store: Store,
    vendor: VendorId,
    companion: CompanionId,
    next: Cell<u128>,
}

/// A call under way.
#[derive(Clone)]
struct Started {
    call: CallId,
    terms: Terms,
    holds: Vec<(HoldId, i64)>,
    seq: u64,
}

fn at(ms: i64) -> Moment {
    Moment::from_unix_ms(1_773_144_000_000 + ms)
}

fn cny(amount: i64) -> Money {
    Money::new(amount, "CNY".parse().unwrap())
}

/// A quarter of an hour at this price.
fn quarter(price: i64) -> billing::Plan {
    billing::Plan::new(cny(price).currency, Kind::Block { block_s: 900, price }, Conditions::default()).unwrap()
}

fn client(name: &str) -> ClientRef {
    name.parse().unwrap()
}

fn of(writes: Vec<Write>) -> Transaction {
    Transaction { idempotency: None, writes }
}

fn limits() -> Limits {
    Limits {
        media_timeout: Span::from_s(5),
        quiet_timeout: Span::from_s(15),
        pause_limit: Span::from_s(60),
        connect_limit: Span::from_s(60),
        no_show_limit: Span::from_s(600),
        listen_only_after: Span::from_s(5),
        max_duration: Span::from_s(43_200),
        gift_limit: Span::from_s(3600),
        warnings: vec![Span::from_s(300), Span::from_s(60), Span::from_s(10)],
    }
}

/// The record of a settled call, as far as the store looks at one.
fn record(journal: &Journal) -> Option<String> {
    let Some(Fact::Settled { charge, refund }) = journal.entries.last().map(|entry| &entry.fact) else {
        return None;
    };
    let money = |amount: i64| json!({"amount": amount, "currency": charge.currency.code()});
    let (companion, vendor) = shares(charge.amount);
    Some(
        json!({
            "call": journal.call.to_string(),
            "charge": money(charge.amount),
            "refund": money(refund.amount),
            "lines": [{"amount": money(charge.amount)}],
            "shares": [{"amount": money(companion)}, {"amount": money(vendor)}],
        })
        .to_string(),
    )
}

fn shares(charge: i64) -> (i64, i64) {
    let companion = charge / 10 * 7;
    (companion, charge - companion)
}

impl Shop {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("lull.db"), Role::Server).unwrap();
        Self::with(dir, store)
    }

    /// On a new, empty store.
    fn with(dir: TempDir, store: Store) -> Self {
        let next = Cell::new(1);
        let uuid = || Uuid::from_u128(next.replace(next.get() + 1));
        let (vendor, companion) = (VendorId::new(uuid()), CompanionId::new(uuid()));
        let companion_row = Companion { id: companion, vendor, name: "Lin".to_owned(), grade: None, created_at: at(0) };
        let vendor_write = Write::AddVendor { id: vendor, name: "Shop".to_owned(), key_hash: [1; 32], at: at(0) };
        assert_eq!(store.commit(of(vec![vendor_write, Write::AddCompanion(companion_row)])), Ok(Outcome::Committed));
        Self { dir, store, vendor, companion, next }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("lull.db")
    }

    /// Ends this store and opens its file again.
    fn reopen(&mut self) {
        self.store.close();
        // The lock goes with the last handle, so a throw-away store takes this one's place first.
        let other = tempfile::tempdir().unwrap();
        self.store = Store::open(&other.path().join("other.db"), Role::Server).unwrap();
        self.store = Store::open(&self.path(), Role::Server).unwrap();
    }

    fn uuid(&self) -> Uuid {
        Uuid::from_u128(self.next.replace(self.next.get() + 1))
    }

    fn credit(&self, name: &str, amount: i64) -> Write {
        let transfer = TransferId::new(self.uuid());
        let order_ref = format!("order-{transfer}");
        Write::Credit { transfer, vendor: self.vendor, client: client(name), amount: cny(amount), order_ref, at: at(0) }
    }

    fn wallet_refund(&self, name: &str, amount: i64) -> Write {
        let transfer = TransferId::new(self.uuid());
        Write::RefundWallet(Box::new(WalletRefund {
            transfer,
            vendor: self.vendor,
            client: client(name),
            amount: cny(amount),
            order_ref: format!("refund-{transfer}"),
            note: None,
            actor: Actor::ApiKey,
            at: at(2000),
        }))
    }

    fn give_back(&self, call: CallId, amount: i64, before: Returned, bearer: Bearer, kind: ReturnKind) -> Write {
        Write::Return(Box::new(Return {
            transfer: TransferId::new(self.uuid()),
            vendor: self.vendor,
            call,
            kind,
            amount: cny(amount),
            before,
            bearer,
            note: "the line was bad".to_owned(),
            actor: Actor::Page,
            at: at(3000),
        }))
    }

    /// A client's whole statement, newest line first, read in pages.
    fn statement(&self, name: &str, limit: u32) -> Vec<Line> {
        let mut lines = Vec::new();
        loop {
            let after = lines.last().map(|line: &Line| line.number);
            let page = Page { after, limit };
            let more = self.store.statement(self.vendor, &client(name), cny(0).currency, page).unwrap();
            if more.is_empty() {
                return lines;
            }
            lines.extend(more);
        }
    }

    fn hold(&self, call: CallId, name: &str, amount: i64) -> (HoldId, Write) {
        let hold = HoldId::new(self.uuid());
        (hold, Write::Hold { hold, call, vendor: self.vendor, client: client(name), amount: cny(amount), at: at(0) })
    }

    fn terms(&self, name: &str, price: i64) -> Terms {
        Terms {
            vendor: self.vendor,
            plan: PlanId::new(self.uuid()),
            plan_name: "a quarter".to_owned(),
            sold: quarter(price),
            hold: cny(price),
            grade_paid: Some("gold".to_owned()),
            grade_delivered: None,
            client: client(name),
            client_name: None,
            companion: self.companion,
            companion_name: "Lin".to_owned(),
            medium: Medium::Audio,
            policy: Policy::default(),
            shares: Shares { companion_bps: 7000, vendor_bps: 3000 },
            client_token: TokenId::new(self.uuid()),
            companion_token: TokenId::new(self.uuid()),
            limits: limits(),
            zones: Some("2026a".to_owned()),
            night: None,
            sounds: Sounds::default(),
            recording: Some(RecordingTerms { keep: Span::from_s(30 * 86_400) }),
        }
    }

    /// What starts a call: its hold and its first fact.
    fn start(&self, name: &str, price: i64) -> (Started, Transaction) {
        let call = CallId::new(self.uuid());
        let (hold, hold_write) = self.hold(call, name, price);
        let terms = self.terms(name, price);
        let created = Fact::Created { terms: Box::new(terms.clone()), hold };
        let facts = Write::Facts { call, entries: vec![Entry { seq: 1, at: at(0), fact: created }] };
        (Started { call, terms, holds: vec![(hold, price)], seq: 1 }, of(vec![hold_write, facts]))
    }

    /// What settles a call: of each hold, what is captured.
    fn settle(&self, started: &Started, captures: &[i64]) -> Transaction {
        let charge: i64 = captures.iter().sum();
        let held: i64 = started.holds.iter().map(|(_, amount)| amount).sum();
        let entries = vec![
            started.entry(1, Fact::Ended { reason: EndReason::ClientLeft, at_fault: Fault::Client }),
            started.entry(2, Fact::Settled { charge: cny(charge), refund: cny(held - charge) }),
        ];
        let record = record(&Journal { call: started.call, entries: entries.clone() }).unwrap();
        let settlement = Settlement {
            call: started.call,
            at: at(1000),
            transfer: TransferId::new(self.uuid()),
            captures: started.holds.iter().map(|(hold, _)| *hold).zip(captures.iter().copied()).collect(),
            companion_share: shares(charge).0,
            vendor_share: shares(charge).1,
            record,
        };
        of(vec![Write::Facts { call: started.call, entries }, Write::Settle(Box::new(settlement))])
    }

    fn commit(&self, transaction: Transaction) {
        assert_eq!(self.store.commit(transaction), Ok(Outcome::Committed));
    }

    fn start_now(&self, name: &str, price: i64) -> Started {
        let (started, transaction) = self.start(name, price);
        self.commit(transaction);
        started
    }

    /// Posted and held of a client's only wallet.
    fn wallet(&self, name: &str) -> (i64, i64) {
        match self.store.balances(self.vendor, &client(name)).unwrap()[..] {
            [] => (0, 0),
            [balance] => (balance.posted.amount, balance.held),
            ref more => panic!("{} wallets", more.len()),
        }
    }

    #[track_caller]
    fn assert_broken(&self, transaction: Transaction, text: &str) {
        match self.store.commit(transaction) {
            Err(StoreError::Broken(fault)) => assert!(fault.contains(text), "{fault}"),
            other => panic!("expected a broken invariant, {text}, and got {other:?}"),
        }
    }

    #[track_caller]
    fn assert_adds_up(&self) {
        let findings = self.store.audit(&record).unwrap();
        assert!(findings.is_empty(), "{}", findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
    }
}

impl Started {
    /// A fact `offset` places after those committed.
    fn entry(&self, offset: u64, fact: Fact) -> Entry {
        let seq = self.seq + offset;
        Entry { seq, at: at(seq.cast_signed()), fact }
    }
}
