//! The server of a night: the real core, and the service's rules around it without sockets, tasks or pages.
//!
//! In the form of `service::carry` and `service::desk`: one transaction for what is recorded, then what is said of it once that and all
//! before it is on disk; only StopMedia does not wait. What it owns is gone when the process dies. It decides nothing of calls.

mod money;

use super::books::Books;
use super::dice::Ids;
use super::vendors::{Ask, Want};
use super::watch::{Breach, Watch, expect};
use crate::call::{Answered, Asker, Call, Event, Fact, Limits, Medium, Notice, Policy, Refused, RequestId, Shares, Sounds, State, Terms};
use crate::clock::{Moment, Reading, Span};
use crate::exchange::{self, Effect, Exchange};
use crate::ids::{BootId, CallId, HoldId, TokenId, TransferId};
use crate::money::Money;
use crate::service::{Answer, Turns};
use crate::store::{Attempt, Beat, Idempotency, Outcome, Refusal, Settlement, StoreError, Transaction, WebhookWrite, Write};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// As the service: a settled call stays at hand for this long.
const KEEP_SETTLED: Span = Span::from_s(60);

/// Rows in a group at most, as the writer has it.
const GROUP: usize = 300;

/// Heartbeats on their way to disk at most, and how long a call runs on without one: as the service.
const MOST_UNDER_WAY: u32 = 10;
const LEASE: Span = Span::from_s(60);

/// What comes out of the house, in order.
#[derive(Clone, Debug)]
pub(super) enum Heard {
    /// Packets stop, at once.
    StopMedia { call: CallId },
    /// The meter began at this instant, as the core says; nobody hears of it yet.
    Began { call: CallId, at: Moment },
    /// Pages hear this.
    Tell { call: CallId, notice: Notice },
    /// The vendor's program hears this.
    Reply { ask: u32, status: u16, body: String },
    /// The call is settled, and that is on disk.
    Settled { call: CallId, charge: i64 },
    /// What became of a letter is on disk, or why not.
    Noted { letter: u32, noted: Result<(), StoreError> },
}

/// What is said once a transaction is on disk; `seq`: up to which fact of which call it tells of.
enum Said {
    Heard(Heard),
    Of {
        call: CallId,
        seq: u64,
        heard: Heard,
    },
    /// The key of a command that is answered now.
    Free((usize, String)),
}

/// What happens once a transaction is on disk.
enum Then {
    Say(Vec<Said>),
    Reserved {
        call: CallId,
        hold: HoldId,
    },
    Beaten(Vec<(CallId, Moment)>),
    Desk {
        ask: u32,
        key: (usize, String),
        body: String,
        booked: Option<Box<Call>>,
    },
    Returned(money::Waiting),
    /// What became of a try to deliver an event.
    Noted {
        letter: u32,
    },
}

/// Who waits for the core's answer.
enum Requester {
    Desk { ask: u32, key: Option<(usize, String)>, call: CallId, kept: Option<Idempotency> },
    Page,
}

/// What a step needs beside the house.
pub(super) struct Around<'a> {
    /// By the server's clock.
    pub(super) now: Moment,
    pub(super) ids: &'a mut Ids,
    pub(super) books: &'a Books,
    pub(super) watch: &'a mut Watch,
    /// By the wall clock.
    pub(super) wall: Moment,
    /// True time, for what is known of the truth.
    pub(super) truth_now: Moment,
    pub(super) heard: &'a mut Vec<Heard>,
}

pub(super) struct House {
    boot: BootId,
    /// The last heartbeat that is on disk, and how many are on their way.
    proved: Vec<(CallId, Moment)>,
    under_way: u32,
    /// Room of earlier heartbeats, to be used again.
    spare: (Vec<(CallId, Moment)>, Vec<Beat>),
    pub(super) beats: u64,
    /// New calls wait until the wall clock has passed this.
    wall_must_pass: Option<Moment>,
    pub(super) exchange: Exchange,
    turns: Turns<Then>,
    /// Handed over and not begun.
    queue: VecDeque<(u64, Transaction)>,
    requests: BTreeMap<RequestId, Requester>,
    next_request: u64,
    forget: VecDeque<(Moment, CallId)>,
    keys: BTreeSet<(usize, String)>,
    pub(super) failure: Option<StoreError>,
    pub(super) stopping: bool,
}

