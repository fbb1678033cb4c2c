//! What a call costs: a pure function of plan, settlement, holds and delivered time.
//!
//! The rules are those of `fixtures/rating/`, and [`rate`] is their letter. The live display, the quota ([`max_usage`]), the
//! settlement, recovery and audit all call these. Exact fractions inside (sixtieths of a minor unit), one rounding per call.

use super::meter::{Segment, SegmentKind};
use super::plan::{Increments, Kind, Plan, Rounding};
use super::split::spare_to_largest;
use crate::clock::{Moment, Span};
use crate::money::Money;
use crate::seeded::{self, Bug};
use std::ops::ControlFlow;

/// How the policy for an end reason settles a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// By the plan: what was started is paid.
    AsRated,
    /// The fault was not the client's: the seconds delivered and no more, always rounded down. A flat price has no part for
    /// a second, so nothing of it is charged.
    ExactDelivered,
    /// Nothing is charged.
    Free,
}

/// What a line counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Second,
    /// Blocks.
    Block,
    /// Calls.
    Call,
}

/// One line of a bill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What was used: the label of a window, or `any`, `block`, `flat`, `minimum`.
    pub label: String,
    /// How many.
    pub quantity: i64,
    /// Of what.
    pub unit: Unit,
    /// What it costs.
    pub amount: Money,
}

/// What a call costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rating {
    /// The time that is charged for, in seconds.
    pub billed_s: i64,
    /// The lines, in order of first use; they sum to the charge.
    pub lines: Vec<Line>,
    /// What is taken of the holds.
    pub charge: Money,
    /// What is given back: the holds less the charge.
    pub refund: Money,
}

impl Settlement {
    /// The settlements there are.
    pub const ALL: [Settlement; 3] = [Settlement::AsRated, Settlement::ExactDelivered, Settlement::Free];

    /// The word for it, in `snake_case`.
    pub const fn name(self) -> &'static str {
        match self {
            Settlement::AsRated => "as_rated",
            Settlement::ExactDelivered => "exact_delivered",
            Settlement::Free => "free",
        }
    }
}

impl Unit {
    /// The word for it on a record.
    pub const fn name(self) -> &'static str {
        match self {
            Unit::Second => "s",
            Unit::Block => "block",
            Unit::Call => "call",
        }
    }
}

/// Rates are by the minute, so an exact amount is a whole number of these parts of a minor unit.
const PARTS: i128 = 60;

/// Rates a call. `holds` are the amounts set aside, for a plan of blocks one for each block bought, each at the plan's price;
/// they sum to less than 2^63. Of `segments`, in order of time, the delivered ones count. It knows of no gifts: see [`rate_paid`].
pub fn rate(plan: &Plan, settlement: Settlement, holds: &[i64], segments: &[Segment]) -> Rating {
    let held = holds.iter().sum::<i64>();
    let mut billable_s = (super::delivered(segments).whole_s() - plan.conditions.grace_s).max(0);
    if seeded::has(Bug::SpanTruncated) {
        let spans = segments.iter().filter(|segment| segment.kind == SegmentKind::Delivered);
        billable_s = (spans.map(|span| span.to.since(span.from).whole_s()).sum::<i64>() - plan.conditions.grace_s).max(0);
    }
    if seeded::has(Bug::GraceTwice) {
        billable_s = (billable_s - plan.conditions.grace_s).max(0);
    }
    let mut bill = match (settlement, &plan.kind) {
        (Settlement::Free, _) | (Settlement::ExactDelivered, Kind::Flat { .. }) => Bill::default(),
        (Settlement::AsRated, Kind::Block { block_s, price }) => block_as_rated(*block_s, *price, holds.len(), billable_s),
        (Settlement::ExactDelivered, Kind::Block { block_s, price }) => block_exactly(*block_s, *price, holds.len(), billable_s),
        (Settlement::AsRated, Kind::Flat { price }) => flat_as_rated((*price).min(held), billable_s),
        (_, Kind::PerMinute(increments) | Kind::UntilAsleep { increments, .. }) => {
            let exactly = settlement == Settlement::ExactDelivered;
            let mut meter = Meter::new(plan, increments, held, exactly);
            meter.run(segments, billable_s);
            meter.bill(if exactly { Rounding::Down } else { plan.conditions.rounding })
        }
    };
    if settlement == Settlement::AsRated && billable_s > 0 {
        let missing = plan.conditions.minimum.min(limit(plan, held)) - bill.charge();
        if missing > 0 {
            bill.lines.push(Priced { label: "minimum".to_owned(), quantity: 1, unit: Unit::Call, amount: missing });
        }
    }
    let charge = bill.charge();
    assert!((0..=held).contains(&charge), "a charge of {charge} on holds of {held}");
    let money = |amount| Money::new(amount, plan.currency);
    let lines = bill.lines.into_iter();
    let lines = lines.map(|Priced { label, quantity, unit, amount }| Line { label, quantity, unit, amount: money(amount) }).collect();
    Rating { billed_s: bill.billed_s, lines, charge: money(charge), refund: money(held - charge) }
}

