//! WAV files as frames of 16 kHz mono, whatever rate, width and number of channels they have.
//!
//! It reads from whatever it is given, a piece at a time: a night of WAV does not fit into memory. A file that ends too early is heard
//! as far as it goes, and says so; one whose length was not known when its header was written (0, or the highest number) ends where it
//! ends. Samples that are compressed are refused. Invariant: what it hands out is as long as what was read, to less than a frame.

use super::resample::Resampler;
use super::{FRAME_SAMPLES, SAMPLE_RATE};
use std::io::{Error as IoError, ErrorKind, Read, copy, sink};
use std::ops::RangeInclusive;
use thiserror::Error;

/// Rates that are read, in samples a second.
const RATES: RangeInclusive<u32> = 8_000..=384_000;

/// Numbers of channels that are read.
const CHANNELS: RangeInclusive<u16> = 1..=32;

/// Octets of the chunk that tells the format: those that there must be, and the most that are read.
const FORMAT: RangeInclusive<u32> = 16..=1024;

/// Octets of the format where it goes on as WAVE_FORMAT_EXTENSIBLE.
const EXTENSIBLE: usize = 40;

/// What follows the tag in the name of a format (a GUID) there.
const NAME: [u8; 14] = [0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xAA, 0, 0x38, 0x9B, 0x71];

/// What is wrong with a WAV file.
#[derive(Debug, Error)]
pub enum WavError {
    /// There is nothing in it.
    #[error("the file is empty: expected a WAV file")]
    Empty,
    /// It has a header, and less than a frame of sound behind it.
    #[error("no sound is in it: expected 20 ms at least")]
    NoSound,
    /// It is something else, or damaged.
    #[error("not a WAV file that can be read ({0}): expected RIFF/WAVE with PCM of 8 to 32 bits, or float of 32 or 64")]
    NotWav(String),
    /// Its rate is out of bounds.
    #[error("{0} samples a second: expected 8000 to 384000")]
    Rate(u32),
    /// It has too many channels, or none.
    #[error("{0} channels: expected 1 to 32, which are mixed to one")]
    Channels(u16),
    /// The disk or the pipe failed.
    #[error("cannot be read: {0}")]
    Io(IoError),
}

/// A WAV file that is read frame by frame.
pub struct WavFrames<R> {
    reader: R,
    head: Head,
    resampler: Resampler,
    /// A sample of all channels as it stands in the file.
    sample: Vec<u8>,
    ready: Vec<f32>,
    frames: u64,
    ended: bool,
    is_cut_short: bool,
}

impl<R: Read> WavFrames<R> {
    /// Reads the header.
    pub fn open(mut reader: R) -> Result<Self, WavError> {
        let head = Head::read(&mut reader)?;
        let resampler = Resampler::new(head.format.rate, SAMPLE_RATE);
        let sample = vec![0; head.format.octets()];
        Ok(Self { reader, head, resampler, sample, ready: Vec::new(), frames: 0, ended: false, is_cut_short: false })
    }

    /// The next frame; none at the end, where less than a frame is left out.
    pub fn next_frame(&mut self) -> Result<Option<[i16; FRAME_SAMPLES]>, WavError> {
        while self.ready.len() < FRAME_SAMPLES && !self.ended {
            match self.read_one()? {
                Some(sample) => self.resampler.push(sample, &mut self.ready),
                None => {
                    self.ended = true;
                    self.resampler.finish(&mut self.ready);
                }
            }
        }
        if self.ready.len() < FRAME_SAMPLES {
            return if self.frames == 0 { Err(WavError::NoSound) } else { Ok(None) };
        }
        let mut frame = [0; FRAME_SAMPLES];
        for (into, sample) in frame.iter_mut().zip(self.ready.drain(..FRAME_SAMPLES)) {
            // Saturates beyond full scale.
            *into = (sample * 32_768.0).round() as i16;
        }
        self.frames += 1;
        Ok(Some(frame))
    }

    /// Whether the file ended before its header said so; known when the last frame was taken.
    pub fn is_cut_short(&self) -> bool {
        self.is_cut_short
    }

