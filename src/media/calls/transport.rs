//! What a datagram that is not media does to its leg: STUN (whose it is, where it is), DTLS (its keys, its texts), and what the
//! leg has to say in return.
//!
//! Invariant: an address belongs to a leg only after a request from it that was signed with the leg's password, and that is not
//! remembered to have come from another one first.

use super::{BACKLOG_LIMIT, Calls};
use crate::media::budget::Rate;
use crate::media::demux::Place;
use crate::media::dtls;
use crate::media::ice::{Check, Credentials, Request};
use crate::media::leg::{ADDRESS_HOLD, Heard, Leg};
use crate::media::socket::Path;
use crate::media::stats::Loss;
use crate::media::{OfferError, Report};
use std::cmp::Reverse;
use std::time::{Duration, Instant};

/// Binding requests of a leg that are answered: browsers send less than 20 a second even while they check, and repeat what
/// was not answered.
const ANSWERS: Rate = Rate { pause: Duration::from_millis(20), burst: 100 };
/// Records of a leg's data channel that are taken: pages send a few texts in a second and some acknowledgements.
pub(super) const DATA: Rate = Rate { pause: Duration::from_millis(5), burst: 400 };

impl Calls {
    pub(super) fn stun(&mut self, datagram: &[u8], path: Path, now: Instant) {
        let Some(request) = Request::read(datagram) else { return self.counts.lose(Loss::BadStun) };
        let Some(place) = self.directory.named(request.addressee) else { return self.counts.lose(Loss::Stranger) };
        let Some(leg) = self.legs.get_mut(place).and_then(Option::as_mut) else { return };
        let is_elsewhere = leg.path != Some(path);
        let cold = &mut *leg.cold;
        let is_earlier = cold.credentials.ufrag() != request.addressee;
        let credentials = if is_earlier { cold.earlier.as_ref() } else { Some(&cold.credentials) };
        let Some(credentials) = credentials else { return };
        let check = request.check(datagram, credentials.password(), self.identity.crypto());
        if matches!(check, Check::Forged) {
            return self.counts.lose(Loss::BadStun);
        }
        let from = self.directory.at(path).filter(|(holder, _)| *holder == place).map(|(_, slot)| slot);
        let is_repeated = leg.is_repeated(request.transaction, from);
        let cold = &mut *leg.cold;
        if !cold.answers[if is_repeated { 2 } else { usize::from(is_elsewhere) }].take(ANSWERS, now) {
            return self.counts.lose(Loss::TooMany);
        }
        let Some(credentials) = (if is_earlier { cold.earlier.as_ref() } else { Some(&cold.credentials) }) else { return };
        let crypto = self.identity.crypto();
        let (reply, what) = match check {
            Check::Forged => return,
            Check::Conflict => {
                let reply = request.conflict(credentials.password(), crypto);
                return self.datagrams.extend(reply.map(|reply| (path, reply)));
            }
            Check::Good { nominated } => {
                let reply = request.success(credentials.password(), path.peer, crypto);
                (reply, if nominated { Heard::Nomination } else { Heard::Check })
            }
        };
        if is_repeated {
            // It may be honest and its page behind another address by now: that will ask anew. Nothing is done for who only repeats.
            return self.datagrams.extend(reply.map(|reply| (path, reply)));
        }
        let Some(slot) = self.admit(place, path, now) else { return self.counts.lose(Loss::Stranger) };
        self.datagrams.extend(reply.map(|reply| (path, reply)));
        let Some(leg) = self.legs.get_mut(place).and_then(Option::as_mut) else { return };
        leg.note_asked(request.transaction, slot, is_elsewhere);
        leg.heard(slot, what, path, now);
        if !is_earlier && let Some(earlier) = leg.cold.earlier.take() {
            self.directory.forget_name(earlier.ufrag());
        }
        self.put_off_connect(place);
    }

