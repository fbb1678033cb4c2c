//! The desk: REST commands and queries.
//!
//! A request passes three steps. Who asks (a key or session is looked up once), whether its idempotency key was used and
//! what it names (read from disk on another thread), and then the loop: the store alone for plans, companions and credits,
//! the core for calls. A key in use is refused until its first request is answered, so a duplicate never overtakes it.

use super::carry::Then;
use super::house::{Errand, House, Note, Requester, fresh};
use super::look_up::Search;
use super::{links, recordings, refunds, wire};
use crate::billing::{Kind, ZONES_VERSION};
use crate::call::{Asker, Call, Event, Limits, Medium, Policy, Side, Terms};
use crate::clock::{Moment, Span};
use crate::exchange;
use crate::ids::{CallId, ClientRef, HoldId, TokenId, VendorId};
use crate::signing::SigningKey;
use crate::store::{self, Adjustment, Companion, Outcome, Plan, Refusal, Return, Store, StoreError, Transaction, Vendor, Write};
use serde_json::{Value, json};
use signaling::code::Code;
use signaling::inbound::{Caller, Idempotency, Refused, Reply, SecretHash};
use signaling::rest::{self, Answered, Request};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a session of the vendor's page lasts.
const SESSION: Span = Span::from_s(12 * 3600);

/// API keys whose vendors are remembered; above it the memory is emptied, it costs a look-up each.
const MAX_KNOWN: usize = 4096;

/// Requests that may be looked up at once; more are refused.
const MAX_LOOK_UPS: usize = 256;

/// Transactions that may wait for the disk before commands are refused: half of the store's queue, the rest is for running calls.
const MAX_BACKLOG: usize = Store::QUEUE / 2;

/// What the desk remembers.
pub(super) struct Desk {
    /// API keys never change their vendor.
    known: BTreeMap<SecretHash, Vendor>,
    in_use: Arc<KeysInUse>,
    look_ups: Arc<Semaphore>,
}

impl Default for Desk {
    fn default() -> Self {
        Self { known: BTreeMap::new(), in_use: Arc::default(), look_ups: Arc::new(Semaphore::new(MAX_LOOK_UPS)) }
    }
}

/// Idempotency keys of requests that are not answered yet. A lock, because a request may be answered on any thread;
/// it is held for the length of one insertion or removal.
#[derive(Default)]
struct KeysInUse(Mutex<BTreeSet<(VendorId, String)>>);

/// Frees a key when its request is answered or dropped.
struct KeyInUse {
    keys: Arc<KeysInUse>,
    key: (VendorId, String),
}

impl KeysInUse {
    fn take(self: &Arc<Self>, key: (VendorId, String)) -> Option<KeyInUse> {
        let is_new = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone());
        is_new.then(|| KeyInUse { keys: Arc::clone(self), key })
    }
}

