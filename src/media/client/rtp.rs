//! The media of a client once it has keys: RTP out and in, reports, feedback, retransmissions.
//!
//! Packets are written and protected in place. Nothing of a packet is believed before it is authenticated. Invariant: an
//! index of an SSRC is protected once.

use super::feedback::Arrivals;
use super::sdp::{OPUS, RTX, TRANSPORT_CC, VP8};
use super::{Event, MAX_PAYLOAD, Track};
use crate::relay::{Ciphers, Header, Keying, SPARE, Window};
use bytes::Bytes;
use rtc_crypto::{CryptoError, RTCCrypto};
use rtc_rtcp::Packet;
use rtc_rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc_rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc_rtcp::receiver_report::ReceiverReport;
use rtc_rtcp::reception_report::ReceptionReport;
use rtc_rtcp::sender_report::SenderReport;
use rtc_rtcp::source_description::{SdesType, SourceDescription, SourceDescriptionChunk, SourceDescriptionItem};
use rtc_rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Between two sender and receiver reports.
const REPORT_PACE: Duration = Duration::from_secs(1);
/// Between two transport-wide feedbacks.
const FEEDBACK_PACE: Duration = Duration::from_millis(100);
/// Video packets kept for retransmission: two seconds and more of our picture.
const RING: usize = 512;
/// Fixed header and one extension element of two octets.
const HEADER_MAX: usize = 12 + 8;
/// A packet is sent again this often at most.
const AGAIN_LIMIT: u8 = 3;

/// The SSRCs both sides declared.
#[derive(Clone, Copy)]
pub(super) struct Agreed {
    pub(super) audio_out: u32,
    pub(super) video_out: Option<(u32, u32)>,
    pub(super) audio_in: Option<u32>,
    pub(super) announcements_in: Option<u32>,
    pub(super) video_in: Option<(u32, Option<u32>)>,
    pub(super) transport_cc: bool,
}

struct Sender {
    ssrc: u32,
    payload_type: u8,
    /// Sequence number with roll-over counter of the next packet.
    index: u64,
    packets: u32,
    octets: u32,
    /// The newest timestamp, when it was sent, and its clock rate.
    newest: Option<(u32, Instant)>,
    clock_rate: u32,
}

impl Sender {
    fn new(ssrc: u32, payload_type: u8, clock_rate: u32, first: u16) -> Self {
        // Below 2^15, so that a receiver that misses the first packets cannot guess the wrong roll-over counter.
        Self { ssrc, payload_type, index: u64::from(first & 0x7FFF), packets: 0, octets: 0, newest: None, clock_rate }
    }

    /// Writes and protects one packet; `prefix` stands before the payload.
    fn write(
        &mut self,
        out: &mut Ciphers,
        number: Option<u16>,
        marker: bool,
        timestamp: u32,
        prefix: &[u8],
        payload: &[u8],
    ) -> Option<Vec<u8>> {
        let mut packet = Vec::with_capacity(HEADER_MAX + prefix.len() + payload.len() + SPARE);
        packet.push(if number.is_some() { 0x90 } else { 0x80 });
        packet.push(u8::from(marker) << 7 | self.payload_type);
        packet.extend_from_slice(&(self.index as u16).to_be_bytes());
        packet.extend_from_slice(&timestamp.to_be_bytes());
        packet.extend_from_slice(&self.ssrc.to_be_bytes());
        if let Some(number) = number {
            // One-byte elements (RFC 8285 section 4.2): one word, the id with the length less one, the number, padding.
            let [high, low] = number.to_be_bytes();
            packet.extend_from_slice(&[0xBE, 0xDE, 0, 1, TRANSPORT_CC << 4 | 1, high, low, 0]);
        }
        let header_len = packet.len();
        packet.extend_from_slice(prefix);
        packet.extend_from_slice(payload);
        let len = packet.len();
        packet.resize(len + SPARE, 0);
        let index = self.index;
        self.index += 1;
        let sealed = out.seal_rtp(&mut packet, header_len, len, self.ssrc, index).ok()?;
        packet.truncate(sealed);
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add((prefix.len() + payload.len()) as u32);
        Some(packet)
    }
}

