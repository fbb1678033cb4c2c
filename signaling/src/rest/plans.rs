//! Plans: what is sold, at which price.

use super::command::{Asked, Command, Id, ask, page};
use super::fields::{Fields, Text, WHOLE_MAX};
use super::{ChimeLevel, CreatePlan, PlanKind, PlanRounding, RateWindow, Request};
use crate::endpoint::Front;
use crate::problem::Problem;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::Value;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// The longest block: half a day.
const BLOCK_MAX_S: i64 = 43_200;

/// The longest increment, cap or grace: a day.
const LENGTH_MAX_S: i64 = 86_400;

/// Windows of a plan: one an hour.
const WINDOWS_MAX: usize = 24;

/// Fields that every plan may have.
const COMMON: [&str; 9] =
    ["name", "kind", "grade", "grace_s", "min_charge_minor", "rounding", "chime_dbfs", "waiting_sound", "recording_days"];

/// Fields of those that are metered.
const METERED: [&str; 7] = ["first_increment_s", "increment_s", "rate_minor_per_min", "windows", "tz", "hold", "currency"];

/// Fields of those that end when the client sleeps.
const NIGHT: [&str; 5] = ["cap_s", "cap_minor", "linger_s", "fade_s", "probe"];

/// The longest the companion stays with a sleeper: an hour.
const LINGER_MAX_S: i64 = 3_600;

/// How long a voice may take to fade, in seconds.
const FADE_S: RangeInclusive<i64> = 10..=300;

/// How loud a chime may be, in dBFS.
const CHIME_DBFS: RangeInclusive<i64> = -60..=-10;

/// The longest a recording may be kept: ten years.
const RECORDING_MAX_DAYS: i64 = 3_650;

const KINDS: [(&str, PlanKind); 4] =
    [("block", PlanKind::Block), ("per_minute", PlanKind::PerMinute), ("flat", PlanKind::Flat), ("until_asleep", PlanKind::UntilAsleep)];

pub(super) fn routes() -> Router<Arc<Front>> {
    Router::new().route("/v1/plans", post(create).get(list)).route("/v1/plans/{id}", get(one))
}

async fn create(State(front): State<Arc<Front>>, command: Command) -> Result<Response, Problem> {
    let request = Request::CreatePlan(Box::new(read(command.body)?));
    ask(&front, command.caller, Some(command.idempotency), request).await
}

pub(super) fn read(body: Value) -> Result<CreatePlan, Problem> {
    // Which fields there may be is the kind's to say.
    let word = Fields::peek(&body, "kind").unwrap_or_default();
    let own: &[&str] = match KINDS.iter().find(|(name, _)| *name == word).map(|(_, kind)| kind) {
        Some(PlanKind::Block) => &["block_s", "price"],
        Some(PlanKind::Flat) => &["price"],
        Some(PlanKind::PerMinute) => &METERED,
        Some(PlanKind::UntilAsleep) => &[&METERED[..], &NIGHT].concat(),
        None => &[&["block_s", "price"], &METERED[..], &NIGHT].concat(),
    };
    let mut fields = Fields::of(body, &[&COMMON, own].concat())?;
    let kind = fields.choice("kind", &KINDS)?;
    let mut plan = CreatePlan {
        name: fields.text("name", Text::Free { max: 100 })?,
        kind,
        grade: fields.optional_text("grade", Text::Free { max: 40 })?,
        grace_s: fields.optional_whole("grace_s", 0..=LENGTH_MAX_S)?,
        min_charge_minor: fields.optional_whole("min_charge_minor", 0..=WHOLE_MAX)?,
        rounding: fields.optional_choice(
            "rounding",
            &[("down", PlanRounding::Down), ("half_up", PlanRounding::HalfUp), ("half_even", PlanRounding::HalfEven)],
        )?,
        chime_dbfs: chime(&mut fields)?,
        waiting_sound: fields.optional_flag("waiting_sound")?,
        recording_days: fields.optional_whole("recording_days", 1..=RECORDING_MAX_DAYS)?,
        ..CreatePlan::default()
    };
    match kind {
        PlanKind::Block => {
            plan.block_s = Some(fields.whole("block_s", 1..=BLOCK_MAX_S)?);
            plan.price = Some(fields.amount("price", "price.")?);
        }
        PlanKind::Flat => plan.price = Some(fields.amount("price", "price.")?),
        PlanKind::PerMinute | PlanKind::UntilAsleep => {
            plan.first_increment_s = Some(fields.whole("first_increment_s", 1..=LENGTH_MAX_S)?);
            plan.increment_s = Some(fields.whole("increment_s", 1..=LENGTH_MAX_S)?);
            plan.rate_minor_per_min = fields.optional_whole("rate_minor_per_min", 0..=WHOLE_MAX)?;
            plan.tz = fields.optional_text("tz", Text::Free { max: 64 })?;
            plan.windows = fields.optional_list("windows", WINDOWS_MAX, &["label", "start", "end", "rate_minor_per_min"], window)?;
            plan.hold = fields.optional_amount("hold", "hold.")?;
            plan.currency = fields.optional_currency("currency")?;
            if kind == PlanKind::UntilAsleep {
                plan.cap_s = fields.optional_whole("cap_s", 1..=LENGTH_MAX_S)?;
                plan.cap_minor = fields.optional_whole("cap_minor", 0..=WHOLE_MAX)?;
                plan.linger_s = fields.optional_whole("linger_s", 0..=LINGER_MAX_S)?;
                plan.fade_s = fields.optional_whole("fade_s", FADE_S)?;
                plan.probe = fields.optional_flag("probe")?;
            }
            check_metered(&plan)?;
        }
    }
    Ok(plan)
}

