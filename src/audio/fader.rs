//! A voice that grows quiet on its way: decoded at 48 kHz, turned down evenly in dB, coded again in packets of the same length.
//!
//! For landing (design.md section 9, processing mode). Packets are taken in the order of their numbers; one that is late or cannot be
//! decoded gives nothing, and is never handed out as it came. Invariant: the gain has no steps; between two packets it goes on where it
//! was.

use super::AudioError;
use super::packet::{LONGEST_TICKS, Mode, Packet, RTP_RATE, Shape};
use crate::clock::Span;
use opus::{Application, Bitrate, Channels, Decoder, Encoder, Signal};

/// Where the voice is taken for silent, in dB.
pub const FLOOR_DB: f64 = -60.0;
/// The whole way up again takes so long; from less far down it is shorter.
pub const RISE: Span = Span::from_ms(1_500);
/// Packets after which both codecs are in the swing.
pub const WARM_UP: u32 = 10;
/// Packets after the switch that predict nothing from those before: the page's decoder has heard another encoder until then, and a pitch
/// predicted from the wrong phase takes the voice back by 7 dB for a tenth of a second.
const APART: u8 = 3;
/// Bits a second.
const BITRATE: i32 = 32_000;
/// Octets of a coded packet: it has to pass where 120 ms at this rate do.
const MOST_OCTETS: usize = 1_100;
/// Lost packets are made up to this length, in ticks: three frames of 20 ms.
const MOST_CONCEALED: u64 = 2_880;
/// Time that passes between two packets counts up to this, in ticks: 2 s.
const LONGEST_GAP: i32 = 96_000;

/// What the gain does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Motion {
    /// It stays at 0 dB.
    Level,
    /// It falls by so many dB a tick.
    Falls(f64),
    /// Nothing is heard.
    Silent,
    /// It rises by so many dB a tick.
    Rises(f64),
}

/// The packet before.
#[derive(Clone, Copy)]
struct Last {
    index: u64,
    timestamp: u32,
    ticks: u32,
}

/// See above.
pub struct Fader {
    decoder: Decoder,
    encoder: Encoder,
    samples: Box<[f32; LONGEST_TICKS as usize]>,
    packet: Box<[u8; MOST_OCTETS]>,
    /// Octets of what came out last.
    coded: usize,
    last: Option<Last>,
    warmed: u32,
    /// Packets to come that stand by themselves.
    apart: u8,
    motion: Motion,
    /// The gain at the end of the last packet, in dB.
    gain: f64,
}

impl Fader {
    /// At 0 dB, with cold codecs.
    pub fn new() -> Result<Self, AudioError> {
        let mut encoder = Encoder::new(RTP_RATE, Channels::Mono, Application::Voip)?;
        encoder.set_bitrate(Bitrate::Bits(BITRATE))?;
        encoder.set_complexity(5)?;
        encoder.set_dtx(false)?;
        Ok(Self {
            decoder: Decoder::new(RTP_RATE, Channels::Mono)?,
            encoder,
            samples: Box::new([0.0; LONGEST_TICKS as usize]),
            packet: Box::new([0; MOST_OCTETS]),
            coded: 0,
            last: None,
            warmed: 0,
            apart: 0,
            motion: Motion::Level,
            gain: 0.0,
        })
    }

    /// The next packet is another source's: a page was loaded again. The gain goes on where it was.
    pub fn renew(&mut self) {
        self.last = None;
        // It fails for no decoder that was made.
        let _ = self.decoder.reset_state();
    }

    /// The gain after the last packet, in dB; nothing once it is silent.
    pub fn gain_db(&self) -> Option<f64> {
        (!self.is_silent()).then_some(self.gain)
    }

    /// Whether enough packets have passed for what comes out to take the place of what goes in.
    pub fn is_warm(&self) -> bool {
        self.warmed >= WARM_UP
    }

    /// From the next packet on what comes out goes to the page, which had what came in until now.
    pub fn take_over(&mut self) {
        self.apart = APART;
    }

    /// From the next packet on the voice falls to silence within `fade`.
    pub fn fade(&mut self, fade: Span) {
        let ticks = fade.ms().max(1) as f64 * f64::from(RTP_RATE) / 1000.0;
        self.motion = Motion::Falls(-FLOOR_DB / ticks);
    }

    /// From the next packet on the voice rises to 0 dB, within [`RISE`].
    pub fn rise(&mut self) {
        if self.motion == Motion::Level {
            return;
        }
        self.gain = self.gain.max(FLOOR_DB);
        let ticks = RISE.ms() as f64 * f64::from(RTP_RATE) / 1000.0;
        self.motion = Motion::Rises(-FLOOR_DB / ticks);
    }

