//! What a crash, a sleep of the machine or a silent disk leaves of a call: what is proved counts, what is not is our cost.
//!
//! Invariants: time after the last proof of life of both legs is never delivered time; a call that was open is open
//! afterwards, under the same id and with the same tokens; while both sides are away because the server was, nobody but the
//! platform is at fault.

use super::{Call, Effect, EndReason, Fact, Fault, Notice, Party, RecordingEnd, Side, State};
use crate::clock::{Moment, Span};
use crate::ids::{BootId, LegId};
use crate::seeded::{self, Bug};

/// How far a live or paused call is proved at some instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Until here the media plane saw every side that is not away; where both are away, the present.
    pub until: Moment,
    /// Time delivered until then.
    pub delivered: Span,
}

/// What a proof needs to know of a live or paused call. It changes with the call's facts only, and is small: every call's is
/// looked at for every heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Basis {
    /// Of each side that is not away: the connected leg, and when that came up or was heard last.
    sides: [Option<(LegId, Option<Moment>)>; 2],
    /// When the span began that runs, or ran last.
    ran_from: Moment,
    /// When that ended, unless it runs.
    stopped: Option<Moment>,
    /// Time delivered in the spans before it.
    delivered: Span,
    /// What may be delivered in all.
    deliverable: Span,
}

impl Basis {
    /// See [`Call::proof`].
    pub fn proof(&self, seen: impl Fn(Side, LegId) -> Option<Moment>, now: Moment) -> Proof {
        let alive = |side: Side| {
            let (leg, known) = self.sides[side as usize]?;
            seen(side, leg).max(known)
        };
        let until = [Side::Client, Side::Companion].into_iter().filter_map(alive).min().unwrap_or(now).min(now);
        // The span that runs is proved only so far; those before it are.
        let running = self.stopped.map_or(until, |stopped| stopped.min(until)).since(self.ran_from);
        Proof { until, delivered: (self.delivered + running).min(self.deliverable) }
    }
}

impl Call {
    /// What is proved of this call at `now`; none unless it is live or paused. `seen` is the last proof of life of a side's
    /// connected leg, as the media plane reported it; without one its coming up and being heard count.
    pub fn proof(&self, seen: impl Fn(Side, LegId) -> Option<Moment>, now: Moment) -> Option<Proof> {
        self.basis().map(|basis| basis.proof(seen, now))
    }

    /// What the facts so far give a proof; none unless the call is live or paused.
    pub fn basis(&self) -> Option<Basis> {
        let (ran_from, stopped) = match self.state {
            State::Live { since } => (since, None),
            State::Paused { ran_from, stopped, .. } | State::Landing { ran_from, stopped, .. } => (ran_from, Some(stopped)),
            State::Connecting | State::Ended { .. } | State::Settled { .. } => return None,
        };
        let sides = [&self.client, &self.companion].map(|party| {
            let leg = party.leg.filter(|_| party.down.is_none())?;
            Some((leg, last_sign(party, None)))
        });
        Some(Basis { sides, ran_from, stopped, delivered: self.delivered, deliverable: self.deliverable() })
    }

    /// Takes the call up after the server was away: `proved` is the last proof of it that is on disk (none: only its facts are),
    /// or for a call that was not live the last sign of that server. To be called once, on the call as replayed, before any event
    /// or timeout. It does nothing to a call that is over.
    pub fn recover(&mut self, boot: BootId, proved: Option<Moment>, now: Moment, out: &mut Vec<Effect>) {
        if self.is_over() {
            return;
        }
        let now = now.max(self.last_at());
        let known = match self.state {
            State::Live { since } => since,
            State::Paused { ran_from, .. } | State::Landing { ran_from, .. } => ran_from,
            State::Connecting | State::Ended { .. } | State::Settled { .. } => self.last_at(),
        };
        let proved = if seeded::has(Bug::ProvedUntilRestart) { Some(now) } else { proved };
        // The proof may be a little later than the call's end, if the server died before it ended it: then that is where it stopped.
        let end = self.ends_at().map_or(now, |end| end.clamp(known, now));
        let proved_until = proved.map_or(known, |proved| proved.max(known)).min(end);
        let before = self.state;
        self.record(now, Fact::Recovered { boot, proved_until });
        self.stop_recording(RecordingEnd::ServerStopped, now);
        let gone = self.client.down.min(self.companion.down).unwrap_or(proved_until);
        let since = match before {
            State::Live { since } => Some(gone.clamp(since, end)),
            // The side that was there is proved for less than the pause had it.
            State::Paused { ran_from, stopped, .. } | State::Landing { ran_from, stopped, .. } if gone.max(ran_from) < stopped => {
                Some(gone.max(ran_from))
            }
            // It goes on without anybody, and nobody pays for it.
            State::Landing { .. } => None,
            State::Paused { cause: Fault::Platform, .. } => None,
            // Until here it was hers.
            State::Paused { since, .. } => Some(proved_until.clamp(since, now)),
            State::Connecting | State::Ended { .. } | State::Settled { .. } => None,
        };
        if let Some(since) = since {
            self.record(now, Fact::Paused { cause: Fault::Platform, since });
        }
        out.push(Effect::Tell { to: None, notice: Notice::Changed });
    }

