//! AdamW against PyTorch (fixture and generator: scripts/reference/optim.py), against its own formula, and across a save.

use data::config::{Muon, Optim, OptimKind, Sgd};
use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use tch::{Kind, Tensor};
use train::optim::{Optimizer, Param};

/// Names of the fixture's parameters and whether they decay.
const PARAMS: [(&str, bool); 4] = [("wte", true), ("h.0.w", true), ("h.0.b", false), ("late", false)];
const CONFIG: Optim = Optim {
    kind: OptimKind::Adamw,
    lr: 1.0,
    beta1: 0.9,
    beta2: 0.95,
    eps: 1e-8,
    tf_style: false,
    weight_decay: 0.1,
    l1: 0.0,
    clip_norm: 1.0,
    sgd: Sgd::DEFAULT,
    muon: Muon::DEFAULT,
};

struct Golden(HashMap<String, Tensor>);

impl Golden {
    fn load() -> Golden {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/adamw.safetensors");
        Golden(Tensor::read_safetensors(path).expect(path).into_iter().collect())
    }

    fn get(&self, name: &str) -> &Tensor {
        &self.0[name]
    }

    fn number(&self, name: &str, step: usize) -> f64 {
        self.get(name).double_value(&[step as i64])
    }

    fn params(&self) -> Vec<Tensor> {
        PARAMS.iter().map(|(name, _)| self.get(&format!("start.{name}")).copy().set_requires_grad(true)).collect()
    }
}

fn optimiser(params: &[Tensor]) -> Optimizer {
    optimiser_with(params, &CONFIG)
}

fn optimiser_with(params: &[Tensor], config: &Optim) -> Optimizer {
    let named = params.iter().zip(PARAMS).map(|(p, (name, decay))| Param { name: name.into(), tensor: p.shallow_clone(), decay, unit: 0 });
    Optimizer::new(named.collect(), config).unwrap()
}

/// Gives the parameter this gradient by way of autograd, as a loss would.
fn push(param: &Tensor, gradient: &Tensor) {
    (param * gradient).sum(Kind::Float).backward();
}

fn run(golden: &Golden, params: &[Tensor], optim: &mut Optimizer, steps: Range<usize>, check: impl FnMut(usize, f64)) {
    run_with(golden, params, optim, steps, CONFIG.clip_norm, check);
}

fn run_with(golden: &Golden, params: &[Tensor], optim: &mut Optimizer, steps: Range<usize>, clip: f64, mut check: impl FnMut(usize, f64)) {
    for step in steps {
        for (param, (name, _)) in params.iter().zip(PARAMS) {
            if let Some(gradient) = golden.0.get(&format!("grad.{step}.{name}")) {
                push(param, gradient);
            }
        }
        let norm = optim.clip_and_step(golden.number("rates", step), clip).unwrap();
        check(step, norm);
    }
}

fn close(what: &str, got: &Tensor, want: &Tensor) {
    let gap = (got.detach() - want).abs().max().double_value(&[]);
    assert!(gap <= 2e-6, "{what}: off by {gap}");
}

#[test]
fn ten_steps_are_those_of_pytorch() {
    let golden = Golden::load();
    let params = golden.params();
    let mut optim = optimiser(&params);
    assert_eq!(optim.sizes(), (6 * 4 + 4 * 5, 5 + 3));
    let mut clipped = 0;
    run(&golden, &params, &mut optim, 0..10, |step, norm| {
        let want = golden.number("norms", step);
        assert!((norm - want).abs() < 1e-5 * want, "step {step}: norm {norm}, PyTorch has {want}");
        clipped += usize::from(want > CONFIG.clip_norm);
        for (param, (name, _)) in params.iter().zip(PARAMS) {
            close(&format!("{name} after step {step}"), param, golden.get(&format!("after.{step}.{name}")));
        }
    });
    assert_eq!(clipped, 3, "the fixture must exercise both sides of clipping");

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("optim.safetensors");
    optim.save(&path).unwrap();
    let saved: HashMap<String, Tensor> = Tensor::read_safetensors(&path).unwrap().into_iter().collect();
    for (name, _) in PARAMS {
        close(name, &saved[&format!("{name}.exp_avg")], golden.get(&format!("exp_avg.{name}")));
        close(name, &saved[&format!("{name}.exp_avg_sq")], golden.get(&format!("exp_avg_sq.{name}")));
        let steps = saved[&format!("{name}.step")].double_value(&[]);
        assert_eq!(steps, if name == "late" { 6.0 } else { 10.0 });
    }
}

#[test]
fn ten_steps_in_tensorflows_form() {
    let golden = Golden::load();
    let params = golden.params();
    let config = Optim { tf_style: true, eps: 1e-2, beta2: 0.999, clip_norm: 0.0, ..CONFIG };
    let mut optim = optimiser_with(&params, &config);
    for step in 0..10 {
        run_with(&golden, &params, &mut optim, step..step + 1, config.clip_norm, |_, _| {});
        for (param, (name, _)) in params.iter().zip(PARAMS) {
            close(&format!("{name} after step {step}"), param, golden.get(&format!("tf.{step}.{name}")));
        }
    }
    // ε in PyTorch's place gives something else: the fixture can tell the two apart.
    let usual = golden.params();
    run_with(&golden, &usual, &mut optimiser_with(&usual, &Optim { tf_style: false, ..config }), 0..10, 0.0, |_, _| {});
    let gap = (usual[0].detach() - golden.get("tf.9.wte")).abs().max().double_value(&[]);
    assert!(gap > 1e-3, "{gap}");
}

