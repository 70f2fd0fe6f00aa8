//! Moving the scores so that 0 means "as good as the SFT model's own answers" (Stiennon et al., arXiv 2009.01325, appendix B.1), and on request scaling
//! them to unit variance over those answers (Ziegler et al., arXiv 1909.08593, section 2.2).

use crate::batch;
use anyhow::{Result, ensure};
use data::{
    chat::ChatTemplate,
    chat::Message,
    config::RewardConfig,
    labels::{item_key, text_of},
    order::Order,
    rankings::Ranking,
    tokenizer::Tokenizer,
};
use dist::World;
use model::{HeadKind, Model, Start, generate::Sampling};
use tch::no_grad;
use train::seed;

/// Answers sampled at a time.
const AT_A_TIME: usize = 64;

/// Refuses prompts that leave no room for a sampled answer, before anything is trained. The reward model reads the longer ones: its prefix
/// stands before each.
pub fn check(rankings: &[Ranking], (tokenizer, template): (&Tokenizer, &ChatTemplate), c: &RewardConfig, context: usize) -> Result<()> {
    let mut longest = 0;
    for ranking in distinct(rankings) {
        longest = longest.max(template.encode_turns(tokenizer, &ranking.asked(&c.data.prompt_prefix))?.len());
    }
    let new = c.centre.max_new_tokens;
    ensure!(
        longest + new <= context,
        "centre.max_new_tokens = {new}: with the longest prompt of {longest} tokens it exceeds the model's context of {context}: set it to {} \
         or less, or centre.samples = 0",
        context.saturating_sub(longest)
    );
    Ok(())
}

/// One ranking of each prompt, in an order that does not depend on that of the rows.
fn distinct(rankings: &[Ranking]) -> Vec<&Ranking> {
    let place = |prompt: &[Message]| (text_of(prompt), item_key(prompt, &[]));
    let mut keyed: Vec<_> = rankings.iter().map(|ranking| (place(&ranking.prompt), ranking)).collect();
    keyed.sort_by(|a, b| a.0.cmp(&b.0));
    keyed.dedup_by(|a, b| a.0 == b.0);
    keyed.into_iter().map(|(_, ranking)| ranking).collect()
}

/// Folds s ← gain·s + bias into the model, with bias = −gain·mean of `scores`, and gain = 1 over their standard deviation or 1. Returns (gain, bias).
pub fn fold(model: &Model, scores: &[f64], scale: bool) -> Result<(f64, f64)> {
    let n = scores.len().max(1) as f64;
    let mean = scores.iter().sum::<f64>() / n;
    let std = (scores.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / n).sqrt();
    let gain = if scale && std > 0.0 { 1.0 / std } else { 1.0 };
    if gain != 1.0 {
        let _ = no_grad(|| model.head_weight().shallow_clone().g_mul_scalar_(gain));
    }
    model.shift_score(-mean * gain)?;
    Ok((gain, -mean * gain))
}

/// Scores of answers that the SFT model samples to the training prompts.
pub fn sft_scores(
    reward: &Model,
    sft: &Start,
    rankings: &[Ranking],
    (tokenizer, template): (&Tokenizer, &ChatTemplate),
    c: &RewardConfig,
    world: &World,
) -> Result<Vec<f64>> {
    let policy = sft.merged(HeadKind::Lm)?.with_compute(reward.compute());
    let prompts = distinct(rankings);
    let order = Order::new(prompts.len() as u64, c.seed);
    let picked: Vec<&Ranking> = (0..c.centre.samples as u64).map(|k| prompts[order.at(k) as usize]).collect();
    let mut scores = vec![0.0; picked.len()];
    for (i, chunk, _) in world.share(picked.chunks(AT_A_TIME)) {
        // The reward model reads its prefix; the SFT model has never seen it.
        let asked = chunk.iter().map(|r| template.encode_turns(tokenizer, &r.prompt)).collect::<Result<Vec<_>, _>>()?;
        let seed = seed::mix(c.seed, u64::MAX, i as u64) as u64;
        let sampling = Sampling {
            max_new: c.centre.max_new_tokens,
            temperature: 1.0,
            stop: template.stop_ids(tokenizer),
            seed,
            ..Sampling::default()
        };
        let mut rows: Vec<Vec<u32>> = Vec::with_capacity(chunk.len());
        for (ranking, answer) in chunk.iter().zip(model::generate::generate(&policy, &asked, &sampling)?) {
            let mut row = template.encode_turns(tokenizer, &ranking.asked(&c.data.prompt_prefix))?;
            row.extend(answer.ids);
            rows.push(row);
        }
        let rows: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
        scores[i * AT_A_TIME..][..rows.len()].copy_from_slice(&batch::score_rows(reward, &rows, AT_A_TIME, &World::single())?);
    }
    world.sum_all(&mut scores)?; // each score is one rank's, and 0 of the others
    Ok(scores)
}
