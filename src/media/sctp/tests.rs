//! A page that knows SCTP and means harm: what it can make this end keep, and say.

use super::*;
use crate::media::client::fuzzing::{chunk, packet};

/// What the page calls itself, and its first transmission number.
const TAG: u32 = 77;
const FIRST: u32 = 0xFFFF_FFF0;
const BEGINS: u8 = 2;
const ENDS: u8 = 1;
const UNORDERED: u8 = 4;

fn start() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "an instant to count from")]
    Instant::now()
}

/// An association that the page opened.
struct Scene {
    control: Control,
    now: Instant,
    tag: u32,
    next: u32,
}

impl Scene {
    /// Up to the cookie, which the page may keep to itself.
    fn greet() -> (Self, Vec<u8>) {
        let now = start();
        let mut control = Control::new();
        control.begin(now);
        let init = [&TAG.to_be_bytes()[..], &0x0001_0000_u32.to_be_bytes(), &[0xFF; 4], &FIRST.to_be_bytes()].concat();
        control.read(packet(0, &chunk(1, 0, &init)), now);
        let ack = control.out.pop_front().expect("INIT ACK");
        assert_eq!(ack[12], 2);
        let tag = u32::from_be_bytes(*ack[16..].first_chunk().expect("a tag"));
        // The state cookie, parameter 7.
        let mut parameters = &ack[32..];
        while parameters[..2] != [0, 7] {
            parameters = &parameters[usize::from(u16::from_be_bytes([parameters[2], parameters[3]])).next_multiple_of(4)..];
        }
        let cookie = parameters[4..usize::from(u16::from_be_bytes([parameters[2], parameters[3]]))].to_vec();
        (Self { control, now, tag, next: FIRST }, cookie)
    }

    fn new() -> Self {
        let (mut scene, cookie) = Self::greet();
        assert_eq!(scene.send(&chunk(10, 0, &cookie)), [11]);
        scene
    }

    /// Sends a packet; returns the kinds of the first chunks of what came back at once or after a while.
    fn send(&mut self, chunks: &[u8]) -> Vec<u8> {
        self.control.read(packet(self.tag, chunks), self.now);
        self.now += Duration::from_millis(250);
        self.control.handle_timeout(self.now);
        self.control.out.drain(..).map(|packet| packet[12]).collect()
    }

    /// So many DATA chunks of this length under the next numbers.
    fn data(&mut self, count: usize, len: usize, mut of: impl FnMut(usize) -> (u8, u16, u16)) -> Vec<u8> {
        let chunks = (0..count).map(|place| {
            let (flags, stream, number) = of(place);
            let header = [
                self.next.to_be_bytes(),
                [stream.to_be_bytes(), number.to_be_bytes()].concat().try_into().expect("four"),
                51_u32.to_be_bytes(),
            ];
            self.next = self.next.wrapping_add(1);
            chunk(0, flags, &[header.as_flattened(), &vec![b'x'; len]].concat())
        });
        chunks.collect::<Vec<_>>().concat()
    }

    /// Opens the channel on stream 1 and says a word.
    fn open(&mut self) {
        let message = [&[3, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0][..], b"control"].concat();
        let header = [&self.next.to_be_bytes()[..], &[0, 1, 0, 0, 0, 0, 0, 50], &message].concat();
        self.next = self.next.wrapping_add(1);
        self.control.read(packet(self.tag, &chunk(0, BEGINS | ENDS, &header)), self.now);
        let answer = self.control.out.pop_front().expect("the channel is taken");
        assert_eq!(answer[12], 0);
        let sack = [&answer[16..20], &0x0001_0000_u32.to_be_bytes(), &[0; 4]].concat();
        assert_eq!(self.send(&chunk(3, 0, &sack)), [3]);
    }
}

#[test]
fn a_panic_of_the_library_ends_the_channel_and_nothing_else() {
    let now = start();
    let mut control = Control::new();
    control.begin(now);
    control.send("kept for the channel".to_owned(), now);
    control.contain(|_| panic!("as a library would"));
    assert_eq!((control.due(), control.waiting.len()), (None, 0));
    control.contain(|_| unreachable!("nothing is asked of it any more"));
}

#[test]
fn a_page_that_opens_the_channel_is_heard_and_answered() {
    let mut scene = Scene::new();
    scene.open();
    let word = scene.data(1, 5, |_| (BEGINS | ENDS, 1, 1));
    assert_eq!(scene.send(&word), [3]);
    assert_eq!(scene.control.heard, ["xxxxx"]);
    scene.control.send("you too".to_owned(), scene.now);
    assert_eq!(scene.control.out.len(), 1);
}

