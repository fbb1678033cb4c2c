//! The money's life through REST: wallets, orders, what goes back and what shows it, bad amounts, and duplicates of every kind.

use crate::calls::Talk;
use crate::server::{Server, Vendor, fen, fresh};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Mutex;

fn amount(value: &Value) -> i64 {
    value["amount"].as_i64().unwrap_or_else(|| panic!("{value} is no amount"))
}

/// A client's statement, read in small pages, which must add up line by line. Newest first.
fn statement(vendor: &Vendor, client: &str) -> Vec<Value> {
    let (mut lines, mut path) = (Vec::new(), format!("/v1/clients/{client}/transfers?limit=3"));
    let wallet = loop {
        let page = vendor.get(&path).with(200);
        lines.extend(page["items"].as_array().unwrap().iter().cloned());
        let Some(next) = page["next_cursor"].as_str() else { break page };
        path = format!("/v1/clients/{client}/transfers?limit=3&after={next}");
    };
    let mut balance = 0;
    for line in lines.iter().rev() {
        balance += amount(&line["amount"]);
        assert_eq!(amount(&line["balance"]), balance, "{line}");
    }
    assert_eq!(amount(&wallet["posted"]), balance, "{wallet}");
    assert_eq!(amount(&wallet["available"]) + amount(&wallet["held"]), balance, "{wallet}");
    lines
}