    /// The machine slept from `since` until now; legs may still be there. To be called before any event or timeout after it.
    /// What was due before the sleep, and noticed only now, is done as of then. What the ear heard before it counts no more.
    pub fn suspend(&mut self, since: Moment, now: Moment, out: &mut Vec<Effect>) {
        let now = now.max(self.last_at());
        self.handle_timeout(since.min(now), out);
        match self.state {
            State::Live { since: ran_from } => {
                let stopped = self.faltering.iter().flatten().map(|(_, silent)| *silent).fold(since, Moment::min);
                self.record(now, Fact::Paused { cause: Fault::Platform, since: self.pause_from(stopped, ran_from, now) });
                self.doze(now);
                self.record(now, Fact::Resumed);
                out.push(Effect::Tell { to: None, notice: Notice::Resumed });
            }
            State::Connecting | State::Paused { .. } | State::Landing { .. } => {
                self.record(now, Fact::Suspended { since: since.min(now) });
                if self.doze(now) {
                    out.push(Effect::Tell { to: None, notice: Notice::Changed });
                }
            }
            State::Ended { .. } | State::Settled { .. } => {}
        }
    }

    /// Ends a call that the disk has proved only until `proved`, as of then. One that is not live yet has nothing to prove.
    pub(super) fn lapse(&mut self, proved: Moment, now: Moment, out: &mut Vec<Effect>) {
        let at = self.within(proved, now);
        match self.state {
            State::Live { since } => self.record(at, Fact::Paused { cause: Fault::Platform, since: proved.clamp(since, at) }),
            State::Landing { ran_from, stopped, .. } if proved < stopped => {
                self.record(at, Fact::Paused { cause: Fault::Platform, since: proved.max(ran_from) });
            }
            State::Paused { .. } | State::Landing { .. } => {}
            State::Connecting | State::Ended { .. } | State::Settled { .. } => return,
        }
        self.end(EndReason::ServerFault, Fault::Platform, at, out);
    }

    /// Both legs are gone with the server; a side that was not away before is away since its last sign of life.
    pub(super) fn lose_both(&mut self, proved_until: Moment, at: Moment) {
        let was_live = matches!(self.state, State::Live { .. } | State::Paused { .. } | State::Landing { .. });
        for side in [Side::Client, Side::Companion] {
            let party = self.party_mut(side);
            if was_live {
                let gone = last_sign(party, Some(proved_until)).unwrap_or(proved_until).min(at);
                party.down.get_or_insert(gone);
                party.cut_off = true;
            } else {
                party.down = None;
            }
            (party.leg, party.joined_leg, party.up_at, party.heard_at, party.here_since) = (None, None, None, None, None);
        }
        self.stand_still(proved_until, at);
    }

    /// No limit ran from `since` until `at`.
    pub(super) fn stand_still(&mut self, since: Moment, at: Moment) {
        if matches!(self.state, State::Connecting) {
            self.stood = self.stood + at.since(since);
        }
        self.stood_until = Some(at);
    }

    /// Somebody is away because the server was.
    pub(super) fn is_cut_off(&self) -> bool {
        self.client.cut_off || self.companion.cut_off
    }

    /// Somebody who had joined a call that was not live yet has not come again since the server was away.
    pub(super) fn lost_who_waited(&self) -> bool {
        [&self.client, &self.companion].into_iter().any(|party| party.joined_at.is_some() && party.here_since.is_none())
    }
}

/// The latest of what shows that a connected leg lived: what the media plane saw, its coming up, its being heard.
fn last_sign(party: &Party, seen: Option<Moment>) -> Option<Moment> {
    seen.max(party.up_at).max(party.heard_at)
}
