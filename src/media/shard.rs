//! A shard's thread: one socket, all legs of its calls, and the loop that moves datagrams between them.
//!
//! Idle, it sleeps in `poll` and takes each packet at once. Busy, it sleeps on a timer for a millisecond and takes what
//! has gathered (design.md section 9). Commands come through queues with an eventfd to wake it. It waits for nothing else, and
//! media goes before joins and handshakes, which have a bounded part of each turn. No lock and no allocation for a media packet.
//!
//! | file | |
//! |---|---|
//! | `load` | what turns took |
//! | `gate` | whether one more call is let in |
//! | `gather` | whether packets gather before they are taken |

#![expect(clippy::disallowed_methods, reason = "the shell of the media plane: here the clock is read, once a batch")]

pub(crate) mod gate;
mod gather;
pub(crate) mod load;

use super::calls::Calls;
use super::placement::Forgotten;
use super::play::Play;
use super::socket::{BATCH, Path, Socket, Way};
use super::stats::{Loss, Shown, Snapshot};
use super::tap::{Copies, MOST_PROCESSED, Processed, Purpose};
use super::tcp::Links;
use super::{OfferError, OpenLeg, Report};
use crate::call::Side;
use crate::clock::{Clock, Moment, Span};
use crate::ids::{CallId, LegId};
use gate::{Gate, Outlook, setup_allowance};
use gather::{GATHER, TICK, gathers};
use load::{Figures, Meter, Sample, Turn};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::eventfd::EventFd;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, ClockNanosleepFlags, clock_gettime, clock_nanosleep};
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// Batches taken before commands and timers get their turn.
const BATCHES: usize = 16;
/// A wait shorter than this was none.
const AT_ONCE: Duration = Duration::from_micros(50);
/// Orders carried out in a turn; each takes some µs.
const ORDERS: usize = 64;
/// A join that waited longer is refused: whoever asked is about to give up, and a queue that long does not get shorter by itself. Less than
/// a stopped call is remembered, so that an offer which was overtaken by its call's end still finds it stopped.
const PATIENCE: Span = Span::from_ms(1500);

pub(crate) type Reply = oneshot::Sender<Result<String, OfferError>>;

/// What the handle asks of a shard; expensive, so it waits for its turn.
pub(crate) enum Question {
    Open(Box<OpenLeg>),
    Restart(CallId, LegId, String),
    Patch(CallId, LegId, String),
}

/// A question, when it was asked and where its answer goes.
pub(crate) struct Ask {
    pub(crate) question: Question,
    pub(crate) asked: Moment,
    pub(crate) reply: Reply,
}

/// What the handle tells a shard to do; cheap, and done before any question.
pub(crate) enum Order {
    Stop(CallId),
    CloseLeg(CallId, LegId),
    Control(CallId, LegId, String),
    Copies(Copies),
    Tap(CallId, Side, Option<Purpose>),
    Release(CallId, Side, Span),
    Play(CallId, Side, Play),
    Leave,
}

/// All a shard's thread owns.
pub(crate) struct Shard {
    pub(crate) calls: Calls,
    pub(crate) gate: Gate,
    pub(crate) socket: Socket,
    pub(crate) links: Option<Links>,
    pub(crate) orders: Receiver<Order>,
    pub(crate) asks: Receiver<Ask>,
    /// What workers send in place of packets that were held for them.
    pub(crate) processed: Receiver<Processed>,
    pub(crate) wake: Arc<EventFd>,
    pub(crate) reports: mpsc::Sender<Report>,
    /// Never full: its notes are fewer than the opens this shard was asked for and the handle remembers.
    pub(crate) forgotten: Sender<Forgotten>,
    pub(crate) shown: Arc<Shown>,
    pub(crate) clock: Clock,
}

/// What the loop keeps from turn to turn.
struct Pace {
    meter: Meter,
    figures: Figures,
    /// Packets gather.
    busy: bool,
    last_tick: Instant,
    received_by: u64,
    /// When set-up work was last done.
    last_setup: Instant,
}

