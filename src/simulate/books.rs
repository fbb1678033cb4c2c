//! What is committed: the reference alone, or the real store on a simulated disk with the reference beside it.
//!
//! Both get the same groups and must give the same answers; after a crash the disk must have what was acknowledged, no less, and of the
//! group that was under way all or nothing. Invariant: the reference is what the disk must be.

use super::dice::Dice;
use super::memory::{Charged, Memory};
use super::watch::{Breach, expect};
use crate::call::{Journal, Policy};
use crate::clock::Moment;
use crate::exchange;
use crate::ids::{CallId, HoldId, VendorId};
use crate::service::Answer;
use crate::store::{Disk, Failure, InLine, Reply, StoreError, Target, Transaction};
use std::collections::BTreeMap;
use std::fmt::Debug;

/// Operations on the disk within which a group that is cut off is cut: more than most groups need.
const LONGEST_GROUP: i64 = 24;

/// How a server dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Death {
    /// The process alone: what was written is in the kernel's hands.
    Process,
    /// The machine.
    Power,
}

pub(super) struct Books {
    pub(super) memory: Memory,
    disk: Option<Disk>,
    store: Option<InLine>,
    /// A group whose commit failed: nobody knows whether it is on the disk.
    doubtful: Vec<Transaction>,
    pub(super) is_full: bool,
    pub(super) groups: u64,
    pub(super) transactions: u64,
}

impl Books {
    pub(super) fn new(on_disk: bool, seed: u64) -> Result<Self, Breach> {
        let mut books = Self {
            memory: Memory::default(),
            disk: on_disk.then(|| Disk::new(seed)),
            store: None,
            doubtful: Vec::new(),
            is_full: false,
            groups: 0,
            transactions: 0,
        };
        books.open()?;
        Ok(books)
    }

    fn open(&mut self) -> Result<(), Breach> {
        if let Some(disk) = &self.disk {
            let store = InLine::open(disk).map_err(|error| Breach::new("opens", error.to_string()))?;
            self.store = Some(store);
        }
        Ok(())
    }

    /// Commits a group. The real store decides whether it fails, the reference what it must answer.
    pub(super) fn commit(&mut self, group: &[Transaction]) -> Result<Vec<Answer>, Breach> {
        self.groups += 1;
        self.transactions += group.len() as u64;
        let Some(store) = &mut self.store else {
            if self.is_full {
                return Ok(vec![Err(StoreError::Full); group.len()]);
            }
            return Ok(group.iter().map(|transaction| self.memory.apply(transaction)).collect());
        };
        let answers = store.commit(group);
        if answers.iter().any(|answer| matches!(answer, Err(StoreError::Full | StoreError::Database(_) | StoreError::Busy))) {
            if self.doubtful.is_empty() && answers.iter().any(|answer| matches!(answer, Err(StoreError::Database(_)))) {
                self.doubtful = group.to_vec();
            }
            return Ok(answers);
        }
        for (transaction, answer) in group.iter().zip(&answers) {
            let due = self.memory.apply(transaction);
            let same = match (&due, answer) {
                (Err(StoreError::Broken(_)), Err(StoreError::Broken(_))) => true,
                (due, answer) => due == answer,
            };
            expect(same, "model", || format!("the store answers {answer:?} and the reference {due:?} to {}", shown(transaction)))?;
        }
        Ok(answers)
    }

    /// The server dies, perhaps within a group, and the disk is there again. What was acknowledged must be on it.
    pub(super) fn crash(&mut self, under_way: &[Transaction], death: Death, dice: &mut Dice) -> Result<(), Breach> {
        let (Some(mut store), Some(disk)) = (self.store.take(), self.disk.clone()) else {
            if !under_way.is_empty() && !self.is_full && dice.in_1000(500) {
                under_way.iter().for_each(|transaction| drop(self.memory.apply(transaction)));
            }
            return Ok(());
        };
        let doubtful = std::mem::take(&mut self.doubtful);
        // Behind a failed commit nothing is written any more.
        let under_way = if doubtful.is_empty() { under_way } else { &doubtful };
        let mut is_certain = false;
        if doubtful.is_empty() && !under_way.is_empty() && !dice.in_1000(250) {
            let ahead = dice.between(1, LONGEST_GROUP).unsigned_abs();
            disk.fuse(ahead, Failure::PowerGoes);
            let answers = store.commit(under_way);
            // It came through in time, and nobody was told.
            is_certain = answers.iter().all(|answer| matches!(answer, Ok(_) | Err(StoreError::Broken(_))));
        }
        store.kill();
        match death {
            Death::Process => disk.restart(),
            Death::Power => disk.power_returns(),
        }
        // A server that finds no room to start in does not start; somebody makes a little.
        disk.set_full(false);
        self.open()?;
        disk.set_full(self.is_full);
        let found = self.size()?;
        let before = self.due_size();
        if !under_way.is_empty() && (is_certain || found != before) {
            under_way.iter().for_each(|transaction| drop(self.memory.apply(transaction)));
        }
        let due = self.due_size();
        expect(found == due, "committed", || format!("after the crash the disk has {found:?} rows, committed were {due:?}"))
    }

