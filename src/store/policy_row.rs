//! A settlement policy as JSON text, in a vendor's row and in the terms of each call.
//!
//! It says what differs from the defaults and nothing else. If the defaults ever change, rows get a field that names
//! theirs; without one they mean the defaults of today, so what was agreed stays agreed.

use crate::call::{Ending, Policy, PolicyError, Rule, Sold};
use crate::clock::Span;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Why a text is no policy.
#[derive(Debug, thiserror::Error)]
pub(super) enum PolicyRowError {
    /// Not the JSON of one.
    #[error("not a settlement policy: {0}")]
    Json(#[from] serde_json::Error),
    /// One that no vendor may have.
    #[error("not a settlement policy: {0}")]
    Policy(#[from] PolicyError),
    /// A word of another lull, or of nobody.
    #[error("not a settlement policy: there is no {0:?}")]
    Word(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicyRow {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    flat_min_s: Option<i64>,
    /// By ending, then by what was sold.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    rules: BTreeMap<String, BTreeMap<String, String>>,
}

/// The text of a policy.
pub(super) fn encode(policy: &Policy) -> String {
    // Strings, numbers and maps only: this cannot fail.
    PolicyRow::of(policy).map_or_else(|| "{}".to_owned(), |row| serde_json::to_string(&row).unwrap_or_default())
}

/// The policy of a text.
pub(super) fn decode(text: &str) -> Result<Policy, PolicyRowError> {
    serde_json::from_str::<PolicyRow>(text)?.read()
}

impl PolicyRow {
    /// None for the defaults.
    pub(super) fn of(policy: &Policy) -> Option<Self> {
        let default = Policy::default();
        let mut rules: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for ending in Ending::ALL {
            for sold in Sold::ALL {
                let rule = policy.rule(ending, sold);
                if rule != default.rule(ending, sold) {
                    rules.entry(ending.name().to_owned()).or_default().insert(sold.name().to_owned(), rule.name().to_owned());
                }
            }
        }
        let flat_min_s = (policy.flat_min() != default.flat_min()).then(|| policy.flat_min().whole_s());
        (*policy != default).then_some(Self { flat_min_s, rules })
    }

    pub(super) fn read(self) -> Result<Policy, PolicyRowError> {
        let mut policy = Policy::default();
        if let Some(seconds) = self.flat_min_s {
            policy = policy.with_flat_min(Span::from_s(seconds))?;
        }
        for (ending, cells) in self.rules {
            let ending = word(&ending, &Ending::ALL, Ending::name)?;
            for (sold, rule) in cells {
                policy = policy.with(ending, word(&sold, &Sold::ALL, Sold::name)?, word(&rule, &Rule::ALL, Rule::name)?)?;
            }
        }
        Ok(policy)
    }
}

fn word<T: Copy>(text: &str, all: &[T], name: impl Fn(T) -> &'static str) -> Result<T, PolicyRowError> {
    all.iter().copied().find(|known| name(*known) == text).ok_or_else(|| PolicyRowError::Word(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_reads_back() {
        assert_eq!(encode(&Policy::default()), "{}");
        assert_eq!(decode("{}").unwrap(), Policy::default());
        let text = r#"{"flat_min_s":900,"rules":{"client_left":{"block":"exact_delivered","flat":"free_below_min"},"server_fault":{"metered":"free"}}}"#;
        assert_eq!(encode(&decode(text).unwrap()), text);
        for text in [
            "",
            r#"{"flat_min":900}"#,
            r#"{"flat_min_s":1}"#,
            r#"{"rules":{"bored":{"block":"free"}}}"#,
            r#"{"rules":{"client_left":{"video":"free"}}}"#,
            r#"{"rules":{"client_left":{"block":"double"}}}"#,
            r#"{"rules":{"server_fault":{"block":"as_rated"}}}"#,
        ] {
            assert!(decode(text).is_err(), "{text}");
        }
    }
}
