//! What the rooms' fuzz targets are made of. Only in tests and in the build of `fuzz/`.
//!
//! Each room keeps its own targets in its `fuzzing.rs`, since they look at what the room shows nobody. How to run them:
//! `scripts/fuzz.sh`.

#[path = "../fuzz/target.rs"]
mod target;

pub use target::Target;
#[cfg(test)]
pub(crate) use target::replay;
pub(crate) use target::{Input, piece, targets};
