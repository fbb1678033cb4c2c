//! Nights made of measures: a room, somebody in it, and what else sounds there.
//!
//! It makes what [`crate::audio::features`] would measure, so that hours pass in a moment; [`super::sound`] makes it heard. Levels and variability are those of
//! the sessions that the detector was made with; nothing of them is copied. The same seed gives the same night.

use crate::audio::features::{BANDS, LOWEST_DB, Measure, Sound};
use std::f32::consts::TAU;

/// Frames a second.
pub(super) const FRAMES: u32 = 50;

/// How somebody breathes: seconds a breath, how much of it varies, how much the loudness does (both as parts), and how many breaths in a
/// hundred are not heard.
#[derive(Clone, Copy)]
pub(super) struct Breathing(pub(super) f32, pub(super) f32, pub(super) f32, pub(super) f32);

/// As most do awake, and asleep.
pub(super) const AWAKE: Breathing = Breathing(4.0, 0.27, 0.5, 22.0);
pub(super) const ASLEEP: Breathing = Breathing(4.3, 0.06, 0.16, 0.0);

/// Talk: from and to in seconds, seconds between two times on average, level in dB.
pub(super) type Talk = (f32, f32, f32, f32);

/// What sounds besides her.
#[derive(Clone, Copy)]
pub(super) enum Machine {
    /// A fan whose loudness swings: period in seconds, level.
    Fan(f32, f32),
    /// Waves out of a loop: its length in seconds, level.
    Loop(f32, f32),
    /// A clock each second: level.
    Clock(f32),
    /// Keys of a keyboard, in bursts: level.
    Keys(f32),
    /// Even noise, as of rain: level.
    Rain(f32),
}

/// A night.
#[derive(Clone)]
pub(super) struct Scene {
    pub(super) seed: u64,
    pub(super) minutes: f32,
    /// Level of the room.
    pub(super) room: f32,
    /// Level of her breath, if she is there.
    pub(super) breath: Option<f32>,
    pub(super) awake: Breathing,
    /// When she falls asleep, in minutes; breathing grows even in the three before.
    pub(super) onset: Option<f32>,
    pub(super) talk: Vec<Talk>,
    /// Somebody else's, or a television's.
    pub(super) others: Vec<Talk>,
    /// Seconds between two movements, awake and asleep.
    pub(super) moves: (f32, f32),
    /// Somebody else sleeps there: level.
    pub(super) partner: Option<f32>,
    pub(super) machine: Option<Machine>,
    /// Digital silence: from and to in minutes.
    pub(super) mute: Option<(f32, f32)>,
}

