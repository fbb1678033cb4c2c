//! The line: joins, sockets, and what parties say, checked against the call and handed to the core.
//!
//! A token counts only for its own party of its own call, and only while the call is open; a settled call still shows
//! its end and its receipt to who held a token for it.

use super::carry::{Said, Then};
use super::house::{Errand, House, Note, Requester, fresh};
use super::wire;
use crate::call::{Asker, Call, Event, Side};
use crate::clock::Span;
use crate::ids::{CallId, GiftId, HoldId, LegId};
use crate::media::{OfferError, OpenLeg, Report};
use sha2::{Digest, Sha256};
use signaling::code::Code;
use signaling::inbound::{Claims, Inbound, Joined, Refused, Reply, SocketId, ToSocket};
use signaling::message::{FromPage, PageBody, ServerBody};
use tokio::sync::mpsc;

/// Taps whose keys are remembered for a party; further ones are refused, no call needs so many.
const MAX_KEYS: usize = 512;

/// Messages of a page come in bursts: so much time's worth of them at once.
const BURST: Span = Span::from_s(3);

/// Refused messages over data channels that are answered: so many in so much time, as on a socket, which is closed then. A leg stays: it
/// carries a call.
const ANSWERED_FAULTS: (u32, Span) = (20, Span::from_s(200));

/// Where a page's message came from, and so where its answer goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// A socket.
    Socket(SocketId),
    /// The data channel of a leg.
    Leg(LegId),
}

/// What somebody with a join token wants.
pub(super) struct OnCall {
    claims: Claims,
    want: Want,
}

enum Want {
    Join { offer: String, reply: Reply<Joined> },
    Patch { leg: String, fragment: String, reply: Reply<String> },
    HangUp { leg: String, reply: Reply<()> },
    Receipt { reply: Reply<serde_json::Value> },
    Listen { socket: SocketId, page: String, out: mpsc::Sender<ToSocket>, reply: Reply<()> },
}

/// The media plane's answer to an offer.
pub(super) struct Offered {
    call: CallId,
    side: Side,
    leg: LegId,
    answer: Result<String, OfferError>,
    asked: Asked,
    /// As [`super::parties::Party::withdrawn`] was when it was asked.
    withdrawn: u32,
}

/// Who made an offer.
enum Asked {
    Http {
        reply: Reply<Joined>,
    },
    Page {
        page: String,
        place: Place,
        seq: u64,
    },
    /// An ICE restart: no new leg.
    Restart {
        place: Place,
        seq: u64,
    },
}

impl OnCall {
    /// Says why nothing was done.
    pub(super) fn refuse(self, refused: Refused) {
        // Who went away needs no answer.
        match self.want {
            Want::Join { reply, .. } => drop(reply.send(Err(refused))),
            Want::Patch { reply, .. } => drop(reply.send(Err(refused))),
            Want::HangUp { reply, .. } => drop(reply.send(Err(refused))),
            Want::Receipt { reply } => drop(reply.send(Err(refused))),
            Want::Listen { reply, .. } => drop(reply.send(Err(refused))),
        }
    }
}

impl House {
    /// Everything that comes with a join token or over a socket.
    pub(super) fn take_line(&mut self, inbound: Inbound) {
        let (claims, want) = match inbound {
            Inbound::Join { claims, offer, reply } => (claims, Want::Join { offer, reply }),
            Inbound::Patch { claims, leg, fragment, reply } => (claims, Want::Patch { leg, fragment, reply }),
            Inbound::HangUp { claims, leg, reply } => (claims, Want::HangUp { leg, reply }),
            Inbound::Receipt { claims, reply } => (claims, Want::Receipt { reply }),
            Inbound::SocketOpened { socket, claims, page, out, reply } => (claims, Want::Listen { socket, page, out, reply }),
            Inbound::SocketMessage { socket, message } => return self.socket_message(socket, message),
            Inbound::SocketClosed { socket } => {
                if let Some((call, side)) = self.sockets.remove(&socket)
                    && let Some(parties) = self.parties.get_mut(&call)
                {
                    parties.of_mut(side).remove_socket(socket);
                }
                return;
            }
            Inbound::Rest { .. } | Inbound::LogIn { .. } | Inbound::LogOut { .. } | Inbound::Keys { .. } | Inbound::Download { .. } => {
                return;
            }
        };
        let work = OnCall { claims, want };
        match work.claims.call.parse() {
            Ok(call) => self.with_call(call, Errand::Line(Box::new(work))),
            Err(_) => work.refuse(wire::refused(Code::TokenInvalid, "this link is not one of ours", None)),
        }
    }

