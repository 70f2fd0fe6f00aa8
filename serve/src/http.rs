//! Addresses, keys, limits, and the two questions that matter: a conversation's next turn, and a text's continuation.

use crate::engine::{Engine, Event, Job, What};
use crate::feedback::Feedback;
use crate::figures::Figures;
use crate::open::Opened;
use crate::question::{self, Question, Refusal};
use crate::reply::Reply;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::sse::{self, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use data::error::DataError;
use futures_util::stream;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;
use tokio::time::{Instant as Deadline, timeout, timeout_at};

/// What all requests share.
pub struct App {
    /// Tokenizer, template, shape.
    pub opened: Opened,
    /// What the model is called.
    pub name: String,
    /// The thread with the model.
    pub engine: Engine,
    /// Figures for Prometheus.
    pub figures: Arc<Figures>,
    /// Hashes of the keys that may ask; none: everybody may.
    pub keys: Vec<blake3::Hash>,
    /// Longest time for the answer to a request.
    pub patience: Duration,
    /// Largest body, bytes.
    pub body: usize,
    /// Only hosts of this machine may be named in a request: pages elsewhere could make a browser ask otherwise.
    pub local: bool,
    /// Where feedback goes.
    pub feedback: Option<Feedback>,
    /// The program was told to stop.
    pub stopping: AtomicBool,
    /// When it began, seconds since 1970.
    pub began: u64,
    /// Requests so far: their ids.
    pub count: AtomicU64,
}

/// Longest time for a body to arrive.
const ARRIVAL: Duration = Duration::from_secs(30);
/// A comment is sent in streams that are silent for so long: proxies close silent connections.
const ALIVE: Duration = Duration::from_secs(10);

/// The page's files.
const FILES: [(&str, &str, &str); 3] = [
    ("/", "text/html; charset=utf-8", include_str!("assets/chat.html")),
    ("/chat.css", "text/css; charset=utf-8", include_str!("assets/chat.css")),
    ("/chat.js", "text/javascript; charset=utf-8", include_str!("assets/chat.js")),
];

type Shared = State<Arc<App>>;

/// Every address there is. Nothing is read from a folder.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/v1/models", get(models))
        .route("/v1/models/{*name}", get(model))
        .route("/v1/chat/completions", post(chat))
        .route("/v1/completions", post(completions))
        .route("/feedback", post(feedback))
        .route("/metrics", get(|State(app): Shared| async move { app.figures.text() }))
        .route_layer(middleware::from_fn_with_state(app.clone(), keys))
        .route("/health", get(health))
        .route("/about", get(about))
        .route("/", get(file))
        .route("/chat.css", get(file))
        .route("/chat.js", get(file))
        .fallback(|| async { Refusal::of(404, "not_found", "there is nothing at this address").into_response() })
        .method_not_allowed_fallback(|| async {
            Refusal::of(405, "method_not_allowed", "this address takes another method").into_response()
        })
        .layer(DefaultBodyLimit::max(app.body))
        .layer(middleware::from_fn_with_state(app.clone(), around))
        .with_state(app)
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(self.json())).into_response();
        if self.status == 429 || self.status == 503 {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// Around every request: hosts, figures, headers.
async fn around(State(app): Shared, request: Request, next: Next) -> Response {
    let path = known(request.uri().path());
    let mut response = if app.local && !is_local(request.headers(), request.uri()) {
        Refusal::of(403, "host", "this server answers to names of its own machine only (see --bind)").into_response()
    } else {
        next.run(request).await
    };
    app.figures.request(path, response.status().as_u16());
    let headers = response.headers_mut();
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("x-frame-options", "DENY"),
        (
            "content-security-policy",
            "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The path as it may stand in figures.
fn known(path: &str) -> &'static str {
    let all = [
        "/v1/models",
        "/v1/chat/completions",
        "/v1/completions",
        "/feedback",
        "/metrics",
        "/health",
        "/about",
        "/",
        "/chat.css",
        "/chat.js",
    ];
    all.into_iter().find(|known| *known == path).unwrap_or("other")
}

fn is_local(headers: &HeaderMap, uri: &Uri) -> bool {
    let named = headers.get(header::HOST).and_then(|h| h.to_str().ok()).or_else(|| uri.host()).unwrap_or_default();
    let host = named.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit())).map_or(named, |(host, _)| host);
    host == "localhost" || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Who may ask.
async fn keys(State(app): Shared, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|h| h.to_str().ok()).and_then(|h| h.strip_prefix("Bearer "));
    // Hashes compare in constant time.
    let right = given.is_some_and(|key| app.keys.contains(&blake3::hash(key.trim().as_bytes())));
    if app.keys.is_empty() || right {
        return next.run(request).await;
    }
    let message = if given.is_some() { "the API key is not known here" } else { "an API key is needed: Authorization: Bearer KEY" };
    Refusal::of(401, "invalid_api_key", message).into_response()
}

