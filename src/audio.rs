//! Opus packets to sound, and what can be measured of sound.
//!
//! Pure: libopus and buffers only, time is an argument. It does not know what a call is; what is concluded from its measurements is
//! for [`crate::sleep`]. Order of things (one listener a leg): reorder, tell DTX from loss, decode to 16 kHz, voice activity, features.

mod chime;
mod fader;
pub mod features;
mod frame;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod gate;
mod listener;
mod packet;
pub mod pages;
mod placer;
mod reorder;
mod resample;
mod timeline;
mod track;
mod voice;
pub mod wav;

pub use chime::{CLIP_TICKS, Clip, chime, comfort, extended, probe};
pub use fader::{FLOOR_DB, Fader, RISE, WARM_UP};
pub use frame::{FRAME_MS, FRAME_SAMPLES, Heard, Missing, SAMPLE_RATE};
pub use gate::{Activity, Gate};
pub use listener::Listener;
pub use packet::{LONGEST_TICKS, Mode, Packet, RTP_RATE, Shape};
pub use placer::Placer;
pub use track::Counts;

/// Why sound cannot be worked on at all. What a packet holds is never an error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AudioError {
    /// A codec could not be made.
    #[error("opus: {0}")]
    Codec(String),
}

impl From<opus::Error> for AudioError {
    fn from(error: opus::Error) -> Self {
        Self::Codec(error.to_string())
    }
}

#[cfg(test)]
mod tests;
