//! The rules once more, slow and literal: second by second, with the local time of each looked up by itself.
//!
//! Shares nothing with the engine but the words for plans and segments.

use super::super::{Rounding, Segment, SegmentKind, Settlement};
use crate::clock::Span;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A plan by windows of minutes of the day.
#[derive(Clone, Debug)]
pub(super) struct Sold {
    pub(super) zone: String,
    /// Label, first minute, minute after the last (both below 1,440, may cross midnight), rate.
    pub(super) windows: Vec<(String, u32, u32, i64)>,
    pub(super) first_s: i64,
    pub(super) later_s: i64,
    pub(super) cap_s: Option<i64>,
    pub(super) cap: Option<i64>,
    pub(super) grace_s: i64,
    pub(super) minimum: i64,
    pub(super) rounding: Rounding,
}

/// What a bill says: billed seconds, lines (label, quantity, amount) and the charge.
pub(super) type Said = (i64, Vec<(String, i64, i64)>, i64);

/// The instants, in milliseconds, at which the billable seconds begin.
fn seconds(segments: &[Segment], grace_s: i64) -> Vec<i64> {
    let spans: Vec<(i64, i64)> = segments
        .iter()
        .filter(|segment| segment.kind == SegmentKind::Delivered)
        .map(|segment| (segment.from.unix_ms(), segment.to.unix_ms()))
        .collect();
    let whole_s = spans.iter().map(|(from, to)| to - from).sum::<i64>() / 1000;
    let (mut found, mut spans) = (Vec::new(), spans.into_iter());
    let (mut from, mut to) = (0, 0);
    let mut left_ms = 0; // Until the next second begins, from `from` on.
    for second in 0..whole_s {
        while from + left_ms >= to {
            left_ms -= to - from;
            (from, to) = spans.next().unwrap();
        }
        from += left_ms;
        left_ms = 1000;
        if second >= grace_s {
            found.push(from);
        }
    }
    found
}

impl Sold {
    fn window(&self, zone: &TimeZone, at_ms: i64) -> &(String, u32, u32, i64) {
        let time = Timestamp::from_millisecond(at_ms).unwrap().to_zoned(zone.clone()).time();
        let minute = u32::try_from(time.hour()).unwrap() * 60 + u32::try_from(time.minute()).unwrap();
        let holds = |(_, start, end, _): &&(String, u32, u32, i64)| {
            if start < end { (start..end).contains(&&minute) } else { minute >= *start || minute < *end }
        };
        let mut all = self.windows.iter().filter(holds);
        let found = all.next().expect("a gap");
        assert!(all.next().is_none(), "an overlap");
        found
    }

    /// Settled exactly, where what comes after all paid time was a gift: no more counts than what whole increments paid for.
    pub(super) fn rate_paid(&self, held: i64, segments: &[Segment]) -> Said {
        let (paid_s, _, _) = self.rate(Settlement::AsRated, held, segments);
        let mut left_ms = (self.grace_s + paid_s) * 1000;
        let mut paid = Vec::new();
        for segment in segments.iter().filter(|segment| segment.kind == SegmentKind::Delivered) {
            let ms = left_ms.min(segment.to.unix_ms() - segment.from.unix_ms());
            paid.push(Segment { to: segment.from + Span::from_ms(ms), ..*segment });
            left_ms -= ms;
        }
        self.rate(Settlement::ExactDelivered, held, &paid)
    }

    pub(super) fn rate(&self, settlement: Settlement, held: i64, segments: &[Segment]) -> Said {
        if settlement == Settlement::Free {
            return (0, Vec::new(), 0);
        }
        let zone = TimeZone::get(&self.zone).unwrap();
        let limit = held.min(self.cap.unwrap_or(i64::MAX));
        let exactly = settlement == Settlement::ExactDelivered;
        let seconds = seconds(segments, self.grace_s);
        let (mut billed_s, mut sixtieths) = (0, 0i128);
        let mut lines: Vec<(String, i64, i128)> = Vec::new();
        let mut next = 0;
        while let Some(at_ms) = seconds.get(next) {
            let length = match (exactly, next) {
                (true, _) => 1,
                (false, 0) => self.first_s,
                (false, _) => self.later_s,
            };
            let (label, _, _, rate) = self.window(&zone, *at_ms);
            let cost = i128::from(*rate) * i128::from(length);
            if sixtieths + cost > i128::from(limit) * 60 || self.cap_s.is_some_and(|cap| billed_s + length > cap) {
                break;
            }
            sixtieths += cost;
            billed_s += length;
            next += usize::try_from(length).unwrap();
            match lines.iter_mut().find(|(known, _, _)| known == label) {
                Some(line) => {
                    line.1 += length;
                    line.2 += cost;
                }
                None => lines.push((label.clone(), length, cost)),
            }
        }
        let floor = sixtieths / 60;
        let twice = (sixtieths % 60) * 2;
        let up = match self.rounding {
            _ if exactly => false,
            Rounding::Down => false,
            Rounding::HalfUp => twice >= 60,
            Rounding::HalfEven => twice > 60 || (twice == 60 && floor % 2 == 1),
        };
        let mut charge = i64::try_from(floor).unwrap() + i64::from(up);
        let mut amounts: Vec<(String, i64, i64)> =
            lines.iter().map(|(label, quantity, cost)| (label.clone(), *quantity, i64::try_from(cost / 60).unwrap())).collect();
        let mut spare = charge - amounts.iter().map(|line| line.2).sum::<i64>();
        let mut had = vec![false; amounts.len()];
        while spare > 0 {
            let mut best: Option<usize> = None;
            for (place, (_, _, cost)) in lines.iter().enumerate() {
                if !had[place] && best.is_none_or(|best| cost % 60 > lines[best].2 % 60) {
                    best = Some(place);
                }
            }
            let best = best.expect("no line left for a spare unit");
            had[best] = true;
            amounts[best].2 += 1;
            spare -= 1;
        }
        let minimum = self.minimum.min(limit);
        if !exactly && !seconds.is_empty() && charge < minimum {
            amounts.push(("minimum".to_owned(), 1, minimum - charge));
            charge = minimum;
        }
        (billed_s, amounts, charge)
    }
}
