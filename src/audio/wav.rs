//! WAV files as frames of 16 kHz mono, whatever rate, width and number of channels they have.
//!
//! It reads from whatever it is given, a piece at a time: a night of WAV does not fit into memory. A file that ends too early is heard
//! as far as it goes, and says so. Invariant: what it hands out is as long as what was read, to less than a frame.

use super::resample::Resampler;
use super::{FRAME_SAMPLES, SAMPLE_RATE};
use hound::{SampleFormat, WavReader};
use std::io::{Chain, Cursor, Error as IoError, ErrorKind, Read};
use std::ops::RangeInclusive;
use thiserror::Error;

/// Rates that are read, in samples a second.
const RATES: RangeInclusive<u32> = 8_000..=384_000;

/// Most channels that are read.
const MOST_CHANNELS: u16 = 32;

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
    #[error("not a WAV file that can be read ({0}): expected RIFF/WAVE with PCM of 8 to 32 bits or float samples of 32")]
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
    reader: WavReader<Chain<Cursor<[u8; 1]>, R>>,
    resampler: Resampler,
    ready: Vec<f32>,
    frames: u64,
    ended: bool,
    is_cut_short: bool,
}

impl<R: Read> WavFrames<R> {
    /// Reads the header.
    pub fn open(mut reader: R) -> Result<Self, WavError> {
        // The reader of headers takes an empty file for a damaged one.
        let mut first = [0u8; 1];
        if reader.read(&mut first).map_err(WavError::Io)? == 0 {
            return Err(WavError::Empty);
        }
        let reader = WavReader::new(Cursor::new(first).chain(reader)).map_err(refusal)?;
        let spec = reader.spec();
        if !RATES.contains(&spec.sample_rate) {
            return Err(WavError::Rate(spec.sample_rate));
        }
        if spec.channels > MOST_CHANNELS {
            return Err(WavError::Channels(spec.channels));
        }
        let resampler = Resampler::new(spec.sample_rate, SAMPLE_RATE);
        Ok(Self { reader, resampler, ready: Vec::new(), frames: 0, ended: false, is_cut_short: false })
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
        let spec = self.reader.spec();
        let scale = 1.0 / (1u64 << (spec.bits_per_sample.clamp(1, 32) - 1)) as f32;
        let mut sum = 0.0;
        for _ in 0..spec.channels {
            let sample = match spec.sample_format {
                SampleFormat::Float => self.reader.samples::<f32>().next(),
                SampleFormat::Int => self.reader.samples::<i32>().next().map(|sample| sample.map(|value| value as f32 * scale)),
            };
            match sample {
                // Not a number would spread to all that follows.
                Some(Ok(value)) => sum += if value.is_finite() { value.clamp(-8.0, 8.0) } else { 0.0 },
                None => return Ok(None),
                Some(Err(error)) if is_end(&error) => {
                    self.is_cut_short = true;
                    return Ok(None);
                }
                Some(Err(error)) => return Err(refusal(error)),
            }
        }
        Ok(Some(sum / f32::from(spec.channels)))
    }
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
        hound::Error::Unsupported => WavError::NotWav("compressed".to_owned()),
        hound::Error::TooWide | hound::Error::UnfinishedSample | hound::Error::InvalidSampleFormat => {
            WavError::NotWav("its samples are of another kind than it says".to_owned())
        }
    }
}
