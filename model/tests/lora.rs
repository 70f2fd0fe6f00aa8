//! Low-rank adapters beside PEFT, on the fixtures of scripts/reference/lora.py, and what holds of them by themselves.

use crate::common;

use common::{Expected, gap, golden, rows, same, tiny, tokens};
use data::config::Lora;
use model::{HeadKind, Model, Sampling, Segments, Start, generate};
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use tch::{Device, Kind, Tensor, no_grad};

/// Adapters and the folders they are for.
const ADAPTERS: [(&str, &str); 6] =
    [("gpt2", "gpt2"), ("gpt2_attention", "gpt2"), ("llama", "llama"), ("llama_default", "llama"), ("qwen3", "qwen3"), ("neox", "neox")];
const REWARDS: [&str; 2] = ["gpt2_reward", "llama_reward"];

fn adapter(name: &str) -> PathBuf {
    golden("lora").join(name)
}

fn read(name: &str, base: &str) -> Model {
    Model::load(&golden(base), Device::Cpu).unwrap().load_adapters(&adapter(name), None).unwrap()
}

fn lora(rank: usize) -> Lora {
    Lora { rank, ..Lora::default() }
}

/// Fresh adapters whose B is not zero.
fn adapted(model: Model, rank: usize) -> Model {
    adapted_as(model, &lora(rank))
}

fn adapted_as(model: Model, wanted: &Lora) -> Model {
    let model = model.with_adapters(wanted, 3).unwrap();
    for p in model.trainable().into_iter().filter(|p| p.name.contains("lora_B")) {
        let numbers = Tensor::arange(p.tensor.numel() as i64, (Kind::Float, Device::Cpu)).sin() * 0.1;
        no_grad(|| p.tensor.shallow_clone().copy_(&numbers.view_as(&p.tensor)));
    }
    model
}

fn logits(model: &Model, ids: &Tensor) -> Tensor {
    no_grad(|| model.logits(&model.forward_hidden(ids, None, false)))
}

fn assert_gradients(name: &str, model: &Model, expected: &Expected) {
    let trainable = model.trainable();
    assert_eq!(trainable.len(), expected.names().filter(|n| n.starts_with("grad.")).count(), "{name}: what is trained");
    let mut worst = 0.0f64;
    for p in trainable {
        let want = expected.get(&format!("grad.{}", p.name));
        let (found, scale) = (gap(&p.tensor.grad(), want), want.abs().max().double_value(&[]));
        assert!(found < 1e-6 + 1e-4 * scale, "{name}: gradient of {} differs by {found} (largest {scale})", p.name);
        worst = worst.max(found);
    }
    let frozen = model.parameters().into_iter().filter(|p| !p.tensor.requires_grad());
    assert!(frozen.fold(0, |n, p| n + usize::from(p.tensor.grad().defined())) == 0, "{name}: the base has no gradient");
    println!("{name:16} gradients {worst:.1e}");
}

#[test]
fn adapters_of_peft_give_its_logits_and_gradients() {
    for (name, base) in ADAPTERS {
        let (model, expected) = (read(name, base), Expected::read(&format!("lora/{name}")));
        let ids = expected.get("ids");
        let time = ids.size()[1];
        let all = model.logits(&model.forward_hidden(ids, None, false));
        let found = gap(&all, expected.get("logits"));
        println!("{name:16} logits {found:.1e}");
        assert!(found < 1e-4, "{name}: logits differ by {found}");
        let bare = logits(&model.share().unwrap(), ids);
        assert!(gap(&bare, expected.get("logits")) > 0.01, "{name}: the fixture's adapter hardly counts");
        let loss = all.narrow(1, 0, time - 1).flatten(0, 1).cross_entropy_for_logits(&ids.narrow(1, 1, time - 1).flatten(0, 1));
        assert!(gap(&loss, expected.get("loss")) < 1e-5, "{name}: loss");
        loss.backward();
        assert_gradients(name, &model, &expected);
        let merged = model.merge_adapters();
        assert!(gap(&logits(&merged, ids), expected.get("logits")) < 1e-4, "{name}: merged");
        assert!(merged.parameters().iter().all(|p| p.tensor.requires_grad()));
    }
}

