//! Base model and demonstrations to a fine-tuned model: the next-token loss on the answers only (InstructGPT, arXiv 2203.02155, section 3.5).
//!
//! loss = −1/N Σ log p(answer token | everything before it in its own row), N = answer tokens (the end token included) of the optimiser step. An
//! encoder-decoder reads the prompt in its encoder (arXiv 1706.03762); a classifier's answer is a class, one a row (arXiv 1810.04805); a decoder that sees has a
//! picture before the prompt (arXiv 2304.08485); a decoder that classifies has the loss of [`decide`]. With `distill.teacher` a share of it is the distance from the
//! teacher's distribution (`loss::distill`).

mod batch;
mod captions;
mod decide;
mod measure;
mod network;
mod setup;

use anyhow::Result;
use data::{config::SftConfig, order::Order};
use dist::{Gradients, World};
use measure::Measured;
use model::Student;
use serde_json::{Map, Value};
use setup::Setup;
use std::path::Path;
use train::{cli::StageArgs, exit, exit::Outcome, *};

/// Runs the stage into its run folder.
pub fn run(c: SftConfig, args: &StageArgs, world: &World) -> Result<Outcome> {
    let Some(mut setup) = world.main_first(|| Setup::new(&c, args, world).map_err(exit::input))? else {
        return Ok(Outcome::Done);
    };
    let mut optim = setup.optimiser(&c, world)?;
    let gradients = Gradients::with_lookup(world, &[optim.partition()], || setup.network.split_lookup())?;
    let Setup { run, plan, steps, mut state, start, network, teacher, tokenizer, template, demos, sequences, device, lineage } = setup;
    let stop = Stop::install(world)?;
    let order = Order::new(sequences.len() as u64, c.seed).shuffled(c.train.shuffle);
    let valid = &demos.valid[..if c.eval.max_rows == 0 { demos.valid.len() } else { c.eval.max_rows.min(demos.valid.len()) }];
    let mut rate = metrics::Rate::default();
    let mut bar = Progress::steps("sft", state.step, steps);
    let mut log = Metrics::open(&run, &state)?.watched(&run, &c.log, Alarms::new(&c.alarm), &bar)?;
    let (eval, save) = (Every::eval(&c.eval, steps, &state), Every::save(c.checkpoint.every, steps, &state));
    let write_model = |dir: &Path, tokens: u64| -> Result<(), BoxError> {
        network.save(start.as_ref(), dir)?;
        tokenizer.save(dir)?;
        Ok(lineage.with_tokens(tokens).write(dir)?)
    };
    let mut profile = Profile::new(&run, args.profile, (state.step, steps), device);
    let mut last_eval = f64::NAN;

    for step in state.step..=steps {
        let mut improved = false;
        if eval.due(step) {
            let measured = measure::evaluate(&network, valid, plan.micro_batch, world)?;
            last_eval = measured.loss;
            let (mut sample, mut bleu) = (None, None);
            let held = network.decoder().map(|model| model.hold(world.is_main()));
            if world.is_main() {
                sample = measure::sample(&c.eval, &network, &tokenizer, template.as_ref(), &valid[0])?;
                bleu = measure::bleu(&c.bleu, &run, &network, &tokenizer, template.as_ref(), &demos.valid)?;
            }
            drop(held);
            let line = log.line(step).set("eval/loss", last_eval);
            let line = match measured {
                Measured { accuracy: Some(accuracy), .. } => line.set("eval/accuracy", accuracy),
                Measured { pearson: Some(pearson), .. } => line.set("eval/pearson", pearson),
                _ => line.set("eval/perplexity", last_eval.exp()),
            };
            let line = bleu.iter().fold(line, |line, &bleu| line.set("eval/bleu", bleu));
            sample.iter().fold(line, |line, text| line.value("eval/sample", text.as_str())).write()?;
            let more = match (measured.accuracy, bleu) {
                (Some(accuracy), _) => format!(", accuracy {:.1}%", 100.0 * accuracy),
                (None, Some(bleu)) => format!(", BLEU {bleu:.1}"),
                _ => measured.pearson.map_or_else(String::new, |pearson| format!(", Pearson {pearson:.3}")),
            };
            improved = state.consider(step, last_eval) && c.checkpoint.keep_best;
            bar.say(&format!("step {step}: validation loss {last_eval:.4}{more}"));
            sample.iter().for_each(|text| bar.say(&format!("  | {}", text.replace('\n', "\n  | "))));
        }
        let leaving = stop.requested().is_some();
        if save.due(step) || ((improved || leaving) && step > 0) {
            checkpoint::write_shares(&run, world, &[("optim", &optim)])?;
            world.beside_main(|| network.lend())?;
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
        let counts = network.counts(&demos.train, &picked); // the whole step's, so that micro-batches of any size give one gradient
        let (mut nll, mut divergence, mut seen) = (0.0, 0.0, 0.0);
        for (micro, rows, last) in world.share(picked.chunks(plan.micro_batch)) {
            tch::manual_seed(seed::mix(c.seed, step, micro as u64)); // dropout
            let learnt = phase(c"forward", || network.states(&demos.train, rows, true)); // [N, D], [N]
            let theirs = teacher.as_ref().map(|t| (t, phase(c"teacher", || t.states(|n| n.states(&demos.train, rows, false))))); // [N, D']
            let says = theirs.as_ref().map(|(t, states)| t.says(states));
            let (sums, rest) = phase(c"head", || network.loss(&demos.train, rows, &learnt, says, counts, &c.loss));
            phase(c"backward", || gradients.backward(&rest, last))?;
            nll += sums.nll;
            divergence += sums.divergence;
            seen += rows.iter().flat_map(|r| r.iter()).map(|&i| demos.train[i].ids.len() as f64).sum::<f64>();
        }
        let [nll, divergence, seen] = stop.sum(world, [nll, divergence, seen])?;
        let lr = schedule::lr(step, steps, &c.schedule, c.optim.lr);
        let norm = phase(c"optimiser", || optim.guarded_step(world, nll + divergence, lr, c.optim.clip_norm))?;
        state.tokens += seen as u64;
        rate.stop(seen);
        let done = step + 1;
        if done.is_multiple_of(c.train.log_every) || done == steps || optim.skipped_in_a_row() > 0 {
            let (nll, divergence, speed) = (nll / counts.learnt, divergence / counts.learnt, rate.take());
            let loss = teacher.as_ref().map_or(nll, |t| t.mix(nll, divergence));
            log.line(done)
                .count("tokens", state.tokens)
                .set("loss", loss)
                .set_all(teacher.iter().flat_map(|_| [("loss/nll", nll), ("loss/teacher", divergence)]))
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
        last_eval = measure::evaluate(&network, valid, plan.micro_batch, world)?.loss;
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
    if c.optim.l1 > 0.0 {
        figures.insert("zeros".into(), optim.zeros(world)?.into());
    }
    if world.is_main() {
        figures.extend(measure::classes(&network, &tokenizer, &demos.valid)?);
        figures.extend(measure::last_bleu(&c.bleu, &run)?);
    }
    world.beside_main(|| network.lend())?;
    world.on_main(|| -> Result<()> {
        checkpoint::publish(&run, |tmp| write_model(tmp, state.tokens))?;
        summary::write(&run, &figures)?;
        evaluate::report::write_run(run.path())?;
        Ok(())
    })?;
    bar.finish(steps, &[("loss", last_eval)]);
    Ok(Outcome::Done)
}
