//! How surprised a language model is: negative log-likelihood in nats, and what follows from it.
//!
//! As in lm-evaluation-harness the last token of a piece is predicted and not fed. A model whose rotary positions go by the length that is fed ("dynamic" beyond
//! its original length, "longrope" at one token more than that) therefore gives other numbers here than the logits of the whole piece do.
//!
//! Letters of the shapes: B rows, T positions, D width, V vocabulary, N predictions of a chunk.

use loss::mask::log_probs;
use model::{Model, ModelError};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// Numbers that the logits of one chunk may hold (64 MiB of float32): a large vocabulary then costs time, not memory.
const LOGITS: usize = 1 << 24;
/// Positions of a batch of windows at most.
const BATCH_TOKENS: usize = 4096;

/// Summed surprise over predicted tokens.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Nll {
    /// Summed negative log-likelihood.
    pub nats: f64,
    /// Tokens predicted.
    pub tokens: u64,
}

impl Nll {
    /// Nats a token; not a number when nothing was predicted.
    pub fn mean(&self) -> f64 {
        self.nats / self.tokens as f64
    }

    /// exp of the mean.
    pub fn perplexity(&self) -> f64 {
        self.mean().exp()
    }

    /// Bits a byte of text that these tokens stand for; comparable between tokenizers.
    pub fn bits_per_byte(&self, bytes: u64) -> f64 {
        self.nats / std::f64::consts::LN_2 / bytes as f64
    }

    /// Both together.
    pub fn plus(self, other: Nll) -> Nll {
        Nll { nats: self.nats + other.nats, tokens: self.tokens + other.tokens }
    }
}

/// A row to be predicted: each token from those before it, the first one not at all.
#[derive(Debug, Clone, Copy)]
pub struct Sequence<'a> {
    /// Token ids; one more than the model's context at most.
    pub ids: &'a [u32],
    /// Which tokens count, as long as `ids`; all but the first when absent.
    pub targets: Option<&'a [bool]>,
}

impl<'a> Sequence<'a> {
    /// All tokens but the first count.
    pub fn all(ids: &'a [u32]) -> Sequence<'a> {
        Sequence { ids, targets: None }
    }

    /// Only marked tokens count.
    pub fn marked(ids: &'a [u32], targets: &'a [bool]) -> Sequence<'a> {
        Sequence { ids, targets: Some(targets) }
    }

    fn counts(&self, at: usize) -> bool {
        self.targets.is_none_or(|t| t[at])
    }
}

/// Summed surprise of all rows, `batch` at a time (0: as many as make 4096 positions). Rows of like length go together, so that little is padding; the
/// sum does not depend on it beyond rounding. Dropout is off and nothing is recorded for gradients.
pub fn nll(model: &Model, rows: &[Sequence], batch: usize) -> Result<Nll, ModelError> {
    let nats = token_nll(model, rows, batch)?;
    let all = nats.into_iter().flatten();
    Ok(all.fold(Nll::default(), |sum, (_, nats)| sum.plus(Nll { nats, tokens: 1 })))
}

/// Surprise of each counted token as (place in the row, nats), row by row.
pub fn token_nll(model: &Model, rows: &[Sequence], batch: usize) -> Result<Vec<Vec<(usize, f64)>>, ModelError> {
    let mut order: Vec<usize> = (0..rows.len()).filter(|&i| rows[i].ids.len() > 1).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(rows[i].ids.len()));
    let mut out: Vec<Vec<(usize, f64)>> = vec![vec![]; rows.len()];
    let mut rest = order.as_slice();
    while let Some(&first) = rest.first() {
        let size = if batch > 0 { batch } else { (BATCH_TOKENS / rows[first].ids.len()).max(1) };
        let (now, later) = rest.split_at(size.min(rest.len()));
        tch::no_grad(|| one_batch(model, rows, now, &mut out))?;
        rest = later;
    }
    Ok(out)
}

