//! Fuzz targets of the door, and what they are made of. Only in tests and in the build of `fuzz/`; see `scripts/fuzz.sh`.

#[path = "../../fuzz/target.rs"]
mod target;

pub use crate::rest::fuzzing::TARGETS as REST;
pub use target::Target;
#[cfg(test)]
pub(crate) use target::replay;
pub(crate) use target::{Input, piece, targets};

use crate::auth::{OriginRule, TokenKey, bearer, caller, check_origin, origin_of, session_secret};
use crate::code::Code;
use crate::inbound::{Caller, Claims, Role};
use crate::limits::ip_key;
use crate::message::{FromPage, MAX_BYTES, PageBody, parse_message};
use crate::webhook::Address;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

targets! {
    message: 20_000, messages, [];
    token: 5_000, tokens, [];
    headers: 20_000, shown, [];
    origin: 10_000, urls, [];
    address: 5_000, addresses, [];
    webhook_url: 10_000, endpoints, [];
}

/// An endpoint's address has one meaning: what was read leads to the same host, port and path when it is written and read again.
fn webhook_url(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(address) = Address::parse(text) else { return };
    let Address { https, host, port, authority, path } = &address;
    assert!(!host.is_empty() && *port > 0 && path.starts_with('/'), "{address:?}");
    for part in [host, authority, path] {
        assert!(part.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#'), "{address:?}");
    }
    assert!(!host.contains(['@', '[', ']', '/', '?', '\\', '%']) && !authority.contains(['@', '/', '?']), "{address:?}");
    let scheme = if *https { "https" } else { "http" };
    assert_eq!(Address::parse(&format!("{scheme}://{authority}{path}")).as_ref(), Ok(&address));
}

fn endpoints() -> Vec<Vec<u8>> {
    let urls = ["https://shop.example/lull?a=1", "HTTP://[::1]:8080", "https://a.example?x", "https://u:p@h/", "https://127.1:443/%2e#x"];
    urls.map(|url| url.as_bytes().to_vec()).to_vec()
}

/// A message that is taken is within its bounds and reads back as it was when written again.
fn message(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let taken = match parse_message(text) {
        Ok(taken) => taken,
        Err(refused) => {
            assert!(matches!(refused.code, Code::InvalidMessage | Code::UnknownType | Code::TooLarge), "{refused:?}");
            assert!(refused.detail.len() <= 200 && refused.re.is_none_or(|seq| (1..1 << 53).contains(&seq)));
            return;
        }
    };
    assert!(text.len() <= MAX_BYTES && taken.seq < 1 << 53);
    assert!(taken.seq > 0 || matches!(taken.body, PageBody::Hello { .. } | PageBody::Ping { .. }));
    let written = serde_json::to_string(&taken).expect("what was read can be written");
    // Control characters grow when they are escaped, so the text may be longer than what was read.
    if written.len() <= MAX_BYTES {
        assert_eq!(parse_message(&written), Ok(taken.clone()));
    }
    let read: FromPage = serde_json::from_str(&written).expect("as its type has it");
    assert_eq!(read, taken);
}

const NOW_S: i64 = 1_773_144_000;

fn claims() -> Claims {
    let (nbf, exp) = (NOW_S - 60, NOW_S + 3_600);
    Claims { iss: "lull".to_owned(), role: Role::Client, call: "call_1".to_owned(), jti: "jti_1".to_owned(), nbf, exp }
}

/// Without the key nothing counts but our own token, letter for letter.
fn token(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let key = TokenKey::new([7; 32]);
    match key.verify(text, NOW_S) {
        Ok(said) => assert_eq!((key.mint(&said).as_str(), said), (text, claims())),
        Err(code) => assert_eq!(code, Code::TokenInvalid),
    }
}

fn header_map(input: &mut Input) -> HeaderMap {
    const NAMES: [&str; 4] = ["authorization", "cookie", "origin", "content-type"];
    let mut headers = HeaderMap::new();
    for _ in 0..8 {
        let name = NAMES[usize::from(input.u8()) % NAMES.len()];
        if let Ok(value) = HeaderValue::from_bytes(input.piece()) {
            headers.append(HeaderName::from_static(name), value);
        }
        if input.is_empty() {
            break;
        }
    }
    headers
}

/// A secret is short and stands in one header; a cookie writes from our own pages only.
fn headers(data: &[u8]) {
    let headers = header_map(&mut Input::new(data));
    let ours = ["https://calls.example.org".to_owned()];
    let holds = |name: &str, secret: &str| {
        headers.get_all(name).iter().any(|value| value.as_bytes().windows(secret.len()).any(|window| window == secret.as_bytes()))
    };
    if let Some(secret) = bearer(&headers) {
        assert!((1..=2048).contains(&secret.len()) && holds("authorization", secret));
    }
    if let Some(secret) = session_secret(&headers) {
        assert!((1..=2048).contains(&secret.len()) && holds("cookie", secret));
    }
    let from_ours = check_origin(&headers, &ours, OriginRule::Ours).is_ok();
    assert_eq!(from_ours, headers.get_all("origin").iter().map(|origin| origin.as_bytes().to_ascii_lowercase()).eq([ours[0].as_bytes()]));
    assert!(!from_ours || check_origin(&headers, &ours, OriginRule::AbsentOrOurs).is_ok());
    if let Ok(Caller::Session(_)) = caller(&Method::POST, &headers, &ours) {
        assert!(from_ours && !headers.contains_key("authorization"));
    }
    if let Ok(Caller::ApiKey(_)) = caller(&Method::POST, &headers, &ours) {
        assert_eq!(headers.get_all("authorization").iter().count(), 1);
    }
}

/// An origin is its own origin, in lower case, without a path.
fn origin(data: &[u8]) {
    let Ok(url) = std::str::from_utf8(data) else { return };
    let Some(origin) = origin_of(url) else { return };
    assert_eq!(origin_of(&origin).as_ref(), Some(&origin), "of {url:?}");
    let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")).expect("a scheme of ours");
    assert!(!host.is_empty() && !host.contains(['/', '@', '?', '#']), "{origin}");
    assert!(!origin.bytes().any(|octet| octet.is_ascii_uppercase()));
}

/// An address and its key have the same key, and one IPv6 network has one.
fn address(data: &[u8]) {
    let mut octets = [0; 16];
    octets.iter_mut().zip(data).for_each(|(octet, given)| *octet = *given);
    let v6 = Ipv6Addr::from(octets);
    let key = ip_key(IpAddr::V6(v6));
    assert_eq!(ip_key(key), key);
    match v6.to_ipv4_mapped() {
        Some(v4) => assert_eq!((key, ip_key(IpAddr::V4(v4))), (IpAddr::V4(v4), key)),
        None => assert_eq!(ip_key(IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() ^ 1))), key),
    }
    let v4 = IpAddr::V4(Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]));
    assert_eq!(ip_key(v4), v4);
}

