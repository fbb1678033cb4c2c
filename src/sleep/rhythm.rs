//! Whether something repeats at the pace of breathing, how strongly, and how well it keeps its pace.
//!
//! The envelope's autocorrelation peaks at the period and again at its multiples. How high the first peak is depends on how loud the
//! breath is against the room; how much the next ones are lower depends only on how much the period varies, because noise lowers all of
//! them alike. So pace is told from loudness. Invariant: nothing is said of a stretch of which less than half was heard.

use super::history::{Mark, Tenth};
use crate::audio::features::BANDS;
use realfft::num_complex::Complex;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use std::sync::Arc;

/// Tenths that are looked at.
pub(super) const STRETCH: usize = 600;
/// Length of the transforms: twice the stretch at least, so that the ends do not meet.
const LENGTH: usize = 2048;
/// Shortest and longest period of breathing in tenths: 27 and 8 a minute.
const SHORTEST: usize = 22;
const LONGEST: usize = 75;
/// Most that a band counts above its floor in dB.
const CLIP_DB: f32 = 15.0;
/// Half the length of the moving mean that is taken off, in tenths.
const TREND: usize = 60;

/// What repeats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Beat {
    /// Period in seconds.
    pub(super) period_s: f32,
    /// Autocorrelation at the period.
    pub(super) strength: f32,
}

/// Looks for what repeats.
pub(super) struct Rhythm {
    forward: Arc<dyn RealToComplex<f32>>,
    inverse: Arc<dyn ComplexToReal<f32>>,
    spectrum: Vec<Complex<f32>>,
    weight_spectrum: Vec<Complex<f32>>,
}

impl Rhythm {
    pub(super) fn new() -> Self {
        let mut planner = RealFftPlanner::<f32>::new();
        let forward = planner.plan_fft_forward(LENGTH);
        let inverse = planner.plan_fft_inverse(LENGTH);
        Self { spectrum: forward.make_output_vec(), weight_spectrum: forward.make_output_vec(), forward, inverse }
    }

    /// What repeats in a stretch of tenths.
    pub(super) fn look<'a>(&mut self, tenths: impl ExactSizeIterator<Item = &'a Tenth> + Clone) -> Option<Beat> {
        let length = tenths.len().min(STRETCH);
        let weights: Vec<f32> = tenths.clone().map(|tenth| if tenth.mark == Mark::Clear { 1.0 } else { 0.0 }).collect();
        if length < STRETCH || weights.iter().sum::<f32>() < length as f32 / 2.0 {
            return None;
        }
        let mut envelope = vec![0.0; length];
        for band in 0..BANDS {
            let levels: Vec<f32> = tenths.clone().map(|tenth| tenth.bands[band]).collect();
            let mut sorted = levels.clone();
            sorted.sort_by(f32::total_cmp);
            let floor = sorted[length / 10];
            for (into, level) in envelope.iter_mut().zip(&levels) {
                *into += (level - floor).clamp(0.0, CLIP_DB);
            }
        }
        detrend(&mut envelope, &weights);
        let correlation = self.correlate(&envelope, &weights);
        let highest = (SHORTEST..=LONGEST).map(|lag| correlation[lag]).fold(0.0, f32::max);
        let is_peak = |lag: &usize| correlation[*lag] >= correlation[lag - 1] && correlation[*lag] >= correlation[lag + 1];
        let lag = (SHORTEST..=LONGEST).filter(is_peak).find(|lag| correlation[*lag] >= 0.85 * highest)?;
        Some(Beat { period_s: lag as f32 / 10.0, strength: correlation[lag] })
    }

    /// Autocorrelation by lag, only over what was heard at both ends, 1 at lag 0.
    fn correlate(&mut self, envelope: &[f32], weights: &[f32]) -> Vec<f32> {
        let mut shape = padded(envelope);
        let mut mask = padded(weights);
        // The only error is a length that does not fit; all have the length of the transforms.
        let _ = self.forward.process(&mut shape, &mut self.spectrum);
        let _ = self.forward.process(&mut mask, &mut self.weight_spectrum);
        for line in self.spectrum.iter_mut().chain(&mut self.weight_spectrum) {
            *line = Complex::new(line.norm_sqr(), 0.0);
        }
        let _ = self.inverse.process(&mut self.spectrum, &mut shape);
        let _ = self.inverse.process(&mut self.weight_spectrum, &mut mask);
        let mean = |lag: usize| if mask[lag] < LENGTH as f32 { 0.0 } else { shape[lag] / mask[lag] };
        let whole = mean(0).max(f32::MIN_POSITIVE);
        (0..STRETCH).map(|lag| mean(lag) / whole).collect()
    }
}

/// Takes the moving mean of what was heard off, and what was not heard to zero.
fn detrend(envelope: &mut [f32], weights: &[f32]) {
    let mut sums = vec![(0.0f32, 0.0f32)];
    for (value, weight) in envelope.iter().zip(weights) {
        let (sum, count) = sums[sums.len() - 1];
        sums.push((sum + value * weight, count + weight));
    }
    for place in 0..envelope.len() {
        let (from, to) = (place.saturating_sub(TREND), (place + TREND + 1).min(envelope.len()));
        let count = sums[to].1 - sums[from].1;
        let mean = if count > 0.0 { (sums[to].0 - sums[from].0) / count } else { 0.0 };
        envelope[place] = (envelope[place] - mean) * weights[place];
    }
}

fn padded(values: &[f32]) -> Vec<f32> {
    let mut padded = vec![0.0; LENGTH];
    padded[..values.len()].copy_from_slice(values);
    padded
}
