//! The audit of what went back: of a call never more than was captured, its parts as the rule divides them, each with its event, and
//! every account's postings numbered and summed line by line.

use super::{Findings, guarded};
use crate::billing::{Parts, Returned};
use crate::call::Terms;
use crate::exchange::wallet_announcement;
use crate::ids::CallId;
use crate::money::Money;
use crate::store::outbox::{self, money};
use crate::store::{Adjustment, Charged, Direction, StoreError, rows, statement};
use rusqlite::{Connection, OptionalExtension};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn check(connection: &Connection, findings: &mut Findings) -> Result<(), StoreError> {
    check_lines(connection, findings)?;
    guarded("wallet refunds", findings, |findings| check_wallet_events(connection, findings))?;
    let mut calls = connection.prepare("SELECT DISTINCT call FROM transfer WHERE bearer IS NOT NULL UNION SELECT call FROM returned")?;
    for call in calls.query_map([], |row| row.get::<_, Option<String>>(0))? {
        let Some(call) = call? else { continue };
        guarded(&call, findings, |findings| check_call(connection, &call, findings))?;
    }
    Ok(())
}

/// Each account's postings are numbered from 1, and each says what the account had after it.
fn check_lines(connection: &Connection, findings: &mut Findings) -> Result<(), StoreError> {
    let mut select = connection.prepare("SELECT account, number, amount, balance, transfer FROM posting ORDER BY account, number")?;
    let mut postings = select.query([])?;
    let (mut of, mut last, mut sum) = (None, 0, 0_i128);
    while let Some(row) = postings.next()? {
        let (account, number, amount, balance): (i64, i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        if of != Some(account) {
            (of, last, sum) = (Some(account), 0, 0);
        }
        let place = || row.get::<_, String>(4).unwrap_or_default();
        findings.expect(number == last + 1, "posting_number", &place(), || {
            format!("posting {number} of account {account} follows posting {last}")
        });
        sum += i128::from(amount);
        findings.expect(sum == i128::from(balance), "posting_balance", &place(), || {
            format!("posting {number} of account {account} leaves {sum}, it says {balance}")
        });
        last = number;
    }
    Ok(())
}

/// One call's refunds and adjustments, taken again from the first.
fn check_call(connection: &Connection, call: &str, findings: &mut Findings) -> Result<(), StoreError> {
    let id: CallId = call.parse().map_err(|error| StoreError::Broken(format!("{error}")))?;
    let mut vendor = connection.prepare_cached("SELECT vendor FROM call WHERE id = ?")?;
    let vendor = vendor.query_one([call], |row| crate::store::rows::text(row, 0)).optional()?;
    let Some(charged) = vendor.map(|vendor| statement::charged(connection, vendor, id)).transpose()?.flatten() else {
        findings.add("returned", call, "something went back of it, and there is no such call");
        return Ok(());
    };
    let Returned { by_shares, by_vendor } = charged.returned;
    let sums = [charged.parts.companion, charged.parts.vendor, by_shares, by_vendor];
    if sums.iter().any(|sum| !(0..=Money::MAX_AMOUNT).contains(sum)) {
        findings.add("returned", call, format!("its shares and what was returned of them are out of range: {sums:?}"));
        return Ok(());
    }
    let mut now = Returned::default();
    let mut fault = None;
    let mut events = Events::of(connection, id)?;
    for step in statement::of_call(connection, id)? {
        let moved = match step.direction {
            Direction::ToClient => charged.parts.give_back(now, step.amount.amount, step.bearer),
            Direction::FromClient => charged.parts.take_back(now, step.amount.amount, step.bearer),
        };
        match moved {
            Ok((after, parts)) => {
                findings.expect(parts == step.parts, "return_parts", &step.transfer.to_string(), || {
                    format!("it is borne {}, the rule says {}", shown(step.parts), shown(parts))
                });
                now = after;
                events.expect(id, &step, &charged, now.sum(), findings);
            }
            Err(why) => fault = fault.or(Some(format!("{}: {why}", step.transfer))),
        }
        findings.expect(charged.currency == Some(step.amount.currency), "currency", call, || format!("{} went back of it", step.amount));
    }
    // I12 of the list of invariants: of a call no more goes back than was captured.
    findings.expect(fault.is_none(), "returned", call, || fault.unwrap_or_default());
    findings.expect(charged.returned == now, "returned", call, || {
        format!("its refunds come to {}, it says {}", now.sum(), charged.returned.sum())
    });
    let mut kept = connection.prepare_cached("SELECT captured FROM returned WHERE call = ?")?;
    let kept: Option<i64> = kept.query_one([call], |row| row.get(0)).optional()?;
    findings
        .expect(kept == Some(charged.parts.sum()), "returned", call, || format!("{} were captured, it says {kept:?}", charged.parts.sum()));
    Ok(())
}

/// The events of what went back of a call.
struct Events {
    terms: Option<Terms>,
    /// By transfer: number in its call, id, word and body.
    rows: BTreeMap<String, (u64, String, String, String)>,
    /// Of the facts, which come before them.
    last: u64,
    /// Transfers of before there were such events.
    before: BTreeSet<String>,
}

impl Events {
    fn of(connection: &Connection, call: CallId) -> Result<Self, StoreError> {
        let place = call.to_string();
        let mut select =
            connection.prepare_cached("SELECT transfer, seq, id, word, body FROM event WHERE call = ? AND transfer IS NOT NULL")?;
        let row =
            |row: &rusqlite::Row<'_>| Ok((row.get(0)?, (row.get::<_, i64>(1)?.cast_unsigned(), row.get(2)?, row.get(3)?, row.get(4)?)));
        let rows = select.query_map([&place], row)?.collect::<rusqlite::Result<_>>()?;
        let mut last = connection.prepare_cached("SELECT coalesce(max(seq), 0) FROM event WHERE call = ? AND fact IS NOT NULL")?;
        let last = last.query_one([&place], |row| row.get::<_, i64>(0))?.cast_unsigned();
        let mut before = connection.prepare_cached(
            "SELECT before.transfer FROM before_money_events AS before JOIN transfer ON transfer.id = before.transfer WHERE call = ?",
        )?;
        let before = before.query_map([&place], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        // A journal without its first fact is a finding of another rule.
        let terms = outbox::terms_of(connection, call).ok();
        Ok(Self { terms, rows, last, before })
    }

    /// The next that went back has its event, the next of the call, and that says what went back.
    fn expect(&mut self, call: CallId, step: &Adjustment, charged: &Charged, returned: i64, findings: &mut Findings) {
        let transfer = step.transfer.to_string();
        let Some(terms) = self.terms.as_ref().filter(|_| !self.before.contains(&transfer)) else { return };
        self.last += 1;
        let expected = money::of_step(call, terms, self.last, step, charged, returned);
        match self.rows.get(&transfer) {
            None => findings.add("outbox", call.to_string(), format!("transfer {transfer} ({}) has no event", expected.word)),
            Some((seq, id, word, body)) => {
                let told = *seq == self.last && *id == expected.id.to_string() && word == expected.word && *body == expected.body;
                findings.expect(told, "outbox", &call.to_string(), || format!("event {id} does not say what transfer {transfer} did"));
            }
        }
    }
}

/// Each refund out of a wallet has its event, and that says so.
fn check_wallet_events(connection: &Connection, findings: &mut Findings) -> Result<(), StoreError> {
    let mut select = connection.prepare(
        "SELECT transfer.id, transfer.vendor, owner, -amount, currency, transfer.order_ref, transfer.at, event.id, word, body FROM transfer
         JOIN posting ON posting.transfer = transfer.id JOIN account ON account.id = posting.account AND account.kind = 'client'
         LEFT JOIN event ON event.transfer = transfer.id
         WHERE transfer.kind = 'wallet_refund' AND transfer.id NOT IN (SELECT transfer FROM before_money_events)",
    )?;
    let mut refunds = select.query([])?;
    while let Some(row) = refunds.next()? {
        let place: String = row.get(0)?;
        let order_ref: Option<String> = row.get(5)?;
        let (client, amount) = (rows::text(row, 2)?, rows::money(row, 3)?);
        let expected = wallet_announcement(
            rows::text(row, 0)?,
            rows::text(row, 1)?,
            &client,
            amount,
            &order_ref.unwrap_or_default(),
            rows::moment(row, 6)?,
        );
        let told: (Option<String>, Option<String>, Option<String>) = (row.get(7)?, row.get(8)?, row.get(9)?);
        let due = (Some(expected.id.to_string()), Some(expected.word.to_owned()), Some(expected.body));
        findings.expect(told == due, "outbox", &place, || "its event is not there, or does not say what it did".to_owned());
    }
    Ok(())
}

fn shown(parts: Parts) -> String {
    format!("{} by the companion and {} by the vendor", parts.companion, parts.vendor)
}
