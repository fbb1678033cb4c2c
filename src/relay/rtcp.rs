//! RTCP compounds: walked without trusting a length in them, mapped in place from one leg's numbers to the other's.
//!
//! Passes what two browsers tell each other end to end: SR, RR, SDES (RFC 3550 section 6), NACK, PLI (RFC 4585), FIR,
//! TMMBR, TMMBN (RFC 5104), transport-wide feedback, REMB, XR (RFC 3611). Everything else is left out: BYE would end a
//! stream that a reloaded page goes on with, and unknown feedback may hold numbers that would not be mapped.

use super::Dropped;
use super::forward::Crossing;
use std::ops::RangeInclusive;

/// Second octets by which RTCP is told from RTP (RFC 5761 section 4).
pub(super) const KINDS: RangeInclusive<u8> = 192..=223;

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;
const EXTENDED_REPORT: u8 = 207;

const NACK: u8 = 1;
const TMMBR: u8 = 3;
const TMMBN: u8 = 4;
const TRANSPORT_WIDE: u8 = 15;
const PICTURE_LOSS: u8 = 1;
const FULL_INTRA: u8 = 4;
const APPLICATION: u8 = 15;

/// Octets of one report block.
const BLOCK_LEN: usize = 24;

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|b| u16::from_be_bytes(*b))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_be_bytes(*b))
}

fn put16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

fn put32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

/// The header of one packet of a compound.
struct Packet {
    /// Report count or feedback format: the low five bits of the first octet.
    count: u8,
    kind: u8,
    /// Octets with header and padding.
    len: usize,
    /// Octets without padding.
    body_len: usize,
}

impl Packet {
    /// Reads the packet at the head of `rest`.
    fn parse(rest: &[u8]) -> Result<Packet, Dropped> {
        let head = rest.first_chunk::<4>().ok_or(Dropped::Malformed)?;
        let len = 4 + 4 * usize::from(u16::from_be_bytes([head[2], head[3]]));
        let whole = rest.get(..len).ok_or(Dropped::Malformed)?;
        if head[0] >> 6 != 2 {
            return Err(Dropped::Malformed);
        }
        let body_len = if head[0] & 0x20 != 0 {
            let padding = usize::from(whole[len - 1]);
            len.checked_sub(padding).filter(|&body| padding > 0 && body >= 4).ok_or(Dropped::Malformed)?
        } else {
            len
        };
        Ok(Packet { count: head[0] & 0x1F, kind: head[1], len, body_len })
    }
}

/// What the relay reads of a report block (RFC 3550 section 6.4.1).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ReportBlock {
    pub(super) ssrc: u32,
    /// Middle 32 bits of the NTP time of the last sender report seen, 0 for none.
    pub(super) last_report: u32,
    /// Since then, in 1/65536 s.
    pub(super) delay: u32,
}

/// The report blocks of a compound's SR and RR, up to where it stops making sense; without those that saw no sender report.
pub(super) fn report_blocks(compound: &[u8]) -> impl Iterator<Item = ReportBlock> + '_ {
    let mut rest = compound;
    let packets = std::iter::from_fn(move || {
        let packet = Packet::parse(rest).ok()?;
        let body = &rest[..packet.body_len];
        rest = &rest[packet.len..];
        Some((packet, body))
    });
    packets.flat_map(|(packet, body)| {
        let start = blocks_start(packet.kind).unwrap_or(body.len());
        let blocks = body.get(start..).unwrap_or_default().chunks_exact(BLOCK_LEN).take(usize::from(packet.count));
        blocks.filter_map(|block| {
            let read = ReportBlock { ssrc: be32(block, 0)?, last_report: be32(block, 16)?, delay: be32(block, 20)? };
            (read.last_report != 0).then_some(read)
        })
    })
}

/// Where the report blocks of an SR or RR begin.
fn blocks_start(kind: u8) -> Option<usize> {
    match kind {
        SENDER_REPORT => Some(28),
        RECEIVER_REPORT => Some(8),
        _ => None,
    }
}

