//! Calls on plans that are not sold in blocks, whole, by real peers through the public face; and how a vendor settles.

use crate::calls::{HIGH, LOW, join, peer};
use crate::page::Page;
use crate::peer::Peer;
use crate::server::{Booked, Server, Vendor, booked, fen, fresh, ms};
use serde_json::{Value, json};

/// A live call on this plan, for a client with 100.00 yuan, her page open.
pub(crate) struct Line {
    pub(crate) server: Server,
    pub(crate) vendor: Vendor,
    pub(crate) call: Booked,
    pub(crate) page: Page,
    pub(crate) client: Peer,
    pub(crate) companion: Peer,
}

impl Line {
    pub(crate) async fn on(plan: Value) -> Self {
        Self::with("", plan).await
    }

    async fn with(settings: &str, plan: Value) -> Self {
        let server = Server::start(settings);
        let vendor = server.vendor(&format!("House {}", fresh()));
        vendor.credit("wei", 10_000);
        let call = book(&vendor, plan);
        let mut page = Page::welcome(&server.base, &call.client).await;
        let (mut client, mut companion) = (peer().await, peer().await);
        page.join(&client).await;
        join(&server, &call.companion, &companion).await;
        client.hum(HIGH);
        companion.hum(LOW);
        client.hears_tone(LOW).await;
        companion.hears_tone(HIGH).await;
        vendor.until(&call, "live");
        Self { server, vendor, call, page, client, companion }
    }

    /// Waits for the end and checks that call, record, receipt and wallet say the same; the record.
    pub(crate) fn settled(&self, reason: &str) -> Value {
        let call = self.vendor.until(&self.call, "settled");
        let record = self.vendor.record(&self.call);
        assert_eq!((&call["end_reason"], &record["end_reason"]), (&json!(reason), &json!(reason)));
        for same in ["charge", "refund", "held", "paid_s", "delivered_ms"] {
            assert_eq!(call[same], record[same], "{same}");
        }
        assert_eq!(call["spent"], record["charge"]);
        let [charge, refund, held] = ["charge", "refund", "held"].map(|part| record[part]["amount"].as_i64().unwrap());
        assert_eq!(charge + refund, held);
        assert_eq!(self.vendor.wallet(), [10_000 - charge, 0, 10_000 - charge]);
        let receipt = self.server.as_party("GET", "/v1/join/receipt", &self.call.client, "").with(200);
        for same in ["plan", "lines", "charge", "settlement", "settlement_rule"] {
            assert_eq!(receipt[same], record[same], "{same}");
        }
        self.server.adds_up();
        record
    }
}

fn book(vendor: &Vendor, plan: Value) -> Booked {
    let plan_id = vendor.post("/v1/plans", plan).with(201)["id"].clone();
    let order = json!({ "plan_id": plan_id, "client_ref": "wei", "companion_id": vendor.companion(), "client_name": "Wei" });
    booked(&vendor.post("/v1/calls", order).with(201))
}

