//! The rules of the house as a test: floors, who may use which crate, sizes and names of files.
//!
//! The floors are read from the table in `src/lib.rs`, so the map and the check cannot disagree. Sources are read as tokens, without
//! comments and texts; paths are followed through `use` groups and `super`. Macros that build paths would escape it: there are none.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Files longer than this need a line "Long because …" within their first ten.
const MOST_LINES: usize = 800;

/// Names that say nothing of what is inside.
const EMPTY_NAMES: [&str; 8] = ["util", "utils", "common", "helper", "helpers", "misc", "types", "mod"];

/// Floors up to this one are pure.
const HIGHEST_PURE_FLOOR: u32 = 5;

/// A path that only some rooms may name outside their tests, and why.
struct Reserved {
    path: &'static [&'static str],
    except: &'static [&'static [&'static str]],
    rooms: Rooms,
    why: &'static str,
}

enum Rooms {
    /// Every room above the pure floors, and these.
    Impure(&'static [&'static str]),
    /// These alone.
    Only(&'static [&'static str]),
}

const RESERVED: &[Reserved] = &[
    Reserved {
        path: &["std", "time"],
        except: &[&["std", "time", "Duration"]],
        rooms: Rooms::Impure(&["clock"]),
        why: "time is an argument",
    },
    Reserved { path: &["std", "net"], except: &[], rooms: Rooms::Impure(&[]), why: "no IO" },
    Reserved { path: &["std", "fs"], except: &[], rooms: Rooms::Impure(&[]), why: "no IO" },
    Reserved { path: &["std", "env"], except: &[], rooms: Rooms::Impure(&[]), why: "settings are arguments" },
    Reserved { path: &["std", "thread"], except: &[], rooms: Rooms::Impure(&[]), why: "no tasks" },
    Reserved { path: &["std", "sync"], except: &[&["std", "sync", "Arc"]], rooms: Rooms::Impure(&["clock"]), why: "no locks" },
    Reserved { path: &["tokio"], except: &[], rooms: Rooms::Impure(&[]), why: "no tasks" },
    Reserved { path: &["rand"], except: &[], rooms: Rooms::Impure(&[]), why: "seeds are arguments" },
    Reserved { path: &["tracing"], except: &[], rooms: Rooms::Impure(&[]), why: "the shell logs" },
    Reserved { path: &["serde"], except: &[], rooms: Rooms::Impure(&[]), why: "wire and record types live at the edge" },
    Reserved { path: &["Serialize"], except: &[], rooms: Rooms::Impure(&[]), why: "wire and record types live at the edge" },
    Reserved { path: &["Deserialize"], except: &[], rooms: Rooms::Impure(&[]), why: "wire and record types live at the edge" },
    Reserved { path: &["rtc_crypto"], except: &[], rooms: Rooms::Only(&["media", "relay", "bot"]), why: "WebRTC stays in media" },
    Reserved { path: &["rtc_*"], except: &[&["rtc_crypto"]], rooms: Rooms::Only(&["media", "bot"]), why: "WebRTC stays in media" },
    Reserved { path: &["webrtc"], except: &[], rooms: Rooms::Only(&["bot"]), why: "whole peers are for the bot and for tests" },
    Reserved { path: &["rusqlite"], except: &[], rooms: Rooms::Only(&["store"]), why: "database rows stay in the store" },
    Reserved {
        path: &["signaling"],
        except: &[],
        rooms: Rooms::Only(&["service", "main", "bot", "webhooks"]),
        why: "the wire ends in the service, and where webhooks are signed",
    },
    Reserved { path: &["opus"], except: &[], rooms: Rooms::Only(&["audio", "bot"]), why: "sound is decoded in one place" },
    Reserved { path: &["hound"], except: &[], rooms: Rooms::Only(&["audio", "recording"]), why: "samples enter and leave in one place" },
    Reserved { path: &["plotters"], except: &[], rooms: Rooms::Only(&["main"]), why: "only a person wants a picture" },
    Reserved { path: &["hyper"], except: &[], rooms: Rooms::Only(&["webhooks"]), why: "nothing else is asked by us" },
    Reserved { path: &["axum"], except: &[], rooms: Rooms::Only(&["service", "main", "bot"]), why: "the wire ends in the service" },
    Reserved { path: &["anyhow"], except: &[], rooms: Rooms::Only(&["main", "bot"]), why: "each room has its own errors" },
];

#[test]
fn every_room_keeps_to_its_floor() {
    let floors = floors(&read(&root().join("src/lib.rs")));
    assert!(floors.values().any(|floor| *floor > HIGHEST_PURE_FLOOR), "the table of floors in src/lib.rs was found: {floors:?}");
    let mut breaches = Vec::new();
    for file in files(&root().join("src"), &["rs"]) {
        let inner = file.strip_prefix(root().join("src")).expect("below src");
        breaches.extend(breaches_of(&floors, inner, &read(&file)));
    }
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}

