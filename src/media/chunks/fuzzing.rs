//! The fuzz target of what is checked before the SCTP library reads a packet: the check by itself, since with the library behind it
//! (`sctp_server`, `sctp_client`) a thousand times fewer packets can be tried.

use super::{
    ABORT, COMMON_HEADER, COOKIE_ACK, DATA, ERROR, FORWARD_TSN, Guard, HEADER, KNOWN, MOST_CHUNKS, MOST_HELD, MOST_HELD_AT_ALL,
    MOST_HELD_OCTETS, MOST_RESETS, MOST_STREAMS, RE_CONFIG, SACK, SHUTDOWN, SHUTDOWN_ACK, SHUTDOWN_COMPLETE, Verdict,
};
use crate::fuzzing::{Input, piece};

crate::fuzzing::targets! {
    sctp_chunks: 20_000, packets, [];
}

/// Kind and body of each chunk of a packet that is sound from end to end, by RFC 9260 section 3.2 alone.
fn sound(packet: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let (mut at, mut chunks) = (COMMON_HEADER, Vec::new());
    while at < packet.len() {
        let length = usize::from(u16::from_be_bytes([*packet.get(at + 2)?, *packet.get(at + 3)?]));
        chunks.push((packet[at], packet.get(at + HEADER..at + length)?));
        at += length.div_ceil(4) * 4;
    }
    (packet.len() >= COMMON_HEADER).then_some(chunks)
}

/// Whatever comes and goes, in any order: what the library is shown is sound, says little, and what it may hold stays bounded.
fn sctp_chunks(data: &[u8]) {
    let mut input = Input::new(data);
    let mut guard = Guard::default();
    // What the library may hold at the most, if it were never to hand anything on.
    let (mut chunks, mut octets) = (0_usize, 0_usize);
    for _ in 0..64 {
        if input.is_empty() {
            break;
        }
        match input.u8() {
            0..=0x3F => {
                let (read, length) = (usize::from(input.u8()), usize::from(input.u16()));
                guard.note_read(read, length);
                (chunks, octets) = (chunks.saturating_sub(read), octets.saturating_sub(length));
            }
            0x40..=0x7F => {
                let before = (guard.held, guard.held_octets);
                guard.note_sent(input.piece());
                assert!(guard.held <= before.0 && guard.held_octets <= before.1, "what we say lets nothing in");
                (chunks, octets) = (guard.held, guard.held_octets);
            }
            _ => {
                let packet = input.piece();
                let before = (guard.held, guard.held_octets);
                match guard.judge(packet) {
                    Verdict::Read => {
                        let shown = sound(packet).expect("only a sound packet is read");
                        check(&shown);
                        let asks = |(kind, body): &(u8, &[u8])| *kind == RE_CONFIG && (body[1] == 13 || body.get(13) == Some(&13));
                        assert!(guard.resets < MOST_RESETS || !shown.iter().any(asks), "one reset too many");
                        let new = shown.iter().filter(|(kind, _)| *kind == DATA);
                        if let Some((_, first)) = new.clone().next().filter(|_| guard.held > MOST_HELD) {
                            assert!(guard.ahead(first).is_none_or(|ahead| ahead <= 1), "more behind what is missing");
                        }
                        chunks += new.clone().count();
                        octets += new.map(|(_, body)| body.len() - 12).sum::<usize>();
                        assert_eq!((guard.held, guard.held_octets), (chunks, octets));
                    }
                    Verdict::Drop => assert_eq!((guard.held, guard.held_octets), before, "what is not read is not held"),
                    Verdict::Break => {
                        let all = sound(packet).expect("a packet that is not sound gives nothing up");
                        let new = all.iter().filter(|(kind, _)| *kind == DATA);
                        let more: usize = new.clone().map(|(_, body)| body.len() - 12).sum();
                        assert!(chunks + new.count() > MOST_HELD_AT_ALL || octets + more > MOST_HELD_OCTETS);
                        return;
                    }
                }
                assert!(guard.held <= MOST_HELD_AT_ALL && guard.held_octets <= MOST_HELD_OCTETS);
            }
        }
    }
}

