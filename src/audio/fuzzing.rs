//! Fuzz targets of the pipeline: any packet beside what libopus reads in it, any packets with any numbers and times, any file.

use super::pages::{Page, Pages, checksum};
use super::wav::WavFrames;
use super::{Fader, Heard, LONGEST_TICKS, Listener, Packet, Placer, RTP_RATE, Shape};
use crate::clock::{Moment, Span};
use crate::fuzzing::{Input, piece};

crate::fuzzing::targets! {
    opus_shape: 20_000, packets, [];
    opus_packets: 2_500, talks, [];
    ogg_pages: 1_000, files, [];
    wav: 1_000, waves, [];
}

/// The shape is what libopus reads: the same packets are refused, the others have the same frames.
fn opus_shape(data: &[u8]) {
    let read = opus::packet::parse(data).ok().and_then(|packet| {
        let ticks = opus::packet::get_nb_samples(data, RTP_RATE).ok()?;
        Some((packet.frames.len(), ticks, packet.frames.iter().map(|frame| frame.len()).max()?, packet.toc & 4 != 0))
    });
    let ours = Shape::read(data).map(|shape| (usize::from(shape.frames), shape.ticks() as usize, usize::from(shape.longest), shape.stereo));
    assert_eq!(ours, read);
}

/// Whatever comes: frames and samples keep pace with the clock and are in order, and what the fader gives has the length of what it got.
fn opus_packets(data: &[u8]) {
    let begin = Moment::from_unix_ms(1_773_144_000_000);
    let (Ok(mut listener), Ok(mut placer), Ok(mut fader)) = (Listener::new(begin), Placer::new(begin), Fader::new()) else { return };
    let mut input = Input::new(data);
    let (mut index, mut timestamp, mut now) = (1_u64 << 20, 0_u32, begin);
    let (mut frames, mut last) = (0_u64, begin - Span::from_ms(20));
    for _ in 0..48 {
        if input.is_empty() {
            break;
        }
        let op = input.u8();
        let mut take = |at: Moment, _: Heard<'_>| {
            assert!(at > last, "{at} after {last}");
            last = at;
            frames += 1;
        };
        match op & 7 {
            0 => {
                now = now + Span::from_ms(i64::from(input.u16()));
                listener.tick(now, &mut take);
                placer.tick(now, &mut |_| ());
            }
            1 => {
                listener.renew(&mut take);
                placer.renew(&mut |_| ());
                fader.renew();
                timestamp = input.u32();
            }
            2 => fader.fade(Span::from_ms(i64::from(input.u16()))),
            3 => fader.rise(),
            kind => {
                // Mostly as pages count, now and then not.
                index = if kind == 4 { index.wrapping_add_signed(i64::from(input.u8().cast_signed())) } else { index + 1 };
                timestamp = if kind == 5 { input.u32() } else { timestamp.wrapping_add(960) };
                now = now + Span::from_ms(i64::from(op >> 3));
                let packet = Packet { index, timestamp, at: now, payload: input.piece() };
                listener.hear(&packet, &mut take);
                placer.place(&packet, &mut |samples| assert!(!samples.is_empty()));
                if let Some(faded) = fader.pass(&packet) {
                    assert_eq!(Shape::read(faded).map(|shape| shape.ticks()), Shape::read(packet.payload).map(|shape| shape.ticks()));
                }
            }
        }
        // Two seconds and a packet ahead at the most, and as much again where time was slow to follow.
        let most = now.since(begin).ms() + 2_000 + 48 * i64::from(LONGEST_TICKS) * 1000 / i64::from(RTP_RATE);
        assert!(frames as i64 * 20 <= most, "{frames} frames in {:?}", now.since(begin));
        assert!(placer.written() as i64 / 16 <= most, "{} samples in {:?}", placer.written(), now.since(begin));
    }
}

/// Frames of every length in packets of every code, padded and not (RFC 6716 section 3.2).
fn packets() -> Vec<Vec<u8>> {
    (0..=31_u8)
        .flat_map(|config| {
            let bodies: [&[u8]; 6] =
                [&[0, 1, 2], &[1, 2, 3, 4], &[1, 9, 8, 7], &[0x03, 1, 2, 3], &[0x82, 2, 1, 1, 5], &[0x41, 3, 9, 0, 0, 0]];
            bodies.into_iter().zip([0, 1, 2, 3, 3, 3]).map(move |(body, code)| [&[config << 3 | code], body].concat())
        })
        .chain([[&[0x7A, 252, 0][..], &[7; 252]].concat(), [&[0x43, 0x41, 255, 20][..], &[7; 290]].concat(), vec![0x7E], Vec::new()])
        .collect()
}

fn talks() -> Vec<Vec<u8>> {
    // Table-of-contents octets of SILK, hybrid and CELT, of one, two and many frames (RFC 6716 section 3.1).
    let packet = |op: u8, toc: u8| [&[op][..], &piece(&[&[toc, 0x42][..], &[0xA5; 30]].concat())].concat();
    let all: Vec<u8> = [0x08, 0x4B, 0x78, 0x7B, 0xF8, 0xFB, 0xFF, 0x4C].into_iter().flat_map(|toc| packet(0xA6, toc)).collect();
    vec![
        [&all[..], &[0, 8, 0, 1, 9, 9, 9, 9, 2, 1, 0], &all, &[3], &all].concat(),
        [&[4, 3][..], &packet(0xA6, 0x78), &packet(0xA5, 0x78)].concat(),
    ]
}