fn kinds(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["kind"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settled_call_gives_back_what_it_took_and_no_more() {
    let talk = Talk::new("", 2).await;
    let (vendor, id) = (talk.vendor.clone(), talk.call.id.clone());
    let refunds = format!("/v1/calls/{id}/refunds");
    let adjustments = format!("/v1/calls/{id}/adjustments");
    let (_, record, charge) = talk.settled("time_expired", "none");
    assert_eq!((charge, amount(&record["shares"][0]["amount"]), amount(&record["shares"][1]["amount"])), (2000, 1400, 600));
    assert_eq!(vendor.shown(&talk.call)["adjustments"], json!([]));

    // A part: by the same shares, shown with what is left.
    let key = fresh();
    let some = json!({ "amount": fen(333), "reason": "线路不好" });
    let first = vendor.post_with(&key, &refunds, some.clone());
    assert_eq!((first.status, first.header("location")), (201, format!("/v1/calls/{id}").as_str()), "{first:?}");
    let shown = first.json();
    assert_eq!((&shown["amount"], &shown["companion"], &shown["vendor"]), (&fen(333), &fen(233), &fen(100)));
    assert_eq!((&shown["charge"], &shown["returned"], &shown["left"]), (&fen(2000), &fen(333), &fen(1667)));
    assert_eq!([&shown["kind"], &shown["direction"], &shown["from"], &shown["by"]], ["refund", "to_client", "shares", "api_key"]);
    assert_eq!((&shown["reason"], &shown["text"]), (&json!("线路不好"), &Value::Null));
    let again = vendor.post_with(&key, &refunds, some.clone());
    assert_eq!((again.status, again.header("idempotent-replayed"), &again.text), (201, "true", &first.text));
    vendor.post_with(&key, &refunds, json!({ "reason": "another" })).problem(422, "idempotency_key_reused");
    vendor.post_with(&key, &adjustments, some).problem(400, "invalid_request");
    assert_eq!(vendor.wallet(), [8333, 0, 8333]);

    // More than is left, and what is not its currency.
    let too_much = vendor.post(&refunds, json!({ "amount": fen(1668), "reason": "greed" }));
    let figures = too_much.json();
    assert!(too_much.problem(409, "refund_exceeds").contains("16.67 CNY of 20.00 CNY"));
    assert_eq!((&figures["charge"], &figures["returned"], &figures["left"]), (&fen(2000), &fen(333), &fen(1667)));
    let yen = json!({ "amount": { "amount": 1, "currency": "JPY" }, "reason": "yen" });
    assert_eq!(vendor.post(&refunds, yen).with(400)["field"], "amount.currency");

    // Sixteen at once, each sent three times: all count, none twice, and the parts are those of their sum.
    let asked: Vec<_> = (0..48)
        .map(|n| {
            let (vendor, refunds, key) = (vendor.clone(), refunds.clone(), format!("{key}-{}", n % 16));
            let body = json!({ "amount": fen(100), "reason": format!("part {}", n % 16) });
            tokio::spawn(async move { (key.clone(), vendor.post_with(&key, &refunds, body)) })
        })
        .collect();
    let mut done: BTreeMap<String, String> = BTreeMap::new();
    for refund in asked {
        match refund.await.unwrap() {
            (key, answer) if answer.status == 201 => assert_eq!(*done.entry(key).or_insert_with(|| answer.text.clone()), answer.text),
            (_, answer) => drop(answer.problem(409, "idempotency_key_in_use")),
        }
    }
    let left: BTreeSet<i64> = done.values().map(|text| amount(&serde_json::from_str::<Value>(text).unwrap()["left"])).collect();
    assert_eq!(left, (0..16).map(|n| 67 + 100 * n).collect(), "each shows what was left after it");
    let rest = vendor.post(&refunds, json!({ "reason": "the rest" })).with(201);
    assert_eq!((&rest["amount"], &rest["left"]), (&fen(67), &fen(0)));
    vendor.post(&refunds, json!({ "reason": "once more" })).problem(409, "refund_exceeds");
    assert_eq!(vendor.wallet(), [10_000, 0, 10_000]);
    let listed = vendor.shown(&talk.call)["adjustments"].as_array().unwrap().clone();
    let borne = |side: &str| listed.iter().map(|one| amount(&one[side])).sum::<i64>();
    assert_eq!((listed.len(), borne("companion"), borne("vendor")), (18, 1400, 600), "exactly both shares");

    // A dispute: what went back is taken again, and some of it given back at the vendor's cost.
    let adjust = |direction: &str, reason: &str, amount: i64, from: &str| {
        vendor.post(
            &adjustments,
            json!({ "amount": fen(amount), "direction": direction, "reason": reason, "text": "as agreed", "from": from }),
        )
    };
    adjust("from_client", "correction", 2001, "shares").problem(409, "refund_exceeds");
    adjust("from_client", "correction", 1, "vendor").problem(409, "refund_exceeds");
    let taken = adjust("from_client", "correction", 2000, "shares").with(201);
    assert_eq!((&taken["companion"], &taken["vendor"], &taken["left"]), (&fen(1400), &fen(600), &fen(2000)));
    assert_eq!((&taken["reason"], &taken["text"]), (&json!("correction"), &json!("as agreed")));
    for reason in ["quality", "not_delivered", "wrong_grade", "conduct", "billing_error", "goodwill", "chargeback", "other"] {
        let given = adjust("to_client", reason, 10, "vendor").with(201);
        assert_eq!((&given["companion"], &given["vendor"]), (&fen(0), &fen(10)), "{reason}");
    }
    adjust("to_client", "goodwill", 1921, "shares").problem(409, "refund_exceeds");
    assert_eq!(vendor.wallet(), [8080, 0, 8080]);

    // The record stands; what came after it stands beside it, for each as far as it is hers to see.
    assert_eq!(vendor.record(&talk.call), record);
    let receipt = vendor.get(&format!("/v1/calls/{id}/receipt")).with(200);
    assert_eq!(receipt, talk.server.as_party("GET", "/v1/join/receipt", &talk.call.client, "").with(200));
    assert_eq!(receipt["adjustments"].as_array().unwrap().len(), 27);
    let at = &receipt["adjustments"][0]["at"];
    assert_eq!(receipt["adjustments"][0], json!({ "kind": "refund", "direction": "to_client", "amount": fen(333), "at": at }));
    let statement_of_hers = talk.server.as_party("GET", "/v1/join/receipt", &talk.call.companion, "").with(200);
    assert_eq!(statement_of_hers["earned"], fen(1400));
    let hers = statement_of_hers["adjustments"].as_array().unwrap();
    assert_eq!((hers.len(), &hers[0]["amount"]), (19, &fen(233)), "what the vendor bore alone is not hers");
    let in_list = vendor.get("/v1/calls?state=settled").with(200);
    assert_eq!(in_list["items"][0]["adjustments"].as_array().unwrap().len(), 27);

    let lines = statement(&vendor, "wei");
    assert_eq!((lines.len(), kinds(&lines)[..9].to_vec()), (29, [["adjustment"; 9].to_vec()].concat()));
    assert_eq!(kinds(&lines)[9..], [["call_refund"; 18].as_slice(), &["capture", "credit"]].concat());
    assert_eq!((lines[27]["call_id"].as_str(), &lines[27]["amount"]), (Some(id.as_str()), &fen(-2000)));

    // What she spent elsewhere cannot be taken from her.
    vendor.post("/v1/clients/wei/refunds", json!({ "amount": fen(8080), "order_ref": "all back" })).with(201);
    let short = adjust("from_client", "correction", 10, "vendor");
    assert!(short.problem(402, "insufficient_funds").contains("0.00 CNY"));

    let stranger = talk.server.vendor("Stranger");
    stranger.post(&refunds, json!({ "reason": "not mine" })).problem(404, "not_found");
    stranger
        .post(&adjustments, json!({ "amount": fen(1), "direction": "to_client", "reason": "other", "text": "x" }))
        .problem(404, "not_found");
    vendor.post("/v1/calls/nonsense/refunds", json!({ "reason": "no call" })).problem(404, "not_found");
    talk.server.adds_up();
}

#[test]
fn a_wallet_gives_back_what_is_free_and_an_order_shows_both() {
    let server = Server::start("");
    let (vendor, other) = (server.vendor("House"), server.vendor("Other"));
    let call = vendor.call(600, 10_000); // holds 2000
    vendor.post(&format!("/v1/calls/{}/refunds", call.id), json!({ "reason": "too early" })).problem(409, "call_state");
    let refunds = "/v1/clients/wei/refunds";
    let refund = |amount: Value, order_ref: &str| json!({ "amount": amount, "order_ref": order_ref, "reason": "not used" });
    let too_much = vendor.post(refunds, refund(fen(8001), "r-1")).problem(402, "insufficient_funds");
    assert!(too_much.contains("80.00 CNY") && !too_much.contains("credit"), "{too_much}");
    vendor.post(refunds, refund(json!({ "amount": 1, "currency": "USD" }), "r-1")).problem(402, "insufficient_funds");
    vendor.post("/v1/clients/nobody/refunds", refund(fen(1), "r-1")).problem(402, "insufficient_funds");
    vendor.get("/v1/clients/nobody").problem(404, "not_found");

    let key = fresh();
    let first = vendor.post_with(&key, refunds, refund(fen(3000), "r-1"));
    assert_eq!((first.status, first.header("location")), (201, "/v1/clients/wei/transfers"));
    let shown = first.json();
    assert_eq!((&shown["amount"], &shown["order_ref"], &shown["by"]), (&fen(3000), &json!("r-1"), &json!("api_key")));
    let again = vendor.post_with(&key, refunds, refund(fen(3000), "r-1"));
    assert_eq!((again.header("idempotent-replayed"), &again.text), ("true", &first.text));
    let twice = vendor.post(refunds, refund(fen(1), "r-1"));
    let named = twice.json();
    twice.problem(409, "order_refunded");
    assert_eq!((&named["field"], &named["first"]["amount"], &named["first"]["id"]), (&json!("order_ref"), &fen(3000), &shown["id"]));
    assert_eq!(vendor.wallet(), [7000, 2000, 5000]);

    // The order itself: credited, refunded in part, refunded.
    let credits = "/v1/clients/wei/credits";
    let order_ref = "订单/7 a";
    let path = "/v1/orders/%E8%AE%A2%E5%8D%95%2F7%20a";
    vendor.get(path).problem(404, "not_found");
    vendor.post(credits, json!({ "amount": fen(500), "order_ref": order_ref })).with(201);
    let order = vendor.get(path).with(200);
    assert_eq!((&order["state"], &order["credit"]["amount"], &order["refund"]), (&json!("credited"), &fen(500), &Value::Null));
    assert_eq!((&order["order_ref"], &order["credit"]["client_ref"]), (&json!(order_ref), &json!("wei")));
    vendor.post(refunds, refund(fen(200), order_ref)).with(201);
    let order = vendor.get(path).with(200);
    assert_eq!(
        (&order["state"], &order["refund"]["amount"], &order["refund"]["reason"]),
        (&json!("partly_refunded"), &fen(200), &json!("not used"))
    );
    vendor.get("/v1/orders/r-1").with(200);
    other.get(path).problem(404, "not_found");

    // Repeated under another key: refused with a code of its own, and the first is shown.
    let repeated = vendor.post("/v1/clients/lan/credits", json!({ "amount": fen(9), "order_ref": order_ref }));
    let named = repeated.json();
    repeated.problem(409, "order_credited");
    assert_eq!((&named["first"]["client_ref"], &named["first"]["amount"]), (&json!("wei"), &fen(500)));
    vendor.get("/v1/clients/lan").problem(404, "not_found");

    let lines = statement(&vendor, "wei");
    assert_eq!(kinds(&lines), ["wallet_refund", "credit", "wallet_refund", "credit"]);
    assert_eq!((&lines[0]["text"], &lines[0]["order_ref"]), (&json!("not used"), &json!(order_ref)));

    // Several currencies: say which.
    vendor.post(credits, json!({ "amount": { "amount": 5, "currency": "USD" }, "order_ref": "usd" })).with(201);
    assert_eq!(vendor.get("/v1/clients/wei/transfers").with(400)["field"], "currency");
    let dollars = vendor.get("/v1/clients/wei/transfers?currency=USD").with(200);
    assert_eq!((dollars["items"].as_array().unwrap().len(), &dollars["posted"]["amount"]), (1, &json!(5)));
    assert_eq!(vendor.get("/v1/clients/wei/transfers?currency=ZZZ").with(400)["field"], "currency");
    vendor.get("/v1/clients/wei/transfers?currency=EUR").problem(404, "not_found");
    for cursor in ["nonsense", "call_1", "1.5"] {
        assert_eq!(vendor.get(&format!("/v1/clients/wei/transfers?currency=CNY&after={cursor}")).with(400)["field"], "after");
    }
    vendor.post(&format!("/v1/calls/{}/end", call.id), json!({})).with(200);
    let free = vendor.post(&format!("/v1/calls/{}/refunds", call.id), json!({ "reason": "it was free" }));
    assert!(free.problem(409, "refund_exceeds").contains("free"));
    server.adds_up();
}

/// Every command that takes money, and every amount that is none: the field is named, and nothing moves.
#[test]
fn what_is_no_amount_is_refused_by_field_and_moves_nothing() {
    let server = Server::start("");
    let vendor = server.vendor("House");
    let call = vendor.call(600, 10_000);
    let commands = [
        ("/v1/clients/wei/credits".to_owned(), json!({ "order_ref": "bad" }), "amount"),
        ("/v1/clients/wei/refunds".to_owned(), json!({ "order_ref": "bad" }), "amount"),
        (format!("/v1/calls/{}/refunds", call.id), json!({ "reason": "bad" }), "amount"),
        (format!("/v1/calls/{}/adjustments", call.id), json!({ "direction": "to_client", "reason": "other", "text": "bad" }), "amount"),
        ("/v1/plans".to_owned(), json!({ "name": "bad", "kind": "block", "block_s": 60 }), "price"),
    ];
    // As they stand in the body: serde_json would write some of them in another way.
    let bad_amounts = [
        "-1",
        "0",
        "-0",
        "0.5",
        "1.0",
        "20.00",
        "1e3",
        "2E0",
        "9007199254740992",
        "18446744073709551616",
        "1e400",
        "\"20\"",
        "null",
        "[1]",
        "true",
    ];
    let bad_currencies = ["\"cny\"", "\"RMB\"", "\"ZZZ\"", "\"CN\"", "\"¥\"", "156", "null"];
    for (path, rest, field) in &commands {
        let ask = |amount: &str, currency: &str| {
            let rest = rest.to_string();
            let body = format!("{},\"{field}\":{{\"amount\":{amount},\"currency\":{currency}}}}}", &rest[..rest.len() - 1]);
            let headers = [
                ("authorization", format!("Bearer {}", vendor.key)),
                ("content-type", "application/json".to_owned()),
                ("idempotency-key", fresh()),
            ];
            let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            server.send("POST", path, &headers, &body)
        };
        for amount in bad_amounts {
            let refused = ask(amount, "\"CNY\"").with(400);
            assert_eq!(refused["code"], "invalid_request", "{path} {amount}");
            // What is no number of JSON's readers at all is not a body.
            if !amount.contains("e400") {
                assert_eq!(refused["field"], format!("{field}.amount"), "{path} {amount}: {refused}");
            }
        }
        for currency in bad_currencies {
            let refused = ask("20", currency).with(400);
            assert_eq!(
                (&refused["code"], &refused["field"]),
                (&json!("invalid_request"), &json!(format!("{field}.currency"))),
                "{path} {currency}"
            );
        }
    }
    assert_eq!(vendor.wallet(), [10_000, 2000, 8000]);
    assert_eq!(statement(&vendor, "wei").len(), 1);
    vendor.get("/v1/orders/bad").problem(404, "not_found");
    server.adds_up();
}

/// Clients that duplicate.
const CLIENTS: u64 = 32;

/// A command that all of them send, each as often as it likes.
struct Command {
    key: String,
    path: String,
    body: Value,
}

fn commands(vendor: &Vendor) -> Vec<Command> {
    let (plan, companion) = (vendor.plan(600), vendor.companion());
    let of = |path: &str, body: Value| Command { key: fresh(), path: path.to_owned(), body };
    let mut commands: Vec<Command> =
        (0..6).map(|n| of("/v1/clients/wei/credits", json!({ "amount": fen(5000 + n), "order_ref": format!("in-{n}") }))).collect();
    commands.extend((0..4).map(|n| of("/v1/clients/wei/refunds", json!({ "amount": fen(100 + n), "order_ref": format!("out-{n}") }))));
    let order = json!({ "plan_id": plan, "client_ref": "wei", "companion_id": companion });
    commands.extend((0..4).map(|_| of("/v1/calls", order.clone())));
    // Calls that are there before, to be ended.
    vendor.credit("lan", 10_000);
    let order = json!({ "plan_id": plan, "client_ref": "lan", "companion_id": companion });
    let calls = (0..3).map(|_| vendor.post("/v1/calls", order.clone()).with(201)["id"].as_str().unwrap().to_owned());
    commands.extend(calls.map(|id| of(&format!("/v1/calls/{id}/end"), json!({}))));
    commands
}

/// Sends a command and does not wait for its reply.
fn send_and_hang_up(server: &Server, vendor: &Vendor, command: &Command) {
    let address = server.base.strip_prefix("http://").unwrap();
    let body = command.body.to_string();
    let mut line = TcpStream::connect(address).unwrap();
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nIdempotency-Key: {}\r\nContent-Length: {}\r\n\r\n",
        command.path,
        vendor.key,
        command.key,
        body.len()
    );
    line.write_all(head.as_bytes()).unwrap();
    line.write_all(body.as_bytes()).unwrap();
}

/// What all clients were answered: by key, the body and how often it was the first one.
type Heard = Mutex<BTreeMap<String, (Value, usize)>>;

/// One client: sends every command in an order of her own, some twice, some without waiting, until each is done.
fn a_careless_client(seed: u64, server: &Server, vendor: &Vendor, commands: &[Command], heard: &Heard) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut left: Vec<&Command> = commands.iter().chain(commands.iter().filter(|_| random.random_ratio(1, 2))).collect();
    while !left.is_empty() {
        left.shuffle(&mut random);
        left.retain(|command| {
            if random.random_ratio(1, 4) {
                send_and_hang_up(server, vendor, command);
                return true;
            }
            let answer = vendor.post_with(&command.key, &command.path, command.body.clone());
            match answer.status {
                200 | 201 => {
                    let is_first = answer.header("idempotent-replayed").is_empty();
                    let mut heard = heard.lock().unwrap();
                    let (body, first) = heard.entry(command.key.clone()).or_insert_with(|| (answer.json(), 0));
                    assert_eq!(*body, answer.json(), "every answer to a key is the same");
                    *first += usize::from(is_first);
                    false
                }
                // The first is under way, or the money is not there yet: nothing was done, and the same key may try again.
                402 | 409 => {
                    let code = answer.json()["code"].as_str().unwrap().to_owned();
                    assert!(["idempotency_key_in_use", "insufficient_funds"].contains(&code.as_str()), "{answer:?}");
                    true
                }
                _ => panic!("{answer:?}"),
            }
        });
    }
}

