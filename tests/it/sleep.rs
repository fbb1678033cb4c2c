//! `lull sleep` as a person runs it: on WAV and Opus of every kind, and on files that are neither.

use crate::server::lull;
use ogg::{PacketWriteEndInfo, PacketWriter};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Lines, exit status and standard error of `lull sleep FILE FLAGS`.
pub(crate) fn sleep(path: &Path, flags: &[&str]) -> (Vec<Value>, Option<i32>, String) {
    let output = lull(&["sleep"]).arg(path).args(flags).output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (lines, output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// What is said of a file with these bytes, which is wrong.
pub(crate) fn refusal(bytes: &[u8]) -> String {
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

pub(crate) fn wav(folder: &Path, name: &str, spec: hound::WavSpec, seconds: u32) -> PathBuf {
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
    assert!(refusal(b"OggS but nothing of it").contains("expected Opus in Ogg"));
    let folder = tempfile::tempdir().unwrap();
    let spec = hound::WavSpec { channels: 1, sample_rate: 16_000, bits_per_sample: 16, sample_format: hound::SampleFormat::Int };
    let whole = std::fs::read(wav(folder.path(), "a.wav", spec, 3)).unwrap();
    assert!(refusal(&whole[..30]).contains("ends within its header"));
    assert!(refusal(&whole[..44]).contains("no sound"));
    // A-law is a WAV, and compressed.
    let mut compressed = whole.clone();
    compressed[20] = 6;
    assert!(refusal(&compressed).contains("compressed, as A-law): expected RIFF/WAVE with PCM"));
    let slow = hound::WavSpec { sample_rate: 4_000, ..spec };
    assert!(refusal(&std::fs::read(wav(folder.path(), "b.wav", slow, 1)).unwrap()).contains("expected 8000 to 384000"));
    let (_, status, said) = sleep(folder.path(), &[]);
    assert_eq!(status, Some(1));
    assert!(said.contains("is a folder"), "{said}");

    for length in [0u32, u32::MAX] {
        let mut piped = whole.clone();
        piped[40..44].copy_from_slice(&length.to_le_bytes());
        let path = folder.path().join("piped.wav");
        std::fs::write(&path, &piped).unwrap();
        let (lines, status, said) = sleep(&path, &[]);
        assert_eq!((status, &lines.last().unwrap()["t"], said.as_str()), (Some(0), &2.98.into(), ""), "to its end: {length}");
    }

    let cut = folder.path().join("cut.wav");
    std::fs::write(&cut, &whole[..64_044]).unwrap();
    let (lines, status, said) = sleep(&cut, &[]);
    assert_eq!((status, &lines.last().unwrap()["t"]), (Some(0), &1.98.into()), "as far as it goes");
    assert!(said.contains("ends before its header says"), "{said}");
}

/// The two headers of Opus in Ogg: pre-skip in ticks, channels, mapping family.
pub(crate) fn headers(pre_skip: u16, channels: u8, family: u8) -> [Vec<u8>; 2] {
    let mut head = b"OpusHead\x01\x01\x38\x01\x80\xbb\x00\x00\x00\x00\x00".to_vec();
    head[9] = channels;
    head[10..12].copy_from_slice(&pre_skip.to_le_bytes());
    head[18] = family;
    [head, b"OpusTags\x00\x00\x00\x00\x00\x00\x00\x00".to_vec()]
}

/// Opus packets of 20 ms.
pub(crate) fn packets(seconds: u32) -> Vec<Vec<u8>> {
    let mut encoder = opus::Encoder::new(48_000, opus::Channels::Mono, opus::Application::Voip).unwrap();
    hum(48_000, seconds).chunks_exact(960).map(|frame| encoder.encode_vec_float(frame, 1_000).unwrap()).collect()
}

/// Writes files of Opus in Ogg page by page.
pub(crate) struct Ogg(pub(crate) PacketWriter<'static, Vec<u8>>);

impl Ogg {
    pub(crate) fn new() -> Self {
        Self(PacketWriter::new(Vec::new()))
    }

    pub(crate) fn head(&mut self, serial: u32, headers: &[Vec<u8>]) {
        for header in headers {
            self.0.write_packet(header.clone(), serial, PacketWriteEndInfo::EndPage, 0).unwrap();
        }
    }

    /// A page of these packets that ends at a position.
    pub(crate) fn page(&mut self, serial: u32, packets: &[Vec<u8>], position: u64, is_last: bool) {
        for (place, packet) in packets.iter().enumerate() {
            let ends = match (place + 1 == packets.len(), is_last) {
                (true, true) => PacketWriteEndInfo::EndStream,
                (true, false) => PacketWriteEndInfo::EndPage,
                (false, _) => PacketWriteEndInfo::NormalPacket,
            };
            self.0.write_packet(packet.clone(), serial, ends, position).unwrap();
        }
    }

    /// What `lull sleep --explain` says of it.
    pub(crate) fn heard(self) -> (Vec<Value>, Option<i32>, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("night.opus");
        std::fs::write(&path, self.0.into_inner()).unwrap();
        sleep(&path, &["--explain"])
    }
}

pub(crate) fn times(lines: &[Value]) -> Vec<f64> {
    lines.iter().map(|line| line["t"].as_f64().unwrap()).collect()
}

#[test]
fn holes_of_an_ogg_file_are_gaps_of_their_length() {
    // As an RTP recorder writes it: a packet a page, at the RTP time since some moment before. In DTX one packet comes every 400 ms.
    let packets = packets(40);
    let mut file = Ogg::new();
    file.head(9, &headers(312, 1, 0));
    let (mut position, start) = (0, 7_000_000);
    for (number, packet) in packets.iter().take(1_500).enumerate() {
        position += if number >= 1_450 { 20 * 960 } else { 960 };
        file.page(9, std::slice::from_ref(packet), start + position, false);
    }
    // Then nothing for three minutes, and ten seconds more.
    position += 180 * 48_000;
    for packet in &packets[1_500..] {
        position += 960;
        file.page(9, std::slice::from_ref(packet), start + position, false);
    }
    let (lines, status, said) = file.heard();
    assert_eq!((status, said.as_str()), (Some(0), ""));
    let times = times(&lines);
    let whole = position as f64 / 48_000.0 - 0.0065;
    assert!((times.last().unwrap() - whole).abs() < 0.05, "{:?} of {whole}", times.last());
    assert!(
        times.windows(2).all(|pair| pair[1] >= pair[0] && pair[1] - pair[0] <= 10.5),
        "a line every 10 s, in the hole as well: {times:?}"
    );
    let at = |time: f64| lines.iter().rev().find(|line| line["t"].as_f64().unwrap() <= time).unwrap();
    // Withheld packets are not missing; three minutes of nothing are.
    assert_eq!((&at(48.0)["state"], at(48.0)["missing"].as_f64().unwrap() < 0.01), (&"awake".into(), true), "{}", at(48.0));
    assert_eq!((&at(220.0)["state"], &at(220.0)["why"]), (&"unknown".into(), &"absent".into()));
    assert_eq!(at(220.0)["missing"], 1.0);
}

#[test]
fn an_ogg_file_begins_behind_its_pre_skip_and_ends_where_it_says() {
    for (pre_skip, trimmed) in [(312u16, 0u64), (48_000, 0), (312, 700), (312, 12_000)] {
        let mut file = Ogg::new();
        file.head(9, &headers(pre_skip, 1, 0));
        let packets = packets(4);
        file.page(9, &packets[..100], 96_000, false);
        file.page(9, &packets[100..], 192_000 - trimmed, true);
        let (lines, status, said) = file.heard();
        assert_eq!((status, said.as_str()), (Some(0), ""));
        let whole = (192_000.0 - trimmed as f64 - f64::from(pre_skip)) / 48_000.0;
        let last = *times(&lines).last().unwrap();
        assert!(last < whole && last > whole - 0.045, "{pre_skip} {trimmed}: {last} of {whole}");
        assert!(times(&lines)[0] < 0.03, "from the beginning on");
    }
    // Positions that cannot be are not believed.
    for wrong in [u64::MAX, 5, 1 << 60] {
        let mut file = Ogg::new();
        file.head(9, &headers(312, 1, 0));
        let packets = packets(4);
        file.page(9, &packets[..100], 96_000, false);
        file.page(9, &packets[100..], wrong, false);
        let (lines, status, said) = file.heard();
        assert_eq!((status, said.contains("error in the file")), (Some(0), wrong == 1 << 60), "{said}");
        assert!((3.9..4.0).contains(times(&lines).last().unwrap()), "{wrong}");
    }
}

#[test]
fn positions_that_go_back_or_on_for_years_take_no_time() {
    // The last page ends before it begins: the next stream follows what was heard all the same.
    let packets = packets(4);
    let mut file = Ogg::new();
    for serial in [1, 2] {
        file.head(serial, &headers(312, 1, 0));
        file.page(serial, &packets[..100], 96_000, false);
        file.page(serial, &packets[100..], if serial == 1 { 0 } else { 192_000 }, true);
    }
    let (lines, status, _) = file.heard();
    let times = times(&lines);
    assert!(status == Some(0) && times.is_sorted(), "{times:?}");
    assert!((5.9..6.1).contains(times.last().unwrap()), "{times:?}");

    // Gaps of half a day each: two of them are heard, and sound behind those that are left out keeps its own holes.
    let mut file = Ogg::new();
    file.head(9, &headers(312, 1, 0));
    let mut position = 0;
    for (number, packet) in packets.iter().take(50).enumerate() {
        position += 960 + if number % 10 == 9 { 12 * 3_600 * 48_000 - 48_000 } else { 0 };
        file.page(9, std::slice::from_ref(packet), position, false);
    }
    let (lines, status, said) = file.heard();
    assert_eq!((status, said.matches("left out").count()), (Some(0), 3), "{said}");
    let last = lines.last().unwrap()["t"].as_f64().unwrap();
    assert!((last - (24.0 * 3_600.0 - 2.0 + 1.0)).abs() < 0.1, "{last}");
}

#[test]
fn other_streams_are_passed_over_and_further_ones_read_on() {
    let packets = packets(4);
    // Something else begins first, and has pages between; a second Opus stream lies beside the first.
    let mut file = Ogg::new();
    file.head(3, &[b"\x80theora, or whatever it may be".to_vec()]);
    let [head, tags] = headers(312, 1, 0);
    file.head(9, std::slice::from_ref(&head));
    file.head(4, std::slice::from_ref(&head));
    file.head(9, std::slice::from_ref(&tags));
    file.head(3, &[b"more of it".to_vec()]);
    file.page(9, &packets[..100], 96_000, false);
    file.page(4, &packets[..100], 96_000, true);
    file.page(9, &packets[100..], 192_000, true);
    // What begins after its sound follows it.
    file.head(5, &headers(312, 2, 0));
    file.page(5, &packets[..100], 96_000, true);
    // And this cannot be read.
    file.head(6, &headers(312, 6, 1));
    file.page(6, &packets[..100], 96_000, true);
    let (lines, status, said) = file.heard();
    assert_eq!(status, Some(0));
    assert!(said.contains("beside the first is left out") && said.contains("6 channels in mapping family 1"), "{said}");
    assert!((5.9..6.0).contains(times(&lines).last().unwrap()), "{lines:?}");

    let refused = |fill: &dyn Fn(&mut Ogg)| {
        let mut file = Ogg::new();
        fill(&mut file);
        let (lines, status, said) = file.heard();
        assert_eq!((lines.len(), status), (0, Some(1)), "{said}");
        said
    };
    let family = refused(&|file| {
        file.head(9, &headers(312, 2, 1));
        file.page(9, &packets, 192_000, true);
    });
    assert!(family.contains("2 channels in mapping family 1: expected mono or stereo in family 0"), "{family}");
    assert!(refused(&|file| file.head(9, &[b"OpusHead\x01\x01".to_vec()])).contains("expected 19 octets"));
    assert!(refused(&|file| file.head(9, &headers(312, 1, 0))).contains("no sound is in it"));
    assert!(refused(&|file| file.head(3, &[b"\x80theora".to_vec()])).contains("expected a stream that begins with OpusHead"));
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
