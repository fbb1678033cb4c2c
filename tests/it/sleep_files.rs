//! `lull sleep` with files as disks, pipes and people leave them: damaged, joined, of more bits than octets, piped, drawn over.

use crate::server::lull;
use crate::sleep::{Ogg, headers, packets, refusal, sleep, times, wav};
use serde_json::Value;
use std::fs::OpenOptions;
use std::path::Path;
use std::process::Stdio;

/// Thirty pages of a second each, and where each page begins, the two of the headers before them.
fn pages() -> (Vec<u8>, Vec<usize>) {
    let mut file = Ogg::new();
    file.head(9, &headers(312, 1, 0));
    for (number, second) in packets(30).chunks(50).enumerate() {
        file.page(9, second, 48_000 * (number as u64 + 1), number == 29);
    }
    let file = file.0.into_inner();
    let begins = file.windows(4).enumerate().filter(|(_, octets)| octets == b"OggS").map(|(place, _)| place).collect();
    (file, begins)
}

/// What `lull sleep --explain` says of these bytes.
fn heard(bytes: &[u8]) -> (Vec<Value>, Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("night.opus");
    std::fs::write(&path, bytes).unwrap();
    sleep(&path, &["--explain"])
}

#[test]
fn a_damaged_page_is_a_gap_of_its_length() {
    let (whole, begins) = pages();
    assert_eq!(begins.len(), 32);
    let end = |lines: &[Value]| *times(lines).last().unwrap();
    let whole_end = end(&heard(&whole).0);
    // A flipped bit in the sound, in the number of segments, in the pattern that each page begins with.
    for (page, octet) in [(12, 200), (12, 26), (12, 1), (2, 200)] {
        let mut damaged = whole.clone();
        damaged[begins[page] + octet] ^= 1;
        let (lines, status, said) = heard(&damaged);
        assert_eq!((status, said.trim_end()), (Some(0), "lull: 1 page is damaged and passed over; what there is besides was heard"));
        assert!(times(&lines).is_sorted() && (end(&lines) - whole_end).abs() < 0.025, "{page} {octet}: {} of {whole_end}", end(&lines));
        let missing = lines.last().unwrap()["missing"].as_f64().unwrap();
        assert!((missing - 1.0 / 30.0).abs() < 0.01, "it is known to be lost, not to be silent: {missing}");
    }
    // Ten pages one after the other, of which the two in the middle are of the worst.
    let mut damaged = whole.clone();
    (12..22).for_each(|page| damaged[begins[page] + 300] ^= 0x40);
    let (lines, status, said) = heard(&damaged);
    assert!(status == Some(0) && said.contains("10 pages are damaged"), "{said}");
    assert!((end(&lines) - whole_end).abs() < 0.025, "{lines:?}");

    // Nobody needs the tags; without its head no stream is known, without any page nothing is heard.
    let mut damaged = whole.clone();
    damaged[begins[1] + 30] ^= 1;
    let (lines, status, _) = heard(&damaged);
    assert!(status == Some(0) && (end(&lines) - whole_end).abs() < 0.025, "{lines:?}");
    damaged[begins[0] + 30] ^= 1;
    assert!(refusal(&damaged).contains("no Opus in it that can be read (2 pages are damaged)"));
    let mut damaged = whole.clone();
    begins[2..].iter().for_each(|begin| damaged[begin + 300] ^= 1);
    assert!(refusal(&damaged).contains("no sound is in it that can be read (30 pages are damaged)"));

    let (lines, status, said) = heard(&whole[..begins[20] + 500]);
    assert!(status == Some(0) && said.contains("ends within a page"), "{said}");
    assert!((end(&lines) - 18.0).abs() < 0.05, "{lines:?}");
}

#[test]
fn files_that_were_joined_are_heard_one_after_the_other() {
    let (whole, begins) = pages();
    let twice = [whole.clone(), whole.clone()].concat();
    let (lines, status, said) = heard(&twice);
    assert_eq!((status, said.as_str()), (Some(0), ""));
    let last = *times(&lines).last().unwrap();
    assert!(times(&lines).is_sorted() && (last - 60.0).abs() < 0.1, "{last}");
    // The second is known to be another one also where the first was cut. Where its own head is lost, it goes on as the first: its last
    // page, which ends long before it begins, is trimmed away.
    let cut = [&whole[..begins[20]], &whole[..]].concat();
    let (lines, status, said) = heard(&cut);
    assert_eq!((status, said.as_str()), (Some(0), ""));
    assert!((times(&lines).last().unwrap() - 48.0).abs() < 0.1, "{lines:?}");
    let mut headless = twice;
    headless[whole.len() + 30] ^= 1;
    let (lines, status, said) = heard(&headless);
    assert!(status == Some(0) && said.contains("1 page is damaged"), "{said}");
    assert!((times(&lines).last().unwrap() - 59.0).abs() < 0.1, "{lines:?}");
}