    /// The same with the call at hand.
    pub(super) fn line_on_call(&mut self, id: CallId, work: OnCall) {
        let Some(call) = self.exchange.call(id) else { return work.refuse(wire::not_found("call")) };
        let side = wire::side(work.claims.role);
        if call.token(side).to_string() != work.claims.jti {
            return work.refuse(link_withdrawn());
        }
        let is_over = call.is_over();
        match work.want {
            Want::Receipt { reply } => {
                let receipt = wire::receipt(call, side).ok_or_else(|| wire::not_found("receipt before the call is settled"));
                self.after_all(Then::Say(vec![Said::Receipt { reply, receipt }]));
            }
            Want::Listen { socket, page, out, reply } => self.listen(id, side, socket, page, out, reply),
            want @ (Want::Join { .. } | Want::Patch { .. } | Want::HangUp { .. }) if is_over => {
                let work = Box::new(OnCall { claims: work.claims, want });
                self.after_all(Then::Say(vec![Said::Refused { work, refused: wire::call_ended() }]));
            }
            Want::Join { offer, reply } => self.open_leg(id, side, offer, Asked::Http { reply }),
            Want::Patch { leg, fragment, reply } => match self.own_leg(id, side, &leg) {
                Some(leg) => {
                    let answer = self.media.patch(id, leg, fragment);
                    tokio::spawn(async move {
                        let answer = answer.await.unwrap_or(Err(OfferError::Gone));
                        drop(reply.send(answer.map_err(|error| wire::of_offer(&error))));
                    });
                }
                None => drop(reply.send(Err(wire::not_found("leg")))),
            },
            Want::HangUp { leg, reply } => match self.own_leg(id, side, &leg) {
                Some(leg) => {
                    if self.is_aside(id, side, leg) {
                        self.media.close_leg(id, leg);
                        if let Some(parties) = self.parties_of(id) {
                            parties.of_mut(side).leg_gone(leg);
                        }
                    } else {
                        self.tell_core(id, Event::HangUp { side });
                    }
                    self.after_all(Then::Say(vec![Said::HungUp { reply }]));
                }
                None => drop(reply.send(Err(wire::not_found("leg")))),
            },
        }
    }

    fn withdrawn(&self, call: CallId, side: Side) -> u32 {
        self.parties.get(&call).map_or(0, |parties| parties.of(side).withdrawn)
    }

    /// Whether the party talks over another leg: then hanging this one up does not end the call.
    fn is_aside(&self, call: CallId, side: Side, leg: LegId) -> bool {
        self.parties.get(&call).and_then(|parties| parties.of(side).connected).is_some_and(|connected| connected != leg)
    }

    fn own_leg(&self, call: CallId, side: Side, leg: &str) -> Option<LegId> {
        let leg = leg.parse().ok()?;
        self.parties.get(&call)?.of(side).has_leg(leg).then_some(leg)
    }

