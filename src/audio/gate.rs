//! Whether a leg needs to be decoded at all, from what its packets say without it: level, size, silence.
//!
//! It only sheds load, when workers are short: a client who was loud within the last minute does not sleep, so her sound may go unheard
//! for a while. It decides nothing else; what is not heard counts as lost.

use crate::clock::{Moment, Span};

/// For so long after something loud a leg may go unheard.
const AWAKE: Span = Span::from_s(60);
/// A level as loud as speech, in -dBov (RFC 6464): breath is 20 dB below it.
const LOUD: u8 = 45;
/// Loud packets within a second that count: 200 ms of those of 20 ms.
const ENOUGH: u32 = 10;

/// The gate of one leg.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    /// Packets that were loud in the present second, and when that began.
    loud: u32,
    second: Option<Moment>,
    loud_at: Option<Moment>,
    activity: Activity,
}

impl Gate {
    /// Looks at a packet. `level` is what its header says (RFC 6464), where it does.
    pub fn look(&mut self, at: Moment, level: Option<u8>, octets: usize) {
        let is_loud = match level {
            Some(level) => level & 0x7F <= LOUD && level & 0x7F != 0x7F,
            None => self.activity.is_talk(None, octets),
        };
        if self.second.is_none_or(|second| at.since(second) >= Span::from_s(1)) {
            (self.second, self.loud) = (Some(at), 0);
        }
        self.loud += u32::from(is_loud);
        if self.loud >= ENOUGH {
            self.loud_at = Some(at);
        }
    }

    /// Whether this leg is loud now.
    pub fn is_loud(&self, now: Moment) -> bool {
        self.loud_at == Some(now)
    }

    /// Whether this leg may go unheard now.
    pub fn may_be_skipped(&self, now: Moment) -> bool {
        self.loud_at.is_some_and(|loud| now.since(loud) < AWAKE)
    }
}

/// Whether somebody talks, without decoding: by the level her page sends, or by the size of her packets against her own smallest.
#[derive(Clone, Debug)]
pub struct Activity {
    /// What her packets weigh when she is silent.
    floor: f32,
}

impl Default for Activity {
    fn default() -> Self {
        Self { floor: 200.0 }
    }
}

impl Activity {
    /// Looks at a packet; whether it is talk.
    pub fn is_talk(&mut self, level: Option<u8>, octets: usize) -> bool {
        let octets = octets as f32;
        // Down at once, up within minutes: everybody pauses sooner than that.
        self.floor =
            if octets < self.floor { self.floor + (octets - self.floor) * 0.2 } else { self.floor + (octets - self.floor) * 0.000_1 };
        match level {
            // The voice bit says so, but keyboards set it too.
            Some(level) => level & 0x80 != 0 && level & 0x7F <= LOUD,
            None => octets > self.floor * 1.6 && octets > self.floor + 16.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Moment {
        Moment::from_unix_ms(1_000_000 + ms)
    }

    #[test]
    fn only_who_was_loud_lately_may_be_skipped() {
        let mut gate = Gate::default();
        for number in 0..500 {
            gate.look(at(number * 20), Some(60), 40);
        }
        assert!(!gate.may_be_skipped(at(10_000)), "breath");
        gate.look(at(10_020), Some(20), 90);
        assert!(!gate.may_be_skipped(at(10_020)), "a click");
        for number in 0..20 {
            gate.look(at(11_040 + number * 20), Some(0x80 | 27), 90);
        }
        assert!(gate.may_be_skipped(at(11_440)));
        assert!(!gate.may_be_skipped(at(11_440 + 60_000)));
    }

    #[test]
    fn talk_is_seen_in_levels_and_in_sizes() {
        let mut activity = Activity::default();
        assert!(activity.is_talk(Some(0x80 | 30), 100));
        assert!(!activity.is_talk(Some(30), 100), "no voice bit");
        assert!(!activity.is_talk(Some(0x80 | 60), 100), "a whisper of the room");
        let mut activity = Activity::default();
        let silent = (0..3_000).filter(|number| activity.is_talk(None, 22 + number % 7)).count();
        let talking = (0..3_000).filter(|number| activity.is_talk(None, 70 + number % 30)).count();
        assert_eq!(silent, 0);
        assert!(talking > 2_500, "{talking}");
    }
}
