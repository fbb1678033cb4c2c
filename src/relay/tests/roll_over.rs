//! Streams whose sequence numbers wrap, with loss, disorder and reloads around it. The pages are `rtc-srtp`: each counts
//! roll-overs by itself, so a packet that any of the three counts differently is not opened.

use super::super::outgoing::Numbering;
use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// What the page of leg `number` sends as the packet `index`: its payload says which it is.
fn numbered(number: u8, lane: Lane, index: u64) -> Rtp {
    let payload = [&[0x55; 12][..], &index.to_be_bytes()].concat();
    Rtp { payload, ..Rtp::of(number, lane, index as u16, index as u32) }
}

/// A small generator (xorshift), so that a run repeats.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// Disorder and loss: most packets at once, some late, some never, whole bursts lost. Returns what the packets before and
/// this one bring to the other end, in order.
struct Weather {
    dice: Dice,
    late: Vec<(u64, Vec<u8>)>,
    burst: u64,
}

impl Weather {
    fn new(seed: u64) -> Self {
        Self { dice: Dice(seed | 1), late: Vec::new(), burst: 0 }
    }

    fn through(&mut self, index: u64, wire: Vec<u8>) -> Vec<(u64, Vec<u8>)> {
        // Worse around the wrap.
        let near = (index as u16).wrapping_add(150) < 300;
        let (lost, delayed) = if near { (20, 30) } else { (2, 2) };
        if self.burst == 0 && self.dice.roll(10_000) == 0 {
            self.burst = 1 + self.dice.roll(3_000);
        }
        let mut out = Vec::new();
        match self.dice.roll(100) {
            _ if self.burst > 0 => self.burst -= 1,
            chance if chance < lost => (),
            chance if chance < lost + delayed => self.late.push((index, wire)),
            _ => out.push((index, wire)),
        }
        // At most 100 behind, in any order.
        let mut place = 0;
        while place < self.late.len() {
            if index - self.late[place].0 >= 100 || self.dice.roll(30) == 0 {
                out.push(self.late.swap_remove(place));
            } else {
                place += 1;
            }
        }
        out
    }
}

/// A page that hears: opens everything it is sent and knows which index each packet had.
struct Hearing {
    /// Indexes it was sent, by its own count.
    indexes: BTreeSet<u64>,
    newest: Option<u64>,
    heard: u64,
}

impl Hearing {
    fn new() -> Self {
        Self { indexes: BTreeSet::new(), newest: None, heard: 0 }
    }

    fn take(&mut self, page: &mut Context, wire: &[u8], expected: &Rtp, ssrc: u32) {
        let clear = Rtp::parse(&page.decrypt_rtp(wire).expect("the page opens it"));
        assert_eq!((clear.ssrc, &clear.payload), (ssrc, &expected.payload));
        let newest = self.newest.unwrap_or(u64::from(clear.sequence));
        let step = i64::from(clear.sequence.wrapping_sub(newest as u16) as i16);
        let index = newest.checked_add_signed(step).expect("it begins low enough for what came late");
        assert!(self.indexes.insert(index), "index {index:#x} came twice");
        self.newest = Some(newest.max(index));
        self.heard += 1;
    }
}

/// One page speaks through three wraps and more while one of the two is reloaded: `reload_speaker` makes the reloaded page a new
/// source on the SSRC that the other's leg has keyed.
fn rounds(lane: Lane, profiles: (Profile, Profile), reload_speaker: bool, seed: u64) {
    let (mut a, mut b) = (side(1, profiles.0), side(2, profiles.1));
    let (mut speaker, mut listener) = (1, 2);
    let mut weather = Weather::new(seed);
    let mut hearing = Hearing::new();
    // Just before the wrap, where no browser begins.
    let start = 0xFF9C;
    let (mut index, mut sent, mut too_early) = (start, 0_u64, 0);
    while sent < 3 * 0x1_0000 + 5_000 {
        if sent == 0x1_8000 {
            weather.late.clear();
            if reload_speaker {
                (a, index, speaker) = (side(3, profiles.1), start, 3);
            } else {
                (b, hearing.newest, listener) = (side(4, profiles.0), None, 4);
                hearing.indexes.clear();
            }
        }
        let packet = numbered(speaker, lane, index);
        let wire = a.send.encrypt_rtp(&packet.bytes()).unwrap().to_vec();
        for (index, wire) in weather.through(index, wire) {
            match carry(&mut a.leg, &mut b.leg, &wire, at(0)) {
                Ok(out) => hearing.take(&mut b.receive, &out, &numbered(speaker, lane, index), ours(listener, lane)),
                // Only before the first that was passed on, of each source.
                Err(cause) => {
                    assert_eq!(cause, Dropped::BeforeStart, "{index:#x}");
                    too_early += 1;
                }
            }
        }
        index += 1;
        sent += 1;
    }
    assert!(too_early < 100, "{too_early}");
    assert!(hearing.heard > sent * 7 / 10, "{} of {sent}", hearing.heard);
    assert!(hearing.newest.is_some_and(|newest| newest > 0x1_8000), "the numbers out wrapped too");
}

#[test]
fn three_rounds_and_a_reload_of_the_speaker_under_gcm() {
    rounds(Lane::Audio, (GCM, CM), true, 1);
}

#[test]
fn three_rounds_and_a_reload_of_the_speaker_under_hmac() {
    rounds(Lane::Video, (CM, GCM), true, 2);
}

#[test]
fn three_rounds_and_a_reload_of_the_listener_under_gcm() {
    rounds(Lane::Video, (GCM, GCM), false, 3);
}

