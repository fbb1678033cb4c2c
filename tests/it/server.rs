//! A running lull as its users meet it: the real program on a throw-away database, with its REST interface and its command line.
//!
//! Ports are free ones that the program chose and names in its log, so tests never race for them. The log is shown when a test fails,
//! and the program is killed by its own process id when the test is over.
#![allow(clippy::disallowed_methods, reason = "another process is waited for by looking again")]

use crate::peer::PATIENCE;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use ureq::http::{HeaderMap, Request};

/// Looks again after this.
const A_MOMENT: Duration = Duration::from_millis(20);

/// Does something until it gives something, for at most [`PATIENCE`].
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = blocking(&mut look) {
            return found;
        }
        assert!(Instant::now() < until, "never came: {what}");
        blocking(|| sleep(A_MOMENT));
    }
}

/// Lets the runtime's other tasks go on while this thread waits.
fn blocking<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

/// The program on its own database. Dropping it kills it.
pub(crate) struct Server {
    folder: TempDir,
    process: Option<Child>,
    /// In front of every path: `http://127.0.0.1:PORT`.
    pub(crate) base: String,
    starts: usize,
}

impl Server {
    /// Starts it with these settings (TOML) and the usual log.
    pub(crate) fn start(settings: &str) -> Self {
        Self::logging("info", settings)
    }

    /// The same with another filter of the log, which must let `lull=info` pass.
    pub(crate) fn logging(filter: &str, settings: &str) -> Self {
        Self::with("", filter, settings)
    }

    /// Starts it with these settings of `[media]` and others.
    pub(crate) fn with_media(media: &str, settings: &str) -> Self {
        Self::with(media, "info", settings)
    }

    fn with(media: &str, filter: &str, settings: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let mut server = Self { folder, process: None, base: String::new(), starts: 0 };
        let text = format!(
            "[http]\nlisten = \"127.0.0.1:0\"\n[media]\nlisten = \"127.0.0.1:0\"\n{media}\n[store]\ndb = \"sqlite:{}\"\n[log]\nfilter = \"{filter}\"\n{settings}\n",
            server.database().display()
        );
        std::fs::write(server.config(), text).unwrap();
        server.launch();
        server
    }

    /// Starts the program (again) on the same database and waits until it is ready.
    pub(crate) fn launch(&mut self) {
        self.launch_unready(&[]);
        wait_for("readiness", || {
            self.must_run();
            (self.send("GET", "/readyz", &[], "").status == 200).then_some(())
        });
    }

    /// The same with more flags, and until it answers at all.
    pub(crate) fn launch_unready(&mut self, flags: &[&str]) {
        self.starts += 1;
        let log = File::create(self.log_file()).unwrap();
        let mut command = lull(&["serve", "--config"]);
        command.arg(self.config()).args(flags).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.process = Some(command.spawn().unwrap());
        self.base = wait_for("the address in the log", || {
            self.must_run();
            let log = self.log();
            let (_, rest) = log.split_once("lull serves ")?;
            rest.split_once('\n').map(|(address, _)| address.trim().to_owned())
        });
    }

    fn must_run(&mut self) {
        let ended = self.process.as_mut().and_then(|process| process.try_wait().unwrap());
        assert!(ended.is_none(), "it ended by itself: {ended:?}");
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("lull.toml")
    }

    /// The file of its database.
    pub(crate) fn database(&self) -> PathBuf {
        self.folder.path().join("lull.db")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join(format!("log-{}", self.starts))
    }

    /// What it wrote since it was last launched.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().expect("it was launched");
        kill(Pid::from_raw(i32::try_from(process.id()).unwrap()), signal).unwrap();
    }

    /// Asks it to end in order.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// Waits until it has ended.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let mut process = self.process.take().expect("it was launched");
        wait_for("its end", || process.try_wait().unwrap())
    }

    /// Ends it without a chance to do anything about it.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.ended();
    }

    /// Runs another command of the program with this server's settings.
    pub(crate) fn tool(&self, arguments: &[&str]) -> Output {
        let config = self.config();
        blocking(|| lull(arguments).arg("--config").arg(config).output().unwrap())
    }

    /// A new vendor, as `lull vendor add` makes one beside the server.
    pub(crate) fn vendor(&self, name: &str) -> Vendor {
        let made = self.tool(&["vendor", "add", name]);
        assert!(made.status.success(), "{made:?}");
        let key = String::from_utf8(made.stdout).unwrap().trim().to_owned();
        Vendor { base: self.base.clone(), key }
    }

    /// What `lull audit` says must be that all adds up.
    pub(crate) fn adds_up(&self) {
        let audit = self.tool(&["audit"]);
        let said = String::from_utf8(audit.stdout).unwrap();
        assert!(audit.status.success() && said.ends_with(": all adds up\n"), "{said}{}", String::from_utf8_lossy(&audit.stderr));
    }

    /// What `lull verify` says of a text, against the keys this server shows.
    pub(crate) fn verify(&self, text: &str) -> Output {
        let keys = self.send("GET", "/.well-known/lull-keys.json", &[], "").with(200);
        let (file, set) = (self.folder.path().join("record.json"), self.folder.path().join("keys.json"));
        std::fs::write(&file, text).unwrap();
        std::fs::write(&set, keys.to_string()).unwrap();
        blocking(|| lull(&["verify"]).arg(file).arg("--keys").arg(set).output().unwrap())
    }

    /// A request to it.
    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        send(&self.base, method, path, headers, body)
    }

    /// A request with a join token.
    pub(crate) fn as_party(&self, method: &str, path: &str, token: &str, body: &str) -> Answer {
        let content_type = if method == "PATCH" { "application/trickle-ice-sdpfrag" } else { "application/sdp" };
        self.send(method, path, &[("authorization", &format!("Bearer {token}")), ("content-type", content_type)], body)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the server's log ---\n{}--- its end ---", self.log());
        }
        if let Some(mut process) = self.process.take() {
            let _ = process.kill(); // It may have ended already.
            let _ = process.wait();
        }
    }
}

