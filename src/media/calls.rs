//! All calls and legs of one shard: what each datagram, command and moment does to them.
//!
//! Owned outright by the shard's thread; no socket and no clock, time is an argument, and what is to be sent or reported
//! is left in queues. Invariant: media passes only between the two current legs of a call that is not stopped.

mod chores;
mod playing;
mod tapping;
#[cfg(test)]
mod tests;
mod time;
mod transport;

use super::demux::{Directory, Kind, Place};
use super::dtls::{self, Identity};
use super::leg::{Heard, Leg, NewLeg, Patience, begins_key_frame};
use super::placement::Forgotten;
use super::play::Player;
use super::sdp::{self, Announced, Fragment, Local, Offer, write_fragment};
use super::shard::gate::Census;
use super::socket::{Path, SLOT};
use super::stats::{Counts, Loss};
use super::tap::{Copies, Purpose};
use super::{OfferError, OpenLeg, Report};
use crate::call::Side;
use crate::clock::{Clock, Moment};
use crate::ids::{CallId, LegId};
use crate::relay::{self, Lane, Profile, Received};
use chores::Chore;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tapping::Release;
use time::{MEASURE_EVERY, quality, sum};

/// How long the legs of a stopped call stay, so that its last texts arrive.
const FAREWELL: Duration = Duration::from_secs(2);
/// The first figures of a leg come this long after it connects.
const FIRST_MEASURE: Duration = Duration::from_secs(1);
/// Reports that may be dropped are, when so many wait.
const BACKLOG_LIMIT: usize = 256;

#[derive(Default)]
struct Call {
    seats: [Seat; 2],
    /// Stopped: its legs are about to go.
    is_stopped: bool,
    /// Opens of it, answered or refused.
    opens: u32,
}

/// One side of a call, over all its legs.
struct Seat {
    /// The leg that carries media.
    current: Option<Place>,
    /// A newer leg that is not connected yet.
    joining: Option<Place>,
    /// The SRTP profile to offer first: one that failed is not offered first again.
    prefer: Profile,
    /// Totals of earlier legs.
    earlier: relay::Quality,
    /// What its voice is copied for.
    tap: Option<Purpose>,
    /// What is played to it, and its entry among all that play; an earlier one is stale.
    player: Option<Box<Player>>,
    frame_due: Option<Instant>,
}

impl Default for Seat {
    fn default() -> Self {
        Self {
            current: None,
            joining: None,
            prefer: Profile::AeadAes128Gcm,
            earlier: relay::Quality::default(),
            tap: None,
            player: None,
            frame_due: None,
        }
    }
}

/// The state of a shard.
pub(crate) struct Calls {
    identity: Arc<Identity>,
    clock: Clock,
    candidates: Vec<SocketAddr>,
    /// The candidates are TCP addresses too.
    takes_tcp: bool,
    legs: Vec<Option<Leg>>,
    free: Vec<Place>,
    ids: BTreeMap<LegId, Place>,
    calls: BTreeMap<CallId, Call>,
    directory: Directory,
    timers: BinaryHeap<Reverse<(Instant, Place)>>,
    /// Sides that something is played to, and when their next frame is due.
    playing: BinaryHeap<Reverse<(Instant, CallId, Side)>>,
    /// Where tapped voices are copied to.
    copies: Copies,
    releases: Vec<Release>,
    /// Work of joins that media goes before.
    chores: VecDeque<Chore>,
    /// Stopped calls and when their legs go, in order.
    leaving: VecDeque<(Instant, CallId)>,
    stopped: usize,
    /// Legs that have sent for a second, as of the last tick.
    sending: usize,
    /// Calls that are no longer here, for the handle.
    pub(crate) forgotten: Vec<Forgotten>,
    /// To be sent, and where: everything but forwarded media.
    pub(crate) datagrams: Vec<(Path, Vec<u8>)>,
    /// To be told, in order.
    pub(crate) reports: VecDeque<Report>,
    /// What was counted so far.
    pub(crate) counts: Counts,
}

