//! Fuzz targets of the relay: bytes of strangers, and absurd content behind a valid seal.

use super::leg::{LegMedia, Stamp};
use super::rtp::{Header, map_extensions, original_sequence};
use super::srtp::{Ciphers, Keying, Profile};
use super::streams::{Announcements, Extension, Extensions, Lane, Stream, Streams};
use super::window::Window;
use super::{Dropped, Received, SPARE, pass, replace, rtcp};
use crate::clock::Moment;
use crate::fuzzing::{Input, piece};
use crate::ids::LegId;
use rtc_crypto::providers::RingProvider;
use rtc_crypto::{CryptoError, RTCCryptoProvider};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

const PROVIDER: RingProvider = RingProvider::new();

crate::fuzzing::targets! {
    rtp_header: 20_000, rtp_headers, [];
    report_blocks: 20_000, compounds, [];
    relay_strangers: 6_000, strangers, [];
    relay_media: 1_500, calls, [];
    relay_control: 2_000, controls, [];
}

/// The header's end lies inside, extensions change only where they are mapped, and mapping twice by name is mapping once.
fn rtp_header(data: &[u8]) {
    let Ok(header) = Header::parse(data) else { return };
    assert!((12..=data.len()).contains(&header.len));
    let mut packet = data.to_vec();
    let mut values = Vec::new();
    map_extensions(&mut packet[..header.len], |id, value| {
        assert!((1..=14).contains(&id) && (1..=16).contains(&value.len()));
        values.push((id, value.to_vec()));
        (id % 3 != 0).then_some(id)
    });
    let csrcs_end = 12 + 4 * usize::from(data[0] & 0x0F);
    assert_eq!(packet[..csrcs_end], data[..csrcs_end]);
    assert_eq!(packet[header.len..], data[header.len..]);
    let once = packet.clone();
    let mut again = Vec::new();
    map_extensions(&mut packet[..header.len], |id, value| {
        again.push((id, value.to_vec()));
        Some(id)
    });
    values.retain(|(id, _)| id % 3 != 0);
    assert_eq!((&packet, &again), (&once, &values));
    if let Some(original) = original_sequence(&mut packet, header.len) {
        *original = [0xAB, 0xCD];
        assert_eq!(packet[header.len..header.len + 2], [0xAB, 0xCD]);
    }
}

/// Blocks lie inside the compound.
fn report_blocks(data: &[u8]) {
    let blocks = rtcp::report_blocks(data).inspect(|block| assert!(block.last_report != 0)).count();
    assert!(blocks <= data.len() / 24);
}

/// What has no valid seal is refused and leaves no trace, before the keys and after.
fn relay_strangers(data: &[u8]) {
    HEARD.with_borrow_mut(|pages| {
        for page in pages {
            let before = page.leg.counters();
            assert!(page.leg.receive(&mut data.to_vec(), at(1)).is_err());
            assert_eq!(page.leg.counters(), before);
        }
    });
    let mut unkeyed = LegMedia::new(leg_id(1), streams(1));
    assert_eq!(unkeyed.receive(&mut data.to_vec(), at(1)), Err(Dropped::NotKeyed));
}

thread_local! {
    /// Two pages from which something came before. A stranger's packet does not change them, so they serve for all.
    static HEARD: RefCell<[Page; 2]> = RefCell::new([Profile::AeadAes128Gcm, Profile::Aes128CmHmacSha1_80].map(|profile| {
        let mut page = Page::new(1, 1, profile);
        let sent = page.send(Lane::Audio, 1, &Rtp { flags: 0, second: 111, tail: &[5; 30] });
        assert!(sent.is_some_and(|(_, received)| received.is_ok()));
        page
    }));
}

