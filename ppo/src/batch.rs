//! Episodes as tensors. Rows are right-padded, so causal attention needs no mask and padding changes nothing.
//!
//! Shapes: B episodes, T longest prompt and response, R longest response, N response tokens of all episodes, D width, V vocabulary.

use model::Model;
use tch::{Device, Tensor, no_grad};

/// One sampled answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Episode {
    /// Prompt.
    pub prompt: Vec<u32>,
    /// Response; ends with the end token if `finished`.
    pub response: Vec<u32>,
    /// The model ended the response itself.
    pub finished: bool,
}

impl Episode {
    /// Prompt and response in tokens.
    pub fn len(&self) -> usize {
        self.prompt.len() + self.response.len()
    }
}

/// Episodes that go through a model together.
#[derive(Debug)]
pub struct Batch {
    /// Token ids, padded right. `[B, T]`
    pub ids: Tensor,
    /// Flat positions (row·T + t) whose hidden state predicts a response token. `[N]`
    predicts: Tensor,
    /// The response tokens themselves. `[N]`
    targets: Tensor,
    /// Flat positions of the response tokens in a `[B, R]` grid. `[N]`
    grid: Tensor,
    /// 1 where a response token stands. `[B, R]`
    pub mask: Tensor,
}

impl Batch {
    /// Pads `episodes` with `pad`; `width` is R, which may exceed the longest response here.
    pub fn new(episodes: &[&Episode], pad: u32, width: usize, device: Device) -> Batch {
        let (b, t) = (episodes.len(), episodes.iter().map(|e| e.len()).max().unwrap_or(1));
        let mut ids = vec![i64::from(pad); b * t];
        let (mut predicts, mut targets, mut grid) = (vec![], vec![], vec![]);
        let mut mask = vec![0f32; b * width];
        for (row, e) in episodes.iter().enumerate() {
            for (i, &id) in e.prompt.iter().chain(&e.response).enumerate() {
                ids[row * t + i] = i64::from(id);
            }
            for (i, &id) in e.response.iter().enumerate() {
                predicts.push((row * t + e.prompt.len() + i - 1) as i64);
                targets.push(i64::from(id));
                grid.push((row * width + i) as i64);
                mask[row * width + i] = 1.0;
            }
        }
        let to = |v: &[i64]| Tensor::from_slice(v).to_device(device);
        Batch {
            ids: to(&ids).view([b as i64, t as i64]),
            predicts: to(&predicts),
            targets: to(&targets),
            grid: to(&grid),
            mask: Tensor::from_slice(&mask).to_device(device).view([b as i64, width as i64]),
        }
    }

    /// Hidden states that predict the response tokens: `[B, T, D]` to `[N, D]`.
    pub fn predicting(&self, hidden: &Tensor) -> Tensor {
        hidden.flatten(0, 1).index_select(0, &self.predicts)
    }

    /// Values of response tokens laid out by episode, 0 elsewhere: `[N]` to `[B, R]`.
    pub fn to_grid(&self, values: &Tensor) -> Tensor {
        let flat = Tensor::zeros([self.mask.numel() as i64], (values.kind(), values.device()));
        flat.index_put(&[Some(&self.grid)], values, false).view_as(&self.mask)
    }

    /// Log-probabilities of the response tokens at `temperature`, and the logits they came from: `[B, R]`, `[N, V]`.
    pub fn log_probs(&self, policy: &Model, hidden: &Tensor, temperature: f64) -> (Tensor, Tensor) {
        let logits = policy.logits(&self.predicting(hidden)) / temperature; // [N, V]
        let logp = loss::mask::log_probs(&logits, &self.targets); // [N]
        (self.to_grid(&logp), logits)
    }
}

/// A scalar for every response token: the value of the state before it.
#[derive(Debug)]
pub enum Critic {
    /// A model of its own.
    Separate(Box<Model>),
    /// A head `[1, D]` on the policy's trunk.
    Shared(Tensor),
}

impl Critic {
    /// Values of the states before the response tokens, `[B, R]`. `hidden` is the policy's, for a shared trunk.
    pub fn values(&self, batch: &Batch, hidden: &Tensor) -> Tensor {
        let flat = match self {
            Critic::Separate(model) => model.scalar(&batch.predicting(&model.forward_hidden(&batch.ids, None, false))),
            Critic::Shared(head) => batch.predicting(hidden).linear::<Tensor>(head, None).squeeze_dim(-1),
        };
        batch.to_grid(&flat)
    }
}

/// Log-probabilities under a frozen model, `[B, R]`.
pub fn frozen_log_probs(model: &Model, batch: &Batch, temperature: f64) -> Tensor {
    no_grad(|| batch.log_probs(model, &model.forward_hidden(&batch.ids, None, false), temperature).0)
}
