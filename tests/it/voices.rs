//! A landing and what the server plays, as a page hears it: pages of our own client at a shard without its socket, in virtual time. What
//! is measured is the sound that comes out of the page's decoder.

use lull::audio::Fader;
use lull::call::{Medium, Side};
use lull::clock::{Clock, Span};
use lull::ids::{CallId, LegId};
use lull::media::client::{Client, Event, Identity, Track};
use lull::media::stages::{BUFFER, Plane};
use lull::media::{Frames, OpenLeg, Play, Purpose, Tapped, Taps};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

const RATE: u32 = 48_000;
pub(crate) const FRAME: usize = 960;
const PACE: Duration = Duration::from_millis(20);

fn server() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 7700))
}

fn encoder() -> opus::Encoder {
    let mut encoder = opus::Encoder::new(RATE, opus::Channels::Mono, opus::Application::Voip).unwrap();
    encoder.set_bitrate(opus::Bitrate::Bits(32_000)).unwrap();
    encoder
}

/// A voice that never pauses: a tone that a companion could hum, with overtones.
struct Hum {
    encoder: opus::Encoder,
    place: usize,
}

impl Hum {
    fn new() -> Self {
        Self { encoder: encoder(), place: 0 }
    }

    fn next(&mut self) -> Vec<u8> {
        let sound: Vec<f32> = (self.place..self.place + FRAME)
            .map(|n| {
                let at = std::f32::consts::TAU * 220.0 * n as f32 / RATE as f32;
                0.2 * at.sin() + 0.1 * (2.0 * at).sin() + 0.05 * (3.0 * at).sin()
            })
            .collect();
        // 220 whole periods a second.
        self.place = (self.place + FRAME) % RATE as usize;
        self.encoder.encode_vec_float(&sound, 400).unwrap()
    }
}

/// What a page got on a track.
#[derive(Clone)]
struct Packet {
    at: Duration,
    index: u64,
    timestamp: u32,
    marker: bool,
    payload: Vec<u8>,
}

struct Page {
    client: Client,
    address: SocketAddr,
    leg: LegId,
    voice: Vec<Packet>,
    announced: Vec<Packet>,
}

/// A call on a plane.
struct Line {
    plane: Plane,
    call: CallId,
    begin: Instant,
    now: Instant,
    identity: Arc<Identity>,
    pages: BTreeMap<Side, Page>,
    next: u16,
    taps: Vec<Taps>,
    ticked: Instant,
}

impl Line {
    fn new() -> Self {
        #[expect(clippy::disallowed_methods, reason = "an instant to count from; it is moved by hand afterwards")]
        let (clock, now) = (Clock::start(), Instant::now());
        let mut plane = Plane::new(server(), clock).unwrap();
        let taps = plane.taps(2).unwrap();
        let call = CallId::new(Uuid::from_u128(1));
        Self { plane, call, begin: now, now, identity: Identity::generate().unwrap(), pages: BTreeMap::new(), next: 0, taps, ticked: now }
    }

    fn talking() -> Self {
        let mut line = Self::new();
        line.join(Side::Client);
        line.join(Side::Companion);
        line
    }

