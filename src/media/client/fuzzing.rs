//! Fuzz targets of the client, and of the data channel that joins it to the server.

use super::channel::Channel;
use super::feedback::Arrivals;
use super::ice::Ice;
use super::rtp::{Agreed, Media};
use super::sdp::{Answer, Local, offer};
use super::{Event, MAX_PAYLOAD, Track};
use crate::fuzzing::{Input, piece};
use crate::media::sctp::Control;
use crate::relay::{Ciphers, Header, Keying, Profile, SPARE, Window};
use bytes::{Bytes, BytesMut};
use rtc_crypto::RTCCryptoProvider;
use rtc_crypto::providers::RingProvider;
use rtc_shared::marshal::{Marshal, Unmarshal};
use rtc_stun::message::{BINDING_SUCCESS, Message, Setter};
use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

crate::fuzzing::targets! {
    answer: 1_500, answers, ["sdp/answers"];
    client_stun: 1_500, replies, [];
    client_media: 800, streams, [];
    feedback: 10_000, arrivals, [];
    sctp_server: 2_000, conversations, [];
    sctp_client: 2_000, conversations, [];
}

const PROVIDER: RingProvider = RingProvider::new();

/// A certificate's fingerprint as SDP writes it.
pub(in crate::media) fn fingerprint() -> String {
    ["0A"; 32].join(":")
}

/// The offer this client makes.
pub(in crate::media) fn own_offer() -> String {
    let (fingerprint, password) = (fingerprint(), "abcdefghabcdefghabcdefgh");
    offer(&Local { session: 7, ufrag: "abcdefgh", password, fingerprint: &fingerprint, cname: "lull", audio: 11, video: Some((22, 23)) })
}

/// An answer that is taken names where and who the server is, within bounds.
fn answer(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(answer) = Answer::read(text) else { return };
    assert!((1..=8).contains(&answer.candidates.len()));
    let different: BTreeSet<&SocketAddr> = answer.candidates.iter().collect();
    assert_eq!(different.len(), answer.candidates.len());
    assert!(answer.candidates.iter().all(|address| address.port() != 0));
    assert!(text.contains(&answer.ufrag) && text.contains(&answer.password));
}

#[expect(clippy::disallowed_methods, reason = "an instant to start from; it is moved by hand afterwards")]
fn start() -> Instant {
    Instant::now()
}

/// Only an answer to a request of ours, signed and from where it was sent, selects an address.
fn client_stun(data: &[u8]) {
    let now = start();
    let server = SocketAddr::from(([127, 0, 0, 1], 7700));
    let other = SocketAddr::from(([127, 0, 0, 2], 7700));
    let mut ice = Ice::new("serv:page".to_owned(), "p".repeat(24), vec![server, other], 5, now);
    let mut sent: Vec<Vec<u8>> = Vec::new();
    let mut input = Input::new(data);
    let mut at = now;
    for _ in 0..16 {
        if input.is_empty() {
            break;
        }
        let op = input.u8();
        if op & 3 == 0 {
            at = ice.due().max(at);
            if ice.handle_timeout(at, PROVIDER.crypto(), &mut |_, datagram| sent.push(datagram.to_vec())).is_err() {
                return;
            }
            assert!(sent.len() <= 64);
            continue;
        }
        let mut datagram = Vec::new();
        let mut authentic = false;
        if op & 3 == 1 {
            datagram = input.piece().to_vec();
        } else if let Some(request) = sent.iter().rev().nth(usize::from(op >> 2 & 1)) {
            // The answer of one who knows the request, and perhaps the password, with any attributes.
            let mut asked = Message::new();
            asked.unmarshal_binary(request).expect("we ask in form");
            let mut reply = Message::new();
            reply.build(&[Box::new(BINDING_SUCCESS), Box::new(asked.transaction_id)]).expect("in form");
            for _ in 0..op >> 3 & 3 {
                let kind = input.u16();
                reply.add(rtc_stun::attributes::AttrType(kind), input.piece());
            }
            authentic = op & 0x20 != 0;
            let password = if authentic { "p".repeat(24) } else { "q".repeat(24) };
            let integrity = rtc_stun::integrity::MessageIntegrity::new_short_term_integrity_with_provider(password, PROVIDER.crypto());
            if integrity.add_to(&mut reply).is_err() {
                continue;
            }
            datagram = reply.raw;
        }
        let from = if op & 0x40 == 0 { server } else { other };
        let before = ice.selected();
        let selects = ice.read(&datagram, from, at, PROVIDER.crypto(), &mut |_, datagram| sent.push(datagram.to_vec()));
        assert!(!selects || (authentic && before.is_none() && ice.selected() == Some(from)));
        assert!(authentic || ice.selected() == before);
    }
}

