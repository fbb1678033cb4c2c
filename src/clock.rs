//! Instants and lengths of time, and the one place where lull reads a clock.
//!
//! A [`Moment`] counts from the Unix epoch but advances by the monotonic clock: [`Clock`] takes the wall
//! clock once, when it is made, and adds what the monotonic clock measured since. So a step of the wall
//! clock (NTP, a person) changes no duration and no bill of a running call. Rooms of floors 1 to 4 are
//! handed moments and never a `Clock`.
//!
//! The monotonic clock stands while the machine sleeps (clock_gettime(2), `CLOCK_MONOTONIC`). [`Watch`] notices that and steps
//! of the wall clock; moments jump over a sleep only when the owner of the calls says so ([`Clock::jump`]), so that no
//! timer fires for time that nobody lived through.

use nix::time::{ClockId, clock_gettime};
use std::fmt;
use std::ops::{Add, Sub};
use std::sync::atomic::{AtomicI64, Ordering};
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

/// By how much moments of this process have jumped: over the machine's sleeps, and to the wall clock when it was set.
static JUMPED_MS: AtomicI64 = AtomicI64::new(0);

/// The clock of a process: read by shells only. Copies agree with each other.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    wall_ms: i64,
    anchor: Instant,
    /// Milliseconds after the anchor, where a test turns the hands.
    #[cfg(test)]
    hand: Option<&'static AtomicI64>,
}

/// What the system's clocks said at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The wall clock.
    pub wall: Moment,
    /// Since some instant, without the machine's sleeps (`CLOCK_MONOTONIC`).
    pub awake: Span,
    /// The same with them (`CLOCK_BOOTTIME`).
    pub all: Span,
}

/// Compares the clocks with each other. Pure: it is fed with readings.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    base: Reading,
}

/// What a look at the clocks showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Noticed {
    /// The machine was asleep for so long.
    pub slept: Span,
    /// The wall clock was put forward by so much (backward: negative).
    pub stepped: Span,
}

/// A sleep that is shorter is none: the clocks are not read at the same instant.
const SHORTEST_SLEEP: Span = Span::from_ms(500);

/// A step of the wall clock that matters (charging.md section 6: more than 2 s).
const SMALLEST_STEP: Span = Span::from_s(2);

impl Watch {
    /// From this reading on.
    pub const fn new(base: Reading) -> Self {
        Self { base }
    }

    /// What happened since the last look that noticed something.
    pub fn look(&mut self, now: Reading) -> Noticed {
        let all = now.all - self.base.all;
        let slept = all - (now.awake - self.base.awake);
        let stepped = Span(now.wall.0 - self.base.wall.0) - all;
        let noticed = Noticed {
            slept: if slept >= SHORTEST_SLEEP { slept } else { Span::ZERO },
            stepped: if stepped.0.abs() > SMALLEST_STEP.0 { stepped } else { Span::ZERO },
        };
        if noticed != Noticed::default() {
            self.base = now;
        }
        noticed
    }
}

impl Clock {
    /// Anchors the wall clock to the monotonic one, now.
    #[allow(clippy::disallowed_methods)] // this is the one place that reads clocks
    pub fn start() -> Self {
        Self {
            wall_ms: wall_ms() - JUMPED_MS.load(Ordering::Relaxed),
            anchor: Instant::now(),
            #[cfg(test)]
            hand: None,
        }
    }

    /// A clock that stands, and its hand: so many milliseconds have passed.
    #[cfg(test)]
    pub(crate) fn by_hand() -> (Self, &'static AtomicI64) {
        let hand: &'static AtomicI64 = Box::leak(Box::default());
        (Self { hand: Some(hand), ..Self::start() }, hand)
    }

    /// The same, but no moment of it is before `last`: facts are in order of time also when the wall clock was put back.
    pub fn start_after(last: Option<Moment>) -> Self {
        let clock = Self::start();
        let behind = last.map_or(0, |last| (last.0 - clock.now().0).max(0));
        Self { wall_ms: clock.wall_ms + behind, ..clock }
    }

    /// What the system's clocks say.
    pub fn read() -> Reading {
        // Refused only for a clock that the kernel does not have; then nothing is ever noticed.
        let read = |id| clock_gettime(id).map_or(Span::ZERO, |time| Span(time.tv_sec() * 1000 + time.tv_nsec() / 1_000_000));
        Reading { wall: Moment(wall_ms()), awake: read(ClockId::CLOCK_MONOTONIC), all: read(ClockId::CLOCK_BOOTTIME) }
    }

