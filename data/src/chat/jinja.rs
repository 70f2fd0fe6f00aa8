//! Jinja as chat templates expect it: the environment that `transformers` builds around a template
//! (`utils/chat_template_utils.py`), rebuilt on minijinja.

use super::clock;
use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, Error, ErrorKind, Output, State, syntax::SyntaxConfig};
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter};
use std::io;

/// Variables that stand where `{% generation %}` and `{% endgeneration %}` stood.
pub(super) const GENERATION_START: &str = "__generation_start";
/// See [`GENERATION_START`].
pub(super) const GENERATION_END: &str = "__generation_end";

const NAME: &str = "chat_template";

/// A compiled template.
#[derive(Clone)]
pub(super) struct Jinja {
    environment: Environment<'static>,
    /// The template marks the assistant's text itself.
    pub generation_tags: bool,
}

impl Jinja {
    /// Compiles a template, or says in words why it cannot be.
    pub fn new(source: &str) -> Result<Jinja, String> {
        let (source, generation_tags) = replace_generation_tags(source);
        let mut environment = Environment::new();
        let mut syntax = SyntaxConfig::builder();
        syntax.trim_blocks(true).lstrip_blocks(true);
        environment.set_syntax(syntax.build().map_err(|e| words(&e))?);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_formatter(python_words);
        environment.add_filter("tojson", tojson);
        environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_function("strftime_now", |format: String| strftime(&format, clock::now()));
        environment.add_template_owned(NAME, source).map_err(|e| words(&e))?;
        Ok(Jinja { environment, generation_tags })
    }

    /// Renders with these variables.
    pub fn render(&self, context: Value) -> Result<String, String> {
        self.environment.get_template(NAME).and_then(|template| template.render(context)).map_err(|e| words(&e))
    }
}

/// An error with its causes, on one line.
fn words(error: &Error) -> String {
    let mut out = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        out.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    out
}

/// `{% generation %}` is a tag of transformers that minijinja does not know. It becomes the printing of a marker inside an `if`, because
/// only a block tag takes the same blanks and line ends with it as the original.
fn replace_generation_tags(source: &str) -> (String, bool) {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    let mut found = false;
    while let Some(at) = rest.find("{%") {
        let tag = rest[at..].find("%}").map(|end| &rest[at..at + end + 2]);
        let Some(tag) = tag else { break };
        let inside = &tag[2..tag.len() - 2];
        let (left, inside) = match inside.chars().next() {
            Some(c @ ('-' | '+')) => (c.to_string(), &inside[1..]),
            _ => (String::new(), inside),
        };
        let (right, inside) = match inside.chars().last() {
            Some(c @ ('-' | '+')) => (c.to_string(), &inside[..inside.len() - 1]),
            _ => (String::new(), inside),
        };
        let marker = match inside.trim() {
            "generation" => Some(GENERATION_START),
            "endgeneration" => Some(GENERATION_END),
            _ => None,
        };
        match marker {
            Some(marker) => {
                found = true;
                out.push_str(&rest[..at]);
                out.push_str(&format!("{{%{left} if true %}}{{{{ {marker} }}}}{{% endif {right}%}}"));
                rest = &rest[at + tag.len()..];
            }
            // Only the opening is passed over: a `%}` inside a string must not hide the next tag.
            None => {
                out.push_str(&rest[..at + 2]);
                rest = &rest[at + 2..];
            }
        }
    }
    out.push_str(rest);
    (out, found)
}

/// Prints truth values and none as Python does.
fn python_words(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    use minijinja::value::ValueKind;
    let word = match value.kind() {
        ValueKind::None => "None",
        ValueKind::Bool if value.is_true() => "True",
        ValueKind::Bool => "False",
        _ => return minijinja::escape_formatter(out, state, value),
    };
    out.write_str(word).map_err(Error::from)
}

