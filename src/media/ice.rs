//! ICE-lite (RFC 8445 section 2.5): we answer the page's authenticated binding requests and follow its nomination.
//!
//! We never send a check of our own: that the page keeps asking is its consent (RFC 7675) and a proof of life. Nothing is
//! changed here; a request that is not signed with our password gives [`Check::Forged`] and no answer.

use rtc_crypto::{RTCCrypto, RTCRandom};
use rtc_stun::attributes::{ATTR_ICE_CONTROLLED, ATTR_MESSAGE_INTEGRITY, ATTR_USE_CANDIDATE};
use rtc_stun::error_code::CODE_ROLE_CONFLICT;
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_ERROR, BINDING_REQUEST, BINDING_SUCCESS, Message, Setter};
use rtc_stun::xoraddr::XorMappedAddress;
use std::net::SocketAddr;

/// Octets of our user name fragments. Its 48 bits find a leg; they are no secret.
pub(crate) const UFRAG_LEN: usize = 8;
/// Octets of our passwords: 144 bits where RFC 8445 section 5.3 asks for 128.
const PASSWORD_LEN: usize = 24;
/// The 64 characters RFC 8839 section 5.4 allows.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

const USERNAME: u16 = 0x0006;
const HEADER_LEN: usize = 20;
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

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
    /// The page believes we lead (RFC 8445 section 7.3.1.1): this answer tells it to. Nothing else happens.
    Conflict(Vec<u8>),
    /// Authentic. Send the answer to where the request came from.
    Good {
        /// The answer.
        reply: Vec<u8>,
        /// USE-CANDIDATE: this is the address to send to from now on.
        nominated: bool,
    },
}

/// Whose leg a binding request is for: the part of USERNAME before the colon, if it is one of our names in form.
///
/// Reads the datagram in place, so what strangers send costs no memory.
pub(crate) fn addressee(datagram: &[u8]) -> Option<Ufrag> {
    if datagram.len() < HEADER_LEN || datagram[..2] != [0, 1] || datagram[4..8] != MAGIC_COOKIE {
        return None;
    }
    let length = usize::from(u16::from_be_bytes([datagram[2], datagram[3]]));
    let mut rest = datagram.get(HEADER_LEN..HEADER_LEN + length)?;
    while let [k0, k1, l0, l1, body @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*l0, *l1]));
        let value = body.get(..length)?;
        if u16::from_be_bytes([*k0, *k1]) == USERNAME {
            return match value.get(UFRAG_LEN) {
                Some(b':') => value[..UFRAG_LEN].try_into().ok(),
                _ => None,
            };
        }
        rest = body.get(length.next_multiple_of(4)..)?;
    }
    None
}