#[test]
fn reward_adapters_of_peft_bring_their_head() {
    for name in REWARDS {
        let (model, expected) = (read(name, name), Expected::read(&format!("lora/{name}")));
        let mut answers = rows(expected.get("ids"));
        answers.iter_mut().for_each(|row| row.retain(|&id| id != 1));
        let answers: Vec<&[u32]> = answers.iter().map(Vec::as_slice).collect();
        let scores = model.score_last(&answers).unwrap();
        let found = gap(&scores, expected.get("scores"));
        println!("{name:16} scores {found:.1e}");
        assert!(found < 1e-4, "{name}: scores differ by {found}");
        scores.sum(Kind::Float).backward();
        assert_gradients(name, &model, &expected);
    }
}

#[test]
fn bfloat16_with_adapters_is_near_float32() {
    let size = |x: &Tensor| x.to_kind(Kind::Double).square().mean(Kind::Double).sqrt().double_value(&[]);
    for base in ["gpt2", "llama", "qwen3", "neox"] {
        for (rank, targets) in [(4, vec![]), (3, vec![]), (4, vec!["c_attn", "c_fc", "up_proj", "dense"])] {
            let load = || Model::load(&golden(base), Device::Cpu).unwrap();
            let names: Vec<String> = load().parameters().iter().map(|p| p.name.clone()).collect();
            let here = |t: &&str| names.iter().any(|n| n.ends_with(&format!(".{t}.weight")));
            let wanted = Lora { targets: targets.iter().copied().filter(here).map(String::from).collect(), ..lora(rank) };
            let make = |kind: Kind| adapted_as(load(), &wanted).with_compute(kind);
            let (exact, rounded) = (make(Kind::Float), make(Kind::BFloat16));
            let ids = tokens(3, 20, 7);
            let branches = Segments::from_groups(&[vec![9, 4, 7], vec![20], vec![3, 17]], Device::Cpu);
            for segments in [None, Some(branches)] {
                let [a, b] = [&exact, &rounded].map(|m| m.logits(&m.forward_hidden(&ids, segments.as_ref(), false)));
                let off = size(&(&a - &b)) / size(&a);
                assert!(off > 0.0 && off < 0.02, "{base}, rank {rank}: logits off by {off}");
                for logits in [a, b] {
                    logits.log_softmax(-1, Kind::Float).select(2, 3).sum(Kind::Float).backward();
                }
                for (p, q) in exact.trainable().iter_mut().zip(&mut rounded.trainable()) {
                    let off = size(&(p.tensor.grad() - q.tensor.grad())) / size(&p.tensor.grad());
                    assert!(off < 0.06, "{base}, rank {rank}: gradient of {} off by {off}", p.name);
                    p.tensor.zero_grad();
                    q.tensor.zero_grad();
                }
            }
        }
    }
}

#[test]
fn fresh_adapters_change_nothing_and_train_alone() {
    for head in [HeadKind::Lm, HeadKind::Scalar] {
        let bare = tiny(head, 0.0);
        let ids = tokens(2, 9, 3);
        let want = no_grad(|| bare.forward_hidden(&ids, None, false));
        let model = bare.with_adapters(&lora(4), 5).unwrap();
        assert!(same(&no_grad(|| model.forward_hidden(&ids, None, false)), &want));
        let names: Vec<String> = model.trainable().into_iter().map(|p| p.name).collect();
        // Two blocks of four maps, two matrices each, and the scalar head.
        assert_eq!(names.len(), 16 + usize::from(head == HeadKind::Scalar), "{names:?}");
        assert!(names.iter().all(|n| n.contains(".lora_") || n == "score.weight"));
        let again = tiny(head, 0.0).with_adapters(&lora(4), 5).unwrap();
        let other = tiny(head, 0.0).with_adapters(&lora(4), 6).unwrap();
        let a = |m: &Model| m.trainable().into_iter().find(|p| p.name.contains("lora_A")).unwrap().tensor;
        assert!(same(&a(&model), &a(&again)) && !same(&a(&model), &a(&other)));
        let bound = 1.0 / f64::sqrt(a(&model).size()[1] as f64);
        let (largest, std) = (a(&model).abs().max().double_value(&[]), a(&model).std(true).double_value(&[]));
        assert!(largest <= bound && (std / (bound / 3f64.sqrt()) - 1.0).abs() < 0.2, "{largest} {std} {bound}");
    }
}