/// What the library is shown of a packet.
fn check(shown: &[(u8, &[u8])]) {
    assert!(shown.len() <= MOST_CHUNKS);
    for (at, (kind, body)) in shown.iter().enumerate() {
        assert!(KNOWN.contains(kind));
        assert!(*kind == DATA || shown[..at].iter().all(|(earlier, _)| earlier != kind), "{kind} is said twice");
        match *kind {
            DATA => assert!(body.len() > 12 && u16::from_be_bytes([body[4], body[5]]) < MOST_STREAMS),
            ABORT | ERROR => {
                let mut at = 0;
                while body.len() - at >= HEADER {
                    at += usize::from(u16::from_be_bytes([body[at + 2], body[at + 3]]));
                    assert!(at <= body.len(), "a cause ends outside of its chunk");
                }
            }
            FORWARD_TSN => assert!(body.len() <= 260),
            // A reset of 16 streams and a response.
            RE_CONFIG => assert!((12..=60).contains(&body.len()) && body[0] == 0 && (body[1] == 13 || body[1] == 16)),
            SHUTDOWN => assert_eq!(body.len(), 4, "something hides in it"),
            SHUTDOWN_ACK | COOKIE_ACK | SHUTDOWN_COMPLETE => assert!(body.is_empty(), "something hides in it"),
            SACK => {
                let doubles = body.get(10..12).map_or(0, |count| u16::from_be_bytes([count[0], count[1]]));
                let gaps = body.get(8..10).map_or(0, |count| u16::from_be_bytes([count[0], count[1]]));
                assert_eq!(body.len().div_ceil(4), 3 + usize::from(gaps) + usize::from(doubles), "something hides in it");
                let edges = body.get(12..).unwrap_or_default().chunks_exact(4).take(usize::from(gaps));
                let looked_up: u32 = edges
                    .map(|edge| {
                        let (from, to) = (u16::from_be_bytes([edge[0], edge[1]]), u16::from_be_bytes([edge[2], edge[3]]));
                        (from..=to).map(|_| 1).sum::<u32>().max(1)
                    })
                    .sum();
                assert!(looked_up <= 4_096, "{looked_up} numbers");
            }
            _ => {}
        }
    }
}

fn packets() -> Vec<Vec<u8>> {
    let packet = |chunks: &[&[u8]]| [&[0; COMMON_HEADER], chunks.concat().as_slice()].concat();
    let data = [&[0, 3, 0, 17][..], &5_u32.to_be_bytes(), &[0; 8], &[7, 0, 0, 0]].concat();
    let sack = [&[3, 0, 0, 20][..], &4_u32.to_be_bytes(), &65_536_u32.to_be_bytes(), &[0, 1, 0, 0, 0, 2, 0, 9]].concat();
    let forward = [&[192, 0, 0, 12][..], &9_u32.to_be_bytes(), &[0, 1, 0, 1]].concat();
    let reset = [&[130, 0, 0, 22, 0, 13, 0, 18][..], &[0; 8], &4_u32.to_be_bytes(), &[0, 1, 0, 0]].concat();
    let error: &[u8] = &[9, 0, 0, 12, 0, 1, 0, 8, 1, 2, 3, 4];
    let judge = |packet: &[u8]| [&[0x80][..], &piece(packet)].concat();
    let say = |packet: &[u8]| [&[0x40][..], &piece(packet)].concat();
    vec![
        judge(&packet(&[&data, &sack])),
        [say(&packet(&[&sack])), judge(&packet(&[&forward])), judge(&packet(&[&data.repeat(64)])), vec![0, 3, 0, 30]].concat(),
        judge(&packet(&[error, &[10, 0, 0, 4], &[4, 0, 0, 9, 0, 1, 0, 5, 7, 0, 0, 0]])),
        judge(&packet(&[&data.repeat(64)])).repeat(9),
        [say(&packet(&[&sack])), judge(&packet(&[&reset]))].concat(),
    ]
}
