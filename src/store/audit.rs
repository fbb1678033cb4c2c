//! Whether everything on disk still adds up: the invariants of the store, each checked again from the rows alone.
//!
//! It only reads, in one snapshot, so it may run beside a server. What it finds it says and never mends.

mod books;
mod calls;
mod early;
mod kept;
mod layout;
mod outbox;
mod recordings;
mod returns;

pub use books::Book;
pub use early::Background;

use super::ledger::{Details, Transfer};
use super::{Store, StoreError, rows};
use crate::call::Journal;
use rusqlite::{Connection, ErrorCode, Row};
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};

/// Something that does not add up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule that is broken, a stable word.
    pub rule: &'static str,
    /// Where: an id, or a table and what singles out the row.
    pub place: String,
    /// What is wrong, with the numbers.
    pub fault: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.place, self.rule, self.fault)
    }
}

/// What an audit came to.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Audited {
    /// What does not add up; empty means that all does.
    pub findings: Vec<Finding>,
    /// The sums of records and ledger for each vendor and currency, unless damage ended the audit before.
    pub books: Vec<Book>,
    /// Records with hours of another time zone database than this program's: signed, but not made again.
    pub not_rebuilt: u64,
}

impl Store {
    /// Checks every rule on every row; empty means that all adds up. See [`Store::audit_books`].
    pub fn audit(&self, rebuild: &dyn Fn(&Journal) -> Option<String>) -> Result<Vec<Finding>, StoreError> {
        Ok(self.audit_books(rebuild)?.findings)
    }

    /// Checks every rule on every row, and sums up records and ledger.
    ///
    /// `rebuild` makes a call's record from its journal, or none of a journal that has not settled. Damage to the file may end
    /// the audit early, and is then among the findings.
    pub fn audit_books(&self, rebuild: &dyn Fn(&Journal) -> Option<String>) -> Result<Audited, StoreError> {
        let reader = self.0.readers.take()?;
        check_all(&reader, rebuild)
    }
}

/// Makes a call's record from its journal, as far as it is settled.
pub(super) type Rebuild<'a> = &'a dyn Fn(&Journal) -> Option<String>;

/// All of it, in one snapshot.
pub(super) fn check_all(connection: &Connection, rebuild: Rebuild<'_>) -> Result<Audited, StoreError> {
    let snapshot = connection.unchecked_transaction()?;
    let mut findings = Findings::default();
    guarded("database", &mut findings, |findings| check_file(&snapshot, findings))?;
    let damaged = !findings.list.is_empty();
    let mut books = Vec::new();
    match check_rows(&snapshot, rebuild, &mut findings) {
        // Said already by the check of the file.
        Err(StoreError::Database(_)) if damaged => (),
        Err(StoreError::Broken(text)) => findings.add("readable", "database", text),
        other => books = other?,
    }
    Ok(Audited { findings: findings.list, books, not_rebuilt: findings.not_rebuilt })
}

fn check_rows(connection: &Connection, rebuild: Rebuild<'_>, findings: &mut Findings) -> Result<Vec<Book>, StoreError> {
    guarded("references", findings, |findings| check_references(connection, findings))?;
    guarded("ledger", findings, |findings| check_ledger(connection, findings))?;
    guarded("returned", findings, |findings| returns::check(connection, findings))?;
    guarded("call", findings, |findings| calls::check(connection, rebuild, findings))?;
    guarded("idempotency", findings, |findings| check_replies(connection, findings))?;
    guarded("rows", findings, |findings| kept::check(connection, findings))?;
    let mut books = Vec::new();
    guarded("books", findings, |findings| {
        books = books::check(connection, findings)?;
        Ok(())
    })?;
    Ok(books)
}

/// One check of one place. A row that cannot be read is a finding, and so is one that the check panics at: damage may look like anything,
/// and what was found before must be told. A failing disk is an error.
fn guarded(place: &str, findings: &mut Findings, check: impl FnOnce(&mut Findings) -> Result<(), StoreError>) -> Result<(), StoreError> {
    // Findings are only ever added to: none is left half made.
    match panic::catch_unwind(AssertUnwindSafe(|| check(&mut *findings))) {
        Ok(Err(StoreError::Broken(text))) => findings.add("readable", place, text),
        Ok(done) => done?,
        Err(_) => findings.add("panicked", place, "its check panicked, at what should never be there"),
    }
    Ok(())
}

#[derive(Default)]
struct Findings {
    list: Vec<Finding>,
    not_rebuilt: u64,
}

impl Findings {
    fn add(&mut self, rule: &'static str, place: impl Into<String>, fault: impl Into<String>) {
        self.list.push(Finding { rule, place: place.into(), fault: fault.into() });
    }

    /// Adds a finding unless `holds`.
    fn expect(&mut self, holds: bool, rule: &'static str, place: &str, fault: impl FnOnce() -> String) {
        if !holds {
            self.add(rule, place, fault());
        }
    }
}

