//! The demo's companion on loopback, in a call with our own client, through the whole media plane.
#![allow(clippy::disallowed_methods, reason = "the client is driven by real time")]

use crate::peer::PATIENCE;
use lull::bot::{self, BotEnd, BotSettings, Refusal};
use lull::call::{Medium, Side};
use lull::clock::{Clock, Span};
use lull::ids::{CallId, LegId};
use lull::media::client::driver::Driven;
use lull::media::client::{Client, Event, Identity, Track};
use lull::media::{JoinGuard, Media, OpenLeg, Report, Settings, start};
use std::time::Instant;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use uuid::Uuid;

const RATE: u32 = 48_000;
const FRAME: usize = 960;
/// A tone that is not in the bot's tune, whose overtones end below 1 kHz.
const TONE_HZ: f32 = 1500.0;

/// A call in which the bot is the companion.
struct Scene {
    media: Media,
    _guard: JoinGuard,
    reports: mpsc::Receiver<Report>,
    call: CallId,
    stop: Option<oneshot::Sender<()>>,
    bot: JoinHandle<Result<BotEnd, bot::BotError>>,
    client: Driven,
    client_leg: LegId,
    companion_leg: LegId,
}

fn open(call: CallId, side: Side, leg: LegId, offer: String, medium: Medium) -> OpenLeg {
    let (media_timeout, quiet_timeout) = (Span::from_s(5), Span::from_s(15));
    OpenLeg { call, side, leg, offer, medium, media_timeout, quiet_timeout, audio_required: side == Side::Companion }
}

impl Scene {
    async fn new(medium: Medium) -> Self {
        let (sender, reports) = mpsc::channel(256);
        let settings = Settings { udp: "127.0.0.1:0".parse().unwrap(), ..Settings::default() };
        let (media, guard) = start(settings, Clock::start(), sender).unwrap();
        let call = CallId::new(Uuid::now_v7());
        let (client_leg, companion_leg) = (LegId::new(Uuid::now_v7()), LegId::new(Uuid::now_v7()));

        let door = media.clone();
        let join = move |offer: String| {
            let answer = door.open(open(call, Side::Companion, companion_leg, offer, medium));
            async move { answer.await.unwrap().map_err(|error| Refusal::Final(error.to_string())) }
        };
        let (stop, stopped) = oneshot::channel();
        let stopped = async move {
            let _ = stopped.await; // A dropped sender stops the bot as well.
        };
        let bot = tokio::spawn(bot::run(BotSettings { video: medium == Medium::Video }, join, stopped));

        let client = Client::new(Identity::generate().unwrap(), medium == Medium::Video);
        let answer = media.open(open(call, Side::Client, client_leg, client.offer().to_owned(), medium)).await.unwrap().unwrap();
        let client = Driven::start(client, &answer).await.unwrap();
        Self { media, _guard: guard, reports, call, stop: Some(stop), bot, client, client_leg, companion_leg }
    }

    /// The next event of the client of which this makes something; others pass by.
    async fn event<T>(&mut self, what: &str, mut pick: impl FnMut(&Event) -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        while let Some(event) = self.client.next(until).await {
            if let Some(found) = pick(&event) {
                return found;
            }
            assert!(!matches!(event, Event::Closed | Event::Failed(_)), "{event:?} before {what}");
        }
        panic!("no {what}")
    }

    async fn report(&mut self, what: &str, pick: impl Fn(&Report) -> bool) {
        let wait = async { while !pick(&self.reports.recv().await.expect("the plane lives")) {} };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("no report of {what}"));
    }

    async fn end(self) -> BotEnd {
        tokio::time::timeout(PATIENCE, self.bot).await.expect("the bot ends").unwrap().unwrap()
    }
}

