//! What a call does about what happens to it. Every pair of state and event has an arm.
//!
//! Time first: whatever fell due before an event is done before the event, as of the instant it was due. So
//! a race (an extension against the end) is decided once, by the order in which events are handed over.

use super::state::Ask;
use super::{
    Answered, Asker, Call, Cue, Effect, EndReason, Entry, Event, Fact, Fault, Notice, RecordingEnd, Refused, RequestId, Side, State, Waker,
};
use crate::billing::Kind;
use crate::clock::{Moment, Span};
use crate::ids::{GiftId, HoldId, LegId};
use crate::money::Money;
use crate::seeded::{self, Bug};
use crate::sleep::Verdict;

/// Both sides lost within this much of each other: more likely our network than theirs (design.md section 3).
const TOGETHER: Span = Span::from_s(2);

/// Requests of one call that may wait for the store; the next is refused.
const MAX_ASKS: usize = 8;

/// What falls due.
#[derive(Clone, Copy)]
pub(super) enum Due {
    ListensOnly,
    NoShow,
    ConnectFailed,
    Warning(Span),
    TimeExpired,
    MaxDuration,
    MediaTimeout,
    /// What the client is taken for becomes a fact.
    Sleep(Verdict),
    Linger,
    Landing,
    Landed,
    Probe,
}

impl Call {
    /// Takes in an event. New facts are at the end of [`Call::entries`]; effects come in the order to carry them out.
    pub fn handle(&mut self, event: Event, now: Moment, out: &mut Vec<Effect>) {
        // The clock of a process never runs backwards; a second clock (a shard's) may be a little behind.
        let now = now.max(self.last_at());
        self.handle_timeout(now, out);
        match self.state {
            State::Connecting | State::Live { .. } | State::Paused { .. } | State::Landing { .. } => self.handle_open(event, now, out),
            State::Ended { .. } | State::Settled { .. } => refuse_after_end(event, out),
        }
        // An event that tells of the past may have made something due already.
        self.handle_timeout(now, out);
    }

