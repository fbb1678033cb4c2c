//! The page's WebSocket, `/v1/signal`: one task for each, from `hello` to the close.
//!
//! It checks origin, size, rate and form, and passes on what is well-formed; what a message means is the house's
//! business. A socket that is gone says nothing of its call. Nothing waits without a bound: a page that sends too much is
//! told and then closed, one that reads too little is closed, one that is silent is pinged and then closed.

use crate::auth::{OriginRule, check_origin, token_sentence};
use crate::code::Code;
use crate::endpoint::{Front, peer_ip};
use crate::inbound::{Inbound, SocketId, ToSocket};
use crate::limits::{Place, SocketRates};
use crate::message::{FromPage, MAX_BYTES, PageBody, ServerBody, ToPage, parse_message};
use crate::problem::Problem;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseCode, CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::http::{Extensions, HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};

/// What the library may hold of one message: above [`MAX_BYTES`], so that a message that is a little too long is answered.
const FRAME_MAX: usize = 4 * MAX_BYTES;

/// How long a closed socket is read on, so that the peer gets the last words before the connection breaks.
const FAREWELL: Duration = Duration::from_secs(1);

/// `GET /v1/signal` with an upgrade.
pub(crate) async fn signal(
    State(front): State<Arc<Front>>,
    headers: HeaderMap,
    extensions: Extensions,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    check_origin(&headers, &front.door.origins, OriginRule::AbsentOrOurs)?;
    let upgrade = upgrade.map_err(|_| Problem::new(Code::InvalidRequest, "this address takes WebSocket connections (RFC 6455)"))?;
    let place = front.sockets.take(peer_ip(&extensions)).map_err(|status| match status {
        StatusCode::TOO_MANY_REQUESTS => Problem::rate_limited(5),
        _ => Problem::new(Code::Overloaded, "too many pages are connected; try again"),
    })?;
    let upgrade = upgrade
        .max_message_size(FRAME_MAX)
        .max_frame_size(FRAME_MAX)
        .read_buffer_size(4096)
        .write_buffer_size(4096)
        .max_write_buffer_size(16 * MAX_BYTES);
    Ok(upgrade.on_upgrade(move |ws| serve(front, ws, place)).into_response())
}

/// How a socket ends.
enum Ending {
    /// The peer went, or cannot be told anything.
    Gone,
    /// We close, after these words.
    Said(Option<Box<ToPage>>, CloseCode),
}

impl Ending {
    fn error(code: Code, detail: impl Into<String>, re: Option<u64>) -> Self {
        let close = match code {
            Code::TooLarge => close_code::SIZE,
            Code::Overloaded => close_code::AGAIN,
            Code::Internal => close_code::ERROR,
            _ => close_code::POLICY,
        };
        Self::Said(Some(Box::new(error(code, detail, re))), close)
    }
}

fn error(code: Code, detail: impl Into<String>, re: Option<u64>) -> ToPage {
    ToPage::once(ServerBody::Error { code, detail: detail.into(), re })
}

async fn serve(front: Arc<Front>, ws: WebSocket, place: Place) {
    let socket = front.next_socket();
    let mut line = Line { ws, rates: SocketRates::new(&front.door.settings), write_timeout: front.door.settings.write_timeout };
    tracing::debug!(socket.id = socket, "socket {socket} connected");
    let ending = match greet(&front, &mut line, socket).await {
        Ok(opened) => {
            let Err(ending) = talk(&front, &mut line, opened).await;
            // Waits for room: the house must hear of it. An error says that there is no house any more.
            let _ = front.door.inbound.send(Inbound::SocketClosed { socket }).await;
            ending
        }
        Err(ending) => ending,
    };
    tracing::debug!(socket.id = socket, "socket {socket} closes");
    line.close(ending).await;
    drop(place);
}

/// A socket that said a good `hello`.
struct Opened {
    socket: SocketId,
    jti: String,
    out: mpsc::Receiver<ToSocket>,
}

/// The first message must be `hello` with a token that counts, and the house must take it.
async fn greet(front: &Front, line: &mut Line, socket: SocketId) -> Result<Opened, Ending> {
    let settings = &front.door.settings;
    let first = timeout(settings.hello_timeout, line.first_text())
        .await
        .map_err(|_| Ending::error(Code::InvalidMessage, "`hello` was not said in time", None))??;
    let (token, page) = match parse_message(&first) {
        Ok(FromPage { body: PageBody::Hello { token, page }, .. }) => (token, page),
        Ok(FromPage { seq, .. }) => {
            return Err(Ending::error(Code::InvalidMessage, "say `hello` first", Some(seq).filter(|seq| *seq > 0)));
        }
        Err(refused) => return Err(Ending::error(refused.code, refused.detail, refused.re)),
    };
    let claims = front.door.tokens.verify(&token, front.now()).map_err(|code| Ending::error(code, token_sentence(code), None))?;
    let jti = claims.jti.clone();
    let (sender, out) = mpsc::channel(settings.socket_queue.max(1));
    match front.ask(|reply| Inbound::SocketOpened { socket, claims, page, out: sender, reply }).await {
        Ok(()) => Ok(Opened { socket, jti, out }),
        Err(problem) => {
            // It may have been taken after we gave up waiting.
            let _ = front.door.inbound.send(Inbound::SocketClosed { socket }).await;
            Err(Ending::error(problem.code, problem.detail, None))
        }
    }
}

