//! RTP from page to page.

use super::*;
use proptest::prelude::*;

#[test]
fn a_leg_may_move_to_a_thread() {
    fn moves<T: Send>(_: &T) {}
    moves(&side(1, GCM).leg);
}

#[test]
#[should_panic(expected = "shares ssrc")]
fn two_streams_of_a_leg_never_share_an_ssrc() {
    let mut shared = streams(1);
    shared.video_rtx = shared.video;
    LegMedia::new(leg_id(1), shared);
}

#[test]
fn numbers_names_and_extensions_become_the_other_pages() {
    for (one, other) in [(GCM, GCM), (GCM, CM), (CM, GCM), (CM, CM)] {
        let (mut a, mut b) = (side(1, one), side(2, other));
        // Loudness, mid and an id nobody agreed on.
        let mut voice = Rtp::of(1, Lane::Audio, 700, 9600);
        voice.marker = true;
        voice.extensions = vec![0x10, 0x8A, 0x40, b'0', 0xE1, 7, 7, 0];
        let out = media(&mut a, &mut b, &voice, at(0)).unwrap();
        let expected = Rtp { ssrc: ours(2, Lane::Audio), payload_type: 109, extensions: vec![0x40, 0x8A, 0, 0, 0, 0, 0, 0], ..voice };
        assert_eq!(out, expected, "{one:?} to {other:?}");

        // Send time, transport-wide number, playout delay that the other side does not know.
        let mut picture = Rtp::of(1, Lane::Video, 40_000, 77);
        picture.extensions = vec![0x22, 1, 2, 3, 0x31, 0xAB, 0xCD, 0x62, 9, 9, 9, 0];
        let out = media(&mut a, &mut b, &picture, at(0)).unwrap();
        let extensions = vec![0x52, 1, 2, 3, 0x71, 0xAB, 0xCD, 0, 0, 0, 0, 0];
        assert_eq!(out, Rtp { ssrc: ours(2, Lane::Video), payload_type: 120, sequence: 40_000 & 0x7FFF, extensions, ..picture });

        // And the other way.
        let back = media(&mut b, &mut a, &Rtp::of(2, Lane::Audio, 5, 6), at(0)).unwrap();
        assert_eq!((back.ssrc, back.payload_type, back.sequence, back.timestamp), (ours(1, Lane::Audio), 111, 5, 6));
    }
}

#[test]
fn extensions_that_were_not_agreed_become_padding() {
    let (mut a, mut b) = (side(1, GCM), side(2, GCM));
    for (sequence, sent, expected) in [
        // Padding in front, an element longer than the rest, id 15.
        (1, vec![0, 0, 0x10, 0x7F], vec![0, 0, 0x40, 0x7F]),
        (2, vec![0x10, 0x7F, 0x1F, 1], vec![0x40, 0x7F, 0, 0]),
        (3, vec![0xF0, 9, 0x10, 0x7F], vec![0, 0, 0, 0]),
        // Mid alone.
        (4, vec![0x43, b'a', b'u', b'd', b'i', 0, 0, 0], vec![0; 8]),
    ] {
        let packet = Rtp { extensions: sent, ..Rtp::of(1, Lane::Audio, sequence, 0) };
        // Sealed by hand: `rtc-srtp` would refuse some of these.
        let clear = packet.bytes();
        let mut wire = [&clear[..], &[0; 16]].concat();
        let header_len = clear.len() - packet.payload.len();
        a.raw.seal_rtp(&mut wire, header_len, clear.len(), packet.ssrc, u64::from(sequence)).unwrap();
        let out = carry(&mut a.leg, &mut b.leg, &wire, at(0)).unwrap();
        assert_eq!(out[12..16], [0xBE, 0xDE, 0, expected.len() as u8 / 4]);
        assert_eq!(out[16..16 + expected.len()], expected, "case {sequence}");
    }
    // Two-byte form.
    let mut clear = Rtp { extensions: vec![1, 1, 0x7F, 0], ..Rtp::of(1, Lane::Audio, 5, 0) }.bytes();
    clear[12..14].copy_from_slice(&[0x10, 0]);
    let wire = a.send.encrypt_rtp(&clear).unwrap();
    let out = carry(&mut a.leg, &mut b.leg, &wire, at(0)).unwrap();
    assert_eq!(out[16..20], [0; 4]);
}

