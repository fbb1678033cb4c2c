//! A disk without room: a small one of our own, filled to the last byte under a running server; and a file that must not grow, which
//! is a disk that fails.
//!
//! The small disk is a tmpfs in a mount namespace of the test's own (root, or user namespaces), so nothing of it is seen outside and it
//! goes when the test ends. Where there are no namespaces that test says so and only the other one is left.

use crate::couple::Pair;
use crate::program::Home;
use crate::teller::{Gate, Teller, fen};
use crate::wallets::{Offers, id};
use crate::{Dice, seed, wait_for};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Where the small disk is, in the process that has one.
const DISK: &str = "TORTURE_DISK";

/// Room for the database, its log, and twice the ballast.
const SIZE: &str = "48m";

/// How long the disk stays full while the call goes on.
const FULL_FOR: Duration = Duration::from_secs(2);

#[test]
fn on_a_full_disk_commands_are_refused_calls_go_on_and_nothing_is_lost() {
    if let Ok(disk) = std::env::var(DISK) {
        return fill_and_empty(Path::new(&disk));
    }
    let disk = TempDir::new().unwrap();
    let in_namespace = |script: &str, user: &[&str]| {
        let mut command = Command::new("unshare");
        let script = format!("mount -t tmpfs -o size={SIZE},mode=700 none \"$0\" && {script}");
        command.arg("--mount").args(user).args(["sh", "-c", &script]).arg(disk.path());
        command
    };
    // As root, or as somebody who may have a namespace of users too.
    let ways: [&[&str]; 2] = [&[], &["--map-root-user"]];
    let Some(way) = ways.into_iter().find(|way| in_namespace("true", way).output().is_ok_and(|tried| tried.status.success())) else {
        println!("no mount namespaces here: a full disk was not tried. Run as root, or allow user namespaces");
        return;
    };
    let name = "full::on_a_full_disk_commands_are_refused_calls_go_on_and_nothing_is_lost";
    let mut inside = in_namespace("exec \"$@\"", way);
    inside.arg(std::env::current_exe().unwrap()).args(["--exact", name, "--nocapture"]).env(DISK, disk.path());
    let output = inside.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{said}");
    assert!(output.status.success() && said.contains("1 passed"), "{}", output.status);
}

/// A house with a wallet that is known to the fen.
struct House {
    _runtime: Runtime,
    gate: Arc<Gate>,
    teller: Teller,
    offers: Offers,
    posted: i64,
}

impl House {
    fn new(home: &Home, base: String, dice: &mut Dice) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let gate = Arc::new(Gate::new(runtime.handle().clone()));
        gate.open(base);
        let mut teller = Teller::new(gate.clone(), &home.vendor("House"), dice.fork());
        let offers = Offers::make(&mut teller);
        let mut house = Self { _runtime: runtime, gate, teller, offers, posted: 0 };
        house.credit(100_000);
        house
    }

    fn credit(&mut self, amount: i64) {
        let order_ref = self.teller.dice.key("order");
        self.teller.command("/v1/clients/wei/credits", &json!({ "amount": fen(amount), "order_ref": order_ref })).with(201);
        self.posted += amount;
    }

    fn create(&mut self) -> Value {
        let order = json!({ "plan_id": self.offers.dear, "client_ref": "wei", "companion_id": self.offers.companion });
        self.teller.command("/v1/calls", &order).with(201)
    }

    fn state(&mut self, call: &str) -> String {
        let (_, shown) = self.teller.look(&format!("/v1/calls/{call}"));
        shown["state"].as_str().unwrap_or_else(|| panic!("{shown}")).to_owned()
    }

    /// Posted and held.
    fn wallet(&mut self) -> (i64, i64) {
        let (_, client) = self.teller.look("/v1/clients/wei");
        let part = |name: &str| client["wallets"][0][name]["amount"].as_i64().unwrap_or_else(|| panic!("{client}"));
        (part("posted"), part("held"))
    }

    /// A credit that was not taken yet, and its key.
    fn order(&mut self) -> (String, Value) {
        let order_ref = self.teller.dice.key("order");
        (self.teller.dice.key("full"), json!({ "amount": fen(7), "order_ref": order_ref }))
    }
}

