//! Looks settings up by name in the sources, converts them, and remembers each for `lull config`.
//!
//! The sections ask for what they know; so the names that were asked for are the names that exist, and whatever is left in
//! the file or the environment at the end is unknown. A bad value is kept as a problem and its default returned, so that a
//! misspelt name is told first.

use super::{ConfigError, File, Flags, Origin};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::RangeInclusive;
use toml::Value;

/// All variables of ours begin so.
pub(super) const ENV_PREFIX: &str = "LULL_";

/// A value as its source has it.
enum Raw {
    /// From the file, typed.
    Typed(Value),
    /// Text, from the environment; lists are separated by commas.
    Text(String),
    /// The values of a flag.
    Texts(Vec<String>),
}

/// A setting as it is in force.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    key: &'static str,
    value: Option<Value>,
    origin: Origin,
}

/// The sources, and what was found in them so far.
pub(super) struct Reader {
    path: String,
    file: BTreeMap<String, Value>,
    environment: BTreeMap<String, String>,
    flags: BTreeMap<&'static str, (&'static str, Vec<String>)>,
    shown: Vec<Shown>,
    problems: Vec<ConfigError>,
}

impl Reader {
    /// Takes the sources apart into names and values.
    pub(super) fn new(
        file: Option<File<'_>>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: &Flags,
    ) -> Result<Self, ConfigError> {
        let mut values = BTreeMap::new();
        let path = file.map(|file| file.path.display().to_string()).unwrap_or_default();
        if let Some(file) = file {
            let table = file.text.parse::<toml::Table>().map_err(|error| {
                let start = error.span().map_or(0, |span| span.start).min(file.text.len());
                let line = file.text.as_bytes().get(..start).unwrap_or_default().iter().filter(|b| **b == b'\n').count() + 1;
                let why = error.message().lines().collect::<Vec<_>>().join(", ");
                ConfigError::Syntax { path: path.clone(), line, why }
            })?;
            flatten("", table, &mut values);
        }
        Ok(Self {
            path,
            file: values,
            environment: environment.into_iter().filter(|(name, _)| is_ours(name)).collect(),
            flags: flags.given(),
            shown: Vec::new(),
            problems: Vec::new(),
        })
    }

    /// A whole number within bounds.
    pub(super) fn whole(&mut self, key: &'static str, default: i64, range: RangeInclusive<i64>) -> i64 {
        let accepted = format!("a whole number from {} to {}", range.start(), range.end());
        let parse = |raw: &Raw| match raw {
            Raw::Typed(Value::Integer(number)) => Some(*number),
            Raw::Typed(_) => None,
            Raw::Text(text) => text.parse().ok(),
            Raw::Texts(texts) => texts.last().and_then(|text| text.parse().ok()),
        };
        let (found, origin) = self.find(key, &accepted, |raw| parse(raw).filter(|number| range.contains(number)));
        let value = found.unwrap_or(default);
        self.remember(key, Some(Value::Integer(value)), origin);
        value
    }

    /// Yes or no.
    pub(super) fn truth(&mut self, key: &'static str, default: bool) -> bool {
        let (found, origin) = self.find(key, "true or false", |raw| match raw {
            Raw::Typed(value) => value.as_bool(),
            Raw::Text(text) => text.parse().ok(),
            Raw::Texts(texts) => texts.last().and_then(|text| text.parse().ok()),
        });
        let value = found.unwrap_or(default);
        self.remember(key, Some(Value::Boolean(value)), origin);
        value
    }

    /// Whole numbers within bounds, at most `most` of them.
    pub(super) fn wholes(&mut self, key: &'static str, default: &[i64], range: RangeInclusive<i64>, most: usize) -> Vec<i64> {
        let accepted = format!("a list of at most {most} whole numbers from {} to {}", range.start(), range.end());
        let (found, origin) = self.find(key, &accepted, |raw| {
            let numbers = match raw {
                Raw::Typed(Value::Array(items)) => items.iter().map(Value::as_integer).collect::<Option<Vec<_>>>()?,
                Raw::Typed(_) => return None,
                Raw::Text(text) => listed(text).map(|item| item.parse().ok()).collect::<Option<Vec<_>>>()?,
                Raw::Texts(texts) => texts.iter().map(|text| text.parse().ok()).collect::<Option<Vec<_>>>()?,
            };
            (numbers.len() <= most && numbers.iter().all(|number| range.contains(number))).then_some(numbers)
        });
        let value = found.unwrap_or_else(|| default.to_vec());
        self.remember(key, Some(Value::Array(value.iter().map(|number| Value::Integer(*number)).collect())), origin);
        value
    }

