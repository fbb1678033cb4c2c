//! The sounds lull makes itself, synthesised and coded once: chimes, the soft sound of waiting, the probe.
//!
//! Sines with slow edges; nobody's recording. They are made at start, then only handed out. Invariant: every packet is 20 ms, mono.

use super::AudioError;
use super::packet::RTP_RATE;
use bytes::Bytes;
use opus::{Application, Bitrate, Channels, Encoder};
use std::f64::consts::{PI, SQRT_2, TAU};
use std::sync::Arc;

/// Samples of a packet, and its RTP ticks.
pub const CLIP_TICKS: u32 = 960;
const FRAME: usize = CLIP_TICKS as usize;
/// Bits a second; sines need no more.
const BITRATE: i32 = 24_000;
/// Octets of a packet: four times what the rate needs.
const MOST_OCTETS: usize = 240;
/// Loudness is measured over 100 ms.
const WINDOW: usize = RTP_RATE as usize / 10;
/// Length of the loop of [`comfort`]: 12 s. Every sine in it has whole periods.
const LOOP_S: usize = 12;

/// A sound, coded. Clones share it.
#[derive(Clone, Debug)]
pub struct Clip {
    packets: Arc<[Bytes]>,
    is_endless: bool,
}

impl Clip {
    /// Its packets, of 20 ms each, none empty.
    pub fn packets(&self) -> &Arc<[Bytes]> {
        &self.packets
    }

    /// Whether it begins again.
    pub fn is_endless(&self) -> bool {
        self.is_endless
    }
}

/// One minute is left: two soft tones, the second lower. `dbfs` is the level of the loudest 100 ms, where a sine of full scale has 0.
pub fn chime(dbfs: i8) -> Result<Clip, AudioError> {
    tones(&[(659.26, 0.0), (493.88, 0.42)], 1.5, dbfs)
}

/// More time was bought: the same, the second higher.
pub fn extended(dbfs: i8) -> Result<Clip, AudioError> {
    tones(&[(493.88, 0.0), (659.26, 0.42)], 1.5, dbfs)
}

/// A question to somebody who may sleep: one low tone that comes and goes slowly.
pub fn probe(dbfs: i8) -> Result<Clip, AudioError> {
    let samples = (0..RTP_RATE as usize * 6 / 5)
        .map(|place| place as f64 / f64::from(RTP_RATE))
        .map(|seconds| (PI * seconds / 1.2).sin().powi(2) * ((TAU * 330.0 * seconds).sin() + 0.2 * (TAU * 660.0 * seconds).sin()))
        .collect();
    once(samples, dbfs)
}

/// The sound of waiting: a chord that breathes slowly, without an end.
pub fn comfort(dbfs: i8) -> Result<Clip, AudioError> {
    // Pitch in Hz, part, periods of its swell in the loop, where the swell begins.
    const CHORD: [(f64, f64, f64, f64); 5] =
        [(110.0, 0.5, 1.0, 0.0), (165.0, 0.4, 2.0, 0.3), (220.0, 0.6, 1.0, 0.5), (277.25, 0.25, 3.0, 0.1), (330.0, 0.3, 2.0, 0.8)];
    let samples: Vec<f64> = (0..RTP_RATE as usize * LOOP_S)
        .map(|place| {
            let seconds = place as f64 / f64::from(RTP_RATE);
            let voice = |(pitch, part, swells, begin): (f64, f64, f64, f64)| {
                let swell = 0.55 - 0.45 * (TAU * (swells * seconds / LOOP_S as f64 + begin)).cos();
                part * swell * (TAU * pitch * seconds).sin()
            };
            CHORD.into_iter().map(voice).sum()
        })
        .collect();
    // Coded from a second before it begins, which is its end: so will a decoder come to it.
    let lead = RTP_RATE as usize;
    let led = [&samples[samples.len() - lead..], &samples].concat();
    let mut packets = code(&levelled(led, dbfs))?;
    packets.drain(..lead / FRAME);
    Ok(Clip { packets: packets.into(), is_endless: true })
}

/// Tones of a pitch in Hz that begin at some second and die away.
fn tones(tones: &[(f64, f64)], length: f64, dbfs: i8) -> Result<Clip, AudioError> {
    let count = (length * f64::from(RTP_RATE)) as usize;
    let samples = (0..count)
        .map(|place| {
            let seconds = place as f64 / f64::from(RTP_RATE);
            // Nothing is cut off at the end either.
            let end = ((length - seconds) / 0.2).clamp(0.0, 1.0);
            let tone = |(pitch, begin): &(f64, f64)| {
                let since = seconds - begin;
                if since <= 0.0 {
                    return 0.0;
                }
                let edge = 0.5 - 0.5 * (PI * (since / 0.04).min(1.0)).cos();
                edge * (-since / 0.22).exp() * ((TAU * pitch * since).sin() + 0.18 * (TAU * 2.0 * pitch * since).sin())
            };
            end * tones.iter().map(tone).sum::<f64>()
        })
        .collect();
    once(samples, dbfs)
}

fn once(samples: Vec<f64>, dbfs: i8) -> Result<Clip, AudioError> {
    let mut samples = levelled(samples, dbfs);
    // The codec is behind by some ms: the end must come out too.
    samples.resize((samples.len() + FRAME).next_multiple_of(FRAME), 0.0);
    Ok(Clip { packets: code(&samples)?.into(), is_endless: false })
}

/// Scales sound so that its loudest 100 ms have this level.
fn levelled(samples: Vec<f64>, dbfs: i8) -> Vec<f32> {
    let loudest = samples.chunks(WINDOW).map(|window| window.iter().map(|sample| sample * sample).sum::<f64>() / window.len() as f64);
    let loudest = loudest.fold(0.0, f64::max).sqrt();
    let wanted = 10.0_f64.powf(f64::from(dbfs.min(-6)) / 20.0) / SQRT_2;
    samples.into_iter().map(|sample| (sample * wanted / loudest) as f32).collect()
}

fn code(samples: &[f32]) -> Result<Vec<Bytes>, AudioError> {
    let mut encoder = Encoder::new(RTP_RATE, Channels::Mono, Application::Audio)?;
    encoder.set_bitrate(Bitrate::Bits(BITRATE))?;
    let mut packet = [0; MOST_OCTETS];
    let mut packets = Vec::with_capacity(samples.len() / FRAME);
    for frame in samples.chunks_exact(FRAME) {
        let len = encoder.encode_float(frame, &mut packet)?;
        packets.push(Bytes::copy_from_slice(&packet[..len]));
    }
    Ok(packets)
}
