//! Texts made of columns: `{instruction}[[\n\n{input}]]`.

use super::cells::Column;
use crate::ingest::fields::Fault;
use data::source::Record;
use std::borrow::Cow;

/// A column, or a text with columns in braces. What stands in `[[ ]]` is left out where one of its columns is empty or absent.
#[derive(Debug)]
pub(super) struct Template {
    parts: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    Text(String),
    Column(Column),
    Optional(Template),
}

impl Template {
    /// Parses it; without braces it is a column's name. `{{` and `}}` are braces.
    pub(super) fn new(text: &str) -> Result<Template, String> {
        if text.trim().is_empty() {
            return Err("an empty text names no column".to_string());
        }
        if !text.contains('{') {
            return Ok(Template { parts: vec![Part::Column(Column::new(text))] });
        }
        Template::literal(text)
    }

    /// Parses it; without braces it is just that text.
    pub(super) fn literal(text: &str) -> Result<Template, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find("[[") {
            let length = rest[at..].find("]]").ok_or_else(|| format!("{text:?} has a [[ without ]]"))?;
            plain(&rest[..at], &mut parts)?;
            let mut inside = Vec::new();
            plain(&rest[at + 2..at + length], &mut inside)?;
            if !inside.iter().any(|part| matches!(part, Part::Column(_))) {
                return Err(format!("{text:?} has a [[ ]] without a column in it"));
            }
            parts.push(Part::Optional(Template { parts: inside }));
            rest = &rest[at + length + 2..];
        }
        plain(rest, &mut parts)?;
        Ok(Template { parts })
    }

    /// All columns, also of the optional parts.
    pub(super) fn all<'a>(&'a self, names: &mut Vec<&'a Column>) {
        for part in &self.parts {
            match part {
                Part::Column(column) => names.push(column),
                Part::Optional(inside) => inside.all(names),
                Part::Text(_) => {}
            }
        }
    }

    /// The text; a column that the row does not have is a fault, an empty one gives an empty text.
    pub(super) fn text<'a>(&self, record: &'a Record) -> Result<Cow<'a, str>, Fault> {
        if let [Part::Column(column)] = self.parts.as_slice() {
            return column.need(record)?.text(column.name());
        }
        let mut out = String::with_capacity(64);
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Column(column) => out.push_str(&column.need(record)?.text(column.name())?),
                Part::Optional(inside) => out.push_str(&inside.filled(record)?.unwrap_or_default()),
            }
        }
        Ok(Cow::Owned(out))
    }

    /// The text; None where one of its columns is empty or absent.
    pub(super) fn filled<'a>(&self, record: &'a Record) -> Result<Option<Cow<'a, str>>, Fault> {
        if let [Part::Column(column)] = self.parts.as_slice() {
            return column.text(record);
        }
        for part in &self.parts {
            if let Part::Column(column) = part
                && column.text(record)?.is_none()
            {
                return Ok(None);
            }
        }
        self.text(record).map(Some)
    }
}

/// Text with columns in braces.
fn plain(text: &str, parts: &mut Vec<Part>) -> Result<(), String> {
    let mut literal = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let doubled = matches!(c, '{' | '}') && chars.peek().is_some_and(|(_, next)| *next == c);
        match c {
            _ if doubled => {
                chars.next();
                literal.push(c);
            }
            '{' => {
                let length = text[at..].find('}').ok_or_else(|| format!("{text:?} has a {{ without }}"))?;
                let name = text[at + 1..at + length].trim();
                if name.is_empty() {
                    return Err(format!("{text:?} has braces without a column's name"));
                }
                if !literal.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut literal)));
                }
                parts.push(Part::Column(Column::new(name)));
                while chars.peek().is_some_and(|(i, _)| *i <= at + length) {
                    chars.next();
                }
            }
            '}' => return Err(format!("{text:?} has a }} without {{")),
            c => literal.push(c),
        }
    }
    if !literal.is_empty() {
        parts.push(Part::Text(literal));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_fill_and_leave_out() {
        let row = |input: &str| {
            Record::Fields(serde_json::from_value(serde_json::json!({"a": "x", "n": 3, "in": input, "l": [{"t": "deep"}]})).unwrap())
        };
        let text = |template: &str, input: &str| Template::new(template).unwrap().text(&row(input)).unwrap().to_string();
        assert_eq!(text("a", ""), "x");
        assert_eq!(text("{a}[[\n\n{in}]]!", "y"), "x\n\ny!");
        assert_eq!(text("{a}[[\n\n{in}]]!", " "), "x!");
        assert_eq!(text("{{{a}}} {n} {l.0.t}", ""), "{x} 3 deep");
        assert!(Template::new("{missing}").unwrap().text(&row("")).unwrap_err().1.contains("missing"));
        assert_eq!(Template::new("k={in}").unwrap().filled(&row("")).unwrap(), None);
        for wrong in ["{a", "a}{b}", "{a}[[ {b}", "{}", "", "{a}[[x]]"] {
            assert!(Template::new(wrong).is_err(), "{wrong}");
        }
    }
}
