//! The REST interface with the real house behind it: what belongs to whom, what counts once, who may come in.
//! (Form and range of every field are tested in the signaling crate, whose house is a fake.)

use crate::page::Page;
use crate::peer::Peer;
use crate::server::{Server, booked, fen, fresh};
use lull::store::{Role, Store};
use serde_json::{Value, json};
use signaling::auth::TokenKey;
use signaling::inbound::{self, Claims};
use webrtc::peer_connection::SrtpProtectionProfile;

const MARKUP: &str = "<img src=x onerror=alert(1)>&lt;\"'`${7*7}";

#[test]
fn another_vendors_things_are_not_there() {
    let server = Server::start("");
    let (owner, stranger) = (server.vendor("Owner"), server.vendor("Stranger"));
    let call = owner.call(600, 10_000);
    let shown = owner.shown(&call);
    let (plan, companion) = (shown["plan_id"].as_str().unwrap(), shown["companion_id"].as_str().unwrap());

    // Word for word as for what nobody has.
    let same = |path: &dyn Fn(&str) -> String, id: &str| {
        let unknown = format!("{}_{}", id.split_once('_').unwrap().0, "0".repeat(32));
        let theirs = stranger.get(&path(id));
        assert_eq!((theirs.status, &theirs.text), (404, &stranger.get(&path(&unknown)).text), "{id}");
        theirs.problem(404, "not_found");
        stranger.get(&path("nonsense")).problem(404, "not_found");
    };
    same(&|id| format!("/v1/plans/{id}"), plan);
    same(&|id| format!("/v1/companions/{id}"), companion);
    for part in ["", "/links", "/record", "/receipt"] {
        same(&|id| format!("/v1/calls/{id}{part}"), &call.id);
    }
    stranger.get("/v1/clients/wei").problem(404, "not_found");
    for list in ["/v1/plans", "/v1/companions", "/v1/calls", "/v1/calls?state=open"] {
        assert_eq!(stranger.get(list).with(200), json!({ "items": [], "next_cursor": null }), "{list}");
    }
    for body in [json!({}), json!({ "order_ref": "order-1" }), json!({ "gift_s": 60 })] {
        stranger.extend(&call, body).problem(404, "not_found");
    }
    stranger.post(&format!("/v1/calls/{}/end", call.id), json!({})).problem(404, "not_found");
    stranger.credit("wei", 10_000);
    let own = stranger.call(600, 1).id; // Has a plan and a companion of its own.
    let own = stranger.get(&format!("/v1/calls/{own}")).with(200);
    for (field, theirs) in [("plan_id", plan), ("companion_id", companion)] {
        let mut order = json!({ "plan_id": own["plan_id"], "client_ref": "wei", "companion_id": own["companion_id"] });
        order[field] = json!(theirs);
        stranger.post("/v1/calls", order).problem(404, "not_found");
    }
    assert_eq!(owner.wallet(), [10_000, 2000, 8000]);
    assert_eq!(owner.shown(&call)["state"], "connecting");
    server.adds_up();
}

#[test]
fn a_key_counts_once_and_its_reply_is_given_again() {
    let server = Server::start("");
    let (vendor, other) = (server.vendor("House"), server.vendor("Other"));
    let (plan, companion) = (vendor.plan(600), vendor.companion());
    let order = json!({ "plan_id": plan, "client_ref": "wei", "companion_id": companion });

    // A refusal is no effect: the same key works once there is money.
    let key = fresh();
    assert!(vendor.post_with(&key, "/v1/calls", order.clone()).problem(402, "insufficient_funds").contains("credit it first"));
    vendor.credit("wei", 4000);
    let first = vendor.post_with(&key, "/v1/calls", order.clone());
    assert_eq!((first.status, first.header("idempotent-replayed")), (201, ""));
    let again = vendor.post_with(&key, "/v1/calls", order.clone());
    assert_eq!((again.status, again.header("idempotent-replayed")), (201, "true"));
    assert_eq!(first.json(), again.json(), "links and all");
    assert_eq!(first.header("location"), again.header("location"));
    let call = booked(&first.json());
    assert_eq!(vendor.get(&format!("/v1/calls/{}/links", call.id)).with(200)["client"]["token"], json!(call.client));
    let mut another = order.clone();
    another["client_ref"] = json!("lan");
    vendor.post_with(&key, "/v1/calls", another).problem(422, "idempotency_key_reused");
    vendor.post_with(&key, "/v1/companions", json!({ "name": "Lin" })).problem(422, "idempotency_key_reused");
    other.post_with(&key, "/v1/companions", json!({ "name": "Lin" })).with(201);
    assert_eq!(vendor.wallet(), [4000, 2000, 2000]);
    assert_eq!(vendor.get("/v1/calls").with(200)["items"].as_array().unwrap().len(), 1);

    // The end is said once, and the same key hears it again.
    let (key, path) = (fresh(), format!("/v1/calls/{}/end", call.id));
    let ended = vendor.post_with(&key, &path, json!({})).with(200);
    assert_eq!((&ended["state"], &ended["end_reason"], &ended["charge"]), (&json!("settled"), &json!("vendor_ended"), &fen(0)));
    let again = vendor.post_with(&key, &path, json!({}));
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!(again.with(200), ended);
    vendor.post(&path, json!({})).problem(410, "call_ended");
    assert_eq!(vendor.wallet(), [4000, 0, 4000]);
}

