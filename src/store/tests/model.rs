//! Random histories against a model of a few lines; whatever happens, everything adds up.

use super::*;
use crate::call::Asker;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// What may happen. Numbers choose among what exists.
#[derive(Clone, Debug)]
enum Step {
    Credit {
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
    /// The last command once more, by its key.
    Repeat,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3u8, 1..5000i64).prop_map(|(client, amount)| Step::Credit { client, amount }),
        4 => (0..3u8, 1..3000i64).prop_map(|(client, price)| Step::Start { client, price }),
        3 => (any::<usize>(), 1..3000i64).prop_map(|(call, price)| Step::Extend { call, price }),
        1 => (any::<usize>(), 1..3000i64).prop_map(|(call, price)| Step::LateHold { call, price }),
        2 => any::<usize>().prop_map(|call| Step::Talk { call }),
        3 => (any::<usize>(), 0..=1000i64).prop_map(|(call, parts)| Step::Settle { call, parts }),
        1 => Just(Step::Repeat),
        1 => Just(Step::Reopen),
    ]
}

/// A ledger of a few lines: posted and held of each client, and open calls with what is held for each.
#[derive(Default)]
struct Model {
    wallets: BTreeMap<String, (i64, i64)>,
    open: Vec<(Started, i64)>,
    settled: usize,
}

impl Model {
    fn wallet(&mut self, name: &str) -> &mut (i64, i64) {
        self.wallets.entry(name.to_owned()).or_default()
    }

    /// What the store must answer to a hold.
    fn hold(&mut self, name: &str, amount: i64) -> Outcome {
        let (posted, held) = self.wallet(name);
        let available = *posted - *held;
        if available < amount {
            return Outcome::Refused(Refusal::Funds { available: cny(available) });
        }
        *held += amount;
        Outcome::Committed
    }
}

fn name(client: u8) -> String {
    format!("client-{client}")
}

/// Does a step, and says what the store has to answer.
fn take(step: &Step, shop: &Shop, model: &mut Model) -> Option<(Transaction, Outcome)> {
    let chosen = |call: usize, model: &Model| if model.open.is_empty() { None } else { Some(call % model.open.len()) };
    match *step {
        Step::Credit { client, amount } => {
            model.wallet(&name(client)).0 += amount;
            Some((of(vec![shop.credit(&name(client), amount)]), Outcome::Committed))
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
            let call = chosen(call, model)?;
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
            let call = chosen(call, model)?;
            let (started, _) = &mut model.open[call];
            let entries = vec![started.entry(1, Fact::Resumed), started.entry(2, Fact::Warned { left: Span::from_s(60) })];
            started.seq += 2;
            Some((of(vec![Write::Facts { call: started.call, entries }]), Outcome::Committed))
        }
        Step::Settle { call, parts } => {
            let (started, held) = model.open.remove(chosen(call, model)?);
            let captures: Vec<i64> = started.holds.iter().map(|(_, amount)| amount * parts / 1000).collect();
            let charge: i64 = captures.iter().sum();
            let wallet = model.wallet(started.terms.client.as_str());
            *wallet = (wallet.0 - charge, wallet.1 - held);
            model.settled += 1;
            Some((shop.settle(&started, &captures), Outcome::Committed))
        }
        Step::Repeat | Step::Reopen => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_random_history_adds_up(steps in proptest::collection::vec(step(), 1..60)) {
        let mut shop = Shop::new();
        let mut model = Model::default();
        let mut last = None;
        for (number, step) in steps.iter().enumerate() {
            match step {
                Step::Reopen => shop.reopen(),
                Step::Repeat => {
                    if let Some(transaction) = last.clone() {
                        let replayed = Outcome::Replayed { status: 200, body: "{}".to_owned() };
                        prop_assert_eq!(shop.store.commit(transaction), Ok(replayed));
                    }
                }
                step => if let Some((mut transaction, expected)) = take(step, &shop, &mut model) {
                    let (key, request_hash) = (number.to_string(), [0; 32]);
                    transaction.idempotency = Some(Idempotency { vendor: shop.vendor, key, request_hash, status: 200, body: "{}".to_owned() });
                    prop_assert_eq!(shop.store.commit(transaction.clone()), Ok(expected.clone()));
                    last = (expected == Outcome::Committed).then_some(transaction);
                }
            }
            for (name, wallet) in &model.wallets {
                prop_assert_eq!(shop.wallet(name), *wallet, "{}", name);
            }
        }
        prop_assert_eq!(shop.store.unfinished_calls().unwrap().len(), model.open.len());
        let calls = shop.store.calls(shop.vendor, Page { after: None, limit: 1000 }, None).unwrap();
        prop_assert_eq!(calls.iter().filter(|call| call.record.is_some()).count(), model.settled);
        let findings = shop.store.audit(&record).unwrap();
        prop_assert!(findings.is_empty(), "{:#?}", findings);
    }
}
