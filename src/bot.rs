//! The companion of `lull demo --bot`: joins a call as a person would, hums, shows a moon, and says back what it heard.
//!
//! So one person alone can try microphone, loudspeaker and picture. It is a client like any other: it speaks to the media
//! plane over UDP and is let in by an offer and an answer. It knows nothing of tokens, calls or money: whoever runs it
//! passes the way in. Invariant: it stays until the call ends and tries again a bounded number of times.
#![allow(clippy::disallowed_methods, reason = "a shell: it tells its parts the time")]

mod ear;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod picture;
mod voice;

use crate::media::client::driver::{Driven, StartError};
use crate::media::client::{Client, ClientError, Event, Identity, Track};
use ear::Ear;
pub use picture::IvfError;
use picture::Picture;
use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};
use tokio::time::sleep;
use voice::Voice;

/// A frame of sound.
const FRAME: Duration = Duration::from_millis(20);
/// After a failure: the first wait, doubled each time.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Failures in a row before the bot gives up. The fifth comes 7.5 s after the first.
const FAILURES: u32 = 5;
/// While there is nothing to say, look up so often.
const IDLE: Duration = Duration::from_secs(1);
/// So much sound that is overdue is left out instead of sent in a burst (a machine that slept).
const OVERDUE: Duration = Duration::from_millis(200);

/// How the bot takes part.
#[derive(Clone, Copy, Debug)]
pub struct BotSettings {
    /// It offers a camera too; for video calls.
    pub video: bool,
}

/// Why a join was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It may go better soon.
    #[error("{0}")]
    Later(String),
    /// It never will: the call is over, the token is no good.
    #[error("{0}")]
    Final(String),
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BotEnd {
    /// The server said that the call ended, and why.
    Ended(String),
    /// The server closed the connection: the call ended, or somebody else joined as the companion.
    Closed,
    /// We were asked to stop.
    Stopped,
}

