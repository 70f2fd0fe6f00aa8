//! `evaluate score`: how surprised a language model is.

use crate::cli::ScoreArgs;
use crate::exit::input;
use crate::open::open;
use anyhow::Context;
use evaluate::lm;
use indicatif::{ProgressBar, ProgressStyle};
use model::HeadKind;
use program::say;
use serde_json::json;
use std::path::Path;

/// Scores the text or the ids and prints token count, summed and mean nats.
pub fn run(args: &ScoreArgs) -> anyhow::Result<()> {
    let text = args.text.as_deref().map(read).transpose()?; // a missing file should not wait for the model
    let mut opened = open(&args.model, HeadKind::Lm)?;
    opened.quantise(args.weights)?;
    let ids = match &text {
        Some(text) if args.special => opened.need_tokenizer("--text")?.encode_with_special(text)?,
        Some(text) => opened.need_tokenizer("--text")?.encode(text)?,
        None => args.ids.clone().unwrap_or_default(),
    };
    if ids.len() < 2 {
        return Err(input(format!("{} token: the first one is not predicted, so there must be two or more", ids.len())));
    }
    let bar = ProgressBar::new(0).with_style(ProgressStyle::with_template("{bar:30} {pos}/{len} windows, {eta} left")?);
    let scored = lm::windowed(&opened.model, &ids, &mut |done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    let nll = scored.nll;
    if args.model.json {
        let object = json!({ "tokens": ids.len(), "scored_tokens": nll.tokens, "nll_sum": nll.nats, "nll_mean": nll.mean(), "perplexity": nll.perplexity(), "windows": scored.windows });
        say!("{object}");
        return Ok(());
    }
    say!("tokens      {} ({} of them predicted)", ids.len(), nll.tokens);
    say!("nll, sum    {:.4} nats", nll.nats);
    say!("nll, mean   {:.6} nats a token", nll.mean());
    say!("perplexity  {:.3}", nll.perplexity());
    if scored.windows > 1 {
        say!("windows     {}, a context of {} tokens each, half a context apart", scored.windows, opened.model.config().context);
    }
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<String> {
    let bytes = if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut std::io::stdin(), &mut bytes).context("reading standard input")?;
        bytes
    } else {
        std::fs::read(path).map_err(|e| input(format!("{}: cannot read the text: {e}", path.display())))?
    };
    String::from_utf8(bytes).map_err(|e| input(format!("{}: not UTF-8 at byte {}", path.display(), e.utf8_error().valid_up_to())))
}
