//! One leg: the transport of one page to a call, from its offer to its end.
//!
//! Holds what belongs to this page alone (credentials, addresses, DTLS, data channel, media state) and decides what needs
//! no other leg: whether it lives, where to send, when to ask for a key frame. It sends nothing itself; [`super::calls`]
//! takes what it has to say.

use super::budget::Budget;
use super::dtls::Dtls;
use super::hold::Hold;
use super::ice::Credentials;
use super::sctp::Control;
use super::sdp::{Announced, Offer};
use super::socket::Path;
use crate::call::Side;
use crate::clock::Span;
use crate::ids::{CallId, LegId};
use crate::relay::LegMedia;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Addresses a page may use at once: more are only seen when somebody tries to fill the table.
pub(crate) const MOST_ADDRESSES: usize = 8;
/// An address that was silent for so long is left for one that media comes from (a new NAT binding need not nominate itself).
const SILENCE: Duration = Duration::from_secs(1);
/// An address stays its leg's for so long after the last packet, whichever other party claims it, and whatever checks without a
/// nomination come from elsewhere: longer than the pause between a browser's consent checks (about 2.5 s), so that nobody takes a
/// silent page's place, and a page that only listens is not sent to by a way it merely tries.
pub(crate) const ADDRESS_HOLD: Duration = Duration::from_secs(3);
/// So many packets of media in a row from one other address, and none from where we send to, show where the page is: a packet of media
/// is taken once, a copy of a request nominates whom its sender likes. What comes by the way that the page's own nomination left counts
/// after [`SILENCE`] only: a page may send by it until it has our answer (RFC 8445 section 8.1.1).
const MEDIA_PROOF: u8 = 5;
/// Requests of a page that are remembered, so that a copy from elsewhere is known: those of 160 s of consent.
const MOST_ASKED: usize = 64;
/// What cannot be the slot of an address.
const NO_SLOT: u8 = u8::MAX;
/// A leg that nothing authentic came from for so long is sent no media: nobody may be there who wants it (RFC 7675), and one who
/// comes back after half a round of sequence numbers could open nothing. Browsers ask for consent every 2.5 s.
const CONSENT: Duration = Duration::from_secs(10);
/// A leg that is not connected so long after its offer has failed.
pub(crate) const CONNECT_LIMIT: Duration = Duration::from_secs(30);
/// Between two requests for a key frame.
const KEY_FRAME_PAUSE: Duration = Duration::from_millis(300);
/// Requests for a key frame before we leave it to the pages.
const KEY_FRAME_REQUESTS: u8 = 6;
/// Texts a page may send in a second; more are dropped.
const TEXTS_A_SECOND: u32 = 50;

/// An address of a page that sent us a request signed with our password.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub(crate) path: Path,
    pub(crate) heard: Instant,
    /// A connection that was closed: its slot is for the next address.
    is_gone: bool,
    /// Nothing but the request that made it known came from it so far.
    is_new: bool,
    /// A request that came from it first came from another address too: one of the two only repeats what the other says.
    is_doubled: bool,
}

/// A leg that sends and is silent for this long falters: a packet comes each 20 ms, in silence (DTX) each 400 ms.
const FALTER: Duration = Duration::from_secs(1);

/// What was heard of a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// A signed request with USE-CANDIDATE.
    Nomination,
    /// One without.
    Check,
    /// RTP or RTCP.
    Media,
}

/// What a leg shows of life, and what was said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// Heard lately.
    Present,
    /// Reported to falter; what was its last proof then.
    Faltering(Instant),
    /// Reported lost; what was its last proof then.
    Lost(Instant),
}

/// A change of [`Life`] to be reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Silent since.
    Lost(Instant),
    /// Heard again at.
    Back(Instant),
    /// Silent since, not yet lost.
    Faltered(Instant),
    /// Heard again before it was lost.
    Steadied(Instant),
}

/// How long a leg may be silent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// A leg that sends media.
    pub(crate) media_timeout: Span,
    /// One that only answers and asks.
    pub(crate) quiet_timeout: Span,
    /// Only its voice counts, once it has begun.
    pub(crate) audio_required: bool,
}

