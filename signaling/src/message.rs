//! Messages between page and server, the same on the WebSocket `/v1/signal` and on the data channel `control`.
//!
//! JSON objects `{"v": 1, "type": …, "seq": n, …}`. Each direction numbers its messages from 1 (the page for each load, the
//! server for each party of a call); what arrives twice, by socket and by data channel, counts once. Kinds the server does
//! not know are answered with `error` / `unknown_type` and change nothing. Fields a receiver does not know are ignored.

mod reading;

pub use reading::{MessageError, parse_message};

use crate::code::Code;
use crate::inbound::Role;
use serde::{Deserialize, Serialize};

/// The version of the messages.
pub const VERSION: u8 = 1;

/// The longest message accepted, in bytes (an SDP offer is below 20,000).
pub const MAX_BYTES: usize = 65_536;

/// From the page. `seq` is required on all but `hello` and `ping`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FromPage {
    /// Always 1.
    pub v: u8,
    /// The page's number of this message, from 1.
    #[serde(default)]
    pub seq: u64,
    /// What it says.
    #[serde(flatten)]
    pub body: PageBody,
}

/// What a page says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum PageBody {
    /// First on every socket: the join token from behind the `#` of the link. `page` is a random text (8 to 64 characters)
    /// made at each load of the page, so that messages of one load are numbered together over several sockets.
    Hello { token: String, page: String },
    /// An SDP offer: joins the call with a new leg.
    Offer { sdp: String },
    /// An SDP offer with new ICE credentials for the page's own leg.
    IceRestart { sdp: String },
    /// The client buys one more block, or tops up, from her wallet. `key` makes it count once (8 to 64 characters, new for each tap).
    Extend { key: String },
    /// The companion gives time. `key` as above.
    Gift { key: String, minutes: u32 },
    /// Microphone and camera, for the other page to show; nothing is metered by it.
    Devices { audio: bool, video: bool },
    /// This party ends the call.
    HangUp,
    /// The companion's one button: ends the call at once with `abuse_reported`.
    ReportAbuse,
    /// The client tapped "I'm here" in an until-asleep call: she is awake, and a linger or landing is off.
    ImHere {},
    /// The companion says that the client sleeps: shortens a linger, or begins a short one.
    SaysAsleep {},
    /// The companion says that the client is still awake.
    SaysAwake {},
    /// This party allows the recording of the call, or no longer does.
    Record { consent: bool },
    /// Answered with `pong` and the same `at`.
    Ping { at: f64 },
}

/// From the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToPage {
    /// Always 1.
    pub v: u8,
    /// The server's number of this message to this party of the call, from 1; 0 on what is not repeated over the data channel
    /// (`welcome`, `answer`, `error`, `pong`, `replaced`).
    pub seq: u64,
    /// What it says.
    #[serde(flatten)]
    pub body: ServerBody,
}

impl ToPage {
    /// A message that goes out once, over one way.
    pub fn once(body: ServerBody) -> Self {
        Self { v: VERSION, seq: 0, body }
    }
}

/// What the server says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerBody {
    /// The token is good: who you are, and the call as it stands.
    Welcome { role: Role, call: Box<CallView> },
    /// The answer to `offer` or `ice_restart`; `re` is that message's `seq`.
    Answer { re: u64, leg: String, sdp: String },
    /// The call changed: show this.
    State { call: Box<CallView> },
    /// So much paid time is left; said at the plan's marks.
    Warning { remaining_s: u64 },
    /// Time was added: by whom, how much, free or paid.
    Extended { by: Asker, added_s: u64, free: bool },
    /// The call is over (also in the `state` that follows or precedes it): why, at whose fault, and the receipt.
    Ended { reason: String, at_fault: String, receipt: Option<serde_json::Value> },
    /// Another page joined as you: this one has no part in the call any more.
    Replaced {},
    /// Something this page asked for was not done; `re` is its `seq`, if it had one.
    Error { code: Code, detail: String, re: Option<u64> },
    /// The answer to `ping`.
    Pong { at: f64 },
}

/// Who asked for more time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asker {
    /// The client, paid by her wallet.
    Client,
    /// The companion, as a gift.
    Companion,
    /// The vendor.
    Vendor,
}

/// Money on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Amount {
    /// Minor units: 2000 is 20 yuan.
    pub amount: i64,
    /// ISO 4217.
    pub currency: String,
}

