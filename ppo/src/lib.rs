//! Fine-tuned model and reward model to a policy that people would prefer: proximal policy optimisation.
//!
//! A round: sample answers, score them, take the KL to the SFT model off the reward, estimate advantages, learn for a few passes.
//!   reward_t = −β·KL_t (+ score at the last token);  GAE(γ, λ);  clipped policy and value losses (arXiv 1707.06347, 1909.08593, 2009.01325).
//! Formulas: `loss::ppo`. What we do differently from the references and why: `docs/departures.md`.

pub mod batch;
mod heldout;
pub mod judge;
pub mod ptx;
pub mod rollout;
mod setup;
pub mod update;

pub use setup::Place;

use anyhow::Result;
use data::config::PpoConfig;
use dist::{Gradients, World};
use heldout::HeldOut;
use loss::ppo::KlController;
use rollout::{Models, observe, shape_scores};
use setup::Setup;
use std::cell::OnceCell;
use std::path::Path;
use train::{cli::StageArgs, exit, exit::Outcome, *};
use update::{Learner, learn, plan_pass};

/// Runs the stage into its run folder.
pub fn run(c: PpoConfig, args: &StageArgs, world: &World) -> Result<Outcome> {
    let Some(mut setup) = world.main_first(|| Setup::new(&c, args, world).map_err(exit::input))? else {
        return Ok(Outcome::Done);
    };
    let (mut policy_optim, mut value_optim) = setup.optimisers(&c, world)?;
    let learning: Vec<_> = [&policy_optim].into_iter().chain(&value_optim).map(Optimizer::partition).collect();
    let gradients = Gradients::new(world, &learning)?;
    let Setup {
        run,
        rounds,
        mut state,
        start,
        policy,
        reference,
        critic,
        judges,
        tokenizer,
        stop_ids,
        prompts,
        heldout,
        mut mixer,
        device,
        lineage,
    } = setup;
    let stop = Stop::install(world)?;
    let heldout = HeldOut {
        config: &c,
        prompts: &heldout,
        tokenizer: &tokenizer,
        stop: &stop_ids,
        judges: &judges,
        batch: rounds.rollout_batch,
        device,
        world,
    };
    let order = data::order::Order::new(prompts.len() as u64, c.seed);
    let mut beta = KlController::new(state.counter("kl_coef").unwrap_or(c.ppo.kl_coef), c.ppo.kl_target, c.ppo.kl_horizon);
    let mut rate = metrics::Rate::default();
    let total = rounds.rounds;
    let (eval, save) = (Every::eval(&c.eval, total, &state), Every::save(c.checkpoint.every, total, &state));
    let steps_a_round = (c.ppo.epochs * c.ppo.minibatches) as u64;
    let write_model = |dir: &Path, episodes: u64| -> Result<(), BoxError> {
        start.save(&policy, dir)?;
        tokenizer.save(dir)?;
        Ok(lineage.with_episodes(episodes).write(dir)?)
    };
    let mut profile = Profile::new(&run, args.profile, (state.step, total), device);
    let sft_answers = OnceCell::new(); // made when the first evaluation asks for them
    let sft_answers = || match sft_answers.get() {
        Some(answers) => Ok(answers),
        None => heldout.answer(&reference).map(|answers| sft_answers.get_or_init(|| answers)),
    };
    let mut bar = Progress::steps("ppo", state.step, total);
    let alarms = Alarms::new(&c.alarm).with_drift(&c.drift);
    let mut log = Metrics::open(&run, &state)?.watched(&run, &c.log, alarms, &bar)?;

    for round in state.step..=total {
        let mut improved = false;
        if eval.due(round) {
            let answers = heldout.answer(&policy)?;
            let figures = heldout.compare(sft_answers()?, &answers, heldout.kl(&policy, &reference, &answers)?)?;
            let number = |key: &str| figures[key].as_f64().unwrap_or(f64::NAN);
            let (score, kl) = (number("reward_policy"), number("kl"));
            let sample = heldout.text(&answers.episodes[0])?;
            log.line(round)
                .set("eval/scores", score)
                .set("eval/scores_sft", number("reward_sft"))
                .set("eval/kl", kl)
                .set("eval/win_rate", number("win_rate"))
                .set("eval/eos_rate", number("eos_rate"))
                .set("eval/response_length", number("response_length"))
                .set("eval/repetition", number("repetition_policy"))
                .value("eval/sample", format!("{}\n> {sample}", heldout.prompts[0].text()))
                .write()?;
            improved = state.consider(round, beta.coef * kl - score) && c.checkpoint.keep_best; // lower is better
            let win = number("win_rate");
            bar.say(&format!("round {round}: held-out score {score:.3} (SFT {:.3}), win rate {win:.3}, KL {kl:.2}", number("reward_sft")));
            bar.say(&format!("  | {sample}"));
        }
        let leaving = stop.requested().is_some();
        if save.due(round) || ((improved || leaving) && round > 0) {
            state.set_counter("kl_coef", beta.coef);
            let last = policy_optim.partition().params().len() - 1; // the head of a shared critic
            let mut optims = vec![("policy", &policy_optim)];
            optims.extend(value_optim.as_ref().map(|v| ("value", v)));
            checkpoint::write_shares(&run, world, &optims)?;
            world.beside_main(|| -> Result<(), BoxError> {
                policy.lend()?;
                match &critic {
                    batch::Critic::Separate(model) => Ok(model.lend()?),
                    batch::Critic::Shared(_) => Ok(policy_optim.partition().whole(last).map(drop)?),
                }
            })?;
            world.on_main(|| -> Result<()> {
                checkpoint::commit(&run, round, |tmp| {
                    write_model(tmp, state.tokens)?;
                    state.save(tmp, round, &optims, &mut [&mut log])?;
                    match &critic {
                        batch::Critic::Separate(model) => setup::save_critic(&c, model, tmp)?,
                        batch::Critic::Shared(_) => {
                            let head = policy_optim.partition().whole(last)?;
                            tch::Tensor::write_safetensors(&[("value_head", head)], setup::head_file(tmp))?;
                        }
                    }
                    Ok(())
                })?;
                Ok(checkpoint::prune(&run, c.checkpoint.keep_last, state.best_step().filter(|_| c.checkpoint.keep_best))?)
            })?;
        }
        if let Some(summary) = profile.at(round)? {
            bar.say(&summary.to_string());
        }
        if round == total || leaving {
            break;
        }

        rate.start();
        let first = round * rounds.episodes as u64;
        let picked: Vec<_> = (0..rounds.episodes as u64).map(|i| &prompts[order.at(first + i) as usize]).collect();
        let seed = seed::mix(c.seed, round, 0);
        let episodes = phase(c"roll-out", || {
            heldout::sample(&policy, &picked, &c, (&stop_ids, c.ppo.after_end), rounds.rollout_batch, (seed, world))
        })?;
        let raw = phase(c"score", || judges.score_shared(&episodes, &tokenizer, world))?;
        if raw.cut > 0 {
            let why = "in a reward model's own tokens they are longer than its context";
            bar.say(&format!("round {}: {} answers were read in part: {why}", round + 1, raw.cut));
        }
        let scores = shape_scores(&raw.scores, &episodes, c.reward.clip, &c.ppo);
        let first_pass = plan_pass(&rounds, c.seed, round, 0, |i| episodes[i].len());
        let mine: Vec<Vec<usize>> = first_pass.into_iter().flat_map(|step| world.share(step)).map(|(_, chunk, _)| chunk).collect();
        let models = Models { policy: &policy, reference: &reference, critic: &critic };
        let roll =
            phase(c"observe", || observe(&models, episodes, scores, &mine, (c.rollout.temperature, beta.coef), &c.ppo, (device, world)))?;
        if let Some(mixer) = &mut mixer {
            mixer.seek(round * steps_a_round);
        }
        let mut learner = Learner {
            policy: &policy,
            critic: &critic,
            policy_optim: &mut policy_optim,
            value_optim: value_optim.as_mut(),
            mixer: mixer.as_mut(),
            world,
            gradients: &gradients,
        };
        let lr = schedule::lr(round, total, &c.schedule, c.optim.lr);
        let learned = learn(&mut learner, &roll, &c, &rounds, round, lr)?;
        let [] = stop.sum(world, [])?;
        state.tokens += rounds.episodes as u64; // episodes seen
        rate.stop(rounds.episodes as f64);

        let (score, speed) = (mean(&roll.scores), rate.take());
        log.line(round + 1)
            .count("episodes", state.tokens)
            .set("objective/kl", roll.kl)
            .set("objective/scores", score)
            .set("objective/cut_answers", raw.cut as f64)
            .set("objective/rlhf_reward", score - beta.coef * roll.penalty)
            .set("kl_coef", beta.coef)
            .set("eos_rate", roll.episodes.iter().filter(|e| e.finished).count() as f64 / rounds.episodes as f64)
            .set("response_length", roll.episodes.iter().map(|e| e.read as f64).sum::<f64>() / rounds.episodes as f64)
            .set("advantage_mean", roll.advantage_stats.0)
            .set("advantage_std", roll.advantage_stats.1)
            .set_all(learned)
            .skips([&policy_optim].into_iter().chain(&value_optim))
            .set("lr", lr)
            .set("episodes_per_s", speed)
            .write()?;
        bar.at(round + 1, &[("score", score), ("kl", roll.kl), ("ep/s", speed)]);
        beta.update(roll.kl, rounds.episodes);
    }
    if stop.requested().is_some() {
        return Ok(stop.outcome());
    }
    let answers = heldout.answer(&policy)?;
    let mut figures = heldout.compare(sft_answers()?, &answers, heldout.kl(&policy, &reference, &answers)?)?;
    figures.insert("episodes".into(), state.tokens.into());
    figures.insert("wall_s".into(), log.wall_s().into());
    figures.insert("skipped_steps".into(), (policy_optim.skipped() + value_optim.as_ref().map_or(0, Optimizer::skipped)).into());
    figures.insert("alarms".into(), log.alarms().into());
    world.beside_main(|| policy.lend())?;
    world.on_main(|| -> Result<()> {
        let mut samples = Vec::new();
        heldout.write_samples(&mut samples, sft_answers()?, &answers)?;
        run.write("samples.jsonl", &samples)?;
        let mut tokens = Vec::new();
        heldout.write_token_rewards(&mut tokens, sft_answers()?, &answers)?;
        run.write(evaluate::reward_tokens::FILE, &tokens)?;
        checkpoint::publish(&run, |tmp| write_model(tmp, state.tokens))?;
        summary::write(&run, &figures)?;
        evaluate::report::write_run(run.path())?;
        Ok(())
    })?;
    bar.finish(total, &[]);
    Ok(Outcome::Done)
}

fn mean(values: &[f32]) -> f64 {
    values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len().max(1) as f64
}
