//! Fuzz targets of the media room: what pages and strangers send before there are keys, and SDP.

use super::OfferError;
use super::client::fuzzing::fingerprint;
use super::demux::Kind;
use super::dtls::records::{Gate, Stage, client_random, is_alert, renumber};
use super::dtls::{Dtls, Event, Identity};
use super::ice::{Check, Request};
use super::leg::begins_key_frame;
use super::sdp::{Announced, Fragment, Local, OFFER_LIMIT, Offer, answer, write_fragment};
use crate::call::Medium;
use crate::fuzzing::{Input, piece};
use crate::ids::LegId;
use crate::relay::{LegMedia, Profile};
use rtc_sdp::description::session::SessionDescription;
use rtc_stun::attributes::{ATTR_ICE_CONTROLLED, ATTR_ICE_CONTROLLING, ATTR_USE_CANDIDATE, ATTR_USERNAME, AttrType};
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_REQUEST, Message, MessageType, TransactionId};
use std::io::Cursor;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

pub use super::chunks::fuzzing::TARGETS as CHUNKS;
pub use super::tcp::fuzzing::TARGETS as TCP;

crate::fuzzing::targets! {
    first_octet: 1_000, first_octets, [];
    stun_strangers: 10_000, requests, [];
    stun_signed: 3_000, attributes, [];
    offer: 2_000, offers, ["sdp"];
    fragment: 20_000, fragments, [];
    dtls_handshake: 2_000, records, [];
    dtls_gate: 5_000, datagrams, [];
    key_frame: 10_000, payloads, [];
}

const NAME: &[u8; 8] = b"AAAABBBB";
const PASSWORD: &str = "abcdefghijklmnopqrstuvwx";

/// The first octet alone decides, and control packets are media.
fn first_octet(data: &[u8]) {
    let expected = match data.first() {
        Some(0..=3) => Kind::Stun,
        Some(20..=63) => Kind::Dtls,
        Some(first) if first >> 6 == 2 => Kind::Media,
        _ => Kind::Other,
    };
    assert_eq!(Kind::of(data), expected);
}

fn from() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0, 0, 0xFFFF, 0xC000, 0x0207], 4000))
}

/// What nobody signed is forged, whatever name it carries, and a name that is found stands in the datagram.
fn stun_strangers(data: &[u8]) {
    let provider = rtc_crypto::default_provider().expect("a crypto provider");
    if let Some(request) = Request::read(data) {
        assert!(data.windows(9).any(|window| window[..8] == request.addressee && window[8] == b':'));
        assert_eq!(Kind::of(data), Kind::Stun);
        assert!(matches!(request.check(data, PASSWORD, provider.crypto()), Check::Forged));
    }
}

/// A page that knows the password may put anything before and behind the signature. The answer is short and signed, and what is
/// not signed nominates nobody.
fn stun_signed(data: &[u8]) {
    let provider = rtc_crypto::default_provider().expect("a crypto provider");
    let mut input = Input::new(data);
    let flags = input.u8();
    let mut request = Message::new();
    let kind = if flags & 1 == 0 { BINDING_REQUEST } else { MessageType::default() };
    let id = TransactionId(std::array::from_fn(|_| input.u8()));
    if request.build(&[Box::new(kind), Box::new(id)]).is_err() {
        return;
    }
    let mut add = |request: &mut Message, count: u8| {
        for _ in 0..count {
            let kind = input.u16();
            request.add(AttrType(kind), input.piece());
        }
    };
    add(&mut request, flags >> 1 & 7);
    let before: Vec<AttrType> = request.attributes.0.iter().map(|attribute| attribute.typ).collect();
    let integrity = MessageIntegrity::new_short_term_integrity_with_provider(PASSWORD.to_owned(), provider.crypto());
    if rtc_stun::message::Setter::add_to(&integrity, &mut request).is_err() {
        return;
    }
    add(&mut request, flags >> 4 & 3);
    if flags & 0x40 != 0 {
        let _ = rtc_stun::message::Setter::add_to(&FINGERPRINT, &mut request); // Without one it is a request as well.
    }
    let Some(read) = Request::read(&request.raw) else { return };
    let answered = |reply: Option<Vec<u8>>| {
        let reply = reply.expect("an answer can be written");
        assert!(reply.len() <= 128, "an answer of {} octets", reply.len());
        let mut answer = Message::new();
        answer.unmarshal_binary(&reply).expect("we answer in form");
        assert_eq!(answer.transaction_id, id);
        MessageIntegrity::check(&mut answer, PASSWORD.as_bytes(), provider.crypto()).expect("signed");
    };
    match read.check(&request.raw, PASSWORD, provider.crypto()) {
        Check::Forged => (),
        Check::Conflict => {
            assert!(before.contains(&ATTR_ICE_CONTROLLED));
            answered(read.conflict(PASSWORD, provider.crypto()));
        }
        Check::Good { nominated } => {
            assert_eq!((kind, nominated), (BINDING_REQUEST, before.contains(&ATTR_USE_CANDIDATE)));
            assert!(!before.contains(&ATTR_ICE_CONTROLLED));
            answered(read.success(PASSWORD, from(), provider.crypto()));
        }
    }
}

