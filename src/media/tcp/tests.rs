//! Connections of a listener on loopback, with time moved by hand.
#![allow(clippy::disallowed_methods, reason = "an instant to count from")]

use super::*;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::Write;

struct Door {
    links: Links,
    address: SocketAddr,
    now: Instant,
    /// What came out.
    taken: Vec<(Path, Vec<u8>)>,
}

impl Door {
    fn new() -> Self {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        Self { links: Links::new(listener).unwrap(), address, now: Instant::now(), taken: Vec::new() }
    }

    /// Waits until something happens at the door and lets it happen.
    fn turn(&mut self) {
        poll(&mut [PollFd::new(self.links.as_fd(), PollFlags::POLLIN)], PollTimeout::from(5000_u16)).unwrap();
        self.links.look(self.now);
        let mut slot = [0; SLOT];
        while self.links.read(self.now) {
            while let Some((length, path)) = self.links.datagram(&mut slot) {
                self.taken.push((path, slot[..length].to_vec()));
            }
        }
    }

    fn count(&self) -> usize {
        self.links.connections.iter().flatten().count()
    }

    /// Somebody who has just connected.
    fn guest(&mut self) -> TcpStream {
        // As if between sweeps.
        self.links.accepts = ACCEPTS;
        let before = self.links.serial;
        let guest = TcpStream::connect(self.address).unwrap();
        guest.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        while self.links.serial == before {
            self.turn();
        }
        guest
    }

    /// One who proved to belong to a leg.
    fn member(&mut self) -> (TcpStream, Path) {
        let mut guest = self.guest();
        let before = self.taken.len();
        guest.write_all(&[0, 2, 0, 1]).unwrap();
        while self.taken.len() == before {
            self.turn();
        }
        let path = self.taken[before].0;
        assert!(self.links.is_stranger(path));
        self.links.admit(path);
        assert!(!self.links.is_stranger(path));
        (guest, path)
    }

    fn link(path: Path) -> Link {
        let Way::Tcp(link) = path.way else { panic!("a connection") };
        link
    }
}

/// Reads the datagrams that are there, up to the end of the connection or one that is this.
fn read_until(guest: &mut TcpStream, last: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Frames::default();
    let mut slot = [0; SLOT];
    let mut out = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = guest.read(&mut buffer).unwrap();
        assert!(count > 0, "closed");
        let mut rest = &buffer[..count];
        while let Some(length) = frames.next(&mut rest, &mut slot).unwrap() {
            out.push(slot[..length].to_vec());
            if out.last().is_some_and(|datagram| datagram == last) {
                return out;
            }
        }
    }
}

#[test]
fn strangers_go_after_some_seconds_and_members_stay() {
    let mut door = Door::new();
    let (_member, path) = door.member();
    let _stranger = door.guest();
    assert_eq!(door.count(), 2);
    door.now += STRANGER_LIFE - Duration::from_millis(1);
    door.links.sweep(|_| true, door.now);
    assert_eq!(door.count(), 2);
    door.now += Duration::from_millis(1);
    door.links.sweep(|_| true, door.now);
    assert_eq!(door.count(), 1);
    assert_ne!(door.links.gone.pop(), Some(path));

    door.now += SWEEP;
    door.links.sweep(|_| false, door.now);
    assert_eq!((door.count(), door.links.gone.pop()), (0, Some(path)), "its leg is gone");
    assert!(!door.links.any());
}

#[test]
fn a_member_that_says_nothing_for_a_minute_goes() {
    let mut door = Door::new();
    let (mut guest, _) = door.member();
    door.now += IDLE_LIFE - SWEEP;
    door.links.sweep(|_| true, door.now);
    guest.write_all(&[0, 1, 20]).unwrap();
    door.turn();
    door.now += IDLE_LIFE - SWEEP;
    door.links.sweep(|_| true, door.now);
    assert_eq!(door.count(), 1);
    door.now += SWEEP;
    door.links.sweep(|_| true, door.now);
    assert_eq!(door.count(), 0);
}

#[test]
fn of_one_address_the_oldest_stranger_gives_way_and_no_member_does() {
    let mut door = Door::new();
    let (_member, path) = door.member();
    let mut strangers: Vec<TcpStream> = (0..STRANGERS_OF_ONE).map(|_| door.guest()).collect();
    assert_eq!(door.count(), STRANGERS_OF_ONE + 1);
    // They have only just come: each may be a page on a slow line, so it is the next one who has to try again.
    let mut early = TcpStream::connect(door.address).unwrap();
    door.turn();
    assert_eq!((door.count(), early.read(&mut [0; 8]).unwrap_or(0)), (STRANGERS_OF_ONE + 1, 0));
    door.now += STRANGER_CHANCE;
    strangers.push(door.guest());
    assert_eq!(door.count(), STRANGERS_OF_ONE + 1);
    assert_eq!(door.links.gone.len(), 1);
    assert_ne!(door.links.gone[0], path);
    assert_eq!(strangers[0].read(&mut [0; 8]).unwrap_or(0), 0, "the first one is out");
    strangers[1].set_nonblocking(true).unwrap();
    assert_eq!(strangers[1].read(&mut [0; 8]).map_err(|error| error.kind()), Err(ErrorKind::WouldBlock), "the second is not");
}

