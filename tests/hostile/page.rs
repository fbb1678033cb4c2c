//! A page that may do what no browser does: it has its keys in hand and its socket open to whoever wants to write from its
//! address. It talks and listens in a thread of its own and counts what it misses.

use crate::look_until;
use bytes::BytesMut;
use rtc_crypto::{HashAlgorithm, RTCCryptoProvider};
use rtc_dtls::config::{ClientAuthType, ConfigBuilder, HandshakeConfig};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::TransportProtocol;
use rtc_srtp::context::Context;
use rtc_srtp::protection_profile::ProtectionProfile;
use rtc_stun::attributes::{ATTR_USERNAME, AttrType, RawAttribute};
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_REQUEST, Message, Setter, TransactionId};
use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What a talk packet's payload begins with; others are the attack's.
const TALK: &[u8] = b"talk";

fn provider() -> Arc<dyn RTCCryptoProvider> {
    rtc_crypto::default_provider().unwrap()
}

/// A page before its join.
pub(crate) struct Offer {
    pub(crate) text: String,
    ssrc: u32,
    config: Arc<HandshakeConfig>,
}

impl Offer {
    /// The offer of our own client with a certificate whose key we hold.
    pub(crate) fn new() -> Self {
        let provider = provider();
        let certificate = Certificate::generate_self_signed(vec!["page".to_owned()], provider.crypto()).unwrap();
        let digest = provider.crypto().hash(HashAlgorithm::Sha256, &certificate.certificate[0]).unwrap();
        let fingerprint = digest.iter().map(|octet| format!("{octet:02X}")).collect::<Vec<_>>().join(":");
        let config = ConfigBuilder::default()
            .with_crypto_provider(provider)
            .with_certificates(vec![certificate])
            .with_srtp_protection_profiles(vec![SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm])
            .with_client_auth(ClientAuthType::RequireAnyClientCert)
            .with_insecure_skip_verify(true)
            .build(false, None)
            .unwrap();
        let client = lull::media::client::Client::new(lull::media::client::Identity::generate().unwrap(), false);
        let replace = |line: &str| match line.starts_with("a=fingerprint:") {
            true => format!("a=fingerprint:sha-256 {fingerprint}\r\n"),
            false => format!("{line}\r\n"),
        };
        let text: String = client.offer().lines().map(replace).collect();
        let ssrc = value(&text, "a=ssrc:").split(' ').next().unwrap().parse().unwrap();
        Self { text, ssrc, config: Arc::new(config) }
    }
}

fn value<'a>(text: &'a str, key: &str) -> &'a str {
    text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_else(|| panic!("no {key} in {text}"))
}

/// What protects this page's packets.
struct Sealer {
    context: Context,
    sequence: u16,
    talked: u64,
}

impl Sealer {
    fn rtp(&mut self, ssrc: u32, payload: &[u8]) -> Vec<u8> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut packet = vec![0x80, 111];
        packet.extend(self.sequence.to_be_bytes());
        packet.extend([0; 4]);
        packet.extend(ssrc.to_be_bytes());
        packet.extend(payload);
        self.context.encrypt_rtp(&packet).unwrap().to_vec()
    }
}

/// All that the talking thread and the attack share.
pub(crate) struct Page {
    pub(crate) socket: UdpSocket,
    pub(crate) server: SocketAddr,
    pub(crate) ufrag: String,
    pub(crate) password: String,
    pub(crate) ssrc: u32,
    sealer: Mutex<Sealer>,
    dtls: Mutex<Endpoint>,
    /// Datagrams it sent by kind of their first octet, for those who record traffic.
    sent: Mutex<BTreeMap<u8, Vec<Vec<u8>>>>,
    /// Talk packets heard, missed, and packets that are not talk; answers to requests.
    pub(crate) heard: AtomicU64,
    pub(crate) missed: AtomicU64,
    pub(crate) strange: AtomicU64,
    pub(crate) answers: AtomicU64,
    /// What came inside its DTLS connection.
    pub(crate) records: Mutex<Vec<Vec<u8>>>,
    is_over: AtomicBool,
}

