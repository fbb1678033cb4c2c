//! What one worker does: orders, packets and time in; taps, processed packets and reports out. It reads no clock itself.

use super::cues::Cues;
use super::ear::Ear;
use super::landing::{BACK, Landing};
use super::{Order, Plane, Report, Tape};
use crate::audio::{AudioError, Packet, Placer};
use crate::call::{Cue, Side};
use crate::clock::{Moment, Span};
use crate::ids::{CallId, LegId};
use crate::media::{Purpose, Tapped};
use crate::sleep::{State, Verdict, Why};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// A packet that waited longer says that there is more to do than time.
const SHORT: Span = Span::from_ms(300);
/// And for so long afterwards load is shed.
const SHED: Span = Span::from_s(2);
/// A packet that waited longer is not listened to.
const LATE: Span = Span::from_s(2);
/// A tapped side of which nothing comes is tapped again after so long: the media plane may have forgotten the call between two pages.
const SILENT: Span = Span::from_s(5);
const DAY: Span = Span::from_s(86_400);
/// A call whose ear broke has a new one after so long: what breaks it again at once is not to cost more than that.
const NEW_EAR: Span = Span::from_s(1);

/// Takes a report, or is false where there is no room.
pub(super) type Say = Box<dyn Fn(Report) -> bool + Send>;

/// See above.
pub(super) struct Worker {
    number: usize,
    plane: Arc<dyn Plane>,
    cues: Arc<Cues>,
    say: Say,
    calls: BTreeMap<CallId, Call>,
    /// Until when load is shed.
    short_until: Option<Moment>,
    /// The longest that a packet waited, in ms; others look at it.
    pub(super) longest_wait: Arc<AtomicI64>,
}

impl Worker {
    pub(super) fn new(number: usize, plane: Arc<dyn Plane>, cues: Arc<Cues>, say: Say) -> Self {
        Self { number, plane, cues, say, calls: BTreeMap::new(), short_until: None, longest_wait: Arc::default() }
    }

    /// Carries an order out.
    pub(super) fn order(&mut self, order: Order, now: Moment) {
        let id = order.call();
        if let Order::Forget { at, .. } = order {
            if let Some(call) = self.calls.remove(&id) {
                end(call, at);
            }
            return;
        }
        let call = self.calls.entry(id).or_default();
        let plane = &*self.plane;
        let is_recording = matches!(order, Order::Record { .. });
        let done = guarded(|| call.take(order, id, now, plane, &self.cues));
        match done {
            Some(Ok(())) => (),
            Some(Err(error)) => {
                tracing::error!(call = %id, %error, "what was ordered for the sound of a call cannot be done: {error}");
                if is_recording {
                    call.stop_recording(now);
                }
            }
            None => call.broke(now),
        }
        self.settle(id, now);
    }

    /// Takes a packet.
    pub(super) fn hear(&mut self, tapped: &Tapped, now: Moment) {
        let waited = now.since(tapped.at);
        self.longest_wait.fetch_max(waited.ms(), Ordering::Relaxed);
        if waited >= SHORT {
            self.short_until = Some(now + SHED);
        }
        let is_short = self.short_until.is_some_and(|until| now < until);
        let Some(call) = self.calls.get_mut(&tapped.call) else { return };
        let plane = &*self.plane;
        let load = if waited >= LATE {
            Load::Late
        } else if is_short {
            Load::Short
        } else {
            Load::Fine
        };
        if guarded(|| call.hear(tapped, load, plane)).is_none() {
            call.broke(now);
        }
        if call.has_news() {
            self.settle(tapped.call, now);
        }
    }

    /// What time made due. All that came until `heard_until` was handed over; later packets may still wait.
    pub(super) fn tick(&mut self, now: Moment, heard_until: Moment) {
        let ids: Vec<CallId> = self.calls.keys().copied().collect();
        for id in ids {
            if let Some(call) = self.calls.get_mut(&id)
                && guarded(|| call.tick(now, heard_until)).is_none()
            {
                call.broke(now);
            }
            self.settle(id, now);
        }
        let ears = self.calls.values().filter(|call| call.ear.is_some()).count();
        metrics::gauge!("lull_ears", "worker" => self.number.to_string()).set(ears as f64);
        let waited_s = self.longest_wait.load(Ordering::Relaxed) as f64 / 1e3;
        metrics::gauge!("lull_ear_longest_wait_seconds", "worker" => self.number.to_string()).set(waited_s);
    }

