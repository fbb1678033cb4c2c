//! By which ways a page reaches its leg: UDP and TCP, IPv4 and IPv6, and what happens when the way changes or breaks.
//!
//! The pages are our own client on sockets of the test; TCP is framed here by RFC 4571, without the code under test. An ICE restart goes
//! through the running program, as a page would ask for it.
#![allow(clippy::disallowed_methods, reason = "the client is driven by real time")]

use crate::media::value;
use crate::peer::{PATIENCE, Peer};
use crate::server::Server;
use lull::call::{Medium, Side};
use lull::clock::{Clock, Span};
use lull::ids::{CallId, LegId};
use lull::media::client::{Client, Event, Identity, Track};
use lull::media::{JoinGuard, Media, OpenLeg, Settings, start};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep_until, timeout};
use uuid::Uuid;
use webrtc::peer_connection::SrtpProtectionProfile;

const FRAME: Duration = Duration::from_millis(20);

/// A media plane with one call in it.
struct Plane {
    media: Media,
    _guard: JoinGuard,
    call: CallId,
}

impl Plane {
    fn on(udp: &str) -> Self {
        // Reports nobody reads are dropped.
        let (reports, _) = mpsc::channel(1);
        let settings = Settings { udp: udp.parse().unwrap(), ..Settings::default() };
        let (media, guard) = start(settings, Clock::start(), reports).unwrap();
        Self { media, _guard: guard, call: CallId::new(Uuid::now_v7()) }
    }

    fn port(&self) -> u16 {
        self.media.addresses()[0].port()
    }

    async fn open(&self, side: Side, offer: String) -> String {
        let open = OpenLeg {
            call: self.call,
            side,
            leg: LegId::new(Uuid::now_v7()),
            offer,
            medium: Medium::Audio,
            media_timeout: Span::from_s(5),
            quiet_timeout: Span::from_s(15),
            audio_required: false,
        };
        self.media.open(open).await.unwrap().unwrap()
    }

    async fn join(&self, side: Side, transport: &'static str, ip: &str) -> Person {
        let client = Client::new(Identity::generate().unwrap(), false);
        let answer = self.open(side, client.offer().to_owned()).await;
        let person = Person::new(client, side, &answer, transport, ip.parse().unwrap()).await;
        assert_eq!(person.server.port(), self.port(), "{answer}");
        person
    }
}

/// An answer with one candidate of those it has. The client knows UDP only, so that is what it is told of TCP as well.
fn only(answer: &str, transport: &str, ip: IpAddr) -> String {
    let is_wanted = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        words[2] == transport && words[4].parse() == Ok(ip)
    };
    let kept = answer.split("\r\n").filter(|line| !line.starts_with("a=candidate:") || is_wanted(line));
    let lines: Vec<String> = kept.map(|line| line.replace(" tcp ", " udp ").replace(" tcptype passive", "")).collect();
    lines.join("\r\n")
}

enum Wire {
    Udp(UdpSocket),
    Tcp(TcpStream, Vec<u8>),
}

impl Wire {
    async fn open(transport: &str, server: SocketAddr) -> Self {
        if transport == "tcp" {
            let stream = TcpStream::connect(server).await.unwrap();
            stream.set_nodelay(true).unwrap();
            return Self::Tcp(stream, Vec::new());
        }
        let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).await.unwrap();
        socket.connect(server).await.unwrap();
        Self::Udp(socket)
    }

    async fn send(&mut self, datagram: &[u8]) {
        match self {
            Self::Udp(socket) => drop(socket.send(datagram).await),
            Self::Tcp(stream, _) => drop(stream.write_all(&framed(datagram)).await),
        }
    }

    /// The next datagram; never one on a connection that is closed. Dropping the future loses nothing.
    async fn receive(&mut self) -> Vec<u8> {
        match self {
            Self::Udp(socket) => {
                let mut buffer = [0; 2048];
                let length = socket.recv(&mut buffer).await.unwrap();
                buffer[..length].to_vec()
            }
            Self::Tcp(stream, held) => loop {
                if let Some((head, rest)) = held.split_first_chunk::<2>()
                    && let Some(datagram) = rest.get(..usize::from(u16::from_be_bytes(*head)))
                {
                    let datagram = datagram.to_vec();
                    held.drain(..2 + datagram.len());
                    return datagram;
                }
                if stream.read_buf(held).await.unwrap_or(0) == 0 {
                    std::future::pending::<()>().await;
                }
            },
        }
    }
}

