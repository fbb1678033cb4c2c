//! A voice that grows quiet on its way: decoded at 48 kHz, turned down evenly in dB, coded again in packets of the same length.
//!
//! For landing (design.md section 9, processing mode). Packets are taken in the order of their numbers; one that is late or cannot be
//! decoded gives nothing, and is never handed out as it came. The gain follows the clock, whatever comes of her or does not. Invariant: it
//! has no steps where something is heard before; a voice that falls never rises, and the other way round.

use super::AudioError;
use super::packet::{LONGEST_TICKS, Mode, Packet, RTP_RATE, Shape};
use crate::clock::{Moment, Span};
use opus::{Application, Bandwidth, Bitrate, Channels, Decoder, Encoder, Repacketizer, Signal};

/// Where the voice is taken for silent, in dB.
pub const FLOOR_DB: f64 = -60.0;
/// The whole way up again takes so long; from less far down it is shorter.
pub const RISE: Span = Span::from_ms(1_000);
/// Packets after which both codecs are in the swing.
pub const WARM_UP: u32 = 10;
/// Packets after the switch that predict nothing from those before: the page's decoder has heard another encoder until then, and a pitch
/// predicted from the wrong phase takes the voice back by 7 dB for a tenth of a second.
const APART: u8 = 3;
/// Bits a second.
const BITRATE: i32 = 32_000;
/// The same of frames below 10 ms, which say less with as much.
const SHORT_BITRATE: i32 = 64_000;
/// Octets of a coded packet: it has to pass where 120 ms at this rate do.
const MOST_OCTETS: usize = 1_100;
/// Lost packets are made up to this length, in ticks: three frames of 20 ms.
const MOST_CONCEALED: u64 = 2_880;
/// RTP ticks of a ms.
const TICKS_PER_MS: u32 = RTP_RATE / 1000;
/// After so long without sound the gain may begin anew wherever the clock is.
const HOLE: Span = Span::from_ms(100);
/// And after so long also where her timestamps say that no time went by.
const LONG_HOLE: Span = Span::from_s(2);
/// A gain that is behind the clock catches up by so many dB a ms: 4 in a packet, too slow for a click.
const CATCH_UP: f64 = 0.2;
/// A gain that begins anew further away than this is another sound to the encoder, in dB.
const JUMP_DB: f64 = 4.0;
/// Packets that the encoder makes by itself, in ticks: 2.5 to 120 ms (RFC 6716 section 2.1.4 and its reference encoder).
const WHOLE: [usize; 9] = [120, 240, 480, 960, 1_920, 2_880, 3_840, 4_800, 5_760];
/// Parts of which all others are made, in ticks: 10, 5 and 2.5 ms.
const PARTS: [usize; 3] = [480, 240, 120];
/// Parts of a packet at most.
const MOST_PARTS: usize = LONGEST_TICKS as usize / 120;

/// The way down or up.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Course {
    /// Where it begins, in dB; and when: at the next packet if that is not said.
    from: f64,
    since: Option<Moment>,
    /// dB a ms.
    step: f64,
}

