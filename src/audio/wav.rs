//! WAV files as frames of 16 kHz mono, whatever rate, width and number of channels they have.
//!
//! It reads from whatever it is given, a piece at a time: a night of WAV does not fit into memory. A file that ends too early is heard
//! as far as it goes, and says so; one whose length was not known when its header was written (0, or the highest number) ends where it
//! ends. Invariant: what it hands out is as long as what was read, to less than a frame.

use super::resample::Resampler;
use super::{FRAME_SAMPLES, SAMPLE_RATE};
use hound::{SampleFormat, WavReader, WavSpec};
use std::io::{Chain, Cursor, Error as IoError, ErrorKind, Read, copy, sink};
use std::ops::RangeInclusive;
use thiserror::Error;

/// Rates that are read, in samples a second.
const RATES: RangeInclusive<u32> = 8_000..=384_000;

/// Most channels that are read.
const MOST_CHANNELS: u16 = 32;

/// Octets of the chunk that tells the format: those that there must be, and the most that are read.
const FORMAT: RangeInclusive<u32> = 16..=1024;

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
    #[error("not a WAV file that can be read ({0}): expected RIFF/WAVE with PCM of 8, 16, 24 or 32 bits or float samples of 32")]
    NotWav(String),
    /// Its rate is out of bounds.
    #[error("{0} samples a second: expected 8000 to 384000")]
    Rate(u32),
    /// It has too many channels.
    #[error("{0} channels: expected 1 to 32, which are mixed to one")]
    Channels(u16),
    /// The disk or the pipe failed.
    #[error("cannot be read: {0}")]
    Io(IoError),
}

/// A WAV file that is read frame by frame.
pub struct WavFrames<R> {
    head: Head,
    /// None after an error.
    reader: Option<Samples<R>>,
    spec: WavSpec,
    resampler: Resampler,
    ready: Vec<f32>,
    frames: u64,
    ended: bool,
    is_cut_short: bool,
}

type Samples<R> = WavReader<Chain<Cursor<Vec<u8>>, R>>;

impl<R: Read> WavFrames<R> {
    /// Reads the header.
    pub fn open(reader: R) -> Result<Self, WavError> {
        Self::in_rounds(reader, u32::MAX)
    }

    /// The same; of what has no end so many octets at once are sound to the reader of samples, which cannot count further.
    fn in_rounds(mut reader: R, round: u32) -> Result<Self, WavError> {
        let head = Head::read(&mut reader, round)?;
        let reader = head.samples(reader)?;
        let spec = reader.spec();
        if !RATES.contains(&spec.sample_rate) {
            return Err(WavError::Rate(spec.sample_rate));
        }
        if spec.channels > MOST_CHANNELS {
            return Err(WavError::Channels(spec.channels));
        }
        let resampler = Resampler::new(spec.sample_rate, SAMPLE_RATE);
        Ok(Self { head, reader: Some(reader), spec, resampler, ready: Vec::new(), frames: 0, ended: false, is_cut_short: false })
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
        if self.head.is_endless && self.reader.as_mut().is_some_and(|reader| reader.samples::<i32>().len() == 0) {
            let (_, rest) = self.reader.take().map(|reader| reader.into_inner().into_inner()).unzip();
            self.reader = rest.map(|rest| self.head.samples(rest)).transpose()?;
        }
        let Some(reader) = &mut self.reader else { return Ok(None) };
        let scale = 1.0 / (1u64 << (self.spec.bits_per_sample.clamp(1, 32) - 1)) as f32;
        let mut sum = 0.0;
        for _ in 0..self.spec.channels {
            let sample = match self.spec.sample_format {
                SampleFormat::Float => reader.samples::<f32>().next(),
                SampleFormat::Int => reader.samples::<i32>().next().map(|sample| sample.map(|value| value as f32 * scale)),
            };
            match sample {
                // Not a number would spread to all that follows.
                Some(Ok(value)) => sum += if value.is_finite() { value.clamp(-8.0, 8.0) } else { 0.0 },
                None => return Ok(None),
                Some(Err(error)) if is_end(&error) => {
                    self.is_cut_short = !self.head.is_endless;
                    return Ok(None);
                }
                Some(Err(error)) => return Err(refusal(error)),
            }
        }
        Ok(Some(sum / f32::from(self.spec.channels)))
    }
}

/// What stands before the sound, with a length that the reader of samples takes.
struct Head {
    octets: Vec<u8>,
    /// It does not say how long the sound is.
    is_endless: bool,
}

