//! The part of Label Studio's API that we use, in memory, on loopback. Answers have the form of version 1.23.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use serde_json::{Value, json};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

/// What goes wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// This status, and nothing done.
    Status(u16),
    /// It is done, and the answer is lost in a 504.
    LoseAnswer,
    /// A page instead of JSON.
    Html,
    /// No answer.
    Hang,
}

#[derive(Default)]
struct Inside {
    legacy: String,
    refresh: Option<String>,
    access: u64,
    refreshes: usize,
    projects: Vec<Value>,
    tasks: Vec<Value>,
    imports: Vec<usize>,
    faults: VecDeque<(String, String, Fault)>,
    reversed: bool,
    /// Most tasks a page, as TASK_API_PAGE_SIZE_MAX says it.
    cap: Option<usize>,
}

/// The server and what it knows.
pub struct Stub {
    pub url: String,
    inside: Arc<Mutex<Inside>>,
}

type Shared = Arc<Mutex<Inside>>;

impl Stub {
    /// Starts one that takes this legacy token; it ends with the test's runtime.
    pub async fn start(legacy: &str) -> Stub {
        let inside = Arc::new(Mutex::new(Inside { legacy: legacy.into(), ..Inside::default() }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(serve).with_state(inside.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Stub { url, inside }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap()
    }

    /// The next request with this method whose path holds `path` goes wrong.
    pub fn fail(&self, method: &str, path: &str, fault: Fault) {
        self.inside().faults.push_back((method.into(), path.into(), fault));
    }

    pub fn faults_left(&self) -> usize {
        self.inside().faults.len()
    }

    pub fn forgive(&self) {
        self.inside().faults.clear();
    }

    /// From now on only this personal access token is taken.
    pub fn personal(&self, token: &str) {
        let mut inside = self.inside();
        inside.refresh = Some(token.into());
        inside.legacy = "none".into();
    }

    pub fn expire(&self) {
        self.inside().access += 1;
    }

    pub fn refreshes(&self) -> usize {
        self.inside().refreshes
    }

    pub fn imports(&self) -> Vec<usize> {
        self.inside().imports.clone()
    }

    pub fn project(&self, i: usize) -> Value {
        self.inside().projects[i].clone()
    }

    pub fn project_count(&self) -> usize {
        self.inside().projects.len()
    }

    pub fn add_project(&self, title: &str) {
        let mut inside = self.inside();
        let id = inside.projects.len() + 1;
        inside.projects.push(json!({"id": id, "title": title, "label_config": "<View/>"}));
    }

    pub fn tasks(&self) -> Vec<Value> {
        self.inside().tasks.clone()
    }

    /// Puts an annotation before those that the task has.
    pub fn annotate(&self, task: usize, annotation: Value) {
        self.inside().tasks[task]["annotations"].as_array_mut().unwrap().insert(0, annotation);
    }

    pub fn shuffle_pages(&self) {
        self.inside().reversed = true;
    }

    /// From now on a page has so many tasks at most, whatever is asked for.
    pub fn cap_pages(&self, tasks: usize) {
        self.inside().cap = Some(tasks);
    }
}

async fn serve(State(shared): State<Shared>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let (method, path) = (parts.method.as_str().to_string(), parts.uri.path().to_string());
    let query: HashMap<String, String> = parts
        .uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .collect();
    let header = parts.headers.get("authorization").map(|h| h.to_str().unwrap().to_string()).unwrap_or_default();
    let body: Value = serde_json::from_slice(&to_bytes(body, 1 << 24).await.unwrap()).unwrap_or_default();
    let fault = {
        let mut inside = shared.lock().unwrap();
        let at = inside.faults.iter().position(|(m, p, _)| *m == method && path.contains(p.as_str()));
        at.and_then(|at| inside.faults.remove(at)).map(|(.., fault)| fault)
    };
    match fault {
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Html) => reply(200, "<html>hello</html>".into()),
        Some(Fault::Status(status)) => reply(status, json!({"detail": "ordered to fail"}).to_string()),
        fault => {
            let (status, answer) = answer(&mut shared.lock().unwrap(), (&method, &path), &query, &header, &body);
            match fault {
                Some(Fault::LoseAnswer) => reply(504, String::new()),
                _ => reply(status, answer.to_string()),
            }
        }
    }
}

fn reply(status: u16, text: String) -> Response<Body> {
    Response::builder().status(StatusCode::from_u16(status).unwrap()).body(Body::from(text)).unwrap()
}

fn answer(s: &mut Inside, route: (&str, &str), query: &HashMap<String, String>, header: &str, body: &Value) -> (u16, Value) {
    if route == ("POST", "/api/token/refresh/") {
        if s.refresh.is_none() || body["refresh"].as_str() != s.refresh.as_deref() {
            return (401, json!({"detail": "Token is invalid or expired"}));
        }
        s.refreshes += 1;
        return (200, json!({"access": format!("access-{}", s.access)}));
    }
    let bearer = s.refresh.is_some() && header == format!("Bearer access-{}", s.access);
    if header != format!("Token {}", s.legacy) && !bearer {
        return (401, json!({"detail": "Invalid token."}));
    }
    let number = |key: &str| query.get(key).and_then(|v| v.parse::<usize>().ok()).unwrap_or(1);
    let page = |all: Vec<Value>, size: usize| -> Option<Vec<Value>> {
        let page = number("page");
        let rest: Vec<Value> = all.into_iter().skip((page - 1) * size).take(size).collect();
        (page == 1 || !rest.is_empty()).then_some(rest)
    };
    let invalid = (404, json!({"detail": "Invalid page."}));
    match route {
        ("GET", "/api/projects/") => match page(s.projects.clone(), number("page_size")) {
            Some(list) => {
                let next = if number("page") * number("page_size") < s.projects.len() { json!("more") } else { Value::Null };
                (200, json!({"count": s.projects.len(), "next": next, "results": list}))
            }
            None => invalid,
        },
        ("POST", "/api/projects/") => {
            let mut project = body.clone();
            project["id"] = json!(s.projects.len() + 1);
            s.projects.push(project.clone());
            (201, project)
        }
        ("GET", "/api/users/") => (200, json!([{"id": 1, "email": "ann@example.org"}, {"id": 2, "email": "bob@example.org"}])),
        ("GET", "/api/tasks") => {
            let mut tasks: Vec<Value> = s.tasks.iter().filter(|t| t["project"] == json!(number("project"))).cloned().collect();
            if s.reversed {
                tasks.reverse();
            }
            // The real one cuts what is nested, too.
            if query.contains_key("include") {
                tasks.iter_mut().filter_map(|t| t["annotations"].as_array_mut()).flatten().for_each(|a| *a = json!({"id": a["id"]}));
            }
            let total = tasks.len();
            let size = number("page_size").min(s.cap.unwrap_or(usize::MAX));
            page(tasks, size).map_or(invalid, |tasks| (200, json!({"total": total, "tasks": tasks})))
        }
        (method, path) => {
            let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
            let project = parts.get(2).and_then(|id| id.parse::<usize>().ok()).and_then(|id| s.projects.get(id.wrapping_sub(1)).cloned());
            match (method, parts.as_slice(), project) {
                ("GET", ["api", "projects", _], Some(project)) => (200, project),
                ("POST", ["api", "projects", _, "import"], Some(project)) => {
                    let new = body.as_array().cloned().unwrap_or_default();
                    s.imports.push(new.len());
                    for mut task in new.clone() {
                        task["id"] = json!(s.tasks.len() + 1);
                        task["project"] = project["id"].clone();
                        task["annotations"] = json!([]);
                        s.tasks.push(task);
                    }
                    (201, json!({"task_count": new.len()}))
                }
                _ => (404, json!({"detail": "Not found."})),
            }
        }
    }
}
