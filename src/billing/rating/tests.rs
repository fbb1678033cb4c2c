//! The engine against the oracle, and what holds for every rating. The worked examples are checked through `lull rate`.
//!
//! `RATING_CASES=5000000` makes the random cases more, `RATING_ZONES=all` sweeps every zone.

use super::oracle::{Said, Sold};
use super::*;
use crate::billing::{Conditions, Rates, WindowTerms, delivered};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;

/// Zones with offsets and changes of many shapes: half hours, negative summer times, none, changes at midnight, moved days.
const ZONES: [&str; 20] = [
    "UTC",
    "Asia/Shanghai",
    "Asia/Tokyo",
    "Asia/Kathmandu",
    "Asia/Tehran",
    "Asia/Gaza",
    "Europe/Berlin",
    "Europe/London",
    "Europe/Dublin",
    "Africa/Casablanca",
    "Africa/Cairo",
    "America/New_York",
    "America/St_Johns",
    "America/Havana",
    "America/Santiago",
    "America/Nuuk",
    "Australia/Sydney",
    "Australia/Lord_Howe",
    "Pacific/Auckland",
    "Pacific/Chatham",
];

fn cases(usual: u32) -> ProptestConfig {
    let most = std::env::var("RATING_CASES").ok().and_then(|text| text.parse::<u32>().ok());
    ProptestConfig { cases: most.map_or(usual, |most| share(most, usual)), ..ProptestConfig::default() }
}

/// What `usual` of 100,000 is of `most`; never none.
fn share(most: u32, usual: u32) -> u32 {
    u32::try_from((u64::from(most) * u64::from(usual) / 100_000).max(1)).unwrap_or(u32::MAX)
}

#[test]
fn fewer_cases_are_some_all_the_same() {
    assert_eq!([50_000, 5_000_000, 10, u32::MAX].map(|most| share(most, 100_000)), [50_000, 5_000_000, 10, u32::MAX]);
    assert_eq!([50_000, 5_000_000, 10].map(|most| share(most, 2_000)), [1_000, 100_000, 1]);
}

fn currency() -> crate::money::Currency {
    "CNY".parse().unwrap()
}

fn plan(sold: &Sold) -> Plan {
    let text = |minute: &u32| format!("{:02}:{:02}", minute / 60, minute % 60);
    let texts: Vec<(String, String)> = sold.windows.iter().map(|(_, start, end, _)| (text(start), text(end))).collect();
    let terms: Vec<WindowTerms<'_>> =
        sold.windows.iter().zip(&texts).map(|((label, _, _, rate), (start, end))| WindowTerms { label, start, end, rate: *rate }).collect();
    let rates = Rates::by_window(&sold.zone, &terms).unwrap();
    let increments = Increments { first_s: sold.first_s, later_s: sold.later_s, rates };
    let conditions = Conditions { grace_s: sold.grace_s, minimum: sold.minimum, rounding: sold.rounding };
    let kind = match (sold.cap_s, sold.cap) {
        (None, None) => Kind::PerMinute(increments),
        (cap_s, cap) => Kind::UntilAsleep { increments, cap_s, cap },
    };
    Plan::new(currency(), kind, conditions).unwrap()
}

/// Delivered and paused in turn, in milliseconds each.
fn segments(start_ms: i64, lengths: &[i64]) -> Vec<Segment> {
    let mut at = Moment::from_unix_ms(start_ms);
    let mut found = Vec::new();
    for (place, length) in lengths.iter().enumerate() {
        let to = at + Span::from_ms(*length);
        let kind = if place % 2 == 0 { SegmentKind::Delivered } else { SegmentKind::Paused(super::super::Cause::Client) };
        if *length > 0 {
            found.push(Segment { kind, from: at, to });
        }
        at = to;
    }
    found
}

fn said(rating: &Rating) -> Said {
    let lines = rating.lines.iter().map(|line| (line.label.clone(), line.quantity, line.amount.amount)).collect();
    (rating.billed_s, lines, rating.charge.amount)
}

