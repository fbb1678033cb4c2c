//! The sound workers as the house's ear: its orders in their words, their reports in its.
//!
//! It decides nothing and waits for nobody.

use super::night::{Ear, Heard, Hearing, Hint};
use crate::call::{self, Audio, Side};
use crate::clock::{Clock, Moment};
use crate::ids::CallId;
use crate::recording::Writer;
use crate::sound::{Cue, Order, Report, Sound, Tape};
use tokio::sync::mpsc;

/// Reports that may wait for the loop; the workers keep what finds no room.
const REPORTS: usize = 256;

impl Ear {
    /// The ear that these workers are; `reports` is what they say. Needs a runtime.
    pub fn of(sound: Sound, clock: Clock, mut reports: mpsc::Receiver<Report>) -> Self {
        let (heard_in, heard) = mpsc::channel(REPORTS);
        tokio::spawn(async move {
            while let Some(report) = reports.recv().await {
                let heard = match report {
                    Report::Verdict { call, verdict } => Heard::Verdict { call, verdict },
                    Report::Spoke { call, at } => Heard::Spoke { call, at },
                    // The core ends a landing by its own clock.
                    Report::Faded { .. } => continue,
                };
                if heard_in.send(heard).await.is_err() {
                    return; // The house is gone.
                }
            }
        });
        Self { orders: Box::new(Workers { sound, clock }), reports: heard }
    }
}

struct Workers {
    sound: Sound,
    clock: Clock,
}

impl Hearing for Workers {
    fn audio(&mut self, call: CallId, audio: Audio) {
        self.sound.order(match audio {
            Audio::Listen => Order::Listen { call, at: self.clock.now() },
            Audio::Deaf => Order::Deaf { call },
            Audio::Fade { length } => Order::Fade { call, length },
            Audio::Unfade => Order::Unfade { call },
            Audio::Play { to, cue } => {
                let cue = match cue {
                    call::Cue::Chime { dbfs } => Cue::Chime { dbfs },
                    call::Cue::Extended { dbfs } => Cue::Extended { dbfs },
                    call::Cue::Waiting { on } => Cue::Waiting { on },
                    call::Cue::Probe => Cue::Probe,
                };
                Order::Play { call, to, cue }
            }
        });
    }

    fn over(&mut self, call: CallId, at: Moment) {
        self.sound.order(Order::Forget { call, at });
    }

    fn hint(&mut self, call: CallId, hint: Hint, at: Moment) {
        self.sound.order(match hint {
            Hint::Tapped => Order::Tapped { call, at },
            Hint::SaidAsleep => Order::SaidAsleep { call, at },
            Hint::SaidAwake => Order::SaidAwake { call, at },
            Hint::Muted(muted) => Order::Muted { call, muted },
        });
    }

    fn record(&mut self, call: CallId, side: Side, writer: Writer) {
        self.sound.order(Order::Record { call, side, tape: Box::new(writer) });
    }

    fn stop_recording(&mut self, call: CallId, at: Moment) {
        for side in [Side::Client, Side::Companion] {
            self.sound.order(Order::StopRecording { call, side, at });
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
