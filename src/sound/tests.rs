//! A worker in virtual time, between a media plane that holds packets back as the real one does and a page that plays what it gets.

mod fading;
mod listening;
mod recording;
pub(crate) mod sleeping;
mod waking;

use super::cues::Cues;
use super::worker::Worker;
use super::*;
use crate::call::Cue;
use crate::media::Tapped;
use opus::{Bitrate, Channels, Encoder};
use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::sync::{Mutex, MutexGuard};
use tokio::sync::mpsc;
use uuid::Uuid;

fn at(ms: i64) -> Moment {
    Moment::from_unix_ms(1_773_144_000_000 + ms)
}

fn call(number: u128) -> CallId {
    CallId::new(Uuid::from_u128(number))
}

fn leg(number: u128) -> LegId {
    LegId::new(Uuid::from_u128(number))
}

/// What the media plane was told and given.
#[derive(Default)]
struct Told {
    taps: BTreeMap<(CallId, Side), Purpose>,
    tapped: usize,
    now: i64,
    /// Voices to be given back, and when.
    releases: BTreeMap<(CallId, Side), i64>,
    replaced: Vec<(LegId, u64, Vec<u8>)>,
    played: Vec<(Side, Play)>,
}

#[derive(Default)]
struct FakePlane(Mutex<Told>);

impl FakePlane {
    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().expect("no test panics with it")
    }

    /// It is this late now: voices whose time has come are given back.
    fn look_at_the_clock(&self, now: i64) {
        let mut told = self.told();
        told.now = now;
        for side in told.releases.extract_if(.., |_, due| *due <= now).map(|(side, _)| side).collect::<Vec<_>>() {
            told.taps.insert(side, Purpose::Analyse);
        }
    }
}

impl Plane for FakePlane {
    fn tap(&self, call: CallId, side: Side, purpose: Purpose) {
        let mut told = self.told();
        told.taps.insert((call, side), purpose);
        told.releases.remove(&(call, side));
        told.tapped += 1;
    }

    fn untap(&self, call: CallId, side: Side) {
        let mut told = self.told();
        told.taps.remove(&(call, side));
        told.releases.remove(&(call, side));
    }

    fn release(&self, call: CallId, side: Side, within: Span) {
        let mut told = self.told();
        if told.taps.get(&(call, side)) == Some(&Purpose::Replace) {
            let due = told.now + within.ms();
            told.releases.insert((call, side), due);
        }
    }

    fn replace(&self, _: CallId, leg: LegId, index: u64, payload: &[u8]) -> bool {
        self.told().replaced.push((leg, index, payload.to_vec()));
        true
    }

    fn play(&self, _: CallId, side: Side, play: Play) {
        self.told().played.push((side, play));
    }
}

/// A worker and what is around it.
struct Scene {
    worker: Worker,
    plane: Arc<FakePlane>,
    reports: mpsc::Receiver<Report>,
    now: i64,
    /// So many milliseconds packets have waited when they are handed over.
    late: i64,
    /// What pages' headers say of loudness, and whether they have a track for sounds.
    level: Option<u8>,
    hears_sounds: bool,
}

impl Scene {
    fn new(room: usize) -> Self {
        let plane = Arc::new(FakePlane::default());
        let (reports_in, reports) = mpsc::channel(room);
        let worker = Worker::new(0, plane.clone(), Arc::new(Cues::default()), Box::new(move |report| reports_in.try_send(report).is_ok()));
        Self { worker, plane, reports, now: 0, late: 0, level: None, hears_sounds: true }
    }

    fn order(&mut self, order: Order) {
        self.worker.order(order, at(self.now));
    }

    /// Time passes, with ticks.
    fn pass(&mut self, ms: i64) {
        let until = self.now + ms;
        while self.now / 100 < until / 100 {
            self.now = (self.now / 100 + 1) * 100;
            self.plane.look_at_the_clock(self.now);
            self.worker.tick(at(self.now), at(self.now - self.late));
        }
        self.now = until;
        self.plane.look_at_the_clock(self.now);
    }

    /// A page sends a packet; gives it if the media plane forwards it, or nothing if it holds it or takes no copies.
    fn send(&mut self, side: Side, from: LegId, page: &mut Page, held_from: &mut Option<u64>) -> Option<Vec<u8>> {
        let (index, timestamp, payload) = page.next_packet();
        let purpose = self.plane.told().taps.get(&(call(1), side)).copied();
        match purpose {
            Some(Purpose::Replace) => drop(held_from.get_or_insert(index)),
            _ => *held_from = None,
        }
        let tapped = Tapped {
            call: call(1),
            side,
            leg: from,
            index,
            timestamp,
            marker: false,
            at: at(self.now - self.late),
            level: self.level,
            hears_sounds: self.hears_sounds,
            held: held_from.is_some(),
            payload: payload[..].into(),
        };
        if purpose.is_some() {
            self.worker.hear(&tapped, at(self.now));
        }
        held_from.is_none().then_some(payload)
    }

    fn reports(&mut self) -> Vec<Report> {
        std::iter::from_fn(|| self.reports.try_recv().ok()).collect()
    }
}

/// A page that sends a tone.
pub(crate) struct Page {
    pub(crate) encoder: Encoder,
    sent: u64,
    begin: u64,
    amplitude: f64,
    /// What it sends next instead of the tone.
    next: Option<Vec<f32>>,
}

impl Page {
    pub(crate) fn new(begin: u64, dbfs: f64) -> Self {
        let mut encoder = Encoder::new(48_000, Channels::Mono, opus::Application::Voip).expect("an encoder");
        encoder.set_bitrate(Bitrate::Bits(32_000)).expect("a rate");
        Self { encoder, sent: 0, begin, amplitude: 10.0_f64.powf(dbfs / 20.0), next: None }
    }

    /// Its next 20 ms.
    pub(crate) fn says(&mut self, samples: &[f32]) {
        self.next = Some(samples.to_vec());
    }

    /// Its next 20 ms are not sent, nor heard by its encoder: only their time passes.
    pub(crate) fn rest(&mut self) {
        self.sent += 1;
    }

    /// Index, timestamp and payload.
    pub(crate) fn next_packet(&mut self) -> (u64, u32, Vec<u8>) {
        let start = self.sent * 960;
        let tone = |place| (self.amplitude * (TAU * 330.0 * place as f64 / 48_000.0).sin()) as f32;
        let samples = self.next.take().unwrap_or_else(|| (start..start + 960).map(tone).collect());
        let payload = self.encoder.encode_vec_float(&samples, 1_000).expect("it is coded");
        self.sent += 1;
        (self.begin + self.sent, (self.begin as u32).wrapping_mul(7_777).wrapping_add((self.sent * 960) as u32), payload)
    }
}
