//! Random histories against a ledger of a few lines; whatever happens, everything adds up.
//!
//! 20,000 operations by default; `LULL_MODEL_OPS=2000000` runs as many as that says.

use super::*;
use crate::billing::{Bearer, Returned};
use crate::call::Asker;
use proptest::prelude::*;
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::sync::mpsc::channel;

/// Operations of one history.
const LENGTH: usize = 1000;

/// What may happen. Numbers choose among what exists.
#[derive(Clone, Debug)]
enum Step {
    Credit {
        client: u8,
        amount: i64,
    },
    /// An order that was credited before, under another key.
    CreditAgain {
        client: u8,
        order: usize,
    },
    RefundWallet {
        client: u8,
        amount: i64,
    },
    Start {
        client: u8,
        price: i64,
    },
    Extend {
        call: usize,
        price: i64,
    },
    /// A hold of which the call never hears.
    LateHold {
        call: usize,
        price: i64,
    },
    Talk {
        call: usize,
    },
    /// Captures these parts per thousand of its holds.
    Settle {
        call: usize,
        parts: i64,
    },
    /// Gives back so much of what is left, in parts per thousand, and for 1000 all.
    Refund {
        call: usize,
        parts: i64,
        alone: bool,
    },
    /// The same as a dispute's outcome, or takes of what went back.
    Adjust {
        call: usize,
        parts: i64,
        alone: bool,
        back: bool,
    },
    /// A refund made for figures that no longer hold.
    Stale {
        call: usize,
    },
    /// The last command once more, by its key.
    Repeat,
    /// Waits until all that was submitted is answered, and compares.
    Look,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..3u8, 1..5000i64).prop_map(|(client, amount)| Step::Credit { client, amount }),
        2 => (0..3u8, any::<usize>()).prop_map(|(client, order)| Step::CreditAgain { client, order }),
        5 => (0..3u8, 1..5000i64).prop_map(|(client, amount)| Step::RefundWallet { client, amount }),
        12 => (0..3u8, 1..3000i64).prop_map(|(client, price)| Step::Start { client, price }),
        8 => (any::<usize>(), 1..3000i64).prop_map(|(call, price)| Step::Extend { call, price }),
        2 => (any::<usize>(), 1..3000i64).prop_map(|(call, price)| Step::LateHold { call, price }),
        5 => any::<usize>().prop_map(|call| Step::Talk { call }),
        10 => (any::<usize>(), 0..=1000i64).prop_map(|(call, parts)| Step::Settle { call, parts }),
        10 => (any::<usize>(), 1..=1000i64, any::<bool>()).prop_map(|(call, parts, alone)| Step::Refund { call, parts, alone }),
        8 => (any::<usize>(), 1..=1000i64, any::<bool>(), any::<bool>())
            .prop_map(|(call, parts, alone, back)| Step::Adjust { call, parts, alone, back }),
        1 => any::<usize>().prop_map(|call| Step::Stale { call }),
        4 => Just(Step::Repeat),
        8 => Just(Step::Look),
        1 => Just(Step::Reopen),
    ]
}

/// A settled call: what its parties got, and what each gave back.
struct Closed {
    call: CallId,
    client: String,
    shares: (i64, i64),
    by_shares: i64,
    by_vendor: i64,
}

impl Closed {
    /// What the companion bears of so much: her exact part, rounded to the nearest unit, a half up.
    fn companion_bears(&self, of: i64) -> i64 {
        let charge = self.shares.0 + self.shares.1;
        if charge == 0 { 0 } else { (2 * of * self.shares.0 + charge) / (2 * charge) }
    }
}

/// A ledger of a few lines: posted and held of each client with all that ever moved, open calls with what is held for each.
#[derive(Default)]
struct Model {
    wallets: BTreeMap<String, (i64, i64)>,
    moved: BTreeMap<String, Vec<i64>>,
    companion: i64,
    vendor: i64,
    orders: Vec<String>,
    open: Vec<(Started, i64)>,
    closed: Vec<Closed>,
}