    /// A text that `parse` understands.
    pub(super) fn text<T>(
        &mut self,
        key: &'static str,
        default: T,
        accepted: &str,
        parse: impl Fn(&str) -> Option<T>,
        show: impl Fn(&T) -> String,
    ) -> T {
        let (found, origin) = self.find(key, accepted, |raw| raw.one().and_then(&parse));
        let value = found.unwrap_or(default);
        self.remember(key, Some(Value::String(show(&value))), origin);
        value
    }

    /// A text that `parse` understands, or nothing: it has no default.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        accepted: &str,
        parse: impl Fn(&str) -> Option<T>,
        show: impl Fn(&T) -> String,
    ) -> Option<T> {
        let (value, origin) = self.find(key, accepted, |raw| raw.one().and_then(&parse));
        self.remember(key, value.as_ref().map(|value| Value::String(show(value))), origin);
        value
    }

    /// A secret that `parse` understands, or nothing. It is shown nowhere, right or wrong.
    pub(super) fn secret<T>(&mut self, key: &'static str, accepted: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        const HIDDEN: &str = "***";
        let (found, origin) = self.find(key, accepted, |raw| raw.one().and_then(&parse));
        for problem in &mut self.problems {
            if let ConfigError::BadValue { key: bad, value, .. } = problem
                && bad == key
            {
                HIDDEN.clone_into(value);
            }
        }
        self.remember(key, found.as_ref().map(|_| Value::String(HIDDEN.to_owned())), origin);
        found
    }

    /// Texts that `parse` understands; none by default.
    pub(super) fn texts<T>(
        &mut self,
        key: &'static str,
        accepted: &str,
        parse: impl Fn(&str) -> Option<T>,
        show: impl Fn(&T) -> String,
    ) -> Vec<T> {
        let (found, origin) = self.find(key, accepted, |raw| match raw {
            Raw::Typed(Value::Array(items)) => items.iter().map(|item| item.as_str().and_then(&parse)).collect(),
            Raw::Typed(_) => None,
            Raw::Text(text) => listed(text).map(&parse).collect(),
            Raw::Texts(texts) => texts.iter().map(|text| parse(text)).collect(),
        });
        let value: Vec<T> = found.unwrap_or_default();
        self.remember(key, Some(Value::Array(value.iter().map(|item| Value::String(show(item))).collect())), origin);
        value
    }

    /// Settings that contradict each other.
    pub(super) fn conflict(&mut self, why: String) {
        self.problems.push(ConfigError::Conflict(why));
    }

    /// Says that the setting, which nobody set, follows from another.
    pub(super) fn derive(&mut self, key: &'static str, value: String, from: &'static str) {
        if let Some(shown) = self.shown.iter_mut().find(|shown| shown.key == key && shown.value.is_none()) {
            shown.value = Some(Value::String(value));
            shown.origin = Origin::Derived(from);
        }
    }

    /// What is in force, or the first problem: unknown names, then bad values, then contradictions.
    pub(super) fn finish(self) -> Result<Vec<Shown>, ConfigError> {
        let known: Vec<&str> = self.shown.iter().map(|shown| shown.key).collect();
        if let Some(name) = self.file.keys().next() {
            let nearest = nearest(name, known.iter().map(|key| (*key).to_owned()));
            return Err(ConfigError::Unknown { origin: Origin::File(self.path), name: in_one_line(name), nearest });
        }
        if let Some(name) = self.environment.keys().next() {
            let nearest = nearest(name, known.iter().map(|key| variable(key)));
            let name = in_one_line(name);
            return Err(ConfigError::Unknown { origin: Origin::Environment(name.clone()), name, nearest });
        }
        let (conflicts, bad): (Vec<_>, Vec<_>) = self.problems.into_iter().partition(|problem| matches!(problem, ConfigError::Conflict(_)));
        match bad.into_iter().chain(conflicts).next() {
            Some(problem) => Err(problem),
            None => Ok(self.shown),
        }
    }

    /// Takes the setting out of all sources and converts the one that wins.
    fn find<T>(&mut self, key: &'static str, accepted: &str, convert: impl Fn(&Raw) -> Option<T>) -> (Option<T>, Origin) {
        let variable = variable(key);
        let file = self.file.remove(key).map(|value| (Raw::Typed(value), Origin::File(self.path.clone())));
        let environment = self.environment.remove(&variable).map(|text| (Raw::Text(text), Origin::Environment(variable)));
        let flag = self.flags.remove(key).map(|(flag, texts)| (Raw::Texts(texts), Origin::Flag(flag)));
        let Some((raw, origin)) = flag.or(environment).or(file) else { return (None, Origin::Default) };
        let value = convert(&raw);
        if value.is_none() {
            let (key, value, accepted) = (key.to_owned(), raw.shown(), accepted.to_owned());
            self.problems.push(ConfigError::BadValue { origin: origin.clone(), key, value, accepted });
        }
        (value, origin)
    }

    fn remember(&mut self, key: &'static str, value: Option<Value>, origin: Origin) {
        self.shown.push(Shown { key, value, origin });
    }
}