/// One leg.
pub(crate) struct Leg {
    pub(crate) media: LegMedia,
    /// The other side's leg to which media goes; none while there is nobody or the call is over.
    pub(crate) other: Option<usize>,
    /// Where to send; none before the first authenticated request.
    pub(crate) path: Option<Path>,
    /// Its last authenticated packet of any kind.
    pub(crate) proof: Instant,
    /// Its last voice packet.
    pub(crate) voice_proof: Option<Instant>,
    /// It has sent media at least once.
    pub(crate) has_sent: bool,
    /// Its voice reached `other`, and that was reported.
    pub(crate) reached: bool,
    /// Its side is tapped, or was a moment ago.
    pub(crate) hold: Option<Box<Hold>>,
    known: Vec<Known>,
    /// From which other address media came last, and how often in a row.
    stray: (u8, u8),
    /// Nothing authentic came for [`CONSENT`].
    is_silent: bool,
    key_frame: Option<KeyFrame>,
    pub(crate) cold: Box<Cold>,
}

/// A key frame we want of this leg's page.
#[derive(Clone, Copy, Debug)]
struct KeyFrame {
    left: u8,
    due: Instant,
}

/// What is not touched by media packets.
pub(crate) struct Cold {
    pub(crate) call: CallId,
    pub(crate) side: Side,
    pub(crate) id: LegId,
    pub(crate) offer: Offer,
    pub(crate) announced: Announced,
    pub(crate) session: u64,
    pub(crate) version: u64,
    pub(crate) credentials: Credentials,
    /// Those before an ICE restart: the page uses them until its new ones work.
    pub(crate) earlier: Option<Credentials>,
    pub(crate) dtls: Option<Dtls>,
    pub(crate) control: Option<Control>,
    pub(crate) patience: Patience,
    pub(crate) life: Life,
    pub(crate) opened: Instant,
    pub(crate) measured: Instant,
    /// When its life was reported last.
    pub(crate) told: Instant,
    /// The earliest entry in the shard's timer queue; later ones are stale.
    pub(crate) timer: Option<Instant>,
    /// Its pieces of work in line.
    pub(crate) chores: u8,
    /// Seen to send since.
    sending: Option<Instant>,
    /// Answers to requests from where we send to, to those from elsewhere, and to those that were asked before: who only repeats a page's
    /// requests must not use up what its own get.
    pub(crate) answers: [Budget; 3],
    /// Records of its data channel.
    pub(crate) data: Budget,
    /// The way that a nomination left, and when: what comes by it was on its way, or its page does not know yet that it was heard.
    left: Option<(Path, Instant)>,
    /// The last requests: transaction, and the slot of the address each first came from. As with the answers, those from elsewhere
    /// are apart: they must not push out what came from where we send to.
    asked: [VecDeque<([u8; 12], u8)>; 2],
    texts: u32,
    texts_since: Instant,
    video_seen: bool,
}

/// What a leg is made of.
pub(crate) struct NewLeg {
    pub(crate) call: CallId,
    pub(crate) side: Side,
    pub(crate) id: LegId,
    pub(crate) offer: Offer,
    pub(crate) announced: Announced,
    pub(crate) session: u64,
    pub(crate) credentials: Credentials,
    pub(crate) patience: Patience,
}

impl Leg {
    pub(crate) fn new(new: NewLeg, now: Instant) -> Self {
        let NewLeg { call, side, id, offer, announced, session, credentials, patience } = new;
        let control = offer.has_data().then(Control::new);
        Self {
            media: LegMedia::new(id, offer.streams(&announced)),
            other: None,
            path: None,
            proof: now,
            voice_proof: None,
            has_sent: false,
            reached: false,
            hold: None,
            known: Vec::with_capacity(1),
            stray: (NO_SLOT, 0),
            is_silent: false,
            key_frame: None,
            cold: Box::new(Cold {
                call,
                side,
                id,
                offer,
                announced,
                session,
                version: 1,
                credentials,
                earlier: None,
                dtls: None,
                control,
                patience,
                life: Life::Present,
                opened: now,
                measured: now,
                told: now,
                timer: None,
                chores: 0,
                sending: None,
                answers: [Budget::new(now); 3],
                data: Budget::new(now),
                left: None,
                asked: [VecDeque::new(), VecDeque::new()],
                texts: 0,
                texts_since: now,
                video_seen: false,
            }),
        }
    }

