//! A shard without its socket and its thread, for `benches/` and tests in virtual time: datagrams in, datagrams out, time as an argument.
//!
//! It is the very code the shard runs; only the kernel is missing.

use super::calls::Calls;
use super::demux::Directory;
use super::dtls::Identity;
use super::play::Play;
use super::socket::{Path, SLOT, Way};
use super::tap::{self, Processed, Purpose, Taps};
use super::{OfferError, OpenLeg, Report, StartError};
use crate::call::Side;
use crate::clock::{Clock, Span};
use crate::ids::{CallId, LegId};
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
        self.forward(buffer, length, from, now).map(|(length, _)| length)
    }

    /// The same, and to whom.
    pub fn forward(&mut self, buffer: &mut [u8; BUFFER], length: usize, from: SocketAddr, now: Instant) -> Option<(usize, SocketAddr)> {
        let sent = self.calls.datagram(buffer, length, by_udp(from), now, self.clock.at(now));
        let sent = sent.map(|(length, path)| (length, path.peer));
        // Handshakes wait for the loop, which here is nobody else.
        while self.calls.has_chores() && self.calls.do_chore(now) {}
        sent
    }

    /// Does what is due; looks at all legs as the shard does ten times a second.
    pub fn tick(&mut self, now: Instant) {
        while self.calls.do_chore(now) {}
        self.calls.tick(now);
    }

    /// What was reported since the last call.
    pub fn reports(&mut self) -> Vec<Report> {
        self.calls.reports.drain(..).collect()
    }

    /// See [`super::Media::stop`].
    pub fn stop(&mut self, call: CallId, now: Instant) {
        self.calls.stop(call, now);
    }

    /// See [`super::Media::taps`].
    pub fn taps(&mut self, workers: usize) -> Result<Vec<Taps>, StartError> {
        let (copies, taps) = tap::queues(workers).map_err(|error| StartError::Machine(error.to_string()))?;
        self.calls.copy_to(copies);
        Ok(taps)
    }

    /// See [`super::Media::tap`] and [`super::Media::untap`].
    pub fn tap(&mut self, call: CallId, side: Side, purpose: Option<Purpose>) {
        self.calls.tap(call, side, purpose);
    }

    /// See [`super::Media::release`].
    pub fn release(&mut self, call: CallId, side: Side, within: Span, now: Instant) {
        self.calls.release(call, side, within, now);
    }

    /// See [`super::Media::replace`]; gives the length of what is to be sent from the buffer, and to whom.
    pub fn replace(
        &mut self,
        (call, leg, index): (CallId, LegId, u64),
        payload: &[u8],
        buffer: &mut [u8; BUFFER],
        now: Instant,
    ) -> Option<(usize, SocketAddr)> {
        let processed = Processed { call, leg, index, payload: payload.into() };
        self.calls.replace(&processed, buffer, self.clock.at(now)).map(|(length, path)| (length, path.peer))
    }

    /// See [`super::Media::play`].
    pub fn play(&mut self, call: CallId, side: Side, play: Play, now: Instant) {
        self.calls.play(call, side, play, now);
    }

    /// Writes each frame that is due into the buffer and hands it out with its receiver.
    pub fn frames(&mut self, buffer: &mut [u8; BUFFER], now: Instant, mut send: impl FnMut(&mut [u8], SocketAddr)) {
        while self.calls.frame_is_due(now) {
            if let Some((length, path)) = self.calls.next_frame(buffer, now) {
                send(&mut buffer[..length], path.peer);
            }
        }
    }

    /// Packets that went no further, by cause.
    pub fn dropped(&self, cause: &str) -> u64 {
        self.calls.counts.of(cause)
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
