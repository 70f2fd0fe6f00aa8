//! A task that can only be learned from the prompt (GPT-3, arXiv 2005.14165, section 1): every document gives four kinds of things a new label each.
//!
//! Words belong to kinds for ever (a heron is a bird); which label stands for a kind is drawn anew for each document. So nobody can know a label without examples, one
//! example tells it for all words of its kind, and how often the best possible guess is right follows from the number of examples ([`ideal`]). Mappings of kinds to
//! labels that the test asks for occur in no document that is learned from.

use crate::dice::Dice;
use serde_json::json;
use std::fmt::Write;
use std::io;
use std::path::Path;

/// Words by kind.
pub const KINDS: [[&str; 12]; 4] = [
    ["heron", "finch", "crow", "gull", "swan", "owl", "robin", "stork", "wren", "hawk", "goose", "dove"],
    ["oak", "birch", "maple", "pine", "elm", "cedar", "willow", "larch", "beech", "alder", "poplar", "yew"],
    ["hammer", "chisel", "saw", "pliers", "rasp", "wrench", "anvil", "awl", "plane", "lathe", "trowel", "mallet"],
    ["fog", "hail", "sleet", "drizzle", "thunder", "frost", "breeze", "storm", "snow", "rain", "haze", "gale"],
];
/// What a kind may be called.
pub const LABELS: [&str; 10] = ["red", "blue", "green", "white", "black", "brown", "pink", "gold", "grey", "lime"];
/// Lines of a document where nothing else is asked for.
pub const LINES: usize = 24;
/// How many words of each kind a document has, one document after the other in turn.
const WORDS: [usize; 4] = [1, 2, 4, 12];
/// Examples that an item of the test can choose from.
const POOL: usize = 32;

/// How much to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Documents to learn from.
    pub documents: usize,
    /// Lines of a document. They are read end to end: the longer they are beside a model's context, the more of its windows hold one mapping alone.
    pub lines: usize,
    /// Items of the test, each with its own mapping.
    pub items: usize,
}

/// Four different labels, one a kind, by place in [`LABELS`].
type Mapping = [usize; 4];

/// Writes `documents.txt`, `items.jsonl` and `examples.jsonl` (those of an item have its `episode`). Equal seeds write equal bytes.
pub fn generate(folder: &Path, seed: u64, size: Size) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut dice = Dice::new(seed, "documents");
    let mut text = String::new();
    for i in 0..size.documents {
        if i > 0 {
            text.push_str("<|endoftext|>\n");
        }
        let mapping = mapping(&mut dice, false);
        let words = vocabulary(&mut dice, WORDS[i % WORDS.len()]);
        for _ in 0..size.lines {
            let kind = dice.below(KINDS.len());
            let _ = writeln!(text, "{} {}", dice.pick(&words[kind]), LABELS[mapping[kind]]);
        }
    }
    std::fs::write(folder.join("documents.txt"), text)?;
    let mut dice = Dice::new(seed, "items");
    let (mut items, mut examples) = (String::new(), String::new());
    for episode in 0..size.items {
        let mapping = mapping(&mut dice, true);
        let asked = dice.below(KINDS.len());
        let word = *dice.pick(&KINDS[asked]);
        let row = |word: &str, kind: usize| json!({ "episode": episode, "word": word, "label": LABELS[mapping[kind]] });
        let _ = writeln!(items, "{}", row(word, asked));
        for _ in 0..POOL {
            let kind = dice.below(KINDS.len());
            let other = loop {
                match *dice.pick(&KINDS[kind]) {
                    same if same == word => continue, // the answer must not stand in the prompt
                    other => break other,
                }
            };
            let _ = writeln!(examples, "{}", row(other, kind));
        }
    }
    std::fs::write(folder.join("items.jsonl"), items)?;
    std::fs::write(folder.join("examples.jsonl"), examples)
}

/// The words of a document, by kind, `each` of every kind. Where few words come again and again, looking up what stood behind the same word is learnt first, and
/// looking up a word of the same kind grows out of it, where there are more (bursts of data, Chan et al. 2022, arXiv 2205.05055).
fn vocabulary(dice: &mut Dice, each: usize) -> [Vec<&'static str>; 4] {
    KINDS.map(|kind| {
        let mut words = kind.to_vec();
        dice.shuffle(&mut words);
        words.truncate(each);
        words
    })
}

/// A mapping of the test's, or of those to be learned from: a fifth of all are the test's.
fn mapping(dice: &mut Dice, test: bool) -> Mapping {
    loop {
        let mut labels: [usize; LABELS.len()] = std::array::from_fn(|i| i);
        dice.shuffle(&mut labels);
        let drawn = [labels[0], labels[1], labels[2], labels[3]];
        if is_test(drawn) == test {
            return drawn;
        }
    }
}

/// Whether no document has this mapping.
fn is_test(mapping: Mapping) -> bool {
    mapping.iter().fold(0usize, |hash, &label| hash * 31 + label * 7 + 3) % 5 == 0
}

