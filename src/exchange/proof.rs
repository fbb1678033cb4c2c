//! A record or receipt on its own: as it is given out with its signature, and whether one that came back is what was given out.
//!
//! Given out it is the record with three fields more: `key_id`, `public_key` and `signature`. The signature is over the canonical
//! JSON (RFC 8785) of all fields but those three; `hash` is SHA-256 over that of all but those three and itself.
//! Order and space may change on the way, values may not.

use super::canonical;
use crate::signing::{PublicKey, Signature, SigningKey};
use serde_json::{Map, Value};

/// What is added to a record when it is given out.
const ADDED: [&str; 3] = ["key_id", "public_key", "signature"];

/// Why something is not a record that was given out by whom the key belongs to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untrue {
    /// Something else.
    #[error("this is no signed record: {0}")]
    NotSigned(&'static str),
    /// The field `hash` is another text's.
    #[error("the record was changed: its hash is {found}")]
    Hash { found: String },
    /// The signature is over another text or by another key.
    #[error("the record was changed: {key} did not sign it")]
    Signature { key: String },
    /// A key that is not among those trusted.
    #[error("signed with {key}, which is none of the trusted keys")]
    Stranger { key: String },
    /// Its own sums do not add up: signed, but wrong.
    #[error("the record does not add up: {0}")]
    Sum(String),
}

/// A record that is what was given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proved {
    /// Without what was added.
    pub record: Value,
    /// Who signed it.
    pub key: PublicKey,
}

/// A receipt as it is given out: with its hash, and signed as records are. What is no object is left as it is.
pub fn sealed(receipt: Value, key: &SigningKey) -> Value {
    let Value::Object(fields) = &receipt else { return receipt };
    let (text, _) = canonical::closed(fields);
    signed(&text, &key.public(), &key.sign(&text)).unwrap_or(receipt)
}

/// A record as it is given out.
pub fn signed(record: &str, key: &PublicKey, signature: &Signature) -> Option<Value> {
    let Ok(Value::Object(mut fields)) = serde_json::from_str(record) else { return None };
    for (name, value) in ADDED.into_iter().zip([key.id(), key.text(), signature.text()]) {
        fields.insert(name.to_owned(), value.into());
    }
    Some(Value::Object(fields))
}

/// A signed record in one spelling: a line of canonical JSON.
pub fn line(signed: &Value) -> String {
    canonical::text(signed)
}

/// Checks a record that was given out, against the trusted keys or, without any, against the key it brings along: then it is known
/// only that whoever has that key signed it.
pub fn prove(given: &Value, trusted: Option<&[PublicKey]>) -> Result<Proved, Untrue> {
    let Value::Object(fields) = given else { return Err(Untrue::NotSigned("not a JSON object")) };
    if !canonical::is_plain(given) {
        return Err(Untrue::NotSigned("it has a number that no record has"));
    }
    let mut fields: Map<String, Value> = fields.clone();
    let mut added = ADDED.map(|name| fields.remove(name).and_then(|value| value.as_str().map(str::to_owned)));
    let [Some(id), Some(public), Some(signature)] = added.each_mut().map(Option::take) else {
        return Err(Untrue::NotSigned("it lacks key_id, public_key or signature"));
    };
    let key = PublicKey::read(&public).filter(|key| key.id() == id).ok_or(Untrue::NotSigned("its public_key is not that of its key_id"))?;
    let signature = Signature::read(&signature).ok_or(Untrue::NotSigned("its signature is not one"))?;
    let record = Value::Object(fields.clone());
    let Some(Value::String(hash)) = fields.remove("hash") else { return Err(Untrue::NotSigned("it lacks its hash")) };
    let found = canonical::hash(&canonical::text(&Value::Object(fields)));
    if found != hash {
        return Err(Untrue::Hash { found });
    }
    if trusted.is_some_and(|trusted| !trusted.contains(&key)) {
        return Err(Untrue::Stranger { key: id });
    }
    if !key.checks(&canonical::text(&record), &signature) {
        return Err(Untrue::Signature { key: id });
    }
    check_sums(&record)?;
    Ok(Proved { record, key })
}