/// As [`rate`], for a call in which time may have been given away: that comes after all paid time and costs nothing
/// (design.md section 4). What is left over of a hold buys no increment, so settled exactly it must not pay for seconds of a
/// gift either: the time counts up to [`max_usage`].
pub fn rate_paid(plan: &Plan, settlement: Settlement, holds: &[i64], segments: &[Segment]) -> Rating {
    let paid_s = segments.last().filter(|_| settlement == Settlement::ExactDelivered);
    match paid_s.and_then(|last| max_usage(plan, holds, segments, last.to, super::delivered(segments))) {
        Some(paid_s) => rate(plan, settlement, holds, &super::meter::first(segments, Span::from_s(paid_s))),
        None => rate(plan, settlement, holds, segments),
    }
}

/// The connected seconds, grace included, after which the call must end because nothing more would be paid for; none if that
/// is not within `horizon` of connected time. `holds` and `segments` are as in [`rate`]; `now` is the present moment, from
/// which the call is taken to go on connected.
pub fn max_usage(plan: &Plan, holds: &[i64], segments: &[Segment], now: Moment, horizon: Span) -> Option<i64> {
    let grace_s = plan.conditions.grace_s;
    match &plan.kind {
        Kind::Flat { .. } => None,
        Kind::Block { block_s, .. } => Some(grace_s + block_s * i64::try_from(holds.len()).unwrap_or(i64::MAX / block_s)),
        Kind::PerMinute(increments) | Kind::UntilAsleep { increments, .. } => {
            let mut meter = Meter::new(plan, increments, holds.iter().sum(), false);
            let ahead = (horizon.saturating_sub(super::delivered(segments))).max(Span::ZERO);
            let onward = Segment { kind: SegmentKind::Delivered, from: now, to: now + ahead };
            let mut all = segments.to_vec();
            all.push(onward);
            let billable_s = (super::delivered(&all).whole_s() - grace_s).max(0);
            meter.run(&all, billable_s);
            meter.is_full.then_some(grace_s + meter.billed_s)
        }
    }
    .filter(|seconds| *seconds <= horizon.whole_s())
}

/// What may be charged at most, in minor units.
fn limit(plan: &Plan, held: i64) -> i64 {
    match &plan.kind {
        _ if seeded::has(Bug::ChargedAboveHolds) => i64::MAX / 60,
        Kind::UntilAsleep { cap: Some(cap), .. } => held.min(*cap),
        Kind::Block { .. } | Kind::Flat { .. } | Kind::PerMinute(_) | Kind::UntilAsleep { .. } => held,
    }
}

/// A bill before it has a currency.
#[derive(Default)]
struct Bill {
    billed_s: i64,
    lines: Vec<Priced>,
}

struct Priced {
    label: String,
    quantity: i64,
    unit: Unit,
    amount: i64,
}

impl Bill {
    fn of(billed_s: i64, label: &str, quantity: i64, unit: Unit, amount: i64) -> Self {
        Self { billed_s, lines: vec![Priced { label: label.to_owned(), quantity, unit, amount }] }
    }

    fn charge(&self) -> i64 {
        self.lines.iter().map(|line| line.amount).sum()
    }
}

/// Each started block in full, the unstarted ones not at all.
fn block_as_rated(block_s: i64, price: i64, bought: usize, billable_s: i64) -> Bill {
    let bought = i64::try_from(bought).unwrap_or(i64::MAX);
    let started = (billable_s / block_s + i64::from(billable_s % block_s > 0)).min(bought);
    if started == 0 {
        return Bill::default();
    }
    Bill::of(started * block_s, "block", started, Unit::Block, started * price)
}

/// The delivered part of the time bought, rounded down.
fn block_exactly(block_s: i64, price: i64, bought: usize, billable_s: i64) -> Bill {
    let seconds = billable_s.min(block_s.saturating_mul(i64::try_from(bought).unwrap_or(i64::MAX)));
    if seconds == 0 {
        return Bill::default();
    }
    let amount = i128::from(price) * i128::from(seconds) / i128::from(block_s);
    // At most the price of all blocks bought, which is what they were set aside for.
    Bill::of(seconds, "block", seconds, Unit::Second, i64::try_from(amount).unwrap_or(i64::MAX))
}

/// The whole price once the grace is over.
fn flat_as_rated(price: i64, billable_s: i64) -> Bill {
    if billable_s == 0 { Bill::default() } else { Bill::of(billable_s, "flat", 1, Unit::Call, price) }
}

