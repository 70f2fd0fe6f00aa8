//! Intervals of statistics that are functions of sums: the groups of prompts are drawn anew, with replacement, a thousand times.
//!
//! Every statistic here is a smooth function of sums over groups (right and all comparisons; the parts of alpha). So a resample costs one
//! addition a group, however many judgments stand behind it. Judgments of one prompt stand or fall together (cluster bootstrap, Davison &
//! Hinkley 1997, section 3.8); the interval is the percentile one, at 95%.

use figures::stats::{RESAMPLES, wilson};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::Serialize;

/// Groups are drawn one by one up to this number; more are dealt into so many blocks at random, which are then drawn. Blocks of
/// independent groups have the variance of their groups, so the interval's width is right, to the 1% that 4096 of them leave.
const BLOCKS: usize = 4096;

/// A number with its uncertainty.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// The number.
    pub value: f64,
    /// 95% interval.
    pub ci: [f64; 2],
    /// What was counted: comparisons, judgments, units.
    pub n: u64,
}

/// Which block the groups are in.
#[derive(Debug)]
pub struct Blocks {
    of: Vec<u32>,
    count: usize,
    seed: u64,
}

impl Blocks {
    /// Deals prompts into blocks by their groups.
    pub fn new(group_of: &[u32], seed: u64) -> Blocks {
        let groups = group_of.iter().map(|g| g + 1).max().unwrap_or(0) as usize;
        let mut block: Vec<u32> = (0..groups as u32).collect();
        if groups > BLOCKS {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            (1..groups).rev().for_each(|i| block.swap(i, below(&mut rng, i + 1))); // Fisher-Yates
            block.iter_mut().for_each(|b| *b %= BLOCKS as u32);
        }
        Blocks { of: group_of.iter().map(|g| block[*g as usize]).collect(), count: groups.min(BLOCKS), seed }
    }

    /// Empty sums.
    pub fn sums<const N: usize>(&self) -> Sums<N> {
        Sums { blocks: vec![[0.0; N]; self.count], seed: self.seed }
    }

    /// The block of a prompt.
    pub fn of(&self, prompt: u32) -> usize {
        self.of[prompt as usize] as usize
    }
}

/// N sums a block.
#[derive(Debug, Clone)]
pub struct Sums<const N: usize> {
    blocks: Vec<[f64; N]>,
    seed: u64,
}

impl<const N: usize> Sums<N> {
    /// Adds to a block.
    pub fn add(&mut self, block: usize, parts: [f64; N]) {
        self.blocks[block].iter_mut().zip(parts).for_each(|(sum, part)| *sum += part);
    }

    /// The sums over all blocks.
    pub fn total(&self) -> [f64; N] {
        sum(self.blocks.iter())
    }

    /// A statistic of the sums with its interval; `None` where it is not defined. `n` counts what stands behind it.
    pub fn estimate(&self, n: u64, statistic: impl Fn(&[f64; N]) -> Option<f64>) -> Option<Estimate> {
        let value = statistic(&self.total()).filter(|v| v.is_finite())?;
        let blocks: Vec<&[f64; N]> = self.blocks.iter().filter(|b| b.iter().any(|x| *x != 0.0)).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let draw = |_| statistic(&sum((0..blocks.len()).map(|_| blocks[below(&mut rng, blocks.len())])));
        let mut values: Vec<f64> = (0..RESAMPLES).filter_map(draw).filter(|v| v.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let at = |q: f64| values.get(((values.len().max(1) - 1) as f64 * q).round() as usize).copied().unwrap_or(value);
        Some(Estimate { value, ci: [at(0.025), at(0.975)], n })
    }
}

impl Sums<2> {
    /// First over second sum; `n` is the second.
    pub fn ratio(&self) -> Option<Estimate> {
        self.estimate(self.total()[1].round() as u64, |[a, b]| (*b > 0.0).then(|| a / b))
    }

    /// The same of a share. Where none or all of the cases are so, no resample differs: Wilson's interval then says how little is known.
    pub fn share(&self) -> Option<Estimate> {
        let [yes, n] = self.total();
        let estimate = self.ratio()?;
        let certain = yes == 0.0 || yes == n;
        Some(Estimate { ci: if certain { wilson(yes, n as u64)? } else { estimate.ci }, ..estimate })
    }
}

fn sum<'a, const N: usize>(blocks: impl Iterator<Item = &'a [f64; N]>) -> [f64; N] {
    blocks.fold([0.0; N], |mut total, block| {
        total.iter_mut().zip(block).for_each(|(t, x)| *t += x);
        total
    })
}

/// A uniform index below `n`, by multiplication (Lemire, arXiv 1805.10941).
fn below(rng: &mut ChaCha8Rng, n: usize) -> usize {
    ((u128::from(rng.next_u64()) * n as u128) >> 64) as usize
}
