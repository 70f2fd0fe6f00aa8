//! Linear maps and MLPs with adapters beside the same made of libtorch's float32 operators; tolerances as in `dense.rs`.

mod common;

use common::{compare, normal};
use native::dense::{Activation, Map};
use native::lora::{self, Adapter};
use tch::{Kind, Tensor};

const SCALE: f64 = 1.5;

/// The types with kernels, and their tolerance.
fn kinds() -> Vec<(Kind, f64)> {
    common::kinds(0.012)
}

/// x·W + b + s·(z·Aᵀ)·Bᵀ in float32.
fn plain(x: &Tensor, z: &Tensor, w: &Tensor, bias: Option<&Tensor>, (a, b): (&Tensor, &Tensor), in_out: bool) -> Tensor {
    let w = if in_out { w.tr() } else { w.shallow_clone() };
    x.linear(&w, bias) + z.mm(&a.tr()).mm(&b.tr()) * SCALE
}

#[test]
fn linear_maps_with_an_adapter() {
    common::seed(1);
    let shapes = [(1, 2, 2, 2, false, false), (7, 64, 66, 4, false, true), (130, 96, 40, 8, true, true), (300, 1030, 128, 66, false, true)];
    for (of, (n, i, o, r, in_out, bias)) in kinds().into_iter().flat_map(|of| shapes.map(|s| (of, s))) {
        let normal = |shape: &[i64]| normal(of.0, shape);
        let (w, bias) = (normal(&if in_out { [i, o] } else { [o, i] }) / 8.0, bias.then(|| normal(&[o])));
        let leaves = [normal(&[n, i]), normal(&[r, i]) / 8.0, normal(&[o, r]) / 4.0];
        let map = || Map { weight: &w, bias: bias.as_ref(), in_out };
        let ours = |l: &[Tensor]| lora::linear(&l[0].to_kind(of.0), None, map(), Adapter { a: &l[1], b: &l[2], scale: SCALE }).unwrap();
        let theirs = |l: &[Tensor]| plain(&l[0], &l[0], &w, bias.as_ref(), (&l[1], &l[2]), in_out);
        compare(of, &format!("linear {n} {i} {o} {r} {in_out}"), &leaves, ours, theirs);
        let leaves: Vec<Tensor> = leaves.into_iter().chain([normal(&[n, i])]).collect();
        let ours = |l: &[Tensor]| {
            lora::linear(&l[0].to_kind(of.0), Some(&l[3].to_kind(of.0)), map(), Adapter { a: &l[1], b: &l[2], scale: SCALE }).unwrap()
        };
        let theirs = |l: &[Tensor]| plain(&l[0], &l[3], &w, bias.as_ref(), (&l[1], &l[2]), in_out);
        compare(of, &format!("linear with dropout {n} {i} {o} {r} {in_out}"), &leaves, ours, theirs);
    }
}

#[test]
fn mlps_with_adapters() {
    common::seed(2);
    let apply = |a: Activation, x: &Tensor| match a {
        Activation::GeluTanh => x.gelu("tanh"),
        Activation::Gelu => x.gelu("none"),
        Activation::Relu => x.relu(),
        Activation::Silu => x.silu(),
    };
    let activations = [Activation::GeluTanh, Activation::Gelu, Activation::Silu];
    for (of, activation) in kinds().into_iter().flat_map(|of| activations.map(|a| (of, a))) {
        let normal = |shape: &[i64]| normal(of.0, shape);
        for in_out in [false, true] {
            let shape = |i: i64, o: i64| if in_out { [i, o] } else { [o, i] };
            let (w1, b1) = (normal(&shape(48, 100)) / 4.0, normal(&[100]));
            let (w2, b2) = (normal(&shape(100, 48)) / 8.0, normal(&[48]));
            let leaves =
                [normal(&[50, 48]), normal(&[6, 48]) / 8.0, normal(&[100, 6]) / 4.0, normal(&[6, 100]) / 8.0, normal(&[48, 6]) / 4.0];
            let ours = |l: &[Tensor]| {
                let map = |weight, bias| Map { weight, bias: Some(bias), in_out };
                let adapter = |i: usize| Adapter { a: &l[i], b: &l[i + 1], scale: SCALE };
                lora::mlp(&l[0].to_kind(of.0), (map(&w1, &b1), adapter(1)), (map(&w2, &b2), adapter(3)), activation).unwrap()
            };
            let theirs = |l: &[Tensor]| {
                let inner = apply(activation, &plain(&l[0], &l[0], &w1, Some(&b1), (&l[1], &l[2]), in_out));
                plain(&inner, &inner, &w2, Some(&b2), (&l[3], &l[4]), in_out)
            };
            compare(of, &format!("{activation:?} {in_out}"), &leaves, ours, theirs);
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    for (kind, _) in kinds() {
        let normal = |shape: &[i64]| normal(kind, shape);
        let (x, w) = (normal(&[3, 8]).to_kind(kind), normal(&[4, 8]));
        let (a, b) = (normal(&[3, 8]), normal(&[4, 3]));
        let map = Map { weight: &w, bias: None, in_out: false };
        assert!(lora::linear(&x, None, map, Adapter { a: &a, b: &b, scale: 1.0 }).is_err(), "an odd rank");
        let learning = w.copy().set_requires_grad(true);
        let (a, b) = (normal(&[2, 8]), normal(&[4, 2]));
        let map = Map { weight: &learning, ..map };
        assert!(lora::linear(&x, None, map, Adapter { a: &a, b: &b, scale: 1.0 }).is_err(), "a weight that learns");
    }
}

#[test]
fn the_narrower_kernels_do_the_same() {
    common::narrower();
}
