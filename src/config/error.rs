//! What can be wrong with settings, each as one line that a person can act on.

use std::fmt;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// It follows from another setting.
    Derived(&'static str),
    /// The settings file of this name.
    File(String),
    /// The environment variable of this name.
    Environment(String),
    /// The flag of this name.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::Derived(from) => write!(f, "from {from}"),
            Origin::File(path) => write!(f, "file {path}"),
            Origin::Environment(name) => write!(f, "environment {name}"),
            Origin::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// Why the settings cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The settings file cannot be read.
    #[error("cannot read {path}: {why}")]
    Unreadable { path: String, why: String },
    /// The settings file is not TOML.
    #[error("{path}, line {line}: {why}")]
    Syntax { path: String, line: usize, why: String },
    /// An environment variable is not UTF-8.
    #[error("environment {name}: not UTF-8 text")]
    NotText { name: String },
    /// A name that no setting has.
    #[error("{origin}: there is no setting {name}; the nearest is {nearest}")]
    Unknown { origin: Origin, name: String, nearest: String },
    /// A value of a wrong type or out of range. `value` holds no password.
    #[error("{origin}: {key} is {value}; accepted is {accepted}")]
    BadValue { origin: Origin, key: String, value: String, accepted: String },
    /// Settings that are right alone and wrong together.
    #[error("{0}")]
    Conflict(String),
}
