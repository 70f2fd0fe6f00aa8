//! Simulated judges. What they should see is the gold reward's parts; what they do see depends on their care, and what they make of it on
//! their taste and on chance.

use super::gold::Gold;
use crate::dice::Dice;

/// One judge.
pub struct Judge {
    /// As written in the rankings.
    pub id: &'static str,
    /// Probability of noticing a missing, wrong or repeated slot, and any fault of the hand.
    pub care: f64,
    /// Standard deviation of the mood, in units of the gold reward.
    pub noise: f64,
    /// Answers closer than this are tied.
    pub tie: f64,
    /// Liking for each ten words.
    pub likes_length: f64,
    /// Liking for a friendly closing, as a multiple of the true one.
    pub likes_closing: f64,
    /// How much the project trusts the judge.
    pub weight: f64,
}

/// All judges.
pub const JUDGES: &[Judge] = &[
    Judge { id: "ada", care: 0.98, noise: 0.15, tie: 0.20, likes_length: 0.0, likes_closing: 1.0, weight: 1.0 },
    Judge { id: "ben", care: 0.92, noise: 0.30, tie: 0.35, likes_length: 0.1, likes_closing: 1.5, weight: 0.9 },
    Judge { id: "cleo", care: 0.95, noise: 0.25, tie: 0.50, likes_length: -0.1, likes_closing: 0.5, weight: 0.9 },
    Judge { id: "dov", care: 0.80, noise: 0.50, tie: 0.25, likes_length: 0.3, likes_closing: 1.0, weight: 0.7 },
    Judge { id: "eve", care: 0.85, noise: 0.40, tie: 0.30, likes_length: -0.3, likes_closing: 2.0, weight: 0.7 },
    Judge { id: "finn", care: 0.55, noise: 0.80, tie: 0.40, likes_length: 0.2, likes_closing: 1.0, weight: 0.4 },
];

impl Judge {
    /// What the answer is worth to this judge on this day.
    pub fn utility(&self, g: &Gold, dice: &mut Dice) -> f64 {
        let mut noticed = |count: usize| (0..count).filter(|_| dice.chance(self.care)).count() as f64;
        let missing = noticed(g.given - g.right);
        let wrong = noticed(g.wrong);
        let repeated = noticed(g.repeated);
        let faults = 0.5 * noticed(g.clumsy) + 0.3 * noticed(g.garbled) + 0.5 * noticed(usize::from(g.unfinished));
        let share = 1.0 - missing / g.given.max(1) as f64;
        let taste = self.likes_length * g.words as f64 / 10.0 + 0.5 * self.likes_closing * f64::from(u8::from(g.friendly));
        let seen = 3.0 * share - wrong - 0.3 * repeated - 0.05 * g.excess as f64 - faults + 0.5 * f64::from(u8::from(g.name_first));
        seen.max(-4.0) + taste + self.noise * dice.normal()
    }

    /// Dense ranks, 1 is best: an answer shares the rank of the one above it when the best of that rank is less than `tie` better.
    pub fn rank(&self, answers: &[Gold], dice: &mut Dice) -> Vec<u32> {
        let worth: Vec<f64> = answers.iter().map(|g| self.utility(g, dice)).collect();
        dense_ranks(&worth, self.tie)
    }
}

/// Dense ranks, 1 is best: who is less than `tie` below the best of a rank shares it.
pub fn dense_ranks(worth: &[f64], tie: f64) -> Vec<u32> {
    let mut order: Vec<usize> = (0..worth.len()).collect();
    order.sort_by(|&a, &b| worth[b].total_cmp(&worth[a]));
    let mut ranks = vec![0; worth.len()];
    let (mut rank, mut head) = (0, f64::INFINITY);
    for i in order {
        if head - worth[i] >= tie {
            (rank, head) = (rank + 1, worth[i]);
        }
        ranks[i] = rank;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::super::gold::gold;
    use super::*;

    #[test]
    fn careful_judges_follow_the_gold_more_than_careless_ones() {
        let prompt = "name: The Blue Fig | kind: cafe | price: cheap | area: harbour";
        let answers = [
            gold(prompt, "The Blue Fig is a cheap cafe at the harbour. See you there!"),
            gold(prompt, "The Blue Fig is an expensive cafe at the harbour. See you there!"),
            gold(prompt, "The Blue Fig is a cheap cafe."),
        ];
        let right = |judge: &Judge| {
            let mut dice = Dice::new(1, judge.id);
            (0..500).filter(|_| judge.rank(&answers, &mut dice)[0] == 1).count()
        };
        let first = right(&JUDGES[0]);
        let last = right(&JUDGES[JUDGES.len() - 1]);
        assert!(first > 480 && last < first - 50 && last > 200, "{first} {last}");
    }

    #[test]
    fn ranks_are_dense_and_ties_happen() {
        let g = gold("kind: cafe", "It is a cafe.");
        let mut dice = Dice::new(2, "ranks");
        for judge in JUDGES {
            for _ in 0..50 {
                let ranks = judge.rank(&[g, g, g, g], &mut dice);
                let most = *ranks.iter().max().unwrap_or(&0);
                assert!((1..=most).all(|r| ranks.contains(&r)));
            }
        }
        let ties = (0..200).filter(|_| JUDGES[2].rank(&[g, g], &mut dice) == [1, 1]).count();
        assert!(ties > 100, "{ties}");
    }
}
