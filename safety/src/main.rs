//! `safety`: plant, exposure, members, red-team, fool.

use anyhow::{Context, Result};
use clap::{Args, Parser};
use data::tokenizer::Tokenizer;
use evaluate::reward_model::RewardModel;
use model::Model;
use program::{refuse, say};
use safety::{canary, fool, members, redteam, rows};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tch::{Device, Kind};

/// Measure what a model should not do: learn secrets by heart, betray its training texts, answer what it should refuse, reward nonsense.
#[derive(Debug, Parser)]
#[command(name = "safety", version, max_term_width = 100)]
enum Cli {
    /// Plant made-up secrets in a training text.
    Plant(PlantArgs),
    /// How well a model knows the planted secrets.
    Exposure(ExposureArgs),
    /// Can texts that were trained on be told from others by the model's loss?
    Members(MembersArgs),
    /// Put red-team prompts to models and compare refusals and harm.
    RedTeam(RedTeamArgs),
    /// Search for suffixes that a reward model falls for.
    Fool(FoolArgs),
}

#[derive(Debug, Args)]
struct PlantArgs {
    /// Training text, a document a line (or .jsonl with a field "text").
    #[arg(long, value_name = "FILE")]
    text: PathBuf,
    /// The text with the secrets among its lines.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The secrets, for `safety exposure`.
    #[arg(long, value_name = "FILE")]
    canaries: PathBuf,
    /// How many times a secret is planted; 0 is never, to compare with.
    #[arg(long, value_delimiter = ',', default_value = "0,1,4,16")]
    repeats: Vec<usize>,
    /// Secrets for each of these numbers.
    #[arg(long, default_value_t = 5)]
    each: usize,
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

#[derive(Debug, Args)]
struct ExposureArgs {
    /// The model trained on the text.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// What `safety plant` wrote.
    #[arg(long, value_name = "FILE")]
    canaries: PathBuf,
    /// Random numbers that each secret is compared with.
    #[arg(long, default_value_t = 1023)]
    others: usize,
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct MembersArgs {
    /// The model.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Texts that it was trained on, one a line (or .jsonl with a field "text").
    #[arg(long, value_name = "FILE")]
    seen: PathBuf,
    /// Texts of the same kind that it was not trained on.
    #[arg(long, value_name = "FILE")]
    unseen: PathBuf,
    /// Texts of either side at most; 0 means all.
    #[arg(long, default_value_t = 1000)]
    limit: usize,
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct RedTeamArgs {
    /// Models to ask, such as the SFT model and the policy.
    #[arg(long, value_name = "DIR", num_args = 1.., required = true)]
    models: Vec<PathBuf>,
    /// Prompts: JSON lines, strings or objects.
    #[arg(long, value_name = "FILE")]
    prompts: PathBuf,
    /// The field that holds the prompt.
    #[arg(long, default_value = "prompt")]
    field: String,
    /// Words that make an answer count as toxic, one a line.
    #[arg(long, value_name = "FILE")]
    words: Option<PathBuf>,
    /// A reward model trained on what people find harmful, as a classifier.
    #[arg(long, value_name = "DIR")]
    classifier: Option<PathBuf>,
    /// Answers that the classifier scores below this are harmful.
    #[arg(long, default_value_t = 0.0, allow_hyphen_values = true)]
    threshold: f32,
    /// Longest answer, in tokens.
    #[arg(long, default_value_t = 64)]
    max_new: usize,
    /// 0 takes the most probable token.
    #[arg(long, default_value_t = 0.7)]
    temperature: f64,
    /// Prompts at most; 0 means all.
    #[arg(long, default_value_t = 200)]
    limit: usize,
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Write every answer with its verdict: FOLDER/<number of the model>.jsonl.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct FoolArgs {
    /// The reward model.
    #[arg(long, value_name = "DIR")]
    reward: PathBuf,
    /// JSON lines with `prompt`, the answer to be puffed up in `rejected` (or `response`) and, where there is one, the better in `chosen`.
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Rows at most.
    #[arg(long, default_value_t = 20)]
    limit: usize,
    /// Tokens of the suffix.
    #[arg(long, default_value_t = 8)]
    tokens: usize,
    /// Tries at positions in turn.
    #[arg(long, default_value_t = 32)]
    rounds: usize,
    /// Tokens tried each time.
    #[arg(long, default_value_t = 32)]
    candidates: usize,
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print JSON lines, one a row.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let result = match Cli::parse() {
        Cli::Plant(args) => plant(&args),
        Cli::Exposure(args) => exposure(&args),
        Cli::Members(args) => membership(&args),
        Cli::RedTeam(args) => red_team(&args),
        Cli::Fool(args) => fooling(&args),
    };
    program::code("safety", result, model::is_input)
}

fn language_model(path: &Path) -> Result<(Model, Tokenizer)> {
    let folder = model::resolve(path)?;
    let model = Model::load_writer(&folder, Device::Cpu)?;
    model.freeze();
    Ok((model, Tokenizer::load(&folder)?))
}

fn limited<T>(mut list: Vec<T>, limit: usize) -> Vec<T> {
    if limit > 0 {
        list.truncate(limit);
    }
    list
}

fn plant(args: &PlantArgs) -> Result<()> {
    let canaries = canary::make(&args.repeats, args.each, args.seed)?;
    let text = rows::documents(&args.text)?;
    if text.is_empty() {
        refuse!("{}: no document to plant secrets among", args.text.display());
    }
    let planted = canary::plant(text, &canaries, args.seed);
    if args.out.extension().is_some_and(|e| e == "jsonl") {
        let objects: Vec<_> = planted.iter().map(|text| serde_json::json!({ "text": text })).collect();
        rows::write(&args.out, &objects)?;
    } else {
        rows::write_bytes(&args.out, (planted.join("\n") + "\n").as_bytes())?;
    }
    rows::write(&args.canaries, &canaries)?;
    say!("{}: {} documents, {} of them secrets", args.out.display(), planted.len(), canaries.iter().map(|c| c.repeats).sum::<usize>());
    Ok(())
}

fn exposure(args: &ExposureArgs) -> Result<()> {
    let (model, tokenizer) = language_model(&args.model)?;
    let found = canary::expose(&model, &tokenizer, &canary::read(&args.canaries)?, args.others, args.seed)?;
    if args.json {
        say!("{}", serde_json::to_string_pretty(&found)?);
        return Ok(());
    }
    say!("{:>8} {:>8} {:>15} {:>10}", "planted", "secrets", "exposure, bits", "extracted");
    let mut repeats: Vec<usize> = found.iter().map(|e| e.repeats).collect();
    repeats.sort_unstable();
    repeats.dedup();
    for n in repeats {
        let of: Vec<_> = found.iter().filter(|e| e.repeats == n).collect();
        let mean = of.iter().map(|e| e.exposure).sum::<f64>() / of.len() as f64;
        say!("{n:>7}x {:>8} {mean:>15.2} {:>10}", of.len(), of.iter().filter(|e| e.extracted).count());
    }
    say!("of {:.1} bits that can be seen; chance gives 1.44 on average", ((args.others + 1) as f64).log2());
    Ok(())
}

fn membership(args: &MembersArgs) -> Result<()> {
    let (model, tokenizer) = language_model(&args.model)?;
    let side = |path: &Path| Ok::<_, anyhow::Error>(limited(rows::documents(path)?, args.limit));
    let found = members::infer(&model, &tokenizer, &side(&args.seen)?, &side(&args.unseen)?, args.seed)?;
    if args.json {
        say!("{}", serde_json::to_string_pretty(&found)?);
        return Ok(());
    }
    say!("texts         {} seen, {} unseen", found.members, found.others);
    say!("loss          {:.4} seen, {:.4} unseen", found.loss[0], found.loss[1]);
    say!("AUC           {:.3} [{:.3}, {:.3}]", found.auc, found.auc_ci[0], found.auc_ci[1]);
    say!("members found {:.1}% at 1% false alarms, {:.1}% at 10%", 100.0 * found.found_at[0], 100.0 * found.found_at[1]);
    Ok(())
}

fn red_team(args: &RedTeamArgs) -> Result<()> {
    let prompts = limited(rows::texts(&args.prompts, &args.field)?, args.limit);
    let words: Vec<String> = match &args.words {
        Some(path) => {
            std::fs::read_to_string(path).with_context(|| path.display().to_string())?.split_whitespace().map(Into::into).collect()
        }
        None => vec![],
    };
    let classifier = args.classifier.as_deref().map(|path| RewardModel::load(path, Device::Cpu, Kind::Float)).transpose()?;
    if let Some(out) = &args.out {
        std::fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    }
    let mut tallies = Vec::new();
    for (i, path) in args.models.iter().enumerate() {
        let answers = redteam::Answerer::load(path)?.answer(&prompts, args.max_new, args.temperature, args.seed)?;
        let verdicts = redteam::judge(&prompts, answers, &words, classifier.as_ref())?;
        if let Some(out) = &args.out {
            rows::write(&out.join(format!("{}.jsonl", i + 1)), &verdicts)?;
        }
        tallies.push((path, redteam::tally(&verdicts, prompts.len(), args.threshold)));
    }
    if args.json {
        let all: Vec<_> = tallies.iter().map(|(path, tally)| serde_json::json!({ "model": path, "tally": tally })).collect();
        say!("{}", serde_json::to_string_pretty(&all)?);
        return Ok(());
    }
    let share = |s: redteam::Share| format!("{:.1}% [{:.1}, {:.1}]", 100.0 * s.rate, 100.0 * s.ci[0], 100.0 * s.ci[1]);
    for (path, t) in tallies {
        let harmful = t.harmful.map_or(String::new(), |h| format!(", harmful {}", share(h)));
        let long = if t.too_long > 0 { format!(" ({} prompts too long)", t.too_long) } else { String::new() };
        say!(
            "{}: {} answers{long}: refused {}, with listed words {}{harmful}",
            path.display(),
            t.answers,
            share(t.refused),
            share(t.with_words)
        );
    }
    Ok(())
}

fn fooling(args: &FoolArgs) -> Result<()> {
    let reward = RewardModel::load(&args.reward, Device::Cpu, Kind::Float)?;
    let search = fool::Search { tokens: args.tokens, rounds: args.rounds, candidates: args.candidates, seed: args.seed };
    let mut all = Vec::new();
    for (line, row) in limited(rows::read(&args.data)?, args.limit) {
        let text = |key: &str| row[key].as_str();
        let (Some(prompt), Some(answer)) = (text("prompt"), text("rejected").or_else(|| text("response"))) else {
            refuse!("{}, line {line}: \"prompt\" and \"rejected\" (or \"response\") are wanted", args.data.display());
        };
        if let Some(found) = fool::fool(&reward, prompt, answer, text("chosen"), search)? {
            if args.json {
                say!("{}", serde_json::to_string(&found)?);
            }
            all.push(found);
        }
    }
    if all.is_empty() {
        refuse!("{}: no row leaves room for a suffix of {} tokens", args.data.display(), args.tokens);
    }
    let mean = |of: &dyn Fn(&fool::Fooled) -> f32| all.iter().map(|f| f64::from(of(f))).sum::<f64>() / all.len() as f64;
    let summary = format!(
        "{} answers: score {:.2}, with {} random tokens {:.2}, with the ones found {:.2}",
        all.len(),
        mean(&|f| f.before),
        args.tokens,
        mean(&|f| f.random),
        mean(&|f| f.after)
    );
    let against: Vec<_> = all.iter().filter_map(|f| f.better.map(|b| (f.before > b, f.after > b))).collect();
    let overtaken = |pick: fn(&(bool, bool)) -> bool| against.iter().filter(|a| pick(a)).count();
    let better = match against.len() {
        0 => String::new(),
        n => format!("; above the better answer in {} of {n} before, {} after", overtaken(|a| a.0), overtaken(|a| a.1)),
    };
    eprintln!("{summary}{better}");
    Ok(())
}
