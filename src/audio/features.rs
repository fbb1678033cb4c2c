//! What is measured of a frame: how loud it is, band by band, and whether it sounds like a voice.
//!
//! It measures and concludes nothing: what a breath, a movement or sleep is, is for [`crate::sleep`]. Invariant: one measure for each
//! frame, in order, whatever is missing; a frame without sound never changes a level, it holds the last one.

use super::voice::Voice;
use super::{FRAME_SAMPLES, Heard, Missing};
use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};
use std::f32::consts::PI;
use std::sync::Arc;

/// Bands of the spectrum.
pub const BANDS: usize = 6;

/// Their edges in Hz. Breathing out is heard mostly in the second and third, breathing in in the third to fifth; hum and rumble in the
/// first, rain and clicks in the last. Telephone speech lies in the first four.
pub const EDGES: [f32; BANDS + 1] = [100.0, 300.0, 600.0, 1200.0, 2400.0, 4200.0, 7000.0];

/// Levels are never below this, in dB of full scale: below it there is only rounding.
pub const LOWEST_DB: f32 = -110.0;

/// Samples of a transform: the frame and what came before it.
const WINDOW: usize = 512;

/// Frames whose samples are all within this many steps of zero are digital silence: no microphone is that quiet.
const SILENT_PEAK: i16 = 2;

/// What kind of frame was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sound {
    /// Sound that a microphone may have heard.
    Live,
    /// Digital silence: muted, or cut by the sender.
    Silent,
    /// None; levels are held.
    None(Missing),
}

/// What was measured of one frame of 20 ms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measure {
    /// Whether there was sound.
    pub sound: Sound,
    /// Level of each band in dB of full scale.
    pub bands: [f32; BANDS],
    /// Level of all bands together in dB of full scale.
    pub level: f32,
    /// How much it sounds like a voice, 0 to 1; 0 where it is no louder than the room.
    pub voice: f32,
}

/// Measures one stream of frames.
pub struct Features {
    transform: Arc<dyn RealToComplex<f32>>,
    window: Box<[f32; WINDOW]>,
    /// 1 over what the window lets through, so that levels are of the samples.
    scale: f32,
    recent: Box<[f32; WINDOW]>,
    input: Vec<f32>,
    spectrum: Vec<Complex<f32>>,
    scratch: Vec<Complex<f32>>,
    voice: Voice,
    last: Measure,
}

impl Default for Features {
    fn default() -> Self {
        Self::new()
    }
}

impl Features {
    /// Measures a stream from its first frame on.
    pub fn new() -> Self {
        let transform = RealFftPlanner::<f32>::new().plan_fft_forward(WINDOW);
        let mut window = Box::new([0.0; WINDOW]);
        for (place, weight) in window.iter_mut().enumerate() {
            *weight = 0.5 - 0.5 * (2.0 * PI * place as f32 / WINDOW as f32).cos();
        }
        let power: f32 = window.iter().map(|weight| weight * weight).sum();
        Self {
            // Twice, for the negative frequencies.
            scale: 2.0 / (power * WINDOW as f32),
            input: transform.make_input_vec(),
            spectrum: transform.make_output_vec(),
            scratch: transform.make_scratch_vec(),
            transform,
            window,
            recent: Box::new([0.0; WINDOW]),
            voice: Voice::new(),
            last: Measure { sound: Sound::Silent, bands: [LOWEST_DB; BANDS], level: LOWEST_DB, voice: 0.0 },
        }
    }

    /// Measures the next frame.
    pub fn measure(&mut self, heard: Heard<'_>) -> Measure {
        match heard {
            Heard::Missing(why) => {
                self.voice.skip();
                self.last = Measure { sound: Sound::None(why), voice: 0.0, ..self.last };
            }
            Heard::Sound(samples) if samples.iter().all(|sample| sample.unsigned_abs() <= SILENT_PEAK.unsigned_abs()) => {
                self.voice.skip();
                self.recent.fill(0.0);
                self.last = Measure { sound: Sound::Silent, bands: [LOWEST_DB; BANDS], level: LOWEST_DB, voice: 0.0 };
            }
            Heard::Sound(samples) => {
                let (bands, level) = self.levels(samples);
                let voice = self.voice.hear(samples, level);
                self.last = Measure { sound: Sound::Live, bands, level, voice };
            }
        }
        self.last
    }