struct Receiver {
    ssrc: u32,
    clock_rate: u32,
    window: Window,
    first: Option<u64>,
    packets: u64,
    /// Expected and received at the last report.
    told: (u64, u64),
    /// RFC 3550 section 6.4.1, in ticks; and the transit of the newest packet.
    jitter: f64,
    transit: Option<i64>,
    /// Middle 32 bits of the last sender report's time, and when it came.
    report: Option<(u32, Instant)>,
}

impl Receiver {
    fn new(ssrc: u32, clock_rate: u32) -> Self {
        Self {
            ssrc,
            clock_rate,
            window: Window::default(),
            first: None,
            packets: 0,
            told: (0, 0),
            jitter: 0.0,
            transit: None,
            report: None,
        }
    }

    fn count(&mut self, index: u64, timestamp: u32, since_epoch: Duration) {
        self.window.note(index);
        self.first.get_or_insert(index);
        self.packets += 1;
        let ticks = (since_epoch.as_micros() * u128::from(self.clock_rate) / 1_000_000) as u32;
        let transit = i64::from(ticks.wrapping_sub(timestamp) as i32);
        if let Some(last) = self.transit.replace(transit) {
            self.jitter += ((transit - last).abs() as f64 - self.jitter) / 16.0;
        }
    }

    /// A report block; none before the first packet.
    fn block(&mut self, now: Instant) -> Option<ReceptionReport> {
        let newest = self.window.newest()?;
        let expected = newest.saturating_sub(self.first?) + 1;
        let lost = expected.saturating_sub(self.packets);
        let (told_expected, told_packets) = std::mem::replace(&mut self.told, (expected, self.packets));
        let interval = expected.saturating_sub(told_expected);
        let missing = interval.saturating_sub(self.packets - told_packets);
        let fraction = (missing * 256).checked_div(interval).unwrap_or(0).min(255);
        Some(ReceptionReport {
            ssrc: self.ssrc,
            fraction_lost: fraction as u8,
            total_lost: lost.min(0x7F_FFFF) as u32,
            last_sequence_number: newest as u32,
            jitter: self.jitter as u32,
            last_sender_report: self.report.map_or(0, |(time, _)| time),
            delay: self.report.map_or(0, |(_, at)| (now.saturating_duration_since(at).as_micros() * 65_536 / 1_000_000) as u32),
        })
    }
}

/// What an incoming stream carries.
#[derive(Clone, Copy)]
enum Incoming {
    Of(Track),
    /// Retransmissions of the camera.
    Again,
    Announcement,
}

/// A video packet kept for retransmission.
#[derive(Default)]
struct Kept {
    sequence: u16,
    timestamp: u32,
    marker: bool,
    again: u8,
    payload: Vec<u8>,
}

/// The media of one client.
pub(super) struct Media {
    out: Ciphers,
    incoming: Ciphers,
    epoch: Instant,
    cname: String,
    audio: Sender,
    video: Option<Sender>,
    rtx: Option<Sender>,
    number: u16,
    transport_cc: bool,
    kept: Vec<Kept>,
    voice_in: Option<Receiver>,
    announcements_in: Option<Receiver>,
    camera_in: Option<Receiver>,
    rtx_in: Option<Receiver>,
    arrivals: Arrivals,
    rtcp_index: u32,
    rtcp_seen: Window,
    report_due: Instant,
    feedback_due: Instant,
}

