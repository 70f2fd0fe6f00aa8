//! Episodes as tensors: prompts and responses stand end to end, none is padded.
//!
//! Shapes: B episodes, T tokens of all, M of them whose hidden states are wanted, N of those that one reader picks, W columns of a grid (see [`Layout`]), D width, V vocabulary.

use data::chat::Message;
use data::config::ScorePosition;
use model::{Model, Segments};
use tch::{Device, Tensor, no_grad};

/// One sampled answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Episode {
    /// The prompt's turns as their source has them, without the template.
    pub turns: Vec<Message>,
    /// The prompt in the policy's tokens, with the template.
    pub prompt: Vec<u32>,
    /// Response; ends with the end token if `finished`.
    pub response: Vec<u32>,
    /// The model ended the response itself.
    pub finished: bool,
    /// Tokens of the response, the end token included, that people and reward models read: all, unless sampling went on after the end token.
    pub read: usize,
}

impl Episode {
    /// Prompt and response in tokens.
    pub fn len(&self) -> usize {
        self.prompt.len() + self.response.len()
    }

    /// Never: a prompt has tokens.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What people and reward models read of the response.
    pub fn answer(&self) -> &[u32] {
        &self.response[..self.read]
    }
}

/// The columns of a round's grids: one for each response token, and where the score stands after the end one more for the finished text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Columns.
    pub width: usize,
    /// Finished responses have a state behind their end token.
    pub after_end: bool,
}

impl Layout {
    /// Room for these episodes.
    pub fn new(episodes: &[Episode], position: ScorePosition) -> Layout {
        let after_end = position == ScorePosition::AfterEnd;
        let longest = episodes.iter().map(|e| e.response.len()).max().unwrap_or(1);
        Layout { width: longest + usize::from(after_end), after_end }
    }

    /// States of this episode that are valued: one before each response token, and the finished text's.
    pub fn states(&self, e: &Episode) -> usize {
        e.response.len() + usize::from(self.after_end && e.finished)
    }
}

/// Some of a batch's wanted hidden states, and where what comes of them goes in a grid.
#[derive(Debug)]
struct Places {
    /// Their numbers among those that are wanted, `[N]`; `None` where it is all of them.
    hidden: Option<Tensor>,
    /// Flat positions in the `[B, W]` grid. `[N]`
    grid: Tensor,
    /// 1 at those. `[B, W]`
    mask: Tensor,
}

impl Places {
    /// Of each episode the first `count` columns; column i looks at the state before response token i.
    fn new(episodes: &[&Episode], count: impl Fn(&Episode) -> usize, layout: Layout, device: Device) -> Places {
        let width = layout.width;
        let (mut hidden, mut grid, mut mask) = (vec![], vec![], vec![0f32; episodes.len() * width]);
        let mut first = 0;
        for (row, e) in episodes.iter().enumerate() {
            for i in 0..count(e) {
                hidden.push((first + i) as i64);
                grid.push((row * width + i) as i64);
                mask[row * width + i] = 1.0;
            }
            first += layout.states(e);
        }
        let to = |v: &[i64]| Tensor::from_slice(v).to_device(device);
        let mask = Tensor::from_slice(&mask).to_device(device).view([episodes.len() as i64, width as i64]);
        Places { hidden: (hidden.len() < first).then(|| to(&hidden)), grid: to(&grid), mask }
    }

    /// `[M, D]` to `[N, D]`.
    fn pick(&self, hidden: &Tensor) -> Tensor {
        self.hidden.as_ref().map_or_else(|| hidden.shallow_clone(), |numbers| hidden.index_select(0, numbers))
    }

    /// Laid out by episode, 0 elsewhere: `[N]` to `[B, W]`.
    fn lay(&self, values: &Tensor) -> Tensor {
        let flat = Tensor::zeros([self.mask.numel() as i64], (values.kind(), values.device()));
        flat.index_put(&[Some(&self.grid)], values, false).view_as(&self.mask)
    }
}