    fn size(&self) -> Result<Size, Breach> {
        match &self.store {
            Some(store) => {
                let size = store.size().and_then(|size| Ok((size, store.last_alive()?)));
                size.map_err(|error| Breach::new("readable", error.to_string()))
            }
            None => Ok(self.due_size()),
        }
    }

    fn due_size(&self) -> Size {
        (self.memory.size(), self.memory.last_alive())
    }

    /// From now on nothing grows, or again.
    pub(super) fn set_full(&mut self, is_full: bool) {
        self.is_full = is_full;
        if let Some(disk) = &self.disk {
            disk.set_full(is_full);
        }
    }

    /// The next but few operations on the disk fails once.
    pub(super) fn fail_once(&mut self, dice: &mut Dice) {
        if let Some(disk) = &self.disk {
            disk.fuse(dice.between(1, LONGEST_GROUP).unsigned_abs(), Failure::Once);
        }
    }

    pub(super) fn heal(&mut self) {
        if let Some(disk) = &self.disk {
            disk.unfuse();
        }
    }

    /// What a server finds when it starts.
    pub(super) fn unfinished_calls(&self) -> Result<Vec<Journal>, Breach> {
        let due = self.memory.unfinished_calls();
        if let Some(store) = &self.store {
            let found = store.unfinished_calls().map_err(|error| Breach::new("readable", error.to_string()))?;
            expect(found == due, "unfinished", || format!("the disk has {} unfinished calls, the reference {}", found.len(), due.len()))?;
        }
        Ok(due)
    }

    /// What the real store says, if it is there and says the same as the reference.
    fn same<T: PartialEq + Debug>(&self, rule: &'static str, due: T, ask: impl Fn(&InLine) -> Result<T, StoreError>) -> Result<T, Breach> {
        let Some(store) = &self.store else { return Ok(due) };
        let found = ask(store).map_err(|error| Breach::new("readable", error.to_string()))?;
        expect(found == due, rule, || format!("the disk has {found:?} and the reference {due:?}"))?;
        Ok(found)
    }

    pub(super) fn proofs(&self) -> Result<BTreeMap<CallId, Moment>, Breach> {
        self.same("proofs", self.memory.proofs(), InLine::proofs)
    }

    pub(super) fn last_alive(&self) -> Result<Option<Moment>, Breach> {
        self.same("last_alive", self.memory.last_alive(), InLine::last_alive)
    }

    pub(super) fn pending_holds(&self) -> Result<BTreeMap<CallId, Vec<HoldId>>, Breach> {
        let sorted = |mut holds: BTreeMap<CallId, Vec<HoldId>>| {
            holds.values_mut().for_each(|holds| holds.sort_unstable());
            holds
        };
        self.same("pending_holds", sorted(self.memory.pending_holds()), |store| store.pending_holds().map(sorted))
    }

    /// The last fact or proof of any open call.
    pub(super) fn last_open_moment(&self) -> Result<Option<Moment>, Breach> {
        self.same("last_open_moment", self.memory.last_open_moment(), InLine::last_open_moment)
    }

    /// What the last server's wall clock said last, or had still to pass.
    pub(super) fn last_wall(&self) -> Result<Option<Moment>, Breach> {
        self.same("last_wall", self.memory.last_wall(), InLine::last_wall)
    }

    pub(super) fn journal(&self, call: CallId) -> Option<Journal> {
        self.memory.journal(call)
    }

