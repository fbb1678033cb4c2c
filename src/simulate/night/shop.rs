//! What vendors' programs do beside selling: they give back, take again, pay out, and change how their calls are settled.
//!
//! Rarely, so that a night without faults is as fast as before; and among it what must be refused.

use super::*;
use crate::billing::Bearer;
use crate::call::{Ending, Rule, Sold};
use crate::money::Money;
use crate::simulate::oracle;
use crate::simulate::vendors::Change;
use crate::store::Direction;

/// Codes of reasons for which a dispute may be decided.
const REASONS: [&str; 5] = ["quality", "not_delivered", "conduct", "goodwill", "correction"];

impl Night<'_> {
    /// A call is settled, with this charge as far as is known: some are complained about.
    pub(super) fn after_settlement(&mut self, line: usize, call: CallId, charge: i64) {
        match self.dice.below(1000) {
            0..90 => {
                // Several at once race each other; later ones come on top.
                let mean = if self.dice.in_1000(500) { Span::from_ms(200) } else { Span::from_s(240) };
                for _ in 0..self.dice.between(1, 4) {
                    let want = self.complaint(line, call, charge);
                    let after = self.dice.about(mean);
                    self.want(line, "return", want, after);
                }
            }
            90..130 => {
                let like = self.money(line, 1);
                let amount = Money::new(self.dice.between(1, self.lines[line].hold.max(1) * 2), like.currency);
                let client = self.lines[line].client.clone();
                let order_ref = format!("out-{line}-{}", self.asks.len());
                let want = Want::RefundClient { client, amount, order_ref };
                if self.dice.in_1000(300) {
                    // A program that forgot the key asks for the same once more.
                    let after = self.dice.ms(0, 9000);
                    self.want(line, "out_again", want.clone(), after);
                }
                let after = self.dice.ms(0, 4000);
                self.want(line, "out", want, after);
            }
            130..155 => {
                let change = self.change_of_policy();
                self.want(line, "policy", Want::SetPolicy { change }, Span::ZERO);
            }
            _ => {}
        }
    }

    /// A call that is on is complained about: nothing goes back before it is settled.
    pub(in crate::simulate) fn complain_early(&mut self, line: usize, after: Span) {
        let Some(call) = self.lines[line].call else { return };
        let want = self.complaint(line, call, 1000);
        self.want(line, "early", want, after);
    }

    fn want(&mut self, line: usize, what: &str, want: Want, after: Span) {
        let key = self.key(line, what);
        let ask = self.ask(line, key, want);
        self.plan(after, What::Send { ask });
    }

    fn money(&self, line: usize, amount: i64) -> Money {
        crate::simulate::house::order(amount, self.vendors[self.lines[line].vendor].plans[0].hold)
    }

    fn complaint(&mut self, line: usize, call: CallId, charge: i64) -> Want {
        let bearer = *self.dice.pick(&[Bearer::Shares, Bearer::Shares, Bearer::Vendor]);
        let most = charge.max(1);
        let amount = match self.dice.below(8) {
            0 => 1,
            1 => most,
            2 => most + 1,
            _ => self.dice.between(1, most),
        };
        let amount = self.money(line, amount);
        match self.dice.below(10) {
            0 => Want::RefundCall { call, amount: None, bearer },
            1..6 => Want::RefundCall { call, amount: Some(amount), bearer },
            kind => {
                let direction = if kind < 8 { Direction::ToClient } else { Direction::FromClient };
                Want::AdjustCall { call, amount, direction, reason: self.dice.pick::<&str>(&REASONS), bearer }
            }
        }
    }

    /// Some cells of the table, mostly such as a vendor may have.
    fn change_of_policy(&mut self) -> Change {
        let is_fair = self.dice.in_1000(600);
        let mut cells = Vec::new();
        for _ in 0..self.dice.between(0, 8) {
            let (ending, sold) = (*self.dice.pick(&Ending::ALL), *self.dice.pick(&Sold::ALL));
            let rule = if is_fair { *self.dice.pick(oracle::may(ending, sold)) } else { *self.dice.pick(&Rule::ALL) };
            cells.push((ending, sold, rule));
        }
        let shortest = if is_fair { 600 } else { 300 };
        let flat_min_s = if self.dice.in_1000(400) { Some(self.dice.between(shortest, 7200)) } else { None };
        Change { cells, flat_min_s }
    }
}
