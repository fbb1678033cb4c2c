//! Who is on the line from the pages' point of view: sockets, legs, devices, message numbers of one call.
//!
//! Nothing here is durable or decides anything of the call: losing a socket says nothing of a leg.

use super::allowance::Allowance;
use super::window::Window;
use crate::call::Side;
use crate::clock::Moment;
use crate::ids::{HoldId, LegId};
use crate::money::Money;
use signaling::code::Code;
use signaling::inbound::{SocketId, ToSocket};
use signaling::message::{ServerBody, ToPage, VERSION};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use tokio::sync::mpsc;

/// Sockets one party may have open at once (a page that reloads quickly has two for a moment); the oldest goes.
const MAX_SOCKETS: usize = 4;

/// Loads of a page whose message numbers are remembered; the oldest is forgotten.
const MAX_PAGES: usize = 16;

/// Both parties of a call.
#[derive(Debug, Default)]
pub(super) struct Parties {
    client: Party,
    companion: Party,
    /// What the client's wallet has left to spend, as last read.
    pub(super) available: Option<Money>,
    /// Purchases that a restart released: their names are used up.
    pub(super) released: BTreeSet<HoldId>,
}

/// One party.
#[derive(Debug, Default)]
pub(super) struct Party {
    sockets: Vec<Socket>,
    /// By the random text a page makes at each load.
    pages: BTreeMap<String, Page>,
    /// Which load of the page made which leg; the last one is the newest.
    legs: Vec<(LegId, String)>,
    /// The leg that is connected.
    pub(super) connected: Option<LegId>,
    /// Keys of taps that added time, or are being tried.
    pub(super) keys: BTreeSet<String>,
    /// Loads of the page whose place another one took; the oldest is forgotten.
    replaced: VecDeque<String>,
    /// Messages numbered so far.
    sent: u64,
    /// Times her link was withdrawn: what was asked for before counts no more.
    pub(super) withdrawn: u32,
    pub(super) devices: Devices,
    /// The leg that the media plane saw last, and when.
    pub(super) alive: Option<(LegId, Moment)>,
    /// Messages over data channels, and answers to those that were refused.
    pub(super) spoken: Allowance,
    pub(super) scolded: Allowance,
    /// The last leg whose browser can carry no video.
    pub(super) without_video: Option<LegId>,
}

/// Microphone and camera as the page last said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Devices {
    pub(super) audio: bool,
    pub(super) video: bool,
}

impl Default for Devices {
    fn default() -> Self {
        Self { audio: true, video: false }
    }
}

#[derive(Debug)]
struct Socket {
    id: SocketId,
    page: String,
    out: mpsc::Sender<ToSocket>,
}

#[derive(Debug)]
struct Page {
    window: Window,
    since: Moment,
}

impl Parties {
    pub(super) fn of(&self, side: Side) -> &Party {
        match side {
            Side::Client => &self.client,
            Side::Companion => &self.companion,
        }
    }

    pub(super) fn of_mut(&mut self, side: Side) -> &mut Party {
        match side {
            Side::Client => &mut self.client,
            Side::Companion => &mut self.companion,
        }
    }
}

impl Parties {
    /// A page has a socket open here.
    pub(super) fn is_watched(&self) -> bool {
        !self.client.sockets.is_empty() || !self.companion.sockets.is_empty()
    }
}

impl Party {
    /// Adds a socket of a page; the page's earlier socket goes without a word, it was replaced by itself.
    pub(super) fn add_socket(&mut self, id: SocketId, page: String, out: mpsc::Sender<ToSocket>) {
        self.sockets.retain(|s| s.page != page);
        if self.sockets.len() == MAX_SOCKETS {
            close(&self.sockets.remove(0), ServerBody::Replaced {});
        }
        self.sockets.push(Socket { id, page, out });
    }

    pub(super) fn remove_socket(&mut self, id: SocketId) {
        self.sockets.retain(|s| s.id != id);
    }

    /// When this leg was seen last, as far as was reported.
    pub(super) fn alive_at(&self, leg: LegId) -> Option<Moment> {
        self.alive.filter(|(seen, _)| *seen == leg).map(|(_, at)| at)
    }

    /// The load of the page that a socket belongs to.
    pub(super) fn page_of(&self, id: SocketId) -> Option<&str> {
        self.sockets.iter().find(|s| s.id == id).map(|s| s.page.as_str())
    }

    /// The load of the page that made a leg.
    pub(super) fn page_of_leg(&self, leg: LegId) -> Option<&str> {
        self.legs.iter().find(|(l, _)| *l == leg).map(|(_, page)| page.as_str())
    }

