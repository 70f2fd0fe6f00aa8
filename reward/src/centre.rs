//! Moving the scores so that 0 means "as good as the SFT model's own answers" (Stiennon et al., arXiv 2009.01325, appendix B.1).

use crate::batch;
use anyhow::{Result, ensure};
use data::{chat::ChatTemplate, config::RewardConfig, order::Order, rankings::Ranking, tokenizer::Tokenizer};
use model::{HeadKind, Model, generate::Sampling};
use std::path::Path;
use tch::Device;
use train::seed;

/// Answers sampled at a time.
const AT_A_TIME: usize = 64;

/// Refuses prompts that leave no room for a sampled answer, before anything is trained. The reward model reads the longer ones: its prefix
/// stands before each.
pub fn check(rankings: &[Ranking], (tokenizer, template): (&Tokenizer, &ChatTemplate), c: &RewardConfig, context: usize) -> Result<()> {
    let mut prompts: Vec<&str> = rankings.iter().map(|r| r.prompt.as_str()).collect();
    prompts.sort_unstable();
    prompts.dedup();
    let mut longest = 0;
    for prompt in prompts {
        longest = longest.max(template.encode_prompt(tokenizer, prompt)?.len());
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

/// Mean score of answers that the SFT model samples to the training prompts.
pub fn sft_score(
    reward: &Model,
    sft: &Path,
    rankings: &[Ranking],
    (tokenizer, template): (&Tokenizer, &ChatTemplate),
    c: &RewardConfig,
    device: Device,
) -> Result<f64> {
    let policy = Model::load_as(sft, HeadKind::Lm, device)?;
    let mut prompts: Vec<&str> = rankings.iter().map(|r| r.prompt.as_str()).collect();
    prompts.sort_unstable();
    prompts.dedup();
    let order = Order::new(prompts.len() as u64, c.seed);
    let picked: Vec<&str> = (0..c.centre.samples as u64).map(|k| prompts[order.at(k) as usize]).collect();
    let mut rows: Vec<Vec<u32>> = Vec::with_capacity(picked.len());
    for (i, chunk) in picked.chunks(AT_A_TIME).enumerate() {
        // The reward model reads its prefix; the SFT model has never seen it.
        let asked = chunk.iter().map(|p| template.encode_prompt(tokenizer, p.strip_prefix(c.data.prompt_prefix.as_str()).unwrap_or(p)));
        let asked = asked.collect::<Result<Vec<_>, _>>()?;
        let seed = seed::mix(c.seed, u64::MAX, i as u64) as u64;
        let sampling = Sampling {
            max_new: c.centre.max_new_tokens,
            temperature: 1.0,
            stop: template.stop_ids(tokenizer),
            seed,
            ..Sampling::default()
        };
        for (prompt, answer) in chunk.iter().zip(model::generate::generate(&policy, &asked, &sampling)?) {
            let mut row = template.encode_prompt(tokenizer, prompt)?;
            row.extend(answer.ids);
            rows.push(row);
        }
    }
    let rows: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
    let scores = batch::score_rows(reward, &rows, AT_A_TIME, tokenizer.pad())?;
    Ok(scores.iter().sum::<f64>() / scores.len().max(1) as f64)
}
