//! What delivered time costs, and how the money divides. Pure arithmetic on whole minor units and whole milliseconds.
//!
//! It knows nothing of calls, facts or end reasons: plain values in, plain values out (the exchange translates). Invariants:
//! lines and shares sum to the charge, charge and refund sum to the holds, no float, one rounding per call.

mod capture;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod meter;
mod plan;
mod rates;
mod rating;
mod refund;
mod split;

pub use capture::capture;
pub use meter::{Cause, Mark, Segment, SegmentKind, delivered, segments};
pub use plan::{Conditions, HoldError, Increments, Kind, LONGEST_S, Plan, PlanError, Rounding};
pub use rates::{Rates, RatesError, WindowTerms, ZONES_VERSION};
pub use rating::{Line, Rating, Settlement, Unit, max_usage, rate, rate_paid};
pub use refund::{Bearer, Parts, RefundError, Returned};
pub use split::split;
