//! JSON that is only written: names are known beforehand, texts are borrowed where they can be.
//!
//! A record is made anew for each call that is settled, checked or shown, and has some hundred values; as a tree of `serde_json` each
//! name was a piece of memory of its own. It reads nothing. Invariant: no object has a name twice.

use serde_json::Value;
use std::borrow::Cow;

/// A value of JSON.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json<'a> {
    Null,
    Bool(bool),
    Number(i64),
    Text(Cow<'a, str>),
    List(Vec<Json<'a>>),
    Object(Object<'a>),
}

/// Members in any order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Object<'a> {
    members: Vec<(&'static str, Json<'a>)>,
}

/// An object of the values given, each turned into JSON by `Into`.
macro_rules! object {
    ({ $($name:literal: $value:expr),* $(,)? }) => {
        $crate::exchange::json::Json::Object([$(($name, $crate::exchange::json::Json::from($value))),*].into_iter().collect())
    };
}
pub(super) use object;

impl<'a> Object<'a> {
    /// Puts a member in, in the place of one of that name.
    pub(super) fn insert(&mut self, name: &'static str, value: impl Into<Json<'a>>) {
        *self.member(name) = value.into();
    }

    /// Takes a member out.
    pub(super) fn remove(&mut self, name: &str) {
        self.members.retain(|(own, _)| *own != name);
    }

    /// The members by the order of their names in canonical JSON; all are ASCII, so bytes do.
    pub(super) fn sorted(&self) -> impl ExactSizeIterator<Item = (&'static str, &Json<'a>)> {
        let mut members: Vec<_> = self.members.iter().map(|(name, value)| (*name, value)).collect();
        members.sort_unstable_by_key(|(name, _)| *name);
        members.into_iter()
    }

    /// Where a member is; one that was not there is null.
    fn member(&mut self, name: &'static str) -> &mut Json<'a> {
        let place = self.members.iter().position(|(own, _)| *own == name).unwrap_or_else(|| {
            self.members.push((name, Json::Null));
            self.members.len() - 1
        });
        &mut self.members[place].1
    }
}

impl<'a> Json<'a> {
    /// Puts a member into an object, in the place of one of that name; nothing else has members.
    pub(super) fn put(&mut self, name: &'static str, value: impl Into<Json<'a>>) {
        if let Json::Object(object) = self {
            object.insert(name, value);
        }
    }
}

impl<'a> FromIterator<(&'static str, Json<'a>)> for Object<'a> {
    fn from_iter<T: IntoIterator<Item = (&'static str, Json<'a>)>>(members: T) -> Self {
        Self { members: members.into_iter().collect() }
    }
}

impl From<Json<'_>> for Value {
    fn from(json: Json<'_>) -> Self {
        match json {
            Json::Null => Value::Null,
            Json::Bool(is_true) => Value::Bool(is_true),
            Json::Number(number) => Value::from(number),
            Json::Text(text) => Value::String(text.into_owned()),
            Json::List(items) => items.into_iter().map(Value::from).collect(),
            Json::Object(object) => {
                Value::Object(object.members.into_iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect())
            }
        }
    }
}

impl From<bool> for Json<'_> {
    fn from(is_true: bool) -> Self {
        Self::Bool(is_true)
    }
}

/// Whole numbers that fit.
macro_rules! numbers {
    ($($number:ty),*) => {
        $(impl From<$number> for Json<'_> {
            fn from(number: $number) -> Self {
                Self::Number(number.into())
            }
        })*
    };
}
numbers!(i64, i32, u32, u16, u8);

impl From<u64> for Json<'_> {
    /// Counts; nothing here comes near the end of them.
    fn from(number: u64) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl<'a> From<&'a str> for Json<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Json<'_> {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl<'a> From<Object<'a>> for Json<'a> {
    fn from(object: Object<'a>) -> Self {
        Self::Object(object)
    }
}

impl<'a, T: Into<Json<'a>>> From<Option<T>> for Json<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl<'a, T: Into<Json<'a>>> From<Vec<T>> for Json<'a> {
    fn from(items: Vec<T>) -> Self {
        items.into_iter().collect()
    }
}

impl<'a, T: Into<Json<'a>>> FromIterator<T> for Json<'a> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}
