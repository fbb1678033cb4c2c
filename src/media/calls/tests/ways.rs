//! Where a call's media goes: pages that are away, and those who would like to have what is meant for them. In virtual time.

use super::*;
use crate::media::client::{Event, Track};
use crate::media::ice::Request;
use rtc_stun::attributes::{ATTR_USERNAME, AttrType, RawAttribute};
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_REQUEST, Message, Setter, TransactionId};
use rtc_stun::textattrs::TextAttribute;
use std::net::IpAddr;

const FRAME: Duration = Duration::from_millis(20);
/// The pages' ports; all others are somebody else's.
const PORTS: [u16; 2] = [4000, 4001];
const THIEF: u16 = 6666;

/// Two pages that talk all the time.
struct Duo {
    calls: Calls,
    clock: Clock,
    now: Instant,
    pages: [Client; 2],
    legs: [LegId; 2],
    /// Asleep, with its clock, and for how long it was.
    is_away: [bool; 2],
    missed: [Duration; 2],
    heard: [usize; 2],
    frames: u32,
    /// Requests of the first page come from the thief before they come from itself.
    is_raced: bool,
    /// The first page's last request.
    request: Vec<u8>,
    /// What was sent elsewhere and is no answer to a request.
    strayed: usize,
}

impl Duo {
    fn new() -> Self {
        let Scene { calls, clock, now, .. } = Scene::new(0);
        let page = || Client::new(client::Identity::generate().expect("ring"), false);
        let legs = [(); 2].map(|()| LegId::new(Uuid::now_v7()));
        let mut duo = Self {
            calls,
            clock,
            now,
            pages: [page(), page()],
            legs,
            is_away: [false; 2],
            missed: [Duration::ZERO; 2],
            heard: [0; 2],
            frames: 0,
            is_raced: false,
            request: Vec::new(),
            strayed: 0,
        };
        let call = CallId::new(Uuid::now_v7());
        for (place, side) in [Side::Client, Side::Companion].into_iter().enumerate() {
            let open = OpenLeg {
                call,
                side,
                leg: legs[place],
                offer: duo.pages[place].offer().to_owned(),
                medium: Medium::Audio,
                media_timeout: Span::from_s(5),
                quiet_timeout: Span::from_s(15),
                audio_required: false,
            };
            let answer = duo.calls.open(&open, now).expect("an acceptable offer");
            duo.pages[place].accept(&answer, now).expect("an answer that works");
        }
        duo.run(Duration::from_secs(1));
        assert!(duo.heard.iter().all(|heard| *heard > 20), "{:?}", duo.heard);
        duo
    }

    fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.step();
        }
    }

    fn step(&mut self) {
        self.now += FRAME;
        self.frames += 1;
        for (place, port) in PORTS.into_iter().enumerate() {
            if self.is_away[place] {
                self.missed[place] += FRAME;
                continue;
            }
            let now = self.now - self.missed[place];
            self.pages[place].handle_timeout(now);
            self.pages[place].send(Track::Voice, self.frames * 960, false, b"voice", now);
            while let Some(transmit) = self.pages[place].poll_transmit() {
                if place == 0 && transmit.payload[0] < 4 {
                    self.request.clone_from(&transmit.payload);
                    if self.is_raced {
                        self.carry(THIEF, &transmit.payload);
                    }
                }
                self.carry(port, &transmit.payload);
            }
        }
        while self.calls.do_chore(self.now) {}
        for (path, datagram) in std::mem::take(&mut self.calls.datagrams) {
            self.deliver(path, datagram);
        }
        if self.frames.is_multiple_of(5) {
            self.calls.tick(self.now);
        }
        self.calls.reports.clear();
    }

    /// Brings the server a datagram from this port.
    fn carry(&mut self, port: u16, datagram: &[u8]) {
        self.carry_to(None, port, datagram);
    }

    /// The same, to this address of the server.
    fn carry_to(&mut self, local: Option<IpAddr>, port: u16, datagram: &[u8]) {
        let mut buffer = [0; SLOT];
        buffer[..datagram.len()].copy_from_slice(datagram);
        let path = Path { peer: at(port), local, way: Way::Udp };
        if let Some((length, path)) = self.calls.datagram(&mut buffer, datagram.len(), path, self.now, self.clock.at(self.now)) {
            self.deliver(path, buffer[..length].to_vec());
        }
    }

    fn deliver(&mut self, path: Path, mut datagram: Vec<u8>) {
        let Some(place) = PORTS.iter().position(|port| *port == path.peer.port()) else {
            self.strayed += usize::from(datagram[0] >= 4);
            return;
        };
        if self.is_away[place] {
            return;
        }
        let now = self.now - self.missed[place];
        self.pages[place].handle_datagram(&mut datagram, at(7700), now);
        while let Some(event) = self.pages[place].poll_event() {
            assert!(!matches!(event, Event::Failed(_) | Event::Closed), "{event:?}");
            self.heard[place] += usize::from(matches!(event, Event::Media { .. }));
        }
    }

    fn leg(&self, place: usize) -> &Leg {
        self.calls.legs[self.calls.ids[&self.legs[place]]].as_ref().expect("a leg")
    }

    /// Voice packets of the first page, of which none was carried yet.
    fn voice(&mut self, count: u32) -> Vec<Vec<u8>> {
        for _ in 0..count {
            self.frames += 1;
            self.pages[0].send(Track::Voice, self.frames * 960, false, b"voice", self.now);
        }
        std::iter::from_fn(|| self.pages[0].poll_transmit().map(|transmit| transmit.payload)).collect()
    }

    /// The port of the first page to which media goes.
    fn port(&self) -> u16 {
        self.leg(0).path.map_or(0, |path| path.peer.port())
    }

    /// A check of the first page from another of its ports, without a nomination.
    fn check(&mut self, port: u16) {
        self.ask(None, port, false);
    }

    /// A request of the first page from this port to this address of the server.
    fn ask(&mut self, local: Option<IpAddr>, port: u16, nominates: bool) {
        let credentials = &self.leg(0).cold.credentials;
        let provider = rtc_crypto::default_provider().expect("a crypto provider");
        let name = TextAttribute::new(ATTR_USERNAME, format!("{}:page", credentials.ufrag_text()));
        let signature = MessageIntegrity::new_short_term_integrity_with_provider(credentials.password().to_owned(), provider.crypto());
        let mut setters: Vec<Box<dyn Setter + '_>> = vec![Box::new(BINDING_REQUEST), Box::new(TransactionId::new()), Box::new(name)];
        if nominates {
            setters.push(Box::new(RawAttribute { typ: AttrType(0x0025), length: 0, value: Vec::new() }));
        }
        setters.push(Box::new(signature));
        let mut message = Message::new();
        message.build(&setters).expect("in form");
        self.carry_to(local, port, &message.raw);
    }
}

#[test]
fn copies_of_a_nomination_take_nothing_from_a_page() {
    let mut duo = Duo::new();
    let before = duo.heard[0];
    for _ in 0..500 {
        duo.step();
        let copy = duo.request.clone();
        duo.carry(THIEF, &copy);
    }
    assert_eq!((duo.heard[0] - before, duo.strayed), (500, 0));
    assert_eq!(duo.leg(0).known().len(), 1, "nor are they known by their address");
    // They do not keep a page alive that is not.
    duo.is_away[0] = true;
    let (last, forwarded) = (duo.now, duo.calls.counts.forwarded);
    for _ in 0..600 {
        duo.step();
        let copy = duo.request.clone();
        duo.carry(THIEF, &copy);
    }
    assert!(duo.leg(0).proof <= last && duo.strayed == 0);
    assert!(duo.calls.counts.forwarded - forwarded <= 510, "media went on for more than 10 s");
}

#[test]
fn a_nomination_that_was_overtaken_by_its_copy_is_made_good_by_media() {
    let mut duo = Duo::new();
    duo.is_raced = true;
    let before = duo.heard[0];
    duo.run(Duration::from_secs(20));
    // Consent is asked for every 2.5 s; each copy costs four or five frames.
    let missed = 1000 - (duo.heard[0] - before);
    assert!((20..=40).contains(&missed), "{missed} of 1,000 missed");
    assert_eq!(duo.leg(0).path.map(|path| path.peer.port()), Some(PORTS[0]));
}

