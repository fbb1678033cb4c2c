//! What the bot says: a slow hum, made of sines, coded as Opus frame by frame.
//!
//! No person's recording. While it says her own words back the hum is silent, so that the tester hears what her
//! microphone sent.

use opus::{Application, Bitrate, Channels, Encoder};
use std::f32::consts::TAU;

/// Samples a second, here and in [`super::ear`].
pub(super) const RATE: u32 = 48_000;
/// Samples of a frame of 20 ms.
pub(super) const FRAME: usize = 960;
/// Bits a second.
const BITRATE: i32 = 32_000;
/// The longest Opus packet (RFC 6716 section 3.2.1) that we ask for, in bytes.
const PACKET_LIMIT: usize = 400;
/// The tune in Hz, 0 for a rest: five notes without semitones, down to where it began.
const TUNE: [f32; 14] = [220.0, 261.63, 293.66, 261.63, 329.63, 293.66, 261.63, 0.0, 196.0, 220.0, 261.63, 220.0, 0.0, 0.0];
/// Samples of a note: 1.2 s.
const NOTE: usize = 57_600;
/// Rise of a note, in samples.
const RISE: usize = 9_600;
/// How loud, of full scale.
const LOUDNESS: f32 = 0.22;
/// Overtones and their parts.
const OVERTONES: [(f32, f32); 3] = [(1.0, 0.7), (2.0, 0.22), (3.0, 0.08)];
/// Part of the way to its goal that the hum's loudness goes in a frame.
const FADE: f32 = 0.15;

/// The bot's voice.
pub(super) struct Voice {
    encoder: Encoder,
    hum: Vec<f32>,
    at: usize,
    /// Present loudness of the hum.
    level: f32,
    timestamp: u32,
    first: bool,
    packet: [u8; PACKET_LIMIT],
}

impl Voice {
    pub(super) fn new() -> Result<Self, opus::Error> {
        let mut encoder = Encoder::new(RATE, Channels::Mono, Application::Voip)?;
        encoder.set_bitrate(Bitrate::Bits(BITRATE))?;
        encoder.set_inband_fec(true)?;
        // The companion delivers only while packets arrive: silence is coded too.
        encoder.set_dtx(false)?;
        Ok(Self { encoder, hum: tune(), at: 0, level: 1.0, timestamp: 0, first: true, packet: [0; PACKET_LIMIT] })
    }

    /// The next 20 ms: timestamp, whether it begins a spurt, packet. `echo` is played instead of the hum.
    pub(super) fn next_frame(&mut self, echo: Option<&[f32; FRAME]>) -> Result<(u32, bool, &[u8]), opus::Error> {
        let goal = if echo.is_some() { 0.0 } else { 1.0 };
        let mut samples = [0.0; FRAME];
        let next = self.level + (goal - self.level) * FADE;
        for (place, sample) in samples.iter_mut().enumerate() {
            let level = self.level + (next - self.level) * place as f32 / FRAME as f32;
            *sample = level * self.hum[(self.at + place) % self.hum.len()];
            if let Some(echo) = echo {
                *sample = (*sample + echo[place]).clamp(-1.0, 1.0);
            }
        }
        self.level = next;
        self.at = (self.at + FRAME) % self.hum.len();
        let len = self.encoder.encode_float(&samples, &mut self.packet)?;
        let timestamp = self.timestamp;
        self.timestamp = timestamp.wrapping_add(FRAME as u32);
        Ok((timestamp, std::mem::take(&mut self.first), &self.packet[..len]))
    }

    /// Leaves 20 ms out.
    pub(super) fn skip(&mut self) {
        self.timestamp = self.timestamp.wrapping_add(FRAME as u32);
        self.first = true;
    }
}

/// The whole tune; its ends join in silence.
fn tune() -> Vec<f32> {
    let mut samples = Vec::with_capacity(TUNE.len() * NOTE);
    for pitch in TUNE {
        let mut phase = 0.0_f32;
        for place in 0..NOTE {
            let seconds = place as f32 / RATE as f32;
            let vibrato = 1.0 + 0.004 * (TAU * 4.8 * seconds).sin();
            phase = (phase + pitch * vibrato / RATE as f32).fract();
            let edge = place.min(NOTE - 1 - place) as f32 / RISE as f32;
            let envelope = 0.5 - 0.5 * (std::f32::consts::PI * edge.min(1.0)).cos();
            let tone: f32 = OVERTONES.iter().map(|(times, part)| part * (TAU * phase * times).sin()).sum();
            samples.push(LOUDNESS * envelope * tone);
        }
    }
    samples
}

#[cfg(test)]
mod tests {
    use super::*;
    use opus::Decoder;

    fn loudness(samples: &[f32]) -> f32 {
        (samples.iter().map(|sample| sample * sample).sum::<f32>() / samples.len() as f32).sqrt()
    }

    #[test]
    fn the_hum_is_heard_and_gives_way_to_her_own_words() {
        let mut voice = Voice::new().expect("opus");
        let mut decoder = Decoder::new(RATE, Channels::Mono).expect("opus");
        let mut loudest = [0.0_f32; 2];
        let quiet = [0.0; FRAME];
        for frame in 0..150_u32 {
            let echo = (frame >= 50).then_some(&quiet);
            let (timestamp, marker, packet) = voice.next_frame(echo).expect("opus");
            assert_eq!((timestamp, marker), (frame * 960, frame == 0));
            assert!(packet.len() <= PACKET_LIMIT);
            let mut heard = [0.0; FRAME];
            assert_eq!(decoder.decode_float(packet, &mut heard, false).expect("a good packet"), FRAME);
            let which = match frame {
                0..50 => 0,
                100.. => 1,
                _ => continue, // The fade.
            };
            loudest[which] = loudest[which].max(loudness(&heard));
        }
        assert!(loudest[0] > 0.05, "the hum: {}", loudest[0]);
        assert!(loudest[1] < 0.002, "behind the echo: {}", loudest[1]);
    }

    #[test]
    fn the_tune_joins_without_a_click() {
        let tune = tune();
        assert!(tune.iter().all(|sample| sample.abs() <= LOUDNESS));
        assert!(tune.iter().zip(tune.iter().cycle().skip(1)).all(|(a, b)| (a - b).abs() < 0.05));
        assert_eq!(tune.len() % FRAME, 0);
    }
}