    /// Something broke that is no call's: nobody knows what was being done.
    pub(super) fn broke(&mut self, now: Moment) {
        for call in self.calls.values_mut() {
            call.broke(now);
        }
    }

    /// Finishes what is recorded; the worker ends.
    pub(super) fn end(&mut self, now: Moment) {
        for (_, call) in std::mem::take(&mut self.calls) {
            // What breaks in one call's end leaves the others theirs.
            guarded(|| end(call, now));
        }
    }

    /// Packets of a client that were listened to.
    #[cfg(test)]
    pub(super) fn heard(&self, id: CallId) -> Option<u64> {
        Some(self.counts(id)?.packets)
    }

    /// What became of them.
    #[cfg(test)]
    pub(super) fn counts(&self, id: CallId) -> Option<crate::audio::Counts> {
        Some(self.calls.get(&id)?.ear.as_ref()?.counts())
    }

    /// Tells the media plane what is wanted of it, and the service what is new.
    fn settle(&mut self, id: CallId, now: Moment) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        let plane = &*self.plane;
        if guarded(|| call.tell_plane(id, now, plane)).and_then(|()| guarded(|| call.report(id, &*self.say))).is_none() {
            call.broke(now);
        }
        if call.is_idle(now) {
            self.calls.remove(&id);
        }
    }
}

/// How much time there is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Load {
    Fine,
    Short,
    Late,
}

/// One side of a call.
#[derive(Default)]
struct Voice {
    leg: Option<LegId>,
    /// Its leg before, of which late packets may still come.
    former: Option<LegId>,
    tape: Option<Taping>,
    /// What the media plane was told, and when.
    told: Option<(Purpose, Moment)>,
    heard_at: Option<Moment>,
}

struct Taping {
    placer: Placer,
    tape: Box<dyn Tape>,
}

/// What is done for one call.
#[derive(Default)]
struct Call {
    ear: Option<Ear>,
    landing: Option<Landing>,
    client: Voice,
    companion: Voice,
    /// Since when the client is muted.
    muted_at: Option<Moment>,
    /// A verdict that an ear left behind when it broke, and when the next one begins.
    last_word: Option<Verdict>,
    ear_due: Option<Moment>,
    /// That it broke is still to be said.
    broke_at: Option<Moment>,
}

impl Call {
    fn voice(&mut self, side: Side) -> &mut Voice {
        match side {
            Side::Client => &mut self.client,
            Side::Companion => &mut self.companion,
        }
    }

    fn take(&mut self, order: Order, id: CallId, now: Moment, plane: &dyn Plane, cues: &Cues) -> Result<(), AudioError> {
        match order {
            Order::Listen { at, .. } => {
                if self.ear.is_none() {
                    // Until there is one.
                    self.ear_due = Some(now + NEW_EAR);
                    self.ear = Some(Ear::new(at, self.muted_at.is_some())?);
                    self.ear_due = None;
                }
            }
            Order::Deaf { .. } => (self.ear, self.ear_due) = (None, None),
            Order::Fade { length, .. } => match &mut self.landing {
                Some(landing) => {
                    landing.fade(now, length);
                    // It may have been told to release her meanwhile: only a new tap takes that back.
                    self.companion.told = None;
                }
                None => self.landing = Some(Landing::new(now, length)?),
            },
            Order::Unfade { .. } => {
                if let Some(landing) = &mut self.landing {
                    landing.unfade(now);
                    if landing.purpose() == Some(Purpose::Replace) {
                        plane.release(id, Side::Companion, BACK);
                    }
                }
            }
            Order::Tapped { at, .. } => self.with_ear(|ear| ear.tapped(at)),
            Order::SaidAwake { at, .. } => self.with_ear(|ear| ear.said_awake(at)),
            Order::SaidAsleep { at, .. } => self.with_ear(|ear| ear.said_asleep(at)),
            Order::Muted { muted, .. } => {
                self.muted_at = muted.then_some(now);
                self.with_ear(|ear| ear.mute(muted));
            }
            Order::Play { to, cue, .. } => {
                plane.play(id, to, cues.play(cue)?);
                if cue == Cue::Probe && to == Side::Client {
                    self.with_ear(|ear| ear.tone_played(now));
                }
            }
            Order::Record { side, tape, .. } => {
                let placer = Placer::new(tape.started())?;
                let before = self.voice(side).tape.replace(Taping { placer, tape });
                if let Some(before) = before {
                    before.finish(now);
                }
            }
            Order::StopRecording { side, at, .. } => {
                if let Some(taping) = self.voice(side).tape.take() {
                    taping.finish(at);
                }
            }
            Order::Forget { .. } => (),
        }
        Ok(())
    }

