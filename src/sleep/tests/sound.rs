//! A few nights as sound: from the samples of a WAV file to the verdict, through everything that measures and decides.
//!
//! What sounds in a [`Scene`] is played: each band of its spectrum by noise of that band, words by a buzz with the formants of vowels, so
//! that the network which knows voices is asked as well. Noise repeats after longer than an echo is looked for.

use super::bedroom::{FRAMES, Machine, Scene, decibels};
use super::{Breathing, asleep_at};
use crate::audio::features::{BANDS, EDGES};
use crate::audio::wav::WavFrames;
use crate::audio::{Heard, SAMPLE_RATE};
use crate::clock::{Moment, Span};
use crate::sleep::{Detector, State};
use std::f32::consts::TAU;

/// Samples of a frame.
const FRAME: usize = (SAMPLE_RATE / FRAMES) as usize;
/// Seconds after which noise repeats.
const REPEATS: u32 = 170;
/// Seconds of words.
const WORDS: u32 = 20;

/// Noise of one band, of the power 1.
fn noise(from: f32, to: f32, seed: &mut u32) -> Vec<f32> {
    // A filter of two poles between the edges, twice.
    let (centre, width) = (TAU * (from * to).sqrt() / SAMPLE_RATE as f32, TAU * (to - from) / SAMPLE_RATE as f32);
    let pull = (-0.5 * width).exp();
    let (near, far) = (2.0 * pull * centre.cos(), pull * pull);
    let mut past = [[0.0f32; 2]; 2];
    let mut noise: Vec<f32> = (0..REPEATS * SAMPLE_RATE)
        .map(|_| {
            *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let mut value = (*seed >> 8) as f32 / (1 << 23) as f32 - 1.0;
            for [one, two] in &mut past {
                value += near * *one - far * *two;
                (*two, *one) = (*one, value);
            }
            value
        })
        .collect();
    let scale = 1.0 / (noise.iter().map(|value| value * value).sum::<f32>() / noise.len() as f32).sqrt();
    noise.iter_mut().for_each(|value| *value *= scale);
    noise
}

/// Vowels at a pitch that glides, of the power 1.
fn words() -> Vec<f32> {
    let mut phase = 0.0f32;
    let mut words: Vec<f32> = (0..WORDS * SAMPLE_RATE)
        .map(|place| {
            let time = place as f32 / SAMPLE_RATE as f32;
            let pitch = 190.0 + 30.0 * (0.9 * time).sin() + 12.0 * (4.1 * time).sin();
            phase = (phase + pitch / SAMPLE_RATE as f32).fract();
            let vowel = 550.0 + 300.0 * (7.0 * time).sin();
            let near = |hz: f32, formant: f32, width: f32| 1.0 / (1.0 + ((hz - formant) / width).powi(2));
            (1..16).map(|times| times as f32).fold(0.0, |sum, times| {
                let hz = pitch * times;
                let loud = near(hz, vowel, 120.0) + 0.5 * near(hz, vowel + 1_100.0, 200.0);
                sum + loud * (TAU * phase * times).sin()
            })
        })
        .collect();
    let scale = 1.0 / (words.iter().map(|value| value * value).sum::<f32>() / words.len() as f32).sqrt();
    words.iter_mut().for_each(|value| *value *= scale);
    words
}

