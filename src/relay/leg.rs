//! The media state of one leg: what it may send, what was seen of it, what was sent to it.
//!
//! Knows its own keys, windows and counts and nothing of the other leg; that is [`super::forward`].

use super::Dropped;
use super::outgoing::{Outgoing, RESTORE_GAP};
use super::rtcp;
use super::rtp::{self, Header};
use super::seal::{Sealed, Sealer};
use super::srtp::{Ciphers, Keying};
use super::streams::{Extension, Lane, Streams};
use super::window::Window;
use crate::clock::Moment;
use crate::ids::LegId;
use rtc_crypto::{CryptoError, RTCCrypto};

/// How the media a leg's peer sends fares. Counts since the leg began; add them up over the legs of a side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Quality {
    /// RTP packets received, retransmissions included.
    pub packets: u64,
    /// Packets the sequence numbers of voice and camera promised (RFC 3550 appendix A.3).
    pub expected: u64,
    /// Of the expected, those that never came; what a retransmission made good counts as lost.
    pub lost: u64,
    /// Round trip between server and page, the last seen, by the page's report on a sender report that was passed to it.
    pub rtt_ms: Option<u32>,
}

/// An authenticated packet, decrypted in its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// Media.
    Rtp(RtpPacket),
    /// A compound of control packets, `len` octets in clear.
    Rtcp {
        /// Octets in the buffer.
        len: usize,
    },
}

/// Where things are in a decrypted RTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpPacket {
    /// The stream it belongs to.
    pub lane: Lane,
    /// Sequence number with roll-over counter: 48 bits (RFC 3711 section 3.3.1).
    pub index: u64,
    /// Octets in the buffer, without tag.
    pub len: usize,
    /// Octets of the header with its extensions. Not public, so that only `receive` makes such a value.
    pub(super) header_len: usize,
}

impl RtpPacket {
    /// Where the payload is in the buffer the packet was received in.
    pub fn payload(&self) -> std::ops::Range<usize> {
        self.header_len..self.len
    }

    /// The payload without padding, in the buffer the packet was received in; none if nothing is left.
    pub fn content<'a>(&self, buffer: &'a [u8]) -> Option<&'a [u8]> {
        let packet = &buffer[..self.len];
        let end = self.len - rtp::padding(packet, self.header_len)?;
        Some(&packet[self.header_len..end]).filter(|content| !content.is_empty())
    }

    /// What its header says, in the buffer the packet was received in.
    pub fn stamp(&self, buffer: &[u8], at: Moment) -> Stamp {
        Stamp { lane: self.lane, index: self.index, timestamp: rtp::timestamp(buffer), marker: rtp::marker(buffer), at }
    }
}

/// The numbers of a received packet, as its source gave them, and when it came. Enough to send something else in its place
/// ([`super::replace`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub(super) lane: Lane,
    /// See [`RtpPacket::index`].
    pub index: u64,
    /// RTP timestamp.
    pub timestamp: u32,
    /// RTP marker.
    pub marker: bool,
    /// When it came.
    pub at: Moment,
}

/// The hot state of one leg.
pub struct LegMedia {
    pub(super) leg: LegId,
    pub(super) streams: Streams,
    pub(super) keys: Option<Keys>,
    pub(super) counters: Counters,
    /// Second tries spent, by [`Lane`], on packets that came before any authentic one.
    guesses: [u8; 3],
}

/// Session keys of both directions.
pub(super) struct Keys {
    remote: Ciphers,
    pub(super) local: Sealer,
}

/// All that changes with the packets of a leg: plain values, to be saved with the leg and taken up again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counters {
    /// By [`Lane`].
    incoming: [Incoming; 3],
    /// Windows of SRTCP indexes by sender, each begun by an authenticated packet.
    control: [Option<(u32, Window)>; RTCP_SENDERS],
    pub(super) outgoing: Outgoing,
    pub(super) sealed: Sealed,
    /// Timestamp and moment of the newest packet we played.
    announced: Option<(u32, Moment)>,
    rtt_ms: Option<u32>,
}

/// How many SSRCs a leg may send RTCP from. More than it declares: a browser that receives without sending reports under
/// a number of its own, Chromium under 1 or 0xFA17FA17.
const RTCP_SENDERS: usize = 8;

/// After a restore this many SRTCP indexes are skipped: more than a leg uses in ten minutes at 100 a second, so that none
/// used after the snapshot is used again.
const RESTORE_SKIP: u32 = 1 << 16;

/// What was seen of one incoming lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
struct Incoming {
    window: Window,
    oldest: u64,
    packets: u64,
}

/// How many packets of a lane that never had an authentic one are tried under a second roll-over counter. Some loss before
/// the first packet needs one try; whoever forges packets can double their cost no longer than this.
const GUESSES: u8 = 100;

/// Octets of the longest packet that gets a second try: what a path carries.
const LONGEST_GUESS: usize = 1500;

impl LegMedia {
    /// A leg whose streams are agreed and whose keys are not there yet. `leg` is new with each offer of a reloaded page:
    /// it tells one source from the next. Panics if two streams are announced under one SSRC.
    pub fn new(leg: LegId, streams: Streams) -> Self {
        Self::with_counters(leg, streams, Counters::default())
    }

