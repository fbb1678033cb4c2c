//! DTLS 1.2 as the server of the handshake: the media plane is always the active side.
//!
//! Both SRTP profiles are taken. Plain flights we repeat ourselves, as browsers do: when the server repeats its ClientHello
//! and on a schedule that doubles; the library stops for good with the first message that does not complete a flight. A
//! handshake that broke is begun anew with the next ClientHello. Invariant: no key and no record leaves this file before
//! the server's certificate had the fingerprint of its answer.

use super::ClientError;
use crate::media::dtls::records;
use crate::relay::{Keying, Profile};
use bytes::BytesMut;
use rtc_crypto::{HashAlgorithm, RTCCrypto, RTCCryptoProvider};
use rtc_dtls::config::{ClientAuthType, ConfigBuilder, ExtendedMasterSecretType, HandshakeConfig};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::TransportProtocol;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// RFC 5764 section 4.2.
const EXPORTER_LABEL: &str = "EXTRACTOR-dtls_srtp";
/// First wait for the other side's flight; doubled each time (RFC 6347 section 4.2.4.1).
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// The longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_millis(1600);
/// The record type of an alert (RFC 5246 section 6.2.1).
const ALERT: u8 = 21;

/// A certificate and how handshakes with it go; one serves many clients.
pub struct Identity {
    provider: Arc<dyn RTCCryptoProvider>,
    config: Arc<HandshakeConfig>,
    fingerprint: String,
}

impl Identity {
    /// Makes a key and a self-signed certificate; fails only if the crypto provider does.
    pub fn generate() -> Result<Arc<Self>, ClientError> {
        Self::knowing(vec![SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm, SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80])
    }

    /// One that refuses what the server offers first.
    #[cfg(test)]
    pub(crate) fn refusing_gcm() -> Result<Arc<Self>, ClientError> {
        Self::knowing(vec![SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80])
    }

    fn knowing(profiles: Vec<SrtpProtectionProfile>) -> Result<Arc<Self>, ClientError> {
        let failed = |error: &dyn std::fmt::Display| ClientError::Crypto(error.to_string());
        let provider = rtc_crypto::default_provider().map_err(|error| failed(&error))?;
        let certificate = Certificate::generate_self_signed(vec!["lull".to_owned()], provider.crypto()).map_err(|error| failed(&error))?;
        let der = certificate.certificate.first().ok_or_else(|| failed(&"no certificate"))?;
        let digest = provider.crypto().hash(HashAlgorithm::Sha256, der).map_err(|error| failed(&error))?;
        let fingerprint = digest.iter().map(|octet| format!("{octet:02X}")).collect::<Vec<_>>().join(":");
        let config = ConfigBuilder::default()
            .with_crypto_provider(provider.clone())
            .with_certificates(vec![certificate])
            .with_srtp_protection_profiles(profiles)
            .with_client_auth(ClientAuthType::RequireAnyClientCert)
            // Skips only the chain of authorities, which self-signed certificates have not; the fingerprint is checked in
            // `finish` instead.
            .with_insecure_skip_verify(true)
            .with_extended_master_secret(ExtendedMasterSecretType::Require)
            .build(false, None)
            .map_err(|error| failed(&error))?;
        Ok(Arc::new(Self { provider, config: Arc::new(config), fingerprint }))
    }

    /// SHA-256 of the certificate as SDP writes it: `AB:CD:…`.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    pub(super) fn crypto(&self) -> &dyn RTCCrypto {
        self.provider.crypto()
    }
}

/// What came of a datagram.
pub(super) enum Event {
    /// The handshake is complete with the server of the answer.
    Keyed(Box<Keying>),
    /// A decrypted record.
    Data(BytesMut),
    /// The server closed (`close_notify`).
    Closed,
    /// The server's certificate is not the one its answer named.
    Stranger,
}

enum State {
    /// Nothing of the server came yet, or what it began broke.
    Listening,
    Handshaking {
        wait: Duration,
        due: Instant,
    },
    Up,
    Over,
}

/// One client's DTLS.
pub(super) struct Dtls {
    identity: Arc<Identity>,
    endpoint: Endpoint,
    state: State,
    fingerprint: [u8; 32],
    /// The random of the ClientHello we answered.
    hello: Option<[u8; 32]>,
    /// Our last flight while all of it is plain.
    flight: Vec<BytesMut>,
    /// The number of the next plain record.
    next: u64,
    /// Records to be sent, oldest first.
    pub(super) out: Vec<BytesMut>,
}

