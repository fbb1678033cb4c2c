//! What is checked of an SCTP packet (RFC 9260) before the library reads it.
//!
//! A page that has finished its handshake may send anything inside, and the library panics, or works and keeps without bound,
//! on some of it: causes of ERROR and ABORT that are longer than their chunk, chunks with more in them than it reads (the rest it
//! takes for chunks), a FORWARD TSN that skips two thousand million numbers one by one, DATA without data (which no window counts),
//! resets of streams that are put off for ever and looked at again for each number that arrives (RE-CONFIG, RFC 6525: only what can
//! be done at once is let through, and so often), messages that begin and never end, a thousand answers to one packet. One page's
//! packet would stop or take down a shard with all its calls, so such packets are not shown to it. It refuses to judge anything else
//! of a packet. Invariant: what a page has the library keep, and what one packet makes it do, is bounded by the numbers below.

#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;

/// Octets of the common header, and of the header of a chunk or cause.
const COMMON_HEADER: usize = 12;
const HEADER: usize = 4;
/// Octets of a DATA chunk's body before the data, and of a SACK's before its gaps.
const DATA_HEADER: usize = 12;
const SACK_HEADER: usize = 12;
/// And of an INIT's or INIT ACK's before the parameters.
const INIT_HEADER: usize = 16;

const DATA: u8 = 0;
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const SACK: u8 = 3;
const HEARTBEAT: u8 = 4;
const ABORT: u8 = 6;
const SHUTDOWN: u8 = 7;
const SHUTDOWN_ACK: u8 = 8;
const ERROR: u8 = 9;
const COOKIE_ECHO: u8 = 10;
const COOKIE_ACK: u8 = 11;
const SHUTDOWN_COMPLETE: u8 = 14;
const FORWARD_TSN: u8 = 192;
const RE_CONFIG: u8 = 130;
/// What the library can read and we have a use for.
const KNOWN: [u8; 14] = [
    DATA,
    INIT,
    INIT_ACK,
    SACK,
    HEARTBEAT,
    ABORT,
    SHUTDOWN,
    SHUTDOWN_ACK,
    ERROR,
    COOKIE_ECHO,
    COOKIE_ACK,
    SHUTDOWN_COMPLETE,
    FORWARD_TSN,
    RE_CONFIG,
];

/// Parameters of RE-CONFIG (RFC 6525 sections 4.1 and 4.4), and the octets of a request before its streams.
const RESET: u16 = 13;
const RESPONSE: u16 = 16;
const RESET_HEADER: usize = 12;
const RESPONSE_LENGTH: usize = 8;
/// Parameters of INIT (RFC 3758 section 3.1, RFC 4895 section 3.3).
const FORWARD_TSN_SUPPORTED: u16 = 0xC000;
const REQUESTED_HMAC: u16 = 0x8004;
/// A chunk has one or two parameters (RFC 6525 section 3.1).
const MOST_PARAMETERS: usize = 2;
/// Resets of our own streams in an association: for each that a page asks for, the library resets ours in return, and keeps that request until
/// the page has answered, which it need not. A program that closes more channels than this waits for the rest in vain.
const MOST_RESETS: usize = 64;
/// No number that may have been sent lies further back: half-way round it would be one to come.
const LONGEST_AGO: i32 = 1 << 30;

/// How far beyond what we acknowledged a number may lie. A page may send 64 KB that we have not read: at most a few hundred
/// chunks of a browser. Also how many numbers a SACK may report one by one.
const FURTHEST: u32 = 4_096;
/// Chunks of a packet: a DATA chunk has 20 octets at least, and the packets of browsers less than 1,280.
const MOST_CHUNKS: usize = 64;
/// Streams a page may use. A browser's one channel is stream 0 or 1 (RFC 8832 section 6).
const MOST_STREAMS: u16 = 16;
/// Streams a FORWARD TSN may name.
const MOST_FORWARDED: usize = 64;
/// What an end may send without its peer's having read it, in octets of data: the window that both of our ends advertise.
pub(crate) const WINDOW: u32 = 64 * 1024;
/// DATA that may wait in the library unread, because its message has no end yet or an earlier one is missing: chunks, and octets of
/// data. The longest text a page may send (16 KB) comes in 15 to 20 chunks. What is sent twice counts twice.
const MOST_HELD: usize = 512;
/// Above that only what goes on where the numbers that we have end, which frees what waits behind a lost packet: a rush of short texts
/// comes in more chunks. What never becomes a message comes to this.
const MOST_HELD_AT_ALL: usize = 2 * MOST_HELD;
const MOST_HELD_OCTETS: usize = 2 * WINDOW as usize;

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The library may read it.
    Read,
    /// It may not. An honest end sends no such packet; one that does finds it lost.
    Drop,
    /// It may not, and the association is to be given up: too much waits in it for what never comes.
    Break,
}

