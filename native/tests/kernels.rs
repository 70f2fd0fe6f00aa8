//! Our own kernels against libtorch's operators.

use native::cross_entropy_in_place;
use tch::{Device, Kind, Reduction, Tensor};

const IGNORE: i64 = -100;

/// Σ nll and scale · its gradient, by autograd in float64.
fn by_autograd(logits: &Tensor, targets: &Tensor, scale: f64) -> (f64, Tensor) {
    let leaf = logits.to_kind(Kind::Double).detach().set_requires_grad(true);
    let nll = leaf.cross_entropy_loss::<Tensor>(targets, None, Reduction::Sum, IGNORE, 0.0);
    (&nll * scale).backward();
    (nll.double_value(&[]), leaf.grad())
}

#[test]
fn cross_entropy_and_its_gradient_are_libtorchs() {
    // Widths that are and are not whole vectors, one longer than a piece of the sum; logits from flat to extreme.
    for (rows, vocab, spread) in [(5, 65, 1.0), (3, 1, 1.0), (7, 4099, 8.0), (2, 33, 60.0)] {
        tch::manual_seed(vocab);
        let logits = Tensor::randn([rows, vocab], (Kind::Float, Device::Cpu)) * spread;
        let targets = Tensor::randint(vocab, [rows], (Kind::Int64, Device::Cpu));
        let _ = targets.narrow(0, 0, 1).fill_(IGNORE);
        // Tolerances: a float32 exponential is right to 2 ulp; bfloat16 rounds the gradient (at most `scale` in size) to 2^-9 of itself.
        for (kind, near) in [(Kind::Float, 1e-6), (Kind::BFloat16, 4e-3)] {
            let mut found = logits.to_dtype(kind, false, true);
            let (nll, gradient) = by_autograd(&found, &targets, 0.25);
            let got = cross_entropy_in_place(&mut found, &targets, IGNORE, 0.25).unwrap();
            assert!((got - nll).abs() <= 1e-6 * nll.abs().max(1.0), "{vocab} {kind:?}: {got} against {nll}");
            let off = (found.to_kind(Kind::Double) - gradient).abs().max().double_value(&[]);
            assert!(off <= near * 0.25, "{vocab} {kind:?}: {off}");
            assert_eq!(found.get(0).abs().max().double_value(&[]), 0.0, "an ignored row has no gradient");
        }
    }
}

#[test]
fn the_sum_does_not_depend_on_the_threads() {
    let logits = Tensor::randn([64, 100], (Kind::Float, Device::Cpu));
    let targets = Tensor::randint(100, [64], (Kind::Int64, Device::Cpu));
    let with = |threads| {
        tch::set_num_threads(threads);
        cross_entropy_in_place(&mut logits.copy(), &targets, IGNORE, 1.0).unwrap()
    };
    assert_eq!(with(1).to_bits(), with(2).to_bits());
}

#[test]
fn a_loss_that_is_not_finite_shows() {
    let mut logits = Tensor::from_slice(&[0.0f32, f32::NAN, 1.0]).view([1, 3]);
    assert!(cross_entropy_in_place(&mut logits, &Tensor::from_slice(&[0i64]), IGNORE, 1.0).unwrap().is_nan());
}

#[test]
fn wrong_tensors_are_refused() {
    let logits = || Tensor::zeros([2, 3], (Kind::Float, Device::Cpu));
    let targets = |ids: &[i64]| Tensor::from_slice(ids);
    for (mut logits, targets) in [
        (logits(), targets(&[0, 3])),
        (logits(), targets(&[0, -1])),
        (logits(), targets(&[0])),
        (logits(), targets(&[0, 1]).to_kind(Kind::Int)),
        (logits().tr().contiguous().tr(), targets(&[0, 1])),
        (logits().to_kind(Kind::Double), targets(&[0, 1])),
        (logits().view([2, 3, 1]), targets(&[0, 1])),
    ] {
        assert!(cross_entropy_in_place(&mut logits, &targets, IGNORE, 1.0).is_err());
    }
}