/// The call as one party may see it. Durations are as of the moment the message was made; a page counts on from its receipt
/// with its own monotonic clock while `running`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallView {
    /// The call's id.
    pub id: String,
    /// `connecting`, `live`, `paused` or `ended`.
    pub state: String,
    /// `audio` or `video`.
    pub media: String,
    /// The plan's name.
    pub plan_name: String,
    /// The grade that was paid for, if the plan has one.
    pub grade_paid: Option<String>,
    /// The companion's grade, if she has one.
    pub grade_delivered: Option<String>,
    /// `block`, `per_minute`, `flat` or `until_asleep`.
    pub plan_kind: String,
    /// Length of a block in seconds; 0 of other kinds.
    pub block_s: u64,
    /// Price of a block or of the whole call; of metered calls what a top-up sets aside.
    pub price: Amount,
    /// Of metered calls, while they are open: what a minute costs now.
    pub rate: Option<Rate>,
    /// For the client: what is set aside in all.
    pub held: Option<Amount>,
    /// For the client: the charge if the call ended now and she ended it.
    pub spent: Option<Amount>,
    /// The paid time runs out: false of one price for the whole call, which only the longest duration ends.
    pub limited: bool,
    /// Blocks bought so far; of other kinds the booking and its top-ups.
    pub blocks: u32,
    /// Paid and given time so far, in seconds; of metered calls as far as it is known.
    pub paid_s: u64,
    /// Of it, given for free.
    pub gift_s: u64,
    /// Delivered so far.
    pub delivered_ms: u64,
    /// Left of what was paid and given.
    pub remaining_ms: u64,
    /// The meter runs: the countdown moves.
    pub running: bool,
    /// Who is away (`client`, `companion`, `platform`), while paused.
    pub paused_by: Option<String>,
    /// After which the pause ends the call, while paused.
    pub pause_left_ms: Option<u64>,
    /// The parties as the other may see them.
    pub client: PartyView,
    /// See `client`.
    pub companion: PartyView,
    /// Of until-asleep calls: whether the client sleeps and what is done about it. There before the call is live, so that the
    /// client's page knows how to ask for its microphone.
    #[serde(default)]
    pub night: Option<NightView>,
    /// Of calls whose plan allows it: whether the call is recorded.
    #[serde(default)]
    pub recording: Option<RecordingView>,
    /// For the client: what her wallet has left to spend.
    pub available: Option<Amount>,
    /// For the client: the call can be extended now as far as the call goes (the wallet may still be short).
    pub can_extend: bool,
    /// For the companion: her part of one block or of the whole price; none of metered calls.
    pub pay: Option<Amount>,
    /// For the companion: her part if the call ended now.
    pub earned: Option<Amount>,
    /// For the companion: minutes she may still give.
    pub gift_left_s: Option<u64>,
    /// Why and at whose fault, once ended.
    pub end_reason: Option<String>,
    /// See `end_reason`.
    pub at_fault: Option<String>,
    /// Once settled: the client's receipt (for the companion: her statement).
    pub receipt: Option<serde_json::Value>,
}

/// An until-asleep call's night.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NightView {
    /// `listening`; `lingering`: she sleeps, the companion stays a while; `landing`: the companion's voice fades and the meter stands.
    pub phase: String,
    /// What the client is taken for: `awake`, `drowsy`, `asleep` or `unknown` (muted, absent, too little sound).
    pub sleep: String,
    /// For how long so far.
    pub sleep_for_ms: u64,
    /// Left of the linger or the landing.
    pub phase_left_ms: Option<u64>,
    /// For the companion: what decided, such as `speech`, `breathing`, `muted`.
    pub why: Option<String>,
    /// For the companion: what it rests on.
    pub grounds: Option<GroundsView>,
    /// For the companion: now is the time to say something softly; no answer is a sign of sleep.
    pub suggest: bool,
}

/// What a verdict on the client's sleep rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroundsView {
    /// Accumulated evidence, in thousandths.
    pub evidence_milli: i32,
    /// Period of her breathing, if one was found.
    pub period_ms: Option<u32>,
    /// How constant it stays, in basis points.
    pub constancy_bp: u16,
    /// Seconds since she last spoke.
    pub quiet_s: u32,
    /// Movements heard in the last five minutes.
    pub movements: u16,
    /// Of the last minute's sound, what is missing, in basis points.
    pub missing_bp: u16,
    /// How often the companion spoke, or a tone was played, without a response.
    pub unanswered: u16,
}

/// A call's recording, as both parties see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingView {
    /// The client has said yes.
    pub client: bool,
    /// The companion has said yes.
    pub companion: bool,
    /// It runs.
    pub running: bool,
    /// For how long it would be kept.
    pub keep_days: u32,
    /// Why it stopped before the end, once it did.
    pub stopped: Option<String>,
}

/// What a minute costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// The label of the plan's window; `any` where there is one rate.
    pub label: String,
    /// Money a minute.
    pub per_minute: Amount,
}

/// One party.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartyView {
    /// A name for people; text, never markup.
    pub name: String,
    /// Her leg is connected and heard.
    pub present: bool,
    /// Her microphone is on.
    pub audio: bool,
    /// Her camera is on.
    pub video: bool,
    /// In a video call: her browser can carry no video.
    pub audio_only: bool,
}
