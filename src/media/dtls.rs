//! DTLS 1.2 for one leg: a handshake as client, the page's certificate checked, keys for SRTP, records for SCTP.
//!
//! One certificate per process ([`Identity`]). The retransmission schedule is ours, because the library's is fixed, gives up
//! early and stops for good with the first handshake message that does not complete a flight; plain flights we repeat
//! ourselves. What is no DTLS for the present stage never reaches the library ([`records`]). Invariant: no key and no record
//! leaves this file before the page's certificate had a fingerprint that its offer named.

pub(crate) mod records;

use crate::relay::{Keying, Profile};
use bytes::BytesMut;
use records::{Gate, Stage};
use rtc_crypto::{CryptoError, HashAlgorithm, RTCCrypto, RTCCryptoProvider, RTCRandom};
use rtc_dtls::config::{ClientAuthType, ConfigBuilder, ExtendedMasterSecretType, HandshakeConfig};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::TransportProtocol;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// RFC 5764 section 4.2.
const EXPORTER_LABEL: &str = "EXTRACTOR-dtls_srtp";
/// First wait for the other side's flight; doubled each time (RFC 6347 section 4.2.4.1 allows short ones for media).
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// The longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_millis(1600);
/// Tries a page may refuse before we give up.
const MOST_REFUSALS: u32 = 4;
/// Some pages refuse once and are deaf from then on: one that does not answer the next try within this is given up. So that loss
/// is not taken for deafness, we do not wait long between the first repeats of such a try.
const DEAF: Duration = Duration::from_millis(1600);
const DEAF_WAIT: Duration = Duration::from_millis(100);
/// A plain alert may be forged: for so long we go on as if it were, and what the page says meanwhile proves it.
const DOUBT: Duration = Duration::from_millis(300);
/// Shorter than any of our waits: the library's own timer only has to have run out when we call it.
const LIBRARY_INTERVAL: Duration = Duration::from_millis(20);

/// Who we are to all pages: certificate, its fingerprint, and the two ways to offer SRTP.
pub(crate) struct Identity {
    provider: Arc<dyn RTCCryptoProvider>,
    gcm: Arc<HandshakeConfig>,
    hmac: Arc<HandshakeConfig>,
    fingerprint: String,
}

/// Why no identity could be made: the crypto provider or the machine's randomness failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a DTLS certificate: {0}")]
pub(crate) struct IdentityError(String);

impl Identity {
    /// Makes a key and a self-signed certificate.
    pub(crate) fn generate() -> Result<Self, IdentityError> {
        let failed = |error: &dyn std::fmt::Display| IdentityError(error.to_string());
        let provider = rtc_crypto::default_provider().map_err(|error| failed(&error))?;
        let certificate = Certificate::generate_self_signed(vec!["lull".to_owned()], provider.crypto()).map_err(|error| failed(&error))?;
        let der = certificate.certificate.first().ok_or_else(|| failed(&"no certificate"))?;
        let digest = provider.crypto().hash(HashAlgorithm::Sha256, der).map_err(|error| failed(&error))?;
        let fingerprint = digest.iter().map(|octet| format!("{octet:02X}")).collect::<Vec<_>>().join(":");
        let config = |profile| {
            ConfigBuilder::default()
                .with_crypto_provider(provider.clone())
                .with_certificates(vec![certificate.clone()])
                .with_srtp_protection_profiles(vec![profile])
                .with_client_auth(ClientAuthType::RequireAnyClientCert)
                // Skips only the chain of authorities, which self-signed certificates have not; the fingerprint is checked
                // in `finish` instead, and the library still checks that the page holds the certificate's key.
                .with_insecure_skip_verify(true)
                .with_extended_master_secret(ExtendedMasterSecretType::Require)
                .with_flight_interval(LIBRARY_INTERVAL)
                .build(true, None)
                .map(Arc::new)
        };
        let gcm = config(SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm).map_err(|error| failed(&error))?;
        let hmac = config(SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80).map_err(|error| failed(&error))?;
        Ok(Self { provider, gcm, hmac, fingerprint })
    }

