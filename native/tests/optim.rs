//! The fused kernels against the formulas written out with ordinary operators.

use native::{AdamWStep, NativeError, clip, fused_adamw, global_grad_norm, scale};
use tch::{Device, Kind, Tensor};

fn random(seed: i64, shape: &[i64]) -> Tensor {
    tch::manual_seed(seed);
    Tensor::randn(shape, (Kind::Float, Device::Cpu))
}

fn distance(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).abs().max().double_value(&[])
}

/// AdamW as in arXiv 1711.05101, algorithm 2, with PyTorch's placing of eps.
fn reference(p: &Tensor, grads: &[Tensor], h: &AdamWStep) -> Tensor {
    let mut p = p.copy();
    let (mut m, mut v) = (p.zeros_like(), p.zeros_like());
    for (i, grad) in grads.iter().enumerate() {
        let t = (i + 1) as f64;
        let g = grad / h.grad_scale;
        m = &m * h.beta1 + &g * (1.0 - h.beta1);
        v = &v * h.beta2 + &g * &g * (1.0 - h.beta2);
        p = &p * (1.0 - h.lr * h.weight_decay);
        let root = (&v / (1.0 - h.beta2.powf(t))).sqrt() + h.eps;
        p -= (&m / (1.0 - h.beta1.powf(t))) / root * h.lr;
    }
    p
}

#[test]
fn adamw_follows_the_formula_for_ten_steps() {
    for grad_scale in [1.0, 2.5] {
        let hyper = AdamWStep { lr: 1e-2, beta1: 0.9, beta2: 0.95, weight_decay: 0.1, eps: 1e-8, grad_scale };
        let start = [random(1, &[7, 5]), random(2, &[11])];
        let grads: Vec<[Tensor; 2]> = (0..10).map(|i| [random(10 + i, &[7, 5]), random(40 + i, &[11])]).collect();
        let params: Vec<Tensor> = start.iter().map(|p| p.copy().set_requires_grad(true)).collect();
        let zeros = || params.iter().map(|p| p.detach().zeros_like()).collect::<Vec<_>>();
        let (m, v) = (zeros(), zeros());
        let steps: Vec<Tensor> = params.iter().map(|_| Tensor::zeros([0i64; 0], (Kind::Float, Device::Cpu))).collect();
        for grad in &grads {
            let grad = grad.iter().map(Tensor::copy).collect::<Vec<_>>();
            fused_adamw(&params, &grad, &m, &v, &steps, &hyper).unwrap();
        }
        for (i, p) in params.iter().enumerate() {
            let column: Vec<Tensor> = grads.iter().map(|g| g[i].copy()).collect();
            let gap = distance(&p.detach(), &reference(&start[i], &column, &hyper));
            assert!(gap < 2e-6, "parameter {i}, grad_scale {grad_scale}: {gap}");
            assert_eq!(steps[i].double_value(&[]), 10.0);
        }
    }
}

#[test]
fn norm_and_clip() {
    let grads = vec![Tensor::from_slice(&[3f32, 0.0]), Tensor::from_slice(&[4f32])];
    assert!((global_grad_norm(&grads).unwrap() - 5.0).abs() < 1e-6);
    assert!((clip(&grads, 10.0).unwrap() - 5.0).abs() < 1e-6);
    assert_eq!(grads[1].double_value(&[0]), 4.0, "below the limit nothing changes");
    assert!((clip(&grads, 1.0).unwrap() - 5.0).abs() < 1e-6);
    assert!((global_grad_norm(&grads).unwrap() - 1.0).abs() < 1e-6);
    scale(&grads, 2.0).unwrap();
    assert!((global_grad_norm(&grads).unwrap() - 2.0).abs() < 1e-6);
    assert_eq!(global_grad_norm(&[]).unwrap(), 0.0);
    let bad = vec![Tensor::from_slice(&[f32::NAN, 1.0])];
    assert!(clip(&bad, 1.0).unwrap().is_nan());
    assert_eq!(bad[0].double_value(&[1]), 1.0, "a bad gradient is left for the caller to see");
}

#[test]
fn mistakes_become_errors() {
    let one = [random(1, &[2])];
    let hyper = AdamWStep::default();
    let err = fused_adamw(&one, &[], &one, &one, &one, &hyper).unwrap_err();
    assert!(matches!(err, NativeError::Length { what: "grads", got: 0, want: 1 }), "{err}");
    let err = fused_adamw(&one, &[Tensor::new()], &one, &one, &one, &hyper).unwrap_err();
    assert!(matches!(err, NativeError::Undefined { what: "grads", index: 0 }), "{err}");
    // A C++ exception (gradient of another shape) crosses as an error, not as an abort.
    let err = fused_adamw(&one, &[random(2, &[3])], &one, &one, &[Tensor::zeros([0i64; 0], (Kind::Float, Device::Cpu))], &hyper);
    assert!(matches!(err, Err(NativeError::Torch(_))), "{err:?}");
}

#[test]
fn a_mapped_file_is_its_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.bin");
    std::fs::write(&path, b"twelve bytes").unwrap();
    assert_eq!(native::MappedFile::open(&path).unwrap().as_ref(), b"twelve bytes");
    let err = native::MappedFile::open(&dir.path().join("none")).unwrap_err();
    assert!(err.to_string().contains("none"), "{err}");
}

/// Whatever the kind, and wherever the bytes lie: a safetensors file's data need not begin at a multiple of their width.
#[test]
fn a_mapped_file_gives_tensors_of_float32() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.bin");
    let want = Tensor::from_slice(&[1.5f32, -2.0, 0.25, 3.0, -0.5, 8.0]).view([2, 3]);
    for kind in [Kind::Float, Kind::BFloat16, Kind::Half, Kind::Double] {
        let width = kind.elt_size_in_bytes();
        for before in [0, 1, 8] {
            let mut bytes = vec![7u8; before + 6 * width + 3];
            want.to_kind(kind).copy_data_u8(&mut bytes[before..before + 6 * width], 6);
            std::fs::write(&path, &bytes).unwrap();
            let file = native::MappedFile::open(&path).unwrap();
            let got = file.float32(before..before + 6 * width, &[2, 3], kind).unwrap();
            drop(file);
            assert_eq!((got.kind(), got.size()), (Kind::Float, vec![2, 3]), "{kind:?} at {before}");
            assert!(got == want, "{kind:?} at {before}: {got:?}");
        }
    }
    let file = native::MappedFile::open(&path).unwrap();
    assert!(file.float32(0..0, &[0, 3], Kind::Float).unwrap().size() == [0, 3]);
    let scalar = file.float32(8..16, &[], Kind::Double).unwrap();
    assert_eq!(scalar.double_value(&[]), 1.5);
}

#[test]
fn lasting_zeros_are_zeros_of_the_same_layout() {
    for size in [[3, 5], [1024, 512]] {
        let across = Tensor::ones(size, (Kind::Float, Device::Cpu)).transpose(0, 1); // as GPT-2's maps may lie
        let mut zeros = native::lasting_zeros(&across).unwrap();
        assert!(
            zeros.size() == across.size() && zeros.stride() == across.stride() && zeros.kind() == Kind::Float && !zeros.requires_grad()
        );
        assert_eq!(zeros.abs().sum(Kind::Double).double_value(&[]), 0.0);
        _ = zeros.fill_(2.0);
        let other = native::lasting_zeros(&across).unwrap();
        assert_eq!(zeros.sum(Kind::Double).double_value(&[]), 2.0 * (size[0] * size[1]) as f64);
        drop(zeros);
        assert_eq!(other.sum(Kind::Double).double_value(&[]), 0.0);
    }
}
