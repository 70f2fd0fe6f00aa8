//! `evaluate translate`: translations by beam search, of one text or of rows with their BLEU, and what each target word looked at in the source.

use crate::cli::TranslateArgs;
use crate::exit::input;
use crate::measure;
use crate::open::{device, need_tokenizer};
use crate::rows;
use data::demos::source_ids;
use data::tokenizer::Tokenizer;
use evaluate::metrics;
use evaluate::report::heatmap::Heatmap;
use evaluate::report::html::{FOOT, escape, grid, head};
use model::seq2seq::beam::{BeamSearch, Hypothesis, search};
use model::{PaddedRows, Seq2Seq};
use program::say;
use serde_json::{Value, json};
use std::fmt::Display;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Translates and prints.
pub fn run(args: &TranslateArgs) -> anyhow::Result<()> {
    let folder = model::resolve(&args.model.model)?;
    if model::kind_of(&folder)? != model::Kind::EncoderDecoder {
        return Err(input(format!("{}: no encoder-decoder: translations want one (model_type marian)", folder.display())));
    }
    let model = Seq2Seq::load(&folder, device(&args.model)?)?;
    model.freeze();
    let tokenizer = need_tokenizer(&folder, "translate")?;
    let how = BeamSearch {
        beams: args.beams,
        length_penalty: args.length_penalty,
        n_best: args.n_best,
        max_new: args.max_new,
        ..BeamSearch::default()
    };
    let rows = match (&args.text, &args.data) {
        (Some(text), _) => vec![(text.clone(), None)],
        (None, Some(path)) => read(path, args)?,
        (None, None) => return Err(input("name a --text or --data")),
    };
    let sources = rows.iter().map(|(text, _)| source_ids(&tokenizer, text)).collect::<Result<Vec<_>, _>>()?;
    let found = search(&model, &sources, &how)?;
    let create = |path: &PathBuf| std::fs::File::create(path).map_err(|e| input(format!("{}: cannot be written: {e}", path.display())));
    let mut file = args.out.as_ref().map(create).transpose()?;
    let mut tell = |line: &dyn Display| match &mut file {
        Some(file) => writeln!(file, "{line}"),
        None => {
            say!("{line}");
            Ok(())
        }
    };
    let text = |h: &Hypothesis| -> anyhow::Result<String> { Ok(tokenizer.decode(&h.ids, true)?.trim().to_string()) };
    let mut predictions = Vec::with_capacity(rows.len());
    for ((source, reference), best) in rows.iter().zip(&found) {
        let all = best.iter().map(text).collect::<anyhow::Result<Vec<_>>>()?;
        let scores: Vec<f32> = best.iter().map(|h| h.score).collect();
        if args.model.json || args.data.is_some() {
            let mut row = json!({ "source": source, "prediction": all[0], "score": scores[0] });
            if let Some(reference) = reference {
                row["reference"] = json!(reference);
            }
            if args.n_best > 1 {
                row["n_best"] = json!(all);
                row["scores"] = json!(scores);
            }
            tell(&row)?;
        } else {
            for (text, score) in all.iter().zip(&scores) {
                if args.n_best > 1 { tell(&format_args!("{score:.4}\t{text}"))? } else { tell(text)? }
            }
        }
        predictions.push(all.into_iter().next().unwrap_or_default());
    }
    let without = rows.iter().filter(|(_, reference)| reference.is_none()).count();
    if without > 0 && without < rows.len() {
        eprintln!("no BLEU: {without} of {} rows have no field {:?}", rows.len(), args.reference);
    }
    if without == 0 {
        let references: Vec<[String; 1]> = rows.iter().map(|(_, r)| [r.clone().unwrap_or_default()]).collect();
        let pairs = predictions.iter().map(String::as_str).zip(references.iter().map(|r| r.as_slice()));
        let bleu = metrics::bleu(pairs, measure::tokenize(args.tokenize));
        eprintln!("BLEU {:.2} over {} rows", bleu.score, rows.len());
    }
    if let Some(path) = &args.html {
        let page = page(&model, &tokenizer, &sources[0], &found[0][0], &rows[0].0, &predictions[0])?;
        std::fs::write(path, page).map_err(|e| input(format!("{}: cannot be written: {e}", path.display())))?;
    }
    Ok(())
}

/// Source and, where the field is there, reference of each row.
fn read(path: &Path, args: &TranslateArgs) -> anyhow::Result<Vec<(String, Option<String>)>> {
    rows::read(path, 0, "all are translated or none", |row| {
        let absent = row.fields.get(&args.reference).is_none_or(Value::is_null);
        let reference = if absent { None } else { Some(rows::text(row, &args.reference)?) };
        Ok((rows::text(row, &args.source)?, reference))
    })
}

/// Attention from target to source, each layer's mean over its heads and the last layer's heads one by one.
fn page(
    model: &Seq2Seq,
    tokenizer: &Tokenizer,
    source: &[u32],
    best: &Hypothesis,
    text: &str,
    translation: &str,
) -> anyhow::Result<String> {
    let config = model.config();
    let fed: Vec<u32> = [&[config.start], &best.ids[..best.ids.len() - 1]].concat();
    let maps = tch::no_grad(|| {
        let padded = |row: &[u32]| PaddedRows::new(&[row], config.pad, model.device());
        model.attention(&padded(&fed).ids, &model.encode(&padded(source), false)) // [1, H, T, S] a layer
    });
    // A token of several bytes of one character has no text of its own.
    let name = |id: &u32| -> anyhow::Result<String> {
        let text = tokenizer.decode(std::slice::from_ref(id), false)?;
        Ok(if text.contains('\u{FFFD}') { tokenizer.id_to_token(*id).unwrap_or_default() } else { text.trim().to_string() })
    };
    let names = |ids: &[u32]| ids.iter().map(name).collect::<anyhow::Result<Vec<_>>>();
    let (rows, columns) = (names(&best.ids)?, names(source)?);
    let map = |title: String, values: &tch::Tensor| -> anyhow::Result<String> {
        let values = Vec::<Vec<f64>>::try_from(values.to_kind(tch::Kind::Double).to_device(tch::Device::Cpu))?;
        Ok(Heatmap { title, rows: rows.clone(), columns: columns.clone(), values }.render())
    };
    let (mut means, mut heads) = (String::new(), String::new());
    for (i, layer) in maps.iter().enumerate() {
        means += &map(format!("Layer {}, mean of its heads", i + 1), &layer.squeeze_dim(0).mean_dim(0, false, tch::Kind::Float))?;
    }
    if let Some(last) = maps.last() {
        for head in 0..last.size()[1] {
            heads += &map(format!("Layer {}, head {}", maps.len(), head + 1), &last.select(0, 0).select(0, head))?;
        }
    }
    let lead = format!("<p class=\"lead\">{} → {}</p>\n", escape(text), escape(translation));
    let note = "<p class=\"small\">Rows: what was written. Columns: the source. The darker a cell, the more of the row's attention goes there; each row sums to 1.</p>\n";
    Ok(head("Attention to the source") + &lead + note + &grid("Layers", &means) + &grid("Heads of the last layer", &heads) + FOOT)
}
