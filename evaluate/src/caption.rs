//! `evaluate caption`: what pictures show, and how often that is right.

use crate::cli::CaptionArgs;
use crate::exit::input;
use crate::open::{device, need_tokenizer};
use crate::rows;
use anyhow::Context;
use data::chat::ChatTemplate;
use data::pictures::Picture;
use data::tokenizer::Tokenizer;
use evaluate::metrics::{self, Named};
use model::{Captioner, Sampling};
use program::say;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Pictures at a time.
const BATCH: usize = 64;

/// A picture, what is asked about it, and the right caption where it is known.
struct Asked {
    image: PathBuf,
    picture: Picture,
    prompt: String,
    right: Option<String>,
}

/// Captions and prints.
pub fn run(args: &CaptionArgs) -> anyhow::Result<()> {
    let folder = model::resolve(&args.model.model)?;
    if Captioner::eyes(&folder).is_none() {
        let name = "name a model that `sft` made of rows with pictures";
        return Err(input(format!("{}: no vision/ in this folder: {name}", folder.display())));
    }
    let model = Captioner::load(&folder, device(&args.model)?)?;
    model.freeze();
    let tokenizer = need_tokenizer(&folder, "caption")?;
    let template = ChatTemplate::from_folder(&folder)?;
    if let Some(image) = &args.image {
        let picture = Picture::open(image, model.side())?;
        let one = Asked { image: image.clone(), picture, prompt: args.prompt.clone().unwrap_or_default(), right: None };
        let said = captions(&model, &tokenizer, &template, &[one], args.max_new)?.remove(0);
        say!("{}", if args.model.json { json!({ "image": image, "caption": said }).to_string() } else { said });
        return Ok(());
    }
    let (mut out, mut all) = (String::new(), serde_json::Map::new());
    for file in &args.data {
        let rows = read(args, file, model.side())?;
        let said = captions(&model, &tokenizer, &template, &rows, args.max_new)?;
        for (row, said) in rows.iter().zip(&said) {
            let line = json!({ "image": row.image, "prompt": row.prompt, "prediction": said, "reference": row.right });
            let _ = writeln!(out, "{line}");
        }
        let figures = match rows.iter().map(|row| row.right.as_deref()).collect::<Option<Vec<_>>>() {
            Some(right) => metrics::named(&args.words, said.iter().map(String::as_str).zip(right)),
            None => None,
        };
        match figures {
            Some(figures) if args.model.json => _ = all.insert(file.display().to_string(), json!(figures)),
            Some(figures) => program::text(table(file, &figures)),
            None if args.model.json => _ = all.insert(file.display().to_string(), Value::from(said)),
            None => rows.iter().zip(&said).for_each(|(row, said)| say!("{}  {said}", row.image.display())),
        }
    }
    if args.model.json {
        say!("{}", Value::Object(all));
    }
    if let Some(path) = &args.out {
        std::fs::write(path, out).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn captions(
    model: &Captioner,
    tokenizer: &Tokenizer,
    template: &ChatTemplate,
    rows: &[Asked],
    max_new: usize,
) -> anyhow::Result<Vec<String>> {
    let prompts = rows.iter().map(|row| template.encode_prompt(tokenizer, &row.prompt)).collect::<Result<Vec<_>, _>>()?;
    let longest = prompts.iter().map(Vec::len).max().unwrap_or(0) + model.places();
    let room = model.decoder().config().context.saturating_sub(longest);
    let stop = template.stop_ids(tokenizer);
    let sampling = Sampling { max_new: max_new.min(room.max(1)), temperature: 0.0, stop, batch: BATCH, ..Sampling::default() };
    let pictures: Vec<&Picture> = rows.iter().map(|row| &row.picture).collect();
    let written = model.generate(&pictures, &prompts, &sampling)?;
    written.iter().map(|row| Ok(tokenizer.decode(&row.ids, true)?.trim().to_string())).collect()
}

fn table(file: &Path, figures: &Named) -> String {
    let mut out = format!("{}: {} pictures\n", file.display(), figures.rows);
    let percent = |share: f64| 100.0 * share;
    let ci = |[a, b]: [f64; 2]| format!("[{:.1}%, {:.1}%]", percent(a), percent(b));
    for kind in &figures.kinds {
        let (name, places) = (&kind.name, kind.places);
        let beside = format!("chance {:.1}%, commonest {:.1}%", percent(kind.chance), percent(kind.commonest));
        let _ = writeln!(out, "  {name:<24} {:>5.1}% {} of {places}; {beside}", percent(kind.share), ci(kind.ci));
    }
    let _ = writeln!(out, "  {:<24} {:>5.1}% {}", "word for word", percent(figures.exact), ci(figures.exact_ci));
    out
}

fn read(args: &CaptionArgs, file: &Path, side: usize) -> anyhow::Result<Vec<Asked>> {
    rows::read(file, args.limit, rows::FIGURES, |row| {
        let field =
            |name: &str| row.fields.get(name).filter(|v| !v.is_null()).map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_string));
        let name = field(&args.field).ok_or_else(|| format!("no field {:?}", args.field))?;
        let image = row.file.parent().unwrap_or(Path::new("")).join(name);
        let picture = Picture::open(&image, side).map_err(|e| e.to_string())?;
        let prompt = args.prompt.clone().or_else(|| field("prompt")).unwrap_or_default();
        Ok(Asked { image, picture, prompt, right: field(&args.response) })
    })
}