    /// The newest leg that a load of the page made.
    pub(super) fn leg_of(&self, page: &str) -> Option<LegId> {
        self.legs.iter().rev().find(|(_, p)| p == page).map(|(leg, _)| *leg)
    }

    /// Her browser, as of her newest leg, can carry no video.
    pub(super) fn is_audio_only(&self) -> bool {
        self.without_video.is_some_and(|leg| self.legs.last().is_some_and(|(newest, _)| *newest == leg))
    }

    /// True if this leg was made by this party and not replaced since.
    pub(super) fn has_leg(&self, leg: LegId) -> bool {
        self.legs.iter().any(|(l, _)| *l == leg)
    }

    pub(super) fn add_leg(&mut self, leg: LegId, page: String) {
        self.legs.push((leg, page));
    }

    /// A leg is up: earlier ones are history, and so are the sockets of the pages behind them.
    pub(super) fn leg_connected(&mut self, leg: LegId) {
        self.connected = Some(leg);
        let Some(at) = self.legs.iter().position(|(l, _)| *l == leg) else { return };
        let replaced: Vec<String> = self.legs.drain(..at).map(|(_, page)| page).collect();
        for page in &replaced {
            if self.replaced.len() == MAX_PAGES {
                self.replaced.pop_front();
            }
            self.replaced.push_back(page.clone());
        }
        let current = self.legs.first().map(|(_, page)| page.clone()).unwrap_or_default();
        self.sockets.retain(|socket| {
            let stays = socket.page == current || !replaced.contains(&socket.page);
            if !stays {
                close(socket, ServerBody::Replaced {});
            }
            stays
        });
    }

    /// Closes every socket with a last word.
    pub(super) fn close_all(&mut self, body: &ServerBody) {
        for socket in self.sockets.drain(..) {
            close(&socket, body.clone());
        }
    }

    /// Her link was withdrawn: all legs, which are hers no longer.
    pub(super) fn withdraw(&mut self) -> Vec<LegId> {
        self.withdrawn += 1;
        self.connected = None;
        self.legs.drain(..).map(|(leg, _)| leg).collect()
    }

    /// Whether another load of the page took this one's place: it must not take it back by itself.
    pub(super) fn was_replaced(&self, page: &str) -> bool {
        self.replaced.iter().any(|replaced| replaced == page) && self.legs.iter().all(|(_, current)| current != page)
    }

    pub(super) fn leg_gone(&mut self, leg: LegId) {
        self.legs.retain(|(l, _)| *l != leg);
        if self.connected == Some(leg) {
            self.connected = None;
        }
    }

    /// True the first time a load of the page shows this number.
    pub(super) fn is_new(&mut self, page: &str, seq: u64, now: Moment) -> bool {
        if !self.pages.contains_key(page) && self.pages.len() == MAX_PAGES {
            let oldest = self.pages.iter().min_by_key(|(_, p)| p.since).map(|(name, _)| name.clone());
            oldest.and_then(|name| self.pages.remove(&name));
        }
        self.pages.entry(page.to_owned()).or_insert(Page { window: Window::default(), since: now }).window.is_new(seq)
    }

    /// Numbers a message and hands it to every socket. Returns it as text for the data channel.
    pub(super) fn tell(&mut self, body: ServerBody) -> ToPage {
        self.sent += 1;
        let message = ToPage { v: VERSION, seq: self.sent, body };
        self.sockets.retain(|socket| deliver(socket, ToSocket::Message(Box::new(message.clone()))));
        message
    }

    /// Answers one socket; nothing is numbered.
    pub(super) fn answer(&mut self, id: SocketId, body: ServerBody) {
        self.sockets.retain(|socket| socket.id != id || deliver(socket, ToSocket::Message(Box::new(ToPage::once(body.clone())))));
    }
}

/// False if the socket is gone or does not read: its queue is full. Dropping the sender closes it; the page
/// comes back, is welcomed with the whole state, and has missed nothing that matters.
fn deliver(socket: &Socket, message: ToSocket) -> bool {
    let delivered = socket.out.try_send(message).is_ok();
    if !delivered {
        dropped_sockets().increment(1);
    }
    delivered
}

pub(super) fn dropped_sockets() -> metrics::Counter {
    metrics::counter!("lull_sockets_dropped_total", "code" => format!("{:?}", Code::SlowReader))
}

fn close(socket: &Socket, body: ServerBody) {
    // A full queue means the page reads nothing: dropping the sender is all that is left.
    let _ = socket.out.try_send(ToSocket::Close(Box::new(ToPage::once(body))));
}
