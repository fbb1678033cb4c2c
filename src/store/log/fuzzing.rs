//! Fuzz target of the write-ahead log: logs as SQLite writes them, of which something is damaged.

use super::{FRAME_HEAD, HEAD, MAGIC, checksum, scan};
use crate::fuzzing::{Input, piece};

crate::fuzzing::targets! {
    write_ahead_log: 3_000, logs, [];
}

/// The smallest page there is.
const PAGE: usize = 512;
const FRAME: usize = FRAME_HEAD + PAGE;
/// Where a frame has its checksum.
const SUM: std::ops::Range<usize> = 16..24;

/// A whole log has lost nothing; behind damage commits are lost that continue another, or one that may have been under way.
fn write_ahead_log(data: &[u8]) {
    let mut input = Input::new(data);
    let op = input.u8();
    let big = op & 1 == 1;
    let mut head = [0; HEAD];
    head[..4].copy_from_slice(&(MAGIC | u32::from(big)).to_be_bytes());
    head[8..12].copy_from_slice(&(PAGE as u32).to_be_bytes());
    head[16..24].copy_from_slice(&[input.u32().to_be_bytes(), input.u32().to_be_bytes()].concat());
    let mut sum = checksum((0, 0), &head[..24], big);
    head[24..].copy_from_slice(&octets(sum));
    let mut frames = Vec::new();
    let mut commits = Vec::new();
    for _ in 0..u16::from(op >> 3) {
        let about = input.u8();
        let begins = frames.len();
        frames.extend(u32::from(about).to_be_bytes());
        frames.extend(u32::from(about & 1).to_be_bytes());
        frames.extend_from_slice(&head[16..24]);
        frames.resize(begins + FRAME_HEAD, 0);
        if about & 2 != 0 {
            frames.extend(input.piece().iter().take(PAGE));
        }
        frames.resize(begins + FRAME, about);
        sum = checksum(checksum(sum, &frames[begins..begins + 8], big), &frames[begins + FRAME_HEAD..], big);
        frames[begins + SUM.start..begins + SUM.end].copy_from_slice(&octets(sum));
        commits.push(about & 1 == 1);
    }
    assert_eq!(lost(&head, &frames), 0);
    match op & 6 {
        // Cut off anywhere.
        0 => {
            frames.truncate(usize::from(input.u16()));
            assert_eq!(lost(&head, &frames), 0);
        }
        // The head: which frames there are is then guessed, but none is made up.
        2 => {
            let at = usize::from(input.u8() & 31);
            for (old, new) in head[at..].iter_mut().zip(input.piece()) {
                *old = *new;
            }
            assert!(lost(&head, &frames) <= (frames.len() / FRAME) as u64);
        }
        // Some octets of some frames.
        _ => {
            let whole = frames.clone();
            for _ in 0..=u8::from(op & 2 == 0) * 3 {
                let at = usize::from(input.u16());
                if let Some(octet) = frames.get_mut(at) {
                    *octet ^= input.u8();
                }
            }
            assert_eq!(lost(&head, &frames), behind_damage(&whole, &frames, &commits));
        }
    }
}

/// Commits that are lost, from what is different: a damaged checksum is missed by its own frame and by the next.
fn behind_damage(whole: &[u8], damaged: &[u8], commits: &[bool]) -> u64 {
    let frames: Vec<_> = whole.chunks(FRAME).zip(damaged.chunks(FRAME)).collect();
    let is_broken =
        |frame: usize| frames[frame].0 != frames[frame].1 || (frame > 0 && frames[frame - 1].0[SUM] != frames[frame - 1].1[SUM]);
    let first = (0..frames.len()).find(|frame| is_broken(*frame)).unwrap_or(frames.len());
    let behind: Vec<usize> = (first..frames.len()).collect();
    let runs = behind.split(|frame| is_broken(*frame)).map(|run| run.iter().filter(|frame| commits[**frame]).count() as u64);
    let runs: Vec<u64> = runs.collect();
    if runs.iter().any(|run| *run > 1) { runs.iter().sum() } else { runs.iter().copied().max().unwrap_or(0) }
}

fn lost(head: &[u8; HEAD], frames: &[u8]) -> u64 {
    scan(head, frames).expect("memory can be read")
}

fn octets((one, two): (u32, u32)) -> [u8; 8] {
    (u64::from(one) << 32 | u64::from(two)).to_be_bytes()
}

fn logs() -> Vec<Vec<u8>> {
    let salts = [1, 2, 3, 4, 5, 6, 7, 8];
    let log = |op: u8, frames: &[u8], rest: &[u8]| [&[op | (frames.len() as u8) << 3][..], &salts, frames, rest].concat();
    let at = |frame: usize, place: usize| ((frame * FRAME + place) as u16).to_be_bytes();
    vec![
        log(0, &[], &[]),
        log(1, &[4, 5, 4, 4, 9], &at(3, 100)),
        log(6, &[4, 5, 4, 5, 1, 1], &[&at(1, 30)[..], &[1]].concat()),
        log(7, &[4, 5, 4, 5, 1, 1], &[&at(0, 17)[..], &[1]].concat()),
        log(6, &[1, 1, 1, 1], &[&at(0, 8)[..], &[0x80]].concat()),
        // Each by itself, behind damage of its own.
        log(4, &[1, 0, 1, 0, 1, 0, 1], &[&at(1, 30)[..], &[1], &at(3, 4), &[1], &at(5, 500), &[1]].concat()),
        log(4, &[1, 1, 1, 0, 1, 1], &[&at(0, 30)[..], &[1], &at(3, 20), &[1]].concat()),
        log(2, &[1, 1, 1, 1, 1], &[&[8][..], &piece(&[0, 0, 4, 0])].concat()),
        log(2, &[1, 1, 1, 1, 1], &[&[0][..], &piece(&[0, 0, 4, 0])].concat()),
    ]
}
