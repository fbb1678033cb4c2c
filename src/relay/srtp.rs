//! SRTP and SRTCP in place: AES-128-GCM (RFC 7714) and AES-CM-128-HMAC-SHA1-80 (RFC 3711).
//!
//! Ciphers and key derivation only, without memory of what was sent or seen: indexes come in as arguments, and
//! [`super::leg`] sees to it that none is used twice.

use super::Dropped;
use rtc_crypto::{
    AeadAlgorithm, AeadCipher, BlockCipherAlgorithm, CryptoError, HmacAlgorithm, Mac, RTCCrypto, SecretVec, StreamCipher,
    StreamCipherAlgorithm, constant_time_eq,
};

/// How packets are protected; the names of RFC 5764 section 4.1.2 and RFC 7714 section 14.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// `SRTP_AEAD_AES_128_GCM`.
    AeadAes128Gcm,
    /// `SRTP_AES128_CM_HMAC_SHA1_80`.
    Aes128CmHmacSha1_80,
}

/// Octets of the master and session encryption keys of both profiles.
const KEY_LEN: usize = 16;
/// Octets of the HMAC-SHA1 key and of its untruncated tag.
const HMAC_LEN: usize = 20;
/// Octets of the truncated HMAC tag: 80 bits.
const HMAC_TAG_LEN: usize = 10;
/// Octets of a GCM tag.
const GCM_TAG_LEN: usize = 16;
/// Octets of an RTCP packet that stay readable: the first header and its SSRC.
const RTCP_HEADER_LEN: usize = 8;
/// Octets of the E flag and the 31-bit SRTCP index.
const RTCP_INDEX_LEN: usize = 4;
/// The E flag: the packet is encrypted.
const RTCP_ENCRYPTED: u32 = 1 << 31;

impl Profile {
    /// Octets of the master salt.
    pub const fn salt_len(self) -> usize {
        match self {
            Profile::AeadAes128Gcm => 12,
            Profile::Aes128CmHmacSha1_80 => 14,
        }
    }

    /// Octets to export from DTLS: two keys and two salts (RFC 5764 section 4.2).
    pub const fn keying_len(self) -> usize {
        2 * (KEY_LEN + self.salt_len())
    }

    /// Octets that protecting adds to an RTP packet.
    pub const fn tag_len(self) -> usize {
        match self {
            Profile::AeadAes128Gcm => GCM_TAG_LEN,
            Profile::Aes128CmHmacSha1_80 => HMAC_TAG_LEN,
        }
    }
}

/// The master keys of a leg. Its `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct Keying {
    profile: Profile,
    local_key: SecretVec,
    local_salt: SecretVec,
    remote_key: SecretVec,
    remote_salt: SecretVec,
}

impl Keying {
    /// Splits what the DTLS exporter gave under the label `EXTRACTOR-dtls_srtp` (RFC 5764 section 4.2); none unless it is
    /// exactly [`Profile::keying_len`] octets. `we_are_client` is our DTLS role.
    pub fn from_exporter(profile: Profile, material: &[u8], we_are_client: bool) -> Option<Keying> {
        if material.len() != profile.keying_len() {
            return None;
        }
        let (keys, salts) = material.split_at(2 * KEY_LEN);
        let (client_key, server_key) = keys.split_at(KEY_LEN);
        let (client_salt, server_salt) = salts.split_at(profile.salt_len());
        let secret = |bytes: &[u8]| SecretVec::new(bytes.to_vec());
        let (client, server) = ((secret(client_key), secret(client_salt)), (secret(server_key), secret(server_salt)));
        let (local, remote) = if we_are_client { (client, server) } else { (server, client) };
        Some(Keying { profile, local_key: local.0, local_salt: local.1, remote_key: remote.0, remote_salt: remote.1 })
    }

    /// The profile the keys are for.
    pub fn profile(&self) -> Profile {
        self.profile
    }
}
