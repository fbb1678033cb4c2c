//! The loop itself: one owner, one event at a time.
//!
//! Invariant: what is said outside was made at its event and waits in `pending` until the commit of that event, and all before it, is
//! on disk. Only `StopMedia` does not wait: packets stop at the due instant, whatever the disk does.

use super::desk::Desk;
use super::line::Place;
use super::parties::Parties;
use super::{Parts, Rules, ServiceError, wire};
use crate::call::{Answered, Call, Event, Notice, Refused, RequestId, Side};
use crate::clock::{Clock, Moment, Span};
use crate::exchange::{Effect, Exchange, SettleOrder};
use crate::ids::{CallId, HoldId, TransferId};
use crate::media::{Media, Report};
use crate::money::Money;
use crate::store::{Idempotency, Outcome, Refusal, Settlement, Store, StoreError, Transaction, Write};
use serde_json::Value;
use signaling::auth::TokenKey;
use signaling::code::Code;
use signaling::endpoint::Ready;
use signaling::inbound::{Inbound, Refused as WireRefused, SocketId};
use signaling::message::ServerBody;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::pending;
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

/// A settled call stays at hand for this long, for pages that show its end; afterwards it is read from disk when asked for.
const KEEP_SETTLED: Span = Span::from_s(60);

/// The owner of everything that is alive.
pub(super) struct House {
    pub(super) clock: Clock,
    pub(super) store: Store,
    pub(super) media: Media,
    pub(super) tokens: TokenKey,
    pub(super) rules: Rules,
    pub(super) exchange: Exchange,
    pub(super) desk: Desk,
    pub(super) parties: BTreeMap<CallId, Parties>,
    pub(super) sockets: BTreeMap<SocketId, (CallId, Side)>,
    /// Requests of the core that wait for its answer.
    pub(super) requests: BTreeMap<RequestId, Requester>,
    next_request: u64,
    /// Requests whose order was credited before the core answered them; said if they are then refused.
    credited: BTreeSet<RequestId>,
    pending: VecDeque<(u64, Then)>,
    last_ticket: u64,
    /// Work that came back from other tasks. Unbounded, but every note answers something that was bounded on its way in:
    /// the store's queue, the door's queue, a leg.
    pub(super) notes: mpsc::UnboundedSender<Note>,
    inbox: Option<Inbox>,
    forget: VecDeque<(Moment, CallId)>,
    ready: watch::Sender<Ready>,
    failure: Option<ServiceError>,
    pub(super) stopping: bool,
}

struct Inbox {
    notes: mpsc::UnboundedReceiver<Note>,
    reports: mpsc::Receiver<Report>,
    inbound: mpsc::Receiver<Inbound>,
}

/// What came back from the store, the media plane or a task that read something.
pub(super) enum Note {
    /// A transaction's outcome; they come in the order of submitting.
    Stored { ticket: u64, outcome: Result<Outcome, StoreError> },
    /// A step of a REST request that had to look something up.
    Desk(Box<super::desk::Step>),
    /// The media plane's answer to an offer.
    Offered(Box<super::line::Offered>),
    /// A call that was not at hand was read from disk.
    Loaded { id: CallId, found: Result<Option<Box<Call>>, WireRefused>, errand: Errand },
    /// What a wallet has left to spend.
    Wallet { call: CallId, available: Money },
}

/// What is to be done with a call once it is at hand.
pub(super) enum Errand {
    /// For a REST request.
    Desk(Box<super::desk::OnCall>),
    /// For somebody with a join token.
    Line(Box<super::line::OnCall>),
}

/// Who waits for the core's answer.
pub(super) enum Requester {
    /// A program or person at the REST interface.
    Desk(super::desk::Waiting),
    /// A page; `seq` is the message that asked.
    Page { call: CallId, side: Side, place: Place, seq: u64, key: String },
}

/// What happens once a transaction is on disk.
pub(super) enum Then {
    /// These are said.
    Say(Vec<Said>),
    /// The store's answer to a reservation goes to the core.
    Reserved { call: CallId, hold: HoldId, price: Money, credits: Option<RequestId> },
    /// A REST command that needed only the store.
    Desk(Box<super::desk::Stored>),
}

