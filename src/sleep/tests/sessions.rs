//! Nights from a folder, when one is named; see [`super`].

use crate::audio::Heard;
use crate::audio::wav::WavFrames;
use crate::clock::{Moment, Span};
use crate::sleep::{Detector, State};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

#[test]
fn sessions_of_a_folder_meet_the_goals() {
    let Some(folder) = std::env::var_os("LULL_SESSIONS") else { return };
    let mut files: Vec<_> = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "wav"));
    files.sort();
    assert!(!files.is_empty(), "WAV files are in it");
    let (mut delays, mut sleepers, mut wrong, mut awake_s, mut wrong_easy, mut awake_easy_s) = (Vec::new(), 0, 0, 0.0, 0, 0.0);
    for file in &files {
        let labels: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(format!("{}.json", file.display())).expect("labels beside the sound"))
                .expect("labels are JSON");
        let (onset, is_hard) = (labels["onset"].as_f64(), labels["hard"].as_bool().unwrap_or(false));
        let (falls, length) = falls(file);
        let too_early = falls.iter().filter(|fall| onset.is_none_or(|onset| **fall < onset)).count();
        let awake = onset.unwrap_or(length);
        (wrong, awake_s) = (wrong + too_early, awake_s + awake);
        if !is_hard {
            (wrong_easy, awake_easy_s) = (wrong_easy + too_early, awake_easy_s + awake);
            if let Some(onset) = onset {
                sleepers += 1;
                delays.extend(falls.first().filter(|fall| **fall >= onset).map(|fall| fall - onset));
            }
        }
        println!("{}: onset {onset:?}, asleep at {falls:?}", file.display());
    }
    delays.sort_by(f64::total_cmp);
    let rate = |wrong: usize, seconds: f64| wrong as f64 / (seconds / 3600.0).max(1e-9);
    let at = |part: f64| delays.get(((delays.len() as f64 - 1.0) * part).ceil().max(0.0) as usize).map(|delay| delay / 60.0);
    println!(
        "{} sessions: false per awake hour {:.2} ({:.2} without hard), found {}/{sleepers}, delay median {:?} p90 {:?} min",
        files.len(),
        rate(wrong, awake_s),
        rate(wrong_easy, awake_easy_s),
        delays.len(),
        at(0.5),
        at(0.9)
    );
    assert!(rate(wrong, awake_s) <= 0.3 && rate(wrong_easy, awake_easy_s) <= 0.1, "too often taken for asleep");
    assert!(10 * delays.len() >= 9 * sleepers, "too few sleepers found");
    assert!(at(0.5).is_none_or(|median| median <= 6.0) && at(0.9).is_none_or(|late| late <= 10.0), "too late");
}

/// When she was taken for asleep, in seconds, and how long it took in all.
fn falls(file: &Path) -> (Vec<f64>, f64) {
    let mut frames = WavFrames::open(BufReader::new(File::open(file).expect("a file"))).expect("a WAV file");
    let begin = Moment::from_unix_ms(0);
    let mut detector = Detector::new(begin);
    let (mut falls, mut ms) = (Vec::new(), 0);
    while let Some(frame) = frames.next_frame().expect("sound") {
        if detector.hear(begin + Span::from_ms(ms), Heard::Sound(&frame)).is_some_and(|verdict| verdict.state == State::Asleep) {
            falls.push(ms as f64 / 1000.0);
        }
        ms += 20;
    }
    (falls, ms as f64 / 1000.0)
}