#[test]
fn whatever_is_duplicated_reordered_or_lost_counts_once() {
    let mut server = Server::start("[signaling]\nip_requests_per_second = 100000\ncaller_requests_per_second = 100000");
    let (vendor, other) = (server.vendor("House"), server.vendor("Other"));
    let commands = commands(&vendor);
    let heard = Heard::default();
    std::thread::scope(|scope| {
        for seed in 0..CLIENTS {
            let (server, vendor, commands, heard) = (&server, &vendor, &commands, &heard);
            scope.spawn(move || a_careless_client(seed, server, vendor, commands, heard));
        }
    });
    let heard = heard.into_inner().unwrap();
    assert_eq!(heard.len(), commands.len());
    for (key, (body, first)) in &heard {
        // None, if the first one's reply was lost.
        assert!(*first <= 1, "{key} was done {first} times: {body}");
    }
    let paid_in: i64 = (0..6).map(|n| 5000 + n).sum();
    let paid_out: i64 = (0..4).map(|n| 100 + n).sum();
    assert_eq!(vendor.wallet(), [paid_in - paid_out, 8000, paid_in - paid_out - 8000]);
    assert_eq!(vendor.get("/v1/calls?state=open").with(200)["items"].as_array().unwrap().len(), 4);
    assert_eq!(vendor.get("/v1/calls?state=settled").with(200)["items"].as_array().unwrap().len(), 3);
    assert_eq!(amount(&vendor.get("/v1/clients/lan").with(200)["wallets"][0]["available"]), 10_000, "what was never live is free");
    assert_eq!(statement(&vendor, "wei").len(), 10);

    // For ever, also after a sudden end, for this vendor alone, and for this request alone.
    let before = server.base.clone();
    server.kill();
    server.launch();
    let (vendor, other) = (vendor.at(&server), other.at(&server));
    for command in &commands {
        let late = vendor.post_with(&command.key, &command.path, command.body.clone());
        let status = if command.path.ends_with("/end") { 200 } else { 201 };
        assert_eq!((late.status, late.header("idempotent-replayed")), (status, "true"), "{late:?}");
        // It came back at another port, which its links name.
        let late: Value = serde_json::from_str(&late.text.replace(&server.base, &before)).unwrap();
        assert_eq!(late, heard[&command.key].0);
        let mut changed = command.body.clone();
        changed["client_ref"] = json!("lan");
        changed["reason"] = json!("another");
        let changed = vendor.post_with(&command.key, &command.path, changed).status;
        assert!([400, 422].contains(&changed), "{changed}");
    }
    for command in &commands[..6] {
        let theirs = other.post_with(&command.key, &command.path, command.body.clone());
        assert_eq!((theirs.status, theirs.header("idempotent-replayed")), (201, ""), "{theirs:?}");
        let mut changed = command.body.clone();
        changed["order_ref"] = json!("another");
        vendor.post_with(&command.key, &command.path, changed).problem(422, "idempotency_key_reused");
    }
    assert_eq!(amount(&other.get("/v1/clients/wei").with(200)["wallets"][0]["posted"]), paid_in);
    server.adds_up();
}
