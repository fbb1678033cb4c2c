//! Whether a shard takes one more call, and how much set-up work a turn may do.
//!
//! Rules without state of the world: what was measured and who is there are arguments. A call that was let in is never put out and its
//! legs may always come and come back; only calls that are new here are refused, before those that are here suffer.

use super::load::Figures;
use std::time::Duration;

/// Both parties will send: a call that is let in is expected to cost this many legs.
pub(crate) const LEGS_OF_A_CALL: usize = 2;
/// A closed gate opens when the load is this much below the limit, so that it does not flutter.
const REOPEN_BELOW: f64 = 0.87;
/// From this lateness of one packet in a hundred on a shard is too late for new calls; half of it opens the gate again.
const LATE: Duration = Duration::from_millis(5);
/// Lateness and losses of a shard with less work than this are not of its making (a machine that stood still), and turning calls away would
/// not cure them.
const OF_ITS_MAKING: f64 = 0.25;
/// What a leg costs is measured from this much work on; below, what a turn costs without packets would be taken for theirs.
const MEASURABLE: f64 = 0.1;
/// What a leg costs before it can be measured: 50 packets a second at 10 µs.
const USUAL_LEG: f64 = 0.0005;
/// Bounds of what is believed: 20 packets a second at 5 µs (silence), 1,000 at 10 µs (the best video both ways). Traffic of strangers is
/// work too, but not of the legs.
const LEAST_LEG: f64 = 0.0001;
const MOST_LEG: f64 = 0.01;

/// Set-up work that a turn may begin: one offer or one datagram of a handshake takes 0.2 to 0.5 ms.
const SETUP: Duration = Duration::from_micros(500);
/// From these latenesses on set-up waits for media, but not for ever: one piece is done when the last was so long ago. The first is what
/// set-up itself may cause, the second comes of too much media.
const BEHIND: [(Duration, Duration); 2] =
    [(Duration::from_millis(1), Duration::from_millis(2)), (Duration::from_millis(5), Duration::from_millis(20))];

/// Who is on a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Census {
    /// All calls, also those that are being left.
    pub(crate) calls: usize,
    /// Calls that go on.
    pub(crate) live: usize,
    /// Legs that have sent media for the whole time the figures look back on.
    pub(crate) sending: usize,
}

/// What the gate made of figures and census; shares of a core.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Outlook {
    /// The load when all who were let in are sending.
    pub(crate) load: f64,
    /// What a call adds.
    pub(crate) call_cost: f64,
    /// New calls there is room for; none when the gate is closed.
    pub(crate) room: usize,
}

/// Lets calls in.
pub(crate) struct Gate {
    limit: f64,
    most_calls: usize,
    closed: bool,
}

impl Gate {
    /// A gate for a load up to `limit` (a share of a core) and so many legs.
    pub(crate) fn new(limit: f64, max_legs: usize) -> Self {
        Self { limit, most_calls: max_legs / LEGS_OF_A_CALL, closed: false }
    }

    /// What it says of a shard that has nobody.
    pub(crate) fn outlook_at_rest(&self) -> Outlook {
        let mut untouched = Self { limit: self.limit, most_calls: self.most_calls, closed: false };
        untouched.judge(&Figures::default(), Census::default())
    }

    /// Looks at the shard, ten times a second and before each new call.
    pub(crate) fn judge(&mut self, figures: &Figures, census: Census) -> Outlook {
        let leg = leg_cost(figures, census.sending);
        let expected = (census.live * LEGS_OF_A_CALL).saturating_sub(census.sending);
        let load = figures.busy + expected as f64 * leg;
        let call_cost = leg * LEGS_OF_A_CALL as f64;
        let (full, late) = if self.closed { (self.limit * REOPEN_BELOW, LATE / 2) } else { (self.limit, LATE) };
        let suffers = figures.busy >= OF_ITS_MAKING && (figures.late_p99 > late || figures.kernel_drops > 0);
        self.closed = load + call_cost > full || suffers;
        let room = if self.closed { 0 } else { ((self.limit - load) / call_cost) as usize };
        Outlook { load, call_cost, room: room.min(self.most_calls.saturating_sub(census.calls)) }
    }
}

fn leg_cost(figures: &Figures, sending: usize) -> f64 {
    if figures.busy < MEASURABLE || sending == 0 {
        return USUAL_LEG;
    }
    (figures.busy / sending as f64).clamp(LEAST_LEG, MOST_LEG)
}

