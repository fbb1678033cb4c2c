//! The tests that see lull from outside, in one binary so that they link once.

mod bot;
mod media;
mod peer;
mod tidy;