/// An offer that is taken is answered section by section with SDP of a bounded length, and its streams never share an SSRC.
fn offer(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for medium in [Medium::Audio, Medium::Video] {
        let offer = match Offer::read(text, medium) {
            Ok(offer) => offer,
            Err(error) => {
                if let OfferError::Syntax(why) = error {
                    assert!(why.chars().count() <= 120 && !why.contains(char::is_control), "{why:?}");
                }
                continue;
            }
        };
        assert!(data.len() <= OFFER_LIMIT && offer.voice().is_some());
        assert!((1..=8).contains(&offer.fingerprints.len()));
        assert!(medium == Medium::Video || offer.camera().is_none());
        let announced = Announced { voice: 11, announcements: 12, camera: 13, camera_rtx: 14 };
        let streams = offer.streams(&announced);
        let payload_types = [streams.audio, streams.video, streams.video_rtx].into_iter().flatten().map(|stream| stream.payload_type);
        assert!(payload_types.into_iter().all(|number| matches!(number, 0..=63 | 96..=127)));
        let _ = LegMedia::new(LegId::new(uuid::Uuid::nil()), streams); // It refuses shared SSRCs itself.
        let candidates = [SocketAddr::from(([127, 0, 0, 1], 7700))];
        let local = Local {
            session: 77,
            version: 2,
            ufrag: "abcdefgh",
            password: PASSWORD,
            fingerprint: &fingerprint(),
            candidates: &candidates,
            takes_tcp: true,
            announced,
        };
        let ours = answer(&offer, &local);
        assert!(ours.len() <= data.len() + 4096 * offer.sections.len(), "{} octets", ours.len());
        assert!(ours.lines().all(|line| line.as_bytes().get(1) == Some(&b'=')), "a line that the offer wrote");
        let read = SessionDescription::unmarshal(&mut Cursor::new(ours.as_bytes())).expect("we answer in form");
        assert_eq!(read.media_descriptions.len(), offer.sections.len());
        let fragment = write_fragment(&offer, &local);
        assert!(fragment.lines().all(|line| line.as_bytes().get(1) == Some(&b'=')));
        assert_eq!(Fragment::read(&fragment).expect("we answer in form").ufrag.as_deref(), Some("abcdefgh"));
    }
}

/// The name that is read stands in the text and has a length it may have.
fn fragment(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Fragment::read(text) {
        Ok(Fragment { ufrag: Some(name) }) => {
            assert!((4..=256).contains(&name.len()) && text.contains(&name) && !name.contains('\n'));
        }
        Ok(Fragment { ufrag: None }) => assert!(!text.starts_with("a=ice-pwd:")),
        Err(_) => (),
    }
}

thread_local! {
    static IDENTITY: Arc<Identity> = Arc::new(Identity::generate().expect("a certificate"));
}

/// Records in clear, as anybody can send who knows the address: no keys come of them, and what they make us send is bounded.
fn dtls_handshake(data: &[u8]) {
    #[expect(clippy::disallowed_methods, reason = "an instant to start from")]
    let now = Instant::now();
    let mut input = Input::new(data);
    let profile = if input.u8() & 1 == 0 { Profile::AeadAes128Gcm } else { Profile::Aes128CmHmacSha1_80 };
    let mut dtls = IDENTITY.with(|identity| Dtls::connect(identity.clone(), vec![[7; 32]], profile, now));
    let mut at = now;
    for _ in 0..16 {
        if input.is_empty() {
            break;
        }
        let op = input.u8();
        let events = if op & 7 == 7 {
            at = dtls.due().unwrap_or(at).max(at);
            dtls.handle_timeout(at)
        } else {
            let body = input.piece();
            // A plain record with a length that fits, or octets as they are.
            let record = if op & 1 == 0 {
                let kind = [20, 21, 22, 23][usize::from(op >> 3 & 3)];
                [&[kind, 254, 253, 0, 0, 0, 0, 0, 0, 0, op >> 5, (body.len() >> 8) as u8, body.len() as u8], body].concat()
            } else {
                body.to_vec()
            };
            dtls.read(&record, at)
        };
        assert!(!events.iter().any(|event| matches!(event, Event::Keyed(_) | Event::Data(_))), "{events:?}");
        assert!(dtls.out.len() <= 64, "{} records", dtls.out.len());
        assert!(dtls.out.iter().map(|record| record.len()).sum::<usize>() <= 64 * 1024);
        assert!(!dtls.is_up());
        if op & 8 != 0 {
            dtls.out.clear();
        }
    }
}