    /// One sample of all channels mixed, ±1; none at the end.
    fn read_one(&mut self) -> Result<Option<f32>, WavError> {
        let octets = self.sample.len() as u64;
        if self.head.left.is_some_and(|left| left < octets) {
            return Ok(None);
        }
        if fill(&mut self.reader, &mut self.sample)? < self.sample.len() {
            self.is_cut_short = self.head.left.is_some();
            return Ok(None);
        }
        self.head.left = self.head.left.map(|left| left - octets);
        let format = &self.head.format;
        let mixed: f32 = self.sample.chunks_exact(format.width).map(|octets| format.kind.value(octets)).sum();
        Ok(Some(mixed / f32::from(format.channels)))
    }
}

/// What stands before the sound.
struct Head {
    format: Format,
    /// Octets of sound that are still to come; none where it does not say how long the sound is.
    left: Option<u64>,
}

impl Head {
    /// Reads up to the sound.
    fn read(reader: &mut impl Read) -> Result<Self, WavError> {
        let mut riff = [0; 12];
        let read = fill(reader, &mut riff)?;
        // RF64 and BW64 (EBU Tech 3306, ITU-R BS.2088) are the same with lengths of more than 4 GB in a chunk of their own.
        let has_wide_lengths = match &riff[..read.min(4)] {
            b"" => return Err(WavError::Empty),
            b"RIFF" => false,
            b"RF64" | b"BW64" => true,
            b"RIFX" => return Err(not("its numbers stand the other way round, RIFX")),
            b"riff" => return Err(not("it is a Wave64")),
            _ => return Err(not("no RIFF tag found")),
        };
        let early = || not("it ends within its header");
        if read < riff.len() {
            return Err(early());
        }
        if !riff.ends_with(b"WAVE") {
            return Err(not("no WAVE tag found"));
        }
        let (mut format, mut wide_length) = (None, None);
        let mut carried: Option<u8> = None;
        loop {
            let mut chunk = [0; 8];
            let from = usize::from(carried.is_some());
            chunk[0] = carried.take().unwrap_or(0);
            if fill(reader, &mut chunk[from..])? < chunk.len() - from {
                return Err(early());
            }
            let (name, length) = (&chunk[..4], u32::from_le_bytes([chunk[4], chunk[5], chunk[6], chunk[7]]));
            match name {
                b"data" => {
                    let format = format.ok_or_else(|| not("its sound comes before its format"))?;
                    let length = Some(u64::from(length)).filter(|length| !matches!(*length, 0 | 0xFFFF_FFFF));
                    return Ok(Self { format, left: length.or(wide_length) });
                }
                b"fmt " if !FORMAT.contains(&length) => return Err(not(format!("its format takes {length} octets"))),
                b"fmt " => {
                    let mut octets = vec![0; length as usize];
                    if fill(reader, &mut octets)? < octets.len() {
                        return Err(early());
                    }
                    format = Some(Format::read(&octets)?);
                }
                b"ds64" if has_wide_lengths && FORMAT.contains(&length) => {
                    let mut octets = vec![0; length as usize];
                    if fill(reader, &mut octets)? < octets.len() {
                        return Err(early());
                    }
                    // After the length of the file; the same two say that it was not known.
                    wide_length = octets.get(8..).and_then(|rest| rest.first_chunk()).map(|octets| u64::from_le_bytes(*octets));
                    wide_length = wide_length.filter(|length| !matches!(*length, 0 | u64::MAX));
                }
                _ => {
                    if copy(&mut reader.take(u64::from(length)), &mut sink()).map_err(WavError::Io)? < u64::from(length) {
                        return Err(early());
                    }
                }
            }
            // A chunk is padded to an even length with a zero; some writers forget it, and no name begins with one.
            let mut padding = [0];
            if !length.is_multiple_of(2) && fill(reader, &mut padding)? == 1 && padding[0] != 0 {
                carried = Some(padding[0]);
            }
        }
    }
}

/// How samples stand in the file.
struct Format {
    kind: Kind,
    rate: u32,
    channels: u16,
    /// Octets of one channel's sample.
    width: usize,
}

