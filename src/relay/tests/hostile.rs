//! What is not authentic changes nothing, and what is authentic but senseless harms nobody.

use super::*;
use proptest::prelude::*;

/// A pair in mid-call, and one fresh packet of each kind from page 1.
fn call(profile: Profile) -> (Side, Side, [Vec<u8>; 2]) {
    let (mut a, mut b) = (side(1, profile), side(2, GCM));
    media(&mut a, &mut b, &Rtp::of(1, Lane::Audio, 1, 0), at(0)).unwrap();
    media(&mut a, &mut b, &Rtp::of(1, Lane::Video, 1, 0), at(0)).unwrap();
    let rtp = a.send.encrypt_rtp(&Rtp { extensions: vec![0x10, 9, 0, 0], ..Rtp::of(1, Lane::Audio, 2, 0) }.bytes()).unwrap();
    let report = [0x80, 201, 0, 1, 0x50, 0, 1, 1];
    let rtcp = a.send.encrypt_rtcp(&report).unwrap();
    (a, b, [rtp.to_vec(), rtcp.to_vec()])
}

#[test]
fn a_replayed_packet_counts_once() {
    for profile in [GCM, CM] {
        let (mut a, _, packets) = call(profile);
        for wire in packets {
            assert!(a.leg.receive(&mut wire.clone(), at(0)).is_ok());
            let before = a.leg.counters();
            assert_eq!(a.leg.receive(&mut wire.clone(), at(0)), Err(Dropped::Replayed));
            assert_eq!(a.leg.counters(), before);
        }
    }
}

