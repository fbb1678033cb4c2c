//! Which hold a charge is taken from.

use crate::ids::HoldId;

/// Takes a charge from the holds in order: each is used up before the next; what is left of a hold is its release.
/// The charge must not be more than the holds.
pub fn capture(charge: i64, holds: &[(HoldId, i64)]) -> Vec<(HoldId, i64)> {
    let mut left = charge;
    let captures: Vec<_> = holds
        .iter()
        .map(|(hold, amount)| {
            let taken = left.min(*amount);
            left -= taken;
            (*hold, taken)
        })
        .collect();
    assert!(charge >= 0 && left == 0, "a charge of {charge} exceeds its holds by {left}");
    captures
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_charge_uses_up_one_hold_before_the_next() {
        let holds: Vec<_> = (1..=3).map(|n| (HoldId::new(Uuid::from_u128(n)), 6000)).collect();
        let amounts = |charge| capture(charge, &holds).into_iter().map(|(_, amount)| amount).collect::<Vec<_>>();
        assert_eq!(amounts(12_000), [6000, 6000, 0]);
        assert_eq!(amounts(7000), [6000, 1000, 0]);
        assert_eq!(amounts(0), [0, 0, 0]);
        assert_eq!(amounts(18_000), [6000, 6000, 6000]);
    }
}
