//! Records as they are given out: one with its signature, a month of them part by part, and the keys that check them.

use super::house::House;
use super::wire;
use crate::clock::Moment;
use crate::exchange::{self, proof, sheet};
use crate::ids::VendorId;
use crate::signing;
use crate::store::{SignedRecord, Store, StoreError};
use serde_json::{Value, json};
use signaling::code::Code;
use signaling::inbound::{Refused, Reply};
use signaling::rest::{Export, ExportFormat};

/// Records in a part of an export: some hundred kilobytes.
const PART: u32 = 200;

impl House {
    pub(super) fn show_keys(&self, reply: Reply<Value>) {
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || {
            let keys = store.signing_keys().map_err(|error| wire::of_store_error(&error));
            drop(reply.send(keys.map(|keys| signing::key_set(&keys))));
        });
    }
}

/// A record with its signature.
pub(super) fn given(signed: &SignedRecord) -> Result<Value, Refused> {
    let given = proof::signed(&signed.record, &signed.key, &signed.signature);
    given.ok_or_else(|| wire::of_store_error(&StoreError::Broken(format!("the record of {} is not JSON", signed.call))))
}

/// A part of a month's file: `{text, next_cursor}`; the cursor is where the next begins, null at the end.
pub(super) fn part(store: &Store, vendor: VendorId, export: &Export) -> Result<Value, Refused> {
    let bad = |field: &'static str, detail: String| wire::refused(Code::InvalidRequest, detail, Some(field));
    let month = exchange::month(&export.month, &export.zone).map_err(|error| match error {
        exchange::MonthError::Month => bad("month", error.to_string()),
        exchange::MonthError::Zone => bad("tz", error.to_string()),
    })?;
    let after = match &export.after {
        None => None,
        Some(cursor) => {
            let place = cursor.split_once('~').and_then(|(ms, call)| Some((Moment::from_unix_ms(ms.parse().ok()?), call.parse().ok()?)));
            Some(place.ok_or_else(|| bad("after", "this is not a place in this file".to_owned()))?)
        }
    };
    let records = store.signed_records(vendor, month, after, PART).map_err(|error| wire::of_store_error(&error))?;
    let is_csv = export.format == ExportFormat::Csv;
    let mut text = if is_csv && after.is_none() { sheet::head() } else { String::new() };
    for record in &records {
        let given = given(record)?;
        if is_csv {
            text.push_str(&sheet::row(&given, record.settled_at));
        } else {
            text.push_str(&proof::line(&given));
            text.push('\n');
        }
    }
    let is_full = records.len() == PART as usize;
    let next = records.last().filter(|_| is_full).map(|last| format!("{}~{}", last.settled_at.unix_ms(), last.call));
    Ok(json!({ "text": text, "next_cursor": next }))
}
