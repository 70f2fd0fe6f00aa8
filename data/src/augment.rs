//! Variations of a prompt by chance: words deleted, swapped with their neighbours, and replaced by words that mean the same or by other words of the data.
//!
//! Easy data augmentation (Wei and Zou 2019, arXiv 1901.11196); replacement without a synonym takes a word of the prompts by its frequency, as the noise of
//! Xie et al. 2017 (arXiv 1703.02573) does.

use crate::config::Augment;
use crate::error::DataError;
use rand::{Rng, RngExt};
use std::collections::HashMap;
use std::path::Path;

/// Makes variations.
#[derive(Debug)]
pub struct Augmenter {
    config: Augment,
    /// For each word the others of its lines.
    synonyms: HashMap<String, Vec<String>>,
    /// Every word of the prompts, as often as it occurs.
    words: Vec<String>,
}

impl Augmenter {
    /// Of these prompts; reads the list of synonyms where there is one: words that may stand for one another, a line each group, separated by commas.
    pub fn new<'a>(config: &Augment, prompts: impl Iterator<Item = &'a str>) -> Result<Augmenter, DataError> {
        let mut synonyms: HashMap<String, Vec<String>> = HashMap::new();
        if !config.synonyms.is_empty() {
            let path = Path::new(&config.synonyms);
            let text = std::fs::read_to_string(path).map_err(DataError::io("read", path))?;
            for line in text.lines() {
                let group: Vec<String> = line.split(',').map(|word| word.trim().to_lowercase()).filter(|word| !word.is_empty()).collect();
                for word in &group {
                    synonyms.entry(word.clone()).or_default().extend(group.iter().filter(|other| *other != word).cloned());
                }
            }
        }
        let words = if config.replace > 0.0 {
            prompts.flat_map(str::split_whitespace).map(|w| core(w).1.to_string()).filter(|w| !w.is_empty()).collect()
        } else {
            vec![]
        };
        Ok(Augmenter { config: config.clone(), synonyms, words })
    }

    /// A variation of `text`: never empty where the text is not. White space becomes single blanks.
    pub fn vary(&self, text: &str, rng: &mut impl Rng) -> String {
        let mut words: Vec<String> = text.split_whitespace().map(str::to_string).collect();
        for word in &mut words {
            if self.config.replace > 0.0 && rng.random_bool(self.config.replace) {
                *word = self.replaced(word, rng);
            }
        }
        if self.config.swap > 0.0 {
            for i in 1..words.len() {
                if rng.random_bool(self.config.swap) {
                    words.swap(i - 1, i);
                }
            }
        }
        if self.config.delete > 0.0 && !words.is_empty() {
            let spared = rng.random_range(0..words.len());
            let mut place = 0..;
            words.retain(|_| place.next() == Some(spared) || !rng.random_bool(self.config.delete));
        }
        words.join(" ")
    }

    fn replaced(&self, word: &str, rng: &mut impl Rng) -> String {
        let (before, own, after) = core(word);
        let from = self.synonyms.get(&own.to_lowercase()).unwrap_or(&self.words);
        if from.is_empty() || own.is_empty() {
            return word.to_string();
        }
        let other = &from[rng.random_range(0..from.len())];
        let capital = own.chars().next().is_some_and(char::is_uppercase) && other.chars().next().is_some_and(char::is_lowercase);
        let other =
            if capital { other.chars().take(1).flat_map(char::to_uppercase).chain(other.chars().skip(1)).collect() } else { other.clone() };
        format!("{before}{other}{after}")
    }
}

/// What stands before a word, the word, and what stands behind it: "(cafes," is "(", "cafes", ",".
fn core(word: &str) -> (&str, &str, &str) {
    let is_part = |c: char| c.is_alphanumeric();
    let Some(start) = word.find(is_part) else { return (word, "", "") };
    let end = word.rfind(is_part).map_or(word.len(), |at| at + word[at..].chars().next().map_or(0, char::len_utf8));
    (&word[..start], &word[start..end], &word[end..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

    fn augmenter(config: Augment) -> Augmenter {
        Augmenter::new(&config, ["red green", "blue red"].into_iter()).expect("augmenter")
    }

    fn many(a: &Augmenter, text: &str) -> Vec<String> {
        (0..200).map(|i| a.vary(text, &mut ChaCha8Rng::seed_from_u64(i))).collect()
    }

    #[test]
    fn each_kind_does_its_own_and_nothing_else() {
        let text = "one two three four";
        assert!(many(&augmenter(Augment::default()), text).iter().all(|t| t == text));

        let deleted = many(&augmenter(Augment { delete: 0.5, ..Augment::default() }), text);
        let words = |t: &str| t.split(' ').map(str::to_string).collect::<Vec<_>>();
        assert!(deleted.iter().all(|t| !t.is_empty() && words(t).iter().all(|w| text.contains(w))));
        let mean = deleted.iter().map(|t| words(t).len()).sum::<usize>() as f64 / 200.0;
        assert!((mean - 2.5).abs() < 0.3, "one is spared, half of the others go: {mean}");

        let swapped = many(&augmenter(Augment { swap: 0.3, ..Augment::default() }), text);
        let sorted = |t: &str| {
            let mut w = words(t);
            w.sort();
            w
        };
        assert!(swapped.iter().all(|t| sorted(t) == sorted(text)) && swapped.iter().any(|t| t != text));

        let replaced = many(&augmenter(Augment { replace: 0.5, ..Augment::default() }), text);
        assert!(replaced.iter().all(|t| words(t).len() == 4));
        assert!(replaced.iter().flat_map(|t| words(t)).all(|w| text.contains(&w) || ["red", "green", "blue"].contains(&w.as_str())));
    }

    #[test]
    fn synonyms_come_first_and_keep_signs_and_capitals() {
        let dir = tempfile::tempdir().expect("folder");
        let list = dir.path().join("words.txt");
        std::fs::write(&list, "cheap, inexpensive, low-cost\ncafe,coffee shop\n").expect("list");
        let config = Augment { replace: 1.0, synonyms: list.display().to_string(), ..Augment::default() };
        let a = Augmenter::new(&config, ["zebra"].into_iter()).expect("augmenter");
        for t in many(&a, "(Cheap, cafe!) –") {
            assert!(["(Inexpensive, coffee shop!) –", "(Low-cost, coffee shop!) –"].contains(&t.as_str()), "{t}");
        }
        assert_eq!(many(&a, "other")[0], "zebra", "a word without synonyms becomes one of the prompts'");
        assert!(Augmenter::new(&Augment { synonyms: "/nowhere/list".into(), ..config }, ["a"].into_iter()).is_err());
    }
}