    /// Whether nothing is heard any more.
    pub fn is_silent(&self) -> bool {
        self.motion == Motion::Silent
    }

    /// Whether the voice is as loud as it came.
    pub fn is_level(&self) -> bool {
        self.motion == Motion::Level
    }

    /// Takes a packet and gives the one that goes out in its place; nothing if it is late or no decoder takes it.
    pub fn pass(&mut self, packet: &Packet<'_>) -> Option<&[u8]> {
        let shape = Shape::read(packet.payload)?;
        let ticks = shape.ticks();
        if let Some(last) = self.last {
            if packet.index <= last.index {
                return None;
            }
            self.bridge(last, packet);
        }
        self.last = Some(Last { index: packet.index, timestamp: packet.timestamp, ticks });
        // As it came in bandwidth and mode, so that the page's decoder goes on with its memory at the switch.
        let bandwidth = opus::packet::get_bandwidth(packet.payload).ok()?;
        let signal = if shape.mode == Mode::Celt { Signal::Music } else { Signal::Voice };
        self.encoder.set_max_bandwidth(bandwidth).and_then(|()| self.encoder.set_signal(signal)).ok()?;
        let len = self.decoder.decode_float(packet.payload, &mut self.samples[..], false).ok().filter(|len| *len == ticks as usize)?;
        self.turn(len);
        self.encoder.set_prediction_disabled(self.apart > 0).ok()?;
        let coded = self.encoder.encode_float(&self.samples[..len], &mut self.packet[..]).ok()?;
        self.apart = self.apart.saturating_sub(1);
        self.warmed = self.warmed.saturating_add(1);
        self.coded = coded;
        Some(self.passed())
    }

    /// What came out last.
    pub fn passed(&self) -> &[u8] {
        &self.packet[..self.coded]
    }

    /// What lies between two packets: the codecs go through what was lost as the receiver's decoder does, and the gain moves on.
    fn bridge(&mut self, last: Last, packet: &Packet<'_>) {
        let lost = (packet.index - last.index - 1).saturating_mul(u64::from(last.ticks));
        let gap = packet.timestamp.wrapping_sub(last.timestamp).cast_signed().clamp(0, LONGEST_GAP).unsigned_abs();
        let mut gap = gap.saturating_sub(last.ticks);
        if lost > 0 && lost <= MOST_CONCEALED && lost <= u64::from(gap) {
            let each = last.ticks as usize;
            for _ in 0..lost as usize / each {
                if self.decoder.decode_float(&[], &mut self.samples[..each], false).is_ok_and(|len| len == each) {
                    self.turn(each);
                    // It is lost on purpose; only the encoder's memory matters.
                    let _ = self.encoder.encode_float(&self.samples[..each], &mut self.packet[..]);
                    gap -= last.ticks;
                }
            }
        }
        self.advance(gap);
    }

    /// Turns so many samples down, from where the gain was to where it is then.
    fn turn(&mut self, len: usize) {
        let (was_silent, from) = (self.is_silent(), self.gain);
        self.advance(len as u32);
        let is_silent = self.is_silent();
        let samples = &mut self.samples[..len];
        if is_silent {
            // The last step, to nothing at all, over the whole of it.
            let start = if was_silent { 0.0 } else { amplitude(from) };
            for (place, sample) in samples.iter_mut().enumerate() {
                *sample *= (start * (1.0 - (place + 1) as f64 / len as f64)) as f32;
            }
        } else if from != 0.0 || self.gain != 0.0 {
            let step = amplitude((self.gain - from) / len as f64);
            let mut gain = amplitude(from);
            for sample in samples {
                gain *= step;
                *sample *= gain as f32;
            }
        }
    }

    /// Moves the gain on by so many ticks.
    fn advance(&mut self, ticks: u32) {
        match self.motion {
            Motion::Falls(step) => {
                self.gain -= step * f64::from(ticks);
                // Ten minutes of sums are exact to far less than this.
                if self.gain <= FLOOR_DB + 1e-6 {
                    (self.gain, self.motion) = (FLOOR_DB, Motion::Silent);
                }
            }
            Motion::Rises(step) => {
                self.gain += step * f64::from(ticks);
                if self.gain >= -1e-6 {
                    (self.gain, self.motion) = (0.0, Motion::Level);
                }
            }
            Motion::Level | Motion::Silent => (),
        }
    }
}

fn amplitude(db: f64) -> f64 {
    10.0_f64.powf(db / 20.0)
}
