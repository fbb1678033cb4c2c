//! Whole calls: two peers join the running program, hear each other, and what it then says, ends and charges is right.

use crate::page::Page;
use crate::peer::Peer;
use crate::server::{Booked, Server, Vendor, booked, fen, fresh, ms, wait_for};
use serde_json::{Value, json};
use webrtc::peer_connection::SrtpProtectionProfile;

/// What client and companion hum, in hertz.
pub(crate) const HIGH: f32 = 1500.0;
pub(crate) const LOW: f32 = 500.0;

/// Notices a party who is gone within a second.
pub(crate) const ATTENTIVE: &str = "[call]\nmedia_timeout_s = 1\nquiet_timeout_s = 1\npause_limit_s = 30";

pub(crate) async fn peer() -> Peer {
    Peer::new(SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm).await
}

/// Joins over HTTP; the path of the new leg.
pub(crate) async fn join(server: &Server, token: &str, peer: &Peer) -> String {
    let answer = server.as_party("POST", "/v1/join", token, &peer.offer().await);
    assert_eq!(answer.status, 201, "{answer:?}");
    let leg = answer.header("location").to_owned();
    peer.accept(answer.text).await;
    leg
}

/// A call in which both hum and hear each other.
pub(crate) struct Talk {
    pub(crate) server: Server,
    pub(crate) vendor: Vendor,
    pub(crate) call: Booked,
    pub(crate) client: Peer,
    client_leg: String,
    pub(crate) companion: Peer,
    companion_leg: String,
}

impl Talk {
    /// Of blocks this long, with 100.00 yuan in the wallet before.
    pub(crate) async fn new(settings: &str, block_s: i64) -> Self {
        Self::on(Server::start(settings), block_s).await
    }

    async fn on(server: Server, block_s: i64) -> Self {
        let vendor = server.vendor(&format!("House {}", fresh()));
        let call = vendor.call(block_s, 10_000);
        let (client, companion) = (peer().await, peer().await);
        let client_leg = join(&server, &call.client, &client).await;
        let companion_leg = join(&server, &call.companion, &companion).await;
        let mut talk = Self { server, vendor, call, client, client_leg, companion, companion_leg };
        talk.hum().await;
        talk.vendor.until(&talk.call, "live");
        talk
    }

    async fn hum(&mut self) {
        self.client.hum(HIGH);
        self.companion.hum(LOW);
        self.client.hears_tone(LOW).await;
        self.companion.hears_tone(HIGH).await;
    }

    /// Waits until a second is delivered: what is less is not charged.
    fn a_second(&self) {
        a_second(&self.vendor, &self.call);
    }

    /// Waits for the end; the call, its record, and the charge, which must be in the ledger.
    pub(crate) fn settled(&self, reason: &str, at_fault: &str) -> (Value, Value, i64) {
        let call = self.vendor.until(&self.call, "settled");
        assert_eq!((call["end_reason"].as_str(), call["at_fault"].as_str()), (Some(reason), Some(at_fault)), "{call}");
        let record = self.vendor.record(&self.call);
        let charge = adds_up(&self.server, &self.vendor, &self.call, &call, &record, 10_000);
        (call, record, charge)
    }
}

fn a_second(vendor: &Vendor, call: &Booked) {
    wait_for("a delivered second", || (vendor.shown(call)["delivered_ms"].as_i64() >= Some(1200)).then_some(()));
}