/// Episodes that go through a model together.
#[derive(Debug)]
pub struct Batch {
    /// Token ids. `[T]`
    pub ids: Tensor,
    /// Where each episode begins.
    pub segments: Segments,
    /// The tokens whose hidden states are asked for: those before a response token, and where the layout has it the last of the text. `[M]`
    wanted: Tensor,
    /// The response tokens. `[N]`
    targets: Tensor,
    /// Where they are predicted.
    tokens: Places,
    /// Where values are read, if not there alone.
    states: Option<Places>,
}

impl Batch {
    /// Lays out `episodes`.
    pub fn new(episodes: &[&Episode], layout: Layout, device: Device) -> Batch {
        let ids: Vec<i64> = episodes.iter().flat_map(|e| e.prompt.iter().chain(&e.response)).map(|&id| i64::from(id)).collect();
        let lengths: Vec<Vec<usize>> = episodes.iter().map(|e| vec![e.len()]).collect();
        let targets: Vec<i64> = episodes.iter().flat_map(|e| &e.response).map(|&id| i64::from(id)).collect();
        let states = |e: &Episode| layout.states(e);
        let mut first = 0;
        let wanted: Vec<i64> = episodes
            .iter()
            .flat_map(|e| {
                let before = first + e.prompt.len() - 1;
                first += e.len();
                (before..before + states(e)).map(|place| place as i64)
            })
            .collect();
        Batch {
            ids: Tensor::from_slice(&ids).to_device(device),
            segments: Segments::from_groups(&lengths, device),
            targets: Tensor::from_slice(&targets).to_device(device),
            wanted: Tensor::from_slice(&wanted).to_device(device),
            tokens: Places::new(episodes, |e| e.response.len(), layout, device),
            states: layout.after_end.then(|| Places::new(episodes, states, layout, device)),
        }
    }

    /// The wanted hidden states, `[M, D]`. No dropout: sampling had none.
    pub fn hidden(&self, model: &Model) -> Tensor {
        model.forward_at(&self.ids, &self.segments, &self.wanted, false)
    }

    /// 1 where a response token stands. `[B, W]`
    pub fn mask(&self) -> &Tensor {
        &self.tokens.mask
    }

    /// 1 where a value stands. `[B, W]`
    pub fn value_mask(&self) -> &Tensor {
        &self.states().mask
    }

    fn states(&self) -> &Places {
        self.states.as_ref().unwrap_or(&self.tokens)
    }

    /// Log-probabilities of the response tokens at `temperature`, `[B, W]`, and the entropy of the distributions they came from, `[N]`.
    pub fn log_probs(&self, policy: &Model, hidden: &Tensor, temperature: f64) -> (Tensor, Tensor) {
        let logits = policy.rounded_logits(&self.tokens.pick(hidden)); // [N, V]
        let (logp, entropy) = loss::mask::token_log_probs(&logits, &self.targets, temperature); // [N]
        (self.tokens.lay(&logp), entropy)
    }
}

/// A scalar for every state before a response token, and for the finished text where the layout has it.
#[derive(Debug)]
pub enum Critic {
    /// A model of its own.
    Separate(Box<Model>),
    /// A head `[1, D]` on the policy's trunk.
    Shared(Tensor),
}

impl Critic {
    /// Tokens that it reads at most; `None` where the policy reads for it.
    pub fn context(&self) -> Option<usize> {
        match self {
            Critic::Separate(model) => Some(model.config().context),
            Critic::Shared(_) => None,
        }
    }

    /// Takes part in the others' look at values; nothing where the trunk is the policy's, or weights are not shared out.
    pub fn attend(&self) {
        if let Critic::Separate(model) = self {
            model.attend();
        }
    }

    /// Values, `[B, W]`. `hidden` is the policy's, for a shared trunk.
    pub fn values(&self, batch: &Batch, hidden: &Tensor) -> Tensor {
        let states = batch.states();
        let flat = match self {
            Critic::Separate(model) => model.scalar(&states.pick(&batch.hidden(model))),
            Critic::Shared(head) => states.pick(hidden).to_kind(tch::Kind::Float).linear::<Tensor>(head, None).squeeze_dim(-1),
        };
        states.lay(&flat)
    }
}

/// Log-probabilities under a frozen model, `[B, W]`.
pub fn frozen_log_probs(model: &Model, batch: &Batch, temperature: f64) -> Tensor {
    no_grad(|| batch.log_probs(model, &batch.hidden(model), temperature).0)
}