/// Checks a binding request that [`addressee`] found a leg for, and writes the answer.
pub(crate) fn check(datagram: &[u8], password: &str, from: SocketAddr, crypto: &dyn RTCCrypto) -> Check {
    let mut request = Message::new();
    if request.unmarshal_binary(datagram).is_err() || request.typ != BINDING_REQUEST || !request.contains(ATTR_MESSAGE_INTEGRITY) {
        return Check::Forged;
    }
    if MessageIntegrity::check(&mut request, password.as_bytes(), crypto).is_err() {
        return Check::Forged;
    }
    // What stands after MESSAGE-INTEGRITY is not signed and must not be believed (RFC 8489 section 14.5).
    let signed =
        |wanted| request.attributes.0.iter().map(|a| a.typ).take_while(|typ| *typ != ATTR_MESSAGE_INTEGRITY).any(|typ| typ == wanted);
    let integrity = MessageIntegrity::new_short_term_integrity_with_provider(password.to_owned(), crypto);
    let conflict = signed(ATTR_ICE_CONTROLLED);
    let nominated = signed(ATTR_USE_CANDIDATE);
    let mut reply = Message::new();
    let verdict: Box<dyn Setter> = if conflict {
        Box::new(CODE_ROLE_CONFLICT)
    } else {
        let from = canonical(from);
        Box::new(XorMappedAddress { ip: from.ip(), port: from.port() })
    };
    let class = if conflict { BINDING_ERROR } else { BINDING_SUCCESS };
    let setters: [Box<dyn Setter + '_>; 5] =
        [Box::new(class), Box::new(request.transaction_id), verdict, Box::new(integrity), Box::new(FINGERPRINT)];
    if reply.build(&setters).is_err() {
        return Check::Forged;
    }
    if conflict {
        return Check::Conflict(reply.raw);
    }
    Check::Good { reply: reply.raw, nominated }
}

/// The address as the page knows it: a socket for both families shows IPv4 peers inside IPv6.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtc_stun::attributes::ATTR_USERNAME;
    use rtc_stun::message::TransactionId;
    use rtc_stun::textattrs::TextAttribute;

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
        let from = "[::ffff:192.0.2.7]:4000".parse().unwrap();
        check(datagram, PASSWORD, from, rtc_crypto::default_provider().unwrap().crypto())
    }

    #[test]
    fn a_signed_request_is_answered_with_the_address_it_came_from() {
        let datagram = request(PASSWORD, Some(ATTR_USE_CANDIDATE), None);
        assert_eq!(addressee(&datagram), Some(*b"AAAABBBB"));
        let Check::Good { reply, nominated: true } = checked(&datagram) else { panic!("refused") };
        let mut answer = Message::new();
        answer.unmarshal_binary(&reply).unwrap();
        assert_eq!((answer.typ, answer.transaction_id), (BINDING_SUCCESS, TransactionId([7; 12])));
        let mut mapped = XorMappedAddress::default();
        rtc_stun::message::Getter::get_from(&mut mapped, &answer).unwrap();
        assert_eq!((mapped.ip.to_string(), mapped.port), ("192.0.2.7".to_owned(), 4000));
        let provider = rtc_crypto::default_provider().unwrap();
        MessageIntegrity::check(&mut answer, PASSWORD.as_bytes(), provider.crypto()).unwrap();
        FINGERPRINT.check(&answer).unwrap();
    }

    #[test]
    fn a_nomination_that_is_not_signed_is_not_believed() {
        assert!(matches!(checked(&request(PASSWORD, None, None)), Check::Good { nominated: false, .. }));
        assert!(matches!(checked(&request(PASSWORD, None, Some(ATTR_USE_CANDIDATE))), Check::Good { nominated: false, .. }));
        assert!(matches!(checked(&request("another password of 24 ch", Some(ATTR_USE_CANDIDATE), None)), Check::Forged));
    }

    #[test]
    fn a_page_that_wants_to_be_led_is_told_that_we_do_not() {
        let Check::Conflict(reply) = checked(&request(PASSWORD, Some(ATTR_ICE_CONTROLLED), None)) else { panic!("no conflict") };
        let mut answer = Message::new();
        answer.unmarshal_binary(&reply).unwrap();
        assert_eq!(answer.typ, BINDING_ERROR);
        let mut code = rtc_stun::error_code::ErrorCodeAttribute::default();
        rtc_stun::message::Getter::get_from(&mut code, &answer).unwrap();
        assert_eq!(code.code.0, 487);
    }

    #[test]
    fn cut_and_flipped_requests_are_forged_and_never_panic() {
        let good = request(PASSWORD, Some(ATTR_USE_CANDIDATE), None);
        for length in 0..good.len() {
            let _ = addressee(&good[..length]); // Only that it comes back counts.
            assert!(matches!(checked(&good[..length]), Check::Forged), "{length} octets");
        }
        // The last 8 octets are the fingerprint, which is not signed.
        for bit in 0..(good.len() - 8) * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let _ = addressee(&bad); // Only that it comes back counts.
            let length_bit = (16..32).contains(&bit);
            assert!(length_bit || matches!(checked(&bad), Check::Forged), "bit {bit}");
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
