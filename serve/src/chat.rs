//! A conversation in the terminal.

use crate::answer::Answer;
use crate::open::{ModelArgs, Opened};
use anyhow::Result;
use data::chat::Message;
use model::Sampling;
use model::batcher::{Batcher, Request};
use program::{refuse, say};
use std::io::{BufRead, IsTerminal};
use std::sync::Arc;

/// Arguments of `serve chat`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model and the machine.
    #[command(flatten)]
    pub model: ModelArgs,
    /// The system's turn, which stands before all others.
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// Tokens of an answer at most; 0 means what the context leaves.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub max_new: usize,
    /// Logits are divided by this; 0 takes the most probable token.
    #[arg(long, value_name = "T", default_value_t = 0.7)]
    pub temperature: f64,
    /// Sample from the most probable tokens that together reach this share.
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    pub top_p: f64,
    /// Seed of the first answer; the others count up from it.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
}

const HELP: &str =
    "Write, and the model answers. /reset begins anew, /undo takes the last exchange back, /quit (or the end of input) ends.";

/// Talks until the input ends.
pub fn run(args: &Args) -> Result<()> {
    let (opened, model) = Opened::new(&args.model)?;
    let Some(template) = &opened.template else {
        refuse!("{}: no chat template here: this model has not learned to chat", opened.folder.display())
    };
    let context = opened.config.context;
    let mut batcher = Batcher::new(&model, 1, context)?;
    let system: Vec<Message> = args.system.iter().map(|text| Message::new("system", text)).collect();
    let (mut turns, mut seed) = (system.clone(), args.seed);
    let asks = std::io::stdin().is_terminal();
    if asks {
        say!("{HELP}");
    }
    let (mut line, mut input) = (String::new(), std::io::stdin().lock());
    loop {
        if asks {
            program::text("\n> ");
        }
        line.clear();
        if input.read_line(&mut line)? == 0 {
            return Ok(());
        }
        match line.trim() {
            "" => continue,
            "/quit" | "/exit" => return Ok(()),
            "/help" => say!("{HELP}"),
            "/reset" => turns.clone_from(&system),
            "/undo" => turns.truncate(turns.len().saturating_sub(2).max(system.len())),
            text => {
                turns.push(Message::new("user", text));
                let prompt = template.encode_turns(&opened.tokenizer, &turns)?;
                let room = context.saturating_sub(prompt.len());
                if room == 0 {
                    turns.pop();
                    say!("(the conversation fills the model's context of {context} tokens: /undo or /reset)");
                    continue;
                }
                let max_new = if args.max_new == 0 { room } else { args.max_new.min(room) };
                let sampling = Sampling {
                    max_new,
                    temperature: args.temperature,
                    top_p: args.top_p,
                    stop: opened.stop_ids(),
                    seed,
                    ..Sampling::default()
                };
                let answer = write(&mut batcher, &opened, prompt, sampling)?;
                turns.push(Message::new("assistant", &answer));
                seed += 1;
            }
        }
    }
}

/// One answer, shown as it grows.
fn write(batcher: &mut Batcher<'_>, opened: &Opened, prompt: Vec<u32>, sampling: Sampling) -> Result<String> {
    let (mut answer, mut text) = (Answer::new(&[], vec![]), String::new());
    batcher.push(Request { prompt, sampling: Arc::new(sampling), row: 0 })?;
    let mut show = |new: String| {
        // Control characters could drive the reader's terminal.
        let clean: String = new.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{FFFD}' } else { c }).collect();
        program::text(clean);
        text += &new;
    };
    while !batcher.is_idle() {
        for chosen in batcher.step()? {
            if !chosen.finished {
                show(answer.push(&opened.tokenizer, chosen.id)?);
            }
        }
    }
    show(answer.finish(&opened.tokenizer)?);
    say!();
    Ok(text)
}
