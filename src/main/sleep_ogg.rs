//! Opus in Ogg (RFC 7845) as a call would bring it: what a file leaves out is a gap of its true length, not pressed together.
//!
//! The place of each page is its granule position. Where that runs ahead of the sound, packets were withheld (DTX) or lost when it was
//! recorded; which of both, a file does not say, so the listener takes it as it takes packets whose numbers follow each other, and as
//! loss where pages are missing from the file itself. Several packets on one page have the gap before the first. Streams that are not
//! Opus are passed over, those that follow are read on. Refused with what would be taken: mappings of more than two channels. Invariant:
//! time never goes back.

use anyhow::{Result, ensure};
use lull::audio::pages::{Page, Pages};
use lull::audio::{Heard, Listener, Packet, RTP_RATE, Shape};
use lull::clock::{Moment, Span};
use std::collections::BTreeSet;
use std::io::Read;

/// Ticks of a packet that cannot be read: the usual 20 ms.
const USUAL: u64 = RTP_RATE as u64 / 50;
/// A gap of more than 12 hours is an error in the file, and left out.
const LONGEST_GAP: u64 = 12 * 3_600 * RTP_RATE as u64;
/// And so are gaps that come to more than a day: no night has them, and each tick of them takes its time.
const MOST_GAPS: u64 = 2 * LONGEST_GAP;
/// In a gap that is longer than a second, time passes in steps of half of one: as for a call, in which nothing comes.
const LONG_GAP: u64 = RTP_RATE as u64;
const STEP: i64 = RTP_RATE as i64 / 2;
/// A file whose first pages are missing began at 0 if it goes on before this; else it is of a call that was running.
const LATEST_FIRST: u64 = 60 * RTP_RATE as u64;
/// Octets that are kept of a packet: more than the longest of Opus (RFC 6716 section 3.4), less than the pictures some tags hold.
const LONGEST_PACKET: usize = 64 * 1024;
/// So many numbers are left out for packets that were lost that the listener does not wait for them, and one for each 2.5 ms.
const NOT_AWAITED: u64 = 64;
const SHORTEST: u64 = RTP_RATE as u64 / 400;

