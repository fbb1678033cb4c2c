//! Endpoints of vendors' programs, events and deliveries: what others may write and look up of them.
//!
//! How an event comes to be and in which order it goes out is `outbox`'s business. Secrets are handed out to who signs and never shown.

use super::rows::{moment, text};
use super::{Page, Store, StoreError, outbox};
use crate::clock::Moment;
use crate::ids::{EndpointId, EventId, VendorId};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::fmt;

/// What signs what is sent to an endpoint. Shows nothing of itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret(pub [u8; 32]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Replaced secrets of an endpoint that sign at a time, at most: enough for rotations whose answers were lost, and a header stays short.
pub const OLD_SECRETS: u32 = 4;

/// Why nothing is sent to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disabled {
    /// An event was tried to the end of the schedule, and none came through meanwhile.
    Exhausted,
    /// It answered 410.
    Gone,
}

impl Disabled {
    /// The word for it, in `snake_case`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exhausted => "exhausted",
            Self::Gone => "gone",
        }
    }
}

/// An address of a vendor's program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub id: EndpointId,
    pub vendor: VendorId,
    pub url: String,
    /// For people.
    pub description: Option<String>,
    /// The events wanted, such as `call.ended`; none is all.
    pub words: Option<Vec<String>>,
    pub secret: Secret,
    /// Secrets that were replaced, the newest first, and until when each signs too.
    pub old_secrets: Vec<(Secret, Moment)>,
    pub created_at: Moment,
    /// Since when and why nothing is sent.
    pub disabled: Option<(Moment, Disabled)>,
    pub last_success_at: Option<Moment>,
    /// Since the first failure after which nothing came through.
    pub failing_since: Option<Moment>,
    pub last_error: Option<(Moment, String)>,
    /// Events on their way.
    pub pending: u64,
}

/// What changes of an endpoint; the outer none leaves it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    pub url: Option<String>,
    pub description: Option<Option<String>>,
    pub words: Option<Option<Vec<String>>>,
}

/// What became of one try to deliver an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub endpoint: EndpointId,
    pub event: EventId,
    /// When it ended.
    pub at: Moment,
    /// The HTTP status, if there was an answer.
    pub status: Option<u16>,
    pub outcome: Outcome,
}

/// How a try ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With an answer that says yes.
    Delivered,
    /// Otherwise; without a further try the event is given up.
    Failed { why: String, retry_at: Option<Moment> },
    /// With an answer that says never again: the endpoint is disabled.
    Gone { why: String },
}

/// One change of endpoints or deliveries. Condition of all but the last two: the endpoint (and event) is this vendor's.
#[derive(Clone, Debug)]
pub enum WebhookWrite {
    /// A new endpoint. Condition: the vendor has fewer than `most`.
    Add { endpoint: Box<Endpoint>, most: u32 },
    /// Another address, description or choice of events.
    Change { vendor: VendorId, endpoint: EndpointId, change: Change },
    /// Nothing is sent there any more, and nobody sees it.
    Remove { vendor: VendorId, endpoint: EndpointId, at: Moment },
    /// A new secret; the one before signs too until then, and those before it until their own times. If `old_until` is over at `at`, all of
    /// them end. Condition: no more than [`OLD_SECRETS`] sign then.
    Rotate { vendor: VendorId, endpoint: EndpointId, secret: Secret, at: Moment, old_until: Moment },
    /// What is on its way goes out, and events made from now on.
    Enable { vendor: VendorId, endpoint: EndpointId },
    /// An event that only tries the endpoint out, once. Condition: it is enabled.
    Test { vendor: VendorId, endpoint: EndpointId, event: EventId, at: Moment },
    /// An event once more, to one endpoint (condition: it is enabled) or to all that want it.
    Replay { vendor: VendorId, event: EventId, endpoint: Option<EndpointId>, at: Moment },
    /// These events, from [`Store::missed`], once more, except those that came through meanwhile; 1,000 at most. Condition: it is enabled.
    ReplayMissed { vendor: VendorId, endpoint: EndpointId, events: Vec<i64>, at: Moment },
    /// What became of a try.
    Attempted(Attempt),
    /// These deliveries, from [`Store::stale_deliveries`], are forgotten.
    Prune(Vec<(EndpointId, i64)>),
}

/// An event as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub id: EventId,
    /// `type`, `timestamp` and `data`, as sent.
    pub body: String,
}

