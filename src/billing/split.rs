//! Who gets how much of a charge.

use crate::seeded::{self, Bug};

/// Divides a charge by basis points that sum to 10,000: each part is rounded down, the spare units go to the largest
/// remainders, ties to the one listed first. The parts sum to the charge.
pub fn split(charge: i64, bps: &[u16]) -> Vec<i64> {
    assert!(charge >= 0, "a charge is never negative: {charge}");
    assert_eq!(bps.iter().map(|part| u32::from(*part)).sum::<u32>(), 10_000, "shares sum to 10000 basis points");
    let exact: Vec<i128> = bps.iter().map(|part| i128::from(charge) * i128::from(*part)).collect();
    if seeded::has(Bug::SplitFloored) {
        return vec![charge * i64::from(bps[0]) / 10_000, charge - charge * i64::from(bps[0]) / 10_000];
    }
    spare_to_largest(charge, &exact, 10_000)
}

/// Cuts a whole into parts near to `exact / denominator`, which sum to it within one unit each: each part is rounded down,
/// the spare units go to the largest remainders, ties to the earlier part.
pub(super) fn spare_to_largest(whole: i64, exact: &[i128], denominator: i128) -> Vec<i64> {
    let mut parts: Vec<i64> = exact.iter().map(|exact| i64::try_from(exact / denominator).unwrap_or(i64::MAX)).collect();
    let spare = usize::try_from(whole - parts.iter().sum::<i64>()).unwrap_or(0);
    let mut order: Vec<usize> = (0..exact.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(exact[*index] % denominator)); // Stable: ties keep their order.
    for index in order.into_iter().take(spare) {
        parts[index] += 1;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn spare_units_go_to_the_largest_remainder() {
        assert_eq!(split(1676, &[7000, 3000]), [1173, 503]); // D04
        assert_eq!(split(9999, &[7000, 3000]), [6999, 3000]); // D07
        assert_eq!(split(418, &[7000, 3000]), [293, 125]); // D06
    }

    #[test]
    fn a_tie_goes_to_the_one_listed_first() {
        assert_eq!(split(1, &[5000, 5000]), [1, 0]);
        assert_eq!(split(2, &[3333, 3333, 3334]), [1, 0, 1]);
    }

    proptest! {
        #[test]
        fn parts_sum_to_the_charge_and_are_never_off_by_a_unit(charge in 0..=crate::money::Money::MAX_AMOUNT, companion in 0u16..=10_000) {
            let bps = [companion, 10_000 - companion];
            let parts = split(charge, &bps);
            prop_assert_eq!(parts.iter().sum::<i64>(), charge);
            for (part, share) in parts.iter().zip(bps) {
                let off = i128::from(*part) * 10_000 - i128::from(charge) * i128::from(share);
                prop_assert!(off.abs() < 10_000);
            }
        }
    }
}
