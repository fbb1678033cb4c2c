//! One side's packets to one side's sound at 16 kHz, in order, over all its sources: what [`super::Listener`] and [`super::Placer`] share.
//!
//! Whatever a packet holds, it becomes sound or a gap: a decoder's error is a gap. It knows nothing of frames and files.

use super::AudioError;
use super::frame::{Missing, SAMPLE_RATE};
use super::packet::{LONGEST_TICKS, Packet, RTP_RATE, Shape};
use super::reorder::{Offered, Reorder};
use super::timeline::{Gap, Timeline};
use crate::clock::Moment;
use opus::{Channels, Decoder};

/// RTP ticks for each sample.
const TICKS: u64 = (RTP_RATE / SAMPLE_RATE) as u64;
/// Samples of the longest packet.
const LONGEST: usize = LONGEST_TICKS as usize / TICKS as usize;
/// The most that is made up for lost packets at once, in ticks: three frames of 20 ms.
const MOST_CONCEALED: u64 = 2_880;
/// The shortest frame, in ticks: a decoder makes up multiples of it.
const SHORTEST: u64 = 120;
/// What a decoder needs to find in when it starts amid a stream, in ticks: 80 ms (RFC 7845 section 4.6).
const CONVERGENCE: u64 = 3_840;

/// What became of the packets so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets that came.
    pub packets: u64,
    /// Of those, that came again, after they were given up or outside of their time.
    pub late: u64,
    /// Of those, that no decoder takes.
    pub malformed: u64,
    /// Of those, that had two channels.
    pub stereo: u64,
    /// Ms made up in place of lost packets.
    pub concealed_ms: u64,
    /// Ms that were lost otherwise.
    pub lost_ms: u64,
    /// Ms the sender left out.
    pub withheld_ms: u64,
    /// Ms in which nothing came.
    pub absent_ms: u64,
}

/// Where the sound goes.
pub(super) trait Sink {
    /// The next samples.
    fn sound(&mut self, samples: &[i16]);
    /// So many samples are not there.
    fn missing(&mut self, samples: u64, why: Missing);
}

/// See above.
pub(super) struct Track {
    reorder: Reorder,
    timeline: Timeline,
    decoder: Decoder,
    samples: Box<[i16; LONGEST]>,
    /// Ticks handed out.
    said: u64,
    /// Ticks yet to be decoded until the decoder has found in.
    converging: u64,
    /// What was handed out last was decoded: something can be made up from it.
    is_sounding: bool,
    counts: Counts,
}

impl Track {
    pub(super) fn new(origin: Moment) -> Result<Self, AudioError> {
        Ok(Self {
            reorder: Reorder::default(),
            timeline: Timeline::new(origin),
            decoder: Decoder::new(SAMPLE_RATE, Channels::Mono)?,
            samples: Box::new([0; LONGEST]),
            said: 0,
            converging: 0,
            is_sounding: false,
            counts: Counts::default(),
        })
    }

    pub(super) fn origin(&self) -> Moment {
        self.timeline.origin()
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// Takes a packet, and hands out what became due by it.
    pub(super) fn hear(&mut self, packet: &Packet<'_>, sink: &mut impl Sink) {
        self.counts.packets += 1;
        self.give_up(packet.at, sink);
        loop {
            match self.reorder.offer(packet) {
                Offered::Next => self.take(packet, sink),
                Offered::Waits => (),
                Offered::Twice | Offered::Late => self.counts.late += 1,
                Offered::Ahead => {
                    // Something waits, or it would not be ahead; each round takes one of at most 64.
                    let Some(kept) = self.reorder.hurried() else { return };
                    self.take(&kept.packet(), sink);
                    self.reorder.done(kept);
                    continue;
                }
            }
            return self.give_up(packet.at, sink);
        }
    }

    /// Hands out what time made due. To be called a few times a second.
    pub(super) fn tick(&mut self, now: Moment, sink: &mut impl Sink) {
        self.give_up(now, sink);
        let absent = self.timeline.absent(now);
        self.leave_out(absent, Missing::Absent, sink);
    }

    /// Another source comes next, with numbers and timestamps of its own.
    pub(super) fn restart(&mut self, sink: &mut impl Sink) {
        while let Some(kept) = self.reorder.hurried() {
            self.take(&kept.packet(), sink);
            self.reorder.done(kept);
        }
        self.reorder.restart();
        self.timeline.restart();
    }

    /// Hands out what is left, and what is missing until `now`.
    pub(super) fn end(&mut self, now: Moment, sink: &mut impl Sink) {
        self.restart(sink);
        let missing = self.timeline.end(now);
        self.leave_out(missing, Missing::Absent, sink);
    }

    fn give_up(&mut self, now: Moment, sink: &mut impl Sink) {
        while let Some(kept) = self.reorder.due(now) {
            self.take(&kept.packet(), sink);
            self.reorder.done(kept);
        }
    }

    /// Takes the next packet in order.
    fn take(&mut self, packet: &Packet<'_>, sink: &mut impl Sink) {
        let Some(shape) = Shape::read(packet.payload) else {
            self.counts.malformed += 1;
            return self.timeline.unread(packet);
        };
        let Some(gap) = self.timeline.place(packet, shape.ticks()) else {
            self.counts.late += 1;
            return;
        };
        self.counts.stereo += u64::from(shape.stereo);
        self.bridge(gap, sink);
        let ticks = u64::from(shape.ticks());
        if shape.is_withheld() {
            return self.leave_out(ticks, Missing::Withheld, sink);
        }
        let len = match self.decoder.decode(packet.payload, &mut self.samples[..], false) {
            Ok(len) if len as u64 == ticks / TICKS => len,
            _ => {
                self.counts.malformed += 1;
                return self.leave_out(ticks, Missing::Lost, sink);
            }
        };
        let unusable = self.converging.min(ticks);
        self.converging -= unusable;
        self.leave_out(unusable, Missing::Lost, sink);
        if unusable < ticks {
            self.said += ticks - unusable;
            self.is_sounding = true;
            sink.sound(&self.samples[(unusable / TICKS) as usize..len]);
        }
    }

    /// What lies between two packets.
    fn bridge(&mut self, gap: Gap, sink: &mut impl Sink) {
        let mut lost = gap.lost;
        let concealed = lost.min(MOST_CONCEALED) / SHORTEST * SHORTEST;
        if concealed > 0 && self.is_sounding {
            let room = &mut self.samples[..(concealed / TICKS) as usize];
            if self.decoder.decode(&[], room, false).is_ok_and(|len| len == room.len()) {
                lost -= concealed;
                self.said += concealed;
                self.counts.concealed_ms += concealed / 48;
                sink.sound(room);
            }
        }
        self.leave_out(lost, Missing::Lost, sink);
        self.leave_out(gap.withheld, Missing::Withheld, sink);
        self.leave_out(gap.absent, Missing::Absent, sink);
        if gap.is_fresh {
            // It fails for no decoder that was made.
            let _ = self.decoder.reset_state();
            self.converging = CONVERGENCE;
        }
    }

    fn leave_out(&mut self, ticks: u64, why: Missing, sink: &mut impl Sink) {
        if ticks == 0 {
            return;
        }
        let before = self.said / TICKS;
        self.said += ticks;
        self.is_sounding = false;
        *match why {
            Missing::Lost => &mut self.counts.lost_ms,
            Missing::Withheld => &mut self.counts.withheld_ms,
            Missing::Absent => &mut self.counts.absent_ms,
        } += ticks / 48;
        sink.missing(self.said / TICKS - before, why);
    }
}
