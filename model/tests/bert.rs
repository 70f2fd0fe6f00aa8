//! The encoder computes what transformers' BertForMaskedLM and BertForSequenceClassification compute (scripts/reference/encoders.py).

use crate::common;

use common::{Expected, encoders, gap};
use model::bert::{Bert, BertConfig, BertHead};
use model::{Kind, PaddedRows, kind_of};
use serde_json::json;
use tch::{Device, Tensor, no_grad};

fn open(name: &str) -> (Bert, Expected, PaddedRows) {
    let expected = Expected::at(&encoders(&format!("{name}.safetensors")));
    let lengths = Vec::<i64>::try_from(expected.get("lengths")).unwrap();
    let rows: Vec<Vec<u32>> =
        common::rows(expected.get("ids")).into_iter().zip(lengths).map(|(row, n)| row[..n as usize].to_vec()).collect();
    let padded = PaddedRows::new(&rows.iter().map(Vec::as_slice).collect::<Vec<_>>(), 0, Device::Cpu);
    (Bert::load(&encoders(name), Device::Cpu).unwrap(), expected, padded)
}

/// Gradients of all parameters.
fn check_gradients(model: &Bert, expected: &Expected) {
    let parameters = model.parameters();
    let named = |n: &&str| n.starts_with("grad.") && !n.contains("decoder");
    assert_eq!(parameters.len(), expected.names().filter(named).count(), "every parameter, each once");
    for p in parameters {
        let want = expected.get(&format!("grad.{}", p.name));
        let (found, scale) = (gap(&p.tensor.grad(), want), want.abs().max().double_value(&[]));
        assert!(found < 1e-6 + 1e-4 * scale, "gradient of {} differs by {found} (largest {scale})", p.name);
    }
}

#[test]
fn masked_logits_loss_and_gradients_agree() {
    let (model, expected, rows) = open("bert");
    assert_eq!(kind_of(&encoders("bert")).unwrap(), Kind::Encoder);
    let types = expected.get("types");
    let (b, t) = rows.shape();
    let states = model.forward(&rows, Some(types), false);
    let all = Tensor::arange(b * t, (tch::Kind::Int64, Device::Cpu));
    let (mut hidden, mut logits) = (0f64, 0f64);
    let lengths = Vec::<i64>::try_from(expected.get("lengths")).unwrap();
    no_grad(|| {
        let found = model.logits(&model.read(&states, &rows, Some(&all), false)).view([b, t, -1]);
        for (i, n) in (0..b).zip(&lengths) {
            let own = |x: &Tensor| x.view([b, t, -1]).select(0, i).narrow(0, 0, *n);
            hidden = hidden.max(gap(&own(&states), &own(expected.get("hidden"))));
            logits = logits.max(gap(&own(&found), &own(expected.get("logits"))));
        }
        for (layer, map) in model.attention(&rows, Some(types)).iter().enumerate() {
            for (i, n) in (0..b).zip(&lengths) {
                let own = |x: &Tensor| x.select(0, i).narrow(1, 0, *n);
                assert!(gap(&own(map), &own(expected.get(&format!("map.{layer}")))) < 1e-5, "attention of layer {layer}");
            }
        }
    });
    println!("hidden {hidden:.1e}, logits {logits:.1e}");
    assert!(hidden < 1e-5 && logits < 1e-4, "hidden {hidden}, logits {logits}");
    let labels = expected.get("labels").view([-1]);
    let places = labels.ne(-100).nonzero().view([-1]);
    let loss = model.logits(&model.read(&states, &rows, Some(&places), false)).cross_entropy_for_logits(&labels.index_select(0, &places));
    assert!(gap(&loss, expected.get("loss")) < 1e-5);
    loss.backward();
    check_gradients(&model, &expected);
}

#[test]
fn class_logits_loss_and_gradients_agree() {
    let (model, expected, rows) = open("bert_classes");
    assert_eq!(model.classes().unwrap(), ["no", "perhaps", "yes"]);
    let read = model.read(&model.forward(&rows, Some(expected.get("types")), false), &rows, None, false);
    let logits = model.logits(&read);
    let found = gap(&logits, expected.get("logits"));
    assert!(found < 1e-5, "logits differ by {found}");
    let loss = logits.cross_entropy_for_logits(expected.get("labels"));
    assert!(gap(&loss, expected.get("loss")) < 1e-5);
    loss.backward();
    check_gradients(&model, &expected);
}

#[test]
fn folders_go_round_and_heads_are_exchanged() {
    let (model, _, rows) = open("bert");
    let dir = tempfile::tempdir().unwrap();
    model.save(dir.path()).unwrap();
    let again = Bert::load(dir.path(), Device::Cpu).unwrap();
    let states = |m: &Bert| no_grad(|| m.forward(&rows, None, false));
    assert_eq!(gap(&states(&model), &states(&again)), 0.0);
    // A classifier on the same encoder, and back: the masked head is made anew.
    let classes = BertHead::Classes(vec!["a".into(), "b".into()]);
    let classifier = Bert::load_as(dir.path(), &classes, Device::Cpu).unwrap();
    assert_eq!(gap(&states(&model), &states(&classifier)), 0.0);
    let other = tempfile::tempdir().unwrap();
    classifier.save(other.path()).unwrap();
    assert_eq!(Bert::load(other.path(), Device::Cpu).unwrap().classes().unwrap(), ["a", "b"]);
    assert!(Bert::load_as(other.path(), &BertHead::Masked, Device::Cpu).unwrap().classes().is_none());
    let config = BertConfig::fresh(40, 16, 1, 2, 8, 0).unwrap();
    assert!(Bert::new(config, &BertHead::Classes(vec!["one".into()]), Device::Cpu, 1).is_err(), "one class is none");
}

