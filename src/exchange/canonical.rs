//! One spelling of a JSON value, so that equal records are equal bytes (RFC 8785, for whole numbers).
//!
//! Object keys are sorted by their UTF-16 units (section 3.2.3), nothing stands between tokens, strings are escaped as little as
//! JSON allows (section 3.2.2.2). Records hold no fractions and nothing above 2^53 - 1, for which the RFC would want the number
//! formatting of ECMAScript: [`is_plain`] tells a foreign text that does.

use super::json::{Json, Object};
use crate::money::Money;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::fmt;

/// Room for the text of most records, in bytes.
const ROOM: usize = 4096;

/// The canonical text of a value.
pub(super) fn text(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

/// The canonical text of what is only written.
pub(super) fn json_text(value: &Json<'_>) -> String {
    let mut out = String::with_capacity(ROOM);
    write_json(value, &mut out);
    out
}

/// The canonical text of an object with one field more, and what that is: the [`hash`] of the text without it. The object has no
/// field `hash` yet.
pub(super) fn closed(map: &Map<String, Value>) -> (String, String) {
    close(map.is_empty(), |out, before| write_object(map, out, before))
}

/// [`closed`] of what is only written.
pub(super) fn closed_json(object: &Object<'_>) -> (String, String) {
    close(object.sorted().len() == 0, |out, before| write_members(object.sorted(), out, before, write_json))
}

/// Closes what `write` writes; it calls what it is given before each member.
fn close(is_empty: bool, write: impl FnOnce(&mut String, &mut dyn FnMut(&str, &String))) -> (String, String) {
    let mut out = String::with_capacity(ROOM);
    let mut place = None;
    write(&mut out, &mut |name, out| {
        if place.is_none() && is_before("hash", name) {
            place = Some(out.len());
        }
    });
    let hash = hash(&out);
    match place {
        Some(place) => out.insert_str(place, &format!(r#""hash":"{hash}","#)),
        None => out.insert_str(out.len() - 1, &format!(r#"{}"hash":"{hash}""#, if is_empty { "" } else { "," })),
    }
    (out, hash)
}

/// Whether all numbers of a value are whole and exact in any reader's hands (RFC 7493 section 2.2).
pub(super) fn is_plain(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.as_i64().is_some_and(|number| number.unsigned_abs() <= Money::MAX_AMOUNT.unsigned_abs()),
        Value::Array(items) => items.iter().all(is_plain),
        Value::Object(members) => members.values().all(is_plain),
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}

/// SHA-256 of a text, in lower-case hex.
pub(super) fn hash(text: &str) -> String {
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(text.as_bytes()) {
        let digits = [byte >> 4, byte & 15].map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]));
        hex.extend(digits);
    }
    hex
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => write_object(map, out, &mut |_, _| {}),
        Value::Array(items) => write_list(items, out, write),
        Value::String(text) => write_string(text, out),
        Value::Number(number) => append(out, number),
        Value::Bool(is_true) => append(out, is_true),
        Value::Null => out.push_str("null"),
    }
}

fn write_json(value: &Json<'_>, out: &mut String) {
    match value {
        Json::Object(object) => write_members(object.sorted(), out, &mut |_, _| {}, write_json),
        Json::List(items) => write_list(items, out, write_json),
        Json::Text(text) => write_string(text, out),
        Json::Number(number) => append(out, number),
        Json::Bool(is_true) => append(out, is_true),
        Json::Null => out.push_str("null"),
    }
}

fn write_list<V>(items: &[V], out: &mut String, write: impl Fn(&V, &mut String)) {
    out.push('[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write(item, out);
    }
    out.push(']');
}

/// `before` is called with the name of each member, where it is about to be written.
fn write_object(map: &Map<String, Value>, out: &mut String, before: &mut dyn FnMut(&str, &String)) {
    // As bytes and as UTF-16 units, names of ASCII have the same order.
    if map.keys().all(|name| name.is_ascii()) && map.keys().is_sorted() {
        write_members(map.iter().map(|(name, value)| (name.as_str(), value)), out, before, write);
    } else {
        let mut members: Vec<_> = map.iter().map(|(name, value)| (name.as_str(), value)).collect();
        members.sort_by(|(one, _), (other, _)| one.encode_utf16().cmp(other.encode_utf16()));
        write_members(members.into_iter(), out, before, write);
    }
}

/// Members in their order; `before` as above.
fn write_members<'n, 'v, V: 'v>(
    members: impl Iterator<Item = (&'n str, &'v V)>,
    out: &mut String,
    before: &mut dyn FnMut(&str, &String),
    write: impl Fn(&V, &mut String),
) {
    out.push('{');
    for (index, (name, value)) in members.enumerate() {
        if index > 0 {
            out.push(',');
        }
        before(name, out);
        write_string(name, out);
        out.push(':');
        write(value, out);
    }
    out.push('}');
}

