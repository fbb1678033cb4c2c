//! The core: all open calls, their timers and their money. Events go in, effects come out; time is an argument.
//!
//! It owns the calls and nothing else: no socket, no disk, no page. Invariants: what a call's effects rely on is in the
//! [`Effect::Record`] before them; a call's end and its settlement are in the same one; a call is settled once.

mod announce;
mod bill;
mod canonical;
mod effect;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod json;
mod month;
mod night;
pub mod proof;
mod record;
mod recover;
pub mod sheet;
mod view;

pub use announce::{
    Announcement, Deletion, Returned, TEST, WORDS, announcement, deletion_announcement, return_announcement, test_announcement,
    wallet_announcement, word,
};
pub use effect::{Effect, SettleOrder};
pub use month::{MonthError, month};
pub use night::Nightly;
pub use record::{RecordError, plan_terms, receipt, record};
pub use view::{Presence, View};

use crate::call::{self, Basis, Call, Event, Refused, State, Terms, TermsError};
use crate::clock::Moment;
use crate::ids::{CallId, HoldId};
use std::collections::{BTreeMap, BTreeSet};

/// Makes a call whose first block is on hold. The shell stores hold and entry in one transaction, then inserts the call.
pub fn book(call: CallId, terms: Terms, hold: HoldId, now: Moment) -> Result<(Call, call::Entry), TermsError> {
    Call::book(call, terms, hold, now)
}

/// All calls that are open or not yet forgotten.
#[derive(Clone, Debug, Default)]
pub struct Exchange {
    calls: BTreeMap<CallId, Kept>,
    /// Each open call's next due moment; changed by [`Exchange::schedule`] only.
    timers: BTreeSet<(Moment, CallId)>,
}

/// A call, and what follows from it: looked at in every heartbeat and every step, so it is worked out only where the call changes.
#[derive(Clone, Debug)]
struct Kept {
    basis: Option<Basis>,
    due: Option<Moment>,
    call: Box<Call>,
}

impl Exchange {
    /// An exchange without calls.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in a call whose entries are all on disk: a new one, or one read back.
    pub fn insert(&mut self, call: Call) {
        let (id, kept) = (call.id(), Kept::new(call));
        let due = kept.due;
        let before = self.calls.insert(id, kept).and_then(|before| before.due);
        self.schedule(id, before, due);
    }

    /// Hands an event to its call. One for a call that is not here is answered where it waits for an answer, else ignored.
    pub fn handle(&mut self, call: CallId, event: Event, now: Moment, out: &mut Vec<Effect>) {
        match self.calls.get_mut(&call) {
            Some(kept) => {
                let (before, due) = kept.work(out, |call, effects| call.handle(event, now, effects));
                self.schedule(call, before, due);
            }
            None => refuse_unknown(event, out),
        }
    }

    /// When [`Exchange::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Moment> {
        self.timers.first().map(|(due, _)| *due)
    }

    /// Does whatever is due at `now` in any call, each as of the instant it fell due.
    pub fn handle_timeout(&mut self, now: Moment, out: &mut Vec<Effect>) {
        while let Some((_, call)) = self.timers.first().copied().filter(|(due, _)| *due <= now) {
            self.work(call, out, |call, effects| call.handle_timeout(now, effects));
        }
    }

    /// What pages and lists show of a call at `now`.
    pub fn view(&self, call: CallId, now: Moment) -> Option<View<'_>> {
        self.call(call).map(|call| View::of(call, now))
    }

    /// A call.
    pub fn call(&self, call: CallId) -> Option<&Call> {
        self.calls.get(&call).map(|kept| &*kept.call)
    }

    /// All calls, oldest id first.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        self.calls.values().map(|kept| &*kept.call)
    }

    /// How many calls there are.
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// The live and paused calls, oldest id first, with what their proofs rest on; see [`Call::basis`].
    pub fn running(&self) -> impl Iterator<Item = (CallId, &Basis)> {
        self.calls.iter().filter_map(|(id, kept)| Some((*id, kept.basis.as_ref()?)))
    }

    /// Lets go of a settled call; says whether it was. An open call is kept.
    pub fn forget(&mut self, call: CallId) -> bool {
        let settled = self.call(call).is_some_and(|call| matches!(call.state(), State::Settled { .. }));
        if settled {
            let due = self.calls.remove(&call).and_then(|kept| kept.due);
            self.schedule(call, due, None);
        }
        settled
    }

    /// Lets a call do something, and keeps its timer.
    fn work(&mut self, id: CallId, out: &mut Vec<Effect>, step: impl FnOnce(&mut Call, &mut Vec<call::Effect>)) {
        if let Some(kept) = self.calls.get_mut(&id) {
            let (before, due) = kept.work(out, step);
            self.schedule(id, before, due);
        }
    }

    /// Puts a call's timer from one moment to another.
    fn schedule(&mut self, id: CallId, before: Option<Moment>, due: Option<Moment>) {
        if before == due {
            return;
        }
        if let Some(before) = before {
            self.timers.remove(&(before, id));
        }
        if let Some(due) = due {
            self.timers.insert((due, id));
        }
    }
}

impl Kept {
    fn new(call: Call) -> Self {
        Self { basis: call.basis(), due: call.poll_timeout(), call: Box::new(call) }
    }

    /// Lets the call do something and settles it if that ended it; gives back when it was due before, and is now.
    fn work(&mut self, out: &mut Vec<Effect>, step: impl FnOnce(&mut Call, &mut Vec<call::Effect>)) -> (Option<Moment>, Option<Moment>) {
        let (call, before) = (&mut *self.call, self.due);
        let known = call.entries().len();
        let mut effects = Vec::new();
        step(call, &mut effects);
        let settle = bill::settle(call);
        effect::translate(call, known, settle, effects, out);
        (self.basis, self.due) = (call.basis(), call.poll_timeout());
        (before, self.due)
    }
}

/// There is no such call: who waits for an answer hears so.
fn refuse_unknown(event: Event, out: &mut Vec<Effect>) {
    match event {
        Event::ExtendAsked { request, .. }
        | Event::GiftAsked { request, .. }
        | Event::LinkAsked { request, .. }
        | Event::VendorEnds { request } => {
            out.push(Effect::Answer { request, result: Err(Refused::UnknownCall) });
        }
        Event::Joined { .. }
        | Event::Connected { .. }
        | Event::AudioReached { .. }
        | Event::Lost { .. }
        | Event::Back { .. }
        | Event::Hushed { .. }
        | Event::Faltered { .. }
        | Event::Steadied { .. }
        | Event::Failed { .. }
        | Event::Measured { .. }
        | Event::Reserved { .. }
        | Event::NotReserved { .. }
        | Event::HangUp { .. }
        | Event::AbuseReported
        | Event::Ear { .. }
        | Event::Spoke { .. }
        | Event::ImHere
        | Event::SaysAsleep
        | Event::SaysAwake
        | Event::Consents { .. }
        | Event::RecordingFailed { .. }
        | Event::LeaseLapsed { .. }
        | Event::ServerStops => {}
    }
}

#[cfg(test)]
mod tests;
