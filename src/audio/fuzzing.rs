//! Fuzz targets of the pipeline: any packet beside what libopus reads in it, and any packets with any numbers and times.

use super::{Fader, Heard, LONGEST_TICKS, Listener, Packet, Placer, RTP_RATE, Shape};
use crate::clock::{Moment, Span};
use crate::fuzzing::{Input, piece};

crate::fuzzing::targets! {
    opus_shape: 20_000, packets, [];
    opus_packets: 2_500, talks, [];
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
