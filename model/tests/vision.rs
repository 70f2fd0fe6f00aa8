//! Pictures before text compute what transformers' ViTModel, a linear map and a decoder compute (scripts/reference/vision.py), and generation over the cache what
//! reading the whole sequence again for every token does.

use crate::common;

use common::{Expected, gap, same};
use data::config;
use data::pictures::Picture;
use model::vision::{self, Vision, VisionConfig};
use model::{Captioner, HeadKind, Model, Sampling};
use std::path::PathBuf;
use tch::{Device, Kind, Tensor, no_grad};

const FAMILIES: [&str; 2] = ["gpt2", "llama"];

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vision").join(name)
}

fn open(name: &str) -> (Captioner, Expected, Vec<Vec<u32>>) {
    let expected = Expected::at(&fixture(&format!("{name}.safetensors")));
    let rows = (0..3).map(|i| expected.ids(&format!("ids.{i}"))).collect();
    (Captioner::load(&fixture(name), Device::Cpu).unwrap(), expected, rows)
}

/// Hidden states of each row apart, `[P + T, D]`.
fn apart(model: &Captioner, hidden: &Tensor, rows: &[&[u32]]) -> Vec<Tensor> {
    let mut start = 0;
    let one = |row: &&[u32]| {
        let n = (model.places() + row.len()) as i64;
        start += n;
        hidden.narrow(0, start - n, n)
    };
    rows.iter().map(one).collect()
}

#[test]
fn states_logits_loss_and_gradients_agree() {
    for name in FAMILIES {
        let (model, expected, rows) = open(name);
        let pixels = expected.get("pixels");
        let rows: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
        let found = no_grad(|| {
            let states = gap(&model.vision().states(pixels, false), expected.get("states"));
            (states, gap(&model.vision().prefix(pixels, false), expected.get("prefix")))
        });
        let hidden = model.forward(pixels, &rows, false);
        let (mut worst, mut loss) = (0f64, Tensor::from(0f32));
        for (i, own) in apart(&model, &hidden, &rows).iter().enumerate() {
            let logits = model.decoder().logits(own);
            worst = worst.max(gap(&logits, expected.get(&format!("logits.{i}"))));
            let (first, n) = (model.places() as i64 - 1, rows[i].len() as i64);
            let targets = Tensor::from_slice(&rows[i].iter().map(|&id| i64::from(id)).collect::<Vec<_>>());
            loss += logits.narrow(0, first, n).cross_entropy_for_logits(&targets) * n as f64;
        }
        println!("{name}: states {:.1e}, prefix {:.1e}, logits {worst:.1e}", found.0, found.1);
        assert!(found.0 < 1e-5 && found.1 < 2e-5 && worst < 1e-4, "{name}: {found:?}, logits {worst}");
        assert!(gap(&loss, expected.get("loss")) < 1e-4 * loss.double_value(&[]), "{name}: loss");
        loss.backward();
        let parameters = model.trainable();
        assert_eq!(parameters.len(), expected.names().filter(|n| n.starts_with("grad.")).count(), "every parameter, each once");
        for p in parameters {
            let want = expected.get(&format!("grad.{}", p.name));
            let (found, scale) = (gap(&p.tensor.grad(), want), want.abs().max().double_value(&[]));
            assert!(found < 1e-5 + 2e-4 * scale, "{name}: gradient of {} differs by {found} (largest {scale})", p.name);
        }
    }
}

#[test]
fn recomputed_blocks_give_the_same_gradients() {
    let (mut model, expected, rows) = open("gpt2");
    let rows: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
    let mut gradients = |recompute: bool| {
        model.prepare(Kind::Float, 0.0, recompute);
        model.trainable().iter_mut().for_each(|p| p.tensor.zero_grad());
        let hidden = model.forward(expected.get("pixels"), &rows, true);
        (&hidden * &hidden).sum(Kind::Float).backward();
        model.trainable().iter().map(|p| p.tensor.grad().copy()).collect::<Vec<_>>()
    };
    let (plain, again) = (gradients(false), gradients(true));
    assert!(plain.iter().zip(&again).all(|(a, b)| same(a, b)));
}

