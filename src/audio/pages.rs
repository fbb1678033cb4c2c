//! Pages of an Ogg file (RFC 3533), one after the other, whatever is damaged between them.
//!
//! What is no whole page is passed over up to the next one and counted. It knows of no codec and puts no packets together. Invariants:
//! memory is that of two pages; each octet is looked at a few times at most, however the file was made.

use std::io::{Error as IoError, ErrorKind, Read};

/// What each page begins with, the version behind it.
const BEGIN: &[u8; 5] = b"OggS\0";
/// Octets before the lengths of a page's segments, the last of which says how many there are.
const HEADER: usize = 27;
/// Where the checksum stands.
const CHECKSUM: std::ops::Range<usize> = 22..26;
/// Octets read at once.
const BLOCK: usize = 32 * 1024;
/// Octets of damaged pages that are searched again for pages within them, and how many more for each octet of whole ones. Beyond that a
/// damaged page is passed over as long as it says it is.
const SEARCHED: u64 = 4 << 20;
const SEARCHED_EACH: u64 = 8;

/// The remainder of each octet.
const REMAINDERS: [u32; 256] = {
    let mut table = [0; 256];
    let mut octet = 0;
    while octet < 256 {
        let (mut remainder, mut bit) = ((octet as u32) << 24, 0);
        while bit < 8 {
            remainder = remainder << 1 ^ if remainder >> 31 == 1 { 0x04C1_1DB7 } else { 0 };
            bit += 1;
        }
        table[octet] = remainder;
        octet += 1;
    }
    table
};

/// A whole page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Which stream it is of.
    pub serial: u32,
    /// Its place among the pages of its stream.
    pub number: u32,
    /// Position in the stream (of Opus: in ticks of 48 kHz) at the end of the last packet that ends on it; all ones if none does.
    pub position: u64,
    /// It begins with the rest of a packet of the page before.
    pub is_continued: bool,
    /// It is the first of its stream.
    pub is_first: bool,
    /// It is the last of its stream.
    pub is_last: bool,
    lengths: Vec<u8>,
    body: Vec<u8>,
}

impl Page {
    /// Its packets or parts of packets, each with whether it ends here.
    pub fn parts(&self) -> impl Iterator<Item = (&[u8], bool)> {
        let mut rest = self.body.as_slice();
        self.lengths.chunk_by(|before, _| *before == 255).map(move |lengths| {
            let length = lengths.iter().map(|length| usize::from(*length)).sum();
            let (part, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
            rest = after;
            (part, lengths.last().is_some_and(|length| *length < 255))
        })
    }
}

/// Reads pages.
pub struct Pages<R> {
    reader: R,
    /// What was read and not used: from `from` on.
    buffer: Vec<u8>,
    from: usize,
    is_at_end: bool,
    damaged: u64,
    /// Since the last whole page there was something else.
    is_lost: bool,
    is_cut_short: bool,
    /// Octets that may still be searched again.
    search: u64,
}

impl<R: Read> Pages<R> {
    /// Reads pages from what begins with one.
    pub fn new(reader: R) -> Self {
        Self { reader, buffer: Vec::new(), from: 0, is_at_end: false, damaged: 0, is_lost: false, is_cut_short: false, search: SEARCHED }
    }

    /// The next whole page; none at the end.
    pub fn next_page(&mut self) -> Result<Option<Page>, IoError> {
        loop {
            self.fill(HEADER)?;
            let begins = self.rest().starts_with(BEGIN);
            if !begins || self.rest().len() < HEADER {
                let Some(skip) = self.to_next() else { return Ok(None) };
                let is_end = self.rest().len() < HEADER && (begins || BEGIN.starts_with(self.rest()));
                self.is_cut_short |= is_end;
                self.damaged += u64::from(!self.is_lost && !is_end);
                self.is_lost = true;
                self.from += skip;
                continue;
            }
            let lengths = HEADER..HEADER + usize::from(self.rest()[HEADER - 1]);
            self.fill(lengths.end)?;
            let body =
                self.rest().get(lengths.clone()).map_or(0, |lengths| lengths.iter().map(|length| usize::from(*length)).sum::<usize>());
            let end = lengths.end + body;
            self.fill(end)?;
            if self.rest().len() < end {
                // Of what is within it, pages may still be whole.
                self.is_cut_short = true;
                self.from += 1;
                self.is_lost = true;
                continue;
            }
            let rest = self.rest();
            if checksum(&rest[..end]) == u32::from_le_bytes([rest[22], rest[23], rest[24], rest[25]]) {
                let number = |place: usize| u32::from_le_bytes([rest[place], rest[place + 1], rest[place + 2], rest[place + 3]]);
                let page = Page {
                    serial: number(14),
                    number: number(18),
                    position: u64::from(number(6)) | u64::from(number(10)) << 32,
                    is_continued: rest[5] & 1 != 0,
                    is_first: rest[5] & 2 != 0,
                    is_last: rest[5] & 4 != 0,
                    lengths: rest[lengths.clone()].to_vec(),
                    body: rest[lengths.end..end].to_vec(),
                };
                self.from += end;
                self.search += SEARCHED_EACH * end as u64;
                // What seemed to be the end was damage.
                self.damaged += u64::from(std::mem::take(&mut self.is_cut_short));
                self.is_lost = false;
                return Ok(Some(page));
            }
            self.damaged += 1;
            self.is_lost = true;
            // Its length may be what is wrong: the next page may begin within it.
            let can_search = self.search >= end as u64;
            self.search = self.search.saturating_sub(end as u64);
            self.from += if can_search { 1 } else { end };
        }
    }

