//! Chance, from a seed: the same seed gives the same night.

use crate::clock::{Moment, Span};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use uuid::Uuid;

/// The only source of chance of a night.
pub(super) struct Dice(StdRng);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// A number below `bound`; 0 if that is 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        // Widening multiplication (Lemire 2019) without the rejection: a bias of 2^-32 decides nothing here.
        ((u128::from(self.0.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    pub(super) fn between(&mut self, low: i64, high: i64) -> i64 {
        let width = high.saturating_sub(low).max(0).unsigned_abs() + 1;
        low + self.below(width).cast_signed()
    }

    /// True so many times in a thousand.
    pub(super) fn in_1000(&mut self, times: u64) -> bool {
        self.below(1000) < times
    }

    pub(super) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        let place = usize::try_from(self.below(of.len() as u64)).unwrap_or(0);
        &of[place]
    }

    /// A length of time from `low` to `high` milliseconds.
    pub(super) fn ms(&mut self, low: i64, high: i64) -> Span {
        Span::from_ms(self.between(low, high))
    }

    /// A length of time that is `mean` in the middle of many: short ones are frequent, long ones rare (an exponential distribution).
    pub(super) fn about(&mut self, mean: Span) -> Span {
        let even = (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        Span::from_ms((-(1.0 - even).ln() * mean.ms() as f64) as i64)
    }

    pub(super) fn seed(&mut self) -> u64 {
        self.0.next_u64()
    }
}

/// Makes names that are never made twice and sort by time, like a UUID of version 7 (RFC 9562 section 5.7).
#[derive(Default)]
pub(super) struct Ids(u64);

impl Ids {
    pub(super) fn next(&mut self, now: Moment) -> Uuid {
        self.0 += 1;
        let ms = u128::from(now.unix_ms().max(0).unsigned_abs() & ((1 << 48) - 1));
        Uuid::from_u128(ms << 80 | 7 << 76 | 0b10 << 62 | u128::from(self.0))
    }
}
