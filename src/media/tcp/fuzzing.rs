//! Fuzz targets of datagrams in a stream.

use super::frame::{Frames, HEAD, TooLong, head};
use super::outgoing::Outgoing;
use crate::fuzzing::Input;
use crate::media::socket::SLOT;
use std::time::{Duration, Instant};

crate::fuzzing::targets! {
    tcp_frames: 3_000, streams, [];
    tcp_outgoing: 1_000, sayings, [];
}

/// All datagrams of a stream that comes in pieces of these lengths, in turn.
fn read(stream: &[u8], pieces: &[usize]) -> (Vec<Vec<u8>>, Result<(), TooLong>) {
    let (mut frames, mut slot, mut found) = (Frames::default(), [0; SLOT], Vec::new());
    let (mut rest, mut lengths) = (stream, pieces.iter().cycle());
    while !rest.is_empty() {
        let (mut piece, after) = rest.split_at(lengths.next().map_or(rest.len(), |length| (*length).clamp(1, rest.len())));
        rest = after;
        loop {
            match frames.next(&mut piece, &mut slot) {
                Ok(Some(length)) => found.push(slot[..length].to_vec()),
                Ok(None) => break,
                Err(error) => return (found, Err(error)),
            }
        }
        assert!(piece.is_empty(), "a piece is used up");
    }
    (found, Ok(()))
}

/// Where a stream is cut does not matter, and what came out frames to what came in.
fn tcp_frames(data: &[u8]) {
    let mut input = Input::new(data);
    let pieces: Vec<usize> = (0..input.u8() % 8).map(|_| usize::from(input.u8())).collect();
    let stream = input.take(data.len());
    let (whole, end) = read(stream, &[]);
    assert_eq!(read(stream, &pieces), (whole.clone(), end));
    assert!(whole.iter().all(|datagram| (1..=SLOT).contains(&datagram.len())));
    let again: Vec<u8> = whole.iter().flat_map(|datagram| [&head(datagram).expect("it had one")[..], datagram].concat()).collect();
    assert_eq!(read(&again, &pieces), (whole, Ok(())));
}

/// However little a reader takes and however long it waits, what it gets is whole datagrams in the order they were said, and what
/// is kept for it is bounded.
fn tcp_outgoing(data: &[u8]) {
    #[expect(clippy::disallowed_methods, reason = "an instant to start from; it is moved by hand afterwards")]
    let mut now = Instant::now();
    let mut input = Input::new(data);
    let mut outgoing = Outgoing::default();
    let (mut said, mut left_out, mut wire) = (0_u64, 0, Vec::new());
    for _ in 0..256 {
        if input.is_empty() {
            break;
        }
        match input.u8() {
            op @ 0..=0x7F => {
                // Each datagram begins with its number.
                let mut datagram = said.to_be_bytes().to_vec();
                datagram.resize(8 + usize::from(op) * 16, op);
                said += 1;
                left_out += outgoing.push(&datagram, now);
            }
            op @ 0x80..=0xBF => {
                let taken = (usize::from(op & 0x3F) << 5).min(outgoing.waiting().len());
                wire.extend_from_slice(&outgoing.waiting()[..taken]);
                outgoing.sent(taken);
            }
            op => {
                now += Duration::from_millis(u64::from(op & 0x3F));
                left_out += outgoing.expire(now);
            }
        }
        assert!(outgoing.waiting().len() <= 64 * 1024);
    }
    wire.extend_from_slice(outgoing.waiting());
    let (got, end) = read(&wire, &[]);
    assert_eq!(end, Ok(()));
    assert_eq!(got.iter().map(|datagram| HEAD + datagram.len()).sum::<usize>(), wire.len(), "nothing is cut off");
    assert_eq!(got.len() as u64 + left_out, said, "each is got or counted");
    let numbers: Vec<[u8; 8]> = got.iter().filter_map(|datagram| datagram.first_chunk().copied()).collect();
    assert!(numbers.len() == got.len() && numbers.is_sorted_by(|one, next| one < next));
}

fn streams() -> Vec<Vec<u8>> {
    let frames = [&[0, 3, 1, 2, 3, 0, 0, 0, 1, 9][..], &[0, 20], &[7; 20]].concat();
    vec![
        [&[0][..], &frames].concat(),
        [&[3, 1, 2, 4][..], &frames].concat(),
        [&[1, 3][..], &frames, &[0xFF, 0xFF, 1]].concat(),
        [&[0][..], &frames, &[8, 1], &[5; 2049]].concat(),
    ]
}

fn sayings() -> Vec<Vec<u8>> {
    vec![[3, 0x90, 5, 7, 0x81, 0xE0, 0xFF, 9, 0xBF].to_vec(), [&[0x7F; 60][..], &[0x81, 0xFF, 0xFF, 1, 2, 0xBF]].concat()]
}