    /// The last fact of a call on the disk.
    pub(super) fn last_fact(&self, call: CallId) -> Option<u64> {
        match &self.store {
            Some(store) => store.last_fact(call).ok().flatten(),
            None => self.memory.last_fact(call),
        }
    }

    pub(super) fn reply(&self, vendor: VendorId, key: &str) -> Result<Option<Reply>, Breach> {
        let due = self.memory.reply(vendor, key).cloned();
        if let Some(store) = &self.store {
            let found = store.reply(vendor, key).map_err(|error| Breach::new("readable", error.to_string()))?;
            expect(found == due, "reply", || format!("the key {key} was answered {due:?}, and the disk has {found:?}"))?;
        }
        Ok(due)
    }

    /// How a vendor's calls are settled from now on.
    pub(super) fn policy(&self, vendor: VendorId) -> Result<Policy, Breach> {
        let policy = self.same("policy", self.memory.policy(vendor), |store| store.policy(vendor))?;
        Ok(policy.unwrap_or_default())
    }

    /// What a call of this vendor captured, and what of it is back.
    pub(super) fn charged(&self, vendor: VendorId, call: CallId) -> Result<Option<Charged>, Breach> {
        self.same("returned", self.memory.charged(vendor, call), |store| {
            let found = store.charged(vendor, call)?;
            Ok(found.map(|it| Charged {
                settled: it.settled,
                client: it.client,
                parts: it.parts,
                returned: it.returned,
                currency: it.currency,
            }))
        })
    }

    /// The real store is there, and with it an outbox from which something can be sent.
    pub(super) fn has_outbox(&self) -> bool {
        self.disk.is_some()
    }

    /// What the outbox has due, and when it has something next.
    pub(super) fn due(&self, now: Moment, limit: u32) -> Result<(Vec<Target>, Option<Moment>), Breach> {
        let Some(store) = &self.store else { return Ok((Vec::new(), None)) };
        let found = store.due(now, limit).and_then(|due| Ok((due, store.next_due(now)?)));
        found.map_err(|error| Breach::new("readable", error.to_string()))
    }

    /// Each event of the disk against the reference.
    fn compare_events(&self, store: &InLine) -> Result<(), Breach> {
        let found = store.events().map_err(|error| Breach::new("readable", error.to_string()))?;
        let due = self.memory.events();
        let differs = found.iter().zip(&due).find(|(found, due)| found != due);
        expect(found.len() == due.len() && differs.is_none(), "outbox", || {
            format!("{} events for {}, and of the disk and the reference {differs:?}", found.len(), due.len())
        })
    }

    /// Everything: rows, sums, chains, and the records made again.
    pub(super) fn audit(&self) -> Result<(), Breach> {
        if let Some(fault) = self.memory.audit().into_iter().next() {
            return Err(Breach::new("audit", fault));
        }
        let Some(store) = &self.store else { return Ok(()) };
        let rebuild = |journal: &Journal| exchange::record(journal).ok();
        let findings = store.audit(&rebuild).map_err(|error| Breach::new("readable", error.to_string()))?;
        if let Some(finding) = findings.first() {
            return Err(Breach::new("audit", finding.to_string()));
        }
        self.compare_accounts(store)?;
        self.compare_events(store)?;
        let (found, due) = (self.size()?, self.due_size());
        expect(found == due, "committed", || format!("the disk has {found:?} rows, committed were {due:?}"))
    }

    /// Each account of the disk against the reference.
    fn compare_accounts(&self, store: &InLine) -> Result<(), Breach> {
        let found = store.accounts().map_err(|error| Breach::new("readable", error.to_string()))?;
        let due = self.memory.accounts();
        let differs = found.iter().zip(&due).find(|(found, due)| found != due);
        expect(found.len() == due.len() && differs.is_none(), "accounts", || {
            format!("{} accounts for {}, and of the disk and the reference {differs:?}", found.len(), due.len())
        })
    }
}

/// Rows that only ever come (calls, facts, holds, transfers, replies, events), and the last sign of life: they tell which commits are there.
pub(super) type Size = ([u64; 6], Option<Moment>);

fn shown(transaction: &Transaction) -> String {
    let mut text = format!("{transaction:?}");
    let mut end = text.len().min(600);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}