/// Looks at the packets of one association, in both directions.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    /// The transmission number up to which we have everything, as we said last.
    acknowledged: Option<u32>,
    /// DATA chunks that the library holds, and octets of data in them: never less than it does.
    held: usize,
    held_octets: usize,
    /// Resets of our streams that were asked for.
    resets: usize,
}

impl Guard {
    /// What becomes of this packet of the other end.
    pub(crate) fn judge(&mut self, packet: &[u8]) -> Verdict {
        let (mut count, mut data, mut octets, mut seen) = (0, 0, 0, 0_u16);
        let mut goes_on = true;
        for chunk in chunks(packet) {
            let Some((kind, body)) = chunk else { return Verdict::Drop };
            let Some(place) = KNOWN.iter().position(|known| *known == kind) else { return Verdict::Drop };
            count += 1;
            if kind == DATA {
                if data == 0 {
                    goes_on = self.ahead(body).is_none_or(|ahead| ahead <= 1);
                }
                data += 1;
                octets += body.len().saturating_sub(DATA_HEADER);
            } else if seen >> place & 1 == 1 {
                // Nobody says anything but DATA twice in a packet, and each would be answered by a packet of its own.
                return Verdict::Drop;
            }
            seen |= 1 << place;
            if count > MOST_CHUNKS || !ends_where_read(kind, body) || !self.admits(kind, body) {
                return Verdict::Drop;
            }
        }
        let (held, held_octets) = (self.held + data, self.held_octets + octets);
        if held > MOST_HELD_AT_ALL || held_octets > MOST_HELD_OCTETS {
            return Verdict::Break;
        }
        if held > MOST_HELD && data > 0 && !goes_on {
            return Verdict::Drop;
        }
        // The library may leave some of it out.
        (self.held, self.held_octets) = (held, held_octets);
        Verdict::Read
    }

    /// Notes a packet of ours.
    pub(crate) fn note_sent(&mut self, packet: &[u8]) {
        for (kind, body) in chunks(packet).flatten() {
            if kind == RE_CONFIG {
                self.resets += parameters(body).flatten().filter(|(kind, _)| *kind == RESET).count();
            } else if kind == SACK {
                self.acknowledged = be32(body).or(self.acknowledged);
                // Where no number is missing all it holds takes from the window, an octet for each chunk at least; a closed window says
                // nothing, since it takes some chunks even then.
                if let Some(free @ 1..) = body.get(4..).and_then(be32)
                    && body.get(8..10) == Some(&[0, 0])
                {
                    let unread = WINDOW.saturating_sub(free) as usize;
                    (self.held, self.held_octets) = (self.held.min(unread), self.held_octets.min(unread));
                }
            }
        }
    }

    /// Notes a message that was taken out of the library: of so many chunks, with so much data.
    pub(crate) fn note_read(&mut self, chunks: usize, octets: usize) {
        self.held = self.held.saturating_sub(chunks);
        self.held_octets = self.held_octets.saturating_sub(octets);
    }

    /// How far the number that stands first is beyond what we acknowledged.
    fn ahead(&self, octets: &[u8]) -> Option<i32> {
        Some(be32(octets)?.wrapping_sub(self.acknowledged?).cast_signed())
    }