fn framed(datagram: &[u8]) -> Vec<u8> {
    let mut octets = u16::try_from(datagram.len()).unwrap().to_be_bytes().to_vec();
    octets.extend_from_slice(datagram);
    octets
}

/// A page that says one word all the time.
struct Person {
    client: Client,
    /// Asks and answers for it by other credentials, once ICE was restarted: of this one nothing is used but its checks.
    restarted: Option<Client>,
    wire: Wire,
    server: SocketAddr,
    words: &'static str,
    timestamp: u32,
    due: Instant,
    /// A connection is new: nothing is said on it but checks, until one was answered (RFC 8445 section 12.1).
    checks_only: bool,
}

impl Person {
    async fn new(mut client: Client, side: Side, answer: &str, transport: &'static str, ip: IpAddr) -> Self {
        client.accept(&only(answer, transport, ip), Instant::now()).unwrap();
        let &[server] = client.servers() else { panic!("{answer}") };
        assert_eq!(server.ip(), ip);
        let wire = Wire::open(transport, server).await;
        let words = if side == Side::Client { "client" } else { "companion" };
        Self { client, restarted: None, wire, server, words, timestamp: 0, due: Instant::now(), checks_only: false }
    }

    /// Runs for a moment: until something arrived or is due. What happened, if anything did.
    async fn turn(&mut self) -> Option<Event> {
        while let Some(transmit) = self.client.poll_transmit() {
            assert_eq!(transmit.to, self.server);
            let is_check = transmit.payload[0] < 4;
            if is_check && self.restarted.is_some() {
                continue;
            }
            if !self.checks_only || is_check {
                self.wire.send(&transmit.payload).await;
            }
        }
        while let Some(transmit) = self.restarted.as_mut().and_then(Client::poll_transmit) {
            assert!(transmit.to == self.server && transmit.payload[0] < 4, "there is no second handshake");
            self.wire.send(&transmit.payload).await;
        }
        if let Some(event) = self.client.poll_event() {
            return Some(event);
        }
        let checks = self.restarted.as_ref().and_then(Client::poll_timeout);
        let wake = [self.client.poll_timeout(), checks].into_iter().flatten().fold(self.due, Instant::min);
        tokio::select! {
            mut datagram = self.wire.receive() => {
                self.checks_only = false;
                let client = self.restarted.as_mut().filter(|_| datagram[0] < 4).unwrap_or(&mut self.client);
                client.handle_datagram(&mut datagram, self.server, Instant::now());
            }
            () = sleep_until(wake.into()) => (),
        }
        let now = Instant::now();
        self.client.handle_timeout(now);
        if let Some(restarted) = &mut self.restarted {
            restarted.handle_timeout(now);
        }
        if now >= self.due {
            self.due = now + FRAME;
            self.timestamp = self.timestamp.wrapping_add(960);
            self.client.send(Track::Voice, self.timestamp, false, self.words.as_bytes(), now);
        }
        None
    }

    /// Takes another wire, as a phone that comes into another network.
    async fn rewire(&mut self, transport: &'static str) {
        self.wire = Wire::open(transport, self.server).await;
        self.checks_only = transport == "tcp";
    }
}

/// Runs both until each has heard the other so often.
async fn hear_each_other(one: &mut Person, two: &mut Person, times: usize) {
    let mut left = [times; 2];
    let wait = async {
        while left != [0, 0] {
            let (place, words, event) = tokio::select! {
                event = one.turn() => (0, two.words, event),
                event = two.turn() => (1, one.words, event),
            };
            match event {
                Some(Event::Media { payload, .. }) => {
                    // What was on its way when somebody took other words is how those begin.
                    assert!(words.as_bytes().starts_with(&payload), "{payload:?}");
                    left[place] = left[place].saturating_sub(usize::from(payload.len() == words.len()));
                }
                Some(event @ (Event::Closed | Event::Failed(_))) => panic!("{event:?}"),
                _ => (),
            }
        }
    };
    let heard = timeout(PATIENCE, wait).await;
    assert!(heard.is_ok(), "not heard: client {}, companion {}", left[0], left[1]);
}

