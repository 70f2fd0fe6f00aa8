//! Talking to a Label Studio: tokens of both kinds, bounded patience, errors that say what to do.

use reqwest::header::AUTHORIZATION;
use reqwest::{Method, StatusCode, Url};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use tokio::sync::Mutex;

/// Characters of the server's own words that an error repeats.
const WORDS: usize = 400;
/// The environment variable that may hold the token.
pub const TOKEN_VARIABLE: &str = "LABEL_STUDIO_TOKEN";

/// How long to wait and how often to try.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Requests in all that are made for one answer.
    pub attempts: u32,
    /// Pause before the second; each further one is twice as long.
    pub pause: Duration,
    /// Longest time for one request.
    pub timeout: Duration,
}

impl Default for Patience {
    /// Six attempts over half a minute, two minutes each at most: an import of a batch takes seconds, a restart of the server less than that.
    fn default() -> Patience {
        Patience { attempts: 6, pause: Duration::from_secs(1), timeout: Duration::from_secs(120) }
    }
}

/// Why something could not be had.
#[derive(Debug, thiserror::Error)]
pub enum StudioError {
    /// The address is none.
    #[error("--url {0}: not an address such as http://127.0.0.1:8080")]
    Address(String),
    /// There is no token, or it cannot be one.
    #[error("{0}")]
    Token(String),
    /// 401: the token is not taken.
    #[error(
        "{url} does not take the token ({words}). Make one under Account & Settings: a personal access token works where the organization allows it, a \
         legacy token where it has those enabled"
    )]
    Unauthorized {
        /// What was asked for.
        url: String,
        /// The server's words.
        words: String,
    },
    /// 403: the token's owner may not.
    #[error("{url} is not allowed to the owner of this token ({words})")]
    Forbidden {
        /// What was asked for.
        url: String,
        /// The server's words.
        words: String,
    },
    /// 404.
    #[error("{url} is not there ({words}): is --url the address of a Label Studio, and does the project still exist?")]
    NotFound {
        /// What was asked for.
        url: String,
        /// The server's words.
        words: String,
    },
    /// Another refusal that will not change by itself.
    #[error("{url} refuses with {status}: {words}")]
    Refused {
        /// What was asked for.
        url: String,
        /// The status.
        status: StatusCode,
        /// The server's words.
        words: String,
    },
    /// It may be better later: 5xx, 429, a timeout, no connection.
    #[error("{url} gives no answer ({words}), after {attempts} attempts")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// What happened last.
        words: String,
        /// Attempts made.
        attempts: u32,
    },
    /// An answer that is not what the API gives.
    #[error("{url} gives something else than expected ({words}): is --url the address of a Label Studio?")]
    Strange {
        /// What was asked for.
        url: String,
        /// What was missing.
        words: String,
    },
}

impl StudioError {
    /// True if the user has to change something; otherwise it is the server's or the network's trouble.
    pub fn is_input(&self) -> bool {
        !matches!(self, StudioError::Unreachable { .. })
    }

    /// True if it may be better later.
    pub fn is_passing(&self) -> bool {
        matches!(self, StudioError::Unreachable { .. })
    }
}

/// How a request says who asks. Never printed: no `Debug`.
enum Token {
    /// `Authorization: Token …`, as it is.
    Legacy(String),
    /// A personal access token, which is exchanged for one that lives some minutes.
    Personal { refresh: String, access: Mutex<Option<String>> },
}

/// A Label Studio.
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: Token,
    patience: Patience,
}

/// The token from the file, or from the environment where there is none.
pub fn token(file: Option<&Path>) -> Result<String, StudioError> {
    let (text, origin) = match file {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|e| StudioError::Token(format!("--token-file {}: {e}", path.display())))?;
            (text, path.display().to_string())
        }
        None => match std::env::var(TOKEN_VARIABLE) {
            Ok(text) => (text, format!("${TOKEN_VARIABLE}")),
            Err(_) => return Err(StudioError::Token(format!("no token: name a file with --token-file, or set {TOKEN_VARIABLE}"))),
        },
    };
    let text = text.trim().to_string();
    // A token that is not printed back: it may be a real one with a slip.
    match text.is_empty() || text.contains(|c: char| !c.is_ascii_graphic()) {
        true => Err(StudioError::Token(format!("{origin} holds no token: one word is expected"))),
        false => Ok(text),
    }
}

