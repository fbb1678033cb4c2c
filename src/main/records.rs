//! `lull verify`, `export`, `keys`: records outside the database, and the keys that vouch for them.

use super::tools::open;
use super::{rate, say};
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand, ValueEnum};
use lull::billing::{self, Cause, Kind, Plan, Segment, SegmentKind, Settlement, ZONES_VERSION};
use lull::clock::{Clock, Moment};
use lull::config::{BaseFlags, Config};
use lull::exchange::{self, proof, sheet};
use lull::ids::CallId;
use lull::money::{Currency, Money};
use lull::signing::{PublicKey, SigningKey, key_set, read_key_set};
use lull::store::{Outcome, Role, Transaction, Write};
use serde_json::{Value, json};
use signaling::rest::parse_json;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Records read at once.
const PART: u32 = 500;

/// What can be done with keys.
#[derive(Subcommand)]
pub(crate) enum KeysCommand {
    /// Print the public keys, old ones too, as a JWK set: the file for `lull verify --keys`
    List {
        #[command(flatten)]
        flags: BaseFlags,
    },
    /// Sign records with a new key from now on; the old one's secret is forgotten, what it signed stays good
    Rotate {
        #[command(flatten)]
        flags: BaseFlags,
    },
}

pub(crate) fn keys(command: KeysCommand) -> Result<()> {
    match command {
        KeysCommand::List { flags } => {
            let store = open(&Config::load(&flags.into())?, Role::Auditor)?;
            say(format_args!("{:#}", key_set(&store.signing_keys()?)))?;
        }
        KeysCommand::Rotate { flags } => {
            let config = Config::load(&flags.into())?;
            ensure!(config.store.db.exists(), "no database at {}", config.store.db.display());
            let store = open(&config, Role::Tool)?;
            let secret: [u8; 32] = rand::random();
            let rotate = Write::RotateKey { secret, at: Clock::start().now() };
            match store.commit(Transaction { idempotency: None, writes: vec![rotate] })? {
                Outcome::Committed => say(SigningKey::new(&secret).public().id())?,
                outcome => bail!("the database answered {outcome:?}"),
            }
        }
    }
    Ok(())
}

#[derive(Args)]
pub(crate) struct ExportFlags {
    /// The vendor's name
    #[arg(long)]
    vendor: String,
    /// The month in which the calls were settled, like 2026-11
    #[arg(long)]
    month: String,
    /// How records are written
    #[arg(long, value_enum, default_value = "jsonl")]
    format: Format,
    /// The time zone of the month, like Asia/Shanghai
    #[arg(long, default_value = "UTC")]
    tz: String,
    #[command(flatten)]
    base: BaseFlags,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A table with headings
    Csv,
    /// A signed record on each line
    Jsonl,
}

pub(crate) fn export(flags: ExportFlags) -> Result<()> {
    let store = open(&Config::load(&flags.base.into())?, Role::Auditor)?;
    let Some(vendor) = store.vendor_by_name(&flags.vendor)? else { bail!("there is no vendor {:?}", flags.vendor) };
    let month = exchange::month(&flags.month, &flags.tz)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    if flags.format == Format::Csv {
        out.write_all(sheet::head().as_bytes())?;
    }
    let mut after = None;
    loop {
        let records = store.signed_records(vendor.id, month, after, PART)?;
        for record in &records {
            let given = proof::signed(&record.record, &record.key, &record.signature);
            let given = given.with_context(|| format!("the record of {} is not JSON", record.call))?;
            match flags.format {
                Format::Csv => out.write_all(sheet::row(&given, record.settled_at).as_bytes())?,
                Format::Jsonl => writeln!(out, "{}", proof::line(&given))?,
            }
        }
        match records.last() {
            Some(last) if records.len() == PART as usize => after = Some((last.settled_at, last.call)),
            _ => break,
        }
    }
    Ok(out.flush()?)
}

#[derive(Args)]
pub(crate) struct VerifyFlags {
    /// A record or receipt as `GET /v1/calls/{id}/record` or `/receipt` gives it, or an export of JSON lines
    file: PathBuf,
    /// The keys to trust: a JWK set, as at /.well-known/lull-keys.json
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
}

