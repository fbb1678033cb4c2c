//! Reading an offer: from SDP text to what we make of each of its media sections.

use super::{
    ATTRIBUTE_LIMIT, Announcements, Camera, Direction, FORMAT_LIMIT, OFFER_LIMIT, Offer, SECTION_LIMIT, Section, Use, Voice, answers,
};
use crate::call::Medium;
use crate::media::OfferError;
use crate::relay::Extension;
use rtc_sdp::description::common::Attribute;
use rtc_sdp::description::media::MediaDescription;
use rtc_sdp::description::session::SessionDescription;
use std::io::Cursor;

/// Feedback on video that passes from end to end.
const FEEDBACK: [&str; 4] = ["transport-cc", "ccm fir", "nack", "nack pli"];

pub(super) fn offer(text: &str, medium: Medium) -> Result<Offer, OfferError> {
    if text.len() > OFFER_LIMIT {
        return Err(OfferError::Unacceptable("is longer than 64 KB"));
    }
    let session = SessionDescription::unmarshal(&mut Cursor::new(text.as_bytes())).map_err(|error| syntax(&error.to_string()))?;
    if session.media_descriptions.len() > SECTION_LIMIT {
        return Err(OfferError::Unacceptable("has more than 16 media sections"));
    }
    let sections = &session.media_descriptions;
    let is_long = |attributes: &[Attribute]| attributes.len() > ATTRIBUTE_LIMIT;
    if is_long(&session.attributes) || sections.iter().any(|media| is_long(&media.attributes)) {
        return Err(OfferError::Unacceptable("has more than 1,024 a= lines in a section"));
    }
    if sections.iter().any(|media| media.media_name.formats.len() > FORMAT_LIMIT) {
        return Err(OfferError::Unacceptable("has more than 128 formats in a media section"));
    }
    let group = attribute(&session.attributes, "group").and_then(|value| value.strip_prefix("BUNDLE"));
    let bundle: Vec<&str> = group.map(|mids| mids.split_ascii_whitespace().collect()).unwrap_or_default();
    let alone = session.media_descriptions.len() == 1;

    let mut reader =
        Reader { session: &session, medium, voice: false, announcements: false, camera: false, data: false, audio_only: false };
    let mut sections = Vec::with_capacity(session.media_descriptions.len());
    let mut transport = None;
    for media in &session.media_descriptions {
        let mid = attribute(&media.attributes, "mid");
        if mid.is_some_and(|mid| mid.is_empty() || mid.len() > 32 || !mid.bytes().all(is_token)) {
            return Err(OfferError::Unacceptable("has a media section whose a=mid is not a short token"));
        }
        let grouped = alone || mid.is_some_and(|mid| bundle.contains(&mid));
        let r#use = if enabled(media) { reader.section(media)? } else { Use::Refused };
        if r#use != Use::Refused {
            if !grouped {
                return Err(OfferError::Unacceptable("does not bundle all its media (a=group:BUNDLE with every a=mid)"));
            }
            if r#use != Use::Data && attribute(&media.attributes, "rtcp-mux").is_none() {
                return Err(OfferError::Unacceptable("does not multiplex RTP and RTCP (a=rtcp-mux)"));
            }
            // Bundled sections share one transport: the first one we take describes it (RFC 8843 section 7.1.3).
            if transport.is_none() {
                transport = Some(read_transport(&session, media)?);
            }
        }
        sections.push(Section {
            kind: media.media_name.media.clone(),
            protocol: media.media_name.protos.join("/"),
            formats: media.media_name.formats.join(" "),
            mid: mid.map(str::to_owned),
            rtcp_rsize: attribute(&media.attributes, "rtcp-rsize").is_some(),
            r#use,
        });
    }
    if !reader.voice {
        return Err(OfferError::Unacceptable("has no audio"));
    }
    let audio_only = reader.audio_only;
    let Some((ufrag, fingerprints)) = transport else { return Err(OfferError::Unacceptable("has no audio")) };
    Ok(Offer { ufrag, fingerprints, sections, audio_only, bundled: group.is_some() })
}

/// Decides section by section; the first of each kind counts.
struct Reader<'a> {
    session: &'a SessionDescription,
    medium: Medium,
    voice: bool,
    announcements: bool,
    camera: bool,
    data: bool,
    audio_only: bool,
}

