//! BLEU (Papineni et al. 2002, doi 10.3115/1073083.1073135) as sacrebleu computes it (Post 2018, arXiv 1804.08771): of a whole corpus, up to 4-grams, brevity penalty by
//! the closest reference, zero counts smoothed exponentially (`smooth_method = "exp"`).

use super::words::Tokenize;
use serde::Serialize;
use std::collections::HashMap;

/// Longest n-gram.
const ORDER: usize = 4;

/// BLEU and what it is made of.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bleu {
    /// From 0 to 100.
    pub score: f64,
    /// Precision of each n-gram order, in percent.
    pub precisions: [f64; ORDER],
    /// exp(1 − reference/system) where the system's text is shorter, else 1.
    pub brevity_penalty: f64,
    /// Tokens of the system's text.
    pub system_tokens: u64,
    /// Tokens of the closest references.
    pub reference_tokens: u64,
}

/// BLEU of translations, each against one or more references.
pub fn bleu<'a>(rows: impl IntoIterator<Item = (&'a str, &'a [String])>, tokenize: Tokenize) -> Bleu {
    let (mut right, mut all) = ([0u64; ORDER], [0u64; ORDER]);
    let (mut system, mut reference) = (0, 0);
    for (translation, references) in rows {
        let ours = tokenize.tokens(translation);
        let theirs: Vec<Vec<String>> = references.iter().map(|r| tokenize.tokens(r)).collect();
        system += ours.len() as u64;
        // Of two equally close ones sacrebleu takes the shorter.
        let closest = theirs.iter().map(Vec::len).min_by_key(|n| (n.abs_diff(ours.len()), *n));
        reference += closest.unwrap_or(0) as u64;
        for order in 0..ORDER {
            let mut most: HashMap<&[String], u64> = HashMap::new();
            for text in &theirs {
                for (gram, n) in counts(text, order + 1) {
                    let most = most.entry(gram).or_default();
                    *most = n.max(*most);
                }
            }
            for (gram, n) in counts(&ours, order + 1) {
                all[order] += n;
                right[order] += n.min(most.get(gram).copied().unwrap_or(0));
            }
        }
    }
    let brevity_penalty = match (system, reference) {
        (s, r) if s >= r => 1.0,
        (0, _) => 0.0,
        (s, r) => (1.0 - r as f64 / s as f64).exp(),
    };
    let mut precisions = [0.0; ORDER];
    let mut smooth = 1.0;
    if right.iter().any(|&n| n > 0) {
        for order in 0..ORDER {
            match (right[order], all[order]) {
                (_, 0) => break,
                (0, n) => {
                    smooth *= 2.0;
                    precisions[order] = 100.0 / (smooth * n as f64);
                }
                (k, n) => precisions[order] = 100.0 * k as f64 / n as f64,
            }
        }
    }
    let score = match precisions.iter().all(|&p| p > 0.0) {
        true => brevity_penalty * (precisions.iter().map(|p| p.ln()).sum::<f64>() / ORDER as f64).exp(),
        false => 0.0,
    };
    Bleu { score, precisions, brevity_penalty, system_tokens: system, reference_tokens: reference }
}

fn counts(tokens: &[String], order: usize) -> HashMap<&[String], u64> {
    let mut counts = HashMap::new();
    tokens.windows(order).for_each(|gram| *counts.entry(gram).or_default() += 1);
    counts
}
