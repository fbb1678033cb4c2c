//! Records of a month as one file, and the keys that check records.
//!
//! A file is asked for from the house part by part, each when the reader has taken the one before: a slow reader holds nothing
//! there but its own connection. A part that fails breaks the connection off, so that half a file is never taken for a whole one.

use super::command::Asked;
use super::{Export, ExportFormat, Request};
use crate::endpoint::Front;
use crate::inbound::{Caller, Inbound};
use crate::problem::Problem;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http_body::Frame;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

pub(super) fn routes() -> Router<Arc<Front>> {
    Router::new().route("/v1/records", get(export)).route("/.well-known/lull-keys.json", get(keys))
}

/// The JWK set: old keys stay in it, new ones come; good for five minutes in a cache.
async fn keys(State(front): State<Arc<Front>>) -> Result<Response, Problem> {
    let set = front.ask(|reply| Inbound::Keys { reply }).await?;
    Ok(([(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"))], Json(set)).into_response())
}

async fn export(State(front): State<Arc<Front>>, asked: Asked) -> Result<Response, Problem> {
    let caller = asked.caller;
    let [month, format, zone] = asked.query(["month", "format", "tz"])?;
    let month = month.filter(|month| month.len() == 7 && month.is_ascii());
    let month = month.ok_or_else(|| Problem::field("month", "`month` must be a month like 2026-11"))?;
    let (format, content_type) = match format.as_deref() {
        Some("csv") => (ExportFormat::Csv, "text/csv; charset=utf-8; header=present"),
        Some("jsonl") | None => (ExportFormat::Jsonl, "application/jsonl"),
        Some(_) => return Err(Problem::field("format", "`format` must be \"csv\" or \"jsonl\"")),
    };
    let zone = zone.unwrap_or_else(|| "UTC".to_owned());
    if zone.len() > 64 || !zone.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+-/".contains(&byte)) {
        return Err(Problem::field("tz", "`tz` must be an IANA time zone like Asia/Shanghai"));
    }
    let ending = if format == ExportFormat::Csv { "csv" } else { "jsonl" };
    let name = format!("attachment; filename=\"lull-{}.{ending}\"", month.replace(|c: char| !c.is_ascii_alphanumeric(), "-"));
    // The first part before the headers: what is refused gets its status.
    let first = part(Arc::clone(&front), caller, Export { month, zone, format, after: None }).await?;
    let body = Body::new(Parts { front, caller, next: Some(Box::pin(std::future::ready(Ok(first)))) });
    let name = HeaderValue::try_from(name).unwrap_or(HeaderValue::from_static("attachment"));
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static(content_type)), (header::CONTENT_DISPOSITION, name)], body).into_response())
}

/// A part of the file, and what to ask for the next with.
type Part = (Bytes, Option<Export>);

/// A part that was asked for.
type Coming = Pin<Box<dyn Future<Output = Result<Part, Problem>> + Send>>;

async fn part(front: Arc<Front>, caller: Caller, export: Export) -> Result<Part, Problem> {
    let request = Request::ExportRecords(export.clone());
    let answered = front.ask(|reply| Inbound::Rest { caller, idempotency: None, request, reply }).await?;
    let text = answered.body["text"].as_str().unwrap_or_default().to_owned();
    let after = answered.body["next_cursor"].as_str().map(str::to_owned);
    Ok((text.into(), after.map(|after| Export { after: Some(after), ..export })))
}

/// The body of such a file.
struct Parts {
    front: Arc<Front>,
    caller: Caller,
    next: Option<Coming>,
}

impl HttpBody for Parts {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let Some(next) = &mut this.next else { return Poll::Ready(None) };
        match next.as_mut().poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok((bytes, more))) => {
                this.next = more.map(|export| -> Coming { Box::pin(part(Arc::clone(&this.front), this.caller, export)) });
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Poll::Ready(Err(problem)) => {
                this.next = None;
                Poll::Ready(Some(Err(axum::Error::new(std::io::Error::other(problem.detail.into_owned())))))
            }
        }
    }
}