    fn handle_open(&mut self, event: Event, now: Moment, out: &mut Vec<Effect>) {
        match event {
            Event::LeaseLapsed { proved } => self.lapse(proved, now, out),
            Event::Joined { side, leg } => self.joined(side, leg, now, out),
            Event::Connected { side, leg, at } => {
                self.faltering[side as usize] = None;
                self.connected(side, leg, self.within(at, now), out);
            }
            Event::AudioReached { from, at } => self.audio_reached(from, self.within(at, now), out),
            Event::Lost { side, leg, since } | Event::Hushed { side, leg, since } => {
                self.faltering[side as usize] = None;
                self.lost(side, leg, since, now, out);
            }
            Event::Faltered { side, leg, since } => {
                if self.party(side).leg == Some(leg) {
                    self.faltering[side as usize] = Some((leg, since));
                }
            }
            // It may have been taken for lost when the call's time ran out.
            Event::Steadied { side, leg, at } => {
                self.faltering[side as usize] = None;
                self.back(side, leg, self.within(at, now), out);
            }
            // The transport of a connected leg broke for good: no later proof of life than now. A leg that never
            // came up changes nothing: the page joins again, or a limit runs out.
            Event::Failed { side, leg } => self.lost(side, leg, now, now, out),
            Event::Back { side, leg, at } => self.back(side, leg, self.within(at, now), out),
            Event::Measured { side, quality } => self.measured[side as usize] = Some(quality),
            Event::ExtendAsked { by, hold, amount, order_ref, request } => {
                if by == Asker::Client {
                    self.wake(Waker::Tap, now, out);
                }
                let ask = Ask { by, hold, amount: amount.unwrap_or(self.terms.hold), order_ref, request };
                if let Err(why) = self.extend_asked(ask, out) {
                    out.push(Effect::Answer { request, result: Err(why) });
                }
            }
            Event::Reserved { hold } => self.reserved(hold, now, out),
            Event::NotReserved { hold, why } => {
                for ask in self.take_asks(hold) {
                    out.push(Effect::Answer { request: ask.request, result: Err(why.clone()) });
                }
            }
            Event::GiftAsked { by, length, gift, request } => {
                let result = self.gift(by, length, gift, now, out);
                out.push(Effect::Answer { request, result });
            }
            Event::HangUp { .. } | Event::VendorEnds { .. } | Event::AbuseReported | Event::ServerStops if self.falters() => {
                self.own_up(now, out);
                self.handle_open(event, now, out);
            }
            // Late in a landing she has nothing more to do.
            Event::HangUp { side: Side::Companion } if self.may_be_left(now) => {
                self.end(EndReason::Asleep, Fault::None, now, out);
            }
            Event::HangUp { side: Side::Client } => self.end(EndReason::ClientLeft, Fault::Client, now, out),
            Event::HangUp { side: Side::Companion } => self.end(EndReason::CompanionLeft, Fault::Companion, now, out),
            Event::LinkAsked { side, token, request } => {
                // The same token again is the same renewal.
                if self.token(side) != token {
                    self.renew_link(side, token, now, out);
                }
                out.push(Effect::Answer { request, result: Ok(Answered::LinkRenewed) });
            }
            Event::VendorEnds { request } => {
                self.end(EndReason::VendorEnded, Fault::None, now, out);
                out.push(Effect::Answer { request, result: Ok(Answered::Ended) });
            }
            Event::Consents { side, yes } => self.consent(side, yes, now, out),
            Event::RecordingFailed { part, why } => self.recording_failed(part, why, now, out),
            Event::AbuseReported => self.end(EndReason::AbuseReported, Fault::Client, now, out),
            Event::Ear { verdict } => self.heed(verdict, now, out),
            Event::Spoke { at } => self.spoke(at, now, out),
            Event::ImHere => self.wake(Waker::Tap, now, out),
            Event::SaysAsleep => self.says_asleep(now, out),
            Event::SaysAwake => self.wake(Waker::Companion, now, out),
            Event::ServerStops => self.end(EndReason::ServerFault, Fault::Platform, now, out),
        }
    }

    /// When [`Call::handle_timeout`] has something to do; none when nothing is due ever.
    pub fn poll_timeout(&self) -> Option<Moment> {
        self.due().map(|(at, _)| at)
    }

    /// While connecting or paused: when the call ends unless somebody comes.
    pub fn gives_up_at(&self) -> Option<Moment> {
        match self.state {
            State::Connecting => Some(self.gives_up().0),
            State::Paused { .. } => self.due_of_state().map(|(at, _)| at),
            State::Live { .. } | State::Landing { .. } | State::Ended { .. } | State::Settled { .. } => None,
        }
    }

    /// Does whatever is due at `now`, as of the instant it fell due. Waking early, or twice, is harmless.
    pub fn handle_timeout(&mut self, now: Moment, out: &mut Vec<Effect>) {
        while let Some((at, due)) = self.due().filter(|(at, _)| *at <= now) {
            // A loss noticed late can put a limit into the past.
            let at = self.within(at, now);
            match due {
                Due::ListensOnly => self.start(at, out),
                Due::NoShow => {
                    let (reason, at_fault) = match (self.client.here_since, self.companion.here_since) {
                        // She was here before our outage, and did not come a second time.
                        _ if self.lost_who_waited() => (EndReason::ServerFault, Fault::Platform),
                        (None, None) => (EndReason::NoAnswer, Fault::None),
                        (None, Some(_)) => (EndReason::ClientNoShow, Fault::Client),
                        (Some(_), _) => (EndReason::CompanionNoShow, Fault::Companion),
                    };
                    self.end(reason, at_fault, at, out);
                }
                Due::ConnectFailed => self.end(EndReason::ConnectFailed, Fault::Platform, at, out),
                Due::Warning(left) => {
                    self.record(at, Fact::Warned { left });
                    tell(out, Notice::Warning { left });
                    self.chime(left, out);
                }
                // Time that was not delivered is not used up: the call waits for who is missing.
                Due::TimeExpired | Due::MaxDuration | Due::Landed if self.falters() => self.own_up(at, out),
                Due::TimeExpired => self.end(self.end_of_paid(), Fault::None, at, out),
                Due::MaxDuration => self.end(EndReason::MaxDuration, Fault::None, at, out),
                Due::MediaTimeout => {
                    let at_fault = self.away().map_or(Fault::Platform, |(cause, _)| cause);
                    let reason = if self.is_cut_off() { EndReason::ServerFault } else { EndReason::MediaTimeout };
                    self.end(reason, at_fault, at, out);
                }
                Due::Sleep(verdict) => self.record(at, Fact::Sleep { verdict }),
                Due::Linger => self.begin_linger(at, out),
                Due::Landing => self.land(false, at, out),
                Due::Landed => self.end(EndReason::Asleep, Fault::None, at, out),
                Due::Probe => self.probe(at, out),
            }
        }
        self.follow_audio(out);
    }