    /// Whether keys are there.
    pub(crate) fn is_connected(&self) -> bool {
        self.media.is_keyed()
    }

    /// Addresses it was heard from.
    pub(crate) fn known(&self) -> &[Known] {
        &self.known
    }

    /// Takes an address of an authenticated request, in place of the longest silent one if there are too many. Returns its
    /// slot and the address it replaced.
    pub(crate) fn learn(&mut self, path: Path, now: Instant) -> (u8, Option<Path>) {
        let fresh = Known { path, heard: now, is_gone: false, is_new: true, is_doubled: false };
        if let Some(slot) = self.known.iter().position(|known| known.is_gone) {
            self.known[slot] = fresh;
            self.disown(slot as u8);
            return (slot as u8, None);
        }
        if self.known.len() < MOST_ADDRESSES {
            self.known.push(fresh);
            // At most MOST_ADDRESSES, so it fits.
            return ((self.known.len() - 1) as u8, None);
        }
        let spare = self.known.iter().enumerate().filter(|(_, known)| !self.path.is_some_and(|path| known.path.comes_from(path)));
        let slot = spare.min_by_key(|(_, known)| known.heard).map_or(0, |(slot, _)| slot);
        let old = std::mem::replace(&mut self.known[slot], fresh).path;
        self.disown(slot as u8);
        (slot as u8, Some(old))
    }

    /// Forgets an address whose connection was closed. What went there goes to the address that was heard last, if there is one.
    pub(crate) fn forget(&mut self, slot: u8) {
        let Some(gone) = self.known.get_mut(usize::from(slot)) else { return };
        gone.is_gone = true;
        if self.path == Some(gone.path) {
            let left = self.known.iter().filter(|known| !known.is_gone);
            self.path = left.max_by_key(|known| known.heard).map(|known| known.path);
        }
    }

    /// A slot has another address: what was asked and sent from there before was not by that one.
    fn disown(&mut self, slot: u8) {
        if self.stray.0 == slot {
            self.stray = (NO_SLOT, 0);
        }
        self.cold.asked.iter_mut().flatten().filter(|(_, from)| *from == slot).for_each(|(_, from)| *from = NO_SLOT);
    }

    /// Whether a signed request was asked before; then it does nothing more, from wherever it comes. The page itself repeats one only to where
    /// it asked first, from where it asked first (RFC 8489 section 6.2.1), and its first was taken. Of two addresses who came first may be
    /// the thief: its nominations hold nothing up.
    pub(crate) fn is_repeated(&mut self, transaction: [u8; 12], from: Option<u8>) -> bool {
        let Some((_, first)) = self.cold.asked.iter().flatten().find(|(asked, _)| *asked == transaction) else { return false };
        if Some(*first) != from {
            if let Some(known) = self.known.get_mut(usize::from(*first)) {
                known.is_doubled = true;
            }
            self.cold.left = None;
        }
        true
    }

    /// Remembers a request that was not asked before.
    pub(crate) fn note_asked(&mut self, transaction: [u8; 12], slot: u8, is_elsewhere: bool) {
        let asked = &mut self.cold.asked[usize::from(is_elsewhere)];
        if asked.len() == MOST_ASKED {
            asked.pop_front();
        }
        asked.push_back((transaction, slot));
    }

