//! People on the line: they join, talk, lose their legs, come back, reload, buy, give, hang up, report, fall asleep. And what a media
//! plane sees of them, in its own order: connected, heard, faltering, lost, back.

use super::night::{Night, What};
use super::watch::Breach;
use crate::call::{Asker, Event, Notice, Quality, Side};
use crate::clock::{Moment, Span};
use crate::ids::{CallId, HoldId, LegId};
use crate::sleep::{Grounds, State, Verdict, Why};

/// A leg that sends sound is lost after this much silence; one that only listens after [`QUIET`].
const SILENCE: Span = Span::from_s(5);
const QUIET: Span = Span::from_s(15);
/// The media plane says so after this much.
const FALTER: Span = Span::from_s(1);

/// What the media plane says of a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum Life {
    #[default]
    Present,
    Faltering,
    Lost,
}

/// One person of a call.
#[derive(Clone, Debug, Default)]
pub(super) struct Person {
    /// Counts legs, so that what was meant for an earlier one is known.
    serial: u32,
    /// The leg that is up, or was last.
    leg: Option<LegId>,
    /// The leg her page offered last.
    joining: Option<LegId>,
    is_up: bool,
    has_sound: bool,
    was_reached: bool,
    silent_since: Option<Moment>,
    life: Life,
    listens_only: bool,
    /// She will not come any more.
    pub(super) is_gone: bool,
}

impl Person {
    /// The last proof of life of her leg, as the media plane has it.
    pub(super) fn seen(&self, now: Moment) -> Option<Moment> {
        self.is_up.then(|| self.silent_since.unwrap_or(now))
    }

    fn patience(&self) -> Span {
        if self.listens_only { QUIET } else { SILENCE }
    }
}

/// Both people of a call.
#[derive(Clone, Debug, Default)]
pub(super) struct Pair {
    pub(super) people: [Person; 2],
}

/// What a person, or her network, does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Her page offers a leg.
    Join,
    /// Its transport is up.
    Up {
        leg: LegId,
    },
    /// Its first sound arrives.
    Sound,
    /// Packets stop for so long; none: for ever.
    Stop {
        away: Option<Span>,
    },
    /// They arrive again.
    Go,
    /// The media plane looks whether they do.
    Look,
    /// The page is loaded again: its leg goes, with or without a word.
    Reload {
        is_said: bool,
    },
    /// Another drop is due.
    Trouble,
    /// She buys time by a tap, on this hold; a second one is the same tap.
    Buy {
        hold: HoldId,
    },
    /// She gives time away.
    Give {
        length: Span,
    },
    HangUp,
    Report,
    /// The ear makes something of her, late now and then.
    Doze,
    /// She speaks or taps, or her companion says what she thinks.
    Stir,
}

type Done = Result<(), Breach>;