impl Calls {
    pub(crate) fn new(identity: Arc<Identity>, clock: Clock, candidates: Vec<SocketAddr>, takes_tcp: bool) -> Self {
        Self {
            identity,
            clock,
            candidates,
            takes_tcp,
            legs: Vec::new(),
            free: Vec::new(),
            ids: BTreeMap::new(),
            calls: BTreeMap::new(),
            directory: Directory::default(),
            timers: BinaryHeap::new(),
            playing: BinaryHeap::new(),
            copies: Copies::none(),
            releases: Vec::new(),
            chores: VecDeque::new(),
            leaving: VecDeque::new(),
            stopped: 0,
            sending: 0,
            forgotten: Vec::new(),
            datagrams: Vec::new(),
            reports: VecDeque::new(),
            counts: Counts::default(),
        }
    }

    /// Legs and calls there are now.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        (self.ids.len(), self.calls.len())
    }

    /// For the gate.
    pub(crate) fn census(&self) -> Census {
        Census { calls: self.calls.len(), live: self.calls.len() - self.stopped, sending: self.sending }
    }

    // Datagrams

    /// Takes a datagram in its buffer. What it returns is to be sent from the same buffer: its new length and where to.
    pub(crate) fn datagram(
        &mut self,
        buffer: &mut [u8; SLOT],
        length: usize,
        path: Path,
        now: Instant,
        at: Moment,
    ) -> Option<(usize, Path)> {
        self.counts.received += 1;
        match Kind::of(&buffer[..length]) {
            Kind::Media => return self.media(buffer, length, path, now, at),
            Kind::Stun => self.stun(&buffer[..length], path, now),
            Kind::Dtls => self.dtls(&buffer[..length], path, now),
            Kind::Other => self.counts.lose(Loss::Unknown),
        }
        None
    }

    fn media(&mut self, buffer: &mut [u8; SLOT], length: usize, path: Path, now: Instant, at: Moment) -> Option<(usize, Path)> {
        let Some((place, slot)) = self.directory.at(path) else {
            self.counts.lose(Loss::Stranger);
            return None;
        };
        let leg = self.legs.get_mut(place)?.as_mut()?;
        let received = match leg.media.receive(&mut buffer[..length], at) {
            Ok(received) => received,
            Err(cause) => {
                self.counts.drop(cause);
                return None;
            }
        };
        leg.heard(slot, Heard::Media, path, now);
        let lane = match received {
            Received::Rtp(packet) => {
                leg.has_sent = true;
                if packet.lane == Lane::Audio {
                    leg.voice_proof = Some(now);
                    // Also where nobody else is there to hear it.
                    if leg.hold.is_some() && tapping::copy(leg, &packet, buffer, at, &mut self.copies, &mut self.counts) {
                        return None;
                    }
                }
                Some(packet.lane)
            }
            Received::Rtcp { .. } => None,
        };
        let Some(other) = leg.other else {
            self.counts.lose(Loss::Alone);
            return None;
        };
        let Ok([Some(from), Some(to)]) = self.legs.get_disjoint_mut([place, other]) else { return None };
        // Before the packet is sealed: what is sealed and then not sent would leave a gap that nobody counted.
        let Some(path) = to.way() else {
            self.counts.lose(Loss::Alone);
            return None;
        };
        let key_frame = match received {
            Received::Rtp(packet) if packet.lane == Lane::Video && from.wants_key_frame() => begins_key_frame(&buffer[packet.payload()]),
            _ => false,
        };
        let length = match relay::pass(&from.media, &mut to.media, received, buffer, at) {
            Ok(length) => length,
            Err(cause) => {
                self.counts.drop(cause);
                return None;
            }
        };
        self.counts.forwarded += 1;
        match lane {
            Some(Lane::Audio) if !from.reached => {
                from.reached = true;
                self.reports.push_back(Report::AudioReached { call: from.cold.call, from: from.cold.side, at });
            }
            Some(Lane::Video) => from.saw_video(key_frame),
            _ => (),
        }
        Some((length, path))
    }

    /// Whether an authenticated request came by this path, and its leg is still there.
    pub(crate) fn knows(&self, path: Path) -> bool {
        self.directory.at(path).is_some()
    }

    /// A connection was closed.
    pub(crate) fn gone(&mut self, path: Path) {
        let Some((place, slot)) = self.directory.at(path) else { return };
        self.directory.forget_address(path);
        if let Some(leg) = self.legs.get_mut(place).and_then(Option::as_mut) {
            leg.forget(slot);
        }
    }

    // The life of a leg

    /// Whether it has been here: then its legs may come, however full it is.
    pub(crate) fn has(&self, call: CallId) -> bool {
        self.calls.contains_key(&call)
    }

    /// Answers an offer and makes a leg of it. A call has at most four: each side's, and the one that is to replace it.
    pub(crate) fn open(&mut self, open: &OpenLeg, now: Instant) -> Result<String, OfferError> {
        let result = self.make_leg(open, now);
        match self.calls.get_mut(&open.call) {
            Some(call) => call.opens += 1,
            None => self.forgotten.push(Forgotten { call: open.call, opens: 1 }),
        }
        result
    }

    /// Refuses a new call: the shard is full.
    pub(crate) fn refuse(&mut self, call: CallId) -> OfferError {
        self.counts.refused_calls += 1;
        self.forgotten.push(Forgotten { call, opens: 1 });
        OfferError::Overloaded
    }

    fn make_leg(&mut self, open: &OpenLeg, now: Instant) -> Result<String, OfferError> {
        if self.is_stopped(open.call) || self.ids.contains_key(&open.leg) {
            return Err(OfferError::Gone);
        }
        let offer = Offer::read(&open.offer, open.medium)?;
        let credentials = self.credentials()?;
        let (announced, session) = self.announce(&offer)?;
        let audio_only = offer.audio_only;
        let patience =
            Patience { media_timeout: open.media_timeout, quiet_timeout: open.quiet_timeout, audio_required: open.audio_required };
        let leg =
            Leg::new(NewLeg { call: open.call, side: open.side, id: open.leg, offer, announced, session, credentials, patience }, now);
        let text = self.answer(&leg);
        let place = self.free.pop().unwrap_or_else(|| {
            self.legs.push(None);
            self.legs.len() - 1
        });
        self.directory.note_name(leg.cold.credentials.ufrag(), place);
        self.legs[place] = Some(leg);
        self.ids.insert(open.leg, place);
        let seat = &mut self.calls.entry(open.call).or_default().seats[open.side as usize];
        // Somebody who joins twice in a row means the second time.
        if let Some(stale) = seat.joining.replace(place) {
            self.close(stale, now);
        }
        if audio_only {
            self.reports.push_back(Report::AudioOnly { call: open.call, side: open.side, leg: open.leg });
        }
        Ok(text)
    }

    /// Restarts ICE by a new offer on the same leg; DTLS and streams stay. The same offer again gives the same answer.
    pub(crate) fn restart(&mut self, call: CallId, id: LegId, offer: &str) -> Result<String, OfferError> {
        let place = self.find(call, id).ok_or(OfferError::Gone)?;
        let medium = if self.leg(place)?.media.streams().video.is_some() { crate::call::Medium::Video } else { crate::call::Medium::Audio };
        let offer = Offer::read(offer, medium)?;
        let leg = self.leg(place)?;
        if offer.streams(&leg.cold.announced) != *leg.media.streams() || offer.has_data() != leg.cold.offer.has_data() {
            return Err(OfferError::Unacceptable("changes its media; that takes a new join"));
        }
        if offer.fingerprints != leg.cold.offer.fingerprints {
            return Err(OfferError::Unacceptable("changes its certificate; that takes a new join"));
        }
        if offer.ufrag != leg.cold.offer.ufrag {
            self.renew(place)?;
        }
        let leg = self.leg(place)?;
        leg.cold.offer = offer;
        leg.cold.version += 1;
        let leg = self.legs.get(place).and_then(Option::as_ref).ok_or(OfferError::Gone)?;
        Ok(self.answer(leg))
    }

    /// Takes an ICE fragment: nothing to say to candidates, new credentials to a restart.
    pub(crate) fn patch(&mut self, call: CallId, id: LegId, fragment: &str) -> Result<String, OfferError> {
        let place = self.find(call, id).ok_or(OfferError::Gone)?;
        let fragment = Fragment::read(fragment)?;
        let leg = self.leg(place)?;
        let Some(ufrag) = fragment.ufrag.filter(|ufrag| *ufrag != leg.cold.offer.ufrag) else { return Ok(String::new()) };
        leg.cold.offer.ufrag = ufrag;
        self.renew(place)?;
        let leg = self.legs.get(place).and_then(Option::as_ref).ok_or(OfferError::Gone)?;
        Ok(write_fragment(&leg.cold.offer, &self.local(leg)))
    }

    /// Ends a call: nothing passes from here on; its legs stay a little for their last texts. An offer that is still on its way finds the
    /// call stopped, also where it would have been the first.
    pub(crate) fn stop(&mut self, id: CallId, now: Instant) {
        let call = self.calls.entry(id).or_default();
        if call.is_stopped {
            return;
        }
        call.is_stopped = true;
        for seat in &mut call.seats {
            (seat.tap, seat.player) = (None, None);
        }
        self.stopped += 1;
        self.leaving.push_back((now + FAREWELL, id));
        let (joining, current) = (call.seats.each_ref().map(|seat| seat.joining), call.seats.each_ref().map(|seat| seat.current));
        for place in current.into_iter().flatten() {
            if let Some(leg) = self.legs.get_mut(place).and_then(Option::as_mut) {
                (leg.other, leg.hold) = (None, None);
            }
        }
        for place in joining.into_iter().flatten() {
            self.close(place, now);
        }
    }

    /// Hangs one leg up.
    pub(crate) fn close_leg(&mut self, call: CallId, id: LegId, now: Instant) {
        if let Some(place) = self.find(call, id) {
            self.close(place, now);
        }
    }

    /// Sends a text on a leg's data channel.
    pub(crate) fn control(&mut self, call: CallId, id: LegId, text: String, now: Instant) {
        let Some(place) = self.find(call, id) else { return };
        if let Some(control) = self.legs.get_mut(place).and_then(Option::as_mut).and_then(|leg| leg.cold.control.as_mut()) {
            control.send(text, now);
            self.flush(place, now);
        }
    }

    /// Says goodbye on all legs.
    pub(crate) fn close_all(&mut self, now: Instant) {
        for place in 0..self.legs.len() {
            self.close(place, now);
        }
        self.calls.clear();
        self.leaving.clear();
        self.stopped = 0;
    }

    fn connected(&mut self, place: Place, now: Instant) {
        let Some(leg) = self.legs.get_mut(place).and_then(Option::as_mut) else { return };
        leg.proof = now;
        if leg.cold.patience.audio_required {
            // From now on she must be heard: one who comes back and never sends a sound is away.
            leg.voice_proof = Some(now);
        }
        // The first figures come soon, so that a short call's record has some.
        leg.cold.measured = now.checked_sub(MEASURE_EVERY - FIRST_MEASURE).unwrap_or(now);
        let (call, side, id) = (leg.cold.call, leg.cold.side, leg.cold.id);
        let Some(state) = self.calls.get_mut(&call) else { return };
        let seat = &mut state.seats[side as usize];
        if seat.joining == Some(place) {
            seat.joining = None;
        }
        leg.tap(seat.tap);
        let old = seat.current.replace(place).filter(|old| *old != place);
        let stopped = state.is_stopped;
        self.reports.push_back(Report::Connected { call, side, leg: id, at: self.clock.at(now) });
        if let Some(old) = old {
            self.close(old, now);
        }
        if !stopped {
            self.pair(call, now);
        }
    }

    /// Lets media pass between the two current legs.
    fn pair(&mut self, call: CallId, now: Instant) {
        let Some(call) = self.calls.get(&call) else { return };
        let [Some(one), Some(two)] = call.seats.each_ref().map(|seat| seat.current) else { return };
        for (place, other) in [(one, two), (two, one)] {
            if let Some(leg) = self.legs.get_mut(place).and_then(Option::as_mut) {
                leg.other = Some(other);
                leg.reached = false;
                leg.want_key_frame(now);
            }
        }
    }

    fn fail(&mut self, place: Place, why: &'static str, now: Instant) {
        let Some(leg) = self.legs.get(place).and_then(Option::as_ref) else { return };
        let (call, side, id) = (leg.cold.call, leg.cold.side, leg.cold.id);
        if leg.cold.dtls.is_some()
            && let Some(call) = self.calls.get_mut(&call)
        {
            // Some pages cannot begin a second handshake: their next join is offered the other profile at once.
            let prefer = &mut call.seats[side as usize].prefer;
            *prefer = dtls::other(*prefer);
        }
        self.reports.push_back(Report::Failed { call, side, leg: id, why });
        self.close(place, now);
    }

    /// Says goodbye to a page, sums its leg up and forgets it.
    fn close(&mut self, place: Place, now: Instant) {
        if let Some(dtls) = self.legs.get_mut(place).and_then(Option::as_mut).and_then(|leg| leg.cold.dtls.as_mut()) {
            dtls.close(now);
        }
        self.flush(place, now);
        let Some(leg) = self.legs.get_mut(place).and_then(Option::take) else { return };
        self.ids.remove(&leg.cold.id);
        self.directory.forget_name(leg.cold.credentials.ufrag());
        if let Some(earlier) = &leg.cold.earlier {
            self.directory.forget_name(earlier.ufrag());
        }
        for known in leg.known() {
            if self.directory.at(known.path).is_some_and(|(holder, _)| holder == place) {
                self.directory.forget_address(known.path);
            }
        }
        if let Some(other) = leg.other
            && let Some(other) = self.legs.get_mut(other).and_then(Option::as_mut)
            && other.other == Some(place)
        {
            other.other = None;
        }
        self.free.push(place);
        let Some(call) = self.calls.get_mut(&leg.cold.call) else { return };
        let seat = &mut call.seats[leg.cold.side as usize];
        if leg.is_connected() {
            seat.earlier = sum(seat.earlier, leg.media.quality());
            let quality = quality(seat.earlier);
            self.reports.push_back(Report::Measured { call: leg.cold.call, side: leg.cold.side, quality });
        }
        for reference in [&mut seat.current, &mut seat.joining] {
            if *reference == Some(place) {
                *reference = None;
            }
        }
    }

    // Small things

    fn is_stopped(&self, call: CallId) -> bool {
        self.calls.get(&call).is_some_and(|call| call.is_stopped)
    }

    fn find(&self, call: CallId, id: LegId) -> Option<Place> {
        let place = *self.ids.get(&id)?;
        self.legs.get(place)?.as_ref().filter(|leg| leg.cold.call == call).map(|_| place)
    }

    fn leg(&mut self, place: Place) -> Result<&mut Leg, OfferError> {
        self.legs.get_mut(place).and_then(Option::as_mut).ok_or(OfferError::Gone)
    }

    /// Four SSRCs that differ from each other and from the page's, and a session id.
    fn announce(&self, offer: &Offer) -> Result<(Announced, u64), OfferError> {
        let theirs = offer.camera().map(|camera| [camera.ssrc, camera.rtx_ssrc]).unwrap_or_default();
        let mut taken: Vec<u32> = theirs.into_iter().chain([offer.voice().and_then(|voice| voice.ssrc)]).flatten().collect();
        taken.push(0);
        let own = taken.len();
        while taken.len() < own + 4 {
            let mut octets = [0; 4];
            self.identity.random().fill(&mut octets).map_err(|_| OfferError::Overloaded)?;
            let drawn = u32::from_be_bytes(octets);
            if !taken.contains(&drawn) {
                taken.push(drawn);
            }
        }
        let mut octets = [0; 8];
        self.identity.random().fill(&mut octets).map_err(|_| OfferError::Overloaded)?;
        // RFC 9429 section 5.2.1: 63 bits.
        let session = u64::from_be_bytes(octets) >> 1;
        let [voice, announcements, camera, camera_rtx] = [taken[own], taken[own + 1], taken[own + 2], taken[own + 3]];
        Ok((Announced { voice, announcements, camera, camera_rtx }, session))
    }

    fn local<'a>(&'a self, leg: &'a Leg) -> Local<'a> {
        Local {
            session: leg.cold.session,
            version: leg.cold.version,
            ufrag: leg.cold.credentials.ufrag_text(),
            password: leg.cold.credentials.password(),
            fingerprint: self.identity.fingerprint(),
            candidates: &self.candidates,
            takes_tcp: self.takes_tcp,
            announced: leg.cold.announced,
        }
    }

    fn answer(&self, leg: &Leg) -> String {
        sdp::answer(&leg.cold.offer, &self.local(leg))
    }
}

/// The place of a side among a call's seats.
const _: () = assert!(Side::Client as usize == 0 && Side::Companion as usize == 1);