/// Something said outside.
pub(super) enum Said {
    /// To every page of a party, numbered, on socket and data channel.
    Tell { call: CallId, side: Side, body: Box<ServerBody> },
    /// To the one place that asked.
    Answer { call: CallId, side: Side, place: Place, body: Box<ServerBody> },
    /// To a REST request; `request` is its name if the core answered it.
    Reply { request: Option<RequestId>, waiting: super::desk::Waiting, answer: Result<signaling::rest::Answered, WireRefused> },
    /// To a join over HTTP.
    Joined { reply: signaling::inbound::Reply<signaling::inbound::Joined>, joined: signaling::inbound::Joined },
    /// To a join over HTTP that came to nothing.
    JoinRefused { reply: signaling::inbound::Reply<signaling::inbound::Joined>, refused: WireRefused },
    /// To a party that hung up over HTTP.
    HungUp { reply: signaling::inbound::Reply<()> },
    /// To somebody with a join token: not done, and why.
    Refused { work: Box<super::line::OnCall>, refused: WireRefused },
    /// To somebody who asked for a receipt with a join token.
    Receipt { reply: signaling::inbound::Reply<Value>, receipt: Result<Value, WireRefused> },
    /// A call is settled: wallets changed, and it may be forgotten after a while.
    Settled { call: CallId },
}

/// A fresh id's random part; time-ordered (RFC 9562 section 5.7).
pub(super) fn fresh() -> Uuid {
    Uuid::now_v7()
}

impl House {
    /// Takes the parts and settles what an earlier process left open.
    pub(super) async fn open(parts: Parts) -> Result<Self, ServiceError> {
        let (notes, inbox) = mpsc::unbounded_channel();
        let mut house = Self {
            clock: parts.clock,
            store: parts.store,
            media: parts.media,
            tokens: parts.tokens,
            rules: parts.rules,
            exchange: Exchange::new(),
            desk: Desk::default(),
            parties: BTreeMap::new(),
            sockets: BTreeMap::new(),
            requests: BTreeMap::new(),
            next_request: 0,
            credited: BTreeSet::new(),
            pending: VecDeque::new(),
            last_ticket: 0,
            notes,
            inbox: Some(Inbox { notes: inbox, reports: parts.reports, inbound: parts.inbound }),
            forget: VecDeque::new(),
            ready: parts.ready,
            failure: None,
            stopping: false,
        };
        house.settle_left_over().await?;
        Ok(house)
    }

    async fn settle_left_over(&mut self) -> Result<(), ServiceError> {
        let store = self.store.clone();
        let journals = tokio::task::spawn_blocking(move || store.unfinished_calls()).await.map_err(|_| ServiceError::Panicked)??;
        for journal in journals {
            let id = journal.call;
            let call = Call::replay(&journal).map_err(|why| ServiceError::Journal { call: id.to_string(), why: why.to_string() })?;
            let proved_until = journal.entries.last().map_or(call.created_at(), |entry| entry.at);
            self.exchange.insert(call);
            self.tell_core_as_of(id, Event::ServerStops, proved_until);
            tracing::warn!(call.id = %id, "call {id} was cut off by a stop of the server; it ends as of {proved_until}");
        }
        Ok(())
    }

