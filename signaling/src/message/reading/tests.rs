//! Messages of pages, good and bad: nothing a page sends may panic or pass half read.

use super::*;
use proptest::prelude::*;
use serde_json::json;

fn refused(text: &str) -> (Code, Option<u64>) {
    let error = parse_message(text).expect_err(text);
    (error.code, error.re)
}

#[test]
fn every_kind_reads_back_as_it_was_written() {
    let sdp = "v=0\r\n".to_owned();
    for (seq, body) in [
        (0, PageBody::Hello { token: "a.b.c".into(), page: "k3j9x0a1".into() }),
        (1, PageBody::Offer { sdp: sdp.clone() }),
        (2, PageBody::IceRestart { sdp }),
        (3, PageBody::Extend { key: "12345678".into() }),
        (4, PageBody::Gift { key: "12345678".into(), minutes: 5 }),
        (5, PageBody::Devices { audio: true, video: false }),
        (6, PageBody::HangUp),
        (7, PageBody::ReportAbuse),
        (8, PageBody::ImHere {}),
        (9, PageBody::SaysAsleep {}),
        (10, PageBody::SaysAwake {}),
        (11, PageBody::Record { consent: false }),
        (0, PageBody::Ping { at: 12.5 }),
        (SEQ_MAX, PageBody::HangUp),
    ] {
        let message = FromPage { v: 1, seq, body };
        let text = serde_json::to_string(&message).unwrap();
        assert_eq!(parse_message(&text), Ok(message), "{text}");
    }
}

#[test]
fn fields_of_newer_pages_are_ignored() {
    let text = json!({"v": 1, "type": "hang_up", "seq": 1, "mood": "calm"}).to_string();
    assert_eq!(parse_message(&text), Ok(FromPage { v: 1, seq: 1, body: PageBody::HangUp }));
}

#[test]
fn a_kind_from_the_future_is_answered_with_its_number() {
    assert_eq!(refused(r#"{"v":1,"type":"dance","seq":9}"#), (Code::UnknownType, Some(9)));
    assert_eq!(refused(r#"{"v":1,"type":"dance"}"#), (Code::UnknownType, None));
}

#[test]
fn every_field_of_every_kind_is_checked() {
    let good = [
        json!({"v": 1, "type": "hello", "token": "t", "page": "12345678"}),
        json!({"v": 1, "type": "offer", "seq": 1, "sdp": "v=0"}),
        json!({"v": 1, "type": "ice_restart", "seq": 1, "sdp": "v=0"}),
        json!({"v": 1, "type": "extend", "seq": 1, "key": "12345678"}),
        json!({"v": 1, "type": "gift", "seq": 1, "key": "12345678", "minutes": 5}),
        json!({"v": 1, "type": "devices", "seq": 1, "audio": true, "video": true}),
        json!({"v": 1, "type": "im_here", "seq": 1}),
        json!({"v": 1, "type": "record", "seq": 1, "consent": true}),
        json!({"v": 1, "type": "ping", "at": 1}),
    ];
    let long = "x".repeat(3000);
    for message in good {
        assert!(parse_message(&message.to_string()).is_ok(), "{message}");
        for name in message.as_object().unwrap().keys() {
            let mut without = message.clone();
            without.as_object_mut().unwrap().remove(name);
            assert_eq!(refused(&without.to_string()).0, Code::InvalidMessage, "{without}");
            for bad in [json!(null), json!([1]), json!({"a": 1}), json!(""), json!(-1)] {
                let mut with = message.clone();
                with[name] = bad;
                // A text that is no kind is an unknown kind; a negative number is a fine `at`.
                if (name == "type" && with[name].is_string()) || (name == "at" && with[name].is_number()) {
                    continue;
                }
                assert_eq!(refused(&with.to_string()).0, Code::InvalidMessage, "{with}");
            }
        }
        for (name, bad) in [
            ("seq", json!(0)),
            ("seq", json!(1.5)),
            ("seq", json!(SEQ_MAX + 1)),
            ("v", json!(2)),
            ("v", json!(1.5)),
            ("key", json!("1234567")),
            ("key", json!(long)),
            ("page", json!(long)),
            ("token", json!(long)),
            ("minutes", json!(0)),
            ("minutes", json!(61)),
            ("minutes", json!(1.5)),
            ("minutes", json!("5")),
            ("audio", json!(1)),
            ("at", json!("1")),
        ] {
            if message.get(name).is_some() {
                let mut with = message.clone();
                with[name] = bad;
                assert_eq!(refused(&with.to_string()).0, Code::InvalidMessage, "{with}");
            }
        }
    }
}

#[test]
fn what_is_not_a_json_object_is_refused() {
    for text in ["", "hello", "[]", "1", "null", "\"{}\"", "{", "{\"v\":1", &"[".repeat(60_000)] {
        assert_eq!(refused(text), (Code::InvalidMessage, None));
    }
    let long = format!("{{\"v\":1,\"type\":\"hang_up\",\"seq\":1,\"pad\":\"{}\"}}", "x".repeat(MAX_BYTES));
    assert_eq!(refused(&long), (Code::TooLarge, None));
}

#[test]
fn a_refusal_repeats_nothing_of_the_message() {
    let error = parse_message(r#"{"v":1,"type":"hello","token":"s3cret","page":"short"}"#).unwrap_err();
    assert!(!error.detail.contains("s3cret") && !error.detail.contains("short"));
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse_message(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_bytes_changed_in_a_message_are_read_or_refused(at in 0usize..80, byte in any::<u8>(), cut in 0usize..80) {
        let mut bytes = br#"{"v":1,"type":"gift","seq":18446744073709551615,"key":"12345678","minutes":5}"#.to_vec();
        let len = bytes.len();
        bytes[at % len] = byte;
        bytes.truncate(len - cut % len);
        let _ = parse_message(&String::from_utf8_lossy(&bytes));
    }
}
