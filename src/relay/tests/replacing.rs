//! Packets whose content is replaced, and packets of our own: numbers as they would have been, and none twice.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Takes a packet in and keeps it back: what stands in its place is sent later.
fn hold(from: &mut Side, packet: &Rtp, now: Moment) -> Result<(Stamp, Vec<u8>), Dropped> {
    let mut buffer = from.send.encrypt_rtp(&packet.bytes()).unwrap().to_vec();
    let Received::Rtp(received) = from.leg.receive(&mut buffer, now)? else { panic!("RTP") };
    Ok((received.stamp(&buffer, now), received.content(&buffer).unwrap_or_default().to_vec()))
}

fn replaced(from: &Side, to: &mut Side, stamp: Stamp, payload: &[u8]) -> Result<Rtp, Dropped> {
    let mut buffer = vec![0xEE; 12 + payload.len() + SPARE];
    let len = replace(&from.leg, &mut to.leg, stamp, payload, &mut buffer)?;
    Ok(Rtp::parse(&to.receive.decrypt_rtp(&buffer[..len]).expect("the page opens it")))
}

fn announced(to: &mut Side, payload: &[u8], follows: bool, now: Moment) -> Result<Rtp, Dropped> {
    let mut buffer = vec![0xEE; 12 + payload.len() + SPARE];
    let len = to.leg.announce(payload, follows, now, &mut buffer)?;
    Ok(Rtp::parse(&to.receive.decrypt_rtp(&buffer[..len]).expect("the page opens it")))
}

#[test]
fn what_stands_in_for_a_packet_has_its_numbers() {
    for (one, other) in [(GCM, CM), (CM, GCM)] {
        let (mut a, mut b) = (side(1, one), side(2, other));
        let voice = |sequence: u16| Rtp { marker: sequence == 703, ..Rtp::of(1, Lane::Audio, sequence, 960 * u32::from(sequence)) };
        assert_eq!(media(&mut a, &mut b, &voice(700), at(0)).unwrap().sequence, 700);
        let (first, content) = hold(&mut a, &Rtp { extensions: vec![0x10, 0x8A, 0, 0], ..voice(701) }, at(20)).unwrap();
        assert_eq!((first.index, first.timestamp, content), (701, 701 * 960, vec![0x55; 60]));
        let (second, _) = hold(&mut a, &voice(702), at(40)).unwrap();
        let third = hold(&mut a, &voice(703), at(60)).unwrap().0;
        assert_eq!(media(&mut a, &mut b, &voice(704), at(80)).unwrap().sequence, 704, "forwarded again while three still wait");
        // In any order, longer or shorter than what came.
        for (stamp, sequence, payload) in [(second, 702, vec![7; 1]), (first, 701, vec![7; 400]), (third, 703, vec![7; 60])] {
            let expected = Rtp { ssrc: ours(2, Lane::Audio), payload_type: 109, payload: payload.clone(), ..voice(sequence) };
            assert_eq!(replaced(&a, &mut b, stamp, &payload), Ok(expected));
            assert_eq!(replaced(&a, &mut b, stamp, &payload), Err(Dropped::Spent), "once");
        }
        assert_eq!(replaced(&a, &mut b, first, &[7; 100]), Err(Dropped::Spent));
    }
}

#[test]
fn what_was_forwarded_is_never_sent_processed_and_the_reverse() {
    let (mut a, mut b) = (side(1, GCM), side(2, GCM));
    let packet = Rtp::of(1, Lane::Audio, 5, 0);
    let wire = a.send.encrypt_rtp(&packet.bytes()).unwrap().to_vec();
    let mut buffer = wire.clone();
    let received = a.leg.receive(&mut buffer, at(0)).unwrap();
    let Received::Rtp(rtp) = received else { panic!("RTP") };
    let stamp = rtp.stamp(&buffer, at(0));
    let clear = [&buffer[..], &[0; SPARE]].concat();
    pass(&a.leg, &mut b.leg, received, &mut clear.clone(), at(0)).unwrap();
    assert_eq!(replaced(&a, &mut b, stamp, &[1; 10]), Err(Dropped::Spent));
    let (held, _) = hold(&mut a, &Rtp::of(1, Lane::Audio, 6, 960), at(0)).unwrap();
    replaced(&a, &mut b, held, &[1; 10]).unwrap();
    // A fault of ours: the shard would forward a held packet as well.
    let raw = RtpPacket { index: 6, ..rtp };
    let mut again = clear;
    assert_eq!(pass(&a.leg, &mut b.leg, Received::Rtp(raw), &mut again, at(0)), Err(Dropped::Spent));
}