    fn listen(&mut self, call: CallId, side: Side, socket: SocketId, page: String, out: mpsc::Sender<ToSocket>, reply: Reply<()>) {
        if self.parties_of(call).is_some_and(|parties| parties.of(side).was_replaced(&page)) {
            let detail = "this call was opened elsewhere; load the page again to take it back";
            return drop(reply.send(Err(wire::refused(Code::Replaced, detail, None))));
        }
        if reply.send(Ok(())).is_err() {
            return; // The page went away while the call was looked up.
        }
        self.sockets.insert(socket, (call, side));
        if let Some(parties) = self.parties_of(call) {
            parties.of_mut(side).add_socket(socket, page, out);
        }
        self.read_wallet(call);
        if let Some(view) = self.view_for(call, side) {
            let body = Box::new(ServerBody::Welcome { role: wire::role(side), call: Box::new(view) });
            self.after_all(Then::Say(vec![Said::Answer { call, side, place: Place::Socket(socket), body }]));
        }
    }

    fn open_leg(&mut self, call: CallId, side: Side, offer: String, asked: Asked) {
        let Some(terms) = self.exchange.call(call).map(Call::terms) else { return };
        let leg = LegId::new(fresh());
        let answer = self.media.open(OpenLeg {
            call,
            side,
            leg,
            offer,
            medium: terms.medium,
            media_timeout: terms.limits.media_timeout,
            quiet_timeout: terms.limits.quiet_timeout,
            audio_required: side == Side::Companion,
        });
        self.await_offer(call, side, leg, answer, asked);
    }

    fn await_offer(
        &self,
        call: CallId,
        side: Side,
        leg: LegId,
        answer: tokio::sync::oneshot::Receiver<Result<String, OfferError>>,
        asked: Asked,
    ) {
        let notes = self.notes.clone();
        let withdrawn = self.withdrawn(call, side);
        tokio::spawn(async move {
            // A shard that drops the question is going down.
            let answer = answer.await.unwrap_or(Err(OfferError::Overloaded));
            let _ = notes.send(Note::Offered(Box::new(Offered { call, side, leg, answer, asked, withdrawn })));
        });
    }

    /// As if the media plane had answered a program's offer.
    #[cfg(test)]
    pub(super) fn joins_by_program(&mut self, call: CallId, side: Side, leg: LegId, reply: Reply<Joined>) {
        let withdrawn = self.withdrawn(call, side);
        self.offered(Offered { call, side, leg, answer: Ok(String::new()), asked: Asked::Http { reply }, withdrawn });
    }

    /// The media plane answered an offer: the join becomes a fact, and then the answer goes out.
    pub(super) fn offered(&mut self, offered: Offered) {
        let Offered { call, side, leg, answer, asked, withdrawn } = offered;
        let answer = match answer {
            Ok(_) if withdrawn != self.withdrawn(call, side) => {
                self.media.close_leg(call, leg);
                Err(link_withdrawn())
            }
            Ok(_) if self.exchange.call(call).is_none_or(Call::is_over) => {
                self.media.close_leg(call, leg);
                Err(wire::call_ended())
            }
            Ok(answer) => Ok(answer),
            Err(error) => Err(wire::of_offer(&error)),
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(refused) => {
                match asked {
                    Asked::Http { reply } => self.after_all(Then::Say(vec![Said::JoinRefused { reply, refused }])),
                    Asked::Page { place, seq, .. } | Asked::Restart { place, seq } => self.refuse_page(call, side, place, seq, refused),
                }
                return;
            }
        };
        let Some(party) = self.parties_of(call).map(|parties| parties.of_mut(side)) else { return };
        let said = match asked {
            Asked::Http { reply } => {
                party.add_leg(leg, leg.to_string());
                // A program says nothing of its devices: what it sends is shown.
                party.devices = super::parties::Devices { audio: true, video: true };
                self.muted(call, side, false);
                self.tell_core(call, Event::Joined { side, leg });
                Said::Joined { reply, joined: Joined { leg: leg.to_string(), answer } }
            }
            Asked::Page { page, place, seq } => {
                party.add_leg(leg, page);
                self.tell_core(call, Event::Joined { side, leg });
                let body = Box::new(ServerBody::Answer { re: seq, leg: leg.to_string(), sdp: answer });
                Said::Answer { call, side, place, body }
            }
            Asked::Restart { place, seq } => {
                let body = Box::new(ServerBody::Answer { re: seq, leg: leg.to_string(), sdp: answer });
                Said::Answer { call, side, place, body }
            }
        };
        self.after_all(Then::Say(vec![said]));
    }

