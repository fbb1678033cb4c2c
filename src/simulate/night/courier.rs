//! The courier of a night: what the real store's outbox has due goes to vendors' endpoints over the lossy network, by the rules of
//! `webhooks::schedule`, and what came of it goes back into the store.
//!
//! Only where there is an outbox, which the reference alone has not.

use super::*;
use crate::ids::EndpointId;
use crate::simulate::post::MONEY;
use crate::store::{Endpoint, Secret, WebhookWrite};
use crate::webhooks::schedule::{Allowance, JITTER, Pace, outcome, wait};

/// The waits between tries: short, so that all come through within a night, and more than any endpoint is away.
const RETRIES: [Span; 64] = {
    let mut waits = [Span::from_s(300); 64];
    (waits[0], waits[1], waits[2]) = (Span::from_s(5), Span::from_s(30), Span::from_s(120));
    waits
};
/// An answer that has not come by then never will, as in the service's settings.
const TIMEOUT: Span = Span::from_s(15);
/// What the disk has no room for is noted later, as in the courier.
const PAUSE: Span = Span::from_s(5);

impl Night<'_> {
    /// Two endpoints for each vendor: one hears everything, one hears of money.
    pub(super) fn endpoints(&mut self, vendor: crate::ids::VendorId, writes: &mut Vec<Write>) {
        if !self.books.has_outbox() {
            return;
        }
        for money_only in [false, true] {
            let id = EndpointId::new(self.ids.next(self.now));
            self.post.add(id, vendor, money_only);
            let endpoint = Endpoint {
                id,
                vendor,
                url: "https://shop.example/events".to_owned(),
                description: None,
                words: money_only.then(|| MONEY.map(str::to_owned).to_vec()),
                secret: Secret([9; 32]),
                old_secrets: Vec::new(),
                created_at: self.now,
                disabled: None,
                last_success_at: None,
                failing_since: None,
                last_error: None,
                pending: 0,
            };
            writes.push(Write::Webhook(WebhookWrite::Add { endpoint: Box::new(endpoint), most: 8 }));
        }
    }

    /// The outbox is looked at then, unless it is before.
    pub(super) fn look_in(&mut self, after: Span) {
        let at = self.now + after;
        if self.books.has_outbox() && self.post.looks_at.is_none_or(|due| at < due) {
            self.post.looks_at = Some(at);
            let boot = self.boots;
            self.plan(after, What::LookOut { boot });
        }
    }

    pub(super) fn look_out(&mut self, boot: u32) -> Done {
        if boot != self.boots || self.house.is_none() || self.post.looks_at.is_none_or(|due| due > self.now) {
            return Ok(());
        }
        self.post.looks_at = None;
        if let Some(until) = self.asleep_until {
            self.look_in(until.since(self.now) + Span::from_ms(1));
            return Ok(());
        }
        let now = self.server_now();
        // Twice the places, since what is under way is due as well.
        let (targets, next) = self.books.due(now, Allowance::MOST * 2)?;
        for target in targets {
            for letter in self.post.send(target, boot, now) {
                let after = self.dice.ms(5, 200);
                self.plan(after, What::Letter { letter });
            }
        }
        if let Some(next) = next {
            self.look_in(next.since(now));
        }
        Ok(())
    }

    /// A letter comes to its endpoint, or is lost, or the endpoint is in trouble.
    pub(super) fn letter(&mut self, letter: u32) -> Done {
        let is_bad = self.has(|faults| faults.commands) && !self.is_draining();
        let boot = self.post.letter(letter).boot;
        if is_bad && self.dice.in_1000(8) {
            let away = self.dice.ms(1000, 600_000);
            self.post.goes_down(letter, self.now + away);
        }
        let is_away = is_bad && self.post.is_down(letter, self.now);
        let chance = if is_bad { self.dice.below(100) } else { 100 };
        let (takes, status, after) = match chance {
            _ if is_away => (false, None, TIMEOUT),
            0..3 => return self.lose(letter),
            3..10 => (false, Some(*self.dice.pick(&[500, 404, 302, 429])), self.dice.ms(5, 900)),
            // It took it, and nobody hears of that: it comes once more.
            10..16 => (true, None, TIMEOUT),
            16..24 => (true, Some(204), self.dice.ms(1000, 14_000)),
            _ => (true, Some(200), self.dice.ms(5, 300)),
        };
        if !is_away {
            self.post.arrives(letter, takes, &self.books.memory)?;
        }
        self.plan(after, What::LetterAnswered { boot, letter, status });
        Ok(())
    }

    fn lose(&mut self, letter: u32) -> Done {
        let boot = self.post.letter(letter).boot;
        self.plan(TIMEOUT, What::LetterAnswered { boot, letter, status: None });
        Ok(())
    }

    /// The courier has an answer, or waited long enough.
    pub(super) fn letter_answered(&mut self, boot: u32, letter: u32, status: Option<u16>) -> Done {
        if boot != self.boots || self.house.is_none() {
            return Ok(()); // The next server finds it due, and sends it again.
        }
        if let Some(until) = self.asleep_until {
            let after = until.since(self.now) + Span::from_ms(1);
            self.plan(after, What::LetterAnswered { boot, letter, status });
            return Ok(());
        }
        let (at, jitter) = (self.server_now(), self.dice.below(u64::from(JITTER) + 1) as u32);
        let of = self.post.letter(letter);
        let outcome = outcome(status.ok_or_else(|| "no answer".to_owned()), || wait(&RETRIES, of.tries, jitter).map(|wait| at + wait));
        let pace = Pace::of(&outcome, at.since(of.sent_at));
        of.answered = Some((of.attempt(at, status, outcome), pace));
        self.note_letter(boot, letter)
    }

    pub(super) fn note_letter(&mut self, boot: u32, letter: u32) -> Done {
        let Some((attempt, _)) = self.post.letter(letter).answered.clone().filter(|_| boot == self.boots) else { return Ok(()) };
        self.with_house(|house, _| {
            house.note(letter, attempt);
            Ok(())
        })
    }

    /// What became of a letter is on disk, or not yet.
    pub(super) fn letter_noted(&mut self, letter: u32, noted: Result<(), StoreError>) -> Done {
        match noted {
            Ok(()) => {
                self.post.noted(letter);
                self.look_in(Span::ZERO);
            }
            Err(StoreError::Full | StoreError::Busy) => {
                let boot = self.boots;
                self.plan(PAUSE, What::NoteLetter { boot, letter });
            }
            Err(StoreError::Broken(fault)) => return Err(Breach::new("delivery", fault)),
            // Nothing more is sent until the next start.
            Err(StoreError::Closed | StoreError::Database(_)) => {}
        }
        Ok(())
    }
}
