//! Whether something repeats at the pace of breathing, how well it keeps its pace, and whether it keeps it too well.
//!
//! The autocorrelation of the loudness has a peak at the period and again at its multiples. How high the first is depends on how loud the
//! breath is against the room and on how much its period varies; how much lower the following ones are depends on the variation alone,
//! because noise lowers all alike. A sleeper's period varies by 3 to 8 % from breath to breath and the variation adds up, so that ten
//! breaths on nothing is left; a fan's or a loop's does not vary, and its tenth peak is as high as its first.
//!
//! That regular breathing marks sleep, and irregular breathing waking, is after Ayappa et al. 2009; the rate itself hardly differs
//! (table in PMC5078504). Invariant: nothing is said of a stretch of which less than a third was heard.

use super::history::{Mark, Tenth};
use crate::audio::features::BANDS;
use realfft::num_complex::Complex;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use std::sync::Arc;

/// Tenths that are looked at: two minutes.
pub(super) const STRETCH: usize = 1200;
/// Fewest tenths of which something is said.
const SHORTEST_STRETCH: usize = 600;
/// Length of the transforms: the stretch and the longest lag, so that the ends do not meet.
const LENGTH: usize = 2048;
/// Longest lag that is used, in tenths.
const FARTHEST: usize = 800;
/// Shortest and longest period of breathing in tenths: 27 and 8 a minute.
const SHORTEST: usize = 22;
const LONGEST: usize = 75;
/// Most that a band counts above its floor in dB: a turn in bed is no louder than a breath.
const CLIP_DB: f32 = 12.0;
/// Half the length of the moving mean that is taken off, in tenths. Short, so that steps of the background (rain, a clip that ends) leave
/// little behind.
const TREND: usize = 30;
/// Half the length of the moving mean that smooths, in tenths.
const SMOOTH: usize = 2;
/// A shorter period is taken if its peak is this part of the highest: a period's double repeats as well.
const AS_HIGH: f32 = 0.8;
/// Multiples of the period at which a machine is looked for.
const MULTIPLES: std::ops::RangeInclusive<usize> = 8..=16;

/// Least part of a stretch that was heard, and least part of its pairs a lag apart, for something to be said.
const FEWEST: f32 = 0.3;
const FEWEST_PAIRS: f32 = 0.08;
/// What chance finds where nearly all is missing.
const CHANCE: f32 = 0.35;

/// Tenths in which an echo is looked for: five minutes.
pub(super) const LONG_STRETCH: usize = 3000;
/// Length of its transforms.
const LONG_LENGTH: usize = 4608;
/// Lags of an echo in tenths: longer than two breaths, and as long as a loop that comes again within the stretch.
const NEAREST_ECHO: usize = 120;
const FARTHEST_ECHO: usize = 1500;
/// Least strength of an echo; chance and breathing reach 0.28.
const LEAST_ECHO: f32 = 0.33;
/// Part of its strength that an echo has after twice its lag.
const AGAIN: f32 = 0.75;

/// What repeats.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Beat {
    /// Period in seconds.
    pub(super) period_s: f32,
    /// How well it keeps its pace: mean of the autocorrelation at the period and at twice the period, 0 to 1.
    pub(super) pace: f32,
    /// Autocorrelation far off, at multiples of one exact period, as part of that at the period: 0 to 0.5 is breathing, 1 is a machine.
    pub(super) steadiness: f32,
    /// Autocorrelation at the period.
    pub(super) first: f32,
}

/// What comes again exactly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Echo {
    /// After how many tenths.
    pub(super) lag: usize,
    /// How much of all that varies it is, 0 to 1.
    pub(super) strength: f32,
}

/// Looks for what repeats. Holds nothing between looks but its plans.
pub(super) struct Rhythm {
    short: Products,
    long: Products,
}

impl Rhythm {
    pub(super) fn new() -> Self {
        Self { short: Products::new(LENGTH), long: Products::new(LONG_LENGTH) }
    }

