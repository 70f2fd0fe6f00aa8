//! Products and attention of both types beside libtorch's float32 operators on the same inputs.
//!
//! Tolerance: a result in bfloat16 is rounded (2⁻⁹ of it), and so are intermediate values; errors of the latter add up like noise. So differences are measured
//! as a share of the result's largest value: 1% for results and gradients. Gradients of weights are not rounded, their inputs are. In float32 only the order
//! of sums differs (at most 1,030 terms: 2⁻²⁴ · √1030, some tens of it at worst) and exponentials by 2 ulp: 1e-5.

mod common;

use common::{close, compare, normal};
use native::dense::{self, Activation, Heads, Map, Norm, Packed};
use tch::{Device, Kind, Tensor};

/// The types with kernels, and their tolerance.
fn kinds() -> Vec<(Kind, f64)> {
    common::kinds(0.01)
}

#[test]
fn linear_maps_and_their_gradients() {
    common::seed(1);
    let shapes = [(1, 2, 2, false, false), (7, 64, 66, false, true), (130, 96, 40, true, true), (300, 1030, 128, false, true)];
    for (of, (n, i, o, in_out, bias)) in kinds().into_iter().flat_map(|of| shapes.map(|s| (of, s))) {
        let shape = if in_out { [i, o] } else { [o, i] };
        let (x, w, b) = (normal(of.0, &[n, i]), normal(of.0, &shape) / 8.0, normal(of.0, &[o]));
        let leaves = if bias { vec![x, w, b] } else { vec![x, w] };
        let ours = |l: &[Tensor]| dense::linear(&l[0].to_kind(of.0), None, Map { weight: &l[1], bias: l.get(2), in_out }).unwrap();
        let theirs = |l: &[Tensor]| l[0].linear(&if in_out { l[1].tr() } else { l[1].shallow_clone() }, l.get(2));
        compare(of, &format!("linear {n} {i} {o} {in_out}"), &leaves, ours, theirs);
    }
}

#[test]
fn mlps_of_every_activation() {
    common::seed(2);
    let apply = |a: Activation, x: &Tensor| match a {
        Activation::GeluTanh => x.gelu("tanh"),
        Activation::Gelu => x.gelu("none"),
        Activation::Relu => x.relu(),
        Activation::Silu => x.silu(),
    };
    let activations = [Activation::GeluTanh, Activation::Gelu, Activation::Relu, Activation::Silu];
    for (of, a) in kinds().into_iter().flat_map(|of| activations.map(|a| (of, a))) {
        let normal = |shape: &[i64]| normal(of.0, shape);
        for in_out in [false, true] {
            let shape = |i: i64, o: i64| if in_out { [i, o] } else { [o, i] };
            let leaves = [normal(&[50, 48]), normal(&shape(48, 100)) / 4.0, normal(&[100]), normal(&shape(100, 48)) / 8.0, normal(&[48])];
            let turned = |w: &Tensor| if in_out { w.tr() } else { w.shallow_clone() };
            compare(
                of,
                &format!("{a:?} {in_out}"),
                &leaves,
                |l| {
                    let map = |i: usize| Map { weight: &l[i], bias: Some(&l[i + 1]), in_out };
                    dense::mlp(&l[0].to_kind(of.0), None, map(1), map(3), a).unwrap()
                },
                |l| apply(a, &l[0].linear(&turned(&l[1]), Some(&l[2]))).linear(&turned(&l[3]), Some(&l[4])),
            );
        }
    }
}

#[test]
fn maps_and_mlps_under_a_norm() {
    common::seed(6);
    for of in kinds() {
        let normal = |shape: &[i64]| normal(of.0, shape);
        let under = |l: &[Tensor]| l[0].layer_norm([48], Some(&l[1]), Some(&l[2]), 1e-5, true);
        let leaves = [normal(&[50, 48]) * 3.0 + 1.0, normal(&[48]), normal(&[48]), normal(&[48, 100]) / 4.0, normal(&[100])];
        compare(
            of,
            "a map under a norm",
            &leaves,
            |l| {
                let norm = Norm { weight: &l[1], bias: &l[2], eps: 1e-5 };
                dense::linear(&l[0].to_kind(of.0), Some(norm), Map { weight: &l[3], bias: Some(&l[4]), in_out: true }).unwrap()
            },
            |l| under(l).linear(&l[3].tr(), Some(&l[4])),
        );
        let leaves: Vec<Tensor> = leaves.into_iter().chain([normal(&[100, 48]) / 8.0, normal(&[48])]).collect();
        compare(
            of,
            "an MLP under a norm",
            &leaves,
            |l| {
                let norm = Norm { weight: &l[1], bias: &l[2], eps: 1e-5 };
                let map = |i: usize| Map { weight: &l[i], bias: Some(&l[i + 1]), in_out: true };
                dense::mlp(&l[0].to_kind(of.0), Some(norm), map(3), map(5), Activation::GeluTanh).unwrap()
            },
            |l| under(l).linear(&l[3].tr(), Some(&l[4])).gelu("tanh").linear(&l[5].tr(), Some(&l[6])),
        );
    }
}