    /// A leg taken up again from its saved counters; it skips the SRTCP indexes that may have been used since. Key it with
    /// the keys it had.
    pub fn resume(leg: LegId, streams: Streams, mut counters: Counters) -> Self {
        counters.outgoing.skip_ahead();
        counters.sealed.skip_rtcp(RESTORE_SKIP);
        counters.sealed.skip_announcements(RESTORE_GAP);
        Self::with_counters(leg, streams, counters)
    }

    fn with_counters(leg: LegId, streams: Streams, counters: Counters) -> Self {
        // Each lane counts its own indexes, so two lanes of one SSRC would use each index twice under the same key.
        for lane in Lane::ALL {
            let Some(stream) = streams.lane(lane) else { continue };
            let played = streams.announcements.is_some_and(|announcements| announcements.our_ssrc == stream.our_ssrc);
            let shared = streams.our_lane(stream.our_ssrc) != Some(lane) || played;
            assert!(!shared, "{lane:?} of {leg} shares ssrc {:#x}", stream.our_ssrc);
        }
        Self { leg, streams, keys: None, counters, guesses: [0; 3] }
    }

    /// What to save of the leg besides its streams and keys.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Installs the keys of the finished DTLS handshake; fails only if the crypto provider does. A leg is keyed once: other
    /// keys mean another leg.
    pub fn key(&mut self, keying: &Keying, crypto: &dyn RTCCrypto) -> Result<(), CryptoError> {
        assert!(self.keys.is_none(), "leg {} is keyed twice", self.leg);
        self.keys = Some(Keys { remote: keying.remote(crypto)?, local: Sealer::new(keying.local(crypto)?) });
        Ok(())
    }

    /// Whether [`key`](Self::key) was called: only then can the leg receive or be sent anything.
    pub fn is_keyed(&self) -> bool {
        self.keys.is_some()
    }

    /// The agreed streams.
    pub fn streams(&self) -> &Streams {
        &self.streams
    }

    /// Authenticates, decrypts and counts the SRTP or SRTCP packet that fills `packet`. What it returns is proof of life.
    pub fn receive(&mut self, packet: &mut [u8], at: Moment) -> Result<Received, Dropped> {
        if packet.get(1).is_some_and(|kind| rtcp::KINDS.contains(kind)) {
            self.receive_rtcp(packet, at).map(|len| Received::Rtcp { len })
        } else {
            self.receive_rtp(packet).map(Received::Rtp)
        }
    }

    fn receive_rtp(&mut self, packet: &mut [u8]) -> Result<RtpPacket, Dropped> {
        let keys = self.keys.as_mut().ok_or(Dropped::NotKeyed)?;
        let header = Header::parse(packet)?;
        let lane = self.streams.peer_lane(header.ssrc).ok_or(Dropped::UnknownSsrc)?;
        let incoming = &mut self.counters.incoming[lane as usize];
        let index = incoming.window.estimate(header.sequence);
        if index >= 1 << 48 {
            return Err(Dropped::Exhausted);
        }
        if !incoming.window.is_new(index) {
            return Err(Dropped::Replayed);
        }
        let (index, len) = match incoming.window.newest() {
            Some(_) => (index, keys.remote.open_rtp(packet, header.len, header.ssrc, index)?),
            None => open_first(&mut keys.remote, packet, &header, &mut self.guesses[lane as usize])?,
        };
        incoming.oldest = if incoming.packets == 0 { index } else { incoming.oldest.min(index) };
        incoming.packets += 1;
        incoming.window.note(index);
        Ok(RtpPacket { lane, index, header_len: header.len, len })
    }

    fn receive_rtcp(&mut self, packet: &mut [u8], at: Moment) -> Result<usize, Dropped> {
        let keys = self.keys.as_mut().ok_or(Dropped::NotKeyed)?;
        let (sender, index) = keys.remote.rtcp_sender_and_index(packet)?;
        let control = &mut self.counters.control;
        let known = control.iter().position(|place| place.is_some_and(|(ssrc, _)| ssrc == sender));
        let place = known.or_else(|| control.iter().position(Option::is_none)).ok_or(Dropped::UnknownSsrc)?;
        let mut window = control[place].map_or(Window::default(), |(_, window)| window);
        if !window.is_new(u64::from(index)) {
            return Err(Dropped::Replayed);
        }
        let len = keys.remote.open_rtcp(packet, sender, index)?;
        window.note(u64::from(index));
        control[place] = Some((sender, window));
        self.measure(&packet[..len], at);
        Ok(len)
    }

    /// Reads the round trip off the peer's report blocks (RFC 3550 section 6.4.1): from when its counterpart's sender
    /// report went out, less the time the peer held it.
    fn measure(&mut self, compound: &[u8], at: Moment) {
        for block in rtcp::report_blocks(compound) {
            let Some(lane) = self.streams.our_lane(block.ssrc) else { continue };
            let Some(sent) = self.counters.outgoing.timeline(lane).report_sent(block.last_report) else { continue };
            let held_ms = (u64::from(block.delay) * 1000) >> 16;
            let rtt_ms = at.since(sent).ms().unsigned_abs().saturating_sub(held_ms);
            self.counters.rtt_ms = Some(u32::try_from(rtt_ms).unwrap_or(u32::MAX));
        }
    }

