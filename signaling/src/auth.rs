//! Who asks: join tokens, API keys, session cookies and the pages a request may come from.
//!
//! It proves what can be proved without the house (a token's signature and time, a header's form) and hashes the rest:
//! a secret never passes into the house or a log. It refuses to look for a token anywhere but in the `Authorization`
//! header and a socket's first message.

use crate::code::Code;
use crate::inbound::{Caller, Claims, SecretHash};
use crate::problem::Problem;
use axum::http::{HeaderMap, HeaderValue, Method, Uri, header};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rand::RngCore;
use sha2::{Digest, Sha256};
use std::fmt;
use std::net::Ipv6Addr;

/// The name of the vendor page's cookie.
pub const COOKIE: &str = "lull_session";

/// How far the clock of another machine may be off, in seconds, in both directions.
pub const SKEW_S: i64 = 60;

/// A link shows its receipt this much longer than it lets anybody join: 400 days, so that a year's receipts can still be printed.
pub const RECEIPT_LIFE_S: i64 = 400 * 24 * 3600;

/// The longest secret looked at, in bytes; a join token has about 300.
const SECRET_MAX: usize = 2048;

/// Who makes our tokens: the `iss` claim.
const ISSUER: &str = "lull";

/// The key that signs join tokens (HS256, RFC 7518 section 3.2: at least 32 bytes). Shows nothing of itself.
#[derive(Clone)]
pub struct TokenKey {
    signs: EncodingKey,
    checks: DecodingKey,
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(..)")
    }
}

impl TokenKey {
    /// A key of 32 random bytes; all servers of a vendor share it, and it must outlive the longest call.
    pub fn new(secret: [u8; 32]) -> Self {
        Self { signs: EncodingKey::from_secret(&secret), checks: DecodingKey::from_secret(&secret) }
    }

    /// The token that says `claims`: always the same text for the same claims.
    pub fn mint(&self, claims: &Claims) -> String {
        // Fails only for a claim that is no JSON (these are texts and numbers) or a key of another family (this one is HMAC).
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &self.signs).unwrap_or_default()
    }

    /// What a token says, if it is ours and valid at `now_unix_s` give or take [`SKEW_S`].
    ///
    /// Errors: `token_early` before `nbf`, `token_expired` from `exp` on, `token_invalid` for anything else: a broken
    /// text, another key, another algorithm (`none` among them), another issuer, a missing `exp`.
    pub fn verify(&self, token: &str, now_unix_s: i64) -> Result<Claims, Code> {
        self.verify_for(token, now_unix_s, 0)
    }

    /// The same for looking at a receipt, for which a token is good [`RECEIPT_LIFE_S`] longer.
    pub fn verify_for_receipt(&self, token: &str, now_unix_s: i64) -> Result<Claims, Code> {
        self.verify_for(token, now_unix_s, RECEIPT_LIFE_S)
    }

    fn verify_for(&self, token: &str, now_unix_s: i64, longer_s: i64) -> Result<Claims, Code> {
        if token.len() > SECRET_MAX {
            return Err(Code::TokenInvalid);
        }
        let mut validation = Validation::new(Algorithm::HS256);
        // Times are checked below against the clock that was handed in; the library would read its own.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.set_required_spec_claims(&["exp", "iss"]);
        validation.set_issuer(&[ISSUER]);
        let claims = jsonwebtoken::decode::<Claims>(token, &self.checks, &validation).map_err(|_| Code::TokenInvalid)?.claims;
        if claims.iss != ISSUER {
            return Err(Code::TokenInvalid);
        }
        if now_unix_s >= claims.exp.saturating_add(SKEW_S).saturating_add(longer_s) {
            return Err(Code::TokenExpired);
        }
        if now_unix_s.saturating_add(SKEW_S) < claims.nbf {
            return Err(Code::TokenEarly);
        }
        Ok(claims)
    }
}

/// SHA-256 of a secret, which is all the house keeps of one. Secrets are random and long, so no salt is needed.
pub fn hash_secret(secret: &str) -> SecretHash {
    Sha256::digest(secret.as_bytes()).into()
}

