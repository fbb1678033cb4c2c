//! How the handle reaches a shard: orders and questions in, an eventfd to wake it.
//!
//! Two ways in. Orders are few and cheap, and none that ends something may be lost or wait behind joins; questions cost the shard half a
//! millisecond each, so they are bounded by their queue and refused beyond it. Invariant: what waits for a shard is bounded, however long
//! it takes, and nobody waits for it.

use super::OfferError;
use super::play::Play;
use super::shard::{Ask, Order, Question, Reply};
use super::stats::Shown;
use super::tap::Processed;
use crate::clock::Moment;
use nix::sys::eventfd::EventFd;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Sender, SyncSender, TrySendError};

/// Joins and restarts a shard keeps waiting; more are refused. It does some hundred to a thousand in a second.
pub(crate) const MOST_ASKS: usize = 1024;
/// Texts for pages and what is played to them are dropped while a shard has so many commands waiting.
const MOST_TEXTS: u64 = 4096;
/// Taps, and the ends of what is played, are dropped while a shard has so many commands waiting: one that does 64 a turn and is so far
/// behind has stopped, and whoever hears nothing of a voice asks for it again.
const MOST_TAPS: u64 = 65_536;

/// The way into one shard.
pub(crate) struct Door {
    /// Without a bound of its own: see [`most_before`].
    pub(crate) orders: Sender<Order>,
    pub(crate) asks: SyncSender<Ask>,
    pub(crate) processed: SyncSender<Processed>,
    pub(crate) wake: Arc<EventFd>,
    pub(crate) shown: Arc<Shown>,
    pub(crate) address: SocketAddr,
}

/// How many commands may wait before an order; it is dropped if there are more. None for one that is never dropped.
fn most_before(order: &Order) -> Option<u64> {
    match order {
        Order::Control(..) | Order::Play(_, _, Play::Once(_) | Play::Repeat(_)) => Some(MOST_TEXTS),
        Order::Tap(_, _, Some(_)) | Order::Play(_, _, Play::Stop) => Some(MOST_TAPS),
        // One for each call, leg or tap, and these are made only by what the shard has answered or taken; a landing is cancelled by a
        // word of a page, which has a rate; `Copies` and `Leave` come once.
        Order::Stop(_) | Order::CloseLeg(..) | Order::Tap(_, _, None) | Order::Release(..) | Order::Copies(_) | Order::Leave => None,
    }
}

impl Door {
    /// Puts an order in line, unless too many commands wait for what it is. Never waits.
    pub(crate) fn order(&self, order: Order) {
        if most_before(&order).is_some_and(|most| self.shown.queued.load(Ordering::Relaxed) >= most) {
            return;
        }
        self.shown.queued.fetch_add(1, Ordering::Relaxed);
        // An error means that the shard has ended, and its calls with it.
        if self.orders.send(order).is_ok() {
            self.ring();
        }
    }

    /// Puts a question in line; false if it was refused at once.
    pub(crate) fn ask(&self, question: Question, asked: Moment, reply: Reply) -> bool {
        self.shown.queued.fetch_add(1, Ordering::Relaxed);
        match self.asks.try_send(Ask { question, asked, reply }) {
            Ok(()) => {
                self.ring();
                true
            }
            Err(refused) => {
                self.shown.queued.fetch_sub(1, Ordering::Relaxed);
                let (TrySendError::Full(ask) | TrySendError::Disconnected(ask)) = refused;
                let _ = ask.reply.send(Err(OfferError::Overloaded)); // Whoever asked may have gone.
                false
            }
        }
    }

    /// Wakes the shard.
    pub(crate) fn ring(&self) {
        let _ = self.wake.write(1); // Fails only when the counter is full, and then the shard is awake.
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Side;
    use crate::clock::Span;
    use crate::ids::{CallId, LegId};
    use crate::media::Purpose;
    use std::sync::mpsc::{channel, sync_channel};
    use uuid::Uuid;

    #[test]
    fn what_waits_for_a_shard_that_has_stopped_is_bounded() {
        let ((orders, waiting), (asks, _asked)) = (channel(), sync_channel(MOST_ASKS));
        let (processed, _) = sync_channel(1);
        let wake = Arc::new(EventFd::new().expect("a descriptor"));
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let door = Door { orders, asks, processed, wake, shown: Arc::default(), address };
        let (call, leg) = (CallId::new(Uuid::nil()), LegId::new(Uuid::nil()));
        let say = || door.order(Order::Control(call, leg, "hello".to_owned()));
        let frames: crate::media::Frames = std::sync::Arc::from([]);
        let once = || door.order(Order::Play(call, Side::Client, Play::Once(frames.clone())));
        let tap = || door.order(Order::Tap(call, Side::Client, Some(Purpose::Analyse)));
        let count = || waiting.try_iter().count() as u64;
        (0..5_000).for_each(|_| say());
        (0..100).for_each(|_| once());
        assert_eq!(door.shown.queued.load(Ordering::Relaxed), MOST_TEXTS);
        (0..100_000).for_each(|_| tap());
        door.order(Order::Play(call, Side::Client, Play::Stop));
        // What ends something is never too much.
        door.order(Order::Stop(call));
        door.order(Order::CloseLeg(call, leg));
        door.order(Order::Tap(call, Side::Client, None));
        door.order(Order::Release(call, Side::Companion, Span::from_s(1)));
        assert_eq!(count(), MOST_TAPS + 4);
        for number in 0..=MOST_ASKS {
            let (reply, mut answer) = tokio::sync::oneshot::channel();
            let taken = door.ask(Question::Restart(call, leg, String::new()), Moment::from_unix_ms(0), reply);
            assert_eq!(taken, number < MOST_ASKS);
            assert_eq!(answer.try_recv().is_ok(), !taken, "the one too many is told");
        }
    }
}
