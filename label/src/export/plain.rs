//! A judgment as a plain JSON object, without loss: the table's columns by name, absent ones left out.
//!
//! `prompt` is a list of `{"role", "content", ...}`, times are milliseconds since 1970, numbers are written so that the same float comes back.

use crate::ingest::values;
use data::chat::Message;
use data::labels::{Judgment, Kind};
use serde_json::{Map, Value, json};

/// Writes a judgment.
pub fn to_json(judgment: &Judgment) -> Map<String, Value> {
    let mut object = Map::new();
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            object.insert(key.to_string(), value);
        }
    };
    let reals = |list: &Option<Vec<f32>>| list.as_ref().map(|list| list.iter().map(|x| real(*x)).collect());
    put("kind", Some(judgment.kind.name().into()));
    put("item", Some(judgment.item.as_str().into()));
    put("group", Some(judgment.group.as_str().into()));
    put("prompt", Some(turns(&judgment.prompt)));
    put("answers", Some(json!(judgment.answers)));
    put("authors", judgment.authors.as_ref().map(|list| json!(list)));
    put("shown", judgment.shown.as_ref().map(|list| json!(list)));
    put("ranks", judgment.ranks.as_ref().map(|list| json!(list)));
    put("scores", reals(&judgment.scores));
    put("worth", reals(&judgment.worth));
    put("judge", judgment.judge.as_deref().map(Value::from));
    put("started", judgment.started.map(Value::from));
    put("ended", judgment.ended.map(Value::from));
    put("seconds", judgment.seconds.map(real));
    put("confidence", judgment.confidence.map(real));
    put("weight", Some(real(judgment.weight)));
    put("flags", Some(json!(judgment.flags)));
    put("comment", judgment.comment.as_deref().map(Value::from));
    put("source_file", Some(judgment.file.display().to_string().into()));
    put("source_row", Some(judgment.row.into()));
    object
}

/// A conversation as a list of objects.
pub fn turns(prompt: &[Message]) -> Value {
    let turn = |turn: &Message| {
        let mut object = Map::new();
        object.insert("role".to_string(), turn.role.as_str().into());
        object.insert("content".to_string(), turn.content.as_str().into());
        object.extend(turn.rest.clone());
        Value::Object(object)
    };
    prompt.iter().map(turn).collect()
}

/// The shortest decimal that is read back as the same float; JSON has no infinities, they are texts.
pub fn real(x: f32) -> Value {
    if !x.is_finite() {
        return Value::from(x.to_string());
    }
    let short: f64 = x.to_string().parse().unwrap_or(f64::from(x));
    Value::from(if short as f32 == x { short } else { f64::from(x) })
}

/// Reads what [`to_json`] wrote, and rows of the table's Parquet form; a prompt that is a text is the user's turn. The error is in words.
pub fn from_json(object: &Map<String, Value>) -> Result<Judgment, String> {
    let get = |key: &str| object.get(key).filter(|value| !value.is_null());
    let wrong = |key: &str, wanted: &str| format!("field {key:?} is not {wanted}");
    let text = |key: &str| get(key).map(|v| v.as_str().map(str::to_string).ok_or_else(|| wrong(key, "text"))).transpose();
    let list = |key: &str| get(key).map(|v| v.as_array().ok_or_else(|| wrong(key, "a list"))).transpose();
    let texts = |key: &str| {
        let each = |v: &Value| v.as_str().map(str::to_string).ok_or_else(|| wrong(key, "a list of texts"));
        list(key)?.map(|list| list.iter().map(each).collect::<Result<Vec<_>, _>>()).transpose()
    };
    let wholes = |key: &str| {
        let each = |v: &Value| v.as_u64().and_then(|n| u32::try_from(n).ok()).ok_or_else(|| wrong(key, "a list of whole numbers"));
        list(key)?.map(|list| list.iter().map(each).collect::<Result<Vec<_>, _>>()).transpose()
    };
    let reals = |key: &str| {
        let each = |v: &Value| read_real(v).ok_or_else(|| wrong(key, "a list of numbers"));
        list(key)?.map(|list| list.iter().map(each).collect::<Result<Vec<_>, _>>()).transpose()
    };
    let one = |key: &str| get(key).map(|v| read_real(v).ok_or_else(|| wrong(key, "a number"))).transpose();
    let time = |key: &str| {
        let read = |v: &Value| v.as_i64().or_else(|| values::millis(v)).ok_or_else(|| wrong(key, "milliseconds or a time"));
        get(key).map(read).transpose()
    };
    let kind = text("kind")?.ok_or("no field \"kind\"")?;
    let kind = Kind::ALL.into_iter().find(|k| k.name() == kind).ok_or_else(|| format!("kind {kind:?} is unknown"))?;
    let prompt = match get("prompt") {
        Some(Value::String(text)) => vec![Message::new("user", text)],
        _ => list("prompt")?.into_iter().flatten().map(message).collect::<Result<_, _>>()?,
    };
    let fresh = Judgment::new(kind, prompt, texts("answers")?.unwrap_or_default());
    Ok(Judgment {
        item: text("item")?.unwrap_or(fresh.item),
        group: text("group")?.unwrap_or(fresh.group),
        authors: texts("authors")?,
        shown: wholes("shown")?,
        ranks: wholes("ranks")?,
        scores: reals("scores")?,
        worth: reals("worth")?,
        judge: text("judge")?,
        started: time("started")?,
        ended: time("ended")?,
        seconds: one("seconds")?,
        confidence: one("confidence")?,
        weight: one("weight")?.unwrap_or(1.0),
        flags: texts("flags")?.unwrap_or_default(),
        comment: text("comment")?,
        file: text("source_file")?.unwrap_or_default().into(),
        row: get("source_row").and_then(Value::as_u64).unwrap_or_default(),
        kind,
        prompt: fresh.prompt,
        answers: fresh.answers,
    })
}

fn read_real(value: &Value) -> Option<f32> {
    match value {
        Value::Number(n) => n.as_f64().map(|x| x as f32),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// A turn; in Parquet its further fields are JSON in `rest`.
fn message(turn: &Value) -> Result<Message, String> {
    let mut rest = turn.as_object().ok_or("a turn of the prompt is not an object")?.clone();
    let mut take = |key: &str| match rest.shift_remove(key) {
        Some(Value::String(text)) => Ok(text),
        _ => Err(format!("a turn of the prompt has no text in {key:?}")),
    };
    let (role, content) = (take("role")?, take("content")?);
    match rest.get("rest") {
        Some(Value::Null) => {
            rest.shift_remove("rest");
        }
        Some(Value::String(json)) => {
            let further = serde_json::from_str::<Map<String, Value>>(json).map_err(|e| format!("`rest` of a turn: {e}"))?;
            rest.shift_remove("rest");
            rest.extend(further);
        }
        _ => {}
    }
    Ok(Message { role, content, rest })
}