/// Two pages that know their keys send each other anything; one of them is reloaded and the receiving leg restored. Whatever
/// goes out opens at the other page, says only what was agreed, and no index of an SSRC goes out twice, whether a packet is passed, held
/// back and replaced, or our own.
fn relay_media(data: &[u8]) {
    let mut input = Input::new(data);
    let kinds = input.u8();
    let mut now = 0;
    let mut pages = [Page::new(1, 1, profile(kinds)), Page::new(2, 2, profile(kinds >> 1))];
    let mut given: [BTreeSet<(u32, u64)>; 2] = Default::default();
    let mut held: [Vec<Stamp>; 2] = Default::default();
    for turn in 0..48_u8 {
        if input.is_empty() {
            break;
        }
        let op = input.u8();
        let [one, other] = &mut pages;
        let which = usize::from(op & 1);
        let (from, to) = if which == 0 { (one, other) } else { (other, one) };
        match op >> 1 & 7 {
            0 => {
                // The page is loaded again: a new leg and a new source. (In life it has new keys too.)
                *from = Page::new(10 + turn, from.number, from.profile);
                given[which].clear();
                held[which].clear();
                continue;
            }
            6 if op & 0x80 != 0 => {
                let mut buffer = [0; 12 + 300 + SPARE];
                let payload = input.piece();
                if let Ok(len) = to.leg.announce(&payload[..payload.len().min(300)], op & 0x40 != 0, at(now), &mut buffer) {
                    let out = to.open_rtp(&mut buffer[..len]);
                    assert!(given[1 - which].insert((out.ssrc, out.index)), "index {} of {:#x} goes out twice", out.index, out.ssrc);
                }
                continue;
            }
            6 => {
                // One that waits, more than once if it is asked for.
                let waiting = &held[which];
                let Some(stamp) = waiting.get(usize::from(op >> 4) % waiting.len().max(1)).copied() else { continue };
                let mut buffer = [0; 12 + 40 + SPARE];
                if let Ok(len) = replace(&from.leg, &mut to.leg, stamp, &[7; 40], &mut buffer) {
                    let out = to.open_rtp(&mut buffer[..len]);
                    assert!(given[1 - which].insert((out.ssrc, out.index)), "index {} of {:#x} goes out twice", out.index, out.ssrc);
                    assert_eq!(out.clear[12..], [7; 40]);
                }
                continue;
            }
            1 => {
                let counters = to.leg.counters();
                let mut leg = LegMedia::resume(to.leg.leg, streams(to.number), counters);
                leg.key(&keying(to.number, to.profile), PROVIDER.crypto()).expect("ring makes keys");
                to.leg = leg;
                continue;
            }
            2 => {
                now += i64::from(input.u16());
                continue;
            }
            _ => (),
        }
        let lane = Lane::ALL[usize::from(op >> 4) % 3];
        let (flags, second) = (input.u8(), input.u8());
        let step = match flags >> 6 {
            0 => 1,
            1 => i64::from(input.u8().cast_signed()),
            2 => i64::from(input.u16().cast_signed()),
            _ => i64::from(input.u32() % 0x2_0000),
        };
        // Most packets are of the agreed kind.
        let agreed = streams(from.number).lane(lane).map_or(0, |stream| stream.payload_type);
        let second = if flags & 0x20 == 0 { agreed | second & 0x80 } else { second };
        let rtp = Rtp { flags, second, tail: input.piece() };
        let before = from.leg.counters();
        let Some((wire, received)) = from.send(lane, step, &rtp) else { continue };
        let Ok(received) = received else {
            assert_eq!(from.leg.counters(), before, "a refused packet leaves no trace");
            continue;
        };
        let Received::Rtp(packet) = received else { continue };
        if op >> 1 & 7 == 7 {
            held[which].push(packet.stamp(&wire, at(now)));
            assert!(packet.content(&wire).is_none_or(|content| !content.is_empty() && content.len() <= packet.len - packet.header_len));
            let _ = from.leg.audio_level(&packet, &wire); // Reads whatever the header says.
            continue;
        }
        let mut buffer = wire;
        let clear = buffer[..packet.len].to_vec();
        buffer.truncate(packet.len);
        buffer.resize(packet.len + SPARE, 0);
        let before = to.leg.counters();
        match pass(&from.leg, &mut to.leg, received, &mut buffer, at(now)) {
            Err(_) => assert_eq!(to.leg.counters(), before, "a packet that is not passed uses up no number"),
            Ok(len) => {
                let out = to.open_rtp(&mut buffer[..len]);
                assert!(given[1 - which].insert((out.ssrc, out.index)), "index {} of {:#x} goes out twice", out.index, out.ssrc);
                let target = *streams(to.number).lane(lane).expect("it was passed");
                assert_eq!((out.ssrc, out.clear[1] & 0x7F), (target.our_ssrc, target.payload_type));
                assert_eq!(out.clear.len(), clear.len());
                let payload = if lane == Lane::VideoRtx { (packet.header_len + 2).min(clear.len()) } else { packet.header_len };
                assert_eq!(out.clear[payload..], clear[payload..], "the payload is untouched");
                let mut header = out.clear[..packet.header_len].to_vec();
                map_extensions(&mut header, |id, _| {
                    assert!(target.extensions.extension(id).is_some_and(|extension| extension != Extension::Mid), "id {id} was not agreed");
                    Some(id)
                });
            }
        }
    }
}