/// Checks each record of a file; an error if one is not what was signed.
pub(crate) fn verify(flags: &VerifyFlags) -> Result<()> {
    let text = read(&flags.file)?;
    let trusted = flags.keys.as_deref().map(trusted).transpose()?;
    let records = records(&text).with_context(|| flags.file.display().to_string())?;
    let (count, mut failed) = (records.len(), 0);
    for (line, record) in records {
        let place = if line == 0 { String::new() } else { format!("line {line}: ") };
        // Nothing is proved of it yet, so it is shown only if it is what it should be.
        let id = record.as_ref().ok().and_then(|record| record["call_id"].as_str()?.parse::<CallId>().ok());
        let name = id.map_or("no call".to_owned(), |id| id.to_string());
        let checked = match record {
            Ok(record) => checked(&record, trusted.as_deref()),
            Err(error) => Err(error).context("this is no JSON, or one with a field twice"),
        };
        match checked {
            Ok(says) => say(plain(&format!("{place}{name}: valid: {says}")))?,
            Err(error) => {
                failed += 1;
                say(plain(&format!("{place}{name}: NOT VALID: {error:#}")))?;
            }
        }
    }
    if trusted.is_none() {
        eprintln!(
            "lull: no keys to trust were given (--keys FILE): the check says that whoever has the key named signed this, not who that is. \
             Get the keys from the shop's own server, /.well-known/lull-keys.json"
        );
    }
    ensure!(failed == 0, "{failed} of {count} records are not valid");
    Ok(())
}

/// The records of a text with their lines: one record (of line 0), or one a line. An error if it is neither, not even in part.
fn records(text: &str) -> Result<Vec<(usize, serde_json::Result<Value>)>> {
    let whole = match parse_json(text.as_bytes()) {
        Ok(record) => return Ok(vec![(0, Ok(record))]),
        Err(error) => error,
    };
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let records: Vec<_> = lines.map(|(line, text)| (line + 1, parse_json(text.as_bytes()))).collect();
    ensure!(!records.is_empty(), "it has no record");
    // Of one record on many lines with a slip in it, no line is an object of its own.
    let is_object = |record: &serde_json::Result<Value>| record.as_ref().is_ok_and(Value::is_object);
    let is_list = records.len() == 1 || records.iter().any(|(_, record)| is_object(record));
    if is_list { Ok(records) } else { Err(whole).context("it is no record, and none of its lines is one") }
}

