//! The loss with a teacher against PyTorch's KLDivLoss and cross_entropy (fixture and generator: scripts/reference/distill.py).

use crate::common;
use common::{Golden, near};
use loss::distill::{Sums, Teacher, chunked};
use loss::lm::{self, Output};
use tch::Tensor;

/// Three leaves: states, weight and bias.
fn leaves(g: &Golden) -> [Tensor; 3] {
    ["hidden", "weight", "bias"].map(|name| g.leaf(name))
}

#[test]
fn losses_and_gradients_are_those_of_pytorch() {
    let g = Golden::distill();
    let (states, head, head_bias, targets) = (g.get("states"), g.get("head"), g.get("head_bias"), g.get("targets"));
    let valid = lm::target_count(&targets) as f64;
    for name in ["soft", "sharp", "only", "smoothed"] {
        let how = g.numbers(&format!("{name}.how"));
        for chunk in [1, 4, 100] {
            let [hidden, weight, bias] = leaves(&g);
            let output = Output { weight: &weight, bias: Some(&bias), smoothing: how[2] };
            let theirs = Output { weight: &head, bias: Some(&head_bias), smoothing: 0.0 };
            let teacher = Teacher { states: &states, output: theirs, temperature: how[0], weight: how[1] };
            let (sums, rest) = chunked(&hidden, output, Some(teacher), &targets, 1.0 / valid, chunk);
            rest.backward();
            near(&format!("{name}: nll"), sums.nll, g.number(&format!("{name}.nll")));
            near(&format!("{name}: divergence"), sums.divergence, g.number(&format!("{name}.divergence")));
            for (part, leaf) in [("hidden", &hidden), ("weight", &weight), ("bias", &bias)] {
                g.check(&format!("{name}.{part}"), &leaf.grad());
            }
        }
    }
}

/// Without a teacher, and with one that has no weight, it is the next-token loss; with one that says the same, only half of it is left.
#[test]
fn without_weight_it_is_the_usual_loss() {
    let g = Golden::distill();
    let targets = g.get("targets");
    let run = |teacher: Option<f64>, own: bool| -> (Sums, Vec<Tensor>) {
        let [hidden, weight, bias] = leaves(&g);
        let (states, head) = if own { (g.get("hidden"), g.get("weight")) } else { (g.get("states"), g.get("head")) };
        let head_bias = g.get(if own { "bias" } else { "head_bias" });
        let theirs = Output { weight: &head, bias: Some(&head_bias), smoothing: 0.0 };
        let teacher = teacher.map(|weight| Teacher { states: &states, output: theirs, temperature: 3.0, weight });
        let output = Output { weight: &weight, bias: Some(&bias), smoothing: 0.0 };
        let (sums, rest) = chunked(&hidden, output, teacher, &targets, 0.1, 4);
        rest.backward();
        (sums, [hidden, weight, bias].map(|leaf| leaf.grad()).into())
    };
    let (usual, gradients) = run(None, false);
    let (unheard, same) = run(Some(0.0), false);
    near("nll", unheard.nll, usual.nll);
    assert_eq!(usual.divergence, 0.0);
    assert!(unheard.divergence > 1.0);
    gradients.iter().zip(&same).for_each(|(a, b)| common::close("gradient", b, a));
    let (own, half) = run(Some(0.5), true);
    assert!(own.divergence.abs() < 1e-4, "{}", own.divergence);
    gradients.iter().zip(&half).for_each(|(a, b)| common::close("half the gradient", b, &(a * 0.5)));
}
