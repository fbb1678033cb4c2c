//! How facts add up to a call. Nothing is decided here: [`Call::apply`] is the only place where a call's state
//! changes, and what the facts of a call give is the call.

use super::{Asker, EndReason, Entry, Fact, Fault, Journal, Linger, Quality, Recording, RequestId, Side, Terms, TermsError};
use crate::billing::{self, Cause, Kind, Mark, Segment, SegmentKind};
use crate::clock::{Moment, Span};
use crate::ids::{CallId, HoldId, LegId, TokenId};
use crate::money::Money;
use crate::seeded::{self, Bug};
use crate::sleep::Verdict;

/// Where a call is in its life (design.md section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Made and paid for; the parties join. No money moves.
    Connecting,
    /// The meter runs.
    Live {
        /// When this span of delivered time began.
        since: Moment,
    },
    /// The meter stands.
    Paused {
        /// Who is away.
        cause: Fault,
        /// Since when this is the cause.
        since: Moment,
        /// When the span before the pause began.
        ran_from: Moment,
        /// When it ended: the last proof of life of the side that went first.
        stopped: Moment,
    },
    /// The client sleeps and the companion's voice fades: the meter stands.
    Landing {
        /// Since when.
        since: Moment,
        /// When the span before it began.
        ran_from: Moment,
        /// When that ended: as the landing began, or earlier with a side that was gone by then.
        stopped: Moment,
    },
    /// Over; the money is not settled yet.
    Ended {
        /// Why.
        reason: EndReason,
        /// Who answers for it.
        at_fault: Fault,
        /// The instant from which nothing is delivered or owed.
        at: Moment,
    },
    /// Over, and nothing can change any more.
    Settled {
        /// Why it ended.
        reason: EndReason,
        /// Who answers for it.
        at_fault: Fault,
        /// When it ended.
        at: Moment,
        /// What the client paid.
        charge: Money,
        /// What she got back of the holds.
        refund: Money,
    },
}

/// One party's connection, as the facts have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Party {
    /// When an offer of hers was accepted for the first time.
    pub joined_at: Option<Moment>,
    /// The leg of her last join, connected or not.
    pub joined_leg: Option<LegId>,
    /// The leg that is connected, or was when it was lost.
    pub leg: Option<LegId>,
    /// When that leg last came up.
    pub up_at: Option<Moment>,
    /// When her audio began to reach the other side on that leg; counts only while she is not away.
    pub heard_at: Option<Moment>,
    /// She is away since this moment; none also before her first leg is connected.
    pub down: Option<Moment>,
    /// When she joined first since the server was started: a limit that waits for her counts from there.
    pub here_since: Option<Moment>,
    /// She is away because the server was: whose fault her staying away is cannot be said.
    pub cut_off: bool,
}

impl Party {
    /// Whether a leg of hers is connected and not lost.
    pub fn is_connected(&self) -> bool {
        self.leg.is_some() && self.down.is_none()
    }
}

/// Why a journal gives no call: it is not what this machine wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// The first fact of a call is `Created`.
    #[error("the journal does not begin with the making of the call")]
    NotCreated,
    /// Facts are numbered from 1 without gaps.
    #[error("entry {found} follows entry {last}")]
    Gap {
        /// The number before.
        last: u64,
        /// The number that came.
        found: u64,
    },
    /// A fact that cannot follow those before it.
    #[error("entry {seq} does not fit the entries before it")]
    OutOfPlace {
        /// Its number.
        seq: u64,
    },
    /// The terms are none a call can be made on.
    #[error(transparent)]
    Terms(#[from] TermsError),
}

/// A purchase that waits for the store.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) by: Asker,
    pub(super) hold: HoldId,
    pub(super) amount: Money,
    pub(super) order_ref: Option<String>,
    pub(super) request: RequestId,
}

