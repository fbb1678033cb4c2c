//! DTLS records before the library sees them: what a peer may say at this stage, and no more of it than a handshake needs.
//!
//! The library believes any plain record, keeps what it cannot read yet and joins fragments by recursion, all without a
//! bound, and ends a handshake by an alert when a message comes before its turn; so loss alone, or whoever can write the
//! peer's address, could break it with one datagram. Here messages are made whole and put in order. Records of epoch 0 get numbers of our own in both directions: they are not authenticated, a forged high
//! one would close the replay window to the true ones, and a flight that is sent again needs fresh ones (RFC 6347 section
//! 4.2.4). Pure functions of octets; nothing panics whatever they are.

use bytes::BytesMut;

/// Record types (RFC 5246 section 6.2.1).
const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

/// Octets of a record's header (RFC 6347 section 4.1) and of a handshake message's (section 4.2.2).
const RECORD_HEADER: usize = 13;
const MESSAGE_HEADER: usize = 12;

/// The longest handshake message: certificates of browsers have less than 1 KB.
const LONGEST_MESSAGE: usize = 4 * 1024;
/// Plain messages of a server: HelloVerifyRequest, then ServerHello to ServerHelloDone, five at most.
const MESSAGES: usize = 6;
/// Encrypted handshake records of one try. Forged ones count too, so they get more.
const MOST_SEALED: u16 = 1024;
/// The longest encrypted handshake record: it holds a Finished, 24 octets and what the cipher adds.
const LONGEST_SEALED: usize = 128;

/// How far a handshake is, which decides what the peer can have to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Everything is plain.
    Plain,
    /// We sent our Finished: of plain records only the change of ciphers can follow.
    Finishing,
    /// Keys are there: nothing plain is believed any more.
    Up,
}

/// What of a datagram may go on.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Admitted {
    /// Records for the library, none if empty.
    pub(crate) records: BytesMut,
    /// A plain fatal alert was there. It may be forged, and is not among the records.
    pub(crate) is_alarming: bool,
    /// Part of a message is kept until the rest is there.
    pub(crate) is_kept: bool,
}

/// Takes in the records of one try. Small, whatever comes: of each message one version is kept, the newest.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// The number of the next plain record.
    next: u64,
    /// The messages of the server by their number; those before `passed` went on already.
    messages: [Option<Message>; MESSAGES],
    passed: usize,
    sealed: u16,
}

/// A handshake message, some of its octets still to come.
#[derive(Debug)]
struct Message {
    kind: u8,
    octets: Vec<u8>,
    is_there: Vec<bool>,
}

impl Gate {
    /// Picks the records that fit the stage.
    pub(crate) fn admit(&mut self, datagram: &[u8], stage: Stage) -> Admitted {
        let mut admitted = Admitted::default();
        for record in records(datagram) {
            let body = &record.whole[RECORD_HEADER..];
            let fits = match (stage, record.epoch, record.kind) {
                (Stage::Plain | Stage::Finishing, 0, ALERT) => {
                    admitted.is_alarming |= body.len() == 2 && body[0] == 2;
                    false
                }
                (Stage::Plain, 0, HANDSHAKE) => {
                    self.keep(body, &mut admitted);
                    false
                }
                (Stage::Finishing, 0, CHANGE_CIPHER_SPEC) => body == [1],
                (Stage::Finishing, 1, HANDSHAKE) => {
                    self.sealed = self.sealed.saturating_add(1);
                    body.len() <= LONGEST_SEALED && self.sealed <= MOST_SEALED
                }
                (Stage::Up, 1, APPLICATION_DATA | ALERT) => true,
                _ => false,
            };
            if fits {
                let start = admitted.records.len();
                admitted.records.extend_from_slice(record.whole);
                if record.epoch == 0 {
                    number(&mut admitted.records[start..], &mut self.next);
                }
            }
        }
        admitted
    }

