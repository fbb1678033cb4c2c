//! The outbox: events of facts (and, in `money`, of money that goes back, in `recording`, of recordings that are gone), written in the facts' own transaction, and their way to each
//! endpoint.
//!
//! Invariants: each fact that is told has its event, numbered from 1 in its call, and never another; of each lane (the pending events
//! of one call for one endpoint) only the first has a time at which it is sent next. It sends nothing: that is the room of webhooks.

pub(super) mod money;
pub(super) mod recording;
pub(super) mod secrets;

use super::apply::Halt;
use super::recordings::RecordingWrite;
use super::row_hash::{self, Table};
use super::webhooks::{Attempt, Change, Disabled, Endpoint, Outcome, Secret, WebhookWrite};
use super::{Refusal, StoreError, Transaction, Write, fact_row};
use crate::call::{Entry, Fact, Terms};
use crate::clock::{Moment, Span};
use crate::exchange::{Announcement, TEST, announcement, test_announcement, word};
use crate::ids::{CallId, EndpointId, EventId, VendorId};
use crate::seeded::{self, Bug};
use rusqlite::{Connection, OptionalExtension, params};

/// Facts that have an event, as the journal spells them. Kept apart from [`word`] on purpose: the two must agree.
const TOLD: &str = "('created', 'started', 'warned', 'extended', 'gifted', 'paused', 'resumed', 'lingers', 'ended', 'settled',
    'recording_started', 'recording_stopped')";

/// Events that one replay queues at most: no more than a group of the writer's has rows.
pub(super) const REPLAY_MOST: u32 = 1000;

/// For how long it is kept what became of a delivery, and for how long an event counts as missed.
pub(super) const KEPT: Span = Span::from_s(30 * 24 * 3600);

/// Whether a transaction may give an endpoint something to do.
pub(super) fn rings(transaction: &Transaction) -> bool {
    transaction.writes.iter().any(|write| match write {
        Write::Facts { entries, .. } => entries.iter().any(|entry| word(&entry.fact).is_some()),
        // Who says what became of a try, or forgets, looks by itself.
        Write::Return(_) | Write::RefundWallet(_) | Write::Recording(RecordingWrite::Gone { .. }) => true,
        Write::Webhook(write) => !matches!(write, WebhookWrite::Attempted(_) | WebhookWrite::Prune(_)),
        _ => false,
    })
}

/// Writes the events of all facts of a transaction, of money that goes back and of recordings that are gone. Comes after all other writes, so that records are
/// there.
pub(super) fn append(connection: &Connection, writes: &[Write]) -> Result<(), Halt> {
    for write in writes {
        money::append(connection, write)?;
        recording::append(connection, write)?;
        if let Write::Facts { call, entries } = write
            && let Some(first) = entries.first()
        {
            if entries.iter().any(|entry| word(&entry.fact).is_some()) {
                append_call(connection, *call, entries)?;
            }
            if !seeded::has(Bug::OutboxApart) {
                check(connection, *call, first.seq)?;
            }
        }
    }
    Ok(())
}

fn append_call(connection: &Connection, call: CallId, entries: &[Entry]) -> Result<(), Halt> {
    let id = call.to_string();
    let terms = terms_of(connection, call)?;
    let mut seq = last_seq(connection, &id)?;
    for entry in entries {
        let record: Option<String> = match entry.fact {
            Fact::Settled { .. } => {
                let mut record = connection.prepare_cached("SELECT body FROM record WHERE call = ?")?;
                record.query_one([&id], |row| row.get(0)).optional()?
            }
            _ => None,
        };
        if let Some(event) = announcement(call, &terms, seq + 1, entry, record.as_deref()) {
            seq += 1;
            let of = Of::Fact { call: &id, fact: entry.seq, seq };
            let number = insert(connection, terms.vendor, of, &event)?;
            offer(connection, terms.vendor, number, &id, event.word, entry.at)?;
        }
    }
    Ok(())
}

/// The number of a call's last event; 0 if it has none.
fn last_seq(connection: &Connection, call: &str) -> rusqlite::Result<u64> {
    let mut last = connection.prepare_cached("SELECT coalesce(max(seq), 0) FROM event WHERE call = ?")?;
    Ok(last.query_one([call], |row| row.get::<_, i64>(0))?.cast_unsigned())
}

