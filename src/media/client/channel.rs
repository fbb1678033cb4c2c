//! The data channel `control` as browsers open it: SCTP by INIT (RFC 8831), the channel by DCEP (RFC 8832), texts in
//! and out.
//!
//! One channel, texts only. Invariant: texts that wait for the channel are at most [`QUEUE_LIMIT`].

use crate::media::chunks::{Guard, Verdict, WINDOW};
use bytes::{Bytes, BytesMut};
use rtc_datachannel::message::Message;
use rtc_datachannel::message::message_channel_open::{CHANNEL_PRIORITY_NORMAL, ChannelType, DataChannelOpen};
use rtc_sctp::{
    Association, AssociationHandle, ClientConfig, DatagramEvent, Endpoint, EndpointConfig, Event, Payload, PayloadProtocolIdentifier,
    StreamEvent, StreamId, TransportConfig,
};
use rtc_shared::TransportProtocol;
use rtc_shared::marshal::Marshal;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

const LABEL: &[u8] = b"control";
/// The server of the DTLS handshake opens odd streams (RFC 8832 section 6).
const STREAM: StreamId = 1;
/// The longest text, in bytes, as the offer says.
const TEXT_LIMIT: usize = 65_536;
/// Texts kept until the channel is open; the oldest are dropped beyond.
const QUEUE_LIMIT: usize = 64;
/// DATA_CHANNEL_ACK (RFC 8832 section 5.2).
const OPEN_ACK: u8 = 2;

/// What happened on the channel.
pub(super) enum Heard {
    /// The server acknowledged the channel.
    Open,
    /// A text.
    Text(String),
}

/// One client's data channel.
pub(super) struct Channel {
    endpoint: Endpoint,
    guard: Guard,
    association: Option<(AssociationHandle, Association)>,
    waiting: VecDeque<String>,
    open: bool,
    /// SCTP packets to be sent as DTLS records.
    pub(super) out: Vec<Bytes>,
    /// What happened, oldest first.
    pub(super) heard: VecDeque<Heard>,
}

impl Channel {
    /// A channel that [`connect`](Self::connect) opens.
    pub(super) fn new() -> Self {
        let endpoint = Endpoint::new(nowhere(), TransportProtocol::UDP, Arc::new(EndpointConfig::new()), None);
        Self {
            endpoint,
            guard: Guard::default(),
            association: None,
            waiting: VecDeque::new(),
            open: false,
            out: Vec::new(),
            heard: VecDeque::new(),
        }
    }

    /// Sends INIT; call it once DTLS is up.
    pub(super) fn connect(&mut self, now: Instant) {
        let transport = TransportConfig::default().with_max_message_size(TEXT_LIMIT as u32).with_max_receive_buffer_size(WINDOW);
        self.association = self.endpoint.connect(now, ClientConfig::new(transport), nowhere()).ok();
        self.pump(now);
    }

    /// Queues a text; it is sent once the channel is open.
    pub(super) fn send(&mut self, text: String, now: Instant) {
        if text.is_empty() || text.len() > TEXT_LIMIT {
            return;
        }
        if self.waiting.len() == QUEUE_LIMIT {
            self.waiting.pop_front();
        }
        self.waiting.push_back(text);
        self.pump(now);
    }

    /// A decrypted record.
    pub(super) fn read(&mut self, record: BytesMut, now: Instant) {
        match self.guard.judge(&record) {
            Verdict::Read => (),
            Verdict::Drop => return,
            Verdict::Break => {
                (self.association, self.open) = (None, false);
                return;
            }
        }
        if let Some((handle, DatagramEvent::AssociationEvent(event))) = self.endpoint.handle(now, nowhere(), None, record.freeze())
            && let Some((known, association)) = &mut self.association
            && *known == handle
        {
            association.handle_event(event);
        }
        self.pump(now);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.association.as_ref()?.1.poll_timeout()
    }

