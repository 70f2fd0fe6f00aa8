//! The encoder-decoder computes what transformers' MarianMTModel and PyTorch's nn.Transformer compute (scripts/reference/encoders.py).

use crate::common;

use common::{Expected, encoders, gap};
use model::PaddedRows;
use model::seq2seq::beam::{BeamSearch, search};
use model::seq2seq::{Seq2Seq, Seq2SeqConfig, Stack};
use tch::{Device, Reduction, Tensor, no_grad};

fn marian() -> (Seq2Seq, Expected) {
    (Seq2Seq::load(&encoders("marian"), Device::Cpu).unwrap(), Expected::at(&encoders("marian.safetensors")))
}

fn rows(expected: &Expected, name: &str) -> Vec<Vec<u32>> {
    (0..4).map(|i| expected.ids(&format!("{name}.{i}"))).collect()
}

fn padded(rows: &[Vec<u32>], pad: u32) -> PaddedRows {
    PaddedRows::new(&rows.iter().map(Vec::as_slice).collect::<Vec<_>>(), pad, Device::Cpu)
}

/// Start token and target without its last.
fn fed(model: &Seq2Seq, targets: &[Vec<u32>]) -> PaddedRows {
    let start = model.config().start;
    let rows: Vec<Vec<u32>> = targets.iter().map(|t| [&[start], &t[..t.len() - 1]].concat()).collect();
    padded(&rows, model.config().pad)
}

#[test]
fn states_are_those_of_pytorchs_transformer_and_logits_marians() {
    let (model, expected) = marian();
    let (sources, targets) = (rows(&expected, "src"), rows(&expected, "trg"));
    no_grad(|| {
        let memory = model.encode(&padded(&sources, 1), false);
        let (b, s) = padded(&sources, 1).shape();
        let states = memory.states.view([b, s, -1]);
        let (mut encoder, mut decoder) = (0f64, 0f64);
        for (i, source) in sources.iter().enumerate() {
            let own = |x: &Tensor| x.select(0, i as i64).narrow(0, 0, source.len() as i64);
            encoder = encoder.max(gap(&own(&states), &own(expected.get("mem")))); // what stands at padding means nothing
        }
        let inputs = fed(&model, &targets);
        let hidden = model.decode(&inputs.ids, &memory, false);
        let (b, t) = inputs.shape();
        let logits = model.logits(&hidden).view([b, t, -1]);
        let hidden = hidden.view([b, t, -1]);
        let mut head = 0f64;
        for (i, target) in targets.iter().enumerate() {
            let own = |x: &Tensor| x.select(0, i as i64).narrow(0, 0, target.len() as i64);
            decoder = decoder.max(gap(&own(&hidden), &own(expected.get("dec"))));
            head = head.max(gap(&own(&logits), &own(expected.get("logits"))));
        }
        println!("encoder {encoder:.1e}, decoder {decoder:.1e}, logits {head:.1e}");
        assert!(encoder < 1e-5 && decoder < 1e-5, "encoder {encoder}, decoder {decoder}");
        assert!(head < 1e-4, "logits {head}");
        for (layer, map) in model.attention(&inputs.ids, &memory).iter().enumerate() {
            let want = expected.get(&format!("map.{layer}"));
            for (i, target) in targets.iter().enumerate() {
                let own = |x: &Tensor| x.select(0, i as i64).narrow(1, 0, target.len() as i64);
                assert!(gap(&own(map), &own(want)) < 1e-5, "attention of layer {layer}");
            }
        }
    });
}

#[test]
fn smoothed_loss_and_gradients_agree() {
    let (model, expected) = marian();
    let (sources, targets) = (rows(&expected, "src"), rows(&expected, "trg"));
    let inputs = fed(&model, &targets);
    let time = inputs.shape().1;
    let places: Vec<i64> = targets.iter().enumerate().flat_map(|(b, t)| (0..t.len() as i64).map(move |i| b as i64 * time + i)).collect();
    let wanted: Vec<i64> = targets.iter().flatten().map(|&id| i64::from(id)).collect();
    let states = model.decode(&inputs.ids, &model.encode(&padded(&sources, 1), false), false).index_select(0, &Tensor::from_slice(&places));
    let loss = model.logits(&states).cross_entropy_loss(&Tensor::from_slice(&wanted), None::<&Tensor>, Reduction::Mean, -100, 0.1);
    assert!(gap(&loss, expected.get("loss")) < 1e-5);
    loss.backward();
    let parameters = model.parameters();
    assert_eq!(parameters.len(), expected.names().filter(|n| n.starts_with("grad.")).count(), "every parameter, each once");
    for p in parameters {
        let want = expected.get(&format!("grad.{}", p.name));
        let (found, scale) = (gap(&p.tensor.grad(), want), want.abs().max().double_value(&[]));
        assert!(found < 1e-6 + 1e-4 * scale, "gradient of {} differs by {found} (largest {scale})", p.name);
    }
}