/// Whole pages with anything between them: each is found, and nothing else is taken for one, in whatever pieces it is read.
fn ogg_pages(data: &[u8]) {
    let mut input = Input::new(data);
    let (mut file, mut whole, mut is_plain) = (Vec::new(), 0, true);
    while !input.is_empty() && file.len() < 1 << 16 {
        let op = input.u8();
        let piece = input.piece();
        if op < 0x60 {
            // A page begins with an O.
            is_plain &= !piece.contains(&b'O');
            file.extend_from_slice(piece);
            continue;
        }
        let lengths = &piece[..piece.len().min(255)];
        let begins = file.len();
        file.extend_from_slice(b"OggS\0");
        file.push(op & 7);
        file.extend_from_slice(&u64::from(op).to_le_bytes());
        file.extend_from_slice(&[7, 0, 0, 0, op, 0, 0, 0, 0, 0, 0, 0, lengths.len() as u8]);
        file.extend_from_slice(lengths);
        let body: usize = lengths.iter().map(|length| usize::from(*length)).sum();
        file.resize(file.len() + body, op);
        let sum = checksum(&file[begins..]);
        file[begins + 22..begins + 26].copy_from_slice(&sum.to_le_bytes());
        whole += 1;
    }
    let found = pages(&file[..]);
    let octets: usize = found.iter().flat_map(|page| page.parts().map(|(part, _)| part.len())).sum();
    assert!(octets + 27 * found.len() <= file.len());
    assert!(!is_plain || found.len() == whole, "{} of {whole} pages", found.len());
    assert_eq!(pages(Slowly(&file)), found);
}

fn pages(from: impl std::io::Read) -> Vec<Page> {
    let mut pages = Pages::new(from);
    std::iter::from_fn(|| pages.next_page().expect("memory can be read")).collect()
}

/// Gives a few octets at a time.
struct Slowly<'a>(&'a [u8]);

impl std::io::Read for Slowly<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let some = into.len().min(self.0.len()).min(1 + self.0.len() % 61);
        into[..some].copy_from_slice(&self.0[..some]);
        self.0 = &self.0[some..];
        Ok(some)
    }
}

fn files() -> Vec<Vec<u8>> {
    let page = |lengths: &[u8]| [&[0x80][..], &piece(lengths)].concat();
    let between = |octets: &[u8]| [&[0][..], &piece(octets)].concat();
    vec![
        page(&[19]),
        [page(&[255, 255, 3]), page(&[0]), page(&[]), page(&[7; 255])].concat(),
        [page(&[19]), between(b"OggS\0\0"), page(&[4]), between(b"no page"), page(&[255, 0]), between(b"Ogg")].concat(),
    ]
}

/// Whatever is in front of it, a WAV file gives no more than it has.
fn wav(data: &[u8]) {
    let Ok(mut frames) = WavFrames::open(data) else { return };
    let mut count = 0;
    while let Ok(Some(_)) = frames.next_frame() {
        count += 1;
    }
    // 8 bits at 8 kHz; the resampler rounds up.
    assert!(count <= data.len() / 160 + 1, "{count} frames of {} octets", data.len());
}

fn waves() -> Vec<Vec<u8>> {
    let chunk = |name: &[u8; 4], body: &[u8]| [&name[..], &(body.len() as u32).to_le_bytes(), body].concat();
    let format = |tag: u16, channels: u16, rate: u32, bits: u16| {
        let align = channels * bits / 8;
        [
            &tag.to_le_bytes()[..],
            &channels.to_le_bytes(),
            &rate.to_le_bytes(),
            &(rate * u32::from(align)).to_le_bytes(),
            &align.to_le_bytes(),
            &bits.to_le_bytes(),
        ]
        .concat()
    };
    let file = |chunks: &[Vec<u8>]| chunk(b"RIFF", &[&b"WAVE"[..], &chunks.concat()].concat());
    let extended =
        [format(0xFFFE, 1, 8_000, 32), vec![22, 0, 24, 0, 0, 0, 0, 0, 1, 0], vec![0, 0, 0, 0, 16, 0, 128, 0, 0, 170, 0, 56, 155, 113]]
            .concat();
    vec![
        file(&[chunk(b"fmt ", &format(1, 1, 16_000, 16)), chunk(b"data", &[7; 1_300])]),
        file(&[chunk(b"LIST", b"none"), chunk(b"fmt ", &format(3, 2, 8_000, 32)), chunk(b"data", &[0; 2_600])]),
        file(&[chunk(b"fmt ", &extended), chunk(b"data", &[1; 1_400])]),
        file(&[chunk(b"fmt ", &format(1, 1, 8_000, 8)), chunk(b"data", &[128; 700])]),
    ]
}
