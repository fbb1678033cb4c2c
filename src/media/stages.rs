//! A shard without its socket and its thread, for `benches/` alone: datagrams in, datagrams out, time as an argument.
//!
//! It is the very code the shard runs; only the kernel is missing.

use super::calls::Calls;
use super::demux::Directory;
use super::dtls::Identity;
use super::socket::{Path, SLOT, Way};
use super::{OfferError, OpenLeg, StartError};
use crate::clock::Clock;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

/// Octets of a buffer a datagram comes in.
pub const BUFFER: usize = SLOT;

fn by_udp(peer: SocketAddr) -> Path {
    Path { peer, local: None, way: Way::Udp }
}

/// All calls of a shard.
pub struct Plane {
    calls: Calls,
    clock: Clock,
}

impl Plane {
    /// An empty shard that pages reach at `address`.
    pub fn new(address: SocketAddr, clock: Clock) -> Result<Self, StartError> {
        let identity = Identity::generate().map_err(|error| StartError::Machine(error.to_string()))?;
        Ok(Self { calls: Calls::new(Arc::new(identity), clock, vec![address], true), clock })
    }

    /// Answers an offer and makes a leg of it.
    pub fn open(&mut self, open: &OpenLeg, now: Instant) -> Result<String, OfferError> {
        self.calls.open(open, now)
    }

    /// Takes the datagram in the first `length` octets of `buffer`; gives the length of what is to be sent from it.
    pub fn datagram(&mut self, buffer: &mut [u8; BUFFER], length: usize, from: SocketAddr, now: Instant) -> Option<usize> {
        let path = by_udp(from);
        let sent = self.calls.datagram(buffer, length, path, now, self.clock.at(now)).map(|(length, _)| length);
        // Handshakes wait for the loop, which here is nobody else.
        while self.calls.has_chores() && self.calls.do_chore(now) {}
        sent
    }

    /// Everything else that is to be sent, and to whom.
    pub fn replies(&mut self) -> impl Iterator<Item = (SocketAddr, Vec<u8>)> {
        self.calls.datagrams.drain(..).map(|(path, datagram)| (path.peer, datagram))
    }

    /// Media packets sent on so far.
    pub fn forwarded(&self) -> u64 {
        self.calls.counts.forwarded
    }
}

/// The table from addresses to legs.
#[derive(Default)]
pub struct Addresses(Directory);

impl Addresses {
    /// Notes an address.
    pub fn note(&mut self, address: SocketAddr, place: usize) {
        self.0.note_address(by_udp(address), place, 0);
    }

    /// Whether somebody is there.
    pub fn knows(&self, address: SocketAddr) -> bool {
        self.0.at(by_udp(address)).is_some()
    }
}
