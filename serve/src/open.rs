//! From a folder's name to a model that writes, its tokenizer and its template.

use anyhow::Result;
use data::chat::ChatTemplate;
use data::config::{Device, Precision};
use data::tokenizer::Tokenizer;
use model::blocks::Format;
use model::{Activations, Config, Model};
use program::{input, refuse};
use std::path::PathBuf;
use train::device;

/// How the matrices of blocks and head stand in memory; all else is float32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Weights {
    /// float32
    Float,
    /// Eight bits, a scale for 32 weights; computes in float32 on the CPU
    #[value(name = "q8_0")]
    Q8_0,
    /// Four bits, a scale for 32 weights; computes in float32 on the CPU
    #[value(name = "q4_0")]
    Q4_0,
    /// As q8_0, and what meets them is rounded to eight bits too: fast on processors with AVX2 or AVX512-VNNI
    Int8,
}

impl Weights {
    /// What the matrices become, and what meets them.
    fn format(self) -> Option<(Format, Activations)> {
        match self {
            Weights::Float => None,
            Weights::Q8_0 => Some((Format::Q8_0, Activations::Sixteen)),
            Weights::Q4_0 => Some((Format::Q4_0, Activations::Sixteen)),
            Weights::Int8 => Some((Format::Q8_0, Activations::Eight)),
        }
    }
}

/// The model and the machine.
#[derive(Debug, clap::Args)]
pub struct ModelArgs {
    /// A Hugging Face model folder, or a run folder (its model/ is taken).
    #[arg(long, value_name = "DIR", required = true)]
    pub model: Option<PathBuf>,
    /// CPU threads; 0 means all cores.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub threads: usize,
    /// Compute in float32, not in bfloat16 where the processor has it.
    #[arg(long)]
    pub float32: bool,
    /// How the model's matrices stand in memory.
    #[arg(long, value_enum, value_name = "TYPE", default_value_t = Weights::Float)]
    pub weights: Weights,
    /// Tokens that a conversation may have, its answer among them [default: the model's context]. Fewer take less memory.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub context: Option<u32>,
}

/// What belongs to a model that writes.
pub struct Opened {
    /// The folder, resolved.
    pub folder: PathBuf,
    /// Shape and special tokens; its context is that of conversations here.
    pub config: Config,
    /// The folder's tokenizer.
    pub tokenizer: Tokenizer,
    /// How a conversation becomes text; none where the folder has no template.
    pub template: Option<ChatTemplate>,
}

impl Opened {
    /// Loads the folder; the weights, frozen, go their own way.
    pub fn new(args: &ModelArgs) -> Result<(Opened, Model)> {
        let named = args.model.as_deref().ok_or_else(|| input("--model is missing"))?;
        let format = args.weights.format();
        let device = device::pick(if format.is_some() { Device::Cpu } else { Device::Auto }, 0)?;
        device::set_threads(args.threads, std::thread::available_parallelism().map_or(1, |n| n.get()));
        let folder = model::resolve(named)?;
        let wanted = if args.float32 { Precision::Float32 } else { Precision::Auto };
        let mut model = Model::load_writer(&folder, device)?.with_compute(device::precision(wanted, device));
        model.freeze();
        let mut config = model.config().clone();
        if let Some(context) = args.context {
            if context as usize > config.context {
                refuse!("--context {context}: the model's own context is {}, and no more is possible", config.context);
            }
            config.context = context as usize;
        }
        if let Some((format, activations)) = format {
            let fit = model.quantise(format, activations)?;
            if let Some(first) = fit.in_float.first() {
                let (n, all) = (fit.in_float.len(), fit.in_float.len() + fit.in_format);
                eprintln!("serve: {n} of {all} matrices stay in float32, since their rows are no multiple of 32: {first}, ...");
            }
        }
        let tokenizer = Tokenizer::load(&folder)?;
        let template = tokenizer.chat_template().is_some().then(|| ChatTemplate::from_folder(&folder)).transpose()?;
        if let Some(template) = &template {
            template.check(&tokenizer)?;
        }
        Ok((Opened { folder, config, tokenizer, template }, model))
    }

    /// Tokens that end an answer of a conversation.
    pub fn stop_ids(&self) -> Vec<u32> {
        let mut ids = self.template.as_ref().map_or_else(|| vec![self.tokenizer.eos()], |t| t.stop_ids(&self.tokenizer));
        ids.extend(self.config.eos.iter().filter(|id| !ids.contains(id)).copied().collect::<Vec<_>>());
        ids
    }
}
