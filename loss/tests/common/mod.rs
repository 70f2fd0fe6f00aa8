//! Reading fixtures and comparing tensors.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::HashMap;
use tch::{Kind, Tensor};

/// A fixture of scripts/reference.
pub struct Golden(HashMap<String, Tensor>);

impl Golden {
    /// That of loss.py.
    pub fn load() -> Golden {
        Golden::read("loss")
    }

    /// That of loss_variants.py.
    pub fn variants() -> Golden {
        Golden::read("variants")
    }

    /// That of loss_soft.py.
    pub fn soft() -> Golden {
        Golden::read("soft")
    }

    /// That of distill.py.
    pub fn distill() -> Golden {
        Golden::read("distill")
    }

    fn read(name: &str) -> Golden {
        let path = format!("{}/tests/golden/{name}.safetensors", env!("CARGO_MANIFEST_DIR"));
        Golden(Tensor::read_safetensors(&path).expect(&path).into_iter().collect())
    }

    /// A tensor by name.
    pub fn get(&self, name: &str) -> Tensor {
        self.0.get(name).unwrap_or_else(|| panic!("the fixture lacks {name}")).copy()
    }

    /// A tensor by name, as a leaf that collects a gradient.
    pub fn leaf(&self, name: &str) -> Tensor {
        self.get(name).set_requires_grad(true)
    }

    /// A number by name.
    pub fn number(&self, name: &str) -> f64 {
        self.get(name).double_value(&[])
    }

    /// Several numbers by name.
    pub fn numbers(&self, name: &str) -> Vec<f64> {
        floats(&self.get(name))
    }

    /// Asserts that `got` is the tensor `name`.
    pub fn check(&self, name: &str, got: &Tensor) {
        close(name, got, &self.get(name));
    }
}

/// All elements.
pub fn floats(t: &Tensor) -> Vec<f64> {
    Vec::try_from(&t.detach().to_kind(Kind::Double).reshape([-1])).expect("floats")
}

/// Asserts equality up to float32 rounding.
pub fn close(what: &str, got: &Tensor, want: &Tensor) {
    assert_eq!(got.size(), want.size(), "{what}: shape");
    for (i, (g, w)) in floats(got).into_iter().zip(floats(want)).enumerate() {
        assert!((g - w).abs() <= 2e-6 + 1e-5 * w.abs(), "{what}[{i}]: got {g}, PyTorch has {w}");
    }
}

/// Asserts equality of two numbers up to float32 rounding.
pub fn near(what: &str, got: f64, want: f64) {
    assert!((got - want).abs() <= 2e-6 + 1e-5 * want.abs(), "{what}: got {got}, PyTorch has {want}");
}