#[test]
fn dropout_is_of_the_adapter_alone() {
    let model = adapted(tiny(HeadKind::Lm, 0.0), 4);
    let ids = tokens(2, 9, 3);
    let forward = |model: &Model, train: bool| no_grad(|| model.forward_hidden(&ids, None, train));
    assert!(same(&forward(&model, true), &forward(&model, false)));
    let dir = tempfile::tempdir().unwrap();
    model.save_adapters(dir.path(), Path::new("base")).unwrap();
    let wanted = Lora { dropout: 0.5, ..lora(4) };
    let dropping = tiny(HeadKind::Lm, 0.0).load_adapters(dir.path(), Some(&wanted)).unwrap();
    assert!(same(&forward(&dropping, false), &forward(&model, false)));
    assert!(gap(&forward(&dropping, true), &forward(&model, true)) > 1e-4);
}

#[test]
fn generation_reads_the_merged_weights() {
    for kind in [Kind::Float, Kind::BFloat16] {
        let model = adapted(tiny(HeadKind::Lm, 0.0), 4).with_compute(kind);
        let prompts: Vec<Vec<u32>> = vec![vec![3, 9, 4, 30, 12], vec![7], vec![2, 2, 8]];
        let sampling = Sampling { max_new: 16, temperature: 1.0, seed: 5, ..Sampling::default() };
        let own = generate(&model, &prompts, &sampling).unwrap();
        let merged = model.clone_weights().unwrap();
        let ids = |all: &[model::Generation]| all.iter().map(|g| g.ids.clone()).collect::<Vec<_>>();
        assert_eq!(ids(&own), ids(&generate(&merged, &prompts, &sampling).unwrap()), "{kind:?}");
        assert_ne!(ids(&own), ids(&generate(&model.share().unwrap(), &prompts, &sampling).unwrap()), "{kind:?}: the adapter counts");
    }
}

#[test]
fn a_start_goes_on_bit_for_bit_and_its_reference_is_the_base() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    let ids = tokens(2, 9, 3);
    for head in [HeadKind::Lm, HeadKind::Scalar] {
        tiny(head, 0.0).save(&base).unwrap();
        let hidden = |m: &Model| no_grad(|| m.forward_hidden(&ids, None, false));
        let start = Start::new(&base, "", &lora(4), 1, Device::Cpu).unwrap();
        let model = start.open(head, None).unwrap();
        for p in model.trainable() {
            no_grad(|| drop(p.tensor.shallow_clone().g_add_(&(p.tensor.sin() * 0.1 + 0.02))));
        }
        let checkpoint = dir.path().join("step-1");
        start.save(&model, &checkpoint).unwrap();
        let again = start.open(head, Some(&checkpoint)).unwrap();
        assert!(model.trainable().iter().zip(again.trainable()).all(|(p, q)| p.name == q.name && same(&p.tensor, &q.tensor)));
        assert!(same(&hidden(&model), &hidden(&again)));
        assert!(gap(&hidden(&Model::load(&checkpoint, Device::Cpu).unwrap()), &hidden(&model)) < 1e-4, "the folder is the merged model");
        let reference = start.reference(&model).unwrap();
        let bare = Model::load(&base, Device::Cpu).unwrap();
        assert!(same(&hidden(&reference), &hidden(&bare)) && reference.trainable().is_empty());
        let memory = |m: &Model| m.parameters()[0].tensor.data_ptr();
        assert_eq!(memory(&reference), memory(&model), "one copy of the weights");
        assert!(!model.trainable().is_empty(), "freezing the reference leaves the adapters alone");
        // With an adapter to start from, the reference has it too.
        let further = Start::new(&base, checkpoint.to_str().unwrap(), &lora(4), 1, Device::Cpu).unwrap();
        let model = further.open(head, None).unwrap();
        assert!(same(&hidden(&further.reference(&model).unwrap()), &hidden(&again)));
        let whole = Start::new(&base, checkpoint.to_str().unwrap(), &lora(0), 1, Device::Cpu).unwrap();
        let merged = whole.open(head, None).unwrap();
        assert!(merged.trainable().len() == merged.parameters().len() && gap(&hidden(&merged), &hidden(&again)) < 1e-4);
        let other = further.open(head, None).unwrap().load_adapters(&checkpoint.join("adapter"), Some(&lora(8)));
        assert!(other.unwrap_err().to_string().contains("rank 4"));
    }
}