/// What passes before the keys is little, whole and in order, and holds the messages of one handshake at most once.
fn dtls_gate(data: &[u8]) {
    let mut input = Input::new(data);
    let (mut gate, mut numbers, mut messages) = (Gate::default(), Vec::new(), Vec::new());
    for _ in 0..32 {
        if input.is_empty() {
            break;
        }
        let stage = [Stage::Plain, Stage::Plain, Stage::Finishing, Stage::Up][usize::from(input.u8() & 3)];
        let datagram = input.piece();
        let admitted = gate.admit(datagram, stage);
        let mut rest = &admitted.records[..];
        while let Some(header) = rest.first_chunk::<13>() {
            let len = 13 + usize::from(u16::from_be_bytes([header[11], header[12]]));
            let record = rest.get(..len).expect("whole records");
            rest = &rest[len..];
            match (stage, header[0], [header[3], header[4]]) {
                (Stage::Plain, 22, [0, 0]) => {
                    assert_eq!((record[16], record[15]), (record[24], record[23]), "whole messages");
                    messages.push(record[18]);
                }
                (Stage::Finishing, 20, [0, 0]) | (Stage::Finishing, 22, [0, 1]) | (Stage::Up, 21 | 23, [0, 1]) => (),
                other => panic!("{other:?}"),
            }
            if header[3..5] == [0, 0] {
                numbers.push(u64::from_be_bytes([0, 0, header[5], header[6], header[7], header[8], header[9], header[10]]));
            }
        }
        assert!(rest.is_empty());
        let _ = (is_alert(datagram), client_random(datagram)); // Whatever the octets are.
        let mut next = 7;
        let mut ours = datagram.to_vec();
        renumber(&mut ours, &mut next);
        assert!(ours.len() == datagram.len() && next <= 7 + ours.len() as u64 / 13);
    }
    assert!(numbers.is_sorted_by(|one, next| one + 1 == *next), "{numbers:?}");
    assert!(messages.iter().enumerate().all(|(place, number)| usize::from(*number) == place) && messages.len() <= 6, "{messages:?}");
}

/// It agrees with the library's reader of the same header, wherever that one can read it.
fn key_frame(data: &[u8]) {
    use rtc_rtp::packetizer::Depacketizer;
    let found = begins_key_frame(data);
    let mut descriptor = rtc_rtp::codec::vp8::Vp8Packet::default();
    let Ok(payload) = descriptor.depacketize(&bytes::Bytes::copy_from_slice(data)) else { return };
    let expected = descriptor.s == 1 && descriptor.pid == 0 && payload.first().is_some_and(|tag| tag & 1 == 0);
    assert_eq!(found, expected);
}

fn first_octets() -> Vec<Vec<u8>> {
    [0, 3, 4, 19, 20, 63, 64, 127, 128, 191, 192, 255].into_iter().map(|first| vec![first, 200]).chain([Vec::new()]).collect()
}

fn request(kinds: &[(AttrType, &[u8])]) -> Message {
    let mut message = Message::new();
    message.build(&[Box::new(BINDING_REQUEST), Box::new(TransactionId([7; 12]))]).expect("in form");
    for (kind, value) in kinds {
        message.add(*kind, value);
    }
    message
}

fn requests() -> Vec<Vec<u8>> {
    let name = [&NAME[..], b":page"].concat();
    let provider = rtc_crypto::default_provider().expect("a crypto provider");
    let mut message = request(&[(ATTR_USERNAME, &name), (ATTR_ICE_CONTROLLING, &[1; 8]), (AttrType(0x24), &[2; 4])]);
    let unsigned = message.raw.clone();
    let stranger = MessageIntegrity::new_short_term_integrity_with_provider("of somebody else........".to_owned(), provider.crypto());
    rtc_stun::message::Setter::add_to(&stranger, &mut message).expect("signed");
    rtc_stun::message::Setter::add_to(&FINGERPRINT, &mut message).expect("marked");
    let odd = request(&[(AttrType(0x8022), b"x"), (ATTR_USERNAME, b"AAAABBBB")]).raw;
    vec![unsigned, message.raw, odd]
}

