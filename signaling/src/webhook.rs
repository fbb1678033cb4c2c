//! The wire form of webhooks: addresses, secrets and signatures of Standard Webhooks 1.0 (standardwebhooks.com).
//!
//! It sends nothing and keeps nothing. A secret leaves as text in one place only: where a vendor is shown a new one.

use axum::http::Uri;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

/// The header with the event's id.
pub const ID: &str = "webhook-id";

/// The header with the moment of sending, in seconds since the Unix epoch.
pub const TIMESTAMP: &str = "webhook-timestamp";

/// The header with the signatures.
pub const SIGNATURE: &str = "webhook-signature";

/// The longest address, in bytes.
const URL_MAX: usize = 2000;

/// A secret as its vendor is shown it, once.
pub fn secret_text(secret: &[u8]) -> String {
    format!("whsec_{}", STANDARD.encode(secret))
}

/// The signatures of a message, one for each secret, as the header has them: `v1,` and the base64 of HMAC-SHA256 over
/// `id.timestamp.body`, with a space between.
pub fn signatures<'a>(secrets: impl IntoIterator<Item = &'a [u8]>, id: &str, timestamp_s: i64, body: &str) -> String {
    let message = format!("{id}.{timestamp_s}.{body}");
    let sign = |secret: &[u8]| {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
        format!("v1,{}", STANDARD.encode(tag))
    };
    secrets.into_iter().map(sign).collect::<Vec<_>>().join(" ")
}

/// Where an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// By TLS.
    pub https: bool,
    /// A name or an IP address, without brackets.
    pub host: String,
    /// The port, the scheme's own where none is given.
    pub port: u16,
    /// Host and port as they stand in the address: the `Host` header.
    pub authority: String,
    /// Path and query.
    pub path: String,
}

/// Why a text is no address of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Too long, not ASCII, or no URL.
    #[error("must be an https address of at most {URL_MAX} visible ASCII characters, such as https://shop.example/lull")]
    Form,
    /// Whoever reads the list of endpoints would read it.
    #[error("must not hold a user name or password")]
    Login,
    /// It never reaches a server.
    #[error("must not have a part behind #")]
    Fragment,
}

impl Address {
    /// Reads an address.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text.len() > URL_MAX || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(AddressError::Form);
        }
        if text.contains('#') {
            return Err(AddressError::Fragment);
        }
        let uri: Uri = text.parse().map_err(|_| AddressError::Form)?;
        let https = match uri.scheme_str() {
            Some(scheme) if scheme.eq_ignore_ascii_case("https") => true,
            Some(scheme) if scheme.eq_ignore_ascii_case("http") => false,
            _ => return Err(AddressError::Form),
        };
        let authority = uri.authority().ok_or(AddressError::Form)?;
        if authority.as_str().contains('@') {
            return Err(AddressError::Login);
        }
        let host = authority.host();
        let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        // A colon without a port, and port 0, lead nowhere.
        let port = match authority.as_str().strip_prefix(host) {
            Some("") => Some(if https { 443 } else { 80 }),
            Some(_) => authority.port_u16().filter(|port| *port > 0),
            None => None,
        };
        if inside.is_empty() || inside.contains(['[', ']', '%']) || (inside.contains(':') && inside == host) {
            return Err(AddressError::Form);
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        // A query alone has no path in front.
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let port = port.ok_or(AddressError::Form)?;
        Ok(Self { https, host: inside.to_ascii_lowercase(), port, authority: authority.as_str().to_ascii_lowercase(), path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_the_reference_libraries() {
        // The worked example that the specification's own libraries are tested with.
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let (id, timestamp, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signatures([&secret[..]], id, timestamp, body), expected);
        assert_eq!(secret_text(&secret), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        // While a secret is replaced, both sign.
        let both = signatures([&[7; 32][..], &secret[..]], id, timestamp, body);
        assert!(both.starts_with("v1,") && both.ends_with(&format!(" {expected}")), "{both}");
        for (other_id, other_time, other_body) in [("msg_1", timestamp, body), (id, timestamp + 1, body), (id, timestamp, "{}")] {
            assert_ne!(signatures([&secret[..]], other_id, other_time, other_body), expected);
        }
    }

    #[test]
    fn an_address_has_scheme_host_port_and_path() {
        let address = |text| Address::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let shop = address("HTTPS://Shop.Example/lull?a=1");
        assert_eq!((shop.https, shop.host.as_str(), shop.port), (true, "shop.example", 443));
        assert_eq!((shop.authority.as_str(), shop.path.as_str()), ("shop.example", "/lull?a=1"));
        let local = address("http://[::1]:8080");
        assert_eq!((local.https, local.host.as_str(), local.port), (false, "::1", 8080));
        assert_eq!((local.authority.as_str(), local.path.as_str()), ("[::1]:8080", "/"));
        assert_eq!(address("https://a.example?x").path, "/?x");
    }

    #[test]
    fn what_leads_nowhere_or_holds_a_login_is_refused() {
        for text in ["", "shop.example", "/lull", "ftp://shop.example", "https://", "https:///x", "https://a b", "https://月.example"] {
            assert_eq!(Address::parse(text), Err(AddressError::Form), "{text}");
        }
        for text in [
            "https://a.example:0/",
            "https://a.example:/",
            "https://a.example:70000/",
            "https://[::1",
            "https://::1/",
            "https://[fe80::1%25eth0]/",
        ] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
        assert_eq!(Address::parse("https://me:hunter2@a.example/"), Err(AddressError::Login));
        assert_eq!(Address::parse("https://me@a.example/"), Err(AddressError::Login));
        assert_eq!(Address::parse("https://a.example/#x"), Err(AddressError::Fragment));
        assert_eq!(Address::parse(&format!("https://a.example/{}", "x".repeat(2000))), Err(AddressError::Form));
    }
}
