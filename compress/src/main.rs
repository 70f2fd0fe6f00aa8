//! `compress`: gguf, prune, sweep.

use anyhow::Context;
use clap::{Args, Parser, ValueEnum};
use compress::{blocks::Format, gguf, prune, sweep};
use data::tokenizer::Tokenizer;
use model::Model;
use program::{refuse, say};
use std::path::PathBuf;
use std::process::ExitCode;
use tch::Device;

/// Make a model smaller: fewer bits, zeros, GGUF for llama.cpp; and see what it costs.
#[derive(Debug, Parser)]
#[command(name = "compress", version, max_term_width = 100)]
enum Cli {
    /// Write a language model as a GGUF file, its matrices in so many bits.
    Gguf(GgufArgs),
    /// Write a model folder with weights or attention heads set to zero.
    Prune(PruneArgs),
    /// Measure the loss on a text as bits, weights and heads are taken away.
    Sweep(SweepArgs),
}

/// How matrices are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Type {
    /// float32
    F32,
    /// float16
    F16,
    /// Eight bits, a scale for 32 weights
    #[value(name = "q8_0")]
    Q8_0,
    /// Four bits, a scale for 32 weights
    #[value(name = "q4_0")]
    Q4_0,
}

#[derive(Debug, Args)]
struct GgufArgs {
    /// A Hugging Face model folder, or a run folder (its model/ is taken).
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// How matrices are stored; vectors and positions stay in float32.
    #[arg(long = "type", value_enum, default_value_t = Type::F16)]
    format: Type,
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Leave the tokenizer out.
    #[arg(long)]
    no_tokenizer: bool,
    /// Write a model folder, too, with the weights as the file has them, for `evaluate` and the stages.
    #[arg(long, value_name = "DIR")]
    rounded: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[group(id = "what", required = true, multiple = true)]
struct PruneWhat {
    /// Share of each matrix to set to zero, the smallest first.
    #[arg(long, value_name = "SHARE")]
    sparsity: Option<f64>,
    /// Attention heads to take out, those least read first.
    #[arg(long, value_name = "N")]
    heads: Option<usize>,
}

#[derive(Debug, Args)]
struct PruneArgs {
    /// A Hugging Face model folder, or a run folder (its model/ is taken).
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    #[command(flatten)]
    what: PruneWhat,
    /// The folder to write.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

#[derive(Debug, Args)]
struct SweepArgs {
    /// A Hugging Face model folder, or a run folder (its model/ is taken).
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// The text.
    #[arg(long, value_name = "FILE")]
    text: PathBuf,
    /// Write a page with the curves, too.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let result = match Cli::parse() {
        Cli::Gguf(args) => run_gguf(&args),
        Cli::Prune(args) => run_prune(&args),
        Cli::Sweep(args) => run_sweep(&args),
    };
    program::code("compress", result, model::is_input)
}

fn run_gguf(args: &GgufArgs) -> anyhow::Result<()> {
    let format = match args.format {
        Type::F32 => Format::F32,
        Type::F16 => Format::F16,
        Type::Q8_0 => Format::Q8_0,
        Type::Q4_0 => Format::Q4_0,
    };
    let folder = model::resolve(&args.model)?;
    let written = gguf::export(&folder, &args.out, format, !args.no_tokenizer)?;
    let (bytes, name) = (written.bytes as f64 / 1e6, format.name());
    say!("{}: {bytes:.2} MB, {} matrices in {name}, {} tensors in f32", args.out.display(), written.in_format, written.in_float);
    written.notes.iter().for_each(|note| eprintln!("compress: {note}"));
    if let Some(out) = &args.rounded {
        gguf::round_folder(&folder, out, format)?;
        say!("{}", out.display());
    }
    Ok(())
}

fn run_prune(args: &PruneArgs) -> anyhow::Result<()> {
    let folder = model::resolve(&args.model)?;
    let model = Model::load(&folder, Device::Cpu)?;
    let c = model.config();
    let mut how = String::new();
    if let Some(n) = args.what.heads {
        if n >= c.layers * c.heads {
            refuse!("--heads {n}: the model has {} in all", c.layers * c.heads);
        }
        let gone = prune::heads_by_weight(&model)?;
        prune::remove_heads(&model, &gone[..n])?;
        let list: Vec<String> = gone[..n].iter().map(|h| format!("{}.{}", h.layer, h.head)).collect();
        say!("heads taken out (block.head): {}", list.join(" "));
        how += &format!("heads = {list:?}\n");
    }
    if let Some(share) = args.what.sparsity {
        if !(0.0..1.0).contains(&share) {
            refuse!("--sparsity {share}: a share below 1 is wanted");
        }
        let (zeros, all) = prune::magnitude(&model, share);
        say!("{zeros} of {all} weights of the blocks' maps are zero");
        how += &format!("sparsity = {share:?}\n");
    }
    prune::write_folder(&model, &folder, &args.out, prune::Done { stage: "prune", how: &how })?;
    say!("{}", args.out.display());
    Ok(())
}

fn run_sweep(args: &SweepArgs) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(&args.text).with_context(|| args.text.display().to_string())?;
    let folder = model::resolve(&args.model)?;
    let model = Model::load_writer(&folder, Device::Cpu)?;
    model.freeze();
    let ids = Tokenizer::load(&folder)?.encode(&text)?;
    if ids.len() < 2 {
        refuse!("{}: {} token: the first one is not predicted, so there must be two or more", args.text.display(), ids.len());
    }
    let points = sweep::sweep(&model, &ids, &mut |p| eprintln!("{} {:.2}: {:.4}", p.what, p.amount, p.loss))?;
    match args.json {
        true => say!("{}", serde_json::to_string_pretty(&points)?),
        false => program::text(sweep::table(&points)),
    }
    if let Some(path) = &args.html {
        let page = sweep::page(&format!("{}: smaller", folder.display()), &points);
        std::fs::write(path, page).with_context(|| path.display().to_string())?;
    }
    Ok(())
}
