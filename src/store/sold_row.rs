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
    /// Not a word for a rounding.
    #[error("not a plan: there is no rounding {0:?}")]
    Rounding(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SoldRow {
    #[serde(flatten)]
    kind: KindRow,
    #[serde(default, skip_serializing_if = "is_zero")]
    grace_s: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    min_charge_minor: i64,
    rounding: String,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum KindRow {
    Block {
        block_s: i64,
        price_minor: i64,
    },
    Flat {
        price_minor: i64,
    },
    PerMinute {
        #[serde(flatten)]
        increments: IncrementsRow,
    },
    UntilAsleep {
        #[serde(flatten)]
        increments: IncrementsRow,
        #[serde(skip_serializing_if = "Option::is_none")]
        cap_s: Option<i64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cap_minor: Option<i64>,
    },
}

#[derive(Serialize, Deserialize)]
struct IncrementsRow {
    first_increment_s: i64,
    increment_s: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate_minor_per_min: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tz: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    windows: Vec<WindowRow>,
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
        let kind = match plan.kind() {
            Kind::Block { block_s, price } => KindRow::Block { block_s: *block_s, price_minor: *price },
            Kind::Flat { price } => KindRow::Flat { price_minor: *price },
            Kind::PerMinute(increments) => KindRow::PerMinute { increments: increments.into() },
            Kind::UntilAsleep { increments, cap_s, cap } => {
                KindRow::UntilAsleep { increments: increments.into(), cap_s: *cap_s, cap_minor: *cap }
            }
        };
        Self { kind, grace_s, min_charge_minor: minimum, rounding: rounding.name().to_owned() }
    }
}

impl SoldRow {
    pub(super) fn read(self, currency: Currency) -> Result<Plan, SoldRowError> {
        let rounding = Rounding::ALL.into_iter().find(|rounding| rounding.name() == self.rounding);
        let rounding = rounding.ok_or(SoldRowError::Rounding(self.rounding))?;
        let kind = match self.kind {
            KindRow::Block { block_s, price_minor } => Kind::Block { block_s, price: price_minor },
            KindRow::Flat { price_minor } => Kind::Flat { price: price_minor },
            KindRow::PerMinute { increments } => Kind::PerMinute(increments.read()?),
            KindRow::UntilAsleep { increments, cap_s, cap_minor } => {
                Kind::UntilAsleep { increments: increments.read()?, cap_s, cap: cap_minor }
            }
        };
        let conditions = Conditions { grace_s: self.grace_s, minimum: self.min_charge_minor, rounding };
        Ok(Plan::new(currency, kind, conditions)?)
    }
}

impl From<&Increments> for IncrementsRow {
    fn from(increments: &Increments) -> Self {
        let rates = &increments.rates;
        let mut row = Self {
            first_increment_s: increments.first_s,
            increment_s: increments.later_s,
            rate_minor_per_min: None,
            tz: rates.zone().map(str::to_owned),
            windows: Vec::new(),
        };
        for (label, start, end, rate) in rates.windows() {
            if row.tz.is_some() {
                row.windows.push(WindowRow { label: label.to_owned(), start, end, rate_minor_per_min: rate });
            } else {
                row.rate_minor_per_min = Some(rate);
            }
        }
        row
    }
}

impl IncrementsRow {
    fn read(self) -> Result<Increments, SoldRowError> {
        let rates = match (&self.tz, self.rate_minor_per_min) {
            (None, rate) => Rates::one(rate.unwrap_or(-1))?,
            (Some(zone), _) => {
                let window = |row: &'_ WindowRow| (row.label.clone(), row.start.clone(), row.end.clone(), row.rate_minor_per_min);
                let windows: Vec<_> = self.windows.iter().map(window).collect();
                let terms: Vec<WindowTerms<'_>> =
                    windows.iter().map(|(label, start, end, rate)| WindowTerms { label, start, end, rate: *rate }).collect();
                Rates::by_window(zone, &terms)?
            }
        };
        Ok(Increments { first_s: self.first_increment_s, later_s: self.increment_s, rates })
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
            r#"{"kind":"block","block_s":0,"price_minor":1,"rounding":"down"}"#,
            r#"{"kind":"flat","price_minor":1,"rounding":"up"}"#,
        ] {
            assert!(decode(text, currency).is_err(), "{text}");
        }
    }
}
