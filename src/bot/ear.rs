//! What the bot hears: her words, kept until she is silent, then said back once.
//!
//! A level gate, no more. While it says something back, and shortly after, it does not listen: a loudspeaker near the
//! microphone would make it answer itself for ever. Nothing is kept once it was said.

use super::voice::{FRAME, RATE};
use opus::{Channels, Decoder};
use std::collections::VecDeque;

/// RMS above which a frame is taken for speech, of full scale: -40 dBFS.
const GATE: f32 = 0.01;
/// Loud frames within one utterance before it counts as words: 240 ms.
const LEAST: usize = 12;
/// Quiet frames that end it, and after which it is said back: 1 s.
const PAUSE: usize = 50;
/// Frames before the first loud one that belong to it.
const PREROLL: usize = 8;
/// The longest that is kept: 6 s; beyond it the rest is left out.
const LONGEST: usize = 300;
/// Frames of deafness after saying something back: 600 ms.
const DEAF: usize = 30;
/// How loud it is said back.
const ECHO_LEVEL: f32 = 0.7;
/// Frames after which nothing arriving is silence (DTX, or she muted).
const MISSING: usize = 5;
/// Lost frames that are concealed; more is a gap.
const CONCEALED: u64 = 5;
/// Samples of the longest Opus packet: 120 ms.
const LONGEST_PACKET: usize = 5_760;

type Sound = [f32; FRAME];

/// The bot's ear.
pub(super) struct Ear {
    decoder: Decoder,
    newest: Option<u64>,
    /// Samples that do not fill a frame yet.
    rest: Vec<f32>,
    kept: VecDeque<Sound>,
    loud: usize,
    quiet: usize,
    /// What is being said back.
    saying: VecDeque<Sound>,
    now_saying: Sound,
    deaf: usize,
    missing: usize,
}

impl Ear {
    pub(super) fn new() -> Result<Self, opus::Error> {
        Ok(Self {
            decoder: Decoder::new(RATE, Channels::Mono)?,
            newest: None,
            rest: Vec::with_capacity(LONGEST_PACKET + FRAME),
            kept: VecDeque::new(),
            loud: 0,
            quiet: 0,
            saying: VecDeque::new(),
            now_saying: [0.0; FRAME],
            deaf: 0,
            missing: 0,
        })
    }

    /// An Opus packet with its index. What comes late or cannot be decoded is left out.
    pub(super) fn hear(&mut self, index: u64, packet: &[u8]) {
        let lost = match self.newest {
            Some(newest) if index <= newest => return,
            Some(newest) => index - newest - 1,
            None => 0,
        };
        self.newest = Some(index);
        self.missing = 0;
        let mut samples = [0.0; LONGEST_PACKET];
        if lost <= CONCEALED {
            for _ in 0..lost {
                if let Ok(len) = self.decoder.decode_float(&[], &mut samples[..FRAME], false) {
                    self.rest.extend_from_slice(&samples[..len]);
                }
            }
        }
        if let Ok(len) = self.decoder.decode_float(packet, &mut samples, false) {
            self.rest.extend_from_slice(&samples[..len]);
        }
        let mut frame = [0.0; FRAME];
        while self.rest.len() >= FRAME {
            frame.copy_from_slice(&self.rest[..FRAME]);
            self.rest.drain(..FRAME);
            self.take(frame);
        }
    }

    /// Call it every 20 ms: what to say now, if anything.
    pub(super) fn tick(&mut self) -> Option<&Sound> {
        self.missing += 1;
        if self.missing > MISSING {
            self.take([0.0; FRAME]);
        }
        if let Some(sound) = self.saying.pop_front() {
            self.now_saying = sound;
            self.deaf = DEAF;
            return Some(&self.now_saying);
        }
        self.deaf = self.deaf.saturating_sub(1);
        None
    }

    /// Frames in memory.
    #[cfg(any(test, fuzzing))]
    pub(super) fn kept_frames(&self) -> usize {
        self.kept.len() + self.saying.len() + self.rest.len() / FRAME
    }

