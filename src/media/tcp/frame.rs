//! Datagrams out of a stream: two octets of length, then the datagram (RFC 4571 section 2).
//!
//! Pure: pieces of a stream in, whole datagrams out, wherever the pieces were cut. It holds less than one datagram and never
//! believes a length that does not fit into a buffer.

use crate::media::socket::SLOT;

/// Octets of a length.
pub(super) const HEAD: usize = 2;

/// A length that no page sends. The stream cannot be followed any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// One direction of a connection.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// The beginning of a datagram, its length included, whose end has not come yet.
    held: Vec<u8>,
}

impl Frames {
    /// Takes octets from `input` up to the end of the next datagram and lays that into `slot`; its length, never 0. None
    /// when `input` is used up. Empty datagrams, which the RFC allows, say nothing and are skipped.
    pub(super) fn next(&mut self, input: &mut &[u8], slot: &mut [u8; SLOT]) -> Result<Option<usize>, TooLong> {
        loop {
            if self.held.is_empty()
                && let Some((head, rest)) = input.split_first_chunk::<HEAD>()
            {
                // The usual case: all of it is here, and it is copied once.
                let length = length(*head)?;
                if let Some((datagram, after)) = rest.split_at_checked(length) {
                    slot[..length].copy_from_slice(datagram);
                    *input = after;
                    if length == 0 {
                        continue;
                    }
                    return Ok(Some(length));
                }
            }
            self.hold(input, HEAD);
            let Some(head) = self.held.first_chunk::<HEAD>() else { return Ok(None) };
            let length = length(*head)?;
            self.hold(input, HEAD + length);
            if self.held.len() < HEAD + length {
                return Ok(None);
            }
            slot[..length].copy_from_slice(&self.held[HEAD..]);
            self.held.clear();
            if length > 0 {
                return Ok(Some(length));
            }
        }
    }

    /// Moves octets here until there are `wanted`, or no more.
    fn hold(&mut self, input: &mut &[u8], wanted: usize) {
        let missing = wanted.saturating_sub(self.held.len()).min(input.len());
        let (piece, after) = input.split_at(missing);
        self.held.extend_from_slice(piece);
        *input = after;
    }
}

fn length(head: [u8; HEAD]) -> Result<usize, TooLong> {
    let length = usize::from(u16::from_be_bytes(head));
    if length > SLOT { Err(TooLong) } else { Ok(length) }
}

/// The length that goes before a datagram; none if it is longer than a length can say.
pub(super) fn head(datagram: &[u8]) -> Option<[u8; HEAD]> {
    u16::try_from(datagram.len()).ok().map(u16::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stream(datagrams: &[Vec<u8>]) -> Vec<u8> {
        datagrams.iter().flat_map(|datagram| head(datagram).unwrap().into_iter().chain(datagram.iter().copied())).collect()
    }

    /// What comes out of a stream that arrives in these pieces.
    fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Vec<u8>>, TooLong> {
        let mut frames = Frames::default();
        let mut slot = [0; SLOT];
        let mut out = Vec::new();
        for mut piece in pieces {
            while let Some(length) = frames.next(&mut piece, &mut slot)? {
                out.push(slot[..length].to_vec());
            }
            assert!(piece.is_empty());
            assert!(frames.held.len() < HEAD + SLOT);
        }
        Ok(out)
    }

    #[test]
    fn a_stream_may_be_cut_anywhere() {
        let datagrams = [vec![1], vec![2; 300], vec![3; SLOT], vec![4, 5]];
        let stream = stream(&datagrams);
        for cut in 0..=stream.len() {
            let (before, after) = stream.split_at(cut);
            assert_eq!(read([before, after]).unwrap(), datagrams, "cut at {cut}");
        }
        assert_eq!(read(stream.chunks(1)).unwrap(), datagrams, "octet by octet");
    }

    #[test]
    fn empty_datagrams_are_skipped_and_do_not_hide_others() {
        for cut in 0..8 {
            let stream = stream(&[vec![], vec![], vec![7], vec![]]);
            let (before, after) = stream.split_at(cut);
            assert_eq!(read([before, after]).unwrap(), [vec![7]], "cut at {cut}");
        }
    }

    #[test]
    fn a_length_beyond_the_buffer_ends_the_stream_before_anything_is_held() {
        for length in [SLOT + 1, 0xffff] {
            let head = u16::try_from(length).unwrap().to_be_bytes();
            assert_eq!(read([&head[..]]), Err(TooLong));
            assert_eq!(read([&head[..1], &head[1..]]), Err(TooLong));
            assert_eq!(read([&[0, 1, 9][..], &head[..]]), Err(TooLong), "after a good one");
        }
        assert_eq!(head(&[0; 70_000]), None);
    }

    proptest! {
        #[test]
        fn any_pieces_give_the_same_datagrams(
            datagrams in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 0..20),
            sizes in proptest::collection::vec(1_usize..100, 1..40),
        ) {
            let stream = stream(&datagrams);
            let mut rest = &stream[..];
            let mut pieces = Vec::new();
            for size in sizes.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, after) = rest.split_at((*size).min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            let wanted: Vec<Vec<u8>> = datagrams.into_iter().filter(|datagram| !datagram.is_empty()).collect();
            prop_assert_eq!(read(pieces).unwrap(), wanted);
        }

        #[test]
        fn garbage_never_panics_and_never_grows(garbage in proptest::collection::vec(any::<u8>(), 0..5000)) {
            let _ = read(garbage.chunks(97));
        }
    }
}
