//! The fields of a body, each taken by name and checked for form; what is wrong is said with the field and what is accepted.
//!
//! It does not know whether a currency, a plan or a client exists: that is the house's business.

use crate::message::Amount;
use crate::problem::Problem;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// The largest whole number that every JSON reader keeps exact: 2^53 - 1 (RFC 8259 section 6).
pub(super) const WHOLE_MAX: i64 = 9_007_199_254_740_991;

/// An order's name may have this many characters.
pub(super) const ORDER_MAX: usize = 100;

/// What a text may be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Text {
    /// For people, in any script, up to so many characters.
    Free { max: usize },
    /// A vendor's name for an order: the same, and without spaces at its ends, which nobody sees and which would make it another order.
    Order,
    /// An id of ours or a code: visible ASCII.
    Id,
    /// A vendor's name for a client, which stands in paths.
    ClientRef,
}

impl Text {
    /// The sentence's end: what is accepted.
    fn accepted(self) -> String {
        match self {
            Text::Free { max } => format!("a text of 1 to {max} characters, no control characters, not only spaces"),
            Text::Order => format!("a text of 1 to {ORDER_MAX} characters, no control characters, no spaces at its ends"),
            Text::Id => "an id: 1 to 64 visible ASCII characters".to_owned(),
            Text::ClientRef => "1 to 64 characters of A-Z a-z 0-9 . _ : @ -".to_owned(),
        }
    }

    /// Whether `text` is of this form.
    pub(super) fn fits(self, text: &str) -> bool {
        match self {
            Text::Free { max } => {
                // U+2028 and U+2029 break lines like control characters do.
                let breaks = |c: char| c.is_control() || c == '\u{2028}' || c == '\u{2029}';
                text.chars().count() <= max && !text.trim().is_empty() && !text.chars().any(breaks)
            }
            Text::Order => Text::Free { max: ORDER_MAX }.fits(text) && text.trim().len() == text.len(),
            Text::Id => (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()),
            Text::ClientRef => (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:@-".contains(&b)),
        }
    }
}

/// A body's fields, not yet looked at.
#[derive(Debug)]
pub(super) struct Fields {
    map: Map<String, Value>,
    /// In front of names in refusals: `price.` for the fields of `price`.
    within: Cow<'static, str>,
}

impl Fields {
    /// The fields of an object that may have these and no others.
    pub(super) fn of(body: Value, known: &[&'static str]) -> Result<Self, Problem> {
        Self::within(Cow::Borrowed(""), body, known)
    }

    fn within(within: Cow<'static, str>, body: Value, known: &[&'static str]) -> Result<Self, Problem> {
        let Value::Object(map) = body else {
            return Err(Problem::new(crate::code::Code::InvalidRequest, "the body must be a JSON object"));
        };
        if let Some(name) = map.keys().find(|name| !known.contains(&name.as_str())) {
            let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
            let accepted = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(Problem::field(format!("{within}{shown}"), format!("there is no such field; accepted are: {accepted}")));
        }
        Ok(Self { map, within })
    }

    fn refused(&self, name: &str, what: &str) -> Problem {
        Problem::field(format!("{}{name}", self.within), format!("`{}{name}` {what}", self.within))
    }

    fn required<T>(&self, name: &str, accepted: &str, value: Option<T>) -> Result<T, Problem> {
        value.ok_or_else(|| self.refused(name, &format!("is required: {accepted}")))
    }

    /// A text that may be absent; `null` is absent too, since that is how answers show it.
    pub(super) fn optional_text(&mut self, name: &'static str, form: Text) -> Result<Option<String>, Problem> {
        match self.map.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if form.fits(&text) => Ok(Some(text)),
            Some(_) => Err(self.refused(name, &format!("must be {}", form.accepted()))),
        }
    }

    /// A text.
    pub(super) fn text(&mut self, name: &'static str, form: Text) -> Result<String, Problem> {
        let text = self.optional_text(name, form)?;
        self.required(name, &form.accepted(), text)
    }

