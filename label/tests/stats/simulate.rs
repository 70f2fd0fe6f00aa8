//! Judges of known reliability, who judge answers of known worth.

use data::chat::Message;
use data::labels::{Judgment, Kind};
use rand::RngExt;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

/// A crowd and its work.
pub struct World {
    pub judgments: Vec<Judgment>,
    /// Worth of each item's answers, in the order of its judgments' answers.
    pub worths: Vec<Vec<f64>>,
    /// True reliability of each judge: `j0`, `j1`...
    pub betas: Vec<f64>,
}

/// How the world is made.
pub struct Plan {
    pub items: usize,
    pub answers: usize,
    /// Judges an item.
    pub overlap: usize,
    /// True reliability of each judge: 0 clicks at random, below 0 reads the scale the wrong way round.
    pub betas: Vec<f64>,
    /// Width of the grains in which a judge perceives: answers of one grain are tied. 0 for none.
    pub grain: f64,
    /// Spread of the worths.
    pub spread: f64,
    pub seed: u64,
}

/// A crowd with careful, middling, poor, random and contrary members.
pub fn crowd() -> Vec<f64> {
    let mut betas = Vec::new();
    betas.extend((0..14).map(|i| 1.2 + 0.05 * f64::from(i)));
    betas.extend((0..14).map(|i| 0.5 + 0.05 * f64::from(i)));
    betas.extend([0.3, 0.25, 0.2, 0.3]);
    betas.extend([0.0; 6]);
    betas.extend([-1.0, -0.8]);
    betas
}

/// Perception is worth·β plus Gumbel noise, so that the order is Plackett-Luce's with inverse temperature β; then grains make ties. That is
/// not the model that is fitted, which knows pairs and Davidson's ties. How much a judge works falls as 1/place (Zipf), in random order.
pub fn world(plan: &Plan) -> World {
    let mut dice = ChaCha8Rng::seed_from_u64(plan.seed);
    let mut places: Vec<usize> = (0..plan.betas.len()).collect();
    (1..places.len()).rev().for_each(|i| places.swap(i, dice.random_range(0..=i)));
    let (mut judgments, mut worths) = (Vec::new(), Vec::new());
    for item in 0..plan.items {
        let worth: Vec<f64> = (0..plan.answers).map(|_| plan.spread * normal(&mut dice)).collect();
        let answers: Vec<String> = (0..plan.answers).map(|k| format!("{k} {}", "x".repeat(dice.random_range(1..60)))).collect();
        let mut chosen: Vec<usize> = Vec::new();
        while chosen.len() < plan.overlap.min(plan.betas.len()) {
            let total: f64 = (1..=places.len()).map(|p| 1.0 / (p as f64 + 4.0)).sum();
            let mut left = dice.random::<f64>() * total;
            let judge = places.iter().enumerate().find(|(p, _)| {
                left -= 1.0 / (*p as f64 + 5.0);
                left <= 0.0
            });
            let judge = judge.map_or(places[0], |(_, j)| *j);
            if !chosen.contains(&judge) {
                chosen.push(judge);
            }
        }
        for judge in chosen {
            let seen: Vec<f64> = worth.iter().map(|w| plan.betas[judge] * w - (-dice.random::<f64>().ln()).ln()).collect();
            let grains = |x: &f64| if plan.grain > 0.0 { (x / plan.grain).floor() } else { *x };
            let scores: Vec<f32> = seen.iter().map(|x| grains(x) as f32).collect();
            let mut row = Judgment::new(Kind::Ranking, vec![Message::new("user", &format!("prompt {item}"))], answers.clone());
            row.ranks = Some(data::rankings::ranks_of(&scores));
            row.judge = Some(format!("j{judge}"));
            row.row = judgments.len() as u64 + 1;
            judgments.push(row);
        }
        worths.push(worth);
    }
    World { judgments, worths, betas: plan.betas.clone() }
}

fn normal(dice: &mut ChaCha8Rng) -> f64 {
    // Box-Muller; 1 − u is never 0.
    (-2.0 * (1.0 - dice.random::<f64>()).ln()).sqrt() * (std::f64::consts::TAU * dice.random::<f64>()).cos()
}
