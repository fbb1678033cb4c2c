//! What a fuzz target is, and its bounded run as an ordinary test. Included by both crates, so that a target is written once.
//!
//! A target takes any octets and panics when a promise of the code is broken. Its inputs are the seeds it makes itself, the
//! files of `fixtures/fuzz/NAME/` (a small corpus and what once broke something) and of further folders of `fixtures`. The test
//! runs them all and a fixed number of changed ones, the same in every run; `scripts/fuzz.sh` runs the same target guided by
//! coverage. It refuses to look at the clock: how far a test goes does not depend on the machine.

/// A target.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, and that of its folder in `fixtures/fuzz`.
    pub name: &'static str,
    /// Panics if a promise is broken.
    pub run: fn(&[u8]),
    /// Inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Folders of `fixtures` whose files are inputs as they are.
    pub folders: &'static [&'static str],
}

/// Makes `TARGETS` of a room and a test for each: `name: rounds, seeds, ["folder"];` runs the function `name`.
macro_rules! targets {
    ($($name:ident: $rounds:literal, $seeds:expr, [$($folder:literal),*];)*) => {
        /// The fuzz targets of this room.
        pub const TARGETS: &[crate::fuzzing::Target] = &[
            $(crate::fuzzing::Target { name: stringify!($name), run: $name, seeds: $seeds, folders: &[$($folder),*] },)*
        ];

        #[cfg(test)]
        mod tests {
            $(#[test]
            fn $name() {
                let target = super::TARGETS.iter().find(|target| target.name == stringify!($name)).expect("it stands in the list");
                crate::fuzzing::replay(target, $rounds);
            })*
        }
    };
}
pub(crate) use targets;

/// Takes numbers and pieces off an input. What is not there any more reads as zero or empty.
pub(crate) struct Input<'a>(&'a [u8]);

#[allow(dead_code, reason = "each crate takes what it needs")]
impl<'a> Input<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub(crate) fn u8(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.u8(), self.u8()])
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from(self.u16()) << 16 | u32::from(self.u16())
    }

    /// A piece with its length in front: one octet, or two from 0xF0 on.
    pub(crate) fn piece(&mut self) -> &'a [u8] {
        let len = match self.u8() {
            long @ 0xF0.. => usize::from(long - 0xF0) << 8 | usize::from(self.u8()),
            short => usize::from(short),
        };
        self.take(len)
    }
}

/// The other way: what [`Input::piece`] reads, for seeds. At most 4,095 octets.
pub(crate) fn piece(octets: &[u8]) -> Vec<u8> {
    let len = octets.len().min(0xFFF);
    let mut out = if len < 0xF0 { vec![len as u8] } else { vec![0xF0 + (len >> 8) as u8, len as u8] };
    out.extend(&octets[..len]);
    out
}

#[cfg(test)]
pub(crate) use bounded::replay;

#[cfg(test)]
mod bounded {
    use super::Target;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::path::{Path, PathBuf};

    /// Changed inputs are no longer than this.
    const LONGEST: usize = 16 * 1024;

    /// Runs all inputs of a target, and `rounds` changed ones.
    pub(crate) fn replay(target: &Target, rounds: u32) {
        let mut inputs: Vec<(String, Vec<u8>)> = (target.seeds)().into_iter().map(|seed| ("a seed".to_owned(), seed)).collect();
        let own = format!("fuzz/{}", target.name);
        for folder in target.folders.iter().copied().chain([own.as_str()]) {
            inputs.extend(files(&fixtures().join(folder)));
        }
        assert!(!inputs.is_empty(), "{} has no inputs", target.name);
        for (name, input) in &inputs {
            run(target, name, input);
        }
        let mut random = Random(target.name.bytes().fold(1, |seed: u64, octet| seed.wrapping_mul(31).wrapping_add(u64::from(octet))));
        for round in 0..rounds {
            let mut input = inputs[random.below(inputs.len())].1.clone();
            let other = &inputs[random.below(inputs.len())].1;
            for _ in 0..=random.below(4) {
                random.change(&mut input, other);
            }
            input.truncate(LONGEST);
            run(target, &format!("changed input {round}"), &input);
        }
    }

    fn run(target: &Target, name: &str, input: &[u8]) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (target.run)(input))) {
            let path = std::env::temp_dir().join(format!("lull-fuzz-{}", target.name));
            let kept = std::fs::write(&path, input).map_or_else(|error| error.to_string(), |()| path.display().to_string());
            eprintln!("{} broke on {name}; the input is in {kept}: move it to fixtures/fuzz/{}", target.name, target.name);
            std::panic::resume_unwind(panic);
        }
    }

    /// The folder `fixtures` of the repository, from either crate.
    fn fixtures() -> PathBuf {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let found = here.ancestors().map(|folder| folder.join("fixtures")).find(|folder| folder.is_dir());
        found.expect("the repository has a folder fixtures")
    }

    fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
        let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
        paths.sort();
        paths.retain(|path| path.is_file() && path.file_name().is_some_and(|name| name != "README.md"));
        paths.into_iter().map(|path| (path.display().to_string(), std::fs::read(&path).expect("a readable file"))).collect()
    }

    /// SplitMix64: the same numbers in every run.
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ (z >> 31)
        }

        fn below(&mut self, bound: usize) -> usize {
            (self.next() % bound.max(1) as u64) as usize
        }

        /// A stretch of something of this length, mostly short.
        fn stretch(&mut self, len: usize) -> std::ops::Range<usize> {
            let start = self.below(len + 1);
            let longest = if self.below(4) == 0 { len - start } else { (len - start).min(8) };
            start..start + self.below(longest + 1)
        }

        fn change(&mut self, input: &mut Vec<u8>, other: &[u8]) {
            const ODD: [u8; 8] = [0, 1, 0x7F, 0x80, 0xFE, 0xFF, b' ', b'\n'];
            let place = self.below(input.len().max(1));
            match self.below(9) {
                0 => {
                    if let Some(octet) = input.get_mut(place) {
                        *octet ^= 1 << self.below(8);
                    }
                }
                1 => {
                    if let Some(octet) = input.get_mut(place) {
                        *octet = self.next() as u8;
                    }
                }
                2 => {
                    let odd = ODD[self.below(ODD.len())];
                    let stretch = self.stretch(input.len());
                    input[stretch].fill(odd);
                }
                3 => {
                    let octets: Vec<u8> = (0..=self.below(8)).map(|_| self.next() as u8).collect();
                    let at = place.min(input.len());
                    input.splice(at..at, octets);
                }
                4 => {
                    let stretch = self.stretch(input.len());
                    input.drain(stretch);
                }
                5 => {
                    let copied = input[self.stretch(input.len())].to_vec();
                    let at = self.below(input.len() + 1);
                    input.splice(at..at, copied);
                }
                6 => {
                    let taken = other[self.stretch(other.len())].to_vec();
                    let stretch = self.stretch(input.len());
                    input.splice(stretch, taken);
                }
                7 => {
                    // A number, larger or smaller by one.
                    if let Some(octet) = input.get_mut(place) {
                        *octet = if self.below(2) == 0 { octet.wrapping_add(1) } else { octet.wrapping_sub(1) };
                    }
                }
                _ => input.truncate(place),
            }
        }
    }
}