    fn socket_message(&mut self, socket: SocketId, message: FromPage) {
        let Some((call, side)) = self.sockets.get(&socket).copied() else { return };
        let Some(page) = self.parties.get(&call).and_then(|p| p.of(side).page_of(socket)).map(str::to_owned) else { return };
        self.page_message(call, side, page, Place::Socket(socket), message);
    }

    fn control_message(&mut self, call: CallId, side: Side, leg: LegId, text: &str) {
        let place = Place::Leg(leg);
        let (now, burst) = (self.clock.now(), self.rules.messages_per_second.saturating_mul(3));
        let Some(party) = self.parties_of(call).map(|parties| parties.of_mut(side)) else { return };
        if !party.spoken.take(burst, BURST, now) {
            let detail = "too many messages; some were not looked at".to_owned();
            return self.scold(call, side, place, ServerBody::Error { code: Code::RateLimited, detail, re: None });
        }
        match signaling::parse_message(text) {
            // Offers count on the socket only, where the door limits their rate; pages say them there too, and get the answer there.
            Ok(FromPage { body: PageBody::Offer { .. } | PageBody::IceRestart { .. }, .. }) => {}
            Ok(message) => {
                let page = self.parties.get(&call).and_then(|p| p.of(side).page_of_leg(leg)).map(str::to_owned);
                if let Some(page) = page {
                    self.page_message(call, side, page, place, message);
                }
            }
            Err(error) => {
                self.scold(call, side, place, ServerBody::Error { code: error.code, detail: error.detail, re: error.re });
            }
        }
    }

    /// Says on a data channel what was wrong with a message, unless that was said too often.
    fn scold(&mut self, call: CallId, side: Side, place: Place, body: ServerBody) {
        let (burst, per) = ANSWERED_FAULTS;
        let now = self.clock.now();
        if self.parties_of(call).is_some_and(|parties| parties.of_mut(side).scolded.take(burst, per, now)) {
            self.answer_place(call, side, place, body);
        }
    }