    /// Keeps the parts of messages in a plain record and passes on what is whole and in its turn.
    fn keep(&mut self, body: &[u8], admitted: &mut Admitted) {
        let Some(parts) = parts(body) else { return };
        for part in parts {
            if part.sequence < self.passed {
                continue;
            }
            let place = &mut self.messages[part.sequence];
            // What differs from the part before is another message under the same number: one of them is forged, and the
            // true one is repeated.
            if place.as_ref().is_none_or(|known| known.kind != part.kind || known.octets.len() != part.whole) {
                *place = Some(Message { kind: part.kind, octets: vec![0; part.whole], is_there: vec![false; part.whole] });
            }
            if let Some(message) = place {
                let range = part.offset..part.offset + part.octets.len();
                message.octets[range.clone()].copy_from_slice(part.octets);
                message.is_there[range].fill(true);
                admitted.is_kept = true;
            }
        }
        while let Some(Some(message)) = self.messages.get_mut(self.passed)
            && message.is_there.iter().all(|there| *there)
        {
            // At most LONGEST_MESSAGE, so they fit.
            let [_, _, high, low] = (message.octets.len() as u32).to_be_bytes();
            let [over, under] = ((MESSAGE_HEADER + message.octets.len()) as u16).to_be_bytes();
            let start = admitted.records.len();
            admitted.records.extend_from_slice(&[HANDSHAKE, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 0, over, under]);
            let sequence = self.passed as u8; // Less than MESSAGES.
            admitted.records.extend_from_slice(&[message.kind, 0, high, low, 0, sequence, 0, 0, 0, 0, high, low]);
            admitted.records.extend_from_slice(&message.octets);
            number(&mut admitted.records[start..], &mut self.next);
            self.messages[self.passed] = None;
            self.passed += 1;
        }
    }
}

/// Gives the plain records of a datagram to be sent their numbers. Returns whether it holds others too.
pub(crate) fn renumber(datagram: &mut [u8], next: &mut u64) -> bool {
    let (mut at, mut is_sealed) = (0, false);
    loop {
        let first = records(&datagram[at..]).next().map(|record| (record.epoch, record.whole.len()));
        let Some((epoch, length)) = first else { return is_sealed };
        if epoch == 0 {
            number(&mut datagram[at..], next);
        } else {
            is_sealed = true;
        }
        at += length;
    }
}

/// Whether a datagram holds an alert, of any kind.
pub(crate) fn is_alert(datagram: &[u8]) -> bool {
    records(datagram).any(|record| record.kind == ALERT)
}

/// The random of a plain, unfragmented ClientHello at the head of a datagram: it tells one handshake from the next.
pub(crate) fn client_random(datagram: &[u8]) -> Option<[u8; 32]> {
    let record = records(datagram).next().filter(|record| record.kind == HANDSHAKE && record.epoch == 0)?;
    let message = &record.whole[RECORD_HEADER..];
    // Message type, after its header the version, then the random (RFC 5246 section 7.4.1.2).
    if *message.first()? != 1 {
        return None;
    }
    message.get(MESSAGE_HEADER + 2..)?.first_chunk().copied()
}

/// Writes the number of a record with its header.
fn number(record: &mut [u8], next: &mut u64) {
    record[5..11].copy_from_slice(&next.to_be_bytes()[2..]);
    *next += 1;
}

struct Record<'a> {
    kind: u8,
    epoch: u16,
    /// With its header.
    whole: &'a [u8],
}

/// The records of a datagram, up to what is none.
fn records(datagram: &[u8]) -> impl Iterator<Item = Record<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let header = rest.first_chunk::<RECORD_HEADER>()?;
        // DTLS 1.0 says a HelloVerifyRequest of 1.2 too (RFC 6347 section 4.2.1).
        if header[1] != 0xFE || !matches!(header[2], 0xFD | 0xFF) {
            return None;
        }
        let length = RECORD_HEADER + usize::from(u16::from_be_bytes([header[11], header[12]]));
        let (kind, epoch) = (header[0], u16::from_be_bytes([header[3], header[4]]));
        let (whole, behind) = rest.split_at_checked(length)?;
        rest = behind;
        Some(Record { kind, epoch, whole })
    })
}

/// A part of a handshake message, or all of it.
struct Part<'a> {
    kind: u8,
    sequence: usize,
    /// Octets of the message; this part of it begins at `offset`.
    whole: usize,
    offset: usize,
    octets: &'a [u8],
}