    fn take(&mut self, mut frame: Sound) {
        if !self.saying.is_empty() || self.deaf > 0 {
            return;
        }
        let level = (frame.iter().map(|sample| sample * sample).sum::<f32>() / FRAME as f32).sqrt();
        for sample in &mut frame {
            *sample *= ECHO_LEVEL;
        }
        let is_loud = level > GATE;
        if self.loud == 0 && !is_loud {
            self.kept.push_back(frame);
            if self.kept.len() > PREROLL {
                self.kept.pop_front();
            }
            return;
        }
        self.loud += usize::from(is_loud);
        self.quiet = if is_loud { 0 } else { self.quiet + 1 };
        if self.kept.len() < LONGEST {
            self.kept.push_back(frame);
        }
        if self.quiet >= PAUSE {
            let kept = std::mem::take(&mut self.kept);
            if self.loud >= LEAST {
                let words = kept.len().saturating_sub(PAUSE - PREROLL).max(LEAST);
                self.saying = kept.into_iter().take(words).collect();
            }
            (self.loud, self.quiet) = (0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opus::{Application, Encoder};

    /// A caller and the bot's ear, 20 ms a step.
    struct Scene {
        encoder: Encoder,
        ear: Ear,
        index: u64,
        phase: f32,
        /// Steps in which something was said back.
        said: Vec<usize>,
        step: usize,
    }

    impl Scene {
        fn new() -> Self {
            let encoder = Encoder::new(RATE, Channels::Mono, Application::Voip).expect("opus");
            Self { encoder, ear: Ear::new().expect("opus"), index: 0, phase: 0.0, said: Vec::new(), step: 0 }
        }

        /// `None` is a caller from whom nothing comes.
        fn play(&mut self, frames: usize, level: Option<f32>) {
            for _ in 0..frames {
                if let Some(level) = level {
                    let mut samples = [0.0; FRAME];
                    for sample in &mut samples {
                        self.phase = (self.phase + 200.0 / RATE as f32).fract();
                        *sample = level * (std::f32::consts::TAU * self.phase).sin();
                    }
                    let packet = self.encoder.encode_vec_float(&samples, 400).expect("opus");
                    self.ear.hear(self.index, &packet);
                    self.index += 1;
                }
                if self.ear.tick().is_some() {
                    self.said.push(self.step);
                }
                self.step += 1;
            }
        }
    }

    #[test]
    fn her_words_come_back_once_about_a_second_after_she_is_silent() {
        let mut scene = Scene::new();
        scene.play(50, Some(0.0));
        scene.play(60, Some(0.2));
        scene.play(400, Some(0.0));
        let first = *scene.said.first().expect("something is said");
        assert!((150..=180).contains(&first), "said at {first}");
        assert!((60..=90).contains(&scene.said.len()), "{} frames", scene.said.len());
        assert_eq!(scene.said.last().expect("the end") - first + 1, scene.said.len(), "in one piece");
    }

    #[test]
    fn a_muted_caller_counts_as_silent() {
        let mut scene = Scene::new();
        scene.play(60, Some(0.2));
        scene.play(200, None);
        assert!(!scene.said.is_empty());
    }

    #[test]
    fn a_click_is_not_said_back_and_neither_is_its_own_echo() {
        let mut scene = Scene::new();
        scene.play(3, Some(0.5));
        scene.play(200, Some(0.0));
        assert!(scene.said.is_empty(), "a click");
        scene.play(60, Some(0.2));
        scene.play(60, Some(0.0));
        let words = scene.said.len();
        assert!(words > 0);
        // Her loudspeaker plays the words back into her microphone.
        scene.play(70, Some(0.2));
        let all = scene.said.len();
        scene.play(300, Some(0.0));
        assert!(scene.said.len() - all < 20, "it answers itself: {} more", scene.said.len() - all);
    }

    #[test]
    fn garbage_and_late_packets_are_left_out() {
        let mut ear = Ear::new().expect("opus");
        ear.hear(10, &[0xFF; 3]);
        ear.hear(9, &[0; 100]);
        ear.hear(1_000_000, &[]);
        assert!(ear.tick().is_none());
    }
}
