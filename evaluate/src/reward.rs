//! `evaluate reward`: a score per row, and how well scores agree with people.

use crate::cli::{RewardArgs, Template};
use crate::exit::input;
use crate::open::{Opened, open};
use data::chat::{ChatTemplate, Message};
use data::config::{self, Columns, Quarantine, RankingData, RewardConfig, Source};
use data::labels::table::is_table;
use data::rankings::{Lengths, Ranking, load_rankings};
use data::source::Row;
use evaluate::preference;
use indicatif::{ProgressBar, ProgressStyle};
use model::HeadKind;
use program::say;
use serde_json::{Value, json};
use std::path::Path;

/// Seed of the bootstrap: the same rows give the same interval.
const SEED: u64 = 1;

/// What a row of the file is.
enum Rows {
    /// Prompt and response: (row, prompt, response).
    Single(Vec<(u64, String, String)>),
    /// Pairs and rankings.
    Ranked(Vec<Ranking>),
}

/// Scores every row and prints the scores, with the accuracy where people's order is known.
pub fn run(args: &RewardArgs) -> anyhow::Result<()> {
    let Some(file) = &args.data else { return ids(args) };
    if !file.exists() {
        return Err(input(format!("{}: no such file", file.display())));
    }
    let opened = open(&args.model, HeadKind::Scalar)?;
    let data = settings(args, file, &opened)?;
    let tokenizer = opened.need_tokenizer("scoring text")?;
    let template = ChatTemplate::new(data.template, &opened.folder)?;
    let folder = tempfile::tempdir()?;
    let bad = folder.path().join("rejected.jsonl");
    let context = opened.model.config().context;
    let lengths = Lengths { tokenizer, template: &template, context };
    let read = read(&data, lengths, &bad);
    if bad.exists() {
        eprintln!("evaluate: rows left out are listed in {}", folder.keep().join("rejected.jsonl").display());
    }
    let (rows, rejected) = read?;
    let mut ids = Vec::new();
    match &rows {
        Rows::Single(rows) => {
            for (_, prompt, response) in rows {
                ids.push(template.encode_answer(tokenizer, &[Message::new("user", prompt)], response)?);
            }
        }
        Rows::Ranked(rows) => {
            for ranking in rows {
                let prompt = ranking.asked(&data.prompt_prefix);
                for answer in &ranking.answers {
                    ids.push(template.encode_answer(tokenizer, &prompt, answer)?);
                }
            }
        }
    }
    let scores = score(&opened, &ids, args.batch.max(1))?;
    print(&rows, &scores, (rejected, file), args.model.json);
    Ok(())
}

/// The score of token ids as they are: no template, no end token added, no tokenizer needed.
fn ids(args: &RewardArgs) -> anyhow::Result<()> {
    let opened = open(&args.model, HeadKind::Scalar)?;
    let row = args.ids.clone().unwrap_or_default();
    let scores = score(&opened, std::slice::from_ref(&row), 1)?;
    match args.model.json {
        true => say!("{}", json!({ "ids": row, "score": scores[0] })),
        false => say!("score {:.5}", scores[0]),
    }
    Ok(())
}

/// Column names, template and prefix: from --config or the run's config.toml, overruled by arguments.
fn settings(args: &RewardArgs, file: &Path, opened: &Opened) -> anyhow::Result<RankingData> {
    let beside = [args.model.model.join("config.toml"), opened.folder.join("../config.toml")].into_iter().find(|p| p.is_file());
    let config = args.config.clone().or(beside);
    // A run's folder may be that of another stage, whose config has other keys: only an explicit --config must fit.
    let run = match (&config, &args.config) {
        (Some(path), Some(_)) => Some(config::load::<RewardConfig>(path, &[]).map_err(|e| input(e.to_string()))?),
        (Some(path), None) => config::load::<RewardConfig>(path, &[]).ok(),
        (None, _) => None,
    };
    let mut data = run.map(|r| r.data);
    let has_template = opened.tokenizer().is_some_and(|t| t.chat_template().is_some());
    let own = if has_template { config::Template::Model } else { config::Template::Plain };
    let template = match args.template {
        Some(Template::Plain) => config::Template::Plain,
        Some(Template::Chatml) => config::Template::Chatml,
        Some(Template::Llama3) => config::Template::Llama3,
        Some(Template::Zephyr) => config::Template::Zephyr,
        Some(Template::Model) => config::Template::Model,
        None => data.as_ref().map_or(own, |d| d.template),
    };
    let prefix = || model::lineage::read(&opened.folder).ok().and_then(|l| l.prompt_prefix);
    let prompt_prefix = match &args.prompt_prefix {
        Some(prefix) => prefix.clone(),
        None => prefix().or_else(|| data.as_ref().map(|d| d.prompt_prefix.clone())).unwrap_or_default(),
    };
    let mut columns: Vec<Columns> = data.take().into_iter().flat_map(|d| d.sources).map(|s| s.columns).collect();
    columns.push(Columns::default());
    columns.push(Columns { scores: vec!["scores".into()], ..Columns::default() });
    let path = file.display().to_string();
    let source = |columns: Columns| Source { path: path.clone(), format: None, columns };
    let columns = if is_table(file) { source(Columns::default()) } else { choose(columns.into_iter().map(source).collect())? };
    Ok(RankingData {
        sources: vec![columns],
        template,
        prompt_prefix,
        quarantine: Quarantine { max_fraction: 0.05, always_allow: 10 },
        ..RankingData::default()
    })
}