    /// How many pages were damaged so far: passed over up to the next whole one.
    pub fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Whether the file ended within a page; known at the end.
    pub fn is_cut_short(&self) -> bool {
        self.is_cut_short
    }

    fn rest(&self) -> &[u8] {
        &self.buffer[self.from..]
    }

    /// Reads until there are so many octets, or the end.
    fn fill(&mut self, octets: usize) -> Result<(), IoError> {
        while self.buffer.len() - self.from < octets && !self.is_at_end {
            self.buffer.drain(..std::mem::take(&mut self.from));
            let before = self.buffer.len();
            self.buffer.resize(before + BLOCK, 0);
            let read = self.reader.read(&mut self.buffer[before..]);
            self.buffer.truncate(before + read.as_ref().map_or(0, |read| *read));
            match read {
                Ok(read) => self.is_at_end = read == 0,
                Err(error) if error.kind() == ErrorKind::Interrupted => (),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// How far it is to where a page may begin, in what was read; none at the end of the file.
    fn to_next(&self) -> Option<usize> {
        let rest = self.rest();
        if rest.is_empty() {
            return None;
        }
        let found = (1..rest.len()).find(|place| rest[*place..].starts_with(BEGIN) || BEGIN.starts_with(&rest[*place..]));
        Some(found.unwrap_or(rest.len()))
    }
}

/// The checksum of a page, its own octets taken for zero (RFC 3533 section 6).
fn checksum(page: &[u8]) -> u32 {
    let octets = page.iter().enumerate().map(|(place, octet)| if CHECKSUM.contains(&place) { 0 } else { *octet });
    octets.fold(0, |remainder, octet| remainder << 8 ^ REMAINDERS[usize::from((remainder >> 24) as u8 ^ octet)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use ogg::{PacketWriteEndInfo, PacketWriter};

    /// Pages of one packet each, as another program writes them.
    fn file(lengths: &[usize]) -> Vec<u8> {
        let mut writer = PacketWriter::new(Vec::new());
        for (number, length) in lengths.iter().enumerate() {
            let ends = if number + 1 == lengths.len() { PacketWriteEndInfo::EndStream } else { PacketWriteEndInfo::EndPage };
            writer.write_packet(vec![number as u8; *length], 7, ends, 960 * number as u64).expect("memory");
        }
        writer.into_inner()
    }

    /// Numbers of the pages that are read, how many are damaged, and whether the file is cut short.
    fn read(file: &[u8]) -> (Vec<u32>, u64, bool) {
        let mut pages = Pages::new(file);
        let mut numbers = Vec::new();
        while let Some(page) = pages.next_page().expect("memory") {
            assert_eq!((page.serial, page.is_first), (7, page.number == 0));
            numbers.push(page.number);
        }
        (numbers, pages.damaged(), pages.is_cut_short())
    }

    #[test]
    fn pages_are_read_as_they_were_written() {
        let file = file(&[19, 0, 255, 70_000, 300]);
        let mut pages = Pages::new(&file[..]);
        let mut packets: Vec<Vec<u8>> = vec![Vec::new()];
        let mut last = None;
        while let Some(page) = pages.next_page().expect("memory") {
            assert_eq!(page.is_continued, packets.last().is_some_and(|packet| !packet.is_empty()));
            for (part, is_whole) in page.parts() {
                packets.last_mut().expect("one").extend_from_slice(part);
                if is_whole {
                    packets.push(Vec::new());
                }
            }
            last = Some(page);
        }
        let lengths: Vec<usize> = packets.iter().map(Vec::len).collect();
        assert_eq!((lengths, pages.damaged(), pages.is_cut_short()), (vec![19, 0, 255, 70_000, 300, 0], 0, false));
        assert!(packets.iter().enumerate().all(|(number, packet)| packet.iter().all(|octet| usize::from(*octet) == number)));
        assert!(last.is_some_and(|page| page.is_last && page.position == 4 * 960));
    }

    #[test]
    fn a_damaged_octet_costs_its_own_page_and_no_other() {
        let file = file(&[40; 9]);
        let each = file.len() / 9;
        for octet in 0..each {
            let mut damaged = file.clone();
            damaged[4 * each + octet] ^= 0x81;
            assert_eq!(read(&damaged), (vec![0, 1, 2, 3, 5, 6, 7, 8], 1, false), "octet {octet}");
            damaged[6 * each + octet] ^= 0x81;
            assert_eq!(read(&damaged), (vec![0, 1, 2, 3, 5, 7, 8], 2, false), "octet {octet}");
        }
        for length in 1..each {
            assert_eq!(read(&file[..8 * each + length]).0, (0..8).collect::<Vec<_>>(), "cut by {length}");
            let hole = [&file[..4 * each], &file[4 * each + length..]].concat();
            assert_eq!(read(&hole).0, [0, 1, 2, 3, 5, 6, 7, 8], "a hole of {length}");
        }
        assert_eq!(read(&file[..8 * each + 30]), ((0..8).collect(), 0, true));
    }

    #[test]
    fn a_file_of_beginnings_takes_no_time() {
        // Each could be a page of 65 kB.
        let mut beginning = BEGIN.repeat(6);
        beginning[26] = 255;
        let file = beginning.repeat(20_000);
        let mut pages = Pages::new(&file[..]);
        assert_eq!(pages.next_page().expect("memory"), None);
        assert!(pages.search < SEARCHED && pages.damaged() < 1_000, "{}", pages.damaged());
    }
}