/// An event on its way to an endpoint, or there, or given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub event: EventId,
    pub word: String,
    pub at: Moment,
    /// `pending`, `delivered` or `failed`.
    pub state: String,
    pub attempts: u32,
    pub next_at: Option<Moment>,
    pub last_at: Option<Moment>,
    pub status: Option<u16>,
    pub error: Option<String>,
}

/// An endpoint to which something is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub endpoint: EndpointId,
    pub url: String,
    /// All that sign now, the newest first.
    pub secrets: Vec<Secret>,
    /// What is due, the longest due first; of each lane one at most.
    pub due: Vec<Due>,
}

/// An event that is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    pub event: EventId,
    /// What must go one after the other.
    pub lane: String,
    /// Tries so far.
    pub attempts: u32,
    pub body: String,
}

/// What is on its way in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Deliveries that are pending at endpoints that are enabled.
    pub pending: u64,
    /// When the oldest event among them was made.
    pub oldest: Option<Moment>,
    /// Endpoints that are disabled.
    pub disabled: u64,
}

const ENDPOINT: &str =
    "SELECT id, vendor, url, description, words, secret, old_secret, old_secret_until, created_at, disabled_at, disabled_why,
    last_success_at, failing_since, last_error, last_error_at,
    (SELECT count(*) FROM delivery WHERE endpoint = id AND state = 'pending') FROM webhook_endpoint";

impl Store {
    /// A vendor's endpoints, oldest first.
    pub fn endpoints(&self, vendor: VendorId) -> Result<Vec<Endpoint>, StoreError> {
        let reader = self.0.readers.take()?;
        let mut select = reader.prepare_cached(&format!("{ENDPOINT} WHERE vendor = ? AND deleted_at IS NULL ORDER BY id"))?;
        let endpoints = select.query_map([vendor.to_string()], endpoint)?;
        Ok(endpoints.map(|endpoint| with_older(&reader, endpoint?)).collect::<rusqlite::Result<_>>()?)
    }

    /// An endpoint of this vendor.
    pub fn endpoint(&self, vendor: VendorId, id: EndpointId) -> Result<Option<Endpoint>, StoreError> {
        let reader = self.0.readers.take()?;
        let mut select = reader.prepare_cached(&format!("{ENDPOINT} WHERE id = ? AND vendor = ? AND deleted_at IS NULL"))?;
        let endpoint = select.query_one([id.to_string(), vendor.to_string()], endpoint).optional()?;
        Ok(endpoint.map(|endpoint| with_older(&reader, endpoint)).transpose()?)
    }

    /// A vendor's events, oldest first; none if `after` is none of hers.
    pub fn events(&self, vendor: VendorId, page: Page<EventId>) -> Result<Option<Vec<Event>>, StoreError> {
        let reader = self.0.readers.take()?;
        let Some(after) = place(&reader, vendor, page.after, 0)? else { return Ok(None) };
        let mut select = reader.prepare_cached("SELECT id, body FROM event WHERE vendor = ? AND number > ? ORDER BY number LIMIT ?")?;
        let event = |row: &Row<'_>| Ok(Event { id: text(row, 0)?, body: row.get(1)? });
        let events = select.query_map(params![vendor.to_string(), after, page.limit], event)?;
        Ok(Some(events.collect::<rusqlite::Result<_>>()?))
    }

    /// What was and is on its way to an endpoint, newest first; none if `after` is no event of this vendor's.
    pub fn deliveries(&self, vendor: VendorId, endpoint: EndpointId, page: Page<EventId>) -> Result<Option<Vec<Delivery>>, StoreError> {
        let reader = self.0.readers.take()?;
        let Some(before) = place(&reader, vendor, page.after, i64::MAX)? else { return Ok(None) };
        let mut select = reader.prepare_cached(
            "SELECT id, word, at, state, attempts, next_at, last_at, status, error FROM delivery JOIN event ON number = delivery.event
             WHERE endpoint = ? AND vendor = ? AND delivery.event < ? ORDER BY delivery.event DESC LIMIT ?",
        )?;
        let rows = select.query_map(params![endpoint.to_string(), vendor.to_string(), before, page.limit], delivery)?;
        Ok(Some(rows.collect::<rusqlite::Result<_>>()?))
    }

    /// What is due at `now`, at most `limit` events for each endpoint.
    pub fn due(&self, now: Moment, limit: u32) -> Result<Vec<Target>, StoreError> {
        let reader = self.0.readers.take()?;
        Ok(due(&reader, now, limit)?)
    }

    /// When something is due next, after `now`.
    pub fn next_due(&self, now: Moment) -> Result<Option<Moment>, StoreError> {
        let reader = self.0.readers.take()?;
        Ok(next_due(&reader, now)?)
    }

