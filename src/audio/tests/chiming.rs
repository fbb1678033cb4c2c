//! lull's own sounds, as a page plays them.

use super::*;
use opus::Decoder;

fn play(clip: &Clip, times: usize) -> Vec<f64> {
    let mut decoder = Decoder::new(48_000, Channels::Mono).expect("a decoder");
    let mut room = [0.0_f32; 960];
    let mut all = Vec::new();
    for packet in (0..times).flat_map(|_| clip.packets().iter()) {
        let shape = Shape::read(packet).expect("a packet");
        assert_eq!((shape.ticks(), shape.stereo), (CLIP_TICKS, false));
        assert_eq!(decoder.decode_float(packet, &mut room, false).expect("a good packet"), 960);
        all.extend(room.iter().map(|sample| f64::from(*sample)));
    }
    all
}

fn loudest(samples: &[f64]) -> f64 {
    samples.chunks(4_800).map(dbfs).fold(-200.0, f64::max)
}

type Make = fn(i8) -> Result<Clip, AudioError>;

#[test]
fn sounds_are_as_loud_as_asked_and_end_in_silence() {
    let all: [(&str, Make); 3] = [("chime", chime), ("extended", extended), ("probe", probe)];
    for (name, make) in all {
        for level in [-60, -45, -30, -10] {
            let clip = make(level).expect("a clip");
            assert!(!clip.is_endless() && clip.packets().len() < 100, "{name}");
            let played = play(&clip, 1);
            assert_eq!(played.len(), clip.packets().len() * 960);
            assert!((loudest(&played) - f64::from(level)).abs() < 1.0, "{name} at {level}: {}", loudest(&played));
            // Slow edges: no step is more than a sine of 1,500 Hz of this level has.
            let most = played.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f64::max);
            let amplitude = 10.0_f64.powf(f64::from(level) / 20.0);
            assert!(most < amplitude * std::f64::consts::TAU * 1_500.0 / 48_000.0 * 1.5, "{name} at {level}: {most}");
            assert!(dbfs(&played[played.len() - 480..]) < f64::from(level) - 40.0, "{name} ends in silence");
        }
    }
}

#[test]
fn the_sound_of_waiting_joins_its_end() {
    let clip = comfort(-40).expect("a clip");
    assert!(clip.is_endless());
    assert_eq!(clip.packets().len(), 600);
    let played = play(&clip, 3);
    assert_eq!(played.len(), 1_800 * 960);
    assert!((loudest(&played) + 40.0).abs() < 1.0, "{}", loudest(&played));
    let quick: Vec<f64> = played.windows(3).map(|three| (three[0] - 2.0 * three[1] + three[2]).abs()).collect();
    let most = |range: std::ops::Range<usize>| quick[range].iter().copied().fold(0.0, f64::max);
    let everywhere = most(100_000..500_000);
    for joint in [600 * 960, 1_200 * 960] {
        assert!(most(joint - 2_000..joint + 2_000) <= 1.5 * everywhere, "{} beside {everywhere}", most(joint - 2_000..joint + 2_000));
    }
}
