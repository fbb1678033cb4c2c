//! Which settlement an end calls for: the defaults of design.md section 4, and what a vendor gives beyond them.
//!
//! Invariant: no cell is ever worse for the client than its default, so nobody can bill the platform's outage. It says
//! which settlement, never how much.

use super::{EndReason, Fault};
use crate::billing::{Kind, LONGEST_S, Settlement};
use crate::clock::Span;
use crate::seeded::{self, Bug};

/// How a call that ended is settled. A call keeps the policy it was made on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// By ending, then by what was sold.
    rules: [[Rule; Sold::ALL.len()]; Ending::ALL.len()],
    flat_min: Span,
}

/// A row of the policy: an end of a call that was live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The paid time was used up.
    TimeExpired,
    /// The money set aside was used up.
    FundsExhausted,
    /// The plan's cap was reached.
    CapReached,
    /// The client fell asleep.
    Asleep,
    /// The longest time a call may last had passed.
    MaxDuration,
    /// The client hung up.
    ClientLeft,
    /// The client stayed away.
    ClientTimeout,
    /// The companion reported abuse.
    AbuseReported,
    /// The companion hung up.
    CompanionLeft,
    /// The companion stayed away.
    CompanionTimeout,
    /// The vendor ended it.
    VendorEnded,
    /// Both went at once: most likely the server's own network.
    PlatformTimeout,
    /// lull stopped or failed.
    ServerFault,
}

/// A column of the policy: what was sold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sold {
    /// Blocks.
    Block,
    /// By the minute, until asleep or not.
    Metered,
    /// One price.
    Flat,
}

/// A cell of the policy. The later one is, the better for the client; but for an increment that runs into a dearer window, of which the
/// seconds can cost more than the whole (docs/interface.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// By the plan.
    AsRated,
    /// A flat price: nothing, if less than [`Policy::flat_min`] was delivered; else the price.
    FreeBelowMin,
    /// The seconds delivered and no more.
    ExactDelivered,
    /// Nothing is charged.
    Free,
}

/// Why a policy is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Worse for the client than the default.
    #[error("a vendor may change this only in the client's favour: here it is {default} or better, in the order {}", sold.order())]
    NotInHerFavour { sold: Sold, default: Rule },
    /// There is no such rule in this column.
    #[error("{}", match sold {
        Sold::Flat => "a flat price has no part for a second: it is as_rated, free_below_min or free",
        Sold::Block | Sold::Metered => "free_below_min is for a flat price: here it is as_rated, exact_delivered or free",
    })]
    NotHere { sold: Sold },
    /// Shorter than the default, or endless.
    #[error("flat_min_s is between {} and {LONGEST_S}: a vendor may change it only in the client's favour", FLAT_MIN.whole_s())]
    FlatMin,
}

/// A flat call that was delivered for less is not charged when somebody else than the client ended it.
const FLAT_MIN: Span = Span::from_s(600);

impl Policy {
    /// What this ending of a call on such a plan calls for.
    pub fn rule(&self, ending: Ending, sold: Sold) -> Rule {
        self.rules[ending as usize][sold as usize]
    }

    /// See [`Rule::FreeBelowMin`].
    pub fn flat_min(&self) -> Span {
        self.flat_min
    }

    /// The same policy with another cell; refused if that is worse for the client than the default.
    pub fn with(mut self, ending: Ending, sold: Sold, rule: Rule) -> Result<Policy, PolicyError> {
        if !sold.rules().contains(&rule) {
            return Err(PolicyError::NotHere { sold });
        }
        let default = ending.default(sold);
        if rule < default && !seeded::has(Bug::PolicyAgainstClient) {
            return Err(PolicyError::NotInHerFavour { sold, default });
        }
        self.rules[ending as usize][sold as usize] = rule;
        Ok(self)
    }

    /// The same policy with another least time of a flat call; refused if that is shorter than the default.
    pub fn with_flat_min(mut self, flat_min: Span) -> Result<Policy, PolicyError> {
        if flat_min < FLAT_MIN || flat_min > Span::from_s(LONGEST_S) {
            return Err(PolicyError::FlatMin);
        }
        self.flat_min = flat_min;
        Ok(self)
    }

    /// Which settlement an end calls for. `delivered`: none if the call was never live; `grace_s` is the plan's.
    pub fn settlement(&self, kind: &Kind, reason: EndReason, at_fault: Fault, delivered: Option<Span>, grace_s: i64) -> Settlement {
        let Some((ending, delivered)) = Ending::of(reason, at_fault).zip(delivered) else { return Settlement::Free };
        if seeded::has(Bug::FaultIgnored) {
            return Settlement::AsRated;
        }
        if grace_s > 0 && delivered.whole_s() <= grace_s {
            return Settlement::Free;
        }
        let policy = if seeded::has(Bug::PolicyForgotten) { Policy::default() } else { *self };
        match policy.rule(ending, Sold::of(kind)) {
            Rule::AsRated => Settlement::AsRated,
            Rule::FreeBelowMin if delivered < policy.flat_min => Settlement::Free,
            Rule::FreeBelowMin => Settlement::AsRated,
            Rule::ExactDelivered => Settlement::ExactDelivered,
            Rule::Free => Settlement::Free,
        }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self { rules: Ending::ALL.map(|ending| Sold::ALL.map(|sold| ending.default(sold))), flat_min: FLAT_MIN }
    }
}

