//! Signing in to the vendor's page: a one-time code becomes a cookie that scripts cannot read and other sites cannot use.
//!
//! The cookie's secret is made here and leaves in `Set-Cookie` only; the house gets its hash.

use super::command::{Asked, ask, json_body};
use super::fields::{Fields, Text};
use super::{Request, Session};
use crate::auth::{self, CookieScope, OriginRule};
use crate::code::Code;
use crate::endpoint::Front;
use crate::inbound::Inbound;
use crate::problem::Problem;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use std::sync::Arc;

pub(super) fn routes() -> Router<Arc<Front>> {
    Router::new().route("/v1/session", post(log_in).get(who_am_i).delete(log_out))
}

async fn log_in(State(front): State<Arc<Front>>, request: axum::extract::Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    auth::check_origin(&parts.headers, &front.door.origins, OriginRule::AbsentOrOurs)?;
    let body = json_body(&parts.headers, body, front.door.settings.body_max).await?;
    let code = auth::hash_secret(&Fields::of(body, &["code"])?.text("code", Text::Id)?);
    let secret = auth::new_secret();
    let session = auth::hash_secret(&secret);
    let session: Session = front.ask(|reply| Inbound::LogIn { code, session, reply }).await?;
    let cookie = cookie(&front, &secret, session.expires_in_s)?;
    Ok(([(header::SET_COOKIE, cookie)], Json(session)).into_response())
}

async fn who_am_i(State(front): State<Arc<Front>>, asked: Asked) -> Result<Response, Problem> {
    ask(&front, asked.caller, None, Request::WhoAmI).await
}

async fn log_out(State(front): State<Arc<Front>>, headers: HeaderMap) -> Result<Response, Problem> {
    let secret = auth::session_secret(&headers).ok_or_else(|| Problem::new(Code::Unauthorized, "there is no session here"))?;
    auth::check_origin(&headers, &front.door.origins, OriginRule::Ours)?;
    let session = auth::hash_secret(secret);
    match front.ask(|reply| Inbound::LogOut { session, reply }).await {
        Ok(()) => (),
        // A session that is over already is signed out as well.
        Err(problem) if problem.code == Code::Unauthorized => (),
        Err(problem) => return Err(problem),
    }
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie(&front, "", 0)?)]).into_response())
}

fn cookie(front: &Front, secret: &str, max_age_s: i64) -> Result<HeaderValue, Problem> {
    let scope = if front.door.secure_cookie { CookieScope::Secure } else { CookieScope::Plain };
    auth::set_cookie(secret, max_age_s, scope).ok_or_else(|| Problem::new(Code::Internal, "the session could not be made"))
}
