//! Kinds of rotary scaling against transformers, in both spellings. Settings and numbers are of scripts/reference/model.py.

use crate::common;

use common::{Expected, gap, golden};
use model::config::{Position, RopeScaling};
use model::{Config, Model, Sampling, generate};
use serde_json::{Map, Value, json};
use std::path::Path;
use tch::Device;

/// `folder` in `to`, with `keys` in place of what its configuration says of rotary positions.
fn with_keys(folder: &str, keys: &Value, to: &Path) {
    let text = std::fs::read_to_string(golden(folder).join("config.json")).unwrap();
    let mut config: Map<String, Value> = serde_json::from_str(&text).unwrap();
    config.retain(|key, _| !key.starts_with("rope"));
    config.extend(keys.as_object().unwrap().clone());
    std::fs::write(to.join("config.json"), Value::Object(config).to_string()).unwrap();
    std::fs::copy(golden(folder).join("model.safetensors"), to.join("model.safetensors")).unwrap();
}

#[test]
fn every_kind_agrees_with_transformers() {
    let expected = Expected::read("rope");
    let settings: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(golden("rope.json")).unwrap()).unwrap();
    assert_eq!(settings.len(), 9);
    for setting in &settings {
        let name = setting["name"].as_str().unwrap();
        for spelling in ["new", "old"] {
            let dir = tempfile::tempdir().unwrap();
            with_keys(setting["folder"].as_str().unwrap(), &setting[spelling], dir.path());
            let model = Model::load(dir.path(), Device::Cpu).unwrap();
            let Position::Rotary(rope) = &model.config().position else { panic!("{name}: learned positions") };
            assert!(rope.theta == 500.0 && rope.scaling != RopeScaling::None, "{name}, {spelling}: {rope:?}");
            let logits = tch::no_grad(|| model.logits(&model.forward_hidden(expected.get("ids"), None, false)));
            let found = gap(&logits, expected.get(&format!("{name}.logits")));
            println!("{name:14} {spelling} logits {found:.1e}");
            assert!(found < 1e-4, "{name}, {spelling}: logits differ by {found}");
            let prompts: Vec<Vec<u32>> = (0..4).map(|i| expected.ids(&format!("{name}.prompt.{i}"))).collect();
            let sampling = Sampling { max_new: 16, temperature: 0.0, stop: vec![5], ..Sampling::default() };
            for (i, got) in generate(&model, &prompts, &sampling).unwrap().iter().enumerate() {
                assert_eq!(got.ids, expected.ids(&format!("{name}.greedy.{i}")), "{name}, {spelling}: prompt {i}");
            }
        }
    }
    // The kinds must differ from one another, or the comparison proves little.
    for (i, a) in settings.iter().enumerate() {
        for b in &settings[i + 1..] {
            let [a, b] = [a, b].map(|s| expected.get(&format!("{}.logits", s["name"].as_str().unwrap())));
            assert!(gap(a, b) > 1e-2);
        }
    }
}

#[test]
fn what_is_not_known_is_refused() {
    let refuse = |folder: &str, keys: Value, words: &[&str]| {
        let dir = tempfile::tempdir().unwrap();
        with_keys(folder, &keys, dir.path());
        let message = Config::load(dir.path()).unwrap_err().to_string();
        for word in words.iter().chain(&["config.json"]) {
            assert!(message.contains(word), "{message:?} lacks {word:?}");
        }
    };
    refuse("llama", json!({"rope_scaling": {"type": "su", "factor": 2.0}}), &["rope_scaling", "\"su\"", "yarn", "longrope"]);
    refuse("llama", json!({"rope_parameters": {"rope_type": "proportional"}}), &["rope_parameters", "\"proportional\""]);
    refuse("llama", json!({"rope_parameters": {"rope_type": "linear"}}), &["\"linear\" needs factor"]);
    refuse("llama", json!({"rope_parameters": {"rope_type": "dynamic", "factor": -1.0}}), &["factor is -1"]);
    refuse("llama", json!({"rope_parameters": {"rope_type": "llama3", "factor": 8.0}}), &["needs low_freq_factor"]);
    refuse("llama", json!({"rope_parameters": {"rope_type": "longrope", "short_factor": [1.0]}}), &["needs long_factor"]);
    let short = json!({"rope_type": "longrope", "short_factor": [1.0], "long_factor": [1.0], "factor": 2.0});
    refuse("llama", json!({"rope_parameters": short}), &["short_factor has 1 numbers", "2 wavelengths"]);
    refuse("llama", json!({"partial_rotary_factor": 0.5}), &["partial_rotary_factor", "gpt_neox"]);
    refuse("neox", json!({"rotary_pct": 0.4}), &["3 features", "pairs"]);
    refuse("neox", json!({"rotary_pct": 1.5}), &["partial_rotary_factor", "(0, 1]"]);
    refuse("neox", json!({"rotary_pct": 0.25, "rope_scaling": {"type": "dynamic", "factor": 2.0}}), &["more than two features"]);
}

#[test]
fn defaults_are_those_of_the_family() {
    let read = |folder: &str, keys: Value| {
        let dir = tempfile::tempdir().unwrap();
        with_keys(folder, &keys, dir.path());
        let config = Config::load(dir.path()).unwrap();
        let Position::Rotary(rope) = config.position else { panic!("learned positions") };
        (rope.theta, rope.width, config.context)
    };
    assert_eq!(read("neox", json!({})), (10000.0, 2, 64), "a quarter of a head");
    assert_eq!(read("neox", json!({"rotary_pct": 1.0, "rotary_emb_base": 50.0})), (50.0, 8, 64));
    assert_eq!(read("llama", json!({})), (10000.0, 4, 64));
    let dynamic = json!({"rope_scaling": {"type": "dynamic", "factor": 2.0}});
    assert_eq!(read("llama", dynamic), (10000.0, 4, 128), "its reach is the stretched context");
    assert_eq!(read("llama", json!({"rope_scaling": {"type": "linear", "factor": 2.0}})), (10000.0, 4, 64));
}
