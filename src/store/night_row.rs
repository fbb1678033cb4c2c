//! What is kept of nights: a plan's and a call's terms for them, and verdicts on the client's sleep. JSON text that is read for ever, as
//! [`super::fact_row`] has it.

use crate::call::{Night, Sounds, Waker, Witness};
use crate::clock::{Moment, Span};
use crate::sleep::{Grounds, State, Verdict, Why};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NightRow {
    linger_s: i64,
    fade_s: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    probe_s: Option<i64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SoundsRow {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chime_dbfs: Option<i8>,
    waiting: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VerdictRow {
    state: StateRow,
    since_ms: i64,
    why: WhyRow,
    evidence_milli: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    period_ms: Option<u32>,
    constancy_bp: u16,
    quiet_s: u32,
    movements: u16,
    missing_bp: u16,
    unanswered: u16,
}

super::fact_row::words!(StateRow = State { Awake, Drowsy, Asleep, Unknown });
super::fact_row::words!(
    WhyRow = Why { Starting, Speech, Movement, Tap, Quiet, Irregular, Breathing, Machine, Background, Muted, Absent, Lost, Companion }
);
super::fact_row::words!(WitnessRow = Witness { Ear, Companion });
super::fact_row::words!(WakerRow = Waker { Speech, Tap, Companion, Ear });

/// The text of a plan's night.
pub(super) fn night_text(night: &Night) -> String {
    // Numbers only: this cannot fail.
    serde_json::to_string(&NightRow::from(night)).unwrap_or_default()
}

/// The text of a plan's sounds.
pub(super) fn sounds_text(sounds: &Sounds) -> String {
    // As above.
    serde_json::to_string(&SoundsRow::from(sounds)).unwrap_or_default()
}

/// The night of a text.
pub(super) fn night(text: &str) -> serde_json::Result<Night> {
    serde_json::from_str::<NightRow>(text).map(Into::into)
}

/// The sounds of a text.
pub(super) fn sounds(text: &str) -> serde_json::Result<Sounds> {
    serde_json::from_str::<SoundsRow>(text).map(Into::into)
}

impl SoundsRow {
    /// None for silence, which is what terms from before have.
    pub(super) fn of(sounds: &Sounds) -> Option<Self> {
        (*sounds != Sounds::default()).then(|| sounds.into())
    }
}

impl From<&Night> for NightRow {
    fn from(night: &Night) -> Self {
        Self { linger_s: night.linger.whole_s(), fade_s: night.fade.whole_s(), probe_s: night.probe.map(Span::whole_s) }
    }
}

impl From<NightRow> for Night {
    fn from(row: NightRow) -> Self {
        Self { linger: Span::from_s(row.linger_s), fade: Span::from_s(row.fade_s), probe: row.probe_s.map(Span::from_s) }
    }
}

impl From<&Sounds> for SoundsRow {
    fn from(sounds: &Sounds) -> Self {
        Self { chime_dbfs: sounds.chime, waiting: sounds.waiting }
    }
}

impl From<SoundsRow> for Sounds {
    fn from(row: SoundsRow) -> Self {
        Self { chime: row.chime_dbfs, waiting: row.waiting }
    }
}

impl From<&Verdict> for VerdictRow {
    fn from(verdict: &Verdict) -> Self {
        let Grounds { why, evidence_milli, period_ms, constancy_bp, quiet_s, movements, missing_bp, unanswered } = verdict.grounds;
        Self {
            state: verdict.state.into(),
            since_ms: verdict.since.unix_ms(),
            why: why.into(),
            evidence_milli,
            period_ms,
            constancy_bp,
            quiet_s,
            movements,
            missing_bp,
            unanswered,
        }
    }
}

impl From<VerdictRow> for Verdict {
    fn from(row: VerdictRow) -> Self {
        let VerdictRow { evidence_milli, period_ms, constancy_bp, quiet_s, movements, missing_bp, unanswered, .. } = row;
        let grounds = Grounds { why: row.why.into(), evidence_milli, period_ms, constancy_bp, quiet_s, movements, missing_bp, unanswered };
        Self { state: row.state.into(), since: Moment::from_unix_ms(row.since_ms), grounds }
    }
}