/// 10 fen a second, by the second.
fn by_the_second(hold: i64) -> Value {
    json!({ "name": "Talk", "kind": "per_minute", "first_increment_s": 1, "increment_s": 1, "rate_minor_per_min": 600, "hold": fen(hold) })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_by_the_minute_lasts_as_long_as_its_money_and_a_top_up_moves_its_end() {
    let mut line = Line::on(by_the_second(100)).await;
    let shown = line.vendor.shown(&line.call);
    assert_eq!(
        [&shown["plan_kind"], &shown["block_s"], &shown["paid_s"], &shown["held"], &shown["rate"]],
        [&json!("per_minute"), &Value::Null, &json!(10), &fen(100), &json!({ "label": "any", "per_minute": fen(600) })]
    );
    assert_eq!(ms(&shown["ends_at"]) - ms(&shown["started_at"]), 10_000);

    // By the client's wallet, by the vendor and an amount of her own: the end moves at once.
    line.page.say(json!({ "type": "extend", "key": "a-top-up-by-tap" })).await;
    assert_eq!(line.page.until("extended").await["added_s"], 10);
    let view = line.page.until_call(|call| call["blocks"] == 2).await;
    assert_eq!([&view["paid_s"], &view["held"], &view["price"]], [&json!(20), &fen(200), &fen(100)]);
    line.vendor.extend(&line.call, json!({ "amount": fen(9) })).problem(400, "invalid_request");
    line.vendor.extend(&line.call, json!({ "amount": { "amount": 50, "currency": "USD" } })).problem(400, "invalid_request");
    let topped = line.vendor.extend(&line.call, json!({ "amount": fen(20) })).with(200);
    assert_eq!((&topped["paid_s"], &topped["held"]), (&json!(22), &fen(220)));
    assert_eq!(ms(&topped["ends_at"]) - ms(&topped["started_at"]), 22_000);
    assert_eq!(line.vendor.wallet(), [10_000, 220, 9780]);

    line.page.say(json!({ "type": "hang_up" })).await;
    let record = line.settled("client_left");
    let billed = record["billed_s"].as_i64().unwrap();
    assert_eq!(record["charge"], fen(10 * billed));
    assert_eq!(Some(billed), record["delivered_ms"].as_i64().map(|ms| ms / 1000));
    let kinds: Vec<_> = record["extensions"].as_array().unwrap().iter().map(|e| (e["kind"].clone(), e["amount"].clone())).collect();
    assert_eq!(kinds, [(json!("top_up"), fen(100)), (json!("top_up"), fen(20))]);
    let plan = json!({
        "kind": "per_minute", "first_increment_s": 1, "increment_s": 1, "rate_minor_per_min": 600, "grace_s": 0,
        "min_charge_minor": 0, "rounding": "down",
    });
    assert_eq!(record["plan"], plan);
    drop((line.client, line.companion));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_by_the_minute_ends_when_its_money_does() {
    let mut line = Line::with("[call]\nwarnings_s = [2]", by_the_second(40)).await;
    assert_eq!(line.page.until("warning").await["remaining_s"], 2);
    let ended = line.page.until("ended").await;
    assert_eq!((&ended["reason"], &ended["at_fault"]), (&json!("funds_exhausted"), &json!("none")));
    let record = line.settled("funds_exhausted");
    assert_eq!([&record["delivered_ms"], &record["billed_s"], &record["charge"]], [&json!(4000), &json!(4), &fen(40)]);
    let rule = json!({ "ending": "funds_exhausted", "sold": "metered", "rule": "as_rated", "default": "as_rated" });
    assert_eq!(record["settlement_rule"], rule);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flat_call_costs_its_price_and_nothing_can_be_added() {
    let mut line = Line::on(json!({ "name": "Flat", "kind": "flat", "price": fen(500), "grace_s": 0 })).await;
    let shown = line.vendor.shown(&line.call);
    assert_eq!(
        [&shown["plan_kind"], &shown["price"], &shown["paid_s"], &shown["rate"]],
        [&json!("flat"), &fen(500), &Value::Null, &Value::Null]
    );
    assert_eq!(ms(&shown["ends_at"]) - ms(&shown["started_at"]), 12 * 3_600_000, "the longest a call may last");
    line.vendor.extend(&line.call, json!({})).problem(409, "call_state");
    line.page.say(json!({ "type": "extend", "key": "more-of-a-flat-call" })).await;
    assert_eq!(line.page.until("error").await["code"], "call_state");
    let (_second, welcome) = Page::open(&line.server.base, &line.call.client).await;
    assert_eq!((&welcome["call"]["can_extend"], &welcome["call"]["limited"]), (&json!(false), &json!(false)));
    while line.vendor.shown(&line.call)["delivered_ms"].as_i64() < Some(1000) {
        line.companion.hears_packets(10).await;
    }
    line.page.say(json!({ "type": "hang_up" })).await;
    let record = line.settled("client_left");
    assert_eq!([&record["charge"], &record["lines"][0]["label"], &record["paid_s"]], [&fen(500), &json!("flat"), &Value::Null]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_until_asleep_ends_at_its_cap() {
    let windows = json!([
        { "label": "day", "start": "08:00", "end": "20:00", "rate_minor_per_min": 600 },
        { "label": "night", "start": "20:00", "end": "08:00", "rate_minor_per_min": 600 },
    ]);
    let plan = json!({
        "name": "Night", "kind": "until_asleep", "first_increment_s": 1, "increment_s": 1, "tz": "Asia/Shanghai", "windows": windows,
        "cap_s": 3, "cap_minor": 6000, "currency": "CNY", "rounding": "half_up",
    });
    let mut line = Line::on(plan.clone()).await;
    assert_eq!(line.vendor.wallet(), [10_000, 6000, 4000], "the cap is set aside");
    line.vendor.extend(&line.call, json!({})).problem(409, "call_state");
    assert_eq!(line.page.until("ended").await["reason"], "cap_reached");
    let record = line.settled("cap_reached");
    assert_eq!([&record["delivered_ms"], &record["charge"], &record["refund"]], [&json!(3000), &fen(30), &fen(5970)]);
    for (name, value) in plan.as_object().unwrap() {
        if !["name", "currency"].contains(&name.as_str()) {
            let mut kept = record["plan"][name].clone();
            if let Some(windows) = kept.as_array_mut() {
                windows.sort_by_key(|window| window["label"].to_string());
            }
            assert_eq!(&kept, value, "{name}");
        }
    }
}

#[test]
fn plans_of_every_kind_are_made_listed_and_refused_with_the_field() {
    let server = Server::start("");
    let vendor = server.vendor("House");
    let metered = json!({ "name": "Talk", "kind": "per_minute", "first_increment_s": 60, "increment_s": 6, "rate_minor_per_min": 300, "hold": fen(3000) });
    let window = |label, start, end| json!({ "label": label, "start": start, "end": end, "rate_minor_per_min": 300 });
    let night = json!({
        "name": "Night", "kind": "until_asleep", "first_increment_s": 60, "increment_s": 60, "tz": "Asia/Shanghai",
        "windows": [window("day", "08:00", "23:00"), window("night", "23:00", "08:00")], "cap_minor": 60_000, "currency": "CNY",
        "grace_s": 20, "min_charge_minor": 100, "rounding": "half_even",
    });
    let mut probed = night.clone();
    let more = json!({ "linger_s": 0, "fade_s": 90, "probe": true, "chime_dbfs": -50, "waiting_sound": true });
    probed.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mut made = Vec::new();
    for body in [
        json!({ "name": "Block", "kind": "block", "block_s": 900, "price": fen(2000), "grade": "Gold" }),
        json!({ "name": "Flat", "kind": "flat", "price": fen(500), "grace_s": 30 }),
        metered.clone(),
        night.clone(),
        json!({ "name": "Loud", "kind": "block", "block_s": 900, "price": fen(2000), "chime_dbfs": -12, "waiting_sound": false }),
        probed,
    ] {
        let plan = vendor.post("/v1/plans", body.clone()).with(201);
        for (name, value) in body.as_object().unwrap() {
            assert_eq!(&plan[name], value, "{name} of {plan}");
        }
        made.push(plan);
    }
    assert_eq!([&made[0]["rounding"], &made[0]["grace_s"], &made[0]["hold"]], [&json!("down"), &json!(0), &fen(2000)]);
    assert_eq!(made[3]["hold"], fen(60_000));
    let of_its_kind = |plan: &Value| ["linger_s", "fade_s", "probe", "chime_dbfs", "waiting_sound"].map(|name| plan[name].clone());
    assert_eq!(of_its_kind(&made[0]), [json!(null), json!(null), json!(null), json!(-30), json!(true)]);
    assert_eq!(of_its_kind(&made[3]), [json!(300), json!(60), json!(false), json!(null), json!(false)]);
    assert_eq!(vendor.get("/v1/plans").with(200)["items"], json!(made));
    assert_eq!(vendor.get(&format!("/v1/plans/{}", made[3]["id"].as_str().unwrap())).with(200), made[3]);

    let refused = |base: &Value, field: &str, changes: &[(&str, Value)], said: &str| {
        let mut body = base.clone();
        for (name, value) in changes {
            body[name] = value.clone();
        }
        let answer = vendor.post("/v1/plans", body).with(400);
        assert_eq!((&answer["code"], &answer["field"]), (&json!("invalid_request"), &json!(field)), "{answer}");
        assert!(answer["detail"].as_str().unwrap().contains(said), "{answer}");
    };
    refused(&metered, "hold", &[("hold", fen(299))], "needs at least 3.00 CNY");
    refused(&metered, "hold", &[("min_charge_minor", json!(3001))], "needs at least 30.01 CNY");
    refused(&metered, "hold.currency", &[("hold", json!({ "amount": 1, "currency": "ZZZ" }))], "currency");
    let block = json!({ "name": "Block", "kind": "block", "block_s": 600, "price": fen(2000) });
    refused(&block, "min_charge_minor", &[("min_charge_minor", json!(2001))], "at most the price, 2000");
    refused(&night, "tz", &[("tz", json!("Mars/Olympus"))], "there is no time zone");
    refused(&night, "windows", &[("windows", json!([window("day", "08:00", "23:00")]))], "no window holds 23:00");
    refused(
        &night,
        "windows",
        &[("windows", json!([window("day", "08:00", "23:01"), window("night", "23:00", "08:00")]))],
        "two windows hold 23:00",
    );
    refused(&night, "windows", &[("windows", json!([window("day", "8:00", "8:00")]))], "not a time of day");
    refused(&night, "cap_s", &[("cap_s", json!(59))], "at least 60 s");
    refused(&night, "cap_minor", &[("cap_minor", json!(299))], "at least 60 s and 3.00 CNY");
    refused(&night, "currency", &[("currency", json!("ZZZ"))], "currency");
    assert_eq!(vendor.get("/v1/plans").with(200)["items"], json!(made), "nothing came of them");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vendor_settles_in_her_clients_favour_only_and_running_calls_keep_what_they_began_with() {
    let line = Line::on(json!({ "name": "Block", "kind": "block", "block_s": 600, "price": fen(2000) })).await;
    let Line { server, vendor, call: before, .. } = &line;
    let default = vendor.get("/v1/settlement").with(200);
    assert_eq!((&default["rules"]["client_left"]["block"], &default["flat_min_s"]), (&json!("as_rated"), &json!(600)));
    assert_eq!((&default["rules"]["server_fault"]["flat"], &default["updated_at"]), (&json!("free_below_min"), &Value::Null));

    let put = |body: Value| {
        let headers = [("authorization", format!("Bearer {}", vendor.key)), ("content-type", "application/json".to_owned())];
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        server.send("PUT", "/v1/settlement", &headers, &body.to_string())
    };
    for (body, field, said) in [
        (json!({ "rules": { "server_fault": { "block": "as_rated" } } }), "rules", "only in the client's favour"),
        (json!({ "rules": { "companion_left": { "flat": "as_rated" } } }), "rules", "only in the client's favour"),
        (json!({ "rules": { "vendor_ended": { "flat": "exact_delivered" } } }), "rules", "no part for a second"),
        (json!({ "rules": { "bored": { "block": "free" } } }), "rules", "there is no \"bored\""),
        (json!({ "rules": { "client_left": { "block": "double" } } }), "rules", "there is no \"double\""),
        (json!({ "flat_min_s": 599 }), "flat_min_s", "only in the client's favour"),
    ] {
        let refused = put(body).with(400);
        assert_eq!(refused["field"], field, "{refused}");
        assert!(refused["detail"].as_str().unwrap().contains(said), "{refused}");
    }
    assert_eq!(vendor.get("/v1/settlement").with(200), default);
    let kinder = put(json!({ "rules": { "vendor_ended": { "block": "free" }, "client_left": { "block": "exact_delivered" } } })).with(200);
    assert_eq!(kinder["rules"]["vendor_ended"], json!({ "block": "free", "metered": "exact_delivered", "flat": "free_below_min" }));
    assert_eq!(vendor.get("/v1/settlement").with(200), kinder);
    assert_eq!(server.vendor("Stranger").get("/v1/settlement").with(200), default);

    // The call that was made before is settled as it was agreed.
    while vendor.shown(before)["delivered_ms"].as_i64() < Some(1000) {
        tokio::task::yield_now().await;
    }
    vendor.post(&format!("/v1/calls/{}/end", before.id), json!({})).with(200);
    let record = line.settled("vendor_ended");
    assert_eq!((&record["settlement"], &record["settlement_rule"]["rule"]), (&json!("exact_delivered"), &json!("exact_delivered")));
    let after = book(vendor, json!({ "name": "Block", "kind": "block", "block_s": 600, "price": fen(2000) }));
    vendor.post(&format!("/v1/calls/{}/end", after.id), json!({})).with(200);
    let rule = json!({ "ending": "vendor_ended", "sold": "block", "rule": "free", "default": "exact_delivered" });
    assert_eq!(vendor.record(&after)["settlement_rule"], rule);
}
