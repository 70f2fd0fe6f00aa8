//! Small readings that several forms share: times, numbers, texts, conversations.

use chrono::{DateTime, NaiveDateTime};
use data::chat::Message;
use serde_json::{Map, Value};

/// Milliseconds since 1970 UTC of a time as exports write it: RFC 3339, or the same without a zone (UTC is meant), with `T` or a blank; or a number
/// of seconds (or milliseconds: nobody labelled in the year 5000).
pub fn millis(value: &Value) -> Option<i64> {
    match value {
        Value::Number(n) => {
            n.as_f64().filter(|x| x.is_finite() && *x > 0.0).map(|x| if x > 1e11 { x as i64 } else { (x * 1000.0).round() as i64 })
        }
        Value::String(text) => text_millis(text.trim()),
        _ => None,
    }
}

fn text_millis(text: &str) -> Option<i64> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.timestamp_millis());
    }
    let naive = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"].iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok());
    naive.map(|time| time.and_utc().timestamp_millis()).or_else(|| text.parse::<f64>().ok().and_then(|x| millis(&Value::from(x))))
}

/// A finite number, also one written as text.
pub fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(n) => n.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
    .filter(|x: &f64| x.is_finite())
}

/// A name: text or a number, none where it is empty.
pub fn name(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.trim().is_empty() => Some(text.trim().to_string()),
        Value::Number(n) => Some(n.to_string()),
        _ => None,
    }
}

/// A field's text, if it has a visible character.
pub fn text<'a>(fields: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    fields.get(key)?.as_str().filter(|text| !text.trim().is_empty())
}

/// A prompt: text is one turn of the user's; a list of turns (also as JSON in a text, as in a CSV cell) is a conversation.
pub fn prompt(value: &Value) -> Option<Vec<Message>> {
    let is_list = value.is_array() || value.as_str().is_some_and(|text| text.trim_start().starts_with('['));
    if is_list && let Ok(turns) = Message::list(value) {
        return Some(turns);
    }
    value.as_str().filter(|text| !text.trim().is_empty()).map(|text| vec![Message::new("user", text)])
}

/// JSON in a text where there is such, else the value itself.
pub fn unpacked(value: &Value) -> Value {
    match value.as_str().map(str::trim_start) {
        Some(text) if text.starts_with(['[', '{']) => serde_json::from_str(text).unwrap_or_else(|_| value.clone()),
        _ => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_every_dress() {
        // python: int(datetime(2026,11,22,0,47,8,677132,tzinfo=timezone.utc).timestamp() * 1000)
        for text in
            ["2026-11-22T00:47:08.677132Z", "2026-11-22T00:47:08.677132", "2026-11-22 00:47:08.677", "2026-11-22T02:47:08.677+02:00"]
        {
            assert_eq!(millis(&text.into()), Some(1_795_308_428_677), "{text}");
        }
        assert_eq!(millis(&1_694_858_483.into()), Some(1_694_858_483_000));
        assert_eq!(millis(&1_694_858_483_123_i64.into()), Some(1_694_858_483_123));
        assert_eq!(millis(&"1694858483".into()), Some(1_694_858_483_000));
        assert_eq!(millis(&"yesterday".into()), None);
    }
}