fn attributes() -> Vec<Vec<u8>> {
    let one = |kind: AttrType, value: &[u8]| [&kind.0.to_be_bytes()[..], &piece(value)].concat();
    let name = one(ATTR_USERNAME, b"AAAABBBB:page");
    let with = |count: u8, after: u8, parts: &[Vec<u8>]| [&[0x40 | count << 1 | after << 4][..], &[7; 12], &parts.concat()].concat();
    let nominate = one(ATTR_USE_CANDIDATE, &[]);
    vec![
        with(1, 0, std::slice::from_ref(&name)),
        with(3, 0, &[name.clone(), one(ATTR_ICE_CONTROLLING, &[1; 8]), nominate.clone()]),
        with(2, 0, &[name.clone(), one(ATTR_ICE_CONTROLLED, &[1; 8])]),
        with(1, 1, &[name.clone(), nominate]),
        with(2, 1, &[name, one(AttrType(0x8022), b"a library"), one(AttrType(0x0008), &[0; 20])]),
    ]
}

fn offers() -> Vec<Vec<u8>> {
    vec![super::client::fuzzing::own_offer().into_bytes()]
}

fn fragments() -> Vec<Vec<u8>> {
    let full = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\na=candidate:1 1 UDP 1 192.0.2.1 9 typ host\r\na=end-of-candidates\r\n";
    let texts = [
        full,
        "a=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=end-of-candidates\r\n",
        "a=ice-ufrag:EsAw\r\n",
        "a:1",
    ];
    texts.into_iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn records() -> Vec<Vec<u8>> {
    // HelloVerifyRequest with a cookie, ServerHello (version, random, no session, GCM suite, extended master secret and use_srtp),
    // ServerHelloDone; alerts of both levels.
    let handshake = |kind: u8, sequence: u8, body: &[u8]| {
        let len = body.len() as u8;
        [&[kind, 0, 0, len, 0, sequence, 0, 0, 0, 0, 0, len][..], body].concat()
    };
    let record = |body: Vec<u8>| [&[16][..], &piece(&body)].concat();
    let verify = handshake(3, 0, &[&[254, 253, 20][..], &[9; 20]].concat());
    let extensions = [0, 23, 0, 0, 0, 14, 0, 5, 0, 2, 0, 7, 0];
    let hello = handshake(2, 1, &[&[254, 253][..], &[3; 32], &[0, 0xC0, 0x2B, 0, 0, extensions.len() as u8], &extensions].concat());
    let done = handshake(14, 2, &[]);
    let alert = |level: u8| [&[8][..], &piece(&[level, 71])].concat();
    vec![
        [&[0][..], &record(verify.clone())].concat(),
        [&[0][..], &record(verify), &record(hello.clone()), &record(done)].concat(),
        [&[1][..], &record(hello)].concat(),
        [&[0][..], &alert(2), &[7, 7], &alert(2), &[7], &alert(1)].concat(),
    ]
}

fn datagrams() -> Vec<Vec<u8>> {
    let record =
        |kind: u8, epoch: u8, body: &[u8]| [&[kind, 0xFE, 0xFD, 0, epoch, 9, 9, 9, 9, 9, 9, 0, body.len() as u8][..], body].concat();
    let part = |kind: u8, sequence: u8, whole: u8, offset: u8, body: &[u8]| {
        [&[kind, 0, 0, whole, 0, sequence, 0, 0, offset, 0, 0, body.len() as u8][..], body].concat()
    };
    let at = |stage: u8, datagram: &[u8]| [&[stage][..], &piece(datagram)].concat();
    let verify = record(22, 0, &part(3, 0, 5, 0, &[254, 253, 2, 1, 1]));
    let halves = [record(22, 0, &part(2, 1, 4, 2, &[3, 4])), record(22, 0, &part(2, 1, 4, 0, &[1, 2]))].concat();
    let done = record(22, 0, &part(14, 2, 0, 0, &[]));
    let cipher = record(20, 0, &[1]);
    let sealed = record(22, 1, &[5; 40]);
    vec![
        [at(0, &verify), at(0, &[&done[..], &halves].concat()), at(2, &[&cipher[..], &sealed].concat()), at(3, &record(23, 1, &[9; 9]))]
            .concat(),
        [at(0, &record(21, 0, &[2, 40])), at(2, &sealed), at(3, &cipher)].concat(),
        at(0, &record(22, 0, &part(1, 0, 40, 0, &[7; 40]))),
    ]
}

fn payloads() -> Vec<Vec<u8>> {
    let texts: [&[u8]; 6] =
        [&[0x10, 0], &[0x10, 1], &[0x11, 0], &[0x90, 0xd0, 0x80, 1, 5, 0x20, 0], &[0x90, 0xf0, 0x80, 1], &[0x90, 0x80, 0x12, 0, 0x9d]];
    texts.into_iter().map(<[u8]>::to_vec).collect()
}
