//! What the SDP answer agreed for one leg, in the numbers of its peer.
//!
//! Values only, fixed for the life of the leg. Knows no SDP: `media` reads the offer and fills this in.

use crate::clock::Moment;

/// One RTP stream of a leg; both directions of it share a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// The voice (Opus).
    Audio,
    /// The camera (VP8).
    Video,
    /// Retransmissions of the camera's packets (RFC 4588).
    VideoRtx,
}

impl Lane {
    /// All lanes; a lane's place here is its `as usize`.
    pub const ALL: [Lane; 3] = [Lane::Audio, Lane::Video, Lane::VideoRtx];

    /// Ticks of its RTP timestamp in a second (RFC 7587 section 4.1, RFC 7741 section 4.1).
    pub const fn clock_rate(self) -> u32 {
        match self {
            Lane::Audio => 48_000,
            Lane::Video | Lane::VideoRtx => 90_000,
        }
    }

    /// Ticks from one moment to a later one, a frame at least. Timestamps count modulo 2^32.
    pub(super) fn ticks_since(self, then: Moment, now: Moment) -> u32 {
        let elapsed = now.since(then).ms().unsigned_abs() * u64::from(self.clock_rate()) / 1000;
        elapsed.max(u64::from(self.frame_ticks())) as u32
    }

    /// The least step of its timestamp from one frame to the next: 20 ms of audio, a thirtieth of a second of video.
    pub(super) const fn frame_ticks(self) -> u32 {
        match self {
            Lane::Audio => 960,
            Lane::Video | Lane::VideoRtx => 3_000,
        }
    }
}

/// One agreed stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    /// The SSRC the peer declared for what it sends; none if it declared nothing, then nothing is accepted.
    pub peer_ssrc: Option<u32>,
    /// The SSRC we announced for what we send to the peer.
    pub our_ssrc: u32,
    /// The payload type as the peer numbers it (7 bits), the same in both directions.
    pub payload_type: u8,
    /// The header extensions as the peer numbers them.
    pub extensions: Extensions,
}

/// The agreed streams of a leg. A stream whose m-line was rejected is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Streams {
    /// The voice.
    pub audio: Option<Stream>,
    /// The camera.
    pub video: Option<Stream>,
    /// Its retransmissions, with the extensions of the camera's m-line.
    pub video_rtx: Option<Stream>,
    /// Where we play to the peer; none if it offered no place for that.
    pub announcements: Option<Announcements>,
}

/// The stream of what the server itself plays: one way, without header extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcements {
    /// The SSRC we announced for it.
    pub our_ssrc: u32,
    /// The payload type of Opus as the peer numbers it there (7 bits).
    pub payload_type: u8,
}

impl Streams {
    /// The stream of a lane.
    pub fn lane(&self, lane: Lane) -> Option<&Stream> {
        match lane {
            Lane::Audio => self.audio.as_ref(),
            Lane::Video => self.video.as_ref(),
            Lane::VideoRtx => self.video_rtx.as_ref(),
        }
    }

    /// The lane on which the peer declared to send `ssrc`.
    pub fn peer_lane(&self, ssrc: u32) -> Option<Lane> {
        Lane::ALL.into_iter().find(|&lane| self.lane(lane).is_some_and(|s| s.peer_ssrc == Some(ssrc)))
    }

    /// The lane for which we announced `ssrc`.
    pub fn our_lane(&self, ssrc: u32) -> Option<Lane> {
        Lane::ALL.into_iter().find(|&lane| self.lane(lane).is_some_and(|s| s.our_ssrc == ssrc))
    }
}

/// A header extension we can answer and pass on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extension {
    /// Loudness of the packet (RFC 6464).
    AudioLevel,
    /// When the packet left, 24 bits of seconds in 6.18.
    AbsSendTime,
    /// The number of the packet among all of its transport; mapped like a sequence number.
    TransportWideCc,
    /// The m-line's name (RFC 8843); the legs' names differ, so it always becomes padding.
    Mid,
    /// Transmission time offset (RFC 5450).
    TransmissionOffset,
    /// How the camera is turned (3GPP TS 26.114).
    VideoOrientation,
    /// Least and most delay before playing.
    PlayoutDelay,
    /// Camera or screen.
    VideoContentType,
    /// When a frame passed the sender's stages.
    VideoTiming,
    /// Colours of the picture.
    ColorSpace,
}

