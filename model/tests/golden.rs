//! Agreement with transformers, on the fixtures of scripts/reference/model.py. With `--nocapture` the tests print the largest differences.

use crate::common;

use common::{Expected, FAMILIES, REWARDS, gap, golden, rows};
use model::{HeadKind, Model, Sampling, generate};
use tch::{Device, Kind};

/// The same weights rounded to 16 bits or in shards.
const VARIANTS: [&str; 6] = ["gpt2_shards", "llama_float16", "mistral_shards", "qwen2_bfloat16", "qwen3_shards", "neox_shards"];

#[test]
fn logits_agree() {
    for name in FAMILIES.iter().chain(&VARIANTS) {
        let model = Model::load(&golden(name), Device::Cpu).unwrap();
        assert_eq!(model.head(), HeadKind::Lm);
        let expected = Expected::read(name);
        let logits = tch::no_grad(|| model.logits(&model.forward_hidden(expected.get("ids"), None, false)));
        let found = gap(&logits, expected.get("logits"));
        println!("{name:16} logits {found:.1e}");
        assert!(found < 1e-4, "{name}: logits differ by {found}");
        let spread = expected.get("logits").std(true).double_value(&[]);
        assert!(spread > 0.1, "{name}: the fixture's logits hardly vary ({spread})");
    }
}

#[test]
fn loss_and_gradients_agree() {
    for name in FAMILIES {
        let model = Model::load(&golden(name), Device::Cpu).unwrap();
        let expected = Expected::read(name);
        let ids = expected.get("ids");
        let time = ids.size()[1];
        let loss = |train: bool| {
            // The tokens' last place predicts nothing.
            let logits = model.logits(&model.forward_hidden(ids, None, train)).narrow(1, 0, time - 1).flatten(0, 1);
            logits.cross_entropy_for_logits(&ids.narrow(1, 1, time - 1).flatten(0, 1))
        };
        if name == "gpt2" {
            // Its folder says dropout 0.1, so the training forward differs by design: take the other one.
            assert!(gap(&loss(true).totype(Kind::Double), &expected.get("loss").totype(Kind::Double)) > 1e-6);
        }
        let loss = loss(name != "gpt2");
        assert!(gap(&loss, expected.get("loss")) < 1e-5, "{name}: loss");
        loss.backward();
        let parameters = model.parameters();
        assert_eq!(parameters.len(), expected.names().filter(|n| n.starts_with("grad.")).count(), "{name}: every parameter, each once");
        let mut worst = 0.0f64;
        for p in parameters {
            let want = expected.get(&format!("grad.{}", p.name));
            let found = gap(&p.tensor.grad(), want);
            let scale = want.abs().max().double_value(&[]);
            assert!(found < 1e-6 + 1e-4 * scale, "{name}: gradient of {} differs by {found} (largest {scale})", p.name);
            worst = worst.max(found);
        }
        println!("{name:16} gradients {worst:.1e}");
    }
}

#[test]
fn greedy_continuations_agree() {
    for name in FAMILIES {
        let model = Model::load(&golden(name), Device::Cpu).unwrap();
        let expected = Expected::read(name);
        let prompts: Vec<Vec<u32>> = (0..4).map(|i| expected.ids(&format!("prompt.{i}"))).collect();
        // All at once, of different lengths: padding and neighbours must not matter.
        let sampling = Sampling { max_new: 16, temperature: 0.0, stop: vec![5], ..Sampling::default() };
        let mut tokens = 0;
        for (i, got) in generate(&model, &prompts, &sampling).unwrap().iter().enumerate() {
            assert_eq!(got.ids, expected.ids(&format!("greedy.{i}")), "{name}: prompt {i}");
            assert_eq!(got.finished, got.ids.last() == Some(&5));
            tokens += got.ids.len();
        }
        println!("{name:16} greedy tokens equal {tokens}");
    }
}

#[test]
fn scores_agree() {
    for name in REWARDS {
        let model = Model::load(&golden(name), Device::Cpu).unwrap();
        assert_eq!(model.head(), HeadKind::Scalar);
        let expected = Expected::read(name);
        let mut answers = rows(expected.get("ids"));
        for row in &mut answers {
            row.retain(|&id| id != 1);
        }
        let answers: Vec<&[u32]> = answers.iter().map(Vec::as_slice).collect();
        let scores = tch::no_grad(|| model.score_last(&answers)).unwrap();
        let found = gap(&scores, expected.get("scores"));
        println!("{name:16} scores {found:.1e}");
        assert!(found < 1e-5, "{name}: scores differ by {found}");
    }
}