#[test]
fn files_are_short_and_their_names_and_first_lines_say_what_they_are() {
    let mut breaches = Vec::new();
    for folder in ["src", "signaling", "tests", "benches", "scripts"] {
        for file in files(&root().join(folder), &["rs", "js", "mjs", "ts", "css", "html", "sh", "sql"]) {
            let text = read(&file);
            let name = file.strip_prefix(root()).expect("below the root").display();
            let mut head = text.lines().take(10);
            if text.lines().count() > MOST_LINES && !head.any(|line| line.contains("Long because")) {
                breaches.push(format!("{name} has {} lines and does not say why (\"Long because …\")", text.lines().count()));
            }
            let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            if EMPTY_NAMES.contains(&stem) {
                breaches.push(format!("{name}: the name does not say what is inside"));
            }
            if file.extension().is_some_and(|extension| extension == "rs") && !text.starts_with("//!") {
                breaches.push(format!("{name} does not open with //! (what it is for, what it refuses to do)"));
            }
            if text.contains(concat!("#[ign", "ore")) {
                breaches.push(format!("{name} has a test that does not run"));
            }
        }
    }
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}

#[test]
fn every_figure_is_explained() {
    let explained = read(&root().join("docs/metrics.md"));
    let sources: Vec<String> = files(&root().join("src"), &["rs"]).iter().map(|file| read(file)).collect();
    let names: BTreeSet<&str> = sources.iter().flat_map(|source| source.split('"')).filter(|text| is_figure(text)).collect();
    assert!(names.len() > 30, "{names:?}");
    for name in names {
        assert!(explained.contains(&format!("`{name}`")), "{name} is not in docs/metrics.md");
    }
}

/// The name of something in `/metrics`.
fn is_figure(text: &str) -> bool {
    text.strip_prefix("lull_")
        .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'))
}

#[test]
fn a_breach_of_the_floors_is_seen() {
    let floors = floors(
        "//! | 1 | [`ids`] [`clock`] | x |\n//! | 2 | [`call`] [`relay`] | |\n//! | 6 | [`media`] [`store`] | |\n//! | 8 | `main` `bot` | |\n",
    );
    let breaks = |file: &str, source: &str| breaches_of(&floors, Path::new(file), source).len();
    for (file, source) in [
        ("call.rs", "use crate::relay::Srtp;"),
        ("call.rs", "use crate::{ids, store::Store};"),
        ("call.rs", "use crate::{ids::{A, B}, clock, media};"),
        ("call.rs", "fn f() { let x = super::media::Shard::new(); }"),
        ("call/legs.rs", "use super::super::store::Row;"),
        ("call.rs", "mod tests { use super::super::store::Row; }"),
        ("store.rs", "use crate::media::Report;"),
        ("call.rs", "use crate::*;"),
        ("call.rs", "use std::time::Instant;"),
        ("call.rs", "use std::{fmt, time::{Duration, SystemTime}};"),
        ("call.rs", "fn f(a: std::net::IpAddr) {}"),
        ("call.rs", "use std::thread;"),
        ("call.rs", "use tokio;"),
        ("call.rs", "use rand::Rng as _;"),
        ("call.rs", "fn f() { tokio::spawn(async {}); }"),
        ("call.rs", "#[derive(Clone, Serialize)] struct A;"),
        ("relay/srtp.rs", "use rtc_srtp::Context;"),
        ("store.rs", "use rtc_sdp::Description;"),
        ("media.rs", "fn f() -> rusqlite::Result<()> { Ok(()) }"),
        ("media.rs", "use signaling::message::ToPage;"),
        ("cellar.rs", "//! a room that the table does not have"),
        ("media.rs", "fn f() -> anyhow::Result<()> { Ok(()) } // an error of its own"),
        ("media.rs", "fn f<'a>(x: &'a str) { let c = '\"'; rusqlite::open(c) }"),
        ("media.rs", "#[cfg(test)] mod tests { use rusqlite::A; } fn f() { rusqlite::b() }"),
    ] {
        assert_eq!(breaks(file, source), 1, "{file}: {source}: {:?}", breaches_of(&floors, Path::new(file), source));
    }
    for (file, source) in [
        ("call.rs", "use crate::ids::CallId; use super::clock; use std::time::Duration; use std::sync::Arc;"),
        (
            "call.rs",
            "// crate::store\n/* crate::media /* nested */ */ const A: &str = \"crate::store\"; const B: &str = r#\"use \"tokio::spawn\"#;",
        ),
        ("call/legs.rs", "use super::Call; use crate::call::Side; mod inner { use super::super::Call; }"),
        ("clock.rs", "use std::time::Instant;"),
        ("relay.rs", "use rtc_crypto::Aead; #[cfg(test)] mod tests { use rtc_srtp::Context; }"),
        ("relay/tests.rs", "use rtc_srtp::Context;"),
        ("media.rs", "use rtc_sdp::Description; use std::time::Instant; use crate::call::Side; use crate::{ids};"),
        ("main.rs", "mod bot; use lull::store::Store; use signaling::rest; fn f() { bot::run() }"),
        ("bot.rs", "use crate::media::X;"),
        ("lib.rs", "pub mod call;"),
        ("store.rs", "mod signaling; use signaling::Door; struct A { axum: u8 }"),
    ] {
        assert_eq!(breaches_of(&floors, Path::new(file), source), Vec::<String>::new(), "{file}: {source}");
    }
}

