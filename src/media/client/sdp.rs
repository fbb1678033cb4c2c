//! The SDP of a client: the offer it makes and what it reads from the answer.
//!
//! The offer has the shape of our pages' (design.md section 9): voice, camera, announcements, data channel, in one
//! bundle, without candidates. Payload types and extension ids are Chromium's, since answers repeat the offerer's.

use super::ClientError;
use rtc_sdp::description::common::Attribute;
use rtc_sdp::description::media::MediaDescription;
use rtc_sdp::description::session::SessionDescription;
use std::fmt::Write;
use std::io::Cursor;
use std::net::{IpAddr, SocketAddr};

/// Payload type of Opus.
pub(super) const OPUS: u8 = 111;
/// Payload type of VP8.
pub(super) const VP8: u8 = 96;
/// Payload type of its retransmissions (RFC 4588).
pub(super) const RTX: u8 = 97;
/// Our id of the transport-wide number.
pub(super) const TRANSPORT_CC: u8 = 3;
const TRANSPORT_CC_URI: &str = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
/// An answer longer than this is refused, in bytes.
const ANSWER_LIMIT: usize = 64 * 1024;
/// Candidates beyond these are not tried.
const CANDIDATE_LIMIT: usize = 8;

/// What the offer says of us.
pub(super) struct Local<'a> {
    pub(super) session: u64,
    pub(super) ufrag: &'a str,
    pub(super) password: &'a str,
    pub(super) fingerprint: &'a str,
    pub(super) cname: &'a str,
    pub(super) audio: u32,
    /// SSRC of the camera and of its retransmissions.
    pub(super) video: Option<(u32, u32)>,
}

/// Writes the offer.
pub(super) fn offer(local: &Local<'_>) -> String {
    let mids: &[&str] = if local.video.is_some() { &["0", "1", "2", "3"] } else { &["0", "1", "2"] };
    let mut out = Lines(String::with_capacity(3072));
    out.line(format_args!("v=0"));
    out.line(format_args!("o=- {} 2 IN IP4 127.0.0.1", local.session));
    out.line(format_args!("s=-"));
    out.line(format_args!("t=0 0"));
    out.line(format_args!("a=group:BUNDLE {}", mids.join(" ")));
    out.line(format_args!("a=msid-semantic: WMS *"));
    let mut mids = mids.iter();
    let mut mid = || mids.next().copied().unwrap_or_default();

    out.section(local, format_args!("audio 9 UDP/TLS/RTP/SAVPF {OPUS}"), mid());
    out.media("sendrecv", Some("voice"));
    out.opus();
    out.ssrc(local.audio, local.cname, "voice");
    if let Some((video, rtx)) = local.video {
        out.section(local, format_args!("video 9 UDP/TLS/RTP/SAVPF {VP8} {RTX}"), mid());
        out.line(format_args!("a=extmap:{TRANSPORT_CC} {TRANSPORT_CC_URI}"));
        out.media("sendrecv", Some("camera"));
        out.line(format_args!("a=rtpmap:{VP8} VP8/90000"));
        for feedback in ["transport-cc", "ccm fir", "nack", "nack pli"] {
            out.line(format_args!("a=rtcp-fb:{VP8} {feedback}"));
        }
        out.line(format_args!("a=rtpmap:{RTX} rtx/90000"));
        out.line(format_args!("a=fmtp:{RTX} apt={VP8}"));
        out.line(format_args!("a=ssrc-group:FID {video} {rtx}"));
        out.ssrc(video, local.cname, "camera");
        out.ssrc(rtx, local.cname, "camera");
    }
    out.section(local, format_args!("audio 9 UDP/TLS/RTP/SAVPF {OPUS}"), mid());
    out.media("recvonly", None);
    out.opus();
    out.section(local, format_args!("application 9 UDP/DTLS/SCTP webrtc-datachannel"), mid());
    out.line(format_args!("a=sctp-port:5000"));
    out.line(format_args!("a=max-message-size:65536"));
    out.0
}