/// A call. Two calls are equal when the same facts made them.
#[derive(Clone, Debug)]
pub struct Call {
    pub(super) id: CallId,
    pub(super) terms: Terms,
    pub(super) entries: Vec<Entry>,
    pub(super) state: State,
    pub(super) started_at: Option<Moment>,
    /// The spans of delivered time before the present one.
    pub(super) spans: Vec<Segment>,
    /// Their sum.
    pub(super) delivered: Span,
    /// How much may be delivered for what is set aside, the present span going on; none if that is more than a call may last.
    pub(super) quota: Option<Span>,
    /// When that was reckoned; the present span goes on from there.
    reckoned_at: Moment,
    pub(super) client: Party,
    pub(super) companion: Party,
    /// One for each purchase, in the order they were made.
    pub(super) holds: Vec<HoldId>,
    /// What each of them set aside, in minor units.
    pub(super) amounts: Vec<i64>,
    pub(super) gifted: Span,
    pub(super) recording: Recording,
    /// Those of the terms until the vendor withdraws a link.
    pub(super) client_token: TokenId,
    pub(super) companion_token: TokenId,
    /// Warnings still to come, longest first.
    pub(super) armed: Vec<Span>,
    /// How long the server stood still before the call was live, and until when it last did: nobody could come or return.
    pub(super) stood: Span,
    pub(super) stood_until: Option<Moment>,
    /// In flight, so not facts: after a crash their holds are released by the settlement.
    pub(super) asks: Vec<Ask>,
    /// Legs that are silent, too short yet to be lost, since when. In flight: it becomes a fact only if the call ends meanwhile.
    pub(super) faltering: [Option<(LegId, Moment)>; 2],
    /// The last figures; they become facts at the end.
    pub(super) measured: [Option<Quality>; 2],
    /// What the client is taken for, since when that is known.
    pub(super) verdict: Option<(Moment, Verdict)>,
    /// A linger, with the landing behind it.
    pub(super) lingering: Option<Linger>,
    /// When the last one was called off.
    pub(super) woken_at: Option<Moment>,
    /// In flight: the ear's last verdict and when it came, the last tone that was played, whom the waiting sound is on for, whether the ear listens and
    /// whether the companion's voice is faded.
    pub(super) heard: Option<(Moment, Verdict)>,
    /// In flight: since when the ear takes her for asleep because the companion said so.
    pub(super) told_asleep: Option<Moment>,
    pub(super) probed_at: Option<Moment>,
    pub(super) waiting: Option<LegId>,
    pub(super) listens: bool,
    pub(super) faded: bool,
}

impl PartialEq for Call {
    fn eq(&self, other: &Self) -> bool {
        // Everything but what is in flight: see the fields.
        self.id == other.id
            && self.entries == other.entries
            && self.terms == other.terms
            && self.state == other.state
            && self.started_at == other.started_at
            && self.delivered == other.delivered
            && self.client == other.client
            && self.companion == other.companion
            && self.spans == other.spans
            && self.quota == other.quota
            && self.holds == other.holds
            && self.amounts == other.amounts
            && self.gifted == other.gifted
            && self.recording == other.recording
            && self.client_token == other.client_token
            && self.companion_token == other.companion_token
            && self.armed == other.armed
            && self.stood == other.stood
            && self.stood_until == other.stood_until
            && self.verdict == other.verdict
            && self.lingering == other.lingering
            && self.woken_at == other.woken_at
    }
}

impl Eq for Call {}

impl Call {
    /// Makes a call whose first block is on hold under `hold`, and the entry that must be stored before anybody hears of it.
    pub fn book(id: CallId, terms: Terms, hold: HoldId, now: Moment) -> Result<(Call, Entry), TermsError> {
        let entry = Entry { seq: 1, at: now, fact: Fact::Created { terms: Box::new(terms.clone()), hold } };
        Ok((Call::made(id, terms, hold, entry.clone())?, entry))
    }

