//! `evaluate generate`: the continuation of one prompt, or the answers to the prompts of a file.

use crate::cli::GenerateArgs;
use crate::exit::input;
use crate::open::{Opened, open};
use crate::rows;
use data::chat::ChatTemplate;
use model::{HeadKind, Sampling};
use program::say;
use serde_json::json;
use std::io::{IsTerminal, Write};
use std::path::Path;

/// Tokens at most, when the user does not say.
const MAX_NEW: usize = 64;

/// Continues the prompt and prints text and ids.
pub fn run(args: &GenerateArgs) -> anyhow::Result<()> {
    let mut opened = open(&args.model, HeadKind::Lm)?;
    opened.quantise(args.weights)?;
    if let (Some(data), Some(out)) = (&args.data, &args.out) {
        return answer(args, &opened, data, out);
    }
    let (prompt, stop) = prompt(args, args.prompt.as_deref(), &opened)?;
    if prompt.is_empty() {
        return Err(input("the prompt is empty: give it at least one token"));
    }
    let room = opened.model.config().context.saturating_sub(prompt.len());
    let sampling = sampling(args, args.max_new.unwrap_or(MAX_NEW.min(room.max(1))), stop);
    let mut rows = model::generate(&opened.model, std::slice::from_ref(&prompt), &sampling)?;
    let row = rows.remove(0); // one prompt, one continuation
    // An answer is a text of its own, a continuation is not.
    let before: &[u32] = if args.chat { &[] } else { &prompt };
    let text = opened.tokenizer().map(|t| t.decode_after(before, &row.ids)).transpose()?;
    if args.model.json {
        let object = json!({ "prompt_ids": prompt, "ids": row.ids, "text": text, "finished": row.finished, "log_probs": row.log_probs });
        say!("{object}");
        return Ok(());
    }
    if let Some(text) = text {
        say!("{}", if std::io::stdout().is_terminal() { printable(&text) } else { text });
    }
    let ids: Vec<String> = row.ids.iter().map(ToString::to_string).collect();
    say!("ids: {}", ids.join(","));
    Ok(())
}

fn sampling(args: &GenerateArgs, max_new: usize, stop: Vec<u32>) -> Sampling {
    let temperature = if args.greedy { 0.0 } else { args.temperature };
    let batch = args.batch.max(1);
    Sampling { max_new, temperature, top_k: args.top_k, top_p: args.top_p, stop, seed: args.seed, batch, ..Sampling::default() }
}

/// Answers every prompt of `file` and writes rows with prompt and response, in their order: of a teacher's answers a student learns (sequence-level
/// distillation, Kim and Rush 2016, arXiv 1606.07947). A row that cannot be read or asked is an error; an answer that did not end within its tokens is left out
/// and counted.
fn answer(args: &GenerateArgs, opened: &Opened, file: &Path, out: &Path) -> anyhow::Result<()> {
    let tokenizer = opened.need_tokenizer("--data")?;
    let asked = rows::read(file, 0, "all are answered or none", |row| Ok((rows::place(&row.file, row.line), rows::text(row, "prompt")?)))?;
    let max_new = args.max_new.unwrap_or(MAX_NEW);
    let context = opened.model.config().context;
    let (mut prompts, mut stop) = (Vec::with_capacity(asked.len()), vec![]);
    for (place, text) in &asked {
        let (ids, ends) = prompt(args, Some(text), opened)?;
        let n = ids.len();
        if n == 0 || n > context.saturating_sub(max_new) {
            let expected = format!("expected at least one, and with {max_new} new ones no more than the model's context of {context}");
            return Err(input(format!("{place}: field \"prompt\" has {n} tokens: {expected}")));
        }
        prompts.push(ids);
        stop = ends;
    }
    let found = model::generate(&opened.model, &prompts, &sampling(args, max_new, stop))?;
    let mut writer =
        std::io::BufWriter::new(std::fs::File::create(out).map_err(|e| input(format!("{}: cannot be written: {e}", out.display())))?);
    let (mut written, mut endless) = (0, 0);
    for ((_, text), row) in asked.iter().zip(found) {
        if !row.finished {
            endless += 1;
            continue;
        }
        let response = tokenizer.decode(&row.ids, true)?;
        writeln!(writer, "{}", json!({ "prompt": text, "response": response.trim() }))?;
        written += 1;
    }
    writer.flush()?;
    eprintln!("evaluate: {written} answers in {}; {endless} did not end within {max_new} tokens and are left out", out.display());
    Ok(())
}

/// Prompt ids and the tokens that end the answer.
fn prompt(args: &GenerateArgs, text: Option<&str>, opened: &Opened) -> anyhow::Result<(Vec<u32>, Vec<u32>)> {
    let config = opened.model.config();
    let stop = match opened.tokenizer() {
        _ if !config.eos.is_empty() => config.eos.clone(),
        Some(tokenizer) => vec![tokenizer.eos()],
        None => vec![],
    };
    let Some(text) = text else { return Ok((args.prompt_ids.clone().unwrap_or_default(), stop)) };
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