#[test]
fn what_the_other_leg_cannot_take_is_dropped_and_still_counts() {
    let mut a = side(1, GCM);
    let mut without_video = streams(2);
    (without_video.video, without_video.video_rtx) = (None, None);
    let mut b = LegMedia::new(leg_id(2), without_video);
    let wire = a.send.encrypt_rtp(&Rtp::of(1, Lane::Audio, 1, 0).bytes()).unwrap();
    assert_eq!(carry(&mut a.leg, &mut b, &wire, at(0)), Err(Dropped::NotKeyed));

    b.key(&Keying::from_exporter(CM, &material(2, CM), true).unwrap(), PROVIDER.crypto()).unwrap();
    let mut b = side_of(b, 2, CM);
    assert_eq!(media(&mut a, &mut b, &Rtp::of(1, Lane::Video, 1, 0), at(0)), Err(Dropped::NoMapping));
    let other_codec = Rtp { payload_type: 8, ..Rtp::of(1, Lane::Audio, 2, 0) };
    assert_eq!(media(&mut a, &mut b, &other_codec, at(0)), Err(Dropped::NoMapping));
    assert_eq!(a.leg.quality().packets, 3);

    let mut buffer = a.send.encrypt_rtp(&Rtp::of(1, Lane::Audio, 3, 0).bytes()).unwrap().to_vec();
    let received = a.leg.receive(&mut buffer, at(0)).unwrap();
    buffer.truncate(72 + SPARE - 1);
    let before = b.leg.counters();
    assert_eq!(pass(&a.leg, &mut b.leg, received, &mut buffer, at(0)), Err(Dropped::NoRoom));
    assert_eq!(b.leg.counters(), before, "nothing was given out");
}

#[test]
fn a_page_that_joins_late_gets_low_numbers_and_follows_the_wrap() {
    let (mut a, mut b) = (side(1, GCM), side(2, CM));
    // Alone: three rounds of numbers and a bit.
    for n in (0u32..0x3_F000).step_by(1000) {
        let wire = a.send.encrypt_rtp(&Rtp::of(1, Lane::Audio, n as u16, 0).bytes()).unwrap();
        a.leg.receive(&mut wire.to_vec(), at(0)).unwrap();
    }
    for (n, expected) in (0x3_F000u32..0x6_0000).zip(0x7000u32..).step_by(61) {
        let out = media(&mut a, &mut b, &Rtp::of(1, Lane::Audio, n as u16, n), at(0)).unwrap();
        assert_eq!((out.sequence, out.timestamp), (expected as u16, n));
    }
}

#[test]
fn a_reloaded_sender_continues_the_numbers_of_the_earlier_one() {
    let (mut old, mut b) = (side(1, GCM), side(2, GCM));
    let picture = |number, sequence, timestamp, wide: u16| {
        let [high, low] = wide.to_be_bytes();
        Rtp { extensions: vec![0x31, high, low, 0], ..Rtp::of(number, Lane::Video, sequence, timestamp) }
    };
    let wide = |packet: &Rtp| u16::from_be_bytes([packet.extensions[1], packet.extensions[2]]);
    // The transport-wide numbers wrap, and the last packets are overtaken.
    for n in [0, 1, 2, 3, 4, 5, 6, 9, 7, 8] {
        let sent_at = at(33 * i64::from(n));
        let number = 65_530u16.wrapping_add(n);
        media(&mut old, &mut b, &picture(1, 1000 + n, 5_000_000 + 3000 * u32::from(n), number), sent_at).unwrap();
    }
    // The same page again, as leg 3, two seconds later.
    let mut new = side(3, CM);
    let first = media(&mut new, &mut b, &picture(3, 60_000, 17, 40), at(2297)).unwrap();
    assert_eq!((first.ssrc, first.sequence), (ours(2, Lane::Video), 1010));
    assert_eq!(first.timestamp, 5_027_000 + 2 * 90_000);
    assert_eq!(wide(&first), 4);
    let next = media(&mut new, &mut b, &picture(3, 60_001, 3017, 41), at(2330)).unwrap();
    assert_eq!((next.sequence, next.timestamp, wide(&next)), (1011, first.timestamp + 3000, 5));
    // What was overtaken by the first packet has no number left, for it may have been the earlier source's.
    assert_eq!(media(&mut new, &mut b, &picture(3, 59_999, 17, 39), at(2331)), Err(Dropped::BeforeStart));

    // Voice at the same instant: at least one frame later.
    media(&mut old, &mut b, &Rtp::of(1, Lane::Audio, 5, 1000), at(2400)).unwrap();
    let first = media(&mut new, &mut b, &Rtp::of(3, Lane::Audio, 9, 70), at(2400)).unwrap();
    assert_eq!((first.sequence, first.timestamp), (6, 1960));
}

