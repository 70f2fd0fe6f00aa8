//! `evaluate classify`: the class, number or choice of a text, or of rows with the figures of a classifier.

use crate::classifier::{Asked, Reader, Said};
use crate::cli::ClassifyArgs;
use crate::exit::input;
use crate::measure;
use data::config::Source;
use data::quarantine::Quarantine;
use data::source::{self, Row};
use evaluate::metrics;
use program::say;
use serde_json::{Map, Value, json};

/// Classifies and prints.
pub fn run(args: &ClassifyArgs) -> anyhow::Result<()> {
    let reader = Reader::open(&args.model)?;
    let (rows, left_out) = match (&args.text, &args.data) {
        (Some(text), _) => {
            (vec![Asked { text: text.clone(), second: args.second_text.clone(), choices: args.choice.clone(), right: None }], 0)
        }
        _ => fitting(&reader, read(args)?)?,
    };
    let labels = rows.iter().enumerate().map(|(i, row)| reader.label(row).map_err(|why| input(format!("row {}: {why}", i + 1))));
    let labels = labels.collect::<anyhow::Result<Vec<_>>>()?;
    let said = reader.ask(&rows)?;
    let Some(right) = labels.into_iter().collect::<Option<Vec<String>>>() else {
        rows.iter().zip(&said).for_each(|(row, said)| say!("{}", shown(&reader, row, said, args.model.json)));
        return Ok(());
    };
    let names: Vec<String> = said.iter().map(|said| name(&reader, said)).collect();
    let mut figures = if reader.numbers() {
        let number = |text: &String| text.parse::<f64>().unwrap_or(f64::NAN); // a label that is no number was refused
        let pairs: Vec<(f64, f64)> = names.iter().zip(&right).map(|(said, right)| (number(said), number(right))).collect();
        json!(metrics::numbers(&pairs))
    } else {
        json!(metrics::classes(names.iter().map(String::as_str).zip(right.iter().map(String::as_str))))
    };
    if left_out > 0 {
        figures["left_out"] = left_out.into();
    }
    if args.model.json {
        say!("{figures}")
    } else {
        program::text(measure::lines(&figures, ""))
    }
    Ok(())
}

/// The rows that fit the network's context, and how many do not, which is said.
fn fitting(reader: &Reader, rows: Vec<Asked>) -> anyhow::Result<(Vec<Asked>, usize)> {
    let all = rows.len();
    let mut kept = Vec::with_capacity(all);
    for row in rows {
        if reader.fits(&row)? {
            kept.push(row);
        }
    }
    let left_out = all - kept.len();
    if left_out > 0 {
        eprintln!("classify: {left_out} of {all} rows are longer than the model's context and left out");
    }
    if kept.is_empty() {
        return Err(input(format!("none of {all} rows fits the model's context")));
    }
    Ok((kept, left_out))
}

/// The likeliest.
fn best(shares: &[f64]) -> usize {
    shares.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(i, _)| i)
}

/// A class by its name, a choice by its number.
fn name(reader: &Reader, said: &Said) -> String {
    match said {
        Said::Number(number) => number.to_string(),
        Said::Shares(shares) => reader.classes().get(best(shares)).cloned().unwrap_or_else(|| best(shares).to_string()),
    }
}

fn shown(reader: &Reader, row: &Asked, said: &Said, as_json: bool) -> String {
    match said {
        Said::Number(number) if as_json => json!({ "number": number }).to_string(),
        Said::Number(number) => format!("{number:.4}"),
        Said::Shares(shares) if as_json => {
            let names = if reader.classes().is_empty() { &row.choices } else { reader.classes() };
            let all: Map<String, Value> = names.iter().zip(shares).map(|(name, share)| (name.clone(), json!(share))).collect();
            json!({ "class": name(reader, said), "probabilities": all }).to_string()
        }
        Said::Shares(shares) => format!("{}  {:.4}", name(reader, said), shares[best(shares)]),
    }
}

fn read(args: &ClassifyArgs) -> anyhow::Result<Vec<Asked>> {
    let path = args.data.clone().unwrap_or_default();
    let folder = tempfile::tempdir()?;
    let mut bad = Quarantine::new(folder.path().join("bad.jsonl"));
    let (mut rows, mut broken) = (Vec::new(), None);
    let source = Source { path: path.display().to_string(), ..Source::default() };
    source::read(&source, &mut bad, &mut |row, _| {
        match asked(&row, args) {
            Some(asked) => rows.push(asked),
            None => {
                broken = broken.take().or_else(|| Some(format!("{}, line {}: no field {:?}", row.file.display(), row.line, args.field)))
            }
        }
        Ok(())
    })?;
    match broken {
        Some(broken) => Err(input(broken)),
        None if rows.is_empty() || bad.rejected() > 0 => Err(input(format!(
            "{}: {} readable rows and {} others: figures are of all rows or of none",
            path.display(),
            rows.len(),
            bad.rejected()
        ))),
        None => Ok(rows),
    }
}

/// A row with what it has of the fields; `None` without a text.
fn asked(row: &Row, args: &ClassifyArgs) -> Option<Asked> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_string);
    let field = |name: &String| row.fields.get(name).filter(|v| !v.is_null());
    let choices = match args.choices.as_slice() {
        [list] => field(list).and_then(Value::as_array).map_or_else(Vec::new, |list| list.iter().map(text).collect()),
        several => several.iter().filter_map(field).map(text).collect(),
    };
    Some(Asked { text: field(&args.field).map(text)?, second: field(&args.second).map(text), choices, right: field(&args.class).map(text) })
}