/// What takes the frames.
type Out<'a> = &'a mut dyn FnMut(Moment, Heard<'_>) -> Result<()>;

/// Listens to a file from `begins` on; an error if there is nothing in it to listen to, or where `out` has one.
pub(crate) fn listen(file: impl Read, begins: Moment, out: Out<'_>) -> Result<()> {
    let mut pages = Pages::new(file);
    let mut link: Option<Link> = None;
    let mut begun = BTreeSet::new();
    let mut has_sounded = false;
    loop {
        let page = match pages.next_page() {
            Ok(Some(page)) => page,
            Ok(None) => break,
            Err(error) if has_sounded => {
                eprintln!("lull: the file cannot be read to its end ({error}); what there is was heard");
                break;
            }
            Err(error) => return Err(error.into()),
        };
        let own = link.as_mut().filter(|link| link.serial == page.serial);
        if !page.is_first {
            if let Some(link) = own {
                has_sounded |= link.take(&page, out)?;
            } else if begun.insert(page.serial) {
                eprintln!("lull: a stream without a beginning is left out");
            }
            continue;
        }
        begun.insert(page.serial);
        let is_own = own.map(|link| link.is_over = true).is_some();
        let Some((head, _)) = page.parts().next().filter(|(head, _)| head.starts_with(b"OpusHead")) else { continue };
        // Streams beside each other all begin before the sound does (RFC 3533 section 4); one that begins later follows.
        let (starts, gaps) = match &link {
            Some(link) if link.base.is_none() && !is_own => {
                eprintln!("lull: a further stream beside the first is left out");
                continue;
            }
            Some(link) => (link.ends(), link.gaps),
            None => (0, 0),
        };
        match Link::new(head, &page, begins, starts) {
            Ok(new) => link = Some(Link { gaps, ..new }),
            Err(error) if has_sounded => eprintln!("lull: a further stream is left out: {error}"),
            Err(error) => return Err(error),
        }
    }
    let damaged = match pages.damaged() {
        0 => String::new(),
        1 => "1 page is damaged".to_owned(),
        count => format!("{count} pages are damaged"),
    };
    ensure!(!begun.is_empty(), "not an Ogg file that can be read (no page of it is whole): expected Opus in Ogg");
    ensure!(
        link.is_some() || damaged.is_empty(),
        "no Opus in it that can be read ({damaged}): expected a stream that begins with OpusHead"
    );
    ensure!(link.is_some(), "Ogg, but not Opus in it: expected a stream that begins with OpusHead");
    ensure!(
        has_sounded || damaged.is_empty(),
        "no sound is in it that can be read ({damaged}): expected Opus packets behind the two headers"
    );
    ensure!(has_sounded, "no sound is in it: expected Opus packets behind the two headers");
    if !damaged.is_empty() {
        eprintln!("lull: {damaged} and passed over; what there is besides was heard");
    }
    if pages.is_cut_short() {
        eprintln!("lull: the file ends within a page; what there is was heard");
    }
    Ok(())
}

/// A stream, of one or several that follow each other.
struct Link {
    serial: u32,
    listener: Listener,
    begins: Moment,
    /// Ticks of the file before its sound.
    starts: i64,
    /// Ticks at its beginning that are not to be heard.
    pre_skip: u16,
    /// Another stream with its number follows: what comes is not its own.
    is_over: bool,
    /// Number of the page before, and whether some were missing since the last sound.
    number: u32,
    has_lost: bool,
    /// The beginning of a packet that ends on the next page, if it is known.
    part: Option<Vec<u8>>,
    packets: u64,
    /// Position of its first packet, where its next packet is, and where its sound ends if it says so. A recording of a running call
    /// does not begin at 0.
    base: Option<u64>,
    next: u64,
    end: Option<u64>,
    /// Ticks of gaps that were left out of its positions, and of those heard in the whole file.
    left_out: u64,
    gaps: u64,
}

impl Link {
    /// Reads an identification header (RFC 7845 section 5.1).
    fn new(head: &[u8], page: &Page, begins: Moment, starts: i64) -> Result<Self> {
        ensure!(head.len() >= 19, "its OpusHead ends early: expected 19 octets at least");
        let (version, channels, family) = (head[8], head[9], head[18]);
        ensure!(version < 16, "OpusHead of version {version}: expected 0 to 15");
        ensure!(
            family == 0 && matches!(channels, 1 | 2),
            "{channels} channels in mapping family {family}: expected mono or stereo in family 0"
        );
        let pre_skip = u16::from_le_bytes([head[10], head[11]]);
        let gain = f64::from(i16::from_le_bytes([head[16], head[17]])) / 256.0;
        if gain != 0.0 {
            eprintln!("lull: the file asks for a gain of {gain:.1} dB, which there is not in a call: heard without it");
        }
        let listener = Listener::new(moment(begins, starts - i64::from(pre_skip)))?;
        Ok(Self {
            serial: page.serial,
            listener,
            begins,
            starts,
            pre_skip,
            is_over: false,
            number: page.number,
            has_lost: false,
            part: None,
            packets: 0,
            base: None,
            next: 0,
            end: None,
            left_out: 0,
            gaps: 0,
        })
    }

    /// Takes its next page; says whether there was sound on it.
    fn take(&mut self, page: &Page, out: Out<'_>) -> Result<bool> {
        if self.is_over {
            return Ok(false);
        }
        let follows = page.number == self.number.wrapping_add(1);
        self.number = page.number;
        self.has_lost |= !follows;
        let mut packets = Vec::new();
        let mut before = self.part.take().filter(|_| follows);
        for (place, (part, is_whole)) in page.parts().enumerate() {
            let mut packet = match (page.is_continued && place == 0, before.take()) {
                (true, Some(before)) => before,
                // Its beginning is missing.
                (true, None) => continue,
                (false, _) => Vec::new(),
            };
            packet.extend_from_slice(&part[..part.len().min(LONGEST_PACKET.saturating_sub(packet.len()))]);
            if !is_whole {
                self.part = Some(packet);
            } else if !packet.starts_with(b"OpusTags") {
                packets.push(packet);
            }
        }
        if packets.is_empty() { Ok(false) } else { self.end_page(&packets, page, out).map(|()| true) }
    }

    /// The packets that end on a page, with the position that it has.
    fn end_page(&mut self, packets: &[Vec<u8>], page: &Page, out: Out<'_>) -> Result<()> {
        let ticks = |packet: &Vec<u8>| Shape::read(packet).map_or(USUAL, |shape| u64::from(shape.ticks()));
        let length: u64 = packets.iter().map(ticks).sum();
        // -1 is none.
        let position = Some(page.position).filter(|position| i64::try_from(*position).is_ok());
        if position.is_some_and(|position| position < self.left_out) {
            // It was that one position which was wrong.
            self.left_out = 0;
        }
        let position = position.map(|position| position - self.left_out);
        let from = position.map(|position| position.saturating_sub(length));
        let has_lost = std::mem::take(&mut self.has_lost);
        if self.base.is_none() {
            let first = from.filter(|from| !has_lost || *from >= LATEST_FIRST).unwrap_or(0);
            (self.base, self.next) = (Some(first), first);
        }
        let gap = from.unwrap_or(0).saturating_sub(self.next);
        if gap > LONGEST_GAP || gap > MOST_GAPS - self.gaps {
            self.left_out += gap;
            eprintln!("lull: a gap of {} hours is taken for an error in the file and left out", gap / 3_600 / u64::from(RTP_RATE));
        } else {
            self.gaps += gap;
            if has_lost && gap > 0 {
                self.packets += NOT_AWAITED + gap / SHORTEST;
            }
            self.pass(gap, out)?;
        }
        if page.is_last {
            // The last page may say that its sound ends before its packets do.
            self.end = position.map(|position| position.max(self.next)).filter(|position| *position < self.next + length);
        }
        for packet in packets {
            let heard = Packet { index: self.packets, timestamp: self.next as u32, at: self.at(self.next), payload: packet };
            let mut sink = Sink { from: moment(self.begins, self.starts), until: self.end.map(|end| self.at(end)), failed: Ok(()), out };
            self.listener.hear(&heard, &mut |at, heard| sink.take(at, heard));
            sink.failed?;
            self.packets += 1;
            self.next += ticks(packet);
        }
        Ok(())
    }

    /// Nothing comes for so many ticks.
    fn pass(&mut self, gap: u64, out: Out<'_>) -> Result<()> {
        let (from, to) = (self.place(self.next), self.place(self.next + gap));
        self.next += gap;
        let mut sink = Sink { from: moment(self.begins, self.starts), until: None, failed: Ok(()), out };
        let mut now = from + STEP;
        while gap > LONG_GAP && now < to {
            self.listener.tick(moment(self.begins, now), &mut |at, heard| sink.take(at, heard));
            now += STEP;
        }
        sink.failed
    }

    /// Where a position is in the file.
    fn place(&self, position: u64) -> i64 {
        // Positions are at most i64::MAX, and hours after the base.
        self.starts + position.saturating_sub(self.base.unwrap_or(0)).cast_signed() - i64::from(self.pre_skip)
    }

    fn at(&self, position: u64) -> Moment {
        moment(self.begins, self.place(position))
    }

    /// Where its sound ends in the file.
    fn ends(&self) -> i64 {
        self.place(self.end.unwrap_or(self.next)).max(self.starts)
    }
}

fn moment(begins: Moment, ticks: i64) -> Moment {
    begins + Span::from_ms(ticks.div_euclid(i64::from(RTP_RATE / 1000)))
}

/// Frames of a stream on their way out, without what is before and behind its sound.
struct Sink<'a> {
    from: Moment,
    until: Option<Moment>,
    failed: Result<()>,
    out: Out<'a>,
}

impl Sink<'_> {
    fn take(&mut self, at: Moment, heard: Heard<'_>) {
        let is_sound = at >= self.from && self.until.is_none_or(|until| at < until);
        if is_sound && self.failed.is_ok() {
            self.failed = (self.out)(at, heard);
        }
    }
}
