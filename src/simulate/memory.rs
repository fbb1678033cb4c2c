//! The reference: what a store must answer, in plain maps, without disk or SQL. Fast enough for a night of ten thousand calls.
//!
//! It takes the same [`Transaction`]s as the real store and gives the same [`Outcome`]s. What it was given is committed; a crash takes
//! only what was not handed to it yet. It keeps no hash chain: that is for files, which somebody could change. Invariant: after every
//! transaction the accounts it touched add up, and an outcome other than committed changed nothing.

mod outbox;
mod returns;

pub(super) use returns::Charged;

use crate::billing::Parts;
use crate::call::{Entry, Fact, Journal, Policy};
use crate::clock::Moment;
use crate::exchange;
use crate::ids::{BootId, CallId, ClientRef, CompanionId, HoldId, TransferId, VendorId};
use crate::money::{Currency, Money};
use crate::store::{Beat, Idempotency, Outcome, Refusal, Reply, Settlement, StoreError, Transaction, Write};
use returns::{PaidOut, Step};
use std::collections::{BTreeMap, BTreeSet};

/// Whose account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    CashIn,
    Client(ClientRef),
    Companion(CompanionId),
    Vendor,
}

#[derive(Clone, Copy, Debug, Default)]
struct Account {
    posted: i64,
    held: i64,
    is_wallet: bool,
}

#[derive(Clone, Debug)]
struct Hold {
    call: CallId,
    account: usize,
    amount: i64,
    captured: i64,
    resolved: bool,
}

#[derive(Clone, Debug)]
struct Row {
    vendor: VendorId,
    client: ClientRef,
    companion: CompanionId,
    entries: Vec<Entry>,
    holds: Vec<HoldId>,
    record: Option<String>,
    /// What it captured of which wallet, if anything.
    paid: Option<(usize, Parts)>,
}

impl Row {
    /// Its last fact says that it is settled, or its money is.
    fn is_settled(&self) -> bool {
        self.record.is_some()
    }
}

/// A movement of money.
#[derive(Clone, Debug)]
struct Transfer {
    call: Option<CallId>,
    postings: Vec<(usize, i64)>,
}

