//! A client against the media plane's own ICE, DTLS and SCTP, in one thread with time moved by hand.

use super::*;
use crate::call::Medium;
use crate::media::sctp::Control;
use crate::media::sdp::{self as answerer, Announced, Offer};
use crate::media::{dtls as active, ice as lite};
use crate::relay::{Ciphers, Header, Keying, Profile, SPARE};
use rtc_rtcp::Packet;
use rtc_rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc_rtcp::sender_report::SenderReport;
use rtc_rtcp::transport_feedbacks::transport_layer_cc::TransportLayerCc;
use rtc_rtcp::transport_feedbacks::transport_layer_nack::{TransportLayerNack, nack_pairs_from_sequence_numbers};

const ANNOUNCED: Announced = Announced { voice: 100, announcements: 101, camera: 200, camera_rtx: 201 };

/// The media plane, as far as one leg sees it.
struct Plane {
    identity: Arc<active::Identity>,
    credentials: lite::Credentials,
    offer: Offer,
    profile: Profile,
    dtls: Option<active::Dtls>,
    control: Control,
    nominated: bool,
    keys: Option<(Ciphers, Ciphers)>,
    rtcp_index: u32,
    /// RTP (header and payload) and RTCP the client sent, decrypted.
    rtp: Vec<(Header, Vec<u8>)>,
    rtcp: Vec<Box<dyn Packet>>,
    closed: bool,
}

fn address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 5000))
}

impl Plane {
    fn new(offer: &str, medium: Medium, profile: Profile) -> Self {
        let identity = Arc::new(active::Identity::generate().expect("ring"));
        let credentials = lite::Credentials::draw(identity.random()).expect("randomness");
        Self {
            credentials,
            offer: Offer::read(offer, medium).expect("an acceptable offer"),
            profile,
            dtls: None,
            control: Control::new(),
            nominated: false,
            keys: None,
            rtcp_index: 0,
            rtp: Vec::new(),
            rtcp: Vec::new(),
            closed: false,
            identity,
        }
    }

    fn answer(&self) -> String {
        let local = answerer::Local {
            session: 1,
            version: 1,
            ufrag: self.credentials.ufrag_text(),
            password: self.credentials.password(),
            fingerprint: self.identity.fingerprint(),
            candidates: &[address()],
            takes_tcp: true,
            announced: ANNOUNCED,
        };
        answerer::answer(&self.offer, &local)
    }

    /// Takes a datagram of the client; returns the replies.
    fn take(&mut self, mut datagram: Vec<u8>, now: Instant) -> Vec<Vec<u8>> {
        let mut replies = Vec::new();
        match datagram[0] {
            0..=3 => {
                let request = lite::Request::read(&datagram).expect("a request");
                assert_eq!(request.addressee, self.credentials.ufrag());
                let (password, crypto) = (self.credentials.password(), self.identity.crypto());
                let check = request.check(&datagram, password, crypto);
                let lite::Check::Good { nominated } = check else { panic!("a check that is not signed") };
                self.nominated |= nominated;
                replies.extend(request.success(password, address(), crypto));
                if self.dtls.is_none() {
                    let fingerprints = self.offer.fingerprints.clone();
                    self.dtls = Some(active::Dtls::connect(self.identity.clone(), fingerprints, self.profile, now));
                }
            }
            20..=63 => {
                let Some(dtls) = &mut self.dtls else { panic!("DTLS before ICE") };
                for event in dtls.read(&datagram, now) {
                    match event {
                        active::Event::Keyed(keying) => self.key(&keying),
                        active::Event::Data(data) => self.control.read(data.freeze(), now),
                        active::Event::Closed => self.closed = true,
                        active::Event::Ignored => (),
                        other => panic!("{other:?}"),
                    }
                }
            }
            _ => {
                let Some((_, incoming)) = &mut self.keys else { panic!("media before keys") };
                if (192..=223).contains(&datagram[1]) {
                    let (sender, index) = incoming.rtcp_sender_and_index(&datagram).expect("SRTCP");
                    let len = incoming.open_rtcp(&mut datagram, sender, index).expect("authentic");
                    self.rtcp.extend(rtc_rtcp::packet::unmarshal(&mut &datagram[..len]).expect("RTCP"));
                } else {
                    let header = Header::parse(&datagram).expect("RTP");
                    let len = incoming.open_rtp(&mut datagram, header.len, header.ssrc, u64::from(header.sequence)).expect("authentic");
                    datagram.truncate(len);
                    self.rtp.push((header, datagram));
                }
            }
        }
        if let Some(dtls) = &mut self.dtls {
            for packet in self.control.out.drain(..) {
                dtls.write(&packet, now);
            }
            replies.extend(dtls.out.drain(..).map(|record| record.to_vec()));
        }
        replies
    }