    /// SHA-256 of the certificate as SDP writes it: `AB:CD:…`.
    pub(crate) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    pub(crate) fn crypto(&self) -> &dyn RTCCrypto {
        self.provider.crypto()
    }

    pub(crate) fn random(&self) -> &dyn RTCRandom {
        self.provider.random()
    }

    fn digest(&self, der: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.crypto().hash(HashAlgorithm::Sha256, der)
    }
}

/// What came of a datagram or a timer.
#[derive(Debug)]
pub(crate) enum Event {
    /// The handshake is complete and the certificate is the page's: here are the SRTP keys.
    Keyed(Box<Keying>),
    /// A decrypted record.
    Data(BytesMut),
    /// The page closed (`close_notify`).
    Closed,
    /// The page's certificate is not the one its offer named. There is no second try.
    Stranger,
    /// The page refused every try.
    Refused,
    /// Nothing of the datagram was taken: it is damaged, forged, repeated or out of place.
    Ignored,
}

enum State {
    Handshaking {
        wait: Duration,
        due: Instant,
    },
    /// This try failed; the next one begins at `due`.
    Broken {
        due: Instant,
    },
    Up,
    Over,
}

/// One leg's DTLS.
pub(crate) struct Dtls {
    identity: Arc<Identity>,
    endpoint: Endpoint,
    state: State,
    profile: Profile,
    refusals: u32,
    fingerprints: Vec<[u8; 32]>,
    stage: Stage,
    gate: Gate,
    /// The number of the next plain record.
    next: u64,
    /// Our last flight while all of it is plain.
    flight: Vec<BytesMut>,
    /// A plain alert came; until when it is doubted.
    doubt: Option<Instant>,
    /// When this try began, and whether the page answered anything in it.
    begun: Instant,
    is_answered: bool,
    /// Records to be sent, oldest first.
    pub(crate) out: VecDeque<BytesMut>,
}

impl Dtls {
    /// Begins a handshake. A page picks the SRTP profile by its own order (Chromium would take HMAC before GCM), so one
    /// only is offered: GCM, and HMAC in every second try. `prefer` is the first one.
    pub(crate) fn connect(identity: Arc<Identity>, fingerprints: Vec<[u8; 32]>, prefer: Profile, now: Instant) -> Self {
        let mut dtls = Self {
            endpoint: Endpoint::new(here(), TransportProtocol::UDP, None),
            state: State::Over,
            profile: prefer,
            refusals: 0,
            identity,
            fingerprints,
            stage: Stage::Plain,
            gate: Gate::default(),
            next: 0,
            flight: Vec::new(),
            doubt: None,
            begun: now,
            is_answered: false,
            out: VecDeque::new(),
        };
        dtls.begin(now);
        dtls
    }

    /// Whether records can be sent.
    pub(crate) fn is_up(&self) -> bool {
        matches!(self.state, State::Up)
    }

    /// Whether a datagram can be thrown away unread: once keys are there, nothing plain is believed any more.
    pub(crate) fn is_past(&self, datagram: &[u8]) -> bool {
        self.stage == Stage::Up && datagram.get(3..5) == Some(&[0, 0])
    }

