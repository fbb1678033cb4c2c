//! The media plane: shards that own sockets and legs, and the handle by which the service speaks to them.
//!
//! Commands go in, [`Report`]s come out; packets never leave a shard's thread. Nothing of WebRTC (SDP text apart) is
//! seen outside this room. It knows nothing of money, plans or tokens.

mod calls;
pub mod client;
mod demux;
mod dtls;
mod ice;
mod leg;
mod sctp;
mod sdp;
mod settings;
mod shard;
mod socket;
mod stats;
mod tcp;

pub use settings::{Settings, own_address};
pub use stats::ShardStats;

use crate::call::{Medium, Quality, Side};
use crate::clock::{Clock, Moment, Span};
use crate::ids::{CallId, LegId};
use calls::Calls;
use dtls::Identity;
use nix::sys::eventfd::{EfdFlags, EventFd};
use shard::{Command, Shard};
use stats::Shown;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
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

/// The handle of the media plane. Clones speak to the same shards; none of its calls waits for a packet.
#[derive(Clone)]
pub struct Media {
    shards: Arc<[Door]>,
}

/// How to reach a shard.
struct Door {
    commands: SyncSender<Command>,
    wake: Arc<EventFd>,
    shown: Arc<Shown>,
    address: SocketAddr,
}

/// Ends the media plane: when dropped, all legs say goodbye (DTLS `close_notify`) and the threads are joined.
pub struct JoinGuard {
    shards: Arc<[Door]>,
    threads: Vec<JoinHandle<()>>,
}

impl Drop for JoinGuard {
    fn drop(&mut self) {
        for door in self.shards.iter() {
            door.send(Command::Leave);
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

/// Commands a shard keeps waiting; joins beyond are refused.
const COMMAND_QUEUE: usize = 4096;

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
    let mut doors = Vec::new();
    let mut threads = Vec::new();
    for (index, (bound, listener)) in sockets.into_iter().enumerate() {
        let address = bound.local_addr().map_err(|error| machine(&error))?;
        let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
        let wake = Arc::new(EventFd::from_flags(flags).map_err(|error| machine(&error))?);
        let (commands, queue) = sync_channel(COMMAND_QUEUE);
        let shown = Arc::new(Shown::default());
        let calls = Calls::new(identity.clone(), clock, settings.candidates(address), settings.tcp, settings.max_legs);
        let (reports, waker, show) = (reports.clone(), wake.clone(), shown.clone());
        let body = move || {
            let _all_or_nothing = AbortOnPanic;
            let links = listener.map(tcp::Links::new).transpose();
            match socket::Socket::new(bound).and_then(|socket| Ok((socket, links?))) {
                Ok((socket, links)) => Shard { calls, socket, links, commands: queue, wake: waker, reports, shown: show, clock }.run(),
                // It was bound a moment ago; without its address there is nothing to serve.
                Err(error) => tracing::error!(%error, "media shard {index} cannot use its socket: {error}"),
            }
        };
        let thread = std::thread::Builder::new().name(format!("media-{index}")).spawn(body).map_err(|error| machine(&error))?;
        threads.push(thread);
        doors.push(Door { commands, wake, shown, address });
    }
    let shards: Arc<[Door]> = doors.into();
    Ok((Media { shards: shards.clone() }, JoinGuard { shards, threads }))
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
    /// Answers an offer with SDP and makes a leg of it. The side's earlier leg works until this one is connected.
    pub fn open(&self, open: OpenLeg) -> oneshot::Receiver<Result<String, OfferError>> {
        self.ask(open.call, |reply| Command::Open(Box::new(open), reply))
    }

    /// Restarts ICE of a leg by a new full offer; answers with SDP. Same certificate and streams, or it is refused.
    pub fn restart(&self, call: CallId, leg: LegId, offer: String) -> oneshot::Receiver<Result<String, OfferError>> {
        self.ask(call, |reply| Command::Restart(call, leg, offer, reply))
    }

    /// Takes an SDP fragment (RFC 9725 section 4.3): candidates give an empty text, new credentials restart ICE and give
    /// the fragment to reply.
    pub fn patch(&self, call: CallId, leg: LegId, fragment: String) -> oneshot::Receiver<Result<String, OfferError>> {
        self.ask(call, |reply| Command::Patch(call, leg, fragment, reply))
    }

    /// Ends a call: nothing of it is sent on from the next turn of its shard (a millisecond). Its legs stay two seconds for
    /// texts on their data channels, then close.
    pub fn stop(&self, call: CallId) {
        self.door(call).send(Command::Stop(call));
    }

    /// Hangs one leg up.
    pub fn close_leg(&self, call: CallId, leg: LegId) {
        self.door(call).send(Command::CloseLeg(call, leg));
    }

    /// Sends a text (at most 16 KB) on a leg's data channel `control`. It waits, with at most 63 others, until the channel
    /// is open, and is dropped if that never happens or the shard is swamped.
    pub fn control(&self, call: CallId, leg: LegId, text: String) {
        self.door(call).try_send(Command::Control(call, leg, text));
    }

    /// Figures of each shard, up to 100 ms old.
    pub fn stats(&self) -> Vec<ShardStats> {
        self.shards.iter().map(|door| door.shown.read()).collect()
    }

    /// The bound address of each shard.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.shards.iter().map(|door| door.address).collect()
    }

    fn ask(&self, call: CallId, command: impl FnOnce(shard::Reply) -> Command) -> oneshot::Receiver<Result<String, OfferError>> {
        let (reply, answer) = oneshot::channel();
        if let Some(Command::Open(_, reply) | Command::Restart(_, _, _, reply) | Command::Patch(_, _, _, reply)) =
            self.door(call).try_send(command(reply))
        {
            // The asker may be gone already.
            let _ = reply.send(Err(OfferError::Overloaded));
        }
        answer
    }

    /// All legs of a call are on one shard, found by the call's name.
    fn door(&self, call: CallId) -> &Door {
        let mut hasher = DefaultHasher::new();
        call.hash(&mut hasher);
        let count = self.shards.len() as u64;
        // Less than the number of shards, so it fits.
        &self.shards[(hasher.finish() % count) as usize]
    }
}

impl Door {
    /// For what must not be lost: waits for the shard's next turn if the queue is full.
    fn send(&self, command: Command) {
        // An error means that the shard has ended, and its calls with it.
        if self.commands.send(command).is_ok() {
            self.ring();
        }
    }

    /// Gives the command back if the queue is full.
    fn try_send(&self, command: Command) -> Option<Command> {
        match self.commands.try_send(command) {
            Ok(()) => {
                self.ring();
                None
            }
            Err(TrySendError::Full(command) | TrySendError::Disconnected(command)) => Some(command),
        }
    }

    fn ring(&self) {
        let _ = self.wake.write(1); // Fails only when the counter is full, and then the shard is awake.
    }
}