/// A page that knows its keys sends any control packets: what goes on is a compound of whole packets that is no longer than what
/// came, without BYE.
fn relay_control(data: &[u8]) {
    let mut input = Input::new(data);
    let kinds = input.u8();
    let mut pages = [Page::new(1, 1, profile(kinds)), Page::new(2, 2, profile(kinds >> 1))];
    // Numbers both ways, so that reports are about something.
    for (from, to) in [(0, 1), (1, 0)] {
        for lane in [Lane::Audio, Lane::Video] {
            let [one, other] = &mut pages;
            let (from, to) = if from < to { (one, other) } else { (other, one) };
            let second = streams(from.number).lane(lane).map_or(0, |stream| stream.payload_type);
            let Some((mut wire, Ok(received))) = from.send(lane, 1, &Rtp { flags: 0, second, tail: &[7; 20] }) else {
                panic!("a packet like any other")
            };
            wire.resize(wire.len() + SPARE, 0);
            let _ = pass(&from.leg, &mut to.leg, received, &mut wire, at(0)); // Not what is looked at here.
        }
    }
    let mut indexes = BTreeSet::new();
    let mut outgoing = BTreeSet::new();
    for turn in 0..8_i64 {
        if input.is_empty() {
            break;
        }
        let op = input.u8();
        let index = if op & 4 == 0 { turn as u32 } else { input.u32() & 0x7FFF_FFFF };
        let [one, other] = &mut pages;
        let (from, to) = if op & 1 == 0 { (one, other) } else { (other, one) };
        let compound = compound(&mut input, op);
        if compound.len() < 8 {
            continue;
        }
        let mut wire = [&compound[..], &[0; SPARE]].concat();
        let Ok(len) = from.own.seal_rtcp(&mut wire, compound.len(), index) else { continue };
        wire.truncate(len);
        let before = from.leg.counters();
        let received = from.leg.receive(&mut wire, at(turn));
        let Ok(received) = received else {
            assert_eq!(from.leg.counters(), before);
            continue;
        };
        let Received::Rtcp { len } = received else { continue };
        assert_eq!(wire[..len], compound);
        assert!(indexes.insert((op & 1, compound[4..8].to_vec(), index)), "a replay was taken");
        wire.truncate(len);
        wire.resize(len + SPARE, 0);
        let Ok(out) = pass(&from.leg, &mut to.leg, received, &mut wire, at(turn)) else { continue };
        let (sender, index) = to.theirs.rtcp_sender_and_index(&wire[..out]).expect("in form");
        assert!(outgoing.insert((op & 1, index)), "an index goes out twice");
        let clear = to.theirs.open_rtcp(&mut wire[..out], sender, index).expect("the page opens it");
        assert!(clear <= len, "nothing is added");
        let mut rest = &wire[..clear];
        while let [first, kind, high, low, ..] = *rest {
            assert!(first >> 6 == 2 && kind != 203);
            let packet = 4 + 4 * usize::from(u16::from_be_bytes([high, low]));
            rest = rest.get(packet..).expect("packets end with the compound");
        }
        assert!(rest.is_empty());
        let _ = from.leg.quality(); // It adds up whatever was told.
    }
    for page in &mut pages {
        let mut out = [0; 12 + SPARE];
        if let Ok(len) = page.leg.request_key_frame(&mut out) {
            let (sender, index) = page.theirs.rtcp_sender_and_index(&out[..len]).expect("in form");
            page.theirs.open_rtcp(&mut out[..len], sender, index).expect("the page opens it");
        }
    }
}

