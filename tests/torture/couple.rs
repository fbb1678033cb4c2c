//! Two who are in a live call: they join, send sound, and join again whenever the server is back. They note when both were there and
//! sending, so whoever judges the record knows the most that can have been delivered.

use crate::teller::{Gate, Teller, agent, fen, send};
use crate::wallets::{Offers, Purse, id};
use lull::media::client::driver::Driven;
use lull::media::client::{Client, Event, Identity, Track};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// A frame of sound.
const FRAME: Duration = Duration::from_millis(20);

/// Samples in it at 48 kHz.
const SAMPLES: u32 = 960;

/// A call that both have left or that was ended is settled within this time, however often the server dies meanwhile.
const SETTLED_WITHIN: Duration = Duration::from_secs(240);

/// Before a join that was refused for now is tried again.
const REFUSED: Duration = Duration::from_millis(50);

/// When somebody was there: surely not before the first instant of a pair, and surely not after the second.
type Presence = Arc<Mutex<Vec<(Instant, Instant)>>>;

/// One of two.
struct Party {
    gate: Arc<Gate>,
    token: String,
    /// She is to hang up.
    leaves: Arc<AtomicBool>,
    presence: Presence,
}

/// How one stay ended.
enum Stay {
    /// The server died or closed the connection.
    Cut,
    /// She hung up, and it was heard.
    Left,
}

impl Party {
    /// Joins as often as she can until the call is over.
    async fn attend(self) {
        let identity = Identity::generate().unwrap();
        loop {
            let (life, base) = self.gate.served().await;
            let client = Client::new(identity.clone(), false);
            let Ok(said) = self.ask(&base, "POST", "/v1/join", client.offer().to_owned()).await else {
                self.gate.over(life).await;
                continue;
            };
            match (said.status, said.code().as_str()) {
                (201, _) => {}
                (410, _) => return,
                // 404: it was put out while it joined.
                (404 | 409 | 429 | 503, _) => {
                    tokio::time::sleep(REFUSED).await;
                    continue;
                }
                _ => panic!("a join was refused: {said:?}"),
            }
            let driven = Driven::start(client, &said.text).await.unwrap();
            if matches!(self.stay(driven, life, &base, &said.location).await, Stay::Left) {
                return;
            }
        }
    }

    async fn stay(&self, mut driven: Driven, life: u32, base: &str, leg: &str) -> Stay {
        let mut over = std::pin::pin!(self.gate.over(life));
        let (mut since, mut due, mut stamp) = (None, Instant::now() + FRAME, 0_u32);
        let note = |since: Option<Instant>, until: Instant| {
            if let Some(since) = since {
                self.presence.lock().unwrap().push((since, until));
            }
        };
        loop {
            let before = Instant::now();
            let event = tokio::select! {
                biased;
                died = &mut over => {
                    note(since, died);
                    return Stay::Cut;
                }
                event = driven.next(due) => event,
            };
            match event {
                Some(Event::Connected) => {
                    since = Some(before);
                    self.gate.joins.fetch_add(1, Ordering::Relaxed);
                }
                Some(Event::Closed | Event::Failed(_)) => {
                    note(since, Instant::now());
                    return Stay::Cut;
                }
                Some(_) => {}
                None => {
                    stamp = stamp.wrapping_add(SAMPLES);
                    // What a coder makes of silence (RFC 6716 section 3.1); whether it can be heard is not looked at here.
                    driven.send(Track::Voice, stamp, false, &[0xf8, 0xff, 0xfe]);
                    due = (due + FRAME).max(Instant::now());
                    if since.is_some() && self.leaves.load(Ordering::Relaxed) {
                        let heard = self.ask(base, "DELETE", leg, String::new()).await;
                        note(since, Instant::now());
                        return match heard {
                            // Over already: that was heard of as well.
                            Ok(said) if matches!(said.status, 200 | 204 | 410) => Stay::Left,
                            Ok(said) => panic!("hanging up was answered {said:?}"),
                            Err(_) => Stay::Cut,
                        };
                    }
                }
            }
        }
    }

    async fn ask(&self, base: &str, method: &'static str, path: &str, body: String) -> Result<crate::teller::Said, ureq::Error> {
        let (base, path, bearer) = (base.to_owned(), path.to_owned(), format!("Bearer {}", self.token));
        let ask = move || {
            let headers = [("authorization", bearer.as_str()), ("content-type", "application/sdp")];
            send(&agent(), &base, method, &path, if method == "DELETE" { &headers[..1] } else { &headers[..] }, &body)
        };
        tokio::task::spawn_blocking(ask).await.unwrap()
    }
}

/// How a call is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// The vendor ends it: charged exactly as delivered.
    Vendor,
    /// The client hangs up: each started block is charged.
    Client,
    /// Its time runs out.
    Time,
}

/// One call after the other.
pub(crate) struct Couple {
    teller: Teller,
    offers: Offers,
    purse: Purse,
}

/// A call that is on.
struct Talk {
    call: String,
    block_s: i64,
    price: i64,
    blocks: i64,
    pair: Pair,
    /// What was once said of it.
    started_at: Value,
}

