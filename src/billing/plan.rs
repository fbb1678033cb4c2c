//! What was sold: the kinds of plan, and what a plan must be so that every call on it can be rated.
//!
//! A [`Plan`] is checked when it is made and never again: rating relies on it. It says nothing of a call.

use super::rates::{Rates, RatesError};
use crate::money::{Currency, Money};

/// No length of time in a plan is longer, in seconds: a year. With amounts up to 2^53 it keeps all products far below 2^127.
pub const LONGEST_S: i64 = 366 * 24 * 3600;

/// What was sold. Made by [`Plan::new`], so it can be rated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub(super) currency: Currency,
    pub(super) kind: Kind,
    pub(super) conditions: Conditions,
}

/// What may come with every kind of plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Conditions {
    /// Delivered seconds at the beginning that are free and part of no block, increment or minimum.
    pub grace_s: i64,
    /// What a call costs at least once something is billable, in minor units. It never exceeds the holds.
    pub minimum: i64,
    /// What happens to the fraction of a minor unit at the end.
    pub rounding: Rounding,
}

/// How the charge of a call becomes whole minor units, once per call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Rounding {
    /// Towards zero.
    #[default]
    Down,
    /// To the nearest, halves up.
    HalfUp,
    /// To the nearest, halves to the even neighbour.
    HalfEven,
}

/// The kinds of plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Blocks of time, each bought whole.
    Block {
        /// Length of a block in seconds.
        block_s: i64,
        /// Price of a block in minor units.
        price: i64,
    },
    /// One price for a call of any length.
    Flat {
        /// In minor units.
        price: i64,
    },
    /// By increments of time, as long as the hold lasts.
    PerMinute(Increments),
    /// The same until the client sleeps, with limits of its own.
    UntilAsleep {
        /// What is counted.
        increments: Increments,
        /// Most seconds that are billed.
        cap_s: Option<i64>,
        /// Most minor units that are charged.
        cap: Option<i64>,
    },
}

/// How time is counted and what it costs: 60/60 is by the minute, 6/6 by six seconds, 1/1 by the second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Increments {
    /// Length of the first, in seconds.
    pub first_s: i64,
    /// Length of each later one, in seconds.
    pub later_s: i64,
    /// What a minute costs, by the time of day.
    pub rates: Rates,
}

/// Why a plan cannot be rated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A block that is empty or endless.
    #[error("a block has between 1 and {LONGEST_S} seconds")]
    Block,
    /// An increment that is empty or endless.
    #[error("an increment has between 1 and {LONGEST_S} seconds")]
    Increment,
    /// A grace or cap that is negative or endless.
    #[error("grace has between 0 and {LONGEST_S} seconds, a cap between 1 and {LONGEST_S}")]
    Time,
    /// A price, minimum or cap outside 0 to [`Money::MAX_AMOUNT`].
    #[error("a price, a minimum or a cap is between 0 and 2^53 - 1 minor units")]
    Price,
    /// Rates that leave a question open.
    #[error(transparent)]
    Rates(#[from] RatesError),
}

impl Plan {
    /// A plan, checked.
    pub fn new(currency: Currency, kind: Kind, conditions: Conditions) -> Result<Plan, PlanError> {
        let is_price = |amount: &i64| (0..=Money::MAX_AMOUNT).contains(amount);
        let is_length = |seconds: &i64| (1..=LONGEST_S).contains(seconds);
        let (prices, increments, cap_s) = match &kind {
            Kind::Block { block_s, .. } if !is_length(block_s) => return Err(PlanError::Block),
            Kind::Block { price, .. } | Kind::Flat { price } => (Some(price), None, None),
            Kind::PerMinute(increments) => (None, Some(increments), None),
            Kind::UntilAsleep { increments, cap_s, cap } => (cap.as_ref(), Some(increments), cap_s.as_ref()),
        };
        if increments.is_some_and(|increments| !is_length(&increments.first_s) || !is_length(&increments.later_s)) {
            return Err(PlanError::Increment);
        }
        if !(0..=LONGEST_S).contains(&conditions.grace_s) || cap_s.is_some_and(|cap| !is_length(cap)) {
            return Err(PlanError::Time);
        }
        if !is_price(&conditions.minimum) || prices.is_some_and(|price| !is_price(price)) {
            return Err(PlanError::Price);
        }
        Ok(Plan { currency, kind, conditions })
    }