#[test]
fn a_replacement_without_room_or_keys_uses_up_no_number() {
    let (mut a, mut b) = (side(1, GCM), side(2, GCM));
    let (stamp, _) = hold(&mut a, &Rtp::of(1, Lane::Audio, 5, 0), at(0)).unwrap();
    let before = b.leg.counters();
    assert_eq!(replace(&a.leg, &mut b.leg, stamp, &[0; 50], &mut [0; 12 + 50 + SPARE - 1]), Err(Dropped::NoRoom));
    let mut unkeyed = LegMedia::new(leg_id(4), streams(4));
    assert_eq!(replace(&a.leg, &mut unkeyed, stamp, &[0; 50], &mut [0; 200]), Err(Dropped::NotKeyed));
    assert_eq!(b.leg.counters(), before);
    assert_eq!(replaced(&a, &mut b, stamp, &[0; 50]).unwrap().sequence, 5);
}

#[test]
fn a_copy_is_without_padding_and_has_its_level() {
    let mut a = side(1, GCM);
    let mut take = |packet: &Rtp, padded: bool| {
        let mut bytes = packet.bytes();
        bytes[0] |= u8::from(padded) << 5;
        // Sealed by hand: `rtc-srtp` would refuse some of these.
        let (len, header_len) = (bytes.len(), bytes.len() - packet.payload.len());
        let mut buffer = [&bytes[..], &[0; 16]].concat();
        a.raw.seal_rtp(&mut buffer, header_len, len, packet.ssrc, u64::from(packet.sequence)).unwrap();
        let Received::Rtp(received) = a.leg.receive(&mut buffer, at(0)).unwrap() else { panic!("RTP") };
        let content = received.content(&buffer).map(<[u8]>::to_vec);
        (a.leg.is_agreed(&received, &buffer), a.leg.audio_level(&received, &buffer), content)
    };
    let packet = |sequence, extensions: &[u8], payload: &[u8]| {
        let (extensions, payload) = (extensions.to_vec(), payload.to_vec());
        Rtp { extensions, payload, ..Rtp::of(1, Lane::Audio, sequence, 0) }
    };
    assert_eq!(take(&packet(1, &[], &[1, 2, 3]), false), (true, None, Some(vec![1, 2, 3])));
    assert_eq!(take(&packet(2, &[0, 0x41, b'0', b'1', 0x10, 0x8A, 0, 0], &[1, 2, 9, 2]), true), (true, Some(0x8A), Some(vec![1, 2])));
    assert_eq!(take(&packet(3, &[], &[0, 0, 0, 4]), true), (true, None, None), "padding only");
    // More padding than packet, or none where some was promised.
    assert_eq!(take(&packet(4, &[], &[0, 0, 0, 5]), true), (true, None, None));
    assert_eq!(take(&packet(5, &[], &[1, 2, 3, 0]), true), (true, None, None));
    // An element that points outside, the end of the list, two-octet elements.
    assert_eq!(take(&packet(6, &[0x21, 0x10, 0x8A, 0x1F], &[1]), false).1, None);
    assert_eq!(take(&packet(7, &[0xF0, 0, 0x10, 0x8A], &[1]), false).1, None);
    assert!(!take(&Rtp { payload_type: 13, ..packet(8, &[], &[1]) }, false).0, "comfort noise is not what was agreed");
}

#[test]
fn announcements_have_a_row_of_numbers_of_their_own() {
    for profile in [GCM, CM] {
        let mut b = side(2, profile);
        let mut play = |follows, ms| {
            let out = announced(&mut b, &[3; 80], follows, at(ms)).unwrap();
            assert_eq!((out.ssrc, out.payload_type, out.payload), (0xA0A0_0002, 109, vec![3; 80]));
            (out.sequence, out.timestamp, out.marker)
        };
        assert_eq!([play(false, 0), play(true, 20), play(true, 45)], [(0, 0, true), (1, 960, false), (2, 1920, false)]);
        // After ten seconds, and at once after that: never the same time twice.
        assert_eq!([play(false, 10_045), play(false, 10_045)], [(3, 481_920, true), (4, 482_880, true)]);
        assert!(!b.leg.counters().eq(&Counters::default()));
    }
    // Who offered no place for them, or has no keys, is sent nothing.
    let mut deaf = streams(1);
    deaf.announcements = None;
    let mut leg = LegMedia::new(leg_id(1), deaf);
    leg.key(&Keying::from_exporter(GCM, &material(1, GCM), true).unwrap(), PROVIDER.crypto()).unwrap();
    assert_eq!(leg.announce(&[3; 80], false, at(0), &mut [0; 200]), Err(Dropped::NoMapping));
    let mut unkeyed = LegMedia::new(leg_id(1), streams(1));
    assert_eq!(unkeyed.announce(&[3; 80], false, at(0), &mut [0; 200]), Err(Dropped::NotKeyed));
    assert_eq!(side(1, GCM).leg.announce(&[3; 80], false, at(0), &mut [0; 80 + 12 + SPARE - 1]), Err(Dropped::NoRoom));
}

