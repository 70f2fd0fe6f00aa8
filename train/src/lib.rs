//! Toolbox of the training stages: optimiser, schedules, run folders, checkpoints, metrics, progress, signals. It holds no loop and no
//! forward pass: control flow stays in the stage, which reads like this.
//!
//! ```text
//! let mut run = RunDir::open(world, &out, &config, args.resume)?; // lock, config.toml; only rank 0 writes
//! let mut state = State::open(&run)?;                             // step 0, or where the newest checkpoint stood
//! let model = match state.folder() { Some(dir) => Model::load(dir, device)?, None => fresh()? };
//! run.check_inputs(&inputs)?;                                     // refused: the folder is as it was
//! state.within(steps)?;
//! run.accept(&inputs)?;
//! let mut optim = Optimizer::shared(params, &config.optim, world, config.distributed.shard)?;
//! state.restore("optim", &mut optim)?;
//! let gradients = Gradients::new(world, &[optim.partition()])?;
//! let stop = Stop::install(world)?;                               // until here a signal ended the process at once
//! let bar = Progress::steps("pretrain", state.step, steps);
//! let mut log = Metrics::open(&run, &state)?.watched(&run, &config.log, Alarms::new(&config.alarm), &bar)?;
//! let (eval, save) = (Every::eval(&config.eval, steps, &state), Every::save(config.checkpoint.every, steps, &state));
//! for step in state.step..=steps {                                // one extra turn: last evaluation and save
//!     if eval.due(step) { log.line(step).set("eval/loss", loss).write()?; improved = state.consider(step, loss); }
//!     if save.due(step) || improved || stop.requested().is_some() {
//!         checkpoint::write_shares(&run, world, &[("optim", &optim)])?; // where ranks have shares of the moments
//!         world.on_main(|| {                                      // the others wait
//!             checkpoint::commit(&run, step, |tmp| { model.save(tmp)?; Ok(state.save(tmp, step, &[("optim", &optim)], &mut [&mut log])?) })?;
//!             checkpoint::prune(&run, config.checkpoint.keep_last, state.best_step())
//!         })?;
//!     }
//!     if step == steps || stop.requested().is_some() { break; }
//!     for (micro, batch, last) in world.share(batches) {          // each rank its own
//!         tch::manual_seed(seed::mix(config.seed, step, micro as u64));
//!         gradients.backward(&(nll_sum(batch) / tokens), last)?;  // after the last one they are the sums over ranks
//!     }
//!     let [loss] = stop.sum(world, [loss])?;                      // figures, and whether any rank is to stop
//!     let norm = optim.guarded_step(world, loss, schedule::lr(step, steps, &config.schedule, config.optim.lr), config.optim.clip_norm)?;
//!     log.line(step + 1).set("loss", loss).set("grad_norm", norm).skips([&optim]).write()?;   // alarms are raised here
//! }
//! checkpoint::publish(&run, |tmp| Ok(model.save(tmp)?))?;         // DIR/model
//! ```

pub mod alarm;
pub mod average;
pub mod checkpoint;
pub mod cli;
pub mod device;
mod durable;
mod error;
pub mod every;
pub mod exit;
mod launch;
pub mod metrics;
mod moments;
pub mod optim;
pub mod profile;
pub mod progress;
pub mod run;
pub mod schedule;
pub mod seed;
mod start;
pub mod state;
pub mod stop;
pub mod summary;
mod tensorboard;
mod tfevents;

pub use alarm::Alarms;
pub use average::Average;
pub use error::{BoxError, Error};
pub use every::Every;
pub use metrics::Metrics;
pub use optim::Optimizer;
pub use profile::{Profile, phase};
pub use progress::Progress;
pub use run::RunDir;
pub use state::State;
pub use stop::Stop;