#[test]
fn what_cannot_be_read_is_named() {
    let unknown = Lora { targets: vec!["q_proj".into()], ..lora(4) };
    let said = tiny(HeadKind::Lm, 0.0).with_adapters(&unknown, 1).unwrap_err().to_string();
    assert!(said.contains("q_proj") && said.contains("c_attn, c_fc, c_proj"), "{said}");
    let dir = tempfile::tempdir().unwrap();
    adapted(tiny(HeadKind::Lm, 0.0), 4).save_adapters(dir.path(), Path::new("base")).unwrap();
    let path = dir.path().join("adapter_config.json");
    let whole: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let wrong = [("peft_type", json!("IA3")), ("use_dora", json!(true)), ("bias", json!("all")), ("rank_pattern", json!({"a": 2}))];
    let changed_bases = ["pissa", "pissa_niter_4", "olora", "corda", "loftq", "lora_ga"].map(|how| ("init_lora_weights", json!(how)));
    for (key, value) in wrong.into_iter().chain(changed_bases) {
        let mut config = whole.clone();
        config[key] = value;
        std::fs::write(&path, config.to_string()).unwrap();
        let said = tiny(HeadKind::Lm, 0.0).load_adapters(dir.path(), None).unwrap_err().to_string();
        assert!(said.contains(key) && said.contains("only plain LoRA"), "{said}");
    }
    for plain in [json!(true), json!(false), json!(null), json!("gaussian"), json!("orthogonal"), json!("eva")] {
        let mut config = whole.clone();
        config["init_lora_weights"] = plain;
        std::fs::write(&path, config.to_string()).unwrap();
        assert!(tiny(HeadKind::Lm, 0.0).load_adapters(dir.path(), None).is_ok(), "{}", config["init_lora_weights"]);
    }
    let llama = Model::load(&golden("llama"), Device::Cpu).unwrap();
    assert!(llama.load_adapters(dir.path(), None).unwrap_err().to_string().contains("another architecture"));
    assert!(model::resolve_adapter(&dir.path().join("nowhere")).unwrap_err().to_string().contains("no adapter here"));
}

