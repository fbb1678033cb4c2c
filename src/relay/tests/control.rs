//! RTCP from page to page: for each kind of packet what goes in and what must come out.

use super::*;

/// Octets from hex digits; `aN`, `vN`, `rN` stand for the page's own SSRC of voice, camera, retransmissions on leg N, and `AN`,
/// `VN`, `RN` for the announced ones. Everything after `//` is a comment.
fn bytes(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for line in text.lines() {
        for word in line.split("//").next().unwrap().split_whitespace() {
            let (head, tail) = word.split_at(1);
            let lane = match head.to_ascii_lowercase().as_str() {
                "a" => Lane::Audio,
                "v" => Lane::Video,
                _ => Lane::VideoRtx,
            };
            match (head, tail.parse::<u8>()) {
                ("a" | "v" | "r", Ok(number)) if word.len() == 2 && number < 9 => out.extend(peer(number, lane).to_be_bytes()),
                ("A" | "V" | "R", Ok(number)) if word.len() == 2 && number < 9 => out.extend(ours(number, lane).to_be_bytes()),
                _ => {
                    assert!(word.len() % 2 == 0, "{word}");
                    out.extend((0..word.len()).step_by(2).map(|at| u8::from_str_radix(&word[at..at + 2], 16).unwrap()));
                }
            }
        }
    }
    out
}

/// Legs 1 and 2, where each page has sent voice, camera and a retransmission: numbers from 0x9000 (leg 1) go out from
/// 0x1000, those of leg 2 unchanged from 0x0100; transport-wide numbers from 0x0010.
fn talking() -> (Side, Side) {
    let (mut a, mut b) = (side(1, GCM), side(2, CM));
    begin(&mut a, 1, 0x9000, &mut b);
    begin(&mut b, 2, 0x0100, &mut a);
    (a, b)
}

fn begin(from: &mut Side, number: u8, sequence: u16, to: &mut Side) {
    for lane in Lane::ALL {
        let mut packet = Rtp::of(number, lane, sequence, 0x1000);
        packet.payload[..2].copy_from_slice(&sequence.to_be_bytes());
        if lane == Lane::Video {
            packet.extensions = vec![if number % 2 == 1 { 0x31 } else { 0x71 }, 0, 0x10, 0];
        }
        media(from, to, &packet, at(0)).unwrap();
    }
}

/// What page 2 says must come to page 1 like this; an empty `expected` is nothing at all.
#[track_caller]
fn check(said: &str, expected: &str) {
    let (mut a, mut b) = talking();
    check_between(&mut b, &mut a, said, expected);
}

#[track_caller]
fn check_between(from: &mut Side, to: &mut Side, said: &str, expected: &str) {
    let heard = control(from, to, &bytes(said), at(100));
    match expected {
        "" => assert_eq!(heard, Err(Dropped::NothingLeft)),
        _ => assert_eq!(heard.map(|b| format!("{b:02x?}")), Ok(format!("{:02x?}", bytes(expected)))),
    }
}

#[test]
fn reports_speak_of_the_senders_own_numbers() {
    check(
        "82c90013 a2
         A2 00000001 00001005 00000010 11112222 00000100
         V2 00000002 00021006 00000011 33334444 00000200
         00000000 00000000 00000000 00000000 00000000 00000000",
        "82c9000d A1
         a1 00000001 00009005 00000010 11112222 00000100
         v1 00000002 00029006 00000011 33334444 00000200",
    );
    // A block about what nobody here sends goes, the rest stays.
    check(
        "82c9000d a2
         A0A00002 00000001 00000005 00000010 00000000 00000000
         R2 00000001 00001007 00000010 00000000 00000000",
        "81c90007 A1
         r1 00000001 00009007 00000010 00000000 00000000",
    );
    // The padding goes with what stood before it.
    check("a1c90008 a2 deadbeef 00000001 00000005 00000010 00000000 00000000 00000004", "80c90001 A1");
    // A page that only receives reports under a number it did not declare.
    check("80c90001 fa17fa17", "80c90001 fa17fa17");
}