struct Lines(String);

impl Lines {
    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        let _ = write!(self.0, "{text}\r\n"); // A String takes everything.
    }

    fn section(&mut self, local: &Local<'_>, media: std::fmt::Arguments<'_>, mid: &str) {
        self.line(format_args!("m={media}"));
        self.line(format_args!("c=IN IP4 0.0.0.0"));
        self.line(format_args!("a=ice-ufrag:{}", local.ufrag));
        self.line(format_args!("a=ice-pwd:{}", local.password));
        self.line(format_args!("a=fingerprint:sha-256 {}", local.fingerprint));
        self.line(format_args!("a=setup:actpass"));
        self.line(format_args!("a=mid:{mid}"));
    }

    fn media(&mut self, direction: &str, track: Option<&str>) {
        self.line(format_args!("a={direction}"));
        if let Some(track) = track {
            self.line(format_args!("a=msid:lull {track}"));
        }
        self.line(format_args!("a=rtcp-mux"));
        self.line(format_args!("a=rtcp-rsize"));
    }

    fn opus(&mut self) {
        self.line(format_args!("a=rtpmap:{OPUS} opus/48000/2"));
        self.line(format_args!("a=fmtp:{OPUS} minptime=10;useinbandfec=1"));
    }

    fn ssrc(&mut self, ssrc: u32, cname: &str, track: &str) {
        self.line(format_args!("a=ssrc:{ssrc} cname:{cname}"));
        self.line(format_args!("a=ssrc:{ssrc} msid:lull {track}"));
    }
}

/// What an answer says of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) ufrag: String,
    pub(super) password: String,
    pub(super) fingerprint: [u8; 32],
    /// Where it can be reached, as it listed them.
    pub(super) candidates: Vec<SocketAddr>,
    /// The SSRC of the other party's voice.
    pub(super) audio: Option<u32>,
    /// The SSRC of what the server plays.
    pub(super) announcements: Option<u32>,
    /// Camera and its retransmissions.
    pub(super) video: Option<(u32, Option<u32>)>,
    /// Video was accepted; we may send it.
    pub(super) sends_video: bool,
    /// The transport-wide number was accepted on video.
    pub(super) transport_cc: bool,
    /// The data channel was accepted.
    pub(super) control: bool,
}

impl Answer {
    /// Reads the answer to our [`offer`].
    pub(super) fn read(text: &str) -> Result<Self, ClientError> {
        if text.len() > ANSWER_LIMIT {
            return Err(ClientError::Answer("is longer than 64 KB"));
        }
        let session = SessionDescription::unmarshal(&mut Cursor::new(text.as_bytes())).map_err(|_| ClientError::Answer("is not SDP"))?;
        let taken: Vec<&MediaDescription> = session.media_descriptions.iter().filter(|media| media.media_name.port.value != 0).collect();
        let first = taken.first().ok_or(ClientError::Answer("accepts nothing"))?;
        let of = |name: &str| value(&first.attributes, name).or_else(|| value(&session.attributes, name));
        if of("setup") != Some("active") {
            return Err(ClientError::Answer("does not take the active DTLS role"));
        }
        let mut candidates: Vec<SocketAddr> = Vec::new();
        for attribute in taken.iter().flat_map(|media| media.attributes.iter()).filter(|attribute| attribute.key == "candidate") {
            if let Some(address) = attribute.value.as_deref().and_then(candidate)
                && !candidates.contains(&address)
                && candidates.len() < CANDIDATE_LIMIT
            {
                candidates.push(address);
            }
        }
        if candidates.is_empty() {
            return Err(ClientError::Answer("has no UDP candidate"));
        }
        let mut answer = Answer {
            ufrag: of("ice-ufrag").ok_or(ClientError::Answer("has no a=ice-ufrag"))?.to_owned(),
            password: of("ice-pwd").ok_or(ClientError::Answer("has no a=ice-pwd"))?.to_owned(),
            fingerprint: of("fingerprint").and_then(fingerprint).ok_or(ClientError::Answer("has no sha-256 fingerprint"))?,
            candidates,
            audio: None,
            announcements: None,
            video: None,
            sends_video: false,
            transport_cc: false,
            control: false,
        };
        let mut voice = false;
        for media in taken {
            match media.media_name.media.as_str() {
                // The first audio section is the voice, the second one announcements.
                "audio" if !voice => {
                    voice = true;
                    answer.audio = ssrcs(media).next();
                }
                "audio" => answer.announcements = answer.announcements.or_else(|| ssrcs(media).next()),
                "video" => {
                    let mut pair = group(media);
                    if pair.is_none() {
                        pair = ssrcs(media).next().map(|ssrc| (ssrc, None));
                    }
                    answer.video = pair;
                    answer.sends_video = !has(media, "sendonly") && !has(media, "inactive");
                    answer.transport_cc =
                        media.attributes.iter().any(|a| a.key == "extmap" && a.value.as_deref().is_some_and(is_transport_cc));
                }
                "application" => answer.control = true,
                _ => (),
            }
        }
        Ok(answer)
    }
}

