//! What a packet costs between two legs, step by step and as a whole, without sockets: `cargo bench --bench relay`.
//!
//! Each packet is new, as in a call: batches of 64, as the shard takes them, are made outside of the measured time. Mapping
//! alone is `pass` less `seal`.
#![allow(clippy::disallowed_methods, reason = "a stopwatch")]

use criterion::{Bencher, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use lull::clock::Moment;
use lull::ids::LegId;
use lull::relay::stages::{Srtp, header};
use lull::relay::{Dropped, Extension, Extensions, Keying, Lane, LegMedia, Profile, Received, SPARE, Stream, Streams, pass};
use rtc_crypto::{RTCCryptoProvider, providers::RingProvider};
use std::hint::black_box;
use std::time::{Duration, Instant};
use uuid::Uuid;

const PROVIDER: RingProvider = RingProvider::new();
/// Packets the shard takes at once.
const BATCH: u64 = 64;
/// Octets of a shard's buffer.
const BUFFER: usize = 2048;
const PROFILES: [(&str, Profile); 2] = [("gcm", Profile::AeadAes128Gcm), ("hmac", Profile::Aes128CmHmacSha1_80)];
const CONTENTS: [(&str, Content); 4] =
    [("audio", Content::Audio), ("video", Content::Video), ("rtx", Content::Rtx), ("rtcp", Content::Control)];

#[derive(Clone, Copy, PartialEq)]
enum Content {
    Audio,
    Video,
    Rtx,
    /// Sender report with a report block, and a description.
    Control,
}

/// A packet in a buffer of the shard.
#[derive(Clone, Copy)]
struct Packet {
    buffer: [u8; BUFFER],
    len: usize,
}

impl Packet {
    fn bytes(&mut self) -> &mut [u8] {
        &mut self.buffer[..self.len]
    }
}

fn at() -> Moment {
    Moment::from_unix_ms(1_773_144_000_000)
}

fn streams(number: u32) -> Streams {
    // Chromium's numbers on one leg, Firefox's on the other, so that all of them are mapped.
    let ids: [u8; 4] = if number == 1 { [1, 2, 3, 4] } else { [4, 5, 7, 1] };
    let mut extensions = Extensions::default();
    for (id, extension) in ids.into_iter().zip([Extension::AudioLevel, Extension::AbsSendTime, Extension::TransportWideCc, Extension::Mid])
    {
        extensions.set(id, extension);
    }
    let payload_types = if number == 1 { [111, 96, 97] } else { [109, 120, 124] };
    let stream = |lane: Lane| {
        let place = lane as u32;
        Some(Stream {
            peer_ssrc: Some(0x5000_0000 | number << 8 | place),
            our_ssrc: 0xA000_0000 | number << 8 | place,
            payload_type: payload_types[lane as usize],
            extensions,
        })
    };
    Streams { audio: stream(Lane::Audio), video: stream(Lane::Video), video_rtx: stream(Lane::VideoRtx), announcements: None }
}

fn keying(number: u32, profile: Profile, is_client: bool) -> Keying {
    let material: Vec<u8> = (0..profile.keying_len()).map(|n| (n as u32 * 31 + number) as u8).collect();
    Keying::from_exporter(profile, &material, is_client).expect("as long as it must be")
}

/// Two legs, and the page that sends on the first.
struct Line {
    from: LegMedia,
    to: LegMedia,
    page: Srtp,
    /// By lane; RTCP has the last.
    next: [u64; 4],
}

impl Line {
    fn new(profile: Profile) -> Self {
        let leg = |number: u32| {
            let mut leg = LegMedia::new(LegId::new(Uuid::from_u128(u128::from(number))), streams(number));
            leg.key(&keying(number, profile, true), PROVIDER.crypto()).expect("keys");
            leg
        };
        let page = Srtp::sender(&keying(1, profile, false), PROVIDER.crypto()).expect("keys");
        let mut line = Self { from: leg(1), to: leg(2), page, next: [0; 4] };
        // The camera's first packet before its retransmission, the voice's before its report.
        for content in [Content::Audio, Content::Video] {
            let mut packet = line.packet(content);
            line.carry(&mut packet).expect("passes");
        }
        line
    }

    fn packet(&mut self, content: Content) -> Packet {
        let (clear, header_len, ssrc, index) = self.clear(content);
        let mut packet = Packet { buffer: [0; BUFFER], len: clear.len() };
        packet.buffer[..clear.len()].copy_from_slice(&clear);
        packet.len = match content {
            Content::Control => self.page.seal_rtcp(&mut packet.buffer, clear.len(), index as u32),
            _ => self.page.seal_rtp(&mut packet.buffer, header_len, clear.len(), ssrc, index),
        }
        .expect("room for the tag");
        packet
    }

    /// The next packet in clear, with header length, SSRC and index.
    fn clear(&mut self, content: Content) -> (Vec<u8>, usize, u32, u64) {
        let (lane, payload_len) = match content {
            Content::Audio => (Lane::Audio, 100),
            Content::Video => (Lane::Video, 1100),
            Content::Rtx => (Lane::VideoRtx, 1102),
            Content::Control => return self.report(),
        };
        let index = self.next[lane as usize];
        self.next[lane as usize] += 1;
        let stream = *streams(1).lane(lane).expect("agreed");
        let ssrc = stream.peer_ssrc.expect("declared");
        let mut packet = vec![0x90, stream.payload_type];
        packet.extend_from_slice(&(index as u16).to_be_bytes());
        packet.extend_from_slice(&(index as u32).wrapping_mul(960).to_be_bytes());
        packet.extend_from_slice(&ssrc.to_be_bytes());
        match lane {
            // Loudness and the m-line's name.
            Lane::Audio => packet.extend_from_slice(&[0xBE, 0xDE, 0, 1, 0x10, 0x5A, 0x40, b'0']),
            // When it left, its number among all, the m-line's name.
            Lane::Video | Lane::VideoRtx => {
                let [high, low] = (index as u16).to_be_bytes();
                packet.extend_from_slice(&[0xBE, 0xDE, 0, 3, 0x22, 1, 2, 3, 0x31, high, low, 0x40, b'1', 0, 0, 0]);
            }
        }
        let header_len = packet.len();
        packet.resize(header_len + payload_len, 0x55);
        if lane == Lane::VideoRtx {
            // It repeats the camera's first packet.
            packet[header_len..header_len + 2].copy_from_slice(&[0, 0]);
        }
        (packet, header_len, ssrc, index)
    }

    fn report(&mut self) -> (Vec<u8>, usize, u32, u64) {
        let index = self.next[3];
        self.next[3] += 1;
        let (voice, announced) =
            (streams(1).audio.and_then(|s| s.peer_ssrc).expect("declared"), streams(1).audio.expect("agreed").our_ssrc);
        let mut packet = vec![0x81, 200, 0, 12];
        packet.extend_from_slice(&voice.to_be_bytes());
        // Time, RTP timestamp, packets, octets.
        for word in [1, index as u32, 960, 50, 5000, announced, 0, 100, 10, 0, 0] {
            packet.extend_from_slice(&u32::to_be_bytes(word));
        }
        packet.extend_from_slice(&[0x81, 202, 0, 4]);
        packet.extend_from_slice(&voice.to_be_bytes());
        packet.extend_from_slice(&[1, 8, b'p', b'a', b'g', b'e', b'p', b'a', b'g', b'e', 0, 0]);
        (packet, 0, voice, index)
    }

    fn carry(&mut self, packet: &mut Packet) -> Result<usize, Dropped> {
        let received = self.from.receive(packet.bytes(), at())?;
        pass(&self.from, &mut self.to, received, &mut packet.buffer, at())
    }
}

/// Measures `run` on fresh things, [`BATCH`] at a time.
fn fresh<S, T, R>(bencher: &mut Bencher, state: &mut S, mut make: impl FnMut(&mut S) -> T, mut run: impl FnMut(&mut S, &mut T) -> R) {
    bencher.iter_custom(|iterations| {
        let mut spent = Duration::ZERO;
        let mut left = iterations;
        while left > 0 {
            let count = left.min(BATCH);
            let mut batch: Vec<T> = (0..count).map(|_| make(state)).collect();
            let started = Instant::now();
            for one in &mut batch {
                black_box(run(state, one));
            }
            spent += started.elapsed();
            left -= count;
        }
        spent
    });
}

fn steps(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("step");
    group.throughput(Throughput::Elements(1));
    let mut line = Line::new(Profile::AeadAes128Gcm);
    let packet = line.packet(Content::Video);
    group.bench_function("parse header", |bencher| bencher.iter(|| header(black_box(&packet.buffer[..packet.len]))));
    let agreed = streams(1);
    group.bench_function("find lane", |bencher| bencher.iter(|| agreed.peer_lane(black_box(0x5000_0102))));
    for (name, profile) in PROFILES {
        for (what, content) in [("audio", Content::Audio), ("video", Content::Video)] {
            let mut line = Line::new(profile);
            let mut keys = Srtp::receiver(&keying(1, profile, true), PROVIDER.crypto()).expect("keys");
            group.bench_function(BenchmarkId::new(format!("open {what}"), name), |bencher| {
                fresh(
                    bencher,
                    &mut line,
                    |line| {
                        let index = line.next[if content == Content::Audio { 0 } else { 1 }];
                        let packet = line.packet(content);
                        let (ssrc, header_len) = header(&packet.buffer[..packet.len]).expect("a packet");
                        (packet, header_len, ssrc, index)
                    },
                    |_, (packet, header_len, ssrc, index)| keys.open_rtp(packet.bytes(), *header_len, *ssrc, *index).expect("authentic"),
                );
            });
            let mut line = Line::new(profile);
            let mut keys = Srtp::sender(&keying(2, profile, true), PROVIDER.crypto()).expect("keys");
            group.bench_function(BenchmarkId::new(format!("seal {what}"), name), |bencher| {
                fresh(
                    bencher,
                    &mut line,
                    |line| {
                        let (clear, header_len, ssrc, index) = line.clear(content);
                        let mut packet = Packet { buffer: [0; BUFFER], len: clear.len() };
                        packet.buffer[..clear.len()].copy_from_slice(&clear);
                        (packet, header_len, ssrc, index)
                    },
                    |_, (packet, header_len, ssrc, index)| {
                        keys.seal_rtp(&mut packet.buffer, *header_len, packet.len, *ssrc, *index).expect("room")
                    },
                );
            });
        }
    }
    group.finish();
}

fn packets(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("packet");
    group.throughput(Throughput::Elements(1));
    for (name, profile) in PROFILES {
        for (what, content) in CONTENTS {
            let mut line = Line::new(profile);
            group.bench_function(BenchmarkId::new(format!("receive {what}"), name), |bencher| {
                fresh(
                    bencher,
                    &mut line,
                    |line| line.packet(content),
                    |line, packet| line.from.receive(packet.bytes(), at()).expect("authentic"),
                );
            });
            let mut line = Line::new(profile);
            group.bench_function(BenchmarkId::new(format!("pass {what}"), name), |bencher| {
                fresh(
                    bencher,
                    &mut line,
                    |line| -> (Packet, Received) {
                        let mut packet = line.packet(content);
                        let received = line.from.receive(packet.bytes(), at()).expect("authentic");
                        (packet, received)
                    },
                    |line, (packet, received)| pass(&line.from, &mut line.to, *received, &mut packet.buffer, at()).expect("passes"),
                );
            });
            let mut line = Line::new(profile);
            group.bench_function(BenchmarkId::new(format!("receive and pass {what}"), name), |bencher| {
                fresh(bencher, &mut line, |line| line.packet(content), |line, packet| line.carry(packet).expect("passes"));
            });
        }
    }
    group.finish();
}

fn hostile(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hostile");
    group.throughput(Throughput::Elements(1));
    type Spoil = fn(&mut Packet);
    let kinds: [(&str, Spoil, Dropped); 4] = [
        ("wrong tag", |packet| packet.buffer[packet.len - 1] ^= 1, Dropped::Forged),
        ("unknown ssrc", |packet| packet.buffer[8] ^= 0x80, Dropped::UnknownSsrc),
        ("lengths that lie", |packet| packet.buffer[14..16].fill(0xFF), Dropped::Malformed),
        ("cut", |packet| packet.len = 11, Dropped::Malformed),
    ];
    for (name, profile) in PROFILES {
        for (what, spoil, cause) in kinds {
            let mut line = Line::new(profile);
            group.bench_function(BenchmarkId::new(what, name), |bencher| {
                fresh(
                    bencher,
                    &mut line,
                    |line| {
                        let mut packet = line.packet(Content::Audio);
                        spoil(&mut packet);
                        packet
                    },
                    |line, packet| assert_eq!(line.from.receive(packet.bytes(), at()), Err(cause)),
                );
            });
        }
        let mut line = Line::new(profile);
        let mut first = line.packet(Content::Audio);
        let copy = first;
        line.carry(&mut first).expect("passes");
        group.bench_function(BenchmarkId::new("replayed", name), |bencher| {
            fresh(bencher, &mut line, |_| copy, |line, packet| assert_eq!(line.from.receive(packet.bytes(), at()), Err(Dropped::Replayed)));
        });
    }
    group.finish();
}

const _: () = assert!(BUFFER > 1200 + SPARE);

fn brief() -> Criterion {
    Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2)).sample_size(50)
}

criterion_group! { name = benches; config = brief(); targets = steps, packets, hostile }
criterion_main!(benches);