    /// Something authentic came from a known address: proof of life, and maybe the place to send to from now on.
    pub(crate) fn heard(&mut self, slot: u8, what: Heard, path: Path, now: Instant) {
        self.proof = now;
        self.is_silent = false;
        if self.path == Some(path) {
            if let Some(known) = self.known.get_mut(usize::from(slot)) {
                (known.heard, known.is_new) = (now, false);
            }
            if what == Heard::Media {
                self.stray = (NO_SLOT, 0);
            }
            return;
        }
        // As it was before this packet: it may come from the same address of the page, to another of ours.
        let current = self.path.and_then(|path| self.known.iter().find(|known| known.path.comes_from(path)));
        let silence = current.map(|known| now.saturating_duration_since(known.heard));
        let is_silent_for = |limit| silence.is_none_or(|silence| silence >= limit);
        let mut is_settled = false;
        if let Some(known) = self.known.get_mut(usize::from(slot)) {
            is_settled = !known.is_new && !known.is_doubled;
            (known.heard, known.path, known.is_new) = (now, path, false);
        }
        let was_left = self.cold.left.is_some_and(|(left, at)| left == path && now.saturating_duration_since(at) < SILENCE);
        let moves = match what {
            Heard::Nomination => {
                // Back to where it just left: it may be a request that was late, so media says which it was.
                self.cold.left = if was_left { None } else { self.path.filter(|_| is_settled).map(|left| (left, now)) };
                true
            }
            Heard::Check => is_silent_for(ADDRESS_HOLD),
            Heard::Media if was_left => false,
            Heard::Media => {
                let (last, times) = self.stray;
                self.stray = (slot, if last == slot { times + 1 } else { 1 });
                self.stray.1 >= MEDIA_PROOF || is_silent_for(SILENCE)
            }
        };
        if moves && what == Heard::Media {
            // A copy that is no longer remembered may have nominated the way left.
            self.known.iter_mut().filter(|known| self.path == Some(known.path)).for_each(|known| known.is_doubled = true);
        }
        if moves {
            (self.path, self.stray) = (Some(path), (NO_SLOT, 0));
        }
    }

    /// Notes whether it consents to what it is sent: it was heard lately. Looked at once a tick.
    pub(crate) fn look_for_consent(&mut self, now: Instant) {
        self.is_silent = now.saturating_duration_since(self.proof) >= CONSENT;
    }

    /// Where to send media to, if anywhere.
    pub(crate) fn way(&self) -> Option<Path> {
        self.path.filter(|_| !self.is_silent)
    }

    /// How long it has been sending; nothing while it is lost. Looked at once a tick.
    pub(crate) fn sending_for(&mut self, now: Instant) -> Duration {
        if !self.has_sent || matches!(self.cold.life, Life::Lost(_)) {
            self.cold.sending = None;
            return Duration::ZERO;
        }
        now.saturating_duration_since(*self.cold.sending.get_or_insert(now))
    }

    /// Whether the other side can be heard or was lost, if that changed. `since` of a loss is the last proof.
    pub(crate) fn turn(&mut self, now: Instant) -> Option<Turn> {
        if !self.is_connected() {
            return None;
        }
        let (proof, limit, is_sending) = self.last_proof();
        match self.cold.life {
            Life::Faltering(since) if proof > since => {
                self.cold.life = Life::Present;
                Some(Turn::Steadied(proof))
            }
            Life::Present | Life::Faltering(_) if now.saturating_duration_since(proof) >= Duration::from(limit) => {
                self.cold.life = Life::Lost(proof);
                Some(Turn::Lost(proof))
            }
            Life::Lost(since) if proof > since => {
                self.cold.life = Life::Present;
                Some(Turn::Back(proof))
            }
            Life::Present if is_sending && now.saturating_duration_since(proof) >= FALTER => {
                self.cold.life = Life::Faltering(proof);
                Some(Turn::Faltered(proof))
            }
            Life::Present | Life::Faltering(_) | Life::Lost(_) => None,
        }
    }

    /// Its last proof of life, while it is neither faltering nor lost.
    pub(crate) fn alive(&self) -> Option<Instant> {
        (self.is_connected() && self.cold.life == Life::Present).then(|| self.last_proof().0)
    }

    /// The last proof of life that counts, how long it may be ago, and whether media is expected.
    fn last_proof(&self) -> (Instant, Span, bool) {
        let patience = self.cold.patience;
        match self.voice_proof {
            Some(voice) if patience.audio_required => (voice, patience.media_timeout, true),
            _ if self.has_sent => (self.proof, patience.media_timeout, true),
            _ => (self.proof, patience.quiet_timeout, false),
        }
    }

    /// Asks for a key frame until one is seen, a few times.
    pub(crate) fn want_key_frame(&mut self, now: Instant) {
        if self.media.streams().video.is_some_and(|video| video.peer_ssrc.is_some()) {
            self.key_frame = Some(KeyFrame { left: KEY_FRAME_REQUESTS, due: now });
        }
    }