    /// A whole number that may be absent. `2.0` and `2e0` are not whole numbers here: who writes them may write 2.5 next.
    pub(super) fn optional_whole(&mut self, name: &'static str, range: RangeInclusive<i64>) -> Result<Option<i64>, Problem> {
        match self.map.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Number(number)) if number.as_i64().is_some_and(|n| range.contains(&n)) => Ok(number.as_i64()),
            Some(_) => Err(self.refused(name, &format!("must be a whole number from {} to {}", range.start(), range.end()))),
        }
    }

    /// A whole number.
    pub(super) fn whole(&mut self, name: &'static str, range: RangeInclusive<i64>) -> Result<i64, Problem> {
        let accepted = format!("a whole number from {} to {}", range.start(), range.end());
        let number = self.optional_whole(name, range)?;
        self.required(name, &accepted, number)
    }

    /// True or false, which may be absent.
    pub(super) fn optional_flag(&mut self, name: &'static str) -> Result<Option<bool>, Problem> {
        match self.map.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(self.refused(name, "must be true or false")),
        }
    }

    /// One of a few words, which may be absent.
    pub(super) fn optional_choice<T: Copy>(&mut self, name: &'static str, words: &[(&str, T)]) -> Result<Option<T>, Problem> {
        match self.map.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match words.iter().find(|(word, _)| value.as_str() == Some(word)) {
                Some((_, chosen)) => Ok(Some(*chosen)),
                None => Err(self.refused(name, &format!("must be {}", one_of(words)))),
            },
        }
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, name: &'static str, words: &[(&str, T)]) -> Result<T, Problem> {
        let chosen = self.optional_choice(name, words)?;
        self.required(name, &one_of(words), chosen)
    }

    /// Whether the field stands there, be it as `null`.
    pub(super) fn is_given(&self, name: &str) -> bool {
        self.map.contains_key(name)
    }

    /// A list of some of these words, each once; it may be absent.
    pub(super) fn optional_words(&mut self, name: &'static str, words: &[&str]) -> Result<Option<Vec<String>>, Problem> {
        let items = match self.map.remove(name) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Array(items)) => items,
            Some(_) => Vec::from([Value::Null]),
        };
        let mut chosen: Vec<String> = Vec::new();
        for item in &items {
            match item.as_str() {
                Some(word) if words.contains(&word) && !chosen.iter().any(|other| other == word) => chosen.push(word.to_owned()),
                _ => return Err(self.refused(name, &format!("must be a list of some of these, each once: {}", words.join(", ")))),
            }
        }
        Ok(Some(chosen))
    }

    /// Money above zero. `inner` is the name with a dot, for refusals of its fields.
    pub(super) fn amount(&mut self, name: &'static str, inner: &'static str) -> Result<Amount, Problem> {
        let amount = self.optional_amount(name, inner)?;
        self.required(name, AMOUNT, amount)
    }

    /// The same, which may be absent.
    pub(super) fn optional_amount(&mut self, name: &'static str, inner: &'static str) -> Result<Option<Amount>, Problem> {
        let object = match self.map.remove(name) {
            Some(object @ Value::Object(_)) => object,
            None | Some(Value::Null) => return Ok(None),
            Some(_) => return Err(self.refused(name, &format!("must be {AMOUNT}"))),
        };
        let mut fields = Fields::within(Cow::Borrowed(inner), object, &["amount", "currency"])?;
        let amount = fields.whole("amount", 1..=WHOLE_MAX)?;
        let currency = fields.optional_currency("currency")?;
        Ok(Some(Amount { amount, currency: fields.required("currency", CURRENCY, currency)? }))
    }

    /// A currency's code.
    pub(super) fn optional_currency(&mut self, name: &'static str) -> Result<Option<String>, Problem> {
        match self.map.remove(name) {
            Some(Value::String(text)) if text.len() == 3 && text.bytes().all(|b| b.is_ascii_uppercase()) => Ok(Some(text)),
            None | Some(Value::Null) => Ok(None),
            Some(_) => Err(self.refused(name, &format!("must be {CURRENCY}"))),
        }
    }

    /// A list of 1 to `max` objects with these fields, each read by `read`; it may be absent.
    pub(super) fn optional_list<T>(
        &mut self,
        name: &'static str,
        max: usize,
        known: &[&'static str],
        read: impl Fn(&mut Fields) -> Result<T, Problem>,
    ) -> Result<Option<Vec<T>>, Problem> {
        match self.map.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Array(items)) if (1..=max).contains(&items.len()) && items.iter().all(Value::is_object) => {
                let item = |(at, item)| read(&mut Fields::within(Cow::Owned(format!("{name}[{at}].")), item, known)?);
                items.into_iter().enumerate().map(item).collect::<Result<_, _>>().map(Some)
            }
            Some(_) => Err(self.refused(name, &format!("must be a list of 1 to {max} objects with {}", known.join(", ")))),
        }
    }

    /// The word of a field, before the others are looked at.
    pub(super) fn peek(body: &Value, name: &str) -> Option<String> {
        body.get(name).and_then(Value::as_str).map(str::to_owned)
    }

    /// An object of objects of words, like `{"client_left": {"block": "free"}}`; absent is empty. Whether the words are known
    /// is the house's business.
    pub(super) fn words(&mut self, name: &'static str) -> Result<BTreeMap<String, BTreeMap<String, String>>, Problem> {
        let value = self.map.remove(name).filter(|value| !value.is_null());
        let words = value.map_or_else(|| Ok(BTreeMap::new()), serde_json::from_value);
        let words: BTreeMap<String, BTreeMap<String, String>> =
            words.map_err(|_| self.refused(name, "must be an object like {\"client_left\": {\"block\": \"exact_delivered\"}}"))?;
        let is_word = |word: &String| (1..=64).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        let cells = words.values().flatten().flat_map(|(column, rule)| [column, rule]);
        if !words.keys().chain(cells).all(is_word) {
            return Err(self.refused(name, "has words of lower-case letters and `_` only"));
        }
        Ok(words)
    }
}

const AMOUNT: &str = "an object like {\"amount\": 2000, \"currency\": \"CNY\"}, the amount in minor units";

const CURRENCY: &str = "three upper-case letters of ISO 4217, like CNY";

fn one_of<T>(words: &[(&str, T)]) -> String {
    let words: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
    words.join(" or ")
}