impl Dtls {
    /// Waits for the server's ClientHello.
    pub(super) fn listen(identity: Arc<Identity>, fingerprint: [u8; 32]) -> Self {
        let endpoint = fresh(&identity);
        Self { identity, endpoint, state: State::Listening, fingerprint, hello: None, flight: Vec::new(), next: 0, out: Vec::new() }
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.state, State::Up)
    }

    /// A datagram of the server. Events in order.
    pub(super) fn read(&mut self, datagram: &[u8], now: Instant) -> Vec<Event> {
        let mut events = Vec::new();
        if matches!(self.state, State::Over) {
            return events;
        }
        let hello = records::client_random(datagram).filter(|_| !self.is_up());
        if hello.is_some() && self.hello != hello {
            // The server gave its try up and begins another, which the old connection cannot take.
            self.begin();
            self.hello = hello;
        }
        let waiting = self.out.len();
        let mut found = self.endpoint.read(now, there(), None, BytesMut::from(datagram));
        self.collect();
        if found.is_err() && hello.is_some() && self.out.len() == waiting {
            // We refused it and said so; it is repeated because the alert was lost.
            self.begin();
            self.hello = hello;
            found = self.endpoint.read(now, there(), None, BytesMut::from(datagram));
            self.collect();
        }
        if hello.is_some() && self.out.len() == waiting {
            self.repeat();
        }
        for event in found.unwrap_or_default() {
            match event {
                EndpointEvent::HandshakeComplete => match self.finish() {
                    Some(keying) => {
                        self.state = State::Up;
                        self.flight = Vec::new();
                        events.push(Event::Keyed(Box::new(keying)));
                    }
                    None => {
                        self.close(now);
                        events.push(Event::Stranger);
                        return events;
                    }
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
        if matches!(self.state, State::Listening | State::Handshaking { .. }) {
            if is_fatal_alert(datagram) {
                self.begin();
            } else if self.out.len() > waiting {
                self.state = State::Handshaking { wait: FIRST_WAIT, due: now + FIRST_WAIT };
            }
        }
        events
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due; none once the handshake is over.
    pub(super) fn due(&self) -> Option<Instant> {
        match self.state {
            State::Handshaking { due, .. } => Some(due),
            State::Listening | State::Up | State::Over => None,
        }
    }

    /// Repeats our last flight if it is time.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        let State::Handshaking { wait, due } = &mut self.state else { return };
        if *due > now {
            return;
        }
        *wait = (*wait * 2).min(LONGEST_WAIT);
        *due = now + *wait;
        self.repeat();
    }

    /// Forgets the handshake; the next ClientHello begins another.
    fn begin(&mut self) {
        self.endpoint = fresh(&self.identity);
        self.state = State::Listening;
        self.hello = None;
        self.flight.clear();
    }

    /// Sends our last flight again.
    fn repeat(&mut self) {
        for record in &mut self.flight {
            records::renumber(record, &mut self.next);
            self.out.push(record.clone());
        }
    }

    /// Encrypts a record; dropped while there is no connection.
    pub(super) fn write(&mut self, data: &[u8], now: Instant) {
        if self.is_up() && self.endpoint.write(now, there(), data).is_ok() {
            self.collect();
        }
    }

    /// Says goodbye (`close_notify`) and takes nothing more.
    pub(super) fn close(&mut self, now: Instant) {
        if !matches!(self.state, State::Over) {
            self.state = State::Over;
            let _ = self.endpoint.close(now); // It only queues an alert.
            self.collect();
        }
    }

    /// Checks the server's certificate, then takes the keys.
    fn finish(&self) -> Option<Keying> {
        let state = self.endpoint.get_connection_state(there())?;
        let digest = self.identity.crypto().hash(HashAlgorithm::Sha256, state.peer_certificates.first()?).ok()?;
        if digest[..] != self.fingerprint[..] {
            return None;
        }
        let profile = match state.srtp_protection_profile() {
            SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm => Profile::AeadAes128Gcm,
            SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80 => Profile::Aes128CmHmacSha1_80,
            _ => return None,
        };
        let material = state.export_keying_material(EXPORTER_LABEL, &[], profile.keying_len()).ok()?;
        Keying::from_exporter(profile, material.as_ref(), state.is_client())
    }

    fn collect(&mut self) {
        let mut is_first = true;
        while let Some(record) = self.endpoint.poll_transmit() {
            let mut record = record.message;
            let is_sealed = records::renumber(&mut record, &mut self.next);
            if std::mem::take(&mut is_first) {
                self.flight.clear();
            }
            if !is_sealed && !self.is_up() {
                self.flight.push(record.clone());
            }
            self.out.push(record);
        }
    }
}

fn fresh(identity: &Identity) -> Endpoint {
    Endpoint::new(here(), TransportProtocol::UDP, Some(identity.config.clone()))
}

/// A plain alert of level fatal.
fn is_fatal_alert(datagram: &[u8]) -> bool {
    datagram.first() == Some(&ALERT) && datagram.get(3..5) == Some(&[0, 0]) && datagram.get(13) == Some(&2)
}

/// The library tells connections apart by address; ours is one, so it is always given these two.
fn here() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1))
}

fn there() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 2))
}