impl Extension {
    /// All that are known; an extension's place here is its `as usize`.
    pub const ALL: [Extension; 10] = [
        Extension::AudioLevel,
        Extension::AbsSendTime,
        Extension::TransportWideCc,
        Extension::Mid,
        Extension::TransmissionOffset,
        Extension::VideoOrientation,
        Extension::PlayoutDelay,
        Extension::VideoContentType,
        Extension::VideoTiming,
        Extension::ColorSpace,
    ];

    /// Its URI in an `a=extmap` line.
    pub const fn uri(self) -> &'static str {
        match self {
            Extension::AudioLevel => "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
            Extension::AbsSendTime => "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
            Extension::TransportWideCc => "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
            Extension::Mid => "urn:ietf:params:rtp-hdrext:sdes:mid",
            Extension::TransmissionOffset => "urn:ietf:params:rtp-hdrext:toffset",
            Extension::VideoOrientation => "urn:3gpp:video-orientation",
            Extension::PlayoutDelay => "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
            Extension::VideoContentType => "http://www.webrtc.org/experiments/rtp-hdrext/video-content-type",
            Extension::VideoTiming => "http://www.webrtc.org/experiments/rtp-hdrext/video-timing",
            Extension::ColorSpace => "http://www.webrtc.org/experiments/rtp-hdrext/color-space",
        }
    }

    /// The extension of a URI, if we know it.
    pub fn from_uri(uri: &str) -> Option<Extension> {
        Extension::ALL.into_iter().find(|e| e.uri() == uri)
    }
}

/// Which id (1 to 14, RFC 8285 section 4.2) a peer gave which extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Extensions {
    by_id: [Option<Extension>; 15],
    ids: [u8; Extension::ALL.len()],
}

impl Extensions {
    /// Notes that the peer calls `extension` by `id`; an id outside 1 to 14 cannot stand in a one-byte header and is
    /// left out (the answer should leave it out too). The last word counts.
    pub fn set(&mut self, id: u8, extension: Extension) {
        if !(1..=14).contains(&id) {
            return;
        }
        if let Some(earlier) = self.by_id[usize::from(id)].replace(extension) {
            self.ids[earlier as usize] = 0;
        }
        let old = std::mem::replace(&mut self.ids[extension as usize], id);
        if old != 0 && old != id {
            self.by_id[usize::from(old)] = None;
        }
    }

    /// What the peer means by `id`.
    pub fn extension(&self, id: u8) -> Option<Extension> {
        self.by_id.get(usize::from(id)).copied().flatten()
    }

    /// The peer's id for `extension`.
    pub fn id(&self, extension: Extension) -> Option<u8> {
        match self.ids[extension as usize] {
            0 => None,
            id => Some(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extension_has_one_id_and_an_id_one_extension() {
        let mut map = Extensions::default();
        map.set(3, Extension::AudioLevel);
        map.set(3, Extension::Mid);
        assert_eq!((map.extension(3), map.id(Extension::AudioLevel), map.id(Extension::Mid)), (Some(Extension::Mid), None, Some(3)));
        map.set(5, Extension::Mid);
        assert_eq!((map.extension(3), map.extension(5)), (None, Some(Extension::Mid)));
        for outside in [0, 15, 255] {
            map.set(outside, Extension::ColorSpace);
            assert_eq!((map.extension(outside), map.id(Extension::ColorSpace)), (None, None));
        }
    }

    #[test]
    fn each_list_of_all_is_in_the_order_of_its_numbers() {
        assert!(Extension::ALL.iter().enumerate().all(|(place, &e)| e as usize == place && Extension::from_uri(e.uri()) == Some(e)));
        assert!(Lane::ALL.iter().enumerate().all(|(place, &l)| l as usize == place));
        assert!(super::super::Dropped::ALL.iter().enumerate().all(|(place, &d)| d as usize == place));
        assert_eq!(Extension::from_uri("urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"), None);
    }
}
