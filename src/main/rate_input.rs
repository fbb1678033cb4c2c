//! The input of `lull rate`, read field by field: what is wrong is said with its place in the file.
//!
//! It takes no field of a plan that it does not know, since that might change the price. Whether the values fit each other is not its business.

use anyhow::{Context, Result, bail};
use lull::clock::Moment;
use serde_json::{Map, Value};

/// A call to be rated.
pub(super) struct Input {
    pub(super) currency: String,
    pub(super) plan: PlanTerms,
    pub(super) settlement: String,
    pub(super) hold_minor: i64,
    pub(super) shares: Vec<Share>,
    pub(super) events: Vec<Event>,
    /// Of these the rules say nothing: they are named, and change no price.
    pub(super) others: Vec<String>,
}

/// A plan as the examples and records spell it.
pub(super) struct PlanTerms {
    pub(super) kind: String,
    pub(super) block_s: Option<i64>,
    pub(super) price_minor: Option<i64>,
    pub(super) first_increment_s: Option<i64>,
    pub(super) increment_s: Option<i64>,
    pub(super) rate_minor_per_min: Option<i64>,
    pub(super) tz: Option<String>,
    pub(super) windows: Option<Vec<WindowFields>>,
    pub(super) cap_s: Option<i64>,
    pub(super) cap_minor: Option<i64>,
    pub(super) grace_s: i64,
    pub(super) min_charge_minor: i64,
    pub(super) rounding: Option<String>,
}

/// Hours of a plan.
pub(super) struct WindowFields {
    pub(super) label: String,
    pub(super) start: String,
    pub(super) end: String,
    pub(super) rate_minor_per_min: i64,
}

/// A party's part of the charge.
pub(super) struct Share {
    pub(super) party: String,
    pub(super) bps: u16,
}

/// Something that happened.
pub(super) struct Event {
    pub(super) at: Moment,
    pub(super) kind: String,
    pub(super) side: Option<String>,
}

const INPUT: [&str; 6] = ["currency", "plan", "settlement", "hold_minor", "shares", "events"];

const PLAN: [&str; 13] = [
    "kind",
    "block_s",
    "price_minor",
    "first_increment_s",
    "increment_s",
    "rate_minor_per_min",
    "tz",
    "windows",
    "cap_s",
    "cap_minor",
    "grace_s",
    "min_charge_minor",
    "rounding",
];

const WINDOW: [&str; 4] = ["label", "start", "end", "rate_minor_per_min"];

impl Input {
    /// The input of an example.
    pub(super) fn read(example: &Value) -> Result<Self> {
        let input = example.get("input").context("the example has no `input`")?;
        let input = Fields::of(input, "input".to_owned())?;
        let share = |share: Fields<'_>| {
            let bps = share
                .required("bps", "a whole number from 0 to 10000", |value| value.as_u64()?.try_into().ok().filter(|bps| *bps <= 10_000))?;
            Ok(Share { party: share.text("party")?, bps })
        };
        let event = |event: Fields<'_>| {
            let moment = |value: &Value| value.as_str()?.parse::<jiff::Timestamp>().ok();
            let at = event.required("at", "a moment like 2026-03-10T12:00:00.000Z", moment)?;
            let at = Moment::from_unix_ms(at.as_millisecond());
            Ok(Event { at, kind: event.text("type")?, side: event.optional_text("side")? })
        };
        Ok(Self {
            currency: input.text("currency")?,
            plan: PlanTerms::of(&input.object("plan")?)?,
            settlement: input.text("settlement")?,
            hold_minor: input.whole("hold_minor")?,
            shares: input.list("shares", share)?.unwrap_or_default(),
            events: input.list("events", event)?.context("input.events is missing: it must be a list")?,
            others: input.map.keys().filter(|name| !INPUT.contains(&name.as_str())).cloned().collect(),
        })
    }
}

impl PlanTerms {
    /// The plan that stands by itself in a record.
    pub(super) fn read(terms: &Value) -> Result<Self> {
        Self::of(&Fields::of(terms, "plan".to_owned())?)
    }

