//! `lull sleep` as a person runs it: on WAV and Opus of every kind, and on files that are neither.

use crate::server::lull;
use ogg::{PacketWriteEndInfo, PacketWriter};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Lines, exit status and standard error of `lull sleep FILE FLAGS`.
fn sleep(path: &Path, flags: &[&str]) -> (Vec<Value>, Option<i32>, String) {
    let output = lull(&["sleep"]).arg(path).args(flags).output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (lines, output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// What is said of a file with these bytes, which is wrong.
fn refusal(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("night.wav");
    std::fs::write(&path, bytes).unwrap();
    let (lines, status, said) = sleep(&path, &[]);
    assert_eq!((lines.len(), status), (0, Some(1)), "{said}");
    said
}

/// A hum in noise, ±1.
fn hum(rate: u32, seconds: u32) -> Vec<f32> {
    let mut seed = 7u32;
    (0..rate * seconds)
        .map(|place| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let noise = (seed >> 8) as f32 / (1 << 23) as f32 - 1.0;
            0.05 * (place as f32 * 440.0 * std::f32::consts::TAU / rate as f32).sin() + 0.001 * noise
        })
        .collect()
}

fn wav(folder: &Path, name: &str, spec: hound::WavSpec, seconds: u32) -> PathBuf {
    let path = folder.join(name);
    let mut writer = hound::WavWriter::create(&path, spec).unwrap();
    let scale = (1i64 << (spec.bits_per_sample - 1)) as f32 - 1.0;
    for sample in hum(spec.sample_rate, seconds) {
        for _ in 0..spec.channels {
            match spec.sample_format {
                hound::SampleFormat::Float => writer.write_sample(sample).unwrap(),
                hound::SampleFormat::Int => writer.write_sample((sample * scale) as i32).unwrap(),
            }
        }
    }
    writer.finalize().unwrap();
    path
}

#[test]
fn wav_of_any_rate_width_and_number_of_channels_is_heard_alike() {
    let folder = tempfile::tempdir().unwrap();
    let int = hound::SampleFormat::Int;
    for (rate, bits, channels, format) in [
        (16_000, 16, 1, int),
        (8_000, 16, 1, int),
        (44_100, 16, 2, int),
        (48_000, 24, 1, int),
        (96_000, 32, 6, int),
        (22_050, 32, 2, hound::SampleFormat::Float),
    ] {
        let spec = hound::WavSpec { channels, sample_rate: rate, bits_per_sample: bits, sample_format: format };
        let (lines, status, said) = sleep(&wav(folder.path(), "a.wav", spec, 21), &["--explain"]);
        assert_eq!((status, said.as_str()), (Some(0), ""), "{spec:?}");
        let times: Vec<f64> = lines.iter().map(|line| line["t"].as_f64().unwrap()).collect();
        assert!(times.windows(2).all(|pair| pair[0] <= pair[1] && pair[1] - pair[0] <= 10.0), "{times:?}");
        assert_eq!(times.last(), Some(&20.98), "{spec:?}");
        assert!(lines.iter().all(|line| line["state"] == "awake"), "{lines:?}");
        // 0.05 of full scale as a sine is -29 dB.
        let level = lines.last().unwrap()["level_db"].as_f64().unwrap();
        assert!((level + 29.0).abs() < 0.5, "{spec:?}: {level}");
    }
    // Eight bits are coarse: the level is nearly the same.
    let spec = hound::WavSpec { channels: 1, sample_rate: 16_000, bits_per_sample: 8, sample_format: int };
    let (lines, status, _) = sleep(&wav(folder.path(), "b.wav", spec, 2), &["--explain"]);
    assert_eq!(status, Some(0));
    assert!((lines.last().unwrap()["level_db"].as_f64().unwrap() + 29.0).abs() < 1.0, "{lines:?}");
}

#[test]
fn silence_is_unknown_and_a_picture_is_drawn_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("muted.wav");
    let spec = hound::WavSpec { channels: 1, sample_rate: 16_000, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
    let mut writer = hound::WavWriter::create(&path, spec).unwrap();
    (0..16_000 * 90).for_each(|_| writer.write_sample(0i16).unwrap());
    writer.finalize().unwrap();
    let picture = folder.path().join("night.svg");
    let (lines, status, said) = sleep(&path, &["--plot", picture.to_str().unwrap()]);
    assert_eq!((status, said.as_str()), (Some(0), ""));
    let last = lines.last().unwrap();
    assert_eq!((&last["state"], &last["why"]), (&"unknown".into(), &"muted".into()));
    let svg = std::fs::read_to_string(picture).unwrap();
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>") && svg.matches("</svg>").count() == 1, "one whole picture");
}

#[test]
fn what_is_no_recording_is_refused_with_what_would_be_taken() {
    assert!(refusal(b"").contains("the file is empty"));
    assert!(refusal(b"hello, this is a text").contains("expected RIFF/WAVE"));
    assert!(refusal(b"OggS but nothing of it").contains("expected Opus in Ogg"));
    let folder = tempfile::tempdir().unwrap();
    let spec = hound::WavSpec { channels: 1, sample_rate: 16_000, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
    let whole = std::fs::read(wav(folder.path(), "a.wav", spec, 3)).unwrap();
    assert!(refusal(&whole[..30]).contains("ends within its header"));
    assert!(refusal(&whole[..44]).contains("no sound"));
    // A-law is a WAV, and compressed.
    let mut compressed = whole.clone();
    compressed[20] = 6;
    assert!(refusal(&compressed).contains("expected RIFF/WAVE with PCM"));
    let slow = hound::WavSpec { sample_rate: 4_000, ..spec };
    assert!(refusal(&std::fs::read(wav(folder.path(), "b.wav", slow, 1)).unwrap()).contains("expected 8000 to 384000"));
    let (_, status, said) = sleep(folder.path(), &[]);
    assert_eq!(status, Some(1));
    assert!(said.contains("is a folder"), "{said}");

    let cut = folder.path().join("cut.wav");
    std::fs::write(&cut, &whole[..64_044]).unwrap();
    let (lines, status, said) = sleep(&cut, &[]);
    assert_eq!((status, &lines.last().unwrap()["t"]), (Some(0), &1.98.into()), "as far as it goes");
    assert!(said.contains("ends before its header says"), "{said}");
}

#[test]
fn opus_in_ogg_passes_the_listener_of_a_call() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("night.opus");
    let mut encoder = opus::Encoder::new(48_000, opus::Channels::Mono, opus::Application::Voip).unwrap();
    let mut file = PacketWriter::new(std::fs::File::create(&path).unwrap());
    let head = [b"OpusHead\x01\x01\x38\x01\x80\xbb\x00\x00\x00\x00\x00".as_slice(), b"OpusTags\x00\x00\x00\x00\x00\x00\x00\x00"];
    for header in head {
        file.write_packet(header.to_vec(), 1, PacketWriteEndInfo::EndPage, 0).unwrap();
    }
    for (number, frame) in hum(48_000, 21).chunks_exact(960).enumerate() {
        let packet = encoder.encode_vec_float(frame, 1_000).unwrap();
        let ends = if number % 50 == 49 { PacketWriteEndInfo::EndPage } else { PacketWriteEndInfo::NormalPacket };
        file.write_packet(packet, 1, ends, 960 * (number as u64 + 1)).unwrap();
    }
    drop(file);
    let (lines, status, said) = sleep(&path, &["--explain"]);
    assert_eq!((status, said.as_str()), (Some(0), ""));
    let last = lines.last().unwrap();
    assert!(last["t"].as_f64().unwrap() > 20.5, "{last}");
    assert!((last["level_db"].as_f64().unwrap() + 29.0).abs() < 2.0, "{last}");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let (lines, status, _) = sleep(&path, &[]);
    assert_eq!(status, Some(0));
    assert!(lines.last().unwrap()["t"].as_f64().unwrap() > 8.0, "what there is was heard: {lines:?}");
}
