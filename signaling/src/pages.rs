//! The pages and what they load, embedded in the binary, and the headers that keep them safe in a browser.
//!
//! Only kinds of files that a page loads are given out; nothing outside the folder is reached. The policy allows no
//! inline script or style and no other host, so a name that holds markup can do nothing even where a page errs.

use crate::endpoint::Front;
use crate::problem::Problem;
use axum::Router;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use rust_embed::RustEmbed;
use std::fmt::Write;
use std::sync::Arc;

/// The folder of the pages.
#[derive(RustEmbed)]
#[folder = "pages/"]
struct Files;

/// What pages are made of. Anything else in the folder (settings of tools, notes) stays inside.
const KINDS: [&str; 14] = ["css", "gif", "html", "ico", "jpg", "js", "mjs", "mp3", "ogg", "png", "svg", "webmanifest", "webp", "woff2"];

pub(crate) fn routes() -> Router<Arc<Front>> {
    Router::new()
        .route("/", get(|headers: HeaderMap| async move { page("index.html", &headers) }))
        .route("/client", get(|headers: HeaderMap| async move { page("client.html", &headers) }))
        .route("/companion", get(|headers: HeaderMap| async move { page("companion.html", &headers) }))
        .route("/vendor", get(|headers: HeaderMap| async move { page("vendor.html", &headers) }))
        .route("/receipt", get(|headers: HeaderMap| async move { page("receipt.html", &headers) }))
        .route("/{*path}", get(asset))
}

async fn asset(path: Result<Path<String>, PathRejection>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    match path.ok().and_then(|Path(path)| file(&path, &headers)) {
        Some(response) => response,
        None => fallback(method, uri, headers).await,
    }
}

/// What is not here: a page for people, a problem for programs.
pub(crate) async fn fallback(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let of_the_api = uri.path() == "/v1" || uri.path().starts_with("/v1/");
    let wants_html = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(|accept| accept.contains("text/html"));
    if of_the_api || !wants_html || method != Method::GET { Problem::not_found().into_response() } else { missing() }
}

fn page(name: &str, headers: &HeaderMap) -> Response {
    file(name, headers).unwrap_or_else(missing)
}

fn missing() -> Response {
    match Files::get("404.html") {
        Some(file) => (StatusCode::NOT_FOUND, Html(file.data.into_owned())).into_response(),
        None => (
            StatusCode::NOT_FOUND,
            Html("<!doctype html><html lang=en><meta charset=utf-8><title>Not found</title><p>There is no such page. 没有这个页面。"),
        )
            .into_response(),
    }
}

/// A file of the folder, or "not changed" to a browser that has it.
fn file(path: &str, headers: &HeaderMap) -> Option<Response> {
    let kind = kind(path)?;
    let file = Files::get(path)?;
    let etag = etag(&file.metadata.sha256_hash());
    let known = headers
        .get(header::IF_NONE_MATCH)
        .and_then(|shown| shown.to_str().ok())
        .is_some_and(|shown| shown.split(',').any(|one| one.trim().trim_start_matches("W/") == etag));
    // Revalidated each time: a new server has new pages at once, and an unchanged file costs one short answer.
    let caching = [(header::ETAG, HeaderValue::try_from(etag).ok()?), (header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
    if known {
        return Some((StatusCode::NOT_MODIFIED, caching).into_response());
    }
    let mime = mime_guess::from_ext(kind).first_or_octet_stream();
    let content_type = match kind {
        // RFC 9239 section 6: the one name of it.
        "js" | "mjs" => "text/javascript; charset=utf-8".to_owned(),
        _ if mime.type_() == "text" => format!("{}; charset=utf-8", mime.essence_str()),
        _ => mime.essence_str().to_owned(),
    };
    Some((caching, [(header::CONTENT_TYPE, content_type)], file.data.into_owned()).into_response())
}

/// The kind of a file that may be given out: of a known kind, and no part of its path hidden or above the folder.
fn kind(path: &str) -> Option<&str> {
    let hidden = path.contains('\\') || path.split('/').any(|part| part.is_empty() || part.starts_with('.'));
    path.rsplit_once('.').map(|(_, kind)| kind).filter(|kind| !hidden && KINDS.contains(kind))
}

/// A strong validator (RFC 9110 section 8.8.3) of 128 bits.
fn etag(sha256: &[u8; 32]) -> String {
    let mut text = String::from("\"");
    for byte in &sha256[..16] {
        let _ = write!(text, "{byte:02x}"); // Writing to a String cannot fail.
    }
    text.push('"');
    text
}

/// What every answer carries for a browser's sake.
pub(crate) fn security_headers(origins: &[String], https: bool) -> Vec<(HeaderName, HeaderValue)> {
    // Safari before 15.4 does not take 'self' for ws: addresses, so our own are named.
    let mut sockets = String::new();
    for origin in origins {
        if let Some(host) = origin.strip_prefix("https://") {
            let _ = write!(sockets, " wss://{host}"); // Writing to a String cannot fail.
        } else if let Some(host) = origin.strip_prefix("http://") {
            let _ = write!(sockets, " ws://{host}");
        }
    }
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self' blob:; \
         connect-src 'self'{sockets}; manifest-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    let policy = HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    let mut headers = vec![
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (
            HeaderName::from_static("permissions-policy"),
            HeaderValue::from_static(
                "microphone=(self), camera=(self), screen-wake-lock=(self), autoplay=(self), fullscreen=(self), \
                 display-capture=(), geolocation=(), payment=(), usb=(), midi=(), serial=(), hid=()",
            ),
        ),
        (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
        (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    ];
    if https {
        headers.push((header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000")));
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::kind;

    #[test]
    fn only_what_pages_load_is_given_out() {
        for path in ["client.html", "call/client.js", "icon.svg", "a/b.c/d.mjs"] {
            assert!(kind(path).is_some(), "{path}");
        }
        for path in [
            "",
            "client",
            "package.json",
            "notes.md",
            ".gitkeep",
            ".x.js",
            "a/.git/b.js",
            "../a.js",
            "a/../b.js",
            "/a.js",
            "a//b.js",
            "..\\a.js",
        ] {
            assert_eq!(kind(path), None, "{path}");
        }
    }
}