    fn of(plan: &Fields<'_>) -> Result<Self> {
        plan.only(&PLAN)?;
        let window = |window: Fields<'_>| {
            window.only(&WINDOW)?;
            let (label, start, end) = (window.text("label")?, window.text("start")?, window.text("end")?);
            Ok(WindowFields { label, start, end, rate_minor_per_min: window.whole("rate_minor_per_min")? })
        };
        Ok(Self {
            kind: plan.text("kind")?,
            block_s: plan.optional_whole("block_s")?,
            price_minor: plan.optional_whole("price_minor")?,
            first_increment_s: plan.optional_whole("first_increment_s")?,
            increment_s: plan.optional_whole("increment_s")?,
            rate_minor_per_min: plan.optional_whole("rate_minor_per_min")?,
            tz: plan.optional_text("tz")?,
            windows: plan.list("windows", window)?,
            cap_s: plan.optional_whole("cap_s")?,
            cap_minor: plan.optional_whole("cap_minor")?,
            grace_s: plan.optional_whole("grace_s")?.unwrap_or(0),
            min_charge_minor: plan.optional_whole("min_charge_minor")?.unwrap_or(0),
            rounding: plan.optional_text("rounding")?,
        })
    }
}

/// The fields of an object, and where it stands.
struct Fields<'a> {
    map: &'a Map<String, Value>,
    place: String,
}

const WHOLE: &str = "a whole number";
const TEXT: &str = "a text";

impl<'a> Fields<'a> {
    fn of(value: &'a Value, place: String) -> Result<Self> {
        match value {
            Value::Object(map) => Ok(Self { map, place }),
            other => bail!("{place} must be an object, not {}", shown(other)),
        }
    }

    fn only(&self, known: &[&str]) -> Result<()> {
        match self.map.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => bail!("{}.{name}: there is no such field; accepted are: {}", self.place, known.join(", ")),
            None => Ok(()),
        }
    }

    /// A value that must be there; `what` says what it must be.
    fn required<T>(&self, name: &str, what: &str, read: impl Fn(&'a Value) -> Option<T>) -> Result<T> {
        let value = self.map.get(name).with_context(|| format!("{}.{name} is missing: it must be {what}", self.place))?;
        read(value).with_context(|| format!("{}.{name} must be {what}, not {}", self.place, shown(value)))
    }

    /// The same, which may be absent or null.
    fn optional<T>(&self, name: &str, what: &str, read: impl Fn(&'a Value) -> Option<T>) -> Result<Option<T>> {
        if self.map.get(name).is_none_or(Value::is_null) { Ok(None) } else { self.required(name, what, read).map(Some) }
    }

    fn text(&self, name: &str) -> Result<String> {
        self.required(name, TEXT, |value| value.as_str().map(str::to_owned))
    }

    fn optional_text(&self, name: &str) -> Result<Option<String>> {
        self.optional(name, TEXT, |value| value.as_str().map(str::to_owned))
    }

    fn whole(&self, name: &str) -> Result<i64> {
        self.required(name, WHOLE, Value::as_i64)
    }

    fn optional_whole(&self, name: &str) -> Result<Option<i64>> {
        self.optional(name, WHOLE, Value::as_i64)
    }

    fn object(&self, name: &str) -> Result<Self> {
        let map = self.required(name, "an object", Value::as_object)?;
        Ok(Self { map, place: format!("{}.{name}", self.place) })
    }

    /// A list of objects, each read by `read`, which may be absent or null.
    fn list<T>(&self, name: &str, read: impl Fn(Self) -> Result<T>) -> Result<Option<Vec<T>>> {
        let Some(items) = self.optional(name, "a list", Value::as_array)? else { return Ok(None) };
        let item = |(at, item)| read(Self::of(item, format!("{}.{name}[{at}]", self.place))?);
        items.iter().enumerate().map(item).collect::<Result<_>>().map(Some)
    }
}

/// A value in a message, as far as it is short.
fn shown(value: &Value) -> String {
    match value {
        Value::Object(_) => "an object".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        other => {
            let text = other.to_string();
            if text.chars().count() <= 60 { text } else { format!("{}…", text.chars().take(60).collect::<String>()) }
        }
    }
}
