//! Carrying out what the core wants: records to the store in order, and what is said once they are on disk.
//!
//! Invariant: what is said outside was made at its event and waits in `pending` until the commit of that event, and all before it, is
//! on disk. Only `StopMedia` does not wait: packets stop at the due instant, whatever the disk does; and what the
//! server lets be heard, for a client who wakes does not wait for a disk either.

use super::house::{House, KEEP_SETTLED, Note, Requester, fresh};
use super::line::Place;
use super::wire;
use crate::call::{Answered, Event, Fact, Notice, Refused, RequestId, Side};
use crate::clock::Moment;
use crate::exchange::{Effect, SettleOrder};
use crate::ids::{CallId, HoldId, TransferId};
use crate::money::Money;
use crate::store::{Idempotency, Outcome, Refusal, Settlement, StoreError, Transaction, Write};
use serde_json::Value;
use signaling::inbound::Refused as WireRefused;
use signaling::message::ServerBody;

/// What happens once a transaction is on disk.
pub(super) enum Then {
    /// These are said.
    Say(Vec<Said>),
    /// The store's answer to a reservation goes to the core.
    Reserved { call: CallId, hold: HoldId, price: Money, credits: Option<RequestId> },
    /// A REST command that needed only the store.
    Desk(Box<super::desk::Stored>),
    /// A heartbeat: so far these calls are proved on disk.
    Beaten(Vec<(CallId, Moment)>),
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
    /// A party's link was withdrawn: who came by it goes.
    Withdrawn { call: CallId, side: Side },
    /// Nothing outside, but a part of a recording begins.
    Record { begun: Box<super::recordings::Begun> },
    /// The same, but what was left open of a recording can be looked at.
    RecordingStopped,
    /// A call is settled: wallets changed, and it may be forgotten after a while.
    Settled { call: CallId },
}

impl House {
    /// Carries out what the core asks for, in its order: one transaction for what is recorded, then what is said of it.
    pub(super) fn carry_out(&mut self, effects: Vec<Effect>, now: Moment) {
        let mut transaction = Transaction::default();
        let mut said = Vec::new();
        let mut reserves = Vec::new();
        for effect in effects {
            match effect {
                Effect::StopMedia { call } => {
                    self.media.stop(call);
                    self.ear.over(call, now);
                }
                Effect::Audio { call, audio } => self.ear.audio(call, audio),
                Effect::Record { call, entries, settle, requests } => {
                    log_life(call, &entries);
                    said.extend(entries.iter().filter_map(|entry| match entry.fact {
                        Fact::LinkRenewed { side, .. } => Some(Said::Withdrawn { call, side }),
                        _ => None,
                    }));
                    let recordings = self.recording_writes(call, &entries, &mut said);
                    transaction.writes.push(Write::Facts { call, entries });
                    transaction.writes.extend(recordings);
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
        let ticket = self.pending.submit(then);
        let notes = self.notes.clone();
        self.store.submit(transaction, move |outcome| {
            // The loop is gone only after a failure; then nobody is told anything any more.
            let _ = notes.send(Note::Stored { ticket, outcome });
        });
    }

    /// Lets something be said once all that was handed to the store before is on disk.
    pub(super) fn after_all(&mut self, then: Then) {
        if let Some(then) = self.pending.after_all(then) {
            self.happen(then, Ok(Outcome::Committed));
        }
    }

    pub(super) fn stored(&mut self, ticket: u64, outcome: Result<Outcome, StoreError>) {
        if let Some((then, outcome)) = self.pending.came_back(ticket, outcome, |then| matches!(then, Then::Say(_))) {
            self.happen(then, outcome);
        }
        while let Some((then, outcome)) = self.pending.pop() {
            if self.failure.is_some() {
                return; // What waited behind a failed commit is not to be said.
            }
            self.happen(then, outcome);
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
                    Ok(Outcome::Refused(Refusal::TooLarge | Refusal::CreditsFull { .. })) => Some(Refused::TooLarge),
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
            Then::Beaten(proved) => self.beaten(proved, outcome),
        }
    }

    /// The journal is behind what the core knows: nothing more may be said. Media stops, since nothing can be proved.
    pub(super) fn fail(&mut self, error: StoreError) {
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
            Said::Receipt { reply, receipt } => super::refunds::send_receipt(self.store.clone(), reply, receipt),
            Said::Record { begun } => self.record(*begun),
            Said::RecordingStopped => {
                if let Some(recorder) = &self.recorder {
                    recorder.look();
                }
            }
            Said::Withdrawn { call, side } => self.turn_out(call, side),
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
                Notice::Extended { by, added } => {
                    Some(ServerBody::Extended { by: wire::asker(*by), added_s: added.whole_s().unsigned_abs(), free: false })
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
                    Ok(Answered::LinkRenewed) => self.call_reply(&waiting, now).map(|answered| self.show_links(&waiting, answered)),
                    Ok(Answered::Extended | Answered::Gifted | Answered::Ended) => self.call_reply(&waiting, now),
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
    for entry in entries {
        match &entry.fact {
            Fact::Started => tracing::info!(call.id = %call, "call {call} is live"),
            Fact::Paused { cause, .. } => tracing::info!(call.id = %call, "call {call} is paused by {}", cause.name()),
            Fact::Extended { by, .. } => tracing::info!(call.id = %call, "call {call} is extended by {}", by.name()),
            Fact::Lingers { by, .. } => tracing::info!(call.id = %call, "the client of call {call} sleeps, says the {}", by.name()),
            Fact::Lands { .. } => tracing::info!(call.id = %call, "call {call} lands"),
            Fact::Woken { by } => tracing::info!(call.id = %call, "the client of call {call} is awake, by {}", by.name()),
            Fact::Ended { reason, at_fault } => {
                metrics::counter!("lull_calls_ended_total", "reason" => reason.name()).increment(1);
                tracing::info!(call.id = %call, end.reason = reason.name(), "call {call} ended: {}, at fault: {}", reason.name(), at_fault.name());
            }
            Fact::Settled { charge, .. } => tracing::info!(call.id = %call, charge.minor = charge.amount, "call {call} settled: {charge}"),
            _ => {}
        }
    }
}
