//! The server as a child process, and a visitor that speaks plain HTTP/1.1 to it: redirects are not followed, nothing is tidied up.

use data::chat::Message;
use data::labels::{Judgment, Kind, flag, table};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

/// How long an answer may take: a hang is a failure, not a wait.
const PATIENCE: Duration = Duration::from_secs(60);

/// Writes a table of `items` ordinary items and after them `gold` gold ones, three answers each, named from `from` on.
pub fn write_items(path: &Path, from: usize, items: usize, gold: usize) {
    let rows = (from..from + items + gold).map(|i| {
        let answers = ["alpha", "beta", "gamma"].map(|x| format!("{x} {i}")).to_vec();
        let mut row = Judgment::new(Kind::Open, vec![Message::new("user", &format!("prompt {i}"))], answers);
        row.authors = Some(["hidden-model-x", "hidden-model-y", "hidden-model-z"].map(String::from).to_vec());
        row.scores = Some(vec![0.5, 0.25, 0.125]);
        if i >= from + items {
            (row.flags, row.ranks) = (vec![flag::GOLD.into()], Some(vec![1, 2, 3]));
        }
        row
    });
    table::write_table(path, rows).expect("items");
}

/// Runs `label` with these arguments to its end.
pub fn label(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_label")).args(args).current_dir(dir).stdin(Stdio::null()).output().expect("the binary starts")
}

/// A running server.
pub struct Server {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
    /// `host:port`.
    pub address: String,
    /// Names and paths of the links that it printed.
    pub links: HashMap<String, String>,
}

impl Server {
    /// Starts `label serve --db labels.sqlite` in `dir` on a free port, and waits until it listens.
    pub fn start(dir: &Path, args: &[&str]) -> Server {
        let mut child = Command::new(env!("CARGO_BIN_EXE_label"))
            .args(["serve", "--db", "labels.sqlite", "--bind", "127.0.0.1:0"])
            .args(args)
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let out = BufReader::new(child.stdout.take().expect("stdout"));
        // From here on the child ends with its owner, whatever happens.
        let mut server = Server { child, out, address: String::new(), links: HashMap::new() };
        while server.address.is_empty() {
            let mut line = String::new();
            assert!(server.out.read_line(&mut line).expect("a line") > 0, "the server ended");
            if let Some(address) = line.trim().strip_prefix("listening on http://") {
                server.address = address.to_string();
            } else if let Some((name, link)) = line.trim().split_once(": http://") {
                server.links.insert(name.to_string(), link[link.find('/').expect("a path")..].to_string());
            }
        }
        server
    }

    /// A visitor who has opened the link of `name`.
    pub fn visitor(&self, name: &str) -> Visitor {
        Visitor::enter(&self.address, &self.links[name])
    }

    /// SIGKILL, in the middle of whatever it does.
    pub fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("gone");
    }

    /// SIGTERM; gives the exit status and what it printed at the end.
    pub fn stop(mut self) -> (ExitStatus, String) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill").success());
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).expect("the rest");
        (self.child.wait().expect("an end"), rest)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub bytes: Vec<u8>,
}

impl Reply {
    /// A header's value; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The value of the hidden field, as the first form has it.
    pub fn field(&self, name: &str) -> String {
        let text = self.text();
        let begin = format!("name=\"{name}\" value=\"");
        let at = text.find(&begin).unwrap_or_else(|| panic!("no field {name} in {text}")) + begin.len();
        text[at..at + text[at..].find('"').expect("an end")].to_string()
    }

    /// The texts between `class="text" ...>` and `</div>`: the turns of the prompt, then the answers as shown.
    pub fn texts(&self) -> Vec<String> {
        let text = self.text();
        let parts = text.split("class=\"text\" dir=\"auto\" lang=\"\">").skip(1);
        parts.map(|part| part[..part.find("</div>").expect("an end")].to_string()).collect()
    }
}

/// Sends one request as it stands and reads the answer.
pub fn raw(address: &str, request: &[u8]) -> std::io::Result<Reply> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request)?;
    read(&mut BufReader::new(stream))
}

fn read(stream: &mut impl BufRead) -> std::io::Result<Reply> {
    let broken = || std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the answer broke off");
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or_else(broken)?;
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Err(broken());
        }
        let Some((key, value)) = line.trim_end().split_once(':') else { break };
        headers.push((key.to_string(), value.trim().to_string()));
    }
    let mut reply = Reply { status, headers, bytes: Vec::new() };
    match reply.header("content-length").parse() {
        Ok(length) => {
            reply.bytes = vec![0; length];
            stream.read_exact(&mut reply.bytes)?;
        }
        Err(_) => drop(stream.read_to_end(&mut reply.bytes)?),
    }
    Ok(reply)
}

/// Text as a form sends it.
pub fn encode(text: &str) -> String {
    text.bytes().map(|b| if b.is_ascii_alphanumeric() { (b as char).to_string() } else { format!("%{b:02X}") }).collect()
}

/// Pairs as a form sends them.
pub fn form(fields: &[(&str, &str)]) -> String {
    fields.iter().map(|(key, value)| format!("{key}={}", encode(value))).collect::<Vec<_>>().join("&")
}

/// Somebody with a cookie.
#[derive(Debug, Clone)]
pub struct Visitor {
    pub address: String,
    pub cookie: String,
}

impl Visitor {
    /// Opens a link and keeps the cookie.
    pub fn enter(address: &str, link: &str) -> Visitor {
        let mut visitor = Visitor { address: address.to_string(), cookie: String::new() };
        let reply = visitor.get(link);
        assert_eq!((reply.status, reply.header("location")), (303, "/"));
        visitor.cookie = reply.header("set-cookie").split(';').next().expect("a cookie").to_string();
        visitor
    }

    /// A request with further headers.
    pub fn send(&self, method: &str, path: &str, more: &[(&str, &str)], body: &str) -> std::io::Result<Reply> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.address);
        if !self.cookie.is_empty() {
            head += &format!("Cookie: {}\r\n", self.cookie);
        }
        if method == "POST" {
            head += &format!("Content-Length: {}\r\n", body.len());
            if !more.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
                head += "Content-Type: application/x-www-form-urlencoded\r\n";
            }
        }
        more.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
        raw(&self.address, format!("{head}\r\n{body}").as_bytes())
    }

    pub fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], "").expect("an answer")
    }

    pub fn post(&self, path: &str, fields: &[(&str, &str)]) -> Reply {
        self.send("POST", path, &[], &form(fields)).expect("an answer")
    }

    /// The page with an item.
    pub fn work(&self) -> Reply {
        let page = self.get("/");
        assert!(page.status == 200 && page.text().contains("id=\"answer\""), "{}", page.text());
        page
    }

    /// Submits an order of the answers on the page, with more fields.
    pub fn rank(&self, page: &Reply, places: &[&str], more: &[(&str, &str)]) -> Reply {
        self.post("/submit", &fields(page, places, more).iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>())
    }
}

/// The fields of the page's form, filled in.
pub fn fields(page: &Reply, places: &[&str], more: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = ["csrf", "nonce", "item"].iter().map(|name| (name.to_string(), page.field(name))).collect();
    all.extend(places.iter().enumerate().map(|(p, rank)| (format!("place-{p}"), rank.to_string())));
    all.extend(more.iter().map(|(key, value)| (key.to_string(), value.to_string())));
    all
}

/// A folder with `items.arrow`.
pub fn folder(items: usize, gold: usize) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("temporary folder");
    write_items(&dir.path().join("items.arrow"), 0, items, gold);
    let path = dir.path().to_path_buf();
    (dir, path)
}