impl Night<'_> {
    /// Both people hear that there is a call.
    pub(super) fn invite(&mut self, line: usize) {
        let mut pair = Pair::default();
        pair.people[0].listens_only = self.dice.in_1000(120);
        self.lines[line].pair = pair;
        for side in Side::ALL {
            if self.dice.in_1000(15) {
                self.lines[line].pair.people[*side as usize].is_gone = true; // No-show.
                continue;
            }
            let after = self.dice.about(Span::from_s(15));
            self.act_in(after, line, *side, Act::Join);
        }
    }

    pub(super) fn act_in(&mut self, after: Span, line: usize, side: Side, act: Act) {
        let (turn, serial) = (self.lines[line].turn, self.lines[line].pair.people[side as usize].serial);
        self.plan(after, What::Act { line, turn, side, serial, act });
    }

    fn person(&mut self, line: usize, side: Side) -> &mut Person {
        &mut self.lines[line].pair.people[side as usize]
    }

    pub(super) fn act(&mut self, line: usize, turn: u32, side: Side, serial: u32, act: Act) -> Done {
        if self.lines[line].turn != turn || self.lines[line].is_over {
            return Ok(());
        }
        let Some(call) = self.lines[line].call else { return Ok(()) };
        if let Some(until) = self.asleep_until {
            let after = until.since(self.now) + self.dice.ms(1, 300);
            self.plan(after, What::Act { line, turn, side, serial, act });
            return Ok(());
        }
        if !self.is_serving() {
            // Nobody is there to hear it: pages try again, packets fall into nothing.
            if matches!(act, Act::Join | Act::HangUp | Act::Report | Act::Buy { .. } | Act::Give { .. }) {
                let after = self.dice.ms(1000, 5000);
                self.act_in(after, line, side, act);
            }
            return Ok(());
        }
        // What was meant for an earlier leg is of no use to this one.
        let is_of_leg = matches!(act, Act::Sound | Act::Stop { .. } | Act::Go | Act::Look | Act::Reload { .. } | Act::Trouble);
        if is_of_leg && self.person(line, side).serial != serial {
            return Ok(());
        }
        match act {
            Act::Join => self.join(line, side, call),
            Act::Up { leg } => self.comes_up(line, side, call, leg),
            Act::Sound => {
                self.person(line, side).has_sound = true;
                let quality = Quality { packets: self.dice.below(1_000_000), lost_bp: 3, rtt_ms: Some(40) };
                self.core(call, Event::Measured { side, quality })?;
                self.reach(line, call)
            }
            Act::Stop { away } => self.stops(line, side, call, away),
            Act::Go => self.goes_on(line, side, call),
            Act::Look => self.look(line, side, call),
            Act::Reload { is_said } => self.reload(line, side, call, is_said),
            Act::Trouble => self.trouble(line, side),
            Act::Buy { hold } => {
                // The page repeats what it is not sure of; the same tap is the same purchase.
                if self.has(|faults| faults.commands) && self.dice.in_1000(200) {
                    let after = self.dice.ms(0, 900);
                    self.act_in(after, line, side, act);
                }
                let by = if side == Side::Client { Asker::Client } else { Asker::Companion };
                self.with_house(|house, around| house.page_asks(call, by, None, hold, around))
            }
            Act::Give { length } => {
                let hold = HoldId::new(uuid::Uuid::nil());
                let by = if side == Side::Client { Asker::Client } else { Asker::Companion };
                self.with_house(|house, around| house.page_asks(call, by, Some(length), hold, around))
            }
            Act::HangUp => self.core(call, Event::HangUp { side }),
            Act::Doze => self.doze(line, call),
            Act::Stir => self.stir(call),
            Act::Report => self.core(call, Event::AbuseReported),
        }
    }

    /// Verdicts of chance: the core must keep its promises whatever the ear says.
    fn doze(&mut self, line: usize, call: CallId) -> Done {
        let state = *self.dice.pick(&[State::Awake, State::Drowsy, State::Asleep, State::Asleep, State::Unknown]);
        let why = *self.dice.pick(&[Why::Speech, Why::Movement, Why::Breathing, Why::Muted, Why::Quiet]);
        let ago = if self.dice.in_1000(150) { self.dice.ms(0, 30_000) } else { Span::ZERO };
        let grounds = Grounds {
            why,
            evidence_milli: 1000,
            period_ms: Some(4000),
            constancy_bp: 9000,
            quiet_s: 900,
            movements: 0,
            missing_bp: 0,
            unanswered: 1,
        };
        let verdict = Verdict { state, since: self.server_now() - ago, grounds };
        self.core(call, Event::Ear { verdict })?;
        let again = if self.dice.in_1000(100) { self.dice.ms(0, 5000) } else { self.dice.about(Span::from_s(240)) };
        self.act_in(again, line, Side::Client, Act::Doze);
        if self.dice.in_1000(500) {
            let after = self.dice.ms(0, 400_000);
            self.act_in(after, line, Side::Client, Act::Stir);
        }
        Ok(())
    }

    fn stir(&mut self, call: CallId) -> Done {
        let at = self.server_now();
        let event = match self.dice.below(6) {
            0 => Event::Spoke { at },
            1 => Event::ImHere,
            2 => Event::SaysAwake,
            _ => Event::SaysAsleep,
        };
        self.core(call, event)
    }

    /// Whether the call takes notice of sleep.
    fn is_of_the_night(&mut self, line: usize) -> bool {
        let Some(call) = self.lines[line].call else { return false };
        let mut is_so = false;
        // It only looks, which cannot fail.
        let _ = self.with_house(|house, _| {
            is_so = house.exchange.call(call).is_some_and(|call| call.terms().night.is_some());
            Ok(())
        });
        is_so
    }

    fn core(&mut self, call: CallId, event: Event) -> Done {
        self.with_house(|house, around| house.tell_core(call, event, around))
    }

    fn join(&mut self, line: usize, side: Side, call: CallId) -> Done {
        if self.person(line, side).is_gone {
            return Ok(());
        }
        let leg = LegId::new(self.ids.next(self.now));
        self.core(call, Event::Joined { side, leg })?;
        let fails = self.dice.in_1000(10);
        // Until the new one is up, the old leg is what there is.
        self.person(line, side).joining = Some(leg);
        if fails {
            self.core(call, Event::Failed { side, leg })?;
            let after = self.dice.ms(2000, 20_000);
            self.act_in(after, line, side, Act::Join);
            return Ok(());
        }
        let after = self.dice.ms(100, 1800);
        self.act_in(after, line, side, Act::Up { leg });
        Ok(())
    }

    fn comes_up(&mut self, line: usize, side: Side, call: CallId, leg: LegId) -> Done {
        let (now, at) = (self.now, self.server_now());
        let person = self.person(line, side);
        if person.joining != Some(leg) {
            return Ok(());
        }
        let patience = person.patience();
        person.serial += 1;
        (person.leg, person.joining) = (Some(leg), None);
        (person.is_up, person.has_sound, person.was_reached) = (true, false, false);
        (person.silent_since, person.life) = (None, Life::Present);
        let listens_only = person.listens_only;
        if let Some(seen) = self.watch.call(call) {
            seen.truth.comes(side, now, patience);
        }
        self.core(call, Event::Connected { side, leg, at })?;
        if !listens_only {
            let after = self.dice.ms(20, 400);
            self.act_in(after, line, side, Act::Sound);
        }
        self.reach(line, call)?;
        self.next_trouble(line, side);
        Ok(())
    }

    /// Sound of a side reaches the other one that is connected.
    fn reach(&mut self, line: usize, call: CallId) -> Done {
        let at = self.server_now();
        for from in Side::ALL {
            let other_is_up = self.person(line, from.other()).is_up;
            let person = self.person(line, *from);
            if other_is_up && person.is_up && person.has_sound && !person.was_reached && person.silent_since.is_none() {
                person.was_reached = true;
                self.core(call, Event::AudioReached { from: *from, at })?;
            }
        }
        Ok(())
    }

    fn stops(&mut self, line: usize, side: Side, call: CallId, away: Option<Span>) -> Done {
        let now = self.now;
        let person = self.person(line, side);
        if !person.is_up || person.silent_since.is_some() {
            return Ok(());
        }
        person.silent_since = Some(now);
        let patience = person.patience();
        let sends = person.has_sound;
        if let Some(seen) = self.watch.call(call) {
            seen.truth.stops(side, now, if sends { FALTER } else { patience });
        }
        if sends {
            self.act_in(FALTER, line, side, Act::Look);
        }
        self.act_in(patience, line, side, Act::Look);
        if let Some(away) = away {
            self.act_in(away, line, side, Act::Go);
        }
        Ok(())
    }

    fn goes_on(&mut self, line: usize, side: Side, call: CallId) -> Done {
        let (now, at) = (self.now, self.server_now());
        let person = self.person(line, side);
        let (Some(leg), Some(_)) = (person.leg, person.silent_since.take()) else { return Ok(()) };
        let (life, patience) = (person.life, person.patience());
        person.life = Life::Present;
        if let Some(seen) = self.watch.call(call) {
            seen.truth.comes(side, now, patience);
        }
        match life {
            Life::Present => {}
            Life::Faltering => self.core(call, Event::Steadied { side, leg, at })?,
            Life::Lost => self.core(call, Event::Back { side, leg, at })?,
        }
        self.reach(line, call)?;
        self.next_trouble(line, side);
        Ok(())
    }

    fn look(&mut self, line: usize, side: Side, call: CallId) -> Done {
        let now = self.now;
        let person = self.person(line, side);
        let (Some(leg), Some(silent)) = (person.leg, person.silent_since) else { return Ok(()) };
        let (life, patience, sends) = (person.life, person.patience(), person.has_sound);
        let silence = now.since(silent);
        let since = self.server_time(silent);
        if silence >= patience && life != Life::Lost {
            self.person(line, side).life = Life::Lost;
            self.core(call, Event::Lost { side, leg, since })
        } else if silence >= FALTER && sends && life == Life::Present {
            self.person(line, side).life = Life::Faltering;
            self.core(call, Event::Faltered { side, leg, since })
        } else {
            Ok(())
        }
    }

    fn reload(&mut self, line: usize, side: Side, call: CallId, is_said: bool) -> Done {
        self.stops(line, side, call, None)?;
        // The media plane says when it saw her last, not when she said that she goes.
        let now = self.now;
        let seen = self.person(line, side).silent_since.unwrap_or(now);
        let since = self.server_time(seen);
        let person = self.person(line, side);
        if let (true, Some(leg), true) = (is_said, person.leg, person.is_up) {
            person.life = Life::Lost;
            if let Some(seen) = self.watch.call(call) {
                seen.truth.leaves(side);
            }
            self.core(call, Event::Hushed { side, leg, since })?;
        }
        let after = self.dice.ms(500, 6000);
        self.act_in(after, line, side, Act::Join);
        Ok(())
    }

    fn next_trouble(&mut self, line: usize, side: Side) {
        if self.has(|faults| faults.drops) && !self.is_draining() {
            let after = self.dice.about(self.settings.trouble_every);
            self.act_in(after, line, side, Act::Trouble);
        }
    }

    fn trouble(&mut self, line: usize, side: Side) -> Done {
        self.count.drops += 1;
        let away = match self.dice.below(10) {
            0..4 => Some(self.dice.ms(200, 5200)),
            4..8 => Some(self.dice.ms(5000, 58_000)),
            8 => Some(self.dice.ms(55_000, 90_000)),
            _ => None,
        };
        match self.dice.below(12) {
            0..3 => {
                let is_said = self.dice.in_1000(500);
                self.act_in(Span::ZERO, line, side, Act::Reload { is_said });
            }
            // Her network and the other's, or ours: both within about two seconds.
            3 => {
                let after = self.dice.ms(0, 3000);
                self.act_in(Span::ZERO, line, side, Act::Stop { away });
                self.act_in(after, line, side.other(), Act::Stop { away });
            }
            _ => self.act_in(Span::ZERO, line, side, Act::Stop { away }),
        }
        Ok(())
    }

    /// The process is gone, and with it every leg. Pages notice and come again, most of them.
    pub(super) fn all_legs_gone(&mut self) {
        for line in 0..self.lines.len() {
            let Some(call) = self.lines[line].call.filter(|_| !self.lines[line].is_over) else { continue };
            if let Some(seen) = self.watch.call(call) {
                seen.truth.cut(self.now);
            }
            for side in Side::ALL {
                let stays_away = self.dice.in_1000(60);
                let person = self.person(line, *side);
                person.serial += 1;
                (person.leg, person.joining, person.is_up, person.silent_since) = (None, None, false, None);
                (person.has_sound, person.was_reached, person.life) = (false, false, Life::Present);
                if stays_away {
                    person.is_gone = true;
                } else if !person.is_gone {
                    let after = self.dice.ms(2000, 25_000);
                    self.act_in(after, line, *side, Act::Join);
                }
            }
        }
    }

    /// The machine slept: what people sent then is lost, and for the media plane nothing happened.
    pub(super) fn all_slept(&mut self, from: Moment, to: Moment) {
        for line in 0..self.lines.len() {
            let Some(call) = self.lines[line].call.filter(|_| !self.lines[line].is_over) else { continue };
            if let Some(seen) = self.watch.call(call) {
                seen.truth.sleep(from, to);
            }
            for side in Side::ALL {
                let person = self.person(line, *side);
                let patience = person.patience();
                if let Some(silent) = &mut person.silent_since {
                    *silent = *silent + to.since(from);
                    let (falters, is_lost) = (*silent + FALTER, *silent + patience);
                    self.act_in(falters.since(to), line, *side, Act::Look);
                    self.act_in(is_lost.since(to), line, *side, Act::Look);
                }
            }
        }
    }

    /// What people do about what their pages show.
    pub(super) fn page_shows(&mut self, line: usize, notice: &Notice) {
        match notice {
            Notice::Started => {
                for side in Side::ALL {
                    if self.dice.in_1000(450) {
                        let after = self.dice.about(self.settings.talk);
                        self.act_in(after, line, *side, Act::HangUp);
                    }
                }
                if self.is_of_the_night(line) {
                    let after = self.dice.about(Span::from_s(300));
                    self.act_in(after, line, Side::Client, Act::Doze);
                }
                if self.dice.in_1000(20) {
                    let after = self.dice.about(Span::from_s(600));
                    self.act_in(after, line, Side::Companion, Act::Report);
                }
                match self.dice.below(100) {
                    0..12 => {
                        let after = self.dice.about(Span::from_s(400));
                        self.vendor_extends(line, after);
                    }
                    12 => {
                        let after = self.dice.about(Span::from_s(400));
                        self.complain_early(line, after);
                    }
                    _ => {}
                }
            }
            Notice::Warning { left } => {
                // Some wait to the last moment, and race the end.
                let after = if self.dice.in_1000(400) { *left + self.dice.ms(-60, 60) } else { self.dice.about(*left) };
                match self.dice.below(10) {
                    0..4 => {
                        let hold = HoldId::new(self.ids.next(self.now));
                        self.act_in(after, line, Side::Client, Act::Buy { hold });
                    }
                    4 | 5 => self.vendor_extends(line, after),
                    6 => {
                        let length = Span::from_s(self.dice.between(1, 900));
                        self.act_in(after, line, Side::Companion, Act::Give { length });
                    }
                    _ => {}
                }
            }
            Notice::Changed
            | Notice::Extended { .. }
            | Notice::Gifted { .. }
            | Notice::Paused { .. }
            | Notice::Resumed
            | Notice::Ended { .. } => {}
        }
    }
}