/// Octets as they are, or packets with lengths that fit.
fn compound(input: &mut Input, op: u8) -> Vec<u8> {
    if op & 2 != 0 {
        return input.piece().to_vec();
    }
    let mut compound = Vec::new();
    for _ in 0..=op >> 5 {
        let (first, kind) = (input.u8(), input.u8());
        let mut body = input.piece().to_vec();
        body.resize(body.len().next_multiple_of(4), 0);
        compound.extend([0x80 | first & 0x3F, 192 | kind & 0x1F]);
        compound.extend((body.len() as u16 / 4).to_be_bytes());
        compound.extend(body);
    }
    compound
}

/// A leg of the server and the page at its other end.
struct Page {
    number: u8,
    profile: Profile,
    leg: LegMedia,
    /// What the page protects with, and what it opens our packets with.
    own: Ciphers,
    theirs: Ciphers,
    /// The page's next index by lane.
    next: [u64; 3],
    /// What the page has heard of each of our streams.
    heard: BTreeMap<u32, Window>,
}

/// A packet of a page: of `flags` padding, extension and the number of CSRCs count.
struct Rtp<'a> {
    flags: u8,
    second: u8,
    tail: &'a [u8],
}

struct Opened {
    ssrc: u32,
    index: u64,
    clear: Vec<u8>,
}

impl Page {
    fn new(leg: u8, number: u8, profile: Profile) -> Self {
        let mut media = LegMedia::new(leg_id(leg), streams(number));
        media.key(&keying(number, profile), PROVIDER.crypto()).expect("ring makes keys");
        let (own, theirs) = page_ciphers(number, profile).expect("ring makes keys");
        Self { number, profile, leg: media, own, theirs, next: [0x7FF0, 0xFFF0, 3], heard: BTreeMap::new() }
    }

    /// Sends a packet `step` after the last one; none if that is before the first or cannot be sealed.
    fn send(&mut self, lane: Lane, step: i64, rtp: &Rtp) -> Option<(Vec<u8>, Result<Received, Dropped>)> {
        let index = self.next[lane as usize].checked_add_signed(step)?;
        self.next[lane as usize] = index;
        let ssrc = streams(self.number).lane(lane)?.peer_ssrc?;
        let padding = if rtp.second & 0x80 != 0 { rtp.flags & 0x20 } else { 0 };
        let mut wire = vec![0x80 | rtp.flags & 0x1F | padding, rtp.second];
        wire.extend((index as u16).to_be_bytes());
        wire.extend((index as u32).wrapping_mul(960).to_be_bytes());
        wire.extend(ssrc.to_be_bytes());
        wire.extend(rtp.tail);
        let len = wire.len();
        if let Ok(header) = Header::parse(&wire) {
            wire.resize(len + SPARE, 0);
            let sealed = self.own.seal_rtp(&mut wire, header.len, len, ssrc, index).ok()?;
            wire.truncate(sealed);
        }
        let received = self.leg.receive(&mut wire, at(0));
        Some((wire, received))
    }

    /// Opens what we sent to the page, with the roll-over counter a page would guess.
    fn open_rtp(&mut self, wire: &mut [u8]) -> Opened {
        let header = Header::parse(wire).expect("we send RTP");
        let window = self.heard.entry(header.ssrc).or_default();
        let index = window.estimate(header.sequence);
        let len = self.theirs.open_rtp(wire, header.len, header.ssrc, index).expect("the page opens it");
        window.note(index);
        Opened { ssrc: header.ssrc, index, clear: wire[..len].to_vec() }
    }
}

fn at(ms: i64) -> Moment {
    Moment::from_unix_ms(1_773_144_000_000 + ms)
}

fn profile(bit: u8) -> Profile {
    if bit & 1 == 0 { Profile::AeadAes128Gcm } else { Profile::Aes128CmHmacSha1_80 }
}

fn leg_id(number: u8) -> LegId {
    LegId::new(Uuid::from_u128(u128::from(number)))
}

fn material(number: u8, profile: Profile) -> Vec<u8> {
    (0..profile.keying_len()).map(|n| (n as u8).wrapping_mul(31).wrapping_add(number)).collect()
}

