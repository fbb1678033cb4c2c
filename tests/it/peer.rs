//! A page without a browser: a peer of the `webrtc` crate that offers as our pages do, talks and listens.
//!
//! It speaks a payload instead of a voice, so a test can say whose packets arrived; or, for whole calls, a tone in Opus.

use async_trait::async_trait;
use bytes::Bytes;
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::media_engine::MIME_TYPE_OPUS;
use rtc::rtp_transceiver::rtp_sender::{RTCRtpCodec, RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind};
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use webrtc::data_channel::{DataChannel, DataChannelEvent};
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};
use webrtc::peer_connection::{
    MediaEngine, PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCSessionDescription, SettingEngineBuilder,
    SrtpProtectionProfile,
};

/// Everything a test waits for is there within this time, or the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Samples a second of Opus.
const RATE: u32 = 48_000;

/// Samples in a packet: 20 ms.
const FRAME: u32 = 960;

/// The part of the samples' energy that is at `hz`, 0 to 1.
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

/// A packet that was heard.
#[derive(Clone)]
pub(crate) struct Recorded {
    pub(crate) ssrc: u32,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    pub(crate) payload: Bytes,
}

/// A peer. Dropping it stops its talk and its connection without a goodbye.
pub(crate) struct Peer {
    connection: Arc<dyn PeerConnection>,
    channel: Arc<dyn DataChannel>,
    open: watch::Receiver<bool>,
    track: Arc<TrackLocalStaticRTP>,
    ssrc: u32,
    talk: Option<JoinHandle<()>>,
    /// Packets so far: a number that comes twice is taken for a replay.
    sent: Arc<AtomicU16>,
    /// Payloads heard, one for each packet.
    pub(crate) heard: UnboundedReceiver<Bytes>,
    /// All packets heard, of all tracks.
    pub(crate) recorded: Arc<Mutex<Vec<Recorded>>>,
    /// Texts of the data channel.
    pub(crate) texts: UnboundedReceiver<String>,
}

struct Handler {
    heard: UnboundedSender<Bytes>,
    recorded: Arc<Mutex<Vec<Recorded>>>,
}

#[async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        let (heard, recorded) = (self.heard.clone(), self.recorded.clone());
        tokio::spawn(async move {
            while let Some(event) = track.poll().await {
                let TrackRemoteEvent::OnRtpPacket(packet) = event else { continue };
                recorded.lock().unwrap().push(Recorded {
                    ssrc: packet.header.ssrc,
                    sequence: packet.header.sequence_number,
                    timestamp: packet.header.timestamp,
                    payload: packet.payload.clone(),
                });
                if heard.send(packet.payload).is_err() {
                    break;
                }
            }
        });
    }
}

impl Peer {
    /// A peer on loopback that knows this SRTP profile.
    pub(crate) async fn new(profile: SrtpProtectionProfile) -> Self {
        let mut engine = MediaEngine::default();
        engine.register_default_codecs().unwrap();
        let (heard_sender, heard) = unbounded_channel();
        let recorded = Arc::default();
        let settings = SettingEngineBuilder::new().with_srtp_protection_profiles(vec![profile]).build();
        let connection: Arc<dyn PeerConnection> = Arc::new(
            PeerConnectionBuilder::new()
                .with_media_engine(engine)
                .with_setting_engine(settings)
                .with_handler(Arc::new(Handler { heard: heard_sender, recorded: Arc::clone(&recorded) }))
                .with_runtime(webrtc::runtime::default_runtime().unwrap())
                .with_udp_addrs(vec!["127.0.0.1:0".to_owned()])
                .build()
                .await
                .unwrap(),
        );
        let ssrc = rand::random::<u32>() | 1;
        let codec = RTCRtpCodec {
            mime_type: MIME_TYPE_OPUS.to_owned(),
            clock_rate: 48_000,
            channels: 2,
            sdp_fmtp_line: "minptime=10;useinbandfec=1".to_owned(),
            rtcp_feedback: vec![],
        };
        let coding = RTCRtpEncodingParameters {
            rtp_coding_parameters: RTCRtpCodingParameters { ssrc: Some(ssrc), ..Default::default() },
            codec,
            ..Default::default()
        };
        let track = Arc::new(TrackLocalStaticRTP::new(MediaStreamTrack::new(
            "page".to_owned(),
            "voice".to_owned(),
            "voice".to_owned(),
            RtpCodecKind::Audio,
            vec![coding],
        )));
        connection.add_track(track.clone() as Arc<dyn TrackLocal>).await.unwrap();
        let (channel, open, texts) = Self::channel(&connection, "control").await;
        Self { connection, channel, open, track, ssrc, talk: None, sent: Arc::default(), heard, recorded, texts }
    }