#[test]
fn announcements_of_a_restored_leg_skip_what_may_have_been_sent_and_wrap() {
    let mut b = side(2, GCM);
    let snapshot = b.leg.counters();
    let mut sequences = BTreeSet::new();
    for n in 0..100 {
        assert!(sequences.insert(announced(&mut b, &[3; 80], n > 0, at(20 * n)).unwrap().sequence));
    }
    // Restored twice before anything was played: the page could not follow two gaps.
    let again = LegMedia::resume(leg_id(2), streams(2), snapshot).counters();
    b.leg = LegMedia::resume(leg_id(2), streams(2), again);
    b.leg.key(&Keying::from_exporter(GCM, &material(2, GCM), true).unwrap(), PROVIDER.crypto()).unwrap();
    let next = announced(&mut b, &[3; 80], true, at(5000)).unwrap();
    assert_eq!((next.sequence, next.marker), (1 << 14, true), "a page that heard up to 99 follows");
    assert!(sequences.insert(next.sequence));
    // Round and round: the page counts the roll-overs itself.
    for _ in 0..0x2_0000 {
        announced(&mut b, &[3; 8], true, at(5000)).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Switches to and fro in a stream that wraps, with loss and disorder; what is held comes back late, twice or never; the speaker is
    /// reloaded. Every index is heard once at most, under the number the packet would have had without any of this.
    #[test]
    fn switches_never_use_an_index_twice(seed in any::<u64>(), gcm in any::<bool>(), start in 0xFE00u64..0xFFFF, reload in 300u64..900) {
        let profiles = if gcm { (GCM, CM) } else { (CM, GCM) };
        let (mut a, mut b) = (side(1, profiles.0), side(2, profiles.1));
        let mut random = seed | 1;
        let mut roll = |sides: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % sides
        };
        let (mut speaker, mut processed) = (1, false);
        let mut waiting: Vec<(u64, Stamp)> = Vec::new();
        let mut late: Vec<(u64, Vec<u8>)> = Vec::new();
        // What each sequence number out was for, and by which constants the source's numbers and times were moved.
        let mut heard: BTreeMap<u16, (u8, u64)> = BTreeMap::new();
        let mut shift = BTreeMap::new();
        let mut indexes: Vec<u64> = (start..start + 1200).collect();
        indexes.reverse();
        while let Some(index) = indexes.pop() {
            if index == start + reload {
                // Those of the leg before are gone with it.
                (a, speaker) = (side(3, profiles.0), 3);
                waiting.clear();
                late.clear();
            }
            if roll(60) == 0 {
                processed = !processed;
            }
            let packet = Rtp { payload: index.to_be_bytes().to_vec(), ..Rtp::of(speaker, Lane::Audio, index as u16, index as u32) };
            let wire = a.send.encrypt_rtp(&packet.bytes()).unwrap().to_vec();
            match roll(20) {
                0 => continue,
                1..=3 => late.push((index, wire)),
                _ => late.insert(0, (index, wire)),
            }
            let mut arrived = vec![late.remove(0)];
            if late.len() > 3 {
                arrived.push(late.remove(0));
            }
            for (index, wire) in arrived {
                let mut buffer = wire;
                let Ok(received) = a.leg.receive(&mut buffer, at(0)) else { continue };
                let Received::Rtp(rtp) = received else { panic!("RTP") };
                let outcome = if processed {
                    waiting.push((index, rtp.stamp(&buffer, at(0))));
                    continue;
                } else {
                    buffer.resize(buffer.len() + SPARE, 0);
                    pass(&a.leg, &mut b.leg, received, &mut buffer, at(0)).map(|len| buffer[..len].to_vec())
                };
                let Ok(out) = outcome else { continue };
                let clear = Rtp::parse(&b.receive.decrypt_rtp(&out).expect("the page opens it"));
                prop_assert_eq!(heard.insert(clear.sequence, (speaker, index)), None);
                let moved = (clear.sequence.wrapping_sub(index as u16), clear.timestamp.wrapping_sub(index as u32));
                prop_assert_eq!(*shift.entry(speaker).or_insert(moved), moved);
            }
            while !waiting.is_empty() && roll(3) != 0 {
                let place = roll(waiting.len() as u64) as usize;
                let (index, stamp) = if roll(4) == 0 { waiting[place] } else { waiting.swap_remove(place) };
                match replaced(&a, &mut b, stamp, &index.to_be_bytes()) {
                    Ok(clear) => {
                        prop_assert_eq!(heard.insert(clear.sequence, (speaker, index)), None);
                        let moved = (clear.sequence.wrapping_sub(index as u16), clear.timestamp.wrapping_sub(index as u32));
                        prop_assert_eq!(*shift.entry(speaker).or_insert(moved), moved);
                    }
                    Err(cause) => prop_assert!(matches!(cause, Dropped::Spent | Dropped::BeforeStart), "{}", cause),
                }
            }
        }
        prop_assert!(heard.len() > 600, "{}", heard.len());
    }
}