impl Head {
    /// Reads up to the sound.
    fn read(reader: &mut impl Read, round: u32) -> Result<Self, WavError> {
        let mut riff = [0; 12];
        let read = fill(reader, &mut riff)?;
        if read == 0 {
            return Err(WavError::Empty);
        }
        if !riff[..read].starts_with(b"RIFF") {
            return Err(WavError::NotWav("no RIFF tag found".to_owned()));
        }
        let early = || WavError::NotWav("it ends within its header".to_owned());
        if read < riff.len() {
            return Err(early());
        }
        if !riff.ends_with(b"WAVE") {
            return Err(WavError::NotWav("no WAVE tag found".to_owned()));
        }
        let mut format = Vec::new();
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
                b"data" if format.is_empty() => return Err(WavError::NotWav("its sound comes before its format".to_owned())),
                b"data" => return Ok(Self::of(&format, length, round)),
                b"fmt " if !FORMAT.contains(&length) => return Err(WavError::NotWav(format!("its format takes {length} octets"))),
                b"fmt " => {
                    format = vec![0; length as usize];
                    if fill(reader, &mut format)? < format.len() {
                        return Err(early());
                    }
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

    fn of(format: &[u8], length: u32, round: u32) -> Self {
        let is_endless = length == 0 || length == u32::MAX;
        // A sample of all channels at a time, and no part of one.
        let each = u32::from(u16::from_le_bytes([format[12], format[13]])).max(1);
        let length = if is_endless { round } else { length };
        let mut octets = Vec::with_capacity(28 + format.len());
        octets.extend_from_slice(b"RIFF\xFF\xFF\xFF\xFFWAVEfmt ");
        octets.extend_from_slice(&(format.len() as u32).to_le_bytes());
        octets.extend_from_slice(format);
        octets.extend_from_slice(b"data");
        octets.extend_from_slice(&(length - length % each).to_le_bytes());
        Self { octets, is_endless }
    }

    /// What follows, as samples.
    fn samples<R: Read>(&self, rest: R) -> Result<Samples<R>, WavError> {
        WavReader::new(Cursor::new(self.octets.clone()).chain(rest)).map_err(refusal)
    }
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

/// The file ends where a sample should be. (The reader makes an error of its own of kind `Other` for that.)
fn is_end(error: &hound::Error) -> bool {
    matches!(error, hound::Error::IoError(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::Other))
}

fn refusal(error: hound::Error) -> WavError {
    match error {
        error if is_end(&error) => WavError::NotWav("it ends within its header".to_owned()),
        hound::Error::IoError(error) => WavError::Io(error),
        hound::Error::FormatError(reason) => WavError::NotWav(reason.to_owned()),
        hound::Error::Unsupported => WavError::NotWav("compressed, or of another width".to_owned()),
        hound::Error::TooWide | hound::Error::UnfinishedSample | hound::Error::InvalidSampleFormat => {
            WavError::NotWav("its samples are of another kind than it says".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A WAV file of 16 kHz in 16 bits: what stands before the sound, its length as the header has it, the sound.
    fn file(before: &[u8], length: u32, samples: usize) -> Vec<u8> {
        let mut file = b"RIFF\0\0\0\0WAVE".to_vec();
        file.extend_from_slice(before);
        file.extend_from_slice(b"fmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data");
        file.extend_from_slice(&length.to_le_bytes());
        file.extend((0..samples).flat_map(|sample| (sample as i16).to_le_bytes()));
        file
    }

    /// How many samples are heard, as whole frames, and whether the file was cut short.
    fn heard(file: &[u8], round: u32) -> (usize, bool) {
        let mut frames = WavFrames::in_rounds(file, round).expect("a WAV file");
        let mut heard = 0;
        while let Some(frame) = frames.next_frame().expect("frames") {
            assert_eq!(frame, std::array::from_fn(|place| (heard + place) as i16), "none is left out");
            heard += frame.len();
        }
        (heard, frames.is_cut_short())
    }

    #[test]
    fn a_length_that_was_not_known_is_that_of_the_file() {
        for length in [0, u32::MAX] {
            assert_eq!(heard(&file(b"", length, 6_400), u32::MAX), (6_400, false), "{length}");
            assert_eq!(heard(&file(b"", length, 6_400), 1_001), (6_400, false), "also where it is longer than can be counted at once");
        }
        assert_eq!(heard(&file(b"", 12_800, 6_400), u32::MAX), (6_400, false));
        assert_eq!(heard(&file(b"", 20_000, 6_400), u32::MAX), (6_400, true));
        assert_eq!(heard(&file(b"", 12_801, 6_401), u32::MAX), (6_400, false), "half a sample is none");
    }

    #[test]
    fn chunks_of_odd_length_are_passed_over_padded_or_not() {
        assert_eq!(heard(&file(b"note\x03\0\0\0abc\0", 640, 320), u32::MAX), (320, false));
        assert_eq!(heard(&file(b"note\x03\0\0\0abc", 640, 320), u32::MAX), (320, false));
    }

    #[test]
    fn what_is_wrong_is_said_with_what_would_be_taken() {
        let said = |file: &[u8]| WavFrames::open(file).err().map(|error| error.to_string()).unwrap_or_default();
        let whole = file(b"", 640, 320);
        assert!(said(&whole[..7]).contains("ends within its header"));
        assert!(said(&file(b"data\x04\0\0\0", 640, 320)).contains("its sound comes before its format"));
        for (place, octet, reason) in
            [(8, b'w', "no WAVE tag"), (16, 9, "its format takes 9 octets"), (34, 64, "exceeds"), (20, 7, "compressed")]
        {
            let mut wrong = whole.clone();
            wrong[place] = octet;
            let said = said(&wrong);
            assert!(said.contains(reason) && said.contains("expected RIFF/WAVE with PCM of 8, 16, 24 or 32 bits"), "{said}");
        }
    }
}