impl Shard {
    /// Runs until it is told to leave or its handle is gone.
    pub(crate) fn run(mut self) {
        // Or each sleep of a millisecond takes 50 µs longer. Harmless if refused.
        let _ = nix::sys::prctl::set_timerslack(1);
        let mut list: Vec<(usize, usize, Path)> = Vec::with_capacity(BATCH);
        let mut started = Instant::now();
        let mut late = Duration::ZERO;
        let mut links_call = false;
        let mut pace = Pace {
            meter: Meter::default(),
            figures: Figures::default(),
            busy: false,
            last_tick: started,
            received_by: 0,
            last_setup: started,
        };
        loop {
            if self.carry_out(started).is_break() {
                break;
            }
            let received_by = self.calls.counts.received;
            self.receive(&mut list);
            if links_call {
                self.receive_from_links(&mut list);
            }
            self.calls.ring_workers();
            self.send_own(&mut list);
            // Idle, turns follow each other as fast as they can: what a turn may do is bound enough.
            let setup = self.set_up(if pace.busy { late } else { Duration::ZERO }, &mut pace);
            let now = Instant::now();
            if now.saturating_duration_since(pace.last_tick) >= TICK {
                self.calls.tick(now);
                self.tick_links(now);
                self.measure(&mut pace, now);
            }
            self.send_datagrams();
            self.tell();

            let done = Instant::now();
            let work = done.saturating_duration_since(started);
            pace.meter.turn(Turn { late, datagrams: self.calls.counts.received - received_by, work, setup });
            let planned = if pace.busy {
                rest(GATHER.saturating_sub(work));
                // Who knocks meanwhile waits for the next tick: asking costs a call to the kernel each time.
                let is_tick = pace.last_tick + TICK <= started + GATHER;
                links_call = self.links.as_ref().is_some_and(|links| links.any() || is_tick);
                started + GATHER
            } else {
                let next_tick = pace.last_tick + TICK;
                let due = self.calls.due().map_or(next_tick, |due| due.min(next_tick));
                let has_more = self.calls.has_chores() || self.shown.queued.load(Ordering::Relaxed) > 0;
                links_call = self.wait(if has_more { Duration::ZERO } else { due.saturating_duration_since(done) });
                done
            };
            let woken = Instant::now();
            late = woken.saturating_duration_since(planned);
            if !pace.busy {
                // What was there before we looked has waited for as long as the turn took; what woke us has not.
                late = if late < AT_ONCE { work } else { Duration::ZERO };
            }
            started = woken;
        }
        self.calls.close_all(Instant::now());
        self.send_datagrams();
        self.tell();
        self.measure(&mut pace, Instant::now());
    }

    /// Sums up a tick and shows it.
    fn measure(&mut self, pace: &mut Pace, now: Instant) {
        let received = self.calls.counts.received - pace.received_by;
        pace.received_by = self.calls.counts.received;
        pace.busy = gathers(pace.busy, received);
        let kernel_drops = self.socket.kernel_drops().unwrap_or(0);
        self.calls.counts.lost_in_all(Loss::Kernel, kernel_drops);
        // Refused only for a thread that does not exist.
        let cpu = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap_or_default();
        let wall = now.saturating_duration_since(pace.last_tick);
        pace.last_tick = now;
        pace.figures = pace.meter.tick(Sample { wall, cpu, forwarded: self.calls.counts.forwarded, kernel_drops });
        let outlook = self.gate.judge(&pace.figures, self.calls.census());
        self.shown.show(&Snapshot {
            counts: &self.calls.counts,
            sizes: self.calls.sizes(),
            cpu,
            figures: pace.figures,
            outlook,
            lateness: pace.meter.lateness(),
        });
    }

    /// Handshakes, then joins, for as long as this turn may give them. Returns how long that took.
    fn set_up(&mut self, late: Duration, pace: &mut Pace) -> Duration {
        let begun = Instant::now();
        let Some(allowed) = setup_allowance(late, begun.saturating_duration_since(pace.last_setup)) else { return Duration::ZERO };
        let mut now = begun;
        let mut until = begun + allowed;
        while self.calls.do_chore(now) {
            pace.last_setup = now;
            now = Instant::now();
            if now >= until {
                break;
            }
        }
        until = now + allowed;
        while let Ok(ask) = self.asks.try_recv() {
            self.shown.queued.fetch_sub(1, Ordering::Relaxed);
            self.answer(ask, pace, now);
            pace.last_setup = now;
            now = Instant::now();
            if now >= until {
                break;
            }
        }
        for note in self.calls.forgotten.drain(..) {
            // The handle is gone: nobody places calls any more.
            let _ = self.forgotten.send(note);
        }
        now.saturating_duration_since(begun)
    }

