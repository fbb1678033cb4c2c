//! A small WebRTC client for our own server: what a page does, as a value.
//!
//! Sans-IO: datagrams, timers and media go in; datagrams and [`Event`]s come out; [`driver`] adds a socket. It speaks to
//! an ICE-lite server that takes the active DTLS role and to no other. One change, then drain
//! [`poll_transmit`](Client::poll_transmit) and [`poll_event`](Client::poll_event). Invariant: nothing is sent but to an
//! address of the answer, and media only after the server proved who it is.

mod channel;
pub mod driver;
mod dtls;
mod feedback;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod ice;
mod rtp;
mod sdp;
#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "an instant to count from")]
mod tests;

use bytes::Bytes;
use channel::{Channel, Heard};
use dtls::Dtls;
pub use dtls::Identity;
use ice::Ice;
use rand::Rng;
use rtp::{Agreed, Media};
use sdp::Answer;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The longest RTP payload [`Client::send`] takes, in bytes: it fits every path with room for what is put around it.
pub const MAX_PAYLOAD: usize = 1150;
/// A handshake that takes longer than this never ends.
const HANDSHAKE_LIFE: Duration = Duration::from_secs(30);
/// Octets of our ICE user name and password.
const UFRAG_LEN: usize = 8;
const PASSWORD_LEN: usize = 24;

/// Why a client cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The server's answer cannot be used.
    #[error("the answer {0}")]
    Answer(&'static str),
    /// Nobody answers at the server's addresses: 15 s at the beginning, 30 s later.
    #[error("the server does not answer")]
    Unreachable,
    /// The server's certificate is not the one its answer named.
    #[error("the server's certificate is not the one of its answer")]
    Stranger,
    /// DTLS was not up within 30 s.
    #[error("the handshake did not end")]
    NoHandshake,
    /// The crypto provider failed.
    #[error("crypto: {0}")]
    Crypto(String),
}

/// What a client sends and takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Track {
    /// Opus, 48 kHz.
    Voice,
    /// VP8, timestamps of 90 kHz.
    Camera,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Media can be sent.
    Connected,
    /// The data channel is open; texts sent before were kept.
    ChannelOpen,
    /// A text on the data channel.
    Text(String),
    /// A packet of the other party.
    Media {
        /// What it belongs to.
        track: Track,
        /// Sequence number with roll-over counter.
        index: u64,
        /// RTP timestamp.
        timestamp: u32,
        /// Last packet of a frame, or first after a silence.
        marker: bool,
        /// Never empty.
        payload: Bytes,
    },
    /// A packet of what the server itself plays: Opus on the second audio track.
    Announcement {
        /// Sequence number with roll-over counter.
        index: u64,
        /// RTP timestamp.
        timestamp: u32,
        /// First after a silence.
        marker: bool,
        /// Never empty.
        payload: Bytes,
    },
    /// The other party cannot go on without a key frame of ours.
    KeyFrameWanted,
    /// The server said goodbye. Nothing follows.
    Closed,
    /// The client gave up. Nothing follows.
    Failed(ClientError),
}

/// A datagram to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub to: SocketAddr,
    /// What.
    pub payload: Vec<u8>,
}

#[allow(clippy::large_enum_variant, reason = "a client is in `Joined` for nearly all of its life")]
enum State {
    Offered,
    Joined {
        ice: Ice,
        dtls: Box<Dtls>,
        channel: Option<Box<Channel>>,
        media: Option<Box<Media>>,
        agreed: Agreed,
        /// Until when DTLS must be up.
        deadline: Instant,
    },
    Over,
}

/// One client: one offer, one answer, one connection.
pub struct Client {
    identity: Arc<Identity>,
    offer: String,
    ufrag: String,
    cname: String,
    audio: u32,
    video: Option<(u32, u32)>,
    state: State,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
    /// Packets on their way to `transmits`.
    packets: Vec<Vec<u8>>,
}

