//! Somebody who moves money and knows what must come of it: wallets credited and refunded, calls made and ended before anybody
//! joins them, commands given twice. After each restart all of it must be there, once.

use crate::teller::{Teller, fen};
use crate::wait_for;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What a call sets aside.
const PRICE: i64 = 2000;

/// Clients of one teller.
const CLIENTS: usize = 3;

/// Calls a teller has open at once.
const OPEN: usize = 4;

/// What is sold by a house, made once.
#[derive(Clone)]
pub(crate) struct Offers {
    /// 600 s at 20.00.
    pub(crate) quiet: String,
    /// 60 s at 600.00: ten fen each 10 ms, so that nothing too much is too little to be seen.
    pub(crate) dear: String,
    /// 2 s at 30.00.
    pub(crate) short: String,
    pub(crate) companion: String,
    /// Whether this program can give money back.
    pub(crate) refunds: bool,
}

impl Offers {
    pub(crate) const DEAR: (i64, i64) = (60, 60_000);
    pub(crate) const SHORT: (i64, i64) = (2, 3000);

    pub(crate) fn make(teller: &mut Teller) -> Self {
        let mut plan = |block_s: i64, price: i64| {
            let plan = json!({ "name": format!("{block_s} s"), "kind": "block", "block_s": block_s, "price": fen(price) });
            id(&teller.command("/v1/plans", &plan).with(201))
        };
        let (quiet, dear, short) = (plan(600, PRICE), plan(Self::DEAR.0, Self::DEAR.1), plan(Self::SHORT.0, Self::SHORT.1));
        let companion = id(&teller.command("/v1/companions", &json!({ "name": "Lin" })).with(201));
        let (_, described) = teller.look("/openapi.json");
        let refunds = described["paths"].as_object().is_some_and(|paths| paths.contains_key("/v1/clients/{ref}/refunds"));
        Self { quiet, dear, short, companion, refunds }
    }
}

pub(crate) fn id(body: &Value) -> String {
    body["id"].as_str().unwrap_or_else(|| panic!("{body}")).to_owned()
}

/// A client's money as it must be.
#[derive(Debug, PartialEq, Eq, Clone)]
pub(crate) struct Purse {
    pub(crate) name: String,
    pub(crate) posted: i64,
    pub(crate) held: i64,
}

impl Purse {
    pub(crate) fn new(name: String) -> Self {
        Self { name, posted: 0, held: 0 }
    }

    pub(crate) fn available(&self) -> i64 {
        self.posted - self.held
    }

    pub(crate) fn credit(&mut self, teller: &mut Teller, amount: i64) {
        let order_ref = teller.dice.key("order");
        let path = format!("/v1/clients/{}/credits", self.name);
        teller.command(&path, &json!({ "amount": fen(amount), "order_ref": order_ref })).with(201);
        self.posted += amount;
    }

    /// Compares what the program has with what it must have.
    pub(crate) fn check(&self, teller: &mut Teller) {
        let (status, client) = teller.look(&format!("/v1/clients/{}", self.name));
        if status == 404 {
            return assert_eq!((self.posted, self.held), (0, 0), "{} is gone", self.name);
        }
        let part = |name: &str| client["wallets"][0][name]["amount"].as_i64().unwrap_or_else(|| panic!("{client}"));
        let found = Purse { name: self.name.clone(), posted: part("posted"), held: part("held") };
        assert_eq!(found, *self, "what is there, and what must be");
    }
}

struct Open {
    call: String,
    purse: usize,
}

/// One such person.
pub(crate) struct Wallets {
    pub(crate) teller: Teller,
    offers: Offers,
    purses: Vec<Purse>,
    open: Vec<Open>,
    /// The last life in which everything was looked at.
    looked: u32,
}

impl Wallets {
    pub(crate) fn new(teller: Teller, offers: Offers, name: &str) -> Self {
        let purses = (0..CLIENTS).map(|number| Purse::new(format!("{name}-{number}"))).collect();
        Self { teller, offers, purses, open: Vec::new(), looked: 0 }
    }