#[test]
fn a_source_that_comes_back_never_uses_a_number_twice() {
    let (mut a, mut c, mut b) = (side(1, GCM), side(3, GCM), side(2, GCM));
    let mut sent = Vec::new();
    for n in 0..50u16 {
        let (from, number) = if n / 5 % 2 == 0 { (&mut a, 1) } else { (&mut c, 3) };
        sent.push(media(from, &mut b, &Rtp::of(number, Lane::Audio, 100 + n, 0), at(0)).unwrap().sequence);
    }
    assert_eq!(sent, (100..150).collect::<Vec<u16>>());
}

#[test]
fn a_reloaded_receiver_begins_its_own_numbers() {
    let (mut a, mut b) = (side(1, GCM), side(2, GCM));
    for n in 0..5 {
        media(&mut a, &mut b, &Rtp::of(1, Lane::Audio, 40_000 + n, 10), at(0)).unwrap();
    }
    let mut again = side(4, CM);
    let out = media(&mut a, &mut again, &Rtp::of(1, Lane::Audio, 40_005, 11), at(0)).unwrap();
    assert_eq!((out.ssrc, out.sequence, out.timestamp), (ours(4, Lane::Audio), 40_005 & 0x7FFF, 11));
}

#[test]
fn a_retransmission_names_the_number_its_original_was_sent_under() {
    let (mut a, mut b) = (side(1, GCM), side(2, CM));
    let repeat = |sequence, original: u16| {
        let payload = [&original.to_be_bytes()[..], &[0x55; 60]].concat();
        Rtp { payload, ..Rtp::of(1, Lane::VideoRtx, sequence, 50) }
    };
    assert_eq!(media(&mut a, &mut b, &repeat(1, 40_000), at(0)), Err(Dropped::BeforeStart), "the camera has not begun");
    media(&mut a, &mut b, &Rtp::of(1, Lane::Video, 40_000, 50), at(0)).unwrap();
    let out = media(&mut a, &mut b, &repeat(2, 40_000), at(0)).unwrap();
    assert_eq!((out.ssrc, out.payload_type, out.timestamp), (ours(2, Lane::VideoRtx), 124, 50));
    assert_eq!(out.payload[..2], (40_000u16 & 0x7FFF).to_be_bytes());

    // Padding only: no original number to map.
    let mut clear = Rtp { payload: [vec![0; 254], vec![255]].concat(), ..Rtp::of(1, Lane::VideoRtx, 3, 50) }.bytes();
    clear[0] |= 0x20;
    let mut wire = [&clear[..], &[0; 16]].concat();
    a.raw.seal_rtp(&mut wire, 12, clear.len(), peer(1, Lane::VideoRtx), 3).unwrap();
    let out = carry(&mut a.leg, &mut b.leg, &wire, at(0)).unwrap();
    let kept = b.receive.decrypt_rtp(&out).unwrap();
    assert_eq!(kept[12..12 + 254], [0; 254]);

    // After a reload the earlier source's packets are not the new one's to repeat.
    let mut new = side(3, GCM);
    media(&mut new, &mut b, &Rtp::of(3, Lane::Video, 500, 50), at(0)).unwrap();
    let repeat = |sequence, original: u16| Rtp { payload: original.to_be_bytes().to_vec(), ..Rtp::of(3, Lane::VideoRtx, sequence, 50) };
    assert_eq!(media(&mut new, &mut b, &repeat(7, 499), at(0)), Err(Dropped::BeforeStart));
    let out = media(&mut new, &mut b, &repeat(8, 500), at(0)).unwrap();
    assert_eq!(out.payload[..2], ((40_000u16 & 0x7FFF) + 1).to_be_bytes());
}

