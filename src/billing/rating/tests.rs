//! The worked examples of `fixtures/rating`, and what holds for every rating.

use super::*;
use crate::billing::{Cause, Mark, delivered, segments, split};
use crate::clock::Moment;
use proptest::prelude::*;
use serde_json::{Value, json};

fn currency() -> Currency {
    "CNY".parse().unwrap()
}

fn moment(event: &Value) -> Moment {
    let at: jiff::Timestamp = event["at"].as_str().unwrap().parse().unwrap();
    Moment::from_unix_ms(at.as_millisecond())
}

/// An example's input, rated, in the shape of its `expected`.
fn rated(input: &Value) -> Value {
    let plan = &input["plan"];
    assert_eq!(plan["kind"], "block");
    let kind = Kind::Block { block_s: plan["block_s"].as_i64().unwrap(), price: plan["price_minor"].as_i64().unwrap() };
    let plan = Plan::new(currency(), plan["grace_s"].as_i64().unwrap_or(0), kind.clone()).unwrap();
    let settlement = [Settlement::AsRated, Settlement::ExactDelivered, Settlement::Free].into_iter();
    let settlement = settlement.into_iter().find(|settlement| settlement.name() == input["settlement"]).unwrap();
    let events = input["events"].as_array().unwrap();
    let Kind::Block { price, .. } = kind;
    let bought = 1 + events.iter().filter(|event| event["type"] == "extension_bought").count();
    let marks = events.iter().filter_map(|event| match event["type"].as_str().unwrap() {
        "connected" | "reconnected" => Some(Mark::Ran { at: moment(event) }),
        "disconnected" => Some(Mark::Stood { since: moment(event), cause: Cause::Client }),
        "ended" => Some(Mark::Ended { at: moment(event) }),
        _ => None,
    });
    let delivered = delivered(&segments(marks));
    let holds = vec![price; bought];
    assert_eq!(holds.iter().sum::<i64>(), input["hold_minor"].as_i64().unwrap());
    let rating = rate(&plan, settlement, &holds, delivered);
    let parties = input["shares"].as_array().unwrap();
    let bps: Vec<u16> = parties.iter().map(|share| share["bps"].as_u64().unwrap().try_into().unwrap()).collect();
    let shares = split(rating.charge.amount, &bps);
    let line =
        |line: &Line| json!({"label": line.label, "quantity": line.quantity, "unit": line.unit.name(), "amount_minor": line.amount.amount});
    let share = |(party, amount): (&Value, i64)| json!({"party": party["party"], "amount_minor": amount});
    json!({
        "delivered_ms": delivered.ms(),
        "billed_s": rating.billed_s,
        "lines": rating.lines.iter().map(line).collect::<Vec<_>>(),
        "charge_minor": rating.charge.amount,
        "refund_minor": rating.refund.amount,
        "shares": parties.iter().zip(shares).map(share).collect::<Vec<_>>(),
    })
}

#[test]
fn the_worked_examples_come_out_to_the_fen() {
    let file: Value = serde_json::from_str(include_str!("../../../fixtures/rating/block.json")).unwrap();
    let examples = file["examples"].as_array().unwrap();
    assert!(examples.len() >= 13);
    for example in examples {
        assert_eq!(rated(&example["input"]), example["expected"], "{}: {}", example["id"], example["derivation"]);
    }
}

#[test]
fn a_plan_that_cannot_be_rated_is_none() {
    let plan = |grace_s, block_s, price| Plan::new(currency(), grace_s, Kind::Block { block_s, price }).map(|_| ());
    assert_eq!(plan(0, 900, 0), Ok(()));
    assert_eq!(plan(0, 0, 2000), Err(PlanError::Time));
    assert_eq!(plan(-1, 900, 2000), Err(PlanError::Time));
    assert_eq!(plan(0, 900, -1), Err(PlanError::Price));
    assert_eq!(plan(0, 900, Money::MAX_AMOUNT + 1), Err(PlanError::Price));
}

proptest! {
    /// By the second: a slow and obvious count beside the arithmetic.
    #[test]
    fn rating_agrees_with_counting_seconds(
        block_s in 1i64..100, price in 0i64..5000, bought in 1usize..6, delivered_ms in 0i64..400_000, grace_s in 0i64..20,
    ) {
        let plan = Plan::new(currency(), grace_s, Kind::Block { block_s, price }).unwrap();
        let holds = vec![price; bought];
        let (mut started, mut seconds) = (0, 0);
        for second in grace_s..delivered_ms / 1000 {
            let place = second - grace_s;
            if place < block_s * holds.len() as i64 {
                started += i64::from(place % block_s == 0);
                seconds += 1;
            }
        }
        let charge = |settlement| rate(&plan, settlement, &holds, Span::from_ms(delivered_ms)).charge.amount;
        prop_assert_eq!(charge(Settlement::AsRated), started * price);
        prop_assert_eq!(charge(Settlement::ExactDelivered), seconds * price / block_s);
        prop_assert!(charge(Settlement::ExactDelivered) <= charge(Settlement::AsRated));
        prop_assert_eq!(charge(Settlement::Free), 0);
    }

    #[test]
    fn charge_and_refund_are_the_holds_and_more_time_is_never_cheaper(
        block_s in 1i64..5000, price in 0..=Money::MAX_AMOUNT / 8, bought in 1usize..8, delivered_ms in 0i64..100_000_000,
    ) {
        let plan = Plan::new(currency(), 0, Kind::Block { block_s, price }).unwrap();
        let holds = vec![price; bought];
        for settlement in [Settlement::AsRated, Settlement::ExactDelivered, Settlement::Free] {
            let rating = rate(&plan, settlement, &holds, Span::from_ms(delivered_ms));
            prop_assert_eq!(rating.charge.amount + rating.refund.amount, holds.iter().sum::<i64>());
            prop_assert_eq!(rating.lines.iter().map(|line| line.amount.amount).sum::<i64>(), rating.charge.amount);
            let later = rate(&plan, settlement, &holds, Span::from_ms(delivered_ms + 1000));
            prop_assert!(later.charge.amount >= rating.charge.amount);
        }
    }
}
