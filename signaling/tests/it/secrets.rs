//! Nothing secret is written to the log, at any level.

use crate::house::*;
use serde_json::json;
use signaling::Settings;
use std::io::Write;
use std::sync::{Arc, Mutex};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_key_cookie_code_token_or_sdp_reaches_the_log() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone()).finish();
    // One thread runs the test and the server's tasks, so this subscriber hears all of them.
    let _guard = tracing::subscriber::set_default(subscriber);
    let house = open_with(door(Settings::default()));
    let token = token("j");
    let bearer = format!("Bearer {token}");
    let offer = "v=0\r\na=ice-pwd:verysecretpassword\r\n";

    get(&house.app, "/v1/plans").await;
    post(&house.app, "/v1/companions", r#"{"name":"secret-name","x":1}"#).await;
    send(&house.app, request("GET", "/v1/session", &[("cookie", "lull_session=cookie-secret")], "")).await;
    let json_type = ("content-type", "application/json");
    for code in ["once", "wrong-code-secret"] {
        send(&house.app, request("POST", "/v1/session", &[json_type], json!({"code": code}).to_string())).await;
    }
    send(&house.app, request("POST", "/v1/join", &[("authorization", &bearer), ("content-type", "application/sdp")], offer)).await;
    let address = listen(house.app.clone()).await;
    let mut page = tokio_tungstenite::connect_async(format!("ws://{address}/v1/signal")).await.unwrap().0;
    for message in [
        json!({"v": 1, "type": "hello", "token": token, "page": "page-secret"}),
        json!({"v": 1, "type": "offer", "seq": 1, "sdp": offer}),
        json!({"v": 1, "type": "dance", "seq": 2, "what": offer}),
    ] {
        use futures_util::SinkExt;
        page.send(tokio_tungstenite::tungstenite::Message::text(message.to_string())).await.unwrap();
    }
    use futures_util::StreamExt;
    while let Some(Ok(message)) = page.next().await {
        if message.to_string().contains("unknown_type") {
            break;
        }
    }

    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("connected"), "the log is heard: {text}");
    for secret in [KEY, "secret", &token, token.rsplit('.').next().unwrap(), "ice-pwd"] {
        assert!(!text.contains(secret), "{secret} is in the log:\n{text}");
    }
}
