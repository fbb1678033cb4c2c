//! The audit of a call's events: each fact that is told has one, in order and numbered from 1, and it says what its fact says.

use super::Findings;
use crate::call::{Fact, Journal};
use crate::exchange::announcement;
use crate::store::{StoreError, outbox};
use rusqlite::Connection;

pub(super) fn check(connection: &Connection, journal: &Journal, record: Option<&str>, findings: &mut Findings) -> Result<(), StoreError> {
    // A journal without its first fact is a finding of another rule.
    let Some(Fact::Created { terms, .. }) = journal.entries.first().map(|entry| &entry.fact) else { return Ok(()) };
    let place = journal.call.to_string();
    let (events, before) = outbox::events_of(connection, &place)?;
    let mut events = events.into_iter().peekable();
    let mut seq = 0;
    for entry in journal.entries.iter().filter(|entry| entry.seq > before) {
        let Some(expected) = announcement(journal.call, terms, seq + 1, entry, record) else { continue };
        seq += 1;
        let Some(event) = events.next_if(|event| event.fact == entry.seq) else {
            findings.add("outbox", &place, format!("fact {} ({}) has no event", entry.seq, expected.word));
            continue;
        };
        let told = event.seq == seq && event.id == expected.id.to_string() && event.word == expected.word && event.body == expected.body;
        findings.expect(told, "outbox", &place, || format!("event {} does not say what fact {} says", event.id, entry.seq));
    }
    for event in events {
        findings.add("outbox", &place, format!("event {} tells of fact {}, which is not told there", event.id, event.fact));
    }
    Ok(())
}
