//! `recipes`: writes the demo's world and scores samples of both recipes.

use anyhow::{Context, Result};
use clap::{Parser, Subcommand, ValueEnum};
use data::config::{ConfigError, RewardConfig};
use data::error::DataError;
use program::say;
use recipes::samples::{SampleError, mean, score_file};
use recipes::{demo, e2e, in_context, judgments, pairs, shapes};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Data and task scores of the recipes.
#[derive(Parser)]
#[command(name = "recipes", version)]
struct Cli {
    #[command(subcommand)]
    recipe: Recipe,
}

#[derive(Subcommand)]
enum Recipe {
    /// The small world of configs/demo, whose true preference is known.
    Demo {
        #[command(subcommand)]
        action: Demo,
    },
    /// Restaurant descriptions (E2E NLG) of configs/restaurants.
    E2e {
        #[command(subcommand)]
        action: E2e,
    },
    /// The task of configs/family-in-context, which can only be learned from the prompt.
    InContext {
        #[command(subcommand)]
        action: InContext,
    },
    /// Pictures of shapes with captions, of configs/family-images.
    Shapes {
        #[command(subcommand)]
        action: Shapes,
    },
    /// The made-up pairs of configs/family-gpt1: entailment and similarity.
    Pairs {
        #[command(subcommand)]
        action: Pairs,
    },
    /// Chores with tables of judgments.
    Judgments {
        #[command(subcommand)]
        action: Judgments,
    },
}

#[derive(Subcommand)]
enum InContext {
    /// Write documents to learn from, and items with examples to ask about.
    Generate {
        /// Folder; made if absent.
        #[arg(long)]
        out: PathBuf,
        /// Equal seeds write equal bytes.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Documents to learn from.
        #[arg(long, default_value_t = 60_000)]
        documents: usize,
        /// Lines of a document.
        #[arg(long, value_name = "N", default_value_t = in_context::LINES)]
        lines: usize,
        /// Items of the test.
        #[arg(long, default_value_t = 500)]
        items: usize,
    },
}