/// The formula of the module's documentation, in f64, one parameter at a time.
#[test]
fn the_fused_kernel_is_the_formula() {
    let golden = Golden::load();
    let params = golden.params();
    let mut plain: Vec<(Tensor, Tensor, Tensor, i32)> = params
        .iter()
        .map(|p| (p.detach().to_kind(Kind::Double), p.zeros_like().to_kind(Kind::Double), p.zeros_like().to_kind(Kind::Double), 0))
        .collect();
    let mut optim = optimiser(&params);
    run(&golden, &params, &mut optim, 0..10, |step, norm| {
        let lr = golden.number("rates", step);
        for ((theta, m, v, t), (name, decay)) in plain.iter_mut().zip(PARAMS) {
            let Some(g) = golden.0.get(&format!("grad.{step}.{name}")) else { continue };
            let g = g.to_kind(Kind::Double) * (CONFIG.clip_norm / (norm + 1e-6)).min(1.0);
            *t += 1;
            *theta = &*theta * (1.0 - lr * if decay { CONFIG.weight_decay } else { 0.0 });
            *m = &*m * CONFIG.beta1 + &g * (1.0 - CONFIG.beta1);
            *v = &*v * CONFIG.beta2 + g.square() * (1.0 - CONFIG.beta2);
            let (c1, c2) = (1.0 - CONFIG.beta1.powi(*t), 1.0 - CONFIG.beta2.powi(*t));
            *theta = &*theta - (&*m / c1) / ((&*v / c2).sqrt() + CONFIG.eps) * lr;
        }
        for ((theta, ..), (param, (name, _))) in plain.iter().zip(params.iter().zip(PARAMS)) {
            close(&format!("{name} after step {step}"), param, theta);
        }
    });
}

#[test]
fn saved_and_loaded_goes_on_to_the_last_bit() {
    let golden = Golden::load();
    let straight = golden.params();
    run(&golden, &straight, &mut optimiser(&straight), 0..10, |_, _| {});

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("optim.safetensors");
    let before = golden.params();
    let mut first = optimiser(&before);
    run(&golden, &before, &mut first, 0..5, |_, _| {});
    first.save(&path).unwrap();
    let after: Vec<Tensor> = before.iter().map(|p| p.detach().copy().set_requires_grad(true)).collect();
    let mut second = optimiser(&after);
    second.load(&path).unwrap();
    run(&golden, &after, &mut second, 5..10, |_, _| {});
    for ((a, b), (name, _)) in straight.iter().zip(&after).zip(PARAMS) {
        assert!(a.equal(b), "{name} differs");
    }
}

#[test]
fn a_gradient_that_is_not_finite_changes_nothing() {
    let golden = Golden::load();
    let params = golden.params();
    let mut optim = optimiser(&params);
    run(&golden, &params, &mut optim, 0..1, |_, _| {});
    let before: Vec<Tensor> = params.iter().map(|p| p.detach().copy()).collect();
    let moments = |optim: &Optimizer| {
        let file = tempfile::NamedTempFile::new().unwrap();
        optim.save(file.path()).unwrap();
        let mut all = Tensor::read_safetensors(file.path()).unwrap();
        all.retain(|(name, _)| name != "skipped"); // the count is meant to change
        all.sort_by(|a, b| a.0.cmp(&b.0)); // a safetensors file has no order
        all
    };
    let saved = moments(&optim);
    let unchanged = |optim: &Optimizer| {
        assert!(params.iter().zip(&before).all(|(p, b)| p.detach().equal(b)));
        assert!(moments(optim).iter().zip(&saved).all(|((a, x), (b, y))| a == b && x.equal(y)), "a moment or a step count moved");
    };
    for (i, bad) in [f64::NAN, f64::INFINITY].into_iter().enumerate() {
        push(&params[0], &params[0].detach().full_like(bad));
        assert!(!optim.clip_and_step(0.1, 1.0).unwrap().is_finite());
        assert_eq!((optim.skipped(), optim.skipped_in_a_row()), (i as u64 + 1, i as u64 + 1));
        unchanged(&optim);
    }
    // A loss that is not finite leaves the step out, however good its gradient looks.
    push(&params[0], &params[0].detach().ones_like());
    assert!(optim.guarded_step(&dist::World::single(), f64::INFINITY, 0.1, 1.0).unwrap().is_finite());
    assert_eq!(optim.skipped(), 3);
    unchanged(&optim);
    // The bad gradient is gone: the next step is PyTorch's second.
    run(&golden, &params, &mut optim, 1..2, |_, _| {});
    close("wte", &params[0], golden.get("after.1.wte"));
    assert_eq!((optim.skipped(), optim.skipped_in_a_row()), (3, 0));
}

#[test]
fn moments_of_another_model_are_refused() {
    let golden = Golden::load();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("optim.safetensors");
    let one = |name: &str, shape: i64| {
        let tensor = Tensor::zeros([shape], (Kind::Float, tch::Device::Cpu)).set_requires_grad(true);
        Optimizer::new(vec![Param { name: name.into(), tensor, decay: true, unit: 0 }], &CONFIG).unwrap()
    };
    let refusal = |optim: &mut Optimizer, path: &Path| optim.load(path).unwrap_err().to_string();
    one("a", 3).save(&path).unwrap();
    assert!(refusal(&mut one("b", 3), &path).contains("lacks b.exp_avg"));
    assert!(refusal(&mut one("a", 4), &path).contains("a.exp_avg has shape [3], the parameter [4]"));
    optimiser(&golden.params()).save(&path).unwrap();
    assert!(refusal(&mut one("wte", 3), &path).contains("shape"));
    assert!(refusal(&mut one("a", 3), Path::new("/nowhere/optim.safetensors")).contains("/nowhere/optim.safetensors"));
    std::fs::write(&path, "not safetensors").unwrap();
    assert!(refusal(&mut one("a", 3), &path).contains("optim.safetensors"));
}
