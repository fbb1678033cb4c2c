//! Vendors' programs in a night: orders, credits and commands over the lossy network, and what they make of the answers.

use super::*;

impl Night<'_> {
    pub(super) fn order(&mut self, line: usize) -> Done {
        if self.is_draining() || !self.lines[line].is_over {
            return Ok(());
        }
        self.lines[line].turn += 1;
        self.lines[line].is_over = false;
        self.busy += 1;
        self.lines[line].call = None;
        self.lines[line].began = None;
        self.create(line);
        Ok(())
    }

    /// Credits the client for a call and some more, or not enough, and then orders it.
    pub(super) fn create(&mut self, line: usize) {
        let Line { vendor, ref client, companion, .. } = self.lines[line];
        let client = client.clone();
        let offered = self.dice.pick(&self.vendors[vendor].plans).clone();
        self.lines[line].hold = offered.hold.amount;
        let key = self.key(line, "create");
        let site = &self.vendors[vendor];
        let sale = vendors::Sale {
            vendor: site.id,
            plan: offered.id,
            sold: offered.sold,
            hold: offered.hold,
            night: offered.night,
            client,
            companion: site.companions[companion],
            companion_bps: site.companion_bps,
            longest: self.settings.longest,
            key: key.clone(),
        };
        let terms = Box::new(crate::simulate::house::terms_of(sale));
        if self.dice.in_1000(950) {
            let purchases = self.dice.between(1, 4);
            self.credit(line, offered.hold.amount * purchases);
        }
        let ask = self.ask(line, key, Want::Create { terms });
        // The credit has gone first, and may come later all the same.
        let after = self.dice.ms(50, 4000);
        self.plan(after, What::Send { ask });
    }

    pub(super) fn credit(&mut self, line: usize, amount: i64) {
        let key = self.key(line, "credit");
        let client = self.lines[line].client.clone();
        let like = self.vendors[self.lines[line].vendor].plans[0].hold;
        let want = Want::Credit { client, amount: crate::simulate::house::order(amount, like), order_ref: format!("order-{key}") };
        let ask = self.ask(line, key, want.clone());
        self.plan(Span::ZERO, What::Send { ask });
        if self.dice.in_1000(60) {
            // A program that forgot the key shows the same order once more.
            let key = self.key(line, "again");
            let ask = self.ask(line, key, want);
            let after = self.dice.ms(0, 9000);
            self.plan(after, What::Send { ask });
        }
    }

    pub(in crate::simulate) fn vendor_extends(&mut self, line: usize, after: Span) {
        let Some(call) = self.lines[line].call else { return };
        let key = self.key(line, "extend");
        let hold = self.lines[line].hold;
        // By the minute any amount buys time, and for blocks only theirs.
        let amount = match self.dice.below(4) {
            0 => Some(hold),
            1 => Some(self.dice.between(1, hold)),
            2 => Some(self.dice.between(1, hold * 3)),
            _ => None,
        };
        let amount = amount.map(|amount| crate::simulate::house::order(amount, self.vendors[self.lines[line].vendor].plans[0].hold));
        let want = match self.dice.below(3) {
            0 => Want::Extend { call, order_ref: Some(format!("order-{key}")), amount, gift: None },
            1 => Want::Extend { call, order_ref: None, amount, gift: None },
            _ => Want::Extend { call, order_ref: None, amount: None, gift: Some(Span::from_s(self.dice.between(1, 600))) },
        };
        let ask = self.ask(line, key, want);
        self.plan(after, What::Send { ask });
    }

    pub(super) fn vendor_ends(&mut self, line: usize, after: Span) {
        let Some(call) = self.lines[line].call else { return };
        let key = self.key(line, "end");
        let ask = self.ask(line, key, Want::End { call });
        self.plan(after, What::Send { ask });
    }

    pub(super) fn key(&mut self, line: usize, what: &str) -> String {
        format!("{what}-{line}-{}-{}", self.lines[line].turn, self.asks.len())
    }

    pub(super) fn ask(&mut self, line: usize, key: String, want: Want) -> u32 {
        let vendor = self.lines[line].vendor;
        let number = self.asks.len() as u32;
        let mut hash = [7; 32];
        hash[..4].copy_from_slice(&number.to_be_bytes());
        let turn = self.lines[line].turn;
        let vendor_id = self.vendors[vendor].id;
        self.asks.push(Ask { vendor, vendor_id, key, hash, want, line, turn, tries: 0, success: None, is_done: false });
        number
    }

    /// Sends a command over the network, and looks after it.
    pub(super) fn send(&mut self, ask: u32) -> Done {
        let is_over = self.is_draining() && self.lines[self.asks[ask as usize].line].is_over;
        let command = &mut self.asks[ask as usize];
        if command.is_done || (command.tries == 0 && is_over) {
            return Ok(());
        }
        self.waiting += usize::from(command.tries == 0);
        command.tries += 1;
        let tries = i64::from(command.tries.min(6));
        let is_bad = self.has(|faults| faults.commands) && !self.is_draining();
        let copies = if is_bad { [0, 1, 1, 1, 1, 1, 2, 3][self.dice.below(8) as usize] } else { 1 };
        for _ in 0..copies {
            let after = if is_bad && self.dice.in_1000(60) { self.dice.ms(1000, 90_000) } else { self.dice.ms(3, 120) };
            self.plan(after, What::Arrive { ask });
        }
        let again = self.dice.ms(2000, 4000 + 2000 * tries);
        self.plan(again, What::Send { ask });
        Ok(())
    }

    /// The server answers: the answer travels, or not.
    pub(super) fn reply(&mut self, ask: u32, status: u16, body: String) {
        let is_bad = self.has(|faults| faults.commands) && !self.is_draining();
        if is_bad && self.dice.in_1000(120) {
            return; // Lost. The same command comes again.
        }
        let after = self.dice.ms(3, 120);
        self.plan(after, What::Answer { ask, status, body });
    }

    pub(super) fn answered(&mut self, number: u32, status: u16, body: String) -> Done {
        let ask = &mut self.asks[number as usize];
        if vendors::is_open(status, &body) {
            return Ok(()); // It is sent again anyhow.
        }
        let is_success = (200..300).contains(&status);
        if is_success {
            if let Some((first, text)) = &ask.success {
                return expect((*first, text) == (status, &body), "one_reply", || {
                    format!("{} was answered {first} {text} and then {status} {body}", ask.key)
                });
            }
            ask.success = Some((status, body.clone()));
        }
        let was_done = std::mem::replace(&mut ask.is_done, true);
        self.waiting -= usize::from(!was_done);
        let (line, turn) = (ask.line, ask.turn);
        let is_create = matches!(ask.want, Want::Create { .. });
        if is_create {
            // The terms are not needed any more; there are many of them.
            if let Want::Create { terms } = &mut ask.want
                && is_success
            {
                terms.plan_name = String::new();
            }
        }
        if self.lines[line].turn != turn || self.lines[line].is_over {
            return Ok(());
        }
        match (is_create, is_success) {
            (true, true) if self.lines[line].call.is_none() => {
                let id = body.strip_prefix(r#"{"id":""#).and_then(|rest| rest.split('"').next()).and_then(|id| id.parse().ok());
                self.lines[line].call = id;
                self.seats.extend(id.map(|id| (id, line)));
                self.lines[line].began = Some(self.now);
                self.count.calls += 1;
                self.invite(line);
                if self.is_draining() {
                    // It was ordered before the end, and is made after it.
                    let after = self.dice.ms(0, 60_000);
                    self.act_in(after, line, Side::Client, Act::HangUp);
                }
                // It may have come to its end before its answer did.
                if let Some(id) = id.filter(|id| self.watch.calls.get(id).is_some_and(|seen| seen.is_settled)) {
                    self.seats.remove(&id);
                    self.line_ends(line);
                    let after = self.dice.about(self.settings.rest);
                    self.plan(after, What::Order { line });
                } else if self.dice.in_1000(40) {
                    let after = self.dice.about(self.settings.talk);
                    self.vendor_ends(line, after);
                }
            }
            (true, false) if !was_done => {
                // Not enough in the wallet, most likely.
                self.line_ends(line);
                if !self.is_draining() {
                    let hold = self.lines[line].hold;
                    self.credit(line, hold);
                    let after = self.dice.ms(1000, 8000);
                    self.plan(after, What::Order { line });
                }
            }
            _ => {}
        }
        Ok(())
    }
}