/// The part of a frame's energy that is at `hz`, 0 to 1.
fn part_at(hz: f32, samples: &[f32]) -> f32 {
    let turn = std::f32::consts::TAU * hz / RATE as f32;
    let (mut re, mut im, mut all) = (0.0, 0.0, 1e-9);
    for (place, sample) in samples.iter().enumerate() {
        re += sample * (turn * place as f32).cos();
        im += sample * (turn * place as f32).sin();
        all += sample * sample;
    }
    2.0 * (re * re + im * im) / (samples.len() as f32 * all)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bot_is_seen_and_heard_and_says_back_what_it_heard() {
    let mut scene = Scene::new(Medium::Video).await;
    scene.event("connection", |event| (*event == Event::Connected).then_some(())).await;
    scene.client.request_key_frame();
    // First packet of a key frame: S and partition 0 in the descriptor (with a picture id), P = 0 in the frame (RFC 7741, RFC 6386).
    scene
        .event("key frame", |event| match event {
            Event::Media { track: Track::Camera, payload, .. } => {
                let skip = if payload.get(2).is_some_and(|octet| octet & 0x80 != 0) { 4 } else { 3 };
                let begins = payload[0] & 0x17 == 0x10 && payload.get(skip).is_some_and(|octet| octet & 1 == 0);
                (begins && payload.get(skip + 3..skip + 6) == Some(&[0x9D, 0x01, 0x2A])).then_some(())
            }
            _ => None,
        })
        .await;

    // Her words, all at once: the bot goes by packets, not by time.
    let mut encoder = opus::Encoder::new(RATE, opus::Channels::Mono, opus::Application::Voip).unwrap();
    for frame in 0..100_u32 {
        let level = if (5..45).contains(&frame) { 0.3 } else { 0.0 };
        let sample = |place| level * (std::f32::consts::TAU * TONE_HZ * place as f32 / RATE as f32).sin();
        let samples: Vec<f32> = (0..FRAME).map(|place| sample(frame as usize * FRAME + place)).collect();
        let packet = encoder.encode_vec_float(&samples, 400).unwrap();
        scene.client.send(Track::Voice, frame * FRAME as u32, frame == 0, &packet);
    }
    scene.report("her voice with the bot", |report| matches!(report, Report::AudioReached { from: Side::Client, .. })).await;

    let mut decoder = opus::Decoder::new(RATE, opus::Channels::Mono).unwrap();
    let mut hummed = false;
    scene
        .event("echo", |event| match event {
            Event::Media { track: Track::Voice, payload, .. } => {
                let mut samples = [0.0; FRAME];
                decoder.decode_float(payload, &mut samples, false).expect("Opus");
                let loud = samples.iter().any(|sample| sample.abs() > 0.05);
                let echo = loud && part_at(TONE_HZ, &samples) > 0.8;
                hummed |= loud && !echo;
                echo.then_some(())
            }
            _ => None,
        })
        .await;
    assert!(hummed, "before she spoke it hummed");

    scene.media.control(scene.call, scene.client_leg, "hello".to_owned());
    scene.event("text", |event| (*event == Event::Text("hello".to_owned())).then_some(())).await;
    scene.client.send_text("hello back".to_owned());
    scene.report("her text", |report| matches!(report, Report::Control { side: Side::Client, text, .. } if text == "hello back")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bot_leaves_when_the_call_ends() {
    let mut scene = Scene::new(Medium::Audio).await;
    scene.event("voice", |event| matches!(event, Event::Media { track: Track::Voice, .. }).then_some(())).await;
    let word = r#"{"v":1,"seq":3,"type":"ended","reason":"time_expired","at_fault":"none","receipt":null}"#;
    scene.media.control(scene.call, scene.companion_leg, word.to_owned());
    scene.media.stop(scene.call);
    assert_eq!(scene.end().await, BotEnd::Ended("time_expired".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bot_gives_way_to_another_companion_and_leaves_when_its_leg_is_closed() {
    let mut scene = Scene::new(Medium::Audio).await;
    scene.event("voice", |event| matches!(event, Event::Media { track: Track::Voice, .. }).then_some(())).await;
    scene.media.close_leg(scene.call, scene.companion_leg);
    assert_eq!(scene.end().await, BotEnd::Closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bot_says_goodbye_when_it_is_stopped() {
    let mut scene = Scene::new(Medium::Audio).await;
    scene.event("voice", |event| matches!(event, Event::Media { track: Track::Voice, .. }).then_some(())).await;
    drop(scene.stop.take());
    scene.report("goodbye", |report| matches!(report, Report::Hushed { side: Side::Companion, .. })).await;
    assert_eq!(scene.end().await, BotEnd::Stopped);
}