    /// The call that its first entry makes: of these terms, with this hold.
    fn made(id: CallId, terms: Terms, hold: HoldId, first: Entry) -> Result<Call, TermsError> {
        terms.check()?;
        let now = first.at;
        let mut call = Call {
            id,
            client_token: terms.client_token,
            companion_token: terms.companion_token,
            amounts: vec![terms.hold.amount],
            terms,
            entries: vec![first],
            state: State::Connecting,
            started_at: None,
            spans: Vec::new(),
            delivered: Span::ZERO,
            quota: None,
            reckoned_at: now,
            client: Party::default(),
            companion: Party::default(),
            holds: vec![hold],
            gifted: Span::ZERO,
            recording: Recording::default(),
            armed: Vec::new(),
            stood: Span::ZERO,
            stood_until: None,
            asks: Vec::new(),
            faltering: [None, None],
            measured: [None, None],
            verdict: None,
            lingering: None,
            woken_at: None,
            heard: None,
            told_asleep: None,
            probed_at: None,
            waiting: None,
            listens: false,
            faded: false,
        };
        call.reckon(now);
        Ok(call)
    }

    /// The call that these facts made.
    pub fn replay(journal: &Journal) -> Result<Call, ReplayError> {
        let (first, rest) = journal.entries.split_first().ok_or(ReplayError::NotCreated)?;
        let Fact::Created { terms, hold } = &first.fact else { return Err(ReplayError::NotCreated) };
        if first.seq != 1 {
            return Err(ReplayError::Gap { last: 0, found: first.seq });
        }
        let mut call = Call::made(journal.call, Terms::clone(terms), *hold, first.clone())?;
        for entry in rest {
            call.apply(entry)?;
        }
        Ok(call)
    }

    /// Takes in the next fact.
    pub fn apply(&mut self, entry: &Entry) -> Result<(), ReplayError> {
        let last = self.last_seq();
        if entry.seq != last + 1 {
            return Err(ReplayError::Gap { last, found: entry.seq });
        }
        if entry.at < self.last_at() || !self.fits(&entry.fact) {
            return Err(ReplayError::OutOfPlace { seq: entry.seq });
        }
        self.take(entry.at, &entry.fact);
        self.entries.push(entry.clone());
        Ok(())
    }

    /// Whether the fact can follow those before it.
    fn fits(&self, fact: &Fact) -> bool {
        match (&self.state, fact) {
            (_, Fact::Created { .. }) => false,
            (_, Fact::Sleep { .. } | Fact::Lingers { .. } | Fact::Lands { .. } | Fact::Woken { .. }) => self.fits_the_night(fact),
            (state, Fact::Consented { .. } | Fact::RecordingStarted { .. } | Fact::RecordingStopped { .. }) => {
                self.recording.fits(fact, state, self.terms.recording.is_some())
            }
            (
                State::Connecting | State::Live { .. } | State::Paused { .. } | State::Landing { .. },
                Fact::Joined { .. }
                | Fact::Connected { .. }
                | Fact::Heard { .. }
                | Fact::Lost { .. }
                | Fact::Back { .. }
                | Fact::LinkRenewed { .. }
                | Fact::Recovered { .. }
                | Fact::Suspended { .. }
                | Fact::Ended { .. },
            ) => true,
            (State::Connecting, Fact::Started) => true,
            (State::Connecting, Fact::Paused { .. } | Fact::Resumed | Fact::Warned { .. }) => false,
            (State::Connecting, Fact::Extended { .. } | Fact::Gifted { .. }) => false,
            (State::Live { .. }, Fact::Paused { .. } | Fact::Warned { .. } | Fact::Extended { .. } | Fact::Gifted { .. }) => true,
            (State::Live { .. }, Fact::Started | Fact::Resumed) => false,
            (State::Paused { .. }, Fact::Paused { .. } | Fact::Resumed | Fact::Extended { .. } | Fact::Gifted { .. }) => true,
            (State::Paused { .. }, Fact::Started | Fact::Warned { .. }) => false,
            (State::Landing { .. }, Fact::Paused { .. } | Fact::Extended { .. } | Fact::Gifted { .. }) => true,
            (State::Landing { .. }, Fact::Started | Fact::Resumed | Fact::Warned { .. }) => false,
            (
                State::Connecting | State::Live { .. } | State::Paused { .. } | State::Landing { .. },
                Fact::Quality { .. } | Fact::Settled { .. },
            ) => false,
            (State::Ended { .. }, Fact::Quality { .. } | Fact::Settled { .. }) => true,
            (
                State::Ended { .. },
                Fact::Joined { .. }
                | Fact::Connected { .. }
                | Fact::Heard { .. }
                | Fact::Lost { .. }
                | Fact::Back { .. }
                | Fact::Started
                | Fact::Paused { .. }
                | Fact::Resumed
                | Fact::Warned { .. }
                | Fact::Extended { .. }
                | Fact::Gifted { .. }
                | Fact::LinkRenewed { .. }
                | Fact::Recovered { .. }
                | Fact::Suspended { .. }
                | Fact::Ended { .. },
            ) => false,
            (State::Settled { .. }, _) => false,
        }
    }

