//! Reading what a page said: the one way from a text to a [`FromPage`], for the socket and the data channel alike.
//!
//! Never panics, whatever the text. A refusal names the `seq` it answers, where that could be read, and repeats nothing
//! of the text: it may hold a token or SDP.

use super::{FromPage, MAX_BYTES, PageBody, VERSION};
use crate::code::Code;
use serde_json::{Map, Value};
use std::ops::RangeInclusive;

/// Why a text is no message: what the `error` message says of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct MessageError {
    /// `invalid_message`, `unknown_type` or `too_large`.
    pub code: Code,
    /// What is accepted, for people.
    pub detail: String,
    /// The `seq` of the message, if it had one.
    pub re: Option<u64>,
}

/// The largest `seq`: 2^53 - 1, exact in every JSON reader (RFC 8259 section 6).
const SEQ_MAX: u64 = 9_007_199_254_740_991;

/// The most minutes that one gift may have.
const GIFT_MAX_MINUTES: u64 = 60;

/// Reads a message of a page.
///
/// Errors: `too_large` above [`MAX_BYTES`], `unknown_type` for a kind this server does not know, `invalid_message` for
/// anything else that is not as [`FromPage`] has it. Unknown fields are ignored, so that newer pages can say more.
pub fn parse_message(text: &str) -> Result<FromPage, MessageError> {
    if text.len() > MAX_BYTES {
        return Err(MessageError { code: Code::TooLarge, detail: format!("a message may have at most {MAX_BYTES} bytes"), re: None });
    }
    let invalid = |detail: &str, re| MessageError { code: Code::InvalidMessage, detail: detail.to_owned(), re };
    let Ok(Value::Object(map)) = serde_json::from_str(text) else {
        return Err(invalid("a message is a JSON object", None));
    };
    let seq = map.get("seq").and_then(Value::as_u64).filter(|seq| (1..=SEQ_MAX).contains(seq));
    if map.get("v").and_then(Value::as_u64) != Some(u64::from(VERSION)) {
        return Err(invalid("`v` must be 1: this server speaks version 1", seq));
    }
    let Some(kind) = map.get("type").and_then(Value::as_str) else {
        return Err(invalid("`type` must say what kind of message this is", seq));
    };
    let reader = Reader { map: &map, seq };
    let body = match kind {
        "hello" => PageBody::Hello { token: reader.text("token", 1..=2048)?, page: reader.text("page", 8..=64)? },
        "offer" => PageBody::Offer { sdp: reader.text("sdp", 1..=MAX_BYTES)? },
        "ice_restart" => PageBody::IceRestart { sdp: reader.text("sdp", 1..=MAX_BYTES)? },
        "extend" => PageBody::Extend { key: reader.text("key", 8..=64)? },
        "gift" => PageBody::Gift { key: reader.text("key", 8..=64)?, minutes: reader.minutes()? },
        "devices" => PageBody::Devices { audio: reader.flag("audio")?, video: reader.flag("video")? },
        "hang_up" => PageBody::HangUp,
        "report_abuse" => PageBody::ReportAbuse,
        "im_here" => PageBody::ImHere {},
        "says_asleep" => PageBody::SaysAsleep {},
        "says_awake" => PageBody::SaysAwake {},
        "record" => PageBody::Record { consent: reader.flag("consent")? },
        "ping" => PageBody::Ping { at: reader.number("at")? },
        _ => {
            let detail = "this server does not know messages of this kind".to_owned();
            return Err(MessageError { code: Code::UnknownType, detail, re: seq });
        }
    };
    if seq.is_none() && !matches!(body, PageBody::Hello { .. } | PageBody::Ping { .. }) {
        return Err(invalid("`seq` must be the number of this message, from 1", None));
    }
    Ok(FromPage { v: VERSION, seq: seq.unwrap_or(0), body })
}

struct Reader<'a> {
    map: &'a Map<String, Value>,
    seq: Option<u64>,
}

impl Reader<'_> {
    fn invalid(&self, detail: String) -> MessageError {
        MessageError { code: Code::InvalidMessage, detail, re: self.seq }
    }

    fn text(&self, name: &str, length: RangeInclusive<usize>) -> Result<String, MessageError> {
        match self.map.get(name).and_then(Value::as_str) {
            Some(text) if length.contains(&text.chars().count()) => Ok(text.to_owned()),
            _ => Err(self.invalid(format!("`{name}` must be a text of {} to {} characters", length.start(), length.end()))),
        }
    }

    fn flag(&self, name: &str) -> Result<bool, MessageError> {
        self.map.get(name).and_then(Value::as_bool).ok_or_else(|| self.invalid(format!("`{name}` must be true or false")))
    }

    fn number(&self, name: &str) -> Result<f64, MessageError> {
        self.map.get(name).and_then(Value::as_f64).ok_or_else(|| self.invalid(format!("`{name}` must be a number")))
    }

    fn minutes(&self) -> Result<u32, MessageError> {
        let minutes = self.map.get("minutes").and_then(Value::as_u64).filter(|m| (1..=GIFT_MAX_MINUTES).contains(m));
        minutes
            .and_then(|minutes| u32::try_from(minutes).ok())
            .ok_or_else(|| self.invalid(format!("`minutes` must be a whole number from 1 to {GIFT_MAX_MINUTES}")))
    }
}

#[cfg(test)]
mod tests;