#[test]
fn three_rounds_and_a_reload_of_the_listener_under_hmac() {
    rounds(Lane::Audio, (CM, CM), false, 4);
}

#[test]
fn a_stream_that_wrapped_before_anything_of_it_came_is_opened() {
    for (one, other) in [(GCM, CM), (CM, GCM)] {
        let (mut a, mut b) = (side(1, one), side(2, other));
        let wires: Vec<Vec<u8>> =
            (0xFFF0..0x1_0040).map(|n| a.send.encrypt_rtp(&numbered(1, Lane::Audio, n).bytes()).unwrap().to_vec()).collect();
        let mut pass = |n: u64| {
            let out = carry(&mut a.leg, &mut b.leg, &wires[(n - 0xFFF0) as usize], at(0))?;
            let clear = Rtp::parse(&b.receive.decrypt_rtp(&out).expect("the page opens it"));
            assert_eq!(clear.payload, numbered(1, Lane::Audio, n).payload);
            Ok(clear.sequence)
        };
        assert_eq!(pass(0x1_0003), Ok(3));
        assert_eq!(pass(0x1_0003), Err(Dropped::Replayed));
        assert_eq!(pass(0x1_0001), Ok(1), "late, after the wrap");
        assert_eq!(pass(0xFFFE), Err(Dropped::BeforeStart), "late, before it: authentic, but there is no number left below");
        assert_eq!(pass(0xFFFE), Err(Dropped::Replayed));
        for n in 0x1_0004..0x1_0040 {
            assert_eq!(pass(n), Ok(n as u16));
        }
        assert_eq!(a.leg.quality().lost, 0x1_003F - 0xFFFE + 1 - 63);
    }
}

#[test]
fn a_forger_gets_only_so_many_second_tries() {
    for forged in [99, 100] {
        let (mut a, mut b) = (side(1, GCM), side(2, GCM));
        for n in 0..forged {
            let wire = [&numbered(1, Lane::Video, n).bytes()[..], &[9; 16]].concat();
            assert_eq!(carry(&mut a.leg, &mut b.leg, &wire, at(0)), Err(Dropped::Forged));
        }
        let first = a.send.encrypt_rtp(&numbered(1, Lane::Video, 0xFFFF).bytes()).unwrap().to_vec();
        let second = a.send.encrypt_rtp(&numbered(1, Lane::Video, 0x1_0000).bytes()).unwrap().to_vec();
        let wrapped = carry(&mut a.leg, &mut b.leg, &second, at(0)).map(|_| ());
        assert_eq!(wrapped, if forged < 100 { Ok(()) } else { Err(Dropped::Forged) });
        // What begins as it should never needed a second try.
        if forged == 100 {
            carry(&mut a.leg, &mut b.leg, &first, at(0)).unwrap();
            carry(&mut a.leg, &mut b.leg, &second, at(0)).unwrap();
        }
    }
}

#[test]
fn numbering_that_forgets_itself_cannot_make_an_index_protected_twice() {
    let (mut a, mut b) = (side(1, GCM), side(2, GCM));
    for n in 0x7F00..0x8000 {
        media(&mut a, &mut b, &numbered(1, Lane::Audio, n), at(0)).unwrap();
    }
    // A fault of ours: the next source would begin where the first did.
    b.leg.counters.outgoing.numbering[Lane::Audio as usize] = Numbering::default();
    let mut new = side(3, GCM);
    for n in 0x7F00..0x8000 {
        assert_eq!(media(&mut new, &mut b, &numbered(3, Lane::Audio, n), at(0)), Err(Dropped::Spent), "{n:#x}");
    }
    assert_eq!(media(&mut new, &mut b, &numbered(3, Lane::Audio, 0x8000), at(0)).unwrap().sequence, 0x8000);
    // Saved and taken up again, the record goes with the leg.
    let mut counters = b.leg.counters();
    counters.outgoing.numbering[Lane::Audio as usize] = Numbering::default();
    let mut restored = LegMedia::resume(leg_id(2), streams(2), counters);
    restored.key(&Keying::from_exporter(GCM, &material(2, GCM), true).unwrap(), PROVIDER.crypto()).unwrap();
    b.leg = restored;
    let mut third = side(4, GCM);
    assert_eq!(media(&mut third, &mut b, &numbered(4, Lane::Audio, 0x8000), at(0)), Err(Dropped::Spent));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Wherever a stream begins and however much of its beginning is lost.
    #[test]
    fn a_stream_is_opened_wherever_it_begins(gcm in any::<bool>(), start in any::<u16>(), lost in 0u64..0x8000, seed in any::<u64>()) {
        let (mut a, mut b) = (side(1, if gcm { GCM } else { CM }), side(2, if gcm { CM } else { GCM }));
        let start = u64::from(start);
        // The page itself counts on without our hearing it.
        for n in (start..start + lost).step_by(0x1000) {
            a.send.encrypt_rtp(&numbered(1, Lane::Video, n).bytes()).unwrap();
        }
        let mut weather = Weather::new(seed);
        let mut hearing = Hearing::new();
        for n in start + lost..start + lost + 400 {
            let wire = a.send.encrypt_rtp(&numbered(1, Lane::Video, n).bytes()).unwrap().to_vec();
            for (n, wire) in weather.through(n, wire) {
                match carry(&mut a.leg, &mut b.leg, &wire, at(0)) {
                    Ok(out) => hearing.take(&mut b.receive, &out, &numbered(1, Lane::Video, n), ours(2, Lane::Video)),
                    Err(cause) => prop_assert_eq!(cause, Dropped::BeforeStart),
                }
            }
        }
    }
}
