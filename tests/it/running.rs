//! The program as a process: how it starts, refuses to start, ends, comes back, and what it writes down.

use crate::page::Page;
use crate::peer::Peer;
use crate::server::{Booked, Server, Vendor, fen, lull, ms, wait_for};
use lull::clock::{Clock, Span};
use lull::store::{Role, Store, Transaction, Write};
use serde_json::{Value, json};
use signaling::auth::hash_secret;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use webrtc::peer_connection::SrtpProtectionProfile;

/// `lull serve` on free ports and a database in this folder, with these further arguments: it must end at once, with one
/// line on standard error. Returns the line.
fn refuses(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let database = format!("sqlite:{}", folder.join("lull.db").display());
    let mut command = lull(&["serve", "--log", "error"]);
    for (flag, value) in [("--http", "127.0.0.1:0"), ("--udp", "127.0.0.1:0"), ("--db", database.as_str())] {
        if !arguments.contains(&flag) {
            command.args([flag, value]);
        }
    }
    let output = command.args(arguments).envs(environment.iter().copied()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(output.stdout.is_empty(), "{said}");
    assert_eq!(said.lines().count(), 1, "one line: {said}");
    assert!(said.starts_with("lull: "), "{said}");
    said
}

#[test]
fn pages_and_media_may_have_the_same_port_number() {
    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite:{}", folder.path().join("lull.db").display());
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut child = lull(&["serve", "--log", "error", "--db", &database, "--http", &address, "--udp", &address]).spawn().unwrap();
    let page = wait_for("the server", || {
        assert!(child.try_wait().unwrap().is_none(), "it ended");
        ureq::get(format!("http://{address}/readyz")).call().ok()
    });
    assert_eq!(page.status(), 200);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn it_says_in_one_line_why_it_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let refuses = |arguments: &[&str]| refuses(folder.path(), arguments, &[]);
    let says = |line: String, parts: &[&str]| {
        for part in parts {
            assert!(line.contains(part), "{part:?} is not in: {line}");
        }
    };

    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap().to_string();
    says(refuses(&["--http", &address]), &["http", &address, "in use"]);
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = udp.local_addr().unwrap().to_string();
    says(refuses(&["--udp", &address]), &["udp", &address, "in use"]);
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap().to_string();
    says(refuses(&["--udp", &address]), &["media", "tcp", &address, "in use", "media.tcp"]);

    let text = folder.path().join("letter.txt");
    std::fs::write(&text, "Dear SQLite, this is not a database, although it is long enough to have the header of one in it.").unwrap();
    says(refuses(&["--db", &format!("sqlite:{}", text.display())]), &["not a lull database"]);
    let nowhere = folder.path().join("nowhere/lull.db");
    says(refuses(&["--db", &format!("sqlite:{}", nowhere.display())]), &["cannot open", "nowhere"]);
    says(refuses(&["--db", &format!("sqlite:{}", folder.path().display())]), &["cannot open"]);
    says(refuses(&["--db", "postgres://somewhere"]), &["--db", "store.db", "sqlite:PATH"]);

    says(refuses(&["--shards", "many"]), &["--shards", "media.shards", "many"]);
    says(refuses(&["--config", "/nowhere/lull.toml"]), &["cannot read /nowhere/lull.toml"]);
    let config = folder.path().join("lull.toml");
    let name = config.display().to_string();
    let with = |settings: &str| {
        std::fs::write(&config, settings).unwrap();
        refuses(&["--config", &name])
    };
    says(with("[call]\npause_limits_s = 60"), &[&name, "call.pause_limits_s", "the nearest is call.pause_limit_s"]);
    says(with("[call]\npause_limit_s = -1"), &[&name, "call.pause_limit_s is -1", "accepted is"]);
    says(with("[call]\npause_limit_s = 10"), &["call.pause_limit_s", "call.quiet_timeout_s"]);
    says(with("[call\n"), &[&name, "line 1"]);
    let key = folder.path().join("key.pem");
    says(refuses(&["--tls-cert", "/nowhere/cert.pem", "--tls-key", &key.display().to_string()]), &["tls_cert", "/nowhere/cert.pem"]);
    says(self::refuses(folder.path(), &[], &[("LULL_CALL_MAX_OPN", "5")]), &["LULL_CALL_MAX_OPN", "LULL_CALL_MAX_OPEN"]);
}

#[test]
fn a_database_has_one_server() {
    let server = Server::start("");
    let folder = tempfile::tempdir().unwrap();
    let line = refuses(folder.path(), &["--db", &format!("sqlite:{}", server.database().display())], &[]);
    assert!(line.contains("another lull server is using this database"), "{line}");
    assert_eq!(server.send("GET", "/readyz", &[], "").status, 200);
    for file in ["lull.db", "lull.db-wal", "lull.db-shm"] {
        let mode = std::fs::metadata(server.database().with_file_name(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file} is nobody else's business");
    }
    // Tools and auditors are welcome beside it.
    server.vendor("House");
    let taken = server.tool(&["vendor", "add", "House"]);
    assert_eq!((taken.status.code(), taken.stdout.len()), (Some(1), 0));
    assert!(String::from_utf8(taken.stderr).unwrap().contains("this name is taken"));
    server.adds_up();
    let missing = lull(&["audit", "--db", "sqlite:/nowhere/lull.db"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8(missing.stderr).unwrap().contains("/nowhere/lull.db"));
}

#[test]
fn the_settings_in_force_are_shown_with_where_they_come_from() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("lull.toml");
    std::fs::write(&config, "[call]\nmedia_timeout_s = 7\n").unwrap();
    let mut command = lull(&["config", "--http", "127.0.0.1:9000", "--config"]);
    let output = command.arg(&config).env("LULL_LOG_FILTER", "warn").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let shown = String::from_utf8(output.stdout).unwrap();
    let line = |key: &str| shown.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("{key} in {shown}")).to_owned();
    for (key, value, origin) in [
        ("media_timeout_s", "7", "lull.toml"),
        ("listen", "\"127.0.0.1:9000\"", "flag --http"),
        ("filter", "\"warn\"", "environment LULL_LOG_FILTER"),
        ("pause_limit_s", "60", "default"),
    ] {
        let line = line(key);
        assert!(line.contains(value) && line.contains(origin), "{line}");
    }
    let read: toml::Table = shown.parse().expect("TOML that can be used as it is");
    assert_eq!(read["call"]["media_timeout_s"].as_integer(), Some(7));
}

/// A call that is live, with sound both ways.
struct Talk {
    vendor: Vendor,
    call: Booked,
    client: Peer,
    companion: Peer,
    page: Page,
}

async fn talk(server: &Server) -> Talk {
    let vendor = server.vendor("House");
    let call = vendor.call(600, 10_000);
    let mut page = Page::welcome(&server.base, &call.client).await;
    let mut client = Peer::new(SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm).await;
    let mut companion = Peer::new(SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm).await;
    page.join(&client).await;
    let answer = server.as_party("POST", "/v1/join", &call.companion, &companion.offer().await);
    companion.accept(answer.text).await;
    client.talk(b"client");
    companion.talk(b"companion");
    client.hears(b"companion").await;
    companion.hears(b"client").await;
    vendor.until(&call, "live");
    Talk { vendor, call, client, companion, page }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_asked_to_end_settles_its_calls() {
    let mut server = Server::start("");
    // The companion talks on: what is not bound would be dropped.
    let Talk { vendor, call, mut client, mut page, companion: _companion } = talk(&server).await;
    wait_for("a delivered second", || (vendor.shown(&call)["delivered_ms"].as_i64() >= Some(1000)).then_some(()));
    server.terminate();
    let ended = page.until("ended").await;
    assert_eq!((&ended["reason"], &ended["at_fault"]), (&json!("server_fault"), &json!("platform")));
    client.is_closed().await;
    assert_eq!(server.ended().code(), Some(0), "{}", server.log());
    server.adds_up();

    server.launch();
    let vendor = vendor.at(&server);
    let shown = vendor.shown(&call);
    assert_eq!((&shown["state"], &shown["end_reason"]), (&json!("settled"), &json!("server_fault")));
    let record = vendor.record(&call);
    let charge = record["charge"]["amount"].as_i64().unwrap();
    assert_eq!(record["settlement"], "exact_delivered");
    assert!((1..100).contains(&charge), "{record}");
    assert_eq!(vendor.wallet(), [10_000 - charge, 0, 10_000 - charge]);
    // Tokens of before the restart still show the end, and let nobody in.
    server.as_party("GET", "/v1/join/receipt", &call.client, "").with(200);
    let (_, welcome) = Page::open(&server.base, &call.companion).await;
    assert_eq!(welcome["call"]["state"], "ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_cut_off_before_its_first_heartbeat_costs_nothing() {
    let mut server = Server::start("[call]\nmedia_timeout_s = 1\nquiet_timeout_s = 1\npause_limit_s = 2\nno_show_limit_s = 3");
    let Talk { vendor, call, mut page, client, companion } = talk(&server).await;
    page.say(json!({ "type": "extend", "key": "before-the-kill" })).await;
    page.until("extended").await;
    assert_eq!(vendor.wallet(), [10_000, 4000, 6000]);
    let waiting = vendor.call(600, 2000);
    assert_eq!(vendor.wallet(), [12_000, 6000, 6000]);
    server.kill();
    drop((client, companion));
    server.adds_up();

    server.launch();
    let vendor = vendor.at(&server);
    let shown = vendor.until(&call, "settled");
    assert_eq!((&shown["end_reason"], &shown["at_fault"]), (&json!("server_fault"), &json!("platform")));
    let record = vendor.record(&call);
    // What was bought is in the record, and delivered is no more than was proved.
    assert_eq!((record["extensions"].as_array().map(Vec::len), record["held"].clone()), (Some(1), fen(4000)));
    let charge = record["charge"]["amount"].as_i64().unwrap();
    assert!(record["delivered_ms"].as_i64() <= Some(ms(&record["ended_at"]) - ms(&record["started_at"])) && charge < 100, "{record}");
    let free = vendor.until(&waiting, "settled");
    assert_eq!((&free["end_reason"], &free["charge"]), (&json!("no_answer"), &fen(0)));
    assert_eq!(vendor.wallet(), [12_000 - charge, 0, 12_000 - charge]);
    assert!(server.log().contains("was cut off"), "{}", server.log());
    server.adds_up();
    // The house is whole: a new call can be made and ended.
    let next = vendor.call(600, 2000);
    vendor.post(&format!("/v1/calls/{}/end", next.id), json!({})).with(200);
}

#[test]
fn a_login_link_works_once_and_becomes_a_cookie() {
    let server = Server::start("");
    let vendor = server.vendor("House");
    let link = server.tool(&["vendor", "link", "House", "--public-url", &server.base]);
    let link = String::from_utf8(link.stdout).unwrap();
    let (page, code) = link.trim().split_once('#').unwrap_or_else(|| panic!("{link}"));
    assert_eq!(page, format!("{}/vendor", server.base));
    let unknown = server.tool(&["vendor", "link", "Nobody"]);
    assert_eq!(unknown.status.code(), Some(1));

    let json_type = ("content-type", "application/json");
    let log_in = |code: &str| server.send("POST", "/v1/session", &[json_type], &json!({ "code": code }).to_string());
    let first = log_in(code);
    let cookie = first.header("set-cookie").to_owned();
    let session = first.with(200);
    assert_eq!((&session["vendor_name"], &session["expires_in_s"]), (&json!("House"), &json!(43_200)));
    let (cookie, flags) = cookie.split_once("; ").unwrap();
    for flag in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"] {
        assert!(flags.split("; ").any(|set| set == flag), "{flag} is not in {flags}");
    }
    assert!(!flags.contains("Secure"), "plain HTTP on this machine");
    log_in(code).problem(401, "login_invalid");
    log_in("made-up").problem(401, "login_invalid");
    {
        let store = Store::open(&server.database(), Role::Tool).unwrap();
        let vendor = store.vendor_by_name("House").unwrap().unwrap().id;
        let now = Clock::start().now();
        for (code, expires_at) in [("too-old", now), ("in-time", now + Span::from_s(60))] {
            let write = Write::AddLoginCode { vendor, code_hash: hash_secret(code), expires_at };
            store.commit(Transaction { idempotency: None, writes: vec![write] }).unwrap();
        }
    }
    log_in("too-old").problem(401, "login_invalid");
    log_in("in-time").with(200);

    // It reads with the cookie alone, and writes only from our own page.
    let as_page = |method: &str, path: &str, more: &[(&str, &str)], body: &str| {
        server.send(method, path, &[&[("cookie", cookie), json_type, ("idempotency-key", "key-of-a-page")], more].concat(), body)
    };
    assert_eq!(as_page("GET", "/v1/session", &[], "").with(200)["vendor_name"], "House");
    let name = json!({ "name": "Lin" }).to_string();
    as_page("POST", "/v1/companions", &[], &name).problem(403, "origin_forbidden");
    as_page("POST", "/v1/companions", &[("origin", "https://evil.example")], &name).problem(403, "origin_forbidden");
    let ours = [("origin", server.base.as_str())];
    let companion = as_page("POST", "/v1/companions", &ours, &name).with(201);
    assert_eq!(vendor.get("/v1/companions").with(200)["items"], json!([companion]));
    assert_eq!(as_page("DELETE", "/v1/session", &ours, "").status, 204);
    as_page("GET", "/v1/session", &[], "").problem(401, "unauthorized");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_holds_no_secret_at_any_level() {
    let mut server = Server::logging("info,lull=trace,lull_signaling=trace,signaling=trace", "");
    let Talk { vendor, call, client, companion, mut page } = talk(&server).await;
    let offer = client.offer().await;
    page.say(json!({ "type": "ice_restart", "sdp": offer })).await;
    page.say(json!({ "type": "offer", "sdp": "v=0 this is no offer" })).await;
    page.until("error").await;
    companion.say(&json!({ "v": 1, "seq": 1, "type": "dance", "token": call.companion }).to_string()).await;
    let link = String::from_utf8(server.tool(&["vendor", "link", "House"]).stdout).unwrap();
    let code = link.trim().split_once('#').unwrap().1;
    let json_type = ("content-type", "application/json");
    let session = server.send("POST", "/v1/session", &[json_type], &json!({ "code": code }).to_string());
    let cookie = session.header("set-cookie").split(['=', ';']).nth(1).unwrap().to_owned();
    server.send("GET", "/v1/calls", &[("cookie", &format!("lull_session={cookie}"))], "").with(200);
    vendor.get(&format!("/v1/calls/{}/links", call.id)).with(200);
    page.say(json!({ "type": "hang_up" })).await;
    page.until("ended").await;
    server.terminate();
    server.ended();

    let log = server.log();
    assert!(log.contains("ended: client_left"), "{log}");
    let ice = |name: &str| offer.split(name).nth(1).and_then(|rest| rest.lines().next()).unwrap().to_owned();
    let (password, fingerprint) = (ice("a=ice-pwd:"), ice("a=fingerprint:sha-256 "));
    let signature = |token: &str| token.rsplit('.').next().unwrap().to_owned();
    for (what, secret) in [
        ("the API key", vendor.key.as_str()),
        ("the client's token", &signature(&call.client)),
        ("the companion's token", &signature(&call.companion)),
        ("the login code", code),
        ("the cookie", &cookie),
        ("the ICE password", &password),
        ("the fingerprint", &fingerprint),
        ("SDP", "a=ice-"),
        ("SDP", "this is no offer"),
    ] {
        assert!(!secret.is_empty() && !log.contains(secret), "{what} is in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_datagrams_do_not_disturb_a_call() {
    let server = Server::start("[call]\nmedia_timeout_s = 1\nquiet_timeout_s = 1");
    let vendor = server.vendor("House");
    let call = vendor.call(600, 10_000);
    let (mut client, mut companion) =
        (Peer::new(SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm).await, Peer::new(SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm).await);
    let answer = server.as_party("POST", "/v1/join", &call.companion, &companion.offer().await);
    companion.accept(answer.text).await;
    // The client's way to the server leads over a wire on which everything is seen.
    let answer = server.as_party("POST", "/v1/join", &call.client, &client.offer().await);
    let media = media_address(&answer.text);
    let wire = Wire::new(media).await;
    client.accept(answer.text.replace(&format!("{} {}", media.ip(), media.port()), &format!("{} {}", media.ip(), wire.port))).await;
    client.talk(b"client");
    companion.talk(b"companion");
    client.hears(b"companion").await;
    companion.hears(b"client").await;
    vendor.until(&call, "live");

    companion.hears_packets(40).await;
    let seen = wire.seen();
    assert!(seen.len() > 40, "{} datagrams", seen.len());
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut sent = 0_u32;
    let mut hostile = |datagram: &[u8]| {
        // From another address, and from the very one that the client has.
        stranger.send_to(datagram, media).unwrap();
        wire.inject(datagram);
        sent += 1;
    };
    for datagram in &seen {
        hostile(datagram);
        for cut in [0, 1, 3, 12, 19, 20, 27, datagram.len().saturating_sub(1)] {
            hostile(&datagram[..cut.min(datagram.len())]);
        }
        for at in [0, 1, 3, 5, 11, datagram.len() / 2, datagram.len() - 1] {
            let mut altered = datagram.clone();
            altered[at.min(datagram.len() - 1)] ^= 0x55;
            hostile(&altered);
        }
        // Not more at once than a socket takes beside the call.
        client.hears_packets(1).await;
    }
    for _ in 0..500 {
        let length = rand::random_range(0..1500);
        let mut noise = vec![0; length];
        rand::fill(&mut noise[..]);
        hostile(&noise);
        if length % 16 == 0 {
            companion.hears_packets(1).await;
        }
    }
    assert!(sent > 600);
    client.talk(b"still here");
    companion.hears(b"still here").await;
    companion.talk(b"so am I");
    client.hears(b"so am I").await;
    let shown = vendor.shown(&call);
    assert_eq!(
        (&shown["state"], &shown["client"]["present"], &shown["companion"]["present"]),
        (&json!("live"), &json!(true), &json!(true))
    );
    assert!(!server.log().contains("paused"), "{}", server.log());
    let metrics = server.send("GET", "/metrics", &[], "").text;
    let dropped: f64 = metrics
        .lines()
        .filter(|line| line.starts_with("lull_media_dropped_datagrams_total{"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum();
    assert!(dropped > f64::from(sent) / 2.0, "{dropped} of {sent}: {metrics}");
    vendor.post(&format!("/v1/calls/{}/end", call.id), json!({})).with(200);
    assert_eq!(vendor.record(&call)["segments"].as_array().unwrap().len(), 1);
    assert_eq!(vendor.shown(&call)["state"], Value::from("settled"));
}

/// The address in the first candidate of an answer.
fn media_address(answer: &str) -> SocketAddr {
    let candidate = answer.lines().find(|line| line.starts_with("a=candidate:")).unwrap_or_else(|| panic!("{answer}"));
    let fields: Vec<&str> = candidate.split(' ').collect();
    format!("{}:{}", fields[4], fields[5]).parse().unwrap()
}

/// A wire between a peer and the server, on which one listens and puts in one's own.
struct Wire {
    port: u16,
    server: SocketAddr,
    outer: std::sync::Arc<tokio::net::UdpSocket>,
    seen: std::sync::Arc<std::sync::Mutex<Vec<Vec<u8>>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Wire {
    async fn new(server: SocketAddr) -> Self {
        let inner = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let outer = std::sync::Arc::new(tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let seen = std::sync::Arc::<std::sync::Mutex<Vec<Vec<u8>>>>::default();
        let port = inner.local_addr().unwrap().port();
        let (kept, to_server) = (seen.clone(), outer.clone());
        let task = tokio::spawn(async move {
            let (mut up, mut down) = ([0; 2048], [0; 2048]);
            let mut peer = None;
            loop {
                tokio::select! {
                    Ok((length, from)) = inner.recv_from(&mut up) => {
                        peer = Some(from);
                        keep(&kept, &up[..length]);
                        let _ = to_server.send_to(&up[..length], server).await; // Datagrams may be lost.
                    }
                    Ok((length, _)) = to_server.recv_from(&mut down) => {
                        if let Some(peer) = peer {
                            let _ = inner.send_to(&down[..length], peer).await; // As above.
                        }
                    }
                }
            }
        });
        Self { port, server, outer, seen, task }
    }

    /// The first datagrams of the peer: requests of ICE, the handshake, sound.
    fn seen(&self) -> Vec<Vec<u8>> {
        self.seen.lock().unwrap().clone()
    }

    fn inject(&self, datagram: &[u8]) {
        let _ = self.outer.try_send_to(datagram, self.server); // As above.
    }
}

fn keep(seen: &std::sync::Mutex<Vec<Vec<u8>>>, datagram: &[u8]) {
    let mut seen = seen.lock().unwrap();
    if seen.len() < 60 {
        seen.push(datagram.to_vec());
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}