/// The program with these arguments and an environment without settings.
pub(crate) fn lull(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lull"));
    command.env_clear().args(arguments);
    command
}

/// An answer to a request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    /// Its body, which must be JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Its body, if it has this status.
    pub(crate) fn with(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        self.json()
    }

    /// It must be a problem of this status and code. Returns its detail.
    pub(crate) fn problem(self, status: u16, code: &str) -> String {
        let body = self.json();
        assert_eq!((self.status, body["code"].as_str()), (status, Some(code)), "{body}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        body["detail"].as_str().unwrap().to_owned()
    }

    /// A header, or an empty text.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

fn send(base: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).build();
    let agent = ureq::Agent::new_with_config(config);
    let mut request = Request::builder().method(method).uri(format!("{base}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    blocking(|| {
        let answer = match method {
            "GET" | "DELETE" => agent.run(request.body(()).unwrap()),
            _ => agent.run(request.body(body).unwrap()),
        };
        let mut answer = answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        let text = answer.body_mut().read_to_string().unwrap();
        Answer { status: answer.status().as_u16(), headers: answer.headers().clone(), text }
    })
}

/// A vendor's program.
#[derive(Clone)]
pub(crate) struct Vendor {
    base: String,
    pub(crate) key: String,
}

/// A call that was made, and the way in for both.
pub(crate) struct Booked {
    pub(crate) id: String,
    pub(crate) client: String,
    pub(crate) companion: String,
}

/// Money in yuan's hundredths.
pub(crate) fn fen(amount: i64) -> Value {
    json!({ "amount": amount, "currency": "CNY" })
}

/// A new idempotency key.
pub(crate) fn fresh() -> String {
    uuid::Uuid::now_v7().simple().to_string()
}

impl Vendor {
    pub(crate) fn get(&self, path: &str) -> Answer {
        send(&self.base, "GET", path, &[("authorization", &format!("Bearer {}", self.key))], "")
    }

    /// A command with a new key.
    pub(crate) fn post(&self, path: &str, body: Value) -> Answer {
        self.post_with(&fresh(), path, body)
    }

    pub(crate) fn post_with(&self, key: &str, path: &str, body: Value) -> Answer {
        let bearer = format!("Bearer {}", self.key);
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json"), ("idempotency-key", key)];
        send(&self.base, "POST", path, &headers, &body.to_string())
    }

    /// The same vendor at a server that was started again.
    pub(crate) fn at(&self, server: &Server) -> Self {
        Self { base: server.base.clone(), key: self.key.clone() }
    }

    /// A plan of blocks at 20.00 yuan; its id.
    pub(crate) fn plan(&self, block_s: i64) -> String {
        let plan =
            json!({ "name": format!("{block_s} seconds"), "kind": "block", "block_s": block_s, "price": fen(2000), "grade": "Gold" });
        self.post("/v1/plans", plan).with(201)["id"].as_str().unwrap().to_owned()
    }

    pub(crate) fn companion(&self) -> String {
        self.post("/v1/companions", json!({ "name": "Lin", "grade": "Gold" })).with(201)["id"].as_str().unwrap().to_owned()
    }

    pub(crate) fn credit(&self, client: &str, amount: i64) {
        let credit = json!({ "amount": fen(amount), "order_ref": fresh() });
        self.post(&format!("/v1/clients/{client}/credits"), credit).with(201);
    }

    /// Makes all that a call needs, and the call: of blocks this long, for a client who has this much.
    pub(crate) fn call(&self, block_s: i64, wallet: i64) -> Booked {
        self.credit("wei", wallet);
        let order = json!({ "plan_id": self.plan(block_s), "client_ref": "wei", "companion_id": self.companion(), "client_name": "Wei" });
        booked(&self.post("/v1/calls", order).with(201))
    }

    /// The call as it stands.
    pub(crate) fn shown(&self, call: &Booked) -> Value {
        self.get(&format!("/v1/calls/{}", call.id)).with(200)
    }

    /// Waits until the call is in this state.
    pub(crate) fn until(&self, call: &Booked, state: &str) -> Value {
        wait_for(&format!("a call that is {state}"), || Some(self.shown(call)).filter(|shown| shown["state"] == state))
    }

    /// The client's wallet in yuan's hundredths: posted, held, available.
    pub(crate) fn wallet(&self) -> [i64; 3] {
        let client = self.get("/v1/clients/wei").with(200);
        ["posted", "held", "available"].map(|part| client["wallets"][0][part]["amount"].as_i64().unwrap())
    }

    pub(crate) fn record(&self, call: &Booked) -> Value {
        self.get(&format!("/v1/calls/{}/record", call.id)).with(200)
    }

    pub(crate) fn extend(&self, call: &Booked, body: Value) -> Answer {
        self.post(&format!("/v1/calls/{}/extend", call.id), body)
    }
}

/// What `POST /v1/calls` answered.
pub(crate) fn booked(call: &Value) -> Booked {
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{call}")).to_owned();
    Booked { id: text(&call["id"]), client: text(&call["client"]["token"]), companion: text(&call["companion"]["token"]) }
}

/// A time of the wire in milliseconds.
pub(crate) fn ms(at: &Value) -> i64 {
    at.as_str().and_then(|at| at.parse::<jiff::Timestamp>().ok()).unwrap_or_else(|| panic!("{at} is no time")).as_millisecond()
}
