//! What terms a call can be made on. Everything behind [`Terms::check`] may rely on it.

use super::{Limits, Night, Side, Sounds, Terms};
use crate::billing::{HoldError, Kind};
use crate::clock::Span;

/// No length of time in the terms is longer: a year. It keeps all arithmetic far from its limits.
const LONGEST: Span = Span::from_s(366 * 24 * 3600);

/// A chime that is heard and startles nobody.
const CHIME_DBFS: i8 = -30;

/// Why no call can be made on these terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TermsError {
    /// Not an amount that can be set aside for such a call.
    #[error(transparent)]
    Hold(#[from] HoldError),
    /// The parts of a charge are the charge.
    #[error("shares sum to 10000 basis points")]
    Shares,
    /// A limit that is negative or absurd.
    #[error("a time limit is between 0 and a year")]
    Limits,
    /// Only an until-asleep plan knows what sleep costs.
    #[error("only a call until asleep ends when the client sleeps")]
    Night,
    /// Not heard, or too loud.
    #[error("a chime has between -60 and -10 dBFS")]
    Chime,
}

impl Terms {
    /// Whether a call can be made on these terms.
    pub fn check(&self) -> Result<(), TermsError> {
        self.sold.check_hold(self.hold)?;
        if u32::from(self.shares.companion_bps) + u32::from(self.shares.vendor_bps) != 10_000 {
            return Err(TermsError::Shares);
        }
        let Limits {
            media_timeout,
            quiet_timeout,
            pause_limit,
            connect_limit,
            no_show_limit,
            listen_only_after,
            max_duration,
            gift_limit,
            warnings,
        } = &self.limits;
        let all = [media_timeout, quiet_timeout, pause_limit, connect_limit, no_show_limit, listen_only_after, max_duration, gift_limit];
        if all.into_iter().chain(warnings).any(|span| *span < Span::ZERO || *span > LONGEST) {
            return Err(TermsError::Limits);
        }
        if let Some(Night { linger, fade, probe }) = self.night {
            if !matches!(self.sold.kind(), Kind::UntilAsleep { .. }) {
                return Err(TermsError::Night);
            }
            // A tone every moment would wake everybody.
            let is_length = |span: Span| (Span::ZERO..=LONGEST).contains(&span);
            if !is_length(linger) || !is_length(fade) || probe.is_some_and(|every| !is_length(every) || every < Span::from_s(1)) {
                return Err(TermsError::Limits);
            }
        }
        let Sounds { chime, waiting: _ } = self.sounds;
        if chime.is_some_and(|dbfs| !(-60..=-10).contains(&dbfs)) { Err(TermsError::Chime) } else { Ok(()) }
    }

    /// The length of a block, where time is sold in blocks.
    pub fn block(&self) -> Option<Span> {
        match self.sold.kind() {
            Kind::Block { block_s, .. } => Some(Span::from_s(*block_s)),
            Kind::Flat { .. } | Kind::PerMinute(_) | Kind::UntilAsleep { .. } => None,
        }
    }
}

impl Night {
    /// What calls on a plan of this kind have if it says nothing.
    pub fn customary(kind: &Kind) -> Option<Night> {
        matches!(kind, Kind::UntilAsleep { .. }).then(Night::default)
    }
}

impl Sounds {
    /// What calls on a plan of this kind have if it says nothing: at night no sound but the companion's.
    pub fn customary(kind: &Kind) -> Sounds {
        match kind {
            Kind::UntilAsleep { .. } => Sounds::default(),
            Kind::Block { .. } | Kind::Flat { .. } | Kind::PerMinute(_) => Sounds { chime: Some(CHIME_DBFS), waiting: true },
        }
    }
}

impl Side {
    /// The other party.
    pub const fn other(self) -> Side {
        match self {
            Side::Client => Side::Companion,
            Side::Companion => Side::Client,
        }
    }
}

impl Default for Limits {
    /// The limits of design.md section 3.
    fn default() -> Self {
        Self {
            media_timeout: Span::from_s(5),
            quiet_timeout: Span::from_s(15),
            pause_limit: Span::from_s(60),
            connect_limit: Span::from_s(60),
            no_show_limit: Span::from_s(600),
            listen_only_after: Span::from_s(5),
            max_duration: Span::from_s(12 * 3600),
            gift_limit: Span::from_s(3600),
            warnings: vec![Span::from_s(300), Span::from_s(60), Span::from_s(10)],
        }
    }
}