    /// What repeats in the newest [`STRETCH`] of some tenths; none if too little of it was heard or nothing repeats.
    ///
    /// Where a loop was found it is taken off first: what was heard a loop earlier is subtracted, and what does not come again remains.
    pub(super) fn look<'a>(&self, tenths: impl ExactSizeIterator<Item = &'a Tenth> + Clone, echo: Option<Echo>) -> Option<Beat> {
        let back = echo.map_or(0, |echo| echo.lag);
        let whole: Vec<f32> = weights(tenths.clone());
        let length = whole.len().checked_sub(back)?.min(STRETCH);
        if length < SHORTEST_STRETCH {
            return None;
        }
        // The stretch, and the one of the same length that is a loop earlier.
        let (now, before) = (whole.len() - length, whole.len() - length - back);
        let without = |values: &[f32], mix: fn(f32, f32) -> f32| -> Vec<f32> {
            (0..length)
                .map(|place| if back == 0 { values[now + place] } else { mix(values[now + place], values[before + place]) })
                .collect()
        };
        let heard = without(&whole, |new, old| new * old);
        let clear = heard.iter().sum::<f32>() / length as f32;
        if clear < FEWEST {
            return None;
        }
        let pairs = self.short.products(&heard, FARTHEST);
        let mut mixed = vec![0.0f32; FARTHEST + 1];
        let mut total = 0.0;
        for band in 0..BANDS {
            let levels: Vec<f32> = tenths.clone().map(|tenth| tenth.bands[band]).collect();
            let mut envelope = without(&envelope(&levels[before..], &whole[before..], now - before), |new, old| new - old);
            envelope.iter_mut().zip(&heard).for_each(|(value, weight)| *value *= weight);
            let products = self.short.products(&envelope, FARTHEST);
            // Pairs of tenths that were both heard; with few of them chance rules.
            let mean = |lag: usize| if pairs[lag] < FEWEST_PAIRS * length as f32 { 0.0 } else { products[lag] / pairs[lag] };
            let power = mean(0).max(1e-6);
            let highest = (SHORTEST..=LONGEST).map(mean).fold(0.0, f32::max) / power;
            // Bands in which something repeats, and repeats loudly, count.
            let weight = highest * highest * power;
            total += weight;
            for (lag, into) in mixed.iter_mut().enumerate() {
                *into += weight * mean(lag) / power;
            }
        }
        if total <= 0.0 {
            return None;
        }
        mixed.iter_mut().for_each(|value| *value /= total);
        let mut beat = beat(&mixed)?;
        // With many gaps chance finds a pace in anything.
        beat.pace = (beat.pace - CHANCE * (1.0 - clear)).max(0.0);
        // What is left of a loop that is nearly all there is, is not to be trusted.
        beat.pace *= echo.map_or(1.0, |echo| (2.0 - 2.0 * echo.strength).clamp(0.0, 1.0));
        Some(beat)
    }

    /// What comes again exactly as it was in a long stretch. Noise machines play a loop of seconds to minutes; nothing alive does.
    pub(super) fn echo<'a>(&self, tenths: impl ExactSizeIterator<Item = &'a Tenth> + Clone) -> Option<Echo> {
        let weights = weights(tenths.clone());
        let length = weights.len();
        if !(FARTHEST_ECHO..=LONG_STRETCH).contains(&length) || weights.iter().sum::<f32>() < 0.5 * length as f32 {
            return None;
        }
        let pairs = self.long.products(&weights, FARTHEST_ECHO);
        let mut sum = vec![0.0f32; FARTHEST_ECHO + 1];
        for band in 0..BANDS {
            let levels: Vec<f32> = tenths.clone().map(|tenth| tenth.bands[band]).collect();
            for (into, product) in sum.iter_mut().zip(self.long.products(&envelope(&levels, &weights, 0), FARTHEST_ECHO)) {
                *into += product;
            }
        }
        let mean = |lag: usize| if pairs[lag] < 0.1 * length as f32 { 0.0 } else { sum[lag] / pairs[lag] };
        let power = mean(0).max(1e-6);
        let lag = (NEAREST_ECHO..=FARTHEST_ECHO).max_by(|a, b| mean(*a).total_cmp(&mean(*b)))?;
        let strength = mean(lag) / power;
        // Even breathing resembles itself for a while, and less after twice that while; a loop does not fade.
        let again = if 2 * lag + 2 <= FARTHEST_ECHO { (2 * lag - 2..=2 * lag + 2).map(mean).fold(0.0, f32::max) / power } else { strength };
        (strength >= LEAST_ECHO && again >= AGAIN * strength).then_some(Echo { lag, strength: strength.min(1.0) })
    }
}

/// 1 for each tenth in which breathing could be heard, 0 for the others.
fn weights<'a>(tenths: impl Iterator<Item = &'a Tenth>) -> Vec<f32> {
    tenths.map(|tenth| if tenth.mark == Mark::Clear { 1.0 } else { 0.0 }).collect()
}

/// Autocorrelation by transforms of one length.
struct Products {
    length: usize,
    forward: Arc<dyn RealToComplex<f32>>,
    inverse: Arc<dyn ComplexToReal<f32>>,
}

impl Products {
    fn new(length: usize) -> Self {
        let mut planner = RealFftPlanner::<f32>::new();
        Self { length, forward: planner.plan_fft_forward(length), inverse: planner.plan_fft_inverse(length) }
    }