fn fill_and_empty(disk: &Path) {
    let seed = seed();
    println!("seed {seed}");
    let mut dice = Dice(seed);
    let folder = TempDir::new().unwrap();
    let home = Home::with_disk(folder.path(), disk);
    let mut running = home.start("log");
    let mut house = House::new(&home, running.serves(), &mut dice);
    let filler = disk.join("filler");

    for round in 0..3 {
        house.credit(50_000);
        let call = house.create();
        let mut pair = Pair::join(&house.gate, &call);
        let call = id(&call);
        wait_for("a live call", || (house.state(&call) == "live").then_some(()));

        // What is free in files that are there already is used up first; then the answer is 507.
        let (key, body) = wait_for("a disk that is full", || {
            fill(&filler);
            let (key, body) = house.order();
            let said = house.teller.try_once(&key, "/v1/clients/wei/credits", &body).unwrap();
            match said.status {
                201 => {
                    house.posted += 7;
                    None
                }
                _ => {
                    assert_eq!((said.status, said.code().as_str()), (507, "storage"), "{said:?}");
                    Some((key, body))
                }
            }
        });
        let until = Instant::now() + FULL_FOR;
        let mut refused = 0;
        while Instant::now() < until {
            let order = json!({ "plan_id": house.offers.quiet, "client_ref": "wei", "companion_id": house.offers.companion });
            for (key, path, body) in [(&format!("{key}-call"), "/v1/calls", &order), (&key, "/v1/clients/wei/credits", &body)] {
                let said = house.teller.try_once(key, path, body).unwrap();
                assert_eq!((said.status, said.code().as_str()), (507, "storage"), "{said:?}");
                refused += 1;
            }
            assert_eq!(house.state(&call), "live", "the call goes on");
            assert_eq!(house.wallet(), (house.posted, 60_000), "what is there can be looked at");
        }
        if round == 2 {
            // It dies while there is no room, and its successor finds none either.
            running.kill();
            house.gate.died();
            fill(&filler);
            let mut full = home.start("log-full");
            if let Err(ended) = full.serves_or_ends() {
                assert_eq!(ended.code(), Some(1), "{}", full.log());
                assert!(full.log().contains("lull: ") && full.log().contains("full"), "{}", full.log());
            } else {
                full.kill();
            }
            fs::remove_file(&filler).unwrap();
            running = home.start("log-after");
            house.gate.open(running.serves());
            wait_for("a call that goes on", || (house.state(&call) == "live").then_some(()));
        } else {
            fs::remove_file(&filler).unwrap();
        }
        // The same command as before, until there is room for it; then it counts once.
        wait_for("an order that is taken", || {
            let said = house.teller.try_once(&key, "/v1/clients/wei/credits", &body).unwrap();
            assert!(matches!(said.status, 201 | 507), "{said:?}");
            (said.status == 201).then_some(())
        });
        house.posted += 7;
        assert_eq!(house.wallet(), (house.posted, 60_000));
        house.teller.command(&format!("/v1/calls/{call}/end"), &json!({})).with(200);
        let record = wait_for("a record", || {
            let (status, record) = house.teller.look(&format!("/v1/calls/{call}/record"));
            (status == 200).then_some(record)
        });
        let together_ms = pair.gone();
        let (charge, delivered_ms) = (record["charge"]["amount"].as_i64().unwrap(), record["delivered_ms"].as_i64().unwrap());
        println!("round {round}: {refused} commands refused; together {together_ms} ms, delivered {delivered_ms} ms, charged {charge}");
        assert!(delivered_ms <= together_ms && charge <= together_ms && record["end_reason"] == "vendor_ended", "{together_ms}: {record}");
        assert!(round == 2 || delivered_ms >= 1000, "what was delivered on a full disk counts: {record}");
        house.posted -= charge;
        assert_eq!(house.wallet(), (house.posted, 0));
        home.adds_up();
    }
    house.teller.repeat_all(100);
    running.terminate();
    home.adds_up();
}

/// Writes until there is no room for a single octet more.
fn fill(filler: &Path) {
    let mut file = File::options().create(true).append(true).open(filler).unwrap();
    for size in [1 << 20, 4096, 1] {
        loop {
            match file.write(&vec![0x55; size]) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// The system takes no octet behind the end of the files: to SQLite that is a disk that fails, and nobody knows what is on such a one.
#[test]
fn a_server_whose_disk_fails_stops_and_has_lost_nothing() {
    let seed = seed();
    println!("seed {seed}");
    let mut dice = Dice(seed);
    let folder = TempDir::new().unwrap();
    let home = Home::new(folder.path());
    // Asked to write more it is told so, instead of being killed.
    let mut running = home.start_after("trap \"\" XFSZ", "log");
    let mut house = House::new(&home, running.serves(), &mut dice);
    let call = id(&house.create());

    let log = fs::metadata(folder.path().join("lull.db-wal")).unwrap().len();
    let limit = format!("--fsize={}", log + 40_000);
    let pid = format!("--pid={}", running.pid());
    assert!(Command::new("prlimit").args([&pid, &limit]).status().unwrap().success());
    let mut unanswered = Vec::new();
    let ended = wait_for("the end of a server that cannot write", || {
        if unanswered.len() < 5 {
            let (key, body) = house.order();
            match house.teller.try_once(&key, "/v1/clients/wei/credits", &body) {
                Ok(said) if said.status == 201 => house.posted += 7,
                Ok(said) => {
                    assert!(said.status >= 500, "{said:?}");
                    unanswered.push((key, body));
                }
                Err(_) => unanswered.push((key, body)),
            }
        } else {
            // A call's end must be written, or nothing more is said.
            let _ = house.teller.try_once("the-end", &format!("/v1/calls/{call}/end"), &json!({}));
        }
        running.ended()
    });
    assert_eq!(ended.code(), Some(1), "{}", running.log());
    assert!(running.log().contains("cannot be written"), "{}", running.log());
    running.did_not_panic();
    home.adds_up();

    house.gate.died();
    running = home.start("log-after");
    house.gate.open(running.serves());
    for (key, body) in unanswered {
        let said = house.teller.try_once(&key, "/v1/clients/wei/credits", &body).unwrap();
        assert_eq!(said.status, 201, "{said:?}");
        house.posted += 7;
    }
    house.teller.command(&format!("/v1/calls/{call}/end"), &json!({}));
    assert_eq!(house.wallet(), (house.posted, 0));
    house.teller.repeat_all(100);
    running.terminate();
    home.adds_up();
}
