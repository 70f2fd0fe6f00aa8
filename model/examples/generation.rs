//! How fast prompts are continued: `scripts/bench/compare.py generate` runs this.
//!
//!     generation --model DIR --prompts IDS.json --batch N --new N [--float32] [--weights float|q8_0|q4_0|int8] [--repeat N] [--bandwidth]
//!
//! IDS.json holds lists of token ids. Prints one JSON line: tokens a second of each repeat (packing the weights included, but not rounding them to eight or
//! four bits; those of q8_0 and q4_0 compute in float32), bytes of weights that a token reads at batch 1, bytes of all weights in memory, and with --bandwidth the bytes a
//! second that all threads together can read from memory.

use model::blocks::Format;
use model::config::Position;
use model::{Activations, Model, Sampling, generate};
use serde_json::json;
use std::time::Instant;
use tch::{Device, Kind};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The value behind `--name`.
fn value(name: &str) -> Result<String> {
    let mut args = std::env::args().skip_while(|a| a != name).skip(1);
    args.next().ok_or_else(|| format!("{name} is missing").into())
}

fn main() -> Result<()> {
    let model = Model::load(value("--model")?.as_ref(), Device::Cpu)?;
    let measure = std::env::args().any(|a| a == "--bandwidth");
    let float32 = std::env::args().any(|a| a == "--float32");
    let format = match value("--weights").as_deref() {
        Err(_) | Ok("float") => Format::F32,
        Ok("q8_0" | "int8") => Format::Q8_0,
        Ok("q4_0") => Format::Q4_0,
        Ok(other) => return Err(format!("--weights {other}: float, q8_0, q4_0 or int8 is wanted").into()),
    };
    let eight = value("--weights").is_ok_and(|w| w == "int8");
    let float32 = float32 || (format != Format::F32 && !eight);
    let mut model = model.with_compute(if float32 { Kind::Float } else { Kind::BFloat16 });
    model.freeze();
    let c = model.config();
    // Every matrix but the embeddings, of which a token reads a row; a tied head is the embedding read whole.
    let matrices: usize = model.parameters().iter().filter(|p| p.decay).map(|p| p.tensor.numel()).sum();
    let places = if c.position == Position::Learned { c.context * c.width } else { 0 };
    let embedding = c.vocab_size * c.width;
    let weights = matrices - places - if c.tied { 0 } else { embedding };
    let mut bytes = weights * if float32 { 4 } else { 2 };
    let mut in_float = 0;
    if format != Format::F32 {
        let looked_up = 4 * (places + embedding);
        in_float = model.quantise(format, if eight { Activations::Eight } else { Activations::Sixteen })?.in_float.len();
        let vectors: usize = model.parameters().iter().filter(|p| !p.decay).map(|p| 4 * p.tensor.numel()).sum();
        bytes = model.weight_bytes() - vectors - looked_up;
    }
    let (batch, new): (usize, usize) = (value("--batch")?.parse()?, value("--new")?.parse()?);
    let repeat = value("--repeat").map_or(Ok(3), |n| n.parse())?;
    let prompts: Vec<Vec<u32>> = serde_json::from_str(&std::fs::read_to_string(value("--prompts")?)?)?;
    let prompts: Vec<Vec<u32>> = prompts.into_iter().cycle().take(batch).collect();
    let mut rates = Vec::new();
    for seed in 0..repeat {
        let sampling = Sampling { max_new: new, seed, ..Sampling::default() };
        let start = Instant::now();
        let done = generate(&model, &prompts, &sampling)?;
        rates.push(done.iter().map(|g| g.ids.len()).sum::<usize>() as f64 / start.elapsed().as_secs_f64());
    }
    println!(
        "{}",
        json!({
            "batch": batch, "weights": if eight { "int8" } else { format.name() }, "tokens_per_s": rates, "bytes_a_token": bytes, "bytes_in_memory": model.weight_bytes(),
            "matrices_left_in_float": in_float, "bandwidth": measure.then(bandwidth)
        })
    );
    Ok(())
}

/// Bytes a second: the best of five readings of 512 MiB by all threads.
fn bandwidth() -> f64 {
    let words = vec![1u64; 64 << 20];
    let threads = tch::get_num_threads() as usize;
    let read = || {
        let start = Instant::now();
        let sum = |part: &[u64]| part.chunks(8).map(|c| c.iter().fold(0u64, |a, b| a ^ b)).fold(0u64, |a, b| a ^ b);
        std::thread::scope(|s| {
            let parts: Vec<_> = words.chunks(words.len() / threads).map(|part| s.spawn(move || sum(part))).collect();
            parts.into_iter().for_each(|p| assert!(std::hint::black_box(p.join().unwrap()) <= 1));
        });
        (words.len() * 8) as f64 / start.elapsed().as_secs_f64()
    };
    (0..5).map(|_| read()).fold(0.0, f64::max)
}
