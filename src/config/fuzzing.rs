//! Fuzz targets of the settings: a file, and the environment.

use super::{Config, ConfigError, File, Flags};
use crate::fuzzing::{Input, piece};
use std::path::Path;

crate::fuzzing::targets! {
    config_file: 1_000, files, [];
    config_environment: 1_000, environments, [];
}

thread_local! {
    static DEFAULTS: String = Config::from_sources(None, [], &Flags::default()).map(|config| config.effective()).unwrap_or_default();
}

/// A file is refused in one line, or what is in force can be written down, read again and is the same.
fn config_file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    check(read(text, Vec::new()));
}

/// The same of variables, name after value.
fn config_environment(data: &[u8]) {
    let mut input = Input::new(data);
    let mut environment = Vec::new();
    for _ in 0..16 {
        let (Ok(name), Ok(value)) = (std::str::from_utf8(input.piece()), std::str::from_utf8(input.piece())) else { return };
        if !name.is_empty() {
            environment.push((format!("LULL_{name}"), value.to_owned()));
        }
    }
    check(read("", environment));
}

fn read(text: &str, environment: Vec<(String, String)>) -> Result<Config, ConfigError> {
    Config::from_sources(Some(File { path: Path::new("lull.toml"), text }), environment, &Flags::default())
}

fn check(config: Result<Config, ConfigError>) {
    match config {
        Err(error) => {
            let message = error.to_string();
            assert!(!message.contains('\n'), "one line: {message}");
        }
        Ok(config) => {
            let effective = config.effective();
            // Most input sets nothing, and what nobody set is read again in the tests.
            if DEFAULTS.with(|defaults| *defaults == effective) {
                return;
            }
            let again = read(&effective, Vec::new()).unwrap_or_else(|error| panic!("{error} in {effective}"));
            if effective.contains(":***@") {
                return; // A password is never shown, so it cannot be read again.
            }
            // Only where the values came from differs.
            let values = |text: &str| {
                text.lines().map(|line| line.rsplit_once(" # ").map_or(line, |(value, _)| value).to_owned()).collect::<Vec<_>>()
            };
            assert_eq!(values(&again.effective()), values(&effective));
            assert_eq!((again.store, again.call), (config.store, config.call));
            assert_eq!((again.signaling, again.log), (config.signaling, config.log));
        }
    }
}

fn files() -> Vec<Vec<u8>> {
    let example = include_str!("../../lull.example.toml");
    // Line for line, so that a change of the seed is a change of a setting.
    let mut section = "";
    let mut files =
        vec![Config::from_sources(None, [], &Flags::default()).map(|config| config.effective().into_bytes()).unwrap_or_default()];
    for line in example.lines() {
        let line = line.trim_start_matches("# ");
        if line.starts_with('[') {
            section = line;
        } else if line.contains(" = ") {
            files.push(format!("{section}\n{line}\n").into_bytes());
        }
    }
    files.push(b"[http]\npublic_url = \"https://user:secret@calls.example.org/\"\n".to_vec());
    files
}

fn environments() -> Vec<Vec<u8>> {
    let pairs = [
        ("HTTP_LISTEN", "127.0.0.1:7600"),
        ("HTTP_PUBLIC_URL", "https://calls.example.org"),
        ("MEDIA_LISTEN", "0.0.0.0:7700"),
        ("MEDIA_PUBLIC_IPS", "192.0.2.1, 2001:db8::1"),
        ("MEDIA_SHARDS", "2"),
        ("STORE_DB", "sqlite:x.db"),
        ("CALL_WARNINGS_S", "300,60,10"),
        ("LOG_FILTER", "info"),
        ("KEY", "secret"),
    ];
    let one = |(name, value): (&str, &str)| [piece(name.as_bytes()), piece(value.as_bytes())].concat();
    pairs.into_iter().map(one).chain([pairs.into_iter().flat_map(one).collect()]).collect()
}