#[test]
fn who_knocks_waits_for_the_next_sweep_when_enough_came_in() {
    let mut door = Door::new();
    let guests: Vec<TcpStream> = (0..ACCEPTS + 8).map(|_| TcpStream::connect(door.address).unwrap()).collect();
    door.turn();
    assert_eq!(door.links.accepts, 0);
    assert!(door.links.is_deaf);
    // All but the few that one address may have were sent away, and none of the last eight was looked at.
    assert_eq!(door.count(), STRANGERS_OF_ONE);
    let at_door = |guest: &TcpStream| {
        guest.set_nonblocking(true).unwrap();
        let mut guest = guest;
        guest.read(&mut [0; 8]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    };
    assert!(guests[ACCEPTS..].iter().all(at_door));
    door.now += STRANGER_LIFE;
    door.links.sweep(|_| true, door.now);
    assert!(!door.links.is_deaf);
    assert_eq!(door.count(), 0);
    door.turn();
    assert_eq!(door.count(), 8);
}

#[test]
fn a_name_of_a_connection_is_never_another_ones() {
    let mut door = Door::new();
    let (first, path) = door.member();
    drop(first);
    while door.count() > 0 {
        door.turn();
    }
    let (mut second, again) = door.member();
    assert_eq!(Door::link(path).place, Door::link(again).place);
    assert_ne!(path.way, again.way);
    door.links.send(Door::link(path), b"for the first", door.now);
    door.links.send(Door::link(again), b"for the second", door.now);
    door.links.flush(door.now);
    assert_eq!(read_until(&mut second, b"for the second"), [b"for the second"]);
}

#[test]
fn a_slow_reader_misses_datagrams_instead_of_getting_them_late() {
    let mut door = Door::new();
    let (mut guest, path) = door.member();
    let link = Door::link(path);
    // A video of 8 Mbit/s to somebody who does not read.
    let begun = door.now;
    let total = 5000_u32;
    for number in 0..total {
        let mut datagram = [0x80; 1000];
        datagram[..4].copy_from_slice(&number.to_be_bytes());
        door.now += Duration::from_millis(1);
        door.links.send(link, &datagram, door.now);
        door.links.flush(door.now);
    }
    assert_eq!(door.now - begun, Duration::from_secs(5));
    let connection = door.links.connection(link).unwrap();
    assert!(connection.is_stuck);
    assert!(connection.outgoing.waiting().len() <= 110_000);

    // Now it reads: whole datagrams, in order, those of the first moments and then the newest.
    let mut got = Vec::new();
    let mut frames = Frames::default();
    let mut slot = [0; SLOT];
    let mut buffer = [0; 65536];
    guest.set_nonblocking(true).unwrap();
    while got.last() != Some(&(total - 1)) {
        match guest.read(&mut buffer) {
            Ok(count) => {
                let mut rest = &buffer[..count];
                while let Some(length) = frames.next(&mut rest, &mut slot).unwrap() {
                    assert_eq!(length, 1000);
                    got.push(u32::from_be_bytes(slot[..4].try_into().unwrap()));
                }
            }
            Err(_) => door.turn(),
        }
    }
    assert!(got.is_sorted());
    let missing = u64::from(total) - got.len() as u64;
    assert_eq!(door.links.left_out, missing);
    assert!(missing > u64::from(total) / 2, "{missing} left out");
    // What the two kernels held may be old; what we held is not.
    let newest = got.iter().filter(|number| **number >= total - 100).count();
    assert!(newest >= 60, "{newest} of the last 100 ms");
    assert!(!door.links.connection(link).unwrap().is_stuck);
    assert_eq!(door.links.connections.iter().flatten().count(), 1);
}

#[test]
fn what_is_accepted_has_the_listeners_options() {
    use nix::sys::socket::getsockopt;
    let mut door = Door::new();
    let (_guest, path) = door.member();
    let stream = &door.links.connection(Door::link(path)).unwrap().stream;
    assert!(getsockopt(stream, sockopt::TcpNoDelay).unwrap());
    assert_eq!(getsockopt(stream, sockopt::SndBuf).unwrap(), 2 * KERNEL_ROOM, "the kernel doubles it (socket(7))");
}