    /// Goes on until the house closes; then everything is ended and looked at a last time.
    pub(crate) fn run(mut self) {
        while !self.teller.gate.is_closing() {
            if self.teller.gate.life() != self.looked {
                self.look();
            }
            self.step();
            // As fast as it can it would leave no time for those who talk.
            std::thread::sleep(Duration::from_millis(self.teller.dice.next() % 10));
        }
        while let Some(open) = self.open.pop() {
            self.end(&open);
        }
        self.look();
        self.teller.repeat_all(150);
        self.look();
    }

    /// All is there, once.
    fn look(&mut self) {
        let life = self.teller.gate.life();
        for purse in &self.purses {
            purse.check(&mut self.teller);
        }
        for open in &self.open {
            let (status, call) = self.teller.look(&format!("/v1/calls/{}", open.call));
            assert_eq!((status, call["state"].as_str()), (200, Some("connecting")), "{call}");
        }
        self.looked = life;
        self.teller.gate.looked.fetch_max(life, Ordering::Relaxed);
    }

    fn step(&mut self) {
        let place = self.teller.dice.below(CLIENTS);
        match self.teller.dice.below(100) {
            0..30 => {
                let amount = self.teller.dice.within(1, 5000);
                self.purses[place].credit(&mut self.teller, amount);
            }
            30..50 if self.open.len() < OPEN => self.create(place),
            50..55 => self.extend(),
            55..75 if !self.open.is_empty() => {
                let open = self.open.swap_remove(self.teller.dice.below(self.open.len()));
                self.end(&open);
            }
            75..90 if self.offers.refunds => self.refund(place),
            _ => self.teller.repeat_one(),
        }
    }

    fn create(&mut self, place: usize) {
        let purse = &mut self.purses[place];
        let order = json!({ "plan_id": self.offers.quiet, "client_ref": purse.name, "companion_id": self.offers.companion });
        let done = self.teller.command("/v1/calls", &order);
        if purse.available() < PRICE {
            assert_eq!((done.status, done.code.as_str()), (402, "insufficient_funds"), "{}", done.body);
            return;
        }
        purse.held += PRICE;
        self.open.push(Open { call: id(&done.with(201)), purse: place });
    }

    /// Nobody has joined: there is nothing to extend, and an order for it is not credited.
    fn extend(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let place = self.teller.dice.below(self.open.len());
        let order_ref = self.teller.dice.key("order");
        let path = format!("/v1/calls/{}/extend", self.open[place].call);
        let done = self.teller.command(&path, &json!({ "order_ref": order_ref }));
        assert_eq!((done.status, done.code.as_str()), (409, "call_state"), "{}", done.body);
    }

    /// Nobody ever joined, so nothing is charged.
    fn end(&mut self, open: &Open) {
        let ended = self.teller.command(&format!("/v1/calls/{}/end", open.call), &json!({})).with(200);
        assert!(matches!(ended["state"].as_str(), Some("ended" | "settled")), "{ended}");
        let record = wait_for("the record of a call that ended", || {
            let (status, record) = self.teller.look(&format!("/v1/calls/{}/record", open.call));
            (status == 200).then_some(record)
        });
        assert_eq!((&record["charge"], &record["refund"]), (&fen(0), &fen(PRICE)), "{record}");
        self.purses[open.purse].held -= PRICE;
    }

    fn refund(&mut self, place: usize) {
        let amount = self.teller.dice.within(1, 3000);
        let purse = &mut self.purses[place];
        if purse.posted == 0 {
            return;
        }
        let order_ref = self.teller.dice.key("back");
        let done =
            self.teller.command(&format!("/v1/clients/{}/refunds", purse.name), &json!({ "amount": fen(amount), "order_ref": order_ref }));
        if purse.available() < amount {
            assert_eq!((done.status, done.code.as_str()), (402, "insufficient_funds"), "{}", done.body);
            return;
        }
        done.with(201);
        purse.posted -= amount;
    }
}
