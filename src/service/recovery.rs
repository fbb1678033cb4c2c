//! What the house looks after beside its calls: taking up what a crash left, the audit of all that is on disk, the clocks.
//!
//! Invariants: nobody is let in before the calls that are not over are audited and taken up; whatever does not add up, or a
//! wall clock that was put back, keeps new calls out and leaves those that are on alone.

use super::carry::Then;
use super::house::{House, Note};
use super::{ServiceError, wire};
use crate::call::{Fact, Journal};
use crate::clock::{Clock, Moment, Span, Watch};
use crate::exchange;
use crate::ids::{CallId, HoldId};
use crate::store::{Background, Finding, Store, StoreError, Transaction, Write};
use signaling::code::Code;
use signaling::inbound::Refused;
use std::collections::{BTreeMap, BTreeSet};

/// Findings of an audit that are logged; the rest is counted.
const MOST_LOGGED: usize = 20;

/// Why new calls are kept out.
pub(super) struct Guard {
    /// What the audit found first.
    breach: Option<String>,
    /// The wall clock must pass this.
    wall_must_pass: Option<Moment>,
    watch: Watch,
    /// Ends with the house.
    _audit: Option<Background>,
}

impl Guard {
    pub(super) fn new(wall_must_pass: Option<Moment>) -> Self {
        Self { breach: None, wall_must_pass, watch: Watch::new(Clock::read()), _audit: None }
    }
}

/// What an earlier server left on disk.
struct Left {
    journals: Vec<Journal>,
    proofs: BTreeMap<CallId, Moment>,
    pending: BTreeMap<CallId, Vec<HoldId>>,
    /// What servers before it released of calls that are open.
    strays: BTreeMap<CallId, Vec<HoldId>>,
    /// Its last sign of life.
    alive: Option<Moment>,
    findings: Vec<Finding>,
}

fn read_left(store: &Store) -> Result<Left, StoreError> {
    Ok(Left {
        findings: store.audit_unfinished(&|journal| exchange::record(journal).ok())?,
        journals: store.unfinished_calls()?,
        proofs: store.proofs()?,
        pending: store.pending_holds()?,
        strays: store.released_strays()?,
        alive: store.last_alive()?,
    })
}

impl House {
    /// Audits and takes up the calls that an earlier server left open, and has all the rest audited.
    pub(super) async fn take_up(&mut self) -> Result<(), ServiceError> {
        let (store, boot, now) = (self.store.clone(), self.pulse.boot, self.clock.now());
        // Whoever starts next waits for the same, unless somebody accepts the clock as it is.
        let wall = self.guard.wall_must_pass.unwrap_or(Clock::read().wall);
        let left = tokio::task::spawn_blocking(move || {
            let left = read_left(&store)?;
            let begin = || store.commit(Transaction { idempotency: None, writes: vec![Write::Boot { boot, at: now, wall }] });
            // On a full disk the first attempt gives up the ballast, and the second has its room.
            begin().or_else(|error| if error == StoreError::Full { begin() } else { Err(error) })?;
            Ok::<_, StoreError>(left)
        });
        let Left { journals, proofs, pending, strays, alive, findings } = left.await.map_err(|_| ServiceError::Panicked)??;
        if let Some(first) = findings.first() {
            findings.iter().take(MOST_LOGGED).for_each(|finding| tracing::error!("{finding}"));
            return Err(ServiceError::Audit { count: findings.len(), first: first.to_string() });
        }
        for journal in journals {
            let id = journal.call;
            // A call that was not live has no proof of its own: it waited as long as the server lived.
            let was_live = journal.entries.iter().any(|entry| matches!(entry.fact, Fact::Started));
            let proved = if was_live { proofs.get(&id).copied() } else { alive };
            let mut out = Vec::new();
            let recovered = self.exchange.recover(&journal, proved, boot, now, &mut out);
            recovered.map_err(|why| ServiceError::Journal { call: id.to_string(), why: why.to_string() })?;
            self.pulse.begin(id, now);
            let known = self.exchange.call(id).map_or(&[][..], |call| call.holds());
            let unnamed: BTreeSet<HoldId> = pending.get(&id).into_iter().flatten().copied().filter(|hold| !known.contains(hold)).collect();
            if !unnamed.is_empty() {
                let release = Write::ReleaseStray { call: id, known: known.to_vec(), at: now };
                self.commit(Transaction { idempotency: None, writes: vec![release] }, Then::Say(Vec::new()));
            }
            if let Some(parties) = self.parties_of(id) {
                parties.released = unnamed;
                parties.released.extend(strays.get(&id).into_iter().flatten());
            }
            self.carry_out(out, now);
            metrics::counter!("lull_calls_recovered_total").increment(1);
            tracing::warn!(call.id = %id, "call {id} was cut off by a stop of the server; it waits for its legs");
        }
        let notes = self.notes.clone();
        // The house is gone: nobody wants to know any more.
        let on_done = move |findings| drop(notes.send(Note::Audited(findings)));
        self.guard._audit = Some(self.store.audit_in_background(|journal| exchange::record(journal).ok(), on_done)?);
        Ok(())
    }