fn keying(number: u8, profile: Profile) -> Keying {
    Keying::from_exporter(profile, &material(number, profile), true).expect("the right length")
}

fn page_ciphers(number: u8, profile: Profile) -> Result<(Ciphers, Ciphers), CryptoError> {
    let keying = Keying::from_exporter(profile, &material(number, profile), false).expect("the right length");
    Ok((keying.local(PROVIDER.crypto())?, keying.remote(PROVIDER.crypto())?))
}

/// Page 1 numbers like Chromium, page 2 like Firefox.
fn streams(number: u8) -> Streams {
    let (types, ids) = if number == 1 { ([111, 96, 97], [1, 2, 3, 4]) } else { ([109, 120, 124], [4, 5, 7, 1]) };
    let kinds = [Extension::AudioLevel, Extension::AbsSendTime, Extension::TransportWideCc, Extension::Mid];
    let stream = |lane: Lane| {
        let mut extensions = Extensions::default();
        for (id, kind) in ids.into_iter().zip(kinds) {
            let left_out = if lane == Lane::Audio { Extension::TransportWideCc } else { Extension::AudioLevel };
            if kind != left_out {
                extensions.set(id, kind);
            }
        }
        let name = u32::from(number) << 8 | (lane as u32 + 1);
        let payload_type = types[lane as usize];
        Some(Stream { peer_ssrc: Some(0x5000_0000 | name), our_ssrc: 0xA000_0000 | name, payload_type, extensions })
    };
    let announcements = Some(Announcements { our_ssrc: 0xA0A0_0000 | u32::from(number), payload_type: types[0] });
    Streams { audio: stream(Lane::Audio), video: stream(Lane::Video), video_rtx: stream(Lane::VideoRtx), announcements }
}

/// The parts of a packet behind its fixed header: extensions, then a payload.
fn tail(extensions: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut tail = vec![0xBE, 0xDE, 0, extensions.len() as u8 / 4];
    tail.extend(extensions);
    tail.extend(payload);
    tail
}

fn rtp_headers() -> Vec<Vec<u8>> {
    let fixed = [0x90, 111, 0, 1, 0, 0, 0, 2, 0x50, 0, 1, 1];
    let plain = [&[0x80][..], &fixed[1..], &[9; 20]].concat();
    let extended = [&fixed[..], &tail(&[0x10, 0x8A, 0x40, b'0', 0x31, 0, 7, 0], &[9; 20])].concat();
    let two_byte = [&fixed[..], &[0x10, 0, 0, 1, 5, 1, 9, 0], &[9; 20][..]].concat();
    let csrcs = [&[0x92][..], &fixed[1..], &[3; 8], &tail(&[0xF0, 1, 2, 3], &[1, 2])].concat();
    let padded = [&[0xA0][..], &fixed[1..], &[9, 9, 0, 0, 4]].concat();
    vec![plain, extended, two_byte, csrcs, padded]
}

/// Packet after packet: kind, count, body.
fn packets() -> Vec<(u8, u8, Vec<u8>)> {
    let words = |list: &[u32]| list.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
    let (own, other, announced) = (0x5000_0101, 0x5000_0102, 0xA000_0101);
    let block = [announced, 0, 45, 6, 0x0102_0304, 65_536];
    vec![
        (200, 1, words(&[&[own, 1, 0x0102_0304, 5, 6, 7][..], &block].concat())),
        (201, 2, words(&[&[own][..], &block, &[0xA000_0102, 0, 41, 6, 0x0102_0304, 1]].concat())),
        (202, 1, [&words(&[own])[..], &[1, 3, b'a', b'b', b'c', 0, 0, 0]].concat()),
        (203, 1, words(&[own])),
        (205, 1, words(&[own, 0xA000_0102, 0x0028_0001, 0x0029_FFFF])),
        (205, 15, words(&[own, 0xA000_0102, 0x0001_0002, 0x0000_0100, 0x2002_0404])),
        (205, 3, words(&[own, 0, other, 0x0102_0304])),
        (206, 1, words(&[own, 0xA000_0102])),
        (206, 4, words(&[own, 0, 0xA000_0102, 0x0100_0000])),
        (206, 15, [&words(&[own, 0])[..], b"REMB", &words(&[0x0101_0203, 0xA000_0102])].concat()),
        (207, 0, words(&[own, 0x0400_0002, 1, 2, 0x0500_0003, own, 1, 2, 0x0100_0003, 0xA000_0101, 0x0028_0029, 0])),
        (207, 0, words(&[own, 0x0700_0008, 0xA000_0101, 1, 2, 3, 4, 5, 6, 7, 0x0900_0000])),
    ]
}

