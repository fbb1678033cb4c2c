//! The loop itself: one owner of everything that is alive, one event at a time.
//!
//! It decides nothing: events go to the core, errands to `desk` and `line`, and what the core wants to `carry`.

use super::carry::{Said, Then};
use super::desk::Desk;
use super::heartbeat::Pulse;
use super::line::Place;
use super::night::{Heard, Hearing};
use super::parties::Parties;
use super::recovery::Guard;
use super::{Parts, Rules, ServiceError, Turns, heartbeat, wire};
use crate::billing::Kind;
use crate::call::{Call, Event, RequestId, Side, State};
use crate::clock::{Clock, Moment, Span};
use crate::exchange::Exchange;
use crate::ids::{BootId, CallId};
use crate::media::{Media, Report};
use crate::money::Money;
use crate::recording::{self, Recorder};
use crate::store::{Finding, Outcome, Store, StoreError};
use serde_json::Value;
use signaling::auth::TokenKey;
use signaling::code::Code;
use signaling::endpoint::Ready;
use signaling::inbound::{Inbound, Refused as WireRefused, SocketId};
use signaling::message::ServerBody;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::pending;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

/// A settled call stays at hand for this long, for pages that show its end; afterwards it is read from disk when asked for.
pub(super) const KEEP_SETTLED: Span = Span::from_s(60);

/// How often `/readyz` learns whether there is room for another call.
const LOOK_FOR_ROOM: Duration = Duration::from_millis(500);

/// A metered call's page learns at least this often what the call has cost so far and what a minute costs now; a part of the
/// calls each second.
const SHOW_SPENT_S: i64 = 10;

/// The owner of everything that is alive.
pub(super) struct House {
    pub(super) clock: Clock,
    pub(super) store: Store,
    pub(super) media: Media,
    pub(super) ear: Box<dyn Hearing>,
    /// None without the setting.
    pub(super) recorder: Option<Recorder>,
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
    pub(super) credited: BTreeSet<RequestId>,
    pub(super) pending: Turns<Then>,
    /// Work that came back from other tasks. Without a bound of its own, or the store's thread would wait for the loop that waits for it. Each note ends one thing that was begun,
    /// and those are bounded where they begin: transactions by the store's backlog (`Store::QUEUE`; above it no command is taken), look-ups
    /// by their permits, offers by the queues of their shards, all else by who waits for it at the door, with its rates and timeouts.
    pub(super) notes: mpsc::UnboundedSender<Note>,
    inbox: Option<Inbox>,
    pub(super) forget: VecDeque<(Moment, CallId)>,
    ready: watch::Sender<Ready>,
    /// See [`SHOW_SPENT_S`].
    shown_spent: i64,
    pub(super) failure: Option<ServiceError>,
    pub(super) stopping: bool,
    pub(super) pulse: Pulse,
    pub(super) guard: Guard,
}

struct Inbox {
    notes: mpsc::UnboundedReceiver<Note>,
    reports: mpsc::Receiver<Report>,
    heard: mpsc::Receiver<Heard>,
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
    /// What becomes of recordings by itself.
    Recording(recording::Report),
    /// The audit of all that is on disk.
    Audited(Result<Vec<Finding>, StoreError>),
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

/// A fresh id's random part; time-ordered (RFC 9562 section 5.7).
pub(super) fn fresh() -> Uuid {
    Uuid::now_v7()
}

impl House {
    /// Takes the parts and takes up what an earlier process left open.
    pub(super) async fn open(parts: Parts) -> Result<Self, ServiceError> {
        let (notes, inbox) = mpsc::unbounded_channel();
        let mut house = Self {
            clock: parts.clock,
            store: parts.store,
            media: parts.media,
            ear: parts.ear.orders,
            recorder: parts.recorder,
            tokens: parts.tokens,
            rules: parts.rules,
            exchange: Exchange::new(),
            desk: Desk::default(),
            parties: BTreeMap::new(),
            sockets: BTreeMap::new(),
            requests: BTreeMap::new(),
            next_request: 0,
            credited: BTreeSet::new(),
            pending: Turns::default(),
            notes,
            inbox: Some(Inbox { notes: inbox, reports: parts.reports, heard: parts.ear.reports, inbound: parts.inbound }),
            forget: VecDeque::new(),
            ready: parts.ready,
            shown_spent: 0,
            failure: None,
            stopping: false,
            pulse: Pulse::new(BootId::new(fresh()), parts.lease),
            guard: Guard::new(parts.wall_must_pass),
        };
        house.hear_recorder();
        house.take_up().await?;
        Ok(house)
    }

