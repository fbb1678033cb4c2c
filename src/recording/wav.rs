//! A file read back as WAV: the head's lengths are known beforehand, so it can be sent while it is opened second by second.

use super::file::{CHUNK, Opener, SAMPLE};
use super::folder::Folder;
use super::key::{DataKey, Keys};
use super::{RATE, ReadError};
use crate::store::{Recording, WrappedKey};
use hound::{SampleFormat, WavSpec};
use std::fs::File;
use std::io::{self, Read};

/// A recording as WAV, to be read from its beginning: 16,000 samples a second, 16 bits, one channel.
pub struct Wav {
    /// None of a recording that was stopped before it had a file.
    file: Option<Opener<File>>,
    /// Octets of the whole.
    length: u64,
    /// Samples still to be read from the file.
    left: u64,
    next: u64,
    /// Octets that are ready, from `at` on.
    ready: Vec<u8>,
    at: usize,
}

impl std::fmt::Debug for Wav {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wav").field("length", &self.length).finish_non_exhaustive()
    }
}

pub(super) fn open(row: &Recording, folder: &Folder, keys: &Keys) -> Result<Wav, ReadError> {
    if row.deleting_at.is_some() {
        return Err(ReadError::Deleted);
    }
    let samples = row.samples.ok_or(ReadError::Open)?;
    let wrapped = row.wrapped_key.ok_or(ReadError::Deleted)?;
    let data = data_key(row, &wrapped, keys)?;
    let file = if samples == 0 { None } else { Some(Opener::open(folder.read(row.id)?, row.id, &data)?) };
    let ready = head(samples).ok_or(ReadError::Changed)?;
    let length = ready.len() as u64 + samples * SAMPLE as u64;
    Ok(Wav { file, length, left: samples, next: 0, ready, at: 0 })
}

/// The key of one recording.
pub(super) fn data_key(row: &Recording, wrapped: &WrappedKey, keys: &Keys) -> Result<DataKey, ReadError> {
    let other = || ReadError::OtherKey { sealed: row.key_id.clone(), configured: keys.names() };
    keys.named(&row.key_id).ok_or_else(other)?.unwrap(row.id, wrapped).ok_or(ReadError::Changed)
}

/// The head of a WAV file with so many samples; none if they are more than its lengths can say (37 hours).
fn head(samples: u64) -> Option<Vec<u8>> {
    let spec = WavSpec { channels: 1, sample_rate: RATE, bits_per_sample: 16, sample_format: SampleFormat::Int };
    // With the two lengths left open: of all that follows them, and of the samples.
    let mut head = spec.into_header_for_infinite_file();
    let data = u32::try_from(samples * SAMPLE as u64).ok()?;
    let all = data.checked_add(u32::try_from(head.len()).ok()?)?.checked_sub(8)?;
    let place = head.len().checked_sub(4)?;
    head.get_mut(4..8)?.copy_from_slice(&all.to_le_bytes());
    head.get_mut(place..)?.copy_from_slice(&data.to_le_bytes());
    Some(head)
}

impl Wav {
    /// Octets of the whole.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Opens the next second.
    fn fill(&mut self) -> io::Result<()> {
        let Some(file) = self.file.as_mut().filter(|_| self.left > 0) else { return Ok(()) };
        let wanted = self.left.min(CHUNK as u64);
        let octets = file.chunk(self.next)?.filter(|octets| octets.len() as u64 >= wanted * SAMPLE as u64);
        let Some(mut octets) = octets else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the file was changed"));
        };
        octets.truncate(CHUNK.min(usize::try_from(wanted).unwrap_or(CHUNK)) * SAMPLE);
        (self.ready, self.at) = (octets, 0);
        self.next += 1;
        self.left -= wanted;
        Ok(())
    }
}

impl Read for Wav {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at == self.ready.len() {
            self.fill()?;
        }
        let ready = &self.ready[self.at..];
        let count = ready.len().min(into.len());
        into[..count].copy_from_slice(&ready[..count]);
        self.at += count;
        Ok(count)
    }
}
