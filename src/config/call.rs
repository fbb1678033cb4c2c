//! `[call]`: time limits and shares of calls. A call keeps those it was made with; a change counts for later ones.

use super::reader::Reader;
use crate::call::{Limits, Shares};
use crate::clock::Span;

/// The rules that every new call is made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// `call.media_timeout_s`: a party from whom nothing arrives for this long is away and the meter stands (from the last packet
    /// on). Default 5. Too small, and each short hole in a mobile network pauses the call; too large, and the other talks to nobody.
    pub media_timeout: Span,
    /// `call.quiet_timeout_s`: the same for a party from whom only reports are expected (who listens with the microphone off). Default 15;
    /// not below `media_timeout_s`. Too small, and quiet listeners are taken for absent.
    pub quiet_timeout: Span,
    /// `call.pause_limit_s`: a pause longer than this ends the call, at the fault of who is away. Default 60; above
    /// `quiet_timeout_s`. Too small, and a tunnel ends a paid call; too large, and a companion waits unpaid.
    pub pause_limit: Span,
    /// `call.connect_limit_s`: both joined and still do not hear each other after this: `connect_failed`, free of charge. Default
    /// 60. Too small, and slow phones never make it; too large, and both stare at a spinner.
    pub connect_limit: Span,
    /// `call.no_show_limit_s`: who has not joined this long after the call was made does not come; the hold is released. Default 600.
    /// Too small, and who reads the link late finds it dead; too large, and the client's money is held for nothing.
    pub no_show_limit: Span,
    /// `call.listen_only_after_s`: the meter starts this long after the companion's sound reached the client although the client
    /// sends none (she may only listen). Default 5. Too small, and it runs before her microphone is up; too large, and listeners talk for free.
    pub listen_only_after: Span,
    /// `call.max_duration_s`: no call delivers more than this, whatever is bought. Default 43200 (12 h). Too small, and it cuts paid
    /// nights; it bounds what a forgotten call can cost.
    pub max_duration: Span,
    /// `call.gift_limit_s`: the most time a companion may give away in one call. Default 3600; 0 allows none. Large, and goodwill
    /// on one vendor's time blocks the companion for all.
    pub gift_limit: Span,
    /// `call.max_open`: calls open at once; above it new ones are refused with `overloaded`. Default 1000. Too small, and the evening peak is
    /// turned away; too large, and all calls suffer when the machine cannot carry them.
    pub max_open: usize,
    /// `call.warnings_s`: both pages are told when this much paid time is left. Default `[300, 60, 10]`; at most 10, each once. None,
    /// and calls end without a word.
    pub warnings: Vec<Span>,
    /// `call.companion_share_bps` and `call.vendor_share_bps`: of a charge, who gets what, in basis points that sum to 10000. Default 7000
    /// and 3000.
    pub shares: Shares,
}

impl Call {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let media_timeout = reader.whole("call.media_timeout_s", 5, 1..=60);
        let quiet_timeout = reader.whole("call.quiet_timeout_s", 15, 1..=300);
        let pause_limit = reader.whole("call.pause_limit_s", 60, 2..=3600);
        let connect_limit = reader.whole("call.connect_limit_s", 60, 1..=600);
        let no_show_limit = reader.whole("call.no_show_limit_s", 600, 1..=86_400);
        let listen_only_after = reader.whole("call.listen_only_after_s", 5, 1..=60);
        let max_duration = reader.whole("call.max_duration_s", 43_200, 60..=86_400);
        let gift_limit = reader.whole("call.gift_limit_s", 3600, 0..=43_200);
        let max_open = reader.whole("call.max_open", 1000, 1..=100_000);
        let mut warnings = reader.wholes("call.warnings_s", &[300, 60, 10], 1..=43_200, 10);
        let companion_share = reader.whole("call.companion_share_bps", 7000, 0..=10_000);
        let vendor_share = reader.whole("call.vendor_share_bps", 3000, 0..=10_000);

        if quiet_timeout < media_timeout {
            reader.conflict(format!("call.quiet_timeout_s is {quiet_timeout}, below call.media_timeout_s {media_timeout}"));
        }
        if pause_limit <= quiet_timeout {
            reader.conflict(format!(
                "call.pause_limit_s is {pause_limit}, not above call.quiet_timeout_s {quiet_timeout}: a pause would end as it is noticed"
            ));
        }
        if companion_share + vendor_share != 10_000 {
            let sum = companion_share + vendor_share;
            reader.conflict(format!("call.companion_share_bps and call.vendor_share_bps sum to {sum}; they must sum to 10000"));
        }
        warnings.sort_unstable_by(|a, b| b.cmp(a));
        if let Some(twice) = warnings.windows(2).find(|pair| pair[0] == pair[1]) {
            reader.conflict(format!("call.warnings_s holds {} twice", twice[0]));
        }
        // The ranges above keep both below 10,001.
        let bps = |share: i64| u16::try_from(share).unwrap_or(0);
        Self {
            media_timeout: Span::from_s(media_timeout),
            quiet_timeout: Span::from_s(quiet_timeout),
            pause_limit: Span::from_s(pause_limit),
            connect_limit: Span::from_s(connect_limit),
            no_show_limit: Span::from_s(no_show_limit),
            listen_only_after: Span::from_s(listen_only_after),
            max_duration: Span::from_s(max_duration),
            gift_limit: Span::from_s(gift_limit),
            max_open: usize::try_from(max_open).unwrap_or(1),
            warnings: warnings.into_iter().map(Span::from_s).collect(),
            shares: Shares { companion_bps: bps(companion_share), vendor_bps: bps(vendor_share) },
        }
    }

    /// The limits as calls carry them.
    pub fn limits(&self) -> Limits {
        Limits {
            media_timeout: self.media_timeout,
            quiet_timeout: self.quiet_timeout,
            pause_limit: self.pause_limit,
            connect_limit: self.connect_limit,
            no_show_limit: self.no_show_limit,
            listen_only_after: self.listen_only_after,
            max_duration: self.max_duration,
            gift_limit: self.gift_limit,
            warnings: self.warnings.clone(),
        }
    }
}
