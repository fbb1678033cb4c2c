//! The pipeline against packets as browsers send them, and as they do not.

mod chiming;
mod fading;
mod hostile;
mod listening;
mod placing;

use super::*;
use crate::clock::{Moment, Span};
use opus::{Application, Bandwidth, Bitrate, Channels, Encoder, Signal};
use std::f64::consts::TAU;

fn at(ms: i64) -> Moment {
    Moment::from_unix_ms(1_773_144_000_000 + ms)
}

/// A packet as a page sends it.
#[derive(Clone)]
struct Sent {
    index: u64,
    timestamp: u32,
    ms: i64,
    payload: Vec<u8>,
}

impl Sent {
    fn packet(&self) -> Packet<'_> {
        Packet { index: self.index, timestamp: self.timestamp, at: at(self.ms), payload: &self.payload }
    }
}

/// A sine of a level in dBFS, at 48 kHz.
fn sine(hz: f64, dbfs: f64, ms: usize) -> Vec<f32> {
    let amplitude = 10.0_f64.powf(dbfs / 20.0);
    (0..ms * 48).map(|place| (amplitude * (TAU * hz * place as f64 / 48_000.0).sin()) as f32).collect()
}

/// Something like a voice: overtones that rise and fall three times a second, and breath.
fn voice(dbfs: f64, ms: usize) -> Vec<f32> {
    let amplitude = 10.0_f64.powf(dbfs / 20.0);
    let (mut phase, mut seed) = (0.0_f64, 7_u32);
    (0..ms * 48)
        .map(|place| {
            let seconds = place as f64 / 48_000.0;
            phase += (140.0 + 25.0 * (TAU * 0.7 * seconds).sin()) / 48_000.0;
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let breath = (f64::from(seed >> 8) / f64::from(1 << 23) - 1.0) * 0.03;
            let tone: f64 = (1..=16).map(|times| (TAU * phase * f64::from(times)).sin() / f64::from(times)).sum();
            let swell = 0.6 - 0.4 * (TAU * 3.0 * seconds).cos();
            (amplitude * swell * (0.6 * tone + breath)) as f32
        })
        .collect()
}

/// How a page codes.
struct Coding {
    application: Application,
    channels: Channels,
    bitrate: i32,
    bandwidth: Option<Bandwidth>,
    /// Samples of a packet.
    length: usize,
}

/// As browsers do.
const USUAL: Coding = Coding { application: Application::Voip, channels: Channels::Mono, bitrate: 32_000, bandwidth: None, length: 960 };

fn encoder(coding: &Coding) -> Encoder {
    let mut encoder = Encoder::new(48_000, coding.channels, coding.application).expect("an encoder");
    encoder.set_bitrate(Bitrate::Bits(coding.bitrate)).expect("a rate");
    encoder.set_inband_fec(true).expect("a choice");
    if let Some(bandwidth) = coding.bandwidth {
        encoder.set_signal(Signal::Voice).expect("a choice");
        encoder.set_bandwidth(bandwidth).expect("a bandwidth");
    }
    encoder
}

/// Codes mono sound; the packets arrive as they are sent.
fn sent(coding: &Coding, samples: &[f32]) -> Vec<Sent> {
    let mut encoder = encoder(coding);
    let mut packet = [0; 4_000];
    let mut all = Vec::new();
    for (number, frame) in samples.chunks_exact(coding.length).enumerate() {
        let len = match coding.channels {
            Channels::Mono => encoder.encode_float(frame, &mut packet),
            Channels::Stereo => encoder.encode_float(&frame.iter().flat_map(|sample| [*sample, *sample]).collect::<Vec<_>>(), &mut packet),
        };
        let len = len.expect("it is coded");
        all.push(Sent {
            index: 1_000 + number as u64,
            timestamp: 4_294_900_000_u32.wrapping_add((number * coding.length) as u32),
            ms: (number * coding.length / 48) as i64,
            payload: packet[..len].to_vec(),
        });
    }
    all
}

/// What was heard: when, and either the level in dBFS or why not.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Told {
    Level(i64, f64),
    Gap(i64, Missing),
}

impl Told {
    fn ms(&self) -> i64 {
        let (Told::Level(ms, _) | Told::Gap(ms, _)) = *self;
        ms
    }
}

fn told(at_frame: Moment, heard: Heard<'_>) -> Told {
    let ms = at_frame.unix_ms() - at(0).unix_ms();
    match heard {
        Heard::Sound(samples) => Told::Level(ms, dbfs(&samples.iter().map(|sample| f64::from(*sample) / 32_768.0).collect::<Vec<_>>())),
        Heard::Missing(why) => Told::Gap(ms, why),
    }
}

/// Level where a sine of full scale has 0 dBFS.
fn dbfs(samples: &[f64]) -> f64 {
    let square = samples.iter().map(|sample| sample * sample).sum::<f64>() / samples.len().max(1) as f64;
    10.0 * (2.0 * square).max(1e-20).log10()
}

/// Listens to all packets, looking at the clock at each, and for `after` ms more.
fn listen<'a>(packets: impl IntoIterator<Item = &'a Sent>, after: i64) -> (Vec<Told>, Counts) {
    let mut listener = Listener::new(at(0)).expect("a decoder");
    let mut all = Vec::new();
    let mut last = 0;
    for sent in packets {
        let mut out = |moment: Moment, heard: Heard<'_>| all.push(told(moment, heard));
        while last + 100 < sent.ms {
            last += 100;
            listener.tick(at(last), &mut out);
        }
        last = last.max(sent.ms);
        listener.hear(&sent.packet(), &mut out);
    }
    for step in 1..=after / 100 {
        listener.tick(at(last + step * 100), &mut |moment, heard| all.push(told(moment, heard)));
    }
    (all, listener.counts())
}