    fn admits(&self, kind: u8, body: &[u8]) -> bool {
        // Half-way round, what we take for late is one to come for the library, whose count may be ahead of what we acknowledged.
        let is_near = |ahead: i32| (-LONGEST_AGO..=FURTHEST.cast_signed()).contains(&ahead);
        match kind {
            DATA => {
                body.len() > DATA_HEADER
                    && self.ahead(body).is_none_or(is_near)
                    && body.get(4..).and_then(be16).is_some_and(|stream| stream < MOST_STREAMS)
            }
            SACK => reported(body) <= FURTHEST,
            // The first message opens the channel and is never given up, so something was acknowledged before.
            FORWARD_TSN => self.ahead(body).is_some_and(is_near) && body.len() <= 4 + 4 * MOST_FORWARDED,
            RE_CONFIG => self.can_reset(body),
            _ => true,
        }
    }

    /// Whether all that a RE-CONFIG asks for can be done at once, so that nothing of it is kept. What cannot be yet is asked for again, as
    /// what was lost (RFC 6525 section 5.1.1).
    fn can_reset(&self, body: &[u8]) -> bool {
        let (mut count, mut resets) = (0, 0);
        for parameter in parameters(body) {
            count += 1;
            let fits = match parameter {
                Some((RESET, value)) => {
                    resets += 1;
                    let is_past = self.ahead(&value[value.len().min(8)..]).is_some_and(|ahead| (-LONGEST_AGO..=0).contains(&ahead));
                    let streams = value.len().saturating_sub(RESET_HEADER);
                    is_past && streams.is_multiple_of(2) && (1..=usize::from(MOST_STREAMS)).contains(&(streams / 2))
                }
                Some((RESPONSE, value)) => value.len() == RESPONSE_LENGTH,
                _ => false,
            };
            if !fits || count > MOST_PARAMETERS {
                return false;
            }
        }
        count > 0 && resets <= 1 && (resets == 0 || self.resets < MOST_RESETS)
    }
}

/// Whether the library looks for the next chunk where this one ends. It goes on behind what it made of a chunk, and not behind the length that
/// the chunk has: what it left out would be read as chunks that nobody looked at here.
fn ends_where_read(kind: u8, body: &[u8]) -> bool {
    let read = match kind {
        DATA | COOKIE_ECHO => Some(body.len()),
        SACK => body
            .get(8..10)
            .and_then(be16)
            .zip(body.get(10..).and_then(be16))
            .map(|(gaps, doubles)| SACK_HEADER + 4 * (usize::from(gaps) + usize::from(doubles))),
        ABORT | ERROR => Some(causes(body).map(<[u8]>::len).sum()),
        SHUTDOWN => (body.len() == 4).then_some(4),
        SHUTDOWN_ACK | COOKIE_ACK | SHUTDOWN_COMPLETE => Some(0),
        FORWARD_TSN => body.len().is_multiple_of(4).then_some(body.len()),
        HEARTBEAT => body.get(2..).and_then(be16).map(usize::from),
        INIT | INIT_ACK => read_of_init(body),
        RE_CONFIG => parameters(body).try_fold(0_usize, |at, parameter| Some(at.next_multiple_of(4) + HEADER + parameter?.1.len())),
        _ => None,
    };
    read.is_some_and(|read| read.next_multiple_of(4) == body.len().next_multiple_of(4))
}

