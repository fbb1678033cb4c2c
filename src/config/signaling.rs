//! `[signaling]`: how much one caller may ask of the door.

use super::reader::Reader;

/// Rates and sizes at the door. Beyond a rate the answer is 429 (`rate_limited`) with `Retry-After`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signaling {
    /// `signaling.rest_per_second`: REST requests of one vendor. Default 200, with ten seconds' worth at once; one address may send twice as many. Too small, and an order rush is refused;
    /// too large, and one vendor's broken loop slows all.
    pub rest_per_second: u32,
    /// `signaling.joins_per_minute`: joins with one token, reloads included. Default 10. Too small, and a person on a bad line is locked
    /// out of a paid call; too large, and a leaked link can keep replacing its owner without end.
    pub joins_per_minute: u32,
    /// `signaling.logins_per_minute`: attempts at a login link from one address. Default 10. Larger only helps who guesses.
    pub logins_per_minute: u32,
    /// `signaling.socket_messages_per_second`: messages on one socket. Default 20. Too small, and taps are refused; pages send
    /// about one in five seconds.
    pub socket_messages_per_second: u32,
    /// `signaling.max_sockets`: pages connected at once, on the whole server. Default 4000, two for each of 2,000 calls. Too small, and pages
    /// stay on "reconnecting" while their calls go on; too large, and memory and file handles (`ulimit -n`) give out first.
    pub max_sockets: u32,
    /// `signaling.socket_queue`: messages that wait for a slow page before it is dropped. Default 64. Too small, and a phone
    /// with a short hole is dropped; too large, and a dead one holds memory.
    pub socket_queue: u32,
    /// `signaling.body_bytes`: the longest body of a REST request or an offer. Default 65536. Below 20000 browsers' offers do not
    /// fit; above, only memory is at stake.
    pub body_bytes: u32,
    /// `signaling.inbound_queue`: requests and messages that wait for the house. Default 1024. Too small, and bursts are answered with 503; too
    /// large, and answers come after their askers have gone.
    pub inbound_queue: u32,
}

impl Signaling {
    pub(super) fn read(reader: &mut Reader) -> Self {
        // All ranges fit.
        let mut read = |key, default, range| u32::try_from(reader.whole(key, default, range)).unwrap_or(0);
        Self {
            rest_per_second: read("signaling.rest_per_second", 200, 1..=100_000),
            joins_per_minute: read("signaling.joins_per_minute", 10, 1..=1000),
            logins_per_minute: read("signaling.logins_per_minute", 10, 1..=1000),
            socket_messages_per_second: read("signaling.socket_messages_per_second", 20, 1..=1000),
            max_sockets: read("signaling.max_sockets", 4000, 2..=1_000_000),
            socket_queue: read("signaling.socket_queue", 64, 8..=4096),
            body_bytes: read("signaling.body_bytes", 65_536, 20_000..=1_048_576),
            inbound_queue: read("signaling.inbound_queue", 1024, 16..=65_536),
        }
    }
}
