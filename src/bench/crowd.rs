//! Many pages on one thread: clients with a socket each, which join calls, talk and measure what arrives.
//!
//! Packets go out at their moments and not in answer to anything, so a slow server makes no pause. They carry the time they
//! were sent; the kernel says when they arrived, so how late this thread reads them does not count. How late it sends does,
//! and is measured, because then the crowd is what is being measured.
#![allow(clippy::disallowed_methods, reason = "a shell: it tells its clients the time")]

use super::histogram::Histogram;
use crate::call::{Medium, Side};
use crate::clock::Span;
use crate::ids::{CallId, LegId};
use crate::media::client::{Client, ClientError, Event, Identity, Track};
use crate::media::{Media, OfferError, OpenLeg};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, ClockNanosleepFlags, clock_nanosleep};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::oneshot;
use uuid::Uuid;

/// Octets of a voice packet's payload: Opus at 32 kbit/s.
const VOICE: usize = 80;
/// Octets of a camera packet's payload.
const PICTURE: usize = 1100;
/// Where time and round stand in a payload: behind what a VP8 packet begins with.
const STAMP: usize = 4;
/// How long arrivals gather once all are connected. Nothing is lost by it: the kernel notes when they came.
const GRAIN: Duration = Duration::from_micros(250);
/// Events taken at once.
const EVENTS: usize = 256;
/// Longer than any datagram of ours.
const DATAGRAM_LIMIT: usize = 2048;
/// Sounds of so many frames that are overdue are left out instead of sent in a burst.
const OVERDUE: u32 = 10;

/// So long after the last packet what has not arrived is lost.
const STRAGGLERS: Duration = Duration::from_millis(300);
/// How often that is waited for what is missing still: on a machine with more to do, threads may stand still for so long.
const WAITS: usize = 10;

/// Why a crowd cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum CrowdError {
    /// Sockets or descriptors ran out.
    #[error("the pages have no sockets: {0}")]
    Socket(#[from] io::Error),
    /// A page could not connect.
    #[error("a page gave up: {0}")]
    Client(#[from] ClientError),
    /// The media plane ended.
    #[error("the media plane ended")]
    Ended,
}

/// What pages send.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Between two voice packets; 20 ms in life.
    pub frame: Duration,
    /// The camera's rate in kbit/s, 30 pictures a second; 0 for calls without video.
    pub video_kbps: u32,
}

impl Pace {
    const PICTURES: u32 = 30;

    fn period(self, track: Track) -> Duration {
        match track {
            Track::Voice => self.frame,
            Track::Camera => Duration::from_secs(1) / Self::PICTURES,
        }
    }
}

/// What happened since the round began.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Media packets sent.
    pub sent: u64,
    /// Of those, the ones that arrived.
    pub received: u64,
    /// Packets our own kernel did not take.
    pub refused: u64,
    /// From send to arrival, both by the kernel's side of the sockets.
    pub latency: Histogram,
    /// How much later than planned packets were sent.
    pub lateness: Histogram,
}

impl Tally {
    /// Adds another thread's.
    pub fn merge(&mut self, other: &Tally) {
        self.sent += other.sent;
        self.received += other.received;
        self.refused += other.refused;
        self.latency.merge(&other.latency);
        self.lateness.merge(&other.lateness);
    }
}

struct Page {
    client: Client,
    socket: UdpSocket,
    /// Where the socket sends; none before the answer.
    server: Option<SocketAddr>,
    offered: Instant,
    answer: Option<oneshot::Receiver<Result<String, OfferError>>>,
    state: State,
    voice_stamp: u32,
    camera_stamp: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Joining,
    Connected,
    Refused,
    Gone,
}

