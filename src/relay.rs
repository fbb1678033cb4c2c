//! What happens to a packet between two legs: SRTP off, numbers mapped in place, SRTP on.
//!
//! A packet goes through two steps. [`LegMedia::receive`] authenticates and decrypts it in its buffer and counts it:
//! whatever comes out is proof of life of that leg, even when there is nobody to send it to. [`pass`] then writes the
//! numbers the other leg expects and protects it with that leg's keys. RTCP takes the same two steps. [`replace`] does the second
//! step for a packet that was not passed, with another content; [`LegMedia::announce`] sends what comes from nobody.
//!
//! Byte buffers only: no sockets, no clocks, no locks, no allocation for a packet. Nothing of a packet is believed and
//! no state changes before the packet is authenticated, but for a count that bounds second tries at a stream's first
//! packet. Invariant: one (key, SSRC, index) is never protected twice.

mod forward;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod leg;
mod outgoing;
mod rtcp;
mod rtp;
mod seal;
mod srtp;
#[doc(hidden)]
pub mod stages;
mod streams;
mod window;

pub use forward::{pass, replace};
pub use leg::{Counters, LegMedia, Quality, Received, RtpPacket, Stamp};
pub(crate) use rtp::Header;
pub(crate) use srtp::Ciphers;
pub use srtp::{Keying, Profile};
pub use streams::{Announcements, Extension, Extensions, Lane, Stream, Streams};
pub(crate) use window::Window;

/// Octets a buffer must hold beyond the length of the packet in it, so that a larger tag fits: the largest is an SRTCP
/// index (4) with a GCM tag (16, RFC 7714 section 5.2).
pub const SPARE: usize = 20;

/// Why a packet goes no further. Each cause is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Dropped {
    /// The leg (this or the receiving one) has no keys yet.
    #[error("not keyed")]
    NotKeyed,
    /// Too short, or a length inside points outside.
    #[error("malformed")]
    Malformed,
    /// An SSRC that the leg's SDP did not declare.
    #[error("unknown ssrc")]
    UnknownSsrc,
    /// Seen before, or older than the replay window.
    #[error("replayed")]
    Replayed,
    /// The tag does not fit the packet.
    #[error("forged")]
    Forged,
    /// The other leg has no stream or payload type for it.
    #[error("no mapping")]
    NoMapping,
    /// Older than the first packet passed on of this source; its number may have been used by an earlier source.
    #[error("before start")]
    BeforeStart,
    /// Its number was given out already, or is too old to know: what is sent once is never sent again otherwise. Counts
    /// only after a leg was restored from an older snapshot than its counterpart, or by a fault of ours.
    #[error("number spent")]
    Spent,
    /// RTCP of which nothing is meant for the other leg.
    #[error("nothing left")]
    NothingLeft,
    /// The buffer has less than [`SPARE`] octets after the packet.
    #[error("no room")]
    NoRoom,
    /// All indexes of a key are used up (RFC 3711 section 9.2).
    #[error("key exhausted")]
    Exhausted,
}

impl Dropped {
    /// All causes; a cause's place here is its `as usize`.
    pub const ALL: [Dropped; 11] = [
        Dropped::NotKeyed,
        Dropped::Malformed,
        Dropped::UnknownSsrc,
        Dropped::Replayed,
        Dropped::Forged,
        Dropped::NoMapping,
        Dropped::BeforeStart,
        Dropped::Spent,
        Dropped::NothingLeft,
        Dropped::NoRoom,
        Dropped::Exhausted,
    ];

    /// The cause as a metrics label: snake case.
    pub const fn label(self) -> &'static str {
        match self {
            Dropped::NotKeyed => "not_keyed",
            Dropped::Malformed => "malformed",
            Dropped::UnknownSsrc => "unknown_ssrc",
            Dropped::Replayed => "replayed",
            Dropped::Forged => "forged",
            Dropped::NoMapping => "no_mapping",
            Dropped::BeforeStart => "before_start",
            Dropped::Spent => "spent",
            Dropped::NothingLeft => "nothing_left",
            Dropped::NoRoom => "no_room",
            Dropped::Exhausted => "exhausted",
        }
    }
}

#[cfg(test)]
mod tests;