/// A night as a WAV file.
fn wav(scene: &Scene) -> Vec<u8> {
    let mut seed = scene.seed as u32;
    let bands: [Vec<f32>; BANDS] = std::array::from_fn(|band| noise(EDGES[band], EDGES[band + 1], &mut seed));
    let words = words();
    let (power, voice, _) = scene.powers();
    let room = decibels(scene.room) / BANDS as f32;
    let mut samples = Vec::with_capacity(power.len() * FRAME);
    let mut before = ([0.0f32; BANDS], 0.0f32);
    for (frame, (power, voice)) in power.iter().zip(&voice).enumerate() {
        let next = (power.map(|power| (power + room).sqrt()), voice.sqrt());
        for step in 0..FRAME {
            let (part, place) = (step as f32 / FRAME as f32, frame * FRAME + step);
            let blend = |before: f32, next: f32| before + (next - before) * part;
            let mut value = blend(before.1, next.1) * words[place % words.len()];
            for band in 0..BANDS {
                value += blend(before.0[band], next.0[band]) * bands[band][place % bands[band].len()];
            }
            samples.push(if scene.is_muted(frame) { 0 } else { (value * 32_767.0).round() as i16 });
        }
        before = next;
    }
    let mut file = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data\0\0\0\0".to_vec();
    file.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    file
}

/// States in the order in which they came up to sleep, with the minute in which they did, and for how many seconds there was speech.
fn heard(scene: &Scene) -> (Vec<(f32, State)>, f32) {
    let file = wav(scene);
    let mut frames = WavFrames::open(&file[..]).expect("a WAV file");
    let mut detector = Detector::new(Moment::from_unix_ms(0));
    let (mut states, mut at, mut spoke) = (Vec::new(), Moment::from_unix_ms(0), 0);
    while let Some(frame) = frames.next_frame().expect("sound") {
        if let Some(verdict) = detector.hear(at, Heard::Sound(&frame)) {
            states.push((at.since(Moment::from_unix_ms(0)).ms() as f32 / 60_000.0, verdict.state));
            if verdict.state == State::Asleep {
                break;
            }
        }
        spoke += u32::from(detector.speaks());
        at = at + Span::from_ms(20);
    }
    (states, spoke as f32 / FRAMES as f32)
}

/// Talks for two minutes, sleeps from the sixth on.
fn sleeper(seed: u64) -> Scene {
    Scene { onset: Some(6.0), minutes: 14.0, talk: vec![(10.0, 150.0, 12.0, -27.0)], ..Scene::new(seed) }
}

fn sleeps(name: &str, scene: &Scene) {
    let (states, spoke) = heard(scene);
    let minute = asleep_at(&states).unwrap_or_else(|| panic!("{name}: not found, {spoke} s of speech: {states:?}"));
    assert!((6.0..14.0).contains(&minute), "{name}: found in minute {minute}");
    assert!(spoke > 10.0, "{name}: her words are heard as such: {spoke} s");
}

fn never_sleeps(name: &str, scene: &Scene) {
    let (states, spoke) = heard(scene);
    assert_eq!(asleep_at(&states), None, "{name}: {spoke} s of speech, {states:?}");
    assert!(spoke > 10.0, "{name}: her words are heard as such: {spoke} s");
}

#[test]
fn a_sleeper_in_a_quiet_room_is_heard() {
    sleeps("quiet", &sleeper(1));
}

#[test]
fn a_sleeper_who_snores_over_a_fan_is_heard() {
    sleeps("snores over a fan", &Scene { breath: Some(-40.0), machine: Some(Machine::Rain(-50.0)), ..sleeper(2) });
}

#[test]
fn who_lies_awake_and_still_is_not_heard_to_sleep() {
    never_sleeps("still and silent", &Scene { minutes: 10.0, moves: (130.0, 500.0), ..Scene::new(3) });
}

#[test]
fn a_machine_that_swings_is_not_heard_to_sleep() {
    never_sleeps(
        "fan that swings",
        &Scene { minutes: 10.0, breath: Some(-58.0), machine: Some(Machine::Fan(4.3, -52.0)), ..Scene::new(4) },
    );
}

#[test]
fn a_calm_breather_who_mutes_herself_is_not_heard_to_sleep() {
    let calm = Breathing(5.6, 0.13, 0.3, 6.0);
    never_sleeps("muted", &Scene { minutes: 9.0, awake: calm, mute: Some((5.0, 9.0)), ..Scene::new(5) });
}
