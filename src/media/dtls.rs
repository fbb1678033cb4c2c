//! DTLS 1.2 for one leg: a handshake as client, the page's certificate checked, keys for SRTP, records for SCTP.
//!
//! One certificate per process ([`Identity`]). The retransmission schedule is ours, because the library's is fixed and
//! gives up early. Invariant: no key and no record leaves this file before the page's certificate had a fingerprint
//! that its offer named.

use crate::relay::{Keying, Profile};
use bytes::BytesMut;
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
/// Some pages refuse once and are deaf from then on: one that does not answer the next try within about this is given up.
const DEAF: Duration = Duration::from_millis(800);
/// The record type of an alert (RFC 5246 section 6.2.1).
const ALERT: u8 = 21;
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
            out: VecDeque::new(),
        };
        dtls.begin(now);
        dtls
    }

    /// Whether records can be sent.
    pub(crate) fn is_up(&self) -> bool {
        matches!(self.state, State::Up)
    }

    /// A datagram of the page. Events in order.
    pub(crate) fn read(&mut self, datagram: &[u8], now: Instant) -> Vec<Event> {
        let mut events = Vec::new();
        if matches!(self.state, State::Over | State::Broken { .. }) {
            return events;
        }
        let waiting = self.out.len();
        let found = self.endpoint.read(now, there(), None, BytesMut::from(datagram));
        self.collect();
        for event in found.unwrap_or_default() {
            match event {
                EndpointEvent::HandshakeComplete => match self.finish() {
                    Ok(keying) => {
                        self.state = State::Up;
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
        if let State::Handshaking { wait, due } = &mut self.state {
            // A fatal alert, theirs or ours, ends this try. Anything else unreadable is dropped: it may be forged, and a
            // lost or damaged flight is repeated.
            if is_fatal_alert(datagram) || self.out.iter().skip(waiting).any(|record| record.first() == Some(&ALERT)) {
                self.refused(now, &mut events);
            } else if self.out.len() > waiting {
                // We moved on: wait for the answer to the new flight.
                *wait = FIRST_WAIT;
                *due = now + FIRST_WAIT;
            }
        }
        events
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due; none once the handshake is over.
    pub(crate) fn due(&self) -> Option<Instant> {
        match self.state {
            State::Handshaking { due, .. } | State::Broken { due } => Some(due),
            State::Up | State::Over => None,
        }
    }

    /// Repeats our last flight if it is time, or starts anew after a failure.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Vec<Event> {
        let mut events = Vec::new();
        match &mut self.state {
            State::Handshaking { wait, due } if *due <= now => {
                let waited = *wait;
                *wait = (waited * 2).min(LONGEST_WAIT);
                *due = now + *wait;
                // Here the library repeats its flight; after seven times it gives up for good.
                let exhausted = self.endpoint.handle_timeout(there(), now).is_err();
                self.collect();
                if self.refusals > 0 && (exhausted || waited >= DEAF) {
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
        while let Some(record) = self.endpoint.poll_transmit() {
            self.out.push_back(record.message);
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

/// A plain (epoch 0) alert of level fatal: record header of 13 octets, then the level.
fn is_fatal_alert(datagram: &[u8]) -> bool {
    datagram.first() == Some(&ALERT) && datagram.get(3..5) == Some(&[0, 0]) && datagram.get(13) == Some(&2)
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