    /// The slot of an address in its leg, which an authenticated request may make. None if it is another leg's still.
    fn admit(&mut self, place: Place, path: Path, now: Instant) -> Option<u8> {
        if let Some((holder, slot)) = self.directory.at(path) {
            if holder == place {
                return Some(slot);
            }
            let of = |place: Place| self.legs.get(place).and_then(Option::as_ref);
            // A page that comes back may come from the same port.
            let party = |leg: &Leg| (leg.cold.call, leg.cold.side);
            let same = of(holder).map(party) == of(place).map(party);
            let known = of(holder).map(Leg::known).unwrap_or_default();
            let heard = known.iter().find(|known| known.path.comes_from(path)).map(|known| known.heard);
            if !same && heard.is_some_and(|heard| now.saturating_duration_since(heard) < ADDRESS_HOLD) {
                return None;
            }
        }
        let (slot, replaced) = self.legs.get_mut(place)?.as_mut()?.learn(path, now);
        // It may be another leg's by now, which took it after a silence.
        if let Some(old) = replaced
            && self.directory.at(old).is_some_and(|(holder, _)| holder == place)
        {
            self.directory.forget_address(old);
        }
        self.directory.note_address(path, place, slot);
        Some(slot)
    }

    pub(super) fn dtls(&mut self, datagram: &[u8], path: Path, now: Instant) {
        let Some((place, _)) = self.directory.at(path) else { return self.counts.lose(Loss::Stranger) };
        self.put_off_datagram(place, datagram, now);
    }

    pub(super) fn carry(&mut self, place: Place, events: Vec<dtls::Event>, now: Instant) {
        for event in events {
            let Some(leg) = self.legs.get_mut(place).and_then(Option::as_mut) else { return };
            match event {
                dtls::Event::Keyed(keying) => match leg.media.key(&keying, self.identity.crypto()) {
                    Ok(()) => {
                        if let Some(control) = &mut leg.cold.control {
                            control.begin(now);
                        }
                        self.connected(place, now);
                    }
                    Err(_) => self.fail(place, "its keys cannot be used", now),
                },
                dtls::Event::Ignored => self.counts.lose(Loss::BadDtls),
                dtls::Event::Data(record) => {
                    if !leg.cold.data.take(DATA, now) {
                        self.counts.lose(Loss::TooMany);
                    } else if let Some(control) = &mut leg.cold.control {
                        control.read(record.freeze(), now);
                    }
                }
                dtls::Event::Closed => {
                    let (call, side, id, since) = (leg.cold.call, leg.cold.side, leg.cold.id, self.clock.at(leg.proof));
                    if leg.is_connected() && !self.is_stopped(call) {
                        self.reports.push_back(Report::Hushed { call, side, leg: id, since });
                    }
                    self.close(place, now);
                }
                dtls::Event::Stranger => self.fail(place, "its certificate is not the one its offer named", now),
                dtls::Event::Refused => self.fail(place, "its DTLS handshake failed", now),
            }
        }
    }

    /// Puts a leg's records into the queue, tells its texts and sets its timer.
    pub(super) fn flush(&mut self, place: Place, now: Instant) {
        let Some(leg) = self.legs.get_mut(place).and_then(Option::as_mut) else { return };
        // Without a way there they wait: a page whose connection broke is soon back on another one.
        if let Some(path) = leg.path {
            self.datagrams.extend(leg.records(now).into_iter().map(|record| (path, record.to_vec())));
        }
        let (call, side, id) = (leg.cold.call, leg.cold.side, leg.cold.id);
        for text in leg.texts(now) {
            if self.reports.len() < BACKLOG_LIMIT {
                self.reports.push_back(Report::Control { call, side, leg: id, text });
            }
        }
        let due = leg.due();
        if let Some(due) = due
            && leg.cold.timer.is_none_or(|timer| due < timer)
        {
            leg.cold.timer = Some(due);
            self.timers.push(Reverse((due, place)));
        }
    }

    /// New ICE credentials; the old ones work until the new are used.
    pub(super) fn renew(&mut self, place: Place) -> Result<(), OfferError> {
        let fresh = self.credentials()?;
        self.directory.note_name(fresh.ufrag(), place);
        let leg = self.leg(place)?;
        let old = std::mem::replace(&mut leg.cold.credentials, fresh);
        if leg.cold.earlier.is_some() {
            // Nobody has used the newer ones yet, and by the earlier ones the page is still there.
            self.directory.forget_name(old.ufrag());
        } else {
            leg.cold.earlier = Some(old);
        }
        Ok(())
    }

    pub(super) fn credentials(&self) -> Result<Credentials, OfferError> {
        // 48 random bits: taken at once only by a miracle, then by another draw.
        let drawn =
            (0..8).find_map(|_| Credentials::draw(self.identity.random()).filter(|drawn| self.directory.named(drawn.ufrag()).is_none()));
        drawn.ok_or(OfferError::Overloaded)
    }
}
