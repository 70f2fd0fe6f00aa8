//! The judges' numbers, given what is known of the worths: one Newton step each on the expected log-posterior of (β, t).

use super::davidson::{NORMAL, verdict};
use super::worths::Worths;
use super::{Data, Judge, Spread};

/// Widest step of β or t.
const STEP: f64 = 1.0;
/// A prior of the spreads: as if so many judges had been seen with a spread of [`PRIOR_SD`]. It matters when there are few judges.
const PRIOR_JUDGES: f64 = 2.0;
const PRIOR_SD: f64 = 0.5;

/// Updates all judges and the spreads. With `alike` all have β = 1 and one readiness to tie.
pub(super) fn update(data: &Data, worths: &Worths, judges: &mut [Judge], spread: &mut Spread, alike: bool) {
    let parts = data.by_judge.parts(data.threads, |v| data.work(v));
    let now = *spread;
    let mut sums = vec![Sums::default(); judges.len()];
    let mut rest = (&mut judges[..], &mut sums[..]);
    std::thread::scope(|scope| {
        for part in parts {
            let (own, others) = std::mem::take(&mut rest.0).split_at_mut(part.len());
            let (own_sums, other_sums) = std::mem::take(&mut rest.1).split_at_mut(part.len());
            rest = (others, other_sums);
            scope.spawn(move || {
                for ((at, judge), sums) in part.zip(own).zip(own_sums) {
                    if alike {
                        *sums = Sums::of(data, worths, at, judge);
                    } else {
                        one(data, worths, at, judge, &now);
                    }
                }
            });
        }
    });
    // Judges who share no prompt with another stand at the prior, and tell nothing of it.
    let compared = |j: &usize| !data.by_judge.index.of(*j).is_empty();
    let n = (0..judges.len()).filter(compared).count() as f64;
    if alike {
        // One Newton step of the common t.
        let (slope, curve) = sums.iter().fold((0.0, 1e-9), |(s, c), sums| (s + sums.tie_slope, c + sums.tie_curve));
        spread.tie = (spread.tie + (slope / curve).clamp(-STEP, STEP)).clamp(-8.0, 8.0);
        judges.iter_mut().for_each(|j| *j = Judge { beta: 1.0, sd: 0.0, tie: spread.tie, tie_sd: 0.0 });
    } else if n > 0.0 {
        let all = |of: &dyn Fn(&Judge) -> f64| (0..judges.len()).filter(compared).map(|j| of(&judges[j])).sum::<f64>();
        let seen = |of: &dyn Fn(&Judge) -> f64| PRIOR_JUDGES * PRIOR_SD * PRIOR_SD + all(of);
        spread.beta = (seen(&|j| (j.beta - 1.0).powi(2) + j.sd * j.sd) / (PRIOR_JUDGES + n)).sqrt();
        let mean = (all(&|j| j.tie) / n).clamp(-8.0, 8.0);
        spread.tie_sd = (seen(&|j| (j.tie - mean).powi(2) + j.tie_sd * j.tie_sd) / (PRIOR_JUDGES + n)).sqrt();
        spread.tie = mean;
    }
}

fn one(data: &Data, worths: &Worths, at: usize, judge: &mut Judge, spread: &Spread) {
    let (beta_prior, tie_prior) = (1.0 / spread.beta.powi(2), 1.0 / spread.tie_sd.powi(2));
    // One step a round is enough: the worths move too.
    let sums = Sums::of(data, worths, at, judge);
    let slope = [sums.slope - (judge.beta - 1.0) * beta_prior, sums.tie_slope - (judge.tie - spread.tie) * tie_prior];
    let (a, b, c) = (sums.curve + beta_prior, sums.cross, sums.tie_curve + tie_prior);
    let det = a * c - b * b; // positive: a covariance plus a positive diagonal
    judge.beta += ((c * slope[0] - b * slope[1]) / det).clamp(-STEP, STEP);
    judge.tie += ((a * slope[1] - b * slope[0]) / det).clamp(-STEP, STEP);
    // What the verdicts would tell if the worths were known, less what is lost because they are not (Louis 1982): the variance of the slope
    // under the worths' posterior.
    let known = (sums.curve - sums.lost).max(0.1 * sums.curve) + beta_prior;
    let tie_known = (sums.tie_curve - sums.tie_lost).max(0.1 * sums.tie_curve) + tie_prior;
    judge.sd = (1.0 / known).sqrt();
    judge.tie_sd = (1.0 / tie_known).sqrt();
}

/// Expected slopes and curvatures over a judge's verdicts.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    slope: f64,
    curve: f64,
    lost: f64,
    tie_slope: f64,
    tie_curve: f64,
    tie_lost: f64,
    cross: f64,
}

impl Sums {
    fn of(data: &Data, worths: &Worths, at: usize, judge: &Judge) -> Sums {
        let mut sums = Sums::default();
        let nu = judge.tie.exp();
        for index in data.by_judge.of(at) {
            let vote = &data.panel.votes[index as usize];
            let (told, weight) = (data.panel.told(vote), data.weight(index));
            for (i, j, said) in data.panel.pairs(vote) {
                let (mean, sd) = worths.difference(told[i], told[j], 1.0);
                let [mut s, mut ss, mut t, mut tt] = [0.0; 4];
                for (x, mass) in NORMAL {
                    let delta = mean + sd * x;
                    let v = verdict(judge.beta * delta, nu);
                    let (slope, tie) = (delta * v.slope(said), v.tie_slope(said));
                    s += mass * slope;
                    ss += mass * slope * slope;
                    t += mass * tie;
                    tt += mass * tie * tie;
                    sums.curve += weight * mass * delta * delta * v.curve();
                    sums.tie_curve += weight * mass * v.tie_curve();
                    sums.cross += weight * mass * delta * v.cross_curve();
                }
                sums.slope += weight * s;
                sums.tie_slope += weight * t;
                sums.lost += weight * (ss - s * s);
                sums.tie_lost += weight * (tt - t * t);
            }
        }
        sums
    }
}