    /// A datagram of the page. Events in order.
    pub(crate) fn read(&mut self, datagram: &[u8], now: Instant) -> Vec<Event> {
        let mut events = Vec::new();
        if matches!(self.state, State::Over | State::Broken { .. }) {
            return vec![Event::Ignored];
        }
        let admitted = self.gate.admit(datagram, self.stage);
        if admitted.is_alarming {
            self.doubt.get_or_insert(now + DOUBT);
        }
        if admitted.records.is_empty() {
            if !admitted.is_alarming && !admitted.is_kept {
                events.push(Event::Ignored);
            }
            return events;
        }
        let waiting = self.out.len();
        let found = self.endpoint.read(now, there(), None, admitted.records);
        self.collect();
        for event in found.unwrap_or_default() {
            match event {
                EndpointEvent::HandshakeComplete => match self.finish() {
                    Ok(keying) => {
                        self.state = State::Up;
                        self.stage = Stage::Up;
                        self.flight = Vec::new();
                        events.push(Event::Keyed(Box::new(keying)));
                    }
                    Err(Refusal::Stranger) => {
                        self.close(now);
                        events.push(Event::Stranger);
                        return events;
                    }
                    Err(Refusal::NoKeys) => self.refused(now, &mut events),
                },
                EndpointEvent::ApplicationData(data) if self.is_up() => events.push(Event::Data(data)),
                EndpointEvent::PeerClosed if self.is_up() => {
                    self.state = State::Over;
                    events.push(Event::Closed);
                }
                // The library's list may grow; what came before the keys is nothing.
                _ => (),
            }
        }
        match &mut self.state {
            State::Handshaking { wait, due } => {
                // The library ends this try by an alert. Anything else unreadable is dropped: it may be forged, and a lost
                // or damaged flight is repeated.
                if self.out.iter().skip(waiting).any(|record| records::is_alert(record)) {
                    self.refused(now, &mut events);
                } else if self.out.len() > waiting {
                    // We moved on: wait for the answer to the new flight.
                    *wait = FIRST_WAIT;
                    *due = now + FIRST_WAIT;
                    self.doubt = None;
                    self.is_answered = true;
                }
            }
            State::Up if events.is_empty() => events.push(Event::Ignored),
            State::Up | State::Broken { .. } | State::Over => (),
        }
        events
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due; none once the handshake is over.
    pub(crate) fn due(&self) -> Option<Instant> {
        match self.state {
            State::Handshaking { due, .. } => Some(self.doubt.map_or(due, |doubt| doubt.min(due))),
            State::Broken { due } => Some(due),
            State::Up | State::Over => None,
        }
    }

    /// Repeats our last flight if it is time, or starts anew after a failure.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Vec<Event> {
        let mut events = Vec::new();
        match &mut self.state {
            State::Handshaking { .. } if self.doubt.is_some_and(|doubt| doubt <= now) => self.refused(now, &mut events),
            State::Handshaking { wait, due } if *due <= now => {
                let is_deaf = self.refusals > 0 && !self.is_answered;
                *wait = (*wait * 2).min(if is_deaf { DEAF_WAIT } else { LONGEST_WAIT });
                *due = now + *wait;
                let mut exhausted = false;
                if self.stage == Stage::Plain {
                    for record in &mut self.flight {
                        records::renumber(record, &mut self.next);
                        self.out.push_back(record.clone());
                    }
                } else {
                    // What is sealed only the library can repeat; after seven times it gives up for good.
                    let waiting = self.out.len();
                    exhausted = self.endpoint.handle_timeout(there(), now).is_err();
                    self.collect();
                    // So few repeats go out twice each: a page that has its keys already is deaf to a new handshake.
                    let copies: Vec<BytesMut> = self.out.iter().skip(waiting).cloned().collect();
                    self.out.extend(copies);
                }
                if is_deaf && now.saturating_duration_since(self.begun) >= DEAF {
                    self.state = State::Over;
                    events.push(Event::Refused);
                } else if exhausted {
                    // Nothing came through, so nothing was refused.
                    self.begin(now);
                }
            }
            State::Broken { due } if *due <= now => self.begin(now),
            State::Handshaking { .. } | State::Broken { .. } | State::Up | State::Over => (),
        }
        events
    }

    /// Encrypts a record for the page; dropped while there is no connection.
    pub(crate) fn write(&mut self, data: &[u8], now: Instant) {
        if self.is_up() && self.endpoint.write(now, there(), data).is_ok() {
            self.collect();
        }
    }

    /// Says goodbye (`close_notify`) and takes nothing more.
    pub(crate) fn close(&mut self, now: Instant) {
        if !matches!(self.state, State::Over) {
            self.state = State::Over;
            let _ = self.endpoint.close(now); // It only queues an alert.
            self.collect();
        }
    }

