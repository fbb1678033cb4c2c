//! `lull rate` as an operator runs it: on the worked examples, and on files that are wrong.

use crate::server::lull;
use serde_json::{Value, json};
use std::path::Path;

/// What `lull rate` prints for a file, line by line, its exit status and its standard error.
fn rate(path: &Path) -> (Vec<Value>, Option<i32>, String) {
    let output = lull(&["rate"]).arg(path).output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (lines, output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// What is said of one input.
fn rate_one(input: &Value) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("one.json");
    std::fs::write(&path, json!({"examples": [{"id": "X", "input": input}]}).to_string()).unwrap();
    let (mut lines, _, said) = rate(&path);
    assert_eq!(lines.len(), 1, "{said}");
    lines.remove(0)
}

#[test]
fn the_worked_examples_come_out_to_the_fen() {
    let mut seen = 0;
    for name in ["examples.json", "block.json", "metered.json"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/rating").join(name);
        let file: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let examples = file["examples"].as_array().unwrap();
        let (lines, status, said) = rate(&path);
        assert_eq!((status, said.as_str()), (Some(0), ""), "{name}");
        assert_eq!(lines.len(), examples.len());
        for (example, line) in examples.iter().zip(lines) {
            assert_eq!(line, json!({"id": example["id"], "rating": example["expected"]}), "{}", example["derivation"]);
            seen += 1;
        }
    }
    assert!(seen >= 36, "{seen} examples");
}

fn call(plan: Value) -> Value {
    json!({
        "currency": "CNY",
        "plan": plan,
        "settlement": "as_rated",
        "hold_minor": 6000,
        "shares": [{"party": "companion", "bps": 7000}, {"party": "vendor", "bps": 3000}],
        "events": [
            {"at": "2026-03-10T12:00:00.000Z", "type": "connected"},
            {"at": "2026-03-10T12:10:00.000Z", "type": "ended", "reason": "whatever"},
        ],
    })
}

fn block() -> Value {
    json!({"kind": "block", "block_s": 900, "price_minor": 2000})
}

#[test]
fn without_an_expectation_all_fields_are_there() {
    let line = rate_one(&call(json!({"kind": "per_minute", "first_increment_s": 60, "increment_s": 60, "rate_minor_per_min": 300})));
    assert_eq!(line["rating"]["max_usage_s"], 1200);
    assert_eq!(line["rating"]["charge_minor"], 3000);
}

/// The quota is the money's, not the call's: it is there also of a call in which nothing was delivered.
#[test]
fn what_ends_as_it_begins_has_its_quota() {
    for away in [&[][..], &["disconnected"]] {
        let mut input = call(json!({"kind": "per_minute", "first_increment_s": 60, "increment_s": 60, "rate_minor_per_min": 300}));
        let kinds = [&["connected"], away, &["ended"]].concat();
        let at = "2026-03-10T12:00:00.000Z";
        input["events"] = kinds.iter().map(|kind| json!({"at": at, "type": kind, "side": "client"})).collect();
        let rating = &rate_one(&input)["rating"];
        assert_eq!((&rating["max_usage_s"], &rating["charge_minor"]), (&json!(1200), &json!(0)), "{away:?}");
    }
}

#[test]
fn a_plan_that_is_wrong_is_refused_with_the_reason() {
    let windows = |end: &str| json!([{"label": "day", "start": "08:00", "end": end, "rate_minor_per_min": 300}, {"label": "night", "start": "23:00", "end": "08:00", "rate_minor_per_min": 180}]);
    let metered = |extra: Value| {
        let mut plan = json!({"kind": "per_minute", "first_increment_s": 60, "increment_s": 60});
        plan.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        plan
    };
    for (plan, parts) in [
        (json!({"kind": "weekly"}), vec!["weekly", "expected block, per_minute, flat or until_asleep"]),
        (json!({"kind": "block", "price_minor": 2000}), vec!["block_s"]),
        (json!({"kind": "block", "block_s": 0, "price_minor": 2000}), vec!["a block has between 1"]),
        (
            json!({"kind": "block", "block_s": 900, "price_minor": 2000.5}),
            vec!["input.plan.price_minor must be a whole number, not 2000.5"],
        ),
        (json!({"kind": "block", "block_s": 900, "price_minor": 9_007_199_254_740_992_i64}), vec!["2^53 - 1"]),
        (
            json!({"kind": "block", "block_s": 900, "price_minor": 2000, "blok": 1}),
            vec!["input.plan.blok: there is no such field; accepted are: kind, block_s,"],
        ),
        (json!({"kind": "flat", "price_minor": 7000}), vec!["hold_minor", "less than the price 7000"]),
        (metered(json!({"rate_minor_per_min": -1})), vec!["a rate is between 0"]),
        (metered(json!({"rate_minor_per_min": 300, "increment_s": 0})), vec!["an increment has between 1"]),
        (metered(json!({"rate_minor_per_min": 300, "rounding": "up"})), vec!["expected down, half_up or half_even"]),
        (metered(json!({"windows": windows("23:00")})), vec!["zone `tz`"]),
        (metered(json!({"windows": windows("23:00"), "tz": "Asia/Peking"})), vec!["no time zone \"Asia/Peking\""]),
        (metered(json!({"windows": windows("22:00"), "tz": "Asia/Shanghai"})), vec!["no window holds 22:00"]),
        (metered(json!({"windows": windows("23:30"), "tz": "Asia/Shanghai"})), vec!["two windows hold 23:00"]),
        (metered(json!({"windows": windows("23:00"), "tz": "Asia/Shanghai", "rate_minor_per_min": 1})), vec!["either `windows` or one"]),
        (metered(json!({})), vec!["rate_minor_per_min"]),
        (metered(json!({"rate_minor_per_min": 300, "cap_s": 60})), vec!["a plan of kind per_minute has no `cap_s`"]),
        (metered(json!({"rate_minor_per_min": 300, "cap_minor": 60})), vec!["has no `cap_minor`"]),
        (metered(json!({"rate_minor_per_min": 300, "price_minor": 60})), vec!["has no `price_minor`"]),
        (metered(json!({"rate_minor_per_min": 300, "tz": "Mars/X"})), vec!["no time zone \"Mars/X\""]),
        (json!({"kind": "flat", "price_minor": 6000, "block_s": 900}), vec!["a plan of kind flat has no `block_s`"]),
        (json!({"kind": "block", "block_s": 900, "price_minor": 2000, "rate_minor_per_min": 1}), vec!["has no `rate_minor_per_min`"]),
    ] {
        let line = rate_one(&call(plan.clone()));
        let error = line["error"].as_str().unwrap_or_else(|| panic!("{plan} was rated: {line}"));
        for part in parts {
            assert!(error.contains(part), "{part:?} is not in {error:?}");
        }
    }
}

#[test]
fn an_input_that_is_wrong_is_refused_and_the_others_are_rated() {
    let with = |field: &str, value: Value| {
        let mut input = call(block());
        input[field] = value;
        input
    };
    let event = |at: &str, kind: &str, side: &str| json!({"at": at, "type": kind, "side": side});
    let (start, later, end) = ("2026-03-10T12:00:00Z", "2026-03-10T12:05:00Z", "2026-03-10T12:10:00Z");
    for (input, part) in [
        (with("settlement", json!("half")), "expected as_rated, exact_delivered or free"),
        (with("currency", json!("fen")), "ISO 4217"),
        (with("hold_minor", json!(2001)), "2001 is not a whole number of blocks at 2000"),
        (with("hold_minor", json!(2_000_002_000)), "1000001 blocks are too many"),
        (with("hold_minor", json!(-2000)), "between 0 and 2^53 - 1"),
        (with("shares", json!([{"party": "vendor", "bps": 9999}])), "sum to 10000"),
        (
            {
                let mut input = with("hold_minor", json!(2000));
                input["events"] = json!([event(start, "connected", ""), event(later, "extension_bought", ""), event(end, "ended", "")]);
                input
            },
            "2000 is 1 block(s) at 2000, and the events buy 2",
        ),
        (with("hold_minor", json!(0)), "0 is 0 block(s) at 2000, and the events buy 1"),
        (
            with("plan", json!({"kind": "block", "block_s": 900, "price_minor": 2000, "grace_s": 1.5})),
            "input.plan.grace_s must be a whole number, not 1.5",
        ),
        (with("plan", json!([])), "input.plan must be an object, not a list"),
        (
            with(
                "plan",
                json!({"kind": "per_minute", "first_increment_s": 60, "increment_s": 60, "tz": "UTC", "windows": [{"label": "day", "start": 8}]}),
            ),
            "input.plan.windows[0].start must be a text, not 8",
        ),
        (with("currency", Value::Null), "input.currency must be a text, not null"),
        (with("currency", json!("XXX")), "input.currency \"XXX\": expected an ISO 4217"),
        (with("settlement", json!(7)), "input.settlement must be a text, not 7"),
        (with("shares", json!([{"party": "vendor"}])), "input.shares[0].bps is missing"),
        (
            with("shares", json!([{"party": "vendor", "bps": 70_000}])),
            "input.shares[0].bps must be a whole number from 0 to 10000, not 70000",
        ),
        (
            with("events", json!([event(start, "connected", ""), event("yesterday", "ended", "")])),
            "input.events[1].at must be a moment like",
        ),
        (with("events", json!([event(start, "connected", ""), event("2027-03-12T12:00:00Z", "ended", "")])), "no call lasts longer than"),
        (
            with("events", json!([event(start, "connected", ""), {"at": later, "type": "disconnected"}, event(end, "ended", "")])),
            "input.events[1]: `disconnected` has a side",
        ),
        (with("events", json!([])), "the last one is `ended`"),
        (with("events", json!([event(start, "connected", "")])), "the last one is `ended`"),
        (with("events", json!([event(end, "connected", ""), event(start, "ended", "")])), "comes after"),
        (with("events", json!([event(start, "ended", ""), event(end, "ended", "")])), "nothing follows `ended`"),
        (with("events", json!([event(start, "connected", ""), event(later, "connected", ""), event(end, "ended", "")])), "once"),
        (with("events", json!([event(start, "disconnected", "client"), event(end, "ended", "")])), "after `connected`"),
        (
            with("events", json!([event(start, "connected", ""), event(later, "disconnected", "both"), event(end, "ended", "")])),
            "expected client or companion",
        ),
        (with("events", json!([event(start, "conected", ""), event(end, "ended", "")])), "conected"),
    ] {
        let line = rate_one(&input);
        let error = line["error"].as_str().unwrap_or_else(|| panic!("{input} was rated: {line}"));
        assert!(error.contains(part), "{part:?} is not in {error:?}");
    }

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("some.json");
    std::fs::write(&path, json!({"examples": [{"id": "more", "input": with("weather", json!("rain"))}]}).to_string()).unwrap();
    let (lines, status, said) = rate(&path);
    assert_eq!((&lines[0]["rating"]["charge_minor"], status), (&json!(2000), Some(0)));
    assert!(said.contains("no rule takes notice of the field \"weather\""), "{said}");

    let (good, bad) = (json!({"id": "good", "input": call(block())}), json!({"id": "bad", "input": call(json!({"kind": "weekly"}))}));
    std::fs::write(&path, json!({"examples": [bad, good]}).to_string()).unwrap();
    let (lines, status, said) = rate(&path);
    assert_eq!(status, Some(1));
    assert!(said.contains("1 of 2 examples cannot be rated"), "{said}");
    assert_eq!(lines[1]["rating"]["charge_minor"], 2000);
    assert!(lines[0]["error"].is_string());

    // A mark of byte order is no part of the text; a field that stands there twice may mean either.
    let text = json!({"examples": [{"id": "X", "input": call(block())}]}).to_string();
    std::fs::write(&path, format!("\u{feff}{text}")).unwrap();
    assert_eq!(rate(&path).0[0]["rating"]["charge_minor"], 2000);
    std::fs::write(&path, text.replace("\"hold_minor\":", "\"hold_minor\":4000,\"hold_minor\":")).unwrap();
    let (lines, status, said) = rate(&path);
    assert_eq!((lines.len(), status), (0, Some(1)));
    assert!(said.contains("hold_minor"), "{said}");

    for text in ["", "[]", "{\"examples\": 3}", "not json"] {
        std::fs::write(&path, text).unwrap();
        let (lines, status, said) = rate(&path);
        assert_eq!((lines.len(), status), (0, Some(1)));
        assert!(said.contains("is not a file of rating examples"), "{said}");
    }
    let (_, status, said) = rate(&folder.path().join("nowhere.json"));
    assert_eq!(status, Some(1));
    assert!(said.contains("cannot read"), "{said}");
}

#[test]
fn a_reader_that_goes_away_is_an_error_and_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("one.json");
    std::fs::write(&path, json!({"examples": [{"id": "X", "input": call(block())}]}).to_string()).unwrap();
    let path = path.to_str().unwrap();
    for arguments in [&["rate", path][..], &["verify", path], &["simulate", "--calls", "1", "--hours", "0.01"], &["config"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = lull(arguments).stdout(writer).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains("standard output: Broken pipe"), "{arguments:?}: {said}");
    }
}