    /// Sum of the products of values a lag apart, for each lag up to `farthest`. Values and the farthest lag together are no longer than
    /// the transforms.
    fn products(&self, values: &[f32], farthest: usize) -> Vec<f32> {
        let mut padded = vec![0.0; self.length];
        padded[..values.len()].copy_from_slice(values);
        let mut spectrum = self.forward.make_output_vec();
        // The only error is a length that does not fit; both have the length of the plans.
        let _ = self.forward.process(&mut padded, &mut spectrum);
        for line in &mut spectrum {
            *line = Complex::new(line.norm_sqr() / self.length as f32, 0.0);
        }
        let _ = self.inverse.process(&mut spectrum, &mut padded);
        padded.truncate(farthest + 1);
        padded
    }
}

/// The beat of an autocorrelation by lag.
fn beat(correlation: &[f32]) -> Option<Beat> {
    let highest = correlation[SHORTEST..=LONGEST].iter().copied().fold(0.0, f32::max);
    let is_peak = |lag: &usize| correlation[*lag] >= correlation[lag - 1] && correlation[*lag] >= correlation[lag + 1];
    let lag = (SHORTEST..=LONGEST).filter(is_peak).find(|lag| correlation[*lag] > 0.0 && correlation[*lag] >= AS_HIGH * highest)?;
    let first = correlation[lag];
    let reach = (lag / 4).max(2);
    let second = correlation[2 * lag - reach..=2 * lag + reach].iter().copied().fold(0.0, f32::max);
    // A machine's peaks all lie at multiples of one exact period, to be found a little beside the lag.
    let steadiness = (0..=40)
        .map(|step| {
            let period = lag as f32 + (step as f32 - 20.0) / 20.0;
            let far = MULTIPLES.filter(|multiple| (period * *multiple as f32) as usize + 1 < FARTHEST);
            let (sum, count) =
                far.fold((0.0, 0.0), |(sum, count), multiple| (sum + at(correlation, period * multiple as f32), count + 1.0));
            if count > 0.0 { sum / count } else { 0.0 }
        })
        .fold(0.0, f32::max)
        / first;
    Some(Beat { period_s: lag as f32 / 10.0, pace: (first + second) / 2.0, steadiness, first })
}

/// A value between two lags.
fn at(correlation: &[f32], lag: f32) -> f32 {
    let below = lag as usize;
    let part = lag - below as f32;
    correlation[below] * (1.0 - part) + correlation[below + 1] * part
}

/// How far a band is above its floor, smoothed, without its trend; 0 where nothing was heard.
///
/// The floor is that of what follows the first `from`.
fn envelope(levels: &[f32], weights: &[f32], from: usize) -> Vec<f32> {
    let ones = vec![1.0; levels.len()];
    let smooth = moving_mean(levels, &ones, SMOOTH);
    let mut heard: Vec<f32> = smooth.iter().zip(weights).skip(from).filter(|(_, weight)| **weight > 0.0).map(|(level, _)| *level).collect();
    if heard.is_empty() {
        return vec![0.0; levels.len()];
    }
    let place = heard.len() * 15 / 100;
    let floor = *heard.select_nth_unstable_by(place, f32::total_cmp).1;
    let above: Vec<f32> = smooth.iter().map(|level| (level - floor).clamp(0.0, CLIP_DB)).collect();
    let trend = moving_mean(&above, weights, TREND);
    above.iter().zip(&trend).zip(weights).map(|((value, trend), weight)| (value - trend) * weight).collect()
}