    /// A data channel of this name, whether it is open, and the texts on it, which end with it.
    async fn channel(
        connection: &Arc<dyn PeerConnection>,
        label: &str,
    ) -> (Arc<dyn DataChannel>, watch::Receiver<bool>, UnboundedReceiver<String>) {
        let channel = connection.create_data_channel(label, None).await.unwrap();
        let (text_sender, texts) = unbounded_channel();
        let (open_sender, open) = watch::channel(false);
        let events = channel.clone();
        tokio::spawn(async move {
            while let Some(event) = events.poll().await {
                match event {
                    // A test that does not read texts has dropped the other end.
                    DataChannelEvent::OnMessage(message) => drop(text_sender.send(String::from_utf8_lossy(&message.data).into_owned())),
                    DataChannelEvent::OnOpen => drop(open_sender.send(true)),
                    DataChannelEvent::OnClose => break,
                    _ => (),
                }
            }
        });
        (channel, open, texts)
    }

    /// Opens a channel of its own, to which nobody answers, and closes it.
    pub(crate) async fn opens_and_closes(&self, label: &str) {
        let (channel, _, mut texts) = Self::channel(&self.connection, label).await;
        let wait = async {
            channel.close().await.unwrap();
            while texts.recv().await.is_some() {}
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{label} never closed"));
    }

    /// Closes its channel and opens another of that name.
    pub(crate) async fn opens_anew(&mut self) {
        self.channel.close().await.unwrap();
        self.is_closed().await;
        let wait = async {
            loop {
                (self.channel, self.open, self.texts) = Self::channel(&self.connection, "control").await;
                // The crate gives it the number of the old one, which ends with that if the server's reset is still on its way.
                if self.open.wait_for(|open| *open).await.is_ok() {
                    break;
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("never open again");
    }

    /// Offers a second audio track too, for what the server plays.
    pub(crate) async fn also_listens(&self) {
        let direction = RTCRtpTransceiverDirection::Recvonly;
        let init = RTCRtpTransceiverInit { direction, streams: vec![], send_encodings: vec![] };
        self.connection.add_transceiver_from_kind(RtpCodecKind::Audio, Some(init)).await.unwrap();
    }

    /// Makes its offer.
    pub(crate) async fn offer(&self) -> String {
        let offer = self.connection.create_offer(None).await.unwrap();
        self.connection.set_local_description(offer).await.unwrap();
        self.connection.local_description().await.unwrap().sdp
    }

    /// Takes our answer.
    pub(crate) async fn accept(&self, answer: String) {
        self.connection.set_remote_description(RTCSessionDescription::answer(answer).unwrap()).await.unwrap();
    }

    /// Sends a packet with this payload every 20 ms from now on.
    pub(crate) fn talk(&mut self, payload: &'static [u8]) {
        self.send_each(move || Bytes::from_static(payload));
    }

    /// Hums a tone from now on.
    pub(crate) fn hum(&mut self, hz: f32) {
        let mut encoder = opus::Encoder::new(RATE, opus::Channels::Mono, opus::Application::Voip).unwrap();
        let mut place = 0_u32;
        self.send_each(move || {
            let samples: Vec<f32> =
                (place..place + FRAME).map(|place| 0.3 * (std::f32::consts::TAU * hz * place as f32 / RATE as f32).sin()).collect();
            // Starts over after a whole number of periods: the tone has a whole number of hertz.
            place = (place + FRAME) % RATE;
            encoder.encode_vec_float(&samples, 400).unwrap().into()
        });
    }

    fn send_each(&mut self, mut payload: impl FnMut() -> Bytes + Send + 'static) {
        let (track, ssrc, sent) = (self.track.clone(), self.ssrc, self.sent.clone());
        let talk = tokio::spawn(async move {
            let mut pace = tokio::time::interval(Duration::from_millis(20));
            let mut packet = rtc::rtp::packet::Packet::default();
            packet.header.version = 2;
            packet.header.payload_type = 111;
            packet.header.ssrc = ssrc;
            loop {
                pace.tick().await;
                let at = sent.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
                packet.header.sequence_number = at;
                packet.header.timestamp = u32::from(at).wrapping_mul(FRAME);
                packet.payload = payload();
                let _ = track.write_rtp(packet.clone()).await; // Refused until it is connected.
            }
        });
        if let Some(old) = self.talk.replace(talk) {
            old.abort();
        }
    }

    /// Makes its next packet's sequence number this one.
    pub(crate) fn begin_at(&self, sequence: u16) {
        self.sent.store(sequence.wrapping_sub(1), Ordering::Relaxed);
    }

    /// Stops talking and sends so many packets as fast as `hearer` takes them, a few at a time so that no buffer is full.
    /// Returns how many were heard.
    pub(crate) async fn pour(&mut self, count: u32, hearer: &mut Peer) -> u32 {
        self.hush();
        let mut packet = rtc::rtp::packet::Packet::default();
        (packet.header.version, packet.header.payload_type, packet.header.ssrc) = (2, 111, self.ssrc);
        let mut heard = 0;
        for number in 1..=count {
            let at = self.sent.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
            (packet.header.sequence_number, packet.header.timestamp) = (at, number * FRAME);
            packet.payload = Bytes::copy_from_slice(&number.to_be_bytes());
            self.track.write_rtp(packet.clone()).await.unwrap();
            if number % 64 == 0 || number == count {
                let wait = async {
                    loop {
                        let payload = hearer.heard.recv().await.expect("the peer lives");
                        let Ok(said) = payload[..].try_into().map(u32::from_be_bytes) else { continue };
                        heard += 1;
                        if said == number {
                            break;
                        }
                    }
                };
                // A lost packet is not said again: on with the next.
                let _ = tokio::time::timeout(Duration::from_secs(2), wait).await;
            }
        }
        heard
    }

    /// Stops talking.
    pub(crate) fn hush(&mut self) {
        if let Some(talk) = self.talk.take() {
            talk.abort();
        }
    }

    /// Sends a text on the data channel once that is open.
    pub(crate) async fn say(&self, text: &str) {
        let mut open = self.open.clone();
        let wait = open.wait_for(|open| *open);
        tokio::time::timeout(PATIENCE, wait).await.expect("never open").expect("the peer lives");
        self.channel.send_text(text).await.unwrap();
    }

    /// Leaves with a goodbye.
    pub(crate) async fn close(&mut self) {
        self.hush();
        self.connection.close().await.unwrap();
    }

    /// Waits until its data channel, which must be open, ends because we said goodbye. Texts on the way are dropped.
    pub(crate) async fn is_closed(&mut self) {
        let wait = async { while self.texts.recv().await.is_some() {} };
        tokio::time::timeout(PATIENCE, wait).await.expect("never closed");
    }

    /// Waits until this payload is heard.
    pub(crate) async fn hears(&mut self, payload: &[u8]) {
        let wait = async { while self.heard.recv().await.expect("the peer lives") != payload {} };
        let text = String::from_utf8_lossy(payload).into_owned();
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never heard {text}"));
    }

    /// Waits until it has heard so many packets more.
    pub(crate) async fn hears_packets(&mut self, count: usize) {
        let wait = async {
            for _ in 0..count {
                self.heard.recv().await.expect("the peer lives");
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never heard {count} packets"));
    }

    /// Waits until it hears this tone, above all else.
    pub(crate) async fn hears_tone(&mut self, hz: f32) {
        let mut decoder = opus::Decoder::new(RATE, opus::Channels::Mono).unwrap();
        let wait = async {
            loop {
                let packet = self.heard.recv().await.expect("the peer lives");
                let mut samples = [0.0; FRAME as usize];
                decoder.decode_float(&packet, &mut samples, false).expect("Opus");
                if part_at(hz, &samples) > 0.8 {
                    break;
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never heard {hz} Hz"));
    }

    /// The next message of this kind on the data channel; others pass by.
    pub(crate) async fn reads_message(&mut self, kind: &str) -> serde_json::Value {
        loop {
            let message: serde_json::Value = serde_json::from_str(&self.reads().await).unwrap();
            if message["type"] == kind {
                return message;
            }
        }
    }

    /// The next text.
    pub(crate) async fn reads(&mut self) -> String {
        tokio::time::timeout(PATIENCE, self.texts.recv()).await.expect("no text came").expect("the peer lives")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.hush();
    }
}