impl Media {
    /// `firsts` are random: the first sequence numbers of voice, camera and retransmissions.
    pub(super) fn new(
        keying: &Keying,
        crypto: &dyn RTCCrypto,
        agreed: Agreed,
        cname: &str,
        firsts: [u16; 3],
        now: Instant,
    ) -> Result<Self, CryptoError> {
        let video = agreed.video_out;
        Ok(Self {
            out: keying.local(crypto)?,
            incoming: keying.remote(crypto)?,
            epoch: now,
            cname: cname.to_owned(),
            audio: Sender::new(agreed.audio_out, OPUS, 48_000, firsts[0]),
            video: video.map(|(ssrc, _)| Sender::new(ssrc, VP8, 90_000, firsts[1])),
            rtx: video.map(|(_, ssrc)| Sender::new(ssrc, RTX, 90_000, firsts[2])),
            number: 0,
            transport_cc: agreed.transport_cc,
            kept: Vec::new(),
            voice_in: agreed.audio_in.map(|ssrc| Receiver::new(ssrc, 48_000)),
            announcements_in: agreed.announcements_in.map(|ssrc| Receiver::new(ssrc, 48_000)),
            camera_in: agreed.video_in.map(|(ssrc, _)| Receiver::new(ssrc, 90_000)),
            rtx_in: agreed.video_in.and_then(|(_, rtx)| rtx).map(|ssrc| Receiver::new(ssrc, 90_000)),
            arrivals: Arrivals::new(now),
            rtcp_index: 0,
            rtcp_seen: Window::default(),
            report_due: now + REPORT_PACE,
            feedback_due: now + FEEDBACK_PACE,
        })
    }

    /// Writes one packet of a track; none if it is too long or the track was refused.
    pub(super) fn send(&mut self, track: Track, timestamp: u32, marker: bool, payload: &[u8], now: Instant) -> Option<Vec<u8>> {
        if payload.len() > MAX_PAYLOAD {
            return None;
        }
        let number = match track {
            Track::Camera if self.transport_cc => Some(self.next_number()),
            Track::Camera | Track::Voice => None,
        };
        let sender = match track {
            Track::Voice => &mut self.audio,
            Track::Camera => self.video.as_mut()?,
        };
        sender.newest = Some((timestamp, now));
        let sequence = sender.index as u16;
        if track == Track::Camera {
            if self.kept.is_empty() {
                self.kept.resize_with(RING, Kept::default);
            }
            let kept = &mut self.kept[usize::from(sequence) % RING];
            kept.payload.clear();
            kept.payload.extend_from_slice(payload);
            (kept.sequence, kept.timestamp, kept.marker, kept.again) = (sequence, timestamp, marker, 0);
        }
        sender.write(&mut self.out, number, marker, timestamp, &[], payload)
    }

    fn next_number(&mut self) -> u16 {
        let number = self.number;
        self.number = number.wrapping_add(1);
        number
    }

    /// A packet of the server, decrypted in its buffer.
    pub(super) fn read(&mut self, packet: &mut [u8], now: Instant, events: &mut VecDeque<Event>, transmits: &mut Vec<Vec<u8>>) {
        if packet.get(1).is_some_and(|second| (192..=223).contains(second)) {
            self.read_rtcp(packet, now, events, transmits);
        } else {
            self.read_rtp(packet, now, events);
        }
    }