#[derive(Subcommand)]
enum Shapes {
    /// Write pictures (PNG) and rows to learn from and to measure by: unseen pictures, and unseen pairs of colour and shape.
    Generate {
        /// Folder; made if absent.
        #[arg(long)]
        out: PathBuf,
        /// Pictures to learn from.
        #[arg(long, default_value_t = 8000)]
        count: usize,
        /// Pictures of each measure.
        #[arg(long, default_value_t = 500)]
        heldout: usize,
        /// Equal seeds write equal bytes.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

#[derive(Subcommand)]
enum Pairs {
    /// Write pairs to learn from and pairs held out, of both kinds.
    Generate {
        /// Folder; made if absent.
        #[arg(long)]
        out: PathBuf,
        /// Equal seeds write equal bytes.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Pairs to learn from.
        #[arg(long, default_value_t = 4000)]
        train: usize,
        /// Pairs held out.
        #[arg(long, default_value_t = 1000)]
        test: usize,
    },
}

#[derive(Subcommand)]
enum Demo {
    /// Write text, demonstrations, rankings and prompts into a folder.
    Generate {
        /// Folder; made if absent.
        #[arg(long)]
        out: PathBuf,
        /// Equal seeds write equal bytes.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// How much to write.
        #[arg(long, value_enum, default_value_t = Size::Demo)]
        size: Size,
    },
    /// Let the simulated judges rank the open items of a table, as `label sample` writes it.
    Judge {
        /// Table with open items.
        #[arg(long = "in", value_name = "FILE")]
        input: PathBuf,
        /// The judgments: a table, or JSON Lines if the name ends in .jsonl.
        #[arg(long = "out", value_name = "FILE")]
        output: PathBuf,
        /// Judges an item, of six.
        #[arg(long, default_value_t = 2)]
        judges: usize,
        /// The true preference itself instead of judges.
        #[arg(long, conflicts_with = "judges")]
        truth: bool,
        /// Equal seeds write equal bytes.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Add the true preference (`gold`) and its parts to samples.
    Score(Files),
    /// Write conversations with a system prompt and questions after a place: to learn from, ranked, and waiting for an answer.
    Chat {
        /// Folder; made if absent.
        #[arg(long)]
        out: PathBuf,
        /// Equal seeds write equal bytes.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Add the true preference and its parts to samples of such conversations.
    ChatScore(Files),
    /// Write what a crowd of judges of very unequal reliability said about sets of four answers, and the truth to measure by.
    Crowd {
        /// Folder; made if absent.
        #[arg(long)]
        out: PathBuf,
        /// Equal seeds write equal bytes.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Items that the crowd ranks.
        #[arg(long, default_value_t = demo::Mix::default().items)]
        items: usize,
        /// Further items with nothing but the truth.
        #[arg(long, default_value_t = demo::Mix::default().heldout)]
        heldout: usize,
        /// Judges in all.
        #[arg(long, default_value_t = demo::Mix::default().judges)]
        judges: usize,
        /// Judges an item.
        #[arg(long, default_value_t = demo::Mix::default().each)]
        each: usize,
    },
}

#[derive(Subcommand)]
enum Judgments {
    /// Cut the rankings that a reward.toml names into two tables by group, as `reward` with this seed would.
    Split {
        /// A reward.toml.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Seed of the split.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Table to learn from.
        #[arg(long, value_name = "FILE")]
        train: PathBuf,
        /// Table to measure by; rows that are no rankings go to a quarantine file beside it.
        #[arg(long, value_name = "FILE")]
        heldout: PathBuf,
    },
    /// One ranking an item by majority voting: every judge has one vote a pair.
    Majority {
        /// A table of judgments.
        #[arg(long = "in", value_name = "FILE")]
        input: PathBuf,
        /// A table of rankings without judges.
        #[arg(long = "out", value_name = "FILE")]
        output: PathBuf,
    },
}

#[derive(Subcommand)]
enum E2e {
    /// Write demonstrations (columns `mr` and `ref`) as JSON Lines, each with variations: other names, slots in another order.
    Augment {
        /// CSV file of the E2E data.
        #[arg(long = "in", value_name = "FILE")]
        input: PathBuf,
        /// Rows with `prompt`, `response` and `group`; rows that are no demonstration go to a quarantine file beside it.
        #[arg(long = "out", value_name = "FILE")]
        output: PathBuf,
        /// Variations of each row.
        #[arg(long, default_value_t = 4)]
        copies: usize,
        /// Equal seeds write equal bytes.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Add the share of slots said rightly, slots made up, repetition and length to samples.
    Score(Files),
}

#[derive(clap::Args)]
struct Files {
    /// JSON Lines with `prompt` and `response`.
    #[arg(long = "in", value_name = "FILE")]
    input: PathBuf,
    /// The same rows with the scores added.
    #[arg(long = "out", value_name = "FILE")]
    output: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Size {
    /// About 5 MB.
    Demo,
    /// For tests: about 0.3 MB.
    Tiny,
}

fn main() -> ExitCode {
    program::code("recipes", run(Cli::parse()), |error| match error.downcast_ref::<DataError>() {
        Some(error) => Some(error.is_input()),
        None => (error.is::<ConfigError>() || error.is::<SampleError>() || error.is::<demo::GenerateError>()).then_some(true),
    })
}

fn run(cli: Cli) -> Result<()> {
    match cli.recipe {
        Recipe::Demo { action: Demo::Generate { out, seed, size } } => {
            let size = match size {
                Size::Demo => demo::Size::DEMO,
                Size::Tiny => demo::Size::TINY,
            };
            let w = demo::generate(&out, seed, &size)?;
            say!(
                "{}: {} documents, {} demonstrations (mean gold {:.2}), {} rankings of {} prompts, {} + {} prompts",
                out.display(),
                w.documents,
                w.demonstrations,
                w.demonstration_gold.get("all").copied().unwrap_or(0.0),
                w.rankings,
                w.ranked_prompts,
                w.prompts,
                w.heldout
            );
        }
        Recipe::Demo { action: Demo::Judge { input, output, judges, truth, seed } } => {
            program::keep_input(&input, &output)?;
            let people = if truth { demo::people::People::Truth } else { demo::people::People::Judges(judges) };
            let n = demo::people::judge(&input, &output, people, seed)?;
            say!("{}: {} judgments of {} items ({} rows are no open items)", output.display(), n.judgments, n.items, n.skipped);
        }
        Recipe::Demo { action: Demo::Score(files) } => {
            let rows = score_file(&files.input, &files.output, |p, r| Ok(demo::gold(p, r)))?;
            say!(
                "{} samples: gold {:.3}, slots right {:.1}%, wrong or invented {:.2}, repeated {:.2}, words {:.1}",
                rows.len(),
                mean(&rows, |g| g.gold),
                100.0 * mean(&rows, |g| g.right as f64 / g.given.max(1) as f64),
                mean(&rows, |g| g.wrong as f64),
                mean(&rows, |g| g.repeated as f64),
                mean(&rows, |g| g.words as f64)
            );
        }
        Recipe::Demo { action: Demo::Chat { out, seed } } => {
            let size = demo::ChatSize::default();
            demo::chat(&out, seed, &size).with_context(|| out.display().to_string())?;
            say!(
                "{}: {} conversations, {} rankings, {} + {} that wait for an answer",
                out.display(),
                size.demonstrations,
                size.ranked * size.judges,
                size.prompts,
                size.heldout
            );
        }
        Recipe::Demo { action: Demo::ChatScore(files) } => {
            let rows = score_file(&files.input, &files.output, demo::chat_gold)?;
            say!(
                "{} answers: gold {:.3}, right {:.1}%, wrong values {:.2}, manner obeyed {:.1}%, words {:.1}",
                rows.len(),
                mean(&rows, |g| g.gold),
                100.0 * mean(&rows, |g| f64::from(u8::from(g.right))),
                mean(&rows, |g| g.wrong as f64),
                100.0 * mean(&rows, |g| f64::from(u8::from(g.obeyed))),
                mean(&rows, |g| g.words as f64)
            );
        }
        Recipe::Demo { action: Demo::Crowd { out, seed, items, heldout, judges, each } } => {
            let crowd = demo::crowd(&out, seed, &demo::Mix { items, heldout, judges, each, ..demo::Mix::default() })?;
            say!(
                "{}: {} rankings by {} judges, who agree with the truth on {:.1}% of the pairs that both tell apart",
                out.display(),
                crowd.rankings,
                crowd.judges.len(),
                100.0 * crowd.agreement
            );
        }
        Recipe::InContext { action: InContext::Generate { out, seed, documents, lines, items } } => {
            if lines == 0 {
                return Err(program::input("--lines 0: a document has at least one line"));
            }
            in_context::generate(&out, seed, in_context::Size { documents, lines, items }).with_context(|| out.display().to_string())?;
            let best: Vec<String> = [0, 1, 2, 4, 8, 16].iter().map(|&k| format!("{k}: {:.3}", in_context::ideal(k))).collect();
            say!(
                "{}: {documents} documents of {lines} lines, {items} items; the best guess after so many examples: {}",
                out.display(),
                best.join(", ")
            );
        }
        Recipe::Shapes { action: Shapes::Generate { out, count, heldout, seed } } => {
            shapes::generate(&out, seed, shapes::Count { train: count, heldout })?;
            say!("{}: {count} pictures to learn from, twice {heldout} to measure by", out.display());
        }
        Recipe::Pairs { action: Pairs::Generate { out, seed, train, test } } => {
            pairs::generate(&out, seed, pairs::Size { train, test }).with_context(|| out.display().to_string())?;
            say!("{}: {train} + {test} pairs for entailment, and as many for similarity", out.display());
        }
        Recipe::Judgments { action: Judgments::Split { config, seed, train, heldout } } => {
            let config = data::config::load(&config, &[])?;
            keep_rankings(&config, &train, &heldout)?;
            let [learn, measure] = judgments::split(&config, seed, &train, &heldout, &heldout.with_extension("quarantine.jsonl"))?;
            say!("{}: {learn} judgments; {}: {measure}", train.display(), heldout.display());
        }
        Recipe::Judgments { action: Judgments::Majority { input, output } } => {
            program::keep_input(&input, &output)?;
            let [items, rows] = judgments::majority(&input, &output)?;
            say!("{}: {items} items of {rows} judgments", output.display());
        }
        Recipe::E2e { action: E2e::Augment { input, output, copies, seed } } => {
            program::keep_input(&input, &output)?;
            let quarantine = output.with_extension("quarantine.jsonl");
            let a = e2e::augment(&input, &output, &quarantine, copies, seed)?;
            say!("{}: {} demonstrations from {} rows ({} in quarantine)", output.display(), a.written, a.read, a.rejected);
        }
        Recipe::E2e { action: E2e::Score(files) } => {
            let rows = score_file(&files.input, &files.output, |p, r| e2e::score(p, r).map_err(|e| e.to_string()))?;
            say!(
                "{} samples: slots right {:.1}%, made up {:.2}, repeated {:.2}, words {:.1}",
                rows.len(),
                100.0 * mean(&rows, |s| s.coverage),
                mean(&rows, |s| s.hallucinated as f64),
                mean(&rows, |s| s.repeated as f64),
                mean(&rows, |s| s.words as f64)
            );
        }
    }
    Ok(())
}

/// Refuses to write a side of the split over what is read, or over the other side.
fn keep_rankings(config: &RewardConfig, train: &Path, heldout: &Path) -> Result<()> {
    for source in &config.data.sources {
        for (file, _) in data::source::files(source)? {
            for (name, out) in [("--train", train), ("--heldout", heldout)] {
                if program::is_same_file(&file, out) {
                    program::refuse!("{} is to be read and to be written: give {name} another name", out.display());
                }
            }
        }
    }
    if program::is_same_file(train, heldout) {
        program::refuse!("{} is named for --train and for --heldout: name two files", heldout.display());
    }
    Ok(())
}