    /// The audit of all that is on disk is done.
    pub(super) fn audited(&mut self, findings: Result<Vec<Finding>, StoreError>) {
        let (count, first) = match findings {
            Ok(findings) => {
                findings.iter().take(MOST_LOGGED).for_each(|finding| tracing::error!("{finding}"));
                (findings.len(), findings.first().map(Finding::to_string))
            }
            Err(error) => (1, Some(error.to_string())),
        };
        metrics::gauge!("lull_audit_findings").set(count as f64);
        match first {
            Some(first) => {
                tracing::error!(findings = count, "what is on disk does not add up ({count} findings); no new calls are taken: {first}");
                self.guard.breach = Some(first);
            }
            None => tracing::info!("all that is on disk adds up"),
        }
    }

    /// Why no new call is taken at present, though there may be room.
    pub(super) fn takes_no_calls(&self) -> Option<Refused> {
        let refuse = |code, detail: &str| Some(wire::refused(code, detail, None));
        if self.guard.breach.is_some() {
            return refuse(
                Code::AuditFailed,
                "what is on the server's disk does not add up; calls that are on go on, new ones are not taken",
            );
        }
        if self.guard.wall_must_pass.is_some() {
            let detail = "the server's clock is behind what it wrote before; new calls are not taken until it has caught up";
            return refuse(Code::ClockBehind, detail);
        }
        None
    }

    /// What `/readyz` says, media apart.
    pub(super) fn not_ready(&mut self) -> Option<String> {
        if let Some(passes) = self.guard.wall_must_pass.filter(|passes| Clock::read().wall >= *passes) {
            tracing::info!("the wall clock has passed {passes}; new calls are taken");
            self.guard.wall_must_pass = None;
        }
        self.takes_no_calls().map(|refused| refused.detail).or_else(|| self.store.trouble().map(|error| error.to_string()))
    }

    /// Compares the clocks. To be called before the time is looked at for anything else: after a sleep of the machine moments jump.
    pub(super) fn look_at_clock(&mut self) {
        let noticed = self.guard.watch.look(Clock::read());
        if noticed.stepped != Span::ZERO {
            metrics::counter!("lull_clock_steps_total").increment(1);
            let stepped = noticed.stepped.ms();
            tracing::warn!(clock.step_ms = stepped, "the wall clock was set by {stepped} ms; calls that are on are not touched");
        }
        if noticed.slept != Span::ZERO {
            metrics::counter!("lull_sleeps_total").increment(1);
            tracing::warn!("the machine slept for {} s; it is a pause of every call, at our cost", noticed.slept.whole_s());
            self.slept(noticed.slept);
        }
    }

    /// New calls take the wall clock as it is now; those that are open keep the one they were made by, so it waits for their end.
    pub(super) fn follow_wall_clock(&mut self) {
        let is_idle = self.exchange.calls().all(|call| call.is_over());
        if is_idle && self.pending.is_empty() && self.guard.wall_must_pass.is_none() {
            let off = self.clock.anchor_anew();
            if off != Span::ZERO {
                tracing::info!("times are the wall clock's again, by {} ms", off.ms());
            }
        }
    }

    /// The machine slept for so long, until now.
    pub(super) fn slept(&mut self, slept: Span) {
        let before = self.clock.now();
        self.clock.jump(slept);
        self.pulse.excuse(slept);
        let now = self.clock.now();
        let mut out = Vec::new();
        self.exchange.suspend(before, now, &mut out);
        self.carry_out(out, now);
    }
}
