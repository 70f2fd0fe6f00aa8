//! Decoders that classify give what transformers' classes give for one sequence a row, and what PyTorch gives for pairs in both orders, choices and the
//! auxiliary loss (scripts/reference/classifier.py).

use crate::common;

use common::{Expected, gap, golden, tiny};
use data::config::{InputShape, Target};
use data::frames::Frame;
use model::{Classifier, Config, HeadKind, Model};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tch::{Device, no_grad};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/classifier").join(name)
}

fn open(name: &str) -> (Classifier, Expected) {
    (Classifier::load(&fixture(name), Device::Cpu).unwrap(), Expected::at(&fixture(&format!("{name}.safetensors"))))
}

fn slices(rows: &[Vec<u32>]) -> Vec<&[u32]> {
    rows.iter().map(Vec::as_slice).collect()
}

/// Gradients of all parameters but a language head that no loss has reached.
fn check_gradients(model: &Classifier, expected: &Expected) {
    let named = expected.names().filter(|n| n.starts_with("grad.")).count();
    let parameters: Vec<_> = model.parameters().into_iter().filter(|p| p.tensor.grad().defined()).collect();
    assert_eq!(parameters.len(), named, "every parameter, each once");
    for p in parameters {
        let want = expected.get(&format!("grad.{}", p.name));
        let (found, scale) = (gap(&p.tensor.grad(), want), want.abs().max().double_value(&[]));
        assert!(found < 1e-6 + 1e-4 * scale, "gradient of {} differs by {found} (largest {scale})", p.name);
    }
}

#[test]
fn three_classes_are_those_of_transformers() {
    for name in ["gpt2_classes", "llama_classes"] {
        let (model, expected) = open(name);
        assert_eq!(model.classes(), ["no", "perhaps", "yes"]);
        assert!(model.frame().is_none());
        let lengths = Vec::<i64>::try_from(expected.get("lengths")).unwrap();
        let rows: Vec<Vec<u32>> =
            common::rows(expected.get("ids")).into_iter().zip(lengths).map(|(row, n)| row[..n as usize].to_vec()).collect();
        let rows = model.rows(&slices(&rows)).unwrap();
        let logits = model.outputs(&model.states(&rows, false), &rows, false);
        let found = gap(&logits, expected.get("logits"));
        println!("{name}: logits {found:.1e}");
        assert!(found < 1e-5, "{name}: logits differ by {found}");
        let loss = logits.cross_entropy_for_logits(expected.get("labels"));
        assert!(gap(&loss, expected.get("loss")) < 1e-5);
        loss.backward();
        check_gradients(&model, &expected);
    }
}

#[test]
fn both_orders_choices_and_the_auxiliary_loss_are_those_of_pytorch() {
    for (name, kind) in [("gpt2_similarity", InputShape::Similarity), ("gpt2_choice", InputShape::Choice)] {
        let (model, expected) = open(name);
        assert_eq!(model.frame().unwrap().kind, kind);
        let labels = Vec::<i64>::try_from(expected.get("labels")).unwrap();
        let rows: Vec<Vec<u32>> = (0..labels.len()).map(|i| expected.ids(&format!("row.{i}"))).collect();
        let rows = model.rows(&slices(&rows)).unwrap();
        let states = model.states(&rows, false);
        let logits = model.outputs(&states, &rows, false);
        for i in 0..labels.len() {
            let want = expected.get(&format!("logits.{i}"));
            let own = logits.select(0, i as i64).narrow(0, 0, want.size()[0]);
            assert!(gap(&own, want) < 1e-5, "{name}: logits of row {i} differ by {}", gap(&own, want));
        }
        let loss = logits.cross_entropy_for_logits(expected.get("labels"));
        assert!(gap(&loss, expected.get("loss")) < 1e-5, "{name}: loss {loss:?}");
        let (next, targets) = model.next_tokens(&states, &rows);
        let lm = model.model().logits(&next).cross_entropy_for_logits(&targets);
        assert!(gap(&lm, expected.get("lm_loss")) < 1e-5, "{name}: language-model loss {lm:?}");
        (loss + lm * 0.5).backward();
        check_gradients(&model, &expected);
    }
}

