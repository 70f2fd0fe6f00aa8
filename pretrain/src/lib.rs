//! Text to base model: next-token prediction (Radford et al. 2018 and 2019).
//!
//! loss = −1/N Σ log p(token t+1 | tokens ≤ t), N = targets of the whole optimiser step, however it is cut into micro-batches. With
//! `objective = "masked"` (BERT, arXiv 1810.04805): −1/N Σ log p(masked token | the row around it). With `distill.teacher` a share of it is the distance from
//! the teacher's distribution (`loss::distill`).
//!
//! Shapes: B sequences of a micro-batch, T context, D width, V vocabulary.

mod masked;
mod mup;
mod network;
mod setup;

use anyhow::Result;
use data::corpus::TokenStream;
use data::{config::PretrainConfig, order::Order, prefetch::Prefetch};
use dist::{Gradients, World};
use model::Student;
use network::{Network, Rows};
use serde_json::{Map, Value};
use setup::Setup;
use std::f64::consts::LN_2;
use std::path::Path;
use tch::{Device, Tensor, no_grad};
use train::{cli::StageArgs, exit, exit::Outcome, *};

/// Batches prepared ahead of the loop.
const AHEAD: usize = 4;
/// Held-out windows are masked the same way at every evaluation.
const VALID_SEED: u64 = 0x7a11d;

