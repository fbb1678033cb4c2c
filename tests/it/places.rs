//! Who holds a party's place on the line, and what counts when somebody else takes it or comes back in part.

use crate::calls::{ATTENTIVE, HIGH, LOW, Talk, join, peer};
use crate::page::Page;
use crate::server::{Server, booked, fen, fresh, wait_for};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_companion_who_comes_back_without_a_sound_is_away_and_the_meter_stands() {
    let mut talk = Talk::new(ATTENTIVE, 60).await;
    // A page that was loaded again and waits for its microphone: connected, and never heard.
    let mut back = peer().await;
    join(&talk.server, &talk.call.companion, &back).await;
    let paused = talk.vendor.until(&talk.call, "paused");
    assert_eq!((&paused["paused_by"], &paused["running"]), (&json!("companion"), &json!(false)), "{paused}");
    back.hum(LOW);
    talk.client.hears_tone(LOW).await;
    let live = talk.vendor.until(&talk.call, "live");
    assert_eq!(live["running"], true, "{live}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hanging_up_a_leg_that_nobody_talks_over_ends_only_that_leg() {
    let talk = Talk::new("", 60).await;
    let offer = peer().await.offer().await;
    let aside = talk.server.as_party("POST", "/v1/join", &talk.call.client, &offer);
    assert_eq!(aside.status, 201, "{aside:?}");
    let leg = aside.header("location").to_owned();
    let done = talk.server.as_party("DELETE", &leg, &talk.call.client, "");
    assert!((200..300).contains(&done.status), "{done:?}");
    talk.server.as_party("DELETE", &leg, &talk.call.client, "").problem(404, "not_found");
    assert_eq!(talk.vendor.shown(&talk.call)["state"], "live");
    let mut client = talk.client;
    client.hears_tone(LOW).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_whose_place_was_taken_does_not_take_it_back_by_itself() {
    let server = Server::start("");
    let vendor = server.vendor("Places");
    let call = vendor.call(60, 2000);
    let (mut first, _) = Page::open_as(&server.base, &call.client, "the-first-load").await;
    let one = peer().await;
    first.join(&one).await;
    first.until_call(|call| call["client"]["present"] == true).await;
    // Her line goes dead without a word, and she opens the link elsewhere.
    first.close().await;
    let mut second = Page::welcome(&server.base, &call.client).await;
    let mut two = peer().await;
    second.join(&two).await;
    two.hum(HIGH);
    // The new leg counts once it is connected; until then the first may still come back.
    let refused = wait_for("the first page to be refused", || {
        let answer = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(Page::open_as(&server.base, &call.client, "the-first-load"))
        });
        Some(answer.1).filter(|answer| answer["type"] == "error")
    });
    assert_eq!(refused["code"], "replaced", "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_that_came_to_nothing_may_be_tried_again_and_counts_once_when_it_does() {
    let server = Server::start("");
    let vendor = server.vendor("Poor");
    let call = vendor.call(60, 2000);
    let (client, companion) = (peer().await, peer().await);
    let mut page = Page::welcome(&server.base, &call.client).await;
    page.join(&client).await;
    join(&server, &call.companion, &companion).await;
    let (mut client, mut companion) = (client, companion);
    client.hum(HIGH);
    companion.hum(LOW);
    vendor.until(&call, "live");
    let key = fresh();
    page.say(json!({ "type": "extend", "key": key })).await;
    assert_eq!(page.until("error").await["code"], "insufficient_funds");
    vendor.credit("wei", 4000);
    page.say(json!({ "type": "extend", "key": key })).await;
    page.until("extended").await;
    page.say(json!({ "type": "extend", "key": key })).await;
    page.say(json!({ "type": "devices", "audio": false, "video": false })).await;
    let seen = page.until_call(|call| call["client"]["audio"] == false).await;
    assert_eq!((&seen["blocks"], &seen["available"]), (&json!(2), &fen(2000)), "{seen}");
}

#[test]
fn a_block_longer_than_a_call_may_last_is_not_sold() {
    let server = Server::start("[call]\nmax_duration_s = 60");
    let vendor = server.vendor("Short");
    let plan = |block_s: i64| json!({ "name": "night", "kind": "block", "block_s": block_s, "price": fen(2000) });
    let detail = vendor.post("/v1/plans", plan(61)).problem(400, "invalid_request");
    assert!(detail.contains("60 s"), "{detail}");
    vendor.credit("wei", 2000);
    let order = json!({ "plan_id": vendor.plan(60), "client_ref": "wei", "companion_id": vendor.companion() });
    booked(&vendor.post("/v1/calls", order).with(201));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_was_withdrawn_lets_nobody_in_and_puts_out_who_came_by_it() {
    let mut talk = Talk::new("", 60).await;
    let mut page = Page::welcome(&talk.server.base, &talk.call.client).await;
    let path = format!("/v1/calls/{}/links", talk.call.id);
    talk.vendor.post(&path, json!({ "party": "supervisor" })).problem(400, "invalid_request");
    let key = fresh();
    let renewed = talk.vendor.post_with(&key, &path, json!({ "party": "client" })).with(200);
    let again = talk.vendor.post_with(&key, &path, json!({ "party": "client" }));
    assert_eq!((again.header("idempotent-replayed"), again.json()), ("true", renewed.clone()));
    let link = booked(&renewed);
    assert_ne!(link.client, talk.call.client);
    assert_eq!(link.companion, talk.call.companion, "the other party keeps hers");

    assert_eq!(page.until("error").await["code"], "token_revoked");
    talk.client.is_closed().await;
    let offer = peer().await.offer().await;
    talk.server.as_party("POST", "/v1/join", &talk.call.client, &offer).problem(401, "token_revoked");
    let (_, refused) = Page::open(&talk.server.base, &talk.call.client).await;
    assert_eq!(refused["code"], "token_revoked", "{refused}");

    let paused = talk.vendor.until(&talk.call, "paused");
    assert_eq!(paused["paused_by"], "client");
    let mut back = peer().await;
    join(&talk.server, &link.client, &back).await;
    back.hum(HIGH);
    back.hears_tone(LOW).await;
    talk.vendor.until(&talk.call, "live");
}
