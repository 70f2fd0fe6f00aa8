//! What the tests share.
#![allow(dead_code, missing_docs)]

use model::{Config, HeadKind, Model};
use std::path::PathBuf;
use tch::{Device, Kind, Tensor};

/// The language models among the fixtures.
pub const FAMILIES: [&str; 11] =
    ["gpt2", "llama", "llama_tied", "mistral", "mistral_tied", "qwen2", "qwen2_window", "qwen3", "qwen3_window", "neox", "neox_serial"];

/// The reward models among the fixtures.
pub const REWARDS: [&str; 6] = ["gpt2_reward", "llama_reward", "mistral_reward", "qwen2_reward", "qwen3_reward", "neox_reward"];

/// A fixture of scripts/reference/model.py.
pub fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// A fixture of scripts/reference/encoders.py.
pub fn encoders(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/encoders").join(name)
}

/// The expected numbers beside a fixture folder.
pub struct Expected(Vec<(String, Tensor)>);

impl Expected {
    pub fn read(name: &str) -> Expected {
        Expected::at(&golden(&format!("{name}.safetensors")))
    }

    pub fn at(path: &std::path::Path) -> Expected {
        Expected(Tensor::read_safetensors(path).unwrap())
    }

    pub fn get(&self, key: &str) -> &Tensor {
        &self.0.iter().find(|(k, _)| k == key).unwrap_or_else(|| panic!("no {key}")).1
    }

    pub fn ids(&self, key: &str) -> Vec<u32> {
        Vec::<i64>::try_from(self.get(key)).unwrap().into_iter().map(|i| i as u32).collect()
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(k, _)| k.as_str())
    }
}

/// Largest absolute difference.
pub fn gap(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.size(), b.size());
    (a.to_kind(Kind::Double) - b.to_kind(Kind::Double)).abs().max().double_value(&[])
}

/// Bit for bit the same.
pub fn same(a: &Tensor, b: &Tensor) -> bool {
    a.size() == b.size() && bool::try_from(a.eq_tensor(b).all()).unwrap()
}

/// A small fresh GPT-2 whose weights are large enough to have opinions.
pub fn tiny(head: HeadKind, dropout: f64) -> Model {
    let mut config = Config::gpt2(40, 64, 2, 4, 32, dropout).unwrap();
    config.init_std = 0.25;
    config.set_special(Some(0), &[0], Some(1));
    Model::new(config, head, Device::Cpu, 7).unwrap()
}

/// Random token ids from 2 to 39, `[rows, time]`; libtorch's generator is left alone, other tests may be using it.
pub fn tokens(rows: i64, time: i64, seed: u64) -> Tensor {
    let draw = |i: i64| 2 + (model::sample::uniform(seed, i as u64, 0) * 38.0) as i64;
    Tensor::from_slice(&(0..rows * time).map(draw).collect::<Vec<_>>()).view([rows, time])
}

/// The rows of `[B, T]` as token ids.
pub fn rows(ids: &Tensor) -> Vec<Vec<u32>> {
    let rows: Vec<Vec<i64>> = ids.try_into().unwrap();
    rows.into_iter().map(|r| r.into_iter().map(|i| i as u32).collect()).collect()
}
