//! Weights set to zero: the smallest of each matrix, or whole attention heads.

use anyhow::{Context, Result};
use data::inputs::Inputs;
use model::lineage::{Lineage, Parent};
use model::{Config, Model, config::Family};
use program::refuse;
use std::path::Path;
use tch::Tensor;

/// Files beside the weights that a pruned or rounded folder keeps as they are.
const KEPT: [&str; 9] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
    "encoder.json",
    "vocab.bpe",
    "chat_template.jinja",
    "generation_config.json",
];

/// What was done to a model, for its lineage.
#[derive(Debug, Clone, Copy)]
pub struct Done<'a> {
    /// `prune` or `round`.
    pub stage: &'a str,
    /// How, as TOML.
    pub how: &'a str,
}

/// Writes `model`, made of the one in `folder`, as the folder `out`: with its tokenizer, and a lineage that names it and what was `done`.
pub fn write_folder(model: &Model, folder: &Path, out: &Path, done: Done<'_>) -> Result<()> {
    if out.join("config.json").exists() {
        refuse!("{}: holds a model already: name another folder", out.display());
    }
    model.save(out)?;
    for name in KEPT {
        let from = folder.join(name);
        if from.is_file() {
            std::fs::copy(&from, out.join(name)).with_context(|| from.display().to_string())?;
        }
    }
    let parent = Parent::new("model", folder)?;
    // A reward model goes on putting it before every prompt.
    let prefix = parent.lineage.as_ref().and_then(|lineage| lineage.prompt_prefix.clone());
    let lineage = Lineage::new(done.stage, vec![parent], Inputs::new(1), done.how);
    Ok(Lineage { prompt_prefix: prefix, ..lineage }.write(out)?)
}

/// Linear maps inside the blocks: what pruning works on; embeddings, head and norms stay.
fn is_map(name: &str, weight: &Tensor) -> bool {
    weight.dim() == 2 && [".h.", ".layers."].iter().any(|inside| name.contains(inside))
}

/// Sets the `share` of smallest magnitude in every linear map of the blocks to zero (magnitude pruning, Han et al. 2015, arXiv 1506.02626, layer by
/// layer). Returns (zeros, weights) of these maps.
pub fn magnitude(model: &Model, share: f64) -> (u64, u64) {
    let (mut zeros, mut all) = (0, 0);
    for p in model.parameters().iter().filter(|p| is_map(&p.name, &p.tensor)) {
        let n = p.tensor.numel();
        let cut = ((share.clamp(0.0, 1.0) * n as f64).round() as i64).min(n as i64);
        if cut > 0 {
            let magnitudes = p.tensor.detach().abs().flatten(0, -1);
            let (_, smallest) = magnitudes.topk(cut, 0, false, false);
            tch::no_grad(|| drop(p.tensor.view(-1).index_fill_(0, &smallest, 0.0)));
        }
        zeros += n as u64 - p.tensor.detach().count_nonzero(None::<i64>).int64_value(&[]) as u64;
        all += n as u64;
    }
    (zeros, all)
}

/// An attention head: block and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Head {
    /// Block, from 0.
    pub layer: usize,
    /// Head, from 0.
    pub head: usize,
}

/// What a family calls the attention's output map, and whether it lies `[in, out]`.
fn out_name(c: &Config, layer: usize) -> (String, bool) {
    match c.family {
        Family::Gpt2 => (format!("transformer.h.{layer}.attn.c_proj.weight"), true),
        Family::GptNeoX => (format!("gpt_neox.layers.{layer}.attention.dense.weight"), false),
        _ => (format!("model.layers.{layer}.self_attn.o_proj.weight"), false),
    }
}

/// The columns of the output map that read a head's result, as a view `[out, C]` or `[C, out]`.
fn reads(model: &Model, head: Head) -> Result<Tensor> {
    let c = model.config();
    let (name, in_out) = out_name(c, head.layer);
    let found = model.parameters().into_iter().find(|p| p.name == name).with_context(|| format!("no {name} in this model"))?;
    let (first, width) = ((head.head * c.head_dim) as i64, c.head_dim as i64);
    Ok(found.tensor.narrow(i64::from(!in_out), first, width))
}

/// All heads, those that the network reads least first: by the norm of the part of the output map that reads them.
pub fn heads_by_weight(model: &Model) -> Result<Vec<Head>> {
    let c = model.config();
    let all = (0..c.layers).flat_map(|layer| (0..c.heads).map(move |head| Head { layer, head }));
    let mut scored = all.map(|head| Ok((reads(model, head)?.detach().norm().double_value(&[]), head))).collect::<Result<Vec<_>>>()?;
    scored.sort_by(|a, b| a.0.total_cmp(&b.0));
    Ok(scored.into_iter().map(|(_, head)| head).collect())
}

/// Takes heads out: what reads their results becomes zero (Michel et al. 2019, arXiv 1905.10650). Sizes stay, since folders of these families ask for
/// equally many heads in all blocks.
pub fn remove_heads(model: &Model, heads: &[Head]) -> Result<()> {
    for head in heads {
        let mut reads = reads(model, *head)?.detach();
        tch::no_grad(|| drop(reads.zero_()));
    }
    Ok(())
}

