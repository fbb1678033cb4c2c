//! The audit of calls: each journal, what it says of money against what the ledger has, and the record made of it.

use super::{Findings, Rebuild, guarded};
use crate::billing::ZONES_VERSION;
use crate::call::{Fact, Journal, Terms};
use crate::clock::Moment;
use crate::ids::{CallId, HoldId};
use crate::money::Money;
use crate::store::{StoreError, journal, rows};
use rusqlite::{Connection, OptionalExtension, Row};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A call's row.
struct Call {
    id: String,
    vendor: String,
    client: String,
    companion: String,
    medium: String,
    created_at: Moment,
    settled: bool,
    settled_at: Option<i64>,
    seq: u64,
    head: journal::Hash,
}

/// A hold's row.
struct Hold {
    account: i64,
    currency: String,
    amount: i64,
    captured: i64,
    released: i64,
    resolved: bool,
    resolved_at: Option<i64>,
}

pub(super) fn check(connection: &Connection, rebuild: Rebuild<'_>, findings: &mut Findings) -> Result<(), StoreError> {
    check_each(connection, "", rebuild, findings)
}

/// The same for those that are not settled, which have an index of their own.
pub(super) fn check_unfinished(connection: &Connection, rebuild: Rebuild<'_>, findings: &mut Findings) -> Result<(), StoreError> {
    check_each(connection, "WHERE settled_at IS NULL", rebuild, findings)
}

fn check_each(connection: &Connection, which: &str, rebuild: Rebuild<'_>, findings: &mut Findings) -> Result<(), StoreError> {
    let columns = "id, vendor, client, companion, medium, created_at, settled_at, seq, head";
    let mut select = connection.prepare(&format!("SELECT {columns} FROM call {which} ORDER BY id"))?;
    for call in select.query_map([], call_row)? {
        let call = call?;
        guarded(&call.id, findings, |findings| check_call(connection, &call, rebuild, findings))?;
    }
    Ok(())
}

fn call_row(row: &Row<'_>) -> rusqlite::Result<Call> {
    Ok(Call {
        id: row.get(0)?,
        vendor: row.get(1)?,
        client: row.get(2)?,
        companion: row.get(3)?,
        medium: row.get(4)?,
        created_at: rows::moment(row, 5)?,
        settled: row.get::<_, Option<i64>>(6)?.is_some(),
        settled_at: row.get(6)?,
        seq: row.get::<_, i64>(7)?.cast_unsigned(),
        head: row.get(8)?,
    })
}

fn check_call(connection: &Connection, call: &Call, rebuild: Rebuild<'_>, findings: &mut Findings) -> Result<(), StoreError> {
    let id: CallId = call.id.parse().map_err(|error| StoreError::Broken(format!("{error}")))?;
    let rows = journal::rows_of(connection, id)?;
    let is_whole = check_chain(call, id, &rows, findings);
    let entries = rows.iter().map(journal::Row::entry).collect::<Result<Vec<_>, _>>()?;
    let journal = Journal { call: id, entries };
    match journal.entries.first().map(|entry| (entry.at, &entry.fact)) {
        Some((at, Fact::Created { terms, .. })) => {
            findings.expect(agrees(call, terms, at), "call_row", &call.id, || "it is not what its first fact says".to_owned());
        }
        _ => findings.add("journal_start", &call.id, "its first fact is not that it exists"),
    }
    let holds = holds_of(connection, &call.id)?;
    for (hold, row) in &holds {
        let is_named = journal.entries.iter().any(|entry| match &entry.fact {
            Fact::Created { hold: named, .. } | Fact::Extended { hold: named, .. } => named == hold,
            _ => false,
        });
        check_hold(call, hold, row, is_named, findings);
    }
    let settled_with = call.settled_at.is_none() || holds.values().any(|hold| hold.resolved_at == call.settled_at);
    findings.expect(settled_with, "settled_at", &call.id, || "it was settled at another instant than its holds".to_owned());
    let end = journal.entries.last().and_then(|entry| match entry.fact {
        Fact::Settled { charge, refund } => Some((charge, refund)),
        _ => None,
    });
    findings.expect(end.is_some() == call.settled, "final", &call.id, || {
        format!("it is {}, its journal says otherwise", if call.settled { "final" } else { "open" })
    });
    let mut record = connection.prepare_cached("SELECT body FROM record WHERE call = ?")?;
    let record: Option<String> = record.query_one([&call.id], |row| row.get(0)).optional()?;
    findings.expect(record.is_some() == call.settled, "record", &call.id, || {
        if call.settled { "it is final and has no record".to_owned() } else { "it has a record and is not final".to_owned() }
    });
    let paid = postings_of(connection, &call.id)?;
    match (end, &record) {
        (Some((charge, refund)), Some(record)) => {
            check_charge(call, &journal, &holds, &paid, charge, refund, findings);
            check_record(call, record, &paid, charge, refund, findings);
        }
        _ => findings.expect(paid.is_empty(), "charge", &call.id, || "money was captured and the call is not settled".to_owned()),
    }
    super::recordings::check(connection, &journal, findings)?;
    super::outbox::check(connection, &journal, record.as_deref(), findings)?;
    // What was changed is a finding already, and proves nothing of its record.
    if !is_whole {
        return Ok(());
    }
    let rebuilt = rebuild(&journal);
    if rebuilt != record && record.as_deref().is_some_and(|record| is_of_other_zones(&journal, record)) {
        // Its signature, which is checked by itself, still says that it was not changed.
        findings.not_rebuilt += 1;
        return Ok(());
    }
    findings.expect(rebuilt == record, "record_rebuilt", &call.id, || match (&rebuilt, &record) {
        (Some(rebuilt), Some(_)) => format!("its journal gives another record: {rebuilt}"),
        (Some(_), None) => "its journal gives a record, and there is none".to_owned(),
        (None, _) => "its journal gives no record, and there is one".to_owned(),
    });
    Ok(())
}

