//! Calls until the client sleeps, whole, through the public face.

use crate::page::Page;
use crate::plans::Line;
use crate::server::{fen, ms};
use serde_json::{Value, json};

/// A muted client gives the server nothing to judge by: her companion's word ends the call, a tap takes it back, and the landing is free.
#[tokio::test(flavor = "multi_thread")]
async fn a_muted_clients_call_lands_on_the_companions_word() {
    let plan = json!({
        "name": "Night", "kind": "until_asleep", "first_increment_s": 1, "increment_s": 1, "rate_minor_per_min": 600,
        "cap_s": 3600, "hold": fen(9000), "linger_s": 0, "fade_s": 10,
    });
    let mut line = Line::on(plan).await;
    let (mut companion, welcome) = Page::open(&line.server.base, &line.call.companion).await;
    assert_eq!(welcome["call"]["night"]["phase"], "listening", "{welcome}");
    assert!(welcome["call"]["night"]["grounds"].is_object() || welcome["call"]["night"]["sleep"] == "unknown", "{welcome}");
    line.page.say(json!({ "type": "devices", "audio": false, "video": false })).await;
    companion.until_call(|call| call["client"]["audio"] == false).await;

    line.page.say(json!({ "type": "says_asleep" })).await;
    assert_eq!(line.page.until("error").await["code"], "call_state", "this is not hers to say");
    companion.say(json!({ "type": "says_asleep" })).await;
    let view = line.page.until_call(|call| call["night"]["phase"] == "landing").await;
    assert_eq!([&view["state"], &view["running"], &view["night"]["grounds"]], [&json!("live"), &json!(false), &Value::Null]);
    assert_eq!(line.vendor.shown(&line.call)["state"], "landing");
    line.page.say(json!({ "type": "im_here" })).await;
    let view = companion.until_call(|call| call["night"]["phase"] == "listening").await;
    assert_eq!(view["running"], true);
    line.client.hears_tone(crate::calls::LOW).await;

    companion.say(json!({ "type": "says_asleep" })).await;
    let ended = line.page.until("ended").await;
    assert_eq!((&ended["reason"], &ended["at_fault"]), (&json!("asleep"), &json!("none")));
    let record = line.settled("asleep");
    let segments = record["segments"].as_array().unwrap();
    let kinds: Vec<&str> = segments.iter().map(|segment| segment["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["delivered", "landing", "delivered", "landing"]);
    let length = |segment: &Value| ms(&segment["to_at"]) - ms(&segment["from_at"]);
    assert_eq!(length(&segments[3]), 10_000);
    assert_eq!(record["delivered_ms"], length(&segments[0]) + length(&segments[2]));
    let seconds = record["delivered_ms"].as_i64().unwrap() / 1000;
    assert_eq!(record["charge"], fen(10 * seconds), "not a second of a landing");
    let lingers = record["sleep"]["lingers"].as_array().unwrap();
    assert_eq!(lingers.iter().map(|linger| &linger["by"]).collect::<Vec<_>>(), ["companion", "companion"]);
    assert_eq!([&lingers[0]["woken_by"], &lingers[1]["woken_by"]], [&json!("tap"), &Value::Null]);
    assert_eq!(record["sleep"]["landing_ms"], length(&segments[1]) + length(&segments[3]));
    let events = line.vendor.get("/v1/events").with(200);
    let words: Vec<&str> = events["items"].as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(words.iter().filter(|word| **word == "call.asleep").count(), 2, "{words:?}");
    assert!(words.ends_with(&["call.ended", "call.settled"]), "{words:?}");
    drop(line.companion);
}