    fn with_ear(&mut self, tell: impl FnOnce(&mut Ear)) {
        if let Some(ear) = &mut self.ear {
            tell(ear);
        }
    }

    fn hear(&mut self, tapped: &Tapped, load: Load, plane: &dyn Plane) {
        let packet = Packet { index: tapped.index, timestamp: tapped.timestamp, at: tapped.at, payload: &tapped.payload };
        let voice = self.voice(tapped.side);
        let Some(is_renewed) = voice.source(tapped) else { return };
        voice.record(&packet, is_renewed);
        match tapped.side {
            Side::Client => {
                if let Some(ear) = &mut self.ear {
                    // In a landing she is heard however late it is: if she wakes, she is to have her companion back.
                    let load = if self.landing.is_some() { Load::Fine } else { load };
                    let is_heard = if load == Load::Late {
                        if is_renewed {
                            ear.renew();
                        }
                        false
                    } else {
                        ear.hear(tapped, &packet, is_renewed, load == Load::Short)
                    };
                    if !is_heard {
                        metrics::counter!("lull_ear_left_out_total").increment(1);
                    }
                }
            }
            Side::Companion => {
                if let Some(ear) = &mut self.ear {
                    ear.hear_companion(tapped);
                }
                if let Some(landing) = &mut self.landing
                    && let Some(payload) = landing.hear(tapped, &packet, is_renewed)
                    && !plane.replace(tapped.call, tapped.leg, tapped.index, payload)
                {
                    metrics::counter!("lull_fade_dropped_total").increment(1);
                }
            }
        }
    }

    fn tick(&mut self, now: Moment, heard_until: Moment) {
        if self.ear_due.is_some_and(|due| now >= due) {
            self.ear_due = Some(now + NEW_EAR);
            match Ear::new(now, self.muted_at.is_some()) {
                Ok(ear) => (self.ear, self.ear_due) = (Some(ear), None),
                Err(error) => tracing::error!(%error, "a call has no ear: {error}"),
            }
        }
        if let Some(landing) = &mut self.landing {
            landing.tick(now);
        }
        let is_companion_heard = self.landing.as_ref().is_none_or(Landing::is_heard);
        self.with_ear(|ear| ear.tick(heard_until, is_companion_heard));
        for voice in [&mut self.client, &mut self.companion] {
            voice.tick(heard_until);
        }
        if self.landing.as_ref().is_some_and(|landing| landing.purpose().is_none()) {
            self.landing = None;
        }
    }

    /// Whether something is to be told before the next tick.
    fn has_news(&self) -> bool {
        let landing = self.landing.as_ref().and_then(Landing::purpose);
        let has_switched = landing.is_some() && landing != self.companion.told.map(|(purpose, _)| purpose);
        has_switched || self.ear.as_ref().is_some_and(Ear::has_news) || self.last_word.is_some() || self.broke_at.is_some()
    }

    fn tell_plane(&mut self, id: CallId, now: Moment, plane: &dyn Plane) {
        let listens = (self.ear.is_some() || self.ear_due.is_some()).then_some(Purpose::Analyse);
        let landing = self.landing.as_ref().and_then(Landing::purpose);
        for side in [Side::Client, Side::Companion] {
            let voice = self.voice(side);
            let records = voice.tape.is_some().then_some(Purpose::Analyse);
            let wanted = if side == Side::Companion { landing.or(listens) } else { listens }.or(records);
            let is_stale = voice.told.is_some_and(|(_, told)| now.since(told) >= SILENT)
                && voice.heard_at.is_none_or(|heard| now.since(heard) >= SILENT);
            match wanted {
                Some(purpose) if voice.told.map(|(told, _)| told) != Some(purpose) || is_stale => {
                    plane.tap(id, side, purpose);
                    voice.told = Some((purpose, now));
                }
                None if voice.told.is_some() => {
                    plane.untap(id, side);
                    *voice = Voice::default();
                }
                _ => (),
            }
        }
    }

