//! Recordings as vendors get them: two peers hum, both pages say yes, and what lies on disk, comes down and is deleted is right.

use crate::calls::{HIGH, LOW, peer};
use crate::page::Page;
use crate::peer::{PATIENCE, Peer};
use crate::server::{Booked, Server, Vendor, booked, fen, ms, wait_for};
use serde_json::{Value, json};
use std::fs;
use std::io::{Cursor, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use tempfile::TempDir;

const RATE: f32 = 16_000.0;

/// Where recordings lie, and the keys beside: the one that seals and the one of before.
struct Shelf(TempDir);

impl Shelf {
    fn new() -> Self {
        let shelf = Self(TempDir::new().unwrap());
        shelf.set_key(1);
        shelf.set_old_key(9);
        shelf
    }

    fn set_key(&self, octet: u8) {
        self.write_key("recording.key", octet);
    }

    fn set_old_key(&self, octet: u8) {
        self.write_key("old.key", octet);
    }

    fn write_key(&self, name: &str, octet: u8) {
        let file = self.0.path().join(name);
        fs::write(&file, format!("{octet:02x}").repeat(32)).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn settings(&self, keep_free_mb: u64) -> String {
        let (folder, key, old) = (self.folder(), self.0.path().join("recording.key"), self.0.path().join("old.key"));
        format!("[recording]\nfolder = {folder:?}\nkey_file = {key:?}\nold_key_files = [{old:?}]\nkeep_free_mb = {keep_free_mb}")
    }

    fn folder(&self) -> PathBuf {
        self.0.path().join("recordings")
    }

    fn file(&self, id: &str) -> PathBuf {
        self.folder().join(format!("{id}.lull"))
    }
}

/// A call that may be recorded, with both pages open and both parties humming.
struct Talk {
    call: Booked,
    client: Page,
    companion: Page,
    peers: [Peer; 2],
}

async fn talk(server: &Server, vendor: &Vendor) -> Talk {
    let plan = json!({ "name": "recorded", "kind": "block", "block_s": 600, "price": fen(2000), "recording_days": 30 });
    let plan = vendor.post("/v1/plans", plan).with(201);
    assert_eq!(plan["recording_days"], 30);
    vendor.credit("wei", 2000);
    let order = json!({ "plan_id": plan["id"], "client_ref": "wei", "companion_id": vendor.companion() });
    let call = booked(&vendor.post("/v1/calls", order).with(201));
    let (mut client, mut companion) = (Page::welcome(&server.base, &call.client).await, Page::welcome(&server.base, &call.companion).await);
    let mut peers = [peer().await, peer().await];
    client.join(&peers[0]).await;
    companion.join(&peers[1]).await;
    peers[0].hum(HIGH);
    peers[1].hum(LOW);
    peers[0].hears_tone(LOW).await;
    peers[1].hears_tone(HIGH).await;
    vendor.until(&call, "live");
    Talk { call, client, companion, peers }
}

impl Talk {
    /// Both say yes; the recording runs.
    async fn agree(&mut self) {
        self.client.say(json!({ "type": "record", "consent": true })).await;
        let seen = self.companion.until_call(|call| call["recording"]["client"] == true).await;
        assert_eq!((&seen["recording"]["running"], &seen["recording"]["keep_days"]), (&json!(false), &json!(30)));
        self.companion.say(json!({ "type": "record", "consent": true })).await;
        self.client.until_call(|call| call["recording"]["running"] == true).await;
    }

    /// Both files have begun, three seconds of both voices have passed since, and both have grown by a second after that. Until its row is on
    /// disk, which may take seconds on a busy machine, a recording is silent, and it grows by silence too.
    fn goes_on(&self, server: &Server, shelf: &Shelf) {
        let least = |octets: u64| {
            wait_for("files that grow", || {
                let lengths: Vec<u64> = fs::read_dir(shelf.folder()).ok()?.map(|file| file.unwrap().metadata().unwrap().len()).collect();
                lengths.iter().min().copied().filter(|least| lengths.len() >= 2 && *least >= octets)
            })
        };
        let forwarded = || -> u64 {
            let metrics = server.send("GET", "/metrics", &[], "").text;
            let of = metrics.lines().filter(|line| line.starts_with("lull_media_forwarded_packets_total"));
            of.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
        };
        least(80 + 32_016);
        let before = forwarded();
        wait_for("three seconds of sound", || (forwarded() >= before + 300).then_some(()));
        let now = least(0);
        least(now + 32_016);
    }
}

fn list(vendor: &Vendor, call: &Booked) -> Vec<Value> {
    vendor.get(&format!("/v1/calls/{}/recordings", call.id)).with(200)["items"].as_array().unwrap().clone()
}

/// The recordings of a part once they are whole: the client's, then the companion's.
fn kept(vendor: &Vendor, call: &Booked, part: u32) -> [Value; 2] {
    wait_for("recordings that are kept", || {
        let of_part: Vec<Value> = list(vendor, call).into_iter().filter(|item| item["part"] == part && item["state"] == "kept").collect();
        <[Value; 2]>::try_from(of_part).ok()
    })
}

/// A WAV file as the vendor downloads it.
fn download(server: &Server, vendor: &Vendor, id: &str) -> Vec<u8> {
    let url = format!("{}/v1/recordings/{id}", server.base);
    let agent = ureq::Agent::new_with_config(ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).build());
    tokio::task::block_in_place(|| {
        let mut answer = agent.get(url).header("authorization", format!("Bearer {}", vendor.key)).call().unwrap();
        assert_eq!(answer.headers()["content-type"], "audio/wav");
        let length: usize = answer.headers()["content-length"].to_str().unwrap().parse().unwrap();
        let mut file = Vec::new();
        answer.body_mut().as_reader().read_to_end(&mut file).unwrap();
        assert_eq!(file.len(), length);
        file
    })
}

fn samples(wav: &[u8]) -> Vec<f32> {
    let mut reader = hound::WavReader::new(Cursor::new(wav)).unwrap();
    let spec = reader.spec();
    assert_eq!((spec.channels, spec.sample_rate, spec.bits_per_sample), (1, 16_000, 16));
    reader.samples::<i16>().map(|sample| f32::from(sample.unwrap()) / 32_768.0).collect()
}

/// The part of the energy that is at this tone, in the median of the fortieths of a second that are not silent: on a busy machine a peer's
/// packets may come too late for their place.
fn part_at(hz: f32, samples: &[f32]) -> f32 {
    let turn = std::f32::consts::TAU * hz / RATE;
    let part = |piece: &[f32]| {
        let (mut re, mut im, mut all) = (0.0, 0.0, 0.0);
        for (place, sample) in piece.iter().enumerate() {
            re += sample * (turn * place as f32).cos();
            im += sample * (turn * place as f32).sin();
            all += sample * sample;
        }
        // Louder than -40 dBFS.
        (all > 1e-4 * piece.len() as f32).then(|| 2.0 * (re * re + im * im) / (piece.len() as f32 * all))
    };
    let mut parts: Vec<f32> = samples.chunks_exact(400).filter_map(part).collect();
    assert!(parts.len() >= 10, "{} pieces of {} are not silent", parts.len(), samples.len() / 400);
    parts.sort_by(f32::total_cmp);
    parts[parts.len() / 2]
}

fn delete(server: &Server, vendor: &Vendor, id: &str) -> crate::server::Answer {
    server.send("DELETE", &format!("/v1/recordings/{id}"), &[("authorization", &format!("Bearer {}", vendor.key))], "")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_both_agree_to_is_recorded_downloaded_and_deleted() {
    let shelf = Shelf::new();
    let server = Server::start(&shelf.settings(1));
    let (vendor, other) = (server.vendor("House"), server.vendor("Other"));
    let mut talk = talk(&server, &vendor).await;
    assert_eq!(list(&vendor, &talk.call), Vec::<Value>::new());
    talk.agree().await;
    let running = list(&vendor, &talk.call);
    assert!(running.iter().all(|item| item["state"] == "recording" && item["length_ms"].is_null()), "{running:?}");
    let id = running[0]["id"].as_str().unwrap();
    vendor.get(&format!("/v1/recordings/{id}")).problem(409, "call_state");
    delete(&server, &vendor, id).problem(409, "call_state");
    talk.goes_on(&server, &shelf);
    // The companion takes it back: it ends at once, for both.
    talk.companion.say(json!({ "type": "record", "consent": false })).await;
    let seen = talk.client.until_call(|call| call["recording"]["running"] == false).await;
    assert_eq!(seen["recording"]["stopped"], "companion_stopped");
    assert_eq!((&seen["recording"]["client"], &seen["recording"]["companion"]), (&json!(false), &json!(false)));

    let both = kept(&vendor, &talk.call, 1);
    let lengths = [0, 1].map(|side| both[side]["length_ms"].as_i64().unwrap());
    for (item, (party, tone, not)) in both.iter().zip([("client", HIGH, LOW), ("companion", LOW, HIGH)]) {
        assert_eq!((item["party"].as_str(), item["end_reason"].as_str()), (Some(party), Some("companion_stopped")), "{item}");
        let lasted = ms(&item["ended_at"]) - ms(&item["started_at"]);
        let length = item["length_ms"].as_i64().unwrap();
        assert!((length - lasted).abs() <= 100 && length >= 2000, "{length} ms of {lasted}");
        assert_eq!(ms(&item["delete_at"]) - ms(&item["started_at"]), 30 * 86_400_000);
        let id = item["id"].as_str().unwrap();
        let wav = download(&server, &vendor, id);
        assert_eq!(wav.len() as i64, item["bytes"].as_i64().unwrap());
        let sound = samples(&wav);
        assert_eq!(sound.len() as i64 / 16, length);
        assert!(part_at(tone, &sound) > 0.8 && part_at(not, &sound) < 0.01, "{party}: {} {}", part_at(tone, &sound), part_at(not, &sound));
        let sealed = fs::read(shelf.file(id)).unwrap();
        assert!(!sealed.windows(64).any(|part| part == &wav[30_000..30_064]), "the sound lies in clear");
        assert_eq!(fs::metadata(shelf.file(id)).unwrap().permissions().mode() & 0o777, 0o600);
        for refused in [other.get(&format!("/v1/recordings/{id}")), delete(&server, &other, id)] {
            refused.problem(404, "not_found");
        }
        server.send("GET", &format!("/v1/recordings/{id}"), &[], "").problem(401, "unauthorized");
    }
    assert!((lengths[0] - lengths[1]).abs() <= 100, "{lengths:?}");
    other.get(&format!("/v1/calls/{}/recordings", talk.call.id)).problem(404, "not_found");
    server.as_party("GET", &format!("/v1/calls/{}/recordings", talk.call.id), &talk.call.client, "").problem(401, "unauthorized");

    let id = both[0]["id"].as_str().unwrap();
    for _ in 0..2 {
        let deleted = delete(&server, &vendor, id).with(200);
        assert_eq!((&deleted["state"], &deleted["deleted_by"], &deleted["fault"]), (&json!("deleted"), &json!("api_key"), &Value::Null));
        assert!(deleted["deleted_at"].is_string() && !shelf.file(id).exists());
    }
    vendor.get(&format!("/v1/recordings/{id}")).problem(410, "recording_deleted");
    talk.client.say(json!({ "type": "hang_up" })).await;
    vendor.until(&talk.call, "settled");
    let record = vendor.record(&talk.call);
    let parts = &record["recording"]["parts"];
    assert_eq!((parts[0]["part"].as_i64(), parts[0]["end_reason"].as_str()), (Some(1), Some("companion_stopped")), "{record}");
    let said: Vec<_> =
        record["recording"]["consents"].as_array().unwrap().iter().map(|said| (said["party"].as_str(), said["yes"].as_bool())).collect();
    assert_eq!(said, [(Some("client"), Some(true)), (Some("companion"), Some(true)), (Some("companion"), Some(false))]);
    server.adds_up();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_leaves_what_can_be_read_and_a_wrong_key_reads_nothing() {
    let shelf = Shelf::new();
    let mut server = Server::start(&shelf.settings(1));
    let vendor = server.vendor("House");
    let mut talk = talk(&server, &vendor).await;
    talk.agree().await;
    talk.goes_on(&server, &shelf);
    server.kill();
    let Talk { call, .. } = talk;

    server.launch();
    let vendor = vendor.at(&server);
    let both = kept(&vendor, &call, 1);
    for (item, tone) in both.iter().zip([HIGH, LOW]) {
        assert_eq!(item["end_reason"], "server_stopped", "{item}");
        let sound = samples(&download(&server, &vendor, item["id"].as_str().unwrap()));
        assert!(sound.len() >= 32_000 && part_at(tone, &sound) > 0.8, "{} samples, {}", sound.len(), part_at(tone, &sound));
    }
    server.terminate();
    server.ended();

    shelf.set_key(2);
    server.launch();
    let vendor = vendor.at(&server);
    let id = both[0]["id"].as_str().unwrap();
    let detail = vendor.get(&format!("/v1/recordings/{id}")).problem(500, "recording_key");
    assert!(detail.contains("sealed with the key"), "{detail}");
    assert!(server.log().contains("recordings are kept that only the key"), "{}", server.log());
    assert_eq!(kept(&vendor, &call, 1)[0]["length_ms"], both[0]["length_ms"]);
    server.terminate();
    server.ended();
    // Named as one of before, it opens what it sealed.
    shelf.set_old_key(1);
    server.launch();
    assert!(download(&server, &vendor.at(&server), id).len() > 64_000);
    server.adds_up();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_left_open_is_deleted_at_once_by_a_server_that_cannot_open_it() {
    let shelf = Shelf::new();
    let mut server = Server::start(&shelf.settings(1));
    let vendor = server.vendor("House");
    let mut talk = talk(&server, &vendor).await;
    talk.agree().await;
    talk.goes_on(&server, &shelf);
    server.kill();
    let Talk { call, .. } = talk;

    shelf.set_key(2);
    server.launch();
    let vendor = vendor.at(&server);
    let both = list(&vendor, &call);
    assert!(both.iter().all(|item| item["state"] == "closing" && item["end_reason"] == "server_stopped"), "{both:?}");
    for item in &both {
        let id = item["id"].as_str().unwrap();
        assert!(shelf.file(id).exists());
        let deleted = delete(&server, &vendor, id).with(200);
        assert_eq!((&deleted["state"], &deleted["deleted_by"], &deleted["fault"]), (&json!("deleted"), &json!("api_key"), &Value::Null));
        assert!(!shelf.file(id).exists());
    }
    let events = vendor.get("/v1/events?limit=200").with(200);
    let told: Vec<&Value> = events["items"].as_array().unwrap().iter().filter(|event| event["type"] == "recording.deleted").collect();
    let named: Vec<_> = told.iter().map(|event| (&event["data"]["recording_id"], &event["data"]["party"])).collect();
    assert_eq!(named, both.iter().map(|item| (&item["id"], &item["party"])).collect::<Vec<_>>(), "{told:?}");
    assert!(told.iter().all(|event| event["data"]["deleted_by"] == "api_key" && event["data"]["call_id"] == call.id), "{told:?}");
    server.adds_up();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_without_room_ends_the_recording_and_not_the_call() {
    let shelf = Shelf::new();
    // A petabyte is to be left free.
    let server = Server::start(&shelf.settings(1_000_000_000));
    let vendor = server.vendor("House");
    let mut talk = talk(&server, &vendor).await;
    talk.client.say(json!({ "type": "record", "consent": true })).await;
    talk.companion.say(json!({ "type": "record", "consent": true })).await;
    let seen = talk.client.until_call(|call| call["recording"]["stopped"] == "disk_full").await;
    assert_eq!((&seen["state"], &seen["running"]), (&json!("live"), &json!(true)));
    talk.peers[0].hears_packets(50).await;
    assert_eq!(vendor.shown(&talk.call)["state"], "live");
    let both = kept(&vendor, &talk.call, 1);
    assert!(both.iter().all(|item| item["end_reason"] == "disk_full" && item["length_ms"] == 0), "{both:?}");
    talk.client.say(json!({ "type": "hang_up" })).await;
    vendor.until(&talk.call, "settled");
    assert_eq!(vendor.record(&talk.call)["recording"]["parts"][0]["end_reason"], "disk_full");
    server.adds_up();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_nothing_is_recorded_and_said_so() {
    let server = Server::start("");
    let vendor = server.vendor("House");
    let plan = |days: Value| json!({ "name": "x", "kind": "block", "block_s": 600, "price": fen(2000), "recording_days": days });
    let detail = vendor.post("/v1/plans", plan(json!(30))).problem(400, "invalid_request");
    assert!(detail.contains("recording.key"), "{detail}");
    for wrong in [json!(0), json!(3651), json!("30")] {
        vendor.post("/v1/plans", plan(wrong)).problem(400, "invalid_request");
    }
    let call = vendor.call(600, 2000);
    let mut page = Page::welcome(&server.base, &call.client).await;
    page.say(json!({ "type": "record", "consent": true })).await;
    let error = page.until("error").await;
    assert_eq!((&error["code"], &error["re"]), (&json!("call_state"), &json!(1)));
    vendor.get("/v1/recordings/rec_00000000000000000000000000000001").problem(404, "not_found");
}
