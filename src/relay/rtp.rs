//! The header of an RTP packet (RFC 3550 section 5.1): where it ends, and its one-byte extensions (RFC 8285 section 4.2)
//! rewritten in place. Trusts no length in the packet.

use super::Dropped;

/// Octets of the fixed header.
pub(crate) const FIXED_LEN: usize = 12;
/// The profile that announces one-byte extensions.
const ONE_BYTE: u16 = 0xBEDE;

/// The fields of the fixed header that the relay reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) ssrc: u32,
    pub(crate) sequence: u16,
    /// Octets up to the payload: fixed header, CSRCs, extensions.
    pub(crate) len: usize,
}

impl Header {
    /// Reads the header of a packet, protected or not.
    pub(crate) fn parse(packet: &[u8]) -> Result<Header, Dropped> {
        let fixed = packet.first_chunk::<FIXED_LEN>().ok_or(Dropped::Malformed)?;
        if fixed[0] >> 6 != 2 {
            return Err(Dropped::Malformed);
        }
        let mut len = FIXED_LEN + 4 * usize::from(fixed[0] & 0x0F);
        if fixed[0] & 0x10 != 0 {
            let head = packet.get(len..).and_then(|rest| rest.first_chunk::<4>()).ok_or(Dropped::Malformed)?;
            len += 4 + 4 * usize::from(u16::from_be_bytes([head[2], head[3]]));
        }
        if len > packet.len() {
            return Err(Dropped::Malformed);
        }
        let ssrc = u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]);
        Ok(Header { ssrc, sequence: u16::from_be_bytes([fixed[2], fixed[3]]), len })
    }
}

/// The payload type of a packet whose header was parsed.
pub(crate) fn payload_type(packet: &[u8]) -> u8 {
    packet[1] & 0x7F
}

/// The timestamp of a packet whose header was parsed.
pub(crate) fn timestamp(packet: &[u8]) -> u32 {
    u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]])
}

/// The marker of a packet whose header was parsed.
pub(crate) fn marker(packet: &[u8]) -> bool {
    packet[1] & 0x80 != 0
}

/// Octets of padding at the end of a packet whose header was parsed (RFC 3550 section 5.1); none if there cannot be so many.
pub(crate) fn padding(packet: &[u8], header_len: usize) -> Option<usize> {
    if packet[0] & 0x20 == 0 {
        return Some(0);
    }
    let padding = usize::from(*packet.last()?);
    (padding > 0 && header_len + padding <= packet.len()).then_some(padding)
}

/// Writes a fixed header without anything behind it.
pub(crate) fn write_header(packet: &mut [u8; FIXED_LEN], marker: bool, numbers: &Numbers) {
    packet[0] = 0x80;
    packet[1] = u8::from(marker) << 7;
    renumber(packet, numbers);
}

/// The value of the first one-byte extension `id` in a parsed header, where it has one.
pub(crate) fn extension(header: &[u8], id: u8) -> Option<&[u8]> {
    if header[0] & 0x10 == 0 {
        return None;
    }
    let start = FIXED_LEN + 4 * usize::from(header[0] & 0x0F);
    let (head, mut rest) = header.get(start..)?.split_at_checked(4)?;
    if u16::from_be_bytes([head[0], head[1]]) != ONE_BYTE {
        return None;
    }
    while let Some((&first, after)) = rest.split_first() {
        let (found, len) = (first >> 4, usize::from(first & 0x0F) + 1);
        rest = match found {
            // Padding is one octet.
            0 => after,
            15 => return None,
            _ if found == id => return after.get(..len),
            _ => after.get(len..)?,
        };
    }
    None
}

/// The numbers a packet gets on its way out.
pub(crate) struct Numbers {
    pub(crate) payload_type: u8,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    pub(crate) ssrc: u32,
}

/// Writes them over those of a packet whose header was parsed; the marker stays.
pub(crate) fn renumber(packet: &mut [u8], numbers: &Numbers) {
    packet[1] = packet[1] & 0x80 | numbers.payload_type & 0x7F;
    packet[2..4].copy_from_slice(&numbers.sequence.to_be_bytes());
    packet[4..8].copy_from_slice(&numbers.timestamp.to_be_bytes());
    packet[8..12].copy_from_slice(&numbers.ssrc.to_be_bytes());
}

/// Offers each one-byte extension of the header (its id and its value) to `map`, which may change the value and answers
/// with the new id; what it does not answer for becomes padding of the same length. Extensions in any other form become
/// padding as a whole: nothing else was agreed.
pub(crate) fn map_extensions(header: &mut [u8], mut map: impl FnMut(u8, &mut [u8]) -> Option<u8>) {
    if header[0] & 0x10 == 0 {
        return;
    }
    let start = FIXED_LEN + 4 * usize::from(header[0] & 0x0F);
    let Some((head, mut rest)) = header.get_mut(start..).and_then(|tail| tail.split_at_mut_checked(4)) else { return };
    if u16::from_be_bytes([head[0], head[1]]) != ONE_BYTE {
        rest.fill(0);
        return;
    }
    while let Some((first, after)) = std::mem::take(&mut rest).split_first_mut() {
        let (id, len) = (*first >> 4, usize::from(*first & 0x0F) + 1);
        if id == 0 {
            // Padding is one octet, whatever its low bits say.
            *first = 0;
            rest = after;
            continue;
        }
        // Id 15 ends the list, and so does an element longer than the rest.
        if id == 15 || len > after.len() {
            *first = 0;
            after.fill(0);
            return;
        }
        let (value, next) = after.split_at_mut(len);
        match map(id, value) {
            Some(new) => *first = new << 4 | *first & 0x0F,
            None => {
                *first = 0;
                value.fill(0);
            }
        }
        rest = next;
    }
}

/// The original sequence number at the head of a retransmission's payload (RFC 4588 section 4); none in one that is
/// padding only, as senders use to probe.
pub(crate) fn original_sequence(packet: &mut [u8], header_len: usize) -> Option<&mut [u8; 2]> {
    let padding = if packet[0] & 0x20 != 0 { usize::from(*packet.last()?) } else { 0 };
    let end = packet.len().checked_sub(padding)?;
    packet.get_mut(header_len..end)?.first_chunk_mut()
}
