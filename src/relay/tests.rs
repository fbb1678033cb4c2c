//! Two legs with a page at each end; the pages protect and open with `rtc-srtp`, which keeps its own roll-over counters.

mod control;
mod hostile;
mod media;
mod replacing;
mod roll_over;

use super::srtp::Ciphers;
use super::*;
use crate::clock::Moment;
use crate::ids::LegId;
use rtc_crypto::{RTCCryptoProvider, providers::RingProvider};
use rtc_srtp::context::Context;
use rtc_srtp::protection_profile::ProtectionProfile;
use uuid::Uuid;

const PROVIDER: RingProvider = RingProvider::new();
const GCM: Profile = Profile::AeadAes128Gcm;
const CM: Profile = Profile::Aes128CmHmacSha1_80;

/// One leg of the server and the page at its other end.
struct Side {
    leg: LegMedia,
    send: Context,
    receive: Context,
    /// The page's own cipher, for packets that `rtc-srtp` would not make.
    raw: Ciphers,
}

fn at(ms: i64) -> Moment {
    Moment::from_unix_ms(1_773_144_000_000 + ms)
}

fn leg_id(number: u8) -> LegId {
    LegId::new(Uuid::from_u128(u128::from(number)))
}

/// The page of leg `number` sends as `peer(number, lane)`, and we send to it as `ours(number, lane)`.
fn peer(number: u8, lane: Lane) -> u32 {
    0x5000_0000 | u32::from(number) << 8 | (lane as u32 + 1)
}

fn ours(number: u8, lane: Lane) -> u32 {
    0xA000_0000 | u32::from(number) << 8 | (lane as u32 + 1)
}

/// Odd legs number like Chromium, even ones like Firefox.
fn streams(number: u8) -> Streams {
    let chromium = number % 2 == 1;
    let mut audio_ids = Extensions::default();
    let mut video_ids = Extensions::default();
    let ids: [(Extension, u8); 4] = if chromium {
        [(Extension::AudioLevel, 1), (Extension::AbsSendTime, 2), (Extension::TransportWideCc, 3), (Extension::Mid, 4)]
    } else {
        [(Extension::AudioLevel, 4), (Extension::AbsSendTime, 5), (Extension::TransportWideCc, 7), (Extension::Mid, 1)]
    };
    for (extension, id) in ids {
        if extension != Extension::TransportWideCc {
            audio_ids.set(id, extension);
        }
        if extension != Extension::AudioLevel {
            video_ids.set(id, extension);
        }
    }
    if chromium {
        video_ids.set(6, Extension::PlayoutDelay);
    }
    let payload_types = if chromium { [111, 96, 97] } else { [109, 120, 124] };
    let stream = |lane: Lane, extensions| {
        let payload_type = payload_types[lane as usize];
        Some(Stream { peer_ssrc: Some(peer(number, lane)), our_ssrc: ours(number, lane), payload_type, extensions })
    };
    Streams {
        audio: stream(Lane::Audio, audio_ids),
        video: stream(Lane::Video, video_ids),
        video_rtx: stream(Lane::VideoRtx, video_ids),
        announcements: Some(Announcements { our_ssrc: 0xA0A0_0000 | u32::from(number), payload_type: payload_types[0] }),
    }
}

fn material(number: u8, profile: Profile) -> Vec<u8> {
    (0..profile.keying_len()).map(|n| (n as u8).wrapping_mul(31).wrapping_add(number)).collect()
}

fn side(number: u8, profile: Profile) -> Side {
    let mut leg = LegMedia::new(leg_id(number), streams(number));
    let keying = Keying::from_exporter(profile, &material(number, profile), true).unwrap();
    leg.key(&keying, PROVIDER.crypto()).unwrap();
    side_of(leg, number, profile)
}

fn side_of(leg: LegMedia, number: u8, profile: Profile) -> Side {
    let material = material(number, profile);
    let theirs = if profile == GCM { ProtectionProfile::AeadAes128Gcm } else { ProtectionProfile::Aes128CmHmacSha1_80 };
    let (keys, salts) = material.split_at(32);
    let context = |which: usize| {
        let salt = &salts[which * profile.salt_len()..][..profile.salt_len()];
        Context::new(&keys[which * 16..][..16], salt, theirs, None, None, PROVIDER.crypto()).unwrap()
    };
    let raw = Keying::from_exporter(profile, &material, false).unwrap().local(PROVIDER.crypto()).unwrap();
    Side { leg, send: context(1), receive: context(0), raw }
}

/// An RTP packet in clear.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rtp {
    ssrc: u32,
    payload_type: u8,
    marker: bool,
    sequence: u16,
    timestamp: u32,
    extensions: Vec<u8>,
    payload: Vec<u8>,
}

impl Rtp {
    /// A packet as the page of leg `number` makes it.
    fn of(number: u8, lane: Lane, sequence: u16, timestamp: u32) -> Rtp {
        let payload_type = streams(number).lane(lane).unwrap().payload_type;
        let payload = vec![0x55; 60];
        Rtp { ssrc: peer(number, lane), payload_type, marker: false, sequence, timestamp, extensions: vec![], payload }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = vec![if self.extensions.is_empty() { 0x80 } else { 0x90 }, u8::from(self.marker) << 7 | self.payload_type];
        out.extend(self.sequence.to_be_bytes());
        out.extend(self.timestamp.to_be_bytes());
        out.extend(self.ssrc.to_be_bytes());
        if !self.extensions.is_empty() {
            out.extend([0xBE, 0xDE, 0, self.extensions.len() as u8 / 4]);
            out.extend(&self.extensions);
        }
        out.extend(&self.payload);
        out
    }

    fn parse(bytes: &[u8]) -> Rtp {
        let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        let (extensions, start) = if bytes[0] == 0x90 {
            let end = 16 + 4 * usize::from(bytes[15]);
            (bytes[16..end].to_vec(), end)
        } else {
            (vec![], 12)
        };
        Rtp {
            ssrc: word(8),
            payload_type: bytes[1] & 0x7F,
            marker: bytes[1] & 0x80 != 0,
            sequence: word(0) as u16,
            timestamp: word(4),
            extensions,
            payload: bytes[start..].to_vec(),
        }
    }
}

/// What comes out on the other leg's wire of what came in on this one's.
fn carry(from: &mut LegMedia, to: &mut LegMedia, wire: &[u8], now: Moment) -> Result<Vec<u8>, Dropped> {
    let mut buffer = wire.to_vec();
    let received = from.receive(&mut buffer, now)?;
    buffer.resize(buffer.len() + SPARE, 0);
    let len = pass(from, to, received, &mut buffer, now)?;
    buffer.truncate(len);
    Ok(buffer)
}

/// From page to page.
fn media(from: &mut Side, to: &mut Side, packet: &Rtp, now: Moment) -> Result<Rtp, Dropped> {
    let wire = from.send.encrypt_rtp(&packet.bytes()).unwrap();
    let out = carry(&mut from.leg, &mut to.leg, &wire, now)?;
    Ok(Rtp::parse(&to.receive.decrypt_rtp(&out).expect("the page opens it")))
}

fn control(from: &mut Side, to: &mut Side, compound: &[u8], now: Moment) -> Result<Vec<u8>, Dropped> {
    let wire = from.send.encrypt_rtcp(compound).unwrap();
    let out = carry(&mut from.leg, &mut to.leg, &wire, now)?;
    Ok(to.receive.decrypt_rtcp(&out).expect("the page opens it").to_vec())
}