pub(super) fn terms_of(connection: &Connection, call: CallId) -> Result<Terms, Halt> {
    let mut first = connection.prepare_cached("SELECT version, fact FROM journal WHERE call = ? AND seq = 1")?;
    let (version, text): (u32, String) = first.query_one([call.to_string()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    match fact_row::decode(version, &text) {
        Ok(Fact::Created { terms, .. }) => Ok(*terms),
        Ok(_) => Err(Halt::broken(format!("the first fact of {call} is not that it exists"))),
        Err(error) => Err(Halt::broken(error.to_string())),
    }
}

/// Of the facts from `first` on, each that is told has its event, and no other has one.
fn check(connection: &Connection, call: CallId, first: u64) -> Result<(), Halt> {
    let mut count = connection.prepare_cached(&format!(
        "SELECT (SELECT count(*) FROM journal WHERE call = ?1 AND seq >= ?2 AND fact ->> '$.fact' IN {TOLD}),
                (SELECT count(*) FROM journal JOIN event ON event.call = journal.call AND event.fact = journal.seq
                 WHERE journal.call = ?1 AND journal.seq >= ?2 AND journal.fact ->> '$.fact' IN {TOLD}),
                (SELECT count(*) FROM event WHERE call = ?1 AND fact >= ?2)"
    ))?;
    let counted = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?));
    let (told, joined, events) = count.query_one(params![call.to_string(), first.cast_signed()], counted)?;
    if (told, told) == (joined, events) {
        Ok(())
    } else {
        Err(Halt::broken(format!("{told} facts of {call} are told and {events} events tell of facts")))
    }
}