/// Carries messages both ways until one side ends it.
async fn talk(front: &Front, line: &mut Line, mut opened: Opened) -> Result<std::convert::Infallible, Ending> {
    let settings = &front.door.settings;
    let mut pings = interval_at(Instant::now() + settings.ping_every, settings.ping_every);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let idle = sleep(settings.idle_timeout);
    tokio::pin!(idle);
    loop {
        tokio::select! {
            biased;
            // First what the page is to be told: after its last words the house hears nobody.
            said = opened.out.recv() => match said {
                Some(ToSocket::Message(message)) => line.say(&message).await?,
                Some(ToSocket::Close(message)) => return Err(Ending::Said(Some(message), close_code::NORMAL)),
                None => return Err(dropped(front)),
            },
            frame = line.ws.recv() => {
                idle.as_mut().reset(Instant::now() + settings.idle_timeout);
                let Some(Ok(frame)) = frame else { return Err(Ending::Gone) };
                heard(front, line, &opened, frame).await?;
            }
            _ = pings.tick() => line.send(Message::Ping(bytes::Bytes::new())).await?,
            () = &mut idle => return Err(Ending::Said(None, close_code::AWAY)),
        }
    }
}

/// The house let go of the socket without a word (what it said before has been sent): it is stopping, or the page did not read.
fn dropped(front: &Front) -> Ending {
    if front.door.inbound.is_closed() {
        Ending::error(Code::Overloaded, "the server is stopping; connect again", None)
    } else {
        Ending::error(Code::SlowReader, "this page does not read what it is sent; connect again", None)
    }
}

/// One frame of the page.
async fn heard(front: &Front, line: &mut Line, opened: &Opened, frame: Message) -> Result<(), Ending> {
    let within_rate = line.rates.frame();
    let text = match frame {
        Message::Close(_) => return Err(Ending::Gone),
        Message::Ping(_) | Message::Pong(_) if within_rate => return Ok(()),
        _ if !within_rate => return line.fault(Code::RateLimited, "too many messages; some were not looked at", None).await,
        Message::Text(text) => text,
        Message::Ping(_) | Message::Pong(_) | Message::Binary(_) => {
            return line.fault(Code::InvalidMessage, "messages are texts", None).await;
        }
    };
    let message = match parse_message(&text) {
        Ok(message) => message,
        Err(refused) if refused.code == Code::TooLarge => return Err(Ending::error(refused.code, refused.detail, refused.re)),
        Err(refused) => return line.fault(refused.code, &refused.detail, refused.re).await,
    };
    let re = Some(message.seq);
    match message.body {
        PageBody::Hello { .. } => return line.fault(Code::InvalidMessage, "`hello` was said before", None).await,
        PageBody::Ping { at } => return line.say(&ToPage::once(ServerBody::Pong { at })).await,
        PageBody::Offer { .. } => {
            if let Err(problem) = front.count_join(&opened.jti) {
                return line.say(&error(problem.code, "joined too often; wait a little", re)).await;
            }
        }
        _ => (),
    }
    match front.door.inbound.try_send(Inbound::SocketMessage { socket: opened.socket, message }) {
        Ok(()) => Ok(()),
        Err(TrySendError::Full(_)) => line.say(&error(Code::Overloaded, "the server is busy; nothing was done, try again", re)).await,
        Err(TrySendError::Closed(_)) => Err(dropped(front)),
    }
}

/// The socket itself, with its patience.
struct Line {
    ws: WebSocket,
    rates: SocketRates,
    write_timeout: Duration,
}

impl Line {
    /// The first text; pings before it are counted only.
    async fn first_text(&mut self) -> Result<Utf8Bytes, Ending> {
        loop {
            match self.ws.recv().await {
                Some(Ok(Message::Text(text))) => return Ok(text),
                Some(Ok(Message::Binary(_))) => return Err(Ending::error(Code::InvalidMessage, "messages are texts", None)),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) if self.rates.frame() => (),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {
                    return Err(Ending::error(Code::RateLimited, "too many messages before `hello`", None));
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(Ending::Gone),
            }
        }
    }

    async fn send(&mut self, message: Message) -> Result<(), Ending> {
        match timeout(self.write_timeout, self.ws.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Ending::Gone),
        }
    }

    async fn say(&mut self, message: &ToPage) -> Result<(), Ending> {
        self.send(Message::Text(text_of(message).into())).await
    }

    /// Answers a fault, or ends the socket when there were too many.
    async fn fault(&mut self, code: Code, detail: &str, re: Option<u64>) -> Result<(), Ending> {
        if self.rates.fault() { self.say(&error(code, detail, re)).await } else { Err(Ending::error(code, detail, re)) }
    }

    async fn close(mut self, ending: Ending) {
        let Ending::Said(message, code) = ending else { return };
        if let Some(message) = message
            && self.say(&message).await.is_err()
        {
            return;
        }
        if self.send(Message::Close(Some(CloseFrame { code, reason: Utf8Bytes::default() }))).await.is_ok() {
            // Whether the peer closes in turn or we run out of patience is the same to us.
            let _ = timeout(FAREWELL, async { while let Some(Ok(_)) = self.ws.recv().await {} }).await;
        }
    }
}

fn text_of(message: &ToPage) -> String {
    // Texts, numbers and maps with text keys: nothing that JSON cannot say.
    serde_json::to_string(message).unwrap_or_default()
}