/// Over 4,096 rows a sum in bfloat16 would not be within a twentieth.
#[test]
fn the_gradients_of_a_norm_are_summed_in_float32() {
    common::seed(7);
    for of in [(Kind::BFloat16, 0.01), (Kind::Float, 1e-5)] {
        let leaves = [normal(of.0, &[16, 256, 48]) * 2.0 + 1.0, normal(of.0, &[48]) + 1.0, normal(of.0, &[48])];
        compare(
            of,
            "a norm",
            &leaves,
            |l| dense::layer_norm(&l[0].to_kind(of.0), Norm { weight: &l[1], bias: &l[2], eps: 1e-5 }).unwrap(),
            |l| l[0].layer_norm([48], Some(&l[1]), Some(&l[2]), 1e-5, true),
        );
    }
}

/// Groups by lengths as bounds and starts; for each segment the tokens of its sequence and how many of them belong to what it continues.
fn layout(groups: &[&[i64]]) -> (Tensor, Tensor, Vec<(Vec<i64>, i64)>) {
    let (mut bounds, mut starts, mut sequences) = (vec![0i64], vec![0i64], vec![]);
    for group in groups {
        let first = *starts.last().unwrap();
        for (i, &length) in group.iter().enumerate() {
            let start = *starts.last().unwrap();
            let skip = if i == 0 { 0 } else { group[0] };
            sequences.push(((first..first + skip).chain(start..start + length).collect(), skip));
            starts.push(start + length);
        }
        bounds.push(starts.len() as i64 - 1);
    }
    (Tensor::from_slice(&bounds), Tensor::from_slice(&starts), sequences)
}