    /// What an endpoint wants and never got, behind `after` or since it was made, for 30 days: 1,000 events at most, for
    /// [`WebhookWrite::ReplayMissed`], and whether there are more. None if `after` is no event of this vendor's.
    pub fn missed(
        &self,
        vendor: VendorId,
        endpoint: EndpointId,
        after: Option<EventId>,
        now: Moment,
    ) -> Result<Option<(Vec<i64>, bool)>, StoreError> {
        let reader = self.0.readers.take()?;
        let Some(after) = place(&reader, vendor, after, 0)? else { return Ok(None) };
        let mut missed = outbox::missed(&reader, &vendor.to_string(), &endpoint.to_string(), after, now)?;
        let more = missed.len() > outbox::REPLAY_MOST as usize;
        missed.truncate(outbox::REPLAY_MOST as usize);
        Ok(Some((missed, more)))
    }

    /// Why nothing is sent to an endpoint, whoever's it is.
    pub fn disabled(&self, endpoint: EndpointId) -> Result<Option<Disabled>, StoreError> {
        let reader = self.0.readers.take()?;
        let mut select = reader.prepare_cached("SELECT disabled_why FROM webhook_endpoint WHERE id = ? AND disabled_at IS NOT NULL")?;
        let why = select.query_one([endpoint.to_string()], |row| row.get::<_, String>(0)).optional()?;
        Ok(why.map(|why| disabled_of(&why)))
    }

    /// Deliveries to be forgotten, `limit` at most: of deleted endpoints, and those over for 30 days. Empty also if a deleted endpoint
    /// without deliveries is all there is.
    pub fn stale_deliveries(&self, now: Moment, limit: u32) -> Result<Vec<(EndpointId, i64)>, StoreError> {
        let reader = self.0.readers.take()?;
        let mut endpoints = reader.prepare_cached("SELECT id, deleted_at IS NOT NULL FROM webhook_endpoint")?;
        let endpoints = endpoints.query_map([], |row| Ok((text::<EndpointId>(row, 0)?, row.get(1)?)))?;
        // Only the oldest are looked at, so that this costs little; what is pending among them is passed over.
        let mut oldest = reader.prepare_cached(
            "SELECT number FROM (SELECT event AS number, state FROM delivery WHERE endpoint = ?1 ORDER BY event LIMIT ?4)
             JOIN event USING (number) WHERE ?2 OR (state <> 'pending' AND at < ?3)",
        )?;
        let mut stale = Vec::new();
        for endpoint in endpoints {
            let (endpoint, deleted): (EndpointId, bool) = endpoint?;
            let cut = (now - outbox::KEPT).unix_ms();
            let rows = oldest.query_map(params![endpoint.to_string(), deleted, cut, limit], |row| row.get::<_, i64>(0))?;
            for event in rows {
                stale.push((endpoint, event?));
            }
        }
        stale.truncate(limit as usize);
        Ok(stale)
    }

    /// What is on its way in all, for figures.
    pub fn traffic(&self) -> Result<Traffic, StoreError> {
        let reader = self.0.readers.take()?;
        let mut select = reader.prepare_cached(
            "WITH waiting (count, first) AS (
                 SELECT count(*), min(delivery.event) FROM webhook_endpoint JOIN delivery ON endpoint = id AND state = 'pending'
                 WHERE disabled_at IS NULL AND deleted_at IS NULL)
             SELECT count, (SELECT at FROM event WHERE number = first),
             (SELECT count(*) FROM webhook_endpoint WHERE disabled_at IS NOT NULL AND deleted_at IS NULL) FROM waiting",
        )?;
        let traffic = |row: &Row<'_>| {
            let oldest = row.get::<_, Option<i64>>(1)?.map(Moment::from_unix_ms);
            Ok(Traffic { pending: count(row, 0)?, oldest, disabled: count(row, 2)? })
        };
        Ok(select.query_one([], traffic)?)
    }
}