    /// Joins a page, in place of the side's earlier one, and waits until it is connected.
    fn join(&mut self, side: Side) {
        self.next += 1;
        let mut client = Client::new(self.identity.clone(), false);
        let leg = LegId::new(Uuid::from_u128(u128::from(self.next)));
        let open = OpenLeg {
            call: self.call,
            side,
            leg,
            offer: client.offer().to_owned(),
            medium: Medium::Audio,
            media_timeout: Span::from_s(5),
            quiet_timeout: Span::from_s(15),
            audio_required: false,
        };
        let answer = self.plane.open(&open, self.now).unwrap();
        client.accept(&answer, self.now).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 20_000 + self.next));
        let earlier = self.pages.insert(side, Page { client, address, leg, voice: Vec::new(), announced: Vec::new() });
        for _ in 0..100 {
            self.pass(1);
        }
        // What was heard is of the side, whichever page heard it.
        if let (Some(earlier), Some(page)) = (earlier, self.pages.get_mut(&side)) {
            page.voice.splice(0..0, earlier.voice);
            page.announced.splice(0..0, earlier.announced);
        }
    }

    fn deliver(&mut self, to: SocketAddr, datagram: &mut [u8]) {
        let since = self.now - self.begin;
        let Some(page) = self.pages.values_mut().find(|page| page.address == to) else { return };
        page.client.handle_datagram(datagram, server(), self.now);
        while let Some(event) = page.client.poll_event() {
            match event {
                Event::Media { index, timestamp, marker, payload, .. } => {
                    page.voice.push(Packet { at: since, index, timestamp, marker, payload: payload.to_vec() });
                }
                Event::Announcement { index, timestamp, marker, payload } => {
                    page.announced.push(Packet { at: since, index, timestamp, marker, payload: payload.to_vec() });
                }
                Event::Failed(error) => panic!("{error}"),
                _ => (),
            }
        }
    }

    /// Lets time pass and carries everything to where it belongs.
    fn pass(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
        let now = self.now;
        if now - self.ticked >= Duration::from_millis(100) {
            self.plane.tick(now);
            self.ticked = now;
        }
        let mut buffer = [0; BUFFER];
        loop {
            let mut moved = false;
            for side in [Side::Client, Side::Companion] {
                let Some(page) = self.pages.get_mut(&side) else { continue };
                page.client.handle_timeout(now);
                let from = page.address;
                while let Some(transmit) = self.pages.get_mut(&side).and_then(|page| page.client.poll_transmit()) {
                    moved = true;
                    buffer[..transmit.payload.len()].copy_from_slice(&transmit.payload);
                    if let Some((length, to)) = self.plane.forward(&mut buffer, transmit.payload.len(), from, now) {
                        self.deliver(to, &mut buffer[..length]);
                    }
                }
            }
            let replies: Vec<_> = self.plane.replies().collect();
            for (to, mut datagram) in replies {
                moved = true;
                self.deliver(to, &mut datagram);
            }
            if !moved {
                break;
            }
        }
        let mut frames = Vec::new();
        self.plane.frames(&mut buffer, now, |frame, to| frames.push((frame.to_vec(), to)));
        for (mut frame, to) in frames {
            self.deliver(to, &mut frame);
        }
    }

    fn page(&mut self, side: Side) -> &mut Page {
        self.pages.get_mut(&side).unwrap()
    }

    fn says(&mut self, side: Side, timestamp: u32, payload: &[u8]) {
        let now = self.now;
        self.page(side).client.send(Track::Voice, timestamp, false, payload, now);
    }

    /// A packet of the companion that was delayed.
    fn arrives(&mut self, datagram: &[u8]) {
        let mut buffer = [0; BUFFER];
        buffer[..datagram.len()].copy_from_slice(datagram);
        let (from, now) = (self.page(Side::Companion).address, self.now);
        if let Some((length, to)) = self.plane.forward(&mut buffer, datagram.len(), from, now) {
            self.deliver(to, &mut buffer[..length]);
        }
    }

    /// As if it was lost on the way: its sequence number is used up.
    fn loses(&mut self, side: Side, timestamp: u32, payload: &[u8]) {
        self.says(side, timestamp, payload);
        let page = self.page(side);
        while page.client.poll_transmit().is_some() {}
    }

    fn tapped(&mut self) -> Vec<Tapped> {
        self.taps.iter_mut().flat_map(|taps| std::iter::from_fn(|| taps.take()).collect::<Vec<_>>()).collect()
    }

    fn replace(&mut self, tapped: &Tapped, payload: &[u8]) -> bool {
        let mut buffer = [0; BUFFER];
        let sent = self.plane.replace((tapped.call, tapped.leg, tapped.index), payload, &mut buffer, self.now);
        match sent {
            Some((length, to)) => {
                self.deliver(to, &mut buffer[..length]);
                true
            }
            None => false,
        }
    }
}

/// A worker as simple as can be, around the fader of the product.
struct Fading {
    fader: Fader,
    leg: Option<LegId>,
    first_held: Option<u64>,
}

impl Fading {
    fn new() -> Self {
        Self { fader: Fader::new().unwrap(), leg: None, first_held: None }
    }

    /// What is to be sent in the packet's place.
    fn hear(&mut self, tapped: &Tapped) -> Option<Vec<u8>> {
        if self.leg.replace(tapped.leg).is_some_and(|leg| leg != tapped.leg) {
            self.fader.renew();
        }
        if tapped.held && self.first_held.is_none() {
            self.first_held = Some(tapped.index);
            self.fader.take_over();
        }
        let packet = lull::audio::Packet { index: tapped.index, timestamp: tapped.timestamp, at: tapped.at, payload: &tapped.payload };
        let made = self.fader.pass(&packet)?.to_vec();
        tapped.held.then_some(made)
    }
}