#[test]
fn a_nomination_that_is_repeated_from_where_it_came_first_moves_nothing() {
    // Remembered no more, it is taken once.
    let mut duo = Duo::new();
    duo.run(Duration::from_secs(5));
    let copy = duo.request.clone();
    duo.run(Duration::from_secs(200));
    let before = duo.heard[0];
    for frame in 0..1_000 {
        duo.step();
        if frame % 5 == 0 {
            duo.carry(THIEF, &copy);
        }
    }
    assert!(duo.heard[0] - before >= 990, "{} of 1,000 after a stale one", duo.heard[0] - before);
    // Overtaken once, and said again and again.
    let before = duo.request.clone();
    duo.is_raced = true;
    while duo.request == before {
        duo.step();
    }
    duo.is_raced = false;
    let copy = duo.request.clone();
    duo.run(Duration::from_secs(1));
    let before = duo.heard[0];
    for _ in 0..1_000 {
        duo.step();
        duo.carry(THIEF, &copy);
    }
    assert_eq!(duo.heard[0] - before, 1_000);
}

#[test]
fn stale_nominations_of_many_requests_hold_nothing_up() {
    let mut duo = Duo::new();
    let mut copies = Vec::new();
    for _ in 0..3_000 {
        duo.step();
        if copies.last() != Some(&duo.request) {
            copies.push(duo.request.clone());
        }
    }
    duo.run(Duration::from_secs(400));
    let before = duo.heard[0];
    for copy in &copies[..20] {
        duo.run(Duration::from_secs(1));
        duo.carry(THIEF, copy);
    }
    // Each costs the frames that it takes until media has said where the page is.
    let missed = 20 * 50 - (duo.heard[0] - before);
    assert!(missed <= 20 * 5, "{missed}");
}

#[test]
fn who_only_repeats_does_not_keep_a_page_from_another_way() {
    let mut duo = Duo::new();
    duo.run(Duration::from_secs(5));
    let copy = duo.request.clone();
    for _ in 0..3_000 {
        duo.now += Duration::from_millis(1);
        duo.carry(THIEF, &copy);
        duo.calls.datagrams.clear();
    }
    duo.ask(None, 5555, true);
    assert_eq!(duo.port(), 5555);
}

#[test]
fn a_second_restart_before_the_first_was_used_keeps_the_way_that_works() {
    let mut duo = Duo::new();
    duo.run(Duration::from_secs(5));
    let place = duo.calls.ids[&duo.legs[0]];
    for _ in 0..3 {
        duo.calls.renew(place).expect("there is room");
    }
    let request = duo.request.clone();
    let addressee = Request::read(&request).expect("in form").addressee;
    assert_eq!(duo.calls.directory.named(addressee), Some(place));
    assert_ne!(duo.leg(0).cold.credentials.ufrag(), addressee);
}

#[test]
fn a_check_without_nomination_moves_nothing_while_the_page_was_heard_lately() {
    let mut duo = Duo::new();
    duo.is_away[0] = true;
    duo.run(Duration::from_millis(2_900));
    duo.check(5555);
    duo.run(Duration::from_millis(60));
    assert_eq!(duo.strayed, 0);
    duo.run(Duration::from_millis(200));
    duo.check(5555);
    duo.run(Duration::from_millis(60));
    assert!(duo.strayed >= 3, "after 3 s any way is better");
}

#[test]
fn media_from_a_new_port_moves_the_way_there() {
    let mut duo = Duo::new();
    duo.check(5555);
    // What the page sends comes from there, as after a NAT forgot it.
    for frames in 1..=5 {
        duo.pages[0].send(Track::Voice, (duo.frames + frames) * 960, false, b"voice", duo.now);
    }
    let mut moved = Vec::new();
    while let Some(transmit) = duo.pages[0].poll_transmit() {
        duo.carry(5555, &transmit.payload);
        moved.push(duo.leg(0).path.map(|path| path.peer.port()) == Some(5555));
    }
    assert_eq!(moved, [false, false, false, false, true]);
}