/// What an event tells of.
#[derive(Clone, Copy)]
enum Of<'a> {
    /// A fact of a call, as its event of that number.
    Fact { call: &'a str, fact: u64, seq: u64 },
    /// A transfer that belongs to a settled call.
    Return { call: &'a str, transfer: &'a str, seq: u64 },
    /// A transfer of no call.
    Wallet { transfer: &'a str },
    /// A recording that is gone.
    Recording { recording: &'a str },
    /// Nothing: it tries an endpoint out.
    Test,
}

/// Writes an event. Returns its place in the outbox.
fn insert(connection: &Connection, vendor: VendorId, of: Of<'_>, event: &Announcement) -> rusqlite::Result<i64> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO event (id, vendor, call, fact, seq, transfer, recording, word, at, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?;
    let (call, fact, seq, transfer, recording) = match of {
        Of::Fact { call, fact, seq } => (Some(call), Some(fact), Some(seq), None, None),
        Of::Return { call, transfer, seq } => (Some(call), None, Some(seq), Some(transfer), None),
        Of::Wallet { transfer } => (None, None, None, Some(transfer), None),
        Of::Recording { recording } => (None, None, None, None, Some(recording)),
        Of::Test => (None, None, None, None, None),
    };
    let (fact, seq) = (fact.map(u64::cast_signed), seq.map(u64::cast_signed));
    let (id, vendor, at) = (event.id.to_string(), vendor.to_string(), event.at.unix_ms());
    insert.execute(params![id, vendor, call, fact, seq, transfer, recording, event.word, at, event.body])?;
    Ok(connection.last_insert_rowid())
}

/// An SQL condition: the endpoint wants events of the word in parameter `word`.
macro_rules! wants {
    ($word:literal) => {
        concat!("deleted_at IS NULL AND disabled_at IS NULL AND (words IS NULL OR instr(' ' || words || ' ', ' ' || ", $word, " || ' '))")
    };
}

/// Queues an event for every endpoint of its vendor that wants it.
fn offer(connection: &Connection, vendor: VendorId, number: i64, lane: &str, word: &str, at: Moment) -> Result<(), Halt> {
    let mut endpoints =
        connection.prepare_cached(concat!("SELECT id FROM webhook_endpoint WHERE vendor = ?1 AND ", wants!("?2"), " ORDER BY id"))?;
    let ids = endpoints.query_map(params![vendor.to_string(), word], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
    for endpoint in ids {
        queue(connection, &endpoint, number, lane, at)?;
    }
    Ok(())
}

/// Queues an event for an endpoint, again if it was there before.
fn queue(connection: &Connection, endpoint: &str, number: i64, lane: &str, at: Moment) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO delivery (endpoint, event, lane, state) VALUES (?, ?, ?, 'pending') ON CONFLICT (endpoint, event)
         DO UPDATE SET state = 'pending', attempts = 0, next_at = NULL, first_at = NULL, error = NULL WHERE state <> 'pending'",
    )?;
    insert.execute(params![endpoint, number, lane])?;
    order(connection, endpoint, lane, at)
}

/// Gives the first of a lane its turn (at `at`, unless it has one) and takes it from all others.
fn order(connection: &Connection, endpoint: &str, lane: &str, at: Moment) -> rusqlite::Result<()> {
    if seeded::has(Bug::DeliveryOvertakes) {
        let mut all = connection.prepare_cached(
            "UPDATE delivery SET next_at = coalesce(next_at, ?3) WHERE endpoint = ?1 AND lane = ?2 AND state = 'pending'",
        )?;
        return all.execute(params![endpoint, lane, at.unix_ms()]).map(|_| ());
    }
    let mut order = connection.prepare_cached(
        "WITH first (event) AS (SELECT min(event) FROM delivery WHERE endpoint = ?1 AND lane = ?2 AND state = 'pending')
         UPDATE delivery SET next_at = CASE WHEN delivery.event = (SELECT event FROM first) THEN coalesce(next_at, ?3) END
         WHERE endpoint = ?1 AND lane = ?2 AND state = 'pending'
         AND (next_at IS NOT NULL OR delivery.event = (SELECT event FROM first))",
    )?;
    order.execute(params![endpoint, lane, at.unix_ms()])?;
    Ok(())
}

/// One change of endpoints or of what is on its way to them.
pub(super) fn apply(connection: &Connection, write: &WebhookWrite) -> Result<(), Halt> {
    apply_one(connection, write)?;
    match write {
        WebhookWrite::Add { endpoint, .. } => hash(connection, &endpoint.id.to_string()),
        WebhookWrite::Change { endpoint, .. }
        | WebhookWrite::Remove { endpoint, .. }
        | WebhookWrite::Rotate { endpoint, .. }
        | WebhookWrite::Enable { endpoint, .. } => hash(connection, &endpoint.to_string()),
        _ => Ok(()),
    }
}

/// Hashes an endpoint's row, whose own columns were just written.
fn hash(connection: &Connection, endpoint: &str) -> Result<(), Halt> {
    Ok(row_hash::keep(connection, Table::Endpoint, &[&endpoint])?)
}

fn apply_one(connection: &Connection, write: &WebhookWrite) -> Result<(), Halt> {
    match write {
        WebhookWrite::Add { endpoint, most } => add(connection, endpoint, *most),
        WebhookWrite::Change { vendor, endpoint, change } => change_endpoint(connection, *vendor, *endpoint, change),
        WebhookWrite::Remove { vendor, endpoint, at } => {
            // Its deliveries may be many: they go bit by bit, see `prune`.
            let mut delete = connection.prepare_cached(
                "UPDATE webhook_endpoint SET deleted_at = ?, secret = zeroblob(32), old_secret = NULL, old_secret_until = NULL
                 WHERE id = ? AND vendor = ? AND deleted_at IS NULL",
            )?;
            found(delete.execute(params![at.unix_ms(), endpoint.to_string(), vendor.to_string()])?)?;
            Ok(secrets::forget(connection, *endpoint)?)
        }
        WebhookWrite::Rotate { vendor, endpoint, secret, at, old_until } => {
            secrets::rotate(connection, *vendor, *endpoint, *secret, *at, *old_until)
        }
        WebhookWrite::Enable { vendor, endpoint } => {
            let mut enable = connection.prepare_cached(
                "UPDATE webhook_endpoint SET disabled_at = NULL, disabled_why = NULL, failing_since = NULL
                 WHERE id = ? AND vendor = ? AND deleted_at IS NULL",
            )?;
            found(enable.execute(params![endpoint.to_string(), vendor.to_string()])?)
        }
        WebhookWrite::Test { vendor, endpoint, event, at } => {
            enabled(connection, *vendor, *endpoint)?;
            let event = test_announcement(*event, *vendor, *endpoint, *at);
            let number = insert(connection, *vendor, Of::Test, &event)?;
            Ok(queue(connection, &endpoint.to_string(), number, &event.id.to_string(), *at)?)
        }
        WebhookWrite::Replay { vendor, event, endpoint, at } => replay(connection, *vendor, *event, *endpoint, *at),
        WebhookWrite::ReplayMissed { vendor, endpoint, events, at } => replay_missed(connection, *vendor, *endpoint, events, *at),
        WebhookWrite::Attempted(attempt) => attempted(connection, attempt),
        WebhookWrite::Prune(stale) => prune(connection, stale),
    }
}

fn found(rows: usize) -> Result<(), Halt> {
    if rows == 1 { Ok(()) } else { Err(Refusal::NoEndpoint.into()) }
}

fn add(connection: &Connection, endpoint: &Endpoint, most: u32) -> Result<(), Halt> {
    let vendor = endpoint.vendor.to_string();
    let mut count = connection.prepare_cached("SELECT count(*) FROM webhook_endpoint WHERE vendor = ? AND deleted_at IS NULL")?;
    if count.query_one([&vendor], |row| row.get::<_, u32>(0))? >= most {
        return Err(Refusal::TooManyEndpoints { most }.into());
    }
    let mut insert = connection.prepare_cached(
        "INSERT INTO webhook_endpoint (id, vendor, url, description, words, secret, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
    )?;
    let words = endpoint.words.as_ref().map(|words| words.join(" "));
    let Secret(secret) = endpoint.secret;
    insert.execute(params![
        endpoint.id.to_string(),
        vendor,
        endpoint.url,
        endpoint.description,
        words,
        secret,
        endpoint.created_at.unix_ms()
    ])?;
    Ok(())
}

fn change_endpoint(connection: &Connection, vendor: VendorId, endpoint: EndpointId, change: &Change) -> Result<(), Halt> {
    let mut update = connection.prepare_cached(
        "UPDATE webhook_endpoint SET url = coalesce(?1, url), description = iif(?2, ?3, description), words = iif(?4, ?5, words)
         WHERE id = ?6 AND vendor = ?7 AND deleted_at IS NULL",
    )?;
    let (description, words) = (change.description.as_ref(), change.words.as_ref());
    found(update.execute(params![
        change.url,
        description.is_some(),
        description.cloned().flatten(),
        words.is_some(),
        words.and_then(|words| words.as_ref().map(|words| words.join(" "))),
        endpoint.to_string(),
        vendor.to_string()
    ])?)
}

fn enabled(connection: &Connection, vendor: VendorId, endpoint: EndpointId) -> Result<(), Halt> {
    let mut state =
        connection.prepare_cached("SELECT disabled_at IS NULL FROM webhook_endpoint WHERE id = ? AND vendor = ? AND deleted_at IS NULL")?;
    match state.query_one(params![endpoint.to_string(), vendor.to_string()], |row| row.get(0)).optional()? {
        Some(true) => Ok(()),
        Some(false) => Err(Refusal::EndpointDisabled.into()),
        None => Err(Refusal::NoEndpoint.into()),
    }
}

/// Sends one event again: to one endpoint, or to all of its vendor that want it and are enabled.
fn replay(connection: &Connection, vendor: VendorId, event: EventId, endpoint: Option<EndpointId>, at: Moment) -> Result<(), Halt> {
    let mut select = connection.prepare_cached("SELECT number, coalesce(call, id), word FROM event WHERE id = ? AND vendor = ?")?;
    let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?));
    let found = select.query_one(params![event.to_string(), vendor.to_string()], row).optional()?;
    let (number, lane, word) = found.ok_or(Refusal::NoEvent)?;
    match endpoint {
        Some(endpoint) => {
            enabled(connection, vendor, endpoint)?;
            Ok(queue(connection, &endpoint.to_string(), number, &lane, at)?)
        }
        None => offer(connection, vendor, number, &lane, &word, at),
    }
}