impl Client {
    /// For the server at `url`; a token of three parts with dots is a personal access token, any other a legacy one.
    pub fn new(url: &str, token: String, patience: Patience) -> Result<Client, StudioError> {
        let wrong = || StudioError::Address(url.to_string());
        let base = Url::parse(&format!("{}/", url.trim_end_matches('/'))).map_err(|_| wrong())?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            return Err(wrong());
        }
        let token = match token.split('.').count() {
            3 => Token::Personal { refresh: token, access: Mutex::new(None) },
            _ => Token::Legacy(token),
        };
        let http = reqwest::Client::builder().timeout(patience.timeout).connect_timeout(patience.timeout.min(Duration::from_secs(10)));
        let http = http.build().map_err(|e| StudioError::Strange { url: base.to_string(), words: words_of(&e) })?;
        Ok(Client { http, base, token, patience })
    }

    /// The server's address, without a slash at the end.
    pub fn base(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// How long it waits.
    pub fn patience(&self) -> Patience {
        self.patience
    }

    /// Reads `path` (below the server's address, with its query).
    pub async fn get(&self, path: &str) -> Result<Value, StudioError> {
        let mut pause = self.patience.pause;
        let mut attempt = 1;
        loop {
            match self.once(Method::GET, path, None).await {
                Err(e) if e.is_passing() && attempt < self.patience.attempts => {
                    tokio::time::sleep(pause).await;
                    (pause, attempt) = (pause * 2, attempt + 1);
                }
                Err(StudioError::Unreachable { url, words, .. }) => {
                    return Err(StudioError::Unreachable { url, words, attempts: attempt });
                }
                done => return done,
            }
        }
    }

    /// Sends `body` to `path`, once: a server that gave no answer may have done what it was asked, so the caller looks before trying again.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, StudioError> {
        self.once(Method::POST, path, Some(body)).await
    }

    async fn once(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, StudioError> {
        let header = self.authorization(None).await?;
        match (self.send(method.clone(), path, body, Some(&header)).await, &self.token) {
            // The short-lived token has ended: one new one.
            (Err(StudioError::Unauthorized { .. }), Token::Personal { .. }) => {
                let header = self.authorization(Some(&header)).await?;
                self.send(method, path, body, Some(&header)).await
            }
            (answer, _) => answer,
        }
    }

    /// The value of the header; `stale` is one that is no longer taken.
    async fn authorization(&self, stale: Option<&str>) -> Result<String, StudioError> {
        let (refresh, access) = match &self.token {
            Token::Legacy(token) => return Ok(format!("Token {token}")),
            Token::Personal { refresh, access } => (refresh, access),
        };
        let mut access = access.lock().await;
        if let Some(known) = access.as_ref().filter(|known| stale != Some(known.as_str())) {
            return Ok(known.clone());
        }
        let answer = self.send(Method::POST, "api/token/refresh/", Some(&json!({ "refresh": refresh })), None).await?;
        let url = || self.url("api/token/refresh/").to_string();
        let short = answer["access"].as_str().ok_or_else(|| StudioError::Strange { url: url(), words: "no `access`".to_string() })?;
        Ok(access.insert(format!("Bearer {short}")).clone())
    }

    fn url(&self, path: &str) -> Url {
        // Only ours are joined, all of them relative.
        self.base.join(path.trim_start_matches('/')).unwrap_or_else(|_| self.base.clone())
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>, header: Option<&str>) -> Result<Value, StudioError> {
        let url = self.url(path);
        let shown = url.to_string();
        let mut request = self.http.request(method, url);
        if let Some(header) = header {
            request = request.header(AUTHORIZATION, header);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let passing = |words: String| StudioError::Unreachable { url: shown.clone(), words, attempts: 1 };
        let response = request.send().await.map_err(|e| passing(words_of(&e)))?;
        let status = response.status();
        let text = response.text().await.map_err(|e| passing(words_of(&e)))?;
        let words = || detail(&text);
        match status {
            StatusCode::UNAUTHORIZED => Err(StudioError::Unauthorized { url: shown, words: words() }),
            StatusCode::FORBIDDEN => Err(StudioError::Forbidden { url: shown, words: words() }),
            StatusCode::NOT_FOUND => Err(StudioError::NotFound { url: shown, words: words() }),
            StatusCode::TOO_MANY_REQUESTS => Err(passing(format!("{status}: {}", words()))),
            _ if status.is_server_error() => Err(passing(format!("{status}: {}", words()))),
            _ if !status.is_success() => Err(StudioError::Refused { url: shown, status, words: words() }),
            _ => serde_json::from_str(&text).map_err(|e| StudioError::Strange { url: shown, words: format!("no JSON: {e}") }),
        }
    }
}

/// A network error with its causes, which reqwest leaves out.
fn words_of(error: &reqwest::Error) -> String {
    let mut words = match error.is_timeout() {
        true => "timed out".to_string(),
        false => error.to_string(),
    };
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        words = format!("{words}: {next}");
        cause = next.source();
    }
    words
}

