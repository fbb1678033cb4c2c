//! Which numbered messages were seen: what arrives twice, by socket and by data channel, counts once.

/// The last 64 numbers below the highest seen, as bits, in the manner of a replay window (RFC 4303 section 3.4.3).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Window {
    highest: u64,
    /// Bit n: `highest - n` was seen.
    seen: u64,
}

impl Window {
    /// True the first time a number is shown. Number 0 and numbers too far back are never new.
    pub(super) fn is_new(&mut self, seq: u64) -> bool {
        if seq == 0 {
            return false;
        }
        if seq > self.highest {
            let shift = seq - self.highest;
            self.seen = if shift < 64 { self.seen << shift } else { 0 } | 1;
            self.highest = seq;
            return true;
        }
        let back = self.highest - seq;
        if back >= 64 || self.seen & (1 << back) != 0 {
            return false;
        }
        self.seen |= 1 << back;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_counts_once_in_any_order() {
        let mut window = Window::default();
        let new: Vec<bool> = [1, 1, 3, 2, 3, 2, 70, 70, 3, 8, 8, 0, 200, 199].map(|n| window.is_new(n)).to_vec();
        assert_eq!(new, [true, false, true, true, false, false, true, false, false, true, false, false, true, true]);
    }
}