/// Writes a picture loss indication about `media` (RFC 4585 section 6.3.1); returns its length.
pub(super) fn write_picture_loss(out: &mut [u8], sender: u32, media: u32) -> Result<usize, Dropped> {
    let packet = out.first_chunk_mut::<12>().ok_or(Dropped::NoRoom)?;
    packet[..4].copy_from_slice(&[0x80 | PICTURE_LOSS, PAYLOAD_FEEDBACK, 0, 2]);
    put32(packet, 4, sender);
    put32(packet, 8, media);
    Ok(packet.len())
}

/// Maps the compound in place; what is not for the other leg is taken out. Returns the new length.
pub(super) fn map(compound: &mut [u8], crossing: &mut Crossing) -> Result<usize, Dropped> {
    // All lengths first, so that a malformed compound has no effect at all.
    let mut read = 0;
    while read < compound.len() {
        read += Packet::parse(&compound[read..])?.len;
    }
    let (mut read, mut written) = (0, 0);
    while read < compound.len() {
        let packet = Packet::parse(&compound[read..])?;
        if let Some(kept) = map_packet(&mut compound[read..read + packet.len], &packet, crossing) {
            compound.copy_within(read..read + kept, written);
            written += kept;
        }
        read += packet.len;
    }
    if written == 0 { Err(Dropped::NothingLeft) } else { Ok(written) }
}

/// Maps one packet; returns how many octets of it go on, or none if it is not for the other leg or makes no sense.
fn map_packet(whole: &mut [u8], packet: &Packet, crossing: &mut Crossing) -> Option<usize> {
    let body = &mut whole[..packet.body_len];
    let sender = be32(body, 4);
    let kept = match (packet.kind, packet.count) {
        (SENDER_REPORT, count) => {
            let (sender, ntp_middle, timestamp) = (sender?, be32(body, 10)?, be32(body, 16)?);
            if body.len() < 28 {
                return None;
            }
            let timestamp = crossing.sender_report(sender, timestamp, ntp_middle)?;
            put32(body, 16, timestamp);
            map_blocks(body, 28, count, crossing)?
        }
        (RECEIVER_REPORT, count) => {
            sender?;
            map_blocks(body, 8, count, crossing)?
        }
        (SOURCE_DESCRIPTION, 0) => return None,
        (SOURCE_DESCRIPTION, count) => return map_chunks(body, count, crossing).then_some(packet.len),
        (TRANSPORT_FEEDBACK, NACK) => {
            let media = be32(body, 8)?;
            for entry in body[12..].chunks_exact_mut(4) {
                let lost = be16(entry, 0)?;
                put16(entry, 0, crossing.back_sequence(media, lost)?);
            }
            map_media(body, crossing)?;
            packet.len
        }
        (TRANSPORT_FEEDBACK, TRANSPORT_WIDE) => {
            let base = be16(body, 12)?;
            put16(body, 12, crossing.back_wide(base)?);
            map_or_keep(body, 8, crossing)?;
            packet.len
        }
        (TRANSPORT_FEEDBACK, TMMBR | TMMBN) | (PAYLOAD_FEEDBACK, FULL_INTRA) => {
            map_or_keep(body, 8, crossing)?;
            for entry in body[12..].chunks_exact_mut(8) {
                map_or_keep(entry, 0, crossing)?;
            }
            packet.len
        }
        (PAYLOAD_FEEDBACK, PICTURE_LOSS) => {
            map_media(body, crossing)?;
            packet.len
        }
        (PAYLOAD_FEEDBACK, APPLICATION) if body.get(12..16) == Some(b"REMB") => {
            map_or_keep(body, 8, crossing)?;
            let count = usize::from(*body.get(16)?);
            for entry in body.get_mut(20..20 + 4 * count)?.chunks_exact_mut(4) {
                map_or_keep(entry, 0, crossing)?;
            }
            packet.len
        }
        (EXTENDED_REPORT, _) => {
            sender?;
            map_extended(body, crossing)
        }
        _ => return None,
    };
    map_or_keep(whole, 4, crossing)?;
    if kept < packet.len {
        // What was taken out took the padding with it.
        whole[0] &= !0x20;
        put16(whole, 2, u16::try_from(kept / 4 - 1).ok()?);
    }
    Some(kept)
}