/// Counts increments along the delivered time, a stretch of one rate at a time.
struct Meter<'a> {
    increments: &'a Increments,
    grace_s: i64,
    first_s: i64,
    later_s: i64,
    /// Most that may be charged, in parts.
    limit: i128,
    cap_s: i64,
    billed_s: i64,
    charged: i128,
    /// An increment did not fit: nothing after it is billed.
    is_full: bool,
    /// By first use: the window, its seconds, its parts.
    used: Vec<(usize, i64, i128)>,
}

impl<'a> Meter<'a> {
    fn new(plan: &'a Plan, increments: &'a Increments, held: i64, exactly: bool) -> Self {
        let cap_s = match plan.kind {
            Kind::UntilAsleep { cap_s: Some(cap_s), .. } => cap_s,
            Kind::Block { .. } | Kind::Flat { .. } | Kind::PerMinute(_) | Kind::UntilAsleep { .. } => i64::MAX,
        };
        let (first_s, later_s) = if exactly { (1, 1) } else { (increments.first_s, increments.later_s) };
        Self {
            increments,
            grace_s: plan.conditions.grace_s,
            first_s,
            later_s,
            limit: i128::from(limit(plan, held)) * PARTS,
            cap_s,
            billed_s: 0,
            charged: 0,
            is_full: false,
            used: Vec::with_capacity(increments.rates.len()),
        }
    }

    /// Bills the first `billable_s` billable seconds of the delivered segments, as far as the limits let it.
    fn run(&mut self, segments: &[Segment], billable_s: i64) {
        // Delivered milliseconds before the stretch at hand.
        let mut before_ms = 0;
        let rates = &self.increments.rates;
        for segment in segments.iter().filter(|segment| segment.kind == SegmentKind::Delivered) {
            let end = rates.stretches(segment.from, segment.to, |from, to, window| {
                before_ms += to.since(from).ms();
                // A second belongs to the instant at which it begins.
                let until_s = ((before_ms + 999).div_euclid(1000) - self.grace_s).min(billable_s);
                let until_s = if seeded::has(Bug::IncrementAtItsEnd) && to < segment.to { until_s - self.later_s + 1 } else { until_s };
                self.stretch(until_s, window);
                if self.is_full || self.billed_s >= billable_s { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            if end.is_break() {
                break;
            }
        }
    }

    /// Bills the increments that begin before the billable second `until_s`, at the rate of a window.
    fn stretch(&mut self, until_s: i64, window: usize) {
        while self.billed_s < until_s && !self.is_full {
            let (length, wanted) = match self.billed_s {
                0 => (self.first_s, 1),
                begun => (self.later_s, (until_s - begun - 1) / self.later_s + 1),
            };
            let cost = i128::from(self.increments.rates.rate(window)) * i128::from(length);
            let affordable = (self.limit - self.charged).checked_div(cost).unwrap_or(i128::MAX);
            let allowed = i128::from((self.cap_s - self.billed_s) / length).min(affordable);
            let taken = allowed.min(i128::from(wanted));
            self.is_full = taken < i128::from(wanted);
            // At most `wanted`, so it fits.
            let seconds = taken as i64 * length;
            self.billed_s += seconds;
            let cost = if seeded::has(Bug::RoundedEachStretch) && taken > 0 { taken * cost / PARTS * PARTS / taken } else { cost };
            self.charged += taken * cost;
            if taken > 0 {
                match self.used.iter_mut().find(|(used, _, _)| *used == window) {
                    Some((_, all_seconds, parts)) => {
                        *all_seconds += seconds;
                        *parts += taken * cost;
                    }
                    None => self.used.push((window, seconds, taken * cost)),
                }
            }
        }
    }

    /// The bill: rounded once, the lines cut to it.
    fn bill(self, rounding: Rounding) -> Bill {
        let rates = &self.increments.rates;
        // Windows that share a label share a line.
        let mut lines: Vec<(&str, i64, i128)> = Vec::with_capacity(self.used.len());
        for (window, seconds, parts) in self.used {
            match lines.iter_mut().find(|(label, _, _)| *label == rates.label(window)) {
                Some((_, all_seconds, all_parts)) => {
                    *all_seconds += seconds;
                    *all_parts += parts;
                }
                None => lines.push((rates.label(window), seconds, parts)),
            }
        }
        // Rounded up or not, it is not above the limit, which is a whole number and an i64.
        let charge = rounding.apply(self.charged, PARTS) as i64;
        let exact: Vec<i128> = lines.iter().map(|(_, _, parts)| *parts).collect();
        let amounts = spare_to_largest(charge, &exact, PARTS);
        let lines = lines.into_iter().zip(amounts);
        let lines = lines.map(|((label, quantity, _), amount)| Priced { label: label.to_owned(), quantity, unit: Unit::Second, amount });
        Bill { billed_s: self.billed_s, lines: lines.collect() }
    }
}

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;
