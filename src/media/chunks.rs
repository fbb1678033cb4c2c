//! What is checked of an SCTP packet (RFC 9260) before the library reads it.
//!
//! A page that has finished its handshake may send anything inside, and the library panics, or works and keeps without bound,
//! on some of it: causes of ERROR and ABORT that are longer than their chunk, a FORWARD TSN that skips two thousand million
//! numbers one by one, DATA without data (which no window counts). One page's packet would stop or take down a shard with all
//! its calls, so such packets are not shown to it. It refuses to judge anything else of a packet.

/// Octets of the common header, and of the header of a chunk or cause.
const COMMON_HEADER: usize = 12;
const HEADER: usize = 4;
/// Octets of a DATA chunk's body before the data.
const DATA_HEADER: usize = 12;

const DATA: u8 = 0;
const SACK: u8 = 3;
const ABORT: u8 = 6;
const ERROR: u8 = 9;
const FORWARD_TSN: u8 = 192;

/// How far beyond what we acknowledged a number may lie. A page may send 128 KB that we have not read: at most a few hundred
/// chunks of a browser.
const FURTHEST: i32 = 4_096;

/// Looks at the packets of one association, in both directions.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    /// The transmission number up to which we have everything, as we said last.
    acknowledged: Option<u32>,
}

impl Guard {
    /// Whether the library may read this packet.
    pub(crate) fn admits(&self, packet: &[u8]) -> bool {
        chunks(packet).all(|chunk| chunk.is_some_and(|(kind, body)| self.admits_chunk(kind, body)))
    }

    /// Notes a packet of ours.
    pub(crate) fn note_sent(&mut self, packet: &[u8]) {
        for (kind, body) in chunks(packet).flatten() {
            if kind == SACK {
                self.acknowledged = be32(body).or(self.acknowledged);
            }
        }
    }

    fn admits_chunk(&self, kind: u8, body: &[u8]) -> bool {
        let ahead = |number: u32| self.acknowledged.map(|acknowledged| number.wrapping_sub(acknowledged).cast_signed());
        match kind {
            ABORT | ERROR => causes_fit(body),
            DATA => body.len() > DATA_HEADER && be32(body).is_some_and(|number| ahead(number).is_none_or(|ahead| ahead <= FURTHEST)),
            // The first message opens the channel and is never given up, so something was acknowledged before.
            FORWARD_TSN => be32(body).and_then(ahead).is_some_and(|ahead| ahead <= FURTHEST),
            _ => true,
        }
    }
}

/// The chunks of a packet, kind and body; none in place of one whose length points outside.
fn chunks(packet: &[u8]) -> impl Iterator<Item = Option<(u8, &[u8])>> {
    let mut rest = packet.get(COMMON_HEADER..);
    std::iter::from_fn(move || {
        let Some(left) = rest else {
            rest = Some(&[]);
            return Some(None);
        };
        let chunk = match *left {
            [] => return None,
            [kind, _, high, low, ..] => {
                let len = usize::from(u16::from_be_bytes([high, low]));
                rest = left.get(len.next_multiple_of(4)..).or(Some(&[]));
                left.get(HEADER..len).map(|body| (kind, body))
            }
            _ => None,
        };
        if chunk.is_none() {
            rest = Some(&[]);
        }
        Some(chunk)
    })
}

/// The library reads the next cause where the one before ends, without padding.
fn causes_fit(mut causes: &[u8]) -> bool {
    while let [_, _, high, low, ..] = *causes {
        let len = usize::from(u16::from_be_bytes([high, low]));
        if len < HEADER || len > causes.len() {
            return false;
        }
        causes = &causes[len..];
    }
    true
}

fn be32(body: &[u8]) -> Option<u32> {
    body.first_chunk().map(|octets| u32::from_be_bytes(*octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(chunks: &[u8]) -> Vec<u8> {
        [&[0; COMMON_HEADER], chunks].concat()
    }

    fn admits(chunks: &[u8]) -> bool {
        Guard::default().admits(&packet(chunks))
    }

    /// A DATA chunk of one octet.
    fn data(number: u32) -> Vec<u8> {
        [&[0, 3, 0, 17][..], &number.to_be_bytes(), &[0; 8], &[7, 0, 0, 0]].concat()
    }

    #[test]
    fn a_length_that_points_outside_is_seen() {
        let good: [&[u8]; 4] = [
            &[10, 0, 0, 4],
            // The last chunk may come without its padding.
            &[14, 0, 0, 5, 1],
            &[9, 0, 0, 12, 0, 1, 0, 8, 1, 2, 3, 4, 10, 0, 0, 4],
            &[6, 0, 0, 4],
        ];
        for chunks in good {
            assert!(admits(chunks), "{chunks:?}");
        }
        let bad: [&[u8]; 7] = [
            &[10, 0, 0, 3],
            &[10, 0, 0, 5],
            &[10, 0, 0],
            &[10, 0, 0, 4, 9],
            &[9, 0, 0, 8, 0, 1, 0, 9],
            &[6, 0, 0, 8, 0, 1, 0, 3],
            &[6, 0, 0, 16, 0, 1, 0, 4, 0, 1, 0, 9, 0, 0, 0, 0],
        ];
        for chunks in bad {
            assert!(!admits(chunks), "{chunks:?}");
        }
        assert!(!Guard::default().admits(&[0; COMMON_HEADER - 1]));
        assert!(admits(&[]), "there is nothing in it to read");
    }

    #[test]
    fn data_without_data_is_not_read() {
        assert!(admits(&data(5)));
        assert!(!admits(&[&[0, 3, 0, 16][..], &[0; 12]].concat()));
        assert!(!admits(&[&data(5)[..], &[0, 3, 0, 16], &[0; 12]].concat()));
    }

    #[test]
    fn numbers_are_not_skipped_without_end() {
        let forward = |number: u32| packet(&[&[192, 0, 0, 8][..], &number.to_be_bytes()].concat());
        let mut guard = Guard::default();
        assert!(!guard.admits(&forward(0)), "nothing came before");
        guard.note_sent(&packet(&[&[3, 0, 0, 16][..], &0xFFFF_FF00_u32.to_be_bytes(), &[0; 8]].concat()));
        let furthest = 0xFFFF_FF00_u32.wrapping_add(4_096);
        assert!(guard.admits(&forward(furthest)) && guard.admits(&packet(&data(furthest))));
        assert!(guard.admits(&forward(0xFFFF_FE00)), "one that came late is harmless");
        assert!(!guard.admits(&forward(furthest + 1)) && !guard.admits(&packet(&data(furthest + 1))));
        assert!(!guard.admits(&forward(0x7FFF_FE00)));
    }
}
