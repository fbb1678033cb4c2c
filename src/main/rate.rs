//! `lull rate FILE`: rates the examples of a file and prints one JSON line for each.
//!
//! The file has the schema of `fixtures/rating/examples.json`. An example that cannot be rated gives a line with `error`
//! instead of `rating`, the others are rated all the same, and the exit status is 1.

use super::rate_input::{Event, Input, PlanTerms};
use super::{records, say};
use anyhow::{Context, Result, bail, ensure};
use lull::billing::{self, Cause, Conditions, Increments, Kind, Mark, Plan, Rates, Rounding, Segment, Settlement, WindowTerms};
use lull::clock::Span;
use lull::money::{Currency, Money};
use serde_json::{Map, Value, json};
use signaling::rest::parse_json;
use std::path::Path;

/// Blocks of a call at most: each is a hold of its own.
const MOST_BLOCKS: i64 = 1_000_000;

/// How far ahead a call is followed to see when its money ends: longer than any call may last.
const HORIZON: Span = Span::from_s(billing::LONGEST_S);

/// Rates a file; an error if it cannot be read or any of its examples cannot be rated.
pub(crate) fn run(path: &Path) -> Result<()> {
    let text = records::read(path)?;
    let what = || format!("{} is not a file of rating examples (an object with a list `examples`)", path.display());
    // With money no field may stand there twice.
    let file = parse_json(text.as_bytes()).with_context(what)?;
    let examples = file["examples"].as_array().with_context(what)?;
    let mut failed = 0;
    for example in examples {
        let id = &example["id"];
        let line = match rated(example) {
            Ok(rating) => json!({"id": id, "rating": rating}),
            Err(error) => {
                failed += 1;
                json!({"id": id, "error": format!("{error:#}")})
            }
        };
        say(line)?;
    }
    ensure!(failed == 0, "{failed} of {} examples cannot be rated", examples.len());
    Ok(())
}

/// The rating of an example, in the shape of its `expected`. Where that is there, fields it does not have are left out.
fn rated(example: &Value) -> Result<Value> {
    let input = Input::read(example)?;
    for name in &input.others {
        eprintln!("lull rate: example {}: no rule takes notice of the field {name:?} of its input", example["id"]);
    }
    let currency = Currency::of_payment(&input.currency).with_context(|| format!("input.currency {:?}", input.currency))?;
    let plan = plan(currency, &input.plan).context("input.plan")?;
    let settlement = Settlement::ALL.into_iter().find(|settlement| settlement.name() == input.settlement);
    let settlement =
        settlement.with_context(|| format!("input.settlement {:?}: expected as_rated, exact_delivered or free", input.settlement))?;
    let holds = holds(&input, plan.kind()).context("input.hold_minor")?;
    let segments = segments(&input.events)?;
    check_length(&segments).context("input.events")?;
    let rating = billing::rate(&plan, settlement, &holds, &segments);
    // `segments` has made sure that there is an end; nothing may have been delivered before it.
    let end = input.events.last().map(|end| end.at);
    let max_usage_s = end.and_then(|end| billing::max_usage(&plan, &holds, &segments, end, HORIZON));

    let bps: Vec<u16> = input.shares.iter().map(|share| share.bps).collect();
    let is_whole = bps.iter().map(|part| u32::from(*part)).sum::<u32>() == 10_000;
    ensure!(bps.is_empty() || is_whole, "input.shares: the basis points sum to 10000");
    let parts = if bps.is_empty() { Vec::new() } else { billing::split(rating.charge.amount, &bps) };
    let shares = input.shares.iter().zip(parts).map(|(share, amount)| json!({"party": share.party, "amount_minor": amount}));
    let lines = rating.lines.iter();
    let lines = lines
        .map(|line| json!({"label": line.label, "quantity": line.quantity, "unit": line.unit.name(), "amount_minor": line.amount.amount}));
    let mut fields = Map::new();
    fields.insert("delivered_ms".to_owned(), billing::delivered(&segments).ms().into());
    fields.insert("billed_s".to_owned(), rating.billed_s.into());
    fields.insert("lines".to_owned(), lines.collect());
    fields.insert("charge_minor".to_owned(), rating.charge.amount.into());
    fields.insert("refund_minor".to_owned(), rating.refund.amount.into());
    fields.insert("shares".to_owned(), shares.collect());
    if let Some(seconds) = max_usage_s {
        fields.insert("max_usage_s".to_owned(), seconds.into());
    }
    if let Some(Value::Object(asked)) = example.get("expected") {
        fields.retain(|name, _| asked.contains_key(name));
    }
    Ok(Value::Object(fields))
}

