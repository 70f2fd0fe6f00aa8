//! `evaluate generate`: the continuation of one prompt.

use crate::cli::GenerateArgs;
use crate::exit::input;
use crate::open::{Opened, open};
use data::chat::ChatTemplate;
use model::{HeadKind, Sampling};
use serde_json::json;
use std::io::IsTerminal;

/// Tokens at most, when the user does not say.
const MAX_NEW: usize = 64;

/// Continues the prompt and prints text and ids.
pub fn run(args: &GenerateArgs) -> anyhow::Result<()> {
    let opened = open(&args.model, HeadKind::Lm)?;
    let (prompt, stop) = prompt(args, &opened)?;
    if prompt.is_empty() {
        return Err(input("the prompt is empty: give it at least one token"));
    }
    let room = opened.model.config().context.saturating_sub(prompt.len());
    let sampling = Sampling {
        max_new: args.max_new.unwrap_or(MAX_NEW.min(room.max(1))),
        temperature: if args.greedy { 0.0 } else { args.temperature },
        top_k: args.top_k,
        top_p: args.top_p,
        stop,
        seed: args.seed,
        ..Sampling::default()
    };
    let mut rows = model::generate(&opened.model, std::slice::from_ref(&prompt), &sampling)?;
    let row = rows.remove(0); // one prompt, one continuation
    let text = opened.tokenizer().map(|t| t.decode(&row.ids, true)).transpose()?;
    if args.model.json {
        let object = json!({ "prompt_ids": prompt, "ids": row.ids, "text": text, "finished": row.finished, "log_probs": row.log_probs });
        println!("{object}");
        return Ok(());
    }
    if let Some(text) = text {
        println!("{}", if std::io::stdout().is_terminal() { printable(&text) } else { text });
    }
    let ids: Vec<String> = row.ids.iter().map(ToString::to_string).collect();
    println!("ids: {}", ids.join(","));
    Ok(())
}

/// Prompt ids and the tokens that end the answer.
fn prompt(args: &GenerateArgs, opened: &Opened) -> anyhow::Result<(Vec<u32>, Vec<u32>)> {
    let config = opened.model.config();
    let stop = match opened.tokenizer() {
        _ if !config.eos.is_empty() => config.eos.clone(),
        Some(tokenizer) => vec![tokenizer.eos()],
        None => vec![],
    };
    let Some(text) = &args.prompt else { return Ok((args.prompt_ids.clone().unwrap_or_default(), stop)) };
    let tokenizer = opened.need_tokenizer("--prompt")?;
    if !args.chat {
        // A model that knows a first token of its own expects it; one whose first is its end token (GPT-2) was trained without.
        let bos = tokenizer.bos().filter(|bos| *bos != tokenizer.eos());
        let ids = bos.into_iter().chain(tokenizer.encode(text)?);
        return Ok((ids.collect(), stop));
    }
    if tokenizer.chat_template().is_none() {
        return Err(input(format!("{}: no chat template here: leave --chat out", opened.folder.display())));
    }
    let template = ChatTemplate::from_folder(&opened.folder)?;
    template.check(tokenizer)?;
    Ok((template.encode_prompt(tokenizer, text)?, template.stop_ids(tokenizer)))
}

/// Control characters could drive the reader's terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{FFFD}' } else { c }).collect()
}
