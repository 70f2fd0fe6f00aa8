//! Who asks, in what language, and whether a form is truly theirs.

use super::app::{App, Shared};
use super::people::{self, Person};
use super::text::Lang;
use axum::Form;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::collections::HashMap;

/// Why a request is not served: keys of the text table. [`super::app`] makes the page, in the visitor's language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Problem {
    /// The status.
    pub status: StatusCode,
    /// Key of the heading.
    pub heading: &'static str,
    /// Key of the explanation.
    pub body: &'static str,
    /// True to have the browser ask once more, from our own page.
    pub bounce: bool,
}

impl Problem {
    /// No session: the link has not been opened, or the session is over.
    pub const NO_SESSION: Problem = Problem::new(StatusCode::UNAUTHORIZED, "no_session_title", "no_session");
    /// Not a form of ours, or of another session.
    pub const FOREIGN_FORM: Problem = Problem::new(StatusCode::FORBIDDEN, "forbidden_title", "forbidden_form");
    /// A page for the other role.
    pub const ROLE: Problem = Problem::new(StatusCode::FORBIDDEN, "forbidden_title", "forbidden_role");
    /// An item that this labeller was never given.
    pub const NOT_GIVEN: Problem = Problem::new(StatusCode::FORBIDDEN, "forbidden_title", "not_given");
    /// Ranks that are no order of all answers.
    pub const RANKS: Problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_title", "bad_ranks");
    /// A skip without a reason.
    pub const REASON: Problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_title", "bad_reason");
    /// A field is missing or too long.
    pub const FORM: Problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_title", "bad_form");
    /// The program's own fault.
    pub const INTERNAL: Problem = Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "error_title", "error");

    const fn new(status: StatusCode, heading: &'static str, body: &'static str) -> Problem {
        Problem { status, heading, body, bounce: false }
    }

    /// The page for a status that the framework gave.
    pub fn of_status(status: StatusCode) -> Problem {
        match status {
            StatusCode::NOT_FOUND => Problem::new(status, "not_found_title", "not_found"),
            StatusCode::PAYLOAD_TOO_LARGE => Problem::new(status, "too_large_title", "bad_form"),
            _ if status.is_client_error() => Problem::new(status, "bad_title", "bad_form"),
            _ => Problem::new(status, "error_title", "error"),
        }
    }
}

impl From<anyhow::Error> for Problem {
    fn from(error: anyhow::Error) -> Problem {
        eprintln!("label serve: {error:#}");
        Problem::INTERNAL
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// The value of a cookie.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

/// The visitor's language: as chosen by the switch, else as the browser says.
pub fn language(headers: &HeaderMap, app: &App) -> Lang {
    let chosen = cookie(headers, &app.language_cookie).and_then(Lang::of_code);
    let accepted = || headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).map_or(Lang::En, Lang::accepted);
    chosen.unwrap_or_else(accepted)
}

/// Somebody with a session.
#[derive(Debug, Clone)]
pub struct Visitor {
    /// Who.
    pub person: Person,
    /// The session's cookie.
    pub cookie: String,
    /// The language of the pages.
    pub lang: Lang,
}

impl Visitor {
    /// The labeller's key; the admin ranks nothing.
    pub fn labeller(&self) -> Result<i64, Problem> {
        if self.person.admin { Err(Problem::ROLE) } else { Ok(self.person.id) }
    }

    /// An error for anybody but the admin.
    pub fn admin(&self) -> Result<(), Problem> {
        if self.person.admin { Ok(()) } else { Err(Problem::ROLE) }
    }

    /// The token for this session's forms.
    pub fn form_token(&self) -> String {
        people::form_token(&self.cookie)
    }
}

impl FromRequestParts<Shared> for Visitor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Visitor, Problem> {
        let lang = language(&parts.headers, app);
        let Some(value) = cookie(&parts.headers, &app.session_cookie).map(str::to_string) else {
            // A browser that follows a link from another site leaves out `SameSite=Strict` cookies, on the redirect behind the link as well: a page
            // of ours that asks once more gets them. That second request is not cross-site, so this ends after one round.
            let from_elsewhere = parts.headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site");
            return Err(Problem { bounce: from_elsewhere && parts.method == Method::GET, ..Problem::NO_SESSION });
        };
        let session = value.clone();
        let person = app.with_db(move |db, now| people::whose(db, &session, now)).await?;
        Ok(Visitor { person: person.ok_or(Problem::NO_SESSION)?, cookie: value, lang })
    }
}

/// A form of ours that somebody with a session sent.
#[derive(Debug)]
pub struct Posted {
    /// Who.
    pub visitor: Visitor,
    fields: HashMap<String, String>,
}

impl Posted {
    /// A field; empty where there is none.
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    /// True if the form has the field.
    pub fn has(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }
}

impl FromRequest<Shared> for Posted {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Shared) -> Result<Posted, Problem> {
        let (mut parts, body) = request.into_parts();
        let visitor = Visitor::from_request_parts(&mut parts, app).await?;
        if !is_own(&parts.headers, app) {
            return Err(Problem::FOREIGN_FORM);
        }
        let form = Form::<Vec<(String, String)>>::from_request(Request::from_parts(parts, body), app).await;
        let Form(fields) = form.map_err(|rejected| Problem::of_status(rejected.status()))?;
        let posted = Posted { visitor, fields: fields.into_iter().collect() };
        if !people::is_form_token(&posted.visitor.cookie, posted.field("csrf")) {
            return Err(Problem::FOREIGN_FORM);
        }
        Ok(posted)
    }
}

/// False if the browser says that the form came from another site. Programs that say nothing need the form's token all the same.
fn is_own(headers: &HeaderMap, app: &App) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    if text("sec-fetch-site").is_some_and(|site| site != "same-origin") {
        return false;
    }
    let Some(origin) = text("origin") else { return true };
    let host = origin.split_once("://").map(|(_, host)| host);
    host.is_some() && (host == text("host") || origin == app.base)
}
