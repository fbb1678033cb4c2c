//! The audit of what went back: of a call never more than was captured, its parts as the rule divides them, and every account's
//! postings numbered and summed line by line.

use super::{Findings, guarded};
use crate::billing::{Parts, Returned};
use crate::ids::CallId;
use crate::money::Money;
use crate::store::{Direction, StoreError, statement};
use rusqlite::{Connection, OptionalExtension};

pub(super) fn check(connection: &Connection, findings: &mut Findings) -> Result<(), StoreError> {
    check_lines(connection, findings)?;
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

fn shown(parts: Parts) -> String {
    format!("{} by the companion and {} by the vendor", parts.companion, parts.vendor)
}
