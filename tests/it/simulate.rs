//! `lull simulate` on the command line: what it refuses.

use crate::server::lull;
use serde_json::Value;

#[test]
fn flags_that_give_no_night_are_refused() {
    let most = u64::MAX.to_string();
    for (flags, part) in [
        (&["--fault-every", "1e-12"][..], "between a second"),
        (&["--fault-every", "inf"], "between a second"),
        (&["--hours", "1e-12"], "between a second"),
        (&["--nights", "0"], "--nights"),
        (&["--nights", "2", "--seed", &most], "there are no 2 nights"),
    ] {
        let output = lull(&["simulate", "--calls", "1"]).args(flags).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && output.stdout.is_empty() && said.contains(part), "{flags:?}: {said}");
    }
}

#[test]
fn the_last_night_of_all_is_one_too() {
    let last = u64::MAX.to_string();
    let output = lull(&["simulate", "--calls", "2", "--hours", "0.5", "--json", "--seed", &last]).output().unwrap();
    let night: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success() && night["steps"].as_u64() > Some(0), "{night}");
}
