//! The reward after each token of a few held-out answers, for the run's page.

use crate::batch::Answers;
use anyhow::Result;
use data::{chat::ChatTemplate, rankings::Ranking, tokenizer::Tokenizer};
use evaluate::reward_tokens::{TokenRewards, names, rewards};
use model::Model;

/// Rankings that are shown: their best and their worst answer.
const SHOWN: usize = 3;

/// A JSON line an answer: `token-rewards.jsonl`. `rows` are the answers' tokens, `prefix` stands before each prompt.
pub fn lines(
    model: &Model,
    (rankings, rows): (&[Ranking], &[Answers]),
    prefix: &str,
    (tokenizer, template): (&Tokenizer, &ChatTemplate),
) -> Result<String> {
    let mut text = String::new();
    let told_apart = |r: &&Ranking| r.ranks.iter().max() != r.ranks.iter().min();
    let shown = rankings.iter().zip(rows).filter(|(r, _)| told_apart(r)).take(SHOWN);
    for (ranking, answers) in shown {
        let turns = ranking.asked(prefix);
        let asked = template.encode_turns(tokenizer, &turns)?.len();
        let at = |rank: Option<&u32>| ranking.ranks.iter().position(|r| Some(r) == rank).unwrap_or_default();
        for (who, i) in [("judged best", at(ranking.ranks.iter().min())), ("judged worst", at(ranking.ranks.iter().max()))] {
            let ids = &answers[i];
            let answer = asked.min(ids.len().saturating_sub(1));
            let prompt = turns.last().map(|turn| turn.content.clone()).unwrap_or_default();
            let of = TokenRewards { who: who.into(), prompt, tokens: names(tokenizer, ids)?, rewards: rewards(model, ids)?, answer };
            text += &serde_json::to_string(&of)?;
            text.push('\n');
        }
    }
    Ok(text)
}
