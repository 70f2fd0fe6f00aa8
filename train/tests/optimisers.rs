//! The kinds of optimisers besides AdamW against PyTorch, L1 against scikit-learn's lasso, and all across a save (fixture and generator:
//! scripts/reference/optimisers.py).

use data::config::{Optim, OptimKind, Sgd};
use std::collections::HashMap;
use std::ops::Range;
use tch::{Kind, Tensor};
use train::optim::{Optimizer, Param};

/// Names of the fixture's parameters, whether they decay, and whether they are matrices of a block.
const PARAMS: [(&str, bool, bool); 5] =
    [("wte", true, false), ("h.0.w", true, true), ("h.0.up", true, true), ("h.0.b", false, true), ("late", false, false)];
const STEPS: usize = 10;

fn config(kind: OptimKind) -> Optim {
    Optim { kind, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, clip_norm: 1.0, ..Optim::default() }
}

/// All that the fixture has: its name there, the configuration, and the names of the state of a block's matrix.
fn kinds() -> Vec<(&'static str, Optim, &'static [&'static str])> {
    let sgd = |momentum, dampening, nesterov| Optim { sgd: Sgd { momentum, dampening, nesterov }, ..config(OptimKind::Sgd) };
    vec![
        ("adam", config(OptimKind::Adam), &["exp_avg", "exp_avg_sq"]),
        ("sgd", sgd(0.0, 0.0, false), &[]),
        ("sgd_momentum", sgd(0.9, 0.3, false), &["momentum_buffer"]),
        ("sgd_nesterov", sgd(0.9, 0.0, true), &["momentum_buffer"]),
        ("lion", Optim { beta2: 0.99, ..config(OptimKind::Lion) }, &["exp_avg"]),
        ("l1", Optim { l1: 0.5, ..config(OptimKind::Adamw) }, &["exp_avg", "exp_avg_sq"]),
        ("muon", config(OptimKind::Muon), &["momentum_buffer"]),
    ]
}

struct Golden(HashMap<String, Tensor>);

impl Golden {
    fn load() -> Golden {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/optimisers.safetensors");
        Golden(Tensor::read_safetensors(path).expect(path).into_iter().collect())
    }

    fn params(&self) -> Vec<Tensor> {
        PARAMS.iter().map(|(name, ..)| self.0[&format!("start.{name}")].copy().set_requires_grad(true)).collect()
    }

    /// Gives each parameter its gradient by way of autograd and steps; `late` gets its first in step 4.
    fn run(&self, params: &[Tensor], optim: &mut Optimizer, steps: Range<usize>, mut check: impl FnMut(usize)) {
        for step in steps {
            for (param, (name, ..)) in params.iter().zip(PARAMS).filter(|(_, (name, ..))| step >= 4 || *name != "late") {
                (param * self.0[&format!("grad.{name}")].get(step as i64)).sum(Kind::Float).backward();
            }
            optim.clip_and_step(0.01 * (step as f64 + 1.0), 1.0).unwrap();
            check(step);
        }
    }
}

fn optimiser(params: &[Tensor], c: &Optim) -> Optimizer {
    let named = params.iter().zip(PARAMS);
    let named = named.map(|(p, (name, decay, block))| Param { name: name.into(), tensor: p.shallow_clone(), decay, unit: block.into() });
    Optimizer::new(named.collect(), c).unwrap()
}

fn gap(got: &Tensor, want: &Tensor) -> f64 {
    (got.detach() - want).abs().max().double_value(&[])
}

fn state(optim: &Optimizer) -> HashMap<String, Tensor> {
    let file = tempfile::NamedTempFile::new().unwrap();
    optim.save(file.path()).unwrap();
    Tensor::read_safetensors(file.path()).unwrap().into_iter().collect()
}

#[test]
fn ten_steps_are_those_of_pytorch() {
    let golden = Golden::load();
    for (kind, c, moments) in kinds() {
        let params = golden.params();
        let mut optim = optimiser(&params, &c);
        golden.run(&params, &mut optim, 0..STEPS, |step| {
            for (param, (name, ..)) in params.iter().zip(PARAMS) {
                let off = gap(param, &golden.0[&format!("{kind}.{name}")].get(step as i64));
                assert!(off <= 4e-6, "{kind}: {name} after step {step} is off by {off}");
            }
        });
        let saved = state(&optim);
        for moment in moments {
            let (got, want) = (&saved[&format!("h.0.w.{moment}")], &golden.0[&format!("{kind}.state.h.0.w.{moment}")]);
            assert!(gap(got, want) <= 4e-6, "{kind}: {moment}");
        }
        let of_matrix = saved.keys().filter(|name| name.starts_with("h.0.w.")).count();
        assert_eq!(of_matrix, moments.len() + 1, "{kind}: moments and the number of steps");
        assert_eq!(saved["late.step"].double_value(&[]), 6.0, "{kind}");
    }
}

/// In bfloat16, as PyTorch works the iteration out, a step differs by that number's rounding and no more.
#[test]
fn muon_is_near_what_it_is_in_bfloat16() {
    let golden = Golden::load();
    let params = golden.params();
    let mut optim = optimiser(&params, &config(OptimKind::Muon));
    golden.run(&params, &mut optim, 0..STEPS, |_| {});
    for (param, (name, ..)) in params.iter().zip(PARAMS) {
        let path = &golden.0[&format!("muon_bfloat16.{name}")];
        let (off, way) = (gap(param, &path.get(9)), gap(&path.get(9), &golden.0[&format!("start.{name}")]));
        assert!(off <= 0.03 * way, "{name}: {off} of {way}");
    }
}

#[test]
fn saved_and_loaded_goes_on_to_the_last_bit() {
    let golden = Golden::load();
    for (kind, c, _) in kinds() {
        let straight = golden.params();
        let mut whole = optimiser(&straight, &c);
        golden.run(&straight, &mut whole, 0..STEPS, |_| {});

        let file = tempfile::NamedTempFile::new().unwrap();
        let before = golden.params();
        let mut first = optimiser(&before, &c);
        golden.run(&before, &mut first, 0..5, |_| {});
        first.save(file.path()).unwrap();
        let after: Vec<Tensor> = before.iter().map(|p| p.detach().copy().set_requires_grad(true)).collect();
        let mut second = optimiser(&after, &c);
        second.load(file.path()).unwrap();
        golden.run(&after, &mut second, 5..STEPS, |_| {});
        assert!(straight.iter().zip(&after).all(|(a, b)| a.equal(b)), "{kind}");
        let (a, b) = (state(&whole), state(&second));
        assert!(a.len() == b.len() && a.iter().all(|(name, t)| t.equal(&b[name])), "{kind}: state");
    }
}

#[test]
fn the_state_of_another_kind_is_refused() {
    let golden = Golden::load();
    let file = tempfile::NamedTempFile::new().unwrap();
    let params = golden.params();
    optimiser(&params, &config(OptimKind::Adamw)).save(file.path()).unwrap();
    let refusal = |kind| optimiser(&params, &config(kind)).load(file.path()).unwrap_err().to_string();
    assert!(refusal(OptimKind::Lion).contains("exp_avg_sq, which this model does not have"), "{}", refusal(OptimKind::Lion));
    assert!(refusal(OptimKind::Sgd).contains("lacks"), "{}", refusal(OptimKind::Sgd));
}

/// Gradient descent with a soft threshold is iterative shrinkage: it ends at the lasso's weights, zeros where it has zeros.
#[test]
fn l1_ends_at_the_lasso() {
    let golden = Golden::load();
    let (x, y, want) = (&golden.0["lasso.x"], &golden.0["lasso.y"], &golden.0["lasso.w"]);
    let l1 = golden.0["lasso.alpha"].double_value(&[]);
    let c = Optim { l1, weight_decay: 0.0, sgd: Sgd { momentum: 0.0, ..Sgd::DEFAULT }, ..config(OptimKind::Sgd) };
    let w = want.zeros_like().set_requires_grad(true);
    let mut optim = Optimizer::new(vec![Param { name: "w".into(), tensor: w.shallow_clone(), decay: true, unit: 0 }], &c).unwrap();
    for _ in 0..600 {
        ((x.mv(&w) - y).square().sum(Kind::Float) / (2.0 * y.numel() as f64)).backward();
        optim.clip_and_step(0.3, 0.0).unwrap();
    }
    assert!(gap(&w, want) < 1e-4, "{w} and {want}");
    let zeros = want.eq(0.0).sum(Kind::Int64).int64_value(&[]);
    assert!(w.detach().eq_tensor(&w.detach().zeros_like()).equal(&want.eq(0.0)), "the zeros are exact");
    assert_eq!(optim.zeros(&dist::World::single()).unwrap(), zeros as f64 / want.numel() as f64);
}