/// The plan of terms in the schema of the examples, which are also a record's.
pub(crate) fn plan_from(currency: &str, terms: &Value) -> Result<Plan> {
    plan(currency.parse().with_context(|| format!("currency {currency:?}"))?, &PlanTerms::read(terms)?)
}

fn plan(currency: Currency, terms: &PlanTerms) -> Result<Plan> {
    let need = |field: Option<i64>, name: &str| field.with_context(|| format!("a plan of kind {} has `{name}`", terms.kind));
    only_its_own(terms)?;
    let kind = match terms.kind.as_str() {
        "block" => Kind::Block { block_s: need(terms.block_s, "block_s")?, price: need(terms.price_minor, "price_minor")? },
        "flat" => Kind::Flat { price: need(terms.price_minor, "price_minor")? },
        "per_minute" => Kind::PerMinute(increments(terms)?),
        "until_asleep" => Kind::UntilAsleep { increments: increments(terms)?, cap_s: terms.cap_s, cap: terms.cap_minor },
        other => bail!("kind {other:?}: expected block, per_minute, flat or until_asleep"),
    };
    let rounding = match &terms.rounding {
        None => Rounding::default(),
        Some(name) => Rounding::ALL
            .into_iter()
            .find(|rounding| rounding.name() == name)
            .with_context(|| format!("rounding {name:?}: expected down, half_up or half_even"))?,
    };
    let conditions = Conditions { grace_s: terms.grace_s, minimum: terms.min_charge_minor, rounding };
    Ok(Plan::new(currency, kind, conditions)?)
}

/// Refuses fields that the plan's kind does not have: whoever wrote them expects another price.
fn only_its_own(terms: &PlanTerms) -> Result<()> {
    let (blocks, flat, asleep) = (terms.kind == "block", terms.kind == "flat", terms.kind == "until_asleep");
    let metered = terms.kind == "per_minute" || asleep;
    for (name, is_there, is_its_own) in [
        ("block_s", terms.block_s.is_some(), blocks),
        ("price_minor", terms.price_minor.is_some(), blocks || flat),
        ("first_increment_s", terms.first_increment_s.is_some(), metered),
        ("increment_s", terms.increment_s.is_some(), metered),
        ("rate_minor_per_min", terms.rate_minor_per_min.is_some(), metered),
        ("windows", terms.windows.is_some(), metered),
        ("tz", terms.tz.is_some(), metered),
        ("cap_s", terms.cap_s.is_some(), asleep),
        ("cap_minor", terms.cap_minor.is_some(), asleep),
    ] {
        // Of a kind that is none, that is said.
        ensure!(!is_there || is_its_own || !(blocks || flat || metered), "a plan of kind {} has no `{name}`", terms.kind);
    }
    Ok(())
}

fn increments(terms: &PlanTerms) -> Result<Increments> {
    let need = |field: Option<i64>, name: &str| field.with_context(|| format!("a plan of kind {} has `{name}`", terms.kind));
    let rates = match (&terms.windows, terms.rate_minor_per_min) {
        (Some(_), Some(_)) => bail!("a plan has either `windows` or one `rate_minor_per_min`"),
        (None, rate) => {
            let rate = need(rate, "rate_minor_per_min")?;
            // Without windows a zone changes no price, but it must be one.
            let all_day = WindowTerms { label: "any", start: "00:00", end: "24:00", rate };
            terms.tz.as_deref().map(|zone| Rates::by_window(zone, &[all_day])).transpose()?;
            Rates::one(rate)?
        }
        (Some(windows), None) => {
            let windows: Vec<WindowTerms<'_>> = windows
                .iter()
                .map(|window| WindowTerms { label: &window.label, start: &window.start, end: &window.end, rate: window.rate_minor_per_min })
                .collect();
            Rates::by_window(terms.tz.as_deref().context("a plan with `windows` has a zone `tz`")?, &windows)?
        }
    };
    let (first_s, later_s) = (need(terms.first_increment_s, "first_increment_s")?, need(terms.increment_s, "increment_s")?);
    Ok(Increments { first_s, later_s, rates })
}

