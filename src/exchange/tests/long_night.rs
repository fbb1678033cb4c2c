//! Eight hours in virtual time: what a client's microphone would send, the detector that listens to it, the call that follows it into the
//! landing, and the bill to the last unit.
//!
//! The sound is made here: a room, breath that comes as it likes while she is awake and evenly when she sleeps. It is no measure of the
//! detector, only of everything around it.

use super::{BOOKED, Books, call_id, cny, hold_id, terms};
use crate::audio::{FRAME_SAMPLES, Heard, Missing};
use crate::billing::{Conditions, Increments, Kind, Plan, Rates, WindowTerms};
use crate::call::{EndReason, Event, Fact, Night, Side, State, Terms};
use crate::clock::{Moment, Span};
use crate::exchange::{Exchange, book};
use crate::ids::LegId;
use crate::money::Money;
use crate::sleep::Detector;
use uuid::Uuid;

const FRAME: Span = Span::from_ms(20);
const MINUTE: i64 = 60_000;

/// A number of chance below `most`.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> f32 {
        // xorshift64*, for noise that is the same each time.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 40) as f32 / (1u64 << 24) as f32
    }

    fn between(&mut self, least: f32, most: f32) -> f32 {
        least + (most - least) * self.roll()
    }
}

/// A bedroom with somebody breathing in it.
struct Bedroom {
    dice: Dice,
    /// Seconds into the breath at hand, and how long it takes.
    into: f32,
    period: f32,
    depth: f32,
    /// What makes noise of a breath of it: two filters of one pole.
    low: f32,
    lower: f32,
}

impl Bedroom {
    fn new() -> Self {
        Self { dice: Dice(0x5eed_1e55), into: 0.0, period: 4.0, depth: 1.0, low: 0.0, lower: 0.0 }
    }

    /// 20 ms of it; `evenly`: as sleepers breathe.
    fn frame(&mut self, evenly: bool) -> [i16; FRAME_SAMPLES] {
        let mut frame = [0; FRAME_SAMPLES];
        for sample in &mut frame {
            self.into += 1.0 / 16_000.0;
            if self.into >= self.period {
                self.into = 0.0;
                let (least, most) = if evenly { (3.8, 4.6) } else { (2.2, 7.0) };
                self.period = self.dice.between(least, most);
                self.depth = if evenly { self.dice.between(0.9, 1.1) } else { self.dice.between(0.3, 1.2) };
            }
            // In for a third, a moment's rest, out more softly, and a rest.
            let part = self.into / self.period;
            let hump = |from: f32, to: f32| {
                if (from..to).contains(&part) { ((part - from) / (to - from) * std::f32::consts::PI).sin() } else { 0.0 }
            };
            let breath = 420.0 * self.depth * (hump(0.0, 0.32) + 0.6 * hump(0.38, 0.75));
            let noise = self.dice.between(-1.0, 1.0);
            self.low += 0.45 * (noise - self.low);
            self.lower += 0.08 * (self.low - self.lower);
            // Rounding is wanted: it is at most a few hundred.
            *sample = (breath * 2.0 * (self.low - self.lower) + 18.0 * self.dice.between(-1.0, 1.0)) as i16;
        }
        frame
    }
}

fn night_terms() -> Terms {
    let window = |label, start, end, rate| WindowTerms { label, start, end, rate };
    let rates = Rates::by_window("Asia/Shanghai", &[window("day", "08:00", "23:00", 300), window("night", "23:00", "08:00", 180)]).unwrap();
    let kind = Kind::UntilAsleep { increments: Increments { first_s: 60, later_s: 60, rates }, cap_s: Some(36_000), cap: None };
    let sold = Plan::new(cny(), kind, Conditions::default()).unwrap();
    Terms { sold, hold: Money::new(200_000, cny()), night: Some(Night::default()), ..terms(Span::from_s(900), 2000) }
}

/// The core, and what a store would have of it.
struct Line {
    exchange: Exchange,
    books: Books,
}

impl Line {
    fn give(&mut self, event: Event, now: Moment) {
        let mut out = Vec::new();
        self.exchange.handle(call_id(), event, now, &mut out);
        self.books.check(&self.exchange, &out);
    }

    fn wake(&mut self, now: Moment) {
        while let Some(due) = self.exchange.poll_timeout().filter(|due| *due <= now) {
            let mut out = Vec::new();
            self.exchange.handle_timeout(due, &mut out);
            self.books.check(&self.exchange, &out);
        }
    }

    fn state(&self) -> State {
        self.exchange.call(call_id()).unwrap().state()
    }
}

