//! SIGKILL at any moment loses no answer that was acknowledged, and a request sent again after it is stored once.

use super::client::{Server, Visitor, fields, folder, form, label};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

const ITEMS: usize = 120;
const LABELLERS: [&str; 4] = ["ann", "ben", "cat", "dan"];
/// Acknowledged answers after which the server is killed.
const KILLS: [usize; 5] = [20, 55, 100, 140, 190];
/// Nobody tries for longer than this.
const END: Duration = Duration::from_secs(300);

/// Where the server is; empty while it is down. Changes are announced.
struct Where(Mutex<String>, Condvar);

impl Where {
    fn set(&self, address: &str) {
        *self.0.lock().unwrap() = address.to_string();
        self.1.notify_all();
    }

    /// The address, once it is another than `not`.
    fn get(&self, not: &str) -> String {
        let up = |address: &mut String| address.is_empty() || address == not;
        self.1.wait_timeout_while(self.0.lock().unwrap(), END, up).unwrap().0.clone()
    }
}

/// Tries until the server answers, moving with it.
fn insist<T>(place: &Where, visitor: &mut Visitor, request: impl Fn(&Visitor) -> std::io::Result<T>) -> T {
    let begun = Instant::now();
    loop {
        match request(visitor) {
            Ok(reply) => return reply,
            Err(error) => {
                assert!(begun.elapsed() < END, "no server: {error}");
                visitor.address = place.get(&visitor.address);
            }
        }
    }
}

/// One labeller, until there is nothing left: what was acknowledged, as prompt and places.
fn labour(place: &Where, mut visitor: Visitor, seed: usize, acknowledged: &AtomicUsize) -> Vec<(String, [u32; 3])> {
    let mut mine = Vec::new();
    loop {
        let page = insist(place, &mut visitor, |v| v.send("GET", "/", &[], ""));
        assert_eq!(page.status, 200);
        if !page.text().contains("id=\"answer\"") {
            if page.text().contains("other labellers") {
                std::thread::yield_now(); // others hold the last items; they will finish them
                continue;
            }
            return mine;
        }
        let turn = (seed + mine.len()) % 4;
        let places = [["1", "2", "3"], ["3", "1", "2"], ["1", "2", "1"], ["2", "2", "1"]][turn];
        let fields = fields(&page, &places, &[("comment", &format!("turn {turn}"))]);
        let body = form(&fields.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>());
        let reply = insist(place, &mut visitor, |v| v.send("POST", "/submit", &[], &body));
        assert_eq!(reply.status, 303, "{}", reply.text());
        mine.push((page.texts()[0].clone(), places.map(|p| p.parse().unwrap())));
        acknowledged.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn no_acknowledged_answer_is_lost() {
    let (_dir, dir) = folder(ITEMS, 0);
    let names = LABELLERS.join(",");
    let mut server = Server::start(&dir, &["--items", "items.arrow", "--labellers", &names, "--overlap", "2"]);
    let visitors: Vec<Visitor> = LABELLERS.iter().map(|name| server.visitor(name)).collect();
    let place = Where(Mutex::new(server.address.clone()), Condvar::new());
    let acknowledged = AtomicUsize::new(0);
    let said: HashMap<&str, Vec<(String, [u32; 3])>> = std::thread::scope(|scope| {
        let (place, acknowledged) = (&place, &acknowledged);
        let workers: Vec<_> =
            visitors.into_iter().enumerate().map(|(i, visitor)| scope.spawn(move || labour(place, visitor, i, acknowledged))).collect();
        for kill in KILLS {
            let begun = Instant::now();
            while acknowledged.load(Ordering::SeqCst) < kill {
                assert!(begun.elapsed() < END, "the labellers are stuck");
                std::thread::yield_now();
            }
            place.set("");
            server.kill();
            server = Server::start(&dir, &[]);
            place.set(&server.address);
        }
        LABELLERS.into_iter().zip(workers).map(|(name, worker)| (name, worker.join().expect("a labeller"))).collect()
    });
    let (status, last) = server.stop();
    assert!(status.success() && last.contains("every submitted answer"), "{last}");

    let out = label(&dir, &["serve", "--db", "labels.sqlite", "--export", "labels.jsonl"]);
    let told = String::from_utf8(out.stdout).unwrap();
    let lines: Vec<serde_json::Value> =
        std::fs::read_to_string(dir.join("labels.jsonl")).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut found: HashMap<(String, String), [u32; 3]> = HashMap::new();
    for line in &lines {
        let numbers = |key: &str| line[key].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect::<Vec<_>>();
        let mut places = [0; 3];
        numbers("shown").into_iter().zip(numbers("ranks")).for_each(|(at, rank)| places[at] = rank as u32);
        let key = (line["judge"].as_str().unwrap().to_string(), line["prompt"][0]["content"].as_str().unwrap().to_string());
        assert!(found.insert(key, places).is_none(), "stored twice: {line}");
    }
    // Everything acknowledged is there as it was said, and nothing else: who was cut off sent the same request again.
    for (name, answers) in &said {
        for (prompt, places) in answers {
            assert_eq!(found.remove(&(name.to_string(), prompt.clone())).as_ref(), Some(places), "{name} about {prompt}");
        }
    }
    assert!(found.is_empty(), "{found:?}");
    assert_eq!(lines.len(), 2 * ITEMS, "two labellers an item, no more");
    assert!(told.contains("240 rankings") && told.contains("; 0 answers were changed"), "a repeated request is no change: {told}");
    assert!(!dir.join("labels.sqlite-wal").exists(), "a clean end leaves one file");
}