/// A copy of all weights, to put back.
pub(crate) struct Kept(Vec<Tensor>);

impl Kept {
    pub fn of(model: &Model) -> Kept {
        Kept(model.parameters().iter().map(|p| p.tensor.detach().copy()).collect())
    }

    pub fn restore(&self, model: &Model) {
        tch::no_grad(|| model.parameters().iter().zip(&self.0).for_each(|(p, kept)| p.tensor.shallow_clone().copy_(kept)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::HeadKind;
    use tch::{Device, IndexOp, Kind};

    fn tiny() -> Model {
        Model::new(Config::gpt2(40, 16, 2, 4, 32, 0.0).expect("shape"), HeadKind::Lm, Device::Cpu, 1).expect("model")
    }

    #[test]
    fn the_smallest_go_and_the_rest_stays() {
        let model = tiny();
        let kept = Kept::of(&model);
        let (zeros, all) = magnitude(&model, 0.25);
        assert_eq!((zeros, all), (2 * 12 * 32 * 32 / 4, 2 * 12 * 32 * 32));
        for (p, before) in model.parameters().iter().zip(&kept.0) {
            let now = p.tensor.detach();
            if !is_map(&p.name, &now) {
                assert_eq!(now, *before, "{}", p.name);
                continue;
            }
            let gone = now.eq(0.0);
            let largest_gone = before.abs().masked_select(&gone).max().double_value(&[]);
            let smallest_left = before.abs().masked_select(&gone.logical_not()).min().double_value(&[]);
            assert!(largest_gone <= smallest_left, "{}: {largest_gone} went, {smallest_left} stayed", p.name);
            assert_eq!(now.masked_select(&gone.logical_not()), before.masked_select(&gone.logical_not()));
        }
        kept.restore(&model);
        assert_eq!(magnitude(&model, 0.0).0, 0);
    }

    #[test]
    fn a_folder_tells_what_it_was_made_of_and_how() {
        let dir = tempfile::tempdir().expect("folder");
        let (from, out) = (dir.path().join("from"), dir.path().join("out"));
        std::fs::create_dir(&from).expect("folder");
        let model = tiny();
        model.save(&from).expect("saved");
        Lineage::new("reward", vec![], Inputs::new(1), "seed = 1").with_prompt_prefix("Q: ").write(&from).expect("written");
        magnitude(&model, 0.5);
        let done = Done { stage: "prune", how: "sparsity = 0.5\n" };
        // GPT-2's first form of a tokenizer.
        let tokenizer = ["encoder.json", "vocab.bpe"];
        tokenizer.iter().for_each(|name| std::fs::write(from.join(name), "{}").expect("written"));
        write_folder(&model, &from, &out, done).expect("written");
        assert!(tokenizer.iter().all(|name| out.join(name).is_file()), "the tokenizer goes along");
        let read = |folder: &Path| model::lineage::read(folder).expect("a record");
        let record = read(&out);
        assert_eq!((record.stage.as_str(), record.config.as_str(), record.prompt_prefix.as_deref()), ("prune", done.how, Some("Q: ")));
        let [parent] = record.parents.as_slice() else { panic!("one parent: {record:?}") };
        assert_eq!(parent.lineage.as_deref(), Some(&read(&from)));
        let hash = |folder: &Path| model::lineage::weights_hash(folder).expect("weights");
        assert_eq!(parent.hash, hash(&from));
        assert_ne!(parent.hash, hash(&out), "half of the weights are zero");
        let again = write_folder(&model, &from, &out, done).expect_err("there is a model");
        assert!(again.is::<program::Input>(), "{again}");
    }

    /// A head that is gone changes what comes out, and what it had read no longer does: its values may be anything.
    #[test]
    fn a_removed_head_has_no_say() {
        let model = tiny();
        let ids = Tensor::from_slice(&[3i64, 1, 4, 1, 5]).view([1, 5]);
        let logits = || tch::no_grad(|| model.logits(&model.forward_hidden(&ids, None, false)));
        let order = heads_by_weight(&model).expect("heads");
        assert_eq!(order.len(), 8);
        let before = logits();
        let head = Head { layer: 1, head: 2 };
        remove_heads(&model, &[head]).expect("removed");
        assert_eq!(heads_by_weight(&model).expect("heads")[0], head, "what nobody reads has no norm");
        let after = logits();
        assert!((&before - &after).abs().max().double_value(&[]) > 0.0);
        let values = model.parameters().into_iter().find(|p| p.name == "transformer.h.1.attn.c_attn.weight").expect("c_attn").tensor;
        tch::no_grad(|| drop(values.detach().i((.., 2 * 32 + 16..2 * 32 + 24)).fill_(7.0))); // the head's value map
        assert!((logits() - &after).abs().max().double_value(&[]) < 1e-6);
        assert_eq!(after.kind(), Kind::Float);
    }
}
