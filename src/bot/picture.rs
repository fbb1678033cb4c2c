//! What the bot shows: a loop of VP8 from the binary, cut into RTP payloads.
//!
//! Timestamps go on over the seams of the loop, which begins with its only key frame. Who asks for a key frame gets the
//! beginning, once a second at most.

use crate::media::client::MAX_PAYLOAD;
use bytes::Bytes;
use rtc_rtp::codec::vp8::Vp8Payloader;
use rtc_rtp::packetizer::Payloader;
use std::time::Duration;

/// See fixtures/bot/README.md.
const MOON: &[u8] = include_bytes!("../../fixtures/bot/moon.ivf");
/// Octets of the file header and of a frame's.
const FILE_HEADER: usize = 32;
const FRAME_HEADER: usize = 12;
/// Ticks a second (RFC 7741 section 4.1).
const CLOCK: u32 = 90_000;

/// Why a picture is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IvfError {
    /// No IVF file of VP8.
    #[error("not an IVF file of VP8")]
    NotVp8,
    /// A frame rate of nothing, or more than 120.
    #[error("a frame rate that cannot be")]
    Rate,
    /// It ends inside a frame.
    #[error("cut short")]
    CutShort,
    /// It has no frame, or the first one is not a key frame.
    #[error("no key frame at the beginning")]
    NoKeyFrame,
}

/// One RTP payload.
pub(super) struct Packet {
    pub(super) timestamp: u32,
    /// The last of its frame.
    pub(super) marker: bool,
    pub(super) payload: Bytes,
}

/// The loop and where it is.
pub(super) struct Picture {
    frames: Vec<Bytes>,
    /// Ticks of a frame.
    step: u32,
    at: usize,
    timestamp: u32,
    payloader: Vp8Payloader,
    restart: bool,
    /// Frames since the last key frame was sent.
    since_key: u32,
}

impl Picture {
    /// The moon over slow water.
    pub(super) fn moon() -> Result<Self, IvfError> {
        let (frames, step) = read(Bytes::from_static(MOON))?;
        let mut payloader = Vp8Payloader::default();
        payloader.enable_picture_id = true;
        Ok(Self { frames, step, at: 0, timestamp: 0, payloader, restart: false, since_key: 0 })
    }

    /// The time between two frames.
    pub(super) fn pace(&self) -> Duration {
        Duration::from_micros(u64::from(self.step) * 1_000_000 / u64::from(CLOCK))
    }

    /// Goes back to the key frame soon.
    pub(super) fn restart(&mut self) {
        self.restart = true;
    }

    /// The packets of the next frame.
    pub(super) fn next_frame(&mut self) -> impl Iterator<Item = Packet> {
        if self.restart && self.since_key.saturating_mul(self.step) >= CLOCK {
            self.at = 0;
        }
        if self.at == 0 {
            (self.restart, self.since_key) = (false, 0);
        }
        self.since_key = self.since_key.saturating_add(1);
        let timestamp = self.timestamp;
        self.timestamp = timestamp.wrapping_add(self.step);
        // It fails for nothing but a room of zero.
        let payloads = self.payloader.payload(MAX_PAYLOAD, &self.frames[self.at]).unwrap_or_default();
        self.at = (self.at + 1) % self.frames.len();
        let last = payloads.len().saturating_sub(1);
        payloads.into_iter().enumerate().map(move |(place, payload)| Packet { timestamp, marker: place == last, payload })
    }
}