/// The parts in a plain handshake record; none if one of them is not what a server says.
fn parts(body: &[u8]) -> Option<Vec<Part<'_>>> {
    let (mut rest, mut parts) = (body, Vec::new());
    while !rest.is_empty() {
        let header = rest.first_chunk::<MESSAGE_HEADER>()?;
        let be24 = |at: usize| usize::from(header[at]) << 16 | usize::from(header[at + 1]) << 8 | usize::from(header[at + 2]);
        let (whole, offset, length) = (be24(1), be24(6), be24(9));
        let sequence = usize::from(u16::from_be_bytes([header[4], header[5]]));
        // ServerHello, HelloVerifyRequest, Certificate, ServerKeyExchange, CertificateRequest, ServerHelloDone.
        let is_known = matches!(header[0], 2 | 3 | 11..=14);
        // Only an empty message has an empty part.
        let is_sane = whole <= LONGEST_MESSAGE && offset + length <= whole && (length > 0 || whole == 0);
        if !is_known || !is_sane || sequence >= MESSAGES {
            return None;
        }
        let octets = rest.get(MESSAGE_HEADER..MESSAGE_HEADER + length)?;
        parts.push(Part { kind: header[0], sequence, whole, offset, octets });
        rest = &rest[MESSAGE_HEADER + length..];
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(kind: u8, epoch: u16, body: &[u8]) -> Vec<u8> {
        let mut record = vec![kind, 0xFE, 0xFD];
        record.extend(epoch.to_be_bytes());
        record.extend([0xFF; 6]);
        record.extend((body.len() as u16).to_be_bytes());
        record.extend(body);
        record
    }

    fn message(kind: u8, sequence: u8, body: &[u8]) -> Vec<u8> {
        let length = body.len() as u8;
        [&[kind, 0, 0, length, 0, sequence, 0, 0, 0, 0, 0, length], body].concat()
    }

    fn admitted(datagram: &[u8], stage: Stage) -> usize {
        Gate::default().admit(datagram, stage).records.len()
    }

    #[test]
    fn each_stage_takes_what_it_waits_for() {
        let hello = record(22, 0, &message(2, 0, b"hello"));
        let change = record(20, 0, &[1]);
        let finished = record(22, 1, &[7; 40]);
        let data = record(23, 1, &[7; 40]);
        let goodbye = record(21, 1, &[7; 26]);
        for (datagram, stages) in [
            (&hello, &[Stage::Plain][..]),
            (&change, &[Stage::Finishing]),
            (&finished, &[Stage::Finishing]),
            (&data, &[Stage::Up]),
            (&goodbye, &[Stage::Up]),
            (&record(23, 0, &[7; 40]), &[]),
            (&record(23, 2, &[7; 40]), &[]),
            (&record(22, 1, &[7; 200]), &[]),
            (&record(20, 0, &[2]), &[]),
            (&record(22, 0, &message(1, 0, b"hello")), &[]),
            (&record(22, 0, &message(2, 200, b"hello")), &[]),
            (&record(22, 0, &[]), &[]),
        ] {
            for stage in [Stage::Plain, Stage::Finishing, Stage::Up] {
                let expected = if stages.contains(&stage) { datagram.len() } else { 0 };
                assert_eq!(admitted(datagram, stage), expected, "{stage:?} {datagram:?}");
                assert_eq!(admitted(&datagram[..datagram.len() - 1], stage), 0, "cut");
            }
        }
        let both = [&change[..], &hello, &finished].concat();
        assert_eq!(admitted(&both, Stage::Finishing), change.len() + finished.len(), "each record by itself");
    }

    #[test]
    fn plain_alerts_are_told_and_not_passed_on() {
        for (stage, told) in [(Stage::Plain, true), (Stage::Finishing, true), (Stage::Up, false)] {
            let found = Gate::default().admit(&record(21, 0, &[2, 40]), stage);
            assert_eq!(found, Admitted { is_alarming: told, ..Admitted::default() });
            assert!(!Gate::default().admit(&record(21, 0, &[1, 0]), stage).is_alarming, "a warning");
        }
    }

    #[test]
    fn plain_records_are_numbered_in_the_order_they_come() {
        let mut gate = Gate::default();
        let hello = record(22, 0, &message(2, 0, b"hello"));
        for number in 0..3 {
            let taken = gate.admit(&record(22, 0, &message(2, number, b"hello")), Stage::Plain).records;
            assert_eq!(taken[5..11], [0, 0, 0, 0, 0, number]);
        }
        let sealed = record(22, 1, &[7; 40]);
        let mut flight = [&hello[..], &hello, &sealed].concat();
        let mut next = 258;
        assert!(renumber(&mut flight, &mut next) && next == 260);
        assert_eq!((&flight[5..11], &flight[hello.len() + 5..][..6]), (&[0, 0, 0, 0, 1, 2][..], &[0, 0, 0, 0, 1, 3][..]));
        assert_eq!(flight[2 * hello.len()..], sealed, "what is sealed is left as it is");
        assert!(!renumber(&mut hello.clone(), &mut next));
    }

    /// Parts of a message of 6 octets.
    fn part(sequence: u8, offset: u8, octets: &[u8]) -> Vec<u8> {
        let length = octets.len() as u8;
        record(22, 0, &[&[11, 0, 0, 6, 0, sequence, 0, 0, offset, 0, 0, length], octets].concat())
    }

    #[test]
    fn messages_are_made_whole_and_put_in_order() {
        let mut gate = Gate::default();
        let mut taken = |datagram: &[u8]| {
            let admitted = gate.admit(datagram, Stage::Plain);
            (admitted.records.to_vec(), admitted.is_kept)
        };
        let first = record(22, 0, &message(2, 0, b"hello"));
        assert_eq!(taken(&part(1, 3, b"lmn")), (Vec::new(), true));
        assert_eq!(taken(&part(1, 0, b"ij")), (Vec::new(), true));
        assert_eq!(taken(&part(1, 1, b"jk")), (Vec::new(), true), "it is whole, and not its turn");
        let (records, _) = taken(&first);
        assert_eq!(records.len(), first.len() + RECORD_HEADER + MESSAGE_HEADER + 6);
        assert!(records.ends_with(&[&[11, 0, 0, 6, 0, 1, 0, 0, 0, 0, 0, 6][..], b"ijklmn"].concat()));
        assert_eq!(taken(&first), (Vec::new(), false), "once");
        assert_eq!(taken(&part(1, 0, b"i")), (Vec::new(), false));
    }

    #[test]
    fn a_forged_part_does_not_stand_in_the_way() {
        let mut gate = Gate::default();
        for sequence in 0..10 {
            let forged = record(22, 0, &[14, 0, 0, 99, 0, sequence, 0, 0, 0, 0, 0, 1, 7]);
            assert!(gate.admit(&forged, Stage::Plain).records.is_empty());
        }
        for sequence in 0..3 {
            let hello = record(22, 0, &message(2, sequence, b"hello"));
            assert_eq!(gate.admit(&hello, Stage::Plain).records.len(), hello.len());
        }
    }

    #[test]
    fn a_try_takes_so_many_sealed_records_and_no_more() {
        let mut gate = Gate::default();
        let finished = record(22, 1, &[7; 40]);
        let taken = (0..100_000).filter(|_| !gate.admit(&finished, Stage::Finishing).records.is_empty()).count();
        assert_eq!(taken, usize::from(MOST_SEALED));
    }

    #[test]
    fn handshakes_are_told_apart_by_their_random() {
        let random = [9; 32];
        let hello = record(22, 0, &message(1, 0, &[&[0xFE, 0xFD][..], &random, b"more"].concat()));
        assert_eq!(client_random(&hello), Some(random));
        assert_eq!(client_random(&record(22, 0, &message(2, 0, &[0; 40]))), None);
        assert_eq!(client_random(&record(22, 0, &message(1, 0, &[0; 20]))), None);
    }

    proptest! {
        #[test]
        fn any_octets_are_looked_through(
            mut octets in prop::collection::vec(any::<u8>(), 0..200), heads in prop::collection::vec((any::<prop::sample::Index>(), 19u8..25, 0u8..3), 0..4),
        ) {
            for (at, kind, epoch) in heads {
                let at = at.index(octets.len() + 1);
                for (octet, value) in octets[at..].iter_mut().zip([kind, 0xFE, 0xFD, 0, epoch, 0, 0, 0, 0, 0, 0, 0, 30]) {
                    *octet = value;
                }
            }
            for stage in [Stage::Plain, Stage::Finishing, Stage::Up] {
                prop_assert!(admitted(&octets, stage) <= octets.len());
            }
            let _ = (is_alert(&octets), client_random(&octets)); // Only that they come back counts.
            let before = octets.len();
            renumber(&mut octets, &mut 1000);
            prop_assert_eq!(octets.len(), before);
        }
    }
}