    fn page_message(&mut self, call: CallId, side: Side, page: String, place: Place, message: FromPage) {
        let seq = message.seq;
        if let PageBody::Ping { at } = message.body {
            return self.answer_place(call, side, place, ServerBody::Pong { at });
        }
        let (now, in_trouble) = (self.clock.now(), self.store.trouble().is_some());
        let Some(party) = self.parties_of(call).map(|parties| parties.of_mut(side)) else { return };
        if !party.is_new(&page, seq, now) {
            return; // Said before, over the other way; or without a number, which the door refuses.
        }
        match message.body {
            body @ (PageBody::ImHere {} | PageBody::SaysAsleep {} | PageBody::SaysAwake {}) => {
                self.page_of_the_night(call, side, place, seq, &body);
            }
            PageBody::Offer { sdp } => {
                if self.exchange.call(call).is_none_or(Call::is_over) {
                    return self.refuse_page(call, side, place, seq, wire::call_ended());
                }
                self.open_leg(call, side, sdp, Asked::Page { page, place, seq });
            }
            PageBody::IceRestart { sdp } => match party.leg_of(&page) {
                Some(leg) => {
                    let answer = self.media.restart(call, leg, sdp);
                    self.await_offer(call, side, leg, answer, Asked::Restart { place, seq });
                }
                None => self.refuse_page(call, side, place, seq, wire::of_offer(&OfferError::Gone)),
            },
            // What the disk refuses now would be said long after the tap.
            PageBody::Extend { .. } | PageBody::Gift { .. } if in_trouble => {
                let detail = "the server cannot write at present; nothing was changed, try again in a moment".to_owned();
                self.answer_place(call, side, place, ServerBody::Error { code: Code::Storage, detail, re: Some(seq) });
            }
            PageBody::Extend { key } if side == Side::Client => {
                let hold = self.hold_of(call, &key);
                if let Some(request) = self.page_request(call, side, place, seq, key) {
                    self.touched(call, side);
                    self.tell_core(call, Event::ExtendAsked { by: Asker::Client, hold, amount: None, order_ref: None, request });
                }
            }
            PageBody::Gift { key, minutes } if side == Side::Companion => {
                let gift = Some(GiftId::new(named(call, &key)));
                if let Some(request) = self.page_request(call, side, place, seq, key) {
                    let length = Span::from_s(i64::from(minutes) * 60);
                    self.tell_core(call, Event::GiftAsked { by: Asker::Companion, length, gift, request });
                }
            }
            PageBody::ReportAbuse if side == Side::Companion => self.tell_core(call, Event::AbuseReported),
            PageBody::Extend { .. } | PageBody::Gift { .. } | PageBody::ReportAbuse => {
                self.refuse_page(call, side, place, seq, wire::refused(Code::CallState, "the other party may do this", None));
            }
            PageBody::Devices { audio, video } => {
                let devices = super::parties::Devices { audio, video };
                if party.devices != devices {
                    party.devices = devices;
                    self.muted(call, side, !audio);
                    self.tell_state(call, Side::Client);
                    self.tell_state(call, Side::Companion);
                }
            }
            PageBody::HangUp => self.tell_core(call, Event::HangUp { side }),
            PageBody::Hello { .. } => {
                self.refuse_page(call, side, place, seq, wire::refused(Code::InvalidMessage, "hello was said already", None));
            }
            PageBody::Record { consent } => {
                self.touched(call, side);
                self.page_consents(call, side, place, seq, consent);
            }
            PageBody::Ping { .. } => {}
        }
    }

    /// A tap's purchase has a name that follows from its key, so that the same tap counts once also across a restart of the server. If a
    /// restart released its hold, the tap may be tried again, under the name that follows from the one used up.
    fn hold_of(&self, call: CallId, key: &str) -> HoldId {
        let mut hold = HoldId::new(named(call, key));
        while self.parties.get(&call).is_some_and(|parties| parties.released.contains(&hold)) {
            hold = HoldId::new(named(call, &hold.to_string()));
        }
        hold
    }

    /// A tap that adds time counts once, however often its key comes.
    fn page_request(&mut self, call: CallId, side: Side, place: Place, seq: u64, key: String) -> Option<crate::call::RequestId> {
        let waits = |requester: &Requester| matches!(requester, Requester::Page { call: of, key: own, .. } if *of == call && *own == key);
        let is_waiting = self.requests.values().any(waits);
        let keys = &mut self.parties_of(call)?.of_mut(side).keys;
        if keys.contains(&key) {
            // While it waits for the disk one answer will do. What is done she did not hear of, so the core tells her once more.
            return (!is_waiting).then(|| self.request(Requester::Page { call, side, place, seq, key }));
        }
        if keys.len() >= MAX_KEYS {
            self.refuse_page(
                call,
                side,
                place,
                seq,
                wire::refused(Code::RateLimited, "too many extensions were asked for in this call", None),
            );
            return None;
        }
        keys.insert(key.clone());
        Some(self.request(Requester::Page { call, side, place, seq, key }))
    }

    pub(super) fn refuse_page(&mut self, call: CallId, side: Side, place: Place, seq: u64, refused: Refused) {
        let Refused { code, detail, .. } = refused;
        let body = Box::new(ServerBody::Error { code, detail, re: Some(seq) });
        self.after_all(Then::Say(vec![Said::Answer { call, side, place, body }]));
    }

