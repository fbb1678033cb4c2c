//! The media plane: shards that own sockets and legs, and the handle by which the service speaks to them.
//!
//! Commands go in, [`Report`]s come out; packets never leave a shard's thread. Nothing of WebRTC (SDP text apart) is
//! seen outside this room. It knows nothing of money, plans or tokens.

mod budget;
mod calls;
mod chunks;
pub mod client;
mod demux;
mod door;
mod dtls;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod hold;
mod ice;
mod leg;
mod placement;
mod play;
mod sctp;
mod sdp;
mod settings;
mod shard;
mod socket;
#[doc(hidden)]
pub mod stages;
mod stats;
mod tap;
mod tcp;

pub use play::{Frames, Play};
pub use settings::{Settings, own_address};
pub use stats::ShardStats;
pub use tap::{Payload, Purpose, Ringer, Tapped, Taps, worker_of};

use crate::call::{Medium, Quality, Side};
use crate::clock::{Clock, Moment, Span};
use crate::ids::{CallId, LegId};
use calls::Calls;
use door::{Door, MOST_ASKS};
use dtls::Identity;
use nix::sys::eventfd::{EfdFlags, EventFd};
use placement::{Forgotten, Placement, Room};
use shard::gate::Gate;
use shard::{Order, Question, Shard};
use stats::Shown;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::mpsc::{Receiver, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use tap::{MOST_PROCESSED, Processed};
use tokio::sync::{mpsc, oneshot};

/// A request to answer an offer and make a leg of it.
#[derive(Clone, Debug)]
pub struct OpenLeg {
    /// The call; all its legs live on one shard.
    pub call: CallId,
    /// Whose leg.
    pub side: Side,
    /// The new leg's name.
    pub leg: LegId,
    /// The page's SDP offer.
    pub offer: String,
    /// Whether the call carries video.
    pub medium: Medium,
    /// Without any proof of life for this long the leg is reported lost.
    pub media_timeout: Span,
    /// The same, for a leg from which only RTCP or STUN is expected.
    pub quiet_timeout: Span,
    /// The side must send audio to count as there (the companion).
    pub audio_required: bool,
}

/// Why an offer cannot be answered. Its text says what an acceptable offer has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// Not SDP.
    #[error("the offer is not SDP: {0}")]
    Syntax(String),
    /// SDP that lacks something a leg needs.
    #[error("the offer {0}")]
    Unacceptable(&'static str),
    /// An ICE restart of a leg that is gone.
    #[error("this leg is gone; join again")]
    Gone,
    /// The shard has more work than it can carry.
    #[error("the media plane is full; try again later")]
    Overloaded,
}

/// What a shard saw. Instants are the shard's own.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// ICE and DTLS are up on this leg; the side's earlier leg, if any, is closed (and told nothing here).
    Connected { call: CallId, side: Side, leg: LegId, at: Moment },
    /// The first audio packet from `from` was sent on to the other side, whose leg is connected.
    AudioReached { call: CallId, from: Side, at: Moment },
    /// No proof of life from this leg since `since`.
    Lost { call: CallId, side: Side, leg: LegId, since: Moment },
    /// A lost leg is heard again (for a side that must send audio: its audio is).
    Back { call: CallId, side: Side, leg: LegId, at: Moment },
    /// A leg that should send has been silent since `since`, for a second: too short to be lost.
    Faltered { call: CallId, side: Side, leg: LegId, since: Moment },
    /// A leg that faltered is heard again before it was lost.
    Steadied { call: CallId, side: Side, leg: LegId, at: Moment },
    /// The page closed its transport (DTLS close_notify). Proof of life ended at `since`.
    Hushed { call: CallId, side: Side, leg: LegId, since: Moment },
    /// A text arrived on the leg's data channel `control`.
    Control { call: CallId, side: Side, leg: LegId, text: String },
    /// Every 2 s while a leg is neither faltering nor lost: its last proof of life (for a side that must send audio: of its audio).
    Alive { call: CallId, side: Side, leg: LegId, at: Moment },
    /// Every 10 s, and once at the end of a leg: totals since the side's first leg.
    Measured { call: CallId, side: Side, quality: Quality },
    /// A leg never came up within 30 s of its offer, or its DTLS failed for good.
    Failed { call: CallId, side: Side, leg: LegId, why: &'static str },
    /// This side cannot send or receive video in a video call (no VP8 or no transport-cc); both pages say so.
    AudioOnly { call: CallId, side: Side, leg: LegId },
}

/// Why the media plane did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken, not ours or not allowed.
    #[error("cannot listen for media on udp {address}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The same port is not to be had for TCP.
    #[error("cannot listen for media on tcp {address}; the setting media.tcp turns it off")]
    BindTcp {
        /// Where.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The machine has no more threads, descriptors or randomness.
    #[error("cannot start the media plane: {0}")]
    Machine(String),
}

/// The handle of the media plane. Clones speak to the same shards; none of its calls waits for a shard.
#[derive(Clone)]
pub struct Media {
    shards: Arc<[Door]>,
    places: Arc<Places>,
    clock: Clock,
}

/// Where calls are. The lock is among those who hold the handle and held for a look-up; no media thread takes it.
struct Places {
    inner: Mutex<Inner>,
}

struct Inner {
    placement: Placement,
    forgotten: Receiver<Forgotten>,
    /// Calls that found all shards full.
    refused: u64,
}

/// Ends the media plane: when dropped, all legs say goodbye (DTLS `close_notify`) and the threads are joined.
pub struct JoinGuard {
    shards: Arc<[Door]>,
    threads: Vec<JoinHandle<()>>,
}

impl Drop for JoinGuard {
    fn drop(&mut self) {
        for door in self.shards.iter() {
            door.order(Order::Leave);
        }
        for thread in self.threads.drain(..) {
            // A shard that panicked has said so on standard error; there is nothing left to end.
            let _ = thread.join();
        }
    }
}

/// Ends the process with a shard that panics: its calls would go on being billed, and nobody would notice that they are dead.
/// The next start settles them at their last fact.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

/// Binds one socket for each shard and starts their threads. `reports` should hold some hundreds: state reports wait for
/// room, so none is lost, but texts and quality figures are dropped while it is full.
pub fn start(settings: Settings, clock: Clock, reports: mpsc::Sender<Report>) -> Result<(Media, JoinGuard), StartError> {
    let machine = |error: &dyn std::fmt::Display| StartError::Machine(error.to_string());
    let identity = Arc::new(Identity::generate().map_err(|error| machine(&error))?);
    // All ports first: whoever cannot have them all should not answer on some.
    let mut sockets = Vec::new();
    for index in 0..settings.shards.max(1) {
        let step = u16::try_from(index).ok().filter(|_| settings.udp.port() != 0).unwrap_or(0);
        let port = settings.udp.port().checked_add(step).ok_or_else(|| machine(&"there are more shards than ports"))?;
        let address = SocketAddr::new(settings.udp.ip(), port);
        sockets.push(bind(address, &settings)?);
    }
    say_what_was_granted(&sockets, settings.socket_buffer);
    let limit = f64::from(settings.max_load_percent) / 100.0;
    let (forget, forgotten) = channel();
    let mut doors = Vec::new();
    let mut threads = Vec::new();
    for (index, (bound, listener)) in sockets.into_iter().enumerate() {
        let address = bound.local_addr().map_err(|error| machine(&error))?;
        let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
        let wake = Arc::new(EventFd::from_flags(flags).map_err(|error| machine(&error))?);
        let ((orders, orders_in), (asks, asks_in)) = (channel(), sync_channel(MOST_ASKS));
        let (processed, processed_in) = sync_channel(MOST_PROCESSED);
        let shown = Arc::new(Shown::default());
        let calls = Calls::new(identity.clone(), clock, settings.candidates(address), settings.tcp);
        let gate = Gate::new(limit, settings.max_legs);
        // Before its first tick it has room too.
        shown.show_outlook(&gate.outlook_at_rest());
        let (reports, waker, show, forgotten) = (reports.clone(), wake.clone(), shown.clone(), forget.clone());
        let body = move || {
            let _all_or_nothing = AbortOnPanic;
            let links = listener.map(tcp::Links::new).transpose();
            match socket::Socket::new(bound).and_then(|socket| Ok((socket, links?))) {
                Ok((socket, links)) => {
                    let (orders, asks, processed) = (orders_in, asks_in, processed_in);
                    Shard { calls, gate, socket, links, orders, asks, processed, wake: waker, reports, forgotten, shown: show, clock }
                        .run();
                }
                // It was bound a moment ago; without its address there is nothing to serve.
                Err(error) => tracing::error!(%error, "media shard {index} cannot use its socket: {error}"),
            }
        };
        let thread = std::thread::Builder::new().name(format!("media-{index}")).spawn(body).map_err(|error| machine(&error))?;
        threads.push(thread);
        doors.push(Door { orders, asks, processed, wake, shown, address });
    }
    let shards: Arc<[Door]> = doors.into();
    let places = Arc::new(Places { inner: Mutex::new(Inner { placement: Placement::new(shards.len()), forgotten, refused: 0 }) });
    Ok((Media { shards: shards.clone(), places, clock }, JoinGuard { shards, threads }))
}

/// A kernel that grants much less loses packets in bursts; that is the operator's to change.
fn say_what_was_granted(sockets: &[(UdpSocket, Option<TcpListener>)], asked: usize) {
    let Some(Ok(granted)) = sockets.first().map(|(socket, _)| socket::granted(socket)) else { return };
    if granted < asked / 2 {
        tracing::warn!(
            granted,
            asked,
            "media sockets buffer {granted} octets instead of {asked}, so bursts may be lost; `sysctl -w net.core.rmem_max={asked} \
             net.core.wmem_max={asked}` (or CAP_NET_ADMIN) allows more"
        );
    }
}

/// A shard's socket, and the listener beside it.
fn bind(address: SocketAddr, settings: &Settings) -> Result<(UdpSocket, Option<TcpListener>), StartError> {
    // A port that is free for UDP may be taken for TCP: where any will do, another is tried.
    let mut attempts = if address.port() == 0 { 16 } else { 1 };
    loop {
        let bound = socket::bind(address, settings.socket_buffer).map_err(|source| StartError::Bind { address, source })?;
        if !settings.tcp {
            return Ok((bound, None));
        }
        let same = bound.local_addr().map_err(|source| StartError::Bind { address, source })?;
        attempts -= 1;
        match tcp::listen(same) {
            Ok(listener) => return Ok((bound, Some(listener))),
            Err(source) if attempts == 0 => return Err(StartError::BindTcp { address: same, source }),
            Err(_) => (),
        }
    }
}

impl Media {
    /// Answers an offer with SDP and makes a leg of it. The side's earlier leg works until this one is connected. A new call goes to the
    /// shard with the least load; [`OfferError::Overloaded`] if all are full, while legs of calls that are on are still taken.
    pub fn open(&self, open: OpenLeg) -> oneshot::Receiver<Result<String, OfferError>> {
        let call = open.call;
        let placed = {
            let mut inner = self.places.current();
            let placed = inner.placement.open(call, &self.rooms());
            inner.refused += u64::from(placed.is_none());
            placed
        };
        let (reply, answer) = oneshot::channel();
        let Some(shard) = placed else {
            let _ = reply.send(Err(OfferError::Overloaded)); // Whoever asked may have gone.
            return answer;
        };
        if !self.shards[shard].ask(Question::Open(Box::new(open)), self.clock.now(), reply) {
            self.places.current().placement.forget(Forgotten { call, opens: 1 });
        }
        answer
    }

    /// Restarts ICE of a leg by a new full offer; answers with SDP. Same certificate and streams, or it is refused.
    pub fn restart(&self, call: CallId, leg: LegId, offer: String) -> oneshot::Receiver<Result<String, OfferError>> {
        self.ask_of(call, Question::Restart(call, leg, offer))
    }

    /// Takes an SDP fragment (RFC 9725 section 4.3): candidates give an empty text, new credentials restart ICE and give
    /// the fragment to reply.
    pub fn patch(&self, call: CallId, leg: LegId, fragment: String) -> oneshot::Receiver<Result<String, OfferError>> {
        self.ask_of(call, Question::Patch(call, leg, fragment))
    }

    /// Ends a call: nothing of it is sent on from the next turn of its shard (a millisecond). Its legs stay two seconds for
    /// texts on their data channels, then close.
    pub fn stop(&self, call: CallId) {
        if let Some(door) = self.door(call) {
            door.order(Order::Stop(call));
        }
    }

    /// Hangs one leg up.
    pub fn close_leg(&self, call: CallId, leg: LegId) {
        if let Some(door) = self.door(call) {
            door.order(Order::CloseLeg(call, leg));
        }
    }

    /// Sends a text (at most 16 KB) on a leg's data channel `control`. It waits, with at most 63 others, until the channel
    /// is open, and is dropped if that never happens or the shard is swamped.
    pub fn control(&self, call: CallId, leg: LegId, text: String) {
        if let Some(door) = self.door(call) {
            door.order(Order::Control(call, leg, text));
        }
    }

    /// Makes the queues of so many workers and hands out their ends; to be called once, those of an earlier call hear nothing more. Without
    /// it taps have no effect. Fails when the machine has no more descriptors.
    pub fn taps(&self, workers: usize) -> Result<Vec<Taps>, StartError> {
        let (copies, taps) = tap::queues(workers).map_err(|error| StartError::Machine(error.to_string()))?;
        for door in self.shards.iter() {
            door.order(Order::Copies(copies.clone()));
        }
        Ok(taps)
    }

    /// Copies a side's voice to the worker of its call from now on, over all its legs, until [`untap`](Self::untap) or the call's end; called
    /// again, changes the purpose. The last word counts: whoever has two uses for one voice says the stronger one. Without
    /// effect on a call that has no leg yet, or is over.
    pub fn tap(&self, call: CallId, side: Side, purpose: Purpose) {
        if let Some(door) = self.door(call) {
            door.order(Order::Tap(call, side, Some(purpose)));
        }
    }

    /// Ends a tap: the voice is forwarded as it is, and nobody gets a copy.
    pub fn untap(&self, call: CallId, side: Side) {
        if let Some(door) = self.door(call) {
            door.order(Order::Tap(call, side, None));
        }
    }

    /// Gives a side's own voice back after so long, whatever its worker does: from [`Purpose::Replace`] to [`Purpose::Analyse`], unless
    /// somebody said so before. A new [`tap`](Self::tap) takes it back. For a landing that is cancelled while its worker may be late or dead.
    pub fn release(&self, call: CallId, side: Side, within: Span) {
        if let Some(door) = self.door(call) {
            door.order(Order::Release(call, side, within));
        }
    }

    /// Sends this Opus packet in place of the held packet `index` of a leg ([`Tapped::held`]), with the numbers that one would have got.
    /// The shard drops it, and counts that, if the packet was not held, was replaced already or came more than half a second ago. False
    /// if the shard has no room for it.
    pub fn replace(&self, call: CallId, leg: LegId, index: u64, payload: &[u8]) -> bool {
        let Some(door) = self.door(call) else { return false };
        let taken = door.processed.try_send(Processed { call, leg, index, payload: payload.into() }).is_ok();
        door.ring();
        taken
    }

    /// Plays to a side, on the second audio track of its page, whatever leg that has; a page without such a track hears nothing. Without
    /// effect on a call that has no leg yet, or is over, and while the shard is swamped.
    pub fn play(&self, call: CallId, side: Side, play: Play) {
        if let Some(door) = self.door(call) {
            door.order(Order::Play(call, side, play));
        }
    }

    /// Figures of each shard, up to 100 ms old.
    pub fn stats(&self) -> Vec<ShardStats> {
        self.shards.iter().map(|door| door.shown.read()).collect()
    }

    /// The bound address of each shard.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.shards.iter().map(|door| door.address).collect()
    }

    /// New calls there is room for now; none while all shards are full.
    pub fn room(&self) -> usize {
        self.places.current().placement.room(&self.rooms())
    }

    /// Calls that have, or lately had, legs on some shard.
    pub fn calls(&self) -> usize {
        self.places.current().placement.len()
    }

    /// The index of the shard a call is on.
    pub fn shard_of(&self, call: CallId) -> Option<usize> {
        self.places.current().placement.of(call)
    }

    /// Joins refused since the start because no shard had room; those that a shard itself refused are in its figures.
    pub fn refused_calls(&self) -> u64 {
        self.places.current().refused
    }

    fn rooms(&self) -> Vec<Room> {
        self.shards.iter().map(|door| door.shown.room()).collect()
    }

    fn door(&self, call: CallId) -> Option<&Door> {
        self.shard_of(call).map(|shard| &self.shards[shard])
    }

    fn ask_of(&self, call: CallId, question: Question) -> oneshot::Receiver<Result<String, OfferError>> {
        let (reply, answer) = oneshot::channel();
        match self.door(call) {
            // The asker may be gone already, here and below.
            None => drop(reply.send(Err(OfferError::Gone))),
            Some(door) => drop(door.ask(question, self.clock.now(), reply)),
        }
        answer
    }
}

impl Places {
    /// The map as the shards have it by now.
    fn current(&self) -> MutexGuard<'_, Inner> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        while let Ok(note) = inner.forgotten.try_recv() {
            inner.placement.forget(note);
        }
        inner
    }
}
