//! A [`Client`] with a UDP socket of its own, driven by whoever awaits its next event.
//!
//! The only part of the client that does IO and reads the clock.
#![allow(clippy::disallowed_methods, reason = "the shell of the client: it tells the time to the rest")]

use super::{Client, ClientError, Event, Track};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;
use tokio::time::{sleep_until, timeout_at};

/// The longest datagram taken.
const DATAGRAM_LIMIT: usize = 2048;
/// Wake up at least this often; a client without timers has nothing to wait for anyway.
const IDLE: Duration = Duration::from_secs(1);

/// Why a client does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The server's answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// No socket.
    #[error("cannot open a UDP socket: {0}")]
    Socket(#[from] io::Error),
}

/// A client that is connecting or connected.
pub struct Driven {
    client: Client,
    socket: UdpSocket,
    buffer: Box<[u8; DATAGRAM_LIMIT]>,
}

impl Driven {
    /// Takes the answer to the client's offer and opens a socket of the family the server lists first choice in (IPv4
    /// where it lists both).
    pub async fn start(mut client: Client, answer: &str) -> Result<Self, StartError> {
        client.accept(answer, Instant::now())?;
        let any: SocketAddr = if client.servers().iter().any(SocketAddr::is_ipv4) {
            (Ipv4Addr::UNSPECIFIED, 0).into()
        } else {
            (Ipv6Addr::UNSPECIFIED, 0).into()
        };
        Ok(Self { client, socket: UdpSocket::bind(any).await?, buffer: Box::new([0; DATAGRAM_LIMIT]) })
    }

    /// The next event; none when `until` comes first. Dropping the future loses nothing.
    pub async fn next(&mut self, until: Instant) -> Option<Event> {
        loop {
            self.flush();
            if let Some(event) = self.client.poll_event() {
                return Some(event);
            }
            let now = Instant::now();
            if now >= until {
                return None;
            }
            let wake = self.client.poll_timeout().unwrap_or(now + IDLE).min(until);
            tokio::select! {
                ready = self.socket.readable() => {
                    if ready.is_err() {
                        sleep_until(wake.into()).await;
                    }
                    // One datagram each time round, so that none is taken and lost.
                    if let Ok((len, from)) = self.socket.try_recv_from(&mut self.buffer[..]) {
                        self.client.handle_datagram(&mut self.buffer[..len], from, Instant::now());
                    }
                }
                () = sleep_until(wake.into()) => (),
            }
            self.client.handle_timeout(Instant::now());
        }
    }

    /// See [`Client::send`].
    pub fn send(&mut self, track: Track, timestamp: u32, marker: bool, payload: &[u8]) {
        self.client.send(track, timestamp, marker, payload, Instant::now());
        self.flush();
    }

    /// See [`Client::send_text`].
    pub fn send_text(&mut self, text: String) {
        self.client.send_text(text, Instant::now());
        self.flush();
    }

    /// See [`Client::request_key_frame`].
    pub fn request_key_frame(&mut self) {
        self.client.request_key_frame(Instant::now());
        self.flush();
    }

    /// See [`Client::sends_video`].
    pub fn sends_video(&self) -> bool {
        self.client.sends_video()
    }

    /// Says goodbye to the server.
    pub async fn close(mut self) {
        self.client.close(Instant::now());
        // The goodbye is one datagram; a socket that takes none for so long is of no use.
        let _ = timeout_at((Instant::now() + IDLE).into(), self.socket.writable()).await;
        self.flush();
    }

    /// Sends what waits. What the socket does not take now is lost, as it may be on the way.
    fn flush(&mut self) {
        while let Some(transmit) = self.client.poll_transmit() {
            let _ = self.socket.try_send_to(&transmit.payload, transmit.to);
        }
    }
}
