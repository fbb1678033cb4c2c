//! What is checked of an SCTP packet (RFC 9260 section 3) before the library reads it.
//!
//! The library panics on lengths that point outside (causes of ERROR and ABORT), and a panic would take down the shard with
//! all its calls. So such packets are not shown to it. It refuses to judge anything else of a packet.

/// Octets of the common header, and of the header of a chunk, parameter or cause.
const COMMON_HEADER: usize = 12;
const HEADER: usize = 4;
/// Chunks that hold a list of causes.
const ABORT: u8 = 6;
const ERROR: u8 = 9;

/// Whether all lengths lie inside: those of the chunks, and those of the causes in them.
pub(crate) fn lengths_fit(packet: &[u8]) -> bool {
    let Some(mut rest) = packet.get(COMMON_HEADER..) else { return false };
    while let [kind, _, high, low, ..] = *rest {
        let len = usize::from(u16::from_be_bytes([high, low]));
        let Some(body) = rest.get(HEADER..len) else { return false };
        if matches!(kind, ABORT | ERROR) && !causes_fit(body) {
            return false;
        }
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    rest.is_empty()
}

/// The library reads the next cause where the one before ends, padding or not; so both places must make sense.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(chunks: &[u8]) -> Vec<u8> {
        [&[0; COMMON_HEADER], chunks].concat()
    }

    #[test]
    fn a_length_that_points_outside_is_seen() {
        let good: [&[u8]; 5] = [
            &[10, 0, 0, 4],
            &[0, 3, 0, 5, 1, 0, 0, 0],
            // The last chunk may come without its padding.
            &[0, 3, 0, 5, 1],
            &[9, 0, 0, 12, 0, 1, 0, 8, 1, 2, 3, 4, 10, 0, 0, 4],
            &[6, 0, 0, 4],
        ];
        for chunks in good {
            assert!(lengths_fit(&packet(chunks)), "{chunks:?}");
        }
        let bad: [&[u8]; 6] = [
            &[10, 0, 0, 3],
            &[10, 0, 0, 5],
            &[10, 0, 0],
            &[9, 0, 0, 8, 0, 1, 0, 9],
            &[6, 0, 0, 8, 0, 1, 0, 3],
            &[6, 0, 0, 16, 0, 1, 0, 4, 0, 1, 0, 9, 0, 0, 0, 0],
        ];
        for chunks in bad {
            assert!(!lengths_fit(&packet(chunks)), "{chunks:?}");
        }
        assert!(!lengths_fit(&[0; COMMON_HEADER - 1]));
        assert!(lengths_fit(&packet(&[])), "there is nothing in it to read");
    }
}