/// A line without what a terminal would obey: some of it is text of the file.
fn plain(line: &str) -> String {
    line.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// A text file. The mark of byte order that some editors put in front is not part of the text.
pub(crate) fn read(path: &Path) -> Result<String> {
    let mut text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    Ok(text)
}

fn trusted(path: &Path) -> Result<Vec<PublicKey>> {
    let set = serde_json::from_str(&read(path)?).ok().and_then(|set| read_key_set(&set));
    set.with_context(|| format!("{} is not a JWK set with Ed25519 keys", path.display()))
}

/// What is to be said of a valid record.
fn checked(given: &Value, trusted: Option<&[PublicKey]>) -> Result<String> {
    let proof::Proved { record, key } = proof::prove(given, trusted)?;
    let rated = rated_again(&record)?;
    let money = |name: &str| -> Result<Money> {
        let (amount, currency) = (record[name]["amount"].as_i64(), record[name]["currency"].as_str());
        Ok(Money::new(amount.with_context(|| format!("it has no {name}"))?, currency.unwrap_or_default().parse::<Currency>()?))
    };
    let (charge, held) = (money("charge")?, money("held")?);
    let trust = if trusted.is_some() { "a trusted key" } else { "the key it brings along" };
    Ok(format!("signed with {trust}, {}; {} {} of {} charged; {rated}", key.id(), charge.decimal(), charge.currency, held.decimal()))
}

/// Rates the call again by what its record says of plan, purchases and time; an error if that gives another bill.
fn rated_again(record: &Value) -> Result<String> {
    let currency = record["charge"]["currency"].as_str().context("it has no currency")?;
    let terms = match record.get("plan") {
        Some(plan) => plan.clone(),
        None => json!({"kind": "block", "block_s": record["block_s"], "price_minor": record["price"]["amount"]}),
    };
    let zones = record["tzdb_version"].as_str();
    if terms.get("windows").is_some() && zones != Some(ZONES_VERSION) {
        let zones = zones.unwrap_or("an unknown release");
        return Ok(format!("not rated again: its hours are those of time zone database {zones}, this program has {ZONES_VERSION}"));
    }
    let plan = rate::plan_from(currency, &terms).context("its plan")?;
    let settlement = Settlement::ALL.into_iter().find(|settlement| Some(settlement.name()) == record["settlement"].as_str());
    let settlement = settlement.context("it has no settlement that this program knows")?;
    let amounts = |holds: &Vec<Value>| holds.iter().map(|hold| hold["amount"]["amount"].as_i64()).collect::<Option<Vec<i64>>>();
    let holds = match record["holds"].as_array() {
        Some(holds) => amounts(holds),
        // A receipt says what was held in all; only of blocks each counts by itself.
        None if record.get("receipt_version").is_some() && record.get("block_s").is_none() => {
            record["held"]["amount"].as_i64().map(|held| vec![held])
        }
        None => record["price"]["amount"].as_i64().zip(record["blocks_bought"].as_u64()).and_then(|(price, bought)| {
            let bought = usize::try_from(bought).ok().filter(|bought| *bought <= 10_000)?;
            Some(vec![price; bought])
        }),
    };
    let holds = holds.context("it does not say what was held")?;
    check_holds(&plan, &holds)?;
    let segments = record["segments"].as_array().context("it has no segments")?.iter().map(segment);
    let segments = segments.collect::<Option<Vec<Segment>>>().context("a segment is not one")?;
    ensure!(segments.windows(2).all(|pair| pair[0].to <= pair[1].from), "its segments overlap");
    rate::check_length(&segments)?;
    let rating = billing::rate_paid(&plan, settlement, &holds, &segments);
    let lines: Vec<Value> = rating
        .lines
        .iter()
        .map(|line| {
            let amount = json!({"amount": line.amount.amount, "currency": currency});
            json!({"label": line.label, "quantity": line.quantity, "unit": line.unit.name(), "amount": amount})
        })
        .collect();
    ensure!(record["delivered_ms"] == json!(billing::delivered(&segments).ms()), "its segments deliver another time than it says");
    ensure!(record["charge"]["amount"] == json!(rating.charge.amount), "rated again, the charge is {}", rating.charge);
    ensure!(record["billed_s"] == json!(rating.billed_s), "rated again, {} s are billed", rating.billed_s);
    ensure!(record["lines"] == Value::from(lines), "rated again, it has other lines");
    Ok("rated again, the same".to_owned())
}

/// What nobody can have set aside is not rated: a record may be signed by anybody.
fn check_holds(plan: &Plan, holds: &[i64]) -> Result<()> {
    let is_amount = |amount: i128| (0..=i128::from(Money::MAX_AMOUNT)).contains(&amount);
    let sum = holds.iter().map(|amount| i128::from(*amount)).sum();
    ensure!(
        holds.iter().all(|amount| is_amount((*amount).into())) && is_amount(sum),
        "what was held is between 0 and 2^53 - 1 minor units"
    );
    if let Kind::Block { price, .. } = plan.kind() {
        ensure!(holds.iter().all(|amount| amount == price), "what was held for a block is not its price");
    }
    Ok(())
}

fn segment(segment: &Value) -> Option<Segment> {
    let at = |name: &str| -> Option<Moment> {
        let time: jiff::Timestamp = segment[name].as_str()?.parse().ok()?;
        Some(Moment::from_unix_ms(time.as_millisecond()))
    };
    let kind = match segment["kind"].as_str()? {
        "delivered" => SegmentKind::Delivered,
        "landing" => SegmentKind::Landing,
        "paused_client" => SegmentKind::Paused(Cause::Client),
        "paused_companion" => SegmentKind::Paused(Cause::Companion),
        "paused_platform" => SegmentKind::Paused(Cause::Platform),
        _ => return None,
    };
    Some(Segment { kind, from: at("from_at")?, to: at("to_at")? }).filter(|segment| segment.from <= segment.to)
}
