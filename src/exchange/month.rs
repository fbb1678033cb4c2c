//! A month of a calendar in a time zone as two instants.

use crate::clock::Moment;
use jiff::civil::Date;
use jiff::tz::{TimeZone, TimeZoneDatabase};

/// Why a text is no month.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MonthError {
    /// Not a month.
    #[error("a month is written like 2026-11")]
    Month,
    /// Not a zone of the bundled database.
    #[error("a time zone is an IANA name like Asia/Shanghai")]
    Zone,
}

/// From the first instant of a month (`2026-11`) in a zone (an IANA name) to the first of the next, which is not in it.
pub fn month(month: &str, zone: &str) -> Result<(Moment, Moment), MonthError> {
    let zone = match zone {
        "UTC" => TimeZone::UTC,
        name => TimeZoneDatabase::bundled().get(name).map_err(|_| MonthError::Zone)?,
    };
    let (year, number) = month.split_once('-').filter(|(year, number)| (year.len(), number.len()) == (4, 2)).ok_or(MonthError::Month)?;
    if !month.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
        return Err(MonthError::Month);
    }
    let (year, number) = (year.parse().map_err(|_| MonthError::Month)?, number.parse().map_err(|_| MonthError::Month)?);
    let first = Date::new(year, number, 1).map_err(|_| MonthError::Month)?;
    let next = first.last_of_month().tomorrow().map_err(|_| MonthError::Month)?;
    // Where a zone skips midnight, the day begins with what comes after it.
    let begins = |date: Date| date.to_zoned(zone.clone()).map(|zoned| Moment::from_unix_ms(zoned.timestamp().as_millisecond()));
    Ok((begins(first).map_err(|_| MonthError::Month)?, begins(next).map_err(|_| MonthError::Month)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_that_of_its_zone() {
        let shown = |text, zone| month(text, zone).map(|(from, to)| format!("{from} {to}"));
        assert_eq!(shown("2026-11", "UTC").unwrap(), "2026-11-01T00:00:00.000Z 2026-12-01T00:00:00.000Z");
        assert_eq!(shown("2026-12", "Asia/Shanghai").unwrap(), "2026-11-30T16:00:00.000Z 2026-12-31T16:00:00.000Z");
        // Summer time ends on the first day of November 2026 in New York, after midnight.
        assert_eq!(shown("2026-11", "America/New_York").unwrap(), "2026-11-01T04:00:00.000Z 2026-12-01T05:00:00.000Z");
        assert_eq!(shown("2028-02", "UTC").unwrap(), "2028-02-01T00:00:00.000Z 2028-03-01T00:00:00.000Z");
    }

    #[test]
    fn what_is_no_month_or_zone_is_refused() {
        for text in
            ["", "2026", "2026-13", "2026-00", "26-11", "2026-1", "2026-11-01", "-026-11", "+026-11", "2026-1x", "２０２６-11", "9999-12"]
        {
            assert_eq!(month(text, "UTC"), Err(MonthError::Month), "{text}");
        }
        for zone in ["", "Mars/Base", "../../etc/passwd", "GMT+25"] {
            assert_eq!(month("2026-11", zone), Err(MonthError::Zone), "{zone}");
        }
    }
}