type Done = Result<(), Breach>;

impl House {
    /// A server that takes up what an earlier one left; `alive` is that one's last sign of life. The listener opens when
    /// [`House::is_idle`].
    pub(super) fn open(
        boot: BootId,
        alive: Option<Moment>,
        wall_must_pass: Option<Moment>,
        around: &mut Around<'_>,
    ) -> Result<Self, Breach> {
        let mut house = Self {
            boot,
            proved: Vec::new(),
            under_way: 0,
            spare: Default::default(),
            beats: 0,
            wall_must_pass,
            exchange: Exchange::new(),
            turns: Turns::default(),
            queue: VecDeque::new(),
            requests: BTreeMap::new(),
            next_request: 0,
            forget: VecDeque::new(),
            keys: BTreeSet::new(),
            failure: None,
            stopping: false,
        };
        let (proofs, pending) = (around.books.proofs()?, around.books.pending_holds()?);
        for journal in around.books.unfinished_calls()? {
            let id = journal.call;
            around.watch.restarted(id, &journal.entries)?;
            let was_live = journal.entries.iter().any(|entry| matches!(entry.fact, Fact::Started));
            let proved = if was_live { proofs.get(&id).copied() } else { alive };
            let mut out = Vec::new();
            let recovered = house.exchange.recover(&journal, proved, boot, around.now, &mut out);
            recovered.map_err(|why| Breach::new("replay", format!("{id}: {why}")))?;
            let known = house.exchange.call(id).map_or(&[][..], |call| call.holds());
            if pending.get(&id).is_some_and(|pending| pending.iter().any(|hold| !known.contains(hold))) {
                let release = Write::ReleaseStray { call: id, known: known.to_vec(), at: around.now };
                house.commit(Transaction { idempotency: None, writes: vec![release] }, Then::Say(Vec::new()));
            }
            house.carry_out(out, around)?;
        }
        Ok(house)
    }

    pub(super) fn boot(&self) -> BootId {
        self.boot
    }

    /// Nothing waits for the disk.
    pub(super) fn is_idle(&self) -> bool {
        self.turns.is_empty()
    }

    pub(super) fn next_due(&self) -> Option<Moment> {
        let settled = self.forget.front().map(|(at, _)| *at);
        [self.exchange.poll_timeout(), settled].into_iter().flatten().min()
    }

    pub(super) fn do_due(&mut self, around: &mut Around<'_>) -> Done {
        let now = around.now;
        if self.exchange.poll_timeout().is_some_and(|due| due <= now) {
            let mut out = Vec::new();
            self.exchange.handle_timeout(now, &mut out);
            self.carry_out(out, around)?;
        }
        while let Some((_, call)) = self.forget.pop_front_if(|(at, _)| *at <= now) {
            self.exchange.forget(call);
        }
        Ok(())
    }

    pub(super) fn tell_core(&mut self, call: CallId, event: Event, around: &mut Around<'_>) -> Done {
        let mut out = Vec::new();
        self.exchange.handle(call, event, around.now, &mut out);
        self.carry_out(out, around)
    }

    /// A heartbeat: what is proved of every call goes to disk. `seen` tells when a call's sides were seen last; it is asked in the
    /// order of the calls.
    pub(super) fn beat(&mut self, mut seen: impl FnMut(CallId) -> [Option<Moment>; 2], around: &mut Around<'_>) -> Done {
        let now = around.now;
        if self.under_way > 0 {
            self.end_lapsed(around)?;
        }
        if self.under_way >= MOST_UNDER_WAY {
            return Ok(());
        }
        let (mut proved, mut beats) = std::mem::take(&mut self.spare);
        for (call, basis) in self.exchange.running() {
            let seen = seen(call);
            let proof = basis.proof(|side, _| seen[side as usize], now);
            proved.push((call, proof.until));
            beats.push(Beat { call, until: proof.until, delivered: proof.delivered });
        }
        self.beats += beats.len() as u64;
        self.under_way += 1;
        let clocks = Reading { wall: around.wall, awake: now.since(Moment::from_unix_ms(0)), all: now.since(Moment::from_unix_ms(0)) };
        let write = Write::Heartbeats { boot: self.boot, at: now, clocks, beats };
        self.commit(Transaction { idempotency: None, writes: vec![write] }, Then::Beaten(proved));
        Ok(())
    }

