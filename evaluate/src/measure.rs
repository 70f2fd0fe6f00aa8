//! `evaluate metrics`: predictions beside what is right, by the figures that their field quotes.

use crate::cli::{MeasureAs, MetricsArgs, TokenizeAs};
use crate::exit::input;
use crate::rows;
use data::source::Row;
use evaluate::metrics::{self, Tokenize};
use program::say;
use serde_json::{Value, json};

/// A row: what was predicted, and what is right (texts may have several).
struct Pair {
    prediction: Value,
    references: Vec<Value>,
}

/// Reads the rows and prints the figures.
pub fn run(args: &MetricsArgs) -> anyhow::Result<()> {
    let pairs = rows::read(&args.data, 0, rows::FIGURES, |row| pair(row, args))?;
    let number = |p: &Pair| match p.references.as_slice() {
        [right] => Some((p.prediction.as_f64()?, right.as_f64()?)),
        _ => None,
    };
    let numbers = || pairs.iter().map(number).collect::<Option<Vec<(f64, f64)>>>();
    let kind = args.kind.unwrap_or(match numbers() {
        Some(_) => MeasureAs::Number,
        None => MeasureAs::Text,
    });
    let figures = match kind {
        MeasureAs::Number => {
            let pairs = numbers().ok_or_else(|| input("--as number, but a prediction or reference is no number"))?;
            json!({ "rows": pairs.len(), "pearson": metrics::pearson(&pairs), "spearman": metrics::spearman(&pairs) })
        }
        MeasureAs::Class => {
            let names: Vec<(String, String)> = pairs.iter().map(|p| (word(&p.prediction), word(&p.references[0]))).collect();
            json!(metrics::classes(names.iter().map(|(said, right)| (said.as_str(), right.as_str()))))
        }
        MeasureAs::Text => {
            let rows: Vec<(String, Vec<String>)> =
                pairs.iter().map(|p| (word(&p.prediction), p.references.iter().map(word).collect())).collect();
            let each = || rows.iter().map(|(text, references)| (text.as_str(), references.as_slice()));
            let tokenize = tokenize(args.tokenize);
            json!({ "rows": rows.len(), "tokenize": tokenize, "bleu": metrics::bleu(each(), tokenize), "rouge": metrics::rouge(each()) })
        }
    };
    if args.json {
        say!("{figures}");
    } else {
        program::text(lines(&figures, ""));
    }
    Ok(())
}

/// sacrebleu's tokenizer of this name.
pub fn tokenize(kind: TokenizeAs) -> Tokenize {
    match kind {
        TokenizeAs::V13a => Tokenize::V13a,
        TokenizeAs::Zh => Tokenize::Zh,
        TokenizeAs::Char => Tokenize::Char,
        TokenizeAs::None => Tokenize::None,
    }
}

fn pair(row: &Row, args: &MetricsArgs) -> Result<Pair, String> {
    let field = |name: &String| row.fields.get(name).filter(|v| !v.is_null()).cloned().ok_or_else(|| format!("no field {name:?}"));
    let prediction = field(&args.prediction)?;
    let references = match field(&args.reference)? {
        Value::Array(list) if list.is_empty() => return Err(format!("field {:?} is an empty list", args.reference)),
        Value::Array(list) => list,
        one => vec![one],
    };
    if references.len() > 1 && matches!(args.kind, Some(MeasureAs::Class | MeasureAs::Number)) {
        let (n, field) = (references.len(), &args.reference);
        return Err(format!("field {field:?} is a list of {n}: of classes and numbers one is right, texts may have several references"));
    }
    Ok(Pair { prediction, references })
}

/// A text as it is; anything else as JSON writes it.
fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

/// One figure a line, nested ones by their dotted names.
pub fn lines(value: &Value, name: &str) -> String {
    let dotted = |part: &str| if name.is_empty() { part.to_string() } else { format!("{name}.{part}") };
    match value {
        Value::Object(fields) => fields.iter().map(|(key, value)| lines(value, &dotted(key))).collect(),
        Value::Array(list) if list.iter().any(Value::is_object) => {
            let named = |(i, value): (usize, &Value)| lines(value, &dotted(value["name"].as_str().unwrap_or(&i.to_string())));
            list.iter().enumerate().map(named).collect()
        }
        Value::Number(number) if number.is_f64() => format!("{name:<28} {:.4}\n", number.as_f64().unwrap_or(f64::NAN)),
        other => format!("{name:<28} {other}\n"),
    }
}
