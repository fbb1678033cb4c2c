//! Runs the fuzz target that `LULL_FUZZ_TARGET` names under libFuzzer. With `LULL_FUZZ_SEEDS=FOLDER` it writes the target's
//! own seeds there instead and ends; without a target it lists all.
#![no_main]

use std::sync::OnceLock;

type Run = fn(&[u8]);
type Seeds = fn() -> Vec<Vec<u8>>;

fn targets() -> Vec<(&'static str, Run, Seeds, &'static [&'static str])> {
    let rooms = [
        lull::audio::fuzzing::TARGETS,
        lull::billing::fuzzing::TARGETS,
        lull::bot::fuzzing::TARGETS,
        lull::call::fuzzing::TARGETS,
        lull::config::fuzzing::TARGETS,
        lull::exchange::fuzzing::TARGETS,
        lull::media::fuzzing::TARGETS,
        lull::media::fuzzing::CHUNKS,
        lull::media::fuzzing::TCP,
        lull::media::client::fuzzing::TARGETS,
        lull::recording::fuzzing::TARGETS,
        lull::relay::fuzzing::TARGETS,
        lull::store::fuzzing::TARGETS,
        lull::store::fuzzing::LOG,
    ];
    let house = rooms.into_iter().flatten().map(|target| (target.name, target.run, target.seeds, target.folders));
    let door = [signaling::fuzzing::TARGETS, signaling::fuzzing::REST]
        .into_iter()
        .flatten()
        .map(|target| (target.name, target.run, target.seeds, target.folders));
    house.chain(door).collect()
}

static CHOSEN: OnceLock<Run> = OnceLock::new();

fn choose() {
    let name = std::env::var("LULL_FUZZ_TARGET").unwrap_or_default();
    let Some((_, run, seeds, _)) = targets().into_iter().find(|target| target.0 == name) else {
        for (name, _, _, folders) in targets() {
            println!("{name} {}", folders.join(" "));
        }
        std::process::exit(if name.is_empty() { 0 } else { 2 });
    };
    if let Some(folder) = std::env::var_os("LULL_FUZZ_SEEDS") {
        for (number, seed) in seeds().into_iter().enumerate() {
            std::fs::write(std::path::Path::new(&folder).join(format!("seed-{number:03}")), seed).expect("a folder to write to");
        }
        std::process::exit(0);
    }
    CHOSEN.set(run).expect("chosen once");
}

libfuzzer_sys::fuzz_target!(init: choose(), |data: &[u8]| {
    CHOSEN.get().expect("chosen before")(data);
});
