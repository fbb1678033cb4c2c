//! Fuzz targets of what comes back from outside: records and receipts to be checked, months to be exported.

use super::{month, proof, sheet};
use crate::clock::{Moment, Span};
use crate::signing::{SigningKey, read_key_set};
use serde_json::{Value, json};

crate::fuzzing::targets! {
    signed: 5_000, records, [];
    export: 5_000, months, [];
    key_set: 5_000, key_sets, [];
}

/// What is not ours is never proved; what we sign of the same fields is, unless its sums do not add up; a row of the sheet is one line.
fn signed(data: &[u8]) {
    let Ok(given) = serde_json::from_slice::<Value>(data) else { return };
    let key = SigningKey::new(&[7; 32]);
    if let Ok(proved) = proof::prove(&given, Some(&[key.public()])) {
        assert_eq!(proof::prove(&given, None).map(|again| again.record), Ok(proved.record));
        let line: Value = serde_json::from_str(&proof::line(&given)).expect("a line is JSON");
        assert!(proof::prove(&line, None).is_ok());
    }
    let row = sheet::row(&given, Moment::from_unix_ms(1_773_144_000_000));
    assert!(row.ends_with("\r\n"));
    let mut fields = given;
    let Some(object) = fields.as_object_mut() else { return };
    for name in ["hash", "key_id", "public_key", "signature"] {
        object.remove(name);
    }
    match proof::prove(&proof::sealed(fields.clone(), &key), None) {
        Ok(proof::Proved { key: by, .. }) => assert_eq!(by, key.public()),
        Err(why) => assert!(matches!(why, proof::Untrue::NotSigned(_) | proof::Untrue::Sum(_)), "{why}: {fields}"),
    }
}

/// A record and a receipt as they are given out.
fn records() -> Vec<Vec<u8>> {
    let yuan = |amount: i64| json!({"amount": amount, "currency": "CNY"});
    let record = json!({
        "call_id": "call_x", "companion_name": "小鹿", "charge": yuan(1200), "refund": yuan(800), "held": yuan(2000),
        "lines": [{"amount": yuan(1200), "label": "block", "quantity": 1, "unit": "block"}],
        "shares": [{"amount": yuan(840)}, {"amount": yuan(360)}], "holds": [{"amount": yuan(2000), "captured": yuan(1200)}],
    });
    let mut receipt = record.clone();
    receipt["receipt_version"] = json!(2);
    receipt["adjustments"] = json!([{"kind": "refund", "direction": "to_client", "amount": yuan(3), "at": "2026-03-10T12:00:00.000Z"}]);
    receipt["shares"] = Value::Null;
    let key = SigningKey::new(&[7; 32]);
    [record, receipt].map(|fields| proof::sealed(fields, &key).to_string().into_bytes()).to_vec()
}

/// A month and a zone, a line each: a month has 27 to 32 days, whatever its clocks do.
fn export(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (of, zone) = text.split_once('\n').unwrap_or((text, "UTC"));
    if let Ok((from, to)) = month(of, zone) {
        let day = Span::from_s(24 * 3600);
        assert!((27 * day.ms()..=32 * day.ms()).contains(&to.since(from).ms()), "{of} {zone}: {from} {to}");
        assert_eq!(month(of, zone), Ok((from, to)));
    }
}

fn months() -> Vec<Vec<u8>> {
    ["2026-11", "2026-11\nAsia/Shanghai", "2011-12\nPacific/Apia", "0001-01\nUTC"].map(|text| text.as_bytes().to_vec()).to_vec()
}

/// The keys of a set that is read are those with a text that says so, in its order, and each is what its text says.
fn key_set(data: &[u8]) {
    let Ok(set) = serde_json::from_slice::<Value>(data) else { return };
    let Some(keys) = read_key_set(&set) else { return };
    let texts: Vec<&Value> =
        set["keys"].as_array().expect("a set has keys").iter().filter(|key| key["crv"] == "Ed25519" && key["kty"] == "OKP").collect();
    assert_eq!(keys.len(), texts.len());
    assert!(keys.iter().zip(texts).all(|(key, text)| text["x"] == key.text()));
}

fn key_sets() -> Vec<Vec<u8>> {
    let key = SigningKey::new(&[7; 32]).public().text();
    [
        json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": key}, {"kty": "RSA", "n": "AQ"}]}),
        json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "short"}]}),
        json!({"keys": []}),
        json!([]),
    ]
    .map(|set| set.to_string().into_bytes())
    .to_vec()
}