/// A new secret of 32 random bytes, in base64url.
pub(crate) fn new_secret() -> String {
    let mut bytes = [0u8; 32];
    rand::rng().fill_bytes(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The origin (RFC 6454) of an `http` or `https` address: scheme, host and a port that is not the scheme's own.
/// None for anything else. The service makes [`crate::endpoint::Door::origins`] of its public address with it.
pub fn origin_of(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    let own_port = match scheme.as_str() {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let host = uri.host()?.to_ascii_lowercase();
    // The library takes an empty host, brackets anywhere and escapes; an origin has an address or a plain name (RFC 3986 section 3.2.2).
    let is_host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').is_some_and(|address| address.parse::<Ipv6Addr>().is_ok()),
        None => !host.is_empty() && host.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-._~".contains(&octet)),
    };
    if !is_host {
        return None;
    }
    match uri.port_u16() {
        Some(port) if port != own_port => Some(format!("{scheme}://{host}:{port}")),
        _ => Some(format!("{scheme}://{host}")),
    }
}

/// What a request shows to say who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OriginRule {
    /// Programs send none; a page must be one of ours.
    AbsentOrOurs,
    /// A cookie goes along with any page's request, so the page must show that it is ours.
    Ours,
}

/// Refuses a request of a page that is not ours.
pub(crate) fn check_origin(headers: &HeaderMap, ours: &[String], rule: OriginRule) -> Result<(), Problem> {
    let mut shown = headers.get_all(header::ORIGIN).iter();
    let allowed = match (shown.next(), shown.next()) {
        (None, _) => rule == OriginRule::AbsentOrOurs,
        (Some(origin), None) => ours.iter().any(|o| o.as_bytes().eq_ignore_ascii_case(origin.as_bytes())),
        (Some(_), Some(_)) => false,
    };
    if allowed { Ok(()) } else { Err(Problem::new(Code::OriginForbidden, "this page is not one of this server's own")) }
}

/// The secret behind `Authorization: Bearer`, if there is one.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut shown = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (shown.next(), shown.next()) else { return None };
    let (scheme, secret) = value.to_str().ok()?.split_once(' ')?;
    let secret = secret.trim();
    let fits = !secret.is_empty() && secret.len() <= SECRET_MAX && !secret.contains(' ');
    (scheme.eq_ignore_ascii_case("bearer") && fits).then_some(secret)
}

/// The session cookie's secret, if there is one.
pub(crate) fn session_secret(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(name, secret)| (name == COOKIE && !secret.is_empty() && secret.len() <= SECRET_MAX).then_some(secret))
}

/// Who calls the REST interface. A key wins over a cookie; a cookie's writes must come from our own page.
pub(crate) fn caller(method: &Method, headers: &HeaderMap, ours: &[String]) -> Result<Caller, Problem> {
    if headers.contains_key(header::AUTHORIZATION) {
        return match bearer(headers) {
            Some(key) => Ok(Caller::ApiKey(hash_secret(key))),
            None => Err(unauthorized()),
        };
    }
    let secret = session_secret(headers).ok_or_else(unauthorized)?;
    if !method.is_safe() {
        check_origin(headers, ours, OriginRule::Ours)?;
    }
    Ok(Caller::Session(hash_secret(secret)))
}

fn unauthorized() -> Problem {
    Problem::new(Code::Unauthorized, "send the vendor's API key as `Authorization: Bearer KEY`, or sign in on the vendor's page")
}

/// The claims of the join token in the `Authorization` header.
pub(crate) fn join_claims(headers: &HeaderMap, key: &TokenKey, now_unix_s: i64) -> Result<Claims, Problem> {
    let token = bearer(headers)
        .ok_or_else(|| Problem::new(Code::Unauthorized, "send the join token of the link as `Authorization: Bearer TOKEN`"))?;
    key.verify(token, now_unix_s).map_err(|code| Problem::new(code, token_sentence(code)))
}

/// The same for looking at a receipt.
pub(crate) fn receipt_claims(headers: &HeaderMap, key: &TokenKey, now_unix_s: i64) -> Result<Claims, Problem> {
    let token = bearer(headers)
        .ok_or_else(|| Problem::new(Code::Unauthorized, "send the join token of the link as `Authorization: Bearer TOKEN`"))?;
    key.verify_for_receipt(token, now_unix_s).map_err(|code| Problem::new(code, token_sentence(code)))
}

/// What a page says of a token that does not count.
pub(crate) fn token_sentence(code: Code) -> &'static str {
    match code {
        Code::TokenExpired => "this link's time is over; ask for a new one",
        Code::TokenEarly => "this link is not valid yet; open it again at the time you were given",
        _ => "this link is damaged or not one of ours; open it again from where you got it",
    }
}

/// Whether the cookie may travel over plain HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CookieScope {
    /// HTTPS only.
    Secure,
    /// Also HTTP: a try on one machine.
    Plain,
}

/// The `Set-Cookie` that signs a browser in for `max_age_s` seconds; an empty secret and 0 sign it out.
pub(crate) fn set_cookie(secret: &str, max_age_s: i64, scope: CookieScope) -> Option<HeaderValue> {
    let secure = match scope {
        CookieScope::Secure => "; Secure",
        CookieScope::Plain => "",
    };
    let mut value =
        HeaderValue::try_from(format!("{COOKIE}={secret}; HttpOnly; SameSite=Strict; Path=/; Max-Age={}{secure}", max_age_s.max(0)))
            .ok()?;
    value.set_sensitive(true);
    Some(value)
}