    /// Gives this try up; the next one offers the other profile, as the page may have refused this one.
    fn refused(&mut self, now: Instant, events: &mut Vec<Event>) {
        self.doubt = None;
        self.refusals += 1;
        if self.refusals >= MOST_REFUSALS {
            self.state = State::Over;
            events.push(Event::Refused);
            return;
        }
        self.profile = other(self.profile);
        self.state = State::Broken { due: now + FIRST_WAIT * (1 << self.refusals) };
    }

    fn begin(&mut self, now: Instant) {
        let config = match self.profile {
            Profile::AeadAes128Gcm => &self.identity.gcm,
            Profile::Aes128CmHmacSha1_80 => &self.identity.hmac,
        };
        self.endpoint = Endpoint::new(here(), TransportProtocol::UDP, None);
        (self.stage, self.gate, self.doubt) = (Stage::Plain, Gate::default(), None);
        (self.begun, self.is_answered) = (now, false);
        // An error leaves nothing to send; the retransmission timer then ends this try.
        let _ = self.endpoint.connect(now, there(), config.clone(), None);
        self.state = State::Handshaking { wait: FIRST_WAIT, due: now + FIRST_WAIT };
        self.collect();
    }

    /// Checks the page's certificate, then takes the keys.
    fn finish(&self) -> Result<Keying, Refusal> {
        let state = self.endpoint.get_connection_state(there()).ok_or(Refusal::NoKeys)?;
        let certificate = state.peer_certificates.first().ok_or(Refusal::Stranger)?;
        let digest = self.identity.digest(certificate).map_err(|_| Refusal::Stranger)?;
        if !self.fingerprints.iter().any(|expected| expected[..] == digest[..]) {
            return Err(Refusal::Stranger);
        }
        let agreed = match state.srtp_protection_profile() {
            SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm => Profile::AeadAes128Gcm,
            SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80 => Profile::Aes128CmHmacSha1_80,
            _ => return Err(Refusal::NoKeys),
        };
        if agreed != self.profile {
            return Err(Refusal::NoKeys);
        }
        let material = state.export_keying_material(EXPORTER_LABEL, &[], agreed.keying_len()).map_err(|_| Refusal::NoKeys)?;
        Keying::from_exporter(agreed, material.as_ref(), state.is_client()).ok_or(Refusal::NoKeys)
    }

    fn collect(&mut self) {
        let mut is_first = true;
        while let Some(record) = self.endpoint.poll_transmit() {
            let mut record = record.message;
            let is_sealed = records::renumber(&mut record, &mut self.next);
            if self.stage != Stage::Up && !records::is_alert(&record) {
                if std::mem::take(&mut is_first) {
                    self.flight.clear();
                }
                if is_sealed {
                    self.stage = Stage::Finishing;
                }
                self.flight.push(record.clone());
            }
            self.out.push_back(record);
        }
        if self.stage != Stage::Plain {
            self.flight.clear();
        }
    }
}

/// The profile to try after this one was refused.
pub(crate) fn other(profile: Profile) -> Profile {
    match profile {
        Profile::AeadAes128Gcm => Profile::Aes128CmHmacSha1_80,
        Profile::Aes128CmHmacSha1_80 => Profile::AeadAes128Gcm,
    }
}

enum Refusal {
    Stranger,
    NoKeys,
}

/// The library tells connections apart by address; ours may move, so it is always given these two.
fn here() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1))
}