    /// Levels of the bands, and of all together.
    fn levels(&mut self, samples: &[i16; FRAME_SAMPLES]) -> ([f32; BANDS], f32) {
        self.recent.copy_within(FRAME_SAMPLES.., 0);
        for (into, sample) in self.recent[WINDOW - FRAME_SAMPLES..].iter_mut().zip(samples) {
            *into = f32::from(*sample) / 32_768.0;
        }
        for ((into, sample), weight) in self.input.iter_mut().zip(self.recent.iter()).zip(self.window.iter()) {
            *into = sample * weight;
        }
        // The only error is a length that does not fit, and all are made by the transform itself.
        let done = self.transform.process_with_scratch(&mut self.input, &mut self.spectrum, &mut self.scratch);
        debug_assert!(done.is_ok());
        let mut bands = [0.0; BANDS];
        let mut all = 0.0;
        for (band, level) in bands.iter_mut().enumerate() {
            let power: f32 = self.spectrum[bin(EDGES[band])..bin(EDGES[band + 1])].iter().map(Complex::norm_sqr).sum();
            all += power;
            *level = decibels(power * self.scale);
        }
        (bands, decibels(all * self.scale))
    }
}

/// The first line of the transform at or above a frequency.
fn bin(hz: f32) -> usize {
    (hz * WINDOW as f32 / super::SAMPLE_RATE as f32).round() as usize
}

/// A power in dB.
fn decibels(power: f32) -> f32 {
    (10.0 * power.max(1e-12).log10()).max(LOWEST_DB)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A second of a sine, measured.
    fn sine(hz: f32, amplitude: f32) -> Measure {
        let mut features = Features::new();
        let mut last = features.last;
        for frame in 0..50 {
            let mut samples = [0i16; FRAME_SAMPLES];
            for (place, sample) in samples.iter_mut().enumerate() {
                let time = (frame * FRAME_SAMPLES + place) as f32 / super::super::SAMPLE_RATE as f32;
                *sample = (32_767.0 * amplitude * (2.0 * PI * hz * time).sin()) as i16;
            }
            last = features.measure(Heard::Sound(&samples));
        }
        last
    }

    #[test]
    fn a_sine_is_as_loud_as_it_is_and_in_its_band() {
        // A sine of amplitude a has the power a²/2: -20 dB and -3.01 dB.
        for (hz, band) in [(200.0, 0), (450.0, 1), (900.0, 2), (1800.0, 3), (3300.0, 4), (5600.0, 5)] {
            let measure = sine(hz, 0.1);
            assert!((measure.bands[band] + 23.01).abs() < 0.1, "{hz} Hz: {measure:?}");
            assert!((measure.level + 23.01).abs() < 0.1, "{hz} Hz: {measure:?}");
            for (other, level) in measure.bands.iter().enumerate() {
                assert!(other == band || *level < -60.0, "{hz} Hz leaks into band {other}: {measure:?}");
            }
        }
        assert!((sine(900.0, 0.001).level + 63.01).abs() < 0.3, "rounding to whole steps costs little");
    }

    #[test]
    fn what_is_not_heard_holds_the_level_and_silence_does_not() {
        let mut features = Features::new();
        let loud = [1000, -1000].repeat(FRAME_SAMPLES / 2).try_into().expect("as many samples as a frame has");
        features.measure(Heard::Sound(&loud));
        let before = features.measure(Heard::Sound(&loud));
        let held = features.measure(Heard::Missing(Missing::Withheld));
        assert_eq!((held.sound, held.bands, held.level), (Sound::None(Missing::Withheld), before.bands, before.level));
        let silent = features.measure(Heard::Sound(&[1; FRAME_SAMPLES]));
        assert_eq!((silent.sound, silent.level), (Sound::Silent, LOWEST_DB));
    }
}
