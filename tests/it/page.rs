//! A page's WebSocket without a browser.

use crate::peer::{PATIENCE, Peer};
use crate::server::fresh;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// One load of a page, with its socket.
pub(crate) struct Page {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    seq: u64,
}

impl Page {
    /// Connects and says hello. The first answer is whatever it is.
    pub(crate) async fn open(base: &str, token: &str) -> (Self, Value) {
        Self::open_as(base, token, &fresh()).await
    }

    /// The same as a load of the page that has this name.
    pub(crate) async fn open_as(base: &str, token: &str, name: &str) -> (Self, Value) {
        let address = base.replacen("http", "ws", 1) + "/v1/signal";
        let (socket, _) = connect_async(address).await.unwrap();
        let mut page = Self { socket, seq: 0 };
        page.send(json!({ "v": 1, "type": "hello", "token": token, "page": name })).await;
        let first = page.next().await.expect("an answer to hello");
        (page, first)
    }

    /// The same, and the answer must be a welcome.
    pub(crate) async fn welcome(base: &str, token: &str) -> Self {
        let (page, first) = Self::open(base, token).await;
        assert_eq!(first["type"], "welcome", "{first}");
        page
    }

    /// Sends this and nothing more.
    pub(crate) async fn send(&mut self, message: Value) {
        self.socket.send(Message::text(message.to_string())).await.unwrap();
    }

    /// The next message as it is to be sent, by whatever way.
    pub(crate) fn number(&mut self, mut message: Value) -> Value {
        self.seq += 1;
        message["v"] = json!(1);
        message["seq"] = json!(self.seq);
        message
    }

    /// Numbers a message and sends it.
    pub(crate) async fn say(&mut self, message: Value) {
        let message = self.number(message);
        self.send(message).await;
    }

    /// The next message; none once the socket is closed.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        // Pings are no answer.
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            match tokio::time::timeout_at(until, self.socket.next()).await.expect("a message") {
                Some(Ok(Message::Text(text))) => return Some(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => (),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                other => panic!("{other:?}"),
            }
        }
    }

    /// The next message of this kind; others pass by.
    pub(crate) async fn until(&mut self, kind: &str) -> Value {
        let mut passed = Vec::new();
        while let Some(message) = self.next().await {
            if message["type"] == kind {
                return message;
            }
            passed.push(message["type"].clone());
        }
        panic!("closed without {kind}, after {passed:?}")
    }

    /// The call as the page is told once this holds of it.
    pub(crate) async fn until_call(&mut self, holds: impl Fn(&Value) -> bool) -> Value {
        loop {
            let call = self.until("state").await["call"].take();
            if holds(&call) {
                return call;
            }
        }
    }

    /// Joins the call with a peer.
    pub(crate) async fn join(&mut self, peer: &Peer) {
        let offer = peer.offer().await;
        self.say(json!({ "type": "offer", "sdp": offer })).await;
        let answer = self.until("answer").await;
        assert_eq!(answer["re"], self.seq);
        peer.accept(answer["sdp"].as_str().unwrap().to_owned()).await;
    }

    /// Closes the socket.
    pub(crate) async fn close(mut self) {
        self.socket.close(None).await.unwrap();
        while self.next().await.is_some() {}
    }
}
