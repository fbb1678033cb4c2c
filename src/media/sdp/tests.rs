//! Offers of real browsers, and offers that lack something.

use super::*;
use crate::media::OfferError;
use proptest::prelude::*;
use rtc_sdp::description::session::SessionDescription;
use std::collections::BTreeSet;
use std::io::Cursor;
use std::net::SocketAddr;
use std::path::PathBuf;

const FINGERPRINT: &str = "00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF";
const ANNOUNCED: Announced = Announced { voice: 11, announcements: 12, camera: 13, camera_rtx: 14 };

fn fixture(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/sdp").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn fixtures() -> Vec<(String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/sdp");
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".sdp")).collect();
    names.sort();
    assert!(names.len() > 20, "fixtures are there");
    names.into_iter().map(|name| (name.clone(), fixture(&name))).collect()
}

fn answered(offer: &Offer) -> String {
    let candidates: [SocketAddr; 2] = ["127.0.0.1:7700".parse().unwrap(), "192.0.2.9:7700".parse().unwrap()];
    let local = Local {
        session: 77,
        version: 2,
        ufrag: "abcdefgh",
        password: "abcdefghijklmnopqrstuvwx",
        fingerprint: FINGERPRINT,
        candidates: &candidates,
        takes_tcp: true,
        announced: ANNOUNCED,
    };
    answer(offer, &local)
}

fn parsed(text: &str) -> SessionDescription {
    SessionDescription::unmarshal(&mut Cursor::new(text.as_bytes())).unwrap()
}

/// All values of an attribute of a section.
fn values<'a>(media: &'a rtc_sdp::description::media::MediaDescription, key: &str) -> Vec<&'a str> {
    let of_key = media.attributes.iter().filter(|attribute| attribute.key == key);
    of_key.map(|attribute| attribute.value.as_deref().unwrap_or("")).collect()
}

#[test]
fn every_offer_of_a_browser_is_answered_in_kind() {
    for (name, text) in fixtures() {
        for medium in [Medium::Audio, Medium::Video] {
            let offer = Offer::read(&text, medium).unwrap_or_else(|error| panic!("{name}: {error}"));
            let theirs = parsed(&text);
            let ours = parsed(&answered(&offer));
            assert_eq!(theirs.media_descriptions.len(), ours.media_descriptions.len(), "{name}");
            let mut bundle = Vec::new();
            for (theirs, ours) in theirs.media_descriptions.iter().zip(&ours.media_descriptions) {
                assert_eq!(theirs.media_name.media, ours.media_name.media, "{name}");
                assert_eq!(theirs.media_name.protos, ours.media_name.protos, "{name}");
                assert_eq!(values(theirs, "mid"), values(ours, "mid"), "{name}");
                if ours.media_name.port.value == 0 {
                    assert_eq!(values(ours, "inactive").len(), 1, "{name}");
                    continue;
                }
                assert_eq!(ours.media_name.port.value, 7700, "{name}");
                bundle.extend(values(ours, "mid"));
                assert_eq!(values(ours, "fingerprint"), [format!("sha-256 {FINGERPRINT}")], "{name}");
                assert_eq!(values(ours, "setup"), ["active"], "{name}");
                assert_eq!(values(ours, "candidate").len(), 4, "{name}: two by UDP, two over TCP");
                let offered: BTreeSet<&str> = theirs.media_name.formats.iter().map(String::as_str).collect();
                assert!(ours.media_name.formats.iter().all(|format| offered.contains(format.as_str())), "{name}");
                let maps: BTreeSet<&str> = values(theirs, "extmap").into_iter().collect();
                assert!(values(ours, "extmap").iter().all(|map| maps.contains(map)), "{name}: the offerer's ids");
                if ours.media_name.media == "audio" {
                    assert!(!values(ours, "extmap").iter().any(|map| map.contains("transport-wide")), "{name}");
                    assert!(values(ours, "rtcp-fb").is_empty(), "{name}");
                    assert!(values(ours, "fmtp").iter().all(|fmtp| !fmtp.contains("stereo") && !fmtp.contains("usedtx")), "{name}");
                }
            }
            let group = ours.attributes.iter().find(|attribute| attribute.key == "group").unwrap();
            assert_eq!(group.value.as_deref(), Some(format!("BUNDLE {}", bundle.join(" ")).as_str()), "{name}");
        }
    }
}

