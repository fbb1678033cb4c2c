//! `kill -9` of the server, and a disk that keeps it waiting: calls go on, nothing is lost, counted twice or charged for nothing.
//!
//! `KILLS=200` in the environment makes the torture longer than its 20 kills.

use crate::page::Page;
use crate::peer::Peer;
use crate::server::{Booked, Server, Vendor, fen, fresh, ms, wait_for};
use lull::clock::Moment;
use lull::store::{Role, Store};
use rusqlite::types::Value;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use webrtc::peer_connection::SrtpProtectionProfile;

/// No packet for so long: nobody sends any more (a packet comes each 20 ms).
const SILENCE: Duration = Duration::from_millis(700);

/// Short limits, so that a call that nobody returns to ends soon.
const SHORT: &str = "[call]\nmedia_timeout_s = 1\nquiet_timeout_s = 1\npause_limit_s = 3";

/// Both join with the tokens of the call, whatever happened to earlier peers, and hear each other.
pub(crate) async fn talk(server: &Server, call: &Booked) -> (Peer, Peer) {
    let mut peers = Vec::new();
    for (token, says) in [(&call.client, b"client".as_slice()), (&call.companion, b"companion")] {
        let mut peer = Peer::new(SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm).await;
        let answer = server.as_party("POST", "/v1/join", token, &peer.offer().await);
        assert_eq!(answer.status, 201, "{answer:?}");
        peer.accept(answer.text).await;
        peer.talk(says);
        peers.push(peer);
    }
    let (mut companion, mut client) = (peers.pop().unwrap(), peers.pop().unwrap());
    client.hears(b"companion").await;
    companion.hears(b"client").await;
    (client, companion)
}