    /// Lets the moments of this process jump over a sleep of the machine: all copies of the clock at once.
    pub fn jump(&self, slept: Span) {
        JUMPED_MS.fetch_add(slept.0.max(0), Ordering::Relaxed);
    }

    /// Takes the wall clock anew if it was set by more than 2 s; says by how much. Only for a moment at which no call is open: moments may
    /// go back.
    pub fn anchor_anew(&self) -> Span {
        let off = Span(wall_ms() - self.now().0);
        if off.0.abs() <= SMALLEST_STEP.0 {
            return Span::ZERO;
        }
        JUMPED_MS.fetch_add(off.0, Ordering::Relaxed);
        off
    }

    /// The present moment.
    #[allow(clippy::disallowed_methods)] // as above
    pub fn now(&self) -> Moment {
        #[cfg(test)]
        if let Some(hand) = self.hand {
            return self.at(self.anchor + Duration::from_millis(hand.load(Ordering::Relaxed).unsigned_abs()));
        }
        self.at(Instant::now())
    }

    /// The moment of a reading of the monotonic clock.
    pub fn at(&self, instant: Instant) -> Moment {
        let ms = instant.saturating_duration_since(self.anchor).as_millis();
        Moment(self.wall_ms + JUMPED_MS.load(Ordering::Relaxed) + i64::try_from(ms).unwrap_or(i64::MAX / 2))
    }

    /// The reading of the monotonic clock that belongs to a moment, for timers; a past moment gives a past instant.
    pub fn instant(&self, moment: Moment) -> Instant {
        let offset = moment.0 - self.wall_ms - JUMPED_MS.load(Ordering::Relaxed);
        let length = Duration::from_millis(offset.unsigned_abs());
        let instant = if offset >= 0 { self.anchor.checked_add(length) } else { self.anchor.checked_sub(length) };
        instant.unwrap_or(self.anchor)
    }
}

#[allow(clippy::disallowed_methods)] // as above
fn wall_ms() -> i64 {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(wall.as_millis()).unwrap_or(i64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(wall: i64, awake: i64, all: i64) -> Reading {
        Reading { wall: Moment(1_000_000 + wall), awake: Span(awake), all: Span(all) }
    }

    #[test]
    fn a_clock_that_runs_is_nothing_to_notice() {
        let mut watch = Watch::new(reading(0, 0, 500));
        assert_eq!(watch.look(reading(60_000, 60_000, 60_500)), Noticed::default());
        assert_eq!(watch.look(reading(62_000, 60_001, 60_501)), Noticed::default(), "a step of less than 2 s");
    }

    #[test]
    fn steps_of_the_wall_clock_are_noticed_once_each_way() {
        let mut watch = Watch::new(reading(0, 0, 0));
        let stepped = |ms| Noticed { slept: Span::ZERO, stepped: Span(ms) };
        assert_eq!(watch.look(reading(3_601_000, 1000, 1000)), stepped(3_600_000));
        assert_eq!(watch.look(reading(3_602_000, 2000, 2000)), Noticed::default());
        assert_eq!(watch.look(reading(3000 - 86_400_000, 3000, 3000)), stepped(-90_000_000));
        // Small ones add up.
        assert_eq!(watch.look(reading(5500 - 86_400_000, 4000, 4000)), Noticed::default());
        assert_eq!(watch.look(reading(8000 - 86_400_000, 5000, 5000)), stepped(3000));
    }

    #[test]
    fn a_sleep_is_no_step_and_a_step_no_sleep() {
        let mut watch = Watch::new(reading(0, 0, 0));
        let slept = Noticed { slept: Span(28_800_000), stepped: Span::ZERO };
        assert_eq!(watch.look(reading(28_801_000, 1000, 28_801_000)), slept);
        let both = Noticed { slept: Span(10_000), stepped: Span(-5000) };
        assert_eq!(watch.look(reading(28_807_000, 2000, 28_812_000)), both);
    }

    #[test]
    fn moments_do_not_begin_before_the_last_one_known() {
        let ahead = Clock::start().now() + Span::from_s(3600);
        let clock = Clock::start_after(Some(ahead));
        assert!(clock.now() >= ahead);
        assert!(clock.now().since(ahead) < Span::from_s(60));
        let behind = Clock::start().now() - Span::from_s(3600);
        assert!(Clock::start_after(Some(behind)).now().since(behind) >= Span::from_s(3600));
    }

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
