//! The keys toward one page, and the record of every index they protected.
//!
//! Nothing else of the relay holds these keys, so whatever leaves (forwarded or our own) passes the record at the moment it
//! is sealed. It believes nobody: how [`super::outgoing`] comes to its numbers is not its business. Invariant: one (key,
//! SSRC, index) is never protected twice; under GCM a second time would give the authentication key away (RFC 7714 section 8.4).

use super::rtp::{self, FIXED_LEN, Numbers};
use super::streams::{Announcements, Lane};
use super::window::Window;
use super::{Dropped, SPARE, srtp::Ciphers};

/// What a leg's keys protected so far; plain values, saved with the leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Sealed {
    /// Indexes by [`Lane`]; each lane has its own SSRC.
    rtp: [Window; 3],
    /// The index after the last of our announcements, and how many to leave out before the next; nobody else sends on their SSRC.
    announcement: u64,
    announcement_gap: u64,
    /// The next SRTCP index; one count for all SSRCs of the leg keeps each pair of them unique.
    rtcp: u32,
}

/// SRTCP indexes of one key (RFC 3711 section 9.2).
const RTCP_INDEXES: u32 = 1 << 31;

impl Sealed {
    /// Leaves out so many SRTCP indexes.
    pub(super) fn skip_rtcp(&mut self, count: u32) {
        self.rtcp = self.rtcp.saturating_add(count);
    }

    /// Leaves out so many indexes before the next announcement. Said twice it is as said once: a receiver can only follow so far.
    pub(super) fn skip_announcements(&mut self, count: u64) {
        self.announcement_gap = count;
    }
}

/// The session keys toward one page.
pub(super) struct Sealer(Ciphers);

impl Sealer {
    pub(super) fn new(ciphers: Ciphers) -> Self {
        Self(ciphers)
    }

    /// Protects the RTP packet in the first `len` octets of `buffer` under `index` of the lane's `ssrc`. Refuses, and leaves
    /// the packet as it is, if the record does not prove the index unused.
    pub(super) fn seal_rtp(
        &mut self,
        sealed: &mut Sealed,
        buffer: &mut [u8],
        (header_len, len): (usize, usize),
        (lane, ssrc, index): (Lane, u32, u64),
    ) -> Result<usize, Dropped> {
        let record = &mut sealed.rtp[lane as usize];
        if !record.is_new(index) {
            return Err(Dropped::Spent);
        }
        // Before the cipher runs: whatever becomes of it, the index is gone.
        record.note(index);
        self.0.seal_rtp(buffer, header_len, len, ssrc, index)
    }

    /// Writes and protects an announcement with this timestamp and marker under its next index, which exists nowhere before. The first
    /// one is 0: a receiver that misses the start guesses the roll-over counter right.
    pub(super) fn seal_announcement(
        &mut self,
        sealed: &mut Sealed,
        stream: Announcements,
        (timestamp, marker): (u32, bool),
        payload: &[u8],
        out: &mut [u8],
    ) -> Result<usize, Dropped> {
        let len = FIXED_LEN + payload.len();
        if out.len() < len + SPARE {
            return Err(Dropped::NoRoom);
        }
        let index = sealed.announcement + sealed.announcement_gap;
        if index >= 1 << 48 {
            return Err(Dropped::Exhausted);
        }
        (sealed.announcement, sealed.announcement_gap) = (index + 1, 0);
        let (header, rest) = out.split_first_chunk_mut::<FIXED_LEN>().ok_or(Dropped::NoRoom)?;
        // A sequence number is the low 16 bits of its index.
        let numbers = Numbers { payload_type: stream.payload_type, sequence: index as u16, timestamp, ssrc: stream.our_ssrc };
        rtp::write_header(header, marker, &numbers);
        rest[..payload.len()].copy_from_slice(payload);
        self.0.seal_rtp(out, FIXED_LEN, len, stream.our_ssrc, index)
    }

    /// Protects the compound in the first `len` octets of `buffer` under the next SRTCP index, which exists nowhere before.
    pub(super) fn seal_rtcp(&mut self, sealed: &mut Sealed, buffer: &mut [u8], len: usize) -> Result<usize, Dropped> {
        if buffer.len() < len + SPARE {
            return Err(Dropped::NoRoom);
        }
        let index = sealed.rtcp;
        if index >= RTCP_INDEXES {
            return Err(Dropped::Exhausted);
        }
        sealed.rtcp += 1;
        self.0.seal_rtcp(buffer, len, index)
    }
}

#[cfg(test)]
mod tests {
    use super::super::srtp::{Keying, Profile};
    use super::*;
    use rtc_crypto::{RTCCryptoProvider, providers::RingProvider};

    fn sealer(profile: Profile) -> Sealer {
        let keying = Keying::from_exporter(profile, &vec![7; profile.keying_len()], true).unwrap();
        Sealer::new(keying.local(RingProvider::new().crypto()).unwrap())
    }

    #[test]
    fn an_index_is_sealed_once_for_each_ssrc_and_refused_untouched_after_that() {
        for profile in [Profile::AeadAes128Gcm, Profile::Aes128CmHmacSha1_80] {
            let (mut sealer, mut sealed) = (sealer(profile), Sealed::default());
            let mut seal = |lane: Lane, index: u64, octet: u8| {
                let mut buffer = [octet; 60];
                let result = sealer.seal_rtp(&mut sealed, &mut buffer, (12, 40), (lane, 1 + lane as u32, index));
                (result.map(|_| ()), buffer[12..40] == [octet; 28])
            };
            for lane in Lane::ALL {
                for index in [0xFFFE, 0x1_0000, 0xFFFF] {
                    assert_eq!(seal(lane, index, 1), (Ok(()), false), "{lane:?} {index:#x}");
                }
                // The same sequence number a round later is another index.
                assert_eq!(seal(lane, 0x1_FFFF, 1), (Ok(()), false));
                // Sealed before; never sealed, but too long ago to know that.
                for index in [0x1_FFFF, 0x1_0000, 0xFFFF, 0, 0x1_FF00] {
                    assert_eq!(seal(lane, index, 2), (Err(Dropped::Spent), true), "{lane:?} {index:#x}");
                }
            }
        }
    }

    #[test]
    fn srtcp_indexes_rise_and_end() {
        let (mut sealer, mut sealed) = (sealer(Profile::AeadAes128Gcm), Sealed::default());
        let mut index = |sealed: &mut Sealed| {
            let mut buffer = [0x80, 201, 0, 1, 0, 0, 0, 9].to_vec();
            buffer.resize(8 + SPARE, 0);
            let len = sealer.seal_rtcp(sealed, &mut buffer, 8)?;
            Ok(u32::from_be_bytes(buffer[len - 4..len].try_into().unwrap()) & !RTCP_INDEXES)
        };
        assert_eq!([index(&mut sealed), index(&mut sealed)], [Ok(0), Ok(1)]);
        sealed.skip_rtcp(100);
        assert_eq!(index(&mut sealed), Ok(102));
        sealed.skip_rtcp(RTCP_INDEXES - 104);
        assert_eq!([index(&mut sealed), index(&mut sealed)], [Ok(RTCP_INDEXES - 1), Err(Dropped::Exhausted)]);
        sealed.skip_rtcp(u32::MAX);
        assert_eq!(index(&mut sealed), Err(Dropped::Exhausted));
    }
}
