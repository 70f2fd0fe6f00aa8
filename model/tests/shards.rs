//! Weights in several files, in 16 bits, and as pickles.

use crate::common;

use common::{golden, same, tiny, tokens};
use model::{HeadKind, Model, lineage};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use tch::{Device, no_grad};

fn files(folder: &Path) -> BTreeSet<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    names.filter(|n| n.contains("safetensors")).collect()
}

fn copy(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(golden(name)).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    dir
}

#[test]
fn a_large_model_is_written_in_shards() {
    let dir = tempfile::tempdir().unwrap();
    let model = tiny(HeadKind::Lm, 0.0);
    model.save(dir.path()).unwrap();
    let hash = lineage::weights_hash(dir.path()).unwrap();
    assert_eq!(files(dir.path()), BTreeSet::from(["model.safetensors".to_string()]), "one file below the limit");
    model.save_in_shards(dir.path(), 20_000).unwrap();
    let names = files(dir.path());
    let shards = names.len() - 1;
    assert!(shards > 3 && names.contains("model.safetensors.index.json") && !names.contains("model.safetensors"), "{names:?}");
    assert!((1..=shards).all(|i| names.contains(&format!("model-{i:05}-of-{shards:05}.safetensors"))), "{names:?}");
    let index: Value = serde_json::from_str(&std::fs::read_to_string(dir.path().join("model.safetensors.index.json")).unwrap()).unwrap();
    assert_eq!(index["metadata"]["total_size"], json!(4 * model.parameter_count()));
    assert_eq!(index["weight_map"].as_object().unwrap().len(), model.parameters().len());
    for name in names.iter().filter(|n| n.ends_with("safetensors")) {
        let tensors = tch::Tensor::read_safetensors(dir.path().join(name)).unwrap();
        let bytes: usize = tensors.iter().map(|(_, t)| 4 * t.numel()).sum();
        assert!(tensors.len() == 1 || bytes <= 20_000, "{name}: {bytes} bytes");
    }
    let again = Model::load(dir.path(), Device::Cpu).unwrap();
    assert!(model.parameters().iter().zip(again.parameters()).all(|(a, b)| a.name == b.name && same(&a.tensor, &b.tensor)));
    assert_ne!(lineage::weights_hash(dir.path()).unwrap(), hash, "the hash is of files");
    // Fewer shards, then one file: nothing of the earlier ones stays.
    model.save_in_shards(dir.path(), 40_000).unwrap();
    assert!(files(dir.path()).len() - 1 < shards);
    assert!(Model::load(dir.path(), Device::Cpu).is_ok());
    model.save(dir.path()).unwrap();
    assert_eq!(files(dir.path()), BTreeSet::from(["model.safetensors".to_string()]));
    assert_eq!(lineage::weights_hash(dir.path()).unwrap(), hash);
}

#[test]
fn a_write_that_fails_is_said_to_be_one() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("model.safetensors")).unwrap(); // a folder is in the way
    let error = tiny(HeadKind::Lm, 0.0).save(dir.path()).unwrap_err();
    let said = error.to_string();
    assert!(said.contains("model.safetensors: writing the weights failed: ") && !error.is_input(), "{said}");
}

