//! A server started on a damaged file: it says what is wrong in a line and ends, or it serves and takes no new calls once it knows, or
//! the damage was where nothing is. It never panics and never hangs.

use crate::program::Home;
use crate::teller::{agent, fen, send};
use crate::{Dice, seed, setting, wait_for};
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;
use tempfile::TempDir;

/// Damaged databases that are started at once.
const THREADS: usize = 2;

/// Octets of a page, as SQLite has them by default.
const PAGE: usize = 4096;

/// Database and log as a server left them.
struct Left {
    database: Vec<u8>,
    log: Vec<u8>,
    key: String,
    order: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// Said in a line, status 1.
    Refused,
    /// Serves, and `lull audit` finds nothing, or nothing but in the layout.
    Harmless,
    /// Serves, `lull audit` finds something, and new calls are refused.
    NoNewCalls,
}

#[test]
fn a_damaged_database_is_refused_or_harmless_and_never_a_panic() {
    let (damages, seed, began) = (setting("TORTURE_DAMAGES", 300_usize), seed(), Instant::now());
    println!("seed {seed}: {damages} damaged databases");
    let mut dice = Dice(seed);
    let lefts = [left(true), left(false), left(false)];
    for left in &lefts {
        println!("a database of {} and a log of {} octets", left.database.len(), left.log.len());
    }
    let todo = Mutex::new((0..damages).map(|number| (number, dice.fork())).collect::<Vec<_>>());
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let Some((number, mut dice)) = todo.lock().unwrap().pop() else { break };
                        let outcome = start_damaged(&lefts[number % lefts.len()], &mut dice, number);
                        done.lock().unwrap().push(outcome);
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
    let done = done.into_inner().unwrap();
    let count = |outcome: Outcome| done.iter().filter(|done| **done == outcome).count();
    let [refused, harmless, no_new_calls] = [Outcome::Refused, Outcome::Harmless, Outcome::NoNewCalls].map(count);
    println!(
        "seed {seed}: {refused} refused at the start, {no_new_calls} without new calls, {harmless} harmless, in {:.0} s",
        began.elapsed().as_secs_f64()
    );
    assert_eq!(done.len(), damages);
    assert!(refused * 20 >= damages && harmless > 0 && no_new_calls > 0, "{refused}, {harmless}, {no_new_calls}");
}

/// A database with something of everything in it, left by a kill (with a log of the newest) or in order.
fn left(killed: bool) -> Left {
    let folder = TempDir::new().unwrap();
    let home = Home::new(folder.path());
    let mut running = home.start("log-first");
    let (base, key, agent) = (running.serves(), home.vendor("House"), agent());
    let post = |base: &str, path: &str, body: &Value| {
        let said = post_once(&agent, base, &key, &Dice(rand::random()).key("key"), path, body).unwrap();
        assert!(said.status < 300, "{said:?}");
        said.json()["id"].as_str().unwrap_or_default().to_owned()
    };
    let plan = post(&base, "/v1/plans", &json!({ "name": "ten minutes", "kind": "block", "block_s": 600, "price": fen(2000) }));
    let companion = post(&base, "/v1/companions", &json!({ "name": "Lin" }));
    let live = |base: &str, clients: std::ops::Range<usize>| {
        for client in clients {
            let order_ref = format!("order-{client}");
            post(base, &format!("/v1/clients/client-{client}/credits"), &json!({ "amount": fen(10_000), "order_ref": order_ref }));
            let order = json!({ "plan_id": plan, "client_ref": format!("client-{client}"), "companion_id": companion });
            let call = post(base, "/v1/calls", &order);
            if client % 3 > 0 {
                post(base, &format!("/v1/calls/{call}/end"), &json!({}));
            }
        }
    };
    live(&base, 0..20);
    if killed {
        // What was there before is in the database, what comes now in the log.
        running.terminate();
        running = home.start("log-second");
        live(&running.serves(), 20..30);
        running.kill();
    } else {
        running.terminate();
    }
    let read = |name: &str| fs::read(folder.path().join(name)).unwrap_or_default();
    let order = json!({ "plan_id": plan, "client_ref": "client-0", "companion_id": companion });
    Left { database: read("lull.db"), log: read("lull.db-wal"), key, order }
}

fn post_once(
    agent: &ureq::Agent,
    base: &str,
    key: &str,
    idempotency: &str,
    path: &str,
    body: &Value,
) -> Result<crate::teller::Said, ureq::Error> {
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json"), ("idempotency-key", idempotency)];
    send(agent, base, "POST", path, &headers, &body.to_string())
}

/// Whether all that an audit found is in what tables and guards are made of.
fn is_of_layout(said: &str) -> bool {
    let found = said.lines().filter(|line| line.starts_with("layout: ") || line.contains(": layout: ")).count();
    found > 0 && said.contains(&format!("lull: {found} findings"))
}

