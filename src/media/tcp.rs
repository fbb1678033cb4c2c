//! ICE over TCP, for networks that block UDP: a listener on the shard's own port and the connections pages opened to it
//! (RFC 6544, passive), datagrams framed by RFC 4571.
//!
//! Everything is non-blocking and happens on the shard's thread. It knows nothing of legs: whole datagrams come out with
//! the [`Path`] of their connection, and the shard says which path proved itself. Invariant: strangers are few, each may
//! send little and only STUN, and no reader, however slow, makes us keep more than a tenth of a second for it.

mod frame;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;
mod outgoing;

use super::demux::Kind;
use super::socket::{Link, Path, SLOT, Way, limit_unsent};
use frame::Frames;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{MsgFlags, send, setsockopt, sockopt};
use outgoing::Outgoing;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

/// Connections of a shard.
const MOST: usize = 4096;
/// Connections on which nobody has proved anything yet, in all and from one address (IPv6: one /64). The oldest goes for
/// the next: a page proves itself within a round trip.
const STRANGERS: usize = 256;
const STRANGERS_OF_ONE: usize = 32;
/// How long a stranger stays, and how many datagrams it may send.
const STRANGER_LIFE: Duration = Duration::from_secs(5);
const STRANGER_DATAGRAMS: u8 = 16;
/// A page that uses its connection asks for consent each 2.5 s, and keeps a spare one alive each 25 s or so.
const IDLE_LIFE: Duration = Duration::from_secs(60);
/// Between two looks at all connections.
const SWEEP: Duration = Duration::from_secs(1);
/// Octets taken from a connection before others get their turn.
const GULP: usize = 4096;
/// Events taken before packets get their turn.
const EVENTS: usize = 64;
/// Connections accepted between two sweeps (100 ms): whoever knocks costs as much as some packets, and the kernel lets the
/// rest wait.
const ACCEPTS: usize = 64;
/// A stranger so young may be a page whose first request is on its way: it does not give way, the newcomer does.
const STRANGER_CHANCE: Duration = Duration::from_millis(500);
/// Octets the kernel may hold of a connection, each way: 100 ms of 10 Mbit/s.
const KERNEL_ROOM: usize = 128 * 1024;
/// Above so many octets not sent yet the kernel takes no more: what is behind them is still ours to leave out.
const UNSENT: u32 = 2048;
/// The listener's mark among the events.
const LISTENER: u64 = u64::MAX;

struct Connection {
    stream: TcpStream,
    path: Path,
    frames: Frames,
    outgoing: Outgoing,
    /// The kernel takes no more; an event will tell when it does.
    is_stuck: bool,
    /// Something was said since the last flush.
    is_dirty: bool,
    /// Datagrams it may still send before it has proved that it belongs to a leg; none once it has.
    allowance: Option<u8>,
    opened: Instant,
    heard: Instant,
}

/// A shard's listener and its connections.
pub(crate) struct Links {
    listener: TcpListener,
    epoll: Epoll,
    /// The listener is not listened to until the next sweep: enough came in, or the machine has no more descriptors.
    is_deaf: bool,
    /// How many more may come in until the next sweep.
    accepts: usize,
    connections: Vec<Option<Connection>>,
    free: Vec<u32>,
    serial: u32,
    /// Oldest first. Some may have proved themselves or gone meanwhile.
    strangers: VecDeque<Link>,
    dirty: Vec<Link>,
    /// Connections that have something to read.
    ready: Vec<Link>,
    input: Box<[u8; GULP]>,
    /// What of `input` was not taken yet, and whose it is.
    pending: std::ops::Range<usize>,
    reading: Option<Link>,
    swept: Option<Instant>,
    /// Connections that are closed; their addresses are to be forgotten.
    pub(crate) gone: Vec<Path>,
    /// Datagrams that a slow reader did not get.
    pub(crate) left_out: u64,
}

/// Opens the listener. Done before the shard's thread starts, so that a taken port is told to the caller.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    // What is accepted inherits these (tcp(7), socket(7)). The kernel grants at most its own limits; that is not an error.
    setsockopt(&listener, sockopt::TcpNoDelay, &true)?;
    setsockopt(&listener, sockopt::RcvBuf, &KERNEL_ROOM)?;
    setsockopt(&listener, sockopt::SndBuf, &KERNEL_ROOM)?;
    limit_unsent(listener.as_fd(), UNSENT)?;
    Ok(listener)
}