/// Runs the stage into its run folder.
pub fn run(c: PretrainConfig, args: &StageArgs, world: &World) -> Result<Outcome> {
    let Some(mut setup) = world.main_first(|| Setup::new(&c, args, world).map_err(exit::input))? else {
        return Ok(Outcome::Done);
    };
    let mut optim = setup.optimiser(&c, world)?;
    let gradients = Gradients::with_lookup(world, &[optim.partition()], || setup.network.split_lookup())?;
    let Setup { run, plan, steps, mut state, start, network, rows: shape, teacher, tokenizer, corpus, device, lineage } = setup;
    let stop = Stop::install(world)?;
    let output = network.output();
    let bits = |loss: f64| loss / LN_2 * corpus.valid.len() as f64 / corpus.valid.bytes().max(1) as f64; // nats a token to bits a byte
    let mut rate = metrics::Rate::default();
    let mut bar = Progress::steps("pretrain", state.step, steps);
    let mut log = Metrics::open(&run, &state)?.watched(&run, &c.log, Alarms::new(&c.alarm), &bar)?;
    let (eval, save) = (Every::eval(&c.eval, steps, &state), Every::save(c.checkpoint.every, steps, &state));
    let write_model = |dir: &Path, tokens: u64| -> Result<(), BoxError> {
        network.save(start.as_ref(), dir)?;
        tokenizer.save(dir)?;
        Ok(lineage.with_tokens(tokens).write(dir)?)
    };
    let (stream, order, batch) =
        (corpus.train.clone(), Order::new(corpus.train.windows(shape.stride), c.seed).shuffled(c.train.shuffle), plan.batch as u64);
    // This rank's micro-batches of every step: number, rows, and whether it is the last.
    let shares: Vec<(usize, u64, bool)> = world.share((0..batch).step_by(plan.micro_batch)).collect();
    let mut batches = Prefetch::new(state.step..steps, AHEAD, move |step| {
        let row = |i: u64| (step * batch + i, stream.window(order.at(step * batch + i) * shape.stride as u64, shape.window));
        let rows = |first: u64| (first..batch.min(first + plan.micro_batch as u64)).map(row).collect::<Vec<_>>();
        Ok(shares.iter().map(|&(micro, first, last)| (micro, rows(first), last)).collect::<Vec<_>>())
    })?;
    let mut profile = Profile::new(&run, args.profile, (state.step, steps), device);
    let tokens_a_step = (plan.batch * shape.tokens) as f64;
    let targets_a_step = (plan.batch * shape.targets) as f64;
    let mut last = Measured { loss: f64::NAN, accuracy: None };

    for step in state.step..=steps {
        let mut improved = false;
        if eval.due(step) {
            last = evaluate((&network, shape), &corpus.valid, c.eval.max_rows, plan.micro_batch, device, world)?;
            let (perplexity, bits) = (last.loss.exp(), bits(last.loss));
            let line = log.line(step).set("eval/loss", last.loss).set("eval/perplexity", perplexity);
            let (line, more) = match last.accuracy {
                Some([accuracy, commonest]) => (
                    line.set("eval/accuracy", accuracy).set("eval/commonest", commonest),
                    format!("{:.1}% of masked tokens right (the commonest: {:.1}%)", 100.0 * accuracy, 100.0 * commonest),
                ),
                None => (line.set("eval/bits_per_byte", bits), format!("{bits:.3} bits a byte")),
            };
            let sample = if c.eval.sample_prompt.is_empty() { None } else { network.sample(&tokenizer, &c, world)? };
            sample.iter().fold(line, |line, text| line.value("eval/sample", text.as_str())).write()?;
            improved = state.consider(step, last.loss) && c.checkpoint.keep_best;
            bar.say(&format!("step {step}: validation loss {:.4}, perplexity {perplexity:.1}, {more}", last.loss));
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
        let (mut nll, mut divergence) = (0.0, 0.0);
        for (micro, rows, last) in batches.next()?.unwrap_or_default() {
            tch::manual_seed(seed::mix(c.seed, step, micro as u64)); // dropout
            let (states, targets) = phase(c"forward", || network.states(&rows, c.seed, device, true)); // [N, D], [N]
            let theirs = teacher.as_ref().map(|t| (t, phase(c"teacher", || t.states(|n| n.states(&rows, c.seed, device, false))))); // [N, D']
            let says = theirs.as_ref().map(|(t, states)| t.says(states));
            let at_once = loss::lm::positions_at_once(output.weight.size()[0]);
            let (sums, rest) = phase(c"head", || loss::distill::chunked(&states, output, says, &targets, 1.0 / targets_a_step, at_once));
            phase(c"backward", || gradients.backward(&rest, last))?;
            nll += sums.nll;
            divergence += sums.divergence;
        }
        let [nll, divergence] = stop.sum(world, [nll, divergence])?;
        let lr = schedule::lr(step, steps, &c.schedule, c.optim.lr);
        let norm = phase(c"optimiser", || optim.guarded_step(world, nll + divergence, lr, c.optim.clip_norm))?;
        state.tokens += tokens_a_step as u64;
        rate.stop(tokens_a_step);
        let done = step + 1;
        if done.is_multiple_of(c.train.log_every) || done == steps || optim.skipped_in_a_row() > 0 {
            let (nll, divergence, speed) = (nll / targets_a_step, divergence / targets_a_step, rate.take());
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
    if last.loss.is_nan() {
        last = evaluate((&network, shape), &corpus.valid, c.eval.max_rows, plan.micro_batch, device, world)?;
    }
    let mut figures = Map::new();
    let of_objective = match last.accuracy {
        Some([accuracy, commonest]) => vec![("masked_accuracy", accuracy), ("commonest", commonest)],
        None => vec![("bits_per_byte", bits(last.loss))],
    };
    let always = [("eval_loss", last.loss), ("perplexity", last.loss.exp())];
    for (key, value) in always.into_iter().chain(of_objective).chain([("wall_s", log.wall_s())]) {
        figures.insert(key.into(), value.into());
    }
    for (key, count) in
        [("tokens", state.tokens), ("rows_rejected", corpus.report.rejected), ("skipped_steps", optim.skipped()), ("alarms", log.alarms())]
    {
        figures.insert(key.into(), Value::from(count));
    }
    if c.optim.l1 > 0.0 {
        figures.insert("zeros".into(), optim.zeros(world)?.into());
    }
    figures.insert("parameters".into(), (optim.sizes().0 + optim.sizes().1).into());
    world.beside_main(|| network.lend())?;
    world.on_main(|| -> Result<()> {
        checkpoint::publish(&run, |tmp| write_model(tmp, state.tokens))?;
        summary::write(&run, &figures)?;
        evaluate::report::write_run(run.path())?;
        Ok(())
    })?;
    bar.finish(steps, &[("loss", last.loss)]);
    Ok(Outcome::Done)
}

/// Figures of an evaluation.
struct Measured {
    /// Nats a predicted token.
    loss: f64,
    /// Share of the predicted tokens that are the likeliest, and share of the commonest of them: what a model without context gets at most. Of masked tokens.
    accuracy: Option<[f64; 2]>,
}

/// Mean loss in nats a predicted token over windows spread evenly over the held-out text.
fn evaluate(
    (network, shape): (&Network, Rows),
    valid: &TokenStream,
    max_rows: usize,
    micro_batch: usize,
    device: Device,
    world: &World,
) -> Result<Measured> {
    let windows = valid.windows(shape.stride);
    let n = if max_rows == 0 { windows } else { windows.min(max_rows as u64) };
    let row = |i: u64| (i, valid.window(i * windows / n * shape.stride as u64, shape.window));
    let vocabulary = network.output().weight.size()[0];
    let at_once = loss::lm::positions_at_once(vocabulary);
    let mut right = 0.0;
    let mut counts = Tensor::zeros([vocabulary], (tch::Kind::Double, device));
    let mut nll = 0.0;
    for (_, first, _) in world.share((0..n).step_by(micro_batch)) {
        let rows: Vec<_> = (first..n.min(first + micro_batch as u64)).map(row).collect();
        nll += no_grad(|| {
            let (states, targets) = network.states(&rows, VALID_SEED, device, false);
            let chunks = (0..states.size()[0]).step_by(at_once as usize);
            let mut chunk = |start: i64| {
                let rows = at_once.min(states.size()[0] - start);
                let (logits, targets) = (network.logits(&states.narrow(0, start, rows)), targets.narrow(0, start, rows));
                if network.is_masked() {
                    right += logits.argmax(-1, false).eq_tensor(&targets).sum(None).double_value(&[]);
                }
                loss::lm::nll_sum(&logits, &targets).double_value(&[])
            };
            let sum = chunks.map(&mut chunk).sum::<f64>();
            if network.is_masked() {
                counts += targets.bincount(None::<&Tensor>, vocabulary);
            }
            sum
        });
    }
    if let Some(model) = network.decoder().filter(|_| world.lacks_one_of((n as usize).div_ceil(micro_batch))) {
        model.attend();
    }
    let [nll, right] = world.sum([nll, right])?;
    let predicted = (n * shape.targets as u64) as f64;
    let accuracy = if network.is_masked() {
        world.all_reduce_sum(std::slice::from_ref(&counts))?;
        Some([right / predicted, counts.max().double_value(&[]) / predicted])
    } else {
        None
    };
    Ok(Measured { loss: nll / predicted, accuracy })
}
