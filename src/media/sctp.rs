//! The data channel `control` of one leg: SCTP (RFC 8831) over its DTLS records, DCEP (RFC 8832), texts in and out.
//!
//! The page opens the channel and, if it is a browser, the association; we accept. One channel, texts only. Invariant: what a page makes us
//! keep is bounded: texts waiting for the channel, texts received and not yet taken, packets to be sent, and SCTP's own buffers (by
//! [`super::chunks`]; its window alone does not bound them).

#[cfg(test)]
mod tests;

use super::chunks::{Guard, Verdict, WINDOW};
use super::sdp::MESSAGE_LIMIT;
use bytes::Bytes;
use rtc_datachannel::data_channel::{DataChannel, DataChannelConfig};
use rtc_sctp::{
    Association, AssociationHandle, ClientConfig, DatagramEvent, Endpoint, EndpointConfig, EndpointEvent, Event, Payload,
    PayloadProtocolIdentifier, ServerConfig, StreamEvent, StreamId, TimerConfig, TransportConfig,
};
use rtc_shared::TransportProtocol;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The label of the one channel we know.
const LABEL: &str = "control";
/// DATA_CHANNEL_OPEN (RFC 8832 section 5.1).
const OPEN: u8 = 3;
/// DATA_CHANNEL_ACK (RFC 8832 section 5.2).
const OPEN_ACK: [u8; 1] = [2];
/// Texts kept for a channel that is not open yet, or whose page is slow; the oldest are dropped beyond.
const QUEUE_LIMIT: usize = 64;
/// A browser opens the association at once. Others leave that to the DTLS client, which is us: they are asked after this.
const PAGE_OPENS: Duration = Duration::from_millis(300);
/// Octets SCTP may hold for a page that does not acknowledge; texts wait in our own bounded queue beyond.
const UNSENT_LIMIT: usize = 64 * 1024;
/// Packets that may wait to be sent: what is unsent and one text more, in packets of browsers' size. Others are dropped; SCTP repeats them.
const MOST_PACKETS: usize = 80;

/// One leg's data channel.
pub(crate) struct Control {
    endpoint: Endpoint,
    guard: Guard,
    association: Option<(AssociationHandle, Association)>,
    transport: TransportConfig,
    opens: Option<Instant>,
    channel: Option<StreamId>,
    waiting: VecDeque<String>,
    /// SCTP packets to be sent as DTLS records.
    pub(crate) out: VecDeque<Bytes>,
    /// Texts the page sent.
    pub(crate) heard: VecDeque<String>,
    /// The library panicked over what this page sent, or was to keep too much of it: its channel is no more.
    is_broken: bool,
}

impl Control {
    /// Waits for the page to open its association.
    pub(crate) fn new() -> Self {
        let transport = TransportConfig::default()
            .with_max_message_size(u32::try_from(MESSAGE_LIMIT).unwrap_or(u32::MAX))
            .with_max_receive_buffer_size(WINDOW)
            // By default it stops to repeat after 63 s and never begins again; how long a page may be away is the call's to say.
            .with_timer_config(TimerConfig { max_t3_rtx_retrans: usize::MAX, ..TimerConfig::default() });
        let endpoint = Endpoint::new(
            nowhere(),
            TransportProtocol::UDP,
            Arc::new(EndpointConfig::new()),
            Some(Arc::new(ServerConfig::new(transport.clone()))),
        );
        Self {
            endpoint,
            guard: Guard::default(),
            association: None,
            transport,
            opens: None,
            channel: None,
            waiting: VecDeque::new(),
            out: VecDeque::new(),
            heard: VecDeque::new(),
            is_broken: false,
        }
    }

    /// Lets SCTP work. The library has panicked on packets of pages before (what `chunks` keeps away); should it do so again, this
    /// page loses its channel, and nobody on the shard a call. Tests and fuzzing see the panic.
    fn work(&mut self, work: impl FnOnce(&mut Self)) {
        if cfg!(any(test, fuzzing)) { work(self) } else { self.contain(work) }
    }

