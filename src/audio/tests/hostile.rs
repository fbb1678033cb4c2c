//! Payloads that no encoder made.

use super::*;

/// The same numbers in every run.
struct Random(u32);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) as usize % bound
    }

    /// A payload made of a good one, or of nothing.
    fn payload(&mut self, good: &[Sent], into: &mut Vec<u8>) {
        into.clear();
        if self.below(10) == 0 {
            into.extend((0..self.below(300)).map(|_| 0));
        } else {
            into.extend_from_slice(&good[self.below(good.len())].payload);
        }
        for _ in 0..self.below(6) {
            if into.is_empty() {
                break;
            }
            // The first octets say what the rest is.
            let place = if self.below(3) == 0 { 0 } else { self.below(into.len()) };
            match self.below(4) {
                0 => into.truncate(place),
                1 => into[place] = self.below(256) as u8,
                2 => into[place] ^= 1 << self.below(8),
                _ => into[place..].iter_mut().for_each(|octet| *octet = octet.wrapping_mul(31).wrapping_add(7)),
            }
        }
    }
}

#[test]
fn a_hundred_thousand_fuzzed_payloads_are_sound_or_gaps() {
    let mut good = sent(&USUAL, &voice(-20.0, 1_000));
    let wide = Coding { bitrate: 16_000, bandwidth: Some(Bandwidth::Wideband), ..USUAL };
    for length in [960, 2_880, 5_760] {
        good.extend(sent(&Coding { length, ..wide }, &voice(-20.0, 1_000)));
        good.extend(sent(
            &Coding { length, application: Application::LowDelay, channels: Channels::Stereo, ..USUAL },
            &voice(-20.0, 1_000),
        ));
    }
    let mut random = Random(1);
    let mut payload = Vec::new();
    let mut listener = Listener::new(at(0)).expect("a decoder");
    let mut fader = Fader::new().expect("codecs");
    let (mut frames, mut last, mut faded) = (0_i64, at(-20), 0);
    for number in 0..100_000_i64 {
        random.payload(&good, &mut payload);
        let packet = Packet { index: number as u64, timestamp: (number as u32).wrapping_mul(960), at: at(number * 20), payload: &payload };
        listener.hear(&packet, &mut |moment, _| {
            assert!(moment > last);
            (frames, last) = (frames + 1, moment);
        });
        if number % 10 == 0
            && let Some(out) = fader.pass(&packet)
        {
            faded += 1;
            assert_eq!(Shape::read(out).map(|shape| shape.ticks()), Shape::read(&payload).map(|shape| shape.ticks()));
        }
    }
    let counts = listener.counts();
    assert_eq!(counts.packets, 100_000);
    assert!(counts.malformed > 2_000 && counts.malformed < 60_000, "{counts:?}");
    assert!((98_000..=100_110).contains(&frames), "{frames}: {counts:?}");
    assert!(faded > 5_000, "{faded}");
}
