//! Worths of answers and reliabilities of judges, fitted together.
//!
//! Each answer i has a worth w_i ~ N(0, σ²), each judge j a reliability β_j ~ N(1, τ²) and a readiness to tie t_j ~ N(μ, ρ²); a verdict has the
//! probability of [`davidson`]. β = 1 is the typical judgment, 0 is clicking at random, below 0 is a scale read the wrong way round.
//! A ranking of K answers counts as its K(K−1)/2 pairs, each 2/K times: K−1 verdicts' worth, since its pairs are not independent.
//!
//! Fitted by EM: the worths of a prompt are the hidden variables, with the normal approximation at their mode ([`worths`]); the judges'
//! numbers are estimated under it ([`judges`]), its uncertainty integrated over, so that judges who are alone with an item do not
//! confirm themselves. σ, τ, μ and ρ are estimated with them (empirical Bayes). So judges of few judgments stay near the mean.
//!
//! Why not CrowdBT's mixture η sigmoid(Δ) + (1−η) sigmoid(−Δ) (Chen et al. 2013, doi 10.1145/2433396.2433420): both know random and
//! contrary judges, but β also tells a careful judge from a middling one on *close* pairs, is concave in each block, and its β is the weight
//! that a vote has in the log-odds.

pub mod davidson;
mod judges;
mod worths;

use crate::panel::{Index, NONE, Panel, Place};
use davidson::{NORMAL, Verdict, verdict};
use std::num::NonZero;

/// Rounds at most.
const ROUNDS: usize = 100;
/// Change of any reliability below which the fit has come to rest.
const STILL: f64 = 2e-3;
/// Least σ, in logits: two answers drawn at random are then told apart right in 63% of the cases. Where items have few judges the normal
/// approximation underestimates σ, down to nothing; but that people can tell no answer from another is not what one knows before.
const LEAST: f64 = 0.5;
/// The interval of a normal distribution that holds 95%.
const Z95: f64 = 1.959_963_984_540_054;

/// What to fit.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// All judges alike: what a fit without a judge model gives.
    pub alike: bool,
    /// Votes that are left out, by index; empty for none.
    pub hidden: Vec<bool>,
}

/// A judge's numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judge {
    /// β: 1 is typical, 0 is random.
    pub beta: f64,
    /// Its posterior standard deviation.
    pub sd: f64,
    /// t: readiness to tie, log ν.
    pub tie: f64,
    /// Its posterior standard deviation.
    pub tie_sd: f64,
}

impl Judge {
    /// 95% interval of β.
    pub fn interval(&self) -> [f64; 2] {
        [self.beta - Z95 * self.sd, self.beta + Z95 * self.sd]
    }
}

/// The spreads that hold for all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// σ of worths.
    pub worth: f64,
    /// τ of reliabilities.
    pub beta: f64,
    /// μ of readiness to tie.
    pub tie: f64,
    /// ρ of readiness to tie.
    pub tie_sd: f64,
}

/// A fit.
#[derive(Debug)]
pub struct Fit {
    /// Judges, as in the panel.
    pub judges: Vec<Judge>,
    /// The spreads.
    pub spread: Spread,
    /// Rounds until it rested.
    pub rounds: usize,
    /// Largest change of a reliability in the last round.
    pub change: f64,
    /// Votes of each judge on prompts that another judge has voted on too: what the reliability is read from.
    pub compared: Vec<u64>,
    hidden: worths::Worths,
    by_item: Index,
}

/// An item as everybody sees it together.
#[derive(Debug, Clone, PartialEq)]
pub struct Soft {
    /// The row that told of it first.
    pub first: Place,
    /// Each answer: a row that has it, and which of the row's answers it is. First those of `first`, in its order.
    pub answers: Vec<(Place, u32)>,
    /// Their worths in logits.
    pub worth: Vec<f32>,
    /// The sum of the judges' weights (times the rows' own).
    pub weight: f32,
}