fn turn(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Tensor {
    let r = 2 * cos.size()[1];
    let (head, rest) = (x.narrow(2, 0, r), x.narrow(2, r, x.size()[2] - r));
    let halves = head.chunk(2, 2);
    let (cos, sin) = (cos.unsqueeze(1), sin.unsqueeze(1));
    Tensor::cat(&[&halves[0] * &cos - &halves[1] * &sin, &halves[1] * &cos + &halves[0] * &sin, rest], 2)
}

#[test]
fn attention_over_packed_sequences() {
    common::seed(3);
    /// Heads, key-value heads, width, features that turn, window, by head; groups by the lengths of their segments.
    type Case = (i64, i64, i64, i64, i64, bool, &'static [&'static [i64]]);
    let cases: [Case; 7] = [
        (2, 2, 64, 0, 0, false, &[&[5], &[70]]),
        (4, 2, 64, 64, 0, false, &[&[130], &[1], &[3]]),
        (2, 2, 32, 16, 0, true, &[&[50, 20, 70], &[9, 1, 1]]),
        (1, 1, 128, 0, 0, false, &[&[100]]),
        (2, 1, 16, 16, 7, false, &[&[40], &[66, 10]]),
        (1, 1, 80, 20, 0, true, &[&[67, 3]]),
        (3, 3, 8, 0, 100, false, &[&[200, 60, 61]]),
    ];
    for (of, (heads, kv_heads, width, turning, window, by_head, groups)) in kinds().into_iter().flat_map(|of| cases.map(|c| (of, c))) {
        let (bounds, starts, sequences) = layout(groups);
        let n = starts.int64_value(&[-1]);
        let angle = normal(Kind::Float, &[n, turning / 2]);
        let (cos, sin) = (angle.cos(), angle.sin());
        let shape = Heads { heads, kv_heads, width, window, scale: 1.0 / (width as f64).sqrt(), by_head };
        let parts = |x: &Tensor| {
            if by_head {
                let parts = x.view([n, heads, 3 * width]).split(width, 2);
                return (parts[0].shallow_clone(), parts[1].shallow_clone(), parts[2].shallow_clone());
            }
            let parts = x.split_with_sizes([heads * width, kv_heads * width, kv_heads * width], 1);
            (parts[0].view([n, heads, width]), parts[1].view([n, kv_heads, width]), parts[2].view([n, kv_heads, width]))
        };
        let theirs = |l: &[Tensor]| {
            let (mut q, mut k, v) = parts(&l[0]);
            if turning > 0 {
                (q, k) = (turn(&q, &cos, &sin), turn(&k, &cos, &sin));
            }
            let rows = sequences.iter().map(|(tokens, skip)| {
                let (t, index) = (tokens.len() as i64, Tensor::from_slice(tokens));
                let pick = |x: &Tensor| x.index_select(0, &index).transpose(0, 1).repeat_interleave_self_int(heads / x.size()[1], 0, None);
                let seen = Tensor::ones([t, t], (Kind::Bool, Device::Cpu)).tril(0).triu(if window > 0 { 1 - window } else { -t });
                let mask = Tensor::zeros([t, t], (Kind::Float, Device::Cpu)).masked_fill(&seen.logical_not(), f64::NEG_INFINITY);
                let scores = pick(&q).matmul(&pick(&k).transpose(1, 2)) * shape.scale + mask;
                let y = scores.softmax(-1, Kind::Float).matmul(&pick(&v)); // [H, t, C]
                y.transpose(0, 1).reshape([t, heads * width]).narrow(0, *skip, t - skip)
            });
            Tensor::cat(&rows.collect::<Vec<_>>(), 0)
        };
        let tables = (turning > 0).then_some((&cos, &sin));
        let name = format!("{heads}/{kv_heads} heads of {width}, window {window}");
        let all = normal(of.0, &[n, (heads + 2 * kv_heads) * width]);
        compare(
            of,
            &name,
            std::slice::from_ref(&all),
            |l| dense::attend(&[&l[0].to_kind(of.0)], shape, tables, &bounds, &starts).unwrap(),
            theirs,
        );
        if by_head {
            continue;
        }
        // The same from three tensors.
        let split = |x: &Tensor| x.split_with_sizes([heads * width, kv_heads * width, kv_heads * width], 1);
        let one = dense::attend(&[&all.to_kind(of.0)], shape, tables, &bounds, &starts).unwrap();
        let three: Vec<Tensor> = split(&all.to_kind(of.0)).iter().map(Tensor::contiguous).collect();
        let three = dense::attend(&three.iter().collect::<Vec<_>>(), shape, tables, &bounds, &starts).unwrap();
        assert!(one.equal(&three), "{name}");
    }
}

#[test]
fn products_of_packed_matrices() {
    common::seed(4);
    let shapes = [(1, 17, 2), (5, 65, 34), (130, 64, 256), (33, 201, 70), (9, 70, 2100)]; // the last is summed in pieces
    for ((kind, _), (m, n, k)) in kinds().into_iter().flat_map(|of| shapes.map(|s| (of, s))) {
        let (x, w, b) = (normal(kind, &[m, k]), normal(kind, &[k, n]), normal(kind, &[n]));
        let rows = x.to_kind(kind);
        let packed = Packed::across(&w, kind).unwrap();
        let along = Packed::along(&w.tr().contiguous().to_kind(kind), kind).unwrap();
        let want = x.mm(&w) + &b;
        let exact = packed.multiply(&rows, Some(&b), Kind::Float).unwrap();
        close("float32", &exact, &want, 1e-5); // sums of the same products in another order
        assert!(along.multiply(&rows, Some(&b), Kind::Float).unwrap().equal(&exact), "both layouts are one matrix");
        close("rounded", &packed.multiply(&rows, Some(&b), kind).unwrap(), &want, 0.004);
        // Rows of an odd width go on with a column of 0 behind them.
        let even = packed.multiply_even(&rows).unwrap();
        assert_eq!((even.size(), even.kind()), (vec![m, n + n % 2], kind));
        let back = Packed::across(&w.tr().contiguous(), kind).unwrap().multiply(&even, None, Kind::Float).unwrap();
        close("back", &back, &even.narrow(1, 0, n).to_kind(Kind::Float).mm(&w.tr()), 1e-5);
        let mut sum = Tensor::ones([k, n], (Kind::Float, Device::Cpu));
        let y = even.narrow(1, 0, n);
        Packed::left(&rows, kind).unwrap().add_transposed(&Packed::across(&y, kind).unwrap(), &mut sum).unwrap();
        close("transposed", &sum, &(x.tr().mm(&y.to_kind(Kind::Float)) + 1.0), 1e-5);
    }
}