#[test]
fn a_night_of_eight_hours_ends_asleep_and_is_billed_to_the_last_unit() {
    let (call, created) = book(call_id(), night_terms(), hold_id(1), BOOKED).unwrap();
    let mut line = Line { exchange: Exchange::new(), books: Books::new(created) };
    line.exchange.insert(call);
    let live = BOOKED + Span::from_ms(4_321);
    let leg = |side: Side| LegId::new(Uuid::from_u128(0x1e6 + side as u128));
    for side in Side::ALL.iter().copied() {
        line.give(Event::Joined { side, leg: leg(side) }, BOOKED);
        line.give(Event::Connected { side, leg: leg(side), at: live }, live);
    }
    for from in [Side::Companion, Side::Client] {
        line.give(Event::AudioReached { from, at: live }, live);
    }

    let (mut room, mut ear) = (Bedroom::new(), Detector::new(live));
    let (mut now, mut spoke_at) = (live, live);
    let mut frames = 0u64;
    while !matches!(line.state(), State::Settled { .. }) {
        let minute = now.since(live).ms() / MINUTE;
        assert!(minute < 9 * 60, "she never fell asleep: {:?}", ear.verdict());
        // Awake, then muted until almost morning, then awake for a little, then asleep.
        let found = match minute {
            0..12 => ear.hear(now, Heard::Sound(&room.frame(false))),
            12..445 => ear.hear(now, Heard::Missing(Missing::Absent)),
            445..450 => ear.hear(now, Heard::Sound(&room.frame(false))),
            _ => ear.hear(now, Heard::Sound(&room.frame(true))),
        };
        now = now + FRAME;
        frames += 1;
        if let Some(verdict) = found {
            line.give(Event::Ear { verdict }, now);
        }
        if (ear.speaks() || ear.stirs()) && now.since(spoke_at) >= Span::from_s(1) {
            spoke_at = now;
            line.give(Event::Spoke { at: now }, now);
        }
        // She taps now and then as long as she is awake.
        if minute < 12 && frames.is_multiple_of(9_000) {
            line.give(Event::ImHere, now);
            if let Some(verdict) = ear.tapped(now) {
                line.give(Event::Ear { verdict }, now);
            }
        }
        line.wake(now);
    }

    let State::Settled { reason, charge, refund, .. } = line.state() else { unreachable!("it is settled") };
    assert_eq!(reason, EndReason::Asleep);
    let entries = line.exchange.call(call_id()).unwrap().entries();
    let lands = entries.iter().rev().find(|entry| matches!(entry.fact, Fact::Lands { .. })).unwrap().at;
    let ended = entries.iter().rev().find(|entry| matches!(entry.fact, Fact::Ended { .. })).unwrap().at;
    assert_eq!(ended.since(lands), Span::from_s(60));
    assert!(ended.since(live) >= Span::from_s(7 * 3600 + 1800), "a whole night");
    for entry in entries {
        let minute = entry.at.since(live).ms() / MINUTE;
        assert!(!matches!(entry.fact, Fact::Lingers { .. }) || minute >= 450, "asleep while she was awake or muted, at minute {minute}");
    }
    // A few facts for each change, and none for the hours in between.
    assert!(entries.len() < 120, "{}", entries.len());

    // Each minute that was begun costs what its first instant does; landings are nobody's minutes.
    let record: serde_json::Value = serde_json::from_str(&line.books.settle.as_ref().unwrap().record).unwrap();
    let delivered_ms = record["delivered_ms"].as_i64().unwrap();
    let mut due = 0;
    let mut into_ms = 0;
    for segment in record["segments"].as_array().unwrap().iter().filter(|segment| segment["kind"] == "delivered") {
        let time = |name: &str| segment[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond();
        let (from, to) = (time("from_at"), time("to_at"));
        for ms in (from..to).filter(|ms| (ms - from + into_ms) % MINUTE == 0) {
            // 23:00 in Shanghai is three hours behind the booking.
            due += if Moment::from_unix_ms(ms) < BOOKED + Span::from_s(3 * 3600) { 300 } else { 180 };
        }
        into_ms += to - from;
    }
    assert_eq!(into_ms, delivered_ms);
    assert_eq!((charge.amount, refund.amount), (due, 200_000 - due));
    let slept = &record["sleep"];
    let last = slept["lingers"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["by"], &last["verdict"]["state"], &last["verdict"]["why"]), (&"ear".into(), &"asleep".into(), &"breathing".into()));
    assert_eq!(last["landed_at"], lands.to_string());
}