/// A companion who hums, and the worker that her voice is tapped for.
struct Landing {
    line: Line,
    hum: Hum,
    fading: Fading,
    timestamp: u32,
    /// Each so many packets, one is lost between the companion and the server; 0 for none.
    loss: u32,
    sent: u32,
    /// So many packets wait before one comes back from the worker.
    lag: usize,
    /// The worker sends back what it got.
    echoes: bool,
    made: Vec<(Tapped, Vec<u8>)>,
}

impl Landing {
    fn new() -> Self {
        let line = Line::talking();
        Self { line, hum: Hum::new(), fading: Fading::new(), timestamp: 77_000, loss: 0, sent: 0, lag: 0, echoes: false, made: Vec::new() }
    }

    fn run(&mut self, frames: usize) {
        for _ in 0..frames {
            let payload = self.hum.next();
            self.timestamp = self.timestamp.wrapping_add(FRAME as u32);
            self.sent += 1;
            if self.loss > 0 && self.sent.is_multiple_of(self.loss) {
                self.line.loses(Side::Companion, self.timestamp, &payload);
            } else {
                self.line.says(Side::Companion, self.timestamp, &payload);
            }
            self.line.pass(PACE.as_millis() as u64);
            for tapped in self.line.tapped() {
                let echo = (self.echoes && tapped.held).then(|| tapped.payload.to_vec());
                if let Some(made) = echo.or_else(|| self.fading.hear(&tapped)) {
                    self.made.push((tapped, made));
                }
            }
            while self.made.len() > self.lag {
                let (tapped, made) = self.made.remove(0);
                assert!(self.line.replace(&tapped, &made));
            }
        }
    }

    /// A packet of hers that is still on its way.
    fn delayed(&mut self) -> Vec<u8> {
        let payload = self.hum.next();
        self.timestamp = self.timestamp.wrapping_add(FRAME as u32);
        let (now, timestamp) = (self.line.now, self.timestamp);
        let page = self.line.page(Side::Companion);
        page.client.send(Track::Voice, timestamp, false, &payload, now);
        page.client.poll_transmit().unwrap().payload
    }

    fn tap(&mut self, purpose: Option<Purpose>) {
        self.line.plane.tap(self.line.call, Side::Companion, purpose);
    }

    fn heard(&mut self) -> Vec<Packet> {
        self.line.page(Side::Client).voice.clone()
    }
}

/// What comes out of a page's decoder, where a lost packet is concealed.
fn decode(packets: &[Packet]) -> Vec<f32> {
    let each = packets.iter().map(|packet| (packet.index, &packet.payload[..]));
    decode_all(each)
}

/// The same of indexes and payloads.
pub(crate) fn decode_all<'a>(packets: impl Iterator<Item = (u64, &'a [u8])>) -> Vec<f32> {
    let mut decoder = opus::Decoder::new(RATE, opus::Channels::Mono).unwrap();
    let mut sound = Vec::new();
    let mut last: Option<u64> = None;
    for (index, payload) in packets {
        let mut frame = [0.0; FRAME];
        for _ in last.map_or(index, |last| last + 1)..index {
            decoder.decode_float(&[], &mut frame, false).unwrap();
            sound.extend(frame);
        }
        last = Some(index);
        assert_eq!(decoder.decode_float(payload, &mut frame, false).unwrap(), FRAME);
        sound.extend(frame);
    }
    sound
}

pub(crate) fn level(sound: &[f32]) -> f32 {
    10.0 * (sound.iter().map(|sample| sample * sample).sum::<f32>() / sound.len() as f32 + 1e-12).log10()
}

/// The largest step from sample to sample: a click is a step that the sound itself does not make.
pub(crate) fn steepest(sound: &[f32]) -> f32 {
    sound.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max)
}

fn assert_without_gap(packets: &[Packet]) {
    for pair in packets.windows(2) {
        assert_eq!(pair[1].index, pair[0].index + 1, "after {:?}", pair[0].at);
        assert_eq!(pair[1].timestamp.wrapping_sub(pair[0].timestamp), FRAME as u32, "after {:?}", pair[0].at);
    }
}

