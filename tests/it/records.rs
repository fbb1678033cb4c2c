//! Records outside the server: signed, verified, exported, and summed up. The calls of this file are never live, so they are free;
//! those of `calls` are verified there.

use crate::server::{Booked, Server, Vendor, lull};
use lull::exchange::proof;
use lull::signing::SigningKey;
use serde_json::{Value, json};
use std::process::Output;

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A call that the vendor ended before anybody came.
fn ended(vendor: &Vendor) -> Booked {
    let call = vendor.call(900, 2000);
    vendor.post(&format!("/v1/calls/{}/end", call.id), json!({})).with(200);
    vendor.until(&call, "settled");
    call
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_verified_with_the_keys_that_the_server_shows() {
    let server = Server::start("");
    let vendor = server.vendor("House");
    let first = vendor.record(&ended(&vendor));
    let keys = || server.send("GET", "/.well-known/lull-keys.json", &[], "").with(200);
    assert_eq!(keys()["keys"].as_array().unwrap().len(), 1);
    assert_eq!(first["key_id"], keys()["keys"][0]["kid"]);

    // Another key, beside the running server; the old one stays known.
    let rotated = server.tool(&["keys", "rotate"]);
    assert!(rotated.status.success(), "{rotated:?}");
    let second = vendor.record(&ended(&vendor));
    assert_eq!(second["key_id"], said(&rotated).trim());
    assert!(keys()["keys"][0]["until_at"].is_string() && keys()["keys"][1]["until_at"].is_null(), "{}", keys());
    assert_eq!(serde_json::from_str::<Value>(&said(&server.tool(&["keys", "list"]))).unwrap(), keys());

    let both = server.verify(&format!("{first}\n{second}\n"));
    assert!(both.status.success(), "{both:?}");
    assert_eq!(said(&both).lines().filter(|line| line.contains(": valid: signed with a trusted key")).count(), 2, "{}", said(&both));

    // One changed figure, on one of three lines.
    let mut forged = second.clone();
    forged["refund"]["amount"] = json!(0);
    let three = server.verify(&format!("{first}\n{forged}\n{second}\n"));
    assert_eq!(three.status.code(), Some(1));
    let lines = said(&three);
    assert!(lines.lines().nth(1).unwrap().starts_with(&format!("line 2: {}: NOT VALID: ", second["call_id"].as_str().unwrap())), "{lines}");
    assert_eq!(lines.matches("NOT VALID").count(), 1, "{lines}");

    // A field twice, of which readers may take either.
    let doubled = second.to_string().replacen('{', r#"{"charge":{"amount":5,"currency":"CNY"},"#, 1);
    assert_eq!(server.verify(&doubled).status.code(), Some(1));
    assert_eq!(server.verify("").status.code(), Some(1));
    server.adds_up();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_keys_to_trust_that_is_said() {
    let server = Server::start("");
    let vendor = server.vendor("House");
    let record = vendor.record(&ended(&vendor));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("record.json");
    std::fs::write(&file, record.to_string()).unwrap();
    let verified = lull(&["verify"]).arg(&file).output().unwrap();
    assert!(verified.status.success() && said(&verified).contains("signed with the key it brings along"), "{verified:?}");
    assert!(String::from_utf8_lossy(&verified.stderr).contains("no keys to trust were given"), "{verified:?}");
    // Another server's keys do not vouch for it.
    let other = Server::start("");
    let stranger = other.verify(&record.to_string());
    assert!(stranger.status.code() == Some(1) && said(&stranger).contains("none of the trusted keys"), "{stranger:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_comes_by_rest_and_on_the_command_line_alike() {
    let server = Server::start("");
    let vendor = server.vendor("House");
    let calls: Vec<Booked> = (0..3).map(|_| ended(&vendor)).collect();
    let stranger = server.vendor("Other");
    ended(&stranger);
    let record = vendor.record(&calls[0]);
    // By the clock of the machine, which may pass midnight here; a zone a day apart would be another month only then.
    let month = record["ended_at"].as_str().unwrap()[..7].to_owned();
    for format in ["csv", "jsonl"] {
        let file = vendor.get(&format!("/v1/records?month={month}&format={format}"));
        assert_eq!(file.status, 200, "{file:?}");
        let tool = server.tool(&["export", "--vendor", "House", "--month", &month, "--format", format]);
        assert_eq!(said(&tool), file.text);
        let rows = file.text.lines().skip(usize::from(format == "csv"));
        let places: Vec<_> = rows.map(|row| calls.iter().position(|call| row.contains(&call.id))).collect();
        assert_eq!(places, [Some(0), Some(1), Some(2)], "in the order of settling, and no other vendor's: {}", file.text);
        if format == "jsonl" {
            assert_eq!(serde_json::from_str::<Value>(file.text.lines().next().unwrap()).unwrap(), record);
            assert!(server.verify(&file.text).status.success());
        }
    }
    let empty = vendor.get("/v1/records?month=2020-01&format=csv");
    assert!(empty.status == 200 && empty.text.starts_with("call_id,settled_at,") && empty.text.lines().count() == 1, "{empty:?}");
    assert_eq!(vendor.get("/v1/records?month=2020-01").text, "");
    vendor.get("/v1/records?month=2020-13").problem(400, "invalid_request");
    vendor.get("/v1/records?month=2020-01&tz=Mars/Base").problem(400, "invalid_request");
    let nobody = server.tool(&["export", "--vendor", "Nobody", "--month", "2020-01"]);
    assert_eq!(nobody.status.code(), Some(1), "{nobody:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_says_what_records_and_ledger_come_to() {
    let server = Server::start("");
    let vendor = server.vendor("House");
    ended(&vendor);
    let audit = said(&server.tool(&["audit"]));
    let book = "House, CNY: 1 records charge 0.00; captured 0.00; posted 0.00 to companions and 0.00 to the vendor";
    assert!(audit.lines().any(|line| line == book), "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_says_what_was_held_and_by_which_zones_it_was_rated() {
    let server = Server::start("");
    let vendor = server.vendor("House");
    let call = ended(&vendor);
    let record = vendor.record(&call);
    assert_eq!(record["tzdb_version"], lull::billing::ZONES_VERSION);
    assert_eq!((&record["offered_at"], &record["accepted_at"]), (&Value::Null, &Value::Null));
    assert_eq!(record["paused_ms"], json!({"client": 0, "companion": 0, "platform": 0}));
    let [hold] = &record["holds"].as_array().unwrap()[..] else { panic!("{record}") };
    assert_eq!((&hold["amount"]["amount"], &hold["captured"]["amount"]), (&json!(2000), &json!(0)));
    // The client's receipt stands beside it, and has nothing of the vendor's.
    let receipt = server.as_party("GET", "/v1/join/receipt", &call.client, "").with(200);
    assert_eq!(receipt["record_hash"], record["hash"]);
    assert!(["holds", "tzdb_version", "shares", "vendor_id"].iter().all(|name| receipt.get(name).is_none()), "{receipt}");
    // It can be checked as the record can, and says the same to the vendor.
    let said = server.verify(&receipt.to_string());
    assert!(said.status.success(), "{said:?}");
    assert_eq!(vendor.get(&format!("/v1/calls/{}/receipt", call.id)).with(200), receipt);
    let changed = receipt.to_string().replace("\"gift_s\":0", "\"gift_s\":60");
    assert_ne!(changed, receipt.to_string());
    assert_eq!(server.verify(&changed).status.code(), Some(1));
}

/// A record on many lines with a slip in it is one fault and not a hundred; a mark of byte order is none.
#[test]
fn a_record_with_a_slip_is_one_fault() {
    let key = SigningKey::new(&[7; 32]);
    let record = proof::sealed(json!({"call_id": "call_1", "lines": [1, 2]}), &key);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("record.json");
    let verify = |text: String| {
        std::fs::write(&file, text).unwrap();
        let verified = lull(&["verify"]).arg(&file).output().unwrap();
        assert_eq!(verified.status.code(), Some(1));
        (said(&verified), String::from_utf8(verified.stderr).unwrap())
    };
    let (lines, why) = verify(format!("{record:#}").replace('}', ",}"));
    assert_eq!(lines, "");
    assert!(why.contains("none of its lines is one") && why.contains("at line") && why.contains("record.json"), "{why}");
    let (lines, _) = verify(format!("\u{feff}{record}"));
    assert!(lines.contains("NOT VALID: the record does not add up"), "{lines}");
    // Of a list each line is looked at, whatever the first is like.
    let (lines, _) = verify(format!("broken\n{record}\n"));
    assert_eq!(lines.lines().count(), 2, "{lines}");
}

/// Anybody can sign what she likes with a key of her own. It is refused, and what stands behind it is looked at.
#[test]
fn records_that_somebody_made_up_are_refused_and_the_next_is_checked() {
    let key = SigningKey::new(&[7; 32]);
    let money = |amount: i64| json!({"amount": amount, "currency": "CNY"});
    let forged = |plan: Value, holds: &[i64], more: Value| {
        let held = i64::try_from(holds.iter().map(|hold| i128::from(*hold)).sum::<i128>()).unwrap();
        let holds: Vec<Value> = holds.iter().map(|hold| json!({"amount": money(*hold), "captured": money(0)})).collect();
        let mut record = json!({
            "call_id": "call_01920000-0000-7000-8000-000000000001", "plan": plan, "settlement": "as_rated", "billed_s": 0,
            "delivered_ms": 3_610_000, "lines": [], "shares": [], "charge": money(0), "refund": money(held), "held": money(held),
            "segments": [{"kind": "delivered", "from_at": "2026-03-10T12:00:00Z", "to_at": "2026-03-10T13:00:10Z"}], "holds": holds,
        });
        record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        proof::sealed(record, &key)
    };
    let block = |block_s: i64, price: i64| json!({"kind": "block", "block_s": block_s, "price_minor": price});
    let most = (1_i64 << 53) - 1;
    let in_turns: Vec<i64> = [vec![most; 1200], vec![-most; 1200]].concat();
    let no_more = json!({});
    let escape = "x\u{1b}[2K\rcall_real: valid: signed with a trusted key\n";
    let lines = [
        (forged(block(900, 2000), &[-5], no_more.clone()), "what was held is between"),
        (forged(block(1, most), &in_turns, no_more.clone()), "what was held is between"),
        (forged(block(1, most), &[most; 2], no_more.clone()), "it has a number that no record has"),
        (forged(block(900, 2000), &[i64::MAX, -i64::MAX], no_more.clone()), "it has a number that no record has"),
        (forged(block(900, 2000), &[1999], no_more.clone()), "is not its price"),
        (forged(block(900, 2000), &[2000], json!({"call_id": escape})), "no call: NOT VALID"),
        (forged(json!({"kind": "block", escape: 1}), &[2000], no_more), "\u{fffd}"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("records.jsonl");
    std::fs::write(&file, lines.iter().map(|(record, _)| format!("{record}\n")).collect::<String>()).unwrap();
    let verified = lull(&["verify"]).arg(&file).output().unwrap();
    let text = said(&verified);
    assert_eq!(verified.status.code(), Some(1), "{verified:?}");
    assert_eq!(text.lines().count(), lines.len(), "{text}");
    for (line, (_, part)) in text.lines().zip(lines) {
        assert!(line.contains("NOT VALID") && line.contains(part), "{part:?} is not in {line:?}");
        assert!(!line.contains(char::is_control) && !line.contains(" call_real: valid"), "{line:?}");
    }
}