/// What the gain does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Motion {
    /// It stays at 0 dB.
    Level,
    /// It falls.
    Falls(Course),
    /// Nothing is heard.
    Silent,
    /// It rises.
    Rises(Course),
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
    joiner: Repacketizer,
    samples: Box<[f32; LONGEST_TICKS as usize]>,
    packet: Box<[u8; MOST_OCTETS]>,
    parts: Box<[u8; MOST_OCTETS]>,
    /// Octets of what came out last.
    coded: usize,
    last: Option<Last>,
    /// When the last packet ended of which something came out.
    sounded: Option<Moment>,
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
            joiner: Repacketizer::new()?,
            samples: Box::new([0.0; LONGEST_TICKS as usize]),
            packet: Box::new([0; MOST_OCTETS]),
            parts: Box::new([0; MOST_OCTETS]),
            coded: 0,
            last: None,
            sounded: None,
            warmed: 0,
            apart: 0,
            motion: Motion::Level,
            gain: 0.0,
        })
    }

    /// One with cold codecs that goes on where this one is, if it broke.
    pub fn again(&self) -> Result<Self, AudioError> {
        Ok(Self { motion: self.motion, gain: self.gain, ..Self::new()? })
    }

    /// The next packet is another source's: a page was loaded again.
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

    /// From the next packet on the voice falls, to silence within `length`.
    pub fn fade(&mut self, length: Span) {
        self.falls(None, length);
    }

    /// The voice falls to silence within `length`, from a moment on that may be over: the next packet is as quiet as it should be by then.
    pub fn fade_since(&mut self, since: Moment, length: Span) {
        self.falls(Some(since), length);
    }

    fn falls(&mut self, since: Option<Moment>, length: Span) {
        let step = (self.gain - FLOOR_DB) / length.ms().max(1) as f64;
        self.motion = Motion::Falls(Course { from: self.gain, since, step });
    }

    /// From the next packet on the voice rises to 0 dB, within [`RISE`].
    pub fn rise(&mut self) {
        self.rises(None);
    }

    /// The same from a moment on that may be over.
    pub fn rise_since(&mut self, since: Moment) {
        self.rises(Some(since));
    }

    fn rises(&mut self, since: Option<Moment>) {
        if self.motion != Motion::Level {
            self.motion = Motion::Rises(Course { from: self.gain, since, step: -FLOOR_DB / RISE.ms() as f64 });
        }
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
        let mut pause = None;
        if let Some(last) = self.last {
            if packet.index <= last.index {
                return None;
            }
            pause = Some(self.bridge(last, packet));
        }
        self.last = Some(Last { index: packet.index, timestamp: packet.timestamp, ticks });
        // As it came in bandwidth and mode, so that the page's decoder goes on with its memory at the switch.
        let bandwidth = opus::packet::get_bandwidth(packet.payload).ok()?;
        let signal = if shape.mode == Mode::Celt { Signal::Music } else { Signal::Voice };
        self.encoder.set_max_bandwidth(bandwidth).and_then(|()| self.encoder.set_signal(signal)).ok()?;
        let len = self.decoder.decode_float(packet.payload, &mut self.samples[..], false).ok().filter(|len| *len == ticks as usize)?;
        if self.follows_nothing(packet.at, pause) {
            self.begin_at(packet.at);
        }
        self.turn(len, packet.at);
        self.encoder.set_prediction_disabled(self.apart > 0).ok()?;
        let coded = if WHOLE.contains(&len) {
            self.encoder.encode_float(&self.samples[..len], &mut self.packet[..]).ok()?
        } else {
            self.join(len, bandwidth)?
        };
        self.apart = self.apart.saturating_sub(1);
        self.warmed = self.warmed.saturating_add(1);
        self.coded = coded;
        self.sounded = Some(packet.at + Span::from_ms(i64::from(ticks / TICKS_PER_MS)));
        Some(self.passed())
    }

    /// What came out last.
    pub fn passed(&self) -> &[u8] {
        &self.packet[..self.coded]
    }

    /// Codes so many samples as a packet of a length that the encoder does not make: in parts, which are joined.
    fn join(&mut self, len: usize, bandwidth: Bandwidth) -> Option<usize> {
        let part = PARTS.into_iter().find(|part| len.is_multiple_of(*part))?;
        // Parts of one packet are alike in mode and bandwidth, so the encoder may choose neither: music at this rate is always CELT.
        self.encoder.set_signal(Signal::Music).and_then(|()| self.encoder.set_bandwidth(bandwidth)).ok()?;
        let rate = if part == PARTS[0] { BITRATE } else { SHORT_BITRATE };
        self.encoder.set_bitrate(Bitrate::Bits(rate)).ok()?;
        // Where it was about something else before, its first part is of the mode before: then it is in the new one, and begins again.
        let joined = self.join_parts(len, part).or_else(|| self.join_parts(len, part));
        self.encoder.set_bandwidth(Bandwidth::Auto).and_then(|()| self.encoder.set_bitrate(Bitrate::Bits(BITRATE))).ok()?;
        joined
    }

    fn join_parts(&mut self, len: usize, part: usize) -> Option<usize> {
        let count = (len / part).min(MOST_PARTS);
        // In front of each stands its length: two octets at most. In front of all, two.
        let most = (MOST_OCTETS - 2) / count - 2;
        let mut ends = [0; MOST_PARTS + 1];
        for (number, samples) in self.samples[..len].chunks_exact(part).enumerate() {
            let from = ends[number];
            ends[number + 1] = from + self.encoder.encode_float(samples, &mut self.parts[from..from + most]).ok()?;
        }
        let mut parts = [&self.parts[..0]; MOST_PARTS];
        for (number, place) in parts[..count].iter_mut().enumerate() {
            *place = &self.parts[ends[number]..ends[number + 1]];
        }
        self.joiner.combine(&parts[..count], &mut self.packet[..]).ok()
    }

    /// What lies between two packets: the codecs go through what was lost as the receiver's decoder does. Gives how long it is by her
    /// timestamps.
    fn bridge(&mut self, last: Last, packet: &Packet<'_>) -> Span {
        let lost = (packet.index - last.index - 1).saturating_mul(u64::from(last.ticks));
        let gap = packet.timestamp.wrapping_sub(last.timestamp).cast_signed().max(0).unsigned_abs().saturating_sub(last.ticks);
        if lost > 0 && lost <= MOST_CONCEALED && lost <= u64::from(gap) {
            let each = last.ticks as usize;
            for _ in 0..lost as usize / each {
                if self.decoder.decode_float(&[], &mut self.samples[..each], false).is_ok_and(|len| len == each) {
                    let gain = if self.is_silent() { 0.0 } else { amplitude(self.gain) };
                    self.samples[..each].iter_mut().for_each(|sample| *sample *= gain as f32);
                    // It is lost on purpose; only the encoder's memory matters, and that takes no packet of any length.
                    if WHOLE.contains(&each) {
                        let _ = self.encoder.encode_float(&self.samples[..each], &mut self.packet[..]);
                    }
                }
            }
        }
        Span::from_ms(i64::from(gap / TICKS_PER_MS))
    }

    /// Whether nothing was heard for so long that a packet of this moment may be as loud or quiet as it likes. `pause`: what her timestamps
    /// say, if it is the same source.
    fn follows_nothing(&self, at: Moment, pause: Option<Span>) -> bool {
        let Some(sounded) = self.sounded else { return true };
        let silent = at.since(sounded);
        // A burst after a stall comes late, and is heard without a hole.
        silent >= LONG_HOLE || (silent >= HOLE && pause.is_none_or(|pause| pause >= HOLE))
    }

    /// Sets the gain to what it should be by now.
    fn begin_at(&mut self, at: Moment) {
        let before = self.gain;
        self.move_to(self.wanted(at, 0.0));
        if (self.gain - before).abs() > JUMP_DB {
            // It still holds some ms of what was louder. It fails for no encoder that was made.
            let _ = self.encoder.reset_state();
        }
    }

    /// Turns so many samples down, from where the gain was to where it should be at their end.
    fn turn(&mut self, len: usize, at: Moment) {
        let (was_silent, from) = (self.is_silent(), self.gain);
        if let Motion::Falls(Course { since: since @ None, .. }) | Motion::Rises(Course { since: since @ None, .. }) = &mut self.motion {
            *since = Some(at);
        }
        if let Motion::Falls(course) | Motion::Rises(course) = self.motion {
            let ms = len as f64 / f64::from(TICKS_PER_MS);
            let most = course.step.max(CATCH_UP) * ms;
            self.move_to(self.wanted(at, ms).clamp(from - most, from + most));
        }
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

    /// What the gain should be so many ms after a moment; it never turns back.
    fn wanted(&self, at: Moment, ms: f64) -> f64 {
        let gone = |course: &Course| course.since.map_or(0.0, |since| (at.since(since).ms() as f64 + ms).max(0.0)) * course.step;
        match &self.motion {
            Motion::Level | Motion::Silent => self.gain,
            Motion::Falls(course) => (course.from - gone(course)).clamp(FLOOR_DB, self.gain),
            Motion::Rises(course) => (course.from + gone(course)).clamp(self.gain, 0.0),
        }
    }

    fn move_to(&mut self, gain: f64) {
        self.gain = gain;
        // Steps are not exact.
        match self.motion {
            Motion::Falls(_) if gain <= FLOOR_DB + 1e-6 => (self.gain, self.motion) = (FLOOR_DB, Motion::Silent),
            Motion::Rises(_) if gain >= -1e-6 => (self.gain, self.motion) = (0.0, Motion::Level),
            _ => (),
        }
    }
}

fn amplitude(db: f64) -> f64 {
    10.0_f64.powf(db / 20.0)
}