#[test]
fn what_is_not_a_number_shows() {
    common::seed(5);
    for (kind, _) in kinds() {
        let (x, up, down) = (normal(kind, &[5, 32]).to_kind(kind), normal(kind, &[48, 32]), normal(kind, &[32, 48]));
        _ = up.get(7).get(3).fill_(f64::NAN);
        for activation in [Activation::GeluTanh, Activation::Gelu, Activation::Relu, Activation::Silu] {
            let map = |weight| Map { weight, bias: None, in_out: false };
            let y = dense::mlp(&x, None, map(&up), map(&down), activation).unwrap();
            assert!(y.isnan().all().int64_value(&[]) == 1, "{kind:?} {activation:?}");
        }
        // Of a key: all tokens that see it.
        let heads = Heads { heads: 1, kv_heads: 1, width: 16, window: 0, scale: 0.25, by_head: false };
        let qkv = normal(kind, &[20, 48]);
        _ = qkv.get(13).get(16).fill_(f64::NAN);
        let [bounds, starts] = [&[0i64, 1][..], &[0, 20]].map(Tensor::from_slice);
        let bad = dense::attend(&[&qkv.to_kind(kind)], heads, None, &bounds, &starts).unwrap().isnan();
        assert!(bad.narrow(0, 0, 13).any().int64_value(&[]) == 0, "{kind:?}: tokens before it");
        assert!(bad.narrow(0, 13, 7).all().int64_value(&[]) == 1, "{kind:?}: it and those after");
    }
}

#[test]
fn no_rows_have_gradients_of_zero() {
    for (kind, _) in kinds() {
        let leaf = |shape: &[i64]| Tensor::ones(shape, (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let (up, down, bias) = (leaf(&[6, 4]), leaf(&[4, 6]), leaf(&[6]));
        let x = Tensor::zeros([0, 4], (kind, Device::Cpu));
        let map = |weight, bias| Map { weight, bias, in_out: false };
        let y = dense::mlp(&x, None, map(&up, Some(&bias)), map(&down, None), Activation::Gelu).unwrap();
        y.sum(Kind::Float).backward();
        for (name, weight) in [("up", &up), ("down", &down), ("bias", &bias)] {
            assert_eq!(weight.grad().abs().max().double_value(&[]), 0.0, "{kind:?} {name}");
        }
        let mut sum = Tensor::ones([4, 6], (Kind::Float, Device::Cpu));
        let rows = |n| Tensor::zeros([0, n], (kind, Device::Cpu));
        Packed::left(&rows(4), kind).unwrap().add_transposed(&Packed::across(&rows(6), kind).unwrap(), &mut sum).unwrap();
        assert_eq!(sum.sum(Kind::Float).double_value(&[]), 24.0, "{kind:?}");
    }
}

#[test]
fn wrong_tensors_are_refused() {
    for (kind, _) in kinds() {
        let other = if kind == Kind::Float { Kind::BFloat16 } else { Kind::Float };
        let float = Tensor::zeros([4, 4], (Kind::Float, Device::Cpu));
        let rows = float.to_kind(kind);
        let wide = Tensor::zeros([4, 6], (Kind::Float, Device::Cpu));
        let double = float.to_kind(Kind::Double);
        assert!(dense::linear(&double, None, Map { weight: &float, bias: None, in_out: false }).is_err(), "rows of another type");
        assert!(dense::linear(&rows, None, Map { weight: &wide, bias: None, in_out: false }).is_err(), "another width");
        let heads = Heads { heads: 1, kv_heads: 1, width: 2, window: 0, scale: 1.0, by_head: false };
        let six = wide.to_kind(kind);
        let [bounds, short, whole] = [&[0i64, 1][..], &[0, 3], &[0, 4]].map(Tensor::from_slice);
        assert!(dense::attend(&[&six], heads, None, &bounds, &short).unwrap_err().to_string().contains("segments"));
        assert!(dense::attend(&[&six], heads, None, &bounds, &whole).is_ok());
        assert!(dense::attend(&[&rows], heads, None, &bounds, &whole).is_err());
        let packed = Packed::along(&float, kind).unwrap();
        assert!(packed.multiply(&six, None, Kind::Float).is_err(), "another width");
        assert!(packed.multiply(&float.to_kind(other), None, Kind::Float).is_err(), "rows of the other type");
        assert!(Packed::along(&double, kind).is_err(), "a matrix of another type");
    }
    assert!(Packed::along(&Tensor::zeros([2, 2], (Kind::Float, Device::Cpu)), Kind::Double).is_err(), "no kernels for it");
}

#[test]
fn the_narrower_kernels_do_the_same() {
    common::narrower();
}