/// The rows numbered `now`, of which the first is the longest.
fn one_batch(model: &Model, rows: &[Sequence], now: &[usize], out: &mut [Vec<(usize, f64)>]) -> Result<(), ModelError> {
    let inputs: Vec<&[u32]> = now.iter().map(|&i| &rows[i].ids[..rows[i].ids.len() - 1]).collect();
    model.check_ids(&inputs)?;
    let lasts: Vec<&[u32]> = now.iter().map(|&i| &rows[i].ids[rows[i].ids.len() - 1..]).collect();
    model.check_ids(&lasts)?; // predicted, never read, but an id all the same
    let time = inputs[0].len();
    let mut padded = vec![0i64; now.len() * time]; // what stands after a row's end changes nothing before it
    let (mut places, mut targets, mut labels) = (vec![], vec![], vec![]);
    for (b, (&i, input)) in now.iter().zip(&inputs).enumerate() {
        padded[b * time..].iter_mut().zip(*input).for_each(|(slot, &id)| *slot = i64::from(id));
        for at in (1..rows[i].ids.len()).filter(|&at| rows[i].counts(at)) {
            places.push((b * time + at - 1) as i64);
            targets.push(i64::from(rows[i].ids[at]));
            labels.push((i, at));
        }
    }
    let device = model.device();
    let ids = Tensor::from_slice(&padded).view([now.len() as i64, time as i64]).to_device(device); // [B, T]
    let hidden = model.forward_hidden(&ids, None, false).flatten(0, 1); // [B·T, D]
    let chunk = (LOGITS / model.config().vocab_size).max(1);
    for ((places, targets), labels) in places.chunks(chunk).zip(targets.chunks(chunk)).zip(labels.chunks(chunk)) {
        let picked = hidden.index_select(0, &Tensor::from_slice(places).to_device(device)); // [N, D]
        let log_probs = log_probs(&model.logits(&picked), &Tensor::from_slice(targets).to_device(device)); // [N]
        let nats: Vec<f64> = Vec::try_from(&log_probs.neg().to_kind(Kind::Double).to_device(tch::Device::Cpu))?;
        labels.iter().zip(nats).for_each(|(&(row, at), nats)| out[row].push((at, nats)));
    }
    Ok(())
}

/// What [`windowed`] did.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Windowed {
    /// Surprise of all tokens but the first.
    pub nll: Nll,
    /// Windows that the text was cut into; 1 when it fits.
    pub windows: usize,
}