fn value<'a>(attributes: &'a [Attribute], name: &str) -> Option<&'a str> {
    attributes.iter().find(|attribute| attribute.key == name)?.value.as_deref()
}

fn has(media: &MediaDescription, name: &str) -> bool {
    media.attributes.iter().any(|attribute| attribute.key == name)
}

fn is_transport_cc(extmap: &str) -> bool {
    let mut words = extmap.split_ascii_whitespace();
    words.next().and_then(|id| id.split('/').next()?.parse::<u8>().ok()) == Some(TRANSPORT_CC) && words.next() == Some(TRANSPORT_CC_URI)
}

fn ssrcs(media: &MediaDescription) -> impl Iterator<Item = u32> {
    let named = media.attributes.iter().filter(|attribute| attribute.key == "ssrc");
    named.filter_map(|attribute| attribute.value.as_deref()?.split_ascii_whitespace().next()?.parse().ok())
}

fn group(media: &MediaDescription) -> Option<(u32, Option<u32>)> {
    let mut words = value(&media.attributes, "ssrc-group")?.strip_prefix("FID ")?.split_ascii_whitespace();
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()))
}

/// The address of a UDP candidate of the first component (RFC 8839 section 5.1).
fn candidate(text: &str) -> Option<SocketAddr> {
    let mut words = text.split_ascii_whitespace().skip(1);
    let (component, transport, _priority) = (words.next()?, words.next()?, words.next()?);
    if component != "1" || !transport.eq_ignore_ascii_case("udp") {
        return None;
    }
    let (ip, port): (IpAddr, u16) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    (port != 0).then_some(SocketAddr::new(ip, port))
}