/// The first of the sources whose columns the file's first row has.
fn choose(sources: Vec<Source>) -> anyhow::Result<Source> {
    let first = first_row(&sources[0])?;
    let has = |names: &[String]| !names.is_empty() && names.iter().all(|n| first.fields.get(n).is_some_and(|v| !v.is_null()));
    let one = |name: &String| has(std::slice::from_ref(name));
    let fits = |s: &Source| {
        let c = &s.columns;
        let ranked = has(&c.answers) && has(if c.scores.is_empty() { &c.ranks } else { &c.scores });
        ranked || (one(&c.chosen) && one(&c.rejected)) || (one(&c.prompt) && one(&c.response))
    };
    let names: Vec<&str> = first.fields.keys().map(String::as_str).collect();
    let message = format!(
        "{}: a row must have prompt and response; prompt, chosen and rejected; or prompt, answers and ranks or scores. The first has: {}. \
         Name other columns by --config reward.toml",
        first.file.display(),
        names.join(", ")
    );
    sources.into_iter().find(fits).ok_or_else(|| input(message))
}

fn first_row(source: &Source) -> anyhow::Result<Row> {
    let folder = tempfile::tempdir()?;
    let mut bad = data::quarantine::Quarantine::new(folder.path().join("rejected.jsonl"));
    let mut first = None;
    data::source::read(source, &mut bad, &mut |row, _| {
        first.get_or_insert(row);
        Ok(())
    })?;
    first.ok_or_else(|| input(format!("{}: no readable row", source.path)))
}

/// All rows, and how many were rejected.
fn read(data: &RankingData, lengths: Lengths, bad: &Path) -> anyhow::Result<(Rows, u64)> {
    let source = &data.sources[0];
    let columns = &source.columns;
    let ranked = || -> anyhow::Result<bool> {
        let first = first_row(source)?;
        Ok(columns.answers.iter().chain([&columns.chosen]).any(|n| first.fields.get(n).is_some_and(|v| !v.is_null())))
    };
    if is_table(Path::new(&source.path)) || ranked()? {
        let split = load_rankings(data, Some(lengths), 0.0, SEED, bad).map_err(|e| e.with_limits(None))?;
        if let Some(left_out) = split.report.left_out() {
            eprintln!("evaluate: {left_out}");
        }
        return Ok((Rows::Ranked(split.train), split.report.rejected));
    }
    use data::quarantine::{Quarantine, Reason};
    let mut quarantine = Quarantine::new(bad);
    let mut rows = Vec::new();
    let count = data::source::read(source, &mut quarantine, &mut |row, bad| {
        let text = |name: &str| row.fields.get(name).and_then(Value::as_str);
        match (text(&columns.prompt), text(&columns.response)) {
            (Some(prompt), Some(response)) => {
                let prompt = format!("{}{prompt}", data.prompt_prefix);
                let (a, b) = lengths.template.encode_pair(lengths.tokenizer, &prompt, response)?;
                if a.len() + b.len() > lengths.context {
                    bad.reject_row(&row, Reason::TooLong, format!("{} tokens, the context is {}", a.len() + b.len(), lengths.context));
                } else {
                    rows.push((row.line, prompt, response.to_string()));
                }
            }
            _ => bad.reject_row(&row, Reason::MissingField, format!("no text in {:?} or {:?}", columns.prompt, columns.response)),
        }
        Ok(())
    })?;
    let report = quarantine.finish(&data.quarantine, count).map_err(|e| e.with_limits(None))?;
    Ok((Rows::Single(rows), report.rejected))
}