    /// Runs SCTP's timers.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if let Some((_, association)) = &mut self.association
            && association.poll_timeout().is_some_and(|due| due <= now)
        {
            association.handle_timeout(now);
            self.pump(now);
        }
    }

    fn pump(&mut self, now: Instant) {
        let Some((handle, association)) = &mut self.association else { return };
        while let Some(event) = association.poll() {
            match event {
                Event::Connected => open(association, now),
                Event::Stream(StreamEvent::Readable { id }) => {
                    let Ok(mut stream) = association.stream(id) else { continue };
                    while let Ok(Some(chunks)) = stream.read_sctp() {
                        self.guard.note_read(chunks.chunks.len(), chunks.len());
                        let Ok(payload) = chunks.to_payload(TEXT_LIMIT) else { continue };
                        match chunks.ppi {
                            PayloadProtocolIdentifier::Dcep if payload.first() == Some(&OPEN_ACK) && !self.open => {
                                self.open = true;
                                self.heard.push_back(Heard::Open);
                            }
                            PayloadProtocolIdentifier::String => {
                                // What is not UTF-8 is not a text.
                                if let Ok(text) = String::from_utf8(payload.to_vec()) {
                                    self.heard.push_back(Heard::Text(text));
                                }
                            }
                            _ => (),
                        }
                    }
                }
                Event::AssociationLost { .. } | Event::HandshakeFailed { .. } => self.open = false,
                _ => (),
            }
        }
        if self.open
            && let Ok(mut stream) = association.stream(STREAM)
        {
            while let Some(text) = self.waiting.pop_front() {
                if stream.write_with_ppi(now, text.as_bytes(), PayloadProtocolIdentifier::String).is_err() {
                    self.waiting.push_front(text);
                    break;
                }
            }
        }
        while let Some(transmit) = association.poll_transmit(now) {
            if let Payload::RawEncode(packets) = transmit.message {
                packets.iter().for_each(|packet| self.guard.note_sent(packet));
                self.out.extend(packets);
            }
        }
        while let Some(event) = association.poll_endpoint_event() {
            self.endpoint.handle_event(*handle, event);
        }
        if association.is_drained() {
            self.association = None;
            self.open = false;
        }
    }
}

/// Opens the stream and says so by DATA_CHANNEL_OPEN. What fails here leaves the channel closed.
fn open(association: &mut Association, now: Instant) {
    let message = Message::DataChannelOpen(DataChannelOpen {
        channel_type: ChannelType::Reliable,
        priority: CHANNEL_PRIORITY_NORMAL,
        reliability_parameter: 0,
        label: LABEL.to_vec(),
        protocol: Vec::new(),
    });
    let Ok(payload) = message.marshal() else { return };
    let Ok(mut stream) = association.open_stream(STREAM, PayloadProtocolIdentifier::Dcep) else { return };
    let _ = stream.write_with_ppi(now, &payload, PayloadProtocolIdentifier::Dcep); // A failed write shows as a channel that never opens.
}

/// SCTP runs inside DTLS and has no address of its own; the library wants one with a port.
fn nowhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::sctp::Control;
    use crate::media::sdp::MESSAGE_LIMIT;
    use std::time::Duration;

    /// Both ends over a network that loses, delays and reorders, in virtual time; no more than `ahead` texts are on their way.
    /// Returns what each heard.
    fn talk(loss: u64, texts: &[String], ahead: usize) -> [Vec<String>; 2] {
        #[expect(clippy::disallowed_methods, reason = "an instant to count from")]
        let mut now = Instant::now();
        let (mut control, mut channel) = (Control::new(), Channel::new());
        control.begin(now);
        channel.connect(now);
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut draw = move |limit: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % limit
        };
        let mut ways: [Vec<(Instant, Bytes)>; 2] = [Vec::new(), Vec::new()];
        let mut heard: [Vec<String>; 2] = [Vec::new(), Vec::new()];
        let (mut said, mut is_open) = (0, false);
        for _ in 0..20_000 {
            while is_open && said < texts.len() && heard.iter().all(|heard| said < heard.len() + ahead) {
                channel.send(texts[said].clone(), now);
                control.send(texts[said].clone(), now);
                said += 1;
            }
            let sent = [std::mem::take(&mut channel.out), control.out.drain(..).collect()];
            for (way, packets) in ways.iter_mut().zip(sent) {
                let kept = packets.into_iter().filter(|_| draw(100) >= loss).collect::<Vec<_>>();
                way.extend(kept.into_iter().map(|packet| (now + Duration::from_millis(20 + draw(30)), packet)));
            }
            now += Duration::from_millis(5);
            let [up, down] = ways.each_mut().map(|way| way.extract_if(.., |(due, _)| *due <= now).collect::<Vec<_>>());
            up.into_iter().for_each(|(_, packet)| control.read(packet, now));
            down.into_iter().for_each(|(_, packet)| channel.read(BytesMut::from(&packet[..]), now));
            if control.due().is_some_and(|due| due <= now) {
                control.handle_timeout(now);
            }
            channel.handle_timeout(now);
            heard[0].extend(control.heard.drain(..));
            for event in channel.heard.drain(..) {
                match event {
                    Heard::Open => is_open = true,
                    Heard::Text(text) => heard[1].push(text),
                }
            }
        }
        heard
    }

    #[test]
    fn honest_ends_lose_no_text_on_any_network() {
        // Short ones, of which a packet holds as many as it can, and the longest there are.
        let short: Vec<String> = (0..600).map(|number| format!("{number}")).collect();
        let long: Vec<String> = (10..34).map(|number| format!("{number}").repeat(MESSAGE_LIMIT / 2)).collect();
        for (texts, ahead) in [(short, 60), (long, 4)] {
            for loss in [0, 3, 15] {
                let heard = talk(loss, &texts, ahead);
                assert!(
                    heard.iter().all(|heard| *heard == texts),
                    "{:?} of {} texts, {loss} % lost",
                    heard.map(|heard| heard.len()),
                    texts.len()
                );
            }
        }
    }
}