/// Queues those of these events that the endpoint still wants and that are still neither there nor on their way, in this order.
///
/// They are found before, by a reader ([`missed`]): here nothing is searched for, since everybody else who writes waits meanwhile.
fn replay_missed(connection: &Connection, vendor: VendorId, endpoint: EndpointId, events: &[i64], at: Moment) -> Result<(), Halt> {
    enabled(connection, vendor, endpoint)?;
    let mut select = connection.prepare_cached(concat!(
        "SELECT coalesce(call, event.id) FROM event JOIN webhook_endpoint ON webhook_endpoint.id = ?1
         WHERE number = ?2 AND event.vendor = ?3 AND word <> 'webhook.test' AND ",
        wants!("event.word"),
        " AND NOT EXISTS (SELECT 1 FROM delivery WHERE delivery.endpoint = ?1 AND delivery.event = ?2 AND state <> 'failed')",
    ))?;
    let (endpoint, vendor) = (endpoint.to_string(), vendor.to_string());
    for number in events.iter().take(REPLAY_MOST as usize) {
        let lane: Option<String> = select.query_one(params![endpoint, number, vendor], |row| row.get(0)).optional()?;
        if let Some(lane) = lane {
            queue(connection, &endpoint, *number, &lane, at)?;
        }
    }
    Ok(())
}