    /// Notes a camera packet that was sent on.
    pub(crate) fn saw_video(&mut self, is_key_frame: bool) {
        self.cold.video_seen = true;
        if is_key_frame {
            self.key_frame = None;
        }
    }

    /// Whether to send a request for a key frame now. Nothing is asked of a camera that is still off: its first picture
    /// is a key frame.
    pub(crate) fn key_frame_is_due(&mut self, now: Instant) -> bool {
        let Some(wanted) = &mut self.key_frame else { return false };
        if !self.cold.video_seen || now < wanted.due {
            return false;
        }
        wanted.left -= 1;
        wanted.due = now + KEY_FRAME_PAUSE;
        if wanted.left == 0 {
            self.key_frame = None;
        }
        true
    }

    /// Whether it waits for a key frame.
    pub(crate) fn wants_key_frame(&self) -> bool {
        self.key_frame.is_some()
    }

    /// The next moment its DTLS or data channel has something to do.
    pub(crate) fn due(&self) -> Option<Instant> {
        let dtls = self.cold.dtls.as_ref().and_then(Dtls::due);
        let control = self.cold.control.as_ref().and_then(Control::due);
        dtls.into_iter().chain(control).min()
    }

    /// Encrypts what the data channel has to send and takes all records for the page.
    pub(crate) fn records(&mut self, now: Instant) -> VecDeque<bytes::BytesMut> {
        let Some(dtls) = &mut self.cold.dtls else { return VecDeque::new() };
        if let Some(control) = &mut self.cold.control
            && dtls.is_up()
        {
            while let Some(packet) = control.out.pop_front() {
                dtls.write(&packet, now);
            }
        }
        std::mem::take(&mut dtls.out)
    }

    /// Texts the page sent, as many as it may.
    pub(crate) fn texts(&mut self, now: Instant) -> Vec<String> {
        let Some(control) = &mut self.cold.control else { return Vec::new() };
        if now.saturating_duration_since(self.cold.texts_since) >= Duration::from_secs(1) {
            self.cold.texts_since = now;
            self.cold.texts = 0;
        }
        let mut texts = Vec::from(std::mem::take(&mut control.heard));
        let left = TEXTS_A_SECOND.saturating_sub(self.cold.texts) as usize;
        texts.truncate(left);
        self.cold.texts += texts.len() as u32;
        texts
    }
}

/// Whether the first packet of a VP8 key frame is in this payload (RFC 7741 sections 4.2 and 4.3).
pub(crate) fn begins_key_frame(payload: &[u8]) -> bool {
    let Some((&first, mut rest)) = payload.split_first() else { return false };
    let starts_first_partition = first & 0x10 != 0 && first & 0x07 == 0;
    if !starts_first_partition {
        return false;
    }
    if first & 0x80 != 0 {
        let Some((&extension, after)) = rest.split_first() else { return false };
        let picture = match after.first() {
            Some(id) if extension & 0x80 != 0 => 1 + usize::from(id & 0x80 != 0),
            _ => 0,
        };
        let skip = picture + usize::from(extension & 0x40 != 0) + usize::from(extension & 0x30 != 0);
        rest = after.get(skip..).unwrap_or_default();
    }
    // The inverse key frame flag of the frame tag (RFC 6386 section 9.1).
    rest.first().is_some_and(|tag| tag & 1 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_frame_is_known_by_its_first_packet() {
        assert!(begins_key_frame(&[0x10, 0x00]));
        assert!(!begins_key_frame(&[0x10, 0x01]), "a picture that needs another");
        assert!(!begins_key_frame(&[0x00, 0x00]), "in the middle of a partition");
        assert!(!begins_key_frame(&[0x11, 0x00]), "a later partition");
        // X with I (15 bits), L and K: five octets of extension.
        assert!(begins_key_frame(&[0x90, 0xd0, 0x80, 0x01, 0x05, 0x20, 0x00]));
        assert!(!begins_key_frame(&[0x90, 0xd0, 0x80, 0x01, 0x05, 0x20, 0x01]));
        for short in [&[][..], &[0x10], &[0x90], &[0x90, 0x80], &[0x90, 0x80, 0x80], &[0x90, 0xf0, 0x80, 0x01]] {
            assert!(!begins_key_frame(short), "{short:?}");
        }
    }
}