/// What the server says, without its HTML page where it has no better: `detail` and `validation_errors` of the API's errors.
fn detail(text: &str) -> String {
    let words = match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(error)) => {
            let parts = ["detail", "validation_errors"].iter().filter_map(|key| error.get(*key)).filter(|v| !v.is_null());
            let parts: Vec<String> = parts.map(|v| v.as_str().map_or(v.to_string(), str::to_string)).collect();
            if parts.is_empty() { Value::Object(error).to_string() } else { parts.join(" ") }
        }
        _ if text.trim_start().starts_with('<') => "a page of HTML".to_string(),
        _ => text.trim().to_string(),
    };
    match words.char_indices().nth(WORDS) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None if words.is_empty() => "no word of explanation".to_string(),
        None => words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_word_of_a_file_and_not_repeated_in_errors() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, "  abc.def.ghi\n").unwrap();
        assert_eq!(token(Some(&file)).unwrap(), "abc.def.ghi");
        std::fs::write(&file, "se cret").unwrap();
        let error = token(Some(&file)).unwrap_err();
        assert!(error.to_string().contains("one word") && !error.to_string().contains("cret") && error.is_input(), "{error}");
        assert!(token(Some(&dir.path().join("none"))).unwrap_err().to_string().contains("--token-file"));
    }

    #[test]
    fn addresses_are_checked() {
        let client = |url: &str| Client::new(url, "t".into(), Patience::default()).map(|c| c.base().to_string());
        assert_eq!(client("http://127.0.0.1:8080/").unwrap(), "http://127.0.0.1:8080");
        assert_eq!(client("https://host/studio").unwrap(), "https://host/studio", "behind a path");
        for wrong in ["127.0.0.1:8080", "localhost:8080", "ftp://host", ""] {
            assert!(matches!(client(wrong), Err(StudioError::Address(_))), "{wrong}");
        }
    }

    #[test]
    fn the_servers_words_are_found() {
        let json =
            r#"{"id": "x", "status_code": 400, "detail": "Validation error", "exc_info": null, "validation_errors": {"title": ["short"]}}"#;
        assert_eq!(detail(json), r#"Validation error {"title":["short"]}"#);
        assert_eq!(detail("<html>"), "a page of HTML");
        assert_eq!(detail(""), "no word of explanation");
        assert!(detail(&"ä".repeat(900)).chars().count() == WORDS + 1);
    }
}
