//! A decoder that classifies (GPT-1, Radford et al. 2018): its loss and its figures.
//!
//! loss = 1/R Σ rows −log p(class | row) + w · 1/N Σ −log p(token | those before it in its sequence), w = `loss.lm_weight`, R rows and N next tokens of the optimiser
//! step (eq. 5 of the paper; its L1 sums over the tokens, here both are means). For numbers the first term is the squared error.

use crate::measure::Measured;
use anyhow::Result;
use data::config::{SftLoss, Target};
use data::demos::Demo;
use dist::World;
use evaluate::metrics::{self, Numbers};
use loss::lm::{self, Output};
use model::Classifier;
use model::classifier::ClassifiedRows;
use tch::{Device, Kind, Reduction, Tensor, no_grad};

/// What an optimiser step's means are over.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Counts {
    /// Rows, or tokens of networks that write.
    pub learnt: f64,
    /// Next tokens of the auxiliary loss.
    pub next: f64,
}

/// Takes an output matrix of its own out of autograd where the language model's loss is not learnt: nothing would reach it, and ranks wait for the gradient of
/// every weight that is trained.
pub fn freeze_unread(m: &Classifier, c: &SftLoss) {
    if c.lm_weight == 0.0 && !m.model().config().tied {
        let _ = m.model().head_weight().set_requires_grad(false);
    }
}

/// Counts of rows that become sequences.
pub fn counts<'a>(demos: impl Iterator<Item = &'a Demo>) -> Counts {
    demos.fold(Counts { learnt: 0.0, next: 0.0 }, |sum, demo| Counts {
        learnt: sum.learnt + 1.0,
        next: sum.next + (demo.ids.len() - demo.targets()) as f64, // the first token of each sequence is nobody's next
    })
}

/// The rows as the network reads them.
pub fn rows(m: &Classifier, demos: &[&Demo]) -> ClassifiedRows {
    let ids: Vec<&[u32]> = demos.iter().map(|demo| demo.ids.as_slice()).collect();
    m.rows(&ids).expect("lengths and tokens were checked when rows were read")
}

/// What is right, `[R]`: numbers of classes or choices (int64), or numbers (float32).
pub fn targets(m: &Classifier, demos: &[&Demo]) -> Tensor {
    let device = m.model().device();
    if m.target() == Target::Number {
        return Tensor::from_slice(&demos.iter().map(|demo| number(&demo.response) as f32).collect::<Vec<_>>()).to_device(device);
    }
    let place = |demo: &&Demo| match m.classes() {
        [] => demo.response.parse::<usize>().ok(),
        names => names.iter().position(|name| *name == demo.response),
    };
    let places: Vec<i64> = demos.iter().map(|demo| place(demo).expect("checked when rows were read") as i64).collect();
    Tensor::from_slice(&places).to_device(device)
}

fn number(response: &str) -> f64 {
    response.parse().expect("checked when rows were read")
}

/// Summed loss of outputs `[R, ·]`, a scalar.
fn sum(m: &Classifier, outputs: &Tensor, targets: &Tensor, smoothing: f64) -> Tensor {
    if m.target() == Target::Number {
        return outputs.squeeze_dim(-1).mse_loss(targets, Reduction::Sum);
    }
    outputs.cross_entropy_loss(targets, None::<&Tensor>, Reduction::Sum, lm::IGNORE, smoothing)
}

/// From the states of all tokens to the loss of these rows, times the step's rows, and a scalar whose backward pass adds the gradient of their part of the
/// step's loss; the language head works on `chunk` tokens at a time.
pub fn loss(m: &Classifier, demos: &[&Demo], states: &Tensor, counts: Counts, c: &SftLoss, chunk: i64) -> (f64, Tensor) {
    let rows = rows(m, demos);
    let loss = sum(m, &m.outputs(states, &rows, true), &targets(m, demos), c.label_smoothing);
    let (value, rest) = (loss.double_value(&[]), loss / counts.learnt);
    if c.lm_weight == 0.0 {
        return (value, rest);
    }
    let (next, tokens) = m.next_tokens(states, &rows);
    let output = Output { weight: m.model().head_weight(), bias: None, smoothing: 0.0 };
    let (nll, carried) = lm::chunked(&next, output, &tokens, c.lm_weight / counts.next, chunk);
    (value + c.lm_weight * nll * counts.learnt / counts.next, rest + carried)
}

