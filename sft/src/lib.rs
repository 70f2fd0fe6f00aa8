//! Base model and demonstrations to a fine-tuned model: the next-token loss on the answers only (InstructGPT, arXiv 2203.02155, section 3.5).
//!
//! loss = −1/N Σ log p(answer token | everything before it in its own row), N = answer tokens (the end token included) of the optimiser step.

mod batch;
mod setup;

use anyhow::Result;
use batch::Batch;
use data::{config::SftConfig, demos::Demo, order::Order};
use dist::{Gradients, World};
use model::{Model, generate::Sampling};
use serde_json::{Map, Value};
use setup::Setup;
use std::path::Path;
use tch::{Device, no_grad};
use train::{cli::StageArgs, exit, exit::Outcome, *};

/// Labelled positions that go through the output head at a time.
const HEAD_CHUNK: i64 = 1024;

/// Runs the stage into its run folder.
pub fn run(c: SftConfig, args: &StageArgs, world: &World) -> Result<Outcome> {
    let Some(mut setup) = world.main_first(|| Setup::new(&c, args, world).map_err(exit::input))? else {
        return Ok(Outcome::Done);
    };
    let mut optim = setup.optimiser(&c, world)?;
    let gradients = Gradients::with_lookup(world, &[optim.partition()], || setup.model.split_lookup())?;
    let Setup { run, plan, steps, mut state, model, tokenizer, template, demos, sequences, device, lineage } = setup;
    let stop = Stop::install(world)?;
    let head = model.head_weight();
    let order = Order::new(sequences.len() as u64, c.seed).shuffled(c.train.shuffle);
    let valid = &demos.valid[..if c.eval.max_rows == 0 { demos.valid.len() } else { c.eval.max_rows.min(demos.valid.len()) }];
    let mut rate = metrics::Rate::default();
    let mut bar = Progress::steps("sft", state.step, steps);
    let mut log = Metrics::open(&run, &state)?.watched(&run, &c.log, Alarms::new(&c.alarm), &bar)?;
    let (eval, save) = (Every::eval(&c.eval, steps, &state), Every::save(c.checkpoint.every, steps, &state));
    let write_model = |dir: &Path, tokens: u64| -> Result<(), BoxError> {
        model.save(dir)?;
        tokenizer.save(dir)?;
        Ok(lineage.with_tokens(tokens).write(dir)?)
    };
    let mut profile = Profile::new(&run, args.profile, (state.step, steps), device);
    let mut last_eval = f64::NAN;

    for step in state.step..=steps {
        let mut improved = false;
        if eval.due(step) {
            last_eval = evaluate(&model, valid, plan.micro_batch, device, world)?;
            let mut sample = String::new();
            let held = model.hold(world.is_main());
            if world.is_main() {
                let prompt = if c.eval.sample_prompt.is_empty() { &valid[0].prompt } else { &c.eval.sample_prompt };
                let answers = model::generate::generate(
                    &model,
                    &[template.encode_prompt(&tokenizer, prompt)?],
                    &Sampling {
                        max_new: c.eval.sample_tokens,
                        temperature: 0.0,
                        stop: template.stop_ids(&tokenizer),
                        ..Sampling::default()
                    },
                )?;
                sample = format!("{prompt}\n> {}", tokenizer.decode(&answers[0].ids, true)?.trim());
            }
            drop(held);
            log.line(step)
                .set("eval/loss", last_eval)
                .set("eval/perplexity", last_eval.exp())
                .value("eval/sample", sample.as_str())
                .write()?;
            improved = state.consider(step, last_eval) && c.checkpoint.keep_best;
            bar.say(&format!("step {step}: validation loss {last_eval:.4}\n  | {}", sample.replace('\n', "\n  | ")));
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
        let first = step * plan.batch as u64;
        let mut picked: Vec<&Vec<usize>> = (0..plan.batch as u64).map(|i| &sequences[order.at(first + i) as usize]).collect();
        picked.sort_by_key(|rows| rows.iter().map(|&i| demos.train[i].ids.len()).sum::<usize>()); // rows of like length share a micro-batch
        let tokens = batch::targets(&demos.train, &picked) as f64; // the whole step's, so that micro-batches of any size give one gradient
        let (mut nll, mut seen) = (0.0, 0.0);
        for (micro, rows, last) in world.share(picked.chunks(plan.micro_batch)) {
            tch::manual_seed(seed::mix(c.seed, step, micro as u64)); // dropout
            let batch = Batch::new(&demos.train, rows, device);
            let hidden = phase(c"forward", || model.forward_packed(&batch.inputs, &batch.segments, true)); // [T, D]
            let labelled = hidden.index_select(0, &batch.labelled); // [N, D]
            let (sum, rest) = phase(c"head", || loss::lm::nll_chunked(&labelled, head, &batch.targets, 1.0 / tokens, HEAD_CHUNK));
            phase(c"backward", || gradients.backward(&rest, last))?;
            nll += sum;
            seen += rows.iter().flat_map(|r| r.iter()).map(|&i| demos.train[i].ids.len() as f64).sum::<f64>();
        }
        let [nll, seen] = stop.sum(world, [nll, seen])?;
        let lr = schedule::lr(step, steps, &c.schedule, c.optim.lr);
        let norm = phase(c"optimiser", || optim.guarded_step(world, nll, lr, c.optim.clip_norm))?;
        state.tokens += seen as u64;
        rate.stop(seen);
        let done = step + 1;
        if done.is_multiple_of(c.train.log_every) || done == steps || optim.skipped_in_a_row() > 0 {
            let (loss, speed) = (nll / tokens, rate.take());
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
        last_eval = evaluate(&model, valid, plan.micro_batch, device, world)?;
    }
    let mut figures = Map::new();
    for (key, value) in [("eval_loss", last_eval), ("wall_s", log.wall_s())] {
        figures.insert(key.into(), value.into());
    }
    for (key, count) in [
        ("tokens", state.tokens),
        ("rows_train", demos.train.len() as u64),
        ("rows_valid", demos.valid.len() as u64),
        ("rows_rejected", demos.report.rejected),
        ("skipped_steps", optim.skipped()),
        ("alarms", log.alarms()),
    ] {
        figures.insert(key.into(), Value::from(count));
    }
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

/// Mean loss in nats a labelled token over the held-out rows.
fn evaluate(model: &Model, valid: &[Demo], micro_batch: usize, device: Device, world: &World) -> Result<f64> {
    let mut rows: Vec<Vec<usize>> = (0..valid.len()).map(|i| vec![i]).collect();
    rows.sort_by_key(|r| valid[r[0]].ids.len());
    let (mut nll, mut tokens) = (0.0, 0.0);
    for (_, chunk, _) in world.share(rows.chunks(micro_batch)) {
        let batch = Batch::new(valid, &chunk.iter().collect::<Vec<_>>(), device);
        no_grad(|| {
            let hidden = model.forward_packed(&batch.inputs, &batch.segments, false).index_select(0, &batch.labelled);
            nll += loss::lm::nll_sum(&model.logits(&hidden), &batch.targets).double_value(&[]);
        });
        tokens += batch.targets.numel() as f64;
    }
    if world.lacks_one_of(rows.len().div_ceil(micro_batch)) {
        model.attend();
    }
    let [nll, tokens] = world.sum([nll, tokens])?;
    Ok(nll / f64::max(tokens, 1.0))
}
