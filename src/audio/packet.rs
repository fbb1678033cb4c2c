//! What an Opus packet says of itself before it is decoded (RFC 6716 section 3): mode, frames, lengths.
//!
//! It decodes nothing and keeps nothing. Invariant: a [`Shape`] was read from a packet that obeys rules R1 to R7 of section 3.4, so its
//! length is 2.5 to 120 ms; whatever does not is no packet.

use crate::clock::Moment;

/// Ticks a second of RTP timestamps of Opus, whatever is coded (RFC 7587 section 4.1).
pub const RTP_RATE: u32 = 48_000;
/// The longest packet in RTP ticks: 120 ms (RFC 6716 section 3.4, R5).
pub const LONGEST_TICKS: u32 = 5_760;
/// The longest frame in octets (RFC 6716 section 3.4, R2).
const LONGEST_FRAME: usize = 1_275;

/// One audio packet as it came, open.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// Its RTP sequence number, extended by the roll-overs of its source.
    pub index: u64,
    /// Its RTP timestamp: ticks of 1/48,000 s from a random start.
    pub timestamp: u32,
    /// When it arrived.
    pub at: Moment,
    /// The Opus packet.
    pub payload: &'a [u8],
}

/// What codes the sound (RFC 6716 section 3.1, table 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Linear prediction: speech up to 8 kHz.
    Silk,
    /// Both: speech above 8 kHz.
    Hybrid,
    /// Transform: music, and everything in short frames.
    Celt,
}

/// What a packet holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// What codes it.
    pub mode: Mode,
    /// Two channels.
    pub stereo: bool,
    /// Length of a frame in RTP ticks: 120 to 2,880.
    pub frame_ticks: u32,
    /// Frames: 1 to 48.
    pub frames: u8,
    /// Octets of the longest frame.
    pub longest: u16,
}

impl Shape {
    /// Reads a packet's shape; nothing if it breaks a rule.
    pub fn read(packet: &[u8]) -> Option<Shape> {
        let (&toc, body) = packet.split_first()?;
        let config = toc >> 3;
        let (mode, frame_ticks) = match config {
            0..12 => (Mode::Silk, [480, 960, 1_920, 2_880][usize::from(config & 3)]),
            12..16 => (Mode::Hybrid, [480, 960][usize::from(config & 1)]),
            _ => (Mode::Celt, [120, 240, 480, 960][usize::from(config & 3)]),
        };
        let (frames, longest) = match toc & 3 {
            0 => (1, body.len()),
            1 => (body.len() % 2 == 0).then_some((2, body.len() / 2))?,
            2 => {
                let (first, rest) = frame_len(body)?;
                (2, first.max(rest.len().checked_sub(first)?))
            }
            _ => many(body)?,
        };
        let shape = Shape { mode, stereo: toc & 4 != 0, frame_ticks, frames, longest: u16::try_from(longest).ok()? };
        (longest <= LONGEST_FRAME && shape.ticks() <= LONGEST_TICKS).then_some(shape)
    }

    /// Length in RTP ticks.
    pub const fn ticks(&self) -> u32 {
        self.frame_ticks * self.frames as u32
    }

    /// Whether it only says that there is nothing to say: a frame of at most one octet is what an encoder in DTX leaves of it
    /// (RFC 6716 section 2.1.9), and a decoder would make something up for it.
    pub const fn is_withheld(&self) -> bool {
        self.longest <= 1
    }
}

/// Frames and the longest frame of a packet of code 3 (RFC 6716 section 3.2.5), behind the table of contents.
fn many(body: &[u8]) -> Option<(u8, usize)> {
    let (&head, mut body) = body.split_first()?;
    let frames = head & 0x3F;
    if frames == 0 {
        return None;
    }
    if head & 0x40 != 0 {
        // Each 255 stands for 254 octets of padding and another octet that says how much.
        let mut padding = 0;
        loop {
            let (&more, rest) = body.split_first()?;
            body = rest;
            padding += usize::from(more.min(254));
            if more != 255 {
                break;
            }
        }
        body = body.get(..body.len().checked_sub(padding)?)?;
    }
    if head & 0x80 == 0 {
        let each = body.len() / usize::from(frames);
        return (each * usize::from(frames) == body.len()).then_some((frames, each));
    }
    let (mut longest, mut sum) = (0, 0);
    for _ in 1..frames {
        let (len, rest) = frame_len(body)?;
        body = rest;
        longest = longest.max(len);
        sum += len;
    }
    Some((frames, longest.max(body.len().checked_sub(sum)?)))
}