/// Room by room its floor, from lines like ``//! | 4 | [`media`] [`store`] | … |``.
fn floors(map: &str) -> BTreeMap<String, u32> {
    let mut floors = BTreeMap::new();
    for line in map.lines() {
        let mut cells = line.strip_prefix("//! |").into_iter().flat_map(|row| row.split('|'));
        let Some(Ok(floor)) = cells.next().map(|cell| cell.trim().parse()) else { continue };
        for (index, name) in cells.next().unwrap_or_default().split('`').enumerate() {
            if index % 2 == 1 {
                floors.insert(name.to_owned(), floor);
            }
        }
    }
    floors
}

/// What is wrong in one file; `file` is relative to `src`.
fn breaches_of(floors: &BTreeMap<String, u32>, file: &Path, source: &str) -> Vec<String> {
    let parts: Vec<&str> = file.iter().filter_map(|part| part.to_str()).collect();
    let room = parts.first().map_or("", |part| part.trim_end_matches(".rs"));
    if room == "lib" {
        return Vec::new();
    }
    let Some(floor) = floors.get(room).copied() else {
        return vec![format!("src/{}: the table in src/lib.rs has no room {room}", file.display())];
    };
    let is_test_file = parts.iter().skip(1).any(|part| part.trim_end_matches(".rs") == "tests");
    let top = floors.values().max().copied().unwrap_or_default();
    let tokens = tokens(source);
    let own_modules: Vec<&str> = tokens.windows(2).filter(|pair| pair[0] == "mod").map(|pair| pair[1].as_str()).collect();
    let mut breaches = Vec::new();
    for found in paths(&tokens) {
        let mut path = found.path.clone();
        let supers = path.iter().take_while(|part| *part == "super").count();
        // A file lies one below the crate for each part of its name, and an inline module one deeper.
        if supers > 0 && supers >= parts.len() + found.depth {
            path.splice(..supers, ["crate".to_owned()]);
        }
        let says = path.join("::");
        if path.len() > 1 && (path[0] == "crate" || path[0] == "lull") {
            let target = path[1].as_str();
            let below = floors.get(target).is_some_and(|other| *other < floor);
            let within = target == room || (floor == top && floors.contains_key(target));
            if target == "*" || (floors.contains_key(target) && !below && !within) {
                breaches.push(format!("src/{}: floor {floor} names {says}: only rooms below may be used", file.display()));
            }
        }
        if is_test_file || found.in_tests || own_modules.contains(&path[0].as_str()) {
            continue;
        }
        for reserved in RESERVED {
            let allowed = match reserved.rooms {
                Rooms::Impure(also) => floor > HIGHEST_PURE_FLOOR || also.contains(&room),
                Rooms::Only(rooms) => rooms.contains(&room),
            };
            if !allowed && begins(&path, reserved.path) && !reserved.except.iter().any(|except| begins(&path, except)) {
                breaches.push(format!("src/{}: {room} names {says}: {}", file.display(), reserved.why));
            }
        }
    }
    breaches
}

fn begins(path: &[String], with: &[&str]) -> bool {
    let same = |(part, want): (&String, &&str)| want.strip_suffix('*').map_or(part == want, |start| part.starts_with(start));
    path.len() >= with.len() && path.iter().zip(with).all(same)
}

/// A path as it stands in a source.
struct Found {
    path: Vec<String>,
    /// Inline modules around it.
    depth: usize,
    /// It stands in a module under `#[cfg(test)]`.
    in_tests: bool,
}