#[test]
fn a_landing_fades_to_silence_without_a_gap_or_a_click() {
    let mut landing = Landing::new();
    landing.run(100);
    landing.tap(Some(Purpose::Analyse));
    landing.run(10);
    landing.tap(Some(Purpose::Replace));
    landing.run(1);
    let first = landing.fading.first_held.expect("held from the very next packet on");
    // 10 s down to silence, and a second of it.
    landing.fading.fader.fade(Span::from_s(10));
    landing.run(550);
    let heard = landing.heard();
    assert_eq!(heard.len(), 661);
    assert_without_gap(&heard);
    let sound = decode(&heard);
    let levels: Vec<f32> = sound.chunks(FRAME * 10).map(level).collect();
    let full = levels[5];
    assert!(levels[3..11].iter().all(|level| (level - full).abs() < 0.5), "{levels:?}");
    for (n, pair) in levels[11..].windows(2).enumerate() {
        assert!(pair[1] <= pair[0] + 0.3 || pair[1] < -80.0, "louder again at {n}: {levels:?}");
    }
    assert!(*levels.last().unwrap() < -90.0, "{levels:?}");
    let steady = steepest(&sound[FRAME * 20..FRAME * 100]);
    let switch = steepest(&sound[FRAME * 100..FRAME * 125]);
    assert!(switch < 1.5 * steady, "{switch} after {steady}");
    assert!(first > 0);
}

#[test]
fn a_landing_that_is_cancelled_gives_the_voice_back_as_it_is() {
    let mut landing = Landing::new();
    landing.tap(Some(Purpose::Analyse));
    landing.run(50);
    landing.tap(Some(Purpose::Replace));
    landing.fading.fader.fade(Span::from_s(2));
    landing.run(100);
    assert!(landing.fading.fader.is_silent());
    landing.fading.fader.rise();
    landing.run(80);
    assert!(landing.fading.fader.is_level());
    landing.tap(None);
    landing.run(100);
    let heard = landing.heard();
    assert_without_gap(&heard);
    // The same voice in the same packets, byte for byte.
    let mut again = Hum::new();
    let raw: Vec<Vec<u8>> = (0..330).map(|_| again.next()).collect();
    let same: Vec<bool> = heard.iter().zip(&raw).map(|(packet, raw)| packet.payload == *raw).collect();
    assert!(same[..50].iter().all(|same| *same) && same[230..].iter().all(|same| *same), "{same:?}");
    assert!(same[50..230].iter().filter(|same| **same).count() < 5, "all others were made by the worker");
    let sound = decode(&heard);
    let levels: Vec<f32> = sound.chunks(FRAME * 10).map(level).collect();
    assert!(levels[14] < levels[4] - 40.0 && (levels[24] - levels[4]).abs() < 0.5, "{levels:?}");
    let (steady, switch) = (steepest(&sound[FRAME * 20..FRAME * 50]), steepest(&sound[FRAME * 225..FRAME * 245]));
    assert!(switch < 1.5 * steady, "{switch} after {steady}");
}

#[test]
fn a_landing_over_a_lossy_line_loses_what_the_line_lost_and_no_more() {
    let mut landing = Landing::new();
    landing.loss = 13;
    landing.tap(Some(Purpose::Analyse));
    landing.run(60);
    landing.tap(Some(Purpose::Replace));
    landing.fading.fader.fade(Span::from_s(3));
    landing.lag = 3;
    landing.run(200);
    landing.tap(Some(Purpose::Analyse));
    landing.lag = 0;
    landing.run(60);
    let mut heard = landing.heard();
    heard.sort_by_key(|packet| packet.index);
    assert_eq!(heard.len(), 320 - 320 / 13);
    let first = heard[0].index;
    let missing: Vec<u64> = (0..320).filter(|n| heard.iter().all(|packet| packet.index != first + n)).collect();
    assert_eq!(missing, (0..320).filter(|n| (n + 1) % 13 == 0).collect::<Vec<_>>());
    assert!(heard.iter().all(|packet| packet.timestamp.wrapping_sub(heard[0].timestamp) == (packet.index - first) as u32 * FRAME as u32));
}