/// Parameters: endpoint, vendor, the number behind which to begin, the moment of the oldest that counts, how many.
///
/// The walk begins at the first event that is young enough: a vendor's history only grows, and is told by number, not by time.
pub(super) const MISSED: &str = concat!(
    "SELECT number FROM event INDEXED BY event_by_vendor JOIN webhook_endpoint ON webhook_endpoint.id = ?1
     WHERE event.vendor = ?2 AND word <> 'webhook.test' AND at >= max(webhook_endpoint.created_at, ?4)
     AND number >= max(?3 + 1, (SELECT min(young.number) FROM event AS young INDEXED BY event_by_time WHERE young.vendor = ?2
                                AND young.at >= max((SELECT created_at FROM webhook_endpoint AS it WHERE it.id = ?1), ?4)))
     AND ",
    wants!("event.word"),
    " AND NOT EXISTS (SELECT 1 FROM delivery WHERE delivery.endpoint = ?1 AND delivery.event = number AND state <> 'failed')
     ORDER BY number LIMIT ?5",
);

/// The numbers of events that an endpoint wants and that are neither there nor on their way, in order: one more than a replay queues.
///
/// Those of before it was made, or older than what is kept of deliveries, are none. For readers: it may look at a month of events.
pub(super) fn missed(connection: &Connection, vendor: &str, endpoint: &str, after: i64, now: Moment) -> rusqlite::Result<Vec<i64>> {
    let mut select = connection.prepare_cached(MISSED)?;
    let oldest = (now - KEPT).unix_ms();
    select.query_map(params![endpoint, vendor, after, oldest, REPLAY_MOST + 1], |row| row.get(0))?.collect()
}

/// Forgets deliveries that are long over or whose endpoint is deleted, and such endpoints once nothing refers to them.
fn prune(connection: &Connection, stale: &[(EndpointId, i64)]) -> Result<(), Halt> {
    let mut delete = connection.prepare_cached(
        "DELETE FROM delivery WHERE endpoint = ?1 AND event = ?2
         AND (state <> 'pending' OR EXISTS (SELECT 1 FROM webhook_endpoint WHERE id = ?1 AND deleted_at IS NOT NULL))",
    )?;
    for (endpoint, event) in stale {
        delete.execute(params![endpoint.to_string(), event])?;
    }
    let mut gone = connection.prepare_cached(
        "DELETE FROM webhook_endpoint WHERE deleted_at IS NOT NULL AND NOT EXISTS (SELECT 1 FROM delivery WHERE endpoint = id)",
    )?;
    gone.execute([])?;
    Ok(())
}

