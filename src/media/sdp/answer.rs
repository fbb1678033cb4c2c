//! Writing the answer. As text: it is short, and every line of it is a decision.

use super::{Direction, Offer, Section, Use};
use crate::relay::Extension;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

/// SSRCs we announce to a page, one for each stream it may receive. Chosen when the leg is made, never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Announced {
    /// The other side's voice.
    pub(crate) voice: u32,
    /// The server's announcements.
    pub(crate) announcements: u32,
    /// The other side's camera.
    pub(crate) camera: u32,
    /// Retransmissions of it.
    pub(crate) camera_rtx: u32,
}

/// Our half of a leg's transport.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Local<'a> {
    /// The `o=` session id: stays for the life of a leg.
    pub(crate) session: u64,
    /// The `o=` version: one more with each answer.
    pub(crate) version: u64,
    /// Our ICE name.
    pub(crate) ufrag: &'a str,
    /// Our ICE password.
    pub(crate) password: &'a str,
    /// Our certificate's fingerprint: `AB:CD:…`, SHA-256.
    pub(crate) fingerprint: &'a str,
    /// Where we listen, best first; never empty.
    pub(crate) candidates: &'a [SocketAddr],
    /// We listen there for TCP too.
    pub(crate) takes_tcp: bool,
    /// What we send on.
    pub(crate) announced: Announced,
}

/// A text larger than this cannot be sent to us over the data channel, in bytes.
pub(crate) const MESSAGE_LIMIT: usize = 16 * 1024;

/// Writes the answer to an offer that was read.
pub(crate) fn answer(offer: &Offer, local: &Local<'_>) -> String {
    let mut out = Lines(String::with_capacity(4096));
    out.line(format_args!("v=0"));
    out.line(format_args!("o=- {} {} IN IP4 127.0.0.1", local.session, local.version));
    out.line(format_args!("s=-"));
    out.line(format_args!("t=0 0"));
    out.line(format_args!("a=ice-lite"));
    if offer.bundled {
        let taken = offer.sections.iter().filter(|section| section.r#use != Use::Refused);
        let mids: Vec<&str> = taken.filter_map(|section| section.mid.as_deref()).collect();
        out.line(format_args!("a=group:BUNDLE {}", mids.join(" ")));
    }
    out.line(format_args!("a=msid-semantic: WMS *"));
    for section in &offer.sections {
        write_section(&mut out, section, local);
    }
    out.0
}

fn write_section(out: &mut Lines, section: &Section, local: &Local<'_>) {
    match &section.r#use {
        Use::Refused => {
            out.line(format_args!("m={} 0 {} {}", section.kind, section.protocol, section.formats));
            out.line(format_args!("c=IN IP4 0.0.0.0"));
            if let Some(mid) = &section.mid {
                out.line(format_args!("a=mid:{mid}"));
            }
            out.line(format_args!("a=inactive"));
        }
        Use::Voice(voice) => {
            let payload_type = voice.payload_type;
            open(out, section, local, &payload_type.to_string());
            write_rtp(out, section, voice.direction, &voice.extensions);
            write_opus(out, payload_type);
            if voice.direction.receives() {
                out.line(format_args!("a=msid:call voice"));
                write_ssrc(out, local.announced.voice);
            }
        }
        Use::Announcements(announcements) => {
            let payload_type = announcements.payload_type;
            open(out, section, local, &payload_type.to_string());
            // Whatever it offers, nothing is taken from the page here.
            let direction = if announcements.direction.receives() { Direction::RecvOnly } else { Direction::Inactive };
            write_rtp(out, section, direction, &[]);
            write_opus(out, payload_type);
            if announcements.direction.receives() {
                out.line(format_args!("a=msid:announcements announcements"));
                write_ssrc(out, local.announced.announcements);
            }
        }
        Use::Camera(camera) => {
            let payload_type = camera.payload_type;
            let formats = match camera.rtx_payload_type {
                Some(rtx) => format!("{payload_type} {rtx}"),
                None => payload_type.to_string(),
            };
            open(out, section, local, &formats);
            write_rtp(out, section, camera.direction, &camera.extensions);
            out.line(format_args!("a=rtpmap:{payload_type} VP8/90000"));
            for feedback in &camera.feedback {
                out.line(format_args!("a=rtcp-fb:{payload_type} {feedback}"));
            }
            if let Some(rtx) = camera.rtx_payload_type {
                out.line(format_args!("a=rtpmap:{rtx} rtx/90000"));
                out.line(format_args!("a=fmtp:{rtx} apt={payload_type}"));
            }
            if camera.direction.receives() {
                // The same stream as the voice, so that lips and sound are kept together.
                out.line(format_args!("a=msid:call camera"));
                if camera.rtx_payload_type.is_some() {
                    out.line(format_args!("a=ssrc-group:FID {} {}", local.announced.camera, local.announced.camera_rtx));
                }
                write_ssrc(out, local.announced.camera);
                if camera.rtx_payload_type.is_some() {
                    write_ssrc(out, local.announced.camera_rtx);
                }
            }
        }
        Use::Data => {
            open(out, section, local, "webrtc-datachannel");
            out.line(format_args!("a=sctp-port:5000"));
            out.line(format_args!("a=max-message-size:{MESSAGE_LIMIT}"));
        }
    }
}