impl Client {
    /// A client with fresh credentials; `video` adds a camera to its voice.
    pub fn new(identity: Arc<Identity>, video: bool) -> Self {
        let mut random = rand::rng();
        let mut word = |len: usize| -> String {
            // Letters and digits only, of which RFC 8839 section 5.4 allows two more: 5.9 bits each.
            (0..len).map(|_| char::from(random.sample(rand::distr::Alphanumeric))).collect()
        };
        let (ufrag, password, cname) = (word(UFRAG_LEN), word(PASSWORD_LEN), word(16));
        // Even and odd in turn: the three SSRCs differ whatever was drawn.
        let seed: u32 = random.random();
        let ssrc = |place: u32| seed.wrapping_add(place).max(1);
        let (audio, pair) = (ssrc(0), (ssrc(0x4000_0000), ssrc(0x8000_0000)));
        let video = video.then_some(pair);
        let offer = sdp::offer(&sdp::Local {
            session: u64::from(random.random::<u32>()),
            ufrag: &ufrag,
            password: &password,
            fingerprint: identity.fingerprint(),
            cname: &cname,
            audio,
            video,
        });
        Self {
            identity,
            offer,
            ufrag,
            cname,
            audio,
            video,
            state: State::Offered,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            packets: Vec::new(),
        }
    }

    /// The SDP offer to join with.
    pub fn offer(&self) -> &str {
        &self.offer
    }

    /// Takes the answer and begins to connect. An answer that was taken is final: later ones are ignored.
    pub fn accept(&mut self, answer: &str, now: Instant) -> Result<(), ClientError> {
        if !matches!(self.state, State::Offered) {
            return Ok(());
        }
        let answer = Answer::read(answer)?;
        let user = format!("{}:{}", answer.ufrag, self.ufrag);
        let agreed = Agreed {
            audio_out: self.audio,
            video_out: self.video.filter(|_| answer.sends_video),
            audio_in: answer.audio,
            announcements_in: answer.announcements,
            video_in: answer.video,
            transport_cc: answer.transport_cc,
        };
        self.state = State::Joined {
            ice: Ice::new(user, answer.password, answer.candidates, rand::rng().random(), now),
            dtls: Box::new(Dtls::listen(self.identity.clone(), answer.fingerprint)),
            channel: answer.control.then(|| Box::new(Channel::new())),
            media: None,
            agreed,
            deadline: now + HANDSHAKE_LIFE,
        };
        self.handle_timeout(now);
        Ok(())
    }

    /// The server's addresses; none before its answer and after the end.
    pub fn servers(&self) -> &[SocketAddr] {
        match &self.state {
            State::Joined { ice, .. } => ice.candidates(),
            State::Offered | State::Over => &[],
        }
    }

    /// Whether the server took our camera; false before its answer.
    pub fn sends_video(&self) -> bool {
        matches!(&self.state, State::Joined { agreed, .. } if agreed.video_out.is_some())
    }

    /// A datagram that came from `from`; decrypted in place.
    pub fn handle_datagram(&mut self, datagram: &mut [u8], from: SocketAddr, now: Instant) {
        let State::Joined { ice, dtls, channel, media, agreed, .. } = &mut self.state else { return };
        if !ice.knows(from) {
            return;
        }
        // RFC 7983.
        match datagram.first() {
            Some(0..=3) => {
                let transmits = &mut self.transmits;
                ice.read(datagram, from, now, self.identity.crypto(), &mut |to, payload| {
                    transmits.push_back(Transmit { to, payload: payload.to_vec() });
                });
            }
            Some(20..=63) => {
                for event in dtls.read(datagram, now) {
                    match event {
                        dtls::Event::Keyed(keying) => {
                            let firsts = rand::rng().random();
                            match Media::new(&keying, self.identity.crypto(), *agreed, &self.cname, firsts, now) {
                                Ok(keyed) => *media = Some(Box::new(keyed)),
                                Err(error) => return self.fail(ClientError::Crypto(error.to_string())),
                            }
                            self.events.push_back(Event::Connected);
                            if let Some(channel) = channel {
                                channel.connect(now);
                            }
                        }
                        dtls::Event::Data(data) => {
                            if let Some(channel) = channel {
                                channel.read(data, now);
                            }
                        }
                        dtls::Event::Closed => {
                            self.collect(now);
                            self.state = State::Over;
                            self.events.push_back(Event::Closed);
                            return;
                        }
                        dtls::Event::Stranger => {
                            self.collect(now);
                            return self.fail(ClientError::Stranger);
                        }
                    }
                }
            }
            Some(128..=191) => {
                if let Some(media) = media {
                    media.read(datagram, now, &mut self.events, &mut self.packets);
                }
            }
            _ => (),
        }
        self.collect(now);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due; none before the answer and after the end.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let State::Joined { ice, dtls, channel, media, deadline, .. } = &self.state else { return None };
        let handshake = if dtls.is_up() { None } else { Some(*deadline) };
        let channel = channel.as_ref().and_then(|channel| channel.due());
        let media = media.as_ref().map(|media| media.due());
        [Some(ice.due()), dtls.due(), handshake, channel, media].into_iter().flatten().min()
    }