impl Reader<'_> {
    fn section(&mut self, media: &MediaDescription) -> Result<Use, OfferError> {
        let rtp = media.media_name.protos.last().is_some_and(|profile| profile == "SAVPF");
        match media.media_name.media.as_str() {
            "audio" if rtp && !self.voice => {
                let voice = self.voice_section(media)?;
                self.voice = true;
                Ok(Use::Voice(voice))
            }
            "audio" if rtp && !self.announcements => {
                let Some(payload_type) = codec(media, "opus/48000/2") else { return Ok(Use::Refused) };
                self.announcements = true;
                Ok(Use::Announcements(Announcements { payload_type, direction: self.direction(media) }))
            }
            "video" if rtp && !self.camera && self.medium == Medium::Video => {
                self.camera = true;
                match self.camera_section(media) {
                    Some(camera) => Ok(Use::Camera(camera)),
                    None => {
                        self.audio_only = true;
                        Ok(Use::Refused)
                    }
                }
            }
            "application" if !self.data && media.media_name.formats.iter().any(|format| format == "webrtc-datachannel") => {
                self.data = true;
                Ok(Use::Data)
            }
            _ => Ok(Use::Refused),
        }
    }

    fn voice_section(&self, media: &MediaDescription) -> Result<Voice, OfferError> {
        let payload_type = codec(media, "opus/48000/2").ok_or(OfferError::Unacceptable("has no Opus for its audio (opus/48000/2)"))?;
        let direction = self.direction(media);
        let ssrc = ssrcs(media).next();
        if direction.sends() && ssrc.is_none() {
            return Err(OfferError::Unacceptable("does not declare the SSRC of its audio (a=ssrc)"));
        }
        Ok(Voice { payload_type, ssrc: ssrc.filter(|_| direction.sends()), direction, extensions: extensions(media, false) })
    }

    /// None if this camera cannot be carried: the leg is then for sound only.
    fn camera_section(&self, media: &MediaDescription) -> Option<Camera> {
        let payload_type = codec(media, "VP8/90000")?;
        let feedback: Vec<&'static str> = FEEDBACK.into_iter().filter(|kind| has_feedback(media, payload_type, kind)).collect();
        let extensions = extensions(media, true);
        if !feedback.contains(&"transport-cc") || !extensions.iter().any(|(_, kind)| *kind == Extension::TransportWideCc) {
            return None;
        }
        let direction = self.direction(media);
        let ssrc = ssrcs(media).next();
        // Simulcast by RID alone names no SSRC; packets of an unnamed SSRC are never taken.
        if direction.sends() && ssrc.is_none() {
            return None;
        }
        let rtx_payload_type = retransmission(media, payload_type);
        let rtx_ssrc = ssrc.and_then(|ssrc| retransmission_ssrc(media, ssrc)).filter(|_| rtx_payload_type.is_some());
        let ssrc = ssrc.filter(|_| direction.sends());
        let rtx_ssrc = rtx_ssrc.filter(|_| direction.sends());
        Some(Camera { payload_type, rtx_payload_type, ssrc, rtx_ssrc, direction, extensions, feedback })
    }

    fn direction(&self, media: &MediaDescription) -> Direction {
        let find = |attributes: &[Attribute]| {
            attributes.iter().find_map(|attribute| match attribute.key.as_str() {
                "sendrecv" => Some(Direction::SendRecv),
                "sendonly" => Some(Direction::SendOnly),
                "recvonly" => Some(Direction::RecvOnly),
                "inactive" => Some(Direction::Inactive),
                _ => None,
            })
        };
        find(&media.attributes).or_else(|| find(&self.session.attributes)).unwrap_or(Direction::SendRecv)
    }
}

/// The page's ICE name and certificate fingerprints. ICE-lite needs nothing else of the other side's credentials.
fn read_transport(session: &SessionDescription, media: &MediaDescription) -> Result<(String, Vec<[u8; 32]>), OfferError> {
    let find = |key: &str| attribute(&media.attributes, key).or_else(|| attribute(&session.attributes, key));
    // RFC 8839 section 5.4: a name has 4 to 256 characters, a password 22 to 256.
    let ufrag = find("ice-ufrag").filter(|ufrag| (4..=256).contains(&ufrag.len()));
    let password = find("ice-pwd").filter(|password| (22..=256).contains(&password.len()));
    let (Some(ufrag), Some(_)) = (ufrag, password) else {
        return Err(OfferError::Unacceptable("has no ICE credentials (a=ice-ufrag and a=ice-pwd)"));
    };
    // We are always the DTLS client (`active`), so the offer must leave us that role (RFC 8842 section 5.2).
    match find("setup") {
        Some("actpass" | "passive") => (),
        _ => return Err(OfferError::Unacceptable("must leave the DTLS client role to us (a=setup:actpass)")),
    }
    let of = |attributes: &[Attribute]| -> Vec<[u8; 32]> {
        let values = attributes.iter().filter(|attribute| attribute.key == "fingerprint");
        values.filter_map(|attribute| fingerprint(attribute.value.as_deref()?)).take(8).collect()
    };
    let mut fingerprints = of(&media.attributes);
    if fingerprints.is_empty() {
        fingerprints = of(&session.attributes);
    }
    if fingerprints.is_empty() {
        return Err(OfferError::Unacceptable("has no SHA-256 certificate fingerprint (a=fingerprint:sha-256)"));
    }
    Ok((ufrag.to_owned(), fingerprints))
}

/// A section with port 0 is refused by its offerer, unless it says that only its bundle has a port (RFC 8843 section 6).
fn enabled(media: &MediaDescription) -> bool {
    media.media_name.port.value != 0 || attribute(&media.attributes, "bundle-only").is_some()
}

