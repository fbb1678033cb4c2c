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

impl Keying {
    /// What protects packets to the peer.
    pub(crate) fn local(&self, crypto: &dyn RTCCrypto) -> Result<Ciphers, CryptoError> {
        Ciphers::new(self.profile, self.local_key.as_ref(), self.local_salt.as_ref(), crypto)
    }

    /// What opens packets of the peer.
    pub(crate) fn remote(&self, crypto: &dyn RTCCrypto) -> Result<Ciphers, CryptoError> {
        Ciphers::new(self.profile, self.remote_key.as_ref(), self.remote_salt.as_ref(), crypto)
    }
}

/// The session keys of one direction of a leg.
pub(crate) struct Ciphers {
    rtp: Cipher,
    rtcp: Cipher,
}

enum Cipher {
    Gcm { aead: Box<dyn AeadCipher>, salt: [u8; 12] },
    Cm { stream: Box<dyn StreamCipher>, mac: Box<dyn Mac>, salt: [u8; 14] },
}

/// Labels of key derivation (RFC 3711 section 4.3.2): encryption, authentication, salt.
const RTP_LABELS: [u8; 3] = [0, 1, 2];
const RTCP_LABELS: [u8; 3] = [3, 4, 5];

impl Ciphers {
    fn new(profile: Profile, key: &[u8], salt: &[u8], crypto: &dyn RTCCrypto) -> Result<Self, CryptoError> {
        Ok(Self { rtp: Cipher::new(profile, key, salt, RTP_LABELS, crypto)?, rtcp: Cipher::new(profile, key, salt, RTCP_LABELS, crypto)? })
    }

    /// Authenticates and decrypts the RTP packet in `packet`; returns its length without tag. `header_len` lies inside it.
    pub(crate) fn open_rtp(&mut self, packet: &mut [u8], header_len: usize, ssrc: u32, index: u64) -> Result<usize, Dropped> {
        match &mut self.rtp {
            Cipher::Gcm { aead, salt } => {
                let len = shorten(packet.len(), GCM_TAG_LEN, header_len)?;
                let (clear, tag) = packet.split_at_mut(len);
                let (header, payload) = clear.split_at_mut(header_len);
                aead.open_in_place(&gcm_rtp_nonce(salt, ssrc, index), header, payload, tag).map_err(|_| Dropped::Forged)?;
                Ok(len)
            }
            Cipher::Cm { stream, mac, salt } => {
                let len = shorten(packet.len(), HMAC_TAG_LEN, header_len)?;
                let (clear, tag) = packet.split_at_mut(len);
                let expected = hmac_tag(mac, &[clear, &roll_over(index)])?;
                if !constant_time_eq(&expected, tag) {
                    return Err(Dropped::Forged);
                }
                stream.apply_keystream(&cm_iv(salt, ssrc, index), &mut clear[header_len..]).map_err(|_| Dropped::Forged)?;
                Ok(len)
            }
        }
    }

    /// Encrypts and tags the RTP packet in the first `len` octets of `buffer`; returns its length with tag.
    pub(crate) fn seal_rtp(&mut self, buffer: &mut [u8], header_len: usize, len: usize, ssrc: u32, index: u64) -> Result<usize, Dropped> {
        match &mut self.rtp {
            Cipher::Gcm { aead, salt } => {
                let (clear, room) = buffer.split_at_mut_checked(len).ok_or(Dropped::NoRoom)?;
                let tag = room.get_mut(..GCM_TAG_LEN).ok_or(Dropped::NoRoom)?;
                let (header, payload) = clear.split_at_mut_checked(header_len).ok_or(Dropped::Malformed)?;
                aead.seal_in_place(&gcm_rtp_nonce(salt, ssrc, index), header, payload, tag).map_err(|_| Dropped::Malformed)?;
                Ok(len + GCM_TAG_LEN)
            }
            Cipher::Cm { stream, mac, salt } => {
                let (clear, room) = buffer.split_at_mut_checked(len).ok_or(Dropped::NoRoom)?;
                let tag = room.get_mut(..HMAC_TAG_LEN).ok_or(Dropped::NoRoom)?;
                let payload = clear.get_mut(header_len..).ok_or(Dropped::Malformed)?;
                stream.apply_keystream(&cm_iv(salt, ssrc, index), payload).map_err(|_| Dropped::Malformed)?;
                tag.copy_from_slice(&hmac_tag(mac, &[clear, &roll_over(index)])?);
                Ok(len + HMAC_TAG_LEN)
            }
        }
    }

