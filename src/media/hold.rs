//! Which voice packets of a leg are held back for a worker, and which of those still wait for what goes in their place.
//!
//! The switch lies between two indexes, both ways: what comes late belongs to the side of the switch it was sent on. Invariant: a packet
//! is either forwarded or held, and what is held is given out for replacement once at most, and not after [`LATE`].

use super::tap::Purpose;
use crate::clock::{Moment, Span};
use crate::relay::Stamp;

/// Held packets that are remembered: two seconds and a half of voice, so that a burst after a hole in the network fits.
const MOST_WAITING: usize = 128;
/// What comes back later than this after its packet is of no use: the page has played on.
pub(crate) const LATE: Span = Span::from_ms(500);

/// The state of a tapped leg.
#[derive(Debug, Default)]
pub(crate) struct Hold {
    copies: bool,
    /// Indexes in between are held; the end is not part of it.
    from: u64,
    until: u64,
    /// By index modulo its length; empty until something is held.
    waiting: Vec<Option<Stamp>>,
    /// When the newest was held.
    newest: Option<Moment>,
}

impl Hold {
    /// Takes a purpose, or none: nothing is copied or held any more. `next` is the first index that did not come yet, nor any after it.
    pub(crate) fn set(&mut self, purpose: Option<Purpose>, next: u64) {
        let is_holding = self.until == u64::MAX;
        self.copies = purpose.is_some();
        match purpose {
            Some(Purpose::Replace) if !is_holding => (self.from, self.until) = (next, u64::MAX),
            Some(Purpose::Replace) => (),
            Some(Purpose::Analyse) | None if is_holding => self.until = next.max(self.from),
            Some(Purpose::Analyse) | None => (),
        }
    }

    /// Whether packets are copied.
    pub(crate) fn copies(&self) -> bool {
        self.copies
    }

    /// Whether the packet of this index is held rather than forwarded. Nothing is held that nobody gets a copy of.
    pub(crate) fn holds(&self, index: u64) -> bool {
        self.copies && (self.from..self.until).contains(&index)
    }

    /// Remembers a packet that is held.
    pub(crate) fn keep(&mut self, stamp: Stamp) {
        if self.waiting.is_empty() {
            self.waiting.resize(MOST_WAITING, None);
        }
        self.newest = Some(stamp.at);
        self.waiting[place(stamp.index)] = Some(stamp);
    }

    /// Gives a held packet out for replacement; none if it was not held, was given out before or is too old.
    pub(crate) fn take(&mut self, index: u64, at: Moment) -> Option<Stamp> {
        let stamp = self.waiting.get_mut(place(index))?.take_if(|stamp| stamp.index == index)?;
        (at.since(stamp.at) <= LATE).then_some(stamp)
    }

    /// Whether it has nothing more to do.
    pub(crate) fn is_over(&self, at: Moment) -> bool {
        !self.copies && self.newest.is_none_or(|newest| at.since(newest) > LATE)
    }
}

fn place(index: u64) -> usize {
    // Smaller than the length.
    (index % MOST_WAITING as u64) as usize
}
