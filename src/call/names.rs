//! The one spelling of each word that leaves the house: `snake_case`, the same in facts, records, wire and metrics.

use super::{Asker, EndReason, Fault, Medium, Phase, RecordingEnd, Refused, Side, State, Waker, Witness};
use crate::sleep;
use std::str::FromStr;

/// Why a text is not one of the words of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a known {kind}")]
pub struct NameError {
    /// The kind of word that was expected.
    pub kind: &'static str,
}

macro_rules! names {
    ($type:ident, $kind:literal, { $($variant:ident => $name:literal),+ $(,)? }) => {
        impl $type {
            /// Every value, in the order of their declaration.
            pub const ALL: &[$type] = &[$($type::$variant),+];

            /// The word for it, in `snake_case`.
            pub const fn name(self) -> &'static str {
                match self {
                    $($type::$variant => $name),+
                }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                match text {
                    $($name => Ok($type::$variant),)+
                    _ => Err(NameError { kind: $kind }),
                }
            }
        }
    };
}

names!(Side, "side", { Client => "client", Companion => "companion" });
names!(Medium, "medium", { Audio => "audio", Video => "video" });
names!(Fault, "fault", { Client => "client", Companion => "companion", Platform => "platform", None => "none" });
names!(Asker, "asker", { Client => "client", Companion => "companion", Vendor => "vendor" });
names!(EndReason, "end reason", {
    TimeExpired => "time_expired",
    FundsExhausted => "funds_exhausted",
    CapReached => "cap_reached",
    Asleep => "asleep",
    ClientLeft => "client_left",
    CompanionLeft => "companion_left",
    VendorEnded => "vendor_ended",
    AbuseReported => "abuse_reported",
    NoAnswer => "no_answer",
    ClientNoShow => "client_no_show",
    CompanionNoShow => "companion_no_show",
    MediaTimeout => "media_timeout",
    ConnectFailed => "connect_failed",
    MaxDuration => "max_duration",
    ServerFault => "server_fault",
});
names!(RecordingEnd, "end of a recording", {
    ClientStopped => "client_stopped",
    CompanionStopped => "companion_stopped",
    CallEnded => "call_ended",
    DiskFull => "disk_full",
    Failed => "failed",
    ServerStopped => "server_stopped",
    LinkRenewed => "link_renewed",
});

names!(Witness, "witness", { Ear => "ear", Companion => "companion" });
names!(Waker, "waker", { Speech => "speech", Tap => "tap", Companion => "companion", Ear => "ear" });
names!(Phase, "phase", { Listening => "listening", Lingering => "lingering", Landing => "landing" });

/// The word for what the client is taken for.
pub const fn sleep_word(state: sleep::State) -> &'static str {
    match state {
        sleep::State::Awake => "awake",
        sleep::State::Drowsy => "drowsy",
        sleep::State::Asleep => "asleep",
        sleep::State::Unknown => "unknown",
    }
}

/// The word for what decided that.
pub const fn why_word(why: sleep::Why) -> &'static str {
    match why {
        sleep::Why::Starting => "starting",
        sleep::Why::Speech => "speech",
        sleep::Why::Movement => "movement",
        sleep::Why::Tap => "tap",
        sleep::Why::Quiet => "quiet",
        sleep::Why::Irregular => "irregular",
        sleep::Why::Breathing => "breathing",
        sleep::Why::Machine => "machine",
        sleep::Why::Background => "background",
        sleep::Why::Muted => "muted",
        sleep::Why::Absent => "absent",
        sleep::Why::Lost => "lost",
        sleep::Why::Companion => "companion",
    }
}

impl State {
    /// The word for it, in `snake_case`.
    pub const fn name(&self) -> &'static str {
        match self {
            State::Connecting => "connecting",
            State::Live { .. } => "live",
            State::Paused { .. } => "paused",
            State::Landing { .. } => "landing",
            State::Ended { .. } => "ended",
            State::Settled { .. } => "settled",
        }
    }
}

impl Refused {
    /// A stable code for it, in `snake_case`.
    pub const fn name(&self) -> &'static str {
        match self {
            Refused::CallEnded => "call_ended",
            Refused::UnknownCall => "unknown_call",
            Refused::NotLive => "not_live",
            Refused::NotAllowed => "not_allowed",
            Refused::NothingToBuy => "nothing_to_buy",
            Refused::BuysNothing => "buys_nothing",
            Refused::Amount { .. } => "amount",
            Refused::Currency { .. } => "currency",
            Refused::TooLong => "too_long",
            Refused::TooLarge => "too_large",
            Refused::GiftLimit { .. } => "gift_limit",
            Refused::GiftLength => "gift_length",
            Refused::Busy => "busy",
            Refused::Funds { .. } => "funds",
            Refused::OrderCredited => "order_credited",
            Refused::Storage => "storage",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_reads_back() {
        for side in Side::ALL {
            assert_eq!(side.name().parse(), Ok(*side));
        }
        for medium in Medium::ALL {
            assert_eq!(medium.name().parse(), Ok(*medium));
        }
        for fault in Fault::ALL {
            assert_eq!(fault.name().parse(), Ok(*fault));
        }
        for asker in Asker::ALL {
            assert_eq!(asker.name().parse(), Ok(*asker));
        }
        for reason in EndReason::ALL {
            assert_eq!(reason.name().parse(), Ok(*reason));
        }
        for end in RecordingEnd::ALL {
            assert_eq!(end.name().parse(), Ok(*end));
        }
        assert_eq!("Client".parse::<Side>(), Err(NameError { kind: "side" }));
    }
}
