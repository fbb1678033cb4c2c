//! From the client's first word in a landing to her companion's full voice: Opus of breath and speech in, Opus of a voice out.

use super::fading::Line;
use super::sleeping::{Bed, WAKES};
use super::*;

/// How long the ear has heard her breathe, and which of her packets is lost, counted from her first word.
struct Night {
    heard_s: u64,
    lost: Option<u64>,
    /// How loud she breathes; 1 is as usual.
    breath: f32,
}

/// Ms from her first word until her companion is as loud as ever.
fn back_after(night: &Night) -> i64 {
    let mut scene = Scene::new(1_000);
    let (mut line, mut page) = (Line::new(), Page::new(100, -20.0));
    let mut bed = Bed::at(WAKES - night.heard_s as f32, night.breath);
    scene.order(Order::Listen { call: call(1), at: at(0) });
    scene.order(Order::Fade { call: call(1), length: Span::from_s(2) });
    let wakes = night.heard_s * 50;
    let mut spoke = None;
    for number in 0..wakes + 150 {
        let frame: Vec<f32> = (0..960).map(|_| bed.sample()).collect();
        page.says(&frame);
        if night.lost.is_some_and(|lost| number == wakes + lost) {
            page.next_packet();
        } else {
            scene.send(Side::Client, leg(7), &mut page, &mut None);
        }
        line.send(&mut scene);
        scene.pass(20);
        // As the core and the service do.
        let reports = scene.reports();
        if reports.iter().any(|report| matches!(report, Report::Spoke { .. })) && spoke.is_none() {
            assert!(number >= wakes, "breathing wakes nobody: {} ms early", 20 * (wakes - number));
            spoke = Some(number);
            scene.plane.release(call(1), Side::Companion, BACK);
            scene.order(Order::Unfade { call: call(1) });
        }
    }
    let levels = line.levels();
    let wakes = wakes as usize;
    assert!(levels[wakes - 50..wakes].iter().all(|level| *level < -90.0), "she sleeps in silence");
    let back = levels.iter().rposition(|level| (level + 20.0).abs() > 1.5).expect("it was silent") + 1;
    20 * (back - wakes + 1) as i64
}

#[test]
fn who_wakes_in_a_landing_has_her_companion_back_within_two_seconds() {
    for lost in [None, Some(8), Some(16)] {
        // A quiet night; and a loud sleeper whose server was started anew in the landing: her movements tell nothing yet.
        for (heard_s, breath) in [(34, 1.0), (6, 3.0)] {
            let after = back_after(&Night { heard_s, lost, breath });
            assert!(after <= 2_000, "{after} ms with {lost:?} lost, breath {breath} heard for {heard_s} s");
        }
    }
}