impl Drop for KeyInUse {
    fn drop(&mut self) {
        self.keys.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

/// A request whose sender waits.
pub(super) struct Waiting {
    vendor: VendorId,
    pub(super) idempotency: Option<Idempotency>,
    _key: Option<KeyInUse>,
    reply: Reply<Answered>,
    /// The call it is about.
    call: Option<CallId>,
    /// By which way its sender came in.
    actor: store::Actor,
    /// Times it was looked up again.
    tries: u8,
}

impl Waiting {
    pub(super) fn vendor(&self) -> VendorId {
        self.vendor
    }

    pub(super) fn answer(self, answer: Result<Answered, Refused>) {
        // Who went away asks again with the same key.
        let _ = self.reply.send(answer);
    }

    /// The reply as it is kept beside its effect.
    pub(super) fn keep(&self, status: u16, body: &Value) -> Option<store::Idempotency> {
        let Idempotency { key, request_hash } = self.idempotency.clone()?;
        Some(store::Idempotency { vendor: self.vendor, key, request_hash, status, body: body.to_string() })
    }
}

/// What came back from a look-up.
#[allow(clippy::large_enum_variant, reason = "a step is boxed on its way")]
pub(super) enum Step {
    /// Whose key or session it is.
    Caller { ask: Ask, vendor: Result<Option<Vendor>, StoreError> },
    /// Something for the store alone.
    Write { waiting: Waiting, writes: Vec<Write>, body: Value },
    /// The same, where the first answer shows more than repetitions get.
    Edit { waiting: Waiting, edit: super::webhook_desk::Edit },
    /// Something for the store alone that makes nothing new.
    Set { waiting: Waiting, writes: Vec<Write>, body: Value },
    /// A new call's plan and companion.
    Book { waiting: Waiting, booking: Box<Booking> },
    /// Something about a call.
    OnCall { waiting: Waiting, call: CallId, want: Want },
    /// Money of a settled call, for the store alone; `again` is for when another one comes first.
    Return { waiting: Waiting, wanted: Box<Return>, client: ClientRef, body: Value, again: Box<Again> },
    /// Calls of a list: those that are settled were read, the others are at hand.
    Listed { waiting: Waiting, list: List },
}

/// What a command is looked up again by.
pub(super) struct Again {
    pub(super) vendor: Vendor,
    pub(super) request: Request,
}

/// A stretch of the list of calls.
pub(super) struct List {
    pub(super) calls: Vec<Listed>,
    /// Of this stretch too, but their journals are damaged.
    pub(super) unreadable: Vec<CallId>,
    /// Where the next one begins.
    pub(super) next: Option<CallId>,
}

/// A call of a list.
pub(super) struct Listed {
    pub(super) id: CallId,
    /// One that is settled, as it was read.
    pub(super) read: Option<Box<Call>>,
    /// What went back of it.
    pub(super) adjustments: Value,
}

/// A request whose caller is not known yet.
pub(super) struct Ask {
    caller: Caller,
    idempotency: Option<Idempotency>,
    request: Request,
    reply: Reply<Answered>,
}

/// What a new call is made of.
pub(super) struct Booking {
    pub(super) plan: Plan,
    pub(super) companion: Companion,
    pub(super) client: ClientRef,
    pub(super) client_name: Option<String>,
    pub(super) medium: Medium,
    pub(super) policy: Policy,
}

/// A request about a call.
pub(super) struct OnCall {
    waiting: Waiting,
    want: Want,
}

/// What is wanted of a call.
pub(super) enum Want {
    Show {
        /// What went back of it.
        adjustments: Value,
    },
    Links,
    /// The first reply to a command that shows links again: as kept, and with the links.
    Replay {
        status: u16,
        body: Value,
    },
    Receipt {
        adjustments: Vec<Adjustment>,
        /// Signs it.
        key: SigningKey,
    },
    Extend(rest::Extend),
    /// Withdraws a party's link.
    RenewLink(Side),
    End,
}

/// A command of the store's that waits for its commit.
pub(super) enum Stored {
    Reply { waiting: Waiting, body: Value, credited: Option<ClientRef> },
    Edited { waiting: Waiting, status: u16, shown: Value },
    Returned { waiting: Waiting, body: Value, client: ClientRef, again: Box<Again> },
    Set { waiting: Waiting, body: Value },
    Booked { waiting: Waiting, body: Value, call: Box<Call> },
    LoggedIn { vendor_of: SecretHash, reply: Reply<rest::Session> },
    LoggedOut { reply: Reply<()> },
}

impl OnCall {
    pub(super) fn refuse(self, refused: Refused) {
        self.waiting.answer(Err(refused));
    }
}

pub(super) fn ok(status: u16, body: Value) -> Result<Answered, Refused> {
    Ok(Answered { status, body, replayed: false })
}

impl House {
    pub(super) fn take_rest(&mut self, caller: Caller, idempotency: Option<Idempotency>, request: Request, reply: Reply<Answered>) {
        let ask = Ask { caller, idempotency, request, reply };
        if let Caller::ApiKey(hash) = caller
            && let Some(vendor) = self.desk.known.get(&hash)
        {
            let vendor = vendor.clone();
            return self.admit(vendor, ask);
        }
        let (store, notes, now) = (self.store.clone(), self.notes.clone(), self.clock.now());
        tokio::task::spawn_blocking(move || {
            let vendor = match ask.caller {
                Caller::ApiKey(hash) => store.vendor_by_key(&hash),
                Caller::Session(hash) => store.vendor_by_session(&hash, now),
            };
            // The loop is gone only after a failure; the dropped reply reads as an internal error.
            let _ = notes.send(Note::Desk(Box::new(Step::Caller { ask, vendor })));
        });
    }

    /// One vendor's request: takes its key, then looks up what it names.
    fn admit(&mut self, vendor: Vendor, ask: Ask) {
        let Ask { idempotency, request, reply, caller } = ask;
        let key = match &idempotency {
            None => None,
            Some(used) => match self.desk.in_use.take((vendor.id, used.key.clone())) {
                Some(key) => Some(key),
                None => {
                    let detail = "the first request with this key is not answered yet; try again in a moment";
                    return drop(reply.send(Err(wire::refused(Code::IdempotencyKeyInUse, detail, None))));
                }
            },
        };
        let permit = Arc::clone(&self.desk.look_ups).try_acquire_owned();
        let (Ok(permit), true) = (permit, self.store.backlog() < MAX_BACKLOG) else {
            return drop(reply.send(Err(wire::refused(Code::Overloaded, "the server is busy; nothing was done, try again", None))));
        };
        let actor = refunds::actor(caller);
        let waiting = Waiting { vendor: vendor.id, idempotency, _key: key, reply, call: None, actor, tries: 0 };
        self.look_up(vendor, waiting, request, Some(permit));
    }

    /// Looks up what a request names, on another thread.
    fn look_up(&self, vendor: Vendor, waiting: Waiting, request: Request, permit: Option<OwnedSemaphorePermit>) {
        let (store, notes, now, limits) = (self.store.clone(), self.notes.clone(), self.clock.now(), self.rules.limits.clone());
        let (webhooks, recorder) = (self.rules.webhooks, self.recorder.clone());
        tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let search = Search {
                store: &store,
                vendor: &vendor,
                limits: &limits,
                webhooks,
                recorder: recorder.as_ref(),
                now,
                actor: waiting.actor,
            };
            if let Some(step) = search.look_up(waiting, request) {
                // As above.
                let _ = notes.send(Note::Desk(Box::new(step)));
            }
        });
    }

