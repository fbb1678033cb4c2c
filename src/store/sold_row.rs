//! What was sold as JSON text, the form in which plans and terms keep it for ever.
//!
//! The names are those of `fixtures/rating/examples.json`. A further field needs a default: what was written before is read on.

use crate::billing::{Conditions, Increments, Kind, Plan, PlanError, Rates, RatesError, Rounding, WindowTerms};
use crate::money::Currency;
use serde::{Deserialize, Serialize};

/// Why a text is no plan.
#[derive(Debug, thiserror::Error)]
pub(super) enum SoldRowError {
    /// Not the JSON of one.
    #[error("not a plan: {0}")]
    Json(#[from] serde_json::Error),
    /// One that cannot be rated.
    #[error("not a plan: {0}")]
    Plan(#[from] PlanError),
    /// The same, for its rates.
    #[error("not a plan: {0}")]
    Rates(#[from] RatesError),
    /// Not a kind or a rounding.
    #[error("not a plan: there is no {0:?}")]
    Word(String),
    /// Without what its kind needs.
    #[error("not a plan: {0} is missing")]
    Missing(&'static str),
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SoldRow {
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    block_s: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    price_minor: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first_increment_s: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    increment_s: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rate_minor_per_min: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tz: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    windows: Vec<WindowRow>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cap_s: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cap_minor: Option<i64>,
    #[serde(default, skip_serializing_if = "is_zero")]
    grace_s: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    min_charge_minor: i64,
    rounding: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WindowRow {
    label: String,
    start: String,
    end: String,
    rate_minor_per_min: i64,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// The text of what was sold.
pub(super) fn encode(plan: &Plan) -> String {
    // Strings, numbers and lists only: this cannot fail.
    serde_json::to_string(&SoldRow::from(plan)).unwrap_or_default()
}

/// What was sold, of a text.
pub(super) fn decode(text: &str, currency: Currency) -> Result<Plan, SoldRowError> {
    serde_json::from_str::<SoldRow>(text)?.read(currency)
}

impl From<&Plan> for SoldRow {
    fn from(plan: &Plan) -> Self {
        let Conditions { grace_s, minimum, rounding } = plan.conditions();
        let row = Self { grace_s, min_charge_minor: minimum, rounding: rounding.name().to_owned(), ..Self::default() };
        match plan.kind() {
            Kind::Block { block_s, price } => Self { kind: "block".to_owned(), block_s: Some(*block_s), price_minor: Some(*price), ..row },
            Kind::Flat { price } => Self { kind: "flat".to_owned(), price_minor: Some(*price), ..row },
            Kind::PerMinute(increments) => Self { kind: "per_minute".to_owned(), ..row.metered(increments) },
            Kind::UntilAsleep { increments, cap_s, cap } => {
                Self { kind: "until_asleep".to_owned(), cap_s: *cap_s, cap_minor: *cap, ..row.metered(increments) }
            }
        }
    }
}

impl SoldRow {
    fn metered(self, increments: &Increments) -> Self {
        let rates = &increments.rates;
        let mut row = Self { first_increment_s: Some(increments.first_s), increment_s: Some(increments.later_s), ..self };
        row.tz = rates.zone().map(str::to_owned);
        for (label, start, end, rate_minor_per_min) in rates.windows() {
            match row.tz {
                Some(_) => row.windows.push(WindowRow { label: label.to_owned(), start, end, rate_minor_per_min }),
                None => row.rate_minor_per_min = Some(rate_minor_per_min),
            }
        }
        row
    }

    pub(super) fn read(self, currency: Currency) -> Result<Plan, SoldRowError> {
        let rounding = Rounding::ALL.into_iter().find(|rounding| rounding.name() == self.rounding);
        let rounding = rounding.ok_or_else(|| SoldRowError::Word(self.rounding.clone()))?;
        let need = |field: Option<i64>, name| field.ok_or(SoldRowError::Missing(name));
        let kind = match self.kind.as_str() {
            "block" => Kind::Block { block_s: need(self.block_s, "block_s")?, price: need(self.price_minor, "price_minor")? },
            "flat" => Kind::Flat { price: need(self.price_minor, "price_minor")? },
            "per_minute" => Kind::PerMinute(self.increments()?),
            "until_asleep" => Kind::UntilAsleep { increments: self.increments()?, cap_s: self.cap_s, cap: self.cap_minor },
            other => return Err(SoldRowError::Word(other.to_owned())),
        };
        let conditions = Conditions { grace_s: self.grace_s, minimum: self.min_charge_minor, rounding };
        Ok(Plan::new(currency, kind, conditions)?)
    }

    fn increments<'a>(&'a self) -> Result<Increments, SoldRowError> {
        let need = |field: Option<i64>, name| field.ok_or(SoldRowError::Missing(name));
        let rates = match &self.tz {
            None => Rates::one(need(self.rate_minor_per_min, "rate_minor_per_min")?)?,
            Some(zone) => {
                let window =
                    |row: &'a WindowRow| WindowTerms { label: &row.label, start: &row.start, end: &row.end, rate: row.rate_minor_per_min };
                Rates::by_window(zone, &self.windows.iter().map(window).collect::<Vec<_>>())?
            }
        };
        Ok(Increments {
            first_s: need(self.first_increment_s, "first_increment_s")?,
            later_s: need(self.increment_s, "increment_s")?,
            rates,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_plan_reads_back() {
        let currency: Currency = "CNY".parse().unwrap();
        for text in [
            r#"{"kind":"block","block_s":900,"price_minor":2000,"rounding":"down"}"#,
            r#"{"kind":"flat","price_minor":500,"grace_s":30,"rounding":"down"}"#,
            r#"{"kind":"per_minute","first_increment_s":60,"increment_s":6,"rate_minor_per_min":300,"min_charge_minor":100,"rounding":"half_up"}"#,
            r#"{"kind":"until_asleep","first_increment_s":1,"increment_s":1,"tz":"Asia/Shanghai","windows":[{"label":"day","start":"08:00","end":"23:00","rate_minor_per_min":300},{"label":"night","start":"23:00","end":"08:00","rate_minor_per_min":180}],"cap_s":32400,"cap_minor":60000,"rounding":"half_even"}"#,
        ] {
            let plan = decode(text, currency).unwrap();
            assert_eq!(encode(&plan), text);
        }
        for text in [
            "",
            "{}",
            r#"{"kind":"barter","rounding":"down"}"#,
            r#"{"kind":"flat","rounding":"down"}"#,
            r#"{"kind":"flat","price_minor":1,"rounding":"down","discount":1}"#,
            r#"{"kind":"block","block_s":0,"price_minor":1,"rounding":"down"}"#,
            r#"{"kind":"flat","price_minor":1,"rounding":"up"}"#,
        ] {
            assert!(decode(text, currency).is_err(), "{text}");
        }
    }
}