    fn key(&mut self, keying: &Keying) {
        let crypto = self.identity.crypto();
        self.keys = Some((keying.local(crypto).expect("keys"), keying.remote(crypto).expect("keys")));
    }

    fn rtp(&mut self, mut packet: Vec<u8>) -> Vec<u8> {
        let header = Header::parse(&packet).expect("RTP");
        let len = packet.len();
        packet.resize(len + SPARE, 0);
        let (out, _) = self.keys.as_mut().expect("keys");
        let sealed = out.seal_rtp(&mut packet, header.len, len, header.ssrc, u64::from(header.sequence)).expect("sealed");
        packet.truncate(sealed);
        packet
    }

    fn rtcp(&mut self, packet: &dyn Packet) -> Vec<u8> {
        let mut bytes = packet.marshal().expect("RTCP").to_vec();
        let len = bytes.len();
        bytes.resize(len + SPARE, 0);
        let (out, _) = self.keys.as_mut().expect("keys");
        let sealed = out.seal_rtcp(&mut bytes, len, self.rtcp_index).expect("sealed");
        self.rtcp_index += 1;
        bytes.truncate(sealed);
        bytes
    }
}

struct Scene {
    client: Client,
    plane: Plane,
    now: Instant,
    events: Vec<Event>,
    /// Drops the n-th datagram of each direction.
    drop: fn(usize) -> bool,
    carried: usize,
}

impl Scene {
    fn new(profile: Profile, medium: Medium, drop: fn(usize) -> bool) -> Self {
        let now = Instant::now();
        let mut client = Client::new(Identity::generate().expect("ring"), medium == Medium::Video);
        let plane = Plane::new(client.offer(), medium, profile);
        client.accept(&plane.answer(), now).expect("an answer that works");
        Self { client, plane, now, events: Vec::new(), drop, carried: 0 }
    }

    /// Carries datagrams until nothing moves.
    fn settle(&mut self) {
        loop {
            self.events.extend(std::iter::from_fn(|| self.client.poll_event()));
            let Some(transmit) = self.client.poll_transmit() else { break };
            assert_eq!(transmit.to, address());
            self.carried += 1;
            if (self.drop)(self.carried) {
                continue;
            }
            for reply in self.plane.take(transmit.payload, self.now) {
                self.give(reply);
            }
        }
    }

    fn give(&mut self, mut datagram: Vec<u8>) {
        self.carried += 1;
        if !(self.drop)(self.carried) {
            self.client.handle_datagram(&mut datagram, address(), self.now);
        }
    }

    /// Moves time, 10 ms a step.
    fn pass(&mut self, ms: u64) {
        for _ in 0..ms / 10 {
            self.now += Duration::from_millis(10);
            self.client.handle_timeout(self.now);
            if let Some(dtls) = &mut self.plane.dtls {
                assert!(dtls.handle_timeout(self.now).is_empty());
                self.plane.control.handle_timeout(self.now);
                for packet in self.plane.control.out.drain(..) {
                    dtls.write(&packet, self.now);
                }
                for record in dtls.out.drain(..).collect::<Vec<_>>() {
                    self.give(record.to_vec());
                }
            }
            self.settle();
        }
    }

    fn connected(profile: Profile, medium: Medium) -> Self {
        let mut scene = Self::new(profile, medium, |_| false);
        scene.settle();
        assert_eq!(scene.events, [Event::Connected, Event::ChannelOpen], "without waiting");
        assert!(scene.plane.nominated);
        scene.events.clear();
        scene
    }
}

/// A packet of the other party's camera with a transport-wide number.
fn camera_packet(sequence: u16, number: u16) -> Vec<u8> {
    let mut packet = vec![0x90, 0x80 | 96];
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(&9000_u32.to_be_bytes());
    packet.extend_from_slice(&200_u32.to_be_bytes());
    let [high, low] = number.to_be_bytes();
    // Another extension first, as Chromium sends them.
    packet.extend_from_slice(&[0xBE, 0xDE, 0, 2, 0x22, 1, 2, 3, 0x31, high, low, 0]);
    packet.extend_from_slice(b"picture");
    packet
}

