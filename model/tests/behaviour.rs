//! What must hold whatever the weights are.

use crate::common;

use common::{FAMILIES, gap, golden, rows, same, tiny, tokens};
use model::{Config, HeadKind, Model, Sampling, Segments, generate};
use tch::{Device, IndexOp, Kind, Tensor, no_grad};

/// A fresh GPT-2, and every family's fixture of a context of 64.
fn families() -> impl Iterator<Item = Model> {
    let fixtures = FAMILIES.iter().filter(|n| **n != "gpt2").map(|name| Model::load(&golden(name), Device::Cpu).unwrap());
    std::iter::once(tiny(HeadKind::Lm, 0.0)).chain(fixtures)
}

/// Continues `prompt` greedily without a cache, one whole forward pass a token.
fn uncached(model: &Model, prompt: &[u32], n: usize) -> (Vec<u32>, Vec<f64>) {
    let (mut ids, mut log_probs) = (prompt.to_vec(), vec![]);
    for _ in 0..n {
        let row = Tensor::from_slice(&ids.iter().map(|&i| i64::from(i)).collect::<Vec<_>>()).unsqueeze(0);
        let logits = no_grad(|| model.logits(&model.forward_hidden(&row, None, false))).i((0, -1));
        let id = logits.argmax(-1, false).int64_value(&[]);
        log_probs.push(logits.log_softmax(-1, Kind::Double).double_value(&[id]));
        ids.push(id as u32);
    }
    (ids.split_off(prompt.len()), log_probs)
}

#[test]
fn cached_equals_uncached() {
    for model in families() {
        let prompts: Vec<Vec<u32>> = vec![vec![3, 9, 4, 30, 12], vec![7], vec![2, 2, 8]];
        let sampling = Sampling { max_new: 20, temperature: 0.0, ..Sampling::default() };
        for (prompt, got) in prompts.iter().zip(generate(&model, &prompts, &sampling).unwrap()) {
            let (ids, log_probs) = uncached(&model, prompt, 20);
            assert_eq!(got.ids, ids);
            for (a, b) in got.log_probs.iter().zip(log_probs) {
                assert!((f64::from(*a) - b).abs() < 1e-4, "{a} {b}");
            }
        }
    }
}

#[test]
fn rollout_log_probs_equal_recomputed_ones() {
    let model = tiny(HeadKind::Lm, 0.0);
    let prompts: Vec<Vec<u32>> = rows(&tokens(6, 5, 1)).into_iter().enumerate().map(|(i, r)| r[..=i % 5].to_vec()).collect();
    let sampling = Sampling { max_new: 12, temperature: 0.7, stop: vec![0], seed: 3, ..Sampling::default() };
    for (prompt, got) in prompts.iter().zip(generate(&model, &prompts, &sampling).unwrap()) {
        let all: Vec<i64> = prompt.iter().chain(&got.ids).map(|&i| i64::from(i)).collect();
        let logits = no_grad(|| model.logits(&model.forward_hidden(&Tensor::from_slice(&all).unsqueeze(0), None, false)));
        let log_probs = (logits.i(0) / 0.7).log_softmax(-1, Kind::Double);
        for (i, (&id, &found)) in got.ids.iter().zip(&got.log_probs).enumerate() {
            let want = log_probs.double_value(&[(prompt.len() + i - 1) as i64, i64::from(id)]);
            assert!((f64::from(found) - want).abs() < 1e-4, "token {i}: {found} against {want}");
        }
    }
}

#[test]
fn padding_changes_nothing() {
    let model = tiny(HeadKind::Scalar, 0.0);
    let ids = tokens(3, 10, 2);
    let short = no_grad(|| model.scalar(&model.forward_hidden(&ids, None, false)));
    for pad in [0, 1, 17] {
        let padded = Tensor::cat(&[&ids, &Tensor::full([3, 6], pad, (Kind::Int64, Device::Cpu))], 1);
        let long = no_grad(|| model.scalar(&model.forward_hidden(&padded, None, false))).narrow(1, 0, 10);
        assert!(gap(&short, &long) < 1e-5);
    }
    let all = rows(&ids);
    let together = no_grad(|| model.score_last(&[&all[0][..4], &all[1], &all[2][..1]])).unwrap();
    for (i, row) in [&all[0][..4], &all[1], &all[2][..1]].into_iter().enumerate() {
        let alone = no_grad(|| model.score_last(&[row])).unwrap();
        assert!((alone.double_value(&[0]) - together.double_value(&[i as i64])).abs() < 1e-5);
    }
}

