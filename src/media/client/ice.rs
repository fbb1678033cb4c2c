//! ICE as the controlling agent against a lite one (RFC 8445): we check its candidates, nominate the first that answers
//! and keep asking for consent (RFC 7675).
//!
//! Sans-IO. Invariant: an address is used for media only after it answered a check signed with the server's password.

use super::ClientError;
use rtc_crypto::RTCCrypto;
use rtc_stun::attributes::{ATTR_ICE_CONTROLLING, ATTR_PRIORITY, ATTR_USE_CANDIDATE, ATTR_USERNAME, RawAttribute};
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_REQUEST, BINDING_SUCCESS, Message, Setter, TransactionId};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Between the first checks, doubled up to [`LONGEST_PACE`].
const FIRST_PACE: Duration = Duration::from_millis(50);
const LONGEST_PACE: Duration = Duration::from_millis(800);
/// Between two requests for consent: half of RFC 7675's 5 s, as browsers do.
const CONSENT_PACE: Duration = Duration::from_millis(2500);
/// Without an answer for so long consent is gone (RFC 7675 section 5.1).
const CONSENT_LIFE: Duration = Duration::from_secs(30);
/// Without any answer for so long there is no way to the server.
const CHECK_LIFE: Duration = Duration::from_secs(15);
/// Requests whose answer is still taken.
const OPEN_LIMIT: usize = 16;
/// Priority of a peer-reflexive candidate, component 1 (RFC 8445 section 5.1.2.1).
const PRIORITY: u32 = (110 << 24) | (65_535 << 8) | 255;

/// One client's ICE.
pub(super) struct Ice {
    user: String,
    password: String,
    tie_breaker: u64,
    candidates: Vec<SocketAddr>,
    selected: Option<SocketAddr>,
    open: VecDeque<(TransactionId, SocketAddr)>,
    pace: Duration,
    due: Instant,
    /// The last answer; the beginning before there is one.
    heard: Instant,
}

impl Ice {
    /// Begins checks at once. `user` is the server's name, a colon and ours.
    pub(super) fn new(user: String, password: String, candidates: Vec<SocketAddr>, tie_breaker: u64, now: Instant) -> Self {
        Self { user, password, tie_breaker, candidates, selected: None, open: VecDeque::new(), pace: FIRST_PACE, due: now, heard: now }
    }

    /// The address that was nominated.
    pub(super) fn selected(&self) -> Option<SocketAddr> {
        self.selected
    }

    /// The addresses of the answer.
    pub(super) fn candidates(&self) -> &[SocketAddr] {
        &self.candidates
    }

    /// Whether `from` is one of the server's addresses.
    pub(super) fn knows(&self, from: SocketAddr) -> bool {
        self.candidates.contains(&from)
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub(super) fn due(&self) -> Instant {
        self.due.min(self.heard + self.life())
    }

    fn life(&self) -> Duration {
        if self.selected.is_some() { CONSENT_LIFE } else { CHECK_LIFE }
    }

    /// Sends the checks that are due; an error when nobody answered for too long.
    pub(super) fn handle_timeout(
        &mut self,
        now: Instant,
        crypto: &dyn RTCCrypto,
        send: &mut impl FnMut(SocketAddr, &[u8]),
    ) -> Result<(), ClientError> {
        if now >= self.heard + self.life() {
            return Err(ClientError::Unreachable);
        }
        if now < self.due {
            return Ok(());
        }
        match self.selected {
            Some(address) => {
                self.due = now + CONSENT_PACE;
                self.check(address, true, crypto, send);
            }
            None => {
                self.due = now + self.pace;
                self.pace = (self.pace * 2).min(LONGEST_PACE);
                let only = self.candidates.len() == 1;
                for address in self.candidates.clone() {
                    self.check(address, only, crypto, send);
                }
            }
        }
        Ok(())
    }

    /// Takes an answer. True when it selected an address.
    pub(super) fn read(
        &mut self,
        datagram: &[u8],
        from: SocketAddr,
        now: Instant,
        crypto: &dyn RTCCrypto,
        send: &mut impl FnMut(SocketAddr, &[u8]),
    ) -> bool {
        let mut message = Message::new();
        if message.unmarshal_binary(datagram).is_err() || message.typ != BINDING_SUCCESS {
            return false;
        }
        // The address must be the one asked (RFC 8445 section 7.2.5.2.1).
        let Some(place) = self.open.iter().position(|open| *open == (message.transaction_id, from)) else { return false };
        if MessageIntegrity::check(&mut message, self.password.as_bytes(), crypto).is_err() {
            return false;
        }
        self.open.remove(place);
        self.heard = now;
        if self.selected.is_some() {
            return false;
        }
        self.selected = Some(from);
        self.due = now + CONSENT_PACE;
        if self.candidates.len() > 1 {
            self.check(from, true, crypto, send);
        }
        true
    }

    fn check(&mut self, to: SocketAddr, nominate: bool, crypto: &dyn RTCCrypto, send: &mut impl FnMut(SocketAddr, &[u8])) {
        let id = TransactionId::new();
        let attribute = |typ, value: &[u8]| -> Box<dyn Setter> {
            Box::new(RawAttribute { typ, length: value.len() as u16, value: value.to_vec() }) // Far below 65,535.
        };
        let mut setters: Vec<Box<dyn Setter + '_>> = vec![
            Box::new(BINDING_REQUEST),
            Box::new(id),
            attribute(ATTR_USERNAME, self.user.as_bytes()),
            attribute(ATTR_PRIORITY, &PRIORITY.to_be_bytes()),
            attribute(ATTR_ICE_CONTROLLING, &self.tie_breaker.to_be_bytes()),
        ];
        if nominate {
            setters.push(attribute(ATTR_USE_CANDIDATE, &[]));
        }
        setters.push(Box::new(MessageIntegrity::new_short_term_integrity_with_provider(self.password.clone(), crypto)));
        setters.push(Box::new(FINGERPRINT));
        let mut message = Message::new();
        if message.build(&setters).is_err() {
            return; // Only the crypto provider can fail; the next check tries again.
        }
        if self.open.len() == OPEN_LIMIT {
            self.open.pop_front();
        }
        self.open.push_back((id, to));
        send(to, &message.raw);
    }
}
