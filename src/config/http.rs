//! `[http]`: where pages and programs reach lull, and what links begin with.

use super::reader::Reader;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

/// The HTTP side of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// `http.listen`: the address and port of pages, REST and signaling. Default `127.0.0.1:8080`: this machine only. Too
    /// narrow, and phones do not reach it; `0.0.0.0:…` without TLS or a TLS proxy before it, and API keys cross the network in the clear.
    /// Port 0 takes a free one.
    pub listen: SocketAddr,
    /// `http.public_url`: what every link begins with, as browsers see it (behind a proxy: the proxy's). Scheme and host, no
    /// path. Default: derived from `listen`, which is right for this machine only. Wrong, and links lead nowhere; and a page whose
    /// Origin is another is refused.
    pub public_url: Option<PublicUrl>,
    /// `http.tls_cert` and `http.tls_key`: PEM files, both or neither, for HTTPS without a proxy. Default: none, plain HTTP.
    /// Without HTTPS phones give a page no microphone; a certificate of another name than `public_url` is refused by browsers.
    pub tls: Option<Tls>,
}

/// A certificate chain and its key, as files of PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The chain, the server's own certificate first.
    pub cert: PathBuf,
    /// The private key. Only the name is a setting: its text is read by who serves.
    pub key: PathBuf,
}

/// Scheme and host (and port) of the public side: `https://calls.example.org`, without a slash at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl(String);

impl Http {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let listen = reader.text(
            "http.listen",
            SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            "an address with a port, such as 127.0.0.1:8080 or [::]:443",
            |text| text.parse().ok(),
            SocketAddr::to_string,
        );
        let public_url = reader.optional(
            "http.public_url",
            "http:// or https:// and a host, with no path, query or login, such as https://calls.example.org",
            PublicUrl::parse,
            PublicUrl::to_string,
        );
        let file = |text: &str| (!text.is_empty()).then(|| PathBuf::from(text));
        let name = |path: &PathBuf| path.display().to_string();
        let cert = reader.optional("http.tls_cert", "the name of a PEM file", file, name);
        let key = reader.optional("http.tls_key", "the name of a PEM file", file, name);
        let tls = match (cert, key) {
            (Some(cert), Some(key)) => Some(Tls { cert, key }),
            (Some(_), None) => {
                reader.conflict("http.tls_cert is set and http.tls_key is not: HTTPS needs both".to_owned());
                None
            }
            (None, Some(_)) => {
                reader.conflict("http.tls_key is set and http.tls_cert is not: HTTPS needs both".to_owned());
                None
            }
            (None, None) => None,
        };
        let http = Self { listen, public_url, tls };
        // With port 0 links are known once the server listens.
        if listen.port() != 0 {
            reader.derive("http.public_url", http.public_url(listen).to_string(), "http.listen");
        }
        http
    }

    /// What links begin with, once the server listens at `bound` (which tells the port where the setting says 0).
    pub fn public_url(&self, bound: SocketAddr) -> PublicUrl {
        if let Some(url) = &self.public_url {
            return url.clone();
        }
        let ip = match bound.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        PublicUrl(format!("{scheme}://{}", SocketAddr::new(ip, bound.port())))
    }

    /// Says what will likely disappoint.
    pub(super) fn warn(&self, warnings: &mut Vec<String>) {
        let url = self.public_url(self.listen);
        if !url.is_secure_context() {
            warnings
                .push(format!("links begin with {url}: phones give a page no microphone without https (http.tls_cert, http.public_url)"));
        }
        if self.public_url.is_none() && self.listen.ip().is_unspecified() {
            warnings.push(format!("links begin with {url}, which leads here from this machine only: set http.public_url"));
        }
    }
}

impl PublicUrl {
    /// Reads scheme, host and port; a single slash after them is dropped.
    fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let scheme = scheme.to_ascii_lowercase();
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let port_is_good =
            |port: &str| port.parse::<u16>().is_ok_and(|number| number > 0 && port.starts_with(|c: char| c.is_ascii_digit()));
        let host_is_good = if let Some(bracketed) = authority.strip_prefix('[') {
            let (ip, port) = bracketed.split_once(']')?;
            ip.parse::<Ipv6Addr>().is_ok() && (port.is_empty() || port.strip_prefix(':').is_some_and(port_is_good))
        } else {
            let (host, port) = authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
            let label_is_good = |label: &str| {
                let inside = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
                inside && (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
            };
            host.len() <= 253 && host.split('.').all(label_is_good) && port.is_none_or(port_is_good)
        };
        (matches!(scheme.as_str(), "http" | "https") && host_is_good)
            .then(|| Self(format!("{scheme}://{}", authority.to_ascii_lowercase())))
    }

    /// `https://…`: cookies may be marked as secure.
    pub fn is_https(&self) -> bool {
        self.0.starts_with("https://")
    }

    /// Whether browsers give its pages a microphone: HTTPS, or this machine itself
    /// (W3C Secure Contexts, section 3.1: 127.0.0.0/8, ::1, `localhost` and names below it).
    pub fn is_secure_context(&self) -> bool {
        let host = self.host();
        let loopback = host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        self.is_https() || loopback || host == "localhost" || host.ends_with(".localhost")
    }

    /// The host without port and brackets.
    pub fn host(&self) -> &str {
        let authority = self.0.split_once("://").map_or("", |(_, authority)| authority);
        match authority.strip_prefix('[') {
            Some(bracketed) => bracketed.split(']').next().unwrap_or_default(),
            None => authority.split(':').next().unwrap_or_default(),
        }
    }

    /// As text, without a slash at the end: also the Origin of our own pages.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