#[test]
fn a_client_connects_with_either_srtp_profile_and_is_understood() {
    for profile in [Profile::AeadAes128Gcm, Profile::Aes128CmHmacSha1_80] {
        let mut scene = Scene::connected(profile, Medium::Video);
        scene.client.send(Track::Voice, 960, true, b"hello", scene.now);
        scene.client.send(Track::Camera, 6000, true, b"moon", scene.now);
        scene.client.send_text("over here".to_owned(), scene.now);
        scene.settle();
        let heard: Vec<(u8, &[u8])> = scene.plane.rtp.iter().map(|(header, packet)| (packet[1] & 0x7F, &packet[header.len..])).collect();
        assert_eq!(heard, [(111, &b"hello"[..]), (96, &b"moon"[..])], "{profile:?}");
        assert_eq!(scene.plane.control.heard, ["over here"]);

        let camera = scene.plane.rtp(camera_packet(7, 0));
        scene.give(camera.clone());
        scene.give(camera);
        scene.settle();
        let [Event::Media { track: Track::Camera, index: 7, timestamp: 9000, marker: true, payload }] = &scene.events[..] else {
            panic!("{profile:?}: {:?}", scene.events)
        };
        assert_eq!(payload[..], b"picture"[..], "{profile:?}, and once although it came twice");
    }
}

#[test]
fn an_audio_client_connects_without_video() {
    let mut scene = Scene::connected(Profile::AeadAes128Gcm, Medium::Audio);
    assert!(!scene.client.sends_video());
    scene.client.send(Track::Camera, 0, true, b"moon", scene.now);
    scene.client.send(Track::Voice, 0, true, b"hello", scene.now);
    scene.settle();
    assert_eq!(scene.plane.rtp.len(), 1);
}

#[test]
fn every_fifth_datagram_lost_only_delays_the_connection() {
    let mut scene = Scene::new(Profile::AeadAes128Gcm, Medium::Video, |n| n % 5 == 2);
    scene.settle();
    scene.pass(30_000);
    assert!(scene.events.contains(&Event::Connected) && scene.events.contains(&Event::ChannelOpen), "{:?}", scene.events);
}

#[test]
fn a_text_of_the_server_arrives_and_its_goodbye_ends_all() {
    let mut scene = Scene::connected(Profile::AeadAes128Gcm, Medium::Audio);
    scene.plane.control.send("ended".to_owned(), scene.now);
    scene.pass(10);
    assert_eq!(scene.events, [Event::Text("ended".to_owned())]);
    let dtls = scene.plane.dtls.as_mut().expect("up");
    dtls.close(scene.now);
    for record in dtls.out.drain(..).collect::<Vec<_>>() {
        scene.give(record.to_vec());
    }
    scene.settle();
    assert_eq!(scene.events.last(), Some(&Event::Closed));
    assert_eq!(scene.client.poll_timeout(), None);
}

#[test]
fn our_goodbye_reaches_the_server() {
    let mut scene = Scene::connected(Profile::AeadAes128Gcm, Medium::Audio);
    scene.client.close(scene.now);
    scene.settle();
    assert!(scene.plane.closed);
}

#[test]
fn a_lost_packet_is_sent_again_on_the_retransmission_stream() {
    let mut scene = Scene::connected(Profile::AeadAes128Gcm, Medium::Video);
    for frame in 0..3_u8 {
        scene.client.send(Track::Camera, u32::from(frame) * 6000, true, &[frame; 20], scene.now);
    }
    scene.settle();
    let sequence = scene.plane.rtp[1].0.sequence;
    let media_ssrc = scene.plane.rtp[1].0.ssrc;
    let nacks = nack_pairs_from_sequence_numbers(&[sequence, sequence.wrapping_add(100)]);
    let nack = scene.plane.rtcp(&TransportLayerNack { sender_ssrc: 200, media_ssrc, nacks });
    scene.give(nack);
    scene.settle();
    assert_eq!(scene.plane.rtp.len(), 4, "one of the two was ever sent");
    let (header, packet) = &scene.plane.rtp[3];
    assert_eq!(packet[1] & 0x7F, 97);
    assert_eq!(packet[header.len..], [&sequence.to_be_bytes()[..], &[1; 20]].concat());
    // Transport-wide numbers go on over both streams.
    let numbers: Vec<u8> = scene.plane.rtp.iter().map(|(header, packet)| packet[header.len - 2]).collect();
    assert_eq!(numbers, [0, 1, 2, 3]);
}