    fn report(&mut self, id: CallId, say: &dyn Fn(Report) -> bool) {
        if let Some(at) = self.broke_at
            && say(Report::Broke { call: id, at })
        {
            self.broke_at = None;
        }
        if let Some(verdict) = self.last_word
            && say(Report::Verdict { call: id, verdict })
        {
            self.last_word = None;
        }
        if let Some(ear) = &mut self.ear {
            if let Some(verdict) = ear.take_verdict()
                && !say(Report::Verdict { call: id, verdict })
            {
                ear.keep(Some(verdict), None);
            }
            if let Some(at) = ear.take_spoke()
                && !say(Report::Spoke { call: id, at })
            {
                ear.keep(None, Some(at));
            }
        }
        if let Some(landing) = &mut self.landing
            && landing.take_news()
            && !say(Report::Faded { call: id })
        {
            landing.keep_news();
        }
    }

    /// Its work panicked: what was recorded ends here, a new ear begins in a moment, and a landing goes on. Whoever sleeps does not hear her
    /// companion at once at full volume for it.
    fn broke(&mut self, now: Moment) {
        metrics::counter!("lull_ear_broken_total").increment(1);
        if let Some(mut verdict) = self.ear.take().map(|ear| ear.verdict()) {
            (verdict.state, verdict.since, verdict.grounds.why) = (State::Unknown, now, Why::Lost);
            self.last_word = Some(verdict);
            self.ear_due = Some(now + NEW_EAR);
        }
        // Without codecs too what is held stays held, and so silent, until she is to come back.
        if let Some(landing) = self.landing.take() {
            self.landing = guarded(|| landing.again()).and_then(Result::ok).unwrap_or(Some(landing));
        }
        self.stop_recording(now);
    }

    /// What was recorded ends here, and that is said.
    fn stop_recording(&mut self, now: Moment) {
        (self.client.tape, self.companion.tape) = (None, None);
        self.broke_at = Some(now);
    }

    /// Whether nothing is done for it. That she is muted is remembered until somebody listens, for a day at most.
    fn is_idle(&self, now: Moment) -> bool {
        let is_told = self.client.told.is_some() || self.companion.told.is_some();
        let is_muted = self.muted_at.is_some_and(|muted| now.since(muted) < DAY);
        let is_done = self.ear.is_none() && self.ear_due.is_none() && self.landing.is_none();
        is_done && !is_told && self.last_word.is_none() && self.broke_at.is_none() && !is_muted
    }
}

impl Voice {
    /// Whether a packet's source is another one than before; nothing if it is the one before that.
    fn source(&mut self, tapped: &Tapped) -> Option<bool> {
        if self.former == Some(tapped.leg) {
            return None;
        }
        self.heard_at = self.heard_at.max(Some(tapped.at));
        let is_renewed = self.leg.is_some_and(|leg| leg != tapped.leg);
        if is_renewed {
            self.former = self.leg;
        }
        self.leg = Some(tapped.leg);
        Some(is_renewed)
    }

    fn record(&mut self, packet: &Packet<'_>, is_renewed: bool) {
        let Some(Taping { placer, tape }) = &mut self.tape else { return };
        let mut goes_on = true;
        let mut out = |samples: &[i16]| goes_on &= tape.write(samples);
        if is_renewed {
            placer.renew(&mut out);
        }
        placer.place(packet, &mut out);
        if !goes_on {
            self.tape = None;
        }
    }

    fn tick(&mut self, now: Moment) {
        let Some(Taping { placer, tape }) = &mut self.tape else { return };
        let mut goes_on = true;
        placer.tick(now, &mut |samples| goes_on &= tape.write(samples));
        if !goes_on {
            self.tape = None;
        }
    }
}

impl Taping {
    fn finish(mut self, at: Moment) {
        let mut goes_on = true;
        self.placer.finish(at, &mut |samples| goes_on = goes_on && self.tape.write(samples));
        if goes_on {
            self.tape.finish(at);
        }
    }
}

/// Finishes what is recorded of a call, and lets the rest go.
fn end(call: Call, at: Moment) {
    for taping in [call.client.tape, call.companion.tape].into_iter().flatten() {
        // What panics here is not finished, and ends where it is.
        guarded(|| taping.finish(at));
    }
}

/// Nothing if it panicked.
fn guarded<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}