impl Ending {
    /// The rows, in the order of design.md.
    pub const ALL: [Ending; 13] = [
        Ending::TimeExpired,
        Ending::FundsExhausted,
        Ending::CapReached,
        Ending::Asleep,
        Ending::MaxDuration,
        Ending::ClientLeft,
        Ending::ClientTimeout,
        Ending::AbuseReported,
        Ending::CompanionLeft,
        Ending::CompanionTimeout,
        Ending::VendorEnded,
        Ending::PlatformTimeout,
        Ending::ServerFault,
    ];

    /// The row of an end; none for one that only a call which was never live can have.
    pub fn of(reason: EndReason, at_fault: Fault) -> Option<Ending> {
        Some(match (reason, at_fault) {
            (EndReason::TimeExpired, _) => Ending::TimeExpired,
            (EndReason::FundsExhausted, _) => Ending::FundsExhausted,
            (EndReason::CapReached, _) => Ending::CapReached,
            (EndReason::Asleep, _) => Ending::Asleep,
            (EndReason::MaxDuration, _) => Ending::MaxDuration,
            (EndReason::ClientLeft, _) => Ending::ClientLeft,
            (EndReason::AbuseReported, _) => Ending::AbuseReported,
            (EndReason::CompanionLeft, _) => Ending::CompanionLeft,
            (EndReason::VendorEnded, _) => Ending::VendorEnded,
            (EndReason::ServerFault, _) => Ending::ServerFault,
            (EndReason::MediaTimeout, Fault::Client) => Ending::ClientTimeout,
            (EndReason::MediaTimeout, Fault::Companion) => Ending::CompanionTimeout,
            (EndReason::MediaTimeout, Fault::Platform | Fault::None) => Ending::PlatformTimeout,
            (EndReason::NoAnswer | EndReason::ClientNoShow | EndReason::CompanionNoShow | EndReason::ConnectFailed, _) => return None,
        })
    }

    /// The word for it, in `snake_case`.
    pub const fn name(self) -> &'static str {
        match self {
            Ending::TimeExpired => "time_expired",
            Ending::FundsExhausted => "funds_exhausted",
            Ending::CapReached => "cap_reached",
            Ending::Asleep => "asleep",
            Ending::MaxDuration => "max_duration",
            Ending::ClientLeft => "client_left",
            Ending::ClientTimeout => "media_timeout_by_client",
            Ending::AbuseReported => "abuse_reported",
            Ending::CompanionLeft => "companion_left",
            Ending::CompanionTimeout => "media_timeout_by_companion",
            Ending::VendorEnded => "vendor_ended",
            Ending::PlatformTimeout => "media_timeout_by_platform",
            Ending::ServerFault => "server_fault",
        }
    }

    /// What design.md section 4 has in this row.
    fn default(self, sold: Sold) -> Rule {
        match self {
            // It ran its course, or the client ended it.
            Ending::TimeExpired | Ending::FundsExhausted | Ending::CapReached | Ending::Asleep | Ending::MaxDuration => Rule::AsRated,
            Ending::ClientLeft | Ending::ClientTimeout | Ending::AbuseReported => Rule::AsRated,
            // The vendor's side or the platform did.
            Ending::CompanionLeft | Ending::CompanionTimeout | Ending::VendorEnded | Ending::PlatformTimeout | Ending::ServerFault => {
                match sold {
                    Sold::Block | Sold::Metered => Rule::ExactDelivered,
                    Sold::Flat => Rule::FreeBelowMin,
                }
            }
        }
    }
}

impl Sold {
    /// The columns.
    pub const ALL: [Sold; 3] = [Sold::Block, Sold::Metered, Sold::Flat];

    /// The column of a plan.
    pub fn of(kind: &Kind) -> Sold {
        match kind {
            Kind::Block { .. } => Sold::Block,
            Kind::PerMinute(_) | Kind::UntilAsleep { .. } => Sold::Metered,
            Kind::Flat { .. } => Sold::Flat,
        }
    }

    /// The word for it, in `snake_case`.
    pub const fn name(self) -> &'static str {
        match self {
            Sold::Block => "block",
            Sold::Metered => "metered",
            Sold::Flat => "flat",
        }
    }

    /// What a cell of this column may say.
    pub const fn rules(self) -> [Rule; 3] {
        match self {
            Sold::Block | Sold::Metered => [Rule::AsRated, Rule::ExactDelivered, Rule::Free],
            Sold::Flat => [Rule::AsRated, Rule::FreeBelowMin, Rule::Free],
        }
    }

    fn order(self) -> String {
        self.rules().map(Rule::name).join(" < ")
    }
}