/// The two, on their own until the call is over.
pub(crate) struct Pair {
    gate: Arc<Gate>,
    presences: [Presence; 2],
    client_leaves: Arc<AtomicBool>,
    parties: Vec<JoinHandle<()>>,
}

impl Pair {
    /// Both begin to join; `call` is what its making was answered.
    pub(crate) fn join(gate: &Arc<Gate>, call: &Value) -> Self {
        let client_leaves = Arc::new(AtomicBool::new(false));
        let presences = [Presence::default(), Presence::default()];
        let parties = ["client", "companion"].into_iter().zip(&presences).map(|(side, presence)| {
            let token = call[side]["token"].as_str().unwrap_or_else(|| panic!("{call}")).to_owned();
            let leaves = if side == "client" { client_leaves.clone() } else { Arc::default() };
            gate.runtime.spawn(Party { gate: gate.clone(), token, leaves, presence: presence.clone() }.attend())
        });
        let parties = parties.collect();
        Self { gate: gate.clone(), presences, client_leaves, parties }
    }

    /// Waits until both have left, and says how long both were there at once, at most, in milliseconds.
    pub(crate) fn gone(&mut self) -> i64 {
        for party in self.parties.drain(..) {
            let left = async { tokio::time::timeout(SETTLED_WITHIN, party).await };
            self.gate.runtime.block_on(left).expect("who was in a call that is over leaves").unwrap();
        }
        i64::try_from(together(&self.presences).as_millis()).unwrap()
    }
}

impl Couple {
    pub(crate) fn new(teller: Teller, offers: Offers, name: &str) -> Self {
        Self { teller, offers, purse: Purse::new(name.to_owned()) }
    }

    pub(crate) fn run(mut self) {
        while !self.teller.gate.is_closing() {
            self.talk();
        }
        // One whole call on a server that nobody kills.
        self.talk();
        self.purse.check(&mut self.teller);
        self.teller.repeat_all(100);
        self.purse.check(&mut self.teller);
    }

    fn talk(&mut self) {
        let ending = match self.teller.dice.below(10) {
            0..5 => Ending::Vendor,
            5..8 => Ending::Client,
            _ => Ending::Time,
        };
        let mut talk = self.begin(ending);
        let until = Instant::now() + Duration::from_millis(self.teller.dice.within(1000, 9000).unsigned_abs());
        while Instant::now() < until && !self.teller.gate.is_closing() {
            self.look(&mut talk, ending);
            std::thread::sleep(Duration::from_millis(100));
            if ending != Ending::Time && self.teller.dice.percent(5) {
                self.extend(&mut talk);
            }
        }
        match ending {
            Ending::Vendor => {
                // With a reason to charge something, unless there was none all the time.
                self.teller.command(&format!("/v1/calls/{}/end", talk.call), &json!({})).with(200);
            }
            Ending::Client => talk.pair.client_leaves.store(true, Ordering::Relaxed),
            Ending::Time => {}
        }
        let record = self.record(&mut talk, ending);
        let together_ms = talk.pair.gone();
        self.judge(&talk, ending, &record, together_ms);
        self.purse.check(&mut self.teller);
        self.give_back(&talk, &record);
    }

    fn begin(&mut self, ending: Ending) -> Talk {
        let is_short = ending == Ending::Time;
        let (block_s, price) = if is_short { Offers::SHORT } else { Offers::DEAR };
        if self.purse.available() < price {
            self.purse.credit(&mut self.teller, price * 3);
        }
        let plan = if is_short { &self.offers.short } else { &self.offers.dear };
        let order = json!({ "plan_id": plan, "client_ref": self.purse.name, "companion_id": self.offers.companion });
        let call = self.teller.command("/v1/calls", &order).with(201);
        self.purse.held += price;
        let pair = Pair::join(&self.teller.gate, &call);
        Talk { call: id(&call), block_s, price, blocks: 1, pair, started_at: Value::Null }
    }

    /// What was said once stays so, over all restarts, and nobody but us ends it.
    fn look(&mut self, talk: &mut Talk, ending: Ending) {
        let (status, call) = self.teller.look(&format!("/v1/calls/{}", talk.call));
        assert_eq!((status, call["blocks"].as_i64()), (200, Some(talk.blocks)), "{call}");
        if !talk.started_at.is_null() {
            assert_eq!(call["started_at"], talk.started_at, "{call}");
        }
        talk.started_at = call["started_at"].clone();
        if ending != Ending::Time {
            assert!(matches!(call["state"].as_str(), Some("connecting" | "live" | "paused")), "{call}");
        }
    }