    pub(super) fn desk_step(&mut self, step: Step) {
        match step {
            Step::Caller { ask, vendor } => match vendor {
                Ok(Some(vendor)) => {
                    if let Caller::ApiKey(hash) = ask.caller {
                        if self.desk.known.len() >= MAX_KNOWN {
                            self.desk.known.clear();
                        }
                        self.desk.known.insert(hash, vendor.clone());
                    }
                    self.admit(vendor, ask);
                }
                Ok(None) => {
                    let detail = match ask.caller {
                        Caller::ApiKey(_) => "this API key is not known here; `lull vendor add` makes one",
                        Caller::Session(_) => "the session is over; open a new login link",
                    };
                    drop(ask.reply.send(Err(wire::refused(Code::Unauthorized, detail, None))));
                }
                Err(error) => drop(ask.reply.send(Err(wire::of_store_error(&error)))),
            },
            Step::Write { waiting, writes, body } => {
                let credited = writes.iter().find_map(|write| match write {
                    Write::Credit { client, .. } => Some(client.clone()),
                    Write::RefundWallet(refund) => Some(refund.client.clone()),
                    _ => None,
                });
                let transaction = Transaction { idempotency: waiting.keep(201, &body), writes };
                self.commit(transaction, Then::Desk(Box::new(Stored::Reply { waiting, body, credited })));
            }
            Step::Edit { waiting, edit } => {
                let transaction = Transaction { idempotency: waiting.keep(edit.status, &edit.kept), writes: edit.writes };
                let stored = Stored::Edited { waiting, status: edit.status, shown: edit.shown };
                self.commit(transaction, Then::Desk(Box::new(stored)));
            }
            Step::Return { waiting, wanted, client, body, again } => {
                let transaction = Transaction { idempotency: waiting.keep(201, &body), writes: vec![Write::Return(wanted)] };
                self.commit(transaction, Then::Desk(Box::new(Stored::Returned { waiting, body, client, again })));
            }
            Step::Set { waiting, writes, body } => {
                let transaction = Transaction { idempotency: waiting.keep(200, &body), writes };
                self.commit(transaction, Then::Desk(Box::new(Stored::Set { waiting, body })));
            }
            Step::Book { waiting, booking } => self.book(waiting, *booking),
            Step::OnCall { mut waiting, call, want } => {
                waiting.call = Some(call);
                self.with_call(call, Errand::Desk(Box::new(OnCall { waiting, want })));
            }
            Step::Listed { waiting, list: List { calls, unreadable, next } } => {
                let now = self.clock.now();
                let items: Vec<Value> = calls
                    .into_iter()
                    .filter_map(|Listed { id, read, adjustments }| {
                        let view = match &read {
                            Some(call) => Some(exchange::View::of(call, now)),
                            None => self.exchange.view(id, now),
                        };
                        let mut call = wire::call(&view?);
                        call["adjustments"] = adjustments;
                        Some(call)
                    })
                    .collect();
                let next = next.map(|id| id.to_string());
                let mut body = json!({ "items": items, "next_cursor": next });
                if !unreadable.is_empty() {
                    body["unreadable"] = unreadable.iter().map(CallId::to_string).collect();
                }
                self.reply_after_all(waiting, ok(200, body));
            }
        }
    }