async fn file(uri: Uri) -> Response {
    let found = FILES.iter().find(|(path, ..)| *path == uri.path());
    found.map_or_else(|| StatusCode::NOT_FOUND.into_response(), |(_, kind, text)| ([(header::CONTENT_TYPE, *kind)], *text).into_response())
}

/// 200 while requests are taken.
async fn health(State(app): Shared) -> Response {
    if app.stopping.load(Ordering::Relaxed) {
        return Refusal::of(503, "stopping", "the server is stopping").into_response();
    }
    if !app.engine.is_alive() {
        return Refusal::of(503, "model_failed", "the model has stopped").into_response();
    }
    axum::Json(json!({ "status": "ok" })).into_response()
}

/// What the page needs to know.
async fn about(State(app): Shared) -> Response {
    let keys = !app.keys.is_empty();
    axum::Json(json!({ "model": app.name, "chat": app.opened.template.is_some(), "feedback": app.feedback.is_some(), "keys": keys }))
        .into_response()
}

fn card(app: &App) -> Value {
    json!({ "id": app.name, "object": "model", "created": app.began, "owned_by": "local", "max_model_len": app.opened.config.context })
}

async fn models(State(app): Shared) -> Response {
    axum::Json(json!({ "object": "list", "data": [card(&app)] })).into_response()
}

async fn model(State(app): Shared, axum::extract::Path(name): axum::extract::Path<String>) -> Response {
    if name == app.name {
        return axum::Json(card(&app)).into_response();
    }
    Refusal::of(404, "model_not_found", format!("there is no model {name:?} here: GET /v1/models names {:?}", app.name)).into_response()
}

/// The body of a request that says that it is JSON: a page elsewhere cannot make a browser say so.
async fn body(app: &App, headers: &HeaderMap, body: Body) -> Result<Bytes, Refusal> {
    let json =
        headers.get(header::CONTENT_TYPE).and_then(|h| h.to_str().ok()).is_some_and(|h| h.split(';').next() == Some("application/json"));
    if !json {
        return Err(Refusal::of(415, "content_type", "the body must be JSON: Content-Type: application/json"));
    }
    match timeout(ARRIVAL, axum::body::to_bytes(body, app.body)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => Err(Refusal::of(413, "too_large", format!("the body must arrive whole and have at most {} bytes", app.body))),
        Err(_) => Err(Refusal::of(408, "timeout", format!("the body did not arrive within {} s", ARRIVAL.as_secs()))),
    }
}