/// Keeps what became of one try. One for an endpoint, or an event, that is no longer waited for changes nothing.
fn attempted(connection: &Connection, attempt: &Attempt) -> Result<(), Halt> {
    let endpoint = attempt.endpoint.to_string();
    let at = attempt.at.unix_ms();
    let mut select = connection.prepare_cached(
        "SELECT number, lane, word, first_at FROM delivery JOIN event ON number = delivery.event
         WHERE delivery.endpoint = ? AND event.id = ? AND state = 'pending'",
    )?;
    let row = |row: &rusqlite::Row<'_>| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?, row.get::<_, Option<i64>>(3)?))
    };
    let pending = select.query_one(params![endpoint, attempt.event.to_string()], row).optional()?;
    let Some((number, lane, word, first_at)) = pending else { return Ok(()) };
    let is_test = word == TEST;
    let disables = match &attempt.outcome {
        Outcome::Gone { .. } => Some(Disabled::Gone),
        Outcome::Failed { retry_at: None, .. } if !is_test => {
            // Nothing came through since the first try of this event.
            let mut silent =
                connection.prepare_cached("SELECT coalesce(last_success_at, ?2 - 1) < ?2 FROM webhook_endpoint WHERE id = ?1")?;
            silent.query_one(params![endpoint, first_at.unwrap_or(at)], |row| row.get::<_, bool>(0))?.then_some(Disabled::Exhausted)
        }
        Outcome::Failed { .. } | Outcome::Delivered => None,
    };
    let (state, next_at, error) = match &attempt.outcome {
        Outcome::Delivered => ("delivered", None, None),
        Outcome::Failed { why, retry_at: Some(next) } if !is_test => ("pending", Some(next.unix_ms()), Some(why)),
        // It is the first to go when the endpoint is enabled, so that the order of its call holds.
        Outcome::Failed { why, .. } | Outcome::Gone { why } if disables.is_some() && !is_test => ("pending", Some(at), Some(why)),
        Outcome::Failed { why, .. } | Outcome::Gone { why } => ("failed", None, Some(why)),
    };
    let mut update = connection.prepare_cached(
        "UPDATE delivery SET state = ?3, attempts = iif(?8, 0, attempts + 1), next_at = ?4, first_at = iif(?8, NULL, coalesce(first_at, ?5)),
         last_at = ?5, status = ?6, error = ?7 WHERE endpoint = ?1 AND event = ?2",
    )?;
    update.execute(params![endpoint, number, state, next_at, at, attempt.status, error, disables.is_some() && !is_test])?;
    if let Some(error) = error {
        let mut fails = connection.prepare_cached(
            "UPDATE webhook_endpoint SET failing_since = coalesce(failing_since, ?2), last_error = ?3, last_error_at = ?2 WHERE id = ?1",
        )?;
        fails.execute(params![endpoint, at, error])?;
    } else {
        let mut works =
            connection.prepare_cached("UPDATE webhook_endpoint SET failing_since = NULL, last_success_at = ?2 WHERE id = ?1")?;
        works.execute(params![endpoint, at])?;
    }
    if let Some(why) = disables {
        // What is on its way stays there, and nothing is added, until the vendor enables it.
        let mut disable = connection.prepare_cached("UPDATE webhook_endpoint SET disabled_at = ?2, disabled_why = ?3 WHERE id = ?1")?;
        disable.execute(params![endpoint, at, why.name()])?;
        hash(connection, &endpoint)?;
    }
    Ok(order(connection, &endpoint, &lane, attempt.at)?)
}

/// An event's row, for the audit.
pub(super) struct EventRow {
    pub(super) fact: u64,
    pub(super) seq: u64,
    pub(super) id: String,
    pub(super) word: String,
    pub(super) body: String,
}

/// The events of a call's facts in their order, and up to which fact there was no outbox yet.
pub(super) fn events_of(connection: &Connection, call: &str) -> Result<(Vec<EventRow>, u64), StoreError> {
    let mut select =
        connection.prepare_cached("SELECT fact, seq, id, word, body FROM event WHERE call = ? AND fact IS NOT NULL ORDER BY number")?;
    let row = |row: &rusqlite::Row<'_>| {
        let (fact, seq) = (row.get::<_, i64>(0)?.cast_unsigned(), row.get::<_, i64>(1)?.cast_unsigned());
        Ok(EventRow { fact, seq, id: row.get(2)?, word: row.get(3)?, body: row.get(4)? })
    };
    let events = select.query_map([call], row)?.collect::<rusqlite::Result<_>>()?;
    let mut before = connection.prepare_cached("SELECT seq FROM before_outbox WHERE call = ?")?;
    let before = before.query_one([call], |row| row.get::<_, i64>(0)).optional()?;
    Ok((events, before.unwrap_or(0).cast_unsigned()))
}
