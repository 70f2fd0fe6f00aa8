//! Does it pay to choose what people are asked? Answered where the truth is known and everything else is simple: answers are vectors, the true worth is
//! linear in them, judges rank with Gumbel noise (so pairs are Bradley-Terry), a reward model is the ridge estimate from the pairs of their rankings.
//!
//! D features; a model is its weights `[D]`.

use label::choose::{Choose, Plan, Scores, choose};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What differs between the worlds.
#[derive(Clone, Copy)]
struct World {
    features: usize,
    /// Answers a judge ranks at a time.
    k: usize,
    /// Items to start with, and as many again that are chosen.
    items: usize,
    /// True logits by this: low means that judges are often wrong.
    care: f64,
    /// Prompts differ in how far apart their answers are.
    uneven: bool,
}

const PROMPTS: usize = 300;
const DRAW: usize = 8;
const ENSEMBLE: usize = 4;
const TEST_PAIRS: usize = 2000;

struct Dice(ChaCha8Rng);

impl Dice {
    fn unit(&mut self) -> f64 {
        ((self.0.next_u64() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    fn below(&mut self, n: usize) -> usize {
        (self.unit() * n as f64) as usize
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (2.0 * std::f64::consts::PI * self.unit()).cos()
    }

    fn vector(&mut self, n: usize, spread: f64) -> Vec<f64> {
        (0..n).map(|_| spread * self.normal()).collect()
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// Answers `[count][D]` to a prompt.
fn answers(world: &World, count: usize, dice: &mut Dice) -> Vec<Vec<f64>> {
    let spread = if world.uneven { (0.5 * dice.normal()).exp() } else { 1.0 };
    (0..count).map(|_| dice.vector(world.features, 1.5 * spread)).collect()
}

/// A judge's ranking as differences better − worse of all pairs.
fn judged(answers: &[Vec<f64>], truth: &[f64], care: f64, dice: &mut Dice) -> Vec<Vec<f64>> {
    let felt: Vec<f64> = answers.iter().map(|x| care * dot(x, truth) - (-dice.unit().ln()).ln()).collect();
    let mut order: Vec<usize> = (0..answers.len()).collect();
    order.sort_by(|a, b| felt[*b].total_cmp(&felt[*a]));
    let pairs = (0..order.len()).flat_map(|i| (i + 1..order.len()).map(move |j| (i, j)));
    pairs.map(|(i, j)| answers[order[i]].iter().zip(&answers[order[j]]).map(|(a, b)| a - b).collect()).collect()
}

/// argmax Σ log sigmoid(w·d) − |w|²/2 by Newton's steps.
fn fit(differences: &[Vec<f64>], n: usize) -> Vec<f64> {
    let mut w = vec![0.0; n];
    for _ in 0..12 {
        let mut gradient: Vec<f64> = w.iter().map(|x| -x).collect();
        let mut hessian = vec![vec![0.0; n]; n];
        (0..n).for_each(|i| hessian[i][i] = 1.0);
        for d in differences {
            let p = 1.0 / (1.0 + (-dot(d, &w)).exp());
            for i in 0..n {
                gradient[i] += (1.0 - p) * d[i];
                (0..n).for_each(|j| hessian[i][j] += p * (1.0 - p) * d[i] * d[j]);
            }
        }
        let step = solve(hessian, gradient);
        w.iter_mut().zip(step).for_each(|(w, s)| *w += s);
    }
    w
}

/// Gauss's elimination; the matrix is positive definite, so no pivoting.
#[allow(clippy::needless_range_loop)] // two rows of one matrix
fn solve(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
    let n = b.len();
    for i in 0..n {
        for j in i + 1..n {
            let factor = a[j][i] / a[i][i];
            for k in i..n {
                a[j][k] -= factor * a[i][k];
            }
            b[j] -= factor * b[i];
        }
    }
    for i in (0..n).rev() {
        b[i] = (b[i] - (i + 1..n).map(|j| a[i][j] * b[j]).sum::<f64>()) / a[i][i];
    }
    b
}

const ARMS: [(&str, Option<Choose>); 5] = [
    ("start only", None),
    ("random", Some(Choose::Random)),
    ("uncertain", Some(Choose::Uncertain)),
    ("disagree", Some(Choose::Disagree)),
    ("mixed", Some(Choose::Mixed)),
];

/// Accuracy against the truth of a model from each arm's judgments.
fn round(world: &World, seed: u64) -> [f64; ARMS.len()] {
    let mut dice = Dice(ChaCha8Rng::seed_from_u64(seed));
    let n = world.features;
    let truth = dice.vector(n, 1.0 / (n as f64).sqrt());
    let test: Vec<Vec<Vec<f64>>> = (0..TEST_PAIRS).map(|_| answers(world, 2, &mut dice)).collect();
    let accuracy = |w: &[f64]| {
        let right = test.iter().filter(|t| (dot(&t[0], w) > dot(&t[1], w)) == (dot(&t[0], &truth) > dot(&t[1], &truth)));
        right.count() as f64 / TEST_PAIRS as f64
    };
    let start: Vec<Vec<Vec<f64>>> = (0..world.items)
        .map(|_| {
            let answers = answers(world, world.k, &mut dice);
            judged(&answers, &truth, world.care, &mut dice)
        })
        .collect();
    let ensemble: Vec<Vec<f64>> = (0..ENSEMBLE)
        .map(|_| {
            let bag: Vec<Vec<f64>> = (0..world.items).flat_map(|_| start[dice.below(world.items)].clone()).collect();
            fit(&bag, n)
        })
        .collect();
    let pool: Vec<Vec<Vec<f64>>> = (0..PROMPTS).map(|_| answers(world, DRAW, &mut dice)).collect();
    let score = |answers: &Vec<Vec<f64>>| ensemble.iter().map(|w| answers.iter().map(|x| dot(x, w) as f32).collect()).collect();
    let scores: Vec<Scores> = pool.iter().map(score).collect();
    ARMS.map(|(_, how)| {
        let mut all: Vec<Vec<f64>> = start.iter().flatten().cloned().collect();
        if let Some(how) = how {
            let plan = Plan { choose: how, items: world.items, k: world.k, share_random: 0.25, seed };
            for chosen in choose(&[DRAW; PROMPTS], &scores, &plan) {
                let shown: Vec<Vec<f64>> = chosen.answers.iter().map(|&i| pool[chosen.item][i].clone()).collect();
                all.extend(judged(&shown, &truth, world.care, &mut dice));
            }
        }
        accuracy(&fit(&all, n))
    })
}

/// Per arm the mean accuracy, the mean difference to chance and its 95% half-width, in per cent; printed.
fn table(name: &str, world: &World, seeds: u64) -> Vec<(f64, f64, f64)> {
    let rounds: Vec<[f64; ARMS.len()]> = (1..=seeds).map(|seed| round(world, seed)).collect();
    let figures = |arm: usize| {
        let differences: Vec<f64> = rounds.iter().map(|r| 100.0 * (r[arm] - r[1])).collect();
        let mean = |list: &[f64]| evaluate::stats::mean(list).unwrap_or_default();
        let half = 1.96 * evaluate::stats::std(&differences).unwrap_or_default() / (seeds as f64).sqrt();
        (100.0 * mean(&rounds.iter().map(|r| r[arm]).collect::<Vec<_>>()), mean(&differences), half)
    };
    let all: Vec<(f64, f64, f64)> = (0..ARMS.len()).map(figures).collect();
    for ((arm, _), (accuracy, difference, half)) in ARMS.iter().zip(&all) {
        println!("{name} | {arm} | {accuracy:.1}% | {difference:+.1} ± {half:.1}");
    }
    all
}

#[test]
fn disputed_items_teach_more_than_items_by_chance() {
    let uneven = World { features: 16, k: 4, items: 30, care: 1.0, uneven: true };
    let worlds = [
        ("answers of uneven spread", uneven),
        ("the same, careless judges", World { care: 0.5, ..uneven }),
        ("the same, pairs", World { k: 2, items: 60, ..uneven }),
        ("answers of even spread", World { uneven: false, ..uneven }),
    ];
    let results: Vec<Vec<(f64, f64, f64)>> = worlds.iter().map(|(name, world)| table(name, world, 60)).collect();
    for ((name, _), arms) in worlds.iter().zip(&results).take(2) {
        let (_, gain, half) = arms[3];
        assert!(gain - half > 0.0, "{name}: {gain:+.2} ± {half:.2} points");
        assert!(arms[1].0 > arms[0].0 + 1.0, "{name}: more judgments help");
    }
    // Near a tie there may be nothing to see: where prompts differ in spread, the least certain are those whose answers are alike.
    assert!(results[0][2].1 < results[0][3].1 && results[1][2].1 < results[1][3].1);
}
