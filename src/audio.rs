//! Opus packets to sound, and what can be measured of sound.
//!
//! Pure: libopus and buffers only, time is an argument. It does not know what a call is; what is concluded from its measurements is
//! for [`crate::sleep`]. Order of things (one listener a leg): reorder, tell DTX from loss, decode to 16 kHz, voice activity, features.

pub mod features;
mod frame;
mod voice;

pub use frame::{FRAME_MS, FRAME_SAMPLES, Heard, Missing, SAMPLE_RATE};
