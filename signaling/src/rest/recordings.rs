//! Recordings: what there is of a call, the sound of one as a WAV file, and its end.
//!
//! A file is sent as it is opened, a piece whenever the reader has taken the one before: a slow reader holds nothing but its own
//! connection and the open file. One that turns out to be damaged breaks the connection off, so that half a file is never taken for a whole one.

use super::Request;
use super::command::{Asked, Id, ask};
use super::webhooks::Edit;
use crate::endpoint::Front;
use crate::inbound::{Download, Inbound};
use crate::problem::Problem;
use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http_body::{Frame, SizeHint};
use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::task::{JoinHandle, spawn_blocking};

/// Octets of a piece: two seconds.
const PIECE: usize = 64 * 1024;

pub(super) fn routes() -> Router<Arc<Front>> {
    Router::new().route("/v1/calls/{id}/recordings", get(of_call)).route("/v1/recordings/{id}", get(sound).delete(delete))
}

async fn of_call(State(front): State<Arc<Front>>, Id(id): Id, asked: Asked) -> Result<Response, Problem> {
    let caller = asked.caller;
    let [] = asked.query([])?;
    ask(&front, caller, None, Request::ListRecordings { id }).await
}

async fn delete(State(front): State<Arc<Front>>, Id(id): Id, edit: Edit) -> Result<Response, Problem> {
    super::fields::Fields::of(edit.body, &[])?;
    ask(&front, edit.caller, None, Request::DeleteRecording { id }).await
}

async fn sound(State(front): State<Arc<Front>>, Id(id): Id, asked: Asked) -> Result<Response, Problem> {
    let caller = asked.caller;
    let [] = asked.query([])?;
    let Download { length, name, sound } = front.ask(|reply| Inbound::Download { caller, id, reply }).await?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("audio/wav")),
        (header::CONTENT_LENGTH, HeaderValue::from(length)),
        (
            header::CONTENT_DISPOSITION,
            HeaderValue::try_from(format!("attachment; filename=\"{name}\"")).unwrap_or(HeaderValue::from_static("attachment")),
        ),
    ];
    Ok((headers, Body::new(Pieces { left: length, next: Next::Idle(Some(sound)) })).into_response())
}

/// Something to read from, on threads that may wait.
type Sound = Box<dyn Read + Send>;

/// The body of such a file.
struct Pieces {
    left: u64,
    next: Next,
}

enum Next {
    Idle(Option<Sound>),
    Coming(JoinHandle<(Sound, io::Result<Vec<u8>>)>),
}

/// As much as a piece may have, or the rest.
fn read(mut sound: Sound) -> (Sound, io::Result<Vec<u8>>) {
    let mut piece = Vec::with_capacity(PIECE);
    let read = sound.by_ref().take(PIECE as u64).read_to_end(&mut piece);
    (sound, read.map(|_| piece))
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        if this.left == 0 {
            return Poll::Ready(None);
        }
        if let Next::Idle(sound) = &mut this.next {
            let Some(sound) = sound.take() else { return Poll::Ready(None) };
            this.next = Next::Coming(spawn_blocking(move || read(sound)));
        }
        let Next::Coming(coming) = &mut this.next else { return Poll::Ready(None) };
        let came = ready!(Pin::new(coming).poll(context));
        let piece = came.map_err(io::Error::other).and_then(|(sound, piece)| {
            this.next = Next::Idle(Some(sound));
            piece.and_then(|piece| if piece.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(piece) })
        });
        match piece {
            Ok(piece) => {
                this.left = this.left.saturating_sub(piece.len() as u64);
                Poll::Ready(Some(Ok(Frame::data(piece.into()))))
            }
            Err(error) => {
                tracing::error!(%error, "a recording broke off: {error}");
                this.next = Next::Idle(None);
                Poll::Ready(Some(Err(axum::Error::new(error))))
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