#[test]
fn a_sender_report_follows_its_streams_timestamps() {
    check(
        "81c8000c a2 e0000001 20000000 00001010 00000005 00000500
         A2 00000001 00001005 00000010 00000000 00000000",
        "81c8000c A1 e0000001 20000000 00001010 00000005 00000500
         a1 00000001 00009005 00000010 00000000 00000000",
    );
    // From a stream nobody declared.
    check("80c80006 00000001 e0000001 20000000 00001010 00000005 00000500", "");
    // Before its first packet there is nothing to synchronise.
    let (mut a, mut b) = (side(1, GCM), side(2, CM));
    check_between(&mut b, &mut a, "80c80006 a2 e0000001 20000000 00001010 00000005 00000500", "");
}

#[test]
fn descriptions_keep_their_text() {
    check("81ca0004 a2 0105 68656c6c6f 0000 000000", "81ca0004 A1 0105 68656c6c6f 0000 000000");
    check("82ca0006 a2 0102 6161 00000000 v2 0102 6262 00000000", "82ca0006 A1 0102 6161 00000000 V1 0102 6262 00000000");
    // Text beyond the end.
    check("81ca0002 a2 01ff6161", "");
    check("80ca0000 80c90001 a2", "80c90001 A1");
}

#[test]
fn feedback_reaches_the_stream_it_is_about() {
    // NACK: two entries.
    check("81cd0004 v2 V2 1001 0003 1fff 0000", "81cd0004 V1 v1 9001 0003 9fff 0000");
    check("81cd0003 v2 deadbeef 1001 0003", "");
    // Transport-wide feedback, with padding as Chromium writes it.
    check("afcd0006 v2 V2 0012 0003 000001 07 2003 04 04 0402 01 02", "afcd0006 V1 v1 0012 0003 000001 07 2003 04 04 0402 01 02");
    // Bit rates: TMMBR, REMB.
    check("83cd0004 v2 00000000 V2 12345678", "83cd0004 V1 00000000 v1 12345678");
    check("8fce0006 v2 00000000 52454d42 02123456 V2 R2", "8fce0006 V1 00000000 52454d42 02123456 v1 r1");
    // More SSRCs promised than there are.
    check("8fce0005 v2 00000000 52454d42 ff123456 V2", "");
    // Key frames: PLI, FIR.
    check("81ce0002 v2 V2", "81ce0002 V1 v1");
    check("81ce0002 v2 deadbeef", "");
    check("84ce0004 v2 00000000 V2 07000000", "84ce0004 V1 00000000 v1 07000000");
    // Feedback we do not understand may hold numbers we would not map.
    check("8bcd0002 v2 V2", "");
    check("8fce0004 v2 V2 4c4e5446 00000000", "");
}

#[test]
fn extended_reports_are_mapped_block_by_block() {
    check(
        "80cf000d a2
         04000002 e0000001 20000000           // reference time
         05000003 A2 11112222 00000100        // and the answer to one
         2a000001 00000000                    // no block we know
         01000002 V2 1001 1005",
        "80cf000b A1
         04000002 e0000001 20000000
         05000003 a1 11112222 00000100
         01000002 v1 9001 9005",
    );
    check("80cf0003 a2 07000001 deadbeef", "80cf0001 A1");
    // A block longer than the packet.
    check("80cf0002 a2 040000ff", "80cf0001 A1");
}

#[test]
fn goodbye_and_private_packets_stay_here() {
    check("81cb0001 a2", "");
    check("80cc0002 a2 41424344", "");
    check("80c90001 a2 81cb0001 a2 81ce0002 v2 V2", "80c90001 A1 81ce0002 V1 v1");
}

#[test]
fn a_malformed_compound_goes_nowhere_and_changes_nothing() {
    let report_and_more = "80c80006 a2 e0000001 20000000 00001010 00000005 00000500 80c900ff";
    for said in
        ["80c90001 a2 80c900ff", "80c90001 a2 40c90000", "80c90001 a2 80", "a0c90001 50000000", "a0c90002 a2 000000ff", report_and_more]
    {
        let (mut a, mut b) = talking();
        let wire = {
            let clear = bytes(said);
            let mut wire = [&clear[..], &[0; 20]].concat();
            let len = b.raw.seal_rtcp(&mut wire, clear.len(), 7).unwrap();
            wire[..len].to_vec()
        };
        let before = a.leg.counters();
        assert_eq!(carry(&mut b.leg, &mut a.leg, &wire, at(0)), Err(Dropped::Malformed), "{said}");
        assert_eq!(a.leg.counters(), before, "{said}");
    }
}