/// Fits. `tick` hears of each round: its number and the largest change.
pub fn fit(panel: &Panel, options: &Options, mut tick: impl FnMut(usize, f64)) -> Fit {
    let used = |i: usize| {
        let vote = &panel.votes[i];
        panel.told(vote).len() > 1 && !options.hidden.get(i).copied().unwrap_or(false)
    };
    let votes: Vec<u32> = (0..panel.votes.len()).filter(|i| used(*i)).map(|i| i as u32).collect();
    let by_prompt = index(panel.prompts(), &votes, |v| panel.votes[v as usize].prompt);
    // A judge alone with a prompt shows no reliability there: only shared prompts do.
    let shared: Vec<bool> = (0..panel.prompts()).map(|p| several(by_prompt.of(p).map(|v| panel.votes[v as usize].judge))).collect();
    let compared: Vec<u32> = votes.into_iter().filter(|v| shared[panel.votes[*v as usize].prompt as usize]).collect();
    let data = Data {
        panel,
        by_judge: index(panel.judges.len(), &compared, |v| panel.votes[v as usize].judge),
        by_prompt,
        threads: std::thread::available_parallelism().map_or(1, NonZero::get).min(16),
    };
    let mut spread = Spread { worth: 1.0, beta: 0.5, tie: data.tie_at_start(), tie_sd: 0.7 };
    let typical = Judge { beta: 1.0, sd: spread.beta, tie: spread.tie, tie_sd: spread.tie_sd };
    let mut judges = vec![typical; panel.judges.len()];
    let mut hidden = worths::Worths::new(panel);
    let (mut rounds, mut change) = (0, f64::INFINITY);
    while rounds < ROUNDS && change > STILL {
        hidden.update(&data, &judges, &spread, if rounds == 0 { 8 } else { 2 });
        let before: Vec<f64> = judges.iter().map(|j| j.beta).collect();
        let old = spread.worth;
        spread.worth = hidden.spread(&data).unwrap_or(spread.worth).clamp(LEAST, 20.0);
        judges::update(&data, &hidden, &mut judges, &mut spread, options.alike);
        if !options.alike {
            // Twice the worths with half the reliabilities say the same: the typical judgment's reliability is 1 (as parameter expansion of EM,
            // Liu, Rubin & Wu 1998, it also hastens the fit).
            let scale = data.mean_beta(&judges).clamp(0.5, 2.0);
            let compared = judges.iter_mut().enumerate().filter(|(j, _)| !data.by_judge.index.of(*j).is_empty());
            compared.for_each(|(_, j)| j.beta /= scale);
            spread.worth *= scale;
            hidden.scale(scale);
        }
        rounds += 1;
        change = judges.iter().zip(&before).map(|(j, b)| (j.beta - b).abs()).fold((spread.worth - old).abs(), f64::max);
        tick(rounds, change);
    }
    hidden.update(&data, &judges, &spread, 4);
    let compared = (0..judges.len()).map(|j| data.by_judge.index.of(j).len() as u64).collect();
    Fit { judges, spread, rounds, change, compared, hidden, by_item: panel.by_item() }
}

/// The votes that are used, in two orders.
struct Data<'a> {
    panel: &'a Panel,
    by_prompt: Members,
    by_judge: Members,
    threads: usize,
}

/// Votes of each class.
struct Members {
    index: Index,
    votes: Vec<u32>,
}

impl Members {
    fn of(&self, class: usize) -> impl Iterator<Item = u32> + '_ {
        self.index.of(class).iter().map(|i| self.votes[*i as usize])
    }

    /// Classes cut into `parts` runs of about equal work.
    fn parts(&self, parts: usize, work: impl Fn(u32) -> usize) -> Vec<std::ops::Range<usize>> {
        let works: Vec<usize> = (0..self.index.len()).map(|c| 1 + self.of(c).map(&work).sum::<usize>()).collect();
        let share = works.iter().sum::<usize>() / parts.max(1) + 1;
        let (mut ranges, mut begin, mut sum) = (Vec::new(), 0, 0);
        for (c, work) in works.iter().enumerate() {
            sum += work;
            if sum >= share || c + 1 == works.len() {
                ranges.push(begin..c + 1);
                (begin, sum) = (c + 1, 0);
            }
        }
        ranges
    }
}

/// True of two votes by different judges, or by unnamed ones.
fn several(mut judges: impl Iterator<Item = u32>) -> bool {
    let first = judges.next();
    judges.any(|j| j == NONE || Some(j) != first)
}

fn index(classes: usize, votes: &[u32], class_of: impl Fn(u32) -> u32 + Clone) -> Members {
    Members { index: Index::new(classes, votes.iter().map(move |v| class_of(*v))), votes: votes.to_vec() }
}

