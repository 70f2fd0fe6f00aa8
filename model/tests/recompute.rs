//! Activation checkpointing: the same gradients bit for bit. The only test of its file, since dropout draws from the process's generator.

mod common;

use common::{golden, tiny, tokens};
use data::config::Lora;
use model::{HeadKind, Model, Segments};
use tch::{Device, Kind, Tensor, no_grad};

/// Of all tokens, or of the wanted ones.
fn hidden(model: &Model, ids: &Tensor, segments: &Segments, wanted: Option<&Tensor>, train: bool) -> Tensor {
    match wanted {
        Some(places) => model.forward_at(ids, segments, places, train),
        None => model.forward_packed(ids, segments, train),
    }
}

/// Hidden states and the gradients of all that learns, drawing from the generator as a training step does.
fn pass(model: &Model, ids: &Tensor, segments: &Segments, wanted: Option<&Tensor>, train: bool) -> Vec<Tensor> {
    tch::manual_seed(11);
    model.trainable().iter_mut().for_each(|p| p.tensor.zero_grad());
    let hidden = hidden(model, ids, segments, wanted, train);
    let after = Tensor::rand([4], (Kind::Float, Device::Cpu)); // what comes after the pass draws on
    let weights = Tensor::arange(hidden.numel() as i64, (Kind::Float, Device::Cpu)).sin().view_as(&hidden);
    (hidden.to_kind(Kind::Float) * weights).sum(Kind::Float).backward();
    let later = Tensor::rand([4], (Kind::Float, Device::Cpu));
    let grads = model.trainable().into_iter().map(|p| p.tensor.grad()).filter(Tensor::defined).map(|g| g.copy());
    [hidden.detach(), after, later].into_iter().chain(grads).collect()
}

#[test]
fn gradients_are_the_same_bit_for_bit() {
    let ids = tokens(1, 30, 9).squeeze_dim(0);
    let few = Tensor::from_slice(&[0i64, 8, 12, 29]);
    let lora = Lora { rank: 4, dropout: 0.2, ..Lora::default() };
    for name in ["tiny", "gpt2", "llama", "mistral", "qwen3_window", "neox"] {
        for adapted in [false, true] {
            for kind in [Kind::Float, Kind::BFloat16] {
                let mut model = match name {
                    "tiny" => tiny(HeadKind::Lm, 0.3),
                    _ => Model::load(&golden(name), Device::Cpu).unwrap(),
                };
                if adapted {
                    model = model.with_adapters(&lora, 1).unwrap();
                }
                let mut model = model.with_compute(kind);
                for (groups, wanted) in [(vec![vec![10], vec![10], vec![10]], None), (vec![vec![9, 4, 7], vec![3, 7]], Some(&few))] {
                    let segments = || Segments::from_groups(&groups, Device::Cpu);
                    for train in [false, true] {
                        model.set_activation_checkpointing(false);
                        let plain = pass(&model, &ids, &segments(), wanted, train);
                        model.set_activation_checkpointing(true);
                        let again = pass(&model, &ids, &segments(), wanted, train);
                        assert_eq!(plain.len(), again.len());
                        let equal = plain.iter().zip(&again).all(|(a, b)| a.equal(b));
                        assert!(equal, "{name}, adapters {adapted}, {kind:?}, {groups:?}, dropout {train}");
                        let free = no_grad(|| hidden(&model, &ids, &segments(), wanted, false));
                        assert!(train || free.equal(&plain[0]));
                    }
                }
            }
        }
    }
}
