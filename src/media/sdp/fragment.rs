//! SDP fragments of ICE (RFC 8840, used by RFC 9725 section 4.3): what a page sends to restart ICE, and our reply.

use super::answer::{Lines, write_candidates};
use super::{Local, OFFER_LIMIT, Offer, Use};
use crate::media::OfferError;

/// What a fragment says. Its candidates are not used: ICE-lite answers whoever knows the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fragment {
    /// The page's user name fragment; one we have not seen asks for an ICE restart.
    pub(crate) ufrag: Option<String>,
}

impl Fragment {
    /// Reads a fragment: `type=value` lines, of which only the ICE name is looked at.
    pub(crate) fn read(text: &str) -> Result<Self, OfferError> {
        if text.len() > OFFER_LIMIT {
            return Err(OfferError::Unacceptable("is longer than 64 KB"));
        }
        let mut ufrag = None;
        let mut password = None;
        for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
            if line.as_bytes().get(1) != Some(&b'=') {
                return Err(OfferError::Syntax("a line of an ICE fragment begins with a letter and an equals sign".to_owned()));
            }
            ufrag = ufrag.or(line.strip_prefix("a=ice-ufrag:"));
            password = password.or(line.strip_prefix("a=ice-pwd:"));
        }
        match (ufrag, password) {
            (None, None) => Ok(Self { ufrag: None }),
            (Some(name), Some(word)) if (4..=256).contains(&name.len()) && (22..=256).contains(&word.len()) => {
                Ok(Self { ufrag: Some(name.to_owned()) })
            }
            _ => Err(OfferError::Unacceptable("has no ICE credentials (a=ice-ufrag and a=ice-pwd)")),
        }
    }
}

/// Our new credentials and addresses, as the reply to a restart (RFC 9725 section 4.3.3).
pub(crate) fn write_fragment(offer: &Offer, local: &Local<'_>) -> String {
    let mut out = Lines(String::with_capacity(512));
    out.line(format_args!("a=ice-lite"));
    let taken: Vec<_> = offer.sections.iter().filter(|section| section.r#use != Use::Refused).collect();
    if offer.bundled {
        let mids: Vec<&str> = taken.iter().filter_map(|section| section.mid.as_deref()).collect();
        out.line(format_args!("a=group:BUNDLE {}", mids.join(" ")));
    }
    if let Some(section) = taken.first() {
        out.line(format_args!("m={} 9 {} {}", section.kind, section.protocol, section.formats));
        if let Some(mid) = &section.mid {
            out.line(format_args!("a=mid:{mid}"));
        }
    }
    out.line(format_args!("a=ice-ufrag:{}", local.ufrag));
    out.line(format_args!("a=ice-pwd:{}", local.password));
    write_candidates(&mut out, local);
    out.0
}
