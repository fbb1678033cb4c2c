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

/// Why an amount cannot be what a call sets aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HoldError {
    /// Free is allowed, negative is not.
    #[error("what is set aside is between 0 and 2^53 - 1 minor units of the plan's currency")]
    Range,
    /// A block or a flat price is set aside whole, no more and no less.
    #[error("what is set aside is the plan's price, {0}")]
    NotThePrice(Money),
    /// Too little for the first increment, or for the least a call may cost.
    #[error("what is set aside pays for no call; this plan needs at least {0}")]
    TooLittle(Money),
    /// A cap below the first increment, or below the least a call may cost.
    #[error("nothing could be billed below this cap; this plan needs at least {seconds} s and {amount}")]
    Cap { seconds: i64, amount: Money },
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

    /// What comes with it.
    pub fn conditions(&self) -> Conditions {
        self.conditions
    }

    /// What kind it is.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// Whether a call can be made with this set aside. What is added to it later may be less.
    pub fn check_hold(&self, hold: Money) -> Result<(), HoldError> {
        if !(0..=Money::MAX_AMOUNT).contains(&hold.amount) || hold.currency != self.currency {
            return Err(HoldError::Range);
        }
        let (increments, cap_s, cap) = match &self.kind {
            Kind::Block { price, .. } | Kind::Flat { price } if hold.amount != *price => {
                return Err(HoldError::NotThePrice(self.money(*price)));
            }
            Kind::Block { .. } | Kind::Flat { .. } => return Ok(()),
            Kind::PerMinute(increments) => (increments, None, None),
            Kind::UntilAsleep { increments, cap_s, cap } => (increments, *cap_s, *cap),
        };
        let least = self.least(increments);
        if cap_s.is_some_and(|cap_s| cap_s < increments.first_s) || cap.is_some_and(|cap| cap < least) {
            return Err(HoldError::Cap { seconds: increments.first_s, amount: self.money(least) });
        }
        if hold.amount < least { Err(HoldError::TooLittle(self.money(least))) } else { Ok(()) }
    }

    /// What a metered call needs at least: the dearest first increment, rounded up, and the minimum.
    fn least(&self, increments: &Increments) -> i64 {
        // A rate below 2^53 times a year of seconds fits many times over.
        let first = (i128::from(increments.rates.highest()) * i128::from(increments.first_s) + 59) / 60;
        i64::try_from(first).unwrap_or(i64::MAX).max(self.conditions.minimum)
    }

    fn money(&self, amount: i64) -> Money {
        Money::new(amount, self.currency)
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
    fn what_is_set_aside_pays_for_a_beginning() {
        let cny = |amount| Money::new(amount, "CNY".parse().unwrap());
        let of = |kind, minimum| Plan::new(cny(0).currency, kind, Conditions { minimum, ..Conditions::default() }).unwrap();
        let block = of(Kind::Block { block_s: 900, price: 2000 }, 0);
        let flat = of(Kind::Flat { price: 2000 }, 0);
        for plan in [&block, &flat] {
            assert_eq!(plan.check_hold(cny(2000)), Ok(()));
            assert_eq!(plan.check_hold(cny(1999)), Err(HoldError::NotThePrice(cny(2000))));
            assert_eq!(plan.check_hold(Money::new(2000, "JPY".parse().unwrap())), Err(HoldError::Range));
        }
        let per_minute = of(Kind::PerMinute(metered(61, 1)), 0);
        assert_eq!(per_minute.check_hold(cny(305)), Ok(()));
        assert_eq!(per_minute.check_hold(cny(304)), Err(HoldError::TooLittle(cny(305))));
        assert_eq!(per_minute.check_hold(cny(-1)), Err(HoldError::Range));
        assert_eq!(per_minute.check_hold(cny(Money::MAX_AMOUNT + 1)), Err(HoldError::Range));
        assert_eq!(of(Kind::PerMinute(metered(61, 1)), 400).check_hold(cny(399)), Err(HoldError::TooLittle(cny(400))));
        let capped = |cap_s, cap| of(Kind::UntilAsleep { increments: metered(60, 60), cap_s, cap }, 0).check_hold(cny(300));
        assert_eq!(capped(None, None), Ok(()));
        assert_eq!(capped(Some(60), Some(300)), Ok(()));
        for (cap_s, cap) in [(Some(59), None), (None, Some(299))] {
            assert_eq!(capped(cap_s, cap), Err(HoldError::Cap { seconds: 60, amount: cny(300) }));
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
