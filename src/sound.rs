//! Worker threads beside the media plane: what is heard, faded, played and recorded.
//!
//! A worker has the calls that the media plane hashes to it, outright: no lock and no wait between packets. Orders come in, [`Report`]s go
//! out; both are few. When workers are late, packets are left out and counted; a call is never delayed. What a call's sound breaks here
//! costs that call its ear, nothing else. Nothing is decided here: what follows from a verdict is the core's.

mod cues;
mod ear;
mod landing;
#[cfg(test)]
pub(crate) mod stages;
mod talk;
#[cfg(test)]
pub(crate) mod tests;
mod worker;

use crate::call::{Cue, Side};
use crate::clock::{Clock, Moment, Span};
use crate::ids::{CallId, LegId};
use crate::media::{Media, Play, Purpose, Ringer, Taps, worker_of};
use crate::sleep::Verdict;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::Duration;
use worker::Worker;

pub use landing::BACK;

/// What a worker is told. Orders of a call are taken in the order in which they were given.
pub enum Order {
    /// Listen from `at` on whether the client sleeps.
    Listen { call: CallId, at: Moment },
    /// Listen no longer.
    Deaf { call: CallId },
    /// Let the companion's voice fade to silence within `length`; zero: she is silent at once.
    Fade { call: CallId, length: Span },
    /// Let it come back, within two seconds.
    Unfade { call: CallId },
    /// The client tapped.
    Tapped { call: CallId, at: Moment },
    /// The companion says that the client is awake.
    SaidAwake { call: CallId, at: Moment },
    /// The companion says that the client sleeps.
    SaidAsleep { call: CallId, at: Moment },
    /// The client's microphone is muted, or no longer.
    Muted { call: CallId, muted: bool },
    /// Let a side hear something.
    Play { call: CallId, to: Side, cue: Cue },
    /// Record a side from the tape's beginning on, instead of what was recorded of it before.
    Record { call: CallId, side: Side, tape: Box<dyn Tape> },
    /// End a side's recording at `at`.
    StopRecording { call: CallId, side: Side, at: Moment },
    /// The call is over: all of the above ends.
    Forget { call: CallId, at: Moment },
}

impl Order {
    fn call(&self) -> CallId {
        match self {
            Self::Listen { call, .. }
            | Self::Deaf { call }
            | Self::Fade { call, .. }
            | Self::Unfade { call }
            | Self::Tapped { call, .. }
            | Self::SaidAwake { call, .. }
            | Self::SaidAsleep { call, .. }
            | Self::Muted { call, .. }
            | Self::Play { call, .. }
            | Self::Record { call, .. }
            | Self::StopRecording { call, .. }
            | Self::Forget { call, .. } => *call,
        }
    }
}

/// What came of it. A report that finds no room is kept and said later; of several verdicts the last.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Report {
    /// The client is taken for something else now; or the same, and up to ten seconds have passed.
    Verdict { call: CallId, verdict: Verdict },
    /// The client spoke or moved, whatever she is taken for: at most once a second.
    Spoke { call: CallId, at: Moment },
    /// The companion is not heard any more.
    Faded { call: CallId },
    /// What was done for this call broke at this moment. Its recordings ended there; it has a new ear in a second, and a landing goes on.
    Broke { call: CallId, at: Moment },
}

/// Where the samples of one side's recording go: 16 kHz, mono. Dropped without a word, it ends where it is.
pub trait Tape: Send {
    /// Where its first sample belongs.
    fn started(&self) -> Moment;
    /// Samples that follow those before. Never waits. False: it takes no more.
    fn write(&mut self, samples: &[i16]) -> bool;
    /// It ends at `at`.
    fn finish(self: Box<Self>, at: Moment);
}

/// What the media plane does for workers.
trait Plane: Send + Sync {
    fn tap(&self, call: CallId, side: Side, purpose: Purpose);
    fn untap(&self, call: CallId, side: Side);
    fn release(&self, call: CallId, side: Side, within: Span);
    fn replace(&self, call: CallId, leg: LegId, index: u64, payload: &[u8]) -> bool;
    fn play(&self, call: CallId, side: Side, play: Play);
}

impl Plane for Media {
    fn tap(&self, call: CallId, side: Side, purpose: Purpose) {
        Media::tap(self, call, side, purpose);
    }

    fn untap(&self, call: CallId, side: Side) {
        Media::untap(self, call, side);
    }

    fn release(&self, call: CallId, side: Side, within: Span) {
        Media::release(self, call, side, within);
    }

    fn replace(&self, call: CallId, leg: LegId, index: u64, payload: &[u8]) -> bool {
        Media::replace(self, call, leg, index, payload)
    }

    fn play(&self, call: CallId, side: Side, play: Play) {
        Media::play(self, call, side, play);
    }
}

/// How much of the machine the ear has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Worker threads; one hears some hundred sleepers.
    pub workers: usize,
}

impl Default for Settings {
    /// One for every two processors.
    fn default() -> Self {
        Self { workers: std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2)) }
    }
}

