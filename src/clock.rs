//! Instants and lengths of time, and the one place where lull reads a clock.
//!
//! A [`Moment`] counts from the Unix epoch but advances by the monotonic clock: [`Clock`] takes the wall
//! clock once, when it is made, and adds what the monotonic clock measured since. So a step of the wall
//! clock (NTP, a person) changes no duration and no bill of a running call. Rooms of floors 1 to 4 are
//! handed moments and never a `Clock`.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// An instant in milliseconds since the Unix epoch (UTC).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(i64);

/// A length of time in whole milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(i64);

impl Moment {
    /// The instant `ms` milliseconds after the Unix epoch.
    pub const fn from_unix_ms(ms: i64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn unix_ms(self) -> i64 {
        self.0
    }

    /// From `earlier` to here; zero if `earlier` is later.
    pub fn since(self, earlier: Moment) -> Span {
        Span((self.0 - earlier.0).max(0))
    }
}

/// RFC 3339 in UTC with milliseconds: `2026-03-10T12:00:00.000Z`.
impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(t) => write!(f, "{t:.3}"),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Span {
    /// No time at all.
    pub const ZERO: Span = Span(0);

    /// A length of whole milliseconds.
    pub const fn from_ms(ms: i64) -> Self {
        Self(ms)
    }

    /// A length of whole seconds.
    pub const fn from_s(s: i64) -> Self {
        Self(s * 1000)
    }

    /// Whole milliseconds.
    pub const fn ms(self) -> i64 {
        self.0
    }

    /// Whole seconds, the rest cut off.
    pub const fn whole_s(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// This less `other`, not below zero.
    pub fn saturating_sub(self, other: Span) -> Span {
        Span((self.0 - other.0).max(0))
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0)
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Duration {
        Duration::from_millis(span.0.max(0).unsigned_abs())
    }
}

impl Add<Span> for Moment {
    type Output = Moment;
    fn add(self, span: Span) -> Moment {
        Moment(self.0 + span.0)
    }
}

impl Sub<Span> for Moment {
    type Output = Moment;
    fn sub(self, span: Span) -> Moment {
        Moment(self.0 - span.0)
    }
}

impl Add for Span {
    type Output = Span;
    fn add(self, other: Span) -> Span {
        Span(self.0 + other.0)
    }
}

impl Sub for Span {
    type Output = Span;
    fn sub(self, other: Span) -> Span {
        Span(self.0 - other.0)
    }
}

/// The clock of a process: read by shells only. Copies agree with each other.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    wall_ms: i64,
    anchor: Instant,
}

impl Clock {
    /// Anchors the wall clock to the monotonic one, now.
    #[allow(clippy::disallowed_methods)] // this is the one place that reads clocks
    pub fn start() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { wall_ms: i64::try_from(wall.as_millis()).unwrap_or(i64::MAX), anchor: Instant::now() }
    }

    /// The present moment.
    #[allow(clippy::disallowed_methods)] // as above
    pub fn now(&self) -> Moment {
        self.at(Instant::now())
    }

    /// The moment of a reading of the monotonic clock.
    pub fn at(&self, instant: Instant) -> Moment {
        let ms = instant.saturating_duration_since(self.anchor).as_millis();
        Moment(self.wall_ms + i64::try_from(ms).unwrap_or(i64::MAX))
    }

    /// The reading of the monotonic clock that belongs to a moment, for timers; a past moment gives a past instant.
    pub fn instant(&self, moment: Moment) -> Instant {
        let offset = moment.0 - self.wall_ms;
        let length = Duration::from_millis(offset.unsigned_abs());
        let instant = if offset >= 0 { self.anchor.checked_add(length) } else { self.anchor.checked_sub(length) };
        instant.unwrap_or(self.anchor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_shows_as_rfc_3339_with_milliseconds() {
        assert_eq!(Moment::from_unix_ms(1_773_144_000_000).to_string(), "2026-03-10T12:00:00.000Z");
    }

    #[test]
    fn moments_and_instants_convert_both_ways() {
        let clock = Clock::start();
        let moment = clock.now() + Span::from_s(5);
        assert_eq!(clock.at(clock.instant(moment)), moment);
    }
}