/// The first value of an attribute; empty for a bare one.
fn attribute<'a>(attributes: &'a [Attribute], key: &str) -> Option<&'a str> {
    attributes.iter().find(|attribute| attribute.key == key).map(|attribute| attribute.value.as_deref().unwrap_or(""))
}

fn values<'a>(media: &'a MediaDescription, key: &'a str) -> impl Iterator<Item = &'a str> {
    media.attributes.iter().filter(move |attribute| attribute.key == key).filter_map(|attribute| attribute.value.as_deref())
}

/// The payload type of a codec, among those the `m=` line lists.
fn codec(media: &MediaDescription, name: &str) -> Option<u8> {
    let found = values(media, "rtpmap").filter_map(|value| {
        let (payload_type, encoding) = value.split_once(' ')?;
        let listed = media.media_name.formats.iter().any(|format| format == payload_type);
        (listed && encoding.trim().eq_ignore_ascii_case(name)).then_some(payload_type)
    });
    found.filter_map(payload_type).next()
}

/// RFC 5761 section 4: with rtcp-mux, 64 to 95 would be taken for RTCP.
fn payload_type(text: &str) -> Option<u8> {
    text.parse().ok().filter(|number| matches!(number, 0..=63 | 96..=127))
}

/// The payload type of the RTX whose `apt` is this one.
fn retransmission(media: &MediaDescription, of: u8) -> Option<u8> {
    let candidates = values(media, "rtpmap").filter_map(|value| {
        let (number, encoding) = value.split_once(' ')?;
        encoding.trim().eq_ignore_ascii_case("rtx/90000").then(|| payload_type(number)).flatten()
    });
    let apt = |number: u8| {
        values(media, "fmtp").any(|value| {
            let Some((for_number, parameters)) = value.split_once(' ') else { return false };
            for_number.parse() == Ok(number)
                && parameters.split(';').any(|parameter| parameter.trim().strip_prefix("apt=").is_some_and(|apt| apt.parse() == Ok(of)))
        })
    };
    candidates.into_iter().find(|number| apt(*number))
}

fn has_feedback(media: &MediaDescription, payload_type: u8, kind: &str) -> bool {
    values(media, "rtcp-fb")
        .any(|value| value.split_once(' ').is_some_and(|(of, what)| (of == "*" || of.parse() == Ok(payload_type)) && what.trim() == kind))
}

/// The declared SSRCs in order, with repeats. Zero is nobody's.
fn ssrcs(media: &MediaDescription) -> impl Iterator<Item = u32> {
    values(media, "ssrc").filter_map(|value| value.split(' ').next()?.parse().ok()).filter(|ssrc| *ssrc != 0)
}

/// The other half of the FID group that begins with this SSRC (RFC 5576 section 4.2).
fn retransmission_ssrc(media: &MediaDescription, of: u32) -> Option<u32> {
    values(media, "ssrc-group").find_map(|value| {
        let mut words = value.strip_prefix("FID ")?.split_ascii_whitespace();
        let main: u32 = words.next()?.parse().ok()?;
        let second: u32 = words.next()?.parse().ok()?;
        (main == of && second != 0 && second != of).then_some(second)
    })
}

/// One-byte header extensions we can pass (RFC 8285 section 4.2: ids 1 to 14), each id and kind once.
fn extensions(media: &MediaDescription, video: bool) -> Vec<(u8, Extension)> {
    let mut taken: Vec<(u8, Extension)> = Vec::new();
    for value in values(media, "extmap") {
        let mut words = value.split_ascii_whitespace();
        // An id with a direction (`2/recvonly`) is for one way only; the relay needs both.
        let Some(id) = words.next().and_then(|id| id.strip_suffix("/sendrecv").unwrap_or(id).parse::<u8>().ok()) else { continue };
        let Some(kind) = words.next().and_then(Extension::from_uri) else { continue };
        let new = !taken.iter().any(|(known_id, known)| *known_id == id || *known == kind);
        if (1..=14).contains(&id) && answers(kind, video) && new {
            taken.push((id, kind));
        }
    }
    taken
}

/// `sha-256 AB:CD:…`, 32 octets.
fn fingerprint(value: &str) -> Option<[u8; 32]> {
    let (algorithm, digits) = value.split_once(' ')?;
    if !algorithm.eq_ignore_ascii_case("sha-256") {
        return None;
    }
    let mut octets = [0; 32];
    let mut parts = digits.trim().split(':');
    for octet in &mut octets {
        let part = parts.next().filter(|part| part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
        *octet = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(octets)
}

/// RFC 8866 section 9: the characters of a token that matter here.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.!#$%&'*+^`{|}~".contains(&byte)
}

/// The parser's words, kept short: they quote the offer.
fn syntax(message: &str) -> OfferError {
    OfferError::Syntax(message.chars().filter(|c| !c.is_control()).take(120).collect())
}
