//! A call: its terms, what can happen to it, and what became true.
//!
//! The machine is a pure value: an [`Event`] and a [`Moment`] go in, [`Effect`]s come out. State changes
//! only through [`Fact`]s, so replaying the facts of a call gives the call. It knows nothing of wallets, tokens, sockets
//! or SDP; money enters only as "this hold was granted".
//!
//! This file has the words that are kept on disk; `event` what comes in and goes out, `state` how facts add up,
//! `machine` what is decided, `night` what is decided about sleep, `recording` who agreed to be recorded, `recover` what a crash leaves of
//! a call, `policy` how an end is settled, `names` how it is all spelled.

mod event;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod machine;
mod names;
mod night;
mod policy;
mod recording;
mod recover;
mod state;
mod terms;

pub use event::{Answered, Audio, Cue, Effect, Event, Notice, Refused, RequestId};
pub use names::{NameError, sleep_word, why_word};
pub use night::{Linger, Phase};
pub use policy::{Ending, Policy, PolicyError, Rule, Sold};
pub use recording::{Recording, RecordingEnd, RecordingTerms};
pub use recover::{Basis, Proof};
pub use state::{Call, Party, ReplayError, State};
pub use terms::TermsError;

use crate::billing::Plan;
use crate::clock::{Moment, Span};
use crate::ids::{BootId, CallId, ClientRef, CompanionId, GiftId, HoldId, LegId, PlanId, TokenId, VendorId};
use crate::money::Money;
use crate::sleep::Verdict;

/// One of the two parties.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Pays and is listened to.
    Client,
    /// Listens and is paid.
    Companion,
}

/// What a call may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// Sound only: video is answered with port 0.
    Audio,
    /// Sound and picture.
    Video,
}

/// Who answers for a pause or an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The client or her network.
    Client,
    /// The companion or her network.
    Companion,
    /// lull or the machine it runs on.
    Platform,
    /// Nobody: the call ran its course.
    None,
}

/// Why a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The paid time is used up.
    TimeExpired,
    /// The next increment would cost more than is set aside.
    FundsExhausted,
    /// The cap of an until-asleep plan is reached.
    CapReached,
    /// The client fell asleep and the call landed.
    Asleep,
    /// The client hung up.
    ClientLeft,
    /// The companion hung up.
    CompanionLeft,
    /// The vendor ended it.
    VendorEnded,
    /// The companion reported abuse.
    AbuseReported,
    /// Neither party came.
    NoAnswer,
    /// The companion came and the client did not.
    ClientNoShow,
    /// The client came and the companion did not.
    CompanionNoShow,
    /// A side stayed away for longer than a pause may last.
    MediaTimeout,
    /// Both came and their media never met.
    ConnectFailed,
    /// The longest time a call may last has passed.
    MaxDuration,
    /// lull stopped or failed.
    ServerFault,
}

/// Of a charge, what each party gets, in basis points that sum to 10,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// The companion's part.
    pub companion_bps: u16,
    /// The vendor's part.
    pub vendor_bps: u16,
}

/// What was agreed when the call was made. It never changes afterwards: plans and settings may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The vendor who sold the call.
    pub vendor: VendorId,
    /// The plan it was sold by.
    pub plan: PlanId,
    /// The plan's name, as text for people.
    pub plan_name: String,
    /// What was sold, and by which rules it is rated.
    pub sold: Plan,
    /// What the booking sets aside, and each extension that names no amount: the price of a block or of the call, or a sum that
    /// is metered down.
    pub hold: Money,
    /// The grade the client pays for, where the plan names one.
    pub grade_paid: Option<String>,
    /// The grade of the companion for this vendor, where she has one.
    pub grade_delivered: Option<String>,
    /// The paying client.
    pub client: ClientRef,
    /// What the client is called on the companion's page; text for people.
    pub client_name: Option<String>,
    /// The companion who was asked for.
    pub companion: CompanionId,
    /// What the companion is called on the client's page; text for people.
    pub companion_name: String,
    /// Sound or sound and picture.
    pub medium: Medium,
    /// Which settlement its end will call for.
    pub policy: Policy,
    /// How a charge is split.
    pub shares: Shares,
    /// `jti` of the client's join token.
    pub client_token: TokenId,
    /// `jti` of the companion's join token.
    pub companion_token: TokenId,
    /// The time limits.
    pub limits: Limits,
    /// The release of the time zone database that the hours of its plan are looked up in; none in journals from before it was kept.
    pub zones: Option<String>,
    /// How the call ends when the client sleeps; none: it takes no notice of that.
    pub night: Option<Night>,
    /// What the server lets be heard.
    pub sounds: Sounds,
    /// Whether the call may be recorded, once both parties say yes; none allows it never.
    pub recording: Option<RecordingTerms>,
}

/// How an until-asleep call ends (design.md section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Night {
    /// For how long the companion stays once the client sleeps (default 5 min).
    pub linger: Span,
    /// How long her voice takes to fade; no delivered time (default 60 s).
    pub fade: Span,
    /// The server plays a very quiet tone to a drowsy client, at most once in this time; none: the companion is asked to speak.
    pub probe: Option<Span>,
}

impl Default for Night {
    fn default() -> Self {
        Self { linger: Span::from_s(300), fade: Span::from_s(60), probe: None }
    }
}