#[test]
fn an_order_of_the_shop_counts_once_and_money_stays_in_its_currency() {
    let server = Server::start("");
    let (vendor, other) = (server.vendor("House"), server.vendor("Other"));
    let credits = "/v1/clients/wei/credits";
    let credit = |amount: Value| json!({ "amount": amount, "order_ref": "order-1" });
    let key = fresh();
    let first = vendor.post_with(&key, credits, credit(fen(3000))).with(201);
    assert_eq!(first, json!({ "client_ref": "wei", "order_ref": "order-1", "amount": fen(3000) }));
    let again = vendor.post_with(&key, credits, credit(fen(3000)));
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!(again.with(201), first);
    vendor.post(credits, credit(fen(3000))).problem(409, "order_credited");
    vendor.post("/v1/clients/lan/credits", credit(fen(3000))).problem(409, "order_credited");
    other.post(credits, credit(fen(3000))).with(201);
    assert_eq!(vendor.wallet(), [3000, 0, 3000]);

    let most = json!({ "amount": 9_007_199_254_740_991_i64, "currency": "CNY" });
    let too_much = vendor.post(credits, json!({ "amount": most, "order_ref": "order-2" })).problem(409, "limit_reached");
    assert!(too_much.contains("2^53") && too_much.contains("all credits"), "{too_much}");
    // Two orders that look the same.
    for order_ref in ["order-1 ", " order-1"] {
        let refused = vendor.post(credits, json!({ "amount": fen(3000), "order_ref": order_ref })).with(400);
        assert_eq!((&refused["code"], &refused["field"]), (&json!("invalid_request"), &json!("order_ref")));
    }
    let unknown = json!({ "amount": { "amount": 1, "currency": "ZZZ" }, "order_ref": "order-3" });
    let refused = vendor.post(credits, unknown).with(400);
    assert_eq!((&refused["code"], &refused["field"]), (&json!("invalid_request"), &json!("amount.currency")));
    let plan = json!({ "name": "x", "kind": "block", "block_s": 60, "price": { "amount": 1, "currency": "ZZZ" } });
    assert_eq!(vendor.post("/v1/plans", plan).with(400)["field"], "price.currency");

    // Dollars buy no yuan.
    let dollars = json!({ "amount": { "amount": 100_000, "currency": "USD" }, "order_ref": "order-4" });
    vendor.post("/v1/clients/kim/credits", dollars).with(201);
    let order = json!({ "plan_id": vendor.plan(600), "client_ref": "kim", "companion_id": vendor.companion() });
    vendor.post("/v1/calls", order).problem(402, "insufficient_funds");
    assert_eq!(vendor.get("/v1/clients/kim").with(200)["wallets"].as_array().unwrap().len(), 1);
    server.adds_up();
}

