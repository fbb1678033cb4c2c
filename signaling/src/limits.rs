//! How often and how much: request rates by key, open sockets by address, and the settings of both.
//!
//! Memory is bounded: a table of rates that is full forgets who has been quiet, and newcomers beyond that share one
//! bucket. It reads time only through `governor`'s monotonic clock.

use axum::http::StatusCode;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};
use std::collections::BTreeMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// So many at once, regained evenly over a time: 60 in 3 s is 20 a second with a burst of 60.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many may come at once. Too small: pages that load several things are refused.
    pub burst: NonZeroU32,
    /// In which time a used-up burst is whole again. Zero counts as a millisecond.
    pub per: Duration,
}

impl Rate {
    /// `burst` at once (0 counts as 1), whole again after `per`.
    pub const fn new(burst: u32, per: Duration) -> Self {
        let burst = match NonZeroU32::new(burst) {
            Some(burst) => burst,
            None => NonZeroU32::MIN,
        };
        Self { burst, per }
    }

    fn quota(self) -> Quota {
        let one = (self.per / self.burst.get()).max(Duration::from_nanos(1));
        // `with_period` refuses zero only, and the line above is at least one nanosecond.
        Quota::with_period(one).map_or_else(|| Quota::per_second(self.burst), |quota| quota.allow_burst(self.burst))
    }
}

/// What the door allows. The defaults carry the largest vendor known with a wide margin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Requests of one address (IPv4, or the /64 of an IPv6), of any kind. Default 2,000 in 10 s: a mobile network hides
    /// many people behind one address. Too large: one machine can occupy the server.
    pub per_ip: Rate,
    /// REST requests of one API key or session. Default 2,000 in 10 s. Too small: an import of orders takes long.
    pub per_caller: Rate,
    /// Joins with one token. Default 10 in 60 s, over `POST /v1/join` and the socket's `offer` together. Too small: a page on a bad network gives
    /// up; too large: a broken page sets up a connection over and over.
    pub joins_per_token: Rate,
    /// Frames of one socket. Default 60 in 3 s.
    pub per_socket: Rate,
    /// Frames of one socket that were refused, before it is closed. Default 20 in 200 s.
    pub faults_per_socket: Rate,
    /// How many addresses, callers or tokens are remembered, each. Default 65,536, about 10 MB in all when full.
    pub keys_max: usize,
    /// The longest REST body in bytes. Default 16,384.
    pub body_max: usize,
    /// The longest SDP body in bytes. Default 65,536; offers have below 20,000.
    pub sdp_max: usize,
    /// In which time a request is answered, or it is given up with 503. Default 10 s. Too small: a slow disk looks like
    /// an outage; too large: callers wait for what will not come.
    pub request_timeout: Duration,
    /// In which time a socket must say `hello`. Default 10 s.
    pub hello_timeout: Duration,
    /// In which time a socket must take what it is sent. Default 10 s.
    pub write_timeout: Duration,
    /// How often a socket is pinged. Default 20 s; proxies close a silent one after 60.
    pub ping_every: Duration,
    /// After which silence a socket is closed. Default 45 s: two pings lost. Too small: a sleeping phone reconnects all night.
    pub idle_timeout: Duration,
    /// Open sockets in all. Default 10,000, about 40 KB each.
    pub sockets_max: usize,
    /// Open sockets of one address. Default 256.
    pub sockets_per_ip: usize,
    /// Messages waiting for one socket; more make a slow reader. Default 64.
    pub socket_queue: usize,
}

impl Default for Settings {
    fn default() -> Self {
        let s = Duration::from_secs;
        Self {
            per_ip: Rate::new(2_000, s(10)),
            per_caller: Rate::new(2_000, s(10)),
            joins_per_token: Rate::new(10, s(60)),
            per_socket: Rate::new(60, s(3)),
            faults_per_socket: Rate::new(20, s(200)),
            keys_max: 65_536,
            body_max: 16_384,
            sdp_max: 65_536,
            request_timeout: s(10),
            hello_timeout: s(10),
            write_timeout: s(10),
            ping_every: s(20),
            idle_timeout: s(45),
            sockets_max: 10_000,
            sockets_per_ip: 256,
            socket_queue: 64,
        }
    }
}

/// Rates by key.
#[derive(Debug)]
pub(crate) struct Limiter<K: Hash + Eq + Clone> {
    table: DefaultKeyedRateLimiter<K>,
    /// What all keys share for which there is no room.
    crowd: DefaultDirectRateLimiter,
    keys_max: usize,
    /// Checks since the quiet keys were last forgotten.
    unpruned: AtomicUsize,
    clock: DefaultClock,
}

impl<K: Hash + Eq + Clone> Limiter<K> {
    pub(crate) fn new(rate: Rate, keys_max: usize) -> Self {
        Self {
            table: RateLimiter::dashmap(rate.quota()),
            crowd: RateLimiter::direct(rate.quota()),
            keys_max,
            unpruned: AtomicUsize::new(0),
            clock: DefaultClock::default(),
        }
    }