impl Raw {
    /// The one text this is, if it is one.
    fn one(&self) -> Option<&str> {
        match self {
            Raw::Typed(value) => value.as_str(),
            Raw::Text(text) => Some(text),
            Raw::Texts(texts) => texts.last().map(String::as_str),
        }
    }

    /// For a message: as TOML in one line, without passwords.
    fn shown(&self) -> String {
        let text = match self {
            Raw::Typed(value) => without_passwords(value),
            Raw::Text(text) => without_passwords(&Value::String(text.clone())),
            Raw::Texts(texts) => texts.iter().map(|text| without_passwords(&Value::String(text.clone()))).collect::<Vec<_>>().join(" "),
        };
        in_one_line(&text)
    }
}

/// Whether a variable is a setting's. `LULL_KEY` is where programs that call lull keep their API key: it may stand in the
/// same shell and says nothing of the server.
fn is_ours(name: &str) -> bool {
    name.starts_with(ENV_PREFIX) && name != "LULL_KEY"
}

/// A name as it was written, with what would break a line or a terminal shown by its number.
fn in_one_line(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
}

/// The environment variable of a setting.
pub(super) fn variable(key: &str) -> String {
    format!("{ENV_PREFIX}{}", key.replace('.', "_").to_uppercase())
}

/// `{http: {listen: …}}` as `http.listen`. An empty table keeps its name, so that an unknown section is told too.
fn flatten(prefix: &str, table: toml::Table, into: &mut BTreeMap<String, Value>) {
    for (name, value) in table {
        let name = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        match value {
            Value::Table(inner) if !inner.is_empty() => flatten(&name, inner, into),
            value => {
                into.insert(name, value);
            }
        }
    }
}

/// Items between commas; none in an empty text.
fn listed(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(move |_| !text.trim().is_empty())
}

/// Octets of an unknown name that are compared with ours.
const COMPARED: usize = 64;

/// The known name that takes the fewest edits to reach from `name`, also by its key alone (it stands in the wrong section) and, for
/// a name without a section, by the section alone.
fn nearest(name: &str, known: impl Iterator<Item = String>) -> String {
    let parts =
        |name: &str| name.rsplit_once('.').map_or((None, name.to_owned()), |(section, key)| (Some(section.to_owned()), key.to_owned()));
    // What is longer than any of ours is compared by its beginning.
    let name = name.get(..name.ceil_char_boundary(COMPARED)).unwrap_or(name);
    let (section, key) = parts(name);
    let (mut nearest, mut least) = (String::new(), usize::MAX);
    for candidate in known {
        let (own_section, own_key) = parts(&candidate);
        // Each edit changes the length by one at most, so most names need no closer look.
        let mut consider = |a: &str, b: &str, more: usize| {
            if a.chars().count().abs_diff(b.chars().count()) + more < least {
                let distance = strsim::osa_distance(a, b) + more;
                if distance < least {
                    (nearest, least) = (candidate.clone(), distance);
                }
            }
        };
        consider(name, &candidate, 0);
        consider(&key, &own_key, 1);
        if let (None, Some(own)) = (&section, &own_section) {
            consider(&key, own, 1);
        }
    }
    nearest
}

/// A value as TOML, with what stands between `://user:` and `@` in any text replaced by stars.
fn without_passwords(value: &Value) -> String {
    match value {
        Value::String(text) => {
            let hidden = text.split_once("://").and_then(|(scheme, rest)| {
                let (login, host) = rest.rsplit_once('@')?;
                let user = login.split_once(':').map_or("", |(user, _)| user);
                Some(format!("{scheme}://{user}:***@{host}"))
            });
            Value::String(hidden.unwrap_or_else(|| text.clone())).to_string()
        }
        Value::Array(items) => format!("[{}]", items.iter().map(without_passwords).collect::<Vec<_>>().join(", ")),
        Value::Table(_) => "a table".to_owned(),
        value => value.to_string(),
    }
}

/// The settings as a TOML file, each line with its origin; what is not set stands in a comment.
pub(super) fn as_toml(shown: &[Shown]) -> String {
    let mut text = String::new();
    let mut section = "";
    for Shown { key, value, origin } in shown {
        let (own, name) = key.split_once('.').unwrap_or(("", key));
        if own != section {
            let gap = if section.is_empty() { "" } else { "\n" };
            let _ = writeln!(text, "{gap}[{own}]"); // Writing to a String cannot fail.
            section = own;
        }
        let _ = match value {
            Some(value) => writeln!(text, "{name} = {} # {origin}", without_passwords(value)),
            None => writeln!(text, "# {name} is not set"),
        };
    }
    text
}

#[cfg(test)]
impl Shown {
    /// The name of this setting.
    pub(super) fn key(&self) -> &'static str {
        self.key
    }
}
