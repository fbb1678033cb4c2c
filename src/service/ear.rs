//! The server's real ear: what the core wants heard, in the words of the sound workers, and back.

use super::house::House;
use super::night::{Ear, Heard, Hearing, Hint};
use crate::call::{Audio, Event, RecordingEnd, Side};
use crate::clock::{Clock, Moment, Span};
use crate::ids::CallId;
use crate::media::Media;
use crate::recording::Writer;
use crate::sound::{self, JoinGuard, Order, Report, Sound, StartError, Tape};
use tokio::sync::mpsc;

/// Reports that wait for the service; beyond that workers keep them.
const REPORTS: usize = 1024;

impl Ear {
    /// Starts the sound workers of a media plane, which has no others.
    ///
    /// # Errors
    /// The machine has no more threads or descriptors.
    pub fn start(settings: sound::Settings, clock: Clock, media: Media) -> Result<(Self, JoinGuard), StartError> {
        let (heard, reports) = mpsc::channel(REPORTS);
        let say = move |report| heard_of(report).is_none_or(|said| heard.try_send(said).is_ok());
        let (sound, guard) = sound::start(settings, clock, media.clone(), say)?;
        Ok((Self { orders: Box::new(Told { place: Place { sound, media }, clock }), reports }, guard))
    }
}

/// What the core is to know of a report.
pub(super) fn heard_of(report: Report) -> Option<Heard> {
    match report {
        Report::Verdict { call, verdict } => Some(Heard::Verdict { call, verdict }),
        Report::Spoke { call, at } => Some(Heard::Spoke { call, at }),
        Report::Broke { call, at } => Some(Heard::Broke { call, at }),
        // The core knows when a landing ends.
        Report::Faded { .. } => None,
    }
}

/// Where voices are worked on.
pub(super) trait Workplace: Send + 'static {
    /// For the worker of a call.
    fn order(&mut self, order: Order);
    /// For the media plane: it gives a side's own voice back after so long, whatever the worker does.
    fn release(&mut self, call: CallId, side: Side, within: Span);
}

struct Place {
    sound: Sound,
    media: Media,
}

impl Workplace for Place {
    fn order(&mut self, order: Order) {
        self.sound.order(order);
    }

    fn release(&mut self, call: CallId, side: Side, within: Span) {
        self.media.release(call, side, within);
    }
}

/// What the core wants, in a workplace's words.
pub(super) struct Told<P> {
    pub(super) place: P,
    pub(super) clock: Clock,
}

impl<P: Workplace> Hearing for Told<P> {
    fn audio(&mut self, call: CallId, audio: Audio) {
        if audio == Audio::Unfade {
            // The worker brings her back softly. Should it be dead or late, the plane does so all the same.
            self.place.release(call, Side::Companion, sound::BACK);
        }
        self.place.order(match audio {
            Audio::Listen => Order::Listen { call, at: self.clock.now() },
            Audio::Deaf => Order::Deaf { call },
            Audio::Fade { length } => Order::Fade { call, length },
            Audio::Unfade => Order::Unfade { call },
            Audio::Play { to, cue } => Order::Play { call, to, cue },
        });
    }

    fn over(&mut self, call: CallId, at: Moment) {
        self.place.order(Order::Forget { call, at });
    }

    fn hint(&mut self, call: CallId, hint: Hint, at: Moment) {
        self.place.order(match hint {
            Hint::Tapped => Order::Tapped { call, at },
            Hint::SaidAsleep => Order::SaidAsleep { call, at },
            Hint::SaidAwake => Order::SaidAwake { call, at },
            Hint::Muted(muted) => Order::Muted { call, muted },
        });
    }

    fn record(&mut self, call: CallId, side: Side, writer: Writer) {
        self.place.order(Order::Record { call, side, tape: Box::new(writer) });
    }

    fn stop_recording(&mut self, call: CallId, at: Moment) {
        for side in Side::ALL {
            self.place.order(Order::StopRecording { call, side: *side, at });
        }
    }
}

impl House {
    /// What was done for a call's sound broke at this moment. The core is told that what is recorded ends there; a landing goes on, and who
    /// wakes in it is heard by a new ear.
    pub(super) fn ear_broke(&mut self, call: CallId, at: Moment) {
        tracing::error!(call.id = %call, "what hears, fades and records call {call} broke, and begins again");
        let running = self.exchange.call(call).and_then(|call| call.recording().running);
        if let Some((part, _)) = running.filter(|(_, since)| *since <= at) {
            self.tell_core(call, Event::RecordingFailed { part, why: RecordingEnd::Failed });
        }
    }
}

impl Tape for Writer {
    fn started(&self) -> Moment {
        Writer::started(self)
    }

    fn write(&mut self, samples: &[i16]) -> bool {
        Writer::write(self, samples).is_ok()
    }

    fn finish(self: Box<Self>, at: Moment) {
        Writer::finish(*self, at);
    }
}
