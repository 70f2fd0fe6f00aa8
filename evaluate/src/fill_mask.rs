//! `evaluate fill-mask`: what may stand at the masked places of a text.

use crate::cli::FillMaskArgs;
use crate::exit::input;
use crate::open::{device, need_tokenizer};
use evaluate::fill::{FillError, fill_mask};
use model::Bert;
use program::say;

/// Fills and prints.
pub fn run(args: &FillMaskArgs) -> anyhow::Result<()> {
    let folder = model::resolve(&args.model.model)?;
    if model::kind_of(&folder)? != model::Kind::Encoder {
        return Err(input(format!("{}: no encoder: masked places are filled by one (model_type bert)", folder.display())));
    }
    let model = Bert::load(&folder, device(&args.model)?)?;
    if model.classes().is_some() {
        return Err(input(format!("{}: a classifier: it names classes (`evaluate classify`) and fills nothing", folder.display())));
    }
    let tokenizer = need_tokenizer(&folder, "fill-mask")?;
    let found = fill_mask(&model, &tokenizer, &args.text, args.top).map_err(|e| match e {
        FillError::NoMask(_) | FillError::NoMaskToken(_) => input(e.to_string()),
        other => other.into(),
    })?;
    if args.model.json {
        say!("{}", serde_json::to_string(&found)?);
        return Ok(());
    }
    for (i, guesses) in found.iter().enumerate() {
        if found.len() > 1 {
            say!("mask {}", i + 1);
        }
        guesses.iter().for_each(|g| say!("{:6.2}%  {}", 100.0 * g.probability, g.token));
    }
    Ok(())
}