/// All paths among the tokens, groups of `use` written out; single names count too.
fn paths(tokens: &[String]) -> Vec<Found> {
    let at = |index: usize| tokens.get(index).map_or("", String::as_str);
    let mut found = Vec::new();
    // For each open brace: whether it is a module's, and whether that is for tests only.
    let mut braces: Vec<(bool, bool)> = Vec::new();
    let mut tests_follow = false;
    let mut index = 0;
    while index < tokens.len() {
        let token = at(index);
        match token {
            "{" => {
                let is_module = index >= 2 && at(index - 2) == "mod";
                braces.push((is_module, is_module && tests_follow));
                tests_follow = false;
            }
            "}" => {
                braces.pop();
            }
            "#" if (2..=5).map(|ahead| at(index + ahead - 1)).eq(["[", "cfg", "(", "test"]) => tests_follow = true,
            ";" => tests_follow = false,
            _ if is_name(token) && (index == 0 || !matches!(at(index - 1), "::" | ".")) => {
                let mut ends = Vec::new();
                let next = follow(tokens, index, Vec::new(), &mut ends);
                let depth = braces.iter().filter(|(is_module, _)| *is_module).count();
                let in_tests = braces.iter().any(|(_, tests)| *tests);
                // A lone small name is a value or a module; alone after `use` it is a crate.
                ends.retain(|path| path.len() > 1 || at(index.wrapping_sub(1)) == "use" || token.starts_with(char::is_uppercase));
                found.extend(ends.into_iter().map(|path| Found { path, depth, in_tests }));
                index = next;
                continue;
            }
            _ => {}
        }
        index += 1;
    }
    found
}

/// Follows one path (and its groups) from the name at `index`; gives the index behind it.
fn follow(tokens: &[String], mut index: usize, mut path: Vec<String>, ends: &mut Vec<Vec<String>>) -> usize {
    let at = |index: usize| tokens.get(index).map_or("", String::as_str);
    path.push(at(index).to_owned());
    index += 1;
    while at(index) == "::" {
        match at(index + 1) {
            "{" => {
                index += 2;
                while !matches!(at(index), "}" | "") {
                    index = match at(index) {
                        name if is_name(name) || name == "*" => follow(tokens, index, path.clone(), ends),
                        _ => index + 1,
                    };
                    if at(index) == "as" {
                        index += 2;
                    }
                }
                return index + 1;
            }
            name if is_name(name) || name == "*" => {
                path.push(name.to_owned());
                index += 2;
            }
            _ => break,
        }
    }
    ends.push(path);
    index
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Names, `::` and single signs; comments, texts, characters and lifetimes are left out.
fn tokens(source: &str) -> Vec<String> {
    let chars: Vec<char> = source.chars().collect();
    let at = |index: usize| chars.get(index).copied().unwrap_or('\0');
    let mut tokens = Vec::new();
    let mut index = 0;
    while index < chars.len() {
        let c = at(index);
        if c == '/' && at(index + 1) == '/' {
            while index < chars.len() && at(index) != '\n' {
                index += 1;
            }
        } else if c == '/' && at(index + 1) == '*' {
            let mut depth = 0;
            loop {
                match (at(index), at(index + 1)) {
                    ('/', '*') => (depth, index) = (depth + 1, index + 2),
                    ('*', '/') => (depth, index) = (depth - 1, index + 2),
                    _ => index += 1,
                }
                if depth == 0 || index >= chars.len() {
                    break;
                }
            }
        } else if c == '"' {
            index += 1;
            while index < chars.len() && at(index) != '"' {
                index += if at(index) == '\\' { 2 } else { 1 };
            }
            index += 1;
        } else if c == '\'' {
            // 'x' and '\n' are characters; 'a without a closing quote is a lifetime.
            if at(index + 1) == '\\' {
                index += 3;
                while index < chars.len() && at(index) != '\'' {
                    index += 1;
                }
                index += 1;
            } else if at(index + 2) == '\'' {
                index += 3;
            } else {
                index += 1;
                while at(index).is_alphanumeric() || at(index) == '_' {
                    index += 1;
                }
            }
        } else if c.is_alphanumeric() || c == '_' {
            let start = index;
            while at(index).is_alphanumeric() || at(index) == '_' {
                index += 1;
            }
            let word: String = chars[start..index].iter().collect();
            let hashes = (index..).take_while(|i| at(*i) == '#').count();
            if matches!(word.as_str(), "r" | "br" | "cr") && at(index + hashes) == '"' {
                index += hashes + 1;
                while index < chars.len() && !(at(index) == '"' && (1..=hashes).all(|i| at(index + i) == '#')) {
                    index += 1;
                }
                index += hashes + 1;
            } else {
                tokens.push(word);
            }
        } else if c == ':' && at(index + 1) == ':' {
            tokens.push("::".to_owned());
            index += 2;
        } else {
            if !c.is_whitespace() {
                tokens.push(c.to_string());
            }
            index += 1;
        }
    }
    tokens
}

/// All files below `folder` that end so, in order, without installed packages and build output.
fn files(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.map(|entry| entry.expect("a readable folder").path()) {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() && !matches!(name, "node_modules" | "target") {
                folders.push(path);
            } else if path.extension().and_then(|extension| extension.to_str()).is_some_and(|extension| extensions.contains(&extension)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