impl Rule {
    /// All of them.
    pub const ALL: [Rule; 4] = [Rule::AsRated, Rule::FreeBelowMin, Rule::ExactDelivered, Rule::Free];

    /// The word for it, in `snake_case`.
    pub const fn name(self) -> &'static str {
        match self {
            Rule::AsRated => "as_rated",
            Rule::FreeBelowMin => "free_below_min",
            Rule::ExactDelivered => "exact_delivered",
            Rule::Free => "free",
        }
    }
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: Kind = Kind::Block { block_s: 900, price: 2000 };
    const FLAT: Kind = Kind::Flat { price: 500 };

    fn settled(policy: Policy, kind: &Kind, reason: EndReason, at_fault: Fault, delivered_s: i64) -> &'static str {
        policy.settlement(kind, reason, at_fault, Some(Span::from_s(delivered_s)), 0).name()
    }

    #[test]
    fn the_defaults_are_those_of_the_table() {
        let policy = Policy::default();
        for reason in EndReason::ALL {
            let (block, flat) = match reason {
                EndReason::NoAnswer | EndReason::ClientNoShow | EndReason::CompanionNoShow | EndReason::ConnectFailed => ("free", "free"),
                EndReason::CompanionLeft | EndReason::VendorEnded | EndReason::ServerFault => ("exact_delivered", "free"),
                _ => ("as_rated", "as_rated"),
            };
            assert_eq!(settled(policy, &BLOCK, *reason, Fault::Client, 599), block, "{reason}");
            assert_eq!(settled(policy, &FLAT, *reason, Fault::Client, 599), flat, "{reason}");
        }
        for (at_fault, expected) in
            [(Fault::Client, "as_rated"), (Fault::Companion, "exact_delivered"), (Fault::Platform, "exact_delivered")]
        {
            assert_eq!(settled(policy, &BLOCK, EndReason::MediaTimeout, at_fault, 1), expected);
        }
        assert_eq!(settled(policy, &FLAT, EndReason::CompanionLeft, Fault::Companion, 600), "as_rated");
    }

    #[test]
    fn what_was_never_live_or_stayed_inside_the_grace_is_free() {
        let of = |delivered, grace_s| Policy::default().settlement(&BLOCK, EndReason::ClientLeft, Fault::Client, delivered, grace_s);
        assert_eq!(of(None, 0), Settlement::Free);
        assert_eq!(of(Some(Span::from_ms(20_999)), 20), Settlement::Free);
        assert_eq!(of(Some(Span::from_s(21)), 20), Settlement::AsRated);
        assert_eq!(of(Some(Span::from_ms(999)), 0), Settlement::AsRated, "without a grace there is none to be inside of");
    }

    /// Every change there is: taken if the client pays no more by it, refused otherwise.
    #[test]
    fn a_policy_changes_only_in_the_clients_favour() {
        let default = Policy::default();
        for ending in Ending::ALL {
            for sold in Sold::ALL {
                for rule in Rule::ALL {
                    let now = default.rule(ending, sold);
                    let place = |rule| sold.rules().iter().position(|known| *known == rule);
                    match (default.with(ending, sold, rule), place(rule)) {
                        (Err(PolicyError::NotHere { .. }), None) => {}
                        (Err(PolicyError::NotInHerFavour { default, .. }), Some(wanted)) => {
                            assert!(wanted < place(default).unwrap() && default == now);
                        }
                        (Ok(policy), Some(wanted)) => {
                            assert!(wanted >= place(now).unwrap());
                            assert_eq!(policy.rule(ending, sold), rule);
                            assert!(policy.with(ending, sold, now).is_ok(), "and back to the default");
                        }
                        (other, _) => panic!("{ending:?} {sold:?} {rule:?}: {other:?}"),
                    }
                }
            }
        }
        assert_eq!(default.with_flat_min(Span::from_s(599)), Err(PolicyError::FlatMin));
        assert_eq!(default.with_flat_min(Span::from_s(LONGEST_S + 1)), Err(PolicyError::FlatMin));
        let longer = default.with_flat_min(Span::from_s(3600)).unwrap();
        assert_eq!(settled(longer, &FLAT, EndReason::ServerFault, Fault::Platform, 3599), "free");
    }

    #[test]
    fn a_refusal_says_why() {
        let refused = |sold, rule| Policy::default().with(Ending::ServerFault, sold, rule).unwrap_err().to_string();
        assert_eq!(
            refused(Sold::Block, Rule::AsRated),
            "a vendor may change this only in the client's favour: here it is exact_delivered or better, in the order \
             as_rated < exact_delivered < free"
        );
        assert!(refused(Sold::Flat, Rule::ExactDelivered).starts_with("a flat price has no part for a second"));
        assert!(refused(Sold::Metered, Rule::FreeBelowMin).starts_with("free_below_min is for a flat price"));
    }
}
