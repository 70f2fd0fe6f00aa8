//! Models whose matrices are in few bits in memory: the numbers of the rounded folders, in fewer bytes.

use compress::blocks::Format;
use compress::gguf;
use data::tokenizer::Tokenizer;
use model::config::{Family, Shape};
use model::{Activations, Config, HeadKind, Model, Sampling, generate};
use std::path::Path;
use tch::{Device, Kind, Tensor, no_grad};

const FAMILIES: [Family; 6] = [Family::Gpt2, Family::Llama, Family::Mistral, Family::Qwen2, Family::Qwen3, Family::GptNeoX];
const FORMATS: [Format; 2] = [Format::Q8_0, Format::Q4_0];

/// A small model with weights large enough to matter, and a tokenizer; `width` features.
fn folder(dir: &Path, family: Family, width: usize) {
    let tokenizer = Tokenizer::byte().expect("tokenizer");
    let grouped = !matches!(family, Family::Gpt2 | Family::GptNeoX);
    let shape = Shape {
        vocab_size: tokenizer.vocab_size(),
        context: 48,
        layers: 2,
        heads: 4,
        kv_heads: if grouped { 2 } else { 0 },
        width,
        dropout: 0.0,
    };
    let mut config = Config::fresh(family, shape).expect("shape");
    config.tied = !matches!(family, Family::Llama | Family::GptNeoX); // both kinds of head
    config.set_special(tokenizer.bos(), &[tokenizer.eos()], Some(tokenizer.pad()));
    let model = Model::new(config, HeadKind::Lm, Device::Cpu, 5).expect("model");
    no_grad(|| model.parameters().into_iter().for_each(|p| drop(p.tensor.detach().f_mul_scalar_(3.0))));
    model.save(dir).expect("weights");
    tokenizer.save(dir).expect("tokenizer");
}

/// `[T, V]` of one sequence.
fn logits(model: &Model, ids: &[u32]) -> Tensor {
    let ids: Vec<i64> = ids.iter().map(|&id| i64::from(id)).collect();
    no_grad(|| model.logits(&model.forward_hidden(&Tensor::from_slice(&ids).unsqueeze(0), None, false)).squeeze_dim(0))
}

fn gap(a: &Tensor, b: &Tensor) -> f64 {
    (a.to_kind(Kind::Double) - b.to_kind(Kind::Double)).abs().max().double_value(&[])
}

/// The maps are the rounded folder's; so are looked-up rows once the embedding is, which the folder rounds and memory does not.
#[test]
fn numbers_are_those_of_the_rounded_folder() {
    let dir = tempfile::tempdir().expect("folder");
    let ids: Vec<u32> = (3..35).collect();
    for family in FAMILIES {
        let at = dir.path().join(format!("{family:?}"));
        folder(&at, family, 64);
        let plain = Model::load(&at, Device::Cpu).expect("model");
        for format in FORMATS {
            let rounded_at = at.join(format.name());
            gguf::round_folder(&at, &rounded_at, format).expect("rounded");
            let rounded = Model::load(&rounded_at, Device::Cpu).expect("rounded");
            let mut few = Model::load(&at, Device::Cpu).expect("model");
            let (to, from) = (&few.parameters()[0], &rounded.parameters()[0]);
            assert!(
                to.name == from.name && (to.name.contains("embed") || to.name.contains("wte")),
                "{}: the embedding is the first",
                to.name
            );
            no_grad(|| to.tensor.detach().copy_(&from.tensor));
            let fit = few.quantise(format, Activations::Sixteen).expect("few bits");
            assert!(fit.in_float.is_empty(), "{fit:?}");
            let (a, b, before) = (logits(&few, &ids), logits(&rounded, &ids), logits(&plain, &ids));
            let scale = b.abs().max().double_value(&[]);
            // An activation is rounded by 2^-16 of the largest of its block at most, about 2e-5 of a typical sum of many; eight bits move a weight by
            // 2^-8 of the largest, 128 times as much (and the embedding is the rounded one here, too).
            let near = 1e-3 * scale;
            assert!(gap(&a, &b) <= near, "{family:?} {format:?}: {} of {scale}", gap(&a, &b));
            assert!(gap(&before, &b) > 2.0 * gap(&a, &b), "{family:?} {format:?}: rounding itself would be seen");

            // Greedy tokens are the folder's, but where two of its logits are equal within what was allowed above.
            let sampling = Sampling { max_new: 12, temperature: 0.0, ..Sampling::default() };
            let written = generate(&few, &[ids[..20].to_vec(), ids[..7].to_vec()], &sampling).expect("answers");
            for (prompt, answer) in [&ids[..20], &ids[..7]].into_iter().zip(written) {
                let whole = [prompt, &answer.ids[..]].concat();
                let seen = logits(&rounded, &whole);
                for (place, &id) in answer.ids.iter().enumerate() {
                    let row = seen.get((prompt.len() + place - 1) as i64);
                    let lost = row.max().double_value(&[]) - row.double_value(&[i64::from(id)]);
                    assert!(lost <= 2.0 * near, "{family:?} {format:?}, token {place}: {lost} below the best");
                }
            }
        }
    }
}

