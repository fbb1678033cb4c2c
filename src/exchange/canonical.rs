//! One spelling of a JSON value, so that equal records are equal bytes (RFC 8785, for values without fractions).
//!
//! Object keys are sorted, nothing stands between tokens, strings are escaped as little as JSON allows. Records hold no fractions and
//! their keys are ASCII, so sorting by bytes is the sorting by UTF-16 units that the RFC asks for.

use serde_json::Value;
use sha2::{Digest, Sha256};

/// The canonical text of a value.
pub(super) fn text(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

/// SHA-256 of a text, in lower-case hex.
pub(super) fn hash(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut members: Vec<_> = map.iter().collect();
            members.sort_unstable_by_key(|(key, _)| key.as_str());
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
    fn a_hash_is_sha_256_in_hex() {
        // FIPS 180-2, appendix B.1.
        assert_eq!(hash("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