fn is_before(one: &str, other: &str) -> bool {
    one.encode_utf16().lt(other.encode_utf16())
}

/// A string between quotes.
fn write_string(text: &str, out: &mut String) {
    if text.bytes().all(|byte| byte >= b' ' && !matches!(byte, b'"' | b'\\')) {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        append(out, &Value::from(text));
    }
}

fn append(out: &mut String, shown: &impl fmt::Display) {
    use fmt::Write;
    // A string takes whatever is written to it.
    let _ = write!(out, "{shown}");
}

#[cfg(test)]
mod tests {
    use super::super::json::object;
    use super::*;
    use serde_json::json;

    #[test]
    fn equal_values_are_equal_bytes() {
        let value = json!({"b": [1, null, true], "a": {"z": "\u{1}\"€\n", "k": -3}, "aa": ""});
        assert_eq!(text(&value), r#"{"a":{"k":-3,"z":"\u0001\"€\n"},"aa":"","b":[1,null,true]}"#);
    }

    #[test]
    fn a_closed_object_is_one_with_its_hash() {
        for value in [
            json!({}),
            json!({"a": 1}),
            json!({"z": [1]}),
            json!({"a": "", "hasg": 2, "hashh": 3}),
            json!({"\u{1f600}": 1, "\u{fb33}": 2, "é": 3}),
        ] {
            let Value::Object(mut map) = value else { panic!() };
            let open = text(&Value::Object(map.clone()));
            let (closed, hash) = closed(&map);
            assert_eq!(hash, super::hash(&open));
            map.insert("hash".to_owned(), hash.into());
            assert_eq!(closed, text(&Value::Object(map)));
        }
    }

    #[test]
    fn what_is_only_written_is_written_alike() {
        let mut value = object!({"z": vec![1_i64, 2], "a": "\u{1}€", "gone": true, "n": None::<i64>, "k": Some(-3_i64)});
        value.put("a", object!({"y": String::from("\""), "x": u64::MAX}));
        value.put("m", false);
        let Json::Object(mut object) = value else { panic!() };
        object.remove("gone");
        let alike = json!({"z": [1, 2], "a": {"y": "\"", "x": i64::MAX}, "n": null, "k": -3, "m": false});
        assert_eq!(Value::from(Json::from(object.clone())), alike);
        assert_eq!(json_text(&object.clone().into()), text(&alike));
        let Value::Object(map) = alike else { panic!() };
        assert_eq!(closed_json(&object), closed(&map));
    }

    #[test]
    fn keys_and_strings_are_as_in_the_standard() {
        // The keys of RFC 8785, section 3.2.3, in its order: by UTF-16 units, where the emoji comes before U+FB33.
        let keys = ["\r", "1", "\u{80}", "\u{f6}", "\u{20ac}", "\u{1f600}", "\u{fb33}"];
        let value: Value = keys.iter().rev().map(|key| ((*key).to_owned(), Value::Null)).collect::<serde_json::Map<_, _>>().into();
        let expected: Vec<String> = keys.iter().map(|key| format!("{}:null", Value::from(*key))).collect();
        assert_eq!(text(&value), format!("{{{}}}", expected.join(",")));
        // Section 3.2.2.2, and the string of its sample.
        assert_eq!(
            text(&json!("\u{8}\t\n\u{c}\r\"\\/\u{0}\u{1f}\u{7f}\u{2028}")),
            "\"\\b\\t\\n\\f\\r\\\"\\\\/\\u0000\\u001f\u{7f}\u{2028}\""
        );
        assert_eq!(text(&json!("\u{20ac}$\u{f}\nA'B\"\\\\\"/")), "\"\u{20ac}$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"");
    }

    #[test]
    fn numbers_that_readers_may_round_are_told() {
        assert!(is_plain(&json!({"a": [0, -9_007_199_254_740_991_i64, 9_007_199_254_740_991_i64, "1.5", null]})));
        for number in [json!(9_007_199_254_740_992_i64), json!(-9_007_199_254_740_992_i64), json!(1.0), json!(1e30), json!(u64::MAX)] {
            assert!(!is_plain(&json!({"a": [number]})), "{number}");
        }
    }

    #[test]
    fn a_hash_is_sha_256_in_hex() {
        // FIPS 180-2, appendix B.1.
        assert_eq!(hash("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