    fn read_rtp(&mut self, packet: &mut [u8], now: Instant, events: &mut VecDeque<Event>) {
        let Ok(header) = Header::parse(packet) else { return };
        let lanes = [
            (&mut self.voice_in, Incoming::Of(Track::Voice)),
            (&mut self.camera_in, Incoming::Of(Track::Camera)),
            (&mut self.rtx_in, Incoming::Again),
            (&mut self.announcements_in, Incoming::Announcement),
        ];
        let found =
            lanes.into_iter().find_map(|(lane, kind)| lane.as_mut().filter(|lane| lane.ssrc == header.ssrc).map(|lane| (lane, kind)));
        let Some((receiver, kind)) = found else { return };
        let index = receiver.window.estimate(header.sequence);
        if !receiver.window.is_new(index) {
            return;
        }
        let Ok(len) = self.incoming.open_rtp(packet, header.len, header.ssrc, index) else { return };
        let packet = &packet[..len];
        let timestamp = u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]);
        receiver.count(index, timestamp, now.saturating_duration_since(self.epoch));
        if matches!(kind, Incoming::Of(Track::Camera) | Incoming::Again)
            && self.transport_cc
            && let Some(number) = number(&packet[..header.len])
        {
            self.arrivals.note(number, now);
        }
        let mut payload = &packet[header.len..];
        if packet[0] & 0x20 != 0 {
            // Padding, of which the last octet tells the length (RFC 3550 section 5.1).
            let padding = usize::from(payload.last().copied().unwrap_or(0));
            payload = &payload[..payload.len().saturating_sub(padding)];
        }
        if payload.is_empty() {
            return;
        }
        let (marker, payload) = (packet[1] & 0x80 != 0, || Bytes::copy_from_slice(payload));
        match kind {
            Incoming::Of(track) => events.push_back(Event::Media { track, index, timestamp, marker, payload: payload() }),
            Incoming::Announcement => events.push_back(Event::Announcement { index, timestamp, marker, payload: payload() }),
            // Only counted: we never ask for one, so it is a probe.
            Incoming::Again => (),
        }
    }

    fn read_rtcp(&mut self, packet: &mut [u8], now: Instant, events: &mut VecDeque<Event>, transmits: &mut Vec<Vec<u8>>) {
        let Ok((sender, index)) = self.incoming.rtcp_sender_and_index(packet) else { return };
        if !self.rtcp_seen.is_new(u64::from(index)) {
            return;
        }
        let Ok(len) = self.incoming.open_rtcp(packet, sender, index) else { return };
        self.rtcp_seen.note(u64::from(index));
        let ours = self.video.as_ref().map(|video| video.ssrc);
        // A kind the library cannot read spoils its compound only.
        let Ok(packets) = rtc_rtcp::packet::unmarshal(&mut &packet[..len]) else { return };
        for packet in packets {
            let packet = packet.as_any();
            if let Some(pli) = packet.downcast_ref::<PictureLossIndication>() {
                if Some(pli.media_ssrc) == ours {
                    events.push_back(Event::KeyFrameWanted);
                }
            } else if let Some(fir) = packet.downcast_ref::<FullIntraRequest>() {
                if fir.fir.iter().any(|entry| Some(entry.ssrc) == ours) {
                    events.push_back(Event::KeyFrameWanted);
                }
            } else if let Some(nack) = packet.downcast_ref::<TransportLayerNack>() {
                if Some(nack.media_ssrc) == ours {
                    for sequence in nack.nacks.iter().flat_map(|pair| pair.packet_list()) {
                        transmits.extend(self.again(sequence));
                    }
                }
            } else if let Some(report) = packet.downcast_ref::<SenderReport>() {
                for receiver in [&mut self.voice_in, &mut self.camera_in].into_iter().flatten() {
                    if receiver.ssrc == report.ssrc {
                        receiver.report = Some(((report.ntp_time >> 16) as u32, now));
                    }
                }
            }
        }
    }

    /// Sends a kept packet once more on the retransmission stream (RFC 4588 section 4).
    fn again(&mut self, sequence: u16) -> Option<Vec<u8>> {
        let number = if self.transport_cc { Some(self.next_number()) } else { None };
        let kept = self.kept.get_mut(usize::from(sequence) % RING)?;
        if kept.sequence != sequence || kept.payload.is_empty() || kept.again == AGAIN_LIMIT {
            return None;
        }
        kept.again += 1;
        self.rtx.as_mut()?.write(&mut self.out, number, kept.marker, kept.timestamp, &sequence.to_be_bytes(), &kept.payload)
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub(super) fn due(&self) -> Instant {
        if self.transport_cc { self.report_due.min(self.feedback_due) } else { self.report_due }
    }

    /// Sends the reports that are due.
    pub(super) fn handle_timeout(&mut self, now: Instant, transmits: &mut Vec<Vec<u8>>) {
        if self.transport_cc && now >= self.feedback_due {
            self.feedback_due = now + FEEDBACK_PACE;
            let peer = self.camera_in.as_ref().map(|camera| camera.ssrc);
            if let (Some(video), Some(peer)) = (&self.video, peer)
                && let Some(report) = self.arrivals.report(video.ssrc, peer)
            {
                transmits.extend(self.seal(&[Box::new(report)]));
            }
        }
        if now >= self.report_due {
            self.report_due = now + REPORT_PACE;
            transmits.extend(self.report(now));
        }
    }

    /// Asks the other party for a key frame (RFC 4585 section 6.3.1).
    pub(super) fn request_key_frame(&mut self) -> Option<Vec<u8>> {
        let sender_ssrc = self.video.as_ref().map_or(self.audio.ssrc, |video| video.ssrc);
        let media_ssrc = self.camera_in.as_ref()?.ssrc;
        self.seal(&[Box::new(PictureLossIndication { sender_ssrc, media_ssrc })])
    }

    fn report(&mut self, now: Instant) -> Option<Vec<u8>> {
        let mut voice: Vec<ReceptionReport> = self.voice_in.as_mut().and_then(|receiver| receiver.block(now)).into_iter().collect();
        let mut camera: Vec<ReceptionReport> = self.camera_in.as_mut().and_then(|receiver| receiver.block(now)).into_iter().collect();
        // The wall clock is nobody's business here: the time since the keys is a valid one (RFC 3550 section 4).
        let elapsed = now.saturating_duration_since(self.epoch);
        let ntp_time = ((elapsed.as_secs() + 1) << 32) | ((u64::from(elapsed.subsec_nanos()) << 32) / 1_000_000_000);
        let mut packets: Vec<Box<dyn Packet>> = Vec::new();
        for (sender, reports) in [(Some(&self.audio), &mut voice), (self.video.as_ref(), &mut camera)] {
            let Some(sender) = sender else { continue };
            let reports = std::mem::take(reports);
            match sender.newest {
                Some((timestamp, at)) => {
                    let since = now.saturating_duration_since(at).as_micros() * u128::from(sender.clock_rate) / 1_000_000;
                    packets.push(Box::new(SenderReport {
                        ssrc: sender.ssrc,
                        ntp_time,
                        rtp_time: timestamp.wrapping_add(since as u32),
                        packet_count: sender.packets,
                        octet_count: sender.octets,
                        reports,
                        profile_extensions: Bytes::new(),
                    }));
                }
                None => packets.push(Box::new(ReceiverReport { ssrc: sender.ssrc, reports, profile_extensions: Bytes::new() })),
            }
        }
        let item = SourceDescriptionItem { sdes_type: SdesType::SdesCname, text: Bytes::copy_from_slice(self.cname.as_bytes()) };
        let sources = [Some(&self.audio), self.video.as_ref()].into_iter().flatten();
        let chunks = sources.map(|sender| SourceDescriptionChunk { source: sender.ssrc, items: vec![item.clone()] }).collect();
        packets.push(Box::new(SourceDescription { chunks }));
        self.seal(&packets)
    }

    fn seal(&mut self, packets: &[Box<dyn Packet>]) -> Option<Vec<u8>> {
        let mut buffer = Vec::with_capacity(256);
        for packet in packets {
            buffer.extend_from_slice(&packet.marshal().ok()?);
        }
        let len = buffer.len();
        buffer.resize(len + SPARE, 0);
        let index = self.rtcp_index;
        self.rtcp_index += 1; // 2^31 of them outlast any call.
        let sealed = self.out.seal_rtcp(&mut buffer, len, index).ok()?;
        buffer.truncate(sealed);
        Some(buffer)
    }
}

/// The transport-wide number among the one-byte extensions of a header (RFC 8285 section 4.2).
fn number(header: &[u8]) -> Option<u16> {
    let first = *header.first()?;
    if first & 0x10 == 0 {
        return None;
    }
    let (head, mut rest) = header.get(12 + 4 * usize::from(first & 0x0F)..)?.split_at_checked(4)?;
    if head[..2] != [0xBE, 0xDE] {
        return None;
    }
    while let Some((&octet, tail)) = rest.split_first() {
        rest = tail;
        let (id, len) = (octet >> 4, usize::from(octet & 0x0F) + 1);
        match id {
            0 => continue,
            15 => return None,
            _ => (),
        }
        let (data, tail) = rest.split_at_checked(len)?;
        if id == TRANSPORT_CC && len == 2 {
            return Some(u16::from_be_bytes([data[0], data[1]]));
        }
        rest = tail;
    }
    None
}
