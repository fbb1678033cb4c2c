//! Values in and out of SQLite's columns, and SQLite's errors in our words.
//!
//! Ids, references and currencies are kept as the text they show as, so that a person with the file and `sqlite3` can read it.

use super::{StoreError, night_row, policy_row, sold_row};
use crate::billing::{self, Kind};
use crate::call::{Medium, Night, Policy, Sounds};
use crate::clock::Moment;
use crate::money::{Currency, Money};
use rusqlite::types::Type;
use rusqlite::{ErrorCode, Row, ffi};
use std::error::Error;
use std::str::FromStr;

/// Statements kept prepared for each connection: more than this room has.
pub(super) const STATEMENTS: usize = 160;

/// A column that holds a text of something.
pub(super) fn text<T>(row: &Row<'_>, index: usize) -> rusqlite::Result<T>
where
    T: FromStr<Err: Error + Send + Sync + 'static>,
{
    let text = row.get_ref(index)?.as_str()?;
    text.parse().map_err(|error| rusqlite::Error::FromSqlConversionFailure(index, Type::Text, Box::new(error)))
}

pub(super) fn moment(row: &Row<'_>, index: usize) -> rusqlite::Result<Moment> {
    row.get(index).map(Moment::from_unix_ms)
}

/// An amount and, in the next column, its currency.
pub(super) fn money(row: &Row<'_>, index: usize) -> rusqlite::Result<Money> {
    Ok(Money::new(row.get(index)?, text::<Currency>(row, index + 1)?))
}

/// What was sold, in this currency.
pub(super) fn sold(row: &Row<'_>, index: usize, currency: Currency) -> rusqlite::Result<billing::Plan> {
    let plan = sold_row::decode(row.get_ref(index)?.as_str()?, currency);
    plan.map_err(|error| rusqlite::Error::FromSqlConversionFailure(index, Type::Text, Box::new(error)))
}

/// How calls are settled.
pub(super) fn policy(row: &Row<'_>, index: usize) -> rusqlite::Result<Policy> {
    let policy = policy_row::decode(row.get_ref(index)?.as_str()?);
    policy.map_err(|error| rusqlite::Error::FromSqlConversionFailure(index, Type::Text, Box::new(error)))
}

/// How a plan's calls end at night and, in the next column, how they sound; what is customary for its kind, if it says neither.
pub(super) fn night(row: &Row<'_>, index: usize, kind: &Kind) -> rusqlite::Result<(Option<Night>, Sounds)> {
    let wrong = |error| rusqlite::Error::FromSqlConversionFailure(index, Type::Text, Box::new(error));
    let Some(sounds) = row.get_ref(index + 1)?.as_str_or_null()? else { return Ok((Night::customary(kind), Sounds::customary(kind))) };
    let night = row.get_ref(index)?.as_str_or_null()?.map(night_row::night).transpose().map_err(wrong)?;
    Ok((night, night_row::sounds(sounds).map_err(wrong)?))
}

pub(super) fn medium(row: &Row<'_>, index: usize) -> rusqlite::Result<Medium> {
    match row.get_ref(index)?.as_str()? {
        "audio" => Ok(Medium::Audio),
        "video" => Ok(Medium::Video),
        other => Err(rusqlite::Error::FromSqlConversionFailure(index, Type::Text, format!("no medium is called {other}").into())),
    }
}

pub(super) fn medium_word(medium: Medium) -> &'static str {
    match medium {
        Medium::Audio => "audio",
        Medium::Video => "video",
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let text = error.to_string();
        let Some(failure) = error.sqlite_error() else {
            // A column or row that is not there, or not of its type: a damaged file, mostly.
            return Self::Broken(format!("in the database is what lull does not write: {text}"));
        };
        match (failure.code, failure.extended_code) {
            // The index of the write-ahead log could not grow: on a full disk this comes before SQLITE_FULL.
            (ErrorCode::DiskFull, _) | (_, ffi::SQLITE_IOERR_SHMSIZE) => Self::Full,
            (ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked, _) => Self::Busy,
            (ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig | ErrorCode::Unknown, _) => Self::Broken(text),
            _ => Self::Database(text),
        }
    }
}
