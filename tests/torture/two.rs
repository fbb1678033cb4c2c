//! Several servers started on one database at once: one serves, the others say why not and have changed nothing.

use crate::program::{Home, Running};
use crate::teller::{agent, fen, send};
use crate::{A_MOMENT, Dice, PATIENCE, seed, setting, wait_for};
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Instant;
use tempfile::TempDir;

/// Servers started at once.
const SERVERS: usize = 3;

#[test]
fn of_several_servers_started_at_once_one_serves_and_the_others_move_nothing() {
    let (starts, seed) = (setting("TORTURE_STARTS", 20_usize), seed());
    println!("seed {seed}: {SERVERS} servers, {starts} times");
    let mut dice = Dice(seed);
    let folder = TempDir::new().unwrap();
    let home = Home::new(folder.path());
    let mut key = None;
    for start in 0..starts {
        // What the one that serves must take up is what the others might lay hands on.
        let before = counts(home.database());
        let mut servers: Vec<Running> = (0..SERVERS).map(|number| home.start(&format!("log-{number}"))).collect();
        let serving = wait_for("one server and the others' ends", || {
            let serving: Vec<usize> = (0..SERVERS).filter(|number| servers[*number].ended().is_none()).collect();
            (serving.len() == 1).then(|| serving[0])
        });
        let base = servers[serving].serves();
        for (_, server) in servers.iter_mut().enumerate().filter(|(number, _)| *number != serving) {
            let ended = server.wait();
            let log = server.log();
            assert_eq!(ended.code(), Some(1), "{log}");
            assert!(log.contains("another lull server is using this database"), "{log}");
            assert!(!log.contains("lull serves") && !log.contains("panicked"), "{log}");
        }
        if let Some([calls, transfers, open_holds]) = before {
            // Nobody took money up twice: what was open is open, what was not is not there.
            assert_eq!(counts(home.database()), Some([calls, transfers, open_holds]), "start {start}");
        }
        let key = key.get_or_insert_with(|| home.vendor("House"));
        leave_something_open(&base, key, start);
        let winner = servers.swap_remove(serving);
        if dice.percent(70) {
            winner.kill()
        } else {
            winner.terminate()
        }
        home.adds_up();
    }
}

/// An instant later than others: who is late must be refused as those are that came together, and a server that ended leaves the way free.
#[test]
fn a_server_that_comes_later_is_refused_until_the_first_is_gone() {
    let folder = TempDir::new().unwrap();
    let home = Home::new(folder.path());
    let mut first = home.start("log-first");
    first.serves();
    let mut second = home.start("log-second");
    assert_eq!(second.wait().code(), Some(1), "{}", second.log());
    assert!(second.log().contains("lull.db.lock"), "{}", second.log());
    first.kill();
    let until = Instant::now() + PATIENCE;
    let mut third = home.start("log-third");
    while third.base().is_none() {
        assert!(third.ended().is_none() && Instant::now() < until, "{}", third.log());
        std::thread::sleep(A_MOMENT);
    }
    third.terminate();
}

/// Money in a wallet, some of it on hold for a call.
fn leave_something_open(base: &str, key: &str, number: usize) {
    let agent = agent();
    let post = |path: &str, body: Value| {
        let bearer = format!("Bearer {key}");
        let fresh = format!("{number}-{path}-{body}").replace(['"', ' '], "-").chars().take(250).collect::<String>();
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json"), ("idempotency-key", fresh.as_str())];
        let said = send(&agent, base, "POST", path, &headers, &body.to_string()).unwrap();
        assert_eq!(said.status, 201, "{said:?}");
        said.json()["id"].as_str().unwrap_or_default().to_owned()
    };
    let plan = post("/v1/plans", json!({ "name": "ten minutes", "kind": "block", "block_s": 600, "price": fen(2000) }));
    let companion = post("/v1/companions", json!({ "name": "Lin" }));
    post("/v1/clients/wei/credits", json!({ "amount": fen(2500), "order_ref": format!("order-{number}") }));
    post("/v1/calls", json!({ "plan_id": plan, "client_ref": "wei", "companion_id": companion }));
}

/// Calls, transfers, and holds that are open; none before there is a database.
fn counts(database: &Path) -> Option<[i64; 3]> {
    let connection = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
    let count = |sql: &str| connection.query_one(&format!("SELECT count(*) FROM {sql}"), [], |row| row.get(0)).ok();
    Some([count("call")?, count("transfer")?, count("hold WHERE resolved_at IS NULL")?])
}
