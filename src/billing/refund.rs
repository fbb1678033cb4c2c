//! Money of a settled call that goes back to its client, and who bears it.
//!
//! It decides bounds and parts; it moves nothing. Invariants: what is returned is never more than the charge and never less than
//! nothing; what the shares bear is at every moment the split of its running total, so that partial refunds take together what one
//! refund of their sum would, and a whole one takes back exactly both shares.

use super::split::spare_to_largest;
use crate::seeded::{self, Bug};

/// Who bears what goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bearer {
    /// Companion and vendor, in the proportion in which they shared the charge.
    Shares,
    /// The vendor alone; the companion keeps what she earned.
    Vendor,
}

/// What companion and vendor got of a charge, or bear of a refund, in minor units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Parts {
    /// The companion's.
    pub companion: i64,
    /// The vendor's.
    pub vendor: i64,
}

/// What was returned of a charge so far, in minor units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Returned {
    /// Borne by the shares.
    pub by_shares: i64,
    /// Borne by the vendor alone.
    pub by_vendor: i64,
}

/// Why an amount cannot be moved between a settled call and its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefundError {
    /// Nothing, or less.
    #[error("an amount to move is above zero")]
    Nothing,
    /// More than the charge would be back with the client.
    #[error("{left} of {captured} are left to return, {returned} were returned")]
    TooMuch { captured: i64, returned: i64, left: i64 },
    /// More would be taken back than this bearer returned before: the charge itself never grows.
    #[error("{returned} were returned at this side's cost, no more can be taken back")]
    NotReturned { returned: i64 },
}

impl Bearer {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Shares, Self::Vendor];

    /// The word for it on the wire and on disk.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Shares => "shares",
            Self::Vendor => "vendor",
        }
    }
}

impl Parts {
    /// Both together.
    pub const fn sum(self) -> i64 {
        self.companion + self.vendor
    }

    /// What of the charge with these parts can still be returned.
    pub const fn left(self, before: Returned) -> i64 {
        self.sum() - before.sum()
    }

    /// Returns an amount to the client: what is then returned in all, and what each side bears of this amount.
    pub fn give_back(self, before: Returned, amount: i64, bearer: Bearer) -> Result<(Returned, Parts), RefundError> {
        let left = self.left(before);
        if amount <= 0 {
            return Err(RefundError::Nothing);
        }
        if amount > left && !seeded::has(Bug::RefundAboveCaptured) {
            return Err(RefundError::TooMuch { captured: self.sum(), returned: before.sum(), left });
        }
        let after = match bearer {
            Bearer::Shares => Returned { by_shares: before.by_shares + amount, ..before },
            Bearer::Vendor => Returned { by_vendor: before.by_vendor + amount, ..before },
        };
        Ok((after, self.borne(before, after)))
    }

    /// Takes an amount that was returned before from the client again: the reverse of [`Parts::give_back`].
    pub fn take_back(self, before: Returned, amount: i64, bearer: Bearer) -> Result<(Returned, Parts), RefundError> {
        if amount <= 0 {
            return Err(RefundError::Nothing);
        }
        let (returned, after) = match bearer {
            Bearer::Shares => (before.by_shares, Returned { by_shares: before.by_shares.saturating_sub(amount), ..before }),
            Bearer::Vendor => (before.by_vendor, Returned { by_vendor: before.by_vendor.saturating_sub(amount), ..before }),
        };
        if amount > returned {
            return Err(RefundError::NotReturned { returned });
        }
        Ok((after, self.borne(after, before)))
    }

    /// What each side bears between two states, `from` the one with less returned.
    fn borne(self, from: Returned, to: Returned) -> Parts {
        let companion = self.of_running_total(to.by_shares) - self.of_running_total(from.by_shares);
        let amount = to.sum() - from.sum();
        Parts { companion, vendor: amount - companion }
    }

    /// The companion's part of the first `total` units that the shares bear. It grows with the total by one unit or none.
    fn of_running_total(self, total: i64) -> i64 {
        if total == 0 {
            return 0;
        }
        let exact = [self.companion, self.vendor].map(|part| i128::from(total) * i128::from(part));
        spare_to_largest(total, &exact, i128::from(self.sum()))[0]
    }
}

