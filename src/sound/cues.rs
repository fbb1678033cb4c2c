//! The sounds that are played to pages, made when first wanted and then kept.

use crate::audio::{AudioError, Clip, chime, comfort, extended, probe};
use crate::call::Cue;
use crate::media::Play;
use std::sync::{Mutex, PoisonError};

/// How loud the sound of waiting is, in dBFS.
const WAITING_DBFS: i8 = -42;
/// How loud the probe is, in dBFS: below quiet speech.
const PROBE_DBFS: i8 = -45;

/// All that was played so far: some seconds of sound each, at most a hundred. The lock is held while one is made, some ten ms once.
#[derive(Default)]
pub(super) struct Cues(Mutex<Vec<(Cue, Clip)>>);

impl Cues {
    /// What the media plane is to be told.
    pub(super) fn play(&self, cue: Cue) -> Result<Play, AudioError> {
        if cue == (Cue::Waiting { on: false }) {
            return Ok(Play::Stop);
        }
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let clip = match made.iter().find(|(of, _)| *of == cue) {
            Some((_, clip)) => clip.clone(),
            None => {
                let clip = match cue {
                    Cue::Chime { dbfs } => chime(dbfs),
                    Cue::Extended { dbfs } => extended(dbfs),
                    Cue::Waiting { .. } => comfort(WAITING_DBFS),
                    Cue::Probe => probe(PROBE_DBFS),
                }?;
                made.push((cue, clip.clone()));
                clip
            }
        };
        let packets = clip.packets().clone();
        Ok(if clip.is_endless() { Play::Repeat(packets) } else { Play::Once(packets) })
    }
}
