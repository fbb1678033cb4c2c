//! Packets to frames: what [`crate::sleep`] listens to.
//!
//! Frames are 20 ms each, in order, none left out but where nothing came for longer than ten seconds at once. A frame of which a part is
//! missing is missing. Memory is bounded whatever comes. Invariant: each frame began later than the one before.

use super::AudioError;
use super::frame::{FRAME_MS, FRAME_SAMPLES, Heard, Missing, SAMPLE_RATE};
use super::packet::Packet;
use super::track::{Counts, Sink, Track};
use crate::clock::{Moment, Span};

/// The longest that is told frame by frame when it is missing, in samples: ten seconds. After that time jumps.
const LONGEST_TOLD: u64 = 10 * SAMPLE_RATE as u64;

/// One side's listener.
pub struct Listener {
    track: Track,
    slicer: Slicer,
}

impl Listener {
    /// Listens from `start` on.
    pub fn new(start: Moment) -> Result<Self, AudioError> {
        let slicer = Slicer { frame: Box::new([0; FRAME_SAMPLES]), filled: 0, missing: None, begun: 0, last: None };
        Ok(Self { track: Track::new(start)?, slicer })
    }

    /// Takes a packet; `out` gets the frames that became due by it, each with the moment it began.
    pub fn hear(&mut self, packet: &Packet<'_>, out: &mut impl FnMut(Moment, Heard<'_>)) {
        let mut frames = Frames { origin: self.track.origin(), slicer: &mut self.slicer, out };
        self.track.hear(packet, &mut frames);
    }

    /// What time made due: packets waited for in vain, and absence. To be called a few times a second.
    pub fn tick(&mut self, now: Moment, out: &mut impl FnMut(Moment, Heard<'_>)) {
        let mut frames = Frames { origin: self.track.origin(), slicer: &mut self.slicer, out };
        self.track.tick(now, &mut frames);
    }

    /// The next packet is another source's: a page was loaded again.
    pub fn renew(&mut self, out: &mut impl FnMut(Moment, Heard<'_>)) {
        let mut frames = Frames { origin: self.track.origin(), slicer: &mut self.slicer, out };
        self.track.restart(&mut frames);
    }

    /// What became of the packets so far.
    pub fn counts(&self) -> Counts {
        self.track.counts()
    }
}

/// Cuts sound into frames.
struct Slicer {
    frame: Box<[i16; FRAME_SAMPLES]>,
    filled: usize,
    /// Why the frame that is being filled will be missing.
    missing: Option<Missing>,
    /// Where it began, in samples.
    begun: u64,
    /// When the frame before began.
    last: Option<Moment>,
}

struct Frames<'a, F> {
    origin: Moment,
    slicer: &'a mut Slicer,
    out: &'a mut F,
}

impl<F: FnMut(Moment, Heard<'_>)> Frames<'_, F> {
    fn close(&mut self) {
        let at = self.origin + Span::from_ms((self.slicer.begun / u64::from(SAMPLE_RATE / 1000)).cast_signed());
        // A source that begins where an earlier one ran ahead of the clock is placed by the clock again: until that has caught up, time
        // stands almost still, and never goes back.
        let at = self.slicer.last.map_or(at, |last| at.max(last + Span::from_ms(1)));
        self.slicer.last = Some(at);
        match self.slicer.missing.take() {
            Some(why) => (self.out)(at, Heard::Missing(why)),
            None => (self.out)(at, Heard::Sound(&self.slicer.frame)),
        }
        self.slicer.filled = 0;
        self.slicer.begun += FRAME_SAMPLES as u64;
    }
}

impl<F: FnMut(Moment, Heard<'_>)> Sink for Frames<'_, F> {
    fn sound(&mut self, mut samples: &[i16]) {
        while !samples.is_empty() {
            let slicer = &mut *self.slicer;
            let (now, later) = samples.split_at(samples.len().min(FRAME_SAMPLES - slicer.filled));
            slicer.frame[slicer.filled..][..now.len()].copy_from_slice(now);
            slicer.filled += now.len();
            samples = later;
            if slicer.filled == FRAME_SAMPLES {
                self.close();
            }
        }
    }

    fn missing(&mut self, samples: u64, why: Missing) {
        let mut left = samples.min(LONGEST_TOLD);
        while left > 0 {
            let slicer = &mut *self.slicer;
            let now = left.min((FRAME_SAMPLES - slicer.filled) as u64);
            slicer.missing.get_or_insert(why);
            slicer.filled += now as usize;
            left -= now;
            if slicer.filled == FRAME_SAMPLES {
                self.close();
            }
        }
        // The rest of it passes untold, in whole frames and what is left of one.
        let untold = samples - samples.min(LONGEST_TOLD);
        let frames = untold / FRAME_SAMPLES as u64;
        self.slicer.begun += frames * u64::from(FRAME_MS) * u64::from(SAMPLE_RATE / 1000);
        if untold > frames * FRAME_SAMPLES as u64 {
            self.missing(untold - frames * FRAME_SAMPLES as u64, why);
        }
    }
}
