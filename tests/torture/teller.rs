//! Who gives the program commands: each with a key of its own, noted when it is answered, asked again with the same key when the
//! answer was lost, until there is one. What a key was once answered it must be answered for ever.

use crate::{Dice, PATIENCE};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::watch;
use ureq::http::Request;

/// An answer that does not come at all is a fault; a dead server breaks the connection.
const NO_ANSWER: Duration = Duration::from_secs(30);

/// Before a command that was not taken is asked again.
const NOT_TAKEN: Duration = Duration::from_millis(20);

/// One run of the server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Life {
    pub(crate) number: u32,
    /// In front of every path, while it serves.
    pub(crate) base: Option<String>,
}

/// Where the server is, as who kills it says; and what all who use it count.
pub(crate) struct Gate {
    lives: watch::Sender<Life>,
    /// When each life was certainly over.
    deaths: Mutex<BTreeMap<u32, Instant>>,
    pub(crate) closing: AtomicBool,
    pub(crate) runtime: Handle,
    /// Commands sent and not answered.
    pub(crate) in_flight: AtomicUsize,
    /// Commands answered.
    pub(crate) commands: AtomicUsize,
    /// Answers that were lost.
    pub(crate) lost: AtomicUsize,
    /// Answers that were given again, the same.
    pub(crate) repeated: AtomicUsize,
    /// Times somebody connected to a call.
    pub(crate) joins: AtomicUsize,
    /// Live calls that were settled, those charged, and what they came to.
    pub(crate) settled: AtomicUsize,
    pub(crate) charged: AtomicUsize,
    pub(crate) charge: AtomicUsize,
    /// Time both were there and sent, and of it what the records have, in milliseconds.
    pub(crate) together_ms: AtomicUsize,
    pub(crate) delivered_ms: AtomicUsize,
    /// Lives in which wallets were found right.
    pub(crate) looked: AtomicU32,
}

impl Gate {
    pub(crate) fn new(runtime: Handle) -> Self {
        Self {
            lives: watch::Sender::new(Life::default()),
            deaths: Mutex::default(),
            closing: AtomicBool::new(false),
            runtime,
            in_flight: AtomicUsize::new(0),
            commands: AtomicUsize::new(0),
            lost: AtomicUsize::new(0),
            repeated: AtomicUsize::new(0),
            joins: AtomicUsize::new(0),
            settled: AtomicUsize::new(0),
            charged: AtomicUsize::new(0),
            charge: AtomicUsize::new(0),
            together_ms: AtomicUsize::new(0),
            delivered_ms: AtomicUsize::new(0),
            looked: AtomicU32::new(0),
        }
    }

    /// It serves, there.
    pub(crate) fn open(&self, base: String) {
        self.lives.send_modify(|life| *life = Life { number: life.number + 1, base: Some(base) });
    }

    /// It is dead since before now.
    pub(crate) fn died(&self) {
        let number = self.lives.borrow().number;
        self.deaths.lock().unwrap().insert(number, Instant::now());
        self.lives.send_modify(|life| life.base = None);
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// The server, once it is there.
    pub(crate) async fn served(&self) -> (u32, String) {
        let mut lives = self.lives.subscribe();
        let life = lives.wait_for(|life| life.base.is_some()).await.expect("the gate has the sender");
        (life.number, life.base.clone().expect("waited for"))
    }

    /// Returns when this life is over, and since when it certainly was.
    pub(crate) async fn over(&self, number: u32) -> Instant {
        let mut lives = self.lives.subscribe();
        let _ = lives.wait_for(|life| life.number > number || life.base.is_none()).await;
        self.deaths.lock().unwrap().get(&number).copied().unwrap_or_else(Instant::now)
    }

    pub(crate) fn life(&self) -> u32 {
        self.lives.borrow().number
    }
}

/// What the program said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: u16,
    pub(crate) replayed: bool,
    pub(crate) location: String,
    pub(crate) text: String,
}

impl Said {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn code(&self) -> String {
        serde_json::from_str::<Value>(&self.text).ok().and_then(|body| body["code"].as_str().map(str::to_owned)).unwrap_or_default()
    }
}

/// One request; an error says that the answer was lost.
pub(crate) fn send(
    agent: &ureq::Agent,
    base: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Result<Said, ureq::Error> {
    let mut request = Request::builder().method(method).uri(format!("{base}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut answer = match method {
        "GET" | "DELETE" => agent.run(request.body(()).unwrap())?,
        _ => agent.run(request.body(body).unwrap())?,
    };
    let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let (status, location, replayed) = (answer.status().as_u16(), header("location"), header("idempotent-replayed") == "true");
    let text = answer.body_mut().read_to_string()?;
    Ok(Said { status, replayed, location, text })
}

pub(crate) fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(NO_ANSWER)).build();
    ureq::Agent::new_with_config(config)
}

/// A command that was carried out: what was sent, and the first answer.
struct Kept {
    key: String,
    path: String,
    body: String,
    status: u16,
    answer: Value,
}

/// How a command ended.
pub(crate) struct Done {
    pub(crate) status: u16,
    pub(crate) code: String,
    pub(crate) body: Value,
    /// An answer to it was lost before.
    pub(crate) was_lost: bool,
}