/// Windows between these edges (minutes of the day), labels and rates in turn.
fn windows(edges: &std::collections::BTreeSet<u32>, rates: &[(u8, i64)]) -> Vec<(String, u32, u32, i64)> {
    let edges: Vec<u32> = edges.iter().copied().collect();
    let label = |place: usize| ["day", "night", "dawn"][usize::from(rates[place % rates.len()].0) % 3].to_owned();
    (0..edges.len()).map(|place| (label(place), edges[place], edges[(place + 1) % edges.len()], rates[place % rates.len()].1)).collect()
}

fn sold() -> impl Strategy<Value = Sold> {
    let day = (
        prop::collection::btree_set(0u32..1440, 1..5),
        prop::collection::vec((any::<u8>(), prop_oneof![Just(0), 1i64..1000, Just(6000)]), 5),
    );
    let increment = || prop_oneof![Just((60, 60)), Just((6, 6)), Just((1, 1)), Just((30, 6)), (1i64..200, 1i64..200)];
    let caps = (prop::option::weighted(0.3, 1i64..4000), prop::option::weighted(0.3, 0i64..5000));
    let conditions = (prop_oneof![3 => Just(0), 1 => 0i64..60], prop_oneof![3 => Just(0), 1 => 0i64..800], 0usize..3);
    (prop::sample::select(&ZONES[..]), day, increment(), caps, conditions).prop_map(
        |(zone, (edges, rates), (first_s, later_s), (cap_s, cap), (grace_s, minimum, rounding))| Sold {
            zone: zone.to_owned(),
            windows: windows(&edges, &rates),
            first_s,
            later_s,
            cap_s,
            cap,
            grace_s,
            minimum,
            rounding: Rounding::ALL[rounding],
        },
    )
}

/// Mostly minutes; sometimes hours. Pauses of any length, also of none.
fn lengths() -> impl Strategy<Value = Vec<i64>> {
    prop_oneof![
        12 => prop::collection::vec(0i64..90_000, 1..6),
        3 => prop::collection::vec(0i64..1_200_000, 1..4),
        1 => prop::collection::vec(0i64..7_200_000, 1..3),
    ]
}

/// 2020 to 2040, half of it within four hours of a change of the zone's clocks.
fn starts() -> impl Strategy<Value = (i64, bool)> {
    (1_577_836_800_000i64..2_208_988_800_000, any::<bool>())
}

fn near_change(zone: &str, (start_ms, near): (i64, bool)) -> i64 {
    if !near {
        return start_ms;
    }
    let zone = TimeZone::get(zone).unwrap();
    let next = zone.following(Timestamp::from_millisecond(start_ms).unwrap()).next();
    next.map_or(start_ms, |change| change.timestamp().as_millisecond() - start_ms.rem_euclid(4 * 3_600_000))
}

proptest! {
    #![proptest_config(cases(100_000))]

    #[test]
    fn rating_is_what_counting_second_by_second_gives(
        sold in sold(), start in starts(), lengths in lengths(), held in prop_oneof![0i64..3000, 0i64..1_000_000], settlement in 0usize..3,
    ) {
        let segments = segments(near_change(&sold.zone, start), &lengths);
        // Settled as rated most often: there the rules are richer.
        let settlement = Settlement::ALL[settlement.min(1)];
        let rating = rate(&plan(&sold), settlement, &[held], &segments);
        prop_assert_eq!(said(&rating), sold.rate(settlement, held, &segments));
        if settlement == Settlement::ExactDelivered {
            let paid = rate_paid(&plan(&sold), settlement, &[held], &segments);
            prop_assert_eq!(said(&paid), sold.rate_paid(held, &segments));
        }
        prop_assert_eq!(rating.charge.amount + rating.refund.amount, held);
        prop_assert_eq!(rating.lines.iter().map(|line| line.amount.amount).sum::<i64>(), rating.charge.amount);
    }
}