/// The server's keys on anything: what is taken is taken once, no event is larger than its packet, and what we send in turn opens.
fn client_media(data: &[u8]) {
    let now = start();
    let mut input = Input::new(data);
    let kinds = input.u8();
    let profile = if kinds & 1 == 0 { Profile::AeadAes128Gcm } else { Profile::Aes128CmHmacSha1_80 };
    let material: Vec<u8> = (0..profile.keying_len()).map(|n| n as u8).collect();
    let ours = Keying::from_exporter(profile, &material, false).expect("the right length");
    let theirs = Keying::from_exporter(profile, &material, true).expect("the right length");
    let mut server = theirs.local(PROVIDER.crypto()).expect("ring makes keys");
    let mut opener = theirs.remote(PROVIDER.crypto()).expect("ring makes keys");
    let agreed = Agreed {
        audio_out: 11,
        video_out: Some((22, 23)),
        audio_in: Some(1),
        announcements_in: Some(4),
        video_in: Some((2, Some(3))),
        transport_cc: kinds & 2 == 0,
    };
    let mut media = Media::new(&ours, PROVIDER.crypto(), agreed, "lull", [1, 2, 0x7FFF], now).expect("ring makes keys");
    let mut seen = BTreeSet::new();
    let mut heard: [Window; 4] = Default::default();
    let mut given = BTreeSet::new();
    let mut at = now;
    for turn in 0..24_u32 {
        if input.is_empty() {
            break;
        }
        let op = input.u8();
        let (mut events, mut out) = (VecDeque::new(), Vec::new());
        match op & 7 {
            0 => {
                at = media.due().max(at);
                media.handle_timeout(at, &mut out);
            }
            1 => {
                let track = if op & 8 == 0 { Track::Camera } else { Track::Voice };
                out.extend(media.send(track, input.u32(), op & 16 != 0, input.piece(), at));
                assert!(out.iter().all(|packet| packet.len() <= MAX_PAYLOAD + 20 + SPARE));
            }
            2 => at += Duration::from_millis(u64::from(input.u16())),
            3 => {
                let mut datagram = input.piece().to_vec();
                media.read(&mut datagram, at, &mut events, &mut out);
                assert!(events.is_empty() && out.is_empty(), "nobody signed this");
            }
            4 | 5 => {
                let ssrc = 1 + u32::from(op >> 3) % 3;
                let first = input.u8();
                let index = u64::from(input.u16());
                let mut wire = vec![0x80 | first & 0x3F, 96 | first & 0x80];
                wire.extend((index as u16).to_be_bytes());
                wire.extend(turn.to_be_bytes());
                wire.extend(ssrc.to_be_bytes());
                wire.extend(input.piece());
                let len = wire.len();
                let Ok(header) = Header::parse(&wire) else { continue };
                wire.resize(len + SPARE, 0);
                let sealed = server.seal_rtp(&mut wire, header.len, len, ssrc, index).expect("room enough");
                wire.truncate(sealed);
                media.read(&mut wire, at, &mut events, &mut out);
                for event in &events {
                    let Event::Media { track, index, payload, .. } = event else { panic!("{event:?}") };
                    assert!(seen.insert((*track == Track::Voice, *index)), "a replay was taken");
                    assert!(!payload.is_empty() && payload.len() <= len - header.len);
                }
            }
            _ => {
                let compound = input.piece();
                if compound.len() < 8 {
                    continue;
                }
                let mut wire = [compound, &[0; SPARE]].concat();
                let len = server.seal_rtcp(&mut wire, compound.len(), turn).expect("room enough");
                media.read(&mut wire[..len], at, &mut events, &mut out);
                // A NACK of one word asks for 17 packets, each is sent three times at most.
                assert!(events.len() + out.len() <= 5 * compound.len(), "{} events, {} packets", events.len(), out.len());
            }
        }
        out.extend(if op == 0xFF { media.request_key_frame() } else { None });
        for mut packet in out {
            if (192..=223).contains(&packet[1]) {
                let (sender, index) = opener.rtcp_sender_and_index(&packet).expect("in form");
                opener.open_rtcp(&mut packet, sender, index).expect("the server opens it");
                assert!(given.insert((0, u64::from(index))), "an index goes out twice");
            } else {
                let header = Header::parse(&packet).expect("we send RTP");
                let window = &mut heard[usize::from(header.ssrc != 11) + usize::from(header.ssrc == 23)];
                let index = window.estimate(header.sequence);
                open(&mut opener, &mut packet, &header, index);
                window.note(index);
                assert!(given.insert((header.ssrc, index)), "an index goes out twice");
            }
        }
    }
}

