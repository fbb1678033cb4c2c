//! Which addresses may be spoken to: public ones, and those of networks that the settings name.
//!
//! It looks at addresses only, never at names: a name is resolved first, and the connection goes to the very address that was looked
//! at. So a name that leads elsewhere a moment later gains nothing (DNS rebinding).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Special-purpose IPv4 networks (IANA registry, RFC 6890 and its updates), with multicast (RFC 5771) and what is reserved.
const SPECIAL_V4: [(Ipv4Addr, u8); 15] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// All of IPv6 that is global unicast (RFC 4291 section 2.4, IANA): loopback, link-local, unique-local, multicast, IPv4-mapped and the
/// translation prefix 64:ff9b::/96 lie outside.
const GLOBAL_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// Within it: IETF protocols (Teredo among them), documentation twice, and 6to4, whose addresses hold an IPv4 address.
const SPECIAL_V6: [(Ipv6Addr, u8); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// Whether an event may be sent to this address.
pub(super) fn may_reach(address: IpAddr, allowed: &[(IpAddr, u8)]) -> bool {
    is_public(address) || allowed.iter().any(|(network, prefix)| is_within(address, *network, *prefix))
}

fn is_public(address: IpAddr) -> bool {
    let special = |network: IpAddr, prefix| is_within(address, network, prefix);
    match address {
        IpAddr::V4(_) => !SPECIAL_V4.iter().any(|(network, prefix)| special(IpAddr::V4(*network), *prefix)),
        IpAddr::V6(_) => {
            special(IpAddr::V6(GLOBAL_V6.0), GLOBAL_V6.1)
                && !SPECIAL_V6.iter().any(|(network, prefix)| special(IpAddr::V6(*network), *prefix))
        }
    }
}

/// Whether the first `prefix` bits are the same. Addresses of different families never are, nor IPv4-mapped and IPv4 ones.
fn is_within(address: IpAddr, network: IpAddr, prefix: u8) -> bool {
    let same = |one: u128, other: u128, bits: u8| {
        let rest = u32::from(bits.saturating_sub(prefix));
        one.checked_shr(rest).unwrap_or(0) == other.checked_shr(rest).unwrap_or(0)
    };
    match (address, network) {
        (IpAddr::V4(one), IpAddr::V4(other)) => same(one.to_bits().into(), other.to_bits().into(), 32),
        (IpAddr::V6(one), IpAddr::V6(other)) => same(one.to_bits(), other.to_bits(), 128),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_public_is_not_spoken_to() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.8.9.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "100::1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd12:3456::1",
            "ff02::1",
            "2001::1",
            "2001:10::1",
            "2001:db8::1",
            "2002:a00:1::1",
            "3fff::1",
            "4000::1",
        ] {
            assert!(!may_reach(text.parse().unwrap(), &[]), "{text}");
        }
        for text in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "172.32.0.0",
            "198.20.0.0",
            "223.255.255.255",
            "2001:200::1",
            "2606:4700:4700::1111",
            "2a00::1",
        ] {
            assert!(may_reach(text.parse().unwrap(), &[]), "{text}");
        }
    }

    #[test]
    fn a_network_that_is_named_may_be_reached_and_its_neighbour_may_not() {
        let allowed = [("10.20.0.0".parse().unwrap(), 16), ("fd00:1::".parse().unwrap(), 32), ("192.168.7.7".parse().unwrap(), 32)];
        let may = |text: &str| may_reach(text.parse().unwrap(), &allowed);
        for text in ["10.20.0.0", "10.20.255.255", "fd00:1::1", "192.168.7.7", "1.1.1.1"] {
            assert!(may(text), "{text}");
        }
        for text in ["10.21.0.0", "10.19.255.255", "fd00:2::1", "192.168.7.8", "::ffff:10.20.0.1"] {
            assert!(!may(text), "{text}");
        }
        assert!(may_reach("127.0.0.1".parse().unwrap(), &[("0.0.0.0".parse().unwrap(), 0)]), "all of it");
        assert!(!may_reach("::1".parse().unwrap(), &[("0.0.0.0".parse().unwrap(), 0)]), "of its own family");
    }
}