async fn feedback(State(app): Shared, headers: HeaderMap, content: Body) -> Result<Response, Refusal> {
    let bytes = body(&app, &headers, content).await?;
    if app.feedback.is_none() {
        return Err(Refusal::of(404, "no_feedback", "feedback is not kept here (--feedback FILE)"));
    }
    let kept = tokio::task::spawn_blocking(move || app.feedback.as_ref().map_or(Ok(()), |f| f.keep(&bytes, &app.name))).await;
    kept.unwrap_or_else(|_| Err(Refusal::of(500, "not_written", "the feedback could not be written")))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn chat(State(app): Shared, headers: HeaderMap, content: Body) -> Result<Response, Refusal> {
    answer(app, headers, content, true).await
}

async fn completions(State(app): Shared, headers: HeaderMap, content: Body) -> Result<Response, Refusal> {
    answer(app, headers, content, false).await
}

async fn answer(app: Arc<App>, headers: HeaderMap, content: Body, is_chat: bool) -> Result<Response, Refusal> {
    let since = Instant::now();
    let deadline = Deadline::now() + app.patience;
    let bytes = body(&app, &headers, content).await?;
    let question = question::read(&bytes, is_chat, &app.name, &app.opened)?;
    let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let id = app.began << 24 | app.count.fetch_add(1, Ordering::Relaxed);
    let reply = Reply::new(&question, &app.opened.tokenizer, &app.name, id, created).map_err(|e| no_text(&e))?;
    let asked = ask(&app, &question)?;
    let usage = question.stream_usage;
    let mut writing = Writing { app, asked, reply, since, deadline, first: false };
    if question.stream {
        return Ok(streamed(writing, usage));
    }
    while writing.next().await?.is_some() {}
    Ok(axum::Json(writing.reply.whole()).into_response())
}

fn no_text(why: &DataError) -> Refusal {
    Refusal::of(500, "no_text", why.to_string())
}

/// Sends the jobs of a question. Refused where there is no room for all of them.
fn ask(app: &App, question: &Question) -> Result<Asked, Refusal> {
    if app.stopping.load(Ordering::Relaxed) {
        return Err(Refusal::of(503, "stopping", "the server is stopping"));
    }
    let count = question.n * question.prompts.len();
    if count > app.engine.limit() {
        return Err(Refusal::wrong("n", format!("{count} answers at once are more than this server ever takes ({})", app.engine.limit())));
    }
    let busy = || Refusal::of(429, "busy", "too many requests are waiting: try again");
    let room = app.engine.room(count).ok_or_else(busy)?;
    let (sender, events) = mpsc::unbounded_channel();
    let prompts = question.prompts.iter().flat_map(|p| std::iter::repeat_n(p, question.n));
    let mut enough = Vec::with_capacity(count);
    for ((choice, prompt), room) in prompts.enumerate().zip(room) {
        enough.push(Arc::new(AtomicBool::new(false)));
        // The answers to a prompt do not depend on the others of the list. Without a seed all are to differ, those to equal prompts too.
        let row = if question.seeded { choice % question.n } else { choice };
        let job = Job {
            choice,
            row: row as u64,
            prompt: prompt.clone(),
            sampling: Arc::clone(&question.sampling),
            events: sender.clone(),
            enough: Arc::clone(&enough[choice]),
            _room: room,
        };
        if !app.engine.send(job) {
            return Err(Refusal::of(500, "model_failed", "the model has stopped"));
        }
    }
    app.figures.prompt.inc_by(question.prompts.iter().map(|p| p.len() as u64).sum());
    Ok(Asked { events, enough })
}

/// The way back from the engine. Dropped, the answers are given up.
struct Asked {
    events: mpsc::UnboundedReceiver<Event>,
    enough: Vec<Arc<AtomicBool>>,
}

/// A reply under way.
struct Writing {
    app: Arc<App>,
    asked: Asked,
    reply: Reply,
    since: Instant,
    deadline: Deadline,
    /// The first token has come.
    first: bool,
}

impl Writing {
    /// The next token's choice and new text; none at the end.
    async fn next(&mut self) -> Result<Option<(usize, String)>, Refusal> {
        if self.reply.is_done() {
            self.app.figures.answered(self.since.elapsed());
            return Ok(None);
        }
        let patience = self.app.patience.as_secs();
        let event = timeout_at(self.deadline, self.asked.events.recv())
            .await
            .map_err(|_| Refusal::of(408, "timeout", format!("the answer took more than {patience} s (--patience)")))?;
        let Some(Event { choice, what: what @ What::Token { .. } }) = event else {
            return Err(Refusal::of(500, "model_failed", "the model failed"));
        };
        if !std::mem::replace(&mut self.first, true) {
            self.app.figures.first_token(self.since.elapsed());
        }
        let new = self.reply.take(choice, &what, &self.app.opened.tokenizer).map_err(|e| no_text(&e))?;
        if self.reply.is_complete(choice) {
            self.asked.enough[choice].store(true, Ordering::Relaxed);
        }
        Ok(Some((choice, new)))
    }
}

/// The reply as server-sent events: `data: {...}` for each piece, `data: [DONE]` in the end.
fn streamed(writing: Writing, usage: bool) -> Response {
    enum Stage {
        Pieces(Box<Writing>),
        Done,
        Over,
    }
    let next = move |stage: Stage| async move {
        let event = |value: &Value| Ok::<_, Infallible>(sse::Event::default().data(value.to_string()));
        match stage {
            Stage::Pieces(mut w) => loop {
                match w.next().await {
                    Ok(Some((choice, new))) => {
                        if let Some(piece) = w.reply.piece(choice, &new) {
                            return Some((event(&piece), Stage::Pieces(w)));
                        }
                    }
                    Ok(None) if usage => return Some((event(&w.reply.usage_piece()), Stage::Done)),
                    Ok(None) => return Some((Ok(sse::Event::default().data("[DONE]")), Stage::Over)),
                    Err(refusal) => return Some((event(&refusal.json()), Stage::Over)),
                }
            },
            Stage::Done => Some((Ok(sse::Event::default().data("[DONE]")), Stage::Over)),
            Stage::Over => None,
        }
    };
    let stream = stream::unfold(Stage::Pieces(Box::new(writing)), next);
    Sse::new(stream).keep_alive(sse::KeepAlive::new().interval(ALIVE)).into_response()
}