impl Done {
    /// Its body, if it has this status.
    pub(crate) fn with(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        self.body
    }
}

/// A vendor's program, one command after the other.
pub(crate) struct Teller {
    pub(crate) gate: Arc<Gate>,
    agent: ureq::Agent,
    bearer: String,
    pub(crate) dice: Dice,
    kept: Vec<Kept>,
}

impl Teller {
    pub(crate) fn new(gate: Arc<Gate>, key: &str, dice: Dice) -> Self {
        Self { gate, agent: agent(), bearer: format!("Bearer {key}"), dice, kept: Vec::new() }
    }

    /// Gives a command until it is answered for good.
    pub(crate) fn command(&mut self, path: &str, body: &Value) -> Done {
        let key = self.dice.key("key");
        let (said, was_lost) = self.ask("POST", path, &key, &body.to_string());
        self.gate.commands.fetch_add(1, Ordering::Relaxed);
        let answer = without_tokens(said.json());
        if said.status < 300 {
            assert!(was_lost || !said.replayed, "replayed at the first try: {said:?}");
            self.kept.push(Kept { key, path: path.to_owned(), body: body.to_string(), status: said.status, answer });
        }
        Done { status: said.status, code: said.code(), body: said.json(), was_lost }
    }

    /// Gives a command once. Whatever is answered, even nothing.
    pub(crate) fn try_once(&self, key: &str, path: &str, body: &Value) -> Result<Said, ureq::Error> {
        let (_, base) = self.gate.runtime.block_on(self.gate.served());
        let headers = [("authorization", self.bearer.as_str()), ("content-type", "application/json"), ("idempotency-key", key)];
        send(&self.agent, &base, "POST", path, &headers, &body.to_string())
    }

    /// Looks something up.
    pub(crate) fn look(&mut self, path: &str) -> (u16, Value) {
        let (said, _) = self.ask("GET", path, "", "");
        (said.status, said.json())
    }

    fn ask(&self, method: &str, path: &str, key: &str, body: &str) -> (Said, bool) {
        let until = Instant::now() + PATIENCE * 2;
        let mut was_lost = false;
        loop {
            assert!(Instant::now() < until, "no answer to {method} {path}");
            let (life, base) = self.gate.runtime.block_on(self.gate.served());
            let headers = [("authorization", self.bearer.as_str()), ("content-type", "application/json"), ("idempotency-key", key)];
            let headers = if method == "GET" { &headers[..1] } else { &headers[..] };
            self.gate.in_flight.fetch_add(usize::from(method != "GET"), Ordering::Relaxed);
            let said = send(&self.agent, &base, method, path, headers, body);
            self.gate.in_flight.fetch_sub(usize::from(method != "GET"), Ordering::Relaxed);
            match said {
                Ok(said) if matches!(said.status, 429 | 503 | 507) || said.code() == "idempotency_key_in_use" => {
                    std::thread::sleep(NOT_TAKEN);
                }
                Ok(said) => return (said, was_lost),
                Err(ureq::Error::Timeout(what)) => panic!("{method} {path} was not answered within {NO_ANSWER:?} ({what})"),
                Err(_) => {
                    was_lost = true;
                    self.gate.lost.fetch_add(usize::from(method != "GET"), Ordering::Relaxed);
                    // The connection broke before who killed it says so.
                    let gone = async { tokio::time::timeout(PATIENCE, self.gate.over(life)).await };
                    let gone = self.gate.runtime.block_on(gone);
                    assert!(gone.is_ok(), "{method} {path}: the connection broke and the server lives");
                }
            }
        }
    }

    /// A command of long ago once more.
    pub(crate) fn repeat_one(&mut self) {
        if !self.kept.is_empty() {
            let place = self.dice.below(self.kept.len());
            self.repeat(place);
        }
    }

    /// All that was ever acknowledged once more, or as many as `most` of it.
    pub(crate) fn repeat_all(&mut self, most: usize) {
        if self.kept.len() <= most {
            (0..self.kept.len()).for_each(|place| self.repeat(place));
        } else {
            (0..most).for_each(|_| self.repeat_one());
        }
    }

    fn repeat(&self, place: usize) {
        let Kept { key, path, body, status, answer } = &self.kept[place];
        let (said, _) = self.ask("POST", path, key, body);
        assert!(said.replayed, "done again: {path} {body}: {said:?}");
        assert_eq!((said.status, &without_tokens(said.json())), (*status, answer), "another answer than the first to {path} {body}");
        self.gate.repeated.fetch_add(1, Ordering::Relaxed);
    }
}

/// Money in yuan's hundredths.
pub(crate) fn fen(amount: i64) -> Value {
    json!({ "amount": amount, "currency": "CNY" })
}

/// Links are made again for each answer, and are no part of the kept one.
fn without_tokens(mut body: Value) -> Value {
    for party in ["client", "companion"] {
        if let Some(party) = body.get_mut(party).and_then(Value::as_object_mut) {
            party.remove("url");
            party.remove("token");
        }
    }
    body
}
