//! Variations of a demonstration: the same sentence about a place of another name, kind, kitchen, price or rating.
//!
//! E2E's development set knows twenty names, hardly a pub, and next to no food that is neither Chinese nor English; a model learns these by heart
//! instead of reading the prompt, and then says the wrong thing of a place it has never met. A variation replaces values in the meaning and in the
//! sentence at once, so that only copying from the prompt helps (delexicalisation's other half, arXiv 1706.09254 §4), and shuffles the slots, whose
//! order means nothing. A value is replaced only where the sentence names it in the same words, and only if [`score_meaning`] finds the new sentence
//! as true to the new meaning as the old one was to the old.

use super::meaning::{Meaning, Slot};
use super::names::invent;
use super::score::score_meaning;
use crate::dice::Dice;

/// Values that take one another's place in a sentence.
const VALUES: &[(Slot, &[&str])] = &[
    (Slot::EatType, &["coffee shop", "pub", "restaurant"]),
    (Slot::Food, &["Chinese", "English", "Fast food", "French", "Indian", "Italian", "Japanese"]),
    (Slot::Price, &["cheap", "moderate", "high"]),
    (Slot::Price, &["less than £20", "£20-25", "more than £30"]),
    (Slot::Rating, &["low", "average", "high"]),
    (Slot::Rating, &["1 out of 5", "3 out of 5", "5 out of 5"]),
];

/// One variation of a demonstration: its meaning, and the sentence.
pub(super) fn vary(meaning: &Meaning, response: &str, dice: &mut Dice) -> (String, String) {
    let mut now = Statement { slots: meaning.slots().to_vec(), parts: vec![Part::Open(response.to_string())] };
    for (i, (slot, old)) in meaning.slots().iter().enumerate() {
        if matches!(slot, Slot::Name | Slot::Near) {
            now = now.with(i, old, &invent(dice)).unwrap_or(now); // paraphrased: both stay
        }
    }
    for (i, (slot, old)) in meaning.slots().iter().enumerate() {
        let Some((_, values)) = VALUES.iter().find(|(s, values)| s == slot && values.contains(&old.as_str())) else { continue };
        let new = dice.pick(values);
        if let Some(next) = now.with(i, old, new).filter(|next| next.is_as_true_as(&now)) {
            now = next;
        }
    }
    dice.shuffle(&mut now.slots);
    let prompt: Vec<String> = now.slots.iter().map(|(slot, value)| format!("{}[{value}]", slot.key())).collect();
    (prompt.join(", "), now.text())
}

/// A meaning and the sentence that says it.
struct Statement {
    slots: Vec<(Slot, String)>,
    parts: Vec<Part>,
}

/// A piece of the sentence.
#[derive(Clone)]
enum Part {
    /// As people wrote it.
    Open(String),
    /// A new value: no other replaces it, whatever it contains.
    Done(String),
}

impl Part {
    fn text(&self) -> &str {
        let (Part::Open(text) | Part::Done(text)) = self;
        text
    }
}

impl Statement {
    /// The same with `new` for the `old` value of slot `i`; `None` if the sentence does not have the old one.
    fn with(&self, i: usize, old: &str, new: &str) -> Option<Statement> {
        let mut slots = self.slots.clone();
        slots[i].1 = new.to_string();
        let mut parts = Vec::new();
        for part in &self.parts {
            match part {
                Part::Open(text) => replace(text, old, new, &mut parts),
                Part::Done(_) => parts.push(part.clone()),
            }
        }
        (parts.len() > self.parts.len()).then_some(Statement { slots, parts })
    }

    fn text(&self) -> String {
        self.parts.iter().map(Part::text).collect()
    }

    /// Whether it says its own meaning as well as `other` does.
    fn is_as_true_as(&self, other: &Statement) -> bool {
        let score = |s: &Statement| score_meaning(&Meaning::new(s.slots.clone()), &s.text());
        let (mine, others) = (score(self), score(other));
        mine.right >= others.right && mine.hallucinated <= others.hallucinated
    }
}

/// Appends `text` to `parts` with `new` wherever it has `old` as whole words; "a" before it becomes "an" and the other way round as needed.
fn replace(text: &str, old: &str, new: &str, parts: &mut Vec<Part>) {
    let (mut from, mut at) = (0, 0);
    while let Some(start) = text[at..].find(old).map(|i| at + i) {
        let mut end = start + old.len();
        at = end;
        let joined = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '-');
        if joined(text[..start].chars().next_back()) || joined(text[end..].chars().next()) {
            continue;
        }
        let mut said = new;
        if new == "Fast food" {
            said = "fast food";
            end += if text[end..].starts_with(" food") { " food".len() } else { 0 };
            at = end;
        }
        parts.push(Part::Open(article(&text[from..start], said)));
        parts.push(Part::Done(said.to_string()));
        from = end;
    }
    parts.push(Part::Open(text[from..].to_string()));
}