/// How often the best guess is right after `k` examples: kind by kind they are equally likely, so with m of the 4 kinds seen the asked one is among them with
/// probability m/4, and otherwise it is one of the 10 − m labels that have not been seen.
pub fn ideal(k: usize) -> f64 {
    let kinds = KINDS.len();
    let mut seen = vec![0.0; kinds + 1]; // probability of m kinds
    seen[0] = 1.0;
    for _ in 0..k {
        let more = |m: usize| {
            let stays = seen[m] * m as f64 / kinds as f64;
            let grows = if m > 0 { seen[m - 1] * (kinds - m + 1) as f64 / kinds as f64 } else { 0.0 };
            stays + grows
        };
        seen = (0..=kinds).map(more).collect();
    }
    let right = |m: usize| {
        let known = m as f64 / kinds as f64;
        known + (1.0 - known) / (LABELS.len() - m) as f64
    };
    seen.iter().enumerate().map(|(m, p)| p * right(m)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::collections::{BTreeMap, BTreeSet};

    #[test]
    fn the_ideal_is_the_mean_over_all_draws() {
        assert!((ideal(0) - 0.1).abs() < 1e-12);
        assert!((ideal(1) - (0.25 + 0.75 / 9.0)).abs() < 1e-12);
        // Two examples: the same kind with probability 1/4.
        assert!((ideal(2) - (0.25 * (0.25 + 0.75 / 9.0) + 0.75 * (0.5 + 0.5 / 8.0))).abs() < 1e-12);
        assert!(ideal(16) > 0.98 && ideal(16) < 1.0);
    }

    #[test]
    fn the_tests_mappings_are_in_no_document_and_examples_keep_the_answer_to_themselves() {
        let dir = tempfile::tempdir().unwrap();
        let size = Size { documents: 300, lines: LINES, items: 40 };
        generate(dir.path(), 1, size).unwrap();
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        let kind_of = |word: &str| KINDS.iter().position(|kind| kind.contains(&word)).unwrap();
        let place = |label: &str| LABELS.iter().position(|l| *l == label).unwrap();
        let text = read("documents.txt");
        for document in text.split("<|endoftext|>\n") {
            let mut mapping = BTreeMap::new();
            for line in document.lines() {
                let (word, label) = line.split_once(' ').unwrap();
                assert_eq!(*mapping.entry(kind_of(word)).or_insert(place(label)), place(label), "one label a kind");
            }
            if let [a, b, c, d] = mapping.values().copied().collect::<Vec<_>>()[..] {
                assert!(!is_test([a, b, c, d]));
            }
            assert_eq!(document.lines().count(), LINES);
        }
        let rows = |name: &str| read(name).lines().map(|l| serde_json::from_str::<Value>(l).unwrap()).collect::<Vec<_>>();
        let (items, examples) = (rows("items.jsonl"), rows("examples.jsonl"));
        assert_eq!((items.len(), examples.len()), (40, 40 * POOL));
        for (item, pool) in items.iter().zip(examples.chunks(POOL)) {
            let mut mapping = BTreeMap::new();
            for row in pool.iter().chain([item]) {
                assert_eq!(row["episode"], item["episode"]);
                let label = place(row["label"].as_str().unwrap());
                assert_eq!(*mapping.entry(kind_of(row["word"].as_str().unwrap())).or_insert(label), label);
            }
            assert!(pool.iter().all(|row| row["word"] != item["word"]));
            if let [a, b, c, d] = mapping.values().copied().collect::<Vec<_>>()[..] {
                assert!(is_test([a, b, c, d]));
            }
        }
        let again = tempfile::tempdir().unwrap();
        generate(again.path(), 1, size).unwrap();
        assert_eq!(std::fs::read_to_string(again.path().join("documents.txt")).unwrap(), text);
        let words: BTreeSet<&str> = KINDS.iter().flatten().copied().collect();
        assert_eq!(words.len(), 48, "no word is of two kinds");
    }

    #[test]
    fn documents_are_of_the_wanted_length_and_keep_to_so_many_words() {
        let dir = tempfile::tempdir().unwrap();
        generate(dir.path(), 1, Size { documents: 40, lines: 800, items: 1 }).unwrap();
        let text = std::fs::read_to_string(dir.path().join("documents.txt")).unwrap();
        let mut kept: [BTreeSet<BTreeSet<&str>>; 4] = Default::default();
        for (i, document) in text.split("<|endoftext|>\n").enumerate() {
            assert_eq!(document.lines().count(), 800);
            let words: BTreeSet<&str> = document.lines().map(|line| line.split_once(' ').unwrap().0).collect();
            // None of 48 words stands in none of 800 lines, but with probability (47/48)^800 < 5e-8.
            let counts = KINDS.map(|kind| kind.iter().filter(|word| words.contains(*word)).count());
            assert_eq!(counts, [WORDS[i % WORDS.len()]; 4], "document {i}");
            kept[i % WORDS.len()].insert(words);
        }
        assert!(kept[..3].iter().all(|sets| sets.len() > 1), "which words is drawn anew");
    }
}