/// PEFT gives the embedding that goes with an adapter to the lookup alone, unless the output matrix goes with it and is the same.
#[test]
fn an_embedding_beside_adapters_of_a_tied_model() {
    let dir = tempfile::tempdir().unwrap();
    adapted(tiny(HeadKind::Lm, 0.0), 4).save_adapters(dir.path(), Path::new("base")).unwrap();
    let weights = dir.path().join("adapter_model.safetensors");
    let bare = Tensor::read_safetensors(&weights).unwrap();
    let value = tiny(HeadKind::Lm, 0.0).head_weight().detach() + 0.5;
    let (embedding, head) = ("base_model.model.transformer.wte.weight", "base_model.model.lm_head.weight");
    let load = |more: &[(&str, Tensor)]| {
        let own = bare.iter().map(|(name, tensor)| (name.as_str(), tensor.copy()));
        let all: Vec<(&str, Tensor)> = own.chain(more.iter().map(|(name, tensor)| (*name, tensor.copy()))).collect();
        Tensor::write_safetensors(&all, &weights).unwrap();
        tiny(HeadKind::Lm, 0.0).load_adapters(dir.path(), None)
    };
    let one = |name: &'static str| vec![(name, value.copy())];
    for refused in [one(embedding), one(head), vec![(embedding, value.copy()), (head, &value + 0.5)]] {
        let said = load(&refused).unwrap_err().to_string();
        assert!(said.contains("unties the output matrix") && said.contains("merge_and_unload"), "{said}");
    }
    let model = load(&[(embedding, value.copy()), (head, value.copy())]).unwrap();
    assert!(same(&model.head_weight().detach(), &value));
    let again = dir.path().join("again");
    model.save_adapters(&again, Path::new("base")).unwrap();
    let read = tiny(HeadKind::Lm, 0.0).load_adapters(&again, None).unwrap();
    assert!(same(&read.head_weight().detach(), &value), "both go with what is written");
}

/// PEFT reads what we wrote and computes what we computed. Needs a Python with peft in RLHF_PYTHON.
#[test]
fn peft_reads_our_adapters() {
    let has_peft = |python: &std::ffi::OsString| {
        let imported = Command::new(python).args(["-c", "import peft"]).stderr(std::process::Stdio::null()).status();
        imported.is_ok_and(|status| status.success())
    };
    let Some(python) = std::env::var_os("RLHF_PYTHON").filter(has_peft) else {
        let _ = writeln!(std::io::stderr(), "SKIPPED: peft_reads_our_adapters because RLHF_PYTHON names no Python with peft");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(&python);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/reference/lora.py")).arg("check");
    let mut cases: Vec<(String, PathBuf, Model)> = vec![];
    for base in ["gpt2", "llama", "qwen2", "mistral", "neox", "gpt2_reward", "qwen3_reward", "neox_reward"] {
        let model = adapted(Model::load(&golden(base), Device::Cpu).unwrap(), 4);
        if base == "gpt2_reward" {
            model.shift_score(0.5).unwrap();
        }
        cases.push((base.into(), golden(base), model));
    }
    for (name, base) in [("gpt2_attention", "gpt2"), ("llama_reward", "llama_reward")] {
        cases.push((format!("{name}_again"), golden(base), read(name, base)));
    }
    for (name, base, model) in cases {
        let ids = tokens(3, 11, 21);
        let numbers = no_grad(|| match model.head() {
            HeadKind::Lm => {
                let all = logits(&model, &ids);
                let all: Vec<_> = (0..3).map(|row| Vec::<Vec<f64>>::try_from(all.get(row)).unwrap()).collect();
                json!({"ids": rows(&ids), "logits": all})
            }
            HeadKind::Scalar => {
                let all = rows(&ids);
                let scores = model.score_last(&[&all[0], &all[1], &all[2]]).unwrap();
                json!({"ids": all, "scores": Vec::<f64>::try_from(scores).unwrap()})
            }
        });
        let merged = dir.path().join(&name);
        model.save(&merged).unwrap();
        model.save_adapters(&merged.join("adapter"), &base).unwrap();
        let mut numbers = numbers;
        numbers["merged"] = json!(merged);
        let file = dir.path().join(format!("{name}.json"));
        std::fs::write(&file, numbers.to_string()).unwrap();
        command.arg(&base).arg(merged.join("adapter")).arg(&file);
    }
    let output = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{}", out.trim());
    assert!(output.status.success(), "{out}\n{err}");
}