proptest! {
    #![proptest_config(cases(2_000))]

    #[test]
    fn at_the_quota_all_is_used_and_a_second_more_is_not_charged(
        sold in sold(), start in starts(), lengths in lengths(), held in 0i64..3000,
    ) {
        let plan = plan(&sold);
        let mut so_far = segments(near_change(&sold.zone, start), &lengths);
        let horizon = delivered(&so_far) + Span::from_s(6 * 3600);
        let now = so_far.last().map_or(Moment::from_unix_ms(start.0), |last| last.to);
        let Some(most_s) = max_usage(&plan, &[held], &so_far, now, horizon) else { return Ok(()) };
        let have = delivered(&so_far);
        if have.whole_s() >= most_s {
            // It was there already, and must have ended.
            return Ok(());
        }
        so_far.push(Segment { kind: SegmentKind::Delivered, from: now, to: now + (Span::from_s(most_s).saturating_sub(have)) });
        let at_quota = rate(&plan, Settlement::AsRated, &[held], &so_far);
        let exactly = rate(&plan, Settlement::ExactDelivered, &[held], &so_far);
        prop_assert_eq!(&rate_paid(&plan, Settlement::ExactDelivered, &[held], &so_far), &exactly);
        prop_assert_eq!(at_quota.billed_s, most_s - sold.grace_s);
        for beyond_s in [1, 60, 3600] {
            let last = so_far.last_mut().unwrap();
            last.to = last.to + Span::from_s(beyond_s);
            let beyond = rate(&plan, Settlement::AsRated, &[held], &so_far);
            let metered = |rating: &Rating| rating.lines.iter().filter(|line| line.label != "minimum").map(|line| line.amount.amount).sum::<i64>();
            prop_assert_eq!((beyond.billed_s, metered(&beyond)), (at_quota.billed_s, metered(&at_quota)));
            // Settled exactly too: what comes after the quota is a gift, whatever the hold has left.
            prop_assert_eq!(&rate_paid(&plan, Settlement::ExactDelivered, &[held], &so_far), &exactly);
        }
    }

    #[test]
    fn more_time_never_costs_less(sold in sold(), start in starts(), lengths in lengths(), more_ms in 0i64..100_000, held in 0i64..100_000) {
        let plan = plan(&sold);
        let mut segments = segments(near_change(&sold.zone, start), &lengths);
        for settlement in Settlement::ALL {
            let before = rate(&plan, settlement, &[held], &segments).charge.amount;
            if let Some(last) = segments.last_mut().filter(|last| last.kind == SegmentKind::Delivered) {
                last.to = last.to + Span::from_ms(more_ms);
            }
            prop_assert!(rate(&plan, settlement, &[held], &segments).charge.amount >= before);
        }
    }

    #[test]
    fn an_edge_between_equal_rates_changes_nothing(mut sold in sold(), start in starts(), lengths in lengths(), held in 0i64..100_000, edge in 0u32..1440) {
        let segments = segments(near_change(&sold.zone, start), &lengths);
        let whole = rate(&plan(&sold), Settlement::AsRated, &[held], &segments);
        let place = sold.windows.iter().position(|(_, from, to, _)| if from < to { (from + 1..*to).contains(&edge) } else { edge > *from || edge < *to });
        if let Some(place) = place {
            let (label, _, end, rate) = sold.windows[place].clone();
            sold.windows[place].2 = edge;
            sold.windows.push((label, edge, end, rate));
        }
        prop_assert_eq!(rate(&plan(&sold), Settlement::AsRated, &[held], &segments), whole);
    }

    #[test]
    fn without_windows_neither_the_start_nor_pauses_matter(mut sold in sold(), start in starts(), later in starts(), lengths in lengths(), held in 0i64..100_000) {
        sold.windows = vec![("any".to_owned(), 0, 0, sold.windows[0].3)];
        let plan = plan(&sold);
        let whole = rate(&plan, Settlement::AsRated, &[held], &segments(start.0, &lengths));
        let spoken: i64 = lengths.iter().step_by(2).sum();
        prop_assert_eq!(&rate(&plan, Settlement::AsRated, &[held], &segments(later.0, &[spoken])), &whole);
        let one = Increments { first_s: sold.first_s, later_s: sold.later_s, rates: Rates::one(sold.windows[0].3).unwrap() };
        let kind = match plan.kind.clone() {
            Kind::UntilAsleep { cap_s, cap, .. } => Kind::UntilAsleep { increments: one, cap_s, cap },
            _ => Kind::PerMinute(one),
        };
        let plan = Plan::new(currency(), kind, plan.conditions).unwrap();
        prop_assert_eq!(rate(&plan, Settlement::AsRated, &[held], &segments(later.0, &lengths)), whole);
    }

    /// By the second: a slow and obvious count beside the arithmetic.
    #[test]
    fn blocks_are_what_counting_seconds_gives(
        block_s in 1i64..100, price in 0i64..5000, bought in 1usize..6, delivered_ms in 0i64..400_000, grace_s in 0i64..20,
    ) {
        let plan = Plan::new(currency(), Kind::Block { block_s, price }, Conditions { grace_s, ..Conditions::default() }).unwrap();
        let holds = vec![price; bought];
        let (mut started, mut seconds) = (0, 0);
        for second in grace_s..delivered_ms / 1000 {
            let place = second - grace_s;
            if place < block_s * holds.len() as i64 {
                started += i64::from(place % block_s == 0);
                seconds += 1;
            }
        }
        let charge = |settlement| rate(&plan, settlement, &holds, &segments(0, &[delivered_ms])).charge.amount;
        prop_assert_eq!(charge(Settlement::AsRated), started * price);
        prop_assert_eq!(charge(Settlement::ExactDelivered), seconds * price / block_s);
        prop_assert!(charge(Settlement::ExactDelivered) <= charge(Settlement::AsRated));
        prop_assert_eq!(charge(Settlement::Free), 0);
        let most_s = max_usage(&plan, &holds, &[], Moment::from_unix_ms(0), Span::from_s(10_000));
        prop_assert_eq!(most_s, Some(grace_s + block_s * holds.len() as i64));
    }

    #[test]
    fn the_largest_amounts_are_rated(block_s in 1i64..5000, price in 0..=Money::MAX_AMOUNT / 8, bought in 1usize..8, delivered_ms in 0i64..100_000_000) {
        let blocks = Plan::new(currency(), Kind::Block { block_s, price }, Conditions::default()).unwrap();
        let increments = Increments { first_s: block_s, later_s: block_s, rates: Rates::one(Money::MAX_AMOUNT).unwrap() };
        let metered = Plan::new(currency(), Kind::PerMinute(increments), Conditions::default()).unwrap();
        for settlement in Settlement::ALL {
            for plan in [&blocks, &metered] {
                let rating = rate(plan, settlement, &vec![price; bought], &segments(0, &[delivered_ms]));
                prop_assert_eq!(rating.charge.amount + rating.refund.amount, price * bought as i64);
            }
        }
    }
}