/// The frames of an IVF file, and the ticks of one.
pub(super) fn read(file: Bytes) -> Result<(Vec<Bytes>, u32), IvfError> {
    let header = file.get(..FILE_HEADER).ok_or(IvfError::NotVp8)?;
    if &header[..4] != b"DKIF" || &header[8..12] != b"VP80" {
        return Err(IvfError::NotVp8);
    }
    let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    // Frames in `rate / scale` seconds.
    let (rate, scale) = (u64::from(word(16)), u64::from(word(20)));
    if rate == 0 || scale == 0 || rate > 120 * scale || scale > rate {
        return Err(IvfError::Rate);
    }
    let step = u64::from(CLOCK) * scale / rate;
    let mut frames = Vec::new();
    let mut rest = file.slice(usize::from(u16::from_le_bytes([header[6], header[7]])).clamp(FILE_HEADER, file.len())..);
    while !rest.is_empty() {
        let size = rest.first_chunk::<4>().filter(|_| rest.len() >= FRAME_HEADER).ok_or(IvfError::CutShort)?;
        let end = FRAME_HEADER + u32::from_le_bytes(*size) as usize;
        if end > rest.len() || end == FRAME_HEADER {
            return Err(IvfError::CutShort);
        }
        let mut frame = rest.split_to(end);
        frames.push(frame.split_off(FRAME_HEADER));
    }
    match frames.first() {
        Some(first) if is_key_frame(first) => Ok((frames, step as u32)), // At most CLOCK.
        _ => Err(IvfError::NoKeyFrame),
    }
}

/// RFC 6386 section 9.1: the lowest bit of the first octet is 0.
fn is_key_frame(frame: &[u8]) -> bool {
    frame.first().is_some_and(|octet| octet & 1 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtc_rtp::codec::vp8::Vp8Packet;
    use rtc_rtp::packetizer::Depacketizer;

    /// Puts the packets of a frame together again.
    fn joined(packets: impl Iterator<Item = Packet>) -> (u32, Vec<u8>) {
        let packets: Vec<Packet> = packets.collect();
        let mut frame = Vec::new();
        for (place, packet) in packets.iter().enumerate() {
            assert!(packet.payload.len() <= MAX_PAYLOAD);
            assert_eq!(packet.timestamp, packets[0].timestamp);
            assert_eq!(packet.marker, place + 1 == packets.len());
            let mut descriptor = Vp8Packet::default();
            frame.extend_from_slice(&descriptor.depacketize(&packet.payload).expect("a payload descriptor"));
            assert_eq!((descriptor.s == 1, descriptor.pid, descriptor.i), (place == 0, 0, 1));
        }
        (packets[0].timestamp, frame)
    }

    #[test]
    fn the_moon_is_eight_seconds_that_loop_with_one_key_frame() {
        let mut moon = Picture::moon().expect("the moon");
        assert!(MOON.len() <= 350_000);
        assert_eq!((moon.frames.len(), moon.step, moon.pace().as_millis()), (120, 6_000, 66));
        assert_eq!(moon.frames.iter().filter(|frame| is_key_frame(frame)).count(), 1);
        for place in 0..250_u32 {
            let (timestamp, frame) = joined(moon.next_frame());
            assert_eq!(timestamp, place * 6_000);
            assert_eq!(frame[..], moon.frames[place as usize % 120][..]);
        }
    }

    #[test]
    fn a_key_frame_comes_when_asked_for_but_once_a_second() {
        let mut moon = Picture::moon().expect("the moon");
        let mut keys = Vec::new();
        for place in 0..60 {
            moon.restart();
            if is_key_frame(&joined(moon.next_frame()).1) {
                keys.push(place);
            }
        }
        assert_eq!(keys, [0, 15, 30, 45]);
    }

    #[test]
    fn damaged_files_are_told_apart() {
        let with = |at: usize, octet: u8| {
            let mut file = MOON.to_vec();
            file[at] = octet;
            read(Bytes::from(file)).expect_err("damaged")
        };
        assert_eq!(with(0, b'X'), IvfError::NotVp8);
        assert_eq!(with(11, b'9'), IvfError::NotVp8);
        assert_eq!(with(16, 0), IvfError::Rate);
        assert_eq!(with(44, MOON[44] | 1), IvfError::NoKeyFrame);
        assert_eq!(with(35, 0xFF), IvfError::CutShort);
        assert_eq!(read(Bytes::from_static(&MOON[..20])), Err(IvfError::NotVp8));
        assert_eq!(read(Bytes::from_static(&MOON[..32])), Err(IvfError::NoKeyFrame));
        assert_eq!(read(Bytes::from_static(&MOON[..MOON.len() - 1])), Err(IvfError::CutShort));
    }
}