    /// What falls due next; of one instant the end of the money comes before sleep.
    fn due(&self) -> Option<(Moment, Due)> {
        match (self.due_of_state(), self.due_at_night()) {
            (Some(due), Some(night)) => Some(if night.0 < due.0 { night } else { due }),
            (due, night) => due.or(night),
        }
    }

    fn due_of_state(&self) -> Option<(Moment, Due)> {
        let limits = &self.terms.limits;
        match self.state {
            State::Connecting => {
                let end = self.gives_up();
                match self.ready_since().map(|ready| ready + limits.listen_only_after) {
                    Some(start) if start <= end.0 => Some((start, Due::ListensOnly)),
                    Some(_) | None => Some(end),
                }
            }
            State::Live { since } => {
                let left = self.deliverable() - self.delivered;
                let cut = self.bought_and_given().is_none();
                let end = (since + left, if cut { Due::MaxDuration } else { Due::TimeExpired });
                if seeded::has(Bug::ExtendedAfterEnd) && !self.asks.is_empty() {
                    return None;
                }
                // A pause into a dearer hour may have passed a warning: then it is given at once, with what is left.
                let warning = self.armed.first().map(|warning| (*warning).min(left));
                match warning.map(|warning| (since + (left - warning), Due::Warning(warning))) {
                    Some(warning) if warning.0 < end.0 => Some(warning),
                    Some(_) | None => Some(end),
                }
            }
            // Nobody could return while the server was away, and nobody had to in a landing.
            State::Paused { .. } => self.away().map(|(_, first)| {
                let from = Some(first).max(self.stood_until).max(self.landed_until()).unwrap_or(first);
                (from + limits.pause_limit, Due::MediaTimeout)
            }),
            State::Landing { .. } | State::Ended { .. } | State::Settled { .. } => None,
        }
    }

    /// When and how a call that does not become live ends.
    fn gives_up(&self) -> (Moment, Due) {
        match (self.client.here_since, self.companion.here_since) {
            (Some(client), Some(companion)) => {
                let both = client.max(companion);
                (Some(both).max(self.stood_until).unwrap_or(both) + self.terms.limits.connect_limit, Due::ConnectFailed)
            }
            (None, _) | (_, None) => (self.created_at() + self.terms.limits.no_show_limit + self.stood, Due::NoShow),
        }
    }

    /// Writes down what the money came to, as of the end. The call must have ended and not be settled.
    pub fn settle(&mut self, charge: Money, refund: Money) {
        self.record(self.last_at(), Fact::Settled { charge, refund });
    }

    fn joined(&mut self, side: Side, leg: LegId, now: Moment, out: &mut Vec<Effect>) {
        if self.party(side).joined_leg != Some(leg) {
            self.record(now, Fact::Joined { side, leg });
            tell(out, Notice::Changed);
        }
    }

    fn connected(&mut self, side: Side, leg: LegId, at: Moment, out: &mut Vec<Effect>) {
        if self.party(side).leg != Some(leg) {
            self.record(at, Fact::Connected { side, leg });
            self.follow(at, out);
        }
    }

