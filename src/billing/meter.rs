//! Delivered time: from the marks a call leaves to the segments on its record.
//!
//! Time is delivered from a start or a resumption to the next pause or the end. It refuses to guess: what lies behind the last
//! mark is not delivered.

use crate::clock::{Moment, Span};

/// Who is away in a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The client.
    Client,
    /// The companion.
    Companion,
    /// Both at once, so most likely the server's own network.
    Platform,
}

/// What happened to the meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// It ran, for the first time or after a pause.
    Ran { at: Moment },
    /// It stood. Within a pause: the cause changed at `since`; not later than the pause's start, that start moves back.
    Stood { since: Moment, cause: Cause },
    /// It stood, because the client sleeps.
    Landed { at: Moment },
    /// The call ended.
    Ended { at: Moment },
}

/// What a stretch of a call was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentKind {
    /// Both sides were there.
    Delivered,
    /// At least one was away.
    Paused(Cause),
    /// Both were there, the client asleep: the companion's voice faded.
    Landing,
}

/// A stretch of a call in which one thing was so; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// What was so.
    pub kind: SegmentKind,
    /// Its first instant.
    pub from: Moment,
    /// The instant after it.
    pub to: Moment,
}

/// The segments that the marks give, in order of time, each beginning where the one before ends.
pub fn segments(marks: impl IntoIterator<Item = Mark>) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    // What is so since when, until the next mark.
    let mut open: Option<(SegmentKind, Moment)> = None;
    for mark in marks {
        let (at, next) = match mark {
            Mark::Ran { at } => (at, Some(SegmentKind::Delivered)),
            Mark::Stood { since, cause } => (since, Some(SegmentKind::Paused(cause))),
            Mark::Landed { at } => (at, Some(SegmentKind::Landing)),
            Mark::Ended { at } => (at, None),
        };
        if let Some((kind, from)) = open.take().filter(|(_, from)| *from < at) {
            segments.push(Segment { kind, from, to: at });
        }
        // A pause that began earlier than was known takes from the delivered time before it.
        while let Some(last) = segments.last_mut().filter(|last| last.to > at) {
            last.to = at;
            if last.from >= at {
                segments.pop();
            }
        }
        open = next.map(|kind| (kind, at));
    }
    segments
}

/// The sum of delivered segments.
pub fn delivered(segments: &[Segment]) -> Span {
    let spans = segments.iter().filter(|segment| segment.kind == SegmentKind::Delivered).map(|segment| segment.to.since(segment.from));
    spans.fold(Span::ZERO, |sum, span| sum + span)
}

/// The segments up to the instant at which so much time was delivered; all of them, if it was not.
pub(super) fn first(segments: &[Segment], length: Span) -> Vec<Segment> {
    let mut left = length;
    let mut kept = Vec::with_capacity(segments.len());
    for segment in segments {
        let mut segment = *segment;
        if segment.kind == SegmentKind::Delivered {
            segment.to = segment.to.min(segment.from + left);
            left = left.saturating_sub(segment.to.since(segment.from));
        }
        if segment.from < segment.to {
            kept.push(segment);
        }
        if left == Span::ZERO {
            break;
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: i64) -> Moment {
        Moment::from_unix_ms(s * 1000)
    }

    fn check(marks: &[Mark], expected: &str) {
        let shown: Vec<String> = segments(marks.iter().copied())
            .iter()
            .map(|segment| format!("{:?} {}-{}", segment.kind, segment.from.unix_ms() / 1000, segment.to.unix_ms() / 1000))
            .collect();
        assert_eq!(shown.join(", "), expected);
    }

    #[test]
    fn a_pause_is_not_delivered() {
        let marks = [
            Mark::Ran { at: at(0) },
            Mark::Stood { since: at(10), cause: Cause::Client },
            Mark::Ran { at: at(30) },
            Mark::Ended { at: at(50) },
        ];
        check(&marks, "Delivered 0-10, Paused(Client) 10-30, Delivered 30-50");
        assert_eq!(delivered(&segments(marks)), Span::from_s(30));
    }

    #[test]
    fn the_cause_of_a_pause_may_change() {
        let marks = [
            Mark::Ran { at: at(0) },
            Mark::Stood { since: at(10), cause: Cause::Client },
            Mark::Stood { since: at(40), cause: Cause::Companion },
            Mark::Ended { at: at(60) },
        ];
        check(&marks, "Delivered 0-10, Paused(Client) 10-40, Paused(Companion) 40-60");
    }

    #[test]
    fn a_side_reported_second_may_have_gone_first() {
        let marks = [
            Mark::Ran { at: at(0) },
            Mark::Stood { since: at(10), cause: Cause::Client },
            Mark::Stood { since: at(4), cause: Cause::Companion },
            Mark::Ended { at: at(60) },
        ];
        check(&marks, "Delivered 0-4, Paused(Companion) 4-60");
        let at_the_start = [
            Mark::Ran { at: at(0) },
            Mark::Stood { since: at(3), cause: Cause::Client },
            Mark::Stood { since: at(0), cause: Cause::Platform },
        ];
        check(&[&at_the_start[..], &[Mark::Ended { at: at(9) }]].concat(), "Paused(Platform) 0-9");
    }

    #[test]
    fn the_first_seconds_end_within_a_segment() {
        let marks = [
            Mark::Ran { at: at(0) },
            Mark::Stood { since: at(10), cause: Cause::Client },
            Mark::Ran { at: at(30) },
            Mark::Ended { at: at(50) },
        ];
        let all = segments(marks);
        for (length_s, end_s) in [(0, None), (4, Some(4)), (10, Some(10)), (11, Some(31)), (30, Some(50)), (31, Some(50))] {
            let kept = first(&all, Span::from_s(length_s));
            assert_eq!(kept.last().map(|last| last.to), end_s.map(at), "the first {length_s} s");
            assert_eq!(delivered(&kept), Span::from_s(length_s.min(30)));
        }
    }

    #[test]
    fn what_never_ran_delivers_nothing() {
        check(&[Mark::Ended { at: at(5) }], "");
        check(&[], "");
    }
}
