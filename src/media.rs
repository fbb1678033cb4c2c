//! The media plane: shards that own sockets and legs, and the handle by which the service speaks to them.
//!
//! Commands go in, [`Report`]s come out; packets never leave a shard's thread. Nothing of WebRTC (SDP text apart) is
//! seen outside this room. It knows nothing of money, plans or tokens.

use crate::call::{Medium, Quality, Side};
use crate::clock::{Moment, Span};
use crate::ids::{CallId, LegId};

/// A request to answer an offer and make a leg of it.
#[derive(Clone, Debug)]
pub struct OpenLeg {
    /// The call; all its legs live on one shard.
    pub call: CallId,
    /// Whose leg.
    pub side: Side,
    /// The new leg's name.
    pub leg: LegId,
    /// The page's SDP offer.
    pub offer: String,
    /// Whether the call carries video.
    pub medium: Medium,
    /// Without any proof of life for this long the leg is reported lost.
    pub media_timeout: Span,
    /// The same, for a leg from which only RTCP or STUN is expected.
    pub quiet_timeout: Span,
    /// The side must send audio to count as there (the companion).
    pub audio_required: bool,
}

/// Why an offer cannot be answered. Its text says what an acceptable offer has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// Not SDP.
    #[error("the offer is not SDP: {0}")]
    Syntax(String),
    /// SDP that lacks something a leg needs.
    #[error("the offer {0}")]
    Unacceptable(&'static str),
    /// An ICE restart of a leg that is gone.
    #[error("this leg is gone; join again")]
    Gone,
    /// The shard has more work than it can carry.
    #[error("the media plane is full; try again later")]
    Overloaded,
}

/// What a shard saw. Instants are the shard's own.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// ICE and DTLS are up on this leg; the side's earlier leg, if any, is closed (and told nothing here).
    Connected { call: CallId, side: Side, leg: LegId, at: Moment },
    /// The first audio packet from `from` was sent on to the other side, whose leg is connected.
    AudioReached { call: CallId, from: Side, at: Moment },
    /// No proof of life from this leg since `since`.
    Lost { call: CallId, side: Side, leg: LegId, since: Moment },
    /// A lost leg is heard again (for a side that must send audio: its audio is).
    Back { call: CallId, side: Side, leg: LegId, at: Moment },
    /// The page closed its transport (DTLS close_notify). Proof of life ended at `since`.
    Hushed { call: CallId, side: Side, leg: LegId, since: Moment },
    /// A text arrived on the leg's data channel `control`.
    Control { call: CallId, side: Side, leg: LegId, text: String },
    /// Every 10 s, and once at the end of a leg: totals since the side's first leg.
    Measured { call: CallId, side: Side, quality: Quality },
    /// A leg never came up within 30 s of its offer, or its DTLS failed for good.
    Failed { call: CallId, side: Side, leg: LegId, why: &'static str },
    /// This side cannot send or receive video in a video call (no VP8 or no transport-cc); both pages say so.
    AudioOnly { call: CallId, side: Side, leg: LegId },
}

pub mod client;
mod dtls;
mod ice;
mod sctp;
mod sdp;
