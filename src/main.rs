//! The program `lull`.
fn main() {}
