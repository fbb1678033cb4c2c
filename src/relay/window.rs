//! Which indexes of one SSRC were seen, and which index a 16-bit sequence number means (RFC 3711 sections 3.3.1, 3.3.2).
//!
//! Used for what arrives (a replay is refused) and for what is sent (an index is used once). Changes only by `note`,
//! which is called for authenticated packets.

/// The newest index and the 127 before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Window {
    newest: Option<u64>,
    /// Bit n: `newest - n` was seen.
    seen: u128,
}

/// How many indexes are remembered, the newest included. RFC 3711 asks for 64 at least; at 200 video packets a second
/// this is 0.6 s of reordering.
pub(crate) const WINDOW: u64 = 128;

impl Window {
    /// The greatest index seen.
    pub(crate) fn newest(&self) -> Option<u64> {
        self.newest
    }

    /// The index nearest to the newest one that ends in `sequence`; the sequence number itself before anything was seen.
    pub(crate) fn estimate(&self, sequence: u16) -> u64 {
        let Some(newest) = self.newest else { return u64::from(sequence) };
        let mut distance = i64::from(sequence.wrapping_sub(newest as u16) as i16);
        if distance == i64::from(i16::MIN) && newest & 0x8000 == 0 {
            // Half a round is as near either way: the same roll-over counter counts (RFC 3711 appendix A).
            distance = -distance;
        }
        match newest.checked_add_signed(distance) {
            Some(index) => index,
            // Before index 0: only far ahead within the first round is left.
            None => u64::from(sequence),
        }
    }

    /// Whether the index was not seen and is young enough to know that.
    pub(crate) fn is_new(&self, index: u64) -> bool {
        match self.newest {
            None => true,
            Some(newest) if index > newest => true,
            Some(newest) => newest - index < WINDOW && self.seen >> (newest - index) & 1 == 0,
        }
    }

    /// Remembers a new index.
    pub(crate) fn note(&mut self, index: u64) {
        match self.newest {
            Some(newest) if index <= newest => {
                if newest - index < WINDOW {
                    self.seen |= 1 << (newest - index);
                }
            }
            Some(newest) => {
                let step = index - newest;
                self.seen = if step < WINDOW { self.seen << step | 1 } else { 1 };
                self.newest = Some(index);
            }
            None => *self = Self { newest: Some(index), seen: 1 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn at(newest: u64) -> Window {
        let mut window = Window::default();
        window.note(newest);
        window
    }

    #[test]
    fn a_sequence_number_means_the_nearest_index() {
        for (newest, sequence, index) in [
            (10, 11, 11),
            (10, 9, 9),
            (0xFFFF, 0, 0x1_0000),
            (0x1_0000, 0xFFFF, 0xFFFF),
            (0x1_7FFF, 0xFFFF, 0x1_FFFF),
            (0x1_8000, 0x0000, 0x1_0000),
            (0x3_FFF0, 5, 0x4_0005),
            // Half a round away: the same round.
            (0x2_0000, 0x8000, 0x2_8000),
            // There is nothing before the first round.
            (3, 0xFFFE, 0xFFFE),
        ] {
            assert_eq!(at(newest).estimate(sequence), index, "newest {newest:#x}, sequence {sequence:#x}");
        }
        assert_eq!(Window::default().estimate(0xFFFF), 0xFFFF);
    }

    proptest::proptest! {
        #[test]
        fn an_index_is_new_once_and_never_after_it_left_the_window(steps in proptest::collection::vec(0u64..400, 1..200)) {
            let mut window = Window::default();
            let mut seen = BTreeSet::new();
            let mut newest = 0;
            for (n, step) in steps.iter().enumerate() {
                // A walk that tends forwards.
                let index = (n as u64 * 20 + step).saturating_sub(150);
                newest = newest.max(seen.last().copied().unwrap_or(0));
                let young = seen.is_empty() || index > newest || newest - index < WINDOW;
                proptest::prop_assert_eq!(window.is_new(index), young && !seen.contains(&index));
                if young {
                    window.note(index);
                    seen.insert(index);
                }
            }
        }
    }
}