/// Whether a call was rated with another time zone database than this program has: by its first fact and its record alike.
fn is_of_other_zones(journal: &Journal, record: &str) -> bool {
    let zones = journal.entries.first().and_then(|entry| match &entry.fact {
        Fact::Created { terms, .. } => terms.zones.clone(),
        _ => None,
    });
    let shown = serde_json::from_str::<Value>(record).ok().and_then(|record| Some(record.get("tzdb_version")?.as_str()?.to_owned()));
    zones.is_some() && zones == shown && zones.as_deref() != Some(ZONES_VERSION)
}

/// Whether it is whole.
fn check_chain(call: &Call, id: CallId, rows: &[journal::Row], findings: &mut Findings) -> bool {
    let before = findings.list.len();
    let (mut seq, mut head) = (0, journal::START);
    for row in rows {
        findings.expect(row.seq == seq + 1, "journal_gap", &call.id, || format!("fact {} follows fact {seq}", row.seq));
        findings.expect(row.expected_hash(id, &head) == row.hash, "journal_hash", &call.id, || {
            format!("fact {} or the one before was changed", row.seq)
        });
        (seq, head) = (row.seq, row.hash);
    }
    findings.expect((seq, head) == (call.seq, call.head), "journal_end", &call.id, || {
        format!("its journal should end with fact {} and ends with fact {seq}", call.seq)
    });
    findings.list.len() == before
}

fn agrees(call: &Call, terms: &Terms, at: Moment) -> bool {
    call.vendor == terms.vendor.to_string()
        && call.client == terms.client.as_str()
        && call.companion == terms.companion.to_string()
        && call.medium == rows::medium_word(terms.medium)
        && call.created_at == at
}

fn holds_of(connection: &Connection, call: &str) -> Result<BTreeMap<HoldId, Hold>, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT hold.id, account, currency, amount, captured, released, resolved_at
         FROM hold JOIN account ON account.id = account WHERE call = ?",
    )?;
    let holds = select.query_map([call], |row| {
        let hold = Hold {
            account: row.get(1)?,
            currency: row.get(2)?,
            amount: row.get(3)?,
            captured: row.get(4)?,
            released: row.get(5)?,
            resolved: row.get::<_, Option<i64>>(6)?.is_some(),
            resolved_at: row.get(6)?,
        };
        Ok((rows::text::<HoldId>(row, 0)?, hold))
    })?;
    Ok(holds.collect::<rusqlite::Result<_>>()?)
}

fn check_hold(call: &Call, id: &HoldId, hold: &Hold, is_named: bool, findings: &mut Findings) {
    let resolved = i128::from(hold.captured) + i128::from(hold.released);
    let due = if hold.resolved { i128::from(hold.amount) } else { 0 };
    findings.expect(resolved == due, "hold_sum", &id.to_string(), || {
        format!("{} captured and {} released of {}", hold.captured, hold.released, hold.amount)
    });
    // What no fact names was granted as the server died, and was released when the call was taken up again.
    let was_stray = hold.resolved && hold.captured == 0 && !is_named;
    findings.expect(hold.resolved == call.settled || was_stray, "hold_final", &id.to_string(), || {
        format!(
            "it is {} and {} is {}",
            if hold.resolved { "resolved" } else { "pending" },
            call.id,
            if call.settled { "final" } else { "open" }
        )
    });
}