#[test]
fn a_truncated_packet_is_refused_at_every_length() {
    for profile in [GCM, CM] {
        let (mut a, _, packets) = call(profile);
        for wire in packets {
            let before = a.leg.counters();
            for len in 0..wire.len() {
                assert!(a.leg.receive(&mut wire[..len].to_vec(), at(0)).is_err(), "{len} octets");
            }
            assert_eq!(a.leg.counters(), before);
            assert!(a.leg.receive(&mut wire.clone(), at(0)).is_ok(), "the whole one is still welcome");
        }
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    for profile in [GCM, CM] {
        let (mut a, _, packets) = call(profile);
        let before = a.leg.counters();
        for wire in packets {
            for bit in 0..wire.len() * 8 {
                let mut changed = wire.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                assert!(a.leg.receive(&mut changed, at(0)).is_err(), "bit {bit}");
            }
        }
        assert_eq!(a.leg.counters(), before);
    }
}

#[test]
fn nothing_is_taken_before_the_keys_or_from_an_undeclared_stream() {
    let (mut a, _, packets) = call(GCM);
    let mut unkeyed = LegMedia::new(leg_id(1), streams(1));
    for wire in &packets {
        assert_eq!(unkeyed.receive(&mut wire.clone(), at(0)), Err(Dropped::NotKeyed));
    }
    let stranger = a.send.encrypt_rtp(&Rtp { ssrc: 77, ..Rtp::of(1, Lane::Audio, 2, 0) }.bytes()).unwrap();
    let before = a.leg.counters();
    assert_eq!(a.leg.receive(&mut stranger.to_vec(), at(0)), Err(Dropped::UnknownSsrc));
    assert_eq!(a.leg.counters(), before);
}

#[test]
fn a_page_reports_under_eight_names_at_most() {
    let (mut a, _, _) = call(GCM);
    let results: Vec<bool> = (0..12u8)
        .map(|name| {
            let wire = a.send.encrypt_rtcp(&[0x80, 201, 0, 1, 9, 9, 9, name]).unwrap();
            a.leg.receive(&mut wire.to_vec(), at(0)).is_ok()
        })
        .collect();
    assert_eq!(results.iter().filter(|ok| **ok).count(), 8);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn random_octets_are_refused_without_a_trace(
        gcm in any::<bool>(), known in any::<bool>(), control in any::<bool>(), mut octets in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let (mut a, _, _) = call(if gcm { GCM } else { CM });
        if octets.len() >= 12 && known {
            octets[0] = octets[0] & 0x3F | 0x80;
            if control {
                octets[1] = 200 + octets[1] % 8;
            }
            let at = if control { 4 } else { 8 };
            octets[at..at + 4].copy_from_slice(&peer(1, Lane::Audio).to_be_bytes());
        }
        let before = a.leg.counters();
        prop_assert!(a.leg.receive(&mut octets, at(0)).is_err());
        prop_assert_eq!(a.leg.counters(), before);
    }

    /// A page that has the keys may still send any nonsense inside.
    #[test]
    fn authentic_nonsense_does_not_panic(
        lane in 0usize..3, csrcs in 0u8..16, sequences in prop::collection::vec(any::<u16>(), 1..20), agreed in any::<bool>(),
        padded in any::<bool>(), extension in prop::option::of(prop::collection::vec(any::<u8>(), 0..80)),
        one_byte in any::<bool>(), payload in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let (mut a, mut b, _) = call(GCM);
        let lane = Lane::ALL[lane];
        let mut window = crate::relay::window::Window::default();
        window.note(1);
        for sequence in sequences {
            let payload_type = if agreed { streams(1).lane(lane).unwrap().payload_type } else { 3 };
            let mut clear = vec![0x80 | u8::from(padded) << 5 | u8::from(extension.is_some()) << 4 | csrcs, payload_type];
            clear.extend(sequence.to_be_bytes());
            clear.extend([9; 4]);
            clear.extend(peer(1, lane).to_be_bytes());
            clear.extend(vec![1; 4 * usize::from(csrcs)]);
            if let Some(extension) = &extension {
                clear.extend(if one_byte { [0xBE, 0xDE] } else { [0x10, 0] });
                clear.extend(u16::try_from(extension.len() / 4).unwrap().to_be_bytes());
                clear.extend(&extension[..extension.len() / 4 * 4]);
            }
            let header_len = clear.len();
            clear.extend(&payload);
            let mut wire = [&clear[..], &[0; 16]].concat();
            let index = if lane == Lane::VideoRtx && window.newest() == Some(1) { u64::from(sequence) } else { window.estimate(sequence) };
            a.raw.seal_rtp(&mut wire, header_len, clear.len(), peer(1, lane), index).unwrap();
            if let Ok(out) = carry(&mut a.leg, &mut b.leg, &wire, at(0)) {
                prop_assert_eq!(out.len(), wire.len());
                window.note(index);
            }
        }
    }

    #[test]
    fn authentic_control_nonsense_does_not_panic(
        packets in prop::collection::vec((0u8..32, 198u8..210, prop::collection::vec(any::<[u8; 4]>(), 1..20), any::<bool>()), 1..6),
        cut in 0usize..8,
    ) {
        let (mut a, mut b, _) = call(GCM);
        let mut clear = Vec::new();
        for (count, kind, words, padded) in packets {
            clear.extend([0x80 | u8::from(padded) << 5 | count, kind, 0, words.len() as u8 + 2]);
            clear.extend(peer(1, Lane::Audio).to_be_bytes());
            clear.extend(ours(1, Lane::Audio).to_be_bytes());
            clear.extend(words.concat());
        }
        let len = (clear.len() - cut).max(8);
        clear.truncate(len);
        let mut wire = [&clear[..], &[0; 20]].concat();
        let len = a.raw.seal_rtcp(&mut wire, clear.len(), 50).unwrap();
        if let Ok(out) = carry(&mut a.leg, &mut b.leg, &wire[..len], at(0)) {
            prop_assert!(out.len() <= len);
            let clear = b.receive.decrypt_rtcp(&out).unwrap();
            let mut rest = &clear[..];
            while !rest.is_empty() {
                let packet = 4 + 4 * usize::from(u16::from_be_bytes([rest[2], rest[3]]));
                rest = &rest[packet..];
            }
        }
    }
}