    fn audio_reached(&mut self, from: Side, at: Moment, out: &mut Vec<Effect>) {
        let party = self.party(from);
        if party.leg.is_some() && (party.heard_at.is_none() || party.down.is_some()) {
            self.record(at, Fact::Heard { from });
            self.follow(at, out);
        }
    }

    fn lost(&mut self, side: Side, leg: LegId, since: Moment, now: Moment, out: &mut Vec<Effect>) {
        let party = self.party(side);
        // A leg that was replaced, or is known to be lost, can be lost no more.
        if party.leg == Some(leg) && party.down.is_none() {
            // Coming up and being heard are proofs of life too.
            let since = party.up_at.max(party.heard_at).map_or(since, |alive| since.max(alive)).min(now);
            let since = if seeded::has(Bug::PauseFromReport) { now } else { since };
            self.record(now, Fact::Lost { side, leg, since });
            self.follow(now, out);
        }
    }

    /// Whether a connected leg is silent at present, without being lost yet.
    pub(super) fn falters(&self) -> bool {
        self.faltering.iter().any(Option::is_some)
    }

    /// Who faltered first, and since when.
    pub(super) fn silent(&self) -> Option<(Fault, Moment)> {
        let since = |side: Side| self.faltering[side as usize].map(|(_, since)| since);
        let sides = [(Fault::Client, since(Side::Client)), (Fault::Companion, since(Side::Companion))];
        sides.into_iter().filter_map(|(cause, since)| Some((cause, since?))).min_by_key(|(_, since)| *since)
    }

    /// An end that comes before a loss is certain takes it for one: nobody pays for silence.
    pub(super) fn own_up(&mut self, now: Moment, out: &mut Vec<Effect>) {
        for side in [Side::Client, Side::Companion] {
            if let Some((leg, since)) = self.faltering[side as usize].take() {
                self.lost(side, leg, since, now, out);
            }
        }
    }

    fn back(&mut self, side: Side, leg: LegId, at: Moment, out: &mut Vec<Effect>) {
        let party = self.party(side);
        if party.leg == Some(leg) && party.down.is_some() {
            self.record(at, Fact::Back { side, leg });
            self.follow(at, out);
        }
    }

    /// Starts, pauses or resumes as the connections now stand, and tells both sides.
    pub(super) fn follow(&mut self, at: Moment, out: &mut Vec<Effect>) {
        match (self.state, self.away()) {
            (State::Connecting, _) => match self.ready_since() {
                Some(_) if self.client.heard_at.is_some() => self.start(at, out),
                Some(_) | None => tell(out, Notice::Changed),
            },
            (State::Live { since }, Some((cause, first))) => {
                self.record(at, Fact::Paused { cause, since: self.pause_from(first, since, at) });
                tell(out, Notice::Paused { cause });
            }
            (State::Paused { ran_from, stopped, .. }, None) => {
                // Who falters may turn out to be gone since before this pause, and it may be nobody's business any more.
                if let Some((cause, silent)) = self.silent().filter(|(_, silent)| *silent < stopped) {
                    self.record(at, Fact::Paused { cause, since: self.pause_from(silent, ran_from, at) });
                }
                self.record(at, Fact::Resumed);
                tell(out, Notice::Resumed);
            }
            (State::Paused { cause: before, since, ran_from, stopped }, Some((cause, first))) => {
                let first = self.pause_from(first, ran_from, at);
                let both = self.client.down.is_some() && self.companion.down.is_some();
                if first < stopped {
                    // The side that was reported second went first.
                    self.record(at, Fact::Paused { cause, since: first });
                } else if cause != before {
                    // Both gone together: so it was from the start. One of two is back: from now on the other is the cause.
                    self.record(at, Fact::Paused { cause, since: if both { since } else { at } });
                }
                tell(out, if cause == before { Notice::Changed } else { Notice::Paused { cause } });
            }
            (State::Landing { ran_from, stopped, .. }, away) => {
                // The meter stands already; it may have to stand since before.
                let away = away.map(|(cause, first)| (cause, self.pause_from(first, ran_from, at)));
                if let Some((cause, first)) = away.filter(|(_, first)| *first < stopped) {
                    self.record(at, Fact::Paused { cause, since: first });
                }
                tell(out, Notice::Changed);
            }
            (State::Live { .. }, None) | (State::Ended { .. } | State::Settled { .. }, _) => tell(out, Notice::Changed),
        }
    }

