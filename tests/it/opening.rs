//! How long a start takes beside settled calls: the listener waits for the calls that are not over and for nothing else.
//!
//! `OPENING_CALLS=1000000` in the environment measures it beside so many (some 3 GB below `TMPDIR`, half an hour in a debug build); without,
//! only that it opens and that the whole database adds up.

use crate::server::{Server, wait_for};
use lull::billing::{Conditions, Kind, Plan};
use lull::call::{Event, Limits, Medium, Policy, RequestId, Shares, Sounds, Terms};
use lull::clock::{Clock, Moment, Span};
use lull::exchange::{self, Effect, Exchange};
use lull::ids::{CallId, CompanionId, HoldId, PlanId, TokenId, TransferId, VendorId};
use lull::money::Money;
use lull::store::{Outcome, Role, Settlement, Store, Transaction, Write};
use uuid::Uuid;

fn cny(amount: i64) -> Money {
    Money::new(amount, "CNY".parse().unwrap())
}

fn of(writes: Vec<Write>) -> Transaction {
    Transaction { idempotency: None, writes }
}

/// Who sells and listens in the calls that are made up.
struct Shop {
    vendor: VendorId,
    companion: CompanionId,
}

impl Shop {
    fn terms(&self) -> Terms {
        Terms {
            vendor: self.vendor,
            plan: PlanId::new(Uuid::from_u128(7)),
            plan_name: "a quarter".to_owned(),
            sold: Plan::new(cny(1).currency, Kind::Block { block_s: 900, price: 1 }, Conditions::default()).unwrap(),
            hold: cny(1),
            grade_paid: None,
            grade_delivered: None,
            client: "wei".parse().unwrap(),
            client_name: None,
            companion: self.companion,
            companion_name: "Lin".to_owned(),
            medium: Medium::Audio,
            policy: Policy::default(),
            shares: Shares { companion_bps: 7000, vendor_bps: 3000 },
            client_token: TokenId::new(Uuid::now_v7()),
            companion_token: TokenId::new(Uuid::now_v7()),
            limits: Limits::default(),
            zones: None,
            night: None,
            sounds: Sounds::default(),
            recording: None,
        }
    }

    /// A call's whole life, as the house would write it; open or ended.
    fn call(&self, at: Moment, ends: bool) -> Vec<Transaction> {
        let (id, hold) = (CallId::new(Uuid::now_v7()), HoldId::new(Uuid::now_v7()));
        let (call, created) = exchange::book(id, self.terms(), hold, at).unwrap();
        let (vendor, client) = (self.vendor, "wei".parse().unwrap());
        let held = Write::Hold { hold, call: id, vendor, client, amount: cny(1), at };
        let mut life = vec![of(vec![Write::Facts { call: id, entries: vec![created] }, held])];
        if ends {
            let (mut exchange, mut out) = (Exchange::new(), Vec::new());
            exchange.insert(call);
            exchange.handle(id, Event::VendorEnds { request: RequestId(1) }, at + Span::from_s(1), &mut out);
            for effect in out {
                let Effect::Record { call, entries, settle: Some(order), .. } = effect else { continue };
                let settlement = Settlement {
                    call,
                    at: at + Span::from_s(1),
                    transfer: TransferId::new(Uuid::now_v7()),
                    captures: order.captures,
                    companion_share: order.companion_share,
                    vendor_share: order.vendor_share,
                    record: order.record,
                };
                life.push(of(vec![Write::Facts { call, entries }, Write::Settle(Box::new(settlement))]));
            }
        }
        life
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_listener_opens_beside_any_number_of_settled_calls() {
    let settled: usize = std::env::var("OPENING_CALLS").ok().map_or(300, |calls| calls.parse().expect("a number"));
    let open = (settled / 100).clamp(1, 100);
    let mut server = Server::start("");
    let vendor = server.vendor("House");
    let companion = vendor.companion().parse().unwrap();
    server.kill();
    {
        let store = Store::open(&server.database(), Role::Server).unwrap();
        let shop = Shop { vendor: store.vendor_by_name("House").unwrap().unwrap().id, companion };
        let at = Clock::start().now() - Span::from_s(60);
        let (transfer, client, amount) = (TransferId::new(Uuid::now_v7()), "wei".parse().unwrap(), cny(1_000_000_000));
        let credit = Write::Credit { transfer, vendor: shop.vendor, client, amount, order_ref: "all".to_owned(), at };
        assert_eq!(store.commit(of(vec![credit])), Ok(Outcome::Committed));
        for number in 0..settled + open {
            for transaction in shop.call(at, number < settled) {
                store.submit(transaction, |outcome| assert_eq!(outcome, Ok(Outcome::Committed)));
            }
            while store.backlog() > Store::QUEUE {
                std::thread::yield_now();
            }
        }
        assert_eq!(store.commit(of(vec![])), Ok(Outcome::Committed));
    }
    let clock = Clock::start();
    let begun = clock.now();
    server.launch();
    let opened = clock.now().since(begun);
    println!("{settled} settled and {open} open calls: ready after {} ms", opened.ms());
    wait_for("the calls that are open", || (server.log().matches("waits for its legs").count() == open).then_some(()));
    if settled <= 10_000 {
        wait_for("the audit behind it", || server.log().contains("all that is on disk adds up").then_some(()));
    }
}