#[test]
fn the_call_pages_of_both_browsers_get_all_four_sections() {
    for name in ["chromium-156.0.8078.79_call-page_offer.sdp", "firefox-153.7.0esr_call-page_offer.sdp"] {
        let offer = Offer::read(&fixture(name), Medium::Video).unwrap();
        let uses: Vec<_> = offer.sections.iter().map(|section| &section.r#use).collect();
        assert!(matches!(uses[..], [Use::Voice(_), Use::Camera(_), Use::Announcements(_), Use::Data]), "{name}: {uses:?}");
        let camera = offer.camera().unwrap();
        assert!(camera.ssrc.is_some() && camera.rtx_ssrc.is_some(), "{name}: a camera section without a track declares its SSRCs");
        assert!(!offer.audio_only);
        let text = answered(&offer);
        for line in ["a=ssrc:11 cname:call", "a=ssrc:12 cname:call", "a=ssrc-group:FID 13 14", "a=ice-lite", "a=sctp-port:5000"] {
            assert!(text.contains(&format!("{line}\r\n")), "{name}: {line}");
        }
        let streams = offer.streams(&ANNOUNCED);
        assert_eq!(streams.video_rtx.unwrap().our_ssrc, 14);
        assert_eq!(streams.announcements.map(|announcements| announcements.our_ssrc), Some(12));

        let restart = name.replace("_offer", "_ice-restart-offer");
        let again = Offer::read(&fixture(&restart), Medium::Video).unwrap();
        assert_ne!(again.ufrag, offer.ufrag);
        assert_eq!(again.streams(&ANNOUNCED), streams);
    }
}

#[test]
fn video_in_an_audio_call_is_refused_without_a_word() {
    let offer = Offer::read(&fixture("chromium-156.0.8078.79_call-page_offer.sdp"), Medium::Audio).unwrap();
    assert!(offer.camera().is_none() && !offer.audio_only);
    assert!(answered(&offer).contains("m=video 0 UDP/TLS/RTP/SAVPF 96 97"));
}

#[test]
fn a_camera_that_cannot_be_carried_leaves_a_leg_for_sound() {
    let good = fixture("chromium-156.0.8078.79_audio-video_offer.sdp");
    for bad in [good.replace("VP8", "VP7"), good.replace("a=rtcp-fb:96 transport-cc\r\n", ""), without(&good, "a=ssrc", "m=video")] {
        let offer = Offer::read(&bad, Medium::Video).unwrap();
        assert!(offer.audio_only && offer.camera().is_none());
    }
    let simulcast = fixture("chromium-156.0.8078.79_audio-video-simulcast_offer.sdp");
    assert!(Offer::read(&simulcast, Medium::Video).unwrap().audio_only, "simulcast by RID declares no SSRC");
}

/// The text without the lines that begin so, after a mark.
fn without(text: &str, line: &str, after: &str) -> String {
    let (head, tail) = text.split_at(text.find(after).unwrap());
    let kept: String = tail.split_inclusive("\r\n").filter(|l| !l.starts_with(line)).collect();
    format!("{head}{kept}")
}

#[test]
fn an_offer_that_lacks_something_is_told_what() {
    let good = fixture("chromium-156.0.8078.79_audio-opus_offer.sdp");
    let both = fixture("chromium-156.0.8078.79_audio-video_offer.sdp");
    let check = |text: String, expected: &str| {
        let error = Offer::read(&text, Medium::Video).unwrap_err();
        assert!(error.to_string().contains(expected), "{error} instead of {expected}");
    };
    check(format!("{good}{}", "a=x\r\n".repeat(14_000)), "is longer than 64 KB");
    check("hello".to_owned(), "is not SDP");
    check(String::new(), "is not SDP");
    check(good.replace("m=audio 9", "m=audio 0"), "has no audio");
    check(good.replace("m=audio", "m=video"), "has no audio");
    check(good.replace("opus/48000/2", "vorbis/48000/2"), "has no Opus");
    check(without(&good, "a=fingerprint", "m=audio"), "has no SHA-256 certificate fingerprint");
    check(good.replace("a=fingerprint:sha-256 ", "a=fingerprint:sha-256 0"), "has no SHA-256 certificate fingerprint");
    check(without(&good, "a=ice-ufrag", "m=audio"), "has no ICE credentials");
    check(without(&good, "a=ice-pwd", "m=audio"), "has no ICE credentials");
    check(without(&good, "a=rtcp-mux", "m=audio"), "does not multiplex");
    check(good.replace("a=setup:actpass", "a=setup:active"), "must leave the DTLS client role to us");
    check(without(&good, "a=setup", "m=audio"), "must leave the DTLS client role to us");
    check(without(&good, "a=ssrc", "m=audio"), "does not declare the SSRC");
    check(both.replace("a=group:BUNDLE 0 1", "a=group:BUNDLE 0"), "does not bundle");
    check(both.replace("a=group:BUNDLE 0 1\r\n", ""), "does not bundle");
    check(both.replace("a=mid:1", "a=mid:a b"), "a=mid is not a short token");
    check(format!("{good}{}", "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n".repeat(16)), "more than 16 media sections");
}

#[test]
fn an_offer_that_takes_long_to_look_through_is_refused() {
    let offer = fixture("chromium-156.0.8078.79_call-page_offer.sdp");
    let section = offer.lines().find(|line| line.starts_with("m=audio")).unwrap();
    let with = |formats: usize, attributes: usize, session: usize| {
        let formats = section.split(' ').skip(3).map(str::to_owned).chain((0..formats).map(|number| number.to_string()));
        let words = section.split(' ').take(3).map(str::to_owned);
        let words: Vec<String> = words.chain(formats).collect();
        let lines = "a=rtpmap:9 x/1\r\n".repeat(attributes);
        let text = offer.replacen(&format!("{section}\r\n"), &format!("{}\r\n", words.join(" ")), 1);
        let text = text.replacen("a=mid:0\r\n", &format!("a=mid:0\r\n{lines}"), 1);
        Offer::read(&text.replacen("t=0 0\r\n", &format!("t=0 0\r\n{}", "a=x\r\n".repeat(session)), 1), Medium::Video)
    };
    assert!(with(100, 900, 900).is_ok());
    for (formats, attributes, session) in [(9_000, 0, 0), (128, 0, 0), (0, 2_000, 0), (0, 1_024, 0), (0, 0, 1_024)] {
        let error = with(formats, attributes, session).map(drop).unwrap_err();
        assert!(matches!(&error, OfferError::Unacceptable(why) if why.starts_with("has more than 1")), "{error}");
    }
}

#[test]
fn a_fragment_says_whether_ice_starts_anew() {
    let trickle = "a=group:BUNDLE 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n";
    assert_eq!(Fragment::read(trickle), Ok(Fragment { ufrag: None }));
    assert_eq!(Fragment::read(""), Ok(Fragment { ufrag: None }));
    let restart = format!("a=ice-ufrag:wxyz\r\na=ice-pwd:abcdefghijklmnopqrstuv\r\n{trickle}");
    assert_eq!(Fragment::read(&restart), Ok(Fragment { ufrag: Some("wxyz".to_owned()) }));
    assert!(Fragment::read("a=ice-ufrag:wxyz\r\n").is_err());
    assert!(matches!(Fragment::read("{}"), Err(OfferError::Syntax(_))));
}

proptest! {
    /// Whatever is offered: an answer or a reason, never a panic; and an answer is SDP again.
    #[test]
    fn a_damaged_offer_is_answered_or_refused(which in 0_usize..6, cuts in prop::collection::vec((any::<prop::sample::Index>(), ".{0,8}"), 1..6)) {
        let all = fixtures();
        let mut bytes = all[which * 4].1.clone().into_bytes();
        for (place, with) in cuts {
            let at = place.index(bytes.len());
            let end = (at + with.len()).min(bytes.len());
            bytes.splice(at..end, with.into_bytes());
        }
        let text = String::from_utf8_lossy(&bytes);
        if let Ok(offer) = Offer::read(&text, Medium::Video) {
            let reply = answered(&offer);
            prop_assert!(SessionDescription::unmarshal(&mut Cursor::new(reply.as_bytes())).is_ok(), "{}", reply);
        }
    }
}
