//! What is to happen once something is on disk, in the order in which it was handed over.
//!
//! The service and the simulation both wait by it. Invariant: nothing happens before its own transaction came back, and what says that
//! something was done not before all that was handed over earlier.

use crate::seeded::{self, Bug};
use crate::store::{Outcome, StoreError};
use std::collections::VecDeque;

/// What a transaction came back with.
pub type Answer = Result<Outcome, StoreError>;

/// A queue of things that wait for the disk.
#[derive(Debug)]
pub struct Turns<T> {
    waiting: VecDeque<Waiting<T>>,
    last_ticket: u64,
}

/// What waits, for which transaction (none: for all before), and what that came back with.
#[derive(Debug)]
struct Waiting<T> {
    ticket: Option<u64>,
    then: T,
    answer: Option<Answer>,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), last_ticket: 0 }
    }
}

impl<T> Turns<T> {
    /// Puts in line what happens when a transaction came back; the ticket names the transaction.
    pub fn submit(&mut self, then: T) -> u64 {
        self.last_ticket += 1;
        self.waiting.push_back(Waiting { ticket: Some(self.last_ticket), then, answer: None });
        self.last_ticket
    }

    /// Puts in line what needs no transaction of its own: it happens after all that was handed over before, and is given back if that
    /// is nothing.
    pub fn after_all(&mut self, then: T) -> Option<T> {
        if self.waiting.is_empty() {
            return Some(then);
        }
        self.waiting.push_back(Waiting { ticket: None, then, answer: Some(Ok(Outcome::Committed)) });
        None
    }

    /// A transaction came back. If the disk had no room for it and it is none that `must` be written, it is given back at once:
    /// nothing came of it, so it need not wait with the facts that the disk has not taken yet.
    pub fn came_back(&mut self, ticket: u64, answer: Answer, must: impl Fn(&T) -> bool) -> Option<(T, Answer)> {
        let place = self.waiting.iter().position(|waiting| waiting.ticket == Some(ticket))?;
        if matches!(answer, Err(StoreError::Full | StoreError::Busy)) && !must(&self.waiting[place].then) {
            return self.waiting.remove(place).map(|waiting| (waiting.then, answer));
        }
        self.waiting[place].answer = Some(answer);
        None
    }

    /// What may happen next.
    pub fn pop(&mut self) -> Option<(T, Answer)> {
        if seeded::has(Bug::SaidTooEarly) {
            return self.waiting.pop_front().map(|waiting| (waiting.then, waiting.answer.unwrap_or(Ok(Outcome::Committed))));
        }
        let waiting = self.waiting.pop_front_if(|waiting| waiting.answer.is_some())?;
        Some((waiting.then, waiting.answer.unwrap_or(Err(StoreError::Closed))))
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DONE: Answer = Ok(Outcome::Committed);

    #[test]
    fn what_is_said_waits_for_all_that_was_handed_over_before() {
        let mut turns = Turns::default();
        assert_eq!(turns.after_all("now"), Some("now"));
        let (first, second) = (turns.submit("first"), turns.submit("second"));
        assert_eq!(turns.after_all("after both"), None);
        assert_eq!(turns.came_back(second, DONE, |_| true), None);
        assert_eq!(turns.pop(), None);
        assert_eq!(turns.came_back(first, DONE, |_| true), None);
        let happened: Vec<&str> = std::iter::from_fn(|| turns.pop()).map(|(then, _)| then).collect();
        assert_eq!(happened, ["first", "second", "after both"]);
        assert!(turns.is_empty());
    }

    #[test]
    fn what_the_disk_has_no_room_for_is_told_at_once_unless_it_must_be_written() {
        let mut turns = Turns::default();
        let (fact, credit) = (turns.submit("fact"), turns.submit("credit"));
        let must = |then: &&str| *then == "fact";
        assert_eq!(turns.came_back(credit, Err(StoreError::Full), must), Some(("credit", Err(StoreError::Full))));
        assert_eq!(turns.came_back(fact, Err(StoreError::Full), must), None);
        assert_eq!(turns.pop(), Some(("fact", Err(StoreError::Full))));
    }
}