/// Pages of one media plane.
pub struct Crowd {
    /// Where they join by themselves; none of a plane in another process, where others join for them.
    media: Option<Media>,
    identity: Arc<Identity>,
    epoll: Epoll,
    pace: Pace,
    pages: Vec<Page>,
    /// What is to be sent when, by whom.
    due: BinaryHeap<Reverse<(Instant, usize, bool)>>,
    calls: Vec<CallId>,
    connecting: usize,
    /// The round that is counted, and what packets of now say: 0 for none.
    rounds: u32,
    round: u32,
    tally: Tally,
    set_up: Histogram,
    is_silent_on_stun: bool,
    datagrams: u64,
    buffer: Box<[u8; DATAGRAM_LIMIT]>,
    control: Vec<u8>,
}

impl Crowd {
    /// Nobody yet, of this plane.
    pub fn new(media: Media, pace: Pace) -> Result<Self, CrowdError> {
        let mut crowd = Self::of_guests(pace)?;
        crowd.media = Some(media);
        Ok(crowd)
    }

    /// Nobody yet, of a plane that only [`seat`](Self::seat) reaches: there [`join`](Self::join) fails.
    pub fn of_guests(pace: Pace) -> Result<Self, CrowdError> {
        // Or each sleep takes 50 µs longer. Harmless if refused.
        let _ = nix::sys::prctl::set_timerslack(1);
        Ok(Self {
            media: None,
            identity: Identity::generate()?,
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(io::Error::from)?,
            pace,
            pages: Vec::new(),
            due: BinaryHeap::new(),
            calls: Vec::new(),
            connecting: 0,
            rounds: 0,
            round: 0,
            tally: Tally::default(),
            set_up: Histogram::default(),
            is_silent_on_stun: false,
            datagrams: 0,
            buffer: Box::new([0; DATAGRAM_LIMIT]),
            control: cmsg_space!(TimeSpec),
        })
    }

    /// Two more pages begin to join a call of their own.
    pub fn join(&mut self, now: Instant) -> Result<(), CrowdError> {
        let call = CallId::new(Uuid::now_v7());
        self.calls.push(call);
        for side in [Side::Client, Side::Companion] {
            self.join_as(call, side, now)?;
        }
        Ok(())
    }

    /// The calls that were joined, in order.
    pub fn calls(&self) -> &[CallId] {
        &self.calls
    }

    /// Everybody loads the page again: new legs, the old ones give way.
    pub fn reload(&mut self, now: Instant) -> Result<(), CrowdError> {
        for page in self.pages.drain(..) {
            drop(page.socket);
        }
        self.due.clear();
        self.connecting = 0;
        for call in self.calls.clone() {
            for side in [Side::Client, Side::Companion] {
                self.join_as(call, side, now)?;
            }
        }
        Ok(())
    }

    fn join_as(&mut self, call: CallId, side: Side, now: Instant) -> Result<(), CrowdError> {
        let video = self.pace.video_kbps > 0;
        let client = Client::new(self.identity.clone(), video);
        let leg = LegId::new(Uuid::now_v7());
        let media = self.media.as_ref().ok_or(CrowdError::Ended)?;
        let answer = media.open(OpenLeg {
            call,
            side,
            leg,
            offer: client.offer().to_owned(),
            medium: if video { Medium::Video } else { Medium::Audio },
            media_timeout: Span::from_s(5),
            quiet_timeout: Span::from_s(15),
            audio_required: side == Side::Companion,
        });
        self.seat(client, answer, now)
    }

