//! Fuzz target of rating: any plan, any holds, any time.

use super::rating::{Kind, Plan, Settlement, rate};
use super::{capture, split};
use crate::clock::Span;
use crate::fuzzing::Input;
use crate::ids::HoldId;
use crate::money::Money;
use uuid::Uuid;

crate::fuzzing::targets! {
    rating: 10_000, ratings, [];
}

/// The charge is within the holds, what is not charged is given back, lines, captures and shares add up to it.
fn rating(data: &[u8]) {
    let mut input = Input::new(data);
    let mut number = || i64::from(input.u32()) << (input.u8() % 32) >> (input.u8() % 32);
    let (grace_s, block_s, price, delivered_ms, bought) = (number(), number(), number(), number(), number());
    let currency = if bought & 1 == 0 { "CNY" } else { "JPY" };
    let Ok(plan) = Plan::new(currency.parse().expect("it exists"), grace_s, Kind::Block { block_s, price }) else { return };
    let holds = vec![price; (bought.unsigned_abs() % 64) as usize];
    // A ledger keeps no more than this.
    if i128::from(price) * holds.len() as i128 > i128::from(Money::MAX_AMOUNT) {
        return;
    }
    let held: i64 = holds.iter().sum();
    let mut charges = [0; 3];
    for (charge, settlement) in charges.iter_mut().zip([Settlement::AsRated, Settlement::ExactDelivered, Settlement::Free]) {
        let rating = rate(&plan, settlement, &holds, Span::from_ms(delivered_ms));
        *charge = rating.charge.amount;
        assert!((0..=held).contains(charge));
        assert_eq!(rating.charge.amount + rating.refund.amount, held);
        assert_eq!(rating.lines.iter().map(|line| line.amount.amount).sum::<i64>(), *charge);
        let named: Vec<(HoldId, i64)> =
            holds.iter().enumerate().map(|(place, amount)| (HoldId::new(Uuid::from_u128(place as u128)), *amount)).collect();
        let captured = capture(*charge, &named);
        assert_eq!(captured.iter().map(|(_, amount)| amount).sum::<i64>(), *charge);
        assert!(captured.iter().zip(&named).all(|(taken, hold)| taken.0 == hold.0 && (0..=hold.1).contains(&taken.1)));
        let shares = split(*charge, &[7_000, 3_000]);
        assert_eq!(shares.iter().sum::<i64>(), *charge);
    }
    assert!(charges[1] <= charges[0], "who was not at fault never pays more: {charges:?}");
    assert_eq!(charges[2], 0);
}

fn ratings() -> Vec<Vec<u8>> {
    let of = |grace_s: u32, block_s: u32, price: u32, delivered_ms: u32, bought: u32| {
        [grace_s, block_s, price, delivered_ms, bought].into_iter().flat_map(|n| [&n.to_be_bytes()[..], &[0, 0]].concat()).collect()
    };
    vec![of(0, 900, 2_000, 900_000, 1), of(30, 900, 1_999, 931_001, 2), of(0, 1, 1, 7_500, 9), of(0, 1_800, 1_990, 0, 3)]
}