    /// Changes the state by a fact that fits.
    fn take(&mut self, at: Moment, fact: &Fact) {
        self.recording.take(at, fact);
        match fact {
            Fact::Created { .. } | Fact::Quality { .. } => {}
            Fact::Consented { .. } | Fact::RecordingStarted { .. } | Fact::RecordingStopped { .. } => {}
            Fact::LinkRenewed { side: Side::Client, token } => self.client_token = *token,
            Fact::LinkRenewed { side: Side::Companion, token } => self.companion_token = *token,
            Fact::Joined { side, leg } => {
                let party = self.party_mut(*side);
                party.joined_at.get_or_insert(at);
                party.here_since.get_or_insert(at);
                party.joined_leg = Some(*leg);
            }
            Fact::Connected { side, leg } => {
                // A leg that replaces one which was not lost delivers on without a pause.
                let live = matches!(self.state, State::Live { .. } | State::Landing { .. });
                let party = self.party_mut(*side);
                party.joined_at.get_or_insert(at);
                party.here_since.get_or_insert(at);
                party.leg = Some(*leg);
                party.up_at = Some(at);
                if !live {
                    party.heard_at = None;
                }
                // A client who is connected is there, she may listen only. A companion is there when she is heard.
                if *side == Side::Client {
                    party.down = None;
                    party.cut_off = false;
                }
            }
            Fact::Heard { from } => {
                let party = self.party_mut(*from);
                party.heard_at = Some(at);
                party.down = None;
                party.cut_off = false;
            }
            Fact::Recovered { proved_until, .. } => {
                self.lose_both(*proved_until, at);
                self.take_of_the_night(at, fact);
            }
            Fact::Suspended { since } => self.stand_still(*since, at),
            Fact::Lost { side, since, .. } => self.party_mut(*side).down = Some(*since),
            Fact::Back { side, .. } => {
                let party = self.party_mut(*side);
                party.down = None;
                party.cut_off = false;
                party.up_at = Some(at);
                if *side == Side::Companion {
                    party.heard_at = Some(at);
                }
            }
            Fact::Started => {
                self.state = State::Live { since: at };
                self.started_at = Some(at);
                self.reckon(at);
                self.arm(at);
            }
            Fact::Paused { cause, since } => {
                self.pause(*cause, *since);
                if let State::Paused { stopped, .. } | State::Landing { stopped, .. } = self.state {
                    self.reckon(stopped);
                }
            }
            Fact::Resumed => {
                self.linger_on(at);
                self.go_on(at);
            }
            Fact::Sleep { .. } | Fact::Lingers { .. } => self.take_of_the_night(at, fact),
            Fact::Lands { .. } => {
                if let State::Live { since } = self.state {
                    self.state = State::Landing { since: at, ran_from: since, stopped: at };
                    self.reckon(at);
                }
            }
            Fact::Woken { .. } => {
                self.take_of_the_night(at, fact);
                if let State::Landing { .. } = self.state {
                    self.go_on(at);
                }
            }
            Fact::Warned { left } => self.armed.retain(|warning| warning < left),
            Fact::Extended { hold, amount, .. } => {
                self.holds.push(*hold);
                self.amounts.push(amount.map_or(self.terms.hold.amount, |amount| amount.amount));
                self.reckon(at);
                self.arm(at);
            }
            Fact::Gifted { length, .. } => {
                self.gifted = self.gifted + *length;
                self.arm(at);
            }
            Fact::Ended { reason, at_fault } => {
                self.close_span(at);
                self.state = State::Ended { reason: *reason, at_fault: *at_fault, at };
            }
            Fact::Settled { charge, refund } => {
                if let State::Ended { reason, at_fault, at } = self.state {
                    self.state = State::Settled { reason, at_fault, at, charge: *charge, refund: *refund };
                }
            }
        }
    }

