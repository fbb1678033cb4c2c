//! What a call costs: a pure function of plan, settlement, holds and delivered time.
//!
//! The rules are those of `fixtures/rating/`. Exact fractions inside, one rounding per call. Other kinds of plan are further
//! variants of [`Kind`].

use crate::clock::Span;
use crate::money::{Currency, Money};

/// What was sold. Made by [`Plan::new`], so it can be rated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    currency: Currency,
    grace_s: i64,
    kind: Kind,
}

/// The kinds of plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Blocks of time, each bought whole.
    Block {
        /// Length of a block.
        block_s: i64,
        /// Price of a block in minor units.
        price: i64,
    },
}

/// Why a plan cannot be rated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A length of time that is negative, or not positive where it must be.
    #[error("a plan's times are whole seconds, a block's length is positive")]
    Time,
    /// A price outside 0 to [`Money::MAX_AMOUNT`].
    #[error("a price is between 0 and 2^53 - 1 minor units")]
    Price,
}

/// How the policy for an end reason settles a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// By the plan: what was started is paid.
    AsRated,
    /// The fault was not the client's: the seconds delivered and no more, always rounded down.
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
}

/// One line of a bill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What was used.
    pub label: &'static str,
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
    /// The lines; they sum to the charge.
    pub lines: Vec<Line>,
    /// What is taken of the holds.
    pub charge: Money,
    /// What is given back: the holds less the charge.
    pub refund: Money,
}

impl Plan {
    /// A plan; the first `grace_s` delivered seconds are free and part of no block.
    pub fn new(currency: Currency, grace_s: i64, kind: Kind) -> Result<Plan, PlanError> {
        match kind {
            Kind::Block { block_s, .. } if block_s < 1 => return Err(PlanError::Time),
            Kind::Block { price, .. } if !(0..=Money::MAX_AMOUNT).contains(&price) => return Err(PlanError::Price),
            Kind::Block { .. } => {}
        }
        if grace_s < 0 {
            return Err(PlanError::Time);
        }
        Ok(Plan { currency, grace_s, kind })
    }

    /// What prices and lines are in.
    pub fn currency(&self) -> Currency {
        self.currency
    }
}

impl Settlement {
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
        }
    }
}

/// Rates a call. `holds` are the amounts set aside, one for each block bought, each at the plan's price; time given away
/// comes after all paid time and so never costs anything.
pub fn rate(plan: &Plan, settlement: Settlement, holds: &[i64], delivered: Span) -> Rating {
    let held = holds.iter().sum::<i64>();
    let billable_s = delivered.whole_s().saturating_sub(plan.grace_s).max(0);
    let line = match (settlement, &plan.kind) {
        (Settlement::Free, _) => None,
        (Settlement::AsRated, Kind::Block { block_s, price }) => block_as_rated(*block_s, *price, holds.len(), billable_s),
        (Settlement::ExactDelivered, Kind::Block { block_s, price }) => block_exactly(*block_s, *price, holds.len(), billable_s),
    };
    let (billed_s, lines) = match line {
        Some(Priced { billed_s, label, quantity, unit, amount }) => {
            (billed_s, vec![Line { label, quantity, unit, amount: Money::new(amount, plan.currency) }])
        }
        None => (0, Vec::new()),
    };
    let charge = lines.iter().map(|line| line.amount.amount).sum::<i64>();
    assert!((0..=held).contains(&charge), "a charge of {charge} on holds of {held}");
    Rating { billed_s, lines, charge: Money::new(charge, plan.currency), refund: Money::new(held - charge, plan.currency) }
}

/// A line before it has a currency.
struct Priced {
    billed_s: i64,
    label: &'static str,
    quantity: i64,
    unit: Unit,
    amount: i64,
}

/// Each started block in full, the unstarted ones not at all.
fn block_as_rated(block_s: i64, price: i64, bought: usize, billable_s: i64) -> Option<Priced> {
    let bought = i64::try_from(bought).unwrap_or(i64::MAX);
    let started = (billable_s / block_s + i64::from(billable_s % block_s > 0)).min(bought);
    (started > 0).then(|| Priced {
        billed_s: started.saturating_mul(block_s),
        label: "block",
        quantity: started,
        unit: Unit::Block,
        amount: started * price,
    })
}

/// The delivered part of the time bought, rounded down.
fn block_exactly(block_s: i64, price: i64, bought: usize, billable_s: i64) -> Option<Priced> {
    let seconds = billable_s.min(block_s.saturating_mul(i64::try_from(bought).unwrap_or(i64::MAX)));
    let amount = i128::from(price) * i128::from(seconds) / i128::from(block_s);
    // At most the price of all blocks bought, which is what they were set aside for.
    let amount = i64::try_from(amount).unwrap_or(i64::MAX);
    (seconds > 0).then_some(Priced { billed_s: seconds, label: "block", quantity: seconds, unit: Unit::Second, amount })
}

#[cfg(test)]
mod tests;