/// What the server lets be heard beside the parties. The default is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sounds {
    /// How loud the chime at one minute left and at an extension is, in dBFS (-60 to -10); none: there is none.
    pub chime: Option<i8>,
    /// A soft sound while the client waits for the companion.
    pub waiting: bool,
}

/// The time limits of a call (design.md section 3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A leg that sends nothing for this long is lost (default 5 s).
    pub media_timeout: Span,
    /// The same for a leg from which only RTCP or STUN is expected (default 15 s).
    pub quiet_timeout: Span,
    /// A side that is away for longer ends the call (default 60 s, counted from its last proof of life).
    pub pause_limit: Span,
    /// Both joined (for the first time) and still not live after this: `connect_failed` (default 60 s).
    pub connect_limit: Span,
    /// A leg that has not joined this long after creation: no-show (default 10 min).
    pub no_show_limit: Span,
    /// The client may listen only: live this long after the companion's audio reaches her (default 5 s).
    pub listen_only_after: Span,
    /// No call delivers more than this (default 12 h): extensions and gifts beyond it are refused.
    pub max_duration: Span,
    /// The most time a companion may give away in one call (default 60 min).
    pub gift_limit: Span,
    /// Warn when this much paid time is left, longest first (default 5 min, 1 min, 10 s).
    pub warnings: Vec<Span>,
}

/// Who asked for more time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// The client, from her page, paid by her wallet.
    Client,
    /// The companion, as a gift.
    Companion,
    /// The vendor's API.
    Vendor,
}

/// Who says that the client sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Witness {
    /// The server, from what it hears.
    Ear,
    /// The companion.
    Companion,
}

/// What ended a linger or a landing before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waker {
    /// The client spoke or moved.
    Speech,
    /// She tapped.
    Tap,
    /// The companion says that she is awake.
    Companion,
    /// The server is not certain any more.
    Ear,
}

/// What became true of a call. Facts are journalled in order and never change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The call exists and its first purchase is on hold.
    Created { terms: Box<Terms>, hold: HoldId },
    /// A party's offer was accepted for a new leg.
    Joined { side: Side, leg: LegId },
    /// The leg's transport is up (ICE and DTLS); an earlier leg of that side is replaced.
    Connected { side: Side, leg: LegId },
    /// Audio from this side reached the other, for the first time since its leg connected.
    Heard { from: Side },
    /// The leg gave its last proof of life at `since`.
    Lost { side: Side, leg: LegId, since: Moment },
    /// A lost leg is heard again.
    Back { side: Side, leg: LegId },
    /// Both hear each other: the meter runs.
    Started,
    /// The meter stands since `since` (the last proof of life), because of `cause`. A second one in the same pause says that
    /// the cause changed at its `since`; one not later than the pause's own start moves that start back, also into spans of
    /// before it.
    Paused { cause: Fault, since: Moment },
    /// Both sides deliver again: the meter runs.
    Resumed,
    /// Both pages were told that this much paid time is left.
    Warned { left: Span },
    /// More time was bought: its hold is granted. `amount`: none if it is the terms' own.
    Extended { by: Asker, hold: HoldId, order_ref: Option<String>, amount: Option<Money> },
    /// Free time was given, after all paid time. `gift` names it where a page asked, so that the same tap counts once.
    Gifted { by: Asker, length: Span, gift: Option<GiftId> },
    /// The vendor withdrew a side's link: from now on only this token counts.
    LinkRenewed { side: Side, token: TokenId },
    /// The server `boot` took the call up from disk: both legs are gone, and nothing after `proved_until` is proved. It is our
    /// outage until each side is back.
    Recovered { boot: BootId, proved_until: Moment },
    /// The machine slept since then, and with it every limit that ran.
    Suspended { since: Moment },
    /// What the client is taken for changed.
    Sleep { verdict: Verdict },
    /// She is taken to be asleep: the companion stays for so long yet. `verdict`: what the ear said then, if anything.
    Lingers { by: Witness, length: Span, verdict: Option<Verdict> },
    /// The companion's voice fades: the meter stands from now on. `confirmed`: she says so herself, so the linger was cut short.
    Lands { confirmed: bool },
    /// A linger or a landing is off; after a landing the meter runs again.
    Woken { by: Waker },
    /// A party says whether the call may be recorded; a no takes back what both said before.
    Consented { side: Side, yes: bool },
    /// Both agree: the sound of each is kept from now on, as this part (from 1).
    RecordingStarted { part: u32 },
    /// The part is over; to begin another both must agree anew.
    RecordingStopped { part: u32, why: RecordingEnd },
    /// What the media plane measured of one side until now.
    Quality { side: Side, quality: Quality },
    /// The call is over.
    Ended { reason: EndReason, at_fault: Fault },
    /// The money is settled: see the record.
    Settled { charge: Money, refund: Money },
}

/// How one side's media fared, as the server saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Quality {
    /// RTP packets the server received from this side.
    pub packets: u64,
    /// Of the packets this side's sequence numbers promised, those that never came, in parts per 10,000.
    pub lost_bp: u32,
    /// Round trip between server and page by RTCP, the last seen; none before a report came.
    pub rtt_ms: Option<u32>,
}

/// A fact with its place in the journal of its call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// From 1, without gaps.
    pub seq: u64,
    /// When it became true.
    pub at: Moment,
    /// What.
    pub fact: Fact,
}

/// The journal of one call, read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    /// The call.
    pub call: CallId,
    /// Its facts in order.
    pub entries: Vec<Entry>,
}
