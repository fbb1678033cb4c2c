//! What joins and ends cost beside media: handshakes and their timers, farewells. Each piece is small; the shard's loop decides how many of
//! them a turn does, so that a rush of joins never makes the calls that are on late.
//!
//! Invariant: what waits here is bounded, in all and for each leg.

use super::Calls;
use super::transport::DATA;
use crate::ids::LegId;
use crate::media::demux::Place;
use crate::media::dtls::Dtls;
use crate::media::stats::Loss;
use crate::relay::Profile;
use std::cmp::Reverse;
use std::time::Instant;

/// Chores that may wait: those of some hundred joins at once. Pages repeat what is dropped.
const MOST_CHORES: usize = 1024;
/// Of these, one leg's: a flight of a handshake has at most six datagrams.
const MOST_OF_A_LEG: u8 = 32;

/// A record of the data channel (RFC 5246 section 6.2.1).
const APPLICATION_DATA: u8 = 23;

/// A piece of work that costs as much as ten or fifty packets. Its leg may be gone when its turn comes.
pub(super) enum Chore {
    /// The first of our handshake.
    Connect(Place, LegId),
    /// A DTLS datagram of the page.
    Read(Place, LegId, Vec<u8>),
}

impl Calls {
    /// Puts the leg's DTLS datagram in line.
    pub(super) fn put_off_datagram(&mut self, place: Place, datagram: &[u8], now: Instant) {
        let crowded = self.chores.len() >= MOST_CHORES;
        let Some(leg) = self.legs.get_mut(place).and_then(Option::as_mut) else { return };
        let Some(dtls) = &leg.cold.dtls else { return self.counts.lose(Loss::Stranger) };
        // Before it takes a place in line, which a flood of them would leave to nobody else.
        if dtls.is_past(datagram) {
            return self.counts.lose(Loss::BadDtls);
        }
        // To open it costs more than a packet that is sent on, and were it the page's, it would be too much.
        if datagram.first() == Some(&APPLICATION_DATA) && !leg.cold.data.has(DATA, now) {
            return self.counts.lose(Loss::TooMany);
        }
        if crowded || leg.cold.chores >= MOST_OF_A_LEG {
            return self.counts.lose(Loss::Crowded);
        }
        leg.cold.chores += 1;
        self.chores.push_back(Chore::Read(place, leg.cold.id, datagram.to_vec()));
    }

    /// Begins the leg's handshake when its turn comes; the page's next check asks again if the line is too long.
    pub(super) fn put_off_connect(&mut self, place: Place) {
        let crowded = self.chores.len() >= MOST_CHORES;
        let Some(leg) = self.legs.get_mut(place).and_then(Option::as_mut) else { return };
        if leg.cold.dtls.is_none() && leg.cold.chores == 0 && !crowded {
            leg.cold.chores += 1;
            self.chores.push_back(Chore::Connect(place, leg.cold.id));
        }
    }

    /// Does one piece of work that is due; false if there is none.
    pub(crate) fn do_chore(&mut self, now: Instant) -> bool {
        self.leave_next(now) || self.run_timer(now) || self.take_chore(now)
    }

    /// Whether chores wait, timers apart.
    pub(crate) fn has_chores(&self) -> bool {
        !self.chores.is_empty()
    }

    fn take_chore(&mut self, now: Instant) -> bool {
        let Some(chore) = self.chores.pop_front() else { return false };
        let (Chore::Connect(place, id) | Chore::Read(place, id, _)) = chore;
        let Some(leg) = self.legs.get_mut(place).and_then(Option::as_mut).filter(|leg| leg.cold.id == id) else { return true };
        leg.cold.chores -= 1;
        match chore {
            Chore::Connect(..) => {
                let seat = self.calls.get(&leg.cold.call).map(|call| &call.seats[leg.cold.side as usize]);
                let prefer = seat.map_or(Profile::AeadAes128Gcm, |seat| seat.prefer);
                leg.cold.dtls = Some(Dtls::connect(self.identity.clone(), leg.cold.offer.fingerprints.clone(), prefer, now));
            }
            Chore::Read(_, _, datagram) => {
                if let Some(dtls) = &mut leg.cold.dtls {
                    let events = dtls.read(&datagram, now);
                    self.carry(place, events, now);
                }
            }
        }
        self.flush(place, now);
        true
    }

    /// Runs one timer of DTLS or SCTP that is due.
    fn run_timer(&mut self, now: Instant) -> bool {
        let Some(Reverse((due, place))) = self.timers.peek().copied().filter(|Reverse((due, _))| *due <= now) else { return false };
        self.timers.pop();
        let Some(leg) = self.legs.get_mut(place).and_then(Option::as_mut).filter(|leg| leg.cold.timer == Some(due)) else { return true };
        leg.cold.timer = None;
        if let Some(control) = &mut leg.cold.control {
            control.handle_timeout(now);
        }
        if let Some(dtls) = &mut leg.cold.dtls {
            let events = dtls.handle_timeout(now);
            self.carry(place, events, now);
        }
        self.flush(place, now);
        true
    }

    /// Closes the legs of a stopped call whose time has come, and forgets it.
    fn leave_next(&mut self, now: Instant) -> bool {
        let Some((_, id)) = self.leaving.pop_front_if(|(leaves, _)| *leaves <= now) else { return false };
        let seats = self.calls.get(&id).map(|call| call.seats.each_ref().map(|seat| [seat.current, seat.joining])).unwrap_or_default();
        for place in seats.into_iter().flatten().flatten() {
            self.close(place, now);
        }
        if let Some(call) = self.calls.remove(&id) {
            self.stopped -= 1;
            self.forgotten.push(super::Forgotten { call: id, opens: call.opens });
        }
        true
    }
}