    /// The meter runs again.
    fn go_on(&mut self, at: Moment) {
        self.close_span(at);
        self.state = State::Live { since: at };
        let before = self.paid();
        self.reckon(at);
        if self.paid() > before {
            // The time went on into a cheaper hour.
            self.arm(at);
        }
    }

    fn pause(&mut self, cause: Fault, since: Moment) {
        match self.state {
            State::Live { since: ran_from } => {
                self.cut_back(since);
                let stopped = since.max(ran_from);
                self.state = State::Paused { cause, since: stopped, ran_from, stopped };
            }
            State::Paused { ran_from, stopped, .. } => {
                self.cut_back(since);
                let since = since.max(ran_from);
                self.state = State::Paused { cause, since, ran_from, stopped: stopped.min(since) };
            }
            // It goes on; only the time before it turns out to be shorter.
            State::Landing { since: landing, ran_from, stopped } => {
                self.cut_back(since);
                self.state = State::Landing { since: landing, ran_from, stopped: stopped.min(since.max(ran_from)) };
            }
            State::Connecting | State::Ended { .. } | State::Settled { .. } => {}
        }
    }

    /// What earlier spans have behind `at` was not delivered: somebody was gone in them, and nobody knew.
    fn cut_back(&mut self, at: Moment) {
        while let Some(last) = self.spans.last_mut().filter(|last| last.to > at) {
            let to = at.max(last.from);
            self.delivered = self.delivered - last.to.since(to);
            last.to = to;
            if last.from == to {
                self.spans.pop();
            }
        }
    }

    /// From when a pause that is noticed at `at` takes the time away, if somebody is gone since `gone` and the last span began at
    /// `ran_from`: from earlier spans too, where she was gone in them.
    pub(super) fn pause_from(&self, gone: Moment, ran_from: Moment, at: Moment) -> Moment {
        let reaches_back = self.spans.last().is_some_and(|span| span.to > gone);
        let first = self.started_at.filter(|_| reaches_back).unwrap_or(ran_from);
        gone.clamp(first, at)
    }

    /// Adds the present span to what was delivered.
    fn close_span(&mut self, at: Moment) {
        if let Some(span) = self.present_span(at) {
            self.spans.push(span);
            self.delivered = self.delivered + span.to.since(span.from);
        }
    }

    /// What is delivered since the call went on last; none if that is nothing.
    fn present_span(&self, at: Moment) -> Option<Segment> {
        let (from, to) = match self.state {
            State::Live { since } => (since, at),
            State::Paused { ran_from, stopped, .. } | State::Landing { ran_from, stopped, .. } => (ran_from, stopped),
            State::Connecting | State::Ended { .. } | State::Settled { .. } => return None,
        };
        (from < to).then_some(Segment { kind: SegmentKind::Delivered, from, to })
    }

    /// Reckons how much time is paid for, if the call goes on from `at`.
    fn reckon(&mut self, at: Moment) {
        self.reckoned_at = at;
        self.quota = self.quota_with(&[]);
    }

    /// How much time would be paid for with these amounts set aside too; none if that is more than a call may last.
    pub(super) fn quota_with(&self, more: &[i64]) -> Option<Span> {
        self.quota_for(&[&self.amounts, more].concat())
    }