/// Surprise of one text of any length. Up to one token more than the context it is one piece. A longer one is scored in windows of a
/// whole context that begin half a context apart; each predicts the tokens that the one before did not reach, so every token counts once
/// and is predicted from at least half a context (those of the first window: from all that precedes them).
/// `on_window` is called after each window with (windows done, windows in all).
pub fn windowed(model: &Model, ids: &[u32], on_window: &mut dyn FnMut(usize, usize)) -> Result<Windowed, ModelError> {
    let context = model.config().context;
    let stride = (context / 2).max(1);
    let windows = if ids.len() <= context + 1 { 1 } else { 1 + (ids.len() - 1 - context).div_ceil(stride) };
    let mut sum = Nll::default();
    let mut reached = 1; // tokens up to here have been predicted, or are the first
    let at_once = (BATCH_TOKENS / context).max(1);
    let mut done = 0;
    while done < windows {
        let now: Vec<usize> = (done..windows.min(done + at_once)).collect();
        let mut marks = Vec::new();
        for &w in &now {
            let start = w * stride;
            let end = ids.len().min(start + context + 1);
            marks.push((start, (start..end).map(|at| at >= reached).collect::<Vec<bool>>()));
            reached = end;
        }
        let rows: Vec<Sequence> = marks.iter().map(|(start, marks)| Sequence::marked(&ids[*start..start + marks.len()], marks)).collect();
        sum = sum.plus(nll(model, &rows, now.len())?);
        done += now.len();
        on_window(done, windows);
    }
    Ok(Windowed { nll: sum, windows })
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Config, HeadKind};
    use tch::Device;

    fn tiny(context: usize) -> Model {
        let config = Config::gpt2(37, context, 2, 2, 16, 0.1).expect("shape");
        let model = Model::new(config, HeadKind::Lm, Device::Cpu, 3).expect("model");
        // Fresh weights predict almost evenly; larger ones make positions and neighbours matter.
        tch::no_grad(|| model.parameters().into_iter().for_each(|mut p| drop(p.tensor.f_mul_scalar_(6.0))));
        model
    }

    fn text(n: usize) -> Vec<u32> {
        (0..n as u32).map(|i| (i * i * 7 + i * 3 + 1) % 37).collect()
    }

    /// One token predicted from `before`, without any of this file's machinery.
    fn naive(model: &Model, before: &[u32], next: u32) -> f64 {
        let ids = Tensor::from_slice(&before.iter().map(|&i| i64::from(i)).collect::<Vec<_>>()).unsqueeze(0);
        let logits = model.logits(&model.forward_hidden(&ids, None, false)).select(1, -1);
        -logits.log_softmax(-1, Kind::Float).double_value(&[0, i64::from(next)])
    }

    #[test]
    fn batches_and_padding_change_nothing_and_marks_choose() {
        let model = tiny(16);
        let (long, short, one) = (text(17), text(6), text(1));
        let marks = [true, true, false, false, true, false]; // the first token cannot be predicted, marked or not
        let rows = [Sequence::marked(&short, &marks), Sequence::all(&long), Sequence::all(&one)];
        let expected: f64 = [1, 4].iter().map(|&t| naive(&model, &short[..t], short[t])).sum::<f64>()
            + (1..17).map(|t| naive(&model, &long[..t], long[t])).sum::<f64>();
        for batch in [0, 1, 2, 3] {
            let sum = nll(&model, &rows, batch).expect("nll");
            assert_eq!(sum.tokens, 2 + 16);
            assert!((sum.nats - expected).abs() < 1e-3, "{} {expected}", sum.nats);
        }
        assert_eq!(nll(&model, &[], 4).expect("nothing"), Nll::default());
    }

    #[test]
    fn windows_predict_every_token_once_with_at_least_half_a_context() {
        let model = tiny(8);
        for n in [1, 2, 8, 9, 10, 12, 13, 14, 40, 41] {
            let ids = text(n);
            let (mut calls, mut expected) = (0, 0.0);
            let got = windowed(&model, &ids, &mut |_, _| calls += 1).expect("windows");
            let mut start = 0;
            for t in 1..n {
                while t > start + 8 {
                    start += 4;
                }
                expected += naive(&model, &ids[start..t], ids[t]);
            }
            assert_eq!((got.nll.tokens, got.windows), (n as u64 - 1, start / 4 + 1), "{n} tokens");
            assert!((got.nll.nats - expected).abs() < 1e-3 && calls > 0, "{n} tokens: {} {expected}", got.nll.nats);
        }
    }

    #[test]
    fn rows_too_long_and_foreign_ids_are_errors() {
        let model = tiny(8);
        assert!(nll(&model, &[Sequence::all(&text(10))], 1).is_err());
        assert!(nll(&model, &[Sequence::all(&[1, 99, 1])], 1).is_err());
        assert!(nll(&model, &[Sequence::all(&[1, 99])], 1).is_err());
    }

    #[test]
    fn units() {
        let nll = Nll { nats: 8.0 * std::f64::consts::LN_2, tokens: 4 };
        assert!((nll.mean() - 2.0 * std::f64::consts::LN_2).abs() < 1e-12);
        assert!((nll.perplexity() - 4.0).abs() < 1e-12);
        assert_eq!(nll.bits_per_byte(16), 0.5);
    }
}
