//! What the tests of both kinds of activations share.

use native::dense;
use std::cell::Cell;
use std::process::Command;
use tch::{Device, Kind, Tensor};

/// The types that this processor has kernels for, and their tolerance: `rounded` in bfloat16, see `dense.rs`.
pub fn kinds(rounded: f64) -> Vec<(Kind, f64)> {
    let both = [(Kind::BFloat16, rounded), (Kind::Float, 1e-5)];
    let (here, absent): (Vec<_>, Vec<_>) = both.into_iter().partition(|(kind, _)| dense::supported(*kind));
    for (kind, _) in absent {
        eprintln!("SKIPPED: no kernels for {kind:?} on this processor");
    }
    here
}

/// Runs the tests of this file again with the kernels of float32 for AVX2 and of bfloat16 without AMX, where those for AVX-512 or with AMX have been tested.
pub fn narrower() {
    let wide = [(Kind::Float, "AVX-512", "RLHF_F32_VECTORS", "256"), (Kind::BFloat16, "AMX", "RLHF_BF16_TILES", "0")];
    let others: Vec<_> = wide.into_iter().filter(|(kind, name, ..)| dense::instructions(*kind) == Some(*name)).collect();
    if others.is_empty() {
        return eprintln!("SKIPPED: no others on this processor, or these are they");
    }
    let tests = std::env::current_exe().expect("a test knows its file");
    let done = Command::new(tests).envs(others.iter().map(|(.., key, value)| (key, value))).output().expect("tests start");
    assert!(done.status.success(), "{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
}

thread_local! {
    /// Where this test's numbers stand. libtorch's generator is one for the process, and tests that run side by side would draw from it in any order.
    static DRAWS: Cell<u64> = const { Cell::new(0) };
}

/// The numbers that the test on this thread draws begin anew.
pub fn seed(seed: u64) {
    DRAWS.set(seed << 32);
}

/// In (0, 1): splitmix64, the upper 53 bits.
fn draw() -> f64 {
    let state = DRAWS.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    DRAWS.set(state);
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (((mixed ^ (mixed >> 31)) >> 11) as f64 + 0.5) / (1u64 << 53) as f64
}

/// Normal numbers that are of this type already, in float32.
pub fn normal(kind: Kind, shape: &[i64]) -> Tensor {
    let one = |_| ((-2.0 * draw().ln()).sqrt() * (std::f64::consts::TAU * draw()).cos()) as f32; // Box and Muller's
    let values: Vec<f32> = (0..shape.iter().product::<i64>()).map(one).collect();
    Tensor::from_slice(&values).view(shape).to_kind(kind).to_kind(Kind::Float)
}

pub fn close(name: &str, got: &Tensor, want: &Tensor, share: f64) {
    assert_eq!(got.size(), want.size(), "{name}");
    let (got, want) = (got.to_kind(Kind::Float), want.to_kind(Kind::Float));
    let (difference, largest) = ((&got - &want).abs().max().double_value(&[]), want.abs().max().double_value(&[]));
    assert!(difference <= share * largest, "{name}: {difference:e} of {largest:e}");
}

/// Values and gradients of the two ways to compute `leaves` → a tensor, under the same weighting of its elements.
pub fn compare(
    (kind, near): (Kind, f64),
    name: &str,
    leaves: &[Tensor],
    ours: impl Fn(&[Tensor]) -> Tensor,
    theirs: impl Fn(&[Tensor]) -> Tensor,
) {
    let run = |f: &dyn Fn(&[Tensor]) -> Tensor| {
        let leaves: Vec<Tensor> = leaves.iter().map(|t| t.detach().copy().set_requires_grad(true)).collect();
        let y = f(&leaves);
        // Of i², not i: their sums over rows would all but vanish, and every rounding would be large beside them.
        let weights = (Tensor::arange(y.numel() as i64, (Kind::Double, Device::Cpu)).square() * 0.7).sin().view(y.size().as_slice());
        let weights = weights.to_kind(kind).to_kind(Kind::Float);
        (y.to_kind(Kind::Float) * weights).sum(Kind::Float).backward();
        (y, leaves.into_iter().map(|t| t.grad()).collect::<Vec<_>>())
    };
    let ((y, grads), (want, expected)) = (run(&ours), run(&theirs));
    assert_eq!(y.kind(), kind, "{name}");
    close(&format!("{name} in {kind:?}"), &y, &want, near);
    for (i, (g, e)) in grads.iter().zip(&expected).enumerate() {
        close(&format!("{name} in {kind:?}, gradient {i}"), g, e, near);
    }
    let free = tch::no_grad(|| ours(leaves));
    assert!(free.equal(&y.detach()) && !free.requires_grad(), "{name}: without autograd the same bits");
}
