//! Looks at everything that happens and knows what must hold (charging.md section 4 calls them I1 to I12).
//!
//! What a step touched is looked at in the step; everything once more at checkpoints and at the end. It decides nothing and mends
//! nothing: the first breach ends the night.

use super::oracle;
use super::truth::Truth;
use crate::billing::Settlement;
use crate::call::{Call, EndReason, Entry, Fact, Policy, State};
use crate::clock::Moment;
use crate::exchange::SettleOrder;
use crate::ids::CallId;
use std::collections::BTreeMap;

/// So much of a whole call may count as delivered that was not, in milliseconds.
const UNNOTICED_MS: i64 = 0;

/// Something that must never be so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// Which rule, a stable word.
    pub rule: &'static str,
    /// Where and what, with the numbers.
    pub fault: String,
}

impl Breach {
    pub(super) fn new(rule: &'static str, fault: impl Into<String>) -> Self {
        Self { rule, fault: fault.into() }
    }
}

/// An error unless `holds`.
pub(super) fn expect(holds: bool, rule: &'static str, fault: impl FnOnce() -> String) -> Result<(), Breach> {
    if holds { Ok(()) } else { Err(Breach::new(rule, fault())) }
}

/// What is known of a call.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// On which line it is.
    pub(super) line: usize,
    /// How its vendor's calls were settled when it was made.
    agreed: Policy,
    pub(super) truth: Truth,
    /// The last fact that the core made, and its instant.
    made: (u64, Option<Moment>),
    /// The last fact that somebody outside was told of.
    pub(super) told: u64,
    /// Its end was told: it is settled for ever.
    pub(super) is_settled: bool,
    /// Delivered in the end, in milliseconds.
    pub(super) delivered_ms: i64,
}

/// All calls of a night.
#[derive(Default)]
pub(super) struct Watch {
    pub(super) calls: BTreeMap<CallId, Seen>,
}

impl Watch {
    pub(super) fn call(&mut self, call: CallId) -> Option<&mut Seen> {
        self.calls.get_mut(&call)
    }

    /// A call is booked on a line; nothing of it is on disk yet.
    pub(super) fn booked(&mut self, call: CallId, line: usize, agreed: Policy, entry: &Entry) {
        self.calls.insert(call, Seen { line, agreed, made: (entry.seq, Some(entry.at)), ..Seen::default() });
    }

    /// The core made facts of a call. They are not on disk yet.
    pub(super) fn made(&mut self, call: CallId, entries: &[Entry], core: Option<&Call>) -> Result<(), Breach> {
        let Some(seen) = self.calls.get_mut(&call) else { return Ok(()) };
        for entry in entries {
            let (seq, at) = seen.made;
            expect(entry.seq == seq + 1, "journal_gap", || format!("{call}: fact {} was made after fact {seq}", entry.seq))?;
            expect(at.is_none_or(|at| at <= entry.at), "journal_order", || {
                format!("{call}: fact {} is of {} after {at:?}", entry.seq, entry.at)
            })?;
            seen.made = (entry.seq, Some(entry.at));
        }
        if let Some(core) = core
            && let Some(entry) = entries.iter().find(|entry| matches!(entry.fact, Fact::Extended { .. } | Fact::Gifted { .. }))
        {
            check_extension(core, entry)?;
        }
        Ok(())
    }

    /// After a restart the journal on disk is all there is.
    pub(super) fn restarted(&mut self, call: CallId, entries: &[Entry]) -> Result<(), Breach> {
        let Some(seen) = self.calls.get_mut(&call) else { return Ok(()) };
        let last = entries.last();
        let seq = last.map_or(0, |entry| entry.seq);
        expect(seq >= seen.told, "acknowledged", || format!("{call}: fact {} was told of, and the journal ends with {seq}", seen.told))?;
        expect(!seen.is_settled, "settled", || format!("{call}: its settlement was told of, and it is open again"))?;
        seen.made = (seq, last.map(|entry| entry.at));
        Ok(())
    }

    /// A call ended: what it is charged.
    pub(super) fn settles(&mut self, core: &Call, order: &SettleOrder, now: Moment) -> Result<(), Breach> {
        let id = core.id();
        let held = core.amounts();
        let all: i64 = held.iter().sum();
        let (charge, refund) = (order.charge.amount, order.refund.amount);
        let bought = oracle::bought(core.entries());
        expect(held == bought, "held", || format!("{id}: {held:?} count as set aside, its facts say {bought:?}"))?;
        expect((0..=all).contains(&charge), "charge_above_holds", || format!("{id}: charge {charge} of {all} held"))?;
        expect(charge + refund == all, "charge_refund", || format!("{id}: charge {charge} and refund {refund} of {all} held"))?;
        let captured: i64 = order.captures.iter().map(|(_, amount)| amount).sum();
        expect(captured == charge, "charge_captured", || format!("{id}: charge {charge}, captured {captured}"))?;
        let own = order.captures.iter().all(|(hold, amount)| {
            let place = core.holds().iter().position(|own| own == hold);
            place.is_some_and(|place| (0..=held[place]).contains(amount))
        });
        expect(own, "hold_captured", || format!("{id}: captures {:?} of {:?}", order.captures, core.holds()))?;
        let shares = (order.companion_share, order.vendor_share);
        let due = oracle::shares(charge, core.terms().shares.companion_bps);
        expect(shares == due, "shares", || format!("{id}: {charge} is shared as {shares:?} and not as {due:?}"))?;
        self.check_time(core, order, now, held)
    }