#[test]
fn a_row_samples_the_same_in_any_company() {
    for model in [tiny(HeadKind::Lm, 0.0), Model::load(&golden("mistral"), Device::Cpu).unwrap()] {
        let prompts: Vec<Vec<u32>> = rows(&tokens(9, 6, 3)).into_iter().enumerate().map(|(i, r)| r[..=i % 6].to_vec()).collect();
        for (top_k, top_p) in [(0, 1.0), (5, 1.0), (0, 0.8), (8, 0.9)] {
            let sampling = Sampling { max_new: 24, top_k, top_p, stop: vec![0, 11], seed: 5, ..Sampling::default() };
            let together = generate(&model, &prompts, &sampling).unwrap();
            for batch in [1, 2, 4] {
                let parts = generate(&model, &prompts, &Sampling { batch, ..sampling.clone() }).unwrap();
                for (a, b) in together.iter().zip(&parts) {
                    assert_eq!((&a.ids, a.finished), (&b.ids, b.finished), "top_k {top_k}, top_p {top_p}, batch {batch}");
                }
            }
            let tail = generate(&model, &prompts[4..], &Sampling { first_row: 4, ..sampling.clone() }).unwrap();
            assert_eq!(together[5].ids, tail[1].ids);
            let lengths: std::collections::BTreeSet<usize> = together.iter().map(|g| g.ids.len()).collect();
            assert!(lengths.len() > 2, "rows should end at different times, or leaving the batch is not tried: {lengths:?}");
            let other = generate(&model, &prompts, &Sampling { seed: 6, ..sampling.clone() }).unwrap();
            assert_ne!(together[0].ids, other[0].ids, "another seed, another sample");
        }
    }
}

#[test]
fn stop_and_length_rules() {
    let model = tiny(HeadKind::Lm, 0.0);
    let prompts = vec![vec![3, 4], vec![9]];
    let every: Vec<u32> = (0..40).collect();
    let s = Sampling { max_new: 8, stop: every.clone(), ..Sampling::default() };
    let got = generate(&model, &prompts, &s).unwrap();
    assert!(got.iter().all(|g| g.ids.len() == 1 && g.finished), "any token stops: one token each");
    let stops: Vec<u32> = (0..39).collect(); // only token 39 may be said before min_new
    let got = generate(&model, &prompts, &Sampling { max_new: 8, min_new: 3, stop: stops.clone(), ..Sampling::default() }).unwrap();
    assert!(got.iter().all(|g| g.ids[..3] == [39, 39, 39]), "{got:?}");
    let got =
        generate(&model, &prompts, &Sampling { max_new: 8, min_new: 3, stop: stops, temperature: 0.0, ..Sampling::default() }).unwrap();
    assert!(got.iter().all(|g| g.ids[..3] == [39, 39, 39]), "{got:?}");
    let got = generate(&model, &prompts, &Sampling { max_new: 5, ..Sampling::default() }).unwrap();
    assert!(got.iter().all(|g| g.ids.len() == 5 && !g.finished && g.log_probs.len() == 5));
    assert!(generate(&model, &prompts, &Sampling { max_new: 0, ..Sampling::default() }).unwrap()[0].ids.is_empty());
    assert!(generate(&model, &[], &Sampling::default()).unwrap().is_empty());
    let got = generate(&model, &[vec![3; 60]], &Sampling { max_new: 4, ..Sampling::default() }).unwrap();
    assert_eq!(got[0].ids.len(), 4, "a prompt and its answer may fill the context");
}

