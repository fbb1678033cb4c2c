//! The server's life in a night: it starts, stops in order, dies, sleeps, and finds what it left.

use super::*;

impl Night<'_> {
    pub(super) fn boot(&mut self) -> Done {
        if self.house.is_some() {
            return Ok(());
        }
        self.boots += 1;
        self.count.boots += 1;
        self.disk_rests_until = None;
        // No moment of a process is before what it finds on disk of open calls.
        let (last, alive) = (self.books.last_open_moment()?, self.books.last_alive()?);
        let wall = self.now + self.wall_ahead;
        self.clock_ahead = self.wall_ahead + last.map_or(Span::ZERO, |last| last.since(wall));
        let wall_must_pass = self.books.last_wall()?.filter(|last| *last > wall + BEHIND);
        let boot = BootId::new(self.ids.next(self.now));
        let begins = Write::Boot { boot, at: self.server_now(), wall: wall_must_pass.unwrap_or(wall) };
        let answers = self.books.commit(&[Transaction { idempotency: None, writes: vec![begins] }])?;
        if answers != [Ok(Outcome::Committed)] {
            // No room, or a disk that failed: it does not start, and somebody tries again.
            self.books.crash(&[], Death::Process, &mut self.dice)?;
            let after = self.dice.ms(1000, 5000);
            self.plan(after, What::Boot);
            return Ok(());
        }
        self.late_heartbeat()?;
        let mut around = Around {
            now: self.now + self.clock_ahead,
            wall,
            ids: &mut self.ids,
            books: &self.books,
            watch: &mut self.watch,
            truth_now: self.now,
            heard: &mut self.heard,
        };
        self.house = Some(House::open(boot, alive, wall_must_pass, &mut around)?);
        self.post.restart();
        self.look_in(Span::ZERO);
        self.check_promises()?;
        self.find_settled()?;
        let boot = self.boots;
        self.plan(self.settings.beat, What::Beat { boot });
        self.open_when_ready();
        // A crash while it recovers.
        if self.has(|faults| faults.crash) && !self.is_draining() && self.dice.in_1000(150) {
            self.listen()?;
            self.feed_disk();
            let death = self.death();
            self.die(death)?;
        }
        Ok(())
    }

    /// A server that was told to stop goes when all of it is on disk; somebody starts it again.
    pub(super) fn stop_in_order(&mut self) {
        if self.house.as_ref().is_some_and(|house| house.stopping && house.is_idle()) {
            self.count.beats += self.house.take().map_or(0, |house| house.beats);
            self.is_open = false;
            self.all_legs_gone();
            let after = self.dice.ms(500, 5000);
            self.plan(after, What::Boot);
        }
    }

    /// A server that is gone had a heartbeat in flight, which says more than is true.
    pub(super) fn late_heartbeat(&mut self) -> Done {
        let Some(zombie) = self.zombie.take() else { return Ok(()) };
        let answers = self.books.commit(&[zombie])?;
        expect(matches!(answers[..], [Err(_)]), "earlier_boot", || format!("the heartbeat of an earlier server was answered {answers:?}"))
    }

    pub(super) fn open_when_ready(&mut self) {
        self.is_open |= self.house.as_ref().is_some_and(House::is_idle);
    }

    /// Calls that were settled when nobody was left to say so: vendors and pages look them up.
    pub(super) fn find_settled(&mut self) -> Done {
        for line in 0..self.lines.len() {
            let Some(call) = self.lines[line].call.filter(|_| !self.lines[line].is_over) else { continue };
            if self.books.memory.is_settled(call) {
                self.settled(call, 0)?;
            }
        }
        Ok(())
    }

    /// What was told before the crash is still so.
    pub(super) fn check_promises(&mut self) -> Done {
        for line in &self.lines {
            let Some(call) = line.call else { continue };
            let Some(seen) = self.watch.calls.get(&call) else { continue };
            let on_disk = self.books.last_fact(call).unwrap_or(0);
            expect(on_disk >= seen.told, "acknowledged", || format!("{call}: fact {} was told of, the disk has {on_disk}", seen.told))?;
        }
        for ask in self.asks.iter().rev().take(64) {
            if let Some((status, body)) = &ask.success {
                let kept = self.books.reply(ask.vendor_id, &ask.key)?;
                let same = kept.as_ref().is_some_and(|kept| kept.status == *status && kept.body == *body);
                expect(same, "acknowledged", || format!("{} was answered {status} {body}, the disk has {kept:?}", ask.key))?;
            }
        }
        Ok(())
    }

    pub(super) fn death(&mut self) -> Death {
        if self.has(|faults| faults.power) && self.dice.in_1000(600) { Death::Power } else { Death::Process }
    }

    /// The server is gone, whatever it did; somebody starts it again.
    pub(super) fn die(&mut self, death: Death) -> Done {
        self.die_with(death, None)
    }

    /// The same; `has_group`: whether the disk has what was under way, if that is not left to chance.
    pub(super) fn die_with(&mut self, death: Death, has_group: Option<bool>) -> Done {
        let Some(house) = self.house.take() else { return Ok(()) };
        self.count.beats += house.beats;
        self.is_open = false;
        self.heard.clear();
        self.count.crashes += 1;
        let under_way: Vec<Transaction> = self.under_way.take().into_iter().flatten().map(|(_, transaction)| transaction).collect();
        match has_group {
            // As a group that came through, and of which nobody heard; or one that was not begun.
            Some(true) if !under_way.is_empty() => {
                self.books.commit(&under_way)?;
                self.books.crash(&[], death, &mut self.dice)?;
            }
            Some(_) => self.books.crash(&[], death, &mut self.dice)?,
            None => self.books.crash(&under_way, death, &mut self.dice)?,
        }
        if death == Death::Process && self.dice.in_1000(300) {
            let until = self.server_now() + Span::from_s(30);
            let beats = self.seats.keys().map(|call| Beat { call: *call, until, delivered: Span::ZERO }).collect();
            let clocks = Reading { wall: until, awake: Span::ZERO, all: Span::ZERO };
            let write = Write::Heartbeats { boot: house.boot(), at: until, clocks, beats };
            self.zombie = Some(Transaction { idempotency: None, writes: vec![write] });
        }
        self.all_legs_gone();
        let after = self.dice.ms(300, 20_000);
        self.plan(after, What::Boot);
        Ok(())
    }

    pub(super) fn go_wrong(&mut self, fault: Fault) -> Done {
        if self.is_draining() {
            return Ok(());
        }
        self.plan_fault(fault);
        if self.house.is_none() || self.asleep_until.is_some() {
            return Ok(());
        }
        *self.count.faults.entry(fault.name()).or_default() += 1;
        match fault {
            Fault::Crash => {
                let death = self.death();
                self.die(death)
            }
            Fault::ClockStep => {
                let (sign, most) = (*self.dice.pick(&[-1, 1]), *self.dice.pick(&[1000, 3000, 60_000, 3_600_000]));
                let step = self.dice.between(1, most) * sign;
                // A clock that is put right again and again stays near the truth.
                self.wall_ahead = Span::from_ms((self.wall_ahead.ms() + step).clamp(-3_600_000, 3_600_000));
                Ok(())
            }
            Fault::Suspend => {
                let slept = self.dice.ms(1000, 900_000);
                self.asleep_until = Some(self.now + slept);
                self.plan(slept, What::Wake);
                self.slept_from = self.now;
                Ok(())
            }
            Fault::SlowDisk => {
                self.disk_is_slow = true;
                let for_ms = self.dice.ms(1000, 120_000);
                self.plan(for_ms, What::Relief);
                Ok(())
            }
            Fault::FullDisk => {
                self.books.set_full(true);
                let for_ms = self.dice.ms(1000, 120_000);
                self.plan(for_ms, What::Relief);
                Ok(())
            }
            Fault::FailingDisk => {
                self.books.fail_once(&mut self.dice);
                Ok(())
            }
        }
    }

    pub(super) fn wake(&mut self) -> Done {
        let (from, now) = (self.slept_from, self.now);
        self.asleep_until = None;
        self.all_slept(from, now);
        let since = self.server_time(from);
        self.with_house(|house, around| house.suspended(since, around))
    }

    pub(super) fn evening(&mut self) -> Done {
        self.disk_is_slow = false;
        self.books.set_full(false);
        self.books.heal();
        if self.is_serving() && self.dice.in_1000(300) {
            // In order: every call ends, and the process waits for the disk.
            self.with_house(|house, around| house.begin_stop(around))?;
            self.stop_in_order();
            return Ok(());
        }
        for line in 0..self.lines.len() {
            let after = self.dice.ms(0, 120_000);
            let side = *self.dice.pick(Side::ALL);
            if self.dice.in_1000(300) {
                self.vendor_ends(line, after);
            } else {
                self.act_in(after, line, side, Act::HangUp);
            }
        }
        Ok(())
    }
}
