//! `dist plan`: does a run fit a cluster, and where does its time go?

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};
use dist::plan::{self, Cluster, Job, Layout, Plan, Recompute, Shape, States, Zero};
use program::{input, refuse, say};
use std::path::Path;
use std::process::ExitCode;

/// Plan what is larger than the machine at hand.
#[derive(Debug, Parser)]
#[command(name = "dist", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say whether a model, a batch and a cluster fit together, how best to spread them, and where the time goes.
    Plan(PlanArgs),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Formulas, sources, and how far they were from measured runs: docs/parallelism.md. A layout is chosen unless --tensor, --pipeline, \
                        --zero, --micro or --recompute fix it; copies (data) are the devices that are left."
)]
struct PlanArgs {
    /// 124m, 1.5b, 7b, 13b, 70b, 175b, 530b, or a Hugging Face folder (its config.json).
    #[arg(long, value_name = "NAME|DIR")]
    model: String,
    /// Devices in all.
    #[arg(long, value_name = "N")]
    devices: u64,
    /// What they are: v100, a100 or h100; the options below change single figures.
    #[arg(long, value_name = "KIND", default_value = "a100")]
    kind: String,
    /// Tokens of a sequence.
    #[arg(long, value_name = "N", default_value_t = 4096)]
    context: u64,
    /// Sequences of an optimiser step, all devices together.
    #[arg(long, value_name = "N", default_value_t = 1024)]
    batch: u64,
    /// Tokens of the whole run, for its days.
    #[arg(long, value_name = "N")]
    tokens: Option<f64>,
    /// Bytes a weight: mixed (2 + 2 + 12, the ZeRO paper's) or ours (4 + 4 + 8).
    #[arg(long, value_enum, default_value_t = Bytes::Mixed)]
    states: Bytes,
    /// Devices of one machine.
    #[arg(long, value_name = "N")]
    per_node: Option<u64>,
    /// Gigabytes of a device.
    #[arg(long, value_name = "GB")]
    memory: Option<f64>,
    /// Peak TFLOP/s of a device.
    #[arg(long, value_name = "TFLOPS")]
    peak: Option<f64>,
    /// Share of the peak that products reach.
    #[arg(long, value_name = "SHARE")]
    efficiency: Option<f64>,
    /// GB/s of a device inside its machine, one direction.
    #[arg(long, value_name = "GB/S")]
    inside: Option<f64>,
    /// GB/s of a device to other machines, one direction.
    #[arg(long, value_name = "GB/S")]
    between: Option<f64>,
    /// Microseconds until the first byte arrives.
    #[arg(long, value_name = "US")]
    latency: Option<f64>,
    /// Devices that share every matrix.
    #[arg(long, value_name = "N")]
    tensor: Option<u64>,
    /// Stages of blocks.
    #[arg(long, value_name = "N")]
    pipeline: Option<u64>,
    /// What the copies cut: 0 nothing, 1 optimiser states, 2 gradients too, 3 weights too.
    #[arg(long, value_name = "STAGE", value_parser = clap::value_parser!(u8).range(0..=3))]
    zero: Option<u8>,
    /// Sequences of a micro-batch.
    #[arg(long, value_name = "N")]
    micro: Option<u64>,
    /// What the backward pass computes again.
    #[arg(long, value_enum)]
    recompute: Option<Again>,
    /// Layouts to show.
    #[arg(long, value_name = "N", default_value_t = 3)]
    top: usize,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Bytes {
    Mixed,
    Ours,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Again {
    Nothing,
    Attention,
    Blocks,
}

fn main() -> ExitCode {
    let Command::Plan(args) = Cli::parse().command;
    program::code("dist", run(&args), |_| None)
}

fn run(args: &PlanArgs) -> anyhow::Result<()> {
    let shape = shape(&args.model)?;
    let cluster = cluster(args)?;
    let states = if let Bytes::Ours = args.states { States::OURS } else { States::MIXED };
    let job = Job { context: args.context, batch: args.batch, states };
    if job.context == 0 || job.batch == 0 {
        refuse!("--context and --batch must be at least 1");
    }
    let fixed = args.tensor.is_some() || args.pipeline.is_some() || args.zero.is_some() || args.micro.is_some() || args.recompute.is_some();
    let plans = if fixed { vec![one(args, &shape, &cluster, &job)?] } else { plan::best(&shape, &cluster, &job, args.top.max(1)) };
    if plans.is_empty() {
        refuse!("no layout divides {} devices, {} blocks and a batch of {}", cluster.devices, shape.layers, job.batch);
    }
    say!(
        "{}: {:.2} billion weights · {} devices of {:.0} GB, {:.0} TFLOP/s · a step of {} × {} tokens",
        args.model,
        shape.weights() / 1e9,
        cluster.devices,
        cluster.memory / 1e9,
        cluster.peak / 1e12,
        job.batch,
        job.context
    );
    plans.iter().for_each(|plan| print(plan, &cluster, args.tokens));
    Ok(())
}

fn shape(model: &str) -> anyhow::Result<Shape> {
    if let Some(shape) = Shape::named(model) {
        return Ok(shape);
    }
    let path = Path::new(model);
    let file = [path.to_path_buf(), path.join("config.json"), path.join("model/config.json")].into_iter().find(|p| p.is_file());
    let Some(file) = file else {
        refuse!("--model {model}: neither a known name (124m, 1.5b, 7b, 13b, 70b, 175b, 530b) nor a folder with config.json");
    };
    let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let wrong = |why: String| input(format!("{}: {why}", file.display()));
    let config = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
    Shape::from_hf(&config).map_err(wrong)
}

fn cluster(args: &PlanArgs) -> anyhow::Result<Cluster> {
    let Some(named) = Cluster::named(&args.kind, args.devices) else {
        refuse!("--kind {}: known are v100, a100 and h100 (single figures can be given: --memory, --peak, ...)", args.kind);
    };
    let cluster = Cluster {
        per_node: args.per_node.unwrap_or(named.per_node),
        memory: args.memory.map_or(named.memory, |gb| gb * 1e9),
        peak: args.peak.map_or(named.peak, |t| t * 1e12),
        efficiency: args.efficiency.unwrap_or(named.efficiency),
        inside: args.inside.map_or(named.inside, |gb| gb * 1e9),
        between: args.between.map_or(named.between, |gb| gb * 1e9),
        latency: args.latency.map_or(named.latency, |us| us * 1e-6),
        ..named
    };
    let positive = [cluster.memory, cluster.peak, cluster.efficiency, cluster.inside, cluster.between];
    let sound = cluster.devices > 0 && cluster.per_node > 0 && positive.iter().all(|x| *x > 0.0 && x.is_finite());
    if !sound {
        refuse!("figures of the cluster must be above 0");
    }
    Ok(cluster)
}

/// The layout that the arguments fix; what they leave open is 1, ZeRO off, nothing again.
fn one(args: &PlanArgs, shape: &Shape, cluster: &Cluster, job: &Job) -> anyhow::Result<Plan> {
    let (tensor, pipeline) = (args.tensor.unwrap_or(1), args.pipeline.unwrap_or(1));
    if tensor == 0 || pipeline == 0 {
        refuse!("--tensor and --pipeline must be at least 1");
    }
    let Some(data) = tensor.checked_mul(pipeline).map(|shared| cluster.devices / shared).filter(|&data| data > 0) else {
        refuse!("--tensor {tensor} × --pipeline {pipeline} are more than the cluster's {} devices", cluster.devices);
    };
    let layout = Layout {
        tensor,
        pipeline,
        data,
        zero: [Zero::Off, Zero::Optimizer, Zero::Gradients, Zero::Weights][usize::from(args.zero.unwrap_or(0))],
        micro: args.micro.unwrap_or(1),
        recompute: match args.recompute {
            Some(Again::Attention) => Recompute::Attention,
            Some(Again::Blocks) => Recompute::Blocks,
            _ => Recompute::Nothing,
        },
    };
    plan::evaluate(shape, cluster, job, layout).map_err(input)
}

fn print(plan: &Plan, cluster: &Cluster, tokens: Option<f64>) {
    let (m, t) = (&plan.memory, &plan.time);
    let gigabytes = |bytes: f64| format!("{:.1}", bytes / 1e9);
    say!("\n  {}", plan.layout);
    say!(
        "    memory  {} of {:.0} GB{}: weights {}, gradients {}, optimiser {}, activations {}",
        gigabytes(m.total()),
        cluster.memory / 1e9,
        if plan.fits { "" } else { ": DOES NOT FIT (a tenth is left free)" },
        gigabytes(m.weights),
        gigabytes(m.gradients),
        gigabytes(m.optimizer),
        gigabytes(m.activations)
    );
    let share = |part: f64| format!("{:.1}%", 100.0 * part / t.total());
    say!(
        "    step    {:.2} s: products {}, computed again {}, bubble {}, tensor {}, pipeline {}, data {}",
        t.total(),
        share(t.products),
        share(t.again),
        share(t.bubble),
        share(t.tensor),
        share(t.pipeline),
        share(t.data)
    );
    let days = tokens.map(|n| format!(" · {:.1} days for {n:.3e} tokens", n / plan.tokens_per_s / 86_400.0)).unwrap_or_default();
    say!("    speed   {:.0} tokens/s · {:.1}% of the peak{days}", plan.tokens_per_s, 100.0 * plan.utilisation);
}