/// Mean loss over held-out rows, without the auxiliary one, and the share that is right or Pearson's correlation.
pub fn evaluate(m: &Classifier, valid: &[Demo], micro_batch: usize, world: &World) -> Result<Measured> {
    let mut order: Vec<&Demo> = valid.iter().collect();
    order.sort_by_key(|demo| demo.ids.len());
    let numbers = m.target() == Target::Number;
    let (mut loss, mut n, mut hits) = (0.0, 0.0, 0.0);
    let mut moments = [0.0; 5]; // Σ x, Σ y, Σ x², Σ y², Σ xy
    for (_, chunk, _) in world.share(order.chunks(micro_batch)) {
        no_grad(|| {
            let (rows, targets) = (rows(m, chunk), targets(m, chunk));
            let outputs = m.outputs(&m.states(&rows, false), &rows, false);
            loss += sum(m, &outputs, &targets, 0.0).double_value(&[]);
            n += chunk.len() as f64;
            if numbers {
                let (x, y) = (outputs.squeeze_dim(-1).to_kind(Kind::Double), targets.to_kind(Kind::Double));
                for (sum, term) in moments.iter_mut().zip([x.sum(None), y.sum(None), x.dot(&x), y.dot(&y), x.dot(&y)]) {
                    *sum += term.double_value(&[]);
                }
            } else {
                hits += outputs.argmax(-1, false).eq_tensor(&targets).sum(None).double_value(&[]);
            }
        });
    }
    let [loss, n, hits] = world.sum([loss, n, hits])?;
    let [sx, sy, xx, yy, xy] = world.sum(moments)?;
    let rows = f64::max(n, 1.0);
    let spread = ((xx - sx * sx / rows) * (yy - sy * sy / rows)).sqrt();
    let pearson = numbers.then(|| if spread > 0.0 { (xy - sx * sy / rows) / spread } else { 0.0 });
    Ok(Measured { loss: loss / rows, accuracy: (!numbers).then_some(hits / rows), pearson })
}

/// What the network says of rows of ids: names of classes, numbers of choices, or numbers.
pub fn answers(m: &Classifier, rows: &[Vec<u32>]) -> Result<Vec<String>> {
    let mut said = Vec::with_capacity(rows.len());
    for chunk in rows.chunks(64) {
        let rows = m.rows(&chunk.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
        let outputs = no_grad(|| m.outputs(&m.states(&rows, false), &rows, false).to_device(Device::Cpu));
        if m.target() == Target::Number {
            said.extend(Vec::<f64>::try_from(outputs.squeeze_dim(-1).to_kind(Kind::Double))?.iter().map(f64::to_string));
            continue;
        }
        let best: Vec<i64> = Vec::try_from(outputs.argmax(-1, false))?;
        said.extend(best.into_iter().map(|i| m.classes().get(i as usize).cloned().unwrap_or_else(|| i.to_string())));
    }
    Ok(said)
}

/// Figures of numbers over the held-out rows.
pub fn numbers(m: &Classifier, valid: &[Demo]) -> Result<Option<Numbers>> {
    let ids: Vec<Vec<u32>> = valid.iter().map(|demo| demo.ids.clone()).collect();
    let pairs: Vec<(f64, f64)> = answers(m, &ids)?.iter().zip(valid).map(|(said, demo)| (number(said), number(&demo.response))).collect();
    Ok(metrics::numbers(&pairs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// The fixtures of scripts/reference/classifier.py: loss and gradients of loss + 0.5 · lm_loss, whole and in parts.
    #[test]
    fn the_step_s_loss_and_gradients_are_pytorch_s() {
        for name in ["gpt2_similarity", "gpt2_choice"] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/classifier");
            let expected = Tensor::read_safetensors(folder.join(format!("{name}.safetensors"))).unwrap();
            let get = |key: &str| &expected.iter().find(|(k, _)| k == key).unwrap_or_else(|| panic!("no {key}")).1;
            let labels = Vec::<i64>::try_from(get("labels")).unwrap();
            let demo = |(i, label): (usize, &i64)| {
                let ids: Vec<u32> = Vec::<i64>::try_from(get(&format!("row.{i}"))).unwrap().into_iter().map(|id| id as u32).collect();
                let response = if name.ends_with("choice") { label.to_string() } else { ["different", "same"][*label as usize].into() };
                Demo {
                    loss: ids.iter().map(|&id| id == 39).collect(),
                    ids,
                    group: String::new(),
                    prompt: String::new(),
                    response,
                    picture: None,
                }
            };
            let demos: Vec<Demo> = labels.iter().enumerate().map(demo).collect();
            let c = SftLoss { lm_weight: 0.5, ..SftLoss::default() };
            let want = get("loss").double_value(&[]) + 0.5 * get("lm_loss").double_value(&[]);
            for at_a_time in [demos.len(), 1] {
                let mut m = Classifier::load(&folder.join(name), Device::Cpu).unwrap();
                m.set_dropout(0.0);
                let counts = counts(demos.iter());
                let mut total = 0.0;
                for part in demos.iter().collect::<Vec<_>>().chunks(at_a_time) {
                    let (sum, rest) = loss(&m, part, &m.states(&rows(&m, part), true), counts, &c, 7);
                    rest.backward();
                    total += sum / counts.learnt;
                }
                assert!((total - want).abs() < 1e-5, "{name}: loss {total}, expected {want}");
                for p in m.parameters() {
                    let want = get(&format!("grad.{}", p.name));
                    let gap = (p.tensor.grad() - want).abs().max().double_value(&[]);
                    let scale = want.abs().max().double_value(&[]);
                    assert!(gap < 1e-6 + 1e-4 * scale, "{name}: gradient of {} differs by {gap} (largest {scale})", p.name);
                }
            }
        }
    }
}
