//! Activations in bfloat16: every family, whole sequences, packed ones, gradients and generation.

use crate::common;

use common::{FAMILIES, golden, tokens};
use model::{HeadKind, Model, Sampling, Segments, generate};
use tch::{Device, Kind, Tensor, no_grad};

fn pair(name: &str) -> (Model, Model) {
    let load = || Model::load_as(&golden(name), HeadKind::Lm, Device::Cpu).unwrap();
    (load(), load().with_compute(Kind::BFloat16))
}

/// Root of the mean square of the difference, as a share of that of `want`.
fn error(got: &Tensor, want: &Tensor) -> f64 {
    let size = |x: &Tensor| x.square().mean(Kind::Double).sqrt().double_value(&[]);
    assert_eq!(got.kind(), Kind::Float);
    size(&(got - want)) / size(want)
}

// bfloat16 keeps 8 bits: a rounding is off by 2^-9 = 0.2% at most and the fixtures have two blocks, each a dozen roundings deep.
const NEAR: f64 = 0.02;

#[test]
fn logits_and_gradients_are_near_those_of_float32() {
    for name in FAMILIES {
        let (exact, rounded) = pair(name);
        let ids = tokens(3, 20, 7);
        let lengths = [vec![12usize, 8], vec![20], vec![5, 5, 10]];
        let branches = Segments::from_groups(&[vec![9, 4, 7], vec![20], vec![3, 17]], Device::Cpu);
        for segments in [None, Some(Segments::from_lengths(&lengths, 20, Device::Cpu)), Some(branches)] {
            let logits = |m: &Model| m.logits(&m.forward_hidden(&ids, segments.as_ref(), false));
            let (a, b) = (logits(&exact), logits(&rounded));
            let off = error(&b, &a);
            assert!(off < NEAR, "{name}: logits off by {off}");
            assert!(off > 0.0, "{name}: was it bfloat16 at all?");
            for logits in [a, b] {
                logits.log_softmax(-1, Kind::Float).select(2, 3).sum(Kind::Float).backward();
            }
            for (p, q) in exact.parameters().iter_mut().zip(&mut rounded.parameters()) {
                let off = error(&q.tensor.grad(), &p.tensor.grad());
                assert!(off < 3.0 * NEAR, "{name}: gradient of {} off by {off}", p.name);
                p.tensor.zero_grad();
                q.tensor.zero_grad();
            }
        }
    }
}

#[test]
fn generation_writes_what_whole_passes_find_probable() {
    for name in FAMILIES {
        let model = pair(name).1;
        let prompts: Vec<Vec<u32>> = vec![vec![3, 9, 4, 30, 12], vec![7], vec![2, 2, 8]];
        let sampling = Sampling { max_new: 16, temperature: 1.0, seed: 5, ..Sampling::default() };
        for (prompt, got) in prompts.iter().zip(generate(&model, &prompts, &sampling).unwrap()) {
            let all: Vec<i64> = prompt.iter().chain(&got.ids).map(|&i| i64::from(i)).collect();
            let logits = no_grad(|| model.logits(&model.forward_hidden(&Tensor::from_slice(&all).unsqueeze(0), None, false)));
            let log_probs = logits.squeeze_dim(0).log_softmax(-1, Kind::Double);
            for (i, (&id, &found)) in got.ids.iter().zip(&got.log_probs).enumerate() {
                let want = log_probs.double_value(&[(prompt.len() + i - 1) as i64, i64::from(id)]);
                assert!((f64::from(found) - want).abs() < 0.05, "{name}, token {i}: {found} against {want}");
            }
        }
    }
}

#[test]
fn folders_hold_float32_whatever_was_computed_in() {
    let dir = tempfile::tempdir().unwrap();
    let (exact, rounded) = pair("gpt2");
    rounded.save(dir.path()).unwrap();
    let again = Model::load(dir.path(), Device::Cpu).unwrap();
    for (p, q) in exact.parameters().iter().zip(again.parameters()) {
        assert!(p.tensor.equal(&q.tensor) && q.tensor.kind() == Kind::Float, "{}", p.name);
    }
}