impl Scene {
    /// A quiet room in which she talks for three minutes.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            minutes: 16.0,
            room: -66.0,
            breath: Some(-50.0),
            awake: AWAKE,
            onset: None,
            talk: vec![(10.0, 180.0, 20.0, -27.0)],
            others: Vec::new(),
            moves: (60.0, 500.0),
            partner: None,
            machine: None,
            mute: None,
        }
    }

    /// What sounds, frame by frame: the power of each band, that of voices apart; and what is left of chance.
    pub(super) fn powers(&self) -> (Vec<[f32; BANDS]>, Vec<f32>, Dice) {
        let frames = (self.minutes * 60.0 * FRAMES as f32) as usize;
        let mut dice = Dice(self.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let mut power = vec![[0.0f32; BANDS]; frames];
        let mut voice = vec![0.0f32; frames];
        let onset = self.onset.map(|minutes| minutes * 60.0);
        let end = onset.unwrap_or(f32::MAX);
        if let Some(level) = self.breath {
            breathe(&mut power, &mut dice, level, |time| match onset {
                // As much asleep as the three minutes before the onset have passed.
                Some(onset) => blend(self.awake, ASLEEP, ((time - onset + 180.0) / 180.0).clamp(0.0, 1.0)),
                None => self.awake,
            });
        }
        if let Some(level) = self.partner {
            breathe(&mut power, &mut dice, level, |_| ASLEEP);
        }
        for (list, far) in [(&self.talk, false), (&self.others, true)] {
            for (from, to, gap, level) in list {
                let last = if far { *to } else { to.min(end - 20.0) };
                let mut time = from + dice.wait(*gap);
                while time < last {
                    time += say(&mut voice, &mut dice, time, *level) + dice.wait(*gap);
                }
            }
        }
        for (from, to, gap) in [(0.0, end.min(self.minutes * 60.0), self.moves.0), (end, self.minutes * 60.0, self.moves.1)] {
            let mut time = from + dice.wait(gap);
            while time < to {
                rustle(&mut power, &mut dice, time);
                time += dice.wait(gap).max(2.0);
            }
        }
        if let Some(machine) = self.machine {
            sound(&mut power, &mut dice, machine);
        }
        (power, voice, dice)
    }

    /// Whether a frame is digital silence.
    pub(super) fn is_muted(&self, frame: usize) -> bool {
        let time = frame as f32 / FRAMES as f32 / 60.0;
        self.mute.is_some_and(|(from, to)| time >= from && time < to)
    }

    /// The night's measures.
    pub(super) fn measures(&self) -> Vec<Measure> {
        let (power, voice, mut dice) = self.powers();
        power
            .iter()
            .zip(&voice)
            .enumerate()
            .map(|(frame, (power, voice))| {
                if self.is_muted(frame) {
                    return Measure { sound: Sound::Silent, bands: [LOWEST_DB; BANDS], level: LOWEST_DB, voice: 0.0 };
                }
                let room = decibels(self.room) / BANDS as f32;
                let bands = std::array::from_fn(|band| {
                    let power = power[band] + voice * WORDS[band] + room;
                    10.0 * power.log10() + 0.6 * dice.normal()
                });
                let level = 10.0 * bands.iter().map(|band| decibels(*band)).sum::<f32>().log10();
                Measure { sound: Sound::Live, bands, level, voice: if *voice > 0.0 { 0.9 } else { 0.0 } }
            })
            .collect()
    }
}

/// How the power of words is spread over the bands.
const WORDS: [f32; BANDS] = [0.35, 0.3, 0.2, 0.1, 0.05, 0.02];

/// A power from a level.
pub(super) fn decibels(level: f32) -> f32 {
    10.0f32.powf(level / 10.0)
}

fn blend(from: Breathing, to: Breathing, part: f32) -> Breathing {
    let mix = |from: f32, to: f32| from + (to - from) * part;
    Breathing(mix(from.0, to.0), mix(from.1, to.1), mix(from.2, to.2), mix(from.3, to.3))
}

fn add(power: &mut [[f32; BANDS]], time: f32, spectrum: [f32; BANDS], level: f32) {
    if let Some(frame) = power.get_mut((time * FRAMES as f32) as usize) {
        let power = decibels(level);
        frame.iter_mut().zip(spectrum).for_each(|(into, part)| *into += part * power);
    }
}

fn breathe(power: &mut [[f32; BANDS]], dice: &mut Dice, level: f32, how: impl Fn(f32) -> Breathing) {
    let (inhale, exhale) = ([0.02, 0.1, 0.25, 0.4, 0.2, 0.03], [0.1, 0.3, 0.35, 0.2, 0.05, 0.0]);
    let softer = dice.between(-8.0, 0.0);
    let (mut time, mut drift) = (0.0, 0.0);
    while (time * FRAMES as f32) < power.len() as f32 {
        let Breathing(period, varies, loudness, unheard) = how(time);
        // Breaths resemble their neighbours.
        drift = 0.6 * drift + 0.8 * dice.normal();
        let length = (period * (varies * drift).exp()).clamp(1.6, 12.0);
        let quieter = if dice.between(0.0, 100.0) < unheard { -26.0 } else { 0.0 };
        let level = level + quieter + 8.7 * loudness * dice.normal();
        let steps = (length * FRAMES as f32) as usize;
        for step in 0..steps {
            let part = step as f32 / steps as f32;
            let hump = |from: f32, to: f32| (TAU / 2.0 * ((part - from) / (to - from)).clamp(0.0, 1.0)).sin().max(1e-4);
            let at = time + step as f32 / FRAMES as f32;
            add(power, at, inhale, level + 20.0 * hump(0.0, 0.38).log10());
            add(power, at, exhale, level + softer + 20.0 * hump(0.42, 0.8).log10());
        }
        time += length;
    }
}

