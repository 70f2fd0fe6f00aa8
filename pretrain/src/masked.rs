//! Masked tokens (BERT, arXiv 1810.04805, section 3.1): of a row between [CLS] and [SEP] a share is chosen to be predicted; of these 80% are replaced by [MASK],
//! 10% by a random token, and 10% stay.
//!
//! Every draw is seeded by its place, so a resumed run makes the same ones; a row read again in a later epoch is masked anew.

use anyhow::{Result, anyhow};
use data::tokenizer::Tokenizer;
use model::sample::uniform;

/// Special tokens around a row.
pub const FRAME: usize = 2;

/// A row with some of its tokens masked.
#[derive(Debug, PartialEq, Eq)]
pub struct MaskedRow {
    /// [CLS], the tokens, [SEP].
    pub ids: Vec<u32>,
    /// Chosen places in it, in order.
    pub places: Vec<usize>,
    /// What stood there.
    pub targets: Vec<u32>,
}

/// How rows are masked.
#[derive(Debug, Clone)]
pub struct Masker {
    cls: u32,
    sep: u32,
    mask: u32,
    /// Tokens that are not special: what random ones are drawn from.
    words: Vec<u32>,
    special: Vec<u32>,
    /// Share of the tokens that are predicted.
    share: f64,
}

impl Masker {
    /// For a tokenizer that knows [CLS], [SEP] and [MASK].
    pub fn new(tokenizer: &Tokenizer, share: f64) -> Result<Masker> {
        let missing =
            |what: &str| anyhow!("objective: the tokenizer has no {what} token: take tokenizer.kind = \"wordpiece\", or BERT's own");
        let special = tokenizer.special_ids();
        let words = (0..tokenizer.vocab_size() as u32).filter(|id| !special.contains(id)).collect();
        Ok(Masker {
            cls: tokenizer.bos().ok_or_else(|| missing("[CLS]"))?,
            sep: tokenizer.eos(),
            mask: tokenizer.mask().ok_or_else(|| missing("[MASK]"))?,
            words,
            special,
            share,
        })
    }

    /// How many of `tokens` are predicted: at least one.
    pub fn count(&self, tokens: usize) -> usize {
        ((tokens as f64 * self.share).round() as usize).clamp(1, tokens)
    }

    /// Masks a row. Special tokens in it (ends of documents) are chosen only where nothing else is left.
    pub fn mask(&self, tokens: &[u32], seed: u64) -> MaskedRow {
        let mut order: Vec<usize> = (0..tokens.len()).collect();
        let drawn: Vec<(bool, f64)> =
            tokens.iter().enumerate().map(|(i, id)| (self.special.contains(id), uniform(seed, 0, i as u64))).collect();
        order.sort_by(|&a, &b| drawn[a].0.cmp(&drawn[b].0).then(drawn[a].1.total_cmp(&drawn[b].1)));
        order.truncate(self.count(tokens.len()));
        order.sort_unstable();
        let mut ids = Vec::with_capacity(tokens.len() + FRAME);
        ids.push(self.cls);
        ids.extend_from_slice(tokens);
        ids.push(self.sep);
        for &i in &order {
            ids[i + 1] = match uniform(seed, 1, i as u64) {
                u if u < 0.8 => self.mask,
                u if u < 0.9 => self.words[(uniform(seed, 2, i as u64) * self.words.len() as f64) as usize],
                _ => tokens[i],
            };
        }
        MaskedRow { ids, targets: order.iter().map(|&i| tokens[i]).collect(), places: order.into_iter().map(|i| i + 1).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masker() -> Masker {
        Masker { cls: 2, sep: 3, mask: 4, words: (5..105).collect(), special: vec![0, 1, 2, 3, 4], share: 0.15 }
    }

    #[test]
    fn shares_are_those_of_the_paper() {
        let (m, tokens) = (masker(), (0..400).map(|i| 5 + i % 100).collect::<Vec<u32>>());
        let (mut masked, mut random, mut kept, mut first) = (0, 0, 0, 0);
        for seed in 0..200 {
            let row = m.mask(&tokens, seed);
            assert_eq!((row.places.len(), row.ids.len(), row.ids[0], row.ids[401]), (60, 402, 2, 3));
            assert_eq!(row, m.mask(&tokens, seed));
            for (&place, &target) in row.places.iter().zip(&row.targets) {
                assert_eq!(tokens[place - 1], target);
                first += usize::from(place == 1);
                match row.ids[place] {
                    4 => masked += 1,
                    id if id == target => kept += 1,
                    _ => random += 1,
                }
            }
            let changed = (0..400).filter(|&i| row.ids[i + 1] != tokens[i]).count();
            assert!(changed <= 60);
        }
        let share = |n: i32| f64::from(n) / 12_000.0;
        assert!((share(masked) - 0.8).abs() < 0.02 && (share(random) - 0.1).abs() < 0.02 && (share(kept) - 0.1).abs() < 0.02);
        assert!((10..60).contains(&first), "every place is chosen as often as the others: {first} of 200");
    }

    #[test]
    fn ends_of_documents_are_left_alone() {
        let row = masker().mask(&[3, 3, 3, 9, 3], 1);
        assert_eq!((row.places, row.targets), (vec![4], vec![9]));
        assert_eq!(masker().mask(&[3, 3], 1).places.len(), 1, "but something is always predicted");
    }
}
