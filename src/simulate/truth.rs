//! What was truly delivered, as only the simulation can know: when each side's packets reached a server that was there.
//!
//! In true time, which no clock of the server has. One rule of the trade is in it: a silence that is over before it is a loss (the
//! media timeout) is part of talking. Invariant: what a call is charged for is never longer than this, and what nothing came in the way
//! of is delivered in full.

use crate::call::Side;
use crate::clock::{Moment, Span};

/// One side's packets.
#[derive(Clone, Debug, Default)]
struct Presence {
    since: Option<Moment>,
    /// They stopped, and it may be a short silence.
    silent: Option<Moment>,
    /// Nobody can know of a silence before it is so long.
    unnoticed: Span,
    spans: Vec<(Moment, Moment)>,
    /// What of the silence at hand was before the server slept: part of talking, if the silence is over before it is a loss.
    silences: Vec<(Moment, Moment)>,
}

/// Both sides' packets.
#[derive(Clone, Debug, Default)]
pub(super) struct Truth {
    sides: [Presence; 2],
    /// When the meter began to run.
    from: Option<Moment>,
    /// Something was in the way, if only for a moment.
    was_broken: bool,
}

impl Presence {
    fn comes(&mut self, at: Moment, patience: Span) {
        if let Some(silent) = self.silent
            && at.since(silent) >= patience
        {
            self.close(at);
        }
        self.spans.append(&mut self.silences);
        self.silent = None;
        self.since.get_or_insert(at);
    }

    fn stops(&mut self, at: Moment, unnoticed: Span) {
        if self.since.is_some() {
            self.silent.get_or_insert(at);
            self.unnoticed = unnoticed;
        }
    }

    /// Until when they were there, as far as anybody can know at `at`.
    fn until(&self, at: Moment) -> Moment {
        self.silent.filter(|silent| at.since(*silent) >= self.unnoticed).unwrap_or(at)
    }

    fn close(&mut self, at: Moment) {
        if let Some(since) = self.since.take() {
            let to = self.until(at).min(at);
            if since < to {
                self.spans.push((since, to));
            }
        }
        self.silent = None;
        self.silences.clear();
    }

    /// The server sleeps. For its clock a silence goes on as if nothing had happened.
    fn sleep(&mut self, from: Moment, to: Moment) {
        let Some(since) = self.since else { return };
        let (silent, mut silences) = (self.silent, std::mem::take(&mut self.silences));
        if let Some(silent) = silent
            && self.until(from) < from
        {
            silences.push((silent.max(since), from));
        }
        self.close(from);
        (self.since, self.silences) = (Some(to), silences);
        self.silent = silent.map(|silent| silent + to.since(from));
    }
}

impl Truth {
    /// Packets of a side arrive from now on; a silence of less than `patience` did not count.
    pub(super) fn comes(&mut self, side: Side, at: Moment, patience: Span) {
        self.sides[side as usize].comes(at, patience);
    }

    /// Packets of a side stop; a silence of less than `unnoticed` is like none to everybody.
    pub(super) fn stops(&mut self, side: Side, at: Moment, unnoticed: Span) {
        self.was_broken = true;
        self.sides[side as usize].stops(at, unnoticed);
    }

    /// A side says that it goes: its silence is a loss at once.
    pub(super) fn leaves(&mut self, side: Side) {
        let side = &mut self.sides[side as usize];
        if let Some(silent) = side.silent {
            side.unnoticed = Span::ZERO;
            side.close(silent);
        }
    }

    /// Nothing is forwarded any more: the call ended, or the server is gone.
    pub(super) fn cut(&mut self, at: Moment) {
        self.was_broken = true;
        self.sides.iter_mut().for_each(|side| side.close(at));
    }

    /// The server slept from `from` to `to`: what came then was lost, and nobody noticed.
    pub(super) fn sleep(&mut self, from: Moment, to: Moment) {
        self.was_broken = true;
        self.sides.iter_mut().for_each(|side| side.sleep(from, to));
    }

    /// Both were there from the first packet to the last, and so was the server.
    pub(super) fn is_whole(&self) -> bool {
        !self.was_broken && self.sides.iter().all(|side| side.since.is_some())
    }

    /// The meter began to run.
    pub(super) fn begins(&mut self, at: Moment) {
        self.from.get_or_insert(at);
    }

    /// How long both were there since the meter began, up to now or the end.
    pub(super) fn delivered(&self, now: Moment) -> Span {
        let Some(from) = self.from else { return Span::ZERO };
        let [client, companion] = self.sides.each_ref().map(|side| {
            let open = side.since.map(|since| (since, side.until(now).min(now)));
            side.spans.iter().copied().chain(open)
        });
        let mut sum = Span::ZERO;
        let (mut client, mut companion) = (client.peekable(), companion.peekable());
        while let (Some((a_from, a_to)), Some((b_from, b_to))) = (client.peek().copied(), companion.peek().copied()) {
            sum = sum + a_to.min(b_to).since(a_from.max(b_from).max(from));
            if a_to <= b_to {
                client.next();
            } else {
                companion.next();
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: i64) -> Moment {
        Moment::from_unix_ms(s * 1000)
    }

    #[test]
    fn only_what_both_sides_had_is_delivered() {
        let patience = Span::from_s(5);
        let mut truth = Truth::default();
        truth.comes(Side::Client, at(0), patience);
        truth.comes(Side::Companion, at(2), patience);
        truth.begins(at(3));
        assert_eq!(truth.delivered(at(10)), Span::from_s(7));
        truth.stops(Side::Client, at(10), Span::from_s(1));
        assert_eq!(truth.delivered(at(30)), Span::from_s(7), "a silence counts for nothing while it lasts");
        truth.comes(Side::Client, at(14), patience);
        assert_eq!(truth.delivered(at(20)), Span::from_s(17), "and for talking if it was short");
        truth.stops(Side::Companion, at(20), Span::from_s(1));
        truth.comes(Side::Companion, at(25), patience);
        assert_eq!(truth.delivered(at(26)), Span::from_s(18));
        truth.sleep(at(26), at(100));
        assert_eq!(truth.delivered(at(101)), Span::from_s(19));
        truth.cut(at(101));
        assert_eq!(truth.delivered(at(200)), Span::from_s(19));
    }

    #[test]
    fn a_short_silence_in_which_the_server_slept_is_part_of_talking() {
        let (patience, unnoticed) = (Span::from_s(5), Span::from_s(1));
        for (back_at, expected) in [(100, 10), (103, 6)] {
            let mut truth = Truth::default();
            truth.comes(Side::Client, at(0), patience);
            truth.comes(Side::Companion, at(0), patience);
            truth.begins(at(0));
            truth.stops(Side::Client, at(6), unnoticed);
            truth.sleep(at(8), at(60));
            truth.sleep(at(60), at(98));
            assert_eq!(truth.delivered(at(98)), Span::from_s(6), "nobody knows yet");
            truth.comes(Side::Client, at(back_at), patience);
            assert_eq!(truth.delivered(at(back_at)), Span::from_s(expected));
        }
    }
}