    /// Both sides are connected and the companion is heard, since when; the client may listen only.
    fn ready_since(&self) -> Option<Moment> {
        let heard = self.companion.heard_at.filter(|_| self.companion.is_connected())?;
        let up = self.client.up_at.filter(|_| self.client.is_connected())?;
        Some(heard.max(up))
    }

    /// Who is away, and since when the first of them.
    fn away(&self) -> Option<(Fault, Moment)> {
        match (self.client.down, self.companion.down) {
            (None, None) => None,
            (Some(client), Some(companion)) if self.is_cut_off() => Some((Fault::Platform, client.min(companion))),
            (Some(only), None) | (None, Some(only)) if self.is_cut_off() => Some((Fault::Platform, only)),
            (Some(client), None) => Some((Fault::Client, client)),
            (None, Some(companion)) => Some((Fault::Companion, companion)),
            (Some(client), Some(companion)) => {
                let (first, second, cause) =
                    if client <= companion { (client, companion, Fault::Client) } else { (companion, client, Fault::Companion) };
                Some((if second.since(first) <= TOGETHER { Fault::Platform } else { cause }, first))
            }
        }
    }

    fn start(&mut self, at: Moment, out: &mut Vec<Effect>) {
        self.record(at, Fact::Started);
        self.record_if_agreed(at);
        tell(out, Notice::Started);
    }

    fn extend_asked(&mut self, ask: Ask, out: &mut Vec<Effect>) -> Result<(), Refused> {
        match ask.by {
            Asker::Client | Asker::Vendor => {}
            Asker::Companion => return Err(Refused::NotAllowed),
        }
        self.takes_time()?;
        if self.holds.contains(&ask.hold) {
            // Her page did not hear of it, or it would not ask again: it must not take the purchase for one that failed.
            let notice = Notice::Extended { by: ask.by, added: self.added_by(ask.hold) };
            out.push(Effect::Tell { to: Some(Side::Client), notice });
            out.push(Effect::Answer { request: ask.request, result: Ok(Answered::Extended) });
            return Ok(());
        }
        if self.asks.len() >= MAX_ASKS {
            return Err(Refused::Busy);
        }
        if self.asks.iter().any(|waiting| waiting.hold == ask.hold) {
            self.asks.push(ask); // The same purchase again: one hold, and both are answered.
            return Ok(());
        }
        self.can_buy(ask.amount)?;
        let total = [self.amounts(), &self.asked()].concat().iter().try_fold(ask.amount.amount, |sum, amount| sum.checked_add(*amount));
        if total.is_none_or(|total| total > Money::MAX_AMOUNT) {
            return Err(Refused::TooLarge);
        }
        if ask.order_ref.is_some() {
            // One order, one purchase. While the first waits for the store nobody knows what becomes of it.
            if self.asks.iter().any(|waiting| waiting.order_ref == ask.order_ref) {
                return Err(Refused::Busy);
            }
            let bought = |entry: &Entry| matches!(&entry.fact, Fact::Extended { order_ref, .. } if *order_ref == ask.order_ref);
            if self.entries.iter().any(bought) {
                return Err(Refused::OrderCredited);
            }
        }
        out.push(Effect::Reserve { hold: ask.hold, amount: ask.amount, order_ref: ask.order_ref.clone(), request: ask.request });
        self.asks.push(ask);
        Ok(())
    }

