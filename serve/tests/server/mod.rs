//! The binary as a child process, and a client for it.

use reqwest::Client;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// A tiny model with random weights that chats.
pub fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    testkit::tiny_folder(dir.path(), model::HeadKind::Lm, 5);
    let mut tokenizer = data::tokenizer::Tokenizer::load(dir.path()).unwrap();
    tokenizer.set_chat_template(Some(data::chat::ChatTemplate::plain().source().to_owned()));
    tokenizer.save(dir.path()).unwrap();
    dir
}

fn command(folder: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_serve"));
    command.args(["--name", "tiny", "--float32", "--threads", "1", "--bind", "127.0.0.1:0", "--model"]).arg(folder).args(more);
    command.stdout(Stdio::piped());
    command
}

/// What is said on standard error by a server that does not come to listen; the exit code must be 2.
pub fn refused(folder: &Path, more: &[&str]) -> String {
    let mut child = command(folder, more).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    if !line.is_empty() {
        let _ = child.kill(); // it would go on for ever
    }
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!((line.as_str(), ended.status.code()), ("", Some(2)), "{said}");
    said
}

/// A running server; it ends with this.
pub struct Server {
    child: Child,
    pub url: String,
    runtime: Runtime,
    client: Client,
}

impl Server {
    pub fn start(folder: &Path, more: &[&str]) -> Server {
        let mut child = command(folder, more).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let url = line
            .trim()
            .rsplit(' ')
            .next()
            .filter(|url| url.starts_with("http://"))
            .unwrap_or_else(|| panic!("no address in {line:?}"))
            .to_owned();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        Server { child, url, runtime, client: Client::new() }
    }

    pub fn try_post(&self, path: &str, body: &str) -> (u16, Value) {
        let request = self.client.post(format!("{}{path}", self.url)).header("content-type", "application/json").body(body.to_owned());
        self.runtime.block_on(async {
            let response = request.send().await.unwrap();
            (response.status().as_u16(), serde_json::from_str(&response.text().await.unwrap()).unwrap_or(Value::Null))
        })
    }

    pub fn post(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.try_post(path, &body.to_string());
        assert_eq!(status, 200, "{answer}");
        answer
    }

    pub fn text(&self, path: &str) -> String {
        let request = self.client.get(format!("{}{path}", self.url));
        self.runtime.block_on(async { request.send().await.unwrap().text().await.unwrap() })
    }

    pub fn get(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path)).unwrap()
    }

    /// All pieces of a stream that ends as it should.
    pub fn stream(&self, path: &str, body: Value) -> Vec<Value> {
        let request = self.client.post(format!("{}{path}", self.url)).header("content-type", "application/json").body(body.to_string());
        let text = self.runtime.block_on(async { request.send().await.unwrap().text().await.unwrap() });
        let mut lines: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("data: ")).collect();
        assert_eq!(lines.pop(), Some("[DONE]"), "{text}");
        lines.into_iter().map(|l| serde_json::from_str(l).unwrap()).collect()
    }

    /// A request by hand; its status.
    pub fn raw(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> u16 {
        let mut stream = self.connect(method, path, headers, body);
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split_whitespace().nth(1).and_then(|s| s.parse().ok()).unwrap_or_else(|| panic!("no status in {answer:?}"))
    }

    /// A stream that is read by hand.
    pub fn open(&self, path: &str, body: &Value) -> Open {
        Open(BufReader::new(self.connect("POST", path, &[("content-type", "application/json")], &body.to_string())))
    }

    fn connect(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> TcpStream {
        let address = self.url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        let mut text = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
        if !headers.iter().any(|(name, _)| *name == "host") {
            text += &format!("host: {address}\r\n");
        }
        headers.iter().for_each(|(name, value)| text += &format!("{name}: {value}\r\n"));
        stream.write_all(format!("{text}\r\n{body}").as_bytes()).unwrap();
        stream
    }

    /// Waits until nothing is being written.
    pub fn wait_until_idle(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.text("/metrics").contains("serve_active_answers 0") {
            assert!(Instant::now() < deadline, "it goes on");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn terminate(&self) {
        assert!(Command::new("kill").arg(self.child.id().to_string()).status().unwrap().success());
    }

    pub fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub struct Open(BufReader<TcpStream>);

impl Open {
    pub fn first_piece(&mut self) {
        let mut line = String::new();
        while !line.starts_with("data: {") {
            line.clear();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the stream ended before its first piece");
        }
    }

    /// What follows, without the marks of chunks.
    pub fn rest(&mut self) -> String {
        let mut text = String::new();
        self.0.read_to_string(&mut text).unwrap();
        let is_mark = |l: &&str| !l.is_empty() && l.bytes().all(|b| b.is_ascii_hexdigit());
        text.replace("\r\n", "\n").lines().filter(|l| !is_mark(l) && !l.is_empty()).map(|l| format!("{l}\n\n")).collect()
    }
}
