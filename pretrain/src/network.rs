//! The networks that text can train: a decoder that predicts each next token, an encoder that predicts masked ones. The loop knows what it needs of each.
//!
//! Shapes: B rows, T tokens of a row, N predicted places, D width, V vocabulary.

use crate::masked::{FRAME, Masker};
use anyhow::{Result, ensure};
use data::config::{Distributed, Lora, PretrainConfig, Shard, Train};
use data::tokenizer::Tokenizer;
use dist::World;
use evaluate::teacher::Teach;
use loss::lm::Output;
use model::{Bert, Model, ModelError, PaddedRows, Sampling, Start, Student};
use std::path::Path;
use tch::{Device, Kind, Tensor};
use train::seed;

/// A network with its head.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // there is one of it
pub enum Network {
    /// Predicts each token from those before it.
    Decoder(Model),
    /// Predicts masked tokens from both sides.
    Encoder(Bert, Masker),
}

/// How text becomes rows, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rows {
    /// What the network reads of a row.
    pub tokens: usize,
    /// From one window of the text to the next.
    pub stride: usize,
    /// A window: a row without what the network puts around it, with what it is to predict.
    pub window: usize,
    /// Predicted tokens of a row.
    pub targets: usize,
}

/// A window of the text with its number, which its random draws depend on.
pub type Window = (u64, Vec<u32>);

impl Student for Network {
    fn decoder(&self) -> Option<&Model> {
        if let Network::Decoder(m) = self { Some(m) } else { None }
    }

    fn decoder_mut(&mut self) -> Option<&mut Model> {
        if let Network::Decoder(m) = self { Some(m) } else { None }
    }

    fn parameters(&self) -> Vec<model::Parameter> {
        match self {
            Network::Decoder(m) => m.parameters(),
            Network::Encoder(m, _) => m.parameters(),
        }
    }

    fn context(&self) -> usize {
        match self {
            Network::Decoder(m) => m.config().context,
            Network::Encoder(m, _) => m.config().context,
        }
    }

    fn prepare(&mut self, precision: Kind, dropout: f64, recompute: bool) {
        match self {
            Network::Decoder(m) => m.prepare(precision, dropout, recompute),
            Network::Encoder(m, _) => {
                m.set_compute(precision);
                m.set_dropout(dropout);
            }
        }
    }
}

impl Teach for Network {
    fn head(&self) -> Output<'_> {
        self.output()
    }
}

impl Network {
    /// How text becomes rows of `tokens` tokens, or of as many as the network can read with 0.
    pub fn rows(&self, tokens: usize) -> Result<Rows> {
        let context = self.context();
        let least = if self.is_masked() { FRAME + 2 } else { 2 };
        ensure!(tokens == 0 || tokens >= least, "data.row = {tokens}: must be at least {least} tokens");
        ensure!(tokens <= context, "data.row = {tokens}: this model reads at most {context} tokens");
        let tokens = if tokens == 0 { context } else { tokens };
        Ok(match self {
            Network::Decoder(_) => Rows { tokens, stride: tokens, window: tokens + 1, targets: tokens },
            Network::Encoder(_, masker) => {
                let window = tokens - FRAME;
                Rows { tokens, stride: window, window, targets: masker.count(window) }
            }
        })
    }

    /// Refuses what decoders alone can do.
    pub fn check(&self, lora: &Lora, train: &Train, distributed: &Distributed) -> Result<()> {
        let decoder = self.decoder().is_some();
        ensure!(decoder || lora.rank == 0, "lora.rank: adapters are for decoders");
        ensure!(decoder || !train.activation_checkpointing, "train.activation_checkpointing is for decoders");
        ensure!(decoder || distributed.shard != Shard::Parameters, "distributed.shard = \"parameters\" is for decoders: use \"gradients\"");
        Ok(())
    }

    /// Writes the model folder without its tokenizer; a decoder as what it started from wants it.
    pub fn save(&self, start: Option<&Start>, folder: &Path) -> Result<(), ModelError> {
        match self {
            Network::Decoder(m) => m.save_from(start, folder),
            Network::Encoder(m, _) => m.save(folder),
        }
    }

