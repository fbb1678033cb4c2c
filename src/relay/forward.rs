//! From one leg to the other: the mapping of numbers.
//!
//! Sits between two [`LegMedia`] and holds nothing itself: where the numbers of a stream went is kept by the leg that
//! receives it, so either side can be replaced alone.

use super::leg::{LegMedia, Received, RtpPacket, Stamp};
use super::outgoing::Outgoing;
use super::rtp::{self, FIXED_LEN, Numbers};
use super::streams::{Extension, Lane, Streams};
use super::{Dropped, SPARE, rtcp};
use crate::clock::Moment;
use crate::ids::LegId;

/// Maps what `from` received in `buffer` to the numbers of `to`, protects it with the keys of `to` and returns its new
/// length. `buffer` must hold [`SPARE`] octets beyond the packet. `at` is the present moment.
pub fn pass(from: &LegMedia, to: &mut LegMedia, received: Received, buffer: &mut [u8], at: Moment) -> Result<usize, Dropped> {
    match received {
        Received::Rtp(packet) => pass_rtp(from, to, packet, buffer, at),
        Received::Rtcp { len } => pass_rtcp(from, to, len, buffer, at),
    }
}

fn pass_rtp(from: &LegMedia, to: &mut LegMedia, packet: RtpPacket, buffer: &mut [u8], at: Moment) -> Result<usize, Dropped> {
    let RtpPacket { lane, index, header_len, len } = packet;
    let keys = to.keys.as_mut().ok_or(Dropped::NotKeyed)?;
    // Everything that can fail comes before the first number is given out.
    if buffer.len() < len + SPARE {
        return Err(Dropped::NoRoom);
    }
    let bytes = &mut buffer[..len];
    let (Some(source), Some(target)) = (from.streams.lane(lane), to.streams.lane(lane)) else { return Err(Dropped::NoMapping) };
    if rtp::payload_type(bytes) != source.payload_type {
        return Err(Dropped::NoMapping);
    }
    let outgoing = &mut to.counters.outgoing;
    if lane == Lane::VideoRtx {
        // A retransmission repeats a packet of the camera's lane, so that must have begun.
        let camera = &outgoing.numbering[Lane::Video as usize];
        if !camera.carries(from.leg) {
            return Err(Dropped::BeforeStart);
        }
        if let Some(original) = rtp::original_sequence(bytes, header_len) {
            let sent_as = camera.forth(from.leg, u16::from_be_bytes(*original)).ok_or(Dropped::BeforeStart)?;
            *original = sent_as.to_be_bytes();
        }
    }
    let (index, is_newest) = outgoing.numbering[lane as usize].assign(from.leg, index)?;
    let timeline = outgoing.timeline_mut(lane);
    let timestamp = timeline.assign(from.leg, lane, rtp::timestamp(bytes), at);
    if is_newest && lane != Lane::VideoRtx {
        timeline.note(timestamp, at);
    }
    // A sequence number is the low 16 bits of its index.
    rtp::renumber(bytes, &Numbers { payload_type: target.payload_type, sequence: index as u16, timestamp, ssrc: target.our_ssrc });
    rtp::map_extensions(&mut bytes[..header_len], |id, value| {
        let extension = source.extensions.extension(id).filter(|&e| e != Extension::Mid)?;
        let id = target.extensions.id(extension)?;
        if extension == Extension::TransportWideCc {
            let number = value.first_chunk_mut::<2>()?;
            *number = outgoing.wide.assign(from.leg, u16::from_be_bytes(*number)).to_be_bytes();
        }
        Some(id)
    });
    keys.local.seal_rtp(&mut to.counters.sealed, buffer, (header_len, len), (lane, target.our_ssrc, index))
}

