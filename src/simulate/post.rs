//! Vendors' endpoints, and the letters on their way to them: what is told to programs outside.
//!
//! The server's part (what is under way, and which tries go next) is gone when the process dies; endpoints live on and remember what
//! they took. Invariant that is checked at each letter: it says what is on disk, and of a call it is the next or one that was taken.

use super::memory::Memory;
use super::watch::{Breach, expect};
use crate::clock::Moment;
use crate::ids::{CallId, EndpointId, EventId, VendorId};
use crate::store::{Attempt, Due, Target};
use crate::webhooks::schedule::{Flow, Pace};
use std::collections::{BTreeMap, BTreeSet};

/// What the second endpoint of a vendor wants to hear: of money only.
pub(super) const MONEY: [&str; 4] = ["call.settled", "call.refunded", "call.adjusted", "client.refunded"];

/// An address of a vendor's program.
struct Endpoint {
    vendor: VendorId,
    money_only: bool,
    /// By call: the number of the last event that was taken.
    taken: BTreeMap<CallId, u64>,
    /// Events of no call that were taken.
    others: BTreeSet<EventId>,
    down_until: Option<Moment>,
}

impl Endpoint {
    fn wants(&self, word: &str) -> bool {
        !self.money_only || MONEY.contains(&word)
    }

    /// The number of the next event of a call, as far as there is one on disk.
    fn next(&self, call: CallId, memory: &Memory) -> Option<u64> {
        let last = self.taken.get(&call).copied().unwrap_or(0);
        let words = (1..).zip(memory.words(call));
        words.filter(|(number, word)| *number > last && self.wants(word)).map(|(number, _)| number).next()
    }
}

/// A try to deliver an event.
pub(super) struct Letter {
    endpoint: EndpointId,
    event: EventId,
    lane: String,
    pub(super) tries: u32,
    body: String,
    /// Which start of the server sent it, and when.
    pub(super) boot: u32,
    pub(super) sent_at: Moment,
    /// What became of it, once that is known, and how it went.
    pub(super) answered: Option<(Attempt, Pace)>,
}

impl Letter {
    pub(super) fn attempt(&self, at: Moment, status: Option<u16>, outcome: crate::store::Tried) -> Attempt {
        Attempt { endpoint: self.endpoint, event: self.event, at, status, outcome }
    }
}

/// What of an event an endpoint looks at.
enum About {
    Call { call: CallId, number: u64 },
    Wallet,
}

/// All endpoints, and all letters of a night.
#[derive(Default)]
pub(super) struct Post {
    endpoints: BTreeMap<EndpointId, Endpoint>,
    letters: Vec<Letter>,
    /// The server's: what is under way to whom.
    flows: BTreeMap<EndpointId, Flow>,
    under_way: usize,
    /// When the outbox is looked at next.
    pub(super) looks_at: Option<Moment>,
    /// Events that were taken, each once for each endpoint.
    pub(super) delivered: u64,
}

impl Post {
    pub(super) fn add(&mut self, id: EndpointId, vendor: VendorId, money_only: bool) {
        let endpoint = Endpoint { vendor, money_only, taken: BTreeMap::new(), others: BTreeSet::new(), down_until: None };
        self.endpoints.insert(id, endpoint);
    }

    /// Another server begins, and knows nothing of what was under way.
    pub(super) fn restart(&mut self) {
        self.flows.clear();
        (self.under_way, self.looks_at) = (0, None);
    }

    /// Nothing is under way, and nothing is due later.
    pub(super) fn is_idle(&self) -> bool {
        self.under_way == 0 && self.looks_at.is_none()
    }

    /// Tries so far.
    pub(super) fn tries(&self) -> u64 {
        self.letters.len() as u64
    }

    pub(super) fn letter(&mut self, number: u32) -> &mut Letter {
        &mut self.letters[number as usize]
    }

    /// Sends what is due and has a place, in the form of the courier's `start`: the numbers of the letters.
    pub(super) fn send(&mut self, target: Target, boot: u32, now: Moment) -> Vec<u32> {
        let flow = self.flows.entry(target.endpoint).or_insert_with(Flow::new);
        let mut sent = Vec::new();
        for Due { event, lane, attempts, body } in target.due {
            if !flow.has_place() {
                break;
            }
            if flow.take(&lane) {
                sent.push(self.letters.len() as u32);
                self.under_way += 1;
                let (endpoint, tries) = (target.endpoint, attempts + 1);
                self.letters.push(Letter { endpoint, event, lane, tries, body, boot, sent_at: now, answered: None });
            }
        }
        sent
    }