    /// Counts one of `key`; an error is the whole seconds to wait, at least one.
    pub(crate) fn check(&self, key: &K) -> Result<(), u64> {
        let keys = self.table.len();
        // A walk over the table is paid for by as many checks; when it is full, room is worth more than work.
        let due = if keys >= self.keys_max { self.keys_max / 64 } else { keys };
        if self.unpruned.fetch_add(1, Ordering::Relaxed) >= due.max(1) {
            self.unpruned.store(0, Ordering::Relaxed);
            self.table.retain_recent();
        }
        let wait = if self.table.len() >= self.keys_max { self.crowd.check().err() } else { self.table.check_key(key).err() };
        match wait {
            None => Ok(()),
            Some(not_until) => Err(not_until.wait_time_from(self.clock.now()).as_secs().saturating_add(1)),
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }
}

/// The rates of one socket.
#[derive(Debug)]
pub(crate) struct SocketRates {
    frames: DefaultDirectRateLimiter,
    faults: DefaultDirectRateLimiter,
}

impl SocketRates {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self { frames: RateLimiter::direct(settings.per_socket.quota()), faults: RateLimiter::direct(settings.faults_per_socket.quota()) }
    }

    /// Whether one more frame is within the rate.
    pub(crate) fn frame(&self) -> bool {
        self.frames.check().is_ok()
    }

    /// Whether one more fault is borne.
    pub(crate) fn fault(&self) -> bool {
        self.faults.check().is_ok()
    }
}

/// What counts as one address: one IPv6 host has a whole /64 to choose from (RFC 4291 section 2.5.1).
pub(crate) fn ip_key(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

/// The open sockets, by address.
#[derive(Debug)]
pub(crate) struct Sockets {
    open: Mutex<Open>,
    total_max: usize,
    per_ip_max: usize,
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    by_ip: BTreeMap<IpAddr, usize>,
}

/// A socket's place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    sockets: Arc<Sockets>,
    ip: IpAddr,
}

impl Sockets {
    pub(crate) fn new(settings: &Settings) -> Arc<Self> {
        Arc::new(Self { open: Mutex::default(), total_max: settings.sockets_max, per_ip_max: settings.sockets_per_ip })
    }

    /// Takes a place; an error says which bound is reached: 429 the address's, 503 the server's.
    pub(crate) fn take(self: &Arc<Self>, ip: IpAddr) -> Result<Place, StatusCode> {
        let ip = ip_key(ip);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.total >= self.total_max {
            return Err(StatusCode::SERVICE_UNAVAILABLE);
        }
        let mine = open.by_ip.get(&ip).copied().unwrap_or(0);
        if mine >= self.per_ip_max {
            return Err(StatusCode::TOO_MANY_REQUESTS);
        }
        open.by_ip.insert(ip, mine + 1);
        open.total += 1;
        Ok(Place { sockets: Arc::clone(self), ip })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.sockets.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.total -= 1;
        match open.by_ip.get_mut(&self.ip) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(open.by_ip.remove(&self.ip)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_and_what_is_beyond_waits() {
        let limiter = Limiter::new(Rate::new(3, Duration::from_secs(3000)), 10);
        assert!((0..3).all(|_| limiter.check(&1).is_ok()));
        let wait_s = limiter.check(&1).unwrap_err();
        assert!((900..=1001).contains(&wait_s), "{wait_s}");
        assert!(limiter.check(&2).is_ok(), "others are not touched");
    }

    #[test]
    fn a_full_table_takes_no_more_keys_but_newcomers_are_still_bounded() {
        let limiter = Limiter::new(Rate::new(2, Duration::from_secs(2000)), 4);
        let allowed = (0..100).filter(|key| limiter.check(key).is_ok()).count();
        assert_eq!(limiter.len(), 4);
        assert_eq!(allowed, 4 + 2, "one each for those who have a place, one burst for the crowd");
    }

    #[test]
    fn quiet_keys_are_forgotten() {
        // A burst of 1 that is whole again after a nanosecond: every key is quiet at once.
        let limiter = Limiter::new(Rate::new(1, Duration::from_nanos(1)), 64);
        assert!((0..10_000).all(|key| limiter.check(&key).is_ok() && limiter.len() <= 64));
        let has_room = (10_000..10_200).any(|key| limiter.check(&key).is_ok() && limiter.len() < 32);
        assert!(has_room, "{} keys are remembered", limiter.len());
    }

    #[test]
    fn a_place_is_given_back_when_its_socket_goes() {
        let sockets = Sockets::new(&Settings { sockets_max: 4, sockets_per_ip: 2, ..Settings::default() });
        let ip = |last| IpAddr::from([10, 0, 0, last]);
        let first = sockets.take(ip(1)).unwrap();
        let _second = sockets.take(ip(1)).unwrap();
        assert_eq!(sockets.take(ip(1)).unwrap_err(), StatusCode::TOO_MANY_REQUESTS);
        drop(sockets.take(ip(2)).unwrap());
        let _both = (sockets.take(ip(2)).unwrap(), sockets.take(ip(2)).unwrap());
        assert_eq!(sockets.take(ip(3)).unwrap_err(), StatusCode::SERVICE_UNAVAILABLE);
        drop(first);
        assert!(sockets.take(ip(1)).is_ok());
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_together() {
        let key = |text: &str| ip_key(text.parse().unwrap());
        assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::9"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
        assert_eq!(key("::ffff:10.0.0.1"), key("10.0.0.1"));
    }
}