    fn book(&mut self, waiting: Waiting, booking: Booking) {
        if let Some(refused) = self.takes_no_calls() {
            return waiting.answer(Err(refused));
        }
        if let Some(full) = self.full() {
            full.counter().increment(1);
            return waiting.answer(Err(wire::refused(Code::Overloaded, format!("{}; try again later", full.detail()), None)));
        }
        if let Kind::Block { block_s, .. } = booking.plan.sold.kind()
            && Span::from_s(*block_s) > self.rules.limits.max_duration
        {
            return waiting.answer(Err(too_long(&self.rules.limits, "plan_id")));
        }
        let now = self.clock.now();
        let Booking { plan, companion, client, client_name, medium, policy } = booking;
        let terms = Terms {
            vendor: waiting.vendor,
            plan: plan.id,
            plan_name: plan.name,
            sold: plan.sold,
            hold: plan.hold,
            grade_paid: plan.grade,
            grade_delivered: companion.grade,
            client: client.clone(),
            client_name,
            companion: companion.id,
            companion_name: companion.name,
            medium,
            policy,
            shares: self.rules.shares,
            client_token: TokenId::new(fresh()),
            companion_token: TokenId::new(fresh()),
            limits: self.rules.limits.clone(),
            zones: Some(ZONES_VERSION.to_owned()),
            night: plan.night,
            sounds: plan.sounds,
            recording: recordings::terms_now(plan.recording, self.recorder.as_ref()),
        };
        let (id, hold) = (CallId::new(fresh()), HoldId::new(fresh()));
        let amount = terms.hold;
        let (call, entry) = match exchange::book(id, terms, hold, now) {
            Ok(booked) => booked,
            Err(why) => return waiting.answer(Err(wire::refused(Code::InvalidRequest, why.to_string(), Some("plan_id")))),
        };
        let body = wire::call(&exchange::View::of(&call, now));
        let writes = vec![
            Write::Facts { call: id, entries: vec![entry] },
            Write::Hold { hold, call: id, vendor: waiting.vendor, client, amount, at: now },
        ];
        let transaction = Transaction { idempotency: waiting.keep(201, &body), writes };
        self.commit(transaction, Then::Desk(Box::new(Stored::Booked { waiting, body, call: Box::new(call) })));
    }