/// Text alone through vectors is text alone through ids, bit for bit.
#[test]
fn looked_up_tokens_are_the_tokens() {
    for name in FAMILIES {
        let model = Model::load(&fixture(name), Device::Cpu).unwrap();
        let ids = common::tokens(1, 12, 3).view([-1]);
        let segments = model::Segments::from_groups(&[vec![5], vec![4, 3]], Device::Cpu);
        no_grad(|| {
            let usual = model.forward_packed(&ids, &segments, false);
            assert!(same(&usual, &model.forward_embedded(model.look_up(&ids), &segments, false)), "{name}");
        });
    }
}

/// Pictures of noise; libtorch's generator is left alone.
fn pictures(n: usize, side: usize) -> Vec<Picture> {
    let byte = |i: usize, k: usize| (model::sample::uniform(9, i as u64, k as u64) * 256.0) as u8;
    (0..n).map(|i| Picture::new(side, (0..side * side * 3).map(|k| byte(i, k)).collect())).collect()
}

#[test]
fn greedy_answers_are_those_of_the_reference_and_of_whole_passes() {
    for name in FAMILIES {
        let (model, expected, rows) = open(name);
        // The reference's pixels are no bytes: its tokens come from whole passes, the cache is compared with them on bytes.
        let whole = |pixels: &Tensor, prompt: &[u32]| {
            let mut ids = prompt.to_vec();
            let (mut new, mut log_probs) = (vec![], vec![]);
            while new.len() < 8 && new.last() != Some(&0) {
                let hidden = model.forward(pixels, &[&ids], false);
                let logits = model.decoder().logits(&hidden.narrow(0, hidden.size()[0] - 1, 1)).view([-1]);
                let best = logits.argmax(-1, false).int64_value(&[]);
                log_probs.push(logits.log_softmax(-1, Kind::Float).double_value(&[best]));
                new.push(best as u32);
                ids.push(best as u32);
            }
            (new, log_probs)
        };
        for (i, row) in rows.iter().enumerate() {
            let (new, _) = no_grad(|| whole(&expected.get("pixels").narrow(0, i as i64, 1), row));
            assert_eq!(new, expected.ids(&format!("greedy.{i}")), "{name}, row {i}");
        }
        let pictures = pictures(4, model.side());
        let pictures: Vec<&Picture> = pictures.iter().collect();
        let prompts = [rows[0].clone(), vec![], rows[2].clone(), rows[1].clone()];
        let sampling = Sampling { max_new: 8, temperature: 0.0, stop: vec![0], batch: 3, ..Sampling::default() };
        let written = model.generate(&pictures, &prompts, &sampling).unwrap();
        for (i, row) in written.iter().enumerate() {
            let (new, log_probs) = no_grad(|| whole(&model.pixels(&pictures[i..i + 1]), &prompts[i]));
            assert_eq!(row.ids, new, "{name}, row {i}");
            assert_eq!(row.finished, new.last() == Some(&0));
            let worst = row.log_probs.iter().zip(&log_probs).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
            assert!(worst < 1e-4, "{name}, row {i}: log-probabilities differ by {worst}");
        }
    }
}

#[test]
fn samples_do_not_depend_on_the_other_rows() {
    let (model, _, rows) = open("llama");
    let pictures = pictures(4, model.side());
    let pictures: Vec<&Picture> = pictures.iter().collect();
    let prompts = [rows[0].clone(), vec![], rows[2].clone(), rows[1].clone()];
    let sampling = Sampling { max_new: 8, temperature: 1.3, top_k: 20, seed: 5, ..Sampling::default() };
    let all = model.generate(&pictures, &prompts, &sampling).unwrap();
    for i in 0..4 {
        let own = Sampling { first_row: i as u64, ..sampling.clone() };
        let alone = model.generate(&pictures[i..=i], &prompts[i..=i], &own).unwrap();
        assert_eq!(alone[0].ids, all[i].ids, "row {i}");
    }
    assert!(all.iter().all(|row| row.ids.len() == 8 && !row.finished));
    assert!(all[0].ids != all[1].ids);
}

