//! The fade as the client's page hears it: raw packets, then processed ones with the same numbers, then raw ones again.

use super::*;
use opus::Decoder;
use std::ops::Range;

/// What the page plays of packets, at 48 kHz.
fn play<'a>(packets: impl IntoIterator<Item = &'a [u8]>) -> Vec<f64> {
    let mut decoder = Decoder::new(48_000, Channels::Mono).expect("a decoder");
    let mut room = [0.0_f32; 5_760];
    let mut all = Vec::new();
    for packet in packets {
        let len = decoder.decode_float(packet, &mut room, false).expect("a good packet");
        all.extend(room[..len].iter().map(|sample| f64::from(*sample)));
    }
    all
}

/// The strength of what is quick, by 5 ms: where a waveform is broken there is a peak in it.
fn quick(samples: &[f64]) -> Vec<f64> {
    // Fourth differences, which leave a thousandth of 440 Hz and all of a step.
    let differences: Vec<f64> =
        samples.windows(5).map(|five| (five[0] - 4.0 * five[1] + 6.0 * five[2] - 4.0 * five[3] + five[4]).abs()).collect();
    differences.chunks(240).map(|chunk| chunk.iter().copied().fold(0.0, f64::max)).collect()
}

/// The most of some 5 ms.
fn most(quick: &[f64], range: Range<usize>) -> f64 {
    quick[range].iter().copied().fold(0.0, f64::max)
}

/// Packets as they reach the page when those from `from` to `to` are processed; the codecs were warm. `order` is called before each.
fn through(fader: &mut Fader, packets: &[Sent], processed: Range<usize>, mut order: impl FnMut(usize, &mut Fader)) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for (number, sent) in packets.iter().enumerate() {
        order(number, fader);
        if number == processed.start {
            fader.take_over();
        }
        let ours = fader.pass(&sent.packet()).expect("it is a good packet").to_vec();
        assert_eq!(Shape::read(&ours).map(|shape| shape.ticks()), Shape::read(&sent.payload).map(|shape| shape.ticks()));
        out.push(if processed.contains(&number) { ours } else { sent.payload.clone() });
    }
    out
}

