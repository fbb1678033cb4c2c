//! Pages, and what every answer carries for a browser's sake.

use crate::house::*;
use signaling::Settings;

#[tokio::test]
async fn every_answer_carries_the_security_headers() {
    let house = open();
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/client"),
        ("GET", "/nothing"),
        ("GET", "/assets/nothing.js"),
        ("GET", "/livez"),
        ("GET", "/metrics"),
        ("GET", "/v1/plans"),
        ("GET", "/v1/nothing"),
        ("PUT", "/v1/plans"),
        ("POST", "/v1/join"),
        ("GET", "/v1/signal"),
        ("POST", "/v1/session"),
    ] {
        let answer = send(&house.app, request(method, path, &[("accept", "text/html")], "")).await;
        let csp = answer.header("content-security-policy");
        for part in [
            "default-src 'none'",
            "script-src 'self';",
            "style-src 'self';",
            "connect-src 'self' wss://calls.example;",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        ] {
            assert!(csp.contains(part), "{method} {path}: {csp}");
        }
        assert!(!csp.contains("unsafe") && !csp.contains('*'), "{csp}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{method} {path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("cross-origin-opener-policy"), "same-origin");
        assert!(answer.header("permissions-policy").contains("microphone=(self)"));
        assert_eq!(answer.header("strict-transport-security"), "max-age=31536000");
        assert!(["no-store", "no-cache"].contains(&answer.header("cache-control")), "{method} {path}");
    }
    let plain = open_with(door_with(Settings::default(), 64, false));
    assert!(!get(&plain.app, "/").await.headers.contains_key("strict-transport-security"));
}

#[tokio::test]
async fn people_get_a_page_where_programs_get_a_problem() {
    let house = open();
    let page = send(&house.app, request("GET", "/nothing", &[("accept", "text/html,*/*")], "")).await;
    assert_eq!((page.status.as_u16(), page.header("content-type")), (404, "text/html; charset=utf-8"));
    let problem = send(&house.app, request("GET", "/v1/nothing", &[("accept", "text/html")], "")).await;
    assert_eq!(problem.code(), "not_found");
}

#[tokio::test]
async fn what_lies_beside_the_pages_stays_inside() {
    let house = open();
    for path in ["/.gitkeep", "/../Cargo.toml", "/..%2fCargo.toml", "/..%5cCargo.toml", "/%2e%2e/src/lib.rs", "//etc/passwd", "/Cargo.toml"]
    {
        let answer = send(&house.app, request("GET", path, &[], "")).await;
        assert_eq!(answer.status, 404, "{path}");
    }
}

#[tokio::test]
async fn a_page_is_not_sent_again_to_who_has_it() {
    let house = open();
    // Whichever pages there are.
    for path in ["/", "/client", "/companion", "/vendor"] {
        let first = send(&house.app, request("GET", path, &[("accept", "text/html")], "")).await;
        assert_eq!(first.header("content-type"), "text/html; charset=utf-8");
        if first.status == 404 {
            continue;
        }
        assert_eq!(first.header("cache-control"), "no-cache");
        let etag = first.header("etag").to_owned();
        let second = send(&house.app, request("GET", path, &[("if-none-match", &format!("\"x\", W/{etag}"))], "")).await;
        assert_eq!((second.status.as_u16(), second.text.as_str(), second.header("etag")), (304, "", etag.as_str()));
    }
}