#[test]
fn a_key_frame_is_asked_for_in_both_directions() {
    let mut scene = Scene::connected(Profile::AeadAes128Gcm, Medium::Video);
    let media_ssrc = scene.plane.offer.camera().and_then(|camera| camera.ssrc).expect("a camera");
    let pli = scene.plane.rtcp(&PictureLossIndication { sender_ssrc: 200, media_ssrc });
    scene.give(pli.clone());
    scene.give(pli);
    scene.settle();
    assert_eq!(scene.events, [Event::KeyFrameWanted], "a replay is dropped");
    scene.client.request_key_frame(scene.now);
    scene.settle();
    let asked = scene.plane.rtcp.iter().find_map(|packet| packet.as_any().downcast_ref::<PictureLossIndication>());
    assert_eq!(asked, Some(&PictureLossIndication { sender_ssrc: media_ssrc, media_ssrc: 200 }));
}

#[test]
fn reports_and_feedback_go_out_by_themselves() {
    let mut scene = Scene::connected(Profile::AeadAes128Gcm, Medium::Video);
    scene.client.send(Track::Voice, 960, true, b"hello", scene.now);
    for sequence in [1, 2, 4] {
        let packet = scene.plane.rtp(camera_packet(sequence, sequence));
        scene.give(packet);
    }
    scene.pass(1_100);
    let feedback: Vec<&TransportLayerCc> = scene.plane.rtcp.iter().filter_map(|packet| packet.as_any().downcast_ref()).collect();
    assert_eq!(feedback.len(), 1, "only what arrived is told");
    assert_eq!((feedback[0].base_sequence_number, feedback[0].packet_status_count, feedback[0].recv_deltas.len()), (1, 4, 3));
    let reports: Vec<&SenderReport> = scene.plane.rtcp.iter().filter_map(|packet| packet.as_any().downcast_ref()).collect();
    assert_eq!((reports.len(), reports[0].packet_count, reports[0].octet_count), (1, 1, 5));
    assert!(reports[0].rtp_time > 960 + 40_000, "a second on: {}", reports[0].rtp_time);
    let receiver = scene.plane.rtcp.iter().find_map(|packet| packet.as_any().downcast_ref::<rtc_rtcp::receiver_report::ReceiverReport>());
    let block = &receiver.expect("the camera only receives").reports[0];
    assert_eq!((block.ssrc, block.total_lost, block.fraction_lost, block.last_sequence_number), (200, 1, 64, 4));
}

#[test]
fn consent_goes_on_and_its_loss_ends_the_client() {
    let mut scene = Scene::connected(Profile::AeadAes128Gcm, Medium::Audio);
    scene.pass(60_000);
    assert!(scene.events.is_empty(), "{:?}", scene.events);
    scene.drop = |_| true;
    scene.pass(35_000);
    assert_eq!(scene.events, [Event::Failed(ClientError::Unreachable)]);
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let mut scene = Scene::new(Profile::AeadAes128Gcm, Medium::Audio, |_| true);
    scene.pass(16_000);
    assert_eq!(scene.events, [Event::Failed(ClientError::Unreachable)]);
    assert!(scene.carried > 15, "it tried {} times", scene.carried);
}

#[test]
fn a_server_with_another_certificate_gets_nothing() {
    let now = Instant::now();
    let mut client = Client::new(Identity::generate().expect("ring"), false);
    let plane = Plane::new(client.offer(), Medium::Audio, Profile::AeadAes128Gcm);
    let other = active::Identity::generate().expect("ring");
    let answer = plane.answer().replace(plane.identity.fingerprint(), other.fingerprint());
    client.accept(&answer, now).expect("looks good");
    let mut scene = Scene { client, plane, now, events: Vec::new(), drop: |_| false, carried: 0 };
    scene.settle();
    assert_eq!(scene.events, [Event::Failed(ClientError::Stranger)]);
}

#[test]
fn random_and_damaged_datagrams_change_nothing() {
    let mut scene = Scene::connected(Profile::AeadAes128Gcm, Medium::Video);
    let good = scene.plane.rtp(camera_packet(7, 0));
    for first in 0..=255_u8 {
        for len in [1, 2, 11, 12, 13, 20, 40] {
            scene.give((0..len).map(|place: u8| first.wrapping_add(place.wrapping_mul(37))).collect());
        }
    }
    for len in 1..good.len() {
        scene.give(good[..len].to_vec());
    }
    for place in 0..good.len() {
        let mut bad = good.clone();
        bad[place] ^= 1;
        scene.give(bad);
    }
    scene.settle();
    assert!(scene.events.is_empty(), "{:?}", scene.events);
    scene.give(good);
    scene.settle();
    assert_eq!(scene.events.len(), 1);
}