/// What was posted when a call was settled: account and its kind, amount.
fn postings_of(connection: &Connection, call: &str) -> Result<Vec<(i64, String, i64)>, StoreError> {
    let mut select = connection.prepare_cached(
        "SELECT account.id, account.kind, amount FROM transfer JOIN posting ON transfer = transfer.id JOIN account ON account.id = posting.account
         WHERE transfer.call = ? AND transfer.kind = 'capture'",
    )?;
    let postings = select.query_map([call], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(postings.collect::<rusqlite::Result<_>>()?)
}

/// The fact of settling against the holds and the postings.
fn check_charge(
    call: &Call,
    journal: &Journal,
    holds: &BTreeMap<HoldId, Hold>,
    paid: &[(i64, String, i64)],
    charge: Money,
    refund: Money,
    findings: &mut Findings,
) {
    // A hold that no fact names was granted too late for the call to know of; it is released whole and in no sum.
    let named = journal.entries.iter().filter_map(|entry| match &entry.fact {
        Fact::Created { hold, .. } | Fact::Extended { hold, .. } => Some(*hold),
        _ => None,
    });
    let named: BTreeSet<HoldId> = named.collect();
    for hold in named.iter().filter(|hold| !holds.contains_key(hold)) {
        findings.add("hold_missing", &call.id, format!("a fact names {hold}, which is not there"));
    }
    let known = || holds.iter().filter(|(id, _)| named.contains(id));
    let held: i128 = known().map(|(_, hold)| i128::from(hold.amount)).sum();
    let captured: i128 = known().map(|(_, hold)| i128::from(hold.captured)).sum();
    let all: i128 = holds.values().map(|hold| i128::from(hold.captured)).sum();
    findings.expect(i128::from(charge.amount) + i128::from(refund.amount) == held, "charge_refund", &call.id, || {
        format!("charge {charge} and refund {refund} of holds of {held}")
    });
    findings.expect(captured == i128::from(charge.amount) && all == captured, "charge", &call.id, || {
        format!("charge {charge}, captured {captured} of its holds and {} of others", all - captured)
    });
    for hold in holds.values().filter(|hold| hold.currency != charge.currency.code() || hold.currency != refund.currency.code()) {
        findings.add("currency", &call.id, format!("charge {charge} and refund {refund} of holds in {}", hold.currency));
    }
    let wallet = holds.values().next().map(|hold| hold.account);
    let from_wallet: i128 = paid.iter().filter(|(id, ..)| Some(*id) == wallet).map(|(_, _, amount)| i128::from(*amount)).sum();
    findings.expect(-from_wallet == i128::from(charge.amount), "charge_posted", &call.id, || {
        format!("charge {charge}, taken from the wallet {}", -from_wallet)
    });
}

/// The record's sums. Its other fields are compared whole, with what the journal gives.
fn check_record(call: &Call, record: &str, paid: &[(i64, String, i64)], charge: Money, refund: Money, findings: &mut Findings) {
    let Ok(record) = serde_json::from_str::<Value>(record) else {
        findings.add("record_json", &call.id, "its record is not JSON");
        return;
    };
    for (pointer, money) in [("/charge/amount", charge), ("/refund/amount", refund)] {
        let shown = record.pointer(pointer).and_then(Value::as_i64);
        findings.expect(shown == Some(money.amount), "record_sum", &call.id, || {
            format!("its record has {shown:?} at {pointer}, its journal {money}")
        });
    }
    for list in ["shares", "lines"] {
        let sum = amounts(&record, list).map(|amounts| amounts.iter().map(|amount| i128::from(*amount)).sum::<i128>());
        findings.expect(sum == Some(i128::from(charge.amount)), "record_sum", &call.id, || {
            format!("the {list} of its record sum to {sum:?}, the charge is {charge}")
        });
    }
    let mut posted: Vec<i64> = paid.iter().filter(|(_, kind, _)| kind != "client").map(|(_, _, amount)| *amount).collect();
    let mut shown: Vec<i64> = amounts(&record, "shares").unwrap_or_default().into_iter().filter(|amount| *amount != 0).collect();
    posted.sort_unstable();
    shown.sort_unstable();
    findings.expect(posted == shown, "shares_posted", &call.id, || format!("its record shares out {shown:?}, posted are {posted:?}"));
}

/// `LIST[].amount.amount`, or none if there is no such list or an item of it has none.
fn amounts(record: &Value, list: &str) -> Option<Vec<i64>> {
    record.get(list)?.as_array()?.iter().map(|item| item.pointer("/amount/amount")?.as_i64()).collect()
}