#[test]
fn resets_of_streams_are_not_kept() {
    let mut scene = Scene::new();
    scene.open();
    for number in 0..1_000_u32 {
        // Of a moment that never comes, so they would be looked at again for each number that arrives.
        let later = FIRST.wrapping_add(1 << 30).to_be_bytes();
        let request = [&[0, 13, 0, 18][..], &number.to_be_bytes(), &[0; 4], &later, &[0, 1, 0, 0]].concat();
        let answers = scene.send(&chunk(130, 0, &request).repeat(30));
        assert!(answers.len() <= 1, "{} packets for one", answers.len());
    }
    let words = scene.data(64, 1, |place| (BEGINS | ENDS, 1, 1 + place as u16));
    assert_eq!(scene.send(&words), [3], "one word for all");
    assert_eq!(scene.control.heard.len(), QUEUE_LIMIT);
}

/// A RE-CONFIG chunk that asks to reset this stream after the number before the next.
fn reset(scene: &Scene, number: u32, stream: u16) -> Vec<u8> {
    let last = scene.next.wrapping_sub(1).to_be_bytes();
    chunk(130, 0, &[&[0, 13, 0, 18][..], &number.to_be_bytes(), &[0; 4], &last, &stream.to_be_bytes()].concat())
}

#[test]
fn a_stream_that_is_reset_is_told_so_and_the_channel_lives_on() {
    let mut scene = Scene::new();
    scene.open();
    for number in 0..200 {
        let other = scene.data(1, 1, |_| (BEGINS | ENDS, 3, 0));
        assert_eq!(scene.send(&other), [3]);
        scene.control.read(packet(scene.tag, &reset(&scene, number, 3)), scene.now);
        let answers: Vec<Bytes> = scene.control.out.drain(..).collect();
        // Ours in return, and that it is done. Ours are kept until they are answered: no more than so many.
        assert_eq!(answers.len(), if number < 64 { 2 } else { 0 }, "reset {number}");
        if let [ours, done] = &answers[..] {
            let response = [&[130, 0, 0, 16, 0, 16, 0, 12][..], &number.to_be_bytes(), &1_u32.to_be_bytes()].concat();
            assert_eq!((&ours[12..18], &done[12..]), (&[130, 0, 0, 22, 0, 13][..], &response[..]));
        }
        let word = scene.data(1, 1, |_| (BEGINS | ENDS, 1, 1 + number as u16));
        assert_eq!(scene.send(&word), [3], "and nothing is asked again for each number that arrives");
        assert_eq!(scene.control.heard.pop_front().as_deref(), Some("x"));
    }
}

#[test]
fn the_channel_may_be_reset_and_opened_again() {
    let mut scene = Scene::new();
    for number in 0..3 {
        scene.open();
        let word = scene.data(1, 1, |_| (BEGINS | ENDS, 1, 1));
        assert_eq!(scene.send(&word), [3]);
        assert_eq!(scene.send(&reset(&scene, number, 1)), [130, 130]);
        assert_eq!(scene.control.channel, None);
    }
    assert_eq!(scene.control.heard, ["x"; 3]);
}

#[test]
fn a_rush_of_short_texts_survives_a_packet_that_was_lost() {
    let mut scene = Scene::new();
    scene.open();
    let texts = |scene: &mut Scene, first: u16, count: usize| scene.data(count, 1, |place| (BEGINS | ENDS, 1, first + place as u16));
    let lost = texts(&mut scene, 1, 1);
    let mut more = Vec::new();
    for rush in 0..20 {
        more.push(texts(&mut scene, 2 + 60 * rush, 60));
        scene.send(more.last().expect("pushed"));
    }
    assert!(scene.control.heard.is_empty() && scene.control.association.is_some());
    // As a page does which hears of the gap: the one that was lost first, then all that was not acknowledged.
    scene.send(&lost);
    assert_eq!(scene.control.heard.drain(..).count(), QUEUE_LIMIT);
    for rush in &more[8..] {
        scene.send(rush);
        assert_eq!(scene.control.heard.drain(..).count(), 60);
    }
}