impl Model {
    fn wallet(&mut self, name: &str) -> &mut (i64, i64) {
        self.wallets.entry(name.to_owned()).or_default()
    }

    fn post(&mut self, name: &str, amount: i64) {
        if amount != 0 {
            self.wallet(name).0 += amount;
            self.moved.entry(name.to_owned()).or_default().push(amount);
        }
    }

    fn short(&mut self, name: &str, amount: i64) -> Option<Outcome> {
        let (posted, held) = self.wallet(name);
        let available = *posted - *held;
        (available < amount).then(|| Outcome::Refused(Refusal::Funds { available: cny(available) }))
    }

    /// What the store must answer to a hold.
    fn hold(&mut self, name: &str, amount: i64) -> Outcome {
        if let Some(short) = self.short(name, amount) {
            return short;
        }
        self.wallet(name).1 += amount;
        Outcome::Committed
    }

    /// Moves money of a settled call, `amount` above zero to the client.
    fn give(&mut self, call: usize, amount: i64, bearer: Bearer) {
        let closed = &mut self.closed[call];
        let before = closed.companion_bears(closed.by_shares);
        match bearer {
            Bearer::Shares => closed.by_shares += amount,
            Bearer::Vendor => closed.by_vendor += amount,
        }
        let companion = closed.companion_bears(closed.by_shares) - before;
        let client = closed.client.clone();
        self.companion -= companion;
        self.vendor -= amount - companion;
        self.post(&client, amount);
    }
}

fn name(client: u8) -> String {
    format!("client-{client}")
}

fn chosen<T>(number: usize, among: &[T]) -> Option<usize> {
    if among.is_empty() { None } else { Some(number % among.len()) }
}

/// Does a step, and says what the store has to answer.
fn take(step: &Step, shop: &Shop, model: &mut Model) -> Option<(Transaction, Outcome)> {
    match *step {
        Step::Credit { client, amount } => {
            let write = shop.credit(&name(client), amount);
            if let Write::Credit { order_ref, .. } = &write {
                model.orders.push(order_ref.clone());
            }
            model.post(&name(client), amount);
            Some((of(vec![write]), Outcome::Committed))
        }
        Step::CreditAgain { client, order } => {
            let order_ref = model.orders[chosen(order, &model.orders)?].clone();
            let transfer = TransferId::new(shop.uuid());
            let write =
                Write::Credit { transfer, vendor: shop.vendor, client: super::client(&name(client)), amount: cny(7), order_ref, at: at(0) };
            Some((of(vec![write]), Outcome::Refused(Refusal::OrderCredited)))
        }
        Step::RefundWallet { client, amount } => {
            let outcome = match model.short(&name(client), amount) {
                Some(short) => short,
                None => {
                    model.post(&name(client), -amount);
                    Outcome::Committed
                }
            };
            Some((of(vec![shop.wallet_refund(&name(client), amount)]), outcome))
        }
        Step::Start { client, price } => {
            let (started, transaction) = shop.start(&name(client), price);
            let outcome = model.hold(&name(client), price);
            if outcome == Outcome::Committed {
                model.open.push((started, price));
            }
            Some((transaction, outcome))
        }
        Step::Extend { call, price } | Step::LateHold { call, price } => {
            let call = chosen(call, &model.open)?;
            let client = model.open[call].0.terms.client.to_string();
            let (hold, write) = shop.hold(model.open[call].0.call, &client, price);
            let outcome = model.hold(&client, price);
            let (started, held) = &mut model.open[call];
            let mut writes = vec![write];
            if matches!(step, Step::Extend { .. }) {
                let extended = Fact::Extended { by: Asker::Client, hold, order_ref: None, amount: None };
                writes.push(Write::Facts { call: started.call, entries: vec![started.entry(1, extended)] });
                if outcome == Outcome::Committed {
                    started.seq += 1;
                    started.holds.push((hold, price));
                }
            }
            if outcome == Outcome::Committed {
                *held += price;
            }
            Some((of(writes), outcome))
        }
        Step::Talk { call } => {
            let call = chosen(call, &model.open)?;
            let (started, _) = &mut model.open[call];
            let entries = vec![started.entry(1, Fact::Resumed), started.entry(2, Fact::Warned { left: Span::from_s(60) })];
            started.seq += 2;
            Some((of(vec![Write::Facts { call: started.call, entries }]), Outcome::Committed))
        }
        Step::Settle { call, parts } => {
            let (started, held) = model.open.remove(chosen(call, &model.open)?);
            let captures: Vec<i64> = started.holds.iter().map(|(_, amount)| amount * parts / 1000).collect();
            let charge: i64 = captures.iter().sum();
            let client = started.terms.client.to_string();
            model.wallet(&client).1 -= held;
            model.post(&client, -charge);
            let shares = shares(charge);
            model.companion += shares.0;
            model.vendor += shares.1;
            model.closed.push(Closed { call: started.call, client, shares, by_shares: 0, by_vendor: 0 });
            Some((shop.settle(&started, &captures), Outcome::Committed))
        }
        Step::Refund { call, parts, alone } => give(shop, model, call, parts, alone, None),
        Step::Adjust { call, parts, alone, back } => give(shop, model, call, parts, alone, Some(back)),
        Step::Stale { call } => {
            let closed = &model.closed[chosen(call, &model.closed)?];
            if closed.shares == (0, 0) {
                return None;
            }
            let before = Returned { by_shares: closed.by_shares, by_vendor: closed.by_vendor + 1 };
            let write = shop.give_back(closed.call, 1, before, Bearer::Shares, ReturnKind::Refund);
            Some((of(vec![write]), Outcome::Refused(Refusal::Stale)))
        }
        Step::Repeat | Step::Look | Step::Reopen => None,
    }
}