/// The last proof of a call on disk, later than this.
fn proof_after(server: &Server, call: &Booked, after: i64) -> i64 {
    let store = Store::open(&server.database(), Role::Auditor).unwrap();
    let id = call.id.parse().unwrap();
    wait_for("a heartbeat", || store.proofs().unwrap().get(&id).copied().map(Moment::unix_ms).filter(|proof| *proof > after))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_goes_on_after_a_kill_and_the_gap_is_not_billed() {
    let mut server = Server::start("");
    let vendor = server.vendor("House");
    let call = vendor.call(600, 10_000);
    let waiting = vendor.call(600, 2000);
    let peers = talk(&server, &call).await;
    let started = ms(&vendor.until(&call, "live")["started_at"]);
    proof_after(&server, &call, started + 500);
    server.kill();
    let proved = proof_after(&server, &call, started + 500);
    server.adds_up();
    drop(peers);

    server.launch();
    let vendor = vendor.at(&server);
    let shown = vendor.shown(&call);
    assert_eq!((&shown["state"], &shown["paused_by"]), (&json!("paused"), &json!("platform")));
    assert_eq!(shown["delivered_ms"].as_i64(), Some(proved - started));
    assert_eq!(vendor.shown(&waiting)["state"], "connecting");
    let mut page = Page::welcome(&server.base, &call.client).await;
    let (mut client, _companion) = talk(&server, &call).await;
    vendor.until(&call, "live");
    // It can be extended and hung up as ever.
    page.say(json!({ "type": "extend", "key": "after-the-kill" })).await;
    page.until("extended").await;
    client.hears(b"companion").await;
    vendor.post(&format!("/v1/calls/{}/end", call.id), json!({})).with(200);
    let record = vendor.record(&call);
    let segments = record["segments"].as_array().unwrap();
    let kinds: Vec<&str> = segments.iter().map(|segment| segment["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["delivered", "paused_platform", "delivered"], "{record}");
    assert_eq!(ms(&segments[0]["to_at"]), proved);
    let length = |n: usize| ms(&segments[n]["to_at"]) - ms(&segments[n]["from_at"]);
    assert_eq!(record["delivered_ms"].as_i64(), Some(length(0) + length(2)));
    assert!(server.log().contains("waits for its legs"), "{}", server.log());
    server.adds_up();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_to_which_nobody_returns_is_charged_as_far_as_it_is_proved() {
    let mut server = Server::start(SHORT);
    let vendor = server.vendor("House");
    let call = vendor.call(600, 10_000);
    let peers = talk(&server, &call).await;
    let started = ms(&vendor.until(&call, "live")["started_at"]);
    proof_after(&server, &call, started + 500);
    server.kill();
    let proved = proof_after(&server, &call, started + 500);
    drop(peers);
    server.launch();
    let vendor = vendor.at(&server);
    let shown = vendor.until(&call, "settled");
    assert_eq!((&shown["end_reason"], &shown["at_fault"]), (&json!("server_fault"), &json!("platform")));
    let record = vendor.record(&call);
    assert_eq!((&record["settlement"], record["delivered_ms"].as_i64()), (&json!("exact_delivered"), Some(proved - started)));
    let charge = record["charge"]["amount"].as_i64().unwrap();
    assert_eq!(vendor.wallet(), [10_000 - charge, 0, 10_000 - charge]);
    server.adds_up();
    // A second start changes nothing of it.
    server.kill();
    server.launch();
    assert_eq!(vendor.at(&server).record(&call), record);
}

/// Another process that keeps the database from being written.
struct Lock(rusqlite::Connection);

impl Lock {
    fn take(server: &Server) -> Self {
        let connection = rusqlite::Connection::open(server.database()).unwrap();
        connection.busy_timeout(Duration::from_secs(5)).unwrap();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        Self(connection)
    }

    fn release(self) {
        self.0.execute_batch("ROLLBACK").unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_stop_at_the_due_instant_while_the_disk_keeps_the_end_waiting() {
    let server = Server::start("");
    let vendor = server.vendor("House");
    let call = vendor.call(2, 10_000);
    let (mut client, _companion) = talk(&server, &call).await;
    let started = ms(&vendor.until(&call, "live")["started_at"]);
    let lock = Lock::take(&server);
    // Released only once nothing is heard any more: so the end did not wait for it.
    while tokio::time::timeout(SILENCE, client.heard.recv()).await.is_ok() {}
    lock.release();
    let shown = vendor.until(&call, "settled");
    assert_eq!(ms(&shown["ended_at"]), started + 2000, "the commit says the due instant");
    assert_eq!((&shown["end_reason"], shown["delivered_ms"].as_i64()), (&json!("time_expired"), Some(2000)));
    server.adds_up();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_disk_refuses_money_and_keeps_calls() {
    let server = Server::start("");
    let vendor = server.vendor("House");
    let call = vendor.call(600, 10_000);
    let (mut client, mut companion) = talk(&server, &call).await;
    vendor.until(&call, "live");
    let lock = Lock::take(&server);
    companion.close().await;
    let (key, credit) = (fresh(), json!({ "amount": fen(100), "order_ref": "order-in-trouble" }));
    // Longer than the store waits for another process.
    let refused = vendor.post_with(&key, "/v1/clients/wei/credits", credit.clone());
    refused.problem(507, "storage");
    assert_eq!(server.send("GET", "/livez", &[], "").status, 200);
    wait_for("readyz that says so", || (server.send("GET", "/readyz", &[], "").status == 503).then_some(()));
    lock.release();
    let credited =
        wait_for("room again", || Some(vendor.post_with(&key, "/v1/clients/wei/credits", credit.clone())).filter(|a| a.status == 201));
    assert_eq!(credited.json()["amount"], fen(100));
    assert_eq!(vendor.wallet(), [10_100, 2000, 8100], "credited once");
    // What happened to the call meanwhile is on disk, and it goes on.
    vendor.until(&call, "paused");
    let mut back = Peer::new(SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm).await;
    let answer = server.as_party("POST", "/v1/join", &call.companion, &back.offer().await);
    back.accept(answer.text).await;
    back.talk(b"back again");
    client.hears(b"back again").await;
    vendor.until(&call, "live");
    vendor.post(&format!("/v1/calls/{}/end", call.id), json!({})).with(200);
    server.adds_up();
}

/// Programs that credit wallets and try each command again with its key until it is answered.
struct Load {
    /// Where the server is at present.
    base: Arc<Mutex<String>>,
    credited: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Load {
    fn start(server: &Server, vendor: &Vendor, programs: usize) -> Self {
        let base = Arc::new(Mutex::new(server.base.clone()));
        let (credited, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let threads = (0..programs)
            .map(|_| {
                let (base, credited, stop, key) = (base.clone(), credited.clone(), stop.clone(), vendor.key.clone());
                let program = move || {
                    while !stop.load(Ordering::Relaxed) {
                        let (order, body) = (fresh(), json!({ "amount": fen(1), "order_ref": fresh() }).to_string());
                        // An order that was begun is finished, however often the server dies meanwhile.
                        while !credit(&base.lock().unwrap().clone(), &key, &order, &body) {
                            std::thread::yield_now();
                        }
                        credited.fetch_add(1, Ordering::Relaxed);
                    }
                };
                std::thread::Builder::new().name("program".to_owned()).spawn(program).unwrap()
            })
            .collect();
        Self { base, credited, stop, threads }
    }

    /// Waits until so many more are credited.
    fn passes(&self, more: usize) {
        let from = self.credited.load(Ordering::Relaxed);
        wait_for("credits", || (self.credited.load(Ordering::Relaxed) >= from + more).then_some(()));
    }

    fn is_at(&self, server: &Server) {
        self.base.lock().unwrap().clone_from(&server.base);
    }

    fn end(self) -> i64 {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            tokio::task::block_in_place(|| thread.join().unwrap());
        }
        i64::try_from(self.credited.load(Ordering::Relaxed)).unwrap()
    }
}

/// One attempt; true once it is done, now or by an earlier one.
fn credit(base: &str, key: &str, order: &str, body: &str) -> bool {
    let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(5))).build();
    let request = ureq::http::Request::post(format!("{base}/v1/clients/many/credits"))
        .header("authorization", format!("Bearer {key}"))
        .header("content-type", "application/json")
        .header("idempotency-key", order)
        .body(body.to_owned())
        .unwrap();
    match ureq::Agent::new_with_config(config).run(request) {
        Ok(answer) if answer.status() == 201 => true,
        Ok(answer) => {
            assert!([409, 429, 503, 507].contains(&answer.status().as_u16()), "{answer:?}");
            false
        }
        Err(_) => false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_and_all_money_survive_one_kill_after_another() {
    let kills: usize = std::env::var("KILLS").ok().map_or(20, |kills| kills.parse().expect("a number"));
    let mut server = Server::start("[signaling]\ncaller_requests_per_second = 1000\nip_requests_per_second = 1000");
    let vendor = server.vendor("House");
    let call = vendor.call(3600, 10_000);
    let mut peers = Some(talk(&server, &call).await);
    let started = ms(&vendor.until(&call, "live")["started_at"]);
    let load = Load::start(&server, &vendor, 4);
    for kill in 0..kills {
        load.passes(rand::random_range(1..12));
        server.kill();
        server.launch();
        load.is_at(&server);
        peers = peers.filter(|_| kill % 5 != 4);
        if peers.is_none() {
            peers = Some(talk(&server, &call).await);
            vendor.at(&server).until(&call, "live");
        }
    }
    let credited = load.end();
    let vendor = vendor.at(&server);
    let shown = vendor.shown(&call);
    assert!(["live", "paused"].contains(&shown["state"].as_str().unwrap()), "{shown}");
    vendor.post(&format!("/v1/calls/{}/end", call.id), json!({})).with(200);
    let record = vendor.record(&call);
    let elapsed = ms(&record["ended_at"]) - started;
    assert!((0..=elapsed).contains(&record["delivered_ms"].as_i64().unwrap()), "{record}");
    for pause in record["segments"].as_array().unwrap().iter().filter(|segment| segment["kind"] != "delivered") {
        assert_eq!(pause["kind"], "paused_platform", "{record}");
    }
    let many = vendor.get("/v1/clients/many").with(200);
    assert_eq!(many["wallets"][0]["posted"], fen(credited), "after {kills} kills");
    server.adds_up();
}

/// A wall clock that ran a day ahead and was put right: new calls wait until somebody accepts it, and then no longer.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_a_day_ahead_is_accepted_once() {
    let mut server = Server::start("");
    let vendor = server.vendor("House");
    let before = vendor.call(600, 20_000);
    let order = json!({ "plan_id": vendor.plan(600), "client_ref": "wei", "companion_id": vendor.companion() });
    server.kill();
    {
        // As if it had run with that clock: what it wrote of itself and of a call that is still open.
        let file = rusqlite::Connection::open(server.database()).unwrap();
        let day = 24 * 3600 * 1000;
        file.execute("UPDATE boot SET alive_at = alive_at + ?1, wall_at = wall_at + ?1", [day]).unwrap();
        // That was this server's own doing, not damage.
        let columns = ["alive_at", "id", "seq", "started_at", "wall_at"];
        let row: Vec<Value> = file
            .query_one(&format!("SELECT {} FROM boot", columns.join(", ")), [], |row| (0..5).map(|index| row.get(index)).collect())
            .unwrap();
        let mut sha = Sha256::new();
        for (name, value) in columns.iter().zip(row) {
            let (letter, bytes) = match value {
                Value::Integer(number) => ("i", number.to_be_bytes().to_vec()),
                Value::Text(text) => ("t", text.into_bytes()),
                other => panic!("{name} is {other:?}"),
            };
            for part in [name.as_bytes(), letter.as_bytes(), &bytes] {
                sha.update((part.len() as u64).to_be_bytes());
                sha.update(part);
            }
        }
        file.execute("UPDATE boot SET row_hash = ?", [sha.finalize().as_slice()]).unwrap();
    }
    let book = |server: &Server| vendor.at(server).post("/v1/calls", order.clone());
    for _ in 0..2 {
        server.launch_unready(&[]);
        assert_eq!(server.send("GET", "/readyz", &[], "").status, 503);
        book(&server).problem(503, "clock_behind");
        server.kill();
    }
    server.launch_unready(&["--accept-clock"]);
    book(&server).with(201);
    server.kill();
    for _ in 0..2 {
        server.launch();
        book(&server).with(201);
        server.kill();
    }
    server.launch();
    let vendor = vendor.at(&server);
    assert_eq!(vendor.shown(&before)["state"], "connecting");
    let day = 24 * 3600 * 1000;
    let made = ms(&vendor.shown(&vendor.call(600, 2000))["created_at"]);
    assert!((made - Moment::unix_ms(lull::clock::Clock::read().wall)).abs() < day / 2, "times are the wall clock's");
    server.adds_up();
}

/// One bit of a proof of life would bill what was not delivered: such a server does not start.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_proof_of_life_keeps_the_server_from_starting() {
    let mut server = Server::start("");
    let vendor = server.vendor("House");
    let call = vendor.call(600, 20_000);
    let peers = talk(&server, &call).await;
    vendor.until(&call, "live");
    let proofs = || {
        let file = rusqlite::Connection::open(server.database()).unwrap();
        file.query_one("SELECT count(*) FROM heartbeat", [], |row| row.get::<_, i64>(0)).ok().filter(|count| *count > 0)
    };
    crate::server::wait_for("a heartbeat", proofs);
    server.kill();
    drop(peers);
    {
        let file = rusqlite::Connection::open(server.database()).unwrap();
        assert_eq!(file.execute("UPDATE heartbeat SET proved_until = proved_until | (1 << 41)", []), Ok(1));
    }
    let audit = server.tool(&["audit"]);
    let said = String::from_utf8(audit.stdout).unwrap();
    assert!(!audit.status.success() && said.contains(&format!("{}: proof: ", call.id)) && said.contains("row_hash"), "{said}");
    let refused = server.tool(&["serve"]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(1) && said.contains("row_hash"), "{said}");
}