#[test]
fn loss_is_what_the_numbers_promised_and_did_not_bring() {
    let (mut a, mut b) = (side(1, GCM), side(2, GCM));
    // One of ten missing, the first two swapped.
    for n in [65_531u16, 65_530, 65_532, 65_533, 65_535, 0, 1, 2, 3] {
        let _ = media(&mut a, &mut b, &Rtp::of(1, Lane::Audio, n, 0), at(0));
    }
    assert_eq!(a.leg.quality(), Quality { packets: 9, expected: 10, lost: 1, rtt_ms: None });
    // Retransmissions are packets, but promise nothing.
    media(&mut a, &mut b, &Rtp::of(1, Lane::Video, 1, 0), at(0)).unwrap();
    media(&mut a, &mut b, &Rtp { payload: vec![0, 1, 2], ..Rtp::of(1, Lane::VideoRtx, 900, 0) }, at(0)).unwrap();
    assert_eq!(a.leg.quality(), Quality { packets: 11, expected: 11, lost: 1, rtt_ms: None });
    assert_eq!(b.leg.quality(), Quality::default());
}

#[test]
fn a_restored_leg_goes_on_and_skips_what_may_have_been_used() {
    let (mut a, mut b) = (side(1, GCM), side(2, CM));
    let loss = [0x81, 206, 0, 2, 0x50, 0, 1, 2, 0xA0, 0, 1, 2];
    for n in 0..10 {
        media(&mut a, &mut b, &Rtp::of(1, Lane::Video, 65_530u16.wrapping_add(n), 0), at(0)).unwrap();
        control(&mut a, &mut b, &loss, at(0)).unwrap();
    }
    let saved = b.leg.counters();
    let mut buffer = [0; 40];
    b.leg.request_key_frame(&mut buffer).unwrap();

    let mut restored = LegMedia::resume(leg_id(2), streams(2), saved);
    restored.key(&Keying::from_exporter(CM, &material(2, CM), true).unwrap(), PROVIDER.crypto()).unwrap();
    b.leg = restored;
    let out = media(&mut a, &mut b, &Rtp::of(1, Lane::Video, 4, 0), at(0)).unwrap();
    assert_eq!(out.sequence, 0x7FFA + 10);
    let mut again = [0; 40];
    let len = b.leg.request_key_frame(&mut again).unwrap();
    assert_ne!(buffer[len - 14..len - 10], again[len - 14..len - 10], "another index");
    // A new source may not begin where the saved numbers end.
    let mut new = side(3, GCM);
    let out = media(&mut new, &mut b, &Rtp::of(3, Lane::Video, 9, 0), at(0)).unwrap();
    assert_eq!(out.sequence, 0x7FFA + 11 + (1 << 14));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Both ends are `rtc-srtp`, which counts roll-overs by itself: if any counter differed, it could not open the packet.
    #[test]
    fn a_stream_survives_wraps_with_loss_and_reordering(
        gcm in any::<bool>(), start in any::<u16>(), steps in prop::collection::vec((0u8..100, 1u16..3000), 200..400),
    ) {
        let (mut a, mut b) = (side(1, if gcm { GCM } else { CM }), side(2, if gcm { CM } else { GCM }));
        // A browser starts below 2^15.
        let mut next = u64::from(start & 0x7FFF);
        let mut late: Option<(u64, Vec<u8>)> = None;
        for (chance, jump) in steps {
            let wire = a.send.encrypt_rtp(&Rtp::of(1, Lane::Audio, next as u16, next as u32).bytes()).unwrap().to_vec();
            match chance {
                0..30 => late = Some((next, wire)),
                _ => {
                    let out = carry(&mut a.leg, &mut b.leg, &wire, at(0));
                    let clear = Rtp::parse(&b.receive.decrypt_rtp(&out.unwrap()).unwrap());
                    prop_assert_eq!(clear.timestamp, next as u32);
                    if let Some((index, wire)) = late.take() {
                        match carry(&mut a.leg, &mut b.leg, &wire, at(0)) {
                            Ok(out) => {
                                prop_assert!(next - index < 128);
                                let clear = Rtp::parse(&b.receive.decrypt_rtp(&out).unwrap());
                                prop_assert_eq!(clear.timestamp, index as u32);
                            }
                            Err(cause) => prop_assert!(cause == Dropped::BeforeStart || next - index >= 128),
                        }
                    }
                }
            }
            next += if chance % 4 == 0 { u64::from(jump) } else { 1 };
        }
    }
}