/// A refund (`back` none) or an adjustment of a settled call, within its bounds.
fn give(shop: &Shop, model: &mut Model, call: usize, parts: i64, alone: bool, back: Option<bool>) -> Option<(Transaction, Outcome)> {
    let call = chosen(call, &model.closed)?;
    let closed = &model.closed[call];
    let before = Returned { by_shares: closed.by_shares, by_vendor: closed.by_vendor };
    let (bearer, borne) = if alone { (Bearer::Vendor, closed.by_vendor) } else { (Bearer::Shares, closed.by_shares) };
    let from_client = back == Some(true);
    let bound = if from_client { borne } else { closed.shares.0 + closed.shares.1 - before.sum() };
    let amount = (bound * parts + 999) / 1000;
    if amount == 0 {
        return None;
    }
    let kind = match back {
        None => ReturnKind::Refund,
        Some(back) => ReturnKind::Adjustment {
            direction: if back { Direction::FromClient } else { Direction::ToClient },
            reason: "quality".to_owned(),
        },
    };
    let transaction = of(vec![shop.give_back(closed.call, amount, before, bearer, kind)]);
    let client = closed.client.clone();
    if from_client && let Some(short) = model.short(&client, amount) {
        return Some((transaction, short));
    }
    model.give(call, if from_client { -amount } else { amount }, bearer);
    Some((transaction, Outcome::Committed))
}

/// Transactions that were submitted, and what each is to be answered.
#[derive(Default)]
struct UnderWay(Vec<(std::sync::mpsc::Receiver<Result<Outcome, StoreError>>, Outcome)>);

impl UnderWay {
    fn submit(&mut self, shop: &Shop, transaction: Transaction, expected: Outcome) {
        let (tell, told) = channel();
        shop.store.submit(transaction, move |outcome| tell.send(outcome).unwrap());
        self.0.push((told, expected));
    }

    fn finish(&mut self) -> Result<(), TestCaseError> {
        for (told, expected) in self.0.drain(..) {
            prop_assert_eq!(told.recv().unwrap(), Ok(expected));
        }
        Ok(())
    }
}

