//! The steps of a packet one by one, for `benches/` alone; everybody else calls [`super::pass`].
//!
//! Nothing here checks what it is given: whoever calls it holds the keys of both ends.

use super::rtp::Header;
use super::srtp::{Ciphers, Keying};
use super::{Dropped, SPARE};
use rtc_crypto::{CryptoError, RTCCrypto};

/// The session keys of one direction, without a leg around them.
pub struct Srtp(Ciphers);

impl Srtp {
    /// Those that protect what the holder of `keying` sends.
    pub fn sender(keying: &Keying, crypto: &dyn RTCCrypto) -> Result<Self, CryptoError> {
        keying.local(crypto).map(Self)
    }

    /// Those that open what the holder of `keying` receives.
    pub fn receiver(keying: &Keying, crypto: &dyn RTCCrypto) -> Result<Self, CryptoError> {
        keying.remote(crypto).map(Self)
    }

    /// Protects the first `len` octets of `buffer`, which has [`SPARE`] more; returns the length on the wire.
    pub fn seal_rtp(&mut self, buffer: &mut [u8], header_len: usize, len: usize, ssrc: u32, index: u64) -> Result<usize, Dropped> {
        self.0.seal_rtp(&mut buffer[..len + SPARE], header_len, len, ssrc, index)
    }

    /// Opens a packet; returns its length in clear.
    pub fn open_rtp(&mut self, packet: &mut [u8], header_len: usize, ssrc: u32, index: u64) -> Result<usize, Dropped> {
        self.0.open_rtp(packet, header_len, ssrc, index)
    }

    /// Protects the compound in the first `len` octets of `buffer`; returns the length on the wire.
    pub fn seal_rtcp(&mut self, buffer: &mut [u8], len: usize, index: u32) -> Result<usize, Dropped> {
        self.0.seal_rtcp(&mut buffer[..len + SPARE], len, index)
    }
}

/// Sender and header length of an RTP packet.
pub fn header(packet: &[u8]) -> Result<(u32, usize), Dropped> {
    Header::parse(packet).map(|header| (header.ssrc, header.len))
}