fn open(opener: &mut Ciphers, packet: &mut [u8], header: &Header, index: u64) {
    opener.open_rtp(packet, header.len, header.ssrc, index).expect("the server opens it");
}

/// Any numbers at any times: each report is RTCP that reads back as it was, within bounds.
fn feedback(data: &[u8]) {
    let now = start();
    let mut input = Input::new(data);
    let mut arrivals = Arrivals::new(now);
    let (mut number, mut at) = (input.u16(), now);
    for _ in 0..4_096 {
        if input.is_empty() {
            break;
        }
        let op = input.u8();
        match op {
            0..=0xBF => number = number.wrapping_add(u16::from(op & 7)).wrapping_sub(2),
            0xC0..=0xDF => number = input.u16(),
            _ => at += Duration::from_micros(u64::from(input.u32())),
        }
        at += Duration::from_micros(u64::from(op >> 3) * 50);
        if op != 0xFF {
            arrivals.note(number, at);
            continue;
        }
        let Some(report) = arrivals.report(1, 2) else { continue };
        assert!((1..=512).contains(&report.packet_status_count));
        let bytes = report.marshal().expect("our own report");
        assert!(bytes.len() <= 20 + 2 * 512 + 2 * 512, "{} octets", bytes.len());
        let read = rtc_rtcp::transport_feedbacks::transport_layer_cc::TransportLayerCc::unmarshal(&mut bytes.clone()).expect("readable");
        assert_eq!(read, report);
    }
}

/// The server's end of the data channel, from a page that knows the association.
fn sctp_server(data: &[u8]) {
    converse(data, true);
}

/// The client's end.
fn sctp_client(data: &[u8]) {
    converse(data, false);
}