    /// Ends calls that the disk has not proved for too long, as of their last proof.
    fn end_lapsed(&mut self, around: &mut Around<'_>) -> Done {
        let mut proved = self.proved.iter().peekable();
        let mut lapsed = Vec::new();
        for call in self.exchange.calls() {
            let (State::Live { since } | State::Paused { since, .. } | State::Landing { since, .. }) = call.state() else { continue };
            while proved.next_if(|(id, _)| *id < call.id()).is_some() {}
            let until = proved.peek().filter(|(id, _)| *id == call.id()).map_or(since, |(_, until)| since.max(*until));
            if around.now.since(until) > LEASE {
                lapsed.push((call.id(), until));
            }
        }
        lapsed.into_iter().try_for_each(|(call, proved)| self.tell_core(call, Event::LeaseLapsed { proved }, around))
    }

    /// The machine slept.
    pub(super) fn suspended(&mut self, since: Moment, around: &mut Around<'_>) -> Done {
        let slept = around.now.since(since);
        self.proved.iter_mut().for_each(|(_, until)| *until = *until + slept);
        let mut out = Vec::new();
        self.exchange.suspend(since, around.now, &mut out);
        self.carry_out(out, around)
    }

    pub(super) fn begin_stop(&mut self, around: &mut Around<'_>) -> Done {
        self.stopping = true;
        let open: Vec<CallId> = self.exchange.calls().filter(|call| !call.is_over()).map(Call::id).collect();
        open.into_iter().try_for_each(|call| self.tell_core(call, Event::ServerStops, around))
    }

    /// A page asks for more time, paid or given.
    pub(super) fn page_asks(&mut self, call: CallId, by: Asker, gift: Option<Span>, hold: HoldId, around: &mut Around<'_>) -> Done {
        let request = self.request(Requester::Page);
        let event = match gift {
            Some(length) => Event::GiftAsked { by, length, gift: None, request },
            None => Event::ExtendAsked { by, hold, order_ref: None, amount: None, request },
        };
        self.tell_core(call, event, around)
    }

    fn request(&mut self, requester: Requester) -> RequestId {
        self.next_request += 1;
        self.requests.insert(RequestId(self.next_request), requester);
        RequestId(self.next_request)
    }

    // What the core wants ------------------------------------------------------------------------------------------------