    /// One more page, whose client has offered: its answer comes by whatever way.
    pub fn seat(&mut self, client: Client, answer: oneshot::Receiver<Result<String, OfferError>>, now: Instant) -> Result<(), CrowdError> {
        let video = self.pace.video_kbps > 0;
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_nonblocking(true)?;
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true).map_err(io::Error::from)?;
        let place = self.pages.len();
        self.epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, place as u64)).map_err(io::Error::from)?;
        let state = State::Joining;
        self.pages.push(Page { client, socket, server: None, offered: now, answer: Some(answer), state, voice_stamp: 0, camera_stamp: 0 });
        self.connecting += 1;
        // Spread over the frame by the golden ratio: evenly, however many there will be.
        let phase = |period: Duration| period.mul_f64((place as f64 * 0.618_033_988_749_895).fract());
        self.due.push(Reverse((now + phase(self.pace.frame), place, false)));
        if video {
            self.due.push(Reverse((now + phase(self.pace.period(Track::Camera)), place, true)));
        }
        Ok(())
    }

    /// Everybody sends voice packets at this distance from the next one on.
    pub fn set_frame(&mut self, frame: Duration) {
        self.pace.frame = frame;
    }

    /// One look at everything: answers, what is to be sent, what came. Rests a quarter of a millisecond.
    pub fn turn(&mut self) -> Result<(), CrowdError> {
        self.take_answers()?;
        self.send_due()?;
        if self.connecting == 0 {
            let request = TimeSpec::from_duration(GRAIN);
            // Cut short by a signal: then it was a shorter rest.
            let _ = clock_nanosleep(ClockId::CLOCK_MONOTONIC, ClockNanosleepFlags::empty(), &request);
            self.receive(EpollTimeout::ZERO)
        } else {
            self.receive(EpollTimeout::from(1_u8))
        }
    }

    /// Takes turns for so long.
    pub fn run_for(&mut self, length: Duration) -> Result<(), CrowdError> {
        let end = Instant::now() + length;
        while Instant::now() < end {
            self.turn()?;
        }
        Ok(())
    }

    /// Takes turns until nobody is joining any more; false if `limit` comes first.
    pub fn settle(&mut self, limit: Duration) -> Result<bool, CrowdError> {
        let end = Instant::now() + limit;
        while self.connecting > 0 {
            if Instant::now() >= end {
                return Ok(false);
            }
            self.turn()?;
        }
        Ok(true)
    }

    /// Counts what is sent for so long, and what of it arrives. `sent` is called when the last packet that counts is out, a
    /// moment before the last arrivals.
    pub fn measure(&mut self, length: Duration, sent: impl FnOnce()) -> Result<Tally, CrowdError> {
        self.tally = Tally::default();
        self.rounds += 1;
        self.round = self.rounds;
        self.run_for(length)?;
        // Packets without a round do not count, on either side.
        self.round = 0;
        sent();
        for _ in 0..WAITS {
            self.run_for(STRAGGLERS)?;
            if self.tally.received >= self.tally.sent {
                break;
            }
        }
        self.rounds += 1;
        Ok(std::mem::take(&mut self.tally))
    }

    /// From offer to connected, of all since [`forget_set_up`](Self::forget_set_up).
    pub fn set_up(&self) -> &Histogram {
        &self.set_up
    }

    /// Measures joins anew.
    pub fn forget_set_up(&mut self) {
        self.set_up = Histogram::default();
    }

    /// Pages that are not connected: refused, closed, or still trying.
    pub fn missing(&self) -> usize {
        self.pages.iter().filter(|page| page.state != State::Connected).count()
    }

    /// Datagrams that pages have sent since the beginning; on loopback the server gets each of them, unless its socket is full.
    pub fn datagrams(&self) -> u64 {
        self.datagrams
    }

    /// While this is so, requests for consent and records are not sent, so that only media reaches the server. Longer than 20 s costs the
    /// connection.
    pub fn be_silent_on_stun(&mut self, silent: bool) {
        self.is_silent_on_stun = silent;
    }

    /// All pages say goodbye and all calls end.
    pub fn leave(&mut self) {
        let now = Instant::now();
        for page in &mut self.pages {
            page.client.close(now);
            flush(page, false, &mut self.datagrams);
        }
        for call in self.calls.drain(..) {
            if let Some(media) = &self.media {
                media.stop(call);
            }
        }
        self.pages.clear();
        self.due.clear();
        self.connecting = 0;
    }
}