/// How much of an INIT or INIT ACK the library reads: what is left in its last four octets it does not look at. Some parameters it
/// reads otherwise than by their length, where no end sends them so.
fn read_of_init(body: &[u8]) -> Option<usize> {
    let mut read = INIT_HEADER;
    let mut rest = body.get(INIT_HEADER..)?;
    while rest.len() > HEADER {
        let (kind, len) = (be16(rest)?, usize::from(be16(rest.get(2..)?)?));
        let is_read_whole = match kind {
            FORWARD_TSN_SUPPORTED => len == HEADER,
            RESET | RESPONSE => false,
            REQUESTED_HMAC => len >= HEADER && len.is_multiple_of(2),
            _ => len >= HEADER,
        };
        if !is_read_whole {
            return None;
        }
        read = body.len() - rest.len() + len;
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(read)
}

/// The parameters of a RE-CONFIG, kind and value; none in place of one whose length points outside.
fn parameters(body: &[u8]) -> impl Iterator<Item = Option<(u16, &[u8])>> {
    let mut rest = body;
    std::iter::from_fn(move || {
        let (kind, len) = (be16(rest), rest.get(2..).and_then(be16).map(usize::from));
        if rest.is_empty() {
            return None;
        }
        let value = len.and_then(|len| rest.get(HEADER..len));
        rest = len.filter(|_| value.is_some()).and_then(|len| rest.get(len.next_multiple_of(4)..)).unwrap_or_default();
        Some(kind.zip(value))
    })
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

/// The causes of an ABORT or ERROR. The library reads the next where the one before ends, without padding.
fn causes(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = body;
    std::iter::from_fn(move || {
        let len = usize::from(be16(rest.get(2..)?)?);
        let (cause, after) = rest.split_at_checked(len).filter(|(cause, _)| cause.len() >= HEADER)?;
        rest = after;
        Some(cause)
    })
}

/// How many numbers the gaps of a SACK report, each of which the library looks up.
fn reported(body: &[u8]) -> u32 {
    let gaps = usize::from(body.get(8..).and_then(be16).unwrap_or(0));
    let gap =
        |gap: &[u8; 4]| 1 + u32::from(u16::from_be_bytes([gap[2], gap[3]])).saturating_sub(u32::from(u16::from_be_bytes([gap[0], gap[1]])));
    body.get(SACK_HEADER..).unwrap_or_default().as_chunks().0.iter().take(gaps).map(gap).sum()
}

fn be16(body: &[u8]) -> Option<u16> {
    body.first_chunk().map(|octets| u16::from_be_bytes(*octets))
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
        Guard::default().judge(&packet(chunks)) == Verdict::Read
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
            &[10, 0, 0, 5, 1],
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
        assert_eq!(Guard::default().judge(&[0; COMMON_HEADER - 1]), Verdict::Drop);
        assert!(admits(&[]), "there is nothing in it to read");
    }

    #[test]
    fn nothing_hides_behind_what_is_read_of_a_chunk() {
        // No cause and no parameter, since it points outside.
        let more = [6, 0, 0, 99, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0];
        let init = |parameters: &[u8]| [&[0; 16], parameters].concat();
        let chunk = |kind: u8, body: &[u8]| [&[kind, 0][..], &(4 + body.len() as u16).to_be_bytes(), body].concat();
        let sack = [&[0; 9][..], &[1, 0, 1], &[0; 8]].concat();
        let whole: [(u8, Vec<u8>); 9] = [
            (SACK, sack),
            (SHUTDOWN, vec![0; 4]),
            (SHUTDOWN_ACK, vec![]),
            (COOKIE_ACK, vec![]),
            (SHUTDOWN_COMPLETE, vec![]),
            (HEARTBEAT, vec![0, 1, 0, 8, 7, 7, 7, 7]),
            (ERROR, vec![0, 1, 0, 8, 1, 2, 3, 4]),
            (INIT, init(&[0xC0, 0, 0, 4, 0x80, 8, 0, 6, 130, 192])),
            (INIT_ACK, init(&[0, 7, 0, 12, 1, 2, 3, 4, 5, 6, 7, 8])),
        ];
        for (kind, body) in whole {
            assert!(admits(&chunk(kind, &body)), "{kind}");
            let body = [body.as_slice(), &vec![0; body.len().next_multiple_of(4) - body.len()], &more].concat();
            assert!(!admits(&chunk(kind, &body)), "{kind} with more behind it");
        }
        // As usrsctp begins where it was built with authentication (RFC 4895): random octets, chunks, algorithms.
        let random = [&[0x80, 2, 0, 36][..], &[7; 32], &[0x80, 3, 0, 6, 0x80, 0xC1, 0, 0], &[0x80, 4, 0, 8, 0, 3, 0, 1]].concat();
        assert!(admits(&chunk(INIT, &init(&random))));
        // Parameters that are read otherwise than they are long.
        for parameter in [&[0xC0, 0, 0, 8, 0, 0, 0, 4][..], &[0, 16, 0, 20], &[0x80, 4, 0, 7, 0, 1, 0], &[0x80, 8, 0, 3, 0, 0, 0, 0]] {
            assert!(!admits(&chunk(INIT, &init(&[parameter, &[0; 16]].concat()))), "{parameter:?}");
        }
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
        let admits = |guard: &mut Guard, packet: &[u8]| guard.judge(packet) == Verdict::Read;
        assert!(!admits(&mut guard, &forward(0)), "nothing came before");
        guard.note_sent(&packet(&[&[3, 0, 0, 16][..], &0xFFFF_FF00_u32.to_be_bytes(), &[0; 8]].concat()));
        let furthest = 0xFFFF_FF00_u32.wrapping_add(4_096);
        assert!(admits(&mut guard, &forward(furthest)) && admits(&mut guard, &packet(&data(furthest))));
        assert!(admits(&mut guard, &forward(0xFFFF_FE00)), "one that came late is harmless");
        assert!(!admits(&mut guard, &forward(furthest + 1)) && !admits(&mut guard, &packet(&data(furthest + 1))));
        assert!(!admits(&mut guard, &forward(0x7FFF_FE00)));
        for late in [1 << 31, (1 << 31) + 4_096, 3 << 29] {
            let number = 0xFFFF_FF00_u32.wrapping_add(late);
            assert!(!admits(&mut guard, &forward(number)) && !admits(&mut guard, &packet(&data(number))), "{late:x}");
        }
        let many = packet(&[&[192, 0, 1, 12][..], &furthest.to_be_bytes(), &[0; 260]].concat());
        assert!(!admits(&mut guard, &many), "65 streams");
    }

    #[test]
    fn a_packet_says_each_thing_once_and_of_data_not_too_much() {
        for kind in KNOWN {
            let once = match kind {
                DATA => data(5),
                FORWARD_TSN | RE_CONFIG => continue,
                SACK => [&[3, 0, 0, 16][..], &[0; 12]].concat(),
                INIT | INIT_ACK => [&[kind, 0, 0, 20][..], &[0; 16]].concat(),
                HEARTBEAT => vec![kind, 0, 0, 8, 0, 1, 0, 4],
                SHUTDOWN => vec![kind, 0, 0, 8, 0, 0, 0, 5],
                _ => vec![kind, 0, 0, 4],
            };
            assert!(admits(&once), "{kind}");
            assert_eq!(admits(&once.repeat(2)), kind == DATA, "{kind}");
        }
        assert!(admits(&data(5).repeat(64)) && !admits(&data(5).repeat(65)));
        for kind in [5, 12, 13, 15, 64, 128, 129, 132, 193, 255] {
            assert!(!admits(&[kind, 0, 0, 4]) && !admits(&[&data(5)[..], &[kind, 0, 0, 4]].concat()), "{kind}");
        }
    }

    #[test]
    fn a_reset_is_asked_for_once_and_only_where_nothing_is_missing() {
        let reset = |last: u32, streams: u16| {
            let mut value = [&[0, 13][..], &(16 + 2 * streams).to_be_bytes(), &[0; 8], &last.to_be_bytes()].concat();
            value.extend((0..streams).flat_map(u16::to_be_bytes));
            value.resize(value.len().next_multiple_of(4), 0);
            value
        };
        let response = [0, 16, 0, 12, 0, 0, 0, 1, 0, 0, 0, 1];
        let config = |parameters: &[u8]| [&[130, 0][..], &(4 + parameters.len() as u16).to_be_bytes(), parameters].concat();
        let mut guard = Guard::default();
        let admits = |guard: &mut Guard, parameters: &[&[u8]]| guard.judge(&packet(&config(&parameters.concat()))) == Verdict::Read;
        assert!(!admits(&mut guard, &[&reset(7, 1)]), "nothing was acknowledged");
        guard.note_sent(&packet(&[&[3, 0, 0, 16, 0, 0, 0, 7][..], &[0; 8]].concat()));
        let good: [&[&[u8]]; 5] =
            [&[&reset(7, 1)], &[&reset(0xC000_0007, 16)], &[&response], &[&response, &reset(6, 3)], &[&reset(7, 2), &response]];
        for good in good {
            assert!(admits(&mut guard, good), "{good:?}");
        }
        // A number that has not come, or so old that it might be one to come; no streams, or too many; what is not a reset; too much.
        let (short, long) = ([0, 13, 0, 12, 0, 0, 0, 1, 0, 0, 0, 1], [&[0, 16, 0, 20][..], &[0; 16]].concat());
        let bad: [&[&[u8]]; 11] = [
            &[],
            &[&reset(8, 1)],
            &[&reset(0xC000_0006, 1)],
            &[&reset(7, 0)],
            &[&reset(7, 17)],
            &[&short],
            &[&long],
            &[&[0, 14, 0, 8, 0, 0, 0, 1]],
            &[&reset(7, 1), &reset(7, 1)],
            &[&response, &response, &response],
            &[&response, &[0, 13, 0]],
        ];
        for bad in bad {
            assert!(!admits(&mut guard, bad), "{bad:?}");
        }
        assert!(guard.judge(&packet(&config(&reset(7, 1)).repeat(2))) == Verdict::Drop);
        // Our own, of which the page answers none.
        for _ in 0..MOST_RESETS {
            assert!(admits(&mut guard, &[&reset(7, 1)]));
            guard.note_sent(&packet(&config(&response)));
            guard.note_sent(&packet(&config(&reset(9, 1))));
        }
        assert!(!admits(&mut guard, &[&reset(7, 1)]) && admits(&mut guard, &[&response]));
    }

    #[test]
    fn streams_are_few_and_gaps_are_short() {
        let on = |stream: u16| {
            let mut data = data(5);
            data[8..10].copy_from_slice(&stream.to_be_bytes());
            data
        };
        assert!(admits(&on(0)) && admits(&on(15)) && !admits(&on(16)) && !admits(&on(0x100)));
        let sack = |gaps: &[[u16; 2]]| {
            let gaps: Vec<u8> = gaps.iter().flatten().flat_map(|edge| edge.to_be_bytes()).collect();
            let count = (gaps.len() / 4) as u16;
            [&[3, 0][..], &(16 + gaps.len() as u16).to_be_bytes(), &[0; 8], &count.to_be_bytes(), &[0; 2], &gaps].concat()
        };
        assert!(admits(&sack(&[])) && admits(&sack(&[[2, 2], [4, 4_096]])) && admits(&sack(&[[9, 3]])));
        assert!(!admits(&sack(&[[1, 4_097]])) && !admits(&sack(&[[1, 50]; 82])) && !admits(&sack(&[[0, 0xFFFF]])));
    }

    #[test]
    fn what_waits_for_the_rest_is_bounded() {
        // What we say of what we hold: a window, and how many gaps there are.
        let sack = |window: u32, gaps: u8| packet(&[&[3, 0, 0, 16, 0, 0, 0, 0][..], &window.to_be_bytes(), &[0, gaps, 0, 0]].concat());
        for (window, gaps, is_empty) in
            [(WINDOW, 0, true), (WINDOW - 448, 0, true), (WINDOW - 449, 0, false), (WINDOW, 1, false), (0, 0, false)]
        {
            let mut guard = Guard::default();
            let verdicts: Vec<Verdict> = (0..9)
                .map(|_| {
                    let verdict = guard.judge(&packet(&data(5).repeat(64)));
                    guard.note_sent(&sack(window, gaps));
                    verdict
                })
                .collect();
            let last = if is_empty { Verdict::Read } else { Verdict::Drop };
            assert!(verdicts[..8].iter().all(|verdict| *verdict == Verdict::Read) && verdicts[8] == last, "{verdicts:?}");
        }
        // What is dropped is not held; what fills the hole is read, until there is too much of it.
        let mut guard = Guard::default();
        guard.note_sent(&sack(WINDOW, 1));
        let mut many = |number: u32, times: usize| {
            (0..times).map(|_| guard.judge(&packet(&data(number).repeat(64)))).filter(|verdict| *verdict == Verdict::Read).count()
        };
        assert_eq!([many(2, 9), many(2, 1), many(1, 8), many(2, 1)], [8, 0, 8, 0]);
        assert_eq!(guard.judge(&packet(&data(1))), Verdict::Break);
        assert_eq!(guard.judge(&packet(&[10, 0, 0, 4])), Verdict::Read, "it says nothing that is held");
        let long = packet(&[&[0, 3, 0x04, 0x10][..], &[0; 1_036]].concat());
        let mut guard = Guard::default();
        let read = |guard: &mut Guard| (0..200).take_while(|_| guard.judge(&long) == Verdict::Read).count();
        assert_eq!(read(&mut guard), 128);
        guard.note_read(17, 17 * 1_024);
        assert_eq!(read(&mut guard), 17);
    }
}
