//! `lull rate FILE`: rates the examples of a file and prints one JSON line for each.
//!
//! The file has the schema of `fixtures/rating/examples.json`. An example that cannot be rated gives a line with `error`
//! instead of `rating`, the others are rated all the same, and the exit status is 1.

use super::say;
use anyhow::{Context, Result, anyhow, bail, ensure};
use lull::billing::{self, Cause, Conditions, Increments, Kind, Mark, Plan, Rates, Rounding, Segment, Settlement, WindowTerms};
use lull::clock::{Moment, Span};
use lull::money::Money;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// Blocks of a call at most: each is a hold of its own.
const MOST_BLOCKS: i64 = 1_000_000;

/// How far ahead a call is followed to see when its money ends: longer than any call may last.
const HORIZON: Span = Span::from_s(billing::LONGEST_S);

#[derive(Deserialize)]
struct File {
    examples: Vec<Value>,
}

#[derive(Deserialize)]
struct Input {
    currency: String,
    plan: PlanTerms,
    settlement: String,
    hold_minor: i64,
    #[serde(default)]
    shares: Vec<Share>,
    events: Vec<Event>,
    /// Of these the rules say nothing: they are named, and change no price.
    #[serde(flatten)]
    others: BTreeMap<String, IgnoredAny>,
}

#[derive(Deserialize)]
// A field of a plan that is not known might change the price, so it is not passed over.
#[serde(deny_unknown_fields)]
struct PlanTerms {
    kind: String,
    block_s: Option<i64>,
    price_minor: Option<i64>,
    first_increment_s: Option<i64>,
    increment_s: Option<i64>,
    rate_minor_per_min: Option<i64>,
    tz: Option<String>,
    windows: Option<Vec<WindowFields>>,
    cap_s: Option<i64>,
    cap_minor: Option<i64>,
    #[serde(default)]
    grace_s: i64,
    #[serde(default)]
    min_charge_minor: i64,
    rounding: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WindowFields {
    label: String,
    start: String,
    end: String,
    rate_minor_per_min: i64,
}

#[derive(Deserialize)]
struct Share {
    party: String,
    bps: u16,
}

#[derive(Deserialize)]
struct Event {
    at: jiff::Timestamp,
    r#type: String,
    side: Option<String>,
}

/// Rates a file; an error if it cannot be read or any of its examples cannot be rated.
pub(crate) fn run(path: &Path) -> Result<()> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let file: File = serde_json::from_str(&text)
        .with_context(|| format!("{} is not a file of rating examples (an object with a list `examples`)", path.display()))?;
    let mut failed = 0;
    for example in &file.examples {
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
    ensure!(failed == 0, "{failed} of {} examples cannot be rated", file.examples.len());
    Ok(())
}

/// The rating of an example, in the shape of its `expected`. Where that is there, fields it does not have are left out.
fn rated(example: &Value) -> Result<Value> {
    let input = Input::deserialize(example.get("input").context("the example has no `input`")?).context("input")?;
    for name in input.others.keys() {
        eprintln!("lull rate: example {}: no rule takes notice of the field {name:?} of its input", example["id"]);
    }
    let plan = plan(&input.currency, &input.plan).context("plan")?;
    let settlement = Settlement::ALL.into_iter().find(|settlement| settlement.name() == input.settlement);
    let settlement =
        settlement.with_context(|| format!("settlement {:?}: expected as_rated, exact_delivered or free", input.settlement))?;
    let holds = holds(&input, plan.kind()).context("hold_minor")?;
    let segments = segments(&input.events).context("events")?;
    let rating = billing::rate(&plan, settlement, &holds, &segments);
    // `segments` has made sure that there is an end; nothing may have been delivered before it.
    let end = input.events.last().map(|end| Moment::from_unix_ms(end.at.as_millisecond()));
    let max_usage_s = end.and_then(|end| billing::max_usage(&plan, &holds, &segments, end, HORIZON));

    let bps: Vec<u16> = input.shares.iter().map(|share| share.bps).collect();
    let is_whole = bps.iter().map(|part| u32::from(*part)).sum::<u32>() == 10_000;
    ensure!(bps.is_empty() || is_whole, "shares: the basis points sum to 10000");
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
pub(crate) fn plan_from(currency: &str, terms: Value) -> Result<Plan> {
    plan(currency, &serde_json::from_value(terms)?)
}

fn plan(currency: &str, terms: &PlanTerms) -> Result<Plan> {
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
    Ok(Plan::new(currency.parse()?, kind, conditions)?)
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
    let bought = 1 + input.events.iter().filter(|event| event.r#type == "extension_bought").count();
    match kind {
        Kind::Block { price: 0, .. } if held == 0 => Ok(vec![0; bought]),
        Kind::Block { price, .. } if *price > 0 && held % price == 0 => {
            let blocks = held / price;
            let asked = i64::try_from(bought)?;
            // More may have been bought at the start, but each extension is a block.
            ensure!(blocks >= asked || held == 0, "{held} is {blocks} blocks at {price}, and the events buy {asked}");
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

/// What the events say of the time in which both sides were connected.
fn segments(events: &[Event]) -> Result<Vec<Segment>> {
    let mut marks = Vec::new();
    let mut away = [false; 2];
    let mut last: Option<&Event> = None;
    for event in events {
        ensure!(last.is_none_or(|last| last.at <= event.at), "{} comes after {}", event.at, last.map_or(event.at, |last| last.at));
        ensure!(last.is_none_or(|last| last.r#type != "ended"), "nothing follows `ended`");
        last = Some(event);
        let at = Moment::from_unix_ms(event.at.as_millisecond());
        let both_were_there = away == [false; 2];
        let side = || match event.side.as_deref() {
            Some("client") => Ok(0),
            Some("companion") => Ok(1),
            other => Err(anyhow!("side {other:?}: expected client or companion")),
        };
        match event.r#type.as_str() {
            "connected" if marks.is_empty() => marks.push(Mark::Ran { at }),
            "connected" => bail!("`connected` comes once"),
            "ended" => marks.push(Mark::Ended { at }),
            "extension_bought" => (),
            kind @ ("disconnected" | "reconnected") => {
                ensure!(!marks.is_empty(), "`{kind}` comes after `connected`");
                away[side()?] = kind == "disconnected";
                match (both_were_there, away == [false; 2]) {
                    (true, false) => marks.push(Mark::Stood { since: at, cause: Cause::Platform }),
                    (false, true) => marks.push(Mark::Ran { at }),
                    (true, true) | (false, false) => (),
                }
            }
            other => bail!("type {other:?}: expected connected, disconnected, reconnected, extension_bought or ended"),
        }
    }
    ensure!(last.is_some_and(|last| last.r#type == "ended"), "the last one is `ended`");
    Ok(billing::segments(marks))
}
