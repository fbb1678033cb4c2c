//! Whether there is room for another call: what a booking is refused for, and what `/readyz` says.
//!
//! Both ask the same, so that no balancer sends bookings to a server that refuses each of them.

use super::house::House;

/// Why there is no room for another call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// `call.max_open` calls are open.
    Calls,
    /// The media plane would take none, or none but those that were made and are not joined yet.
    Media,
}

impl Full {
    pub(super) const ALL: [Self; 2] = [Self::Calls, Self::Media];

    /// For people.
    pub(super) const fn detail(self) -> &'static str {
        match self {
            Self::Calls => "the server carries as many calls as it may",
            Self::Media => "the media plane carries as many calls as it can",
        }
    }

    /// How often a call was refused for it.
    pub(super) fn counter(self) -> metrics::Counter {
        let reason = match self {
            Self::Calls => "max_open",
            Self::Media => "media",
        };
        metrics::counter!("lull_calls_refused_total", "reason" => reason)
    }
}

impl House {
    /// Why no new call is taken; none if one is.
    pub(super) fn full(&self) -> Option<Full> {
        let open = self.exchange.calls().filter(|call| !call.is_over()).count();
        // Those who were promised a call and have not come yet are let in first.
        let promised = open.saturating_sub(self.media.calls());
        if open >= self.rules.max_calls { Some(Full::Calls) } else { (promised >= self.media.room()).then_some(Full::Media) }
    }
}