fn fingerprint(text: &str) -> Option<[u8; 32]> {
    let (algorithm, hex) = text.split_once(' ')?;
    if !algorithm.eq_ignore_ascii_case("sha-256") {
        return None;
    }
    let mut digest = [0; 32];
    let mut octets = hex.trim().split(':');
    for octet in &mut digest {
        *octet = u8::from_str_radix(octets.next()?, 16).ok()?;
    }
    octets.next().is_none().then_some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(video: Option<(u32, u32)>) -> Local<'static> {
        Local { session: 7, ufrag: "abcdefgh", password: "abcdefghabcdefghabcdefgh", fingerprint: "AB:CD", cname: "lull", audio: 11, video }
    }

    fn parsed(text: &str) -> SessionDescription {
        SessionDescription::unmarshal(&mut Cursor::new(text.as_bytes())).expect("our own offer is SDP")
    }

    #[test]
    fn the_offer_has_what_an_answerer_needs_in_every_section() {
        let session = parsed(&offer(&local(Some((22, 23)))));
        let kinds: Vec<&str> = session.media_descriptions.iter().map(|media| media.media_name.media.as_str()).collect();
        assert_eq!(kinds, ["audio", "video", "audio", "application"]);
        assert_eq!(value(&session.attributes, "group"), Some("BUNDLE 0 1 2 3"));
        for (media, mid) in session.media_descriptions.iter().zip(["0", "1", "2", "3"]) {
            assert_eq!(value(&media.attributes, "mid"), Some(mid));
            assert_eq!(value(&media.attributes, "setup"), Some("actpass"));
            for name in ["ice-ufrag", "ice-pwd", "fingerprint"] {
                assert!(value(&media.attributes, name).is_some(), "{name} in {mid}");
            }
        }
        let [voice, camera, announcements, control] = &session.media_descriptions[..] else { panic!("four sections") };
        assert!(has(voice, "sendrecv") && has(voice, "rtcp-mux") && ssrcs(voice).all(|ssrc| ssrc == 11));
        assert!(has(camera, "sendrecv") && group(camera) == Some((22, Some(23))));
        assert!(has(announcements, "recvonly") && ssrcs(announcements).count() == 0);
        assert_eq!(value(&control.attributes, "sctp-port"), Some("5000"));
    }

    #[test]
    fn an_audio_offer_has_no_video_section() {
        let session = parsed(&offer(&local(None)));
        assert!(session.media_descriptions.iter().all(|media| media.media_name.media != "video"));
        assert_eq!(value(&session.attributes, "group"), Some("BUNDLE 0 1 2"));
    }

    fn answer_text() -> String {
        let digest = ["0A"; 32].join(":");
        let common = format!(
            "c=IN IP4 127.0.0.1\r\na=candidate:1 1 udp 2130706431 127.0.0.1 5000 typ host\r\na=candidate:2 1 tcp 1 127.0.0.1 9 typ host tcptype passive\r\n\
             a=ice-ufrag:serv\r\na=ice-pwd:secretsecretsecretsecret\r\na=fingerprint:sha-256 {digest}\r\na=setup:active\r\n"
        );
        format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=ice-lite\r\na=group:BUNDLE 0 1 3\r\n\
             m=audio 5000 UDP/TLS/RTP/SAVPF 111\r\n{common}a=mid:0\r\na=sendrecv\r\na=rtpmap:111 opus/48000/2\r\na=ssrc:100 cname:x\r\n\
             m=video 5000 UDP/TLS/RTP/SAVPF 96 97\r\n{common}a=mid:1\r\na=extmap:3 {TRANSPORT_CC_URI}\r\na=sendrecv\r\na=rtpmap:96 VP8/90000\r\n\
             a=ssrc-group:FID 200 201\r\na=ssrc:200 cname:x\r\na=ssrc:201 cname:x\r\n\
             m=audio 0 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 127.0.0.1\r\na=mid:2\r\na=inactive\r\n\
             m=application 5000 UDP/DTLS/SCTP webrtc-datachannel\r\n{common}a=mid:3\r\na=sctp-port:5000\r\n"
        )
    }

    #[test]
    fn an_answer_tells_where_and_who_the_server_is() {
        let answer = Answer::read(&answer_text()).expect("good answer");
        assert_eq!(answer.candidates, [SocketAddr::from(([127, 0, 0, 1], 5000))]);
        assert_eq!((answer.audio, answer.video), (Some(100), Some((200, Some(201)))));
        assert_eq!(answer.fingerprint, [0x0A; 32]);
        assert!(answer.transport_cc && answer.control && answer.sends_video);
    }

    #[test]
    fn an_answer_that_cannot_work_is_refused_with_what_it_lacks() {
        let good = answer_text();
        for (from, to, lacks) in [
            ("a=setup:active", "a=setup:passive", "role"),
            ("a=ice-pwd:", "a=x:", "ice-pwd"),
            ("a=candidate:1", "a=x:1", "candidate"),
            ("sha-256", "md5", "fingerprint"),
            ("v=0", "hello", "SDP"),
        ] {
            let error = Answer::read(&good.replace(from, to)).expect_err(lacks);
            assert!(error.to_string().contains(lacks), "{error}");
        }
    }
}
