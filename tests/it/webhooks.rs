//! Webhooks with the real program: what a vendor's own program hears of its calls, through kills and replaced secrets, and what the
//! REST interface gives away of endpoints and what it does not.

use crate::calls::Talk;
use crate::server::{Server, Vendor, fresh, wait_for};
use lull::store::{Role, Store};
use serde_json::{Value, json};
use signaling::webhook;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// Endpoints on this machine, and no wait between tries.
const LOCAL: &str = "[webhooks]\nallow_http = true\nallow_networks = [\"127.0.0.0/8\"]\nretries_s = [0, 0, 0]\nendpoints_per_vendor = 3";

/// An answer that never comes.
const NONE: u16 = 0;

/// The vendor's own program: keeps what it is sent and answers with the status of the hour.
struct Shop {
    url: String,
    status: Arc<AtomicU16>,
    got: mpsc::UnboundedReceiver<Got>,
}

#[derive(Debug)]
struct Got {
    id: String,
    timestamp: i64,
    signature: String,
    body: String,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// Signed with the secrets that the database holds, the newest first.
    fn is_signed_by(&self, secrets: &[[u8; 32]]) -> bool {
        webhook::signatures(secrets.iter().map(|secret| &secret[..]), &self.id, self.timestamp, &self.body) == self.signature
    }
}

impl Shop {
    async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/lull", listener.local_addr().unwrap());
        let status = Arc::new(AtomicU16::new(204));
        let (tell, got) = mpsc::unbounded_channel();
        let answers = Arc::clone(&status);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&answers), tell.clone()));
            }
        });
        Self { url, status, got }
    }

    fn answers(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }

    async fn next(&mut self) -> Got {
        tokio::time::timeout(crate::peer::PATIENCE, self.got.recv()).await.expect("a webhook in time").unwrap()
    }

    /// The next events' types; each is of this call and comes after the one before.
    async fn types(&mut self, count: usize) -> Vec<String> {
        let mut types = Vec::new();
        for _ in 0..count {
            types.push(self.next().await.json()["type"].as_str().unwrap().to_owned());
        }
        types
    }

    fn got_nothing(&mut self) -> bool {
        self.got.try_recv().is_err()
    }
}

async fn answer(mut stream: TcpStream, status: Arc<AtomicU16>, tell: mpsc::UnboundedSender<Got>) {
    let mut bytes = Vec::new();
    let (head, body) = loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                break (head.to_owned(), body.to_owned());
            }
        }
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
    };
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap().to_owned();
    let timestamp = header(webhook::TIMESTAMP).parse().unwrap();
    let _ = tell.send(Got { id: header(webhook::ID), timestamp, signature: header(webhook::SIGNATURE), body });
    match status.load(Ordering::Relaxed) {
        NONE => drop(stream.read(&mut [0]).await),
        status => drop(stream.write_all(format!("HTTP/1.1 {status} Said\r\ncontent-length: 0\r\n\r\n").as_bytes()).await),
    }
}

fn endpoint(vendor: &Vendor, url: &str) -> Value {
    vendor.post("/v1/webhook-endpoints", json!({ "url": url })).with(201)
}

/// The secrets of a vendor's only endpoint, as the database has them.
fn secrets(server: &Server, endpoint: &Value) -> Vec<[u8; 32]> {
    let store = Store::open(&server.database(), Role::Tool).unwrap();
    let vendor = store.vendor_by_name("House").unwrap().unwrap().id;
    let id = endpoint["id"].as_str().unwrap().parse().unwrap();
    let endpoint = store.endpoint(vendor, id).unwrap().unwrap();
    [endpoint.secret.0].into_iter().chain(endpoint.old_secrets.iter().map(|(secret, _)| secret.0)).collect()
}

fn patch(server: &Server, vendor: &Vendor, path: &str, body: Value) -> crate::server::Answer {
    let bearer = format!("Bearer {}", vendor.key);
    server.send("PATCH", path, &[("authorization", &bearer), ("content-type", "application/json")], &body.to_string())
}

