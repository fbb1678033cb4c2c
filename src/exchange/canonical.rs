//! One spelling of a JSON value, so that equal records are equal bytes (RFC 8785, for whole numbers).
//!
//! Object keys are sorted by their UTF-16 units (section 3.2.3), nothing stands between tokens, strings are escaped as little as
//! JSON allows (section 3.2.2.2). Records hold no fractions and nothing above 2^53 - 1, for which the RFC would want the number
//! formatting of ECMAScript: [`is_plain`] tells a foreign text that does.

use crate::money::Money;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The canonical text of a value.
pub(super) fn text(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
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
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut members: Vec<_> = map.iter().collect();
            members.sort_by(|(one, _), (other, _)| one.encode_utf16().cmp(other.encode_utf16()));
            list('{', '}', &members, out, |(key, member), out| {
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                write(member, out);
            });
        }
        Value::Array(items) => list('[', ']', items, out, write),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => out.push_str(&value.to_string()),
    }
}

fn list<T>(open: char, close: char, items: &[T], out: &mut String, each: impl Fn(&T, &mut String)) {
    out.push(open);
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        each(item, out);
    }
    out.push(close);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn equal_values_are_equal_bytes() {
        let value = json!({"b": [1, null, true], "a": {"z": "\u{1}\"€\n", "k": -3}, "aa": ""});
        assert_eq!(text(&value), r#"{"a":{"k":-3,"z":"\u0001\"€\n"},"aa":"","b":[1,null,true]}"#);
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
