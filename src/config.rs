//! The settings: defaults, then a TOML file, then the environment, then flags; the later wins.
//!
//! A setting has one name, `section.key`: in the file `key` under `[section]`, in the environment `LULL_SECTION_KEY`. Each
//! struct here is one section and documents its settings; `lull.example.toml` shows them all. What nobody knows and what
//! cannot be right is an error of one line, before anything is opened. Nothing here opens a socket or a database, and
//! nothing here prints a password.

mod call;
mod error;
mod flags;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod http;
mod log;
mod media;
mod reader;
mod recording;
mod signaling;
mod store;
#[cfg(test)]
mod tests;
mod webhooks;

pub use call::Call;
pub use error::{ConfigError, Origin};
pub use flags::{BaseFlags, Flags};
pub use http::{Http, PublicUrl, Tls};
pub use log::Log;
pub use media::Media;
pub use recording::{KeySource, Recording};
pub use signaling::Signaling;
pub use store::Store;
pub use webhooks::{Network, Webhooks};

use reader::{Reader, Shown};
use std::path::Path;

/// Every setting of a process, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[http]`: where pages and programs reach lull.
    pub http: Http,
    /// `[media]`: where sound and picture reach lull.
    pub media: Media,
    /// `[store]`: where it keeps what must not be lost.
    pub store: Store,
    /// `[call]`: the time limits and shares of calls made from now on.
    pub call: Call,
    /// `[signaling]`: rates and sizes at the door.
    pub signaling: Signaling,
    /// `[webhooks]`: how vendors' programs are told of events.
    pub webhooks: Webhooks,
    /// `[recording]`: where sound is kept that both parties let be recorded.
    pub recording: Recording,
    /// `[log]`: what is written to standard error.
    pub log: Log,
    /// What can be run with and is likely not meant; each is one line for the log.
    pub warnings: Vec<String>,
    shown: Vec<Shown>,
}

/// A settings file that was read: its name for messages, and its text.
#[derive(Clone, Copy, Debug)]
pub struct File<'a> {
    /// The name as the person gave it.
    pub path: &'a Path,
    /// What stands in it.
    pub text: &'a str,
}

impl Config {
    /// Reads the file that `--config` names, and the environment of this process.
    ///
    /// # Errors
    /// The first thing that is wrong, as one line.
    pub fn load(flags: &Flags) -> Result<Self, ConfigError> {
        let text = match &flags.base.config {
            Some(path) => {
                let unreadable = |why: std::io::Error| ConfigError::Unreadable { path: path.display().to_string(), why: why.to_string() };
                Some((path, std::fs::read_to_string(path).map_err(unreadable)?))
            }
            None => None,
        };
        let file = text.as_ref().map(|(path, text)| File { path, text });
        let mut environment = Vec::new();
        for (name, value) in std::env::vars_os() {
            let Some(name) = name.to_str().filter(|name| name.starts_with(reader::ENV_PREFIX)) else { continue };
            let Ok(value) = value.into_string() else { return Err(ConfigError::NotText { name: name.to_owned() }) };
            environment.push((name.to_owned(), value));
        }
        Self::from_sources(file, environment, flags)
    }

    /// The same from given sources. Of `environment` only names that begin with `LULL_` count.
    ///
    /// # Errors
    /// The first thing that is wrong: an unknown name before a bad value, a bad value before settings that contradict each other.
    pub fn from_sources(
        file: Option<File<'_>>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: &Flags,
    ) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(file, environment, flags)?;
        let http = Http::read(&mut reader);
        let media = Media::read(&mut reader);
        let store = Store::read(&mut reader);
        let call = Call::read(&mut reader);
        let signaling = Signaling::read(&mut reader);
        let webhooks = Webhooks::read(&mut reader);
        let recording = Recording::read(&mut reader);
        let log = Log::read(&mut reader);
        let shown = reader.finish()?;
        let mut warnings = Vec::new();
        http.warn(&mut warnings);
        Ok(Self { http, media, store, call, signaling, webhooks, recording, log, warnings, shown })
    }

    /// The whole configuration as TOML, each setting with where it came from; passwords are left out.
    pub fn effective(&self) -> String {
        reader::as_toml(&self.shown)
    }
}
