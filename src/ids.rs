//! Names of things: a type prefix, an underscore and a UUID version 7 (RFC 9562) in 32 hex digits,
//! so that an id sorts by the time it was made and cannot be taken for another kind of thing.
//!
//! Ids are made in the shell (they hold randomness and the time); this room only shows and reads them.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// Why a text is not an id of the kind asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected an id like {prefix}_ followed by 32 hex digits")]
pub struct IdError {
    /// The prefix that was expected.
    pub prefix: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $name(Uuid);

        // The order of its bytes, as one number: ids are looked up in trees all the time.
        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                self.0.as_u128().cmp(&other.0.as_u128())
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl $name {
            /// The type prefix in front of the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// Wraps a UUID made elsewhere.
            pub const fn new(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "_{}"), self.0.simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let error = IdError { prefix: $prefix };
                let hex = text.strip_prefix(concat!($prefix, "_")).ok_or(error)?;
                // One spelling only: the same thing never has two names.
                if hex.len() != 32 || hex.bytes().any(|b| b.is_ascii_uppercase()) {
                    return Err(error);
                }
                Uuid::try_parse(hex).map(Self).map_err(|_| error)
            }
        }
    };
}

id!(/// A vendor: who sells calls.
    VendorId, "vnd");
id!(/// A plan: what is sold, at which price.
    PlanId, "plan");
id!(/// A companion: who listens.
    CompanionId, "cmp");
id!(/// A call.
    CallId, "call");
id!(/// One connection of one party to a call; a reload of the page makes a new one.
    LegId, "leg");
id!(/// Money set aside for one purchase.
    HoldId, "hold");
id!(/// Free time that a page asked for; follows from the tap's key.
    GiftId, "gift");
id!(/// A movement of money: postings that sum to zero.
    TransferId, "trf");
id!(/// The `jti` of a join token.
    TokenId, "jti");
id!(/// An event a vendor's program is told of; the same over all tries to tell it.
    EventId, "evt");
id!(/// An address of a vendor's program that is told of events.
    EndpointId, "whe");
id!(/// One start of the server: what it proves of calls is not proved by another.
    BootId, "boot");
id!(/// The sound of one party in one part of a call, on disk.
    RecordingId, "rec");

/// How a vendor names a client: its own shop's order or customer reference, never a person's name.
///
/// One to 64 characters of `A-Z a-z 0-9 . _ : @ -`, so that it can stand in a path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ClientRef(String);

/// Why a text is not a client reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected 1 to 64 characters of A-Z a-z 0-9 . _ : @ -")]
pub struct ClientRefError;

impl ClientRef {
    /// The reference as the vendor wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClientRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ClientRef {
    type Err = ClientRefError;

    fn from_str(text: &str) -> Result<Self, ClientRefError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._:@-".contains(&b);
        if (1..=64).contains(&text.len()) && text.bytes().all(allowed) { Ok(Self(text.to_owned())) } else { Err(ClientRefError) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_what_it_shows() {
        let id = CallId::new(Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001));
        assert_eq!(id.to_string(), "call_01920000000070008000000000000001");
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn ids_are_in_the_order_of_their_texts() {
        let mut ids: Vec<CallId> = (0..128).rev().map(|bit| CallId::new(Uuid::from_u128(1 << bit))).collect();
        ids.sort();
        assert!(ids.windows(2).all(|pair| pair[0].to_string() < pair[1].to_string()), "{ids:?}");
    }

    #[test]
    fn an_id_of_another_kind_or_spelling_is_refused() {
        for text in [
            "",
            "call_",
            "plan_01920000000070008000000000000001",
            "call_0192",
            "call_0192000000007000800000000000000G",
            "call_0192000000007000800000000000000A",
        ] {
            assert_eq!(text.parse::<CallId>(), Err(IdError { prefix: "call" }), "{text}");
        }
    }

    #[test]
    fn a_client_reference_is_short_and_plain() {
        assert!("tb-2026:0001@shop.a_b".parse::<ClientRef>().is_ok());
        for text in ["", "a b", "a/b", "<script>", "名字", &"x".repeat(65)] {
            assert_eq!(text.parse::<ClientRef>(), Err(ClientRefError), "{text}");
        }
    }
}
