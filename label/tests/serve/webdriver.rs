//! As much of the WebDriver protocol (W3C, plain JSON over HTTP) as a test needs, to chromedriver as a child process.

use super::client::{Reply, raw};
use serde_json::{Value, json};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long the page may take to become what is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running chromedriver; none, said loudly, where it or the browser is not installed.
pub struct Driver {
    child: Child,
    address: String,
}

impl Driver {
    /// Starts chromedriver on a free port.
    pub fn start(test: &str) -> Option<Driver> {
        let there = |program: &str| Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
        if !["chromium", "google-chrome", "chrome"].into_iter().any(there) || !there("chromedriver") {
            use std::io::Write;
            // Past the test harness's capture: a skipped test must be seen.
            let why = "there is no browser to drive: apt-get install -y --no-install-recommends chromium chromium-driver";
            let _ = writeln!(std::io::stderr(), "SKIPPED: {test} because {why}");
            return None;
        }
        // The port is free when it is asked for; chromedriver itself cannot tell which one it took.
        let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its number").port();
        let child = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver");
        let driver = Driver { child, address: format!("127.0.0.1:{port}") };
        let begun = Instant::now();
        while raw(&driver.address, b"GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").is_err() {
            assert!(begun.elapsed() < PATIENCE, "chromedriver does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(driver)
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n");
        let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
        let reply: Reply = raw(&self.address, request.as_bytes()).expect("chromedriver answers");
        let value: Value = serde_json::from_slice(&reply.bytes).expect("JSON");
        assert_eq!(reply.status, 200, "{method} {path} {body}: {value}");
        value["value"].clone()
    }

    /// A browser with nothing from before, `width` by `height` pixels.
    pub fn browser(&self, width: u32, height: u32) -> Browser<'_> {
        // Without a sandbox, because tests may run as root in a container; what is shown is our own page alone.
        let args = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--lang=en",
            &format!("--window-size={width},{height}"),
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": { "args": args }, "goog:loggingPrefs": { "browser": "ALL" } } } });
        let session = self.call("POST", "/session", &wanted)["sessionId"].as_str().expect("a session").to_string();
        Browser { driver: self, path: format!("/session/{session}") }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An open browser; it ends when dropped.
pub struct Browser<'a> {
    driver: &'a Driver,
    path: String,
}

impl Browser<'_> {
    fn call(&self, what: &str, body: &Value) -> Value {
        self.driver.call("POST", &format!("{}/{what}", self.path), body)
    }

    /// Goes to an address, as if typed in.
    pub fn go(&self, url: &str) {
        self.call("url", &json!({ "url": url }));
    }

    /// Runs a script on the page and gives what it returns.
    pub fn js(&self, script: &str) -> Value {
        self.call("execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// What the script returns, as text.
    pub fn text(&self, script: &str) -> String {
        self.js(&format!("return String({script})")).as_str().unwrap_or_default().to_string()
    }

    /// Waits until the expression is true.
    pub fn wait(&self, expression: &str) {
        let begun = Instant::now();
        while self.js(&format!("return Boolean({expression})")) != json!(true) {
            let page = self.text("document.body.innerText");
            assert!(begun.elapsed() < PATIENCE, "never: {expression}\n{page}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Presses and releases keys one after the other, wherever the focus is.
    pub fn keys(&self, keys: &str) {
        let actions: Vec<Value> =
            keys.chars().flat_map(|key| ["keyDown", "keyUp"].map(|what| json!({ "type": what, "value": key.to_string() }))).collect();
        self.call("actions", &json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": actions }] }));
    }

    /// The middle of the element, moved by `dy`, in the window. It is scrolled into view if need be.
    pub fn middle(&self, selector: &str, dy: f64) -> (i64, i64) {
        let script = format!(
            "const e = document.querySelector({selector:?}); const seen = () => {{ const b = e.getBoundingClientRect(); \
             return [b.left + b.width / 2, b.top + b.height / 2]; }}; let [x, y] = seen(); \
             if (y < 70 || y > innerHeight - 100) {{ e.scrollIntoView({{ block: 'center', behavior: 'instant' }}); [x, y] = seen(); }} return [x, y];"
        );
        let at = self.js(&script);
        let number = |i: usize| at[i].as_f64().unwrap_or_else(|| panic!("no element {selector}"));
        (number(0).round() as i64, (number(1) + dy).round() as i64)
    }

    /// A press at the first point, a move over the others, a release: a click or tap if there is only one. `pointer` is `mouse` or `touch`.
    pub fn press(&self, pointer: &str, points: &[(i64, i64)]) {
        let to = |(x, y): &(i64, i64), ms: u32| json!({ "type": "pointerMove", "duration": ms, "x": x, "y": y, "origin": "viewport" });
        let mut actions = vec![to(&points[0], 0), json!({ "type": "pointerDown", "button": 0 })];
        actions.extend(points[1..].iter().map(|point| to(point, 60)));
        actions.push(json!({ "type": "pointerUp", "button": 0 }));
        self.call(
            "actions",
            &json!({ "actions": [{ "type": "pointer", "id": pointer, "parameters": { "pointerType": pointer }, "actions": actions }] }),
        );
    }

    /// Clicks the middle of an element.
    pub fn click(&self, selector: &str) {
        self.press("mouse", &[self.middle(selector, 0.0)]);
    }

    /// What the browser complained about: errors of scripts, breaches of the page's policy.
    pub fn complaints(&self) -> Vec<String> {
        let log = self.call("se/log", &json!({ "type": "browser" }));
        log.as_array().into_iter().flatten().map(|line| line["message"].to_string()).collect()
    }
}

impl Drop for Browser<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.driver.call("DELETE", &self.path, &Value::Null);
        }
    }
}