/// What a record says in two places must be the same.
fn check_sums(record: &Value) -> Result<(), Untrue> {
    let amount = |value: &Value| value["amount"].as_i64().map(i128::from);
    let sum = |list: &str, of: &str| -> Option<i128> { record[list].as_array()?.iter().map(|item| amount(&item[of])).sum() };
    let (charge, refund) = (amount(&record["charge"]), amount(&record["refund"]));
    let held = charge.zip(refund).map(|(charge, refund)| charge + refund);
    let equal = |one: Option<i128>, other: Option<i128>, what: &str| match (one, other) {
        (Some(one), Some(other)) if one == other => Ok(()),
        _ => Err(Untrue::Sum(what.to_owned())),
    };
    equal(held, amount(&record["held"]), "charge and refund are not what was held")?;
    equal(sum("lines", "amount"), charge, "the lines are not the charge")?;
    // A receipt has nothing of the vendor's.
    if record.get("receipt_version").is_none() {
        equal(sum("shares", "amount"), charge, "the shares are not the charge")?;
    }
    if record.get("holds").is_some() {
        equal(sum("holds", "amount"), held, "the holds are not what was held")?;
        equal(sum("holds", "captured"), charge, "what was captured is not the charge")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::SigningKey;
    use serde_json::json;

    /// A record of 12 yuan of 20, as signed by the key `secret`.
    fn given(secret: u8) -> Value {
        let yuan = |amount: i64| json!({"amount": amount, "currency": "CNY"});
        let mut record = json!({
            "call_id": "call_x", "companion_name": "小鹿 \u{1f600}", "charge": yuan(1200), "refund": yuan(800), "held": yuan(2000),
            "lines": [{"amount": yuan(1200)}], "shares": [{"amount": yuan(840)}, {"amount": yuan(360)}],
            "holds": [{"amount": yuan(2000), "captured": yuan(1200)}],
        });
        sign(&mut record, secret)
    }

    fn sign(record: &mut Value, secret: u8) -> Value {
        record["hash"] = canonical::hash(&canonical::text(record)).into();
        let (key, text) = (SigningKey::new(&[secret; 32]), canonical::text(record));
        signed(&text, &key.public(), &key.sign(&text)).unwrap()
    }

    #[test]
    fn a_record_that_was_given_out_is_proved_in_any_spelling() {
        let given = given(1);
        let key = SigningKey::new(&[1; 32]).public();
        assert_eq!(prove(&given, None).unwrap().key, key);
        let pretty = serde_json::to_string_pretty(&given).unwrap();
        assert_eq!(prove(&serde_json::from_str(&pretty).unwrap(), Some(&[key])).unwrap().record["call_id"], "call_x");
        assert!(line(&given).starts_with(r#"{"call_id":"call_x","charge":{"amount":1200,"currency":"CNY"},"#));
    }

    #[test]
    fn every_change_is_noticed() {
        fn leaves(value: &Value, at: &str, found: &mut Vec<String>) {
            match value {
                Value::Object(fields) => fields.iter().for_each(|(name, value)| leaves(value, &format!("{at}/{name}"), found)),
                Value::Array(items) => items.iter().enumerate().for_each(|(index, value)| leaves(value, &format!("{at}/{index}"), found)),
                _ => found.push(at.to_owned()),
            }
        }
        let given = given(1);
        let mut all = Vec::new();
        leaves(&given, "", &mut all);
        assert!(all.len() > 20);
        for at in all {
            let mut changed = given.clone();
            let leaf = changed.pointer_mut(&at).unwrap();
            *leaf = match leaf.take() {
                Value::String(text) => format!("{text}A").into(),
                value => json!(value.as_i64().unwrap() + 1),
            };
            assert!(prove(&changed, None).is_err(), "{at}");
            let (parent, name) = at.rsplit_once('/').unwrap();
            let mut shorter = given.clone();
            if let Some(fields) = shorter.pointer_mut(parent).and_then(Value::as_object_mut) {
                fields.remove(name);
                assert!(prove(&shorter, None).is_err(), "without {at}");
            }
        }
        let mut longer = given.clone();
        longer["note"] = json!("paid");
        assert!(matches!(prove(&longer, None), Err(Untrue::Hash { .. })));
    }

    #[test]
    fn a_receipt_that_was_given_out_is_proved_too() {
        let mut receipt = prove(&given(1), None).unwrap().record;
        for name in ["hash", "shares", "holds"] {
            receipt.as_object_mut().unwrap().remove(name);
        }
        receipt["receipt_version"] = json!(2);
        let given = sealed(receipt.clone(), &SigningKey::new(&[3; 32]));
        assert_eq!(prove(&given, None).unwrap().key, SigningKey::new(&[3; 32]).public());
        let mut changed = given;
        changed["charge"]["amount"] = json!(1);
        assert!(matches!(prove(&changed, None), Err(Untrue::Hash { .. })));
        receipt["lines"] = json!([]);
        assert!(matches!(prove(&sealed(receipt, &SigningKey::new(&[3; 32])), None), Err(Untrue::Sum(_))));
        assert_eq!(sealed(json!(null), &SigningKey::new(&[3; 32])), json!(null));
    }

    #[test]
    fn a_stranger_may_sign_but_is_not_trusted() {
        let ours = SigningKey::new(&[1; 32]).public();
        assert_eq!(prove(&given(2), Some(&[ours])), Err(Untrue::Stranger { key: SigningKey::new(&[2; 32]).public().id() }));
        // Our name on a stranger's signature.
        let mut forged = given(2);
        forged["key_id"] = ours.id().into();
        forged["public_key"] = ours.text().into();
        assert_eq!(prove(&forged, Some(&[ours])), Err(Untrue::Signature { key: ours.id() }));
    }

    #[test]
    fn what_is_signed_must_add_up_too() {
        for (at, amount) in
            [("/refund/amount", 700), ("/lines/0/amount/amount", 1), ("/shares/0/amount/amount", 1), ("/holds/0/captured/amount", 0)]
        {
            let mut record = prove(&given(1), None).unwrap().record;
            record.as_object_mut().unwrap().remove("hash");
            *record.pointer_mut(at).unwrap() = amount.into();
            assert!(matches!(prove(&sign(&mut record, 1), None), Err(Untrue::Sum(_))), "{at}");
        }
    }

    #[test]
    fn what_is_no_signed_record_is_refused() {
        let mut fraction = given(1);
        fraction["delivered_ms"] = json!(1.5);
        for other in [json!(null), json!([]), json!({}), json!({"hash": "", "key_id": "", "public_key": "", "signature": ""}), fraction] {
            assert!(matches!(prove(&other, None), Err(Untrue::NotSigned(_))), "{other}");
        }
    }
}