/// Damages a copy and starts a server on it.
fn start_damaged(left: &Left, dice: &mut Dice, number: usize) -> Outcome {
    let folder = TempDir::new().unwrap();
    let home = Home::new(folder.path());
    let (mut database, mut log) = (left.database.clone(), left.log.clone());
    let what = if !log.is_empty() && dice.percent(50) {
        format!("log: {}", damage(&mut log, dice))
    } else {
        format!("database: {}", damage(&mut database, dice))
    };
    fs::write(home.database(), &database).unwrap();
    if !log.is_empty() {
        fs::write(folder.path().join("lull.db-wal"), &log).unwrap();
    }
    let mut running = home.start("log");
    let base = running.serves_or_ends();
    let refused = |log: &str| {
        let line = log.lines().find(|line| line.starts_with("lull: ")).unwrap_or_else(|| panic!("{number}: {what}: no word of it:\n{log}"));
        assert!(["database", "journal", "file", "add up"].iter().any(|word| line.contains(word)), "{number}: {what}: {line}");
        Outcome::Refused
    };
    let base = match base {
        Ok(base) => base,
        Err(ended) => {
            running.did_not_panic();
            assert_eq!(ended.code(), Some(1), "{number}: {what}:\n{}", running.log());
            return refused(&running.log());
        }
    };
    let audit = home.tool(&["audit"]);
    let said = format!("{}{}", String::from_utf8_lossy(&audit.stdout), String::from_utf8_lossy(&audit.stderr));
    assert!(audit.status.code().is_some() && !said.contains("panicked"), "{number}: {what}: {said}");
    let outcome = if audit.status.success() {
        assert_eq!(integrity(home.database()), "ok", "{number}: {what}: the audit found nothing");
        Outcome::Harmless
    } else if is_of_layout(&said) {
        // It says nothing of rows: `lull audit` tells it, and a server goes on.
        Outcome::Harmless
    } else {
        let agent = agent();
        let mut tries = 0;
        wait_for(&format!("{number}: {what}: a server that takes no new calls (the audit says: {said})"), || {
            tries += 1;
            match post_once(&agent, &base, &left.key, &format!("try-{tries}"), "/v1/calls", &left.order) {
                Ok(said) => (said.status != 201 && said.code() != "insufficient_funds").then_some(()),
                // It ended by itself: that is looked at below.
                Err(_) => Some(()),
            }
        });
        Outcome::NoNewCalls
    };
    running.did_not_panic();
    match running.ended() {
        Some(ended) => {
            assert_eq!(ended.code(), Some(1), "{number}: {what}:\n{}", running.log());
            refused(&running.log())
        }
        None => {
            running.kill();
            outcome
        }
    }
}

/// What SQLite itself finds when it compares all there is, indexes with tables too.
fn integrity(database: &Path) -> String {
    let connection = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    connection.pragma_query_value(None, "integrity_check", |row| row.get(0)).unwrap()
}

/// Changes something, and says what.
fn damage(octets: &mut Vec<u8>, dice: &mut Dice) -> String {
    let length = octets.len();
    let place = dice.below(length);
    let page = place / PAGE * PAGE;
    let page_end = (page + PAGE).min(length);
    match dice.below(12) {
        0..3 => {
            let bit = dice.below(8);
            octets[place] ^= 1 << bit;
            format!("bit {bit} of octet {place}")
        }
        3 => {
            octets[page..page_end].fill_with(|| (dice.next() & 0xff) as u8);
            format!("noise in page {}", page / PAGE)
        }
        4 => {
            octets[page..page_end].fill(0);
            format!("zeros in page {}", page / PAGE)
        }
        5 => {
            let end = (place + 512).min(length);
            octets[place..end].fill(0);
            format!("zeros from {place} to {end}")
        }
        6 => {
            octets.truncate(place);
            format!("cut at {place}")
        }
        7 => {
            octets.truncate(page);
            format!("cut before page {}", page / PAGE)
        }
        8 => {
            let head = dice.below(100.min(length));
            octets[head] = (dice.next() & 0xff) as u8;
            format!("octet {head} of the head")
        }
        9 => {
            // The head of a page says how the rest is to be read.
            let head = (page + if page == 0 { 100 } else { 0 } + dice.below(12)).min(length - 1);
            octets[head] = (dice.next() & 0xff) as u8;
            format!("octet {} of the head of page {}", head - page, page / PAGE)
        }
        10 => {
            let other = dice.below(length) / PAGE * PAGE;
            if page_end - page == PAGE && other + PAGE <= length {
                let (one, two) = (octets[page..page_end].to_vec(), octets[other..other + PAGE].to_vec());
                octets[page..page_end].copy_from_slice(&two);
                octets[other..other + PAGE].copy_from_slice(&one);
            }
            format!("pages {} and {} exchanged", page / PAGE, other / PAGE)
        }
        _ => {
            let more = dice.below(3 * PAGE);
            octets.extend((0..more).map(|_| (dice.next() & 0xff) as u8));
            format!("{more} octets behind the end")
        }
    }
}

/// What is not a database at all.
#[test]
fn other_files_in_the_place_of_the_database_are_refused() {
    for (name, octets) in [("text", b"a diary ".repeat(1000)), ("zeros", vec![0; 8192]), ("a lone head", b"SQLite format 3\0".to_vec())] {
        let folder = TempDir::new().unwrap();
        let home = Home::new(folder.path());
        fs::write(home.database(), &octets).unwrap();
        let mut running = home.start("log");
        let ended = running.serves_or_ends().expect_err(name);
        assert_eq!(ended.code(), Some(1), "{}", running.log());
        assert!(running.log().contains("lull: ") && running.log().contains("database"), "{name}: {}", running.log());
        assert!(same(home.database(), &octets), "{name} was changed");
    }
}

fn same(path: &Path, octets: &[u8]) -> bool {
    fs::read(path).unwrap() == octets
}