/// Sends `payload` in place of a packet that `from` received and that was not passed: with the numbers it would have got and no header
/// extensions, which said something of the old content. Returns the length of what is in `buffer` ([`SPARE`] + 12 octets more than
/// the payload suffice). A packet that was passed, or replaced before, is refused as [`Dropped::Spent`].
pub fn replace(from: &LegMedia, to: &mut LegMedia, stamp: Stamp, payload: &[u8], buffer: &mut [u8]) -> Result<usize, Dropped> {
    let Stamp { lane, index, timestamp, marker, at } = stamp;
    let keys = to.keys.as_mut().ok_or(Dropped::NotKeyed)?;
    let len = FIXED_LEN + payload.len();
    if buffer.len() < len + SPARE {
        return Err(Dropped::NoRoom);
    }
    let target = to.streams.lane(lane).ok_or(Dropped::NoMapping)?;
    let outgoing = &mut to.counters.outgoing;
    let (index, is_newest) = outgoing.numbering[lane as usize].assign(from.leg, index)?;
    let timeline = outgoing.timeline_mut(lane);
    let timestamp = timeline.assign(from.leg, lane, timestamp, at);
    if is_newest {
        timeline.note(timestamp, at);
    }
    let (header, rest) = buffer.split_first_chunk_mut::<FIXED_LEN>().ok_or(Dropped::NoRoom)?;
    let numbers = Numbers { payload_type: target.payload_type, sequence: index as u16, timestamp, ssrc: target.our_ssrc };
    rtp::write_header(header, marker, &numbers);
    rest[..payload.len()].copy_from_slice(payload);
    keys.local.seal_rtp(&mut to.counters.sealed, buffer, (FIXED_LEN, len), (lane, target.our_ssrc, index))
}

fn pass_rtcp(from: &LegMedia, to: &mut LegMedia, len: usize, buffer: &mut [u8], at: Moment) -> Result<usize, Dropped> {
    if !to.is_keyed() {
        return Err(Dropped::NotKeyed);
    }
    if buffer.len() < len + SPARE {
        return Err(Dropped::NoRoom);
    }
    let mut crossing = Crossing { from, to: to.leg, to_streams: &to.streams, to_outgoing: &mut to.counters.outgoing, at };
    let len = rtcp::map(&mut buffer[..len], &mut crossing)?;
    to.seal_rtcp(buffer, len)
}

/// The numbers of control packets from one leg to the other.
pub(super) struct Crossing<'a> {
    from: &'a LegMedia,
    to: LegId,
    to_streams: &'a Streams,
    to_outgoing: &'a mut Outgoing,
    at: Moment,
}

impl Crossing<'_> {
    /// What the other leg calls an SSRC: the peer's own becomes the one announced, an announced one the other peer's own.
    pub(super) fn ssrc(&self, ssrc: u32) -> Option<u32> {
        match self.from.streams.peer_lane(ssrc) {
            Some(lane) => self.to_streams.lane(lane).map(|stream| stream.our_ssrc),
            None => self.media_ssrc(ssrc),
        }
    }

    /// The other peer's own SSRC for the one we announced here: what feedback is about.
    pub(super) fn media_ssrc(&self, ssrc: u32) -> Option<u32> {
        self.to_streams.lane(self.from.streams.our_lane(ssrc)?)?.peer_ssrc
    }

    /// The other peer's own sequence number for the one it was sent as here under the announced `ssrc`.
    pub(super) fn back_sequence(&self, ssrc: u32, sequence: u16) -> Option<u16> {
        let lane = self.from.streams.our_lane(ssrc)?;
        self.from.counters.outgoing.numbering[lane as usize].back(self.to, sequence)
    }

    /// The same for an extended highest sequence number.
    pub(super) fn back_extended(&self, ssrc: u32, highest: u32) -> Option<u32> {
        let lane = self.from.streams.our_lane(ssrc)?;
        self.from.counters.outgoing.numbering[lane as usize].back_extended(self.to, highest)
    }

    /// The other peer's own transport-wide number.
    pub(super) fn back_wide(&self, number: u16) -> Option<u16> {
        self.from.counters.outgoing.wide.back(self.to, number)
    }

    /// The timestamp of a sender report of `sender` as the other leg sees that stream; notes the report, so that the answer
    /// to it tells the round trip. None before the stream's first packet was passed: nothing to synchronise yet.
    pub(super) fn sender_report(&mut self, sender: u32, timestamp: u32, ntp_middle: u32) -> Option<u32> {
        let lane = self.from.streams.peer_lane(sender)?;
        self.to_streams.lane(lane)?;
        let timeline = self.to_outgoing.timeline_mut(lane);
        let timestamp = timeline.forth(self.from.leg, timestamp)?;
        timeline.note_report(ntp_middle, self.at);
        Some(timestamp)
    }
}