    /// What a purchase of this call adds, as far as is known.
    pub(super) fn added_by(&self, hold: HoldId) -> Span {
        let bought = self.holds.iter().zip(&self.amounts);
        let others: Vec<i64> = bought.filter(|(own, _)| **own != hold).map(|(_, amount)| *amount).collect();
        self.paid().saturating_sub(self.quota_for(&others).unwrap_or(self.terms.limits.max_duration))
    }

    /// How much time would be paid for with these amounts set aside and no others.
    fn quota_for(&self, amounts: &[i64]) -> Option<Span> {
        let mut spans = self.spans.clone();
        spans.extend(self.present_span(self.reckoned_at));
        let horizon = match self.terms.sold.kind() {
            // Blocks count in full even where the longest duration cuts the last of them.
            Kind::Block { .. } => Span::from_s(i64::MAX / 1000),
            Kind::Flat { .. } | Kind::PerMinute(_) | Kind::UntilAsleep { .. } => self.terms.limits.max_duration,
        };
        billing::max_usage(&self.terms.sold, amounts, &spans, self.reckoned_at, horizon).map(Span::from_s)
    }

    /// The amount of each hold, in minor units.
    pub fn amounts(&self) -> &[i64] {
        &self.amounts
    }

    /// What the facts say of the meter until `now`, for [`billing::segments`].
    pub fn marks(&self, now: Option<Moment>) -> impl Iterator<Item = Mark> {
        // Since when the call lands, at the fact at hand.
        let mut landing = None;
        let marks = self.entries.iter().flat_map(move |entry| match &entry.fact {
            Fact::Started | Fact::Resumed => [Some(Mark::Ran { at: entry.at }), None],
            // In a landing it tells of the time before it.
            Fact::Paused { cause, since } => {
                [Some(Mark::Stood { since: *since, cause: cause_of(*cause) }), landing.map(|at| Mark::Landed { at })]
            }
            Fact::Lands { .. } if seeded::has(Bug::LandingBilled) => [None, None],
            Fact::Lands { .. } => {
                landing = Some(entry.at);
                [Some(Mark::Landed { at: entry.at }), None]
            }
            Fact::Woken { .. } => [landing.take().map(|_| Mark::Ran { at: entry.at }), None],
            Fact::Ended { .. } => [Some(Mark::Ended { at: entry.at }), None],
            Fact::Created { .. }
            | Fact::Joined { .. }
            | Fact::Connected { .. }
            | Fact::Heard { .. }
            | Fact::Lost { .. }
            | Fact::Back { .. }
            | Fact::Warned { .. }
            | Fact::Extended { .. }
            | Fact::Gifted { .. }
            | Fact::Recovered { .. }
            | Fact::Suspended { .. }
            | Fact::LinkRenewed { .. }
            | Fact::Sleep { .. }
            | Fact::Lingers { .. }
            | Fact::Consented { .. }
            | Fact::RecordingStarted { .. }
            | Fact::RecordingStopped { .. }
            | Fact::Quality { .. }
            | Fact::Settled { .. } => [None, None],
        });
        marks.flatten().chain(now.map(|at| Mark::Ended { at }))
    }

    /// Arms the warnings that are shorter than what is left.
    fn arm(&mut self, at: Moment) {
        let left = self.remaining(at);
        self.armed = self.terms.limits.warnings.iter().copied().filter(|warning| *warning < left).collect();
        self.armed.sort_unstable_by(|a, b| b.cmp(a));
        self.armed.dedup();
    }

    pub(super) fn party_mut(&mut self, side: Side) -> &mut Party {
        match side {
            Side::Client => &mut self.client,
            Side::Companion => &mut self.companion,
        }
    }

    /// The call's name.
    pub fn id(&self) -> CallId {
        self.id
    }

    /// The join token of a side that counts.
    pub fn token(&self, side: Side) -> TokenId {
        match side {
            Side::Client => self.client_token,
            Side::Companion => self.companion_token,
        }
    }