    /// A block more, paid from the wallet or by an order.
    fn extend(&mut self, talk: &mut Talk) {
        let order_ref = self.teller.dice.percent(50).then(|| self.teller.dice.key("order"));
        if talk.started_at.is_null() || (order_ref.is_none() && self.purse.available() < talk.price) {
            return;
        }
        let body = order_ref.as_ref().map_or_else(|| json!({}), |order_ref| json!({ "order_ref": order_ref }));
        let done = self.teller.command(&format!("/v1/calls/{}/extend", talk.call), &body);
        self.purse.posted += if order_ref.is_some() { talk.price } else { 0 };
        if done.was_lost && done.code == "order_credited" {
            // The server died when the order was in the wallet and its block not yet in the call: there the money stays.
            self.purse.check(&mut self.teller);
            return;
        }
        let extended = done.with(200);
        talk.blocks += 1;
        self.purse.held += talk.price;
        assert_eq!(extended["blocks"].as_i64(), Some(talk.blocks), "{extended}");
        self.purse.check(&mut self.teller);
    }

    fn record(&mut self, talk: &mut Talk, ending: Ending) -> Value {
        let until = Instant::now() + SETTLED_WITHIN;
        loop {
            let (status, record) = self.teller.look(&format!("/v1/calls/{}/record", talk.call));
            if status == 200 {
                return record;
            }
            assert!(
                Instant::now() < until,
                "a call that is to end by {ending:?} never settled: {:?}",
                self.teller.look(&format!("/v1/calls/{}", talk.call))
            );
            std::thread::sleep(REFUSED);
        }
    }

    /// Holds a record against what the two know.
    fn judge(&mut self, talk: &Talk, ending: Ending, record: &Value, together_ms: i64) {
        let of = |part: &str| record[part]["amount"].as_i64().unwrap_or_else(|| panic!("{part}: {record}"));
        let (charge, refund, held) = (of("charge"), of("refund"), of("held"));
        let delivered_ms = record["delivered_ms"].as_i64().unwrap();
        let shares = record["shares"].as_array().unwrap().iter().map(|share| share["amount"]["amount"].as_i64().unwrap()).sum::<i64>();
        let says = format!("together {together_ms} ms, {ending:?}: {record}");
        assert!(delivered_ms <= together_ms, "more delivered than they were there: {says}");
        assert_eq!((held, charge + refund, shares), (talk.blocks * talk.price, held, charge), "{says}");
        let reason = record["end_reason"].as_str().unwrap();
        match ending {
            Ending::Vendor => {
                assert!(reason == "vendor_ended" && (charge == 0 || record["settlement"] == "exact_delivered"), "{says}");
                assert!(charge <= talk.price * together_ms / (talk.block_s * 1000), "{says}");
            }
            Ending::Client => {
                assert_eq!(reason, "client_left", "{says}");
                assert!(charge <= talk.price * (together_ms + talk.block_s * 1000 - 1).div_euclid(talk.block_s * 1000), "{says}");
            }
            Ending::Time => {
                assert_eq!((reason, delivered_ms), ("time_expired", talk.blocks * talk.block_s * 1000), "{says}");
                assert_eq!(charge, held, "{says}");
            }
        }
        self.purse.held -= held;
        self.purse.posted -= charge;
        let gate = &self.teller.gate;
        let count = |counter: &std::sync::atomic::AtomicUsize, by: i64| counter.fetch_add(usize::try_from(by).unwrap(), Ordering::Relaxed);
        count(&gate.settled, 1);
        count(&gate.charged, (charge > 0).into());
        count(&gate.charge, charge);
        count(&gate.together_ms, together_ms);
        count(&gate.delivered_ms, delivered_ms);
    }

    /// Some of a charge goes back.
    fn give_back(&mut self, talk: &Talk, record: &Value) {
        let charge = record["charge"]["amount"].as_i64().unwrap();
        if !self.offers.refunds || charge == 0 || self.teller.dice.percent(50) {
            return;
        }
        let amount = self.teller.dice.within(1, charge);
        let path = format!("/v1/calls/{}/refunds", talk.call);
        self.teller.command(&path, &json!({ "amount": fen(amount), "reason": "torture" })).with(201);
        self.purse.posted += amount;
        if amount < charge {
            let done = self.teller.command(&path, &json!({ "amount": fen(charge - amount + 1), "reason": "too much" }));
            assert!((400..500).contains(&done.status), "{}", done.body);
        }
        self.purse.check(&mut self.teller);
    }
}

/// How long both were there.
fn together(presences: &[Presence; 2]) -> Duration {
    let [one, other] = presences.each_ref().map(|presence| presence.lock().unwrap().clone());
    let mut sum = Duration::ZERO;
    for (from, to) in one {
        for (since, until) in &other {
            sum += to.min(*until).saturating_duration_since(from.max(*since));
        }
    }
    sum
}

#[test]
fn two_are_together_while_both_are_there() {
    let zero = Instant::now();
    let at = |ms: u64| zero + Duration::from_millis(ms);
    let presence = |spans: &[(u64, u64)]| Presence::new(Mutex::new(spans.iter().map(|(from, to)| (at(*from), at(*to))).collect()));
    let both = [presence(&[(0, 100), (200, 300), (500, 600)]), presence(&[(50, 250), (400, 450)])];
    assert_eq!(together(&both), Duration::from_millis(100));
    assert_eq!(together(&[presence(&[]), presence(&[(0, 5)])]), Duration::ZERO);
}
