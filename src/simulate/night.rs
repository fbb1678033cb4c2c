//! One night: a virtual clock, an agenda, lines on which one call follows another, a server that may die, and what goes wrong.
//!
//! Everything happens on one thread, in the order of the agenda; nothing reads a clock. Invariant: the same settings and seed give the same
//! night, step by step.

mod courier;
mod orders;
mod server;
mod shop;

use super::books::{Books, Death};
use super::dice::{Dice, Ids};
use super::house::{Around, Heard, House};
use super::people::{Act, Pair};
use super::post::Post;
use super::trace::Trace;
use super::vendors::{self, Ask, Vendor, Want};
use super::watch::{Breach, Watch, expect};
use super::{Count, Faults, Settings};
use crate::call::{Notice, Side};
use crate::clock::{Moment, Reading, Span};
use crate::ids::{BootId, CallId, ClientRef};
use crate::service::Answer;
use crate::store::{Beat, Companion, Outcome, StoreError, Transaction, Weight, Write};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// After the night everybody has so long to come to an end.
const DRAIN: Span = Span::from_s(3 * 3600);
/// What the disk had no room for is tried again after this.
const TRY_AGAIN: Span = Span::from_ms(500);
/// The wall clock may be so far behind what is on disk without keeping new calls out.
const BEHIND: Span = Span::from_s(2);

type Done = Result<(), Breach>;

/// Something on the agenda.
#[derive(Debug)]
pub(super) enum What {
    Act {
        line: usize,
        turn: u32,
        side: Side,
        serial: u32,
        act: Act,
    },
    /// A line's next call is ordered.
    Order {
        line: usize,
    },
    /// A vendor's program sends a command, again if it is not answered.
    Send {
        ask: u32,
    },
    /// A copy of it arrives at the server.
    Arrive {
        ask: u32,
    },
    /// A copy of the answer arrives at the vendor.
    Answer {
        ask: u32,
        status: u16,
        body: String,
    },
    /// The group under way is on disk.
    Stored {
        boot: u32,
    },
    Beat {
        boot: u32,
    },
    /// The courier looks at the outbox.
    LookOut {
        boot: u32,
    },
    /// An event arrives at a vendor's endpoint.
    Letter {
        letter: u32,
    },
    /// Its answer arrives at the courier, or will not come.
    LetterAnswered {
        boot: u32,
        letter: u32,
        status: Option<u16>,
    },
    /// What became of it is handed to the disk once more.
    NoteLetter {
        boot: u32,
        letter: u32,
    },
    /// The disk is asked once more.
    TryAgain {
        boot: u32,
    },
    Fault(Fault),
    /// The process is started again.
    Boot,
    Wake,
    Relief,
    Evening,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Crash,
    ClockStep,
    Suspend,
    SlowDisk,
    FullDisk,
    FailingDisk,
}

/// An entry of the agenda; the earliest comes first, and of one instant the one that was noted first.
struct Due {
    at: Moment,
    serial: u64,
    what: What,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.serial) == (other.at, other.serial)
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.serial).cmp(&(other.at, other.serial))
    }
}

/// A client and her companion, with one call after another.
pub(super) struct Line {
    vendor: usize,
    client: ClientRef,
    companion: usize,
    /// Calls ordered so far.
    pub(super) turn: u32,
    pub(super) call: Option<CallId>,
    pub(super) is_over: bool,
    pub(super) pair: Pair,
    hold: i64,
    began: Option<Moment>,
}

pub(super) struct Night<'a> {
    pub(super) settings: &'a Settings,
    pub(super) dice: Dice,
    pub(super) ids: Ids,
    /// True time.
    pub(super) now: Moment,
    ends_at: Moment,
    agenda: BinaryHeap<Reverse<Due>>,
    serial: u64,
    pub(super) lines: Vec<Line>,
    vendors: Vec<Vendor>,
    asks: Vec<Ask>,
    /// Commands sent and not answered, and lines with a call under way or ordered.
    waiting: usize,
    busy: usize,
    pub(super) books: Books,
    pub(super) watch: Watch,
    house: Option<House>,
    /// The listener is open.
    is_open: bool,
    boots: u32,
    /// The server's clock less true time, and the wall clock less true time: they meet when the server starts.
    clock_ahead: Span,
    wall_ahead: Span,
    pub(super) asleep_until: Option<Moment>,
    slept_from: Moment,
    under_way: Option<Vec<(u64, Transaction)>>,
    disk_is_slow: bool,
    disk_rests_until: Option<Moment>,
    /// A heartbeat of a server that is gone, which arrives late.
    zombie: Option<Transaction>,
    /// Calls that are open, and their lines.
    seats: BTreeMap<CallId, usize>,
    heard: Vec<Heard>,
    post: Post,
    pub(super) count: Count,
    pub(super) trace: Trace,
}