#[test]
fn a_landing_goes_on_over_a_reload_of_either_page() {
    let mut landing = Landing::new();
    landing.tap(Some(Purpose::Replace));
    landing.fading.fader.fade(Span::from_s(20));
    landing.run(50);
    // The companion's new page is a new source; not a packet of it is forwarded as it is.
    landing.line.join(Side::Companion);
    landing.hum = Hum::new();
    landing.run(50);
    // The client's new page hears the fade where it is.
    landing.line.join(Side::Client);
    landing.run(50);
    let heard = landing.heard();
    assert_eq!(heard.len(), 150);
    let levels: Vec<f32> = [&heard[..100], &heard[100..]].into_iter().flat_map(decode_anew).collect();
    assert!(levels.windows(2).all(|pair| pair[1] <= pair[0] + 0.8), "{levels:?}");
    let indexes: Vec<u64> = heard[..100].iter().map(|packet| packet.index).collect();
    assert!(indexes.windows(2).all(|pair| pair[1] == pair[0] + 1), "the numbers go on over the companion's reload: {indexes:?}");
    assert_eq!(landing.line.plane.dropped("spent") + landing.line.plane.dropped("unasked"), 0);
}

/// Levels by 200 ms, the first left out: decoder and page have just begun.
fn decode_anew(packets: &[Packet]) -> Vec<f32> {
    decode(packets).chunks(FRAME * 10).skip(1).map(level).collect()
}

#[test]
fn what_comes_late_belongs_to_the_side_of_the_switch_it_was_sent_on() {
    let mut landing = Landing::new();
    landing.echoes = true;
    landing.tap(Some(Purpose::Analyse));
    landing.run(3);
    let early = landing.delayed();
    landing.run(1);
    landing.tap(Some(Purpose::Replace));
    landing.line.arrives(&early);
    landing.lag = usize::MAX;
    landing.run(2);
    let later = landing.delayed();
    landing.run(1);
    landing.tap(Some(Purpose::Analyse));
    landing.line.arrives(&later);
    landing.run(2);
    let heard = landing.heard();
    let first = heard[0].index;
    // Of packets 0 to 9: 3 came after 4, and 7 after the second switch.
    assert_eq!(heard.iter().map(|packet| packet.index - first).collect::<Vec<_>>(), [0, 1, 2, 4, 3, 9, 10]);
    let held: Vec<u64> = landing.made.iter().map(|(tapped, _)| tapped.index - landing.made[0].0.index).collect();
    assert_eq!(held, [0, 1, 3, 2]);
    for (tapped, made) in std::mem::take(&mut landing.made) {
        assert!(landing.line.replace(&tapped, &made));
    }
    let mut indexes: Vec<u64> = landing.heard().iter().map(|packet| packet.index - first).collect();
    indexes.sort();
    assert_eq!(indexes, (0..11).collect::<Vec<_>>());
}

#[test]
fn a_worker_that_is_late_or_dead_is_dropped_and_the_voice_can_be_given_back() {
    let mut landing = Landing::new();
    landing.tap(Some(Purpose::Analyse));
    landing.run(10);
    landing.tap(Some(Purpose::Replace));
    landing.run(10);
    // Nothing comes back any more.
    landing.lag = usize::MAX;
    landing.run(100);
    assert_eq!(landing.heard().len(), 20, "what is held is never sent as it was");
    // What comes back after half a second is of no use; what is young enough still is.
    let made = std::mem::take(&mut landing.made);
    let taken: Vec<bool> = made.iter().map(|(tapped, made)| landing.line.replace(tapped, made)).collect();
    assert_eq!(taken.iter().filter(|taken| **taken).count(), 26, "{taken:?}");
    assert!(taken[74..].iter().all(|taken| *taken));
    assert_eq!(landing.line.plane.dropped("unasked"), 74);
    landing.line.plane.release(landing.line.call, Side::Companion, Span::from_s(2), landing.line.now);
    landing.run(150);
    // A tick of the shard may pass before it is noticed. The packet of that very instant is one of the third second.
    let heard = landing.heard().len() - 46;
    assert!((46..=51).contains(&heard), "{heard} of the third second");
}