fn compounds() -> Vec<Vec<u8>> {
    let one = |(kind, count, body): (u8, u8, Vec<u8>)| [&[0x80 | count, kind, 0, body.len() as u8 / 4][..], &body].concat();
    let all: Vec<Vec<u8>> = packets().into_iter().map(one).collect();
    let whole = all.concat();
    all.into_iter().chain([whole]).collect()
}

fn controls() -> Vec<Vec<u8>> {
    let single = packets().into_iter().map(|(kind, count, body)| [&[0, 0, count, kind - 192][..], &piece(&body)].concat());
    let raw = compounds().into_iter().map(|octets| [&[1, 2][..], &piece(&octets)].concat());
    let mut list = vec![2, 0x40];
    for (kind, count, body) in packets().into_iter().take(3) {
        list.extend([count, kind - 192]);
        list.extend(piece(&body));
    }
    single.chain(raw).chain([list]).collect()
}

fn strangers() -> Vec<Vec<u8>> {
    let mut page = Page::new(1, 1, Profile::AeadAes128Gcm);
    // Sealed with the keys of somebody else.
    (page.own, page.theirs) = page_ciphers(7, Profile::AeadAes128Gcm).expect("ring makes keys");
    let media = page.send(Lane::Audio, 2, &Rtp { flags: 0x10, second: 111, tail: &tail(&[0x10, 9, 0, 0], &[7; 40]) });
    let mut control = [&[0x80, 201, 0, 1, 0x50, 0, 1, 1][..], &[0; SPARE]].concat();
    let len = page.own.seal_rtcp(&mut control, 8, 3).expect("room enough");
    control.truncate(len);
    media.map(|(wire, _)| wire).into_iter().chain([control]).collect()
}

fn calls() -> Vec<Vec<u8>> {
    let send =
        |from: u8, lane: u8, flags: u8, step: &[u8], tail: &[u8]| [&[from | 3 << 1 | lane << 4, flags, 0][..], step, &piece(tail)].concat();
    let voice = tail(&[0x10, 0x8A, 0x40, b'0', 0, 0, 0, 0], &[5; 30]);
    let picture = tail(&[0x31, 0, 7, 0x22, 1, 2, 3, 0], &[5; 30]);
    let again = [&[0xFF, 0xF1][..], &[5; 30]].concat();
    let talk: Vec<u8> = (0..20).flat_map(|n| send(n & 1, 0, 0x10, &[], &voice)).collect();
    let camera: Vec<u8> = (0..10).flat_map(|_| [send(0, 1, 0x10, &[], &picture), send(0, 2, 0, &[], &again)].concat()).collect();
    let holding = |from: u8| [&[from | 7 << 1, 0x10, 0][..], &piece(&voice)].concat();
    let landing: Vec<u8> =
        (0..6).flat_map(|n| [holding(0), send(0, 0, 0x10, &[], &voice), vec![6 << 1 | n << 4, 6 << 1]].concat()).collect();
    let played: Vec<u8> = [0x80, 0xC0, 0xC0].into_iter().flat_map(|how| [&[6 << 1 | how][..], &piece(&[3; 40])].concat()).collect();
    let landing = [landing, played.clone(), vec![2], played, holding(0), vec![0, 6 << 1]].concat();
    let far = [send(0, 0, 0, &[], &voice), send(0, 0, 0x80, &[0x7F, 0xFF], &voice), send(0, 0, 0xC0, &[0, 1, 0xF0, 0], &voice)].concat();
    let reload = [talk.clone(), vec![0], talk.clone(), vec![2, 4, 1, 0], camera.clone()].concat();
    [talk, camera, far, reload, landing].into_iter().flat_map(|ops| (0..4).map(move |kinds| [&[kinds][..], &ops].concat())).collect()
}
