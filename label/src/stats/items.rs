//! What is counted item by item: rank correlations, ranks and scores for alpha, and checks against known orders.

use super::alpha::Units;
use super::interval::{Blocks, Sums};
use super::kendall::{mid_ranks, tau_b, w};
use super::pairs::Share;
use judges::panel::{NONE, Panel, Vote};
use std::collections::HashSet;

/// Sums over items.
#[derive(Debug)]
pub struct ItemSums {
    /// Kendall's tau-b between two judges of an item (the first hundred of it); all comparisons in which both told answers apart.
    pub tau: Sums<2>,
    /// Comparisons in which a judge tied everything: tau-b is not defined.
    pub tau_undefined: u64,
    /// Kendall's W of the judges of an item; items in which it is defined.
    pub w: Sums<2>,
    /// Ranks that judges gave to the answers of an item, for alpha.
    pub ranks: Units,
    /// Scores that they gave, for alpha.
    pub scores: Units,
    /// Pairs of gold items that a judge orders as the key does; ties count half.
    pub gold: Sums<2>,
    /// The same by judge.
    pub gold_by_judge: Vec<Share>,
    /// Items by the number of their judges: 0, 1, 2...; the last entry holds all with more.
    pub overlap: Vec<u64>,
    /// Votes on a part of their item's answers only; correlations and alpha of ranks leave them out.
    pub partial: u64,
}

/// Longest list of [`ItemSums::overlap`].
const OVERLAP: usize = 12;

/// Judges of one item who are compared two by two: their pairs grow with the square.
const MOST: usize = 100;

/// Goes through all items. A judge counts once an item, by the first row; rows without a judge's name are so many judges.
pub fn count(panel: &Panel, blocks: &Blocks) -> ItemSums {
    let mut sums = ItemSums {
        tau: blocks.sums(),
        tau_undefined: 0,
        w: blocks.sums(),
        ranks: Units::default(),
        scores: Units::default(),
        gold: blocks.sums(),
        gold_by_judge: vec![Share::default(); panel.judges.len()],
        overlap: vec![0; OVERLAP + 1],
        partial: 0,
    };
    let by_item = panel.by_item();
    for (at, item) in panel.items.iter().enumerate() {
        let block = blocks.of(item.prompt);
        let (mut votes, mut seen): (Vec<&Vote>, HashSet<u32>) = (Vec::new(), HashSet::new());
        for vote in by_item.of(at).iter().map(|v| &panel.votes[*v as usize]) {
            if !item.gold.is_empty() {
                sums.gold(panel, block, &item.gold, vote);
            }
            if vote.judge == NONE || seen.insert(vote.judge) {
                votes.push(vote);
            }
        }
        if item.answers.len() > 1 {
            sums.overlap[votes.len().min(OVERLAP)] += 1;
        }
        sums.scores(panel, item.prompt, &votes);
        let mut whole = item.answers.clone();
        whole.sort_unstable();
        // Each ranking in the order of the answers' numbers, so that they stand side by side.
        let mut rankings: Vec<Vec<f64>> = Vec::with_capacity(votes.len());
        for vote in votes.iter().filter(|v| panel.told(v).len() > 1) {
            let mut told: Vec<(u32, f64)> = panel.told(vote).iter().copied().zip(mid_ranks(panel.ranks(vote))).collect();
            told.sort_by_key(|t| t.0);
            if told.iter().map(|t| t.0).eq(whole.iter().copied()) {
                rankings.push(told.into_iter().map(|t| t.1).collect());
            } else {
                sums.partial += 1;
            }
        }
        sums.correlations(block, &rankings);
        for i in 0..rankings.first().map_or(0, Vec::len) {
            sums.ranks.push(item.prompt, rankings.iter().map(|r| r[i] as f32));
        }
    }
    sums
}

impl ItemSums {
    fn correlations(&mut self, block: usize, rankings: &[Vec<f64>]) {
        for (i, a) in rankings.iter().take(MOST).enumerate() {
            for b in &rankings[..i] {
                match tau_b(a, b) {
                    Some(tau) => self.tau.add(block, [tau, 1.0]),
                    None => self.tau_undefined += 1,
                }
            }
        }
        if let Some(w) = w(rankings) {
            self.w.add(block, [w, 1.0]);
        }
    }

    fn scores(&mut self, panel: &Panel, prompt: u32, votes: &[&Vote]) {
        let mut scored: Vec<(u32, f32)> = votes
            .iter()
            .flat_map(|v| panel.told(v).iter().copied().zip(panel.scores(v).iter().copied()))
            .filter(|(_, score)| !score.is_nan())
            .collect();
        scored.sort_by_key(|s| s.0);
        for same in scored.chunk_by(|a, b| a.0 == b.0) {
            self.scores.push(prompt, same.iter().map(|s| s.1));
        }
    }

    fn gold(&mut self, panel: &Panel, block: usize, key: &[(u32, u32)], vote: &Vote) {
        let of = |answer: u32| panel.told(vote).iter().position(|a| *a == answer).map(|at| panel.ranks(vote)[at]);
        for (i, (a, rank_a)) in key.iter().enumerate() {
            for (b, rank_b) in key[..i].iter().filter(|(b, r)| b != a && r != rank_a) {
                let Some((x, y)) = of(*a).zip(of(*b)) else { continue };
                let right = if x == y { 0.5 } else { f64::from((x < y) == (rank_a < rank_b)) };
                self.gold.add(block, [right, 1.0]);
                if let Some(share) = self.gold_by_judge.get_mut(vote.judge as usize) {
                    share.add(right);
                }
            }
        }
    }
}