/// The mean of the values around each that have weight, as far as `reach` to either side.
fn moving_mean(values: &[f32], weights: &[f32], reach: usize) -> Vec<f32> {
    let mut sums = Vec::with_capacity(values.len() + 1);
    let (mut sum, mut count) = (0.0f64, 0.0f64);
    sums.push((sum, count));
    for (value, weight) in values.iter().zip(weights) {
        sum += f64::from(value * weight);
        count += f64::from(*weight);
        sums.push((sum, count));
    }
    (0..values.len())
        .map(|place| {
            let (from, to) = (sums[place.saturating_sub(reach)], sums[(place + reach + 1).min(values.len())]);
            let count = to.1 - from.1;
            if count > 0.0 { ((to.0 - from.0) / count) as f32 } else { 0.0 }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::history::History;
    use super::*;
    use crate::audio::features::{Features, Measure, Sound};
    use crate::audio::{FRAME_SAMPLES, Heard, SAMPLE_RATE};
    use std::f32::consts::TAU;

    /// A history of so many seconds; `level` gives the level in dB at a time.
    fn history(seconds: usize, mut level: impl FnMut(f32) -> f32) -> History {
        let mut history = History::default();
        for frame in 0..seconds * 50 {
            let level = level(frame as f32 / 50.0);
            history.push(&Measure { sound: Sound::Live, bands: [level - 8.0; BANDS], level, voice: 0.0 }, |_| false);
        }
        history
    }

    /// Chance between -1 and 1 that repeats.
    fn dice(mut seed: u32) -> impl FnMut() -> f32 {
        move || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) as f32 / (1 << 23) as f32 - 1.0
        }
    }

    #[test]
    fn a_sine_of_a_period_has_that_period_and_is_a_machine() {
        for period in [2.5, 3.3, 4.0, 5.7, 7.0] {
            let history = history(120, |time| -60.0 + 5.0 * (TAU * time / period).sin());
            let beat = Rhythm::new().look(history.last(STRETCH), None).expect("it repeats");
            assert!((beat.period_s - period).abs() <= 0.1, "{period}: {beat:?}");
            assert!(beat.pace > 0.9 && beat.steadiness > 0.95, "{period}: {beat:?}");
        }
    }

    #[test]
    fn a_tone_that_swells_every_four_seconds_has_that_period() {
        let mut features = Features::new();
        let mut history = History::default();
        for frame in 0..100 * 50 {
            let samples = std::array::from_fn(|place| {
                let time = (frame * FRAME_SAMPLES + place) as f32 / SAMPLE_RATE as f32;
                (300.0 * (1.0 + 0.5 * (TAU * 0.25 * time).sin()) * (TAU * 900.0 * time).sin()) as i16
            });
            history.push(&features.measure(Heard::Sound(&samples)), |_| false);
        }
        let beat = Rhythm::new().look(history.last(STRETCH), None).expect("it repeats");
        assert!((beat.period_s - 4.0).abs() <= 0.1 && beat.pace > 0.9, "{beat:?}");
    }

    #[test]
    fn the_more_a_period_varies_the_worse_its_pace() {
        let with = |varies: f32| {
            let (mut chance, mut begun, mut length) = (dice(3), 0.0, 4.0);
            let history = history(120, |time| {
                if time >= begun + length {
                    begun += length;
                    // The standard deviation of chance between -1 and 1 is 0.58.
                    length = 4.0 * (varies * chance() / 0.58).exp();
                }
                -60.0 + 10.0 * (TAU / 2.0 * (time - begun) / length).sin()
            });
            Rhythm::new().look(history.last(STRETCH), None).expect("it repeats")
        };
        let (machine, asleep, awake) = (with(0.0), with(0.06), with(0.3));
        assert!(machine.pace > asleep.pace && asleep.pace > 0.5 && awake.pace < 0.35, "{machine:?} {asleep:?} {awake:?}");
        assert!(machine.steadiness > 0.95 && asleep.steadiness < 0.88, "{machine:?} {asleep:?}");
    }

    #[test]
    fn noise_has_neither_pace_nor_echo() {
        let mut chance = dice(5);
        let history = history(300, |_| -60.0 + 2.0 * chance());
        let rhythm = Rhythm::new();
        assert!(rhythm.look(history.last(STRETCH), None).is_none_or(|beat| beat.pace < 0.2));
        assert_eq!(rhythm.echo(history.last(LONG_STRETCH)), None);
    }

    #[test]
    fn a_loop_is_found_at_its_length_and_can_be_heard_through() {
        let mut chance = dice(7);
        let steps: Vec<f32> = (0..317).map(|_| 4.0 * chance()).collect();
        let smooth = |time: f32| {
            let place = (time * 10.0) as usize;
            (0..12).map(|near| steps[(place + near) % steps.len()]).sum::<f32>() / 3.5
        };
        let rhythm = Rhythm::new();
        let alone = history(300, |time| -60.0 + smooth(time));
        let echo = rhythm.echo(alone.last(LONG_STRETCH)).expect("a loop");
        assert!(echo.lag.is_multiple_of(317) && echo.strength > 0.9, "{echo:?}");

        let (mut chance, mut begun, mut length) = (dice(9), 0.0, 4.1);
        let both = history(300, |time| {
            if time >= begun + length {
                (begun, length) = (begun + length, 4.1 * (0.08 * chance()).exp());
            }
            -60.0 + smooth(time) + 5.0 * (TAU * (time - begun) / length).sin()
        });
        let echo = Echo { lag: 317, strength: 0.5 };
        let beat = rhythm.look(both.last(STRETCH + echo.lag), Some(echo)).expect("breath");
        assert!((beat.period_s - 4.1).abs() < 0.3 && beat.pace > 0.3, "{beat:?}");
        let beat = rhythm.look(alone.last(STRETCH + 317), Some(Echo { lag: 317, strength: 0.98 }));
        assert!(beat.is_none_or(|beat| beat.pace < 0.1), "nothing is left: {beat:?}");
    }

    #[test]
    fn nothing_is_said_of_what_was_hardly_heard() {
        let mut history = history(120, |time| -60.0 + 5.0 * (TAU * time / 4.0).sin());
        history.mark(900, Mark::Speech);
        assert_eq!(Rhythm::new().look(history.last(STRETCH), None), None);
    }
}