/// How long a turn may begin pieces of set-up work: joins, handshakes, farewells. At zero it does one; none means that media goes first.
pub(crate) fn setup_allowance(late: Duration, since_last: Duration) -> Option<Duration> {
    match BEHIND.iter().rev().find(|(from, _)| late >= *from) {
        None => Some(SETUP),
        Some((_, pause)) => (since_last >= *pause).then_some(Duration::ZERO),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(busy: f64, late_ms: u64, kernel_drops: u64) -> Figures {
        Figures { busy, late_p99: Duration::from_millis(late_ms), kernel_drops, ..Figures::default() }
    }

    fn census(live: usize, sending: usize) -> Census {
        Census { calls: live, live, sending }
    }

    #[test]
    fn a_call_is_let_in_while_all_who_were_let_in_fit() {
        for (busy, live, sending, takes) in [
            // Nobody there; everybody sends; the limit is reached by those who send.
            (0.0, 0, 0, true),
            (0.5, 500, 1000, true),
            (0.7499, 750, 1500, false),
            // The same work, but as many again were let in and are not heard yet.
            (0.4, 400, 800, true),
            (0.4, 700, 800, true),
            (0.4, 760, 800, false),
            // Nothing measured yet, and a rush: at the usual cost.
            (0.05, 740, 10, false),
            (0.0, 700, 0, true),
            (0.0, 750, 0, false),
            // Costly legs (video).
            (0.5, 50, 100, true),
            (0.5, 90, 100, false),
            // A few legs and a flood of strangers: legs are not thought to cost 10 % each.
            (0.4, 8, 4, true),
        ] {
            let outlook = Gate::new(0.75, 10_000).judge(&figures(busy, 0, 0), census(live, sending));
            assert_eq!(outlook.room > 0, takes, "busy {busy}, {live} calls, {sending} legs send: {outlook:?}");
        }
    }

    #[test]
    fn a_shard_that_suffers_under_its_work_takes_nobody() {
        for (busy, late_ms, drops, takes) in
            [(0.5, 5, 0, true), (0.5, 6, 0, false), (0.5, 0, 1, false), (0.1, 50, 0, true), (0.1, 0, 100, true), (0.25, 50, 0, false)]
        {
            let outlook = Gate::new(0.75, 10_000).judge(&figures(busy, late_ms, drops), census(100, 200));
            assert_eq!(outlook.room > 0, takes, "busy {busy}, {late_ms} ms late, {drops} dropped: {outlook:?}");
        }
    }

    #[test]
    fn a_closed_gate_opens_only_well_below_the_limit() {
        let mut gate = Gate::new(0.75, 10_000);
        let mut takes = |busy: f64, late_ms| {
            gate.judge(&figures(busy, late_ms, 0), census((busy * 1000.0) as usize, (busy * 2000.0) as usize)).room > 0
        };
        let seen = [(0.7, 0), (0.76, 0), (0.7, 0), (0.66, 0), (0.64, 0), (0.7, 0), (0.7, 6), (0.6, 4), (0.6, 2)]
            .map(|(busy, late)| takes(busy, late));
        assert_eq!(seen, [true, false, false, false, true, true, false, false, true]);
    }

    #[test]
    fn legs_are_bounded_whatever_they_cost() {
        let mut gate = Gate::new(0.75, 5);
        let rooms = [0, 1, 2, 3].map(|calls| gate.judge(&figures(0.0, 0, 0), Census { calls, live: 0, sending: 0 }).room);
        assert_eq!(rooms, [2, 1, 0, 0]);
    }

    #[test]
    fn set_up_waits_for_media_but_not_for_ever() {
        let us = Duration::from_micros;
        for (late, since, allowance) in [
            (us(0), us(0), Some(SETUP)),
            (us(999), us(0), Some(SETUP)),
            (us(1000), us(1999), None),
            (us(1000), us(2000), Some(Duration::ZERO)),
            (us(5000), us(19_999), None),
            (us(5000), us(20_000), Some(Duration::ZERO)),
            (us(100_000), us(20_000), Some(Duration::ZERO)),
        ] {
            assert_eq!(setup_allowance(late, since), allowance, "{late:?} late, {since:?} since the last");
        }
    }
}
