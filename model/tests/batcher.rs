//! Prompts that come and go: what a request gets does not depend on the others.

mod common;

use common::{FAMILIES, golden, rows, tiny, tokens};
use model::batcher::{Batcher, Chosen, Request};
use model::blocks::Format;
use model::config::{Family, Shape};
use model::{Activations, Config, Generation, HeadKind, Model, ModelError, Sampling, generate};
use std::sync::Arc;
use tch::{Device, Kind, Tensor, no_grad};

/// Every family in bfloat16, which is the native pass where the processor has it, and two in float32.
fn models() -> Vec<Model> {
    let load = |name: &str| Model::load(&golden(name), Device::Cpu).unwrap();
    let rounded = FAMILIES.iter().map(|name| load(name).with_compute(Kind::BFloat16));
    rounded.chain([tiny(HeadKind::Lm, 0.0), load("mistral")]).collect()
}

fn prompts(n: i64, seed: u64) -> Vec<Vec<u32>> {
    rows(&tokens(n, 6, seed)).into_iter().enumerate().map(|(i, r)| r[..=i % 6].to_vec()).collect()
}

/// Works until nothing is left, and puts the tokens together.
fn drain(batcher: &mut Batcher<'_>, into: &mut Vec<Generation>) {
    while !batcher.is_idle() {
        note(batcher.step().unwrap(), into);
    }
}

fn note(chosen: Vec<Chosen>, into: &mut Vec<Generation>) {
    for c in chosen {
        into.resize(into.len().max(c.ticket as usize + 1), Generation { ids: vec![], log_probs: vec![], finished: false });
        let row = &mut into[c.ticket as usize];
        row.ids.push(c.id);
        row.log_probs.push(c.log_prob);
        row.finished = c.finished;
    }
}

/// Equal tokens; log-probabilities to rounding in float32, and bit for bit where our own pass works.
fn assert_same(a: &Generation, b: &Generation, exact: bool, what: &str) {
    assert_eq!((&a.ids, a.finished), (&b.ids, b.finished), "{what}");
    for (x, y) in a.log_probs.iter().zip(&b.log_probs) {
        assert!(if exact { x == y } else { (x - y).abs() < 1e-4 }, "{what}: {x} and {y}");
    }
}

#[test]
fn company_and_places_change_nothing() {
    for (number, model) in models().iter().enumerate() {
        let exact = native::dense::supported(model.compute());
        if model.compute() == Kind::BFloat16 && !exact {
            continue; // libtorch's bfloat16 rounds differently in other company
        }
        let sampling = Sampling { max_new: 24, top_k: 20, top_p: 0.95, stop: vec![0, 11, 17], seed: 5, ..Sampling::default() };
        let mut asked = prompts(9, 3);
        // Samples of one prompt: side by side, and while another of them is written already.
        asked.extend([asked[4].clone(), asked[4].clone(), asked[5].clone(), asked[5].clone(), asked[5].clone(), asked[5].clone()]);
        let alone: Vec<Generation> = (0..)
            .zip(&asked)
            .map(|(i, p)| generate(model, std::slice::from_ref(p), &Sampling { first_row: i, ..sampling.clone() }).unwrap().remove(0))
            .collect();
        let lengths: std::collections::BTreeSet<usize> = alone.iter().map(|g| g.ids.len()).collect();
        assert!(lengths.len() > 2, "rows should end at different times: {lengths:?}");
        for batch in [0, 1, 2, 3, 7] {
            let together = generate(model, &asked, &Sampling { batch, ..sampling.clone() }).unwrap();
            for (i, (a, b)) in alone.iter().zip(&together).enumerate() {
                assert_same(a, b, exact, &format!("model {number}, batch {batch}, row {i}"));
            }
        }
    }
}

#[test]
fn threads_change_no_bit() {
    let many = tch::get_num_threads();
    for kind in [Kind::BFloat16, Kind::Float].into_iter().filter(|kind| native::dense::supported(*kind)) {
        let model = Model::load(&golden("llama"), Device::Cpu).unwrap().with_compute(kind);
        let run = |threads: i32| {
            tch::set_num_threads(threads);
            generate(&model, &prompts(7, 4), &Sampling { max_new: 20, seed: 2, ..Sampling::default() }).unwrap()
        };
        let (one, three) = (run(1), run(3));
        tch::set_num_threads(many);
        assert_eq!(one, three, "{kind:?}");
    }
}

