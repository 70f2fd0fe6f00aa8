//! `evaluate attribute`: which tokens an answer comes from, and what the heads look at, as numbers and as a page.

use crate::cli::{AttributeArgs, AttributeBy};
use crate::exit::input;
use crate::open::{Opened, open};
use data::chat::ChatTemplate;
use data::tokenizer::Tokenizer;
use evaluate::attribution::{Attribution, Method, attribute};
use evaluate::report::heatmap::Heatmap;
use evaluate::report::html::{FOOT, escape, grid, head};
use evaluate::report::tokens::{Coloured, largest, render};
use model::{HeadKind, Model, Sampling};
use program::say;
use serde_json::json;
use tch::{Device, Kind, Tensor};

/// Cells of all maps of a page at most: each is some 120 bytes of it, and a browser has to draw it.
const CELLS: usize = 200_000;

/// Attributes and prints.
pub fn run(args: &AttributeArgs) -> anyhow::Result<()> {
    let opened = open(&args.model, HeadKind::Lm)?;
    let tokenizer = opened.need_tokenizer("attributing text")?;
    let (ids, first) = text(args, &opened, tokenizer)?;
    let end = args.baseline.or(opened.model.config().eos.first().copied()).unwrap_or_else(|| tokenizer.eos());
    let method = match args.method {
        AttributeBy::Gradient => Method::Gradient,
        AttributeBy::Integrated => Method::Integrated { points: args.points },
    };
    let found = attribute(&opened.model, &ids, first, end, method)?;
    let names = evaluate::reward_tokens::names(tokenizer, &ids)?;
    if args.model.json {
        let total = found.total();
        say!("{}", json!({ "ids": ids, "tokens": names, "answer_begins": first, "attribution": found, "total": total }));
    } else {
        let total = found.total();
        for (i, (name, value)) in names.iter().zip(&total).enumerate() {
            say!("{} {value:+9.4}  {}", if i < first { ' ' } else { '>' }, name.escape_debug());
        }
        say!("log-likelihood of the answer {:.4}", found.log_probs.iter().sum::<f64>());
        if method != Method::Gradient {
            say!("of end tokens in its place {:.4}, largest gap of a token {:.1e}", found.baseline.iter().sum::<f64>(), found.gap);
        }
    }
    if let Some(path) = &args.html {
        let page = page(&opened.model, &ids, &found, &names, method)?;
        std::fs::write(path, page).map_err(|e| input(format!("{}: cannot be written: {e}", path.display())))?;
    }
    Ok(())
}

/// Prompt and answer in one, and where the answer begins.
fn text(args: &AttributeArgs, opened: &Opened, tokenizer: &Tokenizer) -> anyhow::Result<(Vec<u32>, usize)> {
    let config = opened.model.config();
    let mut stop = if config.eos.is_empty() { vec![tokenizer.eos()] } else { config.eos.clone() };
    let mut ids = if args.chat {
        if tokenizer.chat_template().is_none() {
            return Err(input(format!("{}: no chat template here: leave --chat out", opened.folder.display())));
        }
        let template = ChatTemplate::from_folder(&opened.folder)?;
        template.check(tokenizer)?;
        stop = template.stop_ids(tokenizer);
        template.encode_prompt(tokenizer, &args.prompt)?
    } else {
        let bos = tokenizer.bos().filter(|bos| *bos != tokenizer.eos());
        bos.into_iter().chain(tokenizer.encode(&args.prompt)?).collect()
    };
    if ids.is_empty() {
        return Err(input("the prompt is empty: give it at least one token"));
    }
    let first = ids.len();
    ids.extend(match &args.answer {
        Some(answer) => tokenizer.encode(answer)?,
        None => {
            let sampling = Sampling { max_new: args.max_new, temperature: 0.0, stop, ..Sampling::default() };
            model::generate(&opened.model, std::slice::from_ref(&ids), &sampling)?.remove(0).ids
        }
    });
    if ids.len() == first {
        return Err(input("the answer is empty: there is nothing to explain"));
    }
    Ok((ids, first))
}