    /// Does what is due; early or twice is harmless.
    pub fn handle_timeout(&mut self, now: Instant) {
        let State::Joined { ice, dtls, channel, media, deadline, .. } = &mut self.state else { return };
        let transmits = &mut self.transmits;
        let checked = ice.handle_timeout(now, self.identity.crypto(), &mut |to, payload| {
            transmits.push_back(Transmit { to, payload: payload.to_vec() });
        });
        if let Err(error) = checked {
            return self.fail(error);
        }
        if !dtls.is_up() && now >= *deadline {
            return self.fail(ClientError::NoHandshake);
        }
        dtls.handle_timeout(now);
        if let Some(channel) = channel {
            channel.handle_timeout(now);
        }
        if let Some(media) = media {
            media.handle_timeout(now, &mut self.packets);
        }
        self.collect(now);
    }

    /// Sends one RTP packet; dropped while not connected, when the track was refused or `payload` is longer than
    /// [`MAX_PAYLOAD`]. A marker ends a frame of video.
    pub fn send(&mut self, track: Track, timestamp: u32, marker: bool, payload: &[u8], now: Instant) {
        if let State::Joined { media: Some(media), .. } = &mut self.state {
            self.packets.extend(media.send(track, timestamp, marker, payload, now));
            self.collect(now);
        }
    }

    /// Sends a text (at most 65,536 bytes) on the data channel, as soon as it is open.
    pub fn send_text(&mut self, text: String, now: Instant) {
        if let State::Joined { channel: Some(channel), .. } = &mut self.state {
            channel.send(text, now);
            self.collect(now);
        }
    }

    /// Asks the other party for a key frame.
    pub fn request_key_frame(&mut self, now: Instant) {
        if let State::Joined { media: Some(media), .. } = &mut self.state {
            self.packets.extend(media.request_key_frame());
            self.collect(now);
        }
    }

    /// Says goodbye; what it says is still to be sent.
    pub fn close(&mut self, now: Instant) {
        if let State::Joined { dtls, .. } = &mut self.state {
            dtls.close(now);
            self.collect(now);
        }
        self.state = State::Over;
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn fail(&mut self, error: ClientError) {
        self.state = State::Over;
        self.events.push_back(Event::Failed(error));
    }

    /// Carries what the parts have to send or say to our queues.
    fn collect(&mut self, now: Instant) {
        let State::Joined { ice, dtls, channel, .. } = &mut self.state else { return };
        if let Some(channel) = channel {
            for packet in channel.out.drain(..) {
                dtls.write(&packet, now);
            }
            self.events.extend(channel.heard.drain(..).map(|heard| match heard {
                Heard::Open => Event::ChannelOpen,
                Heard::Text(text) => Event::Text(text),
            }));
        }
        // Keys come through an address that answered a check, so there is one.
        let Some(to) = ice.selected() else { return };
        self.transmits.extend(dtls.out.drain(..).map(|record| Transmit { to, payload: record.to_vec() }));
        self.transmits.extend(self.packets.drain(..).map(|payload| Transmit { to, payload }));
    }
}