#[tokio::test]
async fn people_hear_each_other_by_udp_and_over_tcp_in_both_families() {
    for (listen, [client, companion]) in [
        ("127.0.0.1:0", [("tcp", "127.0.0.1"), ("udp", "127.0.0.1")]),
        ("127.0.0.1:0", [("tcp", "127.0.0.1"), ("tcp", "127.0.0.1")]),
        ("[::1]:0", [("udp", "::1"), ("tcp", "::1")]),
        ("[::]:0", [("udp", "127.0.0.1"), ("tcp", "127.0.0.1")]),
    ] {
        let plane = Plane::on(listen);
        let mut one = plane.join(Side::Client, client.0, client.1).await;
        let mut two = plane.join(Side::Companion, companion.0, companion.1).await;
        hear_each_other(&mut one, &mut two, 50).await;
    }
}

#[tokio::test]
async fn a_page_may_change_its_address_or_its_way_in_mid_call() {
    let plane = Plane::on("127.0.0.1:0");
    let mut client = plane.join(Side::Client, "udp", "127.0.0.1").await;
    let mut companion = plane.join(Side::Companion, "tcp", "127.0.0.1").await;
    hear_each_other(&mut client, &mut companion, 5).await;
    // A new port, as behind a NAT that forgot; UDP that is blocked from now on; a connection that broke; and back.
    for (mine, hers) in [("udp", None), ("tcp", None), ("tcp", Some("tcp")), ("udp", Some("udp"))] {
        let begun = Instant::now();
        client.rewire(mine).await;
        if let Some(hers) = hers {
            companion.rewire(hers).await;
        }
        hear_each_other(&mut client, &mut companion, 25).await;
        println!("{mine} {hers:?}: heard again after {} ms", begun.elapsed().as_millis());
    }
}

/// How long voices may be gone over an ICE restart, which is what the product promises.
const RESTART: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn voices_go_on_after_an_ice_restart_from_another_network() {
    let server = Server::start("");
    let call = server.vendor("House").call(600, 10_000);
    let (mut people, mut answers) = (Vec::new(), Vec::new());
    for (side, token) in [(Side::Client, &call.client), (Side::Companion, &call.companion)] {
        let client = Client::new(Identity::generate().unwrap(), false);
        let answer = server.as_party("POST", "/v1/join", token, client.offer());
        assert_eq!(answer.status, 201, "{answer:?}");
        people.push(Person::new(client, side, &answer.text, "udp", Ipv4Addr::LOCALHOST.into()).await);
        answers.push(answer);
    }
    let [client, companion] = &mut people[..] else { panic!("two") };
    hear_each_other(client, companion, 5).await;

    // Twice: the second restart comes to credentials that were restarted.
    let mut credentials = credentials_of(&answers[0].text);
    for words in ["client again", "client again and again"] {
        // Its offer is never sent: it is where fresh credentials are drawn.
        let mut checks = Client::new(Identity::generate().unwrap(), false);
        let fresh =
            format!("a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n", value(checks.offer(), "a=ice-ufrag:"), value(checks.offer(), "a=ice-pwd:"));
        let fragment = server.as_party("PATCH", answers[0].header("location"), &call.client, &fresh);
        assert_eq!(fragment.status, 200, "{fragment:?}");
        let renewed = credentials_of(&fragment.text);
        assert!(renewed.iter().zip(&credentials).all(|(new, old)| new != old), "{fragment:?}");
        let answer = &answers[0].text;
        let answer = credentials_of(answer).iter().zip(&renewed).fold(answer.clone(), |answer, (old, new)| answer.replace(old, new));
        checks.accept(&only(&answer, "udp", client.server.ip()), Instant::now()).unwrap();
        credentials = renewed;
        (client.restarted, client.words) = (Some(checks), words);
        client.rewire("udp").await;
        let heard = timeout(RESTART, hear_each_other(client, companion, 25)).await;
        assert!(heard.is_ok(), "not heard in time after a restart: {words}");
    }
}

/// The server's ICE user name and password.
fn credentials_of(text: &str) -> [String; 2] {
    ["a=ice-ufrag:", "a=ice-pwd:"].map(|key| value(text, key).to_owned())
}

/// A NAT between the server and a peer: what it takes goes on from a socket that can be exchanged.
struct Nat {
    inside: SocketAddr,
    forget: watch::Sender<()>,
}