#[test]
fn requests_come_go_and_differ() {
    for model in [tiny(HeadKind::Lm, 0.0), Model::load(&golden("qwen3_window"), Device::Cpu).unwrap().with_compute(Kind::BFloat16)] {
        let asked = prompts(6, 8);
        let sampling = |i: usize| Sampling {
            max_new: 6 + 5 * i,
            temperature: [0.0, 1.0, 0.5][i % 3],
            top_k: [0, 3, 0][i % 3],
            seed: i as u64,
            ..Sampling::default()
        };
        let request = |i: usize| Request { prompt: asked[i].clone(), sampling: Arc::new(sampling(i)), row: 40 + i as u64 };
        let mut got = vec![];
        let mut batcher = Batcher::new(&model, 3, 40).unwrap();
        (0..3).for_each(|i| assert_eq!(batcher.push(request(i)).unwrap(), i as u64));
        (0..4).for_each(|_| note(batcher.step().unwrap(), &mut got));
        batcher.cancel(1);
        (3..6).for_each(|i| assert_eq!(batcher.push(request(i)).unwrap(), i as u64));
        batcher.cancel(4); // has not begun
        batcher.cancel(99);
        drain(&mut batcher, &mut got);
        for i in [0, 2, 3, 5] {
            let want = generate(&model, &asked[i..=i], &Sampling { first_row: 40 + i as u64, ..sampling(i) }).unwrap();
            assert_eq!(got[i].ids, want[0].ids, "request {i}");
        }
        // A request's first step writes two tokens: the one that its prompt gives, and the next.
        assert_eq!((got[1].ids.len(), got[4].ids.len()), (5, 0), "cancelled");
    }
}

#[test]
fn memory_that_cannot_be_had_is_said() {
    let mut few = tiny(HeadKind::Lm, 0.0); // runs on libtorch's operators
    few.quantise(Format::Q8_0, Activations::Sixteen).unwrap();
    for model in [tiny(HeadKind::Lm, 0.0), few] {
        let said = Batcher::new(&model, 1 << 20, 1 << 26).unwrap_err();
        assert!(matches!(said, ModelError::NoRoom { .. }) && said.to_string().contains("1048576 sequences of 67108864 tokens"), "{said}");
    }
}

#[test]
fn what_does_not_fit_is_refused_in_words() {
    let model = tiny(HeadKind::Lm, 0.0);
    let mut batcher = Batcher::new(&model, 2, 20).unwrap();
    let mut fails = |prompt: Vec<u32>, max_new: usize, word: &str| {
        let sampling = Arc::new(Sampling { max_new, ..Sampling::default() });
        let message = batcher.push(Request { prompt, sampling, row: 0 }).unwrap_err().to_string();
        assert!(message.contains(word), "{message}");
    };
    fails(vec![3; 10], 11, "1 to 10 new ones fit");
    fails(vec![3; 10], 0, "1 to 10 new ones fit");
    fails(vec![3; 60], 5, "context of 64");
    fails(vec![], 5, "no tokens");
    assert!(batcher.is_idle());
}

/// Heads of uneven sizes, more of them than the kernel takes at a time, sequences over several of its blocks, windows that end within one.
#[test]
fn shapes_of_all_kinds_write_what_whole_passes_find_probable() {
    let shape =
        |heads, kv_heads, head| Shape { vocab_size: 101, context: 200, layers: 2, heads, kv_heads, width: heads * head, dropout: 0.0 };
    for (family, shape, window) in [
        (Family::Gpt2, shape(3, 3, 26), 0),
        (Family::GptNeoX, shape(2, 2, 80), 0),
        (Family::Llama, shape(10, 2, 18), 0),
        (Family::Mistral, shape(6, 2, 32), 37),
        (Family::Qwen3, shape(4, 1, 64), 0),
    ] {
        let mut config = Config::fresh(family, shape).unwrap();
        config.init_std = 0.15;
        if let Some(w) = config.window.as_mut().filter(|_| window > 0) {
            w.size = window;
        }
        let exact = Model::new(config, HeadKind::Lm, Device::Cpu, 3).unwrap();
        let model = exact.clone_weights().unwrap().with_compute(Kind::BFloat16);
        let asked: Vec<Vec<u32>> = [70, 1, 17].iter().map(|&n| (0..n).map(|i| (i * 7 + n) % 101).collect()).collect();
        let sampling = Sampling { max_new: 90, temperature: 0.8, seed: 5, ..Sampling::default() };
        for (prompt, got) in asked.iter().zip(generate(&model, &asked, &sampling).unwrap()) {
            let all: Vec<i64> = prompt.iter().chain(&got.ids).map(|&i| i64::from(i)).collect();
            let of = |m: &Model| {
                let logits = no_grad(|| m.logits(&m.forward_hidden(&Tensor::from_slice(&all).unsqueeze(0), None, false)));
                (logits.squeeze_dim(0) / 0.8).log_softmax(-1, Kind::Double)
            };
            let (float, rounded) = (of(&exact), of(&model));
            let mut off = [0f64; 2]; // sums of squares: ours, and a whole pass of bfloat16
            for (i, (&id, &found)) in got.ids.iter().zip(&got.log_probs).enumerate() {
                let at = [(prompt.len() + i - 1) as i64, i64::from(id)];
                let want = float.double_value(&at);
                off[0] += (f64::from(found) - want).powi(2);
                off[1] += (rounded.double_value(&at) - want).powi(2);
            }
            let [ours, theirs] = off.map(|sum| (sum / got.ids.len() as f64).sqrt());
            assert!(ours < 1.5 * theirs + 1e-3 && theirs < 0.2, "{family:?}: off by {ours} where a whole pass is by {theirs}");
        }
    }
}
