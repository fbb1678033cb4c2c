//! The media state of one leg: what it may send, what was seen of it, what was sent to it.

use super::Dropped;
use super::srtp::Keying;
use super::streams::{Lane, Streams};
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
    /// Octets of the header with its extensions.
    pub header_len: usize,
    /// Octets in the buffer, without tag.
    pub len: usize,
}

/// The hot state of one leg.
pub struct LegMedia {
    leg: LegId,
    streams: Streams,
}

impl LegMedia {
    /// A leg whose streams are agreed and whose keys are not there yet. `leg` is new with each offer of a reloaded page:
    /// it tells one source from the next.
    pub fn new(leg: LegId, streams: Streams) -> Self {
        Self { leg, streams }
    }

    /// Installs the keys of the finished DTLS handshake; fails only if the crypto provider does.
    pub fn key(&mut self, keying: &Keying, crypto: &dyn RTCCrypto) -> Result<(), CryptoError> {
        Ok(())
    }

    /// Whether [`key`](Self::key) was called: only then can the leg receive or be sent anything.
    pub fn is_keyed(&self) -> bool {
        false
    }

    /// The agreed streams.
    pub fn streams(&self) -> &Streams {
        &self.streams
    }

    /// Authenticates, decrypts and counts the SRTP or SRTCP packet that fills `packet`. What it returns is proof of life.
    pub fn receive(&mut self, packet: &mut [u8], at: Moment) -> Result<Received, Dropped> {
        Err(Dropped::NotKeyed)
    }

    /// Writes a protected picture loss indication (RFC 4585 section 6.3.1) into `out` ([`super::SPARE`] + 12 octets suffice):
    /// asks this leg's peer for a key frame. Returns its length.
    pub fn request_key_frame(&mut self, out: &mut [u8]) -> Result<usize, Dropped> {
        Err(Dropped::NotKeyed)
    }

    /// How the peer's media fares so far.
    pub fn quality(&self) -> Quality {
        Quality::default()
    }
}