    fn answer(&mut self, ask: Ask, pace: &Pace, now: Instant) {
        let Ask { question, asked, reply } = ask;
        let waited = self.clock.at(now).since(asked);
        let answer = match question {
            Question::Open(open) if !self.calls.has(open.call) && (waited >= PATIENCE || self.outlook(pace).room == 0) => {
                Err(self.calls.refuse(open.call))
            }
            Question::Open(open) => self.calls.open(&open, now),
            Question::Restart(call, leg, offer) => self.calls.restart(call, leg, &offer),
            Question::Patch(call, leg, fragment) => self.calls.patch(call, leg, &fragment),
        };
        // Whoever asked may have gone; then the answer is for nobody.
        let _ = reply.send(answer);
    }

    fn outlook(&mut self, pace: &Pace) -> Outlook {
        self.gate.judge(&pace.figures, self.calls.census())
    }

    fn receive(&mut self, list: &mut Vec<(usize, usize, Path)>) {
        for _ in 0..BATCHES {
            let count = self.socket.receive();
            if count == 0 {
                break;
            }
            let now = Instant::now();
            let at = self.clock.at(now);
            for index in 0..count {
                let Some((buffer, length, path)) = self.socket.datagram(index) else {
                    self.calls.counts.lose(Loss::TooLong);
                    continue;
                };
                match (self.calls.datagram(buffer, length, path, now, at), &mut self.links) {
                    (Some((length, Path { way: Way::Tcp(link), .. })), Some(links)) => links.send(link, &buffer[..length], now),
                    (Some((length, path)), _) => list.push((index, length, path)),
                    (None, _) => (),
                }
            }
            let refused = self.socket.send_batch(list);
            list.clear();
            self.calls.counts.lose_many(Loss::Refused, refused);
            self.send_datagrams();
            if count < BATCH {
                break;
            }
        }
    }

    /// As [`receive`](Self::receive), from the connections that have something to say.
    fn receive_from_links(&mut self, list: &mut Vec<(usize, usize, Path)>) {
        let Some(links) = &mut self.links else { return };
        let now = Instant::now();
        let at = self.clock.at(now);
        links.look(now);
        while links.read(now) {
            // Into the socket's buffers, which are free now: a packet may go out by UDP, and needs room behind it anyway.
            while let Some((length, path)) = links.datagram(self.socket.slot(list.len())) {
                let buffer = self.socket.slot(list.len());
                let answer = self.calls.datagram(buffer, length, path, now, at);
                if links.is_stranger(path) && self.calls.knows(path) {
                    links.admit(path);
                }
                match answer {
                    Some((length, Path { way: Way::Tcp(link), .. })) => links.send(link, &buffer[..length], now),
                    Some((length, path)) => list.push((list.len(), length, path)),
                    None => (),
                }
                if list.len() == BATCH {
                    self.calls.counts.lose_many(Loss::Refused, self.socket.send_batch(list));
                    list.clear();
                }
            }
        }
        self.calls.counts.lose_many(Loss::Refused, self.socket.send_batch(list));
        list.clear();
    }

    /// Sends what workers made of held packets, and what is due of what is played.
    fn send_own(&mut self, list: &mut Vec<(usize, usize, Path)>) {
        let now = Instant::now();
        let at = self.clock.at(now);
        // Into the socket's buffers, as the packets of connections.
        for _ in 0..MOST_PROCESSED {
            let Ok(processed) = self.processed.try_recv() else { break };
            let sent = self.calls.replace(&processed, self.socket.slot(list.len()), at);
            self.put(list, sent, now);
        }
        while self.calls.frame_is_due(now) {
            let sent = self.calls.next_frame(self.socket.slot(list.len()), now);
            self.put(list, sent, now);
        }
        self.send_listed(list);
    }

    /// Sends the packet in the list's next buffer, or lists it for the next batch.
    fn put(&mut self, list: &mut Vec<(usize, usize, Path)>, packet: Option<(usize, Path)>, now: Instant) {
        match (packet, &mut self.links) {
            (Some((length, Path { way: Way::Tcp(link), .. })), Some(links)) => {
                links.send(link, &self.socket.slot(list.len())[..length], now);
            }
            (Some((length, path)), _) => list.push((list.len(), length, path)),
            (None, _) => (),
        }
        if list.len() == BATCH {
            self.send_listed(list);
        }
    }