#[test]
fn feedback_on_an_earlier_source_is_not_the_new_ones() {
    let (_, mut b) = talking();
    // Leg 1's page comes back as leg 3 and has sent nothing yet.
    let mut new = side(3, GCM);
    begin(&mut b, 2, 0x0200, &mut new);
    check_between(&mut b, &mut new, "81cd0003 v2 V2 1001 0003", "");
    check_between(&mut b, &mut new, "8fcd0004 v2 V2 0012 0001 00000107", "");
    check_between(&mut b, &mut new, "81ce0002 v2 V2", "81ce0002 V3 v3");
    // Then it sends, from 0x0400 on, which goes out as 0x1001.
    begin(&mut new, 3, 0x0400, &mut b);
    check_between(&mut b, &mut new, "81cd0003 v2 V2 1003 0000", "81cd0003 V3 v3 0402 0000");
    check_between(&mut b, &mut new, "8fcd0004 v2 V2 0011 0001 00000107", "8fcd0004 V3 v3 0010 0001 00000107");
    check_between(
        &mut b,
        &mut new,
        "82c9000d a2
         A2 00000001 00001000 00000010 00000000 00000000
         V2 00000001 00001002 00000010 00000000 00000000",
        "81c90007 A3
         v3 00000001 00000401 00000010 00000000 00000000",
    );
    // Its sender report tells the shifted timestamp: 100 ms after the earlier one's last packet it would be 0x1000 + 9000.
    let out = control(&mut new, &mut b, &bytes("80c80006 v3 e0000001 20000000 00001000 00000005 00000500"), at(100)).unwrap();
    let shifted = 0x1000u32 + 3000;
    assert_eq!(out[16..20], shifted.to_be_bytes());
}

#[test]
fn the_round_trip_is_measured_between_server_and_page() {
    let (mut a, mut b) = talking();
    control(&mut a, &mut b, &bytes("80c80006 a1 e0001111 22220000 00001010 00000005 00000500"), at(1000)).unwrap();
    assert_eq!(b.leg.quality().rtt_ms, None);
    // Page 2 held it for half a second and answers 530 ms after it was passed on.
    let answer = "81c90007 a2 A2 00000000 00001005 00000000 11112222 00008000";
    control(&mut b, &mut a, &bytes(answer), at(1530)).unwrap();
    assert_eq!((a.leg.quality().rtt_ms, b.leg.quality().rtt_ms), (None, Some(30)));
    // A sender without a clock writes 0, which in an answer means that no report was seen.
    control(&mut a, &mut b, &bytes("80c80006 a1 00000000 00000000 00001010 00000005 00000500"), at(2000)).unwrap();
    control(&mut b, &mut a, &bytes("81c90007 a2 A2 00000000 00001005 00000000 00000000 00000000"), at(9000)).unwrap();
    assert_eq!(b.leg.quality().rtt_ms, Some(30));
    // An answer to a report we never passed says nothing.
    control(&mut b, &mut a, &bytes("81c90007 a2 A2 00000000 00001005 00000000 99992222 00000000"), at(9000)).unwrap();
    assert_eq!(b.leg.quality().rtt_ms, Some(30));
}

#[test]
fn the_server_asks_a_page_for_a_key_frame() {
    for profile in [GCM, CM] {
        let mut a = side(1, profile);
        let mut buffer = [0; 12 + SPARE];
        for _ in 0..3 {
            let len = a.leg.request_key_frame(&mut buffer).unwrap();
            let clear = a.receive.decrypt_rtcp(&buffer[..len]).unwrap();
            assert_eq!(clear[..], bytes("81ce0002 V1 v1"));
        }
        assert_eq!(a.leg.request_key_frame(&mut [0; 11 + SPARE]), Err(Dropped::NoRoom));
    }
    assert_eq!(LegMedia::new(leg_id(1), streams(1)).request_key_frame(&mut [0; 40]), Err(Dropped::NotKeyed));
    let audio_only = Streams { video: None, video_rtx: None, ..streams(1) };
    assert_eq!(LegMedia::new(leg_id(1), audio_only).request_key_frame(&mut [0; 40]), Err(Dropped::NoMapping));
}
