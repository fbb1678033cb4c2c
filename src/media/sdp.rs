//! The SDP of a leg: an offer is read into an [`Offer`], and [`answer()`] writes what we say to it.
//!
//! One offer, one answer, no renegotiation. What a call carries is fixed here (design.md section 9): Opus, VP8 with RTX,
//! transport-cc on video only, one data channel. It opens no socket and draws no random number. Its invariant: whatever
//! the offer asks, the answer keeps its media sections in order and says nothing the leg cannot do.

mod answer;
mod fragment;
mod read;
#[cfg(test)]
mod tests;

pub(crate) use answer::{Announced, Local, MESSAGE_LIMIT, answer};
pub(crate) use fragment::{Fragment, write_fragment};

use crate::call::Medium;
use crate::relay::{self, Extension, Extensions, Stream, Streams};

/// An offer longer than this is refused, in bytes. Browsers offer 3 to 8 KB.
pub(crate) const OFFER_LIMIT: usize = 64 * 1024;
/// An offer with more media sections than this is refused. A page of ours offers four.
const SECTION_LIMIT: usize = 16;

/// A media section with more formats or lines `a=` than this is refused, and so is an offer with more lines `a=` before the first section:
/// what is looked up in them goes by their product. Browsers have less than 60 and 250.
const FORMAT_LIMIT: usize = 128;
const ATTRIBUTE_LIMIT: usize = 1_024;

/// Whether a header extension is answered on a section of this kind. transport-cc on audio would cost a quarter more
/// datagrams; what only a few senders use (playout delay, timing, colours) is left out.
fn answers(extension: Extension, video: bool) -> bool {
    match extension {
        Extension::Mid => true,
        Extension::AudioLevel => !video,
        Extension::TransportWideCc
        | Extension::VideoOrientation
        | Extension::VideoContentType
        | Extension::AbsSendTime
        | Extension::TransmissionOffset => video,
        Extension::PlayoutDelay | Extension::VideoTiming | Extension::ColorSpace => false,
    }
}

/// Which way media flows, seen by the one who says it (RFC 8866 section 6.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Both ways.
    SendRecv,
    /// From the speaker only.
    SendOnly,
    /// To the speaker only.
    RecvOnly,
    /// Not at all.
    Inactive,
}

impl Direction {
    /// Whether the one who says it may send.
    pub(crate) fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether the one who says it wants to receive.
    pub(crate) fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    fn mirrored(self) -> Self {
        match self {
            Self::SendOnly => Self::RecvOnly,
            Self::RecvOnly => Self::SendOnly,
            other => other,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }
}

/// What a media section is used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// The voice: the first audio section.
    Voice(Voice),
    /// Announcements by the server: the second audio section. Nothing is taken from the page on it.
    Announcements(Announcements),
    /// The camera.
    Camera(Camera),
    /// The data channel.
    Data,
    /// Answered with port 0.
    Refused,
}

/// The page's voice section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Voice {
    /// Payload type of Opus.
    pub(crate) payload_type: u8,
    /// The SSRC the page sends on; none if it only listens.
    pub(crate) ssrc: Option<u32>,
    /// As the page said it.
    pub(crate) direction: Direction,
    /// What may ride in its packets, by the page's ids (1 to 14).
    pub(crate) extensions: Vec<(u8, Extension)>,
}

/// The page's section for announcements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Announcements {
    /// Payload type of Opus.
    pub(crate) payload_type: u8,
    /// As the page said it.
    pub(crate) direction: Direction,
}

/// The page's camera section: VP8 with transport-cc.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Camera {
    /// Payload type of VP8.
    pub(crate) payload_type: u8,
    /// Payload type of its RTX (RFC 4588), where offered.
    pub(crate) rtx_payload_type: Option<u8>,
    /// The SSRC the page sends on; none if it only watches.
    pub(crate) ssrc: Option<u32>,
    /// The SSRC of its retransmissions.
    pub(crate) rtx_ssrc: Option<u32>,
    /// As the page said it.
    pub(crate) direction: Direction,
    /// What may ride in its packets, by the page's ids (1 to 14).
    pub(crate) extensions: Vec<(u8, Extension)>,
    /// Of the feedback we can pass, what the page offers, as written after the payload type.
    pub(crate) feedback: Vec<&'static str>,
}

/// A media section of an offer, in the words the answer has to repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Section {
    kind: String,
    protocol: String,
    formats: String,
    mid: Option<String>,
    rtcp_rsize: bool,
    /// What we make of it.
    pub(crate) r#use: Use,
}

/// An offer that can be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    /// The page's ICE user name fragment; a new one means an ICE restart.
    pub(crate) ufrag: String,
    /// SHA-256 fingerprints, one of which the page's certificate must have.
    pub(crate) fingerprints: Vec<[u8; 32]>,
    /// All media sections, in order.
    pub(crate) sections: Vec<Section>,
    /// A camera was asked for in a video call and cannot be carried.
    pub(crate) audio_only: bool,
    bundled: bool,
}

impl Offer {
    /// Reads an offer, and says in the error what an acceptable one has.
    pub(crate) fn read(text: &str, medium: Medium) -> Result<Self, super::OfferError> {
        read::offer(text, medium)
    }

    /// The voice section. Every offer that was read has one.
    pub(crate) fn voice(&self) -> Option<&Voice> {
        self.sections.iter().find_map(|section| match &section.r#use {
            Use::Voice(voice) => Some(voice),
            _ => None,
        })
    }

    /// The camera section, where there is one that can be carried.
    pub(crate) fn camera(&self) -> Option<&Camera> {
        self.sections.iter().find_map(|section| match &section.r#use {
            Use::Camera(camera) => Some(camera),
            _ => None,
        })
    }

    /// The streams of this offer, for the relay.
    pub(crate) fn streams(&self, announced: &Announced) -> Streams {
        let voice = self.voice().map(|voice| Stream {
            peer_ssrc: voice.ssrc,
            our_ssrc: announced.voice,
            payload_type: voice.payload_type,
            extensions: numbered(&voice.extensions),
        });
        let camera = self.camera();
        let video = camera.map(|camera| Stream {
            peer_ssrc: camera.ssrc,
            our_ssrc: announced.camera,
            payload_type: camera.payload_type,
            extensions: numbered(&camera.extensions),
        });
        let video_rtx = camera.and_then(|camera| {
            let payload_type = camera.rtx_payload_type?;
            let extensions = numbered(&camera.extensions);
            Some(Stream { peer_ssrc: camera.rtx_ssrc, our_ssrc: announced.camera_rtx, payload_type, extensions })
        });
        let announcements = self.sections.iter().find_map(|section| match &section.r#use {
            Use::Announcements(announcements) if announcements.direction.receives() => {
                Some(relay::Announcements { our_ssrc: announced.announcements, payload_type: announcements.payload_type })
            }
            _ => None,
        });
        Streams { audio: voice, video, video_rtx, announcements }
    }

    /// Whether the page wants a data channel.
    pub(crate) fn has_data(&self) -> bool {
        self.sections.iter().any(|section| section.r#use == Use::Data)
    }
}

fn numbered(list: &[(u8, Extension)]) -> Extensions {
    let mut extensions = Extensions::default();
    for (id, extension) in list {
        extensions.set(*id, *extension);
    }
    extensions
}