#[test]
fn wrong_requests_are_refused_in_words() {
    let model = tiny(HeadKind::Lm, 0.0);
    let fails = |prompts: &[Vec<u32>], s: Sampling, word: &str| {
        let message = generate(&model, prompts, &s).unwrap_err().to_string();
        assert!(message.contains(word), "{message}");
    };
    fails(&[vec![2; 61]], Sampling { max_new: 4, ..Sampling::default() }, "context of 64");
    fails(&[vec![]], Sampling::default(), "row 0 has no tokens");
    fails(&[vec![40]], Sampling { max_new: 1, ..Sampling::default() }, "token 40");
    fails(&[vec![2]], Sampling { temperature: -1.0, ..Sampling::default() }, "temperature");
    fails(&[vec![2]], Sampling { top_p: 0.0, ..Sampling::default() }, "top_p");
    let scores = tiny(HeadKind::Scalar, 0.0);
    assert!(generate(&scores, &[vec![2]], &Sampling::default()).is_err());
    assert!(scores.score_last(&[&[2; 65]]).is_err());
}

#[test]
fn packed_documents_do_not_see_each_other() {
    for model in families() {
        let ids = tokens(2, 16, 4);
        let lengths = vec![vec![5, 7], vec![1, 3, 12]];
        let segments = Segments::from_lengths(&lengths, 16, Device::Cpu);
        let packed = no_grad(|| model.logits(&model.forward_hidden(&ids, Some(&segments), false)));
        assert!(!bool::try_from(packed.isnan().any()).unwrap(), "padding makes no NaN");
        for (row, lengths) in lengths.iter().enumerate() {
            let mut start = 0;
            for &n in lengths {
                let own = ids.i((row as i64, start..start + n as i64)).unsqueeze(0);
                let alone = no_grad(|| model.logits(&model.forward_hidden(&own, None, false)));
                let found = gap(&alone.i(0), &packed.i((row as i64, start..start + n as i64)));
                assert!(found < 1e-5, "row {row}, document at {start}: {found}");
                start += n as i64;
            }
        }
    }
}

/// A prompt that is computed once for its answers gives them what it gives each of them alone, and gets the gradients of all.
#[test]
fn branches_equal_sequences_of_their_own() {
    for model in families() {
        let ids = tokens(1, 15, 4).i(0);
        let segments = Segments::from_groups(&[vec![6, 3, 4], vec![2]], Device::Cpu);
        let logits = |ids: &Tensor, segments: &Segments| model.logits(&model.forward_packed(ids, segments, false)); // [N, V]
        let weigh = |x: Tensor| (&x * Tensor::arange(x.size()[1], (Kind::Float, Device::Cpu)) / 40.0).sum(Kind::Float);
        let grads = || -> Vec<Tensor> {
            let take = |p: &mut model::Parameter| {
                let grad = p.tensor.grad().copy();
                p.tensor.zero_grad();
                grad
            };
            model.parameters().iter_mut().map(take).collect()
        };
        let shared = logits(&ids, &segments);
        let prompt = ids.i(0..6);
        let alone = |ids: &Tensor| logits(ids, &Segments::from_rows(1, ids.size()[0], Device::Cpu));
        let own =
            [prompt.shallow_clone(), Tensor::cat(&[&prompt, &ids.i(6..9)], 0), Tensor::cat(&[&prompt, &ids.i(9..13)], 0), ids.i(13..15)];
        let own = own.map(|ids| alone(&ids));
        let want = Tensor::cat(&[own[0].shallow_clone(), own[1].i(6..9), own[2].i(6..10), own[3].shallow_clone()], 0);
        let found = gap(&shared, &want);
        assert!(found < 1e-5, "{found}");
        weigh(shared).backward();
        let together = grads();
        weigh(want).backward();
        for (a, b) in together.iter().zip(&grads()) {
            assert!(gap(a, b) < 2e-4 * b.abs().max().double_value(&[]).max(1.0));
        }
    }
}