/// What every accepted section says: the same transport, in each (old readers do not look into the bundle's first one).
fn open(out: &mut Lines, section: &Section, local: &Local<'_>, formats: &str) {
    let first = local.candidates.first().copied().unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 9)));
    out.line(format_args!("m={} {} {} {}", section.kind, first.port(), section.protocol, formats));
    let family = if first.ip().is_ipv4() { "IP4" } else { "IP6" };
    out.line(format_args!("c=IN {family} {}", first.ip()));
    write_candidates(out, local);
    out.line(format_args!("a=ice-ufrag:{}", local.ufrag));
    out.line(format_args!("a=ice-pwd:{}", local.password));
    out.line(format_args!("a=fingerprint:sha-256 {}", local.fingerprint));
    out.line(format_args!("a=setup:active"));
    if let Some(mid) = &section.mid {
        out.line(format_args!("a=mid:{mid}"));
    }
}

/// A host candidate for each address (RFC 8839 section 5.1), the first one preferred (RFC 8445 section 5.1.2.1), and where we
/// take TCP another one below all of UDP, to which pages connect (RFC 6544 sections 4.2 and 4.5: passive is preference 4).
pub(super) fn write_candidates(out: &mut Lines, local: &Local<'_>) {
    let mut foundation = 0;
    let mut write = |address: &SocketAddr, transport: &str, priority: u32, kind: &str| {
        foundation += 1;
        let ip: IpAddr = address.ip();
        out.line(format_args!("a=candidate:{foundation} 1 {transport} {priority} {ip} {} typ host{kind}", address.port()));
    };
    let priority = |kind: u32, preference: u32| (kind << 24) | (preference << 8) | 255;
    for (address, index) in local.candidates.iter().zip(0_u32..) {
        write(address, "udp", priority(126, 65_535_u32.saturating_sub(index)), "");
    }
    let tcp: &[SocketAddr] = if local.takes_tcp { local.candidates } else { &[] };
    for (address, index) in tcp.iter().zip(0_u32..) {
        write(address, "tcp", priority(90, (4 << 13) | 8191_u32.saturating_sub(index)), " tcptype passive");
    }
    out.line(format_args!("a=end-of-candidates"));
}

fn write_rtp(out: &mut Lines, section: &Section, offered: Direction, extensions: &[(u8, Extension)]) {
    for (id, extension) in extensions {
        out.line(format_args!("a=extmap:{id} {}", extension.uri()));
    }
    out.line(format_args!("a={}", offered.mirrored().word()));
    out.line(format_args!("a=rtcp-mux"));
    if section.rtcp_rsize {
        out.line(format_args!("a=rtcp-rsize"));
    }
}

/// Mono, with in-band error correction, without discontinuous transmission: a breath is worth a packet.
fn write_opus(out: &mut Lines, payload_type: u8) {
    out.line(format_args!("a=rtpmap:{payload_type} opus/48000/2"));
    out.line(format_args!("a=fmtp:{payload_type} minptime=10;useinbandfec=1"));
}

fn write_ssrc(out: &mut Lines, ssrc: u32) {
    out.line(format_args!("a=ssrc:{ssrc} cname:call"));
}

/// Text whose lines end as SDP wants them.
pub(super) struct Lines(pub(super) String);

impl Lines {
    pub(super) fn line(&mut self, line: std::fmt::Arguments<'_>) {
        let _ = self.0.write_fmt(line); // Writing to a String cannot fail.
        self.0.push_str("\r\n");
    }
}
