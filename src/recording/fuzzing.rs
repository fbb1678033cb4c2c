//! Fuzz targets of what lies on a disk: a sealed file, and the text of a key.

use super::file::{CHUNK, Opener, Sealer, length_of};
use super::key::DataKey;
use super::{ReadError, parse_key};
use crate::fuzzing::{Input, piece};
use crate::ids::RecordingId;
use std::io::Cursor;

crate::fuzzing::targets! {
    sealed_file: 1_000, damages, [];
    recording_key: 5_000, keys, [];
}

/// Samples of the last chunk of the file that is damaged here.
const REST: usize = 100;
/// Whole chunks in front of it.
const WHOLE: u64 = 3;

thread_local! {
    static FILE: (DataKey, Vec<u8>) = whole();
}

fn id() -> RecordingId {
    "rec_0190a1b2c3d47e8f9a0b1c2d3e4f5a6b".parse().expect("an id")
}

fn whole() -> (DataKey, Vec<u8>) {
    let key = DataKey::fresh();
    let mut sealer = Sealer::begin(Vec::new(), id(), &key).expect("memory takes it");
    for second in 0..WHOLE {
        sealer.write(&[second as i16; CHUNK]).expect("memory takes it");
    }
    sealer.write(&[9; REST]).expect("memory takes it");
    let file = std::mem::take(sealer.out());
    (key, file)
}

/// Of a file that was damaged exactly the chunks in front of the first damage are read, and none that was moved.
fn sealed_file(data: &[u8]) {
    FILE.with(|(key, file)| damage(data, key, file));
}

fn damage(data: &[u8], key: &DataKey, before: &[u8]) {
    let mut input = Input::new(data);
    let mut file = before.to_vec();
    for _ in 0..8 {
        if input.is_empty() {
            break;
        }
        let op = input.u8();
        // Mostly somewhere near a border of chunks, where mistakes are made.
        let border = length_of(u64::from(op >> 4 & 3)) as i64;
        let at = if op & 8 == 0 { border + i64::from(input.u16().cast_signed()) } else { i64::from(input.u32()) % 200_000 };
        let at = usize::try_from(at).unwrap_or(0).min(file.len());
        match op & 7 {
            0 | 1 => {
                if let Some(octet) = file.get_mut(at) {
                    *octet ^= input.u8();
                }
            }
            2 => file.truncate(at),
            3 => {
                let octets = input.piece();
                let end = (at + octets.len()).min(file.len());
                file[at..end].copy_from_slice(&octets[..end - at]);
            }
            4 => drop(file.splice(at..at, input.piece().iter().copied())),
            5 => {
                let end = (at + usize::from(input.u16())).min(file.len());
                file[at..end].fill(0);
            }
            6 => {
                let end = (at + usize::from(input.u16())).min(file.len());
                drop(file.drain(at..end));
            }
            _ => {
                // One chunk in the place of another.
                let (from, to) = (length_of(u64::from(input.u8() % 4)) as usize, length_of(u64::from(op >> 4 & 3)) as usize);
                let length = (length_of(1) - length_of(0)) as usize;
                let moved = file.get(from..file.len().min(from + length)).unwrap_or(&[]).to_vec();
                let end = (to + moved.len()).min(file.len());
                if to < end {
                    file[to..end].copy_from_slice(&moved[..end - to]);
                }
            }
        }
        file.truncate(200_000);
    }
    let same = before.iter().zip(&file).take_while(|(old, new)| old == new).count();
    let opened = Opener::open(Cursor::new(&file), id(), key);
    if same < length_of(0) as usize {
        assert!(matches!(opened, Err(ReadError::Changed)));
        return;
    }
    let expected = match (0..=WHOLE).rev().find(|chunks| same >= length_of(*chunks) as usize) {
        Some(WHOLE) if file == before => CHUNK as u64 * WHOLE + REST as u64,
        chunks => CHUNK as u64 * chunks.unwrap_or(0),
    };
    assert_eq!(opened.expect("its head is whole").readable().expect("memory can be read"), expected);
}

/// A key that is read is the one that was meant, however it is written.
fn recording_key(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some(key) = parse_key(text) else { return };
    let hex: String = key.iter().map(|octet| format!("{octet:02x}")).collect();
    assert_eq!(parse_key(&hex), Some(key));
    let trimmed = text.trim();
    assert!(trimmed.eq_ignore_ascii_case(&hex) || trimmed.trim_end_matches('=').len() == 43, "{text}");
}

fn damages() -> Vec<Vec<u8>> {
    let at = |op: u8, distance: i16| [&[op][..], &distance.to_be_bytes()].concat();
    vec![
        Vec::new(),
        [at(0x10, -1), vec![1]].concat(),
        [at(0x20, 0), vec![0x80]].concat(),
        at(0x32, 16),
        at(0x02, -1),
        [at(0x24, 5), piece(b"more")].concat(),
        [at(0x15, 0), vec![0x7D, 0x10]].concat(),
        [at(0x06, -80), vec![0, 80]].concat(),
        [at(0x17, 0), vec![2]].concat(),
        [vec![0x3C, 0, 1, 0x86, 0xA0], piece(b"end")].concat(),
    ]
}

fn keys() -> Vec<Vec<u8>> {
    let hex = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF";
    let base64 = "ABEiM0RVZneImaq7zN3u/wARIjNEVWZ3iJmqu8zd7v8=";
    [hex, base64, &format!(" {base64}\n"), &hex[1..], "+0112233"].map(|text| text.as_bytes().to_vec()).to_vec()
}
