//! Voices for worker threads: copies of what tapped legs send, and what workers send in their place.
//!
//! One way in, one way out, both bounded: a shard never waits for a worker. What finds no room is dropped and counted, and a packet
//! that was held back for a worker is never sent as it was. Knows nothing of sound: payloads are octets.

use crate::call::Side;
use crate::clock::Moment;
use crate::ids::{CallId, LegId};
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::fmt;
use std::hash::BuildHasher;
use std::ops::Deref;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

/// Packets that wait for one worker: a tenth of a second of 600 voices.
const MOST_WAITING: usize = 4096;
/// Octets of a payload that need no memory of their own: 20 ms of Opus at 100 kbit/s, or 60 ms at 32.
const NEAR: usize = 256;

/// What becomes of the voice of a tapped side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Forwarded as usual, and copied.
    Analyse,
    /// Copied and held back ([`Tapped::held`]): only what [`super::Media::replace`] gives is sent.
    Replace,
}

/// One voice packet of a tapped side: a copy that the shard made when it had authenticated the packet, before it was sent on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tapped {
    /// The call.
    pub call: CallId,
    /// Whose voice.
    pub side: Side,
    /// The source: a page that is loaded again is a new one, which counts and times its packets anew.
    pub leg: LegId,
    /// The source's sequence number with its roll-over counter (48 bits, RFC 3711 section 3.3.1). Packets come as they arrived: late
    /// ones after newer ones, none twice.
    pub index: u64,
    /// The source's RTP timestamp, 48,000 ticks a second.
    pub timestamp: u32,
    /// The marker bit: first after a silence (RFC 7587 section 4.1).
    pub marker: bool,
    /// When it arrived.
    pub at: Moment,
    /// Loudness as the page says it, where it does (RFC 6464): its voice bit (0x80) and -dBov.
    pub level: Option<u8>,
    /// Its page has a track for what the server plays ([`super::Media::play`]): without one it hears nothing of that.
    pub hears_sounds: bool,
    /// The packet was not sent on and never will be: the worker is to give what goes in its place. The first packet with this says where
    /// the switch lies (all of this index and beyond are held, all before are not), the first without it afterwards where it ends.
    pub held: bool,
    /// The Opus packet, without padding; never empty.
    pub payload: Payload,
}

/// The octets of an Opus packet; up to 256 need no memory of their own.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload(Octets);

#[derive(Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "the large one is the usual one, and is not to allocate")]
enum Octets {
    Near(u16, [u8; NEAR]),
    Far(Box<[u8]>),
}

impl From<&[u8]> for Payload {
    fn from(octets: &[u8]) -> Self {
        let mut near = [0; NEAR];
        match near.get_mut(..octets.len()) {
            Some(place) => {
                place.copy_from_slice(octets);
                // At most NEAR.
                Self(Octets::Near(octets.len() as u16, near))
            }
            None => Self(Octets::Far(octets.into())),
        }
    }
}

impl Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Octets::Near(len, near) => &near[..usize::from(*len)],
            Octets::Far(octets) => octets,
        }
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} octets", self.len())
    }
}

/// The worker that gets a call's packets, of so many: always the same one.
pub fn worker_of(call: CallId, workers: usize) -> usize {
    (foldhash::fast::FixedState::default().hash_one(call) % workers.max(1) as u64) as usize
}

/// One worker's end: the packets of the calls that are its own ([`worker_of`]), from all shards.
pub struct Taps {
    packets: Receiver<Tapped>,
    next: Option<Tapped>,
    bell: Arc<Bell>,
}

impl Taps {
    /// The next packet; none if there is none now.
    pub fn take(&mut self) -> Option<Tapped> {
        self.next.take().or_else(|| self.packets.try_recv().ok())
    }

    /// Sleeps until there is a packet, somebody rings, or for so long. Wakes early for no reason now and then.
    pub fn wait(&mut self, at_most: Duration) {
        self.bell.asleep.store(true, Ordering::Relaxed);
        // Either we see the packet here, or whoever sends it sees us asleep.
        fence(Ordering::SeqCst);
        if self.next.is_none() {
            self.next = self.packets.try_recv().ok();
        }
        if self.next.is_none() {
            let milliseconds = u16::try_from(at_most.as_micros().div_ceil(1000)).unwrap_or(u16::MAX);
            let mut wanted = [PollFd::new(self.bell.wake.as_fd(), PollFlags::POLLIN)];
            // Interrupted or refused: then it was a shorter sleep.
            let _ = nix::poll::poll(&mut wanted, PollTimeout::from(milliseconds));
        }
        self.bell.asleep.store(false, Ordering::Relaxed);
        let _ = self.bell.wake.read(); // Only to make it silent again; there may be nothing to read.
    }

    /// A bell for whoever has something else for the worker to do.
    pub fn ringer(&self) -> Ringer {
        Ringer(self.bell.clone())
    }
}

/// Wakes the worker that waits for its taps, now or as soon as it waits.
#[derive(Clone)]
pub struct Ringer(Arc<Bell>);

impl Ringer {
    /// Rings once.
    pub fn ring(&self) {
        let _ = self.0.wake.write(1); // Fails only when the counter is full, and then it rings already.
    }
}

struct Bell {
    wake: EventFd,
    /// The worker waits, or is about to.
    asleep: AtomicBool,
}

/// The shards' ends of all workers' queues.
#[derive(Clone)]
pub(crate) struct Copies(Vec<Way>);

#[derive(Clone)]
struct Way {
    packets: SyncSender<Tapped>,
    bell: Arc<Bell>,
    /// Something was sent since the bell was looked at.
    is_new: bool,
}

/// A queue for each worker, both ends. Fails when the machine has no more descriptors.
pub(crate) fn queues(workers: usize) -> nix::Result<(Copies, Vec<Taps>)> {
    let (mut ways, mut taps) = (Vec::new(), Vec::new());
    for _ in 0..workers {
        let wake = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        let bell = Arc::new(Bell { wake, asleep: AtomicBool::new(false) });
        let (sender, packets) = sync_channel(MOST_WAITING);
        ways.push(Way { packets: sender, bell: bell.clone(), is_new: false });
        taps.push(Taps { packets, next: None, bell });
    }
    Ok((Copies(ways), taps))
}

impl Copies {
    /// No workers.
    pub(crate) fn none() -> Self {
        Self(Vec::new())
    }

    /// Whether there are no workers.
    pub(crate) fn is_nobody(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts a packet into its worker's queue; false if there is no room or no worker.
    pub(crate) fn send(&mut self, tapped: Tapped) -> bool {
        let worker = worker_of(tapped.call, self.0.len());
        let Some(way) = self.0.get_mut(worker) else { return false };
        match way.packets.try_send(tapped) {
            Ok(()) => {
                way.is_new = true;
                true
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }

    /// Wakes the workers that sleep and got something; once a turn, not once a packet.
    pub(crate) fn ring(&mut self) {
        for way in &mut self.0 {
            if std::mem::take(&mut way.is_new) {
                fence(Ordering::SeqCst);
                if way.bell.asleep.swap(false, Ordering::Relaxed) {
                    let _ = way.bell.wake.write(1); // As in Ringer::ring.
                }
            }
        }
    }
}

/// What a worker made of a held packet.
pub(crate) struct Processed {
    pub(crate) call: CallId,
    pub(crate) leg: LegId,
    pub(crate) index: u64,
    pub(crate) payload: Payload,
}

/// Processed packets that wait for a shard; more are dropped. It looks each millisecond.
pub(crate) const MOST_PROCESSED: usize = 512;
