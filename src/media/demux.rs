//! What a datagram is (RFC 7983) and whose: the tables from addresses and ICE names to legs.
//!
//! An address enters only after an authenticated request came from it, so strangers cost nothing that is kept.

#![expect(clippy::disallowed_types, reason = "looked up for each packet and never walked, so order is not seen")]

use super::ice::Ufrag;
use super::socket::{Link, Path, Way};
use foldhash::quality::RandomState;
use std::collections::HashMap;
use std::net::SocketAddr;

/// What the first octet says (RFC 7983 section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// ICE.
    Stun,
    /// Handshakes and the data channel.
    Dtls,
    /// SRTP or SRTCP.
    Media,
    /// Nothing we speak.
    Other,
}

impl Kind {
    /// Of an empty datagram too.
    pub(crate) fn of(datagram: &[u8]) -> Self {
        match datagram.first() {
            Some(0..=3) => Self::Stun,
            Some(20..=63) => Self::Dtls,
            Some(128..=191) => Self::Media,
            _ => Self::Other,
        }
    }
}

/// A leg's place in its shard.
pub(crate) type Place = usize;

/// Who is where. The places are those of the shard's legs.
#[derive(Default)]
pub(crate) struct Directory {
    /// Looked up for each packet, so by a fast hash, with a seed of its own. Who wants to fill one bucket needs legs to hold the
    /// addresses, eight each.
    addresses: HashMap<SocketAddr, (Place, u8), RandomState>,
    links: HashMap<Link, (Place, u8)>,
    names: HashMap<Ufrag, Place>,
}

impl Directory {
    /// The leg at the other end of a path (an address, or a connection), and which of its addresses that is.
    pub(crate) fn at(&self, path: Path) -> Option<(Place, u8)> {
        match path.way {
            Way::Udp => self.addresses.get(&path.peer).copied(),
            Way::Tcp(link) => self.links.get(&link).copied(),
        }
    }

    /// The leg of an ICE name.
    pub(crate) fn named(&self, name: Ufrag) -> Option<Place> {
        self.names.get(&name).copied()
    }

    /// Notes that a leg is at an address.
    pub(crate) fn note_address(&mut self, path: Path, place: Place, slot: u8) {
        match path.way {
            Way::Udp => self.addresses.insert(path.peer, (place, slot)),
            Way::Tcp(link) => self.links.insert(link, (place, slot)),
        };
    }

    /// Forgets an address.
    pub(crate) fn forget_address(&mut self, path: Path) {
        match path.way {
            Way::Udp => self.addresses.remove(&path.peer),
            Way::Tcp(link) => self.links.remove(&link),
        };
    }

    /// Notes a leg's ICE name.
    pub(crate) fn note_name(&mut self, name: Ufrag, place: Place) {
        self.names.insert(name, place);
    }

    /// Forgets an ICE name.
    pub(crate) fn forget_name(&mut self, name: Ufrag) {
        self.names.remove(&name);
    }
}