    fn contain(&mut self, work: impl FnOnce(&mut Self)) {
        if self.is_broken {
            return;
        }
        // What it may have left half-done is thrown away.
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(self))).is_err() {
            *self = Self { is_broken: true, ..Self::new() };
        }
    }

    /// DTLS is up: from now on packets can pass.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.opens = (!self.is_broken).then_some(now + PAGE_OPENS);
    }

    /// Queues a text; it is sent once the channel is open. The oldest goes if too many wait.
    pub(crate) fn send(&mut self, text: String, now: Instant) {
        if text.is_empty() || text.len() > MESSAGE_LIMIT || self.is_broken {
            return;
        }
        if self.waiting.len() == QUEUE_LIMIT {
            self.waiting.pop_front();
        }
        self.waiting.push_back(text);
        self.work(|control| control.pump(now));
    }

    /// A decrypted record of the page.
    pub(crate) fn read(&mut self, record: Bytes, now: Instant) {
        if self.is_broken {
            return;
        }
        match self.guard.judge(&record) {
            Verdict::Read => self.work(|control| control.take(record, now)),
            Verdict::Drop => (),
            Verdict::Break => self.break_off(now),
        }
    }

    /// Gives the association up with all it holds, and tells the page.
    fn break_off(&mut self, now: Instant) {
        self.work(|control| {
            if let Some((_, association)) = &mut control.association {
                let _ = association.abort(); // On an error the page is told nothing.
            }
            control.pump(now);
        });
        let (out, heard) = (std::mem::take(&mut self.out), std::mem::take(&mut self.heard));
        *self = Self { is_broken: true, out, heard, ..Self::new() };
    }

    fn take(&mut self, record: Bytes, now: Instant) {
        match self.endpoint.handle(now, nowhere(), None, record) {
            Some((handle, DatagramEvent::NewAssociation(association))) => {
                self.opens = None;
                // One association is all a page gets; ours gives way to the page's if both began at once.
                let refused = if self.association.as_ref().is_some_and(|(_, known)| !known.is_handshaking()) {
                    Some(handle)
                } else {
                    self.guard = Guard::default();
                    self.association.replace((handle, association)).map(|(handle, _)| handle)
                };
                if let Some(handle) = refused {
                    self.endpoint.handle_event(handle, EndpointEvent::drained());
                }
            }
            Some((handle, DatagramEvent::AssociationEvent(event))) => {
                if let Some((known, association)) = &mut self.association
                    && *known == handle
                {
                    association.handle_event(event);
                }
            }
            _ => (),
        }
        self.pump(now);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.association.as_ref().and_then(|(_, association)| association.poll_timeout()).or(self.opens)
    }

    /// Runs SCTP's timers.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.work(|control| control.do_due(now));
    }

    fn do_due(&mut self, now: Instant) {
        if self.opens.is_some_and(|opens| opens <= now) {
            self.opens = None;
            if self.association.is_none() {
                // An error here (too many associations) cannot be: there is none.
                self.association = self.endpoint.connect(now, ClientConfig::new(self.transport.clone()), nowhere()).ok();
            }
        }
        if let Some((_, association)) = &mut self.association {
            association.handle_timeout(now);
        }
        self.pump(now);
    }

    /// Carries everything as far as it goes: events, texts out, packets out.
    fn pump(&mut self, now: Instant) {
        let Some((handle, association)) = &mut self.association else { return };
        while let Some(event) = association.poll() {
            match event {
                Event::Stream(StreamEvent::Readable { id }) => {
                    Self::read_stream(association, *handle, id, (&mut self.channel, &mut self.heard, &mut self.guard), now);
                }
                // Also said of a stream that the page reset, which may be one of its own.
                Event::AssociationLost { id, .. } if self.channel != Some(id) => (),
                Event::AssociationLost { .. } | Event::HandshakeFailed { .. } => self.channel = None,
                _ => (),
            }
        }
        if let Some(id) = self.channel
            && let Ok(mut stream) = association.stream(id)
        {
            while stream.buffered_amount().is_ok_and(|unsent| unsent < UNSENT_LIMIT)
                && let Some(text) = self.waiting.pop_front()
            {
                if stream.write_with_ppi(now, text.as_bytes(), PayloadProtocolIdentifier::String).is_err() {
                    self.waiting.push_front(text);
                    break;
                }
            }
        }
        while let Some(transmit) = association.poll_transmit(now) {
            if let Payload::RawEncode(packets) = transmit.message {
                packets.iter().for_each(|packet| self.guard.note_sent(packet));
                let room = MOST_PACKETS.saturating_sub(self.out.len());
                self.out.extend(packets.into_iter().take(room));
            }
        }
        while let Some(event) = association.poll_endpoint_event() {
            self.endpoint.handle_event(*handle, event);
        }
        if association.is_drained() {
            self.association = None;
            self.channel = None;
        }
    }

    fn read_stream(
        association: &mut Association,
        handle: AssociationHandle,
        id: StreamId,
        (channel, heard, guard): (&mut Option<StreamId>, &mut VecDeque<String>, &mut Guard),
        now: Instant,
    ) {
        let Ok(mut stream) = association.stream(id) else { return };
        while let Ok(Some(chunks)) = stream.read_sctp() {
            guard.note_read(chunks.chunks.len(), chunks.len());
            let Ok(payload) = chunks.to_payload(MESSAGE_LIMIT) else { continue };
            match chunks.ppi {
                // The library panics on short messages of types that it uses inside.
                PayloadProtocolIdentifier::Dcep if channel.is_none() && payload.first() == Some(&OPEN) => {
                    let accepted = DataChannel::accept(DataChannelConfig::default(), handle.0, id, chunks.ppi, &payload);
                    let Ok(accepted) = accepted else { continue };
                    if accepted.config().label != LABEL {
                        continue;
                    }
                    let (unordered, kind) = DataChannel::get_reliability_params(accepted.config().channel_type);
                    // We send as the page asked to be sent to; on an error the stream stays reliable, which is more.
                    let _ = stream.set_reliability_params(unordered, kind, accepted.config().reliability_parameter);
                    if stream.write_with_ppi(now, &OPEN_ACK, PayloadProtocolIdentifier::Dcep).is_ok() {
                        *channel = Some(id);
                    }
                }
                PayloadProtocolIdentifier::String if *channel == Some(id) && heard.len() < QUEUE_LIMIT => {
                    if let Ok(text) = String::from_utf8(payload.to_vec()) {
                        heard.push_back(text);
                    }
                }
                // Empty texts, binary data and other channels say nothing to us.
                _ => (),
            }
        }
    }
}

/// SCTP runs inside DTLS: addresses mean nothing to it.
fn nowhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 5000))
}