/// Ends the page's thread.
pub(crate) struct Talk {
    page: Arc<Page>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Talk {
    fn drop(&mut self) {
        self.page.is_over.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join); // If it panicked, it has said so.
    }
}

fn here() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1))
}

impl Page {
    /// Takes the answer, connects and begins to talk.
    pub(crate) fn join(offer: Offer, answer: &str) -> (Arc<Page>, Talk) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let candidate: Vec<&str> = value(answer, "a=candidate:").split(' ').collect();
        let server = SocketAddr::new(candidate[4].parse().unwrap(), candidate[5].parse().unwrap());
        let (ufrag, password) = (value(answer, "a=ice-ufrag:").to_owned(), value(answer, "a=ice-pwd:").to_owned());
        let mut endpoint = Endpoint::new(here(), TransportProtocol::UDP, Some(offer.config.clone()));
        let request = request(&ufrag, &password, &[0x0025]);
        socket.send_to(&request, server).unwrap();
        let mut sent = BTreeMap::from([(0, vec![request])]);
        let mut buffer = [0; 2048];
        let mut is_up = false;
        look_until("keys", || {
            let Ok((length, from)) = socket.recv_from(&mut buffer) else { return is_up };
            if (20..=63).contains(&buffer[0]) {
                let events = endpoint.read(Instant::now(), from, None, BytesMut::from(&buffer[..length])).unwrap();
                is_up |= events.iter().any(|event| matches!(event, EndpointEvent::HandshakeComplete));
                while let Some(record) = endpoint.poll_transmit() {
                    socket.send_to(&record.message, server).unwrap();
                    sent.entry(22).or_default().push(record.message.to_vec());
                }
            }
            is_up
        });
        let state = endpoint.get_connection_state(server).unwrap();
        let keys = state.export_keying_material("EXTRACTOR-dtls_srtp", &[], 56).unwrap();
        let keys = keys.as_ref();
        let context =
            |key: &[u8], salt: &[u8]| Context::new(key, salt, ProtectionProfile::AeadAes128Gcm, None, None, provider().crypto()).unwrap();
        // We were the server of the handshake: the second key is ours.
        let (receive, send) = (context(&keys[..16], &keys[32..44]), context(&keys[16..32], &keys[44..56]));
        let page = Arc::new(Page {
            socket,
            server,
            ufrag,
            password,
            ssrc: offer.ssrc,
            sealer: Mutex::new(Sealer { context: send, sequence: 0, talked: 0 }),
            dtls: Mutex::new(endpoint),
            sent: Mutex::new(sent),
            heard: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            strange: AtomicU64::new(0),
            answers: AtomicU64::new(0),
            records: Mutex::new(Vec::new()),
            is_over: AtomicBool::new(false),
        });
        let talker = page.clone();
        let body = move || talker.talk(receive);
        let thread = std::thread::Builder::new().name("page".to_owned()).spawn(body).unwrap();
        (page.clone(), Talk { page, thread: Some(thread) })
    }

    /// Sends from the page's own address.
    pub(crate) fn send(&self, datagram: &[u8]) {
        self.socket.send_to(datagram, self.server).unwrap();
    }

    /// A binding request with these empty attributes, signed with a password.
    pub(crate) fn request(&self, password: &str, attributes: &[u16]) -> Vec<u8> {
        request(&self.ufrag, password, attributes)
    }

    /// An authentic RTP packet under this SSRC; its own continues the sequence of its talk.
    pub(crate) fn rtp(&self, ssrc: u32, payload: &[u8]) -> Vec<u8> {
        self.sealer.lock().unwrap().rtp(ssrc, payload)
    }

    /// Says the next word of its talk. Nobody draws a number between this packet's and its leaving: many of those would be out before it,
    /// and it too old by then.
    fn say(&self) -> Vec<u8> {
        let mut sealer = self.sealer.lock().unwrap();
        sealer.talked += 1;
        let word = [TALK, &sealer.talked.to_be_bytes(), &[7; 60]].concat();
        let packet = sealer.rtp(self.ssrc, &word);
        self.send(&packet);
        packet
    }

    /// An authentic RTCP compound, whatever it holds.
    pub(crate) fn rtcp(&self, compound: &[u8]) -> Vec<u8> {
        self.sealer.lock().unwrap().context.encrypt_rtcp(compound).unwrap().to_vec()
    }

    /// An authentic record of the data channel's association.
    pub(crate) fn record(&self, data: &[u8]) -> Vec<u8> {
        let mut dtls = self.dtls.lock().unwrap();
        dtls.write(Instant::now(), self.server, data).unwrap();
        dtls.poll_transmit().unwrap().message.to_vec()
    }

    /// What it sent of the kind with this first octet.
    pub(crate) fn recorded(&self, first: u8) -> Vec<Vec<u8>> {
        self.sent.lock().unwrap().get(&first).cloned().unwrap_or_default()
    }

    fn talk(&self, mut receive: Context) {
        let mut due = Instant::now();
        let mut consent = due;
        let mut expected = None;
        let mut buffer = [0; 2048];
        while !self.is_over.load(Ordering::Relaxed) {
            let now = Instant::now();
            if now >= due {
                due += Duration::from_millis(20);
                let packet = self.say();
                let mut sent = self.sent.lock().unwrap();
                let record = sent.entry(128).or_default();
                if record.len() < 100 {
                    record.push(packet);
                }
            }
            if now >= consent {
                consent += Duration::from_secs(1);
                let request = self.request(&self.password, &[0x0025]);
                self.send(&request);
                self.sent.lock().unwrap().entry(0).or_default().push(request);
            }
            while let Ok((length, _)) = self.socket.recv_from(&mut buffer) {
                match buffer[0] {
                    0..=3 => drop(self.answers.fetch_add(1, Ordering::Relaxed)),
                    20..=63 => {
                        let record = BytesMut::from(&buffer[..length]);
                        let events = self.dtls.lock().unwrap().read(Instant::now(), self.server, None, record).unwrap_or_default();
                        let mut records = self.records.lock().unwrap();
                        for event in events {
                            if let EndpointEvent::ApplicationData(data) = event
                                && records.len() < 1000
                            {
                                records.push(data.to_vec());
                            }
                        }
                    }
                    128..=191 if (192..=223).contains(&buffer[1]) => drop(self.strange.fetch_add(1, Ordering::Relaxed)),
                    128..=191 => {
                        let packet = receive.decrypt_rtp(&buffer[..length]).unwrap();
                        let Some(number) = packet[12..].strip_prefix(TALK) else {
                            self.strange.fetch_add(1, Ordering::Relaxed);
                            continue;
                        };
                        let number = u64::from_be_bytes(number[..8].try_into().unwrap());
                        let wanted = expected.replace(number + 1).unwrap_or(number);
                        self.missed.fetch_add(number.saturating_sub(wanted), Ordering::Relaxed);
                        self.heard.fetch_add(1, Ordering::Relaxed);
                    }
                    _ => (),
                }
                if Instant::now() >= due {
                    break;
                }
            }
        }
    }
}

/// A binding request for this name, signed with this password.
pub(crate) fn request(ufrag: &str, password: &str, attributes: &[u16]) -> Vec<u8> {
    let provider = provider();
    let attribute = |kind: AttrType, value: &[u8]| -> Box<dyn Setter> {
        Box::new(RawAttribute { typ: kind, length: value.len() as u16, value: value.to_vec() })
    };
    let mut setters: Vec<Box<dyn Setter + '_>> = vec![
        Box::new(BINDING_REQUEST),
        Box::new(TransactionId::new()),
        attribute(ATTR_USERNAME, format!("{ufrag}:page").as_bytes()),
        attribute(AttrType(0x0024), &[0; 4]),
    ];
    setters.extend(attributes.iter().map(|kind| attribute(AttrType(*kind), &[])));
    setters.push(Box::new(MessageIntegrity::new_short_term_integrity_with_provider(password.to_owned(), provider.crypto())));
    setters.push(Box::new(FINGERPRINT));
    let mut message = Message::new();
    message.build(&setters).unwrap();
    message.raw
}
