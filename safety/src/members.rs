//! Membership inference by loss (Yeom et al. 2018, arXiv 1709.01604): can a text be told to have been in the training set by how little it surprises the model?

use anyhow::Result;
use data::tokenizer::Tokenizer;
use evaluate::lm::{self, Sequence};
use model::Model;
use program::refuse;
use rand::RngExt;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use serde::Serialize;

/// Resamples for the interval.
const RESAMPLES: usize = 500;

/// How well members can be told from others.
#[derive(Debug, Clone, Serialize)]
pub struct Inference {
    /// Texts that were trained on.
    pub members: usize,
    /// Texts that were not.
    pub others: usize,
    /// Mean nats a token of either.
    pub loss: [f64; 2],
    /// P(a member's loss is below another's), ties half: 0.5 tells nothing.
    pub auc: f64,
    /// 95% bootstrap interval over texts.
    pub auc_ci: [f64; 2],
    /// Share of members found where 1% and 10% of the others are taken for members.
    pub found_at: [f64; 2],
}

/// Mean surprise of every text, its first `context` tokens; texts of one token are left out.
fn losses(model: &Model, tokenizer: &Tokenizer, texts: &[String]) -> Result<Vec<f64>> {
    let longest = model.config().context + 1;
    let mut ids = texts.iter().map(|text| tokenizer.encode(text)).collect::<Result<Vec<_>, _>>()?;
    ids.iter_mut().for_each(|ids| ids.truncate(longest));
    ids.retain(|ids| ids.len() > 1);
    let rows: Vec<Sequence> = ids.iter().map(|ids| Sequence::all(ids)).collect();
    let nats = lm::token_nll(model, &rows, 0)?;
    Ok(nats.iter().map(|row| row.iter().map(|(_, nats)| nats).sum::<f64>() / row.len() as f64).collect())
}

/// Area under the curve: the share of (member, other) pairs in which the member has the lower loss.
fn auc(members: &[f64], others: &[f64]) -> f64 {
    let mut sorted = others.to_vec();
    sorted.sort_by(f64::total_cmp);
    let wins = |m: f64| {
        let above = sorted.len() - sorted.partition_point(|&o| o <= m);
        let equal = sorted.partition_point(|&o| o <= m) - sorted.partition_point(|&o| o < m);
        above as f64 + equal as f64 / 2.0
    };
    members.iter().map(|&m| wins(m)).sum::<f64>() / (members.len() * others.len()) as f64
}

/// Share of members below the loss that `rate` of the others are below.
fn found_at(members: &[f64], others: &[f64], rate: f64) -> f64 {
    let mut sorted = others.to_vec();
    sorted.sort_by(f64::total_cmp);
    let threshold = sorted[(rate * sorted.len() as f64) as usize];
    members.iter().filter(|&&m| m < threshold).count() as f64 / members.len() as f64
}

/// Compares the losses of texts seen in training with those of texts that were not.
pub fn infer(model: &Model, tokenizer: &Tokenizer, seen: &[String], unseen: &[String], seed: u64) -> Result<Inference> {
    let (members, others) = (losses(model, tokenizer, seen)?, losses(model, tokenizer, unseen)?);
    if members.len() < 2 || others.len() < 2 {
        refuse!("two texts of two tokens are wanted on either side: {} and {}", members.len(), others.len());
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut again = |of: &[f64]| (0..of.len()).map(|_| of[rng.random_range(0..of.len())]).collect::<Vec<_>>();
    let mut drawn: Vec<f64> = (0..RESAMPLES).map(|_| auc(&again(&members), &again(&others))).collect();
    drawn.sort_by(f64::total_cmp);
    let at = |share: f64| drawn[((share * RESAMPLES as f64) as usize).min(RESAMPLES - 1)];
    let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len() as f64;
    Ok(Inference {
        members: members.len(),
        others: others.len(),
        loss: [mean(&members), mean(&others)],
        auc: auc(&members, &others),
        auc_ci: [at(0.025), at(0.975)],
        found_at: [0.01, 0.1].map(|rate| found_at(&members, &others, rate)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_by_hand() {
        assert_eq!(auc(&[1.0, 2.0], &[3.0, 4.0]), 1.0);
        assert_eq!(auc(&[3.0, 4.0], &[1.0, 2.0]), 0.0);
        assert_eq!(auc(&[1.0, 3.0], &[2.0, 3.0]), (1.0 + 1.0 + 0.5) / 4.0);
        let others: Vec<f64> = (0..100).map(f64::from).collect();
        assert_eq!(found_at(&[0.5, 5.0, 50.0, 9.5], &others, 0.1), 0.75);
    }
}