#[test]
fn what_cannot_be_answered_is_refused() {
    let (model, _, rows) = open("gpt2");
    let sampling = Sampling { max_new: 8, ..Sampling::default() };
    let (right, wrong) = (pictures(1, model.side()), pictures(1, 5));
    let say = |picture: &Picture, prompt: &[u32], s: &Sampling| model.generate(&[picture], &[prompt.to_vec()], s).unwrap_err().to_string();
    assert!(say(&wrong[0], &rows[0], &sampling).contains("a picture of 5 pixels"));
    assert!(say(&right[0], &[99], &sampling).contains("token 99"));
    assert!(say(&right[0], &rows[0], &Sampling { max_new: 30, ..sampling.clone() }).contains("exceed the context of 32"));
    assert!(model.generate(&[&right[0]], &[], &sampling).is_err());
}

#[test]
fn a_folder_goes_round_and_foreign_encoders_get_a_map() {
    let (model, expected, rows) = open("gpt2");
    let rows: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
    let forward = |m: &Captioner| no_grad(|| m.forward(expected.get("pixels"), &rows, false));
    let dir = tempfile::tempdir().unwrap();
    model.decoder().save(dir.path()).unwrap();
    assert!(Captioner::eyes(dir.path()).is_none());
    model.save_vision(dir.path()).unwrap();
    assert!(same(&forward(&model), &forward(&Captioner::load(dir.path(), Device::Cpu).unwrap())));
    // The same decoder is there for those who know nothing of pictures.
    assert_eq!(Model::load(dir.path(), Device::Cpu).unwrap().head(), HeadKind::Lm);
    let eyes = Captioner::eyes(dir.path()).unwrap();
    std::fs::remove_file(eyes.join("projector.safetensors")).unwrap();
    let [a, b] = [(); 2].map(|()| Vision::load(&eyes, 20, Device::Cpu).unwrap());
    let prefix = |v: &Vision| no_grad(|| v.prefix(expected.get("pixels"), false));
    assert!(same(&prefix(&a), &prefix(&b)) && prefix(&a).size() == [27, 20]);
    let error = Captioner::new(Model::load(&fixture("gpt2"), Device::Cpu).unwrap(), a).unwrap_err().to_string();
    assert!(error.contains("20 features, the decoder has 16"), "{error}");
    std::fs::write(eyes.join("config.json"), r#"{"model_type": "clip_vision_model"}"#).unwrap();
    let error = Vision::load(&eyes, 20, Device::Cpu).unwrap_err().to_string();
    assert!(error.contains("clip_vision_model"), "{error}");
}

#[test]
fn bytes_become_numbers_around_zero() {
    let picture = Picture::new(2, vec![0, 255, 51, 0, 0, 0, 255, 255, 255, 102, 0, 204]);
    let pixels = vision::pixels(&[&picture], Device::Cpu);
    assert_eq!(pixels.size(), [1, 3, 2, 2]);
    let at = |c: i64, y: i64, x: i64| pixels.double_value(&[0, c, y, x]);
    let near = |a: f64, b: f64| (a - b).abs() < 1e-6;
    assert!(near(at(0, 0, 0), -1.0) && near(at(1, 0, 0), 1.0) && near(at(2, 0, 0), -0.6), "{pixels}");
    assert!(near(at(0, 0, 1), -1.0) && near(at(0, 1, 0), 1.0) && near(at(0, 1, 1), -0.2) && near(at(2, 1, 1), 0.6));
}

#[test]
fn fresh_encoders_repeat_and_uneven_shapes_are_refused() {
    let shape = config::Vision { layers: 1, heads: 2, width: 16, image_size: 12, patch_size: 4, ..config::Vision::default() };
    let new = |seed| Vision::new(VisionConfig::fresh(&shape).unwrap(), 16, Device::Cpu, seed).unwrap();
    let pixels = Tensor::ones([1, 3, 12, 12], (Kind::Float, Device::Cpu));
    let prefix = |v: Vision| no_grad(|| v.prefix(&pixels, false));
    assert!(same(&prefix(new(1)), &prefix(new(1))) && !same(&prefix(new(1)), &prefix(new(2))));
    for wrong in [config::Vision { patch_size: 5, ..shape.clone() }, config::Vision { heads: 3, ..shape.clone() }] {
        assert!(VisionConfig::fresh(&wrong).is_err());
    }
}