/// As browsers send music, speech of different bandwidths, and quick frames.
fn codings() -> [(&'static str, Coding); 4] {
    [
        ("usual", USUAL),
        ("celt", Coding { application: Application::LowDelay, ..USUAL }),
        ("silk", Coding { bitrate: 20_000, bandwidth: Some(Bandwidth::Wideband), ..USUAL }),
        ("hybrid", Coding { bitrate: 28_000, bandwidth: Some(Bandwidth::Fullband), ..USUAL }),
    ]
}

#[test]
fn the_switch_is_not_heard_either_way() {
    for (name, coding) in codings() {
        for (what, sound) in [("sine", sine(440.0, -20.0, 4_000)), ("voice", voice(-20.0, 4_000))] {
            let packets = sent(&coding, &sound);
            let raw = quick(&play(packets.iter().map(|sent| &sent.payload[..])));
            let out = through(&mut Fader::new().expect("codecs"), &packets, 100..150, |_, _| ());
            let played = play(out.iter().map(|packet| &packet[..]));
            let heard = quick(&played);
            // 50 ms around the switch against what the codecs themselves make of the sound.
            let usual = most(&raw, 200..790).max(most(&heard, 420..590));
            for (way, switch) in [("in", 400), ("out", 600)] {
                let there = most(&heard, switch - 4..switch + 10);
                // A step of -75 dBFS (fourth differences make six of one) is no click, however clean the sound is otherwise.
                assert!(there <= (1.5 * usual).max(1e-3), "{name} {what} {way}: {there:.5} against {usual:.5}");
            }
            // And no hole: 10 ms of a tone are never much quieter than it is. The worst is where prediction (SILK's by pitch) starts from
            // another phase.
            if what == "sine" {
                for (number, ten) in played[48_000..].chunks(480).enumerate() {
                    assert!((dbfs(ten) + 20.0).abs() < 6.0, "{name}: {} dBFS after {number} times 10 ms", dbfs(ten));
                }
            }
        }
    }
}

#[test]
fn a_voice_falls_evenly_to_nothing() {
    for (name, coding) in codings() {
        let packets = sent(&coding, &sine(440.0, -14.0, 12_000));
        let mut fader = Fader::new().expect("codecs");
        let mut silent_at = None;
        let out = through(&mut fader, &packets, 50..packets.len(), |number, fader| {
            if number == 50 {
                assert!(fader.is_warm() && fader.is_level());
                fader.fade(Span::from_s(10));
            }
            if fader.is_silent() {
                silent_at.get_or_insert(number);
            }
        });
        assert_eq!(silent_at, Some(550), "{name}: 10 s after the 50th");
        let octets: usize = out[50..].iter().map(Vec::len).sum();
        assert!(octets * 8 / 11 <= 36_000, "{name}: {octets} octets in 11 s");
        let heard = play(out.iter().map(|packet| &packet[..]));
        let mut last = 0.0;
        for (number, tenth) in heard.chunks(4_800).enumerate() {
            let level = dbfs(tenth);
            let expected = -14.0 - 6.0 * (number as f64 + 0.5 - 10.0).max(0.0) / 10.0;
            if number > 1 && expected > -64.0 {
                assert!((level - expected).abs() < 1.5, "{name}: {level:.1} instead of {expected:.1} at {number}");
            }
            // Down there a codec counts in steps.
            let steps = if last < -70.0 { 1.5 } else { 0.5 };
            assert!(level < last + steps, "{name}: {level:.1} after {last:.1} at {number}");
            last = level;
        }
        assert!(heard[48_000 * 11 + 2_400..].iter().all(|sample| sample.abs() < 1e-4), "{name}");
        let heard = quick(&heard);
        let (before, fade) = (most(&heard, 20..180), most(&heard, 190..2_400));
        assert!(fade <= 1.5 * before.max(0.001), "{name}: {fade:.5} against {before:.5}");
    }
}

#[test]
fn a_fade_that_is_cancelled_is_over_within_two_seconds() {
    // After so many packets of a fade of 4 s it is cancelled: halfway down, and after the end.
    for (turn, most_packets) in [(150, 27), (260, 52)] {
        for (name, coding) in codings() {
            let packets = sent(&coding, &sine(440.0, -20.0, 9_000));
            let mut fader = Fader::new().expect("codecs");
            let mut back = None;
            let out: Vec<Vec<u8>> = packets
                .iter()
                .enumerate()
                .map(|(number, sent)| {
                    match number {
                        50 => fader.fade(Span::from_s(4)),
                        _ if number == turn => fader.rise(),
                        _ => (),
                    }
                    let ours = fader.pass(&sent.packet()).expect("a good packet").to_vec();
                    if number > turn && fader.is_level() && back.is_none() {
                        back = Some(number);
                        return ours;
                    }
                    if number < 50 || back.is_some() { sent.payload.clone() } else { ours }
                })
                .collect();
            let back = back.expect("it is back");
            assert!(back - turn <= most_packets, "{name}: {} packets", back - turn);
            let heard = play(out.iter().map(|packet| &packet[..]));
            let levels: Vec<f64> = heard.chunks(960).map(dbfs).collect();
            // Down there a codec counts in steps.
            let rises = |two: &[f64]| two[1] > two[0] - if two[0] < -60.0 { 2.5 } else { 0.5 };
            assert!(levels[turn + 1..=back].windows(2).all(rises), "{name}: {:?}", &levels[turn + 1..=back]);
            assert!(levels[back + 1..].iter().all(|level| (level + 20.0).abs() < 4.0), "{name}: {:?}", &levels[back + 1..back + 10]);
            let heard = quick(&heard);
            let (before, after) = (most(&heard, 20..190), most(&heard, turn * 4..1_790));
            assert!(after <= 1.5 * before.max(0.001), "{name}: {after:.5} against {before:.5}");
        }
    }
}

#[test]
fn what_is_late_or_broken_gives_nothing() {
    let packets = sent(&USUAL, &voice(-20.0, 1_000));
    let mut fader = Fader::new().expect("codecs");
    for sent in &packets[..20] {
        assert!(fader.pass(&sent.packet()).is_some());
    }
    assert!(fader.pass(&packets[19].packet()).is_none(), "twice");
    assert!(fader.pass(&packets[5].packet()).is_none(), "late");
    for garbage in [&[][..], &[0x4B], &[0x4B, 0x3F, 1], &[0xFF; 900]] {
        let broken = Packet { payload: garbage, ..packets[20].packet() };
        assert!(fader.pass(&broken).is_none());
    }
    let after = fader.pass(&packets[24].packet()).expect("it goes on after a loss");
    assert_ne!(after, packets[24].payload, "never as it came");
    fader.renew();
    assert!(fader.pass(&packets[0].packet()).is_some(), "another source");
}

#[test]
fn a_fade_goes_on_while_nothing_is_said() {
    let packets = sent(&USUAL, &sine(440.0, -20.0, 6_000));
    let mut fader = Fader::new().expect("codecs");
    fader.fade(Span::from_s(4));
    // DTX: four packets a second, and every second one of them lost.
    for sent in packets.iter().step_by(24) {
        let index = 5 + (sent.index - 1_000) / 12;
        fader.pass(&Packet { index, ..sent.packet() });
        let gain = fader.gain_db().unwrap_or(FLOOR_DB);
        let expected = (-15.0 * (sent.ms + 20) as f64 / 1_000.0).max(FLOOR_DB);
        assert!((gain - expected).abs() < 0.01, "{gain} instead of {expected}");
    }
    assert!(fader.is_silent());
}

/// Packets of so many parts of so many ticks each, as a page may send them.
fn joined(coding: &Coding, parts: usize, samples: &[f32]) -> Vec<Sent> {
    let mut joiner = opus::Repacketizer::new().expect("a joiner");
    let mut room = [0; 4_000];
    let alone = sent(coding, samples);
    let packet = |(number, parts_of_it): (usize, &[Sent])| {
        let each: Vec<&[u8]> = parts_of_it.iter().map(|part| &part.payload[..]).collect();
        let len = joiner.combine(&each, &mut room).expect("parts that are alike");
        Sent { index: 1_000 + number as u64, payload: room[..len].to_vec(), ..parts_of_it[0].clone() }
    };
    alone.chunks_exact(parts).enumerate().map(packet).collect()
}

#[test]
fn packets_of_any_length_fall_evenly() {
    let silk = || Coding { bitrate: 24_000, bandwidth: Some(Bandwidth::Wideband), length: 480, ..USUAL };
    let celt = |length| Coding { application: Application::LowDelay, bandwidth: Some(Bandwidth::Fullband), length, ..USUAL };
    // 30, 50 and 110 ms, and 40 in short frames; 25, 7.5 and 117.5 ms.
    let voices = [3, 5, 11, 4].map(|parts| (silk(), parts));
    let quick = [(480, 3), (240, 5), (120, 3), (120, 47)].map(|(length, parts)| (celt(length), parts));
    for (coding, parts) in voices.into_iter().chain(quick) {
        let name = format!("{parts} of {}", coding.length);
        let ms = (parts * coding.length) as f64 / 48.0;
        for (what, sound) in [("sine", sine(440.0, -14.0, 4_000)), ("voice", voice(-14.0, 4_000))] {
            if what == "voice" && parts != 3 {
                continue;
            }
            let packets = joined(&coding, parts, &sound);
            let first = (1_000.0 / ms) as usize;
            let out = through(&mut Fader::new().expect("codecs"), &packets, first..packets.len(), |number, fader| {
                if number == first {
                    fader.fade(Span::from_ms(2_500));
                }
            });
            let heard = play(out.iter().map(|packet| &packet[..]));
            let began = first as f64 * ms / 1_000.0;
            if what == "sine" {
                for (number, tenth) in heard.chunks_exact(4_800).enumerate().skip(2) {
                    let (level, seconds) = (dbfs(tenth), (number as f64 + 0.5) / 10.0);
                    let expected = -14.0 - 24.0 * (seconds - began).clamp(0.0, 2.5);
                    if expected > -64.0 {
                        // Frames of 2.5 ms are poor at this rate, and lose of a tone what they cannot say.
                        let off = if coding.length == 120 { 5.0 } else { 3.0 };
                        assert!((level - expected).abs() < off, "{name}: {level:.1} instead of {expected:.1} after {seconds} s");
                    }
                }
            }
            assert!(heard[(48_000.0 * (began + 2.7)) as usize..].iter().all(|sample| sample.abs() < 1e-3), "{name} {what}");
        }
    }
}

/// A page that changes the length of its packets.
#[test]
fn packets_of_changing_length_all_fade() {
    let thirty = joined(&Coding { bitrate: 24_000, bandwidth: Some(Bandwidth::Wideband), length: 480, ..USUAL }, 3, &voice(-14.0, 6_000));
    let twenty = sent(&USUAL, &voice(-14.0, 6_000));
    let mut fader = Fader::new().expect("codecs");
    let mut out = Vec::new();
    let (mut index, mut timestamp) = (0, 0_u32);
    for sent in thirty.chunks(7).zip(twenty.chunks(5)).flat_map(|(thirty, twenty)| thirty.iter().chain(twenty)) {
        index += 1;
        let ticks = Shape::read(&sent.payload).expect("a packet").ticks();
        let now = at(i64::from(timestamp / 48));
        if index == 50 {
            fader.fade(Span::from_s(1));
        }
        let made = fader.pass(&Packet { index, timestamp, at: now, payload: &sent.payload }).expect("it fades").to_vec();
        assert_eq!(Shape::read(&made).map(|shape| shape.ticks()), Some(ticks));
        timestamp += ticks;
        out.push(made);
    }
    let heard = play(out[110..].iter().map(|packet| &packet[..]));
    assert!(fader.is_silent() && heard.iter().all(|sample| sample.abs() < 1e-3));
}

#[test]
fn time_goes_by_in_packets_that_give_nothing() {
    let packets = sent(&USUAL, &sine(440.0, -20.0, 6_000));
    let mut fader = Fader::new().expect("codecs");
    fader.fade(Span::from_s(10));
    for (number, sent) in packets.iter().enumerate() {
        let payload = if (50..200).contains(&number) { &[0x4B, 0x3F, 1] } else { &sent.payload[..] };
        let is_passed = fader.pass(&Packet { payload, ..sent.packet() }).is_some();
        assert_eq!(is_passed, !(50..200).contains(&number));
        if is_passed {
            let (gain, expected) = (fader.gain_db().expect("it is heard"), -6.0 * (sent.ms + 20) as f64 / 1_000.0);
            assert!((gain - expected).abs() < 0.01, "{gain} instead of {expected} at {number}");
        }
    }
}

#[test]
fn a_burst_after_a_stall_makes_no_step() {
    let packets = sent(&USUAL, &sine(440.0, -20.0, 4_000));
    let mut fader = Fader::new().expect("codecs");
    fader.fade(Span::from_s(3));
    let (mut before, mut out) = (0.0, Vec::new());
    for sent in &packets {
        // What was sent in the second second comes at its end.
        let late = if (1_000..2_000).contains(&sent.ms) { 2_000 } else { sent.ms };
        out.push(fader.pass(&Packet { at: at(late), ..sent.packet() }).expect("a good packet").to_vec());
        let gain = fader.gain_db().unwrap_or(FLOOR_DB);
        assert!(gain <= before && gain >= before - 4.01, "{gain} after {before}");
        before = gain;
    }
    assert!(fader.is_silent());
}