    /// What prices and lines are in.
    pub fn currency(&self) -> Currency {
        self.currency
    }

    /// What kind it is.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }
}

impl Rounding {
    /// The word for it, in `snake_case`.
    pub const fn name(self) -> &'static str {
        match self {
            Rounding::Down => "down",
            Rounding::HalfUp => "half_up",
            Rounding::HalfEven => "half_even",
        }
    }

    /// The roundings there are.
    pub const ALL: [Rounding; 3] = [Rounding::Down, Rounding::HalfUp, Rounding::HalfEven];

    /// Rounds `numerator / denominator`, neither of them negative.
    pub(super) fn apply(self, numerator: i128, denominator: i128) -> i128 {
        let (whole, rest) = (numerator / denominator, numerator % denominator);
        let up = match self {
            Rounding::Down => false,
            Rounding::HalfUp => rest * 2 >= denominator,
            Rounding::HalfEven => rest * 2 > denominator || (rest * 2 == denominator && whole % 2 == 1),
        };
        whole + i128::from(up)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(kind: Kind) -> Result<(), PlanError> {
        Plan::new("CNY".parse().unwrap(), kind, Conditions::default()).map(|_| ())
    }

    fn metered(first_s: i64, later_s: i64) -> Increments {
        Increments { first_s, later_s, rates: Rates::one(300).unwrap() }
    }

    #[test]
    fn what_cannot_be_rated_is_no_plan() {
        let most = Money::MAX_AMOUNT;
        assert_eq!(plan(Kind::Block { block_s: 900, price: 0 }), Ok(()));
        for block_s in [-1, 0, LONGEST_S + 1] {
            assert_eq!(plan(Kind::Block { block_s, price: 2000 }), Err(PlanError::Block));
        }
        for price in [-1, most + 1] {
            assert_eq!(plan(Kind::Block { block_s: 900, price }), Err(PlanError::Price));
            assert_eq!(plan(Kind::Flat { price }), Err(PlanError::Price));
            let cap = Kind::UntilAsleep { increments: metered(60, 60), cap_s: None, cap: Some(price) };
            assert_eq!(plan(cap), Err(PlanError::Price));
            let conditions = Conditions { minimum: price, ..Conditions::default() };
            assert_eq!(Plan::new("CNY".parse().unwrap(), Kind::Flat { price: 1 }, conditions), Err(PlanError::Price));
        }
        for length in [-1, 0, LONGEST_S + 1] {
            assert_eq!(plan(Kind::PerMinute(metered(length, 60))), Err(PlanError::Increment));
            assert_eq!(plan(Kind::PerMinute(metered(60, length))), Err(PlanError::Increment));
            let cap = Kind::UntilAsleep { increments: metered(60, 60), cap_s: Some(length), cap: None };
            assert_eq!(plan(cap), Err(PlanError::Time));
        }
        for grace_s in [-1, LONGEST_S + 1] {
            let conditions = Conditions { grace_s, ..Conditions::default() };
            assert_eq!(Plan::new("CNY".parse().unwrap(), Kind::Flat { price: 1 }, conditions), Err(PlanError::Time));
        }
    }

    #[test]
    fn halves_go_where_the_rounding_says() {
        for (numerator, down, half_up, half_even) in
            [(0, 0, 0, 0), (29, 0, 0, 0), (30, 0, 1, 0), (31, 0, 1, 1), (89, 1, 1, 1), (90, 1, 2, 2), (150, 2, 3, 2), (120, 2, 2, 2)]
        {
            let rounded = Rounding::ALL.map(|rounding| rounding.apply(numerator, 60));
            assert_eq!(rounded, [down, half_up, half_even], "{numerator}/60");
        }
    }
}
