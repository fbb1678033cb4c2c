//! A page without a browser: a peer of the `webrtc` crate that offers as our pages do, talks and listens.
//!
//! It speaks a payload instead of a voice, so a test can say whose packets arrived.

use async_trait::async_trait;
use bytes::Bytes;
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::media_engine::MIME_TYPE_OPUS;
use rtc::rtp_transceiver::rtp_sender::{RTCRtpCodec, RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
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

/// A peer. Dropping it stops its talk and its connection without a goodbye.
pub(crate) struct Peer {
    connection: Arc<dyn PeerConnection>,
    channel: Arc<dyn DataChannel>,
    track: Arc<TrackLocalStaticRTP>,
    ssrc: u32,
    talk: Option<JoinHandle<()>>,
    /// Payloads heard, one for each packet.
    pub(crate) heard: UnboundedReceiver<Bytes>,
    /// Texts of the data channel.
    pub(crate) texts: UnboundedReceiver<String>,
}

struct Handler {
    heard: UnboundedSender<Bytes>,
}

#[async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        let heard = self.heard.clone();
        tokio::spawn(async move {
            while let Some(event) = track.poll().await {
                if let TrackRemoteEvent::OnRtpPacket(packet) = event
                    && heard.send(packet.payload).is_err()
                {
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
        let settings = SettingEngineBuilder::new().with_srtp_protection_profiles(vec![profile]).build();
        let connection: Arc<dyn PeerConnection> = Arc::new(
            PeerConnectionBuilder::new()
                .with_media_engine(engine)
                .with_setting_engine(settings)
                .with_handler(Arc::new(Handler { heard: heard_sender }))
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
        let channel = connection.create_data_channel("control", None).await.unwrap();
        let (text_sender, texts) = unbounded_channel();
        let events = channel.clone();
        tokio::spawn(async move {
            while let Some(event) = events.poll().await {
                match event {
                    // A test that does not read texts has dropped the other end.
                    DataChannelEvent::OnMessage(message) => drop(text_sender.send(String::from_utf8_lossy(&message.data).into_owned())),
                    DataChannelEvent::OnClose => break,
                    _ => (),
                }
            }
        });
        Self { connection, channel, track, ssrc, talk: None, heard, texts }
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
        let (track, ssrc) = (self.track.clone(), self.ssrc);
        let talk = tokio::spawn(async move {
            let mut pace = tokio::time::interval(Duration::from_millis(20));
            let mut packet = rtc::rtp::packet::Packet { payload: Bytes::from_static(payload), ..Default::default() };
            packet.header.version = 2;
            packet.header.payload_type = 111;
            packet.header.ssrc = ssrc;
            loop {
                pace.tick().await;
                packet.header.sequence_number = packet.header.sequence_number.wrapping_add(1);
                packet.header.timestamp = packet.header.timestamp.wrapping_add(960);
                let _ = track.write_rtp(packet.clone()).await; // Refused until it is connected.
            }
        });
        if let Some(old) = self.talk.replace(talk) {
            old.abort();
        }
    }

    /// Stops talking.
    pub(crate) fn hush(&mut self) {
        if let Some(talk) = self.talk.take() {
            talk.abort();
        }
    }

    /// Sends a text on the data channel, which must be open.
    pub(crate) async fn say(&self, text: &str) {
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