impl<'a> Night<'a> {
    pub(super) fn new(settings: &'a Settings, seed: u64, trace: Trace) -> Result<Self, Breach> {
        let mut dice = Dice::new(seed);
        let now = vendors::evening(&mut dice);
        let books = Books::new(settings.on_disk, dice.seed())?;
        let mut night = Self {
            settings,
            dice,
            ids: Ids::default(),
            now,
            ends_at: now + settings.length,
            agenda: BinaryHeap::new(),
            serial: 0,
            lines: Vec::new(),
            vendors: Vec::new(),
            asks: Vec::new(),
            waiting: 0,
            busy: 0,
            books,
            watch: Watch::default(),
            house: None,
            is_open: false,
            boots: 0,
            clock_ahead: Span::ZERO,
            wall_ahead: Span::ZERO,
            asleep_until: None,
            slept_from: now,
            under_way: None,
            disk_is_slow: false,
            disk_rests_until: None,
            zombie: None,
            seats: BTreeMap::new(),
            heard: Vec::new(),
            post: Post::default(),
            count: Count::default(),
            trace,
        };
        night.set_up()?;
        Ok(night)
    }

    /// Vendors with their companions and plans, and a first call for every line.
    fn set_up(&mut self) -> Done {
        let currency = "CNY".parse().map_err(|_| Breach::new("set_up", "CNY is a currency"))?;
        let vendors = 1 + self.settings.calls / 400;
        let mut writes = Vec::new();
        for number in 0..vendors {
            let id = crate::ids::VendorId::new(self.ids.next(self.now));
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&(number as u64).to_be_bytes());
            writes.push(Write::AddVendor { id, name: format!("vendor {number}"), key_hash: hash, at: self.now });
            let companion_bps = *self.dice.pick(&[7000, 6667, 3333, 1, 9999, 10_000]);
            let mut vendor = Vendor { id, companions: Vec::new(), plans: Vec::new(), companion_bps };
            for _ in 0..(self.settings.calls / vendors + 1).min(200) {
                let companion = crate::ids::CompanionId::new(self.ids.next(self.now));
                vendor.companions.push(companion);
                let row = Companion { id: companion, vendor: id, name: "Lin".to_owned(), grade: None, created_at: self.now };
                writes.push(Write::AddCompanion(row));
            }
            while vendor.plans.len() < 8 {
                let plan = crate::ids::PlanId::new(self.ids.next(self.now));
                vendor.plans.extend(vendors::plan(&mut self.dice, plan, currency));
            }
            self.endpoints(id, &mut writes);
            self.vendors.push(vendor);
        }
        let answers = self.books.commit(&[Transaction { idempotency: None, writes }])?;
        expect(answers.iter().all(Result::is_ok), "set_up", || format!("{answers:?}"))?;
        for line in 0..self.settings.calls {
            let vendor = line % vendors;
            let client = format!("client-{line}").parse().map_err(|_| Breach::new("set_up", "a client's name"))?;
            let companion = (line / vendors) % self.vendors[vendor].companions.len();
            let pair = Pair::default();
            self.lines.push(Line { vendor, client, companion, turn: 0, call: None, is_over: true, pair, hold: 0, began: None });
            let after = self.dice.ms(0, 60_000.min(self.settings.length.ms() / 4));
            self.plan(after, What::Order { line });
        }
        self.plan(Span::ZERO, What::Boot);
        self.plan(self.settings.length, What::Evening);
        let faults = self.settings.faults;
        for (is_on, fault) in [
            (faults.crash, Fault::Crash),
            (faults.clock, Fault::ClockStep),
            (faults.suspend, Fault::Suspend),
            (faults.slow, Fault::SlowDisk),
            (faults.full, Fault::FullDisk),
            (faults.io && self.settings.on_disk, Fault::FailingDisk),
        ] {
            if is_on {
                self.plan_fault(fault);
            }
        }
        Ok(())
    }

    fn plan_fault(&mut self, fault: Fault) {
        let after = self.dice.about(self.settings.fault_every);
        self.plan(after, What::Fault(fault));
    }

    pub(super) fn has(&self, fault: impl Fn(&Faults) -> bool) -> bool {
        fault(&self.settings.faults)
    }

    pub(super) fn plan(&mut self, after: Span, what: What) {
        self.serial += 1;
        let after = after.max(Span::ZERO);
        self.agenda.push(Reverse(Due { at: self.now + after, serial: self.serial, what }));
    }

    /// The night is over: nothing more goes wrong, and everybody comes to an end.
    pub(super) fn is_draining(&self) -> bool {
        self.now >= self.ends_at
    }

    pub(super) fn is_serving(&self) -> bool {
        self.is_open && self.asleep_until.is_none()
    }

    pub(super) fn server_now(&self) -> Moment {
        self.server_time(self.now)
    }

    /// What the server's clock says at an instant of true time.
    pub(super) fn server_time(&self, at: Moment) -> Moment {
        at + self.clock_ahead
    }

    /// Runs the night to its end.
    pub(super) fn run(&mut self) -> Done {
        loop {
            // The house's own timers come before anything else of the same instant.
            let due = self.house.as_ref().filter(|_| self.asleep_until.is_none()).and_then(House::next_due);
            let due = due.map(|due| due - self.clock_ahead);
            let next = self.agenda.peek().map(|Reverse(next)| next.at);
            match (due, next) {
                (Some(due), next) if next.is_none_or(|next| due <= next) => {
                    self.now = self.now.max(due);
                    self.with_house(|house, around| house.do_due(around))?;
                }
                (_, Some(_)) => {
                    let Some(Reverse(Due { at, what, .. })) = self.agenda.pop() else { break };
                    self.now = self.now.max(at);
                    if self.trace.is_on() && !matches!(what, What::Beat { .. }) {
                        self.trace.note(self.now, &what);
                    }
                    self.happen(what)?;
                }
                (_, None) => break,
            }
            self.trace.steps += 1;
            self.point()?;
            self.listen()?;
            self.point()?;
            self.feed_disk();
            self.point()?;
            if self.settings.checkpoint_every > 0 && self.trace.steps.is_multiple_of(self.settings.checkpoint_every) {
                self.books.audit()?;
            }
            if self.is_draining() && (self.is_done() || self.now.since(self.ends_at) > DRAIN) {
                break;
            }
        }
        self.finish()
    }

    /// A point at which the process dies, if it is one of those asked for.
    fn point(&mut self) -> Done {
        let point = self.count.points;
        self.count.points += 1;
        match self.settings.deaths.iter().find(|(at, _)| *at == point) {
            Some((_, has_group)) => self.die_with(Death::Process, Some(*has_group)),
            None => Ok(()),
        }
    }

    fn is_done(&self) -> bool {
        self.busy == 0
            && self.waiting == 0
            && self.under_way.is_none()
            && self.post.is_idle()
            && self.house.as_ref().is_some_and(House::is_idle)
    }

    /// Lets the house do something, if it is there.
    pub(super) fn with_house(&mut self, work: impl FnOnce(&mut House, &mut Around<'_>) -> Done) -> Done {
        let now = self.server_now();
        let Some(house) = &mut self.house else { return Ok(()) };
        let mut around = Around {
            now,
            wall: self.now + self.wall_ahead,
            ids: &mut self.ids,
            books: &self.books,
            watch: &mut self.watch,
            truth_now: self.now,
            heard: &mut self.heard,
        };
        work(house, &mut around)
    }

    fn happen(&mut self, what: What) -> Done {
        match what {
            What::Act { line, turn, side, serial, act } => self.act(line, turn, side, serial, act),
            What::Order { line } => self.order(line),
            What::Send { ask } => self.send(ask),
            What::Arrive { ask } => {
                if !self.is_serving() {
                    return Ok(()); // Nobody takes it, and the sender sends it again.
                }
                let command = self.asks[ask as usize].clone();
                self.with_house(|house, around| house.take(ask, &command, around))
            }
            What::Answer { ask, status, body } => self.answered(ask, status, body),
            What::Stored { boot } => self.stored(boot),
            What::Beat { boot } => self.beat(boot),
            What::LookOut { boot } => self.look_out(boot),
            What::Letter { letter } => self.letter(letter),
            What::LetterAnswered { boot, letter, status } => self.letter_answered(boot, letter, status),
            What::NoteLetter { boot, letter } => self.note_letter(boot, letter),
            What::TryAgain { boot } => {
                if boot == self.boots {
                    self.disk_rests_until = None;
                }
                Ok(())
            }
            What::Fault(fault) => self.go_wrong(fault),
            What::Boot => self.boot(),
            What::Wake => self.wake(),
            What::Relief => {
                self.disk_is_slow = false;
                self.books.set_full(false);
                self.books.heal();
                Ok(())
            }
            What::Evening => self.evening(),
        }
    }

    /// Takes out what the house said, which may make people do things.
    fn listen(&mut self) -> Done {
        let mut heard = std::mem::take(&mut self.heard);
        for said in heard.drain(..) {
            if self.trace.is_on() {
                self.trace.note(self.now, &said);
            }
            match said {
                Heard::StopMedia { call } => {
                    let now = self.now;
                    if let Some(seen) = self.watch.call(call) {
                        seen.truth.cut(now);
                    }
                }
                Heard::Began { call, at } => {
                    let at = at - self.clock_ahead;
                    if let Some(seen) = self.watch.call(call) {
                        seen.truth.begins(at);
                    }
                }
                Heard::Tell { call, notice } => {
                    if let Some(line) = self.line_of(call) {
                        self.page_shows(line, &notice);
                        if let Notice::Ended { reason, .. } = notice {
                            *self.count.ends.entry(reason.name()).or_default() += 1;
                        }
                    }
                }
                Heard::Reply { ask, status, body } => self.reply(ask, status, body),
                Heard::Settled { call, charge } => self.settled(call, charge)?,
                Heard::Noted { letter, noted } => self.letter_noted(letter, noted)?,
            }
        }
        if self.heard.is_empty() {
            self.heard = heard; // Its room is used again.
        }
        if let Some(error) = self.house.as_ref().and_then(|house| house.failure.clone()) {
            // The service stops; somebody starts it again.
            self.trace.note(self.now, &error);
            self.die(Death::Process)?;
        }
        Ok(())
    }

    /// The line whose present call this is.
    fn line_of(&self, call: CallId) -> Option<usize> {
        let line = self.watch.calls.get(&call)?.line;
        (self.lines[line].call == Some(call)).then_some(line)
    }

    fn line_ends(&mut self, line: usize) {
        self.busy -= usize::from(!std::mem::replace(&mut self.lines[line].is_over, true));
    }

    fn settled(&mut self, call: CallId, charge: i64) -> Done {
        self.seats.remove(&call);
        self.count.settled += 1;
        self.count.charged += i128::from(charge);
        if let Some(seen) = self.watch.call(call) {
            seen.is_settled = true;
            self.count.delivered_ms += seen.delivered_ms;
        }
        if let Some(line) = self.line_of(call) {
            self.line_ends(line);
            if let Some(began) = self.lines[line].began.take() {
                self.count.open_ms += self.now.since(began).ms();
            }
            if !self.is_draining() {
                self.after_settlement(line, call, charge);
                let after = self.dice.about(self.settings.rest);
                self.plan(after, What::Order { line });
            }
        }
        Ok(())
    }

    // The disk -----------------------------------------------------------------------------------------------------------

    /// A free disk takes what lies there.
    fn feed_disk(&mut self) {
        if self.under_way.is_some() || self.asleep_until.is_some() || self.disk_rests_until.is_some() {
            return;
        }
        let Some(house) = &mut self.house else { return };
        let group = house.next_group();
        if group.is_empty() {
            return;
        }
        self.under_way = Some(group);
        let takes = if self.disk_is_slow { self.dice.ms(200, 12_000) } else { self.dice.ms(1, 9) };
        let boot = self.boots;
        self.plan(takes, What::Stored { boot });
    }

    fn stored(&mut self, boot: u32) -> Done {
        if boot != self.boots || self.house.is_none() {
            return Ok(());
        }
        if let Some(until) = self.asleep_until {
            let after = until.since(self.now) + Span::from_ms(1);
            self.plan(after, What::Stored { boot });
            return Ok(());
        }
        let Some(group) = self.under_way.take() else { return Ok(()) };
        let (tickets, transactions): (Vec<u64>, Vec<Transaction>) = group.into_iter().unzip();
        let answers = self.books.commit(&transactions)?;
        if answers.iter().any(|answer| matches!(answer, Err(StoreError::Full | StoreError::Busy))) {
            return self.disk_refuses(tickets, transactions, answers);
        }
        if self.books.has_outbox() && transactions.iter().any(Transaction::rings) {
            self.look_in(Span::ZERO);
        }
        if let Some(house) = &mut self.house {
            house.take_room(transactions);
        }
        for (ticket, answer) in tickets.into_iter().zip(answers) {
            self.with_house(|house, around| house.stored(ticket, answer, around))?;
        }
        self.open_when_ready();
        self.stop_in_order();
        Ok(())
    }

    /// As the writer: facts of running calls are tried again, in their order, and the others are told that there is no room.
    fn disk_refuses(&mut self, tickets: Vec<u64>, transactions: Vec<Transaction>, answers: Vec<Answer>) -> Done {
        let mut must = Vec::new();
        for ((ticket, transaction), answer) in tickets.into_iter().zip(transactions).zip(answers) {
            if Weight::of(&transaction) == Weight::Must {
                must.push((ticket, transaction));
            } else {
                self.with_house(|house, around| house.stored(ticket, answer, around))?;
            }
        }
        if let Some(house) = self.house.as_mut().filter(|_| !must.is_empty()) {
            house.take_back(must);
            self.disk_rests_until = Some(self.now + TRY_AGAIN);
            let boot = self.boots;
            self.plan(TRY_AGAIN, What::TryAgain { boot });
        }
        Ok(())
    }

    fn beat(&mut self, boot: u32) -> Done {
        if boot != self.boots || self.house.is_none() {
            return Ok(());
        }
        self.plan(self.settings.beat, What::Beat { boot });
        if self.asleep_until.is_some() {
            return Ok(());
        }
        let (ahead, now) = (self.clock_ahead, self.now);
        let lines = &self.lines;
        let mut seats = self.seats.iter().peekable();
        let seen = |call: CallId| {
            while seats.next_if(|(seat, _)| **seat < call).is_some() {}
            match seats.next_if(|(seat, _)| **seat == call) {
                Some((_, line)) => lines[*line].pair.people.each_ref().map(|person| person.seen(now).map(|seen| seen + ahead)),
                None => [None, None],
            }
        };
        let mut around = Around {
            now: now + ahead,
            wall: now + self.wall_ahead,
            ids: &mut self.ids,
            books: &self.books,
            watch: &mut self.watch,
            truth_now: now,
            heard: &mut self.heard,
        };
        match &mut self.house {
            Some(house) => house.beat(seen, &mut around),
            None => Ok(()),
        }
    }

    // The end --------------------------------------------------------------------------------------------------------------

    pub(super) fn into_count(self) -> Count {
        Count { steps: self.trace.steps, virtual_ms: self.settings.length.ms(), ..self.count }
    }

    fn finish(&mut self) -> Done {
        for (number, line) in self.lines.iter().enumerate() {
            expect(line.is_over, "liveness", || {
                let journal = line.call.and_then(|call| self.books.journal(call));
                let facts = journal.map_or_else(String::new, |journal| super::watch::facts(&journal.entries));
                let core = line.call.and_then(|call| self.house.as_ref()?.exchange.call(call));
                let core = core.map(|core| (core.entries().len(), core.state(), core.poll_timeout(), core.paid()));
                format!("line {number}: {:?} has not come to an end by {}; the core has {core:?}{facts}", line.call, self.server_now())
            })?;
        }
        for ask in &self.asks {
            expect(ask.is_done || ask.tries == 0, "liveness", || format!("{} was never answered: {:?}", ask.key, ask.want))?;
            let kept = self.books.reply(ask.vendor_id, &ask.key)?;
            if let Some((status, body)) = &ask.success {
                let same = kept.as_ref().is_some_and(|kept| kept.status == *status && kept.body == *body);
                expect(same, "one_reply", || format!("{} was answered {status} {body}, kept is {kept:?}", ask.key))?;
            }
        }
        super::effects::check(&self.asks, &self.books, &self.watch)?;
        self.books.audit()?;
        self.post.check(&self.books.memory)?;
        [self.count.refunds, self.count.adjustments, self.count.wallet_refunds] = self.books.memory.count_returns();
        self.count.policies = self.books.memory.policy_changes;
        self.count.top_ups = self.books.memory.count_top_ups();
        self.count.events = self.books.memory.count_events();
        (self.count.tries, self.count.delivered) = (self.post.tries(), self.post.delivered);
        self.count.beats += self.house.as_ref().map_or(0, |house| house.beats);
        self.count.groups = self.books.groups;
        self.count.transactions = self.books.transactions;
        self.count.asks = self.asks.len() as u64;
        Ok(())
    }
}

impl Fault {
    const fn name(self) -> &'static str {
        match self {
            Fault::Crash => "crash",
            Fault::ClockStep => "clock_step",
            Fault::Suspend => "suspend",
            Fault::SlowDisk => "slow_disk",
            Fault::FullDisk => "full_disk",
            Fault::FailingDisk => "failing_disk",
        }
    }
}
