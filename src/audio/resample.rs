//! From any rate to another, by a windowed sinc.
//!
//! For files; a call's sound is decoded to the right rate at once. Invariant: `n` samples in give `n × out ÷ in` out, rounded up, and
//! what lies above half the lower rate is gone.

use std::collections::VecDeque;
use std::f64::consts::PI;

/// Zero crossings of the sinc to each side.
const CROSSINGS: f64 = 16.0;

/// Steps of the table from one input sample to the next.
const STEPS: usize = 256;

/// Part of the lower half rate that passes.
const PASSES: f64 = 0.92;

/// Turns samples of one rate into samples of another.
pub(super) struct Resampler {
    rate_in: u64,
    rate_out: u64,
    /// One side of the kernel, in steps; empty where nothing is to be done.
    kernel: Vec<f32>,
    /// Input samples to each side that make an output sample.
    reach: usize,
    /// The last samples and silence before the first of them.
    recent: VecDeque<f32>,
    taken: u64,
    given: u64,
}

impl Resampler {
    /// From `rate_in` to `rate_out` samples a second; neither is 0.
    pub(super) fn new(rate_in: u32, rate_out: u32) -> Self {
        let (rate_in, rate_out) = (u64::from(rate_in), u64::from(rate_out));
        let mut resampler = Self { rate_in, rate_out, kernel: Vec::new(), reach: 0, recent: VecDeque::new(), taken: 0, given: 0 };
        if rate_in != rate_out {
            // Twice the cut-off frequency over the input rate.
            let cut = PASSES * (rate_out as f64 / rate_in as f64).min(1.0);
            resampler.reach = (CROSSINGS / cut).ceil() as usize;
            let steps = resampler.reach * STEPS;
            resampler.kernel = (0..=steps + 1)
                .map(|step| {
                    let at = step as f64 / STEPS as f64;
                    let angle = PI * cut * at;
                    let sinc = if step == 0 { 1.0 } else { angle.sin() / angle };
                    let side = (at / resampler.reach as f64).min(1.0);
                    // Blackman's window.
                    (cut * sinc * (0.42 + 0.5 * (PI * side).cos() + 0.08 * (2.0 * PI * side).cos())) as f32
                })
                .collect();
            resampler.recent.extend(std::iter::repeat_n(0.0, resampler.reach));
        }
        resampler
    }

    /// Takes a sample; what can be made of it and those before is appended.
    pub(super) fn push(&mut self, sample: f32, out: &mut Vec<f32>) {
        self.taken += 1;
        if self.kernel.is_empty() {
            out.push(sample);
            return;
        }
        self.recent.push_back(sample);
        self.make(self.taken.saturating_sub(self.reach as u64), out);
    }

    /// What is left, as if silence followed.
    pub(super) fn finish(&mut self, out: &mut Vec<f32>) {
        if !self.kernel.is_empty() {
            let last = self.taken;
            for _ in 0..=self.reach {
                self.recent.push_back(0.0);
                self.taken += 1;
            }
            self.make(last, out);
        }
    }

    /// Makes all output samples that lie before an input sample.
    fn make(&mut self, before: u64, out: &mut Vec<f32>) {
        // `recent` begins `reach` samples before the first that is still needed.
        let mut first = self.taken + self.reach as u64 - self.recent.len() as u64;
        loop {
            let centre = self.given * self.rate_in / self.rate_out;
            if centre >= before {
                return;
            }
            while first < centre {
                self.recent.pop_front();
                first += 1;
            }
            let past = (self.given * self.rate_in % self.rate_out) as f64 / self.rate_out as f64;
            let mut sum = 0.0;
            for (tap, sample) in self.recent.iter().take(2 * self.reach + 1).enumerate() {
                let distance = (tap as f64 - self.reach as f64 - past).abs() * STEPS as f64;
                let step = distance as usize;
                if step + 1 < self.kernel.len() {
                    let part = (distance - step as f64) as f32;
                    sum += sample * (self.kernel[step] + part * (self.kernel[step + 1] - self.kernel[step]));
                }
            }
            out.push(sum);
            self.given += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of a second of a sine of amplitude 0.5.
    fn sine(rate_in: u32, rate_out: u32, hz: f64) -> Vec<f32> {
        let mut resampler = Resampler::new(rate_in, rate_out);
        let mut out = Vec::new();
        for place in 0..rate_in {
            resampler.push((0.5 * (2.0 * PI * hz * f64::from(place) / f64::from(rate_in)).sin()) as f32, &mut out);
        }
        resampler.finish(&mut out);
        out
    }

    #[test]
    fn a_sine_stays_itself_at_every_rate() {
        for rate in [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000] {
            let out = sine(rate, 16_000, 440.0);
            assert_eq!(out.len(), 16_000, "{rate}");
            // Away from the ends, where there is silence beside it.
            for (place, value) in out.iter().enumerate().skip(200).take(15_600) {
                let expected = 0.5 * (2.0 * PI * 440.0 * place as f64 / 16_000.0).sin();
                assert!((f64::from(*value) - expected).abs() < 1e-3, "{rate}: sample {place} is {value}, expected {expected}");
            }
        }
    }

    #[test]
    fn what_the_lower_rate_cannot_hold_is_gone() {
        let loudest = sine(48_000, 16_000, 11_000.0).into_iter().skip(200).take(15_600).fold(0.0, f32::max);
        assert!(loudest < 5e-4, "{loudest}");
    }
}
