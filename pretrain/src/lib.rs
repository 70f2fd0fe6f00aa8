//! Text to base model: next-token prediction (Radford et al. 2018 and 2019).
//!
//! loss = −1/N Σ log p(token t+1 | tokens ≤ t), N = targets of the whole optimiser step, however it is cut into micro-batches.
//!
//! Shapes: B sequences of a micro-batch, T context, D width, V vocabulary.

mod setup;

use anyhow::Result;
use data::corpus::TokenStream;
use data::{config::PretrainConfig, order::Order, prefetch::Prefetch, tokenizer::Tokenizer};
use dist::{Gradients, World};
use model::{Model, generate::Sampling};
use serde_json::{Map, Value};
use setup::Setup;
use std::f64::consts::LN_2;
use std::path::Path;
use tch::{Device, Tensor, no_grad};
use train::{cli::StageArgs, exit, exit::Outcome, *};

/// Batches prepared ahead of the loop.
const AHEAD: usize = 4;
/// Positions that go through the output head at a time: few enough that their logits stay small, enough to keep the product efficient.
const HEAD_CHUNK: i64 = 1024;

/// Runs the stage into its run folder.
pub fn run(c: PretrainConfig, args: &StageArgs, world: &World) -> Result<Outcome> {
    let Some(mut setup) = world.main_first(|| Setup::new(&c, args, world).map_err(exit::input))? else {
        return Ok(Outcome::Done);
    };
    let mut optim = setup.optimiser(&c, world)?;
    let gradients = Gradients::with_lookup(world, &[optim.partition()], || setup.model.split_lookup())?;
    let Setup { run, plan, steps, mut state, model, tokenizer, corpus, device, lineage } = setup;
    let stop = Stop::install(world)?;
    let (context, head) = (model.config().context, model.head_weight());
    let bits = |loss: f64| loss / LN_2 * corpus.valid.len() as f64 / corpus.valid.bytes().max(1) as f64; // nats a token to bits a byte
    let mut rate = metrics::Rate::default();
    let mut bar = Progress::steps("pretrain", state.step, steps);
    let mut log = Metrics::open(&run, &state)?.watched(&run, &c.log, Alarms::new(&c.alarm), &bar)?;
    let (eval, save) = (Every::eval(&c.eval, steps, &state), Every::save(c.checkpoint.every, steps, &state));
    let write_model = |dir: &Path, tokens: u64| -> Result<(), BoxError> {
        model.save(dir)?;
        tokenizer.save(dir)?;
        Ok(lineage.with_tokens(tokens).write(dir)?)
    };
    let (stream, order, batch) =
        (corpus.train.clone(), Order::new(corpus.train.windows(context), c.seed).shuffled(c.train.shuffle), plan.batch as u64);
    // This rank's micro-batches of every step: number, rows, and whether it is the last.
    let shares: Vec<(usize, u64, bool)> = world.share((0..batch).step_by(plan.micro_batch)).collect();
    let mut batches = Prefetch::new(state.step..steps, AHEAD, move |step| {
        let row = |i: u64| stream.window(order.at(step * batch + i) * context as u64, context + 1);
        let rows = |first: u64| (first..batch.min(first + plan.micro_batch as u64)).map(row).collect::<Vec<_>>();
        Ok(shares.iter().map(|&(micro, first, last)| (micro, rows(first), last)).collect::<Vec<_>>())
    })?;
    let mut profile = Profile::new(&run, args.profile, (state.step, steps), device);
    let tokens_a_step = (plan.batch * context) as f64;
    let mut last_eval = f64::NAN;

    for step in state.step..=steps {
        let mut improved = false;
        if eval.due(step) {
            last_eval = evaluate(&model, &corpus.valid, c.eval.max_rows, plan.micro_batch, device, world)?;
            let (perplexity, bits) = (last_eval.exp(), bits(last_eval));
            let line = log.line(step).set("eval/loss", last_eval).set("eval/perplexity", perplexity).set("eval/bits_per_byte", bits);
            let sample = if c.eval.sample_prompt.is_empty() { None } else { sample(&model, &tokenizer, &c, world)? };
            sample.iter().fold(line, |line, text| line.value("eval/sample", text.as_str())).write()?;
            improved = state.consider(step, last_eval) && c.checkpoint.keep_best;
            bar.say(&format!("step {step}: validation loss {last_eval:.4}, perplexity {perplexity:.1}, {bits:.3} bits a byte"));
            sample.iter().for_each(|text| bar.say(&format!("  | {}", text.replace('\n', "\n  | "))));
        }
        let leaving = stop.requested().is_some();
        if save.due(step) || ((improved || leaving) && step > 0) {
            checkpoint::write_shares(&run, world, &[("optim", &optim)])?;
            world.beside_main(|| model.lend())?;
            world.on_main(|| -> Result<()> {
                checkpoint::commit(&run, step, |tmp| {
                    write_model(tmp, state.tokens)?;
                    state.save(tmp, step, &[("optim", &optim)], &mut [&mut log])
                })?;
                Ok(checkpoint::prune(&run, c.checkpoint.keep_last, state.best_step().filter(|_| c.checkpoint.keep_best))?)
            })?;
        }
        if let Some(summary) = profile.at(step)? {
            bar.say(&summary.to_string());
        }
        if step == steps || leaving {
            break;
        }

        rate.start();
        let mut nll = 0.0;
        for (micro, rows, last) in batches.next()?.unwrap_or_default() {
            tch::manual_seed(seed::mix(c.seed, step, micro as u64)); // dropout
            let (inputs, targets) = tensors(&rows, device); // [B, T], [B·T]
            let hidden = phase(c"forward", || model.forward_hidden(&inputs, None, true).flatten(0, 1)); // [B·T, D]
            let (sum, rest) = phase(c"head", || loss::lm::nll_chunked(&hidden, head, &targets, 1.0 / tokens_a_step, HEAD_CHUNK));
            phase(c"backward", || gradients.backward(&rest, last))?;
            nll += sum;
        }
        let [nll] = stop.sum(world, [nll])?;
        let lr = schedule::lr(step, steps, &c.schedule, c.optim.lr);
        let norm = phase(c"optimiser", || optim.guarded_step(world, nll, lr, c.optim.clip_norm))?;
        state.tokens += tokens_a_step as u64;
        rate.stop(tokens_a_step);
        let done = step + 1;
        if done.is_multiple_of(c.train.log_every) || done == steps || optim.skipped_in_a_row() > 0 {
            let (loss, speed) = (nll / tokens_a_step, rate.take());
            log.line(done)
                .count("tokens", state.tokens)
                .set("loss", loss)
                .set("lr", lr)
                .set("grad_norm", norm)
                .skips([&optim])
                .set("tokens_per_s", speed)
                .write()?;
            bar.at(done, &[("loss", loss), ("tok/s", speed)]);
        }
    }
    if stop.requested().is_some() {
        return Ok(stop.outcome());
    }
    if last_eval.is_nan() {
        last_eval = evaluate(&model, &corpus.valid, c.eval.max_rows, plan.micro_batch, device, world)?;
    }
    let mut figures = Map::new();
    for (key, value) in
        [("eval_loss", last_eval), ("perplexity", last_eval.exp()), ("bits_per_byte", bits(last_eval)), ("wall_s", log.wall_s())]
    {
        figures.insert(key.into(), value.into());
    }
    for (key, count) in
        [("tokens", state.tokens), ("rows_rejected", corpus.report.rejected), ("skipped_steps", optim.skipped()), ("alarms", log.alarms())]
    {
        figures.insert(key.into(), Value::from(count));
    }
    figures.insert("parameters".into(), (optim.sizes().0 + optim.sizes().1).into());
    world.beside_main(|| model.lend())?;
    world.on_main(|| -> Result<()> {
        checkpoint::publish(&run, |tmp| write_model(tmp, state.tokens))?;
        summary::write(&run, &figures)?;
        evaluate::report::write_run(run.path())?;
        Ok(())
    })?;
    bar.finish(steps, &[("loss", last_eval)]);
    Ok(Outcome::Done)
}