    /// What became of a letter is on disk.
    pub(super) fn noted(&mut self, number: u32) {
        let letter = &mut self.letters[number as usize];
        letter.body = String::new(); // There are many of them.
        let pace = letter.answered.as_ref().map_or(Pace::Failed, |(_, pace)| *pace);
        self.under_way -= 1;
        if let Some(flow) = self.flows.get_mut(&letter.endpoint) {
            flow.done(&letter.lane, pace);
        }
    }

    /// Whether the endpoint of a letter answers at all.
    pub(super) fn is_down(&self, number: u32, now: Moment) -> bool {
        let endpoint = self.endpoints.get(&self.letters[number as usize].endpoint);
        endpoint.and_then(|endpoint| endpoint.down_until).is_some_and(|until| now < until)
    }

    pub(super) fn goes_down(&mut self, number: u32, until: Moment) {
        if let Some(endpoint) = self.endpoints.get_mut(&self.letters[number as usize].endpoint) {
            endpoint.down_until = Some(until);
        }
    }

    /// A letter arrives: it says what is on disk, and is the next of its call or one that was taken before.
    pub(super) fn arrives(&mut self, number: u32, takes: bool, memory: &Memory) -> Result<(), Breach> {
        let letter = &self.letters[number as usize];
        let Some(endpoint) = self.endpoints.get_mut(&letter.endpoint) else {
            return Err(Breach::new("delivery", format!("{} has no such endpoint", letter.endpoint)));
        };
        let about = about(&letter.body).ok_or_else(|| Breach::new("delivery", letter.body.clone()))?;
        let due = match about {
            About::Call { call, number } => memory.event(call, number),
            About::Wallet => memory.wallet_event(letter.event),
        };
        expect(due.is_some(), "said_too_early", || format!("{} is told, and on disk is no such event", letter.body))?;
        let is_same = due.as_ref().is_some_and(|due| due.id == letter.event && due.body == letter.body);
        expect(is_same, "delivery", || format!("{} is told, and it should be {due:?}", letter.body))?;
        expect(due.is_some_and(|due| endpoint.wants(due.word)), "delivery", || format!("{} is not wanted there", letter.body))?;
        let is_new = match about {
            About::Call { call, number } => {
                let (last, next) = (endpoint.taken.get(&call).copied().unwrap_or(0), endpoint.next(call, memory));
                expect(number <= last || next == Some(number), "delivery_order", || {
                    format!("{call}: event {number} is told after event {last}, the next is {next:?}")
                })?;
                if takes {
                    endpoint.taken.insert(call, last.max(number));
                }
                number > last
            }
            About::Wallet => !endpoint.others.contains(&letter.event) && (!takes || endpoint.others.insert(letter.event)),
        };
        self.delivered += u64::from(is_new && takes);
        Ok(())
    }

    /// At the end: what every endpoint wants has come, and the disk has all that any was told.
    pub(super) fn check(&self, memory: &Memory) -> Result<(), Breach> {
        for (id, endpoint) in &self.endpoints {
            for call in memory.calls_of(endpoint.vendor) {
                let (taken, next) = (endpoint.taken.get(&call), endpoint.next(call, memory));
                expect(next.is_none(), "delivered", || format!("{id} took {taken:?} of {call}, and event {next:?} never came"))?;
            }
            let lost = endpoint.taken.iter().find(|(call, last)| memory.words(**call).count() < **last as usize);
            expect(lost.is_none(), "acknowledged", || format!("{id} was told of events that are not on disk: {lost:?}"))?;
            let due: BTreeSet<EventId> = memory.wallet_events_of(endpoint.vendor).collect();
            expect(endpoint.others == due, "delivered", || format!("{id} took {:?} of wallets, there are {due:?}", endpoint.others))?;
        }
        Ok(())
    }
}

fn about(body: &str) -> Option<About> {
    let event: serde_json::Value = serde_json::from_str(body).ok()?;
    let data = &event["data"];
    if data["call_id"].is_null() {
        return Some(About::Wallet);
    }
    Some(About::Call { call: data["call_id"].as_str()?.parse().ok()?, number: data["seq"].as_u64()? })
}