    /// Reads sender and index of an SRTCP packet, neither of them proved yet. A packet that says it is not encrypted is
    /// refused: no browser sends one.
    pub(crate) fn rtcp_sender_and_index(&self, packet: &[u8]) -> Result<(u32, u32), Dropped> {
        let after = match self.rtcp {
            Cipher::Gcm { .. } => 0,
            Cipher::Cm { .. } => HMAC_TAG_LEN,
        };
        let end = packet.len().checked_sub(after).ok_or(Dropped::Malformed)?;
        let start = end.checked_sub(RTCP_INDEX_LEN).ok_or(Dropped::Malformed)?;
        let (Some(sender), Some(word)) = (be32(packet, 4), be32(packet, start)) else { return Err(Dropped::Malformed) };
        if start < RTCP_HEADER_LEN || word & RTCP_ENCRYPTED == 0 {
            return Err(Dropped::Malformed);
        }
        Ok((sender, word & !RTCP_ENCRYPTED))
    }

    /// Authenticates and decrypts the SRTCP packet in `packet`; returns the length of the compound in clear.
    pub(crate) fn open_rtcp(&mut self, packet: &mut [u8], sender: u32, index: u32) -> Result<usize, Dropped> {
        match &mut self.rtcp {
            Cipher::Gcm { aead, salt } => {
                // Packet, tag, index word: the readable header and the index word are the associated data (RFC 7714 section 9.2).
                let len = shorten(packet.len(), GCM_TAG_LEN + RTCP_INDEX_LEN, RTCP_HEADER_LEN)?;
                let (clear, rest) = packet.split_at_mut(len);
                let (header, payload) = clear.split_at_mut(RTCP_HEADER_LEN);
                let data = rtcp_associated(header, index);
                aead.open_in_place(&gcm_rtcp_nonce(salt, sender, index), &data, payload, &rest[..GCM_TAG_LEN])
                    .map_err(|_| Dropped::Forged)?;
                Ok(len)
            }
            Cipher::Cm { stream, mac, salt } => {
                // Packet, index word, tag (RFC 3711 section 3.4).
                let len = shorten(packet.len(), HMAC_TAG_LEN + RTCP_INDEX_LEN, RTCP_HEADER_LEN)?;
                let (signed, tag) = packet.split_at_mut(len + RTCP_INDEX_LEN);
                let expected = hmac_tag(mac, &[signed])?;
                if !constant_time_eq(&expected, tag) {
                    return Err(Dropped::Forged);
                }
                let payload = &mut signed[RTCP_HEADER_LEN..len];
                stream.apply_keystream(&cm_iv(salt, sender, u64::from(index)), payload).map_err(|_| Dropped::Forged)?;
                Ok(len)
            }
        }
    }

    /// Encrypts and tags the RTCP compound in the first `len` octets of `buffer`; returns its length on the wire.
    pub(crate) fn seal_rtcp(&mut self, buffer: &mut [u8], len: usize, index: u32) -> Result<usize, Dropped> {
        let (clear, room) = buffer.split_at_mut_checked(len).ok_or(Dropped::NoRoom)?;
        let (header, payload) = clear.split_at_mut_checked(RTCP_HEADER_LEN).ok_or(Dropped::Malformed)?;
        let sender = be32(header, 4).ok_or(Dropped::Malformed)?;
        let word = (index | RTCP_ENCRYPTED).to_be_bytes();
        match &mut self.rtcp {
            Cipher::Gcm { aead, salt } => {
                let room = room.get_mut(..GCM_TAG_LEN + RTCP_INDEX_LEN).ok_or(Dropped::NoRoom)?;
                let data = rtcp_associated(header, index);
                let (tag, index_word) = room.split_at_mut(GCM_TAG_LEN);
                aead.seal_in_place(&gcm_rtcp_nonce(salt, sender, index), &data, payload, tag).map_err(|_| Dropped::Malformed)?;
                index_word.copy_from_slice(&word);
                Ok(len + GCM_TAG_LEN + RTCP_INDEX_LEN)
            }
            Cipher::Cm { stream, mac, salt } => {
                let room = room.get_mut(..HMAC_TAG_LEN + RTCP_INDEX_LEN).ok_or(Dropped::NoRoom)?;
                stream.apply_keystream(&cm_iv(salt, sender, u64::from(index)), payload).map_err(|_| Dropped::Malformed)?;
                let (index_word, tag) = room.split_at_mut(RTCP_INDEX_LEN);
                index_word.copy_from_slice(&word);
                tag.copy_from_slice(&hmac_tag(mac, &[clear, index_word])?);
                Ok(len + HMAC_TAG_LEN + RTCP_INDEX_LEN)
            }
        }
    }
}

