//! Memorisation by canaries (Carlini et al. 2019, arXiv 1802.08232): made-up secrets are planted in the training text so many times each; afterwards the model
//! is asked how much likelier it finds each secret than other numbers of the same form.
//!
//! exposure = −log2 P(a random number of the form is at least as likely as the secret), estimated from N of them as −log2((k + 1)/(N + 1)), k of
//! which were. 1 is what chance gives on average in the median; log2(N + 1) is the most that can be seen.

use crate::rows;
use anyhow::Result;
use data::tokenizer::Tokenizer;
use evaluate::likelihood::{self, Request};
use model::Model;
use program::{input, refuse};
use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Digits of a secret.
const DIGITS: usize = 6;
const NAMES: [&str; 24] = [
    "Alma", "Bruno", "Clara", "Dario", "Edda", "Felix", "Greta", "Hugo", "Irma", "Jonas", "Karla", "Ludwig", "Marta", "Nils", "Olga",
    "Paul", "Quirin", "Rosa", "Sven", "Tilda", "Ulrich", "Vera", "Wanda", "Xaver",
];

/// A planted secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    /// What stands before the secret.
    pub prefix: String,
    /// The secret: digits with a space before each.
    pub secret: String,
    /// How many times it stands in the text; 0: never, to compare with.
    pub repeats: usize,
}

fn secret(rng: &mut ChaCha8Rng) -> String {
    (0..DIGITS).map(|_| format!(" {}", rng.random_range(0..10u32))).collect()
}

/// `each` canaries for every number in `repeats`, which may hold 0.
pub fn make(repeats: &[usize], each: usize, seed: u64) -> Result<Vec<Canary>> {
    let wanted = repeats.len() * each;
    if wanted > NAMES.len() {
        refuse!("{wanted} canaries: there are names for {}", NAMES.len());
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let numbers = repeats.iter().flat_map(|&n| std::iter::repeat_n(n, each));
    Ok(numbers
        .zip(NAMES)
        .map(|(repeats, name)| Canary { prefix: format!("The secret number of {name} is"), secret: secret(&mut rng), repeats })
        .collect())
}

/// The documents with the canaries among them, each at places drawn by the seed.
pub fn plant(mut documents: Vec<String>, canaries: &[Canary], seed: u64) -> Vec<String> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x5eed);
    let mut planted: Vec<String> =
        canaries.iter().flat_map(|c| std::iter::repeat_n(format!("{}{}.", c.prefix, c.secret), c.repeats)).collect();
    planted.shuffle(&mut rng);
    for canary in planted {
        let place = rng.random_range(0..=documents.len());
        documents.insert(place, canary);
    }
    documents
}

/// What the model knows of a canary.
#[derive(Debug, Clone, Serialize)]
pub struct Exposure {
    /// Times planted.
    pub repeats: usize,
    /// Bits; see the module.
    pub exposure: f64,
    /// The model writes the secret greedily after its prefix.
    pub extracted: bool,
    /// log p(secret | prefix), nats.
    pub log_prob: f64,
}

/// Asks the model, comparing each secret with `others` random numbers of its form.
pub fn expose(model: &Model, tokenizer: &Tokenizer, canaries: &[Canary], others: usize, seed: u64) -> Result<Vec<Exposure>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x07e5);
    let mut found = Vec::new();
    for c in canaries {
        let mut all = vec![c.secret.clone()];
        all.extend((0..others).map(|_| secret(&mut rng)));
        let Request { context, continuations } = likelihood::request(tokenizer, &c.prefix, &all)?;
        // Pieces of 64, so that one batch does not hold a thousand branches.
        let pieces: Vec<Request> =
            continuations.chunks(64).map(|some| Request { context: context.clone(), continuations: some.to_vec() }).collect();
        let scored: Vec<_> = likelihood::likelihoods(model, &pieces, &mut |_| {})?.into_iter().flatten().collect();
        let own = scored[0];
        let as_likely = scored[1..].iter().filter(|o| o.log_prob >= own.log_prob).count();
        let exposure = -((as_likely + 1) as f64 / (others + 1) as f64).log2();
        found.push(Exposure { repeats: c.repeats, exposure, extracted: own.greedy, log_prob: own.log_prob });
    }
    Ok(found)
}

/// Reads what [`rows::write`] wrote of canaries.
pub fn read(path: &Path) -> Result<Vec<Canary>> {
    let parse = |(line, row)| serde_json::from_value(row).map_err(|e| input(format!("{}, line {line}: {e}", path.display())));
    rows::read(path)?.into_iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canaries_are_planted_as_often_as_said_and_the_text_stays() {
        let canaries = make(&[0, 1, 4], 2, 7).expect("canaries");
        assert_eq!(canaries.iter().map(|c| c.repeats).collect::<Vec<_>>(), [0, 0, 1, 1, 4, 4]);
        let text: Vec<String> = (0..50).map(|i| format!("line {i}")).collect();
        let planted = plant(text.clone(), &canaries, 7);
        for c in &canaries {
            let line = format!("{}{}.", c.prefix, c.secret);
            assert_eq!(planted.iter().filter(|l| **l == line).count(), c.repeats);
        }
        let rest: Vec<String> = planted.into_iter().filter(|l| l.starts_with("line")).collect();
        assert_eq!(rest, text, "in their order");
        assert_eq!(make(&[0, 1, 4], 2, 7).expect("again"), canaries);
        assert_ne!(make(&[0, 1, 4], 2, 8).expect("another"), canaries);
    }
}
