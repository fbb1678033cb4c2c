//! The audit of recordings: each part that facts begin has a row for either side, which says what the facts say, and
//! what is deleted has its event.

use super::Findings;
use crate::call::{Fact, Journal, RecordingEnd, Terms};
use crate::clock::Moment;
use crate::exchange::deletion_announcement;
use crate::store::outbox::recording::of_row;
use crate::store::{Recording, StoreError, recordings};
use rusqlite::Connection;

/// A part, as the facts have it.
struct Part {
    number: u32,
    started_at: Moment,
    ended: Option<(Moment, RecordingEnd)>,
}

pub(super) fn check(connection: &Connection, journal: &Journal, findings: &mut Findings) -> Result<(), StoreError> {
    let place = journal.call.to_string();
    let created = journal.entries.first().and_then(|entry| match &entry.fact {
        Fact::Created { terms, .. } => Some(&**terms),
        _ => None,
    });
    let terms = created.and_then(|terms| terms.recording);
    let mut parts = Vec::<Part>::new();
    for entry in &journal.entries {
        match entry.fact {
            Fact::RecordingStarted { part } => parts.push(Part { number: part, started_at: entry.at, ended: None }),
            Fact::RecordingStopped { part, why } => {
                if let Some(last) = parts.last_mut().filter(|last| last.number == part) {
                    last.ended = Some((entry.at, why));
                }
            }
            _ => {}
        }
    }
    let rows = recordings::of_call(connection, &place)?;
    for row in &rows {
        let Some(part) = parts.iter().find(|part| part.number == row.part) else {
            findings.add("recording", &place, format!("{} is of part {}, which no fact begins", row.id, row.part));
            continue;
        };
        let ended = part.ended.map(|(at, why)| (at, why.name().to_owned()));
        let delete_at = terms.map(|terms| part.started_at + terms.keep);
        let agrees = row.started_at == part.started_at && row.ended == ended && Some(row.delete_at) == delete_at;
        findings.expect(agrees, "recording", &place, || format!("{} does not say what its facts say", row.id));
    }
    // A journal without its first fact is a finding of another rule.
    if let Some(terms) = created {
        check_events(connection, &place, terms, &rows, findings)?;
    }
    for part in parts {
        let sides = rows.iter().filter(|row| row.part == part.number).count();
        // Without a key there was nothing to write a row for, and the part ended as it began.
        let had_no_key = sides == 0 && matches!(part.ended, Some((_, RecordingEnd::Failed | RecordingEnd::ServerStopped)));
        findings.expect(sides == 2 || had_no_key, "recording", &place, || format!("part {} has {sides} rows", part.number));
    }
    Ok(())
}

/// Each recording that is gone has its event, and no other has one.
fn check_events(
    connection: &Connection,
    place: &str,
    terms: &Terms,
    rows: &[Recording],
    findings: &mut Findings,
) -> Result<(), StoreError> {
    let recordings::Told { mut events, before } = recordings::told(connection, place)?;
    for row in rows {
        let id = row.id.to_string();
        let event = events.remove(&id);
        let due = of_row(row, |deletion| deletion_announcement(terms, deletion)).filter(|_| !before.contains(&id));
        let due = due.map(|event| [event.id.to_string(), event.word.to_owned(), event.body]);
        findings.expect(event == due, "outbox", place, || format!("{id} has no event of its deletion, or one that does not say so"));
    }
    Ok(())
}
