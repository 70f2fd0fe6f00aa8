//! `evaluate convert`: a checkpoint of llama2.c as a model folder.

use crate::cli::ConvertArgs;
use crate::exit::input;
use data::tokenizer::Tokenizer;
use model::{Model, llama2c};
use program::say;
use tch::Device;

/// Writes the folder and reads it again, so that what it holds is known to be a model.
pub fn run(args: &ConvertArgs) -> anyhow::Result<()> {
    if args.out.join("config.json").exists() {
        return Err(input(format!("{}: holds a model already: name another folder", args.out.display())));
    }
    let vocabulary = llama2c::convert(&args.llama2c, &args.out)?;
    Tokenizer::load_llama2c(&args.tokenizer, vocabulary)?.save(&args.out)?;
    let model = Model::load(&args.out, Device::Cpu)?;
    say!("{}: {} weights, {vocabulary} tokens, a context of {}", args.out.display(), model.parameter_count(), model.config().context);
    Ok(())
}
