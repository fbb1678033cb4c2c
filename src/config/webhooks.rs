//! `[webhooks]`: how vendors' programs are told of events.

use super::reader::Reader;
use crate::clock::Span;
use std::net::IpAddr;
use std::path::PathBuf;

/// Where events may be sent, and how often it is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhooks {
    /// `webhooks.allow_http`: endpoints may be `http:`. Default no: events would cross the network in the clear. For one machine and tests.
    pub allow_http: bool,
    /// `webhooks.allow_networks`: networks of private addresses to which events may go all the same, such as `10.20.0.0/16`. Default none:
    /// a vendor cannot make this server talk to what only it reaches. What is listed, every vendor reaches.
    pub allow_networks: Vec<Network>,
    /// `webhooks.ca_file`: a PEM file of certification authorities that count beside Mozilla's. Default none.
    pub ca_file: Option<PathBuf>,
    /// `webhooks.retries_s`: the waits before the second, third … try of an event, each varied by a quarter. Default twelve over
    /// about five days. After the last the event is given up, and if nothing came through meanwhile its endpoint is disabled.
    pub retries: Vec<Span>,
    /// `webhooks.connect_timeout_s`: a connection, TLS included, stands within this time. Default 5 s.
    pub connect_timeout: Span,
    /// `webhooks.timeout_s`: the answer is there within this time after the beginning of the try. Default 15 s.
    pub timeout: Span,
    /// `webhooks.endpoints_per_vendor`: default 16. Each costs a row for each event, and a request.
    pub endpoints_per_vendor: u32,
}

/// The addresses that begin with the first `prefix` bits of `address`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The network's address.
    pub address: IpAddr,
    /// Bits that count.
    pub prefix: u8,
}

/// Waits between tries: their sum is four days and 22 hours.
const RETRIES_S: [i64; 12] = [5, 30, 120, 600, 3600, 10_800, 21_600, 43_200, 86_400, 86_400, 86_400, 86_400];

impl Webhooks {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let file = |text: &str| (!text.is_empty()).then(|| PathBuf::from(text));
        Self {
            allow_http: reader.truth("webhooks.allow_http", false),
            allow_networks: reader.texts(
                "webhooks.allow_networks",
                "a list of networks such as [\"10.20.0.0/16\", \"fd00::/8\"]",
                Network::parse,
                Network::text,
            ),
            ca_file: reader.optional("webhooks.ca_file", "the name of a PEM file", file, |path| path.display().to_string()),
            retries: reader.wholes("webhooks.retries_s", &RETRIES_S, 0..=604_800, 50).into_iter().map(Span::from_s).collect(),
            connect_timeout: Span::from_s(reader.whole("webhooks.connect_timeout_s", 5, 1..=60)),
            timeout: Span::from_s(reader.whole("webhooks.timeout_s", 15, 1..=60)),
            endpoints_per_vendor: u32::try_from(reader.whole("webhooks.endpoints_per_vendor", 16, 1..=100)).unwrap_or(16),
        }
    }
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.parse().ok().filter(|prefix| *prefix <= bits && text.bytes().all(|b| b != b'+'))?;
        Some(Self { address, prefix })
    }

    fn text(&self) -> String {
        format!("{}/{}", self.address, self.prefix)
    }
}
