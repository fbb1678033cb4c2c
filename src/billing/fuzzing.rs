//! Fuzz target of plans and rating: any terms, any marks, any holds.

use super::{
    Cause, Conditions, Increments, Kind, Mark, Plan, Rates, Rounding, Settlement, WindowTerms, capture, max_usage, rate, rate_paid,
    segments, split,
};
use crate::clock::{Moment, Span};
use crate::fuzzing::{Input, piece};
use crate::ids::HoldId;
use crate::money::Money;
use uuid::Uuid;

crate::fuzzing::targets! {
    rating: 3_000, ratings, [];
}

/// Mostly small, now and then near the bounds.
fn number(input: &mut Input) -> i64 {
    let number = i64::from(input.u16());
    match number >> 12 {
        15 => Money::MAX_AMOUNT - (number & 0xFFF),
        14 => number << 13,
        13 => -1,
        _ => number,
    }
}

fn text<'a>(input: &mut Input<'a>) -> Option<&'a str> {
    std::str::from_utf8(input.piece()).ok()
}

fn increments(input: &mut Input, kind: u8) -> Option<Increments> {
    let (first_s, later_s) = (number(input), number(input));
    if kind & 4 == 0 {
        return Some(Increments { first_s, later_s, rates: Rates::one(number(input)).ok()? });
    }
    let zone = text(input)?;
    let mut terms = Vec::new();
    for _ in 0..=kind >> 6 {
        terms.push(WindowTerms { label: text(input)?, start: text(input)?, end: text(input)?, rate: number(input) });
    }
    Some(Increments { first_s, later_s, rates: Rates::by_window(zone, &terms).ok()? })
}

/// What a plan is made of, in words and numbers.
fn plan(input: &mut Input) -> Option<Plan> {
    let kind = input.u8();
    let kind = match kind & 3 {
        2 => Kind::PerMinute(increments(input, kind)?),
        3 => {
            let increments = increments(input, kind)?;
            let (cap_s, cap) = (number(input), number(input));
            Kind::UntilAsleep { increments, cap_s: (cap_s > 0).then_some(cap_s), cap: (cap > 0).then_some(cap) }
        }
        1 => Kind::Flat { price: number(input) },
        _ => Kind::Block { block_s: number(input), price: number(input) },
    };
    let rounding = Rounding::ALL[usize::from(input.u8()) % 3];
    let conditions = Conditions { grace_s: number(input), minimum: number(input), rounding };
    Plan::new("CNY".parse().ok()?, kind, conditions).ok()
}

/// The charge is within the holds, what is not charged is given back, lines, captures and shares add up to it.
fn rating(data: &[u8]) {
    let mut input = Input::new(data);
    let Some(plan) = plan(&mut input) else { return };
    let holds = match plan.kind() {
        Kind::Block { price, .. } => vec![*price; usize::from(input.u8() % 16)],
        Kind::Flat { .. } | Kind::PerMinute(_) | Kind::UntilAsleep { .. } => vec![i64::from(input.u32())],
    };
    // The ledger keeps no more than this.
    let Some(held) = holds.iter().try_fold(0, |sum: i64, hold| sum.checked_add(*hold)).filter(|sum| *sum <= Money::MAX_AMOUNT) else {
        return;
    };
    let mut at = Moment::from_unix_ms(1_773_144_000_000 + (i64::from(input.u32()) << 8));
    let mut marks = Vec::new();
    for _ in 0..8 {
        let op = input.u8();
        at = at + Span::from_ms(i64::from(input.u16()) << (op >> 5));
        let cause = [Cause::Client, Cause::Companion, Cause::Platform][usize::from(op >> 3) % 3];
        marks.push(match op & 7 {
            0..=3 => Mark::Ran { at },
            4 => Mark::Stood { since: at - Span::from_ms(i64::from(input.u16())), cause },
            5 => Mark::Ended { at },
            _ => Mark::Stood { since: at, cause },
        });
    }
    let segments = segments(marks);
    assert!(segments.iter().all(|segment| segment.from < segment.to));
    assert!(segments.windows(2).all(|pair| pair[0].to <= pair[1].from));
    for settlement in [Settlement::AsRated, Settlement::ExactDelivered, Settlement::Free] {
        let rating = rate(&plan, settlement, &holds, &segments);
        let charge = rating.charge.amount;
        assert!(rate_paid(&plan, settlement, &holds, &segments).charge.amount <= charge); // A gift never costs anything.
        assert!((0..=held).contains(&charge) && (settlement != Settlement::Free || charge == 0));
        assert_eq!(charge + rating.refund.amount, held);
        assert_eq!(rating.lines.iter().map(|line| line.amount.amount).sum::<i64>(), charge);
        let named: Vec<(HoldId, i64)> =
            holds.iter().enumerate().map(|(place, amount)| (HoldId::new(Uuid::from_u128(place as u128)), *amount)).collect();
        let captured = capture(charge, &named);
        assert_eq!(captured.iter().map(|(_, amount)| amount).sum::<i64>(), charge);
        assert!(captured.iter().zip(&named).all(|(taken, hold)| taken.0 == hold.0 && (0..=hold.1).contains(&taken.1)));
        assert_eq!(split(charge, &[7_000, 3_000]).iter().sum::<i64>(), charge);
    }
    let _ = max_usage(&plan, &holds, &segments, at, Span::from_s(86_400)); // It follows the call to its end, whatever the plan.
}

fn ratings() -> Vec<Vec<u8>> {
    let numbers = |list: &[u16]| list.iter().flat_map(|n| n.to_be_bytes()).collect::<Vec<u8>>();
    let marks =
        [&[0, 1, 0, 0][..], &[0x20, 0, 1], &[0xE6, 9, 0], &[0xC0, 1, 0], &[0xE4, 0xFF, 0, 1, 0], &[0xA0, 1, 1], &[0xE5, 0x40, 0]].concat();
    let window = |label: &str, start: &str, end: &str| [piece(label.as_bytes()), piece(start.as_bytes()), piece(end.as_bytes())].concat();
    let zone = piece(b"Europe/Berlin");
    let night = [window("night", "22:00", "06:00"), numbers(&[100]), window("day", "06:00", "22:00"), numbers(&[300])].concat();
    let whole = [window("all", "00:00", "24:00"), numbers(&[120])].concat();
    vec![
        [&[0][..], &numbers(&[900, 2_000]), &[0], &numbers(&[0, 0]), &[3], &marks].concat(),
        [&[1][..], &numbers(&[1_990]), &[1], &numbers(&[30, 100]), &[0, 0, 0x07, 0xC6], &marks].concat(),
        [&[2][..], &numbers(&[60, 6, 300]), &[2], &numbers(&[0, 0]), &[0, 0, 0x40, 0], &marks].concat(),
        [&[0x46][..], &numbers(&[60, 60]), &zone, &night, &[0], &numbers(&[0, 0]), &[0, 1, 0, 0], &marks].concat(),
        [&[7][..], &numbers(&[1, 1]), &zone, &whole, &numbers(&[3_600, 5_000]), &[0], &numbers(&[10, 500]), &[0, 1, 0, 0], &marks].concat(),
    ]
}