#[test]
fn a_release_is_taken_back_by_a_new_order() {
    let mut landing = Landing::new();
    landing.tap(Some(Purpose::Replace));
    landing.run(1);
    landing.line.plane.release(landing.line.call, Side::Companion, Span::from_s(1), landing.line.now);
    landing.tap(Some(Purpose::Replace));
    landing.lag = usize::MAX;
    landing.run(100);
    assert_eq!(landing.heard().len(), 1);
    // There is nothing to give back of a voice that nobody holds.
    landing.tap(None);
    landing.line.plane.release(landing.line.call, Side::Companion, Span::ZERO, landing.line.now);
    landing.run(20);
    assert!(landing.line.tapped().is_empty());
}

#[test]
fn replacements_that_nobody_waits_for_are_dropped_and_counted() {
    let mut landing = Landing::new();
    landing.tap(Some(Purpose::Analyse));
    landing.run(5);
    landing.lag = usize::MAX;
    landing.tap(Some(Purpose::Replace));
    landing.run(3);
    let (tapped, _) = landing.made[1].clone();
    let before = landing.heard().len();
    let line = &mut landing.line;
    let other = |leg, index| Tapped { leg, index, ..tapped.clone() };
    let stranger = LegId::new(Uuid::from_u128(99));
    let client = line.page(Side::Client).leg;
    for wrong in [
        // Forwarded as it was, not there yet, of no leg, of the other leg, of another call.
        other(tapped.leg, tapped.index - 3),
        other(tapped.leg, tapped.index + 100),
        other(tapped.leg, tapped.index + 128),
        other(tapped.leg, u64::MAX),
        other(stranger, tapped.index),
        other(client, tapped.index),
        Tapped { call: CallId::new(Uuid::from_u128(77)), ..tapped.clone() },
    ] {
        assert!(!line.replace(&wrong, &[1, 2, 3]), "{wrong:?}");
    }
    assert!(!line.replace(&tapped, &[]), "nothing is no Opus");
    let (tapped, _) = landing.made[2].clone();
    assert!(landing.line.replace(&tapped, &[1, 2, 3]));
    assert!(!landing.line.replace(&tapped, &[1, 2, 3]), "once");
    assert!(!landing.line.replace(&landing.made[0].0.clone(), &[0; 4000]), "longer than any datagram");
    assert_eq!(landing.heard().len(), before + 1);
    assert_eq!(landing.line.plane.dropped("unasked"), 9);
    assert_eq!(landing.line.plane.dropped("no_room"), 1);
    // After the end nothing is taken, and nobody hears.
    let (call, now) = (landing.line.call, landing.line.now);
    landing.line.plane.stop(call, now);
    assert!(!landing.line.replace(&landing.made[0].0.clone(), &[1, 2, 3]));
    landing.tap(Some(Purpose::Analyse));
    landing.run(5);
    assert!(landing.line.tapped().is_empty());
    assert_eq!(landing.heard().len(), before + 1);
}

#[test]
fn a_tap_hears_the_client_before_there_is_a_companion_and_belongs_to_the_side() {
    let mut line = Line::new();
    line.join(Side::Client);
    line.plane.tap(line.call, Side::Client, Some(Purpose::Analyse));
    let mut heard = Vec::new();
    let mut talk = |line: &mut Line, count: u32| {
        for n in 0..count {
            // Time without packets is DTX: numbers go on by one.
            line.says(Side::Client, n * FRAME as u32 * 20, &[0x78, n as u8]);
            line.pass(20);
        }
        heard.extend(line.tapped());
        heard.len()
    };
    assert_eq!(talk(&mut line, 10), 10);
    line.join(Side::Companion);
    assert_eq!(talk(&mut line, 10), 20);
    line.join(Side::Client);
    assert_eq!(talk(&mut line, 10), 30);
    assert_eq!(line.page(Side::Companion).voice.len(), 20, "and is forwarded as ever");
    line.plane.tap(line.call, Side::Client, None);
    assert_eq!(talk(&mut line, 10), 30);
    for (n, tapped) in heard.iter().enumerate() {
        assert!(!tapped.held && tapped.side == Side::Client && tapped.payload[..] == [0x78, (n % 10) as u8], "{tapped:?}");
        assert_eq!(tapped.timestamp, (n % 10) as u32 * FRAME as u32 * 20);
    }
    assert!(heard[..10].windows(2).all(|pair| pair[1].index == pair[0].index + 1 && pair[1].at.since(pair[0].at) == Span::from_ms(20)));
    assert_ne!(heard[0].leg, heard[29].leg);
}

