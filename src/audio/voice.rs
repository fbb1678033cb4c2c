//! Whether a frame sounds like a voice, by the `earshot` network, asked only where there is something to hear.
//!
//! The network costs more than all other measuring, so frames that are no louder than the room are not shown to it. It does not know
//! whose voice it is, nor whether it is a person's or a television's. Invariant: what it is shown is gapless from half a frame before
//! a sound begins.

use super::FRAME_SAMPLES;
use earshot::Detector;

/// Samples that the network takes at a time.
const CHUNK: usize = 256;

/// Chunks kept to lead in: the network looks at three transforms of three chunks each.
const LEAD: usize = 3;

/// A frame this far above the room is shown to the network, in dB. A voice in the same room is 20 to 40 dB above it.
const ABOVE_ROOM_DB: f32 = 7.0;

/// Frames that are still shown after the last loud one, for pauses between words.
const HANGOVER: u32 = 8;

/// How fast the room's level follows louder sound, in dB a frame: 3 dB a minute, so that an hour of television does not become the room.
const RISE_DB: f32 = 0.001;

/// How much of the way to a quieter level the room's goes in a frame.
const FALL: f32 = 0.05;

/// Voice activity of one stream.
pub(super) struct Voice {
    network: Box<Detector>,
    /// The last samples, of which the network has seen all but `waiting` (or none, while it is not asked).
    lead: Vec<i16>,
    waiting: usize,
    /// Level of the room in dB of full scale.
    room: Option<f32>,
    /// Frames left to show.
    open: u32,
    said: f32,
}

impl Voice {
    pub(super) fn new() -> Self {
        Self {
            network: Detector::default_boxed(),
            lead: Vec::with_capacity(LEAD * CHUNK + FRAME_SAMPLES),
            waiting: 0,
            room: None,
            open: 0,
            said: 0.0,
        }
    }

    /// How much the next frame sounds like a voice, 0 to 1. `level` is its level in dB of full scale.
    pub(super) fn hear(&mut self, samples: &[i16; FRAME_SAMPLES], level: f32) -> f32 {
        let room = self.room.get_or_insert(level);
        *room = if level < *room { *room + (level - *room) * FALL } else { (*room + RISE_DB).min(level) };
        let was_open = self.open > 0;
        self.open = if level > *room + ABOVE_ROOM_DB { HANGOVER } else { self.open.saturating_sub(1) };
        self.lead.extend_from_slice(samples);
        self.waiting += FRAME_SAMPLES;
        if self.open == 0 {
            let surplus = self.lead.len().saturating_sub(LEAD * CHUNK);
            self.lead.drain(..surplus);
            self.waiting = self.lead.len();
            self.said = 0.0;
            return 0.0;
        }
        if !was_open {
            self.network.reset();
        }
        let mut said: Option<f32> = None;
        while self.waiting >= CHUNK {
            let from = self.lead.len() - self.waiting;
            let chunk = self.network.predict_i16(&self.lead[from..from + CHUNK]);
            said = Some(said.map_or(chunk, |before| before.max(chunk)));
            self.waiting -= CHUNK;
        }
        let surplus = self.lead.len().saturating_sub(LEAD * CHUNK);
        self.lead.drain(..surplus);
        self.said = said.unwrap_or(self.said);
        self.said
    }

    /// Nothing was heard: what comes next has no connection with what was.
    pub(super) fn skip(&mut self) {
        self.lead.clear();
        self.waiting = 0;
        self.open = 0;
        self.said = 0.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Noise of an amplitude.
    fn noise(seed: &mut u32, amplitude: i32) -> [i16; FRAME_SAMPLES] {
        std::array::from_fn(|_| {
            *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((((*seed >> 16) as i32 - 32_768) * amplitude) >> 15) as i16
        })
    }

    #[test]
    fn the_network_is_asked_only_of_what_is_louder_than_the_room() {
        let (mut voice, mut seed) = (Voice::new(), 1);
        for _ in 0..100 {
            assert_eq!(voice.hear(&noise(&mut seed, 20), -70.0), 0.0);
        }
        assert_eq!((voice.open, voice.lead.len()), (0, LEAD * CHUNK), "it keeps what leads in");
        voice.hear(&noise(&mut seed, 400), -40.0);
        assert!(voice.open > 0 && voice.waiting < CHUNK, "it is asked of all that it has");
        for _ in 0..HANGOVER {
            voice.hear(&noise(&mut seed, 20), -70.0);
        }
        assert_eq!(voice.open, 0);
    }

    #[test]
    fn noise_as_loud_as_a_voice_is_none() {
        let (mut voice, mut seed) = (Voice::new(), 2);
        voice.hear(&noise(&mut seed, 20), -70.0);
        let most = (0..100).map(|_| voice.hear(&noise(&mut seed, 3000), -25.0)).fold(0.0, f32::max);
        assert!(most < 0.5, "{most}");
    }
}