/// A hold of two and a half minutes pays for two, however the call ends: what comes after them is a gift.
#[test]
fn a_gift_costs_nothing_when_the_seconds_are_settled_exactly() {
    let by_the_minute = || Increments { first_s: 60, later_s: 60, rates: Rates::one(100).unwrap() };
    let metered = Kind::PerMinute(by_the_minute());
    let capped = Kind::UntilAsleep { increments: by_the_minute(), cap_s: Some(150), cap: None };
    let cap_of_money = Kind::UntilAsleep { increments: by_the_minute(), cap_s: None, cap: Some(250) };
    for (kind, held) in [(metered, 250), (capped, 1000), (cap_of_money, 1000)] {
        let plan = Plan::new(currency(), kind, Conditions::default()).unwrap();
        let charge = |settlement, ms| rate_paid(&plan, settlement, &[held], &segments(0, &[ms])).charge.amount;
        assert_eq!(charge(Settlement::ExactDelivered, 119_000), 198);
        for ms in [120_000, 121_000, 180_000, 3_600_000] {
            assert_eq!((charge(Settlement::AsRated, ms), charge(Settlement::ExactDelivered, ms)), (200, 200), "after {ms} ms");
        }
    }
}

/// The rules know no gifts: settled exactly there is no increment, and seconds cost until the hold or the cap is used up.
#[test]
fn settled_exactly_seconds_cost_up_to_the_limit_and_not_up_to_whole_increments() {
    let metered = |first_s, rate| Kind::PerMinute(Increments { first_s, later_s: 60, rates: Rates::one(rate).unwrap() });
    let capped = |first_s, cap_s| Kind::UntilAsleep {
        increments: Increments { first_s, later_s: 60, rates: Rates::one(300).unwrap() },
        cap_s: Some(cap_s),
        cap: None,
    };
    for (kind, held, delivered_s, billed_s, charge) in [
        (metered(60, 300), 1000, 200, 200, 1000),
        (metered(60, 300), 1000, 230, 200, 1000),
        (metered(180, 59), 100, 30, 30, 29),
        (capped(180, 90), 1000, 30, 30, 150),
        (capped(60, 90), 1000, 120, 90, 450),
    ] {
        let plan = Plan::new(currency(), kind, Conditions::default()).unwrap();
        let rating = rate(&plan, Settlement::ExactDelivered, &[held], &segments(0, &[delivered_s * 1000]));
        assert_eq!((rating.billed_s, rating.charge.amount), (billed_s, charge), "{delivered_s} s of {plan:?} on {held}");
    }
}

