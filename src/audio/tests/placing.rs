//! Packets to the samples of a recording.

use super::*;

/// Where sound begins: after at least 300 ms of silence the first sample of a loud 10 ms, in ms.
struct Onsets {
    position: u64,
    quiet: u64,
    found: Vec<i64>,
}

impl Onsets {
    fn take(&mut self, samples: &[i16]) {
        for chunk in samples.chunks(160) {
            let is_loud = chunk.iter().map(|sample| i64::from(*sample).pow(2)).sum::<i64>() / chunk.len() as i64 > 500_i64.pow(2);
            if is_loud {
                if self.quiet >= 4_800 {
                    self.found.push((self.position / 16) as i64);
                }
                self.quiet = 0;
            } else {
                self.quiet += chunk.len() as u64;
            }
            self.position += chunk.len() as u64;
        }
    }
}

/// A night: every minute a second of tone, otherwise DTX; one packet in fifty is lost, all jitter, some hours bring a new page.
#[test]
fn eight_hours_with_dtx_are_eight_hours() {
    const HOURS: i64 = 8;
    // A second, and the frames that an encoder sends before it falls silent.
    let mut spurt = sine(440.0, -12.0, 1_000);
    spurt.resize(spurt.len() + 9_600, 0.0);
    let tone = sent(&USUAL, &spurt);
    // Coded without regard to what was before: the same packet serves after anything.
    let mut alone = encoder(&USUAL);
    alone.set_prediction_disabled(true).expect("a choice");
    let hush = alone.encode_vec_float(&sine(440.0, -80.0, 20), 400).expect("it is coded");
    let start = 3_210;
    let mut placer = Placer::new(at(start)).expect("a decoder");
    let mut onsets = Onsets { position: 0, quiet: 1 << 32, found: Vec::new() };
    let (mut index, mut base, mut expected) = (70_000_u64, 12_345_u32, Vec::new());
    let mut seed = 1_u32;
    let mut random = |below: u32| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) % below
    };
    let end = start + HOURS * 3_600_000;
    for minute in 0..HOURS * 60 {
        let begins = start + minute * 60_000;
        if minute % 150 == 149 {
            placer.renew(&mut |samples| onsets.take(samples));
            (index, base) = (u64::from(random(30_000)), random(1 << 24) << 8);
        }
        let mut times: Vec<(i64, &[u8])> = tone.iter().map(|sent| (sent.ms, &sent.payload[..])).collect();
        times.extend((1..147).map(|number| (1_180 + 400 * number, &hush[..])));
        for (offset, payload) in times {
            index += 1;
            let timestamp = base.wrapping_add(((begins + offset) * 48) as u32);
            let arrives = begins + offset + 20 + i64::from(random(60));
            // The first of a tone always comes, or its onset could not be looked for.
            if (random(50) > 0 || offset < 200) && arrives < end {
                placer.place(&Packet { index, timestamp, at: at(arrives), payload }, &mut |samples| onsets.take(samples));
            }
        }
        placer.tick(at(begins + 59_900), &mut |samples| onsets.take(samples));
        expected.push(begins - start);
    }
    placer.finish(at(end), &mut |samples| onsets.take(samples));
    let length = (placer.written() / 16) as i64;
    assert!((length - HOURS * 3_600_000).abs() <= 100, "{length} ms");
    assert_eq!(placer.written(), onsets.position);
    assert_eq!(onsets.found.len(), expected.len(), "{:?}", &onsets.found[..6]);
    for (found, expected) in onsets.found.iter().zip(&expected) {
        // A new page's first 80 ms are left out, and it is placed by its arrival.
        assert!((found - expected).abs() <= 180, "{found} instead of {expected}");
    }
    let punctual = onsets.found.iter().zip(&expected).filter(|(found, expected)| (*found - *expected).abs() <= 100).count();
    assert!(punctual >= expected.len() - 4, "{punctual} of {}", expected.len());
}

#[test]
fn a_recording_begins_and_ends_with_silence_where_nothing_came() {
    let packets = sent(&USUAL, &sine(440.0, -12.0, 1_000));
    let mut placer = Placer::new(at(0)).expect("a decoder");
    let mut all = Vec::new();
    for sent in &packets {
        let later = Sent { ms: sent.ms + 2_000, ..sent.clone() };
        placer.place(&later.packet(), &mut |samples| all.extend_from_slice(samples));
    }
    placer.finish(at(4_000), &mut |samples| all.extend_from_slice(samples));
    assert_eq!(all.len(), 4 * 16_000);
    assert!(all[..2 * 16_000 + 80 * 16].iter().chain(&all[3 * 16_000..]).all(|sample| *sample == 0));
    assert!(all[2 * 16_000 + 80 * 16..3 * 16_000].iter().any(|sample| sample.abs() > 5_000));
}

#[test]
fn what_is_lost_is_made_up_for_60_ms_and_then_silent() {
    let mut packets = sent(&USUAL, &sine(440.0, -12.0, 2_000));
    packets.retain(|sent| !(1_050..1_060).contains(&sent.index));
    let mut placer = Placer::new(at(0)).expect("a decoder");
    let mut all = Vec::new();
    packets.iter().for_each(|sent| placer.place(&sent.packet(), &mut |samples| all.extend_from_slice(samples)));
    assert_eq!(all.len(), 2 * 16_000);
    assert!(all[16_000 + 60 * 16..16_000 + 200 * 16].iter().all(|sample| *sample == 0));
    assert!(all[16_000..16_000 + 40 * 16].iter().any(|sample| sample.abs() > 2_000));
    assert!(all[16_000 + 220 * 16..].iter().any(|sample| sample.abs() > 5_000));
}