/// See [`Store::due`].
pub(super) fn due(connection: &Connection, now: Moment, limit: u32) -> rusqlite::Result<Vec<Target>> {
    let mut endpoints = connection.prepare_cached(
        "SELECT id, url, secret, iif(old_secret_until > ?1, old_secret, NULL) FROM webhook_endpoint
         WHERE disabled_at IS NULL AND deleted_at IS NULL AND EXISTS (SELECT 1 FROM delivery WHERE endpoint = id AND next_at <= ?1) ORDER BY id",
    )?;
    let target = |row: &Row<'_>| {
        let secrets = [Some(row.get(2)?), row.get(3)?].into_iter().flatten().map(Secret).collect();
        Ok(Target { endpoint: text(row, 0)?, url: row.get(1)?, secrets, due: Vec::new() })
    };
    let mut targets = endpoints.query_map([now.unix_ms()], target)?.collect::<rusqlite::Result<Vec<_>>>()?;
    let mut select = connection.prepare_cached(
        "SELECT id, lane, attempts, body FROM delivery JOIN event ON number = delivery.event
         WHERE endpoint = ? AND next_at <= ? ORDER BY next_at, delivery.event LIMIT ?",
    )?;
    for target in &mut targets {
        let due = |row: &Row<'_>| Ok(Due { event: text(row, 0)?, lane: row.get(1)?, attempts: row.get(2)?, body: row.get(3)? });
        let rows = select.query_map(params![target.endpoint.to_string(), now.unix_ms(), limit], due)?;
        target.due = rows.collect::<rusqlite::Result<_>>()?;
        target.secrets.extend(outbox::secrets::older(connection, target.endpoint, Some(now))?.into_iter().map(|(secret, _)| secret));
    }
    Ok(targets)
}

/// See [`Store::next_due`].
pub(super) fn next_due(connection: &Connection, now: Moment) -> rusqlite::Result<Option<Moment>> {
    let mut select = connection.prepare_cached(
        "SELECT min((SELECT min(next_at) FROM delivery WHERE endpoint = id AND next_at > ?)) FROM webhook_endpoint
         WHERE disabled_at IS NULL AND deleted_at IS NULL",
    )?;
    Ok(select.query_one([now.unix_ms()], |row| row.get::<_, Option<i64>>(0))?.map(Moment::from_unix_ms))
}

fn count(row: &Row<'_>, index: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(index)?.unsigned_abs())
}

/// An event's number in the outbox; none if it is no event of this vendor's.
fn place(reader: &Connection, vendor: VendorId, event: Option<EventId>, without: i64) -> Result<Option<i64>, StoreError> {
    let Some(event) = event else { return Ok(Some(without)) };
    let mut select = reader.prepare_cached("SELECT number FROM event WHERE id = ? AND vendor = ?")?;
    Ok(select.query_one([event.to_string(), vendor.to_string()], |row| row.get(0)).optional()?)
}

fn maybe_moment(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<Moment>> {
    Ok(row.get::<_, Option<i64>>(index)?.map(Moment::from_unix_ms))
}

/// An endpoint with its older secrets too.
fn with_older(reader: &Connection, mut endpoint: Endpoint) -> rusqlite::Result<Endpoint> {
    endpoint.old_secrets.extend(outbox::secrets::older(reader, endpoint.id, None)?);
    Ok(endpoint)
}

fn endpoint(row: &Row<'_>) -> rusqlite::Result<Endpoint> {
    let words: Option<String> = row.get(4)?;
    let disabled_why = row.get::<_, Option<String>>(10)?.map(|why| disabled_of(&why));
    Ok(Endpoint {
        id: text(row, 0)?,
        vendor: text(row, 1)?,
        url: row.get(2)?,
        description: row.get(3)?,
        words: words.map(|words| words.split(' ').map(str::to_owned).collect()),
        secret: Secret(row.get(5)?),
        old_secrets: row.get::<_, Option<[u8; 32]>>(6)?.map(Secret).zip(maybe_moment(row, 7)?).into_iter().collect(),
        created_at: moment(row, 8)?,
        disabled: maybe_moment(row, 9)?.zip(disabled_why),
        last_success_at: maybe_moment(row, 11)?,
        failing_since: maybe_moment(row, 12)?,
        last_error: maybe_moment(row, 14)?.zip(row.get(13)?),
        pending: count(row, 15)?,
    })
}

/// The table allows two words.
fn disabled_of(why: &str) -> Disabled {
    if why == Disabled::Gone.name() { Disabled::Gone } else { Disabled::Exhausted }
}

fn delivery(row: &Row<'_>) -> rusqlite::Result<Delivery> {
    Ok(Delivery {
        event: text(row, 0)?,
        word: row.get(1)?,
        at: moment(row, 2)?,
        state: row.get(3)?,
        attempts: row.get(4)?,
        next_at: maybe_moment(row, 5)?,
        last_at: maybe_moment(row, 6)?,
        status: row.get(7)?,
        error: row.get(8)?,
    })
}