/// Score of every row at its last token, rows of like length together.
fn score(opened: &Opened, ids: &[Vec<u32>], batch: usize) -> anyhow::Result<Vec<f64>> {
    if let Some(pad) = opened.model.config().pad {
        match ids.iter().filter(|row| row.last() == Some(&pad)).count() {
            0 => {}
            n => eprintln!(
                "evaluate: {n} of {} rows end with token {pad}, which config.json names as padding: they are scored there, by transformers at the last \
                 token that is none",
                ids.len()
            ),
        }
    }
    let mut order: Vec<usize> = (0..ids.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(ids[i].len()));
    let mut scores = vec![0.0; ids.len()];
    let bar =
        ProgressBar::new(ids.len() as u64).with_style(ProgressStyle::with_template("{bar:30} {pos}/{len} answers, {per_sec}, {eta} left")?);
    for now in order.chunks(batch) {
        let rows: Vec<&[u32]> = now.iter().map(|&i| ids[i].as_slice()).collect();
        let batch: Vec<f64> = tch::no_grad(|| -> anyhow::Result<Vec<f64>> {
            let scores = opened.model.score_last(&rows)?; // [B]
            Ok(Vec::try_from(&scores.to_device(tch::Device::Cpu).to_kind(tch::Kind::Double))?)
        })?;
        now.iter().zip(batch).for_each(|(&i, s)| scores[i] = s);
        bar.inc(now.len() as u64);
    }
    bar.finish_and_clear();
    Ok(scores)
}

fn print(rows: &Rows, scores: &[f64], (rejected, file): (u64, &Path), as_json: bool) {
    // The rows of a table name the file that they were made from.
    let place = |r: &Ranking| if r.file == file { format!("row {}", r.row) } else { format!("{} row {}", r.file.display(), r.row) };
    match rows {
        Rows::Single(rows) => {
            let mean = evaluate::stats::mean(scores);
            if as_json {
                let each: Vec<Value> = rows.iter().zip(scores).map(|((row, ..), s)| json!({ "row": row, "score": s })).collect();
                say!("{}", json!({ "rows": each, "mean": mean, "rejected": rejected }));
                return;
            }
            rows.iter().zip(scores).for_each(|((row, ..), s)| say!("row {row}: {s:.5}"));
            say!("{} rows, mean {:.5}", rows.len(), mean.unwrap_or(f64::NAN));
        }
        Rows::Ranked(rankings) => {
            let mut rest = scores;
            let mut lists = Vec::with_capacity(rankings.len());
            for ranking in rankings {
                let (now, later) = rest.split_at(ranking.answers.len());
                lists.push(now.to_vec());
                rest = later;
            }
            let report = preference::evaluate(rankings, &lists, SEED);
            if as_json {
                let row = |(r, s): (&Ranking, &Vec<f64>)| match r.file == file {
                    true => json!({ "row": r.row, "scores": s, "ranks": r.ranks }),
                    false => json!({ "file": r.file, "row": r.row, "scores": s, "ranks": r.ranks }),
                };
                let each: Vec<Value> = rankings.iter().zip(&lists).map(row).collect();
                let mut object = report.map(|r| r.summary()).unwrap_or_default();
                object.insert("rows".into(), Value::Array(each));
                object.insert("rejected".into(), json!(rejected));
                say!("{}", Value::Object(object));
                return;
            }
            for (ranking, scores) in rankings.iter().zip(&lists) {
                let scores: Vec<String> = scores.iter().map(|s| format!("{s:.5}")).collect();
                say!("{}: {}", place(ranking), scores.join(" "));
            }
            match report {
                None => say!("{} rankings, no pair that people told apart", rankings.len()),
                Some(r) => {
                    say!(
                        "accuracy {:.4} [{:.4}, {:.4}] over {} pairs of {} rankings",
                        r.accuracy,
                        r.accuracy_ci[0],
                        r.accuracy_ci[1],
                        r.pairs,
                        r.rankings
                    );
                    say!("longer wins {:.4}, shorter wins {:.4}, calibration error {:.4}", r.baseline_longer, r.baseline_shorter, r.ece);
                    if let Some(a) = r.judge_agreement {
                        say!("judges agree {:.4} over {} pairs of judgments", a.agreement, a.comparisons);
                    }
                }
            }
        }
    }
}
