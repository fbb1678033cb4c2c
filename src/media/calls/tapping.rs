//! What is done to the voices of tapped sides: copied for workers, held back, replaced by what workers send.
//!
//! A tap belongs to a side of a call; a page that is loaded again comes under it when it is connected. Invariant: a packet that is held is
//! not forwarded, whatever becomes of its copy.

use super::Calls;
use crate::call::Side;
use crate::clock::{Moment, Span};
use crate::ids::CallId;
use crate::media::Report;
use crate::media::hold::Hold;
use crate::media::leg::Leg;
use crate::media::socket::{Path, SLOT};
use crate::media::stats::{Counts, Loss};
use crate::media::tap::{Copies, Processed, Purpose, Tapped};
use crate::relay::{self, RtpPacket};
use std::time::{Duration, Instant};

/// A side whose own voice is given back when its time has come.
pub(super) struct Release {
    due: Instant,
    call: CallId,
    side: Side,
}

impl Calls {
    /// Where copies go from now on. What is held for the workers of before stays held until they or others send it.
    pub(crate) fn copy_to(&mut self, copies: Copies) {
        self.copies = copies;
    }

    /// Wakes the workers that got something.
    pub(crate) fn ring_workers(&mut self) {
        self.copies.ring();
    }

    /// Begins, changes or ends the tap of a side.
    pub(crate) fn tap(&mut self, id: CallId, side: Side, purpose: Option<Purpose>) {
        if self.copies.is_nobody() {
            return;
        }
        let Some(call) = self.calls.get_mut(&id).filter(|call| !call.is_stopped) else { return };
        let seat = &mut call.seats[side as usize];
        seat.tap = purpose;
        let current = seat.current;
        self.releases.retain(|release| (release.call, release.side) != (id, side));
        if let Some(leg) = current.and_then(|place| self.legs.get_mut(place)?.as_mut()) {
            leg.tap(purpose);
        }
    }

    /// Gives a side its own voice back after so long.
    pub(crate) fn release(&mut self, call: CallId, side: Side, within: Span, now: Instant) {
        if self.calls.get(&call).is_some_and(|call| call.seats[side as usize].tap == Some(Purpose::Replace)) {
            self.releases.retain(|release| (release.call, release.side) != (call, side));
            self.releases.push(Release { due: now + Duration::from(within), call, side });
        }
    }

    /// Gives voices back whose time has come.
    pub(super) fn release_due(&mut self, now: Instant) {
        while let Some(place) = self.releases.iter().position(|release| release.due <= now) {
            let Release { call, side, .. } = self.releases.swap_remove(place);
            self.tap(call, side, Some(Purpose::Analyse));
        }
    }

    /// Writes what a worker made of a held packet into the buffer; returns its length and where to send it.
    pub(crate) fn replace(&mut self, processed: &Processed, buffer: &mut [u8; SLOT], at: Moment) -> Option<(usize, Path)> {
        let held = self.find(processed.call, processed.leg).and_then(|place| {
            let hold = self.legs.get_mut(place)?.as_mut()?.hold.as_mut()?;
            Some((place, hold.take(processed.index, at)?))
        });
        let Some((place, stamp)) = held.filter(|_| !processed.payload.is_empty()) else {
            self.counts.lose(Loss::Unasked);
            return None;
        };
        let other = self.legs.get(place).and_then(Option::as_ref).and_then(|leg| leg.other);
        let pair = other.and_then(|other| self.legs.get_disjoint_mut([place, other]).ok());
        let Some([Some(from), Some(to)]) = pair else {
            self.counts.lose(Loss::Alone);
            return None;
        };
        let Some(path) = to.way() else {
            self.counts.lose(Loss::Alone);
            return None;
        };
        match relay::replace(&from.media, &mut to.media, stamp, &processed.payload, buffer) {
            Ok(length) => {
                self.counts.forwarded += 1;
                if !std::mem::replace(&mut from.reached, true) {
                    self.reports.push_back(Report::AudioReached { call: from.cold.call, from: from.cold.side, at });
                }
                Some((length, path))
            }
            Err(cause) => {
                self.counts.drop(cause);
                None
            }
        }
    }
}

/// Copies a voice packet of a tapped leg for its worker; true if the packet is held back.
pub(super) fn copy(leg: &mut Leg, packet: &RtpPacket, buffer: &[u8], at: Moment, copies: &mut Copies, counts: &mut Counts) -> bool {
    let Some(hold) = leg.hold.as_mut().filter(|hold| hold.copies()) else { return false };
    // What is not Opus is not passed on either; that is found and counted where it would be.
    if !leg.media.is_agreed(packet, buffer) {
        return false;
    }
    let held = hold.holds(packet.index);
    let Some(content) = packet.content(buffer) else { return held };
    let stamp = packet.stamp(buffer, at);
    let tapped = Tapped {
        call: leg.cold.call,
        side: leg.cold.side,
        leg: leg.cold.id,
        index: stamp.index,
        timestamp: stamp.timestamp,
        marker: stamp.marker,
        at,
        level: leg.media.audio_level(packet, buffer),
        hears_sounds: leg.media.streams().announcements.is_some(),
        held,
        payload: content.into(),
    };
    if !copies.send(tapped) {
        counts.lose(Loss::TapFull);
    } else if held {
        hold.keep(stamp);
    }
    held
}

impl Leg {
    /// Takes the purpose of its side's tap, or none.
    pub(super) fn tap(&mut self, purpose: Option<Purpose>) {
        if purpose.is_none() && self.hold.is_none() {
            return;
        }
        let next = self.media.newest(relay::Lane::Audio).map_or(0, |newest| newest + 1);
        self.hold.get_or_insert_with(|| Box::new(Hold::default())).set(purpose, next);
    }
}
