//! What people say of answers on the page, a line of JSON each, which `label ingest` reads: which of two is better (`prompt`, `chosen`, `rejected`, as
//! conversations), or whether one is good (`prompt`, `completion`, `label`).

use crate::question::Refusal;
use serde::Deserialize;
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// The file that feedback goes to.
#[derive(Debug)]
pub struct Feedback(Mutex<File>);

/// What the page sends.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    /// The conversation before the answer.
    messages: Vec<Turn>,
    /// One answer that was judged...
    answer: Option<String>,
    /// ...as good or not.
    good: Option<bool>,
    /// The better of two answers...
    chosen: Option<String>,
    /// ...and the other.
    rejected: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Turn {
    role: String,
    content: String,
}

impl Feedback {
    /// Opens the file to be appended to.
    pub fn open(path: &Path) -> std::io::Result<Feedback> {
        Ok(Feedback(Mutex::new(File::options().append(true).create(true).open(path)?)))
    }

    /// Keeps what was said; it is on the disk when this returns.
    pub fn keep(&self, body: &[u8], model: &str) -> Result<(), Refusal> {
        let said: Said =
            serde_json::from_slice(body).map_err(|e| Refusal::of(400, "bad_feedback", format!("not what the page sends: {e}")))?;
        let line = row(&said, model)
            .ok_or_else(|| Refusal::of(400, "bad_feedback", "either answer and good, or chosen and rejected, after messages"))?;
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let written = file.write_all(format!("{line}\n").as_bytes()).and_then(|()| file.sync_data());
        written.map_err(|e| {
            eprintln!("serve: error: feedback could not be written: {e}");
            Refusal::of(500, "not_written", "the feedback could not be written")
        })
    }
}

fn row(said: &Said, model: &str) -> Option<Value> {
    let turn = |t: &Turn| json!({ "role": t.role, "content": t.content });
    let prompt: Vec<Value> = said.messages.iter().map(turn).collect();
    let answer = |text: &str| json!([{ "role": "assistant", "content": text }]);
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    if prompt.is_empty() {
        return None;
    }
    match (&said.answer, said.good, &said.chosen, &said.rejected) {
        (Some(text), Some(good), None, None) => {
            Some(json!({ "prompt": prompt, "completion": answer(text), "label": good, "model": model, "time": at }))
        }
        (None, None, Some(chosen), Some(rejected)) => {
            Some(json!({ "prompt": prompt, "chosen": answer(chosen), "rejected": answer(rejected), "model": model, "time": at }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_as_ingest_reads_them_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("feedback.jsonl");
        let feedback = Feedback::open(&path).unwrap();
        let messages = json!([{ "role": "user", "content": "Hi" }]);
        feedback.keep(json!({ "messages": messages, "answer": "yo", "good": true }).to_string().as_bytes(), "m").unwrap();
        feedback.keep(json!({ "messages": messages, "chosen": "a\nb", "rejected": "c" }).to_string().as_bytes(), "m").unwrap();
        for bad in [
            json!({ "messages": messages, "answer": "yo" }),
            json!({ "messages": [], "answer": "yo", "good": true }),
            json!({ "messages": messages, "chosen": "a", "rejected": "c", "good": true }),
            json!({ "messages": messages, "chosen": "a", "rejected": "c", "path": "../x" }),
        ] {
            assert_eq!(feedback.keep(bad.to_string().as_bytes(), "m").unwrap_err().status, 400, "{bad}");
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let rows: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!((rows.len(), &rows[0]["label"], &rows[1]["chosen"][0]["content"]), (2, &json!(true), &json!("a\nb")));
    }
}
