//! A fact as JSON text, the form in which it is kept for ever.
//!
//! Invariant: what any released version wrote is read by all later ones; `fixtures/journal/` holds samples of each version.
//! A new kind of fact, or a new field with a default, keeps the version; anything else is a new version with its own
//! types beside these. The text of a row is never written anew: hashes cover it.

use super::night_row::{NightRow, SoundsRow, VerdictRow, WakerRow, WitnessRow};
use super::policy_row::PolicyRow;
use super::sold_row::SoldRow;
use crate::billing::{Conditions, Kind, Plan};
use crate::call::{Asker, EndReason, Fact, Fault, Limits, Medium, Policy, Quality, RecordingEnd, RecordingTerms, Shares, Side, Terms};
use crate::clock::{Moment, Span};
use crate::ids::ClientRef;
use crate::money::{Currency, Money};
use serde::{Deserialize, Serialize};
use std::fmt::Display;
use std::str::FromStr;

/// The version written.
pub(super) const VERSION: u32 = 1;

/// Why a row is not a fact.
#[derive(Debug, thiserror::Error)]
pub(super) enum FactRowError {
    /// A later lull wrote it, or nobody did.
    #[error("facts of version {0} are not known here, only up to {VERSION}")]
    Version(u32),
    /// Not the JSON of a fact.
    #[error("not a fact: {0}")]
    Json(#[from] serde_json::Error),
    /// An id, reference or currency in it is none.
    #[error("not a fact: {0}")]
    Text(String),
}

/// The text of a fact, in the version written.
pub(super) fn encode(fact: &Fact) -> Result<String, FactRowError> {
    Ok(serde_json::to_string(&FactRow::from(fact))?)
}

/// The fact of a text.
pub(super) fn decode(version: u32, text: &str) -> Result<Fact, FactRowError> {
    match version {
        1 => serde_json::from_str::<FactRow>(text)?.try_into(),
        other => Err(FactRowError::Version(other)),
    }
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "snake_case", deny_unknown_fields)]
enum FactRow {
    Created {
        terms: Box<TermsRow>,
        hold: String,
    },
    Joined {
        side: SideRow,
        leg: String,
    },
    Connected {
        side: SideRow,
        leg: String,
    },
    Heard {
        from: SideRow,
    },
    Lost {
        side: SideRow,
        leg: String,
        since_ms: i64,
    },
    Back {
        side: SideRow,
        leg: String,
    },
    LinkRenewed {
        side: SideRow,
        token: String,
    },
    Started {},
    Paused {
        cause: FaultRow,
        since_ms: i64,
    },
    Resumed {},
    Warned {
        left_ms: i64,
    },
    Extended {
        by: AskerRow,
        hold: String,
        order_ref: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        amount: Option<MoneyRow>,
    },
    Gifted {
        by: AskerRow,
        length_ms: i64,
        /// Rows before gifts had names have none, and so have the vendor's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gift: Option<String>,
    },
    Recovered {
        boot: String,
        proved_until_ms: i64,
    },
    Suspended {
        since_ms: i64,
    },
    Sleep {
        verdict: VerdictRow,
    },
    Lingers {
        by: WitnessRow,
        length_ms: i64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        verdict: Option<VerdictRow>,
    },
    Lands {
        confirmed: bool,
    },
    Woken {
        by: WakerRow,
    },
    Consented {
        side: SideRow,
        yes: bool,
    },
    RecordingStarted {
        part: u32,
    },
    RecordingStopped {
        part: u32,
        why: RecordingEndRow,
    },
    Quality {
        side: SideRow,
        packets: u64,
        lost_bp: u32,
        rtt_ms: Option<u32>,
    },
    Ended {
        reason: ReasonRow,
        at_fault: FaultRow,
    },
    Settled {
        charge: MoneyRow,
        refund: MoneyRow,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TermsRow {
    vendor: String,
    plan: String,
    plan_name: String,
    /// Rows before plans of other kinds have these two and no `sold`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    block_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    price: Option<MoneyRow>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sold: Option<SoldRow>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hold: Option<MoneyRow>,
    grade_paid: Option<String>,
    grade_delivered: Option<String>,
    client: String,
    client_name: Option<String>,
    companion: String,
    companion_name: String,
    medium: MediumRow,
    /// What the vendor gives beyond the defaults of version 1; rows without it have those.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    policy: Option<PolicyRow>,
    companion_bps: u16,
    vendor_bps: u16,
    client_token: String,
    companion_token: String,
    limits: LimitsRow,
    /// Rows before version 4 of the layout have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    zones: Option<String>,
    /// Rows before nights have neither: such a call takes no notice of sleep, and the server is silent in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    night: Option<NightRow>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sounds: Option<SoundsRow>,
    /// For how long a recording is kept; rows of calls that may not be recorded have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    record_keep_ms: Option<i64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsRow {
    media_timeout_ms: i64,
    quiet_timeout_ms: i64,
    pause_limit_ms: i64,
    connect_limit_ms: i64,
    no_show_limit_ms: i64,
    listen_only_after_ms: i64,
    max_duration_ms: i64,
    gift_limit_ms: i64,
    warnings_ms: Vec<i64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MoneyRow {
    amount: i64,
    currency: String,
}

/// An enum of words, the same on both sides.
macro_rules! words {
    ($row:ident = $domain:ident { $($word:ident),+ $(,)? }) => {
        #[derive(Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub(super) enum $row {
            $($word),+
        }

        impl From<$domain> for $row {
            fn from(word: $domain) -> Self {
                match word {
                    $($domain::$word => Self::$word),+
                }
            }
        }

        impl From<$row> for $domain {
            fn from(word: $row) -> Self {
                match word {
                    $($row::$word => Self::$word),+
                }
            }
        }
    };
}

pub(super) use words;

words!(SideRow = Side { Client, Companion });
words!(MediumRow = Medium { Audio, Video });
words!(FaultRow = Fault { Client, Companion, Platform, None });
words!(AskerRow = Asker { Client, Companion, Vendor });
words!(RecordingEndRow = RecordingEnd { ClientStopped, CompanionStopped, CallEnded, DiskFull, Failed, ServerStopped, LinkRenewed });
words!(
    ReasonRow = EndReason {
        TimeExpired,
        FundsExhausted,
        CapReached,
        Asleep,
        ClientLeft,
        CompanionLeft,
        VendorEnded,
        AbuseReported,
        NoAnswer,
        ClientNoShow,
        CompanionNoShow,
        MediaTimeout,
        ConnectFailed,
        MaxDuration,
        ServerFault,
    }
);

impl From<&Fact> for FactRow {
    fn from(fact: &Fact) -> Self {
        match fact {
            Fact::Created { terms, hold } => Self::Created { terms: Box::new(terms.as_ref().into()), hold: hold.to_string() },
            Fact::Joined { side, leg } => Self::Joined { side: (*side).into(), leg: leg.to_string() },
            Fact::Connected { side, leg } => Self::Connected { side: (*side).into(), leg: leg.to_string() },
            Fact::Heard { from } => Self::Heard { from: (*from).into() },
            Fact::Lost { side, leg, since } => Self::Lost { side: (*side).into(), leg: leg.to_string(), since_ms: since.unix_ms() },
            Fact::Back { side, leg } => Self::Back { side: (*side).into(), leg: leg.to_string() },
            Fact::LinkRenewed { side, token } => Self::LinkRenewed { side: (*side).into(), token: token.to_string() },
            Fact::Started => Self::Started {},
            Fact::Paused { cause, since } => Self::Paused { cause: (*cause).into(), since_ms: since.unix_ms() },
            Fact::Resumed => Self::Resumed {},
            Fact::Warned { left } => Self::Warned { left_ms: left.ms() },
            Fact::Extended { by, hold, order_ref, amount } => {
                Self::Extended { by: (*by).into(), hold: hold.to_string(), order_ref: order_ref.clone(), amount: amount.map(Into::into) }
            }
            Fact::Gifted { by, length, gift } => {
                Self::Gifted { by: (*by).into(), length_ms: length.ms(), gift: gift.map(|gift| gift.to_string()) }
            }
            Fact::Recovered { boot, proved_until } => Self::Recovered { boot: boot.to_string(), proved_until_ms: proved_until.unix_ms() },
            Fact::Suspended { since } => Self::Suspended { since_ms: since.unix_ms() },
            Fact::Sleep { verdict } => Self::Sleep { verdict: verdict.into() },
            Fact::Lingers { by, length, verdict } => {
                Self::Lingers { by: (*by).into(), length_ms: length.ms(), verdict: verdict.as_ref().map(Into::into) }
            }
            Fact::Lands { confirmed } => Self::Lands { confirmed: *confirmed },
            Fact::Woken { by } => Self::Woken { by: (*by).into() },
            Fact::Quality { side, quality: Quality { packets, lost_bp, rtt_ms } } => {
                Self::Quality { side: (*side).into(), packets: *packets, lost_bp: *lost_bp, rtt_ms: *rtt_ms }
            }
            Fact::Consented { side, yes } => Self::Consented { side: (*side).into(), yes: *yes },
            Fact::RecordingStarted { part } => Self::RecordingStarted { part: *part },
            Fact::RecordingStopped { part, why } => Self::RecordingStopped { part: *part, why: (*why).into() },
            Fact::Ended { reason, at_fault } => Self::Ended { reason: (*reason).into(), at_fault: (*at_fault).into() },
            Fact::Settled { charge, refund } => Self::Settled { charge: (*charge).into(), refund: (*refund).into() },
        }
    }
}

impl TryFrom<FactRow> for Fact {
    type Error = FactRowError;

    fn try_from(row: FactRow) -> Result<Self, FactRowError> {
        Ok(match row {
            FactRow::Created { terms, hold } => Self::Created { terms: Box::new((*terms).try_into()?), hold: read(&hold)? },
            FactRow::Joined { side, leg } => Self::Joined { side: side.into(), leg: read(&leg)? },
            FactRow::Connected { side, leg } => Self::Connected { side: side.into(), leg: read(&leg)? },
            FactRow::Heard { from } => Self::Heard { from: from.into() },
            FactRow::Lost { side, leg, since_ms } => {
                Self::Lost { side: side.into(), leg: read(&leg)?, since: Moment::from_unix_ms(since_ms) }
            }
            FactRow::Back { side, leg } => Self::Back { side: side.into(), leg: read(&leg)? },
            FactRow::LinkRenewed { side, token } => Self::LinkRenewed { side: side.into(), token: read(&token)? },
            FactRow::Started {} => Self::Started,
            FactRow::Paused { cause, since_ms } => Self::Paused { cause: cause.into(), since: Moment::from_unix_ms(since_ms) },
            FactRow::Resumed {} => Self::Resumed,
            FactRow::Warned { left_ms } => Self::Warned { left: Span::from_ms(left_ms) },
            FactRow::Extended { by, hold, order_ref, amount } => {
                Self::Extended { by: by.into(), hold: read(&hold)?, order_ref, amount: amount.map(TryInto::try_into).transpose()? }
            }
            FactRow::Gifted { by, length_ms, gift } => {
                let gift = gift.as_deref().map(read).transpose()?;
                Self::Gifted { by: by.into(), length: Span::from_ms(length_ms), gift }
            }
            FactRow::Recovered { boot, proved_until_ms } => {
                Self::Recovered { boot: read(&boot)?, proved_until: Moment::from_unix_ms(proved_until_ms) }
            }
            FactRow::Suspended { since_ms } => Self::Suspended { since: Moment::from_unix_ms(since_ms) },
            FactRow::Sleep { verdict } => Self::Sleep { verdict: verdict.into() },
            FactRow::Lingers { by, length_ms, verdict } => {
                Self::Lingers { by: by.into(), length: Span::from_ms(length_ms), verdict: verdict.map(Into::into) }
            }
            FactRow::Lands { confirmed } => Self::Lands { confirmed },
            FactRow::Woken { by } => Self::Woken { by: by.into() },
            FactRow::Quality { side, packets, lost_bp, rtt_ms } => {
                Self::Quality { side: side.into(), quality: Quality { packets, lost_bp, rtt_ms } }
            }
            FactRow::Consented { side, yes } => Self::Consented { side: side.into(), yes },
            FactRow::RecordingStarted { part } => Self::RecordingStarted { part },
            FactRow::RecordingStopped { part, why } => Self::RecordingStopped { part, why: why.into() },
            FactRow::Ended { reason, at_fault } => Self::Ended { reason: reason.into(), at_fault: at_fault.into() },
            FactRow::Settled { charge, refund } => Self::Settled { charge: charge.try_into()?, refund: refund.try_into()? },
        })
    }
}

impl From<&Terms> for TermsRow {
    fn from(terms: &Terms) -> Self {
        Self {
            vendor: terms.vendor.to_string(),
            plan: terms.plan.to_string(),
            plan_name: terms.plan_name.clone(),
            block_ms: None,
            price: None,
            sold: Some((&terms.sold).into()),
            hold: Some(terms.hold.into()),
            grade_paid: terms.grade_paid.clone(),
            grade_delivered: terms.grade_delivered.clone(),
            client: terms.client.to_string(),
            client_name: terms.client_name.clone(),
            companion: terms.companion.to_string(),
            companion_name: terms.companion_name.clone(),
            medium: terms.medium.into(),
            policy: PolicyRow::of(&terms.policy),
            companion_bps: terms.shares.companion_bps,
            vendor_bps: terms.shares.vendor_bps,
            client_token: terms.client_token.to_string(),
            companion_token: terms.companion_token.to_string(),
            limits: (&terms.limits).into(),
            zones: terms.zones.clone(),
            night: terms.night.as_ref().map(Into::into),
            sounds: SoundsRow::of(&terms.sounds),
            record_keep_ms: terms.recording.map(|recording| recording.keep.ms()),
        }
    }
}

impl TryFrom<TermsRow> for Terms {
    type Error = FactRowError;

    fn try_from(row: TermsRow) -> Result<Self, FactRowError> {
        let text = |error: &dyn Display| FactRowError::Text(error.to_string());
        let (sold, hold) = match (row.sold, row.hold, row.block_ms, row.price) {
            (Some(sold), Some(hold), None, None) => {
                let hold: Money = hold.try_into()?;
                (sold.read(hold.currency).map_err(|error| text(&error))?, hold)
            }
            (None, None, Some(block_ms), Some(price)) => {
                let price: Money = price.try_into()?;
                let block = Kind::Block { block_s: Span::from_ms(block_ms).whole_s(), price: price.amount };
                (Plan::new(price.currency, block, Conditions::default()).map_err(|error| text(&error))?, price)
            }
            _ => return Err(text(&"terms have either a plan and a hold, or a block and a price")),
        };
        Ok(Self {
            vendor: read(&row.vendor)?,
            plan: read(&row.plan)?,
            plan_name: row.plan_name,
            sold,
            hold,
            grade_paid: row.grade_paid,
            grade_delivered: row.grade_delivered,
            client: read::<ClientRef>(&row.client)?,
            client_name: row.client_name,
            companion: read(&row.companion)?,
            companion_name: row.companion_name,
            medium: row.medium.into(),
            policy: row.policy.map_or_else(|| Ok(Policy::default()), PolicyRow::read).map_err(|error| text(&error))?,
            shares: Shares { companion_bps: row.companion_bps, vendor_bps: row.vendor_bps },
            client_token: read(&row.client_token)?,
            companion_token: read(&row.companion_token)?,
            limits: row.limits.into(),
            zones: row.zones,
            night: row.night.map(Into::into),
            sounds: row.sounds.map(Into::into).unwrap_or_default(),
            recording: row.record_keep_ms.map(|keep| RecordingTerms { keep: Span::from_ms(keep) }),
        })
    }
}

impl From<&Limits> for LimitsRow {
    fn from(limits: &Limits) -> Self {
        Self {
            media_timeout_ms: limits.media_timeout.ms(),
            quiet_timeout_ms: limits.quiet_timeout.ms(),
            pause_limit_ms: limits.pause_limit.ms(),
            connect_limit_ms: limits.connect_limit.ms(),
            no_show_limit_ms: limits.no_show_limit.ms(),
            listen_only_after_ms: limits.listen_only_after.ms(),
            max_duration_ms: limits.max_duration.ms(),
            gift_limit_ms: limits.gift_limit.ms(),
            warnings_ms: limits.warnings.iter().map(|left| left.ms()).collect(),
        }
    }
}

impl From<LimitsRow> for Limits {
    fn from(row: LimitsRow) -> Self {
        Self {
            media_timeout: Span::from_ms(row.media_timeout_ms),
            quiet_timeout: Span::from_ms(row.quiet_timeout_ms),
            pause_limit: Span::from_ms(row.pause_limit_ms),
            connect_limit: Span::from_ms(row.connect_limit_ms),
            no_show_limit: Span::from_ms(row.no_show_limit_ms),
            listen_only_after: Span::from_ms(row.listen_only_after_ms),
            max_duration: Span::from_ms(row.max_duration_ms),
            gift_limit: Span::from_ms(row.gift_limit_ms),
            warnings: row.warnings_ms.into_iter().map(Span::from_ms).collect(),
        }
    }
}

impl From<Money> for MoneyRow {
    fn from(money: Money) -> Self {
        Self { amount: money.amount, currency: money.currency.code().to_owned() }
    }
}

impl TryFrom<MoneyRow> for Money {
    type Error = FactRowError;

    fn try_from(row: MoneyRow) -> Result<Self, FactRowError> {
        Ok(Self::new(row.amount, read::<Currency>(&row.currency)?))
    }
}

fn read<T: FromStr<Err: Display>>(text: &str) -> Result<T, FactRowError> {
    text.parse().map_err(|error: T::Err| FactRowError::Text(format!("{text:?}: {error}")))
}