impl Format {
    /// Reads what the chunk says, of which there are 16 octets at least.
    fn read(octets: &[u8]) -> Result<Self, WavError> {
        let number = |place: usize| u16::from_le_bytes([octets[place], octets[place + 1]]);
        let (tag, channels, align, bits) = (number(0), number(2), number(12), number(14));
        let rate = u32::from_le_bytes([octets[4], octets[5], octets[6], octets[7]]);
        let tag = match tag {
            0xFFFE if octets.len() < EXTENSIBLE => return Err(not("its format ends early")),
            0xFFFE if octets[26..EXTENSIBLE] != NAME => return Err(not("its format has a name of its own")),
            0xFFFE => number(24),
            tag => tag,
        };
        // Samples of fewer bits than fit into their octets stand in the highest of them (the lowest are zero), also where the extensible
        // format says how many of them are valid: of full scale they are as much as if all were.
        let kind = match (tag, bits) {
            (1, 8) => Kind::Unsigned,
            (1, 9..=32) => Kind::Signed,
            (3, 32 | 64) => Kind::Float,
            (1 | 3, _) => return Err(not(format!("samples of {bits} bits"))),
            (2 | 0x11, _) => return Err(not("compressed, as ADPCM")),
            (6, _) => return Err(not("compressed, as A-law")),
            (7, _) => return Err(not("compressed, as mu-law")),
            (0x50 | 0x55, _) => return Err(not("compressed, as MPEG")),
            _ => return Err(not(format!("compressed, as format {tag}"))),
        };
        if !CHANNELS.contains(&channels) {
            return Err(WavError::Channels(channels));
        }
        if !RATES.contains(&rate) {
            return Err(WavError::Rate(rate));
        }
        let width = bits.div_ceil(8);
        if align != channels * width {
            return Err(not(format!("{align} octets for {channels} channels of {bits} bits, which take {}", channels * width)));
        }
        Ok(Self { kind, rate, channels, width: usize::from(width) })
    }

    /// Octets of a sample of all channels.
    fn octets(&self) -> usize {
        usize::from(self.channels) * self.width
    }
}

/// What a sample is.
enum Kind {
    /// 128 is silence.
    Unsigned,
    Signed,
    /// Full scale is 1.
    Float,
}

impl Kind {
    /// A sample, ±1.
    fn value(&self, octets: &[u8]) -> f32 {
        let value = match (self, octets) {
            (Self::Unsigned, [octet]) => f32::from(i16::from(*octet) - 128) / 128.0,
            (Self::Float, [a, b, c, d]) => f32::from_le_bytes([*a, *b, *c, *d]),
            (Self::Float, octets) => octets.first_chunk().map_or(0.0, |octets| f64::from_le_bytes(*octets) as f32),
            (_, [a, b]) => f32::from(i16::from_le_bytes([*a, *b])) / 32_768.0,
            (_, [a, b, c]) => i32::from_le_bytes([0, *a, *b, *c]) as f32 / 2_147_483_648.0,
            (_, [a, b, c, d]) => i32::from_le_bytes([*a, *b, *c, *d]) as f32 / 2_147_483_648.0,
            _ => 0.0,
        };
        // Not a number would spread to all that follows.
        if value.is_finite() { value.clamp(-8.0, 8.0) } else { 0.0 }
    }
}

fn not(reason: impl Into<String>) -> WavError {
    WavError::NotWav(reason.into())
}