    fn carry_out(&mut self, effects: Vec<Effect>, around: &mut Around<'_>) -> Done {
        let now = around.now;
        // Each call's facts are their own transaction here, as they are in the service, which hands over one event at a time; a
        // recovery hands over one call at a time too.
        let mut transaction = Transaction::default();
        let mut said = Vec::new();
        let mut reserves = Vec::new();
        for effect in effects {
            match effect {
                Effect::Audio { .. } => {}
                Effect::StopMedia { call } => around.heard.push(Heard::StopMedia { call }),
                Effect::Record { call, entries, settle, requests } => {
                    if let Some(began) = entries.iter().find(|entry| entry.fact == Fact::Started) {
                        around.heard.push(Heard::Began { call, at: began.at });
                    }
                    let core = self.exchange.call(call);
                    around.watch.made(call, &entries, core)?;
                    transaction.writes.push(Write::Facts { call, entries });
                    if let Some(order) = settle {
                        if let Some(core) = core {
                            around.settles(core, &order)?;
                        }
                        let charge = order.charge.amount;
                        transaction.writes.push(Write::Settle(Box::new(Settlement {
                            call,
                            at: now,
                            transfer: TransferId::new(around.ids.next(now)),
                            captures: order.captures,
                            companion_share: order.companion_share,
                            vendor_share: order.vendor_share,
                            record: order.record,
                        })));
                        said.push(self.of(call, Heard::Settled { call, charge }));
                    }
                    for request in requests {
                        if let Some(kept) = self.kept_reply(request) {
                            transaction.idempotency = Some(kept);
                        }
                    }
                }
                Effect::Reserve { call, hold, client, vendor, amount, order_ref, request: _ } => {
                    let credit = order_ref.map(|order_ref| Write::Credit {
                        transfer: TransferId::new(around.ids.next(now)),
                        vendor,
                        client: client.clone(),
                        amount,
                        order_ref,
                        at: now,
                    });
                    let writes = credit.into_iter().chain([Write::Hold { hold, call, vendor, client, amount, at: now }]).collect();
                    reserves.push((Transaction { idempotency: None, writes }, Then::Reserved { call, hold }));
                }
                Effect::Tell { call, notice, .. } => {
                    let heard = self.of(call, Heard::Tell { call, notice });
                    said.push(heard);
                }
                Effect::Answer { request, result } => self.answer_request(request, result, &mut said),
            }
        }
        if transaction.writes.is_empty() {
            if !said.is_empty() {
                self.after_all(Then::Say(said), around)?;
            }
        } else {
            self.commit(transaction, Then::Say(said));
        }
        reserves.into_iter().for_each(|(transaction, then)| self.commit(transaction, then));
        Ok(())
    }

    /// What is said of a call tells of its facts so far.
    fn of(&self, call: CallId, heard: Heard) -> Said {
        let seq = self.exchange.call(call).and_then(|call| call.entries().last()).map_or(0, |entry| entry.seq);
        Said::Of { call, seq, heard }
    }

    fn commit(&mut self, transaction: Transaction, then: Then) {
        let ticket = self.turns.submit(then);
        self.queue.push_back((ticket, transaction));
    }

    fn after_all(&mut self, then: Then, around: &mut Around<'_>) -> Done {
        match self.turns.after_all(then) {
            Some(then) => self.happen(then, Ok(Outcome::Committed), around),
            None => Ok(()),
        }
    }

    /// What the disk takes next as one group.
    pub(super) fn next_group(&mut self) -> Vec<(u64, Transaction)> {
        let length = self.queue.len().min(GROUP);
        self.queue.drain(..length).collect()
    }

    /// A group is written: what it had of heartbeats makes room for the next.
    pub(super) fn take_room(&mut self, group: Vec<Transaction>) {
        for write in group.into_iter().flat_map(|transaction| transaction.writes) {
            if let Write::Heartbeats { mut beats, .. } = write {
                beats.clear();
                self.spare.1 = beats;
            }
        }
    }

    /// The disk had no room for these, and they must be written: they are the first of the next group.
    pub(super) fn take_back(&mut self, group: Vec<(u64, Transaction)>) {
        group.into_iter().rev().for_each(|transaction| self.queue.push_front(transaction));
    }

    /// A group is on disk, or is known not to be.
    pub(super) fn stored(&mut self, ticket: u64, answer: Answer, around: &mut Around<'_>) -> Done {
        if let Some((then, answer)) = self.turns.came_back(ticket, answer, |then| matches!(then, Then::Say(_))) {
            self.happen(then, answer, around)?;
        }
        while let Some((then, answer)) = self.turns.pop() {
            if self.failure.is_some() {
                return Ok(()); // What waited behind a failed commit is not to be said.
            }
            self.happen(then, answer, around)?;
        }
        Ok(())
    }

