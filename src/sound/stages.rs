//! A worker without its thread, for tests in virtual time: orders, packets of a real queue and time in; reports, and what it wants of the
//! media plane, out.
//!
//! It is the very turn a worker's thread runs; only the waiting is missing. Nothing of a worker is set or seen here that a thread has not.

use super::cues::Cues;
use super::worker::Worker;
use super::{Life, Next, Order, Plane, Report, Said};
use crate::call::Side;
use crate::clock::{Clock, Span};
use crate::ids::{CallId, LegId};
use crate::media::{Play, Purpose, Taps};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

/// What a worker wants of the media plane.
#[derive(Clone, Debug)]
pub(crate) enum Wish {
    /// See [`crate::media::Media::tap`], and `untap` for none.
    Tap(CallId, Side, Option<Purpose>),
    /// See [`crate::media::Media::release`].
    Release(CallId, Side, Span),
    /// See [`crate::media::Media::replace`].
    Replace(CallId, LegId, u64, Vec<u8>),
    /// See [`crate::media::Media::play`].
    Play(CallId, Side, Play),
}

#[derive(Default)]
struct Wishes(Mutex<Vec<Wish>>);

impl Wishes {
    fn note(&self, wish: Wish) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(wish);
    }
}

impl Plane for Wishes {
    fn tap(&self, call: CallId, side: Side, purpose: Purpose) {
        self.note(Wish::Tap(call, side, Some(purpose)));
    }

    fn untap(&self, call: CallId, side: Side) {
        self.note(Wish::Tap(call, side, None));
    }

    fn release(&self, call: CallId, side: Side, within: Span) {
        self.note(Wish::Release(call, side, within));
    }

    fn replace(&self, call: CallId, leg: LegId, index: u64, payload: &[u8]) -> bool {
        self.note(Wish::Replace(call, leg, index, payload.to_vec()));
        true
    }

    fn play(&self, call: CallId, side: Side, play: Play) {
        self.note(Wish::Play(call, side, play));
    }
}

/// One worker, that of all calls.
pub(crate) struct ByHand {
    worker: Worker,
    life: Life,
    taps: Taps,
    clock: Clock,
    orders: (Sender<Said>, Receiver<Said>),
    reports: Receiver<Report>,
    wishes: Arc<Wishes>,
}

impl ByHand {
    /// A worker of a plane's only queue.
    pub(crate) fn new(taps: Taps, clock: Clock) -> Self {
        let wishes = Arc::new(Wishes::default());
        let (say, reports) = channel();
        let worker = Worker::new(0, wishes.clone(), Arc::new(Cues::default()), Box::new(move |report| say.send(report).is_ok()));
        Self { worker, life: Life { ticked: clock.now() }, taps, clock, orders: channel(), reports, wishes }
    }

    /// Gives an order, to be carried out in the next turn.
    pub(crate) fn order(&self, order: Order) {
        // Both ends are here.
        let _ = self.orders.0.send(Said::Order(order));
    }

    /// All that can be done now.
    pub(crate) fn work(&mut self) {
        while self.life.turn(&mut self.worker, &mut self.taps, &self.orders.1, self.clock) == Next::Turn {}
    }

    /// What it wanted of the media plane since the last look, in order.
    pub(crate) fn wishes(&self) -> Vec<Wish> {
        std::mem::take(&mut self.wishes.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What it reported since the last look.
    pub(crate) fn reports(&self) -> Vec<Report> {
        self.reports.try_iter().collect()
    }
}