impl Cipher {
    fn new(profile: Profile, key: &[u8], salt: &[u8], labels: [u8; 3], crypto: &dyn RTCCrypto) -> Result<Self, CryptoError> {
        let [encryption, authentication, salting] = labels;
        let mut session_key = SecretVec::new(vec![0; KEY_LEN]);
        derive(crypto, key, salt, encryption, session_key.as_mut())?;
        Ok(match profile {
            Profile::AeadAes128Gcm => {
                let mut session_salt = [0; 12];
                derive(crypto, key, salt, salting, &mut session_salt)?;
                Cipher::Gcm { aead: crypto.new_aead(AeadAlgorithm::Aes128Gcm, session_key.as_ref())?, salt: session_salt }
            }
            Profile::Aes128CmHmacSha1_80 => {
                let mut session_salt = [0; 14];
                derive(crypto, key, salt, salting, &mut session_salt)?;
                let mut mac_key = SecretVec::new(vec![0; HMAC_LEN]);
                derive(crypto, key, salt, authentication, mac_key.as_mut())?;
                Cipher::Cm {
                    stream: crypto.new_stream_cipher(StreamCipherAlgorithm::Aes128Ctr, session_key.as_ref())?,
                    mac: crypto.new_hmac(HmacAlgorithm::Sha1, mac_key.as_ref())?,
                    salt: session_salt,
                }
            }
        })
    }
}

/// Fills `out` with the session key of `label` (RFC 3711 section 4.3.3, key derivation rate 0). A salt of 12 octets stands
/// for one with two zero octets behind (RFC 7714 section 11).
fn derive(crypto: &dyn RTCCrypto, master_key: &[u8], master_salt: &[u8], label: u8, out: &mut [u8]) -> Result<(), CryptoError> {
    let mut counter = [0; 16];
    counter[..master_salt.len()].copy_from_slice(master_salt);
    counter[7] ^= label;
    for (number, chunk) in (0u16..).zip(out.chunks_mut(16)) {
        counter[14..].copy_from_slice(&number.to_be_bytes());
        let mut block = counter;
        crypto.block_encrypt(BlockCipherAlgorithm::Aes128, master_key, &mut block)?;
        chunk.copy_from_slice(&block[..chunk.len()]);
    }
    Ok(())
}

/// The length left when `tail` octets are taken off, if at least `least` stay.
fn shorten(len: usize, tail: usize, least: usize) -> Result<usize, Dropped> {
    len.checked_sub(tail).filter(|&rest| rest >= least).ok_or(Dropped::Malformed)
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_be_bytes(*bytes))
}

/// The roll-over counter: the upper 32 bits of a 48-bit index.
fn roll_over(index: u64) -> [u8; 4] {
    ((index >> 16) as u32).to_be_bytes()
}

/// RFC 7714 section 8.1.
fn gcm_rtp_nonce(salt: &[u8; 12], ssrc: u32, index: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[2..6].copy_from_slice(&ssrc.to_be_bytes());
    nonce[6..].copy_from_slice(&index.to_be_bytes()[2..]);
    for (octet, salt) in nonce.iter_mut().zip(salt) {
        *octet ^= salt;
    }
    nonce
}

/// RFC 7714 section 9.1: the SRTCP index stands in the last four octets.
fn gcm_rtcp_nonce(salt: &[u8; 12], ssrc: u32, index: u32) -> [u8; 12] {
    gcm_rtp_nonce(salt, ssrc, u64::from(index))
}

/// The readable header and the index word, which GCM authenticates along with the payload (RFC 7714 section 17).
fn rtcp_associated(header: &[u8], index: u32) -> [u8; RTCP_HEADER_LEN + RTCP_INDEX_LEN] {
    let mut data = [0; RTCP_HEADER_LEN + RTCP_INDEX_LEN];
    data[..RTCP_HEADER_LEN].copy_from_slice(header);
    data[RTCP_HEADER_LEN..].copy_from_slice(&(index | RTCP_ENCRYPTED).to_be_bytes());
    data
}

/// RFC 3711 section 4.1.1; the last two octets count blocks.
fn cm_iv(salt: &[u8; 14], ssrc: u32, index: u64) -> [u8; 16] {
    let mut iv = [0; 16];
    iv[..14].copy_from_slice(salt);
    for (octet, part) in iv[4..8].iter_mut().zip(ssrc.to_be_bytes()) {
        *octet ^= part;
    }
    for (octet, part) in iv[8..14].iter_mut().zip(&index.to_be_bytes()[2..]) {
        *octet ^= part;
    }
    iv
}

/// The first 80 bits of the HMAC over `parts` (RFC 3711 section 4.2.1).
fn hmac_tag(mac: &mut Box<dyn Mac>, parts: &[&[u8]]) -> Result<[u8; HMAC_TAG_LEN], Dropped> {
    let mut whole = [0; HMAC_LEN];
    mac.sign(parts, &mut whole).map_err(|_| Dropped::Forged)?;
    let mut tag = [0; HMAC_TAG_LEN];
    tag.copy_from_slice(&whole[..HMAC_TAG_LEN]);
    Ok(tag)
}

#[cfg(test)]
mod tests;
