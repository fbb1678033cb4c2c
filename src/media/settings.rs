//! Settings of the media plane, and the addresses it advertises.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

/// How the media plane listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where the first shard listens; shard n takes the port n higher. Default `0.0.0.0:7700`. On a specific address only
    /// that one is reachable; port 0 takes any free port for each shard (tests).
    pub udp: SocketAddr,
    /// Threads that carry media, each with its own port; all of a call is on one. Default 1. More than the machine's cores
    /// only adds switching; the firewall must let all the ports through.
    pub shards: usize,
    /// The addresses pages are told to send to. Default empty: the bound address or, if that is unspecified, this machine's
    /// own address and 127.0.0.1. Behind address translation this must name the public address, or pages never connect.
    pub public_ips: Vec<IpAddr>,
    /// Legs a shard has room for, two a call; calls beyond are refused. Default 2,000. Too high lets every call suffer where the load
    /// cannot be measured in time (a rush), too low turns callers away from an idle machine. Pages that load again have room besides.
    pub max_legs: usize,
    /// The share of a core, in percent, up to which a shard takes new calls: what it does plus what those who were let in are about to send.
    /// Default 75. Higher, and a peak (key frames of many cameras at once) makes all calls late; lower wastes the core.
    pub max_load_percent: u8,
    /// Octets the kernel may hold for a shard that is late, each way (it may allow less: `net.core.rmem_max`). Default 2 MiB,
    /// 50 to 100 ms of a busy shard (the kernel charges 768 to 2,304 octets for a packet of audio and twice what is asked is its
    /// limit). Too small loses packets in bursts, too large delivers late what should be dropped.
    pub socket_buffer: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            udp: SocketAddr::from(([0, 0, 0, 0], 7700)),
            shards: 1,
            public_ips: Vec::new(),
            max_legs: 2000,
            max_load_percent: 75,
            socket_buffer: 2 * 1024 * 1024,
        }
    }
}

impl Settings {
    /// What to tell pages about a shard bound to this address, best first.
    pub(super) fn candidates(&self, bound: SocketAddr) -> Vec<SocketAddr> {
        let mut ips = self.public_ips.clone();
        if ips.is_empty() {
            if bound.ip().is_unspecified() {
                ips.extend(own_address());
                ips.push(IpAddr::V4(Ipv4Addr::LOCALHOST));
            } else {
                ips.push(bound.ip());
            }
        }
        ips.into_iter().map(|ip| SocketAddr::new(ip, bound.port())).collect()
    }
}

/// The IPv4 address this machine would use for the world outside, else that of its first interface that is up.
pub fn own_address() -> Option<IpAddr> {
    // Connecting a UDP socket only chooses a route; nothing is sent. 198.51.100.0/24 is for documentation (RFC 5737).
    let routed = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect((Ipv4Addr::new(198, 51, 100, 1), 9))?;
        socket.local_addr()
    });
    let usable = |ip: &IpAddr| !ip.is_loopback() && !ip.is_unspecified();
    routed.ok().map(|address| address.ip()).filter(usable).or_else(|| {
        use nix::net::if_::InterfaceFlags;
        let interfaces = nix::ifaddrs::getifaddrs().ok()?;
        let up = interfaces.filter(|interface| interface.flags.contains(InterfaceFlags::IFF_UP));
        let mut addresses = up.filter_map(|interface| Some(IpAddr::V4(interface.address?.as_sockaddr_in()?.ip())));
        addresses.find(usable)
    })
}
