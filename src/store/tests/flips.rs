//! A flipped bit anywhere in what matters is noticed: 2,000 at random in journals, and 2,000 in all the rest. `LULL_TEST_FLIPS=100000` for the long run,
//! `LULL_TEST_SEED=N` for another series.

use super::super::{Role, Store};
use super::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rusqlite::types::Value as Sql;
use rusqlite::{Connection, ErrorCode, params_from_iter};

/// A table, and what names a row of it.
type Table = (&'static str, &'static [&'static str]);

/// The journal first.
const TABLES: [Table; 17] = [
    ("journal", &["call", "seq"]),
    ("posting", &["transfer", "account"]),
    ("transfer", &["id"]),
    ("hold", &["id"]),
    ("record", &["call"]),
    ("signature", &["call"]),
    ("idempotency", &["vendor", "key"]),
    ("plan", &["id"]),
    ("account", &["id"]),
    ("recording", &["id"]),
    ("call", &["id"]),
    ("heartbeat", &["call"]),
    ("boot", &["seq"]),
    ("vendor", &["id"]),
    ("companion", &["id"]),
    ("signing_key", &["id"]),
    ("meta", &["name"]),
];

/// One value of one row.
struct Place {
    table: &'static str,
    column: String,
    named: &'static [&'static str],
    name: Vec<Sql>,
    value: Sql,
}

/// Every value that is not absent.
fn places(connection: &Connection) -> Vec<Place> {
    let mut places = Vec::new();
    for (table, named) in TABLES {
        let mut select = connection.prepare(&format!("SELECT {}, * FROM {table}", named.join(", "))).unwrap();
        let columns: Vec<String> = select.column_names().map(str::to_owned).skip(named.len()).collect();
        let mut rows = select.query([]).unwrap();
        let before = places.len();
        while let Some(row) = rows.next().unwrap() {
            let name: Vec<Sql> = (0..named.len()).map(|index| row.get(index).unwrap()).collect();
            for (index, column) in columns.iter().enumerate() {
                let value: Sql = row.get(named.len() + index).unwrap();
                let is_empty = matches!(&value, Sql::Null) || matches!(&value, Sql::Text(text) if text.is_empty());
                if !is_empty {
                    places.push(Place { table, column: column.clone(), named, name: name.clone(), value });
                }
            }
        }
        assert!(places.len() > before, "{table} is empty");
    }
    places
}

fn flip(bytes: &mut [u8], random: &mut StdRng) {
    let at = random.random_range(0..bytes.len());
    bytes[at] ^= 1 << random.random_range(0..8);
}

/// Flips a bit of a value; whether the table takes that at all (a name that another row has is refused even without guards).
fn tamper(connection: &Connection, place: &Place, random: &mut StdRng) -> bool {
    let (set, value) = match place.value.clone() {
        Sql::Integer(number) => ("?", Sql::Integer(number ^ 1_i64.rotate_left(random.random_range(0..64)))),
        Sql::Text(text) => {
            let mut bytes = text.into_bytes();
            flip(&mut bytes, random);
            // The bytes may be no UTF-8 any more.
            ("CAST(? AS TEXT)", Sql::Blob(bytes))
        }
        Sql::Blob(mut bytes) => {
            flip(&mut bytes, random);
            ("?", Sql::Blob(bytes))
        }
        Sql::Null | Sql::Real(_) => panic!("no such value is kept"),
    };
    let by: Vec<String> = place.named.iter().map(|column| format!("{column} = ?")).collect();
    let sql = format!("UPDATE {} SET {} = {set} WHERE {}", place.table, place.column, by.join(" AND "));
    let values = [value].into_iter().chain(place.name.clone());
    match connection.execute(&sql, params_from_iter(values)) {
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => false,
        changed => {
            assert_eq!(changed, Ok(1), "{sql}");
            true
        }
    }
}

/// A file with a bit of everything, without its guards.
fn pristine(folder: &std::path::Path) -> Vec<u8> {
    let shop = Shop::new();
    let plan = Plan {
        id: PlanId::new(shop.uuid()),
        vendor: shop.vendor,
        name: "a quarter".to_owned(),
        sold: billing::Plan::new(cny(1).currency, billing::Kind::Block { block_s: 900, price: 2000 }, billing::Conditions::default())
            .unwrap(),
        hold: cny(2000),
        grade: Some("gold".to_owned()),
        night: None,
        sounds: Sounds::default(),
        recording: None,
        created_at: at(0),
    };
    for (key, write) in [("k", Write::AddPlan(plan)), ("l", shop.credit("c", 9000)), ("m", shop.credit("d", 900))] {
        let idempotency =
            Idempotency { vendor: shop.vendor, key: key.to_owned(), request_hash: [1; 32], status: 201, body: r#"{"id":"x"}"#.to_owned() };
        shop.commit(Transaction { idempotency: Some(idempotency), writes: vec![write] });
    }
    for captured in [2000, 730, 0] {
        let started = shop.start_now("c", 2000);
        shop.commit(shop.settle(&started, &[captured]));
    }
    let talk = shop.start_now("d", 700);
    shop.commit(recordings::facts(&talk));
    shop.commit(recordings::begin(&talk));
    recordings::whole_and_one_deleted(&shop);
    let boot = shop.boot();
    shop.commit(shop.beat(boot, talk.call, 5000));
    shop.commit(of(vec![Write::RotateKey { secret: [9; 32], at: at(9000) }]));
    shop.store.secret("join_token", [8; 32]).unwrap();
    shop.store.close();
    let path = folder.join("pristine.db");
    Connection::open(shop.path()).unwrap().execute("VACUUM INTO ?", [path.to_str().unwrap()]).unwrap();
    let connection = Connection::open(&path).unwrap();
    let triggers = connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'trigger'").unwrap();
    let triggers = { triggers }.query_map([], |row| row.get(0)).unwrap().collect::<rusqlite::Result<Vec<String>>>().unwrap();
    for trigger in triggers {
        connection.execute_batch(&format!("DROP TRIGGER {trigger}")).unwrap();
    }
    drop(connection);
    std::fs::read(path).unwrap()
}

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn every_flipped_bit_of_a_journal_is_noticed() {
    flip_in(&TABLES[..1]);
}

#[test]
fn every_flipped_bit_of_all_the_rest_is_noticed() {
    flip_in(&TABLES[1..]);
}

/// Flips bits of these tables, one at a time.
fn flip_in(tables: &[Table]) {
    let (flips, seed) = (setting("LULL_TEST_FLIPS", 2000), setting("LULL_TEST_SEED", 4));
    let mut random = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().unwrap();
    let bytes = pristine(folder.path());
    let path = folder.path().join("lull.db");
    std::fs::write(&path, &bytes).unwrap();
    let places = places(&Connection::open(&path).unwrap());
    let audit = || Store::open(&path, Role::Auditor).unwrap().audit(&record);
    assert_eq!(audit(), Ok(vec![]), "the file is in order before it is touched");
    for number in 0..flips {
        std::fs::write(&path, &bytes).unwrap();
        let connection = Connection::open(&path).unwrap();
        for (name, value) in [("ignore_check_constraints", "on"), ("foreign_keys", "off"), ("synchronous", "off")] {
            connection.pragma_update(None, name, value).unwrap();
        }
        // Tables in turn: some have few rows.
        let table = tables[usize::try_from(number).unwrap() % tables.len()].0;
        let of_table: Vec<&Place> = places.iter().filter(|place| place.table == table).collect();
        let mut place = of_table[random.random_range(0..of_table.len())];
        while !tamper(&connection, place, &mut random) {
            place = of_table[random.random_range(0..of_table.len())];
        }
        drop(connection);
        let noticed = audit().map_or(true, |findings| !findings.is_empty());
        assert!(noticed, "seed {seed}, flip {number}: {}.{} of {:?}, {:?}", place.table, place.column, place.name, place.value);
    }
}