/// Where the processor multiplies bytes, generation goes through `native::decode` by them; elsewhere, and for scores, through the same products one by one.
#[test]
fn rows_of_eight_bits_write_what_they_score() {
    let dir = tempfile::tempdir().expect("folder");
    let ids: Vec<u32> = (0..20).map(|i| (i * 7 + 3) % 60).collect();
    for family in FAMILIES {
        let at = dir.path().join(format!("{family:?}"));
        folder(&at, family, 64);
        let mut fine = Model::load(&at, Device::Cpu).expect("model");
        fine.quantise(Format::Q8_0, Activations::Sixteen).expect("few bits");
        let mut few = Model::load(&at, Device::Cpu).expect("model");
        few.quantise(Format::Q8_0, Activations::Eight).expect("few bits");
        let (a, b) = (logits(&few, &ids), logits(&fine, &ids));
        let scale = b.abs().max().double_value(&[]);
        // A number is off by 1/254 of the largest of its block at most, some 0.5% of a normal one; two blocks make 1.5% of it, and where attention is sharp
        // (Qwen3's norms of queries and keys) 6%.
        let off = (&a - &b).norm().double_value(&[]) / b.norm().double_value(&[]);
        assert!(off > 1e-3 && off <= 0.08, "{family:?}: {off}");

        // The same products in the whole pass: what is near a half is rounded otherwise there, and keys and values may be bfloat16.
        let near = 0.1 * scale;
        let prompts = [ids[..20].to_vec(), ids[..7].to_vec(), ids[..1].to_vec()];
        let sampling = Sampling { max_new: 12, temperature: 0.0, ..Sampling::default() };
        let written = generate(&few, &prompts, &sampling).expect("answers");
        for (prompt, answer) in prompts.iter().zip(&written) {
            let alone = generate(&few, std::slice::from_ref(prompt), &sampling).expect("answer");
            assert_eq!(alone[0].ids, answer.ids, "{family:?}: in company and alone");
            let whole = [&prompt[..], &answer.ids[..]].concat();
            let seen = logits(&few, &whole);
            for (place, &id) in answer.ids.iter().enumerate() {
                let row = seen.get((prompt.len() + place - 1) as i64);
                let lost = row.max().double_value(&[]) - row.double_value(&[i64::from(id)]);
                assert!(lost <= near, "{family:?}, token {place}: {lost} of {scale} below the best");
            }
        }
        let mut few = Model::load(&at, Device::Cpu).expect("model");
        assert!(few.quantise(Format::Q4_0, Activations::Eight).is_err());
    }
}

#[test]
fn memory_falls_and_float_weights_are_gone() {
    let dir = tempfile::tempdir().expect("folder");
    for family in FAMILIES {
        let at = dir.path().join(format!("{family:?}"));
        folder(&at, family, 64);
        let mut last = Model::load(&at, Device::Cpu).expect("model").weight_bytes();
        for format in FORMATS {
            let mut few = Model::load(&at, Device::Cpu).expect("model");
            let all = 4 * few.parameter_count();
            assert_eq!((few.weight_bytes(), few.format()), (all, Format::F32));
            few.quantise(format, Activations::Sixteen).expect("few bits");
            assert_eq!(few.format(), format);
            assert!(few.weight_bytes() < last, "{family:?} {format:?}: {} of {last}", few.weight_bytes());
            // What is left in float32: the embedding, positions, norms and biases.
            assert!(few.parameters().iter().filter(|p| p.decay).count() <= 2, "{family:?}");
            last = few.weight_bytes();
            assert!(
                few.save(&at.join("never")).is_err()
                    && few.clone_weights().is_err()
                    && few.share().is_err()
                    && few.quantise(format, Activations::Sixteen).is_err()
            );
            few.set_compute(Kind::BFloat16);
            assert_eq!(few.compute(), Kind::Float);
        }
    }
}

/// Rows of 48 and 192 numbers (GPT-2's maps): only what is read along the inner features fits.
#[test]
fn narrow_matrices_stay_and_are_named() {
    let dir = tempfile::tempdir().expect("folder");
    folder(dir.path(), Family::Gpt2, 48);
    let plain = Model::load(dir.path(), Device::Cpu).expect("model");
    let mut few = Model::load(dir.path(), Device::Cpu).expect("model");
    let fit = few.quantise(Format::Q8_0, Activations::Sixteen).expect("few bits");
    // Of each of two blocks the second map of the MLP; the other three of each and the head stay.
    assert_eq!((fit.in_format, fit.in_float.len()), (2, 7), "{fit:?}");
    assert!(fit.in_float.iter().any(|name| name == "transformer.h.0.attn.c_attn.weight"), "{fit:?}");
    let ids: Vec<u32> = (3..20).collect();
    let (a, b) = (logits(&few, &ids), logits(&plain, &ids));
    let off = gap(&a, &b) / b.abs().max().double_value(&[]);
    assert!(off > 0.0 && off < 0.05, "{off}");
    assert!(few.quantise(Format::F16, Activations::Sixteen).is_err());
    let mut scores = Model::load_as(dir.path(), HeadKind::Scalar, Device::Cpu).expect("scores");
    assert!(scores.quantise(Format::Q8_0, Activations::Sixteen).is_err(), "a model that scores");
}