    fn happen(&mut self, then: Then, answer: Answer, around: &mut Around<'_>) -> Done {
        match then {
            Then::Say(said) => match answer {
                Ok(Outcome::Committed) => said.into_iter().try_for_each(|said| self.say(said, around)),
                Ok(outcome) => Err(Breach::new("facts", format!("facts were answered with {outcome:?}"))),
                Err(StoreError::Broken(fault)) => Err(Breach::new("facts", fault)),
                Err(error) => {
                    self.fail(error, around);
                    Ok(())
                }
            },
            Then::Reserved { call, hold } => {
                let why = match answer {
                    Ok(Outcome::Committed) => None,
                    Ok(Outcome::Refused(Refusal::Funds { available })) => Some(Refused::Funds { available }),
                    Ok(Outcome::Refused(Refusal::OrderCredited)) => Some(Refused::OrderCredited),
                    Ok(Outcome::Refused(Refusal::TooLarge | Refusal::CreditsFull { .. })) => Some(Refused::TooLarge),
                    Ok(_) | Err(_) => Some(Refused::Storage),
                };
                self.tell_core(call, why.map_or(Event::Reserved { hold }, |why| Event::NotReserved { hold, why }), around)
            }
            Then::Beaten(proved) => {
                self.under_way -= 1;
                match answer {
                    Ok(_) => {
                        self.spare.0 = std::mem::replace(&mut self.proved, proved);
                        self.spare.0.clear();
                    }
                    Err(StoreError::Full | StoreError::Busy) => {}
                    Err(StoreError::Broken(fault)) => return Err(Breach::new("heartbeat", fault)),
                    Err(error) => self.fail(error, around),
                }
                Ok(())
            }
            Then::Desk { ask, key, body, booked } => {
                self.keys.remove(&key);
                let (status, body) = match answer {
                    Ok(Outcome::Committed) => {
                        if let Some(call) = booked {
                            let id = call.id();
                            self.exchange.insert(*call);
                            if self.stopping {
                                self.tell_core(id, Event::ServerStops, around)?;
                            }
                        }
                        (201, body)
                    }
                    Ok(Outcome::Replayed { status, body }) => (status, body),
                    Ok(Outcome::Refused(refusal)) => (status_of(&refusal), format!("{refusal:?}")),
                    Err(error) => (507, error.to_string()),
                };
                around.heard.push(Heard::Reply { ask, status, body });
                Ok(())
            }
            Then::Returned(waiting) => self.returned(waiting, answer, around),
            Then::Noted { letter } => {
                around.heard.push(Heard::Noted { letter, noted: answer.map(|_| ()) });
                Ok(())
            }
        }
    }

    /// Keeps what became of a letter.
    pub(super) fn note(&mut self, letter: u32, attempt: Attempt) {
        let write = Write::Webhook(WebhookWrite::Attempted(attempt));
        self.commit(Transaction { idempotency: None, writes: vec![write] }, Then::Noted { letter });
    }

    /// The journal is behind what the core knows: nothing more may be said, and the process ends.
    fn fail(&mut self, error: StoreError, around: &mut Around<'_>) {
        around.heard.extend(self.exchange.calls().map(|call| Heard::StopMedia { call: call.id() }));
        self.failure = Some(error);
    }

    fn say(&mut self, said: Said, around: &mut Around<'_>) -> Done {
        let heard = match said {
            Said::Heard(heard) => heard,
            Said::Free(key) => {
                self.keys.remove(&key);
                return Ok(());
            }
            Said::Of { call, seq, heard } => {
                around.watch.tells(call, seq, around.books.last_fact(call))?;
                heard
            }
        };
        match &heard {
            Heard::Settled { call, .. } => self.forget.push_back((around.now + KEEP_SETTLED, *call)),
            Heard::Reply { .. } | Heard::StopMedia { .. } | Heard::Began { .. } | Heard::Tell { .. } | Heard::Noted { .. } => {}
        }
        around.heard.push(heard);
        Ok(())
    }

    fn answer_request(&mut self, request: RequestId, result: Result<Answered, Refused>, said: &mut Vec<Said>) {
        let Some(Requester::Desk { ask, key, call, .. }) = self.requests.remove(&request) else { return };
        said.extend(key.map(Said::Free));
        match result {
            Ok(_) => {
                let body = self.call_body(call);
                said.push(self.of(call, Heard::Reply { ask, status: 200, body }));
            }
            Err(why) => {
                let status = match why {
                    Refused::Funds { .. } => 402,
                    Refused::UnknownCall => 404,
                    Refused::Storage => 507,
                    Refused::Busy => 429,
                    _ => 409,
                };
                said.push(Said::Heard(Heard::Reply { ask, status, body: why.name().to_owned() }));
            }
        }
    }

