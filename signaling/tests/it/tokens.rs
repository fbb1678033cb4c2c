//! Join tokens: what counts, and the code of each that does not.

use crate::house::{NOW, claims, token_key};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use signaling::TokenKey;
use signaling::code::Code;

fn signed(algorithm: Algorithm, key: &[u8], claims: &Value) -> String {
    encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(key)).unwrap()
}

fn as_json() -> Value {
    serde_json::to_value(claims("j")).unwrap()
}

#[test]
fn a_token_reads_back_what_was_minted() {
    let key = token_key();
    assert_eq!(key.verify(&key.mint(&claims("j")), NOW), Ok(claims("j")));
    assert_eq!(key.mint(&claims("j")), key.mint(&claims("j")));
    assert_eq!(format!("{key:?}"), "TokenKey(..)");
}

#[test]
fn time_decides_within_a_minute_of_skew() {
    let key = token_key();
    let token = key.mint(&claims("j"));
    let (nbf, exp) = (claims("j").nbf, claims("j").exp);
    for (now, expected) in [
        (nbf - 61, Some(Code::TokenEarly)),
        (nbf - 60, None),
        (exp - 1, None),
        (exp + 59, None),
        (exp + 60, Some(Code::TokenExpired)),
        (i64::MAX, Some(Code::TokenExpired)),
        (i64::MIN, Some(Code::TokenEarly)),
    ] {
        assert_eq!(key.verify(&token, now).err(), expected, "at {now}");
    }
}

#[test]
fn what_we_did_not_sign_does_not_count() {
    let key = token_key();
    let good = key.mint(&claims("j"));
    let mut forged = vec![
        TokenKey::new([8; 32]).mint(&claims("j")),
        signed(Algorithm::HS384, &[7; 32], &as_json()),
        signed(Algorithm::HS512, &[7; 32], &as_json()),
        String::new(),
        "..".to_owned(),
        "a.b.c".to_owned(),
        good.trim_end_matches(|c| c != '.').to_owned(),
        format!("{good}x"),
        format!("{good}.x"),
        format!(" {good}"),
        "x".repeat(100_000),
    ];
    // {"alg":"none","typ":"JWT"} with and without the old signature.
    let parts: Vec<&str> = good.split('.').collect();
    forged.push(format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{}.", parts[1]));
    forged.push(format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{}.{}", parts[1], parts[2]));
    for token in forged {
        assert_eq!(key.verify(&token, NOW), Err(Code::TokenInvalid), "{token:.80}");
    }
    // Any one character changed.
    for at in 0..good.len() {
        let mut altered = good.clone().into_bytes();
        altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
        let altered = String::from_utf8(altered).unwrap();
        assert_eq!(key.verify(&altered, NOW), Err(Code::TokenInvalid), "character {at}");
    }
}

#[test]
fn what_we_signed_must_be_whole() {
    let key = token_key();
    for (name, value) in [
        ("exp", None),
        ("exp", Some(json!(null))),
        ("exp", Some(json!("never"))),
        ("exp", Some(json!(1e300))),
        ("nbf", None),
        ("iss", None),
        ("iss", Some(json!("other"))),
        ("iss", Some(json!(["lull", "other"]))),
        ("role", Some(json!("vendor"))),
        ("call", None),
        ("jti", Some(json!(5))),
    ] {
        let mut claims = as_json();
        match value {
            Some(value) => claims[name] = value,
            None => drop(claims.as_object_mut().unwrap().remove(name)),
        }
        let token = signed(Algorithm::HS256, &[7; 32], &claims);
        assert_eq!(key.verify(&token, NOW), Err(Code::TokenInvalid), "{claims}");
    }
    assert!(key.verify(&signed(Algorithm::HS256, &[7; 32], &as_json()), NOW).is_ok());
}