/// A frame's length and what follows it (RFC 6716 section 3.2.1).
fn frame_len(body: &[u8]) -> Option<(usize, &[u8])> {
    match *body {
        [first @ 0..252, ref rest @ ..] => Some((usize::from(first), rest)),
        [first, second, ref rest @ ..] => Some((usize::from(second) * 4 + usize::from(first), rest)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(packet: &[u8]) -> Option<(u32, u8, u16)> {
        Shape::read(packet).map(|shape| (shape.frame_ticks, shape.frames, shape.longest))
    }

    #[test]
    fn every_configuration_has_its_mode_and_length() {
        let tenths_of_ms = |config: u8| Shape::read(&[config << 3, 1, 2]).map(|shape| (shape.mode, shape.ticks() * 10 / 48));
        for config in 0..32 {
            let expected = match config {
                0..12 => (Mode::Silk, [100, 200, 400, 600][usize::from(config % 4)]),
                12..16 => (Mode::Hybrid, [100, 200][usize::from(config % 2)]),
                _ => (Mode::Celt, [25, 50, 100, 200][usize::from(config % 4)]),
            };
            assert_eq!(tenths_of_ms(config), Some(expected), "{config}");
        }
        assert!(Shape::read(&[0x7C, 1]).is_some_and(|shape| shape.stereo));
    }

    #[test]
    fn frames_are_counted_as_the_rules_say() {
        let wide = 9 << 3; // SILK, 20 ms.
        assert_eq!(shape(&[wide]), Some((960, 1, 0)), "one frame of nothing");
        assert_eq!(shape(&[wide | 1, 1, 2, 3, 4]), Some((960, 2, 2)));
        assert_eq!(shape(&[wide | 1, 1, 2, 3]), None, "two frames of one and a half octets");
        assert_eq!(shape(&[wide | 2, 1, 7, 8, 9]), Some((960, 2, 2)));
        assert_eq!(shape(&[wide | 2, 4, 7, 8, 9]), None, "the first is longer than all");
        assert_eq!(shape(&[wide | 3]), None, "no count");
        assert_eq!(shape(&[wide | 3, 0]), None, "no frames");
        assert_eq!(shape(&[wide | 3, 3, 1, 2, 3]), Some((960, 3, 1)));
        assert_eq!(shape(&[wide | 3, 3, 1, 2]), None);
        assert_eq!(shape(&[wide | 3, 0x80 | 3, 1, 0, 5, 6, 7]), Some((960, 3, 2)));
        assert_eq!(shape(&[wide | 3, 0x40 | 1, 2, 9, 0, 0]), Some((960, 1, 1)), "two octets of padding");
        assert_eq!(shape(&[wide | 3, 0x40 | 1, 4, 9, 0, 0]), None, "more padding than there is");
        assert_eq!(shape(&[wide | 3, 0x40 | 1, 255]), None, "padding without an end");
        assert_eq!(shape(&[]), None);
    }

    #[test]
    fn nothing_is_longer_than_120_ms_or_1275_octets() {
        let sixty = 11 << 3;
        assert_eq!(shape(&[sixty | 3, 2, 1, 2]), Some((2_880, 2, 1)));
        assert_eq!(shape(&[sixty | 3, 3, 1, 2, 3]), None);
        let short = 16 << 3;
        assert_eq!(shape(&[&[short | 3, 48][..], &[0; 48]].concat()), Some((120, 48, 1)));
        assert_eq!(shape(&[&[short | 3, 49][..], &[0; 49]].concat()), None);
        assert!(shape(&[&[sixty][..], &[0; 1_275]].concat()).is_some());
        assert!(shape(&[&[sixty][..], &[0; 1_276]].concat()).is_none());
    }

    #[test]
    fn libopus_counts_the_same_in_whatever_it_takes() {
        let mut seed = 1_u32;
        let mut random = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 24) as u8
        };
        let mut taken = 0;
        for _ in 0..20_000 {
            let packet: Vec<u8> = (0..1 + random() % 12).map(|_| random()).collect();
            let shape = Shape::read(&packet);
            let theirs = opus::packet::parse(&packet).ok();
            assert_eq!(shape.is_some(), theirs.is_some(), "{packet:?}");
            if let (Some(shape), Some(theirs)) = (shape, theirs) {
                taken += 1;
                assert_eq!(usize::from(shape.frames), theirs.frames.len());
                assert_eq!(Some(usize::from(shape.longest)), theirs.frames.iter().map(|frame| frame.len()).max());
                assert_eq!(Ok(shape.ticks() as usize), opus::packet::get_nb_samples(&packet, RTP_RATE).map_err(|error| error.code()));
            }
        }
        assert!(taken > 1_000, "{taken}");
    }
}