impl Links {
    pub(crate) fn new(listener: TcpListener) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
        Ok(Self {
            listener,
            epoll,
            is_deaf: false,
            accepts: ACCEPTS,
            connections: Vec::new(),
            free: Vec::new(),
            serial: 0,
            strangers: VecDeque::new(),
            dirty: Vec::new(),
            ready: Vec::with_capacity(EVENTS),
            input: Box::new([0; GULP]),
            pending: 0..0,
            reading: None,
            swept: None,
            gone: Vec::new(),
            left_out: 0,
        })
    }

    /// For `poll`: readable when a look is worth it.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }

    /// Whether there is any connection.
    pub(crate) fn any(&self) -> bool {
        self.connections.len() > self.free.len()
    }

    /// Accepts who knocks, sends on where the kernel takes more, and notes who has something to say.
    pub(crate) fn look(&mut self, now: Instant) {
        let mut events = [EpollEvent::empty(); EVENTS];
        let count = self.epoll.wait(&mut events, EpollTimeout::ZERO).unwrap_or(0);
        for event in &events[..count] {
            if event.data() == LISTENER {
                self.accept(now);
                continue;
            }
            let link = unpack(event.data());
            if event.events().contains(EpollFlags::EPOLLOUT) {
                self.flush_one(link, now);
            }
            // Errors and ends are learned by reading.
            if event.events().intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR) {
                self.ready.push(link);
            }
        }
    }

    /// Reads from the next connection that has something to say, once. False when each had its turn.
    pub(crate) fn read(&mut self, now: Instant) -> bool {
        while let Some(link) = self.ready.pop() {
            let Links { connections, input, .. } = self;
            let Some(connection) = find(connections, link) else { continue };
            match connection.stream.read(&mut input[..]) {
                Ok(0) => self.close(link),
                Ok(count) => {
                    connection.heard = now;
                    self.pending = 0..count;
                    self.reading = Some(link);
                    return true;
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => (),
                Err(_) => self.close(link),
            }
        }
        false
    }

    /// The next whole datagram of what was read, laid into `slot`: its length and its path. None when there is no more.
    pub(crate) fn datagram(&mut self, slot: &mut [u8; SLOT]) -> Option<(usize, Path)> {
        let link = self.reading?;
        let Links { connections, input, pending, .. } = self;
        let connection = find(connections, link)?;
        let mut rest = &input[pending.clone()];
        let taken = connection.frames.next(&mut rest, slot);
        pending.start = pending.end - rest.len();
        match taken {
            Ok(Some(length)) if connection.may_say(Kind::of(&slot[..length])) => Some((length, connection.path)),
            Ok(None) => {
                self.reading = None;
                None
            }
            Ok(Some(_)) | Err(frame::TooLong) => {
                self.close(link);
                None
            }
        }
    }

    /// Whether a path is a connection on which nothing was proved yet.
    pub(crate) fn is_stranger(&mut self, path: Path) -> bool {
        let Way::Tcp(link) = path.way else { return false };
        self.connection(link).is_some_and(|connection| connection.allowance.is_some())
    }

    /// Notes that a connection belongs to a leg.
    pub(crate) fn admit(&mut self, path: Path) {
        if let Way::Tcp(link) = path.way
            && let Some(connection) = self.connection(link)
        {
            connection.allowance = None;
        }
    }

    /// Says a datagram on a connection with the next [`flush`](Self::flush), if its reader is fast enough. On one that is
    /// closed it is lost, as on a way that has just broken.
    pub(crate) fn send(&mut self, link: Link, datagram: &[u8], now: Instant) {
        let Links { connections, dirty, left_out, .. } = self;
        let Some(connection) = find(connections, link) else { return };
        if connection.is_stuck {
            *left_out += connection.outgoing.expire(now);
        }
        *left_out += connection.outgoing.push(datagram, now);
        if !connection.is_dirty && !connection.is_stuck {
            connection.is_dirty = true;
            dirty.push(link);
        }
    }

    /// Hands what was said to the kernel: one call for each connection.
    pub(crate) fn flush(&mut self, now: Instant) {
        while let Some(link) = self.dirty.pop() {
            self.flush_one(link, now);
        }
    }

    fn flush_one(&mut self, link: Link, now: Instant) {
        let Links { connections, epoll, left_out, .. } = self;
        let Some(connection) = find(connections, link) else { return };
        connection.is_dirty = false;
        let was_stuck = std::mem::take(&mut connection.is_stuck);
        *left_out += connection.outgoing.expire(now);
        while !connection.outgoing.waiting().is_empty() {
            // The end of a record keeps the kernel from filling up the last segment: its limit counts from one to the next.
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_EOR;
            match send(connection.stream.as_raw_fd(), connection.outgoing.waiting(), flags) {
                Ok(count) => connection.outgoing.sent(count),
                Err(Errno::EINTR) => (),
                Err(Errno::EAGAIN) => {
                    connection.is_stuck = true;
                    break;
                }
                Err(_) => return self.close(link),
            }
        }
        let wanted = if connection.is_stuck { EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT } else { EpollFlags::EPOLLIN };
        if connection.is_stuck != was_stuck && epoll.modify(&connection.stream, &mut EpollEvent::new(wanted, pack(link))).is_err() {
            self.close(link);
        }
    }

    /// Lets others in again, closes strangers that stayed too long and, each second, connections that are silent or whose leg
    /// is gone.
    pub(crate) fn sweep(&mut self, is_known: impl Fn(Path) -> bool, now: Instant) {
        self.accepts = ACCEPTS;
        if self.is_deaf {
            self.is_deaf = self.epoll.modify(&self.listener, &mut EpollEvent::new(EpollFlags::EPOLLIN, LISTENER)).is_err();
        }
        while let Some(link) = self.strangers.front().copied() {
            match find(&mut self.connections, link) {
                Some(connection) if connection.allowance.is_some() => {
                    if now.saturating_duration_since(connection.opened) < STRANGER_LIFE {
                        break;
                    }
                    self.close(link);
                }
                _ => (),
            }
            self.strangers.pop_front();
        }
        if self.swept.is_some_and(|swept| now.saturating_duration_since(swept) < SWEEP) {
            return;
        }
        self.swept = Some(now);
        for place in 0..self.connections.len() {
            let Some(connection) = &self.connections[place] else { continue };
            let Way::Tcp(link) = connection.path.way else { continue };
            let is_idle = now.saturating_duration_since(connection.heard) >= IDLE_LIFE;
            if is_idle || connection.allowance.is_none() && !is_known(connection.path) {
                self.close(link);
            }
        }
    }

    fn accept(&mut self, now: Instant) {
        while self.accepts > 0 {
            self.accepts -= 1;
            match self.listener.accept() {
                Ok((stream, peer)) => {
                    if self.connections.len() - self.free.len() < MOST {
                        self.welcome(stream, peer, now);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // It went away while it waited.
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => (),
                // No descriptors or no memory.
                Err(_) => break,
            }
        }
        // Those who wait would wake us again at once.
        self.is_deaf = self.epoll.modify(&self.listener, &mut EpollEvent::new(EpollFlags::empty(), LISTENER)).is_ok();
    }

    fn welcome(&mut self, stream: TcpStream, peer: SocketAddr, now: Instant) {
        if !self.make_room(peer.ip(), now) || stream.set_nonblocking(true).is_err() {
            return;
        }
        let place = self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
            // At most MOST, so it fits.
            (self.connections.len() - 1) as u32
        });
        self.serial = self.serial.wrapping_add(1);
        let link = Link { place, serial: self.serial };
        if self.epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, pack(link))).is_err() {
            self.free.push(place);
            return;
        }
        self.connections[place as usize] = Some(Connection {
            stream,
            path: Path { peer, local: None, way: Way::Tcp(link) },
            frames: Frames::default(),
            outgoing: Outgoing::default(),
            is_stuck: false,
            is_dirty: false,
            allowance: Some(STRANGER_DATAGRAMS),
            opened: now,
            heard: now,
        });
        self.strangers.push_back(link);
    }

    /// Sees to it that one more stranger from this address is not too many; false if it would be.
    fn make_room(&mut self, ip: IpAddr, now: Instant) -> bool {
        let Links { connections, strangers, .. } = self;
        strangers.retain(|link| find(connections, *link).is_some_and(|connection| connection.allowance.is_some()));
        let network = network(ip);
        let mut of_one = strangers
            .iter()
            .filter(|link| find(connections, **link).is_some_and(|connection| network == self::network(connection.path.peer.ip())));
        let oldest = of_one.next().copied();
        let too_many_of_one = of_one.count() + 1 >= STRANGERS_OF_ONE;
        let leaver = if too_many_of_one {
            oldest
        } else if strangers.len() >= STRANGERS {
            strangers.front().copied()
        } else {
            None
        };
        let Some(link) = leaver else { return true };
        let opened = self.connection(link).map(|connection| connection.opened);
        if opened.is_some_and(|opened| now.saturating_duration_since(opened) < STRANGER_CHANCE) {
            return false;
        }
        self.close(link);
        true
    }

    /// Ends a connection; its address is noted in `gone`. Closing the descriptor takes it out of `epoll`.
    fn close(&mut self, link: Link) {
        if let Some(place) = self.connections.get_mut(link.place as usize)
            && let Some(connection) = place.take_if(|connection| connection.path.way == Way::Tcp(link))
        {
            self.free.push(link.place);
            self.gone.push(connection.path);
        }
    }

    fn connection(&mut self, link: Link) -> Option<&mut Connection> {
        find(&mut self.connections, link)
    }
}

impl Connection {
    /// Whether a datagram of this kind may come now: from a stranger a few requests, and nothing else.
    fn may_say(&mut self, kind: Kind) -> bool {
        match &mut self.allowance {
            None => true,
            Some(left) => {
                let may = kind == Kind::Stun && *left > 0;
                *left = left.saturating_sub(1);
                may
            }
        }
    }
}

/// The connection of this name, if it still is.
fn find(connections: &mut [Option<Connection>], link: Link) -> Option<&mut Connection> {
    connections.get_mut(link.place as usize)?.as_mut().filter(|connection| connection.path.way == Way::Tcp(link))
}

/// What belongs to one subscriber.
fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

fn pack(link: Link) -> u64 {
    u64::from(link.place) << 32 | u64::from(link.serial)
}

fn unpack(mark: u64) -> Link {
    Link { place: (mark >> 32) as u32, serial: mark as u32 }
}

#[cfg(test)]
mod tests;
