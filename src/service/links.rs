//! Join tokens and the links that carry them, made from what the call knows: the same call gives the same tokens again until a link is withdrawn.

use super::Rules;
use crate::call::{Call, Side};
use crate::clock::Span;
use serde_json::{Value, json};
use signaling::auth::TokenKey;
use signaling::inbound::{Claims, Role};

/// A token is good until the latest instant the call can end, plus this (design.md section 8).
const AFTER_END: Span = Span::from_s(600);

/// Pauses use up no time; in all they may move a call's end by this before its token runs out.
const PAUSES: Span = Span::from_s(3600);

/// `{client: {url, token}, companion: {url, token}}`.
pub(super) fn links(tokens: &TokenKey, rules: &Rules, call: &Call) -> Value {
    let link = |side: Side, page: &str, role: Role| {
        let token = tokens.mint(&claims(call, side, role));
        json!({ "url": format!("{}/{page}#{token}", rules.public_url), "token": token })
    };
    json!({ "client": link(Side::Client, "client", Role::Client), "companion": link(Side::Companion, "companion", Role::Companion) })
}

fn claims(call: &Call, side: Side, role: Role) -> Claims {
    let (limits, created_at) = (&call.terms().limits, call.created_at());
    let latest_end = created_at + limits.no_show_limit + limits.connect_limit + limits.max_duration + PAUSES;
    Claims {
        iss: "lull".to_owned(),
        role,
        call: call.id().to_string(),
        jti: call.token(side).to_string(),
        nbf: created_at.unix_ms().div_euclid(1000),
        exp: (latest_end + AFTER_END).unix_ms().div_euclid(1000),
    }
}
