//! What a listener hears: 20 ms after 20 ms, sound or the reason why there is none.

/// Samples a second of everything that is analysed; mono.
pub const SAMPLE_RATE: u32 = 16_000;

/// Length of a frame.
pub const FRAME_MS: u32 = 20;

/// Samples of a frame.
pub const FRAME_SAMPLES: usize = (SAMPLE_RATE * FRAME_MS / 1000) as usize;

/// One frame of 20 ms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Heard<'a> {
    /// Decoded sound, full scale at ±32,768.
    Sound(&'a [i16; FRAME_SAMPLES]),
    /// Nothing to decode: hold what was heard before, never take it for silence.
    Missing(Missing),
}

/// Why a frame has no sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The sender had nothing to say (discontinuous transmission): about as loud as the last frame that was sent.
    Withheld,
    /// Packets were lost, came too late or could not be decoded.
    Lost,
    /// Nothing came at all for longer than DTX explains.
    Absent,
}