    /// A transaction of the desk's is on disk, or was refused.
    pub(super) fn desk_stored(&mut self, stored: Stored, outcome: Result<Outcome, StoreError>) {
        let outcome = outcome.map_err(|error| wire::of_store_error(&error));
        match stored {
            Stored::Reply { waiting, body, credited } => {
                let vendor = waiting.vendor;
                if let Ok(Outcome::Refused(refusal @ (Refusal::OrderCredited | Refusal::OrderRefunded))) = &outcome
                    && let Some(order_ref) = body["order_ref"].as_str()
                {
                    return refunds::refuse_with_first(self.store.clone(), waiting, refusal.clone(), order_ref.to_owned());
                }
                waiting.answer(outcome.and_then(|outcome| answer_of(outcome, body)));
                if let Some(client) = credited {
                    self.read_wallets(vendor, &client);
                }
            }
            Stored::Edited { waiting, status, shown } => {
                let answer = outcome.and_then(|outcome| match outcome {
                    Outcome::Committed => ok(status, shown),
                    other => answer_of(other, Value::Null),
                });
                waiting.answer(answer);
            }
            Stored::Returned { mut waiting, body, client, again } => match outcome {
                Ok(Outcome::Refused(Refusal::Stale)) if waiting.tries < refunds::TRIES => {
                    waiting.tries += 1;
                    self.look_up(again.vendor, waiting, again.request, None);
                }
                outcome => {
                    let vendor = waiting.vendor;
                    waiting.answer(outcome.and_then(|outcome| answer_of(outcome, body)));
                    self.read_wallets(vendor, &client);
                }
            },
            Stored::Set { waiting, body } => {
                let made = outcome.and_then(|outcome| answer_of(outcome, body));
                waiting.answer(made.map(|answered| Answered { status: 200, ..answered }));
            }
            Stored::Booked { waiting, body, call } => match outcome {
                Ok(Outcome::Committed) => {
                    metrics::counter!("lull_calls_created_total").increment(1);
                    let body = with_links(body, links::links(&self.tokens, &self.rules, &call));
                    let id = call.id();
                    self.exchange.insert(*call);
                    waiting.answer(ok(201, body));
                    if self.stopping {
                        self.tell_core(id, Event::ServerStops);
                    }
                }
                Ok(Outcome::Refused(Refusal::Funds { available })) => waiting.answer(Err(wire::funds(available))),
                other => waiting.answer(other.and_then(|outcome| answer_of(outcome, body))),
            },
            Stored::LoggedIn { vendor_of, reply } => match outcome {
                Ok(Outcome::Committed) => {
                    let (store, now) = (self.store.clone(), self.clock.now());
                    tokio::task::spawn_blocking(move || {
                        let session = match store.vendor_by_session(&vendor_of, now) {
                            Ok(Some(vendor)) => Ok(rest::Session {
                                vendor_id: vendor.id.to_string(),
                                vendor_name: vendor.name,
                                expires_in_s: SESSION.whole_s(),
                            }),
                            Ok(None) => Err(wire::refused(Code::Unauthorized, "the session is over; open a new login link", None)),
                            Err(error) => Err(wire::of_store_error(&error)),
                        };
                        drop(reply.send(session));
                    });
                }
                Ok(Outcome::Refused(refusal)) => drop(reply.send(Err(wire::of_store(&refusal)))),
                Ok(Outcome::Replayed { .. }) => drop(reply.send(Err(wire::of_store(&Refusal::LoginCode)))),
                Err(refused) => drop(reply.send(Err(refused))),
            },
            Stored::LoggedOut { reply } => drop(reply.send(outcome.map(|_| ()))),
        }
    }

    /// Looks at a client's wallet for her pages of open calls.
    fn read_wallets(&self, vendor: VendorId, client: &ClientRef) {
        let concerned = |call: &&Call| call.terms().vendor == vendor && call.terms().client == *client && !call.is_over();
        let calls: Vec<CallId> = self.exchange.calls().filter(concerned).map(Call::id).collect();
        calls.into_iter().for_each(|call| self.read_wallet(call));
    }

