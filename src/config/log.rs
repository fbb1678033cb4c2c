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
            |text| (!text.trim().is_empty()).then(|| parse(text)).flatten().map(|_| text.to_owned()),
            String::clone,
        );
        Self { filter }
    }

    /// What is logged. In front of what was asked for stands what any page could have written by sending nonsense, from threads that
    /// must wait for nobody, and a log may have to be waited for. Behind it, so that no setting undoes it, what writes all that passes
    /// through a socket, tokens included.
    ///
    /// None if `filter` did not come from [`super::Config`] and is no filter.
    pub fn levels(&self) -> Option<EnvFilter> {
        parse(&format!("rtc_dtls=off,rtc_sctp=off,{},tungstenite=info,tokio_tungstenite=info", self.filter))
    }
}

/// A filter in the syntax of `tracing`; none if it is not one.
///
/// The library counts a level's characters without the spaces in front of it and cuts with them: an area is misread, and where a
/// letter has several octets it panics. A value of a field it takes for a regular expression, of which 18 points can take it half a
/// minute: here a value is what it says.
fn parse(text: &str) -> Option<EnvFilter> {
    if !text.is_ascii() {
        return None;
    }
    let levels: Vec<&str> = text.split(',').map(str::trim).collect();
    EnvFilter::builder().with_regex(false).parse(levels.join(",")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_are_no_part_of_an_area() {
        let shown = |text: &str| parse(text).map(|filter| filter.to_string());
        assert_eq!(shown(" warn ,  lull=debug"), shown("warn,lull=debug"));
        assert!(shown("warn,lull=debug").is_some_and(|shown| shown.contains("lull=debug")));
    }

    #[test]
    fn a_value_is_no_regular_expression() {
        assert!(parse("lull[call{id=A..................}]=info").is_some());
        assert!(parse("lull[call{id=(}]=info").is_some(), "a bracket is a bracket");
    }

    #[test]
    fn letters_of_several_octets_are_refused() {
        for text in ["\r\u{6f2}=LT", "睡=info", "info,lull[呼]=debug"] {
            assert!(parse(text).is_none(), "{text:?}");
        }
    }
}
