//! `evaluate reward-tokens`: the reward after each token of answers, as numbers and as a page.

use crate::cli::RewardTokensArgs;
use crate::exit::input;
use crate::open::device;
use crate::rows;
use anyhow::Context;
use data::chat::Message;
use evaluate::RewardModel;
use evaluate::report::html::{FOOT, head};
use evaluate::reward_tokens::draw;
use program::say;
use serde_json::json;
use tch::Kind;

/// What is shown.
struct Asked {
    /// Where it was given, for messages.
    place: String,
    prompt: String,
    response: String,
}

/// Scores and prints.
pub fn run(args: &RewardTokensArgs) -> anyhow::Result<()> {
    let model = RewardModel::load(&args.model.model, device(&args.model)?, Kind::Float)?;
    let rows = match (&args.data, &args.prompt, &args.response) {
        (Some(file), ..) => rows::read(file, args.limit, "all are shown or none", |row| {
            let place = rows::place(&row.file, row.line);
            Ok(Asked { place, prompt: rows::text(row, "prompt")?, response: rows::text(row, "response")? })
        })?,
        (None, Some(prompt), Some(response)) => {
            vec![Asked { place: "--prompt with --response".into(), prompt: prompt.clone(), response: response.clone() }]
        }
        _ => return Err(input("name --data, or --prompt and --response")),
    };
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        let of = model.token_rewards("", &[Message::new("user", &row.prompt)], &row.response, true);
        found.push(of.with_context(|| row.place.clone())?);
    }
    for (of, row) in found.iter().zip(&rows) {
        if args.model.json {
            say!(
                "{}",
                json!({ "prompt": of.prompt, "response": row.response, "reward": of.reward(), "tokens": of.tokens, "rewards": of.rewards, "answer_begins": of.answer })
            );
            continue;
        }
        say!("{}", of.prompt.escape_debug());
        for i in of.answer..of.tokens.len() {
            say!("  {:+9.4}  {}", of.rewards[i], of.tokens[i].escape_debug());
        }
        say!("reward {:.5}", of.reward());
    }
    if let Some(path) = &args.html {
        let page = head("Reward per token") + &draw(&found) + FOOT;
        std::fs::write(path, page).map_err(|e| input(format!("{}: cannot be written: {e}", path.display())))?;
    }
    Ok(())
}