/// Calls that straddle each change of each zone's clocks, on windows with edges at the change and around it.
#[test]
fn every_change_of_the_clocks_is_rated_as_its_seconds_read() {
    let all: Vec<String> = match std::env::var("RATING_ZONES").as_deref() {
        Ok("all") => jiff::tz::TimeZoneDatabase::bundled().available().map(|name| name.as_str().to_owned()).collect(),
        _ => ZONES.map(str::to_owned).to_vec(),
    };
    let (from, to): (Timestamp, Timestamp) = ("2020-01-01T00:00:00Z".parse().unwrap(), "2041-01-01T00:00:00Z".parse().unwrap());
    let mut checked = 0;
    for zone in all {
        let database = jiff::tz::TimeZoneDatabase::bundled();
        let tz = database.get(&zone).unwrap();
        for change in tz.following(from).take_while(|change| change.timestamp() < to) {
            let at_ms = change.timestamp().as_millisecond();
            let local = |ms: i64| {
                let time = Timestamp::from_millisecond(ms).unwrap().to_zoned(tz.clone()).time();
                u32::try_from(i32::from(time.hour()) * 60 + i32::from(time.minute())).unwrap()
            };
            // The change as it reads before and after, and half an hour from both.
            let edges = [local(at_ms - 1) + 1, local(at_ms), local(at_ms) + 30, local(at_ms - 1) + 1470].map(|minute| minute % 1440);
            let windows = windows(&edges.into(), &[(0, 300), (1, 90), (2, 111), (1, 0)]);
            for (reach_ms, increments) in [(1000, [1, 60]), (1_800_000, [1, 60]), (8 * 3_600_000, [60, 45])] {
                for later_s in increments {
                    let sold = Sold {
                        zone: zone.clone(),
                        windows: windows.clone(),
                        first_s: 60,
                        later_s,
                        cap_s: None,
                        cap: None,
                        grace_s: 0,
                        minimum: 0,
                        rounding: Rounding::HalfUp,
                    };
                    let segments = segments(at_ms - reach_ms, &[2 * reach_ms]);
                    let rating = rate(&plan(&sold), Settlement::AsRated, &[Money::MAX_AMOUNT], &segments);
                    let expected = sold.rate(Settlement::AsRated, Money::MAX_AMOUNT, &segments);
                    assert_eq!(said(&rating), expected, "{zone} {} ±{reach_ms} ms, increments of {later_s} s", change.timestamp());
                    checked += 1;
                }
            }
        }
    }
    assert!(checked > 3000, "{checked} calls over changes of the clocks");
}