    /// What was agreed.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// All facts so far.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Where it is in its life.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether it has ended, settled or not: nobody joins any more.
    pub fn is_over(&self) -> bool {
        match self.state {
            State::Connecting | State::Live { .. } | State::Paused { .. } | State::Landing { .. } => false,
            State::Ended { .. } | State::Settled { .. } => true,
        }
    }

    /// One party's connection.
    pub fn party(&self, side: Side) -> &Party {
        match side {
            Side::Client => &self.client,
            Side::Companion => &self.companion,
        }
    }

    /// When it was made.
    pub fn created_at(&self) -> Moment {
        self.entries[0].at // A call is made by its first entry.
    }

    /// When the meter ran for the first time.
    pub fn started_at(&self) -> Option<Moment> {
        self.started_at
    }

    /// The holds of all purchases, in order; the first is from the booking.
    pub fn holds(&self) -> &[HoldId] {
        &self.holds
    }

    /// What may be delivered for all that is set aside, as far as is known: it changes with the hours a metered call falls in.
    /// None if that is no less than a call may last, as with one price for the whole call.
    pub fn quota(&self) -> Option<Span> {
        self.quota
    }

    /// The [`quota`](Call::quota), or else the longest a call may last.
    pub fn paid(&self) -> Span {
        self.quota.unwrap_or(self.terms.limits.max_duration)
    }

    /// Why the call ends when its paid time is used up.
    pub(super) fn end_of_paid(&self) -> EndReason {
        match self.terms.sold.kind() {
            Kind::Block { .. } | Kind::Flat { .. } => EndReason::TimeExpired,
            Kind::PerMinute(_) => EndReason::FundsExhausted,
            // With more set aside it would last longer: then it was not the cap.
            Kind::UntilAsleep { .. } if self.quota_with(&[Money::MAX_AMOUNT]) != self.quota => EndReason::FundsExhausted,
            Kind::UntilAsleep { .. } => EndReason::CapReached,
        }
    }

    /// Time given away, after all paid time.
    pub fn gifted(&self) -> Span {
        self.gifted
    }

    /// What may be delivered in all: paid and given, but no more than a call may last.
    pub(super) fn deliverable(&self) -> Span {
        self.bought_and_given().unwrap_or(self.terms.limits.max_duration)
    }

    /// Paid and given time, none if a call may not last as long.
    pub(super) fn bought_and_given(&self) -> Option<Span> {
        self.quota.map(|quota| quota + self.gifted).filter(|total| *total <= self.terms.limits.max_duration)
    }

    /// Time delivered until `now`, never more than may be; while live, as far as is known: a loss noticed later takes the
    /// seconds since the last proof of life away again.
    pub fn delivered(&self, now: Moment) -> Span {
        let running = match self.state {
            State::Live { since } => now.since(since),
            State::Paused { ran_from, stopped, .. } | State::Landing { ran_from, stopped, .. } => stopped.since(ran_from),
            State::Connecting | State::Ended { .. } | State::Settled { .. } => Span::ZERO,
        };
        (self.delivered + running).min(self.deliverable())
    }

    /// Time still to be delivered, as far as is known at `now`.
    pub fn remaining(&self, now: Moment) -> Span {
        self.deliverable() - self.delivered(now)
    }

    /// When it ends by time; known only while the meter runs.
    pub fn ends_at(&self) -> Option<Moment> {
        match self.state {
            State::Live { since } => Some(since + (self.deliverable() - self.delivered)),
            State::Connecting | State::Paused { .. } | State::Landing { .. } | State::Ended { .. } | State::Settled { .. } => None,
        }
    }

    pub(super) fn last_seq(&self) -> u64 {
        self.entries.last().map_or(0, |entry| entry.seq)
    }

    pub(super) fn last_at(&self) -> Moment {
        self.entries.last().map_or(Moment::from_unix_ms(0), |entry| entry.at)
    }
}

fn cause_of(fault: Fault) -> Cause {
    match fault {
        Fault::Client => Cause::Client,
        Fault::Companion => Cause::Companion,
        Fault::Platform | Fault::None => Cause::Platform,
    }
}