    fn reserved(&mut self, hold: HoldId, now: Moment, out: &mut Vec<Effect>) {
        let asks = self.take_asks(hold);
        // A hold nobody here asked for (an answer from before a restart) is released by the settlement.
        let Some(first) = asks.first() else { return };
        let by = first.by;
        let (amount, before) = ((first.amount != self.terms.hold).then_some(first.amount), self.paid());
        let amount = amount.filter(|_| !seeded::has(Bug::TopUpAsHold));
        self.record(now, Fact::Extended { by, hold, order_ref: first.order_ref.clone(), amount });
        tell(out, Notice::Extended { by, added: self.paid() - before });
        self.play(|dbfs| Cue::Extended { dbfs }, out);
        for ask in asks {
            out.push(Effect::Answer { request: ask.request, result: Ok(Answered::Extended) });
        }
    }

    fn gift(&mut self, by: Asker, length: Span, gift: Option<GiftId>, now: Moment, out: &mut Vec<Effect>) -> Result<Answered, Refused> {
        match by {
            Asker::Companion | Asker::Vendor => {}
            Asker::Client => return Err(Refused::NotAllowed),
        }
        self.takes_time()?;
        let given = self.entries.iter().find_map(|entry| match entry.fact {
            Fact::Gifted { by, length, gift: Some(given) } if Some(given) == gift => Some(Notice::Gifted { by, length }),
            _ => None,
        });
        if let Some(notice) = given {
            // Her page did not hear of it, or it would not ask again.
            out.push(Effect::Tell { to: Some(Side::Companion), notice });
            return Ok(Answered::Gifted);
        }
        if length <= Span::ZERO || length.ms() % 1000 != 0 {
            return Err(Refused::GiftLength);
        }
        let left = self.terms.limits.gift_limit.saturating_sub(self.gifted);
        if length > left {
            return Err(Refused::GiftLimit { left });
        }
        self.has_room(length)?;
        self.record(now, Fact::Gifted { by, length, gift });
        tell(out, Notice::Gifted { by, length });
        self.play(|dbfs| Cue::Extended { dbfs }, out);
        Ok(Answered::Gifted)
    }

    /// Time can be added while live or paused; before that a call may come to nothing, and its wallet stays as free as it was.
    fn takes_time(&self) -> Result<(), Refused> {
        match self.state {
            State::Live { .. } | State::Paused { .. } | State::Landing { .. } => Ok(()),
            State::Connecting => Err(Refused::NotLive),
            State::Ended { .. } | State::Settled { .. } => Err(Refused::CallEnded),
        }
    }

    /// Whether a further purchase by this amount would lengthen the call.
    fn can_buy(&self, amount: Money) -> Result<(), Refused> {
        let hold = self.terms.hold;
        if amount.currency != hold.currency || !(0..=Money::MAX_AMOUNT).contains(&amount.amount) {
            return Err(Refused::Currency { currency: hold.currency });
        }
        match self.terms.sold.kind() {
            Kind::Block { .. } if amount != hold => Err(Refused::Amount { accepted: hold }),
            Kind::Block { block_s, .. } => self.has_room(Span::from_s(*block_s)),
            // One price for the whole call.
            Kind::Flat { .. } => Err(Refused::NothingToBuy),
            // What a top-up buys depends on the hours it falls in.
            Kind::PerMinute(_) | Kind::UntilAsleep { .. } => {
                let mut more = self.asked();
                let before = self.quota_with(&more);
                if before.is_none_or(|before| before + self.gifted >= self.terms.limits.max_duration) {
                    return Err(Refused::TooLong);
                }
                more.push(amount.amount);
                if self.quota_with(&more) != before {
                    return Ok(());
                }
                more.push(Money::MAX_AMOUNT);
                Err(if self.quota_with(&more) == before { Refused::NothingToBuy } else { Refused::BuysNothing })
            }
        }
    }

    /// Whether a purchase would be taken now, as far as the call is concerned.
    pub fn can_extend(&self) -> bool {
        self.takes_time().and_then(|()| self.can_buy(self.terms.hold)).is_ok()
    }