    fn check_time(&mut self, core: &Call, order: &SettleOrder, now: Moment, held: &[i64]) -> Result<(), Breach> {
        let id = core.id();
        let spans = oracle::delivered(core.entries());
        let delivered_ms = oracle::sum(&spans);
        let agreed = self.calls.get(&id).map_or_else(Policy::default, |seen| seen.agreed);
        if let Some(seen) = self.calls.get_mut(&id) {
            let truth = seen.truth.delivered(now).ms();
            // The truth knows nothing of landings, in which both are there.
            let is_plain = !core.entries().iter().any(|entry| matches!(entry.fact, Fact::Lands { .. }))
                && !matches!(core.state(), State::Settled { reason: EndReason::ServerFault, .. });
            let is_whole = is_plain && seen.truth.is_whole();
            expect(!is_whole || delivered_ms == truth, "delivered_in_full", || {
                format!("{id}: {delivered_ms} ms count as delivered, and nothing came in the way of {truth} ms{}", facts(core.entries()))
            })?;
            expect(delivered_ms <= truth + UNNOTICED_MS, "undelivered", || {
                format!(
                    "{id}: {delivered_ms} ms count as delivered, and both sides had {truth} ms: {:?}{}",
                    seen.truth,
                    facts(core.entries())
                )
            })?;
            seen.delivered_ms = delivered_ms;
        }
        let State::Settled { reason, at_fault, .. } = core.state() else {
            return Err(Breach::new("settled", format!("{id} settles and is {}", core.state().name())));
        };
        if let Some(fault) = oracle::landings(core.terms(), core.entries()) {
            return Err(Breach::new("landing", format!("{id}: {fault}{}", facts(core.entries()))));
        }
        let plan = &core.terms().sold;
        let settlement = oracle::settlement(plan, &agreed, (reason, at_fault), core.started_at().is_some(), delivered_ms);
        let is_gifted = core.entries().iter().any(|entry| matches!(entry.fact, Fact::Gifted { .. }));
        let counted = if is_gifted && settlement == Settlement::ExactDelivered { oracle::without_gifts(plan, held, &spans) } else { spans };
        let (_, due) = oracle::rate(plan, settlement, held, &counted);
        expect(order.charge.amount == due, "rating", || {
            format!(
                "{id}: {} ({}, {delivered_ms} ms of {plan:?}) comes to {} and not to {due}{}",
                settlement.name(),
                reason.name(),
                order.charge,
                facts(core.entries())
            )
        })
    }

    /// Somebody outside hears of facts up to `seq`, of which the disk has `on_disk`.
    pub(super) fn tells(&mut self, call: CallId, seq: u64, on_disk: Option<u64>) -> Result<(), Breach> {
        expect(on_disk.is_some_and(|on_disk| on_disk >= seq), "said_too_early", || {
            format!("{call}: fact {seq} is told of, and the journal has {on_disk:?}")
        })?;
        if let Some(seen) = self.calls.get_mut(&call) {
            seen.told = seen.told.max(seq);
        }
        Ok(())
    }
}

/// The journal of a call, a line each, for whoever has to find out why.
pub(super) fn facts(entries: &[Entry]) -> String {
    let line = |entry: &Entry| match &entry.fact {
        Fact::Created { .. } => format!("\n  {} {} created", entry.seq, entry.at),
        fact => format!("\n  {} {} {fact:?}", entry.seq, entry.at),
    };
    entries.iter().map(line).collect()
}

/// Time is added only while some is left: by facts alone, not by what the machine thinks.
fn check_extension(core: &Call, added: &Entry) -> Result<(), Breach> {
    let before: Vec<Entry> = core.entries().iter().take_while(|entry| entry.seq < added.seq).cloned().collect();
    let (mut purchases, mut gifted_ms) = (0, 0);
    for entry in &before {
        match &entry.fact {
            Fact::Created { .. } | Fact::Extended { .. } => purchases += 1,
            Fact::Gifted { length, .. } => gifted_ms += length.ms(),
            _ => {}
        }
    }
    let Some(block) = core.terms().block() else { return Ok(()) };
    let mut until = before;
    until.push(Entry {
        seq: added.seq,
        at: added.at,
        fact: Fact::Ended { reason: EndReason::TimeExpired, at_fault: crate::call::Fault::None },
    });
    let used = oracle::sum(&oracle::delivered(&until));
    let paid =
        (block.ms() * purchases + core.terms().sold.conditions().grace_s * 1000 + gifted_ms).min(core.terms().limits.max_duration.ms());
    expect(used <= paid, "extended_after_end", || {
        format!("{}: time is added by fact {} when {used} ms of {paid} ms were used", core.id(), added.seq)
    })
}
