//! Fine-tuned model and human rankings to a reward model.
//!
//! Bradley-Terry: −log σ(r(better) − r(worse)) over the pairs of a ranking (arXiv 1909.08593, 2203.02155 equation 1), or Plackett-Luce over the whole
//! ranking; where judgments have a fitted worth, the cross-entropy of the probabilities that it gives. On request the best answers are learnt as text beside it
//! (`loss.lm_weight`). The reward is a scalar head at the last token of prompt and answer. Losses are normalised by the weights of the whole optimiser step.

mod batch;
mod centre;
mod crowd;
mod notice;
mod objective;
mod setup;
mod tokens;

use anyhow::{Context, Result};
use batch::{Answers, Batch, Item};
use data::config::RewardConfig;
use data::{order::Order, rankings::Ranking};
use dist::{Gradients, World};
use evaluate::preference::PreferenceReport;
use model::Model;
use objective::{Objective, Totals};
use serde_json::Value;
use setup::Setup;
use std::path::Path;
use tch::{Kind, Tensor};
use train::{cli::StageArgs, exit, exit::Outcome, *};

/// Answers that are scored at a time, for each item of a micro-batch.
const SCORED_AT_ONCE: usize = 4;

/// Runs the stage into its run folder.
pub fn run(c: RewardConfig, args: &StageArgs, world: &World) -> Result<Outcome> {
    let Some(mut setup) = world.main_first(|| Setup::new(&c, args, world).map_err(exit::input))? else {
        return Ok(Outcome::Done);
    };
    let mut optim = setup.optimiser(&c, world)?;
    let mut average = setup.average(&c, &optim)?;
    let gradients = Gradients::new(world, &[optim.partition()])?;
    let Setup { run, start, plan, steps, mut state, model, language_head, tokenizer, template, rankings, train, valid, device, lineage } =
        setup;
    let objective = Objective { config: &c.loss, head: language_head };
    let stop = Stop::install(world)?;
    let order = Order::new(train.len() as u64, c.seed).shuffled(c.train.shuffle);
    let mut rate = metrics::Rate::default();
    let mut bar = Progress::steps("reward", state.step, steps);
    let mut log = Metrics::open(&run, &state)?.watched(&run, &c.log, Alarms::new(&c.alarm), &bar)?;
    let (eval, save) = (Every::eval(&c.eval, steps, &state), Every::save(c.checkpoint.every, steps, &state));
    let write_model = |model: &Model, dir: &Path, tokens: u64| -> Result<(), BoxError> {
        start.save(model, dir)?;
        tokenizer.save(dir)?;
        Ok(lineage.with_tokens(tokens).write(dir)?)
    };

    let mut profile = Profile::new(&run, args.profile, (state.step, steps), device);

    for step in state.step..=steps {
        let mut improved = false;
        if eval.due(step) {
            average.iter_mut().for_each(Average::swap);
            let report = judge(&model, (&rankings.valid, &valid), plan.micro_batch, c.seed, world)?;
            average.iter_mut().for_each(Average::swap);
            log.line(step).set("eval/accuracy", report.accuracy).set("eval/ece", report.ece).set("eval/margin", report.margin).write()?;
            improved = state.consider(step, -report.accuracy) && c.checkpoint.keep_best; // lower is better
            let [low, high] = report.accuracy_ci;
            let (pairs, longer, ece) = (report.pairs, report.baseline_longer, report.ece);
            let accuracy = report.accuracy;
            bar.say(&format!(
                "step {step}: accuracy {accuracy:.3} [{low:.3}, {high:.3}] on {pairs} pairs (longer wins {longer:.3}), ECE {ece:.3}"
            ));
        }
        let leaving = stop.requested().is_some();
        if save.due(step) || ((improved || leaving) && step > 0) {
            checkpoint::write_shares(&run, world, &[("optim", &optim)])?;
            world.beside_main(|| -> Result<(), BoxError> {
                model.lend()?;
                Ok(average.iter_mut().try_for_each(|average| average.lend().map(drop))?)
            })?;
            world.on_main(|| -> Result<()> {
                checkpoint::commit(&run, step, |tmp| {
                    write_model(&model, tmp, state.tokens)?;
                    state.save(tmp, step, &[("optim", &optim)], &mut [&mut log])?;
                    Ok(average.iter_mut().try_for_each(|average| average.save(&tmp.join(setup::AVERAGE)))?)
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
        let mut items: Vec<&Item> = (0..plan.batch as u64).map(|i| &train[order.at(first + i) as usize]).collect();
        items.sort_by_key(|item| item.answers.iter().map(Vec::len).max()); // items of like length share a micro-batch
        let micro_batches: Vec<Batch> = items.chunks(plan.micro_batch).map(|chunk| Batch::new(chunk, device)).collect();
        let totals = Totals::of(&micro_batches, &c.loss); // of the whole step, so that micro-batches of any size give one gradient
        let (mut preference, mut lm, mut margins) = (0.0, 0.0, Vec::new());
        for (micro, batch, last) in world.share(&micro_batches) {
            tch::manual_seed(seed::mix(c.seed, step, micro as u64)); // dropout
            let hidden = phase(c"forward", || batch.hidden(&model, true));
            let scores = batch.scores(&model, &hidden); // [B, K]
            let share = phase(c"loss", || objective.share(&hidden, &scores, batch, &totals));
            phase(c"backward", || gradients.backward(&share.backward, last))?;
            preference += share.preference;
            lm += share.lm;
            let scores = scores.detach();
            margins.extend([&batch.hard, &batch.soft].map(|j| loss::preference::margins(&j.of(&scores), &j.ranks)));
        }
        let margins = Tensor::cat(&margins, 0);
        let right = margins.gt(0.0).sum(Kind::Double).double_value(&[]);
        let figures = [preference, lm, right, margins.sum(Kind::Double).double_value(&[]), margins.numel() as f64];
        let [preference, lm, right, margin, pairs] = stop.sum(world, figures)?;
        let loss = preference + c.loss.lm_weight * lm;
        let lr = schedule::lr(step, steps, &c.schedule, c.optim.lr);
        let norm = phase(c"optimiser", || optim.guarded_step(world, loss, lr, c.optim.clip_norm))?;
        average.iter_mut().for_each(|average| average.take(step + 1));
        let answers: usize = items.iter().map(|item| item.answers.len()).sum();
        state.tokens += items.iter().flat_map(|item| &item.answers).map(Vec::len).sum::<usize>() as u64;
        rate.stop(answers as f64);
        let done = step + 1;
        if done.is_multiple_of(c.train.log_every) || done == steps || optim.skipped_in_a_row() > 0 {
            let told = (pairs > 0.0).then(|| (right / pairs, margin / pairs)); // ties alone tell nothing
            let speed = rate.take();
            log.line(done)
                .count("tokens", state.tokens)
                .set("loss", loss)
                .set_all(objective.head.iter().flat_map(|_| [("loss/preference", preference), ("loss/lm", lm)]))
                .set_all(told.iter().flat_map(|&(right, margin)| [("margin", margin), ("accuracy", right)]))
                .set("lr", lr)
                .set("grad_norm", norm)
                .skips([&optim])
                .set("answers_per_s", speed)
                .write()?;
            let shown = [Some(("loss", loss)), told.map(|(right, _)| ("accuracy", right)), Some(("ans/s", speed))];
            bar.at(done, &shown.into_iter().flatten().collect::<Vec<_>>());
        }
    }
    if stop.requested().is_some() {
        return Ok(stop.outcome());
    }
    average.iter_mut().for_each(Average::swap); // from here on the model is the mean
    let mut scores = batch::score_all(&model, &valid, plan.micro_batch * SCORED_AT_ONCE, world)?;
    let mut centred = None;
    if c.centre.samples > 0 {
        let held = model.hold(true);
        let of_sft = centre::sft_scores(&model, &start, &rankings.train, (&tokenizer, &template), &c, world)?;
        let (gain, bias) = centre::fold(&model, &of_sft, c.centre.gain)?;
        held.store()?;
        drop(held);
        scores.iter_mut().flatten().for_each(|score| *score = gain * *score + bias); // what the published model says
        centred = Some((gain, bias));
    }
    let report = compare(&rankings.valid, &scores, c.seed)?;
    let mut figures = report.summary();
    if let Some((gain, bias)) = centred {
        figures.insert("centred_by".into(), bias.into());
        if c.centre.gain {
            figures.insert("scaled_by".into(), gain.into());
        }
    }
    figures.insert("wall_s".into(), log.wall_s().into());
    figures.insert("parameters".into(), (optim.sizes().0 + optim.sizes().1).into());
    figures.insert("rankings_train".into(), (rankings.train.len() as u64).into());
    figures.insert("items_train".into(), (train.len() as u64).into());
    figures.insert("rows_rejected".into(), rankings.report.rejected.into());
    for (cause, count) in &rankings.report.skipped {
        figures.insert(format!("rows_skipped_{}", cause.replace(' ', "_")), (*count).into());
    }
    if let Some(average) = &average {
        figures.insert("averaged_steps".into(), average.count().into());
    }
    figures.insert("skipped_steps".into(), Value::from(optim.skipped()));
    figures.insert("alarms".into(), Value::from(log.alarms()));
    let held = model.hold(world.is_main());
    if world.is_main() {
        let shown = tokens::lines(&model, (&rankings.valid, &valid), &c.data.prompt_prefix, (&tokenizer, &template))?;
        run.write(evaluate::reward_tokens::FILE, shown.as_bytes())?;
    }
    drop(held);
    world.beside_main(|| model.lend())?;
    world.on_main(|| -> Result<()> {
        checkpoint::publish(&run, |tmp| write_model(&model, tmp, state.tokens))?;
        summary::write(&run, &figures)?;
        evaluate::report::write_run(run.path())?;
        Ok(())
    })?;
    bar.finish(steps, &[("accuracy", report.accuracy), ("ECE", report.ece)]);
    Ok(Outcome::Done)
}

/// The model against the held-out rankings.
fn judge(
    model: &Model,
    (rankings, rows): (&[Ranking], &[Answers]),
    at_a_time: usize,
    seed: u64,
    world: &World,
) -> Result<PreferenceReport> {
    compare(rankings, &batch::score_all(model, rows, at_a_time * SCORED_AT_ONCE, world)?, seed)
}

/// Scores of the answers of the held-out rankings against these.
fn compare(rankings: &[Ranking], scores: &[Vec<f64>], seed: u64) -> Result<PreferenceReport> {
    evaluate::preference::evaluate(rankings, scores, seed).context("no held-out ranking tells any pair apart")
}
