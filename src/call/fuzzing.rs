//! Fuzz target of the small words: ids, references, currencies, names.

use super::{Asker, EndReason, Fault, Medium, Side};
use crate::ids::{CallId, ClientRef, CompanionId, HoldId, LegId, PlanId, TokenId, TransferId, VendorId};
use crate::money::Currency;
use std::fmt::Display;
use std::str::FromStr;

crate::fuzzing::targets! {
    words: 20_000, texts, [];
}

/// What is read shows as the very text it was read from, so that nothing has two names; and a text names one kind of thing only.
fn words(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let ids = [
        reads::<VendorId>(text),
        reads::<PlanId>(text),
        reads::<CompanionId>(text),
        reads::<CallId>(text),
        reads::<LegId>(text),
        reads::<HoldId>(text),
        reads::<TransferId>(text),
        reads::<TokenId>(text),
    ];
    assert!(ids.into_iter().filter(|read| *read).count() <= 1);
    if reads::<ClientRef>(text) {
        assert!(text.len() <= 64 && text.is_ascii());
    }
    if reads::<Currency>(text) {
        assert!(text.len() == 3 && text.bytes().all(|octet| octet.is_ascii_uppercase()));
    }
    for read in [reads::<Side>(text), reads::<Medium>(text), reads::<Fault>(text), reads::<Asker>(text), reads::<EndReason>(text)] {
        assert!(!read || text.bytes().all(|octet| octet.is_ascii_lowercase() || octet == b'_'));
    }
}

fn reads<T: FromStr + Display>(text: &str) -> bool {
    text.parse::<T>().is_ok_and(|value| {
        assert_eq!(value.to_string(), text);
        true
    })
}

fn texts() -> Vec<Vec<u8>> {
    let id = "01920000000070008000000000000001";
    let prefixes = ["vnd", "plan", "cmp", "call", "leg", "hold", "trf", "jti"];
    let ids = prefixes.into_iter().map(|prefix| format!("{prefix}_{id}"));
    let others = ["tb-2026:0001@shop.a_b", "CNY", "JPY", "client", "companion", "audio", "platform", "time_expired", "call_0192-0000"];
    ids.chain(others.map(str::to_owned)).map(String::into_bytes).collect()
}
