//! `evaluate reward-tokens`: the reward after each token of answers, as numbers and as a page.

use crate::cli::RewardTokensArgs;
use crate::exit::input;
use crate::open::device;
use data::chat::Message;
use data::config::Source;
use data::quarantine::Quarantine;
use evaluate::RewardModel;
use evaluate::report::html::{FOOT, head};
use evaluate::reward_tokens::draw;
use program::say;
use serde_json::{Value, json};
use std::path::Path;
use tch::Kind;

/// Scores and prints.
pub fn run(args: &RewardTokensArgs) -> anyhow::Result<()> {
    let model = RewardModel::load(&args.model.model, device(&args.model)?, Kind::Float)?;
    let rows = match (&args.data, &args.prompt, &args.response) {
        (Some(file), ..) => read(file, args.limit)?,
        (None, Some(prompt), Some(response)) => vec![(prompt.clone(), response.clone())],
        _ => return Err(input("name --data, or --prompt and --response")),
    };
    let mut found = Vec::with_capacity(rows.len());
    for (prompt, response) in &rows {
        found.push(model.token_rewards("", &[Message::new("user", prompt)], response, true)?);
    }
    for (of, (_, response)) in found.iter().zip(&rows) {
        if args.model.json {
            say!(
                "{}",
                json!({ "prompt": of.prompt, "response": response, "reward": of.reward(), "tokens": of.tokens, "rewards": of.rewards, "answer_begins": of.answer })
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

/// Prompt and response of the first rows.
fn read(file: &Path, limit: usize) -> anyhow::Result<Vec<(String, String)>> {
    let folder = tempfile::tempdir()?;
    let mut bad = Quarantine::new(folder.path().join("bad.jsonl"));
    let (mut rows, mut broken) = (Vec::new(), None);
    let source = Source { path: file.display().to_string(), ..Source::default() };
    data::source::read(&source, &mut bad, &mut |row, _| {
        let text = |name: &str| row.fields.get(name).and_then(Value::as_str).map(str::to_string);
        match (text("prompt"), text("response")) {
            (Some(prompt), Some(response)) if rows.len() < limit => rows.push((prompt, response)),
            (Some(_), Some(_)) => {}
            _ => broken = broken.take().or_else(|| Some(format!("{}, line {}: no prompt or no response", row.file.display(), row.line))),
        }
        Ok(())
    })?;
    match broken {
        Some(broken) => Err(input(broken)),
        None if rows.is_empty() => Err(input(format!("{}: no rows", file.display()))),
        None => Ok(rows),
    }
}