    /// A request about a call, with the call at hand. Another vendor's call is not there.
    pub(super) fn desk_on_call(&mut self, id: CallId, work: OnCall) {
        let OnCall { waiting, want } = work;
        let Some(call) = self.exchange.call(id).filter(|call| call.terms().vendor == waiting.vendor) else {
            return waiting.answer(Err(wire::not_found("call")));
        };
        match want {
            Want::Show { adjustments } => {
                let answer = self.call_reply(&waiting, self.clock.now()).map(|mut answered| {
                    answered.body["adjustments"] = adjustments;
                    answered
                });
                self.reply_after_all(waiting, answer);
            }
            Want::Links => waiting.answer(ok(200, links::links(&self.tokens, &self.rules, call))),
            Want::Replay { status, body } => {
                let body = with_links(body, links::links(&self.tokens, &self.rules, call));
                waiting.answer(Ok(Answered { status, body, replayed: true }));
            }
            Want::Receipt { adjustments, key } => {
                let answer = wire::receipt(call, Side::Client).ok_or_else(|| wire::not_found("receipt before the call is settled"));
                self.reply_after_all(waiting, answer.and_then(|body| ok(200, refunds::whole_receipt(body, &adjustments, &key))));
            }
            // What the disk refuses now would be said long after the request.
            Want::Extend(_) if self.store.trouble().is_some() => {
                let error = self.store.trouble().unwrap_or(StoreError::Full);
                waiting.answer(Err(wire::of_store_error(&error)));
            }
            Want::Extend(extend) => {
                let amount = match extend.amount.map(|amount| wire::money(&amount, "amount.currency")).transpose() {
                    Ok(amount) => amount,
                    Err(refused) => return waiting.answer(Err(refused)),
                };
                let request = self.request(Requester::Desk(waiting));
                let event = match extend.gift_s {
                    Some(gift_s) => Event::GiftAsked { by: Asker::Vendor, length: Span::from_s(gift_s), gift: None, request },
                    None => {
                        Event::ExtendAsked { by: Asker::Vendor, hold: HoldId::new(fresh()), amount, order_ref: extend.order_ref, request }
                    }
                };
                self.tell_core(id, event);
            }
            Want::RenewLink(side) => {
                let request = self.request(Requester::Desk(waiting));
                self.tell_core(id, Event::LinkAsked { side, token: TokenId::new(fresh()), request });
            }
            Want::End => {
                let request = self.request(Requester::Desk(waiting));
                self.tell_core(id, Event::VendorEnds { request });
            }
        }
    }

    /// The call a request is about, as it stands.
    pub(super) fn call_reply(&self, waiting: &Waiting, now: Moment) -> Result<Answered, Refused> {
        let view = waiting.call.and_then(|call| self.exchange.view(call, now));
        view.map_or_else(|| Err(wire::not_found("call")), |view| ok(200, wire::call(&view)))
    }

    /// An answer about a call, with what lets its parties join.
    pub(super) fn show_links(&self, waiting: &Waiting, answered: Answered) -> Answered {
        let call = waiting.call.and_then(|call| self.exchange.call(call));
        let links = call.map(|call| links::links(&self.tokens, &self.rules, call));
        Answered { body: with_links(answered.body, links.unwrap_or_default()), ..answered }
    }

    fn reply_after_all(&mut self, waiting: Waiting, answer: Result<Answered, Refused>) {
        self.after_all(Then::Say(vec![super::carry::Said::Reply { request: None, waiting, answer }]));
    }

    pub(super) fn log_in(&mut self, code: SecretHash, session: SecretHash, reply: Reply<rest::Session>) {
        let now = self.clock.now();
        let write = Write::OpenSession { code_hash: code, session_hash: session, now, expires_at: now + SESSION };
        let transaction = Transaction { idempotency: None, writes: vec![write] };
        self.commit(transaction, Then::Desk(Box::new(Stored::LoggedIn { vendor_of: session, reply })));
    }

    pub(super) fn log_out(&mut self, session: SecretHash, reply: Reply<()>) {
        let transaction = Transaction { idempotency: None, writes: vec![Write::CloseSession { session_hash: session }] };
        self.commit(transaction, Then::Desk(Box::new(Stored::LoggedOut { reply })));
    }
}

fn answer_of(outcome: Outcome, body: Value) -> Result<Answered, Refused> {
    match outcome {
        Outcome::Committed => ok(201, body),
        Outcome::Replayed { status, body } => Ok(Answered { status, body: kept_body(&body), replayed: true }),
        Outcome::Refused(refusal) => Err(wire::of_store(&refusal)),
    }
}

pub(super) fn kept_body(body: &str) -> Value {
    serde_json::from_str(body).unwrap_or(Value::Null)
}

/// A call with what lets its parties join: `client` and `companion` gain `url` and `token`.
fn with_links(mut call: Value, links: Value) -> Value {
    for party in ["client", "companion"] {
        if let (Some(of_call), Some(of_links)) = (call[party].as_object_mut(), links[party].as_object()) {
            of_call.extend(of_links.clone());
        }
    }
    call
}

pub(super) fn too_long(limits: &Limits, field: &'static str) -> Refused {
    let detail = format!("a block may have at most {} s, the longest a call may last here", limits.max_duration.whole_s());
    wire::refused(Code::InvalidRequest, detail, Some(field))
}