fn there() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page: the DTLS server.
    struct Page {
        config: Arc<HandshakeConfig>,
        endpoint: Endpoint,
        complete: bool,
        heard: Vec<BytesMut>,
    }

    impl Page {
        fn new(identity: &Identity, certificate: &Certificate, profiles: Vec<SrtpProtectionProfile>) -> Self {
            let config = ConfigBuilder::default()
                .with_crypto_provider(identity.provider.clone())
                .with_certificates(vec![certificate.clone()])
                .with_srtp_protection_profiles(profiles)
                .with_client_auth(ClientAuthType::RequireAnyClientCert)
                .with_insecure_skip_verify(true)
                .build(false, None)
                .map(Arc::new)
                .unwrap();
            let endpoint = Endpoint::new(there(), TransportProtocol::UDP, Some(config.clone()));
            Self { config, endpoint, complete: false, heard: Vec::new() }
        }

        /// Takes a record and gives the answers. A page whose handshake fails forgets it, as one that joins again.
        fn read(&mut self, record: BytesMut, now: Instant) -> Vec<BytesMut> {
            match self.endpoint.read(now, here(), None, record) {
                Ok(events) => {
                    for event in events {
                        match event {
                            EndpointEvent::HandshakeComplete => self.complete = true,
                            EndpointEvent::ApplicationData(data) => self.heard.push(data),
                            _ => (),
                        }
                    }
                    self.drain()
                }
                Err(_) => {
                    let out = self.drain();
                    self.endpoint = Endpoint::new(there(), TransportProtocol::UDP, Some(self.config.clone()));
                    out
                }
            }
        }

        fn drain(&mut self) -> Vec<BytesMut> {
            std::iter::from_fn(|| self.endpoint.poll_transmit()).map(|transmit| transmit.message).collect()
        }
    }

    fn certificate(identity: &Identity) -> (Certificate, [u8; 32]) {
        let certificate = Certificate::generate_self_signed(vec!["page".to_owned()], identity.crypto()).unwrap();
        let digest = identity.digest(&certificate.certificate[0]).unwrap();
        (certificate, digest.try_into().unwrap())
    }

    /// Carries records to and fro, time moved by hand, losing those `lost` names by their number; at most 200 rounds.
    fn run(dtls: &mut Dtls, page: &mut Page, mut now: Instant, mut lost: impl FnMut(usize) -> bool) -> Vec<Event> {
        let mut events = Vec::new();
        let mut number = 0;
        for _ in 0..200 {
            let mut quiet = true;
            while let Some(record) = dtls.out.pop_front() {
                quiet = false;
                number += 1;
                if lost(number) {
                    continue;
                }
                for answer in page.read(record, now) {
                    number += 1;
                    if !lost(number) {
                        events.extend(dtls.read(&answer, now));
                    }
                }
            }
            if quiet {
                let Some(due) = dtls.due() else { break };
                now = now.max(due);
                events.extend(dtls.handle_timeout(now));
            }
        }
        events.retain(|event| !matches!(event, Event::Ignored));
        events
    }

    fn check(profiles: Vec<SrtpProtectionProfile>, expected: Profile, lost: impl FnMut(usize) -> bool) {
        #[expect(clippy::disallowed_methods, reason = "an instant to start from; it is moved by hand afterwards")]
        let now = Instant::now();
        let identity = Arc::new(Identity::generate().unwrap());
        let (certificate, fingerprint) = certificate(&identity);
        let mut page = Page::new(&identity, &certificate, profiles);
        let mut dtls = Dtls::connect(identity, vec![[0; 32], fingerprint], Profile::AeadAes128Gcm, now);
        let events = run(&mut dtls, &mut page, now, lost);
        let Some(Event::Keyed(keying)) = events.first() else { panic!("{events:?}") };
        assert_eq!((keying.profile(), dtls.profile, page.complete), (expected, expected, true));
        dtls.write(b"hello", now);
        let _ = run(&mut dtls, &mut page, now, |_| false); // Only what the page heard counts.
        assert_eq!(page.heard, [BytesMut::from(&b"hello"[..])]);
    }

    #[test]
    fn a_page_that_knows_gcm_gets_gcm_and_one_that_does_not_gets_hmac() {
        let (gcm, hmac) = (SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm, SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80);
        check(vec![gcm], Profile::AeadAes128Gcm, |_| false);
        check(vec![hmac, gcm], Profile::AeadAes128Gcm, |_| false);
        check(vec![hmac], Profile::Aes128CmHmacSha1_80, |_| false);
    }

    #[test]
    fn a_lost_first_flight_is_repeated() {
        check(vec![SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm], Profile::AeadAes128Gcm, |number| number <= 3);
    }

    #[test]
    fn a_certificate_the_offer_did_not_name_gets_no_keys() {
        #[expect(clippy::disallowed_methods, reason = "an instant to start from")]
        let now = Instant::now();
        let identity = Arc::new(Identity::generate().unwrap());
        let (certificate, _) = certificate(&identity);
        let mut page = Page::new(&identity, &certificate, vec![SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm]);
        let mut dtls = Dtls::connect(identity, vec![[7; 32]], Profile::AeadAes128Gcm, now);
        let events = run(&mut dtls, &mut page, now, |_| false);
        assert!(matches!(events[..], [Event::Stranger]), "{events:?}");
        assert!(!dtls.is_up() && dtls.due().is_none());
    }

    #[test]
    fn a_goodbye_reaches_the_page() {
        #[expect(clippy::disallowed_methods, reason = "an instant to start from")]
        let now = Instant::now();
        let identity = Arc::new(Identity::generate().unwrap());
        let (certificate, fingerprint) = certificate(&identity);
        let mut page = Page::new(&identity, &certificate, vec![SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm]);
        let mut dtls = Dtls::connect(identity, vec![fingerprint], Profile::AeadAes128Gcm, now);
        let _ = run(&mut dtls, &mut page, now, |_| false); // The other tests look at what comes of it.
        dtls.close(now);
        let goodbye = dtls.out.pop_front().unwrap();
        let events = page.endpoint.read(now, here(), None, goodbye).unwrap();
        assert!(matches!(events[..], [EndpointEvent::PeerClosed]));
        dtls.write(b"more", now);
        assert!(dtls.out.is_empty() && dtls.due().is_none(), "nothing is said after a goodbye");
    }

    /// A page on a road where somebody else writes too: what he writes, in the page's name, comes before each of its records.
    fn check_beside(mut forged: impl FnMut(usize) -> Vec<Vec<u8>>) -> Dtls {
        #[expect(clippy::disallowed_methods, reason = "an instant to start from")]
        let mut now = Instant::now();
        let identity = Arc::new(Identity::generate().unwrap());
        let (certificate, fingerprint) = certificate(&identity);
        let mut page = Page::new(&identity, &certificate, vec![SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm]);
        let mut dtls = Dtls::connect(identity, vec![fingerprint], Profile::AeadAes128Gcm, now);
        let mut events = Vec::new();
        for round in 0..200 {
            for datagram in forged(round) {
                events.extend(dtls.read(&datagram, now));
            }
            // A round trip takes 50 ms; the first record of each round is lost, so that nothing depends on the first try.
            let records: Vec<BytesMut> = dtls.out.drain(..).collect();
            now += Duration::from_millis(50);
            for record in records.into_iter().skip(usize::from(round == 0)) {
                for answer in page.read(record, now) {
                    events.extend(dtls.read(&answer, now));
                }
            }
            if dtls.due().is_some_and(|due| due <= now) {
                events.extend(dtls.handle_timeout(now));
            }
        }
        events.retain(|event| !matches!(event, Event::Ignored));
        assert!(matches!(events[..], [Event::Keyed(_)]) && page.complete, "{events:?}");
        assert_eq!(dtls.refusals, 0, "one handshake sufficed");
        dtls
    }

    fn record(kind: u8, epoch: u8, sequence: u64, body: &[u8]) -> Vec<u8> {
        let mut record = vec![kind, 0xFE, 0xFD, 0, epoch];
        record.extend(&sequence.to_be_bytes()[2..]);
        record.extend((body.len() as u16).to_be_bytes());
        record.extend(body);
        record
    }

    #[test]
    fn a_page_connects_beside_forged_alerts() {
        let _ = check_beside(|_| vec![record(21, 0, 0, &[2, 40]), record(21, 0, 1, &[1, 0]), record(21, 1, 0, &[7; 26])]);
    }

    #[test]
    fn a_page_connects_beside_forged_records_and_they_are_not_kept() {
        // A high number closes the replay window to those below it, a message that completes nothing stops the library's
        // timer, and records of the next epoch and changes of ciphers are kept by it until there are keys.
        let flood = |round: usize| {
            let hello = [2, 0, 0, 100, 0, 4, 0, 0, 0, 0, 0, 1, 7];
            let mut all = vec![
                record(22, 0, (1 << 48) - 1, &hello),
                record(22, 0, 1 << 40, &[1; 30]),
                record(20, 0, 1 << 47, &[1]),
                record(23, 0, 1, &[7; 40]),
                record(22, 1, round as u64, &[7; 40]),
            ];
            all.extend((0..200).map(|number| record(22, 1 + number % 2, u64::from(number), &[7; 1000])));
            all
        };
        let mut dtls = check_beside(flood);
        #[expect(clippy::disallowed_methods, reason = "an instant to go on from")]
        let now = Instant::now();
        for number in 0..1000 {
            for kind in [20, 21, 22, 23] {
                for epoch in [0, 1, 2] {
                    let events = dtls.read(&record(kind, epoch, 1000 + number, &[2, 0]), now);
                    assert!(matches!(events[..], [Event::Ignored]), "{events:?}");
                }
            }
        }
        assert!(dtls.is_up() && dtls.out.is_empty());
    }

    #[test]
    fn damaged_flights_neither_panic_nor_cost_more_than_their_handshake() {
        #[expect(clippy::disallowed_methods, reason = "an instant to start from")]
        let now = Instant::now();
        let identity = Arc::new(Identity::generate().unwrap());
        let (certificate, fingerprint) = certificate(&identity);
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = |below: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed % below as u64) as usize
        };
        for _ in 0..300 {
            let mut page = Page::new(&identity, &certificate, vec![SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm]);
            let mut dtls = Dtls::connect(identity.clone(), vec![fingerprint], Profile::AeadAes128Gcm, now);
            let damaged = next(4);
            for flight in 0..4 {
                let records: Vec<BytesMut> = dtls.out.drain(..).collect();
                for record in records {
                    for mut answer in page.read(record, now) {
                        if flight == damaged {
                            for _ in 0..=next(3) {
                                let place = next(answer.len());
                                answer[place] ^= 1 << next(8);
                            }
                        }
                        let _ = dtls.read(&answer, now); // That it comes back is all.
                    }
                }
            }
        }
    }

    #[test]
    fn a_page_that_refuses_once_and_is_deaf_then_is_given_up() {
        #[expect(clippy::disallowed_methods, reason = "an instant to start from")]
        let now = Instant::now();
        let identity = Arc::new(Identity::generate().unwrap());
        let mut dtls = Dtls::connect(identity, vec![[1; 32]], Profile::AeadAes128Gcm, now);
        let alert = [21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 71];
        assert!(dtls.read(&alert, now).is_empty());
        let mut at = now;
        let mut events = Vec::new();
        while let Some(due) = dtls.due() {
            at = due;
            events.extend(dtls.handle_timeout(at));
        }
        assert!(matches!(events[..], [Event::Refused]), "{events:?}");
        assert!(at - now < Duration::from_secs(3), "{:?}", at - now);
    }

    #[test]
    fn a_page_that_refuses_everything_is_given_up() {
        #[expect(clippy::disallowed_methods, reason = "an instant to start from")]
        let now = Instant::now();
        let identity = Arc::new(Identity::generate().unwrap());
        let (certificate, fingerprint) = certificate(&identity);
        let mut page = Page::new(&identity, &certificate, vec![SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm]);
        let mut dtls = Dtls::connect(identity, vec![fingerprint], Profile::AeadAes128Gcm, now);
        let events = run(&mut dtls, &mut page, now, |_| false);
        assert!(matches!(events[..], [Event::Refused]), "{events:?}");
    }
}