#[test]
fn broken_shards_are_named() {
    let load = |change: &dyn Fn(&Path)| {
        let dir = copy("neox_shards");
        change(dir.path());
        Model::load(dir.path(), Device::Cpu).map(|_| ()).unwrap_err().to_string()
    };
    let says = |message: String, words: &[&str]| {
        for word in words {
            assert!(message.contains(word), "{message:?} lacks {word:?}");
        }
    };
    let index = |change: &dyn Fn(&mut Value)| {
        load(&|d| {
            let path = d.join("model.safetensors.index.json");
            let mut index: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
            change(&mut index);
            std::fs::write(path, index.to_string()).unwrap();
        })
    };
    const FIRST: &str = "model-00001-of-00003.safetensors";
    const SECOND: &str = "model-00002-of-00003.safetensors";
    let remove = |names: &'static [&str]| move |d: &Path| names.iter().for_each(|n| std::fs::remove_file(d.join(n)).unwrap());
    says(load(&remove(&[SECOND])), &["index.json", "1 of 3 shards are missing", SECOND]);
    says(load(&remove(&[FIRST, SECOND])), &["2 of 3", FIRST, SECOND]);
    says(load(&remove(&["model.safetensors.index.json"])), &["model.safetensors is missing", "model.safetensors.index.json"]);
    says(index(&|i| i["weight_map"]["absent.weight"] = json!(SECOND)), &["absent.weight should be in", SECOND]);
    says(index(&|i| i["weight_map"]["embed_out.weight"] = json!("../other.safetensors")), &["embed_out.weight", "no file name"]);
    says(index(&|i| i["weight_map"]["embed_out.weight"] = json!(7)), &["embed_out.weight", "no file name"]);
    says(index(&|i| i["weight_map"] = json!({})), &["weight_map is missing or empty"]);
    says(index(&|i| *i = json!({"metadata": {}})), &["weight_map is missing or empty"]);
    let swap = |d: &Path| _ = std::fs::copy(d.join(FIRST), d.join(SECOND)).unwrap();
    says(load(&swap), &["should be in", SECOND, "not of one model"]);
    let tear = |d: &Path| std::fs::write(d.join(SECOND), b"torn").unwrap();
    says(load(&tear), &[SECOND, "not a readable safetensors file"]);
}

#[test]
fn sixteen_bits_become_thirty_two() {
    for (rounded, source) in [("llama_float16", "llama"), ("qwen2_bfloat16", "qwen2"), ("mistral_shards", "mistral")] {
        let [rounded, source] = [rounded, source].map(|name| Model::load(&golden(name), Device::Cpu).unwrap());
        let mut differ = false;
        for (a, b) in rounded.parameters().iter().zip(source.parameters()) {
            assert!(a.name == b.name && a.tensor.kind() == tch::Kind::Float);
            let far = no_grad(|| ((&a.tensor - &b.tensor).abs() / (b.tensor.abs() + 1e-6)).max().double_value(&[]));
            assert!(far < 1.0 / 256.0, "{}: {far} is more than rounding", a.name); // bfloat16 has 8 bits
            differ |= far > 0.0;
        }
        assert!(differ, "the weights of this fixture are rounded");
        assert_eq!(rounded.config().to_hf(HeadKind::Lm)["dtype"], json!("float32"), "as they are written again");
    }
}

#[test]
fn pickles_are_refused_with_a_way_out() {
    for name in ["pytorch_model.bin", "model.pt", "last.ckpt", "weights.pth"] {
        let dir = tempfile::tempdir().unwrap();
        tiny(HeadKind::Lm, 0.0).save(dir.path()).unwrap();
        std::fs::rename(dir.path().join("model.safetensors"), dir.path().join(name)).unwrap();
        let expect = |message: String| {
            for word in [name, "pickle", "save_pretrained", "AutoModelForSequenceClassification"] {
                assert!(message.contains(word), "{message:?} lacks {word:?}");
            }
        };
        expect(Model::load(dir.path(), Device::Cpu).map(|_| ()).unwrap_err().to_string());
        expect(model::resolve(&dir.path().join(name)).unwrap_err().to_string());
        std::fs::remove_file(dir.path().join("config.json")).unwrap();
        expect(model::resolve(dir.path()).unwrap_err().to_string());
    }
    // Beside readable weights a pickle is nobody's business: training arguments are one.
    let dir = tempfile::tempdir().unwrap();
    tiny(HeadKind::Lm, 0.0).save(dir.path()).unwrap();
    std::fs::write(dir.path().join("training_args.bin"), b"x").unwrap();
    let model = Model::load(dir.path(), Device::Cpu).unwrap();
    assert!(no_grad(|| model.forward_hidden(&tokens(1, 3, 1), None, false)).size() == [1, 3, 32]);
}
