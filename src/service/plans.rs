//! Plans and settlement policies from the wire, and as the wire shows them. What is wrong is said with its field.

use super::wire::{self, refused};
use crate::billing::{self, Conditions, HoldError, Increments, Kind, PlanError, Rates, RatesError, Rounding, WindowTerms};
use crate::call::{Ending, Night, Policy, PolicyError, Rule, Sold, Sounds};
use crate::clock::{Moment, Span};
use crate::exchange;
use crate::money::{Currency, Money};
use crate::store::Plan;
use serde_json::{Map, Value, json};
use signaling::code::Code;
use signaling::inbound::Refused;
use signaling::rest::{ChimeLevel, CreatePlan, PlanKind, PlanRounding, SetSettlement};

fn invalid(field: &'static str, why: impl ToString) -> Refused {
    refused(Code::InvalidRequest, why.to_string(), Some(field))
}

/// What is sold, and what a call sets aside.
pub(super) fn sold(create: &CreatePlan) -> Result<(billing::Plan, Money), Refused> {
    let whole = create.price.as_ref().map(|price| wire::money(price, "price.currency")).transpose()?;
    let given = create.hold.as_ref().map(|hold| wire::money(hold, "hold.currency")).transpose()?;
    let missing = |name| invalid(name, format!("`{name}` is required"));
    let need = |field: Option<i64>, name| field.ok_or_else(|| missing(name));
    let (kind, hold) = match create.kind {
        PlanKind::Block => {
            let price = whole.ok_or_else(|| missing("price"))?;
            (Kind::Block { block_s: need(create.block_s, "block_s")?, price: price.amount }, price)
        }
        PlanKind::Flat => {
            let price = whole.ok_or_else(|| missing("price"))?;
            (Kind::Flat { price: price.amount }, price)
        }
        PlanKind::PerMinute => (Kind::PerMinute(increments(create)?), given.ok_or_else(|| missing("hold"))?),
        PlanKind::UntilAsleep => {
            let hold = match (given, create.cap_minor, &create.currency) {
                (Some(hold), _, _) => hold,
                (None, Some(cap), Some(currency)) => {
                    Money::new(cap, Currency::of_payment(currency).map_err(|why| invalid("currency", why))?)
                }
                (None, _, _) => return Err(missing("hold")),
            };
            (Kind::UntilAsleep { increments: increments(create)?, cap_s: create.cap_s, cap: create.cap_minor }, hold)
        }
    };
    let rounding = match create.rounding {
        None | Some(PlanRounding::Down) => Rounding::Down,
        Some(PlanRounding::HalfUp) => Rounding::HalfUp,
        Some(PlanRounding::HalfEven) => Rounding::HalfEven,
    };
    let conditions = Conditions { grace_s: create.grace_s.unwrap_or(0), minimum: create.min_charge_minor.unwrap_or(0), rounding };
    let sold = billing::Plan::new(hold.currency, kind, conditions).map_err(|why| of_plan(&why))?;
    sold.check_hold(hold).map_err(|why| match why {
        HoldError::Cap { seconds, .. } if create.cap_s.is_some_and(|cap_s| cap_s < seconds) => invalid("cap_s", why),
        HoldError::Cap { .. } => invalid("cap_minor", why),
        HoldError::Range | HoldError::TooLittle(_) => invalid("hold", why),
        HoldError::NotThePrice(_) => invalid("price", why),
    })?;
    if let Kind::Block { price, .. } = sold.kind()
        && conditions.minimum > *price
    {
        let detail = format!("a call costs at least what its first block does: `min_charge_minor` is at most the price, {price}");
        return Err(invalid("min_charge_minor", detail));
    }
    Ok((sold, hold))
}

/// Between two quiet tones for a drowsy client, where the plan has them.
const PROBE_EVERY: Span = Span::from_s(180);

/// How the plan's calls end at night, and how they sound.
pub(super) fn night(create: &CreatePlan, sold: &billing::Plan) -> (Option<Night>, Sounds) {
    let (customary, sounds) = (Night::customary(sold.kind()), Sounds::customary(sold.kind()));
    let night = customary.map(|customary| Night {
        linger: create.linger_s.map_or(customary.linger, Span::from_s),
        fade: create.fade_s.map_or(customary.fade, Span::from_s),
        probe: create.probe.unwrap_or(false).then_some(PROBE_EVERY),
    });
    let chime = match create.chime_dbfs {
        ChimeLevel::OfItsKind => sounds.chime,
        ChimeLevel::Off => None,
        ChimeLevel::At(dbfs) => Some(dbfs),
    };
    (night, Sounds { chime, waiting: create.waiting_sound.unwrap_or(sounds.waiting) })
}