/// Why the workers did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The media plane has no queues for them.
    #[error("cannot hear the media plane: {0}")]
    Taps(#[from] crate::media::StartError),
    /// The machine has no more threads.
    #[error("cannot start a sound worker: {0}")]
    Thread(#[from] std::io::Error),
}

/// The handle of the workers. Clones speak to the same; nothing here waits.
#[derive(Clone)]
pub struct Sound {
    doors: Arc<[Door]>,
}

struct Door {
    /// Without a bound of its own: none may be lost, and a worker takes all that wait before it hears anything. They come with what the core
    /// decides of a call that is open, and with words of its pages, which have a rate; a worker that panics goes on.
    orders: Sender<Said>,
    ringer: Ringer,
    longest_wait: Arc<AtomicI64>,
}

/// What comes through a door.
enum Said {
    Order(Order),
    Leave,
}

/// Ends the workers when dropped: recordings are finished, then the threads are joined.
pub struct JoinGuard {
    doors: Arc<[Door]>,
    threads: Vec<JoinHandle<()>>,
}

impl Drop for JoinGuard {
    fn drop(&mut self) {
        for door in self.doors.iter() {
            door.say(Said::Leave);
        }
        for thread in self.threads.drain(..) {
            // A worker that panicked at the very end has said so; there is nothing left to end.
            let _ = thread.join();
        }
    }
}

/// Starts the workers of a media plane, which has no others. `say` takes a report, or is false where there is no room for it: then
/// it is said again later. It must not wait.
pub fn start(
    settings: Settings,
    clock: Clock,
    media: Media,
    say: impl Fn(Report) -> bool + Clone + Send + 'static,
) -> Result<(Sound, JoinGuard), StartError> {
    let plane: Arc<dyn Plane> = Arc::new(media.clone());
    let cues = Arc::new(cues::Cues::default());
    let (mut doors, mut threads) = (Vec::new(), Vec::new());
    for (number, mut taps) in media.taps(settings.workers.max(1))?.into_iter().enumerate() {
        let (orders, orders_in) = channel();
        let mut worker = Worker::new(number, plane.clone(), cues.clone(), Box::new(say.clone()));
        doors.push(Door { orders, ringer: taps.ringer(), longest_wait: worker.longest_wait.clone() });
        let body = move || {
            let mut life = Life { ticked: clock.now() };
            // What breaks outside of any call's work costs all of them what was kept for them, and nobody the thread.
            while catch_unwind(AssertUnwindSafe(|| life.go_on(&mut worker, &mut taps, &orders_in, clock))).is_err() {
                worker.broke(clock.now());
                taps.wait(Duration::from(TICK));
            }
            // Nobody says a second time that it is to leave: what breaks here ends with it.
            worker.end(clock.now());
        };
        threads.push(std::thread::Builder::new().name(format!("sound-{number}")).spawn(body)?);
    }
    let doors: Arc<[Door]> = doors.into();
    Ok((Sound { doors: doors.clone() }, JoinGuard { doors, threads }))
}

impl Sound {
    /// Gives an order. It is carried out in a millisecond or so; on a call that is not there it has no effect.
    pub fn order(&self, order: Order) {
        if let Some(door) = self.doors.get(worker_of(order.call(), self.doors.len())) {
            door.say(Said::Order(order));
        }
    }

    /// The longest that a packet has waited for its worker since the start: some ms, unless the machine has more to do than time.
    pub fn longest_wait(&self) -> Span {
        Span::from_ms(self.doors.iter().map(|door| door.longest_wait.load(Ordering::Relaxed)).max().unwrap_or_default())
    }
}

impl Door {
    fn say(&self, said: Said) {
        // An error means that the worker has ended: the server does.
        if self.orders.send(said).is_ok() {
            self.ringer.ring();
        }
    }
}

/// Between two looks at the clock.
const TICK: Span = Span::from_ms(100);
/// Packets between two looks at the orders.
const TURN: usize = 64;

/// A worker's life.
struct Life {
    /// When it last looked at the clock.
    ticked: Moment,
}

/// What a worker does after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// The next turn: more packets may wait.
    Turn,
    /// It waits for packets and orders, so long at most.
    Wait(Span),
    /// It ends: the server does.
    Leave,
}

impl Life {
    /// Turn after turn, until it is to leave.
    fn go_on(&mut self, worker: &mut Worker, taps: &mut Taps, orders: &Receiver<Said>, clock: Clock) {
        loop {
            match self.turn(worker, taps, orders, clock) {
                Next::Turn => (),
                Next::Wait(at_most) => taps.wait(Duration::from(at_most)),
                Next::Leave => return,
            }
        }
    }

    /// All orders, some packets, and what time made due.
    fn turn(&mut self, worker: &mut Worker, taps: &mut Taps, orders: &Receiver<Said>, clock: Clock) -> Next {
        loop {
            match orders.try_recv() {
                // What breaks in it breaks after it was said.
                Ok(Said::Order(order)) => worker.order(order, clock.now()),
                Err(TryRecvError::Empty) => break,
                Ok(Said::Leave) | Err(TryRecvError::Disconnected) => return Next::Leave,
            }
        }
        let mut now = clock.now();
        let (mut taken, mut last) = (0, None);
        while taken < TURN
            && let Some(tapped) = taps.take()
        {
            taken += 1;
            last = Some(tapped.at);
            worker.hear(&tapped, now);
        }
        // What still waits here is late, not absent: silence is put in its place only once it is known not to come.
        let mut heard_until = now;
        if taken == TURN {
            heard_until = last.unwrap_or(now).min(now);
            now = clock.now();
        }
        if now.since(self.ticked) >= TICK {
            self.ticked = now;
            worker.tick(now, heard_until);
        }
        if taken == 0 { Next::Wait(TICK.saturating_sub(now.since(self.ticked))) } else { Next::Turn }
    }
}