impl Returned {
    /// In all.
    pub const fn sum(self) -> i64 {
        self.by_shares + self.by_vendor
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::billing::split;
    use proptest::prelude::*;

    fn parts(companion: i64, vendor: i64) -> Parts {
        Parts { companion, vendor }
    }

    #[test]
    fn a_whole_refund_takes_back_exactly_both_shares() {
        for charged in [parts(1173, 503), parts(6999, 3000), parts(1, 0), parts(0, 1), parts(0, 7)] {
            let all = charged.give_back(Returned::default(), charged.sum(), Bearer::Shares);
            assert_eq!(all, Ok((Returned { by_shares: charged.sum(), by_vendor: 0 }, charged)));
        }
    }

    #[test]
    fn spare_units_come_from_the_largest_remainder_and_ties_from_the_companion() {
        let of_first = |charged: Parts, amount| charged.give_back(Returned::default(), amount, Bearer::Shares).unwrap().1;
        assert_eq!(of_first(parts(1400, 600), 1), parts(1, 0));
        assert_eq!(of_first(parts(1400, 600), 333), parts(233, 100));
        assert_eq!(of_first(parts(600, 1400), 1), parts(0, 1));
        assert_eq!(of_first(parts(50, 50), 1), parts(1, 0));
    }

    #[test]
    fn what_the_vendor_bears_alone_leaves_the_companion_her_pay() {
        let charged = parts(1400, 600);
        let (after, borne) = charged.give_back(Returned::default(), 2000, Bearer::Vendor).unwrap();
        assert_eq!((after.by_vendor, borne), (2000, parts(0, 2000)));
        let (half, _) = charged.give_back(Returned::default(), 500, Bearer::Vendor).unwrap();
        let (after, borne) = charged.give_back(half, 1500, Bearer::Shares).unwrap();
        assert_eq!((after.sum(), borne), (2000, parts(1050, 450)));
    }

    #[test]
    fn no_more_than_the_charge_goes_back_and_no_more_than_that_returns() {
        let charged = parts(70, 30);
        let some = Returned { by_shares: 60, by_vendor: 10 };
        let too_much = RefundError::TooMuch { captured: 100, returned: 70, left: 30 };
        for amount in [31, 100, i64::MAX] {
            assert_eq!(charged.give_back(some, amount, Bearer::Shares), Err(too_much), "{amount}");
            assert_eq!(charged.give_back(some, amount, Bearer::Vendor), Err(too_much), "{amount}");
        }
        assert_eq!(charged.take_back(some, 61, Bearer::Shares), Err(RefundError::NotReturned { returned: 60 }));
        assert_eq!(charged.take_back(some, i64::MAX, Bearer::Vendor), Err(RefundError::NotReturned { returned: 10 }));
        for amount in [0, -1, i64::MIN] {
            assert_eq!(charged.give_back(some, amount, Bearer::Shares), Err(RefundError::Nothing));
            assert_eq!(charged.take_back(some, amount, Bearer::Vendor), Err(RefundError::Nothing));
        }
        let nothing = Parts::default();
        assert_eq!(
            nothing.give_back(Returned::default(), 1, Bearer::Shares),
            Err(RefundError::TooMuch { captured: 0, returned: 0, left: 0 })
        );
    }

    #[test]
    fn the_largest_amounts_are_exact() {
        let most = crate::money::Money::MAX_AMOUNT;
        let charged = parts(most / 3, most - most / 3);
        let (after, first) = charged.give_back(Returned::default(), most - 1, Bearer::Shares).unwrap();
        let (_, last) = charged.give_back(after, 1, Bearer::Shares).unwrap();
        assert_eq!(parts(first.companion + last.companion, first.vendor + last.vendor), charged);
    }

    proptest! {
        /// Whatever comes and goes, each side bears the split of what is returned at that moment, to the nearest unit of its exact part.
        #[test]
        fn partial_refunds_take_together_what_one_would(
            charge in 1..20_000i64,
            bps in 0u16..=10_000,
            steps in proptest::collection::vec((1..3000i64, any::<bool>(), any::<bool>()), 1..40),
        ) {
            let shares = split(charge, &[bps, 10_000 - bps]);
            let charged = parts(shares[0], shares[1]);
            let (mut now, mut borne) = (Returned::default(), Parts::default());
            for (amount, alone, back) in steps {
                let bearer = if alone { Bearer::Vendor } else { Bearer::Shares };
                let step = if back { charged.take_back(now, amount, bearer) } else { charged.give_back(now, amount, bearer) };
                let Ok((after, part)) = step else { continue };
                prop_assert_eq!(part.sum(), amount);
                prop_assert!(part.companion >= 0 && part.vendor >= 0, "{:?}", part);
                let sign = if back { -1 } else { 1 };
                borne = parts(borne.companion + sign * part.companion, borne.vendor + sign * part.vendor);
                now = after;
                prop_assert!(now.by_shares >= 0 && now.by_vendor >= 0 && now.sum() <= charge);
                prop_assert_eq!(borne.sum(), now.sum());
                let off = i128::from(borne.companion) * i128::from(charge) - i128::from(now.by_shares) * i128::from(charged.companion);
                prop_assert!(off.abs() * 2 <= i128::from(charge), "{:?} of {:?}", borne, charged);
                prop_assert!(borne.companion <= charged.companion, "she never gives more than she got");
            }
            let rest = charged.left(now);
            if rest > 0 && now.by_vendor == 0 {
                let (_, part) = charged.give_back(now, rest, Bearer::Shares).unwrap();
                prop_assert_eq!(parts(borne.companion + part.companion, borne.vendor + part.vendor), charged);
            }
        }
    }
}
