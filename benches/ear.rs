//! What listening costs, for 20 ms of one voice: `cargo bench --bench ear`.
//!
//! `decode` is the decoder alone, `listen` with reordering and cutting into frames, `hear` the whole of a live call's path with features
//! and detector: 20,000 / µs of that is how many sleepers one core hears. `fade` is what one landing costs while it lasts. Speech and
//! breath differ; the sound is made here.
#![allow(clippy::disallowed_methods, reason = "a stopwatch")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use lull::audio::{Fader, Listener, Packet, Placer, SAMPLE_RATE};
use lull::clock::{Moment, Span};
use lull::sleep::Detector;
use opus::{Application, Bitrate, Channels, Decoder, Encoder};
use std::f32::consts::TAU;
use std::hint::black_box;

/// Seconds of sound that go round.
const SECONDS: usize = 30;

fn begin() -> Moment {
    Moment::from_unix_ms(1_773_144_000_000)
}

/// Overtones that rise and fall as in speech, or noise that comes and goes every four seconds as in sleep.
fn sound(is_speech: bool) -> Vec<f32> {
    let (mut phase, mut seed, mut soft) = (0.0_f32, 7_u32, 0.0_f32);
    (0..SECONDS * 48_000)
        .map(|place| {
            let seconds = place as f32 / 48_000.0;
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            soft += 0.2 * ((seed >> 8) as f32 / (1 << 23) as f32 - 1.0 - soft);
            let room = 0.000_6 * soft;
            if is_speech {
                phase += (140.0 + 25.0 * (TAU * 0.7 * seconds).sin()) / 48_000.0;
                let tone: f32 = (1..=16).map(|times| (TAU * phase * times as f32).sin() / times as f32).sum();
                let pause = if seconds % 4.0 > 3.0 { 0.0 } else { 0.6 - 0.4 * (TAU * 3.0 * seconds).cos() };
                room + 0.05 * pause * (tone + soft)
            } else {
                let breath = (TAU * seconds / 4.0).sin().max(0.0) + 0.6 * (TAU * (seconds / 4.0 + 0.55)).sin().max(0.0);
                room + 0.008 * breath * soft
            }
        })
        .collect()
}

fn packets(bitrate: i32, is_speech: bool) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new(48_000, Channels::Mono, Application::Voip).expect("an encoder");
    encoder.set_bitrate(Bitrate::Bits(bitrate)).expect("a rate");
    encoder.set_inband_fec(true).expect("a choice");
    sound(is_speech).chunks_exact(960).map(|frame| encoder.encode_vec_float(frame, 1_000).expect("it is coded")).collect()
}

/// Numbers and times go on for ever, payloads go round.
struct Stream {
    payloads: Vec<Vec<u8>>,
    sent: u64,
}

impl Stream {
    fn next_packet(&mut self) -> Packet<'_> {
        let payload = &self.payloads[self.sent as usize % self.payloads.len()];
        self.sent += 1;
        let at = begin() + Span::from_ms(self.sent as i64 * 20);
        Packet { index: self.sent, timestamp: (self.sent as u32).wrapping_mul(960), at, payload }
    }
}

fn ear(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ear");
    group.throughput(Throughput::Elements(1));
    for (what, is_speech) in [("speech", true), ("breath", false)] {
        for bitrate in [16_000, 24_000, 32_000] {
            let name = |step: &str| BenchmarkId::new(format!("{step} {what}"), bitrate);
            let mut stream = Stream { payloads: packets(bitrate, is_speech), sent: 0 };
            let mut decoder = Decoder::new(SAMPLE_RATE, Channels::Mono).expect("a decoder");
            let mut room = [0_i16; 320];
            group.bench_function(name("decode"), |bencher| {
                bencher.iter(|| decoder.decode(stream.next_packet().payload, &mut room, false).expect("a good packet"));
            });
            stream.sent = 0;
            let mut listener = Listener::new(begin()).expect("a decoder");
            group.bench_function(name("listen"), |bencher| {
                bencher.iter(|| {
                    listener.hear(&stream.next_packet(), &mut |_, heard| {
                        black_box(heard);
                    })
                });
            });
            stream.sent = 0;
            let (mut listener, mut detector) = (Listener::new(begin()).expect("a decoder"), Detector::new(begin()));
            group.bench_function(name("hear"), |bencher| {
                bencher.iter(|| {
                    listener.hear(&stream.next_packet(), &mut |at, heard| {
                        black_box(detector.hear(at, heard));
                    })
                });
            });
        }
        let mut stream = Stream { payloads: packets(32_000, is_speech), sent: 0 };
        let mut fader = Fader::new().expect("codecs");
        group.bench_function(BenchmarkId::new(format!("fade {what}"), 32_000), |bencher| {
            bencher.iter(|| fader.pass(&stream.next_packet()).map(<[u8]>::len));
        });
        stream.sent = 0;
        let mut placer = Placer::new(begin()).expect("a decoder");
        group.bench_function(BenchmarkId::new(format!("place {what}"), 32_000), |bencher| {
            bencher.iter(|| {
                placer.place(&stream.next_packet(), &mut |samples| {
                    black_box(samples.len());
                })
            });
        });
    }
    group.finish();
}

criterion_group!(benches, ear);
criterion_main!(benches);