    fn kept_reply(&self, request: RequestId) -> Option<Idempotency> {
        let Some(Requester::Desk { call, kept, .. }) = self.requests.get(&request) else { return None };
        kept.clone().map(|kept| Idempotency { status: 200, body: self.call_body(*call), ..kept })
    }

    fn call_body(&self, call: CallId) -> String {
        match self.exchange.call(call) {
            Some(core) => format!(
                r#"{{"id":"{call}","state":"{}","holds":{},"gifted_s":{}}}"#,
                core.state().name(),
                core.holds().len(),
                core.gifted().whole_s()
            ),
            None => String::new(),
        }
    }

    // The desk -----------------------------------------------------------------------------------------------------------

    /// A command of a vendor arrives.
    pub(super) fn take(&mut self, number: u32, ask: &Ask, around: &mut Around<'_>) -> Done {
        let key = (ask.vendor, ask.key.clone());
        let refuse = |status: u16, why: &str, around: &mut Around<'_>| {
            around.heard.push(Heard::Reply { ask: number, status, body: why.to_owned() });
            Ok(())
        };
        if self.stopping {
            return refuse(503, "overloaded", around);
        }
        if self.keys.contains(&key) {
            return refuse(409, "idempotency_key_in_use", around);
        }
        if let Some(kept) = around.books.reply(ask.vendor_id, &ask.key)? {
            if kept.request_hash != ask.hash {
                return refuse(422, "idempotency_key_reused", around);
            }
            around.heard.push(Heard::Reply { ask: number, status: kept.status, body: kept.body });
            return Ok(());
        }
        let now = around.now;
        let kept = Idempotency { vendor: ask.vendor_id, key: ask.key.clone(), request_hash: ask.hash, status: 201, body: String::new() };
        match &ask.want {
            Want::Credit { client, amount, order_ref } => {
                let body = format!(r#"{{"client":"{client}","order_ref":"{order_ref}","amount":{}}}"#, amount.amount);
                let write = Write::Credit {
                    transfer: TransferId::new(around.ids.next(now)),
                    vendor: ask.vendor_id,
                    client: client.clone(),
                    amount: *amount,
                    order_ref: order_ref.clone(),
                    at: now,
                };
                self.keys.insert(key.clone());
                let transaction = Transaction { idempotency: Some(Idempotency { body: body.clone(), ..kept }), writes: vec![write] };
                self.commit(transaction, Then::Desk { ask: number, key, body, booked: None });
                Ok(())
            }
            Want::Create { .. } if self.wall_must_pass.is_some_and(|passes| around.wall < passes) => refuse(503, "clock_behind", around),
            Want::Create { terms } => {
                let terms = Terms {
                    client_token: TokenId::new(around.ids.next(now)),
                    companion_token: TokenId::new(around.ids.next(now)),
                    policy: around.books.policy(ask.vendor_id)?,
                    ..Terms::clone(terms)
                };
                let (id, hold) = (CallId::new(around.ids.next(now)), HoldId::new(around.ids.next(now)));
                let (client, amount) = (terms.client.clone(), terms.hold);
                let Ok((call, entry)) = exchange::book(id, terms, hold, now) else { return refuse(422, "terms", around) };
                around.booked(id, ask, &entry);
                let body = format!(r#"{{"id":"{id}"}}"#);
                let writes = vec![
                    Write::Facts { call: id, entries: vec![entry] },
                    Write::Hold { hold, call: id, vendor: ask.vendor_id, client, amount, at: now },
                ];
                self.keys.insert(key.clone());
                let transaction = Transaction { idempotency: Some(Idempotency { body: body.clone(), ..kept }), writes };
                self.commit(transaction, Then::Desk { ask: number, key, body, booked: Some(Box::new(call)) });
                Ok(())
            }
            Want::Extend { call, order_ref, amount, gift } => {
                let call = *call;
                if !self.at_hand(call, around)? {
                    return refuse(404, "not_found", around);
                }
                self.keys.insert(key.clone());
                let request = self.request(Requester::Desk { ask: number, key: Some(key), call, kept: Some(kept) });
                let event = match gift {
                    Some(length) => Event::GiftAsked { by: Asker::Vendor, length: *length, gift: None, request },
                    None => {
                        let hold = HoldId::new(around.ids.next(now));
                        Event::ExtendAsked { by: Asker::Vendor, hold, order_ref: order_ref.clone(), amount: *amount, request }
                    }
                };
                self.tell_core(call, event, around)
            }
            Want::End { call } => {
                let call = *call;
                if !self.at_hand(call, around)? {
                    return refuse(404, "not_found", around);
                }
                self.keys.insert(key.clone());
                let request = self.request(Requester::Desk { ask: number, key: Some(key), call, kept: Some(kept) });
                self.tell_core(call, Event::VendorEnds { request }, around)
            }
            Want::RefundCall { .. } | Want::AdjustCall { .. } => self.give_back(number, ask, 0, around),
            Want::RefundClient { client, amount, order_ref } => self.pay_out(number, ask, (client, *amount, order_ref), around),
            Want::SetPolicy { change } => self.set_policy(number, ask, change, around),
        }
    }

    /// A call that is no longer at hand is read from disk.
    fn at_hand(&mut self, call: CallId, around: &mut Around<'_>) -> Result<bool, Breach> {
        if self.exchange.call(call).is_some() {
            return Ok(true);
        }
        let Some(journal) = around.books.journal(call) else { return Ok(false) };
        let read = Call::replay(&journal).map_err(|why| Breach::new("replay", format!("{call}: {why}")))?;
        if matches!(read.state(), State::Settled { .. }) {
            self.exchange.insert(read);
            self.forget.push_back((around.now + KEEP_SETTLED, call));
            return Ok(true);
        }
        // Booked, and its commit not told yet.
        Ok(false)
    }
}

impl Around<'_> {
    fn settles(&mut self, core: &Call, order: &exchange::SettleOrder) -> Done {
        for (hold, amount) in core.holds().iter().zip(core.amounts()) {
            let held = self.books.memory.held(core.id(), *hold);
            expect(held == Some(*amount), "held", || format!("{}: {hold} counts for {amount}, and {held:?} are set aside", core.id()))?;
        }
        self.watch.settles(core, order, self.truth_now)
    }