#[test]
fn messages_without_an_end_end_the_channel() {
    type Chunk = fn(usize) -> (u8, u16, u16);
    let kinds: [(&str, Chunk); 5] = [
        ("a message in order", |place| (if place == 0 { BEGINS } else { 0 }, 1, 1)),
        ("an unordered one", |place| (UNORDERED | if place == 0 { BEGINS } else { 0 }, 1, 0)),
        ("beginnings", |_| (UNORDERED | BEGINS, 1, 0)),
        ("messages before which one is missing", |place| (BEGINS | ENDS, 1, 2 + place as u16)),
        ("on many streams", |place| (BEGINS, place as u16 % 16, 9)),
    ];
    for (kind, of) in kinds {
        for len in [1, 900] {
            let mut scene = Scene::new();
            scene.open();
            let per_packet = if len == 1 { 60 } else { 1 };
            let mut sent = 0;
            while scene.control.association.is_some() {
                let octets = scene.data(per_packet, len, |place| of(sent + place));
                sent += per_packet;
                scene.send(&octets);
                assert!(sent <= 1_100 && sent * len <= 160 * 1024, "{kind}: {sent} chunks of {len} octets were kept");
            }
            assert!(sent * len >= 400, "{kind}: so little is no harm");
            assert_eq!((scene.control.due(), scene.control.is_broken), (None, true));
            scene.control.send("to nobody".to_owned(), scene.now);
            let more = scene.data(1, 1, |_| (BEGINS | ENDS, 1, 0));
            assert!(scene.send(&more).is_empty());
            assert!(scene.control.association.is_none() && scene.control.waiting.is_empty());
        }
    }
}

#[test]
fn the_page_is_told_that_its_channel_is_given_up() {
    let mut scene = Scene::new();
    let mut last = Vec::new();
    while scene.control.association.is_some() {
        let octets = scene.data(60, 1, |_| (UNORDERED | BEGINS, 1, 0));
        last = scene.send(&octets);
        assert!(scene.next.wrapping_sub(FIRST) <= 1_100, "it is never given up");
    }
    assert_eq!(last, [6], "ABORT");
}

#[test]
fn data_is_not_kept_for_an_association_that_is_never_made() {
    let (mut scene, _) = Scene::greet();
    let mut sent = 0;
    while scene.control.association.is_some() {
        let octets = scene.data(60, 1, |_| (BEGINS | ENDS, 1, 7));
        sent += 60;
        assert!(sent <= 1_100, "{sent} chunks were kept");
        scene.send(&octets);
    }
}

#[test]
fn one_packet_is_answered_by_few() {
    let mut scene = Scene::new();
    scene.open();
    let beat = chunk(4, 0, &[0, 1, 0, 8, 1, 2, 3, 4]);
    assert_eq!(scene.send(&beat), [5]);
    assert!(scene.send(&beat.repeat(60)).is_empty());
    let forward = chunk(192, 0, &scene.next.to_be_bytes());
    assert!(scene.send(&forward.repeat(60)).len() <= 1);
    // Before keys or while nobody takes them, answers do not pile up.
    for _ in 0..1_000 {
        scene.control.read(packet(scene.tag, &beat), scene.now);
    }
    assert_eq!(scene.control.out.len(), MOST_PACKETS);
}

#[test]
fn streams_are_few() {
    let mut scene = Scene::new();
    scene.open();
    let high = scene.data(1, 1, |_| (BEGINS | ENDS, 16, 0));
    assert!(scene.send(&high).is_empty());
    scene.next = scene.next.wrapping_sub(1);
    let low = scene.data(1, 1, |_| (BEGINS | ENDS, 15, 0));
    assert_eq!(scene.send(&low), [3]);
}

#[test]
fn a_page_that_was_away_for_long_gets_what_waited() {
    let mut scene = Scene::new();
    scene.open();
    for _ in 0..3 {
        scene.control.send("x".repeat(1_500), scene.now);
    }
    // Nothing arrives for longer than the library would repeat by itself.
    let back = scene.now + Duration::from_secs(100);
    while scene.now < back {
        scene.now += Duration::from_millis(100);
        scene.control.handle_timeout(scene.now);
        scene.control.out.clear();
    }
    // It is back, and acknowledges whatever comes in order: it has the answer to its opening, nothing behind that.
    let number = |packet: &Bytes| u32::from_be_bytes(*packet[16..].first_chunk().expect("a number"));
    let mut got: Option<u32> = None;
    for _ in 0..1_200 {
        scene.now += Duration::from_millis(100);
        scene.control.handle_timeout(scene.now);
        for sent in std::mem::take(&mut scene.control.out) {
            if sent[12] == 0 {
                got = got.max(Some(number(&sent)));
                let sack = [&number(&sent).to_be_bytes()[..], &0x0001_0000_u32.to_be_bytes(), &[0; 4]].concat();
                scene.control.read(packet(scene.tag, &chunk(3, 0, &sack)), scene.now);
            }
        }
    }
    assert!(got.is_some(), "nothing came");
    scene.control.send("and now".to_owned(), scene.now);
    assert_eq!(scene.control.out.len(), 1, "the line is free");
}
