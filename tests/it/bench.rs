//! `lull bench` as an operator runs it: that it measures and adds up, not how fast this machine is.

use serde_json::Value;
use std::process::Command;

fn lull_bench(arguments: &[&str]) -> (bool, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_lull")).arg("bench").args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_bench_of_two_calls_loses_nothing_and_says_what_it_measured() {
    for video in ["0", "300"] {
        let (_, out, err) = lull_bench(&["--calls", "2", "--seconds", "1", "--video", video, "--shards", "2", "--json"]);
        let report: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out} {err}"));
        assert_eq!((&report["shards"], report["video_kbps"].to_string().as_str()), (&2.into(), video));
        let [step] = report["steps"].as_array().unwrap().as_slice() else { panic!("{out}") };
        assert_eq!((&step["calls"], &step["lost"]), (&2.into(), &0.into()), "{out}");
        // Two calls of two pages with a voice packet each 20 ms; a machine that is busy leaves some out.
        let sent = step["sent"].as_u64().unwrap();
        assert!(sent > 20 && sent < 1200, "{out}");
        for figure in ["seconds", "cpu_us_per_packet", "cores", "latency_p50_ms", "latency_p99_ms", "latency_max_ms", "set_up_p50_ms"] {
            assert!(step[figure].as_f64().unwrap() > 0.0, "{figure}: {out}");
        }
        assert!(step["set_up_p99_ms"].is_f64() && step["crowd_late_p99_ms"].is_f64() && step["memory_per_call_with_pages_bytes"].is_u64());
        assert!(step["verdict"].is_string() && report["calls_per_core"].is_u64() | report["calls_per_core"].is_null());
    }
}

#[test]
fn a_bench_beyond_its_bounds_is_refused() {
    for arguments in [&["--calls", "0"][..], &["--calls", "10001"], &["--seconds", "601"], &["--calls", "2", "--most", "100"]] {
        let (success, out, err) = lull_bench(arguments);
        assert!(!success && out.is_empty() && !err.is_empty(), "{arguments:?}: {out} {err}");
    }
}
