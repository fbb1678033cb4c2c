//! Reading JSON strictly: one spelling of a body has one meaning, and one hash.
//!
//! A repeated field is refused (RFC 8259 section 4 leaves open which one counts; with money it must not). Objects come
//! out sorted by name, so that a value's text is the same however the caller ordered it.

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::collections::BTreeMap;
use std::fmt;

/// The one JSON value of a body; an error if a field stands there twice.
pub fn parse(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    serde_json::from_slice::<Strict>(bytes).map(|strict| strict.0)
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number out of range"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Strict(value)) = seq.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = BTreeMap::new();
        while let Some((name, Strict(value))) = map.next_entry::<String, Strict>()? {
            if fields.contains_key(&name) {
                return Err(A::Error::custom(format_args!("the field {name:?} stands there twice")));
            }
            fields.insert(name, value);
        }
        Ok(Value::Object(fields.into_iter().collect::<Map<_, _>>()))
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn the_order_of_fields_and_spaces_do_not_matter() {
        let one = parse(br#"{"b": [1, {"y": null, "x": true}], "a": -2.5}"#).unwrap();
        let other = parse(br#"{"a":-2.5,"b":[1,{"x":true,"y":null}]}"#).unwrap();
        assert_eq!(one.to_string(), other.to_string());
    }

    #[test]
    fn a_field_that_stands_there_twice_is_refused_at_any_depth() {
        let twice = parse(br#"{"amount": 1, "amount": 2}"#).unwrap_err().to_string();
        assert!(twice.starts_with("the field \"amount\" stands there twice at line 1"), "{twice}");
        assert!(parse(br#"{"price": {"amount": 1, "amount": 1}}"#).is_err());
        assert!(parse(&b"[".repeat(10_000)).is_err());
    }
}