/// `before` with its last word, if that is an article, in the form that goes before `word`.
fn article(before: &str, word: &str) -> String {
    let (vowel, bare) = (word.starts_with(['a', 'e', 'i', 'o', 'A', 'E', 'I', 'O']), before.trim_end_matches(' '));
    for (a, an) in [("a", "an"), ("A", "An")] {
        for article in [an, a] {
            let Some(rest) = bare.strip_suffix(article) else { continue };
            if bare.len() < before.len() && !rest.chars().next_back().is_some_and(char::is_alphanumeric) {
                return format!("{rest}{} ", if vowel { an } else { a });
            }
        }
    }
    before.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// `n` variations, each with its meaning parsed.
    fn variations(meaning: &str, response: &str, n: usize) -> Vec<(Meaning, String)> {
        let (meaning, mut dice) = (Meaning::parse(meaning).unwrap(), Dice::new(1, "test"));
        let vary = |_| vary(&meaning, response, &mut dice);
        (0..n).map(vary).map(|(prompt, text)| (Meaning::parse(&prompt).unwrap(), text)).collect()
    }

    fn values(all: &[(Meaning, String)], slot: Slot) -> HashSet<&str> {
        all.iter().filter_map(|(m, _)| m.get(slot)).collect()
    }

    #[test]
    fn a_variation_says_its_own_meaning_as_well_as_the_original_does() {
        let all = variations("name[Cotto], near[Café Rouge], area[riverside]", "Cotto is near Café Rouge, riverside.", 50);
        for (meaning, text) in &all {
            assert!(!text.contains("Cotto") && !text.contains("Rouge"), "{text}");
            assert_eq!(score_meaning(meaning, text).coverage, 1.0, "{meaning:?}: {text}");
        }
        assert!(all.iter().map(|(_, text)| text).collect::<HashSet<_>>().len() > 45);
    }

    #[test]
    fn kinds_kitchens_prices_and_ratings_take_turns() {
        let text = "Cotto is a Chinese coffee shop with a moderate price range and a customer rating of 3 out of 5.";
        let all =
            variations("name[Cotto], eatType[coffee shop], food[Chinese], priceRange[moderate], customer rating[3 out of 5]", text, 200);
        for (meaning, text) in &all {
            let score = score_meaning(meaning, text);
            assert_eq!((score.coverage, score.hallucinated), (1.0, 0), "{meaning:?}: {text}");
            assert!(!text.contains("a Indian") && !text.contains("an Chinese"), "{text}");
        }
        for (slot, n) in [(Slot::EatType, 3), (Slot::Food, 7), (Slot::Price, 3), (Slot::Rating, 3)] {
            assert_eq!(values(&all, slot).len(), n, "{slot:?}");
        }
        assert!(all.iter().any(|(_, text)| text.contains(" an English pub ")));
        assert!(variations("food[Chinese]", "It serves Chinese food.", 50).iter().any(|(_, text)| text == "It serves fast food."));
    }

    #[test]
    fn what_the_sentence_does_not_say_in_the_same_words_stays() {
        let all = variations(
            "name[Cotto], near[Café Rouge], food[Chinese], priceRange[high]",
            "Cotto is near the red cafe, dear and oriental.",
            20,
        );
        for (slot, value) in [(Slot::Near, "Café Rouge"), (Slot::Food, "Chinese"), (Slot::Price, "high")] {
            assert_eq!(values(&all, slot), HashSet::from([value]));
        }
        assert!(all.iter().all(|(_, text)| text.ends_with(" is near the red cafe, dear and oriental.")));
    }

    #[test]
    fn one_word_for_two_slots_changes_neither() {
        let all =
            variations("name[Cotto], priceRange[high], customer rating[high]", "Cotto has high prices and a high customer rating.", 50);
        assert!(all.iter().all(|(_, text)| text.ends_with(" has high prices and a high customer rating.")));
        assert_eq!((values(&all, Slot::Price), values(&all, Slot::Rating)), (HashSet::from(["high"]), HashSet::from(["high"])));
    }
}