/// Tokens that nobody asks for are looked at in the last block and go no further: those that are asked for, and all gradients, are the same.
#[test]
fn wanted_tokens_are_what_they_are_among_all() {
    for model in families() {
        let ids = tokens(1, 15, 4).i(0);
        let segments = || Segments::from_groups(&[vec![6, 3, 4], vec![2]], Device::Cpu);
        let places = Tensor::from_slice(&[1i64, 5, 8, 14]);
        let grads = |hidden: &Tensor| -> Vec<Tensor> {
            let logits = model.logits(hidden);
            (&logits * Tensor::arange(logits.size()[1], (Kind::Float, Device::Cpu)) / 40.0).sum(Kind::Float).backward();
            let take = |p: &mut model::Parameter| {
                let grad = p.tensor.grad().copy();
                p.tensor.zero_grad();
                grad
            };
            model.parameters().iter_mut().map(take).collect()
        };
        let few = model.forward_at(&ids, &segments(), &places, false);
        let all = model.forward_packed(&ids, &segments(), false).index_select(0, &places);
        assert!(gap(&few, &all) < 1e-5, "{}", gap(&few, &all));
        for (a, b) in grads(&few).iter().zip(&grads(&all)) {
            assert!(gap(a, b) < 2e-4 * b.abs().max().double_value(&[]).max(1.0));
        }
    }
}

/// Which keys a token sees: a change of token 4 must reach token 4 + 2 · (window − 1) through two blocks, and no further.
#[test]
fn a_window_ends_where_it_should() {
    let window = 5;
    for (name, blocks) in [("mistral", 2), ("llama", 0)] {
        let model = Model::load(&golden(name), Device::Cpu).unwrap();
        let ids = tokens(1, 20, 4);
        let other = ids.copy();
        let _ = other.i((0, 4)).fill_(if ids.int64_value(&[0, 4]) == 7 { 8 } else { 7 });
        let [a, b] = [&ids, &other].map(|ids| no_grad(|| model.forward_hidden(ids, None, false)));
        let changed: Vec<bool> = (0..20).map(|t| gap(&a.i((0, t)), &b.i((0, t))) > 0.0).collect();
        let last = if blocks == 0 { 19 } else { 4 + blocks * (window - 1) };
        let want: Vec<bool> = (0..20).map(|t| (4..=last).contains(&t)).collect();
        assert_eq!(changed, want, "{name}");
    }
}

#[test]
fn packed_gradients_equal_separate_ones() {
    let model = tiny(HeadKind::Lm, 0.0);
    let ids = tokens(1, 12, 5);
    let grads = |losses: Vec<Tensor>| -> Vec<Tensor> {
        model.parameters().iter().for_each(|p| p.tensor.shallow_clone().zero_grad());
        Tensor::stack(&losses, 0).sum(Kind::Float).backward();
        model.parameters().iter().map(|p| p.tensor.grad().copy()).collect()
    };
    let weights = tokens(12, 40, 6).to_kind(Kind::Float) / 40.0;
    let segments = Segments::from_lengths(&[vec![5, 7]], 12, Device::Cpu);
    let packed = grads(vec![(model.logits(&model.forward_hidden(&ids, Some(&segments), true)).i(0) * &weights).sum(Kind::Float)]);
    let part =
        |a: i64, b: i64| (model.logits(&model.forward_hidden(&ids.i((.., a..b)), None, true)).i(0) * weights.i(a..b)).sum(Kind::Float);
    let apart = grads(vec![part(0, 5), part(5, 12)]);
    for (a, b) in packed.iter().zip(&apart) {
        assert!(gap(a, b) < 2e-4 * b.abs().max().double_value(&[]).max(1.0));
    }
}

#[test]
fn training_and_scoring_forward_are_bitwise_equal() {
    // The first PPO update must see a ratio of exactly 1.
    let model = tiny(HeadKind::Lm, 0.0);
    let ids = tokens(4, 33, 8);
    let scored = no_grad(|| model.logits(&model.forward_hidden(&ids, None, false)));
    let trained = model.logits(&model.forward_hidden(&ids, None, true));
    assert!(trained.requires_grad() && !scored.requires_grad());
    assert!(same(&scored, &trained));
}

#[test]
fn shift_score_is_exact() {
    let neox = Model::load(&golden("neox_reward"), Device::Cpu).unwrap();
    for model in [tiny(HeadKind::Scalar, 0.0), neox] {
        let ids = tokens(3, 9, 9);
        let score = || no_grad(|| model.scalar(&model.forward_hidden(&ids, None, false)));
        let before = score();
        assert!(model.can_shift_score());
        model.shift_score(-2.75).unwrap();
        assert!(gap(&(&before - 2.75), &score()) < 1e-5);
    }
    let lm = tiny(HeadKind::Lm, 0.0);
    assert!(!lm.can_shift_score());
    let message = lm.shift_score(1.0).unwrap_err().to_string();
    assert!(message.contains("language model"), "{message}");
    let llama = Model::load(&golden("llama_reward"), Device::Cpu).unwrap();
    assert!(!llama.can_shift_score());
    let message = llama.shift_score(1.0).unwrap_err().to_string();
    assert!(message.contains("without a bias in its final norm"), "{message}");
}