/// SQLite's own check: pages, types, the tables' CHECKs, and that what is looked up by a key is found by it (which `quick_check` leaves out).
fn check_file(connection: &Connection, findings: &mut Findings) -> Result<(), StoreError> {
    let mut check = connection.prepare("PRAGMA integrity_check")?;
    for line in check.query_map([], |row| row.get::<_, String>(0))? {
        match line {
            Ok(line) => findings.expect(line == "ok", "file", "database", || line.clone()),
            // Some damage stops the check itself.
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt) => {
                findings.add("file", "database", error.to_string());
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Rows that refer to something that is not there: a journal or hold without its call, a posting without its transfer.
fn check_references(connection: &Connection, findings: &mut Findings) -> Result<(), StoreError> {
    let mut check = connection.prepare(r#"SELECT "table", parent, count(*) FROM pragma_foreign_key_check GROUP BY 1, 2"#)?;
    let orphans = check.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?)))?;
    for orphan in orphans {
        let (table, parent, count) = orphan?;
        findings.add("reference", format!("table {table}"), format!("{count} rows refer to a {parent} that is not there"));
    }
    Ok(())
}

/// A transfer's row, and one posting of it with the currency of its account.
type PostingRow = (Transfer, [u8; 32], Option<(i64, i64, String)>);

fn check_ledger(connection: &Connection, findings: &mut Findings) -> Result<(), StoreError> {
    let mut posted = BTreeMap::<i64, i128>::new();
    let mut select = connection.prepare(
        "SELECT transfer.id, transfer.kind, transfer.vendor, call, order_ref, at, hash, posting.account, amount, currency,
                bearer, reason, note, actor FROM transfer
         LEFT JOIN posting ON transfer = transfer.id LEFT JOIN account ON account.id = posting.account ORDER BY transfer.id, posting.account",
    )?;
    let mut open: Option<(Transfer, [u8; 32], BTreeMap<String, i128>)> = None;
    for row in select.query_map([], posting_row)? {
        let (transfer, hash, posting) = row?;
        if open.as_ref().is_none_or(|(before, ..)| before.id != transfer.id) {
            if let Some((transfer, hash, sums)) = open.take() {
                check_transfer(&transfer, &hash, &sums, findings);
            }
            open = Some((transfer, hash, BTreeMap::new()));
        }
        if let (Some((account, amount, currency)), Some((transfer, _, sums))) = (posting, &mut open) {
            transfer.postings.insert(account, amount);
            *sums.entry(currency).or_default() += i128::from(amount);
            *posted.entry(account).or_default() += i128::from(amount);
        }
    }
    if let Some((transfer, hash, sums)) = open {
        check_transfer(&transfer, &hash, &sums, findings);
    }
    check_accounts(connection, &posted, findings)
}

fn posting_row(row: &Row<'_>) -> rusqlite::Result<PostingRow> {
    let mut transfer = Transfer {
        id: row.get(0)?,
        kind: row.get(1)?,
        vendor: row.get(2)?,
        call: row.get(3)?,
        order_ref: row.get(4)?,
        at: rows::moment(row, 5)?,
        postings: BTreeMap::new(),
        details: None,
    };
    let of_first_layout = matches!(transfer.kind.as_str(), "credit" | "capture");
    let details = Details { bearer: row.get(10)?, reason: row.get(11)?, note: row.get(12)?, actor: row.get(13)? };
    let is_bare = [&details.bearer, &details.reason, &details.note, &details.actor].iter().all(|text| text.is_none());
    // What does not belong there breaks the hash.
    transfer.details = (!(of_first_layout && is_bare)).then_some(details);
    let posting = match row.get::<_, Option<i64>>(7)? {
        Some(account) => Some((account, row.get(8)?, row.get::<_, Option<String>>(9)?.unwrap_or_default())),
        None => None,
    };
    Ok((transfer, row.get(6)?, posting))
}

fn check_transfer(transfer: &Transfer, hash: &[u8; 32], sums: &BTreeMap<String, i128>, findings: &mut Findings) {
    for (currency, sum) in sums {
        findings.expect(*sum == 0, "transfer_sum", &transfer.id, || format!("its postings in {currency} sum to {sum}"));
    }
    findings.expect(transfer.expected_hash() == *hash, "transfer_hash", &transfer.id, || "it or its postings were changed".to_owned());
}

/// Balances against what they are made of, and the sum of all.
fn check_accounts(connection: &Connection, posted: &BTreeMap<i64, i128>, findings: &mut Findings) -> Result<(), StoreError> {
    let mut pending = BTreeMap::<i64, i128>::new();
    let mut select = connection.prepare("SELECT account, amount FROM hold WHERE resolved_at IS NULL")?;
    for hold in select.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))? {
        let (account, amount) = hold?;
        *pending.entry(account).or_default() += i128::from(amount);
    }
    let mut totals = BTreeMap::<String, i128>::new();
    let mut select = connection.prepare("SELECT id, vendor, kind, owner, currency, posted, held FROM account")?;
    let mut accounts = select.query([])?;
    while let Some(row) = accounts.next()? {
        let (id, vendor, kind, owner): (i64, String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        let (currency, balance, held): (String, i64, i64) = (row.get(4)?, row.get(5)?, row.get(6)?);
        let place = format!("account {id} ({kind} {owner} of {vendor}, {currency})");
        let sum = posted.get(&id).copied().unwrap_or(0);
        findings.expect(i128::from(balance) == sum, "balance", &place, || format!("it says {balance}, its postings sum to {sum}"));
        let sum = pending.get(&id).copied().unwrap_or(0);
        findings.expect(i128::from(held) == sum, "held", &place, || format!("it says {held}, its pending holds sum to {sum}"));
        findings.expect(kind != "client" || balance >= held, "available", &place, || format!("{held} held of {balance}"));
        *totals.entry(currency).or_default() += i128::from(balance);
    }
    for (currency, sum) in totals {
        findings.expect(sum == 0, "account_sum", &format!("currency {currency}"), || format!("all its accounts sum to {sum}"));
    }
    Ok(())
}

/// One key, one reply.
fn check_replies(connection: &Connection, findings: &mut Findings) -> Result<(), StoreError> {
    let mut select = connection.prepare("SELECT vendor, key, count(*) FROM idempotency GROUP BY vendor, key HAVING count(*) > 1")?;
    let mut repeated = select.query([])?;
    while let Some(row) = repeated.next()? {
        let (vendor, key, count): (String, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        findings.add("reply", format!("key {key:?} of {vendor}"), format!("it has {count} replies"));
    }
    Ok(())
}