/// Here `null` is not the same as nothing: it is no chime.
fn chime(fields: &mut Fields) -> Result<ChimeLevel, Problem> {
    if !fields.is_given("chime_dbfs") {
        return Ok(ChimeLevel::OfItsKind);
    }
    let level = fields.optional_whole("chime_dbfs", CHIME_DBFS)?;
    // It is within the range, so it fits.
    Ok(level.and_then(|level| i8::try_from(level).ok()).map_or(ChimeLevel::Off, ChimeLevel::At))
}

fn window(fields: &mut Fields) -> Result<RateWindow, Problem> {
    Ok(RateWindow {
        label: fields.text("label", Text::Free { max: 40 })?,
        start: fields.text("start", Text::Free { max: 5 })?,
        end: fields.text("end", Text::Free { max: 5 })?,
        rate_minor_per_min: fields.whole("rate_minor_per_min", 0..=WHOLE_MAX)?,
    })
}

/// What several fields must say together.
fn check_metered(plan: &CreatePlan) -> Result<(), Problem> {
    match (&plan.windows, plan.rate_minor_per_min, &plan.tz) {
        (None, Some(_), None) | (Some(_), None, Some(_)) => {}
        (None, None, _) => {
            return Err(Problem::field(
                "rate_minor_per_min",
                "`rate_minor_per_min` is required, or `windows` with `tz`: what a minute costs",
            ));
        }
        (Some(_), Some(_), _) => {
            return Err(Problem::field("windows", "send `rate_minor_per_min` or `windows`, not both: a minute has one rate at a time"));
        }
        (Some(_), None, None) => {
            return Err(Problem::field(
                "tz",
                "`tz` is required with `windows`: the zone whose time of day they follow, like Asia/Shanghai",
            ));
        }
        (None, Some(_), Some(_)) => return Err(Problem::field("tz", "`tz` is for `windows`; one rate needs no zone")),
    }
    if plan.kind == PlanKind::UntilAsleep && plan.cap_s.is_none() && plan.cap_minor.is_none() {
        return Err(Problem::field("cap_minor", "an until_asleep plan has a cap: `cap_s`, `cap_minor` or both"));
    }
    if plan.hold.is_none() && plan.cap_minor.is_none() {
        return Err(Problem::field("hold", "`hold` is required: what is set aside when a call is booked, and by each top-up"));
    }
    match (&plan.hold, &plan.currency) {
        (None, None) => Err(Problem::field("currency", "`currency` is required where there is no `hold`: three letters of ISO 4217")),
        (Some(hold), Some(currency)) if hold.currency != *currency => {
            Err(Problem::field("currency", "`currency` differs from the currency of `hold`; a plan has one"))
        }
        (Some(_), _) | (None, Some(_)) => Ok(()),
    }
}

async fn list(State(front): State<Arc<Front>>, asked: Asked) -> Result<Response, Problem> {
    let caller = asked.caller;
    let [limit, after] = asked.query(["limit", "after"])?;
    ask(&front, caller, None, Request::ListPlans(page(limit, after)?)).await
}

async fn one(State(front): State<Arc<Front>>, Id(id): Id, asked: Asked) -> Result<Response, Problem> {
    ask(&front, asked.caller, None, Request::GetPlan { id }).await
}
