//! `evaluate classify`: the class of a text, or of rows with the figures of a classifier.

use crate::cli::ClassifyArgs;
use crate::exit::input;
use crate::measure;
use crate::open::{device, need_tokenizer};
use data::config::Source;
use data::demos::framed_ids;
use data::quarantine::Quarantine;
use data::source;
use evaluate::metrics;
use model::{Bert, PaddedRows};
use serde_json::{Value, json};
use tch::{Device, Kind};

/// Rows at a time.
const BATCH: usize = 64;

/// A text, perhaps a second one, and the right class where it is known.
struct Asked {
    text: String,
    second: Option<String>,
    class: Option<String>,
}

/// Classifies and prints.
pub fn run(args: &ClassifyArgs) -> anyhow::Result<()> {
    let folder = model::resolve(&args.model.model)?;
    let no = || input(format!("{}: no classifier: name one that `sft` made with objective = \"classify\"", folder.display()));
    if model::kind_of(&folder)? != model::Kind::Encoder {
        return Err(no());
    }
    let model = Bert::load(&folder, device(&args.model)?)?;
    let names = model.classes().ok_or_else(no)?.to_vec();
    let tokenizer = need_tokenizer(&folder, "classify")?;
    let rows = match (&args.text, &args.data) {
        (Some(text), _) => vec![Asked { text: text.clone(), second: args.second_text.clone(), class: None }],
        _ => read(args)?,
    };
    let ids = rows.iter().map(|r| framed_ids(&tokenizer, &r.text, r.second.as_deref())).collect::<Result<Vec<_>, _>>()?;
    let mut found: Vec<Vec<f64>> = Vec::with_capacity(rows.len());
    for chunk in ids.chunks(BATCH) {
        let chunk: Vec<&[u32]> = chunk.iter().map(Vec::as_slice).collect();
        model.check_ids(&chunk)?;
        let padded = PaddedRows::new(&chunk, model.config().pad, model.device());
        let probabilities = tch::no_grad(|| {
            let states = model.forward(&padded, Some(&padded.second_text()), false);
            model.logits(&model.read(&states, &padded, None, false)).softmax(-1, Kind::Double)
        });
        found.extend(Vec::<Vec<f64>>::try_from(probabilities.to_device(Device::Cpu))?);
    }
    let best = |p: &Vec<f64>| p.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(i, _)| i);
    let said: Vec<&str> = found.iter().map(|p| names[best(p)].as_str()).collect();
    let Some(right) = rows.iter().map(|r| r.class.as_deref()).collect::<Option<Vec<_>>>() else {
        for (said, p) in said.iter().zip(&found) {
            let all: serde_json::Map<String, Value> = names.iter().zip(p).map(|(n, p)| (n.clone(), json!(p))).collect();
            if args.model.json {
                println!("{}", json!({ "class": said, "probabilities": all }))
            } else {
                println!("{said}  {:.4}", p[best(p)])
            }
        }
        return Ok(());
    };
    let figures = json!(metrics::classes(said.iter().copied().zip(right)));
    if args.model.json {
        println!("{figures}")
    } else {
        print!("{}", measure::lines(&figures, ""))
    }
    Ok(())
}

fn read(args: &ClassifyArgs) -> anyhow::Result<Vec<Asked>> {
    let path = args.data.clone().unwrap_or_default();
    let folder = tempfile::tempdir()?;
    let mut bad = Quarantine::new(folder.path().join("bad.jsonl"));
    let (mut rows, mut broken) = (Vec::new(), None);
    let source = Source { path: path.display().to_string(), ..Source::default() };
    source::read(&source, &mut bad, &mut |row, _| {
        let field =
            |name: &String| row.fields.get(name).filter(|v| !v.is_null()).map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_string));
        match field(&args.field) {
            Some(text) => rows.push(Asked { text, second: field(&args.second), class: field(&args.class) }),
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