impl Crowd {
    fn take_answers(&mut self) -> Result<(), CrowdError> {
        if self.connecting == 0 {
            return Ok(());
        }
        for page in &mut self.pages {
            let Some(answer) = &mut page.answer else { continue };
            let answer = match answer.try_recv() {
                Ok(answer) => answer,
                Err(oneshot::error::TryRecvError::Empty) => continue,
                Err(oneshot::error::TryRecvError::Closed) => return Err(CrowdError::Ended),
            };
            page.answer = None;
            match answer {
                Ok(answer) => {
                    page.client.accept(&answer, Instant::now())?;
                    // Only what this server sends is wanted.
                    let server = page.client.servers().iter().find(|server| server.is_ipv4()).copied().ok_or(ClientError::Unreachable)?;
                    page.socket.connect(server)?;
                    page.server = Some(server);
                    flush(page, self.is_silent_on_stun, &mut self.datagrams);
                }
                Err(_) => {
                    page.state = State::Refused;
                    self.connecting -= 1;
                }
            }
        }
        Ok(())
    }

    fn send_due(&mut self) -> Result<(), CrowdError> {
        let mut now = Instant::now();
        while let Some(Reverse((due, place, is_camera))) = self.due.peek().copied()
            && due <= now
        {
            self.due.pop();
            let track = if is_camera { Track::Camera } else { Track::Voice };
            let period = self.pace.period(track);
            let behind = now.saturating_duration_since(due);
            let next = if behind > period * OVERDUE { now + period } else { due + period };
            self.due.push(Reverse((next, place, is_camera)));
            let Some(page) = self.pages.get_mut(place) else { continue };
            if page.client.poll_timeout().is_some_and(|due| due <= now) {
                page.client.handle_timeout(now);
            }
            let mut packets = 0;
            if page.state == State::Connected {
                packets = say(page, track, self.pace, self.round, now);
            }
            let refused = flush(page, self.is_silent_on_stun, &mut self.datagrams);
            if self.round != 0 && packets > 0 {
                self.tally.sent += packets;
                self.tally.refused += refused;
                self.tally.lateness.note(behind);
            }
            self.heard(place)?;
            now = Instant::now();
        }
        Ok(())
    }

    fn receive(&mut self, patience: EpollTimeout) -> Result<(), CrowdError> {
        let mut events = [EpollEvent::empty(); EVENTS];
        let mut patience = patience;
        loop {
            let count = match self.epoll.wait(&mut events, patience) {
                Ok(count) => count,
                Err(Errno::EINTR) => 0,
                Err(error) => return Err(io::Error::from(error).into()),
            };
            for event in &events[..count] {
                self.read(event.data() as usize)?;
            }
            if count < EVENTS {
                return Ok(());
            }
            patience = EpollTimeout::ZERO;
        }
    }

    fn read(&mut self, place: usize) -> Result<(), CrowdError> {
        let Some(page) = self.pages.get_mut(place) else { return Ok(()) };
        let mut vectors = [IoSliceMut::new(&mut self.buffer[..])];
        let (length, arrived) = match recvmsg::<()>(page.socket.as_raw_fd(), &mut vectors, Some(&mut self.control), MsgFlags::MSG_DONTWAIT)
        {
            Ok(message) => {
                let stamp = message.cmsgs().ok().and_then(|mut all| {
                    all.find_map(|one| match one {
                        ControlMessageOwned::ScmTimestampns(at) => Some(Duration::from(at)),
                        _ => None,
                    })
                });
                (message.bytes, stamp)
            }
            // Nothing there, or news of something we sent.
            Err(_) => return Ok(()),
        };
        let Some(server) = page.server else { return Ok(()) };
        let now = Instant::now();
        page.client.handle_datagram(&mut self.buffer[..length], server, now);
        while let Some(event) = self.pages.get_mut(place).and_then(|page| page.client.poll_event()) {
            match event {
                Event::Media { payload, .. } => {
                    let Some(stamp) = payload.get(STAMP..).and_then(|rest| rest.first_chunk::<12>()) else { continue };
                    let (nanos, round) = (u64::from_be_bytes(first(stamp)), u32::from_be_bytes(last(stamp)));
                    if round != 0 && round == self.rounds {
                        self.tally.received += 1;
                        let arrived = arrived.unwrap_or_else(wall);
                        self.tally.latency.note(arrived.saturating_sub(Duration::from_nanos(nanos)));
                    }
                }
                event => self.note(place, &event, now)?,
            }
        }
        if let Some(page) = self.pages.get_mut(place) {
            flush(page, self.is_silent_on_stun, &mut self.datagrams);
        }
        Ok(())
    }

