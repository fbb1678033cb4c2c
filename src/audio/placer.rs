//! Packets to the samples of a recording: every sample where its RTP time says, silence where there is none.
//!
//! So eight hours are eight hours, whatever was lost or left out. Made up for lost packets are at most 60 ms at once. It writes nothing
//! itself.

use super::AudioError;
use super::frame::{Missing, SAMPLE_RATE};
use super::packet::Packet;
use super::track::{Counts, Sink, Track};
use crate::clock::Moment;

/// Silence is handed out in pieces of at most 100 ms.
static SILENCE: [i16; SAMPLE_RATE as usize / 10] = [0; SAMPLE_RATE as usize / 10];

/// One side's samples at 16 kHz, mono.
pub struct Placer {
    track: Track,
    written: u64,
}

impl Placer {
    /// The first sample is at `start`.
    pub fn new(start: Moment) -> Result<Self, AudioError> {
        Ok(Self { track: Track::new(start)?, written: 0 })
    }

    /// Takes a packet; `out` gets the samples that became due by it.
    pub fn place(&mut self, packet: &Packet<'_>, out: &mut impl FnMut(&[i16])) {
        self.track.hear(packet, &mut Samples { written: &mut self.written, out });
    }

    /// What time made due. To be called a few times a second.
    pub fn tick(&mut self, now: Moment, out: &mut impl FnMut(&[i16])) {
        self.track.tick(now, &mut Samples { written: &mut self.written, out });
    }

    /// The next packet is another source's: a page was loaded again.
    pub fn renew(&mut self, out: &mut impl FnMut(&[i16])) {
        self.track.restart(&mut Samples { written: &mut self.written, out });
    }

    /// The recording ends `now`: what waited, and silence up to here.
    pub fn finish(&mut self, now: Moment, out: &mut impl FnMut(&[i16])) {
        self.track.end(now, &mut Samples { written: &mut self.written, out });
    }

    /// Samples handed out so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// What became of the packets so far.
    pub fn counts(&self) -> Counts {
        self.track.counts()
    }
}

struct Samples<'a, F> {
    written: &'a mut u64,
    out: &'a mut F,
}

impl<F: FnMut(&[i16])> Sink for Samples<'_, F> {
    fn sound(&mut self, samples: &[i16]) {
        *self.written += samples.len() as u64;
        (self.out)(samples);
    }

    fn missing(&mut self, samples: u64, _why: Missing) {
        *self.written += samples;
        let mut left = samples;
        while left > 0 {
            let now = left.min(SILENCE.len() as u64);
            (self.out)(&SILENCE[..now as usize]);
            left -= now;
        }
    }
}