    /// Whether `more` fits below the longest duration, beside the blocks that wait for the store.
    fn has_room(&self, more: Span) -> Result<(), Refused> {
        let asked = i64::try_from(self.asked().len()).unwrap_or(i64::MAX);
        let blocks = self.terms.block().map_or(Span::ZERO, |block| Span::from_ms(block.ms() * asked));
        let fits = self.bought_and_given().is_some_and(|total| total + blocks + more <= self.terms.limits.max_duration);
        if fits { Ok(()) } else { Err(Refused::TooLong) }
    }

    /// The purchases that wait for the store, in minor units.
    fn asked(&self) -> Vec<i64> {
        let first_of_its_hold = |(index, ask): &(usize, &Ask)| !self.asks[..*index].iter().any(|earlier| earlier.hold == ask.hold);
        self.asks.iter().enumerate().filter(first_of_its_hold).map(|(_, ask)| ask.amount.amount).collect()
    }

    fn take_asks(&mut self, hold: HoldId) -> Vec<Ask> {
        let (taken, kept) = std::mem::take(&mut self.asks).into_iter().partition(|ask| ask.hold == hold);
        self.asks = kept;
        taken
    }

    pub(super) fn end(&mut self, reason: EndReason, at_fault: Fault, at: Moment, out: &mut Vec<Effect>) {
        out.push(Effect::StopMedia);
        self.stop_recording(RecordingEnd::CallEnded, at);
        self.record(at, Fact::Ended { reason, at_fault });
        for (side, quality) in [(Side::Client, self.measured[0]), (Side::Companion, self.measured[1])] {
            if let Some(quality) = quality {
                self.record(at, Fact::Quality { side, quality });
            }
        }
        tell(out, Notice::Ended { reason, at_fault });
        for ask in std::mem::take(&mut self.asks) {
            out.push(Effect::Answer { request: ask.request, result: Err(Refused::CallEnded) });
        }
    }

    /// An instant somebody else noted, kept between the last fact and now: facts are in order of time.
    pub(super) fn within(&self, at: Moment, now: Moment) -> Moment {
        at.min(now).max(self.last_at())
    }

    pub(super) fn record(&mut self, at: Moment, fact: Fact) {
        let entry = Entry { seq: self.last_seq() + 1, at, fact };
        let applied = self.apply(&entry);
        assert!(applied.is_ok(), "the machine recorded what does not fit: {entry:?} in {:?}", self.state);
    }
}

/// After the end nothing changes; whoever waits for an answer gets one.
fn refuse_after_end(event: Event, out: &mut Vec<Effect>) {
    match event {
        Event::ExtendAsked { request, .. }
        | Event::GiftAsked { request, .. }
        | Event::LinkAsked { request, .. }
        | Event::VendorEnds { request } => {
            refuse(request, out);
        }
        // Its request was answered when the call ended; the settlement released the hold.
        Event::Reserved { .. } | Event::NotReserved { .. } => {}
        Event::Joined { .. }
        | Event::Connected { .. }
        | Event::AudioReached { .. }
        | Event::Lost { .. }
        | Event::Back { .. }
        | Event::Hushed { .. }
        | Event::Faltered { .. }
        | Event::Steadied { .. }
        | Event::Failed { .. }
        | Event::Measured { .. }
        | Event::HangUp { .. }
        | Event::AbuseReported
        | Event::Ear { .. }
        | Event::Spoke { .. }
        | Event::ImHere
        | Event::SaysAsleep
        | Event::SaysAwake
        | Event::Consents { .. }
        | Event::RecordingFailed { .. }
        | Event::LeaseLapsed { .. }
        | Event::ServerStops => {}
    }
}

fn refuse(request: RequestId, out: &mut Vec<Effect>) {
    out.push(Effect::Answer { request, result: Err(Refused::CallEnded) });
}

fn tell(out: &mut Vec<Effect>, notice: Notice) {
    out.push(Effect::Tell { to: None, notice });
}