impl Nat {
    async fn before(server: SocketAddr) -> Self {
        let inside = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = inside.local_addr().unwrap();
        let (forget, mut forgotten) = watch::channel(());
        tokio::spawn(async move {
            let bind = async || UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let mut outside = bind().await;
            let mut peer = None;
            let (mut up, mut down) = ([0; 2048], [0; 2048]);
            loop {
                tokio::select! {
                    Ok((length, from)) = inside.recv_from(&mut up) => {
                        peer = Some(from);
                        drop(outside.send_to(&up[..length], server).await);
                    }
                    Ok((length, _)) = outside.recv_from(&mut down) => {
                        if let Some(peer) = peer {
                            drop(inside.send_to(&down[..length], peer).await);
                        }
                    }
                    changed = forgotten.changed() => match changed {
                        Ok(()) => outside = bind().await,
                        Err(_) => break,
                    },
                }
            }
        });
        Self { inside: address, forget }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nat_that_forgets_its_binding_costs_a_peer_a_moment() {
    let plane = Plane::on("127.0.0.1:0");
    let server = plane.media.addresses()[0];
    let nat = Nat::before(server).await;
    let profile = SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm;
    let (mut client, mut companion) = (Peer::new(profile).await, Peer::new(profile).await);
    let answer = only(&plane.open(Side::Client, client.offer().await).await, "udp", server.ip());
    client.accept(answer.replace(&server.port().to_string(), &nat.inside.port().to_string())).await;
    companion.accept(plane.open(Side::Companion, companion.offer().await).await).await;
    client.talk(b"before");
    companion.talk(b"companion");
    companion.hears(b"before").await;
    client.hears(b"companion").await;
    for words in [&b"after"[..], b"and once more"] {
        let begun = Instant::now();
        nat.forget.send(()).unwrap();
        client.talk(words);
        companion.hears(words).await;
        while client.heard.try_recv().is_ok() {}
        client.hears_packets(10).await;
        println!("heard again after {} ms", begun.elapsed().as_millis());
    }
}

/// Whether the server closes the connection, rather than to wait for more.
async fn is_closed(mut stream: TcpStream) -> bool {
    let mut buffer = [0; 64];
    matches!(timeout(PATIENCE, stream.read(&mut buffer)).await, Ok(Ok(0) | Err(_)))
}

#[tokio::test]
async fn strangers_on_tcp_are_shown_out_and_the_call_goes_on() {
    let plane = Plane::on("127.0.0.1:0");
    let mut client = plane.join(Side::Client, "tcp", "127.0.0.1").await;
    let mut companion = plane.join(Side::Companion, "udp", "127.0.0.1").await;
    hear_each_other(&mut client, &mut companion, 5).await;
    let server = client.server;

    // A binding request for somebody who is not here (RFC 8489 section 5): header, USERNAME.
    let mut request = vec![0, 1, 0, 16, 0x21, 0x12, 0xa4, 0x42];
    request.extend([7; 12]);
    request.extend([0, 6, 0, 12]);
    request.extend(b"nobody12:abc");
    let many = framed(&request).repeat(40);
    let too_long = [&framed(&request)[..], &[0xff, 0xff, 0, 1]].concat();
    for (what, octets) in [
        ("no STUN", &b"\0\x05GET /"[..]),
        ("media of nobody", &framed(&[0x80; 100])),
        ("DTLS of nobody", &framed(&[22; 100])),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("a length nobody sends", &too_long),
        ("guesses without end", &many),
    ] {
        let mut stream = TcpStream::connect(server).await.unwrap();
        stream.write_all(octets).await.unwrap();
        assert!(is_closed(stream).await, "{what}");
    }

    // Who only holds the line gives way to the next.
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(server).await.unwrap());
    }
    assert!(is_closed(silent.swap_remove(0)).await);
    hear_each_other(&mut client, &mut companion, 25).await;
    client.rewire("tcp").await;
    hear_each_other(&mut client, &mut companion, 25).await;
}

#[tokio::test]
async fn without_tcp_nobody_is_sent_there() {
    let (reports, _) = mpsc::channel(1);
    let settings = Settings { udp: "127.0.0.1:0".parse().unwrap(), tcp: false, ..Settings::default() };
    let (media, guard) = start(settings, Clock::start(), reports).unwrap();
    let plane = Plane { media, _guard: guard, call: CallId::new(Uuid::now_v7()) };
    let client = Client::new(Identity::generate().unwrap(), false);
    let answer = plane.open(Side::Client, client.offer().to_owned()).await;
    assert!(answer.contains(" udp ") && !answer.contains(" tcp "), "{answer}");
    assert!(TcpStream::connect(plane.media.addresses()[0]).await.is_err());
}