/// Windows of T+1 tokens as inputs `[B, T]` and flat targets `[B·T]`.
fn tensors(rows: &[Vec<u32>], device: Device) -> (Tensor, Tensor) {
    let (b, t) = (rows.len() as i64, rows[0].len() as i64 - 1);
    let ids: Vec<i64> = rows.iter().flatten().map(|&id| i64::from(id)).collect();
    let ids = Tensor::from_slice(&ids).to_device(device).view([b, t + 1]);
    (ids.narrow(1, 0, t).contiguous(), ids.narrow(1, 1, t).reshape([-1]))
}

/// Mean loss in nats a token over windows spread evenly over the held-out text.
fn evaluate(model: &Model, valid: &TokenStream, max_rows: usize, micro_batch: usize, device: Device, world: &World) -> Result<f64> {
    let context = model.config().context;
    let windows = valid.windows(context);
    let n = if max_rows == 0 { windows } else { windows.min(max_rows as u64) };
    let row = |i: u64| valid.window(i * windows / n * context as u64, context + 1);
    let nll: f64 = world
        .share((0..n).step_by(micro_batch))
        .map(|(_, first, _)| {
            let rows: Vec<Vec<u32>> = (first..n.min(first + micro_batch as u64)).map(row).collect();
            let (inputs, targets) = tensors(&rows, device);
            no_grad(|| {
                let hidden = model.forward_hidden(&inputs, None, false).flatten(0, 1);
                let chunks = (0..hidden.size()[0]).step_by(HEAD_CHUNK as usize);
                let chunk = |start: i64| {
                    let rows = HEAD_CHUNK.min(hidden.size()[0] - start);
                    loss::lm::nll_sum(&model.logits(&hidden.narrow(0, start, rows)), &targets.narrow(0, start, rows)).double_value(&[])
                };
                chunks.map(chunk).sum::<f64>()
            })
        })
        .sum();
    if world.lacks_one_of((n as usize).div_ceil(micro_batch)) {
        model.attend();
    }
    let [nll] = world.sum([nll])?;
    Ok(nll / (n * context as u64) as f64)
}

/// Continues the configured prompt, so that one sees the model learn; on rank 0.
fn sample(model: &Model, tokenizer: &Tokenizer, c: &PretrainConfig, world: &World) -> Result<Option<String>> {
    let _held = model.hold(world.is_main());
    if !world.is_main() {
        return Ok(None);
    }
    let prompt = tokenizer.encode(&c.eval.sample_prompt)?;
    let sampling =
        Sampling { max_new: c.eval.sample_tokens, temperature: 0.8, stop: vec![tokenizer.eos()], seed: c.seed, ..Sampling::default() };
    let out = model::generate::generate(model, std::slice::from_ref(&prompt), &sampling)?;
    Ok(Some(tokenizer.decode(&[prompt, out[0].ids.clone()].concat(), true)?))
}