/// Two ends in conversation, one of which gets packets that its peer never sent, with the right tag and checksum.
fn converse(data: &[u8], to_server: bool) {
    let mut now = start();
    let mut server = Control::new();
    let mut client = Channel::new();
    server.begin(now);
    client.connect(now);
    // Tag and first transmission number of each direction's packets, by INIT and INIT ACK.
    let mut directions = [Direction::default(); 2];
    for _ in 0..4 {
        exchange(&mut server, &mut client, &mut directions, now);
    }
    let mut direction = directions[usize::from(!to_server)];
    let mut input = Input::new(data);
    for _ in 0..24 {
        if input.is_empty() {
            break;
        }
        let op = input.u8();
        let chunks = match op & 7 {
            0 => input.piece().to_vec(),
            1 | 2 => {
                // DATA: flags, then transmission number by its distance from the last, stream, number in it, protocol, text.
                let (flags, step) = (input.u8(), input.u8().cast_signed());
                direction.next = direction.next.wrapping_add_signed(i32::from(step));
                let (stream, number, protocol) = (input.u8(), input.u8(), input.u8());
                let text = input.piece();
                // One, or a packet full of them.
                let count = if op & 0x40 == 0 { 1 } else { 1 + input.u8() % 70 };
                let chunks = (0..count).map(|_| {
                    let body = [&direction.next.to_be_bytes()[..], &[0, stream, 0, number, 0, 0, 0, protocol], text].concat();
                    direction.next = direction.next.wrapping_add(1);
                    chunk(0, flags, &body)
                });
                chunks.collect::<Vec<_>>().concat()
            }
            3 => {
                // SACK: what of the other's is acknowledged, window, gaps and doubles.
                let acknowledged = direction.others.wrapping_add_signed(i32::from(input.u8().cast_signed()));
                let body = [&acknowledged.to_be_bytes()[..], &input.u32().to_be_bytes(), input.piece()].concat();
                chunk(3, 0, &body)
            }
            4 => {
                let (kind, flags) = (input.u8(), input.u8());
                let body = input.piece();
                // Several of a kind may each be answered.
                let count = if op & 0x40 == 0 { 1 } else { 1 + usize::from(input.u8() % 70) };
                chunk(kind, flags, body).repeat(count)
            }
            5 => {
                // FORWARD TSN.
                let step = i32::from(input.u16().cast_signed());
                let forward = direction.next.wrapping_add_signed(if op & 8 == 0 { step } else { step << 16 });
                chunk(192, 0, &[&forward.to_be_bytes()[..], input.piece()].concat())
            }
            6 => {
                now += Duration::from_millis(u64::from(input.u16()));
                server.handle_timeout(now);
                client.handle_timeout(now);
                Vec::new()
            }
            _ => {
                let text = "x".repeat(usize::from(input.u16()));
                if op & 8 == 0 {
                    server.send(text, now)
                } else {
                    client.send(text, now)
                }
                Vec::new()
            }
        };
        if !chunks.is_empty() {
            let packet = packet(direction.tag, &chunks);
            if to_server { server.read(packet, now) } else { client.read(BytesMut::from(&packet[..]), now) }
        }
        assert!(server.heard.len() <= 64 && server.out.len() <= 80);
        let queued: usize = server.out.iter().chain(&client.out).map(Bytes::len).sum();
        assert!(queued <= 1024 * 1024, "{queued} octets wait to be sent");
        if op & 0x10 != 0 {
            exchange(&mut server, &mut client, &mut directions, now);
        }
        if op & 0x20 != 0 {
            server.heard.clear();
            client.heard.clear();
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Direction {
    tag: u32,
    next: u32,
    others: u32,
}

/// A packet with this tag and a checksum that fits (RFC 9260 section 3.1).
pub(in crate::media) fn packet(tag: u32, chunks: &[u8]) -> Bytes {
    let mut packet = vec![0x13, 0x88, 0x13, 0x88];
    packet.extend(tag.to_be_bytes());
    packet.extend([0; 4]);
    packet.extend(chunks);
    let checksum = crc32c(&packet);
    packet[8..12].copy_from_slice(&checksum.to_le_bytes());
    packet.into()
}

/// One round of what both ends have to say.
fn exchange(server: &mut Control, client: &mut Channel, directions: &mut [Direction; 2], now: Instant) {
    for packet in std::mem::take(&mut client.out) {
        directions[0].tag = be32(&packet, 4);
        if packet[12] == 1 {
            directions[0].next = be32(&packet, 28);
            directions[1].others = directions[0].next;
        }
        server.read(packet, now);
    }
    for packet in std::mem::take(&mut server.out) {
        directions[1].tag = be32(&packet, 4);
        if packet[12] == 2 {
            directions[1].next = be32(&packet, 28);
            directions[0].others = directions[1].next;
        }
        client.read(BytesMut::from(&packet[..]), now);
    }
}

fn be32(packet: &[u8], at: usize) -> u32 {
    packet.get(at..at + 4).map_or(0, |octets| u32::from_be_bytes([octets[0], octets[1], octets[2], octets[3]]))
}

/// A chunk with its length, padded (RFC 9260 section 3.2).
pub(in crate::media) fn chunk(kind: u8, flags: u8, body: &[u8]) -> Vec<u8> {
    let mut chunk = vec![kind, flags];
    chunk.extend((body.len() as u16 + 4).to_be_bytes());
    chunk.extend(body);
    chunk.resize(chunk.len().next_multiple_of(4), 0);
    chunk
}

/// RFC 9260 appendix A.
fn crc32c(octets: &[u8]) -> u32 {
    let step =
        |crc: u32, octet: &u8| (0..8).fold(crc ^ u32::from(*octet), |crc, _| if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ 0x82F6_3B78 });
    !octets.iter().fold(!0, step)
}

fn answers() -> Vec<Vec<u8>> {
    let common = format!(
        "c=IN IP4 127.0.0.1\r\na=candidate:1 1 udp 2130706431 127.0.0.1 5000 typ host\r\na=candidate:2 1 tcp 1 127.0.0.1 9 typ host tcptype passive\r\n\
         a=ice-ufrag:serv\r\na=ice-pwd:secretsecretsecretsecret\r\na=fingerprint:sha-256 {}\r\na=setup:active\r\n",
        fingerprint()
    );
    let text = format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=ice-lite\r\na=group:BUNDLE 0 1 3\r\n\
         m=audio 5000 UDP/TLS/RTP/SAVPF 111\r\n{common}a=mid:0\r\na=sendrecv\r\na=rtpmap:111 opus/48000/2\r\na=ssrc:100 cname:x\r\n\
         m=video 5000 UDP/TLS/RTP/SAVPF 96 97\r\n{common}a=mid:1\r\na=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n\
         a=sendrecv\r\na=rtpmap:96 VP8/90000\r\na=ssrc-group:FID 200 201\r\na=ssrc:200 cname:x\r\na=ssrc:201 cname:x\r\n\
         m=audio 0 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 127.0.0.1\r\na=mid:2\r\na=inactive\r\n\
         m=application 5000 UDP/DTLS/SCTP webrtc-datachannel\r\n{common}a=mid:3\r\na=sctp-port:5000\r\n"
    );
    vec![text.replace("a=setup:active", "a=setup:passive").into_bytes(), text.into_bytes()]
}

fn replies() -> Vec<Vec<u8>> {
    let mapped = [&[0, 0x20][..], &piece(&[0, 1, 0x3E, 6, 0x5E, 0x12, 0xA4, 0x43])].concat();
    vec![
        [&[0, 0x20 | 2 | 1 << 3][..], &mapped, &[0, 0x22]].concat(),
        [&[0, 2 | 1 << 3][..], &mapped, &[0, 0, 0x20 | 6]].concat(),
        [&[0, 0x60 | 2][..], &[1], &piece(&[1, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])].concat(),
    ]
}

fn streams() -> Vec<Vec<u8>> {
    let picture = |index: u8| [&[5 | 8, 0x10, 0, index][..], &piece(&[0xBE, 0xDE, 0, 1, 0x31, 0, index, 0, 0x10, 0, 1, 2])].concat();
    let voice = |index: u8| [&[4, 0x20, 0, index][..], &piece(&[1, 2, 3, 4, 2])].concat();
    let camera: Vec<u8> = (0..4).flat_map(|n| [&[1, 0, 0, 0, n][..], &piece(&[0x10, 0, n])].concat()).collect();
    let control = |octets: &[u8]| [&[6][..], &piece(octets)].concat();
    let nack = control(&[0x81, 205, 0, 3, 0, 0, 0, 2, 0, 0, 0, 22, 0, 2, 0, 3]);
    let pli = control(&[0x81, 206, 0, 2, 0, 0, 0, 2, 0, 0, 0, 22]);
    let fir = control(&[0x84, 206, 0, 4, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 22, 1, 0, 0, 0]);
    let report = control(&[&[0x80, 200, 0, 6, 0, 0, 0, 1][..], &[5; 20]].concat());
    vec![
        [&[0][..], &picture(1), &picture(3), &voice(7), &voice(7), &[2, 0, 200, 0, 0]].concat(),
        [&[1][..], &camera, &nack, &nack, &pli, &fir, &[0xFF], &[2, 4, 0, 0]].concat(),
        [&[2][..], &report, &voice(1), &[2, 4, 0, 0]].concat(),
        [&[0, 3][..], &piece(&[0x80; 40])].concat(),
    ]
}

fn arrivals() -> Vec<Vec<u8>> {
    let steady = [&[0, 1][..], &[3; 30], &[0xFF]].concat();
    let holes = [&[0xFF, 0xF0][..], &[7, 3, 1, 0x9B, 6, 0xE0, 0, 1, 0, 0, 3, 3], &[0xFF], &[0xC0, 0, 9], &[0xFF]].concat();
    let late = [&[0, 5][..], &[3, 0xF0, 0x0F, 0xFF, 0xFF, 0xFF, 3, 4, 0xFF]].concat();
    vec![steady, holes, late]
}

fn conversations() -> Vec<Vec<u8>> {
    let data = |flags: u8, stream: u8, number: u8, protocol: u8, text: &[u8]| {
        [&[0x31, flags, 0, stream, number, protocol][..], &piece(text)].concat()
    };
    let open = [&[3, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0][..], b"control"].concat();
    let other = |kind: u8, body: &[u8]| [&[0x34, kind, 0][..], &piece(body)].concat();
    vec![
        [data(3, 1, 0, 51, b"hello"), data(3, 1, 1, 51, b"again"), data(3, 2, 0, 50, &open), vec![7, 0, 200, 0x36, 4, 0]].concat(),
        [data(2, 1, 0, 51, b"in "), data(0, 1, 0, 51, b"three "), data(1, 1, 0, 51, b"parts"), data(7, 1, 0, 51, b"unordered")].concat(),
        [data(3, 1, 0, 56, &[0]), data(3, 1, 0, 53, &[1, 2]), data(3, 1, 0, 57, &[0])].concat(),
        [vec![0x33, 1, 0, 1, 0, 0], piece(&[0, 1, 0, 1, 0, 2, 0, 3, 1, 2, 3, 4]), vec![0x35, 0, 3], piece(&[0, 1, 0, 2])].concat(),
        // Two thousand million numbers are skipped at once.
        [data(3, 1, 0, 51, b"hello"), vec![0x3D, 0x7F, 0xF0], piece(&[])].concat(),
        [other(130, &[0, 13, 0, 16, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 9, 0, 1, 0, 0]), other(4, &[0, 1, 0, 8, 1, 2, 3, 4])].concat(),
        [
            other(1, &[0, 0, 0, 9, 0, 2, 0, 0, 0, 1, 0, 1, 0, 0, 0, 5]),
            other(10, &[1; 16]),
            other(6, &[]),
            other(7, &[0, 0, 0, 1]),
            other(14, &[]),
        ]
        .concat(),
        [&[0x30][..], &piece(&[chunk(9, 0, &[0, 1, 0, 8, 0, 0, 0, 0]), chunk(0, 3, &[0; 13])].concat())].concat(),
    ]
}
