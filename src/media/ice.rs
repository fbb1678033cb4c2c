//! ICE-lite (RFC 8445 section 2.5): we answer the page's authenticated binding requests and follow its nomination.
//!
//! We never send a check of our own: that the page keeps asking is its consent (RFC 7675) and a proof of life. Nothing is
//! changed here; a request that is not signed with our password gives [`Check::Forged`] and no answer.
//!
//! Requests are read where they lie: what strangers send costs no memory and, without a leg's name in it, no hash.

use rtc_crypto::{HmacAlgorithm, RTCCrypto, RTCRandom};
use std::net::{IpAddr, SocketAddr};

/// Octets of our user name fragments. Its 48 bits find a leg; they are no secret.
pub(crate) const UFRAG_LEN: usize = 8;
/// Octets of our passwords: 144 bits where RFC 8445 section 5.3 asks for 128.
const PASSWORD_LEN: usize = 24;
/// The 64 characters RFC 8839 section 5.4 allows.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Methods and classes (RFC 8489 section 5).
const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const BINDING_ERROR: u16 = 0x0111;
/// Attributes (RFC 8489 section 18.3, RFC 8445 section 16.1).
const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const USE_CANDIDATE: u16 = 0x0025;
const FINGERPRINT: u16 = 0x8028;
const ICE_CONTROLLED: u16 = 0x8029;
const HEADER_LEN: usize = 20;
const INTEGRITY_LEN: usize = 20;
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
/// The longest request whose signature is checked. Browsers send 100 to 200 octets; one whose name fragment is as long as
/// RFC 8839 section 5.4 allows (256) comes to 373 with all attributes in use. The hash is the dearest thing a stranger can ask for.
const LONGEST_REQUEST: usize = 400;

/// The name by which a page's requests find its leg.
pub(crate) type Ufrag = [u8; UFRAG_LEN];

/// Our half of a leg's ICE credentials.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    ufrag: Ufrag,
    password: String,
}

impl Credentials {
    /// Fresh ones; none if the machine has no randomness to give.
    pub(crate) fn draw(random: &dyn RTCRandom) -> Option<Self> {
        let mut octets = [0; UFRAG_LEN + PASSWORD_LEN];
        random.fill(&mut octets).ok()?;
        let letters = octets.map(|octet| ALPHABET[usize::from(octet & 63)]);
        let (name, word) = letters.split_at(UFRAG_LEN);
        let mut ufrag = [0; UFRAG_LEN];
        ufrag.copy_from_slice(name);
        Some(Self { ufrag, password: word.iter().map(|letter| char::from(*letter)).collect() })
    }

    pub(crate) fn ufrag(&self) -> Ufrag {
        self.ufrag
    }

    pub(crate) fn ufrag_text(&self) -> &str {
        std::str::from_utf8(&self.ufrag).unwrap_or_default()
    }

    pub(crate) fn password(&self) -> &str {
        &self.password
    }
}

/// What a binding request came to.
pub(crate) enum Check {
    /// Not a request signed with our password. It is dropped without an answer.
    Forged,
    /// The page believes we lead (RFC 8445 section 7.3.1.1): answer with [`conflict`]. Nothing else happens.
    Conflict,
    /// Authentic: answer with [`success`] to where it came from.
    Good {
        /// USE-CANDIDATE: this is the address to send to from now on.
        nominated: bool,
    },
}

/// A binding request, as far as it is understood without a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// Whose leg it is for: the part of USERNAME before the colon.
    pub(crate) addressee: Ufrag,
    /// Fresh for each request; a copy has the same.
    pub(crate) transaction: [u8; 12],
    /// Octets before MESSAGE-INTEGRITY; what stands after it is not signed and not believed (RFC 8489 section 14.5).
    signed: usize,
    controlled: bool,
    nominated: bool,
}