#[test]
fn lists_are_read_page_by_page() {
    let server = Server::start("");
    let vendor = server.vendor("House");
    let made: Vec<Value> = (1..=5).map(|s| json!(vendor.plan(s))).collect();
    let ids = |page: &Value| page["items"].as_array().unwrap().iter().map(|item| item["id"].clone()).collect::<Vec<_>>();
    let (mut read, mut path) = (Vec::new(), "/v1/plans?limit=2".to_owned());
    loop {
        let page = vendor.get(&path).with(200);
        assert!(ids(&page).len() <= 2);
        read.extend(ids(&page));
        let Some(next) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/plans?limit=2&after={next}");
    }
    assert_eq!(read, made, "oldest first, each once");

    vendor.credit("wei", 10_000);
    let order = json!({ "plan_id": made[0], "client_ref": "wei", "companion_id": vendor.companion() });
    let calls: Vec<Value> = (0..3).map(|_| vendor.post("/v1/calls", order.clone()).with(201)["id"].clone()).collect();
    vendor.post(&format!("/v1/calls/{}/end", calls[1].as_str().unwrap()), json!({})).with(200);
    let newest = vendor.get("/v1/calls?limit=2").with(200);
    assert_eq!(ids(&newest), [calls[2].clone(), calls[1].clone()], "newest first");
    let older = vendor.get(&format!("/v1/calls?after={}", newest["next_cursor"].as_str().unwrap())).with(200);
    assert_eq!((ids(&older), &older["next_cursor"]), (vec![calls[0].clone()], &Value::Null));
    assert_eq!(ids(&vendor.get("/v1/calls?state=open").with(200)), [calls[2].clone(), calls[0].clone()]);
    assert_eq!(ids(&vendor.get("/v1/calls?state=settled").with(200)), [calls[1].clone()]);

    let call = calls[0].as_str().unwrap();
    for (list, cursor) in
        [("plans", "nonsense"), ("plans", call), ("companions", call), ("calls", "plan_1"), ("calls", "%00"), ("calls", "")]
    {
        let refused = vendor.get(&format!("/v1/{list}?after={cursor}")).with(400);
        assert_eq!((&refused["code"], &refused["field"]), (&json!("invalid_request"), &json!("after")), "{list} {cursor}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn markup_in_names_comes_back_as_the_text_it_is() {
    let server = Server::start("");
    let vendor = server.vendor(MARKUP);
    let grade = "<b>Gold</b>";
    let plan = json!({ "name": MARKUP, "kind": "block", "block_s": 600, "price": fen(2000), "grade": grade });
    let plan = vendor.post("/v1/plans", plan).with(201);
    let companion = vendor.post("/v1/companions", json!({ "name": MARKUP, "grade": grade })).with(201);
    let credit = vendor.post("/v1/clients/wei/credits", json!({ "amount": fen(2000), "order_ref": MARKUP })).with(201);
    assert_eq!([&plan["name"], &companion["name"], &credit["order_ref"]], [MARKUP; 3]);
    let order = json!({ "plan_id": plan["id"], "client_ref": "wei", "client_name": MARKUP, "companion_id": companion["id"] });
    let call = booked(&vendor.post("/v1/calls", order).with(201));
    let answer = vendor.get(&format!("/v1/calls/{}", call.id));
    assert_eq!((answer.header("content-type"), answer.header("x-content-type-options")), ("application/json", "nosniff"));
    let shown = answer.with(200);
    assert_eq!([&shown["plan_name"], &shown["client_name"], &shown["companion_name"]], [MARKUP; 3]);
    let (_page, welcome) = Page::open(&server.base, &call.companion).await;
    let view = &welcome["call"];
    assert_eq!([&view["client"]["name"], &view["companion"]["name"], &view["plan_name"]], [MARKUP; 3]);
    vendor.post(&format!("/v1/calls/{}/end", call.id), json!({})).with(200);
    assert_eq!(vendor.get(&format!("/v1/calls/{}/receipt", call.id)).with(200)["plan_name"], MARKUP);
    assert_eq!(vendor.get("/v1/session").with(200)["vendor_name"], MARKUP);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_its_own_side_of_its_own_call() {
    let server = Server::start("");
    let vendor = server.vendor("House");
    let (call, other) = (vendor.call(600, 10_000), vendor.call(600, 10_000));
    let key = {
        let store = Store::open(&server.database(), Role::Tool).unwrap();
        TokenKey::new(store.secret("join_token", [0; 32]).unwrap())
    };
    let now = jiff::Timestamp::now().as_second();
    let claims = |token: &str| key.verify(token, now).unwrap();
    let minted = |change: &dyn Fn(&mut Claims)| {
        let mut claims = claims(&call.client);
        change(&mut claims);
        key.mint(&claims)
    };
    let forged = TokenKey::new([7; 32]).mint(&claims(&call.client));
    let altered = format!("{}A", &call.client[..call.client.len() - 2]);
    let offer = Peer::new(SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm).await.offer().await;
    for (why, token, status, code) in [
        ("forged", forged, 401, "token_invalid"),
        ("altered", altered, 401, "token_invalid"),
        ("no token", "nonsense".to_owned(), 401, "token_invalid"),
        ("a vendor's key", vendor.key.clone(), 401, "token_invalid"),
        ("long expired", minted(&|c| (c.nbf, c.exp) = (now - 500 * 86_400, now - 401 * 86_400)), 401, "token_expired"),
        ("early", minted(&|c| c.nbf = now + 3600), 401, "token_early"),
        ("withdrawn", minted(&|c| c.jti = format!("tok_{}", "0".repeat(32))), 401, "token_revoked"),
        ("of another call", minted(&|c| c.jti = claims(&other.client).jti), 401, "token_revoked"),
        ("the client as companion", minted(&|c| c.role = inbound::Role::Companion), 401, "token_revoked"),
        ("of no call", minted(&|c| c.call = format!("call_{}", "0".repeat(32))), 404, "not_found"),
        ("of nothing", minted(&|c| c.call = "nonsense".to_owned()), 401, "token_invalid"),
    ] {
        eprintln!("{why}");
        server.as_party("POST", "/v1/join", &token, &offer).problem(status, code);
        server.as_party("GET", "/v1/join/receipt", &token, "").problem(status, code);
        let (mut page, first) = Page::open(&server.base, &token).await;
        assert_eq!((&first["type"], &first["code"]), (&json!("error"), &json!(code)), "{first}");
        assert!(page.next().await.is_none(), "and the socket is closed");
    }
    // A link that is too old to join still shows its receipt, once there is one.
    let expired = minted(&|c| (c.nbf, c.exp) = (now - 7200, now - 3600));
    server.as_party("POST", "/v1/join", &expired, &offer).problem(401, "token_expired");
    server.as_party("GET", "/v1/join/receipt", &expired, "").problem(404, "not_found");
    server
        .send("POST", &format!("/v1/join?token={}", call.client), &[("content-type", "application/sdp")], &offer)
        .problem(401, "unauthorized");
    server.send("GET", "/v1/calls", &[("authorization", &format!("Bearer {}", call.client))], "").problem(401, "unauthorized");
    for no_offer in ["v=0", "not SDP at all", &offer.replace("a=fingerprint", "a=nothing"), &offer.replace("a=ice-ufrag", "a=nothing")] {
        server.as_party("POST", "/v1/join", &call.client, no_offer).problem(422, "offer_invalid");
    }
    let shown = vendor.shown(&call);
    assert_eq!((&shown["client_joined_at"], &shown["companion_joined_at"]), (&Value::Null, &Value::Null));

    // What is not settled has no receipt.
    server.as_party("GET", "/v1/join/receipt", &call.client, "").problem(404, "not_found");
    for part in ["record", "receipt"] {
        vendor.get(&format!("/v1/calls/{}/{part}", call.id)).problem(404, "not_found");
    }
    vendor.extend(&call, json!({})).problem(409, "call_state");
    vendor.extend(&call, json!({ "gift_s": 60 })).problem(409, "call_state");
    vendor.post(&format!("/v1/calls/{}/end", call.id), json!({})).with(200);
    assert_eq!(server.as_party("GET", "/v1/join/receipt", &call.client, "").with(200)["charge"], fen(0));
    assert_eq!(server.as_party("GET", "/v1/join/receipt", &call.companion, "").with(200)["earned"], fen(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn money_for_three_calls_makes_three_calls() {
    let server = Server::start("");
    let vendor = server.vendor("House");
    vendor.credit("wei", 7999);
    let order = json!({ "plan_id": vendor.plan(600), "client_ref": "wei", "companion_id": vendor.companion() });
    let ask = |path: &'static str, body: &Value| {
        let (vendor, body) = (vendor.clone(), body.clone());
        tokio::spawn(async move { vendor.post(path, body).status })
    };
    let credit = json!({ "amount": fen(2000), "order_ref": "one order" });
    let asked: Vec<_> = (0..12).map(|_| (ask("/v1/calls", &order), ask("/v1/clients/lan/credits", &credit))).collect();
    let (mut calls, mut credits) = (Vec::new(), Vec::new());
    for (call, credit) in asked {
        calls.push(call.await.unwrap());
        credits.push(credit.await.unwrap());
    }
    calls.sort_unstable();
    credits.sort_unstable();
    assert_eq!((&calls[..3], calls[3..].iter().all(|status| *status == 402)), (&[201; 3][..], true), "{calls:?}");
    assert_eq!((credits[0], credits[1..].iter().all(|status| *status == 409)), (201, true), "{credits:?}");
    assert_eq!(vendor.wallet(), [7999, 6000, 1999]);
    server.adds_up();
}

#[test]
fn a_full_house_refuses_new_calls_until_one_ends() {
    let server = Server::start("[call]\nmax_open = 1");
    let vendor = server.vendor("House");
    let call = vendor.call(600, 10_000);
    let order = json!({ "plan_id": vendor.plan(600), "client_ref": "wei", "companion_id": vendor.companion() });
    let refused = vendor.post("/v1/calls", order.clone());
    assert!(!refused.header("retry-after").is_empty(), "{refused:?}");
    refused.problem(503, "overloaded");
    assert_eq!(vendor.wallet(), [10_000, 2000, 8000]);
    vendor.post(&format!("/v1/calls/{}/end", call.id), json!({})).with(200);
    vendor.post("/v1/calls", order).with(201);
}