fn increments(create: &CreatePlan) -> Result<Increments, Refused> {
    let rates = match (&create.windows, &create.tz) {
        (Some(windows), Some(zone)) => {
            let terms: Vec<WindowTerms<'_>> = windows
                .iter()
                .map(|window| WindowTerms { label: &window.label, start: &window.start, end: &window.end, rate: window.rate_minor_per_min })
                .collect();
            Rates::by_window(zone, &terms)
        }
        // Nothing to say what a minute costs reads as a rate that there is not.
        _ => Rates::one(create.rate_minor_per_min.unwrap_or(-1)),
    };
    let rates = rates.map_err(|why| of_rates(&why))?;
    let length = |field: Option<i64>, name| field.ok_or_else(|| invalid(name, format!("`{name}` is required")));
    Ok(Increments {
        first_s: length(create.first_increment_s, "first_increment_s")?,
        later_s: length(create.increment_s, "increment_s")?,
        rates,
    })
}

fn of_plan(why: &PlanError) -> Refused {
    match why {
        PlanError::Block => invalid("block_s", why),
        PlanError::Increment => invalid("increment_s", why),
        PlanError::Time => invalid("grace_s", why),
        PlanError::Price => invalid("min_charge_minor", why),
        PlanError::Rates(why) => of_rates(why),
    }
}

fn of_rates(why: &RatesError) -> Refused {
    match why {
        RatesError::Rate => invalid("rate_minor_per_min", why),
        RatesError::Zone(_) => invalid("tz", why),
        RatesError::TimeOfDay(_) | RatesError::Empty | RatesError::Gap(_) | RatesError::Overlap(_) | RatesError::Label => {
            invalid("windows", why)
        }
    }
}

/// A plan as the vendor sees it: the fields it was made with, and those that have a default.
pub(super) fn plan(plan: &Plan) -> Value {
    let mut shown = json!({
        "id": plan.id.to_string(), "name": plan.name, "grade": plan.grade, "created_at": plan.created_at.to_string(),
        "hold": wire::amount(plan.hold), "currency": plan.hold.currency.code(),
        "chime_dbfs": plan.sounds.chime, "waiting_sound": plan.sounds.waiting,
    });
    if let Some(Night { linger, fade, probe }) = plan.night {
        shown["linger_s"] = linger.whole_s().into();
        shown["fade_s"] = fade.whole_s().into();
        shown["probe"] = probe.is_some().into();
    }
    if let (Some(shown), Value::Object(mut terms)) = (shown.as_object_mut(), exchange::plan_terms(&plan.sold)) {
        if terms.remove("price_minor").is_some() {
            shown.insert("price".to_owned(), json!(wire::amount(plan.hold)));
        }
        shown.insert("recording_days".to_owned(), plan.recording.map(|terms| terms.keep.whole_s() / 86_400).into());
        shown.extend(terms);
    }
    shown
}

/// The policy a vendor asks for: the defaults, and what she gives beyond them.
pub(super) fn policy(set: &SetSettlement) -> Result<Policy, Refused> {
    let mut policy = Policy::default();
    if let Some(seconds) = set.flat_min_s {
        policy = policy.with_flat_min(Span::from_s(seconds)).map_err(|why| invalid("flat_min_s", why))?;
    }
    for (row, cells) in &set.rules {
        let ending = word(row, &Ending::ALL, Ending::name)?;
        for (column, rule) in cells {
            let (sold, rule) = (word(column, &Sold::ALL, Sold::name)?, word(rule, &Rule::ALL, Rule::name)?);
            let at = |why: PolicyError| invalid("rules", format!("{row}, {column}: {why}"));
            policy = policy.with(ending, sold, rule).map_err(at)?;
        }
    }
    Ok(policy)
}

fn word<T: Copy>(text: &str, all: &[T], name: impl Fn(T) -> &'static str) -> Result<T, Refused> {
    let known = || all.iter().map(|word| name(*word)).collect::<Vec<_>>().join(", ");
    all.iter()
        .copied()
        .find(|word| name(*word) == text)
        .ok_or_else(|| invalid("rules", format!("there is no {text:?}; there are {}", known())))
}

/// A policy in full; `updated_at` is none for one that was never changed.
pub(super) fn policy_shown(policy: &Policy, updated_at: Option<Moment>) -> Value {
    let cells =
        |ending| Sold::ALL.iter().map(|sold| (sold.name().to_owned(), policy.rule(ending, *sold).name().into())).collect::<Map<_, _>>();
    let rules: Map<String, Value> = Ending::ALL.iter().map(|ending| (ending.name().to_owned(), cells(*ending).into())).collect();
    json!({ "flat_min_s": policy.flat_min().whole_s(), "rules": rules, "updated_at": updated_at.map(|at| at.to_string()) })
}
