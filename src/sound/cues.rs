//! The sounds that are played to pages, made when first wanted and then kept.

use crate::audio::{AudioError, Clip, chime, comfort, extended, probe};
use crate::media::Play;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// How loud the sound of waiting is, in dBFS.
const WAITING_DBFS: i8 = -42;
/// How loud the probe is, in dBFS: below quiet speech.
const PROBE_DBFS: i8 = -45;

/// What is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cue {
    /// A minute is left.
    Chime { dbfs: i8 },
    /// More time was added.
    Extended { dbfs: i8 },
    /// The companion is not there yet, or no longer.
    Waiting { on: bool },
    /// A very quiet tone, which only somebody awake answers. The ear knows of it.
    Probe,
}

/// All that was played so far, by level: some seconds of sound each. The lock is held while one is made, some ten ms once.
#[derive(Default)]
pub(super) struct Cues(Mutex<BTreeMap<Cue, Clip>>);

impl Cues {
    /// What the media plane is to be told.
    pub(super) fn play(&self, cue: Cue) -> Result<Play, AudioError> {
        if cue == (Cue::Waiting { on: false }) {
            return Ok(Play::Stop);
        }
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let clip = match made.get(&cue) {
            Some(clip) => clip.clone(),
            None => {
                let clip = match cue {
                    Cue::Chime { dbfs } => chime(dbfs),
                    Cue::Extended { dbfs } => extended(dbfs),
                    Cue::Waiting { .. } => comfort(WAITING_DBFS),
                    Cue::Probe => probe(PROBE_DBFS),
                }?;
                made.insert(cue, clip.clone());
                clip
            }
        };
        let packets = clip.packets().clone();
        Ok(if clip.is_endless() { Play::Repeat(packets) } else { Play::Once(packets) })
    }
}