#[test]
fn frozen_and_cloned_weights_stay_apart() {
    let model = tiny(HeadKind::Lm, 0.0);
    let copy = model.clone_weights().unwrap();
    copy.freeze();
    let ids = tokens(1, 8, 10);
    assert!(same(&no_grad(|| model.forward_hidden(&ids, None, false)), &copy.forward_hidden(&ids, None, false)));
    assert!(!copy.forward_hidden(&ids, None, false).requires_grad());
    let _ = no_grad(|| model.parameters()[0].tensor.shallow_clone().fill_(0.0));
    assert!(copy.parameters()[0].tensor.abs().max().double_value(&[]) > 0.0);
    assert!(model.parameters().iter().all(|p| p.tensor.requires_grad()));
    assert!(model.parameters().iter().all(|p| p.decay == (p.tensor.dim() >= 2)));
}

#[test]
fn fresh_models_of_every_family_learn_and_are_written_and_read() {
    use model::config::{Family, Shape};
    let shape = Shape { vocab_size: 40, context: 32, layers: 2, heads: 4, kv_heads: 2, width: 32, dropout: 0.0 };
    for family in [Family::Gpt2, Family::Llama, Family::Mistral, Family::Qwen2, Family::Qwen3, Family::GptNeoX] {
        let config = Config::fresh(family, shape).unwrap();
        let model = Model::new(config, HeadKind::Lm, Device::Cpu, 3).unwrap();
        let ids = Tensor::arange(24, (Kind::Int64, Device::Cpu)).view([2, 12]);
        let logits = model.logits(&model.forward_hidden(&ids, None, false));
        logits.logsumexp(-1, false).sum(Kind::Float).backward();
        let reached = model.parameters().iter().filter(|p| p.tensor.grad().defined()).count();
        let unused = usize::from(family == Family::Gpt2 && reached + 1 == model.parameters().len());
        assert_eq!(reached + unused, model.parameters().len(), "{family:?}: every weight has a gradient");
        let dir = tempfile::tempdir().unwrap();
        model.save(dir.path()).unwrap();
        let back = Model::load(dir.path(), Device::Cpu).unwrap();
        assert_eq!(back.config().position, model.config().position);
        let again = back.logits(&back.forward_hidden(&ids, None, false));
        assert_eq!((logits - again).abs().max().double_value(&[]), 0.0, "{family:?}");
    }
}

#[test]
fn frozen_blocks_get_no_gradients_and_the_others_the_same() {
    for name in ["gpt2_reward", "llama_reward", "neox_reward"] {
        let [whole, part] = [0, 1].map(|blocks| {
            let model = Model::load(&golden(name), Device::Cpu).unwrap();
            if blocks > 0 {
                model.freeze_first(blocks);
            }
            model.scalar(&model.forward_hidden(&tokens(2, 9, 3), None, false)).square().sum(Kind::Float).backward();
            model
        });
        let mut trained = vec![];
        for (p, q) in whole.parameters().iter().zip(part.parameters()) {
            let embedding = [".wte.", ".wpe.", ".embed_tokens.", ".embed_in."].iter().any(|part| p.name.contains(part));
            if embedding || p.unit == 1 {
                assert!(!q.tensor.grad().defined(), "{name}: {}", p.name);
                continue;
            }
            let (grad, scale) = (p.tensor.grad(), p.tensor.grad().abs().max().double_value(&[]));
            assert!(gap(&grad, &q.tensor.grad()) <= 1e-6 * scale, "{name}: {}", p.name);
            trained.push(p.name.clone());
        }
        assert!(trained.iter().any(|n| n.contains("score")) && trained.len() < whole.parameters().len());
        assert_eq!(part.trainable().into_iter().map(|p| p.name).collect::<Vec<_>>(), trained, "{name}");
    }
}