    /// Answers whoever asked, where she asked.
    pub(super) fn answer_place(&mut self, call: CallId, side: Side, place: Place, body: ServerBody) {
        match place {
            Place::Socket(socket) => {
                if let Some(parties) = self.parties.get_mut(&call) {
                    parties.of_mut(side).answer(socket, body);
                }
            }
            Place::Leg(leg) => self.media.control(call, leg, wire::text(&signaling::message::ToPage::once(body))),
        }
    }

    /// Tells every page of a party, on every socket and on the data channel.
    pub(super) fn tell(&mut self, call: CallId, side: Side, body: ServerBody) {
        let Some(parties) = self.parties.get_mut(&call) else { return };
        let party = parties.of_mut(side);
        let message = party.tell(body);
        if let Some(leg) = party.connected {
            self.media.control(call, leg, wire::text(&message));
        }
    }

    /// A party's link was withdrawn: whoever came by it is out, on every socket and leg.
    pub(super) fn turn_out(&mut self, call: CallId, side: Side) {
        let Refused { code, detail, .. } = link_withdrawn();
        let Some(party) = self.parties_of(call).map(|parties| parties.of_mut(side)) else { return };
        party.close_all(&ServerBody::Error { code, detail, re: None });
        let connected = party.connected;
        for leg in party.withdraw() {
            self.media.close_leg(call, leg);
            if Some(leg) == connected {
                let since = self.clock.now();
                self.tell_core(call, Event::Hushed { side, leg, since });
            }
        }
    }

    /// What the media plane saw.
    pub(super) fn take_report(&mut self, report: Report) {
        match report {
            Report::Connected { call, side, leg, at } => {
                if let Some(parties) = self.parties_of(call) {
                    parties.of_mut(side).leg_connected(leg);
                }
                self.tell_core(call, Event::Connected { side, leg, at });
            }
            Report::AudioReached { call, from, at } => self.tell_core(call, Event::AudioReached { from, at }),
            Report::Lost { call, side, leg, since } => self.tell_core(call, Event::Lost { side, leg, since }),
            Report::Back { call, side, leg, at } => self.tell_core(call, Event::Back { side, leg, at }),
            Report::Faltered { call, side, leg, since } => self.tell_core(call, Event::Faltered { side, leg, since }),
            Report::Steadied { call, side, leg, at } => self.tell_core(call, Event::Steadied { side, leg, at }),
            Report::Hushed { call, side, leg, since } => self.tell_core(call, Event::Hushed { side, leg, since }),
            Report::Control { call, side, leg, text } => self.control_message(call, side, leg, &text),
            Report::Alive { call, side, leg, at } => {
                if let Some(parties) = self.parties_of(call) {
                    parties.of_mut(side).alive = Some((leg, at));
                }
            }
            Report::Measured { call, side, quality } => self.tell_core(call, Event::Measured { side, quality }),
            Report::Failed { call, side, leg, why } => {
                tracing::info!(call.id = %call, "a leg of call {call} did not come up: {why}");
                if let Some(parties) = self.parties.get_mut(&call) {
                    parties.of_mut(side).leg_gone(leg);
                }
                self.tell_core(call, Event::Failed { side, leg });
            }
            Report::AudioOnly { call, side, leg } => {
                if let Some(parties) = self.parties_of(call) {
                    parties.of_mut(side).without_video = Some(leg);
                }
                self.tell_state(call, Side::Client);
                self.tell_state(call, Side::Companion);
            }
        }
    }
}

/// A name that follows from a tap's key.
fn named(call: CallId, key: &str) -> uuid::Uuid {
    let digest: [u8; 32] = Sha256::new().chain_update(call.to_string()).chain_update(key).finalize().into();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

fn link_withdrawn() -> Refused {
    wire::refused(Code::TokenRevoked, "this link was withdrawn; ask for a new one", None)
}