/// Why the bot gave up.
#[derive(Debug, thiserror::Error)]
pub enum BotError {
    /// It was not let in.
    #[error("the bot was not let in: {0}")]
    Join(#[from] Refusal),
    /// It was let in but could not start.
    #[error("the bot cannot start: {0}")]
    Start(#[from] StartError),
    /// It lost the server, or never reached it.
    #[error("the bot has no connection: {0}")]
    Connection(#[from] ClientError),
    /// The Opus coder failed.
    #[error("the bot has no voice: {0}")]
    Sound(#[from] opus::Error),
    /// The picture in the binary is damaged.
    #[error("the bot has no picture: {0}")]
    Picture(#[from] IvfError),
}

/// Takes part until the call ends, `stop` is ready, or it failed five times in a row. `join` carries an SDP offer to the
/// server and brings the answer; it is called once for each try.
pub async fn run<J, A, S>(settings: BotSettings, mut join: J, stop: S) -> Result<BotEnd, BotError>
where
    J: FnMut(String) -> A,
    A: Future<Output = Result<String, Refusal>>,
    S: Future<Output = ()>,
{
    let identity = Identity::generate()?;
    let mut stop = pin!(stop);
    let mut failures = 0;
    loop {
        let client = Client::new(identity.clone(), settings.video);
        let offer = client.offer().to_owned();
        let joined = async { Ok(Driven::start(client, &join(offer).await?).await?) };
        let joined: Result<Driven, BotError> = tokio::select! {
            joined = joined => joined,
            () = &mut stop => return Ok(BotEnd::Stopped),
        };
        let failure = match joined {
            Ok(driven) => match Guest::new(driven)?.stay(stop.as_mut()).await {
                Ok(end) => return Ok(end),
                Err((error, connected)) => {
                    if connected {
                        failures = 0;
                    }
                    error
                }
            },
            Err(refused @ BotError::Join(Refusal::Final(_))) => return Err(refused),
            Err(error) => error,
        };
        failures += 1;
        if failures >= FAILURES {
            return Err(failure);
        }
        tracing::warn!("the bot tries again: {failure}");
        tokio::select! {
            () = sleep(FIRST_WAIT * (1 << (failures - 1))) => (),
            () = &mut stop => return Ok(BotEnd::Stopped),
        }
    }
}

/// The bot in a call.
struct Guest {
    driven: Driven,
    voice: Voice,
    ear: Ear,
    picture: Option<Picture>,
    connected: bool,
    ended: Option<String>,
}

impl Guest {
    fn new(driven: Driven) -> Result<Self, BotError> {
        let picture = if driven.sends_video() { Some(Picture::moon()?) } else { None };
        Ok(Self { driven, voice: Voice::new()?, ear: Ear::new()?, picture, connected: false, ended: None })
    }

    /// Stays to the end; an error says whether there was a connection.
    async fn stay(mut self, mut stop: impl Future<Output = ()> + Unpin) -> Result<BotEnd, (BotError, bool)> {
        let mut sound_due = Instant::now();
        let mut picture_due = sound_due;
        loop {
            let until = match (self.connected, &self.picture) {
                (false, _) => Instant::now() + IDLE,
                (true, Some(_)) => sound_due.min(picture_due),
                (true, None) => sound_due,
            };
            let event = tokio::select! {
                event = self.driven.next(until) => event,
                () = &mut stop => {
                    self.driven.close().await;
                    return Ok(BotEnd::Stopped);
                }
            };
            match event {
                Some(Event::Connected) => {
                    self.connected = true;
                    sound_due = Instant::now();
                    picture_due = sound_due;
                }
                Some(Event::ChannelOpen) => (),
                Some(Event::Text(text)) => self.ended = self.ended.or_else(|| end_reason(&text)),
                Some(Event::Media { track: Track::Voice, index, payload, .. }) => self.ear.hear(index, &payload),
                Some(Event::Media { track: Track::Camera, .. } | Event::Announcement { .. }) => (),
                Some(Event::KeyFrameWanted) => {
                    if let Some(picture) = &mut self.picture {
                        picture.restart();
                    }
                }
                Some(Event::Closed) => return Ok(self.ended.map_or(BotEnd::Closed, BotEnd::Ended)),
                Some(Event::Failed(error)) => {
                    return match self.ended {
                        // The goodbye may get lost; the word on the channel did not.
                        Some(reason) => Ok(BotEnd::Ended(reason)),
                        None => Err((error.into(), self.connected)),
                    };
                }
                None if !self.connected => (),
                None => {
                    let now = Instant::now();
                    while sound_due <= now {
                        if now.duration_since(sound_due) > OVERDUE {
                            self.voice.skip();
                        } else {
                            self.speak().map_err(|error| (error.into(), self.connected))?;
                        }
                        sound_due += FRAME;
                    }
                    if let Some(picture) = &mut self.picture
                        && picture_due <= now
                    {
                        for packet in picture.next_frame() {
                            self.driven.send(Track::Camera, packet.timestamp, packet.marker, &packet.payload);
                        }
                        // A late frame is shown late; none are left out, as each builds on the one before.
                        picture_due = (picture_due + picture.pace()).max(now);
                    }
                }
            }
        }
    }

    /// One frame of sound: the hum, or her own words.
    fn speak(&mut self) -> Result<(), opus::Error> {
        let echo = self.ear.tick();
        let (timestamp, marker, packet) = self.voice.next_frame(echo)?;
        self.driven.send(Track::Voice, timestamp, marker, packet);
        Ok(())
    }
}

/// Why the call ended, if the server's message says so.
fn end_reason(text: &str) -> Option<String> {
    let message: serde_json::Value = serde_json::from_str(text).ok()?;
    if message.get("type")?.as_str()? != "ended" {
        return None;
    }
    Some(message.get("reason").and_then(|reason| reason.as_str()).unwrap_or("ended").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn only_the_word_ended_is_an_end() {
        assert_eq!(
            end_reason(r#"{"v":1,"seq":9,"type":"ended","reason":"time_expired","at_fault":"none"}"#).as_deref(),
            Some("time_expired")
        );
        for other in ["", "[]", "{}", r#"{"type":"warning","remaining_s":10}"#, r#"{"type":7}"#] {
            assert_eq!(end_reason(other), None, "{other}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_bot_that_is_not_let_in_tries_five_times_and_then_says_why() {
        let tries = Cell::new(0);
        let join = |offer: String| {
            assert!(offer.contains("m=audio"));
            tries.set(tries.get() + 1);
            async { Err(Refusal::Later("full".to_owned())) }
        };
        let error = run(BotSettings { video: true }, join, std::future::pending()).await.expect_err("refused");
        assert_eq!((tries.get(), error.to_string().as_str()), (5, "the bot was not let in: full"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_bot_that_is_refused_for_good_asks_once() {
        let tries = Cell::new(0);
        let join = |_: String| {
            tries.set(tries.get() + 1);
            async { Err(Refusal::Final("the call is over".to_owned())) }
        };
        assert!(run(BotSettings { video: false }, join, std::future::pending()).await.is_err());
        assert_eq!(tries.get(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_bot_stops_while_it_waits_to_be_let_in() {
        let end = run(BotSettings { video: false }, |_| std::future::pending(), async {}).await;
        assert_eq!(end.expect("an end"), BotEnd::Stopped);
    }
}
