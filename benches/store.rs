//! Durable money commands a second, with 1, 32 and 256 under way at once: `cargo bench --bench store`.
//!
//! Each is counted when it is known to be on disk, with its key and its reply. The database lies in the folder of `LULL_BENCH_FOLDER`,
//! or in the working directory: put it on the disk in question. `lull bench --money` measures them beside live calls.
#![allow(clippy::disallowed_methods, reason = "a stopwatch")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use lull::clock::Moment;
use lull::ids::{TransferId, VendorId};
use lull::money::Money;
use lull::store::{Actor, Idempotency, Outcome, Role, Store, Transaction, WalletRefund, Write};
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use uuid::Uuid;

const UNDER_WAY: [u64; 3] = [1, 32, 256];
const CLIENTS: u64 = 100;

/// A vendor whose clients are rich.
struct House {
    _folder: TempDir,
    store: Store,
    vendor: VendorId,
    commands: u64,
}

#[derive(Clone, Copy)]
enum Command {
    Credit,
    Refund,
}

fn at() -> Moment {
    Moment::from_unix_ms(1_773_144_000_000)
}

fn yuan(fen: i64) -> Money {
    Money::new(fen, "CNY".parse().expect("ISO 4217"))
}

impl House {
    fn new() -> Self {
        let place = std::env::var_os("LULL_BENCH_FOLDER").map_or_else(|| PathBuf::from("."), PathBuf::from);
        let folder = TempDir::new_in(place).expect("a folder");
        let store = Store::open(&folder.path().join("lull.db"), Role::Server).expect("a database");
        let vendor = VendorId::new(Uuid::now_v7());
        let mut house = Self { _folder: folder, store, vendor, commands: 0 };
        let mut writes = vec![Write::AddVendor { id: vendor, name: "Bench".to_owned(), key_hash: [1; 32], at: at() }];
        writes.extend((0..CLIENTS).map(|client| house.write(Command::Credit, client, 1_000_000_000_000)));
        assert_eq!(house.store.commit(Transaction { idempotency: None, writes }), Ok(Outcome::Committed));
        house.commands = 0;
        house
    }

    fn write(&self, command: Command, client: u64, fen: i64) -> Write {
        let (transfer, vendor) = (TransferId::new(Uuid::now_v7()), self.vendor);
        let client = format!("client-{client}").parse().expect("plain letters");
        let order_ref = format!("order-{transfer}");
        match command {
            Command::Credit => Write::Credit { transfer, vendor, client, amount: yuan(fen), order_ref, at: at() },
            Command::Refund => {
                let amount = yuan(fen);
                Write::RefundWallet(Box::new(WalletRefund {
                    transfer,
                    vendor,
                    client,
                    amount,
                    order_ref,
                    note: None,
                    actor: Actor::ApiKey,
                    at: at(),
                }))
            }
        }
    }

    /// Carries so many out, with at most so many under way.
    fn carry_out(&mut self, command: Command, many: u64, under_way: u64) -> Duration {
        let (tell, told) = channel();
        let began = Instant::now();
        let answered = |outcome| assert_eq!(outcome, Ok(Outcome::Committed));
        for number in 0..many {
            if number >= under_way {
                answered(told.recv().expect("one is under way"));
            }
            self.commands += 1;
            let key = format!("key-{}", self.commands);
            let idempotency = Idempotency { vendor: self.vendor, key, request_hash: [2; 32], status: 201, body: "{}".to_owned() };
            let writes = vec![self.write(command, self.commands % CLIENTS, 1)];
            let tell = tell.clone();
            self.store.submit(Transaction { idempotency: Some(idempotency), writes }, move |outcome| {
                tell.send(outcome).expect("it is waited for")
            });
        }
        drop(tell);
        told.iter().for_each(answered);
        began.elapsed()
    }
}

fn commands(criterion: &mut Criterion) {
    for (name, command) in [("credit", Command::Credit), ("wallet_refund", Command::Refund)] {
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Elements(1)).sample_size(10).measurement_time(Duration::from_secs(5));
        for under_way in UNDER_WAY {
            let mut house = House::new();
            group.bench_with_input(BenchmarkId::from_parameter(under_way), &under_way, |bencher, under_way| {
                bencher.iter_custom(|many| house.carry_out(command, many, *under_way));
            });
        }
    }
}

criterion_group!(store, commands);
criterion_main!(store);
