//! How often a caption names rightly what a picture shows: words of a kind (colours, shapes), place by place.
//!
//! The i-th word of a kind in what was said is compared with the i-th in what is right; one that is missing is wrong, one too many is not counted. The places of
//! one caption are not independent of each other, so the intervals of captions with several are a little too narrow.

use crate::stats::wilson;
use serde::Serialize;
use std::collections::BTreeMap;

/// A kind of words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    /// Its name.
    pub name: String,
    /// Its words, in lower case.
    pub words: Vec<String>,
}

impl Kind {
    /// From `name=word,word`; `None` where a name or the second word is missing.
    pub fn parse(text: &str) -> Option<Kind> {
        let (name, words) = text.split_once('=')?;
        let words: Vec<String> = words.split(',').map(|word| word.trim().to_lowercase()).filter(|word| !word.is_empty()).collect();
        let name = name.trim().to_string();
        (!name.is_empty() && words.len() > 1).then_some(Kind { name, words })
    }

    /// Words of this kind in their order.
    fn of(&self, text: &str) -> Vec<String> {
        let words = text.split(|c: char| !c.is_alphanumeric()).map(str::to_lowercase);
        words.filter(|word| self.words.contains(word)).collect()
    }
}

/// A share of places.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Share {
    /// What is named.
    pub name: String,
    /// Share of the places that are right.
    pub share: f64,
    /// Its interval at 95% (Wilson).
    pub ci: [f64; 2],
    /// What guessing evenly among the words would give.
    pub chance: f64,
    /// What always saying the commonest would give.
    pub commonest: f64,
    /// Places.
    pub places: u64,
}

/// Figures of captions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Named {
    /// Captions.
    pub rows: u64,
    /// Share of the captions that are right word for word.
    pub exact: f64,
    /// Its interval at 95% (Wilson).
    pub exact_ci: [f64; 2],
    /// The kinds and, of several, all of them together at one place.
    pub kinds: Vec<Share>,
}

/// Figures of (said, right) captions; `None` without rows.
pub fn named<'a>(kinds: &[Kind], rows: impl IntoIterator<Item = (&'a str, &'a str)>) -> Option<Named> {
    let mut tallies: Vec<Tally> = kinds.iter().map(|_| Tally::default()).collect();
    let (mut n, mut exact, mut together) = (0, 0, Tally::default());
    for (said, right) in rows {
        n += 1;
        exact += u64::from(said.split_whitespace().eq(right.split_whitespace()));
        let words: Vec<[Vec<String>; 2]> = kinds.iter().map(|kind| [kind.of(said), kind.of(right)]).collect();
        for (tally, [said, right]) in tallies.iter_mut().zip(&words) {
            right.iter().enumerate().for_each(|(i, word)| tally.add(said.get(i) == Some(word), word));
        }
        for i in 0..words.iter().map(|[_, right]| right.len()).min().unwrap_or(0) {
            let all: Vec<&str> = words.iter().map(|[_, right]| right[i].as_str()).collect();
            together.add(words.iter().all(|[said, right]| said.get(i) == right.get(i)), &all.join(" "));
        }
    }
    let even = |kind: &Kind| 1.0 / kind.words.len() as f64;
    let mut shares: Vec<Share> = kinds.iter().zip(&tallies).filter_map(|(kind, tally)| tally.share(&kind.name, even(kind))).collect();
    if kinds.len() > 1 {
        let name = kinds.iter().map(|kind| kind.name.as_str()).collect::<Vec<_>>().join("+");
        shares.extend(together.share(&name, kinds.iter().map(even).product()));
    }
    let exact_ci = wilson(exact as f64, n)?;
    Some(Named { rows: n, exact: exact as f64 / n as f64, exact_ci, kinds: shares })
}

#[derive(Default)]
struct Tally {
    right: u64,
    places: u64,
    words: BTreeMap<String, u64>,
}

impl Tally {
    fn add(&mut self, right: bool, word: &str) {
        self.places += 1;
        self.right += u64::from(right);
        *self.words.entry(word.to_string()).or_default() += 1;
    }

    fn share(&self, name: &str, chance: f64) -> Option<Share> {
        let n = self.places as f64;
        Some(Share {
            name: name.to_string(),
            share: self.right as f64 / n,
            ci: wilson(self.right as f64, self.places)?,
            chance,
            commonest: self.words.values().max().copied().unwrap_or(0) as f64 / n,
            places: self.places,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_compared_place_by_place() {
        let kinds = [Kind::parse("colour=red,green,blue, Pink").unwrap(), Kind::parse("shape=circle,square").unwrap()];
        assert_eq!((Kind::parse("colour"), Kind::parse("=a,b"), Kind::parse("a=b")), (None, None, None));
        let rows = [
            ("a red circle left of a blue square", "a red circle left of a blue square"),
            ("a  red circle", "a red circle"),
            ("a red square left of a blue circle", "a red circle left of a blue square"), // colours right, shapes wrong
            ("a pink circle", "a blue circle above a Pink square"),
        ];
        let n = named(&kinds, rows).unwrap();
        assert_eq!((n.rows, n.exact), (4, 0.5));
        let of = |i: usize| (n.kinds[i].name.as_str(), n.kinds[i].share * n.kinds[i].places as f64, n.kinds[i].places, n.kinds[i].chance);
        assert_eq!(of(0), ("colour", 5.0, 7, 0.25));
        assert_eq!(of(1), ("shape", 4.0, 7, 0.5));
        assert_eq!(of(2), ("colour+shape", 3.0, 7, 0.125));
        assert!((n.kinds[0].commonest - 3.0 / 7.0).abs() < 1e-12 && n.kinds[0].ci[0] < 5.0 / 7.0);
        assert_eq!(named(&kinds, []), None);
        assert!(named(&[], rows).unwrap().kinds.is_empty());
    }
}
