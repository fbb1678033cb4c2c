//! The tests that see lull from outside, in one binary so that they link once.

mod media;
mod peer;
