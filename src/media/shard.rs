//! A shard's thread: one socket, all legs of its calls, and the loop that moves datagrams between them.
//!
//! Idle, it sleeps in `poll` and takes each packet at once. Busy, it sleeps on a timer for a millisecond and takes what
//! has gathered (design.md section 9). Commands come through a bounded queue with an eventfd to wake it. No lock and no
//! allocation for a media packet.

#![expect(clippy::disallowed_methods, reason = "the shell of the media plane: here the clock is read, once a batch")]

use super::calls::Calls;
use super::socket::{BATCH, Path, Socket, Way};
use super::stats::{Loss, Shown};
use super::tcp::Links;
use super::{OfferError, OpenLeg, Report};
use crate::clock::Clock;
use crate::ids::{CallId, LegId};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::eventfd::EventFd;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, ClockNanosleepFlags, clock_nanosleep};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// Between two looks at all legs.
const TICK: Duration = Duration::from_millis(100);
/// How long packets gather while busy.
const GATHER: Duration = Duration::from_millis(1);
/// Packets in a tick from which gathering pays (2,000 a second), and below which it stops (1,000).
const BUSY_FROM: u64 = 200;
const BUSY_UNTIL: u64 = 100;
/// Batches taken before commands and timers get their turn.
const BATCHES: usize = 16;
/// Commands carried out before packets get theirs: a set-up takes about half a millisecond.
const COMMANDS: usize = 16;

pub(crate) type Reply = oneshot::Sender<Result<String, OfferError>>;

/// What the handle asks of a shard.
pub(crate) enum Command {
    Open(Box<OpenLeg>, Reply),
    Restart(CallId, LegId, String, Reply),
    Patch(CallId, LegId, String, Reply),
    Stop(CallId),
    CloseLeg(CallId, LegId),
    Control(CallId, LegId, String),
    Leave,
}

/// All a shard's thread owns.
pub(crate) struct Shard {
    pub(crate) calls: Calls,
    pub(crate) socket: Socket,
    pub(crate) links: Option<Links>,
    pub(crate) commands: Receiver<Command>,
    pub(crate) wake: Arc<EventFd>,
    pub(crate) reports: mpsc::Sender<Report>,
    pub(crate) shown: Arc<Shown>,
    pub(crate) clock: Clock,
}

impl Shard {
    /// Runs until it is told to leave or its handle is gone.
    pub(crate) fn run(mut self) {
        // Or each sleep of a millisecond takes 50 µs longer. Harmless if refused.
        let _ = nix::sys::prctl::set_timerslack(1);
        let mut list: Vec<(usize, usize, Path)> = Vec::with_capacity(BATCH);
        let mut next_tick = Instant::now() + TICK;
        let mut received_by = 0;
        let mut busy = false;
        let mut links_call = false;
        loop {
            let started = Instant::now();
            if self.carry_out(started).is_break() {
                break;
            }
            self.receive(&mut list);
            if links_call {
                self.receive_from_links(&mut list);
            }
            let now = Instant::now();
            self.calls.run_timers(now);
            if now >= next_tick {
                next_tick = now + TICK;
                self.calls.tick(now);
                let received = self.calls.counts.received - received_by;
                received_by = self.calls.counts.received;
                busy = received >= if busy { BUSY_UNTIL } else { BUSY_FROM };
                self.tick_links(now);
                self.shown.show(&self.calls.counts, self.calls.sizes());
            }
            self.send_datagrams();
            self.tell();
            if busy {
                rest(GATHER.saturating_sub(started.elapsed()));
                // Who knocks meanwhile waits for the next tick: asking costs a call to the kernel each time.
                links_call = self.links.as_ref().is_some_and(|links| links.any() || next_tick <= Instant::now());
            } else {
                let due = self.calls.due().map_or(next_tick, |due| due.min(next_tick));
                links_call = self.wait(due.saturating_duration_since(Instant::now()));
            }
        }
        self.calls.close_all(Instant::now());
        self.send_datagrams();
        self.tell();
        self.shown.show(&self.calls.counts, self.calls.sizes());
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

    fn carry_out(&mut self, now: Instant) -> std::ops::ControlFlow<()> {
        for _ in 0..COMMANDS {
            match self.commands.try_recv() {
                // Whoever asked may have gone; then the answer is for nobody.
                Ok(Command::Open(open, reply)) => drop(reply.send(self.calls.open(&open, now))),
                Ok(Command::Restart(call, leg, offer, reply)) => drop(reply.send(self.calls.restart(call, leg, &offer))),
                Ok(Command::Patch(call, leg, fragment, reply)) => drop(reply.send(self.calls.patch(call, leg, &fragment))),
                Ok(Command::Stop(call)) => self.calls.stop(call, now),
                Ok(Command::CloseLeg(call, leg)) => self.calls.close_leg(call, leg, now),
                Ok(Command::Control(call, leg, text)) => self.calls.control(call, leg, text, now),
                Ok(Command::Leave) | Err(TryRecvError::Disconnected) => return std::ops::ControlFlow::Break(()),
                Err(TryRecvError::Empty) => return std::ops::ControlFlow::Continue(()),
            }
        }
        // More may wait: come back at once.
        let _ = self.wake.write(1); // Fails only when the counter is full, and then it wakes us anyway.
        std::ops::ControlFlow::Continue(())
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
