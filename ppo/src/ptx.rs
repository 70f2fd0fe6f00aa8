//! PPO-ptx: pre-training gradients mixed into the policy's steps (InstructGPT, arXiv 2203.02155, equation 2).

use anyhow::{Result, ensure};
use data::{config::Ptx, corpus::Corpus, order::Order, tokenizer::Tokenizer};
use dist::{Gradients, World};
use model::Model;
use std::path::Path;
use tch::{Device, Tensor};

/// The keys of how many bad rows the text may have.
const LIMITS: &str = "ptx.data.quarantine.max_fraction or ptx.data.quarantine.always_allow";

/// Draws pre-training sequences, each optimiser step its own; a number says where it stands, so resuming needs nothing else.
pub struct Mixer {
    corpus: Corpus,
    order: Order,
    config: Ptx,
    device: Device,
    drawn: u64,
}

impl Mixer {
    /// Opens the text for a policy that reads `context` tokens, or nothing where the coefficient is 0.
    pub fn open(
        config: &Ptx,
        (tokenizer, context): (&Tokenizer, usize),
        seed: u64,
        quarantine: &Path,
        device: Device,
    ) -> Result<Option<Mixer>> {
        if config.coef == 0.0 {
            return Ok(None);
        }
        ensure!(config.length <= context, "ptx.length = {}: the policy reads at most {context} tokens", config.length);
        let corpus = Corpus::open(&config.data, tokenizer, 0.0, quarantine, &mut |_, _| {}).map_err(|e| e.with_limits(Some(LIMITS)))?;
        let windows = corpus.train.windows(config.length);
        ensure!(windows > 0, "ptx.length = {}: the text holds no sequence of so many tokens", config.length);
        Ok(Some(Mixer { order: Order::new(windows, seed), corpus, config: config.clone(), device, drawn: 0 }))
    }

    /// Goes to the draws of optimiser step `step` of the run.
    pub fn seek(&mut self, step: u64) {
        self.drawn = step * self.config.batch as u64;
    }

    /// Adds γ times this rank's share of the gradient of the mean next-token loss; returns its share of that loss in nats a token.
    pub fn backward(&mut self, policy: &Model, world: &World, gradients: &Gradients<'_>) -> Result<f64> {
        let (whole, t) = (self.config.batch, self.config.length);
        let mut ids: Vec<i64> = Vec::with_capacity(whole.div_ceil(world.size()) * (t + 1));
        for (_, draw, _) in world.share(self.drawn..self.drawn + whole as u64) {
            let window = self.corpus.train.window(self.order.at(draw) * t as u64, t + 1);
            ids.extend(window.into_iter().map(i64::from));
        }
        self.drawn += whole as u64;
        let b = ids.len() / (t + 1);
        if b == 0 {
            gradients.attend(1)?; // the policy's pass
            return Ok(0.0);
        }
        let ids = Tensor::from_slice(&ids).to_device(self.device).view([b as i64, t as i64 + 1]);
        let hidden = policy.forward_hidden(&ids.narrow(1, 0, t as i64).contiguous(), None, false); // [B, T, D]
        let targets = ids.narrow(1, 1, t as i64).reshape([-1]); // [B·T]
        let tokens = (whole * t) as f64;
        let nll = loss::lm::nll_sum(&policy.logits(&hidden.flatten(0, 1)), &targets) / tokens;
        gradients.backward(&(&nll * self.config.coef), false)?; // the step's last pass follows
        Ok(nll.double_value(&[]))
    }
}
