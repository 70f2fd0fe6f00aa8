//! Made-up pairs of sentences for two of GPT-1's input shapes (Radford et al. 2018): does one follow from the other, and how much have they in common?
//!
//! Both speak of people who have things of a colour at a place. For entailment the premise tells of two things, of each its colour, its place or both; the hypothesis
//! says one of these and is true, false, or not to be known. It has the same distribution under every label, so that nothing can be told from it alone. For
//! similarity two sentences of any of three wordings say four slots each; the label is how many of them are the same.

use crate::dice::Dice;
use serde_json::json;
use std::fmt::Write;
use std::io;
use std::path::Path;

const PEOPLE: [&str; 8] = ["Anna", "Ben", "Clara", "David", "Emma", "Tom", "Lily", "Sam"];
const COLOURS: [&str; 8] = ["red", "blue", "green", "white", "black", "brown", "pink", "yellow"];
const THINGS: [&str; 12] = ["ball", "cup", "key", "book", "hat", "bag", "toy", "lamp", "coat", "spoon", "doll", "kite"];
const PLACES: [&str; 8] =
    ["in the box", "on the table", "under the bed", "by the door", "in the garden", "on the shelf", "behind the chair", "near the window"];

/// Classes of a hypothesis.
pub const RELATIONS: [&str; 3] = ["entailment", "contradiction", "neutral"];

/// How much to write, of each kind of pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Rows to learn from.
    pub train: usize,
    /// Rows held out.
    pub test: usize,
}

/// Writes `entailment-train.jsonl`, `entailment-test.jsonl` and the same for `similarity`: `prompt`, `second`, `response`. Equal seeds write equal bytes.
pub fn generate(folder: &Path, seed: u64, size: Size) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for (part, rows) in [("train", size.train), ("test", size.test)] {
        for (kind, draw) in [("entailment", entailment as fn(&mut Dice) -> [String; 3]), ("similarity", similarity)] {
            let name = format!("{kind}-{part}");
            let mut dice = Dice::new(seed, &name);
            let mut text = String::new();
            for _ in 0..rows {
                let [prompt, second, response] = draw(&mut dice);
                let _ = writeln!(text, "{}", json!({ "prompt": prompt, "second": second, "response": response }));
            }
            std::fs::write(folder.join(format!("{name}.jsonl")), text)?;
        }
    }
    Ok(())
}

/// Two different places of a list of `n`.
fn two(dice: &mut Dice, n: usize) -> [usize; 2] {
    let first = dice.below(n);
    [first, (first + 1 + dice.below(n - 1)) % n]
}

/// Another value than `not`.
fn other<'a>(dice: &mut Dice, from: &[&'a str], not: &str) -> &'a str {
    loop {
        let value = *dice.pick(from);
        if value != not {
            return value;
        }
    }
}

/// Premise, hypothesis, relation.
fn entailment(dice: &mut Dice) -> [String; 3] {
    let (people, things) = (two(dice, PEOPLE.len()), two(dice, THINGS.len()));
    let facts: Vec<[&str; 2]> = (0..2).map(|_| [*dice.pick(&COLOURS), *dice.pick(&PLACES)]).collect();
    let relation = dice.below(RELATIONS.len());
    let (asked, slot) = (dice.below(2), dice.below(2));
    let mut premise = Vec::new();
    for i in 0..2 {
        // Of what is asked about, the slot is told unless the answer is not to be known; the other slots come and go.
        let told = [0, 1].map(|s| if (i, s) == (asked, slot) { relation != 2 } else { dice.chance(0.7) });
        let (person, thing) = (PEOPLE[people[i]], THINGS[things[i]]);
        premise.push(match told {
            [true, true] => format!("{person} has a {} {thing} {}.", facts[i][0], facts[i][1]),
            [true, false] => format!("{person} has a {} {thing}.", facts[i][0]),
            [false, true] => format!("{person} has a {thing} {}.", facts[i][1]),
            [false, false] => format!("{person} has a {thing}."),
        });
    }
    let values: &[&str] = if slot == 0 { &COLOURS } else { &PLACES };
    let value = if relation == 1 { other(dice, values, facts[asked][slot]) } else { facts[asked][slot] };
    [premise.join(" "), format!("The {} is {value}.", THINGS[things[asked]]), RELATIONS[relation].to_string()]
}

/// Two sentences, and how many of their four slots are the same.
fn similarity(dice: &mut Dice) -> [String; 3] {
    let lists: [&[&str]; 4] = [&PEOPLE, &COLOURS, &THINGS, &PLACES];
    let first = lists.map(|list| *dice.pick(list));
    let mut order = [0, 1, 2, 3];
    dice.shuffle(&mut order);
    let same = dice.below(5);
    let mut second = first;
    for &slot in &order[same..] {
        second[slot] = other(dice, lists[slot], first[slot]);
    }
    [said(dice, first), said(dice, second), same.to_string()]
}

fn said(dice: &mut Dice, [person, colour, thing, place]: [&str; 4]) -> String {
    match dice.below(3) {
        0 => format!("{person} has a {colour} {thing} {place}."),
        1 => format!("The {thing} {place} is {colour} and belongs to {person}."),
        _ => format!("There is a {colour} {thing} {place}, and it is {person}'s."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn labels_are_true_and_balanced_and_hypotheses_alone_tell_nothing() {
        let mut dice = Dice::new(1, "test");
        let mut counts: BTreeMap<String, [usize; 2]> = BTreeMap::new();
        for _ in 0..3000 {
            let [premise, hypothesis, relation] = entailment(&mut dice);
            let (thing, value) = hypothesis.trim_start_matches("The ").trim_end_matches('.').split_once(" is ").unwrap();
            let fact = premise.split_inclusive('.').find(|s| s.split([' ', '.']).any(|w| w == thing)).unwrap();
            let colour = COLOURS.contains(&value);
            let told =
                if colour { COLOURS.iter().any(|c| fact.contains(&format!(" {c} "))) } else { PLACES.iter().any(|p| fact.contains(p)) };
            let expected = match (told, fact.contains(value)) {
                (false, _) => "neutral",
                (true, true) => "entailment",
                (true, false) => "contradiction",
            };
            assert_eq!(relation, expected, "{premise} | {hypothesis}");
            counts.entry(relation).or_default()[usize::from(colour)] += 1;
        }
        assert!(counts.values().flatten().all(|&n| (400..600).contains(&n)), "{counts:?}");
    }

    #[test]
    fn equal_slots_are_counted() {
        let mut dice = Dice::new(1, "test");
        let mut seen = [0; 5];
        for _ in 0..500 {
            let [first, second, response] = similarity(&mut dice);
            let common = |list: &[&str]| list.iter().any(|word| first.contains(word) && second.contains(word));
            let same = [&PEOPLE[..], &COLOURS, &THINGS, &PLACES].iter().filter(|list| common(list)).count();
            assert_eq!(response, same.to_string(), "{first} | {second}");
            seen[same] += 1;
        }
        assert!(seen.iter().all(|&n| n > 60), "{seen:?}");
    }

    #[test]
    fn equal_seeds_write_equal_bytes() {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        for folder in &folders {
            generate(folder.path(), 3, Size { train: 5, test: 2 }).unwrap();
        }
        for (name, lines) in [("entailment-train", 5), ("entailment-test", 2), ("similarity-train", 5), ("similarity-test", 2)] {
            let [a, b] = [0, 1].map(|i| std::fs::read_to_string(folders[i].path().join(format!("{name}.jsonl"))).unwrap());
            assert!(a == b && a.lines().count() == lines);
        }
    }
}
