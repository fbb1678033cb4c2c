//! Settings of the media plane, and the addresses it advertises.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// How the media plane listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where the first shard listens, for UDP and (see `tcp`) TCP; shard n takes the port n higher. Default `0.0.0.0:7000`. On a specific address only
    /// that one is reachable; port 0 takes any free port for each shard (tests).
    pub udp: SocketAddr,
    /// Whether each shard listens for TCP too, on the port it has for UDP, for networks that block UDP. Default true. Without it
    /// pages in such networks never connect.
    pub tcp: bool,
    /// Threads that carry media, each with its own port; all of a call is on one. Default 1. More than the machine's cores
    /// only adds switching; the firewall must let all the ports through.
    pub shards: usize,
    /// The addresses pages are told to send to. Default empty: the bound address or, if that is unspecified, this machine's
    /// own address (of `[::]` its IPv6 address as well) and 127.0.0.1. Behind address translation this must name the public address,
    /// or pages never connect.
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
            udp: SocketAddr::from(([0, 0, 0, 0], 7000)),
            tcp: true,
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
                if bound.is_ipv6() {
                    ips.extend(own_address_v6());
                }
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
    // 198.51.100.0/24 is for documentation (RFC 5737).
    let usable = |ip: &IpAddr| ip.is_ipv4() && !ip.is_loopback() && !ip.is_unspecified();
    towards(Ipv4Addr::new(198, 51, 100, 1).into()).filter(usable).or_else(|| interface_addresses().find(usable))
}

/// The same of IPv6. Not an address that means something on one cable only (fe80::/10).
fn own_address_v6() -> Option<IpAddr> {
    // 2001:db8::/32 is for documentation (RFC 3849).
    let usable = |ip: &IpAddr| matches!(ip, IpAddr::V6(v6) if !v6.is_loopback() && !v6.is_unspecified() && !v6.is_unicast_link_local());
    towards(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()).filter(usable).or_else(|| interface_addresses().find(usable))
}

/// From which address the kernel would send there. Connecting a UDP socket only chooses a route; nothing is sent.
fn towards(far: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = if far.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((far, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

fn interface_addresses() -> impl Iterator<Item = IpAddr> {
    use nix::net::if_::InterfaceFlags;
    let interfaces = nix::ifaddrs::getifaddrs().ok().into_iter().flatten();
    interfaces.filter(|interface| interface.flags.contains(InterfaceFlags::IFF_UP)).filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_to_pages_can_be_reached_where_we_listen() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let told = |udp: &str| Settings::default().candidates(address(udp));
        let v6 = |list: &[SocketAddr]| list.iter().filter(|address| address.is_ipv6()).count();
        assert_eq!(told("[::1]:7"), [address("[::1]:7")]);
        assert_eq!(v6(&told("0.0.0.0:7")), 0, "an IPv4 socket hears nothing else");
        let both = told("[::]:7");
        assert_eq!(v6(&both), usize::from(own_address_v6().is_some()), "{both:?}");
        assert!(both.contains(&address("127.0.0.1:7")));
        for address in both.iter().filter(|address| !address.ip().is_loopback()) {
            assert!(UdpSocket::bind((address.ip(), 0)).is_ok(), "{address} is ours");
        }
        let public = Settings { public_ips: vec!["192.0.2.1".parse().unwrap()], ..Settings::default() };
        assert_eq!(public.candidates(address("[::]:7")), [address("192.0.2.1:7")]);
    }
}