fn operations() -> usize {
    std::env::var("LULL_MODEL_OPS").map_or(20_000, |text| text.parse().expect("LULL_MODEL_OPS is a number"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: operations().div_ceil(LENGTH) as u32, ..ProptestConfig::default() })]

    #[test]
    fn a_random_history_adds_up(steps in proptest::collection::vec(step(), LENGTH)) {
        let mut shop = Shop::new();
        let mut model = Model::default();
        let mut last = None;
        let mut under_way = UnderWay::default();
        for (number, step) in steps.iter().enumerate() {
            match step {
                Step::Reopen => {
                    under_way.finish()?;
                    shop.reopen();
                }
                Step::Look => {
                    under_way.finish()?;
                    for (name, wallet) in &model.wallets {
                        prop_assert_eq!(shop.wallet(name), *wallet, "{}", name);
                    }
                }
                Step::Repeat => {
                    if let Some(transaction) = last.clone() {
                        under_way.submit(&shop, transaction, Outcome::Replayed { status: 200, body: "{}".to_owned() });
                    }
                }
                step => if let Some((mut transaction, expected)) = take(step, &shop, &mut model) {
                    let (key, request_hash) = (number.to_string(), [0; 32]);
                    transaction.idempotency = Some(Idempotency { vendor: shop.vendor, key, request_hash, status: 200, body: "{}".to_owned() });
                    last = (expected == Outcome::Committed).then(|| transaction.clone());
                    under_way.submit(&shop, transaction, expected);
                }
            }
        }
        under_way.finish()?;
        check(&shop, &model)?;
    }
}

/// Everything the store shows, against the model.
fn check(shop: &Shop, model: &Model) -> Result<(), TestCaseError> {
    prop_assert_eq!(shop.store.unfinished_calls().unwrap().len(), model.open.len());
    let calls = shop.store.calls(shop.vendor, Page { after: None, limit: 10_000 }, None).unwrap();
    prop_assert_eq!(calls.iter().filter(|call| call.record.is_some()).count(), model.closed.len());
    for (name, wallet) in &model.wallets {
        prop_assert_eq!(shop.wallet(name), *wallet, "{}", name);
        let lines = shop.statement(name, 37);
        let moved: Vec<i64> = lines.iter().rev().map(|line| line.amount.amount).collect();
        prop_assert_eq!(moved, model.moved.get(name).cloned().unwrap_or_default(), "{}", name);
        let mut balance = 0;
        for line in lines.iter().rev() {
            balance += line.amount.amount;
            prop_assert_eq!(line.balance, balance);
        }
        prop_assert_eq!(balance, wallet.0);
    }
    for closed in &model.closed {
        let charged = shop.store.charged(shop.vendor, closed.call).unwrap().unwrap();
        prop_assert_eq!((charged.parts.companion, charged.parts.vendor), closed.shares);
        prop_assert_eq!((charged.returned.by_shares, charged.returned.by_vendor), (closed.by_shares, closed.by_vendor));
        let adjustments = shop.store.adjustments(shop.vendor, closed.call).unwrap();
        let companion: i64 =
            adjustments.iter().map(|step| if step.direction == Direction::ToClient { 1 } else { -1 } * step.parts.companion).sum();
        prop_assert_eq!(companion, closed.companion_bears(closed.by_shares));
    }
    let file = Connection::open(shop.path()).unwrap();
    let posted = |kind: &str| {
        file.query_one("SELECT coalesce(sum(posted), 0) FROM account WHERE kind = ?", [kind], |row| row.get::<_, i64>(0)).unwrap()
    };
    let wallets: i64 = model.wallets.values().map(|wallet| wallet.0).sum();
    let expected = (model.companion, model.vendor, wallets, -(model.companion + model.vendor + wallets));
    prop_assert_eq!((posted("companion"), posted("vendor"), posted("client"), posted("cash_in")), expected);
    let findings = shop.store.audit(&record).unwrap();
    prop_assert!(findings.is_empty(), "{:#?}", findings);
    Ok(())
}