/// Call, record, receipts and wallet must tell the same. Returns the charge.
fn adds_up(server: &Server, vendor: &Vendor, booked: &Booked, call: &Value, record: &Value, wallet: i64) -> i64 {
    for same in
        ["started_at", "ended_at", "delivered_ms", "end_reason", "at_fault", "charge", "refund", "paid_s", "gift_s", "companion_name"]
    {
        assert_eq!(call[same], record[same], "{same}");
    }
    let sum = |list: &str| record[list].as_array().unwrap().iter().map(|line| line["amount"]["amount"].as_i64().unwrap()).sum::<i64>();
    let [charge, refund, held] = ["charge", "refund", "held"].map(|part| record[part]["amount"].as_i64().unwrap());
    assert_eq!((sum("lines"), sum("shares"), charge + refund), (charge, charge, held), "{record}");
    let delivered: i64 = record["segments"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|segment| segment["kind"] == "delivered")
        .map(|segment| ms(&segment["to_at"]) - ms(&segment["from_at"]))
        .sum();
    assert_eq!(Some(delivered), record["delivered_ms"].as_i64(), "{record}");
    let verified = server.verify(&format!("{record:#}"));
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(verified.status.success() && said.contains("a trusted key") && said.contains("rated again, the same"), "{said}");
    assert_eq!(vendor.wallet(), [wallet - charge, 0, wallet - charge], "what was held is captured or free again");

    let receipt = server.as_party("GET", "/v1/join/receipt", &booked.client, "").with(200);
    assert_eq!(vendor.get(&format!("/v1/calls/{}/receipt", booked.id)).with(200), receipt);
    assert_eq!(receipt["record_hash"], record["hash"]);
    for same in ["lines", "charge", "refund", "held", "settlement", "billed_s"] {
        assert_eq!(receipt[same], record[same], "{same}");
    }
    for hidden in ["shares", "vendor_id", "client_ref", "companion_id"] {
        assert!(receipt.get(hidden).is_none(), "{hidden} is not the client's business");
    }
    let statement = server.as_party("GET", "/v1/join/receipt", &booked.companion, "").with(200);
    assert_eq!(statement["earned"], record["shares"][0]["amount"], "{statement}");
    assert!(statement.get("charge").is_none() && statement.get("lines").is_none(), "{statement}");
    server.adds_up();
    charge
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_two_programs_ends_when_its_time_is_up() {
    let mut talk = Talk::new("", 3).await;
    let live = talk.vendor.shown(&talk.call);
    assert_eq!(ms(&live["ends_at"]) - ms(&live["started_at"]), 3000);
    assert_eq!(talk.vendor.wallet(), [10_000, 2000, 8000]);

    for peer in [&mut talk.client, &mut talk.companion] {
        let ended = peer.reads_message("ended").await;
        assert_eq!((&ended["reason"], &ended["at_fault"]), (&json!("time_expired"), &json!("none")));
        assert!(ended["receipt"].is_object(), "{ended}");
        // Said after the end: nobody must hear it.
        peer.talk(b"late");
    }
    for token in [&talk.call.client, &talk.call.companion] {
        let offer = peer().await.offer().await;
        talk.server.as_party("POST", "/v1/join", token, &offer).problem(410, "call_ended");
    }
    for leg in [&talk.client_leg, &talk.companion_leg] {
        let token = if *leg == talk.client_leg { &talk.call.client } else { &talk.call.companion };
        talk.server.as_party("DELETE", leg, token, "").problem(410, "call_ended");
        let fragment = "a=ice-ufrag:back\r\na=ice-pwd:again-again-again-again-again\r\n";
        talk.server.as_party("PATCH", leg, token, fragment).problem(410, "call_ended");
    }
    talk.vendor.extend(&talk.call, json!({})).problem(410, "call_ended");
    for peer in [&mut talk.client, &mut talk.companion] {
        peer.is_closed().await;
        while let Ok(packet) = peer.heard.try_recv() {
            assert_ne!(packet.as_ref(), b"late", "sound after the end");
        }
    }

    let (call, record, charge) = talk.settled("time_expired", "none");
    assert_eq!(charge, 2000);
    assert_eq!((&call["delivered_ms"], &record["billed_s"]), (&json!(3000), &json!(3)));
    assert_eq!(ms(&call["ended_at"]) - ms(&call["started_at"]), 3000, "no pause, so not a millisecond more or less");
    assert_eq!(live["ends_at"], call["ended_at"]);
    assert_eq!(record["settlement"], "as_rated");
    for side in ["client", "companion"] {
        assert!(record["quality"][side]["packets"].as_u64() > Some(0), "{record}");
    }
    let late = ms(&ended_was_said_at(&talk.server)) - ms(&call["ended_at"]);
    assert!((0..250).contains(&late), "the end was carried out {late} ms after it was due");
}

/// When the log says that a call ended.
fn ended_was_said_at(server: &Server) -> Value {
    let log = server.log();
    let line = log.lines().find(|line| line.contains(" ended: ")).unwrap_or_else(|| panic!("{log}"));
    json!(line.split_whitespace().next().unwrap())
}

/// A client on a page and a companion on a page, who hear each other.
struct Scene {
    server: Server,
    vendor: Vendor,
    call: Booked,
    client: Page,
    client_peer: Peer,
    companion: Page,
    companion_peer: Peer,
}

impl Scene {
    async fn new(settings: &str, block_s: i64, wallet: i64) -> Self {
        let server = Server::start(settings);
        let vendor = server.vendor("House");
        let call = vendor.call(block_s, wallet);
        let mut client = Page::welcome(&server.base, &call.client).await;
        let mut companion = Page::welcome(&server.base, &call.companion).await;
        let (mut client_peer, mut companion_peer) = (peer().await, peer().await);
        client.join(&client_peer).await;
        companion.join(&companion_peer).await;
        client_peer.hum(HIGH);
        companion_peer.hum(LOW);
        client_peer.hears_tone(LOW).await;
        companion_peer.hears_tone(HIGH).await;
        client.until_call(|call| call["state"] == "live").await;
        companion.until_call(|call| call["state"] == "live").await;
        Self { server, vendor, call, client, client_peer, companion, companion_peer }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn time_is_added_by_wallet_order_and_gift_each_once() {
    let mut scene = Scene::new("", 2, 5000).await;
    // The wallet has 30.00 left: one more block. The same tap comes on the socket and on the data channel, and then with a new number.
    let tap = scene.client.number(json!({ "type": "extend", "key": "first-tap" }));
    scene.client.send(tap.clone()).await;
    scene.client_peer.say(&tap.to_string()).await;
    scene.client.say(json!({ "type": "extend", "key": "first-tap" })).await;
    let extended = scene.client.until("extended").await;
    assert_eq!((&extended["by"], &extended["added_s"], &extended["free"]), (&json!("client"), &json!(2), &json!(false)));
    assert_eq!(scene.client_peer.reads_message("extended").await["seq"], extended["seq"], "the same message on both ways");
    scene.companion.until("extended").await;

    // What comes twice is answered once.
    let [first, second] = [(); 2].map(|()| scene.companion.number(json!({ "type": "extend", "key": "not-hers-to-buy" })));
    for tap in [&first, &first, &second] {
        scene.companion.send(tap.clone()).await;
    }
    assert_eq!(scene.companion.until("error").await["re"], first["seq"]);
    assert_eq!(scene.companion.until("error").await["re"], second["seq"]);

    // 10.00 is too little for a third one, by page or by API, and nothing changes.
    scene.client.say(json!({ "type": "extend", "key": "second-tap" })).await;
    assert_eq!(scene.client.until("error").await["code"], "insufficient_funds");
    scene.vendor.extend(&scene.call, json!({})).problem(402, "insufficient_funds");
    assert_eq!(scene.vendor.wallet(), [5000, 4000, 1000]);

    // An order paid in the shop is credited and spent in one step, and counts once.
    let by_order = json!({ "order_ref": "order-7" });
    let key = fresh();
    let path = format!("/v1/calls/{}/extend", scene.call.id);
    let first = scene.vendor.post_with(&key, &path, by_order.clone());
    assert_eq!((first.status, first.header("idempotent-replayed")), (200, ""), "{first:?}");
    let again = scene.vendor.post_with(&key, &path, by_order.clone());
    assert_eq!((again.status, again.header("idempotent-replayed")), (200, "true"), "{again:?}");
    assert_eq!(first.text, again.text);
    scene.vendor.extend(&scene.call, by_order.clone()).problem(409, "order_credited");
    scene.vendor.post_with(&key, &path, json!({ "order_ref": "order-8" })).problem(422, "idempotency_key_reused");
    assert_eq!(scene.vendor.wallet(), [7000, 6000, 1000]);

    // Gifts are the companion's, and the client cannot give.
    scene.companion.say(json!({ "type": "gift", "key": "a-gift-of-hers", "minutes": 1 })).await;
    scene.client.say(json!({ "type": "gift", "key": "not-hers-to-give", "minutes": 1 })).await;
    assert_eq!(scene.client.until("error").await["code"], "call_state");
    let gift = scene.companion.until_call(|call| call["gift_s"] == 60).await;
    assert_eq!((&gift["blocks"], &gift["paid_s"], &gift["gift_left_s"]), (&json!(3), &json!(6), &json!(3540)));
    let shown = scene.vendor.shown(&scene.call);
    assert_eq!(ms(&shown["ends_at"]) - ms(&shown["started_at"]), 66_000);

    scene.vendor.post(&format!("/v1/calls/{}/end", scene.call.id), json!({})).with(200);
    let late = scene.vendor.post_with(&key, &path, by_order);
    assert_eq!((late.status, &late.text), (200, &first.text), "what was done stays done");
    let call = scene.vendor.until(&scene.call, "settled");
    let record = scene.vendor.record(&scene.call);
    let kinds: Vec<_> = record["extensions"].as_array().unwrap().iter().map(|e| (e["by"].clone(), e["kind"].clone())).collect();
    assert_eq!(kinds, [(json!("client"), json!("block")), (json!("vendor"), json!("block")), (json!("companion"), json!("gift"))]);
    adds_up(&scene.server, &scene.vendor, &scene.call, &call, &record, 7000);
    assert_eq!((&record["held"], &record["settlement"]), (&fen(6000), &json!("exact_delivered")));
    drop(scene.companion_peer);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_used_twenty_times_at_once_extends_once() {
    let talk = Talk::new("", 600).await;
    let (key, path) = (fresh(), format!("/v1/calls/{}/extend", talk.call.id));
    let ask = || {
        let (vendor, key, path) = (talk.vendor.clone(), key.clone(), path.clone());
        tokio::spawn(async move { vendor.post_with(&key, &path, json!({})) })
    };
    let asked: Vec<_> = (0..20).map(|_| ask()).collect();
    let mut done = Vec::new();
    for answer in asked {
        let answer = answer.await.unwrap();
        match answer.status {
            200 => done.push((answer.header("idempotent-replayed").to_owned(), answer.text)),
            _ => drop(answer.problem(409, "idempotency_key_in_use")),
        }
    }
    assert_eq!(done.iter().filter(|(replayed, _)| replayed.is_empty()).count(), 1, "{done:?}");
    assert!(done.iter().all(|(_, text)| *text == done[0].1), "{done:?}");
    assert_eq!(talk.vendor.shown(&talk.call)["blocks"], 2);
    assert_eq!(talk.vendor.wallet(), [10_000, 4000, 6000]);
}

#[tokio::test(flavor = "multi_thread")]
async fn money_for_one_block_buys_one_block_whoever_is_first() {
    let mut scene = Scene::new("", 600, 4000).await;
    let ask = || {
        let (vendor, path) = (scene.vendor.clone(), format!("/v1/calls/{}/extend", scene.call.id));
        tokio::spawn(async move { vendor.post(&path, json!({})).status })
    };
    let asked = [ask(), ask(), ask()];
    for tap in ["tap-one-of-two", "tap-two-of-two"] {
        scene.client.say(json!({ "type": "extend", "key": tap })).await;
    }
    let extended = scene.client.until_call(|call| call["blocks"] == 2).await;
    assert_eq!(extended["paid_s"], 1200);
    let mut by_vendor = 0;
    for answer in asked {
        match answer.await.unwrap() {
            200 => by_vendor += 1,
            other => assert_eq!(other, 402),
        }
    }
    assert!(by_vendor <= 1);
    assert_eq!(scene.vendor.wallet(), [4000, 4000, 0]);
    assert_eq!(scene.vendor.shown(&scene.call)["blocks"], 2);
    scene.server.adds_up();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_passes_its_limits() {
    let talk = Talk::new("[call]\nmax_duration_s = 100\ngift_limit_s = 60", 20).await;
    for blocks in 2..=3 {
        assert_eq!(talk.vendor.extend(&talk.call, json!({})).with(200)["blocks"], blocks);
    }
    talk.vendor.extend(&talk.call, json!({ "gift_s": 61 })).problem(409, "limit_reached");
    talk.vendor.extend(&talk.call, json!({ "gift_s": 60 })).problem(409, "limit_reached");
    for blocks in 4..=5 {
        let order = json!({ "order_ref": format!("order-{blocks}") });
        assert_eq!(talk.vendor.extend(&talk.call, order).with(200)["blocks"], blocks);
    }
    // What is refused takes no money, and its order can still be used.
    talk.vendor.extend(&talk.call, json!({ "order_ref": "order-6" })).problem(409, "limit_reached");
    assert_eq!(talk.vendor.wallet(), [14_000, 10_000, 4000]);
    let credit = json!({ "amount": fen(2000), "order_ref": "order-6" });
    talk.vendor.post("/v1/clients/wei/credits", credit).with(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn ice_restarts_on_the_own_leg_alone() {
    let mut talk = Talk::new("", 600).await;
    let fresh = "a=ice-ufrag:fresh\r\na=ice-pwd:fresh-fresh-fresh-fresh-fresh\r\n";
    talk.server.as_party("PATCH", &talk.companion_leg, &talk.call.client, fresh).problem(404, "not_found");
    let answer = talk.server.as_party("PATCH", &talk.client_leg, &talk.call.client, "a=end-of-candidates\r\n");
    assert_eq!((answer.status, answer.text.as_str()), (204, ""));
    let answer = talk.server.as_party("PATCH", &talk.client_leg, &talk.call.client, fresh);
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/trickle-ice-sdpfrag"));
    assert!(answer.text.contains("a=ice-ufrag:") && !answer.header("etag").is_empty(), "{answer:?}");
    talk.companion.hears_tone(HIGH).await;
    assert_eq!(talk.vendor.shown(&talk.call)["state"], "live");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hangs_up_ends_the_call() {
    let talk = Talk::new("", 600).await;
    talk.a_second();
    // Somebody else's leg is not there, and the call goes on.
    talk.server.as_party("DELETE", &talk.companion_leg, &talk.call.client, "").problem(404, "not_found");
    assert_eq!(talk.server.as_party("DELETE", &talk.client_leg, &talk.call.client, "").status, 200);
    let (_, _, charge) = talk.settled("client_left", "client");
    assert_eq!(charge, 2000, "a block that began is kept");

    // The companion leaves another call by its data channel: what was delivered is charged, to the second.
    let Talk { server, .. } = talk;
    let talk = Talk::on(server, 600).await;
    talk.a_second();
    talk.companion.say(&json!({ "v": 1, "seq": 1, "type": "hang_up" }).to_string()).await;
    let call = talk.vendor.until(&talk.call, "settled");
    assert_eq!((&call["end_reason"], &call["at_fault"]), (&json!("companion_left"), &json!("companion")));
    assert!((1..100).contains(&call["charge"]["amount"].as_i64().unwrap()), "{call}");
    talk.server.adds_up();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_companions_one_button_ends_an_abusive_call() {
    let mut scene = Scene::new("", 600, 10_000).await;
    scene.client.say(json!({ "type": "report_abuse" })).await;
    assert_eq!(scene.client.until("error").await["code"], "call_state");
    a_second(&scene.vendor, &scene.call);
    scene.companion.say(json!({ "type": "report_abuse" })).await;
    for page in [&mut scene.client, &mut scene.companion] {
        let ended = page.until("ended").await;
        assert_eq!((&ended["reason"], &ended["at_fault"]), (&json!("abuse_reported"), &json!("client")), "{ended}");
    }
    let call = scene.vendor.until(&scene.call, "settled");
    let record = scene.vendor.record(&scene.call);
    assert_eq!(adds_up(&scene.server, &scene.vendor, &scene.call, &call, &record, 10_000), 2000);
    // A page that is opened later still shows the end, and cannot join.
    let (mut page, welcome) = Page::open(&scene.server.base, &scene.call.client).await;
    assert_eq!((&welcome["type"], &welcome["call"]["end_reason"]), (&json!("welcome"), &json!("abuse_reported")));
    assert_eq!(welcome["call"]["receipt"]["charge"], fen(2000));
    let offer = peer().await.offer().await;
    page.say(json!({ "type": "offer", "sdp": offer })).await;
    assert_eq!(page.until("error").await["code"], "call_ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_page_replaces_the_first_and_the_call_goes_on() {
    let mut scene = Scene::new("", 600, 10_000).await;
    let mut second = Page::welcome(&scene.server.base, &scene.call.client).await;
    let mut second_peer = peer().await;
    second.join(&second_peer).await;
    second_peer.hum(900.0);
    second_peer.hears_tone(LOW).await;
    scene.companion_peer.hears_tone(900.0).await;
    scene.client.until("replaced").await;
    assert!(scene.client.next().await.is_none(), "and its socket is closed");
    scene.client_peer.is_closed().await;
    let shown = scene.vendor.shown(&scene.call);
    assert_eq!((&shown["state"], &shown["client"]["present"]), (&json!("live"), &json!(true)));
    // The new one is the client now, and the old page's leg is not hers to hang up.
    second.say(json!({ "type": "hang_up" })).await;
    assert_eq!(second.until("ended").await["reason"], "client_left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_closes_says_nothing_of_the_call() {
    let scene = Scene::new(ATTENTIVE, 600, 10_000).await;
    let Scene { server, vendor, call, mut client, mut client_peer, mut companion, mut companion_peer } = scene;
    let devices = client.number(json!({ "type": "devices", "audio": false, "video": false }));
    let unknown = client.number(json!({ "type": "dance" }));
    client.close().await;
    // Longer than a leg may be silent: the voice itself counts the time.
    companion_peer.hears_packets(75).await;
    companion_peer.hears_tone(HIGH).await;
    client_peer.hears_tone(LOW).await;
    assert_eq!(vendor.shown(&call)["state"], "live");
    // What she has to say goes by data channel now, and she is answered there.
    client_peer.say(&devices.to_string()).await;
    companion.until_call(|call| call["client"]["audio"] == false).await;
    client_peer.say(&unknown.to_string()).await;
    let error = client_peer.reads_message("error").await;
    assert_eq!((&error["code"], &error["re"]), (&json!("unknown_type"), &unknown["seq"]));
    assert!(!server.log().contains("paused"), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_companion_who_falls_silent_pauses_the_call_and_comes_back_on_a_new_leg() {
    let mut scene = Scene::new(ATTENTIVE, 4, 10_000).await;
    a_second(&scene.vendor, &scene.call);
    scene.companion_peer.hush();
    let paused = scene.client.until_call(|call| call["state"] == "paused").await;
    assert_eq!((&paused["paused_by"], &paused["running"]), (&json!("companion"), &json!(false)));
    assert!(paused["pause_left_ms"].as_u64().unwrap() <= 30_000, "{paused}");
    assert_eq!(scene.vendor.shown(&scene.call)["ends_at"], Value::Null, "no end by time while the meter stands");

    let mut reloaded = Page::welcome(&scene.server.base, &scene.call.companion).await;
    let mut back = peer().await;
    reloaded.join(&back).await;
    back.hum(LOW);
    scene.client.until_call(|call| call["state"] == "live").await;
    back.hears_tone(HIGH).await;

    let ended = scene.client.until("ended").await;
    assert_eq!(ended["reason"], "time_expired");
    let call = scene.vendor.until(&scene.call, "settled");
    let record = scene.vendor.record(&scene.call);
    assert_eq!(adds_up(&scene.server, &scene.vendor, &scene.call, &call, &record, 10_000), 2000);
    assert_eq!(record["delivered_ms"], 4000);
    let kinds: Vec<&Value> = record["segments"].as_array().unwrap().iter().map(|segment| &segment["kind"]).collect();
    assert_eq!(kinds, ["delivered", "paused_companion", "delivered"]);
    let first = &record["segments"][0];
    assert_eq!(Some(ms(&first["to_at"]) - ms(&first["from_at"])), paused["delivered_ms"].as_i64(), "a pause uses up nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_companion_who_stays_away_ends_the_call_at_her_fault() {
    let mut talk = Talk::new("[call]\nmedia_timeout_s = 1\nquiet_timeout_s = 1\npause_limit_s = 2", 600).await;
    talk.a_second();
    talk.companion.hush();
    let (call, record, charge) = talk.settled("media_timeout", "companion");
    assert_eq!(record["settlement"], "exact_delivered");
    assert!((1..100).contains(&charge), "{charge} for {} ms", call["delivered_ms"]);
    let segments = record["segments"].as_array().unwrap();
    let pause = segments.iter().find(|segment| segment["kind"] == "paused_companion").unwrap();
    assert_eq!(ms(&pause["to_at"]) - ms(&pause["from_at"]), 2000, "from her last sound on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_who_closes_her_page_pauses_the_call_at_once() {
    let mut talk = Talk::new("[call]\nmedia_timeout_s = 1\nquiet_timeout_s = 1\npause_limit_s = 2", 600).await;
    talk.a_second();
    talk.client.close().await;
    let (_, record, charge) = talk.settled("media_timeout", "client");
    assert_eq!((charge, &record["settlement"]), (2000, &json!("as_rated")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_to_which_somebody_does_not_come_is_free() {
    let server = Server::start("[call]\nno_show_limit_s = 2");
    let vendor = server.vendor("House");
    vendor.credit("wei", 10_000);
    let order = json!({ "plan_id": vendor.plan(600), "client_ref": "wei", "companion_id": vendor.companion() });
    let [nobody, no_client, no_companion] = [(); 3].map(|()| booked(&vendor.post("/v1/calls", order.clone()).with(201)));
    let (client, companion) = (peer().await, peer().await);
    join(&server, &no_client.companion, &companion).await;
    join(&server, &no_companion.client, &client).await;
    assert_eq!(vendor.wallet(), [10_000, 6000, 4000]);
    for (call, reason, at_fault) in
        [(&nobody, "no_answer", "none"), (&no_client, "client_no_show", "client"), (&no_companion, "companion_no_show", "companion")]
    {
        let ended = vendor.until(call, "settled");
        assert_eq!((&ended["end_reason"], &ended["at_fault"]), (&json!(reason), &json!(at_fault)), "{ended}");
        assert_eq!((&ended["charge"], &ended["refund"], &ended["started_at"]), (&fen(0), &fen(2000), &Value::Null));
        let record = vendor.record(call);
        assert_eq!((&record["settlement"], &record["lines"]), (&json!("free"), &json!([])), "{record}");
    }
    assert_eq!(vendor.wallet(), [10_000, 0, 10_000]);
    server.adds_up();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_in_which_the_parties_never_meet_is_free() {
    let server = Server::start("[call]\nconnect_limit_s = 1");
    let vendor = server.vendor("House");
    let call = vendor.call(600, 10_000);
    let (client, companion) = (peer().await, peer().await);
    join(&server, &call.client, &client).await;
    // She joins and says nothing.
    join(&server, &call.companion, &companion).await;
    let ended = vendor.until(&call, "settled");
    assert_eq!((&ended["end_reason"], &ended["at_fault"], &ended["charge"]), (&json!("connect_failed"), &json!("platform"), &fen(0)));
    assert_eq!(vendor.wallet(), [10_000, 0, 10_000]);
    server.adds_up();
}

#[tokio::test(flavor = "multi_thread")]
async fn both_pages_are_warned_of_the_end() {
    let mut scene = Scene::new("[call]\nwarnings_s = [1]", 3, 10_000).await;
    for page in [&mut scene.client, &mut scene.companion] {
        assert_eq!(page.until("warning").await["remaining_s"], 1);
        let last = page.until("ended").await;
        assert_eq!(last["reason"], "time_expired");
    }
    assert_eq!(scene.client_peer.reads_message("warning").await["remaining_s"], 1);
    wait_for("the settlement", || (scene.vendor.wallet()[1] == 0).then_some(()));
}