/// What was set aside: for blocks one hold for each, otherwise one.
fn holds(input: &Input, kind: &Kind) -> Result<Vec<i64>> {
    let held = input.hold_minor;
    ensure!((0..=Money::MAX_AMOUNT).contains(&held), "an amount is between 0 and 2^53 - 1 minor units");
    let bought = 1 + input.events.iter().filter(|event| event.kind == "extension_bought").count();
    match kind {
        Kind::Block { price: 0, .. } if held == 0 => Ok(vec![0; bought]),
        Kind::Block { price, .. } if *price > 0 && held % price == 0 => {
            let blocks = held / price;
            let asked = i64::try_from(bought)?;
            // More may have been bought at the start, but each extension is a block.
            ensure!(blocks >= asked, "{held} is {blocks} block(s) at {price}, and the events buy {asked}");
            ensure!(blocks <= MOST_BLOCKS, "{blocks} blocks are too many: at most {MOST_BLOCKS}");
            Ok(vec![*price; usize::try_from(blocks)?])
        }
        Kind::Block { price, .. } => bail!("{held} is not a whole number of blocks at {price}"),
        Kind::Flat { price } => {
            ensure!(held >= *price, "{held} is less than the price {price}");
            Ok(vec![held])
        }
        Kind::PerMinute(_) | Kind::UntilAsleep { .. } => Ok(vec![held]),
    }
}

/// Refuses a call that nobody can have had: its hours would be looked up day by day.
pub(crate) fn check_length(segments: &[Segment]) -> Result<()> {
    let length = segments.first().zip(segments.last()).map_or(Span::ZERO, |(first, last)| last.to.since(first.from));
    ensure!(length <= HORIZON, "no call lasts longer than {} s, and this one lasted {} s", HORIZON.whole_s(), length.whole_s());
    Ok(())
}

/// What the events say of the time in which both sides were connected.
fn segments(events: &[Event]) -> Result<Vec<Segment>> {
    let mut marks = Vec::new();
    let mut away = [false; 2];
    let mut last: Option<&Event> = None;
    for (number, event) in events.iter().enumerate() {
        mark(event, last, &mut away, &mut marks).with_context(|| format!("input.events[{number}]"))?;
        last = Some(event);
    }
    ensure!(last.is_some_and(|last| last.kind == "ended"), "input.events: the last one is `ended`");
    Ok(billing::segments(marks))
}

/// What an event, after the one before, means for who is away and for the time that runs.
fn mark(event: &Event, last: Option<&Event>, away: &mut [bool; 2], marks: &mut Vec<Mark>) -> Result<()> {
    let at = event.at;
    ensure!(last.is_none_or(|last| last.at <= at), "{at} comes after {}", last.map_or(at, |last| last.at));
    ensure!(last.is_none_or(|last| last.kind != "ended"), "nothing follows `ended`");
    match event.kind.as_str() {
        "connected" if marks.is_empty() => marks.push(Mark::Ran { at }),
        "connected" => bail!("`connected` comes once"),
        "ended" => marks.push(Mark::Ended { at }),
        "extension_bought" => (),
        kind @ ("disconnected" | "reconnected") => {
            ensure!(!marks.is_empty(), "`{kind}` comes after `connected`");
            let both_were_there = *away == [false; 2];
            let side = match event.side.as_deref() {
                Some("client") => 0,
                Some("companion") => 1,
                Some(other) => bail!("side {other:?}: expected client or companion"),
                None => bail!("`{kind}` has a side: client or companion"),
            };
            away[side] = kind == "disconnected";
            match (both_were_there, *away == [false; 2]) {
                (true, false) => marks.push(Mark::Stood { since: at, cause: Cause::Platform }),
                (false, true) => marks.push(Mark::Ran { at }),
                (true, true) | (false, false) => (),
            }
        }
        other => bail!("type {other:?}: expected connected, disconnected, reconnected, extension_bought or ended"),
    }
    Ok(())
}