/// `json.dumps(x, ensure_ascii=False)`: the built-in filter of Jinja escapes HTML, which transformers overrides.
fn tojson(value: Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let sort_keys: Option<bool> = options.get("sort_keys")?;
    let _: Option<bool> = options.get("ensure_ascii")?;
    let _: Option<Value> = options.get("separators")?;
    options.assert_all_used()?;
    let broken = |e: serde_json::Error| Error::new(ErrorKind::InvalidOperation, format!("tojson: {e}"));
    let mut json = serde_json::to_value(&value).map_err(broken)?;
    if sort_keys == Some(true) {
        json.sort_all_objects();
    }
    let mut out = Vec::new();
    match indent {
        Some(width) => {
            let blanks = " ".repeat(width);
            let formatter = PrettyFormatter::with_indent(blanks.as_bytes());
            json.serialize(&mut serde_json::Serializer::with_formatter(&mut out, formatter)).map_err(broken)?;
        }
        None => json.serialize(&mut serde_json::Serializer::with_formatter(&mut out, Spaced)).map_err(broken)?,
    }
    Ok(Value::from(String::from_utf8_lossy(&out).into_owned()))
}

/// Python's default separators: `, ` and `: `.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

/// The part of `strftime` that templates use, in UTC.
fn strftime(format: &str, seconds: i64) -> Result<String, Error> {
    const MONTHS: [&str; 12] =
        ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
    const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
    let (days, clock) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let month_name = MONTHS[month as usize - 1];
    let day_name = DAYS[days.rem_euclid(7) as usize];
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('Y') => out.push_str(&year.to_string()),
            Some('y') => out.push_str(&format!("{:02}", year.rem_euclid(100))),
            Some('m') => out.push_str(&format!("{month:02}")),
            Some('d') => out.push_str(&format!("{day:02}")),
            Some('B') => out.push_str(month_name),
            Some('b') => out.push_str(&month_name[..3]),
            Some('A') => out.push_str(day_name),
            Some('a') => out.push_str(&day_name[..3]),
            Some('H') => out.push_str(&format!("{:02}", clock / 3600)),
            Some('M') => out.push_str(&format!("{:02}", clock / 60 % 60)),
            Some('S') => out.push_str(&format!("{:02}", clock % 60)),
            Some('%') => out.push('%'),
            other => {
                let detail = format!("strftime_now: %{} is not known", other.map(String::from).unwrap_or_default());
                return Err(Error::new(ErrorKind::InvalidOperation, detail));
            }
        }
    }
    Ok(out)
}

/// Year, month and day of a day counted from 1970-01-01 (Howard Hinnant, "chrono-compatible low-level date algorithms", civil_from_days).
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153; // March is 0
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_as_python_writes_them() {
        // datetime.utcfromtimestamp(951827696).strftime(...) and 1721952000
        assert_eq!(strftime("%d %b %Y, %A %H:%M:%S", 951_827_696).unwrap(), "29 Feb 2000, Tuesday 12:34:56");
        assert_eq!(strftime("%Y-%m-%d %a %y %B %%", 1_721_952_000).unwrap(), "2024-07-26 Fri 24 July %");
        assert!(strftime("%Q", 0).is_err());
    }

    #[test]
    fn the_present_is_the_first_that_was_pinned() {
        clock::pin(951_827_696);
        clock::pin(0);
        let jinja = Jinja::new("{{ strftime_now('%Y-%m-%d') }}").unwrap();
        assert_eq!(jinja.render(minijinja::context! {}).unwrap(), "2000-02-29");
    }

    #[test]
    fn generation_tags_keep_the_blanks_of_a_block_tag() {
        let template = "{% for m in ['a','b'] %}\n  {%- generation -%}\n  {{ m }}\n  {% endgeneration %}\n.{% endfor %}";
        let jinja = Jinja::new(template).unwrap();
        assert!(jinja.generation_tags);
        let out = jinja.render(minijinja::context! { __generation_start => "<", __generation_end => ">" }).unwrap();
        assert_eq!(out, "<a\n>.<b\n>.");
    }

    #[test]
    fn json_and_words_are_pythons() {
        let jinja = Jinja::new("{{ {'a': [1, 'é<'], 'b': none} | tojson }} {{ true }} {{ none }}").unwrap();
        assert_eq!(jinja.render(minijinja::context! {}).unwrap(), r#"{"a": [1, "é<"], "b": null} True None"#);
        let jinja = Jinja::new("{{ raise_exception('roles must alternate') }}").unwrap();
        assert!(jinja.render(minijinja::context! {}).unwrap_err().contains("roles must alternate"));
    }
}
