//! Files that llama.cpp's own reader and transformers open, and the numbers in them.

use compress::blocks::Format;
use compress::gguf;
use data::tokenizer::Tokenizer;
use model::config::{Family, Shape};
use model::{Config, HeadKind, Model};
use std::path::Path;
use tch::Device;

/// A small model of the family with weights large enough to matter, and a byte tokenizer.
fn folder(dir: &Path, family: Family) {
    let tokenizer = Tokenizer::byte().expect("tokenizer");
    let shape = Shape { vocab_size: tokenizer.vocab_size(), context: 32, layers: 2, heads: 4, kv_heads: 0, width: 64, dropout: 0.0 };
    let grouped = matches!(family, Family::Llama | Family::Qwen2 | Family::Qwen3);
    let mut config = Config::fresh(family, Shape { kv_heads: if grouped { 2 } else { 0 }, ..shape }).expect("shape");
    config.set_special(tokenizer.bos(), &[tokenizer.eos()], Some(tokenizer.pad()));
    let model = Model::new(config, HeadKind::Lm, Device::Cpu, 5).expect("model");
    tch::no_grad(|| model.parameters().into_iter().for_each(|p| drop(p.tensor.detach().f_mul_scalar_(3.0))));
    model.save(dir).expect("weights");
    tokenizer.save(dir).expect("tokenizer");
}

/// llama.cpp's reader opens the file and finds the rounded folder's numbers; transformers makes the same network of both.
#[test]
fn others_read_our_files() {
    let python = std::env::var("RLHF_PYTHON").unwrap_or_default();
    let has_all = |python: &str| {
        let check = ["-c", "import gguf, torch, transformers"];
        std::process::Command::new(python).args(check).output().is_ok_and(|out| out.status.success())
    };
    if python.is_empty() || !has_all(&python) {
        eprintln!("SKIPPED: others_read_our_files because RLHF_PYTHON names no Python with gguf, torch and transformers");
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/reference/gguf_read.py");
    let dir = tempfile::tempdir().expect("folder");
    let mut command = std::process::Command::new(&python);
    command.arg(script);
    let mut cases = vec![];
    for (family, formats) in [
        (Family::Gpt2, &Format::ALL[..]),
        (Family::Llama, &Format::ALL[..]),
        (Family::Qwen2, &[Format::Q8_0]),
        (Family::Qwen3, &[Format::Q8_0]),
        (Family::GptNeoX, &[Format::F32, Format::Q4_0]),
    ] {
        let model = dir.path().join(format!("{family:?}"));
        folder(&model, family);
        for &format in formats {
            let at = model.join(format.name());
            let (file, rounded) = (at.join("model.gguf"), at.join("rounded"));
            let written = gguf::export(&model, &file, format, true).expect("export");
            assert_eq!(written.bytes, std::fs::metadata(&file).expect("file").len());
            gguf::round_folder(&model, &rounded, format).expect("rounded");
            command.arg(file).arg(rounded).arg((written.in_format + written.in_float).to_string());
            cases.push((family, format));
        }
    }
    let out = command.output().expect("python");
    let (text, errors) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{errors}");
    assert_eq!(text.lines().count(), cases.len());
    for ((family, format), line) in cases.into_iter().zip(text.lines()) {
        let found: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let number = |key: &str| found[key].as_f64().unwrap_or(f64::NAN);
        let (sum, ours) = (number("sum"), number("folder_sum"));
        assert!((sum / ours - 1.0).abs() < 1e-6, "{family:?} {format:?}: {found}");
        if family != Family::GptNeoX {
            // Both are float32 networks of the same weights: what differs is the order of sums.
            assert!(number("distance") <= 1e-5 * number("scale").max(1.0), "{family:?} {format:?}: {found}");
        }
    }
}

/// The rounded folder is what the file holds, its size falls with the bits, and a file is never torn.
#[test]
fn fewer_bits_are_smaller_and_further_off() {
    let dir = tempfile::tempdir().expect("folder");
    let model = dir.path().join("model");
    folder(&model, Family::Llama);
    let before = Model::load(&model, Device::Cpu).expect("model");
    let ids = tch::Tensor::arange_start(1, 17, (tch::Kind::Int64, Device::Cpu)).unsqueeze(0);
    let logits = |m: &Model| tch::no_grad(|| m.logits(&m.forward_hidden(&ids, None, false)));
    let (mut last_bytes, mut last_distance) = (u64::MAX, -1.0);
    for format in Format::ALL {
        let written = gguf::export(&model, &dir.path().join("model.gguf"), format, false).expect("export");
        let rounded = dir.path().join(format.name());
        gguf::round_folder(&model, &rounded, format).expect("rounded");
        let distance = (logits(&before) - logits(&Model::load(&rounded, Device::Cpu).expect("rounded"))).abs().max().double_value(&[]);
        assert!(written.bytes < last_bytes && distance >= last_distance, "{format:?}: {} bytes, {distance}", written.bytes);
        (last_bytes, last_distance) = (written.bytes, distance);
        assert!(Tokenizer::load(&rounded).is_ok(), "the tokenizer goes along");
    }
    assert!(last_distance > 0.0);
}