/// Some words; gives how long they took.
fn say(voice: &mut [f32], dice: &mut Dice, time: f32, level: f32) -> f32 {
    let length = dice.between(1.5, 6.0);
    let mut at = 0.0;
    while at < length {
        let is_pause = (at * 3.1).fract() > 0.75;
        if !is_pause {
            let power = decibels(level + 2.0 + 3.0 * dice.normal());
            if let Some(voice) = voice.get_mut(((time + at) * FRAMES as f32) as usize) {
                *voice += power;
            }
        }
        at += 1.0 / FRAMES as f32;
    }
    length
}

fn rustle(power: &mut [[f32; BANDS]], dice: &mut Dice, time: f32) {
    let (length, level) = (dice.between(0.5, 3.0), -36.0 + 4.0 * dice.normal());
    let mut at = 0.0;
    while at < length {
        add(power, time + at, [0.05, 0.15, 0.2, 0.25, 0.25, 0.1], level + 3.0 * dice.normal());
        at += 1.0 / FRAMES as f32;
    }
}

fn sound(power: &mut [[f32; BANDS]], dice: &mut Dice, machine: Machine) {
    let even = [0.25, 0.2, 0.18, 0.15, 0.12, 0.1];
    let swells: Vec<(f32, f32)> = (0..8).map(|_| (dice.between(0.0, 1.0), dice.between(0.4, 1.0))).collect();
    let mut burst = (0.0, 0.0);
    for frame in 0..power.len() {
        let time = frame as f32 / FRAMES as f32;
        match machine {
            Machine::Fan(period, level) => add(power, time, even, level + 20.0 * (1.0 + 0.5 * (TAU * time / period).sin()).log10()),
            Machine::Loop(length, level) => {
                let at = time / length;
                let swell = |(centre, height): &(f32, f32)| {
                    let apart = ((at - centre).fract() + 1.5).fract() - 0.5;
                    height * (-0.5 * (apart * length / 1.2).powi(2)).exp()
                };
                add(power, time, even, level + 20.0 * (0.12 + swells.iter().map(swell).sum::<f32>()).log10());
            }
            Machine::Clock(level) if frame.is_multiple_of(FRAMES as usize) => add(power, time, [0.0, 0.0, 0.1, 0.3, 0.4, 0.2], level),
            Machine::Keys(level) => {
                if time > burst.1 {
                    burst = (time + dice.wait(4.0), 0.0);
                    burst.1 = burst.0 + dice.between(1.0, 5.0);
                }
                if time > burst.0 && dice.between(0.0, 1.0) < 0.1 {
                    add(power, time, [0.0, 0.0, 0.2, 0.4, 0.3, 0.1], level + 3.0 * dice.normal());
                }
            }
            Machine::Rain(level) => add(power, time, even, level + 1.5 * dice.normal()),
            Machine::Clock(_) => {}
        }
    }
}

/// Chance that repeats.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn between(&mut self, least: f32, most: f32) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        least + (most - least) * ((self.0 >> 40) as f32 / (1u64 << 24) as f32)
    }

    pub(super) fn normal(&mut self) -> f32 {
        (-2.0 * self.between(1e-6, 1.0).ln()).sqrt() * (TAU * self.between(0.0, 1.0)).cos()
    }

    /// Until something that comes by chance every `mean` seconds.
    fn wait(&mut self, mean: f32) -> f32 {
        -mean * self.between(1e-6, 1.0).ln()
    }
}