    /// Sends the batch, and counts what the kernel did not take.
    fn send_listed(&mut self, list: &mut Vec<(usize, usize, Path)>) {
        let refused = self.socket.send_batch(list);
        self.calls.counts.lose_many(Loss::Refused, refused);
        list.clear();
    }

    /// Forgets connections that nobody uses.
    fn tick_links(&mut self, now: Instant) {
        if let Some(links) = &mut self.links {
            links.sweep(|path| self.calls.knows(path), now);
            self.calls.counts.lose_many(Loss::SlowReader, std::mem::take(&mut links.left_out));
        }
    }

    fn send_datagrams(&mut self) {
        let now = Instant::now();
        for (path, datagram) in self.calls.datagrams.drain(..) {
            let taken = match (path.way, &mut self.links) {
                (Way::Udp, _) => self.socket.send(&datagram, path),
                (Way::Tcp(link), Some(links)) => {
                    links.send(link, &datagram, now);
                    true
                }
                (Way::Tcp(_), None) => false,
            };
            if !taken {
                self.calls.counts.lose(Loss::Refused);
            }
        }
        if let Some(links) = &mut self.links {
            links.flush(now);
            for path in links.gone.drain(..) {
                self.calls.gone(path);
            }
        }
    }

    /// Hands reports over as far as the service takes them; the rest waits.
    fn tell(&mut self) {
        while let Some(report) = self.calls.reports.pop_front() {
            if let Err(mpsc::error::TrySendError::Full(report)) = self.reports.try_send(report) {
                self.calls.reports.push_front(report);
                break;
            }
        }
    }

    fn carry_out(&mut self, now: Instant) -> ControlFlow<()> {
        for _ in 0..ORDERS {
            let order = match self.orders.try_recv() {
                Ok(order) => order,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return ControlFlow::Break(()),
            };
            self.shown.queued.fetch_sub(1, Ordering::Relaxed);
            match order {
                Order::Stop(call) => self.calls.stop(call, now),
                Order::CloseLeg(call, leg) => self.calls.close_leg(call, leg, now),
                Order::Control(call, leg, text) => self.calls.control(call, leg, text, now),
                Order::Copies(copies) => self.calls.copy_to(copies),
                Order::Tap(call, side, purpose) => self.calls.tap(call, side, purpose),
                Order::Release(call, side, within) => self.calls.release(call, side, within, now),
                Order::Play(call, side, play) => self.calls.play(call, side, play, now),
                Order::Leave => return ControlFlow::Break(()),
            }
        }
        ControlFlow::Continue(())
    }

    /// Sleeps until something arrives, or so long; whether the connections are worth a look.
    fn wait(&mut self, longest: Duration) -> bool {
        // Rounded up: a timer that is not due yet would only wake us again.
        let milliseconds = u16::try_from(longest.as_micros().div_ceil(1000)).unwrap_or(100);
        let wake = self.wake.as_fd();
        let socket = self.socket.as_fd();
        // Without TCP the socket stands twice, and only the first two are asked for.
        let links = self.links.as_ref().map_or(socket, Links::as_fd);
        let mut wanted = [socket, wake, links].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        let count = if self.links.is_some() { 3 } else { 2 };
        match nix::poll::poll(&mut wanted[..count], PollTimeout::from(milliseconds)) {
            Ok(_) | Err(Errno::EINTR) => (),
            // Out of memory for a moment: do not spin.
            Err(_) => rest(GATHER),
        }
        if wanted[1].any().unwrap_or(false) {
            let mut counter = [0; 8];
            let _ = nix::unistd::read(self.wake.as_fd(), &mut counter); // Only to make it silent again.
        }
        wanted[2].any().unwrap_or(false)
    }
}

fn rest(length: Duration) {
    let request = TimeSpec::from_duration(length);
    // Cut short by a signal: then it was a shorter rest.
    let _ = clock_nanosleep(ClockId::CLOCK_MONOTONIC, ClockNanosleepFlags::empty(), &request);
}