fn messages() -> Vec<Vec<u8>> {
    [
        r#"{"v":1,"type":"hello","token":"a.b.c","page":"k3j9x0a1"}"#,
        r#"{"v":1,"type":"offer","seq":1,"sdp":"v=0\r\n"}"#,
        r#"{"v":1,"type":"ice_restart","seq":2,"sdp":"v=0\r\n"}"#,
        r#"{"v":1,"type":"extend","seq":3,"key":"12345678"}"#,
        r#"{"v":1,"type":"gift","seq":4,"key":"12345678","minutes":5}"#,
        r#"{"v":1,"type":"devices","seq":5,"audio":true,"video":false}"#,
        r#"{"v":1,"type":"hang_up","seq":6,"mood":"calm"}"#,
        r#"{"v":1,"type":"report_abuse","seq":9007199254740991}"#,
        r#"{"v":1,"type":"ping","at":12.5}"#,
        r#"{"v":1,"type":"dance","seq":9}"#,
        r#"{"v":2,"type":"hang_up","seq":1}"#,
        "[]",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

fn tokens() -> Vec<Vec<u8>> {
    let ours = TokenKey::new([7; 32]).mint(&claims());
    let anothers = TokenKey::new([8; 32]).mint(&claims());
    // {"alg":"none"}
    let unsigned = format!("eyJhbGciOiJub25lIn0.{}.", ours.split('.').nth(1).unwrap_or_default());
    vec![ours.into_bytes(), anothers.into_bytes(), unsigned.into_bytes(), b"a.b.c".to_vec()]
}

fn shown() -> Vec<Vec<u8>> {
    let one = |name: u8, value: &[u8]| [&[name][..], &piece(value)].concat();
    vec![
        one(0, b"Bearer key_0123456789"),
        [one(0, b"bearer a"), one(0, b"Bearer b")].concat(),
        [one(1, b"theme=dark; lull_session=abcdef; x=y"), one(2, b"https://calls.example.org")].concat(),
        [one(1, b"lull_session=abcdef"), one(2, b"https://calls.example.org.evil.example")].concat(),
        [one(2, b"null"), one(3, b"application/json; charset=utf-8")].concat(),
    ]
}

fn urls() -> Vec<Vec<u8>> {
    [
        "https://calls.example.org/client#x",
        "http://127.0.0.1:7600",
        "https://[2001:db8::1]:8443/",
        "HTTPS://User:Secret@Calls.Example.Org:443/a?b",
        "http://localhost:80",
        "ftp://x",
        "https:///x",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

fn addresses() -> Vec<Vec<u8>> {
    let mapped = Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped().octets().to_vec();
    vec![vec![0x20, 1, 0x0D, 0xB8, 0, 1, 0, 2, 0xFF, 0xFF, 0, 0, 0, 0, 0, 9], mapped, vec![0; 16]]
}
