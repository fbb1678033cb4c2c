//! Fuzz targets of the bot: its picture file, and what it hears.

use super::ear::Ear;
use super::picture;
use crate::fuzzing::{Input, piece};
use bytes::Bytes;

crate::fuzzing::targets! {
    ivf: 5_000, files, [];
    ear: 20, talks, [];
}

/// Frames lie in the file one behind the other, none is empty, the first is a key frame.
fn ivf(data: &[u8]) {
    let Ok((frames, step)) = picture::read(Bytes::copy_from_slice(data)) else { return };
    assert!((750..=90_000).contains(&step));
    assert!(frames.iter().map(|frame| frame.len() + 12).sum::<usize>() <= data.len() - 32);
    assert!(frames.iter().all(|frame| !frame.is_empty()) && frames[0][0] & 1 == 0);
}

/// Any packets in any order: what is kept of them is bounded, and what is said back is sound.
fn ear(data: &[u8]) {
    let Ok(mut ear) = Ear::new() else { return };
    let mut input = Input::new(data);
    let mut index = 0_u64;
    for _ in 0..32 {
        if input.is_empty() {
            break;
        }
        let op = input.u8();
        if op & 1 == 0 {
            index = index.wrapping_add_signed(i64::from(op.cast_signed() >> 3));
            ear.hear(index, input.piece());
        } else {
            for _ in 0..op {
                if let Some(sound) = ear.tick() {
                    assert!(sound.iter().all(|sample| sample.is_finite()));
                }
            }
        }
        assert!(ear.kept_frames() <= 2 * 300, "{} frames", ear.kept_frames());
    }
}

fn files() -> Vec<Vec<u8>> {
    let mut file = b"DKIF\0\0\x20\0VP80\x40\x01\xF0\0".to_vec();
    for word in [15_u32, 1, 2, 0] {
        file.extend(word.to_le_bytes());
    }
    for frame in [&[0x10, 1, 2][..], &[0x11, 3]] {
        file.extend((frame.len() as u32).to_le_bytes());
        file.extend([0; 8]);
        file.extend(frame);
    }
    vec![file[..32].to_vec(), file]
}

fn talks() -> Vec<Vec<u8>> {
    // Table-of-contents octets of SILK, hybrid and CELT, of one, two and many frames (RFC 6716 section 3.1).
    let packet = |toc: u8| [&[8][..], &piece(&[&[toc, 0x42][..], &[0xA5; 20]].concat())].concat();
    let all: Vec<u8> = [0x08, 0x4B, 0x78, 0x7B, 0xF8, 0xFB, 0xFF].into_iter().flat_map(packet).collect();
    vec![[&all[..], &[0x81, 0x40], &all].concat(), vec![0xFF, 8, 0, 0xFF]]
}