    /// Takes what a page has to say after time passed for it.
    fn heard(&mut self, place: usize) -> Result<(), CrowdError> {
        while let Some(event) = self.pages.get_mut(place).and_then(|page| page.client.poll_event()) {
            self.note(place, &event, Instant::now())?;
        }
        Ok(())
    }

    fn note(&mut self, place: usize, event: &Event, now: Instant) -> Result<(), CrowdError> {
        let Some(page) = self.pages.get_mut(place) else { return Ok(()) };
        let next = match event {
            Event::Connected => {
                self.set_up.note(now.saturating_duration_since(page.offered));
                State::Connected
            }
            Event::Failed(error) => return Err(error.clone().into()),
            Event::Closed => State::Gone,
            Event::ChannelOpen | Event::Text(_) | Event::Media { .. } | Event::Announcement { .. } | Event::KeyFrameWanted => return Ok(()),
        };
        if page.state == State::Joining {
            self.connecting -= 1;
        }
        page.state = next;
        Ok(())
    }
}

/// Gives a page the packets of one frame; returns how many.
fn say(page: &mut Page, track: Track, pace: Pace, round: u32, now: Instant) -> u64 {
    let mut payload = [0; PICTURE];
    payload[STAMP + 8..STAMP + 12].copy_from_slice(&round.to_be_bytes());
    let stamp = |payload: &mut [u8]| {
        // Nanoseconds since 1970 fit until 2554.
        payload[STAMP..STAMP + 8].copy_from_slice(&(wall().as_nanos() as u64).to_be_bytes());
    };
    match track {
        Track::Voice => {
            stamp(&mut payload);
            page.voice_stamp = page.voice_stamp.wrapping_add(960);
            page.client.send(track, page.voice_stamp, false, &payload[..VOICE], now);
            1
        }
        Track::Camera => {
            page.camera_stamp = page.camera_stamp.wrapping_add(90_000 / Pace::PICTURES);
            let octets = (pace.video_kbps * 1000 / 8 / Pace::PICTURES) as usize;
            let packets = octets.div_ceil(PICTURE).max(1);
            for number in 0..packets {
                // The start of a partition of a key frame; then its middle (RFC 7741 section 4.2).
                payload[0] = if number == 0 { 0x10 } else { 0 };
                let length = (octets / packets).max(STAMP + 12);
                stamp(&mut payload);
                page.client.send(track, page.camera_stamp, number + 1 == packets, &payload[..length], now);
            }
            packets as u64
        }
    }
}

/// Sends what a page has to send, all of it or only media; counts what the kernel took, and returns how many it did not.
fn flush(page: &mut Page, only_media: bool, datagrams: &mut u64) -> u64 {
    let mut refused = 0;
    while let Some(transmit) = page.client.poll_transmit() {
        // RFC 7983.
        let is_media = transmit.payload.first().is_some_and(|first| (128..192).contains(first));
        if only_media && !is_media {
            continue;
        }
        match page.socket.send(&transmit.payload) {
            Ok(_) => *datagrams += 1,
            Err(_) => refused += 1,
        }
    }
    refused
}

/// The time of day, which both ends and the kernel share.
fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn first(stamp: &[u8; 12]) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h, ..] = *stamp;
    [a, b, c, d, e, f, g, h]
}

fn last(stamp: &[u8; 12]) -> [u8; 4] {
    let [.., a, b, c, d] = *stamp;
    [a, b, c, d]
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.leave();
    }
}