/// Maps the SSRC at `at` if the legs know it.
fn map_or_keep(bytes: &mut [u8], at: usize, crossing: &Crossing) -> Option<()> {
    let ssrc = be32(bytes, at)?;
    put32(bytes, at, crossing.ssrc(ssrc).unwrap_or(ssrc));
    Some(())
}

/// Maps the media SSRC of a feedback packet, which must be one the other leg sends.
fn map_media(body: &mut [u8], crossing: &Crossing) -> Option<()> {
    let media = crossing.media_ssrc(be32(body, 8)?)?;
    put32(body, 8, media);
    Some(())
}

/// Maps the report blocks that are about something the other leg sends now, and takes the others out together with
/// what follows the blocks. Returns the octets left, or none if the blocks do not fit in the packet.
fn map_blocks(body: &mut [u8], start: usize, count: u8, crossing: &Crossing) -> Option<usize> {
    let end = start + BLOCK_LEN * usize::from(count);
    if body.len() < end {
        return None;
    }
    let (mut written, mut kept) = (start, 0);
    for read in (start..end).step_by(BLOCK_LEN) {
        let block = &mut body[read..read + BLOCK_LEN];
        let (ssrc, highest) = (be32(block, 0)?, be32(block, 8)?);
        let (Some(media), Some(highest)) = (crossing.media_ssrc(ssrc), crossing.back_extended(ssrc, highest)) else { continue };
        put32(block, 0, media);
        put32(block, 8, highest);
        body.copy_within(read..read + BLOCK_LEN, written);
        written += BLOCK_LEN;
        kept += 1;
    }
    body[0] = body[0] & 0xE0 | kept;
    Some(written)
}

/// Maps the SSRC of each SDES chunk (RFC 3550 section 6.5); false if they do not fit in the packet.
fn map_chunks(body: &mut [u8], count: u8, crossing: &Crossing) -> bool {
    let mut at = 4;
    for _ in 0..count {
        if map_or_keep(body, at, crossing).is_none() {
            return false;
        }
        at += 4;
        loop {
            match (body.get(at), body.get(at + 1)) {
                // The list ends with a null octet, and the next chunk begins at a multiple of four.
                (Some(0), _) => break,
                (Some(_), Some(&len)) => at += 2 + usize::from(len),
                _ => return false,
            }
        }
        at = (at + 4) & !3;
    }
    at <= body.len()
}

/// Maps the blocks of an XR (RFC 3611 section 4) and takes out those of unknown kinds and about what the other leg does not
/// send. Returns the octets left.
fn map_extended(body: &mut [u8], crossing: &Crossing) -> usize {
    let (mut read, mut written) = (8, 8);
    while let (Some(&kind), Some(words)) = (body.get(read), be16(body, read + 2)) {
        let len = 4 + 4 * usize::from(words);
        let Some(block) = body.get_mut(read..read + len) else { break };
        if map_extended_block(kind, block, crossing).is_some() {
            body.copy_within(read..read + len, written);
            written += len;
        }
        read += len;
    }
    written
}

fn map_extended_block(kind: u8, block: &mut [u8], crossing: &Crossing) -> Option<()> {
    match kind {
        // Loss, duplicate and receipt time lists, statistics: SSRC, first and last sequence number.
        1 | 2 | 3 | 6 => {
            let (ssrc, begin, end) = (be32(block, 4)?, be16(block, 8)?, be16(block, 10)?);
            put16(block, 8, crossing.back_sequence(ssrc, begin)?);
            put16(block, 10, crossing.back_sequence(ssrc, end)?);
            put32(block, 4, crossing.media_ssrc(ssrc)?);
        }
        // Reference time: no SSRC.
        4 => (),
        // Delay since the last reference time: one sub-block for each reporter.
        5 => {
            for reporter in block[4..].chunks_exact_mut(12) {
                map_or_keep(reporter, 0, crossing)?;
            }
        }
        // VoIP metrics.
        7 => {
            let media = crossing.media_ssrc(be32(block, 4)?)?;
            put32(block, 4, media);
        }
        _ => return None,
    }
    Some(())
}