/// A folder without the head that its config.json names is refused; another head on it is wanted by name, and fresh.
#[test]
fn a_head_is_never_made_up() {
    let dir = tempfile::tempdir().unwrap();
    let set = |key: &str, value: serde_json::Value| {
        let path = dir.path().join("config.json");
        let mut config: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        config[key] = value;
        std::fs::write(path, config.to_string()).unwrap();
    };
    let refused = || Bert::load(dir.path(), Device::Cpu).unwrap_err().to_string();
    open("bert_classes").0.save(dir.path()).unwrap();
    for architecture in ["BertModel", "BertForMaskedLM"] {
        set("architectures", json!([architecture]));
        let said = refused();
        assert!(said.contains("cls.predictions.transform.dense.weight is missing") && said.contains("without this head"), "{said}");
    }
    assert!(Bert::load_as(dir.path(), &BertHead::Masked, Device::Cpu).is_ok());
    open("bert").0.save(dir.path()).unwrap();
    set("architectures", json!(["BertForSequenceClassification"]));
    assert!(matches!(Bert::declared_head(dir.path()).unwrap(), BertHead::Classes(names) if names == ["LABEL_0", "LABEL_1"]));
    assert!(refused().contains("bert.pooler.dense.weight is missing"));
}

/// transformers reads an output matrix beside the embedding where the two are not tied, and where they differ. The bias likewise.
#[test]
fn an_untied_output_matrix_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    open("bert").0.save(dir.path()).unwrap();
    let weights = dir.path().join("model.safetensors");
    let mut tensors = Tensor::read_safetensors(&weights).unwrap();
    let own = |name: &str| tensors.iter().find(|(tensor, _)| tensor == name).unwrap().1.copy();
    let tied = [
        ("cls.predictions.decoder.weight", own("bert.embeddings.word_embeddings.weight")),
        ("cls.predictions.decoder.bias", own("cls.predictions.bias")),
    ];
    tensors.extend(tied.iter().map(|(name, tensor)| ((*name).to_owned(), tensor.copy())));
    for (name, tensor) in tied {
        let place = tensors.iter().position(|(other, _)| other == name).unwrap();
        tensors[place].1 = &tensor + 0.5;
        Tensor::write_safetensors(&tensors, &weights).unwrap();
        let said = Bert::load(dir.path(), Device::Cpu).unwrap_err().to_string();
        assert!(said.contains("tie_word_embeddings") && said.contains(name), "{said}");
        tensors[place].1 = tensor;
    }
    Tensor::write_safetensors(&tensors, &weights).unwrap();
    assert!(Bert::load(dir.path(), Device::Cpu).is_ok());
    let path = dir.path().join("config.json");
    let config = std::fs::read_to_string(&path).unwrap().replace("\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false");
    std::fs::write(path, config).unwrap();
    let said = Bert::load(dir.path(), Device::Cpu).unwrap_err().to_string();
    assert!(said.contains("tie_word_embeddings"), "{said}");
    let classes = BertHead::Classes(vec!["a".into(), "b".into()]);
    assert!(Bert::load_as(dir.path(), &classes, Device::Cpu).is_ok(), "a classifier has no output matrix");
}

/// transformers takes sigmoids of several labels and numbers of a regression, where a softmax would say something else.
#[test]
fn only_single_labels_are_classes() {
    let dir = tempfile::tempdir().unwrap();
    open("bert_classes").0.save(dir.path()).unwrap();
    let path = dir.path().join("config.json");
    let config: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(config["problem_type"], "single_label_classification");
    for kind in ["multi_label_classification", "regression"] {
        let mut config = config.clone();
        config["problem_type"] = json!(kind);
        std::fs::write(&path, config.to_string()).unwrap();
        let said = Bert::load(dir.path(), Device::Cpu).unwrap_err().to_string();
        assert!(said.contains("problem_type") && said.contains(kind), "{said}");
        assert!(Bert::load_as(dir.path(), &BertHead::Masked, Device::Cpu).is_ok(), "its encoder can be had");
    }
}

#[test]
fn the_second_text_has_its_own_kind() {
    // [CLS] 2, [SEP] 3
    let rows: [&[u32]; 3] = [&[2, 9, 3, 8, 7, 3], &[2, 9, 3], &[2, 3, 5, 3]];
    let kinds = PaddedRows::new(&rows, 0, Device::Cpu).second_text();
    assert_eq!(Vec::<i64>::try_from(kinds.view([-1])).unwrap(), [0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0]);
}
