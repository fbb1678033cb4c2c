//! `[signaling]`: how much one caller may ask of the door, and how long the door waits.

use super::reader::Reader;
use crate::clock::Span;

/// Rates, sizes and times at the door. Beyond a rate the answer is 429 (`rate_limited`) with `Retry-After`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signaling {
    /// `signaling.ip_requests_per_second`: requests of one address, of any kind; ten seconds' worth may come at once. Default 200: a
    /// mobile network hides many people behind one address. Too small, and they are refused; too large, and one machine can occupy the server.
    pub ip_requests_per_second: u32,
    /// `signaling.caller_requests_per_second`: REST requests of one API key or session; ten seconds' worth may come at once. Default 200. Too
    /// small, and an order rush or an import is refused; too large, and one vendor's broken loop slows all.
    pub caller_requests_per_second: u32,
    /// `signaling.joins_per_minute`: joins with one token, reloads included. Default 10. Too small, and a person on a bad line is locked
    /// out of a paid call; too large, and a leaked link can keep replacing its owner without end.
    pub joins_per_minute: u32,
    /// `signaling.socket_messages_per_second`: messages on one socket, and over the data channels of one party; three seconds' worth may come at once. Default 20. Too small,
    /// and taps are refused; larger only helps broken pages.
    pub socket_messages_per_second: u32,
    /// `signaling.body_bytes`: the longest REST body. Default 16384. Too small, and long names are refused; above, only memory is at stake.
    pub body_bytes: u32,
    /// `signaling.sdp_bytes`: the longest offer over HTTP. Default 65536; below 20000 browsers' offers do not fit.
    pub sdp_bytes: u32,
    /// `signaling.request_timeout_s`: in which time a request is answered, or given up with 503. Default 10. Too small, and a slow disk
    /// looks like an outage; too large, and callers wait for what will not come.
    pub request_timeout: Span,
    /// `signaling.hello_timeout_s`: in which time a socket must say who it is. Default 10. Too small, and slow phones never get in; too large,
    /// and strangers hold sockets.
    pub hello_timeout: Span,
    /// `signaling.write_timeout_s`: in which time a socket must take what it is sent. Default 10. Too small, and a short hole in the network drops it.
    pub write_timeout: Span,
    /// `signaling.ping_every_s`: how often a socket is pinged. Default 20; proxies close a silent one after about 60.
    pub ping_every: Span,
    /// `signaling.idle_timeout_s`: after which silence a socket is closed. Default 45, two pings lost; above `ping_every_s`. Too small, and a
    /// sleeping phone reconnects all night.
    pub idle_timeout: Span,
    /// `signaling.sockets`: open sockets in all, about 40 KB each. Default 10000. Too small, and pages stay on "reconnecting" while their calls
    /// go on; too large, and memory or file handles (`ulimit -n`) give out first.
    pub sockets: u32,
    /// `signaling.sockets_per_ip`: open sockets of one address. Default 256. Too small, and an office or a mobile network is locked out.
    pub sockets_per_ip: u32,
    /// `signaling.socket_queue`: messages that wait for one page before it is dropped as too slow. Default 64. Too small, and a phone
    /// with a short hole is dropped; too large, and a dead one holds memory.
    pub socket_queue: u32,
    /// `signaling.inbound_queue`: requests and messages that wait for the house. Default 1024. Too small, and bursts are answered with 503; too
    /// large, and answers come after their askers have gone.
    pub inbound_queue: u32,
}

impl Signaling {
    pub(super) fn read(reader: &mut Reader) -> Self {
        // All ranges fit.
        let mut whole = |key, default, range| u32::try_from(reader.whole(key, default, range)).unwrap_or(0);
        let ip_requests_per_second = whole("signaling.ip_requests_per_second", 200, 1..=100_000);
        let caller_requests_per_second = whole("signaling.caller_requests_per_second", 200, 1..=100_000);
        let joins_per_minute = whole("signaling.joins_per_minute", 10, 1..=1000);
        let socket_messages_per_second = whole("signaling.socket_messages_per_second", 20, 1..=1000);
        let body_bytes = whole("signaling.body_bytes", 16_384, 4096..=1_048_576);
        let sdp_bytes = whole("signaling.sdp_bytes", 65_536, 20_000..=1_048_576);
        let request_timeout = reader.whole("signaling.request_timeout_s", 10, 1..=300);
        let hello_timeout = reader.whole("signaling.hello_timeout_s", 10, 1..=300);
        let write_timeout = reader.whole("signaling.write_timeout_s", 10, 1..=300);
        let ping_every = reader.whole("signaling.ping_every_s", 20, 1..=300);
        let idle_timeout = reader.whole("signaling.idle_timeout_s", 45, 2..=3600);
        let mut whole = |key, default, range| u32::try_from(reader.whole(key, default, range)).unwrap_or(0);
        let sockets = whole("signaling.sockets", 10_000, 2..=1_000_000);
        let sockets_per_ip = whole("signaling.sockets_per_ip", 256, 2..=1_000_000);
        let socket_queue = whole("signaling.socket_queue", 64, 8..=4096);
        let inbound_queue = whole("signaling.inbound_queue", 1024, 16..=65_536);
        if idle_timeout <= ping_every {
            reader.conflict(format!(
                "signaling.idle_timeout_s is {idle_timeout}, not above signaling.ping_every_s {ping_every}: silent pages would be cut off"
            ));
        }
        Self {
            ip_requests_per_second,
            caller_requests_per_second,
            joins_per_minute,
            socket_messages_per_second,
            body_bytes,
            sdp_bytes,
            request_timeout: Span::from_s(request_timeout),
            hello_timeout: Span::from_s(hello_timeout),
            write_timeout: Span::from_s(write_timeout),
            ping_every: Span::from_s(ping_every),
            idle_timeout: Span::from_s(idle_timeout),
            sockets,
            sockets_per_ip,
            socket_queue,
            inbound_queue,
        }
    }
}