    /// Runs until `stopped`, then ends what is open and returns once it is on disk.
    pub(super) async fn run(mut self, mut stopped: oneshot::Receiver<()>) -> Result<(), ServiceError> {
        let Some(mut inbox) = self.inbox.take() else { return Err(ServiceError::Panicked) };
        let _ = self.ready.send(Ready::Yes);
        loop {
            self.do_due();
            if let Some(failure) = self.failure.take() {
                let _ = self.ready.send(Ready::No("the journal cannot be written".to_owned()));
                return Err(failure);
            }
            if self.stopping && self.pending.is_empty() {
                return Ok(());
            }
            let due = self.next_due();
            let timer = async {
                match due {
                    Some(instant) => tokio::time::sleep_until(instant.into()).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                () = timer => {}
                Some(note) = inbox.notes.recv() => self.take_note(note),
                Some(report) = inbox.reports.recv() => self.take_report(report),
                Some(inbound) = inbox.inbound.recv() => self.take_inbound(inbound),
                _ = &mut stopped, if !self.stopping => self.begin_stop(),
            }
        }
    }

    fn next_due(&self) -> Option<std::time::Instant> {
        let settled = self.forget.front().map(|(at, _)| *at);
        let due = [self.exchange.poll_timeout(), settled].into_iter().flatten().min()?;
        Some(self.clock.instant(due))
    }

    fn do_due(&mut self) {
        let now = self.clock.now();
        if self.exchange.poll_timeout().is_some_and(|due| due <= now) {
            let mut out = Vec::new();
            self.exchange.handle_timeout(now, &mut out);
            self.carry_out(out, now);
        }
        while let Some((_, call)) = self.forget.pop_front_if(|(at, _)| *at <= now) {
            // A page that still looks at it keeps it.
            if self.parties.get(&call).is_some_and(Parties::is_watched) {
                self.forget.push_back((now + KEEP_SETTLED, call));
            } else {
                self.exchange.forget(call);
                self.parties.remove(&call);
            }
        }
    }

    fn begin_stop(&mut self) {
        self.stopping = true;
        let _ = self.ready.send(Ready::No("the server is stopping".to_owned()));
        let open: Vec<CallId> = self.exchange.calls().filter(|call| !call.is_over()).map(Call::id).collect();
        tracing::info!(calls = open.len(), "stopping: {} open calls end now", open.len());
        for call in open {
            self.tell_core(call, Event::ServerStops);
        }
    }

    fn take_inbound(&mut self, inbound: Inbound) {
        if self.stopping {
            return inbound.refuse(&wire::refused(Code::Overloaded, "the server is stopping; nothing was done, try again", None));
        }
        match inbound {
            Inbound::Rest { caller, idempotency, request, reply } => self.take_rest(caller, idempotency, request, reply),
            Inbound::LogIn { code, session, reply } => self.log_in(code, session, reply),
            Inbound::LogOut { session, reply } => self.log_out(session, reply),
            Inbound::Join { .. }
            | Inbound::Patch { .. }
            | Inbound::HangUp { .. }
            | Inbound::Receipt { .. }
            | Inbound::SocketOpened { .. }
            | Inbound::SocketMessage { .. }
            | Inbound::SocketClosed { .. } => self.take_line(inbound),
        }
    }

    fn take_note(&mut self, note: Note) {
        match note {
            Note::Stored { ticket, outcome } => self.stored(ticket, outcome),
            Note::Desk(step) => self.desk_step(*step),
            Note::Offered(offered) => self.offered(*offered),
            Note::Loaded { id, found, errand } => match found {
                Ok(Some(call)) => {
                    // Somebody else may have asked for it in the meantime, and it may have changed since.
                    if self.exchange.call(id).is_none() {
                        self.exchange.insert(*call);
                        self.forget.push_back((self.clock.now() + KEEP_SETTLED, id));
                    }
                    self.run_errand(id, errand);
                }
                Ok(None) => errand.refuse(wire::not_found("call")),
                Err(refused) => errand.refuse(refused),
            },
            Note::Wallet { call, available } => {
                if let Some(parties) = self.parties_of(call)
                    && parties.available != Some(available)
                {
                    parties.available = Some(available);
                    self.tell_state(call, Side::Client);
                }
            }
        }
    }

    /// Does something with a call, which is read from disk first if it is settled and no longer at hand.
    pub(super) fn with_call(&mut self, id: CallId, errand: Errand) {
        if self.exchange.call(id).is_some() {
            return self.run_errand(id, errand);
        }
        let (store, notes) = (self.store.clone(), self.notes.clone());
        tokio::task::spawn_blocking(move || {
            let found = read_call(&store, id).map(|call| call.map(Box::new));
            // The loop is gone only after a failure; the errand's reply is dropped and reads as an internal error.
            let _ = notes.send(Note::Loaded { id, found, errand });
        });
    }

    fn run_errand(&mut self, id: CallId, errand: Errand) {
        match errand {
            Errand::Desk(work) => self.desk_on_call(id, *work),
            Errand::Line(work) => self.line_on_call(id, *work),
        }
    }

    /// Who is on the line of a call; none if the call is not at hand (a late report of one that is forgotten).
    pub(super) fn parties_of(&mut self, call: CallId) -> Option<&mut Parties> {
        self.exchange.call(call)?;
        Some(self.parties.entry(call).or_default())
    }

    /// A name for a request that the core will answer.
    pub(super) fn request(&mut self, requester: Requester) -> RequestId {
        self.next_request += 1;
        let id = RequestId(self.next_request);
        self.requests.insert(id, requester);
        id
    }

    /// Hands an event to the core, now.
    pub(super) fn tell_core(&mut self, call: CallId, event: Event) {
        self.tell_core_as_of(call, event, self.clock.now());
    }

    fn tell_core_as_of(&mut self, call: CallId, event: Event, now: Moment) {
        let mut out = Vec::new();
        self.exchange.handle(call, event, now, &mut out);
        self.carry_out(out, now);
    }

    /// Carries out what the core asks for, in its order: one transaction for what is recorded, then what is said of it.
    fn carry_out(&mut self, effects: Vec<Effect>, now: Moment) {
        let mut transaction = Transaction::default();
        let mut said = Vec::new();
        let mut reserves = Vec::new();
        for effect in effects {
            match effect {
                Effect::StopMedia { call } => self.media.stop(call),
                Effect::Record { call, entries, settle, requests } => {
                    log_life(call, &entries);
                    transaction.writes.push(Write::Facts { call, entries });
                    if let Some(order) = settle {
                        transaction.writes.push(Write::Settle(Box::new(settlement(call, order, now))));
                        said.push(Said::Settled { call });
                    }
                    for request in requests {
                        if let Some(kept) = self.kept_reply(request, now) {
                            transaction.idempotency = Some(kept);
                        }
                    }
                }
                Effect::Reserve { call, hold, client, vendor, amount, order_ref, request } => {
                    let credits = order_ref.is_some().then_some(request);
                    let credit = order_ref.map(|order_ref| Write::Credit {
                        transfer: TransferId::new(fresh()),
                        vendor,
                        client: client.clone(),
                        amount,
                        order_ref,
                        at: now,
                    });
                    let writes = credit.into_iter().chain([Write::Hold { hold, call, vendor, client, amount, at: now }]).collect();
                    reserves.push((Transaction { idempotency: None, writes }, Then::Reserved { call, hold, price: amount, credits }));
                }
                Effect::Tell { call, to, notice } => self.put_in_words(call, to, &notice, &mut said),
                Effect::Answer { request, result } => self.answer_request(request, result, now, &mut said),
            }
        }
        if transaction.writes.is_empty() {
            if !said.is_empty() {
                self.after_all(Then::Say(said));
            }
        } else {
            self.commit(transaction, Then::Say(said));
        }
        for (transaction, then) in reserves {
            self.commit(transaction, then);
        }
    }

    /// Hands a transaction to the store; `then` happens when it is on disk.
    pub(super) fn commit(&mut self, transaction: Transaction, then: Then) {
        self.last_ticket += 1;
        let ticket = self.last_ticket;
        self.pending.push_back((ticket, then));
        let notes = self.notes.clone();
        self.store.submit(transaction, move |outcome| {
            // The loop is gone only after a failure; then nobody is told anything any more.
            let _ = notes.send(Note::Stored { ticket, outcome });
        });
    }

    /// Lets something be said once all that was handed to the store before is on disk.
    pub(super) fn after_all(&mut self, then: Then) {
        if self.pending.is_empty() {
            self.happen(then, Ok(Outcome::Committed));
        } else {
            self.pending.push_back((self.last_ticket, then));
        }
    }

    fn stored(&mut self, ticket: u64, outcome: Result<Outcome, StoreError>) {
        let mut outcome = Some(outcome);
        while let Some((_, then)) = self.pending.pop_front_if(|(waits_for, _)| *waits_for <= ticket) {
            if self.failure.is_some() {
                return; // What waited behind a failed commit is not to be said.
            }
            // The first entry of a ticket is the transaction's own, those behind it only waited.
            let own = outcome.take().unwrap_or(Ok(Outcome::Committed));
            self.happen(then, own);
        }
    }

    fn happen(&mut self, then: Then, outcome: Result<Outcome, StoreError>) {
        match then {
            Then::Say(said) => match outcome {
                Ok(Outcome::Committed) => {
                    for said in said {
                        self.say(said);
                    }
                }
                // Facts carry no condition, and a key that was used never reaches the core: only the disk can be at fault.
                Ok(outcome) => self.fail(StoreError::Broken(format!("facts were answered with {outcome:?}"))),
                Err(error) => self.fail(error),
            },
            Then::Reserved { call, hold, price, credits } => {
                let why = match outcome {
                    Ok(Outcome::Committed) => {
                        self.credited.extend(credits);
                        None
                    }
                    Ok(Outcome::Refused(Refusal::Funds { available })) => Some(Refused::Funds { available }),
                    Ok(Outcome::Refused(Refusal::OrderCredited)) => Some(Refused::OrderCredited),
                    Ok(Outcome::Refused(Refusal::TooLarge)) => Some(Refused::TooLarge),
                    Ok(outcome) => {
                        tracing::error!(?outcome, %price, "a reservation was answered out of turn");
                        Some(Refused::Storage)
                    }
                    Err(error) => {
                        tracing::error!(%error, "a reservation could not be written");
                        Some(Refused::Storage)
                    }
                };
                self.tell_core(call, why.map_or(Event::Reserved { hold }, |why| Event::NotReserved { hold, why }));
                self.read_wallet(call);
            }
            Then::Desk(stored) => self.desk_stored(*stored, outcome),
        }
    }

    /// The journal is behind what the core knows: nothing more may be said. Media stops, since nothing can be proved.
    fn fail(&mut self, error: StoreError) {
        tracing::error!(%error, "the journal cannot be written; stopping so that nothing unproved is charged");
        for call in self.exchange.calls() {
            self.media.stop(call.id());
        }
        self.failure = Some(error.into());
    }

    fn say(&mut self, said: Said) {
        match said {
            Said::Tell { call, side, body } => self.tell(call, side, *body),
            Said::Answer { call, side, place, body } => self.answer_place(call, side, place, *body),
            Said::Reply { request, waiting, answer } => {
                let credited = request.is_some_and(|request| self.credited.remove(&request));
                waiting.answer(answer.map_err(|refused| if credited { wire::with_order_kept(refused) } else { refused }));
            }
            // A caller that went away has its leg time out.
            Said::Joined { reply, joined } => drop(reply.send(Ok(joined))),
            // Who went away needs no answer.
            Said::JoinRefused { reply, refused } => drop(reply.send(Err(refused))),
            Said::HungUp { reply } => drop(reply.send(Ok(()))),
            Said::Refused { work, refused } => work.refuse(refused),
            Said::Receipt { reply, receipt } => drop(reply.send(receipt)),
            Said::Settled { call } => {
                self.forget.push_back((self.clock.now() + KEEP_SETTLED, call));
                self.read_wallet(call);
            }
        }
    }

    /// Makes messages of a notice, as of now.
    fn put_in_words(&self, call: CallId, to: Option<Side>, notice: &Notice, said: &mut Vec<Said>) {
        for side in [Side::Client, Side::Companion] {
            if to.is_some_and(|to| to != side) {
                continue;
            }
            let event = match notice {
                Notice::Changed | Notice::Started | Notice::Paused { .. } | Notice::Resumed => None,
                Notice::Warning { left } => Some(ServerBody::Warning { remaining_s: left.whole_s().unsigned_abs() }),
                Notice::Extended { by } => {
                    let block = self.exchange.call(call).map_or(Span::ZERO, |call| call.terms().block);
                    Some(ServerBody::Extended { by: wire::asker(*by), added_s: block.whole_s().unsigned_abs(), free: false })
                }
                Notice::Gifted { by, length } => {
                    Some(ServerBody::Extended { by: wire::asker(*by), added_s: length.whole_s().unsigned_abs(), free: true })
                }
                Notice::Ended { reason, at_fault } => Some(ServerBody::Ended {
                    reason: reason.name().to_owned(),
                    at_fault: at_fault.name().to_owned(),
                    receipt: self.receipt(call, side),
                }),
            };
            let state = self.view_for(call, side).map(|call| ServerBody::State { call: Box::new(call) });
            said.extend(event.into_iter().chain(state).map(|body| Said::Tell { call, side, body: Box::new(body) }));
        }
    }

    fn answer_request(&mut self, request: RequestId, result: Result<Answered, Refused>, now: Moment, said: &mut Vec<Said>) {
        match self.requests.remove(&request) {
            Some(Requester::Desk(waiting)) => {
                let answer = match result {
                    Ok(_) => self.call_reply(&waiting, now),
                    Err(why) => Err(wire::of_call(&why)),
                };
                said.push(Said::Reply { request: Some(request), waiting, answer });
            }
            Some(Requester::Page { call, side, place, seq, key }) => {
                // Success is what every page is told by `extended`.
                if let Err(why) = result {
                    if let Some(parties) = self.parties_of(call) {
                        parties.of_mut(side).keys.remove(&key); // Nothing came of it: the same tap may be tried again.
                    }
                    let WireRefused { code, detail, .. } = wire::of_call(&why);
                    said.push(Said::Answer { call, side, place, body: Box::new(ServerBody::Error { code, detail, re: Some(seq) }) });
                }
            }
            None => {}
        }
    }

    /// The reply to keep beside the effect of a REST command that the core carried out.
    fn kept_reply(&self, request: RequestId, now: Moment) -> Option<Idempotency> {
        let Some(Requester::Desk(waiting)) = self.requests.get(&request) else { return None };
        let answered = self.call_reply(waiting, now).ok()?;
        waiting.keep(answered.status, &answered.body)
    }

    /// What a party may see of a call now.
    pub(super) fn view_for(&self, call: CallId, side: Side) -> Option<signaling::message::CallView> {
        let view = self.exchange.view(call, self.clock.now())?;
        let nobody = Parties::default();
        let parties = self.parties.get(&call).unwrap_or(&nobody);
        Some(wire::call_view(&view, parties, side, self.receipt(call, side)))
    }

    /// The client's receipt or the companion's statement, once the call is settled.
    pub(super) fn receipt(&self, call: CallId, side: Side) -> Option<Value> {
        let call = self.exchange.call(call)?;
        wire::receipt(call, side)
    }

    /// Tells a party how the call stands, after all that is on its way to disk.
    pub(super) fn tell_state(&mut self, call: CallId, side: Side) {
        if let Some(view) = self.view_for(call, side) {
            let body = Box::new(ServerBody::State { call: Box::new(view) });
            self.after_all(Then::Say(vec![Said::Tell { call, side, body }]));
        }
    }

    /// Looks up what the client has left to spend; her page is told when it differs.
    pub(super) fn read_wallet(&self, call: CallId) {
        let Some(terms) = self.exchange.call(call).map(Call::terms) else { return };
        let (vendor, client, currency) = (terms.vendor, terms.client.clone(), terms.price.currency);
        let (store, notes) = (self.store.clone(), self.notes.clone());
        tokio::task::spawn_blocking(move || match store.balances(vendor, &client) {
            Ok(balances) => {
                let available = balances.iter().find(|b| b.posted.currency == currency).map_or(0, |b| b.available());
                // The loop is gone: nobody looks at it any more.
                let _ = notes.send(Note::Wallet { call, available: Money::new(available, currency) });
            }
            Err(error) => tracing::error!(%error, "a wallet could not be read"),
        });
    }
}

impl Errand {
    fn refuse(self, refused: WireRefused) {
        match self {
            Errand::Desk(work) => work.refuse(refused),
            Errand::Line(work) => work.refuse(refused),
        }
    }
}

/// A call as its journal has it. May wait for the disk.
pub(super) fn read_call(store: &Store, id: CallId) -> Result<Option<Call>, WireRefused> {
    let Some(journal) = store.journal(id).map_err(|error| wire::of_store_error(&error))? else { return Ok(None) };
    match Call::replay(&journal) {
        Ok(call) => Ok(Some(call)),
        Err(why) => {
            tracing::error!(call.id = %id, %why, "the journal of {id} cannot be read: {why}");
            Err(wire::refused(Code::Internal, "this call's journal cannot be read; it is in the server's log", None))
        }
    }
}

fn settlement(call: CallId, order: SettleOrder, now: Moment) -> Settlement {
    Settlement {
        call,
        at: now,
        transfer: TransferId::new(fresh()),
        captures: order.captures,
        companion_share: order.companion_share,
        vendor_share: order.vendor_share,
        record: order.record,
    }
}

/// The life of a call in about five lines.
fn log_life(call: CallId, entries: &[crate::call::Entry]) {
    use crate::call::Fact;
    for entry in entries {
        match &entry.fact {
            Fact::Started => tracing::info!(call.id = %call, "call {call} is live"),
            Fact::Paused { cause, .. } => tracing::info!(call.id = %call, "call {call} is paused by {}", cause.name()),
            Fact::Extended { by, .. } => tracing::info!(call.id = %call, "call {call} is extended by {}", by.name()),
            Fact::Ended { reason, at_fault } => {
                metrics::counter!("lull_calls_ended_total", "reason" => reason.name()).increment(1);
                tracing::info!(call.id = %call, end.reason = reason.name(), "call {call} ended: {}, at fault: {}", reason.name(), at_fault.name());
            }
            Fact::Settled { charge, .. } => tracing::info!(call.id = %call, charge.minor = charge.amount, "call {call} settled: {charge}"),
            _ => {}
        }
    }
}
