//! The terms a script books its call on: `book name=value …`.

use super::script::{Outcome, length, number};
use super::{cny, terms};
use crate::billing::{Conditions, Increments, Kind, Plan, Rates, Rounding, WindowTerms};
use crate::call::{Ending, Night, RecordingTerms, Rule, Sold, Sounds, Terms};
use crate::clock::Span;
use crate::money::Money;
use std::collections::BTreeMap;

/// Where the windows of `night=` are; calls are booked at 20:00 there.
const ZONE: &str = "Asia/Shanghai";

/// The settings there are; see `fixtures/calls/README.md`.
const NAMES: [&str; 23] = [
    "kind",
    "block",
    "price",
    "first",
    "increment",
    "rate",
    "night",
    "night_at",
    "hold",
    "cap",
    "cap_money",
    "grace",
    "minimum",
    "rounding",
    "max_duration",
    "gift_limit",
    "policy",
    "linger",
    "fade",
    "probe",
    "chime",
    "waiting",
    "record",
];

pub(super) fn terms_of(settings: &[&str]) -> Outcome<Terms> {
    let mut given = BTreeMap::new();
    for setting in settings {
        let (name, value) = setting.split_once('=').ok_or("a setting is name=value")?;
        if !NAMES.contains(&name) {
            return Err(format!("unknown setting {name}"));
        }
        given.insert(name, value);
    }
    let amount = |name, default: i64| given.get(name).map_or(Ok(default), |text| number(text));
    let time = |name, default: i64| given.get(name).map_or(Ok(Span::from_s(default)), |text| length(text));
    let price = amount("price", 2000)?;
    let kind = match given.get("kind").copied().unwrap_or("block") {
        "block" => Kind::Block { block_s: time("block", 900)?.whole_s(), price },
        "flat" => Kind::Flat { price },
        metered @ ("per_minute" | "until_asleep") => {
            let rate = amount("rate", 300)?;
            let rates = match given.get("night") {
                None => Rates::one(rate),
                Some(night) => {
                    let window = |label, start, end, rate| WindowTerms { label, start, end, rate };
                    let night_at = given.get("night_at").copied().unwrap_or("23:00");
                    Rates::by_window(ZONE, &[window("day", "08:00", night_at, rate), window("night", night_at, "08:00", number(night)?)])
                }
            };
            let rates = rates.map_err(|error| error.to_string())?;
            let increments = Increments { first_s: time("first", 60)?.whole_s(), later_s: time("increment", 60)?.whole_s(), rates };
            let cap = given.get("cap_money").map(|text| number(text)).transpose()?;
            let cap_s = given.get("cap").map(|text| length(text)).transpose()?.map(Span::whole_s);
            if metered == "per_minute" { Kind::PerMinute(increments) } else { Kind::UntilAsleep { increments, cap_s, cap } }
        }
        other => return Err(format!("there is no plan of kind {other}")),
    };
    let rounding = given.get("rounding").copied().unwrap_or("down");
    let conditions = Conditions {
        grace_s: time("grace", 0)?.whole_s(),
        minimum: amount("minimum", 0)?,
        rounding: Rounding::ALL.into_iter().find(|known| known.name() == rounding).ok_or("no such rounding")?,
    };
    let whole = match kind {
        Kind::Block { price, .. } | Kind::Flat { price } => price,
        Kind::PerMinute(_) | Kind::UntilAsleep { cap: None, .. } => 3000,
        Kind::UntilAsleep { cap: Some(cap), .. } => cap,
    };
    let mut terms = Terms {
        sold: Plan::new(cny(), kind, conditions).map_err(|error| error.to_string())?,
        hold: Money::new(amount("hold", whole)?, cny()),
        ..terms(Span::from_s(900), 2000)
    };
    terms.limits.max_duration = time("max_duration", terms.limits.max_duration.whole_s())?;
    terms.limits.gift_limit = time("gift_limit", terms.limits.gift_limit.whole_s())?;
    if given.contains_key("linger") {
        let probe = given.get("probe").map(|text| length(text)).transpose()?;
        terms.night = Some(Night { linger: time("linger", 0)?, fade: time("fade", 60)?, probe });
    }
    let chime = given.get("chime").map(|text| number(text)).transpose()?.map(|dbfs| i8::try_from(dbfs).unwrap_or(0));
    terms.sounds = Sounds { chime, waiting: given.get("waiting").is_some_and(|waiting| *waiting == "on") };
    let keep = given.get("record").map(|text| length(text)).transpose()?;
    terms.recording = keep.map(|keep| RecordingTerms { keep });
    if let Some(cell) = given.get("policy") {
        let [ending, sold, rule] = cell.split('/').collect::<Vec<_>>()[..] else { return Err("a policy is ENDING/SOLD/RULE".into()) };
        let ending = Ending::ALL.into_iter().find(|known| known.name() == ending).ok_or("no such ending")?;
        let sold = Sold::ALL.into_iter().find(|known| known.name() == sold).ok_or("no such column")?;
        let rule = Rule::ALL.into_iter().find(|known| known.name() == rule).ok_or("no such rule")?;
        terms.policy = terms.policy.with(ending, sold, rule).map_err(|error| error.to_string())?;
    }
    Ok(terms)
}