    /// Runs until `stopped`, then ends what is open and returns once it is on disk.
    pub(super) async fn run(mut self, mut stopped: oneshot::Receiver<()>) -> Result<(), ServiceError> {
        let Some(mut inbox) = self.inbox.take() else { return Err(ServiceError::Panicked) };
        let _ = self.ready.send(Ready::Yes);
        let mut look = tokio::time::interval(LOOK_FOR_ROOM);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut show = tokio::time::interval(Duration::from_secs(1));
        show.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pulse = tokio::time::interval(heartbeat::TICK);
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
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
                _ = look.tick(), if !self.stopping => self.look_for_room(),
                _ = show.tick(), if !self.stopping => self.show_spent(),
                Some(note) = inbox.notes.recv() => self.take_note(note),
                Some(report) = inbox.reports.recv() => self.take_report(report),
                Some(heard) = inbox.heard.recv() => self.take_heard(heard),
                Some(inbound) = inbox.inbound.recv() => self.take_inbound(inbound),
                // Behind all that was reported: what is proved is known by then.
                _ = pulse.tick() => self.beat(),
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
        self.look_at_clock();
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
                self.pulse.forget(call);
            }
        }
    }

    /// Without room for a new call this process wants none: a balancer asks another.
    fn look_for_room(&mut self) {
        let now = match (self.not_ready(), self.full()) {
            (Some(why), _) => Ready::No(why),
            (None, Some(full)) => Ready::No(full.detail().to_owned()),
            (None, None) => Ready::Yes,
        };
        self.ready.send_if_modified(|ready| {
            let differs = *ready != now;
            if differs {
                tracing::warn!("readiness: {now:?}");
                *ready = now;
            }
            differs
        });
    }

    /// Tells the pages of some metered calls how they stand.
    fn show_spent(&mut self) {
        self.shown_spent += 1;
        let turn = self.shown_spent % SHOW_SPENT_S;
        let is_due = |call: &&Call| {
            let is_metered = matches!(call.terms().sold.kind(), Kind::PerMinute(_) | Kind::UntilAsleep { .. });
            is_metered && matches!(call.state(), State::Live { .. }) && call.created_at().unix_ms() / 1000 % SHOW_SPENT_S == turn
        };
        let due: Vec<CallId> = self.exchange.calls().filter(is_due).map(Call::id).collect();
        for call in due.into_iter().filter(|call| self.parties.get(call).is_some_and(Parties::is_watched)).collect::<Vec<_>>() {
            self.tell_state(call, Side::Client);
            self.tell_state(call, Side::Companion);
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
            Inbound::Download { caller, id, reply } => self.download(caller, id, reply),
            Inbound::Keys { reply } => self.show_keys(reply),
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
            Note::Recording(report) => self.recorder_reports(report),
            Note::Audited(findings) => self.audited(findings),
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
        let now = self.clock.now();
        let mut out = Vec::new();
        self.exchange.handle(call, event, now, &mut out);
        self.carry_out(out, now);
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
        let (vendor, client, currency) = (terms.vendor, terms.client.clone(), terms.hold.currency);
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
    let unreadable = |why: String| {
        tracing::error!(call.id = %id, %why, "the journal of {id} cannot be read: {why}");
        wire::refused(Code::Internal, format!("the journal of {id} cannot be read; why is in the server's log"), None)
    };
    let journal = store.journal(id).map_err(|error| match error {
        StoreError::Broken(why) => unreadable(why),
        error => wire::of_store_error(&error),
    })?;
    let Some(journal) = journal else { return Ok(None) };
    Call::replay(&journal).map(Some).map_err(|why| unreadable(why.to_string()))
}

#[cfg(test)]
mod tests;
