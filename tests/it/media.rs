//! The media plane on loopback: peers of the `webrtc` crate join through the handle and hear each other.

use crate::peer::{PATIENCE, Peer};
use lull::call::{Medium, Side};
use lull::clock::{Clock, Span};
use lull::ids::{CallId, LegId};
use lull::media::{JoinGuard, Media, OfferError, OpenLeg, Report, Settings, StartError, start};
use std::net::{SocketAddr, UdpSocket};
use tokio::sync::mpsc;
use uuid::Uuid;
use webrtc::peer_connection::SrtpProtectionProfile;

const GCM: SrtpProtectionProfile = SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm;
const HMAC: SrtpProtectionProfile = SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80;

/// A media plane with one call in it.
struct Plane {
    media: Media,
    guard: Option<JoinGuard>,
    reports: mpsc::Receiver<Report>,
    call: CallId,
    media_timeout: Span,
    audio_required: bool,
}

impl Plane {
    fn new() -> Self {
        Self::on("127.0.0.1:0")
    }

    fn on(udp: &str) -> Self {
        let (sender, reports) = mpsc::channel(256);
        let settings = Settings { udp: udp.parse().unwrap(), ..Settings::default() };
        let (media, guard) = start(settings, Clock::start(), sender).unwrap();
        let call = CallId::new(Uuid::now_v7());
        Self { media, guard: Some(guard), reports, call, media_timeout: Span::from_s(5), audio_required: false }
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.media.addresses()[0].port()))
    }

    async fn open(&self, side: Side, offer: String) -> (LegId, Result<String, OfferError>) {
        let leg = LegId::new(Uuid::now_v7());
        let open = OpenLeg {
            call: self.call,
            side,
            leg,
            offer,
            medium: Medium::Audio,
            media_timeout: self.media_timeout,
            quiet_timeout: Span::from_s(15),
            audio_required: self.audio_required,
        };
        (leg, self.media.open(open).await.unwrap())
    }

    async fn join(&self, side: Side, peer: &Peer) -> LegId {
        let (leg, answer) = self.open(side, peer.offer().await).await;
        peer.accept(answer.unwrap()).await;
        leg
    }

    /// The next report of which this makes something; others pass by.
    async fn report<T>(&mut self, mut pick: impl FnMut(&Report) -> Option<T>) -> T {
        let mut seen = Vec::new();
        let wait = async {
            loop {
                let report = self.reports.recv().await.expect("the plane lives");
                if let Some(found) = pick(&report) {
                    return found;
                }
                seen.push(report);
            }
        };
        let found = tokio::time::timeout(PATIENCE, wait).await;
        found.unwrap_or_else(|_| panic!("only {seen:?}"))
    }

    async fn connected(&mut self, wanted: LegId) {
        self.report(|report| matches!(report, Report::Connected { leg, .. } if *leg == wanted).then_some(())).await;
    }

    /// A client and a companion who hear each other.
    async fn talking(&mut self) -> (Peer, LegId, Peer, LegId) {
        let (mut client, mut companion) = (Peer::new(GCM).await, Peer::new(GCM).await);
        let client_leg = self.join(Side::Client, &client).await;
        let companion_leg = self.join(Side::Companion, &companion).await;
        client.talk(b"client");
        companion.talk(b"companion");
        client.hears(b"companion").await;
        companion.hears(b"client").await;
        (client, client_leg, companion, companion_leg)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_peers_hear_each_other_and_it_is_said_once() {
    let mut plane = Plane::new();
    let (_client, client_leg, _companion, companion_leg) = plane.talking().await;
    let mut connected = Vec::new();
    let mut reached = Vec::new();
    while reached.len() < 2 || connected.len() < 2 {
        plane
            .report(|report| match report {
                Report::Connected { leg, .. } => {
                    connected.push(*leg);
                    Some(())
                }
                Report::AudioReached { from, .. } => {
                    reached.push(*from);
                    Some(())
                }
                _ => None,
            })
            .await;
    }
    connected.sort();
    reached.sort();
    assert_eq!((connected, reached), (vec![client_leg, companion_leg], vec![Side::Client, Side::Companion]));
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_with_different_protection_hear_each_other() {
    let mut plane = Plane::new();
    let (mut client, mut companion) = (Peer::new(GCM).await, Peer::new(HMAC).await);
    plane.join(Side::Client, &client).await;
    let first = plane.join(Side::Companion, &companion).await;
    // A peer that refused GCM cannot shake hands twice; its side is offered HMAC when it joins again.
    let failed = plane.report(|report| match report {
        Report::Failed { leg, .. } if *leg == first => Some(true),
        Report::Connected { leg, .. } if *leg == first => Some(false),
        _ => None,
    });
    if failed.await {
        companion = Peer::new(HMAC).await;
        plane.join(Side::Companion, &companion).await;
    }
    client.talk(b"client");
    companion.talk(b"companion");
    client.hears(b"companion").await;
    companion.hears(b"client").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_on_all_addresses_answers_on_loopback() {
    let mut plane = Plane::on("0.0.0.0:0");
    plane.talking().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_go_both_ways_and_wait_for_the_channel() {
    let mut plane = Plane::new();
    let mut client = Peer::new(GCM).await;
    let leg = plane.join(Side::Client, &client).await;
    plane.media.control(plane.call, leg, "before it is open".to_owned());
    assert_eq!(client.reads().await, "before it is open");
    client.say("from the page").await;
    let text = plane
        .report(|report| match report {
            Report::Control { text, side: Side::Client, .. } => Some(text.clone()),
            _ => None,
        })
        .await;
    assert_eq!(text, "from the page");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_leg_takes_over_when_it_is_connected() {
    let mut plane = Plane::new();
    let (mut old, old_leg, mut companion, _) = plane.talking().await;
    plane.media.control(plane.call, old_leg, "its channel is open".to_owned());
    old.reads().await;
    let mut new = Peer::new(GCM).await;
    // An offer that never connects changes nothing.
    let (_, answer) = plane.open(Side::Client, Peer::new(GCM).await.offer().await).await;
    assert!(answer.is_ok());
    companion.hears(b"client").await;
    old.hears(b"companion").await;

    new.talk(b"reloaded");
    let leg = plane.join(Side::Client, &new).await;
    plane.connected(leg).await;
    companion.hears(b"reloaded").await;
    new.hears(b"companion").await;
    old.is_closed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_may_close_channels_its_own_and_ours() {
    let mut plane = Plane::new();
    let (mut client, leg, _companion, _) = plane.talking().await;
    for round in 0..3 {
        let (up, down) = (format!("up {round}"), format!("down {round}"));
        client.say(&up).await;
        let said = |report: &Report| matches!(report, Report::Control { text, .. } if *text == up).then_some(());
        plane.report(said).await;
        // One of its own: `control` knows nothing of it.
        client.opens_and_closes("notes").await;
        plane.media.control(plane.call, leg, down.clone());
        assert_eq!(client.reads().await, down);
        // Without an answer to its reset the numbers of the stream would not begin again, and nothing would be heard on it.
        client.opens_anew().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_stop_nothing_is_sent_on_but_last_texts() {
    let mut plane = Plane::new();
    let (mut client, client_leg, mut companion, companion_leg) = plane.talking().await;
    plane.media.control(plane.call, companion_leg, "its channel is open".to_owned());
    companion.reads().await;
    plane.media.stop(plane.call);
    let (_, answer) = plane.open(Side::Client, Peer::new(GCM).await.offer().await).await;
    assert_eq!(answer, Err(OfferError::Gone));
    plane.media.control(plane.call, client_leg, "it is over".to_owned());
    assert_eq!(client.reads().await, "it is over");
    // The text was sent after the stop, so whatever is forwarded after the stop is in this count or comes later.
    let before = plane.media.stats()[0].forwarded;
    client.is_closed().await;
    companion.is_closed().await;
    let settled = plane.media.stats()[0].forwarded;
    // The first count may be a tick (100 ms, ten packets of two talkers) old; two seconds of talk would be 200.
    assert!(settled - before <= 20, "{before} then {settled}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_companion_is_lost_and_comes_back() {
    let mut plane = Plane::new();
    plane.audio_required = true;
    plane.media_timeout = Span::from_ms(400);
    let (_client, _, mut companion, companion_leg) = plane.talking().await;
    companion.hush();
    plane.report(|report| matches!(report, Report::Lost { leg, .. } if *leg == companion_leg).then_some(())).await;
    companion.talk(b"companion");
    plane.report(|report| matches!(report, Report::Back { leg, .. } if *leg == companion_leg).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_silence_is_said_and_taken_back_before_anybody_is_lost() {
    let mut plane = Plane::new();
    plane.audio_required = true;
    plane.media_timeout = Span::from_s(30);
    let (_client, _, mut companion, companion_leg) = plane.talking().await;
    companion.hush();
    let of_hers = |report: &Report| match report {
        Report::Faltered { leg, since, .. } if *leg == companion_leg => Some((false, *since)),
        Report::Steadied { leg, at, .. } if *leg == companion_leg => Some((true, *at)),
        Report::Lost { leg, .. } if *leg == companion_leg => panic!("{report:?}"),
        _ => None,
    };
    let (is_back, since) = plane.report(of_hers).await;
    assert!(!is_back);
    companion.talk(b"companion");
    let (is_back, at) = plane.report(of_hers).await;
    assert!(is_back && at.since(since) >= Span::from_s(1), "silent from {since} to {at}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_closes_is_hushed() {
    let mut plane = Plane::new();
    let (mut client, client_leg, _companion, _) = plane.talking().await;
    client.close().await;
    plane.report(|report| matches!(report, Report::Hushed { leg, .. } if *leg == client_leg).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_neither_stops_the_plane_nor_the_call() {
    let mut plane = Plane::new();
    let (mut client, _, mut companion, _) = plane.talking().await;
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = plane.address();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for round in 0..5_000_u32 {
        let length = (next() % 300) as usize;
        let mut datagram: Vec<u8> = (0..length).map(|_| next() as u8).collect();
        // All kinds by their first octet: STUN, DTLS, SRTP, SRTCP, none.
        let first = [&[0, 1][..], &[22, 254], &[128, 111], &[129, 200], &[90, 1]][round as usize % 5];
        for (octet, value) in datagram.iter_mut().zip(first) {
            *octet = *value;
        }
        stranger.send_to(&datagram, to).unwrap();
    }
    client.hears(b"companion").await;
    companion.hears(b"client").await;
    let stats = &plane.media.stats()[0];
    assert_eq!((stats.legs, stats.calls), (2, 1), "strangers make nothing that is kept");
}

/// Stands between a peer and the plane, at the peer's address: each of the peer's datagrams goes through with a bit flipped,
/// cut, as it is, and as it is again. Returns where it listens.
async fn troublemaker(to: SocketAddr) -> SocketAddr {
    let inside = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let outside = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = inside.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut up, mut down) = ([0; 2048], [0; 2048]);
        let mut peer = None;
        let mut number = 0_usize;
        // Until the test ends; a lost datagram here is a lost datagram.
        loop {
            tokio::select! {
                Ok((length, from)) = inside.recv_from(&mut up) => {
                    peer = Some(from);
                    number += 1;
                    let good = up[..length].to_vec();
                    let mut bad = good.clone();
                    let bit = number * 13 % (length * 8);
                    bad[bit / 8] ^= 1 << (bit % 8);
                    let cut = &good[..number * 7 % (length + 1)];
                    // The damaged come first, so the good one must still count as new. Records of DTLS are not flipped: its
                    // handshake is not protected, and any stack believes a flight forged on the way. An alert is doubted.
                    let alert = [21, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 99, 0, 2, 2, 40];
                    let order = if (20..=63).contains(&good[0]) { [&alert[..], cut, &good, &good] } else { [&bad[..], cut, &good, &good] };
                    for datagram in order {
                        let _ = outside.send_to(datagram, to).await;
                    }
                }
                Ok((length, _)) = outside.recv_from(&mut down) => {
                    if let Some(peer) = peer {
                        let _ = inside.send_to(&down[..length], peer).await;
                    }
                }
            }
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn replayed_cut_and_flipped_packets_do_not_end_a_call() {
    let mut plane = Plane::new();
    let (mut client, mut companion) = (Peer::new(GCM).await, Peer::new(GCM).await);
    let port = plane.address().port().to_string();
    let between = troublemaker(plane.address()).await.port().to_string();
    let (leg, answer) = plane.open(Side::Client, client.offer().await).await;
    client.accept(answer.unwrap().replace(&format!(" {port} "), &format!(" {between} "))).await;
    plane.join(Side::Companion, &companion).await;
    client.talk(b"client");
    companion.talk(b"companion");
    plane.connected(leg).await;
    for _ in 0..100 {
        client.hears(b"companion").await;
        companion.hears(b"client").await;
    }
    let stats = plane.media.stats().remove(0);
    let dropped = |cause| stats.dropped.iter().find(|(name, _)| *name == cause).map_or(0, |(_, count)| *count);
    assert!(dropped("replayed") > 50 && dropped("forged") > 25, "{stats:?}");
    assert_eq!((stats.legs, stats.calls), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn leaving_says_goodbye() {
    let mut plane = Plane::new();
    let (mut client, leg, ..) = plane.talking().await;
    plane.media.control(plane.call, leg, "its channel is open".to_owned());
    client.reads().await;
    drop(plane.guard.take());
    client.is_closed().await;
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let (sender, _reports) = mpsc::channel(1);
    let result = start(Settings { udp: address, ..Settings::default() }, Clock::start(), sender);
    assert!(matches!(result, Err(StartError::Bind { address: named, .. }) if named == address));
}

#[tokio::test]
async fn a_bad_offer_and_an_unknown_leg_are_told_so() {
    let plane = Plane::new();
    let (leg, answer) = plane.open(Side::Client, "v=0\r\n".to_owned()).await;
    assert!(matches!(answer, Err(OfferError::Syntax(_) | OfferError::Unacceptable(_))));
    assert_eq!(plane.media.restart(plane.call, leg, String::new()).await.unwrap(), Err(OfferError::Gone));
    assert_eq!(plane.media.patch(plane.call, leg, String::new()).await.unwrap(), Err(OfferError::Gone));
    plane.media.close_leg(plane.call, leg);
    plane.media.stop(plane.call);
}

pub(crate) fn fixture(name: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/sdp").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The value of the first line that begins so.
pub(crate) fn value<'a>(text: &'a str, key: &str) -> &'a str {
    text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_else(|| panic!("no {key} in {text}"))
}

#[tokio::test]
async fn ice_restarts_by_a_new_offer_and_by_a_fragment() {
    for browser in ["chromium-156.0.8078.79", "firefox-153.7.0esr"] {
        let plane = Plane::new();
        let (leg, answer) = plane.open(Side::Client, fixture(&format!("{browser}_call-page_offer.sdp"))).await;
        let answer = answer.unwrap();
        let restart = fixture(&format!("{browser}_call-page_ice-restart-offer.sdp"));
        let again = plane.media.restart(plane.call, leg, restart.clone()).await.unwrap().unwrap();
        assert_ne!(value(&answer, "a=ice-ufrag:"), value(&again, "a=ice-ufrag:"));
        assert_eq!(value(&answer, "a=ssrc:"), value(&again, "a=ssrc:"));
        assert_eq!(value(&answer, "a=fingerprint:"), value(&again, "a=fingerprint:"));
        let repeated = plane.media.restart(plane.call, leg, restart.clone()).await.unwrap().unwrap();
        assert_eq!(value(&repeated, "a=ice-ufrag:"), value(&again, "a=ice-ufrag:"), "the same offer restarts once");

        let patch = async |text: String| plane.media.patch(plane.call, leg, text).await.unwrap().unwrap();
        let candidate = "a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n";
        assert_eq!(patch(format!("m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n{candidate}")).await, "");
        let (ufrag, password) = (value(&restart, "a=ice-ufrag:"), value(&restart, "a=ice-pwd:"));
        assert_eq!(patch(format!("a=ice-ufrag:{ufrag}\r\na=ice-pwd:{password}\r\n{candidate}")).await, "", "credentials we know");
        let reply = patch(format!("a=ice-ufrag:fresh\r\na=ice-pwd:{password}\r\n{candidate}")).await;
        assert_ne!(value(&reply, "a=ice-ufrag:"), value(&again, "a=ice-ufrag:"));
        assert!(value(&reply, "a=candidate:").contains("typ host"));

        let other = fixture("chromium-156.0.8078.79_audio-opus_offer.sdp");
        let refused = plane.media.restart(plane.call, leg, other).await.unwrap();
        assert!(matches!(refused, Err(OfferError::Unacceptable(_))), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_wrap_again_and_again_with_a_reload_in_between() {
    let mut plane = Plane::new();
    let (mut client, mut companion) = (Peer::new(GCM).await, Peer::new(GCM).await);
    // Where no browser begins.
    client.begin_at(65_400);
    companion.begin_at(65_500);
    plane.join(Side::Client, &client).await;
    plane.join(Side::Companion, &companion).await;
    client.talk(b"client");
    companion.talk(b"companion");
    companion.hears(b"client").await;
    client.hears(b"companion").await;
    let round = 0x1_0000 + 1_000;
    assert!(client.pour(round, &mut companion).await > round * 99 / 100, "two wraps");
    assert!(companion.pour(1_000, &mut client).await > 990, "one wrap");

    // The reloaded page is another source on the stream that the companion's page has opened all along.
    let mut reloaded = Peer::new(GCM).await;
    reloaded.begin_at(65_400);
    let leg = plane.join(Side::Client, &reloaded).await;
    plane.connected(leg).await;
    reloaded.talk(b"reloaded");
    companion.hears(b"reloaded").await;
    assert!(reloaded.pour(round, &mut companion).await > round * 99 / 100, "two wraps, and two of the companion's stream");
    assert!(companion.pour(1_000, &mut reloaded).await > 990);
    let spent = plane.media.stats().remove(0).dropped.into_iter().find(|(cause, _)| *cause == "spent");
    assert_eq!(spent, Some(("spent", 0)));
}
