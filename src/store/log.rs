//! Whether the write-ahead log is damaged where SQLite would not say so.
//!
//! SQLite takes the first frame of a log that is not as it was written for the end of it: that is how a commit ends that was not on disk
//! when the power went. But if more than one commit follows there, they were on disk, had been acknowledged, and would be gone without a
//! word. A frame's checksum continues that of the frame before it, so what follows a damaged frame can still be told from what an
//! earlier round of the log left behind (sqlite.org/fileformat2.html, section 4). It reads and never mends. What is cut off at the
//! end, and damage in the very last commit, cannot be told from a loss of power.
//!
//! Nor is what commits left behind that failed: the next one is written over them from their beginning, and of a longer one the end
//! stays. Each such end is one commit and continues nothing; so only commits that continue each other count.

#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;

use std::fs::File;
use std::io::{self, BufReader, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

/// Octets in front of all frames, and of each page.
const HEAD: usize = 32;
const FRAME_HEAD: usize = 24;

/// The first word; its last bit says in which order octets make the words of the checksums.
const MAGIC: u32 = 0x377f_0682;

/// What a database of ours has, for logs whose head does not say.
const PAGE: usize = 4096;

/// So many commits may follow a frame that is not whole: the one that was under way.
const UNDER_WAY: u64 = 1;

/// Where a database's log lies.
pub(super) fn beside(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    PathBuf::from(name)
}

/// Commits that SQLite would leave out in silence; 0 for a log that is whole or ends within its last commit.
pub(super) fn lost_commits(log: &Path) -> io::Result<u64> {
    let mut file = match File::open(log) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut head = [0; HEAD];
    if !fill(&mut file, &mut head)? {
        return Ok(0);
    }
    let lost = scan(&head, BufReader::with_capacity(1 << 20, &file))?;
    // A log that begins anew while it is read shows frames of two rounds.
    let mut again = [0; HEAD];
    file.seek(SeekFrom::Start(0))?;
    let is_same = fill(&mut file, &mut again)? && again == head;
    Ok(if is_same && lost > UNDER_WAY { lost } else { 0 })
}

/// Commits behind the first frame that does not continue the one before it; of those that continue no other commit at most one.
fn scan(head: &[u8; HEAD], mut frames: impl io::Read) -> io::Result<u64> {
    let magic = word(head, 0, true);
    let big = if magic & !1 == MAGIC { magic & 1 == 1 } else { cfg!(target_endian = "big") };
    let mut is_whole = magic & !1 == MAGIC && checksum((0, 0), &head[..24], big) == pair(head, 24);
    let page = Some(word(head, 8, true) as usize).filter(|size| size.is_power_of_two() && (512..=65_536).contains(size)).unwrap_or(PAGE);
    let mut salts = is_whole.then(|| pair(head, 16));
    let mut before = pair(head, 24);
    let mut frame = vec![0; FRAME_HEAD + page];
    // In all, in this run of frames that continue each other, and in the longest run.
    let (mut lost, mut run, mut longest) = (0, 0, 0);
    while fill(&mut frames, &mut frame)? {
        let sum = checksum(checksum(before, &frame[..8], big), &frame[FRAME_HEAD..], big);
        before = pair(&frame, 16);
        let continues = sum == before;
        let own = pair(&frame, 8);
        if continues && *salts.get_or_insert(own) == own {
            let is_commit = word(&frame, 4, true) != 0;
            lost += u64::from(is_commit && !is_whole);
            run += u64::from(is_commit && !is_whole);
            longest = longest.max(run);
        } else {
            (is_whole, run) = (false, 0);
        }
    }
    Ok(if longest > UNDER_WAY { lost } else { longest })
}

/// Reads as much as fits; false if there is less.
fn fill(from: &mut impl io::Read, buffer: &mut [u8]) -> io::Result<bool> {
    match from.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn word(octets: &[u8], at: usize, big: bool) -> u32 {
    let four = octets.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default();
    if big { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }
}

fn pair(octets: &[u8], at: usize) -> (u32, u32) {
    (word(octets, at, true), word(octets, at + 4, true))
}

fn checksum(seed: (u32, u32), octets: &[u8], big: bool) -> (u32, u32) {
    octets.chunks_exact(8).fold(seed, |(one, two), eight| {
        let one = one.wrapping_add(word(eight, 0, big)).wrapping_add(two);
        (one, two.wrapping_add(word(eight, 4, big)).wrapping_add(one))
    })
}