/// Coloured text, one map of answer tokens by all tokens, and what the heads look at, as far as the page has room for it.
fn page(model: &Model, ids: &[u32], found: &Attribution, names: &[String], method: Method) -> anyhow::Result<String> {
    let (total, first) = (found.total(), names.len() - found.values.len());
    let mut room = Room(CELLS);
    let token = |(i, name): (usize, &String)| {
        let note = if i < first { String::new() } else { format!("log-likelihood {:.3}", found.log_probs[i - first]) };
        Coloured { text: name.clone(), value: Some(total[i]), note }
    };
    let tokens: Vec<Coloured> = names.iter().enumerate().map(token).collect();
    let by = match method {
        Method::Gradient => "Gradient times input".to_owned(),
        Method::Integrated { points } => {
            format!(
                "Integrated gradients from a text of end tokens, {points} points; a token's sum is off by {:.1e} nats at most",
                found.gap
            )
        }
    };
    let scale = largest(&tokens);
    let mut html = head("What an answer comes from");
    html += &format!("<p class=\"lead\">{}</p>\n", escape(&names[first..].concat()));
    html += &format!(
        "<p class=\"small\">{}. The first colour made the answer likelier, the second less likely; the strongest is {scale:.3} nats.</p>\n",
        escape(&by)
    );
    html += &render(&tokens, scale);
    let steepest = found.values.iter().flatten().map(|v| v.abs()).fold(f64::MIN_POSITIVE, f64::max);
    let shares = found.values.iter().map(|row| row.iter().map(|v| v.abs() / steepest).collect()).collect();
    let by_token = Heatmap {
        title: "Each token of the answer (rows), and what it comes from: the darker the more, either way".into(),
        rows: names[first..].to_vec(),
        columns: names.to_vec(),
        values: shares,
    };
    html += &room.grid("Token by token", found.values.len() * names.len(), || Ok(by_token.render()))?;
    let map = |title: String, values: &Tensor| -> anyhow::Result<String> {
        let values = Vec::<Vec<f64>>::try_from(values.to_kind(Kind::Double).to_device(Device::Cpu))?;
        Ok(Heatmap { title, rows: names.to_vec(), columns: names.to_vec(), values }.render())
    };
    let config = model.config();
    let cells = config.layers * names.len() * names.len();
    let mut maps = Vec::new();
    html += "<p class=\"small\">Attention: from the token of a row to the tokens of the columns; each row sums to 1.</p>\n";
    html += &room.grid("What the layers look at", cells, || {
        maps = model.attention(ids)?;
        let mean =
            |(layer, all): (usize, &Tensor)| map(format!("Layer {}, mean of its heads", layer + 1), &all.mean_dim(0, false, Kind::Float));
        maps.iter().enumerate().map(mean).collect()
    })?;
    let heads = room.grid("Heads", cells * config.heads, || {
        let mut heads = String::new();
        for (layer, all) in maps.iter().enumerate() {
            for h in 0..all.size()[0] {
                heads += &map(format!("Layer {}, head {}", layer + 1, h + 1), &all.get(h))?;
            }
        }
        Ok(heads)
    })?;
    html += &format!("<details><summary>Head by head</summary>{heads}</details>\n");
    Ok(html + FOOT)
}

/// Cells that a page still has room for.
struct Room(usize);

impl Room {
    /// Pictures of so many cells under their heading, or how many there would be.
    fn grid(&mut self, heading: &str, cells: usize, draw: impl FnOnce() -> anyhow::Result<String>) -> anyhow::Result<String> {
        if cells > self.0 {
            return Ok(format!(
                "<h2>{heading}</h2>\n<p class=\"small\">Left out: {cells} cells, and a page has room for {CELLS} in all. A shorter text has fewer.</p>\n"
            ));
        }
        self.0 -= cells;
        Ok(grid(heading, &draw()?))
    }
}
