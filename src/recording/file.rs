//! The form of a file: a head, then sealed seconds.
//!
//! Head, 80 octets: `lullrec1`, the version (4, little-endian), 4 of zero, the recording's id as text (36), 12 of zero, and a tag: AES-256-GCM
//! of nothing over what stands before, so that a wrong key shows at once. Then chunks of 16,000 samples (32,000 octets, little-endian) and 16
//! of tag; the last may be shorter. The nonce of a chunk is its number from 0 (12 octets, big-endian), that of the head 12 of 0xff; the
//! additional data of a chunk is the id and the number. Each recording has a key of its own, so no nonce comes twice.
//!
//! A crash may leave less than what was written, or zeros: what can be read is the longest beginning whose tags hold.

use super::ReadError;
use super::key::DataKey;
use crate::ids::RecordingId;
use ring::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce};
use std::io::{self, Read, Seek, SeekFrom, Write};

/// Samples of a chunk: a second.
pub(super) const CHUNK: usize = 16_000;

/// Octets of a sample.
pub(super) const SAMPLE: usize = 2;

const TAG: usize = 16;
const HEAD: usize = 80;
const SEALED: u64 = (CHUNK * SAMPLE + TAG) as u64;
const MAGIC: &[u8; 8] = b"lullrec1";
const VERSION: u32 = 1;
/// An id as text.
const NAME: usize = 36;

/// What seals and opens the parts of one file.
struct Seal {
    key: LessSafeKey,
    name: String,
}

impl Seal {
    fn new(key: &DataKey, id: RecordingId) -> Self {
        Self { key: key.aead(), name: id.to_string() }
    }

    fn nonce(number: u64) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        nonce[4..].copy_from_slice(&number.to_be_bytes());
        Nonce::assume_unique_for_key(nonce)
    }

    fn bound(&self, number: u64) -> Aad<Vec<u8>> {
        let mut bound = self.name.as_bytes().to_vec();
        bound.extend(number.to_be_bytes());
        Aad::from(bound)
    }

    /// What stands in a head before its tag.
    fn head(&self) -> [u8; HEAD - TAG] {
        let mut head = [0; HEAD - TAG];
        head[..8].copy_from_slice(MAGIC);
        head[8..12].copy_from_slice(&VERSION.to_le_bytes());
        head[16..16 + NAME].copy_from_slice(self.name.as_bytes());
        head
    }
}

/// Writes a file chunk by chunk.
pub(super) struct Sealer<W> {
    seal: Seal,
    out: W,
    /// Of the next chunk.
    number: u64,
    buffer: Vec<u8>,
}

impl<W: Write> Sealer<W> {
    /// Writes the head.
    pub(super) fn begin(mut out: W, id: RecordingId, key: &DataKey) -> io::Result<Self> {
        let seal = Seal::new(key, id);
        let head = seal.head();
        let nonce = Nonce::assume_unique_for_key([0xff; NONCE_LEN]);
        let tag = seal.key.seal_in_place_separate_tag(nonce, Aad::from(head), &mut []).map_err(|_| io::Error::other("cannot seal"))?;
        out.write_all(&[&head, tag.as_ref()].concat())?;
        Ok(Self { seal, out, number: 0, buffer: Vec::with_capacity(CHUNK * SAMPLE + TAG) })
    }

    /// Seals and writes samples: a whole chunk, or as the last one fewer. After an error what was written before is still good.
    pub(super) fn write(&mut self, samples: &[i16]) -> io::Result<()> {
        self.buffer.clear();
        self.buffer.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
        let (nonce, bound) = (Seal::nonce(self.number), self.seal.bound(self.number));
        self.seal.key.seal_in_place_append_tag(nonce, bound, &mut self.buffer).map_err(|_| io::Error::other("cannot seal"))?;
        self.out.write_all(&self.buffer)?;
        self.number += 1;
        Ok(())
    }

    /// Chunks written so far.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Where it writes to.
    pub(super) fn out(&mut self) -> &mut W {
        &mut self.out
    }
}

/// Octets of a file with so many whole chunks.
pub(super) fn length_of(chunks: u64) -> u64 {
    HEAD as u64 + chunks * SEALED
}

/// Reads a file chunk by chunk.
pub(super) struct Opener<R> {
    seal: Seal,
    file: R,
    length: u64,
}

impl<R: Read + Seek> Opener<R> {
    /// Checks the head. [`ReadError::Changed`] where it is not of this recording and key.
    pub(super) fn open(mut file: R, id: RecordingId, key: &DataKey) -> Result<Self, ReadError> {
        let seal = Seal::new(key, id);
        let length = file.seek(SeekFrom::End(0))?;
        file.rewind()?;
        let mut found = [0; HEAD];
        match file.read_exact(&mut found) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(ReadError::Changed),
            Err(error) => return Err(error.into()),
        }
        let (head, tag) = found.split_at_mut(HEAD - TAG);
        let nonce = Nonce::assume_unique_for_key([0xff; NONCE_LEN]);
        let fits = head == seal.head() && seal.key.open_in_place(nonce, Aad::from(&*head), tag).is_ok();
        if fits { Ok(Self { seal, file, length }) } else { Err(ReadError::Changed) }
    }

    /// Chunks that there is room for in the file, whole or not.
    fn chunks(&self) -> u64 {
        self.length.saturating_sub(HEAD as u64).div_ceil(SEALED)
    }

    /// The samples of a chunk as octets; none if it is not there or its tag does not hold.
    pub(super) fn chunk(&mut self, number: u64) -> io::Result<Option<Vec<u8>>> {
        let at = length_of(number);
        let length = self.length.saturating_sub(at).min(SEALED);
        if length <= TAG as u64 {
            return Ok(None);
        }
        self.file.seek(SeekFrom::Start(at))?;
        // At most a chunk: see above.
        let mut octets = vec![0; usize::try_from(length).unwrap_or(0)];
        match self.file.read_exact(&mut octets) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let opened = self.seal.key.open_in_place(Seal::nonce(number), self.seal.bound(number), &mut octets).map(|open| open.len());
        let Ok(length) = opened else { return Ok(None) };
        octets.truncate(length);
        Ok(Some(octets))
    }

    /// Samples of the longest beginning that can be read: every chunk of it is looked at.
    pub(super) fn readable(&mut self) -> io::Result<u64> {
        let mut samples = 0;
        for number in 0..self.chunks() {
            let Some(octets) = self.chunk(number)? else { break };
            samples += (octets.len() / SAMPLE) as u64;
            if octets.len() < CHUNK * SAMPLE {
                break;
            }
        }
        Ok(samples)
    }
}
