//! `[log]`: what is written to standard error.

use super::reader::Reader;
use tracing_subscriber::EnvFilter;

/// The log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// `log.filter`: levels by area, in the syntax of `tracing` (`info`, `warn,lull=debug`). Default `info`: about five lines a
    /// call. Less, and a dispute is hard to follow; `trace`, and the log costs more than the calls.
    pub filter: String,
}

impl Log {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let filter = reader.text(
            "log.filter",
            "info".to_owned(),
            "error, warn, info, debug or trace, or such a level by area: warn,lull=debug",
            |text| (!text.trim().is_empty() && EnvFilter::try_new(text).is_ok()).then(|| text.to_owned()),
            String::clone,
        );
        Self { filter }
    }
}