fn delete(server: &Server, vendor: &Vendor, path: &str) -> crate::server::Answer {
    server.send("DELETE", path, &[("authorization", &format!("Bearer {}", vendor.key))], "")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vendors_program_hears_of_a_call_in_order_and_can_check_all_of_it() {
    let mut shop = Shop::open().await;
    let talk = Talk::new(LOCAL, 600).await;
    let (server, vendor, call) = (&talk.server, &talk.vendor, &talk.call);
    let made = endpoint(vendor, &shop.url);
    talk.vendor.extend(call, json!({})).with(200);
    talk.vendor.extend(call, json!({ "gift_s": 60 })).with(200);
    vendor.post(&format!("/v1/calls/{}/end", call.id), json!({})).with(200);
    let mut heard = Vec::new();
    for _ in 0..4 {
        heard.push(shop.next().await);
    }
    let events = vendor.get("/v1/events").with(200);
    let items = events["items"].as_array().unwrap();
    let types: Vec<&str> = items.iter().map(|item| item["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["call.created", "call.started", "call.extended", "call.extended", "call.ended", "call.settled"]);
    for (item, seq) in items.iter().zip(1..) {
        assert_eq!((&item["data"]["seq"], &item["data"]["call_id"]), (&json!(seq), &json!(call.id)));
    }
    for (got, item) in heard.iter().zip(&items[2..]) {
        let mut body = got.json();
        body["id"] = json!(got.id);
        assert_eq!(&body, item, "what is listed is what was sent");
    }
    let (record, settled) = (vendor.record(call), &items[5]["data"]);
    assert_eq!((&settled["charge"], &settled["refund"], &settled["shares"]), (&record["charge"], &record["refund"], &record["shares"]));
    assert_eq!((&settled["record_hash"], &settled["delivered_ms"]), (&record["hash"], &record["delivered_ms"]));
    assert_eq!((&items[4]["data"]["end_reason"], &items[4]["data"]["at_fault"]), (&json!("vendor_ended"), &json!("none")));

    // Page by page, and again what was before the endpoint.
    let page = vendor.get(&format!("/v1/events?limit=2&after={}", items[0]["id"].as_str().unwrap())).with(200);
    assert_eq!((&page["items"][0], &page["next_cursor"]), (&items[1], &items[2]["id"]));
    let path = format!("/v1/events/{}/replay", items[0]["id"].as_str().unwrap());
    vendor.post(&path, json!({ "endpoint_id": made["id"] })).with(202);
    let again = shop.next().await;
    assert_eq!((json!(again.id), again.json()["type"].as_str()), (items[0]["id"].clone(), Some("call.created")));
    let metrics = server.send("GET", "/metrics", &[], "").text;
    assert!(metrics.contains("lull_webhook_deliveries_total{result=\"delivered\"}"), "{metrics}");
    let figures = ["lull_webhook_pending 0", "lull_webhook_disabled_endpoints 0", "lull_webhook_oldest_pending_seconds"];
    assert!(figures.iter().all(|figure| metrics.contains(figure)), "{metrics}");
    server.adds_up();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_server_had_committed_is_told_by_the_next_one() {
    let mut shop = Shop::open().await;
    let mut server = Server::start(LOCAL);
    let vendor = server.vendor("House");
    let made = endpoint(&vendor, &shop.url);
    shop.answers(NONE);
    let call = vendor.call(600, 10_000);
    let before = shop.next().await;
    server.kill();
    server.adds_up();
    shop.answers(204);
    server.launch();
    let vendor = vendor.at(&server);
    let after = shop.next().await;
    assert_eq!((&after.id, &after.body), (&before.id, &before.body), "the same event under the same name");
    assert!(after.is_signed_by(&secrets(&server, &made)));
    vendor.post(&format!("/v1/calls/{}/end", call.id), json!({})).with(200);
    assert_eq!(shop.types(2).await, ["call.ended", "call.settled"]);
    assert!(shop.got_nothing());
    server.adds_up();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_always_fails_is_disabled_and_gets_all_of_it_once_it_is_well() {
    let mut shop = Shop::open().await;
    let server = Server::start(LOCAL);
    let vendor = server.vendor("House");
    let path = format!("/v1/webhook-endpoints/{}", endpoint(&vendor, &shop.url)["id"].as_str().unwrap());
    shop.answers(500);
    let call = vendor.call(600, 10_000);
    vendor.post(&format!("/v1/calls/{}/end", call.id), json!({})).with(200);
    assert_eq!(shop.types(4).await, ["call.created"; 4], "the order of a call is kept, so the others wait");
    let disabled = wait_for("an endpoint that is disabled", || Some(vendor.get(&path).with(200)).filter(|it| it["state"] == "disabled"));
    assert_eq!((&disabled["disabled_why"], &disabled["last_error"]), (&json!("exhausted"), &json!("answered with status 500")));
    wait_for("the log", || server.log().contains("is disabled: exhausted").then_some(()));
    vendor.post(&format!("{path}/test"), json!({})).problem(409, "endpoint_disabled");
    vendor.post(&format!("{path}/replay"), json!({})).problem(409, "endpoint_disabled");
    assert!(shop.got_nothing());
    let unheard = vendor.call(600, 2000);

    shop.answers(200);
    let enabled = vendor.post(&format!("{path}/enable"), json!({})).with(200);
    assert_eq!((&enabled["state"], &enabled["disabled_at"]), (&json!("enabled"), &Value::Null));
    let replayed = vendor.post(&format!("{path}/replay"), json!({})).with(202);
    assert_eq!(replayed["more"], false);
    let mut heard = Vec::new();
    for _ in 0..4 {
        heard.push(shop.next().await.json());
    }
    let of = |id: &str| heard.iter().filter(|got| got["data"]["call_id"] == id).map(|got| got["type"].clone()).collect::<Vec<_>>();
    assert_eq!(of(&call.id), ["call.created", "call.ended", "call.settled"]);
    assert_eq!(of(&unheard.id), ["call.created"]);
    let deliveries = wait_for("all of it", || {
        Some(vendor.get(&format!("{path}/deliveries?limit=2")).with(200)).filter(|list| list["items"][0]["state"] == "delivered")
    });
    assert_eq!((&deliveries["items"][0]["type"], &deliveries["items"][0]["status"]), (&json!("call.created"), &json!(200)));
    assert_eq!(deliveries["next_cursor"], deliveries["items"][1]["event_id"]);

    shop.answers(410);
    let sent = vendor.post(&format!("{path}/test"), json!({})).with(202);
    let got = shop.next().await;
    assert_eq!((json!(got.id), got.json()["type"].as_str()), (sent["event_id"].clone(), Some("webhook.test")));
    let gone = wait_for("its end", || Some(vendor.get(&path).with(200)).filter(|it| it["state"] == "disabled"));
    assert_eq!(gone["disabled_why"], "gone");
    server.adds_up();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_shown_once_and_replaced_without_a_gap() {
    let mut shop = Shop::open().await;
    let server = Server::start(LOCAL);
    let vendor = server.vendor("House");
    let (key, body) = (fresh(), json!({ "url": shop.url, "events": ["call.ended"], "description": "the <b>shop</b>" }));
    let made = vendor.post_with(&key, "/v1/webhook-endpoints", body.clone());
    assert_eq!(made.header("location"), format!("/v1/webhook-endpoints/{}", made.json()["id"].as_str().unwrap()));
    let made = made.with(201);
    let again = vendor.post_with(&key, "/v1/webhook-endpoints", body);
    assert_eq!(again.header("idempotent-replayed"), "true");
    let again = again.with(201);
    assert_eq!((&again["id"], again.get("secret")), (&made["id"], None));
    let secret = secrets(&server, &made)[0];
    assert_eq!(made["secret"], json!(webhook::secret_text(&secret)));
    let path = format!("/v1/webhook-endpoints/{}", made["id"].as_str().unwrap());
    let shown = vendor.get(&path).with(200);
    assert_eq!((&shown["events"], &shown["description"]), (&json!(["call.ended"]), &json!("the <b>shop</b>")));
    for answer in [shown, vendor.get("/v1/webhook-endpoints").with(200)] {
        assert!(!answer.to_string().contains("whsec_"), "{answer}");
    }

    vendor.post(&format!("{path}/test"), json!({})).with(202);
    assert!(shop.next().await.is_signed_by(&[secret]));
    let rotated = vendor.post(&format!("{path}/rotate-secret"), json!({})).with(200);
    let both = secrets(&server, &made);
    assert_eq!((rotated["secret"].clone(), both[1]), (json!(webhook::secret_text(&both[0])), secret));
    vendor.post(&format!("{path}/test"), json!({})).with(202);
    assert!(shop.next().await.is_signed_by(&both));
    // The answer to the next one is lost: what the shop has goes on signing for all of its day.
    let lost = vendor.post(&format!("{path}/rotate-secret"), json!({ "overlap_s": 600 })).with(200);
    let three = secrets(&server, &made);
    assert_eq!((three.len(), three[2]), (3, secret));
    assert_eq!((lost["old_secrets_until"].as_array().unwrap().len(), &lost["old_secrets_until"][0]), (2, &lost["old_secret_until"]));
    assert_eq!(lost["old_secrets_until"][1], rotated["old_secret_until"]);
    assert_eq!(vendor.get(&path).with(200)["old_secrets_until"], lost["old_secrets_until"]);
    vendor.post(&format!("{path}/test"), json!({})).with(202);
    assert!(shop.next().await.is_signed_by(&three));
    for _ in 0..2 {
        vendor.post(&format!("{path}/rotate-secret"), json!({})).with(200);
    }
    let full = vendor.post(&format!("{path}/rotate-secret"), json!({})).problem(409, "limit_reached");
    assert!(full.contains("4 replaced secrets") && full.contains("overlap_s"), "{full}");
    vendor.post(&format!("{path}/rotate-secret"), json!({ "overlap_s": 0 })).with(200);
    assert_eq!(vendor.get(&path).with(200)["old_secrets_until"], json!([]));
    vendor.post(&format!("{path}/test"), json!({})).with(202);
    assert!(shop.next().await.is_signed_by(&secrets(&server, &made)[..1]));
    let database = std::fs::read(server.database()).unwrap();
    let log = std::fs::read(server.database().with_extension("db-wal")).unwrap();
    for file in [database, log, server.log().into_bytes()] {
        assert!(!file.windows(6).any(|window| window == b"whsec_"), "what is kept for repetitions holds no secret");
    }
    server.adds_up();
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_are_changed_counted_and_nobody_elses() {
    let server = Server::start(LOCAL);
    let (vendor, stranger) = (server.vendor("House"), server.vendor("Stranger"));
    let made = endpoint(&vendor, "https://shop.example/lull");
    let path = format!("/v1/webhook-endpoints/{}", made["id"].as_str().unwrap());
    let changed = patch(&server, &vendor, &path, json!({ "events": ["call.ended", "call.settled"], "description": "x" })).with(200);
    assert_eq!(changed["events"], json!(["call.ended", "call.settled"]));
    let changed = patch(&server, &vendor, &path, json!({ "events": [], "url": "https://other.example/" })).with(200);
    assert_eq!(
        (&changed["events"], &changed["url"], &changed["description"]),
        (&Value::Null, &json!("https://other.example/"), &json!("x"))
    );
    assert_eq!(patch(&server, &vendor, &path, json!({ "description": null })).with(200)["description"], Value::Null);
    assert_eq!(vendor.get(&path).with(200)["url"], "https://other.example/");
    for (body, field) in [
        (json!({ "url": "https://me:pass@shop.example/" }), "url"),
        (json!({ "url": "https://shop.example/#part" }), "url"),
        (json!({ "url": "ftp://shop.example/" }), "url"),
        (json!({ "events": ["call.ended", "call.ended"] }), "events"),
        (json!({ "events": ["call.knocked"] }), "events"),
        (json!({ "events": "call.ended" }), "events"),
        (json!({ "secret": "whsec_x" }), "secret"),
    ] {
        let refused = patch(&server, &vendor, &path, body.clone()).with(400);
        assert_eq!(refused["field"], field, "{body}");
    }
    stranger.get(&path).problem(404, "not_found");
    patch(&server, &stranger, &path, json!({ "url": "https://evil.example/" })).problem(404, "not_found");
    delete(&server, &stranger, &path).problem(404, "not_found");
    for part in ["rotate-secret", "enable", "test", "replay"] {
        stranger.post(&format!("{path}/{part}"), json!({})).problem(404, "not_found");
    }
    stranger.get(&format!("{path}/deliveries")).problem(404, "not_found");
    assert_eq!(stranger.get("/v1/webhook-endpoints").with(200)["items"], json!([]));
    vendor.call(600, 2000);
    let event = vendor.get("/v1/events").with(200)["items"][0]["id"].as_str().unwrap().to_owned();
    stranger.post(&format!("/v1/events/{event}/replay"), json!({})).problem(404, "not_found");
    stranger.get(&format!("/v1/events?after={event}")).problem(400, "invalid_request");
    assert_eq!(stranger.get("/v1/events").with(200)["items"], json!([]));

    endpoint(&vendor, "https://shop.example/2");
    endpoint(&vendor, "https://shop.example/3");
    vendor.post("/v1/webhook-endpoints", json!({ "url": "https://shop.example/4" })).problem(409, "limit_reached");
    assert_eq!(delete(&server, &vendor, &path).with(200), json!({ "id": made["id"], "deleted": true }));
    delete(&server, &vendor, &path).problem(404, "not_found");
    endpoint(&vendor, "https://shop.example/4");
    assert_eq!(vendor.get("/v1/webhook-endpoints").with(200)["items"].as_array().unwrap().len(), 3);
    server.adds_up();
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_nothing_is_sent_in_the_clear_or_into_this_network() {
    let mut shop = Shop::open().await;
    let server = Server::start("");
    let vendor = server.vendor("House");
    vendor.post("/v1/webhook-endpoints", json!({ "url": shop.url })).problem(400, "invalid_request");
    let https = shop.url.replace("http:", "https:");
    let path = format!("/v1/webhook-endpoints/{}", endpoint(&vendor, &https)["id"].as_str().unwrap());
    let sent = vendor.post(&format!("{path}/test"), json!({})).with(202);
    let delivery = wait_for("the end of the test", || {
        let list = vendor.get(&format!("{path}/deliveries")).with(200);
        Some(list["items"][0].clone()).filter(|delivery| delivery["state"] == "failed")
    });
    assert_eq!((&delivery["event_id"], &delivery["attempts"]), (&sent["event_id"], &json!(1)));
    assert_eq!(delivery["error"], "the address lies in a network that events are not sent to");
    assert!(shop.got_nothing());
    assert_eq!(vendor.get(&path).with(200)["state"], "enabled");
}