/// Rows alone and in company, and a folder read back, give the same.
#[test]
fn folders_go_round_and_rows_do_not_see_one_another() {
    let dir = tempfile::tempdir().unwrap();
    let frame = Frame { kind: InputShape::Similarity, target: Target::Class, start: 40, delimiter: 41, extract: 42 };
    let names = vec!["no".to_string(), "yes".to_string()];
    let model = Classifier::on(tiny(HeadKind::Lm, 0.0), frame, names.clone(), 43, 1).unwrap();
    assert_eq!(model.model().config().vocab_size, 43);
    let (kept, grown) = (tiny(HeadKind::Lm, 0.0), model.model());
    assert_eq!(gap(&kept.head_weight().detach(), &grown.head_weight().detach().narrow(0, 0, 40)), 0.0, "known tokens keep their rows");
    let row = |a: u32, b: u32| vec![40, a, 41, b, b, 42, 40, b, b, 41, a, 42];
    let rows = [row(3, 5), row(9, 9), row(7, 2)];
    let outputs = |m: &Classifier, rows: &[Vec<u32>]| {
        no_grad(|| {
            let rows = m.rows(&slices(rows)).unwrap();
            m.outputs(&m.states(&rows, false), &rows, false)
        })
    };
    let all = outputs(&model, &rows);
    assert_eq!(all.size(), [3, 2]);
    for (i, row) in rows.iter().enumerate() {
        assert!(gap(&outputs(&model, std::slice::from_ref(row)).select(0, 0), &all.select(0, i as i64)) < 1e-5);
    }
    model.save(dir.path()).unwrap();
    let again = Classifier::load(dir.path(), Device::Cpu).unwrap();
    assert_eq!((again.frame(), again.classes()), (Some(&frame), names.as_slice()));
    assert_eq!(gap(&outputs(&again, &rows), &all), 0.0);
    assert!(Classifier::load_for(dir.path(), &frame, &names[..1], Device::Cpu).unwrap().is_some());
    assert!(Classifier::load_for(dir.path(), &frame, &["other".to_string()], Device::Cpu).unwrap().is_none());
    // It is no language model and no reward model by itself, but its decoder can be had.
    let refused = Model::load(dir.path(), Device::Cpu).unwrap_err().to_string();
    assert!(refused.contains("classifier"), "{refused}");
    let decoder = Model::load_as(dir.path(), HeadKind::Lm, Device::Cpu).unwrap();
    assert_eq!(gap(&decoder.head_weight().detach(), &grown.head_weight().detach()), 0.0);
    decoder.save(&dir.path().join("decoder")).unwrap();
    assert_eq!(Model::load(&dir.path().join("decoder"), Device::Cpu).unwrap().head(), HeadKind::Lm);
}

#[test]
fn what_is_no_classifier_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    tiny(HeadKind::Lm, 0.0).save(&dir.path().join("lm")).unwrap();
    tiny(HeadKind::Scalar, 0.0).save(&dir.path().join("reward")).unwrap();
    for name in ["lm", "reward"] {
        let refused = Classifier::load(&dir.path().join(name), Device::Cpu).unwrap_err().to_string();
        assert!(refused.contains("no classifier"), "{refused}");
    }
    let (model, _) = open("gpt2_choice");
    assert!(model.rows(&[&[]]).is_err() && model.rows(&[&[2, 40, 39]]).is_err(), "empty rows and unknown tokens");
    let long: Vec<u32> = std::iter::repeat_n(2, 32).chain([39]).collect();
    assert!(model.rows(&[&long]).is_err() && model.rows(&[&[&long[1..], &long[1..]].concat()]).is_ok(), "the longest sequence counts");
    let frame = Frame { kind: InputShape::Classification, target: Target::Class, start: 2, delimiter: 3, extract: 4 };
    assert!(Classifier::on(tiny(HeadKind::Lm, 0.0), frame, vec!["one".into()], 40, 1).is_err(), "one class is none");
}

/// transformers takes sigmoids of several labels and numbers of a regression; a single output is a reward model's score whatever it was trained as.
#[test]
fn only_single_labels_are_classes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    let put = |folder: &Path, kind: &str| {
        std::fs::copy(folder.join("model.safetensors"), dir.path().join("model.safetensors")).unwrap();
        let mut config: Value = serde_json::from_str(&std::fs::read_to_string(folder.join("config.json")).unwrap()).unwrap();
        config["problem_type"] = json!(kind);
        std::fs::write(&path, config.to_string()).unwrap();
    };
    for kind in ["multi_label_classification", "regression"] {
        put(&fixture("llama_classes"), kind);
        let said = Classifier::load(dir.path(), Device::Cpu).unwrap_err().to_string();
        assert!(said.contains("problem_type") && said.contains(kind), "{said}");
        put(&golden("llama_reward"), kind);
        assert!(Model::load(dir.path(), Device::Cpu).is_ok());
    }
}

/// Rows end with a token of their own, so that transformers finds it whatever pads.
#[test]
fn a_classifier_keeps_its_padding() {
    let dir = tempfile::tempdir().unwrap();
    let frame = Frame { kind: InputShape::Classification, target: Target::Number, start: 2, delimiter: 3, extract: 4 };
    let mut config = Config::gpt2(40, 64, 2, 4, 32, 0.0).unwrap();
    config.set_special(Some(0), &[0], None);
    let decoder = Model::new(config, HeadKind::Lm, Device::Cpu, 7).unwrap();
    Classifier::on(decoder, frame, vec![], 40, 0).unwrap().save(dir.path()).unwrap();
    assert_eq!(Config::load(dir.path()).unwrap().pad, Some(0));
    assert_eq!(Classifier::load(dir.path(), Device::Cpu).unwrap().target(), Target::Number, "our own regression is read");
}

/// Dropout leaves out the same features in all sequences of a row, so equal choices stay equal.
#[test]
fn dropout_treats_the_choices_of_a_row_alike() {
    let (mut model, _) = open("gpt2_choice");
    model.set_dropout(0.0);
    let row: Vec<u32> = [[37, 5, 38, 9, 39]; 2].concat();
    let rows = model.rows(&[&row]).unwrap();
    let states = no_grad(|| model.states(&rows, false));
    model.set_dropout(0.5);
    let scores = no_grad(|| model.outputs(&states, &rows, true));
    assert!(gap(&scores.select(1, 0), &scores.select(1, 1)) < 1e-6, "{scores:?}");
    assert!(gap(&scores, &no_grad(|| model.outputs(&states, &rows, false))) > 1e-4, "dropout changes something");
}
