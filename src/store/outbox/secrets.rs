//! The secrets of an endpoint: replaced ones sign until their own time is over.
//!
//! A rotation whose answer was lost must not end a secret that a receiver still checks with: the next rotation leaves it its time.
//! Invariant: at most [`OLD_SECRETS`] replaced ones sign at a time.

use super::super::apply::Halt;
use super::super::row_hash::{self, Table};
use super::super::webhooks::{OLD_SECRETS, Secret};
use super::super::{Refusal, rows};
use crate::clock::Moment;
use crate::ids::{EndpointId, VendorId};
use rusqlite::{Connection, OptionalExtension, Row, params};

/// Makes a secret the one in use. The one before signs until `old_until`; if that is over, none of the replaced ones signs any more.
pub(super) fn rotate(
    connection: &Connection,
    vendor: VendorId,
    endpoint: EndpointId,
    secret: Secret,
    at: Moment,
    old_until: Moment,
) -> Result<(), Halt> {
    let (id, vendor, ends_all) = (endpoint.to_string(), vendor.to_string(), old_until <= at);
    let mut select = connection
        .prepare_cached("SELECT old_secret, old_secret_until FROM webhook_endpoint WHERE id = ? AND vendor = ? AND deleted_at IS NULL")?;
    let old = |row: &Row<'_>| Ok(row.get::<_, Option<[u8; 32]>>(0)?.zip(row.get::<_, Option<i64>>(1)?));
    let old = select.query_one(params![id, vendor], old).optional()?.ok_or(Refusal::NoEndpoint)?;
    let mut over = connection.prepare_cached("DELETE FROM webhook_older_secret WHERE endpoint = ? AND (until_at <= ? OR ?)")?;
    over.execute(params![id, at.unix_ms(), ends_all])?;
    if let Some((secret, until)) = old
        && until > at.unix_ms()
        && !ends_all
    {
        let mut look = connection
            .prepare_cached("SELECT count(*), min(until_at), coalesce(max(number), 0) + 1 FROM webhook_older_secret WHERE endpoint = ?")?;
        let row = |row: &Row<'_>| Ok((row.get::<_, u32>(0)?, row.get::<_, Option<i64>>(1)?, row.get::<_, i64>(2)?));
        let (count, first, number) = look.query_one([&id], row)?;
        // Beside those: the one replaced before, and the one that is replaced now.
        if count + 2 > OLD_SECRETS {
            let until = Moment::from_unix_ms(first.unwrap_or(until).min(until));
            return Err(Refusal::TooManySecrets { until }.into());
        }
        let mut insert =
            connection.prepare_cached("INSERT INTO webhook_older_secret (endpoint, number, secret, until_at) VALUES (?, ?, ?, ?)")?;
        insert.execute(params![id, number, secret, until])?;
        row_hash::keep(connection, Table::OlderSecret, &[&id, &number])?;
    }
    let mut rotate =
        connection.prepare_cached("UPDATE webhook_endpoint SET old_secret = secret, old_secret_until = ?, secret = ? WHERE id = ?")?;
    let Secret(secret) = secret;
    rotate.execute(params![old_until.unix_ms(), secret, id])?;
    Ok(())
}

/// Forgets the older secrets of an endpoint that goes.
pub(super) fn forget(connection: &Connection, endpoint: EndpointId) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM webhook_older_secret WHERE endpoint = ?")?.execute([endpoint.to_string()])?;
    Ok(())
}

/// The older secrets of an endpoint that sign after a moment (none: all that are kept), and until when, the newest first.
pub(in crate::store) fn older(
    connection: &Connection,
    endpoint: EndpointId,
    after: Option<Moment>,
) -> rusqlite::Result<Vec<(Secret, Moment)>> {
    let mut select = connection
        .prepare_cached("SELECT secret, until_at FROM webhook_older_secret WHERE endpoint = ? AND until_at > ? ORDER BY number DESC")?;
    let after = after.map_or(i64::MIN, Moment::unix_ms);
    let older = select.query_map(params![endpoint.to_string(), after], |row| Ok((Secret(row.get(0)?), rows::moment(row, 1)?)))?;
    older.collect()
}
