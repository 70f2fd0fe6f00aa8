//! From a folder's name to a model and its tokenizer.

use crate::cli::{Device, ModelArgs, Weights};
use crate::exit::input;
use data::tokenizer::Tokenizer;
use model::blocks::Format;
use model::{Activations, HeadKind, Model};
use std::path::{Path, PathBuf};

/// A model ready to be asked.
pub struct Opened {
    /// The model folder, resolved.
    pub folder: PathBuf,
    /// The weights, without gradients.
    pub model: Model,
    /// The folder's tokenizer; a folder without one still takes ids.
    tokenizer: Option<Tokenizer>,
}

/// Loads the folder and checks that the model is of the wanted kind.
pub fn open(args: &ModelArgs, head: HeadKind) -> anyhow::Result<Opened> {
    let device = device(args)?;
    let folder = model::resolve(&args.model)?;
    match model::kind_of(&folder)? {
        model::Kind::Decoder => {}
        model::Kind::EncoderDecoder => {
            return Err(input(format!("{}: an encoder-decoder, which translates: use `evaluate translate`", folder.display())));
        }
        model::Kind::Encoder => {
            let use_others = "use `evaluate fill-mask` or `evaluate classify`";
            return Err(input(format!("{}: an encoder, which fills masked places or names classes: {use_others}", folder.display())));
        }
    }
    let model = Model::load(&folder, device)?;
    let at = folder.display();
    match (model.head(), head) {
        (HeadKind::Scalar, HeadKind::Lm) => {
            return Err(input(format!(
                "{at}: a reward model, which scores and does not write: use `evaluate reward`, or name a language model"
            )));
        }
        (HeadKind::Lm, HeadKind::Scalar) => {
            return Err(input(format!("{at}: a language model, which gives no scores: name a reward run, or use `evaluate score`")));
        }
        _ => {}
    }
    model.freeze();
    let tokenizer = has_tokenizer(&folder).then(|| Tokenizer::load(&folder)).transpose()?;
    Ok(Opened { folder, model, tokenizer })
}

/// The device that the arguments name; sets the number of threads too.
pub fn device(args: &ModelArgs) -> anyhow::Result<tch::Device> {
    if args.threads > 0 {
        tch::set_num_threads(args.threads.min(1024) as i32);
    }
    Ok(match args.device {
        Device::Cpu => tch::Device::Cpu,
        Device::Auto => tch::Device::cuda_if_available(),
        Device::Cuda if tch::Cuda::is_available() => tch::Device::Cuda(0),
        Device::Cuda => return Err(input("--device cuda, but libtorch sees no CUDA device: use --device cpu")),
    })
}

fn has_tokenizer(folder: &Path) -> bool {
    ["tokenizer.json", "vocab.json", "encoder.json"].iter().any(|f| folder.join(f).is_file())
}

/// The folder's tokenizer, which `what` cannot do without.
pub fn need_tokenizer(folder: &Path, what: &str) -> anyhow::Result<Tokenizer> {
    if has_tokenizer(folder) {
        Ok(Tokenizer::load(folder)?)
    } else {
        Err(input(format!("{}: no tokenizer.json here, which {what} needs", folder.display())))
    }
}

impl Opened {
    /// Puts the model's matrices into the wanted form, and says which do not fit it.
    pub fn quantise(&mut self, weights: Weights) -> anyhow::Result<()> {
        let (format, activations) = match weights {
            Weights::Float => return Ok(()),
            Weights::Q8_0 => (Format::Q8_0, Activations::Sixteen),
            Weights::Q4_0 => (Format::Q4_0, Activations::Sixteen),
            Weights::Int8 => (Format::Q8_0, Activations::Eight),
        };
        let fit = self.model.quantise(format, activations)?;
        if let Some(first) = fit.in_float.first() {
            let (n, all) = (fit.in_float.len(), fit.in_float.len() + fit.in_format);
            eprintln!("evaluate: {n} of {all} matrices stay in float32, since their rows are no multiple of 32: {first}, ...");
        }
        Ok(())
    }

    /// The tokenizer, if the folder has one.
    pub fn tokenizer(&self) -> Option<&Tokenizer> {
        self.tokenizer.as_ref()
    }

    /// The tokenizer, which `what` cannot do without.
    pub fn need_tokenizer(&self, what: &str) -> anyhow::Result<&Tokenizer> {
        let message = || input(format!("{}: no tokenizer.json here, which {what} needs: give token ids instead", self.folder.display()));
        self.tokenizer.as_ref().ok_or_else(message)
    }
}
