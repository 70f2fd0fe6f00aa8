//! `evaluate classify`: the class, number or choice of a text, or of rows with the figures of a classifier.

use crate::classifier::{Asked, Prepared, Reader, Said};
use crate::cli::ClassifyArgs;
use crate::exit::input;
use crate::measure;
use crate::rows;
use data::source::Row;
use evaluate::metrics;
use program::say;
use serde_json::{Map, Value, json};

/// Classifies and prints.
pub fn run(args: &ClassifyArgs) -> anyhow::Result<()> {
    let reader = Reader::open(&args.model)?;
    let rows = match (&args.text, &args.data) {
        (None, Some(path)) => rows::read(path, 0, rows::FIGURES, |row| asked(row, args))?,
        (text, _) => {
            let text = text.clone().unwrap_or_default();
            vec![Asked { text, second: args.second_text.clone(), choices: args.choice.clone(), right: None }]
        }
    };
    let all = rows.len();
    let rows = rows.into_iter().enumerate().map(|(i, row)| reader.prepare(row, i + 1)).collect::<anyhow::Result<Vec<_>>>()?;
    let rows = if args.data.is_some() { fitting(&reader, rows)? } else { rows };
    let left_out = all - rows.len();
    let said = reader.ask(&rows)?;
    let Some(right) = rows.iter().map(|row| row.label.clone()).collect::<Option<Vec<String>>>() else {
        rows.iter().zip(&said).for_each(|(row, said)| say!("{}", shown(&reader, &row.asked, said, args.model.json)));
        return Ok(());
    };
    let names: Vec<String> = said.iter().map(|said| name(&reader, said)).collect();
    let mut figures = if reader.numbers() {
        let number = |text: &String| text.parse::<f64>().unwrap_or(f64::NAN); // a label that is no number was refused
        let pairs: Vec<(f64, f64)> = names.iter().zip(&right).map(|(said, right)| (number(said), number(right))).collect();
        let broken = pairs.iter().filter(|(said, _)| !said.is_finite()).count();
        if broken > 0 {
            eprintln!("classify: {broken} of {} numbers that the model says are not finite: no figure can be had of them", pairs.len());
        }
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

/// The rows that fit the network's context; how many do not is said.
fn fitting(reader: &Reader, mut rows: Vec<Prepared>) -> anyhow::Result<Vec<Prepared>> {
    let all = rows.len();
    rows.retain(|row| reader.fits(row));
    let left_out = all - rows.len();
    if left_out > 0 {
        eprintln!("classify: {left_out} of {all} rows are longer than the model's context and left out");
    }
    if rows.is_empty() {
        return Err(input(format!("none of {all} rows fits the model's context")));
    }
    Ok(rows)
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

/// A row with what it has of the fields.
fn asked(row: &Row, args: &ClassifyArgs) -> Result<Asked, String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_string);
    let field = |name: &String| row.fields.get(name).filter(|v| !v.is_null());
    let choices = match args.choices.as_slice() {
        [list] => field(list).and_then(Value::as_array).map_or_else(Vec::new, |list| list.iter().map(text).collect()),
        several => several.iter().filter_map(field).map(text).collect(),
    };
    let first = field(&args.field).map(text).ok_or_else(|| format!("no field {:?}", args.field))?;
    Ok(Asked { text: first, second: field(&args.second).map(text), choices, right: field(&args.class).map(text) })
}
