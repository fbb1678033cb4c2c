//! Fuzz target of the journal's rows: what an operator's disk may hold.

use super::fact_row::{VERSION, decode, encode};

pub use super::log::fuzzing::TARGETS as LOG;

crate::fuzzing::targets! {
    fact_row: 5_000, rows, [];
}

/// A fact that is read is written again as a text that reads as the same fact; only the version we know is read.
fn fact_row(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    assert!(decode(VERSION + 1, text).is_err());
    let Ok(fact) = decode(VERSION, text) else { return };
    let written = encode(&fact).expect("what was read can be written");
    assert_eq!(decode(VERSION, &written).expect("what was written can be read"), fact);
}

/// Every kind of fact, a line each.
fn rows() -> Vec<Vec<u8>> {
    let facts = [include_str!("../../fixtures/journal/v1.jsonl"), include_str!("../../fixtures/journal/v1_plans.jsonl")];
    facts.iter().flat_map(|file| file.lines()).map(|line| line.as_bytes().to_vec()).collect()
}