    fn booked(&mut self, call: CallId, ask: &Ask, entry: &crate::call::Entry) {
        let agreed = self.books.memory.policy(ask.vendor_id).unwrap_or_default();
        self.watch.booked(call, ask.line, agreed, entry);
    }
}

/// The status of a refusal of the store's.
fn status_of(refusal: &Refusal) -> u16 {
    if matches!(refusal, Refusal::Funds { .. }) { 402 } else { 422 }
}

/// What calls of a night are made on, beside their plan.
pub(super) fn terms_of(of: super::vendors::Sale) -> Terms {
    Terms {
        vendor: of.vendor,
        plan: of.plan,
        plan_name: "a plan".to_owned(),
        sold: of.sold,
        hold: of.hold,
        policy: Policy::default(),
        zones: Some(crate::billing::ZONES_VERSION.to_owned()),
        night: of.night,
        sounds: Sounds::default(),
        recording: None,
        grade_paid: None,
        grade_delivered: None,
        client: of.client,
        client_name: Some(of.key),
        companion: of.companion,
        companion_name: "Lin".to_owned(),
        medium: Medium::Audio,
        shares: Shares { companion_bps: of.companion_bps, vendor_bps: 10_000 - of.companion_bps },
        client_token: TokenId::new(uuid::Uuid::nil()),
        companion_token: TokenId::new(uuid::Uuid::nil()),
        limits: Limits { max_duration: of.longest, ..Limits::default() },
    }
}

/// The amount of an order.
pub(super) fn order(amount: i64, like: Money) -> Money {
    Money::new(amount, like.currency)
}
