//! A night in words for people: what pages show of it while it lasts, and what its record says.
//!
//! The record keeps the grounds of every verdict that led to a linger, and no sound.

use super::json::{Json, object};
use crate::billing::{Segment, SegmentKind};
use crate::call::{Call, Fact, Phase, sleep_word, why_word};
use crate::clock::{Moment, Span};
use crate::sleep::{Grounds, Verdict};

/// How an until-asleep call stands with sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nightly {
    /// Where it is on its way.
    pub phase: Phase,
    /// When the linger or the landing is over.
    pub ends_at: Option<Moment>,
    /// What the client is taken for, and why; none before the ear said anything.
    pub verdict: Option<Verdict>,
    /// The companion should say something softly.
    pub wants_a_word: bool,
}

impl Nightly {
    pub(super) fn of(call: &Call) -> Option<Self> {
        Some(Self { phase: call.phase()?, ends_at: call.phase_ends_at(), verdict: call.verdict(), wants_a_word: call.wants_a_word() })
    }
}

/// What the record says of the night; none of a call that takes no notice of sleep.
pub(super) fn slept(call: &Call, segments: &[Segment]) -> Option<Json<'static>> {
    let night = call.terms().night?;
    let landed = segments.iter().filter(|segment| segment.kind == SegmentKind::Landing);
    let landing_ms: i64 = landed.map(|segment| segment.to.since(segment.from).ms()).sum();
    let mut last = None;
    let mut lingers: Vec<Json<'static>> = Vec::new();
    for entry in call.entries() {
        let at = || entry.at.to_string();
        match &entry.fact {
            Fact::Sleep { verdict } => last = Some(verdict),
            Fact::Lingers { by, verdict, .. } => lingers.push(object!({
                "by": by.name(), "asleep_at": at(), "verdict": verdict.as_ref().map(shown),
                "landed_at": Json::Null, "confirmed": false, "woken_at": Json::Null, "woken_by": Json::Null,
            })),
            Fact::Lands { confirmed } => {
                if let Some(linger) = lingers.last_mut() {
                    linger.put("landed_at", at());
                    linger.put("confirmed", *confirmed);
                }
            }
            Fact::Woken { by } => {
                if let Some(linger) = lingers.last_mut() {
                    linger.put("woken_at", at());
                    linger.put("woken_by", by.name());
                }
            }
            _ => {}
        }
    }
    Some(object!({
        "linger_s": night.linger.whole_s(),
        "fade_s": night.fade.whole_s(),
        "probe_s": night.probe.map(Span::whole_s),
        "landing_ms": landing_ms,
        "last": last.map(shown),
        "lingers": lingers,
    }))
}

/// A verdict with its grounds.
pub(super) fn shown(verdict: &Verdict) -> Json<'static> {
    let Grounds { why, evidence_milli, period_ms, constancy_bp, quiet_s, movements, missing_bp, unanswered } = verdict.grounds;
    object!({
        "state": sleep_word(verdict.state),
        "since_at": verdict.since.to_string(),
        "why": why_word(why),
        "evidence_milli": evidence_milli,
        "period_ms": period_ms,
        "constancy_bp": constancy_bp,
        "quiet_s": quiet_s,
        "movements": movements,
        "missing_bp": missing_bp,
        "unanswered": unanswered,
    })
}