/// Reads as much as there is; gives how much that was.
fn fill(reader: &mut impl Read, into: &mut [u8]) -> Result<usize, WavError> {
    let mut read = 0;
    while read < into.len() {
        match reader.read(&mut into[read..]) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => (),
            Err(error) => return Err(WavError::Io(error)),
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands at the beginning of a format: tag, channels, rate, octets of a sample of all channels, bits.
    fn format(tag: u16, channels: u16, rate: u32, align: u16, bits: u16) -> Vec<u8> {
        let mut octets = [tag, channels].map(u16::to_le_bytes).concat();
        octets.extend_from_slice(&[rate, rate.wrapping_mul(u32::from(align))].map(u32::to_le_bytes).concat());
        octets.extend_from_slice(&[align, bits].map(u16::to_le_bytes).concat());
        octets
    }

    /// The same as WAVE_FORMAT_EXTENSIBLE, in which so many bits are valid.
    fn extensible(tag: u16, rate: u32, align: u16, bits: u16, valid: u16) -> Vec<u8> {
        let mut octets = format(0xFFFE, 1, rate, align, bits);
        octets.extend_from_slice(&[22, valid, 4, 0, tag].map(u16::to_le_bytes).concat());
        octets.extend_from_slice(&NAME);
        octets
    }

    fn chunk(name: &[u8], length: u32, octets: &[u8]) -> Vec<u8> {
        [name, &length.to_le_bytes(), octets].concat()
    }

    /// A WAV file of this format and sound.
    fn of(format: &[u8], sound: &[u8]) -> Vec<u8> {
        let format = chunk(b"fmt ", format.len() as u32, format);
        [b"RIFF\0\0\0\0WAVE".to_vec(), format, chunk(b"data", sound.len() as u32, sound)].concat()
    }

    /// A WAV file of 16 kHz in 16 bits: what stands before the sound, its length as the header has it, the sound.
    fn file(before: &[u8], length: u32, samples: usize) -> Vec<u8> {
        let sound: Vec<u8> = (0..samples).flat_map(|sample| (sample as i16).to_le_bytes()).collect();
        [b"RIFF\0\0\0\0WAVE", before, &chunk(b"fmt ", 16, &format(1, 1, 16_000, 2, 16)), &chunk(b"data", length, &sound)].concat()
    }

    /// How many samples are heard, as whole frames, and whether the file was cut short.
    fn heard(file: &[u8]) -> (usize, bool) {
        let mut frames = WavFrames::open(file).expect("a WAV file");
        let mut heard = 0;
        while let Some(frame) = frames.next_frame().expect("frames") {
            assert_eq!(frame, std::array::from_fn(|place| (heard + place) as i16), "none is left out");
            heard += frame.len();
        }
        (heard, frames.is_cut_short())
    }

    fn said(file: &[u8]) -> String {
        WavFrames::open(file).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_length_that_was_not_known_is_that_of_the_file() {
        for length in [0, u32::MAX] {
            assert_eq!(heard(&file(b"", length, 6_400)), (6_400, false), "{length}");
        }
        assert_eq!(heard(&file(b"", 12_800, 6_400)), (6_400, false));
        assert_eq!(heard(&file(b"", 20_000, 6_400)), (6_400, true));
        assert_eq!(heard(&file(b"", 12_801, 6_401)), (6_400, false), "half a sample is none");
    }

    #[test]
    fn a_file_of_more_than_4_gb_says_elsewhere_how_long_it_is() {
        for (name, length, expected) in [
            (b"RF64", 640u64, (320, false)),
            (b"BW64", 20_000, (6_400, true)),
            (b"RF64", u64::MAX, (6_400, false)),
            (b"RIFF", 640, (6_400, false)),
        ] {
            let lengths = [0, length, 0].map(u64::to_le_bytes).concat();
            let mut wide = file(&chunk(b"ds64", 24, &lengths), u32::MAX, 6_400);
            wide[..4].copy_from_slice(name);
            assert_eq!(heard(&wide), expected, "{name:?} {length}");
        }
    }

    #[test]
    fn chunks_of_odd_length_are_passed_over_padded_or_not() {
        assert_eq!(heard(&file(b"note\x03\0\0\0abc\0", 640, 320)), (320, false));
        assert_eq!(heard(&file(b"note\x03\0\0\0abc", 640, 320)), (320, false));
    }

    #[test]
    fn a_sample_is_as_much_of_full_scale_in_every_width() {
        // 5/16 of full scale and its negative, alternating, in the highest bits of the octets there are.
        let signed = |width: usize| [0x2800_0000i32, -0x2800_0000].map(|value| value.to_le_bytes()[4 - width..].to_vec()).concat();
        let float = [0.3125f32, -0.3125].map(f32::to_le_bytes).concat();
        let double = [0.3125f64, -0.3125].map(f64::to_le_bytes).concat();
        for (format, pair) in [
            (format(1, 1, 16_000, 1, 8), vec![128 + 40, 128 - 40]),
            (format(1, 1, 16_000, 2, 16), signed(2)),
            (format(1, 1, 16_000, 2, 12), signed(2)),
            (format(1, 1, 16_000, 3, 24), signed(3)),
            (format(1, 1, 16_000, 3, 20), signed(3)),
            (format(1, 1, 16_000, 4, 32), signed(4)),
            (format(3, 1, 16_000, 4, 32), float.clone()),
            (format(3, 1, 16_000, 8, 64), double.clone()),
            (extensible(1, 16_000, 1, 8, 8), vec![128 + 40, 128 - 40]),
            (extensible(1, 16_000, 2, 16, 16), signed(2)),
            (extensible(1, 16_000, 2, 16, 12), signed(2)),
            (extensible(1, 16_000, 3, 24, 20), signed(3)),
            (extensible(1, 16_000, 4, 32, 24), signed(4)),
            (extensible(1, 16_000, 4, 32, 0), signed(4)),
            (extensible(3, 16_000, 4, 32, 24), float),
            (extensible(3, 16_000, 8, 64, 64), double),
        ] {
            let file = of(&format, &pair.repeat(FRAME_SAMPLES / 2));
            let frame = WavFrames::open(&file[..]).and_then(|mut frames| frames.next_frame()).expect("a WAV file").expect("a frame");
            assert_eq!(frame, std::array::from_fn(|place| if place % 2 == 0 { 10_240 } else { -10_240 }), "{format:?}");
        }
        // What is no number is silence, and what is too much is as much as there can be.
        let wild = [f32::NAN, f32::INFINITY, 1e30, -1e30].map(f32::to_le_bytes).concat();
        let file = of(&format(3, 1, 16_000, 4, 32), &wild.repeat(FRAME_SAMPLES / 4));
        let frame = WavFrames::open(&file[..]).and_then(|mut frames| frames.next_frame()).expect("a WAV file").expect("a frame");
        assert_eq!(frame[..4], [0, 0, i16::MAX, i16::MIN]);
    }

    #[test]
    fn what_is_wrong_is_said_with_what_would_be_taken() {
        let whole = file(b"", 640, 320);
        assert!(said(&whole[..7]).contains("ends within its header"));
        assert!(said(&file(b"data\x04\0\0\0", 640, 320)).contains("its sound comes before its format"));
        for (place, octet, reason) in [
            (8, b'w', "no WAVE tag"),
            (3, b'X', "RIFX"),
            (0, b'X', "no RIFF tag"),
            (16, 9, "its format takes 9 octets"),
            (34, 64, "samples of 64 bits"),
            (34, 7, "samples of 7 bits"),
            (20, 3, "samples of 16 bits"),
            (20, 6, "A-law"),
            (20, 7, "mu-law"),
            (20, 85, "MPEG"),
            (21, 1, "format 257"),
        ] {
            let mut wrong = whole.clone();
            wrong[place] = octet;
            let said = said(&wrong);
            assert!(said.contains(reason) && said.contains("expected RIFF/WAVE with PCM of 8 to 32 bits"), "{said}");
        }
        // 24 bits in four octets: only the extensible format says where in them.
        let said_of = |format: &[u8]| said(&of(format, &[0; 1_280]));
        assert!(said_of(&format(1, 1, 16_000, 4, 24)).contains("4 octets for 1 channels of 24 bits, which take 3"));
        assert!(said_of(&format(1, 2, 16_000, 2, 16)).contains("2 octets for 2 channels of 16 bits, which take 4"));
        assert!(said_of(&extensible(7, 16_000, 1, 8, 8)).contains("mu-law"));
        assert!(said_of(&extensible(1, 16_000, 2, 16, 16)[..39]).contains("its format ends early"));
        let mut named = extensible(1, 16_000, 2, 16, 16);
        named[30] ^= 1;
        assert!(said_of(&named).contains("a name of its own"));
        for channels in [0, 33, u16::MAX] {
            assert!(said_of(&format(1, channels, 16_000, channels.wrapping_mul(2), 16)).contains("expected 1 to 32"));
        }
        for rate in [0, 7_999, 384_001, u32::MAX] {
            assert!(said_of(&format(1, 1, rate, 2, 16)).contains("expected 8000 to 384000"));
        }
    }
}