impl Data<'_> {
    /// How much each pair of a vote counts.
    fn weight(&self, vote: u32) -> f64 {
        let vote = &self.panel.votes[vote as usize];
        f64::from(vote.weight) * 2.0 / self.panel.told(vote).len() as f64
    }

    /// Pairs of a vote, as work to share out.
    fn work(&self, vote: u32) -> usize {
        let k = self.panel.told(&self.panel.votes[vote as usize]).len();
        k * (k - 1) / 2
    }

    /// t that gives the share of ties when all answers are equally good.
    fn tie_at_start(&self) -> f64 {
        let all = self.by_prompt.votes.iter().flat_map(|v| self.panel.pairs(&self.panel.votes[*v as usize]));
        let (tied, n) = all.fold((0.5, 1.0), |(tied, n), (_, _, said)| (tied + f64::from(said == 0), n + 1.0));
        (2.0 * tied / (n - tied)).ln().clamp(-6.0, 4.0)
    }

    /// Mean reliability, over judgments.
    fn mean_beta(&self, judges: &[Judge]) -> f64 {
        let counts = |j: usize| self.by_judge.index.of(j).len() as f64;
        let (sum, n) = judges.iter().enumerate().fold((0.0, 0.0), |(s, n), (j, judge)| (s + counts(j) * judge.beta, n + counts(j)));
        if n > 0.0 { sum / n } else { 1.0 }
    }
}

impl Fit {
    /// Worth of an answer in logits: posterior mode.
    pub fn worth(&self, answer: u32) -> f64 {
        self.hidden.mean(answer)
    }

    /// The judge at this index; the typical one for [`NONE`].
    pub fn judge(&self, judge: u32) -> Judge {
        let Spread { beta, tie, tie_sd, .. } = self.spread;
        self.judges.get(judge as usize).copied().unwrap_or(Judge { beta: 1.0, sd: beta, tie, tie_sd })
    }

    /// How much a judge's word counts: β, but never nothing, as weights are positive. The typical judge's for [`NONE`].
    pub fn weight(&self, judge: u32) -> f64 {
        if judge == NONE { 1.0 } else { self.judge(judge).beta.max(0.01) }
    }

    /// The item's answers with their worths; `None` where nobody has compared any.
    pub fn soft(&self, panel: &Panel, item: usize) -> Option<Soft> {
        let votes = self.by_item.of(item).iter().map(|v| &panel.votes[*v as usize]).filter(|v| panel.told(v).len() > 1);
        let weight: f64 = votes.map(|v| f64::from(v.weight) * self.weight(v.judge)).sum();
        let item = &panel.items[item];
        (weight > 0.0).then(|| Soft {
            first: item.first,
            answers: item.answers.iter().map(|a| panel.answers[*a as usize].first).collect(),
            worth: item.answers.iter().map(|a| self.worth(*a) as f32).collect(),
            weight: weight as f32,
        })
    }

    /// What a judge would say of two answers to one prompt, the worths' uncertainty integrated over.
    pub fn predict(&self, a: u32, b: u32, judge: u32) -> Verdict {
        let (mean, sd) = self.hidden.difference(a, b, self.spread.worth);
        let judge = self.judge(judge);
        let nu = judge.tie.exp();
        let mut all = Verdict { a: 0.0, tied: 0.0, b: 0.0 };
        for (x, weight) in NORMAL {
            let v = verdict(judge.beta * (mean + sd * x), nu);
            all.a += weight * v.a;
            all.tied += weight * v.tied;
            all.b += weight * v.b;
        }
        all
    }

    /// How often a judge of reliability `beta` prefers the truly better of two answers drawn at random, when not calling them tied: the mean of
    /// sigmoid(β|Δ|) over Δ ~ N(0, 2σ²). ½ is guessing.
    pub fn accuracy(&self, beta: f64) -> f64 {
        // Middles of 512 equal slices of probability would need the normal quantile: a fine trapezium over the density does as well.
        let sd = self.spread.worth * std::f64::consts::SQRT_2;
        let (mut sum, mut mass) = (0.0, 0.0);
        for i in 0..600 {
            let z = 0.01 * (f64::from(i) + 0.5);
            let density = (-z * z / 2.0).exp();
            sum += density / (1.0 + (-beta * sd * z).exp());
            mass += density;
        }
        sum / mass
    }
}