#[test]
fn greedy_and_beam_translations_are_transformers() {
    let (model, expected) = marian();
    let sources = rows(&expected, "src");
    // All at once and one by one: neighbours and padding must not matter.
    for batch in [0, 1, 3] {
        let greedy = search(&model, &sources, &BeamSearch { beams: 1, max_new: 20, batch, ..BeamSearch::default() }).unwrap();
        for (i, found) in greedy.iter().enumerate() {
            assert_eq!(found[0].ids, expected.ids(&format!("greedy.{i}")), "greedy {i}");
        }
        for (p, length_penalty) in [1.0, 0.3].into_iter().enumerate() {
            let how = BeamSearch { beams: 4, n_best: 3, max_new: 20, length_penalty, batch };
            for (i, found) in search(&model, &sources, &how).unwrap().iter().enumerate() {
                for (j, hypothesis) in found.iter().enumerate() {
                    assert_eq!(
                        hypothesis.ids,
                        expected.ids(&format!("beam.{p}.{i}.{j}")),
                        "penalty {length_penalty}, source {i}, place {j}"
                    );
                    let want = expected.get(&format!("score.{p}.{i}.{j}")).double_value(&[]);
                    assert!((f64::from(hypothesis.score) - want).abs() < 1e-4, "score {} and {want}", hypothesis.score);
                }
                assert_eq!(found.len(), 3);
            }
        }
    }
}

#[test]
fn a_saved_folder_is_the_same_model() {
    let (model, expected) = marian();
    let dir = tempfile::tempdir().unwrap();
    model.save(dir.path()).unwrap();
    let again = Seq2Seq::load(dir.path(), Device::Cpu).unwrap();
    assert_eq!(again.config().vocab_size, 40);
    let sources = rows(&expected, "src");
    let of = |m: &Seq2Seq| search(m, &sources, &BeamSearch::default()).unwrap();
    assert_eq!(of(&model), of(&again));
    let config: serde_json::Value = serde_json::from_slice(&std::fs::read(dir.path().join("config.json")).unwrap()).unwrap();
    assert_eq!((config["model_type"].as_str(), config["decoder_start_token_id"].as_u64()), (Some("marian"), Some(1)));
    assert!(model::Config::load(dir.path()).unwrap_err().to_string().contains("marian"), "a decoder's reader says what it is");
}

#[test]
fn a_fresh_model_depends_on_its_seed_and_impossible_requests_are_refused() {
    let side = Stack { layers: 1, heads: 2, ffn_width: 8 };
    let config = Seq2SeqConfig::fresh(12, 8, 8, side, 0, 1).unwrap();
    let fresh = |seed| Seq2Seq::new(config.clone(), Device::Cpu, seed).unwrap();
    let first = |m: &Seq2Seq| m.parameters()[0].tensor.copy();
    assert!(gap(&first(&fresh(1)), &first(&fresh(1))) == 0.0 && gap(&first(&fresh(1)), &first(&fresh(2))) > 0.0);
    assert!(Seq2SeqConfig::fresh(12, 8, 7, side, 0, 1).is_err() && Seq2SeqConfig::fresh(1, 8, 8, side, 0, 1).is_err());
    let model = fresh(1);
    let with = |sources: &[Vec<u32>], beams| search(&model, sources, &BeamSearch { beams, ..BeamSearch::default() });
    assert!(with(&[vec![3, 99, 0]], 2).is_err() && with(&[vec![]], 2).is_err() && with(&[vec![3; 9]], 2).is_err());
    assert!(with(&[vec![3, 0]], 7).is_err(), "more beams than half the vocabulary");
    let found = with(&[vec![3, 0], vec![4, 5, 0]], 3).unwrap();
    assert!(found.iter().all(|f| f.len() == 1 && f[0].ids.len() <= 7 && f[0].ids.last() == Some(&0) && !f[0].ids.contains(&1)));
}