#[test]
fn a_full_queue_drops_copies_and_the_call_goes_on() {
    let mut line = Line::talking();
    line.plane.tap(line.call, Side::Client, Some(Purpose::Analyse));
    let most = 4096;
    for n in 0..most + 100 {
        line.says(Side::Client, n * FRAME as u32, &[7; 300]);
        if n % 16 == 0 {
            line.pass(20);
        }
    }
    line.pass(20);
    assert_eq!(line.page(Side::Companion).voice.len(), most as usize + 100);
    assert_eq!(line.plane.dropped("tap_full"), 100);
    let heard = line.tapped();
    assert_eq!(heard.len(), most as usize);
    assert!(heard.iter().all(|tapped| tapped.payload[..] == [7; 300]), "longer ones come whole");
}

/// A second of a tone.
fn chime() -> Frames {
    let mut encoder = encoder();
    let tone = |n: usize| 0.05 * (std::f32::consts::TAU * 660.0 * n as f32 / RATE as f32).sin();
    let frames = (0..50).map(|frame| {
        let sound: Vec<f32> = (frame * FRAME..(frame + 1) * FRAME).map(tone).collect();
        encoder.encode_vec_float(&sound, 400).unwrap().into()
    });
    frames.collect()
}

#[test]
fn a_chime_is_heard_on_the_second_track_beside_the_voice() {
    let mut landing = Landing::new();
    landing.run(20);
    let (call, now) = (landing.line.call, landing.line.now);
    landing.line.plane.play(call, Side::Client, Play::Once(chime()), now);
    landing.run(100);
    let now = landing.line.now;
    landing.line.plane.play(call, Side::Client, Play::Once(chime()), now);
    // The page is loaded again in the middle: the rest is heard by the new one.
    landing.run(20);
    landing.line.join(Side::Client);
    landing.run(50);
    assert!(landing.line.page(Side::Companion).announced.is_empty());
    let heard = landing.line.page(Side::Client).announced.clone();
    assert!((96..=100).contains(&heard.len()), "but for what was due while nobody was there: {}", heard.len());
    let first = &heard[..50];
    assert_without_gap(first);
    assert!(first[0].marker && first[1..].iter().all(|packet| !packet.marker));
    // The second one is due when we look for the first time.
    assert!(first[1..].windows(2).all(|pair| pair[1].at - pair[0].at == PACE));
    let sound = decode(first);
    let loud = level(&sound[FRAME * 5..FRAME * 45]);
    assert!((loud - 20.0 * (0.05_f32 / 2_f32.sqrt()).log10()).abs() < 1.0, "{loud} dB");
    // The second one: later by the time in between, and from nothing again on the new page.
    let pause = (heard[50].at - heard[49].at).as_millis() as u32;
    assert_eq!(heard[50].index, heard[49].index + 1);
    assert_eq!(heard[50].timestamp - heard[49].timestamp, pause * 48);
    assert!(heard[50].marker);
    let anew = heard.iter().rposition(|packet| packet.index == 0).unwrap();
    assert!((70..75).contains(&anew), "{anew}");
    assert!(landing.heard().len() > 180, "the voice went on");
}

#[test]
fn a_sound_while_waiting_repeats_until_it_is_stopped_and_pauses_for_a_chime() {
    let mut line = Line::new();
    line.join(Side::Client);
    let waiting: Frames = (0..7_u8).map(|n| bytes::Bytes::from(vec![0x78, n])).collect();
    line.plane.play(line.call, Side::Client, Play::Repeat(waiting), line.now);
    for _ in 0..1000 {
        line.pass(20);
    }
    let heard = line.page(Side::Client).announced.clone();
    assert_eq!(heard.len(), 1001);
    assert!(heard.iter().enumerate().all(|(n, packet)| packet.payload == [0x78, (n % 7) as u8]));
    assert_without_gap(&heard);
    line.plane.play(line.call, Side::Client, Play::Stop, line.now);
    for _ in 0..50 {
        line.pass(20);
    }
    assert_eq!(line.page(Side::Client).announced.len(), 1001);
    line.plane.play(line.call, Side::Client, Play::Repeat(chime()), line.now);
    line.pass(20);
    line.plane.stop(line.call, line.now);
    line.pass(500);
    assert_eq!(line.page(Side::Client).announced.len(), 1003, "a call that is over is silent");
}
