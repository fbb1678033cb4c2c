//! Nights on the line: what the ear reports goes to the core, what the core wants heard goes to the ear, and what people say of sleep to
//! both.
//!
//! It decides nothing. Invariant: orders go out in the order in which the core gave them, and do not wait for the disk: a client who
//! wakes hears her companion again at once.

use super::house::House;
use super::line::Place;
use super::wire;
use crate::call::{Audio, Call, Event, Side, State};
use crate::clock::Moment;
use crate::ids::CallId;
use crate::recording::Writer;
use crate::sleep::Verdict;
use signaling::code::Code;
use signaling::message::PageBody;
use tokio::sync::mpsc;

/// What people say or do that the ear should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// The client tapped.
    Tapped,
    /// The companion says that the client sleeps.
    SaidAsleep,
    /// The companion says that she is awake.
    SaidAwake,
    /// The client's microphone is muted, or no longer.
    Muted(bool),
}

/// Who listens, fades and plays. Orders never wait; what cannot be done is left undone and logged there.
pub trait Hearing: Send + 'static {
    /// What the core wants.
    fn audio(&mut self, call: CallId, audio: Audio);
    /// The call is over at this moment, and all that was wanted of it.
    fn over(&mut self, call: CallId, at: Moment);
    /// What people say, at this moment.
    fn hint(&mut self, call: CallId, hint: Hint, at: Moment);
    /// A party's sound goes there from now on, until it is stopped or the writer says that it has ended.
    fn record(&mut self, call: CallId, side: Side, writer: Writer);
    /// Nothing of this call is recorded any more, from this moment: its writers are finished.
    fn stop_recording(&mut self, call: CallId, at: Moment);
}

/// What was heard.
#[derive(Clone, Debug)]
pub enum Heard {
    /// The ear takes the client for something else now, or has other grounds.
    Verdict { call: CallId, verdict: Verdict },
    /// The client spoke or moved.
    Spoke { call: CallId, at: Moment },
    /// What was done for its sound broke at this moment: what was recorded ends there.
    Broke { call: CallId, at: Moment },
}

/// The server's ear and voice, both ways.
pub struct Ear {
    /// Orders.
    pub orders: Box<dyn Hearing>,
    /// Reports.
    pub reports: mpsc::Receiver<Heard>,
}

impl Ear {
    /// A server without one: no call ends by sleep, and nothing is played.
    pub fn none() -> Self {
        struct Deaf;
        impl Hearing for Deaf {
            fn audio(&mut self, _: CallId, _: Audio) {}
            fn over(&mut self, _: CallId, _: Moment) {}
            fn hint(&mut self, _: CallId, _: Hint, _: Moment) {}
            fn record(&mut self, _: CallId, _: Side, _: Writer) {}
            fn stop_recording(&mut self, _: CallId, _: Moment) {}
        }
        let (_, reports) = mpsc::channel(1);
        Self { orders: Box::new(Deaf), reports }
    }
}

impl House {
    /// Something was heard.
    pub(super) fn take_heard(&mut self, heard: Heard) {
        match heard {
            Heard::Verdict { call, verdict } => self.tell_core(call, Event::Ear { verdict }),
            Heard::Spoke { call, at } => self.tell_core(call, Event::Spoke { at }),
            Heard::Broke { call, at } => self.ear_broke(call, at),
        }
    }

    /// A page says something of sleep.
    pub(super) fn page_of_the_night(&mut self, call: CallId, side: Side, place: Place, seq: u64, body: &PageBody) {
        let says = match body {
            PageBody::ImHere {} => (Side::Client, Event::ImHere, Hint::Tapped),
            PageBody::SaysAsleep {} => (Side::Companion, Event::SaysAsleep, Hint::SaidAsleep),
            PageBody::SaysAwake {} => (Side::Companion, Event::SaysAwake, Hint::SaidAwake),
            _ => return,
        };
        let (by, event, hint) = says;
        let call_now = self.exchange.call(call);
        let why = match call_now.map(|call| (call.terms().night, call.state())) {
            None => "the call has ended",
            Some((None, _)) => "this call does not end when the client sleeps",
            Some(_) if by != side => "the other party may say this",
            Some((Some(_), State::Connecting | State::Paused { .. })) if hint == Hint::SaidAsleep => "the call is not live at present",
            Some(_) => "",
        };
        if call_now.is_none_or(Call::is_over) {
            return self.refuse_page(call, side, place, seq, wire::call_ended());
        }
        if !why.is_empty() {
            return self.refuse_page(call, side, place, seq, wire::refused(Code::CallState, why, None));
        }
        let now = self.clock.now();
        if hint == Hint::SaidAsleep && !call_now.is_some_and(|call| call.hears_asleep(now)) {
            return self.refuse_page(
                call,
                side,
                place,
                seq,
                wire::refused(Code::RateLimited, "this was said too often in this call", None),
            );
        }
        self.ear.hint(call, hint, now);
        self.tell_core(call, event);
    }

    /// A party tapped on something else: whoever does that is awake.
    pub(super) fn touched(&mut self, call: CallId, side: Side) {
        let listens = self.exchange.call(call).is_some_and(|call| call.terms().night.is_some() && !call.is_over());
        if listens && side == Side::Client {
            let now = self.clock.now();
            self.ear.hint(call, Hint::Tapped, now);
        }
    }

    /// The client's microphone is muted, or no longer: her ear must not take that for sleep.
    pub(super) fn muted(&mut self, call: CallId, side: Side, muted: bool) {
        let listens = self.exchange.call(call).is_some_and(|call| call.terms().night.is_some());
        if listens && side == Side::Client {
            let now = self.clock.now();
            self.ear.hint(call, Hint::Muted(muted), now);
        }
    }
}