    /// The head, `[V, D]`.
    pub fn output(&self) -> Output<'_> {
        match self {
            Network::Decoder(m) => Output { weight: m.head_weight(), bias: None, smoothing: 0.0 },
            Network::Encoder(m, _) => {
                let (weight, bias) = m.head();
                Output { weight, bias: Some(bias), smoothing: 0.0 }
            }
        }
    }

    /// States `[N, D]` that predict, and what is right `[N]`. Masks are drawn by `seed` and the windows' numbers.
    pub fn states(&self, windows: &[Window], seed: u64, device: Device, train: bool) -> (Tensor, Tensor) {
        match self {
            Network::Decoder(m) => {
                let (inputs, targets) = tensors(windows, device); // [B, T], [B·T]
                (m.forward_hidden(&inputs, None, train).flatten(0, 1), targets)
            }
            Network::Encoder(m, masker) => {
                let rows: Vec<_> = windows.iter().map(|(number, tokens)| masker.mask(tokens, seed::mix(seed, *number, 0) as u64)).collect();
                let padded = PaddedRows::new(&rows.iter().map(|row| row.ids.as_slice()).collect::<Vec<_>>(), m.config().pad, device);
                let time = padded.shape().1;
                let places = rows.iter().enumerate().flat_map(|(b, row)| row.places.iter().map(move |&i| b as i64 * time + i as i64));
                let places = Tensor::from_slice(&places.collect::<Vec<_>>()).to_device(device);
                let targets: Vec<i64> = rows.iter().flat_map(|row| row.targets.iter()).map(|&id| i64::from(id)).collect();
                let states = m.forward(&padded, None, train);
                (m.read(&states, &padded, Some(&places), train), Tensor::from_slice(&targets).to_device(device))
            }
        }
    }

    /// Logits of states, in float32.
    pub fn logits(&self, states: &Tensor) -> Tensor {
        match self {
            Network::Decoder(m) => m.logits(states),
            Network::Encoder(m, _) => m.logits(states),
        }
    }

    /// Is it trained to fill masked places?
    pub fn is_masked(&self) -> bool {
        matches!(self, Network::Encoder(..))
    }

    /// Continues the configured prompt as far as the context reaches, or fills its [MASK]s, so that one sees the model learn; `None` where the prompt leaves no room.
    ///
    /// All ranks call it; the text is rank 0's.
    pub fn sample(&self, tokenizer: &Tokenizer, c: &PretrainConfig, world: &World) -> Result<Option<String>> {
        let _held = self.decoder().map(|model| model.hold(world.is_main()));
        if !world.is_main() {
            return Ok(None);
        }
        Ok(Some(match self {
            Network::Decoder(m) => {
                let prompt = tokenizer.encode(&c.eval.sample_prompt)?;
                let room = self.context().saturating_sub(prompt.len());
                if room == 0 {
                    return Ok(None);
                }
                let (max_new, stop) = (c.eval.sample_tokens.min(room), vec![tokenizer.eos()]);
                let sampling = Sampling { max_new, temperature: 0.8, stop, seed: c.seed, ..Sampling::default() };
                let out = model::generate::generate(m, std::slice::from_ref(&prompt), &sampling)?;
                tokenizer.decode(&[prompt, out[0].ids.clone()].concat(), true)?
            }
            Network::Encoder(m, _) => {
                let filled = evaluate::fill::fill_mask(m, tokenizer, &c.eval.sample_prompt, 3)?;
                let place = |guesses: &Vec<evaluate::fill::Guess>| {
                    guesses.iter().map(|g| format!("{} {:.2}", g.token, g.probability)).collect::<Vec<_>>().join(", ")
                };
                format!("{}: {}", c.eval.sample_prompt, filled.iter().map(place).collect::<Vec<_>>().join(" | "))
            }
        }))
    }
}

/// Windows of T+1 tokens as inputs `[B, T]` and flat targets `[B·T]`.
fn tensors(rows: &[Window], device: Device) -> (Tensor, Tensor) {
    let (b, t) = (rows.len() as i64, rows[0].1.len() as i64 - 1);
    let ids: Vec<i64> = rows.iter().flat_map(|(_, ids)| ids).map(|&id| i64::from(id)).collect();
    let ids = Tensor::from_slice(&ids).to_device(device).view([b, t + 1]);
    (ids.narrow(1, 0, t).contiguous(), ids.narrow(1, 1, t).reshape([-1]))
}