/// Everything that is committed.
#[derive(Debug, Default)]
pub(super) struct Memory {
    vendors: BTreeMap<String, VendorId>,
    companions: BTreeMap<CompanionId, VendorId>,
    accounts: Vec<(Account, Currency)>,
    by_owner: BTreeMap<(VendorId, Owner, &'static str), usize>,
    orders: BTreeMap<(VendorId, String), i64>,
    /// Orders that were credited and set aside in one step, with that hold.
    credited_with: BTreeMap<(VendorId, String), HoldId>,
    /// Name, last sign of life, wall clock.
    boots: Vec<(BootId, Moment, Moment)>,
    proofs: BTreeMap<CallId, (usize, Moment)>,
    transfers: BTreeMap<TransferId, Transfer>,
    holds: BTreeMap<HoldId, Hold>,
    calls: BTreeMap<CallId, Row>,
    unfinished: BTreeSet<CallId>,
    replies: BTreeMap<(VendorId, String), Reply>,
    secrets: BTreeMap<String, [u8; 32]>,
    policies: BTreeMap<VendorId, Policy>,
    /// Times a policy was set.
    pub(super) policy_changes: u64,
    returns: BTreeMap<CallId, Vec<Step>>,
    paid_out: BTreeMap<(VendorId, String), PaidOut>,
    /// What the transaction at hand did, to be undone if it is refused.
    done: Vec<Done>,
}

/// A change, as what was there before.
#[derive(Debug)]
enum Done {
    Vendor(String),
    Companion(CompanionId),
    Account(usize, Account),
    NewAccount((VendorId, Owner, &'static str)),
    Order((VendorId, String)),
    Transfer(TransferId),
    NewHold(HoldId),
    Hold(HoldId, Hold),
    NewCall(CallId),
    Facts(CallId, usize),
    Settled(CallId),
    Secret(String),
    PaidOut((VendorId, String)),
    Step(CallId),
}

/// Why a transaction stops half-way.
enum Halt {
    Refused(Refusal),
    Broken(String),
}

impl From<Refusal> for Halt {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// What a transaction did to calls, to be judged as a whole.
#[derive(Default)]
struct Touched {
    held: BTreeSet<CallId>,
    settled: BTreeMap<CallId, Money>,
    charged: BTreeMap<CallId, Money>,
}

fn broken(text: impl Into<String>) -> Halt {
    Halt::Broken(text.into())
}

impl Memory {
    /// Applies a transaction, whole or not at all.
    pub(super) fn apply(&mut self, transaction: &Transaction) -> Result<Outcome, StoreError> {
        if let Some(Idempotency { vendor, key, request_hash, .. }) = &transaction.idempotency
            && let Some(kept) = self.reply(*vendor, key)
        {
            return Ok(match kept.request_hash == *request_hash {
                true => Outcome::Replayed { status: kept.status, body: kept.body.clone() },
                false => Outcome::Refused(Refusal::KeyReused),
            });
        }
        self.done.clear();
        match self.write_all(transaction) {
            Ok(()) => Ok(Outcome::Committed),
            Err(halt) => {
                self.undo();
                match halt {
                    Halt::Refused(refusal) => Ok(Outcome::Refused(refusal)),
                    Halt::Broken(text) => Err(StoreError::Broken(text)),
                }
            }
        }
    }

    fn write_all(&mut self, transaction: &Transaction) -> Result<(), Halt> {
        let mut touched = Touched::default();
        for (index, write) in transaction.writes.iter().enumerate() {
            let next = transaction.writes.get(index + 1);
            match self.write(write, &mut touched) {
                Err(Halt::Refused(Refusal::OrderCredited)) if self.is_left(write, next) => {}
                written => written?,
            }
            if let (Write::Credit { vendor, order_ref, .. }, Some(Write::Hold { hold, .. })) = (write, next) {
                self.credited_with.entry((*vendor, order_ref.clone())).or_insert(*hold);
            }
        }
        self.check(&touched)?;
        if let Some(Idempotency { vendor, key, request_hash, status, body }) = &transaction.idempotency {
            let reply = Reply { request_hash: *request_hash, status: *status, body: body.clone() };
            self.replies.insert((*vendor, key.clone()), reply);
        }
        Ok(())
    }

    fn write(&mut self, write: &Write, touched: &mut Touched) -> Result<(), Halt> {
        match write {
            Write::AddVendor { id, name, .. } => {
                if self.vendors.contains_key(name) {
                    return Err(Refusal::NameTaken.into());
                }
                self.vendors.insert(name.clone(), *id);
                self.done.push(Done::Vendor(name.clone()));
            }
            // Ways in, and plans, are looked up by nobody here.
            Write::AddLoginCode { .. } | Write::CloseSession { .. } | Write::AddPlan(_) => {}
            Write::RotateKey { .. } | Write::Webhook(_) | Write::Recording(_) => {}
            // Nothing that could be refused comes with it.
            Write::SetPolicy { vendor, policy, .. } => {
                self.policies.insert(*vendor, *policy);
                self.policy_changes += 1;
            }
            Write::RefundWallet(wanted) => self.pay_out(wanted)?,
            Write::Return(wanted) => self.give_back(wanted)?,
            Write::OpenSession { .. } => return Err(Refusal::LoginCode.into()),
            Write::AddCompanion(companion) => {
                self.companions.insert(companion.id, companion.vendor);
                self.done.push(Done::Companion(companion.id));
            }
            Write::Credit { transfer, vendor, client, amount, order_ref, .. } => {
                self.credit(*transfer, *vendor, client, *amount, order_ref)?;
            }
            Write::Hold { hold, call, vendor, client, amount, .. } => {
                self.hold(*hold, *call, *vendor, client, *amount)?;
                touched.held.insert(*call);
            }
            Write::Facts { call, entries } => {
                if touched.settled.contains_key(call) {
                    return Err(broken(format!("facts of {call} after its settlement")));
                }
                self.append(*call, entries)?;
                if let Some(Fact::Settled { charge, .. }) = entries.last().map(|entry| &entry.fact) {
                    touched.charged.insert(*call, *charge);
                }
            }
            Write::KeepSecret { name, secret } => {
                if !self.secrets.contains_key(name) {
                    self.secrets.insert(name.clone(), *secret);
                    self.done.push(Done::Secret(name.clone()));
                }
            }
            Write::Boot { boot, at, wall } => self.boots.push((*boot, *at, *wall)),
            Write::Heartbeats { boot, at, clocks, beats } => self.beat(*boot, *at, clocks.wall, beats)?,
            Write::ReleaseStray { call, known, .. } => self.release_stray(*call, known)?,
            Write::Settle(settlement) => {
                let captured = self.settle(settlement)?;
                touched.settled.insert(settlement.call, captured);
            }
        }
        Ok(())
    }

    /// As in the store: an order that was credited with a hold of the same call that came to nothing may be set aside for it again.
    fn is_left(&self, credit: &Write, next: Option<&Write>) -> bool {
        let (Write::Credit { vendor, client, amount, order_ref, .. }, Some(Write::Hold { call, .. })) = (credit, next) else {
            return false;
        };
        let wallet = self.by_owner.get(&(*vendor, Owner::Client(client.clone()), amount.currency.code()));
        let is_same = |hold: &&Hold| hold.call == *call && Some(&hold.account) == wallet && hold.amount == amount.amount;
        let left = self.credited_with.get(&(*vendor, order_ref.clone())).and_then(|hold| self.holds.get(hold)).filter(is_same);
        let is_named = |entry: &Entry| matches!(&entry.fact, Fact::Extended { order_ref: Some(named), .. } if named == order_ref);
        left.is_some_and(|hold| hold.resolved && hold.captured == 0)
            && self.calls.get(call).is_some_and(|row| !row.entries.iter().any(is_named))
    }

    fn account(&mut self, vendor: VendorId, owner: Owner, currency: Currency) -> usize {
        let key = (vendor, owner, currency.code());
        if let Some(place) = self.by_owner.get(&key) {
            return *place;
        }
        let account = Account { is_wallet: matches!(key.1, Owner::Client(_)), ..Account::default() };
        self.accounts.push((account, currency));
        self.by_owner.insert(key.clone(), self.accounts.len() - 1);
        self.done.push(Done::NewAccount(key));
        self.accounts.len() - 1
    }

    /// Changes an account, and looks whether it may be so.
    fn change(&mut self, place: usize, posted: i64, held: i64) -> Result<(), Halt> {
        let account = &mut self.accounts[place].0;
        self.done.push(Done::Account(place, *account));
        account.posted += posted;
        account.held += held;
        if account.held < 0 || (account.is_wallet && account.posted < account.held) {
            return Err(broken(format!("account {place} has {} and {} of it held", account.posted, account.held)));
        }
        Ok(())
    }

    fn post(&mut self, id: TransferId, transfer: Transfer) -> Result<(), Halt> {
        let sum: i64 = transfer.postings.iter().map(|(_, amount)| amount).sum();
        if sum != 0 || self.transfers.contains_key(&id) {
            return Err(broken(format!("the postings of {id} sum to {sum}, or it is there before")));
        }
        for (place, amount) in &transfer.postings {
            self.change(*place, *amount, 0)?;
        }
        self.transfers.insert(id, transfer);
        self.done.push(Done::Transfer(id));
        Ok(())
    }

    fn credit(&mut self, id: TransferId, vendor: VendorId, client: &ClientRef, amount: Money, order_ref: &str) -> Result<(), Halt> {
        check_amount(amount)?;
        let order = (vendor, order_ref.to_owned());
        if self.orders.contains_key(&order) {
            return Err(Refusal::OrderCredited.into());
        }
        let cash_in = self.account(vendor, Owner::CashIn, amount.currency);
        let wallet = self.account(vendor, Owner::Client(client.clone()), amount.currency);
        if self.accounts[cash_in].0.posted < amount.amount - Money::MAX_AMOUNT {
            return Err(Refusal::CreditsFull { currency: amount.currency }.into());
        }
        self.orders.insert(order.clone(), amount.amount);
        self.done.push(Done::Order(order));
        self.post(id, Transfer { call: None, postings: vec![(cash_in, -amount.amount), (wallet, amount.amount)] })
    }

    fn hold(&mut self, id: HoldId, call: CallId, vendor: VendorId, client: &ClientRef, amount: Money) -> Result<(), Halt> {
        check_amount(amount)?;
        let wallet = self.account(vendor, Owner::Client(client.clone()), amount.currency);
        let Account { posted, held, .. } = self.accounts[wallet].0;
        if posted - held < amount.amount {
            return Err(Refusal::Funds { available: Money::new(posted - held, amount.currency) }.into());
        }
        if self.holds.contains_key(&id) {
            return Err(broken(format!("{id} is there before")));
        }
        self.holds.insert(id, Hold { call, account: wallet, amount: amount.amount, captured: 0, resolved: false });
        self.done.push(Done::NewHold(id));
        self.change(wallet, 0, amount.amount)
    }

    fn append(&mut self, call: CallId, entries: &[Entry]) -> Result<(), Halt> {
        if let Some(Entry { seq: 1, fact: Fact::Created { terms, .. }, .. }) = entries.first()
            && !self.calls.contains_key(&call)
        {
            if self.companions.get(&terms.companion) != Some(&terms.vendor) {
                return Err(broken(format!("{call} asks for {}, who does not work for {}", terms.companion, terms.vendor)));
            }
            let (vendor, client, companion) = (terms.vendor, terms.client.clone(), terms.companion);
            let row = Row { vendor, client, companion, entries: Vec::with_capacity(16), holds: Vec::new(), record: None, paid: None };
            self.calls.insert(call, row);
            self.unfinished.insert(call);
            self.done.push(Done::NewCall(call));
        }
        let Some(row) = self.calls.get_mut(&call) else { return Err(broken(format!("facts of {call}, which is unknown"))) };
        self.done.push(Done::Facts(call, row.entries.len()));
        for entry in entries {
            let last = row.entries.last();
            let follows = entry.seq == last.map_or(0, |last| last.seq) + 1;
            let is_first = matches!(entry.fact, Fact::Created { .. });
            let settled = last.is_some_and(|last| matches!(last.fact, Fact::Settled { .. }));
            if row.record.is_some() || settled || !follows || is_first != (entry.seq == 1) {
                return Err(broken(format!("fact {} of {call} does not follow what is there", entry.seq)));
            }
            row.entries.push(entry.clone());
        }
        Ok(())
    }

    /// Overwrites proofs. The beats come in the order of their calls.
    fn beat(&mut self, boot: BootId, at: Moment, now_on_the_wall: Moment, beats: &[Beat]) -> Result<(), Halt> {
        let start = self.boots.len();
        let Some((_, alive, wall)) = self.boots.last_mut().filter(|(last, ..)| *last == boot) else {
            return Err(broken(format!("a heartbeat of {boot}, which is not the last start")));
        };
        let mut known = self.proofs.iter_mut().peekable();
        let mut new = Vec::new();
        for beat in beats {
            while known.next_if(|(call, _)| **call < beat.call).is_some() {}
            match known.next_if(|(call, _)| **call == beat.call) {
                Some((_, (of, until))) => {
                    if *of != start || beat.until >= *until {
                        (*of, *until) = (start, beat.until);
                    }
                }
                None => new.push(beat),
            }
        }
        // Nothing else can be wrong with it, so what was overwritten stays so.
        for beat in &new {
            if !self.unfinished.contains(&beat.call) {
                return Err(broken(format!("a heartbeat of {}, which is unknown or final", beat.call)));
            }
        }
        *alive = (*alive).max(at);
        *wall = (*wall).max(now_on_the_wall);
        self.proofs.extend(new.into_iter().map(|beat| (beat.call, (start, beat.until))));
        Ok(())
    }

    fn release_stray(&mut self, call: CallId, known: &[HoldId]) -> Result<(), Halt> {
        let stray: Vec<HoldId> = self.calls.get(&call).map_or_else(Vec::new, |row| row.holds.clone());
        for id in stray.into_iter().filter(|id| !known.contains(id)) {
            let Some(hold) = self.holds.get_mut(&id).filter(|hold| !hold.resolved) else { continue };
            self.done.push(Done::Hold(id, hold.clone()));
            hold.resolved = true;
            let (place, amount) = (hold.account, hold.amount);
            self.change(place, 0, -amount)?;
        }
        Ok(())
    }

    fn settle(&mut self, settlement: &Settlement) -> Result<Money, Halt> {
        let Settlement { call, transfer, captures, companion_share, vendor_share, record, .. } = settlement;
        let mut wanted = BTreeMap::new();
        for (hold, amount) in captures {
            if wanted.insert(*hold, *amount).is_some() {
                return Err(broken(format!("{call} captures {hold} twice")));
            }
        }
        let row = self.calls.get(call).ok_or_else(|| broken(format!("{call} is unknown")))?;
        if row.is_settled() {
            return Err(broken(format!("{call} is settled before")));
        }
        let (vendor, companion, holds) = (row.vendor, row.companion, row.holds.clone());
        let mut charged: Option<(usize, i64)> = None;
        for id in holds {
            let Some(hold) = self.holds.get_mut(&id).filter(|hold| !hold.resolved) else { continue };
            let captured = wanted.remove(&id).unwrap_or(0);
            if !(0..=hold.amount).contains(&captured) {
                return Err(broken(format!("{call} captures {captured} of {id}, which holds {}", hold.amount)));
            }
            self.done.push(Done::Hold(id, hold.clone()));
            (hold.captured, hold.resolved) = (captured, true);
            let (place, amount) = (hold.account, hold.amount);
            self.change(place, 0, -amount)?;
            charged = Some((place, charged.map_or(0, |(_, sum)| sum) + captured));
        }
        if let Some((hold, _)) = wanted.first_key_value() {
            return Err(broken(format!("{call} captures {hold}, which is not pending for it")));
        }
        let (wallet, charge) = charged.ok_or_else(|| broken(format!("{call} has nothing on hold")))?;
        if *companion_share < 0 || *vendor_share < 0 || companion_share.checked_add(*vendor_share) != Some(charge) {
            return Err(broken(format!("{call}: shares {companion_share} and {vendor_share} of a charge of {charge}")));
        }
        let currency = self.accounts[wallet].1;
        if charge > 0 {
            let mut postings = vec![(wallet, -charge)];
            for (owner, share) in [(Owner::Companion(companion), *companion_share), (Owner::Vendor, *vendor_share)] {
                if share > 0 {
                    postings.push((self.account(vendor, owner, currency), share));
                }
            }
            self.post(*transfer, Transfer { call: Some(*call), postings })?;
        }
        let parts = Parts { companion: *companion_share, vendor: *vendor_share };
        if let Some(row) = self.calls.get_mut(call) {
            row.record = Some(record.clone());
            row.paid = (charge > 0).then_some((wallet, parts));
            self.unfinished.remove(call);
            self.proofs.remove(call);
            self.done.push(Done::Settled(*call));
        }
        Ok(Money::new(charge, currency))
    }

    /// What can only be judged when all writes are done.
    fn check(&mut self, touched: &Touched) -> Result<(), Halt> {
        for call in &touched.held {
            let fits = self.calls.get(call).filter(|row| !row.is_settled()).is_some();
            if !fits {
                return Err(broken(format!("money held for {call}, which is unknown or settled")));
            }
        }
        for (call, captured) in &touched.settled {
            if touched.charged.get(call) != Some(captured) {
                return Err(broken(format!("{call} captures {captured} and is charged {:?}", touched.charged.get(call))));
            }
        }
        if let Some(call) = touched.charged.keys().find(|call| !touched.settled.contains_key(call)) {
            return Err(broken(format!("the fact that {call} settled, without its settlement")));
        }
        let new: Vec<(HoldId, CallId)> = self
            .done
            .iter()
            .filter_map(|done| match done {
                Done::NewHold(hold) => Some((*hold, self.holds.get(hold)?.call)),
                _ => None,
            })
            .collect();
        for (hold, call) in new {
            let wallet = self.holds.get(&hold).map(|hold| hold.account);
            let Some(row) = self.calls.get_mut(&call) else { continue };
            let key = |currency: &'static str| (row.vendor, Owner::Client(row.client.clone()), currency);
            let own = wallet.is_some_and(|wallet| self.by_owner.get(&key(self.accounts[wallet].1.code())) == Some(&wallet));
            if !own {
                return Err(broken(format!("money of another client held for {call}")));
            }
            row.holds.push(hold);
        }
        Ok(())
    }

    fn undo(&mut self) {
        while let Some(done) = self.done.pop() {
            match done {
                Done::Vendor(name) => drop(self.vendors.remove(&name)),
                Done::Companion(id) => drop(self.companions.remove(&id)),
                Done::Account(place, before) => self.accounts[place].0 = before,
                Done::NewAccount(key) => {
                    self.by_owner.remove(&key);
                    self.accounts.pop();
                }
                Done::Order(order) => {
                    self.orders.remove(&order);
                    self.credited_with.remove(&order);
                }
                Done::Transfer(id) => drop(self.transfers.remove(&id)),
                Done::NewHold(id) => {
                    if let Some(row) = self.holds.remove(&id).and_then(|hold| self.calls.get_mut(&hold.call)) {
                        row.holds.retain(|hold| *hold != id);
                    }
                }
                Done::Hold(id, before) => drop(self.holds.insert(id, before)),
                Done::NewCall(id) => {
                    self.calls.remove(&id);
                    self.unfinished.remove(&id);
                }
                Done::Facts(id, length) => {
                    if let Some(row) = self.calls.get_mut(&id) {
                        row.entries.truncate(length);
                    }
                }
                Done::Settled(id) => {
                    if let Some(row) = self.calls.get_mut(&id) {
                        (row.record, row.paid) = (None, None);
                        self.unfinished.insert(id);
                    }
                }
                Done::Secret(name) => drop(self.secrets.remove(&name)),
                Done::PaidOut(order) => drop(self.paid_out.remove(&order)),
                Done::Step(call) => {
                    if let Some(steps) = self.returns.get_mut(&call) {
                        steps.pop();
                    }
                }
            }
        }
    }

    pub(super) fn reply(&self, vendor: VendorId, key: &str) -> Option<&Reply> {
        // A key of two parts can only be looked up whole.
        self.replies.get(&(vendor, key.to_owned()))
    }

    /// What an order was credited.
    pub(super) fn credited(&self, vendor: VendorId, order_ref: &str) -> Option<i64> {
        self.orders.get(&(vendor, order_ref.to_owned())).copied()
    }

    /// The last proof of each open call that has one.
    pub(super) fn proofs(&self) -> BTreeMap<CallId, Moment> {
        self.proofs.iter().map(|(call, (_, until))| (*call, *until)).collect()
    }

    /// When the last server showed that it lived.
    pub(super) fn last_alive(&self) -> Option<Moment> {
        self.boots.last().map(|(_, alive, _)| *alive)
    }

    /// How a vendor's calls are settled from now on; none if she never said.
    pub(super) fn policy(&self, vendor: VendorId) -> Option<Policy> {
        self.policies.get(&vendor).copied()
    }

    /// What a hold of a call's set aside.
    pub(super) fn held(&self, call: CallId, hold: HoldId) -> Option<i64> {
        self.holds.get(&hold).filter(|hold| hold.call == call).map(|hold| hold.amount)
    }

    /// Purchases by another amount than the first one's, which are facts.
    pub(super) fn count_top_ups(&self) -> u64 {
        let facts = self.calls.values().flat_map(|row| &row.entries);
        facts.filter(|entry| matches!(entry.fact, Fact::Extended { amount: Some(_), .. })).count() as u64
    }

    pub(super) fn is_settled(&self, call: CallId) -> bool {
        self.calls.get(&call).is_some_and(Row::is_settled)
    }

    pub(super) fn pending_holds(&self) -> BTreeMap<CallId, Vec<HoldId>> {
        let mut holds = BTreeMap::<CallId, Vec<HoldId>>::new();
        for call in &self.unfinished {
            let own = self.calls.get(call).into_iter().flat_map(|row| &row.holds);
            let pending: Vec<HoldId> = own.filter(|hold| self.holds.get(hold).is_some_and(|hold| !hold.resolved)).copied().collect();
            if !pending.is_empty() {
                holds.insert(*call, pending);
            }
        }
        holds
    }

    /// What the last server's wall clock said last, or had still to pass.
    pub(super) fn last_wall(&self) -> Option<Moment> {
        self.boots.last().map(|(_, _, wall)| *wall)
    }

    /// The last fact or proof of any open call.
    pub(super) fn last_open_moment(&self) -> Option<Moment> {
        let open = self.unfinished.iter().filter_map(|call| self.calls.get(call)).filter_map(|row| row.entries.last());
        open.map(|entry| entry.at).chain(self.proofs.values().map(|(_, until)| *until)).max()
    }

    pub(super) fn unfinished_calls(&self) -> Vec<Journal> {
        self.unfinished.iter().filter_map(|call| self.journal(*call)).collect()
    }

    pub(super) fn journal(&self, call: CallId) -> Option<Journal> {
        self.calls.get(&call).map(|row| Journal { call, entries: row.entries.clone() })
    }

    pub(super) fn last_fact(&self, call: CallId) -> Option<u64> {
        self.calls.get(&call).and_then(|row| row.entries.last()).map(|entry| entry.seq)
    }

    /// Everything once more from the beginning; empty if all adds up.
    pub(super) fn audit(&self) -> Vec<String> {
        let mut findings = Vec::new();
        let mut sums = vec![(0i64, 0i64); self.accounts.len()];
        for (id, transfer) in &self.transfers {
            let sum: i64 = transfer.postings.iter().map(|(_, amount)| amount).sum();
            if sum != 0 {
                findings.push(format!("transfer_sum: the postings of {id} sum to {sum}"));
            }
            transfer.postings.iter().for_each(|(place, amount)| sums[*place].0 += amount);
        }
        for hold in self.holds.values().filter(|hold| !hold.resolved) {
            sums[hold.account].1 += hold.amount;
        }
        for (place, ((account, _), (posted, held))) in self.accounts.iter().zip(&sums).enumerate() {
            if (account.posted, account.held) != (*posted, *held) {
                findings.push(format!("balance: account {place} is {account:?}, its rows give {posted} and {held} held"));
            }
        }
        let total: i64 = self.accounts.iter().map(|(account, _)| account.posted).sum();
        if total != 0 {
            findings.push(format!("account_sum: all accounts sum to {total}"));
        }
        let mut paid = BTreeMap::new();
        for transfer in self.transfers.values() {
            if let (Some(call), Some((_, amount))) = (transfer.call, transfer.postings.first()) {
                *paid.entry(call).or_insert(0) -= amount;
            }
        }
        for (id, row) in &self.calls {
            if let Some(fault) = self.audit_call(*id, row, paid.get(id).copied().unwrap_or(0)) {
                findings.push(format!("{id}: {fault}"));
            }
        }
        findings
    }

    fn audit_call(&self, id: CallId, row: &Row, paid: i64) -> Option<String> {
        let holds: Vec<&Hold> = row.holds.iter().filter_map(|hold| self.holds.get(hold)).collect();
        if holds.iter().any(|hold| row.is_settled() && !hold.resolved) {
            return Some("hold_final: a hold is pending and its call final".to_owned());
        }
        let gap = row.entries.iter().zip(1..).find(|(entry, seq)| entry.seq != *seq);
        if let Some((entry, seq)) = gap {
            return Some(format!("journal_gap: fact {} in place of fact {seq}", entry.seq));
        }
        if let Some(fault) = self.audit_steps(id) {
            return Some(fault);
        }
        let record = exchange::record(&Journal { call: id, entries: row.entries.clone() }).ok();
        if record != row.record {
            return Some("record_rebuilt: its journal gives another record".to_owned());
        }
        let captured: i64 = holds.iter().map(|hold| hold.captured).sum();
        match row.entries.last().map(|entry| &entry.fact) {
            Some(Fact::Settled { charge, .. }) if charge.amount != captured || captured != paid => {
                Some(format!("charge: {charge}, captured {captured}, paid {paid}"))
            }
            _ => None,
        }
    }

    /// Every account: vendor, kind, owner, currency, posted, held; as the store's table shows them.
    pub(super) fn accounts(&self) -> Vec<(String, String, String, String, i64, i64)> {
        let row = |((vendor, owner, currency), place): (&(VendorId, Owner, &'static str), &usize)| {
            let (kind, name) = match owner {
                Owner::CashIn => ("cash_in", String::new()),
                Owner::Client(client) => ("client", client.to_string()),
                Owner::Companion(companion) => ("companion", companion.to_string()),
                Owner::Vendor => ("vendor", String::new()),
            };
            let (account, _) = self.accounts[*place];
            (vendor.to_string(), kind.to_owned(), name, (*currency).to_owned(), account.posted, account.held)
        };
        let mut rows: Vec<_> = self.by_owner.iter().map(row).collect();
        rows.sort();
        rows
    }

    /// Rows of what only ever comes: calls, facts, holds, transfers, replies, events.
    pub(super) fn size(&self) -> [u64; 6] {
        let facts: usize = self.calls.values().map(|row| row.entries.len()).sum();
        let [calls, holds, transfers, replies] = [self.calls.len(), self.holds.len(), self.transfers.len(), self.replies.len()];
        [calls as u64, facts as u64, holds as u64, transfers as u64, replies as u64, self.count_events()]
    }
}

fn check_amount(amount: Money) -> Result<(), Halt> {
    match amount.amount {
        1..=Money::MAX_AMOUNT => Ok(()),
        ..=0 => Err(broken(format!("{amount} is not an amount to move"))),
        _ => Err(Refusal::TooLarge.into()),
    }
}