#[test]
fn media_that_was_on_its_way_does_not_undo_a_nomination() {
    let mut duo = Duo::new();
    duo.check(5555);
    duo.ask(None, 5555, true);
    assert_eq!(duo.port(), 5555);
    for packet in duo.voice(20) {
        duo.carry(PORTS[0], &packet);
    }
    assert_eq!(duo.port(), 5555);
    // The page has never heard of it: a second later what it sends says where it is.
    duo.now += Duration::from_secs(1);
    let packet = duo.voice(1);
    duo.carry(PORTS[0], &packet[0]);
    assert_eq!(duo.port(), PORTS[0]);
    // Where one only repeats what the other says, media says at once who is who.
    let before = duo.request.clone();
    duo.is_raced = true;
    while duo.request == before {
        duo.step();
    }
    duo.is_raced = false;
    duo.run(Duration::from_millis(200));
    duo.ask(None, THIEF, true);
    for (place, packet) in duo.voice(5).iter().enumerate() {
        assert_eq!(duo.port(), THIEF, "{place}");
        duo.carry(PORTS[0], packet);
    }
    assert_eq!(duo.port(), PORTS[0]);
}

#[test]
fn a_nomination_that_comes_late_is_made_good_by_media() {
    let mut duo = Duo::new();
    duo.check(5555);
    duo.ask(None, 5555, true);
    // Asked before, on its way for longer.
    duo.ask(None, PORTS[0], true);
    let ports: Vec<u16> = duo
        .voice(6)
        .iter()
        .map(|packet| {
            duo.carry(5555, packet);
            duo.port()
        })
        .collect();
    assert_eq!(ports, [PORTS[0], PORTS[0], PORTS[0], PORTS[0], 5555, 5555]);
}

#[test]
fn a_check_to_another_of_our_addresses_moves_nothing() {
    let [one, other] = [1, 2].map(|last| Some(IpAddr::from([10, 0, 0, last])));
    let mut duo = Duo::new();
    let local = |duo: &Duo| duo.leg(0).path.and_then(|path| path.local);
    duo.ask(one, PORTS[0], true);
    duo.ask(other, PORTS[0], false);
    assert_eq!(local(&duo), one, "a check alone");
    let packets = duo.voice(6);
    for packet in &packets[..4] {
        duo.carry_to(other, PORTS[0], packet);
    }
    duo.carry_to(one, PORTS[0], &packets[4]);
    assert_eq!(local(&duo), one, "some media");
    duo.now += Duration::from_millis(900);
    duo.ask(other, PORTS[0], false);
    assert_eq!(local(&duo), one, "a check after a pause");
    // The page's port was heard, so it is not silent, whichever of our addresses it asked.
    duo.now += Duration::from_millis(900);
    duo.carry_to(other, PORTS[0], &packets[5]);
    assert_eq!(local(&duo), one, "media after a pause");
    duo.now += Duration::from_secs(3);
    duo.ask(other, PORTS[0], false);
    assert_eq!(local(&duo), other, "a check after a silence");
    duo.ask(one, PORTS[0], true);
    assert_eq!(local(&duo), one, "a nomination");
}

#[test]
fn a_fresh_address_has_sent_nothing_yet() {
    let mut duo = Duo::new();
    for port in 5001..=5007 {
        duo.check(port);
    }
    let packets = duo.voice(5);
    for packet in &packets[..4] {
        duo.carry(5001, packet);
    }
    duo.now += Duration::from_millis(10);
    for port in 5002..=5008 {
        duo.check(port);
    }
    let slot = duo.leg(0).known().iter().position(|known| known.path.peer.port() == 5008);
    assert_eq!(slot, Some(1), "it has the slot of 5001");
    duo.carry(5008, &packets[4]);
    assert_eq!(duo.port(), PORTS[0]);
}

#[test]
fn a_page_that_was_away_for_long_is_sent_nothing_meanwhile_and_hears_when_it_is_back() {
    let mut duo = Duo::new();
    duo.is_away[0] = true;
    let forwarded = duo.calls.counts.forwarded;
    duo.run(Duration::from_secs(11));
    let on_the_way = duo.calls.counts.forwarded - forwarded;
    assert!((495..=510).contains(&on_the_way), "{on_the_way} in the first 10 s");
    // More than half a round of sequence numbers.
    duo.run(Duration::from_secs(720));
    assert_eq!(duo.calls.counts.forwarded - forwarded, on_the_way);
    duo.is_away[0] = false;
    let before = duo.heard;
    duo.run(Duration::from_secs(5));
    let heard = [duo.heard[0] - before[0], duo.heard[1] - before[1]];
    assert!(heard.iter().all(|heard| *heard >= 245), "{heard:?} of 250 after the pause");
}
