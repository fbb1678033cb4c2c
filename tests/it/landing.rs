//! A landing and a chime with peers of the `webrtc` crate and a real plane on loopback: what the client's peer got is decoded and measured.

use crate::peer::{PATIENCE, Peer, Recorded};
use crate::voices::{FRAME, Fading, chime, decode_all, level, steepest};
use lull::call::{Medium, Side};
use lull::clock::{Clock, Span};
use lull::ids::{CallId, LegId};
use lull::media::{Media, OpenLeg, Play, Purpose, Settings, Taps, start};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use uuid::Uuid;
use webrtc::peer_connection::SrtpProtectionProfile;

/// Packets the worker hears at the level they have before it asks for the switch.
const WARM: u32 = 10;

/// What the worker is told, and tells.
#[derive(Default)]
struct Told {
    /// Up again rather than down.
    cancelled: AtomicBool,
    over: AtomicBool,
    /// Packets that were held so far.
    held: AtomicU32,
}

/// A worker's thread: warms its codecs, asks for the switch, fades 1 dB a frame, and when it is told back again, and gives the voice back.
fn work(media: Media, mut taps: Taps, told: &Told) {
    let mut fading = Fading::new();
    let mut heard = 0;
    while !told.over.load(Ordering::Relaxed) {
        taps.wait(Duration::from_millis(100));
        while let Some(tapped) = taps.take() {
            heard += 1;
            if heard == WARM {
                media.tap(tapped.call, tapped.side, Purpose::Replace);
            }
            fading.step = match (tapped.held, told.cancelled.load(Ordering::Relaxed)) {
                (false, _) => 0.0,
                (true, false) => -0.5,
                (true, true) => 1.0,
            };
            let Some(made) = fading.hear(&tapped) else { continue };
            told.held.fetch_add(1, Ordering::Relaxed);
            assert!(media.replace(tapped.call, tapped.leg, tapped.index, &made));
            if told.cancelled.load(Ordering::Relaxed) && fading.gain == 0.0 {
                media.untap(tapped.call, tapped.side);
            }
        }
    }
}

async fn join(media: &Media, call: CallId, side: Side, peer: &Peer) -> String {
    let open = OpenLeg {
        call,
        side,
        leg: LegId::new(Uuid::now_v7()),
        offer: peer.offer().await,
        medium: Medium::Audio,
        media_timeout: Span::from_s(5),
        quiet_timeout: Span::from_s(15),
        audio_required: false,
    };
    let answer = media.open(open).await.unwrap().unwrap();
    peer.accept(answer.clone()).await;
    answer
}

/// The SSRCs that the answer announces for its audio sections: voice, then announcements.
fn announced(answer: &str) -> Vec<u32> {
    let sections = answer.split("m=").filter(|section| section.starts_with("audio"));
    sections.map(|section| section.split("a=ssrc:").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()).collect()
}

/// What was heard on an SSRC, in the order of its numbers. On loopback nothing is lost.
fn track(peer: &Peer, ssrc: u32) -> Vec<Recorded> {
    let mut packets: Vec<Recorded> = peer.recorded.lock().unwrap().iter().filter(|packet| packet.ssrc == ssrc).cloned().collect();
    let first = packets.first().map_or(0, |packet| packet.sequence.wrapping_sub(100));
    packets.sort_by_key(|packet| packet.sequence.wrapping_sub(first));
    packets
}

fn assert_without_gap(packets: &[Recorded]) {
    for pair in packets.windows(2) {
        assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1));
        assert_eq!(pair[1].timestamp, pair[0].timestamp.wrapping_add(FRAME as u32));
    }
}

fn sound(packets: &[Recorded]) -> Vec<f32> {
    decode_all((0..).zip(packets).map(|(index, packet)| (index, &packet.payload[..])))
}

async fn until(what: &str, done: impl Fn() -> bool) {
    let wait = async {
        let mut turn = tokio::time::interval(Duration::from_millis(20));
        while !done() {
            turn.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never {what}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_hears_a_landing_that_is_cancelled_and_a_chime() {
    let (sender, _reports) = mpsc::channel(256);
    let settings = Settings { udp: "127.0.0.1:0".parse().unwrap(), ..Settings::default() };
    let (media, _guard) = start(settings, Clock::start(), sender).unwrap();
    let call = CallId::new(Uuid::now_v7());
    let gcm = SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm;
    let (client, mut companion) = (Peer::new(gcm).await, Peer::new(gcm).await);
    client.also_listens().await;
    let answer = join(&media, call, Side::Client, &client).await;
    join(&media, call, Side::Companion, &companion).await;
    let [voice, announcements] = announced(&answer)[..] else { panic!("two audio sections") };
    companion.hum(220.0);
    until("heard", || track(&client, voice).len() >= 50).await;

    let told = Arc::new(Told::default());
    let taps = media.taps(1).unwrap().remove(0);
    let ringer = taps.ringer();
    let worker = std::thread::Builder::new().name("sound".to_owned()).spawn({
        let (media, told) = (media.clone(), told.clone());
        move || work(media, taps, &told)
    });
    let worker = worker.unwrap();
    let before = track(&client, voice).len();
    media.tap(call, Side::Companion, Purpose::Analyse);
    until("silent", || told.held.load(Ordering::Relaxed) >= 120).await;
    media.play(call, Side::Client, Play::Once(chime()));
    told.cancelled.store(true, Ordering::Relaxed);
    until("chimed", || track(&client, announcements).len() >= 50).await;
    let held = told.held.load(Ordering::Relaxed) as usize;
    until("given back", || track(&client, voice).len() >= before + held + 120).await;
    companion.hush();
    told.over.store(true, Ordering::Relaxed);
    ringer.ring();
    worker.join().unwrap();

    let heard = track(&client, voice);
    assert_without_gap(&heard);
    let sound = sound(&heard);
    let levels: Vec<f32> = sound.chunks(FRAME * 10).map(level).collect();
    let full = levels[2];
    let silent = levels.iter().position(|level| *level < full - 50.0).expect("it fades to silence");
    let begins = levels.iter().position(|level| *level < full - 2.0).unwrap();
    assert!(levels[begins..=silent].windows(2).all(|pair| pair[1] < pair[0]), "{levels:.1?}");
    assert!(silent - begins < 15 && levels[silent + 9..].iter().any(|level| (level - full).abs() < 1.0), "{levels:.1?}");
    assert!((levels[levels.len() - 2] - full).abs() < 0.5, "the voice is back: {levels:.1?}");
    let steady = steepest(&sound[FRAME * 20..FRAME * 45]);
    assert!(steepest(&sound[FRAME * 20..]) < 1.6 * steady, "no click at either switch");

    let chimed = track(&client, announcements);
    assert_without_gap(&chimed);
    let chimed = self::sound(&chimed);
    let loud = level(&chimed[FRAME * 5..FRAME * 45]);
    assert!((loud - -29.0).abs() < 1.0, "{loud} dB");
    assert_eq!(chimed.len(), FRAME * 50, "a second");
    let stats = media.stats().remove(0);
    let dropped = |cause| stats.dropped.iter().find(|(name, _)| *name == cause).map_or(0, |(_, count)| *count);
    assert_eq!([dropped("unasked"), dropped("tap_full"), dropped("number_spent")], [0; 3]);
}