    /// The greatest index received of a lane.
    pub fn newest(&self, lane: Lane) -> Option<u64> {
        self.counters.incoming[lane as usize].window.newest()
    }

    /// Whether a packet is of the payload type that was agreed for its lane; only such are passed on.
    pub fn is_agreed(&self, packet: &RtpPacket, buffer: &[u8]) -> bool {
        self.streams.lane(packet.lane).is_some_and(|stream| stream.payload_type == rtp::payload_type(buffer))
    }

    /// The loudness its sender says a packet has (RFC 6464 section 3): the voice bit (0x80) and -dBov; none if it does not say.
    pub fn audio_level(&self, packet: &RtpPacket, buffer: &[u8]) -> Option<u8> {
        let id = self.streams.lane(packet.lane)?.extensions.id(Extension::AudioLevel)?;
        rtp::extension(&buffer[..packet.header_len], id)?.first().copied()
    }

    /// Writes a protected packet of 20 ms of Opus of our own into `out` ([`super::SPARE`] + 12 octets more than the payload suffice).
    /// `follows` if it comes 20 ms after the one before; else it begins anew, later by the time that passed. Returns its length.
    pub fn announce(&mut self, payload: &[u8], follows: bool, at: Moment, out: &mut [u8]) -> Result<usize, Dropped> {
        let stream = self.streams.announcements.ok_or(Dropped::NoMapping)?;
        let keys = self.keys.as_mut().ok_or(Dropped::NotKeyed)?;
        let timestamp = match self.counters.announced {
            None => 0,
            Some((newest, _)) if follows => newest.wrapping_add(Lane::Audio.frame_ticks()),
            Some((newest, then)) => newest.wrapping_add(Lane::Audio.ticks_since(then, at)),
        };
        let marker = !follows || self.counters.announced.is_none();
        let sealed = &mut self.counters.sealed;
        let len = keys.local.seal_announcement(sealed, stream, (timestamp, marker), payload, out)?;
        self.counters.announced = Some((timestamp, at));
        Ok(len)
    }

    /// Writes a protected picture loss indication (RFC 4585 section 6.3.1) into `out` ([`super::SPARE`] + 12 octets suffice):
    /// asks this leg's peer for a key frame. Returns its length.
    pub fn request_key_frame(&mut self, out: &mut [u8]) -> Result<usize, Dropped> {
        let video = self.streams.video.ok_or(Dropped::NoMapping)?;
        let peer_ssrc = video.peer_ssrc.ok_or(Dropped::NoMapping)?;
        let len = rtcp::write_picture_loss(out, video.our_ssrc, peer_ssrc)?;
        self.seal_rtcp(out, len)
    }

    /// Protects the compound in the first `len` octets of `buffer` under the leg's next SRTCP index.
    pub(super) fn seal_rtcp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, Dropped> {
        let keys = self.keys.as_mut().ok_or(Dropped::NotKeyed)?;
        keys.local.seal_rtcp(&mut self.counters.sealed, buffer, len)
    }

    /// How the peer's media fares so far.
    pub fn quality(&self) -> Quality {
        let mut quality = Quality { rtt_ms: self.counters.rtt_ms, ..Quality::default() };
        for (lane, incoming) in Lane::ALL.into_iter().zip(&self.counters.incoming) {
            quality.packets += incoming.packets;
            // Retransmissions come only when something was lost, and probes among them may be sent for nothing.
            let (Some(newest), Lane::Audio | Lane::Video) = (incoming.window.newest(), lane) else { continue };
            let expected = newest - incoming.oldest + 1;
            quality.expected += expected;
            quality.lost += expected.saturating_sub(incoming.packets);
        }
        quality
    }
}

/// Opens a packet of a lane that had none yet. A receiver begins with the roll-over counter 0 (RFC 3711 section 3.3.1), and
/// senders begin below 2^15 so that this is right whatever is lost; one that begins higher may have wrapped before anything of
/// it came through, so low numbers are tried a round later too. Returns index and length.
fn open_first(remote: &mut Ciphers, packet: &mut [u8], header: &Header, guesses: &mut u8) -> Result<(u64, usize), Dropped> {
    let (index, len) = (u64::from(header.sequence), packet.len());
    if index >= 1 << 15 || *guesses == GUESSES || len > LONGEST_GUESS {
        return Ok((index, remote.open_rtp(packet, header.len, header.ssrc, index)?));
    }
    // A failed try spoils the buffer.
    let mut copy = [0; LONGEST_GUESS];
    copy[..len].copy_from_slice(packet);
    if let Ok(len) = remote.open_rtp(packet, header.len, header.ssrc, index) {
        return Ok((index, len));
    }
    *guesses += 1;
    packet.copy_from_slice(&copy[..len]);
    let later = index + (1 << 16);
    Ok((later, remote.open_rtp(packet, header.len, header.ssrc, later)?))
}
