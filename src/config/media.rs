//! `[media]`: where sound and picture reach lull.

use super::reader::Reader;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The media plane's sockets and threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// `media.listen`: the address of the first shard, for UDP and TCP; each further shard takes the next port. Default
    /// `0.0.0.0:7000`; `[::]:7000` takes IPv4 and IPv6. A firewall must let these ports in by both; bound to loopback, only this
    /// machine's browsers connect, and Firefox not even then. Port 0 takes free ones.
    pub listen: SocketAddr,
    /// `media.tcp`: whether the ports are listened to for TCP as well, for browsers in networks that block UDP. Default true.
    /// Switched off, or not let in by the firewall, those never connect; the others do not notice.
    pub tcp: bool,
    /// `media.public_ips`: the addresses that browsers are told to send to. Default none: the address of `listen`, or those of
    /// this machine if that is unspecified. Behind NAT (most clouds) it must be the outer address: without it every call
    /// ends as `connect_failed`. Each address more costs a few connectivity checks at joining; at most 8.
    pub public_ips: Vec<IpAddr>,
    /// `media.shards`: threads that carry media, each with its own port. Default 1, enough for some hundred calls. Too few, and
    /// packets are dropped at the peak; more than the machine has cores, and they only get in each other's way.
    pub shards: u16,
    /// `media.max_legs`: legs a shard has room for, two a call; new calls beyond are refused with `overloaded`. Default 2000. Too small turns
    /// callers away from an idle machine; too large, and in a rush memory alone is the bound. Pages that load again have room besides.
    pub max_legs: usize,
    /// `media.max_load_percent`: how much of its core a shard may be busy before it refuses new calls, those counted that were let in and are
    /// not heard yet. Default 75. Higher, and a peak makes all calls late; lower wastes the core.
    pub max_load_percent: u8,
    /// `media.sound_workers`: threads that listen to sleepers, fade and record; one hears some hundred. Default 0: one for every two
    /// processors. Too few, and sleep is noticed later; calls themselves are not delayed.
    pub sound_workers: u16,
}

impl Media {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let listen = reader.text(
            "media.listen",
            SocketAddr::from((Ipv4Addr::UNSPECIFIED, 7000)),
            "an address with a port, such as 0.0.0.0:7000",
            |text| text.parse().ok(),
            SocketAddr::to_string,
        );
        let tcp = reader.truth("media.tcp", true);
        let shards = reader.whole("media.shards", 1, 1..=64);
        let max_legs = reader.whole("media.max_legs", 2000, 2..=100_000);
        let max_load_percent = reader.whole("media.max_load_percent", 75, 5..=95);
        let sound_workers = reader.whole("media.sound_workers", 0, 0..=64);
        let public_ips = reader.texts(
            "media.public_ips",
            "IP addresses of this machine as browsers reach it",
            |text| text.parse().ok().filter(|ip: &IpAddr| !ip.is_unspecified() && !ip.is_multicast()),
            IpAddr::to_string,
        );
        if public_ips.len() > 8 {
            reader.conflict(format!("media.public_ips has {} addresses; at most 8 are told to browsers", public_ips.len()));
        }
        if listen.port() != 0 && i64::from(listen.port()) + shards - 1 > i64::from(u16::MAX) {
            reader.conflict(format!("media.shards is {shards} and media.listen {listen}: the last shard's port would pass 65535"));
        }
        if let (true, Some(ip)) = (listen.is_ipv4(), public_ips.iter().find(|ip| ip.is_ipv6())) {
            reader.conflict(format!(
                "media.public_ips has {ip}, but media.listen {listen} hears IPv4 only; [::]:{} hears both",
                listen.port()
            ));
        }
        Self {
            listen,
            tcp,
            public_ips,
            // The ranges above make all of them fit.
            shards: u16::try_from(shards).unwrap_or(1),
            max_legs: usize::try_from(max_legs).unwrap_or(2),
            max_load_percent: u8::try_from(max_load_percent).unwrap_or(5),
            sound_workers: u16::try_from(sound_workers).unwrap_or(0),
        }
    }
}