#[test]
fn bits_that_are_not_used_do_not_change_how_loud_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let spec = hound::WavSpec { channels: 1, sample_rate: 48_000, bits_per_sample: 32, sample_format: hound::SampleFormat::Int };
    let mut file = std::fs::read(wav(folder.path(), "a.wav", spec, 5)).unwrap();
    // It is of the extensible kind; behind the size of that stand the valid bits.
    assert_eq!((&file[12..16], &file[20..22], &file[36..40]), (&b"fmt "[..], &[0xFE, 0xFF][..], &[22, 0, 32, 0][..]));
    let level = |file: &[u8]| heard(file).0.last().unwrap()["level_db"].as_f64().unwrap();
    let expected = level(&file);
    file[38] = 24;
    assert!((level(&file) - expected).abs() < 0.1 && (expected + 29.0).abs() < 0.5, "{expected}");
    // The same without the extension: nobody says in which of the four octets the three are.
    let samples = file.split_off(68);
    let mut plain = file[..12].to_vec();
    plain.extend_from_slice(b"fmt \x10\0\0\0\x01\0\x01\0\x80\xbb\0\0\0\xee\x02\0\x04\0\x18\0data\0\0\0\0");
    plain.extend_from_slice(&samples);
    assert!(refusal(&plain).contains("4 octets for 1 channels of 24 bits"));
}

#[test]
fn a_pipe_is_heard_as_a_file_is() {
    let folder = tempfile::tempdir().unwrap();
    let spec = hound::WavSpec { channels: 1, sample_rate: 16_000, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
    for file in [std::fs::read(wav(folder.path(), "a.wav", spec, 5)).unwrap(), pages().0] {
        let (input, mut output) = std::io::pipe().unwrap();
        let lull = lull(&["sleep", "/dev/stdin", "--explain"]).stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut output, &file).unwrap();
        drop(output);
        let piped = lull.wait_with_output().unwrap();
        let lines: Vec<Value> = String::from_utf8(piped.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((lines, piped.status.code(), String::from_utf8(piped.stderr).unwrap()), heard(&file));
    }
}

#[test]
fn what_is_refused_is_told_what_would_be_taken_and_what_failed() {
    for other in [&b"hello, this is a text"[..], b"ID3\x03 and so on", b"fLaC and so on", b"x"] {
        assert!(refusal(other).contains("neither WAV nor Ogg: expected WAV (PCM or float) or Opus in Ogg"));
    }
    assert!(refusal(b"").contains("the file is empty: expected WAV"));
    assert!(refusal(b"RIFX\0\0\0\0WAVE").contains("RIFX"));
    let folder = tempfile::tempdir().unwrap();
    let spec = hound::WavSpec { channels: 1, sample_rate: 16_000, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
    let path = wav(folder.path(), "a.wav", spec, 2);
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = lull(&["sleep"]).arg(&path).stdout(full).stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.starts_with("lull: cannot write to standard output: "), "{said}");
}

#[test]
fn a_picture_is_never_drawn_over_the_recording_nor_left_empty() {
    let folder = tempfile::tempdir().unwrap();
    let spec = hound::WavSpec { channels: 1, sample_rate: 16_000, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
    let path = wav(folder.path(), "a.wav", spec, 12);
    let before = std::fs::read(&path).unwrap();
    let (hard, soft) = (folder.path().join("hard.svg"), folder.path().join("soft.svg"));
    std::fs::hard_link(&path, &hard).unwrap();
    std::os::unix::fs::symlink(&path, &soft).unwrap();
    let plot = |recording: &Path, picture: &Path| sleep(recording, &["--plot", picture.to_str().unwrap()]);
    for picture in [&path, &hard, &soft] {
        let (lines, status, said) = plot(&path, picture);
        assert_eq!((lines.len(), status), (0, Some(1)));
        assert!(said.contains("is the recording"), "{said}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }
    for impossible in [folder.path(), &folder.path().join("missing/night.svg")] {
        let (lines, status, said) = plot(&path, impossible);
        assert_eq!((lines.len(), status), (0, Some(1)), "before anything was heard");
        assert!(said.contains("cannot write"), "{said}");
    }

    // What cannot be heard leaves nothing, and a picture that was there as it was.
    let (text, night) = (folder.path().join("text.wav"), folder.path().join("night.svg"));
    std::fs::write(&text, "a text").unwrap();
    assert_eq!(plot(&text, &night).1, Some(1));
    assert!(!night.exists());
    std::fs::write(&night, "<svg>of yesterday</svg>".repeat(10_000)).unwrap();
    assert_eq!(plot(&text, &night).1, Some(1));
    assert!(std::fs::read_to_string(&night).unwrap().contains("yesterday"));
    assert_eq!(plot(&path, &night).1, Some(0));
    let drawn = std::fs::read_to_string(&night).unwrap();
    assert!(drawn.starts_with("<svg") && drawn.trim_end().ends_with("</svg>") && !drawn.contains("yesterday"));

    // Nobody reads the lines: it is drawn all the same.
    std::fs::remove_file(&night).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = lull(&["sleep"]).arg(&path).arg("--plot").arg(&night).stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()), (Some(0), ""));
    assert_eq!(std::fs::read_to_string(&night).unwrap(), drawn);
}