impl Request {
    /// Reads a binding request with a user name of our form and a signature; none if it is anything else.
    pub(crate) fn read(datagram: &[u8]) -> Option<Self> {
        let header = datagram.first_chunk::<HEADER_LEN>()?;
        if datagram.len() > LONGEST_REQUEST || be16(header, 0)? != BINDING_REQUEST || header[4..8] != MAGIC_COOKIE {
            return None;
        }
        let mut transaction = [0; 12];
        transaction.copy_from_slice(&header[8..]);
        // RFC 8489 section 5: a whole number of words, and nothing behind them.
        let length = usize::from(be16(header, 2)?);
        if length % 4 != 0 || datagram.len() != HEADER_LEN + length {
            return None;
        }
        let (mut addressee, mut controlled, mut nominated) = (None, false, false);
        let mut at = HEADER_LEN;
        loop {
            let (kind, length) = (be16(datagram, at)?, usize::from(be16(datagram, at + 2)?));
            let value = datagram.get(at + 4..at + 4 + length)?;
            match kind {
                // Of two the first counts (RFC 8489 section 14).
                USERNAME if addressee.is_none() => {
                    let (name, rest) = value.split_first_chunk::<UFRAG_LEN>()?;
                    addressee = Some(*name).filter(|_| rest.first() == Some(&b':'));
                    addressee?;
                }
                ICE_CONTROLLED => controlled = true,
                USE_CANDIDATE => nominated = true,
                MESSAGE_INTEGRITY if length == INTEGRITY_LEN => {
                    return Some(Self { addressee: addressee?, transaction, signed: at, controlled, nominated });
                }
                MESSAGE_INTEGRITY => return None,
                _ => (),
            }
            at += 4 + length.next_multiple_of(4);
        }
    }

    /// Checks the signature of the datagram this was read from.
    pub(crate) fn check(&self, datagram: &[u8], password: &str, crypto: &dyn RTCCrypto) -> Check {
        let value = self.signed + 4;
        let Some(expected) = datagram.get(value..value + INTEGRITY_LEN) else { return Check::Forged };
        // The length that is signed ends with MESSAGE-INTEGRITY (RFC 8489 section 14.5). At most LONGEST_REQUEST, so it fits.
        let length = ((value + INTEGRITY_LEN - HEADER_LEN) as u16).to_be_bytes();
        let signed = [&datagram[..2], &length, &datagram[4..self.signed]];
        let checked = crypto.new_hmac(HmacAlgorithm::Sha1, password.as_bytes()).and_then(|mut mac| mac.verify(&signed, expected));
        match checked {
            Err(_) => Check::Forged,
            Ok(()) if self.controlled => Check::Conflict,
            Ok(()) => Check::Good { nominated: self.nominated },
        }
    }

    /// The answer to a good request that came from there; none if the crypto provider fails.
    pub(crate) fn success(&self, password: &str, from: SocketAddr, crypto: &dyn RTCCrypto) -> Option<Vec<u8>> {
        let from = canonical(from);
        // RFC 8489 section 14.2: xored with the cookie and, for IPv6, the transaction.
        let port = from.port() ^ 0x2112;
        let mut mask = [0; 16];
        mask[..4].copy_from_slice(&MAGIC_COOKIE);
        mask[4..].copy_from_slice(&self.transaction);
        let mut value = [0; 20];
        value[2..4].copy_from_slice(&port.to_be_bytes());
        let length = match from.ip() {
            IpAddr::V4(ip) => {
                value[1] = 1;
                value[4..8].copy_from_slice(&ip.octets());
                8
            }
            IpAddr::V6(ip) => {
                value[1] = 2;
                value[4..].copy_from_slice(&ip.octets());
                20
            }
        };
        for (octet, mask) in value[4..length].iter_mut().zip(mask) {
            *octet ^= mask;
        }
        self.reply(BINDING_SUCCESS, XOR_MAPPED_ADDRESS, &value[..length], password, crypto)
    }

    /// The answer to a request of a page that believes we lead: 487 (RFC 8445 section 7.3.1.1).
    pub(crate) fn conflict(&self, password: &str, crypto: &dyn RTCCrypto) -> Option<Vec<u8>> {
        self.reply(BINDING_ERROR, ERROR_CODE, b"\0\0\x04\x57Role Conflict", password, crypto)
    }

    fn reply(&self, class: u16, kind: u16, value: &[u8], password: &str, crypto: &dyn RTCCrypto) -> Option<Vec<u8>> {
        let mut reply = Vec::with_capacity(96);
        reply.extend(class.to_be_bytes());
        reply.extend([0; 2]);
        reply.extend(MAGIC_COOKIE);
        reply.extend(self.transaction);
        attribute(&mut reply, kind, value);
        // Each of the two covers a length that ends with itself (RFC 8489 sections 14.5 and 14.7).
        set_length(&mut reply, 4 + INTEGRITY_LEN);
        let mut signature = [0; INTEGRITY_LEN];
        crypto.new_hmac(HmacAlgorithm::Sha1, password.as_bytes()).and_then(|mut mac| mac.sign(&[&reply], &mut signature)).ok()?;
        attribute(&mut reply, MESSAGE_INTEGRITY, &signature);
        set_length(&mut reply, 8);
        let sum = crc32(&reply) ^ 0x5354_554E;
        attribute(&mut reply, FINGERPRINT, &sum.to_be_bytes());
        Some(reply)
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|octets| u16::from_be_bytes(*octets))
}

fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    message.extend(kind.to_be_bytes());
    message.extend((value.len() as u16).to_be_bytes()); // Ours are at most 20 octets.
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

/// Writes the length the message will have with `more` octets.
fn set_length(message: &mut [u8], more: usize) {
    let length = (message.len() + more - HEADER_LEN) as u16; // Ours are at most 100 octets.
    message[2..4].copy_from_slice(&length.to_be_bytes());
}

/// CRC-32 as in ISO 3309, which RFC 8489 section 14.7 names. Short answers only, so bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, octet| {
        (0..8).fold(sum ^ u32::from(*octet), |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0xEDB8_8320 } else { sum >> 1 })
    })
}

/// The address as the page knows it: a socket for both families shows IPv4 peers inside IPv6.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rtc_stun::attributes::{ATTR_ICE_CONTROLLED, ATTR_USE_CANDIDATE, ATTR_USERNAME};
    use rtc_stun::fingerprint::FINGERPRINT;
    use rtc_stun::integrity::MessageIntegrity;
    use rtc_stun::message::{BINDING_ERROR, BINDING_REQUEST, BINDING_SUCCESS, Message, Setter, TransactionId};
    use rtc_stun::textattrs::TextAttribute;
    use rtc_stun::xoraddr::XorMappedAddress;

    const PASSWORD: &str = "abcdefghijklmnopqrstuvwx";

    fn request(password: &str, before: Option<rtc_stun::attributes::AttrType>, after: Option<rtc_stun::attributes::AttrType>) -> Vec<u8> {
        let provider = rtc_crypto::default_provider().unwrap();
        let mut message = Message::new();
        let name = TextAttribute::new(ATTR_USERNAME, "AAAABBBB:page".to_owned());
        message.build(&[Box::new(BINDING_REQUEST), Box::new(TransactionId([7; 12])), Box::new(name)]).unwrap();
        if let Some(kind) = before {
            message.add(kind, &[]);
        }
        MessageIntegrity::new_short_term_integrity_with_provider(password.to_owned(), provider.crypto()).add_to(&mut message).unwrap();
        if let Some(kind) = after {
            message.add(kind, &[]);
        }
        FINGERPRINT.add_to(&mut message).unwrap();
        message.raw
    }

    fn checked(datagram: &[u8]) -> Check {
        match Request::read(datagram) {
            Some(request) => request.check(datagram, PASSWORD, rtc_crypto::default_provider().unwrap().crypto()),
            None => Check::Forged,
        }
    }

    /// What another implementation reads in our answer, whose signature and fingerprint must be right.
    fn understood(reply: &[u8]) -> Message {
        let provider = rtc_crypto::default_provider().unwrap();
        let mut answer = Message::new();
        answer.unmarshal_binary(reply).unwrap();
        MessageIntegrity::check(&mut answer, PASSWORD.as_bytes(), provider.crypto()).unwrap();
        FINGERPRINT.check(&answer).unwrap();
        assert_eq!(answer.transaction_id, TransactionId([7; 12]));
        answer
    }

    #[test]
    fn a_signed_request_is_answered_with_the_address_it_came_from() {
        let datagram = request(PASSWORD, Some(ATTR_USE_CANDIDATE), None);
        let read = Request::read(&datagram).unwrap();
        assert_eq!(read.addressee, *b"AAAABBBB");
        assert!(matches!(checked(&datagram), Check::Good { nominated: true }));
        let provider = rtc_crypto::default_provider().unwrap();
        for (from, ip) in [("[::ffff:192.0.2.7]:4000", "192.0.2.7"), ("192.0.2.9:4000", "192.0.2.9"), ("[2001:db8::5]:4000", "2001:db8::5")]
        {
            let reply = read.success(PASSWORD, from.parse().unwrap(), provider.crypto()).unwrap();
            let answer = understood(&reply);
            assert_eq!(answer.typ, BINDING_SUCCESS);
            let mut mapped = XorMappedAddress::default();
            rtc_stun::message::Getter::get_from(&mut mapped, &answer).unwrap();
            assert_eq!((mapped.ip.to_string(), mapped.port), (ip.to_owned(), 4000));
        }
    }

    #[test]
    fn a_nomination_that_is_not_signed_is_not_believed() {
        assert!(matches!(checked(&request(PASSWORD, None, None)), Check::Good { nominated: false }));
        assert!(matches!(checked(&request(PASSWORD, None, Some(ATTR_USE_CANDIDATE))), Check::Good { nominated: false }));
        assert!(matches!(checked(&request("another password of 24 ch", Some(ATTR_USE_CANDIDATE), None)), Check::Forged));
    }

    #[test]
    fn a_page_that_wants_to_be_led_is_told_that_we_do_not() {
        let datagram = request(PASSWORD, Some(ATTR_ICE_CONTROLLED), None);
        assert!(matches!(checked(&datagram), Check::Conflict));
        let reply = Request::read(&datagram).unwrap().conflict(PASSWORD, rtc_crypto::default_provider().unwrap().crypto());
        let answer = understood(&reply.unwrap());
        assert_eq!(answer.typ, BINDING_ERROR);
        let mut code = rtc_stun::error_code::ErrorCodeAttribute::default();
        rtc_stun::message::Getter::get_from(&mut code, &answer).unwrap();
        assert_eq!(code.code.0, 487);
    }

    #[test]
    fn cut_and_flipped_requests_are_forged_and_never_panic() {
        let good = request(PASSWORD, Some(ATTR_USE_CANDIDATE), None);
        for length in 0..good.len() {
            assert!(matches!(checked(&good[..length]), Check::Forged), "{length} octets");
        }
        // The last 8 octets are the fingerprint, which is not signed.
        for bit in 0..(good.len() - 8) * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(checked(&bad), Check::Forged), "bit {bit}");
        }
    }

    #[test]
    fn what_no_browser_sends_is_not_hashed() {
        let mut long = request(PASSWORD, None, None);
        let padding = LONGEST_REQUEST + 4 - long.len() - 4;
        let mut value = vec![0x80, 0x22];
        value.extend((padding as u16).to_be_bytes());
        value.resize(4 + padding, b'x');
        long.splice(HEADER_LEN..HEADER_LEN, value);
        set_length(&mut long, 0);
        assert_eq!(Request::read(&long), None);
        long.drain(HEADER_LEN + 4..HEADER_LEN + 8);
        long[HEADER_LEN + 2..HEADER_LEN + 4].copy_from_slice(&((padding - 4) as u16).to_be_bytes());
        set_length(&mut long, 0);
        assert!(Request::read(&long).is_some(), "the limit itself is taken");
        for name in ["AAAABBB:page", "AAAABBBBC:page", "AAAABBBB", ""] {
            let mut message = Message::new();
            let name = TextAttribute::new(ATTR_USERNAME, name.to_owned());
            message.build(&[Box::new(BINDING_REQUEST), Box::new(TransactionId([7; 12])), Box::new(name)]).unwrap();
            assert_eq!(Request::read(&message.raw), None);
        }
    }

    proptest! {
        /// Whatever we believe, another implementation believes too.
        #[test]
        fn requests_are_read_as_others_read_them(
            attributes in prop::collection::vec((prop::sample::select(vec![0x0006_u16, 0x0008, 0x0025, 0x8029, 0x8022, 0x0024]), prop::collection::vec(any::<u8>(), 0..24)), 0..6),
            sign in any::<bool>(), place in any::<prop::sample::Index>(), octet in any::<u8>(), change in any::<bool>(),
        ) {
            let provider = rtc_crypto::default_provider().unwrap();
            let mut message = Message::new();
            let name = TextAttribute::new(ATTR_USERNAME, "AAAABBBB:page".to_owned());
            message.build(&[Box::new(BINDING_REQUEST), Box::new(TransactionId([7; 12])), Box::new(name)]).unwrap();
            for (kind, value) in attributes {
                message.add(rtc_stun::attributes::AttrType(kind), &value);
            }
            if sign {
                // Refused when a fingerprint stands before it, which none does.
                MessageIntegrity::new_short_term_integrity_with_provider(PASSWORD.to_owned(), provider.crypto()).add_to(&mut message).unwrap();
            }
            let mut datagram = message.raw;
            if change {
                let place = place.index(datagram.len());
                datagram[place] = octet;
            }
            let ours = checked(&datagram);
            let mut theirs = Message::new();
            let believed = theirs.unmarshal_binary(&datagram).is_ok()
                && theirs.typ == BINDING_REQUEST
                && MessageIntegrity::check(&mut theirs, PASSWORD.as_bytes(), provider.crypto()).is_ok();
            prop_assert!(believed || matches!(ours, Check::Forged));
        }
    }

    #[test]
    fn credentials_are_letters_that_sdp_allows_and_differ() {
        let provider = rtc_crypto::default_provider().unwrap();
        let one = Credentials::draw(provider.random()).unwrap();
        let two = Credentials::draw(provider.random()).unwrap();
        assert!(one.ufrag() != two.ufrag() && one.password() != two.password());
        assert_eq!((one.ufrag_text().len(), one.password().len()), (8, 24));
    }
}
