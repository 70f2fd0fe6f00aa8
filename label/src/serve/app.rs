//! The program behind the pages: what all requests share, the addresses there are, and what every answer bears.

use super::assign::Rules;
use super::db::{Db, now};
use super::pages::{self, HEADERS, Pages};
use super::people;
use super::text::Lang;
use super::visitor::{Problem, Visitor, language};
use super::{admin, work};
use anyhow::Result;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use minijinja::context;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Largest form: the longest comment in the widest encoding (four bytes a character, each as `%XX`), and the rest.
pub const BODY: usize = 64 * 1024;
/// Longest time for a request, its body included.
const PATIENCE: Duration = Duration::from_secs(30);

/// What all requests share.
#[derive(Debug)]
pub struct App {
    db: Mutex<Db>,
    /// The database's file.
    pub path: PathBuf,
    /// How the round is run.
    pub rules: Rules,
    /// Instructions as HTML; empty without.
    pub instructions: String,
    /// The templates.
    pub pages: Pages,
    /// Scheme, host and port under which labellers see us.
    pub base: String,
    /// Name of the session's cookie. Cookies do not tell ports apart: each database has its own.
    pub session_cookie: String,
    /// Name of the cookie with the chosen language.
    pub language_cookie: String,
}

/// The program, in all threads.
pub type Shared = Arc<App>;

impl App {
    /// A round over the database at `path`.
    pub fn new(db: Db, path: PathBuf, rules: Rules, title: &str, instructions: String, base: String) -> Result<App> {
        let id = format!("{:08x}", db.secret().draw("cookie", &[]) as u32);
        // With the prefix a browser refuses the cookie from anybody else, and on anything but HTTPS.
        let prefix = if base.starts_with("https://") { "__Host-" } else { "" };
        Ok(App {
            db: Mutex::new(db),
            path,
            rules,
            instructions,
            pages: Pages::new(title)?,
            base,
            session_cookie: format!("{prefix}label-{id}"),
            language_cookie: format!("{prefix}label-lang-{id}"),
        })
    }

    /// Uses the database, away from the threads that wait for the network. `task` gets the time as well.
    pub async fn with_db<T: Send + 'static>(
        self: &Arc<App>,
        task: impl FnOnce(&mut Db, i64) -> Result<T> + Send + 'static,
    ) -> Result<T, Problem> {
        let app = self.clone();
        let done = tokio::task::spawn_blocking(move || task(&mut app.db.lock().unwrap_or_else(PoisonError::into_inner), now())).await;
        Ok(done.map_err(anyhow::Error::from)??)
    }

    /// Writes everything into the database file itself.
    pub fn close(&self) -> Result<()> {
        self.db.lock().unwrap_or_else(PoisonError::into_inner).checkpoint()
    }

    /// A cookie for our pages alone, out of scripts' reach.
    fn set_cookie(&self, name: &str, value: &str, seconds: i64) -> Result<HeaderValue, Problem> {
        let secure = if self.base.starts_with("https://") { "; Secure" } else { "" };
        let cookie = format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}");
        HeaderValue::from_str(&cookie).map_err(|_| Problem::INTERNAL)
    }
}

/// Every address there is. Nothing is read from a folder.
pub fn router(app: Shared) -> Router {
    Router::new()
        .route("/", get(work::page))
        .route("/help", get(work::help))
        .route("/submit", post(work::submit))
        .route("/skip", post(work::skip))
        .route("/draft", post(work::draft))
        .route("/undo", post(work::undo))
        .route("/keep", post(work::keep))
        .route("/leave", post(work::leave))
        .route("/admin", get(admin::page))
        .route("/admin/add", post(admin::add))
        .route("/admin/renew", post(admin::renew))
        .route("/admin/enable", post(admin::enable))
        .route("/admin/disable", post(admin::disable))
        .route("/admin/labels.arrow", get(admin::arrow))
        .route("/admin/labels.jsonl", get(admin::jsonl))
        .route("/t/{token}", get(enter))
        .route("/lang/{code}", get(choose_language))
        .fallback(other)
        .layer(DefaultBodyLimit::max(BODY))
        .layer(middleware::from_fn_with_state(app.clone(), finish))
        .with_state(app)
}

/// The link's first visit: the token becomes a cookie and leaves the address.
async fn enter(State(app): State<Shared>, Path(token): Path<String>) -> Result<Response, Problem> {
    let value = app.with_db(move |db, now| people::enter(db, &token, now)).await?.ok_or(Problem::NO_SESSION)?;
    let cookie = app.set_cookie(&app.session_cookie, &value, people::SESSION_MS / 1000)?;
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response())
}

/// The switch between languages.
async fn choose_language(State(app): State<Shared>, Path(code): Path<String>) -> Result<Response, Problem> {
    let lang = Lang::of_code(&code).ok_or(Problem::of_status(StatusCode::NOT_FOUND))?;
    let cookie = app.set_cookie(&app.language_cookie, lang.code(), 365 * 24 * 3600)?;
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response())
}

/// Ends the visitor's session and forgets the cookie.
pub async fn end_session(app: &Shared, visitor: Visitor) -> Result<Response, Problem> {
    let forget = app.set_cookie(&app.session_cookie, "", 0)?;
    let cookie = visitor.cookie;
    app.with_db(move |db, _| people::leave(db, &cookie)).await?;
    let values = context! { heading => visitor.lang.text("left_title"), body => visitor.lang.text("left"), bounce => false, home => false };
    Ok(([(header::SET_COOKIE, forget)], app.pages.show("message.html", visitor.lang, values)?).into_response())
}

/// Style, script and icon; everything else does not exist.
async fn other(request: Request) -> Response {
    let get = request.method() == axum::http::Method::GET;
    let found = pages::file(request.uri().path()).filter(|_| get);
    found.unwrap_or_else(|| StatusCode::NOT_FOUND.into_response())
}

/// Around every request: a limit of time, a page for what went wrong, and the headers.
async fn finish(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let lang = language(request.headers(), &app);
    let response = tokio::time::timeout(PATIENCE, next.run(request)).await;
    let mut response = response.unwrap_or_else(|_| StatusCode::REQUEST_TIMEOUT.into_response());
    let status = response.status();
    if status.is_client_error() || status.is_server_error() {
        let problem = response.extensions_mut().remove::<Problem>().unwrap_or_else(|| Problem::of_status(status));
        response = explain(&app, lang, problem);
    }
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(value);
    }
    response
}

fn explain(app: &App, lang: Lang, problem: Problem) -> Response {
    let bounce = problem.bounce;
    let (heading, body) = if bounce { (lang.text("bounce"), "") } else { (lang.text(problem.heading), lang.text(problem.body)) };
    let home = problem.status != StatusCode::UNAUTHORIZED;
    let status = if bounce { StatusCode::OK } else { problem.status };
    match app.pages.show("message.html", lang, context! { heading, body, bounce, home }) {
        Ok(page) => (status, page).into_response(),
        Err(_) => status.into_response(),
    }
}
